"""Six weeks of a fleet, by an injected clock: nothing expires, whatever fails meanwhile; each failure is told once. And the memory of `renew`:
what it does not look at has nothing to do."""

import base64
import collections
import hashlib
import os
import pathlib
import re
import socket
import ssl
import time

import pytest

from harness import client, fakeca
from harness.fakeca import Problem, Reply

HOUR, DAY = 3600, 86400

needs_test_hooks = pytest.mark.skipif(not client.built_with("test-hooks"), reason="only in a build with --enable-test-hooks, which takes a clock")

Issued = collections.namedtuple("Issued", "name begin end at")


def der_of(pem):
    return ssl.PEM_cert_to_DER_cert(pem.decode())


def serial_of(der):
    """The content octets of serialNumber: Certificate { TBSCertificate { [0] version, serialNumber ..."""
    def inner(data):
        length, skip = data[1], 2
        if length & 0x80:
            skip += length & 0x7F
            length = int.from_bytes(data[2:skip], "big")
        return data[skip:skip + length], data[skip + length:]

    fields = inner(inner(der)[0])[0]
    _, rest = inner(fields)
    return inner(rest)[0]


class FleetCA(fakeca.FakeCA):
    """Lives by the fleet's clock. How long a certificate lives is in its name ("d45-..."); it suggests the time from 60 to 65 % of each
    life for renewal, unless it has `pulled` a name forward."""

    def __init__(self, clock, *arguments):
        super().__init__(*arguments)
        self.now, self.window, self.retry_after = clock.now, True, None
        self.ages = {}       # of the first certificate of a name, in days
        self.by_serial, self.by_sha256, self.history = {}, {}, collections.defaultdict(list)
        self.pulled, self.orders_at = set(), []

    def sign(self, csr, names, issuer=None, dates=None):
        life = int(re.match(r"d(\d+)-", names[0]).group(1)) * DAY
        begin = int(self.now()) - 60 - int(self.ages.pop(names[0], 0) * DAY)
        pem = self.issuer.sign(csr, names, begin, begin + life)
        der, one = der_of(pem), Issued(names[0], begin, begin + life, self.now())
        self.by_serial[serial_of(der)] = self.by_sha256[hashlib.sha256(der).hexdigest()] = one
        self.history[names[0]].append(one)
        return pem

    def on_order(self, request):
        self.orders_at.append((self.now(), request.payload["identifiers"][0]["value"]))
        return super().on_order(request)

    def on_renewal_info(self, request):
        serial = request.path.rsplit(".", 1)[1]
        one = self.by_serial[base64.urlsafe_b64decode(serial + "=" * (-len(serial) % 4))]
        life = one.end - one.begin
        start, end = (self.now() - 2 * DAY, self.now() - DAY) if one.name in self.pulled else (one.begin + 0.60 * life, one.begin + 0.65 * life)
        when = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(t)) for t in (start, end)]
        return Reply(body={"suggestedWindow": {"start": when[0], "end": when[1]}}, headers={"Retry-After": str(DAY)}, nonce=False)


class Clock:
    def __init__(self):
        self.began, self.offset = time.time(), 0

    def now(self):
        return time.time() + self.offset

    @property
    def day(self):
        return self.offset / DAY


NOTIFY = """#!/bin/sh
cat >> {0}.text
echo "$TLSUP_EVENT|$TLSUP_FAILED|$TLSUP_RECOVERED" >> {0}
"""
HOOK = """#!/bin/sh
echo "$RENEWED_DOMAINS" >> {0}/ran
[ -s {0}/fail ] || exit 0
sed -i 1d {0}/fail
echo "the mail server did not like it" >&2
exit 1
"""

