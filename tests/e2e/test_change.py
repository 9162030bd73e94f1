"""What changes about a certificate that is there: reconfigure, rename, restore, delete, and how many versions stay."""

import os
import re
import signal
import time

import pytest

from harness import client, fakeca, machine, net, pki, snapshot
from harness.client import check_store

DAY = 86400


def children_gone():
    machine.until(lambda: not client.Client.running(), lambda: f"still there: {client.Client.running()}")


def conf(tlsup, name):
    return tlsup.config / "certs.d" / f"{name}.conf"


def hook(tmp_path, text="", status=0):
    """A program that notes each of its runs; (its path, the file with the notes)."""
    notes = tmp_path / "notes"
    path = tmp_path / "hook"
    path.write_text(f'#!/bin/sh\necho "$RENEWED_LINEAGE" >> {notes}\n{text}\nexit {status}\n')
    path.chmod(0o755)
    return path, notes


# -- reconfigure -------------------------------------------------------------------------------------------


def test_nothing_given_and_nothing_changed(tlsup, fake_ca, name):
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    before, asked = snapshot.snapshot(tlsup.config, tlsup.state), len(fake_ca.log)
    for words in ([], ["--keep-versions", "5"], ["-d", name]):
        result = tlsup.ok("reconfigure", name, *words)
        assert "Nothing is changed" in result.out and "--key-type" in result.out, result
    assert len(fake_ca.log) == asked
    assert not snapshot.difference(before, snapshot.snapshot(tlsup.config, tlsup.state))
    result = tlsup("reconfigure", "nothing.test", "--redirect")
    assert result.status in (1, 2) and "nothing.test" in result.err, result


def test_other_names_are_got_at_once(tlsup, fake_ca, server, new_name):
    one, two, three = new_name(), new_name(), new_name()
    for each in (one, two, three):
        server.site(each)
    server.start()
    tlsup.ok("enable", one, two, *fake_ca.arguments)
    with net.Visitor(one) as visitor:
        result = tlsup.ok("reconfigure", one, "-d", f"{one},{three}", "-n")
    assert not visitor.failures, visitor.failures
    assert two in result.err and "no longer" in result.err and "rehears" in result.err, result
    check_store(tlsup, one, [one, three], fake_ca.roots)
    assert tlsup.version(one) == 2
    for each in (one, three):
        assert net.leaf(each)[0] == tlsup.sha256(one)
    assert re.search(rf"names\s*=\s*{one} {three}", conf(tlsup, one).read_text())
    tlsup.ok("renew")
    assert tlsup.version(one) == 2


def test_another_key(tlsup, fake_ca, name):
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    result = tlsup.ok("reconfigure", name, "--key-type", "rsa-2048")
    assert "+ key-type" in result.out and "rsa-2048" in result.out, result
    check_store(tlsup, name, [name], fake_ca.roots, key="2048")


def test_another_ca(tlsup, fake_ca, name, tmp_path, authority):
    import conftest
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    (tmp_path / "other").mkdir()
    other = fakeca.FakeCA(tmp_path / "other", authority, next(conftest.PORTS))
    try:
        tlsup.ok("reconfigure", name, *other.arguments)
        assert other.requests("finalize") and tlsup.version(name) == 2
        tlsup.ok("renew")
        assert tlsup.version(name) == 2
    finally:
        other.close()
    assert not other.violations


def test_only_what_is_here(tlsup, fake_ca, server, name, tmp_path):
    """Redirect, hooks, how many versions: nobody is asked for a certificate, and comments in the file do not matter."""
    server.site(name)
    server.start()
    tlsup.ok("enable", name, *fake_ca.arguments)
    asked, (program, notes) = len(fake_ca.log), hook(tmp_path)
    result = tlsup.ok("reconfigure", name, "--redirect", "--deploy-hook", program, "--keep-versions", "2")
    assert len(fake_ca.log) == asked and tlsup.version(name) == 1, result
    assert net.http(name).status == 301 and net.leaf(name)[0] == tlsup.sha256(name)
    assert notes.read_text().split() == [str(tlsup.live(name))], "the new hook has this version, too"
    text = conf(tlsup, name).read_text()
    assert "redirect = yes" in text and "keep = 2" in text and str(program) in text


