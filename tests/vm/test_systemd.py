# SPDX-License-Identifier: AGPL-3.0-only
"""The unit, under a real systemd: early in boot, hardened, armed through crashes and restarts, disarmed by a stop alone."""

import json
from collections.abc import Iterator

import pytest

from guard import HANDLER, HOOK, POLICY, Guard, policy
from machine import Machine

UNIT = "kmodguard.service"
# What systemctl enable does, in a file.
ENABLED = {"/etc/systemd/system/sysinit.target.d/kmodguard.conf": f"[Unit]\nWants={UNIT}\n",
           POLICY: "# Ours.\n" + policy(allow=["kmg_param", "kmg_ask"])}
# What a boot loads by itself, allowed and not: a list, and the driver of a device.
LOADERS = {"/etc/modules-load.d/kmg.conf": "kmg_twin_a\nkmg_inner\n"}
DEVICE = ["-device", "pvpanic-pci"]


@pytest.fixture(scope="module")
def vm() -> Iterator[Machine]:
    with Machine("6.1", init="systemd", files=ENABLED, packages=["bpftool"], name="test_systemd") as machine:
        machine.wait_booted()
        machine.run("modprobe kmg_ask", check=True)
        yield machine


@pytest.fixture
def guard(vm: Machine) -> Guard:
    """The unit as it is after boot, whatever a test before did to it."""
    vm.run("rm -f /run/enough")
    vm.run(f"systemctl reset-failed {UNIT}; systemctl start {UNIT} && kmodctl reload --discard", check=True)
    return Guard(vm)


def show(guard: Guard, unit: str, name: str) -> str:
    return guard.vm.run(f"systemctl show --value -p {name} {unit}", check=True).stdout.strip()


def test_is_armed_early_in_boot(vm: Machine) -> None:
    guard = Guard(vm)
    assert show(guard, UNIT, "ActiveState") == "active"
    assert guard.handler() == HOOK
    assert int(show(guard, UNIT, "ActiveEnterTimestampMonotonic")) < int(show(guard, "sysinit.target", "ActiveEnterTimestampMonotonic"))
    assert guard.ask("kmg_param") == "ok"
    assert guard.ask("af_key") == "exit3"


def test_what_a_boot_loads_by_itself_is_judged() -> None:
    """modules-load.d and coldplug loaded unlisted modules in every boot, or by chance, before the unit was up."""
    files = {**ENABLED, **LOADERS, POLICY: policy(allow=["kmg_ask", "kmg_twin_a"])}
    with Machine("6.1", init="systemd", files=files, qemu=DEVICE, name="test_systemd-loaders") as vm:
        assert vm.wait_booted() == "degraded"  # what is refused fails systemd-modules-load.service
        assert vm.loaded() & {"kmg_twin_a", "kmg_inner", "pvpanic", "pvpanic_pci"} == {"kmg_twin_a"}
        failed = vm.run("systemctl --failed --plain --no-legend", check=True).stdout.split()[0]
        assert failed == "systemd-modules-load.service"
        events = vm.run("journalctl -b -o cat KMODGUARD_VERDICT=refuse", check=True).stdout
        assert "kmg_inner is not on the allow list" in events and "pvpanic" in events
        # What came before the unit, as from the initramfs, is not judged, and named.
        before = {module["module"] for module in Guard(vm).status()["loaded"]["not_admitted"]}
        assert before and before <= vm.loaded() - {"kmg_twin_a"}
        assert "would not be admitted" in vm.run(f"journalctl -b -o cat -u {UNIT}", check=True).stdout


def kernel_point(guard: Guard) -> dict:
    (point,) = [point for point in guard.status()["points"] if point["point"] == "kernel"]
    return point


def links(guard: Guard) -> str:
    return guard.vm.run("ls -i /sys/fs/bpf/kmodguard | grep link_", check=True).stdout


def test_the_sandboxed_unit_holds_the_kernel_point(guard: Guard) -> None:
    assert kernel_point(guard)["active"] is True
    assert "Operation not permitted" in guard.vm.run("modprobe kmg_inner").stderr
    guard.vm.run("modprobe kmg_param && requester delete kmg_param", check=True)


