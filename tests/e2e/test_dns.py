"""Proof through the domain name system: dynamic updates (RFC 2136) at a real BIND, dns-01, dns-account-01, dns-persist-01."""

import base64
import hashlib
import itertools
import json
import re
import signal
import socket
import time

import pytest

from harness import fakeca, named
from harness.client import check_store
from harness.named import NS1, NS2, Key, Zone, until

NAMES = itertools.count(1)


@pytest.fixture
def name():
    return f"d{next(NAMES)}.example.test"


@pytest.fixture
def server(make_named, key, name):
    """One BIND that has the zone of the test's name, which `key` may update."""
    return make_named(zones=[Zone(name, updaters=[key])])


def by_update(key, server="127.0.0.1"):
    return ["--dns-update-server", server, "--dns-update-key", key.file]


def challenge_of(name):
    return f"_acme-challenge.{name}"


def orders(ca, since=0):
    return [r for r in ca.requests()[since:] if r.startswith("POST /order-plz")]


def triggered(ca, since=0):
    return [r for r in ca.requests()[since:] if r.startswith("POST /chalZ")]


def account_url(tlsup):
    files = list((tlsup.state / "accounts").glob("*/account.json"))
    assert len(files) == 1, files
    return json.loads(files[0].read_text())["url"]


def issue(tlsup, ca, *words, **options):
    return tlsup.ok("issue", *words, *ca.arguments, **options)


def fail(tlsup, ca, *words, status=(1, 2, 3, 4), **options):
    result = tlsup("issue", *words, *ca.arguments, **options)
    assert result.status in status, result
    return result


# -- dns-01 by dynamic update -------------------------------------------------------------------------------


def test_by_update(tlsup, dns_ca, server, key, name):
    """The server is told, the key is a file as tsig-keygen writes it, the zone is found; nothing stays behind."""
    result = issue(tlsup, dns_ca, name, *by_update(key))
    check_store(tlsup, name, [name], dns_ca.roots)
    assert [u for u in server.updates() if "adding an RR at" in u], server.log_text()[-2000:]
    assert server.txt(challenge_of(name)) == []
    assert key.secret not in result


@pytest.mark.parametrize("algorithm", ["hmac-sha256", "hmac-sha512", "hmac-sha1"])
def test_key_as_nsupdate_takes_it(tlsup, dns_ca, make_named, tmp_path, name, algorithm):
    key = Key(tmp_path, "k.example.test", algorithm)
    make_named(zones=[Zone(name, updaters=[key])])
    issue(tlsup, dns_ca, name, "--dns-update-server", "127.0.0.1:53", "--dns-update-key", key.line_file)
    check_store(tlsup, name, [name], dns_ca.roots)


def test_primary_is_found_in_the_zone(tlsup, dns_ca, make_named, key, name):
    """What the CA and the resolver ask is a secondary; updates go to the server that the SOA record names."""
    primary = make_named(address="127.0.0.2", zones=[Zone(name, updaters=[key], servers=[NS1], mname=NS2, notify=["127.0.0.1"])])
    secondary = make_named(zones=[Zone(name, primaries=["127.0.0.2"])])
    issue(tlsup, dns_ca, name, *by_update(key, "primary"))
    check_store(tlsup, name, [name], dns_ca.roots)
    assert primary.txt(challenge_of(name)) == []
    assert [u for u in primary.updates() if "adding an RR at" in u]
    assert not [u for u in secondary.updates() if "updating zone" in u]


def test_the_innermost_zone_is_the_one(tlsup, dns_ca, make_named, key, name):
    """A zone cut below the domain: _acme-challenge of a name in sub.NAME belongs into the zone sub.NAME."""
    inner, other = f"sub.{name}", Key(key.file.parent, "other-key")
    server = make_named(zones=[Zone(name, [f"sub NS {NS1}."], updaters=[other]), Zone(inner, updaters=[key])])
    issue(tlsup, dns_ca, f"www.a.{inner}", *by_update(key))
    assert all(f"'{inner}/IN'" in u for u in server.updates() if "adding an RR" in u), server.updates()


