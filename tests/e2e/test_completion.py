"""Completion: each script is one that its shell takes, and offers what the program takes."""

import os
import pty
import re
import select
import shutil
import subprocess
import time

import pytest

from harness import client

KEY_TYPES = {"ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072", "rsa-4096"}


@pytest.fixture
def script(tmp_path):
    def write(shell):
        path = tmp_path / f"tlsup.{shell}"
        path.write_text(subprocess.run([client.program(), "completion", shell], capture_output=True, text=True, check=True).stdout)
        return path

    return write


@pytest.fixture
def bash(script, tmp_path):
    """What bash offers for a line, whose last word is the one to be completed."""
    path = script("bash")

    def offered(*words, cwd=tmp_path):
        code = 'source "$1"; shift; COMP_WORDS=(tlsup "$@"); COMP_CWORD=$#; _tlsup; printf "%s\\n" "${COMPREPLY[@]}"'
        done = subprocess.run(["bash", "--norc", "-c", code, "bash", path, *words], capture_output=True, text=True, cwd=cwd)
        assert done.returncode == 0 and done.stderr == "", done
        return set(done.stdout.split("\n")) - {""}

    return offered


def commands():
    text = subprocess.run([client.program(), "--help"], capture_output=True, text=True, check=True).stdout
    return re.findall(r"^  ([a-z][a-z-]*(?: [a-z][a-z-]*)*) ", text.split("Commands:")[1].split("\n\n")[0], re.M)


