"""What is done to the contestants: one scenario after another, each with turns in rounds."""

import http.client
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import keys
from contestants import CONFIGS, CREDENTIAL, Contestant
from measure import Figures, resident, under_load
from processes import Failure, Process
from programs import Programs

MIB = 1 << 20
# So many connections are held in `idle`; those before them take what is free in the heap from the start.
IDLE, IDLE_BEFORE = 4000, 500


@dataclass
class Turn:
    """One contestant, started and warm, and what a scenario needs to load it."""

    contestant: Contestant
    process: Process
    port: int
    # Of one key, and a file of those of all keys.
    secret: str
    secrets: Path
    connections: int
    duration: int
    core: int
    # Of load generator and backend.
    other_core: int
    programs: Programs
    # Requests per second of the open loop.
    rate: float = 0

    @property
    def timeout(self) -> float:
        return self.duration + 60


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    measure: Callable[[Turn], Figures]
    # The figure that is compared.
    main: str = "cpu"
    # Contestants that are left out, and why.
    without: dict[str, str] = field(default_factory=dict)
    # Remarks on those that take part nevertheless.
    remarks: dict[str, str] = field(default_factory=dict)
    # Whether the answers are those of `small`, so that the figures can be compared.
    is_like_small: bool = False
    # Whether each turn is with a process that was started for it.
    is_fresh: bool = False
    # None: as many as `--keys` says.
    keys: int | None = 10_000
    # How many turns each contestant has for each of `--rounds`.
    turns: int = 1


def wrk(turn: Turn, path: str, *arguments: str, refused: bool = False) -> Figures:
    """A closed loop: each connection sends its next request when the last one is answered."""
    options = [
        "-t1",
        f"-c{turn.connections}",
        f"-d{turn.duration}s",
        "--timeout",
        "10s",
        "-s",
        str(CONFIGS / "load.lua"),
    ]
    command = [turn.programs["wrk"], *options, f"http://127.0.0.1:{turn.port}{path}", "--", *arguments]
    figures = under_load(turn.process, turn.core, command, turn.other_core, turn.timeout)
    wrong = figures["requests"] - figures["refused"] if refused else figures["refused"]
    if wrong or figures["broken"]:
        raise Failure(
            f"{turn.contestant.name}: {wrong:.0f} of {figures['requests']:.0f} requests got a wrong status, "
            f"{figures['broken']:.0f} connections broke\n{' '.join(command)}"
        )
    return figures | {"rate": figures["requests"] / figures["seconds"]}


def small(turn: Turn) -> Figures:
    return wrk(turn, "/", f"secret={turn.secret}")


def many_keys(turn: Turn) -> Figures:
    start = random.randrange(1 << 30)
    return wrk(turn, "/", f"secrets={turn.secrets}", f"start={start}")


def denied(turn: Turn) -> Figures:
    return wrk(turn, "/", f"secret={keys.unknown()}", refused=True)


def download(turn: Turn) -> Figures:
    figures = wrk(turn, "/1MiB", f"secret={turn.secret}")
    return figures | {"per_kib": figures["cpu"] * 1000 / 1024}


def upload(turn: Turn) -> Figures:
    figures = wrk(turn, "/upload", f"secret={turn.secret}", f"upload={MIB}")
    return figures | {"per_kib": figures["cpu"] * 1000 / 1024}


def connect(turn: Turn) -> Figures:
    return wrk(turn, "/", f"secret={turn.secret}", "close=1")


def idle(turn: Turn) -> Figures:
    """Connections that each had one request answered and now wait; one after the other, so that no peak remains."""
    before = after = 0
    held: list[http.client.HTTPConnection] = []
    try:
        for _ in range(IDLE_BEFORE + IDLE):
            if len(held) == IDLE_BEFORE:
                before = resident(turn.process)
            connection = http.client.HTTPConnection("127.0.0.1", turn.port, timeout=10)
            held.append(connection)
            connection.request("GET", "/", headers={CREDENTIAL: turn.secret})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200 or answer.will_close:
                raise Failure(f"{turn.contestant.name}: connection {len(held)} is not kept ({answer.status})")
        after = resident(turn.process)
    finally:
        for connection in held:
            connection.close()
    return {"per_connection": (after - before) / IDLE, "resident": after}


def open_loop(turn: Turn) -> Figures:
    numbers = [f"{turn.rate:.0f}", str(turn.duration), str(turn.connections)]
    command = [turn.programs["openload"], f"127.0.0.1:{turn.port}", *numbers, f"{CREDENTIAL}: {turn.secret}"]
    return under_load(turn.process, turn.core, command, turn.other_core, turn.timeout) | {"rate": turn.rate}


SCENARIOS = [
    # The figure that all others are compared with: with five turns the ratio of two programs is only known to some 8 %.
    Scenario("small", "small JSON answers, one key", small, turns=3),
    Scenario(
        "keys",
        "small JSON answers, each request another key",
        many_keys,
        remarks={
            "floor": "floor knows no keys: its figure shows what the requests themselves cost",
            "pingora": "pingora knows no keys either",
        },
        is_like_small=True,
        keys=None,
    ),
    Scenario(
        "denied",
        "unknown key, connection kept",
        denied,
        without={"floor": "it knows no keys", "pingora": "it knows no keys"},
        is_like_small=True,
    ),
    Scenario("download", "1 MiB answers", download),
    Scenario("upload", "1 MiB uploads", upload),
    Scenario(
        "connect",
        "a new connection for each request",
        connect,
        remarks={"floor": "floor opens an upstream connection for each request too; the others keep theirs"},
        is_like_small=True,
    ),
    Scenario(
        "idle",
        f"{IDLE} idle connections after one request each",
        idle,
        main="per_connection",
        remarks={"floor": "floor holds an upstream connection for each client connection"},
        is_fresh=True,
        # What reading many keys leaves free in the heap would be taken for connections, unseen.
        keys=1,
    ),
    Scenario("open", "open loop at half of what the slowest contestant with policy reaches", open_loop, main="p99.9"),
]
