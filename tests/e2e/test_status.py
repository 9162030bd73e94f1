"""What the person is told about what is held."""

import json
import os
import re
import subprocess

import pytest

from harness import client
from harness.fakeca import Problem

DAY = 86400


def test_nothing_is_held(tlsup):
    result = tlsup.ok("status")
    assert re.search(r"no certificate", result.out, re.I) and "tlsup enable" in result.out, result
    assert tlsup.ok("status", "--json").json()["certificates"] == []


def test_status_changes_nothing(tmp_path):
    mine = client.Client(tmp_path / "c", tmp_path / "s")
    mine.ok("status")
    mine.ok("status", "--json")
    assert not (tmp_path / "c").exists() and not (tmp_path / "s").exists()


def test_table(tlsup, fake_ca, new_name):
    names = sorted(new_name() for _ in range(3))
    for each in names:
        tlsup.ok("issue", each, f"www.{each}", "--standalone", *fake_ca.arguments)
    out = tlsup.ok("status").out
    for each in names:
        assert each in out
    assert re.search(r"8[89] days|2\d\d\d-\d\d-\d\d", out), out
    assert "\x1b" not in out


def test_json(tlsup, fake_ca, nginx, name):
    nginx.site(name)
    nginx.start()
    tlsup.ok("enable", name, f"www.{name}", *fake_ca.arguments)
    text = tlsup.ok("status", "--json").out
    entry = json.loads(text)["certificates"][0]
    assert entry["name"] == name
    assert set(entry["names"]) == {name, f"www.{name}"}
    stamps = re.findall(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", json.dumps(entry))
    assert len(stamps) >= 2, "the dates of its validity, in RFC 3339"
    assert str(tlsup.sha256(name)) in text and "nginx" in text and fake_ca.url in text
    assert "PRIVATE KEY" not in text


def test_one_certificate(tlsup, fake_ca, new_name):
    names = new_name(), new_name()
    for each in names:
        tlsup.ok("issue", each, "--standalone", *fake_ca.arguments)
    out = tlsup.ok("status", names[0]).out
    assert names[0] in out and names[1] not in out
    result = tlsup("status", "unknown.test")
    assert result.status != 0 and "unknown.test" in result.err


def test_failure_is_shown(tlsup, fake_ca, name):
    fake_ca.lifetime_s, fake_ca.not_before_ago_s = 90 * DAY, 80 * DAY
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    fake_ca.misbehave("order", lambda *_: Problem(403, "rejectedIdentifier", "we do not like this name"))
    assert tlsup("renew").status == 3
    out = tlsup.ok("status").out
    assert "we do not like this name" in re.sub(r"\s+", " ", out), out


def test_while_another_run_holds_the_lock(tlsup, fake_ca, name):
    """Looking is always possible."""
    fake_ca.hold = True
    running = tlsup.start("issue", name, "--standalone", *fake_ca.arguments)
    fake_ca.wait_until_asked("challenge")
    found = subprocess.run(tlsup.argv(["status"]), capture_output=True, text=True, env=tlsup.env())
    assert found.returncode == 0, found.stderr
    fake_ca.release()
    assert tlsup.finish(running).status == 0


@pytest.mark.parametrize("damage", ["state", "conf", "cert"])
def test_damaged_files_are_named(tlsup, fake_ca, new_name, damage):
    """One broken file is told by its path, and hides nothing of the others."""
    one, two = new_name(), new_name()
    for each in (one, two):
        tlsup.ok("issue", each, "--standalone", *fake_ca.arguments)
    path = {"state": tlsup.state / "state" / f"{one}.json", "conf": tlsup.config / "certs.d" / f"{one}.conf",
            "cert": tlsup.live(one).resolve() / "fullchain.pem"}[damage]
    if damage == "cert":
        (path.parent / "cert.pem").write_text("garbage")
    path.write_text("{ broken")
    result = tlsup("status")
    assert str(path) in result.text or str(path.parent) in result.text or f"live/{one}" in result.text, result
    assert two in result.out, result


def test_readable_without_root(tlsup, fake_ca, name):
    """Certificates are public: anybody may look, and is told plainly what cannot be read."""
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    result = tlsup("status", prefix=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
    assert result.status == 0 and name in result.out or "ermission" in result.err, result


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_on_a_terminal(tlsup, fake_ca, name, columns):
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    status, seen = tlsup.on_terminal("status", columns=columns)
    plain = client.ANSI.sub("", seen)
    assert status == 0 and name in plain, seen
    table = plain.split("\r\n\r\n")[0]
    assert max(len(line) for line in table.splitlines()) <= columns, plain


def test_help_and_version(tlsup):
    version = tlsup.ok("--version").out
    assert re.match(r"tlsup \d+\.\d+", version)
    overall = tlsup.ok("--help").out
    for command in ("enable", "issue", "install", "renew", "status", "account", "delete"):
        assert command in overall
        text = subprocess.run([client.program(), command, "--help"], capture_output=True, text=True)
        assert text.returncode == 0 and command in text.stdout and text.stderr == "", (command, text)
        assert max(len(line) for line in text.stdout.splitlines()) <= 100, command


def test_closed_output(tlsup, fake_ca, name):
    """`tlsup status | head -0` ends without noise."""
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(tlsup.argv(["status"]), stdout=writer, stderr=subprocess.PIPE, env=tlsup.env())
    os.close(writer)
    assert done.returncode in (0, 1, -13, 141), done
    assert b"Sanitizer" not in done.stderr


def test_full_output(tlsup, fake_ca, name):
    """A result that could not be written is no success."""
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    with open("/dev/full", "w") as full:
        done = subprocess.run(tlsup.argv(["status", "--json"]), stdout=full, stderr=subprocess.PIPE, env=tlsup.env())
    assert done.returncode == 1, done
