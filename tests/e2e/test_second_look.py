"""Where several features meet: two certificates in one entry, partial issuance, failover, revocation, lost and found accounts."""

import os
import pathlib
import signal
import ssl
import subprocess

import pytest

from harness import fakeca
from harness.fakeca import Problem, Reply
from conftest import PORTS

DAY = 86400


def rejects(bad):
    def behaviour(ca, request):
        if any(i["value"] == bad for i in request.payload["identifiers"]):
            return Problem(400, "rejectedIdentifier", "not this one", subproblems=[
                {"type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "forbidden by policy",
                 "identifier": {"type": "dns", "value": bad}}])
        return None
    return behaviour


def test_dual_and_partial(tlsup, fake_ca, name):
    bad = f"bad.{name}"
    fake_ca.misbehave("order", rejects(bad))
    result = tlsup("issue", name, bad, "--standalone", "--allow-partial", "--key-type", "ecdsa-p256,rsa-2048", *fake_ca.arguments)
    assert result.status == 0, result


def test_more_cas_than_rounds(tlsup, fake_ca, name):
    fake_ca.misbehave("order", lambda *_: Problem(403, "unauthorized", "not today"))
    words = [w for i in range(13) for w in ("--server", f"https://localhost:{fake_ca.port}/x{i}")]
    result = tlsup("issue", name, "--standalone", *words, "--ca-bundle", str(fake_ca.bundle), "--agree-tos", "-n")
    print(result)
    assert result.status != 0 and "no such" not in result.text, result
    assert not (pathlib.Path("/var/lib/tlsup/live") / name).is_symlink()


@pytest.fixture
def second_ca(tmp_path, authority):
    server = fakeca.FakeCA(tmp_path / "..", authority, next(PORTS))
    yield server
    server.close()


def test_replaces_goes_to_its_own_ca(tlsup, fake_ca, second_ca, name):
    fake_ca.window = second_ca.window = ("2098-01-01T00:00:00Z", "2099-01-01T00:00:00Z")
    both = ["--server", fake_ca.url, "--server", second_ca.url, "--ca-bundle", str(fake_ca.bundle), "--agree-tos", "-n"]
    tlsup.ok("issue", name, "--standalone", *both)
    fake_ca.misbehave("order", lambda *_: Problem(429, "rateLimited", "too many", headers={"Retry-After": "86400"}))
    tlsup.ok("renew", name, "--force-renewal")
    asked = [r.payload for r in second_ca.requests("order")]
    assert asked and not any("replaces" in p for p in asked), asked


def spki(path):
    return subprocess.run(["openssl", "x509", "-in", str(path), "-noout", "-pubkey"], capture_output=True, check=True).stdout


def test_compromised_key_of_an_order_in_flight(tlsup, fake_ca, name):
    tlsup.ok("issue", name, "--standalone", "--reuse-key", *fake_ca.arguments)
    before = spki(tlsup.file(name))
    fake_ca.misbehave("order-poll", lambda ca, r: Reply(body=ca.order_body(int(r.path.rsplit("/", 1)[1])), headers={"Retry-After": "30"}))
    fake_ca.polls_until_valid = 10**9
    since = len(fake_ca.log)
    process = tlsup.start("renew", name, "--force-renewal")
    fake_ca.wait_until_asked("finalize", since)
    import time
    time.sleep(1)
    process.send_signal(signal.SIGKILL)
    tlsup.finish(process)
    fake_ca.behave()
    fake_ca.polls_until_valid = 0
    tlsup.ok("revoke", name, "--reason", "keyCompromise", "-n")
    for _ in range(2):
        tlsup("renew", name)
    assert tlsup.version(name) >= 2
    assert spki(tlsup.file(name)) != before, "the compromised key is in use again"


def test_half_revoked(tlsup, fake_ca, name):
    tlsup.ok("issue", name, "--standalone", "--key-type", "ecdsa-p256,rsa-2048", *fake_ca.arguments)
    fake_ca.misbehave("revoke", [None, Problem(403, "unauthorized", "no")])
    assert tlsup("revoke", name, "-n").status != 0
    fake_ca.behave()
    tlsup.ok("renew")
    assert tlsup.version(name) == 2, "a certificate that is revoked by half must be replaced"


def test_window_beyond_expiry(tlsup, fake_ca, name):
    fake_ca.window = ("2098-01-01T00:00:00Z", "2099-01-01T00:00:00Z")
    fake_ca.lifetime_s, fake_ca.not_before_ago_s = 90 * DAY, 89 * DAY
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    print(open(f"/var/lib/tlsup/state/{name}.json").read())
    fake_ca.not_before_ago_s = 3600
    print(tlsup.ok("renew", "-vv"))
    assert tlsup.version(name) == 2


