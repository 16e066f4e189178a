# SPDX-License-Identifier: AGPL-3.0-only
"""`kmodctl check` and `explain`: what may load, and why, with the daemon and without."""

import base64

import pytest
from images import module_image
from machine import KMODCTL, NOBODY, clean_environment, run

# The second answer, of the kernel, the process and the guest point.
AS_IMAGE = "where its image is seen and not what it was asked for by, it may load: it is allowed by an alias pattern"

# As scripts/sign-file makes it: by a certificate of CN=Example Signing Key, detached, without the certificate.
SIGNATURE = base64.b64decode("""
    MIHSBgkqhkiG9w0BBwKggcQwgcECAQExDTALBglghkgBZQMEAgEwCwYJKoZIhvcNAQcBMYGfMIGcAgEBMDYwHjEcMBoGA1UEAwwT
    RXhhbXBsZSBTaWduaW5nIEtleQIUFKUdrWNs4ToauMlG+ocE86vt3X8wCwYJYIZIAWUDBAIBMAoGCCqGSM49BAMCBEYwRAIgN0ka
    eSZZVXkJhhiqtBy1paojh4oZRm3rScw6sOOlzioCIHw++aNraHntG5+gaqCqdKN9WGRb5/fXyQtSRkdXLzYZ""")
SIGNED = b"\0\0\2\0\0\0\0\0" + len(SIGNATURE).to_bytes(4, "big") + b"~Module signature appended~\n"


@pytest.fixture(params=["by the daemon", "by the files"])
def judged(request, machine):
    """The machine, judged both ways: nothing below may depend on which."""
    if request.param == "by the daemon":
        request.getfixturevalue("daemon")
    return machine


def test_a_listed_module_is_allowed_and_the_line_of_the_rule_is_named(judged):
    ran = judged.kmodctl("check", "loop")
    assert ran.code == 0
    assert ran.out == ("loop: allowed: loop is on the allow list, "
                       f"by allow.modules \"loop\" ({judged.policy}:7); from {judged.modules}/kernel/loop.ko\n")


def test_of_two_files_of_one_name_the_one_that_depmod_chose_is_named(judged):
    """The decision was right, and nobody was told on which file."""
    (judged.modules / "updates").mkdir()
    (judged.modules / "updates/loop.ko").write_bytes(module_image("loop"))
    judged.depmod()
    chosen = judged.modules / "updates/loop.ko"
    judged.kmodctl("reload")
    assert judged.ask("check", "loop").out.endswith(f"; from {chosen}\n")
    assert judged.ask("check", "--json", "loop").json["modules"][0]["file"] == str(chosen)
    assert f"    its file: {chosen}\n" in judged.ask("explain", "loop").out
    assert f"    its file: {judged.modules}/kernel/shy.ko\n" in judged.kmodctl("explain", "shy").out


def test_what_is_not_listed_is_refused_with_3(judged):
    ran = judged.kmodctl("check", "af_key")
    assert (ran.code, ran.out) == (3, f"af_key: refused: af_key is not on the allow list; {AS_IMAGE}\n")


def test_a_dependency_of_an_allowed_module_has_two_answers(judged):
    """It was said to be refused, and insmod loaded it."""
    ran = judged.kmodctl("check", "crc_base")
    assert ran.code == 3
    assert ran.out.startswith("crc_base: refused: crc_base is not on the allow list; where its image is seen and not what it was "
                              "asked for by, it may load: it is a dependency of an allowed module, ")
    module, = judged.kmodctl("check", "--json", "crc_base").json["modules"]
    assert (module["verdict"], module["as_image"]["verdict"], module["as_image"]["reason"]) == ("refuse", "allow", "dependency")
    assert module["as_image"]["because_of"] in ("loop", "tun_dev")
    assert "it is a dependency of an allowed module" in judged.kmodctl("explain", "crc_base").out


def test_what_no_point_admits_has_one_answer(judged):
    assert judged.kmodctl("check", "shy").out == "shy: refused: shy is not on the allow list\n"
    assert "as_image" not in judged.kmodctl("check", "--json", "shy").out


