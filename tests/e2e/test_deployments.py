"""What follows a new certificate: hooks, standing copies, looks. What fails is told, kept in mind and done by a later run, alone."""

import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import ssl
import stat
import threading
import time

import pytest

from harness import machine, net, pki, receivers
from harness.fakeca import Problem
from harness.receivers import Syslog

DAY = 86400


class Trace:
    """What hooks write down when they run: their name, and their environment."""

    def __init__(self, directory):
        self.directory = directory
        self.log = directory / "trace"

    def hook(self, name, body="", directory=None, mode=0o755):
        path = (directory or self.directory) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/sh\necho {name} >> {self.log}\nenv | sort > {self.directory}/env.{name}\n{body}\n')
        path.chmod(mode)
        return path

    @property
    def ran(self):
        return self.log.read_text().split() if self.log.exists() else []

    def forget(self):
        self.log.unlink(missing_ok=True)

    def env(self, name):
        text = (self.directory / f"env.{name}").read_text()
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "hooks"
    path.mkdir()
    path.chmod(0o755)
    for parent in path.parents:
        if str(parent).startswith("/run/e2e/"):
            parent.chmod(0o755)
    return Trace(path)


@pytest.fixture
def old(tlsup, fake_ca, name):
    """A certificate that is due, and a CA that now issues fresh ones."""
    fake_ca.lifetime_s, fake_ca.not_before_ago_s = 90 * DAY, 61 * DAY
    fake_ca.preauthorized = True
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    fake_ca.not_before_ago_s = 3600
    fake_ca.log.clear()
    return name


def configure(tlsup, name, *lines):
    path = tlsup.config / "certs.d" / f"{name}.conf"
    path.write_text(path.read_text() + "".join(f"{line}\n" for line in lines))


def directory(tlsup, when):
    path = tlsup.config / "hooks" / when
    path.mkdir(parents=True, exist_ok=True)
    return path


def state_of(tlsup, name):
    return json.loads((tlsup.state / "state" / f"{name}.json").read_text())


def deployments_of(tlsup, name):
    return {pathlib.PurePath(one["what"].split()[1] if " " in one["what"] else one["what"]).name: one
            for one in state_of(tlsup, name).get("deployments", [])}


def run_state(tlsup):
    return json.loads((tlsup.state / "run.json").read_text())


def let_time_pass(tlsup, name):
    """All pauses are over."""
    for path in (tlsup.state / "state" / f"{name}.json", tlsup.state / "run.json"):
        if path.exists():
            path.write_text(re.sub(r'("next_try_s": )\d+', r"\g<1>1", path.read_text()))


def orders(fake_ca):
    return len([r for r in fake_ca.requests("order") if r.path == "/new-order"])


# -- what runs, in which order, and what it is told ---------------------------------------------------------


def test_everything_in_its_order(tlsup, fake_ca, old, trace, tmp_path):
    for when in ("pre", "deploy", "post"):
        for number in ("2", "10"):
            trace.hook(f"{when}-{number}", directory=directory(tlsup, when))
        configure(tlsup, old, f"{when}-hook = {trace.hook(f'{when}-b')}", f"{when}-hook = {trace.hook(f'{when}-a')}")
    copy = tmp_path / "copy.pem"
    trace.hook("deploy-a", f"test -s {copy} || exit 9")
    configure(tlsup, old, f"export = combined {copy} mode=0640")
    tlsup.ok("renew")
    assert trace.ran == ["pre-10", "pre-2", "pre-b", "pre-a", "deploy-10", "deploy-2", "deploy-b", "deploy-a",
                         "post-10", "post-2", "post-b", "post-a"]
    assert copy.read_bytes() == tlsup.file(old, "privkey").read_bytes() + tlsup.file(old, "fullchain").read_bytes()
    assert all(one["version"] == one["wanted"] == 2 for one in deployments_of(tlsup, old).values())
    trace.forget()
    tlsup.ok("renew")
    assert trace.ran == [], "nothing is due, nothing runs"


def test_what_they_are_told(tlsup, fake_ca, old, trace):
    configure(tlsup, old, *(f"{when}-hook = {trace.hook(when)}" for when in ("pre", "deploy", "post")))
    tlsup.ok("renew")
    live = str(tlsup.live(old))
    deploy = trace.env("deploy")
    wanted = {"TLSUP_HOOK": "deploy", "RENEWED_LINEAGE": live, "RENEWED_DOMAINS": old, "TLSUP_CERT": old, "TLSUP_NAMES": old, "TLSUP_VERSION": "2",
              "TLSUP_LIVE": live, "TLSUP_PRIVKEY": f"{live}/privkey.pem", "TLSUP_CERTFILE": f"{live}/cert.pem", "TLSUP_CHAIN": f"{live}/chain.pem",
              "TLSUP_FULLCHAIN": f"{live}/fullchain.pem", "TLSUP_NOT_AFTER": tlsup.status_of(old)["not_after"], "TLSUP_CA": fake_ca.url,
              "CERT_PATH": f"{live}/cert.pem", "CERT_KEY_PATH": f"{live}/privkey.pem", "CA_CERT_PATH": f"{live}/chain.pem",
              "CERT_FULLCHAIN_PATH": f"{live}/fullchain.pem", "Le_Domain": old}
    assert {k: deploy.get(k) for k in wanted} == wanted
    assert set(deploy) - set(wanted) <= {"PATH", "LANG", "HOME", "PWD", "SHLVL", "_", "OLDPWD"}, "a clean environment"
    assert trace.env("pre")["TLSUP_HOOK"] == "pre" and "RENEWED_LINEAGE" not in trace.env("pre")
    post = trace.env("post")
    assert (post["TLSUP_HOOK"], post["RENEWED_DOMAINS"], post["FAILED_DOMAINS"], post["TLSUP_RENEWED"], post["TLSUP_FAILED"]) == \
        ("post", old, "", old, "")


