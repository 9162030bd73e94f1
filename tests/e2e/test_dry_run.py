"""--dry-run: everything against the CA's staging server, and not a byte of it stays."""

import os
import re
import signal

import pytest

from harness import fakeca, machine, net, snapshot

STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"


def everything(tlsup, *servers):
    """All that may not change: our two trees but for the lock, the web server's."""
    return snapshot.snapshot(tlsup.config, tlsup.state, *[s.tree for s in servers], leave_out={str(tlsup.state / "lock")})


@pytest.fixture
def staging(tmp_path, authority):
    """Let's Encrypt's staging server, as this machine would find it."""
    host = STAGING.split("/")[2]
    with open("/etc/hosts", "a") as file:
        file.write(f"127.0.0.1 {host}\n")
    (tmp_path / "staging").mkdir()
    server = fakeca.FakeCA(tmp_path / "staging", authority, 443, hosts=[host], directory_url=STAGING)
    yield server
    server.close()
    assert not server.violations, server.violations


def test_fresh_machine_stays_fresh(tlsup, fake_ca, name):
    before = everything(tlsup)
    result = tlsup.ok("issue", name, "--standalone", "--dry-run", *fake_ca.arguments)
    assert not snapshot.difference(before, everything(tlsup)), result
    assert "would have got" in result.out and name in result.out and "Nothing of it was kept" in result.out, result
    assert fake_ca.requests("finalize") and len(fake_ca.accounts) == 1


def test_enable_in_a_web_server(tlsup, fake_ca, server, name):
    """The challenge is answered by the web server for a while, 443 never opens, and every byte comes back."""
    path = server.site(name)
    server.start()
    before = everything(tlsup, server)
    with net.Visitor(name) as visitor:
        result = tlsup.ok("enable", name, "--redirect", "--dry-run", "--deploy-hook", "/bin/false", *fake_ca.arguments)
    assert not visitor.failures, visitor.failures
    assert not snapshot.difference(before, everything(tlsup, server)), result
    assert not net.port_open(443) and net.http(name).status == 200 and server.test().returncode == 0
    assert os.path.basename(path) in result.out and "/bin/false" in result.out, result
    assert fake_ca.requests("finalize")


def test_after_it_the_real_thing_works(tlsup, fake_ca, server, name):
    server.site(name)
    server.start()
    tlsup.ok("enable", name, "--dry-run", *fake_ca.arguments)
    tlsup.ok("enable", name, *fake_ca.arguments)
    served, before = net.leaf(name)[0], everything(tlsup, server)
    asked = len(fake_ca.requests("finalize"))
    tlsup.ok("enable", name, "--dry-run", *fake_ca.arguments)
    assert not snapshot.difference(before, everything(tlsup, server))
    assert len(fake_ca.requests("finalize")) == asked + 1 and net.leaf(name)[0] == served == tlsup.sha256(name)


def test_failure_leaves_nothing_either(tlsup, fake_ca, server, name):
    server.site(name)
    server.start()
    before = everything(tlsup, server)
    fake_ca.misbehave("order", lambda *_: fakeca.Problem(403, "rejectedIdentifier", "not this one"))
    result = tlsup("enable", name, "--dry-run", *fake_ca.arguments)
    assert result.status == 3 and "not this one" in result.err and "rehearsal" in result.err, result
    assert not snapshot.difference(before, everything(tlsup, server)), result
    assert net.http(name).status == 200


def test_many_from_a_file(tlsup, fake_ca, nginx, new_name, tmp_path):
    names = [new_name() for _ in range(4)]
    for each in names:
        nginx.site(each)
    nginx.start()
    (tmp_path / "names").write_text("\n".join(names) + "\n")
    before = everything(tlsup, nginx)
    result = tlsup.ok("issue", "--from", tmp_path / "names", "--dry-run", *fake_ca.arguments)
    assert not snapshot.difference(before, everything(tlsup, nginx)), result
    assert len(fake_ca.requests("finalize")) == 4 and result.out.count("would have got") == 4, result


