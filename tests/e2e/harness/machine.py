"""The private world: what is mounted over what, Debian's stock web server configuration, and putting all back between tests.

Runs only inside the namespaces that tests/e2e/run makes.
"""

import hashlib
import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time

WORK = pathlib.Path("/run/e2e")
PRISTINE = WORK / "pristine"
MARKER = WORK / "inside"

# Replaced before every test, from PRISTINE.
RENEWED = ["/etc/nginx", "/etc/apache2", "/etc/tlsup", "/etc/cron.d", "/etc/hosts", "/etc/ssl/private", "/var/www", "/var/log",
           "/var/lib/nginx", "/var/lib/tlsup"]
# Directories in which something new must be able to appear.
STAGED_DIRS = ["/dev", "/var", "/var/lib", "/var/cache", "/usr/local/sbin"]
# Empty private file systems, but for the record of a2enmod.
COPIED_DIRS = ["/var/lib/apache2"]
PRIVATE_DIRS = ["/var/www", "/var/log", "/var/lib/nginx", "/var/lib/tlsup", "/var/lib/apache2", "/var/cache/apache2"]

NGINX_LINKS = {"sites-enabled/default": "/etc/nginx/sites-available/default"}
# What Debian's apache2 package turns on when it is installed.
APACHE_MODULES = """access_compat.load alias.conf alias.load auth_basic.load authn_core.load authn_file.load authz_core.load
    authz_host.load authz_user.load autoindex.conf autoindex.load deflate.conf deflate.load dir.conf dir.load env.load filter.load
    mime.conf mime.load mpm_event.conf mpm_event.load negotiation.conf negotiation.load reqtimeout.conf reqtimeout.load
    setenvif.conf setenvif.load status.conf status.load""".split()
APACHE_CONFS = ["charset", "localized-error-pages", "other-vhosts-access-log", "security", "serve-cgi-bin"]
APACHE_LINKS = {
    **{f"mods-enabled/{name}": f"../mods-available/{name}" for name in APACHE_MODULES},
    **{f"conf-enabled/{name}.conf": f"../conf-available/{name}.conf" for name in APACHE_CONFS},
    "sites-enabled/000-default.conf": "../sites-available/000-default.conf",
}
STOCK = {"nginx": ("nginx-common", "/etc/nginx", NGINX_LINKS), "apache2": ("apache2", "/etc/apache2", APACHE_LINKS)}
STOCK_EMPTY_DIRS = {"nginx": ["conf.d", "modules-enabled", "modules-available", "sites-enabled"],
                    "apache2": ["sites-enabled", "mods-enabled", "conf-enabled"]}

USERS = {"tlsup-courier": 64801, "tlsup-responder": 64802, "tlsup-prober": 64803, "tlsup-resolver": 64804, "tlsup-notifier": 64805}
PAGE = "<!DOCTYPE html>\n<title>plain page</title>\n<p>served by the web server under test</p>\n"


def run(*argv, check=True, **options):
    return subprocess.run([str(a) for a in argv], check=check, text=True, capture_output=True, **options)


def is_inside():
    return MARKER.exists()


def has_ipv6():
    try:
        return "00000000000000000000000000000001" in pathlib.Path("/proc/net/if_inet6").read_text()
    except OSError:
        return False


def furnish():
    """Everything once, as process 1 of the namespaces. Runs before any other process exists in them."""
    run("ip", "link", "set", "lo", "up")
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for path in ("/run/lock", "/run/e2e", "/run/e2e/pristine", "/run/e2e/tmp"):
        os.makedirs(path, exist_ok=True)
    os.chmod("/run/lock", 0o1777)
    run("cp", "-a", "/etc", WORK / "etc")
    run("mount", "--bind", WORK / "etc", "/etc")
    for path in STAGED_DIRS:
        _stage(path)
    for path in PRIVATE_DIRS:
        os.makedirs(path, exist_ok=True)
        copy = WORK / "copy"
        if path in COPIED_DIRS:
            run("cp", "-a", path, copy)
        run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", path)
        if copy.exists():
            run("cp", "-a", f"{copy}/.", path)
            shutil.rmtree(copy)
    socket.sethostname("e2e")
    _write_basics()
    _write_pristine()
    renew()
    MARKER.touch()


