# SPDX-License-Identifier: AGPL-3.0-only
"""What the kernel's programs answer is what core::decide() says: random policies and crafted images, on each kernel and by
each mechanism. And a policy is published whole, or not at all.

Both are the program `verdicts`, which says what it compares. To repeat one seed: `verdicts 1 SEED`.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from machine import Machine

# Built by the project's own build, since it shares the daemon's code: make vm-test does so.
VERDICTS = Path(os.environ.get("KMODGUARD_BUILD", "build/main")) / "tests/vm/guest/verdicts"
POLICIES = 2000  # about a minute
NO_BPF = "lsm=lockdown,yama,apparmor"
# The kernel, what it is booted with, the mechanism that it then offers, and the first seed.
MACHINES = {
    "6.1-lsm": ("6.1", "", "lsm", 1),
    "6.1-fmod_ret": ("6.1", NO_BPF, "fmod_ret", 10_001),
    "6.12-lsm": ("6.12", "", "lsm", 20_001),
    "7.2-lsm": ("7.2", "", "lsm", 30_001),
}


@pytest.fixture(scope="module", params=MACHINES)
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    kernel, cmdline, mechanism, seed = MACHINES[request.param]
    with Machine(kernel, cmdline=cmdline, stage=False, files={"/usr/bin/verdicts": VERDICTS},
                 name=f"test_verdicts-{request.param}") as vm:
        # Publishing waits for a grace period. Of each image that gets through, the kernel says why it does not load.
        vm.run("echo 1 > /sys/kernel/rcu_expedited && dmesg -n 1", check=True)
        vm.mechanism, vm.first_seed = mechanism, seed  # type: ignore[attr-defined]
        yield vm


def test_kernel_answers_what_decide_says(machine: Machine) -> None:
    done = machine.run(f"verdicts {POLICIES} {machine.first_seed}", timeout=900)
    assert done.status == 0, done.stderr + done.stdout[:50_000]
    assert done.stdout.startswith(f"by {machine.mechanism}\n")
    assert f"\n{POLICIES} policies, " in done.stdout and done.stdout.endswith(" 0 disagreements\n")


def test_policy_is_published_whole(machine: Machine) -> None:
    done = machine.run("verdicts --swap 400", timeout=300)
    assert done.status == 0, done.stderr + done.stdout[:50_000]
    assert done.stdout.startswith(f"by {machine.mechanism}\n400 swaps, ") and done.stdout.endswith(" 0 wrong\n")
