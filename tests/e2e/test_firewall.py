"""Packet filters of this machine: what closes ports 80 and 443 is found and named, and `--open-firewall` opens it. Real filters, and a second network
namespace as the world outside."""

import contextlib
import json
import os
import re
import shutil
import subprocess

import pytest

from harness import machine
from test_check import look, severity, say

PORTS = (80, 443)
HERE, THERE, HERE6, THERE6 = "203.0.113.1", "203.0.113.2", "2001:db8:7::1", "2001:db8:7::2"
KNOCK = """import select, socket, sys, time
doors = {port: socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET) for port in (80, 443)}
for port, door in doors.items():
    door.setblocking(False)
    door.connect_ex((sys.argv[1], port))
end = time.monotonic() + float(sys.argv[2])
waiting = set(doors.values())
while waiting and time.monotonic() < end:
    waiting -= set(select.select([], waiting, [], max(0, end - time.monotonic()))[1])
for port, door in doors.items():
    print(port, "open" if door not in waiting and door.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0 else "closed")
"""
LISTEN = """import socket, time
held = []
for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
    for port in (80, 443):
        s = socket.socket(family)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        s.bind((address, port))
        s.listen()
        held.append(s)
print("listening", flush=True)
time.sleep(600)
"""


def needs(*programs):
    missing = [p for p in programs if shutil.which(p, path="/usr/sbin:/sbin:/usr/bin:/bin") is None]
    return pytest.mark.skipif(bool(missing), reason=f"{' '.join(missing)} is not installed")


@contextlib.contextmanager
def world_outside():
    """A machine beside this one, joined by a cable; the way to the world leads over it. Yields its process."""
    peer = subprocess.Popen(["unshare", "--net", "sleep", "600"])
    try:
        machine.until(lambda: os.readlink(f"/proc/{peer.pid}/ns/net") != os.readlink("/proc/self/ns/net"), lambda: "no namespace")
        machine.run("ip", "link", "add", "world0", "type", "veth", "peer", "name", "cable", "netns", str(peer.pid))
        inside = ["nsenter", "-t", str(peer.pid), "-n"]
        for prefix, link, v4, v6 in (([], "world0", HERE, HERE6), (inside, "cable", THERE, THERE6)):
            machine.run(*prefix, "ip", "addr", "add", f"{v4}/24", "dev", link)
            machine.run(*prefix, "ip", "addr", "add", f"{v6}/64", "dev", link, "nodad")
            machine.run(*prefix, "ip", "link", "set", link, "up")
        machine.run("ip", "route", "add", "default", "via", THERE)
        machine.run("ip", "-6", "route", "add", "default", "via", THERE6)
        yield peer
    finally:
        machine.run("ip", "link", "del", "world0", check=False)
        peer.kill()
        peer.wait()


def flush():
    for argv in (["nft", "flush", "ruleset"], ["iptables", "-P", "INPUT", "ACCEPT"], ["ip6tables", "-P", "INPUT", "ACCEPT"], ["iptables", "-F"], ["ip6tables", "-F"],
                 ["iptables", "-X"], ["ip6tables", "-X"], ["iptables-legacy", "-P", "INPUT", "ACCEPT"], ["iptables-legacy", "-F"]):
        if shutil.which(argv[0], path="/usr/sbin:/sbin"):
            subprocess.run(argv, capture_output=True)


@pytest.fixture
def outside():
    """knock(address) -> {port: "open" or "closed"}, from outside; a server listens on both ports."""
    with world_outside() as peer:
        flush()
        server = subprocess.Popen(["python3", "-c", LISTEN], stdout=subprocess.PIPE, text=True)
        assert server.stdout.readline()

        def knock(address=HERE, patience_s=0.3):
            answer = machine.run("nsenter", "-t", str(peer.pid), "-n", "python3", "-c", KNOCK, address, str(patience_s)).stdout
            return {int(port): state for port, state in (line.split() for line in answer.splitlines())}

        yield knock
        server.kill()
        server.wait()
        flush()


