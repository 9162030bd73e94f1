"""nginx and Apache for real, with Debian's stock configuration, on ports 80 and 443 of the private world."""

import os
import pathlib
import shutil
import subprocess

from . import machine, net, snapshot

CERTLESS_SITE = {"nginx": """server {{
    listen 80;
    listen [::]:80;
    server_name {names};
    root /var/www/{first};
    index index.html;
{extra}
}}
""", "apache": """<VirtualHost *:80>
    ServerName {first}
{alias}
    DocumentRoot /var/www/{first}
    ErrorLog ${{APACHE_LOG_DIR}}/error.log
{extra}
</VirtualHost>
"""}


class WebServer:
    """Common to both. `kind` is the word that tlsup's flags use."""

    kind = program = tree = pid_file = ""

    @classmethod
    def required(cls):
        """An instance; machine.Unavailable with the reason where there can be none."""
        if shutil.which(cls.program, path="/usr/sbin") is None:
            raise machine.Unavailable(f"{cls.kind} is not installed")
        reason = machine.PRISTINE / f"{cls.program}.unavailable"
        if reason.exists():
            raise machine.Unavailable(reason.read_text())
        return cls()

    def start(self):
        self.control("start")
        self.settle()
        return self

    def settle(self, old=()):
        """Wait until it has workers, none of the `old` ones among them: signals are heeded from then on, and nobody answers by an old configuration."""
        machine.until(lambda: self.runs() and self.workers() and not self.workers() & set(old),
                      lambda: f"{self.kind} does not come up: {self.error_log()[-2000:]}")

    def reload(self):
        """A reload that is over when this returns."""
        old = self.workers()
        self.control("reload")
        self.settle(old)

    def workers(self):
        return set(machine.children_of(self.master()))

    def runs(self):
        """Does the pid file name a process that is this server? It may still be that of a former test's."""
        try:
            return pathlib.Path("/proc", pathlib.Path(self.pid_file).read_text().strip(), "comm").read_text().strip() == self.program
        except OSError:
            return False

    def master(self):
        return int(pathlib.Path(self.pid_file).read_text())

    def site(self, *names, extra="", page=None):
        """A site of one's own, as a person would write it; returns its file."""
        first = names[0]
        root = pathlib.Path("/var/www") / first
        root.mkdir(parents=True, exist_ok=True)
        (root / "index.html").write_text(page or f"<p>this is {first}</p>\n")
        alias = f"    ServerAlias {' '.join(names[1:])}\n" if names[1:] else ""
        text = CERTLESS_SITE[self.kind].format(first=first, names=" ".join(names), alias=alias, extra=extra)
        return self.add_site(first, text)

    def add_site(self, title, text):
        raise NotImplementedError

    def configuration(self):
        return snapshot.snapshot(self.tree)

    def test(self):
        raise NotImplementedError

    def control(self, verb):
        raise NotImplementedError

    def error_log(self):
        path = pathlib.Path(f"/var/log/{self.program}/error.log")
        return path.read_text(errors="replace") if path.exists() else ""


class Nginx(WebServer):
    kind, program, tree, pid_file = "nginx", "nginx", "/etc/nginx", "/run/nginx.pid"

    def control(self, verb):
        argv = ["/usr/sbin/nginx"] if verb == "start" else ["/usr/sbin/nginx", "-s", verb]
        return machine.run(*argv)

    def test(self):
        return subprocess.run(["/usr/sbin/nginx", "-t"], capture_output=True, text=True)

    def add_site(self, title, text):
        path = pathlib.Path("/etc/nginx/sites-available") / title
        path.write_text(text)
        pathlib.Path("/etc/nginx/sites-enabled", title).symlink_to(path)
        return path

    def break_it(self):
        """A mistake of a person's; (file, line) of it."""
        path = pathlib.Path("/etc/nginx/sites-available/default")
        lines = path.read_text().splitlines(True)
        path.write_text("".join(lines) + "server { listen 80; no_such_directive on; }\n")
        return path, len(lines) + 1


class Apache(WebServer):
    kind, program, tree, pid_file = "apache", "apache2", "/etc/apache2", "/run/apache2/apache2.pid"
    # Without this apache2ctl looks for systemd.
    environment = {**os.environ, "APACHE_STARTED_BY_SYSTEMD": "true"}

    def control(self, verb):
        return machine.run("/usr/sbin/apache2ctl", "graceful" if verb == "reload" else verb, env=self.environment)

    def test(self):
        return subprocess.run(["/usr/sbin/apache2ctl", "-t"], capture_output=True, text=True, env=self.environment)

    def add_site(self, title, text):
        path = pathlib.Path("/etc/apache2/sites-available") / f"{title}.conf"
        path.write_text(text)
        pathlib.Path("/etc/apache2/sites-enabled", f"{title}.conf").symlink_to(f"../sites-available/{title}.conf")
        return path

    def break_it(self):
        path = pathlib.Path("/etc/apache2/sites-available/000-default.conf")
        lines = path.read_text().splitlines(True)
        path.write_text("".join(lines) + "NoSuchDirective on\n")
        return path, len(lines) + 1
