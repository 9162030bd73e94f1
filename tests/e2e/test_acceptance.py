"""The installer's acceptance cases, each by its number, on real servers with a real CA: 443 is on and proven, or nothing has changed and it is said
why; and `undo` gives back every byte."""

import contextlib
import functools
import http.client
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import stat
import struct
import subprocess
import threading

import pytest

from harness import client, layouts, machine, net, nginx_versions, pki, snapshot, web

pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")

TOKEN = "a-token_0123456789-ABCDEFGHIJKLMNOPQRSTUV"
SOMETHING_ELSE = 'location / {{ return 200 "{0}\\n"; }}'


# -- what all of them look at -------------------------------------------------------------------------------


def attributes(root):
    """ACLs, security labels and whatever else hangs on the files; and which files are one file."""
    found = {}
    for parent, dirs, files in os.walk(root):
        for name in dirs + files:
            path = os.path.join(parent, name)
            try:
                names = sorted(os.listxattr(path, follow_symlinks=False))
                found[path] = {each: os.getxattr(path, each, follow_symlinks=False) for each in names}
            except OSError:  # a file system that has none
                found[path] = {}
    return found


def everything(server):
    return snapshot.snapshot(server.tree), attributes(server.tree)


def assert_as_before(server, before):
    tree, marks = everything(server)
    assert not snapshot.difference(before[0], tree)
    assert marks == before[1]
    assert server.test().returncode == 0, server.test().stderr


def assert_answers_challenge(name, address="127.0.0.1"):
    answer = net.http(name, f"/.well-known/acme-challenge/{TOKEN}", address)
    assert answer.status == 200 and re.fullmatch(rf"{TOKEN}\.[A-Za-z0-9_-]{{43}}", answer.body.strip()), (answer.status, answer.body)


def assert_on(tlsup, ca, name, text=None, status=200, cert=None, addresses=("127.0.0.1",)):
    """443 serves the leaf to the name over each address, and the page is the site's."""
    for address in addresses:
        assert net.leaf(name, address)[0] == tlsup.sha256(cert or name), address
        answer = net.https(name, ca.roots, address=address)
        assert answer.status == status, (address, answer.status)
        assert text is None or text in answer.body, answer.body


def enable(tlsup, ca, *words, **options):
    return tlsup.ok("enable", *words, *ca.arguments, **options)


def undo(tlsup, server, before, name):
    """All as it was; and nobody answers on 443 any more, unless somebody did."""
    result = tlsup.ok("undo", name)
    assert_as_before(server, before)
    return result


def journals(tlsup):
    """Transactions that were begun and are not done with."""
    return [p for p in (tlsup.state / "journal").glob("*/log") if not re.search(r"committed|undone", p.read_text(errors="replace"))]


def refused(tlsup, ca, server, *words, says, status=(1, 2, 3), before=None, orders=0, timeout=120, **options):
    """Non-zero, with these words in the error, and every byte, mode, owner and link as before."""
    before, asked = before or everything(server), len(ca.requests())
    result = tlsup(*words, *(ca.arguments if words[0] in ("enable", "issue") else []), timeout=timeout, **options)
    assert result.status in status, result
    error = result.err[result.err.rindex("tlsup: "):]
    for pattern in [says] if isinstance(says, str) else says:
        assert re.search(pattern, error, re.I | re.S), f"{pattern!r} is not in:\n{result}"
    tree, marks = everything(server)
    assert not snapshot.difference(before[0], tree), result
    assert marks == before[1], result
    assert len([r for r in ca.requests()[asked:] if "order-plz" in r]) <= orders, result
    assert not journals(tlsup), result
    return result


def block(name, *lines, listen=("80", "[::]:80")):
    """An nginx server block."""
    listens = "".join(f"    listen {each};\n" for each in listen)
    return f"server {{\n{listens}    server_name {name};\n" + "".join(f"    {line}\n" for line in lines) + "}\n"


def says(text):
    return SOMETHING_ELSE.format(text)


def without_default(nginx):
    pathlib.Path("/etc/nginx/sites-enabled/default").unlink()
    return nginx


def offers(option):
    """Options that are younger than these tests' first day."""
    result = subprocess.run([client.program(), "enable", "--help"], capture_output=True, text=True)
    return option in result.stdout


def needs_option(option):
    return pytest.mark.skipif(not offers(option), reason=f"this build does not know {option}")


@pytest.fixture
def own_directory():
    """own_directory(path): empty and ours until the test ends, whatever is there on the machine."""
    made = []

    def take(path):
        if path.startswith("/run/"):
            os.makedirs(path, exist_ok=True)
        elif not os.path.isdir(path):
            pytest.skip(f"no {path} here, over which a private one could be mounted")
        machine.run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", path)
        made.append(path)
        return pathlib.Path(path)

    yield take
    for path in reversed(made):
        machine.run("umount", "--lazy", path)


# 1 Debian's stock nginx.


def test_01_stock_nginx(tlsup, ca, nginx, name, ipv6):
    nginx.start()
    before, master = everything(nginx), nginx.master()
    with net.Visitor(name) as visitor:
        enable(tlsup, ca, name)
    assert visitor.visits > 3 and not visitor.failures, visitor.failures
    assert nginx.master() == master, "reloaded, not restarted"
    assert_on(tlsup, ca, name, "plain page", addresses=["127.0.0.1", "::1"])
    assert_answers_challenge(name)
    assert_answers_challenge(name, "::1")
    undo(tlsup, nginx, before, name)
    assert "plain page" in net.http(name).body


# 2 Fedora's conf.d, Alpine's http.d, FreeBSD's single file.


@pytest.fixture
def layout(request, nginx, own_directory):
    if request.param == "freebsd":
        own_directory("/usr/local/etc")
    return getattr(layouts, request.param)()


@pytest.mark.parametrize("layout", ["fedora", "alpine", "freebsd"], indirect=True)
def test_02_layout_site_of_ones_own(request, tlsup, ca, layout, name):
    if request.node.callspec.params["layout"] == "freebsd":
        conf = pathlib.Path(layout.tree) / "nginx.conf"
        conf.write_text(layouts.FREEBSD_NGINX % block(name, says("my own site"), listen=["80"]))
    else:
        layout.add_site(name, block(name, says("my own site")))
    layout.start()
    before = everything(layout)
    enable(tlsup, ca, name)
    assert_on(tlsup, ca, name, "my own site")
    assert_answers_challenge(name)
    assert "my own site" in net.http(name).body
    undo(tlsup, layout, before, name)


@pytest.mark.parametrize("layout, status", [("fedora", 200), ("alpine", 404), ("freebsd", 200)], indirect=["layout"])
def test_02_layout_no_site_for_the_name(request, tlsup, ca, layout, name, status):
    """The new one goes where this layout has its sites, and nowhere else."""
    layout.start()
    before, was = everything(layout), net.http(name)
    assert was.status == status
    enable(tlsup, ca, name)
    assert_on(tlsup, ca, name, status=status)
    assert_answers_challenge(name)
    assert (net.http(name).status, net.http(name).body) == (was.status, was.body)
    new = [line for line in snapshot.difference(before[0], layout.configuration()) if line.startswith("new: ")]
    place = {"fedora": "/conf.d/", "alpine": "/http.d/", "freebsd": "/usr/local/etc/nginx/"}[request.node.callspec.params["layout"]]
    assert all(place in line for line in new), new
    undo(tlsup, layout, before, name)


# 3 Debian's stock Apache, without ssl. 4 Fedora's ssl.conf.


def test_03_stock_apache_without_ssl(tlsup, ca, apache, name, ipv6):
    assert not os.path.lexists("/etc/apache2/mods-enabled/ssl.load")
    apache.start()
    before, master = everything(apache), apache.master()
    with net.Visitor(name) as visitor:
        enable(tlsup, ca, name)
    assert visitor.visits > 3 and not visitor.failures, visitor.failures
    assert apache.master() == master
    assert_on(tlsup, ca, name, "plain page", addresses=["127.0.0.1", "::1"])
    assert_answers_challenge(name)
    undo(tlsup, apache, before, name)
    machine.until(lambda: not net.port_open(443), "443 stays open")
    assert "plain page" in net.http(name).body


@pytest.fixture
def httpd(apache, authority):
    certificate, key = authority.server("localhost", ["localhost.localdomain"])
    server = layouts.httpd(certificate, key)
    yield server
    shutil.rmtree("/etc/httpd", ignore_errors=True)