def test_zone_that_is_told(tlsup, dns_ca, server, key, name):
    issue(tlsup, dns_ca, f"a.b.{name}", *by_update(key), "--dns-update-zone", name)
    assert server.txt(challenge_of(f"a.b.{name}")) == []


def test_zone_that_is_told_wrong(tlsup, dns_ca, server, key, name):
    result = fail(tlsup, dns_ca, name, *by_update(key), "--dns-update-zone", "elsewhere.test")
    assert "elsewhere.test" in result.err, result


def test_wrong_secret(tlsup, dns_ca, server, key, name, tmp_path):
    """A person sees which key was refused by whom; the CA is not asked to look."""
    before = len(dns_ca.requests())
    wrong = Key(tmp_path, key.name)
    result = fail(tlsup, dns_ca, name, *by_update(wrong))
    assert key.name in result.err and re.search(r"BADSIG|secret|signature", result.err), result
    assert not triggered(dns_ca, before)
    assert wrong.secret not in result and key.secret not in result


def test_unknown_key(tlsup, dns_ca, server, name, tmp_path):
    wrong = Key(tmp_path, "nobody-knows-me")
    result = fail(tlsup, dns_ca, name, *by_update(wrong))
    assert "nobody-knows-me" in result.err and re.search(r"BADKEY|not know|unknown|refuse", result.err), result


def test_update_refused(tlsup, dns_ca, make_named, key, name, tmp_path):
    """A key that the server knows, but that may not touch this zone."""
    make_named(zones=[Zone(name)], keys=[key])
    before = len(dns_ca.requests())
    result = fail(tlsup, dns_ca, name, *by_update(key))
    assert "REFUSED" in result.err or "refuse" in result.err, result
    assert name in result.err and key.name in result.err, result
    assert not triggered(dns_ca, before)


def test_update_without_a_key_is_refused(tlsup, dns_ca, server, name):
    result = fail(tlsup, dns_ca, name, "--dns-update-server", "127.0.0.1")
    assert "REFUSED" in result.err and "TSIG key" in result.err, result


def test_what_was_refused_needs_no_removal(tlsup, dns_ca, server, name):
    """One error for one cause: what the server did not take cannot have stayed there."""
    result = fail(tlsup, dns_ca, name, "--dns-update-server", "127.0.0.1")
    assert "taken away" not in result.err, result


def test_update_server_by_its_name(tlsup, dns_ca, server, key, name):
    issue(tlsup, dns_ca, name, *by_update(key, NS1))
    check_store(tlsup, name, [name], dns_ca.roots)


def test_update_server_by_a_name_that_is_none(tlsup, dns_ca, server, key, name):
    result = fail(tlsup, dns_ca, name, *by_update(key, "no-such-server.dns.test"))
    assert "no-such-server.dns.test" in result.err, result


def test_update_server_is_down(tlsup, dns_ca, server, key, name):
    """Nothing listens at that address."""
    began = time.monotonic()
    result = fail(tlsup, dns_ca, name, *by_update(key, "127.0.0.9"))
    assert "127.0.0.9" in result.err, result
    assert time.monotonic() - began < 15


def test_name_server_that_hangs(tlsup, dns_ca, make_named, key, name):
    """It takes what is sent, and says nothing: an end by our own deadline, which names it."""
    make_named(zones=[Zone(name, updaters=[key])])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
        udp.bind(("127.0.0.8", 53))
        tcp.bind(("127.0.0.8", 53))
        tcp.listen()
        result = fail(tlsup, dns_ca, name, *by_update(key, "127.0.0.8"), timeout=60)
    assert "127.0.0.8" in result.err, result


def test_no_name_server_at_all(tlsup, dns_ca, key, name):
    """The system's resolver is dead. Its answer to CAA is only noted; where the record belongs has to be known."""
    named.use_as_resolver("127.0.0.1")
    result = fail(tlsup, dns_ca, name, *by_update(key))
    assert "127.0.0.1" in result.err and challenge_of(name) in result.err, result


def test_key_file_that_others_can_read(tlsup, dns_ca, server, key, name):
    key.file.chmod(0o644)
    result = tlsup("issue", name, *by_update(key), *dns_ca.arguments)
    assert result.status in (1, 2) and str(key.file) in result.err and "chmod" in result.err, result
    assert not server.updates()