def test_only_what_is_here_though_it_is_due(tlsup, fake_ca, name, tmp_path):
    """The night on which a renewal is due and the CA is down is the one on which a hook must be put right."""
    fake_ca.lifetime_s, fake_ca.not_before_ago_s = 90 * DAY, 61 * DAY
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    fake_ca.misbehave("order", lambda *_: fakeca.Problem(503, "serverInternal", "down"))
    program, notes = hook(tmp_path)
    result = tlsup.ok("reconfigure", name, "--deploy-hook", program, "--no-test")
    assert str(program) in conf(tlsup, name).read_text() and notes.exists(), result
    assert tlsup("renew").status == 4


@pytest.mark.parametrize("trouble", ["order", "finalize"])
def test_what_cannot_be_had_changes_nothing(tlsup, fake_ca, server, new_name, trouble):
    name, other = new_name(), new_name()
    server.site(name, other)
    server.start()
    tlsup.ok("enable", name, *fake_ca.arguments)
    conf(tlsup, name).write_text("# a person's own remark\n" + conf(tlsup, name).read_text())
    held, configuration = tlsup.held(), server.configuration()
    fake_ca.misbehave(trouble, lambda *_: fakeca.Problem(403, "rejectedIdentifier", "not this one"))
    result = tlsup("reconfigure", name, "-d", name, "-d", other)
    assert result.status == 3 and "not this one" in result.err and "nothing was changed" in result.err, result
    fake_ca.behave()
    assert not snapshot.difference(held, tlsup.held())
    assert net.leaf(name)[0] == tlsup.sha256(name) and net.http(name).status == 200
    assert not [l for l in snapshot.difference(configuration, server.configuration()) if "443" in l]
    tlsup.ok("renew")
    assert tlsup.version(name) == 1


def test_web_server_that_refuses_changes_nothing(tlsup, fake_ca, nginx, new_name):
    """The new certificate is there, but cannot be put in place: the old one stays, with its configuration, and no renewal follows from it."""
    name, other = new_name(), new_name()
    nginx.site(name)
    nginx.site(other)
    nginx.start()
    tlsup.ok("enable", name, *fake_ca.arguments)
    conf(tlsup, name).write_text("# a person's own remark\n" + conf(tlsup, name).read_text())
    held = tlsup.held()

    def break_it(_ca, _request):
        with open("/etc/nginx/sites-available/default", "a") as file:
            file.write("server { listen 80; no_such_directive on; }\n")

    fake_ca.misbehave("certificate", break_it)
    result = tlsup("reconfigure", name, "-d", name, "-d", other)
    assert result.status == 1 and "as it was before" in result.err, result
    fake_ca.behave()
    assert not snapshot.difference(held, tlsup.held())
    assert net.leaf(name)[0] == tlsup.sha256(name)
    path = nginx.tree + "/sites-available/default"
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(text.replace("server { listen 80; no_such_directive on; }\n", ""))
    asked = len(fake_ca.requests("order"))
    tlsup.ok("renew")
    assert len(fake_ca.requests("order")) == asked and tlsup.version(name) == 1
    tlsup.ok("reconfigure", name, "-d", name, "-d", other)
    check_store(tlsup, name, [name, other])


