# SPDX-License-Identifier: AGPL-3.0-only
"""The documents name files, headings and tests that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")] + sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, heading = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}, target


# Names of files and folders of the project, where a page sets them in code: from the top, or sources from src on.
NAMED = re.compile(r"`((?:src|tests|docs|scripts|man|data|cmake|findings)/[\w./-]*\w"
                   r"|(?:core|sys|config|modules|gdb|symbols|protocol|events|enforce|daemon|ctl)/[\w./-]*\.(?:cpp|hpp|h|c))`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page: Path):
    named = [name for name in NAMED.findall(page.read_text()) if not re.search(r"\b(NAME|FOLDER)\b|_NAME\b", name)]
    assert [name for name in named if not ((ROOT / name).exists() or (ROOT / "src" / name).exists())] == []


def rows_of_bypasses() -> dict[int, set[str]]:
    """The files of Python tests that the table names, by the number of the row."""
    rows = {}
    for line in (ROOT / "docs/bypasses.md").read_text().splitlines():
        if number := re.match(r"\| (\d+) \|", line):
            where = line.rstrip("| ").rpartition(" | ")[2]
            files = set(re.findall(r"tests/[\w/.*]+\.py", where))
            rows[int(number[1])] = files or ({"tests/vm/test_bypasses.py"} if re.match(r"row \d", where) else set())
    return rows


def numbers_in(pattern: str) -> set[int]:
    """The rows that the names of the tests in these files answer: test_row_8_9_... and test_10_..."""
    text = "".join(path.read_text() for path in ROOT.glob(pattern))
    return {int(number) for numbers in re.findall(r"def test_(?:rows?_)?((?:\d+_(?:and_)?)+)", text) for number in re.findall(r"\d+", numbers)}


@pytest.mark.parametrize("row, files", rows_of_bypasses().items(), ids=lambda value: str(value) if isinstance(value, int) else "")
def test_a_bypass_has_a_test_of_its_number_where_the_table_says(row: int, files: set[str]):
    numbered = {"tests/vm/test_verdicts.py", "tests/cli/test_modprobe_d.py", "tests/vm/test_requests.py"}  # these number none
    assert [name for name in files - numbered if row not in numbers_in(name)] == []


def verbs() -> set[str]:
    """The verbs of kmodctl, which tests/cli compares with the program."""
    listed = re.search(r"^VERBS = \[(.*?)\]", (ROOT / "tests/cli/test_command_line.py").read_text(), re.MULTILINE | re.DOTALL)
    assert listed
    return set(re.findall(r'"([\w-]+)"', listed[1]))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_verbs_that_a_page_names_are_kmodctls(page: Path):
    text = page.read_text()
    code = re.findall(r"`([^`\n]+)`", text) + re.findall(r"^    .*$", text, re.MULTILINE)
    named = {verb for one in code for verb in re.findall(r"\bkmodctl (?:-\S+ )*([a-z][a-z-]*)\b", one)}
    assert named - verbs() == set()
