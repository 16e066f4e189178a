#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-only
"""make check: builds and runs what a change touches, and says what it left out: scripts/check.py BUILD [BASE].

The change is what differs from the commit where this branch left BASE; from HEAD, which is the default, that is all that is not
committed. What to run for it is `choose`, by the tables below. Everything is run by the targets of the Makefile, which MAKE
names. A step that fails does not keep the others from running, except the build.
"""

import json
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from hashlib import file_digest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What a build of the programs, and one of their unit tests, is made of. fnmatch's "*" goes over "/".
PROGRAMS = ["src/*", "data/*", "man/*", "cmake/*", "CMakeLists.txt", "Makefile", "scripts/lazy-symbols"]
UNITS = ["src/*", "tests/unit/*", "tests/fixtures/*", "cmake/*", "CMakeLists.txt"]

EVERY_CLI = ["[!i]*", "in[!s]*"]  # but test_install, which builds everything for another prefix
EXEC = ["exec*", "oci_agent"]
RUNNING = ["daemon", "reload", "mode", "run_time_changes", "changes", "events", "arm", "hook"]
# Where a change is, and the files of tests/cli that show it, without "test_" and ".py". Every row that matches counts.
CLI: Sequence[tuple[str, list[str]]] = [
    ("src/core/*", EVERY_CLI),
    ("src/sys/*", EVERY_CLI),
    ("src/linking/*", EVERY_CLI),
    ("scripts/lazy-symbols", EVERY_CLI),
    ("src/modules/*", EVERY_CLI),
    ("src/compiled/*", EVERY_CLI),
    ("src/reader/*", EVERY_CLI),
    ("src/config/*", ["init_and_lint", "modprobe_d", "convert", "check_and_explain", "reload", "run_time_changes", "mode", "loaded"]),
    ("src/protocol/*", [*RUNNING, "check_and_explain", "modprobe_d", "loaded"]),
    ("src/events/*", ["events", "changes", "guest", *EXEC]),
    ("src/enforce/autoload/*", ["arm", "hook", "daemon", "modprobe_d"]),
    ("src/enforce/kernel/*", ["doctor", "seal"]),
    ("src/enforce/process/*", EXEC),
    ("src/enforce/guest/*", ["guest"]),
    ("src/gdb/*", ["guest"]),
    ("src/symbols/*", ["guest"]),
    ("src/daemon/*", [*RUNNING, "seal", "loaded"]),
    ("src/ctl/*", EVERY_CLI),
    ("src/CMakeLists.txt", EVERY_CLI),
    ("cmake/*", EVERY_CLI),
    ("CMakeLists.txt", EVERY_CLI),
    ("Makefile", ["install"]),
    ("data/*", ["install", "completion", "events"]),
    ("man/*", ["install", "command_line"]),
    ("tests/fixtures/images/*", EVERY_CLI),
    ("tests/fixtures/policy/*", ["convert", "check_and_explain", "init_and_lint"]),
    ("tests/support/*", EVERY_CLI),
    ("tests/cli/conftest.py", EVERY_CLI),
    ("tests/cli/machine.py", EVERY_CLI),
    ("tests/cli/supervised.py", EXEC),
    ("tests/cli/containers.py", ["oci_agent"]),
]

ON_6_1 = "6.1 and not 6.12 and not fmod_ret"
# The same for tests/vm: one machine of the matrix stands for the others.
VM: Sequence[tuple[str, str, str]] = [
    ("src/enforce/kernel/*", "kernel_point", ON_6_1),
    ("src/enforce/kernel/*", "records", ON_6_1),
    ("src/events/*", "records", ON_6_1),
    ("src/enforce/autoload/*", "requests", ON_6_1),
    ("src/enforce/autoload/*", "unpacked", "6.12"),
    ("src/compiled/unpacked_images*", "unpacked", "6.12"),
    ("src/enforce/process/*", "process_point", ON_6_1),
    *((f"src/{folder}/*", "guest_point", "amd64-6.1 and not amd64-6.12") for folder in ("enforce/guest", "gdb", "symbols")),
    ("tests/vm/guest_scenarios.py", "guest_point", "amd64-6.1 and not amd64-6.12"),
    ("tests/vm/machine/foreign*", "guest_point", "amd64-6.1 and not amd64-6.12"),
    ("data/systemd/*", "systemd", ""),
    ("tests/vm/machine/*", "machine", ON_6_1),
    ("tests/vm/guest/*", "machine", ON_6_1),
    ("tests/vm/guest/verdicts/*", "verdicts", ON_6_1),
    ("tests/vm/modules/*", "kernel_point", ON_6_1),
    ("tests/vm/guard.py", "requests", ON_6_1),
    ("tests/vm/conftest.py", "requests", ON_6_1),
    ("tests/support/*", "requests", ON_6_1),
]


