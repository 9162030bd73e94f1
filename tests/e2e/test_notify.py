"""Who is told what, when, and how often; the heartbeat; the log."""

import email
import email.policy
import json
import os
import pathlib
import re
import shutil
import subprocess
import time

import pytest

from harness import client, machine, net, pki
from harness.fakeca import Problem
from harness.receivers import MailServer, Syslog, WebServer

DAY = 86400
OUTSIDE = "192.0.2.25"  # not loopback, though on the loopback interface
REFUSAL = Problem(500, "serverInternal", "the CA is being repaired")


@pytest.fixture
def configure(tlsup):
    """configure("key = value", …): tlsup.conf."""

    def write(*lines):
        tlsup.config.mkdir(parents=True, exist_ok=True)
        (tlsup.config / "tlsup.conf").write_text("".join(line + "\n" for line in lines))

    return write


@pytest.fixture
def receive():
    """receive(kind, …): a receiver that is closed at the end."""
    made = []

    def make(kind, **options):
        made.append(kind(**options))
        return made[-1]

    yield make
    for receiver in made:
        receiver.close()


@pytest.fixture
def syslog(receive):
    return receive(Syslog)


@pytest.fixture
def outside(authority):
    """A certificate for mail.test, an address that is not loopback, and trust in the tests' authority."""
    machine.run("ip", "address", "replace", f"{OUTSIDE}/32", "dev", "lo")
    with open("/etc/hosts", "a") as hosts:
        hosts.write(f"{OUTSIDE} mail.test other.test\n")
    digest = pki.openssl("x509", "-noout", "-hash", "-in", authority.cert).decode().strip()
    link = pathlib.Path(f"/etc/ssl/certs/{digest}.0")
    shutil.copyfile(authority.cert, link)
    yield authority.server("mail", ["mail.test"])
    link.unlink()
    machine.run("ip", "address", "del", f"{OUTSIDE}/32", "dev", "lo")


@pytest.fixture
def program(tmp_path):
    """program(name, text): an executable of root's in a directory of root's."""
    directory = pathlib.Path("/etc/tlsup/programs")
    directory.mkdir(parents=True, exist_ok=True)

    def make(name, text):
        path = directory / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def sendmail(program, tmp_path):
    """A sendmail that keeps what it is given."""
    kept = tmp_path / "mails"
    kept.mkdir()
    path = program("sendmail", f'#!/bin/sh\nn=$(ls {kept} | wc -l)\n{{ echo "$@"; cat; }} >{kept}/$n\n')

    def mails():
        texts = [p.read_text().split("\n", 1) for p in sorted(kept.iterdir(), key=lambda p: int(p.name))]
        return [(words, email.message_from_string(text, policy=email.policy.default)) for words, text in texts]

    mails.path = path
    return mails


def state_of(tlsup, name):
    return json.loads((tlsup.state / "state" / f"{name}.json").read_text())


def told(tlsup, name):
    return state_of(tlsup, name).get("told", {}).get("alarm", "none")


def run_state(tlsup, change=None):
    path = tlsup.state / "run.json"
    state = json.loads(path.read_text())
    if change:
        change(state)
        path.write_text(json.dumps(state))
    return state


@pytest.fixture
def due(tlsup, fake_ca, new_name):
    """due(n): certificates that are to be renewed; the CA issues fresh ones from now on."""

    def make(n=1, lifetime_s=90 * DAY, age_s=61 * DAY):
        names = [new_name() for _ in range(n)]
        fake_ca.lifetime_s, fake_ca.not_before_ago_s = lifetime_s, age_s
        for name in names:
            tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
        fake_ca.lifetime_s, fake_ca.not_before_ago_s = 90 * DAY, 3600
        return names

    return make


def refuse(fake_ca):
    fake_ca.misbehave("order", lambda *_: Problem(403, "unauthorized", "this account is suspended"))


def allow(fake_ca):
    fake_ca.misbehave("order", lambda *_: None)


# -- tlsup notify -------------------------------------------------------------------------------------------


def test_nothing_is_configured(tlsup, syslog):
    result = tlsup.ok("notify")
    assert "notify-mail" in result.out and "nobody is told" in result.out, result
    assert any("test notification" in line for line in syslog.lines())


def test_test_message_by_sendmail(tlsup, configure, sendmail, syslog):
    configure("notify-mail = admin@example.org root", "notify-from = tlsup@example.org", f"notify-sendmail = {sendmail.path}")
    result = tlsup.ok("notify")
    assert "Sent: mail to admin@example.org, root" in result.err, result
    words, mail = sendmail()[0]
    assert words.split() == ["-i", "-t", "-f", "tlsup@example.org"]
    assert mail["To"] == "admin@example.org, root" and mail["From"] == "tlsup <tlsup@example.org>"
    assert mail["Subject"] == "tlsup on e2e: a test notification"
    assert mail["Auto-Submitted"] == "auto-generated" and re.fullmatch(r"<\S+@e2e>", mail["Message-ID"])
    assert abs(mail["Date"].datetime.timestamp() - time.time()) < 100
    assert "This is a test" in mail.get_content()


