# SPDX-License-Identifier: AGPL-3.0-only
"""Makes the package `machine`, the crafted images and tests/support importable for the tests, and puts these in order.

With pytest-xdist (`make vm-test` asks for it) all processors take from one queue: the tests that share a machine are one
entry of it, and the entries that took longest (durations.json) come first, so that no processor is left with a long one
at the end. KMODGUARD_REMEMBER=1 writes durations.json anew.
"""

import json
import os
import sys
from collections import defaultdict
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "fixtures/images"), str(HERE.parent / "support")]

pytest_plugins = ["guard"]

DURATIONS = HERE / "durations.json"
LONGEST = 40.0  # seconds: tests on restored machines that take longer are several entries, each of which saves a state by itself
UNKNOWN = 1000.0  # of an entry that was never timed: it begins at once


def machine_of(item: pytest.Item) -> str:
    """Names what a test shares with others: its file and the parameters of the fixtures that live as long as the file.

    A test that shares nothing has a name of its own.
    """
    file = item.path.stem
    fixtures = item._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined]
    shared = sorted(name for name, (*_, definition) in fixtures.items() if definition.scope == "module")
    if not shared:
        return f"{file}/{item.name}"  # pytest and its reports split names at "::"
    parameters = getattr(item, "callspec", None)
    values = [str(parameters.params[name]) for name in shared if parameters and name in parameters.params]
    return "-".join([file, *values])


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    seconds = json.loads(DURATIONS.read_text()) if DURATIONS.exists() else {}
    machines: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        machines[machine_of(item)].append(item)
    entries: list[tuple[float, str, list[pytest.Item]]] = []
    for name, tests in machines.items():
        takes = seconds.get(name, UNKNOWN)
        parts = -(-int(takes) // int(LONGEST)) if restored(tests) and name in seconds else 1
        size = -(-len(tests) // max(parts, 1))
        for first in range(0, len(tests), size):
            entries.append((takes / max(parts, 1), f"{name}.{first // size}", tests[first:first + size]))
    entries.sort(key=lambda entry: -entry[0])
    items[:] = [item for _, _, tests in entries for item in tests]
    for _, name, tests in entries:
        for item in tests:
            item.add_marker(pytest.mark.xdist_group(name))


def restored(tests: list[pytest.Item]) -> bool:
    """Whether each test goes on from a saved state, so that the file can be given to several processors."""
    return all(item.get_closest_marker("restored") for item in tests)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "restored: the tests of this file each go on from a saved state")
    config.addinivalue_line("markers", "leaves_nothing: nothing but a policy and what the test loads; it may share its machine")
    if os.environ.get("KMODGUARD_REMEMBER") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Remembered())


class Remembered:
    """Adds up what each entry took, and writes it down at the end."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        group = report.nodeid.rpartition("@")[2].rpartition(".")[0]
        self.seconds[group] += report.duration

    def pytest_sessionfinish(self) -> None:
        rounded = {name: round(took, 1) for name, took in sorted(self.seconds.items())}
        DURATIONS.write_text(json.dumps(rounded, indent=0) + "\n")
