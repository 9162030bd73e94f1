"""What bad input gets: a clear error with the next step, a status that says what kind it is, and everything as it was."""

import json
import os
import pathlib
import re
import socket
import subprocess
import threading
import time

import pytest

from harness import machine, net, pki, snapshot
from harness.fakeca import Cut, Problem, Reply

STANDALONE = ["--standalone"]


def refused(tlsup, *words, status, says, names=(), timeout=200, **options):
    """It ends with one of these statuses, and its error has these facts."""
    statuses = status if isinstance(status, tuple) else (status,)
    before = tlsup.held()
    result = tlsup(*words, timeout=timeout, **options)
    assert result.status in statuses, result
    for pattern in [says] if isinstance(says, str) else says:
        assert re.search(pattern, result.err, re.I | re.S), f"{pattern!r} is not in:\n{result}"
    for each in names:
        assert str(each) in result.err, f"{each!r} is not named in:\n{result}"
    assert not snapshot.difference(before, tlsup.held()), "what is held must not change"
    return result


# -- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed, says", [
    ("nodots", r"nodots"), ("", r"empty"), ("exa mple.org", r"space|character"), ("-bad.org", r"hyphen|-"), ("a..org", r"empty|dot"),
    ("x" * 64 + ".org", r"63"), (".".join(["a" * 60] * 5) + ".org", r"253"), ("under_score.org", r"_"), ("user@example.org", r"e-?mail"),
    ("https://example.org/path", r"example\.org"), ("example.org:8443", r"port|example\.org"), ("example.org/", r"example\.org"),
    ("host.local", r"local"), ("x.onion", r"onion"), ("example.org\x1b[31m", r"character"), ("*.*.example.org", r"\*"), ("a.*.org", r"\*"),
    ("xn--a.org", r"xn--"), ("$(id).org", r"character"), ("../../etc", r"example|/|character")])
@pytest.mark.parametrize("command", ["issue", "enable"])
def test_names_that_are_none(tlsup, command, typed, says):
    result = refused(tlsup, command, "--agree-tos", "-n", "-d", typed, "--server", "https://localhost:1/dir", status=2, says=says)
    assert "\x1b" not in result.text
    assert not any(pathlib.Path("/var/lib/tlsup").rglob("*.pem"))


def test_one_bad_name_among_good_ones(tlsup, name):
    refused(tlsup, "issue", name, "bad_name.org", "--agree-tos", "-n", "--server", "https://localhost:1/dir", status=2, says="bad_name")


def test_wildcard_needs_dns(tlsup, fake_ca):
    refused(tlsup, "issue", "*.example.org", *STANDALONE, *fake_ca.arguments, status=(2, 3), says=[r"wildcard|\*\.example\.org", r"dns"])


# -- the command line --------------------------------------------------------------------------------------


@pytest.mark.parametrize("words, says", [
    ([], r"usage|tlsup (enable|COMMAND)|--help"), (["frobnicate"], r"frobnicate"), (["enable"], r"name"), (["issue"], r"name"),
    (["install"], r"certificate|name"), (["delete"], r"certificate|name"), (["issue", "a.test", "--no-such-flag"], r"--no-such-flag"),
    (["issue", "a.test", "--key-type"], r"--key-type"), (["issue", "a.test", "--key-type", "dsa"], r"dsa.*ecdsa-p256|ecdsa-p256.*dsa"),
    (["issue", "a.test", "--webroot"], r"-w"), (["issue", "a.test", "--standalone", "--webroot", "-w", "/var/www"], r"--standalone|--webroot"),
    (["enable", "a.test", "--nginx", "--apache"], r"--nginx|--apache"), (["enable", "a.test", "--redirect", "--no-redirect"], r"redirect"),
    (["issue", "a.test", "--server", "http://ca.test/dir"], r"https"), (["issue", "a.test", "--server", "letsencript"], r"letsencrypt"),
    (["issue", "a.test", "--cert-name", "../x"], r"\.\./x"), (["issue", "a.test", "--cert-name", ""], r"cert-name|name"),
    (["account"], r"register|show"), (["account", "frob"], r"frob"), (["status", "--json", "--frob"], r"--frob"),
    (["issue", "a.test", "--ca-bundle", "/no/such/file.pem", "--agree-tos", "-n"], r"/no/such/file\.pem"),
    (["renew", "--standalone"], r"--standalone"), (["delete", "unknown.test", "-n"], r"unknown\.test"),
    (["install", "unknown.test"], r"unknown\.test")])
