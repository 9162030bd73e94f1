"""Copies of a certificate in other forms: `tlsup export`, once and as a standing deployment."""

import grp
import os
import pathlib
import pwd
import re
import shutil
import stat
import subprocess

import pytest

from harness import client, machine, pki

OUT = pathlib.Path("/etc/ssl/exported")


@pytest.fixture(autouse=True)
def out():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(mode=0o755)


@pytest.fixture
def held(tlsup, fake_ca, name):
    """The name of a certificate that is held."""
    fake_ca.preauthorized = True
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    return name


def renew(tlsup, name, **options):
    return tlsup("renew", name, "--force", "--no-random-sleep-on-renew", **options)


def password(text="geheim7", mode=0o600):
    path = OUT / "password"
    path.write_text(text + "\n")
    path.chmod(mode)
    return path


def mode_of(path):
    st = path.stat()
    return f"{pwd.getpwuid(st.st_uid).pw_name}:{grp.getgrgid(st.st_gid).gr_name} {stat.S_IMODE(st.st_mode):04o}"


def in_p12(path, secret, *words):
    return pki.openssl("pkcs12", "-in", path, "-nodes", "-passin", f"pass:{secret}", *words)


def certificates(pem):
    return re.findall(rb"-----BEGIN CERT.*?-----END CERTIFICATE-----\n", pem, re.S)


# -- formats -------------------------------------------------------------------------------------------------------


def test_pkcs12(tlsup, held):
    result = tlsup.ok("export", held, "--to", OUT / "site.p12", "--password-file", password(), "--friendly-name", "web")
    assert f"Wrote {OUT}/site.p12 (PKCS#12: private key, certificate, chain; root:root, mode 0600)." in result.out and "no password" not in result.text, result
    text = in_p12(OUT / "site.p12", "geheim7")
    assert [pki.sha256_of(c) for c in certificates(text)] == [pki.sha256_of(c) for c in certificates(tlsup.file(held).read_bytes())]
    assert pki.public_half(text) == pki.public_half(tlsup.file(held, "privkey")) and b"friendlyName: web" in text
    info = subprocess.run(["openssl", "pkcs12", "-in", OUT / "site.p12", "-info", "-noout", "-passin", "pass:geheim7"], capture_output=True, text=True)
    assert "AES-256-CBC" in info.stderr and "hmacWithSHA256" in info.stderr and "MAC: sha256" in info.stderr, info.stderr
    assert not pki.openssl("pkcs12", "-in", OUT / "site.p12", "-nodes", "-passin", "pass:wrong", check=False)


def test_legacy_pkcs12(tlsup, held):
    result = tlsup.ok("export", held, "--to", OUT / "old.pfx", "--legacy")
    assert "no password" in result.out and "--password-file" in result.out, result
    info = subprocess.run(["openssl", "pkcs12", "-in", OUT / "old.pfx", "-info", "-noout", "-passin", "pass:"], capture_output=True, text=True)
    assert "pbeWithSHA1And3-KeyTripleDES-CBC" in info.stderr and "MAC: sha1" in info.stderr, info.stderr


def test_keystore_is_read_by_java(tlsup, held):
    keytool = shutil.which("keytool")
    tlsup.ok("export", held, "--to", OUT / "tomcat.jks", "--password-file", password())
    assert b"friendlyName: 1" in in_p12(OUT / "tomcat.jks", "geheim7")
    if keytool is None:
        pytest.skip("keytool is not here: install a Java runtime")
    result = subprocess.run([keytool, "-list", "-v", "-keystore", OUT / "tomcat.jks", "-storepass", "geheim7"], capture_output=True, text=True)
    assert "PrivateKeyEntry" in result.stdout and "Certificate chain length: 2" in result.stdout, result


@pytest.mark.parametrize("to, form", [("a.p12", "PKCS#12"), ("a.PFX", "PKCS#12"), ("a.pem", "private key and chain"), ("a.der", "private key, certificate, chain")])
def test_format_by_the_suffix(tlsup, held, to, form):
    result = tlsup.ok("export", held, "--to", OUT / to)
    assert form in result.out and (OUT / to).exists(), result


def test_directories(tlsup, held):
    shutil.rmtree(OUT / "tls", ignore_errors=True)
    result = tlsup.ok("export", held, "--format", "pem", "--to", OUT / "tls", "--owner", "www-data", "--mode", "0640")
    assert "the key: www-data:www-data, mode 0640" in result.out, result
    for which in ("privkey", "cert", "chain", "fullchain"):
        assert (OUT / f"tls/{which}.pem").read_bytes() == tlsup.file(held, which).read_bytes()
    assert mode_of(OUT / "tls") == "root:root 0755" and mode_of(OUT / "tls/fullchain.pem") == "www-data:www-data 0644"
    tlsup.ok("export", held, "--format", "der", "--to", OUT / "der")
    assert pki.openssl("x509", "-inform", "DER", "-in", OUT / "der/cert.der") == pki.openssl("x509", "-in", tlsup.file(held, "cert"))
    assert pki.openssl("pkey", "-inform", "DER", "-in", OUT / "der/privkey.der", "-pubout") == pki.public_half(tlsup.file(held, "privkey"))
    assert mode_of(OUT / "der/privkey.der") == "root:root 0600" and (OUT / "der/chain-1.der").exists()