def test_rehearsal_that_fails_stops_it(tlsup, fake_ca, name, tmp_path, authority):
    """At a CA that has a staging server: the real one is not asked."""
    url = "https://acme-staging-v02.api.letsencrypt.org/directory"
    host = url.split("/")[2]
    with open("/etc/hosts", "a") as file:
        file.write(f"127.0.0.1 {host}\n")
    (tmp_path / "staging").mkdir()
    staging = fakeca.FakeCA(tmp_path / "staging", authority, 443, hosts=[host], directory_url=url)
    try:
        tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
        path = conf(tlsup, name)
        path.write_text(re.sub(r"(?m)^server.*", "server = letsencrypt", path.read_text()))
        before = snapshot.snapshot(tlsup.config, tlsup.state, leave_out={str(tlsup.state / "lock")})
        staging.misbehave("order", lambda *_: fakeca.Problem(403, "rejectedIdentifier", "not this one"))
        result = tlsup("reconfigure", name, "-d", name, "-d", f"www.{name}")
        assert result.status == 3 and "not this one" in result.err and "--no-test" in result.err, result
        assert not snapshot.difference(before, snapshot.snapshot(tlsup.config, tlsup.state, leave_out={str(tlsup.state / "lock")}))
        staging.behave()
        result = tlsup.ok("reconfigure", name, "-d", name, "-d", f"www.{name}", "--dry-run")
        assert "would have got" in result.out and staging.requests("finalize"), result
        assert not snapshot.difference(before, snapshot.snapshot(tlsup.config, tlsup.state, leave_out={str(tlsup.state / "lock")}))
        path.write_text(path.read_text().replace("server = letsencrypt", f"server = {fake_ca.url}"))
        staging.behave()
    finally:
        staging.close()


def test_name_that_was_taken_out_and_is_still_served(tlsup, fake_ca, nginx, new_name):
    one, two = new_name(), new_name()
    nginx.site(one, two)
    nginx.start()
    tlsup.ok("enable", one, two, *fake_ca.arguments)
    result = tlsup.ok("reconfigure", one, "-d", one)
    assert f"{two} is still served" in result.err and "sites-" in result.err, result


# -- rename ------------------------------------------------------------------------------------------------


def test_rename(tlsup, fake_ca, server, name):
    """Another name everywhere; the same certificate; undo still gives each byte back."""
    server.site(name)
    server.start()
    before = server.configuration()
    tlsup.ok("enable", name, "--redirect", "--cert-name", "old", *fake_ca.arguments)
    tlsup.ok("renew", "old", "--force-renewal")
    conf(tlsup, "old").write_text("# a person's own remark\n" + conf(tlsup, "old").read_text())
    served, master = net.leaf(name)[0], server.master()
    with net.Visitor(name, accept=(301,)) as visitor:
        result = tlsup.ok("rename", "old", "new")
    assert not visitor.failures, visitor.failures
    assert "live/new/fullchain.pem" in result.out and "live/old is gone" in result.out, result
    assert net.leaf(name)[0] == served == tlsup.sha256("new") and server.master() == master
    check_store(tlsup, "new", [name], fake_ca.roots)
    left = [p for p in snapshot.snapshot(tlsup.config, tlsup.state, server.tree) if re.search(r"/old(\.|/|$)", p)]
    assert not left
    grep = machine.run("grep", "-rl", "live/old/", server.tree, check=False).stdout
    assert not grep and "a person's own remark" in conf(tlsup, "new").read_text()
    assert [e["name"] for e in tlsup.ok("status", "--json").json()["certificates"]] == ["new"]
    tlsup.ok("renew", "new", "--force-renewal")
    assert tlsup.version("new") == 3 and net.leaf(name)[0] == tlsup.sha256("new")
    tlsup.ok("undo", "new")
    assert not snapshot.difference(before, server.configuration())
    tlsup.ok("delete", "new")


def test_rename_beside_others(tlsup, fake_ca, server, new_name):
    """Certificates that share modules, default servers and files with it; each can be undone afterwards, in any order."""
    names = [new_name() for _ in range(3)]
    server.site(names[0])
    server.start()
    before = server.configuration()
    for each in names:
        tlsup.ok("enable", each, *fake_ca.arguments)
    tlsup.ok("rename", names[0], "first")
    for each, cert in zip(names, ["first", *names[1:]]):
        assert net.leaf(each)[0] == tlsup.sha256(cert)
    for cert in (names[1], "first", names[2]):
        tlsup.ok("undo", cert)
    assert not snapshot.difference(before, server.configuration())


