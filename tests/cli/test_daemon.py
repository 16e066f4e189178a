# SPDX-License-Identifier: AGPL-3.0-only
"""The daemon as a program: how it starts, whom it answers, what it may do, and how it ends."""

import re
import signal
import socket
import sys

import pytest
from machine import DAEMON, NOBODY, PATIENCE, clean_environment, run


def ask(machine, request):
    """One request in the daemon's own language; the whole answer, until it closes or waits for more."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(machine.socket))
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while piece := client.recv(65536):
                answer += piece
        except ConnectionResetError:  # closed before it had read all of the request
            pass
    return answer.decode()


def test_it_holds_no_capability(daemon):
    with open(f"/proc/{daemon.process.pid}/status", encoding="ascii") as status:
        sets = dict(re.findall(r"^Cap(Inh|Prm|Eff|Bnd|Amb):\s+(\w+)$", status.read(), re.MULTILINE))
    assert {name: int(value, 16) for name, value in sets.items() if name != "Bnd"} == {"Inh": 0, "Prm": 0, "Eff": 0,
                                                                                      "Amb": 0}


def test_its_socket_is_for_root_alone(machine, daemon):
    assert machine.socket.stat().st_mode & 0o777 == 0o600
    assert machine.socket.parent.stat().st_mode & 0o777 == 0o755


def test_another_user_is_refused_even_where_the_socket_lets_them_in(machine, daemon):
    machine.socket.chmod(0o666)
    program = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect('{machine.socket}'); print(s.recv(99))"
    ran = run([sys.executable, "-c", program], user=NOBODY, group=NOBODY, extra_groups=[], cwd="/")
    assert ran.out.startswith("b'ERR ")
    assert "only root may ask" in ran.out


def test_a_second_daemon_does_not_take_the_first_ones_place(machine, daemon):
    ran = run([DAEMON, "--root", machine.root], env=clean_environment())
    assert ran.code == 1
    assert f"another daemon answers on {machine.socket}" in ran.err
    assert "hint: " in ran.err
    assert machine.kmodctl("check", "loop").code == 0


def test_after_a_crash_the_next_one_takes_over(machine, start):
    start().stop(signal.SIGKILL)
    assert machine.socket.exists()
    start()
    assert machine.kmodctl("check", "loop").code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_told_to_and_takes_its_socket_along(machine, daemon, number):
    assert daemon.stop(number) == 0
    assert not machine.socket.exists()


def test_what_is_in_the_sockets_place_is_not_removed(machine):
    machine.write("run/kmodguard/daemon.sock", "precious")
    ran = run([DAEMON, "--root", machine.root], env=clean_environment())
    assert ran.code == 1
    assert "exists and is no socket" in ran.err
    assert machine.socket.read_text() == "precious"


def test_an_events_file_that_cannot_be_opened_is_named(machine):
    (machine.root / "link").symlink_to("elsewhere")
    for path in ("none/events", "link"):
        ran = run([DAEMON, "--root", machine.root, "--events", machine.root / path], env=clean_environment())
        assert ran.code == 1
        assert f"cannot open {machine.root / path}" in ran.err


@pytest.mark.parametrize("arguments", [["--nope"], ["word"], ["--root"], ["--background=1"], ["--ready-fd", "x"], ["--ready-fd", "-1"]])
def test_an_option_it_does_not_know_is_2_with_the_usage(arguments):
    ran = run([DAEMON, *arguments], env=clean_environment())
    assert ran.code == 2
    assert "usage: kmodguard [OPTION]" in ran.err


def test_help_and_version():
    assert "--events FILE" in run([DAEMON, "--help"]).out
    assert re.fullmatch(r"kmodguard \d+\.\d+\.\d+\n", run([DAEMON, "--version"]).out)


def test_a_root_too_deep_for_a_socket_is_said(machine):
    ran = run([DAEMON, "--root", machine.root / ("x" * 120)], env=clean_environment())
    assert ran.code == 1
    assert "too long for a socket's path" in ran.err


@pytest.mark.parametrize("request_text", [b"NONSENSE\n", b"check loop\n", b"CHECK\n", b"STATUS x\n", b"\n", b"\0\n",
                                          b"MODE audit x\n", b"MODE audit -5\n", b"RELOAD twice\n"])
def test_what_it_does_not_understand_is_answered_with_an_error(machine, daemon, request_text):
    assert ask(machine, request_text).startswith("ERR ")
    assert machine.status()["generation"] == 1


def test_an_endless_line_is_cut_off_and_others_are_still_served(machine, daemon):
    assert not ask(machine, b"CHECK " + b"x" * 100_000).startswith(("OK", "DENY"))
    assert machine.kmodctl("check", "loop").code == 0


def test_clients_that_say_nothing_keep_nobody_waiting(machine, daemon):
    silent = [socket.socket(socket.AF_UNIX) for _ in range(100)]
    try:
        for one in silent:
            one.connect(str(machine.socket))
        assert machine.kmodctl("check", "loop").code == 0
    finally:
        for one in silent:
            one.close()


def test_options_of_an_alias_on_the_command_line_of_the_running_kernel_are_not_for_another_root(machine, start):
    """They came along once the root's own modprobe.d had options for the alias, or for what it matches."""
    line = machine.write("cmdline", "quiet loop.max_loop=3 my_loop.max_loop=4\n")
    machine.write("etc/modprobe.d/options.conf", "options loop max_part=7\noptions my-loop hw_queue_depth=8\n"
                  "options block-major-7-* max_part=5\noptions block-major-7-0 max_part=6\n")
    start(before=["unshare", "--mount", "sh", "-c", f'mount --bind {line} /proc/cmdline && exec "$@"', "sh"])
    for token, options in (("my-loop", "max_part=7 hw_queue_depth=8"), ("block-major-7-0", "max_part=7 max_part=6"),
                           ("loop", "max_part=7")):
        assert f"options {options}\n" in ask(machine, f"AUTOLOAD {token}\n".encode())


def test_options_on_the_command_line_of_the_running_kernel_are_not_for_another_root(machine, start):
    """libkmod adds them to those of modprobe.d, whichever root it is given."""
    line = machine.write("cmdline", "quiet loop.max_loop=3\n")
    machine.write("etc/modprobe.d/options.conf", "options loop max_part=7\n")
    start(before=["unshare", "--mount", "sh", "-c", f'mount --bind {line} /proc/cmdline && exec "$@"', "sh"])
    plan = ask(machine, b"AUTOLOAD loop\n")
    assert "options max_part=7\n" in plan
    assert "max_loop" not in plan
