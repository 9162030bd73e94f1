"""`check`: would it work? Each obstacle is found, named and told what to do about; nothing is touched."""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess

import pytest

from harness import machine, net, snapshot
from harness.named import Zone

NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def look(tlsup, *words, status=None, **options):
    """{(about, name): [finding, ...]}, after what holds for every answer."""
    result = tlsup("check", "--json", *words, **options)
    answer = json.loads(result.out)
    assert answer["version"] == 1 and answer["command"] == "check"
    problems = [f for f in answer["findings"] if f["severity"] == "problem"]
    assert answer["ok"] == (not problems) and result.status == (3 if problems else 0), result
    assert status is None or result.status == status, result
    for severity, count in answer["counts"].items():
        assert count == len([f for f in answer["findings"] if f["severity"] == severity])
    for problem in problems:
        assert problem["what"] and (problem["todo"] or problem["about"] in ("place", "web-server-test")), problem
    found = {}
    for finding in answer["findings"]:
        found.setdefault((finding["about"], finding["name"]), []).append(finding)
    return found


def severity(found, about, name=None):
    """The worst of them; None where there is nothing."""
    order = ["ok", "note", "warning", "problem"]
    return max((f["severity"] for f in found.get((about, name), [])), key=order.index, default=None)


def say(name, *addresses):
    with open("/etc/hosts", "a") as hosts:
        hosts.writelines(f"{address} {name}\n" for address in addresses)


@contextlib.contextmanager
def own_address(address):
    machine.run("ip", "addr", "add", address, "dev", "lo", *(["nodad"] if ":" in address else []))
    try:
        yield
    finally:
        machine.run("ip", "addr", "del", address, "dev", "lo")


@contextlib.contextmanager
def listener(port):
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("0.0.0.0", port))
        held.listen()
        yield held


def test_all_is_well(tlsup, server, name):
    server.site(name)
    say(name, "127.0.0.1")
    server.start()
    before = server.configuration()
    found = look(tlsup, name, status=0)
    for about in ("web-server", "web-server-test", "port-80", "port-443", "state-directory", "config-directory"):
        assert severity(found, about) == "ok", found
    for about in ("site-80", "place", "challenge", "limits"):
        assert severity(found, about, name) == "ok", found
    assert severity(found, "address", name) == "note"  # /etc/hosts is not what the world sees
    assert not snapshot.difference(before, server.configuration())
    assert not os.listdir("/var/lib/tlsup") and not list(pathlib.Path("/tmp").glob("tlsup-check-*"))
    text = tlsup.ok("check", name)
    assert "problem" not in text.out and "things are well" in text.out and "✓" not in text.out
    assert "✓" in tlsup.ok("check", name, "-v").out


def test_after_enable(tlsup, ca, server, name):
    """Without names those of the certificates; what was put there is seen."""
    server.site(name)
    say(name, "127.0.0.1")
    server.start()
    tlsup.ok("enable", name, *ca.arguments)
    configuration, held = server.configuration(), tlsup.held()
    found = look(tlsup, status=0)
    assert severity(found, "certificate", name) == "ok" and severity(found, "challenge", name) == "ok"
    assert severity(found, "site-443", name) == "ok" and severity(found, "place", name) == "ok"
    assert all("is answered" in f["what"] for f in found["challenge", name]), found
    assert severity(found, "port-443") == "ok" and severity(found, "renewals") == "warning"
    assert not snapshot.difference(configuration, server.configuration()) and not snapshot.difference(held, tlsup.held())


def test_with_a_certificate_that_is_held(tlsup, fake_ca, name):
    """Reading its key must not keep the questions that child processes ask from being asked."""
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    result = tlsup("check", name, "-v")
    assert "inherit" not in result.text and "CAA" in result.text, result
    assert "a challenge is answered by tlsup itself on port 80" in result.out.replace("\n  ", " "), result


