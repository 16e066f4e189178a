#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-only
"""clang-tidy over src/: scripts/tidy.py BUILD [FILE...], a build folder that CMake has configured for clang without precompiled
headers. With files only these are looked at, and of a header that is one of them a source that includes it.

clang-tidy spends 95 % of its time on the system's headers, which it reads and matches again for each file. So many files
are looked at together, as one translation unit that includes them all. Files that cannot be compiled together (two
helpers of one name) are looked at apart. Before that each file is compiled alone, so that one that does not include what
it uses is found; the largest of the system's headers are precompiled for those files that include them by some way.

What was clean is remembered by the content of all that clang-tidy sees of the project, so that a repeated run looks at
what has changed alone.
"""

import functools
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TIDY, CLANG = "clang-tidy-19", "clang++-19"
WORTH = 4  # files that include the same large headers, for these to be precompiled
MOST_TOGETHER = 48  # files: more would leave processors idle at the end
# What is precompiled together, the largest set first: a file gets the first of which it includes all.
LARGE = [("string", *names) for names in (
    ("fmt/format.h", "filesystem", "functional", "chrono"), ("fmt/format.h", "filesystem"),
    ("filesystem", "functional", "chrono"), ("fmt/format.h",), ("filesystem",), ())]
ROOT = Path(__file__).resolve().parent.parent


