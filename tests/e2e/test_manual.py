"""Every example of the manual pages, of `tlsup COMMAND --help` and of README is typed in as it stands there, on a machine that has what it speaks of.

Examples are found by their form, so that a new one is run without being entered anywhere: in the pages, lines that begin with "# " or "$ ", and in the
sections EXAMPLES blocks without a prompt, which are configuration or scripts. One that cannot be run here stands in ELSEWHERE with the reason; that its
options are accepted is looked at all the same. What a machine must have had beforehand stands in BEFORE.
"""

import copy
import fnmatch
import json
import os
import pathlib
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import threading

import pytest

from conftest import KEPT, PORTS, kept
from harness import client, fakeca, machine, pki, receivers, web
from harness.client import TOP

PAGES = ["tlsup.1", "tlsup.conf.5", "tlsup-hooks.7", "tlsup-json.7"]

# (pattern of the command, why it cannot be run here): a stale one fails a test.
ELSEWHERE = [
    ("*pkcs11:*", "wants a token and its driver; test_features.py has one"),
    ("*--dns-persist*", "wants a CA that offers dns-persist-01; test_dns.py has one"),
    ("tlsup completion zsh >*", "is for zsh's own prompt; test_completion.py runs it"),
    ("tlsup completion fish >*", "is for a user's own directory; test_completion.py runs it"),
]

# (pattern, commands that were typed in before, on a fresh machine).
BEFORE = [
    ("tlsup rename *", ["tlsup issue example.org --cert-name example.org-0001"]),
    ("tlsup install *", ["tlsup issue example.org"]),
    ("tlsup enable *", []),
    ("tlsup issue *", []),
    ("tlsup check*", []),
    ("tlsup import *", []),
    ("tlsup account register *", []),
    ("cd /etc/letsencrypt*", []),
    ("tlsup account import *", []),
]

# What the machine of all other examples has behind it.
HISTORY = [
    "tlsup enable example.org www.example.org",
    "tlsup issue mail.example.org",
    "tlsup issue old.example.org",
    "tlsup renew example.org --force-renewal",
    "tlsup renew example.org --force-renewal",
    "tlsup renew example.org --force-renewal",
    "tlsup account register --staging",
    "tlsup account register --server zerossl --eab-kid KID --eab-hmac-key @/root/hmac",
]

NAMES = [f"{word}.example.org" for word in ("www", "shop", "mail", "old", "intranet", "app", "appliance", "ns")] + ["example.org", "www.example.com"]
ADDRESS, OTHER_ADDRESS = "203.0.113.7", "192.0.2.1"
CAS = {"letsencrypt": ["acme-v02.api.letsencrypt.org"], "staging": ["acme-staging-v02.api.letsencrypt.org"],
       "zerossl": ["acme.zerossl.com", "api.zerossl.com"], "google": ["dv.acme-v02.api.pki.goog"], "private": ["ca.example.org"]}
DIRECTORIES = {"zerossl": "/v2/DV90", "private": "/acme/directory"}
HERE = pathlib.Path("/run/manual")  # the working directory
PRIVATE = ["/root", "/srv"]         # of the machine itself: hidden while these tests run
ADDED = ["/etc/letsencrypt", "/etc/haproxy", "/etc/prosody", "/etc/tomcat", "/etc/bash_completion.d", "/etc/ssl/example-root.pem",
         "/var/lib/prometheus"]


# -- what is written: the examples ------------------------------------------------------------------------------


def plain(text):
    """A line of a page as its reader sees it."""
    for mark, shown in ((r"\(dq", '"'), (r"\e", "\\"), (r"\&", ""), (r"\-", "-")):
        text = text.replace(mark, shown)
    return text


def blocks(page):
    """(section, lines) of each display of a page."""
    section, inside, found = "", None, []
    for line in page.splitlines():
        if line.startswith(".Sh "):
            section = line[4:]
        elif line.startswith(".Dl "):
            found.append((section, [plain(line[4:])]))
        elif line.startswith(".Bd -literal"):
            inside = []
        elif line.startswith(".Ed") and inside is not None:
            found.append((section, inside))
            inside = None
        elif inside is not None:
            inside.append(plain(line))
    return found


