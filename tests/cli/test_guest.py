# SPDX-License-Identifier: AGPL-3.0-only
"""`kmodctl guest` where no machine is emulated: what it wants to know before, and how it starts an emulator.

The emulator is a shell script on PATH. What happens to the modules of a guest that runs: tests/vm.
"""

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest
from machine import KMODCTL, PATIENCE, clean_environment, run

BANNER = 0xFFFFFFFF81A00000
SYMBOLS = {
    "_stext": 0xFFFFFFFF81000000, "panic": 0xFFFFFFFF81001000, "memcpy": 0xFFFFFFFF81001100,
    "kfree": 0xFFFFFFFF81001200, "load_module": 0xFFFFFFFF81001300, "__x64_sys_init_module": 0xFFFFFFFF81001400,
    "__x64_sys_finit_module": 0xFFFFFFFF81001500, "__x64_sys_delete_module": 0xFFFFFFFF81001600,
    "_etext": 0xFFFFFFFF81900000, "linux_banner": BANNER,
}
NOT_FOUND, NOBODY_LISTENS = 4, 5
EMULATOR = """\
#!/bin/sh
printf '%s\\n' "$@" > "$0.arguments"
for word; do
    case $word in socket,*) fd=${word#*fd=}; fd=${fd%%,*}; readlink "/proc/self/fd/$fd" > "$0.descriptor";; esac
done
exit "${STATUS:-0}"
"""


def symbol_text(symbols=None, without=()):
    return "".join(f"{address:016x} T {name}\n" for name, address in (symbols or SYMBOLS).items() if name not in without)


class Guest:
    """`kmodctl guest` on a machine, with a folder of its own at the front of PATH."""

    def __init__(self, machine):
        self.machine = machine
        self.programs = machine.root / "programs"
        self.emulator = machine.write("programs/qemu-system-x86_64", EMULATOR)
        self.emulator.chmod(0o755)
        self.symbols = machine.write("System.map", symbol_text())
        self.logs = machine.root / "log"

    def environment(self, **more):
        return clean_environment(PATH=f"{self.programs}:{os.environ.get('PATH', '')}", **more)

    def run(self, *words, symbols=True, logs=True, **environment):
        options = ["--symbols", self.symbols] if symbols else []
        options += ["--log-dir", self.logs] if logs else []
        return run([KMODCTL, "--root", self.machine.root, "guest", *options, *words],
                   env=self.environment(**environment))

    @property
    def started(self):
        """What the emulator was started with; None if it was not."""
        file = Path(f"{self.emulator}.arguments")
        return file.read_text().splitlines() if file.exists() else None


@pytest.fixture
def guest(machine):
    return Guest(machine)


@pytest.mark.parametrize("words", [
    [], ["--"], ["--architecture", "amd64"],
    ["--gdb", "/nowhere", "--architecture", "amd64", "--", "qemu-system-x86_64"],
    ["--architecture", "pdp11", "--", "qemu-system-x86_64"],
    ["--", "qemu-system-sparc64"], ["--", "sh"], ["--gdb", "/nowhere"], ["--gdb", "/nowhere", "--architecture", ""],
    ["--kaslr-offset", "far", "--", "qemu-system-x86_64"], ["--kaslr-offset", "", "--", "qemu-system-x86_64"],
    ["--kaslr-offset", "0x", "--", "qemu-system-x86_64"], ["--kaslr-offset", "-1", "--", "qemu-system-x86_64"],
    ["--kaslr-offset", "0x1ffffffffffffffff", "--", "qemu-system-x86_64"],
    ["--intercept", "everywhere", "--", "qemu-system-x86_64"], ["--intercept", "", "--", "qemu-system-x86_64"],
    ["--answer", "maybe", "--", "qemu-system-x86_64"], ["--nonsense", "--", "qemu-system-x86_64"],
    ["--", "qemu-system-x86_64", "-s"], ["--", "qemu-system-x86_64", "-gdb", "tcp::1"],
    ["--", "qemu-system-x86_64", "--gdb", "tcp::1"]])
def test_mistakes_on_the_command_line_are_2_and_nothing_is_started(guest, words):
    ran = guest.run(*words)
    assert ran.code == 2, ran
    assert ran.err and not ran.out
    assert guest.started is None


@pytest.mark.parametrize(("words", "complaint"), [
    ([], "there is no emulator to run"),
    (["--gdb", "/nowhere", "--", "qemu-system-x86_64"], "not both"),
    (["--architecture", "pdp11", "--", "qemu-system-x86_64"], '"pdp11"'),
    (["--gdb", "/nowhere"], "--architecture takes amd64, arm64, armhf, mips"),
    (["--kaslr-offset", "far", "--", "qemu-system-x86_64"], '"far" is not a hexadecimal number'),
    (["--intercept", "everywhere", "--", "qemu-system-x86_64"], '"load-module" or "system-call"'),
    (["--", "qemu-system-x86_64", "-s"], "-s is not possible")])
def test_mistakes_are_named(guest, words, complaint):
    assert complaint in guest.run(*words).err


def test_symbols_that_are_not_there_are_said_so(guest):
    ran = guest.run("--symbols", guest.machine.root / "nowhere", "--", "qemu-system-x86_64", symbols=False)
    assert ran.code == NOT_FOUND
    assert f"{guest.machine.root}/nowhere" in ran.err and "No such file" in ran.err
    assert guest.started is None


@pytest.mark.parametrize(("content", "complaint"), [
    (symbol_text(dict.fromkeys(SYMBOLS, 0)), "zero"),
    ("", ""), ("nothing of a kernel\n", ""), ("\0" * 10000, ""),
    (symbol_text(without=["__x64_sys_init_module", "__x64_sys_finit_module"]), "names no system call that loads modules"),
    (symbol_text(without=["panic"]), "panic()"), (symbol_text() + "and then\n", "")])