def test_usage(tlsup, words, says):
    result = tlsup(*words)
    assert result.status in ((1, 2) if "unknown.test" in words else (2,)), result
    assert re.search(says, result.err, re.I | re.S), result
    assert result.out == "" or not words, "errors go to standard error"


@pytest.mark.parametrize("text, line", [("keytype = rsa-2048\n", 1), ("# fine\nredirect = perhaps\n", 2), ("email = a@b.test\nemail = c@d.test\n", 2),
                                        ("server = http://insecure.test/\n", 1), ("no equals sign\n", 1), ("\x00\n", 1), ("key-type =\n", 1)])
def test_configuration_file_with_a_mistake(tlsup, fake_ca, name, text, line):
    tlsup.config.mkdir(exist_ok=True)
    path = tlsup.config / "tlsup.conf"
    path.write_text(text)
    refused(tlsup, "issue", name, *STANDALONE, *fake_ca.arguments, status=2, says=rf"{re.escape(str(path))}:{line}")
    assert not fake_ca.log


def test_webroot_that_is_not_there(tlsup, fake_ca, name):
    refused(tlsup, "issue", name, "--webroot", "-w", "/var/www/nowhere", *fake_ca.arguments, status=(1, 2), says=r"/var/www/nowhere")
    assert not fake_ca.requests("order"), "found out before the CA is asked"


# -- the CA ------------------------------------------------------------------------------------------------


def server_words(url, bundle):
    return ["--server", url, "--ca-bundle", str(bundle), "--agree-tos", "-n"]


def test_nobody_answers(tlsup, authority, name):
    refused(tlsup, "issue", name, *STANDALONE, *server_words("https://localhost:9/dir", authority.cert), status=(1, 4),
            says=r"localhost.*(refused|connect|reach)")


def test_ca_name_does_not_resolve(tlsup, authority, name):
    refused(tlsup, "issue", name, *STANDALONE, *server_words("https://ca.nowhere.test/dir", authority.cert), status=(1, 4),
            says=[r"ca\.nowhere\.test", r"resolve|DNS|name"])


def test_no_route(tlsup, authority, name):
    refused(tlsup, "issue", name, *STANDALONE, *server_words("https://192.0.2.1/dir", authority.cert), status=(1, 4), says=r"192\.0\.2\.1")


@pytest.mark.parametrize("kind, says", [("untrusted", r"certificate|trust"), ("other-name", r"name|match"), ("expired", r"expired")])
def test_ca_with_a_wrong_certificate(tlsup, authority, tmp_path, name, kind, says):
    from harness.fakeca import FakeCA

    if kind == "untrusted":
        stranger = pki.Authority(tmp_path / "stranger", "stranger")
        certificate = stranger.server("s", ["localhost"])
    elif kind == "other-name":
        certificate = authority.server("o", ["other.test"])
    else:
        certificate = authority.server("e", ["localhost"], days_ago=20, days_left=-1)
    ca = FakeCA(tmp_path, authority, 14901, certificate=certificate)
    try:
        result = refused(tlsup, "issue", name, *STANDALONE, *ca.arguments, status=(1, 2, 3), says=[says, "localhost"])
        assert kind != "untrusted" or "--ca-bundle" in result.err, result
        assert not ca.log, "nothing is sent to somebody who is not the CA"
    finally:
        ca.close()


