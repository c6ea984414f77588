"""Who takes part: how each is configured and started. All do the same job, as far as they can."""

import os
import pwd
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from keys import Key
from programs import Programs

CONFIGS = Path(__file__).parent / "configs"
IDENTITY = "X-Keygate-Key"
CREDENTIAL = "X-API-Key"


@dataclass(frozen=True)
class Place:
    """Where a contestant runs, and what it is to know."""

    directory: Path
    port: int
    operations_port: int
    backend_port: int
    keys: list[Key]
    programs: Programs

    @property
    def listen(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def backend(self) -> str:
        return f"127.0.0.1:{self.backend_port}"

    def fill(self, template: str, **values: object) -> Path:
        ports = {"port": self.port, "operations": self.operations_port, "backend": self.backend_port}
        return fill(template, self.directory, **ports, **values)

    def write(self, name: str, lines: Iterable[str]) -> None:
        with (self.directory / name).open("w") as file:
            file.writelines(lines)


@dataclass(frozen=True)
class Contestant:
    name: str
    # Writes the configuration; the command that serves it.
    prepare: Callable[[Place], list[str]]
    has_policy: bool = True


def floor(place: Place) -> list[str]:
    return [place.programs["floor"], place.listen, place.backend]


def pingora(place: Place) -> list[str]:
    return [place.programs["pingora"], place.listen, place.backend]


def nginx(place: Place) -> list[str]:
    count = len(place.keys)
    place.write("keys.map", (f"{key.secret} {key.id};\n" for key in place.keys))
    # A key takes 128 bytes of the zone.
    config = place.fill("nginx.conf", user=user(), map_size=2 * count + 20000, zone=count // 6000 + 10)
    return [place.programs["nginx"], "-p", str(place.directory), "-c", str(config)]


def haproxy(place: Place) -> list[str]:
    place.write("keys.map", (f"{key.secret} {key.id}\n" for key in place.keys))
    config = place.fill("haproxy.cfg", table=len(place.keys) + 1000)
    return [place.programs["haproxy"], "-db", "-f", str(config)]


def envoy(place: Place) -> list[str]:
    lines = "\n".join(f'              - {{key: "{key.secret}", client: {key.id}}}' for key in place.keys)
    config = place.fill("envoy.yaml", credentials=lines)
    options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    return [place.programs["envoy"], "-c", str(config), *options]


def keygate(place: Place) -> list[str]:
    return keygate_built_as("keygate", place)


def keygate_guided(place: Place) -> list[str]:
    return keygate_built_as("keygate-guided", place)


def keygate_built_as(program: str, place: Place) -> list[str]:
    # A file may have 64 MiB.
    for first in range(0, len(place.keys), 500_000):
        some = place.keys[first : first + 500_000]
        lines = (f"  {key.id}: {{digest: sha256:{key.digest}}}\n" for key in some)
        place.write(f"keys-{first}.yaml", chain(["keys:\n"], lines))
    config = place.fill("keygate.yaml")
    return [place.programs[program], "serve", "--config", str(config)]


def fill(template: str, directory: Path, **values: object) -> Path:
    """Writes a file of `configs` with its `@names@` replaced; where it is now."""
    text = (CONFIGS / template).read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    path = directory / template
    path.write_text(text)
    return path


def user() -> str:
    """nginx started by root would otherwise leave root's files to another user, who cannot read them."""
    return pwd.getpwuid(os.getuid()).pw_name


# In the order of the tables.
CONTESTANTS = [
    Contestant("floor", floor, has_policy=False),
    Contestant("keygate", keygate),
    Contestant("keygate-guided", keygate_guided),
    Contestant("nginx", nginx),
    Contestant("haproxy", haproxy),
    Contestant("envoy", envoy),
    Contestant("pingora", pingora, has_policy=False),
]
