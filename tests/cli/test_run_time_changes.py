# SPDX-License-Identifier: AGPL-3.0-only
"""`allow`, `deny`, `remove`, `apply` and `list`: changes take effect at once, and stay only when saved."""

import os
import signal
import tomllib

import pytest
from machine import NOBODY, POLICY, has_user


def test_from_the_first_policy_to_a_saved_change(machine, start):
    """The whole way: init, lint, serve, allow, apply, restart."""
    machine.policy.unlink()
    assert "allows 3 modules" in machine.ask("init").out
    assert machine.ask("lint").out == "no problems\n"
    daemon = start()
    assert machine.kmodctl("check", "af_key").code == 3
    machine.ask("allow", "af_key")
    assert machine.kmodctl("check", "af_key").code == 0
    machine.ask("apply")
    assert daemon.stop() == 0
    start()
    assert machine.kmodctl("check", "af_key").code == 0


def test_what_was_allowed_and_not_saved_is_forgotten_by_a_restart(machine, start):
    daemon = start()
    machine.ask("allow", "af_key")
    daemon.stop()
    start()
    assert machine.kmodctl("check", "af_key").code == 3
    assert machine.policy.read_text() == POLICY


def test_apply_keeps_comments_and_order_and_changes_only_what_changed(machine, daemon):
    machine.ask("allow", "af_key")
    machine.ask("remove", "twin_b")
    ran = machine.ask("apply")
    assert ran.out == f"changed {machine.policy}\n"
    assert machine.policy.read_text() == POLICY.replace('    "tun_dev",\n', '    "tun_dev",\n    "af_key",\n').replace(
        '["twin_b"]', "[]")
    assert machine.status()["unsaved_changes"] == 0


def test_apply_keeps_owner_group_and_mode(machine, daemon):
    """The file became root's alone, and whoever was to read it could not any more."""
    group = 4 if has_user(4) else 0
    os.chown(machine.policy, 0, group)
    machine.policy.chmod(0o640)
    machine.ask("allow", "af_key")
    assert machine.ask("apply").out == f"changed {machine.policy}\n"
    after = machine.policy.stat()
    assert (after.st_uid, after.st_gid, after.st_mode & 0o7777) == (0, group, 0o640)


def test_a_policy_that_others_can_write_is_said_by_whatever_puts_it_in_force(machine, daemon):
    """Only lint and the start of the daemon said so."""
    machine.policy.chmod(0o666)
    warning = f"{machine.policy}: warning: this policy file is writable by everyone"
    assert warning in machine.ask("reload").err
    machine.ask("allow", "af_key")
    assert warning in machine.ask("apply").err
    assert warning in machine.ask("status").out
    bad = [line for line in machine.kmodctl("doctor").out.splitlines() if line.startswith("BAD") and "writable by everyone" in line]
    assert bad and str(machine.policy) in bad[0]
    assert [answer for answer in machine.ask("reload", "--json").objects if warning in answer.get("warning", "")]


def test_apply_without_changes_leaves_the_file_alone(machine, daemon):
    before = machine.policy.stat()
    assert machine.ask("apply").out == "nothing to save\n"
    assert machine.policy.stat().st_ino == before.st_ino
    assert machine.ask("apply", "--json").json["changed"] == []


def test_apply_leaves_a_policy_that_was_broken_meanwhile_as_it_is(machine, daemon):
    machine.ask("allow", "af_key")
    machine.policy.write_text("version = \n")
    ran = machine.kmodctl("apply")
    assert ran.code == 6
    assert f"{machine.policy}:1:" in ran.err
    assert machine.policy.read_text() == "version = \n"
    assert machine.kmodctl("check", "af_key").code == 0


def test_a_change_goes_to_the_drop_in_that_has_the_entry(machine, daemon):
    machine.drop_ins.mkdir()
    drop_in = machine.write("etc/kmodguard/policy.d/10.toml", 'version = 1\n[allow]\nmodules = ["af_key"]\n')
    machine.ask("reload")
    machine.ask("remove", "af_key")
    assert machine.ask("apply").out == f"changed {drop_in}\n"
    assert drop_in.read_text() == "version = 1\n[allow]\nmodules = []\n"
    assert machine.policy.read_text() == POLICY