def options(command):
    text = subprocess.run([client.program(), *command.split(), "--help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"^  (?:-.,|   ) (--[a-z0-9-]+)", text, re.M))


@pytest.mark.parametrize("shell, check", [("bash", ["bash", "-n"]), ("zsh", ["zsh", "-n"]), ("fish", ["fish", "--no-execute"])])
def test_syntax(script, shell, check):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([*check, script(shell)], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done


def test_other_shells(tlsup):
    result = tlsup("completion", "tcsh")
    assert result.status == 2 and "fish" in result.err


def test_commands(bash):
    assert bash("") >= {c.split()[0] for c in commands()}
    assert bash("re") == {c for c in commands() if c.startswith("re")}
    assert bash("account", "") == {c.split()[1] for c in commands() if c.startswith("account ")}
    assert bash("timer", "o") == {"on", "off"}
    assert bash("help", "ac") == {"account"}


def test_options_of_each_command(bash):
    """Those that its page has, and no others."""
    for command in commands():
        if command != "help":
            assert bash(*command.split(), "--") == options(command), command


@pytest.mark.parametrize("line, wanted", [
    (["enable", "--key-type", ""], KEY_TYPES),
    (["enable", "example.org", "-k", "rsa-2"], {"rsa-2048"}),
    (["enable", "--key-type", "=", "rsa-3"], {"rsa-3072"}),  # as bash splits --key-type=rsa-3
    (["enable", "--key-type", "="], KEY_TYPES),
    (["enable", "--key-type", "ecdsa-p256,rsa-2"], {"ecdsa-p256,rsa-2048"}),
    (["issue", "--server", "letsencrypt-"], {"letsencrypt-staging"}),
    (["account", "show", "--server", "zero"], {"zerossl"}),
    (["issue", "--challenge", "dns-p"], {"dns-persist"}),
    (["issue", "--hook-contract", "c"], {"certbot"}),
    (["revoke", "example.org", "--reason", "key"], {"keyCompromise"}),
    (["export", "example.org", "--format", "p"], {"pem", "p12"}),
    (["import", "--from", ""], {"certbot", "acme.sh", "dehydrated", "lego", "uacme"}),
    (["enable", "--with", ""], {"nginx", "apache"}),
    (["enable", "--tls-profile", "m"], {"modern"}),
    (["completion", ""], {"bash", "zsh", "fish"}),
    (["enable", ""], set()),
    (["enable", "--email", ""], set()),
    (["timer", "status", ""], set()),
])
def test_values(bash, line, wanted):
    assert bash(*line) == wanted


def test_every_word_is_one_that_the_program_takes(script):
    """A word that is offered, and refused by the program, would be a lie."""
    rows = re.findall(r"^    (.*)\) kind=(words|list) words='(.*)' ;;$", script("bash").read_text().split("_tlsup_options()")[0], re.M)
    assert len(rows) > 10
    for pattern, _, words in rows:
        first = re.search(r"'([a-z -]*) (--[a-z-]+)'", pattern)
        command = first[1].strip() or {"--reason": "revoke", "--format": "export", "--mode": "export", "--with": "enable"}.get(first[2], "issue")
        for word in words.split():
            argv = [client.program(), *command.split(), first[2], word, "--no-such-option"]
            done = subprocess.run(argv, capture_output=True, text=True)
            assert "no-such-option" in done.stderr, f"{' '.join(argv[1:])}: {done.stderr}"


def test_certificates(bash, tmp_path):
    """Their names come from the configuration, whose directory the line may name, and never through an evaluation."""
    directory = tmp_path / "etc" / "certs.d"
    directory.mkdir(parents=True)
    for name in ("example.org", "_wildcard.example.org", "mail.example.net", "$(touch ran).x", "a b", "`touch ran`"):
        (directory / f"{name}.conf").touch()
    (directory / "other.txt").touch()
    there = ["--config-dir", str(tmp_path / "etc")]
    assert bash("status", *there, "") == {"example.org", "_wildcard.example.org", "mail.example.net"}
    assert bash("renew", *there, "mail") == {"mail.example.net"}
    assert bash("revoke", *there, "--cert-name", "_") == {"_wildcard.example.org"}
    assert not list(tmp_path.glob("**/ran"))
    assert bash("delete", "--config-dir", str(tmp_path / "none"), "") == set()


def test_files(bash, tmp_path):
    (tmp_path / "domains.txt").touch()
    (tmp_path / "dom ain").mkdir()
    assert bash("issue", "--from", "dom") == {"domains.txt", "dom ain"}
    assert bash("issue", "-w", "dom") == {"dom ain"}
    assert bash("account", "import", "dom") == {"domains.txt", "dom ain"}
    assert "root" in bash("enable", "--hook-user", "ro")


@pytest.mark.parametrize("line, wanted, unwanted", [
    ("tlsup re", ["renew", "restore", "revoke"], ["enable", "register"]),
    ("tlsup account ", ["show", "register"], ["renew"]),
    ("tlsup enable --key-type ", KEY_TYPES, ["letsencrypt"]),
    ("tlsup enable --key-type rsa-2048,ecdsa-p2", ["rsa-2048,ecdsa-p256"], []),
    ("tlsup account show --ser", ["--server"], []),
    ("tlsup status --met", ["--metrics"], []),
    ("tlsup renew --met", [], ["--metrics"]),
    ("tlsup export x --format ", ["p12"], ["certbot"]),
])
def test_fish(script, line, wanted, unwanted):
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    done = subprocess.run(["fish", "--no-config", "-c", f'source {script("fish")}; complete -C "{line}"'], capture_output=True, text=True)
    offered = {row.split("\t")[0] for row in done.stdout.splitlines()}
    assert done.returncode == 0 and set(wanted) <= offered and not set(unwanted) & offered, done


def test_zsh(script):
    """Real keys in a real zsh."""
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    main, other = pty.openpty()
    shell = subprocess.Popen(["zsh", "-f", "-i"], stdin=other, stdout=other, stderr=other, start_new_session=True, env={**os.environ, "TERM": "dumb"})
    os.close(other)

    def until(wanted):
        seen, deadline = "", time.monotonic() + 20
        while wanted not in seen and time.monotonic() < deadline:
            if select.select([main], [], [], 0.1)[0]:
                seen += os.read(main, 65536).decode(errors="replace")
        assert wanted in seen, seen

    try:
        os.write(main, f"PS1='> '; autoload -Uz compinit; compinit -u -D; source {script('zsh')}; print re''ady\n".encode())
        until("ready")
        for line, wanted in (("tlsup enable --key-type rsa-20", "48"), ("tlsup stat", "us"), ("tlsup account deac", "tivate"),
                             ("tlsup export --format com", "bined"), ("tlsup status --js", "on")):
            os.write(main, f"{line}\t".encode())
            until(wanted)
            os.write(main, b"\x15")
    finally:
        shell.kill()
        shell.wait()
        os.close(main)
