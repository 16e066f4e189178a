# SPDX-License-Identifier: AGPL-3.0-only
"""Whole programs on a machine that is a directory (machine.py): nothing of the real one is read or changed.

They need root, for the daemon answers nobody else. `unshare --map-root-user` is root enough.
"""

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent
sys.path += [str(TESTS / "fixtures/images"), str(TESTS / "support")]

from machine import DAEMON, KMODCTL, Daemon, Machine
from waiting import Gate


# A shell that is not interactive starts what it puts into the background with these ignored, and so would all programs be
# that are tested.
for ignored in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(ignored) == signal.SIG_IGN:
        signal.signal(ignored, signal.SIG_DFL)


def pytest_sessionstart():
    if os.geteuid() != 0:
        pytest.exit("tests/cli need root: run them as root, or under `unshare --map-root-user`", returncode=2)
    for program in (KMODCTL, DAEMON):
        if not program.exists():
            pytest.exit(f"{program} is missing: `make build`, or set KMODGUARD_PROGRAMS to a build", returncode=2)


@pytest.fixture
def machine():
    """A machine with a policy, on which nothing runs."""
    one = Machine()
    yield one
    shutil.rmtree(one.root)


@pytest.fixture
def gate(machine):
    """On which processes wait until the test opens it."""
    one = Gate(machine.root / "gate")
    yield one
    one.close()


@pytest.fixture
def start(machine):
    """Starts daemons on the machine; whichever still runs at the end of the test is ended."""
    started = []

    def start_one(*options, before=(), **environment):
        started.append(Daemon(machine, *options, before=before, **environment))
        return started[-1]

    yield start_one
    for daemon in started:
        daemon.stop(signal.SIGKILL)


@pytest.fixture
def daemon(start):
    """The machine's daemon, serving."""
    return start()