def test_rename_of_what_no_web_server_has(tlsup, fake_ca, name, tmp_path):
    program, _notes = hook(tmp_path, text="cp /var/lib/tlsup/live/old/fullchain.pem /dev/null")
    tlsup.ok("issue", name, "--standalone", "--cert-name", "old", "--deploy-hook", program, *fake_ca.arguments)
    result = tlsup.ok("rename", "old", "new")
    assert f"{program} still names" in result.err, result
    check_store(tlsup, "new", [name], fake_ca.roots)
    assert not list((tlsup.state / "journal").iterdir()) and not (tlsup.state / "renaming").exists()
    tlsup.ok("issue", name, "--standalone", "--cert-name", "old", *fake_ca.arguments)
    assert tlsup.version("old") == 1 and tlsup.version("new") == 1


def test_rename_to_a_name_that_is_taken(tlsup, fake_ca, new_name):
    one, two = new_name(), new_name()
    for each in (one, two):
        tlsup.ok("issue", each, "--standalone", *fake_ca.arguments)
    held = tlsup.held()
    result = tlsup("rename", one, two)
    assert result.status in (1, 2) and two in result.err and "already" in result.err, result
    result = tlsup("rename", "nothing", "other")
    assert result.status in (1, 2) and "nothing" in result.err, result
    assert tlsup("rename", one, one).status == 2 and tlsup("rename", one, "../x").status == 2
    assert not snapshot.difference(held, tlsup.held())


def test_rename_when_a_person_pointed_the_web_server_there(tlsup, fake_ca, nginx, name):
    tlsup.ok("issue", name, "--standalone", "--cert-name", "old", *fake_ca.arguments)
    nginx.add_site("own", f"""server {{ listen 443 ssl; server_name {name};
    ssl_certificate /var/lib/tlsup/live/old/fullchain.pem;
    ssl_certificate_key /var/lib/tlsup/live/old/privkey.pem; }}\n""")
    nginx.start()
    result = tlsup.ok("rename", "old", "new")
    assert "had not written" in result.err, result
    nginx.reload()
    assert net.leaf(name)[0] == tlsup.sha256("new")


def test_rename_where_a_snippet_has_the_path(tlsup, fake_ca, nginx, name):
    tlsup.ok("issue", name, "--standalone", "--cert-name", "old", *fake_ca.arguments)
    snippet = nginx.tree + "/snippets/own.conf"
    with open(snippet, "w") as file:
        file.write("ssl_certificate /var/lib/tlsup/live/old/fullchain.pem;\nssl_certificate_key /var/lib/tlsup/live/old/privkey.pem;\n")
    nginx.add_site("own", f"server {{ listen 443 ssl; server_name {name}; include snippets/own.conf; }}\n")
    nginx.start()
    refused = tlsup("delete", "old")
    assert refused.status != 0 and "own" in refused.err, refused
    tlsup.ok("rename", "old", "new")
    nginx.reload()
    assert net.leaf(name)[0] == tlsup.sha256("new")


def own_site(nginx, name, directory, fullchain="fullchain.pem", privkey="privkey.pem"):
    nginx.add_site("own", f"""server {{ listen 443 ssl; server_name {name};
    ssl_certificate {directory}/{fullchain};
    ssl_certificate_key {directory}/{privkey}; }}\n""")
    nginx.start()


def test_rename_where_a_site_names_one_version(tlsup, fake_ca, nginx, name):
    """Its files move as well: nginx must not find out at its next start."""
    tlsup.ok("issue", name, "--standalone", "--cert-name", "old", *fake_ca.arguments)
    own_site(nginx, name, tlsup.state / "certs/old/0001")
    tlsup.ok("rename", "old", "new")
    assert nginx.test().returncode == 0, nginx.test()
    nginx.reload()
    assert net.leaf(name)[0] == tlsup.sha256("new")


def test_rename_where_a_site_reads_it_through_a_link(tlsup, fake_ca, nginx, name, tmp_path):
    tlsup.ok("issue", name, "--standalone", "--cert-name", "old", *fake_ca.arguments)
    for which in ("fullchain", "privkey"):
        (tmp_path / which).symlink_to(tlsup.file("old", which))
    own_site(nginx, name, tmp_path, "fullchain", "privkey")
    held = tlsup.held()
    result = tlsup("rename", "old", "new")
    assert result.status != 0 and str(tmp_path) in result.err and "live/old/fullchain.pem" in result.err, result
    assert not snapshot.difference(held, tlsup.held()) and not (tlsup.state / "renaming").exists()
    assert nginx.test().returncode == 0, nginx.test()


