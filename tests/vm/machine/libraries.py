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
    """Every library that the dynamic loader would load, and the loader itself; nothing for a static program. And those that the
    program says it loads later, by notes (https://systemd.io/ELF_DLOPEN_METADATA)."""
    done = subprocess.run(["/usr/bin/ldd", str(program)], capture_output=True, text=True)
    found = [Path(path) for path in re.findall(r"(/\S+) \(0x", done.stdout)]
    notes = subprocess.run(["/usr/bin/readelf", "-p", ".note.dlopen", str(program)], capture_output=True, text=True).stdout
    for soname in re.findall(r'"soname":\["([^"]+)"\]', notes):
        path = installed()[soname]
        found += [path, *libraries(path)]
    return tuple(dict.fromkeys(found))


@cache
def installed() -> dict[str, Path]:
    """The host's libraries, by soname."""
    listed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    return {soname: Path(path) for soname, path in reversed(re.findall(r"^\t(\S+) \(libc6,x86-64.*=> (/\S+)$", listed, re.M))}
