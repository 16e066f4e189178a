# SPDX-License-Identifier: AGPL-3.0-only
"""What modprobe.d and the kernel's command line say of a module, beside what the policy says; compared with Debian's modprobe."""

import os
import socket

import pytest
from images import module_image
from machine import RELEASE, clean_environment, run

POLICY = "version = 1\n[allow]\nmodules = [{}]\n"


@pytest.fixture(params=["by the daemon", "by the files"])
def judged(request, machine):
    """The machine, judged both ways once `configure` was called."""
    machine.by_daemon = request.param == "by the daemon"
    machine.start_daemon = request.getfixturevalue("start")
    return machine


def configure(machine, lines, allow=None, deny=None):
    """Writes modprobe.d, and a policy if lists are given; then starts the daemon where it is to judge."""
    machine.write("etc/modprobe.d/case.conf", lines)
    if allow is not None:
        text = POLICY.format(", ".join(f'"{name}"' for name in allow))
        machine.policy.write_text(text + (f"[deny]\nmodules = {deny}\n".replace("'", '"') if deny else ""))
    if getattr(machine, "by_daemon", False):
        machine.start_daemon()


def lint(machine):
    """What lint says of the policy alone: nothing is loaded."""
    machine.write("proc/modules", "")
    return machine.ask("lint").out


def judge(machine, token):
    return machine.kmodctl("check", "--json", token).json


