"""The main job on nginx: from a plain page on port 80 to a proven https one, without a missed request."""

import os
import pathlib
import re
import shutil
import ssl

import pytest

from enable_common import *  # noqa: F401,F403 - the tests that hold for both servers
from enable_common import enable
from harness import net


@pytest.fixture
def server(nginx):
    return nginx


def test_certificate_lines_of_another_site_are_left_alone(tlsup, ca, nginx, authority, new_name):
    mine, other = new_name(), new_name()
    cert, key = authority.server("other", [other])
    path = nginx.add_site(other, f"""server {{
    listen 443 ssl;
    listen [::]:443 ssl;
    server_name {other};
    ssl_certificate {cert};
    ssl_certificate_key {key};
    location / {{ return 200 "other over https"; }}
}}
""")
    nginx.site(mine)
    nginx.start()
    before, served = path.read_bytes(), net.leaf(other)[0]
    enable(tlsup, ca, mine)
    # It was the default server of 443 by its place alone: where ours comes first, it is told to stay that.
    assert path.read_bytes().replace(b" default_server", b"") == before
    assert net.leaf(other)[0] == served == net.leaf("stranger.test")[0]
    assert net.leaf(mine)[0] == tlsup.sha256(mine)
    tlsup.ok("undo", mine)
    assert path.read_bytes() == before


def test_a_server_that_owns_443_already_gets_only_the_certificate(tlsup, ca, nginx, authority, name):
    cert, key = authority.server("old", [name])
    nginx.add_site(name, f"""server {{
    listen 80;
    server_name {name};
    location / {{ return 200 "plain\\n"; }}
}}
server {{
    listen 443 ssl;
    server_name {name};
    ssl_certificate {cert};
    ssl_certificate_key {key};
    location / {{ return 200 "old owner of 443\\n"; }}
}}
""")
    nginx.start()
    enable(tlsup, ca, name)
    assert net.leaf(name)[0] == tlsup.sha256(name)
    assert "old owner of 443" in net.https(name, ca.roots).body
    assert "plain" in net.http(name).body


@pytest.mark.parametrize("obstacle", ["return 301 https://elsewhere.test/;", "auth_basic x; auth_basic_user_file /dev/null;", "deny all;",
                                      r"location ~ /\. { deny all; }", "location / { proxy_pass http://127.0.0.1:9; }", "return 444;",
                                      "rewrite ^ /index.html last;"])
def test_challenge_gets_through(tlsup, ca, nginx, name, obstacle):
    """Whatever the site does with its requests, the challenge is answered and the rest is as before."""
    nginx.site(name, extra=f"    {obstacle}")
    nginx.start()
    tlsup.ok("issue", name, *ca.arguments)


def test_only_ipv6_is_listened_on(tlsup, ca, nginx, dns, name, ipv6):
    pathlib.Path("/etc/nginx/sites-enabled/default").unlink()
    nginx.add_site(name, f'server {{ listen [::]:80 ipv6only=on; server_name {name}; location / {{ return 200 "six"; }} }}\n')
    nginx.start()
    dns.addresses(name, v4=["192.0.2.1"], v6=["::1"])
    enable(tlsup, ca, name)
    assert net.leaf(name, "::1")[0] == tlsup.sha256(name)


def test_a_block_without_listen(tlsup, ca, nginx, name):
    pathlib.Path("/etc/nginx/sites-enabled/default").unlink()
    nginx.add_site(name, f'server {{ server_name {name}; location / {{ return 200 "implicit"; }} }}\n')
    nginx.start()
    enable(tlsup, ca, name)
    assert "implicit" in net.https(name, ca.roots).body
    assert "implicit" in net.http(name).body


def test_all_on_one_line_with_quotes_and_comments(tlsup, ca, nginx, name):
    nginx.add_site(name, f'# server {{ fake }}\nserver{{listen 80;listen [::]:80;server_name "{name.upper()}";location /{{return 200 "}}{{ \\" #";}}}}')
    nginx.start()
    enable(tlsup, ca, name)
    assert net.http(name).body == '}{ " #'
    assert net.https(name, ca.roots).body == '}{ " #'


def test_http2_is_offered(tlsup, ca, nginx, name):
    nginx.site(name)
    nginx.start()
    enable(tlsup, ca, name)
    assert net.leaf(name, alpn=["h2", "http/1.1"])[2] == "h2"


def test_redirect_only_block_is_refused_with_the_reason(tlsup, ca, nginx, name):
    nginx.add_site(name, f"server {{ listen 80; server_name {name}; return 301 https://$host$request_uri; }}\n")
    nginx.start()
    before = nginx.configuration()
    result = tlsup("enable", name, *ca.arguments)
    assert result.status in (1, 2, 3), result
    assert name in result.err and re.search(r"redirect", result.err, re.I), result
    assert not net.port_open(443)
    from harness import snapshot

    assert not [l for l in snapshot.difference(before, nginx.configuration()) if "listen 443" in l]


def test_old_protocols_stay_off_and_new_ones_work(tlsup, ca, nginx, name):
    nginx.site(name)
    nginx.start()
    enable(tlsup, ca, name)
    for version, expected in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        assert net.leaf(name, minimum=version, maximum=version)[1] == expected
    with pytest.raises(OSError):
        net.leaf(name, minimum=ssl.TLSVersion.TLSv1_1, maximum=ssl.TLSVersion.TLSv1_1)


def test_no_new_warning(tlsup, ca, nginx, name):
    nginx.site(name)
    nginx.start()
    before = nginx.test().stderr.count("[warn]")
    enable(tlsup, ca, name)
    assert nginx.test().stderr.count("[warn]") == before


def test_wildcard_without_a_place_is_not_asked_for(tlsup, fake_ca, nginx, name):
    """Found out before the CA is asked, not with a certificate in hand that has nowhere to go."""
    nginx.site(f"other-{name}")
    nginx.start()
    result = tlsup("enable", f"*.{name}", "--challenge-hook", "/bin/true", "--no-dns-check", *fake_ca.arguments)
    assert result.status != 0 and f"*.{name}" in result.err and "→" in result.text, result
    assert not fake_ca.requests("order"), result
    assert not (tlsup.config / "certs.d" / f"_wildcard.{name}.conf").exists()


FORGETFUL_SYSTEMCTL = """#!/bin/sh
case "$*" in
"show -p MainPID --value nginx.service") cat /run/nginx.pid ;;
show*) echo 0 ;;
"reload nginx.service")
    echo reload >>/run/reloads
    [ "$(wc -l </run/reloads)" = 2 ] || kill -HUP "$(cat /run/nginx.pid)" ;;
esac
"""


def test_reload_that_was_forgotten(tlsup, fake_ca, server, new_name):
    """A server may drop what it is told while it is busy with an earlier reload: it is told once more, and nothing fails."""
    name, program, reloads = new_name(), pathlib.Path("/usr/local/sbin/systemctl"), pathlib.Path("/run/reloads")
    server.site(name)
    server.start()
    reloads.unlink(missing_ok=True)
    os.makedirs("/run/systemd/system", exist_ok=True)
    program.write_text(FORGETFUL_SYSTEMCTL)
    program.chmod(0o755)
    try:
        tlsup.ok("enable", name, "--no-timer", "--no-check", *fake_ca.arguments)
        assert net.leaf(name)[0] == tlsup.sha256(name)
        assert len(reloads.read_text().split()) == 3
    finally:
        program.unlink()
        shutil.rmtree("/run/systemd")
