# SPDX-License-Identifier: AGPL-3.0-only
"""`kmodctl init` and `lint`: a first policy from what runs, and what is odd about a policy."""

import shutil
import tomllib

import pytest
from images import module_image
from machine import NOBODY, POLICY, RELEASE


def lint(machine, text):
    return machine.kmodctl("lint", machine.write("some.toml", text))


def test_init_allows_what_is_loaded_with_its_dependencies_and_aliases(machine):
    machine.policy.unlink()
    machine.ask("init")
    policy = tomllib.loads(machine.policy.read_text())
    assert policy["version"] == 1
    assert policy["mode"] == "enforce"
    assert policy["kernel_release"] == RELEASE
    assert policy["allow"]["modules"] == ["crc_base", "loop", "tun_dev"]
    assert "char-major-10-200" in policy["allow"]["aliases"]
    assert policy["deny"]["modules"] == []
    assert machine.policy.stat().st_mode & 0o777 == 0o600


def test_init_leaves_out_aliases_that_would_admit_anything_else(machine):
    machine.write("proc/modules", "twin_a 1 0 - Live 0x0\nloop 1 0 - Live 0x0\n")
    policy = tomllib.loads(machine.ask("init", "--output", "-").out)
    assert "twin" not in policy["allow"]["aliases"], "twin_b answers to it as well"
    assert "block-major-7-*" not in policy["allow"]["aliases"], "who knows what else matches it"
    assert "devname:loop-control" in policy["allow"]["aliases"]


def test_init_does_not_replace_a_policy_unless_told_to(machine):
    ran = machine.kmodctl("init")
    assert ran.code == 1
    assert f"{machine.policy} exists" in ran.err
    assert "hint: kmodctl init --force" in ran.err
    assert machine.policy.read_text() == POLICY
    machine.ask("init", "--force")
    assert machine.policy.read_text() != POLICY


def test_init_writes_to_another_file_or_to_standard_output(machine):
    other = machine.root / "other.toml"
    assert machine.ask("init", "--output", other, "--json").json == {"file": str(other), "modules": 3, "aliases": 3}
    assert tomllib.loads(other.read_text())["version"] == 1
    assert tomllib.loads(machine.ask("init", "--output", "-").out)["version"] == 1
    assert machine.policy.read_text() == POLICY


def test_init_on_a_machine_without_loaded_modules_warns(machine):
    machine.write("proc/modules", "")
    ran = machine.ask("init", "--force")
    assert "no module is loaded now" in ran.err


def test_init_writes_to_the_usual_place_by_its_name_on_a_clean_install(machine):
    """It failed: the folder was made only without --output."""
    shutil.rmtree(machine.policy.parent)
    machine.ask("init", "--output", machine.policy)
    assert machine.policy.parent.stat().st_mode & 0o777 == 0o755
    assert machine.ask("lint").out == "no problems\n"


def test_init_where_it_is_not_known_what_is_loaded_is_an_error(machine):
    """It wrote a policy that allowed nothing, and exited with 0."""
    (machine.root / "proc/modules").unlink()
    for output in ([], ["--output", "-"]):
        ran = machine.kmodctl("init", "--force", *output)
        assert ran.code == 1
        assert "which modules are loaded is not known" in ran.err
        assert "hint: " in ran.err
        assert ran.out == ""
    assert machine.policy.read_text() == POLICY


def test_init_names_what_devices_ask_for_and_the_policy_would_refuse(machine):
    machine.write("sys/bus/platform/devices/one/modalias", "net-pf-15\n")
    machine.write("sys/bus/platform/devices/two/modalias", "char-major-10-200\n")
    machine.write("sys/bus/platform/devices/three/modalias", "shy-alias\n")
    machine.write("sys/bus/platform/devices/four/modalias", "nothing:here\n")
    ran = machine.ask("init", "--force")
    assert "ask for 1 modules that are not loaded and would be refused: af_key;" in ran.err