def joined(lines):
    """Lines that end with a backslash and the ones behind them are one."""
    return [" ".join(part.strip() for part in line.split("\\\n")) for line in re.findall(r"(?:.*\\\n)*.*\n?", "\n".join(lines)) if line.strip()]


def typed(command):
    """Without who types it, and what is said of it behind."""
    return re.sub(r"\s{3,}.*", "", re.sub(r"^(sudo|[#$]) ", "", command.strip()))


def sessions_of_pages():
    for page in PAGES:
        for _, lines in blocks((TOP / "docs" / page).read_text()):
            commands = [typed(line) for line in joined(lines) if re.match(r"[#$] ", line)]
            if lines[0][:2] != "#!" and any(re.search(r"tlsup|/hooks/|reload-mail", c) for c in commands):
                yield page, commands


def sessions_of_help():
    """Each line by itself."""
    done = subprocess.run([client.program(), "--help"], capture_output=True, text=True, check=True).stdout
    names = re.findall(r"^  ([a-z][a-z-]*(?: [a-z][a-z-]*)*) ", done.split("Commands:")[1].split("\n\n")[0], re.M)
    for name in ["", "account", "timer", *names]:
        text = subprocess.run([client.program(), *name.split(), "--help"], capture_output=True, text=True, check=True).stdout
        assert "\nExamples:\n" in text, f"tlsup {name} --help has no examples"
        for command in joined(re.split(r"\n\s*\n", text.split("\nExamples:\n")[1])[0].splitlines()):
            yield "--help", [typed(command)]


def sessions_of_readme():
    """Commands without a word that stands for another."""
    for line in (TOP / "README").read_text().splitlines():
        command = typed(line)
        if re.match(r"    (sudo )?tlsup ", line) and not re.search(r"\b[A-Z]{3,}\b|\||\.\.\.", command):
            yield "README", [command]


def sessions():
    """[(source, commands)], each once."""
    found = {}
    for source, commands in [*sessions_of_pages(), *sessions_of_readme(), *sessions_of_help()]:
        found.setdefault(tuple(commands), source)
    return [(source, list(commands)) for commands, source in found.items()]


def first(table, command, otherwise=None):
    return next((value for pattern, value in table if fnmatch.fnmatchcase(command, pattern)), otherwise)


def blocks_of_examples(page):
    return [lines for section, lines in blocks((TOP / "docs" / page).read_text()) if section == "EXAMPLES" and not re.match(r"[#$] ", lines[0])]


# -- the machine --------------------------------------------------------------------------------------------------


class Way:
    """A proxy that leads the CAs' own addresses to those that play them."""

    def __init__(self, ports):
        self.ports, self.socket = ports, socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                threading.Thread(target=self.lead, args=self.socket.accept()[:1], daemon=True).start()
            except OSError:
                return

    def lead(self, near):
        try:
            head = b""
            while b"\r\n\r\n" not in head:
                head += near.recv(4096) or b"\r\n\r\n"
            host = head.split()[1].decode().rsplit(":", 1)[0]
            far = socket.create_connection(("127.0.0.1", self.ports[host]))
        except (OSError, KeyError, IndexError):
            near.close()
            return
        near.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        threading.Thread(target=self.pump, args=(far, near), daemon=True).start()
        self.pump(near, far)

    @staticmethod
    def pump(one, other):
        try:
            while piece := one.recv(65536):
                other.sendall(piece)
        except OSError:
            pass
        for end in (one, other):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.socket.close()


class ManualCA(fakeca.FakeCA):
    """Wildcards are taken as proven: the way there is not what is looked at."""

    def step_of(self, request):
        return "directory" if self.url == self.base + request.path else super().step_of(request)

    def on_order(self, request):
        wildcard = any(i["value"].startswith("*.") for i in request.payload["identifiers"])
        was, self.preauthorized = self.preauthorized, self.preauthorized or wildcard
        try:
            return super().on_order(request)
        finally:
            self.preauthorized = was

    KEPT_MEMBERS = ("accounts", "orders", "authorizations", "revoked", "issued", "eab")

    def remember(self):
        return copy.deepcopy({member: getattr(self, member) for member in self.KEPT_MEMBERS})

    def recall(self, memory):
        for member, value in copy.deepcopy(memory).items():
            setattr(self, member, value)


