"""`import`: stores that other clients really made are taken over without a new order, and renewed from then on as they were."""

import base64
import functools
import http.server
import json
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import threading

import pytest

from conftest import KEPT, PORTS
from harness import machine, net, others, pebble, pki, snapshot
from harness.client import built_with, check_store

URL = "https://ca.import.test/directory"  # where no CA is asked


# -- stores made by the clients, once ---------------------------------------------------------------------------


class Files:
    """A web server for one directory, while a client without one needs it."""

    def __init__(self, root):
        handler = functools.partial(type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None}), directory=str(root))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 80), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


UACME_HOOK = """#!/bin/sh
[ "$2" = http-01 ] || exit 1
dir={root}/.well-known/acme-challenge
mkdir -p $dir
case $1 in begin) printf %s "$5" >$dir/$4 ;; *) rm -f $dir/$4 ;; esac
"""


class Stores:
    def __init__(self, ca, top):
        self.ca, self.top = ca, top
        self.root, self.answers = top / "www", top / "answers"
        for path in (self.root, self.answers):
            path.mkdir(parents=True)

    def certbot(self, store):
        others.certbot(self.ca, store, "certonly", "--standalone", "-d", "cb1.test,www.cb1.test", "--key-type", "rsa", "--rsa-key-size", "3072",
                       "--reuse-key", "--deploy-hook", f'echo "$RENEWED_LINEAGE" "$RENEWED_DOMAINS" >>{self.top}/deployed')
        with Files(self.root):
            others.certbot(self.ca, store, "certonly", "--webroot", "-w", self.root, "-d", "cb2.test")

    def lego(self, store):
        with Files(self.root):
            others.lego(self.ca, store, "--domains", "lego1.test", "--http", "--http.webroot", self.root, "run")

    def dehydrated(self, store):
        (self.answers / ".well-known").mkdir()
        (self.answers / ".well-known/acme-challenge").symlink_to(self.top / "tokens")
        (self.top / "tokens").mkdir()
        with Files(self.answers):
            others.dehydrated(self.ca, store, f'WELLKNOWN="{self.top}/tokens"\nKEYSIZE=2048\n', "# mine\nDh1.test > other\n")

    def uacme(self, store):
        hook = self.top / "uacme-hook"
        hook.write_text(UACME_HOOK.format(root=self.root))
        hook.chmod(0o755)
        with Files(self.root):
            others.uacme(self.ca, store, "-h", hook, "-t", "EC", "issue", "ua1.test")


@pytest.fixture(scope="session")
def made(dns, work, authority):
    """made("certbot"): a store of that client's, and what there is to know about it."""
    programs = pebble.programs()  # the packaged one: clients of its time do not understand what later ones offer
    port, version = next(PORTS), next(iter(programs))
    ca = pebble.Pebble(version, programs[version], work / f"pebble-{port}", authority, port, nonce_reject=0)
    KEPT.append(ca)
    stores = Stores(ca, work / "import")

    @functools.cache
    def make(client):
        getattr(stores, client)(stores.top / client)
        return stores.top / client

    def get(client):
        try:
            return make(client)
        except machine.Unavailable as why:
            pytest.skip(str(why))

    get.stores, get.ca = stores, ca
    yield get
    ca.stop()
    KEPT.remove(ca)


@pytest.fixture
def known_ca(tlsup, made):
    """What an old client does not say stands in tlsup.conf."""
    tlsup.config.mkdir(parents=True, exist_ok=True)
    (tlsup.config / "tlsup.conf").write_text(f"server = {made.ca.url}\nca-bundle = {made.ca.bundle}\n")
    return made.ca


def account_urls(store):
    """All that look like one in the old client's files."""
    text = b"".join(p.read_bytes() for p in sorted(store.rglob("*.json")))
    return text.decode(errors="replace")


def settings(tlsup, name):
    lines = (tlsup.config / "certs.d" / f"{name}.conf").read_text().splitlines()
    return [tuple(w.strip() for w in l.split("=", 1)) for l in lines if "=" in l and not l.startswith("#")]


CERTIFICATES = {"certbot": {"cb1.test": ["cb1.test", "www.cb1.test"], "cb2.test": ["cb2.test"]}, "lego": {"lego1.test": ["lego1.test"]},
                "dehydrated": {"other": ["dh1.test"]}, "uacme": {"ua1.test": ["ua1.test"]}}


@pytest.mark.parametrize("client", CERTIFICATES)
def test_taken_over(tlsup, made, known_ca, client):
    store, names = made(client), CERTIFICATES[client]
    before, asked = snapshot.snapshot(store), len(known_ca.requests())
    told = tlsup.ok("import", "--from", client, store, "-n")
    assert not snapshot.difference(before, snapshot.snapshot(store)), "nothing of the old client's is changed"
    assert len(known_ca.requests()) == asked, "no CA is asked"
    for name, inside in names.items():
        assert name in told.out
        check_store(tlsup, name, inside)
        entry = tlsup.status_of(name)
        assert entry["state"] == "valid" and set(entry["names"]) == set(inside), entry
    assert "Nothing is due" in tlsup.ok("renew").out
    held = tlsup.held()
    again = tlsup.ok("import", "--from", client, store, "-n")
    assert not snapshot.difference(held, tlsup.held()) and again.out.count("here already") == len(names)


@pytest.mark.parametrize("client, name, answers", [("certbot", "cb1.test", None), ("certbot", "cb2.test", "root"), ("lego", "lego1.test", None),
                                                   ("dehydrated", "other", "answers"), ("uacme", "ua1.test", None)])
