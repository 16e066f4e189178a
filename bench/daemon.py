# SPDX-License-Identifier: AGPL-3.0-only
"""The daemon's own cost on the full index: how long until it serves, and how much memory it takes.

Measured twice. In the test machine, whose clock counts instructions and whose root file system is itself memory, so
that the touched pages of programs and libraries show as shared memory there; and natively, below a root that holds
nothing but a policy and the index, where other programs share some of the libraries.
"""

import os
import random
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from guard import POLICY, policy
from machine import Machine
from machine.guest import compiled
from machine.initramfs import stage_folder
from machine.packages import Kernel
from table import Figure, Goal, Row

FULL = "6.1-full"
DAEMON = "/usr/libexec/kmodguard/kmodguard"
PINS = "/sys/fs/bpf/kmodguard"
READY = Path(__file__).with_name("ready.cpp")
ALLOWED = 150
DECISIONS = 100
REPEAT = 9
NATIVE_START_GOAL = Goal(30e6, "ns")
# By kernel: what a first start may cost that loads the kernel point's programs, and one that takes over what is loaded. The first are
# 0.45 and 0.36 times what commit c805035 took, 531 M and 447 M.
FIRST_START_GOALS = {"6.1": 239e6, "6.12": 161e6}
TAKE_OVER_GOALS = {"6.1": 20e6, "6.12": 20e6, FULL: 30e6}
MEMORY_GOAL = Goal(8 * 1024, "KiB")


def sample(kernel: Kernel) -> tuple[list[str], list[str]]:
    """Some modules to allow, and some tokens to ask for, the same in every run."""
    chosen = random.Random(1)
    lines = (kernel.modules / "modules.dep").read_text().splitlines()
    modules = sorted(Path(line.split(":")[0]).name.split(".")[0].replace("-", "_") for line in lines)
    tokens = chosen.sample(aliases_of(kernel), DECISIONS)
    return chosen.sample(modules, ALLOWED), tokens


def aliases_of(kernel: Kernel) -> list[str]:
    """A token for each alias of the kernel, sorted by alias."""
    aliases = sorted(line.split()[1] for line in (kernel.modules / "modules.alias").read_text().splitlines()
                     if line.startswith("alias ") and not re.search(r"[\[\\]", line))
    return [alias.replace("*", "0").replace("?", "0") for alias in aliases]


def memory(rollup: str) -> dict[str, float]:
    """The PSS lines of a smaps_rollup, in KiB: Pss, Pss_Anon, Pss_File, Pss_Shmem and others."""
    return {key: float(value) for key, value in re.findall(r"^(Pss\w*):\s+(\d+) kB", rollup, re.M)}


def memory_row(what: str, rollup: str) -> Row:
    found = memory(rollup)
    written = f"{found['Pss_Anon'] / 1024:.1f} MiB of it written"
    return Row(f"memory {what} ({written})", Figure((found["Pss"],), "KiB"), goal=MEMORY_GOAL)


def memory_rows(where: str, start: Callable[[list[str]], Callable[[], str]], ask: Callable[[list[str]], None],
                kernel: Kernel) -> Iterator[Row]:
    """`start` runs the daemon anew with these modules allowed, and returns what reads its smaps_rollup."""
    modules, tokens = sample(kernel)
    rollup = start([])
    yield memory_row(f"{where}, nothing allowed, after start", rollup())
    ask(tokens)
    yield memory_row(f"{where}, nothing allowed, after {DECISIONS} decisions", rollup())
    rollup = start(modules)
    yield memory_row(f"{where}, {ALLOWED} modules allowed, warmed up", rollup())
    ask(tokens)
    yield memory_row(f"{where}, {ALLOWED} modules allowed, after {DECISIONS} decisions", rollup())


def start_rows(vm: Machine, kernel: str) -> Iterator[Row]:
    """From fork to ready, with the kernel point."""
    def row(what: str, before: str, goals: dict[str, float]) -> Row:
        once = f"{before}ready 1 {DAEMON} 2>/dev/null || exit 1; "
        taken = vm.run(once * REPEAT, timeout=900, check=True).stdout.split()
        goal = Goal(goals[kernel], "guest ns") if kernel in goals else None
        return Row(f"{kernel}: daemon, from fork to ready, {what}, in instructions", Figure(tuple(map(float, taken)), "guest ns"), goal=goal)

    # What a removed set leaves the kernel to do is done in the pause.
    yield row("a first start", f"rm -rf {PINS}; sleep 2; ", FIRST_START_GOALS)
    yield row("a start that takes over what is loaded", "", TAKE_OVER_GOALS)


