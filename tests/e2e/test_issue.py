"""Getting a certificate: every way to answer the challenge, every kind of key, a CA that behaves and one that is tiring."""

import os
import pathlib
import re
import stat
import time
import urllib.parse

import pytest

from harness import net, pki, snapshot
from harness.client import ANSI, check_store
from harness.fakeca import Cut, Problem, Reply

STANDALONE = ["--standalone"]


def issue(tlsup, ca, *words, **options):
    return tlsup.ok("issue", *words, *ca.arguments, **options)


# -- the own responder -------------------------------------------------------------------------------------


def test_standalone(tlsup, ca, name):
    result = issue(tlsup, ca, name, "--standalone", "-m", "admin@example.org")
    check_store(tlsup, name, [name], ca.roots, key=r"P-256|prime256v1")
    assert name in result.text
    assert not net.port_open(80), "the responder is up only while it is needed"
    assert (tlsup.config / "certs.d" / f"{name}.conf").exists()


@pytest.mark.parametrize("percent", [5, 50])
def test_rejected_nonces(tlsup, make_pebble, new_name, percent):
    ca = make_pebble(nonce_reject=percent)
    names = [new_name() for _ in range(4)]
    issue(tlsup, ca, *names, *STANDALONE)
    check_store(tlsup, names[0], names, ca.roots)


def test_validation_that_sleeps(tlsup, make_pebble, new_name):
    ca = make_pebble(nonce_reject=5, sleep_s=4)
    names = [new_name() for _ in range(3)]
    issue(tlsup, ca, *names, *STANDALONE)
    check_store(tlsup, names[0], names, ca.roots)


def test_over_ipv6(tlsup, ca, dns, name, ipv6):
    dns.addresses(name, v4=["192.0.2.1"], v6=["::1"])
    issue(tlsup, ca, name, *STANDALONE)
    check_store(tlsup, name, [name], ca.roots)


def test_over_ipv4_alone(tlsup, ca, dns, name):
    dns.addresses(name, v4=["127.0.0.1"])
    issue(tlsup, ca, name, *STANDALONE)
    check_store(tlsup, name, [name], ca.roots)


# -- names -------------------------------------------------------------------------------------------------


def test_names_are_normalised_and_told_apart(tlsup, ca, name):
    issue(tlsup, ca, name.upper() + ".", "-d", f"www.{name},{name}", "-d", f"mail.{name}", *STANDALONE)
    check_store(tlsup, name, [name, f"www.{name}", f"mail.{name}"], ca.roots)


def test_internationalised_name_is_shown_both_ways(tlsup, ca):
    result = issue(tlsup, ca, "bücher.test", *STANDALONE)
    check_store(tlsup, "xn--bcher-kva.test", ["xn--bcher-kva.test"], ca.roots)
    on_terminal = ANSI.sub("", tlsup.on_terminal("status")[1])
    for text in (result.text, on_terminal, tlsup.ok("status", "xn--bcher-kva.test").out):
        assert "xn--bcher-kva.test" in text and "bücher.test" in text, text
    assert "bücher" not in tlsup.ok("status").out, "what other programs read has the name that is in the certificate"


def test_certificate_name_of_ones_own(tlsup, ca, name):
    issue(tlsup, ca, name, "--cert-name", "shop", *STANDALONE)
    check_store(tlsup, "shop", [name], ca.roots)


def test_more_names_for_a_certificate(tlsup, ca, name):
    issue(tlsup, ca, name, "--cert-name", "shop", *STANDALONE)
    issue(tlsup, ca, name, f"www.{name}", "--cert-name", "shop", *STANDALONE)
    check_store(tlsup, "shop", [name, f"www.{name}"], ca.roots)
    assert tlsup.version("shop") == 2


# -- keys --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key_type, expected", [("ecdsa-p256", "P-256"), ("ecdsa-p384", "P-384"), ("rsa-2048", "2048 bit"),
                                                ("rsa-3072", "3072 bit"), ("rsa-4096", "4096 bit"), ("ec-384", "P-384")])
def test_key_types(tlsup, fake_ca, name, key_type, expected):
    issue(tlsup, fake_ca, name, "--key-type", key_type, *STANDALONE)
    check_store(tlsup, name, [name], fake_ca.roots, key=expected)


def test_real_ca_takes_rsa_too(tlsup, ca, name):
    issue(tlsup, ca, name, "--key-type", "rsa-2048", *STANDALONE)
    check_store(tlsup, name, [name], ca.roots, key="2048 bit")


def test_a_new_certificate_has_a_new_key(tlsup, ca, name):
    issue(tlsup, ca, name, *STANDALONE)
    first = tlsup.file(name, "privkey").read_bytes()
    issue(tlsup, ca, name, *STANDALONE, "--force-renewal")
    assert tlsup.version(name) == 2
    assert tlsup.file(name, "privkey").read_bytes() != first


