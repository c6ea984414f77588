"""Before anything is measured: does every contestant do the job that it is measured at?"""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from contestants import CREDENTIAL, IDENTITY, Contestant
from keys import Key, unknown
from processes import Failure


class _Echo(BaseHTTPRequestHandler):
    """Answers with the head that it got."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps([[name, value] for name, value in self.headers.items()]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def echo_backend(port: int) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", port), _Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


def get(port: int, headers: dict[str, str]) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/", headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def check(contestant: Contestant, port: int, keys: list[Key]) -> None:
    """Sends a request of each kind through a contestant that has the echo behind it."""

    def demand(holds: bool, what: str) -> None:
        if not holds:
            raise Failure(f"{contestant.name} is not fit to be measured: {what}")

    for key in (keys[0], keys[-1]):
        status, body = get(port, {CREDENTIAL: key.secret, IDENTITY: "forged"})
        demand(status == 200, f"a good key is answered {status}")
        if not contestant.has_policy:
            continue
        fields = json.loads(body)
        demand(key.secret not in body.decode(), f"the backend sees the secret: {fields}")
        identities = [value for name, value in fields if name.lower() == IDENTITY.lower()]
        demand(identities == [key.id], f"the backend sees {IDENTITY} {identities}, not {key.id}")
    if contestant.has_policy:
        for what, headers in {"an unknown key": {CREDENTIAL: unknown()}, "no key": {}}.items():
            status, _ = get(port, headers)
            demand(status in (401, 403), f"{what} is answered {status}")