def test_renewed_as_before(tlsup, made, known_ca, client, name, answers):
    """By the same account, and the same way to answer challenges."""
    store = made(client)
    tlsup.ok("import", "--from", client, store, "-n")
    accounts = known_ca.requests().count("POST /sign-me-up")
    if answers:
        with Files(getattr(made.stores, answers)):
            tlsup.ok("renew", "--force-renewal", name)
    else:
        tlsup.ok("renew", "--force-renewal", name)
    check_store(tlsup, name, CERTIFICATES[client][name], known_ca.roots)
    state = json.loads((tlsup.state / "state" / f"{name}.json").read_text())
    if client == "uacme":  # which stores no URL: the CA is asked for it by the key
        assert known_ca.requests().count("POST /sign-me-up") == accounts + 1
    else:
        assert state["live"]["account"] in account_urls(store) and known_ca.requests().count("POST /sign-me-up") == accounts
    assert "Nothing is due" in tlsup.ok("renew").out


def test_certbot_settings(tlsup, made, known_ca):
    store, log = made("certbot"), made.stores.top / "deployed"
    log.unlink(missing_ok=True)
    tlsup.ok("import", "--from", "certbot", store, "-n")
    first, second = dict(settings(tlsup, "cb1.test")), dict(settings(tlsup, "cb2.test"))
    assert first["key-type"] == "rsa-3072" and first["reuse-key"] == "yes" and first["challenge"] == "standalone"
    assert second["webroot"] == str(made.stores.root)
    hook = pathlib.Path(first["deploy-hook"])
    assert hook.parent == tlsup.config / "hooks/imported" and stat.S_IMODE(hook.stat().st_mode) == 0o700
    assert not log.exists(), "nothing is deployed by the import itself"
    key = pki.public_half(tlsup.file("cb1.test", "privkey"))
    tlsup.ok("renew", "--force-renewal", "cb1.test")
    assert log.read_text().split() == [str(tlsup.live("cb1.test")), "cb1.test", "www.cb1.test"]
    assert pki.public_half(tlsup.file("cb1.test", "privkey")) == key


def test_plan(tlsup, made, known_ca):
    store = made("certbot")
    before = snapshot.snapshot(tlsup.config, tlsup.state)
    told = tlsup.ok("import", "--from", "certbot", store, "--plan")
    assert "would be taken over" in told.out and "Nothing was changed" in told.out
    told = tlsup.ok("import", "--from", "certbot", store, "--plan", "--json").json()
    assert told["plan"] and {c["name"]: c["result"] for c in told["certificates"]} == {"cb1.test": "imported", "cb2.test": "imported"}
    assert not snapshot.difference(before, snapshot.snapshot(tlsup.config, tlsup.state))


def test_renewed_by_the_old_client_since(tlsup, made, known_ca, issuer, tmp_path):
    """As long as both are there, the newer certificate counts."""
    store = tmp_path / "letsencrypt"
    shutil.copytree(made("certbot"), store, symlinks=True)
    tlsup.ok("import", "--from", "certbot", store, "-n")
    for part in ("cert", "chain", "fullchain", "privkey"):  # what a renewal leaves
        link = store / f"live/cb2.test/{part}.pem"
        link.unlink()
        link.symlink_to(f"../../archive/cb2.test/{part}2.pem")
    cert, key = issuer.server("second", ["cb2.test"], days_ago=0)
    shutil.copy(cert, store / "archive/cb2.test/fullchain2.pem")
    shutil.copy(key, store / "archive/cb2.test/privkey2.pem")
    told = tlsup.ok("import", "--from", "certbot", store, "-n")
    assert "cb2.test: newer certificate taken over" in told.out and tlsup.version("cb2.test") == 2
    assert tlsup.sha256("cb2.test") == pki.sha256_of(cert)


def test_an_account_of_our_own_stays(tlsup, made, known_ca):
    tlsup.ok("issue", "ours.test", "--standalone", *known_ca.arguments)
    ours = tlsup.ok("account", "show", "--json").json()["account"]
    tlsup.ok("import", "--from", "certbot", made("certbot"), "-n")
    assert tlsup.ok("account", "show", "--json").json()["account"] == ours
    assert dict(settings(tlsup, "cb1.test"))["account"] == "certbot"
    tlsup.ok("renew", "--force-renewal", "cb1.test")
    state = json.loads((tlsup.state / "state/cb1.test.json").read_text())
    assert state["live"]["account"] in account_urls(made("certbot")) and state["live"]["account"] != ours


# -- odd and hostile stores, made by hand -------------------------------------------------------------------------


@pytest.fixture
def issuer(tmp_path):
    return pki.Authority(tmp_path / "issuer")


def lineage(store, issuer, name, names=None, **params):
    """A certificate as certbot keeps it."""
    cert, key = issuer.server(name, names or [name])
    archive, live = store / "archive" / name, store / "live" / name
    for path in (archive, live, store / "renewal"):
        path.mkdir(parents=True, exist_ok=True)
    for part, source in (("fullchain", cert), ("cert", cert), ("privkey", key)):
        shutil.copy(source, archive / f"{part}1.pem")
        (live / f"{part}.pem").symlink_to(f"../../archive/{name}/{part}1.pem")
    conf = store / "renewal" / f"{name}.conf"
    lines = {"server": URL, "authenticator": "standalone", **params}
    conf.write_text("version = 2.1.0\n[renewalparams]\n" + "".join(f"{k} = {v}\n" for k, v in lines.items()))
    return conf


def result_of(told):
    return {c["name"]: c for c in told.json()["certificates"]}


def test_a_certificate_of_ours_is_kept(tlsup, made, known_ca, issuer, tmp_path):
    tlsup.ok("issue", "n.import.test", "--standalone", *known_ca.arguments)
    held = tlsup.held()
    lineage(tmp_path / "le", issuer, "n.import.test")
    told = tlsup.ok("import", "--from", "certbot", tmp_path / "le", "--json")
    assert result_of(told)["n.import.test"]["result"] == "left"
    assert not snapshot.difference(held, tlsup.held())


