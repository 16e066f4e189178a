# SPDX-License-Identifier: AGPL-3.0-only
"""Builds the test modules (tests/vm/modules) for a kernel of the matrix and puts them into its module tree.

They are built against Debian's header packages, which are unpacked into the cache and never installed. Only
one line of those packages names an absolute path, the `include` of the top Makefile; it is rewritten. For a
suite that is not the host's, they are built in a root of that suite (buildroot.py). The files are
compressed as the kernel's own modules are, and go to `updates/`, where depmod looks first.
"""

import re
import shutil
import subprocess
from pathlib import Path

from . import apt, buildroot, packages, suites
from .cache import VM_FOLDER, MachineError, cache_folder, cached, content_key, locked

SOURCES = VM_FOLDER / "modules"
HEADER_PACKAGES = r"linux-(headers|kbuild)-\d.*"


def ready_kernel(name: str) -> packages.Kernel:
    """A kernel of the table with the test modules in its tree."""
    try:
        kernel = packages.kernel(name)
        install(kernel)
    except apt.Gone:
        suite = packages.source(name).suite
        if not suite:
            raise
        # The kernel may have moved on with its index: everything is looked up again.
        suites.refresh(suite)
        packages.kernel.cache_clear()
        kernel = packages.kernel(name)
        install(kernel)
    return kernel


def install(kernel: packages.Kernel) -> None:
    """Makes sure that the kernel's tree has today's test modules, and its index knows them."""
    built = build(kernel)
    updates = kernel.modules / "updates"
    stamp = kernel.root / "test-modules"
    with locked(f"test-modules-{kernel.release}"):
        if stamp.exists() and stamp.read_text() == built.name:
            return
        stamp.unlink(missing_ok=True)
        shutil.rmtree(updates, ignore_errors=True)
        shutil.copytree(built, updates)
        packages.depmod(kernel.root)
        stamp.write_text(built.name)


def build(kernel: packages.Kernel) -> Path:
    """The folder of the built modules, made if the sources or the kernel are new."""
    sources = sorted(path for path in SOURCES.iterdir() if path.suffix == ".c" or path.name == "Kbuild")
    key = content_key(kernel.version, *sources, *(path.name for path in sources), Path(__file__))

    def compile_all(folder: Path) -> None:
        make = make_in_suite if packages.source(kernel.name).suite else make_on_host
        scratch = make(kernel, sources, folder.parent)
        folder.mkdir()
        for module in sorted(scratch.glob("*.ko")):
            shutil.move(module, folder / module.name)
            if kernel.module_suffix == ".ko.xz":
                # The kernel's own decompressor knows no other check than crc32.
                subprocess.run(["xz", "--check=crc32", "--lzma2=dict=1MiB", folder / module.name], check=True)

    return cached(cache_folder() / "modules" / f"{kernel.release}-{key}", compile_all)


def make_on_host(kernel: packages.Kernel, sources: list[Path], scratch: Path) -> Path:
    """Kbuild, with the host's compiler; without BTF, which would need the kernel's vmlinux and pahole."""
    copies = copied(sources, scratch / "build")
    command = ["make", "-C", str(headers(kernel)), f"M={copies}", "CONFIG_DEBUG_INFO_BTF_MODULES=", "modules"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise MachineError(f"could not build the test modules: `{' '.join(command)}` said\n{done.stdout}{done.stderr}")
    return copies


def make_in_suite(kernel: packages.Kernel, sources: list[Path], scratch: Path) -> Path:
    """Kbuild, with the compiler of the kernel's suite."""
    root = scratch / "root"
    buildroot.unpack(header_packages(kernel), packages.source(kernel.name).apt_options, root)
    headers_in(root, kernel)
    copies = copied(sources, root / buildroot.SOURCES)
    buildroot.run_make(root, kernel.release)
    return copies


def copied(sources: list[Path], folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for source in sources:
        shutil.copy(source, folder)
    return folder


def header_packages(kernel: packages.Kernel) -> list[str]:
    row = packages.source(kernel.name)
    return packages.kernel_packages(row.headers_meta, HEADER_PACKAGES, row.apt_options)


def headers(kernel: packages.Kernel) -> Path:
    """The unpacked headers of a kernel: the folder that is /lib/modules/<release>/build on a real machine."""
    wanted = header_packages(kernel)
    folder = cache_folder() / "headers" / f"{wanted[0]}_{kernel.version}"

    def unpack_all(path: Path) -> None:
        for package in wanted:
            apt.unpack(apt.download(package), path)
        for makefile in path.glob("usr/src/*/Makefile"):
            here = "include $(dir $(lastword $(MAKEFILE_LIST)))../"
            makefile.write_text(re.sub(r"^include /usr/src/", here, makefile.read_text(), flags=re.M))

    return headers_in(cached(folder, unpack_all), kernel)


def headers_in(root: Path, kernel: packages.Kernel) -> Path:
    """Where the headers are; the meta packages may have moved on between the image's look-up and theirs."""
    tree = root / "usr/src" / f"linux-headers-{kernel.release}"
    if not tree.is_dir():
        raise MachineError(f"{', '.join(header_packages(kernel))} hold no headers for {kernel.release}: "
                           "run `apt-get update` as root")
    return tree
