# SPDX-License-Identifier: AGPL-3.0-only
"""`kmodctl exec` as a way to run a command: for everybody around it, it is as if the command had been run without.

Scripts put it in front of what they run already. So status, signals, pipes and all that a process inherits must pass
through, and its own mistakes must be told from the command's. What it does to module loads: test_exec_loads.py.
"""

import os
import signal

import pytest
from waiting import exit_status, wait_end
from machine import KMODCTL, PATIENCE, line_of, run, wait_until
from supervised import ENVIRONMENT, POLICY, Supervised, answer_of


@pytest.fixture
def supervised(machine):
    return Supervised(machine)


@pytest.mark.parametrize("status", [0, 1, 2, 3, 6, 126, 127, 255])
def test_the_exit_status_is_the_commands(supervised, status):
    assert supervised.run("sh", "-c", f"exit {status}").code == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGSEGV, signal.SIGPIPE])
def test_a_command_that_dies_of_a_signal_is_seen_to(supervised, number):
    assert supervised.run("sh", "-c", f"kill -{int(number)} $$").code == -number


def test_a_command_that_is_not_there_is_127(supervised):
    ran = supervised.run("no-such-command-anywhere")
    assert ran.code == 127
    assert "cannot run no-such-command-anywhere: No such file or directory" in ran.err


def test_a_command_that_cannot_be_executed_is_126(supervised, machine):
    file = machine.write("not-a-program", "nothing\n")
    ran = supervised.run(file)
    assert ran.code == 126
    assert f"cannot run {file}: Permission denied" in ran.err


def test_a_command_is_looked_for_in_the_path_and_gets_its_arguments_as_they_are(supervised):
    words = ["--policy", "", "a b", "$HOME", "--", "-h", "*"]
    assert supervised.run("printf", "<%s>", *words).out == "".join(f"<{word}>" for word in words)


def test_standard_input_and_output_pass_through(supervised):
    text = "".join(f"line {number}\n" for number in range(100_000))
    ran = supervised.run("sh", "-c", "cat; echo to standard error >&2", input=text)
    assert (ran.out, ran.err) == (text, "to standard error\n")


def test_a_reader_that_goes_away_ends_the_command(supervised):
    ran = run(["sh", "-c", 'out=$("$@" | head -n 1); echo "$out"', "sh", *supervised.words(["yes"])], env=ENVIRONMENT)
    assert (ran.code, ran.out) == (0, "y\n")


INHERITED = ("grep -E '^(Sig[^Q]|Shd|Cap|NoNewPrivs|Umask)' /proc/self/status; cat /proc/self/limits /proc/self/oom_score_adj; "
             "pwd; nice; env | sort; for fd in /proc/self/fd/*; do echo \"${fd##*/}\"; done")


def test_the_command_inherits_all_that_it_would_without(supervised, machine):
    """Signals blocked and ignored, limits, descriptors, environment, folder; as root not even no_new_privs."""
    extra = os.open("/dev/null", os.O_RDONLY)
    around = ["sh", "-c", "trap '' HUP; umask 027; ulimit -c 0; cd /usr; exec \"$@\"", "sh"]
    command = ["sh", "-c", INHERITED]
    with_it = run([*around, *supervised.words(command)], env=ENVIRONMENT, pass_fds=[extra])
    without = run([*around, *command], env=ENVIRONMENT, pass_fds=[extra])
    os.close(extra)
    assert with_it.code == without.code == 0
    assert with_it.out == without.out
    assert with_it.err == ""


def test_the_command_stays_in_the_process_group(supervised):
    process = supervised.start("cat", "/proc/self/stat", start_new_session=True)
    _, out, _ = answer_of(process)
    assert [int(field) for field in out.rpartition(")")[2].split()[2:4]] == [process.pid, process.pid]


@pytest.mark.parametrize(("words", "complaint"), [
    ([], "no command"), (["--"], "no command"), (["true"], "no command"), (["--answer", "maybe", "--", "true"], '"maybe"'),
    (["--nonsense", "--", "true"], "--nonsense")])
def test_mistakes_on_the_command_line_are_2(supervised, machine, words, complaint):
    ran = machine.kmodctl("exec", "--policy", supervised.policy, *words)
    assert ran.code == 2
    assert complaint in ran.err