def test_answer_is_gone(tlsup, ca, nginx, name):
    path = nginx.site(name)
    say(name, "127.0.0.1")
    nginx.start()
    before = path.read_text()
    tlsup.ok("enable", name, *ca.arguments)
    path.write_text(before)
    nginx.reload()
    found = look(tlsup, name)
    assert severity(found, "challenge", name) == "warning", found


def test_where_names_lead(tlsup, nginx, new_name, ipv6):
    here, away, partly, leftover, nowhere = (new_name() for _ in range(5))
    nginx.start()
    say(here, "203.0.113.5")
    say(away, "198.51.100.7")
    say(partly, "203.0.113.5", "198.51.100.7")
    say(leftover, "203.0.113.5", "2001:db8:1::9")
    with own_address("203.0.113.5/32"), own_address("2001:db8:1::5/128"):
        found = look(tlsup, here, away, partly, leftover, status=3)
    assert [severity(found, "address", n) for n in (here, away, partly, leftover)] == ["ok", "problem", "warning", "problem"]
    assert "198.51.100.7 is not this machine (203.0.113.5)" in found["address", away][0]["what"]
    assert "AAAA" in found["address", leftover][0]["todo"]


def test_behind_nat_and_no_ipv6(tlsup, nginx, new_name):
    behind, six = new_name(), new_name()
    nginx.start()
    say(behind, "198.51.100.7")
    say(six, "198.51.100.7", "2001:db8:1::9")
    with own_address("192.168.7.7/32"):
        found = look(tlsup, behind, six, status=0)
    assert severity(found, "address", behind) == "note" and "NAT" in found["address", behind][0]["why"]
    assert severity(found, "address", six) == "warning" and "IPv6" in found["address", six][0]["what"]


def test_names_by_dns(tlsup, nginx, make_named, new_name):
    """A real name server: what is there, what is not, and CAA."""
    zone = new_name()
    make_named(zones=[Zone(zone, ["www A 203.0.113.5", "www AAAA 2001:db8:1::5", "closed A 203.0.113.5", 'closed CAA 0 issue "other.test"'], catch_all=None)])
    nginx.start()
    with own_address("203.0.113.5/32"), own_address("2001:db8:1::5/128"):
        found = look(tlsup, f"www.{zone}", f"closed.{zone}", f"missing.{zone}", status=3)
    assert severity(found, "address", f"missing.{zone}") == "problem" and "no address" in found["address", f"missing.{zone}"][0]["what"]
    assert severity(found, "address", f"www.{zone}") == "ok" and "2001:db8:1::5" in found["address", f"www.{zone}"][0]["what"]
    assert [severity(found, "caa", f"{n}.{zone}") for n in ("www", "missing", "closed")] == ["ok", "ok", "problem"], found


def test_held_ports(tlsup, nginx, name):
    say(name, "127.0.0.1")
    nginx.site(name)
    nginx.start()
    with listener(443):
        found = look(tlsup, name, status=3)
    assert severity(found, "port-443") == "problem" and severity(found, "port-80") == "ok"
    finding = found["port-443", None][0]
    assert f"(pid {os.getpid()})" in finding["what"] and "tlsup issue" in finding["todo"]
    assert severity(found, "place", name) is None  # told once


def test_port_80_of_another_program(tlsup, nginx, name):
    with listener(80):
        found = look(tlsup, "--nginx", name, status=3)
    assert severity(found, "port-80") == "problem" and "http-01" in found["port-80", None][0]["why"]


def other_server(program, directory, port):
    """haproxy, lighttpd or caddy on a port: (its argv, a file's name, the file's text)."""
    texts = {"haproxy": f"defaults\n mode http\n timeout client 1s\n timeout server 1s\n timeout connect 1s\nfrontend f\n bind :{port}\n http-request return status 200\n",
             "lighttpd": f'server.document-root = "{directory}"\nserver.port = {port}\n',
             "caddy": f"{{\n admin off\n auto_https off\n https_port 8443\n}}\nhttp://:{port} {{\n respond ok\n}}\n"}
    argv = {"haproxy": ["-db", "-f"], "lighttpd": ["-D", "-f"], "caddy": ["run", "--adapter", "caddyfile", "--config"]}
    return argv[program], texts[program]