@dataclass(frozen=True)
class Choice:
    """What to do about a change."""

    programs: bool = False  # whether the build of the programs is touched
    units: bool = False  # whether unit tests are
    cli: tuple[str, ...] = ()  # files of tests, and folders
    vm: Mapping[str, str] = field(default_factory=dict)  # a file of tests: of which only what matches, or "" for all
    lint: tuple[str, ...] = ()


def matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def choose(changed: Iterable[str], existing: Iterable[str]) -> Choice:
    """What to do if the files `changed` are others, new or gone, and those of `existing` are there."""
    changed, existing = sorted(changed), set(existing)
    cli: set[str] = set()
    vm: dict[str, str] = {}
    for name in changed:
        if matches(name, ["tests/cli/test_*.py", "tests/vm/test_*.py"]) and name in existing:
            cli |= {name} if name.startswith("tests/cli/") else set()
            vm |= {name: ""} if name.startswith("tests/vm/") else {}
        wanted = [f"tests/cli/test_{test}.py" for place, tests in CLI if fnmatchcase(name, place) for test in tests]
        cli |= {test for test in existing if matches(test, wanted)}
        for place, test, expression in VM:
            if fnmatchcase(name, place) and f"tests/vm/test_{test}.py" in existing:
                vm.setdefault(f"tests/vm/test_{test}.py", expression)
        if matches(name, ["scripts/*.py", "tests/scripts/*"]):
            cli.add("tests/scripts")
    return Choice(programs=any(matches(name, PROGRAMS) for name in changed), units=any(matches(name, UNITS) for name in changed),
                  cli=tuple(sorted(cli)), vm=vm, lint=tuple(name for name in changed if name in existing))