def test_deny_acts_at_once_and_on_what_needs_the_module(machine, daemon):
    machine.ask("deny", "crc_base")
    ran = machine.kmodctl("check", "tun_dev")
    assert ran.code == 3
    assert "would pull in a denied dependency: crc_base" in ran.out
    assert "given at run time, not saved" in ran.out


def test_allow_does_not_override_a_denial_and_says_how_to(machine, daemon):
    ran = machine.kmodctl("allow", "twin_b")
    assert ran.code == 1
    assert "twin_b is denied by deny.modules" in ran.err
    assert f"{machine.policy}:13" in ran.err
    assert "hint: kmodctl remove twin_b" in ran.err
    machine.ask("remove", "twin_b")
    machine.ask("allow", "twin_b")
    assert machine.kmodctl("check", "twin_b").code == 0


def test_remove_of_what_is_on_no_list_is_4(machine, daemon):
    ran = machine.kmodctl("remove", "af_key")
    assert ran.code == 4
    assert "af_key is neither allowed nor denied by name" in ran.err
    assert "hint: kmodctl explain af_key" in ran.err


def test_both_dashes_mean_the_same_module(machine, daemon):
    machine.ask("allow", "af-key")
    assert machine.kmodctl("check", "af_key", "af-key").code == 0
    machine.ask("remove", "af-key")
    assert machine.kmodctl("check", "af_key").code == 3


@pytest.mark.parametrize("name", ["net-pf-*", "a b", "../loop", "kernel/loop.ko", "pci:v00008086",
                                  pytest.param("x" * 56, id="long")])
def test_what_is_no_module_name_is_not_allowed(machine, daemon, name):
    ran = machine.kmodctl("allow", name)
    assert ran.code == 2
    assert "is not a valid module name" in ran.err
    assert "hint: " in ran.err


@pytest.mark.parametrize("name", ["../loop", "kernel/loop.ko", "/", pytest.param("x" * 2049, id="long")])
@pytest.mark.parametrize("verb", ["deny", "remove"])
def test_what_is_no_name_at_all_is_not_taken(machine, daemon, verb, name):
    ran = machine.kmodctl(verb, name)
    assert ran.code == 2
    assert "hint: " in ran.err


def test_deny_of_an_alias_denies_it_and_the_module(machine, daemon):
    """It was stored as a module net_pf_15, said to be denied, and loaded."""
    assert machine.kmodctl("check", "net-pf-15").code == 0
    assert machine.ask("deny", "net-pf-15").out == (
        "net-pf-15 is denied as an alias until the daemon restarts; af_key has it, and is denied with it\n")
    for token in ("net-pf-15", "net_pf_15", "af_key"):
        ran = machine.kmodctl("check", token)
        assert ran.code == 3
        assert 'deny.aliases "net-pf-15" (given at run time, not saved)' in ran.out
    machine.ask("apply")
    assert tomllib.loads(machine.policy.read_text())["deny"] == {"modules": ["twin_b"], "aliases": ["net-pf-15"]}
    assert machine.kmodctl("check", "net-pf-15").code == 3


def test_a_denied_alias_is_taken_off_by_the_name_it_was_denied_by(machine, daemon):
    assert "loop answers to it, and can still load by another name" in machine.ask("deny", "block-major-7-0").out
    assert machine.kmodctl("check", "block-major-7-0").code == 3
    assert machine.kmodctl("check", "loop").code == 0
    machine.ask("remove", "block_major_7_0")
    assert machine.kmodctl("check", "loop", "block-major-7-0").code == 0
    assert machine.status()["unsaved_changes"] == 0
    ran = machine.kmodctl("remove", "block-major-7-0")
    assert ran.code == 4
    assert "neither allowed nor denied" in ran.err


def test_deny_of_a_name_that_nothing_has_says_so(machine, daemon):
    assert "nothing on this kernel has that name" in machine.ask("deny", "twin_bb").out
    assert "nothing on this kernel has that name" in machine.ask("deny", "scsi:*").out
    assert "no module" not in machine.ask("deny", "shy").out


def test_allow_of_an_alias_names_the_module(machine, daemon):
    ran = machine.kmodctl("allow", "block-major-7-0")
    assert ran.code == 1
    assert "block-major-7-0 is no module but an alias of loop" in ran.err
    assert "hint: kmodctl allow loop" in ran.err


