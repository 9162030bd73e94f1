"""What the person is told about what is held."""

import json
import os
import re
import shutil
import subprocess

import pytest

from harness import client, forged, pki
from harness.fakeca import Problem

DAY = 86400


def test_nothing_is_held(tlsup):
    result = tlsup.ok("status")
    assert re.search(r"no certificate", result.out, re.I) and "tlsup enable" in result.out, result
    assert tlsup.ok("status", "--json").json()["certificates"] == []


def test_status_changes_nothing(tmp_path):
    mine = client.Client(tmp_path / "c", tmp_path / "s")
    mine.ok("status")
    mine.ok("status", "--json")
    assert not (tmp_path / "c").exists() and not (tmp_path / "s").exists()


def test_table(tlsup, fake_ca, new_name):
    names = sorted(new_name() for _ in range(3))
    for each in names:
        tlsup.ok("issue", each, f"www.{each}", "--standalone", *fake_ca.arguments)
    out = tlsup.ok("status").out
    for each in names:
        assert each in out
    assert re.search(r"8[89] days|2\d\d\d-\d\d-\d\d", out), out
    assert "\x1b" not in out


def test_json(tlsup, fake_ca, nginx, name):
    nginx.site(name)
    nginx.start()
    tlsup.ok("enable", name, f"www.{name}", *fake_ca.arguments)
    text = tlsup.ok("status", "--json").out
    entry = json.loads(text)["certificates"][0]
    assert entry["name"] == name
    assert set(entry["names"]) == {name, f"www.{name}"}
    stamps = re.findall(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", json.dumps(entry))
    assert len(stamps) >= 2, "the dates of its validity, in RFC 3339"
    assert str(tlsup.sha256(name)) in text and "nginx" in text and fake_ca.url in text
    assert "PRIVATE KEY" not in text


def test_one_certificate(tlsup, fake_ca, new_name):
    names = new_name(), new_name()
    for each in names:
        tlsup.ok("issue", each, "--standalone", *fake_ca.arguments)
    out = tlsup.ok("status", names[0]).out
    assert names[0] in out and names[1] not in out
    result = tlsup("status", "unknown.test")
    assert result.status != 0 and "unknown.test" in result.err


def test_failure_is_shown(tlsup, fake_ca, name):
    fake_ca.lifetime_s, fake_ca.not_before_ago_s = 90 * DAY, 80 * DAY
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    fake_ca.misbehave("order", lambda *_: Problem(403, "rejectedIdentifier", "we do not like this name"))
    assert tlsup("renew").status == 3
    out = tlsup.ok("status").out
    assert "we do not like this name" in re.sub(r"\s+", " ", out), out


def test_while_another_run_holds_the_lock(tlsup, fake_ca, name):
    """Looking is always possible."""
    fake_ca.hold = True
    running = tlsup.start("issue", name, "--standalone", *fake_ca.arguments)
    fake_ca.wait_until_asked("challenge")
    found = subprocess.run(tlsup.argv(["status"]), capture_output=True, text=True, env=tlsup.env())
    assert found.returncode == 0, found.stderr
    fake_ca.release()
    assert tlsup.finish(running).status == 0


@pytest.mark.parametrize("damage", ["state", "conf", "cert"])
def test_damaged_files_are_named(tlsup, fake_ca, new_name, damage):
    """One broken file is told by its path, and hides nothing of the others."""
    one, two = new_name(), new_name()
    for each in (one, two):
        tlsup.ok("issue", each, "--standalone", *fake_ca.arguments)
    path = {"state": tlsup.state / "state" / f"{one}.json", "conf": tlsup.config / "certs.d" / f"{one}.conf",
            "cert": tlsup.live(one).resolve() / "fullchain.pem"}[damage]
    if damage == "cert":
        (path.parent / "cert.pem").write_text("garbage")
    path.write_text("{ broken")
    result = tlsup("status")
    assert str(path) in result.text or str(path.parent) in result.text or f"live/{one}" in result.text, result
    assert two in result.out, result


def test_readable_without_root(tlsup, fake_ca, name):
    """Certificates are public: anybody may look, and is told plainly what cannot be read."""
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    result = tlsup("status", prefix=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
    assert result.status == 0 and name in result.out or "ermission" in result.err, result


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_on_a_terminal(tlsup, fake_ca, name, columns):
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    status, seen = tlsup.on_terminal("status", columns=columns)
    plain = client.ANSI.sub("", seen)
    assert status == 0 and name in plain, seen
    table = plain.split("\r\n\r\n")[0]
    assert max(len(line) for line in table.splitlines()) <= columns, plain


def test_help_and_version(tlsup):
    version = tlsup.ok("--version").out
    assert re.match(r"tlsup \d+\.\d+", version)
    overall = tlsup.ok("--help").out
    for command in ("enable", "issue", "install", "renew", "status", "account", "delete"):
        assert command in overall
        text = subprocess.run([client.program(), command, "--help"], capture_output=True, text=True)
        assert text.returncode == 0 and command in text.stdout and text.stderr == "", (command, text)
        assert max(len(line) for line in text.stdout.splitlines()) <= 100, command


def test_closed_output(tlsup, fake_ca, name):
    """`tlsup status | head -0` ends without noise."""
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(tlsup.argv(["status"]), stdout=writer, stderr=subprocess.PIPE, env=tlsup.env())
    os.close(writer)
    assert done.returncode in (0, 1, -13, 141), done
    assert b"Sanitizer" not in done.stderr


def test_full_output(tlsup, fake_ca, name):
    """A result that could not be written is no success."""
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    with open("/dev/full", "w") as full:
        done = subprocess.run(tlsup.argv(["status", "--json"]), stdout=full, stderr=subprocess.PIPE, env=tlsup.env())
    assert done.returncode == 1, done


# -- every kind of certificate --


@pytest.fixture
def held(tlsup, tmp_path):
    store = forged.Forged(tlsup, tmp_path)
    forged.every_kind(store)
    return store


@pytest.mark.parametrize("columns", [40, 80, 140, 220])
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_every_kind_on_a_terminal(tlsup, held, columns, locale):
    """Problems first, each with its reason and the next step; nothing is wider than the screen."""
    status, seen = tlsup.on_terminal("status", columns=columns, env={"LC_ALL": locale})
    plain = client.ANSI.sub("", seen).replace("\r\n", "\n")
    words = re.sub(r"\s+", " ", plain)
    assert status == 0 and words.startswith("12 certificates: 8 need attention"), plain
    order = [plain.index(f"{mark} {each}.") for mark, each in
             zip("xxx!" if locale == "C" else "✗✗✗!", ("expired", "revoked", "broken", "failing"))]
    assert order == sorted(order), plain
    for told in ("connection refused", "open port 80: sudo tlsup check failing.example.org", "No space left on device",
                 "sudo tlsup install half.example.org", "without new.example.org", "ecdsa-p256", "letsencrypt"):
        assert told in words, told
    assert locale != "C" or plain.isascii()
    if columns >= 80:
        assert max(len(line) for line in plain.splitlines()) <= columns, plain
        assert ("#" if locale == "C" else "█") in plain and "░" not in plain[:plain.index("LIFE")]


def test_lines_for_other_programs(tlsup, held):
    """Piped: a line each, in fields that awk tells apart, and no colours but by force."""
    out = tlsup.ok("status").out
    rows = [line.split(None, 9) for line in out.splitlines()[:13]]
    assert rows[0] == "STATE CERTIFICATE DAYS EXPIRES RENEWAL KEY CA SERVED NAMES TROUBLE".split()
    by_name = {row[1]: row for row in rows[1:]}
    assert len(by_name) == 12 and all(len(row) == 10 for row in rows)
    assert by_name["example.org"][0] == "valid" and by_name["example.org"][7:10] == ["nginx:verified", "example.org,www.example.org,shop.example.org", "-"]
    assert by_name["mail.example.org"][7] == "stored,deployed:3/3"
    assert int(by_name["expired.example.org"][2]) < 0 and by_name["late.example.org"][4] == "overdue"
    assert "\x1b" not in out and "12 certificates: 8 need attention" in out
    assert "\x1b[31mexpired" in tlsup.ok("status", env={"CLICOLOR_FORCE": "1"}).out
    assert "\x1b" not in tlsup.ok("status", env={"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}).out


@pytest.mark.parametrize("setting", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"CLICOLOR": "0"}])
def test_without_colours(tlsup, held, setting):
    assert "\x1b" not in tlsup.on_terminal("status", env=setting)[1]


def test_one_at_length(tlsup, held):
    out = tlsup.ok("status", "hook.example.org").out
    for told in ("hook.example.org: failing", "/usr/local/sbin/copy-it: failed for version 2", "last done for version 1", "serial", "SHA-256",
                 "2, 20", "the live one", "fullchain.pem", "deploy-hook = /usr/local/sbin/copy-it", "letsencrypt", "mend the program"):
        assert told in out, (told, out)
    assert "example.org: valid" in tlsup.ok("status", "shop.example.org").out, "by a name that it holds"


def test_when_nothing_has_run_for_long(tlsup, held):
    held.run(began_ago_s=5 * DAY)
    assert "5 days ago" in tlsup.ok("status").out and "every hour" in tlsup.ok("status").out
    held.run(good=False)
    assert "something failed in it" in tlsup.ok("status").out
    (held.state / "run.json").write_text("{ broken")
    assert "12 certificates" in tlsup.ok("status").out, "what is only told besides does not hide the rest"


def test_a_fleet(tlsup, held):
    """A thousand: on a terminal what matters, piped all of them."""
    held.hold("many.example.org", install="nginx")
    held.copies("many.example.org", 1000)
    out = tlsup.ok("status").out
    assert "1013 certificates: 8 need attention" in out and out.count("\nvalid ") == 1004
    status, seen = tlsup.on_terminal("status", columns=120)
    assert status == 0 and "expired.example.org" in seen and "week.example.org" in seen
    assert "and 994 more, all well: tlsup status | less" in client.ANSI.sub("", seen) and len(seen.splitlines()) < 70


# -- for monitoring --

METRIC = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)$')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"(,|$)')


