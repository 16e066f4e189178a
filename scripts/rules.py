#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-only
"""The rules that no tool knows, for all files that git has or would take: scripts/rules.py. Prints what breaks one, and is 1 then."""

import posixpath
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_LINES = 400
# What is of such a length that a reader loses it; tests are read one at a time.
LIMITED = re.compile(r"(src/.*\.(cpp|hpp|c|h|inc)|bench/.*|scripts/.*)")
LICENSED = re.compile(r"(src/.*\.(cpp|hpp|c|h|inc)|tests/.*\.(cpp|hpp|py)|bench/.*|scripts/.*)")
MADE = re.compile(r"corpus|fixtures")
# Headers that take seconds to compile: each has one file that includes it.
HEAVY = ["toml++/toml.h", "yaml-cpp/yaml.h", "CLI/CLI.hpp", "nlohmann/json.hpp"]
LISTS = "CMakeLists.txt"
INCLUDED = re.compile(r'^#include "([^"]+)"', re.MULTILINE)


def folder_of(name: str, folders: Iterable[str]) -> str:
    """The one of `folders` that `name` is deepest in; "" if in none."""
    return max((folder for folder in folders if name.startswith(folder + "/")), key=len, default="")


def unlinked(texts: Iterable[tuple[str, str]]) -> Iterator[str]:
    """What includes a header of a folder whose library it does not link: the linker sees only what is called. A folder's
    library has the name of the folder; what stands in a CMakeLists.txt without one, as programs do, links what it says."""
    sources = {name: text for name, text in texts if name.startswith("src/")}
    linked = {posixpath.dirname(name): set(re.findall(r"\bkmodguard_(\w+)", text))
              for name, text in sources.items() if posixpath.basename(name) == LISTS and posixpath.dirname(name) != "src"}
    for name, text in sources.items():
        own = folder_of(name, linked)
        for header in INCLUDED.findall(text) if own else ():
            other = folder_of("src/" + header, linked)
            if other and other != own and posixpath.basename(other) not in linked[own]:
                yield f"{name}: includes {header}, but {own}/{LISTS} does not link kmodguard_{posixpath.basename(other)}"


def broken(texts: Iterable[tuple[str, str]]) -> Iterator[str]:
    """What is wrong with the files of these names and texts."""
    users: dict[str, list[str]] = {heavy: [] for heavy in HEAVY}
    for name, text in texts:
        lines = text.count("\n")
        if LIMITED.fullmatch(name) and lines > MOST_LINES:
            yield f"{name}: {lines} lines; split it"
        if LICENSED.fullmatch(name) and not MADE.search(name) and "SPDX-License-Identifier" not in "".join(text.splitlines()[:3]):
            yield f"{name}: no SPDX line"
        for heavy in HEAVY:
            if name.startswith("src/") and f"include <{heavy}>" in text:
                users[heavy].append(name)
    for heavy, names in users.items():
        if len(names) > 1:
            yield f"{heavy} is included in {len(names)} files, {', '.join(names)}; one translation unit only"


def main() -> int:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "src", "tests", "bench", "scripts"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    existing = ((name, ROOT / name) for name in listed if name and not MADE.search(name))
    texts = [(name, path.read_text()) for name, path in existing if path.is_file()]
    found = [*broken(texts), *unlinked(texts)]
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
