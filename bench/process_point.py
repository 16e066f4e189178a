# SPDX-License-Identifier: AGPL-3.0-only
"""What a system call costs that kmodctl exec supervises, beside the least that any supervisor can cost.

The peer is a loop that receives a seccomp notification and answers EPERM without a look: two switches between processes.
What kmodctl does beyond that is to look at the caller, copy the image, hash it and decide; the copy grows with the image.
"""

from collections.abc import Iterator
from pathlib import Path

from guard import policy
from images import module_image
from machine import Machine
from machine.guest import compiled
from table import Figure, Goal, Row

ROUND_TRIPS = Goal(2)
REPEAT = 400
ROUNDTRIP = Path(__file__).resolve().parent.parent / "tests/vm/guest/roundtrip.cpp"
POLICY = "/etc/process.toml"


def times(vm: Machine, command: str, wanted: str) -> Figure:
    """Each call's time, without the first ones, at which threads are started and pages come."""
    lines = vm.run(command, check=True, timeout=600).stdout.splitlines()
    samples = [line.split() for line in lines]
    assert len(samples) == REPEAT and all(result == wanted for result, _ in samples), lines[:3]
    return Figure(tuple(sorted(float(time) for _, time in samples[REPEAT // 4:])[10:-10]), "instructions")


def measure(kernel: str) -> Iterator[Row]:
    """The rows of one kernel."""
    with Machine(kernel, counting=True, files={"/usr/bin/roundtrip": compiled(ROUNDTRIP)}, name=f"bench-process-{kernel}") as vm:
        vm.put(POLICY, policy(allow=["allowed"]).encode())
        path = vm.run("modinfo -n af_key", check=True).stdout.strip()
        vm.run(f"{'cat' if path.endswith('.ko') else 'xz -dc'} {path} > /tmp/af_key.ko", check=True)
        vm.put("/tmp/small.ko", module_image("small"))
        vm.put("/tmp/allowed.ko", module_image("allowed"))
        size = int(vm.run("stat -c %s /tmp/af_key.ko", check=True).stdout) // 1024
        bare = times(vm, f"roundtrip bare {REPEAT} /tmp/small.ko", "EPERM")

        def supervised(image: str, wanted: str = "EPERM") -> Figure:
            return times(vm, f"kmodctl exec --policy {POLICY} --quiet -- roundtrip call {REPEAT} /tmp/{image}.ko", wanted)

        yield Row(f"{kernel}: a supervised call, refused, image of 1 KiB (peer: a bare notification round trip)",
                  supervised("small"), bare, ROUND_TRIPS)
        yield Row(f"{kernel}: the same, image of {size} KiB", supervised("af_key"), bare)
        alone = times(vm, f"roundtrip call {REPEAT} /tmp/allowed.ko", "ENOEXEC")
        yield Row(f"{kernel}: a supervised call, allowed, image of 1 KiB that the kernel then finds wrong (peer: the call alone)",
                  supervised("allowed", "ENOEXEC"), alone)