@pytest.mark.parametrize("own", [True, False], ids=["own-site", "no-site"])
def test_04_ssl_conf_of_fedora(tlsup, ca, httpd, name, own):
    """It listens on 443 already: no second Listen, and its own host keeps its certificate."""
    if own:
        httpd.site(name)
    httpd.start()
    before, stranger = everything(httpd), net.leaf("stranger.test")[0]
    enable(tlsup, ca, name)
    assert_on(tlsup, ca, name, f"this is {name}" if own else "plain page")
    assert net.leaf("stranger.test")[0] == stranger
    lines = [line for path in pathlib.Path(httpd.tree).rglob("*.conf") for line in path.read_text().splitlines()]
    assert len([line for line in lines if re.match(r"\s*Listen\b.*443", line, re.I)]) == 1
    assert_answers_challenge(name)
    undo(tlsup, httpd, before, name)


@pytest.mark.parametrize("own", [True, False], ids=["own-site", "no-site"])
def test_04_alpine_with_its_ssl_package(tlsup, ca, apache, authority, name, own):
    server = layouts.alpine_httpd(authority.server("localhost", ["localhost.localdomain"]))
    if own:
        server.site(name)
    server.start()
    before, stranger = everything(server), net.leaf("stranger.test")[0]
    enable(tlsup, ca, name)
    assert_on(tlsup, ca, name, f"this is {name}" if own else "plain page")
    assert net.leaf("stranger.test")[0] == stranger
    assert_answers_challenge(name)
    undo(tlsup, server, before, name)


def test_04_alpine_without_its_ssl_package(tlsup, ca, apache, name):
    """There is no module that could be loaded."""
    server = layouts.alpine_httpd()
    server.site(name)
    server.start()
    refused(tlsup, ca, server, "enable", name, says=[r"ssl"])
    assert net.http(name).status == 200


@pytest.mark.parametrize("own", [True, False], ids=["own-site", "no-site"])
def test_04_freebsd(tlsup, ca, apache, own_directory, name, own):
    """The module's line is there, commented out; new files go to Includes."""
    own_directory("/usr/local/etc")
    server = layouts.freebsd_httpd()
    if own:
        server.site(name)
    server.start()
    before = everything(server)
    enable(tlsup, ca, name)
    assert_on(tlsup, ca, name, f"this is {name}" if own else "plain page")
    assert_answers_challenge(name)
    undo(tlsup, server, before, name)


# 5 Install, then undo: bytes, modes, owners, links identical.

ACL = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in (
    (0x01, 6, 0xFFFFFFFF), (0x02, 4, 33), (0x04, 4, 0xFFFFFFFF), (0x10, 6, 0xFFFFFFFF), (0x20, 0, 0xFFFFFFFF)))


def mark(path, **wanted):
    """Extended attributes, as far as the file system has them."""
    for name, value in wanted.items():
        try:
            os.setxattr(path, name.replace("__", "."), value)
        except OSError:
            pass


def odd_files(server, new_name, own_directory):
    """{kind: (name, path)}: sites in files of every kind that a person's tools make."""
    made = {}
    for kind in ("plain", "acl", "hardlink", "mounted", "linked", "group"):
        name = new_name()
        made[kind] = name, server.site(name)
    mark(made["acl"][1], user__note=b"by hand", system__posix_acl_access=ACL)
    os.link(made["hardlink"][1], pathlib.Path(server.tree) / "second-name-of-it")
    own = own_directory("/run/elsewhere") / "site"
    shutil.copy(made["mounted"][1], own)
    os.chown(own, 0, 33)
    machine.run("mount", "--bind", own, made["mounted"][1])
    target = pathlib.Path(server.tree) / "kept-elsewhere"
    os.rename(made["linked"][1], target)
    made["linked"][1].symlink_to(f"../{target.name}")
    os.chmod(target, 0o600)
    os.chmod(made["group"][1], 0o664)
    os.chown(made["group"][1], 33, 4)
    return made


@pytest.mark.parametrize("words", [(), ("--redirect",)], ids=["plain", "redirect"])
def test_05_undo_gives_back_every_kind_of_file(tlsup, ca, server, new_name, own_directory, words):
    odd = odd_files(server, new_name, own_directory)
    mounted = odd["mounted"][1]
    try:
        server.start()
        names = [name for name, _ in odd.values()]
        before, inodes = everything(server), {kind: os.stat(path).st_ino for kind, (_, path) in odd.items()}
        enable(tlsup, ca, *names, *words)
        for kind, (name, path) in odd.items():
            assert_on(tlsup, ca, name, f"this is {name}", cert=names[0])
            assert os.path.islink(path) == (kind == "linked")
        changed = everything(server)
        for path in before[0]:
            was, now = before[0][path], changed[0][path]
            assert (was[0], was[1], was[2], was[3], was[5]) == (now[0], now[1], now[2], now[3], now[5]), path
            assert before[1].get(path) == changed[1].get(path), path
        for kind in ("hardlink", "mounted"):
            assert os.stat(odd[kind][1]).st_ino == inodes[kind], f"{kind}: written in place"
        tlsup.ok("undo", names[0])
        assert_as_before(server, before)
        assert os.path.ismount(mounted) and os.stat(odd["hardlink"][1]).st_nlink == 2
        for kind in ("hardlink", "mounted"):
            assert os.stat(odd[kind][1]).st_ino == inodes[kind]
    finally:
        machine.run("umount", "--lazy", mounted, check=False)


def test_05_undo_in_any_order(tlsup, ca, server, new_name):
    """Two certificates, taken back oldest first: the other works on, and at the end all is as it was."""
    one, two = new_name(), new_name()
    for each in (one, two):
        server.site(each)
    server.start()
    before = everything(server)
    for each in (one, two):
        enable(tlsup, ca, each, "--redirect")
    tlsup.ok("undo", one)
    assert net.http(one).status == 200
    assert_on(tlsup, ca, two, f"this is {two}")
    assert net.http(two).status == 301 and server.test().returncode == 0
    undo(tlsup, server, before, two)


# 6 lua blocks with braces in strings.


@pytest.fixture
def modules():
    place = nginx_versions.directory() / "modules"
    if not (place / "lib/ngx_http_lua_module.so").exists():
        why = nginx_versions.directory() / "modules.why"
        pytest.skip("nginx's lua and Apache's wsgi are not at hand: " +
                    (why.read_text().strip() if why.exists() else "tests/e2e/fetch-nginx fetches them"))
    return place


LUA = """server {{
    listen 80;
    server_name {name};
    location / {{
        content_by_lua_block {{
            -- a brace in a comment }} and a quote '
            local unbalanced = "}}}} {{ \\" }}"
            local other = '{{ \\' {{'
            --[[ a long comment }}
                 server_name wrong.test; }} ]]
            local long = [==[ }} ]] server {{ listen 443 ssl; ]==]
            if #long > 0 then
                ngx.say("lua says }} " .. #unbalanced .. other)
            end
        }}
    }}
    location /after {{ return 200 "after"; }}
}}
"""


def test_06_lua_blocks(tlsup, ca, nginx, modules, name):
    pathlib.Path("/etc/nginx/modules-enabled/50-lua.conf").write_text(
        f"load_module {modules}/lib/ndk_http_module.so;\nload_module {modules}/lib/ngx_http_lua_module.so;\n")
    pathlib.Path("/etc/nginx/conf.d/lua.conf").write_text(
        f"lua_package_path '{modules}/lua/?.lua;;';\ninit_by_lua_block {{ local a = \"}}\" -- {{\n }}\n")
    nginx.add_site(name, LUA.format(name=name))
    if nginx.test().returncode != 0:
        pytest.skip(f"the lua module does not load here: {nginx.test().stderr}")
    nginx.start()
    before, page = everything(nginx), net.http(name).body
    assert page.startswith("lua says }")
    enable(tlsup, ca, name)
    assert_on(tlsup, ca, name, page)
    assert net.http(name).body == page and net.http(name, "/after").body == "after"
    undo(tlsup, nginx, before, name)


# 7 A return in the server. 8 Passwords and deny rules. 9 A catch-all that says 444. 10 A proxy.


def test_07_server_level_return(tlsup, ca, nginx, name):
    """The challenge is answered, all the rest is still sent elsewhere."""
    nginx.add_site(name, block(name, "return 301 http://elsewhere.test$request_uri;"))
    nginx.start()
    before = everything(nginx)
    enable(tlsup, ca, name)
    assert_answers_challenge(name)
    for path in ("/", "/.well-known/other", "/.well-known/acme-challenge/", "/page?x=1"):
        answer = net.http(name, path)
        assert (answer.status, answer.location) == (301, f"http://elsewhere.test{path}")
    assert net.https(name, ca.roots, "/page").location == "http://elsewhere.test/page"
    assert net.leaf(name)[0] == tlsup.sha256(name)
    undo(tlsup, nginx, before, name)