def test_one_bad_certificate_does_not_hold_up_the_others(tlsup, issuer, tmp_path):
    store = tmp_path / "le"
    for name in ("good", "otherkey", "nokey", "garbage", "huge", "fifo", "dns", "nobody", "off"):
        lineage(store, issuer, f"{name}.test")
    shutil.copy(issuer.server("x.test", ["x.test"])[1], store / "archive/otherkey.test/privkey1.pem")
    (store / "archive/nokey.test/privkey1.pem").unlink()
    (store / "archive/garbage.test/fullchain1.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\n\x00\x1b[2J\n")
    (store / "archive/huge.test/fullchain1.pem").write_bytes(b"x" * 5_000_000)
    (store / "archive/fifo.test/privkey1.pem").unlink()
    os.mkfifo(store / "archive/fifo.test/privkey1.pem")
    for name, text in (("dns", "authenticator = dns-cloudflare\n"), ("nobody", ""), ("off", "authenticator = standalone\nautorenew = False\n")):
        (store / f"renewal/{name}.test.conf").write_text(f"[renewalparams]\nserver = {URL}\n{text}")
    os.makedirs(os.fsencode(store / "live") + b"/\xff\xfe")
    (store / os.fsdecode(b"renewal/\xff\xfe.conf")).write_text("[renewalparams]\n")
    (store / "renewal/binary.test.conf").write_bytes(bytes(range(256)) * 50)
    told = tlsup("import", "--from", "certbot", store, "--json")
    assert told.status == 3 and "not taken over" in told.err, told
    results = result_of(told)
    assert [n for n, c in results.items() if c["result"] == "imported"] == ["good.test"]
    assert "dns-cloudflare" in results["dns.test"]["error"]["text"] and "acme.sh" in results["dns.test"]["error"]["advice"]
    assert "key" in results["otherkey.test"]["error"]["text"]
    assert all(c["error"]["text"] for n, c in results.items() if n != "good.test")
    assert "\x1b" not in told.text
    assert [e["name"] for e in tlsup.ok("status", "--json").json()["certificates"]] == ["good.test"]


def test_expired_ones_are_left(tlsup, issuer, tmp_path):
    store = tmp_path / "le"
    lineage(store, issuer, "old.test")
    cert, key = issuer.server("old.test", ["old.test"], days_ago=90, days_left=-1)
    shutil.copy(cert, store / "archive/old.test/fullchain1.pem")
    shutil.copy(key, store / "archive/old.test/privkey1.pem")
    told = tlsup.ok("import", "--from", "certbot", store, "--json")
    left = result_of(told)["old.test"]
    assert left["result"] == "left" and "expired" in left["error"]["text"] and not left["needs_attention"]


def test_what_others_can_write_is_not_run_as_root(tlsup, issuer, tmp_path):
    store = tmp_path / "le"
    for name in ("mode.test", "owner.test"):
        lineage(store, issuer, name, renew_hook="touch /run/e2e/owned")
    (store / "renewal/mode.test.conf").chmod(0o666)
    os.chown(store / "renewal/owner.test.conf", 4242, 0)
    lineage(store, issuer, "manual.test", authenticator="manual", manual_auth_hook="touch /run/e2e/owned").chmod(0o666)
    (store / "renewal-hooks/deploy").mkdir(parents=True)
    program = store / "renewal-hooks/deploy/all"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o777)
    told = tlsup("import", "--from", "certbot", store, "--json")
    results = result_of(told)
    for name in ("mode.test", "owner.test"):
        assert results[name]["result"] == "imported" and not results[name]["deploy_hooks"]
        assert any("others than root" in note for note in results[name]["notes"]), results[name]
    assert results["manual.test"]["result"] == "left" and told.status == 3
    assert not told.json()["hooks"] and any(str(program) in note for note in told.json()["notes"])
    assert not list(tlsup.config.rglob("hooks/*/*"))


def test_hooks_of_all_certificates(tlsup, issuer, tmp_path):
    store = tmp_path / "le"
    lineage(store, issuer, "one.test", pre_hook='"systemctl stop haproxy, please"', post_hook="systemctl start haproxy")
    for when in ("pre", "deploy"):
        path = store / f"renewal-hooks/{when}/50-{when}"
        path.parent.mkdir(parents=True)
        path.write_text(f"#!/bin/sh\ncp {store}/live/one.test/fullchain.pem /x\n")
        path.chmod(0o755)
    (store / "renewal-hooks/deploy/backup~").write_text("")
    told = tlsup.ok("import", "--from", "certbot", store, "--json")
    copies = [tlsup.config / "hooks/pre/50-pre", tlsup.config / "hooks/deploy/50-deploy"]
    assert told.json()["hooks"] == [str(p) for p in copies]
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o700 for p in copies)
    assert any("RENEWED_LINEAGE" in note for note in told.json()["notes"]), "the old files that it reads are renewed no more"
    pre = pathlib.Path(result_of(told)["one.test"]["pre_hooks"][0])
    assert pre.read_text() == "#!/bin/sh\nsystemctl stop haproxy, please\n"


def test_a_changed_hook_is_kept(tlsup, issuer, tmp_path):
    lineage(tmp_path / "le", issuer, "one.test", renew_hook="true")
    told = tlsup.ok("import", "--from", "certbot", tmp_path / "le", "--json")
    path = pathlib.Path(result_of(told)["one.test"]["deploy_hooks"][0])
    path.write_text("#!/bin/sh\n# mine\n")
    (tlsup.config / "certs.d/one.test.conf").unlink()
    told = tlsup.ok("import", "--from", "certbot", tmp_path / "le", "--json")
    assert tlsup.version("one.test") == 1 and path.read_text() == "#!/bin/sh\n# mine\n" and any(str(path) in n for n in result_of(told)["one.test"]["notes"])


