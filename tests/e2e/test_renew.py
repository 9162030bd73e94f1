"""Renewal: what is due and only that, served and proven, without a person."""

import calendar
import os
import pathlib
import re
import stat
import time

import pytest

from harness import net, pki, snapshot
from harness.client import check_store
from harness.fakeca import Problem, Reply

DAY = 86400


@pytest.fixture
def old(tlsup, fake_ca, name):
    """A certificate of which two thirds and a bit of life are over, and a CA that now issues fresh ones."""
    fake_ca.lifetime_s, fake_ca.not_before_ago_s = 90 * DAY, 61 * DAY
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    fake_ca.not_before_ago_s = 3600
    fake_ca.log.clear()
    return name


def test_nothing_held(tlsup):
    result = tlsup.ok("renew")
    assert re.search(r"nothing|no certificate", result.text, re.I), result


def test_nothing_due(tlsup, fake_ca, name):
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    fake_ca.log.clear()
    held = tlsup.held()
    for words in ([], [name], ["-q"]):
        result = tlsup.ok("renew", *words)
        assert words != ["-q"] or result.text == ""
    assert not fake_ca.log, "no request when nothing is due"
    assert not snapshot.difference(held, tlsup.held())


def test_due(tlsup, fake_ca, old):
    first = tlsup.sha256(old)
    result = tlsup.ok("renew")
    assert old in result.text
    assert tlsup.version(old) == 2 and tlsup.sha256(old) != first
    check_store(tlsup, old, [old], fake_ca.roots)
    fake_ca.log.clear()
    tlsup.ok("renew")
    assert not fake_ca.log and tlsup.version(old) == 2


@pytest.mark.parametrize("days_over, due", [(59, False), (61, True), (89, True)])
def test_a_third_of_life_left(tlsup, fake_ca, name, days_over, due):
    fake_ca.lifetime_s, fake_ca.not_before_ago_s = 90 * DAY, days_over * DAY
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    tlsup.ok("renew")
    assert tlsup.version(name) == (2 if due else 1)


@pytest.mark.parametrize("days_over, due", [(2.5, False), (3.5, True)])
def test_short_lives_have_half_left(tlsup, fake_ca, name, days_over, due):
    """Six days are too few for a third: a failed try needs time for the next."""
    fake_ca.lifetime_s, fake_ca.not_before_ago_s = 6 * DAY, int(days_over * DAY)
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    tlsup.ok("renew")
    assert tlsup.version(name) == (2 if due else 1)


def test_expired(tlsup, fake_ca, name):
    """A machine that was off for long."""
    fake_ca.lifetime_s, fake_ca.not_before_ago_s = 3600 + 10, 3600
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    end_s = calendar.timegm(time.strptime(tlsup.status_of(name)["not_after"], "%Y-%m-%dT%H:%M:%SZ"))
    time.sleep(max(0, end_s + 1 - time.time()))
    assert re.search("expired", tlsup.ok("status").out, re.I)
    fake_ca.lifetime_s = 90 * DAY
    tlsup.ok("renew")
    assert tlsup.version(name) == 2


def test_settings_hold(tlsup, fake_ca, name):
    fake_ca.lifetime_s, fake_ca.not_before_ago_s = 90 * DAY, 61 * DAY
    tlsup.ok("issue", name, f"www.{name}", "--standalone", "--key-type", "ecdsa-p384", *fake_ca.arguments)
    fake_ca.not_before_ago_s = 3600
    tlsup.ok("renew")
    assert tlsup.version(name) == 2
    check_store(tlsup, name, [name, f"www.{name}"], fake_ca.roots, key="P-384")


def test_only_the_one_asked_for(tlsup, fake_ca, new_name):
    names = new_name(), new_name()
    for each in names:
        tlsup.ok("issue", each, "--standalone", *fake_ca.arguments)
    tlsup.ok("renew", names[0], "--force-renewal")
    assert [tlsup.version(n) for n in names] == [2, 1]


def test_unknown_certificate(tlsup, fake_ca, old):
    result = tlsup("renew", "nothing-of-that-name.test")
    assert result.status in (1, 2) and "nothing-of-that-name.test" in result.err, result
    assert tlsup.version(old) == 1


