"""Ctrl-C and kill at any moment: nothing half done is left, or the next run finishes it."""

import os
import re
import signal
import subprocess

import pytest

from harness import client, machine, net, snapshot
from harness.client import check_store

MOMENTS = [0.0, 0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.45, 0.7, 1.0, 1.5, 2.0, 3.0]


def children_gone():
    """The processes of a killed run end by themselves."""
    machine.until(lambda: not client.Client.running(), lambda: f"still there: {client.Client.running()}")


def wait_for_the_visit(tlsup, ca, *words):
    """A run that has triggered its challenge and waits."""
    ca.hold, asked = True, len(ca.log)
    process = tlsup.start(*words, *ca.arguments)
    ca.wait_until_asked("challenge", asked)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_while_waiting(tlsup, fake_ca, nginx, name, number):
    nginx.site(name)
    nginx.start()
    before = nginx.configuration()
    process = wait_for_the_visit(tlsup, fake_ca, "enable", name)
    process.send_signal(number)
    result = tlsup.finish(process, timeout=60)
    assert result.status not in (0, -number.value), result
    assert re.search(r"interrupt|stopped|cancel|signal", result.err, re.I), result
    children_gone()
    assert net.http(name).status == 200 and not net.port_open(443) and nginx.test().returncode == 0
    changed = [l for l in snapshot.difference(before, nginx.configuration()) if "443" in l]
    assert not changed
    fake_ca.release()
    tlsup.ok("enable", name, *fake_ca.arguments)
    assert net.leaf(name)[0] == tlsup.sha256(name)


def test_ctrl_c_on_a_terminal(tlsup, fake_ca, name):
    """The key reaches the whole foreground group: all three processes, and only one message comes of it."""
    process = wait_for_the_visit(tlsup, fake_ca, "issue", name, "--standalone")
    os.killpg(process.pid, signal.SIGINT)
    result = tlsup.finish(process, timeout=60)
    assert result.status != 0 and len(re.findall(r"interrupt", result.err, re.I)) <= 2, result
    children_gone()
    assert not net.port_open(80)
    fake_ca.release()
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["SIGINT", "SIGKILL"])
@pytest.mark.parametrize("kind", ["standalone", "nginx", "apache"])
def test_at_many_moments(tlsup, make_pebble, request, new_name, kind, number):
    """One store, one server, a run killed at each moment; after each the server serves, and one more run brings it to a good end."""
    ca = make_pebble(nonce_reject=5)
    server = None if kind == "standalone" else request.getfixturevalue(kind)
    # Both signals take turns at the moments, so that each run has half of them.
    moments = MOMENTS if kind == "standalone" else MOMENTS[number == signal.SIGKILL::2]
    names = [new_name() for _ in moments]
    if server:
        for each in names:
            server.site(each)
        server.start()
    for each, moment in zip(names, moments):
        words = ["enable", each] if server else ["issue", each, "--standalone"]
        process = tlsup.start(*words, *ca.arguments)
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        interrupted = tlsup.finish(process, timeout=60)
        children_gone()
        if server:
            assert net.http(each).status == 200, interrupted
            assert server.test().returncode == 0, (interrupted, server.test().stderr)
        again = tlsup.ok(*words, *ca.arguments)
        check_store(tlsup, each, [each], ca.roots)
        if server:
            assert net.leaf(each)[0] == tlsup.sha256(each), (interrupted, again)
    hidden = [p for p in snapshot.snapshot(tlsup.state, *([server.tree] if server else [])) if re.search(r"/\.[^/]*(tmp|tlsup)[^/]*$", p)]
    assert not hidden, hidden


def test_visit_that_failed_after_the_interruption_is_seen_only_later(tlsup, fake_ca, name):
    """The next run takes up an order that looks pending, and learns from its authorization that the CA came when nobody was there: that is no
    reason to fail now."""
    process = wait_for_the_visit(tlsup, fake_ca, "issue", name, "--standalone")
    process.kill()
    tlsup.finish(process)
    children_gone()
    fake_ca.hold = False  # the fake CA comes at the next look at the authorization, before anybody could answer
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)


