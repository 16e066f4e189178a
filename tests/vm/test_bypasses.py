# SPDX-License-Identifier: AGPL-3.0-only
"""The ways around an allowlist that this enforcement point can be asked for, one test or more a row.

The numbers are those of docs/bypasses.md.
"""

import pytest

from guard import HANDLER, HOOK, ORIGINAL, POLICY, Guard, policy

pytestmark = pytest.mark.restored
PROCESSORS = 2  # for floods, and for what happens meanwhile


@pytest.mark.leaves_nothing
def test_row_4_alias_of_an_allowed_and_an_unlisted_module_loads_only_the_allowed_one(guard: Guard) -> None:
    guard.start(allow=["kmg_twin_b"])
    assert guard.ask("kmg-twins") == "ok"
    assert guard.vm.loaded() & {"kmg_twin_a", "kmg_twin_b"} == {"kmg_twin_b"}


def test_row_4_with_real_modules(guard: Guard) -> None:
    guard.start(allow=["vsock_loopback"])
    guard.request("socket 40 1 0")
    assert guard.vm.loaded() & {"vmw_vsock_vmci_transport", "vsock_loopback", "hv_sock"} == {"vsock_loopback"}


@pytest.mark.leaves_nothing
def test_row_5_denied_module_is_refused_by_its_alias_whatever_allows_it(guard: Guard) -> None:
    guard.start(allow=["kmg_twin_a", "kmg_twin_b"], aliases=["*"], deny=["kmg-twin-a"])
    assert guard.ask("kmg-twins") == "ok"
    assert guard.vm.loaded() & {"kmg_twin_a", "kmg_twin_b"} == {"kmg_twin_b"}
    assert guard.ask("kmg-twin_a") == "exit3"


@pytest.mark.leaves_nothing
def test_row_5_denied_pattern_matches_with_either_dash(guard: Guard) -> None:
    guard.start(aliases=["*"], deny_aliases=["kmg_tw?ns", "net-pf-[0-9]*"])
    assert guard.ask("kmg-twins") == "exit3"
    guard.request("socket 15 3 2")
    assert not guard.vm.loaded() & {"kmg_twin_a", "kmg_twin_b", "af_key"}


@pytest.mark.parametrize("module,denied", [("kmg_needs_base", "kmg_base"), ("kmg_soft", "kmg_inner"), ("kmg_soft", "kmg_twin_a")])
def test_row_6_denied_dependency_refuses_what_needs_it_and_lint_warned(running: Guard, module: str, denied: str) -> None:
    running.vm.put(POLICY, policy(allow=[module], deny=[denied]).encode())
    lint = running.ctl("lint").stdout
    assert module in lint and denied in lint
    running.ctl("reload", check=True)
    assert running.ask(module) == "exit3"
    assert not running.vm.loaded() & {module, denied}
    assert f"{module} would pull in a denied dependency: {denied}" in running.wait_log("denied dependency")


def test_row_16_others_are_answered_while_50_processes_ask_without_pause(guard: Guard) -> None:
    guard.start(allow=["kmg_param"])
    flood = guard.flood(50, 3000, "socket 9 3 0")  # the kernel point refuses all but the first ones
    assert guard.vm.run("requester ask kmg_param", check=True).stdout.split()[1] == "ok"
    assert guard.vm.run("kmodctl check kmg_param").status == 0
    flood.wait(timeout=900)
    (kernel,) = [point for point in guard.status()["points"] if point["point"] == "kernel"]
    assert kernel["remembered"] > 100_000
    assert guard.status()["daemon"]["refused"] < 100


def test_row_16_slow_loads_hold_up_nobody_else(running: Guard) -> None:
    running.vm.put("/etc/modprobe.d/kmg.conf", b"options kmg_slow hold=1\n")
    running.start(allow=["kmg_param", "kmg_slow"])
    slow = running.vm.start("requester --parallel 20 ask kmg_slow")
    running.vm.run("until grep -q '^kmg_slow ' /proc/modules; do :; done", check=True)
    assert running.ask("kmg_param") == "ok" and slow.running
    running.vm.run("echo 0 > /sys/module/kmg_slow/parameters/hold", check=True)
    slow.wait(timeout=900)
    assert {"kmg_param", "kmg_slow"} <= running.vm.loaded()