def test_rename_leaves_other_paths_alone(tlsup, fake_ca, nginx, name, tmp_path):
    """A copy of it elsewhere whose path ends like ours, and a certificate whose name begins like it."""
    for cert in ("old", "old-0001"):
        tlsup.ok("issue", name, "--standalone", "--cert-name", cert, *fake_ca.arguments)
    copy = tmp_path / str(tlsup.live("old"))[1:]
    machine.run("mkdir", "-p", copy.parent)
    machine.run("cp", "-rL", tlsup.live("old"), copy)
    nginx.add_site("other", f"server {{ listen 443 ssl; server_name other.test; ssl_certificate {tlsup.file('old-0001')};\n"
                   f"ssl_certificate_key {tlsup.file('old-0001', 'privkey')}; }}\n")
    own_site(nginx, name, copy)
    before = nginx.configuration()
    tlsup.ok("rename", "old", "new")
    assert not snapshot.difference(before, nginx.configuration())
    assert nginx.test().returncode == 0, nginx.test()


@pytest.mark.parametrize("kind", ["nginx", "apache"])
def test_rename_that_the_web_server_refuses(tlsup, fake_ca, request, new_name, kind):
    """Said, and all is as it was."""
    server, name = request.getfixturevalue(kind), new_name()
    server.site(name)
    server.start()
    tlsup.ok("enable", name, "--cert-name", "old", *fake_ca.arguments)
    trees = (server.tree, tlsup.config, tlsup.state / "certs", tlsup.state / "live", tlsup.state / "state")
    before = snapshot.snapshot(*trees)
    # a certificate that the server cannot read under its new name
    wrapper = machine.WORK / "refusing"
    wrapper.write_text(f"""#!/bin/sh
case "$*" in *-t*) grep -rq live/new/ {server.tree} && {{ echo "[emerg] refused by the test" >&2; exit 1; }};; esac
exec /usr/sbin/{'nginx' if kind == 'nginx' else 'apache2ctl'} "$@"
""")
    wrapper.chmod(0o755)
    with open(conf(tlsup, "old"), "a") as file:
        file.write(f"{'nginx-bin' if kind == 'nginx' else 'apache-ctl'} = {wrapper}\n")
    before |= snapshot.snapshot(tlsup.config)
    result = tlsup("rename", "old", "new")
    assert result.status == 1 and "refused by the test" in result.err and "put back" in result.err, result
    assert not snapshot.difference(before, snapshot.snapshot(*trees))
    assert not (tlsup.state / "renaming").exists() and net.leaf(name)[0] == tlsup.sha256("old")


@pytest.mark.parametrize("kind", ["nginx", "none"])
def test_rename_killed(tlsup, fake_ca, request, new_name, kind):
    """At whatever moment: the site is served, one of the names works, and a second call completes it."""
    server = request.getfixturevalue("nginx") if kind == "nginx" else None
    name = new_name()
    if server:
        server.site(name)
        server.start()
    tlsup.ok("enable" if server else "issue", name, *([] if server else ["--standalone"]), "--cert-name", "a", *fake_ca.arguments)
    sha256 = tlsup.sha256("a")
    began = time.monotonic()
    tlsup.ok("rename", "a", "b")
    whole, now, other = time.monotonic() - began, "b", "a"
    for step in range(8):
        process = tlsup.start("rename", now, other)
        time.sleep(whole * (step + 1) / 9)
        process.send_signal(signal.SIGKILL)
        killed = tlsup.finish(process)
        children_gone()
        if server:
            assert server.test().returncode == 0, killed
            assert net.leaf(name)[0] == sha256, killed
        assert [n for n in (now, other) if tlsup.file(n, "privkey").exists()], killed
        if conf(tlsup, now).exists() or (tlsup.state / "renaming").exists():  # else it was killed when all was done
            tlsup.ok("rename", now, other)
        now, other = other, now
        assert tlsup.sha256(now) == sha256 and not os.path.lexists(tlsup.live(other)), killed
        assert sorted(p.name for p in (tlsup.state / "certs").iterdir()) == [now], killed
        assert sorted(p.name for p in (tlsup.config / "certs.d").iterdir()) == [f"{now}.conf"], killed
        assert not (tlsup.state / "renaming").exists()
    if server:
        tlsup.ok("undo", now)
        assert not machine.run("grep", "-rl", "tlsup", server.tree, check=False).stdout