def test_each_program_once_for_many_certificates(tlsup, fake_ca, new_name, trace):
    names = [new_name(), new_name()]
    fake_ca.lifetime_s, fake_ca.not_before_ago_s, fake_ca.preauthorized = 90 * DAY, 61 * DAY, True
    words = [w for when in ("pre", "deploy", "post") for w in (f"--{when}-hook", str(trace.hook(when)))]
    for each in names:
        tlsup.ok("issue", each, "--standalone", *words, *fake_ca.arguments)
    assert trace.ran == ["pre", "deploy", "post"] * 2, "issue runs them as well"
    trace.forget()
    fake_ca.not_before_ago_s = 3600
    tlsup.ok("renew")
    assert trace.ran == ["pre", "deploy", "deploy", "post"]
    assert set(trace.env("post")["RENEWED_DOMAINS"].split()) == set(names)


def test_what_does_not_run(tlsup, fake_ca, old, trace):
    where = directory(tlsup, "deploy")
    trace.hook("good", directory=where)
    for leftover in ("good~", ".hidden", "good.bak", "good.dpkg-old", "good.rpmsave", ".good.swp"):
        trace.hook(leftover, directory=where)
    trace.hook("not-executable", directory=where, mode=0o644)
    (where / "a-directory").mkdir()
    result = tlsup.ok("renew")
    assert trace.ran == ["good"]
    assert "not-executable" in result.err and "chmod +x" in result.err, result


def test_output_is_shown_with_v_and_input_is_empty(tlsup, fake_ca, old, trace):
    configure(tlsup, old, f"deploy-hook = {trace.hook('talks', 'cat; echo the mail server was reloaded')}")
    result = tlsup.ok("renew", "-v")
    assert "the mail server was reloaded" in result.err, result


# -- as whom ------------------------------------------------------------------------------------------------


def test_as_another_user(tlsup, fake_ca, old, trace):
    trace.directory.chmod(0o777)
    path = trace.hook("deploy", f"id -un > {trace.directory}/who; id -G > {trace.directory}/groups")
    configure(tlsup, old, f"deploy-hook = {path}", "hook-user = www-data")
    trace.directory.chmod(0o755)
    who = pwd.getpwnam("www-data")
    os.chown(trace.directory, who.pw_uid, who.pw_gid)  # his own program may be his to write
    tlsup.ok("renew", prefix=["setpriv", "--groups=0,4"])
    assert (trace.directory / "who").read_text().strip() == "www-data"
    assert (trace.directory / "groups").read_text().split() == [str(who.pw_gid)], "none of root's groups"
    env = trace.env("deploy")
    assert (env["HOME"], env["USER"], env["LOGNAME"]) == (who.pw_dir, "www-data", "www-data")


def test_user_that_does_not_exist(tlsup, fake_ca, old, trace):
    configure(tlsup, old, f"deploy-hook = {trace.hook('deploy')}", "hook-user = no-such-user")
    result = tlsup("renew")
    assert result.status != 0 and "there is no user no-such-user" in result.err, result
    assert tlsup.version(old) == 2 and trace.ran == []


def test_a_hook_has_no_terminal(tlsup, fake_ca, old, trace):
    """Whoever it runs as could type into that of root."""
    configure(tlsup, old, f"deploy-hook = {trace.hook('deploy', f'(: </dev/tty) 2>&1 && echo open > {trace.directory}/tty; exit 0')}")
    status, seen = tlsup.on_terminal("renew", prefix=["setsid", "--ctty", "--wait"])
    assert status == 0 and trace.ran == ["deploy"], seen
    assert not (trace.directory / "tty").exists()


@pytest.mark.parametrize("trouble", ["directory", "file", "owner"])
def test_what_others_could_change_is_refused_until_it_is_mended(tlsup, fake_ca, old, trace, trouble):
    where = directory(tlsup, "deploy")
    path = trace.hook("deploy", directory=where)
    if trouble == "owner":
        os.chown(path, 33, 33)
    else:
        os.chmod(where if trouble == "directory" else path, 0o777)
    result = tlsup("renew")
    assert result.status != 0 and str(where) in result.err and re.search("others may|somebody else", result.err), result
    assert tlsup.version(old) == 2 and trace.ran == []
    os.chown(path, 0, 0)
    os.chmod(where, 0o755)
    os.chmod(path, 0o755)
    asked = len(fake_ca.log)
    tlsup.ok("renew", old)
    assert trace.ran == ["deploy"] and len(fake_ca.log) == asked
    assert [one["what"] for one in state_of(tlsup, old)["deployments"]] == [str(path)]


