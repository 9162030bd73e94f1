"""--dry-run: everything against the CA's staging server, and not a byte of it stays."""

import os
import pathlib
import re
import signal

import pytest

from harness import fakeca, machine, net, snapshot

STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"


def everything(tlsup, *servers):
    """All that may not change: our two trees but for the lock, the web server's."""
    return snapshot.snapshot(tlsup.config, tlsup.state, *[s.tree for s in servers], leave_out={str(tlsup.state / "lock")})


def mounts():
    return pathlib.Path("/proc/self/mountinfo").read_text()


def tree_of(before, server):
    return {path: entry for path, entry in before.items() if path.startswith(server.tree)}


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
    before, mounted = everything(tlsup, server), mounts()
    with net.Visitor(name) as visitor:
        result = tlsup.ok("enable", name, "--redirect", "--dry-run", "--key-type", "ecdsa-p256,rsa-2048", "--deploy-hook", "/bin/false",
                          *fake_ca.arguments)
    assert not visitor.failures, visitor.failures
    assert not snapshot.difference(before, everything(tlsup, server)) and mounts() == mounted, result
    assert re.search(rf"(?m)^ +tested +by {server.kind}", result.out), result
    assert not net.port_open(443) and net.http(name).status == 200 and server.test().returncode == 0
    assert os.path.basename(path) in result.out and "/bin/false" in result.out, result
    assert fake_ca.requests("finalize")


# What a server takes as it is, and no longer with TLS.
BAD_WITH_TLS = {"nginx": ("/etc/nginx/conf.d/tls.conf", "ssl_dhparam /etc/hostname;\n", "ssl_dhparam|hostname"),
                "apache": ("/etc/apache2/mods-available/ssl.conf", "SSLHonorCipherOrder sometimes\n", "SSLHonorCipherOrder")}


@pytest.fixture
def bad_with_tls(server, name):
    """The server runs with such a line; its words for it."""
    path, text, words = BAD_WITH_TLS[server.kind]
    server.site(name)
    pathlib.Path(path).write_text(text)
    server.start()
    return words


def test_the_server_tests_the_new_lines(tlsup, fake_ca, server, name, bad_with_tls):
    """What only the new lines bring to light is found, in the server's own words, and nothing is left of that look."""
    before, mounted, asked = everything(tlsup, server), mounts(), len(fake_ca.log)
    result = tlsup("enable", name, "--dry-run", *fake_ca.arguments)
    assert result.status == 1 and re.search(bad_with_tls, result.err) and "rehearsal" in result.err and "--plan" in result.err, result
    assert len(fake_ca.log) == asked, "the CA was asked all the same"
    assert not snapshot.difference(before, everything(tlsup, server)) and mounts() == mounted, result


def test_that_test_where_nothing_can_be_mounted(tlsup, fake_ca, server, name, bad_with_tls):
    """As in most containers: the rehearsal goes on, and says so."""
    result = tlsup.ok("enable", name, "--dry-run", *fake_ca.arguments, prefix=("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"))
    assert re.search(rf"(?m)^ +not tested +by {server.kind}.*CAP_SYS_ADMIN", result.out), result


def test_that_test_with_files_that_are_mounts(tlsup, fake_ca, nginx, name, tmp_path):
    """As in containers: what is mounted beside the edited file is still seen by the test, and what is mounted at its place is not written to."""
    site, default = nginx.site(name), pathlib.Path("/etc/nginx/sites-available/default")
    theirs = [tmp_path / path.name for path in (site, default)]
    for path, their in zip((site, default), theirs):
        their.write_text(path.read_text())
        path.write_text("this is no configuration\n")
        machine.run("mount", "--bind", their, path)
    try:
        nginx.start()
        before, mounted = snapshot.snapshot(nginx.tree, *theirs), mounts()
        result = tlsup.ok("enable", name, "--dry-run", *fake_ca.arguments)
        assert re.search(r"(?m)^ +tested +by nginx", result.out), result
        assert not snapshot.difference(before, snapshot.snapshot(nginx.tree, *theirs)) and mounts() == mounted
    finally:
        machine.run("umount", site, default)


WAITS_AT_NEW_LINES = """#!/bin/sh
if [ "$1" = -t ] && grep -q "listen.*443" /etc/nginx/sites-enabled/{name}; then touch {seen}; sleep 1000; fi
exec /usr/sbin/nginx "$@"
"""


def asleep():
    return [argv for *_, argv in machine.processes() if argv[:1] == ["sleep"]]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_interrupted_in_that_test(tlsup, fake_ca, nginx, name, tmp_path, number):
    nginx.site(name)
    nginx.start()
    program, seen = tmp_path / "nginx", tmp_path / "seen"
    program.write_text(WAITS_AT_NEW_LINES.format(name=name, seen=seen))
    program.chmod(0o755)
    before, mounted = everything(tlsup, nginx), mounts()
    process = tlsup.start("enable", name, "--dry-run", "--nginx-bin", program, *fake_ca.arguments)
    machine.until(seen.exists, "the new lines were not tested")
    process.send_signal(number)
    assert tlsup.finish(process, timeout=60).status != 0
    machine.until(lambda: not tlsup.running() and not asleep(), "its children live on")
    assert not snapshot.difference(tree_of(before, nginx), nginx.configuration()) and mounts() == mounted
    tlsup.ok("recover")
    assert not list(tlsup.state.glob("live/*")) and not (tlsup.state / ".rehearsal").exists()


def test_all_sites(tlsup, fake_ca, nginx, new_name):
    names = [new_name() for _ in range(2)]
    for each in names:
        nginx.site(each)
    with open("/etc/hosts", "a") as file:
        file.write(f"127.0.0.1 {' '.join(names)}\n")
    nginx.start()
    before = everything(tlsup, nginx)
    result = tlsup.ok("enable", "--all", "--dry-run", *fake_ca.arguments)
    assert all(f"{each}: would have got" in result.out for each in names), result
    assert len(re.findall(r"(?m)^ +tested +by nginx", result.out)) == 2 == len(fake_ca.requests("finalize")), result
    assert not snapshot.difference(before, everything(tlsup, nginx)) and not net.port_open(443)


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
    assert not snapshot.difference(tree_of(before, server), server.configuration())
    assert server.test().returncode == 0 and net.http(name).status == 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_interrupted_with_a_token_in_a_webroot(tlsup, fake_ca, nginx, name, number):
    root = nginx.site(name) and pathlib.Path("/var/www", name)
    nginx.start()
    before, tokens = snapshot.snapshot(root), root / ".well-known/acme-challenge"
    fake_ca.hold, asked = True, len(fake_ca.log)
    process = tlsup.start("issue", name, "--webroot", "-w", root, "--dry-run", *fake_ca.arguments)
    fake_ca.wait_until_asked("challenge", asked)
    assert list(tokens.iterdir())
    process.send_signal(number)
    assert tlsup.finish(process, timeout=60).status != 0
    assert not snapshot.difference(before, snapshot.snapshot(root))
    fake_ca.release()


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
