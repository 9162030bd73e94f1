"""The main job on Apache, whose ssl module is not even loaded at the beginning."""

import os
import signal
import ssl
import time

import pytest

from enable_common import *  # noqa: F401,F403 - the tests that hold for both servers
from enable_common import enable
from harness import machine, net


@pytest.fixture
def server(apache):
    return apache


def test_ssl_module_is_turned_on(tlsup, ca, apache, name):
    assert not (machine.pathlib.Path("/etc/apache2/mods-enabled/ssl.load")).exists()
    apache.site(name)
    apache.start()
    enable(tlsup, ca, name)
    assert (machine.pathlib.Path("/etc/apache2/mods-enabled/ssl.load")).is_symlink()
    assert net.leaf(name)[0] == tlsup.sha256(name)


def test_ssl_module_is_there_already(tlsup, ca, apache, name):
    machine.run("/usr/sbin/a2enmod", "-q", "ssl")
    apache.site(name)
    apache.start()
    enable(tlsup, ca, name)
    assert net.leaf(name)[0] == tlsup.sha256(name)


@pytest.fixture
def ipv4_alone():
    """An address of IPv4, and none of IPv6 but that of loopback: Apache's `Listen 443` opens no IPv6 socket then."""
    machine.run("ip", "address", "add", "192.0.2.44/32", "dev", "lo")
    yield
    machine.run("ip", "address", "del", "192.0.2.44/32", "dev", "lo")


def test_a_slow_reload_shows_late_that_there_is_no_ipv6(tlsup, fake_ca, apache, ipv4_alone, name):
    """Not before Apache listens."""
    fake_ca.preauthorized = True
    apache.site(name)
    tlsup.ok("issue", name, "--webroot", "-w", f"/var/www/{name}", *fake_ca.arguments)
    apache.start()
    os.kill(apache.master(), signal.SIGSTOP)  # busy with something else; its workers go on
    process = tlsup.start("install", name, "-v")
    said = []
    for line in process.stderr:
        said.append(line)
        if "proving that port 443" in line:
            break
    time.sleep(0.5)  # it has looked by then
    os.kill(apache.master(), signal.SIGCONT)
    said += process.stderr.readlines()
    assert tlsup.finish(process).status == 0, "".join(said)
    assert not net.port_open(443, "::1") and net.leaf(name, "127.0.0.1")[0] == tlsup.sha256(name)


def test_default_ssl_site_is_left_alone(tlsup, ca, apache, authority, new_name):
    """Debian's default-ssl with a certificate of its own keeps serving it to everybody else."""
    name, other = new_name(), new_name()
    cert, key = authority.server("default-ssl", [other])
    machine.run("/usr/sbin/a2enmod", "-q", "ssl")
    apache.add_site("own-ssl", f"""<VirtualHost *:443>
    ServerName {other}
    DocumentRoot /var/www/html
    SSLEngine on
    SSLCertificateFile {cert}
    SSLCertificateKeyFile {key}
</VirtualHost>
""")
    apache.site(name)
    apache.start()
    served = net.leaf(other)[0]
    enable(tlsup, ca, name)
    assert net.leaf(other)[0] == served
    assert net.leaf(name)[0] == tlsup.sha256(name)


@pytest.mark.parametrize("obstacle", ["Redirect permanent / https://elsewhere.test/", "RewriteEngine on\n    RewriteRule ^ /index.html [L]",
                                      "<Location />\n    Require all denied\n    </Location>"])
def test_challenge_gets_through(tlsup, ca, apache, name, obstacle):
    if "Rewrite" in obstacle:
        machine.run("/usr/sbin/a2enmod", "-q", "rewrite")
    apache.site(name, extra=f"    {obstacle}")
    apache.start()
    tlsup.ok("issue", name, *ca.arguments)


def test_old_protocols_stay_off_and_new_ones_work(tlsup, ca, apache, name):
    apache.site(name)
    apache.start()
    enable(tlsup, ca, name)
    for version, expected in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        assert net.leaf(name, minimum=version, maximum=version)[1] == expected
    with pytest.raises(OSError):
        net.leaf(name, minimum=ssl.TLSVersion.TLSv1_1, maximum=ssl.TLSVersion.TLSv1_1)
