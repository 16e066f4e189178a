# SPDX-License-Identifier: AGPL-3.0-only
"""The root of the "systemd" machine: a Debian of the host's release, as small as one with systemd, udev, journald,
D-Bus and kmod can be.

mmdebstrap makes it once, from the mirrors that the host's apt uses. Like the plain root it runs from memory,
so that every machine starts from the same state. Units that wait for hardware or people are masked.
"""

import subprocess
import tarfile
from pathlib import Path

from . import apt
from .cache import MachineError, cache_folder, cached, content_key
from .cpio import Archive

PACKAGES = ["systemd", "systemd-sysv", "udev", "dbus", "kmod", "libpam-systemd"]
LEFT_OUT = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*", "/usr/share/zoneinfo/*",
            "/usr/lib/udev/hwdb.d/*", "/usr/share/bash-completion/*"]
MASKED = ["getty@tty1.service", "serial-getty@ttyS0.service", "systemd-hwdb-update.service", "systemd-pstore.service",
          "systemd-firstboot.service", "systemd-timesyncd.service", "systemd-random-seed.service", "e2scrub_reap.service",
          "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer",
          "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service"]
AGENT_UNIT = """[Unit]
Description=The test machine's agent
After=basic.target

[Service]
ExecStart=/machine/agent /dev/ttyS1
KillMode=process
TasksMax=infinity
OOMScoreAdjust=-1000

[Install]
WantedBy=multi-user.target
"""


def sources() -> list[str]:
    """The host's Debian sources, as lines of sources.list."""
    form = "$(ORIGIN)|$(CREATED_BY)|$(CODENAME)|deb $(REPO_URI) $(RELEASE) $(COMPONENT)"
    lines = set(apt.apt("apt-get", "indextargets", "--format", form).splitlines())
    fields = sorted(line.split("|") for line in lines if line.startswith("Debian|Packages|"))
    if not fields:
        raise MachineError("the host's apt has no Debian lists: run `apt-get update` as root")
    return [line[3] for line in fields if line[2].startswith(suite())]


def suite() -> str:
    """The host's release: the guest's must be the same, since the staged install was linked here."""
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2]
    raise MachineError("the host's /etc/os-release names no VERSION_CODENAME: the machine wants a Debian host")


def tree() -> Path:
    """The archive that mmdebstrap made."""
    versions = [f"{package} {apt.show(package)['Version']}" for package in PACKAGES]
    key = content_key(*versions, *PACKAGES, *LEFT_OUT, suite())

    def build(path: Path) -> None:
        command = ["mmdebstrap", "--variant=essential", f"--include={','.join(PACKAGES)}",
                   *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
                   "--customize-hook=echo 'user:x:1000:1000::/tmp:/bin/sh' >> \"$1/etc/passwd\"",
                   "--customize-hook=echo 'user:x:1000:' >> \"$1/etc/group\"",
                   suite(), str(path), *sources()]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            raise MachineError("the host has no mmdebstrap: install it (scripts/bootstrap does)") from None
        if done.returncode != 0:
            raise MachineError(f"could not make the systemd root: `{' '.join(command)}` said\n{done.stderr[-3000:]}")

    return cached(cache_folder() / "archives" / f"systemd-{key}.tar", build)


def add_tree(archive: Archive, tree: Path) -> list[str]:
    """Puts the Debian into the archive, with its owners; returns the names of its packages."""
    status = ""
    with tarfile.open(tree) as tar:
        for member in tar:
            name, owner = member.name.removeprefix("./"), (member.uid, member.gid)
            if member.isdir():
                archive.folder(name, member.mode, owner)
            elif member.issym():
                archive.link(name, member.linkname, owner)
            elif member.isreg() or member.islnk():
                data = tar.extractfile(member).read()
                archive.data(name, data, member.mode, owner)
                status = data.decode() if name == "var/lib/dpkg/status" else status
    return [line.removeprefix("Package: ") for line in status.splitlines() if line.startswith("Package: ")]


def add_settings(archive: Archive) -> None:
    """What makes it boot fast and answer on the command channel."""
    units = "/etc/systemd/system"
    for unit in MASKED:
        archive.link(f"{units}/{unit}", "/dev/null")
    archive.data(f"{units}/machine-agent.service", AGENT_UNIT.encode())
    archive.link(f"{units}/multi-user.target.wants/machine-agent.service", "../machine-agent.service")
    archive.link(f"{units}/default.target", "/lib/systemd/system/multi-user.target")
    archive.data("/etc/machine-id", b"0123456789abcdef0123456789abcdef\n")
    archive.data("/etc/hostname", b"machine\n")
    archive.data("/etc/systemd/journald.conf.d/machine.conf", b"[Journal]\nStorage=volatile\nRateLimitBurst=0\n")