@pytest.mark.parametrize("lines, status", [
    (["auth_basic closed;", "auth_basic_user_file /etc/nginx/htpasswd;"], 401), (["deny all;"], 403),
    (["auth_basic closed;", "auth_basic_user_file /etc/nginx/htpasswd;", "satisfy all;", "deny all;", r"location ~ /\. { deny all; }",
      r"location ~ /\.well-known { return 404; }"], 403),
    (["location / { internal; }", r"location ~* (\.|/) { deny all; }"], 403)], ids=["auth", "deny", "all", "regex"])
def test_08_closed_site(tlsup, ca, nginx, name, lines, status):
    pathlib.Path("/etc/nginx/htpasswd").write_text("a:b\n")
    nginx.site(name, extra="\n".join(f"    {line}" for line in lines))
    nginx.start()
    before = everything(nginx)
    assert net.http(name).status == status
    enable(tlsup, ca, name)
    assert_answers_challenge(name)
    assert net.http(name).status == status and net.https(name, ca.roots).status == status
    undo(tlsup, nginx, before, name)


@pytest.mark.parametrize("lines, status", [
    ("<Location />\nAuthType Basic\nAuthName closed\nAuthUserFile /etc/apache2/htpasswd\nRequire valid-user\n</Location>", 401),
    ("<Location />\nRequire all denied\n</Location>\n<LocationMatch \"/\\.\">\nRequire all denied\n</LocationMatch>", 403)], ids=["auth", "deny"])
def test_08_closed_site_of_apache(tlsup, ca, apache, name, lines, status):
    pathlib.Path("/etc/apache2/htpasswd").write_text("a:b\n")
    apache.site(name, extra=lines)
    apache.start()
    before = everything(apache)
    assert net.http(name).status == status
    enable(tlsup, ca, name)
    assert_answers_challenge(name)
    assert net.http(name).status == status and net.https(name, ca.roots).status == status
    undo(tlsup, apache, before, name)


CATCH_ALL = "server {\n    listen 80 default_server;\n    listen [::]:80 default_server;\n    server_name _;\n    return 444;\n}\n"


def is_closed(name):
    try:
        return net.http(name).status == 0
    except (OSError, http.client.HTTPException):
        return True


def test_09_catch_all_with_a_site_beside_it(tlsup, ca, nginx, name):
    without_default(nginx).add_site("000-catch-all", CATCH_ALL)
    nginx.site(name)
    nginx.start()
    before = everything(nginx)
    enable(tlsup, ca, name)
    assert_on(tlsup, ca, name, f"this is {name}")
    assert is_closed("stranger.test") and is_closed("another.test")
    undo(tlsup, nginx, before, name)


def test_09_catch_all_alone(tlsup, ca, nginx, name):
    """The CA's visits are answered, everybody else's are not."""
    without_default(nginx).add_site("000-catch-all", CATCH_ALL)
    nginx.start()
    before = everything(nginx)
    tlsup.ok("issue", name, *ca.arguments)
    assert_answers_challenge(name)
    assert is_closed(name) and is_closed("stranger.test")
    result = tlsup("install", name)
    assert result.status == 0 and net.leaf(name)[0] == tlsup.sha256(name) or result.status in (1, 2, 3) and name in result.err, result
    assert is_closed(name) and is_closed("stranger.test") and nginx.test().returncode == 0
    undo(tlsup, nginx, before, name)


class Upstream(http.server.ThreadingHTTPServer):
    """An application behind a proxy, which remembers what it was asked."""

    daemon_threads = True

    def __init__(self, port):
        self.seen = []
        super().__init__(("127.0.0.1", port), type("Handler", (http.server.BaseHTTPRequestHandler,), {
            "do_GET": lambda handler: self.answer(handler), "do_HEAD": lambda handler: self.answer(handler),
            "log_message": lambda *_: None}))
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def answer(self, handler):
        self.seen.append(handler.path)
        handler.send_response(200)
        handler.send_header("Content-Length", "8")
        handler.end_headers()
        handler.wfile.write(b"upstream")


@pytest.fixture
def upstream():
    server = Upstream(8888)
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("lines", [["location / { proxy_pass http://127.0.0.1:8888; }"],
                                   ["location / { proxy_pass http://127.0.0.1:8888; }", "location ^~ /.well-known/ { proxy_pass http://127.0.0.1:8888; }",
                                    r"location ~ acme { proxy_pass http://127.0.0.1:8888; }"]], ids=["all", "well-known"])
def test_10_upstream_sees_nothing(tlsup, ca, nginx, name, upstream, lines):
    nginx.add_site(name, block(name, *lines))
    nginx.start()
    before = everything(nginx)
    enable(tlsup, ca, name)
    assert_on(tlsup, ca, name, "upstream")
    assert_answers_challenge(name)
    assert set(upstream.seen) <= {"/"}, upstream.seen
    undo(tlsup, nginx, before, name)


def test_10_upstream_of_apache_sees_nothing(tlsup, ca, apache, name, upstream):
    machine.run("/usr/sbin/a2enmod", "-q", "proxy", "proxy_http")
    apache.site(name, extra="    ProxyPass / http://127.0.0.1:8888/\n    ProxyPassReverse / http://127.0.0.1:8888/")
    apache.start()
    before = everything(apache)
    enable(tlsup, ca, name)
    assert_on(tlsup, ca, name, "upstream")
    assert_answers_challenge(name)
    assert set(upstream.seen) <= {"/"}, upstream.seen
    undo(tlsup, apache, before, name)


# 11 Only [::]:80. 12 Options that a socket may have once.


@pytest.mark.parametrize("listen", ["[::]:80", "[::]:80 ipv6only=on", "[::]:80 ipv6only=off", "[::1]:80"])
def test_11_only_ipv6(tlsup, ca, nginx, dns, name, ipv6, listen):
    both = listen.endswith("off")
    without_default(nginx).add_site(name, block(name, says("over six"), listen=[listen]))
    nginx.start()
    before = everything(nginx)
    dns.addresses(name, v4=["127.0.0.1"] if both else ["192.0.2.1"], v6=["::1"])
    enable(tlsup, ca, name)
    assert_on(tlsup, ca, name, "over six", addresses=["::1", "127.0.0.1"] if both else ["::1"])
    if not both:
        assert not net.port_open(443), "nobody asked for IPv4"
    undo(tlsup, nginx, before, name)


def test_12_options_of_existing_sockets(tlsup, ca, nginx, name, ipv6):
    """They may be said once for each socket: not copied, and what 443 has already stays."""
    without_default(nginx).add_site("000-first", "server {\n    listen 80 default_server reuseport deferred backlog=600 rcvbuf=64k fastopen=3;\n"
                                    "    listen [::]:80 default_server ipv6only=on reuseport so_keepalive=30m::10;\n    server_name first.test;\n"
                                    "    " + says("first") + "\n}\n")
    nginx.site(name)
    other = nginx.site(f"other-{name}")
    nginx.start()
    before, untouched = everything(nginx), other.read_bytes()
    enable(tlsup, ca, name)
    assert_on(tlsup, ca, name, f"this is {name}", addresses=["127.0.0.1", "::1"])
    assert other.read_bytes() == untouched
    # And the site with the options itself.
    result = tlsup("enable", "first.test", *ca.arguments)
    assert result.status == 0, result
    assert_on(tlsup, ca, "first.test", "first", addresses=["127.0.0.1", "::1"])
    text = pathlib.Path("/etc/nginx/sites-available/000-first").read_text()
    for line in re.findall(r"listen [^;]*443[^;]*;", text):
        assert not re.search(r"reuseport|deferred|backlog|rcvbuf|fastopen|so_keepalive|default_server", line), line
    tlsup.ok("undo", "first.test")
    undo(tlsup, nginx, before, name)


def test_12_options_of_sockets_on_443(tlsup, ca, nginx, authority, name, ipv6):
    certificate, key = authority.server("first", ["first.test"])
    nginx.add_site("000-first", block("first.test", f"ssl_certificate {certificate};", f"ssl_certificate_key {key};", says("first"),
                                      listen=["443 ssl default_server reuseport backlog=600", "[::]:443 ssl default_server ipv6only=on reuseport"]))
    nginx.site(name)
    nginx.start()
    before, served = everything(nginx), net.leaf("first.test")[0]
    enable(tlsup, ca, name)
    assert_on(tlsup, ca, name, f"this is {name}", addresses=["127.0.0.1", "::1"])
    assert net.leaf("first.test")[0] == served == net.leaf("stranger.test")[0]
    undo(tlsup, nginx, before, name)


# 13 Another server owns the name on 443. 14 Two servers with one name. 15 Upper case and quotes.