def test_former_versions(tlsup, issuer, tmp_path):
    """As many as tlsup keeps; one that is damaged is no loss."""
    store = tmp_path / "le"
    lineage(store, issuer, "one.test")
    archive = store / "archive/one.test"
    for number in range(2, 9):
        cert, key = issuer.server("one.test", ["one.test"])
        shutil.copy(cert, archive / f"fullchain{number}.pem")
        shutil.copy(key, archive / f"privkey{number}.pem")
    (archive / "privkey6.pem").write_text("no key\n")
    for part in ("fullchain", "privkey"):
        (store / f"live/one.test/{part}.pem").unlink()
        (store / f"live/one.test/{part}.pem").symlink_to(f"../../archive/one.test/{part}8.pem")
    tlsup.ok("import", "--from", "certbot", store, "-n")
    assert sorted(os.listdir(tlsup.state / "certs/one.test")) == ["0001", "0002", "0003", "0004"] and tlsup.version("one.test") == 4
    assert tlsup.sha256("one.test") == pki.sha256_of(archive / "fullchain8.pem")


def test_where_nothing_can_be_written(tlsup, issuer, tmp_path):
    """Without its hook a certificate is not taken; nothing half is left of it."""
    lineage(tmp_path / "le", issuer, "hook.test", renew_hook="true")
    lineage(tmp_path / "le", issuer, "plain.test")
    tlsup.config.mkdir(parents=True, exist_ok=True)
    (tlsup.config / "hooks").write_text("in the way")
    told = tlsup("import", "--from", "certbot", tmp_path / "le", "--json")
    results = result_of(told)
    assert told.status == 3 and results["plain.test"]["result"] == "imported"
    assert results["hook.test"]["result"] == "left" and "hooks" in results["hook.test"]["error"]["text"]
    assert not (tlsup.state / "certs/hook.test").exists() and not tlsup.live("hook.test").exists()
    (tlsup.config / "hooks").unlink()
    assert result_of(tlsup.ok("import", "--from", "certbot", tmp_path / "le", "--json"))["hook.test"]["result"] == "imported"


def test_rfc2136(tlsup, issuer, tmp_path):
    credentials = tmp_path / "rfc2136.ini"
    credentials.write_text("dns_rfc2136_server = 192.0.2.53\ndns_rfc2136_port = 5353\ndns_rfc2136_name = acme.\n"
                           "dns_rfc2136_secret = c2VjcmV0\ndns_rfc2136_algorithm = HMAC-SHA512\n")
    lineage(tmp_path / "le", issuer, "wild.test", ["wild.test", "*.wild.test"], authenticator="dns-rfc2136",
            dns_rfc2136_credentials=credentials)
    tlsup.ok("import", "--from", "certbot", tmp_path / "le", "-n")
    have = dict(settings(tlsup, "wild.test"))
    assert have["dns-update-server"] == "192.0.2.53:5353"
    key = pathlib.Path(have["dns-update-key"])
    assert stat.S_IMODE(key.stat().st_mode) == 0o600 and "hmac-sha512" in key.read_text() and "c2VjcmV0" in key.read_text()


# -- acme.sh: a store that follows its format ----------------------------------------------------------------------


def packed(line):
    return "__ACME_BASE64__START_" + base64.b64encode(line.encode()).decode() + "__ACME_BASE64__END_"


def acme_sh(home, issuer, domain, ecc=True, key=None, **values):
    directory = home / (domain + ("_ecc" if ecc else ""))
    directory.mkdir(parents=True)
    cert, private = issuer.server(domain, [domain, *[n for n in values.get("Le_Alt", "no").split(",") if n != "no"]])
    shutil.copy(cert, directory / "fullchain.cer")
    shutil.copy(cert, directory / f"{domain}.cer")
    shutil.copy(private, directory / f"{domain}.key")
    lines = {"Le_Domain": domain, "Le_Alt": "no", "Le_Webroot": "no", "Le_API": URL, "Le_Keylength": "ec-256", **values}
    (directory / f"{domain}.conf").write_text("".join(f"{k}='{v}'\n" for k, v in lines.items()))
    account = home / "ca/ca.import.test/directory"
    if not account.exists():
        account.mkdir(parents=True)
        machine.run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", account / "account.key")
        (account / "ca.conf").write_text("CA_KEY_HASH='x'\nACCOUNT_URL='https://ca.import.test/acct/7'\nCA_EMAIL='me@import.test'\n")
        (home / "account.conf").write_text("ACCOUNT_EMAIL='old@import.test'\nSAVED_XX_Token='it'\\''s secret'\n")
    return directory