def labels_of(text):
    found = {}
    while text:
        match = LABEL.match(text)
        assert match and match[1] not in found, text
        found[match[1]] = match[2].replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\")
        text = text[match.end():]
    return found


def parse_openmetrics(text):
    """{name: [(labels, value)]}; strict where OpenMetrics and the older text format of Prometheus are."""
    assert text.endswith("\n# EOF\n") and text.count("# EOF") == 1 and "\n\n" not in text and "\r" not in text
    families, current, told = {}, None, set()
    for line in text.splitlines()[:-1]:
        if line.startswith("#"):
            _, what, name, rest = line.split(" ", 3)
            if what == "TYPE":
                assert name not in families and rest == "gauge", line
                families[name], current, told = [], name, {"TYPE"}
            else:
                assert name == current and not families[name] and what not in told and what in ("UNIT", "HELP"), line
                assert what != "UNIT" or name.endswith(f"_{rest}"), line
                assert what != "HELP" or rest.strip()
            told.add(what)
            continue
        match = METRIC.match(line)
        assert match and match[1] == current and "HELP" in told, line
        sample = labels_of(match[2] or ""), float(match[3])
        assert sample[0] not in [known for known, _ in families[current]], line
        families[current].append(sample)
    return families


def value_of(families, metric, /, **labels):
    found = [value for have, value in families[metric] if labels.items() <= have.items()]
    assert len(found) == 1, (metric, labels, families[metric])
    return found[0]


