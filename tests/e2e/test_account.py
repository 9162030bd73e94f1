"""The account at the CA: made once, found again, shown."""

import os
import re
import stat

import pytest

from harness import snapshot
from harness.client import Client
from harness.fakeca import Problem


def test_register_and_show(tlsup, ca):
    result = tlsup.ok("account", "register", *ca.arguments, "-m", "admin@example.org")
    assert re.search(r"https://localhost:\d+/my-account/", result.text), result
    key = tlsup.state / "accounts" / "key.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    shown = tlsup.ok("account", "show", "--server", ca.url, "--ca-bundle", str(ca.bundle))
    assert "admin@example.org" in shown.out and "/my-account/" in shown.out, shown


def test_register_twice_is_the_same_account(tlsup, ca):
    url = re.compile(r"https://localhost:\d+/my-account/\S+?(?=[\s.,)]|$)")
    first = url.search(tlsup.ok("account", "register", *ca.arguments).text).group()
    key = (tlsup.state / "accounts" / "key.pem").read_bytes()
    second = tlsup.ok("account", "register", *ca.arguments)
    assert url.search(second.text).group() == first
    assert (tlsup.state / "accounts" / "key.pem").read_bytes() == key


def test_lost_record_of_a_known_key(tlsup, ca):
    """account.json is gone, the CA knows the key: it is found again, not made anew."""
    tlsup.ok("account", "register", *ca.arguments)
    for path in (tlsup.state / "accounts").rglob("account.json"):
        path.unlink()
    before = tlsup.state / "accounts" / "key.pem"
    key = before.read_bytes()
    tlsup.ok("account", "register", *ca.arguments)
    assert before.read_bytes() == key


def test_show_without_an_account(tlsup, ca):
    result = tlsup("account", "show", "--server", ca.url, "--ca-bundle", str(ca.bundle))
    assert "account" in result.text and re.search(r"register", result.text), result


def test_show_as_json(tlsup, ca):
    tlsup.ok("account", "register", *ca.arguments, "-m", "admin@example.org")
    shown = tlsup.ok("account", "show", "--json", "--server", ca.url, "--ca-bundle", str(ca.bundle)).json()
    assert "/my-account/" in str(shown) and "admin@example.org" in str(shown) and "PRIVATE" not in str(shown)


def test_terms_must_be_agreed_to(tlsup, ca, name):
    words = [w for w in ca.arguments if w != "--agree-tos"]
    for command in (["account", "register"], ["issue", name, "--standalone"]):
        result = tlsup(*command, *words)
        assert result.status == 2 and "--agree-tos" in result.err and re.search("terms", result.err, re.I), result
    assert not list((tlsup.state / "accounts").rglob("account.json")) if tlsup.state.exists() else True
    assert not [r for r in ca.requests()[-3:] if "order" in r]


def test_terms_are_asked_for_on_a_terminal(tlsup, ca, name):
    words = [w for w in ca.arguments if w not in ("--agree-tos", "-n")]
    status, seen = tlsup.on_terminal("issue", name, "--standalone", *words, keys=b"y\n")
    assert status == 0 and re.search("terms", seen, re.I), seen
    other = Client(state="/var/lib/tlsup/other")
    status, seen = other.on_terminal("issue", name, "--standalone", *words, keys=b"n\n")
    assert status not in (0, 1, 5) and "--agree-tos" in seen, seen


@pytest.mark.parametrize("email", ["nobody", "@example.org", "a@", "a b@example.org", "a@example.org\nb@example.org", "a@exa mple.org"])
def test_bad_email(tlsup, ca, email):
    asked = len(ca.requests())
    result = tlsup("account", "register", *ca.arguments, "-m", email)
    assert result.status == 2 and re.search(r"e-?mail|address", result.err, re.I), result
    assert len(ca.requests()) == asked, "a typing mistake needs no CA"


def test_one_key_for_all_cas(tlsup, ca, fake_ca, new_name):
    tlsup.ok("issue", new_name(), "--standalone", *ca.arguments)
    tlsup.ok("issue", new_name(), "--standalone", *fake_ca.arguments)
    keys = [p for p in (tlsup.state / "accounts").rglob("key.pem")]
    assert keys == [tlsup.state / "accounts" / "key.pem"]
    assert len(list((tlsup.state / "accounts").rglob("account.json"))) == 2


def test_ca_that_lost_its_database(tlsup, make_pebble, new_name):
    """The account is unknown there now: it is registered again, once, and the certificate is had."""
    ca = make_pebble(nonce_reject=3)
    tlsup.ok("issue", new_name(), "--standalone", *ca.arguments)
    ca.restart()
    name = new_name()
    tlsup.ok("issue", name, "--standalone", *ca.arguments)
    assert tlsup.version(name) == 1


def test_account_that_nobody_knows_again_and_again(tlsup, fake_ca, name):
    tlsup.ok("account", "register", *fake_ca.arguments)
    fake_ca.misbehave("order", lambda *_: Problem(400, "accountDoesNotExist", "never heard of it"))
    result = tlsup("issue", name, "--standalone", *fake_ca.arguments)
    assert result.status in (1, 3) and "never heard of it" in result.err, result
    assert len(fake_ca.requests("order")) <= 3


def test_deactivated_account(tlsup, fake_ca, name):
    fake_ca.misbehave("order", lambda *_: Problem(403, "unauthorized", "account is deactivated"))
    result = tlsup("issue", name, "--standalone", *fake_ca.arguments)
    assert result.status == 3 and "account is deactivated" in result.err, result


def test_changed_terms(tlsup, fake_ca, name):
    fake_ca.misbehave("order", lambda *_: Problem(403, "userActionRequired", "Terms of service have changed", instance="https://ca.test/terms-2"))
    result = tlsup("issue", name, "--standalone", *fake_ca.arguments)
    assert result.status == 3 and "https://ca.test/terms-2" in result.err, result


def test_account_key_that_is_garbage(tlsup, ca, name):
    tlsup.ok("account", "register", *ca.arguments)
    key = tlsup.state / "accounts" / "key.pem"
    key.write_text("this is no key\n")
    before = snapshot.snapshot(tlsup.state / "accounts")
    result = tlsup("issue", name, "--standalone", *ca.arguments)
    assert result.status != 0 and str(key) in result.err, result
    assert not snapshot.difference(before, snapshot.snapshot(tlsup.state / "accounts")), "somebody's key is never overwritten"


def test_external_account_is_required(tlsup, make_pebble, name):
    ca = make_pebble(nonce_reject=0, eab={"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"})
    result = tlsup("issue", name, "--standalone", *ca.arguments)
    assert result.status in (2, 3) and re.search(r"external account", result.err, re.I), result
    assert not os.path.lexists(tlsup.live(name))