def test_acme_sh(tlsup, issuer, tmp_path):
    home, copy = tmp_path / "home", tmp_path / "haproxy.pem"
    store = home / ".acme.sh"
    copy.write_text("old")
    copy.chmod(0o640)
    os.chown(copy, 0, 4)
    acme_sh(store, issuer, "a1.test", Le_Alt="www.a1.test", Le_Webroot="/var/www/html", Le_ForceNewDomainKey="1", Le_ReloadCmd=packed("echo a 'b' >/x"),
            Le_RealKeyPath=copy, Le_RealFullChainPath=copy, Le_RealCACertPath="/etc/ssl/a1-ca.pem", Le_DeployHook="cpanel,")
    acme_sh(store, issuer, "a2.test", Le_Webroot="dns_xx")
    acme_sh(store, issuer, "a3.test", Le_Webroot="dns")
    acme_sh(store, issuer, "a3.test", ecc=False)
    (store / "dnsapi").mkdir()
    (store / "dnsapi/dns_xx.sh").write_text("dns_xx_add() { :; }\ndns_xx_rm() { :; }\n")
    before = snapshot.snapshot(store)
    told = tlsup("import", "--from", "acme.sh", "--json", env={"HOME": str(home)})
    assert told.json()["directory"] == str(store), "found in the home directory"
    assert not snapshot.difference(before, snapshot.snapshot(store))
    results = result_of(told)
    assert {n: c["result"] for n, c in results.items()} == {"a1.test": "imported", "a2.test": "imported", "a3.test": "imported", "a3.test_ecc": "left"}
    assert told.status == 3 and "by hand" in results["a3.test_ecc"]["error"]["text"]
    one = settings(tlsup, "a1.test")
    assert ("webroot", "/var/www/html") in one and ("reuse-key", "yes") not in one
    assert ("export", f"combined {copy} owner=root:adm mode=0640") in one, one
    assert any(k == "export" and v.startswith("chain /etc/ssl/a1-ca.pem") for k, v in one)
    assert pathlib.Path(dict(one)["deploy-hook"]).read_text() == "#!/bin/sh\necho a 'b' >/x\n"
    assert any("cpanel" in note for note in results["a1.test"]["notes"])
    two = dict(settings(tlsup, "a2.test"))
    assert two["hook-contract"] == "acme.sh" and two["reuse-key"] == "yes" and two["challenge-hook"].endswith("/dns_xx.sh")
    assert pathlib.Path(two["hook-env"]).read_text() == "XX_Token=it's secret\n" and stat.S_IMODE(os.stat(two["hook-env"]).st_mode) == 0o600
    accounts = tlsup.ok("account", "list", "--json").json()["accounts"]
    assert [(a["account"], a["email"]) for a in accounts] == [("https://ca.import.test/acct/7", "me@import.test")]


def test_acme_sh_of_a_user(tlsup, issuer, tmp_path):
    """Root takes the certificate, but neither commands nor places to write to."""
    directory = acme_sh(tmp_path / "acme", issuer, "u.test", Le_ReloadCmd="touch /run/e2e/owned", Le_RealKeyPath="/etc/shadow")
    os.chown(directory / "u.test.conf", 4242, 4242)
    told = tlsup.ok("import", "--from", "acme.sh", tmp_path / "acme", "--json")
    result = result_of(told)["u.test"]
    assert result["result"] == "imported" and not result["exports"] and not result["deploy_hooks"] and result["notes"]


def test_a_link_of_a_users_is_not_trusted_for_where_it_leads(tlsup, issuer, tmp_path):
    """He could have let it lead to a file of his while that was read, and to root's while it was looked at."""
    directory = acme_sh(tmp_path / "acme", issuer, "u.test", Le_ReloadCmd="touch /run/e2e/owned")
    conf, kept = directory / "u.test.conf", tmp_path / "of-root.conf"
    conf.rename(kept)
    conf.symlink_to(kept)
    result = result_of(tlsup.ok("import", "--from", "acme.sh", tmp_path / "acme", "--plan", "--json"))["u.test"]
    assert result["deploy_hooks"], "root's own link is as good as root's file"
    os.chown(conf, 4242, 4242, follow_symlinks=False)
    result = result_of(tlsup.ok("import", "--from", "acme.sh", tmp_path / "acme", "--json"))["u.test"]
    assert result["result"] == "imported" and not result["deploy_hooks"] and any("others than root" in n for n in result["notes"]), result


def test_a_user_cannot_replace_what_is_held(tlsup, issuer, tmp_path):
    """A newer certificate under a name that is here, in files that are not root's, is anybody's."""
    lineage(tmp_path / "le", issuer, "held.test")
    tlsup.ok("import", "--from", "certbot", tmp_path / "le")
    before = check_store(tlsup, "held.test", ["held.test"])
    live = os.readlink(tlsup.state / "live/held.test")
    store = tmp_path / "theirs"
    lineage(store, issuer, "held.test")
    cert, key = issuer.server("held.test", ["held.test"], days_ago=0, days_left=80)
    shutil.copy(cert, store / "archive/held.test/fullchain1.pem")
    shutil.copy(key, store / "archive/held.test/privkey1.pem")
    for path in [store, *store.rglob("*")]:
        os.chown(path, 4242, 4242, follow_symlinks=False)
    told = tlsup("import", "--from", "certbot", store, "--json")
    result = result_of(told)["held.test"]
    assert result["result"] == "left" and "others than root" in result["error"]["text"] and result["error"]["advice"], result
    assert os.readlink(tlsup.state / "live/held.test") == live
    for path in [store, *store.rglob("*")]:
        os.chown(path, 0, 0, follow_symlinks=False)
    assert result_of(tlsup.ok("import", "--from", "certbot", store, "--json"))["held.test"]["result"] == "updated"


def test_control_characters_are_not_shown(tlsup, issuer, tmp_path):
    acme_sh(tmp_path / "acme", issuer, "esc.test", Le_Webroot="/srv/\033]0;owned\007\033[2Jx")
    told = tlsup("import", "--from", "acme.sh", tmp_path / "acme", "--plan")
    assert "\033" not in told.text and "/srv/?]0;owned" in told.text, told


# -- the web server ------------------------------------------------------------------------------------------------


SITE = "site.import.test"


class Site:
    """A site that certbot has given https, as it was then."""

    def __init__(self, made, nginx):
        self.store, self.kept = made.stores.top / "site", made.stores.top / "site-nginx"
        if not self.kept.exists():
            nginx.site(SITE, f"www.{SITE}")
            nginx.start()
            others.certbot(made.ca, self.store, "--nginx", "-d", f"{SITE},www.{SITE}", "--redirect")
            nginx.control("stop")
            shutil.copytree("/etc/nginx", self.kept, symlinks=True)
        else:
            nginx.site(SITE, f"www.{SITE}")
            shutil.copy(self.kept / "sites-available" / SITE, f"/etc/nginx/sites-available/{SITE}")
        machine.until(lambda: not net.port_open(443), "the former nginx does not go")
        nginx.start()
        self.path = pathlib.Path("/etc/nginx/sites-available") / SITE
        self.sha256 = pki.sha256_of(self.store / f"live/{SITE}/cert.pem")
        assert net.leaf(SITE)[0] == self.sha256