def test_an_alias_in_deny_modules_is_denied_with_and_without_the_daemon(machine, start):
    """It denied nothing; only lint said so."""
    machine.policy.write_text(POLICY.replace('["twin_b"]', '["net-pf-15", "block-major-7-0"]'))
    start()
    for more in ([], ["--policy", machine.policy]):
        for token in ("net-pf-15", "af_key", "block-major-7-0"):
            ran = machine.kmodctl("check", *more, token)
            assert ran.code == 3, token
            assert f"({machine.policy}:13)" in ran.out
        assert machine.kmodctl("check", *more, "tun_dev").code == 0


@pytest.mark.parametrize("arguments", [["allow", "loop"], ["deny", "loop"], ["remove", "loop"], ["apply"], ["reload"],
                                       ["mode", "audit"]])
def test_without_a_daemon_a_change_is_5_and_says_how_to_start_it(machine, arguments):
    ran = machine.kmodctl(*arguments)
    assert ran.code == 5
    assert str(machine.socket) in ran.err
    assert "hint: start it with kmodctl start" in ran.err


@pytest.mark.parametrize("arguments", [["allow", "loop"], ["deny", "loop"], ["remove", "loop"], ["apply"], ["reload"],
                                       ["mode", "audit"], ["init"], ["arm"], ["disarm"], ["start"], ["stop"]])
def test_only_root_changes_anything(machine, daemon, arguments):
    ran = machine.kmodctl(*arguments, user=NOBODY)
    assert ran.code == 1
    assert ran.err == (f"kmodctl {arguments[0]}: only root may do this\n"
                       f"  hint: try sudo kmodctl {arguments[0]}\n")
    assert machine.status()["generation"] == 1


def test_list_shows_every_rule_with_its_line_and_what_is_not_saved(machine, daemon):
    machine.ask("allow", "af_key")
    lines = [line.split(maxsplit=2) for line in machine.ask("list").out.splitlines()]
    assert lines == [["allow.modules", "loop", f"{machine.policy}:7"],
                     ["allow.modules", "tun_dev", f"{machine.policy}:8"],
                     ["allow.modules", "af_key", "(run time, not saved)"],
                     ["allow.aliases", "net-pf-15", f"{machine.policy}:10"],
                     ["deny.modules", "twin_b", f"{machine.policy}:13"]]


def test_list_in_json_says_what_is_saved(machine, daemon):
    machine.ask("allow", "af_key")
    rules = machine.ask("list", "--json").objects
    assert {"list": "allow.modules", "text": "af_key", "saved": False} in rules
    assert {"list": "deny.modules", "text": "twin_b", "saved": True, "origin": f"{machine.policy}:13"} in rules


def test_list_without_a_daemon_shows_the_files(machine):
    assert len(machine.ask("list").out.splitlines()) == 4


def test_many_changes_one_after_the_other_all_count(machine, daemon):
    for number in range(60):
        machine.ask("allow", f"module_{number}")
    assert machine.status()["unsaved_changes"] == 60
    machine.ask("apply")
    assert machine.policy.read_text().count("module_") == 60


def test_a_daemon_killed_between_allow_and_apply_leaves_the_policy_whole(machine, start):
    daemon = start()
    machine.ask("allow", "af_key")
    assert daemon.stop(signal.SIGKILL) == -signal.SIGKILL
    assert machine.policy.read_text() == POLICY
    start()
    assert machine.status()["unsaved_changes"] == 0


def test_that_user_namespaces_are_served_is_shown_with_and_without_the_daemon(machine, start):
    """Neither list nor status said so."""
    machine.policy.write_text(POLICY.replace("[allow]\n", "[allow]\nuser_namespaces = true\n"))
    line = 1 + machine.policy.read_text().splitlines().index("user_namespaces = true")
    rule = {"list": "allow.user_namespaces", "text": "true", "saved": True, "origin": f"{machine.policy}:{line}"}
    assert rule in machine.ask("list", "--json").objects
    start()
    assert rule in machine.ask("list", "--json").objects
    assert f"allow.user_namespaces true {'':27} {machine.policy}:{line}\n" in machine.ask("list").out
    assert machine.status()["user_namespaces"] is True
    assert "          allow.user_namespaces: " in machine.ask("status").out
    machine.policy.write_text(POLICY)
    machine.ask("reload")
    assert machine.status()["user_namespaces"] is False
    assert "user_namespaces" not in machine.ask("list").out + machine.ask("status").out
