"""Other ACME clients for real, each making a store of its own at a Pebble: what `tlsup import` takes over."""

import os
import pathlib
import shutil
import subprocess

from . import machine

SYSTEM_ROOTS = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
EMAIL = "admin@import.test"


def need(program, package=None):
    if shutil.which(program) is None:
        raise machine.Unavailable(f"{program} is not installed (Debian package {package or program})")


def trust(ca):
    """Have this world's programs trust the CA's own https: uacme cannot be told by an option."""
    text, roots = pathlib.Path(ca.bundle).read_text(), SYSTEM_ROOTS.read_text() if SYSTEM_ROOTS.exists() else ""
    if text not in roots:
        SYSTEM_ROOTS.parent.mkdir(parents=True, exist_ok=True)
        SYSTEM_ROOTS.write_text(roots + text)


def call(ca, *argv, home=None, **environment):
    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": str(home or "/nonexistent"),
           "REQUESTS_CA_BUNDLE": str(ca.bundle), "LEGO_CA_CERTIFICATES": str(ca.bundle), "CURL_CA_BUNDLE": str(ca.bundle), **environment}
    done = subprocess.run([str(a) for a in argv], env=env, text=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=120)
    assert done.returncode == 0, f"$ {argv}\n[{done.returncode}]\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def certbot(ca, directory, *words):
    """`certbot WORDS` with its store in `directory`."""
    need("certbot")
    directory = pathlib.Path(directory)
    return call(ca, "certbot", *words, "-n", "--agree-tos", "-m", EMAIL, "--no-eff-email", "--server", ca.url, "--config-dir", directory,
                "--work-dir", f"{directory}-work", "--logs-dir", f"{directory}-logs")


def lego(ca, directory, *words):
    """`lego OPTIONS COMMAND ...`: the options are the store's and the account's."""
    need("lego")
    return call(ca, "lego", "--accept-tos", "--email", EMAIL, "--server", ca.url, "--path", directory, *words)


def dehydrated(ca, directory, config="", domains="", words=("--cron",)):
    """Its configuration and domains.txt are written, then it is run."""
    need("dehydrated")
    directory = pathlib.Path(directory)
    (directory / "www").mkdir(parents=True, exist_ok=True)
    path = directory / "config"
    path.write_text(f'CA="{ca.url}"\nBASEDIR="{directory}"\nWELLKNOWN="{directory}/www"\nCONTACT_EMAIL={EMAIL}\n'
                    f'CURL_OPTS="--cacert {ca.bundle}"\n{config}')
    (directory / "domains.txt").write_text(domains)
    call(ca, "dehydrated", "--config", path, "--register", "--accept-terms")
    call(ca, "dehydrated", "--config", path, *words)
    return path


def uacme(ca, directory, *words):
    need("uacme")
    trust(ca)
    if not (pathlib.Path(directory) / "private/key.pem").exists():
        call(ca, "uacme", "-y", "-a", ca.url, "-c", directory, "new", EMAIL)
    return call(ca, "uacme", "-y", "-a", ca.url, "-c", directory, *words)
