"""A small scripted CA for what a real one will not do: it speaks enough ACME to issue certificates, to change and to give up accounts, to
revoke, and to say when to renew; validates http-01 for real, and can be told to misbehave at any step.

    ca = FakeCA(directory, authority, port)
    ca.misbehave("order", Problem(429, "rateLimited", "too many orders", headers={"Retry-After": "86400"}))

A step is one of STEPS. A behaviour is a Reply (or Problem, Hang, Cut), a list of them (used up one by one, then the normal answer), or a
function (ca, request) -> Reply or None for the normal answer.
"""

import base64
import calendar
import hashlib
import hmac
import http.server
import itertools
import json
import pathlib
import secrets
import socket
import ssl
import threading
import time
import urllib.parse

from . import net, pki

STEPS = ("directory", "nonce", "account", "order", "order-poll", "authorization", "challenge", "finalize", "certificate", "alternate",
         "key-change", "revoke", "renewal-info", "credentials")
DAY = 86400


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


# -- signatures, by the openssl command ---------------------------------------------------------------------

CURVES = {"P-256": "3059301306072a8648ce3d020106082a8648ce3d030107034200", "P-384": "3076301006072a8648ce3d020106052b81040022036200"}
DIGESTS = {"ES256": "-sha256", "RS256": "-sha256", "ES384": "-sha384"}