@pytest.mark.leaves_nothing
def test_row_17_module_whose_init_asks_for_another_does_not_deadlock(guard: Guard) -> None:
    guard.start(allow=["kmg_outer", "kmg_inner"])
    assert guard.ask("kmg_outer") == "ok"
    assert guard.vm.get("/sys/module/kmg_outer/parameters/result") == b"0\n"
    assert {"kmg_outer", "kmg_inner"} <= guard.vm.loaded()


@pytest.mark.leaves_nothing
def test_row_17_what_it_asks_for_is_judged_like_any_request(guard: Guard) -> None:
    guard.start(allow=["kmg_outer"])
    assert guard.ask("kmg_outer") == "ok"
    assert "kmg_inner" not in guard.vm.loaded()


def test_row_18_daemon_killed_requests_are_refused_until_it_is_back(guard: Guard) -> None:
    guard.start(allow=["af_key"])
    guard.kill()
    guard.request("socket 15 3 2")
    assert guard.ask("af_key") == "exit5"
    assert "af_key" not in guard.vm.loaded()
    assert "refused net-pf-15: the daemon does not answer" in guard.wait_log("does not answer")
    assert "every request is refused" in guard.ctl("status").stdout
    guard.ctl("start", check=True)
    guard.request("socket 15 3 2")
    assert "af_key" in guard.vm.loaded()


def test_row_18_daemon_stopped_requests_are_refused_when_the_hook_gives_up(guard: Guard) -> None:
    guard.start(allow=["af_key"])
    guard.kill("STOP")
    assert guard.ask("af_key") == "exit5"
    assert "af_key" not in guard.vm.loaded()
    assert "refused af_key: the daemon does not answer" in guard.wait_log("does not answer")
    guard.kill("CONT")
    assert guard.ask("af_key") == "ok"
    assert guard.status()["daemon"]["allowed"] == 2, "the first one had been asked for as well"


def test_row_18_socket_deleted_requests_are_refused(guard: Guard) -> None:
    guard.start(allow=["af_key"])
    guard.vm.run("rm /run/kmodguard/daemon.sock", check=True)
    assert guard.ask("af_key") == "exit5"
    guard.vm.run("kill $(pidof kmodguard)", check=True)


def test_row_18_daemon_killed_and_restarted_during_a_flood_lets_nothing_unlisted_pass(guard: Guard) -> None:
    guard.start(allow=["kmg_param"])
    flood = guard.flood(20, 30, "socket 15 3 2")
    for _ in range(3):
        guard.kill()
        guard.ctl("start", check=True)
    flood.wait(timeout=900)
    assert "af_key" not in guard.vm.loaded()
    assert guard.ask("kmg_param") == "ok"


BROKEN = {
    "garbage": "head -c 4096 /dev/urandom > POLICY",
    "an unreadable file": "rm POLICY; ln -s /proc/self/mem POLICY",
    "a half-written file": "printf 'version = 1\\n[allow]\\nmodules = [\"af_' > POLICY",
    "a directory": "rm POLICY; mkdir POLICY",
    "nothing": "rm POLICY",
    "100 MB": "rm POLICY; dd if=/dev/zero of=POLICY bs=1M count=100 2>/dev/null",
    "a FIFO": "rm POLICY; mkfifo POLICY",
}


@pytest.mark.leaves_nothing
@pytest.mark.parametrize("name", BROKEN)
def test_row_19_policy_replaced_by_something_broken_leaves_the_old_one_in_force(guard: Guard, name: str) -> None:
    guard.start(allow=["kmg_param"])
    guard.vm.run(BROKEN[name].replace("POLICY", POLICY), check=True)
    reloaded = guard.ctl("reload")
    assert reloaded.status == (4 if name == "nothing" else 6) and POLICY in reloaded.stderr and "stays" in reloaded.stderr
    assert guard.ask("kmg_param") == "ok"
    assert guard.ask("af_key") == "exit3"
    assert "INVALID" in guard.ctl("status").stdout
    guard.vm.run(f"rm -rf {POLICY}", check=True)


@pytest.mark.parametrize("name", BROKEN)
def test_row_19_start_without_a_valid_policy_refuses_all_and_says_so(guard: Guard, name: str) -> None:
    guard.vm.put(POLICY, b"")
    guard.vm.run(BROKEN[name].replace("POLICY", POLICY), check=True)
    started = guard.ctl("start")
    assert started.status == 6 and "everything is refused" in started.stderr
    assert guard.handler() == HOOK
    assert guard.ask("kmg_param") == "exit3"
    guard.vm.run(f"rm -rf {POLICY}", check=True)