@pytest.fixture
def site(made, known_ca, nginx):
    if not pathlib.Path("/usr/lib/python3/dist-packages/certbot_nginx").exists():
        pytest.skip("certbot's nginx plugin is not installed (Debian package python3-certbot-nginx)")
    return Site(made, nginx)


def test_the_web_server_is_left_alone_unless_asked(tlsup, nginx, site):
    before = nginx.configuration()
    told = tlsup.ok("import", "--from", "certbot", site.store, "-n")
    assert not snapshot.difference(before, nginx.configuration())
    assert f"{site.store}/live/{SITE}/fullchain.pem" in told.out and "--switch-web-server" in told.out
    assert "Nothing is due" in tlsup.ok("renew").out and not snapshot.difference(before, nginx.configuration())
    # a second import may do it
    told = tlsup.ok("import", "--from", "certbot", site.store, "--switch-web-server", "--json").json()
    assert told["certificates"][0]["switched"] == "nginx" and all(p["switched"] for p in told["web_server"])
    assert f"{tlsup.live(SITE)}/fullchain.pem" in site.path.read_text()


def test_switch(tlsup, known_ca, nginx, site):
    before, master = nginx.configuration(), nginx.master()
    plan = tlsup.ok("import", "--from", "certbot", site.store, "--switch-web-server", "--plan")
    assert f"+    ssl_certificate {tlsup.live(SITE)}/fullchain.pem;" in plan.out and not snapshot.difference(before, nginx.configuration()), plan
    told = tlsup.ok("import", "--from", "certbot", site.store, "--switch-web-server", "-n")
    assert nginx.master() == master and net.leaf(SITE)[0] == tlsup.sha256(SITE) == site.sha256
    text = site.path.read_text()
    assert f"{tlsup.live(SITE)}/fullchain.pem" in text and f"site/live/{SITE}" not in text
    assert "options-ssl-nginx.conf" in text and "keep that directory" in told.out, "other lines stay, and are named"
    assert tlsup.status_of(SITE)["state"] == "valid"
    tlsup.ok("renew", "--force-renewal", SITE)
    assert tlsup.version(SITE) == 2 and net.leaf(SITE)[0] == tlsup.sha256(SITE)
    assert net.http(SITE).status == 301 and f"this is {SITE}" in net.https(SITE, known_ca.roots).body
    tlsup.ok("undo", SITE)
    assert net.leaf(SITE)[0] == site.sha256
    assert not snapshot.difference(before, nginx.configuration())


def test_a_name_without_a_site_stops_the_switch(tlsup, issuer, nginx, name, tmp_path):
    """Nobody has asked for a site to be made up."""
    store = tmp_path / "le"
    lineage(store, issuer, name, [name, f"mail.{name}"])
    nginx.site(name, extra=f"listen 443 ssl; ssl_certificate {store}/live/{name}/fullchain.pem; ssl_certificate_key {store}/live/{name}/privkey.pem;")
    nginx.start()
    before = nginx.configuration()
    told = tlsup("import", "--from", "certbot", store, "--switch-web-server", "-n")
    assert told.status == 3 and f"mail.{name}" in told.out and f"tlsup install {name}" in told.out
    assert not snapshot.difference(before, nginx.configuration())


def test_switch_apache(tlsup, issuer, apache, name, tmp_path):
    store = tmp_path / "le"
    lineage(store, issuer, name, authenticator="webroot", webroot_path="/var/www/html,")
    live = store / "live" / name
    apache.site(name)
    apache.add_site("tls", f"<VirtualHost *:443>\n  ServerName {name}\n  DocumentRoot /var/www/{name}\n  SSLEngine on\n"
                           f"  SSLCertificateFile {live}/fullchain.pem\n  SSLCertificateKeyFile {live}/privkey.pem\n</VirtualHost>\n")
    machine.run("/usr/sbin/a2enmod", "ssl")
    apache.start()
    before = apache.configuration()
    tlsup.ok("import", "--from", "certbot", store, "--switch-web-server", "-n")
    assert str(tlsup.live(name)) in (pathlib.Path("/etc/apache2/sites-available/tls.conf")).read_text()
    assert net.leaf(name)[0] == tlsup.sha256(name)
    tlsup.ok("undo", name)
    assert not snapshot.difference(before, apache.configuration())


def three(server, store, issuer, name):
    """Three sites, each with a certificate of the old client's; their names."""
    names = [f"{word}.{name}" for word in ("a", "b", "c")]
    for each in names:
        live = store / "live" / each
        if server.kind == "nginx":
            lineage(store, issuer, each, authenticator="nginx")
            server.site(each, extra=f"listen 443 ssl; ssl_certificate {live}/fullchain.pem; ssl_certificate_key {live}/privkey.pem;")
        else:
            lineage(store, issuer, each, authenticator="apache")
            server.site(each)
            server.add_site(f"tls-{each}", f"<VirtualHost *:443>\n  ServerName {each}\n  DocumentRoot /var/www/{each}\n  SSLEngine on\n"
                            f"  SSLCertificateFile {live}/fullchain.pem\n  SSLCertificateKeyFile {live}/privkey.pem\n</VirtualHost>\n")
    if server.kind == "apache":
        machine.run("/usr/sbin/a2enmod", "ssl")
    server.start()
    return names


def switched(tlsup, server, names):
    """Of each: does the server read ours, and do we know it?"""
    text = "".join(p.read_text() for p in sorted(pathlib.Path(server.tree, "sites-available").iterdir()))
    reads = [f"{tlsup.live(each)}/" in text for each in names]
    assert reads == [dict(settings(tlsup, each)).get("install") == server.kind for each in names]
    return reads