# -- webroot and web server --------------------------------------------------------------------------------


def test_webroot(tlsup, ca, server, name):
    server.start()
    files, configuration = snapshot.snapshot("/var/www"), server.configuration()
    issue(tlsup, ca, name, f"www.{name}", "--webroot", "-w", "/var/www/html")
    check_store(tlsup, name, [name, f"www.{name}"], ca.roots)
    assert not snapshot.difference(files, snapshot.snapshot("/var/www")), "tokens and directories must be gone"
    assert not snapshot.difference(configuration, server.configuration())


def test_webroot_of_a_person_who_has_other_things_there(tlsup, ca, nginx, name):
    nginx.start()
    theirs = pathlib.Path("/var/www/html/.well-known/acme-challenge")
    theirs.mkdir(parents=True)
    (theirs / "other-client").write_text("another client's token")
    files = snapshot.snapshot("/var/www")
    issue(tlsup, ca, name, "--webroot", "-w", "/var/www/html")
    assert not snapshot.difference(files, snapshot.snapshot("/var/www"))


def test_through_the_running_web_server(tlsup, ca, server, name):
    """The tokens are served by the web server, which misses no request; port 443 stays off."""
    server.site(name)
    server.start()
    master = server.master()
    with net.Visitor(name) as visitor:
        issue(tlsup, ca, name)
    assert visitor.visits > 3 and not visitor.failures, visitor.failures
    assert server.master() == master
    assert server.test().returncode == 0
    assert not net.port_open(443)
    check_store(tlsup, name, [name], ca.roots)


def test_through_the_web_server_for_a_name_without_a_site(tlsup, ca, server, name):
    """Debian's stock site answers for it."""
    server.start()
    issue(tlsup, ca, name)
    check_store(tlsup, name, [name], ca.roots)


def test_the_web_server_knows_only_tokens_of_ours(tlsup, ca, nginx, name):
    nginx.site(name)
    nginx.start()
    issue(tlsup, ca, name)
    for path in ("/.well-known/acme-challenge/", "/.well-known/acme-challenge/a/b", "/.well-known/acme-challenge/..%2f..%2fetc/passwd",
                 "/.well-known/acme-challenge/%0d%0aX-Evil:1"):
        answer = net.http(name, path)
        assert answer.status in (400, 403, 404), (path, answer.status)
        assert "x-evil" not in answer.headers


# -- what is already there ---------------------------------------------------------------------------------


def test_valid_authorizations_need_no_challenge(tlsup, make_pebble, name):
    """With port 80 free and nobody answering on it, only a reused authorization can work."""
    ca = make_pebble(nonce_reject=0, authz_reuse=100)
    issue(tlsup, ca, name, *STANDALONE)
    before = len([r for r in ca.requests() if r.startswith("POST /chalZ")])
    issue(tlsup, ca, name, "--force-renewal", *STANDALONE)
    assert len([r for r in ca.requests() if r.startswith("POST /chalZ")]) == before
    assert tlsup.version(name) == 2


def test_born_valid(tlsup, fake_ca, name):
    fake_ca.preauthorized = True
    issue(tlsup, fake_ca, name, *STANDALONE)
    assert not fake_ca.requests("challenge")
    check_store(tlsup, name, [name], fake_ca.roots)


def test_asking_again_changes_nothing(tlsup, ca, name):
    issue(tlsup, ca, name, *STANDALONE)
    held, asked = tlsup.held(), len(ca.requests())
    result = issue(tlsup, ca, name, *STANDALONE)
    assert not snapshot.difference(held, tlsup.held())
    assert not [r for r in ca.requests()[asked:] if "order" in r], "a certificate that is good needs no order"
    assert re.search(r"not due|still|valid|nothing|until", result.text, re.I), result


def test_old_versions_stay(tlsup, ca, name):
    issue(tlsup, ca, name, *STANDALONE)
    first = tlsup.live(name).resolve()
    issue(tlsup, ca, name, *STANDALONE, "--force-renewal")
    assert (first / "privkey.pem").exists() and tlsup.live(name).resolve() != first


# -- the store ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_modes(tlsup, ca, name, umask):
    issue(tlsup, ca, name, *STANDALONE, umask=umask)
    for parent, dirs, files in os.walk(tlsup.state):
        for entry in dirs + files:
            path = os.path.join(parent, entry)
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                continue
            assert not mode & 0o022, f"{path} is writable by others: {oct(mode)}"
            if entry in ("privkey.pem", "key.pem", "pending.pem"):
                assert stat.S_IMODE(mode) == 0o600, path
            if entry in ("cert.pem", "chain.pem", "fullchain.pem"):
                assert stat.S_IMODE(mode) == 0o644, (path, oct(mode))
    assert stat.S_IMODE(os.stat(tlsup.state / "accounts").st_mode) == 0o700


