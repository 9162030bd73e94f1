"""The deployers of hooks/ and the services they are for: each runs with an old certificate and serves the new one afterwards."""

import grp
import os
import pathlib
import pwd
import re
import shutil
import stat
import subprocess
import tempfile

import pytest

from harness import client, machine, pki
from harness.client import TOP

HOOKS = pathlib.Path("/etc/tlsup/deployers")
SBIN = "/usr/sbin:/usr/bin:/sbin:/bin"


def find(program, package):
    path = shutil.which(program, path=SBIN)
    if path is None:
        pytest.skip(f"{program} is not here: install {package}")
    return path


def sh(*argv, check=True, **options):
    """Services keep their standard output open, so it is a file."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        result = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=60, **options)
        out.seek(0), err.seek(0)
        result.stdout, result.stderr = out.read(), err.read()
    assert not check or result.returncode == 0, f"{argv}: {result.stdout}{result.stderr}"
    return result


class Service:
    """Configured for the files that its deployer writes, with a self-made certificate in them."""

    hook = package = proto = starttls = ""
    port = 0
    owners = {}  # suffix of the file: (user, group, mode)

    def __init__(self, name):
        self.name, self.directory = name, None
        self.old = self.self_signed(name)

    def self_signed(self, name):
        out = pathlib.Path("/run/e2e/old")
        out.mkdir(exist_ok=True)
        pki.openssl("req", "-x509", *pki.EC, "-nodes", "-keyout", out / "key", "-out", out / "cert", "-subj", f"/CN={name}", "-days", "5")
        return (out / "key").read_text(), (out / "cert").read_text()

    # -- files --

    def file(self, ending):
        return self.directory / f"{self.name}{ending}"

    def files(self):
        return [self.file(ending) for ending in self.owners]

    def put_old(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        key, cert = self.old
        for ending, (user, group, mode) in self.owners.items():
            self.file(ending).write_text({".key": key, ".crt": cert}.get(ending) or (cert if len(self.owners) > 1 else key + cert))
            self.file(ending).chmod(mode)
            shutil.chown(self.file(ending), user, group)

    def check_files(self):
        for ending, (user, group, mode) in self.owners.items():
            st = self.file(ending).stat()
            assert (pwd.getpwuid(st.st_uid).pw_name, grp.getgrgid(st.st_gid).gr_name, stat.S_IMODE(st.st_mode)) == (user, group, mode), ending
        assert {p.name for p in self.directory.iterdir()} == {p.name for p in self.files()}

    # -- the service --

    def write(self, extra=""):
        raise NotImplementedError

    def config(self):
        raise NotImplementedError

    def start(self):
        raise NotImplementedError

    def up(self):
        self.put_old()
        self.write()
        self.start()
        machine.until(lambda: self.served() == pki.sha256_of(self.old[1].encode()), lambda: f"{self.hook} does not come up: {self.log()}", 20)
        return self

    def served(self):
        argv = ["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-servername", self.name, "-showcerts"]
        if self.starttls:
            argv += ["-starttls", self.starttls] + (["-xmpphost", self.name] if self.starttls == "xmpp" else [])
        out = subprocess.run(argv, input=b"", capture_output=True, timeout=20).stdout
        found = re.search(rb"-----BEGIN CERT.*?-----END CERTIFICATE-----\n", out, re.S)
        return found and pki.sha256_of(found.group(0))

    def log(self):
        return "".join(p.read_text(errors="replace")[-1500:] for p in pathlib.Path("/var/log").glob("deployed*"))

    def break_it(self):
        """A mistake that the service's own test finds."""
        self.config().write_text(self.config().read_text() + "\nthis is no {setting\n")