@pytest.mark.parametrize("kind", ["nginx", "apache"])
def test_all_of_a_server_or_none(tlsup, issuer, request, name, tmp_path, kind):
    """What the server refuses of the third takes the others back as well, byte for byte; one reload switches them all."""
    server, store, wrapper = request.getfixturevalue(kind), tmp_path / "le", tmp_path / "server"
    names = three(server, store, issuer, name)
    before, words = server.configuration(), ("import", "--from", "certbot", store, "--switch-web-server", "-n")
    wrapper.write_text(f"""#!/bin/sh
case "$*" in *-t*) grep -rq {tlsup.live(names[2])}/ {server.tree} && {{ echo "[emerg] no third" >&2; exit 1; }};; esac
exec /usr/sbin/{'nginx' if kind == 'nginx' else 'apache2ctl'} "$@"
""")
    wrapper.chmod(0o755)
    tlsup.config.mkdir(parents=True, exist_ok=True)
    (tlsup.config / "tlsup.conf").write_text(f"{'nginx-bin' if kind == 'nginx' else 'apache-ctl'} = {wrapper}\n")
    plan = tlsup.ok(*words, "--plan")
    assert all(f"{tlsup.live(each)}/fullchain.pem" in plan.out for each in names) and not snapshot.difference(before, server.configuration())
    told = tlsup(*words, "--json")
    results = result_of(told)
    assert told.status == 3 and [results[each]["switched"] for each in names] == ["none"] * 3, told
    assert all(any("as before" in note and "no third" in note for note in results[each]["notes"]) for each in names), results
    assert not snapshot.difference(before, server.configuration()) and switched(tlsup, server, names) == [False] * 3
    (tlsup.config / "tlsup.conf").unlink()
    reloads = server.error_log().count("AH00493")
    tlsup.ok(*words)
    assert switched(tlsup, server, names) == [True] * 3 and [net.leaf(each)[0] for each in names] == [tlsup.sha256(each) for each in names]
    if kind == "apache":
        assert server.error_log().count("AH00493") == reloads + 1, "one reload for all"
    tlsup.ok("undo", names[1])
    assert switched(tlsup, server, names) == [True, False, True], "each can be taken back by itself"


@pytest.mark.skipif(not built_with("test-hooks"), reason="only in a build with --enable-test-hooks")
def test_killed_while_switching(tlsup, issuer, nginx, name, tmp_path):
    """At whatever step: the next run finds all of them switched, or puts all of them back."""
    names = three(nginx, tmp_path / "le", issuer, name)
    before, ends = nginx.configuration(), []
    for step in (30, 70, 90, 110, 130, 150, 170, 190, 210):
        result = tlsup("import", "--from", "certbot", tmp_path / "le", "--switch-web-server", "-n", env={"TLSUP_TEST_CRASH": str(step)})
        assert nginx.test().returncode == 0, (step, nginx.test().stderr)
        if result.status == 0:
            break
        assert result.status == -signal.SIGKILL, (step, result)
        tlsup.ok("renew")
        ends.append(switched(tlsup, nginx, names))
        assert all(ends[-1]) or not any(ends[-1]), (step, ends)
        if all(ends[-1]):
            break
        assert not snapshot.difference(before, nginx.configuration()), step
    assert [False] * 3 in ends, "it was killed on the way"
    assert switched(tlsup, nginx, names) == [True] * 3


# -- the old client's timer ----------------------------------------------------------------------------------------

CRONTAB = """#!/bin/sh
[ "$1" = -u ] && shift 2
case $1 in -l) cat /run/crontab ;; *) cat "$1" >/run/crontab ;; esac
"""
SYSTEMCTL = """#!/bin/sh
echo "$*" >>/run/systemctl.log
case "$1:$*" in
show:*certbot.timer) [ -e /run/certbot-off ] || printf 'LoadState=loaded\\nUnitFileState=enabled\\nActiveState=active\\n' ;;
show:*tlsup.timer) [ -e /run/tlsup-on ] && printf 'LoadState=loaded\\nUnitFileState=enabled\\nActiveState=active\\n' || printf 'LoadState=loaded\\nUnitFileState=disabled\\nActiveState=inactive\\n' ;;
disable:*certbot.timer) touch /run/certbot-off ;;
enable:*tlsup.timer) touch /run/tlsup-on ;;
esac
exit 0
"""


@pytest.fixture
def programs():
    made = []

    def make(name, text):
        path = pathlib.Path("/usr/local/sbin") / name
        path.write_text(text)
        path.chmod(0o755)
        made.append(path)

    def daemon():
        """A cron that runs, and waits."""
        make("cron", "#!/bin/sh\nread nothing\n")
        running.append(subprocess.Popen(["/usr/local/sbin/cron"], stdin=subprocess.PIPE))
        machine.until(lambda: pathlib.Path(f"/proc/{running[-1].pid}/comm").read_text() == "cron\n", "cron does not start")

    make.daemon, running = daemon, []
    yield make
    for process in running:
        process.communicate(b"\n")
    for path in made + [pathlib.Path("/run") / n for n in ("crontab", "systemctl.log", "certbot-off", "tlsup-on")]:
        path.unlink(missing_ok=True)
    shutil.rmtree("/run/systemd", ignore_errors=True)
    for path in pathlib.Path("/etc/systemd/system").glob("tlsup*"):
        path.unlink()


