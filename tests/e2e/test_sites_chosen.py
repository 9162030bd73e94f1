"""`enable` without names: the sites of the web server, those that lead to this machine, and the choice among them."""

import pathlib
import re

import pytest

from harness import machine, net, snapshot, web

ELSEWHERE, PUBLIC, PUBLIC_V6 = "198.51.100.7", "203.0.113.9", "2001:db8::9"


@pytest.fixture
def public():
    """This machine has an address that the world can reach, so that one which is not its own leads elsewhere."""
    addresses = [f"{PUBLIC}/32"] + [f"{PUBLIC_V6}/128"] * machine.has_ipv6()
    for address in addresses:
        machine.run("ip", "addr", "add", address, "dev", "lo")
    yield
    for address in addresses:
        machine.run("ip", "addr", "del", address, "dev", "lo")


def point(address, *names):
    with open("/etc/hosts", "a") as hosts:
        hosts.write(f"{address} {' '.join(names)}\n")


def sites(server, *groups):
    for names in groups:
        server.site(*names)


def interactive(ca):
    return [word for word in ca.arguments if word != "-n"]


def held(tlsup):
    return {entry["name"]: set(entry["names"]) for entry in tlsup.ok("status", "--json").json()["certificates"]}


def test_all(tlsup, ca, server, public, new_name):
    """Each site becomes a certificate of its own; what leads elsewhere is named with its address, and left alone."""
    one, two, away = new_name(), new_name(), new_name()
    sites(server, [one, f"www.{one}"], [two, f"www.{two}"], [away])
    point(PUBLIC, one, f"www.{one}", two)
    point(ELSEWHERE, away, f"www.{two}")
    server.start()
    result = tlsup.ok("enable", "--all", *ca.arguments)
    assert held(tlsup) == {one: {one, f"www.{one}"}, two: {two}}
    for each in (one, two):
        assert net.leaf(each)[0] == tlsup.sha256(each)
    assert f"{away}: {ELSEWHERE} is not this machine" in result.err and f"www.{two}: {ELSEWHERE}" in result.err, result
    assert "2 enabled, 0 failed" in result.out
    # Now there is nothing more to do but what leads elsewhere.
    again = tlsup("enable", "--all", *ca.arguments)
    assert again.status == 3 and "none of the sites leads to this machine" in again.err, again
    # Their own certificates came as if each had been named.
    for each in (one, two):
        tlsup.ok("undo", each)


def test_nothing_more_to_do(tlsup, ca, nginx, new_name):
    one = new_name()
    sites(nginx, [one])
    point("127.0.0.1", one)
    nginx.start()
    tlsup.ok("enable", "--all", *ca.arguments)
    before = nginx.configuration()
    result = tlsup.ok("enable", "--all", *ca.arguments)
    assert "nothing more to do" in result.out and one in result.out
    assert not snapshot.difference(before, nginx.configuration())


@pytest.mark.parametrize("answer, chosen", [(b"\n", {0, 1}), (b"2\n", {1}), (b"3 1\n", {0, 2}), (b"1-2\n", {0, 1}), (b"all\n", {0, 1, 2}),
                                            (b"nonsense\n9\n2\n", {1}), (b"q\n", set()), (b"\x04", set()), (b"9\n9\n9\n", set())])
def test_asked_on_the_terminal(tlsup, ca, nginx, public, new_name, answer, chosen):
    names = [new_name() for _ in range(3)]
    sites(nginx, *[[name] for name in names])
    point(PUBLIC, *names[:2])
    point(ELSEWHERE, names[2])
    nginx.start()
    status, seen = tlsup.on_terminal("enable", *interactive(ca), keys=answer)
    assert status == 0, seen
    assert all(name in seen for name in names) and f"{ELSEWHERE} is not this machine" in seen and "[1 2]" in seen, seen
    assert set(held(tlsup)) == {names[i] for i in chosen}
    assert chosen or "Nothing was changed" in seen


def test_nobody_to_ask(tlsup, fake_ca, nginx, name):
    nginx.site(name)
    nginx.start()
    result = tlsup("enable", *fake_ca.arguments)
    assert result.status == 2 and not fake_ca.requests(), result


def test_names_that_can_have_none(tlsup, ca, nginx, new_name):
    """Said, each with its reason, and no part of any certificate."""
    name = new_name()
    names = f"*.{name} ~^(?<sub>.+)\\.{name}$ localhost 192.0.2.1 {name} printer.local _"
    pathlib.Path("/var/www", name).mkdir()
    nginx.add_site(name, f'server {{ listen 80; server_name {names.replace("~^(?<sub>.+)", "~^(.+)")}; root /var/www/html; }}\n')
    point("127.0.0.1", name)
    nginx.start()
    result = tlsup.ok("enable", "--all", *ca.arguments)
    assert held(tlsup) == {name: {name}}
    for word, why in ((f"*.{name}", "wildcard"), ("~^", "pattern"), ("localhost", "no public name"), ("192.0.2.1", "address"),
                      ("printer.local", "no public name")):
        assert re.search(rf"Left out: {re.escape(word)}.*{why}", result.out), (word, result)