class Postfix(Service):
    hook, package, proto, starttls, port = "postfix", "postfix", "smtp", "smtp", 25
    owners = {".pem": ("root", "root", 0o600)}

    def __init__(self, name):
        super().__init__(name)
        find("postfix", self.package)
        self.directory = pathlib.Path("/etc/postfix/tls")
        shutil.rmtree(self.directory, ignore_errors=True)

    def config(self):
        return pathlib.Path("/etc/postfix/main.cf")

    def write(self, extra=None):
        lines = f"smtpd_tls_chain_files = {self.file('.pem')}\n" if extra is None else extra
        for directory in ("queue", "data"):
            pathlib.Path("/run/deployed", directory).mkdir(parents=True, exist_ok=True)
        shutil.chown("/run/deployed/data", "postfix")
        self.config().write_text("compatibility_level = 3.6\nqueue_directory = /run/deployed/queue\ndata_directory = /run/deployed/data\n"
                                 "inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmyhostname = e2e.test\nmydestination =\n"
                                 "smtpd_tls_security_level = may\nmaillog_file = /var/log/deployed.log\n"
                                 "smtpd_peername_lookup = no\n" + lines)
        self.master().write_text("smtp inet n - n - - smtpd\npostlog unix-dgram n - n - 1 postlogd\nrewrite unix - - n - - trivial-rewrite\n"
                                 "anvil unix - - n - 1 anvil\ntlsmgr unix - - n 1000? 1 tlsmgr\nproxymap unix - - n - - proxymap\n")

    def master(self):
        return pathlib.Path("/etc/postfix/master.cf")

    def start(self):
        sh("/usr/sbin/postfix", "start")

    def break_it(self):
        self.config().write_text(self.config().read_text() + "mail_owner = nobody-at-all\n")


class Dovecot(Service):
    hook, package, proto, starttls, port = "dovecot", "dovecot-imapd", "imap", "imap", 143
    owners = {".key": ("root", "root", 0o600), ".pem": ("root", "root", 0o644)}

    def __init__(self, name):
        super().__init__(name)
        find("dovecot", self.package)
        if not pathlib.Path("/usr/lib/dovecot/imap-login").exists():
            pytest.skip("dovecot-imapd is not here")
        self.directory = pathlib.Path("/etc/dovecot/tls")
        shutil.rmtree(self.directory, ignore_errors=True)

    def config(self):
        return pathlib.Path("/etc/dovecot/dovecot.conf")

    def write(self, extra=None):
        lines = f"ssl_cert = <{self.file('.pem')}\nssl_key = <{self.file('.key')}\n" if extra is None else extra
        pathlib.Path("/run/deployed").mkdir(exist_ok=True)
        self.config().write_text("protocols = imap\nlisten = 127.0.0.1\nbase_dir = /run/dovecot\nstate_dir = /run/deployed\nssl = yes\n"
                                 "log_path = /var/log/deployed.log\npassdb {\n  driver = static\n  args = nopassword=y\n}\n"
                                 "userdb {\n  driver = static\n  args = uid=nobody gid=nogroup home=/tmp\n}\n" + lines)

    def start(self):
        sh("/usr/sbin/dovecot")


class Haproxy(Service):
    hook, package, proto, port = "haproxy", "haproxy", "tls", 443
    owners = {".pem": ("root", "root", 0o600)}
    mode = ["-W"]

    def __init__(self, name):
        super().__init__(name)
        find("haproxy", self.package)
        self.directory = pathlib.Path("/etc/haproxy/certs")
        shutil.rmtree(self.directory, ignore_errors=True)

    def config(self):
        return pathlib.Path("/etc/haproxy/haproxy.cfg")

    def write(self, extra=None):
        line = f"  bind 127.0.0.1:443 ssl crt {self.directory}/\n" if extra is None else extra
        self.config().write_text("global\n  user haproxy\n  group haproxy\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n"
                                 f"  timeout server 5s\nfrontend web\n{line}  bind 127.0.0.1:8080\n  http-request return status 200\n")

    def start(self):
        sh("/usr/sbin/haproxy", *self.mode, "-D", "-f", self.config(), "-p", "/run/haproxy.pid")


class HaproxyWithoutMaster(Haproxy):
    mode = []


