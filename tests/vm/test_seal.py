# SPDX-License-Identifier: AGPL-3.0-only
"""kmodctl seal: until the machine restarts the policy can be tightened and not loosened, and the guard stays, also for root.

One machine each, since nothing undoes a seal. Tests run in the order in which they stand here.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from guard import FAIL_BPF, HANDLER, LOG, POLICY, Guard, policy
from machine import Machine, packages
from machine.guest import compiled

MACHINES = {"6.1": ("6.1", ""), "6.1-fmod_ret": ("6.1", "lsm=lockdown,yama,apparmor"), "6.12": ("6.12", ""), "7.2": ("7.2", "")}
PINS = "/sys/fs/bpf/kmodguard"
ZEROS = "/run/zeros"  # a value of the map of settings
SEALED_TABLE = "/run/kmodguard/sealed_table"
ENTRY = 72  # bytes of a name and a rule
MOVER = Path(__file__).parent / "guest/mover.cpp"


@pytest.fixture(scope="module", params=MACHINES)
def guard(request: pytest.FixtureRequest) -> Iterator[Guard]:
    kernel, cmdline = MACHINES[request.param]
    with Machine(kernel, cmdline=cmdline, packages=["bpftool", "kexec-tools"], name=f"test_seal-{request.param}",
                 files={"/boot/vmlinuz": packages.kernel(kernel).vmlinuz, "/usr/bin/mover": compiled(MOVER),
                        "/usr/lib/fail_bpf.so": FAIL_BPF}) as vm:
        vm.run(f"modprobe kmg_ask && mkdir -p /var/log && syslogd -O {LOG} && until [ -S /dev/log ]; do :; done", check=True)
        guard = Guard(vm)
        guard.start(allow=["kmg_param", "kmg_base", "kmg_twin_a", "kmg_twin_b"])
        vm.put(ZEROS, guard.zeros("settings").encode())
        yield guard


def kernel_point(guard: Guard) -> dict:
    (point,) = [point for point in guard.status()["points"] if point["point"] == "kernel"]
    return point


def loads(guard: Guard, module: str) -> bool:
    status = guard.vm.run(f"modprobe {module}").status
    guard.vm.run(f"requester delete {module}")
    return status == 0


def test_seal_says_what_it_will_do_before_it_does(guard: Guard) -> None:
    said = guard.ctl("seal --dry-run", check=True).stdout
    for word in ("kexec", "kernel.modprobe", "restart", "stop"):
        assert word in said
    assert guard.ctl("seal").status != 0  # nobody to ask, and no --yes
    guard.ctl("allow kmg_inner", check=True)
    guard.ctl("remove kmg_inner", check=True)


def test_audit_mode_cannot_be_sealed(guard: Guard) -> None:
    guard.ctl("mode audit", check=True)
    assert "audit" in guard.ctl("seal --yes").stderr
    guard.ctl("mode enforce", check=True)


def test_a_stopped_daemon_keeps_its_maps_so_nothing_is_sealed(guard: Guard) -> None:
    """Root could take the descriptors of a process that does not let go of them."""
    pid = guard.pid()
    guard.kill("STOP")
    done = guard.ctl("seal --yes")
    guard.kill("CONT")
    assert done.status != 0 and f"process {pid} (kmodguard) has the kernel point's maps open" in done.stderr
    assert "sealed until" not in guard.ctl("status").stdout


def test_before_it_is_sealed_the_kernel_has_none_of_the_seals_programs(guard: Guard) -> None:
    assert guard.vm.run(f"ls {PINS} | grep -c '^program_'").stdout == "5\n"


def test_what_another_build_has_loaded_is_not_sealed(guard: Guard) -> None:
    """The seal's programs are loaded by kmodctl, and work on the maps that the daemon has loaded."""
    kept = guard.vm.run(f"bpftool -j map dump pinned {PINS}/map_settings | tr , '\\n' | grep -o '0x..'", check=True).stdout.split()
    value = kept[4:]  # after the key
    for byte, status in ((f"0x{int(value[-1], 16) ^ 1:02x}", 1), (value[-1], 0)):
        guard.vm.run(f"bpftool map update pinned {PINS}/map_settings key 0 0 0 0 value {' '.join(value[:-1])} {byte}", check=True)
        for words in ("seal --dry-run", "seal --yes") if status else ("seal --dry-run",):
            done = guard.ctl(words)
            assert done.status == status and ("another version of kmodguard" in done.stderr) == bool(status)
    assert "sealed until" not in guard.ctl("status").stdout


