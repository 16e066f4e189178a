# SPDX-License-Identifier: AGPL-3.0-only
"""The symbols of a guest's kernel, as /proc/kallsyms shows them where nothing is randomised or hidden.

Debian's packages bring a System.map that is only a stub. So the guest is booted once, without a guard, and prints
what it has over its console, packed; the text is kept for each kernel.
"""

import base64
import gzip
import re
import subprocess
from pathlib import Path

from . import foreign, foreign_root
from .cache import MachineError, cache_folder, cached

DUMP = "gzip -1 </proc/kallsyms | base64"
TIMEOUT = 900  # seconds: a boot and some MB over a serial line, on however busy a machine


def kallsyms(name: str) -> Path:
    """The file with the symbols of the guest `name`, for a boot with `nokaslr`."""
    kernel = foreign.kernel(name)

    def build(path: Path) -> None:
        initrd = path.with_name("initrd")
        foreign_root.image(initrd, name, {"/scenario/1": DUMP})
        path.write_bytes(dumped(name, foreign.command_line(name, initrd, cmdline="nokaslr")))

    return cached(cache_folder() / "symbols" / f"{kernel.folder.name}.txt", build)


def dumped(name: str, command: list[str]) -> bytes:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT)
    except FileNotFoundError:
        raise MachineError(f"the host has no {command[0]}: scripts/bootstrap installs it") from None
    except subprocess.TimeoutExpired as error:
        raise MachineError(f"{name} printed no symbols in {TIMEOUT} s: {(error.stdout or b'')[-1000:]!r}") from None
    found = re.search(rb"@@begin 1\s+(.*?)\s+@@end 1 0\s", done.stdout, re.DOTALL)
    if not found:
        raise MachineError(f"{name} printed no symbols: {done.stdout[-1000:]!r} {done.stderr[-1000:]!r}")
    text = gzip.decompress(base64.b64decode(found[1]))
    if not re.search(rb"^0*[1-9a-f][0-9a-f]* T load_module$|^0*[1-9a-f][0-9a-f]* t load_module$", text, re.MULTILINE):
        raise MachineError(f"the symbols of {name} have no address for load_module: {text[:300]!r}")
    return text
