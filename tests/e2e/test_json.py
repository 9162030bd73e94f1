"""What other programs are told: each document against what tlsup-json(7) promises, and the page against each document."""

import json
import pathlib
import re

import pytest

from harness import client, forged

PAGE = pathlib.Path(client.TOP) / "docs/tlsup-json.7"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")


# -- a small language of schemas --


class Maybe:
    """That, or null."""

    def __init__(self, what):
        self.what = what


class Words:
    def __init__(self, words):
        self.words = words.split()


TEXTS = [str]
WHEN = Maybe("time")
ERROR = {"code": str, "type": str, "subject": str, "text": str, "advice": str}
LAST_RUN = {"began": WHEN, "ended": WHEN, "good": WHEN}


def check(value, schema, where="document"):
    """Exactly these members, each of its type; "name?" may be missing."""
    if isinstance(schema, Maybe):
        if value is not None:
            check(value, schema.what, where)
    elif isinstance(schema, Words):
        assert value in schema.words, f"{where}: {value!r}"
    elif schema == "time":
        assert isinstance(value, str) and TIME.match(value), f"{where}: {value!r}"
    elif isinstance(schema, list):
        assert isinstance(value, list), f"{where}: {value!r}"
        for i, one in enumerate(value):
            check(one, schema[0], f"{where}[{i}]")
    elif isinstance(schema, dict) and "*" in schema:
        assert isinstance(value, dict), f"{where}: {value!r}"
        for key, one in value.items():
            check(one, schema["*"], f"{where}.{key}")
    elif isinstance(schema, dict):
        assert isinstance(value, dict), f"{where}: {value!r}"
        allowed = {k.rstrip("?") for k in schema}
        required = {k for k in schema if not k.endswith("?")}
        assert required <= set(value) <= allowed, f"{where}: missing {required - set(value)}, not described {set(value) - allowed}"
        for key, one in value.items():
            check(one, schema[key] if key in schema else schema[key + "?"], f"{where}.{key}")
    else:
        assert type(value) is schema, f"{where}: {value!r} is no {schema.__name__}"


# -- the page --


def sections():
    """By the section's title: the members that it names."""
    found, title = {}, ""
    for line in PAGE.read_text().splitlines():
        if line.startswith((".Sh ", ".Ss ")):
            title = line[4:]
        elif re.match(r"\.(It )?Cm ", line):
            found.setdefault(title, set()).update(re.findall(r"[a-z_0-9]+", line.split("Cm ", 1)[1].split(" Pq ")[0]))
    return found


def members(value):
    if isinstance(value, dict):
        for key, one in value.items():
            yield key
            if key != "settings":  # its members are keys of tlsup.conf(5)
                yield from members(one)
    elif isinstance(value, list):
        for one in value:
            yield from members(one)


def is_described(document, *titles):
    named = set().union(*(sections().get(t, set()) for t in ("DESCRIPTION", "Types", *titles)))
    assert not set(members(document)) - named, f"docs/tlsup-json.7 does not have {set(members(document)) - named} below {titles}"


def document(result, command, schema, *titles):
    value = json.loads(result.out)  # one document and nothing else
    check(value, {"version": int, "command": str, **schema})
    assert value["version"] == 1 and value["command"] == command
    is_described(value, *titles)
    return value


# -- the documents --

DEPLOYMENT = {"kind": Words("hook export verify"), "what": Maybe(str), "state": Words("done failing pending"), "done": bool,
              "wanted_version": int, "done_version": int, "done_at": WHEN, "failures": int, "failed_at": WHEN, "next_try": WHEN,
              "error": Maybe(ERROR)}
