# SPDX-License-Identifier: AGPL-3.0-only
"""`kmodctl seal` on a machine that is a directory, which has no kernel to seal; real ones the tests in a virtual machine
seal."""

import pytest
from machine import NOBODY


@pytest.mark.parametrize("options", [[], ["--yes"], ["--dry-run"], ["--yes", "--dry-run"]])
def test_below_a_root_there_is_nothing_to_seal(machine, daemon, options):
    machine.ask("arm")
    ran = machine.kmodctl("seal", *options)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == ("kmodctl seal: only the running machine can be sealed, and paths are below another root\n"
                       "  hint: leave --root out\n")
    answer = machine.kmodctl("seal", "--json", *options).json
    assert (answer["exit"], answer["hint"]) == (1, "leave --root out")


@pytest.mark.parametrize("arguments", [["now"], ["--no"], ["--yes=5", "x"]])
def test_what_it_does_not_take_is_2(machine, arguments):
    ran = machine.kmodctl("seal", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "--help" in ran.err


def test_it_is_for_root(machine):
    ran = machine.kmodctl("seal", "--dry-run", user=NOBODY)
    assert ran.code == 1
    assert "only root may do this" in ran.err


def test_nothing_is_sealed_below_a_root(machine, daemon):
    machine.ask("start")
    machine.ask("disarm")
    machine.ask("arm")
    machine.ask("stop")
