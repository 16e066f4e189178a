# SPDX-License-Identifier: AGPL-3.0-only
"""Writes the archives ("newc" cpio) that the kernel unpacks into its first root file system.

Written here rather than by the program cpio because owners and device nodes can then be set without being
root, and because a scenario's few extra files are added by one small archive behind the cached big ones:
the kernel unpacks archives that follow each other, later ones over earlier ones.
"""

import os
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

MERGED = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}
FOLDER_MODES = {"tmp": 0o1777, "var/tmp": 0o1777, "root": 0o700, "dev/shm": 0o1777}


def guest_path(path: str) -> str:
    """The path as it is in an archive: relative, and /bin, /sbin and /lib taken to /usr.

    The kernel would replace the link /lib by a folder if an archive had one of that name.
    """
    parts = [part for part in PurePosixPath(path).parts if part != "/"]
    if parts and parts[0] in MERGED:
        parts[0] = MERGED[parts[0]]
    return "/".join(parts)


class Archive:
    """One cpio archive being written; parent folders are added as needed. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        self.file: BinaryIO = open(path, "wb")
        self.names: set[str] = set()
        self.inode = 0

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *_: object) -> None:
        self._entry("TRAILER!!!", 0, b"")
        self.file.write(b"\0" * (-self.file.tell() % 4096))
        self.file.close()

    def folder(self, path: str, mode: int | None = None, owner: tuple[int, int] = (0, 0)) -> None:
        name = guest_path(path)
        if not name or name in self.names:
            return
        self._parents(name)
        self._add(name, stat.S_IFDIR | (FOLDER_MODES.get(name, 0o755) if mode is None else mode), b"", owner)

    def data(self, path: str, data: bytes, mode: int = 0o644, owner: tuple[int, int] = (0, 0)) -> None:
        name = guest_path(path)
        self._parents(name)
        self._add(name, stat.S_IFREG | mode, data, owner)

    def link(self, path: str, target: str, owner: tuple[int, int] = (0, 0)) -> None:
        # The links of the root itself (bin -> usr/bin) must keep their own names.
        name = path.strip("/") if path.strip("/") in MERGED else guest_path(path)
        self._parents(name)
        self._add(name, stat.S_IFLNK | 0o777, target.encode(), owner)

    def device(self, path: str, mode: int, major: int, minor: int, owner: tuple[int, int] = (0, 0)) -> None:
        """A device node or fifo; `mode` includes its type."""
        name = guest_path(path)
        self._parents(name)
        self._add(name, mode, b"", owner, (major, minor))

    def host_file(self, path: str, source: Path) -> None:
        """A host's file, link or folder (with all that is below), owned by root in the guest."""
        info = source.lstat()
        if stat.S_ISLNK(info.st_mode):
            self.link(path, os.readlink(source))
        elif stat.S_ISDIR(info.st_mode):
            self.folder(path)
            for child in sorted(source.iterdir()):
                self.host_file(f"{path.rstrip('/')}/{child.name}", child)
        else:
            self.data(path, source.read_bytes(), stat.S_IMODE(info.st_mode))

    def _parents(self, name: str) -> None:
        parent = str(PurePosixPath(name).parent)
        if parent != ".":
            self.folder(parent)

    def _add(self, name: str, mode: int, data: bytes, owner: tuple[int, int], device: tuple[int, int] = (0, 0)) -> None:
        self.names.add(name)
        self._entry(name, mode, data, owner, device)

    def _entry(self, name: str, mode: int, data: bytes, owner: tuple[int, int] = (0, 0),
               device: tuple[int, int] = (0, 0)) -> None:
        self.inode += 1
        encoded = os.fsencode(name) + b"\0"
        numbers: Iterable[int] = (self.inode, mode, *owner, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
        self._padded(b"070701" + b"".join(b"%08x" % number for number in numbers) + encoded)
        self._padded(data)

    def _padded(self, data: bytes) -> None:
        self.file.write(data)
        self.file.write(b"\0" * (-len(data) % 4))
