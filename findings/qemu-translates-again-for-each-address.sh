#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-only
#
# QEMU's emulator and programs at random addresses.
#
# One would guess: the emulator finds what it has translated by the physical address of the code, and a guest's page cache
# keeps a program and its libraries where they are; so a program that has run once runs translated ever after.
#
# What happens: what was translated is found by its virtual address as well. Linux places a program, its libraries and the
# dynamic linker elsewhere at each start, so each start is translated as if it were the first: some 6,000 blocks for
# `openssl version`, which has been run three times before. With norandmaps on the kernel's command line it is 20, and QEMU
# takes less than half of the processor time for the same work. Restoring a saved guest does not show it: there all is new.
#
# Seen on 30 November 2026 with qemu-system-x86 1:7.2 and linux-image-cloud-amd64 6.1 of Debian 12, one emulated processor,
# -accel tcg. Compare tb_htable_lookup and tb_hash_func in QEMU's accel/tcg.
set -euo pipefail

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
command -v mmdebstrap >/dev/null || { echo "this needs mmdebstrap, and root" >&2; exit 2; }
mmdebstrap --quiet --variant=apt \
    --include="qemu-system-x86=1:7.2*,linux-image-cloud-amd64=6.1.*,busybox-static,openssl,python3-minimal,libpython3-stdlib" bookworm "$root/debian"
cat >"$root/debian/try.py" <<'PYTHON'
import glob, os, re, shutil, socket, subprocess, sys

os.makedirs("root/bin", exist_ok=True)
shutil.copy("/usr/bin/busybox", "root/bin/busybox")
libraries = re.findall(r"/\S+", subprocess.run(["ldd", "/usr/bin/openssl"], capture_output=True, text=True, check=True).stdout)
for path in ["/usr/bin/openssl", *libraries]:
    os.makedirs(f"root{os.path.dirname(path)}", exist_ok=True)
    shutil.copy(os.path.realpath(path), f"root{path}")
with open("root/init", "w") as init:
    init.write("""#!/bin/busybox sh
export PATH=/bin:/usr/bin
/bin/busybox mount -t devtmpfs none /dev
exec </dev/ttyS0 >/dev/ttyS0 2>&1
/bin/busybox stty -echo
echo ready
while read -r line; do eval "$line"; done
""")
os.chmod("root/init", 0o755)
os.makedirs("root/dev", exist_ok=True)
subprocess.run("cd root && /usr/bin/busybox find . | /usr/bin/busybox cpio -o -H newc 2>/dev/null >../initrd", shell=True, check=True)
(kernel,) = glob.glob("/boot/vmlinuz-*")

def measured(cmdline):
    """The processor seconds that QEMU takes for ten starts of a program that the guest has run before, and the blocks that it translates."""
    console, console_end = socket.socketpair()
    monitor, monitor_end = socket.socketpair()
    process = subprocess.Popen(
        ["qemu-system-x86_64", "-M", "q35", "-cpu", "max", "-accel", "tcg", "-m", "512", "-nodefaults", "-display", "none", "-no-reboot",
         "-chardev", f"socket,id=c,fd={console_end.fileno()}", "-serial", "chardev:c",
         "-chardev", f"socket,id=m,fd={monitor_end.fileno()}", "-mon", "chardev=m,mode=readline",
         "-kernel", kernel, "-initrd", "initrd", "-append", f"console=ttyS0 quiet {cmdline}"],
        pass_fds=[console_end.fileno(), monitor_end.fileno()])
    console_end.close(), monitor_end.close()
    def until(end, text):
        seen = b""
        while text not in seen:
            got = end.recv(4096)
            assert got, seen
            seen += got
        return seen.decode(errors="replace")
    def run(count):
        console.sendall(f"i=0; while [ $i -lt {count} ]; do openssl version >/dev/null || echo FAILED; i=$((i+1)); done; echo all\"\"done\n".encode())
        said = until(console, b"alldone")
        assert "FAILED" not in said, said
    def now():
        monitor.sendall(b"info jit\n")
        blocks = int(re.search(r"TB count\s+(\d+)", until(monitor, b"(qemu) ")).group(1))
        fields = open(f"/proc/{process.pid}/stat").read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), blocks
    until(monitor, b"(qemu) ")
    until(console, b"ready")
    run(3)
    before = now()
    run(10)
    after = now()
    process.kill()
    process.wait()
    return after[0] - before[0], after[1] - before[1]

translated = {}
for cmdline in ("", "norandmaps"):
    seconds, translated[cmdline] = measured(cmdline)
    print(f"{cmdline or 'addresses at random':>20}: ten starts {seconds:.2f} s of processor time, {translated[cmdline]} blocks translated", flush=True)
sys.exit(0 if translated[""] > 20 * translated["norandmaps"] else 1)
PYTHON
chroot "$root/debian" dpkg-query -W qemu-system-x86 linux-image-cloud-amd64 openssl
mount -t proc none "$root/debian/proc"
trap 'umount "$root/debian/proc"; rm -rf "$root"' EXIT
chroot "$root/debian" sh -c 'cd /tmp && python3 /try.py' || { echo "NOT as it was on 30 November 2026" >&2; exit 1; }
