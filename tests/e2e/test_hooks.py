"""Challenges answered by programs of the user's: our own contract, and scripts written for other clients, as they are. BIND is what they talk to."""

import itertools
import os
import pathlib
import re
import shutil
import signal
import time

import pytest

from harness import client, machine
from harness.client import check_store
from harness.named import NS1, NS2, Zone, until

NAMES = itertools.count(1)
TOP = client.TOP


@pytest.fixture
def name():
    return f"h{next(NAMES)}.example.test"


@pytest.fixture
def server(make_named, key, name):
    return make_named(zones=[Zone(name, updaters=[key])])


@pytest.fixture
def log(tmp_path):
    """Where the scripts write down how they were called."""
    path = tmp_path / "calls.log"
    path.touch()
    return path


@pytest.fixture
def script(tmp_path, key, log):
    """script(title, text, mode=...): a program, with KEY and LOG in its text replaced."""
    def make(title, text, mode=0o755):
        path = tmp_path / title
        path.write_text(text.lstrip("\n").replace("@KEY@", str(key.file)).replace("@LOG@", str(log)))
        path.chmod(mode)
        return path

    return make


@pytest.fixture(scope="session")
def bridge():
    """hooks/acme-sh-dns, where the program under test looks for it once it is installed."""
    found = re.search(rb"(/[\w./-]+)/acme-sh-dns\0", pathlib.Path(client.program()).read_bytes())
    assert found, "the program does not know of the bridge"
    directory = pathlib.Path(found.group(1).decode())
    there = directory
    while not there.exists():
        there = there.parent
    if there == directory:
        machine.run("mount", "-t", "tmpfs", "tmpfs", directory)
    else:
        machine._stage(str(there))
        directory.mkdir(parents=True)
    shutil.copy(TOP / "hooks/acme-sh-dns", directory / "acme-sh-dns")
    (directory / "acme-sh-dns").chmod(0o755)


def challenge_of(name):
    return f"_acme-challenge.{name}"


def issue(tlsup, ca, *words, **options):
    return tlsup.ok("issue", *words, *ca.arguments, **options)


def fail(tlsup, ca, *words, **options):
    result = tlsup("issue", *words, *ca.arguments, **options)
    assert result.status in (1, 2, 3, 4), result
    return result


def triggered(ca, since=0):
    return [r for r in ca.requests()[since:] if r.startswith("POST /chalZ")]


# -- the scripts --------------------------------------------------------------------------------------------

OWN = r"""
#!/bin/sh
set -eu
echo "$1 $TLSUP_ACT $TLSUP_TYPE $TLSUP_NAME $TLSUP_DOMAIN $TLSUP_RECORD $TLSUP_CERT $TLSUP_REMAINING [$TLSUP_FAILED] [$TLSUP_OUTPUT] [$TLSUP_NAMES]" >>@LOG@
case $1 in
    present) change=add ttl=60; echo "  id of $TLSUP_VALUE" ;;
    cleanup) change=delete ttl= ;;
    *) exit 3 ;;
esac
printf 'server 127.0.0.1\nupdate %s %s. %s TXT "%s"\nsend\n' "$change" "$TLSUP_RECORD" "$ttl" "$TLSUP_VALUE" | nsupdate -k @KEY@
"""

CERTBOT_AUTH = r"""
#!/bin/bash
# certbot certonly --manual --preferred-challenges dns --manual-auth-hook /etc/letsencrypt/auth.sh
echo "auth $CERTBOT_DOMAIN $CERTBOT_REMAINING_CHALLENGES $CERTBOT_ALL_DOMAINS [${CERTBOT_TOKEN-}] [${CERTBOT_AUTH_OUTPUT-}]" >>@LOG@
nsupdate -k @KEY@ <<EOF >&2
server 127.0.0.1
update add _acme-challenge.${CERTBOT_DOMAIN}. 60 IN TXT "${CERTBOT_VALIDATION}"
send
EOF
status=$?
echo
echo "record:${CERTBOT_VALIDATION}"
exit $status
"""

CERTBOT_CLEANUP = r"""
#!/bin/bash
echo "cleanup $CERTBOT_DOMAIN $CERTBOT_REMAINING_CHALLENGES $CERTBOT_ALL_DOMAINS [${CERTBOT_TOKEN-}] [${CERTBOT_AUTH_OUTPUT-}]" >>@LOG@
# The identifier that the other one has printed is all that we go by.
nsupdate -k @KEY@ <<EOF
server 127.0.0.1
update delete _acme-challenge.${CERTBOT_DOMAIN}. TXT "${CERTBOT_AUTH_OUTPUT#record:}"
send
EOF
"""

