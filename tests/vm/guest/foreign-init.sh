#!/bin/busybox sh
# SPDX-License-Identifier: AGPL-3.0-only
# The first process of a foreign guest: runs the steps of a scenario, or the lines that come over the console, and
# marks the beginning, the status and the end of each on the console, where the test reads them. The shell is busybox's,
# whose own applets come before all files: what a step means of kmod's, it names by its path (/usr/sbin/insmod).
export PATH=/usr/sbin:/usr/bin
busybox mount -t proc proc /proc
busybox --install -s /usr/bin
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
dmesg -n 1 # a message of the kernel's in between would look like a step's output
stty -echo </dev/console

step() { # NUMBER COMMAND
    printf '\n@@begin %s\n' "$1"
    (eval "$2") 2>&1 </dev/null
    printf '\n@@end %s %s\n' "$1" $?
}

printf '\n@@ready\n' # firmware may have left half a line
if [ -d /scenario ]; then
    for file in /scenario/*; do
        step "${file##*/}" ". $file"
    done
else
    while read -r number command; do
        step "$number" "$command"
    done </dev/console
fi
echo "@@over"
reboot -f # QEMU runs with -no-reboot: it ends