def test_anybody_may_see_what_init_would_write(machine):
    text = machine.kmodctl("init", "--output", "-", user=NOBODY)
    assert text.code == 0, text
    assert tomllib.loads(text.out)["allow"]["modules"] == ["crc_base", "loop", "tun_dev"]
    shown = machine.kmodctl("init", "--output", "-", "--json", user=NOBODY)
    assert shown.json["modules"] == 3
    assert tomllib.loads(shown.json["policy"])["allow"] == tomllib.loads(text.out)["allow"]


@pytest.mark.parametrize("more", [[], ["--force"]])
def test_init_onto_a_folder_says_to_name_a_file(machine, more):
    ran = machine.kmodctl("init", "--output", machine.drop_ins.parent, *more)
    assert ran.code == 2
    assert f"{machine.drop_ins.parent} is a directory" in ran.err
    assert f"hint: name a file in it: {machine.policy}" in ran.err


def test_init_into_a_folder_that_does_not_exist_says_which(machine):
    ran = machine.kmodctl("init", "--output", machine.root / "none/policy.toml")
    assert ran.code == 4
    assert "none/policy.toml" in ran.err


def test_init_does_not_touch_the_folder_of_another_file(machine):
    folder = machine.root / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    machine.ask("init", "--output", folder / "policy.toml")
    assert folder.stat().st_mode & 0o7777 == 0o1777


def test_what_init_writes_passes_lint(machine):
    machine.ask("init", "--force")
    assert machine.ask("lint").out == "no problems\n"


def test_lint_reads_the_policy_and_its_drop_ins(machine):
    machine.write("etc/kmodguard/policy.d/10.toml", "version = 1\nmodus = 1\n")
    ran = machine.kmodctl("lint")
    assert ran.code == 6
    assert f"{machine.drop_ins}/10.toml:2:1: error: unknown key \"modus\"" in ran.out


@pytest.mark.parametrize("text, message, hint", [
    ("mode = 'audit'\n", "1:1: error: the file has no version", "version = 1"),
    ("version = 2\n", "1:11: error: written for a newer kmodguard", "upgrade kmodguard"),
    ("version = 1\nmodee = 'audit'\n", "2:1: error: unknown key \"modee\"", "did you mean \"mode\"?"),
    ("version = 1\nmode = 'strict'\n", "2:8: error: unknown mode \"strict\"", "use \"enforce\" or \"audit\""),
    ("version = 1\nmodules = []\n", "2:1: error: unknown key \"modules\"", "[allow] or [deny]"),
    ("version = 1\n[allow]\nmodules = ['a*']\n", "3:12: error: allow.modules: \"a*\" is a pattern", "allow.aliases"),
    ("version = 1\n[allow]\nmodules = [7]\n", "3:12: error: allow.modules: expected a string", ""),
    ("version = 1\n[allow\n", "2:", ""),
    ("version = 1\n[[pin]]\nmodule = 'loop'\nsha256 = 'abc'\n", "4:10: error: pin.sha256 has 3 characters",
     "sha256sum"),
])
def test_a_mistake_is_shown_with_its_place_and_a_hint(machine, text, message, hint):
    ran = lint(machine, text)
    assert ran.code == 6
    assert f"{machine.root}/some.toml:{message}" in ran.out
    assert hint in ran.out


def test_all_mistakes_are_shown_at_once(machine):
    ran = lint(machine, "version = 1\nmode = 5\nfoo = 1\n[allow]\nmodules = ['a/b', '']\n")
    assert ran.code == 6
    assert ran.out.count("error:") == 4