def git(*arguments: str) -> list[str]:
    """The names that git prints, ended by zeros; a failure ends the program with git's own words."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"make check: {done.stderr.strip()}")
    return [name for name in done.stdout.strip("\n").split("\0") if name]


def changed_since(base: str) -> list[str]:
    (since,) = git("merge-base", "HEAD", base)
    return [*git("diff", "--name-only", "--no-renames", "-z", since), *git("ls-files", "-z", "--others", "--exclude-standard")]


class Units:
    """The unit tests as CTest knows them. A test whose report tells of success, and is newer than its program, has passed."""

    def __init__(self, build: Path) -> None:
        self.folder = build / "test"

    def tests(self) -> dict[str, tuple[Path, Path]]:
        """The program and the report of each."""
        listed = subprocess.run(["ctest", "--test-dir", str(self.folder), "--show-only=json-v1"], capture_output=True, text=True)
        found = {}
        for test in json.loads(listed.stdout or "{}").get("tests", []):
            program, *options = test.get("command", [""])
            report = next((option.partition("=xml:")[2] for option in options if "=xml:" in option), "")
            found[test["name"]] = (Path(program), Path(report))
        return found

    def command(self, tests: Sequence[str]) -> list[str]:
        """Runs them."""
        return ["ctest", "--test-dir", str(self.folder), "--output-on-failure", "-j", str(os.cpu_count()),
                "-R", f"^({'|'.join(map(re.escape, tests))})$"]

    def passed(self) -> dict[str, str]:
        """The tests that have passed as they are now, and a name for what their programs are."""
        fixtures = max(path.stat().st_mtime for path in (ROOT / "tests/fixtures").rglob("*"))
        done = {}
        for name, (program, report) in self.tests().items():
            if program.exists() and report.is_file() and report.stat().st_mtime > max(program.stat().st_mtime, fixtures):
                suites = ElementTree.parse(report).getroot()
                if suites.get("failures") == suites.get("errors") == "0":
                    done[name] = digest(program)
        return done

    def waiting(self, before: Mapping[str, str]) -> list[str]:
        """The tests to run, if these have passed before the build. One whose program has come out the same counts as passed."""
        still = []
        for name, (program, report) in self.tests().items():
            if name in before and before[name] == digest(program):
                os.utime(report)
            else:
                still.append(name)
        return still


def digest(path: Path) -> str:
    with open(path, "rb") as file:
        return file_digest(file, "sha256").hexdigest()


@dataclass
class Report:
    """What has run, and what has not."""

    ran: list[tuple[str, float, bool, str]] = field(default_factory=list)
    left_out: list[tuple[str, str, str]] = field(default_factory=list)  # what, why, the command that runs it

    def run(self, what: str, command: Sequence[str], detail: str = "") -> bool:
        """Runs one step; what it prints is shown as it comes."""
        print(f"\n== {what}{': ' if detail else ''}{detail}", flush=True)
        started = time.monotonic()
        good = subprocess.run(command, cwd=ROOT).returncode == 0
        self.ran.append((what, time.monotonic() - started, good, detail))
        return good

    def leave_out(self, what: str, why: str, command: str) -> None:
        self.left_out.append((what, why, command))

    def print(self) -> None:
        print(f"\n{'ran':12} {'seconds':>8}")
        for what, seconds, good, detail in self.ran:
            print(f"{what:12} {seconds:8.0f}  {'ok    ' if good else 'FAILED'}  {detail}".rstrip())
        print(f"{'all':12} {sum(seconds for _, seconds, _, _ in self.ran):8.0f}")
        print("\nleft out")
        for what, why, command in self.left_out:
            print(f"  {what}: {why}; `{command}`")


def names(tests: Iterable[str]) -> str:
    return " ".join(Path(test).stem for test in tests)


def run(choice: Choice, existing: Sequence[str], build: Path, make: Callable[..., list[str]]) -> Report:
    """Carries a choice out."""
    report = Report()
    units = Units(build)
    passed = units.passed() if choice.units else {}
    built = True
    if choice.programs or choice.cli or choice.vm:
        built = report.run("programs", make("build"))
    if choice.units:
        built = report.run("unit tests", make("unit-build"), "built") and built
    if not built:
        report.leave_out("all tests and checks", "the build failed", "make check")
        return report

    if choice.units:
        waiting = units.waiting(passed)
        programs = sorted({name.split(".")[1] for name in waiting})
        if waiting:
            command = units.command(waiting)
            report.run("unit tests", command, f"run: {' '.join(programs)}")
        report.leave_out("the other unit tests", "their programs are the ones that passed", "make unit-test")
    else:
        report.leave_out("unit tests", "nothing that they are made of has changed", "make unit-test")

    every = [name for name in existing if matches(name, ["tests/cli/test_*.py"])]
    rest = len(set(every) - set(choice.cli))
    if choice.cli:
        whole = "all" if not rest else names(choice.cli)
        report.run("cli tests", make("cli-test", f"CLI_TESTS={'tests/cli tests/scripts' if not rest else ' '.join(choice.cli)}"), whole)
    if rest:
        report.leave_out(f"{rest} of {len(every)} files of cli tests", "not of what has changed", "make cli-test")

    if choice.lint:
        report.run("lint", ["scripts/lint", str(build), *choice.lint])
    report.leave_out("clang-tidy of files that only include what has changed", "slow", "make lint")

    for expression in sorted(set(choice.vm.values())):
        files = [name for name, only in choice.vm.items() if only == expression]
        detail = names(files) + (f" ({expression})" if expression else "")
        report.run("VM tests", make("vm-test", f"VM_TESTS={' '.join(files)}", f"VM_ONLY={expression}"), detail)
    if choice.vm:
        report.leave_out("the other VM tests and kernels", "one stands for them", "make vm-test")
    else:
        report.leave_out("VM tests", "no enforcement point has changed, nor what they are made of", "make vm-test")
    return report


def main() -> int:
    build, base = Path(sys.argv[1]).resolve(), (sys.argv[2:] or ["HEAD"])[0]
    changed = changed_since(base)
    if not changed:
        print(f"nothing differs from {base}; for a branch: make check BASE=origin/main")
        return 0
    existing = [name for name in git("ls-files", "-z", "--cached", "--others", "--exclude-standard") if (ROOT / name).exists()]
    print(f"{len(changed)} files differ from {base}: {' '.join(changed[:8])}{' ...' if len(changed) > 8 else ''}")
    program = os.environ.get("MAKE", "make")
    report = run(choose(changed, existing), existing, build, lambda *words: [program, "--no-print-directory", *words])
    report.print()
    return 0 if all(good for _, _, good, _ in report.ran) else 1


if __name__ == "__main__":
    sys.exit(main())
