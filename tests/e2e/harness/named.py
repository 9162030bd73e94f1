"""BIND as the name servers of the private world: zones of one's own, dynamic updates with TSIG, secondaries that lag behind.

    key = Key(directory)
    server = Named(directory, zones=[Zone("example.test", updaters=[key])])
    server.txt("_acme-challenge.example.test")  ->  ["the text", …]

Each listens on port 53 of one address of 127.0.0.0/8. 127.0.0.1 has the root zone as well, so that everything ends there and nothing is
asked of the world outside; NS1 and NS2 are the names of 127.0.0.1 and 127.0.0.2.
"""

import base64
import os
import pathlib
import re
import secrets
import shutil
import signal
import subprocess
import time

NS1, NS2 = "ns1.dns.test", "ns2.dns.test"
ADDRESSES = {NS1: "127.0.0.1", NS2: "127.0.0.2"}
PROGRAM = shutil.which("named", path="/usr/sbin:/usr/bin")
NEEDED = ("nsupdate", "dig", "rndc")


def why_not():
    """None, or what is missing on this machine."""
    if PROGRAM is None:
        return "named (bind9) is not installed"
    missing = [p for p in NEEDED if shutil.which(p, path="/usr/sbin:/usr/bin") is None]
    return f"{missing[0]} (bind9-dnsutils, bind9) is not installed" if missing else None


def until(what, message, seconds=10, pause_s=0.02):
    """Wait until what() is true, and return that."""
    deadline = time.monotonic() + seconds
    while True:
        value = what()
        if value:
            return value
        assert time.monotonic() < deadline, message() if callable(message) else message
        time.sleep(pause_s)


class Key:
    """A TSIG key: `file` as tsig-keygen writes it, `line_file` as nsupdate -y takes it."""

    def __init__(self, directory, name="tlsup-key", algorithm="hmac-sha256", secret=None):
        self.name, self.algorithm = name, algorithm
        self.secret = secret or base64.b64encode(secrets.token_bytes(32)).decode()
        self.clause = f'key "{name}" {{\n\talgorithm {algorithm};\n\tsecret "{self.secret}";\n}};\n'
        unique = f"{name}-{secrets.token_hex(4)}"
        self.file = self._write(pathlib.Path(directory) / f"{unique}.key", self.clause)
        self.line_file = self._write(pathlib.Path(directory) / f"{unique}.line", f"{algorithm}:{name}:{self.secret}\n")

    @staticmethod
    def _write(path, text):
        path.touch(mode=0o600)
        path.write_text(text)
        return path


class Zone:
    """`records`: lines of a zone file. `updaters`: keys that may change TXT records. `servers`: NS records, the first of them the
    primary of the SOA record, unless `mname` is. `notify`: addresses that are told of changes. `catch_all`: the address of all names.
    `primaries`: addresses to transfer it from; it is a secondary then. `broken`: whoever asks for it gets SERVFAIL."""

    def __init__(self, origin, records=(), updaters=(), servers=(NS1,), mname=None, primaries=(), notify=(), broken=False, catch_all="127.0.0.1"):
        self.origin, self.records, self.updaters, self.servers = origin, list(records), list(updaters), list(servers)
        self.mname, self.primaries, self.notify = mname or self.servers[0], list(primaries), list(notify)
        self.broken = broken
        if catch_all:
            self.records += [f"@ A {catch_all}", f"* A {catch_all}"]

    def text(self):
        head = [f"$ORIGIN {self.origin}.", "$TTL 60", f"@ SOA {self.mname}. hostmaster.dns.test. 1 3600 60 86400 1"]
        return "\n".join(head + [f"@ NS {s}." for s in self.servers] + self.records) + "\n"

    def clause(self, file):
        if self.broken:  # a secondary that has never reached its primary
            return f'zone "{self.origin}" {{ type secondary; file "{file}"; primaries {{ 127.0.0.99; }}; }};\n'
        if self.primaries:
            return (f'zone "{self.origin}" {{ type secondary; file "{file}"; masterfile-format text; primaries {{ {_list(self.primaries)} }}; '
                    f'allow-notify {{ {_list(self.primaries)} }}; }};\n')
        policy = "".join(f'grant "{k.name}" zonesub TXT; ' for k in self.updaters)
        update = f"update-policy {{ {policy}}}; " if policy else ""
        notify = f"notify explicit; also-notify {{ {_list(self.notify)} }}; " if self.notify else "notify no; "
        return f'zone "{self.origin}" {{ type primary; file "{file}"; {update}{notify}allow-transfer {{ any; }}; }};\n'


def _list(words):
    return "".join(f"{w}; " for w in words)


ROOT = ["$ORIGIN .", "$TTL 60", f". SOA {NS1}. hostmaster.dns.test. 1 3600 60 86400 1", f". NS {NS1}.",
        *(f"{name}. A {address}" for name, address in ADDRESSES.items())]