class Lighttpd(Service):
    hook, package, proto, port = "lighttpd", "lighttpd lighttpd-mod-openssl", "tls", 443
    owners = {".pem": ("root", "www-data", 0o640)}

    def __init__(self, name):
        super().__init__(name)
        find("lighttpd", self.package)
        if not pathlib.Path("/usr/lib/lighttpd/mod_openssl.so").exists():
            pytest.skip("lighttpd-mod-openssl is not here")
        self.directory = pathlib.Path("/etc/lighttpd/certs")
        shutil.rmtree(self.directory, ignore_errors=True)

    def config(self):
        return pathlib.Path("/etc/lighttpd/lighttpd.conf")

    def write(self, extra=None):
        lines = f'ssl.engine = "enable"\nssl.pemfile = "{self.file(".pem")}"\n' if extra is None else extra
        log = pathlib.Path("/var/log/deployed.log")
        log.touch()
        shutil.chown(log, "www-data", "www-data")
        self.config().write_text('server.modules = ("mod_openssl")\nserver.document-root = "/var/www/html"\nserver.username = "www-data"\n'
                                 'server.groupname = "www-data"\nserver.pid-file = "/run/lighttpd.pid"\nserver.bind = "127.0.0.1"\n'
                                 f'server.port = 443\nserver.errorlog = "{log}"\n' + lines)

    def start(self):
        sh("/usr/sbin/lighttpd", "-f", self.config())


class Prosody(Service):
    hook, package, proto, starttls, port = "prosody", "prosody", "xmpp", "xmpp", 5222
    owners = {".key": ("root", "prosody", 0o640), ".crt": ("root", "prosody", 0o640)}

    def __init__(self, name):
        super().__init__(name)
        find("prosody", self.package)
        self.directory = pathlib.Path("/etc/prosody/certs")
        for entry in self.directory.iterdir():
            entry.unlink()

    def config(self):
        return pathlib.Path("/etc/prosody/prosody.cfg.lua")

    def write(self, extra=None):
        for directory in ("/run/prosody", "/run/deployed"):
            pathlib.Path(directory).mkdir(exist_ok=True)
            shutil.chown(directory, "prosody", "prosody")
        log = pathlib.Path("/var/log/deployed.log")
        log.touch()
        shutil.chown(log, "prosody", "prosody")
        self.config().write_text('pidfile = "/run/prosody/prosody.pid"\ndata_path = "/run/deployed"\nlog = { info = "/var/log/deployed.log" }\n'
                                 'interfaces = { "127.0.0.1" }\nmodules_enabled = { "tls", "saslauth", "posix" }\nmodules_disabled = { "s2s" }\n'
                                 + (extra or "") + f'VirtualHost "{self.name}"\n')

    def start(self):
        sh("runuser", "-u", "prosody", "--", "prosody", "-D", "--config", self.config())


class Postgresql(Service):
    hook, package, proto, starttls, port = "postgresql", "postgresql", "postgres", "postgres", 5432
    owners = {".key": ("postgres", "postgres", 0o600), ".crt": ("root", "root", 0o644)}

    def __init__(self, name):
        super().__init__(name)
        self.bin = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))
        if not self.bin or not (self.bin[-1] / "initdb").exists():
            pytest.skip("PostgreSQL's server is not here: install postgresql")
        self.bin, self.data = self.bin[-1], pathlib.Path("/run/deployed/data")
        self.directory = pathlib.Path("/etc/ssl/postgresql")
        shutil.rmtree(self.directory, ignore_errors=True)

    def config(self):
        return self.data / "postgresql.conf"

    def write(self, extra=None):
        lines = (f"ssl = on\nssl_cert_file = '{self.file('.crt')}'\nssl_key_file = '{self.file('.key')}'\n" if extra is None else extra)
        if not self.data.exists():
            self.data.parent.mkdir()
            shutil.chown(self.data.parent, "postgres")
            sh("runuser", "-u", "postgres", "--", self.bin / "initdb", "--no-sync", "-A", "trust", "--no-instructions", "-D", self.data)
        self.config().write_text("listen_addresses = '127.0.0.1'\nunix_socket_directories = '/run/deployed'\nfsync = off\nshared_buffers = 1MB\n"
                                 "max_connections = 5\n" + lines)
        settings = pathlib.Path("/etc/tlsup/deploy/postgresql.conf")
        settings.parent.mkdir(exist_ok=True)
        settings.write_text(f"# where the test has it\nDATA={self.data}\nBINARIES={self.bin}\n")

    def start(self):
        sh("runuser", "-u", "postgres", "--", self.bin / "pg_ctl", "-w", "-D", self.data, "-l", "/run/deployed/log", "start")

    def log(self):
        return pathlib.Path("/run/deployed/log").read_text()