def test_the_kernel_point_stays_through_crash_and_restart_and_goes_with_a_stop(guard: Guard) -> None:
    before = links(guard)
    guard.kill()
    assert "Operation not permitted" in guard.vm.run("modprobe kmg_inner").stderr
    guard.vm.run("until kmodctl status >/dev/null; do :; done", check=True)
    guard.vm.run(f"systemctl restart {UNIT}", check=True)
    assert links(guard) == before
    guard.vm.run(f"systemctl stop {UNIT}", check=True)
    assert guard.vm.run("ls /sys/fs/bpf").stdout.count("kmodguard") == 0
    guard.vm.run("modprobe kmg_inner && requester delete kmg_inner", check=True)


def test_maps_frozen_by_somebody_are_replaced_by_a_new_start(guard: Guard) -> None:
    before, pid = links(guard), guard.pid()
    guard.vm.run("for map in policy_a policy_b; do bpftool map freeze pinned /sys/fs/bpf/kmodguard/map_$map; done", check=True)  # noticed: the daemon asks for a new start
    guard.vm.run("until now=$(ls -i /sys/fs/bpf/kmodguard 2>/dev/null | grep link_) && [ \"$now\" != '" + before.strip() + "' ] && "
                 f"[ \"$(pidof kmodguard)\" != {pid} ] && kmodctl status >/dev/null; do :; done", check=True)
    guard.ctl("allow kmg_inner", check=True)


def test_a_killed_daemon_stays_armed_and_comes_back(guard: Guard) -> None:
    before = guard.pid()
    trace = guard.vm.start(f"while [ ! -e /run/enough ]; do cat {HANDLER}; done")
    guard.kill()
    guard.vm.run("until kmodctl status >/dev/null; do :; done; touch /run/enough", check=True)
    assert guard.pid() != before
    assert set(trace.wait().stdout.split()) == {HOOK}
    assert guard.ask("kmg_param") == "ok"


def test_a_daemon_that_somebody_ends_comes_back(guard: Guard) -> None:
    before = guard.pid()
    guard.vm.run(f"kill -TERM {before}; while [ -d /proc/{before} ]; do :; done; until kmodctl status >/dev/null; do :; done",
                 check=True)
    assert guard.handler() == HOOK
    assert guard.ask("kmg_param") == "ok"


def test_a_restart_never_disarms(guard: Guard) -> None:
    trace = guard.vm.start(f"while [ ! -e /run/enough ]; do cat {HANDLER}; done")
    guard.vm.run(f"systemctl restart {UNIT} && touch /run/enough", check=True)
    assert set(trace.wait().stdout.split()) == {HOOK}


def test_stop_disarms_and_start_arms(guard: Guard) -> None:
    guard.vm.run(f"systemctl stop {UNIT}", check=True)
    assert guard.handler() == "/sbin/modprobe"
    guard.ctl("start", check=True)
    assert guard.handler() == HOOK
    guard.ctl("stop", check=True)
    assert show(guard, UNIT, "ActiveState") == "inactive"
    assert guard.handler() == "/sbin/modprobe"


def test_a_daemon_that_cannot_start_leaves_the_machine_refusing(guard: Guard) -> None:
    guard.ctl("stop", check=True)
    guard.vm.put(f"/run/systemd/system/{UNIT}.d/broken.conf", "[Service]\nExecStart=\nExecStart=/bin/false\nRestart=no\n")
    guard.vm.run("systemctl daemon-reload", check=True)
    assert guard.ctl("start").status == 1
    assert guard.handler() == HOOK
    assert guard.ask("kmg_param") == "exit5"
    guard.vm.run(f"rm -r /run/systemd/system/{UNIT}.d; systemctl daemon-reload", check=True)


def test_events_are_in_the_journal_with_their_fields(guard: Guard) -> None:
    assert guard.ask("net-pf-15") == "exit3"
    query = "journalctl -o json -n 1 KMODGUARD_TOKEN=net-pf-15"
    guard.vm.run(f"until {query} | grep -q net-pf-15; do :; done", check=True)
    event = json.loads(guard.vm.run(query, check=True).stdout)
    assert event["MESSAGE_ID"] == "6f0c3d5d0a2f4f0c9a4b7d1e52c8e9a1"
    assert event["KMODGUARD_POINT"] == "autoload"
    assert event["KMODGUARD_VERDICT"] == "refuse"
    assert event["KMODGUARD_REASON"] == "not-listed"
    assert event["KMODGUARD_MODULE"] == "af_key"
    assert event["PRIORITY"] == "4"
    assert "af_key is not on the allow list" in event["MESSAGE"]


