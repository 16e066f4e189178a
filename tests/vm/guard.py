# SPDX-License-Identifier: AGPL-3.0-only
"""kmodguard in the test machine: fixtures that start it with a policy, each test on a machine of its own.

For each kernel a machine is prepared and saved twice, before kmodguard was started and after. Every test goes on from one of
the two, so that it finds nothing of what the others did, and nothing has to be undone.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from machine import Command, Machine, Result
from machine.cache import content_key
from machine.guest import compiled
from machine.prepared import prepared
from machine.states import State

KERNELS = ["6.1", "6.12"]
POLICY = "/etc/kmodguard/policy.toml"
HANDLER = "/proc/sys/kernel/modprobe"
HOOK = "/usr/libexec/kmodguard/kmodguard-hook"
ORIGINAL = "/run/kmodguard/original_modprobe"
LOG = "/var/log/messages"
RAW = "/tmp/raw"  # has the test modules uncompressed, in a machine that UNPACK was run in
UNPACK = (f"mkdir -p {RAW} && cd /lib/modules/*/updates && for file in *; do case $file in *.xz) xz -dc $file >{RAW}/${{file%.xz}};; "
          f"*) cp $file {RAW}/;; esac; done")
# Makes the index anew, of the test modules alone: the kernel's own are packed, and many, which takes the emulator ten seconds.
DEPMOD = "mkdir -p /etc/depmod.d && echo exclude kernel >/etc/depmod.d/kmg.conf && depmod"
# Talks to a socket by hand.
CLIENT = Path(__file__).parent / "guest/client.cpp"
# Built by the project's own build, since it shares the daemon's code: make vm-test does so.
POWERLESS = Path(os.environ.get("KMODGUARD_BUILD", "build/main")) / "tests/vm/guest/powerless"
FAIL_BPF = POWERLESS.with_name("fail_bpf.so")


def file_of(vm: Machine, module: str) -> str:
    """The file of a test module in the machine's tree."""
    return f"/lib/modules/{vm.kernel.release}/updates/{module}{vm.kernel.module_suffix}"


def raw_file_of(module: str) -> str:
    """The same uncompressed."""
    return f"{RAW}/{module}.ko"


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

    def wait_answer(self, token: str, answer: str) -> None:
        """Asks until the answer is `answer`: the daemon notices a changed index by itself, a moment later than kmodctl reads it."""
        self.vm.run(f"until requester ask '{token}' | grep -qw {answer}; do :; done", check=True)

    def zeros(self, name: str) -> str:
        """A value of the kernel point's map `name`, for bpftool: as many zeros as it has bytes. Not of a sealed machine's maps."""
        shown = self.vm.run(f"bpftool -j map show pinned /sys/fs/bpf/kmodguard/map_{name}", check=True).stdout
        return " ".join(["0"] * json.loads(shown)["bytes_value"])

    def log(self) -> str:
        """What reached syslog."""
        return self.vm.run(f"cat {LOG}").stdout

    def wait_log(self, text: str) -> str:
        """The log, once `text` is in it: events are written after the answer."""
        self.vm.run(f"await {LOG} '{text}'", check=True)
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


@dataclass(frozen=True)
class Prepared:
    """A kernel's machine in the states from which tests go on."""

    kernel: str
    ready: State  # kmodguard is installed, and was never started
    started: State  # it runs; by a policy that allows nothing, unless it was prepared otherwise

    cpus: int = 1

    def machine(self, state: State) -> Machine:
        return Machine(self.kernel, state=state, cpus=self.cpus)


def guarded(name: str, kernel: str, lists: Mapping[str, object] = {}, **parameters: object) -> Prepared:
    """A kernel's machine with syslog, kmg_ask, and kmodguard with the policy of these lists."""
    def prepare(vm: Machine) -> None:
        vm.run(f"modprobe kmg_ask && mkdir -p /var/log && syslogd -O {LOG} && until [ -S /dev/log ]; do :; done", check=True)
        vm.run(UNPACK, check=True)
        vm.save("ready")
        Guard(vm).start(**lists)
        vm.save("started")

    states = prepared(name, kernel, prepare, key=[Path(__file__), policy(**lists)], **parameters)  # type: ignore[arg-type]
    return Prepared(kernel, states["ready"], states["started"], int(parameters.get("cpus", 1)))  # type: ignore[call-overload]