class Exim(Service):
    hook, package, proto, starttls, port = "exim", "exim (tests/e2e/fetch-exim)", "smtp", "smtp", 2525
    owners = {".key": ("root", "Debian-exim", 0o640), ".pem": ("root", "root", 0o644)}

    def __init__(self, name):
        super().__init__(name)
        self.program = TOP / "build/exim/usr/sbin/exim4"
        if not self.program.exists():
            pytest.skip("Exim is not at hand: run tests/e2e/fetch-exim")
        if "Debian-exim" not in pathlib.Path("/etc/passwd").read_text():
            for file, line in (("passwd", "Debian-exim:x:64810:64810::/run:/usr/sbin/nologin\n"), ("group", "Debian-exim:x:64810:\n")):
                with open(f"/etc/{file}", "a") as out:
                    out.write(line)
        self.directory, self.wrapper = pathlib.Path("/etc/ssl/exim"), pathlib.Path("/usr/local/sbin/exim4")
        shutil.rmtree(self.directory, ignore_errors=True)

    def config(self):
        return pathlib.Path("/etc/exim.conf")

    def write(self, extra=None):
        lines = f"tls_certificate = {self.file('.pem')}\ntls_privatekey = {self.file('.key')}\n" if extra is None else extra
        spool = pathlib.Path("/run/deployed/spool")
        spool.mkdir(parents=True, exist_ok=True)
        shutil.chown(spool, "Debian-exim", "Debian-exim")
        self.config().write_text("exim_user = Debian-exim\nexim_group = Debian-exim\nspool_directory = /run/deployed/spool\n"
                                 "log_file_path = /run/deployed/spool/%slog\npid_file_path = /run/deployed/exim.pid\n"
                                 "daemon_smtp_ports = 2525\nlocal_interfaces = 127.0.0.1\ntls_advertise_hosts = *\nhost_lookup =\n"
                                 f"exim_path = {self.wrapper}\n"
                                 "keep_environment =\nprimary_hostname = e2e.test\n" + lines)
        libraries = ":".join(sorted({str(p.parent) for p in (TOP / "build/exim").rglob("*.so*")}))
        self.wrapper.write_text(f"#!/bin/sh\nLD_LIBRARY_PATH={libraries} exec {self.program} -C {self.config()} \"$@\"\n")
        self.wrapper.chmod(0o755)
        settings = pathlib.Path("/etc/tlsup/deploy/exim.conf")
        settings.parent.mkdir(exist_ok=True)
        settings.write_text(f"PROGRAM={self.wrapper}\n")

    def start(self):
        sh(self.wrapper, "-bd")

    def log(self):
        return "".join(p.read_text() for p in pathlib.Path("/run/deployed/spool").glob("*log"))


SERVICES = [Postfix, Dovecot, Haproxy, HaproxyWithoutMaster, Lighttpd, Prosody, Postgresql, Exim]


@pytest.fixture(params=SERVICES, ids=lambda kind: kind.__name__.lower())
def service(request, name):
    HOOKS.mkdir(parents=True)
    for hook in (TOP / "hooks").glob("deploy-*"):
        shutil.copy(hook, HOOKS)
    with open("/etc/hosts", "a") as file:
        file.write(f"127.0.0.1 {name}\n")
    return request.param(name)


def issue(tlsup, ca, service, *words, run="ok"):
    ca.preauthorized = True
    call = tlsup.ok if run == "ok" else tlsup
    return call("issue", service.name, "--standalone", "--deploy-hook", HOOKS / f"deploy-{service.hook}", *words, *ca.arguments)


