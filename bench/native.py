# SPDX-License-Identifier: AGPL-3.0-only
"""The decision alone, natively, by Google Benchmark (kmodguard_bench), on the index of the full Debian kernel."""

import json
import os
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from table import Figure, Goal, Row

REPEAT = 7
MINIMUM_SECONDS = 0.1

UNSEEN = Goal(2)
SEEN = Goal(0.3e-6, "token")


def figures(program: Path, modules: Path) -> dict[str, Figure]:
    """What every benchmark took a token, by name."""
    command = [program, "--benchmark_format=json", f"--benchmark_repetitions={REPEAT}",
               f"--benchmark_min_time={MINIMUM_SECONDS}", "--benchmark_enable_random_interleaving=true"]
    environment = {**os.environ, "KMODGUARD_BENCH_MODULES": str(modules)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    values: dict[str, list[float]] = defaultdict(list)
    for run in json.loads(done.stdout)["benchmarks"]:
        if run.get("error_occurred"):
            raise RuntimeError(f"{run['name']}: {run['error_message']}")
        if run["run_type"] == "iteration":
            values[run["run_name"].removesuffix("/manual_time")].append(run["token"])
    return {name: Figure(tuple(taken), "token") for name, taken in values.items()}


TOKENS = {"device": "a device's module", "request": "a protocol's or file system's module",
          "unknown": "no module"}
SIZES = (10, 200, 10_000)


def measure(program: Path, modules: Path) -> Iterator[Row]:
    found = figures(program, modules)
    for cold, when in (("", ""), ("-cold", ", met for the first time")):
        for kind, words in TOKENS.items():
            peer = found[f"lookup{cold}/{kind}"]
            for entries in SIZES:
                yield Row(f"decide: {words}{when}, refused, {entries} entries",
                          found[f"decide{cold}/{kind}/{entries}"], peer, UNSEEN)
            if kind == "unknown":
                continue
            yield Row(f"decide: {words}{when}, refused, 200 entries and 10 denied aliases",
                      found[f"decide{cold}/denials/{kind}"], peer, UNSEEN)
            yield Row(f"decide: {words}{when}, allowed, 10000 entries", found[f"decide{cold}/allowed/{kind}"], peer,
                      UNSEEN)
    for entries in SIZES:
        yield Row(f"decide again: refused, {entries} entries", found[f"seen/refused/{entries}"], goal=SEEN)
    yield Row("decide again: allowed", found["seen/allowed"], goal=SEEN)
    yield Row("match a token against 10000 patterns", found["patterns/10000"])
