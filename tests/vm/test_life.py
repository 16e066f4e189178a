# SPDX-License-Identifier: AGPL-3.0-only
"""Starting, changing at run time, saving, stopping: what stays, what goes, and what is exactly as before."""

import pytest

from guard import HANDLER, HOOK, ORIGINAL, POLICY, Guard

pytestmark = pytest.mark.restored

REQUEST = "socket 15 3 2"


def test_module_allowed_at_run_time_loads_at_once_and_no_more_after_a_restart(guard: Guard) -> None:
    guard.start()
    guard.request(REQUEST)
    assert "af_key" not in guard.vm.loaded()
    guard.ctl("allow af-key", check=True)
    guard.request(REQUEST)
    assert "af_key" in guard.vm.loaded()
    guard.vm.run("requester delete af_key", check=True)
    guard.ctl("stop", check=True)
    guard.ctl("start", check=True)
    guard.request(REQUEST)
    assert "af_key" not in guard.vm.loaded()


def test_module_allowed_and_applied_stays_and_so_do_the_comments(guard: Guard) -> None:
    text = ('# Ours. Ask the storage team before you touch this.\nversion = 1\nmode = "enforce"\n\n[allow]\n'
            'modules = [\n  "loop",   # images\n  # the next one is for the VPN\n  "tun",\n]\n')
    guard.vm.put(POLICY, text.encode())
    guard.ctl("start", check=True)
    guard.ctl("allow af_key", check=True)
    guard.ctl("apply", check=True)
    saved = guard.vm.get(POLICY).decode()
    assert [line for line in saved.splitlines() if line not in text.splitlines()] == ['  "af_key",']
    assert all(line in saved.splitlines() for line in text.splitlines())
    assert guard.vm.run(f"stat -c %a {POLICY}").stdout == "644\n"  # as it was
    guard.ctl("stop", check=True)
    guard.ctl("start", check=True)
    guard.request(REQUEST)
    assert "af_key" in guard.vm.loaded()


@pytest.mark.parametrize("original", ["/sbin/modprobe", "/usr/local/bin/an other modprobe"])
def test_stop_restores_the_exact_original_handler(guard: Guard, original: str) -> None:
    guard.vm.run(f"echo '{original}' > {HANDLER}", check=True)
    before = guard.vm.get(HANDLER)
    guard.start()
    assert guard.handler() == HOOK
    guard.ctl("stop", check=True)
    assert guard.vm.get(HANDLER) == before
    assert guard.vm.run("pidof kmodguard").status != 0


def test_arming_twice_never_saves_the_hook_as_the_original(guard: Guard) -> None:
    guard.start()
    for _ in range(2):
        guard.ctl("arm", check=True)
    guard.ctl("start", check=True)
    assert guard.vm.get(ORIGINAL) == b"/sbin/modprobe\n"
    guard.ctl("disarm", check=True)
    assert guard.handler() == "/sbin/modprobe"


def test_autoloading_switched_off_stays_off(guard: Guard) -> None:
    guard.vm.run(f"echo '' > {HANDLER}", check=True)
    guard.vm.put(POLICY, b"version = 1\n")
    assert "stays so" in guard.ctl("start").stderr
    assert guard.handler() == ""
    assert "switched off" in guard.ctl("status").stdout


def test_baseline_of_a_running_machine_allows_what_it_runs(guard: Guard) -> None:
    guard.vm.run("modprobe bridge && modprobe dummy", check=True)
    guard.ctl("init", check=True)
    guard.ctl("start", check=True)
    for module in ("bridge", "stp", "llc", "dummy", "rtnl-link-bridge"):
        assert guard.ctl(f"check {module}").status == 0
    assert guard.ctl("check af_key").status == 3
    guard.vm.run("for m in bridge stp llc dummy; do requester delete $m || exit 1; done", check=True)
    guard.request("link bridge")
    assert {"bridge", "stp", "llc"} <= guard.vm.loaded()
    assert guard.ctl("lint").status == 0


def test_mode_for_a_limited_time_ends_by_itself(guard: Guard) -> None:
    guard.start()
    guard.ctl("mode audit --for 1d", check=True)
    guard.request(REQUEST)
    assert "af_key" in guard.vm.loaded()
    guard.ctl("mode audit --for 1s", check=True)
    guard.vm.run("until kmodctl status | grep -q '^mode *enforce$'; do :; done", check=True)
    guard.vm.run("requester delete af_key", check=True)
    guard.request(REQUEST)
    assert "af_key" not in guard.vm.loaded()


def test_daemon_cannot_load_a_module_and_holds_no_capability(guard: Guard) -> None:
    guard.start()
    status = guard.vm.get(f"/proc/{guard.pid()}/status").decode()
    held = [line.split() for line in status.splitlines() if line.startswith("Cap")]
    assert len(held) == 5 and all(int(value, 16) == 0 for _, value in held), held
    assert "NoNewPrivs:\t1" in status


def test_what_the_daemon_does_to_itself_makes_loading_impossible(guard: Guard) -> None:
    """`powerless` drops its privileges by the daemon's own function, and then runs a program that can load."""
    image = guard.vm.run("find /lib/modules/$(uname -r) -name 'kmg_param.ko*'", check=True).stdout.strip()
    assert guard.vm.run(f"powerless requester finit {image}").stdout == "finit EPERM\n"
    assert "Operation not permitted" in guard.vm.run("powerless modprobe kmg_param").stderr
    assert "kmg_param" not in guard.vm.loaded()
    guard.vm.run("modprobe kmg_param", check=True)  # the module is not to blame


def test_audit_mode_for_a_time_ends_while_the_machine_is_suspended(guard: Guard) -> None:
    """By a clock that stands still meanwhile, nine of the ten seconds would be left after it."""
    guard.start(allow=["kmg_param"])
    guard.ctl("mode audit --for 10s", check=True)
    guard.vm.run("modprobe kmg_inner && requester delete kmg_inner", check=True)
    guard.vm.run("echo +12 >/sys/class/rtc/rtc0/wakealarm && echo mem >/sys/power/state", check=True)
    assert guard.vm.run("modprobe kmg_inner").status != 0
    guard.wait_log("mode-end enforce: done")
    assert guard.status()["daemon"]["mode"] == "enforce"
