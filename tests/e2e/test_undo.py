"""Taking it all back: `undo` and `delete`, on nginx and Apache."""

import pytest

from harness import machine, net, snapshot, web


@pytest.fixture(params=[web.Nginx, web.Apache], ids=["nginx", "apache"])
def server(request, name):
    try:
        server = request.param.required()
    except machine.Unavailable as reason:
        pytest.skip(str(reason))
    return server


def test_every_byte_comes_back(tlsup, fake_ca, server, name):
    server.site(name)
    server.start()
    before = server.configuration()
    tlsup.ok("enable", name, "--redirect", *fake_ca.arguments)
    assert net.port_open(443) and net.http(name).status == 301
    served = tlsup.sha256(name)
    tlsup.ok("undo", name)
    assert not snapshot.difference(before, server.configuration())
    assert server.test().returncode == 0 and net.http(name).status == 200
    assert tlsup.sha256(name) == served, "the certificate itself is kept"
    tlsup.ok("enable", name, *fake_ca.arguments)
    assert net.leaf(name)[0] == served, "and can be installed again without a new order"


def test_after_renewals_too(tlsup, fake_ca, server, name):
    server.site(name)
    server.start()
    before = server.configuration()
    tlsup.ok("enable", name, *fake_ca.arguments)
    for _ in range(4):
        tlsup.ok("renew", name, "--force-renewal")
    assert net.leaf(name)[0] == tlsup.sha256(name)
    tlsup.ok("undo", name)
    assert not snapshot.difference(before, server.configuration())


def test_a_persons_edit_since_then_is_kept(tlsup, fake_ca, server, name):
    path = server.site(name)
    original = path.read_bytes()
    server.start()
    tlsup.ok("enable", name, *fake_ca.arguments)
    path.write_bytes(path.read_bytes() + b"# a person was here\n")
    tlsup.ok("undo", name)
    assert path.read_bytes() == original + b"# a person was here\n"


def test_delete_only_when_it_is_no_longer_used(tlsup, fake_ca, server, name):
    server.site(name)
    server.start()
    tlsup.ok("enable", name, *fake_ca.arguments)
    refused = tlsup("delete", name)
    assert refused.status not in (0, None) and "undo" in refused.err and name in refused.err, refused
    assert tlsup.file(name).exists() and net.leaf(name)[0] == tlsup.sha256(name)
    tlsup.ok("undo", name)
    tlsup.ok("delete", name)
    assert not tlsup.live(name).is_symlink() and not list(tlsup.state.glob(f"certs/{name}/*"))
    assert not tlsup.ok("status", "--json").json()["certificates"]


def test_nothing_to_undo(tlsup, fake_ca, server, name):
    server.start()
    tlsup.ok("issue", name, "--webroot", "-w", "/var/www/html", *fake_ca.arguments)
    result = tlsup("undo", name)
    assert result.status != 0 and name in result.err, result
    assert tlsup.file(name).exists()
