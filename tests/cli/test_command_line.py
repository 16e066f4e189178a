# SPDX-License-Identifier: AGPL-3.0-only
"""The command line itself: help, mistakes, colour, JSON, and that the manual says what the program does."""

import json
import os
import pty
import re
import subprocess

import pytest
from waiting import exit_status
from machine import KMODCTL, NOBODY, PATIENCE, SOURCES, clean_environment, run

VERBS = ["init", "start", "stop", "status", "check", "explain", "allow", "deny", "remove", "apply", "list", "mode",
         "reload", "lint", "convert", "arm", "disarm", "hook", "seal", "doctor",
         "exec", "oci-agent", "guest"]


def plain(*arguments, **environment):
    return run([KMODCTL, *arguments], env=clean_environment(**environment))


def complete(*words):
    """The words that the shells offer for the last of `words`."""
    return [line.split("\t")[0] for line in plain("__complete", "kmodctl", *words).out.splitlines()]


def on_terminal(machine, *arguments, **environment):
    """What kmodctl writes to a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([KMODCTL, "--root", machine.root, *arguments], stdout=theirs, stderr=theirs,
                          env=clean_environment(**environment)) as process:
        os.close(theirs)
        written = b""
        try:
            while piece := os.read(ours, 4096):
                written += piece
        except OSError:  # Linux tells the end of a terminal so
            pass
        process.wait()
    os.close(ours)
    return written.decode()


def test_the_table_of_verbs_is_complete():
    assert sorted(complete("")) == sorted(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_and_option_has_help_and_a_place_in_the_manual(verb):
    options = set(complete(verb, "--"))
    helped = plain(verb, "--help")
    assert helped.code == 0
    assert options - {"--root", "--json", "--debug"} <= set(re.findall(r"--[a-z-]+", helped.out))
    manual = (SOURCES / "man/kmodctl.8.scd").read_text()
    assert re.search(rf"^(.*, )?\*{verb}\*", manual, re.MULTILINE)
    for option in options:
        assert f"*{option}*" in manual


def test_the_examples_in_the_manual_are_valid_policies(machine):
    manual = (SOURCES / "man/kmodguard-policy.5.scd").read_text()
    examples = re.findall(r"^```\n(version = 1\n.*?)^```$", manual, re.MULTILINE | re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        ran = machine.ask("lint", machine.write("example.toml", example))
        assert "error" not in ran.out


def test_help_lists_every_verb_and_the_exit_codes_and_hides_what_is_for_the_shell():
    helped = plain("--help").out
    for verb in VERBS:
        assert re.search(rf"^  {verb} +\w", helped, re.MULTILINE)
    assert "3 refused by policy" in helped
    assert "__complete" not in helped


def test_the_version_is_one_line():
    assert re.fullmatch(r"kmodctl \d+\.\d+\.\d+\n", plain("--version").out)


@pytest.mark.parametrize("wrong, right", [("statsu", "status"), ("chek", "check"), ("aplly", "apply"), ("lst", "list"),
                                          ("dissarm", "disarm")])
def test_an_unknown_verb_is_2_and_the_nearest_is_suggested(wrong, right):
    ran = plain(wrong)
    assert ran.code == 2
    assert ran.err == f"kmodctl: unknown verb \"{wrong}\"\n  hint: did you mean \"{right}\"?\n"


@pytest.mark.parametrize("wrong", ["frobnicate", "", "x" * 10000], ids=["far", "empty", "long"])
def test_a_verb_that_is_like_none_is_2_and_leads_to_the_help(wrong):
    ran = plain(wrong)
    assert ran.code == 2
    assert "hint: kmodctl --help lists the verbs" in ran.err


@pytest.mark.parametrize("arguments", [[], ["check"], ["allow"], ["allow", "a", "b"], ["check", "--nope", "x"],
                                       ["--nope"], ["mode", "audit", "--for"], ["status", "x"], ["--root"],
                                       ["seal", "x"], ["doctor", "x"], ["doctor", "--mend"], ["seal", "--force"],
                                       ["explain", "a", "b"], ["check", "--policy"]])
def test_what_is_missing_or_too_much_is_2_and_leads_to_the_help(arguments):
    ran = plain(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "--help" in ran.err


@pytest.mark.parametrize("arguments", [["--json", "check", "loop"], ["check", "--json", "loop"],
                                       ["check", "loop", "--json"]])
def test_json_may_stand_anywhere(machine, arguments):
    assert machine.ask(*arguments).json["verdict"] == "allow"


@pytest.mark.parametrize("arguments, code", [
    (["allow", "loop"], 5), (["mode", "slow"], 2), (["disarm"], 4), (["init"], 1), (["lint"], 6), (["status"], 5),
    (["check", "af_key"], 6), (["explain", "af_key"], 6), (["list"], 6), (["arm"], 0), (["stop"], 0), (["doctor"], 1),
    (["seal", "--yes"], 1)])
def test_with_json_everything_said_is_json_and_failures_say_why(machine, arguments, code):
    machine.write("etc/kmodguard/policy.toml", "version = 1\nmodee = 1\n")
    if arguments == ["disarm"]:
        machine.ask("arm")
        machine.original_handler.unlink()
    ran = machine.kmodctl("--json", *arguments)
    assert (ran.code, ran.err) == (code, "")
    assert ran.objects
    for answer in ran.objects:
        if "error" in answer:
            assert answer["exit"] == code
            assert answer["error"] and isinstance(answer["hint"], str)


def test_a_warning_is_an_object_too(machine):
    machine.handler.write_text("\n")
    ran = machine.ask("arm", "--json")
    assert "autoloading is switched off" in json.loads(ran.out.splitlines()[0])["warning"]


def test_verdicts_are_coloured_on_a_terminal(machine):
    assert "loop: \x1b[32mallowed\x1b[0m: " in on_terminal(machine, "check", "loop")
    assert "af_key: \x1b[31mrefused\x1b[0m: " in on_terminal(machine, "check", "af_key")


def test_no_colour_where_it_is_not_wanted(machine):
    assert "\x1b" not in on_terminal(machine, "check", "loop", NO_COLOR="1")
    assert "\x1b" not in on_terminal(machine, "--json", "check", "loop")
    assert "\x1b" not in machine.kmodctl("check", "loop").out


def test_status_tells_anybody_what_it_can(machine, daemon):
    machine.ask("arm")
    ran = machine.kmodctl("status", user=NOBODY)
    assert ran.code == 1
    assert "autoload  armed" in ran.out
    assert "daemon    only root may ask it" in ran.out
    assert "kernel    not enforced: paths are below another root than the machine's\n" in ran.out


def test_list_is_for_root_where_the_daemon_runs(machine, daemon):
    ran = machine.kmodctl("list", user=NOBODY)
    assert ran.code == 1
    assert "cannot connect" in ran.err
    assert "hint: this needs root" in ran.err


def test_output_that_nobody_reads_is_no_hang(machine, daemon):
    read, write = os.pipe()
    os.close(read)
    with subprocess.Popen([KMODCTL, "--root", machine.root, "list"], stdout=write, stderr=subprocess.DEVNULL,
                          env=clean_environment()) as process:
        os.close(write)
        assert exit_status(process, PATIENCE) is not None