def nft(text):
    machine.run("nft", "-f", "-", input=text.replace("; } ", "; }\n").replace("} table", "}\ntable") + "\n")


def iptables(*rules, tool="iptables"):
    for rule in rules:
        machine.run(tool, *rule.split())


def firewall(found):
    return found["firewall", None]


def check(tlsup, *words):
    return look(tlsup, *words)


OPEN, CLOSED = {80: "open", 443: "open"}, {80: "closed", 443: "closed"}

# A ruleset as people have it, and whether it lets strangers in: (80, 443).
RULESETS = {
    "nothing": ("", ("open", "open")),
    "policy": ("table inet filter { chain input { type filter hook input priority 0; policy drop; ct state established,related accept; iif lo accept; icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; tcp dport 22 accept; } }", ("closed", "closed")),
    "one-port": ("table inet filter { chain input { type filter hook input priority 0; policy drop; ct state vmap { established : accept, related : accept, invalid : drop }; tcp dport { 22, 80 } accept; } }", ("open", "closed")),
    "set": ("table inet f { set web { type inet_service; flags interval; elements = { 80-90, 443 }; } chain i { type filter hook input priority 10; policy drop; iifname \"lo\" accept; tcp dport @web ct state new accept; } }", ("open", "open")),
    "jump": ("table inet f { chain web { tcp dport 443 drop; tcp dport 80 counter accept; } chain i { type filter hook input priority 0; meta l4proto tcp jump web; tcp dport 443 accept; } }", ("open", "closed")),
    "vmap": ("table inet f { chain web { accept; } chain i { type filter hook input priority 0; policy drop; tcp dport vmap { 22 : drop, 80 : jump web }; reject; } }", ("open", "closed")),
    "somebody-else": ("table inet f { chain i { type filter hook input priority 0; policy accept; ip saddr { 198.51.100.0/24, 192.0.2.7 } drop; ip saddr 10.0.0.0/8 tcp dport 443 accept; tcp dport 443 reject with tcp reset; } }", ("open", "closed")),
    "limit": ("table inet f { chain i { type filter hook input priority 0; policy drop; tcp dport 80 limit rate 20/second accept; tcp dport 443 limit rate over 20/second drop; tcp dport 443 accept; } }", ("open", "open")),
    "second-table": ("table inet a { chain i { type filter hook input priority 0; policy accept; accept; } } table ip b { chain i { type filter hook input priority 5; tcp dport 80 drop; } }", ("closed", "open")),
    "prerouting": ("table inet a { chain p { type filter hook prerouting priority -300; tcp flags & (fin|syn|rst|ack) != syn accept; tcp dport 443 fib daddr type local drop; } }", ("open", "closed")),
    "interface": ("table inet a { chain i { type filter hook input priority 0; policy drop; iifname \"wg0\" accept; iifname \"world*\" tcp dport 80 accept; } }", ("open", "closed")),
    "my-address": (f"table inet a {{ chain i {{ type filter hook input priority 0; policy drop; ip daddr {HERE} tcp dport 80 accept; ip daddr 192.0.2.99 tcp dport 443 accept; }} }}", ("open", "closed")),
    "goto": ("table inet f { chain rest { tcp dport 443 return; accept; } chain i { type filter hook input priority 0; policy drop; goto rest; accept; } }", ("open", "closed")),
}


@needs("nft")
@pytest.mark.parametrize("which", RULESETS)
def test_what_nft_rules_do(tlsup, outside, which):
    """What is read is what happens: the kernel is asked as well."""
    text, expected = RULESETS[which]
    nft(text)
    assert outside() == dict(zip(PORTS, expected)), "the test's own expectation"
    found = [f for f in firewall(check(tlsup)) if f["severity"] != "ok"]
    assert not [f for f in found if "cannot be told" in f["what"]], found
    told = " ".join(f["what"].split(":")[0] for f in found if "IPv4" in f["what"])
    for port, state in zip(PORTS, expected):
        assert (str(port) in told) == (state == "closed"), found


