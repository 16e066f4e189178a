# SPDX-License-Identifier: AGPL-3.0-only
"""What is in the kernel already, loaded or built in: no policy takes it out, so whoever asks is told."""

import pytest

STAYS = "a loaded module would not be admitted, and stays until it is unloaded: "


@pytest.fixture(params=["by the daemon", "by the files"])
def judged(request, machine):
    """The machine, with a module that was loaded and is on no list; judged both ways."""
    if request.param == "by the daemon":
        request.getfixturevalue("daemon")
    load(machine, "af_key", "shy")
    return machine


def load(machine, *names):
    file = machine.root / "proc/modules"
    file.write_text(file.read_text() + "".join(f"{name} 16384 0 - Live 0x0\n" for name in names))


def test_status_names_loaded_modules_that_the_policy_would_not_admit(judged):
    """None of the verbs did."""
    assert f"loaded    {STAYS}shy\n" in judged.kmodctl("status").out
    assert judged.kmodctl("status", "--json").json["loaded"] == {
        "not_admitted": [{"module": "shy", "reason": "not-listed", "denied": False}]}


def test_doctor_notes_them_and_calls_denied_ones_bad(judged):
    def finding():
        found, = [one for one in judged.kmodctl("doctor", "--json").objects if one["check"] == "loaded"]
        return found
    assert (finding()["level"], finding()["finding"]) == ("note", STAYS + "shy")
    load(judged, "twin_b")
    assert finding()["level"] == "bad"
    assert finding()["finding"].endswith("unloaded: twin_b (denied), shy")
    assert finding()["remedy"].startswith("rmmod takes a module out")


def test_lint_names_them_at_the_rule_that_denies_them(judged):
    load(judged, "twin_b")
    said = judged.ask("lint").out
    assert f"{judged.policy}:13: warning: {STAYS}twin_b (denied)\n" in said
    assert f"\nwarning: {STAYS}shy\n" in said


def test_lint_of_another_kernel_does_not_look_at_what_is_loaded(judged):
    (judged.root / "lib/modules/9.9.9").symlink_to(judged.modules.name)
    assert "loaded module" not in judged.ask("lint", "--kernel", "9.9.9").out


def test_what_is_loaded_with_an_admitted_module_is_admitted(judged):
    load(judged, "crc_base")
    assert "crc_base" not in judged.kmodctl("status").out


def test_where_nobody_knows_what_is_loaded_that_is_said(judged):
    (judged.root / "proc/modules").unlink()
    assert "whether the policy would admit what is loaded is not known: " in judged.kmodctl("status").out
    assert "problem" in judged.kmodctl("status", "--json").json["loaded"]
    assert judged.ask("lint").out.startswith("not compared with what is loaded: ")


def test_the_daemon_says_at_its_start_what_came_before_it(machine, start):
    load(machine, "shy")
    assert STAYS + "shy" in start().says("would not be admitted")


def test_start_warns_of_them(machine, daemon):
    assert "loaded" not in machine.ask("start").err
    load(machine, "shy")
    assert f"kmodctl: warning: {STAYS}shy\n" in machine.ask("start").err


def test_deny_and_remove_say_what_is_loaded_or_built_in_already(machine, daemon):
    ran = machine.ask("deny", "tun_dev")
    assert ran.err == f"kmodctl: warning: {STAYS}tun_dev (denied)\n"
    assert machine.ask("remove", "loop").err == f"kmodctl: warning: {STAYS}loop\n"
    assert machine.ask("deny", "af_key").err == ""
    assert machine.ask("deny", "--json", "ext4").objects == [
        {"warning": "built into the kernel, and not kept out by any policy: ext4"},
        {"result": "ext4 is denied until the daemon restarts"}]


@pytest.mark.parametrize("verb", ["check", "explain"])
def test_a_denied_module_that_is_built_in_is_not_reported_as_blocked(judged, verb):
    """Exit status 3 and verdict refuse told a script that it is."""
    judged.policy.write_text(judged.policy.read_text().replace('"twin_b"', '"twin_b", "ext4"'))
    judged.kmodctl("reload")
    ran = judged.kmodctl(verb, "--json", "ext4")
    assert ran.code == 7
    assert (ran.json["verdict"], ran.json["blocked"], ran.json["will_load"]) == ("refuse", False, False)
    assert ran.json["modules"][0]["built_in"] is True
    said = judged.kmodctl(verb, "ext4").out
    assert said.startswith("ext4: refused, but not blocked")
    assert "is built into the kernel: it is there already, and no module control applies" in said
    refused = judged.kmodctl(verb, "--json", "twin_b")
    assert (refused.code, refused.json["blocked"]) == (3, True)


def test_of_several_tokens_one_that_is_blocked_decides_the_exit_status(judged):
    judged.policy.write_text(judged.policy.read_text().replace('"twin_b"', '"twin_b", "ext4"'))
    judged.kmodctl("reload")
    assert judged.kmodctl("check", "ext4", "loop").code == 7
    assert judged.kmodctl("check", "ext4", "twin_b").code == 3
