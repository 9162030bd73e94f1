"""Thirty things that CAs, and what stands between us and them, have been seen to do, each by its number. A run comes through, or it ends with a clear
error within its time and the next one works."""

import email.utils
import json
import os
import re
import signal
import time

import pytest

from harness import client, fakeca, net, pki, snapshot
from harness.client import check_store
from harness.fakeca import Cut, Hang, Problem, Reply

DAY = 86400
STANDALONE = ["--standalone"]


def issue(tlsup, ca, *words, **options):
    return tlsup.ok("issue", *words, *STANDALONE, *ca.arguments, **options)


def reach(ca):
    """For commands that agree to nothing."""
    return ["--server", ca.url, "--ca-bundle", str(ca.bundle), "-n"]


def error_of(result):
    """The error alone, without the steps before it."""
    assert "tlsup: " in result.err, result
    return result.err[result.err.rindex("tlsup: "):]


def fails(tlsup, ca, *words, status=(1, 3, 4), says=(), **options):
    """It ends with one of these statuses and with all these words, and it is clear whom it concerns; nothing that is held changes."""
    before = tlsup.held()
    result = tlsup("issue", *words, *STANDALONE, *ca.arguments, **options)
    assert result.status in status, result
    for pattern in [says] if isinstance(says, str) else says:
        assert re.search(pattern, error_of(result), re.I | re.S), f"{pattern!r} is not in:\n{result}"
    about = [w for w in words if "." in str(w)] + ["localhost"]
    assert any(str(w) in error_of(result) for w in about), f"neither the name nor the CA is told:\n{result}"
    assert not snapshot.difference(before, tlsup.held())
    return result


def works_again(tlsup, ca, name, *words):
    ca.behave()
    issue(tlsup, ca, name, *words)
    check_store(tlsup, name, [name], ca.roots)


def edited(change):
    """A behaviour: the normal answer, its JSON body changed."""
    def behave(ca, request):
        reply = ca.normal(ca.step_of(request), request)
        if reply.body:
            body = json.loads(reply.body)
            changed = change(body)
            reply.body = json.dumps(body if changed is None else changed).encode()
        return reply
    return behave


def state_of(tlsup, name):
    return json.loads((tlsup.state / "state" / f"{name}.json").read_text())


def change_state(tlsup, name, change):
    """As if time had passed, or a file had been edited."""
    path = tlsup.state / "state" / f"{name}.json"
    state = json.loads(path.read_text())
    change(state)
    path.write_text(json.dumps(state))


def ask_the_ca_again(tlsup, name):
    change_state(tlsup, name, lambda state: state["ari"].update(next_check_s=1))


