"""A small scripted CA for what a real one will not do: it speaks enough ACME to issue certificates, validates http-01 for real, and can be
told to misbehave at any step.

    ca = FakeCA(directory, authority, port)
    ca.misbehave("order", Problem(429, "rateLimited", "too many orders", headers={"Retry-After": "86400"}))

A step is one of STEPS. A behaviour is a Reply (or Problem, Hang, Cut), a list of them (used up one by one, then the normal answer), or a
function (ca, request) -> Reply or None for the normal answer.
"""

import base64
import hashlib
import http.server
import itertools
import json
import pathlib
import secrets
import socket
import ssl
import threading
import time

from . import net, pki

STEPS = ("directory", "nonce", "account", "order", "order-poll", "authorization", "challenge", "finalize", "certificate")
DAY = 86400


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Reply:
    def __init__(self, status=200, body=b"", content_type="application/json", headers=None, nonce=True):
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
        self.status, self.body, self.nonce = status, body.encode() if isinstance(body, str) else body, nonce
        self.headers = {"Content-Type": content_type, **(headers or {})}


class Problem(Reply):
    def __init__(self, status, kind, detail, headers=None, **members):
        body = {"type": f"urn:ietf:params:acme:error:{kind}", "detail": detail, "status": status, **members}
        super().__init__(status, body, "application/problem+json", headers)


class Hang:
    """Take the request and say nothing for that long."""

    def __init__(self, seconds=3600):
        self.seconds = seconds


class Trickle:
    """Begin an answer and send its body byte by byte, for ever."""

    def __init__(self, pause_s=1.0):
        self.pause_s = pause_s


class Cut:
    """Close the connection, after some bytes of an answer if given."""

    def __init__(self, after=b""):
        self.after = after


class Request:
    def __init__(self, method, path, headers, body):
        self.method, self.path, self.headers, self.body = method, path, headers, body
        self.protected = self.payload = None
        if method == "POST":
            jws = json.loads(body)
            self.protected = json.loads(unb64(jws["protected"]))
            self.payload = json.loads(unb64(jws["payload"])) if jws["payload"] else ""


