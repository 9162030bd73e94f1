"""Three processes, three privileges: who may have what, as the kernel sees it while they run."""

import os
import pathlib
import re
import resource
import stat
import threading

import pytest

from harness import client, machine
from harness.machine import USERS


def status_of(pid):
    return dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


def descriptors(pid):
    found = {}
    for entry in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[int(entry)] = os.readlink(f"/proc/{pid}/fd/{entry}")
        except OSError:
            pass
    return found


class Caught:
    """The processes of a run that waits for the CA's visit."""

    def __init__(self, client, ca, name, **options):
        self.ca, self.client = ca, client
        ca.hold = True
        self.process = client.start("issue", name, "--standalone", *ca.arguments, **options)
        ca.wait_until_asked("challenge")
        self.keeper = self.process.pid
        self.children = machine.children_of(self.keeper)
        uids = {int(status_of(p)["Uid"].split()[1]): p for p in self.children}
        self.courier, self.responder, self.prober, self.resolver = (
            uids.get(USERS[u]) for u in ("tlsup-courier", "tlsup-responder", "tlsup-prober", "tlsup-resolver"))

    def finish(self):
        self.ca.release()
        result = self.client.finish(self.process)
        assert result.status == 0, result


@pytest.fixture
def caught(tlsup, fake_ca, name):
    run = Caught(tlsup, fake_ca, name)
    yield run
    run.finish()


def test_each_has_its_own_user(caught):
    assert caught.courier and caught.responder and caught.resolver, [status_of(p)["Uid"] for p in caught.children]
    for user, pid in (("tlsup-courier", caught.courier), ("tlsup-responder", caught.responder), ("tlsup-prober", caught.prober),
                      ("tlsup-resolver", caught.resolver)):
        status = status_of(pid)
        for field in ("Uid", "Gid"):
            assert status[field].split() == [str(USERS[user])] * 4, (user, field, status[field])
        assert status["Groups"].split() in ([], [str(USERS[user])]), status["Groups"]
        for field in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(status[field], 16) == 0, (user, field, status[field])
        assert status["NoNewPrivs"].strip() == "1", user


def test_nothing_can_be_dumped(caught):
    for pid, hard in ((caught.keeper, r"\w+"), (caught.courier, "0"), (caught.responder, "0"), (caught.prober, "0"),
                      (caught.resolver, "0")):
        limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
        assert re.search(rf"Max core file size\s+0\s+{hard}\s", limits), limits


def test_no_descriptor_of_the_store(tlsup, caught):
    for pid in (caught.courier, caught.responder, caught.prober, caught.resolver):
        for number, target in descriptors(pid).items():
            assert not target.startswith((str(tlsup.state), str(tlsup.config))), (pid, number, target)
            assert not target.startswith("/etc/") or target == "/etc/ssl", (pid, number, target)
            if target.startswith("/") and not target.startswith("/dev/"):
                assert target.startswith(("/run/e2e/session", "/usr/", "/proc/", "/lib/")), (pid, number, target)


