# SPDX-License-Identifier: AGPL-3.0-only
"""QEMU's monitor (QMP), as far as the tests need it: is the machine running, or does it stand at a breakpoint?"""

import json
import socket
from pathlib import Path

from .cache import MachineError
from .channel import MachineTimeout


class Monitor:
    """The monitor behind a socket; connected at the first question, since QEMU makes the socket some time after its start."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: socket.socket | None = None

    def status(self) -> str:
        """"running", "debug" (at a breakpoint), "paused", ..."""
        return self._ask("query-status")["status"]

    def wait_status(self, wanted: str, timeout: float) -> None:
        """Waits until the machine is in this state. QEMU tells of every change, and may be asked again then."""
        while self.status() != wanted:
            self._connection.settimeout(timeout)
            self._line()
            self._connection.settimeout(None)

    def close(self) -> None:
        if self._connection:
            self._connection.close()

    def _ask(self, command: str) -> dict:
        if self._connection is None:
            self._connection = socket.socket(socket.AF_UNIX)
            self._connection.connect(str(self._path))
            self._lines = self._connection.makefile("r")
            self._line()  # the greeting
            self._command("qmp_capabilities")
        return self._command(command)

    def _command(self, name: str) -> dict:
        self._connection.sendall(json.dumps({"execute": name}).encode() + b"\n")
        while "return" not in (answer := self._line()):
            pass  # an event
        return answer["return"]

    def _line(self) -> dict:
        try:
            line = self._lines.readline()
        except TimeoutError:
            raise MachineTimeout("the machine did not come to the state that was waited for") from None
        if not line:
            raise MachineError("QEMU has ended")
        return json.loads(line)
