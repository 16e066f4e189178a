#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-only
#
# What a stop for the debugger costs a machine that QEMU emulates (TCG).
#
# One would guess: a breakpoint or a step costs the stop itself, the packets that go to and fro, and no more. Since 6.2
# breakpoints are part of a translation's flags, so that setting one needs no flush of what was translated.
#
# What happens: each time that QEMU stops for a breakpoint or after a step it throws away all that it has translated, of every
# processor, whatever the debugger does then. What runs next is translated again: in a Linux guest one start of a program is
# some 9,000 blocks, or 60 ms, after a stop of 0.7 ms. A machine that is stopped by the debugger's interrupt, or from QEMU's
# monitor, keeps its translations.
#
# Seen on 29 November 2026 with qemu-system-x86 1:7.2 of Debian 12. Compare gdb_vm_state_change in QEMU's gdbstub.
set -euo pipefail

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
command -v mmdebstrap >/dev/null || { echo "this needs mmdebstrap, and root" >&2; exit 2; }
mmdebstrap --quiet --variant=apt --include="qemu-system-x86=1:7.2*,python3-minimal,libpython3-stdlib" bookworm "$root/debian"
cat >"$root/debian/try.py" <<'PYTHON'
import json, re, socket, subprocess, sys

STOPS = 50
stub, stub_end = socket.socketpair()
monitor, monitor_end = socket.socketpair()
process = subprocess.Popen(
    ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-m", "64", "-nodefaults", "-display", "none", "-S",
     "-chardev", f"socket,id=g,fd={stub_end.fileno()}", "-gdb", "chardev:g",
     "-chardev", f"socket,id=q,fd={monitor_end.fileno()}", "-mon", "chardev=q,mode=control"],
    pass_fds=[stub_end.fileno(), monitor_end.fileno()])
answers = monitor.makefile("r")
answers.readline()

def ask(name, **arguments):
    monitor.sendall(json.dumps({"execute": name, "arguments": arguments}).encode())
    while line := answers.readline():
        if "return" in (answer := json.loads(line)):
            return answer["return"]

def flushes():
    return int(re.search(r"TB flush count\s+(\d+)", ask("human-monitor-command", **{"command-line": "info jit"}))[1])

def packet(text):
    stub.sendall(f"${text}#{sum(text.encode()) % 256:02x}".encode())

def stopped():
    """Reads up to the stop's report."""
    data = b""
    while not re.search(rb"\$T[^#]*#..", data):
        data += stub.recv(4096)
    stub.sendall(b"+")

ask("qmp_capabilities")
before = flushes()
for _ in range(STOPS):
    packet("vCont;s:p1.1")
    stopped()
by_steps = flushes() - before
before = flushes()
for _ in range(STOPS):
    packet("vCont;c")
    stub.sendall(b"\x03")
    stopped()
by_interrupts = flushes() - before
process.kill()
print(f"{STOPS} steps: {by_steps} flushes of all translated code; {STOPS} interrupts: {by_interrupts}")
sys.exit(0 if by_steps == STOPS and by_interrupts == 0 else 1)
PYTHON
chroot "$root/debian" dpkg-query -W qemu-system-x86
chroot "$root/debian" python3 /try.py || { echo "NOT as it was on 29 November 2026" >&2; exit 1; }
