# SPDX-License-Identifier: AGPL-3.0-only
"""Autoload requests inside the test machine, whose clock counts instructions: stock modprobe, then the guard.

Each attempt is one process that makes one request, after a pause in which what the one before left to do gets done.
The clock stands for the requesting process: from before its system call to after it.

Loading and unloading wait for the grace periods of the kernel's RCU, alike with and without a guard: whole ticks of
4 ms, in which nothing runs. They are made to end at once (rcupdate.rcu_expedited), so that work is compared.
"""

from collections.abc import Iterator

from guard import LOG, POLICY, policy
from machine import Machine
from table import Figure, Goal, Row

REPEAT = 7
PAUSE = "sleep 0.2"
FORGET = "kmodctl reload >/dev/null"  # the daemon keeps what it knows of modules, and forgets its decisions
RESULTS = "/tmp/times"
NOBODY = "requester --time --user 65534"

UNKNOWN = f"{NOBODY} socket 9 2 0"
UNLISTED = f"{NOBODY} socket 15 3 2"
# Only root can unload, so root asks where something is loaded.
AF_KEY = "requester --time --unload af_key socket 15 3 2"
PARAM = "requester --time --unload kmg_param ask kmg_param"
NO_DEPENDENCY = "requester delete xfrm_algo >/dev/null"
RESTART = "kmodctl stop >/dev/null; kmodctl start >/dev/null"


def times(vm: Machine, request: str, before: str = ":", wanted: str = "ok") -> Figure:
    """The request's times; `before` runs ahead of each. The first is not counted: it finds cold caches."""
    attempt = f"{before}; {PAUSE}; {request} >>{RESULTS}"
    loop = "i=0; while [ $i -le %d ]; do %s; i=$((i+1)); done" % (REPEAT, attempt)
    lines = vm.run(f"rm -f {RESULTS}; {loop}; cat {RESULTS}", timeout=600).stdout.splitlines()
    answers = {line.split()[1] for line in lines}
    if len(lines) != REPEAT + 1 or answers != {wanted}:
        raise RuntimeError(f"{request}: {len(lines)} answers, {answers}, instead of {wanted}")
    return Figure(tuple(float(line.split()[2]) for line in lines[1:]), "instructions")


def measure(kernel: str) -> Iterator[Row]:
    """The rows of one kernel."""
    with Machine(kernel, counting=True, cmdline="rcupdate.rcu_expedited=1", name=f"bench-{kernel}") as vm:
        vm.run(f"modprobe kmg_ask && mkdir -p /var/log && syslogd -O {LOG} && until [ -S /dev/log ]; do :; done",
               check=True)
        stock_unknown = times(vm, UNKNOWN, wanted="EAFNOSUPPORT")
        stock_param = times(vm, PARAM)
        stock_both = times(vm, AF_KEY, NO_DEPENDENCY)
        vm.run("modprobe xfrm_algo", check=True)
        stock_af_key = times(vm, AF_KEY)

        flags = "" if vm.kernel.module_suffix == ".ko" else "'' 4"  # MODULE_INIT_COMPRESSED_FILE
        image = f"/usr/lib/modules/{vm.kernel.release}/kernel/net/key/af_key{vm.kernel.module_suffix}"
        bare_af_key = times(vm, f"requester --time --unload af_key finit {image} {flags}")

        vm.put(POLICY, policy(allow=["af_key", "kmg_param"]))
        vm.run("kmodctl start", check=True)
        refused = Goal(0.058)
        small = Goal(0.06 if flags else 0.75)
        large = Goal(0.75 if flags else 0.73)

        def row(what: str, figure: Figure, peer: Figure, goal: Goal | None = None) -> Row:
            return Row(f"{kernel}: {what}", figure, peer, goal)

        yield row("refuse an unknown alias, not seen before", times(vm, UNKNOWN, FORGET, "EAFNOSUPPORT"),
                  stock_unknown, refused)
        yield row("load kmg_param, not seen before", times(vm, PARAM, FORGET), stock_param, small)
        yield row("load kmg_param, seen before", times(vm, PARAM), stock_param, small)
        yield row("load af_key, dependency loaded, not seen before", times(vm, AF_KEY, FORGET), stock_af_key, large)
        yield row("load af_key, dependency loaded, seen before", times(vm, AF_KEY), stock_af_key, large)
        yield row("of that, the system call finit_module alone, without a guard", bare_af_key, stock_af_key)
        yield row("load af_key and its dependency, not seen before", times(vm, AF_KEY, f"{FORGET}; {NO_DEPENDENCY}"),
                  stock_both)
        yield row("load af_key and its dependency, seen before", times(vm, AF_KEY, NO_DEPENDENCY), stock_both)

        # By a pattern, which says of no module that it will be wanted: nothing is judged ahead.
        vm.put(POLICY, policy(aliases=["net-pf-15*"]))
        yield row("load af_key, dependency loaded, by a pattern, first request to a new daemon",
                  times(vm, AF_KEY, RESTART), stock_af_key, Goal(0.90 if flags else 0.75))
        vm.put(POLICY, policy(allow=["kmg_param"]))
        vm.run(f"{FORGET}; {NO_DEPENDENCY}", check=True)
        # Stock modprobe would load it, so the peer is what stock takes to find nothing.
        yield row("refuse an unlisted module, not seen before (peer: stock, unknown alias)",
                  times(vm, UNLISTED, FORGET, "EAFNOSUPPORT"), stock_unknown, refused)
        vm.run(f"{FORGET}; kill -KILL $(pidof kmodguard)", check=True)
        yield row("refuse while the daemon is dead (peer: stock, unknown alias)",
                  times(vm, UNKNOWN, wanted="EAFNOSUPPORT"), stock_unknown, refused)
