# SPDX-License-Identifier: AGPL-3.0-only
"""Where the test machine keeps what is slow to make: packages, kernels, archives, compiled programs, logs.

Everything lands under one folder (`build/vm`, or KMODGUARD_VM_CACHE). An entry is made in a temporary
place beside its final one and renamed when complete, so what exists under a final name is whole,
whatever was interrupted; a lock file keeps two test processes from making the same entry twice.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

VM_FOLDER = Path(__file__).resolve().parent.parent
PROJECT = VM_FOLDER.parent.parent


class MachineError(Exception):
    """Whatever went wrong with the test machine itself; the message says what, where and what to do."""


def cache_folder() -> Path:
    """The cache's root, made if it is missing."""
    folder = Path(os.environ.get("KMODGUARD_VM_CACHE") or PROJECT / "build" / "vm").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Holds the cache's lock of this name against other processes and threads."""
    locks = cache_folder() / "locks"
    locks.mkdir(exist_ok=True)
    with open(locks / name.replace("/", "-"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cached(path: Path, make: Callable[[Path], None]) -> Path:
    """Returns `path`; if it is not there, `make` builds it (a file or a folder) at the path given to it."""
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.name):
        if path.exists():
            return path
        scratch = Path(tempfile.mkdtemp(prefix=".making-", dir=path.parent))
        try:
            scratch.chmod(0o755)
            make(scratch / path.name)
            os.rename(scratch / path.name, path)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return path


def content_key(*parts: Path | str | bytes) -> str:
    """A short name for a set of inputs: files by their content, texts and bytes as they are."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            part = part.read_bytes()
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:16]


def file_stamp(path: Path) -> str:
    """A text that changes when the file does, without reading it: for folders of many big files."""
    info = path.lstat()
    link = os.readlink(path) if path.is_symlink() else ""
    return f"{path}\0{info.st_mode}\0{info.st_size}\0{info.st_mtime_ns}\0{info.st_ino}\0{link}\n"