def by_modprobe(machine, token):
    """What Debian's modprobe would do, a line a step, each once: "insmod NAME OPTIONS" or "install COMMAND"."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    ran = run(["modprobe", "-d", machine.root, "-C", machine.root / "etc/modprobe.d", "-S", RELEASE, "--show-depends",
               token], env=clean_environment(PATH=path))
    lines = [line.strip().replace(f"{machine.modules}/kernel/", "").replace(".ko", "") for line in ran.out.splitlines()]
    return list(dict.fromkeys(lines))


def plan(machine, token):
    """The daemon's answer to the hook, without the states of files."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(machine.socket))
        connection.sendall(f"AUTOLOAD {token}\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    lines = [line.replace(f" {machine.modules}/kernel/", " ") for line in answer.splitlines()]
    return [line for line in lines if not line.startswith("judged ") or line == "judged any"][:-1]


# What else keeps a module out

@pytest.mark.parametrize("command", ["/bin/false", "/bin/true", "/usr/bin/true", "/bin/sh -c 'exit 1'", ":"])
def test_an_allowed_module_whose_install_line_loads_nothing_is_said_not_to_load(judged, command):
    configure(judged, f"install tun_dev {command}\n")
    ran = judged.kmodctl("check", "tun_dev")
    assert ran.code == 0, "the policy allows it"
    assert ran.out == ("tun_dev: allowed, but does not load: tun_dev is on the allow list, by allow.modules \"tun_dev\" "
                       f"({judged.policy}:8), but modprobe.d runs \"{command}\" in its place\n")
    answer = judge(judged, "tun_dev")
    assert (answer["verdict"], answer["will_load"]) == ("allow", False)
    assert answer["modules"][0]["kept_out"] == {"by": "install-command", "module": "tun_dev", "detail": command}
    explained = judged.ask("explain", "tun_dev").out
    assert explained.startswith("tun_dev: allowed, but does not load\n")
    assert f"for tun_dev, modprobe.d has modprobe run: {command}" in explained


def test_a_module_that_loads_is_said_to_load(judged):
    configure(judged, "")
    answer = judge(judged, "tun_dev")
    assert (answer["verdict"], answer["will_load"]) == ("allow", True)
    assert "kept_out" not in answer["modules"][0]
    refused = judge(judged, "af_key")
    assert (refused["verdict"], refused["will_load"]) == ("refuse", False)
    inside = judge(judged, "ext4")
    assert (inside["verdict"], inside["will_load"]) == ("allow", False), "there is nothing to load"


def test_a_dependency_whose_install_line_loads_nothing_keeps_the_module_out(judged):
    configure(judged, "install crc_base /bin/true\n")
    answer = judge(judged, "tun_dev")
    assert (answer["verdict"], answer["will_load"]) == ("allow", False)
    assert answer["modules"][0]["kept_out"]["module"] == "crc_base"
    assert "but it needs crc_base, and modprobe.d runs \"/bin/true\" in its place" in answer["explanation"]


def test_the_install_line_of_a_module_with_soft_dependencies_is_not_run_by_modprobe(judged):
    configure(judged, "install loop /bin/false\n")
    assert by_modprobe(judged, "loop") == ["insmod crc_base", "insmod loop"]
    answer = judge(judged, "loop")
    assert answer["will_load"]
    assert "commands" not in answer["modules"][0]


def test_an_alias_that_modprobe_d_switches_off_is_refused_as_that(judged):
    configure(judged, "alias net-pf-15 off\n")
    ran = judged.kmodctl("check", "net-pf-15")
    assert (ran.code, ran.out) == (3, "net-pf-15: refused: net-pf-15 is switched off in modprobe.d, by an alias line\n")
    assert judge(judged, "net-pf-15")["reason"] == "switched-off"


def test_an_alias_line_for_what_does_not_exist_is_named_as_the_cause(judged):
    configure(judged, "alias my-alias not-here\n")
    out = judged.kmodctl("check", "my-alias").out
    assert "refused: not_here is known neither as a module nor as an alias on this kernel " \
           "(modprobe.d makes my-alias an alias of it)" in out


@pytest.mark.parametrize("listed, kept_out", [("tun_dev", "tun_dev"), ("a,crc_base,b", "crc_base"), ("tun-dev", None),
                                              ("tun_de", None), ("", None)])
def test_a_module_list_on_the_kernels_command_line_keeps_modules_out(judged, listed, kept_out):
    judged.write("proc/cmdline", f"quiet module_blacklist=loop module_blacklist={listed}\n")
    configure(judged, "")
    answer = judge(judged, "tun_dev")
    assert (answer["verdict"], answer["will_load"]) == ("allow", kept_out is None)
    if kept_out:
        assert answer["modules"][0]["kept_out"] == {"by": "kernel-blacklist", "module": kept_out}
        assert "module_blacklist= on the kernel's command line" in answer["explanation"]


def test_a_kernel_that_loads_nothing_any_more_is_said_even_after_the_daemon_started(judged):
    configure(judged, "")
    assert judge(judged, "tun_dev")["will_load"]
    judged.write("proc/sys/kernel/modules_disabled", "1\n")
    answer = judge(judged, "tun_dev")
    assert not answer["will_load"]
    assert "but the kernel loads no module any more (kernel.modules_disabled)" in answer["explanation"]


@pytest.mark.parametrize("file, content, wanted_by", [
    ("sys/module/module/parameters/sig_enforce", "Y", "module.sig_enforce"),
    ("sys/module/module/parameters/sig_enforce", "N", None),
    ("sys/kernel/security/lockdown", "none [integrity] confidentiality", "lockdown"),
    ("sys/kernel/security/lockdown", "[none] integrity confidentiality", None)])
def test_a_kernel_that_wants_signatures_keeps_out_what_has_none(judged, file, content, wanted_by):
    base = judged.modules / "kernel/crc_base.ko"
    signed = base.read_bytes() + b"~Module signature appended~\n"
    judged.write(file, f"{content}\n")
    configure(judged, "")
    answer = judge(judged, "tun_dev")
    assert (answer["verdict"], answer["will_load"]) == ("allow", wanted_by is None)
    if wanted_by:
        assert answer["modules"][0]["kept_out"] == {"by": "unsigned-image", "module": "crc_base", "detail": wanted_by}
        base.write_bytes(signed)
        assert judge(judged, "tun_dev")["modules"][0]["kept_out"]["module"] == "tun_dev"
        assert (f"but it has no signature, and the kernel loads signed modules only ({wanted_by})"
                in judge(judged, "tun_dev")["explanation"])


def test_limits_of_the_running_kernel_are_not_those_of_another(machine):
    machine.write("proc/cmdline", "module_blacklist=tun_dev\n")
    machine.modules.rename(machine.modules.with_name("9.9.9-other"))
    assert machine.kmodctl("check", "--json", "--kernel", "9.9.9-other", "tun_dev").json["will_load"]


def test_the_event_of_a_request_says_whether_its_module_will_load(machine, start):
    configure(machine, "install tun_dev /bin/true\n")
    daemon = start()
    machine.kmodctl("hook", "-q", "--", "tun_dev")
    event, = daemon.events(1)
    assert (event["verdict"], event["will_load"]) == ("allow", False)
    assert event["explanation"].startswith("allowed, but does not load: tun_dev is on the allow list")


def test_audit_mode_says_what_else_keeps_out_what_it_lets_pass(judged):
    judged.policy.write_text('version = 1\nmode = "audit"\n')
    configure(judged, "install tun_dev /bin/false\n")
    answer = judge(judged, "tun_dev")
    assert (answer["verdict"], answer["judged"], answer["will_load"]) == ("allow", "refuse", False)
    assert "; besides, modprobe.d runs \"/bin/false\" in its place" in answer["explanation"]


# Packages of DKMS: a module in a file of another name

DKMS = "install nvidia modprobe -i nvidia-current $CMDLINE_OPTS\n"


def add_renamed(machine):
    machine.add_module("nvidia-current", module_image("nvidia", aliases=["pci:v000010DEd*"]))
    machine.depmod()


@pytest.mark.parametrize("token", ["nvidia", "pci:v000010DEd00001234", "nvidia-current"])
def test_a_renamed_file_that_an_install_line_loads_is_admitted_by_the_name_inside(judged, token):
    add_renamed(judged)
    configure(judged, DKMS, allow=["nvidia"])
    answer = judge(judged, token)
    assert (answer["verdict"], answer["will_load"]) == ("allow", True), answer["explanation"]
    assert answer["rule"]["text"] == "nvidia"


@pytest.mark.parametrize("token", ["nvidia", "pci:v000010DEd00001234", "nvidia-current"])
@pytest.mark.parametrize("allow, deny", [([], []), (["nvidia_current"], []), (["nvidia"], ["nvidia"]),
                                         (["nvidia"], ["nvidia_current"]),
                                         (["nvidia", "nvidia_current"], ["nvidia"])])
def test_a_renamed_file_is_refused_by_either_of_its_names(judged, token, allow, deny):
    add_renamed(judged)
    configure(judged, DKMS, allow=allow, deny=deny)
    assert judge(judged, token)["verdict"] == "refuse"


def test_a_renamed_file_that_no_install_line_names_stays_contradictory(judged):
    add_renamed(judged)
    configure(judged, "", allow=["nvidia", "nvidia_current"])
    assert judge(judged, "nvidia-current")["reason"] == "contradictory-image"


def test_the_renamed_file_is_loaded_through_the_install_line_or_by_its_own_name(machine, start):
    add_renamed(machine)
    configure(machine, DKMS, allow=["nvidia"])
    start()
    assert by_modprobe(machine, "nvidia") == ["install modprobe -i nvidia-current $CMDLINE_OPTS"]
    assert plan(machine, "nvidia") == ["group nvidia", "judged any", "modprobe required nvidia "]
    assert by_modprobe(machine, "pci:v000010DEd1") == ["insmod nvidia-current"]
    assert plan(machine, "pci:v000010DEd1") == ["group nvidia_current",
                                                "insert required nvidia_current nvidia-current.ko"]


# An install line whose name is no module

def test_an_install_line_of_no_module_is_admitted_by_its_name_and_run(machine, start):
    configure(machine, "install my-thing modprobe --all af-key twin_a\n", allow=["my_thing"])
    start()
    assert by_modprobe(machine, "my-thing") == ["install modprobe --all af-key twin_a"]
    assert plan(machine, "my-thing") == ["group my_thing", "judged any", "modprobe required my_thing "]
    answer = judge(machine, "my-thing")
    assert answer["will_load"]
    assert answer["modules"][0]["chain"] == [
        {"module": "af_key", "required": False, "by_command": True},
        {"module": "twin_a", "required": False, "by_command": True}, {"module": "my_thing", "required": True}]


def test_an_install_line_of_no_module_that_is_not_listed_is_refused_and_said_to_be_one(judged):
    configure(judged, "install my-thing modprobe --all af-key twin_a\n", allow=["af_key", "twin_a"])
    ran = judged.kmodctl("check", "my-thing")
    assert (ran.code, ran.out) == (3, "my-thing: refused: my_thing is not on the allow list "
                                      "(it is not a module, but has an install command in modprobe.d)\n")


def test_audit_mode_runs_an_install_line_of_no_module(machine, start):
    machine.policy.write_text('version = 1\nmode = "audit"\n')
    configure(machine, "install my-thing modprobe --all af-key twin_a\n")
    start()
    assert plan(machine, "my-thing") == ["group my_thing", "judged any", "modprobe required my_thing "]


def test_what_an_install_line_of_no_module_loads_is_kept_out_only_if_all_of_it_is(judged):
    judged.write("proc/cmdline", "module_blacklist=af_key\n")
    configure(judged, "install one modprobe af_key\ninstall two modprobe -a af_key twin_a\n", allow=["one", "two"])
    assert not judge(judged, "one")["will_load"]
    assert judge(judged, "two")["will_load"]


# What an install command loads

@pytest.mark.parametrize("command", ["modprobe twin_b", "modprobe -i tun_dev; modprobe twin-b", "modprobe other",
                                     "/opt/prepare && /sbin/modprobe -q twin_b", "insmod /tmp/twin_b.ko",
                                     "sh -c 'modprobe -i tun_dev && modprobe twin_b'"])
def test_a_denied_module_that_an_install_command_loads_refuses_it(judged, command):
    configure(judged, f"install tun_dev {command}\ninstall other modprobe twin_b\n", allow=["tun_dev"], deny=["twin_b"])
    answer = judge(judged, "tun_dev")
    assert (answer["verdict"], answer["reason"]) == ("refuse", "denied-dependency")
    assert answer["modules"][0]["because_of"] == "twin_b"


def test_what_an_install_command_loads_counts_as_a_dependency(judged):
    configure(judged, "install tun_dev modprobe -i tun_dev; modprobe twin_a\n", allow=["tun_dev"])
    assert judge(judged, "tun_dev")["verdict"] == "allow"
    judged.policy.write_text(judged.policy.read_text() + "dependencies = false\n")
    judged.kmodctl("reload")
    assert judge(judged, "tun_dev")["reason"] == "unlisted-dependency"


def test_what_cannot_be_told_of_a_command_is_said(judged):
    configure(judged, "install tun_dev /opt/load-more; modprobe -i tun_dev\n")
    answer = judge(judged, "tun_dev")
    assert answer["will_load"], "nothing says that it does not"
    assert answer["modules"][0]["commands"] == [{"module": "tun_dev", "command": "/opt/load-more; modprobe -i tun_dev",
                                                 "not_known": "/opt/load-more"}]
    assert "of which it is not known what this loads: /opt/load-more" in judged.ask("explain", "tun_dev").out


# Options given for an alias

OPTIONS = """\
alias bond0 af_key
options bond0 mode=4 miimon=100
options af_key max_bonds=0
alias bo-n* af_key
options bo-n* pattern=1
options net-pf-15 key=1
options net_pf_15 key2=2
options net-pf-1? never=1
"""


@pytest.mark.parametrize("token, options", [("bond0", "mode=4 miimon=100 max_bonds=0"), ("af_key", "max_bonds=0"),
                                            ("bo-nx", "max_bonds=0 pattern=1"), ("net-pf-15", "max_bonds=0 key=1 key2=2")])
def test_options_given_for_an_alias_are_added_to_those_of_the_module(machine, start, token, options):
    configure(machine, OPTIONS, allow=["af_key"])
    start()
    assert by_modprobe(machine, token) == [f"insmod af_key {options}"]
    lines = plan(machine, token)
    assert f"options {options}" in lines
    assert lines[-1] == "insert required af_key af_key.ko"
    assert (f"asked {token}" in lines) == (token != "af_key")


def test_modprobe_is_asked_by_the_alias_for_its_options(machine, start):
    configure(machine, OPTIONS + "install af_key modprobe -i af_key $CMDLINE_OPTS\n", allow=["af_key"])
    machine.write("sbin/modprobe", f"#!/bin/sh\necho \"$@\" >>{machine.root}/handled\n").chmod(0o755)
    machine.write("run/kmodguard/original_modprobe", f"{machine.root}/sbin/modprobe\n")
    start()
    for token in ("bond0", "af_key"):
        assert machine.kmodctl("hook", "-q", "--", token).code == 0
    assert (machine.root / "handled").read_text().splitlines() == ["-q -- bond0", "-q -- af_key"]


def test_options_of_an_alias_that_no_line_holds_leave_the_load_to_modprobe(machine, start):
    configure(machine, OPTIONS + f"options bond0 long={'x' * 2048}\n", allow=["af_key"])
    start()
    assert plan(machine, "bond0") == ["group af_key", "asked bond0", "modprobe required af_key af_key.ko"]
    assert plan(machine, "af_key")[-1] == "insert required af_key af_key.ko"


# What lint says of all that

@pytest.mark.parametrize("lines, allow, finding, hint", [
    ("install tun_dev /bin/false\n", "tun_dev",
     'tun_dev is allowed, but does not load: modprobe.d runs "/bin/false" in its place',
     "take the install line of tun_dev out of modprobe.d"),
    ("install crc_base /bin/false\n", "tun_dev",
     'tun_dev is allowed, but does not load: it needs crc_base, and modprobe.d runs "/bin/false" in its place',
     "take the install line of crc_base out of modprobe.d"),
    ("install tun_dev /opt/more; modprobe -i tun_dev\n", "tun_dev",
     "tun_dev is allowed, and the install command of tun_dev may load what is not known: /opt/more",
     "only the kernel point judges what that loads"),
    (DKMS, "nvidia_current", "nvidia_current is allowed, but would be refused: nvidia_current has an image that is not what "
     "its name says (the image calls itself nvidia)", "the name in the image counts, not the file's: list nvidia"),
])
def test_lint_says_what_else_keeps_an_allowed_module_out(machine, lines, allow, finding, hint):
    add_renamed(machine)
    configure(machine, lines, allow=[allow])
    out = lint(machine)
    assert f"{machine.policy}:3: warning: {finding}\n  hint: {hint}" in out
    assert out.count("warning: ") == 1


@pytest.mark.parametrize("lines, allow", [
    (DKMS, "nvidia"), ("install my-thing modprobe --all af-key twin_a\n", "my-thing"),
    ("install tun_dev modprobe -i tun_dev $CMDLINE_OPTS && { modprobe -q twin_a || :; }\n", "tun_dev")])
def test_lint_has_nothing_to_say_of_an_install_line_that_does_what_the_policy_allows(machine, lines, allow):
    add_renamed(machine)
    configure(machine, lines, allow=[allow])
    assert lint(machine) == "no problems\n"


def test_lint_says_of_an_allowed_alias_that_modprobe_d_switches_it_off(machine):
    machine.policy.write_text('version = 1\n[allow]\naliases = ["net-pf-15", "twin"]\n')
    configure(machine, "alias net-pf-15 off\n")
    out = lint(machine)
    assert 'the alias "net-pf-15" is allowed, but switched off in modprobe.d' in out
    assert out.count("warning: ") == 1
