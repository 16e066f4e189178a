# SPDX-License-Identifier: AGPL-3.0-only
"""Every module of a real Debian kernel: the load order is modprobe's own, the image says what the file name says, and the
compiled index finds what libkmod finds.

No machine is booted; the kernel's package is unpacked on this one, and kmodctl looks at it as --root and --kernel.
"""

import json
import os
import random
import re
import subprocess
from pathlib import Path

import pytest

from images import module_image
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


def compare_with_libkmod(root: Path, release: str) -> list[int]:
    """How many tokens, found ones, and records the compiled index and libkmod agree on."""
    program = Path(os.environ.get("KMODGUARD_BUILD", "build/main")) / "tests/vm/guest/index_oracle"
    done = subprocess.run([program, root, release], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return [int(number) for number in re.findall(r"\d+", done.stdout)]


@pytest.mark.parametrize("kernel", ["6.1-full", "6.12", "7.2"])
def test_the_compiled_index_finds_what_libkmod_finds(kernel: str) -> None:
    tokens, found, records = compare_with_libkmod(*tree_of(kernel))
    assert tokens > 8_000
    assert found > 5_000
    assert records > 1_000


# 40,000 take a minute and more; KMODGUARD_MADE_UP says how many.
MADE_UP = int(os.environ.get("KMODGUARD_MADE_UP", "3000"))
BUSES = ("pci:v0000{0:04X}d0000{1:04X}sv*sd*bc{2:02X}sc*i*", "usb:v{0:04X}p{1:04X}d*dc*dsc*dp*ic{2:02X}isc*ip*in*",
         "of:N*T*Cmade,part{0}-{1}C*", "acpi*:MADE{0:04X}:*", "net-pf-{0}-proto-{1}", "fs-made{0}", "crypto-made(part{0}-{2})",
         "mdio:{2:b}????{0:08b}", "dmi*:svnMade{0}:pn*[0-9]{1}:*")


def test_the_compiled_index_finds_what_libkmod_finds_among_made_up_modules(tmp_path: Path) -> None:
    release = "6.6.6-made-up"
    folder = tmp_path / "lib/modules" / release / "kernel"
    folder.mkdir(parents=True)
    chosen = random.Random(40_000)
    for number in range(MADE_UP):
        aliases = [pattern.format(chosen.randrange(3000), chosen.randrange(3000), chosen.randrange(64))
                   for pattern in chosen.sample(BUSES, 3)]
        (folder / f"made-{number}.ko").write_bytes(module_image(f"made_{number}", aliases=aliases))
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        (folder.parent / name).touch()
    (tmp_path / "etc/modprobe.d").mkdir(parents=True)
    (tmp_path / "etc/modprobe.d/made.conf").write_text("".join(
        f"alias made-up-{number}* made-{number}\noptions made_{number} part={number}\nblacklist made-{number + 1}\n"
        f"install made-{number + 2} /bin/false\nsoftdep made-{number + 3} pre: made-{number} post: made-{number + 1}\n"
        for number in range(0, 400, 7)))
    subprocess.run(["depmod", "-b", tmp_path, release], check=True)
    tokens, found, records = compare_with_libkmod(tmp_path, release)
    assert records >= MADE_UP
    assert found > 3 * MADE_UP
    assert tokens > found