def test_killed_children(tlsup, fake_ca, name):
    """The courier or the responder dies: said plainly, nothing hangs."""
    for victim in ("tlsup-courier", "tlsup-responder"):
        process = wait_for_the_visit(tlsup, fake_ca, "issue", name, "--standalone")
        children = {machine.name_of(pid): pid for pid in machine.children_of(process.pid)}
        assert victim in children, children
        os.kill(children[victim], signal.SIGKILL)
        machine.until(lambda: children[victim] not in machine.children_of(process.pid), f"{victim} lives on")
        fake_ca.release()
        result = tlsup.finish(process, timeout=60)
        assert result.status in (1, 3, 4), result
        assert re.search(r"courier|responder|process|child|answered|validation|fetch", result.err, re.I), result
        children_gone()
        assert not os.path.lexists(tlsup.live(name))
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)


def test_frozen_children_do_not_stop_ctrl_c(tlsup, fake_ca, name):
    process = wait_for_the_visit(tlsup, fake_ca, "issue", name, "--standalone")
    for child in machine.children_of(process.pid):
        os.kill(child, signal.SIGSTOP)
    process.send_signal(signal.SIGINT)
    assert tlsup.finish(process, timeout=60).status != 0
    children_gone()


needs_test_hooks = pytest.mark.skipif(not client.built_with("test-hooks"), reason="only in a build with --enable-test-hooks")


@needs_test_hooks
@pytest.mark.parametrize("kind", ["nginx", "apache"])
def test_crash_before_each_step_of_the_installer(tlsup, fake_ca, request, new_name, kind):
    """The program kills itself before step 1, 2, 3, … of a transaction: the server stands at each, and the next run brings it to its end."""
    server = request.getfixturevalue(kind)
    name = new_name()
    server.site(name)
    server.start()
    tlsup.ok("issue", name, *fake_ca.arguments)
    stock = server.configuration()
    for step in range(1, 120):
        result = tlsup("install", name, env={"TLSUP_TEST_CRASH": str(step)})
        children_gone()
        assert net.http(name).status == 200, (step, result)
        assert server.test().returncode == 0, f"step {step}: {server.test().stderr}"
        if result.status == 0:
            break
        assert result.status == -signal.SIGKILL, (step, result)
        tlsup.ok("install", name)
        assert net.leaf(name)[0] == tlsup.sha256(name), step
        restore(server, stock)
    assert result.status == 0 and step > 5, "the number of steps is finite, and crashes did happen"


@needs_test_hooks
@pytest.mark.parametrize("kind", ["nginx", "apache"])
def test_full_disk_at_each_step_of_the_installer(tlsup, fake_ca, request, new_name, kind):
    """Step 1, 2, 3, … fails for want of room: everything is put back, byte for byte, and the error says so.
    Or it is in place, proven."""
    server = request.getfixturevalue(kind)
    name = new_name()
    server.site(name)
    server.start()
    tlsup.ok("issue", name, *fake_ca.arguments)
    stock = server.configuration()
    for step in range(1, 120):
        result = tlsup("install", name, env={"TLSUP_TEST_FAIL": str(step)})
        if result.status == 0:
            break
        assert result.status == 1 and re.search(r"space|full", result.err, re.I), (step, result)
        assert net.http(name).status == 200 and server.test().returncode == 0, (step, result)
        if snapshot.difference(stock, server.configuration()):
            # Only the note that all was proven could not be written: it is served, and the next run finds nothing left to do.
            assert net.leaf(name)[0] == tlsup.sha256(name), (step, result)
            tlsup.ok("install", name)
            restore(server, stock)
        else:
            assert not net.port_open(443), (step, result)
    assert result.status == 0 and step > 5
    assert net.leaf(name)[0] == tlsup.sha256(name)


def restore(server, tree):
    """Write a snapshot back and reload."""
    import shutil
    import stat

    for entry in os.scandir(server.tree):
        shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)
    for path in sorted(tree):
        kind, mode, uid, gid, body, _ = tree[path]
        if kind == stat.S_IFDIR:
            os.makedirs(path, exist_ok=True)
        elif kind == stat.S_IFLNK:
            os.symlink(body, path)
            continue
        else:
            with open(path, "wb") as file:
                file.write(body)
        os.chmod(path, mode)
        os.chown(path, uid, gid)
    server.reload()
    machine.until(lambda: not net.port_open(443), "port 443 stays open after the reload")
