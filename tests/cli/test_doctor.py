# SPDX-License-Identifier: AGPL-3.0-only
"""`kmodctl doctor`: what it finds on a machine that is a directory, where the kernel point cannot be held and nothing is
tried. What it finds on a real kernel, and that its canaries are refused there, the tests in a virtual machine show."""

import signal

import pytest
from machine import NOBODY

HOOK = "usr/libexec/kmodguard/kmodguard-hook"
LEVELS = {"ok": "ok   ", "note": "note ", "bad": "BAD  "}


@pytest.fixture
def hook(machine):
    machine.write(HOOK, "#!/bin/sh\n").chmod(0o755)


def findings(machine, *options):
    """What was found, by what was looked at; the last of each."""
    ran = machine.kmodctl("doctor", "--json", *options)
    assert ran.err == ""
    assert ran.code == int(any(finding["level"] == "bad" for finding in ran.objects))
    return {finding["check"]: finding for finding in ran.objects}


def test_a_healthy_machine_lacks_the_kernel_point_only(machine, daemon, hook):
    machine.ask("arm")
    found = findings(machine)
    assert [check for check, finding in found.items() if finding["level"] == "bad"] == ["kernel point"]
    assert found["kernel point"]["finding"].startswith("not enforced: paths are below another root")
    assert found["kernel point"]["remedy"] == "leave --root out"
    assert {check: finding["level"] for check, finding in found.items()} == {
        "daemon": "ok", "policy": "ok", "mode": "ok", "index": "ok", "handler": "ok", "hook": "ok",
        "kernel point": "bad", "loaded": "ok", "records": "ok", "request": "note"}


def test_every_finding_is_a_line_with_its_remedy(machine):
    ran = machine.kmodctl("doctor")
    found = machine.kmodctl("doctor", "--json").objects
    assert (ran.code, ran.err) == (1, "")
    lines = ran.out.splitlines()
    assert lines.pop() == f"{sum(finding['level'] == 'bad' for finding in found)} problems found"
    assert len(lines) == len(found)
    for line, finding in zip(lines, found, strict=True):
        assert set(finding) == {"check", "level", "finding", "remedy"}
        assert (finding["remedy"] == "") == (finding["level"] == "ok")
        remedy = f"; remedy: {finding['remedy']}" if finding["remedy"] else ""
        assert line == f"{LEVELS[finding['level']]} {finding['check']}: {finding['finding']}{remedy}"


def test_a_point_that_the_policy_leaves_out_is_no_fault(machine, start, hook):
    machine.policy.write_text('version = 1\npoints = ["autoload"]\n[allow]\nmodules = []\n')
    start()
    machine.ask("arm")
    ran = machine.ask("doctor")
    assert "note  kernel point: not enforced: the policy's points leave it out; remedy: " in ran.out
    assert ran.out.endswith("no problems found\n")


def test_a_daemon_that_does_not_run_is_bad(machine, hook):
    found = findings(machine)
    assert found["daemon"]["level"] == "bad"
    assert found["daemon"]["remedy"] == "kmodctl start"
    assert found["policy"]["level"] == "ok"
    assert found["request"]["finding"].startswith("not tried: ")


def test_a_policy_with_an_error_is_bad_with_and_without_the_daemon(machine, daemon):
    machine.policy.write_text("version = 1\nmodee = 1\n")
    machine.kmodctl("reload")
    for _ in range(2):
        found = findings(machine)["policy"]
        assert found["level"] == "bad"
        assert found["finding"].startswith(f"{machine.policy}:2:")
        daemon.stop(signal.SIGKILL)


def test_a_missing_policy_leads_to_init(machine):
    machine.policy.unlink()
    found = findings(machine)["policy"]
    assert found["level"] == "bad"
    assert "kmodctl init" in found["remedy"]