def test_an_allowed_alias_admits_the_module_behind_it(judged):
    ran = judged.kmodctl("check", "--json", "net-pf-15")
    assert ran.code == 0
    assert ran.json["reason"] == "alias-listed"
    assert ran.json["rule"] == {"list": "allow.aliases", "text": "net-pf-15", "file": str(judged.policy), "line": 10}
    assert [module["module"] for module in ran.json["modules"]] == ["af_key"]


def test_an_alias_of_a_listed_module_is_allowed(judged):
    assert judged.kmodctl("check", "block-major-7-3", "my-loop").code == 0


def test_deny_wins_and_is_said_before_what_is_merely_unlisted(judged):
    ran = judged.kmodctl("check", "twin")
    assert ran.code == 3
    assert "twin_b is on the deny list" in ran.out
    assert "twin_a is not on the allow list" in ran.out


def test_of_two_modules_behind_an_alias_only_the_allowed_one_loads(judged):
    judged.policy.write_text(judged.policy.read_text().replace('"net-pf-15"', '"twin"'))
    judged.kmodctl("reload")
    explained = judged.kmodctl("explain", "--json", "twin")
    assert explained.code == 0
    assert {module["module"]: module["loads"] for module in explained.json["modules"]} == {"twin_a": True,
                                                                                           "twin_b": False}
    assert "stays out: twin_b" in judged.kmodctl("explain", "twin").out


def test_explain_shows_the_order_in_which_dependencies_load(judged):
    assert "in this order: crc_base, tun_dev" in judged.ask("explain", "tun_dev").out
    assert "in this order: crc_base (soft), loop" in judged.ask("explain", "loop").out
    chain = judged.ask("explain", "--json", "loop").json["modules"][0]["chain"]
    assert chain == [{"module": "crc_base", "required": False}, {"module": "loop", "required": True}]


def test_explain_names_the_signer_and_says_that_nobody_verified_it(judged):
    judged.add_module("loop", module_image("loop") + SIGNATURE + SIGNED)
    assert ("    its signature: signed by Example Signing Key with sha256 (so it says; not verified here)\n"
            in judged.ask("explain", "loop").out)
    assert judged.ask("explain", "--json", "loop").json["signatures"] == {
        "loop": {"signed": True, "signer": "Example Signing Key", "hash": "sha256", "verified": False}}


def test_explain_tells_no_signature_from_one_that_cannot_be_read(judged):
    assert "    its signature: none\n" in judged.ask("explain", "loop").out
    assert judged.ask("explain", "--json", "loop").json["signatures"] == {"loop": {"signed": False}}
    judged.add_module("loop", module_image("loop") + b"nonsense" + SIGNED)
    assert "    its signature: unreadable: " in judged.ask("explain", "loop").out
    signature = judged.ask("explain", "--json", "loop").json["signatures"]["loop"]
    assert (signature["signed"], "signer" in signature) == (True, False)
    judged.add_module("loop", b"").unlink()
    assert "    its signature: not known: cannot open " in judged.kmodctl("explain", "loop").out
    assert "cannot open" in judged.kmodctl("explain", "--json", "loop").json["signatures"]["loop"]["problem"]


def test_a_module_blacklisted_in_modprobe_d_does_not_load_by_its_alias(judged):
    ran = judged.kmodctl("check", "shy-alias")
    assert ran.code == 3
    assert "blacklisted in modprobe.d" in ran.out


def test_what_is_built_in_needs_no_permission(judged):
    ran = judged.kmodctl("check", "ext4")
    assert ran.code == 0
    assert "built into the kernel" in ran.out


def test_an_unknown_name_is_refused_as_unknown(judged):
    ran = judged.kmodctl("check", "--json", "nothing-like-it")
    assert (ran.code, ran.json["reason"], ran.json["modules"]) == (3, "no-such-module", [])