def test_cron(tlsup, issuer, programs, tmp_path):
    lineage(tmp_path / "le", issuer, "one.test")
    table = "MAILTO=certbot@import.test\n# certbot renew\n0 3 * * * /usr/bin/certbot -q renew\n5 5 * * * /usr/bin/allcertbots\n"
    pathlib.Path("/run/crontab").write_text(table)
    programs("crontab", CRONTAB)
    programs.daemon()
    file = pathlib.Path("/etc/cron.d/certbot")
    file.write_text("SHELL=/bin/sh\n0 */12 * * * root test -x /usr/bin/certbot && certbot -q renew\n")
    told = tlsup.ok("import", "--from", "certbot", tmp_path / "le", "-n")
    assert str(file) in told.out and "certbot -q renew" in told.out and "--disable-old-timer" in told.out
    assert file.exists() and pathlib.Path("/run/crontab").read_text() == table, "named, and left as they are"
    told = tlsup.ok("import", "--from", "certbot", tmp_path / "le", "--disable-old-timer", "--json").json()
    assert sorted(t["kind"] for t in told["old_timers"]) == ["cron-file", "crontab"] and all(t["disabled"] and t["undo"] for t in told["old_timers"])
    assert not file.exists() and pathlib.Path(f"{file}.disabled-by-tlsup").exists()
    lines = pathlib.Path("/run/crontab").read_text().splitlines()
    assert lines[2] == "#switched off by tlsup: 0 3 * * * /usr/bin/certbot -q renew" and [*lines[:2], lines[3]] == [*table.splitlines()[:2], table.splitlines()[3]]
    assert not tlsup.ok("import", "--from", "certbot", tmp_path / "le", "--json").json()["old_timers"]
    assert not list(tlsup.state.glob("crontab*"))


def test_other_work_goes_on(tlsup, issuer, programs, tmp_path):
    """What does more than run the old client is named, and left: backups of its files, a night's script."""
    lineage(tmp_path / "le", issuer, "one.test")
    table = "0 1 * * * tar czf /backup/certbot.tgz /opt/certbot\n0 2 * * * echo certbot\n0 3 * * * certbot renew\n"
    pathlib.Path("/run/crontab").write_text(table)
    programs("crontab", CRONTAB)
    programs.daemon()
    mixed = pathlib.Path("/etc/cron.d/site")
    mixed.write_text("SHELL=/bin/sh\n1 1 * * * root /usr/bin/certbot renew -q\n2 2 * * * root /usr/local/bin/backup\n")
    nightly = pathlib.Path("/etc/cron.daily/nightly")
    nightly.parent.mkdir(exist_ok=True)
    nightly.write_text("#!/bin/sh\n/usr/local/bin/backup\ncertbot renew -q\n")
    backup = pathlib.Path("/etc/cron.daily/backup")
    backup.write_text("#!/bin/sh\ntar czf /backup/x.tgz /opt/certbot\n")
    try:
        told = tlsup("import", "--from", "certbot", tmp_path / "le", "--disable-old-timer", "--json").json()
        assert mixed.exists() and nightly.exists() and backup.exists()
    finally:
        for path in (mixed, nightly, backup):
            for each in path.parent.glob(f"{path.name}*"):
                each.unlink()
    assert pathlib.Path("/run/crontab").read_text() == table.replace("0 3", "#switched off by tlsup: 0 3")
    off = {(t["kind"], t["where"]): t["disabled"] for t in told["old_timers"]}
    assert off == {("crontab", "root"): True, ("cron-file", str(mixed)): False, ("cron-file", str(nightly)): False}, off
    for path in (mixed, nightly):
        assert any(str(path) in note and "by hand" in note for note in told["notes"]), told["notes"]


def test_nobody_would_renew(tlsup, issuer, programs, tmp_path):
    """Where tlsup cannot see to it that it runs, the old client goes on."""
    lineage(tmp_path / "le", issuer, "one.test")
    pathlib.Path("/run/crontab").write_text("0 3 * * * certbot renew\n")
    programs("crontab", CRONTAB)
    told = tlsup("import", "--from", "certbot", tmp_path / "le", "--disable-old-timer")
    assert pathlib.Path("/run/crontab").read_text() == "0 3 * * * certbot renew\n", told
    assert "does not renew by itself" in told.text and "--disable-old-timer" in told.text, told


@pytest.mark.parametrize("answer, off", [(b"y\n", True), (b"\n", False), (b"n\n", False)])
def test_systemd_with_consent(tlsup, issuer, programs, tmp_path, answer, off):
    lineage(tmp_path / "le", issuer, "one.test")
    os.makedirs("/run/systemd/system")
    programs("systemctl", SYSTEMCTL)
    pathlib.Path("/etc/cron.d/certbot").write_text("0 */12 * * * root test -x /usr/bin/certbot -a \\! -d /run/systemd/system && certbot -q renew\n")
    status, seen = tlsup.on_terminal("import", "--from", "certbot", tmp_path / "le", keys=answer)
    assert status == 0 and "certbot.timer" in seen and "/etc/cron.d/certbot" not in seen, seen
    log = pathlib.Path("/run/systemctl.log").read_text()
    assert ("disable --now certbot.timer" in log) == off and ("systemctl enable --now certbot.timer" in seen) == off
    assert "enable" in log and "tlsup.timer" in log, "our own comes first"


# -- what a person may get wrong -------------------------------------------------------------------------------------


@pytest.mark.parametrize("words, says", [(["lego"], "/etc/lego"), (["certbot", "/var/www"], "renewal"), (["caddy"], "acme.sh")])
def test_nothing_to_take(tlsup, words, says):
    shutil.rmtree("/etc/lego", ignore_errors=True)
    result = tlsup("import", "--from", *words, env={"HOME": "/nonexistent"})
    assert result.status in (1, 2) and says in result.err, result


def test_empty(tlsup, tmp_path):
    (tmp_path / "le/renewal").mkdir(parents=True)
    result = tlsup("import", "--from", "certbot", tmp_path / "le")
    assert result.status == 1 and "no certificates" in result.err, result