def test_13_another_server_owns_the_name_on_443(tlsup, ca, nginx, authority, name):
    """Only its certificate is swapped: the block for port 80 gets no 443 that would never be asked."""
    certificate, key = authority.server("old", [name])
    nginx.add_site("zz-https", block(f"www.{name} {name}", f"ssl_certificate {certificate}; # bought", f"ssl_certificate_key {key};",
                                     says("owner of 443"), listen=["443 ssl"]))
    plain = nginx.add_site(name, block(name, says("owner of 80")))
    nginx.start()
    before = everything(nginx)
    enable(tlsup, ca, name, f"www.{name}")
    for each in (name, f"www.{name}"):
        assert_on(tlsup, ca, each, "owner of 443", cert=name)
    assert "owner of 80" in net.http(name).body and "443" not in plain.read_text()
    undo(tlsup, nginx, before, name)
    assert net.leaf(name)[0] == pki.sha256_of(certificate)


def test_14_two_servers_with_one_name(tlsup, ca, nginx, name):
    """The first one that nginx reads answers, and nobody else."""
    nginx.add_site("10-first", block(f"{name} other-{name}", says("the first")))
    second = nginx.add_site("20-second", block(f"{name} only-{name}", says("the second")))
    nginx.start()
    before, untouched = everything(nginx), second.read_bytes()
    assert "the first" in net.http(name).body
    enable(tlsup, ca, name)
    assert_on(tlsup, ca, name, "the first")
    assert second.read_bytes() == untouched
    undo(tlsup, nginx, before, name)


def test_14_two_hosts_with_one_name(tlsup, ca, apache, name):
    for title, page in (("10-first", "first"), ("20-second", "second")):
        root = pathlib.Path("/var/www") / page
        root.mkdir()
        (root / "index.html").write_text(f"the {page}\n")
        apache.add_site(title, f"<VirtualHost *:80>\n    ServerName {name}\n    DocumentRoot {root}\n</VirtualHost>\n")
    apache.start()
    before = everything(apache)
    enable(tlsup, ca, name)
    assert_on(tlsup, ca, name, "the first")
    undo(tlsup, apache, before, name)


def test_15_upper_case_and_quotes(tlsup, ca, nginx, name):
    directory = pathlib.Path("/etc/nginx/my sites")
    directory.mkdir()
    conf = pathlib.Path("/etc/nginx/nginx.conf")
    text = conf.read_text()
    conf.write_text(text.replace("include /etc/nginx/sites-enabled/*;", 'include /etc/nginx/sites-enabled/*; include "my sites/*.vhost";'))
    assert conf.read_text() != text
    path = directory / "one.vhost"
    path.write_bytes(f"server {{ # server_name decoy.test;\r\n  'listen' \"80\";\r\n  \"server_name\"\r\n  # {name} in a comment\r\n"
                     f"  \"WWW.{name.upper()}\" '{name.title()}';\r\n  # caf\u00e9 ".encode("latin-1") +
                     b"\xff\r\n  location / { return 200 \"quoted ; } #\"; }\r\n}\r\n")
    nginx.start()
    before = everything(nginx)
    assert net.http(name).body == "quoted ; } #"
    enable(tlsup, ca, name, f"www.{name}")
    for each in (name, f"www.{name}"):
        assert_on(tlsup, ca, each, "quoted ; } #", cert=name)
    assert b"\xe9 \xff\r\n" in path.read_bytes()
    undo(tlsup, nginx, before, name)


def test_15_upper_case_and_quotes_of_apache(tlsup, ca, apache, name):
    root = pathlib.Path("/var/www/a root")
    root.mkdir()
    (root / "index.html").write_text("quoted\n")
    apache.add_site(name, f"<virtualhost \"*:80\">\n  SERVERNAME \"{name.upper()}\"\n  serveralias \\\n    'WWW.{name}' # no comment here\n"
                    f"  DocumentRoot \"{root}\"\n</VIRTUALHOST>\n")
    apache.start()
    before = everything(apache)
    enable(tlsup, ca, name, f"www.{name}")
    for each in (name, f"www.{name}"):
        assert_on(tlsup, ca, each, "quoted", cert=name)
    undo(tlsup, apache, before, name)


# 16 nginx from 1.18 to the latest.


@pytest.fixture(params=nginx_versions.RELEASES)
def release(request):
    """(server, version): that release's nginx as if it were installed."""
    try:
        version = nginx_versions.required(request.param)
    except machine.Unavailable as why:
        pytest.skip(str(why))
    with nginx_versions.installed(version) as server:
        yield server, version
        machine.end_all_but(client.Client.ignored)


def warnings_of(nginx):
    return sorted(re.sub(r" in \S+:\d+$", "", line) for line in nginx.test().stderr.splitlines() if "[warn]" in line or "[notice]" in line)


@pytest.mark.parametrize("own", [True, False], ids=["own-site", "no-site"])
def test_16_version(tlsup, ca, release, name, own, ipv6):
    nginx, version = release
    if own:
        nginx.site(name)
    nginx.start()
    before, warned = everything(nginx), warnings_of(nginx)
    assert f"Found nginx {version.text}" in enable(tlsup, ca, name).text
    assert_on(tlsup, ca, name, f"this is {name}" if own else "plain page", addresses=["127.0.0.1", "::1"])
    assert net.leaf(name, alpn=["h2", "http/1.1"])[2] == "h2"
    assert net.leaf(name, alpn=["http/1.1"])[2] == "http/1.1"
    assert warnings_of(nginx) == warned
    written = "".join(path.read_text() for path in pathlib.Path("/etc/nginx").rglob("*") if path.is_file() and "443" in path.read_text(errors="replace"))
    lines = [line.strip() for line in written.splitlines() if not line.strip().startswith("#")]
    if version.number >= (1, 25, 1):
        assert "http2 on;" in lines and not [line for line in lines if re.match(r"listen\b.*http2", line)], lines
    else:
        assert [line for line in lines if re.match(r"listen\b.*443\b.*http2", line)] and "http2 on;" not in lines, lines
    undo(tlsup, nginx, before, name)
    machine.until(lambda: not net.port_open(443), "443 stays open")


def test_16_version_beside_another_https_site(tlsup, ca, release, authority, new_name):
    """The sockets are there already, with or without http2: the other site is as before, and no warning comes of ours."""
    nginx, version = release
    name, other = new_name(), new_name()
    certificate, key = authority.server("other", [other])
    nginx.add_site(f"a-{other}", block(other, f"ssl_certificate {certificate};", f"ssl_certificate_key {key};", says("the other"),
                                       listen=["443 ssl", "[::]:443 ssl"]))
    nginx.site(name)
    nginx.start()
    before, warned, served = everything(nginx), warnings_of(nginx), net.leaf(other)[0]
    enable(tlsup, ca, name, "--redirect")
    assert_on(tlsup, ca, name, f"this is {name}")
    assert net.leaf(other)[0] == served and warnings_of(nginx) == warned
    assert net.http(name).status == 301
    undo(tlsup, nginx, before, name)


@needs_option("--tls-profile")
@pytest.mark.parametrize("profile", ["modern", "old"])
def test_16_version_with_profile(tlsup, ca, release, name, profile):
    nginx, _ = release
    nginx.site(name)
    nginx.start()
    before, warned = everything(nginx), warnings_of(nginx)
    enable(tlsup, ca, name, "--tls-profile", profile, *(["--key-type", "rsa-2048"] if profile == "old" else []))
    assert_profile(name, profile)
    assert warnings_of(nginx) == warned
    undo(tlsup, nginx, before, name)


# 17 What is said already. 18 A block that only redirects.


@pytest.mark.parametrize("where", ["http", "server"])
def test_17_existing_protocols_and_session_cache(tlsup, ca, nginx, name, where):
    """Not repeated, not made another size."""
    own = "ssl_protocols TLSv1.2;\nssl_session_cache shared:tlsup_2m:5m;\nssl_session_timeout 7m;\nssl_prefer_server_ciphers on;\nssl_session_tickets on;\n"
    conf = pathlib.Path("/etc/nginx/nginx.conf")
    conf.write_text(re.sub(r"(?m)^\s*ssl_\w+ .*\n", "", conf.read_text()))
    if where == "http":
        pathlib.Path("/etc/nginx/conf.d/tls.conf").write_text(own)
    nginx.site(name, extra=own if where == "server" else "")
    nginx.start()
    before = everything(nginx)
    enable(tlsup, ca, name)
    assert_on(tlsup, ca, name, f"this is {name}")
    assert net.leaf(name)[1] == "TLSv1.2", "a person's choice stays"
    text = pathlib.Path("/etc/nginx/sites-available", name).read_text()
    for directive in re.findall(r"(?m)^(ssl_\w+) ", own):
        assert len(re.findall(rf"\b{directive}\b", text)) == (where == "server"), (directive, text)
    undo(tlsup, nginx, before, name)