def test_directory_that_cannot_be_trusted_for_a_while(tlsup, fake_ca, old, trace):
    """What has been run for this version is not run again when it can."""
    where = directory(tlsup, "deploy")
    trace.hook("a", directory=where)
    trace.hook("b", fails_times(trace, 1), directory=where)
    tlsup("renew")
    assert trace.ran == ["a", "b"]
    where.chmod(0o775)
    assert tlsup("renew", old).status != 0 and tlsup("renew", old).status != 0 and trace.ran == ["a", "b"]
    where.chmod(0o755)
    tlsup.ok("renew", old)
    assert trace.ran == ["a", "b", "b"]


def test_a_directory_is_no_hook(tlsup, fake_ca, old, trace):
    configure(tlsup, old, f"deploy-hook = {trace.directory}")
    result = tlsup("renew")
    assert result.status != 0 and "not an executable file" in result.err, result


# -- failures -----------------------------------------------------------------------------------------------


def fails_times(trace, times):
    count = trace.directory / "count"
    return f'echo x >> {count}\nif [ "$(wc -l < {count})" -le {times} ]; then echo "the service said no"; exit 3; fi'


def test_hook_that_fails_twice_is_tried_again_alone(tlsup, fake_ca, old, trace):
    configure(tlsup, old, f"deploy-hook = {trace.hook('first')}", f"deploy-hook = {trace.hook('second', fails_times(trace, 2))}",
              f"deploy-hook = {trace.hook('third')}")
    result = tlsup("renew")
    assert result.status != 0 and re.search("second failed with status 3:.*the service said no", result.err), result
    assert trace.ran == ["first", "second", "third"], "the others run all the same"
    assert tlsup.version(old) == 2 and orders(fake_ca) == 1
    trace.forget()
    quiet = tlsup("renew", "-q")
    assert quiet.status != 0 and trace.ran == [] and quiet.text == "", "its pause is not over: a failure still, but no news"
    assert "the service said no" in tlsup("renew").err
    one = deployments_of(tlsup, old)["second"]
    assert one["failures"]["count"] == 1 and 55 < one["failures"]["next_try_s"] - time.time() < 70
    let_time_pass(tlsup, old)
    assert tlsup("renew", "-q").status != 0
    one = deployments_of(tlsup, old)["second"]
    assert one["failures"]["count"] == 2 and 590 < one["failures"]["next_try_s"] - time.time() < 670
    tlsup.ok("renew", old)  # by hand: at once
    assert trace.ran == ["second", "second"]
    assert orders(fake_ca) == 1, "no second order"
    assert deployments_of(tlsup, old)["second"] == {**one, "version": 2, "failures": None, "done_s": deployments_of(tlsup, old)["second"]["done_s"]} \
        or "failures" not in deployments_of(tlsup, old)["second"]
    trace.forget()
    tlsup.ok("renew", "-q")
    assert trace.ran == []


def test_output_is_for_root_alone(tlsup, fake_ca, old, trace):
    """What a hook prints may be a secret; that it failed is for every user to see."""
    configure(tlsup, old, f"deploy-hook = {trace.hook('loud', 'echo t0ken=7; exit 3')}")
    assert tlsup("renew").status != 0
    for words in (["status"], ["status", "--json"]):
        seen = tlsup.finish(tlsup.start(*words, user=65534, group=65534, extra_groups=[]))
        assert seen.status == 0 and "loud failed with status 3" in seen.out and "t0ken" not in seen.text, seen
        assert "t0ken=7" in tlsup.ok(*words).out
    assert "t0ken" not in (tlsup.state / "state" / f"{old}.json").read_text()
    tlsup.ok("reconfigure", old, "--cert-name", old, "--deploy-hook", trace.hook("quiet"))
    assert [p.name for p in (tlsup.state / "state").iterdir()] == [f"{old}.json"], "it is gone when it is over"


def test_each_has_a_pause_of_its_own(tlsup, fake_ca, old, trace):
    configure(tlsup, old, *(f"deploy-hook = {trace.hook(n, 'exit 1')}" for n in ("one", "two")))
    tlsup("renew")
    path = tlsup.state / "state" / f"{old}.json"
    state = state_of(tlsup, old)
    state["deployments"][1]["failures"]["next_try_s"] = 1
    path.write_text(json.dumps(state))
    assert tlsup("renew").status != 0
    assert trace.ran == ["one", "two", "two"]


def test_hook_that_never_ends(tlsup, fake_ca, old, trace):
    pid = trace.directory / "pid"
    configure(tlsup, old, f"deploy-hook = {trace.hook('sleeps', f'sleep 1000 & echo $! > {pid}; wait')}", "deploy-timeout = 1")
    result = tlsup("renew", timeout=30)
    assert result.status != 0 and "did not end within 1 seconds" in result.err, result
    machine.until(lambda: not os.path.exists(f"/proc/{pid.read_text().strip()}") or
                  " Z " in open(f"/proc/{pid.read_text().strip()}/stat").read(), "its child lives on")


def test_hook_killed_by_a_signal(tlsup, fake_ca, old, trace):
    configure(tlsup, old, f"deploy-hook = {trace.hook('dies', 'kill -SEGV $$')}")
    result = tlsup("renew")
    assert result.status != 0 and "signal 11" in result.err, result


