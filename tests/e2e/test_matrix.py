"""The same plain course of a certificate - issued, renewed, revoked - on CAs of every temper. Not the full product of what can be set: each two values of
two settings meet at least once."""

import json

import pytest

from harness import pki
from harness.client import check_store
from harness.fakeca import b64

pytestmark = pytest.mark.every_pebble

KID, MAC = "kid-1", bytes(range(1, 49))
FIELDS = ("nonce_reject", "authz_reuse", "alternate_roots", "chain_length", "eab", "profiles")
ROWS = [
    (0, 0, 0, 1, False, False),
    (0, 50, 2, 3, True, True),
    (0, 100, 0, 3, False, True),
    (5, 0, 2, 3, False, True),
    (5, 50, 0, 1, True, False),
    (5, 100, 2, 1, True, True),
    (50, 0, 2, 1, True, True),
    (50, 50, 0, 3, False, False),
    (50, 100, 2, 3, True, False),
]


def test_every_pair_of_values_is_there():
    values = [sorted({row[i] for row in ROWS}) for i in range(len(FIELDS))]
    missing = [(FIELDS[i], a, FIELDS[k], b) for i in range(len(FIELDS)) for k in range(i) for a in values[i] for b in values[k]
               if not any(row[i] == a and row[k] == b for row in ROWS)]
    assert not missing, missing


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(f"{int(value)}" for value in row))
def test_issue_renew_revoke(tlsup, make_pebble, new_name, row):
    options = dict(zip(FIELDS, row))
    eab, profiles = options.pop("eab"), options.pop("profiles")
    ca = make_pebble(**options, eab={KID: b64(MAC)} if eab else None, profiles=(("one", 80 * 86400), ("two", 40 * 86400)) if profiles else None)
    names = [new_name(), new_name()]
    words = ["--eab-kid", KID, "--eab-hmac-key", b64(MAC)] if eab else []
    if profiles:
        words += ["--preferred-profile", "two"]  # Pebble 2.4 has none
    tlsup.ok("issue", *names, "--standalone", *words, *ca.arguments)
    roots = ca.roots
    check_store(tlsup, names[0], names, roots)
    assert tlsup.file(names[0], "chain").read_bytes().count(b"BEGIN CERTIFICATE") == options["chain_length"]
    first = tlsup.file(names[0], "cert").read_bytes()
    tlsup.ok("renew", "--force-renewal")
    assert tlsup.version(names[0]) == 2
    check_store(tlsup, names[0], names, roots)
    assert tlsup.file(names[0], "cert").read_bytes() != first
    tlsup.ok("revoke", names[0], "-n", "--reason", "superseded")
    serial = pki.serial_of(tlsup.file(names[0], "cert"))
    assert json.loads(ca.management(f"cert-status-by-serial/{serial}"))["Status"] == "Revoked"
    tlsup.ok("renew")
    assert tlsup.version(names[0]) == 3, "what was revoked is replaced"
