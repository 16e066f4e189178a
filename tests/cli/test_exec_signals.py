# SPDX-License-Identifier: AGPL-3.0-only
"""Signals and the terminal under `kmodctl exec`, and what is left when somebody is killed.

A signal that somebody sends to kmodctl is meant for the command. One that comes from the terminal has reached the command
already, so passing it on would double it: a shell that counts Ctrl-C would count two. And when kmodctl is killed, or
stopped, the processes below it must be refused, not freed.
"""

import contextlib
import os
import pty
import select
import shlex
import signal
import sys
import time

import pytest
from told import told
from waiting import exit_status, wait_end
from machine import PATIENCE, Ran, line_of, wait_until
from supervised import ENVIRONMENT, Supervised, answer_of, compiled, counts, judged, make_tree, wait_call

SHELL = ["bash", "--norc", "--noediting", "-i"]
# Says which signals came and how often; ends when it is told so.
COUNTER = """
import os, select, signal, sys
counts = {}
wakes, waker = os.pipe2(os.O_NONBLOCK)
signal.set_wakeup_fd(waker)  # one that comes just before the wait is not slept over
def count(number, frame):
    counts[number] = counts.get(number, 0) + 1
    print(signal.Signals(number).name, counts[number], flush=True)
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, count)
print("ready", sys.stdin.isatty(), flush=True)
while sys.stdin not in select.select([sys.stdin, wakes], [], [])[0]:
    os.read(wakes, 16)
sys.stdin.readline()
print(" ".join(f"{signal.Signals(number).name}={counts[number]}" for number in sorted(counts)), flush=True)
"""


@pytest.fixture
def supervised(machine):
    return Supervised(machine)


@pytest.fixture
def tree(machine):
    return make_tree(machine.root / "tree", "crafted")