class Service:
    """A mail server or proxy that has read its certificate: the live one of its name."""

    SMTP = {25, 587}

    def __init__(self, name, port):
        self.name, self.port = name, port
        self.socket = socket.create_server(("0.0.0.0", port))
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            try:
                self.answer(connection)
            except (OSError, ssl.SSLError):
                pass
            finally:
                connection.close()

    def answer(self, connection):
        connection.settimeout(20)
        if self.port in self.SMTP:
            connection.sendall(b"220 mail ESMTP\r\n")
            connection.recv(1024)
            connection.sendall(b"250-mail\r\n250 STARTTLS\r\n")
            connection.recv(1024)
            connection.sendall(b"220 go\r\n")
        live = client.STATE / "live" / self.name
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(live / "fullchain.pem", live / "privkey.pem")
        with context.wrap_socket(connection, server_side=True) as tls:
            tls.recv(1)

    def close(self):
        receivers.end_listener(self.socket, self.thread)


def write(path, text="", mode=0o644):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def jwk_of(pem):
    """A private EC key as certbot keeps it."""
    text = pki.openssl("pkey", "-in", pem, "-noout", "-text").decode()
    private, public = (bytes.fromhex(re.sub(r"[\s:]", "", re.search(rf"{which}:\n((?:\s+[0-9a-f:]+\n)+)", text)[1])) for which in ("priv", "pub"))
    private = private.lstrip(b"\0").rjust(32, b"\0")
    return {"kty": "EC", "crv": "P-256", "x": fakeca.b64(public[1:33]), "y": fakeca.b64(public[33:]), "d": fakeca.b64(private)}


