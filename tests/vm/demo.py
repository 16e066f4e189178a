# SPDX-License-Identifier: AGPL-3.0-only
"""make demo: the same requests and loads on a stock Debian kernel, without the guard and with it, side by side.

Nothing is staged: the table shows which modules the kernel had in /proc/modules after each request. A request that did not
end as the policy says makes the demo fail. scripts/demo has done the first two of five steps, since the given time.
"""

import sys
import textwrap
import time
from dataclasses import dataclass

from machine import Machine, MachineError, modules

POLICY = """\
version = 1
mode = "enforce"

[allow]
modules = ["af_alg", "algif_hash", "bridge", "dummy", "squashfs", "tun", "vsock_loopback"]
aliases = ["tcp_*"]

[deny]
modules = ["llc"]    # so bridge, which needs it, is refused as well
"""

PCI = "pci:v000015ADd000007B0sv000015ADsd000007B0bc02sc00i00"


@dataclass(frozen=True)
class Request:
    what: str
    token: str  # what the kernel asks for, or the module that somebody loads
    command: str
    user: str
    loads: frozenset[str]  # with the guard


def row(what: str, token: str, command: str, user: str = "nobody", loads: str = "") -> Request:
    """The kernel asks for a module on somebody's behalf."""
    return Request(what, token, f"requester {command}", user, frozenset(loads.split()))


def load(what: str, module: str, command: str, loads: str = "") -> Request:
    """Root hands the kernel a module; nobody asked."""
    return Request(what, module, command, "root", frozenset(loads.split()))


REQUESTS = [
    row("socket family AF_KEY", "net-pf-15", "socket 15 3 2"),
    row("socket family nobody has", "net-pf-9", "socket 9 3 0"),
    row("socket family AF_VSOCK, an alias of three modules", "net-pf-40", "socket 40 1 0",
        loads="vsock_loopback vsock vmw_vsock_virtio_transport_common"),
    row("mount -t overlay", "fs-overlay", "mount overlay"),
    row("mount -t squashfs", "fs-squashfs", "mount squashfs", loads="squashfs"),
    row("AF_ALG, hash md4", "crypto-md4", "alg hash md4", loads="af_alg algif_hash"),
    row("network link of type wireguard", "rtnl-link-wireguard", "link wireguard"),
    row("network link of type dummy", "rtnl-link-dummy", "link dummy", loads="dummy"),
    row("network link of type bridge, its llc denied", "rtnl-link-bridge", "link bridge"),
    row("generic netlink family macsec", "net-pf-16-proto-16-family-macsec", "genl macsec"),
    row("character device 10:200", "char-major-10-200", "open /dev/demo-tun", loads="tun"),
    row("TCP congestion control vegas", "tcp_vegas", "tcp vegas", user="root", loads="tcp_vegas"),
    row("a PCI network card's alias", PCI, f"ask {PCI}", user="root"),
    row("an option in place of a name", "-r", "ask -r", user="root"),
    load("insmod loop.ko", "loop", "insmod $(modinfo -n loop)"),
    load("loop.ko copied to dummy.ko, insmod dummy.ko", "loop", "cp $(modinfo -n loop) /tmp/dummy.ko && insmod /tmp/dummy.ko"),
    load("the same from memory, by init_module", "loop", "loader init /tmp/dummy.ko"),
    load("udev finds that PCI card and loads its module", PCI, f"modprobe -b {PCI}"),
    load("insmod dummy.ko", "dummy", "insmod $(modinfo -n dummy)", loads="dummy"),
]


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


def shown(modules: frozenset[str]) -> str:
    return " ".join(sorted(modules)) or "-"


def print_table(rows: list[list[str]], widths: list[int]) -> None:
    for cells in rows:
        wrapped = [textwrap.wrap(cell, width, break_long_words=True) or [""] for cell, width in zip(cells, widths, strict=True)]
        for line in range(max(len(cell) for cell in wrapped)):
            parts = [(cell[line] if line < len(cell) else "").ljust(width) for cell, width in zip(wrapped, widths, strict=True)]
            print("  ".join(parts).rstrip())


def main() -> int:
    sys.stdout.reconfigure(line_buffering=True)
    started = float(sys.argv[1]) if len(sys.argv) > 1 else time.time()

    def step(number: int, what: str) -> None:
        seconds = int(time.time() - started)
        print(f"{number}/5  {seconds // 60}:{seconds % 60:02}  {what}", flush=True)

    step(3, "fetching a Debian kernel, and building the modules that make it ask for others")
    modules.ready_kernel("6.1")
    step(4, "booting it")
    with Machine("6.1", files={"/etc/kmodguard/policy.toml": POLICY}, boot=True, name="demo") as vm:
        step(5, f"making {len(REQUESTS)} requests, without the guard and with it")
        print(f"\nA stock Debian kernel, {vm.kernel.release}, in a virtual machine, and this policy:\n")
        print(textwrap.indent(POLICY, "    "))
        vm.run("modprobe kmg_ask && mknod /dev/demo-tun c 10 200 && chmod 666 /dev/demo-tun", check=True)
        without = [modules_loaded_by(vm, request) for request in REQUESTS]
        vm.run("kmodctl start", check=True)
        guarded = [modules_loaded_by(vm, request) for request in REQUESTS]
        reasons = [why(vm, request) for request in REQUESTS]
        rows = [["request", "who", "without the guard", "with it", "why"], ["-" * 30, "-" * 6, "-" * 24, "-" * 12, "-" * 60]]
        for request, before, after, reason in zip(REQUESTS, without, guarded, reasons, strict=True):
            rows.append([request.what, request.user, shown(before), shown(after), reason])
        print_table(rows, [30, 6, 24, 12, 60])
        print("\n" + vm.run("kmodctl status", check=True).stdout)
        vm.run("kmodctl stop", check=True)
        print(f"After kmodctl stop the kernel's handler is {vm.run('cat /proc/sys/kernel/modprobe').stdout.strip()} again.")
    wrong = [request.what for request, after in zip(REQUESTS, guarded, strict=True) if after != request.loads]
    for what in wrong:
        print(f"NOT as the policy says: {what}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MachineError as error:
        sys.exit(f"the demo needs a virtual machine, and it failed: {error}")