def test_17_existing_session_cache_of_another_name(tlsup, ca, nginx, authority, new_name):
    """Another server's zone has the name that ours would have, with another size."""
    name, other = new_name(), new_name()
    certificate, key = authority.server("other", [other])
    nginx.add_site(other, block(other, f"ssl_certificate {certificate};", f"ssl_certificate_key {key};", "ssl_session_cache shared:SSL:10m;",
                                "ssl_protocols TLSv1.3;", says("other"), listen=["443 ssl"]))
    nginx.site(name)
    nginx.start()
    before = everything(nginx)
    enable(tlsup, ca, name)
    assert_on(tlsup, ca, name, f"this is {name}")
    undo(tlsup, nginx, before, name)


REDIRECTS = ["return 301 https://$host$request_uri;", "return 308 https://{name}$request_uri;", "rewrite ^ https://$host$request_uri? permanent;",
             "location / {{ return 301 https://$server_name$request_uri; }}",
             "if ($scheme != https) {{ return 301 https://$host$request_uri; }}\n    return 404;"]


@pytest.mark.parametrize("line", REDIRECTS[:4], ids=["host", "name", "rewrite", "location"])
def test_18_redirect_only_block(tlsup, ca, nginx, name, line):
    nginx.add_site(name, block(name, line.format(name=name)))
    nginx.start()
    result = refused(tlsup, ca, nginx, "enable", name, says=[name, r"redirect"])
    assert re.search(r"root|proxy_pass|upstream", result.err), f"what to do is said:\n{result}"
    assert not net.port_open(443) and net.http(name).status in (301, 308)


def test_18_redirect_only_host_of_apache(tlsup, ca, apache, name):
    apache.add_site(name, f"<VirtualHost *:80>\n    ServerName {name}\n    Redirect permanent / https://{name}/\n</VirtualHost>\n")
    apache.start()
    result = refused(tlsup, ca, apache, "enable", name, says=[name, r"redirect"])
    assert re.search(r"DocumentRoot|ProxyPass", result.err), result
    assert not net.port_open(443)


def test_18_redirect_with_its_twin(tlsup, ca, nginx, authority, name):
    """The redirect leads to a 443 of its own: that one gets the certificate."""
    certificate, key = authority.server("old", [name])
    nginx.add_site(name, block(name, REDIRECTS[0]) + block(name, f"ssl_certificate {certificate};", f"ssl_certificate_key {key};", says("the twin"),
                                                          listen=["443 ssl"]))
    nginx.start()
    before = everything(nginx)
    enable(tlsup, ca, name)
    assert_on(tlsup, ca, name, "the twin")
    assert_answers_challenge(name)
    assert net.http(name, "/x").location == f"https://{name}/x"
    undo(tlsup, nginx, before, name)


# 19 443 held by another process. 20 A key that does not match. 21 A failing handshake.


@contextlib.contextmanager
def held(address, port=443):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    code = ("import socket,sys,time\ns=socket.socket(int(sys.argv[1]));s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1)\n"
            "s.setsockopt(41,26,1) if ':' in sys.argv[2] else None\ns.bind((sys.argv[2],int(sys.argv[3])));s.listen();print('up',flush=True);time.sleep(600)")
    process = subprocess.Popen(["/usr/bin/python3", "-c", code, str(int(family)), address, str(port)], stdout=subprocess.PIPE)
    process.stdout.readline()
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "::"])
def test_19_port_443_is_held(tlsup, ca, server, name, address, ipv6):
    """Refused before anything is written or asked for."""
    server.site(name)
    server.start()
    with held(address) as process:
        refused(tlsup, ca, server, "enable", name, says=[r"443", r"python3", str(process.pid)])
        assert process.poll() is None and net.http(name).status == 200
    enable(tlsup, ca, name)
    assert_on(tlsup, ca, name)


def another_key(path, kind):
    if kind == "garbage":
        path.write_text("-----BEGIN PRIVATE KEY-----\nbm90IGEga2V5\n-----END PRIVATE KEY-----\n")
    elif kind == "empty":
        path.write_text("")
    elif kind == "gone":
        path.unlink()
    else:
        words = {"ecdsa": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "rsa": ["rsa", "-pkeyopt", "rsa_keygen_bits:2048"]}[kind]
        pki.openssl("genpkey", "-algorithm", *words, "-out", path)


@pytest.mark.parametrize("kind", ["ecdsa", "rsa", "garbage", "empty", "gone"])
def test_20_key_that_does_not_match(tlsup, ca, server, name, kind):
    """Apache's own test accepts it, and then the server ends."""
    server.site(name)
    server.start()
    tlsup.ok("issue", name, *ca.arguments)
    another_key(tlsup.live(name).resolve() / "privkey.pem", kind)
    refused(tlsup, ca, server, "install", name, says=[r"key", name])
    assert not net.port_open(443) and net.http(name).status == 200


def test_20_garbage_certificate(tlsup, ca, server, name):
    server.site(name)
    server.start()
    tlsup.ok("issue", name, *ca.arguments)
    (tlsup.live(name).resolve() / "fullchain.pem").write_text("-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n")
    refused(tlsup, ca, server, "install", name, says=[r"certificate|fullchain", name])
    assert not net.port_open(443) and net.http(name).status == 200


def test_21_failing_handshake(tlsup, ca, nginx, name):
    """A choice for all servers that our key cannot do anything with: nginx's test sees nothing of it."""
    pathlib.Path("/etc/nginx/conf.d/tls.conf").write_text("ssl_ciphers AES128-GCM-SHA256;\n")
    conf = pathlib.Path("/etc/nginx/nginx.conf")
    conf.write_text(re.sub(r"(?m)^(\s*ssl_protocols) .*$", r"\1 TLSv1.2;", conf.read_text()))
    nginx.site(name)
    nginx.start()
    tlsup.ok("issue", name, *ca.arguments)
    result = refused(tlsup, ca, nginx, "install", name, says=[r"443|handshake|TLS", name])
    assert re.search(r"put back|as it was", result.err), result
    assert not net.port_open(443) and net.http(name).status == 200
    # With a key that can, it works.
    enable(tlsup, ca, name, "--key-type", "rsa-2048")
    assert_on(tlsup, ca, name)


def test_21_page_that_fails_under_the_new_configuration(tlsup, ca, nginx, authority, name):
    """A handshake like any other, and the page that was there is not: the status of / counts."""
    certificate, key = authority.server("old", [name])
    nginx.add_site(name, block(name, f"ssl_certificate {certificate};", f"ssl_certificate_key {key};",
                               "set $serial old;", f"if (-e /var/lib/tlsup/live/{name}) {{ set $serial new; }}",
                               'set $both "$scheme $serial";', 'if ($both = "https new") { return 500; }', says("fine"), listen=["80", "443 ssl"]))
    nginx.start()
    assert net.leaf(name)[0] == pki.sha256_of(certificate)
    before = everything(nginx)
    result = tlsup("enable", name, *ca.arguments)
    assert result.status in (1, 3), result
    assert re.search(r"500", result.err) and name in result.err, result
    assert net.leaf(name)[0] == pki.sha256_of(certificate), "put back and reloaded"
    tree, _ = everything(nginx)
    assert not [l for l in snapshot.difference(before[0], tree) if "ssl_certificate" in l and "live" in l], result


def test_21_apache_that_ends_by_the_reload(tlsup, ca, apache, name):
    """Two Listens that only wake up with the ssl module: its test passes, the reload would be its end."""
    ports = pathlib.Path("/etc/apache2/ports.conf")
    ports.write_text(ports.read_text() + "<IfModule mod_ssl.c>\n    Listen 127.0.0.1:443\n</IfModule>\n")
    apache.site(name)
    apache.start()
    tlsup.ok("issue", name, *ca.arguments)
    before = everything(apache)
    result = tlsup("install", name)
    if result.status == 0:  # where both can be had
        assert_on(tlsup, ca, name)
        return
    assert_as_before(apache, before)
    assert re.search(r"443|Listen", result.err), result
    machine.until(lambda: net.port_open(80), f"Apache is gone:\n{result}")
    assert net.http(name).status == 200 and not net.port_open(443)


def test_21_sleeping_host_with_a_missing_certificate(tlsup, ca, apache, name):
    """Turning the ssl module on would wake it, and Apache would not come up: found out before."""
    apache.add_site("sleeping", "<IfModule mod_ssl.c>\n<VirtualHost *:443>\n    ServerName sleeping.test\n    SSLEngine on\n"
                    "    SSLCertificateFile /etc/ssl/private/gone.pem\n    SSLCertificateKeyFile /etc/ssl/private/gone.key\n</VirtualHost>\n</IfModule>\n")
    apache.site(name)
    apache.start()
    tlsup.ok("issue", name, *ca.arguments)
    refused(tlsup, ca, apache, "install", name, says=[r"gone\.pem", r"sleeping"])
    assert net.http(name).status == 200


# 22 kill -9. 23 A person's edit between crash and recovery.


needs_test_hooks = pytest.mark.skipif(not client.built_with("test-hooks"), reason="only in a build with --enable-test-hooks")


