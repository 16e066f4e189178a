# SPDX-License-Identifier: AGPL-3.0-only
"""A machine that is a directory: what the programs find below --root, and how the tests run them there."""

import atexit
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from waiting import WRITTEN, exit_status, wait_for
from images import module_image

SOURCES = Path(__file__).resolve().parents[2]
PROGRAMS = Path(os.environ.get("KMODGUARD_PROGRAMS", SOURCES / "build" / "main")).resolve()
# Copies, where users other than the owner of the sources can run them.
COPIES = Path(tempfile.mkdtemp(prefix="kmodguard-programs-"))
atexit.register(shutil.rmtree, COPIES)
COPIES.chmod(0o755)
KMODCTL = Path(shutil.copy(PROGRAMS / "src" / "ctl" / "kmodctl", COPIES))
DAEMON = Path(shutil.copy(PROGRAMS / "src" / "daemon" / "kmodguard", COPIES))
READER = Path(shutil.copy(PROGRAMS / "src" / "daemon" / "kmodguard-reader", COPIES))  # beside the daemon, which starts it
RELEASE = os.uname().release
NOBODY = 65534
PATIENCE = 60  # seconds until a wait counts as failed, on however busy a machine; nothing here takes one

# For each module: what stands in its image.
MODULES = {
    "loop": {"aliases": ["block-major-7-*", "devname:loop-control"]},
    "af_key": {"aliases": ["net-pf-15"]},
    "crc_base": {"exports": ["crc_base_sum"]},
    "tun_dev": {"aliases": ["char-major-10-200"], "imports": ["crc_base_sum"]},
    "twin_a": {"aliases": ["twin"]},
    "twin_b": {"aliases": ["twin"]},
    "shy": {"aliases": ["shy-alias"]},
    "liar": {},
}
MODPROBE_D = "blacklist shy\nsoftdep loop pre: crc_base\nalias my-loop loop\n"
POLICY = """\
# Written by hand; this comment is to stay.
version = 1
mode = "enforce"

[allow]
modules = [
    "loop",  # for images
    "tun_dev",
]
aliases = ["net-pf-15"]

[deny]
modules = ["twin_b"]
"""


@dataclass
class Ran:
    """What a program said and how it ended."""
    code: int
    out: str
    err: str

    @property
    def json(self):
        """The one object on standard output."""
        return json.loads(self.out)

    @property
    def objects(self):
        return [json.loads(line) for line in self.out.splitlines()]