def test_each_way_is_told_of(tlsup, configure, sendmail, program, receive, syslog, tmp_path):
    """The ways that work work, whatever becomes of the others; and the exit status tells."""
    web = receive(WebServer)
    web.answers = [(404, {}, "no such hook")]
    command = program("command", f"#!/bin/sh\ncat >{tmp_path}/text; env >{tmp_path}/env\n")
    configure("notify-mail = root", f"notify-sendmail = {sendmail.path}", f"notify-webhook = http://127.0.0.1:{web.port}/hook/SECRET",
              f"notify-command = {command}", f"heartbeat = http://localhost:{web.port}/beat")
    result = tlsup("notify")
    assert result.status == 1, result
    assert len(sendmail()) == 1 and "This is a test" in (tmp_path / "text").read_text()
    assert f"http://127.0.0.1:{web.port} answers 404: no such hook" in result.err and "SECRET" not in result, result
    environment = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert environment["TLSUP_EVENT"] == "test" and environment["TLSUP_HOST"] == "e2e"
    assert environment["TLSUP_CERTS"] == environment["TLSUP_FAILED"] == ""
    assert [r[1] for r in web.requests] == ["/hook/SECRET", "/beat"]
    assert any("test notification" in line for line in syslog.lines())


def test_without_a_system_log(tlsup, configure, sendmail):
    """In a container: no fault where somebody is told by mail, a fault where it was the only way."""
    assert tlsup("notify").status == 1
    configure("notify-mail = root", f"notify-sendmail = {sendmail.path}")
    assert "warning" in tlsup.ok("notify").err
    configure("notify-mail = root", f"notify-sendmail = {sendmail.path}", "notify-syslog = no")
    assert "warning" not in tlsup.ok("notify").err


@pytest.mark.parametrize("text, says", [("#!/bin/sh\necho no queue >&2\nexit 75\n", "exit status 75: no queue"),
                                        ("#!/bin/sh\nkill -9 $$\n", "signal 9"), (None, "cannot find the program"),
                                        ("#!/bin/sh\nexit 1\n", "exit status 1")])
def test_sendmail_fails(tlsup, configure, program, syslog, text, says):
    path = program("sendmail", text or "")
    if text is None:
        path.unlink()
    configure("notify-mail = root", f"notify-sendmail = {path}")
    result = tlsup("notify")
    assert result.status == 1 and says in result.err and str(path) in result.err, result


def test_a_program_that_does_not_read(tlsup, configure, program, syslog):
    configure(f"notify-command = {program('command', '#!/bin/sh' + chr(10) + 'exec <&-; exit 0' + chr(10))}")
    tlsup.ok("notify")


def test_programs_of_others_are_not_run(tlsup, configure, tmp_path, syslog):
    path = tmp_path / "command"
    path.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    path.chmod(0o777)
    configure(f"notify-command = {path}")
    result = tlsup("notify")
    assert result.status == 1 and not (tmp_path / "ran").exists(), result


# -- SMTP ---------------------------------------------------------------------------------------------------


def test_smtp_on_this_machine(tlsup, configure, receive, syslog):
    server = receive(MailServer)
    configure("notify-mail = a@example.org, b@example.org", f"notify-smtp = smtp://localhost:{server.port}")
    tlsup.ok("notify")
    assert [(m.sender, m.recipients) for m in server.mails] == [("<root@e2e>", ["<a@example.org>"]), ("<root@e2e>", ["<b@example.org>"])]
    assert b"\r\nTo: a@example.org,\r\n b@example.org\r\n" in server.mails[0].data
    assert not re.search(rb"[^\r]\n", server.mails[0].data)


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "smtps"])
def test_smtp_elsewhere(tlsup, configure, receive, outside, syslog, implicit):
    """By TLS, with a login, from a file that root alone reads."""
    server = receive(MailServer, address=OUTSIDE, certificate=outside, login="tlsup:s3cret:word", implicit=implicit)
    login = tlsup.config / "login"
    configure("notify-mail = a@example.org", f"notify-smtp = smtp{'s' * implicit}://mail.test:{server.port}", f"notify-smtp-login = {login}",
              "log = /var/log/tlsup.log", "log-level = debug")
    login.write_text("# ours\ntlsup:s3cret:word\n")
    login.chmod(0o600)
    result = tlsup.ok("notify", "--debug")
    assert [(m.tls, m.user) for m in server.mails] == [(True, "tlsup")]
    assert "s3cret" not in result and "s3cret" not in pathlib.Path("/var/log/tlsup.log").read_text()


