# SPDX-License-Identifier: AGPL-3.0-only
"""README.md's block of `make demo` is what the demo's source would print, as far as that can be told without a virtual machine."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "scripts"), str(ROOT / "tests/vm")]

import demo_table
import readme_demo

README = (ROOT / "README.md").read_text()


def outcomes_in(block: str) -> list[demo_table.Outcome]:
    """The table of the block, read back. Its rows are short; it fails for a request that the demo does not make."""
    by_name = {request.what: request for request in demo_table.REQUESTS}
    lines = block.split("```\n")[-2].splitlines()[1:]
    found: list[demo_table.Outcome] = []
    for line in lines:
        if line.startswith(demo_table.INDENT):
            last = found.pop()
            found.append(demo_table.Outcome(last.request, last.without, last.guarded, f"{last.why} {line.strip()}".strip()))
            continue
        cells, at = [], 0
        for _, width in demo_table.COLUMNS:
            cells.append(line[at:at + width].strip())
            at += width + 2
        what, user, without, guarded = cells
        assert by_name[what].user == user
        found.append(demo_table.Outcome(by_name[what], modules_of(without), modules_of(guarded), ""))
    return found


def modules_of(cell: str) -> frozenset[str]:
    return frozenset() if cell == "-" else frozenset(cell.split())


def test_the_block_has_the_policy_and_the_rows_that_the_demo_would_print():
    block = readme_demo.block_of(README)
    outcomes = outcomes_in(block)
    assert [one.request.what for one in outcomes] == readme_demo.SHOWN
    assert demo_table.not_as_the_policy_says(outcomes) == []
    assert block == readme_demo.block(outcomes)


def test_another_policy_request_or_column_is_another_block(monkeypatch):
    block = readme_demo.block_of(README)
    outcomes = outcomes_in(block)
    with monkeypatch.context() as patch:
        patch.setattr(demo_table, "POLICY", demo_table.POLICY.replace("squashfs", "cramfs"))
        assert readme_demo.block(outcomes) != block
    with monkeypatch.context() as patch:
        patch.setattr(demo_table, "COLUMNS", [("what", 50), *demo_table.COLUMNS[1:]])
        assert readme_demo.block(outcomes) != block


def test_the_block_is_replaced_and_nothing_else_is():
    assert readme_demo.with_block(README, "new\n").replace("new\n", readme_demo.block_of(README)) == README
    with pytest.raises(ValueError):
        readme_demo.with_block("no marks", "new\n")
