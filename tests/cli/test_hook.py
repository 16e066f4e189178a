# SPDX-License-Identifier: AGPL-3.0-only
"""What the kernel runs, by `kmodctl hook -q -- TOKEN`: refusals, plans carried out, and what happens without a daemon.

No kernel takes the images here, so a plan ends with the error of finit_module(2); the tests in a virtual machine load.
"""

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from images import module_image
from machine import PATIENCE


@pytest.fixture
def syslog(machine):
    """What the hook logs, message by message."""
    path = machine.write("dev/log", "")
    path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(PATIENCE)
        yield lambda: listener.recv(4096).decode()


def hook(machine, *tokens):
    return machine.kmodctl("hook", "-q", "--", *tokens)


def save_handler(machine, script):
    """A saved original handler that notes its arguments and does `script`."""
    handler = machine.write("sbin/modprobe", f"#!/bin/sh\necho \"$@\" >>{machine.root}/handled\n{script}\n")
    handler.chmod(0o755)
    machine.write("run/kmodguard/original_modprobe", f"{handler}\n")


def handled(machine):
    return (machine.root / "handled").read_text().splitlines()


def test_what_is_refused_is_3_and_says_nothing(machine, daemon):
    ran = hook(machine, "af_key")
    assert (ran.code, ran.out, ran.err) == (3, "", "")


def test_what_is_allowed_is_loaded_and_the_kernels_error_is_logged(machine, daemon, syslog):
    ran = hook(machine, "net-pf-15")
    assert ran.code == 1
    assert syslog().startswith("<84>kmodguard-hook: cannot load af_key for net-pf-15: ")


def test_dependencies_come_first_and_without_them_nothing_else_is_tried(machine, daemon, syslog):
    assert hook(machine, "tun_dev").code == 1
    assert "cannot load crc_base for tun_dev: " in syslog()
    assert hook(machine, "af_key").code == 3  # logs nothing, so the next message is of the next request
    machine.write("sys/module/crc_base/initstate", "live\n")
    assert hook(machine, "tun_dev").code == 1
    assert "cannot load tun_dev for tun_dev: " in syslog()


def test_a_soft_dependency_that_fails_is_logged_and_does_not_matter(machine, daemon, syslog):
    machine.write("etc/modprobe.d/install.conf", "install loop /bin/true\n")
    machine.write("etc/modprobe.d/test.conf", "softdep af_key pre: crc_base\n")
    machine.ask("reload")
    assert hook(machine, "net-pf-15").code == 1
    assert "cannot load crc_base for net-pf-15: " in syslog()
    assert "cannot load af_key for net-pf-15: " in syslog()


def test_a_module_with_an_install_command_is_left_to_the_saved_handler(machine, start):
    machine.write("etc/modprobe.d/install.conf", "install af_key /bin/true\n")
    save_handler(machine, "exit 0")
    start()
    assert hook(machine, "net-pf-15").code == 0
    assert handled(machine) == ["-q -- af_key"]


def test_when_the_saved_handler_fails_so_does_the_hook(machine, start, syslog):
    machine.write("etc/modprobe.d/install.conf", "install af_key /bin/false\n")
    save_handler(machine, "exit 1")
    start()
    assert hook(machine, "net-pf-15").code == 1
    assert "cannot load af_key for net-pf-15" in syslog()


def test_without_a_saved_handler_it_says_what_to_do(machine, start, syslog):
    machine.write("etc/modprobe.d/install.conf", "install af_key /bin/true\n")
    start()
    assert hook(machine, "net-pf-15").code == 1
    assert "the original handler is not known, so af_key cannot be loaded: kmodctl arm" in syslog()


def test_an_image_exchanged_after_it_was_judged_is_judged_again(machine, daemon):
    assert hook(machine, "net-pf-15").code == 1
    machine.add_module("af_key", module_image("evil"))
    assert hook(machine, "net-pf-15").code == 3


def test_audit_mode_loads_what_would_be_refused(machine, daemon, syslog):
    machine.ask("mode", "audit")
    assert hook(machine, "twin_b").code == 1
    assert "cannot load twin_b" in syslog()


def test_without_a_daemon_it_refuses_with_5_and_logs_it(machine, syslog):
    assert hook(machine, "loop").code == 5
    assert syslog() == "<84>kmodguard-hook: refused loop: the daemon does not answer"


