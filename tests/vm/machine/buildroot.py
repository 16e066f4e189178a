# SPDX-License-Identifier: AGPL-3.0-only
"""Builds modules for a kernel of a suite that the host does not use, with that suite's own compiler and tools.

Such a kernel's header packages bring programs that want a newer C library than the host's, and were configured for
a compiler that the host does not have. So they are unpacked with all that they depend on, and make runs
with that as its root, in a mount namespace of its own. The tree (400 MB) is thrown away afterwards.
"""

import os
import subprocess
from pathlib import Path

from . import apt
from .cache import MachineError
from .cpio import MERGED

# What Kbuild runs and the headers' dependencies do not name: they take it for granted on any Debian.
TOOLS = ["coreutils", "dash", "diffutils", "findutils", "grep", "make", "mawk", "sed"]
SOURCES = "build"  # where in the tree the modules' sources go
# objtool and the shell want these two.
ENTER = 'mount --rbind /dev "$0/dev" && mount --rbind /proc "$0/proc" && exec chroot "$0" "$@"'


def unpack(headers: list[str], options: tuple[str, ...], root: Path) -> None:
    """Makes the tree: the header packages, what they depend on, and the tools."""
    for package in apt.closure([*headers, *TOOLS], options):
        apt.unpack(apt.download(package, options), root)
    for name, target in MERGED.items():
        if not (root / name).exists():
            (root / name).symlink_to(target)
    (root / "usr/bin/awk").symlink_to("mawk")  # otherwise made by mawk's maintainer script
    for name in ("dev", "proc", "tmp", SOURCES):
        (root / name).mkdir(exist_ok=True)


def run_make(root: Path, release: str) -> None:
    """Kbuild, as on a real machine of that suite."""
    # Without root's rights, a user namespace gives them inside the tree.
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    make = ["make", "-C", f"/usr/src/linux-headers-{release}", f"M=/{SOURCES}", "modules"]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    done = subprocess.run([*unshare, "sh", "-c", ENTER, str(root), *make], capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise MachineError(f"could not build the test modules for {release}: `{' '.join(make)}` in the root {root} said\n"
                           f"{done.stdout}{done.stderr}")
