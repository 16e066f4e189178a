# SPDX-License-Identifier: AGPL-3.0-only
"""Builds the guest's root file system: archives that the kernel unpacks one over the other at boot.

In order: the root (busybox and kmod, or a Debian with systemd), the kernel's modules, extra Debian packages,
the staged install, one scenario's own files. All but the last are cached, so a new scenario costs
a few milliseconds and copying about 100 MB. They are not compressed: under emulation the guest would
spend a second longer on unpacking than QEMU does on reading them.
"""

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

from . import apt, guest, packages, systemd
from .cache import PROJECT, VM_FOLDER, MachineError, cache_folder, cached, content_key, file_stamp
from .cpio import MERGED, Archive, guest_path
from .libraries import is_elf, libraries

PASSWD = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"
GROUP = "root:x:0:\nadm:x:4:\nuser:x:1000:\nnogroup:x:65534:\n"
KMOD_NAMES = ("depmod", "insmod", "lsmod", "modinfo", "modprobe", "rmmod")
HOST_FILES = ("/usr/lib/modprobe.d/aliases.conf", "/etc/ssl/certs/ca-certificates.crt")


def base_archives(kernel: packages.Kernel, init: str) -> list[Path]:
    """What a kernel boots with: a root, and its modules."""
    return [root(init).archive, modules_archive(kernel)]


def own_archives(folder: Path, init: str, stage: bool, extra: list[str], files: dict[str, bytes | str | Path]) -> list[Path]:
    """What one machine has beyond that. The scenario's own is written to `folder`."""
    present = root(init)
    archives = []
    if extra:
        archives.append(packages_archive(extra, present))
    if stage:
        archives.append(stage_archive(present))
    if files:
        archives.append(folder / "scenario")
        with Archive(archives[-1]) as archive:
            for path, content in files.items():
                add_file(archive, path, content, present.files)
    return archives


def join(archives: Sequence[Path], target: Path) -> None:
    """One initramfs of many archives."""
    with open(target, "wb") as whole:
        for archive in archives:
            with open(archive, "rb") as part:
                shutil.copyfileobj(part, whole, 1 << 20)


def root(init: str) -> "Root":
    if init not in ROOTS:
        raise MachineError(f"no root {init!r}; there are {', '.join(ROOTS)}")
    return ROOTS[init]()


def add_file(archive: Archive, path: str, content: bytes | str | Path, present: set[str]) -> None:
    """One file of a scenario: given as content, or as a host's file, folder or program (with its libraries)."""
    if isinstance(content, Path):
        if not content.exists():
            raise MachineError(f"the file {content}, wanted as {path} in the guest, does not exist")
        archive.host_file(path, content)
        add_libraries(archive, content, present)
    else:
        archive.data(path, content.encode() if isinstance(content, str) else content, 0o644)


def add_libraries(archive: Archive, program: Path, present: set[str]) -> None:
    """The libraries that a host's program (or those in a folder) needs, unless the guest has them."""
    programs = program.rglob("*") if program.is_dir() else [program]
    for candidate in programs:
        for library in libraries(candidate) if is_elf(candidate) else ():
            name = guest_path(str(library))
            if name not in present and name not in archive.names:
                archive.data(name, library.read_bytes(), 0o755)


class Root:
    """A cached archive and what is in it."""

    def __init__(self, folder: Path) -> None:
        listing = json.loads((folder / "contents.json").read_text())
        self.archive = folder / "archive.cpio"
        self.files: set[str] = set(listing["files"])
        self.packages: set[str] = set(listing["packages"])


def cached_root(name: str, key: str, fill) -> Root:
    """A root made by `fill(archive) -> names of the Debian packages in it`, cached by its key."""

    def build(folder: Path) -> None:
        folder.mkdir()
        with Archive(folder / "archive.cpio") as archive:
            installed = fill(archive)
        (folder / "contents.json").write_text(json.dumps({"files": sorted(archive.names), "packages": installed}))

    return Root(cached(cache_folder() / "archives" / f"{name}-{key}", build))


def shell_root() -> Root:
    """Busybox for the usual tools, Debian's kmod for modules, and dash: busybox's own shell would run
    its built-in modprobe, insmod and ip whatever PATH says."""
    busybox, kmod, dash = Path("/bin/busybox"), Path("/bin/kmod"), Path("/bin/dash")
    init = VM_FOLDER / "guest/init.sh"
    for program, package in ((busybox, "busybox-static"), (kmod, "kmod"), (dash, "dash")):
        if not program.exists():
            raise MachineError(f"the host has no {program}: install the package {package} (scripts/bootstrap does)")
    key = content_key(busybox, kmod, dash, init, guest.agent(), *guest.tools().values(), Path(__file__), *own_sources())

    def fill(archive: Archive) -> list[str]:
        add_skeleton(archive)
        archive.data("/init", init.read_bytes(), 0o755)
        archive.data("/etc/passwd", PASSWD.encode())
        archive.data("/etc/group", GROUP.encode())
        archive.data("/etc/hosts", b"127.0.0.1 localhost machine\n")
        archive.data("/usr/bin/busybox", busybox.read_bytes(), 0o755)
        applets = subprocess.run([str(busybox), "--list-full"], capture_output=True, text=True, check=True)
        for applet in applets.stdout.split():
            if Path(applet).name not in (*KMOD_NAMES, "busybox", "sh", "ash"):
                archive.link(applet, "/usr/bin/busybox")
        for program in (kmod, dash):
            archive.data(f"/usr/bin/{program.name}", program.read_bytes(), 0o755)
            add_libraries(archive, program, set())
        archive.link("/usr/bin/sh", "dash")
        for name in KMOD_NAMES:
            archive.link(f"/usr/sbin/{name}", "../bin/kmod")
        for path in HOST_FILES:
            if Path(path).exists():
                archive.data(path, Path(path).read_bytes())
        return []

    return cached_root("shell", key, fill)


