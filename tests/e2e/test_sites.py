"""`sites`: what the web server serves and who owns each name, as the server itself has it; nothing is touched."""

import json
import os
import pathlib
import re

from harness import net, snapshot

NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def look(tlsup, *words, **options):
    """The JSON; exactly one server."""
    servers = parsed(tlsup.ok("sites", "--json", *words, **options))["servers"]
    assert len(servers) == 1, servers
    return servers[0]


def parsed(result):
    answer = json.loads(result.out)
    assert answer["version"] == 1 and answer["command"] == "sites"
    return answer


def site_of(server, *names):
    found = [s for s in server["sites"] if s["names"] == list(names)]
    assert len(found) == 1, server["sites"]
    return found[0]


def owners(server, name, scheme):
    entry = [n for n in server["names"] if n["name"] == name]
    assert len(entry) == 1, server["names"]
    return {o["address"]: (o["file"], o["line"], o["by_default"]) for o in entry[0][scheme]}


def kinds(server, name):
    return {p["kind"] for p in server["problems"] if p["name"] == name}


def test_what_is_there(tlsup, server, name):
    file = server.site(name, f"www.{name}")
    server.start()
    before, state = server.configuration(), os.listdir("/var/lib/tlsup")
    seen = look(tlsup)
    assert seen["kind"] == server.kind and seen["running"] and seen["pid"] == server.master()
    assert [seen[k]["ok"] for k in ("test", "read", "same_as_server")] == ["yes"] * 3
    site = site_of(seen, name, f"www.{name}")
    assert site["enabled"] and site["enable_command"] is None and not site["redirects_only"]
    assert site["root"] == f"/var/www/{name}" and site["certificate"] is None
    assert os.path.realpath(site["file"]) == str(file) and site["line"] == 1
    assert {(l["address"], l["port"], l["tls"]) for l in site["listens"]} >= {("*", 80, False)}
    for each in (name, f"www.{name}"):
        assert owners(seen, each, "http")["*"] == (site["file"], 1, False) and owners(seen, each, "https") == {}
    text = tlsup.ok("sites").out
    assert name in text and site["file"] in text and "PORT 443" in text and "\x1b" not in text
    assert not snapshot.difference(before, server.configuration()) and os.listdir("/var/lib/tlsup") == state


def test_the_certificate_is_known_as_ours(tlsup, ca, server, name):
    server.site(name)
    server.start()
    tlsup.ok("enable", name, *ca.arguments)
    seen = look(tlsup)
    assert name in [s["tlsup_certificate"] for s in seen["sites"]], seen
    assert not owners(seen, name, "https")["*"][2]
    assert f"tlsup's {name}" in tlsup.ok("sites").out


def test_stopped_server(tlsup, server, name):
    server.site(name)
    seen = look(tlsup, f"--{server.kind}")
    assert not seen["running"] and seen["pid"] is None and site_of(seen, name)
    assert "not running" in tlsup.ok("sites", f"--{server.kind}").out


def test_both_and_none_is_meant(tlsup, nginx, apache):
    answer = parsed(tlsup.ok("sites", "--json"))
    assert [s["kind"] for s in answer["servers"]] == ["nginx", "apache"]


def test_not_enabled(tlsup, server, name):
    path = server.site(name)
    link = pathlib.Path(server.tree, "sites-enabled", path.name)
    link.unlink()
    server.start()
    seen = look(tlsup)
    site = site_of(seen, name)
    assert not site["enabled"] and os.path.realpath(site["file"]) == str(path)
    assert [p for p in seen["problems"] if p["kind"] == "disabled" and p["file"] == site["file"]]
    assert "a2ensite" in site["enable_command"] or "ln -s" in site["enable_command"]
    assert name not in [n["name"] for n in seen["names"]]
    assert site["enable_command"] in tlsup.ok("sites").out