def test_one_failure_does_not_stop_the_others(tlsup, ca, nginx, dns, new_name):
    """One that the CA cannot reach, one that has no place, one that is fine: what failed leaves nothing behind."""
    fine, unreachable, redirects = new_name(), new_name(), new_name()
    sites(nginx, [unreachable], [fine])
    redirect_site = nginx.add_site(redirects, f"server {{ listen 80; server_name {redirects}; return 301 https://$host$request_uri; }}\n")
    point("127.0.0.1", fine, unreachable, redirects)
    nginx.start()
    before = {path: pathlib.Path(path).read_bytes() for path in (redirect_site, f"/etc/nginx/sites-available/{unreachable}")}
    dns.addresses(unreachable, v4=["192.0.2.254"])  # for the CA; in /etc/hosts it leads here
    result = tlsup("enable", "--all", *ca.arguments)
    assert result.status not in (0, None) and "1 enabled, 2 failed" in result.out, result
    assert unreachable in result.err and redirects in result.err
    assert net.leaf(fine)[0] == tlsup.sha256(fine)
    assert set(held(tlsup)) == {fine}
    for path, content in before.items():
        assert pathlib.Path(path).read_bytes() == content, path


@pytest.mark.parametrize("first_fails", [True, False])
def test_neighbours_in_one_file(tlsup, ca, nginx, dns, new_name, first_fails):
    """What is taken back of one moves the lines of the other."""
    names = [new_name(), new_name()]
    bad, good = names if first_fails else reversed(names)
    text = "".join(f"server {{\n    listen 80;\n    server_name {each};\n    root /var/www/html;\n}}\n" for each in names)
    path = nginx.add_site("both", text)
    point("127.0.0.1", *names)
    dns.addresses(bad, v4=["192.0.2.254"])
    nginx.start()
    result = tlsup("enable", "--all", *ca.arguments)
    assert result.status != 0 and "1 enabled, 1 failed" in result.out, result
    assert net.leaf(good)[0] == tlsup.sha256(good)
    tlsup.ok("undo", good)
    assert path.read_text() == text


def test_a_certificate_of_that_name_for_others(tlsup, ca, nginx, new_name):
    """One that covers the site's names is used as it is; one that does not is not replaced unasked."""
    covered, other = new_name(), new_name()
    sites(nginx, [covered], [other, f"www.{other}"])
    point("127.0.0.1", covered, other, f"www.{other}")
    nginx.start()
    tlsup.ok("issue", covered, f"mail.{covered}", *ca.arguments)
    tlsup.ok("issue", other, f"mail.{other}", *ca.arguments)
    first = tlsup.sha256(covered)
    result = tlsup("enable", "--all", *ca.arguments)
    assert result.status != 0 and "for other names" in result.err, result
    assert held(tlsup) == {covered: {covered, f"mail.{covered}"}, other: {other, f"mail.{other}"}}
    assert net.leaf(covered)[0] == first == tlsup.sha256(covered)


def test_one_account_and_one_connection(tlsup, fake_ca, nginx, new_name):
    names = [new_name() for _ in range(8)]
    sites(nginx, *[[name] for name in names])
    point("127.0.0.1", *names)
    nginx.start()
    tlsup.ok("enable", "--all", *fake_ca.arguments)
    assert len(fake_ca.requests("order")) == 8 and len(fake_ca.requests("directory")) == 1 and len(fake_ca.requests("account")) == 1
    for name in names:
        assert net.leaf(name)[0] == tlsup.sha256(name)


def test_the_plan_of_all(tlsup, fake_ca, nginx, new_name):
    names = [new_name() for _ in range(2)]
    sites(nginx, *[[name] for name in names])
    point("127.0.0.1", *names)
    nginx.start()
    before = nginx.configuration()
    result = tlsup.ok("enable", "--all", "--plan", *fake_ca.arguments)
    for name in names:
        assert f"# For {name}, tlsup would do this" in result.out and f"+++ /etc/nginx/sites-available/{name}" in result.out, result
    status, seen = tlsup.on_terminal("enable", "--plan", *interactive(fake_ca), keys=b"2\n")
    assert status == 0 and f"# For {names[1]}," in seen and f"# For {names[0]}," not in seen and "Nothing was changed" in seen, seen
    assert not fake_ca.requests() and not snapshot.difference(before, nginx.configuration()) and not net.port_open(443)


def test_where_it_is_installed(tlsup, fake_ca, server, name):
    """`status` tells the place, `undo` clears it."""
    path = server.site(name)
    server.start()
    tlsup.ok("enable", name, *fake_ca.arguments)
    places = tlsup.status_of(name)["places"]
    assert len(places) == 1 and re.fullmatch(r"/etc/.*:\d+", places[0]), places
    assert f"installed in  {places[0]}" in tlsup.ok("status", name).out
    assert f"({places[0].rsplit('/', 1)[1]})" in tlsup.ok("status", name).out
    tlsup.ok("renew", "--force-renewal", name)
    assert tlsup.status_of(name)["places"] == places
    tlsup.ok("undo", name)
    assert tlsup.status_of(name)["places"] == [] and path.exists()
    assert places[0] not in (tlsup.state / "state" / f"{name}.json").read_text()
    tlsup.ok("install", name)
    assert tlsup.status_of(name)["places"] == places


def test_one_server_by_two_words(tlsup, fake_ca, new_name):
    """Two new certificates, one that names its web server and one that finds it: both readings are of the same files."""
    server = web.Nginx.required()
    names = [new_name(), new_name()]
    for name in names:
        server.site(name)
    server.start()
    directory = tlsup.config / "certs.d"
    directory.mkdir(parents=True, exist_ok=True)
    (tlsup.config / "tlsup.conf").write_text(f"server = {fake_ca.url}\nca-bundle = {fake_ca.bundle}\nagree-tos = yes\n")
    for name, more in zip(names, ("install = nginx\n", "")):
        (directory / f"{name}.conf").write_text(f"names = {name}\n{more}")
    tlsup.ok("renew")
    assert net.leaf(names[0])[0] == tlsup.sha256(names[0])
    assert tlsup.version(names[1]) == 1
