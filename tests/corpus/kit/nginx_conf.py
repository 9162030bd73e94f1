"""An independent reading of nginx configurations: what the harness believes, never what the program under test says.

Bytes are kept as Latin-1 text, so that every file can be read.
"""

import glob
import os
import re

SPACE = " \t\r\n"
DATA_BLOCKS = {"map", "geo", "types", "split_clients", "charset_map", "match"}


class Directive:
    def __init__(self, words, file, line, parent):
        self.words, self.file, self.line, self.parent, self.block = words, file, line, parent, None

    @property
    def name(self):
        return self.words[0]

    @property
    def arguments(self):
        return self.words[1:]

    def all(self, *names):
        """Directives with these names below this one, includes followed."""
        for each in self.block or []:
            if each.name in names:
                yield each
            if each.block is not None:
                yield from each.all(*names)

    def first(self, name):
        """The nearest directive with this name, outwards."""
        scope = self
        while scope is not None:
            for each in scope.block or []:
                if each.name == name:
                    return each
            scope = scope.parent
        return None


class Unreadable(Exception):
    pass


def skip_lua(text, at):
    """The place behind the brace that closes a *_by_lua_block, `at` being just behind the opening one."""
    depth = 1
    while at < len(text):
        long = re.compile(r"(--)?\[(=*)\[").match(text, at)
        if long:
            end = text.find("]" + long.group(2) + "]", long.end())
            at = len(text) if end < 0 else end + len(long.group(2)) + 2
        elif text.startswith("--", at):
            at = (text.find("\n", at) + 1) or len(text)
        elif text[at] in "\"'":
            quote, at = text[at], at + 1
            while at < len(text) and text[at] != quote:
                at += 2 if text[at] == "\\" else 1
            at += 1
        else:
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
            if depth == 0:
                return at
    raise Unreadable("a lua block is not closed")


def words_of(text):
    """(kind, word, line): kind is "word", ";", "{", "}"."""
    at, line, lua = 0, 1, False
    while at < len(text):
        c = text[at]
        if c in SPACE:
            line += c == "\n"
            at += 1
        elif c == "#":
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
        elif c in ";{}":
            yield c, c, line
            at += 1
            if c == "{" and lua:
                end = skip_lua(text, at)
                line += text.count("\n", at, end)
                at = end
                yield "}", "}", line
            lua = False
        else:
            began, word, at = line, [], at
            quote = c if c in "\"'" else ""
            at += len(quote)
            while at < len(text):
                c = text[at]
                if c == "\\" and at + 1 < len(text):
                    following = text[at + 1]
                    word.append({"t": "\t", "r": "\r", "n": "\n"}.get(following, following) if following in "\"'\\trn"
                                else c + following)
                    line += following == "\n"
                    at += 2
                    continue
                if quote and c == quote:
                    at += 1
                    break
                if not quote and (c in SPACE or c == ";" or c == "{" and text[at - 1] != "$"):
                    break
                line += c == "\n"
                word.append(c)
                at += 1
            lua = "".join(word).endswith("_by_lua_block") or lua
            yield "word", "".join(word), began


def parse(path, read, parent, seen=()):
    """Directives of a file into parent.block."""
    scope, words, start = parent, [], 0
    for kind, word, line in words_of(read(path)):
        if kind == "word":
            start = start if words else line
            words.append(word)
        elif kind == "}":
            scope = scope.parent if scope is not parent else parent
            words = []
        elif words:
            directive = Directive(words, path, start, scope)
            words = []
            if kind == "{":
                directive.block = []
                scope.block.append(directive)
                scope = directive
            elif directive.name == "include" and len(directive.words) == 2 and scope.name not in ("geo",):
                follow(directive, read, scope, seen)
            else:
                scope.block.append(directive)


def follow(include, read, scope, seen):
    pattern = os.path.join(read.base, include.words[1])
    files = sorted(glob.glob(pattern)) if re.search(r"[*?\[]", pattern) else [pattern]
    for path in files:
        if path in seen or not os.path.isfile(path):
            continue
        if scope.name in DATA_BLOCKS:
            continue
        parse(path, read, scope, (*seen, path))


class Reader:
    def __init__(self, base):
        self.base, self.files = base, []

    def __call__(self, path):
        self.files.append(path)
        with open(path, "rb") as file:
            text = file.read().decode("latin-1")
        return text.removeprefix("\xef\xbb\xbf")