def test_nothing_is_sent_in_the_clear(tlsup, configure, receive, outside, syslog):
    server = receive(MailServer, address=OUTSIDE)
    configure("notify-mail = a@example.org", f"notify-smtp = smtp://mail.test:{server.port}")
    result = tlsup("notify")
    assert result.status == 1 and "STARTTLS" in result.err, result
    assert not server.mails and not any(line.startswith(("MAIL", "AUTH")) for line in server.seen)


@pytest.mark.parametrize("host, implicit", [("other.test", False), ("other.test", True), (OUTSIDE, False)])
def test_another_ones_certificate(tlsup, configure, receive, outside, syslog, host, implicit):
    server = receive(MailServer, address=OUTSIDE, certificate=outside, implicit=implicit)
    configure("notify-mail = a@example.org", f"notify-smtp = smtp{'s' * implicit}://{host}:{server.port}")
    result = tlsup("notify")
    assert result.status == 1 and "certificate" in result.err and not server.mails, result


@pytest.mark.parametrize("mode, owner, text, says", [(0o644, 0, "a:b\n", "chmod 600"), (0o640, 0, "a:b\n", "chmod 600"), (0o600, 65534, "a:b\n", "chown"),
                                                     (0o600, 0, "no colon\n", "USER:PASSWORD"), (0o600, 0, "", "USER:PASSWORD"),
                                                     (0o600, 0, "a:b\0c\n", "NUL"), (0o600, 0, "a" * 20000, "larger"), (0o600, 0, None, "No such file")])
def test_login_file_that_will_not_do(tlsup, configure, receive, syslog, mode, owner, text, says):
    server = receive(MailServer)
    login = tlsup.config / "login"
    configure("notify-mail = a@example.org", f"notify-smtp = smtp://localhost:{server.port}", f"notify-smtp-login = {login}")
    if text is not None:
        login.write_text(text)
        login.chmod(mode)
        os.chown(login, owner, owner)
    result = tlsup("notify")
    assert result.status == 1 and says in result.err and str(login) in result.err, result
    assert not server.seen


@pytest.mark.parametrize("answers, says, tries", [
    ({"RCPT": "550 5.1.1 no such user"}, "550 5.1.1 no such user", 1),
    ({"RCPT": ["450 4.2.1 not now"]}, None, 2),
    ({"RCPT": "450 4.2.1 not now"}, "450 4.2.1 not now", 2),
    ({"MAIL": "553 5.7.1 not from there"}, "553 5.7.1", 1),
    ({".": "554 5.6.0 smells of spam"}, "554 5.6.0 smells of spam", 1),
    ({"greeting": "554 go away"}, "554 go away", 1),
    ({"greeting": b"SSH-2.0-OpenSSH_9.2\r\n"}, "it said: SSH-2.0-OpenSSH_9.2", 2),
    ({"greeting": b"\0\xff\xfe" * 3000}, "broke|no such server|timed out", 2),
    ({"greeting": b""}, "broke|no such server", 2),
    ({"DATA": b""}, "broke", 2),
], ids=["unknown", "greylisted", "busy", "sender", "spam", "unwanted", "ssh", "garbage", "eof", "cut"])
def test_mail_server_that_will_not(tlsup, configure, receive, syslog, answers, says, tries):
    server = receive(MailServer, answers=answers)
    configure("notify-mail = a@example.org", f"notify-smtp = smtp://localhost:{server.port}")
    result = tlsup("notify")
    assert result.status == (1 if says else 0) and re.search(says or "Sent", result.err), result
    assert bool(server.mails) == (says is None)


def test_wrong_password(tlsup, configure, receive, syslog):
    server = receive(MailServer, login="a:right")
    login = tlsup.config / "login"
    configure("notify-mail = a@example.org", f"notify-smtp = smtp://localhost:{server.port}", f"notify-smtp-login = {login}")
    login.write_text("a:wr0ngword\n")
    login.chmod(0o600)
    result = tlsup("notify")
    assert result.status == 1 and "refused" in result.err and "notify-smtp-login" in result.err and "wr0ngword" not in result, result
    assert len([line for line in server.seen if line.startswith("AUTH")]) == 1, "no second try: accounts are locked by that"


def test_one_recipient_is_refused(tlsup, configure, receive, syslog):
    server = receive(MailServer, answers={"RCPT": ["550 no such user"]})
    configure("notify-mail = gone@example.org here@example.org", f"notify-smtp = smtp://localhost:{server.port}")
    result = tlsup("notify")
    assert result.status == 1 and "gone@example.org" in result.err, result
    assert [m.recipients for m in server.mails] == [["<here@example.org>"]]


