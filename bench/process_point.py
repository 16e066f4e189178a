# SPDX-License-Identifier: AGPL-3.0-only
"""What a system call costs that kmodctl exec supervises, beside the least that any supervisor can cost.

The peer is a loop that receives a seccomp notification and answers EPERM without a look: two switches between processes.
What kmodctl does beyond that is to look at the caller, copy the image and decide; the copy grows with the image. A caller
that has called before is known. The hash and the record are made by a thread of idle priority, which has no time here: what
they take is not in these figures, as long as they are put off (1,024 calls, 8 MiB of images).
"""

from collections.abc import Iterator
from pathlib import Path

from guard import policy
from images import module_image
from machine import Machine
from machine.guest import compiled
from table import Figure, Goal, Row

# Of a process that is known, and of one that calls for the first time.
KNOWN = {"6.1": Goal(4), "6.12": Goal(3), "7.2": Goal(3)}
FIRST = {"6.1": Goal(14), "7.2": Goal(6)}
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

        def supervised(image: str, wanted: str = "EPERM", way: str = "call") -> Figure:
            return times(vm, f"kmodctl exec --policy {POLICY} --quiet -- roundtrip {way} {REPEAT} /tmp/{image}.ko", wanted)

        yield Row(f"{kernel}: a supervised call of a known process, refused, image of 1 KiB (peer: a bare notification round trip)",
                  supervised("small"), bare, KNOWN.get(kernel))
        yield Row(f"{kernel}: the first call of a process, refused, image of 1 KiB",
                  supervised("small", way="first"), bare, FIRST.get(kernel))
        yield Row(f"{kernel}: the same, image of {size} KiB", supervised("af_key"), bare)
        alone = times(vm, f"roundtrip call {REPEAT} /tmp/allowed.ko", "ENOEXEC")
        yield Row(f"{kernel}: a supervised call, allowed, image of 1 KiB that the kernel then finds wrong (peer: the call alone)",
                  supervised("allowed", "ENOEXEC"), alone)