DEHYDRATED = r"""
#!/usr/bin/env bash

deploy_challenge() {
    local DOMAIN="${1}" TOKEN_FILENAME="${2}" TOKEN_VALUE="${3}"

    printf 'server 127.0.0.1\nupdate add _acme-challenge.%s 60 in TXT "%s"\nsend\n' "${DOMAIN}" "${TOKEN_VALUE}" | nsupdate -k @KEY@
}

clean_challenge() {
    local DOMAIN="${1}" TOKEN_FILENAME="${2}" TOKEN_VALUE="${3}"

    printf 'server 127.0.0.1\nupdate delete _acme-challenge.%s TXT "%s"\nsend\n' "${DOMAIN}" "${TOKEN_VALUE}" | nsupdate -k @KEY@
}

echo "$*" >>@LOG@
HANDLER="$1"; shift
if [[ "${HANDLER}" =~ ^(deploy_challenge|clean_challenge|deploy_cert|unchanged_cert|invalid_challenge|request_failure|exit_hook)$ ]]; then
    "$HANDLER" "$@"
fi
"""

UACME = r"""
#!/bin/sh
METHOD=$1
TYPE=$2
IDENT=$3
TOKEN=$4
AUTH=$5
echo "$*" >>@LOG@
if [ "$#" -ne 5 ]; then
    exit 85
fi
case "$METHOD" in
    begin)
        case "$TYPE" in
            dns-01)
                printf 'server 127.0.0.1\nupdate add _acme-challenge.%s 60 IN TXT %s\nsend\n' "$IDENT" "$AUTH" | nsupdate -k @KEY@
                exit $?
                ;;
            *)
                exit 1
                ;;
        esac
        ;;
    done|failed)
        case "$TYPE" in
            dns-01)
                printf 'server 127.0.0.1\nupdate delete _acme-challenge.%s TXT %s\nsend\n' "$IDENT" "$AUTH" | nsupdate -k @KEY@
                exit $?
                ;;
            *)
                exit 1
                ;;
        esac
        ;;
    *)
        exit 1
esac
"""

LEGO = r"""
#!/bin/sh -e
# EXEC_PATH=./update-dns.sh lego --dns exec
echo "$* EXEC_PATH=$EXEC_PATH ${EXEC_MODE-}" >>@LOG@
action=$1 fqdn=$2 value=$3
case $action in
    present) line="update add $fqdn 60 TXT \"$value\"" ;;
    cleanup) line="update delete $fqdn TXT \"$value\"" ;;
    timeout) exit 0 ;;
esac
printf 'server 127.0.0.1\n%s\nsend\n' "$line" | nsupdate -k @KEY@
"""

LEGO_RAW = r"""
#!/bin/sh -e
# EXEC_MODE=RAW EXEC_PATH=./update-dns.sh lego --dns exec
echo "$1 $2 $3 EXEC_PATH=$EXEC_PATH EXEC_MODE=$EXEC_MODE" >>@LOG@
[ "$2" = -- ]
domain=$3 token=$4 key_auth=$5
case $key_auth in "$token".*) ;; *) exit 9 ;; esac
value=$(printf %s "$key_auth" | openssl dgst -sha256 -binary | openssl base64 | tr '+/' '-_' | tr -d '=\n')
case $1 in
    present) line="update add _acme-challenge.$domain. 60 TXT $value" ;;
    cleanup) line="update delete _acme-challenge.$domain. TXT $value" ;;
esac
printf 'server 127.0.0.1\n%s\nsend\n' "$line" | nsupdate -k @KEY@
"""