@pytest.mark.parametrize("answer, says", [
    (Reply(200, "<!DOCTYPE html><html><title>Welcome</title></html>", "text/html"), r"HTML|JSON|directory"),
    (Reply(200, "", "application/json"), r"JSON|empty|directory"),
    (Reply(200, "{}", "application/json"), r"newNonce|newAccount|newOrder|directory"),
    (Reply(200, "[" * 100000 + "]" * 100000, "application/json"), r"JSON|deep|nest"),
    (Reply(200, '{"newNonce": "' + "x" * 3_000_000 + '"}', "application/json"), r"large|long|big|size|limit|more than"),
    (Reply(404, "not here", "text/plain"), r"404"),
    (Reply(301, "", "text/plain", headers={"Location": "https://elsewhere.test/dir"}), r"redirect|301|elsewhere"),
    (Reply(200, '{"newNonce": 5, "newAccount": [], "newOrder": {}}', "application/json"), r"newNonce|newAccount|newOrder|directory"),
    (Reply(200, '{"newNonce": "http://localhost/n", "newAccount": "https://localhost/a", "newOrder": "https://localhost/o"}'), r"http|newNonce"),
    (Reply(200, b'{"newNonce": "https://localhost/\xff\xfe"}', "application/json"), r"JSON|directory|UTF-8")],
    ids=["html", "empty", "empty-object", "deep", "oversized", "404", "redirect", "wrong-types", "plain-http", "not-utf8"])
def test_directory_that_is_none(tlsup, fake_ca, name, answer, says):
    fake_ca.misbehave("directory", lambda *_: answer)
    refused(tlsup, "issue", name, *STANDALONE, *fake_ca.arguments, status=(1, 2, 3, 4), says=[says, r"localhost"])


def test_header_flood(tlsup, fake_ca, name):
    fake_ca.misbehave("directory", lambda ca, r: Reply(200, "{}", headers={f"X-{i}": "y" * 1000 for i in range(2000)}))
    refused(tlsup, "issue", name, *STANDALONE, *fake_ca.arguments, status=(1, 3, 4), says=r"header|large|many|localhost")


def test_endless_body(tlsup, fake_ca, name):
    """A body that never ends, in small pieces, is cut off by size, not by patience."""
    fake_ca.misbehave("directory", lambda ca, r: Reply(200, b" " * 50_000_000, "application/json"))
    result = refused(tlsup, "issue", name, *STANDALONE, *fake_ca.arguments, status=(1, 3, 4), says=r"large|long|big|size|limit|more than")
    assert result.seconds < 60


@pytest.mark.every_pebble
def test_refused_name(tlsup, ca):
    """Pebble's own block list."""
    refused(tlsup, "issue", "www.blocked-domain.example", *STANDALONE, *ca.arguments, status=3, says=[r"blocked-domain\.example", r"reject|refus|polic|block"])


