"""Accounts, orders, renewal information, revocation, failover, many at once, the way to the CA: one feature after the other, from the command line."""

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time

import pytest

from harness import client, fakeca, net, pki, snapshot
from harness.client import Client, check_store
from harness.fakeca import Cut, Hang, Problem, Reply

DAY = 86400
STANDALONE = ["--standalone"]


def issue(tlsup, ca, *words, **options):
    return tlsup.ok("issue", *words, *STANDALONE, *ca.arguments, **options)


def reach(ca):
    """For commands that agree to nothing."""
    return ["--server", ca.url, "--ca-bundle", str(ca.bundle), "-n"]


def state_of(tlsup, name):
    return json.loads((tlsup.state / "state" / f"{name}.json").read_text())


def change_state(tlsup, name, change):
    """As if time had passed."""
    path = tlsup.state / "state" / f"{name}.json"
    state = json.loads(path.read_text())
    change(state)
    path.write_text(json.dumps(state))


def at(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


def forget_directories(tlsup):
    """They are kept for hours; what the CA offers has changed since."""
    for path in tlsup.state.rglob("directory.cache"):
        path.unlink()


def account_record(tlsup, ca):
    for path in (tlsup.state / "accounts").rglob("account.json"):
        record = json.loads(path.read_text())
        if record["server"] == ca.url:
            return record
    raise AssertionError("no account")


def needs_2_10(ca):
    if ca.version != "2.10":
        pytest.skip(f"Pebble {ca.version} does not know this")


@pytest.fixture
def quick(fake_ca):
    """A scripted CA that needs no proof."""
    fake_ca.preauthorized = True
    return fake_ca


@pytest.fixture
def make_fake(tmp_path, authority):
    """More scripted CAs; any breach of the protocol fails the test."""
    import conftest

    made = []

    def make(**options):
        port = options.pop("port", None) or next(conftest.PORTS)
        made.append(fakeca.FakeCA(tmp_path, authority, port, **options))
        made[-1].preauthorized = True
        return made[-1]

    yield make
    for ca in made:
        ca.close()
        assert not ca.violations, ca.violations


@pytest.fixture
def stand_in(make_fake):
    """A CA of the world outside, played by the scripted one."""
    def make(url, *others):
        hosts = [url.split("/")[2], *others]
        with open("/etc/hosts", "a") as file:
            file.write(f"127.0.0.1 {' '.join(hosts)}\n")
        return make_fake(port=443, hosts=hosts, directory_url=url)

    return make


# -- external account binding ------------------------------------------------------------------------------


MAC = bytes(range(1, 65))
KID = "kid-1"


@pytest.fixture
def bound(make_pebble):
    return make_pebble(nonce_reject=5, eab={KID: fakeca.b64(MAC)})


@pytest.mark.every_pebble
def test_external_account(tlsup, bound, name):
    result = tlsup.ok("account", "register", "--eab-kid", KID, "--eab-hmac-key", fakeca.b64(MAC), *bound.arguments)
    assert KID in result.out and fakeca.b64(MAC) not in result.text.replace(" ".join(result.argv), "")
    assert tlsup.ok("account", "show", "--json", *reach(bound)).json()["external_account"] == KID
    issue(tlsup, bound, name)


@pytest.mark.parametrize("form", ["padded", "wrapped", "standard-alphabet", "file", "stdin"])
def test_external_account_key_in_every_form(tlsup, bound, form, tmp_path):
    plain = fakeca.b64(MAC)
    key = {"padded": base64.urlsafe_b64encode(MAC).decode(), "wrapped": base64.b64encode(plain.encode()).decode(),
           "standard-alphabet": base64.b64encode(MAC).decode(), "file": f"@{tmp_path}/hmac", "stdin": "-"}[form]
    (tmp_path / "hmac").write_text(plain + "\r\n")
    argv = tlsup.argv(["account", "register", "--eab-kid", KID, "--eab-hmac-key", key, *bound.arguments])
    done = subprocess.run(argv, input=plain + "\n" if form == "stdin" else "", capture_output=True, text=True, env=tlsup.env())
    assert done.returncode == 0, done
    assert account_record(tlsup, bound)["eab_kid"] == KID


@pytest.mark.parametrize("kid, key, status, says", [
    (KID, fakeca.b64(b"another key that is long enough"), (3,), r"external|binding|unauthorized|verif"),
    ("nobody", fakeca.b64(MAC), (3,), r"nobody|unauthorized|external|kid"), (KID, "AAAA", (2,), r"short|16 bytes"),
    (KID, "not base64!", (2,), r"base64|letters"), (KID, None, (2,), r"--eab-hmac-key")],
    ids=["wrong-key", "wrong-kid", "short", "garbage", "half"])
def test_external_account_that_is_wrong(tlsup, bound, kid, key, status, says):
    result = tlsup("account", "register", "--eab-kid", kid, *(["--eab-hmac-key", key] if key else []), *bound.arguments)
    assert result.status in status and re.search(says, result.err, re.I), result
    assert not list((tlsup.state / "accounts").rglob("account.json"))
    tlsup.ok("account", "register", "--eab-kid", KID, "--eab-hmac-key", fakeca.b64(MAC), *bound.arguments)


@pytest.mark.parametrize("alg", ["HS256", "HS384", "hs512"])
def test_external_account_algorithms(tlsup, quick, name, alg):
    quick.eab = {KID: MAC}
    issue(tlsup, quick, name, "--eab-kid", KID, "--eab-hmac-key", fakeca.b64(MAC), "--eab-hmac-alg", alg)
    assert quick.last_binding["alg"] == alg.upper()


def test_external_account_is_remembered(tlsup, make_pebble, name):
    """A CA that lost its database gets the same binding again, from the timer's run."""
    ca = make_pebble(nonce_reject=1, eab={"kid-2": fakeca.b64(MAC)})
    issue(tlsup, ca, name, "--eab-kid", "kid-2", "--eab-hmac-key", fakeca.b64(MAC))
    ca.restart()
    tlsup.ok("renew", name, "--force-renewal")
    assert tlsup.version(name) == 2


def test_external_account_used_up(tlsup, quick, name):
    """Credentials that work once, and a record that was lost: the account that they made is found."""
    quick.eab, quick.eab_once = {KID: MAC}, True
    words = ["--eab-kid", KID, "--eab-hmac-key", fakeca.b64(MAC)]
    tlsup.ok("account", "register", *words, *quick.arguments)
    for path in (tlsup.state / "accounts").rglob("account.json"):
        path.unlink()
    issue(tlsup, quick, name, *words)
    assert len(quick.accounts) == 1


ZEROSSL = "https://acme.zerossl.com/v2/DV90"


def test_zerossl_without_an_address(tlsup, stand_in, name):
    ca = stand_in(ZEROSSL, "api.zerossl.com")
    ca.eab = {}
    result = tlsup("issue", name, *STANDALONE, "--server", "zerossl", "--ca-bundle", str(ca.bundle), "--agree-tos", "-n")
    assert result.status in (2, 3) and "-m" in result.err and "--eab-kid" in result.err, result
    assert not ca.requests("account") and not ca.requests("credentials")


def test_zerossl_with_an_address(tlsup, stand_in, name):
    """Credentials are fetched for it, once."""
    ca = stand_in(ZEROSSL, "api.zerossl.com")
    ca.eab, ca.eab_once = {}, True
    words = [*STANDALONE, "--server", "zerossl", "--ca-bundle", str(ca.bundle), "--agree-tos", "-n", "-m", "a+b@example.org"]
    tlsup.ok("issue", name, *words)
    tlsup.ok("issue", name, *words, "--force-renewal")
    assert [r.form["email"] for r in ca.requests("credentials")] == ["a+b@example.org"]
    assert ca.last_binding["kid"] == "kid-of-a+b@example.org"


# -- the account -------------------------------------------------------------------------------------------


@pytest.mark.every_pebble
def test_contact_update(tlsup, ca):
    tlsup.ok("account", "register", "-m", "old@example.org", *ca.arguments)
    tlsup.ok("account", "update", "-m", "new@example.org", *reach(ca))
    shown = tlsup.ok("account", "show", *reach(ca)).out
    assert "new@example.org" in shown and "old@example.org" not in shown
    result = tlsup("account", "update", *reach(ca))
    assert result.status == 2 and "--agree-tos" in result.err and "-m" in result.err, result


def test_contact_update_without_an_account(tlsup, quick):
    result = tlsup("account", "update", "-m", "new@example.org", *reach(quick))
    assert result.status != 0 and "register" in result.err, result
    assert not quick.requests("account")


def thumbprint(tlsup, ca):
    return tlsup.ok("account", "show", "--json", *reach(ca)).json()["key_thumbprint"]


@pytest.mark.every_pebble
def test_change_key(tlsup, ca, new_name):
    issue(tlsup, ca, new_name())
    url, old = account_record(tlsup, ca)["url"], thumbprint(tlsup, ca)
    tlsup.ok("account", "change-key", *reach(ca))
    assert account_record(tlsup, ca)["url"] == url and thumbprint(tlsup, ca) != old
    assert [p.name for p in (tlsup.state / "accounts").glob("key*")] == ["key.pem"]
    issue(tlsup, ca, new_name())
    assert account_record(tlsup, ca)["url"] == url, "the same account"


def test_change_key_that_two_cas_share(tlsup, ca, quick, new_name):
    quick.strict_signatures = True
    for each in (ca, quick):
        issue(tlsup, each, new_name())
    old = thumbprint(tlsup, ca)
    result = tlsup.ok("account", "change-key", *reach(quick))
    assert old != thumbprint(tlsup, ca) == thumbprint(tlsup, quick) and set(quick.accounts) == {thumbprint(tlsup, quick)}, result
    for each in (ca, quick):
        issue(tlsup, each, new_name())
    assert len(quick.accounts) == 1


def test_change_key_of_which_one_ca_will_not_hear(tlsup, ca, quick, new_name):
    """In between each is spoken to with the key that it knows."""
    quick.strict_signatures = True
    for each in (ca, quick):
        issue(tlsup, each, new_name())
    quick.misbehave("key-change", lambda *_: Problem(403, "unauthorized", "not today"))
    result = tlsup("account", "change-key", *reach(ca))
    assert result.status in (1, 3) and "not today" in result.err, result
    for each in (ca, quick):
        issue(tlsup, each, new_name())
    quick.behave()
    tlsup.ok("account", "change-key", *reach(ca))
    assert thumbprint(tlsup, ca) == thumbprint(tlsup, quick) and len(quick.accounts) == 1
    assert [p.name for p in (tlsup.state / "accounts").glob("key*")] == ["key.pem"]


def kill_at(tlsup, ca, n, handled):
    """A change of the key, killed when the CA has got the n-th request, before it has done what it asks for or after; False when it came to its end."""
    seen, stopped = [], threading.Event()

    def stop(ca, request):
        seen.append(request)
        if len(seen) != n:
            return None
        if handled:
            ca.normal(ca.step_of(request), request)
        stopped.set()
        return Hang()

    for step in fakeca.STEPS:
        ca.misbehave(step, stop)
    process = tlsup.start("account", "change-key", *reach(ca))
    while not stopped.is_set() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    result = tlsup.finish(process)
    deadline = time.monotonic() + 10
    while client.Client.running() and time.monotonic() < deadline:
        time.sleep(0.02)
    ca.behave()
    assert stopped.is_set() or result.status == 0, (n, result)
    return stopped.is_set()


@pytest.mark.parametrize("handled", [False, True], ids=["unheard", "heard"])
def test_change_key_killed_at_every_exchange(tlsup, quick, name, handled):
    """The account works at once, and the next call completes the change."""
    quick.strict_signatures = True
    issue(tlsup, quick, name)
    for n in range(1, 12):
        forget_directories(tlsup)
        before = set(quick.accounts)
        if not kill_at(tlsup, quick, n, handled):
            break
        issue(tlsup, quick, name, "--force-renewal")
        tlsup.ok("account", "change-key", *reach(quick))
        assert set(quick.accounts) != before and set(quick.accounts) == {thumbprint(tlsup, quick)}, n
        assert not list(tlsup.state.rglob("key-next*")), n
    assert 4 <= n < 11, "it asks for the directory, a nonce, the account, the change, and has an end"
    issue(tlsup, quick, name, "--force-renewal")
    assert len(quick.accounts) == 1


def test_changed_key_and_the_web_server(tlsup, fake_ca, nginx, name):
    """nginx answers challenges by the account key's thumbprint: it learns the new one, and serves on."""
    nginx.site(name)
    nginx.start()
    tlsup.ok("enable", name, *fake_ca.arguments)
    with net.Visitor(name) as visitor:
        tlsup.ok("account", "change-key", *reach(fake_ca))
        tlsup.ok("renew", name, "--force-renewal")
    assert not visitor.failures, visitor.failures
    assert tlsup.version(name) == 2 and net.leaf(name)[0] == tlsup.sha256(name)
    assert not list(tlsup.state.rglob("key-next*")) and nginx.test().returncode == 0


@pytest.mark.every_pebble
def test_deactivate_and_register_again(tlsup, ca, new_name):
    name = new_name()
    issue(tlsup, ca, name)
    first = account_record(tlsup, ca)["url"]
    tlsup.ok("account", "deactivate", *reach(ca))
    result = tlsup("issue", new_name(), *STANDALONE, *ca.arguments)
    assert result.status == 2 and "deactivated" in result.err and "account register" in result.err, result
    tlsup.ok("account", "register", *ca.arguments)
    assert account_record(tlsup, ca)["url"] != first
    tlsup.ok("renew", name, "--force-renewal")
    assert tlsup.version(name) == 2


def test_deactivated_at_one_ca_only(tlsup, quick, make_fake, new_name):
    """The key that they shared still serves the other one."""
    other = make_fake()
    names = [new_name(), new_name()]
    for each, there in zip(names, (quick, other)):
        issue(tlsup, there, each)
    tlsup.ok("account", "deactivate", *reach(quick))
    tlsup.ok("account", "register", *quick.arguments)
    tlsup.ok("renew", "--force-renewal")
    assert [tlsup.version(each) for each in names] == [2, 2]
    assert len(other.accounts) == 1 and [a["status"] for a in quick.accounts.values()] == ["deactivated", "valid"]


def elsewhere(tmp_path):
    return Client(tmp_path / "other-etc", tmp_path / "other-var")


def test_import_of_a_pem_key(tlsup, ca, new_name, tmp_path):
    other = elsewhere(tmp_path)
    other.ok("account", "register", *ca.arguments)
    url = account_record(other, ca)["url"]
    issue(tlsup, ca, new_name())
    before = (tlsup.state / "accounts" / "key.pem").read_bytes()
    result = tlsup.ok("account", "import", other.state / "accounts" / "key.pem", *reach(ca))
    assert url in result.out and account_record(tlsup, ca)["url"] == url
    assert any(p.read_bytes() == before for p in (tlsup.state / "accounts").rglob("key*.pem")), "the key that was there is kept"
    issue(tlsup, ca, new_name())
    assert account_record(tlsup, ca)["url"] == url


def integers_of_rsa(der):
    """The numbers in an RSAPrivateKey."""
    def length(at):
        if der[at] < 128:
            return der[at], at + 1
        size = der[at] & 127
        return int.from_bytes(der[at + 1:at + 1 + size], "big"), at + 1 + size

    _, at = length(1)
    numbers = []
    while at < len(der):
        size, begin = length(at + 1)
        numbers.append(der[begin:begin + size].lstrip(b"\0"))
        at = begin + size
    return numbers[1:]


def test_import_of_certbots_key(tlsup, quick, name, tmp_path):
    """A JWK, RSA, as certbot has it in private_key.json."""
    der = pki.openssl("rsa", "-traditional", "-outform", "DER", stdin=pki.openssl("genrsa", "2048"))
    jwk = {"kty": "RSA", **dict(zip(("n", "e", "d", "p", "q", "dp", "dq", "qi"), map(fakeca.b64, integers_of_rsa(der))))}
    path = tmp_path / "private_key.json"
    path.write_text(json.dumps(jwk))
    quick.strict_signatures = True
    result = tlsup("account", "import", path, *reach(quick))
    assert result.status != 0 and "accountDoesNotExist" in result.err, result
    url = quick.add_account({member: jwk[member] for member in ("kty", "n", "e")})
    assert url in tlsup.ok("account", "import", path, *reach(quick)).out
    issue(tlsup, quick, name)
    assert account_record(tlsup, quick)["url"] == url and len(quick.accounts) == 1
    tlsup.ok("account", "change-key", *reach(quick))
    tlsup.ok("renew", name, "--force-renewal")


@pytest.mark.parametrize("content, says", [("garbage\n", r"key"), ('{"kty": "oct", "k": "AAAA"}', r"key|kty|JWK"), ("", r"key|empty"),
                                           (None, r"cannot|No such|not found|found")], ids=["garbage", "symmetric", "empty", "missing"])
def test_import_of_what_is_no_key(tlsup, quick, tmp_path, content, says):
    path = tmp_path / "key"
    if content is not None:
        path.write_text(content)
    result = tlsup("account", "import", path, *reach(quick))
    assert result.status in (1, 2) and str(path) in result.err and re.search(says, result.err), result
    assert not list((tlsup.state / "accounts").rglob("*.json")) and not quick.requests("account")


def test_several_accounts(tlsup, ca, new_name):
    one, two = new_name(), new_name()
    issue(tlsup, ca, one)
    issue(tlsup, ca, two, "--account", "shop")
    accounts = tlsup.ok("account", "list", "--json").json()["accounts"]
    assert sorted(a["name"] for a in accounts) == ["default", "shop"]
    assert len({a["account"] for a in accounts}) == len({a["key_thumbprint"] for a in accounts}) == 2
    url = {a["name"]: a["account"] for a in accounts}
    tlsup.ok("renew", "--force-renewal")
    assert [state_of(tlsup, n)["live"]["account"] for n in (one, two)] == [url["default"], url["shop"]]
    tlsup.ok("account", "change-key", "--account", "shop", *reach(ca))
    after = {a["name"]: a["key_thumbprint"] for a in tlsup.ok("account", "list", "--json").json()["accounts"]}
    before = {a["name"]: a["key_thumbprint"] for a in accounts}
    assert after["default"] == before["default"] and after["shop"] != before["shop"]
    tlsup.ok("renew", "--force-renewal")


def test_registered_again_once_when_the_ca_lost_its_database(tlsup, quick, new_name):
    """Many certificates, one new account, all renewed."""
    names = [new_name() for _ in range(3)]
    for each in names:
        issue(tlsup, quick, each)
    quick.accounts.clear()
    quick.log.clear()
    tlsup.ok("renew", "--force-renewal")
    assert [tlsup.version(each) for each in names] == [2, 2, 2]
    assert len(quick.accounts) == 1 and len([r for r in quick.requests("account") if r.path == "/new-account"]) == 1


def test_changed_terms(tlsup, quick, new_name):
    issue(tlsup, quick, new_name())
    quick.terms = quick.base + "/terms-of-2027"
    name = new_name()
    result = tlsup("issue", name, *STANDALONE, *[w for w in quick.arguments if w != "--agree-tos"])
    assert result.status == 3 and quick.terms in result.err and "account update --agree-tos" in result.err, result
    tlsup.ok("account", "update", "--agree-tos", *reach(quick))
    issue(tlsup, quick, name)
    forget_directories(tlsup)
    issue(tlsup, quick, name, "--force-renewal")


# -- what is ordered ---------------------------------------------------------------------------------------


def lifetime_s(tlsup, name):
    text = pki.openssl("x509", "-noout", "-startdate", "-enddate", stdin=tlsup.file(name, "cert").read_bytes()).decode()
    begin, end = (time.mktime(time.strptime(line.split("=")[1], "%b %d %H:%M:%S %Y GMT")) for line in text.strip().splitlines())
    return end - begin


@pytest.fixture
def with_profiles(make_pebble):
    return make_pebble(nonce_reject=5, profiles=(("classic", 90 * DAY), ("shortlived", 6 * DAY)))


def test_profile(tlsup, with_profiles, name):
    needs_2_10(with_profiles)
    for mode, profile, days in (("preferred", "shortlived", 6), ("required", "classic", 90)):
        issue(tlsup, with_profiles, name, f"--{mode}-profile", profile, "--force-renewal")
        assert abs(lifetime_s(tlsup, name) - days * DAY) < 10
    tlsup.ok("renew", "--force-renewal")
    assert abs(lifetime_s(tlsup, name) - 90 * DAY) < 10, "remembered"


def test_profile_that_is_not_offered(tlsup, with_profiles, name):
    needs_2_10(with_profiles)
    result = tlsup("issue", name, *STANDALONE, "--required-profile", "tlsclient", *with_profiles.arguments)
    assert result.status in (2, 3) and all(w in result.err for w in ("tlsclient", "shortlived", "classic")), result
    result = issue(tlsup, with_profiles, name, "--preferred-profile", "tlsclient")
    assert "tlsclient" in result.err
    assert tlsup.version(name) == 1


def subject_of(pem):
    return re.search(r"CN ?= ?(.*)", pki.openssl("x509", "-noout", "-subject", stdin=pem).decode()).group(1)


@pytest.mark.every_pebble
def test_preferred_chain(tlsup, make_pebble, name, tmp_path):
    ca = make_pebble(nonce_reject=5, alternate_roots=2)
    for number in (2, 1, 0):
        root = tmp_path / f"root-{number}.pem"
        root.write_bytes(ca.management(f"roots/{number}"))
        issue(tlsup, ca, name, "--preferred-chain", subject_of(root.read_bytes()), "--force-renewal")
        check_store(tlsup, name, [name], root)
    result = issue(tlsup, ca, name, "--preferred-chain", "ISRG Root X9", "--force-renewal")
    assert "ISRG Root X9" in result.err
    check_store(tlsup, name, [name], ca.roots)


def make_csr(tmp_path, names, form="PEM"):
    key, path = tmp_path / "own.key", tmp_path / f"own.{form}"
    if not key.exists():
        key.write_bytes(pki.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"))
    path.write_bytes(pki.openssl("req", "-new", "-key", key, "-subj", "/", "-addext", "subjectAltName=" + pki.san_of(names), "-outform", form))
    return key, path


@pytest.mark.parametrize("form", ["PEM", "DER"])
def test_own_request(tlsup, ca, name, tmp_path, form):
    """Its names, its key; nothing secret is held here, and the renewal uses it again."""
    key, csr = make_csr(tmp_path, [name, f"www.{name}"], form)
    issue(tlsup, ca, "--csr", csr)
    assert tlsup.version(name) == 1 and not list((tlsup.state / "certs").rglob("p*.pem"))
    assert pki.names_of(tlsup.file(name, "cert")) == {name, f"www.{name}"}
    tlsup.ok("renew", name, "--force-renewal")
    assert tlsup.version(name) == 2 and pki.public_key_of(tlsup.file(name, "cert")) == pki.public_half(key)
    assert not list((tlsup.state / "certs").rglob("p*.pem"))


def test_own_request_that_changed_or_is_none(tlsup, quick, name, tmp_path):
    _, csr = make_csr(tmp_path, [name])
    issue(tlsup, quick, "--csr", csr)
    make_csr(tmp_path, [f"other-{name}"])
    quick.log.clear()
    result = tlsup("renew", name, "--force-renewal")
    assert result.status == 2 and str(csr) in result.err and "--csr" in result.err, result
    csr.write_text("no request\n")
    result = tlsup("renew", name, "--force-renewal")
    assert result.status != 0 and str(csr) in result.err, result
    assert tlsup.version(name) == 1 and not quick.requests("order")


def test_rsa_and_ecdsa(tlsup, quick, name):
    issue(tlsup, quick, name, "-k", "ecdsa-p256,rsa-2048")
    for version in (1, 2):
        assert tlsup.version(name) == version
        for which, kind in (("", "P-256"), ("-rsa", "2048 bit")):
            key, cert = tlsup.file(name, f"privkey{which}"), tlsup.file(name, f"fullchain{which}")
            assert kind in pki.key_text(key) and pki.public_half(key) == pki.public_key_of(cert) and pki.names_of(cert) == {name}
            assert key.stat().st_mode & 0o777 == 0o600
        tlsup.ok("renew", name, "--force-renewal")
    assert "rsa" in tlsup.ok("status", name).out.lower()


@pytest.mark.parametrize("which", [1, 2])
def test_rsa_and_ecdsa_of_which_one_fails(tlsup, quick, name, which):
    """Both or none."""
    issue(tlsup, quick, name, "-k", "ecdsa-p256,rsa-2048")
    seen, held = [], tlsup.held()

    def refuse(_ca, request):
        seen.append(request)
        return Problem(403, "rejectedIdentifier", "one is enough") if len(seen) == which else None

    quick.misbehave("order", refuse)
    result = tlsup("renew", name, "--force-renewal")
    assert result.status == 3 and "one is enough" in result.err, result
    pending = (tlsup.state / "certs" / name).glob
    changed = [line for line in snapshot.difference(held, tlsup.held()) if "/pending" not in line]
    assert not changed, "the other order's key may wait for the next run, which takes that order up"
    quick.behave()
    tlsup.ok("renew", name, "--force-renewal")
    assert tlsup.version(name) == 2 and not list(pending("pending*"))


def test_key_reuse(tlsup, ca, name):
    issue(tlsup, ca, name, "--reuse-key")
    first = tlsup.file(name, "privkey").read_bytes()
    tlsup.ok("renew", name, "--force-renewal")
    assert tlsup.version(name) == 2 and tlsup.file(name, "privkey").read_bytes() == first
    issue(tlsup, ca, name, "--no-reuse-key", "--force-renewal")
    assert tlsup.file(name, "privkey").read_bytes() != first


def test_dates_that_are_asked_for(tlsup, quick, name):
    quick.takes_dates = True
    issue(tlsup, quick, name, "--valid-for", "30d")
    asked = quick.requests("order")[-1].payload
    assert "notAfter" in asked and abs(lifetime_s(tlsup, name) - 30 * DAY) < 2 * 3600
    begin, end = at(-600), at(20 * DAY)
    issue(tlsup, quick, f"dated-{name}", "--not-before", begin, "--not-after", end)
    asked = quick.requests("order")[-1].payload
    assert (asked["notBefore"], asked["notAfter"]) == (begin, end)
    tlsup.ok("renew", name, "--force-renewal")
    assert "notAfter" in quick.requests("order")[-1].payload and abs(lifetime_s(tlsup, name) - 30 * DAY) < 2 * 3600, "remembered"


def test_dates_that_a_ca_does_not_take(tlsup, quick, name):
    result = tlsup("issue", name, *STANDALONE, "--valid-for", "30d", *quick.arguments)
    assert result.status == 3 and "notAfter are not supported" in result.err, result


# -- renewal information -----------------------------------------------------------------------------------


def suggest(ca, tlsup, name, body):
    """Set what Pebble says about the live certificate, and make it time to ask."""
    ca.management("set-renewal-info/", {"Certificate": tlsup.file(name, "cert").read_text(),
                                        "ARIResponse": body if isinstance(body, str) else json.dumps(body)})
    change_state(tlsup, name, lambda state: state["ari"].update(next_check_s=1))


def window(start, end, **more):
    return {"suggestedWindow": {"start": at(start), "end": at(end)}, **more}


@pytest.fixture
def informed(tlsup, ca, name):
    needs_2_10(ca)
    issue(tlsup, ca, name)
    return name


def test_renewal_information_past(tlsup, ca, informed):
    suggest(ca, tlsup, informed, window(-2 * DAY, -DAY, explanationURL="https://ca.test/incident"))
    since = len(ca.log_path.read_text(errors="replace"))
    result = tlsup.ok("renew")
    assert tlsup.version(informed) == 2 and "https://ca.test/incident" in result.text
    log = ca.log_path.read_text(errors="replace")[since:]
    assert re.search(r"replaces|replac", log, re.I), log[-3000:]
    assert state_of(tlsup, informed)["live"].get("replaced_id")
    asked = len(ca.requests())
    tlsup.ok("renew")
    assert tlsup.version(informed) == 2 and not [r for r in ca.requests()[asked:] if "order" in r], "not again"


def test_renewal_information_to_come(tlsup, ca, informed):
    """The instant that was chosen stays over runs; status shows it, and why."""
    suggest(ca, tlsup, informed, window(30 * DAY, 40 * DAY, explanationURL="https://ca.test/why"))
    tlsup.ok("renew")
    first = state_of(tlsup, informed)["ari"]
    for _ in range(2):
        change_state(tlsup, informed, lambda state: state["ari"].update(next_check_s=1))
        tlsup.ok("renew")
        assert state_of(tlsup, informed)["ari"]["chosen_s"] == first["chosen_s"]
    assert tlsup.version(informed) == 1
    shown = tlsup.ok("status", informed).out + tlsup.ok("status", "--json").out
    assert "https://ca.test/why" in shown, shown
    assert time.strftime("%Y-%m-%d", time.gmtime(first["chosen_s"])) in shown, shown


def test_renewal_information_within_the_next_run(tlsup, ca, informed):
    """The instant lies before anybody looks again: now is better than too late."""
    suggest(ca, tlsup, informed, window(60, 120))
    tlsup.ok("renew")
    assert tlsup.version(informed) == 2


@pytest.mark.parametrize("body", ["{", "[]", '{"suggestedWindow": null}', '{"suggestedWindow": {"start": "x", "end": "y"}}',
                                  '{"suggestedWindow": {"start": "2020-01-02T00:00:00Z", "end": "2020-01-01T00:00:00Z"}}'])
def test_renewal_information_malformed(tlsup, ca, informed, body):
    suggest(ca, tlsup, informed, body)
    tlsup.ok("renew")
    assert tlsup.version(informed) == 1
    assert state_of(tlsup, informed)["ari"]["next_check_s"] > time.time() + 3600


# -- revocation --------------------------------------------------------------------------------------------


def status_at(ca, cert):
    return json.loads(ca.management(f"cert-status-by-serial/{pki.serial_of(cert)}"))


@pytest.mark.every_pebble
@pytest.mark.parametrize("words, reason", [([], 0), (["--reason", "superseded"], 4), (["--reason", "5", "--by-key"], 5)],
                         ids=["plain", "superseded", "by-key"])
def test_revoke(tlsup, ca, name, words, reason):
    issue(tlsup, ca, name)
    cert = tlsup.file(name, "cert").read_bytes()
    result = tlsup.ok("revoke", name, "-n", *words)
    found = status_at(ca, cert)
    assert found["Status"] == "Revoked" and found.get("Reason", 0) == reason, (found, result)
    assert "revoked" in tlsup.ok("status").out
    again = tlsup.ok("revoke", name, "-n", *words)
    assert "already" in again.text, "nothing is left to do, and that is no failure"
    tlsup.ok("renew")
    assert tlsup.version(name) == 2, "the next renewal replaces it"


def test_revoke_a_file(tlsup, ca, name, tmp_path):
    """By whoever has the key; no account, nothing stored."""
    issue(tlsup, ca, name)
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(tlsup.file(name, "cert").read_bytes())
    key.write_bytes(tlsup.file(name, "privkey").read_bytes())
    stranger = elsewhere(tmp_path)
    result = stranger("revoke", "--cert-path", cert, *reach(ca))
    assert result.status != 0 and status_at(ca, cert)["Status"] != "Revoked", result
    (tmp_path / "wrong.pem").write_bytes(pki.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"))
    result = stranger("revoke", "--cert-path", cert, "--key-path", tmp_path / "wrong.pem", *reach(ca))
    assert result.status in (1, 2) and "wrong.pem" in result.err, result
    stranger.ok("revoke", "--cert-path", cert, "--key-path", key, *reach(ca))
    assert status_at(ca, cert)["Status"] == "Revoked"


def test_revoke_by_another_account(tlsup, quick, name, tmp_path):
    """One that has proven the names as well may do it; one that has not may not."""
    issue(tlsup, quick, name)
    (tmp_path / "cert.pem").write_bytes(tlsup.file(name, "cert").read_bytes())
    other = elsewhere(tmp_path)
    other.ok("account", "register", *quick.arguments)
    result = other("revoke", "--cert-path", tmp_path / "cert.pem", *reach(quick))
    assert result.status == 3 and "another account" in result.err and not quick.revoked, result
    issue(other, quick, name)
    other.ok("revoke", "--cert-path", tmp_path / "cert.pem", *reach(quick))
    assert list(quick.revoked) == [tlsup.sha256(name)]


def test_revoke_by_one_of_several_accounts(tlsup, quick, name):
    """--account chooses whose word it is."""
    issue(tlsup, quick, name, "--account", "shop")
    tlsup.ok("account", "register", *quick.arguments)
    result = tlsup("revoke", name, "-n", "--account", "default")
    assert result.status == 3 and not quick.revoked, result
    tlsup.ok("revoke", name, "-n")
    assert quick.revoked


@pytest.mark.parametrize("reason", ["7", "keycompromise!", "-1", "11", ""])
def test_revoke_for_a_reason_that_is_none(tlsup, quick, name, reason):
    result = tlsup("revoke", name, "-n", "--reason", reason, *reach(quick)[:-1])
    assert result.status == 2 and "reason" in result.err and not quick.log, result


def test_revoke_both_of_a_pair(tlsup, quick, name):
    issue(tlsup, quick, name, "-k", "ecdsa-p256,rsa-2048")
    tlsup.ok("revoke", name, "-n", "--by-key", "--reason", "superseded")
    assert list(quick.revoked.values()) == [4, 4]


def test_compromised_key_is_never_used_again(tlsup, ca, name):
    issue(tlsup, ca, name, "--reuse-key")
    key = tlsup.file(name, "privkey").read_bytes()
    tlsup.ok("revoke", name, "-n", "--reason", "keyCompromise")
    tlsup.ok("renew")
    assert tlsup.version(name) == 2 and tlsup.file(name, "privkey").read_bytes() != key
    issue(tlsup, ca, name, "--reuse-key", "--force-renewal")


def test_compromised_key_of_a_request(tlsup, ca, name, tmp_path):
    key, csr = make_csr(tmp_path, [name])
    issue(tlsup, ca, "--csr", csr)
    tlsup.ok("revoke", name, "-n", "--reason", "keyCompromise", "--key-path", key)
    result = tlsup("renew", name, "--force-renewal")
    assert result.status == 2 and "compromised" in result.err and tlsup.version(name) == 1, result


def test_compromised_key_that_waits_in_an_order(tlsup, quick, name):
    """The renewal was under way with the same key when it was found to be compromised: it is not finished with it."""
    issue(tlsup, quick, name, "--reuse-key")
    key = tlsup.file(name, "privkey").read_bytes()
    quick.misbehave("certificate", lambda *_: Cut())
    assert tlsup("renew", name, "--force-renewal").status != 0
    quick.behave()
    tlsup.ok("revoke", name, "-n", "--reason", "keyCompromise")
    tlsup.ok("renew", name)
    assert tlsup.version(name) == 2 and tlsup.file(name, "privkey").read_bytes() != key


# -- failover ----------------------------------------------------------------------------------------------


def with_fallback(first, second):
    return [*STANDALONE, "--server", f"{first},{second.url}", "--ca-bundle", str(second.bundle), "--agree-tos", "-n"]


def refuses_binding(ca):
    ca.eab = {}


def is_rate_limited(ca):
    ca.misbehave("order", lambda *_: Problem(429, "rateLimited", "too many already", headers={"Retry-After": "86400"}))


def is_broken(ca):
    ca.misbehave("directory", lambda *_: Reply(200, "<html>", "text/html"))


def fails_at_the_end(ca):
    ca.misbehave("finalize", lambda *_: Problem(400, "badCSR", "we do not like your key"))


@pytest.mark.parametrize("trouble", [None, refuses_binding, is_rate_limited, is_broken, fails_at_the_end],
                         ids=["down", "binding", "rate-limit", "html", "finalize"])
def test_failover(tlsup, quick, make_fake, name, trouble):
    first = "https://localhost:9/dir"
    if trouble:
        bad = make_fake()
        trouble(bad)
        first = bad.url
    tlsup.ok("issue", name, *with_fallback(first, quick), timeout=120)
    check_store(tlsup, name, [name], quick.roots)
    assert quick.url in json.dumps(tlsup.status_of(name)) and state_of(tlsup, name)["live"]["ca"] == quick.url
    tlsup.ok("renew")
    assert tlsup.version(name) == 1, "one of the CAs that were named will do"


def test_failover_says_who_issued(tlsup, stand_in, make_fake, name):
    """The line of success names the CA that was used."""
    down = stand_in(ZEROSSL)
    down.eab = {}
    good = make_fake()
    result = tlsup.ok("issue", name, *with_fallback("zerossl", good))
    assert "zerossl cannot be used" in result.err, result
    done = [l for l in result.text.splitlines() if l.startswith("Certificate for")]
    assert done and not any("zerossl" in l for l in done), result


def test_failover_is_no_remedy_for_the_name(tlsup, ca, dns, quick, name):
    """What is wrong with the name is wrong at every CA."""
    dns.addresses(name, v4=["192.0.2.1"])
    result = tlsup("issue", name, *with_fallback(ca.url, quick))
    assert result.status == 3 and name in result.err and not quick.log, result


def test_failover_exhausted(tlsup, quick, make_fake, name):
    is_rate_limited(quick)
    bad = make_fake()
    is_broken(bad)
    result = tlsup("issue", name, *with_fallback(bad.url, quick))
    assert result.status in (1, 3, 4) and "too many already" in result.err, result


def test_failover_of_a_renewal(tlsup, quick, make_fake, name):
    second = make_fake()
    quick.window = second.window = at(60 * DAY), at(61 * DAY)
    tlsup.ok("issue", name, *with_fallback(quick.url, second))
    assert state_of(tlsup, name)["live"]["ca"] == quick.url and not second.log
    is_rate_limited(quick)
    tlsup.ok("renew", name, "--force-renewal")
    assert tlsup.version(name) == 2 and state_of(tlsup, name)["live"]["ca"] == second.url
    assert not any("replaces" in r.payload for r in second.requests("order")), "it was another CA's"
    quick.behave()
    tlsup.ok("renew", name, "--force-renewal")
    assert state_of(tlsup, name)["live"]["ca"] == quick.url, "the first choice comes first again"


# -- some names, many names --------------------------------------------------------------------------------


def try_missing_again(tlsup, name):
    change_state(tlsup, name, lambda state: state["partial"].update(try_s=1))


@pytest.mark.every_pebble
def test_partial_issuance(tlsup, ca, dns, new_name):
    """Without the name that cannot be reached; tried again when it is time to, and only then; whole when it can be."""
    names = good, bad = [new_name(), new_name()]
    dns.addresses(bad, v4=["192.0.2.1"])
    result = issue(tlsup, ca, good, bad, "--allow-partial")
    assert bad in result.err
    assert pki.names_of(tlsup.file(good, "cert")) == {good}
    assert bad in (tlsup.config / "certs.d" / f"{good}.conf").read_text(), "the wanted list is kept"
    assert bad in tlsup.ok("status", good).out
    change_state(tlsup, good, lambda state: state.get("ari", {}).update(next_check_s=int(time.time()) + 3600))
    asked = len(ca.requests())
    tlsup.ok("renew")
    assert len(ca.requests()) == asked and tlsup.version(good) == 1, "not yet"
    try_missing_again(tlsup, good)
    result = tlsup("renew")
    assert tlsup.version(good) == 1, ("the same subset is not issued again", result)
    assert result.status == 0 and bad in result.err, result
    assert state_of(tlsup, good)["partial"]["try_s"] > time.time()
    dns.addresses(bad, v4=["127.0.0.1"])
    try_missing_again(tlsup, good)
    tlsup.ok("renew")
    assert tlsup.version(good) == 2
    check_store(tlsup, good, names, ca.roots)
    assert not state_of(tlsup, good).get("partial", {}).get("missing")


def test_partial_issuance_without_a_blocked_name(tlsup, ca, name):
    issue(tlsup, ca, name, "www.blocked-domain.example", "--allow-partial")
    assert pki.names_of(tlsup.file(name, "cert")) == {name}


def test_partial_issuance_asked_for_again_by_hand(tlsup, ca, dns, new_name):
    """`issue` once more, when the missing name is to be tried: the same subset is not issued a second time."""
    good, bad = new_name(), new_name()
    dns.addresses(bad, v4=["192.0.2.1"])
    issue(tlsup, ca, good, bad, "--allow-partial")
    issue(tlsup, ca, good, bad, "--allow-partial")
    assert tlsup.version(good) == 1
    try_missing_again(tlsup, good)
    result = tlsup("issue", good, bad, "--allow-partial", *STANDALONE, *ca.arguments)
    assert tlsup.version(good) == 1, result


def test_partial_issuance_of_nothing(tlsup, ca, dns, name):
    dns.addresses(name, v4=["192.0.2.1"])
    result = tlsup("issue", name, "--allow-partial", *STANDALONE, *ca.arguments)
    assert result.status == 3 and name in result.err and not os.path.lexists(tlsup.live(name)), result


def test_from_a_file(tlsup, ca, new_name, tmp_path):
    names = [new_name() for _ in range(30)]
    alias = {each: f"{each.split('.')[0]}-cert" if i % 3 == 0 else each for i, each in enumerate(names)}
    lines = ["# our names", ""] + [f"{each} www.{each} > {alias[each]}" if alias[each] != each else each for each in names]
    lines.insert(7, "www.blocked-domain.example   # refused by the CA")
    (tmp_path / "domains.txt").write_text("\r\n".join(lines))
    result = tlsup("issue", "--from", tmp_path / "domains.txt", *STANDALONE, *ca.arguments)
    assert result.status == 3 and "blocked-domain" in result.err, result
    assert not os.path.lexists(tlsup.live("www.blocked-domain.example"))
    for each in names:
        check_store(tlsup, alias[each], [each, f"www.{each}"] if alias[each] != each else [each], ca.roots)
    asked = len(ca.requests())
    result = tlsup("issue", "--from", tmp_path / "domains.txt", *STANDALONE, *ca.arguments)
    assert len([r for r in ca.requests()[asked:] if "order-plz" in r]) <= 3, "what is there is not asked for again"
    assert "30 up to date" in result.text, result


@pytest.mark.parametrize("line, says", [("bad_name.test", r"bad_name"), ("> alias", r"name"), ("a.test >", r">"), ("a.test > b c", r">"),
                                        ("a.test > ../x", r"\.\./x"), ("good.test", r"above|twice|good"), ("a.test *.*.test", r"\*")])
def test_from_a_file_with_a_mistake(tlsup, quick, tmp_path, line, says):
    path = tmp_path / "domains.txt"
    path.write_text(f"good.test\n\n# a comment\n{line}\nfine.test\n")
    result = tlsup("issue", "--from", path, *STANDALONE, *quick.arguments)
    assert result.status == 2 and f"{path}:4" in result.err and re.search(says, result.err), result
    assert not quick.log, "the whole file is read before anything is asked for"


@pytest.mark.parametrize("content, says", [("", r"no names"), ("# nothing\n\n", r"no names"), ("a.test\0b", r"NUL"), (None, r"domains\.txt")],
                         ids=["empty", "comments", "nul", "missing"])
def test_from_a_file_that_is_none(tlsup, quick, tmp_path, content, says):
    path = tmp_path / "domains.txt"
    if content is not None:
        path.write_text(content)
    result = tlsup("issue", "--from", path, *STANDALONE, *quick.arguments)
    assert result.status in (1, 2) and str(path) in result.err and re.search(says, result.err), result


LETSENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"


def test_warning_before_the_limit(tlsup, stand_in, name):
    """Five of the same names a week: the fifth is the last, the sixth would be refused. Told before the CA is asked."""
    ca = stand_in(LETSENCRYPT)
    words = ["issue", name, *STANDALONE, "--ca-bundle", str(ca.bundle), "--agree-tos", "-n", "--force-renewal"]
    quiet = [tlsup.ok(*words) for _ in range(4)]
    assert not any("7 days" in r.err for r in quiet), quiet
    assert "the last" in tlsup.ok(*words).err
    result = tlsup.ok(*words)
    assert re.search(r"letsencrypt allows 5 certificates for exactly these names in 7 days", result.err), result
    assert re.search(r"room again in .*20\d\d-", result.err), result
    path = next((tlsup.state / "accounts").rglob("ledger.json"))
    ledger = json.loads(path.read_text())
    for entry in ledger["entries"]:
        entry["at"] -= 8 * DAY
    path.write_text(json.dumps(ledger))
    assert "7 days" not in tlsup.ok(*words).err, "a week later there is room"
    path.write_text("{ broken")
    assert str(path) in tlsup.ok(*words).err


# -- the way to the CA -------------------------------------------------------------------------------------


class Proxy(threading.Thread):
    """HTTP CONNECT and SOCKS5, on one port; both may want "user:pass"."""

    def __init__(self, auth=None):
        super().__init__(daemon=True)
        self.auth, self.asked = auth, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:{}".format(self.listener.getsockname()[1])
        self.start()

    def run(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        with sock:
            first = sock.recv(1, socket.MSG_PEEK)
            target = self.socks(sock) if first == b"\5" else self.connect(sock)
            if not target:
                return
            self.asked.append(target)
            with socket.create_connection(("127.0.0.1", target[1])) as far:
                back = threading.Thread(target=self.copy, args=(far, sock), daemon=True)
                back.start()
                self.copy(sock, far)
                back.join(5)

    @staticmethod
    def copy(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def connect(self, sock):
        head = b""
        while b"\r\n\r\n" not in head:
            piece = sock.recv(4096)
            if not piece:
                return None
            head += piece
        wanted = base64.b64encode((self.auth or "").encode())
        if self.auth and b"Proxy-Authorization: Basic " + wanted not in head:
            sock.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return None
        host, port = re.match(rb"CONNECT ([^ ]+):(\d+) ", head).groups()
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        return host.decode(), int(port)

    def socks(self, sock):
        count = sock.recv(2)[1]
        sock.recv(count)
        sock.sendall(b"\5\2" if self.auth else b"\5\0")
        if self.auth:
            user = sock.recv(sock.recv(2)[1])
            if user + b":" + sock.recv(sock.recv(1)[0]) != self.auth.encode():
                sock.sendall(b"\1\1")
                return None
            sock.sendall(b"\1\0")
        kind = sock.recv(4)[3]
        host = sock.recv({1: 4, 4: 16}.get(kind) or sock.recv(1)[0])
        port = int.from_bytes(sock.recv(2), "big")
        sock.sendall(b"\5\0\0\1\0\0\0\0\0\0")
        return (host.decode() if kind == 3 else host), port


@pytest.fixture
def proxy():
    made = []

    def make(auth=None):
        made.append(Proxy(auth))
        return made[-1]

    yield make
    for each in made:
        each.listener.close()


@pytest.mark.parametrize("scheme, auth", [("http", None), ("http", "user:pa%ss"), ("socks5", "user:pa%ss"), ("socks5h", None)])
def test_proxy(tlsup, ca, name, proxy, scheme, auth):
    between = proxy(auth)
    credentials = auth.replace("%", "%25") + "@" if auth else ""
    result = issue(tlsup, ca, name, "--proxy", f"{scheme}://{credentials}{between.address}")
    assert between.asked and (scheme == "socks5" or between.asked[0] == ("localhost", ca.port)), result
    before = len(between.asked)
    tlsup.ok("renew", name, "--force-renewal")
    assert len(between.asked) > before, "remembered"


def test_proxy_that_refuses(tlsup, ca, name, proxy):
    between = proxy("user:secret-word")
    result = tlsup("issue", name, *STANDALONE, "--proxy", f"http://user:wrong-word@{between.address}", *ca.arguments)
    assert result.status in (1, 2, 4) and re.search(r"proxy|407", result.err, re.I) and "wrong-word" not in result.err, result
    result = tlsup("issue", name, *STANDALONE, "--proxy", "http://127.0.0.1:9", *ca.arguments, timeout=100)
    assert result.status in (1, 2, 4) and re.search(r"proxy|127\.0\.0\.1", result.err, re.I), result


def test_proxy_of_the_environment(tlsup, ca, name, proxy):
    between = proxy()
    issue(tlsup, ca, name, env={"https_proxy": f"http://{between.address}"})
    assert between.asked
    before = len(between.asked)
    issue(tlsup, ca, name, "--force-renewal", "--proxy", "direct", env={"https_proxy": f"http://{between.address}"})
    assert len(between.asked) == before


@pytest.mark.skipif(not os.path.exists("/usr/sbin/squid"), reason="squid is not installed")
def test_proxy_that_is_squid(tlsup, ca, name, tmp_path):
    work = tmp_path / "squid"
    work.mkdir()
    shutil.chown(work, "proxy")
    for each in [tmp_path, *tmp_path.parents][:3]:
        each.chmod(0o755)
    conf = work / "squid.conf"
    conf.write_text(f"http_port 127.0.0.1:3128\nhttp_access allow all\npid_filename {work}/pid\naccess_log stdio:{work}/access.log\n"
                    f"cache_log {work}/cache.log\ncache deny all\npinger_enable off\nshutdown_lifetime 0 seconds\n")
    process = subprocess.Popen(["/usr/sbin/squid", "-N", "-f", conf], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        net.wait_for_port(3128, seconds=30, alive=lambda: process.poll() is None)
        issue(tlsup, ca, name, "--proxy", "http://127.0.0.1:3128")
        time.sleep(0.5)
        assert f"CONNECT localhost:{ca.port}" in (work / "access.log").read_text()
    finally:
        process.kill()
        process.wait()


def test_ip_version_and_interface(tlsup, ca, quick, new_name, ipv6):
    issue(tlsup, ca, new_name(), "-6")
    issue(tlsup, quick, new_name(), "-4")
    result = tlsup("issue", new_name(), *STANDALONE, "-6", *quick.arguments, timeout=60)
    assert result.status in (1, 4) and "localhost" in result.err, result  # the scripted CA has IPv4 alone
    issue(tlsup, ca, new_name(), "--interface", "lo")
    issue(tlsup, ca, new_name(), "--interface", "127.0.0.1")
    result = tlsup("issue", new_name(), *STANDALONE, "--interface", "nosuch0", *ca.arguments, timeout=60)
    assert result.status in (1, 2, 4) and "nosuch0" in result.err, result


# -- keys on a token ---------------------------------------------------------------------------------------


SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so"


@pytest.fixture
def token(tmp_path):
    """new_key(label) -> URI, and the environment in which it is found."""
    if not os.path.exists(SOFTHSM) or not shutil.which("softhsm2-util") or not shutil.which("pkcs11-tool"):
        pytest.skip("SoftHSM and opensc are not installed")
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
    environment = {"SOFTHSM2_CONF": str(tmp_path / "softhsm2.conf")}
    everything = {**os.environ, **environment}
    subprocess.run(["softhsm2-util", "--init-token", "--free", "--label", "e2e", "--pin", "4711", "--so-pin", "12345678"], check=True,
                   env=everything, capture_output=True)

    def new_key(label, kind="EC:prime256v1"):
        subprocess.run(["pkcs11-tool", "--module", SOFTHSM, "--token-label", "e2e", "--login", "--pin", "4711", "--keypairgen", "--key-type", kind,
                        "--label", label, "--id", label.encode().hex()], check=True, env=everything, capture_output=True)
        return f"pkcs11:token=e2e;object={label}?pin-value=4711&module-path={SOFTHSM}"

    new_key.environment = environment
    return new_key


@pytest.mark.parametrize("kind", ["EC:prime256v1", "rsa:2048"])
def test_certificate_key_on_a_token(tlsup, ca, name, token, kind):
    uri = token("web", kind)
    issue(tlsup, ca, name, "--key", uri, env=token.environment)
    assert not list((tlsup.state / "certs").rglob("*key*.pem")), "the key never leaves the token"
    first = pki.public_key_of(tlsup.file(name, "cert"))
    tlsup.ok("renew", name, "--force-renewal", env=token.environment)
    assert tlsup.version(name) == 2 and pki.public_key_of(tlsup.file(name, "cert")) == first
    assert "token" in tlsup.ok("status", name, env=token.environment).out


def test_account_key_on_a_token(tlsup, fake_ca, name, token, tmp_path):
    fake_ca.strict_signatures = True
    uri = token("account")
    subprocess.run(["pkcs11-tool", "--module", SOFTHSM, "--token-label", "e2e", "--read-object", "--type", "pubkey", "--label", "account",
                    "--output-file", tmp_path / "public.der"], check=True, env={**os.environ, **token.environment}, capture_output=True)
    point = (tmp_path / "public.der").read_bytes()[-64:]
    url = fake_ca.add_account({"kty": "EC", "crv": "P-256", "x": fakeca.b64(point[:32]), "y": fakeca.b64(point[32:])})
    assert url in tlsup.ok("account", "import", uri, *reach(fake_ca), env=token.environment).out
    issue(tlsup, fake_ca, name, env=token.environment)
    assert not list((tlsup.state / "accounts").rglob("key*.pem")), "no key in a file"
    tlsup.ok("revoke", name, "-n", env=token.environment)
    tlsup.ok("account", "change-key", *reach(fake_ca), env=token.environment)
    tlsup.ok("renew", name, env=token.environment)
    assert len(fake_ca.accounts) == 1


def test_token_that_is_not_there(tlsup, quick, name, token):
    uri = token("web").replace("object=web", "object=gone")
    result = tlsup("issue", name, *STANDALONE, "--key", uri, *quick.arguments, env=token.environment)
    assert result.status in (1, 2) and "gone" in result.err and "4711" not in result.err, result
    result = tlsup("issue", name, *STANDALONE, "--key", uri.replace("gone", "web").replace("4711", "9999"), *quick.arguments, env=token.environment)
    assert result.status in (1, 2) and re.search("PIN", result.err) and "9999" not in result.err, result