def test_serves_the_new_certificate(tlsup, fake_ca, service):
    service.up()
    result = issue(tlsup, fake_ca, service, "--verify", f"{service.name}:{service.port}/{service.proto}")
    assert service.served() == tlsup.sha256(service.name), f"{result}{service.log()}"
    service.check_files()
    # and again, with what is there now
    first = tlsup.sha256(service.name)
    issue(tlsup, fake_ca, service, "--force-renewal")
    assert tlsup.sha256(service.name) != first
    machine.until(lambda: service.served() == tlsup.sha256(service.name), service.log, 10)


def test_broken_configuration(tlsup, fake_ca, service):
    service.up()
    before = {p: (p.read_bytes(), p.stat().st_mode, p.stat().st_uid, p.stat().st_gid) for p in service.files()}
    service.break_it()
    result = issue(tlsup, fake_ca, service, run="may fail")
    assert result.status != 0 and "the old files are back" in result.err, result
    assert {p: (p.read_bytes(), p.stat().st_mode, p.stat().st_uid, p.stat().st_gid) for p in service.files()} == before
    assert {p.name for p in service.directory.iterdir()} == {p.name for p in service.files()}
    assert service.served() == pki.sha256_of(service.old[1].encode())


def test_not_running(tlsup, fake_ca, service):
    service.put_old()
    service.write()
    issue(tlsup, fake_ca, service, "-v")
    service.check_files()
    service.start()
    machine.until(lambda: service.served() == tlsup.sha256(service.name), service.log, 20)


def test_not_configured(tlsup, fake_ca, service):
    if service.hook == "prosody":
        service.write('certificates = "/etc/elsewhere"\n')
    else:
        service.write("")
    result = issue(tlsup, fake_ca, service, run="may fail")
    assert result.status != 0 and "does not use them yet" in result.err, result
    assert str(service.directory) in result.err, result  # in the lines to add
    service.check_files()


# -- what is common to all -----------------------------------------------------------------------------------------


@pytest.fixture
def hook(name):
    """hook(settings): Postfix's deployer by hand, for a lineage of this test's."""
    find("postfix", "postfix")
    HOOKS.mkdir(parents=True)
    for path in (TOP / "hooks").glob("deploy-*"):
        shutil.copy(path, HOOKS)
    service = Postfix(name)
    service.write()
    lineage = pathlib.Path("/run/e2e/lineage")
    lineage.mkdir(exist_ok=True)
    (lineage / "privkey.pem").write_text(service.old[0])
    (lineage / "fullchain.pem").write_text(service.old[1])

    def run(*settings, script=HOOKS / "deploy-postfix", **environment):
        conf = pathlib.Path("/etc/tlsup/deploy/postfix.conf")
        conf.parent.mkdir(exist_ok=True)
        conf.write_text("".join(f"{s}\n" for s in settings))
        return sh(script, check=False, env={"PATH": SBIN, "RENEWED_LINEAGE": str(lineage), "TLSUP_CERT": name, **environment})

    run.service, run.conf = service, pathlib.Path("/etc/tlsup/deploy/postfix.conf")
    return run


def test_settings(hook, name):
    place = pathlib.Path("/etc/my certificates")
    shutil.rmtree(place, ignore_errors=True)
    hook.service.write(f"smtpd_tls_chain_files = {place}/{name}.pem\n")
    result = hook("# a comment", "", f"DIRECTORY={place}", "CERTIFICATES=other.test")
    assert result.returncode == 0 and not place.exists(), result
    result = hook(f"DIRECTORY={place}", f"CERTIFICATES=other.test {name}")
    assert result.returncode == 0 and "does not run" in result.stdout and (place / f"{name}.pem").exists(), result
    shutil.rmtree(place)
    result = hook(TLSUP_DEPLOY_DIRECTORY=str(place))
    assert result.returncode == 0 and (place / f"{name}.pem").exists(), result


