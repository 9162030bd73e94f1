"""What notifications arrive at: a mail server, a web server, the system's log; each can be told to misbehave."""

import base64
import http.server
import os
import pathlib
import socket
import ssl
import threading
import time


class Mail:
    def __init__(self, sender, recipients, data, tls, user):
        self.sender, self.recipients, self.data, self.tls, self.user = sender, recipients, data, tls, user


def end_listener(listener, thread):
    """Closed while the thread goes for accept(), its number could be the next listener's by then, and the thread serve that one's visitors."""
    try:
        listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
    except OSError:
        pass
    thread.join(5)
    if not thread.is_alive():
        listener.close()


class MailServer:
    """SMTP, one connection after the other. `certificate`: (cert, key), STARTTLS is offered then (or spoken from the start with `implicit`). `login`:
    "USER:PASSWORD", wanted before MAIL. `answers`: {"RCPT": "550 no such user", "greeting": "220 hello", …}; an answer that is b"" closes the connection,
    a list is used up one by one; "hang" as greeting says nothing."""

    def __init__(self, address="127.0.0.1", certificate=None, login=None, implicit=False, answers=None):
        self.mails, self.seen, self.certificate, self.login, self.implicit = [], [], certificate, login, implicit
        self.answers = answers or {}
        self.socket = socket.create_server((address, 0))
        self.port = self.socket.getsockname()[1]
        self.closing = False
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def close(self):
        self.closing = True
        end_listener(self.socket, self.thread)

    def _serve(self):
        while not self.closing:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            connection.settimeout(20)
            try:
                with connection:
                    self._session(connection)
            except (OSError, ssl.SSLError):
                pass

    def _context(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.certificate)
        return context

    def _say(self, connection, verb, usual):
        answer = self.answers.get(verb, usual)
        if isinstance(answer, list):
            answer = answer.pop(0) if answer else usual
        if answer == b"":
            raise OSError("closed on purpose")
        connection.sendall(answer if isinstance(answer, bytes) else answer.encode() + b"\r\n")
        return answer == usual

    def _session(self, connection):
        tls = user = None
        if self.implicit:
            connection, tls = self._context().wrap_socket(connection, server_side=True), True
        if self.answers.get("greeting") == "hang":
            while connection.recv(1):
                pass
            return
        if not self._say(connection, "greeting", "220 mail.test ESMTP") and isinstance(self.answers.get("greeting"), bytes):
            return
        file, sender, recipients = connection.makefile("rb"), None, []
        while line := file.readline():
            words = line.decode().split()
            verb = words[0].upper() if words else ""
            self.seen.append(line.decode().strip())
            if verb == "EHLO":
                offers = ["mail.test"] + (["STARTTLS"] if self.certificate and not tls else []) + (["AUTH PLAIN"] if self.login else [])
                connection.sendall("".join(f"250{' ' if i == len(offers) - 1 else '-'}{o}\r\n" for i, o in enumerate(offers)).encode())
            elif verb == "STARTTLS":
                if self._say(connection, verb, "220 go on"):
                    connection, tls = self._context().wrap_socket(connection, server_side=True), True
                    file = connection.makefile("rb")
            elif verb == "AUTH":
                if len(words) < 3:
                    connection.sendall(b"334 \r\n")
                    words.append(file.readline().decode().strip())
                _, name, password = base64.b64decode(words[2]).decode().split("\0")
                good = f"{name}:{password}" == self.login
                user = name if good else None
                self._say(connection, verb, "235 welcome" if good else "535 5.7.8 wrong password")
            elif verb == "MAIL":
                if self.login and not user:
                    connection.sendall(b"530 5.7.0 who are you\r\n")
                elif self._say(connection, verb, "250 ok"):
                    sender = line.decode().split(":", 1)[1].split()[0]
            elif verb == "RCPT":
                if self._say(connection, verb, "250 ok"):
                    recipients.append(line.decode().split(":", 1)[1].split()[0])
            elif verb == "DATA":
                if not self._say(connection, verb, "354 go"):
                    continue
                data = b""
                while not data.endswith(b"\r\n.\r\n") and (piece := file.readline()):
                    data += piece
                if self._say(connection, ".", "250 taken"):
                    self.mails.append(Mail(sender, recipients, data[:-3], tls, user))
                sender, recipients = None, []
            elif verb == "QUIT":
                connection.sendall(b"221 bye\r\n")
                return
            else:
                connection.sendall(b"502 what\r\n")


class WebServer:
    """HTTP, or HTTPS with `certificate`. `answers`: a list of (status, headers, body), used up one by one; then 200."""

    def __init__(self, address="127.0.0.1", certificate=None):
        self.requests, self.answers = [], []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.requests.append((self.command, self.path, dict(self.headers), body))
                status, headers, text = outer.answers.pop(0) if outer.answers else (200, {}, "ok")
                if status is None:
                    return
                self.send_response(status)
                for key, value in {"Content-Length": str(len(text)), **headers}.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = do_HEAD = answer

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass

        self.server = Server((address, 0), Handler)
        self.port = self.server.server_address[1]
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Syslog:
    """/dev/log of the private world."""

    PATH = pathlib.Path("/dev/log")

    def __init__(self):
        self.PATH.unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.PATH))
        os.chmod(self.PATH, 0o666)
        self.received, self.stopped = [], threading.Event()
        self.socket.settimeout(0.05)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        while not self.stopped.is_set():
            try:
                self.received.append(self.socket.recv(65536).decode())
            except TimeoutError:
                pass

    def lines(self):
        """All that came since the last call."""
        marker = f"marker {id(self.received)} {len(self.received)}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(marker.encode(), str(self.PATH))
        while not self.received or self.received[-1] != marker:
            time.sleep(0.005)
        found, self.received[:] = self.received[:-1], []
        return found

    def close(self):
        self.stopped.set()
        self.reader.join()
        self.socket.close()
        self.PATH.unlink(missing_ok=True)
