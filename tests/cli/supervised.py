# SPDX-License-Identifier: AGPL-3.0-only
"""Commands under `kmodctl exec`, and what it leaves behind of them: answers, events, modules.log.

The machine that is a directory gives the policy and the index of modules. The processes, their calls and the kernel are
the real ones; so nothing here may be an image that this kernel could take. Crafted images are for no kernel at all, and
Debian's own modules, from the test machine's cache if it is there, are taken of another release than the running one.
What the kernel says of them differs from machine to machine: it is compared with what the same call gets without kmodctl.
"""

import ctypes
import functools
import json
import os
import select
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from images import module_image
from machine import COPIES, KMODCTL, PATIENCE, RELEASE, SOURCES, clean_environment, run

LIBC = ctypes.CDLL(None, use_errno=True)
PIDFD_GETFD = 438  # the number of the system call, on every architecture
GUEST_PROGRAMS = SOURCES / "tests/vm/guest"
VM_CACHE = Path(os.environ.get("KMODGUARD_VM_CACHE") or SOURCES / "build/vm")
ENVIRONMENT = clean_environment(PATH=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
# bridge needs llc and stp, and stp needs llc.
TREE = ["llc", "stp", "bridge", "dummy", "macvlan"]
CRAFTED = {
    "llc": {"exports": ["llc_sap_open"]},
    "stp": {"exports": ["stp_proto_register"], "imports": ["llc_sap_open"]},
    "bridge": {"imports": ["llc_sap_open", "stp_proto_register"]},
    "dummy": {}, "macvlan": {},
}
# A process in another user namespace may load nothing, whatever the kernel could.
INITIAL_USER_NAMESPACE = 0xEFFFFFFD
needs_the_right_to_load = pytest.mark.skipif(
    os.stat("/proc/self/ns/user").st_ino != INITIAL_USER_NAMESPACE, reason="needs the initial user namespace")
POLICY = 'version = 1\n[allow]\nmodules = ["dummy", "bridge"]\n'


@functools.cache
def compiled(name):
    """One of the test machine's guest programs, for this machine."""
    program = COPIES / name
    command = ["g++", "-std=c++23", "-O2", "-static", "-s", GUEST_PROGRAMS / f"{name}.cpp", "-o", program]
    done = run(command, timeout=120)
    assert done.code == 0, done
    return program


def debian_modules():
    """The modules of a Debian kernel that is not the running one, as plain files; None if the cache has none."""
    for kernel in sorted(VM_CACHE.glob("kernels/*/usr/lib/modules/*")):
        found = {file.stem: file for file in kernel.glob("kernel/**/*.ko") if file.stem in TREE}
        if kernel.name != RELEASE and len(found) == len(TREE):
            return found
    return None


@dataclass
class Tree:
    """A folder of modules with its index, as `modprobe -d FOLDER -S RELEASE` reads it."""
    folder: Path

    def file(self, module):
        return self.folder / "lib/modules" / RELEASE / "kernel" / f"{module}.ko"

    def modprobe(self, *words):
        return ["modprobe", "-d", self.folder, "-S", RELEASE, *words]


def make_tree(folder, kind):
    """TREE of Debian's own modules, or crafted."""
    tree, real = Tree(folder), debian_modules()
    if kind == "debian" and real is None:
        pytest.skip("no Debian kernel package in the test machine's cache: the tests in the machine fetch them")
    tree.file("dummy").parent.mkdir(parents=True)
    for module in TREE:
        tree.file(module).write_bytes(real[module].read_bytes() if kind == "debian" else
                                      module_image(module, **CRAFTED[module]))
    for name in ("modules.order", "modules.builtin"):
        (folder / "lib/modules" / RELEASE / name).write_text("")
    done = run(["depmod", "-b", folder, RELEASE], env=ENVIRONMENT)
    assert done.code == 0, done
    return tree


def direct(*command, **options):
    """The command without kmodctl."""
    return run(command, env=ENVIRONMENT, **options)


class Supervised:
    """`kmodctl exec` on a machine, by a policy of its own."""

    def __init__(self, machine, policy=POLICY):
        self.machine = machine
        self.logs = machine.root / "log"
        self.policy = machine.write("exec.toml", policy)

    def write_policy(self, text, name="exec.toml"):
        self.policy = self.machine.write(name, text)

    def words(self, command, *options):
        options = ["--policy", self.policy, "--log-dir", self.logs, *options]
        return [KMODCTL, "--root", self.machine.root, "exec", *options, "--", *command]

    def run(self, *command, options=(), **more):
        return run(self.words(command, *options), env=ENVIRONMENT, **more)

    def start(self, *command, options=(), **more):
        """Does not wait for it. Text, unbuffered on our side of the pipes."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
        words = [str(word) for word in self.words(command, *options)]
        return subprocess.Popen(words, env=ENVIRONMENT, text=True, **pipes)

    def caller(self, *words, **more):
        """What the guest program `caller` says of its calls: {result: count}. By default all of them had one."""
        ran = self.run(compiled("caller"), *words, **more)
        return counts(ran)

    def events(self):
        """All events in the order of the attempts, which is not that of the answers; for when kmodctl has ended."""
        events = [json.loads(line) for line in (self.logs / "events.jsonl").read_text().splitlines()]
        return sorted(events, key=lambda event: event["time"])

    def event(self):
        """The only one."""
        event, = self.events()
        return event

    def attempts(self):
        """The lines of modules.log."""
        return (self.logs / "modules.log").read_text().splitlines()

    def forget(self):
        shutil.rmtree(self.logs)


def counts(ran):
    """The lines "WAY RESULT COUNT" of the guest program `caller`."""
    assert ran.code in (0, 1) and ran.out, ran
    return {result: int(count) for _, result, count in (line.split() for line in ran.out.splitlines())}


def judged(event):
    """What matters most of an event about an image."""
    return [module["module"] for module in event["modules"]], event["verdict"], event["answer"]


def answer_of(process):
    """How a started command ended, with all that it said."""
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def wait_call(process):
    """Returns when a call waits for the answer of this kmodctl: the kernel says so at the listener, and of a copy of it too."""
    number = next(int(file.name) for file in Path(f"/proc/{process.pid}/fd").iterdir()
                  if os.readlink(file) == "anon_inode:seccomp notify")
    kmodctl = os.pidfd_open(process.pid)
    listener = LIBC.syscall(PIDFD_GETFD, kmodctl, number, 0)
    os.close(kmodctl)
    assert listener >= 0, os.strerror(ctypes.get_errno())
    watched = select.poll()
    watched.register(listener, select.POLLIN | select.POLLOUT)  # POLLOUT: it has been received, and not answered
    waits = watched.poll(PATIENCE * 1000)
    os.close(listener)
    assert waits, "nothing waits for an answer"
