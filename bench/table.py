# SPDX-License-Identifier: AGPL-3.0-only
"""The table that `make bench` prints: what was measured, beside its peer of the same run and the goal.

A figure is the median of its repetitions; half of the range that they covered stands behind it, where that is more
than a hundredth.
"""

import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """Repeated measurements of one thing. `unit` is a key of UNITS."""

    values: tuple[float, ...]
    unit: str

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        scale, name = UNITS[self.unit]
        half = (max(self.values) - min(self.values)) / 2
        spread = f" ± {half / self.median:.0%}" if self.median and half >= 0.01 * self.median else ""
        return f"{self.median / scale:.3g} {name}{spread}"


# What is measured in this unit is divided so, and shown as that.
UNITS: dict[str, tuple[float, str]] = {
    "instructions": (1e6, "M"),
    "guest ns": (1e6, "M"),
    "ns": (1e6, "ms"),
    "token": (1e-6, "µs"),
    "KiB": (1024, "MiB"),
    "events": (1, "events"),
}


@dataclass(frozen=True)
class Goal:
    """The most that is wanted, as a ratio to the peer or, with a unit, as a value in that unit's measure."""

    limit: float
    unit: str = ""

    def __str__(self) -> str:
        if not self.unit:
            return f"≤ {self.limit:g} ×"
        scale, name = UNITS[self.unit]
        return f"≤ {self.limit / scale:g} {name}"


@dataclass(frozen=True)
class Row:
    what: str
    figure: Figure
    peer: Figure | None = None
    goal: Goal | None = None

    @property
    def ratio(self) -> float | None:
        return self.figure.median / self.peer.median if self.peer and self.peer.median else None

    @property
    def missed(self) -> bool:
        if self.goal is None:
            return False
        reached = self.figure.median if self.goal.unit else self.ratio
        return reached is not None and reached > self.goal.limit

    def cells(self) -> tuple[str, ...]:
        ratio = "" if self.ratio is None else f"{self.ratio:.3g}"
        goal = str(self.goal or "") + (" **missed**" if self.missed else "")
        return self.what, str(self.peer or ""), str(self.figure), ratio, goal

    def record(self) -> dict[str, object]:
        """The row as JSON has it: medians and all repetitions in the figure's own unit."""
        return {"what": self.what, "unit": self.figure.unit, "median": self.figure.median,
                "values": self.figure.values, "peer": self.peer.median if self.peer else None, "ratio": self.ratio,
                "goal": str(self.goal or ""), "missed": self.missed}


HEAD = ("what", "peer, same run", "kmodguard", "ratio", "goal")


def markdown(rows: Iterable[Row]) -> str:
    """The rows as one table, its columns aligned."""
    cells = [HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEAD))]
    lines = ["| " + " | ".join(text.ljust(width) for text, width in zip(line, widths)) + " |" for line in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines) + "\n"


def write(rows: list[Row], folder: Path) -> None:
    """Prints the table, and leaves it in `folder` as results.md and results.json."""
    text = markdown(rows)
    print(text, end="")
    (folder / "results.md").write_text(text)
    (folder / "results.json").write_text(json.dumps([row.record() for row in rows], indent=1) + "\n")
