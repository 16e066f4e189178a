# SPDX-License-Identifier: AGPL-3.0-only
"""make demo: the same requests and loads on a stock Debian kernel, without the guard and with it, side by side.

Nothing is staged: the table shows which modules the kernel had in /proc/modules after each request. A request that did not
end as the policy says makes the demo fail. scripts/demo has done the first two of five steps, since the given time.
scripts/readme_demo.py puts a part of the same table, of a run of its own, into README.md.
"""

import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass

from demo_table import INDENT, POLICY, REQUESTS, Outcome, Request, not_as_the_policy_says, table
from machine import Machine, MachineError, modules


def modules_loaded_by(vm: Machine, request: Request) -> frozenset[str]:
    """Makes the request and undoes it."""
    before = vm.loaded()
    vm.run(request.command, user=request.user)
    new = vm.loaded() - before
    while left := vm.loaded() - before:
        gone = [name for name in sorted(left) if vm.run(f"requester delete {name}").status == 0]
        if not gone:
            raise MachineError(f"cannot unload {', '.join(sorted(left))} after {request.what}")
    return frozenset(new)


def why(vm: Machine, request: Request) -> str:
    sentence = vm.run(f"kmodctl check -- '{request.token}'").stdout.strip()
    return sentence.removeprefix(f"{request.token}: ").replace("/etc/kmodguard/", "")


@dataclass(frozen=True)
class Run:
    release: str  # of the kernel
    outcomes: list[Outcome]
    status: str  # what `kmodctl status` said
    handler: str  # what the kernel runs after `kmodctl stop`


def run(step: Callable[[int, str], None]) -> Run:
    """Makes all requests, without the guard and with it. `step` is told how far it is."""
    step(3, "fetching a Debian kernel, and building the modules that make it ask for others")
    modules.ready_kernel("6.1")
    step(4, "booting it")
    with Machine("6.1", files={"/etc/kmodguard/policy.toml": POLICY}, boot=True, name="demo") as vm:
        step(5, f"making {len(REQUESTS)} requests, without the guard and with it")
        vm.run("modprobe kmg_ask && mknod /dev/demo-tun c 10 200 && chmod 666 /dev/demo-tun", check=True)
        without = [modules_loaded_by(vm, request) for request in REQUESTS]
        vm.run("kmodctl start", check=True)
        guarded = [modules_loaded_by(vm, request) for request in REQUESTS]
        outcomes = [Outcome(request, before, after, why(vm, request))
                    for request, before, after in zip(REQUESTS, without, guarded, strict=True)]
        status = vm.run("kmodctl status", check=True).stdout
        vm.run("kmodctl stop", check=True)
        handler = vm.run("cat /proc/sys/kernel/modprobe").stdout.strip()
        return Run(vm.kernel.release, outcomes, status, handler)


def main() -> int:
    sys.stdout.reconfigure(line_buffering=True)
    started = float(sys.argv[1]) if len(sys.argv) > 1 else time.time()

    def step(number: int, what: str) -> None:
        seconds = int(time.time() - started)
        print(f"{number}/5  {seconds // 60}:{seconds % 60:02}  {what}", flush=True)

    done = run(step)
    print(f"\nA stock Debian kernel, {done.release}, in a virtual machine, and this policy:\n")
    print(textwrap.indent(POLICY, INDENT))
    print("\n".join(table(done.outcomes)))
    print("\n" + done.status)
    print(f"After kmodctl stop the kernel's handler is {done.handler} again.")
    wrong = not_as_the_policy_says(done.outcomes)
    for what in wrong:
        print(f"NOT as the policy says: {what}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MachineError as error:
        sys.exit(f"the demo needs a virtual machine, and it failed: {error}")