def test_subproblems_are_told_by_name(tlsup, fake_ca, new_name):
    names = [new_name() for _ in range(3)]
    fake_ca.misbehave("order", lambda *_: Problem(400, "rejectedIdentifier", "some names are not wanted", subproblems=[
        {"type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "this one is a bank", "identifier": {"type": "dns", "value": names[0]}},
        {"type": "urn:ietf:params:acme:error:caa", "detail": "CAA forbids \x1b[31mit", "identifier": {"type": "dns", "value": names[2]}}]))
    result = refused(tlsup, "issue", *names, *STANDALONE, *fake_ca.arguments, status=3,
                     says=[r"some names are not wanted", rf"{names[0]}.*this one is a bank", rf"{names[2]}.*CAA forbids"])
    assert "\x1b" not in result.text, "a CA's text must not reach the terminal raw"


@pytest.mark.every_pebble
def test_validation_that_fails(tlsup, ca, dns, nginx, name):
    """The CA looks at an address where somebody else answers."""
    nginx.start()
    result = refused(tlsup, "issue", name, "--webroot", "-w", "/tmp", *ca.arguments, status=3, says=[name, r"404|unauthorized|Invalid response|fetch"])
    assert re.search(r"port 80|DNS|web ?root|/tmp|reach", result.err, re.I), "the next step"
    assert not os.path.exists("/tmp/.well-known")


def test_name_that_points_elsewhere(tlsup, ca, dns, name):
    dns.addresses(name, v4=["192.0.2.1"])
    refused(tlsup, "issue", name, *STANDALONE, *ca.arguments, status=3, says=[name, r"192\.0\.2\.1|unreachable|connection|fetch"])


@pytest.mark.every_pebble
def test_one_of_several_names_fails(tlsup, ca, dns, new_name):
    good, bad = new_name(), new_name()
    dns.addresses(bad, v4=["192.0.2.1"])
    result = refused(tlsup, "issue", good, bad, *STANDALONE, *ca.arguments, status=3, says=bad)
    assert not re.search(rf"{re.escape(good)}[^\n]*(fail|invalid|unreach)", result.text), "the good name is not blamed"


@pytest.mark.parametrize("status, headers, expected, says", [
    (429, {"Retry-After": "86400"}, 4, r"1 day|24 hours|86400|2\d\d\d-\d\d-\d\d"), (429, {}, (3, 4), r"too many"),
    (429, {"Retry-After": "garbage"}, (3, 4), r"too many"), (503, {"Retry-After": "7200"}, 4, r"2 hours|7200|2\d\d\d-\d\d-\d\d")])
def test_rate_limit(tlsup, fake_ca, name, status, headers, expected, says):
    kind = "rateLimited" if status == 429 else "serverInternal"
    fake_ca.misbehave("order", lambda *_: Problem(status, kind, "too many certificates already issued", headers=headers))
    result = refused(tlsup, "issue", name, *STANDALONE, *fake_ca.arguments, status=expected, says=[says, "too many certificates"])
    assert result.seconds < 60, "nobody waits for hours at the terminal"


def test_paused_account(tlsup, fake_ca, name):
    fake_ca.misbehave("order", lambda *_: Problem(429, "rateLimited", "Your account is paused. Visit https://portal.ca.test/unpause?jwt=x"))
    refused(tlsup, "issue", name, *STANDALONE, *fake_ca.arguments, status=(3, 4), says=r"https://portal\.ca\.test/unpause")
    assert len(fake_ca.requests("order")) == 1


def test_bad_nonce_for_ever(tlsup, fake_ca, name):
    fake_ca.misbehave("account", lambda *_: Problem(400, "badNonce", "this nonce again?"))
    refused(tlsup, "issue", name, *STANDALONE, *fake_ca.arguments, status=(1, 3, 4), says=r"nonce")
    assert 3 < len(fake_ca.requests("account")) < 40, "bounded"


@pytest.mark.parametrize("step", ["directory", "nonce", "account", "order", "authorization", "challenge", "finalize", "certificate"])
def test_connections_cut_for_ever(tlsup, fake_ca, name, step):
    fake_ca.misbehave(step, lambda *_: Cut(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf a"))
    refused(tlsup, "issue", name, *STANDALONE, *fake_ca.arguments, status=(1, 4), says=r"localhost|connection|cut|closed|ended")
    assert not net.port_open(80)


def wrong_key(ca, request):
    stranger = pki.openssl("req", "-new", *pki.EC, "-nodes", "-keyout", "/dev/null", "-subj", "/CN=x")
    order = ca.orders[int(request.path.rsplit("/", 1)[1])]
    return ca.pem_reply(ca.sign(stranger, [i["value"] for i in order["identifiers"]]) + ca.issuer.cert.read_bytes())


def wrong_names(ca, request):
    return ca.pem_reply(ca.sign(ca.orders[int(request.path.rsplit("/", 1)[1])]["csr"], ["somebody-else.test"]) + ca.issuer.cert.read_bytes())


def more_names(ca, request):
    order = ca.orders[int(request.path.rsplit("/", 1)[1])]
    return ca.pem_reply(ca.sign(order["csr"], [i["value"] for i in order["identifiers"]] + ["extra.test"]) + ca.issuer.cert.read_bytes())


def unlinked(ca, request):
    order = ca.orders[int(request.path.rsplit("/", 1)[1])]
    return ca.pem_reply(ca.sign(order["csr"], [i["value"] for i in order["identifiers"]]) + pki.Authority(ca.authority.directory / "odd").cert.read_bytes())


def expired(ca, request):
    ca.not_before_ago_s, ca.lifetime_s = 90 * 86400, 80 * 86400
    order = ca.orders[int(request.path.rsplit("/", 1)[1])]
    return ca.pem_reply(ca.sign(order["csr"], [i["value"] for i in order["identifiers"]]) + ca.issuer.cert.read_bytes())


def future(ca, request):
    ca.not_before_ago_s = -2 * 86400
    order = ca.orders[int(request.path.rsplit("/", 1)[1])]
    return ca.pem_reply(ca.sign(order["csr"], [i["value"] for i in order["identifiers"]]) + ca.issuer.cert.read_bytes())


def no_pem(ca, request):
    return ca.pem_reply(b"<html>your certificate is ready</html>")


@pytest.mark.parametrize("trick, says", [(wrong_key, r"key"), (wrong_names, r"name"), (more_names, r"name|extra\.test"), (unlinked, r"sign|chain|issu"),
                                         (expired, r"expired|date|valid"), (future, r"date|clock|valid"), (no_pem, r"PEM|certificate")])
def test_certificates_that_are_not_what_was_ordered(tlsup, fake_ca, name, trick, says):
    fake_ca.misbehave("certificate", trick)
    refused(tlsup, "issue", name, *STANDALONE, *fake_ca.arguments, status=(1, 3), says=says)
    assert not os.path.lexists(tlsup.live(name))
    # and it can be done again
    fake_ca.behave()
    fake_ca.not_before_ago_s, fake_ca.lifetime_s = 3600, 90 * 86400
    tlsup.ok("issue", name, *STANDALONE, *fake_ca.arguments)


@pytest.mark.parametrize("token", ["../../../../etc/cron.d/evil", "a/b", "", "x" * 5000, "a b", "%2e%2e", None, 7])
def test_hostile_tokens(tlsup, fake_ca, nginx, name, token):
    def poisoned(ca, request):
        for one in ca.authorizations.values():
            one["token"] = token
        return None

    nginx.start()
    fake_ca.misbehave("authorization", poisoned)
    before = snapshot.snapshot("/etc/cron.d", "/var/www")
    for words in (["--webroot", "-w", "/var/www/html"], []):
        refused(tlsup, "issue", name, *words, *fake_ca.arguments, status=(1, 3), says=r"token|challenge|http-01")
    assert not snapshot.difference(before, snapshot.snapshot("/etc/cron.d", "/var/www"))


def test_no_http_challenge_offered(tlsup, fake_ca, name):
    def dns_only(ca, request):
        reply = ca.normal("authorization", request)
        body = json.loads(reply.body)
        body["challenges"] = [c for c in body["challenges"] if c["type"] == "dns-01"]
        return Reply(body=body)

    fake_ca.misbehave("authorization", dns_only)
    refused(tlsup, "issue", name, *STANDALONE, *fake_ca.arguments, status=(1, 3), says=[r"http-01", name])


def test_urls_of_another_origin(tlsup, fake_ca, name):
    """The keeper signs only for the CA it was told."""
    def elsewhere(ca, request):
        reply = ca.normal("order", request)
        reply.body = reply.body.replace(b"https://localhost", b"https://evil.test")
        return reply

    fake_ca.misbehave("order", elsewhere)
    refused(tlsup, "issue", name, *STANDALONE, *fake_ca.arguments, status=(1, 3), says=r"evil\.test|origin|elsewhere")


def test_order_with_names_that_nobody_asked_for(tlsup, fake_ca, name):
    def more(ca, request):
        reply = ca.normal("order", request)
        body = json.loads(reply.body)
        body["identifiers"].append({"type": "dns", "value": "extra.test"})
        return Reply(201, body, headers=reply.headers)

    fake_ca.misbehave("order", more)
    refused(tlsup, "issue", name, *STANDALONE, *fake_ca.arguments, status=(1, 3), says=r"extra\.test|names|identifier")


# -- ports and web servers ---------------------------------------------------------------------------------


HOLDER = "import socket,sys,time\ns=socket.socket();s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1)\ns.bind(('0.0.0.0',int(sys.argv[1])));s.listen();print('up',flush=True);time.sleep(600)"


@pytest.fixture
def hold():
    holders = []

    def start(port):
        process = subprocess.Popen(["/usr/bin/python3", "-c", HOLDER, str(port)], stdout=subprocess.PIPE)
        process.stdout.readline()
        holders.append(process)
        return process

    yield start
    for process in holders:
        process.kill()
        process.wait()


def test_port_80_is_taken(tlsup, fake_ca, name, hold):
    holder = hold(80)
    refused(tlsup, "issue", name, *STANDALONE, *fake_ca.arguments, status=(1, 2, 3), says=[r"port 80", r"python3", str(holder.pid)])
    assert not fake_ca.requests("order"), "found out before the CA is asked"
    assert holder.poll() is None


def test_port_80_is_taken_by_the_web_server(tlsup, fake_ca, nginx, name):
    nginx.start()
    result = refused(tlsup, "issue", name, *STANDALONE, *fake_ca.arguments, status=(1, 2, 3), says=[r"port 80", r"nginx"])
    assert re.search(r"--standalone|--webroot|without", result.err), "the way that works"


def test_port_443_is_taken(tlsup, ca, server, name, hold):
    server.site(name)
    server.start()
    before, holder = server.configuration(), hold(443)
    result = refused(tlsup, "enable", name, *ca.arguments, status=(1, 2, 3), says=[r"443", r"python3|another process"])
    changes = [l for l in snapshot.difference(before, server.configuration()) if "443" in l or "ssl" in l.lower()]
    assert not changes, changes
    assert server.test().returncode == 0 and net.http(name).status == 200
    assert holder.poll() is None
    assert str(holder.pid) in result.err or "another process" in result.err


def test_web_server_that_is_broken_already(tlsup, fake_ca, server, name):
    server.site(name)
    server.start()
    path, line = server.break_it()
    before = server.configuration()
    for command in ("issue", "enable"):
        refused(tlsup, command, name, *fake_ca.arguments, status=(1, 2), says=[rf"{path.name}", rf"\b{line}\b"])
    assert not snapshot.difference(before, server.configuration())
    assert not fake_ca.requests("order"), "found out before the CA is asked"
    assert net.http(name).status == 200


def test_no_web_server_runs(tlsup, fake_ca, name):
    refused(tlsup, "enable", name, *fake_ca.arguments, status=(1, 2), says=r"nginx|apache|web server")
    assert not fake_ca.requests("order")


def test_server_asked_for_is_not_the_one_running(tlsup, fake_ca, nginx, name):
    nginx.start()
    before = nginx.configuration()
    refused(tlsup, "enable", name, "--apache", *fake_ca.arguments, status=(1, 2), says=r"apache")
    assert not snapshot.difference(before, nginx.configuration())


def test_failing_validation_leaves_the_web_server_as_it_was(tlsup, ca, dns, server, name):
    server.site(name)
    server.start()
    dns.addresses(name, v4=["192.0.2.1"])
    refused(tlsup, "enable", name, *ca.arguments, status=3, says=name)
    assert not net.port_open(443) and server.test().returncode == 0
    assert net.http(name).status == 200


def test_certificate_that_cannot_be_served_is_rolled_back(tlsup, ca, nginx, name):
    """The configuration passes its test, but the handshake fails: everything is put back."""
    nginx.site(name)
    path = pathlib.Path("/etc/nginx/conf.d/odd.conf")
    path.write_text("ssl_ciphers ECDHE-RSA-AES128-GCM-SHA256;\nssl_protocols TLSv1.2;\nssl_reject_handshake on;\n")
    nginx.start()
    before = nginx.configuration()
    result = tlsup("enable", name, *ca.arguments)
    if result.status == 0:
        assert net.leaf(name)[0] == tlsup.sha256(name), "success is said only where it is so"
        return
    assert re.search(r"443|handshake|TLS", result.err), result
    assert not [l for l in snapshot.difference(before, nginx.configuration()) if "ssl_certificate" in l]
    assert net.http(name).status == 200 and nginx.test().returncode == 0


# -- this machine ------------------------------------------------------------------------------------------


def fill(path):
    """Take all the room that is left."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(handle, b"x" * 4096)
    except OSError:
        return path
    finally:
        os.close(handle)


@pytest.fixture
def tiny_disk():
    """The state directory on a file system with little room."""
    path = "/var/lib/tlsup/tiny"
    os.mkdir(path)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "tmpfs", path], check=True)
    yield pathlib.Path(path)
    subprocess.run(["umount", "-l", path], check=True)


@pytest.mark.parametrize("room_kib", [0, 4, 8, 12, 16, 20, 24, 28, 32, 40])
def test_full_disk(fake_ca, name, tiny_disk, room_kib):
    from harness.client import Client, check_store

    mine = Client("/etc/tlsup", tiny_disk / "state")
    filler = tiny_disk / "filler"
    filler.write_bytes(b"x" * (64 - room_kib) * 1024)
    result = mine("issue", name, *STANDALONE, *fake_ca.arguments)
    if result.status == 0:
        check_store(mine, name, [name])
    else:
        assert result.status == 1 and re.search(r"space|full|disk", result.err, re.I) and str(tiny_disk) in result.err, result
        assert not os.path.lexists(mine.live(name)) or mine.file(name).read_bytes()
    filler.unlink()
    mine.ok("issue", name, *STANDALONE, *fake_ca.arguments)
    check_store(mine, name, [name])


def test_full_disk_leaves_the_old_certificate(fake_ca, name, tiny_disk):
    from harness.client import Client

    mine = Client("/etc/tlsup", tiny_disk / "state")
    mine.ok("issue", name, *STANDALONE, *fake_ca.arguments)
    filler = fill(tiny_disk / "filler")
    before = mine.held()
    result = mine("issue", name, *STANDALONE, "--force-renewal", *fake_ca.arguments)
    assert result.status == 1 and re.search(r"space|full", result.err, re.I), result
    assert not snapshot.difference(before, mine.held())
    os.unlink(filler)
    mine.ok("issue", name, *STANDALONE, "--force-renewal", *fake_ca.arguments)
    assert mine.version(name) == 2


def test_web_server_files_on_a_full_disk(tlsup, ca, nginx, name):
    """/etc is full: nothing is half-written there."""
    nginx.site(name)
    # A copy of the tree on a file system that holds just it.
    subprocess.run("mount -t tmpfs -o size=256k,mode=755 tmpfs /mnt && cp -a /etc/nginx/. /mnt && mount --bind /mnt /etc/nginx", shell=True, check=True)
    try:
        nginx.start()
        fill("/etc/nginx/filler")
        before = nginx.configuration()
        result = tlsup("enable", name, *ca.arguments)
        assert result.status == 1 and re.search(r"space|full", result.err, re.I) and "/etc/nginx" in result.err, result
        assert not snapshot.difference(before, nginx.configuration())
        os.unlink("/etc/nginx/filler")
        tlsup.ok("enable", name, *ca.arguments)
    finally:
        subprocess.run("umount -l /etc/nginx; umount -l /mnt", shell=True, check=True)


NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


@pytest.mark.parametrize("words", [["issue", "a.test", "--standalone"], ["enable", "a.test"], ["account", "register"]])
def test_no_permission(tlsup, fake_ca, words):
    before = snapshot.snapshot(tlsup.state, tlsup.config)
    result = tlsup(*words, *fake_ca.arguments, prefix=NOBODY)
    assert result.status in (1, 2) and re.search(r"permission|denied|allowed", result.err, re.I), result
    assert re.search(r"sudo|root", result.err), "the next step"
    assert not snapshot.difference(before, snapshot.snapshot(tlsup.state, tlsup.config))
    assert not fake_ca.requests("order")


def test_low_port_without_the_right_to(fake_ca, name, tmp_path):
    from harness.client import Client

    mine = Client("/run/e2e/nobody/c", "/run/e2e/nobody/s")
    os.makedirs("/run/e2e/nobody", exist_ok=True)
    os.chown("/run/e2e/nobody", 65534, 65534)
    result = mine("issue", name, *STANDALONE, *fake_ca.arguments, prefix=NOBODY)
    assert result.status in (1, 2) and re.search(r"port 80", result.err) and re.search(r"root|sudo|permission|cap_net_bind", result.err, re.I), result
    assert not fake_ca.requests("order")


def test_webroot_as_an_ordinary_user(fake_ca, nginx, name):
    """No root is needed where no root's thing is done."""
    from harness.client import Client, check_store

    nginx.start()
    os.makedirs("/run/e2e/nobody", exist_ok=True)
    os.chown("/run/e2e/nobody", 65534, 65534)
    os.chown("/var/www/html", 65534, 65534)
    mine = Client("/run/e2e/nobody/wc", "/run/e2e/nobody/ws")
    mine.ok("issue", name, "--webroot", "-w", "/var/www/html", *fake_ca.arguments, prefix=NOBODY)
    check_store(mine, name, [name])


def test_state_directory_is_a_file(fake_ca, name):
    from harness.client import Client

    path = pathlib.Path("/var/lib/tlsup/file")
    path.write_text("x")
    mine = Client("/etc/tlsup", path)
    result = mine("issue", name, *STANDALONE, *fake_ca.arguments)
    assert result.status in (1, 2) and str(path) in result.err, result
    assert path.read_text() == "x"


def test_read_only_state(tlsup, fake_ca, name):
    os.mkdir("/var/lib/tlsup/ro")
    subprocess.run("mount -t tmpfs -o ro tmpfs /var/lib/tlsup/ro", shell=True, check=True)
    from harness.client import Client

    try:
        result = Client("/etc/tlsup", "/var/lib/tlsup/ro/state")("issue", name, *STANDALONE, *fake_ca.arguments)
        assert result.status in (1, 2) and "/var/lib/tlsup/ro" in result.err and re.search("read-only", result.err, re.I), result
    finally:
        subprocess.run("umount /var/lib/tlsup/ro", shell=True, check=True)


def test_two_runs_at_once(tlsup, fake_ca, new_name):
    fake_ca.hold = True
    first = tlsup.start("issue", new_name(), *STANDALONE, *fake_ca.arguments)
    fake_ca.wait_until_asked("challenge")
    for words in (["issue", new_name(), *STANDALONE, *fake_ca.arguments], ["renew"], ["delete", "x.test", "-n"]):
        result = tlsup.finish(tlsup.start(*words))
        assert result.status == 5, result
        assert str(first.pid) in result.err, result
    fake_ca.release()
    assert tlsup.finish(first).status == 0


def test_many_runs_at_once(tlsup, fake_ca, new_name):
    """One wins at a time; nobody breaks anything."""
    names = [new_name() for _ in range(6)]
    running = [tlsup.start("issue", n, *STANDALONE, *fake_ca.arguments) for n in names]
    results = [tlsup.finish(p) for p in running]
    assert {r.status for r in results} <= {0, 5} and 0 in {r.status for r in results}, results
    for each, result in zip(names, results):
        assert os.path.lexists(tlsup.live(each)) == (result.status == 0)


def test_clock_that_is_wrong(tlsup, fake_ca, name):
    """A certificate of the future is told as a matter of clocks."""
    fake_ca.not_before_ago_s = -3 * 86400
    refused(tlsup, "issue", name, *STANDALONE, *fake_ca.arguments, status=(1, 3), says=r"clock|date|valid")


def test_impatient_strangers_do_not_stop_the_responder(tlsup, fake_ca, name):
    """Hundreds of open, silent connections to port 80 while the CA comes to look."""
    fake_ca.hold = True
    process = tlsup.start("issue", name, *STANDALONE, *fake_ca.arguments)
    strangers, stop = [], threading.Event()

    def crowd():
        while not stop.is_set():
            try:
                strangers.append(socket.create_connection(("127.0.0.1", 80), 1))
                if len(strangers) > 200:
                    time.sleep(0.05)
            except OSError:
                time.sleep(0.02)

    thread = threading.Thread(target=crowd, daemon=True)
    thread.start()
    fake_ca.wait_until_asked("challenge")
    machine.until(lambda: len(strangers) >= 200, lambda: f"only {len(strangers)} connections were accepted")
    fake_ca.release()
    result = tlsup.finish(process)
    stop.set()
    thread.join()
    for stranger in strangers:
        stranger.close()
    assert result.status == 0, result
