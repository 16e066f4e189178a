# SPDX-License-Identifier: AGPL-3.0-only
"""Who changed the guard: each change is a record with the process that asked for it, whether it was made or not."""

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from machine import KMODCTL, clean_environment

LOGIN = Path("/proc/self/loginuid")
LOGIN_UID = int(LOGIN.read_text()) if LOGIN.exists() else 2**32 - 1
WHO = {"uid": 0, "comm": "kmodctl", "login_uid": None if LOGIN_UID == 2**32 - 1 else LOGIN_UID}

CHANGES = [
    (["allow", "af_key"], {"change": "allow", "argument": "af_key", "generation": 2}),
    (["deny", "loop"], {"change": "deny", "argument": "loop", "generation": 2}),
    (["remove", "loop"], {"change": "remove", "argument": "loop", "generation": 2}),
    (["mode", "audit"], {"change": "mode", "argument": "audit", "generation": 2}),
    (["mode", "audit", "--for", "30m"], {"change": "mode", "argument": "audit 1800", "generation": 2}),
    (["reload"], {"change": "reload", "generation": 2}),
    (["reload", "--discard"], {"change": "reload", "argument": "discard", "generation": 2}),
    (["apply"], {"change": "apply", "generation": 2}),
    (["arm"], {"change": "arm", "generation": 1}),
]


@pytest.mark.parametrize("arguments, expected", CHANGES, ids=[" ".join(arguments) for arguments, _ in CHANGES])
def test_each_change_is_recorded_with_who_made_it(machine, daemon, arguments, expected):
    process = subprocess.Popen([KMODCTL, "--root", machine.root, *arguments], env=clean_environment(), stdout=subprocess.DEVNULL)
    assert process.wait() == 0
    change, = daemon.changes(1)
    assert change.pop("time")
    assert change == {**expected, "result": "done", "by": {"pid": process.pid, **WHO}}


@pytest.mark.parametrize("arguments, error", [
    (["allow", "twin_b"], "twin_b is denied by deny.modules"), (["remove", "nothing"], "nothing is neither allowed nor denied"),
    (["deny", "a/b"], "is a path, and neither a module nor an alias")], ids=["allow", "remove", "deny"])
def test_what_was_tried_in_vain_is_recorded_with_why(machine, daemon, arguments, error):
    assert machine.kmodctl(*arguments).code != 0
    change, = daemon.changes(1)
    assert (change["change"], change["argument"], change["result"]) == (*arguments, "failed")
    assert error in change["error"]
    assert error in daemon.says(error), "and on standard error"


def test_disarming_and_stopping_are_recorded_and_by_whom_the_daemon_is_ended(machine, daemon):
    machine.ask("arm")
    machine.ask("stop")
    assert [(change["change"], change["result"]) for change in daemon.changes(4)] == [
        ("arm", "done"), ("disarm", "done"), ("stop", "done"), ("end", "done")]
    assert daemon.changes(4)[-1]["by"]["uid"] == 0


def test_a_disarming_that_fails_is_recorded(machine, daemon):
    machine.ask("arm")
    machine.original_handler.unlink()
    assert machine.kmodctl("disarm").code == 4
    arming, failed = daemon.changes(2)
    assert (failed["change"], failed["result"]) == ("disarm", "failed")
    assert "the original handler is not known" in failed["error"]


@pytest.mark.parametrize("number, change", [(signal.SIGTERM, "end"), (signal.SIGINT, "end"), (signal.SIGHUP, "reload")])
def test_who_sends_the_daemon_a_signal_is_recorded(machine, daemon, number, change):
    daemon.send(number)
    recorded, = daemon.changes(1)
    assert (recorded["change"], recorded["by"]["pid"]) == (change, os.getpid())


def test_another_handler_in_the_kernel_is_recorded_once(machine, daemon):
    machine.ask("arm")
    machine.handler.write_text("/tmp/evil\n")
    for _ in range(3):
        machine.kmodctl("status")
    machine.ask("arm")
    _, foreign, again = daemon.changes(3)
    assert (foreign["change"], foreign["argument"]) == ("handler", "/tmp/evil")
    assert "by" not in foreign, "nobody knows"
    assert again["change"] == "arm"


def test_the_end_of_a_limited_mode_is_recorded(machine, daemon):
    machine.ask("mode", "audit", "--for", "1s")
    _, ended = daemon.changes(2)
    assert (ended["change"], ended["argument"], ended["result"]) == ("mode-end", "enforce", "done")


def test_questions_change_nothing(machine, daemon):
    for question in (["status"], ["list"], ["check", "loop"], ["explain", "loop"], ["mode"]):
        machine.kmodctl(*question)
    machine.ask("allow", "af_key")
    assert len(daemon.changes(1)) == 1


def test_only_what_kmodctl_does_by_itself_can_be_recorded_for_it(machine, daemon):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(machine.socket))
        for action in ("allow", "end", "handler", "nonsense", ""):
            client.sendall(f"RECORD {action}\n".encode())
            assert client.recv(1000).splitlines()[-1].startswith(b"ERR invalid: ")
