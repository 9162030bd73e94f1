"""A machine without a web server: said, and mended where that is wanted, by the system's package manager. The real one is replaced by a
script that lays bare the servers' programs, which are hidden from these tests."""

import os
import pathlib
import shutil
import subprocess

import pytest

from harness import machine, net, snapshot

SERVERS = {"nginx": ["/usr/sbin/nginx"], "apache": ["/usr/sbin/apache2", "/usr/sbin/apache2ctl", "/usr/sbin/apachectl"]}
PACKAGES = {"nginx": "nginx", "apache2": "apache"}
MANAGER = "/usr/bin/apt-get"
LOG = pathlib.Path("/run/fresh/log")
# "installs" what it is told to, unless the test has left a word on what is the matter; knows packages only after an update where that is wanted.
FAKE = """#!/bin/sh
echo "$DEBIAN_FRONTEND $*" >>/run/fresh/log
case " $* " in *" update "*) rm -f /run/fresh/stale; exit 0;; esac
if [ -e /run/fresh/offline ]; then
    echo "Reading package lists..."; echo "E: Failed to fetch http://deb.test/nginx.deb  Could not resolve 'deb.test'"; exit 100
fi
if [ -e /run/fresh/stale ]; then echo "E: Unable to locate package"; exit 100; fi
for last; do :; done
case $last in nginx) paths='@NGINX@';; *) paths='@APACHE@';; esac
for path in $paths; do umount $path; done
if [ -e /run/fresh/starts ]; then /usr/sbin/nginx; fi
"""


class Fresh:
    """Only what is hidden from the test is not there."""

    def __init__(self):
        self.directory = LOG.parent
        self.mounted = []
        self.directory.mkdir(exist_ok=True)
        self.empty = self.directory / "empty"
        self.empty.write_text("")
        self.fake = self.directory / "apt-get"
        self.fake.write_text(FAKE.replace("@NGINX@", " ".join(self.paths("nginx"))).replace("@APACHE@", " ".join(self.paths("apache"))))
        self.fake.chmod(0o755)
        self.cover(self.fake, MANAGER)

    @staticmethod
    def paths(kind):
        return [p for p in SERVERS[kind] if os.path.exists(p) and not os.path.islink(p)]

    def cover(self, what, path):
        machine.run("mount", "--bind", what, path)
        self.mounted.append(path)

    def hide(self, *kinds):
        for kind in kinds:
            for path in self.paths(kind):
                self.cover(self.empty, path)
        return self

    def say(self, word):
        (self.directory / word).write_text("")

    def log(self):
        return LOG.read_text().splitlines() if LOG.exists() else []

    def undo(self):
        for path in reversed(self.mounted):
            subprocess.run(["umount", path], capture_output=True)
        shutil.rmtree(self.directory)


@pytest.fixture
def fresh(nginx, apache):
    if not os.path.exists(MANAGER):
        pytest.skip("no apt-get here that could be replaced")
    machine_without = Fresh()
    machine_without.hide("nginx", "apache")
    yield machine_without
    machine_without.undo()


def everything():
    return snapshot.snapshot("/etc", "/var/lib/tlsup", "/var/www", leave_out={"/etc/tlsup", "/var/lib/tlsup/lock"})


def test_none_is_there(tlsup, fake_ca, fresh, name):
    """Nobody to ask: what is the matter, and both ways out."""
    first = tlsup("enable", name, *fake_ca.arguments)  # makes the store
    before = everything()
    result = tlsup("enable", name, *fake_ca.arguments)
    assert first.status == result.status == 1 and "no web server is installed" in result.err, result
    assert "--with nginx" in result.err and "apt install nginx" in result.err, result
    assert not fresh.log() and not fake_ca.requests()
    assert not snapshot.difference(before, everything())


def test_installed_and_enabled(tlsup, ca, fresh, name):
    """From nothing to https, in one command. The package does not start its service here (policy-rc.d): its service manager does."""
    result = tlsup.ok("enable", name, "--with", "nginx", *ca.arguments)
    calls = fresh.log()
    assert len(calls) == 1 and calls[0].startswith("noninteractive ") and calls[0].endswith(" install nginx"), calls
    assert "Installed nginx" in result.err
    assert net.leaf(name)[0] == tlsup.sha256(name)
    assert net.https(name, ca.roots).status == 200
    # Now it is there: --with says nothing more.
    tlsup.ok("enable", name, "--with", "nginx", *ca.arguments)
    assert fresh.log() == calls


