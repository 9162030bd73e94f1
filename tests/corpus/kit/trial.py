"""What is done with one configuration, and what must hold at each step."""

import random
import re
import time

from harness import machine, snapshot

from . import look

CHALLENGE = "/.well-known/acme-challenge/"


class Failure(Exception):
    """A check that does not hold: its short name, and everything a person needs to see."""

    def __init__(self, check, text):
        super().__init__(f"{check}: {text}")
        self.check, self.text = check, text


def cert_of(name):
    return name.replace("*", "_wildcard")


class Trial:
    def __init__(self, place, everything=False):
        self.place, self.world, self.tlsup, self.everything = place, place.world, place.world.tlsup, everything
        self.enabled, self.refused, self.failed = set(), {}, []
        self.active = {}  # certificate -> its names
        self.sessions = []

    def go(self):
        self.baseline()
        place, names = self.place, self.place.names
        together = [*place.groups] if self.everything else place.groups[:1]
        if place.ours and len(names) > 1 and names not in place.groups:
            together.append(names)
        # Without --all the names of a block are tried at once and in turn, each of them alone only where that is all there is.
        alone = names if self.everything else names[:0 if together else 1]
        steps = [lambda n=n: self.alone(n) for n in alone] + [lambda g=g: self.together(g) for g in together]
        if len(names) > 1:
            steps.append(lambda: self.one_after_the_other(names if self.everything else names[:3]))
        for step in steps:
            if not self.attempt(step):
                break  # the machine is not as it was: nothing after this would be telling

    def attempt(self, step):
        try:
            step()
            return True
        except Failure as failure:
            self.failed.append((failure.check, failure.text + self.recent()))
        except AssertionError as error:
            self.failed.append(("program", str(error) + self.recent()))
        return False

    def recent(self):
        return "\n-- sessions of this step --\n" + "\n".join(self.sessions[-4:]) if self.sessions else ""

    # -- before --

    def baseline(self):
        self.tree = self.place.snapshot()
        passed, self.warnings, said = self.place.test()
        if not passed:
            raise Failure("baseline", said)
        self.view = look.View(self.place).take()
        again = look.View(self.place).take().answers
        self.unstable = {key for key, answer in self.view.answers.items() if again[key] != answer}
        self.had_https = {a for a in self.place.addresses(443)}
        for name in self.place.names:
            self.place.resolve(name.removeprefix("*."))

    # -- the ways --

    def alone(self, name):
        if self.enable([name]):
            self.undo(name)
            self.as_at_first()

    def together(self, names):
        if self.enable(names):
            self.undo(names[0])
            self.as_at_first()

    def one_after_the_other(self, names):
        done = [name for name in names if self.enable([name])]
        random.Random(self.place.config["title"]).shuffle(done)
        for name in done:
            self.undo(name)
        self.as_at_first()

    # -- the steps and their checks --

    def run(self, *words):
        result = self.tlsup(*words, timeout=60)
        self.sessions.append(str(result))
        return result

    def enable(self, names):
        before = self.place.snapshot()
        words = [*self.place.asked, *(["--redirect"] if self.place.redirect else [])]
        if any(n.startswith("*.") for n in names):
            words += ["--challenge-hook", str(self.world.hook), "--no-dns-check"]
        balanced = any(self.place.proxied(a, 80) for a in self.place.addresses(80))
        result = self.run("enable", *names, *words, *self.world.ca_for(balanced).arguments)
        self.world.keep_account()
        if result.status != 0:
            self.check_refusal(names, result, before)
            return False
        self.active[cert_of(names[0])] = list(names)
        self.check_test("after enable")
        if not any(n.startswith("*.") for n in names):
            self.check_challenge(names)
        self.check_certificates()
        self.check_visitors()
        if self.place.expect_refusal and set(names) >= set(self.place.fixture_names):
            raise Failure("refusal expected", f"the fixture wants it refused: {self.place.expect_refusal}")
        self.enabled.update(names)
        return True

    def undo(self, name):
        result = self.run("undo", cert_of(name))
        if result.status != 0:
            raise Failure("undo", str(result))
        self.active.pop(cert_of(name))
        self.check_test("after undo")
        self.check_certificates()
        self.check_visitors()

    def check_refusal(self, names, result, before):
        text = " ".join(result.err.split())
        reason = re.search(r"tlsup: (.*?)(?: → |$)", text)
        reason = reason.group(1) if reason else text[-200:]
        changed = snapshot.difference(before, self.place.snapshot())
        if changed:
            raise Failure("refused, but changed", "\n".join([*changed, str(result)]))
        self.check_test("after a refusal")
        self.check_visitors()
        if result.status not in (1, 2, 3):
            raise Failure("refused with an odd status", str(result))
        if "→" not in result.text:
            raise Failure("refused without advice", str(result))
        if not any(n in text for n in names) and not re.search(r"(^|\s)/\S+|port \d+", text):
            raise Failure("refused without name or place", str(result))
        expected = self.place.expect_refusal
        if expected and expected not in text and set(names) >= set(self.place.fixture_names):
            raise Failure("refused for another reason", f"expected: {expected}\n{result}")
        if self.place.ours and not expected and set(names) == set(self.place.fixture_names):
            raise Failure("refused", f"{reason}\n{result}")
        self.refused[" ".join(names)] = reason

    def check_test(self, when):
        passed, warnings, said = self.place.test()
        if not passed:
            raise Failure(f"test {when}", said)
        new = list(warnings)
        for each in self.warnings:
            if each in new:
                new.remove(each)
        if new:
            raise Failure(f"new warning {when}", "\n".join(new))

    def check_challenge(self, names):
        token = look.token()
        thumbprints = set()
        for name in names:
            for address in self.place.served_at(name) or self.open_now(80):
                status, body = self.patiently(lambda a=address, n=name: look.body(n, a, CHALLENGE + token, self.place.proxied(a, 80)),
                                              lambda answer: answer[0] == 200)
                if status != 200 or not re.fullmatch(token.encode() + rb"\.[A-Za-z0-9_-]{43}", body):
                    raise Failure("challenge", f"{name} on {address}: {status} {body[:80]!r}")
                thumbprints.add(body)
        if len(thumbprints) > 1:
            raise Failure("challenge", f"different thumbprints: {thumbprints}")

    def patiently(self, ask, good, seconds=4):
        deadline = time.monotonic() + seconds
        while not good(answer := ask()) and time.monotonic() < deadline:
            time.sleep(0.03)
        return answer

    def check_certificates(self):
        for cert, names in self.active.items():
            leaf = self.tlsup.sha256(cert)
            for name in names:
                name = name.replace("*", "any")
                addresses = self.tls_addresses(name)
                if not addresses:
                    raise Failure("443", f"{name}: no address to ask")
                for address in addresses:
                    answer = self.patiently(lambda a=address, n=name: look.https(n, a, self.place.proxied(a, 443)), lambda x, want=leaf: x[0] == want)
                    if answer[0] != leaf:
                        raise Failure("leaf", f"{name} on {address} port 443: {answer}, expected the leaf {leaf} of {cert}")

    def tls_addresses(self, name):
        """Where the name must be served on 443: where it is on 80; where 443 was there before, at least on that."""
        http = self.place.served_at(name)
        before = [a for a in self.had_https if self.place.owns(name, a, 443)]
        if not before and self.had_https:
            # A wildcard cannot be bound by a reload beside an address that is bound already.
            families = {":" in a for a in self.had_https}
            http = [a for a in http if a in self.had_https or (":" in a) not in families or self.place.wildcard(a) in self.had_https]
            http = http or sorted(self.had_https)
        return before or http or self.open_now(443)

    @staticmethod
    def open_now(port):
        return [a for a in ("127.0.0.1", "::1") if look.open_at(a, port)]

    def check_visitors(self):
        mine = {n.replace("*", "any") for names in self.active.values() for n in names}
        lines = self.view.differences(lambda key, was, now: self.compare(key, was, now, mine))
        if lines:
            raise Failure("visitors", "\n".join(lines[:12]))

    def compare(self, key, was, now, mine):
        """A line when what a visitor gets has changed for the worse."""
        scheme, address, name = key
        if scheme == "https":
            if len(was[0]) != 64:
                if not self.active and now[0] != was[0]:
                    return f"{key}: https was {was[0]}, is {now[0]}"
                if len(now[0]) == 64 and now[2] == f"https://{name}/" and name in mine:
                    return f"{key}: a redirect loop, {now}"
                return None
            if now[0] != was[0] and name not in mine and (look.covers(was[0], name) or not self.active) and not look.covers(now[0], name):
                return f"{key}: another certificate, which does not cover it: was {was}, is {now}"
            if name in mine and not self.place.owns(name, address, 443):
                return None  # the default server's answer; now it has one of its own
            was, now = was[1:], now[1:]
        elif self.place.redirect and name in mine:
            return None
        if key in self.unstable:
            was, now = was[:1], now[:1]
        return f"{key}: was {was}, is {now}" if was != now else None

    def as_at_first(self):
        if self.active:
            return
        changed = snapshot.difference(self.tree, self.place.snapshot())
        if changed:
            raise Failure("undo: not as before", "\n".join(changed))
        if not self.patiently(self.place.workers, bool):
            raise Failure("server", "it has no workers any more")
        self.world.forget_certificates()


def short(reason):
    """A refusal in a few words, alike for alike reasons."""
    return re.sub(r"\s+", " ", reason)[:110]


def try_configuration(world, config, place_class, everything):
    """The row of the table."""
    from .place import Skip

    began = time.monotonic()
    row = {"title": config["title"], "server": config["server"], "names": 0, "enabled": 0, "refused": {}, "failed": [], "skipped": ""}
    world.renew()
    place = place_class(world, config)
    try:
        place.ready()
    except Skip as why:
        if place.ours and "refuses it" in str(why):
            row["failed"] = [("baseline", str(why))]
        else:
            row["skipped"] = str(why)
    except (OSError, UnicodeDecodeError) as error:
        row["skipped"] = f"cannot be laid out: {error}"
    else:
        trial = Trial(place, everything)
        row["names"] = len(place.names)
        if not place.names:
            row["skipped"] = "no plain host name on port 80 or 443"
        else:
            trial.attempt(trial.go)
        row.update(enabled=len(trial.enabled), refused={k: short(v) for k, v in trial.refused.items()}, failed=trial.failed)
    row["seconds"] = time.monotonic() - began
    machine.end_all_but(world.kept)
    return row