class Linter:
    def __init__(self, build: Path) -> None:
        self.build = build
        self.batches = build / "batches"
        self.memory = build / "clean"
        for folder in (self.batches, self.memory):
            folder.mkdir(parents=True, exist_ok=True)
        commands = json.loads((build / "compile_commands.json").read_text())
        self.flags = {Path(entry["file"]): flags_of(entry["command"]) for entry in commands}
        version = subprocess.run([TIDY, "--version"], capture_output=True, text=True, check=True).stdout
        self.circumstances = [version, (ROOT / ".clang-tidy").read_text(), Path(__file__).read_text()]

    def key(self, source: Path) -> str:
        """Names all that clang-tidy sees of the project when it looks at this file."""
        seen = [*self.circumstances, *self.flags[source]]
        for path in sorted(included(source)):
            seen += [str(path), digest(path)]
        return hashlib.sha256("\0".join(seen).encode()).hexdigest()

    def compiles(self, source: Path, flags: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run([CLANG, *flags, "-fsyntax-only", str(source)], capture_output=True, text=True)

    def alone(self, source: Path, precompiled: Path | None) -> str:
        """What is wrong with the file compiled by itself; nothing if nothing is."""
        given = ["-include-pch", str(precompiled)] if precompiled else []
        done = self.compiles(source, [*self.flags[source], *given])
        return done.stderr if done.returncode != 0 else ""

    def precompiled(self, sources: list[Path]) -> dict[Path, Path]:
        """For each file the large headers that it includes, as clang has read them, if several files include the same ones."""
        groups: dict[tuple[str, ...], list[Path]] = defaultdict(list)
        for source in sources:
            reached = system_headers(source)
            names = next((names for names in LARGE if reached.issuperset(names)), ())
            language = [flag for flag in self.flags[source] if not flag.startswith(("-I", "-isystem"))]
            groups[(" ".join(names), *language)].append(source)
        worth = [(key, group) for key, group in groups.items() if key[0] and len(group) >= WORTH]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            made = pool.map(lambda entry: self.precompile(*entry[0]), worth)
            return {source: header for (_, group), header in zip(worth, made) if header for source in group}

    def precompile(self, names: str, *flags: str) -> Path | None:
        text = "".join(f"#include <{name}>\n" for name in names.split())
        header = self.batches / f"{hashlib.sha256(repr((text, flags)).encode()).hexdigest()[:16]}.hpp"
        header.write_text(text)
        target = header.with_suffix(".pch")
        done = subprocess.run([CLANG, *flags, "-Wno-pragma-once-outside-header", "-x", "c++-header", str(header), "-o", str(target)],
                              capture_output=True, text=True)
        return target if done.returncode == 0 else None

    def together(self, sources: list[Path]) -> str:
        """What clang-tidy finds in the files, each of which compiles alone."""
        flags = list(dict.fromkeys(flag for source in sources for flag in self.flags[source]))
        batch = sources[0]
        if len(sources) > 1:
            name = hashlib.sha256("\0".join(map(str, sources)).encode()).hexdigest()[:16]
            batch = self.batches / f"{name}.cpp"
            batch.write_text("".join(f'#include "{source}" // NOLINT(bugprone-suspicious-include)\n' for source in sources))
            if self.compiles(batch, flags).returncode != 0:
                return "".join(map(self.together, parts_of(sources)))
        done = subprocess.run([TIDY, "--quiet", "--warnings-as-errors=*", str(batch), "--", *flags], capture_output=True, text=True)
        if done.returncode == 0:
            for source in sources:
                (self.memory / self.key(source)).touch()
        return done.stdout + done.stderr if done.returncode != 0 else ""

    def run(self, sources: list[Path]) -> list[str]:
        """The findings in those of the files that are not known to be clean."""
        keys = {source: self.key(source) for source in sources}
        waiting = [source for source in sources if not (self.memory / keys[source]).exists()]
        print(f"clang-tidy: {len(waiting)} of {len(sources)} files are to be looked at", flush=True)
        precompiled = self.precompiled(waiting)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            findings = [found for found in pool.map(lambda source: self.alone(source, precompiled.get(source)), waiting) if found]
            if not findings:
                findings = [found for found in pool.map(self.together, batches_of(waiting)) if found]
        return findings

    def forget_all_but(self, sources: list[Path]) -> None:
        """Drops what is remembered of files as they no longer are."""
        keys = {self.key(source) for source in sources}
        for known in self.memory.iterdir():
            if known.name not in keys:
                known.unlink()


def flags_of(command: str) -> list[str]:
    """The options of a compiler's command line, a word each, without the compiler, the source and the output."""
    words = shlex.split(command.replace("-isystem ", "-isystem"))
    return words[1:words.index("-o")]


@functools.cache
def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@functools.cache
def direct_includes(path: Path) -> frozenset[Path]:
    """The project's own headers that a file names. Generated ones are not the linter's business."""
    names = re.findall(r'^\s*#\s*include\s*"([^"]+)"', path.read_text(), re.MULTILINE)
    candidates = (folder / name for name in names for folder in (path.parent, ROOT / "src"))
    return frozenset(candidate.resolve() for candidate in candidates if candidate.exists())


def system_headers(source: Path) -> set[str]:
    """The system's headers that the file or one of the project's headers behind it names."""
    text = "".join(path.read_text() for path in included(source))
    return set(re.findall(r"^\s*#\s*include\s*<([^>]+)>", text, re.MULTILINE))


def included(source: Path) -> set[Path]:
    """The file and all of the project's headers behind it."""
    found: set[Path] = set()
    waiting = {source}
    while waiting:
        path = waiting.pop()
        found.add(path)
        waiting |= direct_includes(path) - found
    return found


def by_folder(sources: list[Path]) -> list[list[Path]]:
    groups: dict[Path, list[Path]] = defaultdict(list)
    for source in sources:
        groups[source.parent].append(source)
    return list(groups.values())


def parts_of(sources: list[Path]) -> list[list[Path]]:
    """Smaller batches of files that cannot be compiled together: their folders, or the halves of one."""
    folders, half = by_folder(sources), len(sources) // 2
    return folders if len(folders) > 1 else [sources[:half], sources[half:]]


def batches_of(sources: list[Path]) -> list[list[Path]]:
    """The files in batches of whole folders, the longest first."""
    batches: list[list[Path]] = []
    for folder in by_folder(sources):
        if batches and len(batches[-1]) + len(folder) <= MOST_TOGETHER:
            batches[-1] += folder
        else:
            batches.append(list(folder))
    return sorted(batches, key=len, reverse=True)


def concerned(changed: list[Path], sources: list[Path]) -> list[Path]:
    """The sources to look at if these files have changed: they themselves, and for each header the source of its name, or one
    of those that include it."""
    found = {path for path in changed if path in sources}
    for header in (path for path in changed if path.suffix == ".hpp"):
        users = [source for source in sources if header in included(source)]
        found |= set(sorted(users, key=lambda source: source.with_suffix("") != header.with_suffix(""))[:1])
    return sorted(found)


def main() -> int:
    build, *changed = sys.argv[1:]
    linter = Linter(Path(build).resolve())
    sources = sorted(source for source in linter.flags if source.is_relative_to(ROOT / "src"))
    chosen = concerned([ROOT / name for name in changed], sources) if changed else sources
    findings = linter.run(chosen)
    if not changed and not findings:
        linter.forget_all_but(sources)
    for found in findings:
        print(found, file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
