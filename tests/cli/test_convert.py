# SPDX-License-Identifier: AGPL-3.0-only
"""Policies in the YAML form, wherever one is taken, and `kmodctl convert`, which turns them into TOML."""

import shutil
import tomllib

import pytest
from machine import NOBODY, POLICY, RELEASE

HASH = "0123456789abcdef" * 4
YAML = f"""\
core: {{arch: armel}}
plugins:
  netdevs: {{}}
  kmods:
    allowlist: [loop, /lib/modules/tun-dev.ko]
    denylist: [twin_b]
    quiet: true
    pins: {{igloo: "{HASH}"}}
"""


@pytest.fixture
def project(machine):
    """A project's configuration with lists in it."""
    return machine.write("project/config.yaml", YAML)


def test_convert_prints_what_the_lists_mean(machine, project):
    ran = machine.ask("convert", project)
    policy = tomllib.loads(ran.out)
    assert policy == {
        "version": 1, "mode": "enforce", "quiet": True,
        "allow": {"modules": ["igloo", "loop", "tun_dev"], "aliases": [], "dependencies": False},
        "deny": {"modules": ["twin_b"], "aliases": [], "answer": "pretend"},
        "pin": [{"module": "igloo", "sha256": HASH}],
    }
    assert ran.out.startswith(f"# Made of {project} by kmodctl convert.\n")
    assert ran.err == ""


def test_what_convert_writes_is_judged_as_the_original(machine, project):
    output = machine.root / "policy.toml"
    assert machine.ask("convert", project, "--output", output).out == f"{output} allows 3 modules and denies 1\n"
    assert output.stat().st_mode & 0o777 == 0o600
    tokens = ["loop", "tun_dev", "twin", "twin_a", "twin_b", "af_key", "net-pf-15"]
    for token in tokens:
        said = [machine.kmodctl("check", "--json", "--policy", policy, token) for policy in (project, output)]
        for ran in said:
            ran.json.pop("rule", None)
        assert said[0].code == said[1].code, token
        assert said[0].json["verdict"] == said[1].json["verdict"], token
    assert machine.kmodctl("check", "--policy", project, "loop").code == 0
    assert machine.kmodctl("check", "--policy", project, "tun_dev").code == 3, "crc_base is not listed"
    assert machine.kmodctl("check", "--policy", project, "twin_b").code == 3
    assert machine.kmodctl("check", "--policy", project, "net-pf-15").code == 3, "there are no aliases"


def test_converting_again_changes_nothing_but_the_first_line(machine, project):
    once = machine.write("once.toml", machine.ask("convert", project).out)
    twice = machine.ask("convert", once).out
    assert twice.splitlines()[1:] == once.read_text().splitlines()[1:]


def test_convert_takes_toml_and_keeps_what_it_says(machine):
    text = machine.ask("convert", machine.write("p.toml", POLICY + "unload = true\n")).out
    assert tomllib.loads(text)["deny"] == {"modules": ["twin_b"], "aliases": [], "answer": "refuse", "unload": True}
    assert tomllib.loads(text)["allow"]["aliases"] == ["net-pf-15"]
    assert "quiet" not in tomllib.loads(text)


def test_convert_replaces_a_file_only_if_told_to(machine, project):
    ran = machine.kmodctl("convert", project, "--output", machine.policy)
    assert ran.code == 1
    assert f"{machine.policy} exists" in ran.err
    assert "hint: kmodctl convert --force replaces it" in ran.err
    assert machine.policy.read_text() == POLICY
    machine.ask("convert", project, "--output", machine.policy, "--force")
    assert tomllib.loads(machine.policy.read_text())["quiet"] is True
    assert machine.policy.stat().st_mode & 0o777 == 0o600


def test_convert_in_json(machine, project):
    assert tomllib.loads(machine.ask("convert", project, "--json").json["policy"])["version"] == 1
    output = machine.root / "new.toml"
    assert machine.ask("convert", project, "--output", output, "--json").json == {
        "file": str(output), "allowed": 3, "denied": 1}


@pytest.mark.parametrize("name, text, code, message", [
    ("none.yaml", None, 4, "none.yaml: cannot open"),
    ("p.yaml", "plugins: {kmods: {allow: []}}", 6, "p.yaml:1:19: unknown key \"allow\" in plugins.kmods"),
    ("p.yaml", "plugins: {}", 6, "p.yaml:1:1: there is no plugins.kmods"),
    ("p.yml", "plugins: {kmods: {enabled: false}}", 6, "p.yml:1:28: this plugin is switched off"),
    ("p.toml", "plugins: {kmods: {}}", 6, "p.toml:1:8: not TOML"),
])
def test_what_cannot_be_converted_is_said_with_its_place(machine, name, text, code, message):
    file = machine.write(name, text) if text else machine.root / name
    output = machine.root / "out.toml"
    ran = machine.kmodctl("convert", file, "--output", output)
    assert ran.code == code
    assert message in ran.err
    assert not output.exists()


def test_convert_needs_one_file(machine):
    assert machine.kmodctl("convert").code == 2
    assert machine.kmodctl("convert", "a", "b").code == 2


def test_convert_into_a_folder_that_does_not_exist_says_which(machine, project):
    ran = machine.kmodctl("convert", project, "--output", machine.root / "none/policy.toml")
    assert ran.code == 4
    assert "none/policy.toml" in ran.err


def test_anybody_may_convert_a_file_of_their_own(machine, project):
    assert machine.kmodctl("convert", project, user=NOBODY).code == 0


def test_what_is_odd_is_warned_of_and_converted(machine):
    ran = machine.ask("convert", machine.write("p.yaml", "kmods:\n  allowlist: ['', loop]\n"))
    assert "p.yaml:1:1: warning: kmods is at the top of the file" in ran.err
    assert "p.yaml:2:15: warning: allowlist: an empty entry" in ran.err
    assert tomllib.loads(ran.out)["allow"]["modules"] == ["igloo", "loop"]


def test_lint_does_not_compare_yaml_with_the_modules_of_the_host(machine, project):
    """It is an emulated machine's: each of its modules was warned of, and a host without modules was an error."""
    expected = ("no problems\nnot compared with this machine's modules, since it is a guest's; --root and "
                "--kernel say where that one's are\n")
    assert machine.ask("lint", project).out == expected
    shutil.rmtree(machine.root / "lib/modules")
    assert machine.ask("lint", project).out == expected
    assert machine.ask("lint", "--json", project).out == ""


def test_lint_reads_yaml_and_knows_the_kernel_that_it_is_told(machine, project):
    ran = machine.kmodctl("lint", "--kernel", RELEASE, project)
    assert ran.code == 0
    assert f"{project}:4: warning: allow.modules: there is no module igloo on this kernel" in ran.out
    assert "tun_dev is allowed, but would be refused" in ran.out
    ran = machine.kmodctl("lint", "--json", machine.write("p.yaml", "plugins:\n  kmods: {quiets: true}\n"))
    assert ran.code == 6
    assert ran.json == {"severity": "error", "file": f"{machine.root}/p.yaml", "line": 2, "column": 11,
                        "message": "unknown key \"quiets\" in plugins.kmods", "hint": "did you mean \"quiet\"?"}


def test_explain_names_the_line_of_the_yaml(machine, project):
    assert f"{project}:6" in machine.kmodctl("explain", "--policy", project, "twin_b").out
    assert f"{project}:5" in machine.kmodctl("explain", "--policy", project, "loop").out
