"""What `enable` must do on every web server. The files test_enable_*.py bring the server."""

import os
import re

import pytest

from harness import net, pki, snapshot
from harness.client import check_store


def enable(tlsup, ca, *words, **options):
    return tlsup.ok("enable", *words, *ca.arguments, **options)


def assert_served(tlsup, ca, name, cert=None, addresses=("127.0.0.1",)):
    for address in addresses:
        assert net.leaf(name, address)[0] == tlsup.sha256(cert or name)
        assert net.https(name, ca.roots, address=address).status == 200


@pytest.mark.every_pebble
def test_stock_server(tlsup, ca, server, name, ipv6):
    """A machine fresh from the installer: no site of one's own, 443 off."""
    server.start()
    master = server.master()
    with net.Visitor(name) as visitor:
        result = enable(tlsup, ca, name, f"www.{name}")
    assert visitor.visits > 3 and not visitor.failures, visitor.failures
    assert server.master() == master, "the server must be reloaded, not restarted"
    check_store(tlsup, name, [name, f"www.{name}"], ca.roots)
    for each in (name, f"www.{name}"):
        assert_served(tlsup, ca, each, name, ("127.0.0.1", "::1"))
        assert "plain page" in net.https(each, ca.roots).body
    assert server.test().returncode == 0
    assert f"https://{name}" in result.text or name in result.text


def test_site_of_ones_own(tlsup, ca, server, name, ipv6):
    """The site with the name gets the certificate and serves the same page; the others are as before."""
    server.site(name, f"www.{name}")
    neighbour = f"neighbour-{name}"
    path = server.site(neighbour)
    server.start()
    before = path.read_bytes(), net.http(neighbour).body
    with net.Visitor(neighbour) as visitor:
        enable(tlsup, ca, name, f"www.{name}")
    assert not visitor.failures, visitor.failures
    assert (path.read_bytes(), net.http(neighbour).body) == before
    for each in (name, f"www.{name}"):
        assert f"this is {name}" in net.https(each, ca.roots).body
    assert_served(tlsup, ca, name, addresses=["127.0.0.1"])


def test_two_sites_one_certificate(tlsup, ca, server, new_name):
    one, two = new_name(), new_name()
    server.site(one)
    server.site(two)
    server.start()
    enable(tlsup, ca, one, two)
    for each in (one, two):
        assert f"this is {each}" in net.https(each, ca.roots).body
        assert net.leaf(each)[0] == tlsup.sha256(one)


def test_two_certificates(tlsup, ca, server, new_name):
    names = new_name(), new_name()
    for each in names:
        server.site(each)
    server.start()
    for each in names:
        enable(tlsup, ca, each)
    for each in names:
        assert net.leaf(each)[0] == tlsup.sha256(each)
        assert f"this is {each}" in net.https(each, ca.roots).body


@pytest.mark.every_pebble
def test_redirect(tlsup, ca, server, name):
    server.site(name)
    server.start()
    enable(tlsup, ca, name, "--redirect")
    answer = net.http(name, "/some/page?and=query")
    assert answer.status in (301, 308) and answer.location == f"https://{name}/some/page?and=query", (answer.status, answer.location)
    assert f"this is {name}" in net.https(name, ca.roots).body
    # The challenge gets through the redirect: the next certificate needs no edit.
    before = server.configuration()
    tlsup.ok("renew", "--force-renewal", name)
    assert tlsup.version(name) == 2 and net.leaf(name)[0] == tlsup.sha256(name)
    assert not snapshot.difference(before, server.configuration())


def test_no_redirect(tlsup, ca, server, name):
    server.site(name)
    server.start()
    enable(tlsup, ca, name, "--no-redirect")
    assert net.http(name).status == 200 and f"this is {name}" in net.http(name).body


def test_redirect_can_be_changed_later(tlsup, ca, server, name):
    server.site(name)
    server.start()
    enable(tlsup, ca, name, "--redirect")
    assert net.http(name).status in (301, 308)
    enable(tlsup, ca, name, "--no-redirect")
    assert net.http(name).status == 200
    assert net.https(name, ca.roots).status == 200


def test_enable_again_changes_nothing(tlsup, ca, server, name):
    server.site(name)
    server.start()
    enable(tlsup, ca, name)
    configuration, held, asked = server.configuration(), tlsup.held(), len(ca.requests())
    enable(tlsup, ca, name)
    assert not snapshot.difference(configuration, server.configuration())
    assert not snapshot.difference(held, tlsup.held())
    assert not [r for r in ca.requests()[asked:] if "order" in r]


def test_issue_then_install(tlsup, ca, server, name):
    server.site(name)
    server.start()
    tlsup.ok("issue", name, *ca.arguments)
    assert not net.port_open(443)
    asked = len(ca.requests())
    tlsup.ok("install", name)
    assert_served(tlsup, ca, name)
    assert len(ca.requests()) == asked, "install needs no CA"


def test_server_is_chosen_by_flag(tlsup, ca, server, name):
    server.start()
    enable(tlsup, ca, name, f"--{server.kind}")
    assert net.leaf(name)[0] == tlsup.sha256(name)


@pytest.mark.every_pebble
def test_forced_renewal_is_served(tlsup, ca, server, name):
    server.site(name)
    server.start()
    enable(tlsup, ca, name)
    first, before = net.leaf(name)[0], server.configuration()
    with net.Visitor(name) as visitor:
        tlsup.ok("renew", name, "--force-renewal")
    assert not visitor.failures, visitor.failures
    assert net.leaf(name)[0] == tlsup.sha256(name) != first
    assert not snapshot.difference(before, server.configuration())


def test_configuration_files_keep_owner_and_mode(tlsup, ca, server, name):
    path = server.site(name)
    os.chmod(path, 0o640)
    os.chown(path, 0, 4)
    link = os.readlink(os.path.join(server.tree, "sites-enabled", os.path.basename(path)))
    server.start()
    enable(tlsup, ca, name, "--redirect")
    info = os.stat(path)
    assert (info.st_mode & 0o777, info.st_gid) == (0o640, 4)
    assert os.readlink(os.path.join(server.tree, "sites-enabled", os.path.basename(path))) == link
    left = [p for p in snapshot.snapshot(server.tree) if re.search(r"(\.tmp|\.bak|~|\.tlsup-old|\.new)$", p)]
    assert not left


def test_the_answers_are_remembered_for_renewal(tlsup, ca, server, name):
    server.site(name)
    server.start()
    enable(tlsup, ca, name, "--redirect")
    text = (tlsup.config / "certs.d" / f"{name}.conf").read_text()
    assert re.search(rf"install\s*=\s*{server.kind}", text) and re.search(r"redirect\s*=\s*yes", text), text


def test_rsa_is_served_too(tlsup, ca, server, name):
    server.site(name)
    server.start()
    enable(tlsup, ca, name, "--key-type", "rsa-2048")
    assert_served(tlsup, ca, name)
    assert "2048 bit" in pki.key_text(tlsup.file(name, "privkey"))