@needs("nft")
def test_nft_is_opened(tlsup, outside):
    nft(RULESETS["policy"][0])
    finding, = [f for f in firewall(check(tlsup)) if f["severity"] == "problem"]
    assert "ports 80 and 443 over IPv4 and IPv6" in finding["what"] and "policy of chain input in table inet filter" in finding["what"], finding
    assert "nft insert rule inet filter input" in finding["todo"] and "/etc/nftables.conf" in finding["todo"] and "http-01" in finding["why"]
    before = machine.run("nft", "list", "ruleset").stdout
    assert outside() == outside(HERE6) == CLOSED
    found = look(tlsup, "--open-firewall")
    assert outside() == outside(HERE6) == OPEN
    told, = [f for f in firewall(found) if "was opened" in f["what"]]
    assert "/etc/nftables.conf" in told["why"]
    back = re.search(r"sudo (nft delete rule inet filter input handle \d+)$", told["todo"])
    machine.run(*back.group(1).split())
    assert machine.run("nft", "list", "ruleset").stdout == before and outside() == CLOSED


@needs("nft")
def test_what_is_open_is_not_touched(tlsup, outside):
    nft(RULESETS["one-port"][0])
    before = machine.run("nft", "list", "ruleset").stdout
    look(tlsup, "--open-firewall")
    after = machine.run("nft", "list", "ruleset").stdout
    added = [line.strip() for line in after.splitlines() if line not in before.splitlines()]
    assert added == ["tcp dport 443 accept"] and outside() == OPEN
    look(tlsup, "--open-firewall")
    assert machine.run("nft", "list", "ruleset").stdout == after


@needs("nft")
def test_open_to_a_proxy_alone(tlsup, outside):
    """Whoever stands behind a proxy lets that in alone: an order can do well, and nothing says that it cannot."""
    nft("table inet f { set proxies { type ipv4_addr; flags interval; elements = { 198.51.100.0/24, 192.0.2.0/24 }; } chain i { type filter hook input priority 0; policy drop; ip saddr @proxies tcp dport { 80, 443 } accept; } }")
    found, = firewall(check(tlsup))
    assert found["severity"] == "warning" and "but for addresses that it names" in found["what"] and "proxy" in found["why"], found
    flush()
    nft("table inet f { chain i { type filter hook input priority 0; policy drop; ip saddr 10.0.0.0/8 accept; } }")
    assert [f["severity"] for f in firewall(check(tlsup))] == ["problem"]


@needs("nft", "iptables")
def test_one_place_behind_another(tlsup, outside):
    nft("table inet a { chain i { type filter hook input priority -5; tcp dport 80 drop; } } table ip b { chain i { type filter hook input priority 5; policy drop; } }")
    iptables("-A INPUT -p tcp -m multiport --dports 80,443 -j REJECT")
    assert outside() == CLOSED
    found = look(tlsup, "--open-firewall")
    assert outside() == OPEN
    told, = [f for f in firewall(found) if "was opened" in f["what"]]
    assert told["what"].count(";") == 2, told


@needs("nft")
def test_what_cannot_be_told(tlsup, outside):
    nft("table inet a { chain i { type filter hook input priority 0; policy drop; meta mark 0x7 tcp dport { 80, 443 } accept; } }")
    finding, = firewall(check(tlsup))
    assert finding["severity"] == "note" and "cannot be told" in finding["what"] and "mark" in finding["what"]
    before = machine.run("nft", "list", "ruleset").stdout
    result = tlsup("check", "--open-firewall")
    assert result.status == 2 and "was not opened" in result.err and "leave" in result.err, result
    assert machine.run("nft", "list", "ruleset").stdout == before