def test_a_seal_whose_programs_cannot_all_be_loaded_is_none(guard: Guard) -> None:
    guard.vm.run("touch /run/fail-bpf-load", check=True)
    done = guard.vm.run("LD_PRELOAD=/usr/lib/fail_bpf.so kmodctl seal --yes")
    guard.vm.run("rm /run/fail-bpf-load", check=True)
    assert done.status != 0 and "cannot load the kernel point's programs" in done.stderr
    assert "sealed until" not in guard.ctl("status").stdout
    guard.ctl("allow kmg_inner", check=True)
    guard.ctl("remove kmg_inner", check=True)


def test_seal(guard: Guard) -> None:
    guard.ctl("seal --yes", check=True)
    assert "sealed" in guard.ctl("status").stdout
    assert "sealed already" in guard.ctl("seal --yes", check=True).stdout


def test_what_was_refused_is_forgotten_when_the_index_changes(guard: Guard) -> None:
    for _ in range(2):
        assert guard.ask("kmg-later") == "exit3"  # by the hook, then by the kernel
    guard.vm.put("/etc/modprobe.d/kmg.conf", b"alias kmg-later kmg_param\n")
    guard.wait_answer("kmg-later", "ok")
    guard.vm.run("requester delete kmg_param", check=True)


def test_a_missing_index_takes_nothing_away(guard: Guard) -> None:
    guard.vm.run("cd /lib/modules/$(uname -r) && mv modules.dep.bin kept.bin", check=True)
    guard.vm.run("until kmodctl status | grep -q 'NO MODULE INDEX'; do :; done", check=True)
    assert "no module index" in guard.ctl("deny kmg_twin_b").stderr
    guard.vm.run("cd /lib/modules/$(uname -r) && mv kept.bin modules.dep.bin", check=True)
    guard.vm.run("until kmodctl status >/run/status && ! grep -q 'NO MODULE INDEX' /run/status; do :; done", check=True)
    assert loads(guard, "kmg_base") and loads(guard, "kmg_param")


def test_a_deny_that_had_no_index_is_in_force_once_there_is_one(guard: Guard) -> None:
    guard.vm.run("while modprobe kmg_twin_b; do requester delete kmg_twin_b; done", check=True)
    assert not loads(guard, "kmg_twin_b")


def test_the_policy_cannot_be_loosened(guard: Guard) -> None:
    assert "sealed" in guard.ctl("allow kmg_inner").stderr
    assert "sealed" in guard.ctl("mode audit").stderr
    guard.vm.put(POLICY, policy(allow=["kmg_param", "kmg_base", "kmg_twin_a", "kmg_inner"]).encode())
    assert "sealed" in guard.ctl("reload").stderr
    assert not loads(guard, "kmg_inner")
    assert loads(guard, "kmg_param")


def test_the_policy_can_be_tightened(guard: Guard) -> None:
    assert loads(guard, "kmg_base")
    guard.ctl("deny kmg_base", check=True)
    assert not loads(guard, "kmg_base")
    assert "sealed" in guard.ctl("remove kmg_base").stderr + guard.ctl("allow kmg_base").stderr
    assert not loads(guard, "kmg_base")


def test_pins_cannot_be_changed(guard: Guard) -> None:
    text = policy(allow=["kmg_param", "kmg_twin_a"]) + f'[[pin]]\nmodule = "kmg_param"\nsha256 = "{"0" * 64}"\n'
    guard.vm.put(POLICY, text.encode())
    assert "pins cannot be changed" in guard.ctl("reload").stderr


def test_23_pins_links_and_maps_cannot_be_changed(guard: Guard) -> None:
    key = " ".join(f"0x{byte:02x}" for byte in b"kmg_inner".ljust(56, b"\0"))
    for command in (f"rm {PINS}/link_kernel_post_read_file", f"mv {PINS}/link_kernel_load_data /sys/fs/bpf/x", f"mv {PINS} /sys/fs/bpf/x",
                    f"rmdir {PINS}", "umount /sys/fs/bpf", "umount -l /sys/fs/bpf",
                    f"bpftool map update pinned {PINS}/map_policy_a key {key} value " + "0 " * 16,
                    f"bpftool map update pinned {PINS}/map_policy_b key {key} value " + "0 " * 16,
                    f"bpftool map update pinned {PINS}/map_policy key 0 0 0 0 value pinned {PINS}/map_policy_b",
                    f"bpftool map delete pinned {PINS}/map_tightened key " + key.replace("kmg_inner", "kmg_base"),
                    f"bpftool map update pinned {PINS}/map_settings key 0 0 0 0 value $(cat {ZEROS})",
                    f"bpftool map dump pinned {PINS}/map_content_key",
                    f"bpftool link detach pinned {PINS}/link_kernel_post_read_file"):
        done = guard.vm.run(command)
        assert done.status != 0, command
    assert not loads(guard, "kmg_inner") and not loads(guard, "kmg_base")
    assert "the machine is sealed" in guard.wait_log("removing the kernel point")


