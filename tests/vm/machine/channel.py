# SPDX-License-Identifier: AGPL-3.0-only
"""The host's end of the command channel: frames over a serial port to the guest's agent (guest/agent.cpp).

A thread reads what the guest sends and wakes whoever waits for it, so nothing here polls or sleeps. Any
number of commands run at once; each is a Command that can be waited for, fed and killed.
"""

import itertools
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from .cache import MachineError

HEADER = struct.Struct("<4sc3xII")
MAGIC = b"KMGv"
HANG = 300.0  # seconds until what does not happen counts as never happening; on a busy machine all takes longer
CHUNK = 16384  # one frame: must fit the guest's serial buffers while its agent does not run


class CommandFailed(MachineError):
    """A command that was to succeed did not."""


class MachineTimeout(MachineError):
    """Something did not happen in the time it was given."""


@dataclass(frozen=True)
class Result:
    """How a command ended: exit status (or minus the signal that killed it) and what it printed."""

    command: str
    status: int
    raw: bytes
    raw_errors: bytes
    seconds: float  # of wall time on the host

    @property
    def stdout(self) -> str:
        return self.raw.decode(errors="surrogateescape")

    @property
    def stderr(self) -> str:
        return self.raw_errors.decode(errors="surrogateescape")

    def __str__(self) -> str:
        return (f"$ {self.command}\nstatus {self.status} after {self.seconds:.2f} s\n"
                f"--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}")


class Command:
    """A command that was started in the guest."""

    def __init__(self, channel: "Channel", number: int, command: str) -> None:
        self.command = command
        self.output = bytearray()
        self.errors = bytearray()
        self.status: int | None = None
        self._channel = channel
        self._number = number
        self._started = time.monotonic()
        self._seconds = 0.0

    @property
    def running(self) -> bool:
        return self.status is None

    def wait(self, timeout: float = HANG, check: bool = False) -> Result:
        """Waits for its end. After `timeout` seconds it is killed and MachineTimeout raised."""
        try:
            self._channel.wait_for(lambda: not self.running, timeout, f"`{self.command}` to end")
        except MachineTimeout as error:
            self.kill(9)
            raise MachineTimeout(f"{error}\nSo far:\n{self._result(-9)}") from None
        result = self._result(self.status or 0)
        if check and result.status != 0:
            raise CommandFailed(f"a command in the guest failed:\n{result}")
        return result

    def wait_output(self, text: str, timeout: float = HANG) -> str:
        """Waits until it or a background child of it has printed `text`; returns all of stdout so far."""
        wanted = text.encode()
        try:
            self._channel.wait_for(lambda: wanted in self.output or wanted in self.errors, timeout,
                                   f"`{self.command}` to print {text!r}")
        except MachineTimeout as error:
            raise MachineTimeout(f"{error}\nSo far:\n{self._result(self.status or 0)}") from None
        return self.output.decode(errors="surrogateescape")

    def send(self, data: bytes, end: bool = False) -> None:
        """Writes to its standard input, which was asked for with start(..., input=b"" or more, end=False)."""
        for at in range(0, len(data), CHUNK):
            self._channel.send(b"I", self._number, data[at : at + CHUNK])
        if end:
            self._channel.send(b"I", self._number, b"")

    def kill(self, signal: int = 15) -> None:
        """Sends a signal to it and its children (its process group)."""
        self._channel.send(b"K", self._number, str(signal).encode())

    def _result(self, status: int) -> Result:
        seconds = (time.monotonic() - self._started) if self.running else self._seconds
        return Result(self.command, status, bytes(self.output), bytes(self.errors), seconds)

    def _ended(self, status: int) -> None:
        self._seconds = time.monotonic() - self._started
        self.status = status


