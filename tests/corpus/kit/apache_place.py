"""A configuration of Apache, laid out and started."""

import fnmatch
import os
import pathlib
import re
import shutil
import subprocess

from harness import machine, web

from .look import open_at
from .place import HOST, KNOWN_FILES, Place, Skip


class ApachePlace(Place):
    kind, root = "apache", "/etc/apache2"
    environment = web.Apache.environment
    command = None
    test_command = ["/usr/sbin/apache2ctl", "-t"]
    MODULE_OF = {"RewriteEngine": "rewrite", "RewriteRule": "rewrite", "RewriteCond": "rewrite", "RewriteMap": "rewrite",
                 "RewriteOptions": "rewrite", "Header": "headers", "RequestHeader": "headers",
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
            self._make_way(path)
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

    def _make_way(self, tree):
        """Take away the stock links that the tree has as well: a link is never copied over another."""
        for path in tree.rglob("*"):
            stock = pathlib.Path(self.root) / path.relative_to(tree)
            if stock.is_symlink():
                stock.unlink()

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
        self.ours = True
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
        wanted = " ".join(line for t in own for line in re.findall(r"(?im)^\s*(?:<VirtualHost|Listen)\s+(.*)", re.sub(r"\\\r?\n", " ", t)))
        self.make_addresses(sorted({a.strip("[]") for a in re.findall(r"(?i)\[[0-9a-f:]+\]|\d+\.\d+\.\d+\.\d+", wanted)} - {"::", "0.0.0.0"}))
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