@pytest.mark.parametrize("content", [b"", b"key", b'key "a" { algorithm hmac-sha256; };', b'key "a" { algorithm hmac-nonsense; secret "YWFh"; };',
                                     b'key "a" { algorithm hmac-sha256; secret "!!!!"; };', b"\0\xff\n", b"A" * 200000],
                         ids=["empty", "cut", "no-secret", "algorithm", "base64", "binary", "huge"])
def test_key_file_that_is_none(tlsup, dns_ca, server, name, tmp_path, content):
    path = tmp_path / "broken.key"
    path.touch(mode=0o600)
    path.write_bytes(content)
    result = tlsup("issue", name, "--dns-update-server", "127.0.0.1", "--dns-update-key", path, *dns_ca.arguments)
    assert result.status in (1, 2) and str(path) in result.err, result
    assert len(result.err) < 2000


def test_renewal_remembers_how(tlsup, dns_ca, server, key, name):
    issue(tlsup, dns_ca, name, *by_update(key))
    text = (tlsup.config / "certs.d" / f"{name}.conf").read_text()
    assert str(key.file) in text and key.secret not in text, text
    tlsup.ok("renew", "--force-renewal")
    assert tlsup.version(name) == 2 and server.txt(challenge_of(name)) == []


def test_secrets_are_not_in_debug_output(tlsup, dns_ca, server, key, name):
    result = issue(tlsup, dns_ca, name, *by_update(key), "--debug")
    assert key.secret not in result


# -- wildcards, several values ------------------------------------------------------------------------------


def test_wildcard(tlsup, dns_ca, server, key, name):
    issue(tlsup, dns_ca, f"*.{name}", *by_update(key))
    check_store(tlsup, f"_wildcard.{name}", [f"*.{name}"], dns_ca.roots)
    assert server.txt(challenge_of(name)) == []


def test_base_and_wildcard_side_by_side(tlsup, dns_ca, server, key, name):
    """Two values of one record in one order, and somebody else's third one that stays."""
    server.add_txt(challenge_of(name), "somebody else's")
    issue(tlsup, dns_ca, name, f"*.{name}", *by_update(key))
    check_store(tlsup, name, [name, f"*.{name}"], dns_ca.roots)
    added = [u for u in server.updates() if "adding an RR" in u]
    deleted = [u for u in server.updates() if "deleting an RR" in u]
    assert len(added) == 3 and len(deleted) == 2, server.updates()  # one of those is the other's
    assert server.txt(challenge_of(name)) == ["somebody else's"]


def test_twenty_names_at_once(tlsup, dns_ca, server, key, name):
    names = [f"w{i}.{name}" for i in range(18)] + [name, f"*.{name}"]
    result = issue(tlsup, dns_ca, *names, *by_update(key))
    check_store(tlsup, names[0], names, dns_ca.roots)
    assert not [n for n in names if server.txt(challenge_of(n.replace("*.", "")))]
    assert result.seconds < 30, result


def test_many_certificates_at_once(tlsup, dns_ca, server, key, name, tmp_path):
    """Eight orders by DNS in one run."""
    domains = tmp_path / "domains.txt"
    domains.write_text("".join(f"m{i}.{name} *.m{i}.{name}\n" for i in range(8)))
    tlsup.ok("issue", "--from", domains, *by_update(key), *dns_ca.arguments)
    for i in range(8):
        check_store(tlsup, f"m{i}.{name}", [f"m{i}.{name}", f"*.m{i}.{name}"], dns_ca.roots)
        assert server.txt(challenge_of(f"m{i}.{name}")) == []


# -- CNAME delegation ---------------------------------------------------------------------------------------


def test_cname_into_another_zone(tlsup, dns_ca, make_named, key, name):
    """Their zone takes no updates; _acme-challenge is a CNAME into one that does."""
    target = f"{name.split('.')[0]}.auth.test"
    server = make_named(zones=[Zone(name, [f"_acme-challenge CNAME {target}."]), Zone("auth.test", updaters=[key])])
    issue(tlsup, dns_ca, name, f"*.{name}", *by_update(key))
    check_store(tlsup, name, [name, f"*.{name}"], dns_ca.roots)
    assert server.updates() and all("'auth.test/IN'" in u for u in server.updates()), server.updates()
    assert server.txt(target) == []


