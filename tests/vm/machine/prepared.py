# SPDX-License-Identifier: AGPL-3.0-only
"""Machines that many tests go on from. Each is prepared once, by the test process that first needs it, and kept in the
cache until something that went into it has changed: the kernel, the staged install, its files, or how it is prepared.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from .cache import cache_folder, cached, content_key
from .qemu import Machine
from .states import State

States = dict[str, State]


def prepared(name: str, kernel: str, prepare: Callable[[Machine], None], *, key: Sequence[str | Path],
             **parameters: object) -> States:
    """The states that `prepare` saves of a machine with these parameters, by the names it gives them.

    `key`: all that `prepare` does differently from one time to another, besides what is in the machine.
    """
    machine = Machine(kernel, template=True, name=name, **parameters)  # type: ignore[arg-type]

    def build(folder: Path) -> None:
        folder.mkdir()
        with machine as vm:
            prepare(vm)
            vm.stop()
            for state in vm.saved:
                state.folder.rename(folder / state.folder.name)

    kept = cache_folder() / "prepared"
    folder = cached(kept / f"{name}-{content_key(*machine.contents(), Path(__file__), *key)}", build)
    for old in set(kept.glob(f"{name}-{'?' * 16}")) - {folder}:
        shutil.rmtree(old, ignore_errors=True)
    return {state.name: State(state) for state in folder.iterdir()}
