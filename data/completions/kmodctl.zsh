#compdef kmodctl
# SPDX-License-Identifier: AGPL-3.0-only
# zsh completion for kmodctl. kmodctl itself says what fits; see its src/ctl/verbs/complete.cpp.
local line
local -a offered
for line in "${(@f)$(command kmodctl __complete kmodctl "${(@Q)words[2,CURRENT]}" 2>/dev/null)}"; do
    case $line in
    ('') ;;
    (:files) _files && return ;;
    (:directories) _files -/ && return ;;
    (*$'\t'*) offered+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
    (*) offered+=("${line//:/\\:}") ;;
    esac
done
(( $#offered )) && _describe -t words kmodctl offered