def test_hook_that_ends_with_255(tlsup, fake_ca, old, trace):
    configure(tlsup, old, f"deploy-hook = {trace.hook('deploy', 'exit 255')}")
    result = tlsup("renew")
    assert result.status != 0 and "failed with status 255" in result.err, result


def test_hostile_output(tlsup, fake_ca, old, trace):
    body = "head -c 300000 /dev/zero; printf '\\033]0;gotcha\\007\\033[2J last words \\377\\n'; exit 1"
    configure(tlsup, old, f"deploy-hook = {trace.hook('loud', body)}")
    result = tlsup("renew")
    assert result.status != 0 and "\033" not in result.text and "\007" not in result.text, result
    assert "last words" in result.err or len(result.text) < 70000, "what is told is bounded"
    tlsup("renew", "--json")
    assert state_of(tlsup, old)["deployments"]


def test_issue_tells_and_renew_completes(tlsup, fake_ca, name, trace):
    """The certificate is in place, its configuration is there; the rest is renew's."""
    fake_ca.preauthorized = True
    path = trace.hook("deploy", fails_times(trace, 1))
    result = tlsup("issue", name, "--standalone", "--deploy-hook", path, *fake_ca.arguments)
    assert result.status != 0 and "the service said no" in result.err and f"tlsup renew {name}" in result.err, result
    assert tlsup.version(name) == 1 and (tlsup.config / "certs.d" / f"{name}.conf").exists()
    let_time_pass(tlsup, name)
    result = tlsup.ok("renew")
    assert "deployed everywhere" in result.text and trace.ran == ["deploy", "deploy"] and orders(fake_ca) == 1


def test_issue_runs_what_was_added(tlsup, fake_ca, name, trace):
    fake_ca.preauthorized = True
    tlsup.ok("issue", name, "--standalone", "--deploy-hook", trace.hook("one"), *fake_ca.arguments)
    tlsup.ok("issue", name, "--standalone", "--deploy-hook", trace.directory / "one", "--deploy-hook", trace.hook("two"), *fake_ca.arguments)
    assert trace.ran == ["one", "two"] and orders(fake_ca) == 1


def test_hook_that_is_gone_from_the_configuration(tlsup, fake_ca, old, trace):
    configure(tlsup, old, f"deploy-hook = {trace.hook('deploy', 'exit 1')}")
    tlsup("renew")
    conf = tlsup.config / "certs.d" / f"{old}.conf"
    conf.write_text(re.sub("deploy-hook.*\n", "", conf.read_text()))
    tlsup.ok("renew", old)
    assert trace.ran == ["deploy"], "nobody wants it any more"


# -- interrupted --------------------------------------------------------------------------------------------


def test_killed_between_the_switch_and_the_hooks(tlsup, fake_ca, old, trace):
    """The first hook ends the run itself: whatever was to follow is done by the next one, without another order."""
    once = trace.directory / "killed"
    configure(tlsup, old, f"deploy-hook = {trace.hook('kills', f'test -e {once} || {{ touch {once}; kill -9 $PPID; }}')}",
              f"deploy-hook = {trace.hook('after')}")
    assert tlsup("renew").status == -9
    assert tlsup.version(old) == 2 and trace.ran == ["kills"]
    tlsup.ok("renew")
    assert trace.ran == ["kills", "kills", "after"] and orders(fake_ca) == 1
    tlsup.ok("renew")
    assert len(trace.ran) == 3


def test_killed_by_a_pre_hook_the_post_hooks_still_run(tlsup, fake_ca, old, trace):
    """What a pre hook has stopped is started again, though nobody names the hooks any more."""
    conf = tlsup.config / "certs.d" / f"{old}.conf"
    without = conf.read_text()
    configure(tlsup, old, f"pre-hook = {trace.hook('pre', 'kill -9 $PPID')}", f"post-hook = {trace.hook('post')}")
    assert tlsup("renew").status == -9
    assert trace.ran == ["pre"] and orders(fake_ca) == 0
    conf.write_text(without)
    tlsup.ok("renew")
    assert trace.ran == ["pre", "post"] and trace.env("post")["FAILED_DOMAINS"] == old
    assert "hooks" not in run_state(tlsup)


def test_hook_of_a_certificate_that_waits_for_its_renewal(tlsup, fake_ca, old, trace):
    """Due again, refused, and not to be ordered before its pause is over: the hook that is left runs, and no longer counts."""
    configure(tlsup, old, f"deploy-hook = {trace.hook('deploy', fails_times(trace, 1))}")
    fake_ca.not_before_ago_s = 61 * DAY
    assert tlsup("renew").status != 0
    fake_ca.misbehave("order", lambda _ca, _r: Problem(403, "unauthorized", "not now"))
    assert tlsup("renew").status != 0
    path, state = tlsup.state / "state" / f"{old}.json", state_of(tlsup, old)
    state["failures"]["next_try_s"], state["deployments"][0]["failures"]["next_try_s"] = int(time.time()) + 5000, 1
    path.write_text(json.dumps(state))
    result = tlsup("renew")
    assert trace.ran == ["deploy", "deploy"] and "not in place everywhere" not in result.err, result


