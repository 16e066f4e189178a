# SPDX-License-Identifier: AGPL-3.0-only
"""What `make demo` asks for, and how it shows what came of it: the policy, the requests and the table. It needs no machine."""

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

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


@dataclass(frozen=True)
class Outcome:
    """What became of a request."""

    request: Request
    without: frozenset[str]  # the modules that it loaded on the stock kernel
    guarded: frozenset[str]  # and with the guard
    why: str


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


def not_as_the_policy_says(outcomes: Iterable[Outcome]) -> list[str]:
    return [one.request.what for one in outcomes if one.guarded != one.request.loads]
