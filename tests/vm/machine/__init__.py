# SPDX-License-Identifier: AGPL-3.0-only
"""The test machine: real Debian kernels under QEMU, for tests of what only a kernel can show."""

from .cache import MachineError
from .channel import Command, CommandFailed, MachineTimeout, Result
from .packages import KERNELS
from .qemu import Machine, MachineDied

__all__ = ["KERNELS", "Command", "CommandFailed", "Machine", "MachineDied", "MachineError", "MachineTimeout", "Result"]