@pytest.mark.parametrize("port", [80, 443, 8099])
@pytest.mark.parametrize("program,words", [("haproxy", "HAProxy"), ("lighttpd", "ssl.pemfile"), ("caddy", "Caddy gets certificates")])
def test_other_servers_in_front(tlsup, nginx, tmp_path, name, program, words, port):
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin:{os.environ.get('TLSUP_TEST_FRONTS', '')}")
    if path is None:
        pytest.skip(f"{program} is not installed")
    argv, text = other_server(program, tmp_path, port)
    configuration = tmp_path / "configuration"
    configuration.write_text(text)
    process = subprocess.Popen([path, *argv, str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env={**os.environ, "HOME": str(tmp_path)})
    try:
        machine.until(lambda: net.port_open(port), lambda: f"{program} does not come up")
        found = look(tlsup, "--nginx")
        about = f"port-{port}" if port in (80, 443) else "front"
        assert severity(found, about) == ("problem" if port in (80, 443) else "note"), found
        assert words in found[about, None][0]["todo"] and f"(pid {process.pid})" in found[about, None][0]["what"]
    finally:
        process.kill()
        process.wait()


def test_stopped_server(tlsup, server, name):
    server.site(name)
    found = look(tlsup, f"--{server.kind}", name)
    assert severity(found, "web-server") == "warning" and "start" in found["web-server", None][0]["todo"]
    assert severity(found, "port-80") == "ok" or severity(found, "port-80") == "note"


def test_broken_configuration(tlsup, server, name):
    server.start()
    path, line = server.break_it()
    found = look(tlsup, name, status=3)
    assert severity(found, "web-server-test") == "problem"
    assert f"{line}" in found["web-server-test", None][0]["what"], found
    assert severity(found, "place", name) is None


def test_no_place(tlsup, nginx, name):
    nginx.add_site(name, f"server {{ listen 80; server_name {name}; return 301 https://$host$request_uri; }}\n")
    say(name, "127.0.0.1")
    nginx.start()
    found = look(tlsup, name, status=3)
    assert severity(found, "place", name) == "problem" and "redirect" in found["place", name][0]["what"]
    assert severity(found, "redirect-to-nothing", name) == "warning"
    result = tlsup("check", name)
    assert result.status == 3 and result.out.startswith("✗") and "1 problem" in result.err, result


def test_disabled_site(tlsup, server, name):
    path = server.site(name)
    pathlib.Path(server.tree, "sites-enabled", path.name).unlink()
    server.start()
    found = look(tlsup, name)
    assert severity(found, "disabled", name) == "warning", found


def test_clock_is_behind(tlsup, nginx):
    nginx.start()
    subprocess.run(["touch", "-d", "+400 days", "/etc/nginx/nginx.conf"], check=True)
    found = look(tlsup, status=3)
    assert severity(found, "clock") == "problem" and "/etc/nginx/nginx.conf" in found["clock", None][0]["what"]


def test_read_only_configuration(tlsup, nginx, name):
    nginx.site(name)
    nginx.start()
    machine.run("mount", "--bind", "/etc/nginx", "/etc/nginx")
    try:
        machine.run("mount", "-o", "remount,bind,ro", "/etc/nginx")
        found = look(tlsup, name, status=3)
    finally:
        machine.run("umount", "/etc/nginx")
    assert severity(found, "web-server-disk") == "problem"


def test_full_disk(tlsup, nginx, tmp_path):
    nginx.start()
    small = tmp_path / "small"
    small.mkdir()
    machine.run("mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=20", "tmpfs", small)
    try:
        tlsup.state = small / "state"
        found = look(tlsup, status=3)
    finally:
        machine.run("umount", small)
    assert severity(found, "state-directory") == "problem" and "KiB" in found["state-directory", None][0]["what"]


def test_as_a_user(tlsup, server, name):
    server.site(name)
    say(name, "127.0.0.1")
    server.start()
    found = look(tlsup, name, prefix=NOBODY, status=0)
    assert severity(found, "rights") == "note" and severity(found, "web-server") == "ok"
    assert severity(found, "site-80", name) == "ok" and severity(found, "place", name) is None
    assert "sudo" in tlsup.ok("check", name, prefix=NOBODY).out


def test_no_web_server(tlsup, name):
    programs = [p for p in ("/usr/sbin/nginx", "/usr/sbin/apache2") if os.path.exists(p)]
    with contextlib.ExitStack() as stack:
        for program in programs:
            machine.run("mount", "--bind", "/dev/null", program)
            stack.callback(machine.run, "umount", program)
        found = look(tlsup, name, status=3)
        assert severity(found, "web-server") == "problem" and "install" in found["web-server", None][0]["todo"].lower()
        result = tlsup("sites")
        assert result.status == 1 and result.out == "" and "→" in result.err, result


def test_nothing_is_held(tlsup, nginx):
    nginx.start()
    found = look(tlsup, status=0)
    assert not [name for _, name in found if name]


def test_many_names(tlsup, nginx, name):
    names = [f"s{i}.{name}" for i in range(40)]
    for each in names:
        say(each, "127.0.0.1")
    nginx.site(*names)
    nginx.start()
    found = look(tlsup, *names, status=0)
    assert all(severity(found, "place", each) == "ok" for each in names)


# -- DNS that is wrong, and `enable`, which looks first ---------------------------------------------------------------------------------------------


LETS_ENCRYPT = ["--server", "letsencrypt", "-n", "--agree-tos", "--no-timer"]  # no packet gets there from here


def test_dns_that_is_broken(tlsup, nginx, make_named, new_name):
    """SERVFAIL, as of signatures that do not fit: no CA issues then."""
    well, ill = new_name(), new_name()
    make_named(zones=[Zone(well, ["www A 203.0.113.5"], catch_all=None), Zone(ill, broken=True)])
    nginx.start()
    with own_address("203.0.113.5/32"):
        found = look(tlsup, f"www.{well}", f"www.{ill}")
    assert severity(found, "address", f"www.{well}") == "ok"
    assert severity(found, "address", f"www.{ill}") == "warning"
    broken, = found["dns", f"www.{ill}"]
    assert "SERVFAIL" in broken["what"] and "DNSSEC" in broken["why"] and f"dig +cd www.{ill}" in broken["todo"]


def test_private_records(tlsup, nginx, new_name):
    ours, others = new_name(), new_name()
    nginx.start()
    say(ours, "10.7.7.7")
    say(others, "10.7.7.8")
    with own_address("10.7.7.7/32"):
        found = look(tlsup, ours, others)
    assert severity(found, "address", ours) == "note" and "public CA cannot reach" in found["address", ours][0]["why"]
    assert severity(found, "address", others) == "warning" and "10.7.7.7" in found["address", others][0]["what"]


def test_listener_of_our_own(tlsup, name):
    """Nothing listens on port 80: a token is served and fetched, and the port is free again."""
    with own_address("203.0.113.5/32"):
        found = look(tlsup, "--nginx", name)
    answered, = found["challenge", None]
    assert answered["severity"] == "ok" and "each of the" in answered["what"], answered
    assert not net.port_open(80)


def test_what_is_left_of_the_limits(tlsup, nginx, name):
    nginx.start()
    finding, = look(tlsup, name)["limits", name]
    assert "0 of 5 certificates for exactly these names, 0 of 50" in finding["what"]


def test_keys_that_others_can_read(tlsup, ca, nginx, name):
    nginx.site(name)
    nginx.start()
    tlsup.ok("enable", name, *ca.arguments)
    assert ("permissions", None) not in look(tlsup)
    key = pathlib.Path(tlsup.state, "live", name, "privkey.pem")
    key.chmod(0o644)
    finding, = look(tlsup)["permissions", None]
    assert str(key) in finding["what"] and finding["severity"] == "warning" and "chmod" in finding["todo"]


def test_enable_is_stopped_by_the_dns(tlsup, nginx, make_named, new_name):
    """Each name that cannot work, in one answer; nothing was asked, nothing changed."""
    zone = new_name()
    make_named(zones=[Zone(zone, ["www A 203.0.113.5", 'www CAA 0 issue "other.test"'], catch_all=None)])
    nginx.site(f"www.{zone}")
    nginx.start()
    before = nginx.configuration()
    with own_address("203.0.113.5/32"):
        result = tlsup("enable", f"www.{zone}", f"missing.{zone}", *LETS_ENCRYPT)
    assert result.status == 3 and "2 problems stand in the way" in result.err, result
    assert f"missing.{zone} has no address" in result.err and "other.test" in result.err and "--no-check" in result.err, result
    assert not snapshot.difference(before, nginx.configuration()) and not list(tlsup.state.glob("certs/*"))


def test_enable_is_stopped_by_one_thing(tlsup, nginx, make_named, new_name):
    zone = new_name()
    make_named(zones=[Zone(zone, catch_all=None)])
    nginx.start()
    result = tlsup("enable", f"missing.{zone}", *LETS_ENCRYPT)
    assert result.status == 3 and f"missing.{zone} has no address" in result.err and "make an A record" in result.err, result
    planned = tlsup.ok("enable", f"missing.{zone}", "--plan", *LETS_ENCRYPT)
    assert f"# in the way: missing.{zone} has no address" in planned.out


@pytest.mark.parametrize("words", [["--no-check"], []])
def test_enable_with_a_ca_of_ones_own(tlsup, ca, nginx, make_named, new_name, words):
    """It may see another DNS than we do: a warning, and on it goes; with --no-check not even that."""
    zone = new_name()
    nginx.start()
    make_named(zones=[Zone(zone, catch_all=None)])
    result = tlsup.ok("enable", f"missing.{zone}", *ca.arguments, *words)
    assert ("has no address" in result.err) == (not words), result
    assert net.leaf(f"missing.{zone}")[0] == tlsup.sha256(f"missing.{zone}")


def test_enable_all_leaves_out_what_cannot_work(tlsup, ca, nginx, make_named, new_name):
    """One site's trouble is not the others'."""
    zone = new_name()
    make_named(zones=[Zone(zone, ["a A 203.0.113.5", 'a CAA 0 issue "other.test"', "b A 203.0.113.5"], catch_all=None)])
    for each in ("a", "b"):
        nginx.site(f"{each}.{zone}")
    (tlsup.config / "certs.d").mkdir(parents=True, exist_ok=True)
    options = dict(zip(ca.arguments[::2], ca.arguments[1::2]))
    (tlsup.config / "certs.d" / f"b.{zone}.conf").write_text(
        f"names = b.{zone}\nserver = {options['--server']}\nca-bundle = {options['--ca-bundle']}\nagree-tos = yes\n")
    nginx.start()
    with own_address("203.0.113.5/32"):
        result = tlsup("enable", "--all", *LETS_ENCRYPT[2:])
        assert net.leaf(f"b.{zone}")[0] == tlsup.sha256(f"b.{zone}"), result
    assert result.status != 0 and "other.test" in result.err and not list(tlsup.state.glob(f"certs/a.{zone}")), result


def test_enable_with_name_servers_that_are_silent(tlsup, ca, nginx, name):
    """They are not waited for long, and the order is not stopped by them."""
    nginx.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 53))
        result = tlsup.ok("enable", name, *ca.arguments, timeout=60)
    assert "could not be looked up" in result.err, result


def test_a_mistake_in_tlsup_conf(tlsup):
    tlsup.config.mkdir(parents=True, exist_ok=True)
    (tlsup.config / "tlsup.conf").write_text("email = a@example.org\nnotify-mial = a@example.org\n")
    result = tlsup("check")
    assert result.status == 3 and "tlsup.conf:2" in result.out and "did you mean 'notify-mail'" in result.out, result
