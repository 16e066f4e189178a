# SPDX-License-Identifier: AGPL-3.0-only
"""kmodctl exec goes on supervising whatever becomes of its logs, its surroundings and what it was started with.

Each of these once ended the supervision, left the command running without it, or let the command at its supervisor.
"""

import json
import os
import signal
import sys

import pytest
from told import told
from waiting import exit_status, wait_end
from machine import NOBODY, PATIENCE, has_user, line_of, run
from supervised import ENVIRONMENT, Supervised, answer_of, compiled, make_tree


@pytest.fixture
def supervised(machine):
    return Supervised(machine)


@pytest.fixture
def image(machine):
    return make_tree(machine.root / "tree", "crafted").file("macvlan")


def test_goes_on_when_nobody_reads_its_messages(supervised, image):
    reader, writer = os.pipe()
    os.close(reader)
    process = supervised.start(compiled("caller"), "--times", 20, "finit", image, stderr=writer)
    os.close(writer)
    code, out, _ = answer_of(process)
    assert (code, out) == (1, "finit EPERM 20\n")
    assert told(supervised.events()) == 20


def test_goes_on_when_a_log_has_outgrown_a_limit(supervised, image):
    command = " ".join(map(str, supervised.words([compiled("caller"), "--times", 20, "finit", image])))
    ran = run(["bash", "-c", f"ulimit -f 1; {command}"], env=ENVIRONMENT)
    assert ran.out == "finit EPERM 20\n"
    assert ran.err.count("events.jsonl cannot be written: lines are lost") == 1


def test_standard_descriptors_that_are_closed_do_not_become_logs(supervised, image):
    command = " ".join(map(str, supervised.words(["insmod", image])))
    run(["bash", "-c", f"{command} <&- >&- 2>&-"], env=ENVIRONMENT)
    lines = (supervised.logs / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["answer"] for line in lines] == ["EPERM"]
    assert supervised.attempts() == [str(image)]


def test_knows_the_exit_status_even_if_its_parent_ignores_such_things(supervised):
    command = " ".join(map(str, supervised.words(["sh", "-c", "'exit 7'"])))
    assert run([sys.executable, "-c", "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); "
                "os.execvp('sh', ['sh', '-c', sys.argv[1]])", command], env=ENVIRONMENT).code == 7


def test_waiting_for_what_is_left_behind_can_be_ended(supervised):
    process = supervised.start("sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $$ $!", options=["--wait"])
    shell, left = map(int, line_of(process).split())
    assert wait_end(shell, PATIENCE)  # or the signal would be passed on to it
    process.terminate()
    assert exit_status(process, PATIENCE) == 0
    process.communicate()
    os.kill(left, signal.SIGKILL)


def test_its_memory_is_closed_to_the_command_from_the_beginning(supervised, machine):
    if not has_user(NOBODY):
        pytest.skip("needs a second user, and this user namespace has none")
    machine.root.chmod(0o755)
    look = "import os; os.open(f'/proc/{os.getppid()}/mem', os.O_RDWR)"
    drop = f"import os; os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY}); os.execvp(*__import__('ast').literal_eval(__import__('sys').argv[1]))"
    words = [str(word) for word in supervised.words([sys.executable, "-c", look]) if word not in ("--log-dir", supervised.logs)]
    supervised.policy.chmod(0o644)
    for _ in range(20):
        ran = run([sys.executable, "-c", drop, repr((words[0], words))], env=ENVIRONMENT)
        assert "PermissionError" in ran.err, ran


def test_nothing_of_the_command_runs_if_it_cannot_be_supervised(supervised, machine):
    witness = machine.root / "witness"
    inner = " ".join(map(str, supervised.words(["touch", witness])))
    ran = supervised.run("sh", "-c", inner)
    assert ran.code != 0 and "supervised already" in ran.err
    assert not witness.exists()
