"""One configuration laid out on a private machine, with everything that it needs but does not bring."""

import fnmatch
import os
import pathlib
import re
import shutil
import subprocess

from harness import machine, pki, snapshot, web

from . import nginx_conf
from .look import NOBODY, open_at

HOST = re.compile(r"(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
PAGE = "<p>a page of the corpus</p>\n"
KNOWN_FILES = {
    "options-ssl-nginx.conf": "ssl_session_cache shared:le_nginx_SSL:10m;\nssl_session_timeout 1440m;\nssl_session_tickets off;\n"
                              "ssl_protocols TLSv1.2 TLSv1.3;\nssl_prefer_server_ciphers off;\n",
    "options-ssl-apache.conf": "SSLEngine on\nSSLProtocol all -SSLv2 -SSLv3 -TLSv1 -TLSv1.1\nSSLHonorCipherOrder off\n",
}
DHPARAM = """-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaG
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""


class Skip(Exception):
    """This configuration cannot run on this machine, or is none; with the reason."""


class Place:
    """Common to both servers. After ready(): a running server, `names`, `groups`."""

    kind = root = ""

    def __init__(self, world, config):
        self.world, self.config = world, config
        self.fixture_names, self.expect_refusal, self.may_fail = [], None, False
        self.redirect, self.asked = False, []
        self.names, self.groups, self.all_names = [], [], []

    def ready(self):
        self.lay()
        self.provide()
        self.start()
        self.read()
        return self

    # -- making what is missing --

    def make_file(self, path, data, mode=0o644):
        path = pathlib.Path(path)
        if path.exists() or path.is_symlink() and not self._in_private(path):
            return
        self.make_directory(path.parent)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        path.chmod(mode)
        self.world.note(path, watched=True)

    def make_directory(self, path, index=False):
        path = pathlib.Path(path)
        missing = [p for p in (path, *path.parents) if not p.exists()]
        if missing:
            if not self._in_private(path):
                raise Skip(f"needs the directory {path}, which cannot be made without touching the machine")
            try:
                path.mkdir(parents=True)
            except OSError as error:
                raise Skip(f"the directory {path} cannot be made: {error.strerror}") from None
            self.world.note(missing[-1])
        if index and missing:
            (path / "index.html").write_text(PAGE)
            (path / "index.php").write_text("<?php\n")

    def _in_private(self, path):
        return self.world.whole or any(str(path).startswith(p + "/") for p in ("/etc", "/run", "/var/www", "/var/log", "/var/lib"))

    def make_certificate(self, certificate, key, names=["old.invalid"]):
        """A self-signed pair for paths of which at least one is missing."""
        if certificate and key and os.path.exists(certificate) and os.path.exists(key):
            return
        if any((path or "").startswith("/nonexistent") for path in (certificate, key)):
            return  # it says so itself
        pair = self.world.pair(names)
        if certificate == key:
            self.make_file(certificate, pair[0] + pair[1], 0o600)
            return
        for path, data in ((certificate, pair[0]), (key, pair[1])):
            if path:
                if os.path.exists(path):
                    os.unlink(path)
                self.make_file(path, data, 0o600 if path == key else 0o644)

    def make_user(self, name, group=False):
        number = 52000 + sum(map(ord, name))
        for file, line in (("/etc/group", f"{name}:x:{number}:\n"), ("/etc/passwd", f"{name}:x:{number}:{number}::/nonexistent:/bin/false\n")):
            text = pathlib.Path(file).read_text()
            if not re.search(rf"(?m)^{re.escape(name)}:", text):
                pathlib.Path(file).write_text(text + line)

    def make_host(self, name):
        with open("/etc/hosts", "a") as file:
            file.write(f"127.0.0.1 {name}\n")

    def make_addresses(self, addresses):
        for address in addresses:
            self.world.add_address(address)

    # -- looking at it --

    def snapshot(self):
        return snapshot.snapshot(self.root, *self.world.watched)

    def test(self):
        """(does it pass, warnings without their places)"""
        result = subprocess.run(self.test_command, capture_output=True, text=True, errors="replace", env=self.environment)
        said = result.stdout + result.stderr
        return result.returncode == 0, sorted(self.plain_warnings(said)), said

    def questions(self):
        """What is observed: (scheme, address, name)."""
        for name in [*self.all_names, NOBODY]:
            for port, scheme in ((80, "http"), (443, "https")):
                for address in self.addresses(port):
                    yield scheme, address, name

    def wildcard(self, address):
        """The address of the same family that stands for all of them."""
        return "::1" if ":" in address else "127.0.0.1"

    def resolve(self, name):
        """Let the CA find the name at one address where it is served."""
        at = self.served_at(name) or self.addresses(80) or ["127.0.0.1"]
        self.world.dns.addresses(name, [a for a in at[:1] if ":" not in a], [a for a in at[:1] if ":" in a])


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
            elif key == "serve":
                self.may_fail = True
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


class ApachePlace(Place):
    kind, root = "apache", "/etc/apache2"
    environment = web.Apache.environment
    command = None
    test_command = ["/usr/sbin/apache2ctl", "-t"]
    MODULE_OF = {"RewriteEngine": "rewrite", "RewriteRule": "rewrite", "RewriteCond": "rewrite", "Header": "headers", "RequestHeader": "headers",
                 "ProxyPass": "proxy_http", "ProxyPassReverse": "proxy_http", "ProxyPreserveHost": "proxy_http", "ProxyRequests": "proxy_http",
                 "ProxyPassMatch": "proxy_http", "<Proxy": "proxy_http", "SSLEngine": "ssl", "SSLProtocol": "ssl", "SSLCertificateFile": "ssl",
                 "ExpiresActive": "expires", "SSLProxyEngine": "ssl", "Use": "macro", "<Macro": "macro", "DavLockDB": "dav_fs", "Dav": "dav_fs",
                 "VirtualDocumentRoot": "vhost_alias", "UserDir": "userdir", "RemoteIPHeader": "remoteip", "H2Push": "http2", "ScriptSock": "cgid",
                 "AddOutputFilterByType": "filter", "SSLStaplingCache": "ssl", "BalancerMember": "proxy_balancer", "AuthDigestProvider": "auth_digest",
                 "LuaRoot": "lua", "Substitute": "substitute", "ActionType": "actions", "Action": "actions", "ExtFilterDefine": "ext_filter",
                 "SessionCookieName": "session_cookie", "ProxyHTMLEnable": "proxy_html", "CGIDScriptTimeout": "cgid", "MDomain": "md"}

    def plain_warnings(self, said):
        for line in said.splitlines():
            if re.search(r"AH\d+|[Ww]arn", line):
                yield re.sub(r"^\[[^]]*\] |\d+", "", line)

    def lay(self):
        path = pathlib.Path(self.config["path"])
        if path.is_dir():
            if (path / "apache2.conf").exists():
                for entry in os.scandir(f"{self.root}/sites-enabled"):
                    os.unlink(entry.path)
            shutil.copytree(path, self.root, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".git"))
            names = pathlib.Path(self.root, "names")
            if names.is_file():
                self.fixture_names = names.read_text().split()
                names.unlink()
            return
        data = path.read_bytes()
        if re.search(rb"(?m)^#: layout tree", data):
            self._lay_tree(path, data)
            return
        os.unlink(f"{self.root}/sites-enabled/000-default.conf")
        if re.search(rb"(?m)^#: ", data):
            self._lay_fixture(path, data)
        else:
            self._site(path.stem, data)

    def _site(self, title, data):
        pathlib.Path(f"{self.root}/sites-available/{title}.conf").write_bytes(data)
        os.symlink(f"../sites-available/{title}.conf", f"{self.root}/sites-enabled/{title}.conf")

    def _lay_fixture(self, path, data):
        """The format of tests/unit/test_apache.c, laid over Debian's stock configuration."""
        meta = self._read_meta(data)
        layout = meta.get("layout", "debian")
        self._furnish_fixture(path)
        head = self.HEAD + "ServerName main.example\n"
        if layout == "debian":
            for module in meta.get("modules", "").split():
                self.enable(module)
            pathlib.Path(f"{self.root}/conf-enabled/corpus.conf").write_text(head)
            if "listen" in meta:
                ports = pathlib.Path(f"{self.root}/ports.conf")
                ports.write_text(re.sub(r"(?m)^Listen 80$", f"Listen {meta['listen']}", ports.read_text()))
            self._site("m-site", data)
            return
        self._lay_other(layout, meta, head, data)

    HEAD = "Define WWW /var/www/corpus\nDefine OLD /etc/apache2/old\nDefine MODULES /usr/lib/apache2/modules\n"
    OWN_LINES = "PidFile /run/apache2/apache2.pid\nErrorLog /var/log/apache2/error.log\nUser www-data\nGroup www-data\n"

    def _read_meta(self, data):
        meta = dict(re.findall(r"(?m)^#: (\S+) ?(.*?)\r?$", data.decode("latin-1"))[::-1])
        self.fixture_names = meta.get("names", "").split()
        self.redirect = "yes" in (meta.get("redirect"), meta.get("asked-redirect"))
        self.asked = [*(["--hsts-max-age", f"{int(meta['hsts']) // 60}m"] if "hsts" in meta else []),
                      *(["--tls-profile", meta["profile"]] if "profile" in meta else [])]
        for key in ("challenge", "https"):
            if meta.get(key, "").startswith("refuse "):
                self.expect_refusal = meta[key].removeprefix("refuse ")
        return meta

    def _furnish_fixture(self, path):
        for name, each in zip(("cert.pem", "key.pem"), self.world.pair(["example.org", "lost.example"])):
            self.make_file(f"/etc/apache2/old/{name}", each)
        os.makedirs("/var/www/corpus")
        pathlib.Path("/var/www/corpus/index.html").write_text("the page\n")
        if (extra := path.parent / "extra").is_dir():
            shutil.copytree(extra, f"{self.root}/extra")

    def _lay_tree(self, path, data):
        """A fixture that is another distribution's whole tree; its first file is the main one."""
        for entry in os.scandir(self.root):
            shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)
        meta = self._read_meta(data)
        self._furnish_fixture(path)
        os.makedirs("/run/apache2")
        os.symlink("/run/apache2", f"{self.root}/run")
        os.symlink("/var/www/corpus", f"{self.root}/www")
        parts = re.split(rb"(?m)^#: file ([^\r\n]*)\r?\n", data)[1:]
        for name, text in zip(parts[::2], parts[1::2]):
            file = pathlib.Path(self.root, name.decode())
            file.parent.mkdir(parents=True, exist_ok=True)
            if name == parts[0]:
                self._main_is(str(file))
                text = f"ServerRoot {self.root}\n{self.HEAD}{self.OWN_LINES}".encode() + text
            file.write_bytes(text)
        if "dangling" in meta:
            os.symlink("/nowhere/at/all", f"{self.root}/{meta['dangling']}")

    def _main_is(self, file):
        """Not where Debian has it: the server is then told by -d and -f, as whoever starts it there does."""
        self.command = ["/usr/sbin/apache2", "-d", self.root, "-f", file]
        self.test_command = [*self.command, "-t"]

    def _lay_other(self, layout, meta, head, data):
        stock = "mpm_event authz_core authz_host alias dir".split()
        modules = [*stock, *meta.get("modules", "").split()]
        text = head + self.OWN_LINES
        if layout == "bare":
            text += "".join(f"LoadModule {m}_module /usr/lib/apache2/modules/mod_{m}.so\n" for m in stock)
        else:
            for entry in os.scandir(f"{self.root}/mods-enabled"):
                os.unlink(entry.path)
            for module in modules:
                self.enable(module)
            text += "IncludeOptional mods-enabled/*.load\nIncludeOptional mods-enabled/*.conf\n"
        for name in ("sites-enabled", "sites-available", "conf-enabled", "conf-available"):
            shutil.rmtree(f"{self.root}/{name}")
        text += f"Listen {meta.get('listen', '80')}\n"
        main = pathlib.Path(f"{self.root}/apache2.conf")
        if layout != "confd":
            main.write_bytes(text.encode() + data)
            return
        main.write_text(text + "IncludeOptional conf.d/*.conf\n")
        os.mkdir(f"{self.root}/conf.d")
        pathlib.Path(f"{self.root}/conf.d/m-site.conf").write_bytes(data)
        pathlib.Path(f"{self.root}/conf.d/ssl.conf").write_text(
            "Listen 443 https\n<VirtualHost _default_:443>\nSSLEngine on\nDocumentRoot ${WWW}\n"
            "SSLCertificateFile ${OLD}/cert.pem\nSSLCertificateKeyFile ${OLD}/key.pem\n</VirtualHost>\n")

    def enable(self, module):
        """As a2enmod does, the module's needs included."""
        available = pathlib.Path(f"{self.root}/mods-available")
        load = available / f"{module}.load"
        if not load.exists():
            raise Skip(f"module missing: {module}")
        needs = re.search(r"(?m)^# Depends: (.*)$", load.read_text())
        for each in needs.group(1).split() if needs else []:
            self.enable(each)
        for end in ("load", "conf"):
            link = pathlib.Path(f"{self.root}/mods-enabled/{module}.{end}")
            if (available / link.name).exists() and not link.is_symlink():
                link.symlink_to(f"../mods-available/{link.name}")

    def provide(self):
        os.makedirs("/run/lock/apache2", exist_ok=True)
        os.makedirs("/run/apache2", exist_ok=True)
        texts = [p.read_bytes().decode("latin-1") for p in pathlib.Path(self.root).rglob("*.conf") if p.is_file()]
        own = [t for t in texts if "VirtualHost" in t]
        self.make_addresses(sorted({a.strip("[]") for t in own for a in
                                    re.findall(r"(?im)^\s*(?:<VirtualHost|Listen)\s+\"?(\[[0-9a-f:]+\]|\d+\.\d+\.\d+\.\d+)", t)} - {"::", "0.0.0.0"}))
        self._provide_files(own)
        for _ in range(60):
            passed, _, said = self.test()
            if passed:
                return
            self._mend(said)
        raise Skip(f"its needs never end: {said[:200]}")

    def _provide_files(self, texts):
        for text in texts:
            for directive, word in re.findall(r"(?im)^\s*(DocumentRoot|ErrorLog|CustomLog|SSLCertificateFile|AuthUserFile)\s+\"?([^\"\s]+)", text):
                word = word.replace("${APACHE_LOG_DIR}", "/var/log/apache2")
                if "$" in word or "%" in word or word.startswith(("|", "syslog")):
                    continue
                path = os.path.join(self.root, word)
                if directive == "DocumentRoot":
                    self.make_directory(path, index=True)
                elif directive in ("ErrorLog", "CustomLog"):
                    self.make_directory(os.path.dirname(path))
                elif directive == "AuthUserFile":
                    self.make_file(path, b"")
                else:
                    key = re.search(rf"(?i){re.escape(word)}.*?^\s*SSLCertificateKeyFile\s+\"?([^\"\s]+)", text, re.S | re.M)
                    self.make_certificate(path, os.path.join(self.root, key.group(1)) if key else path)

    def _mend(self, said):
        if match := re.search(r"Invalid command '([^']+)'", said):
            module = self.MODULE_OF.get(match.group(1))
            if not module:
                raise Skip(f"module missing: {match.group(1)}")
            before = len(os.listdir(f"{self.root}/mods-enabled"))
            self.enable(module)
            if len(os.listdir(f"{self.root}/mods-enabled")) == before:
                raise Skip(f"module missing: {match.group(1)}")
        elif match := re.search(r"(SSLCACertificateFile|SSLCertificateChainFile|SSLCertificateFile|SSLCertificateKeyFile): file '([^']+)' does not exist", said):
            pair = self.world.pair(["old.invalid"])
            self.make_file(match.group(2), pair["Key" in match.group(1)])
        elif match := re.search(r"AH02291: Cannot access directory '([^']+)'", said):
            self.make_directory(match.group(1).rstrip("/"))
        elif match := re.search(r"Could not open configuration file (\S+): No such file", said):
            self.make_file(match.group(1), KNOWN_FILES.get(os.path.basename(match.group(1)), ""))
        elif match := re.search(r"(?:bad user name|bad group name) (\S+)", said):
            self.make_user(match.group(1))
        else:
            raise Skip("apache refuses it: " + " ".join(said.split())[:200])

    def start(self):
        self.server = web.Apache()
        try:
            if self.command:
                machine.run(*self.command, "-k", "start", env=self.environment)
                self.server.settle()
            else:
                self.server.start()
        except (subprocess.CalledProcessError, AssertionError) as error:
            raise Skip(f"apache does not start: {str(getattr(error, 'stderr', '') or error)[-300:]}") from None

    def master(self):
        return self.server.master()

    def workers(self):
        return self.server.workers()

    def read(self):
        said = subprocess.run([*self.test_command[:-1], "-S"], capture_output=True, text=True, errors="replace", env=self.environment).stdout
        self.hosts = list(self._hosts(said))
        wanted = [h for h in self.hosts if h[1] in ("80", "443", "*")]
        seen = [re.sub(r"^\*\.", "any.", n).replace("*", "x") for _, _, names in wanted for n in names]
        self.all_names = list(dict.fromkeys(n for n in seen if re.fullmatch(r"[!-~]+", n)))
        self.names = self.fixture_names or list(dict.fromkeys(n for _, _, names in wanted for n in names if HOST.fullmatch(n)))
        self.all_names += [n for n in self.names if n not in self.all_names and "*" not in n]
        by_group = [[n for n in self.names if n in names] for _, port, names in wanted if port != "443"]
        self.groups = [g for i, g in enumerate(by_group) if len(g) > 1 and g not in by_group[:i]]
        specific = {address for address, _, _ in self.hosts if address != "*"}
        self.known = sorted(specific | {"127.0.0.1", "::1"}, key=lambda a: (":" in a, a))
        if "127.0.0.1" in specific:
            self.known.insert(0, "127.0.0.77")  # one that only a wildcard takes
        self.open = {port: [a for a in self.known if open_at(a, port)] for port in (80, 443)}

    @staticmethod
    def _hosts(said):
        """(address, port, names) of each virtual host in what `apache2ctl -S` says; "*" is any address."""
        address = host = None
        for line in map(str.strip, said.splitlines()):
            if match := re.match(r"(\*|\[?[0-9a-fA-F.:]+\]?):(\d+|\*) +(.*)", line):
                if host:
                    yield host
                address, port, rest = match.groups()
                address, host = "*" if address in ("*", "[::]") else address.strip("[]"), None
                if not rest.startswith("is a NameVirtualHost"):
                    host = (address, port, [rest.split()[0].lower()])
            elif match := re.match(r"port (\d+|\*) namevhost (\S+)", line):
                if host:
                    yield host
                host = (address, match.group(1), [match.group(2).lower()])
            elif host and (match := re.match(r"(?:wild )?alias (\S+)", line)):
                host[2].append(match.group(1).lower())
        if host:
            yield host

    def addresses(self, port):
        return self.open[port]

    def owns(self, name, address, port):
        """Has a virtual host this name there, not just as the default one?"""
        there = [names for a, p, names in self.hosts if a == address and p in (str(port), "*")]
        there = there or [names for a, p, names in self.hosts if a == "*" and p in (str(port), "*")]
        return any(fnmatch.fnmatch(name, pattern) for names in there for pattern in names)

    def served_at(self, name):
        return [a for a in self.addresses(80) if self.owns(name, a, 80)] or self.addresses(80)

    def proxied(self, address, port):
        return False
