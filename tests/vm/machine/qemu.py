# SPDX-License-Identifier: AGPL-3.0-only
"""A Linux machine for one test: a Debian kernel under QEMU's emulator, ready for commands in a few seconds.

    with Machine(kernel="6.1", stage=False) as vm:
        assert vm.run("uname -r").stdout.startswith("6.1.")

Two serial ports, the console and the command channel, and QEMU's monitor. All are socket pairs that QEMU inherits, so
there is nothing to look for in the file system and a dead QEMU shows as the end of file at once.

A plain machine does not boot: its kernel was booted once, and it goes on from that saved state (states.py), into which its
own files are laid. One that a test saves in the middle of its work is the beginning of any number of others.
"""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
from collections import Counter
from pathlib import Path

from . import initramfs, modules, packages, states
from .cache import MachineError, cache_folder, cached, content_key
from .channel import HANG, Channel, Command, MachineTimeout, Result
from .monitor import Monitor, MonitorError
from .states import State

QEMU = "/usr/bin/qemu-system-x86_64"
# All that the emulator has but what costs it more than it gives: string moves byte by byte, and checks at each access.
PROCESSOR = "max,-erms,-fsrm,-la57,-smap,-pku"
TAIL = 4000  # characters of the console that an error shows
names_used: Counter[str] = Counter()


class MachineDied(MachineError):
    """The guest's kernel panicked, or QEMU ended, while the test still needed it."""


class Console:
    """Everything that the guest writes to its serial console, also kept in a log file."""

    def __init__(self, connection: socket.socket, log: Path) -> None:
        self.changed = threading.Condition()
        self._connection = connection
        self._text = bytearray()
        self._log = open(log, "wb", buffering=0)
        self.ended = False
        self._thread = threading.Thread(target=self._receive, name="console", daemon=True)
        self._thread.start()

    @property
    def text(self) -> str:
        return self._text.decode(errors="replace").replace("\r\n", "\n")

    def note(self, data: bytes) -> None:
        """Adds a line of the harness to the log file, not to the console's text."""
        with self.changed:
            if not self._log.closed:
                self._log.write(data)

    def wait(self, text: str, timeout: float) -> bool:
        """Waits until the console has shown `text`; False if it ended or the time passed without."""
        with self.changed:
            self.changed.wait_for(lambda: text in self.text or self.ended, timeout)
        return text in self.text

    def wait_end(self, timeout: float) -> None:
        """Waits until nothing more can come, because QEMU has ended."""
        self._thread.join(timeout)

    def close(self) -> None:
        """Takes what is still on its way, then closes; call it when QEMU has ended."""
        self._thread.join(10)
        self._connection.close()
        self._log.close()

    def _receive(self) -> None:
        while data := self._connection.recv(65536):
            with self.changed:
                self._text += data
                self._log.write(data)
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()


