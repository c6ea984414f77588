"""Starts programs on a core of their own, and ends every one of them."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from types import TracebackType

# Seconds that a program has to end after SIGTERM.
PATIENCE = 10.0


class Failure(Exception):
    """What the person who started the benchmark is told, without a stack trace."""


def cores() -> tuple[int, int]:
    """The core of the contestant, and the core of everything else, on a machine that can be measured on."""
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2:
        raise Failure("two cores are needed: one for the contestant, one for load and backend")
    if not Path("/proc/self/schedstat").exists():
        raise Failure("this kernel does not tell how long a thread ran: it has no /proc/PID/task/*/schedstat")
    return available[0], available[1]


def pinned(command: list[str], core: int) -> list[str]:
    """The command on one core, and not outliving this program even if that is killed."""
    return ["setpriv", "--pdeathsig", "TERM", "taskset", "-c", str(core), *command]


def run(command: list[str], core: int, timeout: float) -> str:
    """Runs a program to its end; what it printed."""
    try:
        done = subprocess.run(
            pinned(command, core), capture_output=True, text=True, timeout=timeout, start_new_session=True
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"{command[0]} did not end within {timeout:.0f} s") from None
    if done.returncode != 0:
        raise Failure(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


class Process:
    """A server that was started, with the processes that it started itself."""

    def __init__(self, command: list[str], directory: Path, core: int) -> None:
        self.command = command
        self.log = directory / "output.log"
        with self.log.open("wb") as log:
            # A session of its own: Ctrl-C reaches this program alone, which then ends the server in order.
            self.popen = subprocess.Popen(
                pinned(command, core),
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def check(self) -> None:
        if self.popen.poll() is not None:
            said = self.log.read_text(errors="replace")[-3000:]
            raise Failure(f"{' '.join(self.command)[:300]}\nended by itself with {self.popen.returncode}:\n{said}")

    def pids(self) -> list[int]:
        """The process and its descendants."""
        children: dict[int, list[int]] = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(FileNotFoundError, ProcessLookupError):
                parent = int(path.read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(path.parent.name))
        found = [self.popen.pid]
        for pid in found:
            found += children.get(pid, [])
        return found

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for whatever of it is left."""
        family = self.pids()
        self.popen.terminate()
        try:
            self.popen.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            for pid in family:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.popen.wait()


class Servers:
    """The servers of one scenario; all are ended when the `with` block is left, however it is left."""

    def __init__(self) -> None:
        self.running: list[Process] = []

    def start(self, command: list[str], directory: Path, core: int) -> Process:
        process = Process(command, directory, core)
        self.running.append(process)
        return process

    def __enter__(self) -> "Servers":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self.running:
            process.stop()