def starts(kernel: str) -> Iterator[Row]:
    """Those of a cloud kernel, with few modules."""
    with Machine(kernel, counting=True, files={"/usr/bin/ready": compiled(READY), POLICY: policy(allow=["af_key", "loop"])},
                 boot_timeout=600, name=f"bench-daemon-{kernel}") as vm:
        yield from start_rows(vm, kernel)


def in_machine() -> Iterator[Row]:
    """The rows measured in the test machine with the full index, 150 modules being allowed."""
    with Machine(FULL, counting=True, files={"/usr/bin/ready": compiled(READY)}, boot_timeout=600,
                 name="bench-daemon") as vm:
        modules, _ = sample(vm.kernel)
        vm.put(POLICY, policy(allow=modules))
        yield from start_rows(vm, FULL)

        def start(allow: list[str]) -> Callable[[], str]:
            vm.put(POLICY, policy(allow=allow))
            vm.run("kmodctl stop; kmodctl start", check=True)
            vm.run("sleep 5", timeout=300)  # the warm-up runs while nobody asks

            def rollup() -> str:
                return vm.run("cat /proc/$(pidof kmodguard)/smaps_rollup", check=True).stdout

            return rollup

        def ask(tokens: list[str]) -> None:
            vm.run("kmodctl check " + " ".join(f"'{token}'" for token in tokens), timeout=300)

        yield from memory_rows("in the machine", start, ask, vm.kernel)


def link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # on another file system
        shutil.copy2(source, target)


class Native:
    """The daemon on this host, below a root of its own."""

    def __init__(self, kernel: Kernel, root: Path, program: Path | None = None) -> None:
        self.root = root
        self.socket = root / "run/kmodguard/daemon.sock"
        self._process: subprocess.Popen[bytes] | None = None
        (root / "etc/kmodguard").mkdir(parents=True)
        # A link would be followed below the root, where nothing is.
        shutil.copytree(kernel.modules, root / "lib/modules" / os.uname().release, copy_function=link_or_copy)
        self.program = program or stage_folder() / DAEMON.lstrip("/")

    def write_policy(self, allow: list[str], deny: Sequence[str] = ()) -> None:
        (self.root / POLICY.lstrip("/")).write_text(policy(allow=allow, deny_aliases=deny))

    def start(self, allow: list[str], deny: Sequence[str] = (), options: Sequence[str] = ()) -> Callable[[], str]:
        self.stop()
        self.write_policy(allow, deny)
        done, ready = os.pipe()
        self._process = process = subprocess.Popen(
            [self.program, f"--root={self.root}", f"--ready-fd={ready}", *options], pass_fds=[ready],
            stderr=subprocess.DEVNULL)
        os.close(ready)
        os.read(done, 1)
        os.close(done)
        time.sleep(2)
        return lambda: Path(f"/proc/{process.pid}/smaps_rollup").read_text()

    def ask(self, tokens: list[str]) -> None:
        """Asks for each, one request after the other on one connection."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.socket))
            answers = connection.makefile("r")
            for token in tokens:
                connection.sendall(f"CHECK {token}\n".encode())
                while not answers.readline().startswith(("OK", "DENY", "ERR")):
                    pass

    def end(self) -> float:
        """Has it end by itself, with all written that it has to write. The seconds of processor time of its whole life."""
        assert self._process
        self._process.terminate()
        _, self._process.returncode, usage = os.wait4(self._process.pid, 0)
        self._process = None
        return usage.ru_utime + usage.ru_stime

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid


def on_host(kernel: Kernel) -> Iterator[Row]:
    """The rows measured natively."""
    with tempfile.TemporaryDirectory(prefix="kmodguard-bench-") as folder:
        daemon = Native(kernel, Path(folder))
        daemon.write_policy(sample(kernel)[0])
        command = [compiled(READY), str(REPEAT), daemon.program, f"--root={folder}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        yield Row("daemon, from fork to ready, natively", Figure(tuple(map(float, done.stdout.split())), "ns"),
                  goal=NATIVE_START_GOAL)
        try:
            yield from memory_rows("natively", daemon.start, daemon.ask, kernel)
        finally:
            daemon.stop()
