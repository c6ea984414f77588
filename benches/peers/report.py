"""Tables of medians, and a file with every turn."""

import json
import platform
import shutil
import statistics
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from contestants import CONTESTANTS, Contestant
from measure import DISTURBED, Figures
from programs import ROOT
from scenarios import SCENARIOS, Scenario


@dataclass(frozen=True)
class Turn:
    scenario: str
    contestant: str
    round: int
    figures: Figures


@dataclass
class Results:
    # When, where, and what of.
    about: dict[str, str]
    options: dict[str, object]
    versions: dict[str, str]
    turns: list[Turn]

    @staticmethod
    def begin(options: dict[str, object], versions: dict[str, str]) -> "Results":
        about = {
            "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
            "commit": _git("rev-parse", "HEAD"),
            "uncommitted changes": _git("status", "--porcelain"),
            "kernel": platform.release(),
            "cpu": _cpu_model(),
        }
        # Where things are is nobody's business.
        told = {name: value for name, value in options.items() if not isinstance(value, Path)}
        return Results(about, told, versions, [])

    def add(self, scenario: Scenario, contestant: Contestant, number: int, figures: Figures) -> None:
        self.turns.append(Turn(scenario.name, contestant.name, number, figures))

    def of(self, scenario: str, contestant: str, figure: str) -> list[float]:
        """A figure in all turns; empty if there were none or they do not have it."""
        mine = (turn for turn in self.turns if (turn.scenario, turn.contestant) == (scenario, contestant))
        return [turn.figures[figure] for turn in mine if figure in turn.figures]

    def median(self, scenario: str, contestant: str, figure: str) -> float | None:
        values = self.of(scenario, contestant, figure)
        return statistics.median(values) if values else None

    def contestants(self, scenario: str) -> list[str]:
        present = {turn.contestant for turn in self.turns if turn.scenario == scenario}
        return [one.name for one in CONTESTANTS if one.name in present]

    def write(self, folder: Path) -> None:
        remarks = {one.name: one.without | one.remarks for one in SCENARIOS if self.contestants(one.name)}
        everything = asdict(self) | {"remarks": remarks}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").write_text(json.dumps(everything, indent=1, default=str) + "\n")
        played = [table(self, one) for one in SCENARIOS if self.contestants(one.name)]
        (folder / "results.md").write_text("\n".join([heading(self), *played]))


@dataclass(frozen=True)
class Column:
    title: str
    figure: str
    digits: int = 0
    unit: float = 1


COLUMNS = [
    Column("CPU µs", "cpu", 2),
    Column("user", "user", 2),
    Column("kernel", "kernel", 2),
    Column("CPU ns per KiB", "per_kib", 1),
    Column("bytes per connection", "per_connection"),
    Column("core %", "busy", 0, 0.01),
    Column("requests/s", "rate"),
    Column("p50 µs", "p50"),
    Column("p99 µs", "p99"),
    Column("p99.9 µs", "p99.9"),
    Column("resident MiB", "resident", 1, 1 << 20),
]


def heading(results: Results) -> str:
    """What was measured, where and when."""
    about, options, versions = results.about, results.options, results.versions
    changed = " with uncommitted changes" if about["uncommitted changes"] else ""
    return (
        f"{about['date']}, commit {about['commit'][:12]}{changed}; Linux {about['kernel']}, {about['cpu']}. "
        f"Medians of {options['rounds']} turns of {options['duration']} s with {options['connections']} connections."
        f"\n\n{', '.join(f'{name} {version}' for name, version in versions.items())}.\n"
    )


def table(results: Results, scenario: Scenario) -> str:
    """Medians in Markdown, the compared figure first."""
    names = results.contestants(scenario.name)
    present = [one for one in COLUMNS if any(results.of(scenario.name, name, one.figure) for name in names)]
    main = next(one for one in present if one.figure == scenario.main)
    rest = [one for one in present if one is not main]
    to = [name for name in ("floor", "keygate") if name in names]
    to_small = scenario.is_like_small and bool(results.contestants("small"))
    head = ["", main.title, "min–max", *(f"× {name}" for name in to), *(["× its small"] if to_small else [])]
    rows = [[*head, *(one.title for one in rest)]]
    for name in names:
        median = results.median(scenario.name, name, main.figure) or 0
        values = results.of(scenario.name, name, main.figure)
        row = [name, _number(median, main), f"{_number(min(values), main)}–{_number(max(values), main)}"]
        row += [_ratio(median, results.median(scenario.name, other, main.figure)) for other in to]
        row += [_ratio(median, results.median("small", name, main.figure))] if to_small else []
        row += [_number(results.median(scenario.name, name, one.figure), one) for one in rest]
        rows.append(row)
    remarks = [f"Without {name}: {reason}." for name, reason in scenario.without.items()]
    remarks += [f"{remark}." for name, remark in scenario.remarks.items() if name in names]
    if scenario.turns > 1:
        remarks.append(f"Medians of {max(turn.round for turn in results.turns if turn.scenario == scenario.name)} turns.")
    others = [turn.figures.get("others", 0) for turn in results.turns if turn.scenario == scenario.name]
    if disturbed := sum(share > DISTURBED for share in others):
        share = f"over {DISTURBED:.0%} of the contestant's core"
        remarks.append(f"In {disturbed} of {len(others)} turns other programs had {share}.")
    text = f"### {scenario.name}: {scenario.title}\n\n{_markdown(rows)}\n"
    return text + "".join(f"\n* {one}" for one in remarks) + "\n" * bool(remarks)


def _markdown(rows: list[list[str]]) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for number, row in enumerate(rows):
        first, *others = (f"{cell:{'<' if place == 0 else '>'}{widths[place]}}" for place, cell in enumerate(row))
        lines.append("| " + " | ".join([first, *others]) + " |")
        if number == 0:
            dashes = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
            lines.append("| " + " | ".join(dashes) + " |")
    return "\n".join(lines)


def _number(value: float | None, column: Column) -> str:
    return "" if value is None else f"{value / column.unit:,.{column.digits}f}"


def _ratio(value: float, to: float | None) -> str:
    return f"{value / to:.2f}" if to else ""


def _git(*arguments: str) -> str:
    """What git says; nothing where it is not installed, or this is no checkout."""
    if not shutil.which("git"):
        return ""
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    return done.stdout.strip()


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