def test_renew_is_rehearsed_with_the_staging_server(tlsup, fake_ca, staging, name):
    """Due or not; the CA itself hears nothing of it, and the account's key is the machine's: a standing answer fits."""
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    conf = tlsup.config / "certs.d" / f"{name}.conf"
    conf.write_text(re.sub(r"(?m)^server.*", "server = letsencrypt", conf.read_text()))
    before, asked = everything(tlsup), len(fake_ca.log)
    result = tlsup.ok("renew", "--dry-run")
    assert not snapshot.difference(before, everything(tlsup)), result
    assert len(fake_ca.log) == asked and staging.requests("finalize")
    assert "letsencrypt-staging" in result.out and name in result.out, result
    (theirs,), (ours,) = staging.accounts.values(), fake_ca.accounts.values()
    assert fakeca.thumbprint_of(theirs["jwk"]) == fakeca.thumbprint_of(ours["jwk"])


def test_ca_without_staging_server(tlsup, fake_ca, name):
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    before, asked = everything(tlsup), len(fake_ca.log)
    result = tlsup("renew", "--dry-run")
    assert result.status == 2 and name in result.err and "rehears" in result.err, result
    assert len(fake_ca.log) == asked and not snapshot.difference(before, everything(tlsup))
    (tlsup.config / "tlsup.conf").write_text("server = zerossl\n")
    result = tlsup("issue", "other.test", "--standalone", "--dry-run", "-n")
    assert result.status == 2 and "--server" in result.err and "zerossl" in result.err, result


def test_for_programs(tlsup, fake_ca, name):
    document = tlsup.ok("issue", name, "--standalone", "--dry-run", "--json", *fake_ca.arguments).json()
    assert [(c["name"], c["result"]) for c in document["certificates"]] == [(name, "rehearsed")], document
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    result = tlsup("renew", "--dry-run", "--json")
    assert [(c["name"], c["result"], c["error"]["code"]) for c in result.json()["certificates"]] == [(name, "failed", "config")], result


def test_unknown_certificate(tlsup):
    result = tlsup("renew", "--dry-run", "nothing.test")
    assert result.status in (1, 2) and "nothing.test" in result.err, result


def test_one_of_two_cannot_be_had(tlsup, fake_ca, staging, new_name):
    good, bad = new_name(), new_name()
    for each in (good, bad):
        tlsup.ok("issue", each, "--standalone", *fake_ca.arguments)
    conf = tlsup.config / "certs.d" / f"{good}.conf"
    conf.write_text(re.sub(r"(?m)^server.*", "server = letsencrypt", conf.read_text()))
    (tlsup.config / "certs.d" / f"{bad}.conf").write_text("no-such-key = 1\n")
    result = tlsup("renew", "--dry-run")
    assert result.status != 0 and f"{good}: would have got" in result.out and "no-such-key" in result.err, result
    assert "1 of 2" in result.err, result


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["SIGINT", "SIGKILL"])
def test_interrupted(tlsup, fake_ca, server, name, number):
    """After Ctrl-C nothing is left; after kill -9 the next run of anything puts all back."""
    server.site(name)
    server.start()
    before = everything(tlsup, server)
    fake_ca.hold, asked = True, len(fake_ca.log)
    process = tlsup.start("enable", name, "--dry-run", *fake_ca.arguments)
    fake_ca.wait_until_asked("challenge", asked)
    process.send_signal(number)
    result = tlsup.finish(process, timeout=60)
    assert result.status != 0
    machine.until(lambda: not tlsup.running(), "its children live on")
    fake_ca.release()
    if number == signal.SIGKILL:
        assert (tlsup.state / ".rehearsal").exists()
        tlsup.ok("recover")
        assert not (tlsup.state / ".rehearsal").exists()
    else:
        assert not snapshot.difference(before, everything(tlsup, server)), result
    tree = {p: e for p, e in before.items() if p.startswith(server.tree)}
    assert not snapshot.difference(tree, server.configuration())
    assert server.test().returncode == 0 and net.http(name).status == 200


def test_something_in_the_way(tlsup, fake_ca, name):
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    before = everything(tlsup)
    (tlsup.state / ".rehearsal").write_text("in the way\n")
    tlsup.ok("issue", name, "--standalone", "--dry-run", *fake_ca.arguments)
    assert not snapshot.difference(before, everything(tlsup))


def test_disk_full(tlsup, fake_ca, name):
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    machine.run("mount", "-o", "remount,size=1m", tlsup.state)
    try:
        filler = tlsup.state / "filler"
        with pytest.raises(OSError), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        before = everything(tlsup)
        result = tlsup("issue", name, "--standalone", "--dry-run", *fake_ca.arguments)
        assert result.status == 1 and "No space" in result.err, result
        assert not snapshot.difference(before, everything(tlsup)), result
    finally:
        filler.unlink()
        machine.run("mount", "-o", "remount,size=50%", tlsup.state)