def sockets(pid):
    """Kinds of the sockets that a process holds: {"listen", "tcp", "unix", "other"}."""
    inodes = {m.group(1) for m in (re.match(r"socket:\[(\d+)\]", t) for t in descriptors(pid).values()) if m}
    kinds = set()
    seen = set()
    for file in ("tcp", "tcp6"):
        for line in pathlib.Path(f"/proc/net/{file}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes:
                seen.add(fields[9])
                kinds.add("listen" if fields[3] == "0A" else "tcp")
    for line in pathlib.Path("/proc/net/unix").read_text().splitlines()[1:]:
        if line.split()[6] in inodes:
            seen.add(line.split()[6])
            kinds.add("unix")
    return kinds | ({"other"} if inodes - seen else set())


def test_network_of_each(caught):
    """The keeper has none, the courier only connects, the responder only listens."""
    assert "tcp" not in sockets(caught.keeper)
    assert "listen" not in sockets(caught.courier)
    assert "listen" in sockets(caught.responder)


def test_the_responder_hears_both_families(caught):
    listening = {f: [l.split()[1].rsplit(":", 1)[1] for l in pathlib.Path(f"/proc/net/{f}").read_text().splitlines()[1:] if l.split()[3] == "0A"]
                 for f in ("tcp", "tcp6")}
    assert "0050" in listening["tcp"]
    if machine.has_ipv6():
        assert "0050" in listening["tcp6"]


def memory_of(pid):
    """All readable, writable private memory of a process."""
    found = b""
    with open(f"/proc/{pid}/mem", "rb") as mem:
        for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, mode = line.split()[:2]
            if not mode.startswith("rw") or "[v" in line:
                continue
            begin, end = (int(x, 16) for x in span.split("-"))
            if end - begin > 1 << 28:
                continue
            try:
                mem.seek(begin)
                found += mem.read(end - begin)
            except (OSError, ValueError, OverflowError):
                pass
    return found


@pytest.mark.skipif(client.built_with("sanitizers"), reason="a sanitizer's memory is too large to search")
def test_no_key_in_a_childs_memory(tlsup, caught):
    """The account key's private number, looked for in the memory of the children, byte for byte."""
    from harness import pki

    text = pki.openssl("pkey", "-in", tlsup.state / "accounts/key.pem", "-noout", "-text").decode()
    number = bytes.fromhex("".join(re.search(r"priv:\s*((?:[0-9a-f]{2}:?\s*)+)", text).group(1).split()).replace(":", ""))[-32:]
    body = "".join((tlsup.state / "accounts/key.pem").read_text().splitlines()[1:-1])[:40].encode()
    for pid in (caught.courier, caught.responder, caught.prober, caught.resolver):
        memory = memory_of(pid)
        assert len(memory) > 100_000
        for form in (number, number[::-1], body):
            assert form not in memory, f"a private key is in the memory of process {pid}"


def test_keys_are_never_readable_by_others(tlsup, ca, name):
    """umask 0, and somebody who looks all the while."""
    wrong, seen, stop = set(), set(), threading.Event()

    def look():
        while not stop.is_set():
            for parent, _, files in os.walk(tlsup.state):
                for file in files:
                    path = os.path.join(parent, file)
                    try:
                        info = os.lstat(path)
                        if not stat.S_ISREG(info.st_mode):
                            continue
                        with open(path, "rb") as handle:
                            private = b"PRIVATE KEY" in handle.read(4096)
                    except OSError:
                        continue
                    if private or os.path.basename(path) in ("privkey.pem", "pending.pem", "key.pem"):
                        seen.add(path)
                        if info.st_mode & 0o077:
                            wrong.add((path, oct(info.st_mode)))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        tlsup.ok("issue", name, "--standalone", *ca.arguments, umask=0)
    finally:
        stop.set()
        thread.join()
    assert seen and not wrong, wrong


def test_open_calls_never_make_a_readable_key(tlsup, ca, name, tmp_path):
    """The same without luck, where strace is installed: every file under the state directory that holds a key is created 0600 or stricter."""
    import shutil

    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    log = tmp_path / "strace"
    tlsup.ok("issue", name, "--standalone", *ca.arguments, umask=0, env={"ASAN_OPTIONS": "detect_leaks=0"},
             prefix=["strace", "-f", "-qq", "-e", "trace=open,openat,creat,chmod,fchmod,fchmodat", "-o", str(log)])
    created = [l for l in log.read_text().splitlines() if "O_CREAT" in l and re.search(r"priv|key\.pem|pending", l)]
    assert created
    for line in created:
        mode = int(re.search(r", (0\d+)\)?", line.rsplit("O_", 1)[1]).group(1), 8)
        assert not mode & 0o077, line


def test_inherited_descriptors_are_closed(tlsup, fake_ca, name, tmp_path):
    """What the caller left open is not the children's, and their standard input is nobody's."""
    with open(tmp_path / "secret", "w") as secret:
        run = Caught(tlsup, fake_ca, name, pass_fds=[secret.fileno()])
    held = {p: descriptors(p) for p in run.children}
    run.finish()
    for targets in held.values():
        assert targets.get(0, "/dev/null") == "/dev/null", held
        assert not [t for t in targets.values() if "secret" in t], held


def test_without_the_users(tlsup, ca, name):
    """No tlsup-courier in /etc/passwd (not installed by a package): it works, still unprivileged."""
    saved = pathlib.Path("/etc/passwd").read_text()
    pathlib.Path("/etc/passwd").write_text("".join(l for l in saved.splitlines(True) if not l.startswith("tlsup-")))
    try:
        tlsup.ok("issue", name, "--standalone", *ca.arguments)
    finally:
        pathlib.Path("/etc/passwd").write_text(saved)


def test_low_limits(tlsup, ca, name):
    """Few descriptors and no big stack are enough."""
    def limits():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    tlsup.ok("issue", name, "--standalone", *ca.arguments, preexec_fn=limits)