def test_chain_of_cnames(tlsup, dns_ca, make_named, key, name):
    server = make_named(zones=[Zone(name, ["_acme-challenge CNAME a.hop.test."]), Zone("hop.test", ["a CNAME b.auth.test."]),
                               Zone("auth.test", updaters=[key])])
    issue(tlsup, dns_ca, name, *by_update(key))
    assert all("'auth.test/IN'" in u for u in server.updates()) and server.txt("b.auth.test") == []


def test_cname_loop(tlsup, dns_ca, make_named, key, name):
    make_named(zones=[Zone(name, [f"_acme-challenge CNAME x.{name}.", f"x CNAME _acme-challenge.{name}."], updaters=[key])])
    result = fail(tlsup, dns_ca, name, *by_update(key), timeout=60)
    assert re.search(r"CNAME|loop|circle", result.err), result


# -- until all servers have it ------------------------------------------------------------------------------


def lagging(make_named, key, name):
    """A primary, and a secondary that gets the zone only when it is told to."""
    primary = make_named(zones=[Zone(name, updaters=[key], servers=[NS1, NS2])])
    return primary, make_named(address="127.0.0.2", zones=[Zone(name, primaries=["127.0.0.1"])])


def test_waits_for_a_slow_secondary(tlsup, dns_ca, make_named, key, name):
    primary, secondary = lagging(make_named, key, name)
    since = len(dns_ca.requests())
    process = tlsup.start("issue", name, *by_update(key), *dns_ca.arguments)
    until(lambda: primary.txt(challenge_of(name)), "no record at the primary")
    until(lambda: len(secondary.queries(challenge_of(name), "TXT")) >= 3, "the secondary is not asked again and again")
    assert not triggered(dns_ca, since), "the CA was told before the secondary had the record"
    secondary.fetch(name)
    assert tlsup.finish(process).status == 0
    check_store(tlsup, name, [name], dns_ca.roots)


def test_deadline_names_the_server_that_lacks_it(tlsup, dns_ca, make_named, key, name):
    primary, secondary = lagging(make_named, key, name)
    secondary_has = "left over from last time"
    primary.add_txt(challenge_of(name), secondary_has)
    secondary.fetch(name)
    since = len(dns_ca.requests())
    result = fail(tlsup, dns_ca, name, *by_update(key), "--dns-timeout", "3")
    assert NS2 in result.err or "127.0.0.2" in result.err, result
    assert NS1 not in result.err, result
    assert secondary_has in result.err, "what it has instead"
    assert not triggered(dns_ca, since)
    assert primary.txt(challenge_of(name)) == [secondary_has]


def test_deadline_with_a_dead_secondary(tlsup, dns_ca, make_named, key, name):
    server = make_named(zones=[Zone(name, updaters=[key], servers=[NS1, NS2])])
    result = fail(tlsup, dns_ca, name, *by_update(key), "--dns-timeout", "3")
    assert NS2 in result.err or "127.0.0.2" in result.err, result
    assert server.txt(challenge_of(name)) == []


def test_no_dns_check(tlsup, dns_ca, make_named, key, name):
    """On request the servers are not asked: here the CA looks at the primary."""
    _, secondary = lagging(make_named, key, name)
    issue(tlsup, dns_ca, name, *by_update(key), "--no-dns-check")
    assert not secondary.queries(challenge_of(name), "TXT")


def test_resolver_of_ones_own(tlsup, dns_ca, make_named, key, name):
    """--dns-servers: what /etc/resolv.conf says does not matter."""
    make_named(zones=[Zone(name, updaters=[key])])
    named.use_as_resolver("127.0.0.7")
    issue(tlsup, dns_ca, name, *by_update(key), "--dns-servers", "127.0.0.1")


# -- what is taken away -------------------------------------------------------------------------------------


