#!/usr/bin/env python3
"""What a request costs in figures that do not depend on the machine's mood: instructions, system calls and misses of caches.

Runs the release build under callgrind, and then under strace, with one client that sends one request after the other over one
kept connection to a small backend, all on loopback. The same is done with few and with many requests; the difference divided by
the number of requests between them is what one request costs. One request in flight means one turn of the event loop per
socket event, which a busy gateway shares among several. Misses are counted with 32 requests in flight, in simulated caches of the
sizes that an AMD EPYC has; what the kernel does to caches meanwhile is not simulated.

Usage: benches/counts.py [--binary target/release/keygate]; needs valgrind and strace (`make bench-counts` installs them).
"""

import argparse
import itertools
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

# Before this folder, which has a program of the name.
sys.path.insert(0, str(Path(__file__).parent / "peers"))
from keys import Key, make, unknown

FEW, MANY = 512, 2560
# Requests in flight where misses are counted.
AT_ONCE = 32
# First level for code, for data, second level: bytes, ways, bytes of a line.
CACHES = ["--cache-sim=yes", "--I1=32768,8,64", "--D1=32768,8,64", "--LL=524288,8,64"]
MISSES = {"code, first level": ["I1mr"], "data, first level": ["D1mr", "D1mw"], "data, second level": ["DLmr", "DLmw"]}
KEYS = make(50_000)
BODY = b'{"id":7,"name":"widget","price":19.99}'
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: backend\r\nDate: Mon, 23 Nov 2026 08:00:00 GMT\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\nConnection: keep-alive\r\n\r\n%s" % (len(BODY), BODY)
)
HEAD = (
    "GET /orders/7?page=2 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: curl/8.9.1\r\nAccept: application/json\r\n"
    "Accept-Encoding: gzip, br\r\nX-API-Key: {}\r\n\r\n"
)
FUNCTIONS = {"decide and rewrite": "gateway::connection::decide", "admit": "gateway::admit::admit"}


class Case(NamedTuple):
    # What requests present, one after the other and again from the beginning.
    secrets: list[str]
    # What they get.
    status: bytes
    # The keys that there are.
    keys: list[Key] = KEYS[:1]


CASES = {
    "admitted": Case([KEYS[0].secret], b"200"),
    "denied (unknown key)": Case([unknown()], b"401"),
}
CASES_OF_MISSES = {
    "admitted": CASES["admitted"],
    f"admitted, one of {len(KEYS):,} keys after the other": Case([key.secret for key in KEYS], b"200", KEYS),
}


def backend() -> int:
    """Answers every request with the same bytes; its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(client: socket.socket) -> None:
        waiting = b""
        while received := client.recv(65536):
            waiting += received
            while b"\r\n\r\n" in waiting:
                waiting = waiting.split(b"\r\n\r\n", 1)[1]
                client.sendall(ANSWER)

    def accept() -> None:
        while True:
            client, _ = listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def connect(port: int) -> socket.socket:
    # With many keys a start under callgrind takes its time.
    for _ in range(2400):
        try:
            client = socket.create_connection(("127.0.0.1", port))
        except OSError:
            time.sleep(0.05)
            continue
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client
    raise SystemExit("the gateway does not come up")


def expect(client: socket.socket, status: bytes) -> None:
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += client.recv(65536)
    head, body = answer.split(b"\r\n\r\n", 1)
    length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
    while len(body) < length:
        body += client.recv(65536)
    if head.split()[1] != status:
        raise SystemExit(f"not the answer that was expected: {head!r}")


def ask(port: int, requests: int, case: Case, at_once: int) -> None:
    """Sends so many requests, of which so many are in flight together, each over its own kept connection."""
    clients = [connect(port) for _ in range(at_once)]
    secrets = itertools.cycle(case.secrets)
    for _ in range(requests // at_once):
        for client in clients:
            client.sendall(HEAD.format(next(secrets)).encode())
        for client in clients:
            expect(client, case.status)
    for client in clients:
        client.close()


def run(tool: list[str], binary: str, folder: Path, requests: int, case: Case, at_once: int = 1) -> None:
    """Serves so many requests under a tool, which writes its findings when the gateway ends."""
    port = free_port()
    lines = (f'  {key.id}: {{name: a, owner: acme, plan: free, digest: "sha256:{key.digest}"}}\n' for key in case.keys)
    (folder / "keygate.yaml").write_text(
        f"""
