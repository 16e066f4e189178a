# SPDX-License-Identifier: AGPL-3.0-only
"""What the kernel itself keeps out is said beforehand: `check` and the kernel's own answer, side by side."""

import json

import pytest

from guard import policy
from machine import Machine


@pytest.mark.parametrize("kernel", ["6.1", "6.12", "7.2"])
def test_check_says_of_each_module_what_the_kernel_then_does(kernel: str) -> None:
    """Debian's modules are signed, and kmg_param is not."""
    with Machine(kernel, cmdline="module.sig_enforce=1 module_blacklist=l2tp_ip,tun") as vm:
        vm.put("/tmp/policy.toml", policy(allow=["dummy", "tun", "kmg_param"]).encode())
        for module, kept_out_by in (("dummy", None), ("tun", "kernel-blacklist"), ("kmg_param", "unsigned-image")):
            answer = json.loads(vm.run(f"kmodctl check --json --policy /tmp/policy.toml {module}", check=True).stdout)
            assert answer["verdict"] == "allow"
            assert answer["modules"][0].get("kept_out", {}).get("by") == kept_out_by
            vm.run(f"modprobe {module}")
            assert answer["will_load"] == (module in vm.loaded()) == (kept_out_by is None)
        vm.run("echo 1 > /proc/sys/kernel/modules_disabled", check=True)
        answer = json.loads(vm.run("kmodctl check --json --policy /tmp/policy.toml dummy", check=True).stdout)
        assert answer["modules"][0]["kept_out"]["by"] == "loading-disabled"
