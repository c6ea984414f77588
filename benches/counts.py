#!/usr/bin/env python3
"""What a request costs in figures that do not depend on the machine's mood: instructions and system calls.

Runs the release build under callgrind, and then under strace, with one client that sends one request after the other over one
kept connection to a small backend, all on loopback. The same is done with few and with many requests; the difference divided by
the number of requests between them is what one request costs. One request in flight means one turn of the event loop per
socket event, which a busy gateway shares among several.

Usage: benches/counts.py [--binary target/release/keygate]; needs valgrind and strace (`make bench-counts` installs them).
"""

import argparse
import re
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

FEW, MANY = 500, 2500
SECRET = "kg_live_0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm"
DIGEST = "sha256:7a01b16483b89cd1098c24da18e4ff0aa448da22b0c0835e5dda910e020d1bcd"
BODY = b'{"id":7,"name":"widget","price":19.99}'
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: backend\r\nDate: Mon, 23 Nov 2026 08:00:00 GMT\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\nConnection: keep-alive\r\n\r\n%s" % (len(BODY), BODY)
)
HEAD = (
    "GET /orders/7?page=2 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: curl/8.9.1\r\nAccept: application/json\r\n"
    "Accept-Encoding: gzip, br\r\nX-API-Key: {}\r\n\r\n"
)
CASES = {
    "admitted": (HEAD.format(SECRET), b"200"),
    "denied (unknown key)": (HEAD.format("kg_live_000000000000000000000000000000004eeaNr"), b"401"),
}
FUNCTIONS = {"decide and rewrite": "gateway::connection::decide", "admit": "gateway::admit::admit"}


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
    for _ in range(600):
        try:
            return socket.create_connection(("127.0.0.1", port))
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the gateway does not come up")


def ask(client: socket.socket, request: bytes, status: bytes) -> None:
    client.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += client.recv(65536)
    head, body = answer.split(b"\r\n\r\n", 1)
    length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
    while len(body) < length:
        body += client.recv(65536)
    if head.split()[1] != status:
        raise SystemExit(f"not the answer that was expected: {head!r}")


def run(tool: list[str], binary: str, folder: Path, requests: int, case: tuple[str, bytes]) -> None:
    """Serves so many requests under a tool, which writes its findings when the gateway ends."""
    port = free_port()
    (folder / "keygate.yaml").write_text(
        f"""
listeners: [{{address: "127.0.0.1:{port}"}}]
threads: 1
logs: {{requests: off}}
flood_guard: {{failures: 1000000, per: 1h}}
upstreams: {{backend: {{targets: ["http://127.0.0.1:{BACKEND}"]}}}}
routes: {{all: {{path: /, upstream: backend}}}}
plans: {{free: {{limits: {{second: {{requests: 1000000, per: 1s}}}}}}}}
keys: {{key_a: {{name: a, owner: acme, plan: free, digest: "{DIGEST}"}}}}
"""
    )
    with (folder / "log").open("w") as log:
        command = [*tool, binary, "serve", "--config", str(folder / "keygate.yaml")]
        gateway = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            with connect(port) as client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for _ in range(requests):
                    ask(client, case[0].encode(), case[1])
        finally:
            # strace passes no signal on: its child is ended, and it ends with it.
            children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()
            subprocess.run(["kill", *(children or [str(gateway.pid)])], check=True)
            gateway.wait(60)


def instructions(binary: str, folder: Path, requests: int, case: tuple[str, bytes]) -> dict[str, int]:
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


def system_calls(binary: str, folder: Path, requests: int, case: tuple[str, bytes]) -> dict[str, int]:
    out = folder / "strace"
    run(["strace", "-f", "-c", "-o", str(out)], binary, folder, requests, case)
    rows = (line.split() for line in out.read_text().splitlines())
    return {row[-1]: int(row[3]) for row in rows if len(row) >= 5 and row[3].isdigit() and row[-1] != "total"}


def per_request(count, *arguments) -> dict[str, float]:
    few, many = (count(*arguments[:2], requests, arguments[2]) for requests in (FEW, MANY))
    return {name: (many[name] - few.get(name, 0)) / (MANY - FEW) for name in many}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", default="target/release/keygate")
    binary = parser.parse_args().binary
    with tempfile.TemporaryDirectory() as folder:
        for name, case in CASES.items():
            print(f"{name}:")
            for what, value in per_request(instructions, binary, Path(folder), case).items():
                print(f"  {value:9.0f} instructions  {what}")
            for call, value in per_request(system_calls, binary, Path(folder), case).items():
                if value >= 0.05:
                    print(f"  {value:9.2f} calls         {call}")


BACKEND = backend()
if __name__ == "__main__":
    main()
