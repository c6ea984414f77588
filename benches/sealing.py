#!/usr/bin/env python3
"""What requests feel of sealing: a million keys are active in each minute, and their usage is sealed beside the traffic.

    benches/sealing.py [--keys N] [--seconds N] [--keygate FILE]

The data thread has the first core to itself; all else of keygate, the load (wrk, each request another key) and the backend (nginx) have
the second. Each second the gateway's own clock is read (`keygate_gateway_duration_seconds`) and the CPU time of the thread that seals,
so that the seconds in which it worked can be told from the others. Needs wrk and nginx, as `make bench-peers` installs them.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "peers"))

import keys
from contestants import CONFIGS, fill, user

CONFIG = """
listeners: [{{address: 127.0.0.1:{port}}}]
operations: {{address: 127.0.0.1:{operations}}}
threads: 1
data_dir: data
logs: {{requests: off}}
upstreams: {{backend: {{targets: ["http://127.0.0.1:{backend}"]}}}}
routes: {{all: {{path: /, upstream: backend}}}}
default_plan: standard
plans: {{standard: {{limits: {{rate: {{requests: 1000000, per: 1s}}}}}}}}
include: [keys-*.yaml]
"""
PORT, OPERATIONS, BACKEND = 18480, 18481, 18482


def threads(pid):
    for thread in os.listdir(f"/proc/{pid}/task"):
        yield int(thread), Path(f"/proc/{pid}/task/{thread}/comm").read_text().strip()


def cpu_ms(pid, thread):
    return int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0]) / 1e6


def gateway_times():
    with urllib.request.urlopen(f"http://127.0.0.1:{OPERATIONS}/metrics") as answer:
        text = answer.read().decode()
    rows = re.findall(r'keygate_gateway_duration_seconds_bucket\{route="all",le="([^"]+)"\} (\d+)', text)
    return {float(bound.replace("+Inf", "inf")): int(count) for bound, count in rows}


def wait_ready(process):
    for _ in range(600):
        assert process.poll() is None, "keygate ended at its start"
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{OPERATIONS}/readyz").read()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("keygate does not become ready")


def told(counts):
    total = counts[float("inf")]
    share = lambda wanted: next(bound for bound, count in sorted(counts.items()) if count >= total * wanted)
    quantiles = "   ".join(f"{name} <= {share(at) * 1e6:g} us" for name, at in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)])
    over = total - counts[0.001]
    return f"{total:9} requests   {quantiles}   over 1 ms: {over} ({over / total * 1e6:.0f} of a million)"


def measure(folder, options):
    secrets = keys.make(options.keys)
    with (folder / "secrets").open("w") as file:
        file.writelines(f"{key.secret}\n" for key in secrets)
    for first in range(0, len(secrets), 500_000):
        with (folder / f"keys-{first}.yaml").open("w") as file:
            file.writelines(["keys:\n", *(f"  {k.id}: {{digest: sha256:{k.digest}}}\n" for k in secrets[first : first + 500_000])])
    (folder / "keygate.yaml").write_text(CONFIG.format(port=PORT, operations=OPERATIONS, backend=BACKEND))
    backend = fill("backend.conf", folder, user=user(), backend=BACKEND, body="x" * 128, kib="")
    started = []

    def start(core, *command):
        with (folder / f"{len(started)}.log").open("wb") as log:
            command = ["taskset", "-c", str(core), *map(str, command)]
            started.append(subprocess.Popen(command, cwd=folder, stdout=log, stderr=log))
        return started[-1]

    try:
        start(1, "nginx", "-p", folder, "-c", backend)
        gateway = start(1, options.keygate.resolve(), "serve", "--config", folder / "keygate.yaml")
        wait_ready(gateway)
        names = {name: thread for thread, name in threads(gateway.pid)}
        os.sched_setaffinity(names["data-0"], {0})
        load = ["-t1", "-c32", f"-d{options.seconds}s", "-s", CONFIGS / "load.lua", f"http://127.0.0.1:{PORT}/"]
        wrk = start(1, "wrk", *load, "--", f"secrets={folder / 'secrets'}", "start=0")
        watch(gateway.pid, names["sealing"], wrk)
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(30)


def watch(pid, sealing, wrk):
    sums, worked = {True: {}, False: {}}, []
    times, cpu = gateway_times(), cpu_ms(pid, sealing)
    while wrk.poll() is None:
        time.sleep(1)
        now, busy = gateway_times(), cpu_ms(pid, sealing)
        is_sealing = busy - cpu > 20
        worked += [busy - cpu] if is_sealing else []
        for bound, count in now.items():
            sums[is_sealing][bound] = sums[is_sealing].get(bound, 0) + count - times.get(bound, 0)
        times, cpu = now, busy
    print(f"seconds with sealing    {told(sums[True])}")
    print(f"seconds without         {told(sums[False])}")
    print(f"sealing took {sum(worked) / 1000:.1f} s of CPU in {len(worked)} seconds")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=200)
    parser.add_argument("--keygate", type=Path, default=HERE / "../target/release/keygate")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        measure(Path(folder), options)


if __name__ == "__main__":
    main()