def test_two_key_types(tlsup, fake_ca, name):
    fake_ca.preauthorized = True
    tlsup.ok("issue", name, "--standalone", "--key-type", "ecdsa-p256,rsa-2048", *fake_ca.arguments)
    result = tlsup.ok("export", name, "--to", OUT / "site.pem")
    assert f"Wrote {OUT}/site.pem" in result.out and f"Wrote {OUT}/site-rsa.pem" in result.out, result
    assert "id-ecPublicKey" in pki.openssl("x509", "-noout", "-text", "-in", OUT / "site.pem").decode()
    assert "rsaEncryption" in pki.openssl("x509", "-noout", "-text", "-in", OUT / "site-rsa.pem").decode()
    out = tlsup("export", name, "--format", "cert", "--to", "-")
    assert out.status == 0 and "second certificate" in out.err and len(certificates(out.out.encode())) == 1, out


# -- standard output -----------------------------------------------------------------------------------------------


def test_standard_output(tlsup, held):
    result = tlsup.ok("export", held, "--format", "combined", "--to", "-")
    assert result.out.encode() == tlsup.file(held, "privkey").read_bytes() + tlsup.file(held).read_bytes()
    process = subprocess.run(tlsup.argv(["export", held, "--format", "p12", "--to", "-"]), stdout=open(OUT / "piped", "wb"), env=tlsup.env())
    assert process.returncode == 0 and certificates(in_p12(OUT / "piped", "")), "nothing else is written there"
    full = subprocess.run(tlsup.argv(["export", held, "--format", "cert", "--to", "-"]), stdout=open("/dev/full", "wb"), stderr=subprocess.PIPE, env=tlsup.env())
    assert full.returncode == 1 and b"standard output" in full.stderr


def test_no_binary_keys_on_a_terminal(tlsup, held):
    status, text = tlsup.on_terminal("export", held, "--format", "p12", "--to", "-")
    assert status == 2 and "not for terminals" in text and "\x30\x82" not in text, text
    status, text = tlsup.on_terminal("export", held, "--format", "cert", "--to", "-")
    assert status == 0 and "BEGIN CERTIFICATE" in text, text


# -- what a person gets wrong --------------------------------------------------------------------------------------


@pytest.mark.parametrize("words, status, says", [
    ([], 2, "add --to PATH"),
    (["--to", "x.zip"], 2, "add --format combined"),
    (["--to", "-"], 2, "add --format"),
    (["--format", "zip", "--to", "x"], 2, "combined, fullchain, cert"),
    (["--to", "/etc/ssl/exported/x.jks"], 2, "jks needs a password-file"),
    (["--to", "/etc/ssl/exported/x.pem", "--mode", "0644"], 2, "everybody could read the private key"),
    (["--to", "/etc/ssl/exported/x.pem", "--owner", "nobody-there"], 2, "no user 'nobody-there'"),
    (["--to", "/etc/ssl/exported/none/x.pem"], 1, "mkdir -p /etc/ssl/exported/none"),
    (["--to", "/etc/ssl/exported/x.pem", "--friendly-name", "x"], 2, "for p12 and jks"),
    (["--format", "pem", "--to", "-"], 2, "standard output cannot take"),
    (["--format", "cert", "--to", "-", "--standing"], 2, "--standing needs a file"),
    (["--to", "/etc/ssl/exported/a b.pem", "--standing"], 2, "white space"),
])
def test_mistakes(tlsup, held, words, status, says):
    before = (tlsup.config / f"certs.d/{held}.conf").read_bytes()
    result = tlsup("export", held, *words)
    assert result.status == status and says in result.err, result
    assert not list(OUT.iterdir()) and (tlsup.config / f"certs.d/{held}.conf").read_bytes() == before


def test_certificates_that_are_not_there(tlsup, held):
    result = tlsup("export", "other.test", "--to", OUT / "x.pem")
    assert result.status != 0 and "tlsup status" in result.err, result


def test_password_that_others_can_read(tlsup, held):
    result = tlsup("export", held, "--to", OUT / "x.p12", "--password-file", password(mode=0o644))
    assert result.status == 1 and "others may read the password" in result.err and "chmod 600" in result.err, result
    assert not (OUT / "x.p12").exists()


def test_full_disk(tlsup, held):
    machine.run("mount", "-t", "tmpfs", "-o", "size=4k,mode=755", "tmpfs", OUT)
    try:
        (OUT / "site.pem").write_text("old")
        result = tlsup("export", held, "--to", OUT / "site.pem")
        assert result.status == 1 and "No space left" in result.err, result
        assert [(p.name, p.read_text()) for p in OUT.iterdir()] == [("site.pem", "old")]
        machine.run("mount", "-o", "remount,ro", OUT)
        result = tlsup("export", held, "--to", OUT / "site.pem")
        assert result.status == 1 and "Read-only" in result.err, result
    finally:
        machine.run("umount", OUT)


