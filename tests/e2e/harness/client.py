"""Running the program under test."""

import fcntl
import json
import os
import pathlib
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

from . import machine, pki, snapshot

TOP = pathlib.Path(__file__).resolve().parents[3]
CONFIG, STATE = pathlib.Path("/etc/tlsup"), pathlib.Path("/var/lib/tlsup")
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\a]*\a")
TRACES = re.compile(r"AddressSanitizer|LeakSanitizer|runtime error:|UndefinedBehaviorSanitizer|Assertion .* failed|stack smashing")


def built_with(feature):
    """Is the program under test built with "sanitizers", "test-hooks"? Whoever built it says so in TLSUP_TEST_BUILD."""
    return feature in os.environ.get("TLSUP_TEST_BUILD", "").split()


def deployers():
    """Where the program under test looks for the deployers that are installed with it."""
    found = re.search(rb"(/[\w./-]+)/acme-sh-dns\0", pathlib.Path(program()).read_bytes())
    return pathlib.Path(found.group(1).decode())


def program():
    wanted = os.environ.get("TLSUP_BIN")
    for path in [wanted] if wanted else [TOP / "tlsup", TOP / "build/tlsup"]:
        if os.access(path, os.X_OK):
            return str(path)
    raise FileNotFoundError("no program to test: build it, or set TLSUP_BIN")


class Result(str):
    """What a run said and how it ended. As a string it is the whole session, for messages of failed tests."""

    def __new__(cls, argv, status, out, err, seconds):
        self = super().__new__(cls, f"$ {' '.join(argv)}\n[status {status}, {seconds:.1f} s]\n{out}{err}")
        self.argv, self.status, self.out, self.seconds = argv, status, out, seconds
        self.text = out + err
        self.err = re.sub(r"\s+", " ", err)  # errors are wrapped for people: their words, not their lines
        assert not TRACES.search(self.text), self
        return self

    def json(self):
        return json.loads(self.out)


class Client:
    """`tlsup ARGUMENTS` with the private world's directories."""

    ignored = frozenset()

    def __init__(self, config=CONFIG, state=STATE, environment=None):
        self.config, self.state = pathlib.Path(config), pathlib.Path(state)
        self.environment = environment or {}

    def argv(self, arguments):
        words = [str(a) for a in arguments]
        # Directories belong behind the command's own words; a first word that starts with a dash has no command.
        if words and not words[0].startswith("-"):
            words += ["--config-dir", str(self.config), "--state-dir", str(self.state)]
            if words[0] in ("enable", "issue") and "--timer" not in words:
                words.append("--no-timer")
            words = [w for w in words if w != "--timer"]
        return [program(), *words]

    def env(self, extra=None):
        base = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": "/root", "TERM": "xterm",
                "ASAN_OPTIONS": "abort_on_error=0:exitcode=99", "UBSAN_OPTIONS": "print_stacktrace=1"}
        return {**base, **self.environment, **(extra or {})}

    def start(self, *arguments, env=None, prefix=(), umask=0o022, **options):
        """A running process with piped output. `prefix` goes before the command (setpriv …)."""
        return subprocess.Popen([*prefix, *self.argv(arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, errors="replace", env=self.env(env), umask=umask,
                                start_new_session=True, **options)

    def finish(self, process, timeout=120, began=None):
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            raise AssertionError(f"still running after {timeout} s: {process.args}\n{out}{err}") from None
        return Result(process.args, process.returncode, out, err, time.monotonic() - (began or time.monotonic()))

    def __call__(self, *arguments, timeout=120, **options):
        began = time.monotonic()
        result = self.finish(self.start(*arguments, **options), timeout, began)
        left = self.running()
        assert not left, f"processes left behind: {left}\n{result}"
        return result

    @classmethod
    def running(cls):
        """Processes of the program under test, but for those that the session keeps."""
        table = machine.processes()
        ignored = {*cls.ignored, *machine.children_of(*cls.ignored, table=table)}
        return [p for p in table if p[3] and os.path.basename(p[3][0]) == "tlsup" and p[0] not in ignored]

    def ok(self, *arguments, **options):
        result = self(*arguments, **options)
        assert result.status == 0, result
        return result

    def on_terminal(self, *arguments, timeout=120, columns=100, keys=b"", env=None, prefix=()):
        """The same on a pseudo-terminal: (status, all bytes as text)."""
        main, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        process = subprocess.Popen([*prefix, *self.argv(arguments)], stdin=other, stdout=other, stderr=other, env=self.env(env),
                                   start_new_session=True, close_fds=True)
        os.close(other)
        if keys:
            os.write(main, keys)
        seen, deadline = b"", time.monotonic() + timeout
        while time.monotonic() < deadline:
            if select.select([main], [], [], 0.1)[0]:
                try:
                    piece = os.read(main, 65536)
                except OSError:
                    break
                if not piece:
                    break
                seen += piece
        os.close(main)
        try:
            return process.wait(10), seen.decode(errors="replace")
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(f"still running on the terminal: {seen!r}") from None

    # -- what is stored --

    def live(self, name):
        return self.state / "live" / name

    def file(self, name, which="fullchain"):
        return self.live(name) / f"{which}.pem"

    def version(self, name):
        """The number of the live version."""
        return int(os.path.basename(os.readlink(self.live(name))))

    def sha256(self, name):
        return pki.sha256_of(self.file(name, "cert"))

    def status_of(self, name):
        """This certificate's entry in `status --json`."""
        entries = [e for e in self.ok("status", "--json").json()["certificates"] if e["name"] == name]
        assert len(entries) == 1, entries
        return entries[0]

    def held(self):
        """What matters to others: certificates, keys, live links and settings, without the lock, the journal and the record of attempts."""
        leave_out = {str(self.state / n) for n in ("lock", "journal", "state", "accounts", "challenges")}
        tree = snapshot.snapshot(self.state / "certs", self.state / "live", self.config, leave_out=leave_out)
        return {path: entry for path, entry in tree.items()
                if path.endswith(".pem") and not path.endswith("pending.pem") or "/live/" in path or path.endswith(".conf")}


def check_store(client, name, names, issuer_roots=None, key=None):
    """All that must hold of a stored certificate."""
    live = client.live(name)
    assert os.path.islink(live) and os.readlink(live).startswith("../certs/" + name + "/"), live
    parts = {which: client.file(name, which) for which in ("privkey", "cert", "chain", "fullchain")}
    assert {p.name for p in live.resolve().iterdir()} == {f"{w}.pem" for w in parts}
    assert oct(parts["privkey"].stat().st_mode & 0o777) == "0o600"
    assert pki.public_half(parts["privkey"]) == pki.public_key_of(parts["cert"])
    assert parts["fullchain"].read_bytes() == parts["cert"].read_bytes() + parts["chain"].read_bytes()
    assert pki.names_of(parts["cert"]) == set(names)
    if key:
        assert re.search(key, pki.key_text(parts["privkey"])), pki.key_text(parts["privkey"])
    if issuer_roots:
        out = pki.openssl("verify", "-CAfile", issuer_roots, "-untrusted", parts["chain"], parts["cert"], check=False)
        assert b": OK" in out, out
    assert not [p for p in client.state.rglob("*") if p.name.endswith((".tmp", ".new")) or p.name == "pending.pem"]
