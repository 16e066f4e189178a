# SPDX-License-Identifier: AGPL-3.0-only
"""`kmodctl mode`, and kmodguard.mode on the kernel's command line: audit refuses nothing and hides nothing."""

import time
import tomllib

import pytest


def test_audit_lets_pass_and_says_what_it_would_have_refused(machine, daemon):
    machine.ask("mode", "audit")
    ran = machine.kmodctl("check", "af_key")
    assert ran.code == 0
    assert ran.out.startswith("af_key: would be refused: af_key is not on the allow list")
    answer = machine.ask("check", "--json", "af_key").json
    assert (answer["verdict"], answer["judged"], answer["mode"]) == ("allow", "refuse", "audit")
    assert "let pass by audit mode" in machine.ask("explain", "af_key").out


def test_audit_still_refuses_what_does_not_exist(machine, daemon):
    machine.ask("mode", "audit")
    assert machine.kmodctl("check", "nothing-like-it").code == 3


def test_enforce_comes_back_when_asked_for(machine, daemon):
    machine.ask("mode", "audit")
    machine.ask("mode", "enforce")
    assert machine.kmodctl("check", "af_key").code == 3
    assert machine.status()["unsaved_changes"] == 0


def test_apply_saves_the_mode(machine, daemon):
    machine.ask("mode", "audit")
    machine.ask("apply")
    assert tomllib.loads(machine.policy.read_text())["mode"] == "audit"
    assert machine.policy.read_text().startswith("# Written by hand")


def test_a_limited_mode_ends_by_itself(machine, daemon):
    """In its time, and then it says so: one for a day is still in force when it is looked at, one for a second ends."""
    machine.ask("mode", "audit", "--for", "1d")
    assert machine.status()["mode"] == "audit"
    assert " s more)" in machine.kmodctl("status").out
    assert machine.kmodctl("check", "af_key").code == 0
    assert daemon.log() == ""
    machine.ask("mode", "audit", "--for", "1s")
    assert daemon.says("\n") == "the time of the limited mode is over: enforce is in force\n"
    status = machine.status()
    assert status["mode"] == "enforce" and "mode_seconds_left" not in status
    assert machine.kmodctl("check", "af_key").code == 3


def test_a_limited_mode_is_not_saved(machine, daemon):
    before = machine.policy.read_text()
    machine.ask("mode", "audit", "--for", "30m")
    assert machine.ask("apply").out == "nothing to save\n"
    assert machine.policy.read_text() == before
    assert machine.status()["mode"] == "audit"


@pytest.mark.parametrize("time_text, seconds", [("90s", 90), ("90", 90), ("30m", 1800), ("8h", 28800), ("1d", 86400),
                                                ("7d", 604800)])
def test_lengths_of_time(machine, daemon, time_text, seconds):
    before = time.monotonic()
    machine.ask("mode", "audit", "--for", time_text)
    left = machine.status()["mode_seconds_left"]
    assert seconds - (time.monotonic() - before) <= left <= seconds


@pytest.mark.parametrize("time_text", ["0", "-1s", "5x", "", "1h30", "8d", "99999999999999999999s", "1.5h"])
def test_what_is_no_length_of_time_is_2_and_changes_nothing(machine, daemon, time_text):
    ran = machine.kmodctl("mode", "audit", f"--for={time_text}")
    assert ran.code == 2
    assert machine.status()["mode"] == "enforce"


def test_an_unknown_mode_is_2_and_the_modes_are_named(machine, daemon):
    ran = machine.kmodctl("mode", "permissive")
    assert ran.code == 2
    assert "\"permissive\" is not \"enforce\" or \"audit\"" in ran.err
    assert "hint: kmodctl mode [enforce|audit]" in ran.err


@pytest.mark.parametrize("value", ["audit", "off"])
def test_the_kernels_command_line_lets_everything_pass_whatever_the_policy_says(machine, start, value):
    machine.write("proc/cmdline", f"quiet kmodguard.mode={value} splash\n")
    start()
    assert machine.kmodctl("check", "af_key").code == 0
    status = machine.status()
    assert status["mode"] == "audit"
    assert "command line" in status["mode_forced"]
    ran = machine.kmodctl("mode", "enforce")
    assert ran.code == 1
    assert "kmodguard.mode" in ran.err
    assert "hint: boot without it" in ran.err


def test_with_audit_on_the_command_line_a_broken_policy_refuses_nothing(machine, start):
    machine.write("proc/cmdline", "kmodguard.mode=audit\n")
    machine.policy.write_text("nonsense\n")
    start()
    assert machine.kmodctl("check", "af_key").code == 0
    assert "policy_error" in machine.status()


def test_with_off_on_the_command_line_arming_is_declined(machine):
    machine.write("proc/cmdline", "kmodguard.mode=off\n")
    ran = machine.kmodctl("arm")
    assert ran.code == 1
    assert "kmodguard.mode=off is on the kernel's command line" in ran.err
    assert machine.handler.read_text() == "/sbin/modprobe\n"


def test_anything_else_on_the_command_line_changes_nothing(machine, start):
    machine.write("proc/cmdline", "xkmodguard.mode=off kmodguard.mode=whatever\n")
    start()
    assert machine.kmodctl("check", "af_key").code == 3


def test_the_mode_is_answered_in_json(machine, daemon):
    assert machine.ask("mode", "audit", "--json").json == {"result": "the mode is audit"}


def test_without_an_argument_it_is_shown(machine, daemon):
    assert machine.ask("mode").out == "enforce\n"
    assert machine.ask("mode", "--json").json == {"mode": "enforce"}
    machine.ask("mode", "audit", "--for", "1d")
    assert machine.ask("mode").out.startswith("audit (for ")
    answer = machine.ask("mode", "--json").json
    assert answer["mode"] == "audit" and 0 < answer["seconds_left"] <= 86400
    assert machine.kmodctl("mode", "--for", "1d").code == 2