@pytest.mark.skipif(not client.built_with("test-hooks"), reason="only in a build with --enable-test-hooks")
@pytest.mark.parametrize("kind", ["nginx", "apache"])
def test_rename_crashes_before_each_step(tlsup, fake_ca, request, new_name, kind):
    """The program kills itself before step 1, 4, 7, ... of the transaction: served at each, and one more run ends it."""
    server, name = request.getfixturevalue(kind), new_name()
    server.site(name)
    server.start()
    before = server.configuration()
    tlsup.ok("enable", name, "--cert-name", "a", *fake_ca.arguments)
    sha256, now, other, step = tlsup.sha256("a"), "a", "b", -2
    while True:
        step += 3  # one is like its neighbours, and each takes two reloads
        result = tlsup("rename", now, other, env={"TLSUP_TEST_CRASH": str(step)})
        if result.status == 0:
            break
        children_gone()
        assert result.status == -signal.SIGKILL and server.test().returncode == 0, (step, result, server.test().stderr)
        assert net.leaf(name)[0] == sha256, (step, result)
        tlsup.ok("rename", now, other)
        now, other = other, now
        assert net.leaf(name)[0] == sha256 == tlsup.sha256(now), (step, result)
        assert sorted(p.name for p in (tlsup.state / "certs").iterdir()) == [now]
    assert step > 8
    tlsup.ok("undo", other)
    assert not snapshot.difference(before, server.configuration())


# -- restore -----------------------------------------------------------------------------------------------


def test_versions_are_listed(tlsup, fake_ca, name):
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    tlsup.ok("renew", name, "--force-renewal")
    result = tlsup.ok("restore", name)
    lines = result.out.splitlines()
    assert re.match(r"\s*2 .*ecdsa-p256.*live", lines[1]) and re.match(r"\s*1 ", lines[2]), result
    document = tlsup.ok("restore", name, "--json").json()
    assert (document["version"], document["command"], document["certificate"]) == (1, "restore", name)
    assert [(v["number"], v["live"], v["expired"], v["revoked"]) for v in document["versions"]] == [(1, False, False, False), (2, True, False, False)]
    assert document["versions"][1]["sha256"] == tlsup.sha256(name)
    assert tlsup("restore", "nothing.test").status in (1, 2)


def test_restore_and_the_next_renewals(tlsup, fake_ca, server, name, tmp_path):
    """Served and proven, with the hooks; no renewal flips it back; the next number is above all that there are."""
    program, notes = hook(tmp_path)
    server.site(name)
    server.start()
    tlsup.ok("enable", name, "--deploy-hook", program, *fake_ca.arguments)
    first = tlsup.sha256(name)
    for _ in range(2):
        tlsup.ok("renew", name, "--force-renewal")
    runs, asked = len(notes.read_text().splitlines()), len(fake_ca.requests("order"))
    with net.Visitor(name) as visitor:
        result = tlsup.ok("restore", name, "1")
    assert not visitor.failures, visitor.failures
    assert tlsup.version(name) == 1 and net.leaf(name)[0] == first == tlsup.sha256(name)
    assert "proven" in result.text and "renewal" in result.out, result
    assert len(notes.read_text().splitlines()) == runs + 1
    for _ in range(2):
        tlsup.ok("renew")
    assert tlsup.version(name) == 1 and len(fake_ca.requests("order")) == asked
    tlsup.ok("renew", name, "--force-renewal")
    assert tlsup.version(name) == 4 and net.leaf(name)[0] == tlsup.sha256(name)


