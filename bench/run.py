# SPDX-License-Identifier: AGPL-3.0-only
"""Measures what docs/benchmarks.md is about, and prints one table: `make bench`, or run.py PROGRAM [PART...].

PROGRAM is kmodguard_bench; the parts are "autoload", "kernel-point", "process-point", "guest-point", "daemon", "native" and "rates", all of them if none is named. The table
is also written beside the build, as results.md and results.json. Nothing here fails because something is slow.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT / "tests" / folder) for folder in ("vm", "fixtures/images", "support")]

import autoload  # noqa: E402
import daemon  # noqa: E402
import guest_point  # noqa: E402
import kernel_point  # noqa: E402
import native  # noqa: E402
import process_point  # noqa: E402
import rates  # noqa: E402
import table  # noqa: E402
from machine import packages  # noqa: E402

KERNELS = ("6.1", "6.12", "7.2")


def autoload_rows(_: Path) -> Iterator[table.Row]:
    for kernel in KERNELS:
        yield from autoload.measure(kernel)


def kernel_point_rows(_: Path) -> Iterator[table.Row]:
    for kernel in KERNELS:
        yield from kernel_point.measure(kernel)


def process_point_rows(_: Path) -> Iterator[table.Row]:
    for kernel in KERNELS:
        yield from process_point.measure(kernel)


def guest_point_rows(_: Path) -> Iterator[table.Row]:
    for guest in guest_point.NAMES:
        yield from guest_point.measure(guest)
    for guest in guest_point.IDLE_NAMES:
        yield from guest_point.idle(guest)


def daemon_rows(_: Path) -> Iterator[table.Row]:
    for kernel in KERNELS:
        yield from daemon.starts(kernel)
    yield from daemon.in_machine()
    yield from daemon.on_host(packages.kernel(daemon.FULL))


def native_rows(program: Path) -> Iterator[table.Row]:
    yield from native.measure(program, packages.kernel(daemon.FULL).modules)


def rates_rows(_: Path) -> Iterator[table.Row]:
    yield from rates.measure(packages.kernel(daemon.FULL))


PARTS: dict[str, Callable[[Path], Iterator[table.Row]]] = {
    "autoload": autoload_rows, "kernel-point": kernel_point_rows, "process-point": process_point_rows,
    "guest-point": guest_point_rows, "daemon": daemon_rows, "native": native_rows,
    "rates": rates_rows}


def main(program: Path, parts: list[str]) -> None:
    rows: list[table.Row] = []
    for part in parts or PARTS:
        for row in PARTS[part](program):
            print(f"  {part}: {row.what}", file=sys.stderr)
            rows.append(row)
    table.write(rows, program.parent.parent)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
