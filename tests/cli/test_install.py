# SPDX-License-Identifier: AGPL-3.0-only
"""`make install` and `uninstall`: what goes where, and that what is installed is whole."""

import gzip
import re
import shutil

import pytest
from machine import PROGRAMS, SOURCES, clean_environment, run

# One after another: each may configure the build that is tested anew, as make does for another prefix.
pytestmark = pytest.mark.xdist_group("install")

INSTALLED = {
    "etc/systemd/system/kmodguard.service", "etc/systemd/system/kmodguard-oci-agent.service",
    "usr/share/kmodguard/seccomp-kmodguard.json", "usr/bin/kmodctl", "usr/libexec/kmodguard/kmodguard",
    "usr/libexec/kmodguard/kmodguard-hook", "usr/libexec/kmodguard/kmodguard-reader", "usr/lib/systemd/catalog/kmodguard.catalog",
    "usr/share/bash-completion/completions/kmodctl", "usr/share/fish/vendor_completions.d/kmodctl.fish",
    "usr/share/zsh/site-functions/_kmodctl", "usr/share/man/man5/kmodguard-policy.5.gz",
    "usr/share/man/man8/kmodctl.8.gz", "usr/share/man/man8/kmodguard.8.gz", "usr/share/man/man8/kmodguard-hook.8.gz",
}


def make(*arguments):
    """make with the build that is tested, whatever its folder is called. It may have to build for another prefix."""
    return run(["make", "-C", SOURCES, f"main={PROGRAMS}", *arguments], timeout=600, env=clean_environment())


def files_below(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stage")
    ran = make("install", f"DESTDIR={folder}")
    assert ran.code == 0, ran
    return folder


def test_everything_is_installed_and_nothing_else(stage):
    assert files_below(stage) == INSTALLED


def test_the_daemon_has_no_parser_of_what_others_wrote(stage):
    """Its reader has them, which may do nothing else."""
    def needed(program):
        ran = run(["readelf", "-d", stage / "usr/libexec/kmodguard" / program])
        return set(re.findall(r"NEEDED.*\[([\w-]+)\.so", ran.out))

    daemon = stage / "usr/libexec/kmodguard/kmodguard"
    parsers = {"libkmod", "libcrypto", "liblzma", "libzstd", "libz", "libyaml-cpp"}
    assert not needed("kmodguard") & parsers
    # It loads them when it comes to what takes them, so that it starts quickly.
    assert b"libkmod.so" in (stage / "usr/libexec/kmodguard/kmodguard-reader").read_bytes()
    assert b"toml" not in daemon.read_bytes().replace(b".toml", b""), "toml++ is linked"
    assert b"YAML::" not in daemon.read_bytes()


def test_the_installed_programs_run(stage):
    assert run([stage / "usr/bin/kmodctl", "--version"]).code == 0
    assert run([stage / "usr/libexec/kmodguard/kmodguard", "--version"]).code == 0


def test_the_unit_names_the_installed_programs(stage):
    unit = (stage / "etc/systemd/system/kmodguard.service").read_text()
    for program in re.findall(r"^Exec\w+=\+?(\S+)", unit, re.MULTILINE):
        assert program == "/bin/sh" or program[1:] in INSTALLED


def test_the_journal_keeps_all_events_and_the_agents_memory_is_bounded(stage):
    units = {name: (stage / f"etc/systemd/system/{name}.service").read_text() for name in ("kmodguard", "kmodguard-oci-agent")}
    for name, unit in units.items():
        assert "\nLogRateLimitIntervalSec=0\n" in unit, name
    assert "\nMemoryMax=2G\n" in units["kmodguard-oci-agent"]


def test_no_file_names_the_folder_it_was_built_in(stage):
    for name in INSTALLED:
        content = (stage / name).read_bytes()
        if name.endswith(".gz"):
            content = gzip.decompress(content)
        assert str(SOURCES).encode() not in content, name
        assert str(stage).encode() not in content, name


def test_manual_pages_are_compressed_so_that_builds_repeat(stage):
    for name in INSTALLED:
        if name.endswith(".gz"):
            assert (stage / name).read_bytes()[4:8] == b"\0\0\0\0", f"{name} holds a time stamp"


def test_manual_pages_have_no_mistakes_that_man_would_warn_of(stage):
    if shutil.which("man") is None:
        pytest.skip("man is not installed")
    for name in INSTALLED:
        if name.endswith(".gz"):
            ran = run(["man", "--warnings", "-l", stage / name], env=clean_environment(MANWIDTH="100"))
            assert (ran.code, ran.err) == (0, ""), name
            assert "KMODGUARD" in ran.out or "kmodguard" in ran.out


def test_the_catalog_explains_the_fields_that_events_have(stage):
    text = (stage / "usr/lib/systemd/catalog/kmodguard.catalog").read_text()
    listed = (SOURCES / "src/events/fields.hpp").read_text()
    fields = set(re.findall(r"@(\w+)@", text))
    assert fields
    for field in fields:
        assert f'"{field}"' in listed
    ids = re.findall(r"message_id = \"(\w{32})\"", (SOURCES / "src/events/event.hpp").read_text())
    assert re.findall(r"^-- (\w{32})$", text, re.MULTILINE) == ids


def test_journalctl_takes_the_catalog(stage, tmp_path):
    if shutil.which("journalctl") is None:
        pytest.skip("journalctl is not installed")
    catalogs = tmp_path / "usr/lib/systemd/catalog"
    catalogs.mkdir(parents=True)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    shutil.copy(stage / "usr/lib/systemd/catalog/kmodguard.catalog", catalogs)
    updated = run(["journalctl", f"--root={tmp_path}", "--update-catalog"])
    assert (updated.code, updated.err) == (0, "")
    listed = run(["journalctl", f"--root={tmp_path}", "--list-catalog"])
    assert "6f0c3d5d0a2f4f0c9a4b7d1e52c8e9a1 kmodguard: Kernel module @KMODGUARD_SUBJECT@: @KMODGUARD_VERDICT@" in listed.out


def test_another_prefix_is_never_ignored_in_silence(tmp_path):
    """The hook's path is in the programs, so the prefix is chosen when they are built."""
    ran = make("install", f"DESTDIR={tmp_path}", "PREFIX=/opt/guard")
    if ran.code == 0:
        assert (tmp_path / "opt/guard/bin/kmodctl").exists()
        assert not (tmp_path / "usr").exists()
    else:
        assert "PREFIX" in ran.err
        assert files_below(tmp_path) == set()


def test_uninstall_removes_all_that_install_put_there(tmp_path):
    assert make("install", f"DESTDIR={tmp_path}").code == 0
    own = tmp_path / "etc/kmodguard/policy.toml"
    own.parent.mkdir(parents=True)
    own.write_text("version = 1\n")
    ran = make("uninstall", f"DESTDIR={tmp_path}")
    assert ran.code == 0
    assert files_below(tmp_path) == {"etc/kmodguard/policy.toml"}, "the administrator's file stays"