def test_an_image_that_calls_itself_something_else_is_refused(judged):
    judged.policy.write_text(judged.policy.read_text().replace('"tun_dev",', '"liar",'))
    judged.kmodctl("reload")
    ran = judged.kmodctl("check", "liar")
    assert ran.code == 3
    assert "the image calls itself loop" in ran.out


def test_an_image_exchanged_for_another_is_judged_anew(judged):
    assert judged.kmodctl("check", "loop").code == 0
    judged.add_module("loop", module_image("loop", modinfo_name="evil"))
    ran = judged.kmodctl("check", "loop")
    assert ran.code == 3
    assert "the image calls itself loop and evil" in ran.out


def test_an_image_that_cannot_be_read_is_refused(judged):
    judged.add_module("loop", b"no ELF file at all")
    ran = judged.kmodctl("check", "loop")
    assert ran.code == 3
    assert "cannot be judged (not an ELF file" in ran.out


def test_several_tokens_give_a_line_each_and_3_if_one_is_refused(judged):
    ran = judged.kmodctl("check", "--json", "loop", "af_key", "tun_dev")
    assert ran.code == 3
    assert [answer["verdict"] for answer in ran.objects] == ["allow", "refuse", "allow"]


@pytest.mark.parametrize("token", ["", "a\nb", "\x1b[2J", "x" * 3000, "-v"],
                         ids=["empty", "two lines", "escape sequence", "too long", "option"])
def test_a_token_that_names_nothing_is_refused_and_shown_harmlessly(judged, token):
    ran = judged.kmodctl("check", "--", token)
    assert ran.code == 3
    assert "not a valid module name or alias" in ran.out
    assert ran.out.count("\n") == 1
    assert "\x1b" not in ran.out
    assert judged.kmodctl("check", "--json", "--", token).json["reason"] == "not-a-name"


def test_another_policy_is_judged_by_even_if_the_daemon_runs(judged):
    other = judged.write("other.toml", 'version = 1\n[allow]\nmodules = ["af_key"]\n')
    assert judged.kmodctl("check", "--policy", other, "af_key").code == 0
    assert judged.kmodctl("check", "--policy", other, "loop").code == 3


def test_anybody_may_check_a_policy_they_can_read(judged):
    other = judged.write("other.toml", 'version = 1\n[allow]\nmodules = ["af_key"]\n')
    ran = judged.kmodctl("check", "--policy", other, "af_key", user=NOBODY)
    assert ran.code == 0
    assert str(other) in ran.out


def test_without_the_right_to_ask_the_daemon_the_files_are_judged(judged):
    assert judged.kmodctl("check", "loop", user=NOBODY).code == 0


def test_a_policy_that_one_may_not_read_is_an_error_that_says_so(judged):
    judged.policy.chmod(0o600)
    ran = judged.kmodctl("check", "loop", user=NOBODY)
    assert ran.code == 6
    assert f"cannot open {judged.policy}: Permission denied" in ran.err
    assert "hint: this needs root" in ran.err


def test_a_missing_policy_is_an_error_that_says_how_to_write_one(machine):
    machine.policy.unlink()
    ran = machine.kmodctl("check", "loop")
    assert ran.code == 4
    assert str(machine.policy) in ran.err
    assert "kmodctl init" in ran.err


def test_the_modules_of_another_kernel_can_be_judged(judged):
    judged.modules.rename(judged.modules.with_name("9.9.9-other"))
    assert judged.kmodctl("check", "--kernel", "9.9.9-other", "loop").code == 0


def test_a_kernel_without_modules_is_an_error_that_says_what_to_run(judged):
    ran = judged.kmodctl("check", "--kernel", "9.9.9-none", "loop")
    assert ran.code == 4
    assert "lib/modules/9.9.9-none/modules.dep.bin" in ran.err
    assert "run depmod 9.9.9-none" in ran.err


def test_modules_pinned_to_other_content_are_refused(judged):
    judged.policy.write_text(judged.policy.read_text() + f'\n[[pin]]\nmodule = "loop"\nsha256 = "{"0" * 64}"\n')
    judged.kmodctl("reload")
    ran = judged.kmodctl("check", "--json", "loop")
    assert (ran.code, ran.json["reason"], ran.json["rule"]["line"]) == (3, "pin-mismatch", 15)