SECOND = {"key_type": str, "serial": str, "sha256": str, "spki_sha256": str, "not_before": "time", "not_after": "time"}
CERTIFICATE = {
    "name": str, "state": Words("valid pending incomplete unknown unfinished overdue failing broken revoked expired"),
    "alarm": Words("none failing urgent expired"), "names": TEXTS, "key_type": Maybe(str), "ca": str, "ca_url": str, "profile": Maybe(str),
    "version": int, "issuer?": str, "serial?": str, "sha256?": str, "spki_sha256?": str, "not_before?": "time", "not_after?": "time",
    "expires_in_s?": int, "life_used_percent?": int, "renewal_due?": "time", "renewal_due_by?": Words("ca life"), "path?": str,
    "second": Maybe(SECOND), "next": {"at": WHEN, "why": Words("ca life due overdue failed unknown")},
    "ca_window": Maybe({"start": WHEN, "end": WHEN, "chosen": WHEN, "next_check": WHEN}), "ca_explanation_url": Maybe(str),
    "web_server": Maybe(Words("nginx apache")), "places": TEXTS, "deployed": Words("none issued installed reloaded verified"),
    "issued_at": WHEN, "verified_at": WHEN, "deployments": [DEPLOYMENT],
    "orders": [{"url": str, "ca_url": str, "names": TEXTS, "created": WHEN}], "missing_names": TEXTS, "revoked": bool,
    "account_url": str, "dns_persist_until": WHEN, "problem": Maybe(ERROR),
    "last_failure": Maybe({"count": int, "at": WHEN, "next_try": WHEN, "error": Maybe(ERROR)}),
    "chain?": TEXTS, "settings?": {"*": TEXTS}, "config_path?": str, "state_path?": str,
    "versions?": [{"number": int, "live": bool, "not_before": WHEN, "not_after": WHEN, "serial": Maybe(str), "sha256": Maybe(str)}],
}
STATUS = {"certificates": [CERTIFICATE],
          "renewals": {"by": Words("systemd cron none"), "active": bool, "where": Maybe(str), "next": Maybe(str), "last_run": Maybe(LAST_RUN),
                       "hooks_failing": [{"when": Words("pre post"), "program": Maybe(str), "failures": int, "failed_at": WHEN,
                                          "next_try": WHEN, "error": Maybe(ERROR)}]}}
REPORT = {"certificates": [{"name": str, "result": Words("current waiting issued renewed deployed rehearsed failed"), "version": Maybe(int),
                            "not_after": WHEN, "next_try": WHEN, "error": Maybe(ERROR),
                            "deployments": [{"kind": Words("hook export verify"), "what": str, "done": bool, "failures": int,
                                             "done_at": WHEN, "next_try": WHEN, "error": Maybe(ERROR)}]}],
          "hooks": [{"when": Words("pre post"), "program": str, "result": Words("done failed waiting"), "error": Maybe(ERROR)}],
          "summary": {"current": int, "waiting": int, "issued": int, "renewed": int, "deployed": int, "rehearsed": int, "failed": int},
          "error": Maybe(ERROR)}
ACCOUNT = {"server": str, "name": str, "account": str, "status": Words("valid deactivated"), "email": str, "terms_of_service": str,
           "external_account": str, "key_thumbprint": str, "registered": "time"}
CHECK = {"ok": bool, "complete": bool, "names": TEXTS, "counts": {"ok": int, "note": int, "warning": int, "problem": int},
         "findings": [{"severity": Words("ok note warning problem"), "about": str, "name": Maybe(str), "what": str, "why": Maybe(str),
                       "todo": Maybe(str)}]}
ANSWER = {"ok": Words("yes no unknown"), "text": Maybe(str)}
OWNERS = [{"address": Maybe(str), "file": Maybe(str), "line": int, "by_default": bool}]
SITES = {"servers": [{
    "kind": Words("nginx apache"), "version": Maybe(str), "running": bool, "pid": Maybe(int), "unit": Maybe(str), "program": Maybe(str),
    "configuration": Maybe(str), "test": ANSWER, "read": ANSWER, "same_as_server": ANSWER,
    "sites": [{"names": TEXTS, "listens": [{"address": Maybe(str), "port": int, "tls": bool, "default": bool}], "root": Maybe(str),
               "certificate": Maybe(str), "tlsup_certificate": Maybe(str), "file": Maybe(str), "line": int, "enabled": bool,
               "enable_command": Maybe(str), "redirects_only": bool}],
    "names": [{"name": str, "http": OWNERS, "https": OWNERS}],
    "problems": [{"kind": str, "name": Maybe(str), "file": Maybe(str), "line": int, "text": Maybe(str), "advice": Maybe(str)}]}]}
