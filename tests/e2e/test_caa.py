"""CAA (RFC 8659, RFC 8657) is looked at before the CA is asked: what it forbids costs no order, and no failed validation."""

import itertools
import json
import re

import pytest

from harness import named
from harness.client import check_store
from harness.named import Zone

NAMES = itertools.count(1)
STANDALONE = ["--standalone"]


@pytest.fixture
def name():
    return f"c{next(NAMES)}.example.test"


@pytest.fixture
def zone(make_named, key, name):
    """zone(records…): a BIND with the zone of the test's name; what begins with a digit is CAA of the name itself."""
    def make(*records, **options):
        return make_named(zones=[Zone(name, [f"@ CAA {r}" if r[0].isdigit() else r for r in records], updaters=[key], **options)])

    return make


def by_update(key):
    return ["--dns-update-server", "127.0.0.1", "--dns-update-key", key.file]


def orders(ca):
    return [r for r in ca.requests() if r.startswith("POST /order-plz")]


def allowed(tlsup, ca, *words):
    result = tlsup.ok("issue", *words, *ca.arguments)
    return result


def forbidden(tlsup, ca, *words, says):
    """Nothing was ordered, and the person is told which record is in the way."""
    before = len(orders(ca))
    result = tlsup("issue", *words, *ca.arguments)
    assert result.status in (2, 3), result
    assert "CAA" in result.err and re.search(says, result.err), result
    assert len(orders(ca)) == before, "an order reached the CA"
    return result


def account_url(tlsup, ca):
    tlsup.ok("account", "register", *[w for w in ca.arguments])
    return json.loads(next((tlsup.state / "accounts").glob("*/account.json")).read_text())["url"]


def test_none(tlsup, dns_ca, zone, name):
    """No record anywhere: everybody may. Asked for up to the root."""
    server = zone()
    allowed(tlsup, dns_ca, name, *STANDALONE)
    check_store(tlsup, name, [name], dns_ca.roots)
    assert server.queries(name, "CAA") and server.queries("test", "CAA")


def test_this_ca(tlsup, dns_ca, zone, name):
    zone('0 issue "pebble.test"', '0 iodef "mailto:security@example.test"')
    allowed(tlsup, dns_ca, name, *STANDALONE)


def test_in_any_case_and_with_blanks(tlsup, dns_ca, zone, name):
    zone('0 ISSUE "  Pebble.Test ; "')
    allowed(tlsup, dns_ca, name, *STANDALONE)


def test_another_ca(tlsup, dns_ca, zone, name):
    zone('0 issue "other-ca.test"')
    result = forbidden(tlsup, dns_ca, name, *STANDALONE, says="other-ca.test")
    assert "pebble.test" in result.err, "what the record would have to be"
    assert name in result.err


def test_one_of_several(tlsup, dns_ca, zone, name):
    zone('0 issue "other-ca.test"', '0 issue "pebble.test"')
    allowed(tlsup, dns_ca, name, *STANDALONE)


def test_nobody(tlsup, dns_ca, zone, name):
    zone('0 issue ";"')
    forbidden(tlsup, dns_ca, name, *STANDALONE, says=r'";"|no CA|nobody')


def test_issuewild_is_for_wildcards(tlsup, dns_ca, zone, name, key):
    zone('0 issue "pebble.test"', '0 issuewild ";"')
    forbidden(tlsup, dns_ca, f"*.{name}", *by_update(key), says="issuewild")
    allowed(tlsup, dns_ca, name, *by_update(key))


def test_issuewild_alone_says_nothing_of_plain_names(tlsup, dns_ca, zone, name, key):
    zone('0 issuewild "other-ca.test"')
    allowed(tlsup, dns_ca, name, *STANDALONE)
    forbidden(tlsup, dns_ca, f"*.{name}", *by_update(key), says="other-ca.test")


def test_wildcard_goes_by_issue_without_issuewild(tlsup, dns_ca, zone, name, key):
    zone('0 issue "pebble.test"')
    allowed(tlsup, dns_ca, f"*.{name}", *by_update(key))


def test_wildcard_by_issuewild_alone(tlsup, dns_ca, zone, name, key):
    """The base name is another CA's, the wildcard is ours."""
    zone('0 issue "other-ca.test"', '0 issuewild "pebble.test"')
    allowed(tlsup, dns_ca, f"*.{name}", *by_update(key))
    forbidden(tlsup, dns_ca, name, f"*.{name}", *by_update(key), says="other-ca.test")


def test_this_account(tlsup, dns_ca, zone, name):
    zone(f'0 issue "pebble.test; accounturi={account_url(tlsup, dns_ca)}"')
    allowed(tlsup, dns_ca, name, *STANDALONE)


def test_another_account(tlsup, dns_ca, zone, name):
    zone('0 issue "pebble.test; accounturi=https://localhost:1/my-account/77"')
    forbidden(tlsup, dns_ca, name, *STANDALONE, says="my-account/77")


def test_another_account_is_known_though_ours_is_new(tlsup, dns_ca, zone, name):
    """The first run of all: the account is registered before, so that it can be compared."""
    zone('0 issue "pebble.test; accounturi=https://localhost:1/my-account/77"')
    assert not (tlsup.state / "accounts").exists()
    forbidden(tlsup, dns_ca, name, *STANDALONE, says="account")


def test_method(tlsup, dns_ca, zone, name, key):
    zone('0 issue "pebble.test; validationmethods=dns-01,tls-alpn-01"')
    forbidden(tlsup, dns_ca, name, *STANDALONE, says="http-01")
    allowed(tlsup, dns_ca, name, *by_update(key))