def _der(tag, body):
    length = len(body)
    size = bytes([length]) if length < 128 else bytes([0x80 | (n := (length.bit_length() + 7) // 8)]) + length.to_bytes(n, "big")
    return bytes([tag]) + size + body


def _der_integer(data):
    data = data.lstrip(b"\0") or b"\0"
    return _der(2, (b"\0" if data[0] & 0x80 else b"") + data)


def public_key_of_jwk(jwk):
    """SubjectPublicKeyInfo in DER."""
    if jwk["kty"] == "EC":
        return bytes.fromhex(CURVES[jwk["crv"]]) + b"\x04" + unb64(jwk["x"]) + unb64(jwk["y"])
    numbers = _der(0x30, _der_integer(unb64(jwk["n"])) + _der_integer(unb64(jwk["e"])))
    return _der(0x30, bytes.fromhex("300d06092a864886f70d0101010500") + _der(3, b"\0" + numbers))


def signature_holds(jws, jwk, directory):
    """Is this flattened JWS signed with the key of the JWK?"""
    alg, signature = json.loads(unb64(jws["protected"]))["alg"], unb64(jws["signature"])
    if alg.startswith("ES"):
        half = len(signature) // 2
        signature = _der(0x30, _der_integer(signature[:half]) + _der_integer(signature[half:]))
    stamp = secrets.token_hex(8)
    key, sig = directory / f"{stamp}.der", directory / f"{stamp}.sig"
    key.write_bytes(public_key_of_jwk(jwk))
    sig.write_bytes(signature)
    out = pki.openssl("dgst", DIGESTS[alg], "-verify", key, "-keyform", "DER", "-signature", sig,
                      stdin=f"{jws['protected']}.{jws['payload']}".encode(), check=False)
    key.unlink()
    sig.unlink()
    return b"Verified OK" in out


def thumbprint_of(jwk):
    return b64(hashlib.sha256(json.dumps(jwk, sort_keys=True, separators=(",", ":")).encode()).digest())


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
        self.protected = self.payload = self.jws = None
        self.form = None
        if headers.get("content-type") == "application/x-www-form-urlencoded":
            self.form = dict(urllib.parse.parse_qsl(body.decode()))
        elif method == "POST":
            jws = self.jws = json.loads(body)
            self.protected = json.loads(unb64(jws["protected"]))
            self.payload = json.loads(unb64(jws["payload"])) if jws["payload"] else ""


class FakeCA:
    def __init__(self, directory, authority, port, certificate=None, hosts=("localhost", "127.0.0.1", "::1"), directory_url=None):
        """`certificate`: (cert, key) for its own HTTPS, if not a good one. `directory_url`: to stand for a known CA, at its own address."""
        self.authority, self.port, self.directory = authority, port, pathlib.Path(directory)
        self.url = directory_url or f"https://localhost:{port}/dir"
        self.base = "/".join(self.url.split("/")[:3])
        self.bundle = authority.cert
        self.issuer = authority.intermediate(pathlib.Path(directory) / f"issuer-{port}")
        self.roots = authority.cert
        self.behaviours, self.log, self.violations = {}, [], []
        self.nonces, self.accounts, self.orders, self.authorizations = set(), {}, {}, {}
        self.stale_nonce, self.stale_left = None, 0  # so many answers more, a proxy repeats this one
        self.counter, self.lock = itertools.count(1), threading.RLock()
        self.now = time.time            # its clock
        self.validate = True            # fetch the token over http
        self.preauthorized = False      # new authorizations are born valid
        self.not_before_ago_s, self.lifetime_s = 3600, 90 * DAY
        self.retry_after = "1"          # on pending, processing
        self.polls_until_valid = 0      # of an order in processing
        self.hold = False               # leave triggered challenges pending until this is false again
        self.strict_signatures = False  # verify each one
        self.terms = self.base + "/terms"  # an account that agreed to others must agree again
        self.eab = None                 # {kid: HMAC key}: then an account needs a binding
        self.eab_once = False           # each kid for one account
        self.profiles = None            # {name: description}
        self.window = None              # (start, end) in RFC 3339 or None: then renewal information is advertised
        self.explanation = None         # its explanationURL
        self.takes_dates = False        # notBefore and notAfter
        self.alternates = []            # issuers (pki.Authority) whose chains are offered beside the default one
        self.revoked = {}               # SHA-256 of a certificate's DER -> reason
        self.issued = {}                # the same -> account number
        cert, key = certificate or authority.server(f"fake-{port}", list(hosts))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(cert, key)
        self.connections = 0
        self.listen()

    def listen(self):
        """At the beginning, and again after close(): between the two, connections are refused."""
        self.closing = threading.Event()
        handler = type("Handler", (_Handler,), {"ca": self})
        server_class = type("Server", (http.server.ThreadingHTTPServer,),
                            {"address_family": socket.AF_INET, "daemon_threads": True, "handle_error": lambda *_: None,
                             "request_queue_size": 64})
        self.server = server_class(("127.0.0.1", self.port), handler)
        plain = self.server.get_request

        def get_request():
            sock, address = plain()
            self.connections += 1
            return self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), address

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

    def wait_until_asked(self, step, since=0, seconds=60):
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
                "chall": "challenge", "finalize": "finalize", "cert": "certificate", "alternate": "alternate", "key-change": "key-change",
                "revoke": "revoke", "renewal-info": "renewal-info", "acme": "credentials"}.get(word, "directory")

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
        if request.method != "POST" or request.form is not None:
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
        return self.check_signer(request)

    def account_of(self, request):
        """The account whose kid the request has, None when there is none."""
        return next((a for a in self.accounts.values() if self.account_url(a) == request.protected.get("kid")), None)

    def account_url(self, account):
        return f"{self.base}/account/{account['number']}"

    def check_signer(self, request):
        account = self.account_of(request) if "kid" in request.protected else None
        jwk = request.protected.get("jwk") or (account or {}).get("jwk")
        if self.strict_signatures and jwk and not signature_holds(request.jws, jwk, self.directory):
            return Problem(403, "unauthorized", "the signature is not by the key of this account")
        if account and account["status"] != "valid":
            return Problem(403, "unauthorized", f"the account is {account['status']}")
        return None

    def new_nonce(self):
        nonce = b64(secrets.token_bytes(18))
        self.nonces.add(nonce)
        return nonce

    def nonce_to_send(self):
        if self.stale_left > 0:
            self.stale_left -= 1
            return self.stale_nonce
        return self.new_nonce()

    def on_directory(self, _request):
        meta = {"termsOfService": self.terms, "website": self.base, "caaIdentities": ["fake.test"]}
        if self.eab is not None:
            meta["externalAccountRequired"] = True
        if self.profiles is not None:
            meta["profiles"] = self.profiles
        body = {"newNonce": self.base + "/nonce", "newAccount": self.base + "/new-account", "newOrder": self.base + "/new-order",
                "revokeCert": self.base + "/revoke", "keyChange": self.base + "/key-change", "meta": meta,
                b64(secrets.token_bytes(6)): "an unknown key"}
        if self.window is not None:
            body["renewalInfo"] = self.base + "/renewal-info"
        return Reply(body=body, nonce=False)

    def on_nonce(self, request):
        return Reply(200 if request.method == "HEAD" else 204)

    def on_account(self, request):
        if request.path != "/new-account":
            return self.change_account(request)
        jwk = request.protected["jwk"]
        print_ = thumbprint_of(jwk)
        known = print_ in self.accounts
        if not known:
            if request.payload.get("onlyReturnExisting"):
                return Problem(400, "accountDoesNotExist", "no such account")
            if not request.payload.get("termsOfServiceAgreed"):
                return Problem(403, "userActionRequired", "agree to the terms of service first")
            trouble = self.check_binding(request)
            if trouble is not None:
                return trouble
            self.accounts[print_] = {"number": next(self.counter), "contact": request.payload.get("contact", []), "jwk": jwk,
                                     "status": "valid", "terms": self.terms}
        self.last_thumbprint = print_
        account = self.accounts[print_]
        return Reply(200 if known else 201, {"status": account["status"], "contact": account["contact"]},
                     headers={"Location": self.account_url(account)})

    def add_account(self, jwk):
        """One that was made elsewhere, with this public key."""
        self.accounts[thumbprint_of(jwk)] = {"number": next(self.counter), "contact": [], "jwk": jwk, "status": "valid", "terms": self.terms}
        return self.account_url(self.accounts[thumbprint_of(jwk)])

    def check_binding(self, request):
        """External account binding, RFC 8555 section 7.3.4."""
        if self.eab is None:
            return None
        binding = request.payload.get("externalAccountBinding")
        if binding is None:
            return Problem(403, "externalAccountRequired", "an external account is required")
        header = json.loads(unb64(binding["protected"]))
        if set(header) != {"alg", "kid", "url"} or header["url"] != self.base + "/new-account":
            self.violations.append(f"the header of an external account binding is {header}")
        if json.loads(unb64(binding["payload"])) != request.protected["jwk"]:
            self.violations.append("an external account binding is not for the key of the account")
        digest = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}.get(header["alg"])
        self.last_binding = header
        if header["kid"] not in self.eab or digest is None:
            return Problem(403, "unauthorized", "the external account is not known")
        signed = f"{binding['protected']}.{binding['payload']}".encode()
        if not hmac.compare_digest(hmac.new(self.eab[header["kid"]], signed, digest).digest(), unb64(binding["signature"])):
            return Problem(403, "unauthorized", "the external account binding does not verify")
        if self.eab_once:
            del self.eab[header["kid"]]
        return None

    def on_credentials(self, request):
        """ZeroSSL's: an external account for an e-mail address."""
        kid, key = f"kid-of-{request.form['email']}", secrets.token_bytes(32)
        self.eab[kid] = key
        return Reply(body={"success": True, "eab_kid": kid, "eab_hmac_key": b64(key)}, nonce=False)

    def change_account(self, request):
        account = self.account_of(request)
        if account is None:
            return Problem(400, "accountDoesNotExist", "no such account")
        change = request.payload or {}
        if change.get("status") == "deactivated":
            account["status"] = "deactivated"
        if change.get("termsOfServiceAgreed"):
            account["terms"] = self.terms
        account["contact"] = change.get("contact", account["contact"])
        return Reply(body={"status": account["status"], "contact": account["contact"]})

    def on_key_change(self, request):
        """RFC 8555 section 7.3.5. The old key has signed the outer message, the new one the inner."""
        account, inner = self.account_of(request), request.payload
        if account is None:
            return Problem(400, "accountDoesNotExist", "no such account")
        header, change = json.loads(unb64(inner["protected"])), json.loads(unb64(inner["payload"]))
        if set(header) != {"alg", "jwk", "url"} or header["url"] != request.protected["url"]:
            self.violations.append(f"the inner header of a key change is {header}")
        if set(inner) != {"protected", "payload", "signature"}:
            self.violations.append(f"the inner message of a key change has {sorted(inner)}")
        if change != {"account": self.account_url(account), "oldKey": account["jwk"]}:
            return Problem(400, "malformed", "the key change is about another account or key")
        if not signature_holds(inner, header["jwk"], self.directory):
            return Problem(400, "malformed", "the new key has not signed")
        new = thumbprint_of(header["jwk"])
        if new in self.accounts:
            return Problem(409, "conflict", "the key is in use", headers={"Location": self.account_url(self.accounts[new])})
        old = next(t for t, a in self.accounts.items() if a is account)
        self.accounts[new] = {**self.accounts.pop(old), "jwk": header["jwk"]}
        return Reply(body={"status": "valid", "contact": account["contact"]})

    def thumbprint(self, request):
        return next((t for t, a in self.accounts.items() if self.account_url(a) == request.protected["kid"]), None)

    def on_order(self, request):
        account = self.account_of(request)
        if account is None:
            return Problem(400, "accountDoesNotExist", "no such account")
        if account["terms"] != self.terms:
            return Problem(403, "userActionRequired", "the terms of service have changed", instance=self.terms,
                           headers={"Link": f'<{self.terms}>;rel="terms-of-service"'})
        profile = request.payload.get("profile")
        if profile is not None and profile not in (self.profiles or {}):
            return Problem(400, "invalidProfile", f'there is no profile "{profile}"')
        if not self.takes_dates and {"notBefore", "notAfter"} & set(request.payload):
            return Problem(400, "malformed", "notBefore and notAfter are not supported")
        number = next(self.counter)
        authorizations = []
        for identifier in request.payload["identifiers"]:
            key = next(self.counter)
            self.authorizations[key] = {"identifier": identifier, "token": b64(secrets.token_bytes(24)), "order": number,
                                        "status": "valid" if self.preauthorized else "pending", "thumbprint": self.thumbprint(request)}
            authorizations.append(key)
        self.orders[number] = {"identifiers": request.payload["identifiers"], "authorizations": authorizations, "status": "pending",
                               "polls": 0, "asked": request.payload, "account": account["number"]}
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
        name, address = one["identifier"]["value"], "127.0.0.1"
        if one["identifier"]["type"] == "ip":
            address, name = name, f"[{name}]" if ":" in name else name
        try:
            answer = net.http(name, path, address, timeout=5)
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

    def sign(self, csr, names, issuer=None, dates=None):
        begin = self.now() - self.not_before_ago_s
        return (issuer or self.issuer).sign(csr, names, *(dates or (begin, begin + self.lifetime_s)))

    def dates_of(self, order):
        """(from, to) in seconds where the order asked for them, else None."""
        asked = [order["asked"].get(m) for m in ("notBefore", "notAfter")]
        if not any(asked):
            return None
        begin, end = (calendar.timegm(time.strptime(a, "%Y-%m-%dT%H:%M:%SZ")) if a else None for a in asked)
        begin = begin or self.now() - self.not_before_ago_s
        return begin, end or begin + self.lifetime_s

    def on_certificate(self, request):
        number = int(request.path.rsplit("/", 1)[1])
        order = self.orders[number]
        if "pem" not in order:
            names, dates = [i["value"] for i in order["identifiers"]], self.dates_of(order)
            order["pem"] = self.sign(order["csr"], names, dates=dates)
            order["others"] = [self.sign(order["csr"], names, issuer, dates) + issuer.cert.read_bytes() for issuer in self.alternates]
            self.issued[pki.sha256_of(order["pem"])] = order["account"]
        reply = self.pem_reply(order["pem"] + self.issuer.cert.read_bytes())
        reply.headers["Link"] = [f'<{self.url}>;rel="index"', *(f'<{self.base}/alternate/{number}/{i}>;title="x";rel="alternate"'
                                                                for i in range(len(self.alternates)))]
        return reply

    def on_alternate(self, request):
        number, which = map(int, request.path.split("/")[2:])
        return self.pem_reply(self.orders[number]["others"][which])

    def on_revoke(self, request):
        """RFC 8555 section 7.6: by the account that issued it, by one that has proven all its names, or by the certificate's own key."""
        der = unb64(request.payload["certificate"])
        digest, reason = hashlib.sha256(der).hexdigest(), request.payload.get("reason")
        if set(request.payload) - {"certificate", "reason"}:
            self.violations.append(f"a revocation with {sorted(request.payload)}")
        if digest not in self.issued:
            return Problem(404, "malformed", "no such certificate")
        if "jwk" in request.protected:
            key = pki.openssl("x509", "-inform", "DER", "-noout", "-pubkey", stdin=der)
            if pki.openssl("pkey", "-pubin", "-outform", "DER", stdin=key) != public_key_of_jwk(request.protected["jwk"]):
                return Problem(403, "unauthorized", "this is not the certificate's key")
        elif (self.account_of(request) or {}).get("number") != self.issued[digest]:
            proven = {one["identifier"]["value"] for one in self.authorizations.values()
                      if one["status"] == "valid" and one["thumbprint"] == self.thumbprint(request)}
            if not pki.names_of(pki.openssl("x509", "-inform", "DER", stdin=der)) <= proven:
                return Problem(403, "unauthorized", "the certificate is another account's")
        if digest in self.revoked:
            return Problem(400, "alreadyRevoked", "it is revoked already")
        if reason not in (None, 0, 1, 3, 4, 5):
            return Problem(400, "badRevocationReason", f"reason {reason} is not taken")
        self.revoked[digest] = reason or 0
        return Reply()

    def on_renewal_info(self, _request):
        start, end = self.window
        body = {"suggestedWindow": {"start": start, "end": end}}
        if self.explanation:
            body["explanationURL"] = self.explanation
        return Reply(body=body, headers={"Retry-After": "21600"}, nonce=False)

    def pem_reply(self, pem):
        return Reply(body=pem, content_type="application/pem-certificate-chain")


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes: the second would wait for 40 ms
    ca = None
    timeout = 60

    def log_message(self, *_):
        pass

    def date_time_string(self, timestamp=None):
        return super().date_time_string(self.ca.now())

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
                headers.setdefault("replay-nonce", self.ca.nonce_to_send())
        headers.setdefault("Content-Length", str(len(reply.body)))
        headers.setdefault("Link", f'<{self.ca.url}>;rel="index"')
        for name, value in headers.items():
            for each in value if isinstance(value, list) else [value] if value is not None else []:
                self.send_header(name, each)
        self.end_headers()
        if self.command != "HEAD" and reply.status != 204:
            self.wfile.write(reply.body)

    do_GET = do_HEAD = do_POST = one