def test_served_after_renewal(tlsup, fake_ca, server, name):
    """The timer's run: renew, reload, prove. No edit, no missed request."""
    server.site(name)
    server.start()
    fake_ca.lifetime_s, fake_ca.not_before_ago_s = 90 * DAY, 61 * DAY
    tlsup.ok("enable", name, *fake_ca.arguments)
    old_leaf, configuration, master = net.leaf(name)[0], server.configuration(), server.master()
    fake_ca.not_before_ago_s = 3600
    with net.Visitor(name) as visitor:
        tlsup.ok("renew", "-q")
    assert visitor.visits and not visitor.failures, visitor.failures
    assert net.leaf(name)[0] == tlsup.sha256(name) != old_leaf
    assert not snapshot.difference(configuration, server.configuration())
    assert server.master() == master
    assert tlsup.status_of(name)["name"] == name


@pytest.mark.slow
@pytest.mark.every_pebble
def test_real_ca_with_short_lives(tlsup, make_pebble, name):
    ca = make_pebble(nonce_reject=5, validity_s=30)
    tlsup.ok("issue", name, "--standalone", *ca.arguments)
    due = tlsup.status_of(name)["renewal_due"]  # where the CA has renewal information, any instant of its window
    due_s = calendar.timegm(time.strptime(due, "%Y-%m-%dT%H:%M:%SZ"))
    if due_s - time.time() > 8:
        tlsup.ok("renew")
        assert tlsup.version(name) == 1
    time.sleep(max(0, min(due_s - time.time() + 1, 27)))
    tlsup.ok("renew")
    assert tlsup.version(name) == 2


@pytest.mark.parametrize("trouble", [Problem(503, "serverInternal", "down for maintenance"), Reply(500, "", "text/plain"),
                                     Problem(429, "rateLimited", "too many", headers={"Retry-After": "3600"})])
def test_failure_keeps_what_is_there_and_is_remembered(tlsup, fake_ca, old, trouble):
    held = tlsup.held()
    fake_ca.misbehave("order", lambda _ca, _request: trouble)
    result = tlsup("renew", timeout=300)
    assert result.status in (1, 3, 4) and old in result.err, result
    assert not snapshot.difference(held, tlsup.held())
    entry = tlsup.status_of(old)
    assert re.search(r"down for maintenance|500|too many", str(entry)), entry
    fake_ca.behave()
    tlsup.ok("renew", old, "--force-renewal")
    assert tlsup.version(old) == 2
    assert not re.search(r"down for maintenance|too many", str(tlsup.status_of(old))), "a success clears the failure"


def test_one_bad_certificate_does_not_stop_the_others(tlsup, fake_ca, new_name):
    good, bad = new_name(), new_name()
    fake_ca.lifetime_s, fake_ca.not_before_ago_s = 90 * DAY, 61 * DAY
    for each in (bad, good):
        tlsup.ok("issue", each, "--standalone", *fake_ca.arguments)
    fake_ca.not_before_ago_s = 3600

    def refuse(ca, request):
        if bad in str(request.payload):
            return Problem(400, "rejectedIdentifier", f"policy forbids {bad}")
        return None

    fake_ca.misbehave("order", refuse)
    result = tlsup("renew")
    assert result.status != 0 and bad in result.err
    assert tlsup.version(good) == 2 and tlsup.version(bad) == 1


def test_terms_are_not_asked_again(tlsup, fake_ca, old):
    """The timer has no person at hand: what was agreed to stays agreed to."""
    tlsup.ok("renew", "-q")
    assert tlsup.version(old) == 2
    assert not [r for r in fake_ca.requests("account") if r.path == "/new-account"]


def hook(tmp_path, body):
    path = tmp_path / "hook"
    path.write_text("#!/bin/sh\n" + body)
    path.chmod(0o755)
    return path


def set_hook(tlsup, name, path):
    conf = tlsup.config / "certs.d" / f"{name}.conf"
    conf.write_text(conf.read_text() + f"deploy-hook = {path}\n")


def test_deploy_hook(tlsup, fake_ca, old, tmp_path):
    set_hook(tlsup, old, hook(tmp_path, f'env > {tmp_path}/env; echo "$0 $#" > {tmp_path}/ran\n'))
    tlsup.ok("renew")
    assert (tmp_path / "ran").exists()
    environment = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines() if "=" in line)
    assert environment["RENEWED_LINEAGE"] == str(tlsup.live(old)) and environment["RENEWED_DOMAINS"] == old
    assert "TLSUP_BIN" not in environment and "ASAN_OPTIONS" not in environment