def test_two_sites_of_one_name(tlsup, server, name):
    first, second = server.site(f"a-{name}", name), server.site(f"b-{name}", name)
    server.start()
    seen = look(tlsup)
    assert kinds(seen, name) == {"duplicate-name"}
    winner = owners(seen, name, "http")["*"][0]
    assert os.path.realpath(winner) == str(first) and f"a-{name}" in net.http(name).body
    loser = [p for p in seen["problems"] if p["name"] == name][0]
    assert os.path.realpath(loser["file"]) == str(second)
    assert not kinds(seen, f"a-{name}")


def test_https_of_another_site(tlsup, nginx, authority, new_name):
    mine, other, redirected = new_name(), new_name(), new_name()
    cert, key = authority.server("other", [other])
    nginx.add_site("sites", f"""server {{ listen 80; server_name {mine}; root /var/www; }}
server {{ listen 443 ssl; server_name {other}; ssl_certificate {cert}; ssl_certificate_key {key}; }}
server {{ listen 80; server_name {redirected}; return 301 https://$host$request_uri; }}
""")
    nginx.start()
    seen = look(tlsup)
    assert "https-elsewhere" in kinds(seen, mine) and "https-elsewhere" in kinds(seen, redirected)
    file, line, by_default = owners(seen, mine, "https")["*"]
    assert (line, by_default) == (2, True)
    assert site_of(seen, redirected)["redirects_only"]


def test_redirect_to_nothing_and_half_a_site(tlsup, nginx, new_name, ipv6):
    redirected, half = new_name(), new_name()
    nginx.add_site("sites", f"""server {{ listen 80; listen [::]:80; server_name {redirected}; return 301 https://$host$request_uri; }}
server {{ listen 80; server_name {half}; root /var/www; }}
""")
    nginx.start()
    seen = look(tlsup)
    assert kinds(seen, redirected) == {"redirect-to-nothing"} and kinds(seen, half) == {"one-family-elsewhere"}
    assert owners(seen, half, "http")["[::]"][2] and not owners(seen, half, "http")["*"][2]


def test_broken_configuration(tlsup, server):
    server.start()
    server.break_it()
    seen = look(tlsup)
    assert seen["test"]["ok"] == "no" and seen["test"]["text"]
    assert seen["test"]["text"].splitlines()[0].split(":")[0] in tlsup.ok("sites").out


def test_a_file_that_cannot_be_read(tlsup, nginx, name):
    nginx.start()
    nginx.add_site(name, "server { listen 80; server_name x;")
    seen = look(tlsup)
    assert seen["read"]["ok"] == "no" and name in seen["read"]["text"] and seen["sites"] == []
    assert name in tlsup.ok("sites").out


def test_as_a_user(tlsup, server, name):
    server.site(name)
    server.start()
    seen = look(tlsup, prefix=NOBODY)
    assert seen["running"] and seen["test"]["ok"] == "unknown" and site_of(seen, name)
    assert "needs root" in tlsup.ok("sites", prefix=NOBODY).out


def test_on_a_terminal(tlsup, nginx, name):
    nginx.site(name, *[f"alias-number-{i}.{name}" for i in range(30)])
    nginx.start()
    for columns in (40, 80, 200):
        status, text = tlsup.on_terminal("sites", columns=columns)
        plain = [without_colours(l) for l in text.splitlines()]
        assert status == 0 and max(len(l) for l in plain if "/" not in l) <= columns, text
    _, text = tlsup.on_terminal("sites", env={"NO_COLOR": "1"})
    assert "\x1b[1m" not in text and "\x1b[3" not in text


def without_colours(line):
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]|\r", "", line)


def test_ten_thousand_sites(tlsup, nginx):
    """No loop over all sites for each of them: that would take minutes."""
    count = 10000
    nginx.add_site("many", "".join(f"server {{ listen 80; server_name s{i}.test www.s{i}.test; root /var/www; }}\n" for i in range(count))
                   + "server { listen 443; server_name ~^re; return 444; }\n")
    seen = look(tlsup, "--nginx", prefix=NOBODY, timeout=60)
    assert len(seen["names"]) == 2 * count
    assert owners(seen, "www.s77.test", "http")["*"][1] == 78
