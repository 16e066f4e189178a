# SPDX-License-Identifier: AGPL-3.0-only
"""Debian packages without installing them: find the version, download, list what it depends on, unpack.

The test machine runs Debian's own kernels and programs. They are fetched by the host's apt, so mirrors,
signatures and proxies are the host's affair; nothing here names a server. A package is downloaded
into a scratch folder and renamed into the cache, and is then never asked for again.
"""

import re
import subprocess
from functools import cache
from pathlib import Path

from .cache import MachineError, cache_folder, cached

HOST = "amd64"  # the architecture of the host, and of a machine unless told otherwise
# Packages are unpacked here, never configured, so that what their maintainer scripts call is not needed.
ONLY_FOR_INSTALLATION = {"debconf", "dpkg", "install-info", "init-system-helpers", "adduser", "ucf"}


class Gone(MachineError):
    """The mirror no longer has a version that apt's lists still name."""


known: dict[tuple[str, tuple[str, ...]], dict[str, str]] = {}


def apt(*arguments: str, options: tuple[str, ...] = (), cwd: Path | None = None) -> str:
    """Runs one apt program and returns its output; a failure is a MachineError with apt's own words."""
    program, *rest = arguments
    command = [program, *options, *rest]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode != 0:
        raise MachineError(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def look_up(packages: list[str], options: tuple[str, ...] = ()) -> dict[str, dict[str, str]]:
    """The fields of the newest version of each package, asked for all at once; what apt does not know is left out."""
    unseen = sorted({package for package in packages if (package, options) not in known})
    if unseen:
        command = ["apt-cache", *options, "show", "--no-all-versions", *unseen]
        answer = subprocess.run(command, capture_output=True, text=True).stdout
        known.update({(package, options): {} for package in unseen})
        for stanza in answer.split("\n\n"):
            pairs = (line.partition(": ") for line in stanza.splitlines() if not line.startswith(" "))
            fields = {name: value for name, separator, value in pairs if separator}
            if "Version" in fields:
                known[fields["Package"], options] = fields
    return {package: known[package, options] for package in packages if known[package, options]}


def show(package: str, options: tuple[str, ...] = ()) -> dict[str, str]:
    """The fields of the newest version of a package that apt knows."""
    found = look_up([package], options)
    if not found:
        raise MachineError(
            f"apt knows no package {package}. If its lists are empty or old, run `apt-get update` as root "
            "(scripts/bootstrap does)."
        )
    return found[package]


def dependencies(package: str, options: tuple[str, ...] = ()) -> list[str]:
    """The names a package depends on: of alternatives the first, versions dropped."""
    fields = show(package, options)
    wanted = ", ".join(fields[key] for key in ("Pre-Depends", "Depends") if key in fields)
    return [re.split(r"[ (|:]", item.strip())[0] for item in wanted.split(",") if item.strip()]


@cache
def provider(name: str, options: tuple[str, ...] = ()) -> str:
    """The first package that provides a virtual one."""
    text = apt("apt-cache", "showpkg", name, options=options)
    offers = text.partition("Reverse Provides: \n")[2].split()
    if not offers:
        raise MachineError(f"apt knows no package {name}, nor one that provides it: run `apt-get update` as root.")
    return offers[0]


def closure(packages: list[str], options: tuple[str, ...] = ()) -> list[str]:
    """The packages and everything that they need to run; what only their installation needs is left out."""
    found: set[str] = set()
    level = set(packages)
    while level:
        real = look_up(sorted(level), options)
        names = {name if name in real else provider(name, options) for name in level}
        names -= found | ONLY_FOR_INSTALLATION
        found |= names
        level = {needed for name in names for needed in dependencies(name, options)} - found
    return sorted(found)


def download(package: str, options: tuple[str, ...] = ()) -> Path:
    """The .deb of the newest version of a package, from the cache or the mirror."""
    fields = show(package, options)
    version, architecture = fields["Version"], fields["Architecture"]
    foreign = "" if architecture in ("all", HOST) else f"_{architecture}"
    target = cache_folder() / "packages" / f"{package}_{version.replace(':', '%3a')}{foreign}.deb"

    def fetch(path: Path) -> None:
        # APT::Sandbox::User=root: apt would otherwise warn that its user _apt cannot enter the folder.
        apt("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", f"{package}={version}",
            options=options, cwd=path.parent)
        (found,) = path.parent.glob("*.deb")
        found.rename(path)

    try:
        return cached(target, fetch)
    except MachineError as error:
        kind = Gone if re.search(r"\b404\b", str(error)) else MachineError
        raise kind(
            f"could not download {package} {version}: {error}\nIf the mirror no longer has this version, "
            "run `apt-get update` as root and try again."
        ) from None


def unpack(deb: Path, folder: Path) -> None:
    """Unpacks a package's files below `folder`; no maintainer script runs."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["dpkg-deb", "-x", str(deb), str(folder)], capture_output=True, text=True)
    if done.returncode != 0:
        raise MachineError(f"could not unpack {deb}: {done.stderr.strip()}")