def test_symbols_that_are_none_are_1(guest, content, complaint):
    guest.symbols.write_text(content)
    ran = guest.run("--", "qemu-system-x86_64")
    assert ran.code == 1, ran
    assert str(guest.symbols) in ran.err and complaint in ran.err
    assert guest.started is None


def test_symbols_of_another_architecture_are_noticed(guest):
    ran = guest.run("--architecture", "arm64", "--", "qemu-system-x86_64")
    assert ran.code == 1 and "on arm64" in ran.err


def test_load_module_must_be_there_to_be_intercepted(guest):
    guest.symbols.write_text(symbol_text(without=["load_module"]))
    ran = guest.run("--intercept", "load-module", "--", "qemu-system-x86_64")
    assert ran.code == 1 and "--intercept system-call" in ran.err


def test_a_kernel_that_could_not_be_found_is_not_started(guest):
    guest.symbols.write_text(symbol_text(without=["linux_banner"]))
    for words in [[], ["-append", "quiet"], ["-append", "nokaslr=1 xnokaslr"]]:
        ran = guest.run("--", "qemu-system-x86_64", *words)
        assert ran.code == 1
        assert "banner" in ran.err and "nokaslr" in ran.err and "--kaslr-offset 0" in ran.err
        assert guest.started is None


@pytest.mark.parametrize(("options", "words"), [
    (["--kaslr-offset", "0"], []), (["--kaslr-offset", "0x1c200000"], []), ([], ["-append", "quiet nokaslr"]), ([], ["-append", "nokaslr"])])
def test_a_kernel_that_does_not_move_needs_no_banner(guest, options, words):
    guest.symbols.write_text(symbol_text(without=["linux_banner"]))
    guest.run(*options, "--", "qemu-system-x86_64", *words)
    assert guest.started is not None


def test_an_emulator_that_is_not_there_is_127(guest):
    guest.emulator.unlink()
    ran = guest.run("--architecture", "amd64", "--", "qemu-system-of-nobody")
    assert ran.code == 127
    assert "qemu-system-of-nobody" in ran.err
    assert list(guest.logs.glob("kmodguard-guest-*")) == []


def test_an_emulator_that_cannot_be_executed_is_126(guest):
    guest.emulator.chmod(0o644)
    assert guest.run("--", guest.emulator).code == 126


@pytest.mark.parametrize("text", ["version = 1\nbogus = 1\n", "\0", "version = 2\n"])
def test_nothing_runs_by_a_policy_that_is_wrong(guest, text):
    policy = guest.machine.write("guest.toml", text)
    ran = guest.run("--policy", policy, "--", "qemu-system-x86_64")
    assert ran.code == 6
    assert f"{policy}:" in ran.err
    assert guest.started is None


def test_a_framework_that_is_no_module_is_an_error(guest):
    ran = guest.run("--framework", guest.symbols, "--", "qemu-system-x86_64")
    assert ran.code == 1 and "is no module" in ran.err
    assert guest.started is None


def test_the_emulator_gets_a_halted_machine_with_the_stub_that_is_ours(guest):
    guest.run("--", "qemu-system-x86_64", "-m", "256", "-append", "a  b")
    given, added = guest.started[:4], guest.started[4:]
    assert given == ["-m", "256", "-append", "a  b"]
    place = added.pop(2)
    assert added == ["-S", "-chardev", "-gdb", "chardev:kmodguard"]
    assert place.startswith("socket,id=kmodguard,fd=") and place.endswith(",server=on,wait=off")
    assert Path(f"{guest.emulator}.descriptor").read_text().startswith("socket:")


@pytest.mark.parametrize("status", [0, 1, 2, 3, 6, 127, 255])
def test_the_status_of_an_emulator_that_ends_by_itself_is_passed_on(guest, status):
    ran = guest.run("--", "qemu-system-x86_64", STATUS=str(status))
    assert ran.code == status, ran
    assert list(guest.logs.glob("kmodguard-guest-*")) == [], "the socket is gone"


def test_where_the_stub_listens_is_said_unless_it_is_to_be_quiet(guest):
    ran = guest.run("--", "qemu-system-x86_64")
    assert f"kmodctl: debugger socket: {guest.logs}/kmodguard-guest-" in ran.err and not ran.out
    ran = run([KMODCTL, "--json", "guest", "--symbols", guest.symbols, "--log-dir", guest.logs, "--", "qemu-system-x86_64"],
              env=guest.environment())
    assert "debugger socket" in json.loads(ran.err.splitlines()[0])["message"]
    assert guest.run("--quiet", "--", "qemu-system-x86_64").err == ""


def test_a_socket_that_nobody_listens_on_is_unreachable(guest):
    nowhere = guest.machine.root / "nowhere.sock"
    ran = guest.run("--architecture", "amd64", "--gdb", nowhere)
    assert ran.code == NOBODY_LISTENS and str(nowhere) in ran.err
    left = guest.machine.root / "left.sock"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(left))
    ran = guest.run("--architecture", "amd64", "--gdb", left)
    assert ran.code == NOBODY_LISTENS and str(left) in ran.err


def test_a_socket_of_something_else_is_no_stub(guest):
    path = guest.machine.root / "other.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        command = [KMODCTL, "guest", "--symbols", guest.symbols, "--architecture", "amd64", "--gdb", path]
        with subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE, text=True,
                              env=guest.environment()) as process:
            connection, _ = listener.accept()
            connection.recv(100)
            connection.close()
            _, complaint = process.communicate(timeout=PATIENCE)
            assert process.returncode == NOBODY_LISTENS, complaint
            assert str(path) in complaint
