# SPDX-License-Identifier: AGPL-3.0-only
"""The guests of the guest point: Debian's kernels of several processors, each with the few modules that the tests load.

One row of GUESTS is one emulated machine. Kernels of other processors come from an index of their own (suites.py),
of bookworm, the last suite that has most of them; those of amd64 are the test machine's. Of a package of 50 MB
only the kernel and a dozen modules are kept, uncompressed, so that a guest is small enough to boot in seconds.
"""

import lzma
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from . import apt, packages, suites
from .cache import MachineError, cache_folder, cached, content_key

# Every kernel here has them as modules that need no other: brd, loop and nbd have parameters that /sys shows, sunrpc is
# a large one, crc-itu-t is called crc_itu_t by the kernel, and the nls ones are many and can be loaded in any number.
NLS = tuple(f"nls_{name}" for name in (
    "ascii", "cp437", "cp737", "cp775", "cp850", "cp852", "cp855", "cp857", "cp860", "cp861", "cp862", "cp863", "cp864",
    "cp865", "cp866", "cp869", "cp874", "cp1250", "cp1251", "cp1255", "koi8-r", "koi8-u", "utf8"))
MODULES = ("brd", "loop", "nbd", "dummy", "nlmon", "ifb", "crc-itu-t", "cordic", "lru_cache", "sunrpc", *NLS)
SUITE = "bookworm"
Made = TypeVar("Made")


@dataclass(frozen=True)
class Guest:
    """One emulated machine and its kernel."""

    architecture: str  # Debian's name
    machine: tuple[str, ...]  # the QEMU program and what selects the machine
    console: str
    kernel: str  # the kernel's meta package; of amd64 the row of packages.KERNELS
    suite: str = SUITE
    memory: int = 256  # MiB

    @property
    def is_host(self) -> bool:
        return self.architecture == apt.HOST

    @property
    def apt_options(self) -> tuple[str, ...]:
        return suites.options(self.suite, self.architecture)


AMD64 = ("qemu-system-x86_64", "-M", "q35", "-cpu", "max")
# QEMU's own small firmware in place of SLOF, which takes 5 s; and none of the features that QEMU then says it lacks.
PSERIES = "pseries,x-vof=on,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off"
GUESTS: dict[str, Guest] = {
    "amd64-6.1": Guest("amd64", AMD64, "ttyS0", "6.1"),
    "amd64-6.12": Guest("amd64", AMD64, "ttyS0", "6.12"),
    "amd64-7.2": Guest("amd64", AMD64, "ttyS0", "7.2"),
    "arm64": Guest("arm64", ("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a57"), "ttyAMA0", "linux-image-cloud-arm64"),
    "armhf": Guest("armhf", ("qemu-system-arm", "-M", "virt", "-cpu", "cortex-a15"), "ttyAMA0", "linux-image-armmp"),
    "mipsel": Guest("mipsel", ("qemu-system-mipsel", "-M", "malta", "-cpu", "24Kf"), "ttyS0", "linux-image-4kc-malta"),
    "mips64el": Guest("mips64el", ("qemu-system-mips64el", "-M", "malta", "-cpu", "MIPS64R2-generic"), "ttyS0",
                      "linux-image-5kc-malta"),
    "ppc64el": Guest("ppc64el", ("qemu-system-ppc64", "-M", PSERIES, "-cpu", "power9"), "hvc0", "linux-image-powerpc64le",
                     memory=512),
    "riscv64": Guest("riscv64", ("qemu-system-riscv64", "-M", "virt"), "ttyS0", "linux-image-riscv64", suite="trixie"),
}


@dataclass(frozen=True)
class GuestKernel:
    """What is kept of a kernel."""

    release: str
    folder: Path

    @property
    def image(self) -> Path:
        """What QEMU is given as -kernel."""
        return self.folder / "kernel"

    def module(self, name: str) -> Path:
        """The uncompressed file of one of MODULES."""
        file = self.folder / "modules" / f"{name}.ko"
        if not file.exists():
            raise MachineError(f"no module {name} is kept for the guests: add it to MODULES in {__file__}")
        return file


def guest(name: str) -> Guest:
    """The row of the table; an unknown name is an error that lists the known ones."""
    if name not in GUESTS:
        raise MachineError(f"no guest {name!r}; there are {', '.join(GUESTS)}")
    return GUESTS[name]


def command_line(name: str, initrd: Path, *, cpus: int = 1, cmdline: str = "", arguments: Sequence[str] = ()) -> list[str]:
    """QEMU with this guest: its console is QEMU's standard input and output, and QEMU ends with it."""
    row = guest(name)
    if row.is_host:  # these kernels try the timer out at boot, and panic where QEMU gets no processor meanwhile
        cmdline = f"no_timer_check {cmdline}"
    return [*row.machine, "-m", str(row.memory), "-smp", str(cpus), "-accel", "tcg", "-nodefaults", "-no-user-config",
            "-display", "none", "-no-reboot", "-serial", "stdio", "-kernel", str(kernel(name).image), "-initrd", str(initrd),
            "-append", f"console={row.console} quiet panic=-1 norandmaps {cmdline}".strip(), *arguments]


def with_fresh_index(row: Guest, make: Callable[[], Made]) -> Made:
    """What `make` returns, tried once more with a new index if the mirror has moved on from the present one."""
    try:
        return make()
    except apt.Gone:
        suites.refresh(row.suite, row.architecture)
        return make()


@cache
def kernel(name: str) -> GuestKernel:
    """Downloads (once) and picks apart (once) the kernel of a guest."""
    row = guest(name)
    return with_fresh_index(row, lambda: host_kernel(row) if row.is_host else foreign_kernel(row))


def host_kernel(row: Guest) -> GuestKernel:
    known = packages.kernel(row.kernel)
    return kept(f"{known.root.name}", lambda _: (known.root, known.vmlinuz))


def foreign_kernel(row: Guest) -> GuestKernel:
    package = packages.kernel_packages(row.kernel, packages.PARTS, row.apt_options)[0]
    version = apt.show(package, row.apt_options)["Version"]

    def unpacked(scratch: Path) -> tuple[Path, Path]:
        apt.unpack(apt.download(package, row.apt_options), scratch)
        (image,) = scratch.glob("boot/vmlinu*")
        return scratch, image

    return kept(f"{package}_{version}", unpacked)


def kept(name: str, unpack: Callable[[Path], tuple[Path, Path]]) -> GuestKernel:
    """The cache's entry, made from the root and the image that `unpack` returns; it may use the folder it is given."""

    def build(folder: Path) -> None:
        root, image = unpack(folder.with_name("unpacked"))
        (folder / "modules").mkdir(parents=True)
        shutil.copy(image, folder / "kernel")
        files = {re.sub(r"\.ko.*", "", file.name): file for file in root.glob("**/lib/modules/*/kernel/**/*.ko*")}
        for module in MODULES:
            if module not in files:
                raise MachineError(f"the kernel {name} has no module {module}: choose another in {__file__}")
            content = files[module].read_bytes()
            content = lzma.decompress(content) if files[module].suffix == ".xz" else content
            (folder / "modules" / f"{module}.ko").write_bytes(content)
        (folder / "release").write_text(next(root.glob("**/lib/modules/*")).name)

    folder = cached(cache_folder() / "guest-kernels" / f"{name}-{content_key(*MODULES)}", build)
    return GuestKernel((folder / "release").read_text(), folder)