def test_settings_are_not_run(hook):
    witness = pathlib.Path("/run/e2e/witness")
    for value in (f"$(touch {witness})", f"`touch {witness}`", f"/run/e2e/x; touch {witness}", f'"; touch {witness}; "'):
        hook(f"DIRECTORY=/run/e2e/place/{value}")
        assert not witness.exists(), value
        result = hook(f"DIRECTORY={value}")
        assert not witness.exists() and (value[0] == "/" or "not an absolute path" in result.stderr), result
    result = hook("DIRECTROY=/x")
    assert result.returncode != 0 and "none of the settings" in result.stderr and "DIRECTORY" in result.stderr, result
    result = hook(f"touch {witness}")
    assert result.returncode != 0 and not witness.exists(), result


def test_settings_of_others_are_refused(hook):
    hook()
    for owner, mode in ((65534, 0o644), (0, 0o666), (0, 0o664)):
        os.chown(hook.conf, owner, 0)
        hook.conf.chmod(mode)
        result = hook("DIRECTORY=/etc/x")
        assert result.returncode != 0 and "could be changed by others" in result.stderr, result


def test_places_of_others_are_refused(hook):
    place = pathlib.Path("/run/e2e/theirs")
    place.mkdir(exist_ok=True)
    for owner, mode in ((65534, 0o755), (0, 0o777), (0, 0o775)):
        os.chown(place, owner, 0)
        place.chmod(mode)
        for directory in (place, place / "below"):
            result = hook(f"DIRECTORY={directory}")
            assert result.returncode != 0 and "could be changed by others" in result.stderr, result
            assert not list(place.rglob("*.pem*")), result
        shutil.rmtree(place / "below", ignore_errors=True)


def test_called_by_hand(hook, name):
    for environment, words in (({"RENEWED_LINEAGE": ""}, "--deploy-hook"), ({"RENEWED_LINEAGE": "/nowhere"}, "cannot read"),
                               ({"TLSUP_CERT": "../../etc/x"}, "not the name of a certificate"), ({"TLSUP_CERT": ".x"}, "not the name")):
        result = hook(**environment)
        assert result.returncode != 0 and words in result.stderr, result


def test_as_a_link_in_the_directory_of_hooks(hook, name):
    link = pathlib.Path("/etc/tlsup/hooks/deploy/postfix")
    link.parent.mkdir(parents=True)
    link.symlink_to(HOOKS / "deploy-postfix")
    result = hook(script=link)
    assert result.returncode == 0 and hook.service.file(".pem").exists(), result


def test_full_disk(hook, name):
    place = pathlib.Path("/etc/small")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    machine.run("mount", "-t", "tmpfs", "-o", "size=4k,mode=755", "tmpfs", place)
    try:
        hook.service.write(f"smtpd_tls_chain_files = {place}/{name}.pem\n")
        (place / f"{name}.pem").write_text("old\n" * 1000)
        result = hook(f"DIRECTORY={place}")
        assert result.returncode != 0 and "cannot write" in result.stderr, result
        assert (place / f"{name}.pem").read_text() == "old\n" * 1000, result
        assert [p.name for p in place.iterdir()] == [f"{name}.pem"]
    finally:
        machine.run("umount", place)


def test_directories_on_the_way(hook, name):
    """Those of services that read the files as another user than root."""
    place = pathlib.Path("/etc/on the way")
    shutil.rmtree(place, ignore_errors=True)
    hook.service.write(f"smtpd_tls_chain_files = {place}/a/b/{name}.pem\n")
    result = hook(f"DIRECTORY={place}/a/b/")
    assert result.returncode == 0 and (place / f"a/b/{name}.pem").exists(), result
    assert [stat.S_IMODE(p.stat().st_mode) for p in (place, place / "a", place / "a/b")] == [0o755] * 3