def test_removed_when_the_ca_is_not_content(tlsup, make_pebble, make_named, key, name):
    """A CA that looks elsewhere fails the challenge: the record goes all the same."""
    server = make_named(zones=[Zone(name, updaters=[key])])
    make_named(address="127.0.0.3", zones=[Zone(name)])
    ca = make_pebble(nonce_reject=0, resolver="127.0.0.3:53")
    result = fail(tlsup, ca, name, *by_update(key))
    assert name in result.err and "TXT" in result.err, result
    assert [u for u in server.updates() if "adding an RR" in u] and server.txt(challenge_of(name)) == []


@pytest.mark.parametrize("number, words", [(signal.SIGINT, []), (signal.SIGTERM, []), (signal.SIGTERM, ["--dry-run"])],
                         ids=["SIGINT", "SIGTERM", "SIGTERM-in-a-rehearsal"])
def test_removed_after_an_interruption(tlsup, dns_ca, make_named, key, name, number, words):
    primary, _ = lagging(make_named, key, name)
    process = tlsup.start("issue", name, f"*.{name}", *by_update(key), *words, *dns_ca.arguments)
    until(lambda: len(primary.txt(challenge_of(name))) == 2, "no records at the primary")
    process.send_signal(number)
    result = tlsup.finish(process, timeout=15)
    assert result.status != 0, result
    assert primary.txt(challenge_of(name)) == []
    assert not tlsup.running()


def test_removal_that_fails_is_told(tlsup, dns_ca, make_named, key, name):
    """The certificate is there; that the record stayed is a warning."""
    primary, secondary = lagging(make_named, key, name)
    process = tlsup.start("issue", name, *by_update(key), *dns_ca.arguments)
    until(lambda: primary.txt(challenge_of(name)), "no record at the primary")
    key.file.unlink()
    secondary.fetch(name)
    result = tlsup.finish(process)
    assert result.status == 0 and re.search(r"could not be taken away", result.err), result
    assert primary.txt(challenge_of(name))


# -- dns-account-01 -----------------------------------------------------------------------------------------


def account_label(url):
    return "_" + base64.b32encode(hashlib.sha256(url.encode()).digest()[:10]).decode().lower()


def test_dns_account(tlsup, dns_ca, server, key, name):
    if dns_ca.version == "2.4":
        pytest.skip("this Pebble does not know dns-account-01")
    since = len(server.log_text())
    issue(tlsup, dns_ca, name, f"*.{name}", *by_update(key), "--dns-account")
    check_store(tlsup, name, [name, f"*.{name}"], dns_ca.roots)
    record = f"{account_label(account_url(tlsup))}._acme-challenge.{name}"
    assert [u for u in server.updates() if f"adding an RR at '{record}'" in u], server.log_text()[since:]
    assert server.txt(record) == []


def test_dns_account_through_a_cname(tlsup, dns_ca, make_named, key, name):
    if dns_ca.version == "2.4":
        pytest.skip("this Pebble does not know dns-account-01")
    server = make_named(zones=[Zone(name, ["marker TXT here"]), Zone("auth.test", updaters=[key])])
    issue(tlsup, dns_ca, f"first.{name}", "--standalone")
    server.add(f"{account_label(account_url(tlsup))}._acme-challenge.{name}", "CNAME", "mine.auth.test.")
    issue(tlsup, dns_ca, name, *by_update(key), "--dns-account")
    assert server.txt("mine.auth.test") == []


# -- dns-persist-01, draft 1 --------------------------------------------------------------------------------


@pytest.fixture
def persist_ca(dns_ca):
    if dns_ca.version == "2.4":
        pytest.skip("this Pebble does not know dns-persist-01")
    return dns_ca


def persist_record(name):
    return f"_validation-persist.{name}"


def wanted_record(result, name):
    """The TXT text that a person is told to publish."""
    text = re.sub(r"\s+", " ", result.text)
    found = re.search(rf'{re.escape(persist_record(name))}\. IN TXT "([^"]*)"', text)
    assert found, result
    return found.group(1)