ACME_SH = r"""
#!/usr/bin/env sh
# shellcheck disable=SC2034
dns_bindtest_info='a BIND of ours
Options:
 BINDTEST_SERVER Server
 BINDTEST_KEY File of the key
'

########  Public functions #####################

#Usage: dns_bindtest_add   _acme-challenge.www.domain.com   "XKrxpRBosdIKFzxW_CT3KLZNf6q0HG9i01zxXp5CPBs"
dns_bindtest_add() {
  fulldomain=$1
  txtvalue=$2
  BINDTEST_SERVER="${BINDTEST_SERVER:-$(_readaccountconf_mutable BINDTEST_SERVER)}"
  BINDTEST_KEY="${BINDTEST_KEY:-$(_readaccountconf_mutable BINDTEST_KEY)}"
  if [ -z "$BINDTEST_SERVER" ] || [ ! -r "$BINDTEST_KEY" ]; then
    _err "You didn't specify a server and a key."
    return 1
  fi
  _saveaccountconf_mutable BINDTEST_SERVER "$BINDTEST_SERVER"
  _saveaccountconf_mutable BINDTEST_KEY "$BINDTEST_KEY"
  echo "add $fulldomain $txtvalue" >>@LOG@
  _info "adding ${fulldomain}. 60 in txt \"${txtvalue}\""
  nsupdate -k "$BINDTEST_KEY" <<EOF
server ${BINDTEST_SERVER} 53
update add ${fulldomain}. 60 in txt "${txtvalue}"
send
EOF
  if [ $? -ne 0 ]; then
    _err "error updating domain"
    return 1
  fi
  return 0
}

#Usage: fulldomain txtvalue
dns_bindtest_rm() {
  fulldomain=$1
  txtvalue=$2
  BINDTEST_SERVER="$(_readaccountconf_mutable BINDTEST_SERVER)"
  BINDTEST_KEY="$(_readaccountconf_mutable BINDTEST_KEY)"
  _debug fulldomain "$fulldomain"
  echo "rm $fulldomain $txtvalue" >>@LOG@
  nsupdate -k "$BINDTEST_KEY" <<EOF
server ${BINDTEST_SERVER} 53
update delete ${fulldomain}. txt "${txtvalue}"
send
EOF
}
"""

PROGRAMS = {"tlsup": OWN, "dehydrated": DEHYDRATED, "uacme": UACME, "lego": LEGO, "lego-raw": LEGO_RAW}


def words_for(contract, script, tmp_path, key):
    if contract == "certbot":
        return ["--manual", "--preferred-challenges", "dns", "--manual-auth-hook", script("auth.sh", CERTBOT_AUTH),
                "--manual-cleanup-hook", script("cleanup.sh", CERTBOT_CLEANUP)]
    if contract == "acme.sh":
        credentials = tmp_path / "credentials"
        credentials.write_text(f"# for dns_bindtest\nexport BINDTEST_SERVER='127.0.0.1'\nBINDTEST_KEY={key.file}\n")
        credentials.chmod(0o600)
        return ["--challenge-hook", script("dns_bindtest.sh", ACME_SH), "--hook-contract", "acme.sh", "--hook-env", credentials]
    return ["--challenge-hook", script(f"{contract}-hook", PROGRAMS[contract]), "--hook-contract", contract]


CONTRACTS = [*PROGRAMS, "certbot", "acme.sh"]


@pytest.mark.parametrize("contract", CONTRACTS)
def test_contract(tlsup, dns_ca, server, script, tmp_path, key, log, name, contract, bridge):
    """A base and its wildcard, cleaned up; the renewal knows the hook without being told."""
    server.add_txt(challenge_of(name), "foreign")
    issue(tlsup, dns_ca, name, f"*.{name}", *words_for(contract, script, tmp_path, key))
    check_store(tlsup, name, [name, f"*.{name}"], dns_ca.roots)
    assert server.txt(challenge_of(name)) == ["foreign"]
    calls = log.read_text().splitlines()
    assert len(calls) == 4, calls
    # Pebble 2.10 reuses one authorization in a hundred, though it is told to reuse none: another renewal shows it then
    for renewal in range(3 if dns_ca.version == "2.10" else 1):
        before = len(log.read_text().splitlines())
        tlsup.ok("renew", "--force-renewal")
        calls = log.read_text().splitlines()
        if len(calls) - before == 4:
            break
    assert tlsup.version(name) == 2 + renewal and len(calls) - before == 4, calls
    assert server.txt(challenge_of(name)) == ["foreign"]
    assert len([u for u in server.updates() if "adding an RR" in u]) == 1 + len(calls) // 2



def test_our_own_contract_in_full(tlsup, dns_ca, server, script, tmp_path, key, log, name):
    words = words_for("tlsup", script, tmp_path, key)
    issue(tlsup, dns_ca, f"*.{name}", name, *words, "--cert-name", "both")
    calls = log.read_text().splitlines()
    record = challenge_of(name)
    presented = [c for c in calls if c.startswith("present")]
    cleaned = [c for c in calls if c.startswith("cleanup")]
    for n in (name, f"*.{name}"):
        assert any(c.startswith(f"present present dns-01 {n} {name} {record} both ") for c in presented), calls
    assert sorted(c.split()[7] for c in presented) == ["0", "1"], "what remains counts down"
    assert all(f"[*.{name} {name}]" in c or f"[{name} *.{name}]" in c for c in calls)
    assert all("[] []" in c for c in presented), "nothing has failed or been printed before"
    assert all("[0] [id of " in c for c in cleaned), cleaned


