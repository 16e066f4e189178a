# SPDX-License-Identifier: AGPL-3.0-only
"""Runs a guest of the guest point, by itself or under `kmodctl guest`, and collects what came of it.

    outcome = run("arm64", ["/usr/sbin/insmod /m/brd.ko rd_nr=2"], guard=Guard(policy=POLICY))
    assert outcome.steps[0].status == 0 and outcome.attempts == ["/m/brd.ko"]

    with start("amd64-6.1", guard=Guard()) as guest:  # a shell, for tests that interfere in the middle
        guest.do("busybox insmod /m/loop.ko")

The guest's console is the standard input and output of QEMU, and so of kmodctl. Beside it there is QEMU's monitor (QMP):
it tells that the machine stands at a breakpoint, without anybody having to wait and guess.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from waiting import exit_status, wait_for

from . import foreign, foreign_root, symbols
from .cache import MachineError, cache_folder
from .channel import MachineTimeout
from .initramfs import stage_folder
from .monitor import Monitor
from .qemu import TAIL, Console, log_name, test_name

TIMEOUT = 300  # seconds for a boot, a step or an end; far more than any needs, on however busy a machine
Files = Mapping[str, bytes | str | Path]


@dataclass(frozen=True)
class Guard:
    """How kmodctl is to watch a guest."""

    policy: str | None = None  # the text of a policy file; None: no --policy
    options: Sequence[str] = ()
    suffix: str = ".toml"  # of the policy's file
    symbols: Path | None = None  # None: the kernel's own
    qemu: str | None = None  # another program in QEMU's place


@dataclass(frozen=True)
class Step:
    """One command that the guest has run."""

    status: int
    output: str  # of both its outputs, without the last line's end


@dataclass(frozen=True)
class Outcome:
    """A guest that has ended."""

    status: int  # kmodctl's, or QEMU's own; minus the signal
    console: str
    errors: str  # what kmodctl and QEMU said on standard error
    steps: list[Step]
    attempts: list[str]  # the lines of modules.log
    events: list[dict] = field(repr=False)  # those of events.jsonl, in the order of the attempts

    def judged(self) -> list[tuple[str, str, str]]:
        """Module, verdict and answer of each attempt to load."""
        return [("".join(module["module"] for module in event["modules"]), event["verdict"], event["answer"])
                for event in self.events]


def run(name: str, commands: Sequence[str], *, guard: Guard | None = None, files: Files = {}, cpus: int = 1,
        cmdline: str = "nokaslr", arguments: Sequence[str] = (), timeout: float = TIMEOUT) -> Outcome:
    """Boots the guest, has it run the commands one after the other, and waits for its end."""
    scenario = {f"/scenario/{number:04}": command + "\n" for number, command in enumerate(commands)}
    with start(name, guard=guard, files={**scenario, **files}, cpus=cpus, cmdline=cmdline, arguments=arguments) as guest:
        guest.wait_end(timeout)
        guest.wait_console_end()
        if (ended := len(steps(guest.console))) != len(commands):
            raise MachineError(f"{name} ran {ended} of {len(commands)} steps{guest.circumstances()}")
    return guest.outcome


@contextlib.contextmanager
def start(name: str, *, guard: Guard | None = None, files: Files = {}, cpus: int = 1, cmdline: str = "nokaslr",
          arguments: Sequence[str] = ()) -> Iterator["ForeignGuest"]:
    """Starts the guest, which waits for commands over its console unless `files` has a scenario. At the end it is killed."""
    with tempfile.TemporaryDirectory(prefix="run-", dir=cache_folder()) as folder:
        guest = ForeignGuest(name, Path(folder), guard)
        try:
            foreign_root.image(guest.folder / "initrd", name, dict(files))
            guest.start(foreign.command_line(name, guest.folder / "initrd", cpus=cpus, cmdline=cmdline, arguments=arguments))
            yield guest
        finally:
            guest.close()


class ForeignGuest:
    """A running guest; made by `start`."""

    def __init__(self, name: str, folder: Path, guard: Guard | None) -> None:
        self.name = name
        self.folder = folder
        self.logs = folder / "log"
        self.outcome: Outcome
        self._guard = guard
        self._policy: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._console: Console | None = None
        self._monitor: Monitor | None = None
        self._attached: list[subprocess.Popen[bytes]] = []
        self._next = 0

    # --- life

    def start(self, qemu: list[str]) -> None:
        logs = cache_folder() / "logs"
        logs.mkdir(exist_ok=True)
        self.log = logs / f"{log_name(test_name())}.log"
        control = self.folder / "monitor"
        qemu += ["-qmp", f"unix:{control},server=on,wait=off", "-pidfile", str(self.folder / "pid")]
        command = self._guarded(self._guard, qemu) if self._guard else qemu
        ours, theirs = socket.socketpair()
        with open(self.folder / "errors", "wb") as errors:
            try:
                self._process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=errors)
            except FileNotFoundError:
                raise MachineError(f"there is no {command[0]}: run `make stage` and scripts/bootstrap") from None
        theirs.close()
        self._input = ours
        self._console = Console(ours, self.log)
        self._monitor = Monitor(control)

    def _guarded(self, guard: Guard, qemu: list[str]) -> list[str]:
        qemu = [guard.qemu or qemu[0], *qemu[1:]]
        return [*self.kmodctl(guard), "--", *qemu]

    def kmodctl(self, guard: Guard) -> list[str]:
        """The command line of `kmodctl guest` without what follows the options."""
        command = [str(stage_folder() / "usr/bin/kmodctl"), "guest", "--log-dir", str(self.logs),
                   "--symbols", str(guard.symbols or symbols.kallsyms(self.name)), *guard.options]
        if guard.policy is not None:
            self._policy = self.folder / f"policy{guard.suffix}"
            self._policy.write_text(guard.policy)
            command += ["--policy", str(self._policy)]
        return command

    def close(self) -> None:
        """Ends whatever of it still runs, and reads what it has left."""
        for process in [*self._attached, self._process]:
            if process and process.poll() is None:
                process.kill()
        self._kill_qemu()
        if self._process:
            self._process.wait()
        if self._monitor:
            self._monitor.close()
        if self._console:
            self._console.close()
            self.outcome = self._collected()

    def _kill_qemu(self) -> None:
        """QEMU outlives a kmodctl that was killed."""
        if pid := self._qemu():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _qemu(self) -> int | None:
        """Its process number, which it writes into a file at its start; None if it does not run."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
            pid = int((self.folder / "pid").read_text())
            if str(self.folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        return None

    def processor_time(self) -> int:
        """What QEMU's threads have had of the host's processors, nanoseconds."""
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in Path(f"/proc/{self._qemu()}/task").iterdir())

    @property
    def qemu_runs(self) -> bool:
        return self._qemu() is not None

    def wait_end(self, timeout: float = TIMEOUT) -> int:
        """Waits until the guest, and kmodctl with it, has ended; the status."""
        try:
            return exit_status(self._process, timeout)
        except subprocess.TimeoutExpired:
            raise MachineTimeout(f"{self.name} did not end in {timeout} s{self.circumstances()}") from None

    def wait_console_end(self) -> None:
        """Waits for what is still on its way when QEMU has ended."""
        self._console.wait_end(TIMEOUT)

    # --- commands

    def do(self, command: str, timeout: float = TIMEOUT) -> Step:
        """Runs one command (a line) in the guest's shell, and waits for its end."""
        return self.wait_step(self.begin(command), timeout)

    def begin(self, command: str) -> int:
        """Sends one command and does not wait; its number."""
        self.wait_console("@@ready")
        self._next += 1
        self._input.sendall(f"{self._next} {command}\n".encode())
        return self._next

    def wait_step(self, number: int, timeout: float = TIMEOUT) -> Step:
        self.wait_console(f"@@end {number} ", timeout)
        self.wait_console(re.compile(rf"@@end {number} \d+\n"), timeout)
        return steps(self.console)[str(number)]

    def wait_console(self, text: str | re.Pattern[str], timeout: float = TIMEOUT) -> None:
        """Waits until the console has shown `text`."""
        def shown() -> bool:
            return text in self.console if isinstance(text, str) else bool(text.search(self.console))

        console = self._console
        with console.changed:
            console.changed.wait_for(lambda: shown() or console.ended, timeout)
        if not shown():
            raise MachineTimeout(f"{self.name} did not print {text!r}{self.circumstances()}")

    def wait_stopped(self, timeout: float = TIMEOUT) -> None:
        """Waits until the guest stands at a breakpoint or was stopped by the debugger, and stays there for the moment."""
        self._monitor.wait_status("debug", timeout)

    @property
    def running(self) -> bool:
        """Whether the guest's processors run."""
        return self._monitor.status() == "running"

    def wait_attempts(self, count: int, timeout: float = TIMEOUT) -> None:
        """Waits until so many attempts have been logged."""
        self._wait_for(lambda: len(self.attempts()) >= count, self.logs, f"{count} attempts", timeout)

    def wait_errors(self, text: str, times: int = 1, timeout: float = TIMEOUT) -> None:
        """Waits until kmodctl has said `text` on standard error, so many times."""
        self._wait_for(lambda: self.errors.count(text) >= times, self.folder, f"{text!r} on standard error", timeout)

    def _wait_for(self, condition: Callable[[], bool], folder: Path, what: str, timeout: float) -> None:
        """Waits until `condition` holds, which files in `folder` are looked at for."""
        if not wait_for(condition, folder, timeout=timeout):
            raise MachineTimeout(f"{self.name}: no {what} in {timeout} s{self.circumstances()}")

    # --- kmodctl

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the kmodctl (or QEMU) that started the guest."""
        self._process.send_signal(number)

    def stop_kmodctl(self) -> None:
        """Stops it, so that it answers no breakpoint from now on."""
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def kill_kmodctl(self) -> None:
        """Kills it and waits until it is gone; QEMU stays."""
        self._process.kill()
        self._process.wait()

    def debugger_socket(self) -> str:
        """Where kmodctl said that the guest can be debugged."""
        return re.search(r"^kmodctl: debugger socket: (.+)$", self.errors, re.MULTILINE)[1]

    def attach(self, guard: Guard, stub: str = "") -> subprocess.Popen[bytes]:
        """Another kmodctl for a running guest with `nokaslr`, by the socket `stub` or the one that the first one named.

        It ends with `close` at the latest.
        """
        with open(self.folder / "errors", "ab") as errors:
            command = [*self.kmodctl(guard), "--gdb", stub or self.debugger_socket(), "--kaslr-offset", "0",
                       "--architecture", foreign.guest(self.name).architecture]
            attached = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
        self._attached.append(attached)
        return attached

    # --- what there is to see

    @property
    def console(self) -> str:
        return self._console.text

    @property
    def errors(self) -> str:
        return (self.folder / "errors").read_text(errors="replace")

    def attempts(self) -> list[str]:
        """The lines of modules.log so far."""
        log = self.logs / "modules.log"
        return log.read_text().splitlines() if log.exists() else []

    def events(self) -> list[dict]:
        """The events so far, in the order of the attempts."""
        log = self.logs / "events.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        return sorted((json.loads(line) for line in lines), key=lambda event: event["time"])

    def circumstances(self) -> str:
        return (f"\n--- guest {self.name}, log {self.log}\n--- kmodctl and QEMU said\n{self.errors}"
                f"\n--- the console's end\n{self.console[-TAIL:]}")

    def _collected(self) -> Outcome:
        return Outcome(self._process.returncode, self.console, self.errors, list(steps(self.console).values()),
                       self.attempts(), self.events())


def steps(console: str) -> dict[str, Step]:
    """The steps that have ended, by their numbers, in the order of their ends."""
    found = re.findall(r"@@begin (\S+)\n(.*?)\n@@end \1 (\d+)\n", console, re.DOTALL)
    return {number: Step(int(status), output.removesuffix("\n")) for number, output, status in found}