def _stage(path):
    """Make a directory writable for us alone without copying it: a private file system that shows the same entries by bind mounts. New
    entries are private; the old ones are still the machine's."""
    stage = tempfile.mkdtemp(dir=WORK)
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", stage)
    for entry in os.scandir(path) if os.path.isdir(path) else []:
        copy = os.path.join(stage, entry.name)
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), copy)
            continue
        if entry.path == "/dev/ptmx":
            os.symlink("pts/ptmx", copy)  # bind-mounted by itself it would not find its pseudo-terminals
            continue
        if entry.is_dir():
            os.mkdir(copy)
        elif entry.is_file() or stat.S_ISCHR(entry.stat().st_mode):
            pathlib.Path(copy).touch()
        else:
            continue
        run("mount", "--rbind", entry.path, copy)
    run("mount", "--rbind", stage, path)


def _write_basics():
    """Names, users and resolver of the private world."""
    for name, text in {"hosts": "127.0.0.1 localhost e2e\n::1 localhost ip6-localhost\n", "resolv.conf": "nameserver 127.0.0.1\n",
                       "hostname": "e2e\n"}.items():
        path = pathlib.Path("/etc") / name
        if path.is_symlink():
            path.unlink()
        path.write_text(text)
    for file, line in (("passwd", "{0}:x:{1}:{1}:tlsup:/nonexistent:/usr/sbin/nologin\n"), ("group", "{0}:x:{1}:\n"),
                       ("shadow", "{0}:!:19000::::::\n")):
        path = pathlib.Path("/etc") / file
        if not path.exists():
            continue
        lines = [l for l in path.read_text().splitlines(True) if l.split(":")[0] not in USERS]
        path.write_text("".join(lines) + "".join(line.format(name, uid) for name, uid in USERS.items()))
    shutil.rmtree("/etc/tlsup", ignore_errors=True)
    for name in ("tlsup.conf", "tlsup"):
        pathlib.Path("/etc/cron.d", name).unlink(missing_ok=True)


def _write_pristine():
    for server in STOCK:
        if shutil.which(server, path="/usr/sbin:/sbin"):
            try:
                stock_configuration(server, PRISTINE / f"etc/{server}")
            except Unavailable as why:
                (PRISTINE / f"{server}.unavailable").write_text(str(why))
    (PRISTINE / "etc/tlsup").mkdir(parents=True)
    (PRISTINE / "etc/cron.d").mkdir(parents=True)
    (PRISTINE / "etc/ssl/private").mkdir(parents=True, mode=0o700)
    shutil.copy2("/etc/hosts", PRISTINE / "etc/hosts")
    (PRISTINE / "var/www/html").mkdir(parents=True)
    (PRISTINE / "var/www/html/index.html").write_text(PAGE)
    for name in ("nginx", "apache2"):
        (PRISTINE / "var/log" / name).mkdir(parents=True)
    for name in ("nginx", "tlsup"):
        (PRISTINE / "var/lib" / name).mkdir(parents=True)
    for parent, _, _ in os.walk(PRISTINE):
        if not parent.endswith("/private"):
            os.chmod(parent, 0o755)


class Unavailable(Exception):
    """Something that this machine does not have; its tests are skipped with these words."""


def stock_configuration(server, target):
    """Debian's configuration as its package installs it: conffiles that nobody has changed, else those of the downloaded package, and
    the links that installation makes."""
    package, root, links = STOCK[server]
    listing = run("dpkg-query", "-W", "-f=${Conffiles}\n", package, check=False).stdout.split("\n")
    conffiles = dict(line.split()[:2] for line in listing if line.startswith(" " + root + "/"))
    if not conffiles:
        raise Unavailable(f"no Debian package {package} whose stock configuration could be used")
    unpacked = None
    for path, md5 in conffiles.items():
        source = pathlib.Path(path)
        if not source.is_file() or hashlib.md5(source.read_bytes()).hexdigest() != md5:
            unpacked = unpacked or unpack_package(package)
            source = unpacked / path.lstrip("/")
        copy = target / os.path.relpath(path, root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)
        os.chmod(copy, 0o644)
    for name in STOCK_EMPTY_DIRS[server]:
        (target / name).mkdir(parents=True, exist_ok=True)
    for link, destination in links.items():
        (target / link).symlink_to(destination)


