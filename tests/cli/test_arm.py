# SPDX-License-Identifier: AGPL-3.0-only
"""`kmodctl arm`, `disarm`, `start`, `stop` and `status` on the fake /proc: what the kernel would run, and what it ran
before."""

import signal

import pytest
from waiting import exit_status
from machine import PATIENCE

HOOK = "/usr/libexec/kmodguard/kmodguard-hook\n"


def test_arm_sets_the_hook_and_saves_what_was_there(machine):
    machine.write("proc/sys/kernel/modprobe", "/opt/own-modprobe\n")
    assert machine.ask("arm").out == "armed, instead of /opt/own-modprobe\n"
    assert machine.handler.read_text() == HOOK
    assert machine.original_handler.read_text() == "/opt/own-modprobe\n"
    assert machine.ask("disarm").out == "disarmed: the handler is /opt/own-modprobe again\n"
    assert machine.handler.read_text() == "/opt/own-modprobe\n"
    assert not machine.original_handler.exists()


def test_arming_twice_keeps_what_was_saved_first(machine):
    machine.ask("arm")
    assert machine.ask("arm").out == "armed already\n"
    assert machine.original_handler.read_text() == "/sbin/modprobe\n"


def test_arm_and_disarm_in_json(machine):
    assert machine.ask("arm", "--json").json == {"armed": True, "changed": True, "original": "/sbin/modprobe"}
    assert machine.ask("disarm", "--json").json == {"armed": False, "changed": True, "handler": "/sbin/modprobe"}
    assert machine.ask("disarm", "--json").json == {"armed": False, "changed": False, "handler": "/sbin/modprobe"}


def test_disarm_without_the_saved_handler_needs_force(machine):
    machine.ask("arm")
    machine.original_handler.unlink()
    ran = machine.kmodctl("disarm")
    assert ran.code == 4
    assert str(machine.original_handler) in ran.err
    assert "hint: kmodctl disarm --force" in ran.err
    assert machine.handler.read_text() == HOOK
    machine.ask("disarm", "--force")
    assert machine.handler.read_text() == "/sbin/modprobe\n"


def test_disarm_by_force_sets_no_modprobe_that_does_not_exist(machine):
    machine.ask("arm")
    machine.original_handler.unlink()
    (machine.root / "sbin/modprobe").unlink()
    ran = machine.kmodctl("disarm", "--force")
    assert ran.code == 4
    assert "no modprobe is installed" in ran.err
    assert machine.handler.read_text() == HOOK


def test_a_handler_that_somebody_else_set_is_left_alone_by_disarm(machine):
    machine.ask("arm")
    machine.handler.write_text("/opt/theirs\n")
    ran = machine.ask("disarm")
    assert "warning: the handler is /opt/theirs, set by another program: left as it is" in ran.err
    assert machine.handler.read_text() == "/opt/theirs\n"


def test_a_handler_that_somebody_else_set_is_shown_and_taken_back_by_arm(machine):
    machine.ask("arm")
    machine.handler.write_text("/opt/theirs\n")
    assert "NOT armed: another process has set the handler to /opt/theirs" in machine.kmodctl("status").out
    assert "had been changed to /opt/theirs" in machine.ask("arm").err
    assert machine.original_handler.read_text() == "/sbin/modprobe\n"


def test_autoloading_that_is_switched_off_stays_off(machine):
    machine.handler.write_text("\n")
    ran = machine.ask("arm")
    assert "autoloading is switched off" in ran.err
    assert machine.handler.read_text() == "\n"


def test_a_kernel_without_modules_cannot_be_armed(machine):
    machine.handler.unlink()
    ran = machine.kmodctl("arm")
    assert ran.code == 4
    assert "this kernel has no module loading" in ran.err


def test_a_saved_handler_that_got_lost_is_found_again_by_arm(machine):
    machine.ask("arm")
    machine.original_handler.unlink()
    assert "the saved original handler was lost; /sbin/modprobe takes its place" in machine.ask("arm").err
    assert machine.original_handler.read_text() == "/sbin/modprobe\n"


