# SPDX-License-Identifier: AGPL-3.0-only
"""The root file system of a foreign guest: a static busybox, and kmod with its libraries, of the guest's architecture.

Small, since an emulated processor unpacks it at every boot: of Debian's packages only what the two programs load. The
modules lie in /m, uncompressed; a scenario's own files come in an archive behind.
"""

import os
import re
import shutil
import stat
import subprocess
from functools import cache
from pathlib import Path

from . import apt, foreign, libraries
from .cache import VM_FOLDER, MachineError, cache_folder, cached, content_key, file_stamp
from .cpio import Archive

KMOD_NAMES = ("insmod", "lsmod", "modprobe", "rmmod")
INIT = VM_FOLDER / "guest/foreign-init.sh"
Files = dict[str, Path]  # the path in the guest, and the file that goes there


def image(target: Path, name: str, files: dict[str, bytes | str | Path]) -> None:
    """Writes the initramfs of the guest `name` with a scenario's own files, which are all executable."""
    own = target.with_suffix(".own")
    with Archive(own) as archive:
        for path, content in files.items():
            data = content.read_bytes() if isinstance(content, Path) else content
            archive.data(path, data.encode() if isinstance(data, str) else data, 0o755)
    with open(target, "wb") as whole:
        for part in (root(name), own):
            with open(part, "rb") as source:
                shutil.copyfileobj(source, whole)
    own.unlink()


def root(name: str) -> Path:
    """The archive with all but a scenario's own files."""
    kernel, files = foreign.kernel(name), programs(name)
    stamps = "".join(f"{path}\0{file_stamp(file)}" for path, file in files.items())
    key = content_key(stamps, str(kernel.folder), INIT, Path(__file__), Path(__file__).with_name("cpio.py"))

    def build(path: Path) -> None:
        with Archive(path) as archive:
            for folder in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "dev", "proc", "sys", "tmp", "run"):
                archive.folder(folder)
            for folder in ("bin", "sbin", "lib", "lib64"):
                archive.link(folder, f"usr/{folder}")
            archive.device("/dev/console", stat.S_IFCHR | 0o600, 5, 1)
            archive.data("/init", INIT.read_bytes(), 0o755)
            for path_there, file in files.items():
                archive.data(path_there, file.read_bytes(), 0o755)
            archive.link("/usr/bin/sh", "busybox")
            for applet in KMOD_NAMES:
                archive.link(f"/usr/sbin/{applet}", "../bin/kmod")
            for module in foreign.MODULES:
                archive.data(f"/m/{module}.ko", kernel.module(module).read_bytes())

    return cached(cache_folder() / "archives" / f"guest-{name}-{key}.cpio", build)


@cache
def programs(name: str) -> Files:
    """busybox, kmod and the libraries of the latter, in the guest's architecture."""
    row = foreign.guest(name)
    return host_programs() if row.is_host else foreign.with_fresh_index(row, lambda: fetched_programs(row))


def host_programs() -> Files:
    found = {"/usr/bin/busybox": Path("/bin/busybox"), "/usr/bin/kmod": Path("/bin/kmod")}
    for file in found.values():
        if not file.exists():
            raise MachineError(f"the host has no {file}: scripts/bootstrap installs it")
    return found | {str(library): library for library in libraries.libraries(Path("/bin/kmod"))}


def fetched_programs(row: foreign.Guest) -> Files:
    wanted = apt.closure(["busybox-static", "kmod"], row.apt_options)
    versions = [f"{name} {apt.show(name, row.apt_options)['Version']}" for name in wanted]

    def build(folder: Path) -> None:
        tree = folder.with_name("unpacked")
        for package in wanted:
            apt.unpack(apt.download(package, row.apt_options), tree)
        chosen = {f"/usr/bin/{name}": in_tree(tree, f"bin/{name}") for name in ("busybox", "kmod")}
        for path, file in (chosen | needed(chosen["/usr/bin/kmod"], tree)).items():
            (folder / path.strip("/")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, folder / path.strip("/"))

    folder = cached(cache_folder() / "guest-programs" / f"{row.architecture}-{content_key(*versions, Path(__file__))}", build)
    return {f"/{file.relative_to(folder)}": file for file in sorted(folder.rglob("*")) if file.is_file()}


def needed(program: Path, tree: Path) -> Files:
    """The libraries that a foreign program loads, and its loader, out of an unpacked tree: no ldd can tell."""
    places: Files = {}
    waiting = [program]
    while waiting:
        said = subprocess.run(["readelf", "-ldW", str(waiting.pop())], capture_output=True, text=True, check=True).stdout
        wanted = re.findall(r"\(NEEDED\).*\[(.*)\]", said) + re.findall(r"interpreter: (\S+)\]", said)
        for name in wanted:
            file = in_tree(tree, name.strip("/")) if name.startswith("/") else next(tree.glob(f"**/lib/*/{name}"), None)
            if file is None:
                raise MachineError(f"{program.name} needs {name}, which none of its packages has")
            place = name if name.startswith("/") else f"/{file.relative_to(tree)}"
            if place not in places:
                places[place] = inside(file, tree)
                waiting.append(places[place])
    return places


def in_tree(tree: Path, path: str) -> Path:
    """Where an unpacked tree has a file of a path: newer packages have all below /usr."""
    return tree / path if os.path.lexists(tree / path) else tree / "usr" / path


def inside(file: Path, tree: Path) -> Path:
    """What a link in the tree points at, taking the tree for the root."""
    while file.is_symlink():
        target = file.readlink()
        file = tree / str(target).strip("/") if target.is_absolute() else file.parent / target
    return file