def unpack_package(package):
    """The files of the installed version's .deb, from apt's cache or mirror. The network is gone in here, so only the cache can help;
    autogen.sh puts the package there when the machine's own configuration has been edited."""
    directory = pathlib.Path(tempfile.mkdtemp(dir=WORK))
    for source in (os.environ.get("TLSUP_TEST_DEBS"), "/var/cache/apt/archives"):
        for deb in sorted(pathlib.Path(source).glob(f"{package}_*.deb")) if source else []:
            run("dpkg", "-x", deb, directory)
            return directory
    raise Unavailable(f"the machine's configuration of {package} has been edited and its stock form is not at hand: "
                      f"set TLSUP_TEST_DEBS to a directory with its package (apt-get download {package})")


def renew():
    """All directories that tests write to, as they were at the beginning."""
    for entry in os.scandir("/run"):  # pid files of servers that were killed
        if entry.name in ("lock", "mount") or entry.path == str(WORK):
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)
    shutil.rmtree("/run/lock/apache2", ignore_errors=True)
    for path in RENEWED:
        if _renewed.get(path) != _marks(path):
            _renew(path, PRISTINE / path.lstrip("/"))
            time.sleep(0.01)  # one tick of the kernel's clock: what is changed from here on is seen to be
            _renewed[path] = _marks(path)


_renewed = {}  # path: its marks when it was last as at the beginning


def _marks(path):
    """Whatever is changed below, this changes with it."""
    found, waiting = [], [path]
    while waiting:
        at = waiting.pop()
        try:
            look = os.lstat(at)
        except FileNotFoundError:
            continue
        found.append((at, look.st_dev, look.st_ino, look.st_ctime_ns))
        if stat.S_ISDIR(look.st_mode):
            waiting += [entry.path for entry in os.scandir(at)]
    return found


def _renew(path, source):
    if source.is_file():
        shutil.copy2(source, path)
        return
    if os.path.isdir(path):
        for entry in os.scandir(path):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
    if source.is_dir():
        run("cp", "-a", "--no-preserve=timestamps", f"{source}/.", path if os.path.isdir(path) else _made(path))


def _made(path):
    os.makedirs(path)
    return path


def processes():
    """(pid, ppid, name, argv) of everything in this process namespace."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = pathlib.Path(f"/proc/{entry}/stat").read_text()
            argv = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        name, rest = stat[stat.index("(") + 1:stat.rindex(")")], stat[stat.rindex(")") + 2:].split()
        if rest[0] != "Z":
            found.append((int(entry), int(rest[1]), name, [a.decode(errors="replace") for a in argv if a]))
    return found


def until(what, message, seconds=60, pause_s=0.02):
    """Wait until what() is true, and return that. A busy machine takes its time; `message` may be a function."""
    deadline = time.monotonic() + seconds
    while True:
        value = what()
        if value:
            return value
        assert time.monotonic() < deadline, message() if callable(message) else message
        time.sleep(pause_s)


def name_of(pid):
    """What ps calls it."""
    return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()


def children_of(*pids, table=None):
    """All descendants."""
    table, result, wave = table or processes(), [], set(pids)
    while wave:
        wave = {p for p, parent, _, _ in table if parent in wave and p not in result}
        result += sorted(wave)
    return result


def end_all_but(keep):
    """Kill every process of the namespace except 1, ourselves, `keep` and their children. Nothing outside can be seen from here."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        table = processes()
        spare = {1, os.getpid(), *keep, *children_of(*keep, table=table)}  # of one look: they may be forking right now
        victims = [pid for pid, _, _, _ in table if pid not in spare]
        if not victims:
            return
        for pid in victims:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.02)
    raise RuntimeError(f"processes that cannot be ended: {victims}")