def crash(tlsup, step, *words):
    result = tlsup(*words, env={"TLSUP_TEST_CRASH": str(step)})
    machine.until(lambda: not client.Client.running(), "children of a killed run stay")
    assert result.status in (0, -signal.SIGKILL), (step, result)
    return result.status == 0


def recover(tlsup):
    """What every run does first, and this one alone: `renew` goes on to install what is still owed."""
    return tlsup.ok("recover")


def held_without_an_edit(tlsup, ca, server, name):
    """A certificate in the store, and nothing of ours in the web server yet."""
    before = everything(server)
    tlsup.ok("issue", name, "--webroot", "-w", f"/var/www/{name}", *ca.arguments)
    assert_as_before(server, before)
    return before


@needs_test_hooks
@pytest.mark.parametrize("verb", ["install", "undo"])
def test_22_kill(tlsup, ca, server, name, verb):
    """Before a step here and there: the server's test passes, visitors are served, and recovery ends in all old or all new."""
    server.site(name)
    server.start()
    old = held_without_an_edit(tlsup, ca, server, name)
    tlsup.ok("install", name)
    new = everything(server)
    points = 0
    for step in range(1, 400, 7):
        tlsup.ok("undo", name) if verb == "install" else None
        ended = crash(tlsup, step, verb, name)
        assert server.test().returncode == 0, (step, server.test().stderr)
        assert net.http(name).status == 200, step
        if ended:
            break
        points += 1
        recover(tlsup)
        now = everything(server)
        assert server.test().returncode == 0, step
        which = [kind for kind, tree in (("old", old), ("new", new)) if not snapshot.difference(tree[0], now[0]) and tree[1] == now[1]]
        assert which, (step, snapshot.difference(old[0], now[0]), snapshot.difference(new[0], now[0]))
        if which == ["new"]:
            assert net.leaf(name)[0] == tlsup.sha256(name), step
        else:
            machine.until(lambda: not net.port_open(443), f"step {step}: 443 stays open")
            tlsup.ok("install", name)
        assert not journals(tlsup), step
    print(f"{server.kind} {verb}: {points} points")
    assert ended and points >= 3


@needs_test_hooks
def test_23_edit_between_crash_and_recovery(tlsup, ca, server, name):
    """Found by its bytes, kept, and told of; the rest is put back."""
    path = server.site(name)
    server.start()
    held_without_an_edit(tlsup, ca, server, name)
    original = path.read_bytes()
    for step in range(1, 200):
        assert not crash(tlsup, step, "install", name, "--redirect"), "the site's file was never seen written and unfinished"
        if path.read_bytes() != original and journals(tlsup):
            break
        recover(tlsup)
    mine = path.read_bytes() + b"# a person was here\n"
    path.write_bytes(mine)
    result = recover(tlsup)
    assert path.read_bytes() == mine, "kept"
    assert path.name in result.text and re.search(r"kept|left|edit|chang", result.text), result
    saved = [p.read_bytes() for p in (tlsup.state / "journal").rglob("*") if p.is_file()]
    assert original in saved and mine in saved, "both versions are saved"
    again = recover(tlsup)
    assert path.read_bytes() == mine and "a person" not in again.text


# 24 WSGIDaemonProcess, macros, names by Define. 25 RewriteEngine off, with sleeping rules.


def test_24_wsgi_daemon_process(tlsup, ca, apache, modules, name):
    """May be said once for the whole server: not in the copy for 443, which runs in the same processes."""
    pathlib.Path("/etc/apache2/mods-enabled/wsgi.load").write_text(f"LoadModule wsgi_module {modules}/lib/mod_wsgi.so\n")
    program = pathlib.Path("/var/www/app.py")
    program.write_text("def application(environ, start):\n    start('200 OK', [('Content-Type', 'text/plain')])\n"
                       "    return [b'wsgi by ' + environ['mod_wsgi.process_group'].encode()]\n")
    apache.site(name, extra="    WSGIDaemonProcess app processes=1 threads=2\n    WSGIProcessGroup app\n    WSGIScriptAlias / /var/www/app.py\n"
                            "    WSGIImportScript /var/www/app.py process-group=app application-group=%{GLOBAL}")
    if apache.test().returncode != 0:
        pytest.skip(f"mod_wsgi does not load here: {apache.test().stderr}")
    apache.start()
    before = everything(apache)
    machine.until(lambda: "wsgi by app" in net.http(name).body, "the application does not come up")
    enable(tlsup, ca, name)
    machine.until(lambda: "wsgi by app" in net.https(name, ca.roots).body, "the application does not answer on 443")
    assert net.leaf(name)[0] == tlsup.sha256(name)
    undo(tlsup, apache, before, name)


def test_24_macro(tlsup, ca, apache, new_name):
    one, two = new_name(), new_name()
    machine.run("/usr/sbin/a2enmod", "-q", "macro")
    for each in (one, two):
        root = pathlib.Path("/var/www") / each
        root.mkdir()
        (root / "index.html").write_text(f"this is {each}\n")
    apache.add_site("macro", "<Macro Site $host>\n<VirtualHost *:80>\n    ServerName $host\n    DocumentRoot /var/www/$host\n</VirtualHost>\n</Macro>\n"
                    f"Use Site {one}\nUse Site {two}\nUndefMacro Site\n")
    apache.start()
    before = everything(apache)
    enable(tlsup, ca, one)
    assert_on(tlsup, ca, one, f"this is {one}")
    assert f"this is {two}" in net.http(two).body and f"this is {one}" in net.http(one).body
    undo(tlsup, apache, before, one)


def test_24_name_by_define(tlsup, ca, apache, name):
    root = pathlib.Path("/var/www") / name
    root.mkdir()
    (root / "index.html").write_text(f"this is {name}\n")
    pathlib.Path("/etc/apache2/conf-enabled/names.conf").write_text(f"Define SITE {name}\nDefine ROOT /var/www/${{SITE}}\n")
    apache.add_site("by-define", "<VirtualHost *:80>\n    ServerName ${SITE}\n    ServerAlias www.${SITE}\n    DocumentRoot \"${ROOT}\"\n</VirtualHost>\n")
    apache.start()
    before = everything(apache)
    enable(tlsup, ca, name, f"www.{name}")
    for each in (name, f"www.{name}"):
        assert_on(tlsup, ca, each, f"this is {name}", cert=name)
    undo(tlsup, apache, before, name)


@pytest.mark.parametrize("words", [(), ("--redirect",)], ids=["plain", "redirect"])
def test_25_rewrite_engine_off_with_sleeping_rules(tlsup, ca, apache, name, words):
    """Our rule needs the engine: theirs sleep on, on both ports."""
    machine.run("/usr/sbin/a2enmod", "-q", "rewrite")
    apache.site(name, extra="    RewriteEngine Off\n    RewriteCond %{REQUEST_URI} !^/never\n    RewriteRule ^ - [F]\n"
                            "    RewriteRule ^/(.*)$ https://elsewhere.test/$1 [R=302,L]")
    apache.start()
    before = everything(apache)
    assert net.http(name).status == 200
    enable(tlsup, ca, name, *words)
    assert_on(tlsup, ca, name, f"this is {name}")
    assert_answers_challenge(name)
    answer = net.http(name, "/page")
    if words:
        assert (answer.status, answer.location) == (301, f"https://{name}/page")
    else:
        assert answer.status == 404 and net.http(name).status == 200
    undo(tlsup, apache, before, name)


# -- bad input ----------------------------------------------------------------------------------------------


def test_bad_input_broken_before_we_start(tlsup, ca, server, name):
    server.site(name)
    server.start()
    path, line = server.break_it()
    result = refused(tlsup, ca, server, "enable", name, says=[path.name, rf"\b{line}\b"])
    assert re.search(r"-t\b", result.err), f"what shows it is said:\n{result}"
    assert net.http(name).status == 200


def unreadable(server, kind):
    """A file that the configuration includes and nobody can read. It came after the start."""
    directory = pathlib.Path(server.tree) / "sites-enabled"
    path = directory / "zz-unreadable.conf"
    if kind == "directory":
        path.mkdir()
    elif kind == "dangling":
        path.symlink_to("/nowhere/at/all.conf")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "fifo":
        os.mkfifo(path)
    return path


@pytest.mark.parametrize("kind", ["directory", "dangling", "loop", "fifo"])
def test_bad_input_file_that_cannot_be_read(tlsup, ca, nginx, name, kind):
    nginx.site(name)
    nginx.start()
    path = unreadable(nginx, kind)
    result = refused(tlsup, ca, nginx, "enable", name,
                     says=[r"zz-unreadable" if kind != "fifo" else r"zz-unreadable|nginx", r"-t\b|pipe|did not end|time|regular file"], timeout=200)
    path.rmdir() if kind == "directory" else path.unlink()
    assert result.seconds < 100 and net.http(name).status == 200
    enable(tlsup, ca, name)
    assert_on(tlsup, ca, name)