TIMER = {"kind": Words("none systemd cron"), "active": bool, "where": str, "next": str, "last_run": Maybe(LAST_RUN)}
RESTORE = {"certificate": str, "versions": [{"number": int, "live": bool, "not_before": WHEN, "not_after": WHEN, "serial": str, "sha256": str,
                                             "issuer": str, "key_type": str, "expired": bool, "revoked": bool, "problem": Maybe(str)}]}
IMPORTED = {"name": str, "old_name": str, "result": Words("imported updated held left"), "error?": ERROR,
            "needs_attention?": bool, "names?": TEXTS, "not_after?": "time", "key_type?": str, "server?": str, "account?": str,
            "challenge?": str, "pre_hooks?": TEXTS, "deploy_hooks?": TEXTS, "post_hooks?": TEXTS, "exports?": TEXTS, "switched?": str,
            "notes?": TEXTS}
IMPORT = {"client": str, "directory": str, "plan": bool, "certificates": [IMPORTED],
          "accounts": [{"server": str, "name": str, "account": str, "held": bool}], "hooks": TEXTS,
          "web_server": [{"web_server": str, "file": str, "line": int, "certificate_file": str, "certificate": str, "switched": bool}],
          "old_timers": [{"kind": str, "where": str, "runs": str, "disabled": bool, "undo": str}], "notes": TEXTS, "diff?": str}


@pytest.fixture
def held(tlsup, tmp_path):
    """Certificates of every kind."""
    store = forged.Forged(tlsup, tmp_path)
    forged.every_kind(store)
    return store


def test_status(tlsup, held):
    held.hold("order.example.org", state={
        "order": {"url": "https://ca.example/order/1", "ca": "https://ca.example/dir", "names": ["order.example.org"], "created_s": held.now},
        "ari": {"cert_id": "a.b", "start_s": held.now, "end_s": held.now + 9, "chosen_s": held.now + 5}})
    held.run(hooks=[{"program": "/x/post", "when": "post", "failures": 2, "failed_s": held.now - 60, "next_try_s": held.now + 60,
                     "error": held.failure("exit status 1", code="hook")["error"]}])
    value = document(tlsup.ok("status", "--json"), "status", STATUS, "STATUS")
    states = {c["name"].split(".")[0]: c["state"] for c in value["certificates"]}
    assert states == {"example": "valid", "week": "valid", "mail": "valid", "order": "valid", "hook": "failing", "failing": "failing",
                      "expired": "expired", "late": "overdue", "half": "unfinished", "revoked": "revoked", "partial": "incomplete",
                      "broken": "broken", "new": "pending"}
    assert value["renewals"]["hooks_failing"][0]["program"] == "/x/post"
    alarms = {c["name"].split(".")[0]: c["alarm"] for c in value["certificates"]}
    assert alarms["failing"] == alarms["hook"] == "failing" and alarms["expired"] == "expired" and alarms["example"] == "none"
    [order] = [c["orders"][0] for c in value["certificates"] if c["orders"]]
    assert order["url"] == "https://ca.example/order/1"


def test_status_of_one(tlsup, held):
    held.version("mail.example.org", ["mail.example.org"], 1, 89, number=2)
    value = document(tlsup.ok("status", "mail.example.org", "--json"), "status", STATUS, "STATUS")
    [one] = value["certificates"]
    assert [(v["number"], v["live"]) for v in one["versions"]] == [(1, False), (2, True)]
    assert one["settings"] == {"deploy-hook": ["/usr/local/sbin/reload-mail"]}
    assert {d["kind"] for d in one["deployments"]} == {"hook", "verify", "export"}


def test_restore(tlsup, held):
    value = document(tlsup.ok("restore", "example.org", "--json"), "restore", RESTORE, "RESTORE")
    assert value["certificate"] == "example.org" and value["versions"][0]["live"]


def test_nothing_is_held(tlsup):
    assert document(tlsup.ok("status", "--json"), "status", STATUS, "STATUS")["certificates"] == []
    assert document(tlsup.ok("account", "list", "--json"), "account list", {"accounts": [ACCOUNT]}, "ACCOUNT")["accounts"] == []
    report = document(tlsup.ok("renew", "--json"), "renew", REPORT, "RENEW, ISSUE, ENABLE", "STATUS")
    assert report["certificates"] == []