def test_persist_tells_the_record_and_takes_it(tlsup, persist_ca, server, name):
    """Told, published as told, and the same command works, with no secret and no update."""
    result = fail(tlsup, persist_ca, name, "--dns-persist", status=(2, 3))
    record = wanted_record(result, name)
    assert record == f"pebble.test; accounturi={account_url(tlsup)}"
    assert "same command" in result.err
    server.add_txt(persist_record(name), record)
    issue(tlsup, persist_ca, name, "--dns-persist")
    check_store(tlsup, name, [name], persist_ca.roots)
    assert server.txt(persist_record(name)) == [record], "it stays"
    tlsup.ok("renew", "--force-renewal")
    assert tlsup.version(name) == 2


def test_persist_record_line_is_not_wrapped(tlsup, persist_ca, server, name):
    """What is to be copied stands on one line, however narrow the terminal."""
    result = fail(tlsup, persist_ca, name, "--dns-persist", env={"COLUMNS": "60"})
    assert re.search(rf'(?m)^\s*{re.escape(persist_record(name))}\. IN TXT "pebble\.test; accounturi=\S+"$', result.text), result


def test_persist_placed_by_update(tlsup, persist_ca, server, key, name):
    issue(tlsup, persist_ca, name, "--dns-persist", *by_update(key))
    record = f"pebble.test; accounturi={account_url(tlsup)}"
    assert server.txt(persist_record(name)) == [record], "it stays"
    before = len(server.updates())
    tlsup.ok("renew", "--force-renewal")
    assert tlsup.version(name) == 2 and len(server.updates()) == before, "it is there: nothing is to be changed"


def test_persist_wildcard_needs_policy(tlsup, persist_ca, server, name):
    plain = wanted_record(fail(tlsup, persist_ca, name, "--dns-persist"), name)
    server.add_txt(persist_record(name), plain)
    result = fail(tlsup, persist_ca, f"*.{name}", "--dns-persist", status=(2, 3))
    assert "policy=wildcard" in result.err and wanted_record(result, name) == plain + "; policy=wildcard", result
    server.delete(persist_record(name), "TXT")
    server.add_txt(persist_record(name), plain + "; Policy=WILDCARD")
    issue(tlsup, persist_ca, f"*.{name}", name, "--dns-persist", "--cert-name", "both")
    check_store(tlsup, "both", [name, f"*.{name}"], persist_ca.roots)


def test_persist_base_and_wildcard_by_update(tlsup, persist_ca, server, key, name):
    issue(tlsup, persist_ca, name, f"*.{name}", "--dns-persist", *by_update(key))
    check_store(tlsup, name, [name, f"*.{name}"], persist_ca.roots)


def test_persist_expired(tlsup, persist_ca, server, name):
    plain = wanted_record(fail(tlsup, persist_ca, name, "--dns-persist"), name)
    server.add_txt(persist_record(name), f"{plain}; persistUntil={int(time.time()) - 86400}")
    since = len(persist_ca.requests())
    result = fail(tlsup, persist_ca, name, "--dns-persist", status=(2, 3))
    assert "good until" in result.err or "persistUntil" in result.err, result
    assert wanted_record(result, name) == plain and not triggered(persist_ca, since)


def test_persist_lapse_is_noted_and_told(tlsup, persist_ca, server, name):
    plain = wanted_record(fail(tlsup, persist_ca, name, "--dns-persist"), name)
    lapse = int(time.time()) + 10 * 86400
    server.add_txt(persist_record(name), f"{plain}; persistUntil={lapse}")
    issue(tlsup, persist_ca, name, "--dns-persist")
    state = json.loads((tlsup.state / "state" / f"{name}.json").read_text())
    assert str(lapse) in json.dumps(state), state
    entry = tlsup.status_of(name)
    assert entry["dns_persist_until"] == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(lapse)), entry
    assert re.search(r"dns-persist-01 record ends", tlsup("status").text)


def test_persist_of_another_account(tlsup, persist_ca, server, name):
    server.add_txt(persist_record(name), "pebble.test; accounturi=https://localhost:1/my-account/0")
    result = fail(tlsup, persist_ca, name, "--dns-persist", status=(2, 3))
    assert "account" in result.err
    server.add_txt(persist_record(name), wanted_record(result, name))
    issue(tlsup, persist_ca, name, "--dns-persist")
    assert len(server.txt(persist_record(name))) == 2