@pytest.mark.parametrize("kind", ["dangling", "loop", "fifo"])
def test_bad_input_file_of_apache_that_cannot_be_read(tlsup, ca, apache, name, kind):
    apache.site(name)
    apache.start()
    path = unreadable(apache, kind)
    if kind != "fifo" and apache.test().returncode == 0:
        enable(tlsup, ca, name)
        assert_on(tlsup, ca, name)
        return
    result = refused(tlsup, ca, apache, "enable", name, says=[r"zz-unreadable|apache", r"pipe|did not end|time|regular file"], timeout=200)
    path.unlink()
    assert result.seconds < 100 and net.http(name).status == 200
    enable(tlsup, ca, name)
    assert_on(tlsup, ca, name)


def test_bad_input_stopped_server(tlsup, ca, server, name):
    """Started by the service manager and working, or refused with how to start it; never half of it."""
    server.site(name)
    before = everything(server)
    result = tlsup("enable", name, f"--{server.kind}", *ca.arguments)
    if result.status == 0:
        machine.until(server.runs, f"it does not run:\n{result}")
        assert_on(tlsup, ca, name, f"this is {name}")
        tlsup.ok("undo", name)
        assert_as_before(server, before)
    else:
        assert re.search(r"not running|does not run|stopped|start", result.err), result
        assert_as_before(server, before)


@pytest.mark.parametrize("arguments", [["-c", "{0}/nginx.conf"], ["-p", "{0}", "-c", "nginx.conf"], ["-p", "{0}/", "-c", "{0}/nginx.conf", "-e", "{0}/e.log"],
                                       ["-c", "{0}/nginx.conf", "-g", "worker_rlimit_nofile 2000; "]], ids=["c", "relative", "p", "g"])
def test_bad_input_server_of_another_prefix(tlsup, ca, nginx, name, own_directory, arguments):
    """Found by how it was started; Debian's own configuration, which nobody serves, is left alone."""
    place = own_directory("/run/mine/nginx") / "etc"
    server = layouts.nginx_of_a_person(place, [a.format(place) for a in arguments])
    server.add_site(name, block(name, says("mine")))
    server.start()
    before, debian = everything(server), everything(nginx)
    enable(tlsup, ca, name)
    assert_on(tlsup, ca, name, "mine")
    assert everything(nginx) == debian
    tlsup.ok("renew", "--force-renewal")
    assert net.leaf(name)[0] == tlsup.sha256(name)
    undo(tlsup, server, before, name)


def two_servers(own_directory, name):
    """Debian's on 80, and a person's on 8080."""
    place = own_directory("/run/mine/nginx") / "etc"
    other = layouts.nginx_of_a_person(place)
    other.add_site(name, block(name, says("the other server"), listen=["8080"]))
    return other


def test_bad_input_several_servers_that_no_name_tells_apart(tlsup, ca, nginx, name, own_directory):
    """Both were started with a -c of their own: which one is asked for, with the way to say it."""
    other = two_servers(own_directory, name)
    nginx.site(name)
    machine.run("/usr/sbin/nginx", "-c", "/etc/nginx/nginx.conf")
    nginx.settle()
    other.start()
    result = refused(tlsup, ca, nginx, "enable", name, says=[r"nginx", r"--nginx-conf"])
    assert net.http(name).status == 200
    if offers("--nginx-conf"):
        before = everything(other)
        tlsup.ok("enable", name, "--nginx-conf", "/etc/nginx/nginx.conf", *ca.arguments)
        assert_on(tlsup, ca, name, f"this is {name}")
        assert everything(other) == before
        tlsup.ok("renew", "--force-renewal")
        assert net.leaf(name)[0] == tlsup.sha256(name), "the answer is remembered"


def test_bad_input_name_that_no_block_has(tlsup, ca, server, name):
    """Other sites only: it gets one of its own, and theirs are as before."""
    other = server.site(f"other-{name}")
    server.start()
    before, page, untouched = everything(server), net.http(name).body, other.read_bytes()
    enable(tlsup, ca, name)
    assert_on(tlsup, ca, name)
    assert net.http(name).body == page and other.read_bytes() == untouched
    assert f"this is other-{name}" in net.http(f"other-{name}").body
    undo(tlsup, server, before, name)


def test_bad_input_read_only_etc(tlsup, ca, server, name):
    """Said before the CA is asked: a certificate that cannot go anywhere is of no use."""
    server.site(name)
    server.start()
    machine.run("mount", "--bind", server.tree, server.tree)
    try:
        machine.run("mount", "-o", "remount,bind,ro", server.tree)
        refused(tlsup, ca, server, "enable", name, says=[r"read-only", re.escape(server.tree)])
        assert net.http(name).status == 200
    finally:
        machine.run("umount", server.tree)
    enable(tlsup, ca, name)
    assert_on(tlsup, ca, name)


def test_bad_input_name_of_a_site_that_is_not_enabled(tlsup, ca, server, name):
    """Its file is never edited: the server does not read it. It is said how to enable it, or the name is served by another site."""
    enabled = server.site(f"other-{name}")
    asleep = enabled.with_name(enabled.name.replace("other-", ""))
    asleep.write_text(enabled.read_text().replace(f"other-{name}", name))
    server.start()
    before, untouched = everything(server), asleep.read_bytes()
    result = tlsup("enable", name, *ca.arguments)
    assert asleep.read_bytes() == untouched
    if result.status == 0:
        assert_on(tlsup, ca, name)
        undo(tlsup, server, before, name)
    else:
        assert asleep.name in result.err and re.search(r"a2ensite|ln -s", result.err), result
        assert_as_before(server, before)


@pytest.mark.parametrize("header", ["# Ansible managed", "# Ansible managed: /srv/roles/web/templates/site.j2 modified on 2024-01-01 by root",
                                    "# This file is managed by Puppet. DO NOT EDIT."], ids=["ansible", "ansible-long", "puppet"])
def test_bad_input_configuration_manager(tlsup, ca, server, name, header):
    """Said, not prevented."""
    path = server.site(name)
    path.write_text(f"{header}\n{path.read_text()}")
    server.start()
    before = everything(server)
    result = enable(tlsup, ca, name)
    manager = "Puppet" if "Puppet" in header else "Ansible"
    said = re.findall(rf"[^ ]*{re.escape(path.name)}\b[^.]* {manager}\b", re.sub(r"\s+", " ", result.text))
    assert len(said) == 1, f"said, and said once:\n{result}"
    assert_on(tlsup, ca, name)
    undo(tlsup, server, before, name)


# -- options ------------------------------------------------------------------------------------------------


@needs_option("--hsts")
@pytest.mark.parametrize("words, seconds", [(["--hsts"], 2 * 365 * 86400), (["--hsts-max-age", "1d"], 86400)], ids=["hsts", "max-age"])
def test_hsts(tlsup, ca, server, name, words, seconds):
    """On every https answer whatever its status, never over http; and off again."""
    server.site(name)
    server.start()
    before = everything(server)
    enable(tlsup, ca, name, *words)
    for path in ("/", "/nothing-here"):
        header = net.https(name, ca.roots, path).headers.get("strict-transport-security", "")
        assert re.fullmatch(rf"max-age={seconds}(; *\w+)*", header), (path, header)
        assert "strict-transport-security" not in net.http(name, path).headers
    assert "hsts" in (tlsup.config / "certs.d" / f"{name}.conf").read_text()
    tlsup.ok("renew", "--force-renewal")
    assert "strict-transport-security" in net.https(name, ca.roots).headers
    enable(tlsup, ca, name, "--no-hsts")
    assert "strict-transport-security" not in net.https(name, ca.roots).headers
    undo(tlsup, server, before, name)


@needs_option("--hsts")
def test_hsts_beside_a_redirect(tlsup, ca, server, name):
    server.site(name)
    server.start()
    enable(tlsup, ca, name, "--hsts", "--redirect")
    answer = net.http(name, "/x")
    assert answer.status == 301 and "strict-transport-security" not in answer.headers
    assert "strict-transport-security" in net.https(name, ca.roots).headers


@needs_option("--hsts")
def test_hsts_of_the_site_stays(tlsup, ca, nginx, name):
    nginx.site(name, extra='    add_header Strict-Transport-Security "max-age=77" always;')
    nginx.start()
    enable(tlsup, ca, name, "--hsts")
    assert net.https(name, ca.roots).headers["strict-transport-security"] == "max-age=77"


def handshake(name, version):
    """The version that was agreed on, None when none was."""
    try:
        return net.leaf(name, minimum=version, maximum=version)[1]
    except OSError:
        return None