WEB = ["d6-web1.test", "d6-web2.test", "d45-web.test", "d90-web.test"]
HOOKED = ["d6-hook.test", "d45-hook.test"]
PLAIN = ["d6-plain.test", "d6-late.test", "d45-plain.test", "d45-old.test", "d90-plain.test", "d90-old.test"]
AGES = {"d6-web2.test": 2, "d6-hook.test": 1, "d6-late.test": 3, "d45-web.test": 9, "d45-hook.test": 20, "d45-old.test": 24, "d90-web.test": 36,
        "d90-old.test": 50}


class Fleet:
    """The machine, its timer and its clock."""

    def __init__(self, tlsup, ca, clock, nginx, directory):
        self.tlsup, self.ca, self.clock, self.nginx, self.directory = tlsup, ca, clock, nginx, directory
        self.told, self.log, self.failed_runs = directory / "told", [], []
        self.notices = []  # (day, event, failed, recovered)

    def script(self, name, text):
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def env(self):
        return {"TLSUP_TEST_CLOCK_OFFSET": str(int(self.clock.offset))}

    def build(self):
        self.tlsup.config.mkdir(exist_ok=True)
        told = self.script("notify", NOTIFY.format(self.told))
        hook = self.script("hook", HOOK.format(self.directory))
        (self.tlsup.config / "tlsup.conf").write_text(f"notify-command = {told}\nnotify-syslog = no\n")
        self.ca.ages.update(AGES)
        for name in WEB:
            self.nginx.site(name)
        self.nginx.start()
        for name in WEB:
            self.tlsup.ok("enable", name, *self.ca.arguments, env=self.env())
        for name in HOOKED + PLAIN:
            extra = ["--deploy-hook", hook] if name in HOOKED else []
            self.tlsup.ok("issue", name, "--webroot", "-w", "/var/www/html", *extra, *self.ca.arguments, env=self.env())
        self.ca.preauthorized = True  # from here on the ways of the certificate matter, not those of challenges
        return self

    def served(self, name):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", 443), 10) as raw, context.wrap_socket(raw, server_hostname=name) as tls:
            return self.ca.by_sha256[hashlib.sha256(tls.getpeercert(True)).hexdigest()]

    def nothing_has_expired(self):
        for name in WEB:
            one = self.served(name)
            assert one.name == name and one.end > self.clock.now(), f"day {self.clock.day:.2f}: {name} is served, expired"
        for name in HOOKED + PLAIN:
            der = der_of(self.tlsup.file(name, "cert").read_bytes())
            assert self.ca.by_sha256[hashlib.sha256(der).hexdigest()].end > self.clock.now(), f"day {self.clock.day:.2f}: {name} has expired"

    def read_notices(self):
        if not self.told.exists():
            return
        for line in self.told.read_text().splitlines():
            event, failed, recovered = line.split("|")
            self.notices.append((self.clock.day, event, failed.split(), recovered.split()))
        self.told.unlink()

    def run(self):
        result = self.tlsup("renew", "-q", env=self.env())
        if result.status != 0:
            self.failed_runs.append((self.clock.day, result))
        self.nothing_has_expired()
        self.read_notices()
        return result

    def until(self, day, step=8 * HOUR):
        while self.clock.day < day:
            self.clock.offset += step
            self.run()

    def renewals(self, name):
        """(part of its life that was over when its successor was issued, the day of that)."""
        mine = self.ca.history[name]
        return [((new.at - old.begin) / (old.end - old.begin), (new.at - self.clock.began) / DAY) for old, new in zip(mine, mine[1:])]

    def told_of(self, name, since, until):
        """What was told of one between two days: "failed" and "recovered", in order."""
        words = []
        for day, _event, failed, recovered in self.notices:
            if since <= day <= until:
                words += ["failed"] * (name in failed) + ["recovered"] * (name in recovered)
        return words


    def due_within(self, days):
        """Names whose suggested window opens within so many days."""
        live = [self.ca.history[name][-1] for name in WEB + HOOKED + PLAIN]
        opens = {one.name: (one.begin + 0.60 * (one.end - one.begin) - self.clock.now()) / DAY for one in live}
        return {name for name, days_left in opens.items() if 0 < days_left < days}


