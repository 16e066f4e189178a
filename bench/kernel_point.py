# SPDX-License-Identifier: AGPL-3.0-only
"""What the kernel point adds to a system call that loads a module, and what a request costs that it refuses by itself.

The same call, by the same process, before the guard is started and after: nothing else differs. Refusals are compared with what
stock modprobe takes to find nothing.
"""

from collections.abc import Iterator

from autoload import UNKNOWN, times
from guard import LOG, POLICY, policy
from machine import Machine
from table import Figure, Goal, Row

ADDED = Goal(1.02)
REMEMBERED = Goal(0.005)
LISTED = 1000  # modules that the policy names beside those that are loaded


def finit(image: str, module: str, flags: str) -> str:
    return f"requester --time --unload {module} finit {image} {flags}"


def flood(vm: Machine) -> Figure:
    """The same request over and over, by one process; the first ones are recorded, the others counted."""
    request = UNKNOWN.replace("requester ", "requester --repeat 2000 ")
    lines = vm.run(f"{request}", timeout=600).stdout.splitlines()
    return Figure(tuple(float(line.split()[2]) for line in lines[1000:]), "instructions")


def measure(kernel: str) -> Iterator[Row]:
    """The rows of one kernel."""
    with Machine(kernel, counting=True, cmdline="rcupdate.rcu_expedited=1", name=f"bench-kernel-point-{kernel}") as vm:
        vm.run(f"modprobe kmg_ask && modprobe xfrm_algo && mkdir -p /var/log && syslogd -O {LOG} && "
               "until [ -S /dev/log ]; do :; done", check=True)
        compressed = vm.kernel.module_suffix != ".ko"
        paths = {module: vm.run(f"modinfo -n {module}", check=True).stdout.strip() for module in ("af_key", "kmg_param", "dummy")}
        raw = {}
        for module, path in paths.items():
            raw[module] = f"/tmp/{module}.ko"
            vm.run(f"{'xz -dc' if compressed else 'cat'} {path} > {raw[module]}", check=True)
        calls = {f"finit_module of {module}": finit(raw[module], module, "") for module in ("af_key", "dummy", "kmg_param")}
        if compressed:
            calls["finit_module of af_key, compressed"] = finit(paths["af_key"], "af_key", "'' 4")
        before = {what: times(vm, call) for what, call in calls.items()}
        stock_unknown = times(vm, UNKNOWN, wanted="EAFNOSUPPORT")

        names = [f"some_other_module_{number}" for number in range(LISTED)]
        vm.put(POLICY, policy(allow=["af_key", "kmg_param", "dummy", *names]))
        vm.run("kmodctl start", check=True)
        for what, call in calls.items():
            # The smallest module there can be, without a signature, is no measure: shown, not a goal.
            yield Row(f"{kernel}: {what}, allowed (peer: no guard)", times(vm, call), before[what],
                      None if "kmg_param" in what else ADDED)
        yield Row(f"{kernel}: refuse a request that is remembered in the kernel, one of a flood (peer: stock, unknown alias)",
                  flood(vm), stock_unknown, REMEMBERED)
        yield Row(f"{kernel}: the same, one of the eight a second that are recorded with who asked",
                  times(vm, UNKNOWN, wanted="EAFNOSUPPORT"), stock_unknown)
        vm.put(POLICY, policy(allow=["kmg_param"]))
        vm.run("kmodctl reload", check=True)
        yield Row(f"{kernel}: finit_module of af_key, refused (peer: no guard, loaded)",
                  times(vm, f"requester --time finit {raw['af_key']}", wanted="EPERM"), before["finit_module of af_key"])