def test_directories_of_ones_own(ca, name, tmp_path):
    from harness.client import Client

    mine = Client(tmp_path / "c", tmp_path / "s")
    issue(mine, ca, name, *STANDALONE)
    check_store(mine, name, [name], ca.roots)
    assert not any(pathlib.Path("/var/lib/tlsup").iterdir()) and not any(pathlib.Path("/etc/tlsup").iterdir())


def test_settings_are_remembered(tlsup, ca, name):
    issue(tlsup, ca, name, *STANDALONE, "--key-type", "ecdsa-p384", "-m", "admin@example.org")
    text = (tlsup.config / "certs.d" / f"{name}.conf").read_text()
    for expected in (rf"names\s*=\s*{re.escape(name)}", r"server\s*=\s*" + re.escape(ca.url), r"key-type\s*=\s*ecdsa-p384",
                     r"challenge\s*=\s*standalone"):
        assert re.search(expected, text), text


def test_delete(tlsup, ca, new_name):
    one, two = new_name(), new_name()
    issue(tlsup, ca, one, *STANDALONE)
    issue(tlsup, ca, two, *STANDALONE)
    tlsup.ok("delete", one, "-n")
    assert not os.path.lexists(tlsup.live(one)) and not (tlsup.state / "certs" / one).exists()
    assert not (tlsup.config / "certs.d" / f"{one}.conf").exists()
    check_store(tlsup, two, [two], ca.roots)
    assert one not in tlsup.ok("status").out


# -- what the person sees ----------------------------------------------------------------------------------


def test_piped_output_is_plain(tlsup, make_pebble, name):
    result = issue(tlsup, make_pebble(nonce_reject=0, sleep_s=3), name, *STANDALONE)
    assert "\x1b" not in result.text and "\r" not in result.text and "\b" not in result.text
    assert result.out.strip(), "a result must be said"


def test_terminal_shows_progress(tlsup, make_pebble, name):
    status, seen = tlsup.on_terminal("issue", name, *STANDALONE, *make_pebble(nonce_reject=0, sleep_s=5).arguments)
    assert status == 0, seen
    assert "\r" in seen.replace("\r\n", "\n") or "\x1b" in seen, "a line that moves while we wait"
    plain = ANSI.sub("", seen)
    assert name in plain


def test_no_colours_when_unwanted(tlsup, ca, name):
    status, seen = tlsup.on_terminal("issue", name, *STANDALONE, *ca.arguments, env={"NO_COLOR": "1"})
    assert status == 0, seen
    assert not re.search(r"\x1b\[[0-9;]*[1-9][0-9;]*m", seen), seen


def test_quiet(tlsup, ca, name):
    result = issue(tlsup, ca, name, *STANDALONE, "-q")
    assert result.text == "", result


def test_verbose_says_what_happens(tlsup, ca, name):
    quiet, loud = issue(tlsup, ca, name, *STANDALONE), issue(tlsup, ca, name, *STANDALONE, "--force-renewal", "-v")
    assert len(loud.err) > len(quiet.err)
    assert "PRIVATE KEY" not in loud.text


# -- CAs that are odd, and right ---------------------------------------------------------------------------


def fold_headers(ca, request):
    reply = ca.normal(ca.step_of(request), request)
    reply.headers = {k.lower(): v for k, v in reply.headers.items()}
    reply.headers["content-type"] = reply.headers["content-type"] + "; charset=utf-8"
    return reply


def test_lower_case_headers_and_charset(tlsup, fake_ca, name):
    for step in ("directory", "account", "order", "order-poll", "authorization", "challenge", "finalize", "certificate"):
        fake_ca.misbehave(step, fold_headers)
    issue(tlsup, fake_ca, name, *STANDALONE)
    check_store(tlsup, name, [name], fake_ca.roots)


def test_clocks_compared(tlsup, fake_ca, new_name):
    """What the CA's answers say of the time: once a run, whichever answer is the first; minutes are let pass."""
    def told(ahead_s):
        fake_ca.now = lambda: time.time() + ahead_s
        text = issue(tlsup, fake_ca, new_name(), *STANDALONE).text
        return [line for line in text.splitlines() if "the clock of this machine" in line]

    warning, = told(20 * 60)
    assert f"is 20 minutes behind that of the CA ({urllib.parse.urlsplit(fake_ca.url).netloc})" in re.sub(r"\b19 minutes", "20 minutes", warning) and "NTP" in warning
    fetched = len(fake_ca.requests("directory"))
    warning, = told(-3 * 3600 - 30)
    assert "is 3 hours ahead of that of the CA" in warning and len(fake_ca.requests("directory")) == fetched
    assert told(200) == []