def systemd_root() -> Root:
    """A small Debian with systemd; see systemd.py."""
    tree = systemd.tree()
    key = content_key(str(tree), guest.agent(), *guest.tools().values(), *own_sources())

    def fill(archive: Archive) -> list[str]:
        add_skeleton(archive)
        installed = systemd.add_tree(archive, tree)
        systemd.add_settings(archive)
        return installed

    return cached_root("systemd", key, fill)


ROOTS = {"shell": shell_root, "systemd": systemd_root}
MEMORY = {"shell": 1024, "systemd": 2048}  # MiB that a machine needs at least
CMDLINE = {"shell": "", "systemd": "rdinit=/sbin/init"}


def own_sources() -> list[Path]:
    return [Path(__file__).with_name(name) for name in ("cpio.py", "systemd.py")]


def add_skeleton(archive: Archive) -> None:
    """What both roots have: the merged /usr, the mount points, the harness's own programs."""
    for name in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "dev", "proc", "sys", "run", "tmp", "var/tmp",
                 "var/log", "var/lib", "root", "etc", "mnt"):
        archive.folder(name)
    for name, target in MERGED.items():
        archive.link(name, target)
    archive.device("/dev/console", stat.S_IFCHR | 0o600, 5, 1)
    archive.data("/machine/agent", guest.agent().read_bytes(), 0o755)
    for name, program in guest.tools().items():
        archive.data(f"/usr/bin/{name}", program.read_bytes(), 0o755)


def modules_archive(kernel: packages.Kernel) -> Path:
    """The kernel's modules with their index, and the test modules that were built for it."""
    tree = kernel.root / "usr/lib/modules"
    stamps = "".join(file_stamp(path) for path in sorted(kernel.modules.glob("modules.*")))
    target = cache_folder() / "archives" / f"modules-{kernel.release}-{content_key(stamps)}.cpio"

    def build(path: Path) -> None:
        with Archive(path) as archive:
            for child in sorted(tree.rglob("*")):
                if child.name == "vmlinuz" or child.is_symlink():
                    continue  # build -> the headers, on the host only
                name = "usr/lib/modules/" + str(child.relative_to(tree))
                archive.folder(name) if child.is_dir() else archive.data(name, child.read_bytes())

    return cached(target, build)


def packages_archive(names: list[str], present: Root) -> Path:
    """Debian packages with all that they need, unpacked."""
    wanted = [name for name in apt.closure(names) if name not in present.packages]
    debs = [apt.download(name) for name in wanted]
    key = content_key(*(deb.name for deb in debs), Path(__file__).with_name("cpio.py"))

    def build(path: Path) -> None:
        tree = path.with_name("unpacked")
        for deb in debs:
            apt.unpack(deb, tree)
        with Archive(path) as archive:
            for child in sorted(tree.rglob("*")):
                name = str(child.relative_to(tree))
                if name not in MERGED and not name.startswith("usr/share/doc/"):
                    archive.folder(name) if child.is_dir() and not child.is_symlink() else archive.host_file(name, child)

    return cached(cache_folder() / "archives" / f"packages-{key}.cpio", build)


def stage_folder() -> Path:
    return Path(os.environ.get("KMODGUARD_STAGE") or PROJECT / "build" / "stage").resolve()


def stage_archive(present: Root) -> Path:
    """The staged install and the libraries that its programs need."""
    stage = stage_folder()
    content = sorted(stage.rglob("*")) if stage.is_dir() else []
    if not content:
        raise MachineError(
            f"there is no staged install in {stage}: run `make build && make DESTDIR={stage} install`, "
            "set KMODGUARD_STAGE, or ask for Machine(stage=False)"
        )
    key = content_key("".join(file_stamp(path) for path in content), str(present.archive))

    def build(path: Path) -> None:
        with Archive(path) as archive:
            for child in sorted(stage.iterdir()):
                archive.host_file(f"/{child.name}", child)
            add_libraries(archive, stage, present.files)

    return cached(cache_folder() / "archives" / f"stage-{key}.cpio", build)