def test_a_mail_server_that_is_down_is_waited_for_once(tlsup, configure, syslog):
    configure(*[f"notify-mail = {' '.join(f'r{i}@example.org' for i in range(6))}", "notify-smtp = smtp://127.0.0.1:9"])
    result = tlsup("notify", "-v")
    assert result.status == 1 and "6 ways failed" in result.err and result.err.count("once more") == 1, result


# -- webhook ------------------------------------------------------------------------------------------------


def test_webhook(tlsup, configure, receive, outside, syslog):
    web = receive(WebServer, address=OUTSIDE, certificate=outside)
    headers = tlsup.config / "headers"
    configure(f"notify-webhook = https://mail.test:{web.port}/services/T0/B0/t0ken", f"notify-webhook-headers = {headers}",
              "log = /var/log/tlsup.log", "log-level = debug")
    headers.write_text("Authorization: Bearer abcdefgh\nX-Team: web\n")
    headers.chmod(0o600)
    result = tlsup.ok("notify", "--debug")
    method, path, got, body = web.requests[0]
    assert (method, path, got["Authorization"], got["X-Team"]) == ("POST", "/services/T0/B0/t0ken", "Bearer abcdefgh", "web")
    assert got["Content-Type"] == "application/json" and got["User-Agent"].startswith("tlsup/")
    document = json.loads(body)
    assert document["version"] == 1 and document["event"] == "test" and document["host"] == "e2e"
    assert document["certificates"] == [] and "test" in document["text"]
    for text in (result, pathlib.Path("/var/log/tlsup.log").read_text()):
        assert "t0ken" not in text and "abcdefgh" not in text


@pytest.mark.parametrize("answers, says, requests", [
    ([(500, {}, "oops\x1b[31m"), (500, {}, "oops\x1b[31m")], "answers 500: oops?", 2),
    ([(503, {}, "")], None, 2),
    ([(404, {}, "")], "answers 404", 1),
    ([(401, {}, "")], "notify-webhook-headers", 1),
    ([(302, {"Location": "http://127.0.0.1:9/"}, "")], "redirect", 1),
    ([(307, {"Location": "https://127.0.0.1:9/"}, "")], "redirect", 1),
    ([(None, {}, "")] * 2, "broke", 2),
    ([(200, {}, "x" * (2 << 20))], "larger", 1),
], ids=["500", "503-once", "404", "401", "to-http", "to-https", "cut", "endless"])
def test_webhook_that_will_not(tlsup, configure, receive, syslog, answers, says, requests):
    web = receive(WebServer)
    web.answers = list(answers)
    configure(f"notify-webhook = http://127.0.0.1:{web.port}/x")
    result = tlsup("notify")
    assert result.status == (1 if says else 0) and (not says or says in result.err) and "\x1b[31" not in result.err, result
    assert len(web.requests) == requests


def test_tokens_that_the_server_repeats(tlsup, configure, receive, syslog):
    """Alone, without the rest of the header and of the path that they came in."""
    web, headers = receive(WebServer), tlsup.config / "headers"
    web.answers = [(503, {}, "token abcdefg7 of t0ken-t0ken is not ready")] * 2 + [(404, {}, "no t0ken-t0ken")] * 2
    configure(f"notify-webhook = http://127.0.0.1:{web.port}/services/B0/t0ken-t0ken", f"notify-webhook-headers = {headers}",
              f"heartbeat = http://127.0.0.1:{web.port}/ping/t0ken-t0ken?x=abcdefg7", "log = /var/log/tlsup.log", "log-level = debug")
    headers.write_text("Authorization: Bearer abcdefg7\n")
    headers.chmod(0o600)
    result = tlsup("notify", "--debug")
    log = pathlib.Path("/var/log/tlsup.log").read_text()
    assert "answers 503" in result.err and "once more" in log and len(web.requests) == 3, result
    for text in (result.out, result.err, log):
        assert "t0ken" not in text and "abcdefg7" not in text, text


def test_webhook_with_a_bad_certificate(tlsup, configure, receive, outside, syslog):
    web = receive(WebServer, address=OUTSIDE, certificate=outside)
    configure(f"notify-webhook = https://other.test:{web.port}/x")
    result = tlsup("notify")
    assert result.status == 1 and "certificate" in result.err and not web.requests, result


def test_heartbeat_follows_no_redirect_to_http(tlsup, configure, receive, outside, syslog):
    plain = receive(WebServer)
    web = receive(WebServer, address=OUTSIDE, certificate=outside)
    configure(f"heartbeat = https://mail.test:{web.port}/beat")
    web.answers = [(302, {"Location": "/elsewhere"}, "")]
    tlsup.ok("notify")
    assert [r[1] for r in web.requests] == ["/beat", "/elsewhere"]
    web.answers = [(302, {"Location": f"http://127.0.0.1:{plain.port}/"}, "")]
    assert tlsup("notify").status == 1 and not plain.requests


