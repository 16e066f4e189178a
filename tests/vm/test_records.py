# SPDX-License-Identifier: AGPL-3.0-only
"""What is recorded while somebody makes noise: nobody's attempts push out those of others, repetitions are counted, and the events
and what they count add up to the attempts.
"""

import re
from pathlib import Path

import pytest

from guard import HANDLER, LOG, Guard, file_of, raw_file_of
from machine import Command, Machine, apt, suites
from machine.cache import cache_folder, cached, content_key

pytestmark = pytest.mark.restored

PROCESSORS = 2  # for floods, and for what happens meanwhile
LOADS = 60


def whole_log(guard: Guard) -> str:
    """The log, once the daemon has told all that it knew, and ended."""
    pid = guard.pid()
    guard.vm.run(f"kill -TERM {pid} && while [ -d /proc/{pid} ]; do :; done; logger that was all", check=True)
    return guard.wait_log("that was all")


def told(log: str, pattern: str) -> int:
    """How many attempts the log tells of, by events that match and by what these have counted."""
    lines = [line for line in log.splitlines() if re.search(pattern, line)]
    return sum(1 + int(more[1]) if (more := re.search(r", (\d+) times more", line)) else 1 for line in lines)


def lost(log: str) -> int:
    return sum(int(count) for count in re.findall(r"(\d+) events were lost", log))


def flood(guard: Guard) -> Command:
    """An ordinary user asks for two hundred tokens, over and over: far more than are recorded of all of them."""
    ask = "for n in $(seq 150 250); do requester {} socket 2 1 $n; done"
    guard.vm.run(ask.format(""), user="nobody")  # from here on they are refused in the kernel
    return guard.vm.start(f"for round in 1 2 3; do {ask.format('--repeat 8')}; done", user="nobody")


def test_refused_requests_in_a_loop_are_counted_to_the_last(guard: Guard) -> None:
    """Those of the last second had no event if none came after them."""
    guard.start()
    assert guard.ask("kmg_inner") == "exit3"  # the hook's answer
    guard.vm.run("requester --repeat 2000 ask kmg_inner")
    log = whole_log(guard)
    assert told(log, "kernel kmg_inner: refused") == 2000 and lost(log) == 0
    assert len(re.findall("kernel kmg_inner: refused", log)) < 50


def test_a_users_requests_push_out_no_load_of_others(guard: Guard) -> None:
    guard.start(allow=["kmg_param"])
    noise = flood(guard)
    image = raw_file_of("kmg_param")
    assert guard.vm.run(f"loader --repeat {LOADS} --unload kmg_param init {image}").stdout == "init ok\n" * LOADS
    noise.wait(timeout=900)
    log = whole_log(guard)
    assert told(log, "kernel image: allowed: kmg_param") == LOADS


def test_a_users_requests_push_out_no_attempt_that_the_seal_forbids(guard: Guard) -> None:
    """nobody's flood left 9 of 20 writes to kernel.modprobe in the log."""
    guard.start()
    guard.ctl("seal --yes", check=True)
    noise = flood(guard)
    # Over seconds: of each, the flood takes what is recorded before most of it is over.
    guard.vm.run(f"for i in $(seq 20); do echo /bin/true >{HANDLER}; for j in $(seq 8); do cat /proc/uptime; done; done")
    noise.wait(timeout=900)
    log = whole_log(guard)
    assert told(log, r"changing kernel.modprobe.*\(by .*, uid 0\)") == 20
    assert guard.handler() != "/bin/true"


def test_refused_images_leave_room_for_loads_and_what_is_lost_is_said(guard: Guard) -> None:
    """With a daemon that cannot read: refused images filled the ring, and the loads after them had no records."""
    guard.start(allow=["kmg_param"])
    guard.kill("STOP")
    refused = guard.vm.run(f"loader --repeat 1000 init {raw_file_of('kmg_inner')}").stdout
    assert refused == "init EPERM\n" * 1000
    assert guard.vm.run(f"loader --repeat {LOADS} --unload kmg_param init {raw_file_of('kmg_param')}").stdout == "init ok\n" * LOADS
    guard.kill("CONT")
    guard.wait_log("events were lost")
    log = whole_log(guard)
    assert told(log, "kernel image: allowed: kmg_param") == LOADS
    assert lost(log) > 0 and told(log, "kernel image: refused: kmg_inner") + lost(log) == 1000