def has_user(number):
    """Whether there is a user of this number to become: a user namespace may have no other than its root."""
    ranges = [[int(word) for word in line.split()] for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return any(first <= number < first + count for first, _, count in ranges)


def run(command, timeout=PATIENCE * 2, **options):
    if "user" in options and not has_user(options["user"]):
        pytest.skip("needs a second user, and this user namespace has none")
    words = [word if isinstance(word, bytes) else str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False, **options)
    return Ran(done.returncode, done.stdout, done.stderr)


def wait_until(condition, what, *folders, mask=WRITTEN):
    """Asks whenever something happens to the files in `folders` until `condition` holds, and returns what it returned."""
    result = wait_for(condition, *folders, timeout=PATIENCE, mask=mask)
    assert result, f"waited {PATIENCE} s in vain: {what}"
    return result


def clean_environment(**more):
    kept = {key: value for key, value in os.environ.items()
            if key not in ("KMODGUARD_ROOT", "NO_COLOR", "NOTIFY_SOCKET", "WATCHDOG_USEC")}
    return {**kept, "LC_ALL": "C", **more}


def line_of(process):
    """The next line that a started command writes, or "" at the end. Nothing is taken beyond it, so that what comes after is still there to wait for."""
    pipe, line = process.stdout.fileno(), b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([pipe], [], [], PATIENCE)
        assert ready, f"nothing is said after {line!r}"
        byte = os.read(pipe, 1)
        if not byte:
            break
        line += byte
    return line.decode()


@dataclass
class Machine:
    """A root directory of its own, with a kernel's modules and the files of /proc and /sys that are read."""
    root: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="kmodguard-")))

    def __post_init__(self):
        self.root.chmod(0o755)
        self.policy = self.root / "etc/kmodguard/policy.toml"
        self.drop_ins = self.root / "etc/kmodguard/policy.d"
        self.socket = self.root / "run/kmodguard/daemon.sock"
        self.original_handler = self.root / "run/kmodguard/original_modprobe"
        self.handler = self.root / "proc/sys/kernel/modprobe"
        self.modules = self.root / "lib/modules" / RELEASE
        self.write("etc/modprobe.d/test.conf", MODPROBE_D)
        self.write("proc/modules", "loop 40960 0 - Live 0x0\ntun_dev 61440 1 crc_base, Live 0x0\n")
        self.write("proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/vda1 ro quiet\n")
        self.write("proc/sys/kernel/modprobe", "/sbin/modprobe\n")
        self.write("sys/module/compression", "xz\n")
        (self.root / "run").mkdir()
        self.write("sbin/modprobe", "#!/bin/sh\nexit 0\n").chmod(0o755)
        self.write("etc/kmodguard/policy.toml", POLICY)
        for name, content in MODULES.items():
            self.add_module(name, module_image("loop" if name == "liar" else name, **content))
        self.write(self.modules / "modules.builtin", "kernel/fs/ext4/ext4.ko\n")
        self.write(self.modules / "modules.order", "")
        self.depmod()

    def write(self, path, text):
        """Writes `text` to `path` below the root, and returns the whole path."""
        whole = self.root / path
        whole.parent.mkdir(parents=True, exist_ok=True)
        whole.write_text(text)
        whole.chmod(0o644)
        return whole

    def add_module(self, name, image):
        file = self.modules / "kernel" / f"{name}.ko"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(image)
        return file

    def depmod(self, *options, release=RELEASE):
        path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
        done = run(["depmod", "-b", self.root, *options, release], env=clean_environment(PATH=path))
        assert done.code == 0, done

    def kmodctl(self, *arguments, user=None, environment=None, **options):
        return run([KMODCTL, "--root", self.root, *arguments], env=environment or clean_environment(),
                   **({"user": user, "group": user, "extra_groups": []} if user else {}), **options)

    def ask(self, *arguments):
        """kmodctl's answer where it must succeed."""
        ran = self.kmodctl(*arguments)
        assert ran.code == 0, ran
        return ran

    def status(self):
        """What the daemon says of itself."""
        return self.kmodctl("status", "--json").json["daemon"]


class Daemon:
    """The daemon in the foreground, with its standard error and its events in files."""

    def __init__(self, machine, *options, before=(), **environment):
        """`before`: a command that runs the daemon's, whose words follow its own."""
        self.machine = machine
        self.events_file = machine.root / "events.jsonl"
        self.log_file = machine.root / "daemon.log"
        ready, told = os.pipe()
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                [*before, DAEMON, "--root", machine.root, "--events", self.events_file, "--ready-fd", str(told), *options],
                pass_fds=[told], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=clean_environment(**environment))
        os.close(told)
        with open(ready, "rb") as pipe:
            answered, _, _ = select.select([pipe], [], [], PATIENCE)
            assert answered and pipe.read(1) == b"\n", f"the daemon does not serve: {self.log()}"

    def log(self):
        return self.log_file.read_text()

    def events(self, count):
        """The first `count` attempts, once so many are written, and never more than them."""
        return self.recorded(count, "point")

    def all_events(self):
        """All that it has written by now; for when it has ended."""
        return [one for one in map(json.loads, self.events_file.read_text().splitlines()) if "point" in one]

    def changes(self, count):
        """The same of the changes of the guard."""
        return self.recorded(count, "change")

    def recorded(self, count, member):
        def found():
            objects = [json.loads(line) for line in self.events_file.read_text().splitlines(keepends=True) if line.endswith("\n")]
            return [one for one in objects if member in one]
        objects = wait_until(lambda: len(them := found()) >= count and them, f"{count} with {member}", self.events_file.parent)
        assert len(objects) == count, objects
        return objects

    def says(self, text):
        """Waits until it has said `text` on standard error; all that it has said."""
        return wait_until(lambda: text in (said := self.log()) and said, repr(text), self.log_file.parent)

    def send(self, number):
        self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM):
        """Ends it, and returns its exit status (negative: the signal it died of)."""
        if self.process.poll() is None:
            self.send(number)
        return exit_status(self.process, PATIENCE)