def test_what_is_applied_is_written_from_within_the_sandbox(guard: Guard) -> None:
    guard.ctl("allow dummy", check=True)
    guard.ctl("apply", check=True)
    text = guard.vm.get(POLICY).decode()
    assert text.startswith("# Ours.\n") and '"dummy"' in text
    guard.vm.put(POLICY, ENABLED[POLICY])


def test_reload_by_systemctl_keeps_the_old_policy_if_the_new_one_is_broken(guard: Guard) -> None:
    guard.vm.put(POLICY, "version = 1\n[allow]\nmodules = [\"af_")
    assert guard.vm.run(f"systemctl reload {UNIT}").status != 0
    assert guard.ask("kmg_param") == "ok"
    guard.vm.put(POLICY, ENABLED[POLICY])
    guard.vm.run(f"systemctl reload {UNIT}", check=True)


def test_a_daemon_that_hangs_is_replaced_by_the_watchdog(guard: Guard) -> None:
    guard.vm.put(f"/run/systemd/system/{UNIT}.d/watchdog.conf", "[Service]\nWatchdogSec=2s\n")
    guard.vm.run(f"systemctl daemon-reload && systemctl restart {UNIT}", check=True)
    before = guard.pid()
    guard.vm.run(f"kill -STOP {before}", check=True)
    guard.vm.run(f"while [ -d /proc/{before} ]; do :; done; until kmodctl status >/dev/null; do :; done", check=True, timeout=900)
    assert guard.handler() == HOOK
    guard.vm.run(f"rm -r /run/systemd/system/{UNIT}.d; systemctl daemon-reload; systemctl restart {UNIT}", check=True)


def test_the_daemon_is_confined(guard: Guard) -> None:
    status = guard.vm.get(f"/proc/{guard.pid()}/status").decode()
    assert "CapBnd:\t0000000000000000" in status and "Seccomp:\t2" in status and "NoNewPrivs:\t1" in status
    exposure = guard.vm.run(f"systemd-analyze security --no-pager {UNIT} | tail -1", check=True).stdout
    assert float(exposure.split(":")[1].split()[0]) < 2.0, exposure


def test_the_first_steps_by_hand_on_a_clean_install() -> None:
    """As people type them who come from the Rust program of the same name: no folder, no policy, nothing enabled yet."""
    with Machine("6.1", init="systemd", name="test_systemd-first") as vm:
        vm.wait_booted()
        guard = Guard(vm)
        vm.run("test ! -e /etc/kmodguard && modprobe kmg_ask", check=True)
        vm.run("kmodctl init --output /etc/kmodguard/policy.toml", check=True)
        vm.run("systemctl daemon-reload", check=True)
        vm.run("systemctl enable --now kmodguard", check=True)
        assert guard.handler() == HOOK
        assert guard.ask("dummy") == "exit3"
        vm.run("kmodctl allow dummy", check=True)
        assert guard.ask("dummy") == "ok"
        vm.run("kmodctl apply", check=True)
        assert '"dummy"' in vm.get(POLICY).decode()
        vm.run("kmodctl remove dummy && kmodctl apply && modprobe -r dummy", check=True)
        assert '"dummy"' not in vm.get(POLICY).decode()
        assert guard.ask("dummy") == "exit3"
        vm.run("kmodctl stop", check=True)
        assert guard.handler() == "/sbin/modprobe"
        vm.run("kmodctl disarm --force", check=True)
        assert guard.ask("dummy") == "ok"


def test_break_glass_off_starts_nothing() -> None:
    with Machine("6.1", init="systemd", files=ENABLED, cmdline="kmodguard.mode=off", name="test_systemd-off") as vm:
        vm.wait_booted()
        guard = Guard(vm)
        assert show(guard, UNIT, "ConditionResult") == "no"
        assert guard.handler() == "/sbin/modprobe"
        refused = guard.ctl("arm")
        assert refused.status == 1 and "kmodguard.mode=off" in refused.stderr


def test_break_glass_audit_overrides_the_policy_and_a_dead_daemon() -> None:
    with Machine("6.1", files={POLICY: policy()}, cmdline="kmodguard.mode=audit", name="test_systemd-audit") as vm:
        guard = Guard(vm)
        vm.run("modprobe kmg_ask", check=True)
        guard.ctl("start", check=True)
        assert guard.ask("kmg_param") == "ok"
        assert guard.ctl("mode enforce").status == 1
        guard.kill()
        assert guard.ask("dummy") == "ok"
        assert {"kmg_param", "dummy"} <= vm.loaded()
