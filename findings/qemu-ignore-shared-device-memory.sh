#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-only
#
# QEMU's migration capability x-ignore-shared and the memory of a PCI device.
#
# One would guess: with x-ignore-shared a memory region that both sides map shared is simply left out of the stream, so the
# side that goes on is given the same files with the same options as the side that was saved.
#
# What happens: that is so for the machine's memory, and not for a device's (ivshmem-plain on a memory-backend-file with
# share=on). The receiver compares the address of each region that it leaves out with the sender's. A PCI device's memory
# has no address until its state has been loaded, which comes after the memory, so the load ends with "Mismatched GPAs for
# block" and QEMU exits. With share=off for the device's memory, on the receiver alone, nothing is compared and the very same
# stream is loaded.
#
# Seen on 29 November 2026 with qemu-system-x86 1:7.2 of Debian 12. Compare migration/ram.c (ram_load_precopy) in QEMU.
set -euo pipefail

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
command -v mmdebstrap >/dev/null || { echo "this needs mmdebstrap, and root" >&2; exit 2; }
mmdebstrap --quiet --variant=apt --include="qemu-system-x86=1:7.2*,python3-minimal,libpython3-stdlib" bookworm "$root/debian"
cat >"$root/debian/try.py" <<'PYTHON'
import json, os, socket, subprocess, sys

def machine(share_device, incoming):
    """QEMU with its firmware alone, which gives the PCI devices their addresses."""
    ours, theirs = socket.socketpair()
    command = ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-m", "64", "-nodefaults", "-display", "none",
               "-object", "memory-backend-file,id=ram,size=64M,mem-path=ram,share=on", "-machine", "memory-backend=ram",
               "-object", f"memory-backend-file,id=device,size=1M,mem-path=device,share={share_device}",
               "-device", "ivshmem-plain,memdev=device,master=on,addr=0x10",
               "-chardev", f"socket,id=q,fd={theirs.fileno()}", "-mon", "chardev=q,mode=control"]
    process = subprocess.Popen(command + (["-incoming", "defer"] if incoming else []), pass_fds=[theirs.fileno()],
                               stderr=subprocess.PIPE, text=True)
    theirs.close()
    lines = ours.makefile("r")
    lines.readline()
    def ask(name, **arguments):
        ours.sendall(json.dumps({"execute": name, "arguments": arguments}).encode())
        while line := lines.readline():
            answer = json.loads(line)
            if "return" in answer:
                return answer["return"]
            if answer.get("event") == "MIGRATION" and answer["data"]["status"] in ("completed", "failed"):
                return answer["data"]["status"]
        return None
    def migrated(name, uri):
        ask("migrate-set-capabilities", capabilities=[{"capability": one, "state": True} for one in ("x-ignore-shared", "events")])
        status = ask(name, uri=uri)
        while status not in ("completed", "failed", None):
            line = lines.readline()
            event = json.loads(line) if line else {}
            status = event["data"]["status"] if event.get("event") == "MIGRATION" else (None if not line else "")
        return status
    ask("qmp_capabilities")
    return process, ask, migrated

process, ask, migrated = machine("on", incoming=False)

def has_address():
    """Whether the firmware has given the device's memory its address."""
    (device,) = [one for bus in ask("query-pci") for one in bus["devices"] if one["slot"] == 0x10]
    return all(region["address"] > 0 for region in device["regions"] if region["bar"] == 2)

while not has_address():
    pass
ask("stop")
print("saved:", migrated("migrate", "exec:cat > stream"))
process.kill()
process.wait()
seen = {}
for share in ("on", "off"):
    process, ask, migrated = machine(share, incoming=True)
    seen[share] = migrated("migrate-incoming", "exec:cat stream")
    process.kill()
    said = [line for line in process.communicate()[1].splitlines() if "Mismatched" in line]
    print(f"restored with share={share} for the device's memory:", seen[share], *said)
sys.exit(0 if seen == {"on": "failed", "off": "completed"} else 1)
PYTHON
chroot "$root/debian" dpkg-query -W qemu-system-x86 seabios
chroot "$root/debian" python3 /try.py || { echo "NOT as it was on 29 November 2026" >&2; exit 1; }