def test_certbot_in_full(tlsup, dns_ca, server, script, tmp_path, key, log, name):
    """What the authentication hook has printed comes back, trimmed; a wildcard is the bare domain; no token for dns-01."""
    issue(tlsup, dns_ca, f"*.{name}", f"www.{name}", *words_for("certbot", script, tmp_path, key))
    calls = log.read_text().splitlines()
    for n in (name, f"www.{name}"):
        assert any(re.fullmatch(rf"auth {re.escape(n)} [01] {re.escape(name)},www\.{re.escape(name)} \[\] \[\]", c) for c in calls), calls
        assert any(re.fullmatch(rf"cleanup {re.escape(n)} \d+ \S+ \[\] \[record:[\w-]{{43}}\]", c) for c in calls), calls


def test_certbot_without_cleanup(tlsup, dns_ca, server, script, log, name):
    issue(tlsup, dns_ca, name, "--manual", "--preferred-challenges=dns", "--manual-auth-hook", script("auth.sh", CERTBOT_AUTH))
    assert len(server.txt(challenge_of(name))) == 1 and len(log.read_text().splitlines()) == 1


def test_lego_arguments(tlsup, dns_ca, server, script, tmp_path, key, log, name):
    words = words_for("lego", script, tmp_path, key)
    issue(tlsup, dns_ca, name, *words)
    first = log.read_text().splitlines()[0]
    assert re.fullmatch(rf"present _acme-challenge\.{re.escape(name)}\. [\w-]{{43}} EXEC_PATH={re.escape(str(words[1]))} ", first), first


def test_dehydrated_arguments(tlsup, dns_ca, server, script, tmp_path, key, log, name):
    issue(tlsup, dns_ca, f"*.{name}", *words_for("dehydrated", script, tmp_path, key))
    calls = log.read_text().splitlines()
    assert re.fullmatch(rf"deploy_challenge {re.escape(name)} [\w-]+ [\w-]{{43}}", calls[0]) and len(calls) == 2, calls
    assert calls[1] == calls[0].replace("deploy_challenge", "clean_challenge")


def test_uacme_is_told_of_success_and_failure(tlsup, dns_ca, make_pebble, make_named, script, tmp_path, key, log, name):
    make_named(zones=[Zone(name, updaters=[key])])
    words = words_for("uacme", script, tmp_path, key)
    issue(tlsup, dns_ca, name, *words)
    assert [c.split()[0] for c in log.read_text().splitlines()] == ["begin", "done"]
    make_named(address="127.0.0.3", zones=[Zone(name)])
    elsewhere = make_pebble(nonce_reject=0, resolver="127.0.0.3:53")
    fail(tlsup, elsewhere, name, *words, "--cert-name", "other")
    assert [c.split()[0] for c in log.read_text().splitlines()][2:] == ["begin", "failed"]


def test_uacme_declines_one_type_and_takes_another(tlsup, dns_ca, server, script, tmp_path, key, log, name):
    """http-01 comes first and is declined (status 1): dns-01."""
    issue(tlsup, dns_ca, name, "--challenge", "http-hook,dns", *words_for("uacme", script, tmp_path, key))
    acts = [tuple(c.split()[:2]) for c in log.read_text().splitlines()]
    assert acts[0] == ("begin", "http-01") and ("begin", "dns-01") in acts and acts[-1] == ("done", "dns-01"), acts
    check_store(tlsup, name, [name], dns_ca.roots)


def test_acme_sh_keeps_what_it_saves(tlsup, dns_ca, server, script, tmp_path, key, log, name, bridge):
    """In files that only root reads; its dns_X_rm found the settings there."""
    issue(tlsup, dns_ca, name, *words_for("acme.sh", script, tmp_path, key))
    saved = list((tlsup.state / "hooks").iterdir())
    assert saved and all(p.stat().st_mode & 0o077 == 0 for p in saved), saved
    assert [c.split()[0] for c in log.read_text().splitlines()] == ["add", "rm"]


def test_acme_sh_failure_shows_what_it_said(tlsup, dns_ca, server, script, name, bridge):
    result = fail(tlsup, dns_ca, name, "--challenge-hook", script("dns_bindtest.sh", ACME_SH), "--hook-contract", "acme.sh")
    assert "You didn't specify a server and a key." in result.err, result


