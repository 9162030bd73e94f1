"""Certificates made at run time with the openssl command: nothing secret is in the repository."""

import pathlib
import subprocess
import time

EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]


def openssl(*argv, stdin=None, check=True):
    result = subprocess.run(["openssl", *map(str, argv)], input=stdin, capture_output=True)
    if check and result.returncode != 0:
        raise RuntimeError(f"openssl {argv[0]}: {result.stderr.decode(errors='replace')}")
    return result.stdout


def san_of(names):
    return ",".join(("IP:" if n.replace(".", "").isdigit() or ":" in n else "DNS:") + n for n in names)


class Authority:
    """A root that signs server certificates, and those of the fake CA."""

    def __init__(self, directory, common_name="tests"):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o755)
        self.key, self.cert = self.directory / "root.key", self.directory / "root.pem"
        openssl("req", "-x509", *EC, "-nodes", "-keyout", self.key, "-out", self.cert, "-subj", f"/CN={common_name} root", "-days", "30",
                "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        self.cert.chmod(0o644)
        (self.directory / "index.txt").touch()
        (self.directory / "ca.cnf").write_text(f"""
[ca]
default_ca = it
[it]
dir = {self.directory}
database = {self.directory}/index.txt
new_certs_dir = {self.directory}
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
copy_extensions = none
[any]
commonName = optional
""")

    def server(self, name, sans, days_ago=1, days_left=20):
        """(certificate path, key path) for an HTTPS server."""
        key, request, cert = (self.directory / f"{name}.{end}" for end in ("key", "csr", "pem"))
        openssl("req", "-new", *EC, "-nodes", "-keyout", key, "-out", request, "-subj", "/CN=server")
        now = time.time()
        cert.write_bytes(self.sign(request.read_bytes(), sans, now - days_ago * 86400, now + days_left * 86400))
        return cert, key

    def sign(self, csr_pem, sans, not_before_s, not_after_s, is_ca=False):
        """PEM of one certificate with exactly these names and dates."""
        stamp = f"{time.monotonic_ns()}"
        extensions = self.directory / f"{stamp}.ext"
        extensions.write_text(("basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n" if is_ca else
                               "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
                               "extendedKeyUsage=serverAuth\n")
                              + "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
                              + (f"subjectAltName={san_of(sans)}\n" if sans else ""))
        request = self.directory / f"{stamp}.csr"
        request.write_bytes(csr_pem)

        def when(seconds):
            return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(seconds))

        return openssl("ca", "-batch", "-notext", "-config", self.directory / "ca.cnf", "-cert", self.cert, "-keyfile", self.key,
                       "-in", request, "-extfile", extensions, "-startdate", when(not_before_s), "-enddate", when(not_after_s),
                       *(["-subj", "/CN=intermediate"] if is_ca else ["-subj", "/CN=leaf"]))

    def intermediate(self, directory):
        """An authority below this one."""
        below = Authority(directory, "tests intermediate")
        request = openssl("req", "-new", "-key", below.key, "-subj", "/CN=intermediate")
        now = time.time()
        below.cert.write_bytes(self.sign(request, [], now - 90 * 86400, now + 300 * 86400, is_ca=True))
        return below


def names_of(cert):
    """subjectAltName entries of a PEM certificate, as a set."""
    text = openssl("x509", "-noout", "-ext", "subjectAltName", stdin=_pem(cert)).decode()
    return {part.split(":", 1)[1].strip() for part in text.splitlines()[-1].split(",") if ":" in part}


def public_key_of(cert):
    return openssl("x509", "-noout", "-pubkey", stdin=_pem(cert))


def public_half(key):
    return openssl("pkey", "-pubout", stdin=_pem(key))


def key_text(key):
    return openssl("pkey", "-noout", "-text_pub", stdin=_pem(key)).decode()


def sha256_of(cert):
    import hashlib

    return hashlib.sha256(openssl("x509", "-outform", "DER", stdin=_pem(cert))).hexdigest()


def serial_of(cert):
    return openssl("x509", "-noout", "-serial", stdin=_pem(cert)).decode().strip().split("=")[1].lower()


def _pem(what):
    return what if isinstance(what, bytes) else pathlib.Path(what).read_bytes()
