# SPDX-License-Identifier: AGPL-3.0-only
"""Saved states: a machine in the middle of its life, from which any number of machines go on.

A state is two files. QEMU maps the machine's memory from the one, copy on write, so nothing is read that is not used and
the file stays as it is; the other has the devices, some 300 KB of QEMU's migration stream. The capability x-ignore-shared
keeps the memory out of that stream. A machine that is to be saved has its memory in a file of its own.

Files come into a machine that has booted through its window: the memory of a PCI device (ivshmem) that is a file of the
host. The agent maps it and cpio unpacks it, 100 times as fast as the command channel.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .cache import MachineError
from .monitor import Monitor

WINDOW_MEBIBYTES = 128  # a device's memory has a power of two
WINDOW_SLOT = 0x10
WINDOW_DEVICE = f"/sys/bus/pci/devices/0000:00:{WINDOW_SLOT:02x}.0/resource2"
TIMEOUT = 120  # seconds for saving or restoring, which take a fraction of one


@dataclass(frozen=True)
class State:
    """The folder of a saved state."""

    folder: Path

    @property
    def memory(self) -> Path:
        return self.folder / "memory"

    @property
    def devices(self) -> Path:
        return self.folder / "devices"

    @property
    def next_number(self) -> int:
        """The first number of a command that the agent has not seen."""
        return int((self.folder / "number").read_text())


def arguments(memory: Path, mebibytes: int, window: Path, *, boots: bool, saved: bool) -> list[str]:
    """QEMU's, for a machine with its memory in a file, which is only read if the machine is not going to be saved.

    The window's memory is private where QEMU goes on from a state: a shared one it would look for at an address that the
    device has not got yet.
    """
    def share(on: bool) -> str:
        return f"share={'on' if on else 'off'}"

    return ["-object", f"memory-backend-file,id=memory,size={mebibytes}M,mem-path={memory},{share(saved)}",
            "-machine", "memory-backend=memory",
            "-object", f"memory-backend-file,id=window,size={WINDOW_MEBIBYTES}M,mem-path={window},{share(boots)}",
            "-device", f"ivshmem-plain,memdev=window,master=on,addr={WINDOW_SLOT:#x}"]


def fill_window(window: Path, archives: Sequence[Path]) -> list[tuple[int, int]] | None:
    """Writes the window's file; where each archive is in it, and its length. None if they do not fit."""
    sizes = [archive.stat().st_size for archive in archives]
    if sum(sizes) > WINDOW_MEBIBYTES << 20:
        return None
    with open(window, "wb") as whole:
        for archive in archives:
            with open(archive, "rb") as part:
                shutil.copyfileobj(part, whole, 1 << 20)
        whole.truncate(WINDOW_MEBIBYTES << 20)
    return [(sum(sizes[:number]), size) for number, size in enumerate(sizes)]


def empty_window(window: Path) -> None:
    """Takes the archives away again, so that they are no part of what is saved."""
    for size in (0, WINDOW_MEBIBYTES << 20):
        os.truncate(window, size)


def save(monitor: Monitor, folder: Path, memory: Path, next_number: int, *, goes_on: bool) -> State:
    """Saves a machine whose memory is in the file `memory`: a copy of it, or the file itself if the machine does not go on."""
    state = State(folder)
    folder.mkdir(parents=True, exist_ok=True)
    monitor.ask("stop")
    for capability in ("x-ignore-shared", "events"):
        monitor.ask("migrate-set-capabilities", capabilities=[{"capability": capability, "state": True}])
    monitor.ask("migrate", uri=f"exec:cat > '{state.devices}'")
    monitor.wait_migrated(TIMEOUT)
    if goes_on:
        copy_memory(memory, state.memory)
        monitor.ask("cont")
    else:
        monitor.ask("quit")
        memory.rename(state.memory)
    (folder / "number").write_text(str(next_number))
    return state


def restore(monitor: Monitor, state: State) -> None:
    """Brings the state into a QEMU that waits for one (-incoming defer), and lets it run."""
    for capability in ("x-ignore-shared", "events"):
        monitor.ask("migrate-set-capabilities", capabilities=[{"capability": capability, "state": True}])
    monitor.ask("migrate-incoming", uri=f"exec:cat '{state.devices}'")
    monitor.wait_migrated(TIMEOUT)
    monitor.ask("cont")


def copy_memory(source: Path, target: Path) -> None:
    """A copy of a machine's memory, of which a third at most was ever used."""
    done = subprocess.run(["cp", "--sparse=always", str(source), str(target)], capture_output=True, text=True)
    if done.returncode != 0:
        raise MachineError(f"could not copy a machine's memory: {done.stderr.strip()}")