def test_hook_in_a_cname_delegation(tlsup, dns_ca, make_named, script, tmp_path, key, name):
    """Contracts that hand over the record's name hand over the end of the CNAME."""
    target = f"{name.split('.')[0]}.auth.test"
    server = make_named(zones=[Zone(name, [f"_acme-challenge CNAME {target}."]), Zone("auth.test", updaters=[key])])
    issue(tlsup, dns_ca, name, *words_for("lego", script, tmp_path, key))
    assert len([u for u in server.updates() if f"adding an RR at '{target}'" in u]) == 1 and server.txt(target) == []


def test_hook_by_dns_account(tlsup, dns_ca, server, script, tmp_path, key, log, name):
    if dns_ca.version == "2.4":
        pytest.skip("this Pebble does not know dns-account-01")
    issue(tlsup, dns_ca, name, "--dns-account", *words_for("tlsup", script, tmp_path, key))
    assert re.search(rf"dns-account-01 {re.escape(name)} {re.escape(name)} _[a-z2-7]{{16}}\._acme-challenge\.", log.read_text())


def test_hook_and_slow_secondary(tlsup, dns_ca, make_named, script, tmp_path, key, name):
    """The check comes after a hook as well: no script needs to sleep."""
    primary = make_named(zones=[Zone(name, updaters=[key], servers=[NS1, NS2])])
    secondary = make_named(address="127.0.0.2", zones=[Zone(name, primaries=["127.0.0.1"])])
    since = len(dns_ca.requests())
    process = tlsup.start("issue", name, *words_for("dehydrated", script, tmp_path, key), *dns_ca.arguments)
    until(lambda: primary.txt(challenge_of(name)), "no record at the primary")
    until(lambda: len(secondary.queries(challenge_of(name), "TXT")) >= 2, "the secondary is not asked")
    assert not triggered(dns_ca, since)
    secondary.fetch(name)
    assert tlsup.finish(process).status == 0


# -- http-01 by hooks ---------------------------------------------------------------------------------------


def test_certbot_http(tlsup, dns_ca, server, nginx, script, log, name):
    nginx.start()
    auth = script("http-auth.sh", r"""
#!/bin/bash
echo "auth $CERTBOT_DOMAIN $CERTBOT_TOKEN" >>@LOG@
mkdir -p /var/www/html/.well-known/acme-challenge
echo $CERTBOT_VALIDATION > /var/www/html/.well-known/acme-challenge/$CERTBOT_TOKEN
""")
    cleanup = script("http-cleanup.sh", "#!/bin/bash\nrm -f /var/www/html/.well-known/acme-challenge/$CERTBOT_TOKEN\n")
    issue(tlsup, dns_ca, name, f"www.{name}", "--manual", "--preferred-challenges", "http", "--manual-auth-hook", auth,
          "--manual-cleanup-hook", cleanup)
    check_store(tlsup, name, [name, f"www.{name}"], dns_ca.roots)
    assert not list(pathlib.Path("/var/www/html/.well-known/acme-challenge").iterdir())
    assert len(log.read_text().splitlines()) == 2


@pytest.mark.parametrize("contract, text", [
    ("tlsup", r"""
#!/bin/sh
file=/var/www/html/.well-known/acme-challenge/$TLSUP_TOKEN
case $1 in present) mkdir -p "${file%/*}"; printf %s "$TLSUP_VALUE" >"$file" ;; cleanup) rm "$file" ;; esac
"""), ("dehydrated", r"""
#!/bin/sh
file=/var/www/html/.well-known/acme-challenge/$3
case $1 in deploy_challenge) mkdir -p "${file%/*}"; printf %s "$4" >"$file" ;; clean_challenge) rm "$file" ;; esac
"""), ("uacme", r"""
#!/bin/sh
file=/var/www/html/.well-known/acme-challenge/$4
[ "$2" = http-01 ] || exit 1
case $1 in begin) mkdir -p "${file%/*}"; printf %s "$5" >"$file" ;; done | failed) rm "$file" ;; esac
""")], ids=["tlsup", "dehydrated", "uacme"])
def test_http(tlsup, dns_ca, server, nginx, script, name, contract, text):
    nginx.start()
    issue(tlsup, dns_ca, name, "--challenge", "http-hook", "--challenge-hook", script("hook", text), "--hook-contract", contract)
    check_store(tlsup, name, [name], dns_ca.roots)
    assert not list(pathlib.Path("/var/www/html/.well-known/acme-challenge").iterdir())


# -- hooks that go wrong ------------------------------------------------------------------------------------


