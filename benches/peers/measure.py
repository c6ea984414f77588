"""What a turn costs: CPU time and memory of a contestant, and what the load generator counted meanwhile."""

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from processes import Failure, Process, run

# Figures of one turn by name. CPU and latencies are in microseconds, memory in bytes.
Figures = dict[str, float]


# A turn in which other programs had more than this share of the contestant's core is counted as disturbed.
DISTURBED = 0.03


@dataclass(frozen=True)
class Usage:
    """What a contestant and its core have done so far."""

    seconds: float
    # Nanoseconds that the contestant's threads were on a CPU.
    cpu: int
    # The same in clock ticks: too coarse to be added up, good enough for a ratio.
    user_ticks: int
    kernel_ticks: int
    # Clock ticks that the core was busy, whoever it was busy for.
    core_ticks: int

    @staticmethod
    def of(process: Process, core: int) -> "Usage":
        cpu = user = kernel = 0
        for pid in process.pids():
            for thread in Path(f"/proc/{pid}/task").iterdir():
                with suppress(FileNotFoundError, ProcessLookupError):
                    cpu += int((thread / "schedstat").read_text().split()[0])
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            user += int(fields[11])
            kernel += int(fields[12])
        cores = Path("/proc/stat").read_text().splitlines()
        times = next(line.split()[1:9] for line in cores if line.startswith(f"cpu{core} "))
        # All but idle and waiting for a disk.
        busy = sum(int(ticks) for place, ticks in enumerate(times) if place not in (3, 4))
        return Usage(time.monotonic(), cpu, user, kernel, busy)

    def until(self, later: "Usage", requests: float, load_seconds: float) -> Figures:
        cpu = (later.cpu - self.cpu) / 1e9
        user, kernel = later.user_ticks - self.user_ticks, later.kernel_ticks - self.kernel_ticks
        in_user = user / max(user + kernel, 1)
        each = cpu / requests * 1e6
        core = (later.core_ticks - self.core_ticks) / os.sysconf("SC_CLK_TCK")
        return {
            "cpu": each,
            "user": each * in_user,
            "kernel": each * (1 - in_user),
            "busy": cpu / load_seconds,
            "others": max(core - cpu, 0) / (later.seconds - self.seconds),
        }


def resident(process: Process) -> int:
    """Resident memory in bytes; pages that processes of a contestant share are counted in each."""
    total = 0
    for pid in process.pids():
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1]) * 1024
    return total


def under_load(process: Process, core: int, command: list[str], load_core: int, timeout: float) -> Figures:
    """One run of a generator that ends with a line of JSON, and what the contestant used from before it to after it."""
    before = Usage.of(process, core)
    said = run(command, load_core, timeout)
    # What is still to do for connections that were closed belongs to the turn.
    time.sleep(0.05)
    after = Usage.of(process, core)
    process.check()
    try:
        counted: Figures = json.loads(said.splitlines()[-1])
    except (IndexError, ValueError):
        raise Failure(f"{' '.join(command)} said\n{said}") from None
    if not counted["requests"]:
        raise Failure(f"{' '.join(command)} got no answer")
    return counted | before.until(after, counted["requests"], counted["seconds"]) | {"resident": resident(process)}
