# SPDX-License-Identifier: AGPL-3.0-only
"""make demo where there is no QEMU: the process point alone, on this machine's own kernel, with images that no kernel can load.

Each row hands the kernel an image, first as it is and then under `kmodctl exec`. What the kernel itself says of such an image is an
error as well ("Exec format error", or "Function not implemented" where it takes no modules at all), and that is what an allowed one
must come back with; "Operation not permitted" is the policy's. A row that does not end so makes the demo fail.
"""

import json
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "fixtures/images"))

from images import module_image

KMODCTL = os.environ["KMODGUARD_STAGE"] + "/usr/bin/kmodctl"
REFUSED = "Operation not permitted"
POLICY = """\
version = 1

[allow]
modules = ["kmodguard_demo_good"]
"""
# init_module from memory, by a program of one's own.
FROM_MEMORY = """import ctypes, os, sys; image = open(sys.argv[1], "rb").read(); libc = ctypes.CDLL(None, use_errno=True)
call = {"x86_64": 175, "aarch64": 105, "riscv64": 105}[os.uname().machine]
sys.exit(libc.syscall(call, image, ctypes.c_ulong(len(image)), b"") and os.strerror(ctypes.get_errno()))"""


@dataclass(frozen=True)
class Load:
    what: str
    command: list[str]
    options: tuple[str, ...] = ()
    expected: str = REFUSED  # "" for success, "kernel" for what the kernel itself says


LOADS = [
    Load("insmod good.ko", ["insmod", "good.ko"], expected="kernel"),
    Load("insmod evil.ko", ["insmod", "evil.ko"]),
    Load("evil.ko copied to good.ko, insmod good.ko", ["insmod", "renamed/good.ko"]),
    Load("an image with two names, one of them allowed", ["insmod", "two_names.ko"]),
    Load("evil.ko from memory, by init_module", [sys.executable, "-c", FROM_MEMORY, "evil.ko"]),
    Load("good.ko from memory, by init_module", [sys.executable, "-c", FROM_MEMORY, "good.ko"], expected="kernel"),
    Load("evil.ko, packed by xz", ["insmod", "evil.ko.xz"]),
    Load("evil.ko by a process in the background, in a session of its own", ["sh", "-c", "setsid -w insmod evil.ko & wait $!"]),
    Load("evil.ko, --answer pretend", ["insmod", "evil.ko"], options=("--answer", "pretend"), expected=""),
]


def answer_to(command: list[str], folder: Path) -> str:
    """The error that the command shows, or nothing if it succeeds."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("process ")]
    return lines[-1].rsplit(": ", 1)[-1] if lines else f"exit status {done.returncode}"


def prepare(folder: Path) -> None:
    good, evil = module_image("kmodguard_demo_good"), module_image("kmodguard_demo_evil")
    (folder / "renamed").mkdir()
    (folder / "good.ko").write_bytes(good)
    (folder / "evil.ko").write_bytes(evil)
    (folder / "renamed/good.ko").write_bytes(evil)
    (folder / "two_names.ko").write_bytes(module_image("kmodguard_demo_evil", modinfo_name="kmodguard_demo_good"))
    (folder / "evil.ko.xz").write_bytes(lzma.compress(evil, check=lzma.CHECK_CRC32))
    (folder / "policy.toml").write_text(POLICY)


def reason(folder: Path) -> str:
    events = (folder / "log/events.jsonl").read_text().splitlines()
    return json.loads(events[-1])["explanation"]


def main() -> int:
    if shutil.which("insmod") is None:
        sys.exit("the demo needs insmod: install the package kmod")
    wrong = []
    print("kmodctl exec on this machine's own kernel, with images that no kernel can load, and this policy:\n")
    print(textwrap.indent(POLICY, "    "))
    print(f"{'load':<48}{'without':<28}{'under kmodctl exec':<28}why")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        for load in LOADS:
            before = answer_to(load.command, folder)
            after = answer_to([KMODCTL, "exec", "--policy", "policy.toml", "--log-dir", "log", *load.options, "--", *load.command], folder)
            why = reason(folder).replace(f"{folder}/", "")
            print(f"{textwrap.shorten(load.what, 46):<48}{before or 'success':<28}{after or 'success':<28}{why}")
            if after != (before if load.expected == "kernel" else load.expected):
                wrong.append(load.what)
    for what in wrong:
        print(f"NOT as the policy says: {what}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