def test_apache_too(tlsup, ca, fresh, name):
    tlsup.ok("enable", name, "--with", "apache", *ca.arguments)
    assert fresh.log()[0].endswith(" install apache2"), fresh.log()
    assert net.leaf(name)[0] == tlsup.sha256(name)
    assert net.https(name, ca.roots).status == 200


def test_a_package_that_starts_its_service(tlsup, ca, fresh, name):
    fresh.say("starts")
    tlsup.ok("enable", name, "--with", "nginx", *ca.arguments)
    assert net.leaf(name)[0] == tlsup.sha256(name)


def test_stale_lists_of_packages(tlsup, ca, fresh, name):
    fresh.say("stale")
    tlsup.ok("enable", name, "--with", "nginx", *ca.arguments)
    assert [line.split()[-1] for line in fresh.log()] == ["nginx", "update", "nginx"]
    assert net.leaf(name)[0] == tlsup.sha256(name)


def test_offline(tlsup, fake_ca, fresh, name):
    """The package manager's own words, and nothing else done."""
    fresh.say("offline")
    result = tlsup("enable", name, "--with", "nginx", *fake_ca.arguments)
    assert result.status == 1 and "nginx could not be installed" in result.err and "Could not resolve 'deb.test'" in result.err, result
    assert "apt install nginx" in result.err
    assert not fake_ca.requests() and not list(pathlib.Path("/etc/tlsup").glob("certs.d/*"))


def test_a_page_where_there_is_none(tlsup, ca, fresh, name):
    shutil.rmtree("/var/www/html")
    os.makedirs("/var/www/html")
    tlsup.ok("enable", name, "--with", "nginx", *ca.arguments)
    page = net.https(name, ca.roots)
    assert page.status == 200 and "It works" in page.body


def test_a_page_that_is_there_stays(tlsup, ca, fresh, name):
    root = pathlib.Path("/var/www/html")
    shutil.rmtree(root)
    root.mkdir()
    (root / "index.php").write_text("<?php ?>")
    tlsup.ok("enable", name, "--with", "nginx", *ca.arguments)
    assert [p.name for p in root.iterdir()] == ["index.php"]


def test_the_other_one_is_there(tlsup, fake_ca, fresh, nginx, name):
    """--with apache on a machine where nginx serves: which one is there, and nothing installed."""
    machine.run("umount", "/usr/sbin/nginx")
    nginx.start()
    result = tlsup("enable", name, "--with", "apache", *fake_ca.arguments)
    assert result.status == 2 and "nginx is here already" in result.err, result
    assert not fresh.log() and not fake_ca.requests()


def test_asked_on_the_terminal(tlsup, ca, fresh, name):
    words = [w for w in ca.arguments if w != "-n"]
    status, seen = tlsup.on_terminal("enable", name, *words, keys=b"n\n")
    assert status == 1 and "Install nginx now?" in seen and "--with nginx" in seen, seen
    assert not fresh.log()
    status, seen = tlsup.on_terminal("enable", name, *words, keys=b"\n")
    assert status == 0 and "Installed nginx" in seen, seen
    assert net.leaf(name)[0] == tlsup.sha256(name)


def test_the_plan(tlsup, fake_ca, fresh, name):
    result = tlsup.ok("enable", name, "--with", "nginx", "--plan", *fake_ca.arguments)
    assert "apt install nginx" in result.out and "Nothing was changed" in result.out
    assert all(line.startswith("#") for line in result.out.splitlines())
    assert not fresh.log() and not fake_ca.requests()
    refused = tlsup("enable", name, "--plan", *fake_ca.arguments)
    assert refused.status == 1 and "--with nginx" in refused.err


def test_only_root_installs(tlsup, fake_ca, fresh, name, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    os.chown(own, 65534, 65534)
    os.chmod(tmp_path, 0o755)
    result = tlsup("enable", name, "--with", "nginx", *fake_ca.arguments, "--config-dir", str(own / "etc"), "--state-dir",
                   str(own / "var"), prefix=["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"])
    assert result.status != 0 and not fresh.log(), result