def test_the_root_can_be_given_in_the_environment(machine):
    ran = run([KMODCTL, "check", "loop"], env=clean_environment(KMODGUARD_ROOT=str(machine.root)))
    assert ran.code == 0
    assert str(machine.root) in ran.out


def test_links_below_another_root_do_not_lead_out_of_it(machine):
    """An image's absolute links led into the running machine, whose policy was read in its place."""
    for name, module in (("policy.toml", "af_key"), ("drop-in.toml", "shy")):
        machine.write(f"srv/{name}", f'version = 1\n[allow]\nmodules = ["{module}"]\n')
    machine.policy.unlink()
    machine.policy.symlink_to("/srv/policy.toml")
    drop_ins = machine.policy.with_name("policy.d")
    drop_ins.mkdir(exist_ok=True)
    (drop_ins / "10-link.toml").symlink_to("/srv/drop-in.toml")
    (drop_ins / "20-masked.toml").symlink_to("/dev/null")
    for module, code in (("af_key", 0), ("shy", 0), ("loop", 3)):
        assert machine.kmodctl("check", module).code == code
    assert machine.kmodctl("lint").code in (0, 4), "it can be read"


def test_the_command_line_of_the_running_kernel_is_not_that_of_another_root(machine):
    """libkmod reads it whichever root it is given: the host's blacklist hid modules of an image."""
    line = machine.write("cmdline", "quiet modprobe.blacklist=loop loop.max_loop=3\n")
    command = f"mount --bind {line} /proc/cmdline && exec {KMODCTL} --root {machine.root} check block-major-7-0"
    ran = run(["unshare", "--mount", "sh", "-c", command], env=clean_environment())
    assert ran.code == 0, ran


def test_a_file_outside_of_the_modules_folder_is_looked_for_below_the_root(machine, tmp_path):
    """modules.dep names it absolutely, and the host's was judged."""
    (tmp_path / "far.ko").write_bytes(module_image("far"))
    configuration = machine.write("depmod.conf", f"search external built-in\nexternal * {tmp_path}\n")
    machine.depmod("-C", configuration)
    policy = machine.write("far.toml", "version = 1\n[allow]\nmodules = [\"far\"]\n")
    assert f"{tmp_path}/far.ko:" in (machine.modules / "modules.dep").read_text()
    ran = machine.kmodctl("check", "--policy", policy, "far")
    assert ran.code == 3
    assert f"{machine.root}{tmp_path}/far.ko" in ran.out
    machine.write(str(tmp_path.relative_to("/")) + "/far.ko", "").write_bytes(module_image("far"))
    assert machine.kmodctl("check", "--policy", policy, "far").code == 0


@pytest.mark.parametrize("arguments", [["check", "loop"], ["explain", "loop"], ["lint"], ["init", "--output", "-"],
                                       ["--json", "check", "loop"]])
def test_what_libkmod_finds_wrong_in_modprobe_d_is_not_said_raw(machine, arguments):
    """Its own lines came on standard error before those of any call."""
    machine.write("etc/modprobe.d/rubbish.conf", "weakdep loop tun_dev\nrubbish\n")
    ran = machine.kmodctl(*arguments)
    assert ran.code == 0
    assert "libkmod" not in ran.err
    assert "rubbish" not in ran.err


def test_lines_of_modprobe_d_that_it_passes_over_are_findings_of_lint(machine):
    """They were not said at all: a slip in "blacklist" blacklists nothing."""
    file = machine.write("etc/modprobe.d/slip.conf", "weakdep loop tun_dev\nblacklsit loop\n")
    finding, = machine.ask("lint", "--json").objects
    assert (finding["file"], finding["line"], finding["severity"]) == (str(file), 2, "warning")
    assert finding["message"] == "modprobe passes over this line, which begins with \"blacklsit\""
