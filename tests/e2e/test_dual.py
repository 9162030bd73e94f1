"""RSA and ECDSA side by side: one entry with two certificates, both served by nginx and Apache to those who can use them."""

import re
import ssl

import pytest

from harness import machine, net, pki, snapshot

BOTH = ["--key-type", "ecdsa-p256,rsa-2048"]
OTHER_WAY_ROUND = ["--key-type", "rsa-2048,ecdsa-p256"]
ONE = ["--key-type", "ecdsa-p256"]

# What visitors say who know one kind alone, in each version of TLS.
SIGNATURES = {"rsa": "RSA-PSS+SHA256:RSA-PSS+SHA384:RSA+SHA256", "ecdsa": "ECDSA+SHA256:ECDSA+SHA384"}
CIPHERS = {"rsa": "ECDHE-RSA-AES128-GCM-SHA256", "ecdsa": "ECDHE-ECDSA-AES128-GCM-SHA256"}
WAYS = {"TLS 1.3": ["-tls1_3"], "TLS 1.2": ["-tls1_2"]}


def shown_to(kind, name, way="TLS 1.3", address="127.0.0.1:443"):
    """SHA-256 of the leaf that such a visitor is shown; None when the server ends the handshake."""
    ciphers = ["-cipher", CIPHERS[kind]] if way == "TLS 1.2" else []
    pem = pki.openssl("s_client", "-connect", address, "-servername", name, "-sigalgs", SIGNATURES[kind], *WAYS[way], *ciphers,
                      stdin=b"", check=False)
    if b"BEGIN CERTIFICATE" not in pem:
        return None
    shown = pki.openssl("x509", "-noout", "-fingerprint", "-sha256", stdin=pem).decode()
    return shown.split("=", 1)[1].strip().replace(":", "").lower()


def held(tlsup, name):
    """{kind: SHA-256 of the leaf that is live}."""
    leaves = {}
    for path in tlsup.live(name).glob("cert*.pem"):
        kind = "rsa" if "rsaEncryption" in pki.openssl("x509", "-in", path, "-noout", "-text").decode() else "ecdsa"
        leaves[kind] = pki.sha256_of(path)
    return leaves


def assert_both_served(tlsup, name, *others, addresses=("127.0.0.1:443",)):
    leaves = held(tlsup, name)
    assert set(leaves) == {"rsa", "ecdsa"}, leaves
    for each in (name, *others):
        for address in addresses:
            for way in WAYS:
                assert {kind: shown_to(kind, each, way, address) for kind in leaves} == leaves, (each, way, address)


def assert_one_served(tlsup, name, kind="ecdsa"):
    assert shown_to(kind, name) == held(tlsup, name)[kind] == tlsup.sha256(name)
    assert shown_to("rsa" if kind == "ecdsa" else "ecdsa", name) is None


def enable(tlsup, ca, *words):
    return tlsup.ok("enable", *words, *ca.arguments)


def certificate_lines(server):
    """Every certificate line that the server reads now, wherever it stands."""
    lines = []
    for path, entry in server.configuration().items():
        text = machine.pathlib.Path(path).read_text(errors="replace") if machine.pathlib.Path(path).is_file() else ""
        lines += re.findall(r"^\s*(?:ssl_certificate|SSLCertificate)\w*\s.*live/.*$", text, re.M)
    return sorted(set(line.strip() for line in lines))


def test_both_are_served(tlsup, ca, server, name, ipv6):
    server.site(name, f"www.{name}")
    server.start()
    before = server.configuration()
    result = enable(tlsup, ca, name, f"www.{name}", *BOTH)
    assert "with ECDSA and RSA" in result.text, result
    assert_both_served(tlsup, name, f"www.{name}", addresses=("127.0.0.1:443", "[::1]:443"))
    assert f"this is {name}" in net.https(name, ca.roots).body
    assert server.test().returncode == 0
    assert len(certificate_lines(server)) == 4
    tlsup.ok("undo", name)
    assert not snapshot.difference(before, server.configuration())


def test_stock_server(tlsup, ca, server, name):
    server.start()
    before = server.configuration()
    enable(tlsup, ca, name, *BOTH)
    assert_both_served(tlsup, name)
    tlsup.ok("undo", name)
    assert not snapshot.difference(before, server.configuration())