class Machine:
    """A running guest; a context manager. See tests/vm/README.md for every parameter."""

    def __init__(self, kernel: str = "6.1", *, files: dict[str, bytes | str | Path] | None = None,
                 packages: list[str] | None = None, cmdline: str = "", memory: int | None = None, cpus: int = 1,
                 counting: bool = False, stage: bool = True, init: str = "shell",
                 qemu: list[str] | None = None, boot: bool = False, template: bool = False, state: State | None = None,
                 boot_timeout: float = HANG, name: str = "", saved_to: Path | None = None) -> None:
        self.kernel_name = kernel
        self._files = files or {}
        self._packages = packages or []
        self._cmdline = cmdline
        self._memory = memory
        self._cpus = cpus
        self._counting = counting
        self._stage = stage
        self._init = init
        self._qemu_arguments = qemu or []
        self._boots = boot or counting or init != "shell" or bool(self._qemu_arguments)
        self._template = template
        self._state = state
        self._saved_to = saved_to
        self._boot_timeout = boot_timeout
        self._name = log_name(name or test_name())
        self._process: subprocess.Popen[bytes] | None = None
        self._console: Console | None = None
        self._channel: Channel | None = None
        self._monitor: Monitor | None = None
        self.saved: list[State] = []  # of this machine, in this order

    # --- life

    def contents(self) -> list[str]:
        """What the machine has in it, as parts of a key: the same parts are the same machine."""
        self.kernel = modules.ready_kernel(self.kernel_name)
        present = initramfs.root(self._init)
        files = [content_key(path, *content_of(content)) for path, content in self._files.items()]
        return [self._state_key(), str(self._boots), str(self._packages and initramfs.packages_archive(self._packages, present)),
                str(self._stage and initramfs.stage_archive(present)), *files]

    def __enter__(self) -> "Machine":
        self.kernel = modules.ready_kernel(self.kernel_name)
        logs = cache_folder() / "logs"
        logs.mkdir(exist_ok=True)
        self.log = logs / f"{self._name}.log"
        self._folder = tempfile.TemporaryDirectory(prefix="run-", dir=cache_folder())
        try:
            self._begin(Path(self._folder.name))
        except (MachineTimeout, MonitorError) as error:
            said = type(error)(f"{error}{self._circumstances()}")
            self.__exit__()
            raise said from None
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._folder.cleanup()

    def stop(self) -> None:
        """Ends the machine; the states that were saved of it stay until the end of the `with` block."""
        if self._process:
            self._process.kill()
            self._process.wait()
        for end in (self._console, self._channel, self._monitor):
            if end:
                end.close()
        (Path(self._folder.name) / "memory").unlink(missing_ok=True)

    def _begin(self, folder: Path) -> None:
        """Boots, or goes on from a state; returns when commands can be run."""
        if self._state:
            self._go_on(folder, self._state)
            return
        if self._saved_to:
            self._boot(folder, initramfs.base_archives(self.kernel, self._init),
                       states.arguments(self._saved_to / "booting", self._mebibytes, folder / "window", boots=True, saved=True))
            return
        own = initramfs.own_archives(folder, self._init, self._stage, self._packages, self._files)
        window = folder / "window"
        places = None if self._boots else states.fill_window(window, own)
        if places is None:
            self._boot(folder, [*initramfs.base_archives(self.kernel, self._init), *own])
            return
        self._go_on(folder, self._booted_state())
        device = states.WINDOW_DEVICE
        for at, length in places:
            self.run(f"cd / && /machine/agent window {device} {at} {length} | cpio -idmu", check=True)
        states.empty_window(window)

    def _boot(self, folder: Path, archives: list[Path], arguments: list[str] = []) -> None:
        initrd = folder / "initrd"
        initramfs.join(archives, initrd)
        self._start(["-initrd", str(initrd), *arguments])
        self._channel.wait_ready(self._boot_timeout)
        initrd.unlink()  # the guest has it; a test that is killed leaves little behind

    def _go_on(self, folder: Path, state: State) -> None:
        memory, window = state.memory, folder / "window"
        if self._template:
            memory = folder / "memory"
            states.copy_memory(state.memory, memory)
        self._start([*states.arguments(memory, self._mebibytes, window, boots=False, saved=self._template), "-incoming", "defer"],
                    state.next_number)
        states.restore(self._monitor, state)
        self._channel.go_on()

    def _state_key(self) -> str:
        """The name of the state that this kernel has after it has booted with its root, modules and command line."""
        archives = initramfs.base_archives(self.kernel, self._init)
        version = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True).stdout
        sources = [Path(__file__), Path(states.__file__)]
        key = content_key(*map(str, archives), self.kernel.version, version, *sources)
        return f"{self._kind()}-{key}"

    def _kind(self) -> str:
        return f"{self.kernel.release}-{content_key(self._cmdline, str(self._mebibytes), str(self._cpus))}"

    def _booted_state(self) -> State:
        """This kernel with its root and modules and this command line, booted once and kept."""
        def build(folder: Path) -> None:
            folder.mkdir()
            with Machine(self.kernel_name, stage=False, cmdline=self._cmdline, memory=self._memory, cpus=self._cpus,
                         saved_to=folder, name=f"boot-{self._kind()}", boot_timeout=self._boot_timeout) as booted:
                states.save(booted._monitor, folder, folder / "booting", booted._channel.next_number(), goes_on=False)

        kept = cache_folder() / "states"
        state = cached(kept / self._state_key(), build)
        for old in set(kept.glob(f"{self._kind()}-*")) - {state}:
            shutil.rmtree(old, ignore_errors=True)
        return State(state)

    def save(self, name: str) -> State:
        """The state of this machine, a `template`, as it is now; kept as long as the machine is. It goes on."""
        folder = Path(self._folder.name)
        state = states.save(self._monitor, folder / name, folder / "memory", self._channel.next_number(), goes_on=True)
        self.saved.append(state)
        return state

    def _start(self, arguments: list[str], first_number: int = 1) -> None:
        pairs = [socket.socketpair() for _ in range(3)]
        console, commands, monitor = (pair[0] for pair in pairs)
        ends = [pair[1] for pair in pairs]
        with open(Path(self._folder.name) / "qemu", "wb") as errors:
            self._process = subprocess.Popen(
                [*self._command_line(*(end.fileno() for end in ends)), *arguments], stdin=subprocess.DEVNULL,
                stdout=errors, stderr=errors, pass_fds=[end.fileno() for end in ends])
        for end in ends:
            end.close()
        self._console = Console(console, self.log)
        self._channel = Channel(commands, self._death, self._console.note, first_number)
        self._monitor = Monitor(monitor)

    def _command_line(self, console: int, commands: int, monitor: int) -> list[str]:
        clock = ["-icount", "shift=0,sleep=off", "-accel", "tcg", "-smp", "1"]
        plain = ["-accel", "tcg,thread=multi", "-smp", str(self._cpus)]
        # Without this the crypto code's tests, which run for seconds after a boot, are counted with what is measured.
        quiet = "cryptomgr.notests" if self._counting else ""
        return [
            QEMU, "-M", "q35", "-cpu", "max" if self._counting else PROCESSOR, "-m", str(self._mebibytes), *(clock if self._counting else plain),
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-chardev", f"socket,id=console,fd={console}", "-serial", "chardev:console",
            "-chardev", f"socket,id=commands,fd={commands}", "-serial", "chardev:commands",
            "-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control",
            # One that goes on from a state has these as well: the firmware's tables are made of them.
            "-kernel", str(self.kernel.vmlinuz),
            # no_timer_check: the kernel counts ticks for a while, and panics on a machine that is too busy to send any.
            # norandmaps: the emulator translates a program again for each address that it is at, which is five times the work of running it.
            "-append", f"console=ttyS0 quiet panic=-1 oops=panic no_timer_check norandmaps {initramfs.CMDLINE[self._init]} {quiet} {self._cmdline}",
            *self._qemu_arguments,
        ]

    @property
    def _mebibytes(self) -> int:
        return self._memory or max(packages.source(self.kernel_name).memory, initramfs.MEMORY[self._init])

    # --- commands

    def start(self, command: str, user: str = "root", *, env: dict[str, str] | None = None, input: bytes = b"",
              end: bool = True) -> Command:
        """Starts a shell command as a user of the guest (name or number) and does not wait for it.

        `end=False` keeps its standard input open for Command.send().
        """
        return self._running.start(command, user, env or {}, input, end)

    def run(self, command: str, user: str = "root", timeout: float = HANG, check: bool = False, *,
            env: dict[str, str] | None = None, input: bytes = b"") -> Result:
        """Runs a shell command to its end; with `check` a status other than 0 raises CommandFailed."""
        started = self.start(command, user, env=env, input=input)
        try:
            return started.wait(timeout, check)
        except MachineTimeout as error:
            raise MachineTimeout(f"{error}{self._circumstances()}") from None

    def put(self, path: str, content: bytes | str | Path, mode: int = 0o644) -> None:
        """Writes a file of the guest, making its folder. Big files are quicker as `files` of the machine."""
        data = content.read_bytes() if isinstance(content, Path) else content
        self._running.put(path, data.encode() if isinstance(data, str) else data, mode)

    def get(self, path: str) -> bytes:
        """The content of a file of the guest."""
        return self._running.get(path)

    def loaded(self) -> set[str]:
        """The names of the modules that are loaded now."""
        return {line.split()[0] for line in self.get("/proc/modules").decode().splitlines()}

    def wait_booted(self, timeout: float = HANG) -> str:
        """For a systemd machine: waits until every unit is up and udev has loaded what it loads by itself.

        Returns systemd's word for the state: "running", or "degraded" when a unit has failed.
        """
        state = self.run("systemctl is-system-running --wait", timeout=timeout).stdout.strip()
        self.run("udevadm settle", timeout=timeout, check=True)
        return state

    # --- the console

    @property
    def console(self) -> str:
        """Everything that the serial console has shown so far."""
        return self._console.text if self._console else ""

    def wait_console(self, text: str, timeout: float = HANG) -> None:
        """Waits until the console has shown `text`."""
        if not self._console.wait(text, timeout):
            raise MachineTimeout(f"the console did not show {text!r} in {timeout} s{self._circumstances()}")

    def wait_end(self, timeout: float = HANG) -> None:
        """Waits until the machine has ended by itself (poweroff, reboot, a wanted panic)."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise MachineTimeout(f"the machine did not end in {timeout} s{self._circumstances()}") from None

    @property
    def _running(self) -> Channel:
        if self._channel is None:
            raise MachineError("the machine is not running: use it in a `with` block")
        return self._channel

    def _death(self, what: str) -> MachineDied:
        """Says why the machine ended; called when its channel has closed."""
        try:
            status = f"QEMU's status {self._process.wait(10)}"
        except subprocess.TimeoutExpired:
            status = "QEMU still runs"
        self._console.wait_end(5)
        if re.search(r"Kernel panic|Oops:|BUG:", self.console):
            what = f"the guest's kernel panicked: {what}"
        return MachineDied(f"{what} ({status}){self._circumstances()}")

    def _circumstances(self) -> str:
        errors = Path(self._folder.name) / "qemu"
        said = errors.read_text(errors="replace").strip() if errors.exists() else ""
        return (f"\n--- kernel {self.kernel_name}, log {self.log}" + (f"\n--- QEMU said\n{said}" if said else "")
                + f"\n--- the console's end\n{self.console[-TAIL:]}")


def content_of(content: bytes | str | Path) -> list[Path] | list[bytes] | list[str]:
    """A file of a machine, or all files of a folder, as parts of a key."""
    if isinstance(content, Path):
        return sorted(path for path in content.rglob("*") if path.is_file()) if content.is_dir() else [content]
    return [content]  # type: ignore[return-value]


def test_name() -> str:
    """A file name for the log: pytest's current test, or this process."""
    current = os.environ.get("PYTEST_CURRENT_TEST", f"process-{os.getpid()}").rsplit(" ", 1)[0]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", current.rsplit("/", 1)[-1]).strip("-")[:150]


def log_name(name: str) -> str:
    """The name itself for a test's first machine, with a number for those after it."""
    names_used[name] += 1
    return name if names_used[name] == 1 else f"{name}-{names_used[name]}"
