# SPDX-License-Identifier: AGPL-3.0-only
"""What `make check` chooses to run for a change, and the rules of `make lint` that are the project's own."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts"))

from check import CLI, PROGRAMS, UNITS, VM, choose
from rules import broken, unlinked

EXISTING = sorted(str(path.relative_to(ROOT)) for folder in ("src", "tests", "docs", "scripts", "cmake", "data", "man")
                  for path in (ROOT / folder).rglob("*") if path.is_file())
CLI_TESTS = [name for name in EXISTING if name.startswith("tests/cli/test_")]


def chosen(*changed: str):
    return choose(changed, EXISTING)


def test_a_document_is_only_linted():
    choice = chosen("docs/guest.md")
    assert (choice.programs, choice.units, choice.cli, choice.vm, choice.lint) == (False, False, (), {}, ("docs/guest.md",))


def test_what_decides_concerns_every_program_and_no_kernel():
    choice = chosen("src/core/decision.cpp")
    assert choice.programs and choice.units
    assert list(choice.cli) == [name for name in CLI_TESTS if name != "tests/cli/test_install.py"]
    assert choice.vm == {}


def test_a_unit_test_concerns_no_whole_program():
    choice = chosen("tests/unit/core/decision_test.cpp")
    assert (choice.programs, choice.units, choice.cli, choice.vm) == (False, True, (), {})


def test_a_point_has_its_own_tests_and_one_machine_of_the_matrix():
    choice = chosen("src/enforce/process/seccomp.cpp")
    assert "tests/cli/test_exec.py" in choice.cli and "tests/cli/test_oci_agent.py" in choice.cli
    assert "tests/cli/test_guest.py" not in choice.cli
    assert choice.vm == {"tests/vm/test_process_point.py": "6.1 and not 6.12 and not fmod_ret"}
    assert list(chosen("src/symbols/elf.cpp").vm) == ["tests/vm/test_guest_point.py"]


def test_a_changed_test_runs_itself_as_a_whole():
    assert chosen("tests/cli/test_seal.py").cli == ("tests/cli/test_seal.py",)
    assert chosen("tests/vm/test_kernel_point.py").vm == {"tests/vm/test_kernel_point.py": ""}
    assert chosen("src/enforce/kernel/guard.cpp", "tests/vm/test_kernel_point.py").vm["tests/vm/test_kernel_point.py"] == ""


def test_what_is_gone_is_neither_run_nor_linted():
    choice = chosen("tests/cli/test_gone.py", "tests/vm/test_gone.py", "src/config/gone.cpp")
    assert choice.lint == () and choice.vm == {}
    assert choice.units and "tests/cli/test_convert.py" in choice.cli


@pytest.mark.parametrize("folder", sorted({str(Path(name).parent) for name in EXISTING if name.startswith("src/")}))
def test_every_folder_of_the_sources_has_tests(folder: str):
    choice = chosen(f"{folder}/any.cpp")
    assert choice.programs and choice.units
    assert choice.cli or folder == "src"


def test_every_row_of_the_tables_is_about_something_that_exists():
    def exists(pattern: str) -> bool:
        return next(ROOT.glob(pattern), None) is not None

    assert [place for place in [*PROGRAMS, *UNITS] if not exists(place)] == []
    assert [test for place, tests in CLI for test in [place, *(f"tests/cli/test_{test}.py" for test in tests)] if not exists(test)] == []
    assert [test for place, test, _ in VM for test in [place, f"tests/vm/test_{test}.py"] if not exists(test)] == []


LICENCE = "// SPDX-License-Identifier: AGPL-3.0-only\n"


def test_a_long_source_is_found_and_a_long_test_is_not():
    assert [*broken([("src/core/long.cpp", LICENCE + "\n" * 400)])] == ["src/core/long.cpp: 401 lines; split it"]
    assert [*broken([("src/core/long.cpp", LICENCE + "\n" * 399), ("tests/unit/core/long_test.cpp", LICENCE + "\n" * 400)])] == []


def test_a_file_without_a_licence_is_found():
    assert [*broken([("tests/cli/test_any.py", '"""No licence."""\n')])] == ["tests/cli/test_any.py: no SPDX line"]


def test_a_heavy_header_has_one_user():
    text = LICENCE + "#include <nlohmann/json.hpp>\n"
    assert [*broken([("src/a.cpp", text)])] == []
    assert [*broken([("src/a.cpp", text), ("src/b.cpp", text)])] == [
        "nlohmann/json.hpp is included in 2 files, src/a.cpp, src/b.cpp; one translation unit only"]


def test_an_include_against_the_dependency_law_is_found():
    texts = [("src/CMakeLists.txt", "add_subdirectory(core)"), ("src/sys/CMakeLists.txt", "kmodguard_library(sys fmt::fmt)"),
             ("src/core/CMakeLists.txt", "kmodguard_library(core)"), ("src/enforce/kernel/CMakeLists.txt", "kmodguard_library(kernel kmodguard_core)"),
             ("src/core/policy.hpp", '#include "core/names.hpp"\n#include <string>\n#include "sys/file.hpp"\n'),
             ("src/enforce/kernel/bpf/events.h", '#include "core/policy.hpp"\n#include "verdict.h"\n'),
             ("tests/unit/core/x.cpp", '#include "sys/file.hpp"\n')]
    assert list(unlinked(texts)) == ["src/core/policy.hpp: includes sys/file.hpp, but src/core/CMakeLists.txt does not link kmodguard_sys"]
