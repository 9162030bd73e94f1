"""What visitors get: status, Location and body of "/" for every name, over every address, and the certificate shown."""

import hashlib
import os
import re
import socket
import ssl
import tempfile
import time

TIMEOUT_S = 10
NOBODY = "stranger.invalid"  # a name that no server block has: who is the default server?


def _exchange(sock, name, path):
    """(status, location, body hash), or a word for what happened instead."""
    try:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}\r\nUser-Agent: corpus\r\nAccept: */*\r\nConnection: close\r\n\r\n".encode())
        data = b""
        while piece := sock.recv(65536):
            data += piece
            if len(data) > 1 << 20:
                break
    except (ssl.SSLError, OSError) as error:
        if not isinstance(error, (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return type(error).__name__, "", ""
    head, _, body = data.partition(b"\r\n\r\n")
    match = re.match(rb"HTTP/1\.[01] (\d+)", head)
    if not match:
        return ("closed" if not data else "no HTTP"), "", ""
    location = re.search(rb"(?im)^location: *([^\r\n]*)", head)
    return int(match.group(1)), location.group(1).decode("latin-1") if location else "", hashlib.sha256(body).hexdigest()[:16]


def _connect(address, port, proxy):
    sock = socket.create_connection((address, port), TIMEOUT_S)
    if proxy:
        family, source = ("TCP6", "2001:db8::aa") if ":" in address else ("TCP4", "192.0.2.170")
        sock.sendall(f"PROXY {family} {source} {address} 40000 {port}\r\n".encode())
    return sock


def http(name, address, path="/", proxy=False, port=80):
    try:
        with _connect(address, port, proxy) as sock:
            return _exchange(sock, name, path)
    except OSError as error:
        return type(error).__name__, "", ""


def body(name, address, path, proxy=False):
    """(status, body) of a small answer."""
    try:
        with _connect(address, 80, proxy) as sock:
            sock.sendall(f"GET {path} HTTP/1.0\r\nHost: {name}\r\n\r\n".encode())
            data = b""
            while piece := sock.recv(65536):
                data += piece
    except OSError as error:
        return type(error).__name__, b""
    head, _, rest = data.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    return (int(words[1]) if len(words) > 1 and words[1].isdigit() else "closed"), rest


_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_context.check_hostname, _context.verify_mode = False, ssl.CERT_NONE
_context.set_ciphers("ALL:@SECLEVEL=0")
_context.minimum_version = ssl.TLSVersion.TLSv1_2
_names_of = {}


def https(name, address, proxy=False, port=443):
    """(leaf, status, location, body hash); leaf is a hash, or a word for why there is none."""
    try:
        with _connect(address, port, proxy) as raw:
            try:
                tls = _context.wrap_socket(raw, server_hostname=name or None)
            except (ssl.SSLError, OSError) as error:
                return getattr(error, "reason", None) or type(error).__name__, "", "", ""
            with tls:
                der = tls.getpeercert(True)
                leaf = hashlib.sha256(der).hexdigest()
                if leaf not in _names_of:
                    _names_of[leaf] = _read_names(der)
                return (leaf, *_exchange(tls, name, "/"))
    except OSError as error:
        return type(error).__name__, "", "", ""


def _read_names(der):
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(ssl.DER_cert_to_PEM_cert(der))
        file.flush()
        try:
            return {value.lower() for _, value in ssl._ssl._test_decode_cert(file.name).get("subjectAltName", ())}
        except Exception:  # a certificate without extensions, or a Python without this function: it covers nothing
            return set()


def covers(leaf, name):
    names = _names_of.get(leaf, set())
    return name in names or "*." + name.partition(".")[2] in names


def open_at(address, port):
    try:
        socket.create_connection((address, port), TIMEOUT_S).close()
        return True
    except OSError:
        return False


class View:
    """Everything at one moment: {(scheme, address, name): answer}."""

    def __init__(self, place):
        self.place, self.answers = place, {}

    def take(self):
        for key in self.place.questions():
            self.answers[key] = self.ask(key)
        return self

    def ask(self, key):
        scheme, address, name = key
        proxy = self.place.proxied(address, 443 if scheme == "https" else 80)
        return https(name, address, proxy) if scheme == "https" else http(name, address, proxy=proxy)

    def differences(self, compare, patience_s=4):
        """Lines for what is now otherwise; an answer that chance, a limit or a worker of before decides is asked for again."""
        lines, deadline = [], time.monotonic() + patience_s
        for key, before in self.answers.items():
            pause_s = 0.01
            while True:
                now = self.ask(key)
                line = compare(key, before, now)
                if line is None:
                    break
                if time.monotonic() > deadline:
                    lines.append(line)
                    break
                time.sleep(pause_s)
                pause_s = min(pause_s * 1.6, 0.5)
        return lines


def token():
    return "corpus-" + os.urandom(12).hex()
