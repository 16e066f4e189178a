# SPDX-License-Identifier: AGPL-3.0-only
"""`--debug`: what each program says of what it does, that nothing in it can break its line, and who may ask for it."""

import socket
import subprocess

import pytest
from machine import KMODCTL, PATIENCE, clean_environment, run
from supervised import ENVIRONMENT, Supervised
from test_guest import symbol_text


def traced(text, topic):
    return [line for line in text.splitlines() if line.startswith(f"debug {topic}: ")]


def test_the_daemon_traces_what_it_decides_and_remembers(machine, start):
    daemon = start("--debug=decisions,cache")
    for token in ("af_key", "af_key", "fs-\x7f"):
        machine.kmodctl("hook", "-q", "--", token)
    log = daemon.says("debug decisions: autoload fs-\\x7f: refused: ")
    assert traced(log, "cache") == ["debug cache: af_key: decided, and kept", "debug cache: af_key: remembered",
                                    "debug cache: fs-\\x7f: decided, and not kept"]
    assert len(traced(log, "decisions")) == 3 and not traced(log, "bpf")


def test_the_daemon_is_not_traced_by_its_environment(machine, start):
    daemon = start(KMODGUARD_DEBUG="all")
    machine.kmodctl("hook", "-q", "--", "loop")
    daemon.events(1)
    assert "debug" not in daemon.log()


@pytest.mark.parametrize("words, environment", [(["--debug=calls,decisions"], {}), ([], {"KMODGUARD_DEBUG": "calls,decisions"})],
                         ids=["option", "environment"])
def test_supervised_calls_are_traced(machine, words, environment):
    supervised = Supervised(machine)
    image = machine.write("of\nnothing.ko", "no module")
    command = [KMODCTL, *words, *supervised.words(["insmod", image])[1:]]
    ran = run(command, env={**ENVIRONMENT, **environment})
    calls, decisions = traced(ran.err, "calls"), traced(ran.err, "decisions")
    assert calls and "init_module by thread " in calls[0]
    assert any("of\\x0anothing.ko" in line for line in decisions)  # of two threads, whichever comes first


def test_packets_of_a_guest_are_traced(machine):
    path = machine.root / "stub.sock"
    symbols = machine.write("System.map", symbol_text())
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        command = [KMODCTL, "--debug=packets", "guest", "--symbols", symbols, "--architecture", "amd64", "--gdb", path]
        with subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE, text=True, env=clean_environment()) as process:
            listener.settimeout(PATIENCE)
            connection, _ = listener.accept()
            connection.recv(100)
            connection.close()
            _, said = process.communicate(timeout=PATIENCE)
    assert traced(said, "packets")[0].startswith("debug packets: -> qSupported")


@pytest.mark.parametrize("word", ["--debug=packet", "--debug=bpf,,cache"])
def test_a_topic_that_is_none_is_a_usage_error(machine, word):
    ran = machine.kmodctl(word, "lint")
    assert ran.code == 2 and "--debug knows no" in ran.err


def test_nothing_is_traced_unless_it_is_asked_for(machine, daemon):
    machine.kmodctl("hook", "-q", "--", "loop")
    daemon.events(1)
    assert "debug" not in daemon.log()