def test_what_is_not_saved_or_not_enforced_is_noted(machine, daemon, hook):
    machine.ask("arm")
    machine.ask("allow", "af_key")
    machine.ask("mode", "audit")
    found = findings(machine)
    assert found["policy"]["level"] == "note"
    assert "not saved: " in found["policy"]["finding"]
    assert "kmodctl apply" in found["policy"]["remedy"]
    assert found["mode"] == {"check": "mode", "level": "note", "finding": "audit: nothing is refused, only recorded",
                             "remedy": "kmodctl mode enforce"}


def test_a_module_index_that_is_missing_is_bad(machine, daemon):
    (machine.modules / "modules.dep.bin").unlink()
    found = findings(machine)["index"]
    assert found["level"] == "bad"
    assert found["remedy"].startswith("depmod ")


@pytest.mark.parametrize("damage, word", [("missing", "not a program that can be run"), ("data", "not a program that can be run"),
                                          ("writable", "can be written to by others than root")])
def test_a_hook_that_cannot_be_trusted_is_bad(machine, hook, damage, word):
    if damage == "missing":
        (machine.root / HOOK).unlink()
    else:
        (machine.root / HOOK).chmod(0o644 if damage == "data" else 0o777)
    assert word in findings(machine)["hook"]["finding"]


def test_an_unarmed_machine_is_told_to_start(machine):
    found = findings(machine, "--fix")["handler"]
    assert found == {"check": "handler", "level": "bad", "finding": "not armed: the kernel runs /sbin/modprobe",
                     "remedy": "kmodctl start"}
    assert machine.handler.read_text() == "/sbin/modprobe\n"


def test_a_handler_that_another_process_changed_is_fixed_if_asked(machine, daemon, hook):
    machine.ask("arm")
    machine.handler.write_text("/opt/theirs\n")
    found = findings(machine)["handler"]
    assert found["level"] == "bad"
    assert "another process has set the handler to /opt/theirs" in found["finding"]
    assert "doctor --fix" in found["remedy"]
    assert machine.handler.read_text() == "/opt/theirs\n"
    found = findings(machine, "--fix")["handler"]
    assert found["level"] == "note"
    assert found["finding"] == "armed again; the handler had been changed to /opt/theirs"
    assert machine.handler.read_text() == f"/{HOOK}\n"
    assert findings(machine)["handler"]["level"] == "ok"


def test_a_saved_handler_that_got_lost_is_fixed_if_asked(machine):
    machine.ask("arm")
    machine.original_handler.unlink()
    assert "the original handler is lost" in findings(machine)["handler"]["finding"]
    assert not machine.original_handler.exists()
    assert findings(machine, "--fix")["handler"]["level"] == "note"
    assert machine.original_handler.read_text() == "/sbin/modprobe\n"


def test_fixing_is_declined_where_the_guard_is_switched_off(machine):
    machine.ask("arm")
    machine.handler.write_text("/opt/theirs\n")
    machine.write("proc/cmdline", "kmodguard.mode=off\n")
    found = findings(machine, "--fix")["handler"]
    assert (found["level"], found["remedy"]) == ("bad", "boot without it")
    assert machine.handler.read_text() == "/opt/theirs\n"


def test_a_saved_handler_that_is_not_installed_is_bad(machine):
    machine.ask("arm")
    (machine.root / "sbin/modprobe").unlink()
    assert "the saved original /sbin/modprobe cannot be run" in findings(machine)["handler"]["finding"]


def test_autoloading_that_is_switched_off_is_noted(machine):
    machine.handler.write_text("\n")
    assert findings(machine)["handler"]["level"] == "note"


def test_it_changes_nothing_and_counts_nothing(machine, daemon, hook):
    machine.ask("arm")
    daemon.changes(1)
    before = sorted((path, path.read_bytes()) for path in machine.root.rglob("*") if path.is_file())
    machine.kmodctl("doctor")
    assert sorted((path, path.read_bytes()) for path in machine.root.rglob("*") if path.is_file()) == before
    status = machine.status()
    assert (status["allowed"], status["refused"]) == (0, 0)


def test_it_is_for_root(machine):
    ran = machine.kmodctl("doctor", user=NOBODY)
    assert ran.code == 1
    assert "only root may do this" in ran.err