class Channel:
    """Frames over a socket to the agent. `explain` turns the machine's death into an error."""

    def __init__(self, connection: socket.socket, explain: Callable[[str], Exception], log: Callable[[bytes], None],
                 first: int = 1) -> None:
        self.changed = threading.Condition()
        self._connection = connection
        self._explain = explain
        self._log = log
        self._numbers = itertools.count(first)
        self._commands: dict[int, Command] = {}
        self._sending = threading.Lock()
        self._ready = False
        self._closed = ""
        self._acknowledged = 0
        self._thread = threading.Thread(target=self._receive, name="command channel", daemon=True)
        self._thread.start()

    def wait_ready(self, timeout: float) -> None:
        self.wait_for(lambda: self._ready, timeout, "the guest's agent to start")

    def go_on(self) -> None:
        """Tells the agent of a machine that goes on from a saved state what time it is, and gives it chance of its own."""
        self._ready = True
        self.send(b"T", 0, struct.pack("<q", int(time.time())) + os.urandom(32))

    def next_number(self) -> int:
        """A number that no command has had so far, nor will have."""
        return next(self._numbers)

    def start(self, command: str, user: str, environment: dict[str, str], input: bytes, end: bool) -> Command:
        words = [user, command, *(f"{name}={value}" for name, value in environment.items())]
        payload = b"".join(word.encode(errors="surrogateescape") + b"\0" for word in words)
        if len(payload) > CHUNK:
            raise MachineError(f"a command of {len(payload)} bytes does not fit a frame: put it in a file")
        started = self.ask(b"R", payload, command)
        started.send(input, end)
        return started

    def ask(self, kind: bytes, payload: bytes, what: str) -> Command:
        """Sends the first frame of something that the agent is to do."""
        with self.changed:
            number = next(self._numbers)
            started = self._commands[number] = Command(self, number, what)
        self.send(kind, number, payload)
        return started

    def get(self, path: str) -> bytes:
        """The content of a file of the guest."""
        return self.ask(b"G", path.encode(), f"get {path}").wait(check=True).raw

    def put(self, path: str, content: bytes, mode: int) -> None:
        """Writes a file of the guest, making its folder."""
        head = f"{path}\0{mode:o}\0".encode()
        piece = CHUNK - len(head)
        for at in range(0, max(len(content), 1), piece):
            self.ask(b"w" if at else b"W", head + content[at : at + piece], f"put {path}").wait(check=True)

    def send(self, kind: bytes, number: int, payload: bytes) -> None:
        """Sends one frame and waits until the guest has taken it."""
        with self._sending:
            before = self._acknowledged
            try:
                self._connection.sendall(HEADER.pack(MAGIC, kind, number, len(payload)) + payload)
            except OSError as error:
                raise self._explain(f"the command channel broke: {error}") from None
            self.wait_for(lambda: self._acknowledged > before, HANG, "the guest's agent to take a frame")

    def wait_for(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        """Waits for what a received frame may change; the machine's death ends the wait with its cause."""
        with self.changed:
            happened = self.changed.wait_for(lambda: condition() or self._closed, timeout)
            if happened and condition():
                return
        if happened:
            raise self._explain(f"{self._closed} while waiting for {what}")
        raise MachineTimeout(f"waited {timeout} s in vain for {what}")

    def close(self) -> None:
        self._connection.close()
        self._thread.join(10)

    def _receive(self) -> None:
        reason = "the machine ended"
        try:
            while header := self._read(HEADER.size):
                magic, kind, number, length = HEADER.unpack(header)
                if magic != MAGIC:
                    reason = f"the command channel is out of step: got {header!r}"
                    break
                self._handle(kind, number, self._read(length))
        except OSError:
            pass
        with self.changed:
            self._closed = reason
            self.changed.notify_all()

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self._connection.recv(size - len(data))
            if not part:
                return b""
            data += part
        return bytes(data)

    def _handle(self, kind: bytes, number: int, payload: bytes) -> None:
        with self.changed:
            command = self._commands.get(number)
            if kind == b"H":
                self._ready = True
            elif kind == b"A":
                self._acknowledged += 1
            elif command and kind in b"OE":
                if not command.running:
                    self._log(f"[late, from `{command.command}`] ".encode() + payload)
                (command.output if kind == b"O" else command.errors).extend(payload)
            elif command and kind == b"X":
                command._ended(int(payload))
                self._log(f"\n{command._result(int(payload))}\n".encode(errors="surrogateescape"))
            self.changed.notify_all()