def test_renewal_of_both(tlsup, ca, server, name):
    server.site(name)
    server.start()
    enable(tlsup, ca, name, *BOTH)
    first, before, master = held(tlsup, name), server.configuration(), server.master()
    with net.Visitor(name) as visitor:
        tlsup.ok("renew", name, "--force-renewal")
    assert not visitor.failures, visitor.failures
    assert server.master() == master
    second = held(tlsup, name)
    assert first["rsa"] != second["rsa"] and first["ecdsa"] != second["ecdsa"]
    assert_both_served(tlsup, name)
    assert not snapshot.difference(before, server.configuration())


@pytest.mark.parametrize("key_types", [BOTH, OTHER_WAY_ROUND], ids=["rsa second", "ecdsa second"])
@pytest.mark.parametrize("force", [[], ["--force-renewal"]], ids=["kept", "renewed"])
def test_from_one_to_two_and_back(tlsup, ca, server, name, key_types, force):
    neighbour = server.site(f"neighbour-{name}")
    path = server.site(name)
    server.start()
    untouched, before = neighbour.read_bytes(), server.configuration()
    alone = ["--key-type", key_types[1].split(",")[0]]
    kind = alone[1].split("-")[0]
    enable(tlsup, ca, name, *alone)
    one, text = server.configuration(), path.read_text()
    assert_one_served(tlsup, name, kind)
    enable(tlsup, ca, name, *key_types)
    two = server.configuration()
    assert_both_served(tlsup, name)
    assert len(certificate_lines(server)) == 4 and snapshot.difference(one, two)
    if server.kind == "nginx":  # in the site's own file: two lines came, and the mark's checksum is another
        added = [l for l in path.read_text().splitlines() if l not in text.splitlines() and "tlsup begin" not in l]
        assert sorted(re.sub(r"\s+/.*/", " ", l.strip()) for l in added) == [
            f"ssl_certificate fullchain-{'rsa' if kind == 'ecdsa' else 'ecdsa'}.pem;",
            f"ssl_certificate_key privkey-{'rsa' if kind == 'ecdsa' else 'ecdsa'}.pem;"], added
    orders = [r for r in ca.requests() if "order" in r]
    enable(tlsup, ca, name, *alone, *force)
    assert force or [r for r in ca.requests() if "order" in r] == orders, "the first of the two will do"
    assert not snapshot.difference(one, server.configuration())
    assert_one_served(tlsup, name, kind)
    tlsup.ok("renew", name, "--force-renewal")
    assert set(held(tlsup, name)) == {kind}
    assert not snapshot.difference(one, server.configuration())
    assert_one_served(tlsup, name, kind)
    assert neighbour.read_bytes() == untouched
    tlsup.ok("undo", name)
    assert not snapshot.difference(before, server.configuration())


def test_the_second_becomes_the_first(tlsup, ca, server, name):
    """The second pair's files have other names then: at no time may the server need one that is not there."""
    server.site(name)
    server.start()
    before = server.configuration()
    enable(tlsup, ca, name, *BOTH)
    enable(tlsup, ca, name, *OTHER_WAY_ROUND, "--force-renewal")
    assert sorted(p.name for p in tlsup.live(name).glob("fullchain*")) == ["fullchain-ecdsa.pem", "fullchain.pem"]
    assert_both_served(tlsup, name)
    assert server.test().returncode == 0
    tlsup.ok("undo", name)
    assert not snapshot.difference(before, server.configuration())


def test_no_moment_without_a_file(tlsup, ca, server, name):
    """Killed between two steps, the server must find what it reads: files come before their lines, and go after them."""
    server.site(name)
    server.start()
    enable(tlsup, ca, name, *ONE)
    for key_types, link_first in ((BOTH, True), (ONE, False)):
        enable(tlsup, ca, name, *key_types, "--force-renewal")
        journal = max((tlsup.state / "journal").iterdir(), key=lambda path: path.name)
        steps = [line for line in (journal / "log").read_text(errors="replace").splitlines() if " op " in line]
        assert [f"={tlsup.live(name)} " in step for step in steps] == [link_first, not link_first], steps


def test_enable_again_changes_nothing(tlsup, ca, server, name):
    server.site(name)
    server.start()
    enable(tlsup, ca, name, *BOTH)
    before, stored = server.configuration(), tlsup.held()
    enable(tlsup, ca, name, *BOTH)
    enable(tlsup, ca, name)  # the entry remembers that it has two
    assert not snapshot.difference(before, server.configuration())
    assert not snapshot.difference(stored, tlsup.held())


def test_issue_then_install(tlsup, ca, server, name):
    server.site(name)
    server.start()
    tlsup.ok("issue", name, *BOTH, *ca.arguments)
    tlsup.ok("install", name)
    assert_both_served(tlsup, name)