def own_but(*lines):
    """Our hook, but `present` goes on with these lines after the record is made."""
    return OWN + "[ $1 = present ] || exit 0\n" + "\n".join(lines) + "\n"


def test_failing_hook(tlsup, dns_ca, server, script, log, name):
    """What it said is shown, the CA is not asked to look, and what it may have left is cleaned up."""
    since = len(dns_ca.requests())
    result = fail(tlsup, dns_ca, name, "--challenge-hook", script("hook", own_but("echo the zone is locked by Alice >&2", "exit 42")))
    assert "the zone is locked by Alice" in result.err and "hook" in result.err and name in result.err, result
    assert not triggered(dns_ca, since) and server.txt(challenge_of(name)) == []
    assert [c.split()[0] for c in log.read_text().splitlines()] == ["present", "cleanup"]


def test_hook_that_is_not_for_this(tlsup, dns_ca, server, script, name):
    """Status 3: another way, if there is one."""
    hook = script("hook", "#!/bin/sh\nexit 3\n")
    issue(tlsup, dns_ca, name, "--challenge", "dns,standalone", "--challenge-hook", hook)
    check_store(tlsup, name, [name], dns_ca.roots)


def is_alive(pid):
    return any(p[0] == pid for p in machine.processes())


def test_hanging_hook(tlsup, dns_ca, server, script, name, tmp_path):
    """It and what it has started are ended by the deadline; the clean-up runs."""
    marker = tmp_path / "child"
    hook = script("hook", own_but("sleep 300 &", f"echo $! >{marker}", "sleep 300"))
    began = time.monotonic()
    result = fail(tlsup, dns_ca, name, "--challenge-hook", hook, "--hook-timeout", "2", timeout=30)
    assert 2 <= time.monotonic() - began < 15, result
    assert "in time" in result.err and str(hook) in result.err, result
    assert not is_alive(int(marker.read_text()))
    assert server.txt(challenge_of(name)) == []


def test_hook_that_leaves_a_process_behind(tlsup, dns_ca, server, script, name):
    """A daemon that keeps the output open does not hold us up."""
    began = time.monotonic()
    issue(tlsup, dns_ca, name, "--challenge-hook", script("hook", own_but("sleep 60 &")), "--hook-timeout", "30", timeout=60)
    assert time.monotonic() - began < 15


def test_hook_that_talks_for_megabytes(tlsup, dns_ca, server, script, name):
    hook = script("hook", own_but("head -c 5000000 /dev/zero | tr '\\000' x", "printf '\\033[31m'"))
    result = issue(tlsup, dns_ca, name, "--challenge-hook", hook, "-v", timeout=60)
    assert len(result) < 300_000 and "\x1b[31m" not in result, len(result)
    check_store(tlsup, name, [name], dns_ca.roots)
    assert server.txt(challenge_of(name)) == []


def test_hook_that_fails_for_megabytes(tlsup, dns_ca, server, script, name):
    hook = script("hook", own_but("head -c 5000000 /dev/urandom", "exit 1"))
    result = fail(tlsup, dns_ca, name, "--challenge-hook", hook, timeout=60)
    assert len(result) < 20_000, len(result)


def test_hook_that_reads_its_input(tlsup, dns_ca, server, script, name):
    issue(tlsup, dns_ca, name, "--challenge-hook", script("hook", OWN.replace("set -eu", "set -eu\ncat")), timeout=30)


@pytest.mark.parametrize("trouble", ["missing", "not-executable", "directory", "world-writable", "no-interpreter", "empty-path"])
def test_hook_that_cannot_run(tlsup, dns_ca, server, script, tmp_path, name, trouble):
    since = len(dns_ca.requests())
    path = script("hook", OWN, mode={"not-executable": 0o644, "world-writable": 0o777}.get(trouble, 0o755))
    if trouble == "missing":
        path.unlink()
    elif trouble == "directory":
        path = tmp_path
    elif trouble == "no-interpreter":
        path.write_text("#!/no/such/interpreter\n")
    elif trouble == "empty-path":
        path = ""
    result = fail(tlsup, dns_ca, name, "--challenge-hook", path)
    assert str(path) in result.err and "hook" in result.err, result
    assert not triggered(dns_ca, since) and not server.updates()
    assert "could not be taken away" not in result.err, "there was nothing"


def test_hook_in_a_directory_that_others_write(tlsup, dns_ca, server, script, tmp_path, name):
    """Who can replace the file can have root run anything."""
    open_directory = tmp_path / "open"
    open_directory.mkdir()
    open_directory.chmod(0o777)
    moved = shutil.move(script("hook", OWN), open_directory / "hook")
    result = fail(tlsup, dns_ca, name, "--challenge-hook", moved)
    assert str(open_directory) in result.err and not server.updates(), result