def refuse_all(ca):
    for step in fakeca.STEPS:
        ca.misbehave(step, lambda *_: Problem(503, "serverInternal", "down for maintenance", headers={"Retry-After": "3600"}))


@pytest.fixture
def fleet(tlsup, nginx, authority, tmp_path):
    clock = Clock()
    ca = FleetCA(clock, tmp_path, authority, 14900)
    yield Fleet(tlsup, ca, clock, nginx, tmp_path).build()
    ca.close()
    assert not ca.violations, ca.violations


@needs_test_hooks
def test_six_weeks(fleet):
    ca = fleet.ca
    fleet.until(9)
    assert not fleet.failed_runs and not fleet.notices, (fleet.failed_runs, fleet.notices)

    # -- the CA is down for two days, when two are about to be due: first it says so, then nobody is there
    while len(fleet.due_within(1.2)) < 2 and fleet.clock.day < 13:
        fleet.until(fleet.clock.day + 0.1, 2 * HOUR)
    down_at, about_to_be_due = fleet.clock.day, fleet.due_within(1.2)
    before = len(ca.log)
    refuse_all(ca)
    fleet.until(down_at + 1, 2 * HOUR)
    down = ca.log[before:]
    ca.behave()
    ca.close()
    fleet.until(down_at + 2, 12 * HOUR)  # each run waits some seconds for it
    ca.listen()
    up_again = down_at + 3
    fleet.until(up_again, 2 * HOUR)
    troubled = {name for _, _, failed, _ in fleet.notices for name in failed}
    assert len(about_to_be_due) >= 2 and troubled >= about_to_be_due, (about_to_be_due, fleet.notices)
    for name in troubled:
        assert fleet.told_of(name, down_at, up_again) in (["failed", "recovered"], ["failed", "failed", "recovered"]), (name, fleet.notices)
    attempts = [s for s, _ in down if s in ("directory", "nonce", "order")]
    assert len(attempts) <= 8 * len(troubled) and len(down) < 200, collections.Counter(s for s, _ in down)

    # -- a person breaks the web server's configuration, and mends it a day later
    fleet.until(17)
    mended = len(fleet.notices)
    path = pathlib.Path("/etc/nginx/sites-available/default")
    good = path.read_text()
    fleet.nginx.break_it()
    while not fleet.notices[mended:] and fleet.clock.day < 21:
        fleet.until(fleet.clock.day + 0.1, 2 * HOUR)
    fleet.until(fleet.clock.day + 1, 2 * HOUR)
    stuck = {name for _, _, failed, _ in fleet.notices[mended:] for name in failed}
    assert stuck and stuck <= set(WEB), fleet.notices[mended:]
    orders = len(ca.orders_at)
    path.write_text(good)
    fleet.until(22, 2 * HOUR)
    for name in stuck:
        assert fleet.told_of(name, 17, 22) == ["failed", "recovered"], (name, fleet.notices)
        assert [who for _, who in ca.orders_at[orders:]].count(name) <= 1, "one order, where none was made before"

    # -- a hook fails twice
    held = len(fleet.notices)
    (fleet.directory / "fail").write_text("once\ntwice\n")
    (fleet.directory / "ran").write_text("")
    since = len(ca.orders_at)
    while not fleet.notices[held:] and fleet.clock.day < 28:
        fleet.until(fleet.clock.day + 0.1, 2 * HOUR)
    failing = fleet.notices[held][2]
    assert len(failing) == 1 and failing[0] in HOOKED, fleet.notices[held:]
    began = fleet.clock.day
    fleet.until(began + 1, 2 * HOUR)
    assert fleet.told_of(failing[0], 22, began + 1) == ["failed", "recovered"], fleet.notices[held:]
    assert (fleet.directory / "ran").read_text().split().count(failing[0]) == 3
    assert [who for _, who in ca.orders_at[since:]].count(failing[0]) == 1

    # -- the CA wants one back, long before its time
    fleet.until(30)
    ca.pulled.add("d90-plain.test")
    fleet.until(31.1, 2 * HOUR)
    ca.pulled.clear()
    assert len(ca.history["d90-plain.test"]) == 2
    fleet.until(42)

    # -- all of it
    for name in WEB + HOOKED + PLAIN:
        assert ca.history[name], name
        for part, day in fleet.renewals(name):
            if name == "d90-plain.test":
                continue
            troubled_then = down_at <= day <= up_again or 17 <= day <= 22
            assert 0.55 < part < (1 if troubled_then else 0.72), (name, part, day)
    for name in [n for n in WEB + HOOKED + PLAIN if n.startswith("d6-")]:
        assert len(fleet.renewals(name)) >= 8, (name, fleet.renewals(name))
    for name in [n for n in WEB + HOOKED + PLAIN if n.startswith("d45-")]:
        assert len(fleet.renewals(name)) in (1, 2), (name, fleet.renewals(name))
    issued = sum(map(len, ca.history.values()))
    assert issued <= len(ca.orders_at) <= issued + len(troubled), "one order a certificate"
    assert len(ca.requests("renewal-info")) < 1.3 * (42 * 12 + issued), "asked as often as Retry-After says"
    quiet = [n for n in fleet.notices if not (down_at <= n[0] <= up_again or 17 <= n[0] <= 22 or 22 <= n[0] <= began + 1)]
    assert not quiet, quiet
    assert not [r for day, r in fleet.failed_runs if day > began + 1]