listeners: [{{address: "127.0.0.1:{port}"}}]
threads: 1
logs: {{requests: off}}
flood_guard: {{failures: 1000000, per: 1h}}
upstreams: {{backend: {{targets: ["http://127.0.0.1:{BACKEND}"]}}}}
routes: {{all: {{path: /, upstream: backend}}}}
plans: {{free: {{limits: {{second: {{requests: 1000000, per: 1s}}}}}}}}
keys:
{"".join(lines)}"""
    )
    with (folder / "log").open("w") as log:
        command = [*tool, binary, "serve", "--config", str(folder / "keygate.yaml")]
        gateway = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            ask(port, requests, case, at_once)
        finally:
            # strace passes no signal on: its child is ended, and it ends with it.
            children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()
            subprocess.run(["kill", *(children or [str(gateway.pid)])], check=True)
            gateway.wait(60)


def instructions(binary: str, folder: Path, requests: int, case: Case) -> dict[str, int]:
    out = folder / "callgrind"
    run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"], binary, folder, requests, case)
    annotate = ["callgrind_annotate", "--inclusive=yes", "--threshold=100", str(out)]
    text = subprocess.run(annotate, capture_output=True, text=True, check=True).stdout
    counts = {"whole request": int(re.search(r"([\d,]+).*PROGRAM TOTALS", text)[1].replace(",", ""))}
    for name, function in FUNCTIONS.items():
        # One line for each source file that something in the function comes from; the largest has all that it calls.
        lines = re.findall(rf"^ *([\d,]+) \([^)]*\) +\S*:keygate::{function}(?: \[.*)?$", text, re.MULTILINE)
        counts[name] = max((int(line.replace(",", "")) for line in lines), default=0)
    return counts


def system_calls(binary: str, folder: Path, requests: int, case: Case) -> dict[str, int]:
    out = folder / "strace"
    run(["strace", "-f", "-c", "-o", str(out)], binary, folder, requests, case)
    rows = (line.split() for line in out.read_text().splitlines())
    return {row[-1]: int(row[3]) for row in rows if len(row) >= 5 and row[3].isdigit() and row[-1] != "total"}


def misses(binary: str, folder: Path, requests: int, case: Case) -> dict[str, int]:
    out = folder / "callgrind"
    tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *CACHES]
    run(tool, binary, folder, requests, case, AT_ONCE)
    # One line names the events, another has their totals.
    names, totals = (re.search(rf"^{what}: (.*)$", out.read_text(), re.MULTILINE)[1].split() for what in ("events", "totals"))
    events = dict(zip(names, map(int, totals), strict=True))
    return {what: sum(events[name] for name in of) for what, of in MISSES.items()}


def per_request(count: Callable[..., dict[str, int]], binary: str, case: Case) -> Iterator[tuple[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        few, many = (count(binary, Path(folder), requests, case) for requests in (FEW, MANY))
    for what, value in many.items():
        yield what, (value - few.get(what, 0)) / (MANY - FEW)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", default="target/release/keygate")
    binary = parser.parse_args().binary
    for name, case in CASES.items():
        print(f"{name}:", flush=True)
        for what, value in per_request(instructions, binary, case):
            print(f"  {value:9.0f} instructions  {what}", flush=True)
        for call, value in per_request(system_calls, binary, case):
            if value >= 0.05:
                print(f"  {value:9.2f} calls         {call}", flush=True)
    for name, case in CASES_OF_MISSES.items():
        print(f"{name}, {AT_ONCE} at once:", flush=True)
        for what, value in per_request(misses, binary, case):
            print(f"  {value:9.1f} misses        {what}", flush=True)


BACKEND = backend()
if __name__ == "__main__":
    main()