def test_hook_of_another_user(tlsup, dns_ca, server, script, name):
    path = script("hook", OWN)
    os.chown(path, 1000, 1000)
    result = fail(tlsup, dns_ca, name, "--challenge-hook", path)
    assert str(path) in result.err and not server.updates(), result


# -- the environment ----------------------------------------------------------------------------------------


def test_environment_is_clean(tlsup, dns_ca, server, script, tmp_path, log, name):
    """Nothing of the caller's, and what --hook-env has; secrets are not in the output."""
    credentials = tmp_path / "credentials"
    credentials.write_text("# the provider's\nexport API_TOKEN='s3cr3t with blanks'\nEMPTY=\nQUOTED=\"a$b`c`\"\n")
    credentials.chmod(0o600)
    hook = script("hook", OWN.replace("set -eu", "set -eu\nenv >>@LOG@; ls -l /proc/$$/fd >>@LOG@"))
    result = issue(tlsup, dns_ca, name, "--challenge-hook", hook, "--hook-env", credentials, "--debug",
                   env={"LD_PRELOAD_X": "from-the-caller", "AWS_SECRET": "from-the-caller", "BASH_ENV": "/from-the-caller"})
    text = log.read_text()
    assert "API_TOKEN=s3cr3t with blanks\n" in text and "EMPTY=\n" in text and "QUOTED=a$b`c`\n" in text
    assert "from-the-caller" not in text and "s3cr3t" not in result
    assert "socket:" not in text, "descriptors of ours leak into the hook"


@pytest.mark.parametrize("mode, content, says", [(0o644, "A=b\n", "chmod"), (0o666, "A=b\n", "chmod"), (0o600, "not a setting\n", "line 1"),
                                                 (0o600, "A=b\nB='c\n", "line 2"), (0o600, "A=" + "x" * 70000, "65536|larger"),
                                                 (0o600, None, "No such file|cannot open|not there|does not exist")],
                         ids=["readable", "writable", "no-setting", "quote", "huge", "missing"])
def test_environment_file_that_will_not_do(tlsup, dns_ca, server, script, tmp_path, name, mode, content, says):
    credentials = tmp_path / "credentials"
    if content is not None:
        credentials.write_text(content)
        credentials.chmod(mode)
    result = fail(tlsup, dns_ca, name, "--challenge-hook", script("hook", OWN), "--hook-env", credentials)
    assert str(credentials) in result.err and re.search(says, result.err), result
    assert not server.updates()


# -- cleaning up --------------------------------------------------------------------------------------------


def test_cleanup_after_the_ca_was_not_content(tlsup, make_pebble, make_named, script, tmp_path, key, log, name):
    server = make_named(zones=[Zone(name, updaters=[key])])
    make_named(address="127.0.0.3", zones=[Zone(name)])
    fail(tlsup, make_pebble(nonce_reject=0, resolver="127.0.0.3:53"), name, *words_for("tlsup", script, tmp_path, key))
    calls = log.read_text().splitlines()
    assert [c.split()[0] for c in calls] == ["present", "cleanup"] and "[1] [id of" in calls[1], calls
    assert server.txt(challenge_of(name)) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_cleanup_after_an_interruption_of_the_check(tlsup, dns_ca, make_named, script, tmp_path, key, log, name, number):
    """The first Ctrl-C while we wait for a secondary that never gets the record."""
    primary = make_named(zones=[Zone(name, updaters=[key], servers=[NS1, NS2])])
    process = tlsup.start("issue", name, *words_for("tlsup", script, tmp_path, key), *dns_ca.arguments)
    until(lambda: primary.txt(challenge_of(name)), "no record")
    until(lambda: primary.queries(challenge_of(name), "TXT"), "nobody asks")
    process.send_signal(number)
    result = tlsup.finish(process, timeout=20)
    assert result.status != 0 and primary.txt(challenge_of(name)) == [], result
    assert [c.split()[0] for c in log.read_text().splitlines()] == ["present", "cleanup"]