def assert_profile(name, profile):
    versions = {each: handshake(name, each) for each in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)}
    expected = {"modern": [None, None, None, "TLSv1.3"], "intermediate": [None, None, "TLSv1.2", "TLSv1.3"],
                "old": ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"]}[profile]
    assert list(versions.values()) == expected, versions


@needs_option("--tls-profile")
@pytest.mark.parametrize("profile", ["modern", "intermediate", "old"])
def test_tls_profile(tlsup, ca, server, name, profile):
    server.site(name)
    server.start()
    before = everything(server)
    enable(tlsup, ca, name, "--tls-profile", profile)
    assert_on(tlsup, ca, name, f"this is {name}")
    assert_profile(name, profile)
    assert profile == "intermediate" or profile in (tlsup.config / "certs.d" / f"{name}.conf").read_text()
    undo(tlsup, server, before, name)


@needs_option("--tls-profile")
def test_tls_profile_can_be_changed_later(tlsup, ca, server, name):
    server.site(name)
    server.start()
    before = everything(server)
    for profile in ("modern", "intermediate", "modern"):
        enable(tlsup, ca, name, "--tls-profile", profile)
        assert_profile(name, profile)
    undo(tlsup, server, before, name)


@needs_option("--nginx-conf")
def test_nginx_conf(tlsup, ca, nginx, name, own_directory):
    """Which of two servers, where a person knows."""
    place = own_directory("/run/mine/nginx") / "etc"
    other = layouts.nginx_of_a_person(place)
    other.add_site(name, block(name, says("mine")))
    pathlib.Path("/etc/nginx/sites-enabled/default").unlink()
    nginx.add_site("on-8080", block("_", says("debian"), listen=["8080"]))
    nginx.start()
    other.start()
    before, debian = everything(other), everything(nginx)
    enable(tlsup, ca, name, "--nginx-conf", str(place / "nginx.conf"))
    assert_on(tlsup, ca, name, "mine")
    assert everything(nginx) == debian
    tlsup.ok("renew", "--force-renewal")
    assert net.leaf(name)[0] == tlsup.sha256(name)
    undo(tlsup, other, before, name)


@needs_option("--nginx-conf")
@pytest.mark.parametrize("words, says", [(["--nginx-conf", "/nowhere/nginx.conf"], r"/nowhere/nginx\.conf"), (["--nginx-bin", "/nowhere/nginx"], r"/nowhere/nginx"),
                                         (["--nginx-bin", "/etc/hosts"], r"/etc/hosts"), (["--nginx-bin", "/bin/true"], r"/bin/true"),
                                         (["--nginx-conf", "/etc/hosts"], r"/etc/hosts")])
def test_nginx_hints_that_lead_nowhere(tlsup, ca, nginx, name, words, says):
    nginx.site(name)
    nginx.start()
    refused(tlsup, ca, nginx, "enable", name, *words, says=says)


@needs_option("--nginx-bin")
def test_nginx_bin(tlsup, ca, nginx, name, own_directory):
    """A program that is in no usual place."""
    program = own_directory("/run/mine/sbin") / "nginx"
    shutil.copy("/usr/sbin/nginx", program)
    nginx.site(name)
    machine.run(program)
    nginx.settle()
    before = everything(nginx)
    enable(tlsup, ca, name, "--nginx-bin", str(program))
    assert_on(tlsup, ca, name, f"this is {name}")
    undo(tlsup, nginx, before, name)


@needs_option("--apache-ctl")
@pytest.mark.parametrize("words", [["--apache-ctl", "/usr/sbin/apache2ctl"], ["--apache-conf", "/etc/apache2/apache2.conf"],
                                   ["--apache-ctl", "/usr/sbin/apachectl", "--apache-conf", "/etc/apache2/apache2.conf"]], ids=["ctl", "conf", "both"])
def test_apache_hints(tlsup, ca, apache, name, words):
    apache.site(name)
    apache.start()
    before = everything(apache)
    enable(tlsup, ca, name, *words)
    assert_on(tlsup, ca, name, f"this is {name}")
    undo(tlsup, apache, before, name)


@needs_option("--apache-ctl")
@pytest.mark.parametrize("words", [["--apache-ctl", "/nowhere/apachectl"], ["--apache-conf", "/nowhere/apache2.conf"], ["--apache-ctl", "/bin/true"]])
def test_apache_hints_that_lead_nowhere(tlsup, ca, apache, name, words):
    apache.site(name)
    apache.start()
    refused(tlsup, ca, apache, "enable", name, *words, says=re.escape(words[-1]))


@needs_option("--apache-ctl")
def test_apache_conf_of_another_layout(tlsup, ca, httpd, name):
    httpd.site(name)
    httpd.start()
    before = everything(httpd)
    enable(tlsup, ca, name, "--apache-ctl", "/usr/sbin/apache2", "--apache-conf", "/etc/httpd/conf/httpd.conf")
    assert_on(tlsup, ca, name, f"this is {name}")
    undo(tlsup, httpd, before, name)


@needs_option("--plan")
def test_plan(tlsup, ca, server, name):
    """What it would write is what it then writes, and until then nothing changes and nobody is asked."""
    server.site(name)
    server.start()
    before, asked = everything(server), len(ca.requests())
    result = enable(tlsup, ca, name, "--redirect", "--plan")
    assert_as_before(server, before)
    assert not [r for r in ca.requests()[asked:] if "order-plz" in r] and not (tlsup.state / "certs" / name).exists()
    assert not journals(tlsup) and not net.port_open(443) and net.http(name).status == 200
    added = {line[1:].strip() for line in result.out.splitlines() if re.match(r"\+(?!\+\+ )", line)}
    assert re.search(r"(?m)^@@ -\d", result.out) and [line for line in added if "443" in line], result
    program = {"nginx": "nginx", "apache": "apache2"}[server.kind]
    assert re.search(rf"{program}.*-t", result.text), f"the commands are told:\n{result}"
    enable(tlsup, ca, name, "--redirect")
    after = server.configuration()
    written = {line.strip() for path, entry in after.items() if entry[0] == stat.S_IFREG and entry != before[0].get(path)
               for line in set(entry[4].decode().splitlines()) - set((before[0].get(path) or [b""] * 5)[4].decode().splitlines())}
    missing = [line for line in written if line and line not in added and not re.search(r"[0-9a-f]{8,}|\.[A-Za-z0-9_-]{43}\"", line)]
    assert not missing, (missing, result)


@needs_option("--plan")
def test_plan_of_undo(tlsup, ca, server, name):
    server.site(name)
    server.start()
    enable(tlsup, ca, name)
    before = everything(server)
    result = tlsup.ok("undo", name, "--plan")
    assert_as_before(server, before)
    assert [line for line in result.out.splitlines() if re.match(r"-(?!-- )", line) and "443" in line], result
    assert net.leaf(name)[0] == tlsup.sha256(name)


@functools.lru_cache
def knows(command):
    return subprocess.run([client.program(), command, "--help"], capture_output=True).returncode == 0


@pytest.mark.skipif(not knows("sites"), reason="this build has no command sites")
def test_sites(tlsup, ca, server, new_name):
    """Every name with its owner on 80 and on 443, before and after."""
    one, two = new_name(), new_name()
    path = server.site(one, f"www.{one}")
    server.site(two)
    asleep = pathlib.Path(server.tree) / "sites-available" / f"asleep-{one}.conf"
    asleep.write_text(block(f"asleep.{one}", says("x")) if server.kind == "nginx" else
                      f"<VirtualHost *:80>\n    ServerName asleep.{one}\n</VirtualHost>\n")
    server.start()
    before = everything(server)
    for command in (["sites"], ["sites", "--json"]):
        result = tlsup.ok(*command)
        for each in (one, f"www.{one}", two, f"asleep.{one}", path.name):
            assert each in result.out, (each, result)
    json.loads(tlsup.ok("sites", "--json").out)
    enable(tlsup, ca, one)
    assert str(tlsup.live(one)) in tlsup.ok("sites", "--json").out
    undo(tlsup, server, before, one)


@pytest.mark.skipif(not knows("check"), reason="this build has no command check")
def test_check(tlsup, server, name):
    """Asks nobody, changes nothing, and finds what would keep it from working."""
    server.site(name)
    server.start()
    before = everything(server)
    good = tlsup("check", name)
    assert good.status in (0, 3) and name in good.text, good
    json.loads(tlsup("check", name, "--json").out)
    with held("0.0.0.0") as process:
        result = tlsup("check", name)
        assert result.status == 3 and re.search(r"443.*python3|python3.*443", re.sub(r"\s+", " ", result.text)) and str(process.pid) in result.text, result
    path, line = server.break_it()
    result = tlsup("check", name)
    assert result.status == 3 and path.name in result.text and str(line) in result.text, result
    assert everything(server)[0].keys() == before[0].keys()
