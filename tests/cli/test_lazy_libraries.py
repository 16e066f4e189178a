# SPDX-License-Identifier: AGPL-3.0-only
"""kmodctl loads most libraries when a verb first needs them (src/linking), and says which one it cannot load."""

import pytest
from machine import KMODCTL, clean_environment, run


@pytest.fixture
def without(tmp_path):
    """An environment in which a library is a file that is none."""
    def broken(library):
        (tmp_path / library).write_bytes(b"")
        return clean_environment(LD_LIBRARY_PATH=str(tmp_path))
    return broken


@pytest.mark.parametrize("library", ["libkmod.so.2", "libcrypto.so.3", "libbpf.so.1", "libsystemd.so.0", "libseccomp.so.2"])
def test_a_library_that_is_not_needed_is_not_loaded(without, library):
    ran = run([KMODCTL, "--version"], env=without(library))
    assert (ran.code, ran.err) == (0, "")


def test_a_library_that_is_needed_and_broken_is_named(machine, without):
    ran = machine.kmodctl("check", "loop", environment=without("libkmod.so.2"))
    assert (ran.code, ran.out) == (127, "")
    assert ran.err.startswith("kmodctl: cannot load libkmod.so.2: ") and ran.err.endswith("; install the package that has it\n")



@pytest.mark.parametrize("library", ["libkmod.so.2", "libcrypto.so.3", "liblzma.so.5"])
def test_what_goes_on_running_loads_all_of_them_before_it_begins(machine, without, library):
    ran = machine.kmodctl("exec", "--", "touch", machine.root / "has-run", environment=without(library))
    assert ran.code not in (0, 127) and ": cannot load " in ran.err and f"{library}: " in ran.err
    assert not (machine.root / "has-run").exists()


@pytest.mark.parametrize("library", ["libcrypto.so.3", "libbpf.so.1"])
def test_a_seal_is_not_begun_without_all_of_them(machine, without, library):
    """It would have ended halfway, with programs attached and maps still open."""
    ran = machine.kmodctl("seal", "--yes", environment=without(library))
    assert ran.code not in (0, 127) and ": cannot load " in ran.err and f"{library}: " in ran.err


def test_packagers_are_told_of_what_is_loaded_later():
    """As https://systemd.io/ELF_DLOPEN_METADATA has it: no DT_NEEDED tells."""
    notes = run(["readelf", "-p", ".note.dlopen", KMODCTL]).out
    for library in ["libkmod.so.2", "libcrypto.so.3", "libbpf.so.1", "libsystemd.so.0", "libseccomp.so.2"]:
        assert f'[{{"soname":["{library}"],"priority":"required"}}]' in notes