def test_the_notifier_is_nobody(tlsup, configure, receive, syslog):
    """A user of its own, no capabilities, no files of ours."""
    server = receive(MailServer, answers={"greeting": "hang"})
    configure("notify-mail = a@example.org", f"notify-smtp = smtp://localhost:{server.port}")
    process = tlsup.start("notify")
    try:
        child = machine.until(lambda: [p for p in machine.children_of(process.pid) if machine.name_of(p) == "tlsup-notifier"], "no notifier")[0]
        machine.until(lambda: "tlsup-notifier" == machine.name_of(child) and uid_of(child) == str(machine.USERS["tlsup-notifier"]), "not its user")
        status = pathlib.Path(f"/proc/{child}/status").read_text()
        assert re.search(r"CapEff:\s0+\n", status) and re.search(r"NoNewPrivs:\s1\n", status)
        for entry in os.listdir(f"/proc/{child}/fd"):
            target = os.readlink(f"/proc/{child}/fd/{entry}")
            assert not target.startswith(("/etc/tlsup", "/var/lib/tlsup")), target
    finally:
        process.kill()
        process.communicate()
    machine.until(lambda: not client.Client.running(), "the notifier outlives the run")


def uid_of(pid):
    return re.search(r"Uid:\s(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1)


def test_the_notifier_dies(tlsup, configure, receive, syslog):
    """What it was at is lost; another one does the rest."""
    server, web = receive(MailServer, answers={"MAIL": "250-wait"}), receive(WebServer)
    configure("notify-mail = a@example.org", f"notify-smtp = smtp://localhost:{server.port}", f"notify-webhook = http://localhost:{web.port}/x")
    process = tlsup.start("notify")
    child = machine.until(lambda: [p for p in machine.children_of(process.pid) if machine.name_of(p) == "tlsup-notifier"], "no notifier")[0]
    machine.until(lambda: any("MAIL" in line for line in server.seen), "it sends nothing")
    os.kill(child, 9)
    result = tlsup.finish(process)
    assert result.status == 1 and "ended unexpectedly" in result.err and len(web.requests) == 1, result


# -- configuration ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line, says", [("notify-webhook = http://example.org/x", "https"), ("notify-webhook = ftp://example.org/x", "https"),
                                        ("heartbeat = http://192.0.2.1/", "https"), ("notify-smtp = mail.example.org", "smtp://"),
                                        ("notify-smtp = smtp://u:p@mail.example.org", "notify-smtp-login"), ("notify-command = ./x", "absolute"),
                                        ("notify-mail = -oQ/tmp", "address"), ("notify-mail = a@b, c d@", "address"), ("log-level = loud", "debug"),
                                        ("notify-on = maybe", "never"), ("log = tlsup.log", "absolute"), ("notify-syslog = maybe", "yes or no")])
def test_bad_values(tlsup, configure, line, says):
    configure("# comment", line)
    for words in (["notify"], ["renew"]):
        result = tlsup(*words)
        assert (result.status == 2 or words == ["renew"]) and says in result.err and "tlsup.conf:2" in result.err, result


# -- renew: each change of state once -----------------------------------------------------------------------


def test_failure_and_recovery_are_told_once(tlsup, fake_ca, configure, sendmail, due, syslog):
    [name] = due()
    configure("notify-mail = root", f"notify-sendmail = {sendmail.path}")
    refuse(fake_ca)
    assert tlsup("renew").status != 0
    [(_, mail)] = sendmail()
    text = re.sub(r"\s+", " ", mail.get_content())
    assert re.fullmatch(rf"tlsup on e2e: renewal of {name} failed \(valid until \d{{4}}-\d\d-\d\d\)", mail["Subject"])
    assert re.search(rf"^{name}: the renewal failed\. The certificate is good until .* UTC \(2[89] days more\)\. Why: .*this account is suspended", text), text
    assert "What to do:" in text and "tlsup tries again by itself with its first run after" in text
    assert told(tlsup, name) == "failing"
    assert len([l for l in syslog.lines() if name in l and "failed" in l]) == 1
    for _ in range(2):
        tlsup("renew", name)  # fails again
        tlsup("renew")        # waits
    assert len(sendmail()) == 1 and not [l for l in syslog.lines() if "told" not in l]
    allow(fake_ca)
    tlsup.ok("renew", name)
    tlsup.ok("renew")
    assert [m["Subject"] for _, m in sendmail()][1:] == [f"tlsup on e2e: {name} is well again"]
    assert told(tlsup, name) == "none"