def test_place_where_everybody_may_make_files(hook):
    """As /tmp: there somebody else could make the file that the key is then written to."""
    place = pathlib.Path("/run/e2e/sticky")
    place.mkdir(exist_ok=True)
    place.chmod(0o1777)
    result = hook(f"DIRECTORY={place}")
    assert result.returncode != 0 and "could be changed by others" in result.stderr and not list(place.iterdir()), result
    result = hook(f"DIRECTORY={place}/own")
    assert "does not use them" in result.stdout and (place / "own").stat().st_mode & 0o7777 == 0o755, result


def two_files(script="", place="/run/e2e/two"):
    """A deployer of two files that is no service's: `script` comes before the last word."""
    pathlib.Path(place).mkdir(exist_ok=True, mode=0o755)
    text = f'''service=two settings=DIRECTORY
. {HOOKS}/deploy-common
begin
lines() {{ :; }}
configured() {{ :; }}
check() {{ [ "$(cat {place}/key)" = "$(cat {place}/chain)" ]; }}
running() {{ false; }}
reload() {{ :; }}
key() {{ cat "$RENEWED_LINEAGE/version"; }}
chain() {{ cat "$RENEWED_LINEAGE/version"; }}
make_directory {place} root:root 755
stage {place}/key root:root 600 key
{script}
stage {place}/chain root:root 644 chain
deploy
'''

    def run(version):
        lineage = pathlib.Path("/run/e2e/lineage")
        for name in ("version", "privkey.pem", "fullchain.pem"):
            (lineage / name).write_text(f"{version}\n")
        return sh("/bin/sh", "-c", text, check=False, env={"PATH": SBIN, "RENEWED_LINEAGE": str(lineage), "TLSUP_CERT": "two.test"})

    def files():
        return {p.name: p.read_text().strip() for p in pathlib.Path(place).iterdir()}

    return run, files


def test_what_cannot_be_written_leaves_no_key(hook):
    run, files = two_files("chain() { false; }")
    result = run("1")
    assert result.returncode != 0 and "cannot write" in result.stderr and files() == {}, (result, files())


def test_killed_between_two_files(hook):
    """What the next run puts back is the pair of before, not a key of the one and a chain of the other."""
    shutil.rmtree("/run/e2e/two", ignore_errors=True)
    run, files = two_files()
    assert run("1").returncode == 0 and files() == {"key": "1", "chain": "1"}
    killed, _ = two_files('mv() { command mv "$@"; kill -9 $$; exit 9; }')
    assert killed("2").returncode != 0
    assert files()["key"] == "2" and files()["chain"] == "1", files()
    broken, _ = two_files("check() { false; }")
    assert "old files are back" in broken("3").stderr
    assert files() == {"key": "1", "chain": "1"}
    assert run("3").returncode == 0 and files() == {"key": "3", "chain": "3"}


@pytest.mark.parametrize("has", ["runuser", "su"])
def test_programs_of_another_user(hook, has):
    text = f"service=x; . {HOOKS}/deploy-common\n" + ("command() { false; }\n" if has == "su" else "")
    text += """as_user nobody printf '<%s>' -C "it's a" '$(id)' 'b\\c' ''; as_user nobody id -un"""
    result = sh("/bin/sh", "-c", text, check=False, env={"PATH": SBIN})
    assert result.stdout == "<-C><it's a><$(id)><b\\c><>nobody\n", result


def test_short_name(tlsup, fake_ca, name):
    """--deploy-hook postfix: the one that was installed with tlsup."""
    directory = client.deployers()
    if directory.exists():
        machine.run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", directory)  # this world's alone
    else:
        machine._stage(str(next(path for path in directory.parents if path.exists())))
        directory.mkdir(parents=True)
    for path in (TOP / "hooks").glob("deploy-*"):
        shutil.copy(path, directory)
    fake_ca.preauthorized = True
    tlsup("issue", name, "--standalone", "--deploy-hook", "postfix", *fake_ca.arguments)
    assert f"deploy-hook = {directory}/deploy-postfix" in (tlsup.config / f"certs.d/{name}.conf").read_text()
    result = tlsup("issue", name, "--standalone", "--deploy-hook", "posfix", *fake_ca.arguments)
    assert result.status == 2 and "postfix, postgresql" in result.err, result