class Terminal:
    """A command as the leader of a session with a terminal of its own."""

    def __init__(self, words, environment):
        self.pid, self.end = pty.fork()
        if self.pid == 0:
            os.execvpe(str(words[0]), [str(word) for word in words], environment)
        self.said = ""

    def wait(self, text):
        """Reads until the command has said `text`; what it said before is gone then."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.said:
            assert select.select([self.end], [], [], max(0, deadline - time.monotonic()))[0], f"no {text!r} in {self.said!r}"
            self.said += os.read(self.end, 4096).decode()
        before, _, self.said = self.said.partition(text)
        return before

    def type(self, text):
        os.write(self.end, text.encode())

    def status(self):
        """Waits for its end."""
        assert wait_end(self.pid, PATIENCE), "it does not end"
        return os.waitpid(self.pid, 0)[1]


@pytest.fixture
def terminal(supervised):
    opened = []

    def start(*command, shell=False):
        """The command supervised; or a shell for it to be typed into, as a job."""
        words = supervised.words(command)
        environment = {**ENVIRONMENT, "TERM": "dumb", "PS1": "$ "}
        opened.append(Terminal(SHELL if shell else words, environment))
        if shell:
            opened[-1].wait("$ ")
            opened[-1].type(shlex.join(map(str, words)) + "\n")
        return opened[-1]

    yield start
    for one in opened:
        os.close(one.end)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_to_kmodctl_reaches_the_command_once(supervised, number):
    process = supervised.start(sys.executable, "-c", COUNTER)
    assert line_of(process) == "ready False\n"
    for sent in range(1, 4):
        process.send_signal(number)
        assert line_of(process) == f"{number.name} {sent}\n"
    assert answer_of(process) == (0, f"{number.name}=3\n", "")


def test_the_command_decides_what_a_signal_means(supervised):
    process = supervised.start("sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do read line; done")
    line_of(process)
    process.terminate()
    assert exit_status(process, PATIENCE) == 5
    process.communicate()


def test_a_command_without_a_handler_dies_and_kmodctl_as_it_did(supervised):
    process = supervised.start("sh", "-c", "echo ready; exec cat")
    line_of(process)
    process.terminate()
    assert exit_status(process, PATIENCE) == -signal.SIGTERM
    process.communicate()


def test_the_terminal_is_the_commands(terminal):
    session = terminal("sh", "-c", "test -t 0 && test -t 1 && test -t 2 && stty size && echo it is")
    session.wait("it is")
    assert session.status() == 0


def test_ctrl_c_reaches_the_command_once(terminal):
    session = terminal(sys.executable, "-c", COUNTER)
    session.wait("ready True")
    for count in range(1, 21):
        session.type("\x03")
        session.wait(f"SIGINT {count}\r\n")
    # One passed on by kmodctl would be on its way by now, and before this one.
    os.kill(session.pid, signal.SIGUSR1)
    assert "SIGINT" not in session.wait("SIGUSR1 1\r\n")
    session.type("\n")
    session.wait("SIGINT=20 SIGUSR1=1")
    assert session.status() == 0


def test_ctrl_c_ends_a_command_that_does_not_handle_it_and_kmodctl_with_it(terminal):
    session = terminal("sh", "-c", "echo ready; exec cat")
    session.wait("ready")
    session.type("\x03")
    status = session.status()
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGINT


def test_ctrl_z_stops_both_and_they_go_on_together(terminal, gate):
    """The shell sees kmodctl stop, and not the command: that may not be reading then, or it could take what is typed next."""
    session = terminal("sh", "-c", f"echo ready; read go <{gate}; read line; echo $line; exit 5", shell=True)
    session.wait("\r\nready\r\n")
    session.type("\x1a")
    session.wait("Stopped")
    session.wait("$ ")
    session.type("fg\n")
    session.wait("exit 5'\r\n")
    gate.open()
    session.type("going on\n")
    session.wait("going on\r\ngoing on")
    session.type("echo status $?; exit\n")
    session.wait("status 5")


def test_a_shell_has_its_job_control(terminal):
    session = terminal(*SHELL)
    session.wait("$ ")
    session.type("cat\n")
    session.type("a line\n")
    session.wait("a line\r\na line\r\n")
    session.type("\x1a")
    session.wait("Stopped")
    session.wait("$ ")
    session.type("fg\n")
    session.wait("cat\r\n")
    session.type("another line\n")
    session.wait("another line\r\nanother line\r\n")
    session.type("\x03")
    session.wait("$ ")
    session.type("exit 7\n")
    status = session.status()
    assert os.WIFEXITED(status) and os.WEXITSTATUS(status) == 7


def load_behind(gate, file, result):
    """A script that waits at the gate, then loads, and writes down how that ended."""
    return f"read line <{gate}; {compiled('caller')} finit {file} >{result}.new 2>&1; mv {result}.new {result}"


def result_of(path):
    wait_until(path.exists, f"the result {path}", path.parent)
    return counts(Ran(1, path.read_text(), ""))


def test_what_is_left_behind_loads_nothing_any_more(supervised, tree, gate, machine):
    """Pretended loads succeed while kmodctl is there; later they fail, whatever the policy says."""
    loads = [load_behind(gate, tree.file(module), machine.root / module) for module in ("macvlan", "dummy")]
    script = f"{compiled('caller')} finit {tree.file('macvlan')}; ({loads[0]}; {loads[1]}) >/dev/null 2>&1 &"
    ran = supervised.run("sh", "-c", script, options=["--answer", "pretend"])
    assert (ran.code, ran.out) == (0, "finit ok 1\n")
    for module in ("macvlan", "dummy"):
        gate.open()
        assert result_of(machine.root / module) == {"ENOSYS": 1}, "nobody listens any more"
    assert [judged(event)[0] for event in supervised.events()] == [["macvlan"]]


def test_with_wait_they_are_answered(supervised, tree, gate, machine):
    script = f"({load_behind(gate, tree.file('macvlan'), machine.root / 'macvlan')}) >/dev/null 2>&1 & echo left"
    process = supervised.start("sh", "-c", script, options=["--answer", "pretend", "--wait"])
    assert line_of(process) == "left\n"
    gate.open()
    assert answer_of(process)[0] == 0
    assert result_of(machine.root / "macvlan") == {"ok": 1}


def test_row_18_a_killed_kmodctl_means_refusal(supervised, tree, gate, machine):
    script = (f"{compiled('caller')} finit {tree.file('macvlan')}; "
              f"{load_behind(gate, tree.file('macvlan'), machine.root / 'macvlan')}")
    process = supervised.start("sh", "-c", script, options=["--answer", "pretend"])
    assert line_of(process) == "finit ok 1\n"
    process.kill()
    exit_status(process, PATIENCE)
    gate.open()
    assert result_of(machine.root / "macvlan") == {"ENOSYS": 1}
    process.communicate()


def start_waiting(supervised, tree, script):
    """Starts a script of which `$!` is a load, and returns once kmodctl is stopped and that load waits for it."""
    load = f"{compiled('caller')} finit {tree.file('macvlan')}"
    process = supervised.start("sh", "-c", f"echo ready; read line; {load} & echo $!; {script}",
                               options=["--answer", "pretend"])
    assert line_of(process) == "ready\n"
    process.send_signal(signal.SIGSTOP)
    process.stdin.write("go\n")
    process.stdin.flush()
    pid = int(line_of(process))
    wait_call(process)
    return process, pid


def test_row_18_a_call_that_waits_when_kmodctl_is_killed_fails(supervised, tree):
    process, _ = start_waiting(supervised, tree, "wait $!; echo status $?")
    process.kill()
    out, _ = process.communicate(timeout=PATIENCE)
    assert out == "finit ENOSYS 1\nstatus 1\n"


def test_a_caller_that_is_killed_while_it_waits_is_forgotten(supervised, tree):
    process, pid = start_waiting(supervised, tree, f"wait $!; echo status $?; {compiled('caller')} finit {tree.file('stp')}")
    os.kill(pid, signal.SIGKILL)
    assert line_of(process) == f"status {128 + signal.SIGKILL}\n"
    process.send_signal(signal.SIGCONT)
    code, out, _ = answer_of(process)
    assert (code, out) == (0, "finit ok 1\n")
    # Its call may have been received the moment before kmodctl stopped: then it is recorded, and had no answer.
    answered = [event for event in supervised.events() if "answer" in event]
    assert [judged(event) for event in answered] == [(["stp"], "refuse", "0")]
    assert supervised.attempts()[-1] == str(tree.file("stp")) and len(supervised.attempts()) == told(supervised.events())


def test_callers_killed_at_any_moment_disturb_nobody(supervised, tree, machine):
    """A hundred callers: half of them are killed while kmodctl is stopped, the others when it has answered somebody.

    Their calls are few enough for the log to keep up with, however slow it is.
    """
    caller, dummy = compiled("caller"), tree.file("macvlan")
    script = (f'echo ready; read line; for i in $(seq 100); do {caller} --times 9 finit {dummy} >/dev/null & pids="$pids $!"; done; '
              f"echo $pids; wait; exec {caller} --times 100 finit {dummy}")
    process = supervised.start("sh", "-c", script, options=["--quiet"])
    assert line_of(process) == "ready\n"
    process.send_signal(signal.SIGSTOP)
    process.stdin.write("go\n")
    process.stdin.flush()
    callers = [os.pidfd_open(int(pid)) for pid in line_of(process).split()]  # none can end before its call is answered
    wait_call(process)
    for one in callers[::2]:
        signal.pidfd_send_signal(one, signal.SIGKILL)
    process.send_signal(signal.SIGCONT)
    events = supervised.logs / "events.jsonl"
    wait_until(events.read_text, "a first event", supervised.logs)
    for one in callers[1::2]:
        with contextlib.suppress(ProcessLookupError):  # it has made all its calls
            signal.pidfd_send_signal(one, signal.SIGKILL)
    for one in callers:
        os.close(one)
    assert answer_of(process)[1] == "finit EPERM 100\n"
    assert len(supervised.attempts()) > 100, "none of those that were killed had come as far as a call"
    assert told(supervised.events()) == len(supervised.attempts())


def test_an_interrupted_caller_has_one_event_for_one_load(supervised, tree):
    """Once kmodctl looks at a call, signals wait for its answer: no module is loaded for a call that said EINTR."""
    ran = supervised.run(compiled("caller"), "--times", 3000, "--every", 150, "finit", tree.file("macvlan"))
    results = counts(ran)
    assert set(results) <= {"EPERM", "EINTR"} and sum(results.values()) == 3000
    assert told(supervised.events()) == results["EPERM"]
    assert {event["answer"] for event in supervised.events()} == {"EPERM"}
    assert not [event["note"] for event in supervised.events() if event.get("note")]
