"""Challenges answered by programs of the user's: our own contract, and scripts written for other clients, as they are. BIND is what they talk to."""

import itertools
import os
import pathlib
import re
import shutil
import signal
import socket
import time

import pytest

from harness import client, machine, net
from harness.client import check_store
from harness.named import NS1, NS2, Zone, until

NAMES = itertools.count(1)
TOP = client.TOP


@pytest.fixture
def name():
    return f"h{next(NAMES)}.example.test"


@pytest.fixture
def server(make_named, key, name):
    return make_named(zones=[Zone(name, updaters=[key])])


@pytest.fixture
def log(tmp_path):
    """Where the scripts write down how they were called."""
    path = tmp_path / "calls.log"
    path.touch()
    return path


@pytest.fixture
def script(tmp_path, key, log):
    """script(title, text, mode=…): a program, with KEY and LOG in its text replaced."""
    def make(title, text, mode=0o755):
        path = tmp_path / title
        path.write_text(text.lstrip("\n").replace("@KEY@", str(key.file)).replace("@LOG@", str(log)))
        path.chmod(mode)
        return path

    return make


@pytest.fixture(scope="session")
def bridge():
    """hooks/acme-sh-dns, where the program under test looks for it once it is installed."""
    found = re.search(rb"(/[\w./-]+)/acme-sh-dns\0", pathlib.Path(client.program()).read_bytes())
    assert found, "the program does not know of the bridge"
    directory = pathlib.Path(found.group(1).decode())
    there = directory
    while not there.exists():
        there = there.parent
    if there == directory:
        machine.run("mount", "-t", "tmpfs", "tmpfs", directory)
    else:
        machine._stage(str(there))
        directory.mkdir(parents=True)
    shutil.copy(TOP / "hooks/acme-sh-dns", directory / "acme-sh-dns")
    (directory / "acme-sh-dns").chmod(0o755)


def challenge_of(name):
    return f"_acme-challenge.{name}"


def issue(tlsup, ca, *words, **options):
    return tlsup.ok("issue", *words, *ca.arguments, **options)


def fail(tlsup, ca, *words, **options):
    result = tlsup("issue", *words, *ca.arguments, **options)
    assert result.status in (1, 2, 3, 4), result
    return result


def triggered(ca, since=0):
    return [r for r in ca.requests()[since:] if r.startswith("POST /chalZ")]


# -- the scripts --------------------------------------------------------------------------------------------

OWN = r"""
#!/bin/sh
set -eu
echo "$1 $TLSUP_ACT $TLSUP_TYPE $TLSUP_NAME $TLSUP_DOMAIN $TLSUP_RECORD $TLSUP_CERT $TLSUP_REMAINING [$TLSUP_FAILED] [$TLSUP_OUTPUT] [$TLSUP_NAMES]" >>@LOG@
case $1 in
    present) change=add ttl=60; echo "  id of $TLSUP_VALUE" ;;
    cleanup) change=delete ttl= ;;
    *) exit 3 ;;
esac
printf 'server 127.0.0.1\nupdate %s %s. %s TXT "%s"\nsend\n' "$change" "$TLSUP_RECORD" "$ttl" "$TLSUP_VALUE" | nsupdate -k @KEY@
"""

CERTBOT_AUTH = r"""
#!/bin/bash
# certbot certonly --manual --preferred-challenges dns --manual-auth-hook /etc/letsencrypt/auth.sh
echo "auth $CERTBOT_DOMAIN $CERTBOT_REMAINING_CHALLENGES $CERTBOT_ALL_DOMAINS [${CERTBOT_TOKEN-}] [${CERTBOT_AUTH_OUTPUT-}]" >>@LOG@
nsupdate -k @KEY@ <<EOF >&2
server 127.0.0.1
update add _acme-challenge.${CERTBOT_DOMAIN}. 60 IN TXT "${CERTBOT_VALIDATION}"
send