class Named:
    """One running server."""

    def __init__(self, directory, zones=(), keys=(), address="127.0.0.1"):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.address, self.zones = address, list(zones)
        self.control = Key(self.directory, "control")
        self.keys = list({k.name: k for k in [*keys, *(k for z in self.zones for k in z.updaters), self.control]}.values())
        # For the tests' own changes: whoever holds it may do anything.
        self.editor = Key(self.directory, "editor")
        self.keys.append(self.editor)
        for zone in self.zones:
            if zone.updaters or not (zone.primaries or zone.broken):
                zone.updaters = [*zone.updaters, self.editor]
        self.log_path = self.directory / "named.log"
        # BIND listens on addresses that an interface has by name alone, though all of 127.0.0.0/8 is here.
        subprocess.run(["ip", "address", "replace", f"{address}/8", "dev", "lo"], check=True)
        self._configure()
        self.process = None
        self.start()

    def _configure(self):
        text = "".join(k.clause for k in self.keys) + f"""options {{
    directory "{self.directory}"; listen-on port 53 {{ {self.address}; }}; listen-on-v6 {{ none; }};
    pid-file none; session-keyfile none; managed-keys-directory "{self.directory}"; recursion {"yes" if self.address == "127.0.0.1" else "no"}; notify no;
    dnssec-validation no; empty-zones-enable no; minimal-responses yes;
    tcp-listen-queue 200; min-refresh-time 3600; notify-delay 0; serial-query-rate 100;
    transfer-source {self.address}; notify-source {self.address};
}};
logging {{
    channel all {{ stderr; severity info; print-category yes; }};
    category default {{ all; }}; category queries {{ all; }}; category update {{ all; }}; category update-security {{ all; }};
}};
controls {{ inet {self.address} port 953 allow {{ any; }} keys {{ "control"; }}; }};
"""
        for number, zone in enumerate([None, *self.zones] if self.address == "127.0.0.1" else self.zones):
            file = f"zone-{number}"
            if zone is None:
                (self.directory / file).write_text("\n".join(ROOT) + "\n")
                text += f'zone "." {{ type primary; file "{file}"; }};\n'
                continue
            if not (zone.primaries or zone.broken):
                (self.directory / file).write_text(zone.text())
            text += zone.clause(file).replace(f'grant "{self.editor.name}" zonesub TXT', f'grant "{self.editor.name}" zonesub ANY')
        (self.directory / "named.conf").write_text(text)

    def start(self):
        self.log = open(self.log_path, "ab")
        argv = [PROGRAM, "-f", "-n", "1", "-L", str(self.log_path), "-c", str(self.directory / "named.conf")]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log, cwd=self.directory, start_new_session=True)

        def answers():
            assert self.process.poll() is None, self.log_text()[-3000:]
            return re.search(r"\brunning$", self.log_text(), re.M)

        until(answers, lambda: self.log_text()[-3000:], pause_s=0.01)
        for zone in self.zones:
            if not zone.broken:
                until(lambda: self.dig(zone.origin, "SOA", "+norecurse"), lambda: f"{zone.origin}: {self.log_text()[-3000:]}")
        return self

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
            self.log.close()

    def hang(self):
        """Alive, but it answers nothing any more."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self):
        os.kill(self.process.pid, signal.SIGCONT)

    def log_text(self):
        return self.log_path.read_text(errors="replace")

    def dig(self, name, kind, *flags):
        """Lines of the answer; None when there was none."""
        result = subprocess.run(["dig", f"@{self.address}", "+short", "+time=1", "+tries=1", *flags, name, kind], capture_output=True,
                                text=True)
        return result.stdout.split("\n")[:-1] if result.returncode == 0 else None

    def txt(self, name):
        """Sorted TXT values of exactly this name here, the strings of each joined."""
        lines = self.dig(name, "TXT", "+norecurse") or []
        return sorted("".join(re.findall(r'"((?:[^"\\]|\\.)*)"', line)).replace("\\;", ";").replace('\\"', '"') for line in lines
                      if line.startswith('"'))

    def nsupdate(self, *commands):
        script = f"server {self.address}\n" + "".join(f"{c}\n" for c in commands) + "send\n"
        result = subprocess.run(["nsupdate", "-t", "5", "-k", str(self.editor.file)], input=script, capture_output=True, text=True)
        assert result.returncode == 0, f"{result.stdout}{result.stderr}{self.log_text()[-1000:]}"

    def add(self, name, kind, value):
        self.nsupdate(f"update add {name}. 60 {kind} {value}")

    def add_txt(self, name, value):
        self.add(name, "TXT", " ".join(f'"{value[i:i + 255]}"' for i in range(0, len(value), 255)))

    def delete(self, name, kind):
        self.nsupdate(f"update delete {name}. {kind}")

    def rndc(self, *words):
        subprocess.run(["rndc", "-s", self.address, "-p", "953", "-k", str(self.control.file), *words], check=True, capture_output=True)

    def fetch(self, zone):
        """A secondary gets its zone now."""
        serial = self._serial(zone)
        self.rndc("retransfer", zone)
        until(lambda: self._serial(zone) != serial, f"{zone} was not transferred")

    def _serial(self, zone):
        lines = self.dig(zone, "SOA", "+norecurse") or [""]
        return lines[0].split(" ")[2:3]

    def queries(self, name=None, kind=None):
        """Questions so far: [(name, type)]."""
        found = re.findall(r"query: (\S+) IN (\S+) ", self.log_text())
        return [q for q in found if (name is None or q[0].lower() == name.lower()) and (kind is None or q[1] == kind)]

    def updates(self):
        """Lines of the log about changes by dynamic update, and about those refused."""
        return [l for l in self.log_text().splitlines() if re.search(r"updating zone|update '.*' denied|update failed|update-security", l)]


def use_as_resolver(*addresses):
    """/etc/resolv.conf of this world."""
    pathlib.Path("/etc/resolv.conf").write_text("".join(f"nameserver {a}\n" for a in addresses or ("127.0.0.1",)))