def test_start_arms_where_the_daemon_runs_already(machine, daemon):
    assert machine.ask("start").out == "armed, instead of /sbin/modprobe\n"
    assert machine.handler.read_text() == HOOK


def test_start_with_a_broken_policy_arms_and_is_6(machine, start):
    machine.policy.write_text("broken\n")
    start()
    ran = machine.kmodctl("start")
    assert ran.code == 6
    assert f"{machine.policy}:1:" in ran.err
    assert "everything is refused until" in ran.err
    assert machine.handler.read_text() == HOOK


def test_start_with_a_policy_that_was_broken_since_keeps_what_it_said_and_is_6(machine, start):
    start().stop()
    machine.policy.write_text(machine.policy.read_text() + "broken\n")
    start()
    ran = machine.kmodctl("start")
    assert ran.code == 6
    assert "the policy in force stays" in ran.err
    assert machine.kmodctl("check", "loop").code == 0
    assert machine.kmodctl("check", "no-such-module").code == 3
    assert "INVALID: " in machine.kmodctl("status").out


def test_stop_disarms_and_ends_the_daemon(machine, daemon):
    machine.ask("start")
    machine.ask("stop")
    assert machine.handler.read_text() == "/sbin/modprobe\n"
    assert exit_status(daemon.process, PATIENCE) == 0
    assert not machine.socket.exists()
    assert machine.kmodctl("status").code == 5


def test_stop_where_nothing_runs_is_no_failure(machine):
    assert machine.ask("stop").out == "not armed\n"


def test_status_says_what_is_guarded_and_what_is_not(machine, daemon):
    machine.ask("arm")
    ran = machine.ask("status")
    assert "autoload  armed, instead of /sbin/modprobe; 0 allowed, 0 refused\n" in ran.out
    assert ("kernel    not enforced: paths are below another root than the machine's\n"
            "          hint: leave --root out\n"
            "process   by kmodctl exec and kmodctl oci-agent, for what they start\n"
            "guest     by kmodctl guest, for the emulator that it watches\n") in ran.out
    assert "mode      enforce\n" in ran.out
    assert f"          {machine.policy}\n" in ran.out
    assert "allow.modules 2, allow.aliases 1, denied 1" in ran.out
    assert "limits    modules loaded by root" in ran.out


def test_status_in_json(machine, daemon):
    machine.ask("arm")
    answer = machine.ask("status", "--json").json
    assert answer["points"] == [
        {"point": "autoload", "active": True, "armed": True, "handler": HOOK.strip(),
         "detail": "armed, instead of /sbin/modprobe", "original": "/sbin/modprobe", "allowed": 0, "refused": 0, "audited": 0},
        {"point": "kernel", "active": False, "problem": "paths are below another root than the machine's",
         "hint": "leave --root out", "notes": []},
        {"point": "process", "held_by": "kmodctl exec and kmodctl oci-agent, for what they start"},
        {"point": "guest", "held_by": "kmodctl guest, for the emulator that it watches"}]
    assert answer["daemon"]["running"] is True
    assert not [key for key in answer["daemon"] if key.startswith("kernel_point")]
    assert answer["daemon"]["policy"] == [str(machine.policy)]
    assert answer["daemon"]["generation"] == 1


def test_status_of_an_armed_machine_without_daemon_says_that_all_is_refused(machine, daemon):
    machine.ask("arm")
    daemon.stop(signal.SIGKILL)
    ran = machine.kmodctl("status")
    assert ran.code == 5
    assert "daemon    not running: every request is refused\n" in ran.out


@pytest.mark.parametrize("damage", [b"", b"no newline", b"/a\n/b\n"])
def test_status_stands_whatever_is_in_the_saved_handlers_file(machine, damage):
    machine.ask("arm")
    machine.original_handler.write_bytes(damage)
    assert machine.kmodctl("status").code == 5
    assert machine.kmodctl("status", "--json").json["daemon"] == {"running": False}
