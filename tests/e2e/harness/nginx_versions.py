"""nginx of other versions in the place of the machine's: what tests/e2e/fetch-nginx has fetched, mounted over /usr/sbin/nginx.

There its process looks as it would on a machine where that version is installed. The configuration is that release's own.
"""

import contextlib
import os
import pathlib
import shutil

from . import machine, web

TOP = pathlib.Path(__file__).resolve().parents[3]
RELEASES = ("bullseye", "installed", "trixie", "unstable")  # from the oldest version to the newest
PROGRAM = pathlib.Path("/usr/sbin/nginx")


def directory():
    return TOP / (os.environ.get("TLSUP_TEST_NGINX") or "build/nginx")


class Version:
    """One that is at hand. `number` compares: (1, 18, 0)."""

    def __init__(self, release, text):
        self.release, self.text = release, text
        self.number = tuple(int(part) for part in text.split("."))


def required(release):
    """machine.Unavailable says why it is not at hand."""
    web.Nginx.required()
    if release == "installed":
        out = machine.run(PROGRAM, "-v").stderr
        return Version(release, out.split("nginx/", 1)[1].split()[0])
    place = directory() / release
    try:
        version = Version(release, (place / "version").read_text().strip())
        machine.run(place / "nginx", "-v")
        return version
    except (OSError, ValueError, machine.subprocess.CalledProcessError):
        pass
    try:
        why = (directory() / f"{release}.why").read_text().strip()
    except OSError:
        why = f"tests/e2e/fetch-nginx {directory()} fetches it"
    raise machine.Unavailable(f"nginx of Debian's release {release} is not at hand: {why}")


@contextlib.contextmanager
def installed(version):
    """As if this version's packages were installed: program and configuration."""
    if version.release == "installed":
        yield web.Nginx()
        return
    place = directory() / version.release
    for entry in list(pathlib.Path("/etc/nginx").iterdir()):
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    machine.run("cp", "-a", f"{place}/etc/nginx/.", "/etc/nginx")
    for name in machine.STOCK_EMPTY_DIRS["nginx"]:
        pathlib.Path("/etc/nginx", name).mkdir(exist_ok=True)
    for link, target in machine.NGINX_LINKS.items():
        pathlib.Path("/etc/nginx", link).symlink_to(target)
    machine.run("mount", "--bind", place / "nginx", PROGRAM)
    try:
        yield web.Nginx()
    finally:
        machine.run("umount", "--lazy", PROGRAM)