@pytest.mark.parametrize("text", ["version = 1\nbogus = 1\n", "version = 1\n[allow]\nmodules = [\"a b\"]\n", "\0", "version = 2\n"])
def test_nothing_runs_by_a_policy_that_is_wrong(supervised, machine, text):
    supervised.write_policy(text)
    ran = supervised.run("touch", machine.root / "ran")
    assert ran.code == 6
    assert f"{supervised.policy}:" in ran.err
    assert not (machine.root / "ran").exists()


def test_nothing_runs_by_a_policy_that_is_not_there(supervised, machine):
    ran = machine.kmodctl("exec", "--policy", machine.root / "nowhere.toml", "--", "touch", machine.root / "ran")
    assert ran.code == 4
    assert "nowhere.toml" in ran.err and "No such file" in ran.err
    assert not (machine.root / "ran").exists()


def test_without_a_policy_the_machines_own_decides(machine):
    assert machine.kmodctl("exec", "--", "sh", "-c", "exit 9").code == 9
    machine.policy.unlink()
    assert machine.kmodctl("exec", "--", "sh", "-c", "exit 9").code == 4


def test_nothing_runs_when_the_log_cannot_be_written(supervised, machine):
    machine.write("log", "a file where the folder should be\n")
    ran = supervised.run("touch", machine.root / "ran")
    assert ran.code not in (0, 3) and str(machine.root / "log") in ran.err
    assert not (machine.root / "ran").exists()


def test_an_unknown_kernel_is_4(machine, supervised):
    ran = supervised.run("true", options=["--kernel", "0.0.1-none"])
    assert ran.code == 4
    assert "0.0.1-none" in ran.err


def test_one_supervisor_under_another_says_why_not(supervised, machine):
    inner = supervised.words(["touch", machine.root / "ran"])
    ran = supervised.run(*inner)
    assert ran.code == 1
    assert "is supervised already" in ran.err
    assert not (machine.root / "ran").exists()


def test_commands_without_modules_leave_no_events(supervised):
    assert supervised.run("true").code == 0
    assert supervised.events() == [] and supervised.attempts() == []


def test_the_logs_are_for_their_owner_alone(supervised):
    supervised.run("true")
    assert supervised.logs.stat().st_mode & 0o777 == 0o700
    assert {file.name: file.stat().st_mode & 0o777 for file in supervised.logs.iterdir()} == {
        "events.jsonl": 0o600, "modules.log": 0o600}


def test_without_wait_what_the_command_leaves_behind_is_not_waited_for(supervised, machine, gate):
    """It goes on: its pipe is still open when kmodctl has ended."""
    process = supervised.start("sh", "-c", f"(read word <{gate}; echo $word >{machine.root}/said) >/dev/null 2>&1 & exit 4")
    assert answer_of(process)[0] == 4
    gate.open("still here")
    said = machine.root / "said"
    wait_until(lambda: said.exists() and said.read_text() == "still here\n", "the process that was left behind", machine.root)


def test_with_wait_it_ends_with_the_last_process_and_the_commands_status(supervised, machine, gate):
    left = f"setsid sh -c '(read word <{gate}; echo $word >{machine.root}/said) & echo started' & "
    process = supervised.start("sh", "-c", f"echo $$; {left} wait; exit 4", options=["--wait"])
    command = int(line_of(process))
    assert line_of(process) == "started\n"
    assert wait_end(command, PATIENCE)
    assert process.poll() is None
    gate.open("now")
    assert exit_status(process, PATIENCE) == 4
    assert (machine.root / "said").read_text() == "now\n"
    process.communicate()


def test_help_says_what_it_is(machine):
    ran = run([KMODCTL, "exec", "--help"])
    assert ran.code == 0
    assert all(option in ran.out for option in ("--policy", "--log-dir", "--answer", "--quiet", "--wait"))


def test_a_policy_in_a_pipe_is_no_policy(supervised, machine):
    """It is read before the command runs, and a pipe that the command's output feeds would never end."""
    os.mkfifo(machine.root / "pipe.toml")
    ran = machine.kmodctl("exec", "--policy", machine.root / "pipe.toml", "--", "true")
    assert ran.code == 6
    supervised.write_policy(POLICY)
    assert supervised.run("true").code == 0