def test_no_nonce_on_some_answers(tlsup, fake_ca, name):
    def without_nonce(ca, request):
        reply = ca.normal(ca.step_of(request), request)
        reply.nonce = False
        return reply

    for step in ("account", "order", "authorization", "challenge"):
        fake_ca.misbehave(step, without_nonce)
    issue(tlsup, fake_ca, name, *STANDALONE)


def test_three_bad_nonces_in_a_row(tlsup, fake_ca, name):
    fake_ca.misbehave("order", [Problem(400, "badNonce", "no") for _ in range(3)])
    issue(tlsup, fake_ca, name, *STANDALONE)
    assert len(fake_ca.requests("order")) == 4
    assert len({r.body for r in fake_ca.requests("order")}) == 4, "the same signed body must never be sent twice"


@pytest.mark.parametrize("retry_after", ["0", "1", "date", "-5", "tomorrow", ""])
def test_retry_after_in_every_form(tlsup, fake_ca, name, retry_after):
    import email.utils
    import time

    fake_ca.polls_until_valid = 1
    fake_ca.retry_after = email.utils.formatdate(time.time() + 2, usegmt=True) if retry_after == "date" else retry_after
    issue(tlsup, fake_ca, name, *STANDALONE, timeout=60)


def test_certificate_with_preamble_and_windows_line_ends(tlsup, fake_ca, name):
    def messy(ca, request):
        pem = ca.normal("certificate", request).body
        return ca.pem_reply(b"subject=CN = leaf\r\nissuer=CN = x\r\n\r\n" + pem.replace(b"\n", b"\r\n").rstrip() + b"")

    fake_ca.misbehave("certificate", messy)
    issue(tlsup, fake_ca, name, *STANDALONE)
    check_store(tlsup, name, [name], fake_ca.roots)
    assert b"\r" not in tlsup.file(name).read_bytes() and tlsup.file(name).read_bytes().startswith(b"-----BEGIN CERTIFICATE")


def test_still_ready_after_finalize(tlsup, fake_ca, name):
    """Some CAs need a moment; one needs to be asked again."""
    def still_ready(ca, request):
        number = int(request.path.rsplit("/", 1)[1])
        reply = ca.normal("finalize", request)
        ca.orders[number]["status"] = "ready"
        if len(ca.requests("finalize")) == 1:
            return Reply(body=ca.order_body(number))
        ca.orders[number]["status"] = "processing"
        return reply

    fake_ca.misbehave("finalize", still_ready)
    issue(tlsup, fake_ca, name, *STANDALONE, timeout=90)
    check_store(tlsup, name, [name], fake_ca.roots)


def test_order_not_ready_at_finalize(tlsup, fake_ca, name):
    fake_ca.misbehave("finalize", [Problem(403, "orderNotReady", "one moment")])
    issue(tlsup, fake_ca, name, *STANDALONE, timeout=90)


@pytest.mark.parametrize("step", ["directory", "nonce", "order-poll", "authorization", "certificate"])
def test_one_cut_connection_is_bridged(tlsup, fake_ca, name, step):
    fake_ca.misbehave(step, [Cut()])
    issue(tlsup, fake_ca, name, *STANDALONE, timeout=90)
    check_store(tlsup, name, [name], fake_ca.roots)


@pytest.mark.parametrize("status", [500, 502, 503])
def test_one_server_error_is_bridged(tlsup, fake_ca, name, status):
    fake_ca.misbehave("authorization", [Reply(status, "<html>oops</html>", "text/html", headers={"Retry-After": "1"})])
    issue(tlsup, fake_ca, name, *STANDALONE, timeout=90)


def test_one_connection_and_few_requests(tlsup, fake_ca, name):
    issue(tlsup, fake_ca, name, *STANDALONE)
    before = fake_ca.connections, len(fake_ca.log)
    issue(tlsup, fake_ca, name, *STANDALONE, "--force-renewal")
    assert fake_ca.connections - before[0] == 1
    assert len(fake_ca.log) - before[1] <= 10


def test_authorizations_are_validated_at_once(tlsup, make_pebble, new_name):
    """Six validations that each sleep up to 5 s: all challenges are triggered before the first one is finished."""
    ca = make_pebble(nonce_reject=0, sleep_s=5)
    before = len(ca.requests())
    issue(tlsup, ca, *[new_name() for _ in range(6)], *STANDALONE)
    asked = ca.requests()[before:]
    first, last = asked.index("POST /chalZ/"), len(asked) - 1 - asked[::-1].index("POST /chalZ/")
    assert last - first <= 6 + 2, asked