# -- a clock that was ahead ---------------------------------------------------------------------------------


def was_ahead(tlsup, name):
    """All that was noted was noted years from now."""
    far = int(time.time()) + 3000 * DAY
    for path in (tlsup.state / "state" / f"{name}.json", tlsup.state / "run.json"):
        if path.exists():
            path.write_text(re.sub(r'("(?:next_try_s|last_s|failed_s|next_check_s|try_s|verified_s)": )\d+', rf"\g<1>{far}", path.read_text()))


def test_clock_was_ahead_when_an_order_failed(tlsup, fake_ca, old):
    times = []
    fake_ca.misbehave("order", lambda _ca, _r: Problem(403, "unauthorized", "not now") if not times and not times.append(1) else None)
    assert tlsup("renew").status != 0 and tlsup.version(old) == 1
    was_ahead(tlsup, old)
    tlsup.ok("renew")
    assert tlsup.version(old) == 2


@pytest.mark.parametrize("when", ["deploy", "post"])
def test_clock_was_ahead_when_a_hook_failed(tlsup, fake_ca, old, trace, when):
    configure(tlsup, old, f"{when}-hook = {trace.hook(when, fails_times(trace, 1))}")
    assert tlsup("renew").status != 0
    was_ahead(tlsup, old)
    tlsup.ok("renew")
    assert trace.ran == [when, when]


# -- what is about no certificate, told all the same --------------------------------------------------------


@pytest.fixture
def told(tlsup, tmp_path):
    """told(): what arrived so far."""
    program, log = pathlib.Path("/etc/tlsup/programs/tell"), tmp_path / "told"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!/bin/sh\nhead -n 1 >> {log}\n")
    program.chmod(0o755)
    (tlsup.config / "tlsup.conf").write_text(f"notify-command = {program}\n")
    return lambda: log.read_text().splitlines() if log.exists() else []


def test_damaged_state_is_told_once(tlsup, fake_ca, old, told):
    path = tlsup.state / "state" / f"{old}.json"
    kept = path.read_text()
    path.write_text("")
    for _ in range(3):
        assert tlsup("renew").status == 2
    assert len(told()) == 1
    path.write_text(kept)
    tlsup.ok("renew")
    tlsup.ok("renew")
    assert tlsup.version(old) == 2 and len(told()) == 2


def test_run_that_cannot_even_begin_is_told_once(tlsup, fake_ca, old, nginx, new_name, told):
    """The journal of a change that was cut short is damaged: nothing is renewed from then on."""
    fake_ca.preauthorized = False
    served = new_name()
    nginx.site(served)
    nginx.start()
    tlsup.ok("enable", served, *fake_ca.arguments)
    nginx.control("stop")
    fake_ca.preauthorized = True
    log = max(path for path in (tlsup.state / "journal").iterdir()) / "log"
    kept = log.read_bytes()
    log.write_bytes(kept.split(b"\n")[0] + b"\nnonsense\n13 bd8e6fcdb478a19c mark applying\n")
    for _ in range(3):
        result = tlsup("renew", "--json")
        assert result.status == 1 and result.json()["error"]["advice"], result
    assert len(told()) == 1 and tlsup.version(old) == 1
    log.write_bytes(kept)
    tlsup("renew")
    tlsup("renew")
    assert tlsup.version(old) == 2 and len(told()) == 2


def test_run_without_its_children_is_told_once(tlsup, fake_ca, old):
    """As few descriptors as are too few; a line to syslog needs but one."""
    fake_ca.not_before_ago_s = 61 * DAY  # due again and again
    few = next(n for n in range(24, 8, -1) if tlsup("renew", prefix=["prlimit", f"--nofile={n}"]).status != 0)
    log = Syslog()
    for _ in range(3):
        assert "Too many open files" in tlsup("renew", prefix=["prlimit", f"--nofile={few}"]).err
    assert len([line for line in log.lines() if "tlsup renew failed" in line]) == 1
    tlsup.ok("renew")
    assert len([line for line in log.lines() if "tlsup renew is well again" in line]) == 1
    log.close()


def test_stopped_is_not_failed(tlsup, fake_ca, old, told):
    fake_ca.preauthorized, fake_ca.hold = False, True
    process = tlsup.start("renew", "--json")
    fake_ca.wait_until_asked("challenge", 0)
    process.send_signal(signal.SIGTERM)
    assert tlsup.finish(process).json()["error"]["code"] == "interrupted"
    assert told() == [] and not state_of(tlsup, old).get("failures", {}).get("count")


# -- pre and post -------------------------------------------------------------------------------------------


def test_failing_pre_hook_keeps_nothing_from_being_renewed(tlsup, fake_ca, old, trace):
    configure(tlsup, old, f"pre-hook = {trace.hook('pre', 'echo no such service; exit 1')}", f"post-hook = {trace.hook('post')}")
    result = tlsup("renew")
    assert result.status != 0 and re.search("the pre hook .*/pre failed with status 1:.*no such service", result.err), result
    assert tlsup.version(old) == 2 and trace.ran == ["pre", "post"]
    tlsup.ok("renew")