def test_a_state_that_cannot_be_read_is_told_once(tlsup, fake_ca, configure, sendmail, due, syslog):
    [name] = due()
    configure("notify-mail = root", f"notify-sendmail = {sendmail.path}")
    path = tlsup.state / f"state/{name}.json"
    good = path.read_text()
    path.write_text("{ no state")
    for _ in range(3):
        assert tlsup("renew").status != 0
    assert len(sendmail()) == 1 and f"{name} failed" in sendmail()[0][1]["Subject"]
    path.write_text(good)
    tlsup.ok("renew")
    tlsup.ok("renew")
    assert [m["Subject"].split(": ")[1] for _, m in sendmail()][1:] == [f"reading the state of {name} is well again"]


def test_many_failures_are_one_message(tlsup, fake_ca, configure, receive, due, syslog):
    names = due(5)
    web = receive(WebServer)
    configure(f"notify-webhook = http://127.0.0.1:{web.port}/")
    refuse(fake_ca)
    assert tlsup("renew").status != 0
    assert len(web.requests) == 1
    document = json.loads(web.requests[0][3])
    assert document["event"] == "failure" and sorted(c["name"] for c in document["certificates"]) == sorted(names)
    for cert in document["certificates"]:
        assert (cert["alarm"], cert["before"], cert["names"]) == ("failing", "none", [cert["name"]])
        assert "suspended" in cert["error"]["text"] and cert["error"]["code"] and re.match(r"\d{4}-", cert["next_try"])
        assert re.match(r"\d{4}-\d\d-\d\dT.*Z$", cert["not_after"])
    assert "5 certificates need attention" in document["text"]


def test_it_becomes_urgent_and_expires(tlsup, fake_ca, configure, sendmail, due):
    """By time alone: while the next try is waited for."""
    configure("notify-mail = root", f"notify-sendmail = {sendmail.path}", "notify-syslog = no")
    names = due(1, lifetime_s=10 * DAY, age_s=int(9.5 * DAY)) + due(1, lifetime_s=3600 + 4, age_s=3600)
    end_s = time.time() + 5
    refuse(fake_ca)

    tlsup("renew")
    subjects = [m["Subject"] for _, m in sendmail()]
    assert subjects == ["tlsup on e2e: 2 certificates need attention"] and "urgent" in sendmail()[0][1].get_content()
    assert [told(tlsup, n) for n in names] == ["urgent", "urgent"]
    time.sleep(max(0, end_s - time.time()))
    for _ in range(2):
        tlsup("renew")
    assert [m["Subject"] for _, m in sendmail()][1:] == [f"tlsup on e2e: the certificate {names[1]} HAS EXPIRED (on {time.strftime('%Y-%m-%d', time.gmtime(end_s))})"]
    assert [told(tlsup, n) for n in names] == ["urgent", "expired"]


@pytest.mark.parametrize("wanted", ["failure", "all", "never"])
def test_renewals_that_went_well(tlsup, fake_ca, configure, sendmail, due, wanted):
    names = due(2)
    configure("notify-mail = root", f"notify-sendmail = {sendmail.path}", f"notify-on = {wanted}")
    tlsup.ok("renew")
    subjects = [m["Subject"] for _, m in sendmail()]
    assert subjects == (["tlsup on e2e: 2 certificates were renewed"] if wanted == "all" else [])
    if wanted == "never":
        refuse(fake_ca)
        assert tlsup("renew", "--force-renewal").status != 0 and not sendmail()
        assert told(tlsup, names[0]) == "none"


def test_what_reached_nobody_is_told_again(tlsup, fake_ca, configure, sendmail, program, due, syslog):
    """The system's log alone is no one who was told."""
    [name] = due()
    configure("notify-mail = root", f"notify-sendmail = {program('broken', '#!/bin/sh' + chr(10) + 'exit 75' + chr(10))}")
    refuse(fake_ca)
    result = tlsup("renew")
    assert "notification by mail to root failed" in result.err, result
    assert told(tlsup, name) == "none"
    configure("notify-mail = root", f"notify-sendmail = {sendmail.path}")
    tlsup("renew")  # it waits for its next try, and is told all the same
    tlsup("renew")
    assert [m["Subject"].split("(")[0] for _, m in sendmail()] == [f"tlsup on e2e: renewal of {name} failed "]


def test_one_way_of_two_fails(tlsup, fake_ca, configure, sendmail, receive, due, syslog):
    """The other counts, and tells of it: once."""
    [name] = due()
    web = receive(WebServer)
    web.answers = [(404, {}, "gone")] * 9
    configure("notify-mail = root", f"notify-sendmail = {sendmail.path}", f"notify-webhook = http://127.0.0.1:{web.port}/x")
    refuse(fake_ca)
    tlsup("renew")
    assert [m["Subject"].split("(")[0] for _, m in sendmail()] == [
        f"tlsup on e2e: renewal of {name} failed ", f"tlsup on e2e: notification by webhook http://127.0.0.1:{web.port} failed"]
    assert "answers 404" in sendmail()[1][1].get_content()
    allow(fake_ca)
    tlsup.ok("renew", name)
    assert [m["Subject"] for _, m in sendmail()][2:] == [f"tlsup on e2e: {name} is well again"], "the webhook's failure is known"
    web.answers = []
    refuse(fake_ca)
    tlsup("renew", "--force-renewal")
    assert run_state(tlsup)["told"] == [] if "told" in run_state(tlsup) else True
    assert len(sendmail()) == 4