def test_persist_through_a_cname(tlsup, persist_ca, make_named, key, name):
    server = make_named(zones=[Zone(name, ["_validation-persist CNAME p.auth.test."]), Zone("auth.test", updaters=[key])])
    issue(tlsup, persist_ca, name, "--dns-persist", *by_update(key))
    assert server.txt("p.auth.test")


def test_persist_falls_back(tlsup, persist_ca, server, name):
    """No record, and nothing that could make it: the next way."""
    issue(tlsup, persist_ca, name, "--challenge", "dns-persist,standalone")
    check_store(tlsup, name, [name], persist_ca.roots)


# -- dns-persist-01, draft 2, which no real CA speaks yet -----------------------------------------------------


class PersistCA(fakeca.FakeCA):
    """Offers dns-persist-01 as the second draft has it, and looks the record up at the test's BIND."""

    issuers, prefix, bind = ["fake.test", "fake.example"], "https://fake.test/acct/", None

    def on_directory(self, request):
        reply = super().on_directory(request)
        body = json.loads(reply.body)
        body["meta"].update(issuerDomainNames=self.issuers, accountHashPrefix=self.prefix)
        return fakeca.Reply(body=body, nonce=False)

    def url_of(self, one):
        return f"{self.base}/account/{self.accounts[one['thumbprint']]['number']}"

    def uri(self, domain, one):
        digest = hashlib.sha256(bytes([len(domain)]) + domain.encode() + one["thumbprint"].encode() + self.url_of(one).encode())
        return f"{self.prefix}sha-256/{fakeca.b64(digest.digest())}"

    def challenge_body(self, key):
        body = super().challenge_body(key)
        del body["token"]
        return {**body, "type": "dns-persist-01", "issuerDomainNames": self.issuers}

    def on_authorization(self, request):
        reply = super().on_authorization(request)
        body, key = json.loads(reply.body), int(request.path.rsplit("/", 1)[1])
        value = body["identifier"]["value"]
        if value.startswith("*."):
            body["identifier"]["value"], body["wildcard"] = value[2:], True
        body["challenges"] = [self.challenge_body(key)]
        reply.body = json.dumps(body).encode()
        return reply

    def fetch(self, one):
        name = one["identifier"]["value"]
        domain = name.removeprefix("*.")
        found = self.bind.txt(persist_record(domain))
        for text in found:
            issuer, *parameters = [p.strip() for p in text.split(";")]
            values = dict(p.split("=", 1) for p in parameters)
            if issuer in self.issuers and values.get("accounturi") in (self.uri(domain, one), self.uri("*", one)) \
                    and (name == domain or values.get("policy") == "wildcard"):
                return None
        return {"type": "urn:ietf:params:acme:error:unauthorized", "status": 403, "detail": f"no persist record for {name} in {found}"}


@pytest.fixture
def draft2(tmp_path, authority, server):
    ca = PersistCA(tmp_path, authority, 15400 + next(NAMES))
    ca.bind = server
    yield ca
    ca.close()
    assert not ca.violations, ca.violations


def test_draft2_tells_the_record_and_takes_it(tlsup, draft2, server, name):
    result = fail(tlsup, draft2, name, "--dns-persist", status=(2, 3))
    record = wanted_record(result, name)
    one = list(draft2.authorizations.values())[0]
    assert record == f"fake.test; accounturi={draft2.uri(name, one)}"
    assert not draft2.requests("challenge")
    server.add_txt(persist_record(name), record)
    issue(tlsup, draft2, name, "--dns-persist")
    check_store(tlsup, name, [name], draft2.roots)


def test_draft2_record_for_any_domain(tlsup, draft2, server, name):
    fail(tlsup, draft2, name, "--dns-persist")
    one = list(draft2.authorizations.values())[0]
    server.add_txt(persist_record(name), f"fake.example; accounturi={draft2.uri('*', one)}; unknown=thing")
    issue(tlsup, draft2, name, "--dns-persist")


