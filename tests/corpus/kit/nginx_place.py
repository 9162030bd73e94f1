"""A configuration of nginx, laid out and started."""

import os
import pathlib
import re
import shutil
import subprocess

from harness import machine

from . import nginx_conf
from .place import DHPARAM, HOST, KNOWN_FILES, Place, Skip


class NginxPlace(Place):
    kind, root = "nginx", "/etc/nginx"
    main = "/etc/nginx/nginx.conf"
    environment = None

    def __init__(self, world, config):
        super().__init__(world, config)
        self.binary = "/usr/sbin/nginx"
        given = [] if world.nginx_default_conf == self.main else ["-c", self.main]
        self.command = [self.binary, *given]
        self.test_command = [*self.command, "-t"]

    def plain_warnings(self, said):
        for line in said.splitlines():
            if "[warn]" in line:
                yield re.sub(r" in \S+:\d+$|(?<=\] )\d+#\d+: ", "", line[line.index("[warn]"):])

    def lay(self):
        path = pathlib.Path(self.config["path"])
        if path.is_dir():
            if (path / "nginx.conf").exists():
                for name in ("sites-enabled", "conf.d", "sites-available"):
                    shutil.rmtree(f"{self.root}/{name}")
                    os.mkdir(f"{self.root}/{name}")
            shutil.copytree(path, self.root, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".git"))
            names = pathlib.Path(self.root, "names")
            if names.is_file():
                self.fixture_names = names.read_text().split()
                names.unlink()
            return
        data = path.read_bytes()
        if re.search(rb"(?m)^#@ ", data):
            self._lay_fixture(data)
        elif re.search(rb"(?m)^\s*http\s*\{", data):
            pathlib.Path(self.main).write_bytes(data)
            self._no_default()
        else:
            self._no_default()
            pathlib.Path(f"{self.root}/sites-available/{path.stem}.conf").write_bytes(data)
            os.symlink(f"/etc/nginx/sites-available/{path.stem}.conf", f"{self.root}/sites-enabled/{path.stem}.conf")

    def _no_default(self):
        pathlib.Path(f"{self.root}/sites-enabled/default").unlink(missing_ok=True)

    def _lay_fixture(self, data):
        """The format of tests/unit/test_nginx.c, whose files stand here where they stand on Debian."""
        self.ours = True
        for entry in os.scandir(self.root):
            shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)
        self._put("main.inc", b"pid /run/nginx.pid;\nerror_log /var/log/nginx/error.log;\nevents { worker_connections 64; }\n")
        self._put("http.inc", b"access_log /var/log/nginx/access.log;\n")
        self._put("mime.inc", b"types { text/html html; }\n")
        self._put("htpasswd", b"a:b\n")
        for name, names, kind in (("old", ["nobody.invalid"], "ec"), ("old2", ["nobody.invalid"], "rsa"),
                                  ("keep", ["example.org", "keep.example.org"], "ec")):
            pair = self.world.pair(names, kind)
            self._put(f"{name}.pem", pair[0])
            self._put(f"{name}.key", pair[1])
        file, part, links = "nginx.conf", [], []
        for line in data.split(b"\n"):
            if not line.startswith(b"#@ "):
                part.append(line)
                continue
            self._put_part(file, part)
            part = []
            key, _, rest = line[3:].decode().strip().partition(" ")
            if key == "names":
                self.fixture_names += rest.split()
            elif key == "refuse":
                self.expect_refusal = rest
            elif key == "file":
                file = rest
            elif key == "dir":
                os.makedirs(f"{self.root}/{rest}", exist_ok=True)
            elif key == "link":
                links.append(rest.split())
        self._put_part(file, part, last=True)
        for link, target in links:
            os.makedirs(os.path.dirname(f"{self.root}/{link}"), exist_ok=True)
            os.symlink(f"{self.root}/{target}", f"{self.root}/{link}")

    def _put_part(self, file, lines, last=False):
        if lines and not last:
            lines = [*lines, b""]  # the line break before the next key
        if any(lines):
            self._put(file, b"\n".join(lines))

    def _put(self, name, data):
        path = pathlib.Path(self.root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    # -- what it needs --

    def provide(self):
        try:
            conf = nginx_conf.Configuration(self.main)
        except (nginx_conf.Unreadable, OSError, IndexError) as error:
            conf = None
            self.world.say(f"{self.config['title']}: {error}")
        if conf:
            self._provide_for(conf)
        for _ in range(60):
            passed, _, said = self.test()
            if passed:
                return
            self._mend(said)
        raise Skip(f"its needs never end: {said[:200]}")

    def _path(self, word, base="/etc/nginx"):
        return None if "$" in word or ":" in word.split("/")[0] else os.path.join(base, word)

    def _provide_for(self, conf):
        prefix = self.world.nginx_prefix
        self.make_addresses(nginx_conf.Sockets(conf.servers).specific)
        for d in conf.root.all("ssl_certificate", "ssl_password_file", "ssl_session_ticket_key", "ssl_dhparam", "ssl_trusted_certificate",
                               "ssl_client_certificate", "auth_basic_user_file", "root", "access_log", "error_log", "alias",
                               "proxy_cache_path", "fastcgi_cache_path", "uwsgi_cache_path", "user", "proxy_temp_path", "fastcgi_temp_path",
                               "client_body_temp_path", "uwsgi_temp_path", "scgi_temp_path"):
            if not d.arguments:
                continue
            word = d.arguments[0]
            path = self._path(word, prefix if d.name in ("root", "alias", "access_log", "error_log") or d.name.endswith("_path") else self.root)
            if d.name == "user":
                for each in d.arguments:
                    self.make_user(each)
            elif path is None or word in ("off", "stderr", "data") or word.startswith(("syslog:", "memory:")):
                continue
            elif d.name == "ssl_certificate":
                self._certificate_for(d, path)
            elif d.name == "ssl_session_ticket_key":
                self.make_file(path, os.urandom(80), 0o600)
            elif d.name == "ssl_dhparam":
                self.make_file(path, DHPARAM)
            elif d.name.startswith("ssl_") and d.name.endswith("certificate"):
                self.make_file(path, self.world.pair(["authority.invalid"])[0])
            elif d.name in ("auth_basic_user_file", "ssl_password_file"):
                self.make_file(path, b"")
            elif d.name in ("root", "alias"):
                self.make_directory(path, index=True)
            elif d.name.endswith("_path"):
                self.make_directory(os.path.dirname(path.rstrip("/")))
            else:
                self.make_directory(os.path.dirname(path))

    def _certificate_for(self, d, path):
        names = [n for s in (d.parent.block or []) if s.name == "server_name" for n in s.arguments
                 if HOST.fullmatch(n.lower().removeprefix("*."))]
        keys = [k for k in d.parent.block if k.name == "ssl_certificate_key"]
        certificates = [c for c in d.parent.block if c.name == "ssl_certificate"]
        index = [c is d for c in certificates].index(True)
        key = keys[index] if index < len(keys) else d.parent.first("ssl_certificate_key")
        key = self._path(key.arguments[0]) if key else None
        self.make_certificate(path, key, names or ["old.invalid"])

    def _mend(self, said):
        """What does nginx miss? Make it, or give up with its words."""
        emerg = next((line for line in said.splitlines() if "[emerg]" in line), said.strip().splitlines()[0] if said.strip() else "nothing said")
        text = emerg.split("[emerg]")[-1].strip()
        text = re.sub(r"^\d+#\d+: ", "", text)
        if match := re.match(r'host not found in (?:upstream |resolver |")?"?([^":/ ]+)', text):
            self.make_host(match.group(1))
        elif match := re.match(r'getpwnam\("(.*)"\)|getgrnam\("(.*)"\)', text):
            self.make_user(match.group(1) or match.group(2))
        elif match := re.match(r'open\(\) "(.*)" failed \(2', text):
            path = match.group(1)
            if self.ours:
                raise Skip(f"nginx refuses it: {text}")
            if " in " in text.split("failed")[1] and not path.endswith(".log"):
                self.make_file(path, KNOWN_FILES.get(os.path.basename(path), ""))
            else:
                self.make_directory(os.path.dirname(path))
        elif match := re.match(r'mkdir\(\) "(.*)" failed \(2', text):
            self.make_directory(os.path.dirname(match.group(1)))
        elif match := re.match(r'cannot load certificate(?: key)? "(.*?)"', text):
            if os.path.exists(match.group(1)):
                raise Skip(text)
            self.make_certificate(match.group(1) if "key" not in text[:24] else None, match.group(1) if "key" in text[:24] else None)
        elif match := re.search(r'\("(/[^"]*)"(?:,[^)]*)?\) failed.*No such file', text):
            self.make_file(match.group(1), DHPARAM if "DH" in text or "dhparam" in match.group(1) else self.world.pair(["authority.invalid"])[0])
        elif match := re.match(r"bind\(\) to \[?([0-9a-fA-F.:]+?)\]?:\d+ failed \(99", text):
            self.make_addresses([match.group(1)])
        elif match := re.match(r'unknown directive "(.*)"|unknown "(.*)" variable|dlopen\(\) "(.*?)"', text):
            raise Skip(f"module missing: {next(g for g in match.groups() if g)}")
        else:
            raise Skip(f"nginx refuses it: {text}")

    def start(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                        start_new_session=True)

        def comes_up():
            if self.process.poll():
                raise Skip(f"nginx does not start: {self.process.stderr.read().strip()[-300:]}")
            return self.workers()

        machine.until(comes_up, "nginx has no workers", seconds=30)

    def master(self):
        return next((pid for pid, _, name, argv in machine.processes() if name == "nginx" and argv and argv[0].startswith("nginx: master")), None)

    def workers(self):
        master = self.master()
        return set(machine.children_of(master)) if master else set()

    # -- what it serves --

    def read(self):
        try:
            self.conf = nginx_conf.Configuration(self.main)
        except (nginx_conf.Unreadable, IndexError) as error:
            raise Skip(f"the harness cannot read it: {error}") from None
        self.sockets = nginx_conf.Sockets(self.conf.servers)
        self.make_addresses([self.sockets.any6])
        web_servers = [s for s in self.conf.servers if any(p in l.ports for l in s.listens for p in (80, 443))]
        seen = [re.sub(r"^\.", "", re.sub(r"^\*\.", "any.", re.sub(r"\.\*$", ".test", n))) for s in web_servers for n in s.names
                if not n.startswith("~") and "$" not in n]
        self.all_names = list(dict.fromkeys(n for n in seen if n and re.fullmatch(r"[!-~]+", n)))
        plain = [n.removeprefix(".") for s in web_servers for n in s.names]
        self.names = self.fixture_names or list(dict.fromkeys(n for n in plain if HOST.fullmatch(n)))
        self.all_names += [n for n in self.names if n not in self.all_names and "*" not in n]
        blocks = {}
        for name in self.names:
            owner = next((o for port in (80, 443) for a in self.sockets.addresses(port) if (o := self.sockets.owner(name, a, port))), None)
            blocks.setdefault(id(owner), []).append(name)
        self.groups = [g for g in blocks.values() if len(g) > 1]

    def addresses(self, port):
        return self.sockets.addresses(port)

    def wildcard(self, address):
        return self.sockets.any6 if ":" in address else self.sockets.any4

    def served_at(self, name):
        explicit = [a for a in self.addresses(80) if self.sockets.owner(name, a, 80)]
        return explicit or self.addresses(80)

    def owns(self, name, address, port):
        """Has a server of the configuration this name there, not just as the default one?"""
        return self.sockets.owner(name, address, port) is not None

    def proxied(self, address, port):
        return self.sockets.proxied(address, port) or port == 443 and not self.sockets.at(address, 443) and self.sockets.proxied(address, 80)
