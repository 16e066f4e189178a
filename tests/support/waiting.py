# SPDX-License-Identifier: AGPL-3.0-only
"""Waits for what the kernel tells of: files that appear, grow or are opened, processes that end.

Nothing here asks again after a while, and nothing sleeps. The timeouts are for what never happens at all.
"""

import contextlib
import ctypes
import os
import select
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Found = TypeVar("Found")

# linux/inotify.h
WRITTEN = 0x00000002 | 0x00000008 | 0x00000080 | 0x00000100  # IN_MODIFY, IN_CLOSE_WRITE, IN_MOVED_TO, IN_CREATE
OPENED = 0x00000020  # IN_OPEN
_libc = ctypes.CDLL(None, use_errno=True)


class FileWatch:
    """Tells that something has happened to files in some folders. A folder that is not there yet is waited for in the
    nearest one above it that is."""

    def __init__(self, *folders: Path, mask: int = WRITTEN) -> None:
        self._folders = folders
        self._mask = mask
        self._fd = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "no inotify instance")
        self._look()

    def wait(self, timeout: float) -> bool:
        """Returns when something has happened since the last call; False if nothing did in `timeout` seconds."""
        happened = bool(select.select([self._fd], [], [], max(0.0, timeout))[0])
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 1 << 16)  # which of them it was does not matter: whoever waits looks for himself
        self._look()
        return happened

    def close(self) -> None:
        os.close(self._fd)

    def _look(self) -> None:
        """Watches what is there. To watch a folder again that is watched changes nothing."""
        for folder in self._folders:
            existing = next(one for one in (folder, *folder.absolute().parents) if one.is_dir())
            mask = self._mask if existing == folder else self._mask | WRITTEN
            if _libc.inotify_add_watch(self._fd, os.fsencode(existing), mask) < 0:
                raise OSError(ctypes.get_errno(), f"cannot watch {existing}")


def wait_for(condition: Callable[[], Found], *folders: Path, timeout: float, mask: int = WRITTEN) -> Found | None:
    """Asks `condition` now and after whatever happens to files in these folders, until it holds. Returns what it
    returned, or None after `timeout` seconds of trying in vain."""
    deadline = time.monotonic() + timeout
    with contextlib.closing(FileWatch(*folders, mask=mask)) as watch:
        while not (found := condition()):
            if not watch.wait(deadline - time.monotonic()):
                return None
    return found


def wait_end(pid: int, timeout: float) -> bool:
    """Returns when the process has ended, whoever's child it is; False if it has not in `timeout` seconds."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], timeout)[0])
    finally:
        os.close(fd)


def exit_status(process: subprocess.Popen, timeout: float) -> int:
    """The status of a child once it has ended (Popen.wait with a timeout would look every now and then). After `timeout`
    seconds it raises subprocess.TimeoutExpired as that does."""
    if process.returncode is None and not wait_end(process.pid, timeout):
        raise subprocess.TimeoutExpired(process.args, timeout)
    return process.wait()


class Gate:
    """A pipe at `path` on which processes wait, one line each, until the test opens it. The test never waits for them: one that has
    died is found by what it did not do."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._path = path
        self._pipe = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def __str__(self) -> str:
        return str(self._path)

    def open(self, line: str = "go") -> None:
        os.write(self._pipe, f"{line}\n".encode())

    def close(self) -> None:
        os.close(self._pipe)
