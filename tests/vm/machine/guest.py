# SPDX-License-Identifier: AGPL-3.0-only
"""Compiles the small programs that run inside the guest: the agent, the tools of every guest, and a test's own.

They are static, so that they run on any root file system, and cached by their source.
"""

import subprocess
from pathlib import Path

from .cache import VM_FOLDER, MachineError, cache_folder, cached, content_key

COMPILER = ["/usr/bin/g++", "-std=c++23", "-O2", "-Wall", "-Wextra", "-static", "-s"]


def compiled(source: Path) -> Path:
    """The static program made of one C++ source file."""
    key = content_key(source, *COMPILER)
    target = cache_folder() / "guest" / f"{source.stem}-{key}"

    def build(path: Path) -> None:
        try:
            done = subprocess.run([*COMPILER, str(source), "-o", str(path)], capture_output=True, text=True)
        except FileNotFoundError:
            raise MachineError(f"no compiler {COMPILER[0]}: install g++ (scripts/bootstrap does)") from None
        if done.returncode != 0:
            raise MachineError(f"could not compile {source}:\n{done.stderr}")

    return cached(target, build)


def agent() -> Path:
    return compiled(VM_FOLDER / "guest" / "agent.cpp")


def tools() -> dict[str, Path]:
    """The programs that a guest has in /usr/bin, by their names there."""
    return {name: compiled(VM_FOLDER / "guest" / f"{name}.cpp") for name in ("requester", "loader", "await")}