def test_method_that_is_allowed_is_the_one_used(tlsup, dns_ca, zone, name, key):
    """http-01 is preferred here, but the CA would refuse it: dns-01 is left."""
    server = zone('0 issue "pebble.test; validationmethods=dns-01"')
    allowed(tlsup, dns_ca, name, "--challenge", "standalone,dns", *by_update(key))
    assert [u for u in server.updates() if "adding an RR" in u], "it was tried by http-01, which CAA forbids"


def test_account_and_method(tlsup, dns_ca, zone, name):
    url = account_url(tlsup, dns_ca)
    zone(f'0 issue "pebble.test; validationmethods=http-01; accounturi={url}"', '0 issue "pebble.test; accounturi=https://localhost:1/2"')
    allowed(tlsup, dns_ca, name, *STANDALONE)


def test_critical_property_that_nobody_knows(tlsup, dns_ca, zone, name):
    zone('128 tbs "Unknown"', '0 issue "pebble.test"')
    forbidden(tlsup, dns_ca, name, *STANDALONE, says="tbs")


def test_property_that_nobody_knows(tlsup, dns_ca, zone, name):
    zone('0 tbs "Unknown"', '0 issue "pebble.test"')
    allowed(tlsup, dns_ca, name, *STANDALONE)


def test_inherited_from_the_parent(tlsup, dns_ca, zone, name):
    zone('0 issue "other-ca.test"')
    result = forbidden(tlsup, dns_ca, f"a.b.{name}", *STANDALONE, says="other-ca.test")
    assert f"a.b.{name}" in result.err, result


def test_nearer_records_count(tlsup, dns_ca, zone, name):
    zone('0 issue "other-ca.test"', 'www CAA 0 issue "pebble.test"', "www A 127.0.0.1")
    allowed(tlsup, dns_ca, f"www.{name}", *STANDALONE)


def test_through_a_cname(tlsup, dns_ca, make_named, name):
    """The records of the name that it is an alias of, not those of that one's parents."""
    make_named(zones=[Zone(name, ["www CNAME host.there.test."]),
                      Zone("there.test", ['host CAA 0 issue "other-ca.test"', "host A 127.0.0.1"])])
    forbidden(tlsup, dns_ca, f"www.{name}", *STANDALONE, says="other-ca.test")


def test_servfail_is_only_noted(tlsup, dns_ca, make_named, name):
    """The zone above does not answer. The CA may see more than we: it is asked."""
    make_named(zones=[Zone("example.test", broken=True), Zone(name)])
    result = allowed(tlsup, dns_ca, name, *STANDALONE, "-v")
    assert "CAA" in result.err, result


def test_no_resolver_is_only_noted(tlsup, dns_ca, make_named, name):
    make_named(zones=[Zone(name)])
    named.use_as_resolver("127.0.0.77")
    allowed(tlsup, dns_ca, name, *STANDALONE)


def test_one_of_many_names(tlsup, dns_ca, zone, name):
    """The error names the one that is forbidden."""
    zone('bad CAA 0 issue "other-ca.test"', "bad A 127.0.0.1")
    result = forbidden(tlsup, dns_ca, name, f"good.{name}", f"bad.{name}", *STANDALONE, says="other-ca.test")
    assert f"bad.{name}" in result.err and f"good.{name}" not in result.err.split("tlsup:")[-1], result


def test_partial_certificate_leaves_it_out(tlsup, dns_ca, zone, name):
    zone('bad CAA 0 issue "other-ca.test"', "bad A 127.0.0.1")
    allowed(tlsup, dns_ca, name, f"bad.{name}", *STANDALONE, "--allow-partial")
    check_store(tlsup, name, [name], dns_ca.roots)


def test_other_certificates_are_not_held_up(tlsup, dns_ca, zone, name, tmp_path):
    zone('bad CAA 0 issue "other-ca.test"', "bad A 127.0.0.1")
    domains = tmp_path / "domains.txt"
    domains.write_text(f"bad.{name}\n{name}\n")
    result = tlsup("issue", "--from", domains, *STANDALONE, *dns_ca.arguments)
    assert result.status != 0 and "other-ca.test" in result.err, result
    check_store(tlsup, name, [name], dns_ca.roots)


def test_next_ca_is_tried(tlsup, dns_ca, make_pebble, zone, name):
    """CAA forbids the first CA of the list; the second one may."""
    second = make_pebble(nonce_reject=0, caa_identities=["second.test"], resolver="127.0.0.1:53")
    zone('0 issue "second.test"')
    before = len(orders(dns_ca))
    tlsup.ok("issue", name, *STANDALONE, "--server", f"{dns_ca.url},{second.url}", "--ca-bundle", dns_ca.bundle, "--agree-tos", "-n")
    assert len(orders(dns_ca)) == before
    check_store(tlsup, name, [name], second.roots)


@pytest.mark.parametrize("value", ["%%%%", "", "=", "a b c", "x" * 250, "pebble.test; =", "pebble.test; accounturi", "\\255\\000\\010", ";;;;"],
                         ids=["percent", "empty", "equals", "blanks", "long", "parameter", "no-value", "bytes", "semicolons"])
def test_records_that_are_none_forbid(tlsup, dns_ca, zone, name, value):
    """RFC 8659 section 4.2: a value that cannot be read is no permission; nothing of it reaches the terminal raw."""
    zone(f'0 issue "{value}"')
    result = forbidden(tlsup, dns_ca, name, *STANDALONE, says="CAA")
    assert "\0" not in result and "\x1b" not in result
