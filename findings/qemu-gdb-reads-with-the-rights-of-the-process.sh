#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-only
#
# Whether a debugger at QEMU's stub can read an arm64 guest kernel's memory at any moment.
#
# One would guess: yes. The addresses of the kernel are the same in every process, and the debugger is no process of the guest's.
#
# What happens: the stub translates as the stopped processor would, with its page tables and with its rights of that moment. While
# it runs a process each read of a kernel address is answered by an error, isolation (kpti) or not, for the process itself may not
# read there. With isolation some stops inside the kernel fail as well: in the instructions before and after a process, which run
# with the process's page tables. A tool that reads something of the kernel's to see whether it is still there takes a process for
# a kernel that has gone.
#
# Seen on 29 November 2026 with qemu-system-arm 1:7.2 and the arm64 cloud kernel 6.1 of Debian 12.
set -euo pipefail

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
command -v mmdebstrap >/dev/null || { echo "this needs mmdebstrap, and root" >&2; exit 2; }
# shellcheck disable=SC2016 # the hook's shell has the names
mmdebstrap --quiet --variant=apt --architectures=amd64,arm64 --include="qemu-system-arm=1:7.2*,python3-minimal,libpython3-stdlib" \
    --customize-hook='
        export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
        mkdir "$1/guest" && cd "$1/guest"
        image=$(apt-cache show linux-image-cloud-arm64:arm64 | sed -n "s/^Depends: \(linux-image-6\.1[^ ,]*\).*/\1/p" | head -n 1)
        apt-get -qq download "$image:arm64" "busybox-static:arm64=1:1.35*"
        for package in *.deb; do echo "$package" && dpkg-deb -x "$package" files; done' bookworm "$root/debian"
cat >"$root/debian/guest/try.py" <<'PYTHON'
import glob, pathlib, socket, subprocess, sys, time

KERNEL = 1 << 63
STOPS = 300

def entry(name, mode, data=b""):
    head = "".join(f"{value:08x}" for value in (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0))
    padded = lambda part: part + bytes(-len(part) % 4)
    return padded(b"070701" + head.encode() + name.encode() + b"\0") + padded(data)

# Its first process is in turns in the kernel and in itself.
init = b"#!/busybox sh\n/busybox mkdir /proc\n/busybox mount -t proc proc /proc\necho READY\nwhile read line </proc/version; do :; done\n"
busybox = pathlib.Path(glob.glob("/guest/files/*bin/busybox")[0]).read_bytes()
pathlib.Path("/guest/initrd").write_bytes(
    entry("dev", 0o40755) + entry("busybox", 0o100755, busybox) + entry("init", 0o100755, init) + entry("TRAILER!!!", 0))

def look(option):
    """How many reads of a kernel address failed and succeeded at stops in a process, and at stops in the kernel."""
    stub, stub_end = socket.socketpair()
    process = subprocess.Popen(
        ["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a57", "-accel", "tcg", "-m", "256", "-nodefaults", "-display", "none",
         "-serial", "stdio", "-kernel", glob.glob("/guest/files/boot/vmlinuz-*")[0], "-initrd", "/guest/initrd",
         "-append", f"console=ttyAMA0 nokaslr {option}",
         "-chardev", f"socket,id=g,fd={stub_end.fileno()}", "-gdb", "chardev:g"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, pass_fds=[stub_end.fileno()])
    buffer = b""

    def send(text):
        stub.sendall(f"${text}#{sum(text.encode()) % 256:02x}".encode())

    def answer():
        nonlocal buffer
        while True:
            start = buffer.find(b"$")
            end = buffer.find(b"#", start)
            if start >= 0 and 0 <= end and len(buffer) >= end + 3:
                text, buffer = buffer[start + 1:end].decode(), buffer[end + 3:]
                stub.sendall(b"+")
                return text
            buffer += stub.recv(4096)

    def ask(text):
        send(text)
        return answer()

    answer_to_connect = ask("?")
    assert answer_to_connect.startswith("T"), answer_to_connect
    send("c")
    console = b""
    while b"READY" not in console:
        console += process.stdout.read1()
    counts = {"process": [0, 0], "kernel": [0, 0]}
    address = None
    for _ in range(STOPS):
        time.sleep(0.005)
        stub.sendall(b"\x03")
        answer()
        pc = int.from_bytes(bytes.fromhex(ask("g")[512:528]), "little")  # after x0 to x30 and sp
        where = "kernel" if pc >= KERNEL else "process"
        if where == "kernel" and address is None:
            address = pc
        if address is not None:
            counts[where][not ask(f"m{address:x},4").startswith("E")] += 1
        send("c")
    process.kill()
    process.wait()
    return counts

isolated, shared = look("kpti=on"), look("kpti=off")
for name, counts in (("kpti=on", isolated), ("kpti=off", shared)):
    for where, (failed, read) in counts.items():
        print(f"{name}: at {failed + read} stops in a {where}: {failed} reads of the kernel's memory failed, {read} succeeded")
seen = (all(counts["process"][0] > 0 == counts["process"][1] and counts["kernel"][1] > 0 for counts in (isolated, shared))
        and isolated["kernel"][0] > 0 == shared["kernel"][0])
sys.exit(0 if seen else 1)
PYTHON
chroot "$root/debian" dpkg-query -W qemu-system-arm
chroot "$root/debian" python3 /guest/try.py || { echo "NOT as it was on 29 November 2026" >&2; exit 1; }
