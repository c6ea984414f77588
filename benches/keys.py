#!/usr/bin/env python3
"""What the admin API of a running keygate takes, with fsync: keys one by one, in batches, and a start with all of them.

    benches/keys.py [--keys N] [--keygate FILE]

Starts keygate in a folder of its own on loopback, imports N digests through POST /v1/keys:batch while one client hammers the data
plane, creates and revokes keys one by one, then starts again and waits until it is ready. Prints what it saw; asserts only
that every answer was as it should be.

On two cores client, importer, echo server and store wait for each other, so the client's figures tell little about the gateway.
Therefore the data thread has the first core to itself, everything else has the others, and what a request spends in the gateway is
taken from the gateway's own clock: `keygate_gateway_duration_seconds`, from a whole head to the bytes for the upstream and from a whole
answer's head to the bytes for the client. A decision that had to wait for the writer of keys shows there.
"""

import argparse
import hashlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request

BATCH = 1000
SINGLES = 2000

CONFIG = """
listeners: [{{address: 127.0.0.1:0}}]
operations: {{address: 127.0.0.1:0}}
admin: {{address: 127.0.0.1:0}}
data_dir: ./data
logs: {{requests: off}}
threads: 1
upstreams: {{echo: {{targets: ["http://127.0.0.1:{echo}"]}}}}
routes: {{all: {{path: /, upstream: echo}}}}
plans: {{free: {{limits: {{burst: {{requests: 1000000, per: 1s}}}}}}}}
"""


class Keygate:
    def __init__(self, program, folder):
        self.folder = folder
        began = time.monotonic()
        self.log = open(os.path.join(folder, "log"), "ab+")
        start = self.log.tell()
        self.process = subprocess.Popen(
            [program, "serve", "--config", os.path.join(folder, "keygate.yaml")],
            stdout=subprocess.DEVNULL, stderr=self.log)
        self.addresses = None
        while self.addresses is None:
            assert self.process.poll() is None, "keygate ended at its start"
            time.sleep(0.002)
            self.addresses = self.listening(start)
        self.ready_s = time.monotonic() - began
        with open(os.path.join(folder, "data", "admin.token")) as file:
            self.token = file.read().strip()

    def listening(self, start):
        with open(os.path.join(self.folder, "log"), "rb") as log:
            log.seek(start)
            for line in log.read().splitlines():
                try:
                    said = json.loads(line)
                except ValueError:
                    continue
                if said.get("message") == "listening":
                    return {"data": said["listeners"], "admin": said["admin"], "operations": said["operations"]}
        return None

    def admin(self):
        return Admin(self.addresses["admin"], self.token)

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/statm") as statm:
            return int(statm.read().split()[1]) * 4096

    def part_cores(self):
        """The data thread gets the first core, all others of this program and of keygate the rest."""
        cores = sorted(os.sched_getaffinity(0))
        for thread in os.listdir(f"/proc/{self.process.pid}/task"):
            with open(f"/proc/{self.process.pid}/task/{thread}/comm") as comm:
                is_data = comm.read().startswith("data-")
            os.sched_setaffinity(int(thread), cores[:1] if is_data else cores[1:] or cores)
        for thread in os.listdir("/proc/self/task"):
            os.sched_setaffinity(int(thread), cores[1:] or cores)

    def join_cores(self):
        """Everything may run everywhere again."""
        every = range(os.cpu_count())
        for thread in os.listdir(f"/proc/{self.process.pid}/task"):
            os.sched_setaffinity(int(thread), every)
        for thread in os.listdir("/proc/self/task"):
            os.sched_setaffinity(int(thread), every)

    def gateway_times(self):
        """How many requests spent at most so many seconds in the gateway."""
        with urllib.request.urlopen(f"http://{self.addresses['operations']}/metrics") as answer:
            text = answer.read().decode()
        rows = re.findall(r'keygate_gateway_duration_seconds_bucket\{route="all",le="([^"]+)"\} (\d+)', text)
        return {float(bound.replace("+Inf", "inf")): int(count) for bound, count in rows}

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=60) == 0


class Admin:
    def __init__(self, address, token):
        self.connection = http.client.HTTPConnection(address)
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def call(self, method, path, body=None):
        text = None if body is None else json.dumps(body)
        self.connection.request(method, path, text, self.headers)
        response = self.connection.getresponse()
        answer = json.loads(response.read() or b"null")
        assert 200 <= response.status < 300, (response.status, answer)
        return answer