# A process in a mount namespace of its own, which shares nothing with the machine's.
ELSEWHERE = "unshare -m sh -c 'mount --make-rprivate /; {}'"


def test_23_the_file_system_of_the_pins_does_not_go_with_what_it_is_mounted_on(guard: Guard) -> None:
    """umount -l takes away all that is mounted below, and the kernel asks about the uppermost mount alone."""
    guard.vm.run("mkdir -p /mnt/copy /mnt/room && mount -t tmpfs room /mnt/room && mkdir /mnt/room/sys", check=True)
    guard.vm.run("mount --make-rshared / && mount --rbind /sys /mnt/copy", check=True)
    for command in ("umount -l /sys", "umount -l /mnt/copy",  # whose end is carried over to /sys
                    "mount --move /sys /mnt/room/sys", "mover /sys /mnt/room/sys",  # then umount -l /mnt/room
                    ELSEWHERE.format("umount -l /sys && rmdir /sys"),  # which takes what others have mounted there with it
                    ELSEWHERE.format("umount -l /sys && mkdir /mnt/empty && mv -T /mnt/empty /sys")):
        assert guard.vm.run(command).status != 0, command
    assert "sysfs /sys " in guard.vm.run("cat /proc/mounts").stdout
    assert "unmounting the kernel point" in guard.wait_log("unmounting the kernel point")
    guard.kill()  # which has the programs open as well
    guard.ctl("start", check=True)
    assert not loads(guard, "kmg_inner") and loads(guard, "kmg_param")


def test_mounts_without_the_pins_come_and_go_as_ever(guard: Guard) -> None:
    for command in ("mount --make-rslave /mnt/copy && mount --make-rprivate /mnt/copy && umount -l /mnt/copy",
                    "umount -l /mnt/room && rmdir /mnt/room",
                    "mkdir /mnt/new && mount -t tmpfs new /mnt/new && mkdir /mnt/new/a /mnt/new/b && mount -t tmpfs a /mnt/new/a",
                    "mount --make-rprivate /mnt/new && mover /mnt/new/a /mnt/new/b && umount /mnt/new/b && umount /mnt/new && rmdir /mnt/new",
                    ELSEWHERE.format("umount -l /sys")):
        guard.vm.run(command, check=True)


def test_22_the_handler_cannot_be_changed(guard: Guard) -> None:
    before = guard.handler()
    guard.vm.run("mkdir -p /tmp/proc && mount -t proc proc /tmp/proc", check=True)
    for command in (f"echo /sbin/modprobe > {HANDLER}", "sysctl -w kernel.modprobe=/sbin/modprobe", "kmodctl disarm --force",
                    "echo /sbin/modprobe > /tmp/proc/sys/kernel/modprobe"):
        assert guard.vm.run(command).status != 0, command
    assert guard.handler() == before
    guard.vm.run("echo 5 > /proc/sys/kernel/panic", check=True)  # other settings are root's


def test_tracing_cannot_be_switched_off_nor_preemption_on(guard: Guard) -> None:
    """ftrace_enabled=0 keeps every program from running; a kernel that preempts itself skips some."""
    assert guard.vm.run("echo 0 > /proc/sys/kernel/ftrace_enabled").status != 0
    guard.vm.run("mount -t debugfs none /sys/kernel/debug")
    assert guard.vm.run("echo full > /sys/kernel/debug/sched/preempt").status != 0
    assert not loads(guard, "kmg_inner")


def test_24_another_kernel_is_refused(guard: Guard) -> None:
    for way in ("-s", "-c"):  # kexec_file_load, kexec_load
        done = guard.vm.run(f"kexec {way} -l /boot/vmlinuz --reuse-cmdline")
        assert done.status != 0, done
    assert guard.vm.run("cat /sys/kernel/kexec_loaded", check=True).stdout == "0\n"


def test_memory_devices_are_closed(guard: Guard) -> None:
    guard.vm.run("[ -e /dev/mem ] || mknod /dev/mem c 1 1", check=True)
    assert guard.vm.run("dd if=/dev/mem of=/dev/null bs=1 count=1").status != 0