def test_cleanup_after_an_interruption_of_the_hook(tlsup, dns_ca, server, script, log, name):
    """Ctrl-C while the hook is half done: what it has made is removed, and neither it nor we stay."""
    hook = script("hook", own_but("sleep 3"))
    process = tlsup.start("issue", name, "--challenge-hook", hook, "--hook-timeout", "5", *dns_ca.arguments)
    until(lambda: server.txt(challenge_of(name)), "no record")
    process.send_signal(signal.SIGINT)
    result = tlsup.finish(process, timeout=20)
    assert result.status != 0 and server.txt(challenge_of(name)) == [], result
    assert [c.split()[0] for c in log.read_text().splitlines()] == ["present", "cleanup"]
    until(lambda: not [p for p in machine.processes() if str(hook) in p[3]], "the hook is still there", seconds=5)


def test_cleanup_that_fails_is_a_warning(tlsup, dns_ca, server, script, name):
    hook = script("hook", OWN.replace("cleanup) change=delete ttl= ;;", "cleanup) echo cannot remove it; exit 9 ;;"))
    result = issue(tlsup, dns_ca, name, "--challenge-hook", hook)
    check_store(tlsup, name, [name], dns_ca.roots)
    assert "cannot remove it" in result.err and "taken away" in result.err, result


def test_all_that_was_made_is_removed_when_one_fails(tlsup, dns_ca, server, script, log, name):
    """Of five names the hook refuses one: all others are cleaned up."""
    hook = script("hook", OWN.replace("set -eu", f'set -eu\n[ "$1 $TLSUP_NAME" != "present n3.{name}" ] || exit 1'))
    fail(tlsup, dns_ca, *[f"n{i}.{name}" for i in range(5)], "--challenge-hook", hook)
    assert not [i for i in range(5) if server.txt(challenge_of(f"n{i}.{name}"))]
    calls = log.read_text().splitlines()
    made = {c.split()[3] for c in calls if c.startswith("present")}
    assert made <= {c.split()[3] for c in calls if c.startswith("cleanup")}, calls


def test_hooks_run_one_at_a_time(tlsup, dns_ca, server, script, tmp_path, name):
    """Scripts of others are written for that: ten names, never two at once."""
    lock = tmp_path / "lock"
    hook = script("hook", OWN.replace("set -eu", f"set -eu\nmkdir {lock} || {{ echo two at once; exit 1; }}\ntrap 'rmdir {lock}' EXIT"))
    issue(tlsup, dns_ca, *[f"n{i}.{name}" for i in range(10)], "--challenge-hook", hook)
    check_store(tlsup, f"n0.{name}", [f"n{i}.{name}" for i in range(10)], dns_ca.roots)


def test_renewal_without_the_hook(tlsup, dns_ca, server, script, tmp_path, key, name):
    """The script is gone by the time of the renewal: told, and the certificate stays as it is."""
    words = words_for("tlsup", script, tmp_path, key)
    issue(tlsup, dns_ca, name, *words)
    words[1].unlink()
    held = tlsup.sha256(name)
    result = tlsup("renew", "--force-renewal")
    assert result.status != 0 and str(words[1]) in result.err, result
    assert tlsup.sha256(name) == held


def test_wrong_words(tlsup, dns_ca, server, script, name):
    """Contradictions are told before the CA is asked anything."""
    hook, since = script("hook", OWN), len(dns_ca.requests())
    for words, says in ((["--challenge-hook", hook, "--hook-contract", "nonsense"], "nonsense"),
                        (["--challenge", "dns"], "--challenge-hook|--dns-update-server"),
                        (["--challenge", "http-hook"], "challenge-hook"),
                        (["--challenge-hook", hook, "--hook-contract", "lego", "--challenge", "http-hook"], "lego"),
                        (["--challenge-hook", hook, "--hook-contract", "certbot", "--dns-account"], "certbot"),
                        (["--challenge-hook", hook, "--hook-timeout", "-1"], "hook-timeout")):
        result = tlsup("issue", name, *words, *dns_ca.arguments)
        assert result.status == 2 and re.search(says, result.err), result
    assert len(dns_ca.requests()) == since


def test_deploy_hook_that_others_may_change_is_refused_at_once(tlsup, fake_ca, name, tmp_path):
    """It would run as root at a renewal months from now: said before the CA is asked for anything."""
    hook = tmp_path / "deploy"
    hook.write_text("#!/bin/sh\nexit 0\n")
    hook.chmod(0o777)
    result = tlsup("issue", name, "--standalone", "--deploy-hook", hook, *fake_ca.arguments)
    assert result.status != 0 and "others may write" in result.err and "chmod" in result.err, result
    assert not fake_ca.requests("order"), result
    hook.chmod(0o755)
    tlsup.ok("issue", name, "--standalone", "--deploy-hook", hook, *fake_ca.arguments)