def test_command_gets_the_names(tlsup, fake_ca, configure, program, due, tmp_path, syslog):
    good, bad = due(2)
    command = program("command", f"#!/bin/sh\ncat >{tmp_path}/text; env >{tmp_path}/env\n")
    configure(f"notify-command = {command}", "notify-on = all")
    fake_ca.misbehave("order", lambda ca, request: Problem(403, "unauthorized", "not you") if bad in str(request.payload) else None)
    tlsup("renew")
    environment = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert (environment["TLSUP_EVENT"], environment["TLSUP_FAILED"], environment["TLSUP_RENEWED"]) == ("failure", bad, good)
    assert set(environment["TLSUP_CERTS"].split()) == {good, bad} and bad in environment["TLSUP_SUBJECT"]
    text = (tmp_path / "text").read_text()
    assert text.index(bad) < text.index("Renewed:") < text.index(good)
    assert not {"LS_COLORS", "SHELL", "USER"} & environment.keys() and environment["HOME"] == "/"


def test_words_of_others_in_a_mail(tlsup, fake_ca, configure, sendmail, receive, due, syslog):
    """The CA's words are many, no ASCII, and would like to be headers."""
    [name] = due()
    smtp = receive(MailServer)
    configure("notify-mail = root", f"notify-smtp = smtp://localhost:{smtp.port}")
    hostile = "Bücher\r\nBcc: victim@example.org\r\n.\r\nMAIL FROM:<x>\n" + "x" * 1200
    fake_ca.misbehave("order", lambda *_: Problem(403, "unauthorized", hostile))
    tlsup("renew")
    [mail] = smtp.mails
    assert all(len(line) <= 998 for line in mail.data.split(b"\r\n")) and mail.data.isascii()
    parsed = email.message_from_bytes(mail.data, policy=email.policy.default)
    assert parsed["Bcc"] is None and "Bücher" in parsed.get_content()
    assert len(smtp.mails) == 1 and mail.recipients == ["<root>"]


# -- heartbeat ----------------------------------------------------------------------------------------------


def test_heartbeat(tlsup, fake_ca, configure, receive, due, syslog):
    [name] = due()
    web = receive(WebServer)
    configure(f"heartbeat = http://127.0.0.1:{web.port}/ping/uuid")
    refuse(fake_ca)
    tlsup("renew")
    assert not web.requests, "nothing is well"
    allow(fake_ca)
    tlsup.ok("renew", name)
    tlsup.ok("renew")
    assert [(r[0], r[1]) for r in web.requests] == [("GET", "/ping/uuid")], "once in ten minutes"
    before = run_state(tlsup)
    run_state(tlsup, lambda state: state.update({k: "2020-01-01T00:00:00Z" if isinstance(v, str) else 1 for k, v in before.items() if "heartbeat" in k}))
    tlsup.ok("renew")
    assert len(web.requests) == 2


def test_heartbeat_that_fails(tlsup, fake_ca, configure, sendmail, receive, name, syslog):
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    web = receive(WebServer)
    configure(f"heartbeat = http://127.0.0.1:{web.port}/ping", "notify-mail = root", f"notify-sendmail = {sendmail.path}")
    web.answers = [(404, {}, "")] * 2
    for _ in range(2):
        assert "heartbeat" in tlsup.ok("renew").err
    tlsup.ok("renew")
    assert [m["Subject"] for _, m in sendmail()] == ["tlsup on e2e: the heartbeat failed", "tlsup on e2e: the heartbeat is well again"]


# -- the log ------------------------------------------------------------------------------------------------

LOG = pathlib.Path("/var/log/tlsup.log")
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (error|warning|info|debug) [a-z-]+\[\d+\] .+")


def log_lines():
    lines = LOG.read_text().splitlines()
    assert all(LINE.fullmatch(line) for line in lines), lines
    return lines


def test_log(tlsup, fake_ca, configure, due, syslog):
    configure(f"log = {LOG}")
    [name] = due()
    refuse(fake_ca)
    tlsup("renew", "-q")
    lines = log_lines()
    assert oct(LOG.stat().st_mode & 0o777) == "0o640"
    for what in ("issue.*begins: tlsup issue " + name, "issue.*ends with exit status 0", "renew.*begins: tlsup renew -q", f"error renew.*{name}.*suspended.*->",
                 r"renew.*ends with exit status [1-9]"):
        assert any(re.search(what, line) for line in lines), what
    tlsup("status")
    assert log_lines() == lines, "reading is no event"
    LOG.rename("/var/log/tlsup.log.1")
    tlsup("renew")
    assert any("begins" in line for line in log_lines()), "rotated"


