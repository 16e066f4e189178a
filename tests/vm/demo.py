# SPDX-License-Identifier: AGPL-3.0-only
"""make demo: the same requests and loads on a stock Debian kernel, without the guard and with it, side by side.

Nothing is staged: the table shows which modules the kernel had in /proc/modules after each request. A request that did not
end as the policy says makes the demo fail. scripts/demo has done the first two of five steps, since the given time.
scripts/readme_demo.py puts a part of the same table, of a run of its own, into README.md.
"""

import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

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


@dataclass(frozen=True)
class Outcome:
    """What became of a request."""

    request: Request
    without: frozenset[str]  # the modules that it loaded on the stock kernel
    guarded: frozenset[str]  # and with the guard
    why: str


@dataclass(frozen=True)
class Run:
    release: str  # of the kernel
    outcomes: list[Outcome]
    status: str  # what `kmodctl status` said
    handler: str  # what the kernel runs after `kmodctl stop`


# The table: a line of these columns for each request, and below it why, where something was kept out.
COLUMNS = [("request", 49), ("by", 6), ("without the guard", 24), ("with it", 22)]
INDENT = "    "
WIDTH = 108


def shown(modules: frozenset[str]) -> str:
    return " ".join(sorted(modules)) or "-"


def table_lines(cells: Iterable[str]) -> Iterator[str]:
    """A row, whose long cells go on below."""
    wrapped = [textwrap.wrap(cell, width) for cell, (_, width) in zip(cells, COLUMNS, strict=True)]
    for parts in zip_longest(*wrapped, fillvalue=""):
        yield "  ".join(part.ljust(width) for part, (_, width) in zip(parts, COLUMNS, strict=True)).rstrip()


def table(outcomes: Iterable[Outcome]) -> Iterator[str]:
    yield from table_lines(name for name, _ in COLUMNS)
    for one in outcomes:
        yield from table_lines([one.request.what, one.request.user, shown(one.without), shown(one.guarded)])
        if one.without != one.guarded or not one.without:
            yield from textwrap.wrap(one.why, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)


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


def not_as_the_policy_says(outcomes: Iterable[Outcome]) -> list[str]:
    return [one.request.what for one in outcomes if one.guarded != one.request.loads]


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