def test_failing_post_hook_is_tried_again_with_what_it_was_to_be_told(tlsup, fake_ca, old, trace):
    configure(tlsup, old, f"post-hook = {trace.hook('post', fails_times(trace, 1))}", f"post-hook = {trace.hook('other')}")
    result = tlsup("renew")
    assert result.status != 0 and re.search("the post hook .*/post failed", result.err), result
    assert trace.ran == ["post", "other"]
    quiet = tlsup("renew", "-q")
    assert quiet.status != 0 and quiet.text == "" and trace.ran == ["post", "other"]
    let_time_pass(tlsup, old)
    (trace.directory / "env.post").unlink()
    tlsup.ok("renew")
    assert trace.ran == ["post", "other", "post"]
    assert trace.env("post")["RENEWED_DOMAINS"] == old and trace.env("post")["TLSUP_RENEWED"] == old
    assert "hooks" not in run_state(tlsup)
    tlsup.ok("renew")
    assert len(trace.ran) == 3


def test_post_hook_is_told_who_failed(tlsup, fake_ca, new_name, trace):
    good, bad = new_name(), new_name()
    fake_ca.lifetime_s, fake_ca.not_before_ago_s, fake_ca.preauthorized = 90 * DAY, 61 * DAY, True
    for each in (bad, good):
        tlsup.ok("issue", each, f"www.{each}", "--standalone", *fake_ca.arguments)
    fake_ca.not_before_ago_s = 3600
    trace.hook("post", directory=directory(tlsup, "post"))
    fake_ca.misbehave("order", lambda _ca, r: Problem(400, "rejectedIdentifier", "no") if bad in str(r.payload) else None)
    assert tlsup("renew").status != 0
    env = trace.env("post")
    assert (env["RENEWED_DOMAINS"].split(), env["FAILED_DOMAINS"].split()) == ([good, f"www.{good}"], [bad, f"www.{bad}"])
    assert (env["TLSUP_RENEWED"], env["TLSUP_FAILED"]) == (good, bad)


def test_what_failed_first_and_was_renewed_then(tlsup, fake_ca, old, trace):
    """A post hook that missed a run is told how things are now."""
    configure(tlsup, old, f"post-hook = {trace.hook('post', fails_times(trace, 1))}")
    fake_ca.misbehave("order", lambda *_: Problem(400, "rejectedIdentifier", "no"))
    assert tlsup("renew").status != 0 and trace.env("post")["FAILED_DOMAINS"] == old
    fake_ca.behave()
    let_time_pass(tlsup, old)
    tlsup.ok("renew")
    env = trace.env("post")
    assert (env["RENEWED_DOMAINS"], env["FAILED_DOMAINS"], env["TLSUP_FAILED"]) == (old, "", "") and trace.ran == ["post", "post"]


def test_removed_post_hook_is_not_missed(tlsup, fake_ca, old, trace):
    path = trace.hook("post", "exit 1", directory=directory(tlsup, "post"))
    assert tlsup("renew").status != 0
    path.unlink()
    tlsup.ok("renew")


def test_post_directory_that_others_may_write(tlsup, fake_ca, old, trace):
    where = directory(tlsup, "post")
    trace.hook("post", directory=where)
    where.chmod(0o777)
    result = tlsup("renew")
    assert result.status != 0 and str(where) in result.err and trace.ran == [] and tlsup.version(old) == 2, result


def test_damaged_run_state(tlsup, fake_ca, old, trace):
    trace.hook("post", directory=directory(tlsup, "post"))
    for content in ("", "{", '{"hooks": [{"program": "../x", "when": "post"}]}', '{"hooks": 7}', "\0" * 2_000_000):
        (tlsup.state / "run.json").write_text(content)
        tlsup.ok("renew")
    assert run_state(tlsup)["ended_s"] >= time.time() - 60


# -- copies and looks ---------------------------------------------------------------------------------------


def test_copy_on_a_full_disk(tlsup, fake_ca, old, trace, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    machine.run("mount", "-t", "tmpfs", "-o", "size=16k,mode=755", "tmpfs", full)
    try:
        (full / "ballast").write_bytes(b"x" * 16384) if shutil.disk_usage(full).free >= 16384 else None
        with open(full / "more", "wb", buffering=0) as more:
            try:
                while more.write(b"x" * 4096):
                    pass
            except OSError:
                pass
        copy = full / "copy.pem"
        configure(tlsup, old, f"export = combined {copy}", f"deploy-hook = {trace.hook('deploy')}")
        result = tlsup("renew")
        assert result.status != 0 and re.search("No space left", result.err) and str(copy) in result.err, result
        assert trace.ran == ["deploy"] and tlsup.version(old) == 2
        assert not copy.exists(), "never half of it"
        for path in full.iterdir():
            path.unlink()
        tlsup.ok("renew", old)
        assert copy.stat().st_mode & 0o777 == 0o600 and trace.ran == ["deploy"] and orders(fake_ca) == 1
    finally:
        machine.run("umount", full)


def test_copy_for_an_owner_that_is_not_there(tlsup, fake_ca, old, tmp_path):
    copy = tmp_path / "copy.pem"
    configure(tlsup, old, f"export = key {copy} owner=no-such-user")
    result = tlsup("renew")
    assert result.status != 0 and "no-such-user" in result.err and not copy.exists(), result
    assert tlsup.version(old) == 2


class TlsServer:
    """A service that reads its certificate when it is told to."""

    def __init__(self, files, address, port):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = socket.socket(family)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((address, port))
        self.socket.listen()
        self.files = files
        self.reload()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def reload(self):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*self.files)

    def serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            try:
                connection.settimeout(5)
                self.context.wrap_socket(connection, server_side=True).close()
            except OSError:
                pass

    def close(self):
        receivers.end_listener(self.socket, self.thread)