def echo_server():
    """Answers everything with 204, on threads of its own."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(client):
        while client.recv(65536):
            client.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    def accept():
        while True:
            client, _ = listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


class Hammer(threading.Thread):
    """One client of the data plane, and how long its requests took."""

    def __init__(self, address, secret):
        super().__init__(daemon=True)
        host, port = address.split(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request = f"GET / HTTP/1.1\r\nHost: bench\r\nX-API-Key: {secret}\r\n\r\n".encode()
        self.took, self.running = [], True

    def run(self):
        while self.running:
            began = time.monotonic()
            self.socket.sendall(self.request)
            answer = self.socket.recv(65536)
            self.took.append(time.monotonic() - began)
            assert answer.startswith(b"HTTP/1.1 204"), answer

    def finish(self):
        self.running = False
        self.join()
        return spread(self.took)


def spread(took):
    took = sorted(took)
    at = lambda share: took[min(len(took) - 1, int(len(took) * share))] * 1000
    return f"p50 {at(0.5):8.3f} ms   p99 {at(0.99):8.3f} ms   p99.9 {at(0.999):8.3f} ms   max {took[-1] * 1000:8.3f} ms"


def distribution(before, after):
    """What share of the requests between two readings took at most how long in the gateway."""
    counts = {bound: after[bound] - before.get(bound, 0) for bound in sorted(after)}
    total = counts[float("inf")]
    told = []
    for bound, count in counts.items():
        told.append(f"{total - count} over {bound * 1e6:g} us")
        if count == total:
            break
    return f"{total} requests, in the gateway: {', '.join(told)}"


def batch(numbers):
    digest = lambda number: "sha256:" + hashlib.sha256(f"bench-{number}".encode()).hexdigest()
    return {"keys": [{"name": f"key {n}", "owner": f"owner {n % 1000}", "plan": "free", "digest": digest(n)}
                     for n in numbers]}


def timed(work):
    began = time.monotonic()
    work()
    return time.monotonic() - began


def bench(program, keys, folder):
    with open(os.path.join(folder, "keygate.yaml"), "w") as file:
        file.write(CONFIG.format(echo=echo_server()))
    keygate = Keygate(program, folder)
    admin = keygate.admin()
    secret = admin.call("POST", "/v1/keys", {"name": "hammer"})["secret"]

    keygate.part_cores()
    began = keygate.gateway_times()
    quiet = Hammer(keygate.addresses["data"], secret)
    quiet.start()
    time.sleep(3)
    print(f"data plane, alone            {quiet.finish()}")
    quiet_times = keygate.gateway_times()
    print(f"  {distribution(began, quiet_times)}")

    bodies = [batch(range(first, min(first + BATCH, keys))) for first in range(0, keys, BATCH)]
    busy = Hammer(keygate.addresses["data"], secret)
    busy.start()
    took = [timed(lambda body=body: admin.call("POST", "/v1/keys:batch", body)) for body in bodies]
    print(f"data plane, beside the import {busy.finish()}")
    print(f"  {distribution(quiet_times, keygate.gateway_times())}")
    print(f"import, {BATCH} a batch          {keys / sum(took):8.0f} keys per second   {spread(took)}")

    keygate.join_cores()

    ids, took = [], []
    for number in range(SINGLES):
        took.append(timed(lambda: ids.append(admin.call("POST", "/v1/keys", {"name": f"single {number}"})["key"]["id"])))
    print(f"create                       {spread(took)}")
    took = [timed(lambda key=key: admin.call("DELETE", f"/v1/keys/{key}")) for key in ids]
    print(f"revoke                       {spread(took)}")
    keygate.stop()

    print(f"\nwith {keys} keys in the store")
    empty = tempfile.mkdtemp(dir=folder)
    with open(os.path.join(empty, "keygate.yaml"), "w") as file:
        file.write(CONFIG.format(echo=echo_server()))
    without = Keygate(program, empty)
    base = without.resident_bytes()
    without.stop()
    for _ in range(3):
        keygate = Keygate(program, folder)
        time.sleep(1)
        each = (keygate.resident_bytes() - base) / keys
        print(f"ready after                  {keygate.ready_s:8.3f} s   resident per key {each:6.0f} bytes"
              f" (all of the process, less {base >> 20} MiB of an empty one)")
        keygate.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--keygate", default=os.path.join(os.path.dirname(__file__), "../target/release/keygate"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench(os.path.abspath(options.keygate), options.keys, folder)


if __name__ == "__main__":
    main()
