#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-only
"""The table at the end of `make test`: scripts/summary.py RESULTS reads what the test programs reported (JUnit's XML, by GoogleTest
and pytest, named after the part and a dash) and how long each part took as a whole (PART.seconds)."""

import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SLOWEST = 10


@dataclass(frozen=True)
class Case:
    part: str
    name: str
    seconds: float
    state: str  # "passed", "failed" or "skipped"


def cases(report: Path) -> Iterator[Case]:
    part = report.stem.partition("-")[0]
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        skipped = case.find("skipped") is not None or case.get("result") == "skipped"
        failed = case.find("failure") is not None or case.find("error") is not None
        state = "failed" if failed else "skipped" if skipped else "passed"
        name = f"{case.get('classname', '').rpartition('.')[2]}.{case.get('name', '').partition('@')[0]}"  # @: xdist's group
        yield Case(part, name, float(case.get("time", 0)), state)


def main() -> int:
    results = Path(sys.argv[1])
    found = [case for report in sorted(results.glob("*-*.xml")) for case in cases(report)]
    walls = {file.stem: float(file.read_text()) for file in results.glob("*.seconds")}
    parts = sorted({*walls, *(case.part for case in found)})
    print(f"\n{'part':8} {'tests':>6} {'failed':>7} {'skipped':>8} {'in tests, s':>12} {'as a whole, s':>14}")
    for part in [*parts, "all"]:
        those = [case for case in found if part in (case.part, "all")]
        states = [case.state for case in those]
        wall = sum(walls.values()) if part == "all" else walls.get(part, 0)
        print(f"{part:8} {len(those):6} {states.count('failed'):7} {states.count('skipped'):8} "
              f"{sum(case.seconds for case in those):12.0f} {wall:14.0f}")
    print(f"\nthe {SLOWEST} slowest, with what was set up for them")
    for case in sorted(found, key=lambda case: case.seconds, reverse=True)[:SLOWEST]:
        print(f"{case.seconds:8.1f} s  {case.part:5} {case.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