def test_a_daemon_that_was_killed_leaves_nothing_open(machine, daemon, syslog):
    daemon.stop(signal.SIGKILL)
    assert machine.socket.exists()
    assert hook(machine, "loop").code == 5
    assert "refused loop" in syslog()


def test_a_daemon_that_hangs_is_waited_for_and_given_up(machine, daemon, syslog):
    """HookTest shows that it is the time it gives the daemon that ends it; here nothing else can."""
    daemon.send(signal.SIGSTOP)
    os.waitid(os.P_PID, daemon.process.pid, os.WSTOPPED)
    assert hook(machine, "loop").code == 5
    assert "refused loop" in syslog()
    daemon.send(signal.SIGCONT)
    assert hook(machine, "af_key").code == 3
    assert [event["token"] for event in daemon.events(2)] == ["loop", "af_key"], "it had been asked"


def test_a_daemon_that_says_half_of_an_answer_is_waited_for_and_given_up(machine, syslog):
    with socket.socket(socket.AF_UNIX) as listener:
        machine.socket.parent.mkdir(parents=True, exist_ok=True)
        listener.bind(str(machine.socket))
        listener.listen()
        listener.settimeout(PATIENCE)
        with ThreadPoolExecutor(1) as pool:
            ran = pool.submit(hook, machine, "loop")
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(PATIENCE)
                assert connection.recv(100) == b"AUTOLOAD loop\n"
                connection.sendall(b"judged any\nO")
                assert not ran.done(), "it waits for the rest"
                assert connection.recv(100) == b"", "and hangs up by itself"
            assert ran.result().code == 5
    assert syslog() == "<84>kmodguard-hook: refused loop: the daemon does not answer"


@pytest.mark.parametrize("value", ["audit", "off"])
def test_break_glass_runs_the_saved_handler_where_nobody_judges(machine, syslog, value):
    machine.write("proc/cmdline", f"quiet kmodguard.mode={value}\n")
    save_handler(machine, "exit 7")
    assert hook(machine, "loop").code == 7
    assert handled(machine) == ["-q -- loop"]
    assert "passed loop to the original handler" in syslog()


def test_break_glass_does_not_overrule_a_daemon_that_refuses(machine, daemon):
    machine.write("proc/cmdline", "kmodguard.mode=audit\n")  # behind its back: it judges by what it booted with
    save_handler(machine, "exit 0")
    assert hook(machine, "af_key").code == 3


@pytest.mark.parametrize("arguments", [[], ["-q"], ["-q", "--"], ["-q", "--", ""], ["-q", "--", "loop", "af_key"]])
def test_anything_but_one_name_is_2(machine, daemon, syslog, arguments):
    assert machine.kmodctl("hook", *arguments).code == 2
    assert "without exactly one name" in syslog()


@pytest.mark.parametrize("token", ["a\nCHECK loop", "x" * 2049, "x" * 5000], ids=["two lines", "long", "very long"])
def test_a_name_that_can_be_none_is_refused_before_it_is_asked_for(machine, daemon, syslog, token):
    assert hook(machine, token).code == 3
    assert "not a valid module name or alias" in syslog()
    assert machine.status()["refused"] == 0


@pytest.mark.parametrize("token", [pytest.param("x" * 2048, id="long"), "-v", "--help", "kmodguard", "ä", "net-pf-*",
                                   "/etc/passwd", "a b c"])
def test_any_other_name_is_judged_whatever_it_looks_like(machine, daemon, token):
    assert hook(machine, token).code == 3
    assert machine.status()["refused"] == 1


def test_two_hundred_requests_at_once_are_all_answered(machine, daemon):
    tokens = ["af_key", "net-pf-15", "twin", "nothing"] * 50
    with ThreadPoolExecutor(16) as pool:
        codes = list(pool.map(lambda token: hook(machine, token).code, tokens))
    assert codes == [3, 1, 3, 3] * 50
    status = machine.status()
    assert (status["allowed"], status["refused"]) == (50, 150)


def test_help_is_printed_and_not_asked_for_as_a_module(machine, daemon):
    ran = machine.ask("hook", "--help")
    assert "run the hook by hand" in ran.out
    assert machine.status()["refused"] == 0