def test_draft2_placed_by_update(tlsup, draft2, server, key, name):
    issue(tlsup, draft2, name, f"*.{name}", "--dns-persist", *by_update(key))
    check_store(tlsup, name, [name, f"*.{name}"], draft2.roots)
    assert server.txt(persist_record(name))


def test_draft2_born_valid(tlsup, draft2, name):
    """A CA that has looked already: the authorization arrives valid, there is nothing to publish."""
    draft2.preauthorized = True
    issue(tlsup, draft2, name, "--dns-persist")
    assert not draft2.requests("challenge")


def test_draft2_without_what_the_directory_must_say(tlsup, draft2, server, name):
    """No accountHashPrefix: the record cannot be made up, and a wrong one is not told."""
    normal = draft2.on_directory

    def without(ca, request):
        body = json.loads(normal(request).body)
        del body["meta"]["accountHashPrefix"]
        return fakeca.Reply(body=body, nonce=False)

    draft2.misbehave("directory", without)
    result = fail(tlsup, draft2, name, "--dns-persist")
    assert "IN TXT" not in result.text and "accountHashPrefix" in result.text, result


@pytest.mark.parametrize("issuers", [[], [f"i{n}.test" for n in range(11)], ["evil\" IN TXT \"x"], ["a; accounturi=b"], [7], "fake.test",
                                     ["x" * 300 + ".test"]], ids=["none", "eleven", "quote", "parameter", "number", "text", "long"])
def test_draft2_hostile_issuers(tlsup, draft2, server, name, issuers):
    """What the CA sends is to end up in a zone: nothing but names of domains may."""
    draft2.issuers = issuers
    result = fail(tlsup, draft2, name, "--dns-persist", timeout=30)
    assert "IN TXT" not in result.text, result
    assert server.txt(persist_record(name)) == []


# -- preferences --------------------------------------------------------------------------------------------


def test_dns_broken_falls_back_to_http(tlsup, dns_ca, server, name, tmp_path):
    """The update is refused: http-01 by our own responder."""
    result = issue(tlsup, dns_ca, name, "--challenge", "dns,standalone", *by_update(Key(tmp_path, "nobody")))
    check_store(tlsup, name, [name], dns_ca.roots)
    assert result.status == 0


def test_dns_works_before_http(tlsup, dns_ca, server, key, name):
    issue(tlsup, dns_ca, name, "--challenge", "dns,standalone", *by_update(key))
    assert server.updates()


def test_http_before_dns(tlsup, dns_ca, server, key, name):
    issue(tlsup, dns_ca, name, "--challenge", "standalone,dns", *by_update(key))
    assert not server.updates()


def test_wildcard_goes_by_dns_whatever_comes_first(tlsup, dns_ca, server, key, name):
    issue(tlsup, dns_ca, name, f"*.{name}", "--challenge", "standalone,dns", *by_update(key))
    check_store(tlsup, name, [name, f"*.{name}"], dns_ca.roots)
    assert len([u for u in server.updates() if "adding an RR" in u]) == 1


def test_port_443_taken_falls_back_to_port_80(tlsup, dns_ca, server, name):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 443))
        taken.listen()
        result = issue(tlsup, dns_ca, name, "--challenge", "tls-alpn,standalone")
    check_store(tlsup, name, [name], dns_ca.roots)
    assert re.search(r"443|tls-alpn", result.err), result


def test_port_443_free_is_used(tlsup, dns_ca, server, name):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 80))
        taken.listen()
        issue(tlsup, dns_ca, name, "--challenge", "tls-alpn,standalone")
    check_store(tlsup, name, [name], dns_ca.roots)


def test_all_ways_broken_tells_of_all(tlsup, dns_ca, server, name, tmp_path):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 80))
        taken.listen()
        result = fail(tlsup, dns_ca, name, "--challenge", "dns,standalone", *by_update(Key(tmp_path, "nobody")))
    assert "80" in result.err and "nobody" in result.err, result


def test_wildcard_without_dns_is_told_at_once(tlsup, dns_ca, name):
    since = len(dns_ca.requests())
    result = tlsup("issue", f"*.{name}", "--standalone", *dns_ca.arguments)
    assert result.status == 2 and "dns" in result.err.lower() and len(dns_ca.requests()) == since, result