# -- the memory ---------------------------------------------------------------------------------------------


def index_of(tlsup):
    return tlsup.state / "due.index"


@pytest.fixture
def noted(tlsup, fake_ca, name, tmp_path):
    """A certificate that the last run found nothing to do for."""
    fake_ca.preauthorized = True
    (tmp_path / "www").mkdir()
    tlsup.ok("issue", name, "--webroot", "-w", tmp_path / "www", *fake_ca.arguments)
    tlsup.ok("renew")
    assert f" {name}\n" in index_of(tlsup).read_text()
    fake_ca.log.clear()
    return name


def test_what_is_noted_is_not_read(tlsup, noted):
    """Else a run over ten thousand would be as slow as ten thousand runs."""
    conf = tlsup.config / "certs.d" / f"{noted}.conf"
    before = index_of(tlsup).stat()
    for path in (conf, tlsup.state / "state" / f"{noted}.json", tlsup.file(noted, "fullchain")):
        os.utime(path, ns=(1, path.stat().st_mtime_ns))
    tlsup.ok("renew")
    tlsup.ok("renew")
    after = index_of(tlsup).stat()
    seen = conf.stat().st_atime_ns
    tlsup.ok("renew")
    assert conf.stat().st_atime_ns == seen
    assert before.st_ino != after.st_ino, "a change of its times is a change"


def test_an_edited_configuration_is_noticed(tlsup, fake_ca, noted):
    conf = tlsup.config / "certs.d" / f"{noted}.conf"
    conf.write_text(re.sub(r"(?m)^(names\s*=.*)$", rf"\1 www.{noted}", conf.read_text()))
    tlsup.ok("renew")
    assert tlsup.version(noted) == 2


def test_another_default_is_noticed(tlsup, fake_ca, noted):
    """A key type that the certificate's own configuration leaves open."""
    conf = tlsup.config / "certs.d" / f"{noted}.conf"
    conf.write_text(re.sub(r"(?m)^key-type.*\n", "", conf.read_text()))
    tlsup.ok("renew")
    (tlsup.config / "tlsup.conf").write_text("key-type = ecdsa-p384\n")
    tlsup.ok("renew")
    assert tlsup.version(noted) == 2