class Listen:
    def __init__(self, words):
        where, options = words[0], words[1:]
        self.unix = where.startswith("unix:")
        self.ssl, self.proxy = "ssl" in options, "proxy_protocol" in options
        self.default = "default_server" in options or "default" in options
        self.dual = "ipv6only=off" in options
        if self.unix:
            self.address, self.ports = where, range(0)
            return
        if re.fullmatch(r"\d+-\d+", where):
            where = f"*:{where}"
        match = re.fullmatch(r"(?:(\[[^\]]*\]|[^:\[\]]*[^:\[\]\d][^:\[\]]*|\d+(?:\.\d+){3}|\*)(?::|$))?(?:(\d+)(?:-(\d+))?)?", where)
        if not match:
            raise Unreadable(f"listen {where}")
        address, low, high = match.groups()
        self.address = "*" if address in (None, "*", "0.0.0.0") else address
        if self.address in ("[::]", "[::0]", "[0:0:0:0:0:0:0:0]"):
            self.address = "[::]"
        elif self.address.startswith("[") and not self.address.strip("[]"):
            raise Unreadable(f"listen {where}")
        if self.address == "localhost":
            self.address = "127.0.0.1"
        low = int(low or 80)
        self.ports = range(low, int(high or low) + 1)


class Server:
    """One server block of http."""

    def __init__(self, block):
        self.block, self.file, self.line = block, block.file, block.line
        own = block.block
        self.names = [word.lower() for d in own if d.name == "server_name" for word in d.arguments]
        self.listens = [Listen(d.arguments) for d in own if d.name == "listen" and d.arguments]
        if not any(d.name == "listen" for d in own):
            self.listens = [Listen(["80"])]


class Configuration:
    def __init__(self, path, base=None):
        self.read = Reader(base or os.path.dirname(path))
        self.root = Directive([""], path, 0, None)
        self.root.block = []
        parse(path, self.read, self.root, (path,))
        self.servers = [Server(s) for http in self.root.block if http.name == "http" for s in http.block
                        if s.name == "server" and s.block is not None]


def matches(pattern, name):
    """How well does a server_name fit? 0 = not at all; more is better."""
    if pattern.startswith("~"):
        try:
            return 1 if re.search(pattern[1:].replace("(?<", "(?P<"), name) else 0
        except re.error:
            return 0
    if pattern == name:
        return 1000000
    if pattern.startswith("."):
        return 1000000 if name == pattern[1:] else 1000 + len(pattern) if name.endswith(pattern) else 0
    if pattern.startswith("*."):
        return 1000 + len(pattern) if name.endswith(pattern[1:]) and name != pattern[2:] else 0
    if pattern.endswith(".*"):
        return 10 + len(pattern) if name.startswith(pattern[:-1]) else 0
    return 0


class Sockets:
    """Which concrete addresses stand for the listen lines, and who answers there."""

    def __init__(self, servers):
        self.servers = servers
        self.specific = sorted({l.address.strip("[]") for s in servers for l in s.listens
                                if not l.unix and l.address not in ("*", "[::]")})
        self.any4 = next(f"127.0.0.{n}" for n in range(1, 250) if f"127.0.0.{n}" not in self.specific)
        self.any6 = "::1" if "::1" not in self.specific else "2001:db8:ffff::1"

    def _listens(self, port):
        for server in self.servers:
            for listen in server.listens:
                if port in listen.ports:
                    yield server, listen

    def addresses(self, port):
        found = []
        for _, listen in self._listens(port):
            if listen.address == "*":
                found.append(self.any4)
            elif listen.address == "[::]":
                found += [self.any6] + ([self.any4] if listen.dual else [])
            else:
                found.append(listen.address.strip("[]"))
        return sorted(set(found), key=lambda a: (":" in a, a))

    def at(self, address, port):
        """The servers that compete on this address, and their listen lines."""
        own = [(s, l) for s, l in self._listens(port) if l.address.strip("[]") == address]
        if own:
            return own
        dual = [(s, l) for s, l in self._listens(port) if l.address == "[::]"]
        if ":" in address:
            return dual
        return [(s, l) for s, l in self._listens(port) if l.address == "*"] or [(s, l) for s, l in dual if l.dual]

    def proxied(self, address, port):
        return any(l.proxy for _, l in self.at(address, port))

    def owner(self, name, address, port, explicit=True):
        """The server that nginx chooses; None when only the default one would be it."""
        best, found = 0, None
        for server, _ in self.at(address, port):
            score = max((matches(pattern, name) for pattern in server.names), default=0)
            if score > best:
                best, found = score, server
        if found or explicit:
            return found
        there = self.at(address, port)
        return next((s for s, l in there if l.default), there[0][0] if there else None)