@pytest.mark.parametrize("trouble", ["missing", "expired", "revoked", "revoked by its file", "key", "names", "damaged"])
def test_what_cannot_be_restored(tlsup, fake_ca, name, trouble):
    words = [name, "--standalone", *fake_ca.arguments]
    if trouble == "expired":
        fake_ca.not_before_ago_s, fake_ca.lifetime_s = 3600, 3602
    tlsup.ok("issue", *words)
    if trouble == "revoked":
        tlsup.ok("revoke", name, "-n")
    if trouble == "expired":
        time.sleep(2.5)
        fake_ca.lifetime_s = 90 * DAY
    if trouble == "names":
        tlsup.ok("issue", f"www.{name}", "--cert-name", name, "--standalone", *fake_ca.arguments)
    else:
        tlsup.ok("renew", name, "--force-renewal")
    old = tlsup.state / "certs" / name / "0001"
    if trouble == "key":
        (old / "privkey.pem").write_bytes(tlsup.file(name, "privkey").read_bytes())
    if trouble == "revoked by its file":
        result = tlsup.ok("revoke", "-n", "--cert-path", old / "cert.pem", "--server", fake_ca.url, "--ca-bundle", fake_ca.bundle)
        assert f"version 1 of {name}" in result.out and not tlsup.ok("status", "--json").json()["certificates"][0]["revoked"], result
    if trouble == "damaged":
        (old / "fullchain.pem").write_bytes(b"\0" * 2000)
        assert "damaged" in tlsup.ok("restore", name).out
    held = tlsup.held()
    result = tlsup("restore", name, "9" if trouble == "missing" else "1")
    words = {"missing": "no version 9", "expired": "expired", "revoked": "revoked", "revoked by its file": "revoked", "key": "cannot be used", "names": "reconfigure", "damaged": "fullchain"}
    assert result.status != 0 and words[trouble] in result.err, result
    assert not snapshot.difference(held, tlsup.held()) and tlsup.version(name) == 2


# -- versions that are kept --------------------------------------------------------------------------------


def test_the_last_versions_are_kept(tlsup, fake_ca, name):
    tlsup.ok("issue", name, "--standalone", "--keep-versions", "2", *fake_ca.arguments)
    for _ in range(3):
        tlsup.ok("renew", name, "--force-renewal")
    kept = lambda: sorted(int(p.name) for p in (tlsup.state / "certs" / name).iterdir() if p.name.isdigit())
    assert kept() == [3, 4]
    tlsup.ok("reconfigure", name, "--keep-versions", "1")
    tlsup.ok("renew", name, "--force-renewal")
    assert kept() == [4, 5], "the live one, and the one before it"


# -- delete ------------------------------------------------------------------------------------------------


def test_delete_asks_the_server_that_the_certificate_is_in(tlsup, fake_ca, nginx, name, tmp_path):
    """An nginx with a configuration of its own: found by what the certificate is configured with."""
    nginx.site(name)
    machine.run("cp", "-a", "/etc/nginx", tmp_path / "nginx")
    own = tmp_path / "nginx/nginx.conf"
    own.write_text(own.read_text().replace("/etc/nginx/", f"{tmp_path}/nginx/"))
    machine.run("/usr/sbin/nginx", "-c", own)
    machine.until(nginx.runs, "nginx does not come up")
    tlsup.ok("enable", name, "--nginx-conf", own, *fake_ca.arguments)
    refused = tlsup("delete", name)
    assert refused.status != 0 and str(tmp_path) in refused.err and "undo" in refused.err, refused
    assert tlsup.file(name).exists()


def test_delete_when_nobody_can_tell(tlsup, fake_ca, nginx, name):
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    with open("/etc/nginx/nginx.conf", "a") as file:
        file.write("http { unclosed\n")
    refused = tlsup("delete", name)
    assert refused.status != 0 and "nginx" in refused.err and "cannot be told" in refused.err and "--force" in refused.err, refused
    assert tlsup.file(name).exists()
    tlsup.ok("delete", name, "--force")
    assert not tlsup.live(name).is_symlink()


