# SPDX-License-Identifier: AGPL-3.0-only
"""Every module of a real Debian kernel: the load order is modprobe's own, the image says what the file name says.

No machine is booted; the kernel's package is unpacked on this one, and kmodctl looks at it as --root and --kernel.
"""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from machine import packages

KMODCTL = Path(os.environ.get("KMODGUARD_BUILD", "build/main")) / "src/ctl/kmodctl"


def tree_of(kernel: str) -> tuple[Path, str]:
    """A root with the kernel's modules, and its release."""
    found = packages.kernel(kernel)
    return found.root, found.release


def images(root: Path, release: str) -> list[str]:
    found = (root / "usr/lib/modules" / release).rglob("*.ko*")
    return sorted({re.sub(r"\.ko(\.\w+)?$", "", path.name).replace("-", "_") for path in found})


def chains(root: Path, release: str, names: list[str], policy: Path) -> dict[str, dict]:
    """What kmodctl says of each module, every one of them allowed."""
    policy.write_text('version = 1\n[allow]\naliases = ["*"]\n')
    command = [KMODCTL, "--root", root, "check", "--json", "--policy", policy, "--kernel", release, *names]
    done = subprocess.run(command, capture_output=True, text=True)
    return {decision["token"]: decision for decision in map(json.loads, done.stdout.splitlines())}


def by_modprobe(root: Path, release: str, name: str) -> list[str]:
    no_configuration = root / "etc/modprobe.d"  # as kmodctl has it under --root, and not this machine's own
    no_configuration.mkdir(parents=True, exist_ok=True)
    command = ["/sbin/modprobe", "-C", no_configuration, "-d", root, "-S", release, "--show-depends", name]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    order = [Path(line.split()[1]).name.split(".ko")[0].replace("-", "_") for line in lines if line.startswith("insmod ")]
    return list(dict.fromkeys(order))


@pytest.mark.parametrize("kernel", ["6.1-full", "6.12"])
def test_every_module_loads_in_modprobes_order_and_is_what_it_is_called(kernel: str, tmp_path: Path) -> None:
    root, release = tree_of(kernel)
    names = images(root, release)
    assert len(names) > 900
    decisions = chains(root, release, names, tmp_path / "policy.toml")
    for name in names:
        decision = decisions[name]
        assert decision["verdict"] == "allow", decision
        ours = [step["module"] for step in decision["modules"][0]["chain"]]
        assert ours == by_modprobe(root, release, name), name
