#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-only
"""make readme-demo: writes what `make demo` shows, of a real run, into README.md between its two marks. Of the table the rows in
SHOWN. tests/scripts/test_readme.py says when the block is no longer what the demo would print."""

import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
sys.path.append(str(ROOT / "tests/vm"))

import demo_table

BEGIN, END = "<!-- make readme-demo writes this block -->\n", "<!-- the end of the block -->\n"
SHOWN = ["socket family AF_KEY", "mount -t squashfs", "network link of type bridge, its llc denied",
         "TCP congestion control vegas", "loop.ko copied to dummy.ko, insmod dummy.ko"]


def block(outcomes: list[demo_table.Outcome]) -> str:
    """What stands between the marks: the policy's lists, and the table of these requests."""
    lists = demo_table.POLICY[demo_table.POLICY.index("[allow]"):]
    return f"```toml\n{lists}```\n\n```\n" + "".join(f"{line}\n" for line in demo_table.table(outcomes)) + "```\n"


def chosen(outcomes: list[demo_table.Outcome]) -> list[demo_table.Outcome]:
    return [one for name in SHOWN for one in outcomes if one.request.what == name]


def block_of(text: str) -> str:
    """The block that is in `text` now."""
    return text.partition(BEGIN)[2].partition(END)[0]


def with_block(text: str, new: str) -> str:
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError("README.md has not the two marks of the demo's block")
    return before + BEGIN + new + END + after


def main() -> int:
    import demo  # tests/cli, whose tests import this file, has modules of the names of the test machine's

    done = demo.run(lambda _, what: print(what, flush=True))
    if wrong := demo_table.not_as_the_policy_says(done.outcomes):
        sys.exit(f"README.md stays as it is: not as the policy says: {', '.join(wrong)}")
    README.write_text(with_block(README.read_text(), block(chosen(done.outcomes))))
    print(textwrap.indent(block_of(README.read_text()), "    "))
    return 0


if __name__ == "__main__":
    sys.exit(main())
