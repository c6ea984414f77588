"""The benchmark from one end to the other: provide, check, play each scenario, report."""

import os
import random
import resource
import shutil
import socket
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import checks
import keys
import picture
import report
import scenarios
from contestants import CONTESTANTS, CREDENTIAL, Contestant, Place, fill, user
from keys import Key
from processes import Failure, Process, Servers, cores
from programs import provide, versions
from report import Results
from scenarios import MIB, SCENARIOS, Scenario, Turn

# Keys that the contestants are checked with.
KEYS = 10_000
# Seconds until a server must answer, with so many keys and with those of `--keys`.
READY, READY_WITH_MANY_KEYS = 60, 600
# Two sockets for each connection, and what HAProxy asks for its pipes.
OPEN_FILES = 16_000
# Below the range that the system takes for outgoing connections.
FIRST_PORT, LAST_PORT = 18800, 32000
# Seconds of load before the first turn.
WARM_UP = 2


@dataclass(frozen=True)
class Options:
    contestants: list[str]
    scenarios: list[str]
    connections: int
    duration: int
    rounds: int
    body: int
    keys: int
    out: Path
    keygate: Path | None
    guided: Path | None


class Benchmark:
    def __init__(self, options: Options) -> None:
        self.options = options
        self.contestants = [one for one in CONTESTANTS if one.name in options.contestants]
        chosen = [one for one in SCENARIOS if one.name in options.scenarios]
        self.scenarios = [one for one in chosen if set(options.contestants) - one.without.keys()]
        self.work = options.out.resolve() / "work"
        self.core, self.other_core = cores()
        self.next_port = FIRST_PORT

    def run(self) -> None:
        needed = {"nginx", "wrk", *self.options.contestants}
        if "open" in self.options.scenarios:
            needed.add("openload")
        self.programs = provide(needed, self.options.keygate, self.options.guided)
        os.sched_setaffinity(0, {self.other_core})
        allow_open_files()
        try:
            self.check()
            results = Results.begin(asdict(self.options), versions(self.programs))
            print(report.heading(results), flush=True)
            for scenario in self.scenarios:
                self.play(scenario, results)
                results.write(self.options.out)
                print(report.table(results, scenario), flush=True)
        except Failure:
            tell(f"configurations and logs are in {self.work}")
            raise
        except BaseException:
            shutil.rmtree(self.work, ignore_errors=True)
            raise
        shutil.rmtree(self.work)
        if "small" in self.options.scenarios:
            (self.options.out / "small.svg").write_text(picture.draw(results))
        print(f"These tables and every single turn are in {self.options.out}.")

    def check(self) -> None:
        self.clear()
        all_keys = keys.make(KEYS)
        backend = self.port()
        with checks.echo_backend(backend):
            for contestant in self.contestants:
                tell(f"checking {contestant.name}")
                with Servers() as servers:
                    _, port = self.start(contestant, servers, backend, all_keys)
                    checks.check(contestant, port, all_keys)

    def play(self, scenario: Scenario, results: Results) -> None:
        self.clear()
        taking_part = [one for one in self.contestants if one.name not in scenario.without]
        all_keys = keys.make(scenario.keys or self.options.keys)
        self.write_secrets(all_keys)
        with Servers() as servers:
            backend = self.start_backend(servers)

            def start(contestant: Contestant) -> Turn:
                tell(f"{scenario.name}: starting {contestant.name}")
                process, port = self.start(contestant, servers, backend, all_keys)
                return self.turn(contestant, process, port)

            turns = {} if scenario.is_fresh else {one: start(one) for one in taking_part}
            # The load that warms them up tells how fast each is.
            rates = {one: scenarios.small(replace(turn, duration=WARM_UP))["rate"] for one, turn in turns.items()}
            with_policy = [rate for one, rate in rates.items() if one.has_policy]
            slowest = min(with_policy or rates.values(), default=0)
            rounds = self.options.rounds * scenario.turns
            for number in range(1, rounds + 1):
                for one in taking_part:
                    turn = start(one) if scenario.is_fresh else turns[one]
                    figures = scenario.measure(replace(turn, rate=slowest / 2))
                    results.add(scenario, one, number, figures)
                    shown = f"{scenario.main} {figures[scenario.main]:.1f}"
                    tell(f"{scenario.name} {number}/{rounds} {one.name}: {shown}")
                    if scenario.is_fresh:
                        turn.process.stop()

    def turn(self, contestant: Contestant, process: Process, port: int) -> Turn:
        options = self.options
        return Turn(
            contestant=contestant,
            process=process,
            port=port,
            secret=keys.make(1)[0].secret,
            secrets=self.work / "secrets",
            connections=options.connections,
            duration=options.duration,
            core=self.core,
            other_core=self.other_core,
            programs=self.programs,
        )

    def start(self, contestant: Contestant, servers: Servers, backend: int, all_keys: list[Key]) -> tuple[Process, int]:
        """A contestant that answers."""
        port = self.port()
        directory = self.work / f"{contestant.name}-{port}"
        directory.mkdir()
        place = Place(directory, port, self.port(), backend, all_keys, self.programs)
        process = servers.start(contestant.prepare(place), directory, self.core)
        ready = READY if len(all_keys) <= KEYS else READY_WITH_MANY_KEYS
        wait(process, port, {CREDENTIAL: all_keys[0].secret}, ready)
        return process, port

    def start_backend(self, servers: Servers) -> int:
        port = self.port()
        directory = self.work / f"backend-{port}"
        (directory / "files").mkdir(parents=True)
        (directory / "files/1MiB").write_bytes(random.Random(3).randbytes(MIB))
        config = fill("backend.conf", directory, user=user(), backend=port, **small_json(self.options.body))
        command = [self.programs["nginx"], "-p", str(directory), "-c", str(config)]
        wait(servers.start(command, directory, self.other_core), port, {}, READY)
        return port

    def port(self) -> int:
        """A port that nobody listens on."""
        while self.next_port < LAST_PORT:
            self.next_port += 1
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", self.next_port))
                except OSError:
                    continue
                return self.next_port
        raise Failure(f"no free port from {FIRST_PORT} to {LAST_PORT}")

    def write_secrets(self, all_keys: list[Key]) -> None:
        """In an order that has nothing to do with the one in which they are stored."""
        secrets = [key.secret for key in all_keys]
        random.Random(4).shuffle(secrets)
        (self.work / "secrets").write_text("\n".join(secrets) + "\n")

    def clear(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)


def wait(process: Process, port: int, headers: dict[str, str], seconds: float) -> None:
    """Until the server answers with 200."""
    end = time.monotonic() + seconds
    while True:
        process.check()
        try:
            status, _ = checks.get(port, headers)
        except OSError:
            status = 0
        if status == 200:
            return
        if time.monotonic() > end:
            raise Failure(f"{' '.join(process.command)}\ndoes not answer with 200 within {seconds} s (but {status})")
        time.sleep(0.05)


def small_json(size: int) -> dict[str, str]:
    """A JSON object of so many bytes, for a configuration whose words must be short: `$k` stands for a KiB of it."""
    kib, rest = divmod(size - len('{"text":""}'), 1024)
    return {"kib": "x" * 1024, "body": '{"text":"' + "${k}" * kib + "x" * rest + '"}'}


def allow_open_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < OPEN_FILES:
        raise Failure(f"{OPEN_FILES} open files are needed and {most} are allowed: see `ulimit -Hn`")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def tell(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)
