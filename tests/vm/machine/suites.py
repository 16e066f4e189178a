# SPDX-License-Identifier: AGPL-3.0-only
"""Indexes of Debian suites and architectures that the host's apt does not use, so that a kernel of sid, or one for
another processor, can be fetched on a stable host.

An index is a folder of its own, with its own sources and lists, taken from the mirror that the host uses: the
host's own apt never hears of the suite. It is made once and then only read; a newer one is another folder,
so that two test processes never see a half-changed one. The host's keyring verifies it.
"""

import shutil
import time
from functools import cache
from pathlib import Path

from . import apt, systemd
from .cache import MachineError, cache_folder, cached

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
LIFETIME = 24 * 3600  # seconds until an index is made anew
KEPT = 2  # the newest, and the one that another process may still read


@cache
def options(suite: str, architecture: str = apt.HOST) -> tuple[str, ...]:
    """What makes the apt programs know this suite and nothing else; no options for "", the host's own suites."""
    return settings(newest(suite, architecture), architecture) if suite else ()


def settings(folder: Path, architecture: str) -> tuple[str, ...]:
    # Neither what is installed on the host nor its pins may change which version is the newest. Without the cache
    # file, which a host's settings may turn off, every call would read 50 MB of lists for a second.
    places = {
        "Dir::State::Lists": folder / "lists", "Dir::State::status": folder / "status", "Dir::Cache": folder / "cache",
        "Dir::Cache::pkgcache": "pkgcache.bin", "Dir::Cache::srcpkgcache": "",
        "Dir::Etc::SourceList": folder / "sources.list", "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::Preferences": "/dev/null", "Dir::Etc::PreferencesParts": "/dev/null",
        "Acquire::Languages": "none", "APT::Sandbox::User": "root",
        "APT::Architecture": architecture, "APT::Architectures": architecture,
    }
    return tuple(word for name, value in places.items() for word in ("-o", f"{name}={value}"))


def newest(suite: str, architecture: str) -> Path:
    """The suite's index, at most a day old if the mirror answers; an older one still serves what is in the cache."""
    made = indexes(suite, architecture)
    if made and time.time() - int(made[-1].name) < LIFETIME:
        return made[-1]
    try:
        return fetch(suite, architecture)
    except MachineError:
        if not made:
            raise
        return made[-1]


def refresh(suite: str, architecture: str = apt.HOST) -> None:
    """Makes a new index, for when the mirror no longer has what the present one lists."""
    fetch(suite, architecture)
    options.cache_clear()


def place(suite: str, architecture: str) -> Path:
    return cache_folder() / "apt" / (suite if architecture == apt.HOST else f"{suite}-{architecture}")


def indexes(suite: str, architecture: str) -> list[Path]:
    """The suite's indexes, the newest last; each is named by the second in which it was begun."""
    return sorted(place(suite, architecture).glob("[0-9]*"))


def fetch(suite: str, architecture: str) -> Path:
    def build(folder: Path) -> None:
        for name in ("lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()
        (folder / "sources.list").write_text(f"deb [arch={architecture} signed-by={KEYRING}] {mirror()} {suite} main\n")
        apt.apt("apt-get", "-q", "--error-on=any", "update", options=settings(folder, architecture))

    index = cached(place(suite, architecture) / str(int(time.time())), build)
    for old in indexes(suite, architecture)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return index


def mirror() -> str:
    """Where the host gets its own release from."""
    form = "$(ORIGIN)|$(CREATED_BY)|$(CODENAME)|$(REPO_URI)"
    wanted = f"Debian|Packages|{systemd.suite()}|"
    for line in apt.apt("apt-get", "indextargets", "--format", form).splitlines():
        if line.startswith(wanted):
            return line.removeprefix(wanted)
    raise MachineError("the host's apt has no Debian lists: run `apt-get update` as root")