def test_service_that_still_serves_the_old_one_over_ipv6(tlsup, fake_ca, old, trace, ipv6):
    files = tlsup.file(old), tlsup.file(old, "privkey")
    servers = [TlsServer(files, address, 4465) for address in ("127.0.0.1", "::1")]
    try:
        flag = trace.directory / "told"
        configure(tlsup, old, f"deploy-hook = {trace.hook('deploy', f'touch {flag}')}", "verify = localhost:4465/tls")
        pathlib.Path("/etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
        process = tlsup.start("renew")
        machine.until(flag.exists, "the hook does not run")
        servers[0].reload()  # one of two
        result = tlsup.finish(process)
        assert result.status != 0, result
        assert re.search(rf"localhost:4465/tls on ::1 still serves the old certificate \(version 1 of {old}, not 2\)", result.err), result
        assert tlsup.version(old) == 2
        servers[1].reload()
        result = tlsup.ok("renew", old)
        assert trace.ran == ["deploy"] and orders(fake_ca) == 1, "the look alone"
    finally:
        for server in servers:
            server.close()


def test_look_waits_for_the_hooks(tlsup, fake_ca, old, trace):
    """While a hook has failed nobody can expect the new certificate to be served."""
    configure(tlsup, old, f"deploy-hook = {trace.hook('deploy', 'exit 1')}", "verify = 127.0.0.1:4466/tls")
    result = tlsup("renew")
    assert result.status != 0 and "4466" not in result.err and result.seconds < 9, result


# -- the web server -----------------------------------------------------------------------------------------


def test_hooks_come_after_the_web_server(tlsup, fake_ca, nginx, name, trace):
    """A server that refuses: the old certificate is served, no hook runs. Mended: the same version is installed, then they run."""
    nginx.site(name)
    nginx.start()
    fake_ca.lifetime_s, fake_ca.not_before_ago_s = 90 * DAY, 61 * DAY
    tlsup.ok("enable", name, "--deploy-hook", trace.hook("deploy"), *fake_ca.arguments)
    assert trace.ran == ["deploy"]
    fake_ca.not_before_ago_s = 3600
    broken = pathlib.Path("/etc/nginx/conf.d/broken.conf")
    first = net.leaf(name)[0]

    def break_it(_ca, _request):
        broken.write_text("no such directive;\n")

    fake_ca.log.clear()
    fake_ca.misbehave("certificate", break_it)
    result = tlsup("renew")
    assert result.status != 0 and "broken.conf" in result.err, result
    assert net.leaf(name)[0] == first and tlsup.version(name) == 1 and trace.ran == ["deploy"]
    quiet = tlsup("renew", "-q")
    assert quiet.status != 0 and quiet.text == "" and trace.ran == ["deploy"]
    broken.unlink()
    tlsup.ok("renew", name)
    assert net.leaf(name)[0] == tlsup.sha256(name) != first and trace.ran == ["deploy"] * 2
    assert orders(fake_ca) == 1 and trace.env("deploy")["TLSUP_VERSION"] == "2"


@pytest.mark.parametrize("how", ["edited", "never reloaded"])
def test_daily_look_at_what_is_served(tlsup, fake_ca, nginx, authority, name, how, tmp_path):
    nginx.site(name)
    nginx.start()
    fake_ca.preauthorized = True
    tlsup.ok("enable", name, *fake_ca.arguments)
    site = [p for p in pathlib.Path("/etc/nginx").rglob("*") if p.is_file() and f"live/{name}/fullchain.pem" in p.read_text(errors="ignore")][0]
    text = site.read_text()
    cert, key = authority.server("another", [name])
    site.write_text(text.replace(f"{tlsup.live(name)}/fullchain.pem", str(cert)).replace(f"{tlsup.live(name)}/privkey.pem", str(key)))
    nginx.reload()
    if how == "never reloaded":
        site.write_text(text)
    tlsup.ok("renew")  # looked at not long ago
    path = tlsup.state / "state" / f"{name}.json"
    day_ago = int(time.time()) - DAY - 60
    path.write_text(re.sub(r'("verified_s": )\d+', rf"\g<1>{day_ago}", path.read_text()))
    result = tlsup("renew")
    assert result.status != 0 and re.search(rf"asked for {name} on 127.0.0.1, serves another certificate than version 1", result.err), result
    assert net.leaf(name)[0] != tlsup.sha256(name)
    quiet = tlsup("renew", "-q")
    assert quiet.status != 0 and quiet.text == "", "known already"
    let_time_pass(tlsup, name)
    if how == "edited":
        result = tlsup("renew")
        assert result.status != 0 and str(site) in result.err and "changed by hand" in result.err, result
        site.write_text(text)
    tlsup.ok("renew", name)
    assert net.leaf(name)[0] == tlsup.sha256(name) and orders(fake_ca) == 1
    path.write_text(re.sub(r'("verified_s": )\d+', rf"\g<1>{day_ago}", path.read_text()))
    tlsup.ok("renew")
    assert state_of(tlsup, name)["live"]["verified_s"] > day_ago + 60, "looked at, and well"


def test_a_stopped_server_is_no_other_certificate(tlsup, fake_ca, nginx, name):
    nginx.site(name)
    nginx.start()
    fake_ca.preauthorized = True
    tlsup.ok("enable", name, *fake_ca.arguments)
    nginx.control("stop")
    path = tlsup.state / "state" / f"{name}.json"
    path.write_text(re.sub(r'("verified_s": )\d+', r"\g<1>1795000000", path.read_text()))
    tlsup.ok("renew")


# -- for programs -------------------------------------------------------------------------------------------


def test_json(tlsup, fake_ca, old, new_name, trace):
    fresh, bad = new_name(), new_name()
    fake_ca.not_before_ago_s = 61 * DAY
    tlsup.ok("issue", bad, "--standalone", *fake_ca.arguments)
    fake_ca.not_before_ago_s = 3600
    issued = tlsup.ok("issue", fresh, "--standalone", "--json", *fake_ca.arguments).json()
    assert (issued["version"], issued["command"], issued["error"]) == (1, "issue", None)
    assert [(c["name"], c["result"], c["version"]) for c in issued["certificates"]] == [(fresh, "issued", 1)]
    configure(tlsup, old, f"deploy-hook = {trace.hook('deploy', fails_times(trace, 1))}", f"pre-hook = {trace.hook('pre')}")
    fake_ca.misbehave("order", lambda _ca, r: Problem(400, "rejectedIdentifier", "policy forbids it") if bad in str(r.payload) else None)
    result = tlsup("renew", "--json")
    document = result.json()
    entries = {c["name"]: c for c in document["certificates"]}
    assert {n: c["result"] for n, c in entries.items()} == {old: "renewed", bad: "failed", fresh: "current"}
    assert entries[bad]["error"]["code"] == "acme" and "policy forbids it" in entries[bad]["error"]["text"]
    assert entries[old]["version"] == 2 and entries[old]["not_after"] == tlsup.status_of(old)["not_after"]
    assert entries[old]["error"]["code"] == "hook" and entries[fresh]["error"] is None
    assert [(d["kind"], d["done"], d["failures"]) for d in entries[old]["deployments"]] == [("hook", False, 1)]
    assert document["hooks"] == [{"when": "pre", "program": str(trace.directory / "pre"), "result": "done", "error": None}]
    assert {k: v for k, v in document["summary"].items() if v} == {"current": 1, "renewed": 1, "failed": 1}
    assert result.status != 0 and document["error"] is not None
    waiting = tlsup("renew", "--json").json()
    assert {c["name"]: c["result"] for c in waiting["certificates"]} == {old: "waiting", bad: "waiting", fresh: "current"}
    let_time_pass(tlsup, old)
    assert {c["name"]: c["result"] for c in tlsup("renew", "--json").json()["certificates"]}[old] == "deployed"


def test_json_when_nothing_could_be_done(tlsup, fake_ca, old):
    document = tlsup("renew", "--json", "no-such-certificate.test").json()
    assert document["certificates"] == [] and document["error"]["code"] == "not-found"


# -- what a run leaves --------------------------------------------------------------------------------------


def test_run_is_written_down(tlsup, fake_ca, old, trace):
    configure(tlsup, old, f"deploy-hook = {trace.hook('deploy', fails_times(trace, 1))}")
    tlsup("renew")
    first = run_state(tlsup)
    assert first["began_s"] <= first["ended_s"] and "good_s" not in first
    assert stat.S_IMODE((tlsup.state / "run.json").stat().st_mode) == 0o600
    tlsup("renew", "-q")
    assert "good_s" not in run_state(tlsup), "nothing failed in it, but something is not done"
    assert "something failed in it" in tlsup.ok("status").out
    tlsup.ok("renew", old)
    for words in (["status"], ["timer", "status"]):
        assert "what failed in it is well again" in tlsup(*words).out, "mended by hand"
    assert "good_s" not in run_state(tlsup), "of all of them nothing is known"
    tlsup.ok("renew")
    assert run_state(tlsup)["good_s"] == run_state(tlsup)["ended_s"]


def test_plan_names_them(tlsup, fake_ca, nginx, name, trace, tmp_path):
    nginx.site(name)
    nginx.start()
    trace.hook("from-directory", directory=directory(tlsup, "post"))
    (tlsup.config / "tlsup.conf").write_text(f"export = pem {tmp_path}/copy\nverify = localhost:465\n")
    words = [w for when in ("pre", "deploy", "post") for w in (f"--{when}-hook", str(trace.hook(when)))]
    result = tlsup.ok("enable", name, "--plan", *words, *fake_ca.arguments)
    steps = re.findall(r"# \d+\. (.*)", result.out)
    order = [next(i for i, s in enumerate(steps) if word in s) for word in
             ("/pre", "ask", "prove", f"{tmp_path}/copy", "/deploy", "localhost:465", "/post/from-directory", "hooks/post")]
    assert order == sorted(order), steps
    assert trace.ran == []
