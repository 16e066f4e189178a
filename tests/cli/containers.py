# SPDX-License-Identifier: AGPL-3.0-only
"""Containers for tests of the agent: their files, the program in them that calls, the runtimes, and the agent itself."""

import array
import json
import os
import shutil
import signal
import socket
import subprocess

import pytest
from waiting import exit_status
from images import module_image
from machine import KMODCTL, PATIENCE, SOURCES, clean_environment, line_of, run, wait_until

PROFILE = json.loads((SOURCES / "data/seccomp-kmodguard.json").read_text())
INITIAL_USER_NAMESPACE = 0xEFFFFFFD  # linux/proc_ns.h
# Makes one call, by the system call table asked for, and prints its errno.
CALL = r"""
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
static char image[1 << 16] __attribute__((aligned(4096)));
int main(int count, char** words) {
    long result = 0;
    int file = open(words[2], O_RDONLY | O_CLOEXEC);
    if (!strcmp(words[1], "finit")) result = syscall(SYS_finit_module, file, "", 0);
    else if (!strcmp(words[1], "init")) result = syscall(SYS_init_module, image, read(file, image, sizeof image), "");
    else if (!strcmp(words[1], "delete")) result = syscall(SYS_delete_module, words[2], O_NONBLOCK);
#ifdef __x86_64__
    else { /* the 32-bit table's finit_module is 350; its pointers have 32 bits, so the empty text is put low */
        char* low = mmap((void*)0x10000000, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        __asm__ volatile("int $0x80" : "=a"(result) : "a"(350), "b"(file), "c"(low), "d"(0) : "memory");
        if (result < 0) errno = (int)-result, result = -1;
    }
#endif
    printf("%d\n", result ? errno : 0);
    return fflush(stdout);
}
"""


def make_rootfs(root):
    """A container's root: busybox, the program that calls, and images of modules by their name."""
    busybox = shutil.which("busybox")
    if not busybox or not shutil.which("crun") or not shutil.which("cc"):
        pytest.fail("needs crun, busybox (static) and cc: scripts/bootstrap test")
    if os.stat("/proc/self/ns/user").st_ino != INITIAL_USER_NAMESPACE:
        pytest.fail("needs root of the initial user namespace: no other can load modules")
    for folder in ("bin", "proc", "dev"):
        (root / folder).mkdir(parents=True)
    shutil.copy(busybox, root / "bin/busybox")
    (root / "bin/sh").symlink_to("busybox")
    ran = run(["cc", "-x", "c", "-O1", "-static", "-o", root / "call", "-"], input=CALL)
    assert ran.code == 0, ran
    for name in ("loop", "shy", "af_key"):
        (root / f"{name}.ko").write_bytes(module_image(name, aliases=["net-pf-15"] if name == "af_key" else []))
    return root


class Agent:
    def __init__(self, machine, *options):
        self.machine = machine
        self.socket = machine.root / "agent.sock"
        self.logs = machine.root / "logs"
        self.err_file = machine.root / "agent.err"
        command = [KMODCTL, "--root", machine.root, "oci-agent", "--socket", self.socket, "--log-dir", self.logs,
                   *options]
        with open(self.err_file, "wb") as err:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err,
                                            text=True, env=clean_environment())
        assert "listening" in line_of(self.process), self.err()

    def err(self):
        return self.err_file.read_text()

    def says(self, text):
        wait_until(lambda: text in self.err(), f"{text!r} on standard error, where there is: {self.err()}",
                   self.err_file.parent)
        return True

    def memory(self):
        """What it takes, in bytes: VmRSS now, VmHWM at most."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return {name: int(value.split()[0]) << 10 for name, value in (line.split(":") for line in status if line.startswith("Vm"))}

    def events(self, count):
        """All events in the order of the calls, once there are `count`, and never more than that."""
        file = self.logs / "events.jsonl"
        lines = wait_until(lambda: len(found := file.read_text().splitlines()) >= count and found, f"{count} events", self.logs)
        assert len(lines) == count
        return sorted(map(json.loads, lines), key=lambda event: event["time"])

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        return exit_status(self.process, PATIENCE)


class Container:
    """A bundle, and the runtime's words for it."""

    def __init__(self, machine, rootfs, name, runtime="crun"):
        self.name, self.runtime = name, runtime
        self.bundle = machine.root / "bundles" / name
        self.state = machine.root / f"state-{runtime}"
        self.bundle.mkdir(parents=True)
        capabilities = ["CAP_SYS_MODULE", "CAP_KILL"]
        self.config = {
            "ociVersion": "1.0.2",
            "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": [], "env": ["PATH=/bin"],
                        "noNewPrivileges": False,
                        "capabilities": {kind: capabilities for kind in ("bounding", "effective", "permitted")}},
            "root": {"path": str(rootfs), "readonly": True},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
                       {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}],
            "annotations": {},
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")],
                      "seccomp": {**PROFILE, "listenerPath": str(machine.root / "agent.sock")}},
        }

    def command(self, *words):
        # crun 1.8 does not work with mixed versions of cgroups; it gets the newer one, for itself.
        if self.runtime == "crun":
            return ["unshare", "--mount", "--propagation", "private", "sh", "-c",
                    'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"', "sh", "crun", "--cgroup-manager=disabled",
                    "--root", self.state, *words]
        return ["runc", "--root", self.state, *words]

    def write(self, script):
        self.config["process"]["args"] = ["/bin/sh", "-c", script]
        (self.bundle / "config.json").write_text(json.dumps(self.config))

    def run(self, script):
        self.write(script)
        return run(self.command("run", "-b", self.bundle, self.name))

    def calls(self, *calls):
        """The errno that each call ends with: "finit loop" and so on."""
        ran = self.run("; ".join(f"/call {how} /{name}.ko" for how, name in map(str.split, calls)))
        assert ran.code == 0 and ran.err == "", ran
        return [int(line) for line in ran.out.splitlines()]

    def popen(self, script):
        self.write(script)
        return subprocess.Popen([str(word) for word in self.command("run", "-b", self.bundle, self.name)],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def delete(self):
        if self.state.exists():
            run(self.command("delete", "--force", self.name))


def hand_over(agent, text, descriptors=()):
    """Sends it and waits until the agent has closed its end."""
    with socket.socket(socket.AF_UNIX) as runtime:
        runtime.settimeout(PATIENCE)
        runtime.connect(str(agent.socket))
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        runtime.sendmsg([text.encode()], rights)
        runtime.shutdown(socket.SHUT_WR)
        try:
            assert runtime.recv(1) == b""
        except ConnectionResetError:
            pass  # closed, with something left unread