class World:
    """The CAs, once; the machine, anew for each example."""

    def __init__(self, work, authority):
        self.work, self.authority, self.services = work, authority, []
        ports = {}
        self.cas = {}
        for name, hosts in CAS.items():
            directory = work / name
            directory.mkdir()
            url = f"https://{hosts[0]}{DIRECTORIES.get(name, '/directory')}"
            self.cas[name] = ManualCA(directory, authority, next(PORTS), hosts=hosts, directory_url=url)
            self.cas[name].retry_after = "0"
            ports.update({host: self.cas[name].port for host in hosts})
        for name in ("letsencrypt", "staging"):
            self.cas[name].profiles = {"classic": "as ever", "shortlived": "six days"}
        for name in ("zerossl", "google"):
            self.cas[name].eab = {"KID": b"0123456789abcdef0123456789abcdef"}
        self.way = Way(ports)
        self.old_account = work / "old-account.pem"
        pki.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", self.old_account)
        self.request = work / "appliance.csr"
        pki.openssl("req", "-new", *pki.EC, "-nodes", "-keyout", work / "appliance.key", "-out", self.request, "-subj", "/", "-addext",
                    "subjectAltName=DNS:appliance.example.org")
        jwk = jwk_of(self.old_account)
        for ca in self.cas.values():
            ca.add_account({k: v for k, v in jwk.items() if k != "d"})
        self.private_key = json.dumps(jwk)
        self.foreign = authority.server("foreign", ["example.org", "www.example.org"], days_left=60)
        self.beginning = self.remember()
        self.after_history = None

    def remember(self):
        return {name: ca.remember() for name, ca in self.cas.items()}

    def recall(self, memory):
        for name, ca in self.cas.items():
            ca.recall(memory[name])

    def close(self):
        self.way.close()
        for ca in self.cas.values():
            ca.close()

    # -- files that examples name --

    def furnish(self):
        for path in [*ADDED, *map(str, HERE.parent.glob("manual"))]:
            shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else pathlib.Path(path).unlink(missing_ok=True)
        for directory in PRIVATE:
            for entry in pathlib.Path(directory).iterdir():
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        HERE.mkdir()
        write("/etc/tlsup/tlsup.conf", f"ca-bundle = {self.authority.cert}\nagree-tos = yes\nproxy = {self.way.address}\n"
                                       "notify-command = /etc/tlsup/hooks/tell\n")
        with open("/etc/hosts", "a") as hosts:
            hosts.write(f"{ADDRESS} {' '.join(NAMES)}\n")
        self.programs()
        self.credentials()
        self.other_clients()
        for directory in ("/etc/haproxy/certs", "/etc/prosody/certs", "/etc/bash_completion.d", "/var/lib/prometheus/node-exporter"):
            os.makedirs(directory)
        pathlib.Path("/srv/www").symlink_to("/var/www/html")
        write("/etc/ssl/example-root.pem", self.authority.cert.read_text())

    def programs(self):
        """Stand-ins for what hooks call, and for tlsup on the PATH."""
        for path in ["/usr/local/sbin/reload-mail", "/etc/tlsup/hooks/dns", "/etc/tlsup/hooks/tell", HERE / "auth", HERE / "cleanup", HERE / "dns-hook",
                     HERE / "dns", "/root/.acme.sh/dnsapi/dns_cf.sh", *(client.deployers() / f"deploy-{s}" for s in ("postfix", "dovecot", "haproxy"))]:
            write(path, "#!/bin/sh\n", 0o755)
        for name in ("nsupdate", "systemctl", "logger", "wall"):
            write(HERE / "bin" / name, "#!/bin/sh\ncat >/dev/null 2>&1 </dev/null\n", 0o755)
        (HERE / "bin/tlsup").symlink_to(client.program())
        write("/usr/local/sbin/cron", "#!/bin/sh\nsleep 1000\n", 0o755)

    def credentials(self):
        for path in ("/etc/tlsup/dns.env", "/etc/tlsup/cf.env"):
            write(path, "CF_Token=secret\n", 0o600)
        for path in ("/etc/tlsup/tsig.key", "/etc/tsig.key"):
            write(path, "hmac-sha256:key:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n", 0o600)
        for path in ("/root/hmac", "/root/google-hmac"):
            write(path, fakeca.b64(b"0123456789abcdef0123456789abcdef"), 0o600)
        for path in ("/root/pass", HERE / "pass"):
            write(path, "swordfish\n", 0o600)
        shutil.copy(self.old_account, HERE)
        write(HERE / "domains.txt", "example.org www.example.org\nshop.example.org > shop\n")
        shutil.copy(self.request, HERE)
        write(HERE / "private_key.json", self.private_key, 0o600)
        live = client.STATE / "live/example.org"
        for name in ("cert", "privkey"):
            write(HERE / f"{name}.pem", (live / f"{name}.pem").read_text() if live.exists() else "", 0o600)

    def other_clients(self):
        """certbot's store and acme.sh's, as they would have left them, and a web server that reads the first."""
        cert, key = self.foreign
        top, account = pathlib.Path("/etc/letsencrypt"), "accounts/acme-v02.api.letsencrypt.org/directory/0123"
        texts = {"cert": cert.read_text(), "chain": self.authority.cert.read_text(), "privkey": key.read_text(),
                 "fullchain": cert.read_text() + self.authority.cert.read_text()}
        for name, text in texts.items():
            write(top / f"archive/example.org/{name}1.pem", text, 0o600)
            (top / "live/example.org").mkdir(parents=True, exist_ok=True)
            (top / f"live/example.org/{name}.pem").symlink_to(f"../../archive/example.org/{name}1.pem")
        write(top / account / "private_key.json", self.private_key, 0o600)
        write(top / account / "regr.json", json.dumps({"body": {}, "uri": f"{self.cas['letsencrypt'].base}/account/1"}))
        write(top / account / "meta.json", "{}")
        write(top / "renewal/example.org.conf", "version = 2.1.0\n" + "".join(f"{n} = {top}/live/example.org/{n}.pem\n" for n in texts)
              + f"archive_dir = {top}/archive/example.org\n[renewalparams]\naccount = 0123\nauthenticator = nginx\ninstaller = nginx\n"
                "server = https://acme-v02.api.letsencrypt.org/directory\nkey_type = ecdsa\n")
        home = pathlib.Path("/root/.acme.sh/example.org_ecc")
        write(home.parent / "account.conf", "ACCOUNT_EMAIL='admin@example.org'\n")
        for name, text in {"example.org.cer": texts["cert"], "example.org.key": texts["privkey"], "ca.cer": texts["chain"], "fullchain.cer": texts["fullchain"],
                           "example.org.conf": "Le_Domain='example.org'\nLe_Alt='www.example.org'\nLe_Webroot='/var/www/html'\nLe_Keylength='ec-256'\n"
                                               "Le_API='https://acme-v02.api.letsencrypt.org/directory'\n"}.items():
            write(home / name, text, 0o600)

    def web_server(self, command):
        """nginx, or Apache where the command says so, with a site for every name; none where port 80 is to be free."""
        if "--standalone" in command:
            return
        if "--apache" in command:
            apache = web.Apache.required()
            apache.site(*NAMES)
            apache.start()
            return
        nginx = web.Nginx.required()
        pathlib.Path("/etc/nginx/sites-enabled/default").unlink()
        secure = "".join(f"    ssl_{which} /etc/letsencrypt/live/example.org/{file}.pem;\n" for which, file in
                         (("certificate", "fullchain"), ("certificate_key", "privkey"))) if "import" in command else ""
        listen = "    listen 443 ssl;\n" if secure else ""
        for names in (["example.org", "www.example.org"], *([n] for n in NAMES if n not in ("example.org", "www.example.org"))):
            mine = names[0] == "example.org"
            nginx.add_site(names[0], f"server {{\n    listen 80;\n{listen if mine else ''}    server_name {' '.join(names)};\n    root /var/www/html;\n"
                                     f"{secure if mine else ''}}}\n")
        nginx.start()

    def run(self, command):
        env = {"PATH": f"{HERE}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root", "TERM": "dumb"}
        done = subprocess.run(["bash", "-c", command], cwd=HERE, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        logs = "" if done.returncode == 0 else "".join(log.read_text(errors="replace")[-4000:] for log in pathlib.Path("/var/log").glob("*/error.log"))
        assert done.returncode == 0, f"$ {command}\n[status {done.returncode}]\n{done.stdout}{done.stderr}{logs}"
        assert not client.TRACES.search(done.stderr), done.stderr
        return done

    def start_services(self, command):
        for name, port in re.findall(r"--verify ([^\s:]+):(\d+)", command):
            self.services.append(Service(name, int(port)))

    def stop_services(self):
        while self.services:
            self.services.pop().close()

    # -- the machine with a history: made once, copied from then on --

    TREES = ["/etc/tlsup", "/var/lib/tlsup", "/etc/nginx", "/etc/cron.d"]

    def bring_history(self):
        keep = self.work / "history"
        if self.after_history is None:
            self.recall(self.beginning)
            self.furnish()
            self.web_server("")
            for command in HISTORY:
                self.run(command)
            for tree in self.TREES:
                (keep / tree.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
                machine.run("cp", "-a", tree, keep / tree.lstrip("/"))
            self.after_history = self.remember()
            machine.end_all_but(kept())
            machine.renew()
        self.recall(self.after_history)
        for tree in self.TREES:
            shutil.rmtree(tree, ignore_errors=True) if tree == "/etc/nginx" else None
            machine.run("cp", "-a", f"{keep}{tree}/.", tree if os.path.isdir(tree) else machine._made(tree))
        self.furnish()
        web.Nginx.required().start()


@pytest.fixture(scope="module")
def world(work, authority):
    try:
        web.Nginx.required()
    except machine.Unavailable as why:
        pytest.skip(str(why))
    top = work / "manual"
    top.mkdir()
    for path in PRIVATE:
        machine.run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", path)
    machine._stage(str(next(path for path in client.deployers().parents if path.exists())))
    for address in (ADDRESS, OTHER_ADDRESS):
        machine.run("ip", "address", "add", f"{address}/32", "dev", "lo")
    for user, number in (("haproxy", 64901), ("prosody", 64902), ("tomcat", 64903)):
        if not re.search(rf"(?m)^{user}:", pathlib.Path("/etc/passwd").read_text()):
            for file, line in (("passwd", f"{user}:x:{number}:{number}::/:/bin/false\n"), ("group", f"{user}:x:{number}:\n")):
                with open(f"/etc/{file}", "a") as handle:
                    handle.write(line)
    made = World(top, authority)
    yield made
    made.close()
    for address in (ADDRESS, OTHER_ADDRESS):
        machine.run("ip", "address", "del", f"{address}/32", "dev", "lo")
    for path in PRIVATE:
        machine.run("umount", path)
    for path in ADDED:
        shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else pathlib.Path(path).unlink(missing_ok=True)


@pytest.fixture
def prepared(world):
    """prepared(command): a machine on which that command makes sense."""

    def prepare(command):
        before = first(BEFORE, command)
        if before is None:
            world.bring_history()
        else:
            world.recall(world.beginning)
            world.furnish()
            world.web_server(command)
            for each in before:
                world.run(each)
        subprocess.Popen(["/usr/local/sbin/cron"], start_new_session=True)
        return world

    yield prepare
    world.stop_services()
    violations = [v for ca in world.cas.values() for v in ca.violations]
    assert not violations, violations


# -- the tests ------------------------------------------------------------------------------------------------------

SESSIONS = sessions()
TO_RUN = [s for s in SESSIONS if not any(first(ELSEWHERE, c) for c in s[1])]
TO_PARSE = [c for _, commands in SESSIONS for c in commands if first(ELSEWHERE, c) and c.startswith("tlsup ")]


@pytest.mark.parametrize("source, commands", TO_RUN, ids=[f"{source}: {commands[0][:60]}" for source, commands in TO_RUN])
def test_example(prepared, source, commands):
    if any("jq " in c for c in commands) and shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    try:
        world = prepared(commands[0])
    except machine.Unavailable as why:
        pytest.skip(str(why))
    for command in commands:
        world.start_services(command)
    world.run("\n".join(["set -e", *commands]) if len(commands) > 1 else commands[0])


@pytest.mark.parametrize("command", TO_PARSE)
def test_example_for_elsewhere_is_accepted(command):
    """All that is left to fail is the state directory."""
    words = shlex.split(re.split(r" [|>]", command)[0])[1:]
    if words[0] == "completion":
        return
    done = subprocess.run([client.program(), *words, "--state-dir", "/proc/no/such", "--config-dir", "/proc/no/such"], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and "/proc/no" in done.stderr, done


def test_tables_name_what_there_is():
    commands = [c for _, session in SESSIONS for c in session]
    assert len(commands) > 80, "the form of the examples has changed"
    stale = [pattern for pattern, _ in ELSEWHERE if not any(fnmatch.fnmatchcase(c, pattern) for c in commands)]
    assert not stale, stale


@pytest.mark.parametrize("number", range(len(blocks_of_examples("tlsup.conf.5"))))
def test_configuration(prepared, number):
    """Of the machine, or of a certificate."""
    text = "\n".join(blocks_of_examples("tlsup.conf.5")[number]) + "\n"
    if not re.search(r"(?m)^names ", text):
        world = prepared("tlsup status")
        write("/etc/tlsup/tlsup.conf", text)
        world.run("tlsup renew example.org")  # not due: the file is read, and nobody is told anything
        return
    world = prepared("tlsup check")
    write("/etc/tlsup/certs.d/example.conf", text)
    (entry,) = json.loads(world.run("tlsup status --json").stdout)["certificates"]
    assert entry["name"] == "example" and entry["state"] == "pending" and entry["problem"] is None, entry


@pytest.mark.parametrize("number", range(len(blocks_of_examples("tlsup-hooks.7"))))
def test_script(prepared, number):
    """Does the shell take it, and does it come to its end where all that it calls is there?"""
    lines = blocks_of_examples("tlsup-hooks.7")[number]
    world = prepared("tlsup status")
    script = write(HERE / "script", "\n".join(lines) + "\n", 0o755)
    live = client.STATE / "live/mail.example.org"
    variables = {"TLSUP_ACT": "present", "TLSUP_RECORD": "_acme-challenge.example.org", "TLSUP_VALUE": "test", "KEY_FILE": "/etc/tlsup/tsig.key",
                 "RENEWED_DOMAINS": "mail.example.org", "TLSUP_PRIVKEY": live / "privkey.pem", "TLSUP_FULLCHAIN": live / "fullchain.pem",
                 "TLSUP_FAILED": "old.example.org"}
    assert lines[0].startswith("#!/bin/sh"), "neither a command, nor a script"
    world.run(" ".join(f"{name}={value}" for name, value in variables.items()) + f" {script}")
    if shutil.which("shellcheck"):
        world.run(f"shellcheck -S warning {script}")