def test_a_version_that_went_back_is_noticed(tlsup, fake_ca, name, tmp_path):
    """An older version, about to expire, became the live one."""
    fake_ca.preauthorized = True
    (tmp_path / "www").mkdir()
    fake_ca.lifetime_s, fake_ca.not_before_ago_s = 90 * DAY, 80 * DAY
    tlsup.ok("issue", name, "--webroot", "-w", tmp_path / "www", *fake_ca.arguments)
    fake_ca.not_before_ago_s = HOUR
    tlsup.ok("renew")
    tlsup.ok("renew")
    assert tlsup.version(name) == 2
    state = tlsup.state / "state" / f"{name}.json"
    link = tlsup.live(name)
    link.unlink()
    link.symlink_to(f"../certs/{name}/0001")
    state.write_text(re.sub(r'("version":\s*)2', r"\g<1>1", state.read_text()))
    tlsup.ok("renew")
    assert tlsup.version(name) == 3


@pytest.mark.parametrize("content", [b"", b"\0" * 5000, b"\xff\n" * 5000, b"0" * 32 + b" 99999999999 1 %s\n"], ids=["empty", "zeros", "noise", "forged"])
def test_a_damaged_memory_is_made_anew(tlsup, noted, content):
    index_of(tlsup).write_bytes(content.replace(b"%s", noted.encode()))
    tlsup.ok("renew")
    assert f" {noted}\n" in index_of(tlsup).read_text()


def test_a_memory_that_cannot_be_written(tlsup, noted):
    index_of(tlsup).unlink()
    index_of(tlsup).mkdir()
    result = tlsup.ok("renew")
    assert str(index_of(tlsup)) in result.err, "said, and no more"


def test_by_hand_looks_in_any_case(tlsup, fake_ca, noted):
    tlsup.ok("renew", noted, "--force-renewal")
    assert tlsup.version(noted) == 2
    tlsup.ok("renew")
    assert tlsup.version(noted) == 2


def test_dry_run_notes_nothing(tlsup, fake_ca, noted):
    index_of(tlsup).unlink()
    tlsup("renew", "--dry-run")
    assert not index_of(tlsup).exists()


@needs_test_hooks
def test_a_ca_that_wants_each_new_one_back(tlsup, fake_ca, name, tmp_path):
    """Its first word is obeyed at once; then it gets one a day, not one each hour."""
    (tmp_path / "www").mkdir()
    clock = Clock()
    fake_ca.preauthorized, fake_ca.now, fake_ca.window = True, clock.now, ("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z")
    tlsup.ok("issue", name, "--webroot", "-w", tmp_path / "www", *fake_ca.arguments)
    for _ in range(48):
        clock.offset += HOUR
        tlsup.ok("renew", env={"TLSUP_TEST_CLOCK_OFFSET": str(clock.offset)})
    assert 3 <= tlsup.version(name) <= 4


@needs_test_hooks
def test_a_clock_that_goes_backwards(tlsup, fake_ca, noted):
    """A battery that died: 1970. Nothing is due then; and nothing is noted that would hide what is due when the clock is right again."""
    tlsup("renew", env={"TLSUP_TEST_CLOCK_OFFSET": str(-int(time.time()) + 1000)})
    tlsup.ok("renew", env={"TLSUP_TEST_CLOCK_OFFSET": str(61 * DAY)})
    assert fake_ca.requests("order"), "it was due"


@needs_test_hooks
def test_a_renewal_is_not_hidden(tlsup, fake_ca, noted):
    """Day by day: it comes when it is due."""
    for day in [*range(1, 12), *range(55, 70)]:
        index = index_of(tlsup).read_bytes()
        tlsup("renew", "-q", env={"TLSUP_TEST_CLOCK_OFFSET": str(day * DAY)})
        if fake_ca.requests("order"):
            break
        assert index_of(tlsup).read_bytes() != index
    assert 58 <= day <= 61
