# SPDX-License-Identifier: AGPL-3.0-only
"""The kernels of the test matrix: Debian's own packages, found by meta package, unpacked and indexed.

Version numbers move, so a kernel is named by the meta package that points at its newest build. One row
of KERNELS is one kernel. Sid splits a kernel over several packages and keeps everything under
usr/lib/modules: hence all that an image depends on is looked through, and the files are looked for
where either layout puts them. A row may name a suite that the host does not use (suites.py).
"""

import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from . import apt, suites
from .cache import MachineError, cache_folder, cached

# The packages behind an image's meta package that hold the kernel: one, or several that share it.
PARTS = r"linux-(image|binary|modules|base)-\d.*"


@dataclass(frozen=True)
class KernelSource:
    """Where one kernel of the matrix comes from."""

    image_meta: str  # the meta package that depends on the newest image
    headers_meta: str  # the same for the headers, to build test modules
    memory: int = 1024  # MiB that a machine with this kernel gets unless told otherwise
    suite: str = ""  # where the host's own suites do not have it

    @property
    def apt_options(self) -> tuple[str, ...]:
        return suites.options(self.suite)


KERNELS: dict[str, KernelSource] = {
    # Modules are plain files; the security hooks see the raw image.
    "6.1": KernelSource("linux-image-cloud-amd64", "linux-headers-cloud-amd64"),
    # Modules are xz files; the kernel decompresses them itself, after the hooks.
    "6.12": KernelSource("linux-image-6.12-cloud-amd64", "linux-headers-6.12-cloud-amd64"),
    # The newest that Debian has. It moves: when sid goes on to 7.3, this row does too, under its old name.
    "7.2": KernelSource("linux-image-cloud-amd64", "linux-headers-cloud-amd64", suite="sid"),
    # 4,000 modules and 26,000 aliases: the size of the real index.
    "6.1-full": KernelSource("linux-image-amd64", "linux-headers-amd64", memory=2048),
}


@dataclass(frozen=True)
class Kernel:
    """One kernel, unpacked: `root` holds `usr/lib/modules/<release>` and `lib` as a link to `usr/lib`."""

    name: str
    release: str
    version: str
    root: Path
    vmlinuz: Path

    @property
    def modules(self) -> Path:
        return self.root / "usr/lib/modules" / self.release

    @property
    def config(self) -> str:
        """The kernel's build configuration, as text."""
        places = [self.root / "boot" / f"config-{self.release}", self.modules / "config"]
        return next(place for place in places if place.exists()).read_text()

    @property
    def module_suffix(self) -> str:
        """How this kernel's module files end: `.ko` or `.ko.xz`."""
        return ".ko.xz" if "CONFIG_MODULE_COMPRESS_XZ=y" in self.config else ".ko"


def source(name: str) -> KernelSource:
    """The row of the table; an unknown name is an error that lists the known ones."""
    if name not in KERNELS:
        raise MachineError(f"no kernel {name!r} in the test matrix; there are {', '.join(KERNELS)}")
    return KERNELS[name]


def kernel_packages(meta: str, parts: str, options: tuple[str, ...] = ()) -> list[str]:
    """The packages behind a meta package whose names match `parts`, the one that it names itself first."""
    found: list[str] = []
    waiting = [meta]
    while waiting:
        for package in apt.dependencies(waiting.pop(), options):
            if re.fullmatch(parts, package) and package not in found:
                found.append(package)
                waiting.append(package)
    if not found:
        raise MachineError(f"{meta} depends on no package that matches {parts}: look at KERNELS")
    return found


@cache
def kernel(name: str) -> Kernel:
    """Downloads (once), unpacks (once) and indexes a kernel of the table."""
    row = source(name)
    packages = kernel_packages(row.image_meta, PARTS, row.apt_options)
    version = apt.show(packages[0], row.apt_options)["Version"]
    folder = cache_folder() / "kernels" / f"{packages[0]}_{version}"

    def build(path: Path) -> None:
        for package in packages:
            apt.unpack(apt.download(package, row.apt_options), path)
        normalise(path)
        depmod(path)

    cached(folder, build)
    (modules,) = (folder / "usr/lib/modules").iterdir()
    places = [folder / "boot" / f"vmlinuz-{modules.name}", modules / "vmlinuz"]
    vmlinuz = next((place for place in places if place.exists()), None)
    if vmlinuz is None:
        raise MachineError(f"{', '.join(packages)} hold no vmlinuz where it was looked for: {places}")
    return Kernel(name, modules.name, version, folder, vmlinuz)


def normalise(root: Path) -> None:
    """Brings old packages (`lib/modules`) and new ones (`usr/lib/modules`) to the same layout."""
    old = root / "lib"
    if old.is_dir() and not old.is_symlink():
        (root / "usr").mkdir(exist_ok=True)
        if (root / "usr/lib").exists():
            raise MachineError(f"{root} has both lib and usr/lib: teach packages.normalise to merge them")
        old.rename(root / "usr/lib")
    old.symlink_to("usr/lib")


def depmod(root: Path) -> None:
    """Writes the index files of a tree that holds one kernel; the packages bring none."""
    (modules,) = (root / "usr/lib/modules").iterdir()
    done = subprocess.run(["/sbin/depmod", "-b", str(root), modules.name], capture_output=True, text=True)
    if done.returncode != 0:
        raise MachineError(f"depmod failed on {root}: {done.stderr.strip()} (is the package kmod installed?)")