def secure_site(server, name, cert, key, extra=""):
    """A site on 443 of somebody's own making."""
    if server.kind == "apache":
        machine.run("/usr/sbin/a2enmod", "-q", "ssl")
        return server.add_site(name, f"""<VirtualHost *:80>
    ServerName {name}
    DocumentRoot /var/www/html
</VirtualHost>
<VirtualHost *:443>
    ServerName {name}
    DocumentRoot /var/www/html
    SSLEngine on
    SSLCertificateFile {cert}
    SSLCertificateKeyFile {key}
{extra}
</VirtualHost>
""")
    return server.add_site(name, f"""server {{
    listen 80;
    listen 443 ssl;
    server_name {name};
    root /var/www/html;
    ssl_certificate {cert};
    ssl_certificate_key {key};
{extra}
}}
""")


def test_somebody_elses_block(tlsup, ca, server, name, authority):
    """A block that has a certificate already: that changes, and nothing else."""
    cert, key = authority.server("somebody", [name])
    path = secure_site(server, name, cert, key)
    server.start()
    before = server.configuration()
    enable(tlsup, ca, name, *BOTH)
    assert_both_served(tlsup, name)
    text = path.read_text()
    assert text.count("/fullchain-rsa.pem") == text.count("/privkey-rsa.pem") == 1
    enable(tlsup, ca, name, *ONE)
    assert_one_served(tlsup, name)
    assert "-rsa.pem" not in path.read_text()
    enable(tlsup, ca, name, *BOTH)
    assert path.read_text() == text
    tlsup.ok("undo", name)
    assert not snapshot.difference(before, server.configuration())


def test_cipher_suites_that_shut_rsa_out(tlsup, ca, server, name, authority):
    """What a site's owner has restricted stays so: a word of warning, no failure."""
    cert, key = authority.server("strict", [name])
    suites = {"nginx": "    ssl_protocols TLSv1.2;\n    ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256;\n",
              "apache": "    SSLProtocol TLSv1.2\n    SSLCipherSuite ECDHE-ECDSA-AES128-GCM-SHA256\n"}
    secure_site(server, name, cert, key, suites[server.kind])
    server.start()
    result = enable(tlsup, ca, name, *BOTH)
    assert "refuses visitors who know RSA" in result.err and "with ECDSA and RSA" not in result.text, result
    assert net.leaf(name, maximum=ssl.TLSVersion.TLSv1_2)[0] == held(tlsup, name)["ecdsa"]


def test_a_block_changed_by_hand_is_not_overwritten(tlsup, ca, nginx, name):
    """It cannot serve the second certificate, nor lose it: the person decides."""
    path = nginx.site(name)
    nginx.start()
    for before, after in ((ONE, BOTH), (BOTH, ONE)):
        enable(tlsup, ca, name, *before)
        ours, served, version = path.read_text(), net.leaf(name)[0], tlsup.version(name)
        assert "ssl_session_timeout 1d;" in ours
        path.write_text(ours.replace("ssl_session_timeout 1d;", "ssl_session_timeout 2d;"))
        refused = tlsup("enable", name, *after, *ca.arguments)
        assert refused.status not in (0, None) and "changed by hand" in refused.err, refused
        assert path.read_text() == ours.replace("timeout 1d;", "timeout 2d;")
        assert tlsup.version(name) == version and net.leaf(name)[0] == served
        path.write_text(ours)


def test_one_proven_and_the_other_not_is_put_back(tlsup, ca, nginx, name):
    """Visitors who know RSA only are shown another's certificate, all others the new one."""
    path = nginx.site(name)
    nginx.start()
    enable(tlsup, ca, name, *BOTH)
    cert, key = "/etc/nginx/somebody.pem", "/etc/nginx/somebody.key"
    pki.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-subj", "/CN=somebody", "-days", "9")
    text = re.sub(r"(ssl_certificate) (\S+/fullchain-rsa.pem);", rf"\1 {cert}; # \2", path.read_text())
    path.write_text(re.sub(r"(ssl_certificate_key) \S+/privkey-rsa.pem;", rf"\1 {key};", text))
    nginx.control("reload")
    before, version, leaves = nginx.configuration(), tlsup.version(name), held(tlsup, name)
    failed = tlsup("renew", name, "--force-renewal")
    assert failed.status not in (0, None) and "to a visitor who knows no other than RSA" in failed.err, failed
    assert tlsup.version(name) == version and held(tlsup, name) == leaves
    assert not snapshot.difference(before, nginx.configuration())
    assert shown_to("ecdsa", name) == leaves["ecdsa"]
