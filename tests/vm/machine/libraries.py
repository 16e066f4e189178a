# SPDX-License-Identifier: AGPL-3.0-only
"""Which shared libraries a host's program needs: they go into the guest with it."""

import re
import subprocess
from functools import cache
from pathlib import Path


def is_elf(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


@cache
def libraries(program: Path) -> tuple[Path, ...]:
    """Every library that the dynamic loader would load, and the loader itself; nothing for a static program."""
    done = subprocess.run(["/usr/bin/ldd", str(program)], capture_output=True, text=True)
    return tuple(Path(found) for found in re.findall(r"(/\S+) \(0x", done.stdout))
