# SPDX-License-Identifier: AGPL-3.0-only
"""Reading the policy again: by `kmodctl reload`, by SIGHUP, and whatever is found in the file's place."""

import os
import signal
import socket
import stat

import pytest
from waiting import OPENED
from images import module_image
from machine import PATIENCE, POLICY, wait_until

ALLOWS_AF_KEY = 'version = 1\n[allow]\nmodules = ["af_key"]\n'


def put_directory(policy):
    policy.mkdir()


def put_fifo(policy):
    os.mkfifo(policy)


def put_socket(policy):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(policy))


def put_huge_file(policy):
    with open(policy, "wb") as file:
        file.truncate(100 << 20)


def put_endless_file(policy):
    os.mknod(policy, 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # no link: it would be one to the machine's own /dev/zero, which has none


def put_link_to_itself(policy):
    policy.symlink_to(policy.name)


def put_binary(policy):
    policy.write_bytes(b"version = 1\n\xff\xfe\0\0")


def put_deep_nesting(policy):
    policy.write_text("version = " + "[" * 100_000)


def put_nothing(policy):
    assert not policy.exists()


def put_empty_file(policy):
    policy.write_text("")


def put_too_many_entries(policy):
    entries = ", ".join(f'"m{number}"' for number in range(100_001))
    policy.write_text(f"version = 1\n[allow]\nmodules = [{entries}]\n")


IN_PLACE_OF_A_POLICY = [put_directory, put_fifo, put_socket, put_huge_file, put_endless_file, put_link_to_itself,
                        put_binary, put_deep_nesting, put_nothing, put_empty_file, put_too_many_entries]


def test_reload_makes_a_new_policy_effective(machine, daemon):
    machine.policy.write_text(ALLOWS_AF_KEY)
    assert machine.kmodctl("check", "af_key").code == 3
    assert machine.ask("reload").out == "generation 2\n"
    assert machine.kmodctl("check", "af_key").code == 0
    assert machine.kmodctl("check", "loop").code == 3


def test_sighup_does_what_reload_does(machine, start):
    """And systemd is told when it has been done."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(machine.root / "notify"))
        systemd.settimeout(PATIENCE)
        daemon = start(NOTIFY_SOCKET=str(machine.root / "notify"))
        assert systemd.recv(100) == b"STATUS=mode enforce, generation 1"
        assert systemd.recv(100) == b"READY=1"
        machine.policy.write_text(ALLOWS_AF_KEY)
        daemon.send(signal.SIGHUP)
        assert systemd.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert systemd.recv(100) == b"STATUS=mode enforce, generation 2"
        assert systemd.recv(100) == b"READY=1"
        machine.ask("mode", "audit")
        assert systemd.recv(100) == b"STATUS=mode audit, generation 3"
        machine.policy.write_text("mode = 1\n")
        machine.kmodctl("reload")
        assert systemd.recv(1000).startswith(b"STATUS=mode audit, generation 3; policy INVALID, the former one is in force: ")
        machine.policy.write_text(ALLOWS_AF_KEY)
        machine.ask("reload", "--discard")
    assert machine.status()["generation"] == 4
    assert machine.kmodctl("check", "af_key").code == 0


def test_sighup_with_a_broken_policy_keeps_the_old_one_and_logs_it(machine, daemon):
    machine.policy.write_text("mode = 1\n")
    daemon.send(signal.SIGHUP)
    assert str(machine.policy) in daemon.says("the policy in force stays")
    assert machine.kmodctl("check", "loop").code == 0
    assert machine.status()["generation"] == 1


def test_a_policy_that_asks_for_a_point_that_is_not_held_is_warned_of(machine, daemon):
    """It was said to be in force."""
    assert machine.ask("reload").err == "", "which asks for what there is"
    machine.policy.write_text('points = ["autoload", "kernel"]\n' + ALLOWS_AF_KEY)
    for verb in ("reload", "apply"):
        assert machine.ask(verb).err.startswith("kmodctl: warning: the kernel point is not enforced: ")
    machine.policy.write_text('points = ["autoload"]\n' + ALLOWS_AF_KEY)
    assert machine.ask("reload").err == ""


EDITS = {
    "changed": lambda machine: machine.policy.write_text(ALLOWS_AF_KEY),
    "gone": lambda machine: machine.policy.unlink(),
    "a drop-in more": lambda machine: machine.write("etc/kmodguard/policy.d/60-more.toml", "version = 1\n"),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edited_file_that_was_not_reloaded_is_named_wherever_somebody_asks(machine, daemon, edit):
    assert "policy_newer" not in machine.status()
    edit(machine)
    newer, = machine.status()["policy_newer"]
    assert newer.startswith(str(machine.root))
    assert f"NOT IN FORCE: {newer} has changed since; kmodctl reload reads it" in machine.kmodctl("status").out
    for question in (["check", "loop"], ["explain", "loop"], ["list"]):
        ran = machine.kmodctl(*question)
        assert ran.code == 0
        assert ran.err == f"kmodctl: warning: changed since the policy in force was read: {newer}; kmodctl reload reads it\n"
    assert f"BAD   policy: {newer} has changed" in machine.kmodctl("doctor").out


def test_a_reloaded_file_is_not_newer_any_more(machine, daemon):
    machine.policy.write_text(ALLOWS_AF_KEY)
    machine.ask("reload")
    assert "policy_newer" not in machine.status()
    assert machine.ask("check", "af_key").err == ""
    machine.ask("allow", "loop")
    machine.ask("apply")
    assert "policy_newer" not in machine.status(), "what kmodguard has written itself is in force"


def test_without_a_valid_policy_a_refusal_says_so(machine, start):
    machine.policy.write_text("nonsense\n")
    daemon = start()
    ran = machine.kmodctl("check", "loop")
    assert (ran.code, ran.out) == (3, "loop: refused: loop is allowed by nothing, since there is no valid policy\n")
    assert machine.kmodctl("check", "--json", "loop").json["reason"] == "no-policy"
    machine.kmodctl("hook", "-q", "--", "loop")
    assert daemon.events(1)[0]["reason"] == "no-policy"
    machine.ask("allow", "loop")
    assert machine.kmodctl("check", "loop").code == 0


@pytest.mark.parametrize("put", IN_PLACE_OF_A_POLICY)
def test_whatever_is_in_the_policys_place_the_policy_in_force_stays(machine, daemon, put):
    machine.policy.unlink()
    put(machine.policy)
    ran = machine.kmodctl("reload")
    assert ran.code == (4 if put is put_nothing else 6)
    assert str(machine.policy) in ran.err
    assert "the policy in force stays" in ran.err
    assert machine.kmodctl("check", "loop").code == 0
    assert machine.kmodctl("check", "af_key").code == 3
    assert str(machine.policy) in machine.status()["policy_error"]
    assert "INVALID" in machine.kmodctl("status").out


@pytest.mark.parametrize("put", IN_PLACE_OF_A_POLICY)
def test_a_daemon_started_without_a_usable_policy_refuses_everything(machine, start, put):
    machine.policy.unlink()
    put(machine.policy)
    daemon = start()
    assert "no valid policy, everything is refused" in daemon.log()
    assert machine.kmodctl("check", "loop").code == 3
    assert machine.status()["generation"] == 0
    assert machine.kmodctl("lint").code == (4 if put is put_nothing else 6)


def test_a_daemon_started_with_a_broken_policy_says_that_the_former_one_is_in_force(machine, start):
    """It said that everything is refused."""
    machine.policy.write_text(ALLOWS_AF_KEY)
    start().stop()
    machine.policy.write_text("broken\n")
    assert "no valid policy, the former one is in force: " in start().log()
    assert machine.kmodctl("check", "af_key").code == 0


def test_a_mended_policy_is_taken_and_the_error_is_gone(machine, daemon):
    machine.policy.write_text("broken\n")
    assert machine.kmodctl("reload").code == 6
    machine.policy.write_text(ALLOWS_AF_KEY)
    machine.ask("reload")
    assert "policy_error" not in machine.status()
    assert machine.kmodctl("check", "af_key").code == 0


def test_unsaved_changes_survive_a_reload_unless_discarded(machine, daemon):
    machine.ask("allow", "af_key")
    machine.ask("reload")
    assert machine.kmodctl("check", "af_key").code == 0
    machine.ask("reload", "--discard")
    assert machine.kmodctl("check", "af_key").code == 3


def test_drop_ins_are_read_in_the_order_of_their_names(machine, daemon):
    machine.write("etc/kmodguard/policy.d/20.toml", "version = 1\nmode = 'enforce'\n")
    machine.write("etc/kmodguard/policy.d/10.toml", "version = 1\nmode = 'audit'\n[allow]\nmodules = ['af_key']\n")
    machine.write("etc/kmodguard/policy.d/.hidden.toml", "broken")
    machine.write("etc/kmodguard/policy.d/notes.txt", "broken")
    machine.ask("reload")
    status = machine.status()
    assert status["mode"] == "enforce"
    assert status["policy"] == [str(machine.policy), str(machine.drop_ins / "10.toml"),
                                str(machine.drop_ins / "20.toml")]
    assert machine.kmodctl("check", "af_key", "loop").code == 0


def test_a_broken_drop_in_keeps_the_whole_policy_as_it_was(machine, daemon):
    machine.write("etc/kmodguard/policy.d/10.toml", "broken")
    machine.policy.write_text(ALLOWS_AF_KEY)
    ran = machine.kmodctl("reload")
    assert ran.code == 6
    assert "policy.d/10.toml:1:" in ran.err
    assert machine.kmodctl("check", "loop").code == 0
    assert machine.kmodctl("check", "af_key").code == 3


def test_new_modules_are_noticed_when_depmod_has_run(machine, daemon):
    machine.policy.write_text(POLICY.replace('"net-pf-15"', '"brand-new"'))
    machine.ask("reload")
    assert machine.kmodctl("check", "brand-new").code == 3
    machine.add_module("newcomer", module_image("newcomer", aliases=["brand-new"]))
    machine.depmod()
    wait_until(lambda: machine.kmodctl("check", "brand-new").code == 0, "the new index", machine.modules, mask=OPENED)


def test_a_change_in_modprobe_d_is_noticed(machine, daemon):
    assert machine.kmodctl("check", "other-loop").code == 3
    machine.write("etc/modprobe.d/more.conf", "alias other-loop loop\n")
    wait_until(lambda: machine.kmodctl("check", "other-loop").code == 0, "the new alias", machine.root / "etc/modprobe.d", mask=OPENED)


def test_a_daemon_without_a_module_index_refuses_until_there_is_one(machine, start):
    (machine.modules / "modules.dep.bin").unlink()
    daemon = start()
    assert "no module index" in daemon.log()
    assert machine.kmodctl("check", "loop").code == 3
    assert "NO MODULE INDEX" in machine.kmodctl("status").out
    machine.depmod()
    wait_until(lambda: machine.kmodctl("check", "loop").code == 0, "the index", machine.modules, mask=OPENED)
    assert "index_error" not in machine.status()


def test_what_sighup_could_not_reload_is_recorded_though_the_daemon_has_let_go_of_its_streams(machine, start):
    """With --background standard error is /dev/null."""
    daemon = start("--background")
    log = daemon.log()
    machine.policy.write_text("garbage")
    daemon.send(signal.SIGHUP)
    (change,) = daemon.changes(1)
    assert change["change"] == "reload" and str(machine.policy) in change["error"]
    assert str(machine.policy) in machine.status()["policy_error"]
    assert f"INVALID: {machine.policy}" in machine.ask("status").out
    assert daemon.log() == log