def test_metrics(tlsup, held):
    text = tlsup.ok("status", "--metrics").out
    families = parse_openmetrics(text)
    assert value_of(families, "tlsup_certificates") == 12 and value_of(families, "tlsup_timer_active") == 0
    assert value_of(families, "tlsup_certificate_not_after_seconds", name="example.org") == held.now + 60 * DAY
    assert value_of(families, "tlsup_certificate_names", name="example.org") == 3
    assert value_of(families, "tlsup_certificate_info", name="example.org", ca="letsencrypt", key_type="ecdsa-p256", web_server="nginx") == 1
    assert value_of(families, "tlsup_certificate_failures", name="failing.example.org") == 3
    assert value_of(families, "tlsup_certificate_deployments_failing", name="hook.example.org") == 1
    assert value_of(families, "tlsup_certificate_alarm", name="expired.example.org") == 3
    assert value_of(families, "tlsup_renew_ended_seconds") == held.now - 1500 + 20
    states = [have["state"] for have, value in families["tlsup_certificate_state"] if value == 1]
    assert len(states) == 12 and sorted(set(states)) == sorted(
        ["valid", "failing", "expired", "overdue", "unfinished", "revoked", "incomplete", "broken", "pending"])
    if shutil.which("promtool"):
        done = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_labels_are_escaped(tlsup, held):
    """Nothing that a CA writes into a certificate breaks the document."""
    authority = pki.Authority(held.key.parent / "odd", 'a "quoted\\\\" name')
    pem = authority.sign(held.request.read_bytes(), ["example.org"], held.now - DAY, held.now + DAY)
    (tlsup.live("example.org") / "cert.pem").write_bytes(pem)
    (tlsup.live("example.org") / "chain.pem").write_bytes(authority.cert.read_bytes())
    (tlsup.live("example.org") / "fullchain.pem").write_bytes(pem + authority.cert.read_bytes())
    families = parse_openmetrics(tlsup.ok("status", "--metrics").out)
    [issuer] = [have["issuer"] for have, _ in families["tlsup_certificate_info"] if have["name"] == "example.org"]
    assert issuer == 'a "quoted\\" name root'


def test_metrics_of_a_run(tlsup, fake_ca, name):
    """A file for node_exporter, written by each run of renew; what cannot be written is said, and the run goes on."""
    where = tlsup.state / "metrics" / "tlsup.prom"
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    (tlsup.config / "tlsup.conf").write_text(f"metrics-file = {where}\n")
    result = tlsup("renew")
    assert "metrics" in result.err and str(where.parent) in result.err, result
    where.parent.mkdir()
    tlsup.ok("renew")
    families = parse_openmetrics(where.read_text())
    assert value_of(families, "tlsup_certificates") == 1 and value_of(families, "tlsup_renew_began_seconds") > 0
    assert oct(where.stat().st_mode & 0o777) == "0o644" and [p.name for p in where.parent.iterdir()] == ["tlsup.prom"]
