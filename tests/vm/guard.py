# SPDX-License-Identifier: AGPL-3.0-only
"""kmodguard in the test machine: fixtures that start it with a policy, and undo all that a test did.

A kernel is booted once for each file of tests; `guard` gives every test the machine with nothing loaded that was not
loaded at boot, no daemon, and the handler that Debian sets.
"""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from machine import Command, Machine, Result
from machine.guest import compiled

KERNELS = ["6.1", "6.12"]
POLICY = "/etc/kmodguard/policy.toml"
HANDLER = "/proc/sys/kernel/modprobe"
HOOK = "/usr/libexec/kmodguard/kmodguard-hook"
ORIGINAL = "/run/kmodguard/original_modprobe"
LOG = "/var/log/messages"
# Talks to a socket by hand.
CLIENT = Path(__file__).parent / "guest/client.cpp"
# Built by the project's own build, since it shares the daemon's code: make vm-test does so.
POWERLESS = Path(os.environ.get("KMODGUARD_BUILD", "build/main")) / "tests/vm/guest/powerless"


def policy(allow: Iterable[str] = (), aliases: Iterable[str] = (), deny: Iterable[str] = (),
           deny_aliases: Iterable[str] = (), mode: str = "enforce", dependencies: bool = True) -> str:
    """A policy file of version 1 with these lists."""
    def listed(names: Iterable[str]) -> str:
        return json.dumps(list(names))
    return (f'version = 1\nmode = "{mode}"\n'
            f"[allow]\nmodules = {listed(allow)}\naliases = {listed(aliases)}\n"
            f"dependencies = {'true' if dependencies else 'false'}\n"
            f"[deny]\nmodules = {listed(deny)}\naliases = {listed(deny_aliases)}\n")


class Guard:
    """The guard in one machine. `vm` is the machine, for all else."""

    def __init__(self, vm: Machine) -> None:
        self.vm = vm

    def start(self, **lists: object) -> None:
        """Writes the policy (the arguments of `policy`) and runs kmodctl start."""
        self.vm.put(POLICY, policy(**lists).encode())  # type: ignore[arg-type]
        self.ctl("start", check=True)

    def ctl(self, arguments: str, check: bool = False, user: str = "root") -> Result:
        return self.vm.run(f"kmodctl {arguments}", check=check, user=user)

    def status(self) -> dict:
        return json.loads(self.ctl("status --json").stdout)

    def request(self, request: str, user: str = "nobody") -> Result:
        """Makes the kernel ask for a module, as an ordinary user."""
        return self.vm.run(f"requester {request}", user=user)

    def ask(self, token: str) -> str:
        """Makes the kernel ask for any token; how its helper ended: "ok", "exit3", or an errno."""
        return self.vm.run(f"requester ask '{token}'", check=False).stdout.split()[-1]

    def log(self) -> str:
        """What reached syslog."""
        return self.vm.run(f"cat {LOG}").stdout

    def wait_log(self, text: str) -> str:
        """The log, once `text` is in it: events are written after the answer."""
        self.vm.run(f"until grep -qF '{text}' {LOG}; do :; done", check=True, timeout=10)
        return self.log()

    def pid(self) -> int:
        return int(self.vm.run("pidof kmodguard", check=True).stdout)

    def kill(self, signal: str = "KILL") -> None:
        """Sends the daemon a signal; after KILL it is gone when this returns."""
        pid = self.pid()
        self.vm.run(f"kill -{signal} {pid}", check=True)
        if signal == "KILL":
            self.vm.run(f"while [ -d /proc/{pid} ]; do :; done", check=True)

    def handler(self) -> str:
        return self.vm.run(f"cat {HANDLER}", check=True).stdout.strip()

    def flood(self, processes: int, repeat: int, request: str) -> Command:
        """That many processes of an ordinary user, each making the request so often."""
        return self.vm.start(f"requester --parallel {processes} --repeat {repeat} {request}", user="nobody")


def restore(vm: Machine, loaded: set[str]) -> None:
    """Brings the machine back to what it was."""
    vm.run("pid=$(pidof kmodguard) && kill -CONT $pid; kmodctl stop || kmodctl disarm --force")
    vm.run(f"echo /sbin/modprobe > {HANDLER}; rm -rf /run/kmodguard /etc/kmodguard /etc/modprobe.d /sys/fs/bpf/kmodguard*; : > {LOG}")
    while extra := vm.loaded() - loaded:
        gone = [name for name in sorted(extra) if vm.run(f"requester delete {name}").status == 0]
        assert gone, f"cannot unload {extra}"


@pytest.fixture(scope="module", params=KERNELS)
def guarded_machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with Machine(request.param, files={"/usr/bin/powerless": POWERLESS, "/usr/bin/client": compiled(CLIENT)}, name=f"{request.module.__name__}-{request.param}") as vm:
        vm.run(f"modprobe kmg_ask && mkdir -p /var/log && syslogd -O {LOG} && until [ -S /dev/log ]; do :; done", check=True)
        vm.loaded_at_start = vm.loaded()  # type: ignore[attr-defined]
        yield vm


@pytest.fixture
def guard(guarded_machine: Machine) -> Iterator[Guard]:
    yield Guard(guarded_machine)
    restore(guarded_machine, guarded_machine.loaded_at_start)  # type: ignore[attr-defined]
