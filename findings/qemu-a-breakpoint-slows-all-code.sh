#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-only
#
# What a breakpoint that nobody comes to costs a machine that QEMU emulates (TCG).
#
# One would guess: nothing, or a little where code shares a page with it. Since 6.2 a translation is looked for by whether a
# breakpoint is in its page, and only what is in such a page runs instruction by instruction.
#
# What happens: all code is slower, wherever the breakpoints are, and by each of them. Where a translation does not know what
# follows it (a return, a jump through a register, into another page), QEMU looks that up, and then it walks the list of the processor's
# breakpoints, each time to its end. The first one costs the most, since without any the walk is left out.
#
# Seen on 30 November 2026 with qemu-system-x86 1:7.2 of Debian 12: a loop that calls a function which returns, in a boot sector.
# Compare check_for_breakpoints and helper_lookup_tb_ptr in QEMU's accel/tcg.
set -euo pipefail

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
command -v mmdebstrap >/dev/null || { echo "this needs mmdebstrap, and root" >&2; exit 2; }
mmdebstrap --quiet --variant=apt --include="qemu-system-x86=1:7.2*,seabios,python3-minimal,libpython3-stdlib" bookworm "$root/debian"
cat >"$root/debian/try.py" <<'PYTHON'
import os, resource, socket, struct, subprocess, sys

ROUNDS = 100_000_000
# mov ecx, ROUNDS; again: call f; dec ecx; jnz again; xor al, al; out 0xf4, al; hlt; f: ret
CODE = b"\x66\xb9" + struct.pack("<I", ROUNDS) + b"\xe8\x09\x00" b"\x66\x49" b"\x75\xf9" b"\x30\xc0" b"\xe6\xf4" b"\xf4" b"\xc3"
with open("sector", "wb") as disk:
    disk.write(CODE.ljust(510, b"\0") + b"\x55\xaa")

def seconds(breakpoints):
    """The processor time that the loop takes, with so many breakpoints where there is no memory."""
    stub, stub_end = socket.socketpair()
    process = subprocess.Popen(
        ["qemu-system-x86_64", "-M", "pc", "-accel", "tcg", "-m", "64", "-nodefaults", "-display", "none", "-S", "-device", "isa-debug-exit,iobase=0xf4,iosize=1",
         "-drive", "file=sector,format=raw,if=ide", "-chardev", f"socket,id=g,fd={stub_end.fileno()}",
         "-gdb", "chardev:g"], pass_fds=[stub_end.fileno()], stdin=subprocess.DEVNULL)
    stub_end.close()
    def packet(text):
        stub.sendall(f"${text}#{sum(text.encode()) % 256:02x}".encode())
    for number in range(breakpoints):
        packet(f"Z0,{0x7000000000 + 0x1000 * number:x},1")
        answer = b""
        while answer.count(b"#") < 1 or len(answer) < answer.index(b"#") + 3:
            answer += stub.recv(100)
        assert b"OK" in answer, answer
        stub.sendall(b"+")
    packet("c")
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 1, process.returncode
    return used.ru_utime

least = {count: min(seconds(count) for _ in range(3)) for count in (0, 1, 12)}
for count, used in least.items():
    print(f"{count:2} breakpoints: {used:.2f} s, {used / least[0]:.2f} times", flush=True)
sys.exit(0 if least[1] > 1.1 * least[0] and least[12] > 1.5 * least[1] else 1)
PYTHON
chroot "$root/debian" dpkg-query -W qemu-system-x86
chroot "$root/debian" python3 /try.py || { echo "NOT as it was on 30 November 2026" >&2; exit 1; }
