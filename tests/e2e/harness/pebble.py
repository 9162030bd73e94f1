"""Pebble, the test CA, in the versions at hand, and its DNS."""

import json
import os
import pathlib
import re
import shutil
import ssl
import subprocess
import time
import urllib.request

from . import net

TOP = pathlib.Path(__file__).resolve().parents[3]
DNS_PORT, DNS_MANAGEMENT_PORT = 8053, 8055


def programs():
    """{"2.4": path of pebble, "2.10": …} of what is there, the packaged one first."""
    found = {}
    if shutil.which("pebble"):
        found[version_of_system()] = shutil.which("pebble")
    newer = pathlib.Path(os.environ.get("PEBBLE_2_10") or TOP / "build/pebble-2.10/usr/bin") / "pebble"
    if os.access(newer, os.X_OK):
        found["2.10"] = str(newer)
    return found


def version_of_system():
    """The first two parts of the packaged version: "2.4" on Debian 12."""
    out = subprocess.run(["dpkg-query", "-W", "-f=${Version}", "pebble"], capture_output=True, text=True).stdout
    match = re.match(r"(\d+\.\d+)", out)
    return match.group(1) if match else "packaged"


class Dns:
    """pebble-challtestsrv as the resolver that the CA asks; its own challenge servers stay off."""

    def __init__(self, program, directory):
        usage = subprocess.run([program, "-h"], capture_output=True, text=True)
        listen = "-dnsserver" if "-dnsserver" in usage.stdout + usage.stderr else "-dns01"
        off = [a for flag in ("-doh", "-http01", "-https01", "-tlsalpn01") if flag + " " in usage.stdout + usage.stderr
               for a in (flag, "")]
        self.log = open(directory / "dns.log", "wb")
        self.process = subprocess.Popen([program, "-defaultIPv6", "", listen, f":{DNS_PORT}", "-management", f":{DNS_MANAGEMENT_PORT}", *off],
                                        stdout=self.log, stderr=self.log, start_new_session=True)
        net.wait_for_port(DNS_MANAGEMENT_PORT, alive=lambda: self.process.poll() is None)

    def post(self, what, body):
        data = json.dumps(body).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{DNS_MANAGEMENT_PORT}/{what}", data, 5) as answer:
            answer.read()

    def addresses(self, name, v4=(), v6=()):
        """What `name` resolves to from now on: nothing that is not said here."""
        self.post("clear-a", {"host": name})
        self.post("clear-aaaa", {"host": name})
        # The mock falls back to its default IPv4 address for a name without A records: an address without a listener stands for "none".
        self.post("add-a", {"host": name, "addresses": list(v4) or ["127.0.0.254"]})
        if v6:
            self.post("add-aaaa", {"host": name, "addresses": list(v6)})


class Pebble:
    """One running CA. Reachable by localhost, 127.0.0.1 and ::1; its own HTTPS certificate comes from `authority`."""

    def __init__(self, version, program, directory, authority, port, nonce_reject=5, sleep_s=0, authz_reuse=0, validity_s=None,
                 blocklist=(), chain_length=None, eab=None, profiles=None, alternate_roots=0, caa_identities=None, resolver=f"127.0.0.1:{DNS_PORT}"):
        self.version, self.port, self.directory = version, port, pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.bundle = authority.cert
        certificate, key = authority.server(f"pebble-{port}", ["localhost", "127.0.0.1", "::1"])
        config = {"listenAddress": f":{port}", "managementListenAddress": f":{port + 1}", "certificate": str(certificate),
                  "privateKey": str(key), "httpPort": 80, "tlsPort": 443, "ocspResponderURL": "", "keyAlgorithm": "ecdsa",
                  "externalAccountBindingRequired": bool(eab), "externalAccountMACKeys": eab or {},
                  "domainBlocklist": ["blocked-domain.example", *blocklist], "retryAfter": {"authz": 1, "order": 1}}
        if validity_s is not None:
            config["certificateValidityPeriod"] = validity_s
            config["profiles"] = {"default": {"description": "tests", "validityPeriod": validity_s}}
        else:
            config["profiles"] = {"default": {"description": "tests", "validityPeriod": 7776000}}
            config["certificateValidityPeriod"] = 7776000
        if caa_identities is not None:
            config["caaIdentities"] = list(caa_identities)
        if profiles is not None:
            config["profiles"] = {each: {"description": each, "validityPeriod": seconds} for each, seconds in profiles}
        path = self.directory / "pebble.json"
        path.write_text(json.dumps({"pebble": config}))
        self.program, self.path, self.resolver = program, path, resolver
        self.environment = {**os.environ, "PEBBLE_WFE_NONCEREJECT": str(nonce_reject), "PEBBLE_AUTHZREUSE": str(authz_reuse)}
        if sleep_s:
            self.environment["PEBBLE_VA_SLEEPTIME"] = str(sleep_s)
        else:
            self.environment["PEBBLE_VA_NOSLEEP"] = "1"
        if chain_length is not None:
            self.environment["PEBBLE_CHAIN_LENGTH"] = str(chain_length)
        if alternate_roots:
            self.environment["PEBBLE_ALTERNATE_ROOTS"] = str(alternate_roots)
        self.log_path = self.directory / "pebble.log"
        self.process = None
        self.start()

    def start(self):
        self.log = open(self.log_path, "ab")
        self.process = subprocess.Popen([self.program, "-strict", "-config", str(self.path), "-dnsserver", self.resolver],
                                        stdout=self.log, stderr=self.log, env=self.environment, start_new_session=True,
                                        cwd=self.directory)
        net.wait_for_port(self.port + 1, seconds=30, alive=lambda: self.process.poll() is None)
        net.wait_for_port(self.port, seconds=30, alive=lambda: self.process.poll() is None)
        self.roots = self.directory / "issuing-root.pem"
        self.roots.write_bytes(self.management("roots/0"))
        return self

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.log.close()

    def restart(self):
        """The same CA with its database lost."""
        self.stop()
        return self.start()

    def management(self, path, body=None):
        """GET, or POST of a JSON body."""
        context = ssl.create_default_context(cafile=str(self.bundle))
        data = json.dumps(body).encode() if body is not None else None
        with urllib.request.urlopen(f"https://localhost:{self.port + 1}/{path}", data, timeout=5, context=context) as answer:
            return answer.read()

    @property
    def url(self):
        return f"https://localhost:{self.port}/dir"

    @property
    def arguments(self):
        """What a client needs to use this CA."""
        return ["--server", self.url, "--ca-bundle", str(self.bundle), "--agree-tos", "-n"]

    def requests(self):
        """Lines of Pebble's log that are HTTP requests: ["GET /dir", "HEAD /nonce-plz", …]."""
        return re.findall(r"(?m)\b((?:GET|HEAD|POST) /\S*) -> calling handler", self.log_path.read_text(errors="replace"))

    def wait_until_asked(self, pattern, since=0, seconds=60):
        """Wait for a request matching `pattern` among those after the first `since` ones."""
        deadline = time.monotonic() + seconds
        while not any(re.search(pattern, r) for r in self.requests()[since:]):
            if time.monotonic() > deadline:
                raise AssertionError(f"the CA was not asked for {pattern}: {self.requests()[since:]}")
            time.sleep(0.02)