def at(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


FAR = (60 * DAY, 62 * DAY)


@pytest.fixture
def quick(fake_ca):
    """A scripted CA that needs no proof: these cases are about other things."""
    fake_ca.preauthorized = True
    return fake_ca


# 1 Unknown directory keys, absent optional ones.


def test_case_01_directory_with_unknown_keys_and_without_optional_ones(tlsup, quick, name):
    def sparse(ca, request):
        body = {key: ca.base + path for key, path in (("newNonce", "/nonce"), ("newAccount", "/new-account"), ("newOrder", "/new-order"))}
        return Reply(body={**body, "x-y": "https://community.test/a-random-entry", "newThing": 7, "": None, "meta2": [{}]}, nonce=False)

    quick.misbehave("directory", sparse)
    issue(tlsup, quick, name)
    check_store(tlsup, name, [name], quick.roots)
    for words, says in ((["revoke", name, "-n"], "revocation"), (["account", "change-key", *reach(quick)], "key change")):
        result = tlsup(*words)
        assert result.status == 3 and re.search(rf"does not offer.*{says}", result.err), result
    assert tlsup.version(name) == 1 and tlsup.ok("renew").status == 0, "no renewal information: our own schedule"


@pytest.mark.parametrize("meta", [None, 5, [], "text", {"termsOfService": 7, "caaIdentities": "x", "profiles": [1], "website": {}}],
                         ids=["null", "number", "list", "text", "wrong-types"])
def test_case_01_directory_whose_meta_is_odd(tlsup, quick, name, meta):
    quick.misbehave("directory", edited(lambda body: body.update(meta=meta)))
    issue(tlsup, quick, name)


# 2 A 200 HTML directory.


def test_case_02_html_directory(tlsup, quick, name):
    quick.misbehave("directory", lambda *_: Reply(200, "<!DOCTYPE html><title>Maintenance</title>", "text/html"))
    fails(tlsup, quick, name, says=[r"HTML|JSON", re.escape(quick.url), "--server"])
    works_again(tlsup, quick, name)


# 3 Deep or oversized JSON.


DEEP, LONG = b"[" * 200_000 + b"]" * 200_000, b'{"status": "' + b"x" * 3_000_000 + b'"}'


@pytest.mark.parametrize("step", ["account", "order", "order-poll", "authorization", "finalize"])
@pytest.mark.parametrize("body, says", [(DEEP, r"deep|nest|JSON"), (LONG, r"large|long|limit|more than|size")], ids=["deep", "oversized"])
def test_case_03_deep_or_oversized_json(tlsup, fake_ca, name, step, body, says):
    fake_ca.preauthorized = step != "authorization"
    fake_ca.misbehave(step, lambda *_: Reply(201 if step in ("account", "order") else 200, body, headers={"Location": fake_ca.base + "/order/1"}))
    result = fails(tlsup, fake_ca, name, says=says if step != "account" or body is LONG else [])
    assert result.seconds < 60
    works_again(tlsup, fake_ca, name)


def test_case_03_oversized_certificate(tlsup, quick, name):
    quick.misbehave("certificate", lambda ca, _: ca.pem_reply(b"-----BEGIN CERTIFICATE-----\n" + b"A" * 3_000_000))
    fails(tlsup, quick, name, says=r"large|long|limit|more than|size")
    works_again(tlsup, quick, name)


# 4 badNonce three times. 5 For ever.


@pytest.mark.parametrize("step", ["account", "order", "challenge", "finalize"])
def test_case_04_bad_nonce_three_times(tlsup, fake_ca, name, step):
    fake_ca.misbehave(step, [Problem(400, "badNonce", "JWS has an invalid anti-replay nonce") for _ in range(3)])
    issue(tlsup, fake_ca, name)
    bodies = [r.body for r in fake_ca.requests(step)]
    assert len(bodies) >= 4 and len(set(bodies)) == len(bodies), "the same signed body must never be sent twice"


@pytest.mark.parametrize("step", ["account", "order", "finalize"])
def test_case_05_bad_nonce_for_ever(tlsup, quick, name, step):
    quick.misbehave(step, lambda *_: Problem(400, "badNonce", "this nonce again?"))
    fails(tlsup, quick, name, says=[r"nonce", name if step != "account" else r"localhost"])
    assert 3 < len(quick.requests(step)) < 40, "bounded"
    orders = len(quick.requests("order")) if step == "finalize" else 0
    works_again(tlsup, quick, name)
    assert step != "finalize" or len(quick.requests("order")) == orders, "the order itself was good"


# 6 No Replay-Nonce on a response. 7 A proxy repeating a stale nonce.


def test_case_06_no_nonce_on_any_response(tlsup, fake_ca, name):
    def bare(ca, request):
        reply = ca.normal(ca.step_of(request), request)
        reply.nonce = False
        return reply

    for step in fakeca.STEPS:
        if step != "nonce":
            fake_ca.misbehave(step, bare)
    issue(tlsup, fake_ca, name)
    check_store(tlsup, name, [name], fake_ca.roots)


def test_case_06_no_nonce_at_all(tlsup, quick, name):
    quick.misbehave("nonce", lambda *_: Reply(200, nonce=False))
    fails(tlsup, quick, name, says=[r"nonce", r"localhost"], timeout=60)
    works_again(tlsup, quick, name)


def test_case_07_proxy_repeats_the_answer_to_new_nonce(tlsup, fake_ca, name):
    """newNonce is a HEAD, and something on the way has it in its cache; answers to POST come through."""
    stale = fake_ca.new_nonce()
    fake_ca.misbehave("nonce", lambda *_: Reply(200, nonce=False, headers={"Replay-Nonce": stale}))
    for _ in range(2):
        issue(tlsup, fake_ca, name, "--force-renewal")


def test_case_07_proxy_repeats_a_stale_nonce(tlsup, quick, name):
    """On every answer for a while: bridged. On every one for ever: a clear end."""
    quick.stale_nonce, quick.stale_left = quick.new_nonce(), 12
    issue(tlsup, quick, name)
    quick.stale_left = 10**9
    result = fails(tlsup, quick, name, "--force-renewal", says="nonce")
    assert result.seconds < 60
    quick.stale_left = 0
    issue(tlsup, quick, name, "--force-renewal")


# 8 Lower-case headers, charset parameters.


def test_case_08_lower_case_headers_and_charset(tlsup, fake_ca, name):
    def folded(ca, request):
        reply = ca.normal(ca.step_of(request), request)
        reply.headers = {k.lower(): v for k, v in reply.headers.items()}
        reply.headers["content-type"] = reply.headers["content-type"].upper() + '; charset="utf-8"; x=y'
        return reply

    for step in fakeca.STEPS:
        fake_ca.misbehave(step, folded)
    issue(tlsup, fake_ca, name)
    check_store(tlsup, name, [name], fake_ca.roots)
    for content_type in ("application/problem+json; charset=utf-8", "application/json", "text/plain"):
        trouble = Problem(403, "rejectedIdentifier", "we do not like this name")
        trouble.headers = {"content-type": content_type}
        fake_ca.misbehave("order", lambda *_, t=trouble: t)
        fails(tlsup, fake_ca, name, "--force-renewal", status=(3,), says="we do not like this name")


# 9 newAccount 200. 10 A deactivated account. 11 accountDoesNotExist in mid-flow.


def test_case_09_new_account_answered_200(tlsup, ca, name):
    """The record is lost, the key is not: the CA knows the account."""
    first = tlsup.ok("account", "register", *ca.arguments).text
    url = re.search(r"https://localhost:\d+/my-account/\w+", first).group()
    for path in (tlsup.state / "accounts").rglob("account.json"):
        path.unlink()
    issue(tlsup, ca, name)
    assert url in tlsup.ok("account", "show", *["--server", ca.url]).out


def test_case_10_deactivated_account(tlsup, ca, new_name):
    """Somebody has deactivated the account elsewhere, with the same key. What the error advises then helps."""
    issue(tlsup, ca, new_name())
    record = next((tlsup.state / "accounts").rglob("account.json"))
    before = record.read_bytes()
    tlsup.ok("account", "deactivate", *reach(ca))
    record.write_bytes(before)
    name = new_name()
    result = fails(tlsup, ca, name, status=(3,), says=[r"deactivated|not valid|unauthorized", r"account"])
    assert re.search(r"account register|key\.pem", result.err), result
    assert len(re.findall("POST /order-plz", "\n".join(ca.requests()[-12:]))) <= 2
    if "account register" in result.err:
        tlsup.ok("account", "register", *ca.arguments)
    else:
        os.rename(tlsup.state / "accounts" / "key.pem", tlsup.state / "accounts" / "key-of-old.pem")
    issue(tlsup, ca, name)


@pytest.mark.parametrize("step", ["order", "challenge", "finalize", "certificate"])
def test_case_11_account_does_not_exist_in_mid_flow(tlsup, fake_ca, name, step):
    """A private CA has lost its database: registered again, once, and the order begun anew."""
    issue(tlsup, fake_ca, f"first-{name}")
    lost = []

    def forget(ca, request):
        if lost:
            return None
        lost.append(True)
        ca.accounts.clear()
        return Problem(400, "accountDoesNotExist", "who are you?")

    fake_ca.misbehave(step, forget)
    issue(tlsup, fake_ca, name)
    assert lost
    check_store(tlsup, name, [name], fake_ca.roots)
    assert len([r for r in fake_ca.requests("account") if r.path == "/new-account"]) == 2


def test_case_11_for_ever(tlsup, fake_ca, name):
    fake_ca.misbehave("challenge", lambda *_: Problem(400, "accountDoesNotExist", "never heard of it"))
    fails(tlsup, fake_ca, name, says="never heard of it")
    assert len([r for r in fake_ca.requests("account") if r.path == "/new-account"]) <= 3


# 12 EAB required and missing, or a double-wrapped key.


MAC = bytes(range(1, 49))


def test_case_12_external_account_missing(tlsup, make_pebble, name):
    ca = make_pebble(nonce_reject=0, eab={"kid-1": fakeca.b64(MAC)})
    asked = len(ca.requests())
    fails(tlsup, ca, name, status=(2, 3), says=[r"external account", r"--eab-kid", r"--eab-hmac-key"])
    assert not [r for r in ca.requests()[asked:] if "sign-me-up" in r], "the directory has said it"


def test_case_12_external_account_with_a_double_wrapped_key(tlsup, make_pebble, name):
    ca = make_pebble(nonce_reject=0, eab={"kid-1": fakeca.b64(MAC)})
    issue(tlsup, ca, name, "--eab-kid", "kid-1", "--eab-hmac-key", fakeca.b64(fakeca.b64(MAC).encode()))
    check_store(tlsup, name, [name], ca.roots)


# 13 Rollover answered 409, or cut.


def test_case_13_rollover_answered_409(tlsup, fake_ca, new_name):
    """The key is another account's. The old one stays in use, and a later call does it."""
    fake_ca.strict_signatures = True
    issue(tlsup, fake_ca, new_name())
    fake_ca.misbehave("key-change", lambda ca, _: Problem(409, "conflict", "the key is in use", headers={"Location": ca.base + "/account/77"}))
    result = tlsup("account", "change-key", *reach(fake_ca))
    assert result.status in (1, 3) and "the key is in use" in result.err and "change-key" in result.err, result
    issue(tlsup, fake_ca, new_name())
    fake_ca.behave()
    tlsup.ok("account", "change-key", *reach(fake_ca))
    issue(tlsup, fake_ca, new_name())
    assert len(fake_ca.accounts) == 1


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_case_13_rollover_cut(tlsup, fake_ca, new_name, done):
    """The connection breaks for good before the CA has changed the key, or behind it."""
    fake_ca.strict_signatures = True
    issue(tlsup, fake_ca, new_name())
    old = set(fake_ca.accounts)

    def cut(ca, request):
        if done:
            ca.normal("key-change", request)
        for step in ("account", "nonce", "directory"):
            ca.misbehave(step, lambda *_: Cut())
        return Cut()

    fake_ca.misbehave("key-change", cut)
    result = tlsup("account", "change-key", *reach(fake_ca))
    assert result.status in (1, 4) and "change-key" in result.err, result
    assert (set(fake_ca.accounts) == old) != done
    fake_ca.behave()
    issue(tlsup, fake_ca, new_name())
    tlsup.ok("account", "change-key", *reach(fake_ca))
    assert not list(tlsup.state.rglob("key-next*")) and set(fake_ca.accounts) != old and len(fake_ca.accounts) == 1
    issue(tlsup, fake_ca, new_name())


# 14 An order born ready.


def test_case_14_order_born_ready(tlsup, make_pebble, name):
    ca = make_pebble(nonce_reject=0, authz_reuse=100)
    issue(tlsup, ca, name)
    asked = len(ca.requests())
    issue(tlsup, ca, name, "--force-renewal")
    assert not [r for r in ca.requests()[asked:] if "chalZ" in r]
    assert tlsup.version(name) == 2


def test_case_14_order_born_ready_without_authorizations(tlsup, quick, name):
    quick.misbehave("order", edited(lambda body: body.update(authorizations=[])))
    issue(tlsup, quick, name)
    assert not quick.requests("authorization")


# 15 Reordered identifiers (fine), added names (abort).


@pytest.mark.every_pebble
def test_case_15_reordered_identifiers(tlsup, ca, new_name):
    """Pebble shuffles."""
    names = [new_name() for _ in range(8)]
    issue(tlsup, ca, *names)
    check_store(tlsup, names[0], names, ca.roots)


def test_case_15_folded_and_repeated_identifiers(tlsup, quick, name):
    """A CA may write them otherwise; they are the same."""
    quick.misbehave("order", edited(lambda body: body.update(identifiers=[{"type": "dns", "value": i["value"].upper()}
                                                                        for i in body["identifiers"] * 2])))
    issue(tlsup, quick, name, f"www.{name}")


@pytest.mark.parametrize("change", [lambda b: b["identifiers"].append({"type": "dns", "value": "extra.test"}),
                                    lambda b: b.update(identifiers=b["identifiers"][1:]), lambda b: b["identifiers"][0].update(value="extra.test")],
                         ids=["added", "missing", "other"])
def test_case_15_other_names(tlsup, quick, name, change):
    quick.misbehave("order", edited(change))
    fails(tlsup, quick, name, f"www.{name}", says=[r"other names|names|identifier"])
    assert not quick.requests("finalize")
    quick.behave()
    issue(tlsup, quick, name, f"www.{name}")


# 16 Base and wildcard: two TXT values side by side.


DNS_HOOK = """#!/usr/bin/python3
import json, os, sys, urllib.request
with open("{log}", "a") as log:
    print(sys.argv[1], os.environ["TLSUP_RECORD"], os.environ["TLSUP_VALUE"], file=log)
if sys.argv[1] == "present":
    body = json.dumps({{"host": os.environ["TLSUP_RECORD"] + ".", "value": os.environ["TLSUP_VALUE"]}}).encode()
    urllib.request.urlopen("http://127.0.0.1:8055/set-txt", body, 5).read()
"""


@pytest.mark.every_pebble
def test_case_16_base_and_wildcard(tlsup, ca, name, tmp_path):
    hook, log = tmp_path / "hook", tmp_path / "log"
    hook.write_text(DNS_HOOK.format(log=log))
    hook.chmod(0o755)
    tlsup.ok("issue", name, f"*.{name}", "--challenge-hook", hook, "--no-dns-check", "--dns-servers", "127.0.0.1#8053", *ca.arguments)
    check_store(tlsup, name, [name, f"*.{name}"], ca.roots)
    lines = [line.split() for line in log.read_text().splitlines()]
    assert [l[0] for l in lines] == ["present"] * 2 + ["cleanup"] * 2, "both are there when the CA looks, and none is left behind"
    assert {l[1] for l in lines} == {f"_acme-challenge.{name}"}
    assert len({l[2] for l in lines}) == 2 and {l[2] for l in lines[:2]} == {l[2] for l in lines[2:]}


# 17 Unknown challenge types, null tokens. 18 Token ../../x.


def test_case_17_unknown_challenges_and_null_tokens(tlsup, fake_ca, name):
    def odd(body):
        url = body["challenges"][-1]["url"]
        body["challenges"] = [None, 7, "http-01", [], {}, {"type": None}, {"type": ["http-01"]}, {"type": "http-01", "url": url, "token": None},
                              {"type": "dns-01", "status": "pending", "url": url}, {"type": "quantum-02", "status": "entangled", "url": 9},
                              {"type": "http-01", "status": "pending", "url": "http://localhost/x", "token": "AAAAAAAAAAAAAAAAAAAAAA"},
                              *body["challenges"]]

    fake_ca.misbehave("authorization", edited(odd))
    issue(tlsup, fake_ca, name)
    check_store(tlsup, name, [name], fake_ca.roots)


@pytest.mark.parametrize("way, token", [(way, "../../x") for way in ("standalone", "web-server")] + [
    ("webroot", token) for token in ("../../x", "..", "/etc/cron.d/x", "a\u0000b", "a\nb")])
def test_case_18_token_that_is_a_path(tlsup, fake_ca, request, name, way, token):
    def poison(ca, _request):
        for one in ca.authorizations.values():
            one["token"] = token

    if way != "standalone":
        request.getfixturevalue("nginx").start()
    words = {"webroot": ["--webroot", "-w", "/var/www/html"], "standalone": STANDALONE, "web-server": []}[way]
    fake_ca.misbehave("authorization", poison)
    before = snapshot.snapshot("/var/www", "/etc/cron.d", tlsup.state / "challenges")
    result = tlsup("issue", name, *words, *fake_ca.arguments)
    assert result.status in (1, 3, 4) and re.search(r"token|http-01|JSON", error_of(result)) and name in error_of(result), result
    assert not fake_ca.requests("challenge")
    left = [l for l in snapshot.difference(before, snapshot.snapshot("/var/www", "/etc/cron.d", tlsup.state / "challenges"))
            if not l.endswith(str(tlsup.state / "challenges"))]
    assert not left, left


# 19 Retry-After as a date, 0, negative, 86400, garbage.


@pytest.fixture(scope="module", autouse=True)
def a_day_of_patience(request, work, authority):
    """Retry-After: 86400 on an order in processing. Begun before all others, since it is obeyed up to a minute."""
    import conftest

    if not any("case_19_a_day" in item.name for item in request.session.items):
        yield None
        return
    directory = work / "a-day"
    ca = fakeca.FakeCA(directory, authority, next(conftest.PORTS))
    ca.preauthorized, ca.retry_after, ca.polls_until_valid = True, "86400", 1
    run = client.Client(directory / "etc", directory / "var")
    root = directory / "www"
    root.mkdir()
    run.ca, run.began = ca, time.monotonic()
    run.process = run.start("issue", "a-day.test", "--webroot", "-w", str(root), *ca.arguments)
    conftest.KEPT.append(run)
    ca.wait_until_asked("finalize")
    yield run
    run.process.kill()
    ca.close()
    conftest.KEPT.remove(run)


@pytest.mark.parametrize("step, value", [("order-poll", value) for value in ("date", "0", "-5", "1.5", "tomorrow", "")] + [
    ("authorization", value) for value in ("date", "past", "-5", "99999999999999999999", "tomorrow")])
def test_case_19_retry_after(tlsup, fake_ca, name, step, value):
    soon = {"date": 2, "past": -3600}
    if value in soon:
        value = email.utils.formatdate(time.time() + soon[value], usegmt=True)
    slow = value.startswith("9999")
    fake_ca.polls_until_valid = 1 if step == "order-poll" and not slow else 0
    fake_ca.retry_after = value
    if step == "authorization":
        fake_ca.hold, looks = True, []

        def not_at_once(ca, _request):
            looks.append(True)
            ca.hold = len(looks) < (3 if not slow else 2)

        fake_ca.misbehave("authorization", not_at_once)
    result = issue(tlsup, fake_ca, name, timeout=60)
    assert result.seconds < 30


# 20 One invalid authorization with subproblems.


def test_case_20_invalid_authorization_with_subproblems(tlsup, fake_ca, new_name):
    good, bad = new_name(), new_name()

    def fail_one(body):
        if body["identifier"]["value"] != bad or body["challenges"][-1]["status"] != "valid":
            return
        body["status"] = body["challenges"][-1]["status"] = "invalid"
        body["challenges"][-1]["error"] = {
            "type": "urn:ietf:params:acme:error:compound", "detail": "two perspectives disagree", "status": 400, "subproblems": [
                {"type": "urn:ietf:params:acme:error:connection", "detail": "from Frankfurt: connection refused", "identifier": {"type": "dns", "value": bad}},
                {"type": "urn:ietf:params:acme:error:dns", "detail": "from Tokyo: no answer", "identifier": {"type": "dns", "value": bad}}]}

    fake_ca.misbehave("authorization", edited(fail_one))
    result = fails(tlsup, fake_ca, good, bad, status=(3,), says=[bad, "two perspectives disagree", "from Frankfurt", "from Tokyo"])
    assert not re.search(rf"{re.escape(good)}: (two|from|could)", result.err), "the good name is not blamed"
    assert not fake_ca.requests("finalize")
    fake_ca.behave()
    issue(tlsup, fake_ca, good, bad)


# 21 finalize without Location. 22 ready or orderNotReady after finalize.


@pytest.mark.parametrize("location", [None, "http://elsewhere.test/order/1"])
def test_case_21_finalize_without_location(tlsup, quick, name, location):
    def finalized(ca, request):
        reply = ca.normal("finalize", request)
        reply.headers["Location"] = location
        return reply

    quick.misbehave("finalize", finalized)
    issue(tlsup, quick, name)


@pytest.mark.every_pebble
def test_case_21_finalize_of_pebble(tlsup, ca, name):
    """Since 2.9 without Location."""
    issue(tlsup, ca, name)
    check_store(tlsup, name, [name], ca.roots)


@pytest.mark.parametrize("kind, times", [("ready", 1), ("orderNotReady", 1), ("ready", 100), ("orderNotReady", 100)])
def test_case_22_not_finalized_at_once(tlsup, quick, name, kind, times):
    left = [times]

    def not_yet(ca, request):
        if left[0] <= 0:
            return None
        left[0] -= 1
        number = int(request.path.rsplit("/", 1)[1])
        return Reply(body=ca.order_body(number)) if kind == "ready" else Problem(403, "orderNotReady", "one moment")

    quick.misbehave("finalize", not_yet)
    if times == 1:
        issue(tlsup, quick, name, timeout=60)
        return
    result = fails(tlsup, quick, name, says=[name, r"ready|one moment"], timeout=90)
    assert len(quick.requests("finalize")) <= 4, "bounded"
    works_again(tlsup, quick, name)
    assert result.seconds < 60


# 23 processing for ever. (That it ends by itself after five minutes is seen in test_patience.py.)


def test_case_23_processing_for_ever(tlsup, quick, name):
    """Given up, by a person or by the clock; the next run goes on with the same order and the same key."""
    quick.polls_until_valid, quick.retry_after = 10**9, "1"
    process = tlsup.start("issue", name, *STANDALONE, *quick.arguments)
    deadline = time.monotonic() + 30
    while len(quick.requests("order-poll")) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert tlsup.finish(process, timeout=20).status != 0
    quick.polls_until_valid = 0
    works_again(tlsup, quick, name)
    assert len(quick.requests("order")) == 1 and len(quick.requests("finalize")) == 1


# 24 valid without a certificate URL.


@pytest.mark.parametrize("times", [2, 10**9])
def test_case_24_valid_without_a_certificate(tlsup, quick, name, times):
    left = [times]

    def without(body):
        if "certificate" in body and left[0] > 0:
            left[0] -= 1
            del body["certificate"]

    quick.misbehave("order-poll", edited(without))
    if times == 2:
        issue(tlsup, quick, name)
        return
    result = fails(tlsup, quick, name, says=[name, "certificate"], timeout=60)
    assert len(quick.requests("order-poll")) < 20
    works_again(tlsup, quick, name)
    assert len(quick.requests("order")) == 1, result


# 25 CRLF, preamble, no newline; wrong key, wrong names, unlinked chain.


@pytest.mark.parametrize("change", [
    lambda pem: pem.replace(b"\n", b"\r\n"), lambda pem: b"subject=CN = leaf\nissuer=CN = x\n\n" + pem, lambda pem: pem.rstrip(),
    lambda pem: pem.replace(b"-----\n-----", b"-----\n\n\n  \n-----"), lambda pem: pem + b"\n\nyours faithfully\n",
    lambda pem: b"\xef\xbb\xbf" + pem],
    ids=["crlf", "preamble", "no-newline", "blank-lines", "afterword", "byte-order-mark"])
def test_case_25_untidy_pem(tlsup, quick, name, change):
    def untidy(ca, request):
        return ca.pem_reply(change(ca.normal("certificate", request).body))

    quick.misbehave("certificate", untidy)
    issue(tlsup, quick, name)
    check_store(tlsup, name, [name], quick.roots)
    lines = tlsup.file(name).read_bytes().splitlines()
    assert b"\r" not in tlsup.file(name).read_bytes() and lines[0] == b"-----BEGIN CERTIFICATE-----" and b"" not in lines


def stranger_csr():
    return pki.openssl("req", "-new", *pki.EC, "-nodes", "-keyout", "/dev/null", "-subj", "/CN=x")


def chain_of(ca, order, csr=None, names=None, link=None):
    names = names or [i["value"] for i in order["identifiers"]]
    return ca.sign(csr or order["csr"], names) + (link or ca.issuer.cert.read_bytes())


WRONG = {
    "key": (lambda ca, order: chain_of(ca, order, csr=stranger_csr()), "key"),
    "names": (lambda ca, order: chain_of(ca, order, names=["somebody-else.test"]), "name"),
    "more-names": (lambda ca, order: chain_of(ca, order, names=[i["value"] for i in order["identifiers"]] + ["extra.test"]), "extra.test|name"),
    "unlinked": (lambda ca, order: chain_of(ca, order, link=pki.Authority(ca.directory / "odd", "odd").cert.read_bytes()), "sign|issue|chain"),
    "leaf-last": (lambda ca, order: ca.issuer.cert.read_bytes() + ca.sign(order["csr"], [i["value"] for i in order["identifiers"]]),
                  "first certificate"),
    "garbage": (lambda ca, order: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate"),
    "empty": (lambda ca, order: b"", "certificate"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_case_25_wrong_certificate(tlsup, quick, name, kind):
    make, says = WRONG[kind]
    quick.misbehave("certificate", lambda ca, request: ca.pem_reply(make(ca, ca.orders[int(request.path.rsplit("/", 1)[1])])))
    fails(tlsup, quick, name, status=(1, 3), says=says)
    assert not os.path.lexists(tlsup.live(name))
    works_again(tlsup, quick, name)


# 26 Several alternate Links, a loop, an http URL.


@pytest.fixture
def other_chains(quick, tmp_path):
    roots = [pki.Authority(tmp_path / f"root-{i}", f"other {i}") for i in range(3)]
    quick.alternates = [root.intermediate(tmp_path / f"below-{i}") for i, root in enumerate(roots)]
    return roots


def test_case_26_several_alternates(tlsup, quick, other_chains, name):
    issue(tlsup, quick, name, "--preferred-chain", "other 1 root")
    check_store(tlsup, name, [name], other_chains[1].cert)
    issue(tlsup, quick, name, "--preferred-chain", "other 2 root", "--force-renewal")
    check_store(tlsup, name, [name], other_chains[2].cert)
    result = issue(tlsup, quick, name, "--preferred-chain", "Nobody's Root", "--force-renewal")
    assert "Nobody's Root" in result.err
    check_store(tlsup, name, [name], quick.roots)


def test_case_26_alternates_unasked(tlsup, quick, other_chains, name):
    issue(tlsup, quick, name)
    assert not quick.requests("alternate")
    check_store(tlsup, name, [name], quick.roots)


def test_case_26_odd_alternates(tlsup, quick, other_chains, name):
    """In a loop, over http, elsewhere, nowhere, broken; unquoted rel, several in one header. The good one among them is found."""
    def looped(ca, request):
        reply = ca.normal(ca.step_of(request), request)
        number = request.path.split("/")[2]
        mine, base = ca.base + request.path, ca.base
        reply.headers["Link"] = [f'<{mine}>;rel="alternate", <{base}/cert/{number}>;rel=alternate', f'<http://localhost:{ca.port}/alternate/{number}/1>;rel="alternate"',
                                 '<https://evil.test/chain>;rel="alternate"', f'<{base}/nonsense>;rel="alternate"', "<broken", "", ";rel=alternate",
                                 f'<{base}/alternate/{number}/0>;title="a, b";rel="alternate"', f'</alternate/{number}/1>; rel=alternate',
                                 f'<{base}/alternate/{number}/2>;rel="alternate up"']
        return reply

    quick.misbehave("certificate", looped)
    quick.misbehave("alternate", looped)
    issue(tlsup, quick, name, "--preferred-chain", "other 0 root")
    check_store(tlsup, name, [name], other_chains[0].cert)
    assert len(quick.requests("alternate")) + len(quick.requests("certificate")) < 10
    issue(tlsup, quick, name, "--preferred-chain", "other 2 root", "--force-renewal")
    check_store(tlsup, name, [name], other_chains[2].cert)


def test_case_26_alternate_that_is_wrong(tlsup, quick, other_chains, name):
    """It is for another key: left out, and the default taken."""
    def wrong(ca, request):
        order = ca.orders[int(request.path.split("/")[2])]
        return ca.pem_reply(ca.sign(stranger_csr(), [i["value"] for i in order["identifiers"]], quick.alternates[0]) + quick.alternates[0].cert.read_bytes())

    quick.misbehave("alternate", wrong)
    issue(tlsup, quick, name, "--preferred-chain", "other 0 root")
    check_store(tlsup, name, [name], quick.roots)


# 27 429/503 with Retry-After; a paused 429.


@pytest.mark.parametrize("step, status", [("order", 429), ("authorization", 503), ("challenge", 429), ("finalize", 503), ("certificate", 503)])
def test_case_27_slow_down(tlsup, fake_ca, name, step, status):
    """A second or two are sat out."""
    kind = "rateLimited" if status == 429 else "serverInternal"
    fake_ca.misbehave(step, [Problem(status, kind, "slow down", headers={"Retry-After": "1"})])
    issue(tlsup, fake_ca, name)
    times = len(fake_ca.requests(step))
    assert times >= 2


@pytest.mark.parametrize("status", [429, 503])
def test_case_27_come_back_tomorrow(tlsup, quick, name, status):
    kind = "rateLimited" if status == 429 else "serverInternal"
    quick.misbehave("order", lambda *_: Problem(status, kind, "too many for today", headers={"Retry-After": "86400"}))
    result = fails(tlsup, quick, name, status=(4,), says=["too many for today", r"1 day|24 hours|86400|20\d\d-"])
    assert result.seconds < 30 and len(quick.requests("order")) == 1


def test_case_27_paused(tlsup, quick, name):
    quick.misbehave("order", lambda *_: Problem(429, "rateLimited", "Your account is temporarily prevented from requesting certificates for "
                                                f"{name}. Visit: https://portal.ca.test/sfe/v1/unpause?jwt=e30"))
    fails(tlsup, quick, name, status=(3,), says=[r"https://portal\.ca\.test/sfe/v1/unpause\?jwt=e30"])
    assert len(quick.requests("order")) == 1, "not asked again"


# 28 ARI with end <= start, 404, 500, a past or a moved window, an expired certificate.


@pytest.fixture
def held(tlsup, quick, name):
    """A fresh certificate of a CA with renewal information, and a look at it that is due."""
    quick.window = at(FAR[0]), at(FAR[1])
    issue(tlsup, quick, name)
    assert quick.requests("renewal-info")
    ask_the_ca_again(tlsup, name)
    quick.log.clear()
    return name


BAD_ARI = {
    "end-before-start": lambda ca, _: Reply(body={"suggestedWindow": {"start": at(-DAY), "end": at(-2 * DAY)}}),
    "empty-window": lambda ca, _: Reply(body={"suggestedWindow": {"start": at(-60), "end": at(-60)}}),
    "404": lambda ca, _: Problem(404, "malformed", "no such certificate"),
    "500": lambda ca, _: Reply(500, "oops", "text/plain"),
    "html": lambda ca, _: Reply(200, "<html>", "text/html"),
    "no-window": lambda ca, _: Reply(body={"explanationURL": "https://ca.test/why"}),
    "no-dates": lambda ca, _: Reply(body={"suggestedWindow": {"start": "yesterday", "end": 7}}),
    "redirect": lambda ca, _: Reply(302, headers={"Location": "http://elsewhere.test/"}),
    "cut": lambda ca, _: Cut(),
}


@pytest.mark.parametrize("kind", BAD_ARI)
def test_case_28_bad_renewal_information(tlsup, quick, held, kind):
    """No reason to renew now, and none to fail."""
    quick.misbehave("renewal-info", BAD_ARI[kind])
    tlsup.ok("renew")
    assert tlsup.version(held) == 1 and 1 <= len(quick.requests("renewal-info")) <= 3
    ari = state_of(tlsup, held)["ari"]
    assert ari["next_check_s"] > time.time() and ari["failures"] == 1
    if kind not in ("500", "cut"):  # then our own schedule counts, and nobody asks for hours
        assert "chosen_s" not in ari and ari["next_check_s"] > time.time() + 5 * 3600
    tlsup.ok("renew")
    assert len(quick.requests("renewal-info")) <= 3, "not asked again at once"


def test_case_28_our_own_schedule_meanwhile(tlsup, quick, name):
    quick.window = at(FAR[0]), at(FAR[1])
    quick.lifetime_s, quick.not_before_ago_s = 90 * DAY, 61 * DAY
    quick.misbehave("renewal-info", lambda *_: Problem(404, "malformed", "never heard of it"))
    issue(tlsup, quick, name)
    quick.not_before_ago_s = 3600
    tlsup.ok("renew")
    assert tlsup.version(name) == 2


def test_case_28_past_window(tlsup, quick, held):
    quick.window, quick.explanation = (at(-2 * DAY), at(-DAY)), "https://ca.test/incident-7"
    result = tlsup.ok("renew")
    assert "https://ca.test/incident-7" in result.text, result
    assert tlsup.version(held) == 2
    assert quick.requests("order")[-1].payload.get("replaces"), "and says what it replaces"


def test_case_28_moved_window(tlsup, quick, held):
    """The instant once chosen stays while the window does, and moves with it."""
    first = state_of(tlsup, held)["ari"]
    assert first["start_s"] <= first["chosen_s"] <= first["end_s"]
    tlsup.ok("renew")
    same = state_of(tlsup, held)["ari"]
    assert same["chosen_s"] == first["chosen_s"] and same["next_check_s"] > 1, "asked, and kept"
    quick.window = at(30 * DAY), at(31 * DAY)
    ask_the_ca_again(tlsup, held)
    tlsup.ok("renew")
    moved = state_of(tlsup, held)["ari"]
    assert moved["start_s"] <= moved["chosen_s"] <= moved["end_s"] < first["chosen_s"]
    assert tlsup.version(held) == 1


def test_case_28_expired_certificate(tlsup, quick, name):
    """Nobody is asked about what has expired: it is renewed."""
    quick.window = at(FAR[0]), at(FAR[1])
    quick.lifetime_s, quick.not_before_ago_s = 3600 + 3, 3600
    issue(tlsup, quick, name)
    time.sleep(4)
    ask_the_ca_again(tlsup, name)
    quick.lifetime_s = 90 * DAY
    quick.log.clear()
    tlsup.ok("renew")
    assert tlsup.version(name) == 2
    steps = [step for step, _ in quick.log]
    assert "renewal-info" not in steps[:steps.index("order")]


# 29 replaces -> 409, 401, 404, 500; a vanished profile.


@pytest.mark.parametrize("status, kind", [(409, "alreadyReplaced"), (409, "conflict"), (401, "unauthorized"),
                                          (404, "malformed"), (500, "serverInternal")])
def test_case_29_replaces_is_refused(tlsup, quick, held, status, kind):
    quick.window = at(-2 * DAY), at(-DAY)
    quick.misbehave("order", lambda ca, request: Problem(status, kind, "we know nothing of it") if "replaces" in request.payload else None)
    tlsup.ok("renew", timeout=60)
    assert tlsup.version(held) == 2
    orders = quick.requests("order")
    assert "replaces" in orders[0].payload and "replaces" not in orders[-1].payload and len(orders) <= 5


@pytest.mark.parametrize("when", ["order", "finalize", "invalid"])
def test_case_29_vanished_profile(tlsup, quick, name, when):
    """Offered in the directory, gone when it counts. Preferred: then without. Required: then not at all."""
    quick.profiles = {"classic": "the usual", "shortlived": "six days"}

    def gone(ca, request):
        number = int(request.path.rsplit("/", 1)[1]) if when != "order" else None
        asked = request.payload if when == "order" else ca.orders[number]["asked"]
        if "profile" not in asked:
            return None
        problem = Problem(400, "invalidProfile", "there is no such profile any more")
        if when != "invalid":
            return problem
        ca.orders[number].update(status="invalid", error=json.loads(problem.body))
        return Reply(body=ca.order_body(number))

    quick.misbehave({"order": "order", "finalize": "finalize", "invalid": "finalize"}[when], gone)
    issue(tlsup, quick, name, "--preferred-profile", "shortlived")
    assert [r.payload.get("profile") for r in quick.requests("order")] == ["shortlived", None]
    other = f"other-{name}"
    fails(tlsup, quick, other, "--required-profile", "shortlived", says="no such profile any more")
    assert quick.requests("order")[-1].payload.get("profile") == "shortlived"


# 30 An IPv6 identifier; a crash between finalize and download.


@pytest.mark.every_pebble
@pytest.mark.parametrize("address", ["::1", "127.0.0.1"])
def test_case_30_address(tlsup, ca, ipv6, address):
    issue(tlsup, ca, address, "--cert-name", "by-address")
    text = pki.openssl("x509", "-noout", "-ext", "subjectAltName", stdin=tlsup.file("by-address", "cert").read_bytes()).decode()
    assert "IP Address:" + ("0:0:0:0:0:0:0:1" if address == "::1" else address) in text and "DNS:" not in text
    assert address in tlsup.ok("status", "by-address").out


def test_case_30_ipv6_identifier_is_written_short(tlsup, fake_ca, ipv6):
    issue(tlsup, fake_ca, "[0000:0000::0:1]", "--cert-name", "by-address")
    assert fake_ca.requests("order")[0].payload["identifiers"] == [{"type": "ip", "value": "::1"}]


@pytest.mark.parametrize("step", ["order-poll", "certificate"])
def test_case_30_crash_between_finalize_and_download(tlsup, quick, name, step):
    quick.misbehave(step, lambda *_: Hang())
    process = tlsup.start("issue", name, *STANDALONE, *quick.arguments)
    quick.wait_until_asked(step)
    pending = next((tlsup.state / "certs" / name).rglob("pending*.pem")).read_bytes()
    process.kill()
    tlsup.finish(process)
    deadline = time.monotonic() + 10
    while client.Client.running() and time.monotonic() < deadline:
        time.sleep(0.05)
    works_again(tlsup, quick, name)
    assert len(quick.requests("order")) == 1 and len(quick.requests("finalize")) == 1, "resumed"
    assert tlsup.file(name, "privkey").read_bytes() == pending, "with the same key"


def test_case_19_a_day(a_day_of_patience):
    """Looked at last: a minute's wait in the background."""
    run = a_day_of_patience
    result = run.finish(run.process, timeout=100, began=run.began)
    assert result.status == 0 and run.version("a-day.test") == 1, result
    assert len(run.ca.requests("order-poll")) == 2