@needs("nft")
def test_redirected(tlsup, outside):
    nft("table ip n { chain p { type nat hook prerouting priority -100; tcp dport 80 redirect to :8080; } }")
    finding, = [f for f in firewall(check(tlsup)) if f["severity"] == "note"]
    assert "port 80 over IPv4" in finding["what"] and "redirect" in finding["what"] and "another port" in finding["why"]


@needs("iptables")
@pytest.mark.parametrize("kind", ["iptables", "iptables-legacy"])
def test_iptables(tlsup, outside, kind):
    """Chains, modules, negation, as administrators and fail2ban write them."""
    if subprocess.run([kind, "-S"], capture_output=True).returncode != 0:
        pytest.skip(f"{kind} does not work here")
    iptables("-P INPUT DROP", "-A INPUT -i lo -j ACCEPT", "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "-N f2b", "-A INPUT -p tcp -m multiport --dports 22 -j f2b",
             "-N web", "-A INPUT ! -i lo -p tcp -j web", "-A web -s 192.0.2.0/24 -j DROP", "-A web -p tcp -m tcp --dport 80 --syn -m limit --limit 50/s -m comment --comment open -j ACCEPT", tool=kind)
    try:
        assert outside() == {80: "open", 443: "closed"}
        finding, = [f for f in firewall(check(tlsup)) if f["severity"] == "problem"]
        assert "port 443 over IPv4" in finding["what"] and "policy of chain INPUT" in finding["what"] and f"({kind})" in finding["what"]
        assert f"sudo {kind} -I INPUT -p tcp -m tcp --dport 443 -j ACCEPT" in finding["todo"]
        found = look(tlsup, "--open-firewall")
        assert outside() == OPEN
        told, = [f for f in firewall(found) if "was opened" in f["what"]]
        assert told["todo"].endswith(f"sudo {kind} -D INPUT -p tcp -m tcp --dport 443 -j ACCEPT")
        machine.run(*told["todo"].split("sudo ")[1].split())
        assert outside() == {80: "open", 443: "closed"}
    finally:
        iptables("-P INPUT ACCEPT", "-F", "-X", tool=kind)


@needs("ip6tables")
def test_ipv6_alone(tlsup, outside):
    iptables("-A INPUT -p tcp --dport 80 -j DROP", tool="ip6tables")
    assert outside() == OPEN and outside(HERE6) == {80: "closed", 443: "open"}
    finding, = [f for f in firewall(check(tlsup)) if f["severity"] == "problem"]
    assert "port 80 over IPv6:" in finding["what"] and "-A INPUT -p tcp -m tcp --dport 80 -j DROP" in finding["what"] and "sudo ip6tables -I INPUT" in finding["todo"]
    look(tlsup, "--open-firewall")
    assert outside(HERE6) == OPEN


@pytest.fixture
def ufw(tmp_path):
    """Debian's ufw, on, as `ufw enable` leaves it: nobody may come in."""
    if shutil.which("ufw", path="/usr/sbin") is None:
        pytest.skip("ufw is not installed")
    os.makedirs("/etc/default", exist_ok=True)
    result = subprocess.run(["ufw", "--force", "enable"], capture_output=True, text=True)
    if "active" not in result.stdout:
        pytest.skip(f"ufw does not work here: {result.stdout} {result.stderr}")
    yield
    subprocess.run(["ufw", "--force", "reset"], capture_output=True)
    subprocess.run(["ufw", "--force", "disable"], capture_output=True)


