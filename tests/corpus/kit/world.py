"""What a worker has for all its configurations: a CA, its resolver, spare addresses, certificates of others, a disk of its own."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading

from harness import client, machine, pebble, pki

DNS_HOOK = """#!/bin/sh
# Answers dns-01 through the test resolver.
case $1 in
present) curl -s -o /dev/null -d "{\\"host\\":\\"$TLSUP_RECORD.\\",\\"value\\":\\"$TLSUP_VALUE\\"}" http://127.0.0.1:8055/set-txt ;;
cleanup) curl -s -o /dev/null -d "{\\"host\\":\\"$TLSUP_RECORD.\\"}" http://127.0.0.1:8055/clear-txt ;;
esac
"""


def own_disk():
    """Let every write go to memory: directories that configurations want can then be made anywhere. False where the kernel has no overlay."""
    work = pathlib.Path("/run/e2e/disk")
    for name in ("upper", "work", "root"):
        (work / name).mkdir(parents=True)
    root = work / "root"
    mounted = subprocess.run(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={work}/upper,workdir={work}/work", root],
                             capture_output=True)
    if mounted.returncode != 0:
        return False
    points = [line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()]
    taken = []
    for point in sorted(set(points)):
        point = re.sub(r"\\(\d{3})", lambda m: chr(int(m.group(1), 8)), point)
        if point == "/" or point.startswith(str(work)) or any(point.startswith(t + "/") for t in taken):
            continue
        subprocess.run(["mount", "--rbind", point, f"{root}{point}"], check=True, capture_output=True)
        taken.append(point)
    os.chroot(root)
    os.chdir("/")
    return True


class BalancedPebble(pebble.Pebble):
    """A CA that comes by way of a load balancer: asks it on another port, and it passes on what it gets to port 80 by the PROXY protocol."""

    HTTP_PORT = 5080

    def start(self):
        config = json.loads(self.path.read_text())
        config["pebble"]["httpPort"] = self.HTTP_PORT
        self.path.write_text(json.dumps(config))
        threading.Thread(target=self.balance, daemon=True).start()
        return super().start()

    def balance(self):
        with socket.create_server(("::", self.HTTP_PORT), family=socket.AF_INET6, dualstack_ipv6=True) as server:
            while True:
                incoming, _ = server.accept()
                threading.Thread(target=self.relay, args=(incoming,), daemon=True).start()

    @staticmethod
    def relay(incoming):
        address = incoming.getsockname()[0].removeprefix("::ffff:")
        with incoming, socket.create_connection((address, 80), 10) as outgoing:
            source = "2001:db8::1b" if ":" in address else "192.0.2.27"
            outgoing.sendall(f"PROXY TCP{6 if ':' in address else 4} {source} {address} 40000 80\r\n".encode() + incoming.recv(65536))
            while piece := outgoing.recv(65536):
                incoming.sendall(piece)


class World:
    def __init__(self, kinds, nginx_binary=None):
        self.whole = own_disk()
        self.directory = machine.WORK / "session"
        self.directory.mkdir(exist_ok=True)
        self.directory.chmod(0o755)
        self.authority = pki.Authority(self.directory / "authority")
        self._start_ca()
        self.kept = {pid for server in (self.dns, self.ca) for pid in (server.process.pid, *machine.children_of(server.process.pid))}
        client.Client.ignored = self.kept
        self.pairs, self.made, self.watched, self.added, self.words = {}, [], [], [], []
        self.hook = self.directory / "dns-hook"
        self.hook.write_text(DNS_HOOK)
        self.hook.chmod(0o755)
        if "nginx" in kinds:
            self._look_at_nginx(nginx_binary)
        self.tlsup = client.Client()
        self.accounts = None

    def _start_ca(self):
        programs = pebble.programs()
        if not programs:
            raise machine.Unavailable("pebble is not installed")
        version, program = list(programs.items())[-1]
        resolver = shutil.which("pebble-challtestsrv") or str(pathlib.Path(program).parent / "pebble-challtestsrv")
        self.dns = pebble.Dns(resolver, self.directory)
        self.ca = pebble.Pebble(version, program, self.directory / "pebble", self.authority, 14000, nonce_reject=0)
        self.balanced_ca = None
        self.make_balanced = lambda: BalancedPebble(version, program, self.directory / "balanced", self.authority, 14100, nonce_reject=0)

    def ca_for(self, balanced):
        """The CA; for a server that is told about visitors by a load balancer, one behind that."""
        if not balanced:
            return self.ca
        if not self.balanced_ca:
            self.balanced_ca = self.make_balanced()
            self.kept |= {self.balanced_ca.process.pid, *machine.children_of(self.balanced_ca.process.pid)}
            client.Client.ignored = self.kept
        return self.balanced_ca

    def _look_at_nginx(self, binary):
        if binary:
            target = pathlib.Path("/usr/sbin/nginx")
            if not target.exists():
                target.touch()
            subprocess.run(["mount", "--bind", binary, target], check=True)
        if not os.access("/usr/sbin/nginx", os.X_OK):
            raise machine.Unavailable("nginx is not installed")
        said = subprocess.run(["/usr/sbin/nginx", "-V"], capture_output=True, text=True).stderr
        self.nginx_version = re.search(r"nginx/(\S+)", said).group(1)
        prefix = re.search(r"--prefix=(\S+)", said)
        conf = re.search(r"--conf-path=(\S+)", said)
        self.nginx_prefix = prefix.group(1) if prefix else "/usr/local/nginx"
        self.nginx_default_conf = os.path.join(self.nginx_prefix, conf.group(1) if conf else "conf/nginx.conf")
        for path in re.findall(r"--(?:http-(?:\w+-)*temp|http-log|error-log|pid|lock)-path=(/\S+)", said):
            if self.whole or path.startswith("/var/lib/nginx"):
                os.makedirs(os.path.dirname(path), exist_ok=True)
        if self.whole:
            os.makedirs(f"{self.nginx_prefix}/logs", exist_ok=True)

    # -- between configurations --

    def renew(self):
        machine.end_all_but(self.kept)
        for path in self.made:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        for address in self.added:
            subprocess.run(["ip", "addr", "del", address, "dev", "lo"], capture_output=True)
        self.made, self.watched, self.added, self.words = [], [], [], []
        machine.renew()
        self.forget_certificates()

    def forget_certificates(self):
        for path in ("/var/lib/tlsup", "/etc/tlsup"):
            for entry in os.scandir(path):
                shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)
        if self.accounts:
            subprocess.run(["cp", "-a", self.accounts, "/var/lib/tlsup/accounts"], check=True)

    def keep_account(self):
        """One account for all configurations: the CA is asked for it once."""
        if not self.accounts and os.path.isdir("/var/lib/tlsup/accounts"):
            self.accounts = self.directory / "accounts"
            subprocess.run(["cp", "-a", "/var/lib/tlsup/accounts", self.accounts], check=True)

    def note(self, path, watched=False):
        """To be gone before the next configuration; `watched`: part of what must not change."""
        self.made.append(pathlib.Path(path))
        if watched:
            self.watched.append(str(path))

    def say(self, text):
        self.words.append(text)

    def pair(self, names, kind="ec"):
        """PEM of a self-signed certificate and its key."""
        known = (tuple(names), kind)
        if known not in self.pairs:
            with tempfile.TemporaryDirectory(dir=self.directory) as directory:
                key, cert = pathlib.Path(directory, "key"), pathlib.Path(directory, "cert")
                algorithm = pki.EC if kind == "ec" else ["-newkey", "rsa:2048"]
                pki.openssl("req", "-x509", *algorithm, "-nodes", "-keyout", key, "-out", cert, "-subj", "/CN=old", "-days", "30",
                            "-addext", f"subjectAltName={pki.san_of(names)}")
                self.pairs[known] = (cert.read_bytes(), key.read_bytes())
        return self.pairs[known]

    def add_address(self, address):
        if address.startswith("127.") or address == "::1" or not re.fullmatch(r"[0-9a-fA-F.:]+", address):
            return
        full = f"{address}/128" if ":" in address else f"{address}/32"
        added = subprocess.run(["ip", "addr", "add", full, "dev", "lo", *(["nodad"] if ":" in address else [])], capture_output=True)
        if added.returncode == 0:
            self.added.append(full)