class RunningGuard(Guard):
    """A guard that runs already: to start it with a policy is to reload, the index too. A first start takes the emulator 2 s more."""

    def start(self, **lists: object) -> None:
        self.vm.put(POLICY, policy(**lists).encode())  # type: ignore[arg-type]
        self.ctl("reload", check=True)


class LazyGuard(Guard):
    """A guard whose machine is chosen at its first use: one where kmodguard runs already if the test starts it at once,
    which is then a reload of the test's policy, and else one where it was never started."""

    def __init__(self, prepared: Prepared, opened: contextlib.ExitStack) -> None:
        self._prepared = prepared
        self._opened = opened
        self._machine: Machine | None = None

    @property
    def vm(self) -> Machine:  # type: ignore[override]
        return self._machine or self._go_on(self._prepared.ready)

    def start(self, **lists: object) -> None:
        if self._machine:
            super().start(**lists)
            return
        RunningGuard(self._go_on(self._prepared.started)).start(**lists)

    def _go_on(self, state: State) -> Machine:
        self._machine = self._opened.enter_context(self._prepared.machine(state))
        return self._machine


@pytest.fixture(scope="module", params=KERNELS)
def prepared_machine(request: pytest.FixtureRequest) -> Prepared:
    """Of as many processors as the file of tests says in PROCESSORS."""
    return usual(request.param, getattr(request.module, "PROCESSORS", 1))


def usual(kernel: str, cpus: int, cmdline: str = "") -> Prepared:
    """A machine whose policy allows nothing, which several files of tests go on from."""
    files = {"/usr/bin/powerless": POWERLESS, "/usr/bin/client": compiled(CLIENT)}
    kind = f"-{content_key(cmdline)}" if cmdline else ""
    return guarded(f"guard-{kernel}-{cpus}{kind}", kernel, files=files, cpus=cpus, cmdline=cmdline)


def unload_all_but(machine: Machine, before: set[str]) -> None:
    while extra := machine.loaded() - before:  # what others use goes after them
        gone = [name for name in sorted(extra) if machine.run(f"requester delete {name}").status == 0]
        assert gone, f"cannot unload {extra}"


@contextlib.contextmanager
def undisturbed(machine: Machine) -> Iterator[Guard]:
    """A machine for a test that changes nothing but what is loaded, which is then taken out again."""
    before = machine.loaded()
    yield Guard(machine)
    unload_all_but(machine, before)


class Lasting:
    """A machine that tests marked `leaves_nothing` have one after the other: nine tenths of what a test costs is the
    translation of code that the machine runs for the first time. After a test that has failed it is another one."""

    def __init__(self, make: Callable[[], Machine]) -> None:
        self._make = make
        self._opened = contextlib.ExitStack()
        self._machine: Machine | None = None

    def __enter__(self) -> "Lasting":
        return self

    def __exit__(self, *_: object) -> None:
        self._machine = None
        self._opened.close()

    @contextlib.contextmanager
    def lent(self, session: pytest.Session) -> Iterator[Machine]:
        """The machine for one test, which may load modules: they are taken out again."""
        failed = session.testsfailed
        machine, self._machine = self._machine or self._opened.enter_context(self._make()), None
        before = machine.loaded()
        yield machine
        if session.testsfailed > failed:
            self._opened.close()
            return
        unload_all_but(machine, before)
        self._machine = machine


@pytest.fixture(scope="module")
def lasting(prepared_machine: Prepared) -> Iterator[Lasting]:
    with Lasting(lambda: prepared_machine.machine(prepared_machine.started)) as machine:
        yield machine


@pytest.fixture
def running(prepared_machine: Prepared) -> Iterator[Guard]:
    """For tests that lay something into the machine before they start the guard with their policy."""
    with prepared_machine.machine(prepared_machine.started) as vm:
        yield RunningGuard(vm)


@pytest.fixture
def guard(prepared_machine: Prepared, lasting: Lasting, request: pytest.FixtureRequest) -> Iterator[Guard]:
    with contextlib.ExitStack() as opened:
        if request.node.get_closest_marker("leaves_nothing"):
            yield RunningGuard(opened.enter_context(lasting.lent(request.session)))
        else:
            yield LazyGuard(prepared_machine, opened)