@pytest.mark.parametrize("text, message", [
    ("[allow]\nmodules = ['lopo']", "there is no module lopo on this kernel"),
    ("[allow]\nmodules = ['loop', 'loop']", "already lists \"loop\""),
    ("[allow]\nmodules = ['loop']\n[deny]\nmodules = ['loop']", "both allowed and denied"),
    ("[allow]\nmodules = ['tun_dev']\n[deny]\nmodules = ['crc_base']", "would be refused"),
    ("[allow]\naliases = ['*']", "allows every module"),
    ("[allow]\nmodules = ['ext4']", "built into this kernel"),
])
def test_what_is_odd_is_a_warning_and_no_failure(machine, text, message):
    ran = lint(machine, f"version = 1\n{text}\n")
    assert ran.code == 0
    assert "warning: " in ran.out
    assert message in ran.out
    assert "hint: " in ran.out


def test_findings_in_json_carry_place_and_hint(machine):
    file = machine.write("some.toml", "version = 1\nmodee = 'audit'\n")
    ran = machine.kmodctl("lint", "--json", file)
    assert ran.code == 6
    assert ran.json == {"severity": "error", "file": str(file), "line": 2, "column": 1,
                        "message": "unknown key \"modee\"", "hint": "did you mean \"mode\"?"}


def test_a_policy_that_others_can_write_is_warned_of(machine):
    machine.policy.chmod(0o666)
    ran = machine.kmodctl("lint")
    assert ran.code == 0
    assert "writable by everyone" in ran.out
    assert f"hint: chmod go-w {machine.policy}" in ran.out


def test_anybody_may_lint_a_file_of_their_own(machine):
    file = machine.write("some.toml", POLICY)
    assert machine.kmodctl("lint", file, user=NOBODY).code == 0


def test_a_file_that_does_not_exist_is_named(machine):
    ran = machine.kmodctl("lint", machine.root / "none.toml")
    assert ran.code == 4
    assert "none.toml: error: cannot open" in ran.out


@pytest.mark.parametrize("arguments", [["check", "--policy", "none.toml", "loop"], ["explain", "--policy", "none.toml", "loop"],
                                       ["lint", "none.toml"], ["convert", "none.toml"], ["lint"], ["check", "loop"], ["list"],
                                       ["exec", "--policy", "none.toml", "--", "true"]])
def test_a_policy_that_does_not_exist_is_not_found_and_not_wrong(machine, arguments):
    """It was 6, as a policy with an error is."""
    machine.policy.unlink()
    ran = machine.kmodctl("--json", *arguments)
    assert ran.code == 4, ran


def test_names_and_aliases_that_nothing_has_are_named_with_what_was_meant(machine):
    ran = lint(machine, "version = 1\n[allow]\nmodules = ['lop']\n[deny]\naliases = ['net-fp-15']\n")
    assert ran.code == 0
    assert 'there is no module lop on this kernel\n  hint: did you mean "loop"?' in ran.out
    assert 'deny.aliases: nothing on this kernel answers to "net-fp-15"\n  hint: did you mean "net_pf_15"?' in ran.out


def test_a_module_that_another_kernel_has_under_another_name_is_found_by_its_aliases(machine):
    """"check the spelling" was all that was said."""
    new = machine.root / "lib/modules/9.9.9-new"
    image = module_image("tun_renamed", aliases=["char-major-10-200"])
    machine.write(new / "modules.builtin", "")
    machine.write(new / "modules.order", "")
    (new / "kernel").mkdir()
    (new / "kernel/tun_renamed.ko").write_bytes(image)
    machine.depmod(release="9.9.9-new")
    out = machine.ask("lint", "--kernel", "9.9.9-new").out
    assert (f"{machine.policy}:8: warning: allow.modules: there is no module tun_dev on this kernel\n"
            f"  hint: tun_renamed here has the aliases that it had on {RELEASE}: list that\n") in out


def test_a_drop_in_that_is_not_read_is_named(machine):
    machine.write("etc/kmodguard/policy.d/50-deny.yaml", "")
    machine.write("etc/kmodguard/policy.d/60-empty.toml", "")
    ran = machine.ask("lint")
    assert ran.out == (f"{machine.drop_ins}/50-deny.yaml: warning: this file is not read: the names of drop-ins end in .toml\n"
                       "  hint: `kmodctl convert` makes a TOML policy of it\n")