@needs("iptables")
def test_ufw(tlsup, outside, ufw):
    assert outside() == outside(HERE6) == CLOSED
    finding, = [f for f in firewall(check(tlsup)) if f["severity"] == "problem"]
    assert "(ufw) closes ports 80 and 443 over IPv4 and IPv6" in finding["what"] and "sudo ufw allow 80,443/tcp" in finding["todo"], finding
    found = look(tlsup, "--open-firewall")
    assert outside() == outside(HERE6) == OPEN
    told, = [f for f in firewall(found) if "was opened" in f["what"]]
    assert told["severity"] == "note" and told["todo"] == "to take it back: sudo ufw delete allow 80,443/tcp"
    assert "80,443/tcp" in machine.run("ufw", "status").stdout
    machine.run("ufw", "delete", "allow", "80,443/tcp")
    assert outside() == CLOSED


@needs("iptables")
def test_ufw_rules_of_before(tlsup, outside, ufw):
    """ufw has one rule for the same ports. The way back brings the one back whose place ours takes, and takes none away that was there."""
    def added():
        return machine.run("ufw", "show", "added").stdout

    machine.run("ufw", "deny", "80,443/tcp", "comment", "no web $(here)")
    before = added()
    told, = [f for f in firewall(look(tlsup, "--open-firewall")) if "was opened" in f["what"]]
    assert told["todo"] == "to take it back: sudo ufw deny 80,443/tcp comment 'no web $(here)'" and "ufw allow 80,443/tcp" in added()
    machine.run("sh", "-c", told["todo"].split("sudo ")[1])
    assert added() == before

    machine.run("ufw", "prepend", "deny", "in", "on", "world0", "to", "any", "port", "80,443", "proto", "tcp")
    machine.run("ufw", "allow", "80,443/tcp")
    before = added()
    result = tlsup("check", "--json", "--open-firewall")
    told, = [f for f in json.loads(result.out)["findings"] if "was opened" in f["what"]]
    assert result.status != 0 and "not far enough" in told["what"] and not told["why"] and not told["todo"], told
    assert added() == before and outside() == CLOSED


@pytest.fixture
def firewalld(tmp_path):
    """Debian's firewalld with a message bus of its own, as a fresh installation has it: ssh alone may come in."""
    if any(shutil.which(p, path="/usr/sbin:/usr/bin") is None for p in ("firewalld", "firewall-cmd", "dbus-daemon")):
        pytest.skip("firewalld is not installed")
    os.makedirs("/run/dbus", exist_ok=True)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    bus = subprocess.Popen(["dbus-daemon", "--system", "--nofork", "--nopidfile"], **quiet)
    machine.until(lambda: os.path.exists("/run/dbus/system_bus_socket"), lambda: "no message bus")
    daemon = subprocess.Popen(["firewalld", "--nofork", "--nopid"], **quiet)
    try:
        machine.until(lambda: machine.run("firewall-cmd", "--state", check=False).returncode == 0, lambda: "firewalld does not come up")
        yield
    finally:
        daemon.terminate()
        daemon.wait()
        bus.terminate()
        bus.wait()


@needs("nft")
@pytest.mark.parametrize("tools", ["nft", "firewall-cmd alone"])
def test_firewalld(tlsup, outside, firewalld, tools):
    assert outside() == CLOSED
    hidden = ["/usr/sbin/nft", "/usr/sbin/iptables-save", "/usr/sbin/ip6tables-save"] if tools != "nft" else []
    hidden = [os.path.realpath(p) for p in hidden if os.path.exists(p)]
    with contextlib.ExitStack() as stack:
        for program in dict.fromkeys(hidden):
            machine.run("mount", "--bind", "/dev/null", program)
            stack.callback(machine.run, "umount", program)
        finding, = [f for f in firewall(check(tlsup)) if f["severity"] == "problem"]
        assert "(firewalld) closes ports 80 and 443" in finding["what"], finding
        assert "sudo firewall-cmd --zone=public --add-service=http --add-service=https; sudo firewall-cmd --zone=public --add-service=http --add-service=https --permanent" in finding["todo"]
        if hidden:
            return  # the rest is the same, and firewall-cmd is slow
        machine.run("firewall-cmd", "--permanent", "--add-service=http")  # somebody's, from the next start on: not ours to be taken back
        found = look(tlsup, "--open-firewall")
    assert outside() == outside(HERE6) == OPEN
    told, = [f for f in firewall(found) if "was opened" in f["what"]]
    for command in told["todo"].removeprefix("to take it back: ").split("; "):
        machine.run(*command.removeprefix("sudo ").split())
    assert outside() == CLOSED
    machine.run("firewall-cmd", "--reload")
    assert outside() == {80: "open", 443: "closed"}
    machine.run("firewall-cmd", "--permanent", "--remove-service=http")