def test_delete_ends_one_that_was_cut_short(tlsup, fake_ca, new_name):
    """The configuration goes first: what is left behind it has keys."""
    name = new_name()
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    conf(tlsup, name).unlink()
    tlsup.ok("delete", name)
    assert not [p for p in tlsup.state.rglob("*") if name in p.name]
    result = tlsup("delete", name)
    assert result.status != 0 and "no certificate of this name" in result.err, result


def test_delete_with_standing_copies(tlsup, fake_ca, name):
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    with open(conf(tlsup, name), "a") as file:
        file.write("export = combined /etc/ssl/private/combined.pem\n")
    refused = tlsup("delete", name)
    assert refused.status != 0 and "/etc/ssl/private/combined.pem" in refused.err, refused
    assert tlsup.file(name).exists()


# -- undo --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--redirect", "--hsts"], ["--tls-profile", "modern"], ["--key-type", "ecdsa-p256,rsa-2048", "--redirect"]], ids=["hsts", "modern", "dual"])
def test_undo_takes_all_back(tlsup, fake_ca, server, new_name, words):
    """Whatever `enable` was asked for, with a site of its own and without one."""
    site, stranger = new_name(), new_name()
    server.site(site)
    server.start()
    before = server.configuration()
    tlsup.ok("enable", site, stranger, *words, *fake_ca.arguments)
    result = tlsup.ok("undo", site)
    assert not snapshot.difference(before, server.configuration())
    assert f"tlsup delete {site}" in result.out and tlsup.file(site).exists(), result
    tlsup.ok("delete", site)


def test_undo_that_was_cut_short(tlsup, fake_ca, server, name):
    """The web server's files are back, but the configuration does not know: a second call ends it."""
    server.site(name)
    server.start()
    before = server.configuration()
    tlsup.ok("enable", name, *fake_ca.arguments)
    configured = conf(tlsup, name).read_text()
    tlsup.ok("undo", name)
    conf(tlsup, name).write_text(configured)
    result = tlsup.ok("undo", name)
    assert "is left in" in result.text, result
    assert "install" not in conf(tlsup, name).read_text()
    tlsup.ok("renew")
    assert not snapshot.difference(before, server.configuration())
    again = tlsup("undo", name)
    assert again.status != 0 and "nothing to undo" in again.err and "no web server" in again.err, again


def test_what_has_been_mended_is_well_again(tlsup, fake_ca, name):
    """A failure that nothing is owed for any more: renewal is not due for weeks, and must not be called failing until then."""
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    configured = conf(tlsup, name).read_text()
    conf(tlsup, name).write_text(configured + "no-such-key = 1\n")
    failed = tlsup("renew")
    assert failed.status == 2 and "no-such-key" in failed.err, failed
    shown = tlsup.ok("status")
    assert shown.out.count("no-such-key") == 1, shown
    conf(tlsup, name).write_text(configured)
    tlsup.ok("renew")
    assert "it is well" in tlsup.ok("status").out and tlsup.version(name) == 1


def test_undo_where_a_person_uses_it_too(tlsup, fake_ca, nginx, name):
    tlsup.ok("issue", name, "--standalone", *fake_ca.arguments)
    with open(conf(tlsup, name), "a") as file:
        file.write("install = nginx\n")
    own_site(nginx, name, tlsup.live(name))
    result = tlsup("undo", name)
    assert result.status != 0 and "by hand" in result.err and "own" in result.err, result
    assert nginx.test().returncode == 0


# -- install -----------------------------------------------------------------------------------------------


def test_install_that_cannot_be_written_down(tlsup, fake_ca, server, name):
    """A web server that the configuration does not know of would never be told of a renewal."""
    server.site(name)
    server.start()
    tlsup.ok("issue", name, *fake_ca.arguments)
    before, directory = server.configuration(), tlsup.config / "certs.d"
    machine.run("mount", "--bind", directory, directory)
    machine.run("mount", "-o", "remount,bind,ro", directory)
    try:
        result = tlsup("install", name)
        assert result.status != 0 and "certs.d" in result.err, result
    finally:
        machine.run("umount", directory)
    assert not snapshot.difference(before, server.configuration()) and not net.port_open(443)
    tlsup.ok("install", name)
    assert net.leaf(name)[0] == tlsup.sha256(name)