def test_what_was_lost_while_no_daemon_ran_is_said_by_the_next_and_only_once(guard: Guard) -> None:
    guard.start()
    guard.kill()
    guard.vm.run(f"loader --repeat 1000 init {raw_file_of('kmg_inner')}")
    guard.ctl("start", check=True)
    guard.wait_log("events were lost")
    whole_log(guard)
    guard.ctl("start", check=True)
    log = whole_log(guard)
    assert told(log, "kernel image: refused: kmg_inner") + lost(log) == 1000


def test_an_attempt_that_busybox_makes_by_two_calls_is_one_event(guard: Guard) -> None:
    """A packed file is no module, so that it unpacks it; and what is refused it hands over once more."""
    guard.start(allow=["kmg_param"])
    guard.vm.run(f"busybox insmod {raw_file_of('kmg_inner')}")
    guard.vm.run(f"gzip -c {raw_file_of('kmg_twin_a')} >/tmp/kmg_twin_a.ko.gz && busybox insmod /tmp/kmg_twin_a.ko.gz")
    log = whole_log(guard)
    assert told(log, "kmg_inner") == 1
    assert told(log, "kmg_twin_a") == 1 and re.search("refused: kmg_twin_a is not.*; after finit_module", log)


def test_names_that_nothing_answers_to_are_told_together(guard: Guard) -> None:
    """A boot of 6.12 gave 26 warnings, most of them for parts of ciphers that no module has."""
    guard.start()
    names = [f"kmg-nothing-{number}" for number in range(26)]
    guard.vm.run("; ".join(f"requester ask {name}" for name in names))
    log = whole_log(guard)
    assert told(log, "autoload kmg-nothing-") == 26
    assert len(re.findall("autoload kmg-nothing-", log)) < 13


def test_trials_of_doctor_are_marked(guard: Guard) -> None:
    """They stood in the log like the attempts of somebody."""
    guard.start()
    guard.ctl("doctor")
    log = whole_log(guard)
    trials = [line for line in log.splitlines() if "kmodguard_canary" in line or re.search(r"net-pf-\d+: refused", line)]
    assert len(trials) >= 3
    assert all("a trial of kmodctl doctor" in line for line in trials), log


def newest_kmod() -> Path:
    """A folder with sid's kmod and all that it needs, to be a root."""
    options = suites.options("sid")
    wanted = apt.closure(["kmod", "liblzma5"], options)  # which it loads itself, and only recommends

    def build(folder: Path) -> None:
        for package in wanted:
            apt.unpack(apt.download(package, options), folder)
        for name in ("lib", "lib64"):
            if not (folder / name).exists():
                (folder / name).symlink_to(f"usr/{name}")

    return cached(cache_folder() / "archives" / f"kmod-sid-{content_key(*(apt.show(name, options)['Version'] for name in wanted))}", build)


def test_an_attempt_that_a_newer_kmod_makes_by_two_calls_is_one_event() -> None:
    """kmod 31 and later hand a compressed file to the kernel; what is not known there they decompress and hand over once more."""
    with Machine("6.12", files={"/sid": newest_kmod()}) as vm:
        guard = Guard(vm)
        vm.run(f"mkdir -p /var/log && syslogd -O {LOG} && until [ -S /dev/log ]; do :; done", check=True)
        guard.start(allow=["kmg_param"])
        vm.run("mkdir -p /sid/sys /sid/proc && mount --bind /sys /sid/sys && mount --bind /proc /sid/proc", check=True)
        vm.run(f"cp {file_of(vm, 'kmg_inner')} {file_of(vm, 'kmg_param')} /sid/", check=True)
        insmod = "chroot /sid /usr/sbin/insmod /{}.ko.xz"
        assert "Operation not permitted" in vm.run(insmod.format("kmg_inner")).stderr
        vm.run(insmod.format("kmg_param"), check=True)
        assert vm.loaded() >= {"kmg_param"} and "kmg_inner" not in vm.loaded()
        log = whole_log(guard)
        assert told(log, "kernel image: .*kmg_inner") == 1 and re.search("refused: kmg_inner is not.*; after finit_module", log), log
        assert told(log, "kmg_param.ko.xz: allowed") == 1, log