@needs("nft")
def test_hostile_tools(tlsup, outside, tmp_path):
    """A tool that prints nonsense, hangs up, or never ends its answer: said, and nothing worse."""
    tool = tmp_path / "nft"
    for text in ("printf '\\033[31m{{{{'", "head -c 40000000 /dev/zero", "exit 3", "printf '{\"nftables\": [{\"chain\": 7}, {\"rule\": {\"expr\": [[], 3, {\"match\": null}]}}, null]}'"):
        tool.write_text(f"#!/bin/sh\n{text}\n")
        tool.chmod(0o755)
        machine.run("mount", "--bind", tool, "/usr/sbin/nft")
        try:
            found = look(tlsup)
        finally:
            machine.run("umount", "/usr/sbin/nft")
        assert severity(found, "firewall") in ("note", "ok"), found
        assert "\033" not in json.dumps(found["firewall", None][0], ensure_ascii=False)


@needs("nft")
def test_as_a_user(tlsup, outside):
    result = tlsup("check", "--open-firewall", prefix=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
    assert result.status == 1 and "only root can open the firewall" in result.err and "sudo" in result.err, result


# -- `enable` looks first ---------------------------------------------------------------------------------------------------------------------------


LETS_ENCRYPT = ["--server", "letsencrypt"]  # no packet gets there from here


@needs("nft")
def test_enable_is_stopped(tlsup, nginx, name):
    """Nobody was asked, and all is told at once."""
    nginx.site(name)
    nginx.start()
    with world_outside():
        flush()
        nft(RULESETS["policy"][0])
        try:
            before = nginx.configuration()
            result = tlsup("enable", name, "-n", "--agree-tos", "--no-timer", *LETS_ENCRYPT)
        finally:
            flush()
    assert result.status == 3, result
    assert "closes ports 80 and 443" in result.err and "nft insert rule" in result.err and "--no-check" in result.err, result
    assert before == nginx.configuration()


@needs("nft")
def test_enable_opens(tlsup, ca, nginx, name):
    nginx.site(name)
    nginx.start()
    say(name, HERE)
    with world_outside():
        flush()
        nft("table inet filter { chain input { type filter hook input priority 0; policy drop; iif lo accept; ct state established,related accept; } }")
        try:
            planned = tlsup.ok("enable", name, "--plan", "--open-firewall", *ca.arguments)
            assert "tcp dport { 80, 443 } accept" not in machine.run("nft", "list", "ruleset").stdout and "closes ports 80 and 443" in planned.out
            result = tlsup.ok("enable", name, "--open-firewall", *ca.arguments)
            assert "tcp dport { 80, 443 } accept" in machine.run("nft", "list", "ruleset").stdout
        finally:
            flush()
    assert "the firewall was opened" in result.text and "take it back" in result.text


@needs("nft")
def test_enable_warns_only(tlsup, ca, nginx, name):
    """A CA of one's own may well be inside of the firewall."""
    nginx.site(name)
    nginx.start()
    with world_outside():
        flush()
        nft("table inet filter { chain input { type filter hook input priority 0; policy drop; iif lo accept; ct state established,related accept; } }")
        try:
            result = tlsup.ok("enable", name, *ca.arguments)
        finally:
            flush()
    assert "closes ports 80 and 443" in result.err and "--open-firewall" in result.err