def test_row_20_client_that_is_not_root_is_refused(guard: Guard) -> None:
    guard.start()
    assert "only root" in guard.ctl("allow af_key", user="nobody").stderr
    guard.vm.run("chmod 666 /run/kmodguard/daemon.sock", check=True)
    answer = guard.vm.run("echo 'ALLOW af_key' | client /run/kmodguard/daemon.sock", user="nobody").stdout
    assert answer.startswith("ERR unauthorized")
    assert guard.ctl("check af_key").status == 3


HOSTILE = {
    "nothing": "sleep 1000",
    "half a line": "printf 'AUTOLOAD net-p'; sleep 1000",
    "a gigabyte": "dd if=/dev/zero bs=1M count=1024 2>/dev/null | tr '\\0' 'A'",
    "NULs": "head -c 100 /dev/zero; echo; sleep 1000",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_row_20_client_that_misbehaves_is_dropped_and_others_are_served(guard: Guard, name: str) -> None:
    guard.start(allow=["kmg_param"])
    guard.vm.run("rm -f /run/input; mkfifo /run/input", check=True)
    client = guard.vm.start(f"({HOSTILE[name]}) > /run/input & client /run/kmodguard/daemon.sock < /run/input; echo dropped; killall sleep")
    assert guard.ask("kmg_param") == "ok"
    client.wait_output("dropped", timeout=900)
    resident = guard.vm.run("grep VmHWM /proc/$(pidof kmodguard)/status").stdout.split()
    assert int(resident[1]) < 20_000


def test_row_20_many_connections_do_not_keep_requests_out(guard: Guard) -> None:
    guard.start(allow=["kmg_param"])
    clients = guard.vm.start("for i in $(seq 400); do sleep 1000 | client /run/kmodguard/daemon.sock & done; echo connected; wait")
    clients.wait_output("connected")
    assert guard.ask("kmg_param") == "ok"
    guard.vm.run("killall sleep")


TOKENS = ["-r", "--remove", "../../tmp/x", "/etc/passwd", "$(touch /run/pwned)", "`id`", ";reboot", "a b", "*", "%n%s", "."]


@pytest.mark.leaves_nothing
@pytest.mark.parametrize("token", TOKENS)
def test_row_21_token_that_looks_like_something_else_is_a_name_that_does_not_exist(guard: Guard, token: str) -> None:
    guard.start(allow=["kmg_param"])
    before = guard.vm.loaded()
    assert guard.ask(token) == "exit3"
    assert guard.vm.loaded() == before
    assert guard.vm.run("test -e /run/pwned").status == 1


@pytest.mark.leaves_nothing
def test_row_21_odd_bytes_and_lengths_through_the_hook(guard: Guard) -> None:
    guard.start(aliases=["*"])
    for token in ("\"$(printf '\\377\\376')\"", "\"$(printf 'a\\nb')\"", "\"$(head -c 5000 /dev/zero | tr '\\0' a)\""):
        assert guard.vm.run(f"{HOOK} -q -- {token}").status == 3, token
    assert guard.vm.run(f"{HOOK} -q -- ''").status == 2
    assert guard.ctl("status").status == 0


def test_row_22_handler_rewritten_behind_its_back_is_reported_and_mended(guard: Guard) -> None:
    guard.start()
    guard.vm.run(f"echo /tmp/other > {HANDLER}", check=True)
    assert "NOT armed: another process has set the handler to /tmp/other" in guard.ctl("status").stdout
    guard.ctl("arm", check=True)
    assert guard.handler() == HOOK
    assert guard.vm.get(ORIGINAL) == b"/sbin/modprobe\n"


def test_row_22_handler_set_by_somebody_else_is_left_alone_by_stop(guard: Guard) -> None:
    guard.start()
    guard.vm.run(f"echo /tmp/other > {HANDLER}", check=True)
    assert "left as it is" in guard.ctl("stop").stderr
    assert guard.handler() == "/tmp/other"


def test_row_22_lost_original_is_replaced_by_a_modprobe_that_exists(guard: Guard) -> None:
    guard.start()
    guard.vm.run(f"rm {ORIGINAL}", check=True)
    assert "original handler is lost" in guard.ctl("status").stdout
    failed = guard.ctl("disarm")
    assert failed.status == 4 and "--force" in failed.stderr
    guard.ctl("arm", check=True)
    assert guard.vm.get(ORIGINAL) == b"/sbin/modprobe\n"
    guard.vm.run(f"rm {ORIGINAL}", check=True)
    guard.ctl("disarm --force", check=True)
    assert guard.handler() == "/sbin/modprobe"