class FakeCA:
    def __init__(self, directory, authority, port, certificate=None, hosts=("localhost", "127.0.0.1", "::1")):
        """`certificate`: (cert, key) for its own HTTPS, if not a good one."""
        self.authority, self.port = authority, port
        self.bundle = authority.cert
        self.issuer = authority.intermediate(pathlib.Path(directory) / f"issuer-{port}")
        self.roots = authority.cert
        self.behaviours, self.log, self.violations = {}, [], []
        self.nonces, self.accounts, self.orders, self.authorizations = set(), {}, {}, {}
        self.counter, self.lock = itertools.count(1), threading.RLock()
        self.validate = True            # fetch the token over http
        self.preauthorized = False      # new authorizations are born valid
        self.not_before_ago_s, self.lifetime_s = 3600, 90 * DAY
        self.retry_after = "1"          # on pending, processing
        self.polls_until_valid = 0      # of an order in processing
        self.hold = False               # leave triggered challenges pending until this is false again
        self.closing = threading.Event()
        cert, key = certificate or authority.server(f"fake-{port}", list(hosts))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        handler = type("Handler", (_Handler,), {"ca": self})
        server_class = type("Server", (http.server.ThreadingHTTPServer,),
                            {"address_family": socket.AF_INET, "daemon_threads": True, "handle_error": lambda *_: None,
                             "request_queue_size": 64})
        self.server = server_class(("127.0.0.1", port), handler)
        self.connections, plain = 0, self.server.get_request

        def get_request():
            sock, address = plain()
            self.connections += 1
            return context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), address

        self.server.get_request = get_request
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()

    def misbehave(self, step, behaviour):
        assert step in STEPS, step
        self.behaviours[step] = behaviour

    def behave(self):
        self.behaviours.clear()

    @property
    def base(self):
        return f"https://localhost:{self.port}"

    @property
    def url(self):
        return self.base + "/dir"

    @property
    def arguments(self):
        return ["--server", self.url, "--ca-bundle", str(self.bundle), "--agree-tos", "-n"]

    def requests(self, step=None):
        return [r for s, r in self.log if step in (None, s)]

    def release(self):
        """Stop holding: visit now whoever waits for it, as a CA does whether or not somebody is still there."""
        with self.lock:
            self.hold = False
            for key in self.authorizations:
                self.visit(key)

    def wait_until_asked(self, step, since=0, seconds=20):
        """Wait for a request of this step, after the first `since` requests."""
        deadline = time.monotonic() + seconds
        while not any(s == step for s, _ in self.log[since:]):
            assert time.monotonic() < deadline, f"the CA was not asked for {step}: {[s for s, _ in self.log[since:]]}"
            time.sleep(0.01)

    # -- the protocol --

    def step_of(self, request):
        path = request.path
        if path == "/dir":
            return "directory"
        word = path.split("/")[1]
        if word == "order" and request.method == "POST":
            return "order-poll"
        return {"nonce": "nonce", "new-account": "account", "account": "account", "new-order": "order", "authz": "authorization",
                "chall": "challenge", "finalize": "finalize", "cert": "certificate"}.get(word, "directory")

    def answer(self, request):
        step = self.step_of(request)
        with self.lock:
            self.log.append((step, request))
            trouble = self.check(request)
            if trouble is not None:
                return trouble
            behaviour = self.behaviours.get(step)
            if isinstance(behaviour, list):
                behaviour = behaviour.pop(0) if behaviour else None
            if callable(behaviour):
                behaviour = behaviour(self, request)
            if behaviour is not None:
                return behaviour
        return self.normal(step, request)

    def normal(self, step, request):
        """The well-behaved answer; behaviours may call it and change what it gives."""
        with self.lock:
            return getattr(self, "on_" + step.replace("-", "_"))(request)

    def check(self, request):
        """RFC 8555 section 6 from the server's side. Violations are collected: a test fails on any at its end."""
        if "user-agent" not in request.headers:
            self.violations.append(f"no User-Agent on {request.method} {request.path}")
        if "replay-nonce" in request.headers:
            self.violations.append("a Replay-Nonce request header")
        if request.method != "POST":
            return None
        if request.headers.get("content-type") != "application/jose+json":
            self.violations.append(f"content type {request.headers.get('content-type')}")
        protected = request.protected
        if protected.get("url") != self.base + request.path:
            self.violations.append(f"signed url {protected.get('url')} is not {self.base + request.path}")
        if ("jwk" in protected) == ("kid" in protected):
            self.violations.append("exactly one of jwk and kid must be there")
        if protected.get("alg") not in ("ES256", "ES384", "RS256"):
            self.violations.append(f"alg {protected.get('alg')}")
        nonce = protected.get("nonce")
        if nonce not in self.nonces:
            return Problem(400, "badNonce", "this nonce is not ours or was used")
        self.nonces.discard(nonce)
        return None

    def new_nonce(self):
        nonce = b64(secrets.token_bytes(18))
        self.nonces.add(nonce)
        return nonce

    def on_directory(self, _request):
        return Reply(body={"newNonce": self.base + "/nonce", "newAccount": self.base + "/new-account", "newOrder": self.base + "/new-order",
                           "revokeCert": self.base + "/revoke", "keyChange": self.base + "/key-change",
                           "meta": {"termsOfService": self.base + "/terms", "website": self.base, "caaIdentities": ["fake.test"]},
                           b64(secrets.token_bytes(6)): "an unknown key"}, nonce=False)

    def on_nonce(self, request):
        return Reply(200 if request.method == "HEAD" else 204)

    def on_account(self, request):
        if request.path != "/new-account":
            return Reply(body={"status": "valid", "contact": []})
        jwk = json.dumps(request.protected["jwk"], sort_keys=True, separators=(",", ":"))
        print_ = b64(hashlib.sha256(jwk.encode()).digest())
        known = print_ in self.accounts
        if not known:
            if request.payload.get("onlyReturnExisting"):
                return Problem(400, "accountDoesNotExist", "no such account")
            if not request.payload.get("termsOfServiceAgreed"):
                return Problem(403, "userActionRequired", "agree to the terms of service first")
            self.accounts[print_] = {"number": next(self.counter), "contact": request.payload.get("contact", [])}
        self.last_thumbprint = print_
        return Reply(200 if known else 201, {"status": "valid", "contact": self.accounts[print_]["contact"]},
                     headers={"Location": f"{self.base}/account/{self.accounts[print_]['number']}"})

    def thumbprint(self, request):
        number = int(request.protected["kid"].rsplit("/", 1)[1])
        return next((t for t, a in self.accounts.items() if a["number"] == number), None)

    def on_order(self, request):
        if self.thumbprint(request) is None:
            return Problem(400, "accountDoesNotExist", "no such account")
        number = next(self.counter)
        authorizations = []
        for identifier in request.payload["identifiers"]:
            key = next(self.counter)
            self.authorizations[key] = {"identifier": identifier, "token": b64(secrets.token_bytes(24)), "order": number,
                                        "status": "valid" if self.preauthorized else "pending", "thumbprint": self.thumbprint(request)}
            authorizations.append(key)
        self.orders[number] = {"identifiers": request.payload["identifiers"], "authorizations": authorizations, "status": "pending",
                               "polls": 0}
        return Reply(201, self.order_body(number), headers={"Location": f"{self.base}/order/{number}"})

    def order_body(self, number):
        order = self.orders[number]
        states = [self.authorizations[a]["status"] for a in order["authorizations"]]
        if order["status"] == "pending" and all(s == "valid" for s in states):
            order["status"] = "ready"
        if "invalid" in states:
            order["status"] = "invalid"
        body = {"status": order["status"], "expires": "2099-01-01T00:00:00Z", "identifiers": list(reversed(order["identifiers"])),
                "authorizations": [f"{self.base}/authz/{a}" for a in order["authorizations"]],
                "finalize": f"{self.base}/finalize/{number}"}
        if order["status"] == "valid":
            body["certificate"] = f"{self.base}/cert/{number}"
        if order.get("error"):
            body["error"] = order["error"]
        return body

    def on_order_poll(self, request):
        number = int(request.path.rsplit("/", 1)[1])
        order = self.orders[number]
        if order["status"] == "processing":
            order["polls"] += 1
            if order["polls"] > self.polls_until_valid:
                order["status"] = "valid"
        headers = {"Retry-After": self.retry_after} if order["status"] in ("pending", "processing") else {}
        return Reply(body=self.order_body(number), headers=headers)

    def on_authorization(self, request):
        key = int(request.path.rsplit("/", 1)[1])
        self.visit(key)
        one = self.authorizations[key]
        body = {"status": one["status"], "expires": "2099-01-01T00:00:00Z", "identifier": one["identifier"],
                "challenges": [{"type": "unheard-of-01", "status": "pending", "url": f"{self.base}/chall/0", "token": None},
                               {"type": "dns-01", "status": "pending", "url": f"{self.base}/chall/0", "token": one["token"]},
                               self.challenge_body(key)]}
        return Reply(body=body, headers={"Retry-After": self.retry_after} if one["status"] == "pending" else {})

    def challenge_body(self, key):
        one = self.authorizations[key]
        body = {"type": "http-01", "status": one["status"], "url": f"{self.base}/chall/{key}", "token": one["token"]}
        if one.get("error"):
            body["error"] = one["error"]
        return body

    def on_challenge(self, request):
        key = int(request.path.rsplit("/", 1)[1])
        if request.payload != {}:
            self.violations.append(f"challenge payload {request.payload!r} is not {{}}")
        self.authorizations[key]["triggered"] = True
        self.visit(key)
        return Reply(body=self.challenge_body(key), headers={"Link": f'<{self.base}/authz/{key}>;rel="up"'})

    def visit(self, key):
        """Validate a triggered challenge, if it is time to."""
        one = self.authorizations[key]
        if one["status"] == "pending" and one.get("triggered") and not self.hold:
            error = self.fetch(one) if self.validate else None
            one["status"] = "invalid" if error else "valid"
            if error:
                one["error"] = error

    def fetch(self, one):
        path = f"/.well-known/acme-challenge/{one['token']}"
        name = one["identifier"]["value"]
        try:
            answer = net.http(name, path, timeout=5)
        except OSError as error:
            return {"type": "urn:ietf:params:acme:error:connection", "detail": f"Fetching http://{name}{path}: {error}", "status": 400}
        if answer.status != 200 or answer.body.strip() != f"{one['token']}.{one['thumbprint']}":
            return {"type": "urn:ietf:params:acme:error:unauthorized", "status": 403,
                    "detail": f"Invalid response from http://{name}{path}: {answer.status}"}
        return None

    def on_finalize(self, request):
        number = int(request.path.rsplit("/", 1)[1])
        order = self.orders[number]
        self.order_body(number)
        if order["status"] != "ready":
            return Problem(403, "orderNotReady", f"the order is {order['status']}")
        order["csr"] = pki.openssl("req", "-inform", "DER", stdin=unb64(request.payload["csr"]))
        order["status"] = "processing"
        # Without a Location on purpose: many CAs leave it out.
        return Reply(body=self.order_body(number), headers={"Retry-After": self.retry_after})

    def sign(self, csr, names, issuer=None):
        now = time.time()
        begin = now - self.not_before_ago_s
        return (issuer or self.issuer).sign(csr, names, begin, begin + self.lifetime_s)

    def on_certificate(self, request):
        order = self.orders[int(request.path.rsplit("/", 1)[1])]
        if "pem" not in order:
            order["pem"] = self.sign(order["csr"], [i["value"] for i in order["identifiers"]])
        return self.pem_reply(order["pem"] + self.issuer.cert.read_bytes())

    def pem_reply(self, pem):
        return Reply(body=pem, content_type="application/pem-certificate-chain")


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    ca = None
    timeout = 60

    def log_message(self, *_):
        pass

    def one(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        try:
            request = Request(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
        except (ValueError, KeyError) as error:
            self.ca.violations.append(f"a malformed request: {error}: {body[:200]!r}")
            self.close_connection = True
            return
        reply = self.ca.answer(request)
        if isinstance(reply, Hang):
            self.ca.closing.wait(reply.seconds)
            self.close_connection = True
            return
        if isinstance(reply, Trickle):
            self.close_connection = True
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            while not self.ca.closing.wait(reply.pause_s):
                self.wfile.write(b" ")
                self.wfile.flush()
            return
        if isinstance(reply, Cut):
            self.wfile.write(reply.after)
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return
        self.send_response(reply.status)
        headers = dict(reply.headers)
        if reply.nonce:
            with self.ca.lock:
                headers.setdefault("replay-nonce", self.ca.new_nonce())
        headers.setdefault("Content-Length", str(len(reply.body)))
        headers.setdefault("Link", f'<{self.ca.url}>;rel="index"')
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD" and reply.status != 204:
            self.wfile.write(reply.body)

    do_GET = do_HEAD = do_POST = one