def test_failing_deploy_hook_is_told(tlsup, fake_ca, old, tmp_path):
    set_hook(tlsup, old, hook(tmp_path, 'echo "the mail server did not like it" >&2\nexit 3\n'))
    result = tlsup("renew")
    assert result.status != 0 and "the mail server did not like it" in result.err and str(tmp_path) in result.err, result
    assert tlsup.version(old) == 2, "the certificate itself is good"


def test_hook_that_others_could_write_is_refused(tlsup, fake_ca, old, tmp_path):
    path = hook(tmp_path, f"touch {tmp_path}/ran\n")
    set_hook(tlsup, old, path)
    conf = tlsup.config / "certs.d" / f"{old}.conf"
    os.chmod(conf, 0o666)
    result = tlsup("renew")
    assert result.status != 0 and str(conf) in result.err, result
    assert not (tmp_path / "ran").exists()


# -- who calls it ------------------------------------------------------------------------------------------

FAKE_SYSTEMCTL = """#!/bin/sh
echo "$*" >> /run/systemctl.log
case "$1" in
show) if [ -e /run/timer-on ]; then printf 'LoadState=loaded\\nUnitFileState=enabled\\nActiveState=active\\nNextElapseUSecRealtime=\\n'
      else printf 'LoadState=loaded\\nUnitFileState=disabled\\nActiveState=inactive\\nNextElapseUSecRealtime=\\n'; fi ;;
enable|start) touch /run/timer-on ;;
esac
exit 0
"""


@pytest.fixture
def no_service_manager():
    import shutil

    for path in (pathlib.Path("/run/systemctl.log"), pathlib.Path("/run/timer-on"), pathlib.Path("/usr/local/sbin/systemctl"),
                 pathlib.Path("/usr/local/sbin/cron")):
        path.unlink(missing_ok=True)
    yield
    shutil.rmtree("/run/systemd", ignore_errors=True)
    for path in ("/usr/local/sbin/systemctl", "/usr/local/sbin/cron"):
        pathlib.Path(path).unlink(missing_ok=True)
    for path in pathlib.Path("/etc/systemd/system").glob("tlsup*"):
        path.unlink()


def executable(path, text):
    path = pathlib.Path(path)
    path.write_text(text)
    path.chmod(0o755)


def test_timer_where_systemd_runs(tlsup, ca, name, no_service_manager):
    os.makedirs("/run/systemd/system")
    executable("/usr/local/sbin/systemctl", FAKE_SYSTEMCTL)
    result = tlsup.ok("issue", name, "--standalone", *ca.arguments, "--timer")
    assert "tlsup.timer" in result.text, result
    assert re.search(r"enable .*tlsup\.timer", pathlib.Path("/run/systemctl.log").read_text())
    assert not list(pathlib.Path("/etc/cron.d").iterdir()), "never two of them"


def test_cron_where_systemd_does_not_run(tlsup, ca, name, no_service_manager):
    executable("/usr/local/sbin/cron", "#!/bin/sh\nexit 0\n")
    result = tlsup.ok("issue", name, "--standalone", *ca.arguments, "--timer")
    path = pathlib.Path("/etc/cron.d/tlsup")
    assert path.exists() and str(path) in result.text, result
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    line = [l for l in path.read_text().splitlines() if "renew" in l and not l.startswith("#")][0]
    assert re.match(r"[1-9]\d? \* \* \* \* root ", line), line
    before = path.read_bytes()
    tlsup.ok("issue", name, "--standalone", *ca.arguments, "--timer")
    assert path.read_bytes() == before, "its moment stays"


def test_neither_is_there(tlsup, ca, name, no_service_manager):
    """The certificate is good; the person is told what to do for its renewal."""
    if os.path.exists("/usr/sbin/cron") or os.path.exists("/usr/sbin/crond"):
        pytest.skip("a cron daemon is installed on this machine")
    result = tlsup("issue", name, "--standalone", *ca.arguments, "--timer")
    assert tlsup.version(name) == 1
    assert re.search(r"\d+ \* \* \* \* .*tlsup renew -q", result.text), result
