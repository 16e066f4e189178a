# SPDX-License-Identifier: AGPL-3.0-only
"""QEMU's monitor (QMP), as far as the tests need it: in what state the machine is, and saving and restoring it."""

import json
import socket
from pathlib import Path

from .cache import MachineError
from .channel import MachineTimeout


class MonitorError(MachineError):
    """QEMU refuses what it was asked, or could not do it, or is gone."""


class Monitor:
    """The monitor behind a socket: one that is connected, or a path, connected at the first question since QEMU makes that
    socket some time after its start."""

    def __init__(self, end: Path | socket.socket) -> None:
        self._end = end
        self._connection: socket.socket | None = None
        self._events: list[dict] = []

    def status(self) -> str:
        """"running", "debug" (at a breakpoint), "paused", ..."""
        return self.ask("query-status")["status"]

    def wait_status(self, wanted: str, timeout: float) -> None:
        """Waits until the machine is in this state. QEMU tells of every change, and may be asked again then."""
        self._events.clear()
        while self.status() != wanted:
            self._next_event(timeout)

    def ask(self, command: str, **arguments: object) -> dict:
        """What a command returns; QEMU's refusal is a MonitorError."""
        if self._connection is None:
            self._connect()
        return self._command(command, arguments)

    def wait_migrated(self, timeout: float) -> None:
        """Waits until the saving or restoring that was asked for is complete."""
        while True:
            event = self._next_event(timeout)
            if event["event"] == "MIGRATION" and event["data"]["status"] in ("completed", "failed"):
                if event["data"]["status"] == "failed":
                    raise MonitorError("QEMU could not save or restore the machine's state")
                return

    def close(self) -> None:
        if self._connection:
            self._connection.close()

    def _connect(self) -> None:
        if isinstance(self._end, Path):
            self._connection = socket.socket(socket.AF_UNIX)
            self._connection.connect(str(self._end))
        else:
            self._connection = self._end
        self._lines = self._connection.makefile("r")
        self._line()  # the greeting
        self._command("qmp_capabilities", {})

    def _command(self, name: str, arguments: dict) -> dict:
        self._connection.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        while True:
            answer = self._line()
            if "error" in answer:
                raise MonitorError(f"QEMU refuses {name}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
            self._events.append(answer)

    def _next_event(self, timeout: float) -> dict:
        if self._events:
            return self._events.pop(0)
        self._connection.settimeout(timeout)
        try:
            return self._line()
        finally:
            self._connection.settimeout(None)

    def _line(self) -> dict:
        try:
            line = self._lines.readline()
        except TimeoutError:
            raise MachineTimeout("the machine did not come to the state that was waited for") from None
        if not line:
            raise MonitorError("QEMU has ended")
        return json.loads(line)
