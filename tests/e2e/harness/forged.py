"""A store made by hand: certificates of every age and in every state, without a CA."""

import json
import pathlib
import shutil
import time

from . import pki

DAY = 86400


class Forged:
    """Configuration and state directories that look as if tlsup had filled them."""

    def __init__(self, client, directory):
        self.config, self.state = pathlib.Path(client.config), pathlib.Path(client.state)
        self.authority = pki.Authority(pathlib.Path(directory) / "forge", "Forged")
        self.now = int(time.time())
        self.key = pathlib.Path(directory) / "forge" / "one.key"
        self.request = self.key.with_suffix(".csr")
        pki.openssl("req", "-new", *pki.EC, "-nodes", "-keyout", self.key, "-out", self.request, "-subj", "/CN=any")
        for path, mode in ((self.config, 0o755), (self.config / "certs.d", 0o755), (self.state, 0o711), (self.state / "certs", 0o711),
                           (self.state / "live", 0o711), (self.state / "state", 0o711)):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(mode)

    def configure(self, name, names=None, **settings):
        lines = [f"names = {' '.join(names or [name])}"]
        for key, values in settings.items():
            lines += [f"{key.replace('_', '-')} = {value}" for value in (values if isinstance(values, list) else [values])]
        (self.config / "certs.d" / f"{name}.conf").write_text("\n".join(lines) + "\n")

    def version(self, name, names, days_ago, days_left, number=1):
        """Write version `number` of the certificate and make it the live one."""
        directory = self.state / "certs" / name / f"{number:04}"
        directory.mkdir(parents=True, exist_ok=True)
        pem = self.authority.sign(self.request.read_bytes(), names, self.now - days_ago * DAY, self.now + days_left * DAY)
        root = self.authority.cert.read_bytes()
        for which, content in {"cert": pem, "chain": root, "fullchain": pem + root}.items():
            (directory / f"{which}.pem").write_bytes(content)
        shutil.copy(self.key, directory / "privkey.pem")
        (directory / "privkey.pem").chmod(0o600)
        self.link(name, number)

    def link(self, name, number):
        live = self.state / "live" / name
        live.unlink(missing_ok=True)
        live.symlink_to(f"../certs/{name}/{number:04}")

    def write_state(self, name, **members):
        (self.state / "state" / f"{name}.json").write_text(json.dumps(members))

    def hold(self, name, names=None, days_ago=30, days_left=60, number=1, state=None, live=None, **settings):
        """All of it: configuration, a version, and its state."""
        names = names or [name]
        self.configure(name, names, **settings)
        self.version(name, names, days_ago, days_left, number)
        then = int(self.now - days_ago * DAY)
        record = {"version": number, "step": "verified" if "install" in settings else "issued", "issued_s": then,
                  "ca": "https://acme-v02.api.letsencrypt.org/directory", **(live or {})}
        if "install" in settings:
            record.setdefault("verified_s", then)
        self.write_state(name, live=record, **(state or {}))

    def copies(self, of, count, prefix="site"):
        """Many more of one that is held: the same files under other names, so that a thousand take a second."""
        conf = (self.config / "certs.d" / f"{of}.conf").read_text()
        record = (self.state / "state" / f"{of}.json").read_text()
        for i in range(count):
            name = f"{prefix}{i:04}.example.org"
            (self.config / "certs.d" / f"{name}.conf").write_text(conf)
            (self.state / "state" / f"{name}.json").write_text(record)
            shutil.copytree(self.state / "certs" / of, self.state / "certs" / name)
            self.link(name, 1)

    def failure(self, text, advice="", code="acme", count=3, hours_ago=2, next_in_s=2400, subject="", **more):
        """As in a state file."""
        error = {"code": code, "next": "retry-later", "subject": subject, "text": text, "advice": advice, **more}
        return {"count": count, "last_s": self.now - hours_ago * 3600, "next_try_s": self.now + next_in_s, "error": error}

    def deployment(self, kind, what, wanted=1, version=1, failures=None):
        one = {"kind": kind, "what": what, "wanted": wanted, "version": version, "done_s": self.now - 3 * DAY}
        return {**one, "failures": failures} if failures else one

    def run(self, began_ago_s=1500, took_s=20, good=True, **more):
        began = self.now - began_ago_s
        record = {"began_s": began, "ended_s": began + took_s, "good_s": began + took_s if good else began - 90000, **more}
        (self.state / "run.json").write_text(json.dumps(record))
        (self.state / "run.json").chmod(0o600)


def every_kind(forged):
    """One certificate of each health, and what else the words tell of."""
    f = forged
    f.hold("example.org", ["example.org", "www.example.org", "shop.example.org"], 30, 60, install="nginx",
           live={"places": ["/etc/nginx/sites-enabled/default:22", "/etc/nginx/sites-enabled/shop:4"], "verified_s": f.now - 3 * DAY})
    f.hold("week.example.org", days_ago=2, days_left=4, install="apache")
    f.hold("mail.example.org", ["mail.example.org", "imap.example.org"], 20, 70, deploy_hook="/usr/local/sbin/reload-mail",
           state={"deployments": [f.deployment("hook", "/usr/local/sbin/reload-mail"), f.deployment("verify", "mail.example.org:25/smtp"),
                                  f.deployment("export", "combined /etc/haproxy/mail.pem")]})
    f.hold("hook.example.org", days_ago=1, days_left=89, number=2, deploy_hook="/usr/local/sbin/copy-it",
           state={"deployments": [f.deployment("hook", "/usr/local/sbin/copy-it", 2, 1,
                                               f.failure("exit status 1: cp: cannot create '/srv/x': No space left on device",
                                                         "mend the program, or the disk; it is run again by itself", "hook",
                                                         subject="/usr/local/sbin/copy-it"))]})
    f.hold("failing.example.org", days_ago=70, days_left=20, install="nginx",
           state={"failures": f.failure("the CA could not fetch http://failing.example.org/.well-known/acme-challenge/x: connection refused",
                                        "open port 80: sudo tlsup check failing.example.org", subject="failing.example.org", type="connection")})
    f.hold("expired.example.org", days_ago=95, days_left=-5, install="apache")
    f.hold("late.example.org", days_ago=80, days_left=10)
    f.hold("half.example.org", days_ago=1, days_left=89, install="nginx", live={"step": "installed"})
    f.hold("revoked.example.org", days_ago=10, days_left=80, live={"revoked": True})
    f.hold("partial.example.org", days_ago=10, days_left=80, partial="yes",
           state={"partial": {"missing": ["new.example.org"], "try_s": f.now + 7200, "failures": 1}})
    f.hold("broken.example.org", days_ago=10, days_left=80)
    (f.state / "live/broken.example.org/cert.pem").write_text("garbage")
    (f.state / "live/broken.example.org/fullchain.pem").write_text("garbage")
    f.configure("new.example.org")
    f.run()
