#!/bin/bash
# SPDX-License-Identifier: AGPL-3.0-only
#
# One would guess that whether modprobe finds a module for a name depends on that module's aliases and on the name.
# For a name that has '[', '?' or '*' in it, it depends on which other aliases there are: depmod's index is a tree, and
# libkmod takes a wildcard character in the name for itself where a node of the tree happens to end just before it
# (index_searchwild, which walks the literal text of nodes one character at a time), and compares by fnmatch where it stands
# inside of a node's text. So the alias "kmt_a[bc]d" is found by the very text "kmt_a[bc]d" if another alias parts from it
# right there, and is not found if none does. Whoever looks such a name up by an index of their own finds what libkmod does
# not, or the other way round. The kernel itself never asks by such a name, but "mount -t 'x[y]'" has it ask for "fs-x[y]".
#
# kmod 30+20221128-1 (Debian 12), seen on 30 November 2026. Source: libkmod/libkmod-index.c of kmod.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
package=kmod=30+20221128-1
apt-get -qq update
(cd "$folder" && apt-get -qq download "$package" libkmod2=30+20221128-1)
for file in "$folder"/*.deb; do dpkg-deb -x "$file" "$folder/root"; done
export LD_LIBRARY_PATH=$folder/root/usr/lib/x86_64-linux-gnu:$folder/root/lib/x86_64-linux-gnu

# A module is an object file with the sections that depmod reads.
module() { # NAME ALIAS...
    local name=$1 alias
    shift
    {
        echo '.section .modinfo, "a"'
        for alias in "$@"; do printf '.asciz "alias=%s"\n' "$alias"; done
        printf '.asciz "name=%s"\n' "$name"
    } | as -o "$folder/tree/lib/modules/0.0.0/$name.ko" -
}

found() { # the alias's own text, looked up beside the aliases given
    rm -rf "$folder/tree"
    mkdir -p "$folder/tree/lib/modules/0.0.0" "$folder/none"
    touch "$folder/tree/lib/modules/0.0.0"/modules.{order,builtin}
    module kmt_first 'kmt_a[bc]d'
    [ $# -eq 0 ] || module kmt_second "$@"
    "$folder/root/sbin/depmod" -b "$folder/tree" 0.0.0 2>/dev/null
    "$folder/root/sbin/modprobe" -C "$folder/none" -d "$folder/tree" -S 0.0.0 -R 'kmt_a[bc]d' 2>/dev/null || echo nothing
}

alone=$(found)
beside=$(found 'kmt_aXd')
echo "kmt_a[bc]d beside no other alias: $alone"
echo "kmt_a[bc]d beside the alias kmt_aXd: $beside"
[ "$alone" = nothing ] && [ "$beside" = kmt_first ]