def test_timer(tlsup):
    document(tlsup("timer", "status", "--json"), "timer status", TIMER, "TIMER", "STATUS")


def test_issue_and_account(tlsup, fake_ca, name):
    report = document(tlsup.ok("issue", name, "--standalone", "--json", *fake_ca.arguments), "issue", REPORT, "RENEW, ISSUE, ENABLE", "STATUS")
    assert [(c["name"], c["result"]) for c in report["certificates"]] == [(name, "issued")]
    shown = document(tlsup.ok("account", "show", "--server", fake_ca.url, "--json"), "account show", ACCOUNT, "ACCOUNT")
    listed = document(tlsup.ok("account", "list", "--json"), "account list", {"accounts": [ACCOUNT]}, "ACCOUNT")
    assert listed["accounts"][0]["account"] == shown["account"]


def test_renew_that_fails(tlsup, fake_ca, new_name):
    good, bad = new_name(), new_name()
    for each in (good, bad):
        tlsup.ok("issue", each, "--standalone", *fake_ca.arguments)
    (tlsup.config / "certs.d" / f"{bad}.conf").open("a").write("deploy-hook = /bin/false\n")
    result = tlsup("renew", "--force-renewal", "--json")
    report = document(result, "renew", REPORT, "RENEW, ISSUE, ENABLE", "STATUS")
    assert result.status != 0
    hooks = {c["name"]: c["deployments"] for c in report["certificates"]}
    assert hooks[good] == [] and hooks[bad][0]["failures"] == 1 and hooks[bad][0]["error"]["code"] == "hook"


def test_enable_sites_and_check(tlsup, fake_ca, nginx, name):
    nginx.site(name)
    nginx.start()
    report = document(tlsup.ok("enable", name, "--json", *fake_ca.arguments), "enable", REPORT, "RENEW, ISSUE, ENABLE", "STATUS")
    assert report["summary"]["issued"] == 1
    sites = document(tlsup.ok("sites", "--json"), "sites", SITES, "SITES")
    assert name in [s["tlsup_certificate"] for s in sites["servers"][0]["sites"]]
    found = document(tlsup("check", name, "--json"), "check", CHECK, "CHECK")
    assert found["names"] == [name]
    for about in {f["about"] for f in found["findings"]}:
        assert f"\\(lq{about}\\(rq" in PAGE.read_text(), f"docs/tlsup-json.7 does not have the finding {about}"


def test_import_plan(tlsup, held, tmp_path):
    old = tmp_path / "uacme"
    for directory in (old / "private/old.example.org", old / "old.example.org"):
        directory.mkdir(parents=True)
    (old / "private/key.pem").write_bytes(held.key.read_bytes())
    (old / "private/old.example.org/key.pem").write_bytes(held.key.read_bytes())
    pem = held.authority.sign(held.request.read_bytes(), ["old.example.org"], held.now - 86400, held.now + 80 * 86400)
    (old / "old.example.org/cert.pem").write_bytes(pem + held.authority.cert.read_bytes())
    value = document(tlsup.ok("import", "--from", "uacme", str(old), "--plan", "--json"), "import", IMPORT, "IMPORT")
    assert value["plan"] and [c["old_name"] for c in value["certificates"]] == ["old.example.org"]


def test_no_document_without_a_result(tlsup):
    """An error is told on standard error alone: a program that reads nothing looks at the exit status."""
    result = tlsup("status", "no-such.example.org", "--json")
    assert result.status == 1 and result.out == "" and "no-such.example.org" in result.err


def test_hostile_bytes(tlsup, held):
    """What others wrote stays inside its text."""
    held.write_state("example.org", live={"version": 1, "step": "verified"}, failures=held.failure("a \x1b[31mred\nand \"quoted\" \\ text"))
    value = document(tlsup.ok("status", "example.org", "--json"), "status", STATUS, "STATUS")
    assert "\x1b" not in value["certificates"][0]["last_failure"]["error"]["text"]
    assert "\x1b" not in tlsup.ok("status", "example.org").out
