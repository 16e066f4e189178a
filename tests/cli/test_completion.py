# SPDX-License-Identifier: AGPL-3.0-only
"""What the shells offer: kmodctl's own words, and bash's function as bash calls it.

The scripts for zsh and fish are checked by these shells where they are installed.
"""

import shutil

import pytest
from machine import KMODCTL, RELEASE, SOURCES, clean_environment, run

SCRIPTS = SOURCES / "data/completions"


def offered(machine, *words):
    """What kmodctl offers for the last of `words`, with its meaning."""
    ran = machine.kmodctl("__complete", "kmodctl", *words)
    assert (ran.code, ran.err) == (0, "")
    return dict((line.split("\t") + [""])[:2] for line in ran.out.splitlines())


def by_bash(machine, *words):
    """What bash would offer for the last of `words`."""
    script = f"""
        source {SCRIPTS}/kmodctl.bash
        complete -p kmodctl >/dev/null || exit 9
        COMP_WORDS=(kmodctl "$@"); COMP_CWORD=$#
        _kmodctl {KMODCTL} "${{!#}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    ran = run(["bash", "--norc", "-c", script, "bash", *words], cwd=machine.root,
              env=clean_environment(KMODGUARD_ROOT=str(machine.root)))
    assert (ran.code, ran.err) == (0, "")
    return ran.out.split()


def test_verbs_are_offered_with_their_meaning(machine):
    verbs = offered(machine, "")
    assert verbs["check"] == "show whether module names or aliases may load"
    assert "__complete" not in verbs
    assert list(offered(machine, "re")) == ["remove", "reload"]


def test_options_are_those_of_the_verb(machine):
    assert set(offered(machine, "check", "--")) == {"--policy", "--kernel", "--root", "--json", "--debug", "--help"}
    assert set(offered(machine, "--")) == {"--root", "--json", "--debug", "--help"}
    assert list(offered(machine, "reload", "--d")) == ["--discard", "--debug"]


def test_module_names_are_offered_as_often_as_the_verb_takes_them(machine):
    assert list(offered(machine, "allow", "")) == ["af_key", "crc_base", "liar", "loop", "shy", "tun_dev", "twin_a",
                                                   "twin_b"]
    assert list(offered(machine, "check", "loop", "twin")) == ["twin_a", "twin_b"]
    assert offered(machine, "allow", "loop", "") == {}


def test_remove_offers_what_is_listed(machine, daemon):
    assert offered(machine, "remove", "") == {"loop": "allow.modules", "tun_dev": "allow.modules",
                                              "twin_b": "deny.modules"}


def test_remove_offers_nothing_without_a_daemon(machine):
    assert offered(machine, "remove", "") == {}


def test_values_are_offered_after_the_options_that_take_them(machine):
    assert list(offered(machine, "mode", "")) == ["enforce", "audit"]
    assert "30m" in offered(machine, "mode", "--for", "")
    assert list(offered(machine, "mode", "--for", "30m", "a")) == ["audit"]
    assert list(offered(machine, "check", "--kernel", "")) == [RELEASE]
    assert list(offered(machine, "check", "--policy", "")) == [":files"]
    assert list(offered(machine, "lint", "")) == [":files"]
    assert list(offered(machine, "--root", "")) == [":directories"]


def test_a_root_on_the_line_is_where_names_are_looked_up(machine):
    ran = run([KMODCTL, "__complete", "kmodctl", "--root", machine.root, "allow", "tun"], env=clean_environment())
    assert ran.out == "tun_dev\n"


@pytest.mark.parametrize("words", [["nothing", ""], ["--nope", "x", ""], ["status", ""], ["hook", "-q", ""],
                                   ["check", "--policy", "--", ""], ["\x1b", ""]])
def test_what_nobody_can_complete_is_answered_with_nothing_or_something_but_no_error(machine, words):
    offered(machine, *words)


def test_bash_offers_verbs_modules_and_options(machine):
    assert by_bash(machine, "ch") == ["check"]
    assert by_bash(machine, "check", "tw") == ["twin_a", "twin_b"]
    assert by_bash(machine, "check", "loop", "--p") == ["--policy"]
    assert by_bash(machine, "mode", "") == ["enforce", "audit"]


def test_bash_offers_what_is_listed_live(machine, daemon):
    machine.ask("allow", "af_key")
    assert by_bash(machine, "remove", "af") == ["af_key"]


def test_bash_offers_files_and_folders_where_they_belong(machine):
    machine.write("some.toml", "")
    machine.write("some-folder/file", "")
    assert set(by_bash(machine, "lint", "some")) == {"some.toml", "some-folder"}
    assert by_bash(machine, "--root", "some") == ["some-folder"]


def test_bash_offers_nothing_and_says_nothing_where_kmodctl_is_broken(machine):
    ran = run(["bash", "--norc", "-c", f"source {SCRIPTS}/kmodctl.bash; COMP_WORDS=(kmodctl ''); COMP_CWORD=1;"
               "_kmodctl /nonexistent; echo ${#COMPREPLY[@]}"], env=clean_environment())
    assert (ran.out, ran.err) == ("0\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_scripts_are_correct_to_their_shells(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    ran = run([shell, "-n", SCRIPTS / f"kmodctl.{shell}"], env=clean_environment())
    assert (ran.code, ran.err) == (0, "")
