"""One configuration laid out on a private machine, with everything that it needs but does not bring."""

import os
import pathlib
import re
import subprocess

from harness import snapshot

from .look import NOBODY

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
        self.fixture_names, self.expect_refusal = [], None
        self.ours = False  # a fixture says what it expects; what others wrote is for a person to judge
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

    def make_certificate(self, certificate, key, names=("old.invalid",)):
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