def test_log_of_every_exchange(tlsup, fake_ca, configure, name):
    """Child processes write to it, too; what is secret does not get there."""
    configure(f"log = {LOG}", "log-level = debug")
    result = tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    text = "\n".join(log_lines())
    assert "payload: {\"identifiers\"" in text and '"status": "valid"' in text and "-> POST" in text
    assert "signature" not in text and "PRIVATE KEY" not in text
    assert "payload" not in result


def test_credentials_are_not_logged(tlsup, fake_ca, configure, name):
    configure(f"log = {LOG}", "log-level = debug")
    hmac = "c2VjcmV0LWtleS1vZi1hbi1hY2NvdW50LTMyLWJ5dGVzLg"
    texts = [tlsup.ok("issue", name, "--standalone", *fake_ca.arguments, "--eab-kid", "kid-1", "--eab-hmac-key", hmac, "--debug").text,
             tlsup("renew", "nothing", "--proxy", "http://someone:pr0xyword@127.0.0.1:9", "--debug").text,
             LOG.read_text()]
    assert "begins: tlsup renew" in texts[2] and "someone" in texts[2]
    assert not any(secret in text for text in texts for secret in (hmac, "pr0xyword"))
    assert '"externalAccountBinding": "(not shown)"' in texts[0]


@pytest.mark.parametrize("kind, says", [("missing", "No such file"), ("directory", "directory"), ("link", "symbolic link"), ("foreign", "another user"),
                                        ("fifo", "regular|No such device"), ("read-only", "Read-only"), ("full", "No space")])
def test_log_that_cannot_be_written(tlsup, configure, kind, says, tmp_path, syslog):
    """A warning, once, and no failure."""
    path = tmp_path / "log"
    if kind == "missing":
        path = tmp_path / "nowhere/log"
    elif kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "foreign":
        path.touch()
        os.chown(path, 65534, 65534)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind in ("read-only", "full"):
        mount = tmp_path / "mount"
        mount.mkdir()
        machine.run("mount", "-t", "tmpfs", "-o", "size=4k" if kind == "full" else "ro", "tmpfs", mount)
        if kind == "full":
            (mount / "log").touch()
            with pytest.raises(OSError):
                (mount / "filler").write_bytes(b"x" * 8192)
        path = mount / "log"
    configure(f"log = {path}")
    try:
        result = tlsup.ok("renew")
        assert len(re.findall("warning: the log|warning: cannot open the log", result.err)) == 1 and re.search(says, result.err), result
    finally:
        if kind in ("read-only", "full"):
            machine.run("umount", mount)
    assert "tlsup" not in pathlib.Path("/etc/passwd").read_text().replace("tlsup-", "").replace(":tlsup:", "")


def test_log_to_syslog(tlsup, fake_ca, configure, syslog, name):
    configure("log = journal", "log-level = debug")
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    lines = syslog.lines()
    assert any(re.match(r"<30>\w{3} [ \d]\d \d\d:\d\d:\d\d tlsup\[\d+\]: issue: begins", line) for line in lines), lines[:3]
    assert any("-> POST" in line for line in lines), "the courier's"


def test_keys_in_the_output_of_hooks(tlsup, fake_ca, configure, program, due, sendmail, syslog):
    [name] = due()
    hook = program("hook", '#!/bin/sh\ncat "$RENEWED_LINEAGE/privkey.pem"\nexit 1\n')
    configure(f"log = {LOG}", "log-level = debug", f"deploy-hook = {hook}", "notify-mail = root", f"notify-sendmail = {sendmail.path}")
    result = tlsup("renew", "-v")
    secret = tlsup.file(name, "privkey").read_text().splitlines()[1]
    assert result.status != 0 and "PRIVATE KEY" in result.text, result
    for text in (result.text, LOG.read_text(), *[m.get_content() for _, m in sendmail()], *syslog.lines()):
        assert secret not in text
    assert sendmail()


def test_verbose_is_plain_words(tlsup, fake_ca, name):
    result = tlsup.ok("issue", name, "--standalone", *fake_ca.arguments, "-v")
    for words in (f"{name}: ordering", f"{name}: the CA wants proof", "by http-01", f"{name}: the certificate is here"):
        assert words in result.err, words
    assert "payload" not in result.err
    debug = tlsup.ok("issue", name, "--standalone", *fake_ca.arguments, "--force-renewal", "--debug")
    assert 'payload: {"identifiers"' in debug.err and "Replay-Nonce: " in debug.err
