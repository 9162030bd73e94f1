"""Fixtures. Every test starts from Debian's stock machine: fresh web server configuration, an empty store, no process but the CAs."""

import itertools
import os
import pathlib
import shutil

import pytest

pytest.register_assert_rewrite("enable_common", "harness.client")

from harness import client, fakeca, machine, named, pebble, pki, web

KEPT = []  # CAs and the resolver, which live for the whole session: anything with a `process`
PORTS = itertools.count(14000, 10)


def pytest_configure(config):
    if not machine.is_inside():
        pytest.exit("run these tests by tests/e2e/run: they need a network and a file system of their own", returncode=2)


def pytest_sessionfinish(session, exitstatus):
    """Tell the caller the counts in one line that a script can add up."""
    path = os.environ.get("E2E_TALLY")
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if path and reporter:
        counts = {k: len([r for r in reporter.stats.get(k, []) if getattr(r, "nodeid", True)]) for k in ("passed", "failed", "error", "skipped")}
        pathlib.Path(path).write_text(f"{counts['passed']} {counts['failed'] + counts['error']} {counts['skipped']}\n")


# Where the protocol itself is tested, every test runs with each Pebble; elsewhere with the newest, unless marked every_pebble.
PROTOCOL_FILES = ("test_issue", "test_account")


def pytest_generate_tests(metafunc):
    if "pebble_version" not in metafunc.fixturenames:
        return
    versions = [pebble.version_of_system()] + ["2.10"] * (pebble.version_of_system() != "2.10")
    available = list(pebble.programs())
    every = metafunc.module.__name__ in PROTOCOL_FILES or list(metafunc.definition.iter_markers("every_pebble"))
    if not every or os.environ.get("E2E_PEBBLE") == "newest":
        versions = available[-1:] or versions[:1]
    metafunc.parametrize("pebble_version", versions, scope="session")


@pytest.fixture(scope="session")
def work():
    path = machine.WORK / "session"
    path.mkdir(exist_ok=True)
    path.chmod(0o755)
    return path


@pytest.fixture(scope="session")
def authority(work):
    return pki.Authority(work / "authority")


@pytest.fixture(scope="session")
def dns(work):
    available = pebble.programs()
    if not available:
        pytest.skip("pebble is not installed")
    program = shutil.which("pebble-challtestsrv") or str(pathlib.Path(list(available.values())[0]).parent / "pebble-challtestsrv")
    server = pebble.Dns(program, work)
    KEPT.append(server)
    return server


@pytest.fixture(scope="session")
def make_pebble(pebble_version, dns, work, authority):
    """make_pebble(nonce_reject=…, …): a running CA of this version; one that is asked for twice is shared."""
    program = pebble.programs().get(pebble_version)
    if program is None:
        pytest.skip(f"Pebble {pebble_version} is not at hand")
    known = {}

    def make(**options):
        key = repr(sorted(options.items()))
        if key not in known or known[key].process.poll() is not None:
            port = next(PORTS)
            known[key] = pebble.Pebble(pebble_version, program, work / f"pebble-{port}", authority, port, **options)
            KEPT.append(known[key])
        return known[key]

    yield make
    for server in known.values():
        server.stop()
        KEPT.remove(server)


@pytest.fixture
def ca(make_pebble):
    """The everyday CA: 5 % of nonces rejected, no waiting, nothing reused."""
    return make_pebble(nonce_reject=5)


@pytest.fixture
def fake_ca(tmp_path, authority):
    """The scripted CA. Any breach of the protocol that it saw fails the test."""
    server = fakeca.FakeCA(tmp_path, authority, next(PORTS))
    yield server
    server.close()
    assert not server.violations, server.violations


class LongRun:
    """A run against a scripted CA that tries its patience, with directories of its own."""

    def __init__(self, step, directory, authority):
        self.ca = fakeca.FakeCA(directory, authority, next(PORTS))
        self.ca.preauthorized, self.ca.retry_after, self.name = True, "3", f"{step}.long.test"
        self.client = client.Client(directory / "etc", directory / "var")
        root = directory / "www"  # its own: the machine's is made afresh before each test
        root.mkdir(parents=True)
        self.words = ["--webroot", "-w", str(root), *self.ca.arguments]
        if step == "order-poll":
            self.ca.polls_until_valid = 10**9
        elif step == "authorization":
            self.ca.preauthorized = False
            self.ca.misbehave("challenge", lambda ca, request: fakeca.Reply(body=ca.challenge_body(int(request.path.rsplit("/", 1)[1]))))
        elif step == "trickle":
            self.ca.misbehave("directory", lambda *_: fakeca.Trickle())
        else:
            self.ca.misbehave(step, lambda *_: fakeca.Hang())
        self.process = self.client.start("issue", self.name, *self.words)


def wants_long_runs(item):
    return item.path.name == "test_patience.py"


def pytest_collection_modifyitems(items):
    items.sort(key=wants_long_runs)


@pytest.fixture(scope="session", autouse=True)
def long_runs(request, work, authority):
    """{step: LongRun}, begun before the first test when one of the selected tests wants them."""
    runs = {}
    if any(map(wants_long_runs, request.session.items)):
        for step in ("directory", "nonce", "order", "trickle", "authorization", "order-poll"):
            runs[step] = LongRun(step, work / f"long-{step}", authority)
            KEPT.append(runs[step])
    yield runs
    for run in runs.values():
        run.process.kill()
        run.ca.close()
        KEPT.remove(run)


def kept():
    """Process ids that, with their children, outlive a test."""
    return {server.process.pid for server in KEPT}


@pytest.fixture(autouse=True)
def fresh_machine():
    """Before each test: only the CAs run, and all directories that tests write to are new."""
    machine.end_all_but(kept())
    machine.renew()
    client.Client.ignored = kept()
    yield
    machine.end_all_but(kept())


@pytest.fixture
def tlsup():
    return client.Client()


def required(kind):
    try:
        return kind.required()
    except machine.Unavailable as why:
        pytest.skip(str(why))


@pytest.fixture
def nginx():
    return required(web.Nginx)


@pytest.fixture
def apache():
    return required(web.Apache)


@pytest.fixture(params=["nginx", "apache"])
def server(request):
    """A test that must hold for both web servers."""
    return required({"nginx": web.Nginx, "apache": web.Apache}[request.param])


@pytest.fixture
def name(request):
    """A domain name that no other test uses."""
    return f"n{next(NAMES)}.test"


NAMES = itertools.count(1)


@pytest.fixture
def new_name():
    return lambda: f"n{next(NAMES)}.test"


@pytest.fixture
def ipv6():
    if not machine.has_ipv6():
        pytest.skip("no IPv6 on the loopback interface here")


@pytest.fixture
def make_named(tmp_path):
    """make_named(zones=[...], address=...): a BIND of the test's own, which is this machine's resolver too."""
    if named.why_not():
        pytest.skip(named.why_not())
    servers = []

    def make(**options):
        servers.append(named.Named(tmp_path / f"named-{len(servers)}", **options))
        return servers[-1]

    named.use_as_resolver()
    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def key(tmp_path):
    """A TSIG key."""
    return named.Key(tmp_path)


@pytest.fixture
def dns_ca(make_pebble):
    """A CA that asks the test's BIND."""
    return make_pebble(nonce_reject=0, caa_identities=["pebble.test"], resolver="127.0.0.1:53")
