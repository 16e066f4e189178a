# SPDX-License-Identifier: AGPL-3.0-only
"""What `kmodctl guest` costs an emulated machine: how long it stands still for a load, and what it loses otherwise.

The stops are counted by kmodctl itself (--statistics), in wall time: a machine that stands still counts no instructions.
They are those of one load together, between which the guest's own kernel runs. The other figure is a loop in the guest's
shell that loads nothing, in QEMU's processor time, which hardly depends on what else the host does: so it shows what
breakpoints cost while nobody comes to them. The peer is the same guest under QEMU alone.
"""

import json
from collections.abc import Iterator

from machine import foreign_guest
from machine.foreign_guest import Guard
from table import Figure, Goal, Row

ONE_STOP = Goal(2e6, "ns")
IDLE = Goal(1.1)
BOOTS = 3
LOADS = 50
ROUNDS = 30000
LOOPS = 6  # in each boot; the first translates what the others run
NAMES = ("amd64-6.1", "arm64", "mipsel")
IDLE_NAMES = ("amd64-6.1", "amd64-6.12", "arm64", "mipsel")
LOAD = f"i=0; while [ $i -lt {LOADS} ]; do /usr/sbin/insmod /m/loop.ko; i=$((i+1)); done"
LOOP = f"i=0; while [ $i -lt {ROUNDS} ]; do i=$((i+1)); done"


def stopped(name: str) -> dict[str, int]:
    """kmodctl's account of a guest that tried LOADS times to load a module."""
    outcome = foreign_guest.run(name, [LOAD], guard=Guard(options=["--statistics", "--json", "--quiet"]))
    (line,) = [line for line in outcome.errors.splitlines() if line.startswith('{"attempts"')]
    account = json.loads(line)
    assert account["attempts"] == LOADS, account
    return account


def busy(name: str, guard: Guard | None) -> float:
    """Nanoseconds of QEMU's processor time that the loop takes, the least of LOOPS."""
    times = []
    with foreign_guest.start(name, guard=guard) as guest:
        guest.do("true")  # it has booted
        for _ in range(LOOPS):
            begin = guest.processor_time()
            guest.do(LOOP)
            times.append(guest.processor_time() - begin)
    return min(times)


def measure(name: str) -> Iterator[Row]:
    """The rows of one guest."""
    accounts = [stopped(name) for _ in range(BOOTS)]
    per_load = Figure(tuple(account["stopped_us"] * 1e3 / LOADS for account in accounts), "ns")
    per_stop = Figure(tuple(account["stopped_us"] * 1e3 / account["stops"] for account in accounts), "ns")
    yield Row(f"{name}: the guest stands still for a refused load ({accounts[0]['stops'] // LOADS} stops)", per_load)
    yield Row(f"{name}: one stop", per_stop, goal=ONE_STOP)


def idle(name: str) -> Iterator[Row]:
    """What a guest loses that loads nothing."""
    pairs = [(busy(name, None), busy(name, Guard(options=["--quiet"]))) for _ in range(BOOTS)]
    yield Row(f"{name}: {ROUNDS} rounds of a loop, nothing is loaded (peer: QEMU alone)",
              Figure(tuple(guarded for _, guarded in pairs), "ns"), Figure(tuple(alone for alone, _ in pairs), "ns"), IDLE)
