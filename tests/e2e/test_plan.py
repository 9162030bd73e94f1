"""--plan: told before it is done, and nothing done."""

import os
import pathlib
import re
import shutil
import socket
import subprocess

import pytest

from harness import client, fakeca, net, snapshot

TREES = "/etc", "/var/lib/tlsup", "/var/www", "/run/lock"


def everything():
    return snapshot.snapshot(*TREES)


def plan(tlsup, *words):
    """What it says; nothing may be other than before."""
    before = everything()
    result = tlsup(*words, "--plan")
    assert not snapshot.difference(before, everything())
    return result


def patched(text):
    """Apply what the plan has on standard output, comments and all."""
    if shutil.which("patch") is None:
        pytest.skip("no patch here")
    done = subprocess.run(["patch", "-d", "/", "-p1"], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def files_of(text):
    return set(re.findall(r"^\+\+\+ (\S+)", text, re.M)) | set(re.findall(r"^\+(/\S+) -> ", text, re.M))


@pytest.mark.parametrize("words", [[], ["--redirect", "--hsts"]], ids=["plain", "redirect"])
def test_it_is_what_is_done(tlsup, fake_ca, server, name, words):
    """The files that the command writes afterwards are those of the plan, byte by byte."""
    server.site(name, f"www.{name}")
    server.start()
    tlsup.ok("account", "register", *fake_ca.arguments)
    asked = len(fake_ca.requests())
    told = plan(tlsup, "enable", name, *words, *fake_ca.arguments)
    assert told.status == 0 and len(fake_ca.requests()) == asked, told
    assert "ask localhost" in told.out and f"names       {name}" in told.out and "http-01, answered by" in told.out
    assert told.out.rstrip().endswith("# Nothing was changed."), told
    tlsup.ok("enable", name, *words, *fake_ca.arguments)
    done = snapshot.snapshot(server.tree, "/etc/tlsup")
    text = {path: pathlib.Path(path).read_bytes() for path in files_of(told.out) if not os.path.islink(path)}
    assert text, told
    # The way back, and forward by the plan.
    tlsup.ok("undo", name)
    pathlib.Path(f"/etc/tlsup/certs.d/{name}.conf").unlink()
    patched(told.out)
    for path, content in text.items():
        assert pathlib.Path(path).read_bytes() == content, path
    links = {path: target for path, target in re.findall(r"^\+(/\S+) -> (\S+)$", told.out, re.M)}
    for path, entry in done.items():
        if os.path.islink(path) and path in links:
            assert entry[4] == links[path]


def test_on_a_machine_where_tlsup_never_ran(fake_ca, nginx, name, tmp_path):
    """No store is made for it, nor an account key: a word stands for its thumbprint."""
    root = tmp_path / "root"
    root.mkdir()
    elsewhere = client.Client(root / "etc/tlsup", root / "var/lib/tlsup")
    nginx.site(name)
    nginx.start()
    told = plan(elsewhere, "enable", name, *fake_ca.arguments)
    assert told.status == 0 and "THUMBPRINT-OF-THE-ACCOUNT-KEY" in told.out and "a new one" in told.out, told
    assert not os.listdir(root) and not fake_ca.requests()
    assert re.search(r"^#      nginx -t$", told.out, re.M) and re.search(r"^#      (kill -HUP \d+|systemctl reload .*)$", told.out, re.M)
    assert not net.port_open(443)


def test_only_the_diff(tlsup, fake_ca, nginx, name):
    nginx.site(name)
    nginx.start()
    told = plan(tlsup, "enable", name, "-q", *fake_ca.arguments)
    assert told.status == 0 and told.out.startswith("--- ") and not re.search(r"^# (\d|Nothing)", told.out, re.M)


def test_nothing_to_change(tlsup, fake_ca, nginx, name):
    nginx.site(name)
    nginx.start()
    tlsup.ok("enable", name, *fake_ca.arguments)
    for words in (["enable", name, *fake_ca.arguments], ["install", name]):
        told = plan(tlsup, *words)
        assert told.status == 0 and "Nothing is to be done" in told.out and "---" not in told.out, told


def test_a_change_of_what_is_there(tlsup, fake_ca, nginx, name):
    """No new certificate is needed: none is spoken of."""
    nginx.site(name)
    nginx.start()
    tlsup.ok("enable", name, *fake_ca.arguments)
    told = plan(tlsup, "enable", name, "--redirect", *fake_ca.arguments)
    assert "use the certificate that is here" in told.out and "ask " not in told.out
    assert re.search(r"^\+redirect = yes$", told.out, re.M) and re.search(r"^\+.*return 301", told.out, re.M), told


def test_install(tlsup, fake_ca, server, name):
    server.site(name)
    server.start()
    assert plan(tlsup, "install", name).status != 0
    tlsup.ok("issue", name, *fake_ca.arguments)
    told = plan(tlsup, "install", name)
    assert told.status == 0 and re.search(r"^\+.*fullchain\.pem", told.out, re.M), told
    assert not net.port_open(443)


def test_undo(tlsup, fake_ca, server, name):
    path = server.site(name)
    original = path.read_bytes()
    server.start()
    tlsup.ok("enable", name, *fake_ca.arguments)
    told = plan(tlsup, "undo", name)
    assert told.status == 0 and "as they were" in told.out, told
    assert net.leaf(name)[0] == tlsup.sha256(name)
    patched(re.sub(r"^-/\S+ -> .*\n", "", told.out, flags=re.M))
    assert path.read_bytes() == original
    assert plan(tlsup, "undo", "other.test").status == tlsup("undo", "other.test").status != 0


def test_the_same_refusals(tlsup, fake_ca, nginx, name):
    """Status and words are those of the command itself."""
    nginx.start()
    redirect_only = f"redirects.{name}"
    nginx.add_site(redirect_only, f"server {{ listen 80; server_name {redirect_only}; return 301 https://$host$request_uri; }}\n")
    nginx.reload()
    attempts = [["enable", redirect_only, *fake_ca.arguments],
                ["enable", name, "--apache-conf", "/no/such/file", *fake_ca.arguments],
                ["enable", name, "--webroot", "-w", "/no/such/dir", *fake_ca.arguments],
                ["install", "nothing.test"]]
    for words in attempts:
        told, done = plan(tlsup, *words), tlsup(*words)
        assert told.status == done.status != 0 and told.err.split("tlsup:")[1:] == done.err.split("tlsup:")[1:], (told, done)
    nginx.break_it()
    told, done = plan(tlsup, "enable", name, *fake_ca.arguments), tlsup("enable", name, *fake_ca.arguments)
    assert told.status == done.status != 0 and "broken already" in told.err, told
    assert not fake_ca.requests()


def test_443_is_taken(tlsup, fake_ca, nginx, name):
    nginx.site(name)
    nginx.start()
    with socket.create_server(("127.0.0.1", 443)):
        told, done = plan(tlsup, "enable", name, *fake_ca.arguments), tlsup("enable", name, *fake_ca.arguments)
        assert told.status == done.status != 0 and "443" in told.err, told


def test_a_stopped_server(tlsup, fake_ca, nginx, name):
    """Who answers the challenge then: tlsup itself; and port 80 must be free for that."""
    nginx.site(name)
    told = plan(tlsup, "enable", name, "--nginx", *fake_ca.arguments)
    assert told.status == 0 and "answered by tlsup itself on port 80" in told.out, told
    with socket.create_server(("127.0.0.1", 80)):
        told = plan(tlsup, "enable", name, "--nginx", *fake_ca.arguments)
        assert told.status != 0 and "port 80" in told.err, told


def test_beside_another_run(tlsup, fake_ca, nginx, name):
    """The lock is that of those who write."""
    nginx.site(name)
    nginx.start()
    tlsup.ok("enable", name, *fake_ca.arguments)
    fake_ca.misbehave("order", lambda *_: fakeca.Hang(20))
    other = tlsup.start("renew", "--force-renewal", name)
    fake_ca.wait_until_asked("order", since=len(fake_ca.requests()) - 1)
    told = tlsup.finish(tlsup.start("enable", name, "--redirect", "--plan", *fake_ca.arguments))
    assert told.status == 0 and "301" in told.out, told
    other.kill()
    other.communicate()


def test_colours_on_a_terminal_only(tlsup, fake_ca, nginx, name):
    nginx.site(name)
    nginx.start()
    status, seen = tlsup.on_terminal("enable", name, "--plan", *fake_ca.arguments)
    assert status == 0 and re.search("\x1b\\[32m\\+.*fullchain", seen), seen
    assert "\x1b" not in plan(tlsup, "enable", name, *fake_ca.arguments).out
    status, seen = tlsup.on_terminal("enable", name, "--plan", *fake_ca.arguments, env={"NO_COLOR": "1"})
    assert status == 0 and "\x1b[32m+" not in seen