def test_a_killed_daemon_takes_over_and_stays_bound(guard: Guard) -> None:
    guard.kill()
    assert not loads(guard, "kmg_inner") and loads(guard, "kmg_param")
    guard.vm.put(POLICY, b"garbage")
    guard.ctl("start")  # takes nothing away for good
    assert loads(guard, "kmg_param") and loads(guard, "kmg_twin_a")
    guard.kill()
    guard.vm.put(POLICY, policy(allow=["kmg_param", "kmg_base", "kmg_twin_a", "kmg_inner"]).encode())
    guard.ctl("start")  # the file is looser than what is held: said, and not obeyed
    assert not loads(guard, "kmg_inner") and not loads(guard, "kmg_base")
    assert loads(guard, "kmg_param")
    assert kernel_point(guard)["modules"] == 2, "those that the kernel admits, not those of the file"
    guard.vm.put(POLICY, policy(allow=["kmg_param"]).encode())
    guard.ctl("reload", check=True)
    assert loads(guard, "kmg_param") and not loads(guard, "kmg_twin_a")


def test_what_the_sealed_policy_refuses_is_not_called_allowed(guard: Guard) -> None:
    """The daemon has started with a looser file, and decides requests by it; the kernel does not."""
    guard.kill()
    guard.vm.put(POLICY, policy(allow=["kmg_param", "kmg_inner"]).encode())
    guard.ctl("start")
    shown = guard.ctl("status").stdout
    assert "PROBLEM: the machine is sealed, and the policy would be looser: kmg_inner would be allowed" in shown
    assert "WANTED" not in shown and "tried again" not in shown
    for verb in ("check", "explain"):
        assert "the machine is sealed with an earlier policy, which does not admit it" in guard.ctl(f"{verb} kmg_inner").stdout
        assert "earlier policy" not in guard.ctl(f"{verb} kmg_param").stdout
    assert "allowed, but does not load" in guard.ctl("check kmg_inner").stdout
    assert loads(guard, "kmg_param") and not loads(guard, "kmg_inner")
    guard.vm.put(POLICY, policy(allow=["kmg_param"]).encode())
    guard.ctl("reload", check=True)  # as strict as what is sealed
    assert "PROBLEM" not in guard.ctl("status").stdout


@pytest.mark.parametrize("change", ["gone", "garbage", "admits more", "admits less"])
def test_the_file_of_the_sealed_table_is_not_believed(guard: Guard, change: str) -> None:
    """Whatever root does to it: the kernel point stays as it is, and status says what is not possible any more."""
    kept = guard.vm.get(SEALED_TABLE)
    entries = [kept[at:at + ENTRY] for at in range(0, len(kept), ENTRY)]
    guard.kill()
    guard.vm.run(f"rm {SEALED_TABLE}", check=True)
    if change != "gone":
        more = b"kmg_inner".ljust(56, b"\0") + entries[1][56:]
        guard.vm.put(SEALED_TABLE, {"garbage": b"garbage", "admits more": kept + more, "admits less": entries[0]}[change])
    guard.vm.put(POLICY, policy(allow=["kmg_param", "kmg_inner"]).encode())
    guard.ctl("start")
    assert kernel_point(guard)["active"] and kernel_point(guard)["sealed"]
    assert "PROBLEM: the machine is sealed, and its policy cannot be changed: " in guard.ctl("status").stdout
    assert "earlier policy" in guard.ctl("check kmg_inner").stdout
    assert "sealed" in guard.ctl("deny kmg_param").stderr
    assert loads(guard, "kmg_param") and not loads(guard, "kmg_inner")
    guard.kill()
    guard.vm.put(SEALED_TABLE, kept)
    guard.vm.put(POLICY, policy(allow=["kmg_param"]).encode())
    guard.ctl("start", check=True)
    assert kernel_point(guard)["modules"] == 1 and kernel_point(guard)["problem"] == ""


def test_a_policy_that_leaves_the_kernel_point_out_does_not_take_it_away(guard: Guard) -> None:
    """A daemon that started so said that it was not enforced."""
    guard.kill()
    guard.vm.put(POLICY, b'points = ["autoload"]\n' + policy(allow=["kmg_param"]).encode())
    guard.ctl("start")
    assert kernel_point(guard)["active"] and "the kernel point stays" in kernel_point(guard)["problem"]
    assert "tried again" not in guard.ctl("status").stdout
    assert loads(guard, "kmg_param") and not loads(guard, "kmg_inner")
    guard.vm.put(POLICY, policy(allow=["kmg_param"]).encode())
    guard.ctl("reload", check=True)
    assert kernel_point(guard)["problem"] == ""


def test_stop_is_refused(guard: Guard) -> None:
    assert "sealed" in guard.ctl("stop").stderr
    guard.kill()
    assert not loads(guard, "kmg_inner")
    assert guard.ask("kmg_param") == "exit5"  # no daemon: refused
