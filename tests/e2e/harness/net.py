"""Asking servers over the network, as a visitor would."""

import hashlib
import socket
import ssl
import threading
import time
from http.client import HTTPConnection, HTTPException, HTTPSConnection

LOOPBACK = {4: "127.0.0.1", 6: "::1"}
PATIENCE_S = 60  # on a busy machine; what takes longer hangs


def wait_for_port(port, address="127.0.0.1", seconds=PATIENCE_S, alive=None):
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((address, port), 1).close()
            return
        except OSError as error:
            if time.monotonic() > deadline or (alive and not alive()):
                raise RuntimeError(f"nothing listens on {address} port {port}: {error}") from None
            time.sleep(0.02)


def port_open(port, address="127.0.0.1"):
    try:
        socket.create_connection((address, port), 1).close()
        return True
    except OSError:
        return False


def leaf(name, address="127.0.0.1", port=443, minimum=None, maximum=None, alpn=None):
    """(SHA-256 of the leaf, TLS version, ALPN) that SNI `name` is answered with; unverified."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if minimum:
        context.minimum_version = minimum
    if maximum:
        context.maximum_version = maximum
        context.set_ciphers("ALL:@SECLEVEL=0")
    if alpn:
        context.set_alpn_protocols(alpn)
    with socket.create_connection((address, port), PATIENCE_S) as raw, context.wrap_socket(raw, server_hostname=name) as tls:
        return hashlib.sha256(tls.getpeercert(True)).hexdigest(), tls.version(), tls.selected_alpn_protocol()


class Answer:
    def __init__(self, response):
        self.status, self.body = response.status, response.read().decode(errors="replace")
        self.headers = {k.lower(): v for k, v in response.getheaders()}
        self.location = self.headers.get("location", "")


def _ask(connection, name, path, method):
    try:
        connection.request(method, path, headers={"Host": name, "Connection": "close"})
        return Answer(connection.getresponse())
    finally:
        connection.close()


def http(name, path="/", address="127.0.0.1", port=80, method="GET", timeout=PATIENCE_S):
    return _ask(HTTPConnection(address, port, timeout=timeout), name, path, method)


class _Verified(HTTPSConnection):
    def __init__(self, name, address, port, context):
        super().__init__(name, port, timeout=PATIENCE_S, context=context)
        self._name, self._address, self._tls = name, address, context

    def connect(self):
        raw = socket.create_connection((self._address, self.port), self.timeout)
        self.sock = self._tls.wrap_socket(raw, server_hostname=self._name)


def https(name, roots, path="/", address="127.0.0.1", port=443):
    """One request with the chain and the name verified against `roots` (PEM path)."""
    context = ssl.create_default_context(cafile=str(roots))
    return _ask(_Verified(name, address, port, context), name, path, "GET")


class Visitor(threading.Thread):
    """A client that asks for a page all the while; `failures` has everything that a real visitor would have noticed."""

    def __init__(self, name, path="/", address="127.0.0.1", accept=(200,)):
        super().__init__(daemon=True)
        self.name_asked, self.path, self.address, self.accept = name, path, address, accept
        self.visits, self.failures, self._end = 0, [], threading.Event()

    def run(self):
        while not self._end.is_set():
            try:
                answer = http(self.name_asked, self.path, self.address)
                if answer.status not in self.accept:
                    self.failures.append(f"status {answer.status}")
            except (OSError, HTTPException) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            self.visits += 1
            self._end.wait(0.005)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self.join(PATIENCE_S + 5)
        assert not self.is_alive(), "a visit does not end"
