"""Several certificates that share a web server's modules, default server and files, taken back in any order."""

import itertools

import pytest

from harness import machine, net, snapshot, web


@pytest.fixture(params=[web.Nginx, web.Apache], ids=["nginx", "apache"])
def server(request):
    try:
        server = request.param.required()
    except machine.Unavailable as reason:
        pytest.skip(str(reason))
    return server


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=lambda order: "".join(map(str, order)))
def test_any_order(tlsup, fake_ca, server, new_name, order):
    names = [new_name() for _ in range(3)]
    server.site(names[0])  # the two others have no site of their own
    server.start()
    before = server.configuration()
    for name in names:
        tlsup.ok("enable", name, *fake_ca.arguments)
    left = list(names)
    for i in order:
        tlsup.ok("undo", names[i])
        left.remove(names[i])
        assert server.test().returncode == 0
        for name in left:
            assert net.leaf(name)[0] == tlsup.sha256(name), f"{name} after the undo of {names[i]}"
            tlsup.ok("renew", name, "--force-renewal")
            assert net.leaf(name)[0] == tlsup.sha256(name)
    assert not snapshot.difference(before, server.configuration())