def test_a_refused_key_change(tlsup, fake_ca, name):
    tlsup.ok("account", "register", *fake_ca.arguments)
    fake_ca.misbehave("key-change", lambda ca, r: Problem(403, "unauthorized", "no", headers={"Location": ca.account_url(ca.account_of(r))}))
    result = tlsup("account", "change-key", *fake_ca.arguments[:4], "-n")
    assert result.status != 0 and "keeps the key that it has" in result.err, result
    assert not list(tlsup.state.rglob("key-next*")), "nothing hangs on it, and every later run would ask about it"
    fake_ca.behave()
    fake_ca.strict_signatures = True
    result = tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    assert "was cut" not in result.text, result
    tlsup.ok("account", "change-key", *fake_ca.arguments[:4], "-n")
    tlsup.ok("renew", name, "--force-renewal")


def test_a_key_change_that_one_of_two_cas_refuses(tlsup, fake_ca, second_ca, name):
    """The other has taken it: both keys are kept, and each CA goes on with the one it knows."""
    ours = ["--ca-bundle", str(fake_ca.bundle), "-n"]
    for ca in (fake_ca, second_ca):
        tlsup.ok("account", "register", "--agree-tos", "--server", ca.url, *ours)
    last = max((fake_ca, second_ca), key=lambda ca: ca.url)  # accounts are gone through in this order
    last.misbehave("key-change", lambda *_: Problem(403, "unauthorized", "no"))
    result = tlsup("account", "change-key", "--server", fake_ca.url, *ours)
    assert result.status != 0 and "both are kept" in result.err, result
    assert list(tlsup.state.rglob("key-next*"))
    for ca in (fake_ca, second_ca):
        ca.strict_signatures = True
        tlsup.ok("issue", f"{ca.port}.{name}", "--standalone", "--agree-tos", "--server", ca.url, *ours)
    last.behave()
    tlsup.ok("account", "change-key", "--server", fake_ca.url, *ours)
    assert not list(tlsup.state.rglob("key-next*"))
    for ca in (fake_ca, second_ca):
        tlsup.ok("renew", f"{ca.port}.{name}", "--force-renewal")


def test_deactivated_elsewhere(tlsup, fake_ca, name):
    tlsup.ok("account", "register", *fake_ca.arguments)
    old = next(iter(fake_ca.accounts))

    def account(ca, request):
        if request.path == "/new-account" and fakeca.thumbprint_of(request.protected["jwk"]) == old:
            return Reply(200, {"status": "deactivated"}, headers={"Location": ca.account_url(ca.accounts[old])})
        return None
    fake_ca.misbehave("account", account)
    tlsup("account", "register", *fake_ca.arguments)
    tlsup.ok("account", "register", *fake_ca.arguments)
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)


def test_one_dead_courier(tlsup, fake_ca, second_ca, new_name):
    """The process for one CA dies: what the other CA has issued is put in place all the same."""
    from harness import machine
    one, other = new_name(), new_name()
    for n, ca in ((one, fake_ca), (other, second_ca)):
        tlsup.ok("issue", n, "--standalone", *ca.arguments)
    second_ca.hold = True
    since = len(second_ca.log)
    process = tlsup.start("renew", "--force-renewal")
    second_ca.wait_until_asked("challenge", since)
    import time
    time.sleep(0.5)
    # the couriers are those that have the network; kill each child whose peer is the second CA
    out = subprocess.run(["ss", "-tnp"], capture_output=True, text=True).stdout
    import re
    pids = {int(p) for line in out.splitlines() if f":{second_ca.port}" in line.split()[4] for p in re.findall(r"pid=(\d+)", line)}
    assert pids, out
    for p in pids:
        os.kill(p, signal.SIGKILL)
    result = tlsup.finish(process)
    print(result)
    assert tlsup.version(one) == 2, result


def test_import_of_a_deactivated_key(tlsup, fake_ca, name, tmp_path):
    """It is refused, and the account that is here goes on."""
    key = tmp_path / "key.pem"
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key)], check=True)
    key.chmod(0o600)
    tlsup.ok("account", "register", *fake_ca.arguments)
    good = next(iter(fake_ca.accounts))

    def account(ca, request):
        if request.path == "/new-account" and fakeca.thumbprint_of(request.protected["jwk"]) != good:
            return Reply(200, {"status": "deactivated"}, headers={"Location": ca.base + "/account/999"})
        return None
    fake_ca.misbehave("account", account)
    result = tlsup("account", "import", str(key), *fake_ca.arguments[:4], "-n")
    assert result.status != 0, result
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