def test_former_file_that_would_take_hours_to_open(tlsup, held):
    """What a service makes of its own file must not hold up the run."""
    pwd_of = pwd.getpwnam("www-data")
    words = ("export", held, "--to", OUT / "site.p12", "--owner", "www-data:www-data", "--password-file", password())
    tlsup.ok(*words)
    data = bytearray((OUT / "site.p12").read_bytes())
    rounds = bytes.fromhex("02022710")  # of the MAC, at the very end
    assert data.endswith(rounds) and data[:2] == b"\x30\x82"
    mac = next(i for i in range(len(data) - 127, len(data)) if data[i] == 0x30 and data[i + 1] == len(data) - i - 2)
    data[mac + 1] += 2
    data[2:4] = (int.from_bytes(data[2:4], "big") + 2).to_bytes(2, "big")
    data[-4:] = bytes.fromhex("02047fffffff")
    (OUT / "site.p12").write_bytes(data)
    assert (OUT / "site.p12").stat().st_uid == pwd_of.pw_uid
    tlsup.ok(*words)
    assert certificates(in_p12(OUT / "site.p12", "geheim7"))


def test_two_at_once(tlsup, held):
    """By hand while a run of the timer writes the same file: none takes away, or puts in place, what the other one writes."""
    words = ["export", held, "--to", OUT / "site.pem", "--config-dir", tlsup.config, "--state-dir", tlsup.state]
    slow = subprocess.Popen(["strace", "-o", "/dev/null", "-e", "inject=fsync:delay_enter=1500000:when=1", client.program(), *words], stderr=subprocess.PIPE,
                            env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})  # which cannot be had under strace
    machine.until(lambda: any(OUT.iterdir()), lambda: "it does not begin")
    quick = subprocess.run([client.program(), *words, "--mode", "0640"], capture_output=True, text=True)
    assert (slow.wait(), quick.returncode) == (0, 0), (slow.stderr.read(), quick)
    assert mode_of(OUT / "site.pem") == "root:root 0640"
    assert [p.name for p in OUT.iterdir()] == ["site.pem"]


def test_key_that_is_elsewhere(tlsup, fake_ca, name, tmp_path):
    fake_ca.preauthorized = True
    pki.openssl("req", "-new", *pki.EC, "-nodes", "-keyout", tmp_path / "key", "-out", tmp_path / "csr", "-subj", f"/CN={name}",
                "-addext", f"subjectAltName=DNS:{name}")
    tlsup.ok("issue", "--csr", tmp_path / "csr", "--standalone", *fake_ca.arguments)
    tlsup.ok("export", name, "--format", "fullchain", "--to", OUT / "chain.pem")
    result = tlsup("export", name, "--to", OUT / "x.pem")
    assert result.status == 2 and "not held here" in result.err and "fullchain, cert and chain" in result.err, result


# -- standing ------------------------------------------------------------------------------------------------------


def test_standing(tlsup, fake_ca, held):
    conf = tlsup.config / f"certs.d/{held}.conf"
    result = tlsup.ok("export", held, "--to", OUT / "site.pem", "--owner", "root:www-data", "--mode", "0640", "--standing")
    assert "after each renewal" in result.out and f"certs.d/{held}.conf" in result.out, result
    assert f"export = combined {OUT}/site.pem owner=root:www-data mode=0640\n" in conf.read_text()
    # another of the same path takes its place
    tlsup.ok("export", held, "--format", "fullchain", "--to", OUT / "site.pem", "--mode", "0640", "--owner", "root:www-data", "--standing")
    tlsup.ok("export", held, "--to", OUT / "site.p12", "--standing")
    assert re.findall(r"^export = (.*)$", conf.read_text(), re.M) == [f"fullchain {OUT}/site.pem owner=root:www-data mode=0640", f"p12 {OUT}/site.p12"]
    first = tlsup.sha256(held)
    result = renew(tlsup, held)
    assert result.status == 0 and tlsup.sha256(held) != first, result
    assert (OUT / "site.pem").read_bytes() == tlsup.file(held).read_bytes() and mode_of(OUT / "site.pem") == "root:www-data 0640"
    assert pki.sha256_of(certificates(in_p12(OUT / "site.p12", ""))[0]) == tlsup.sha256(held)
    assert sorted(p.name for p in OUT.iterdir()) == ["site.p12", "site.pem"]


def test_standing_that_fails_is_tried_again(tlsup, fake_ca, held):
    place = OUT / "sub"
    place.mkdir()
    tlsup.ok("export", held, "--to", place / "site.pem", "--standing")
    shutil.rmtree(place)
    result = renew(tlsup, held)
    assert result.status != 0 and "mkdir -p" in result.err, result
    live, place_again = tlsup.version(held), place.mkdir()
    result = tlsup("renew", held)
    assert result.status == 0 and tlsup.version(held) == live, result
    assert certificates((place / "site.pem").read_bytes())[0] == certificates(tlsup.file(held).read_bytes())[0]
