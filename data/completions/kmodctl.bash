# SPDX-License-Identifier: AGPL-3.0-only
# bash completion for kmodctl. kmodctl itself says what fits; see its src/ctl/verbs/complete.cpp.
_kmodctl() {
    local word current=${COMP_WORDS[COMP_CWORD]}
    COMPREPLY=()
    while IFS= read -r word; do
        case $word in
        :files | :directories)
            local action=-f
            [[ $word == :files ]] || action=-d
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen "$action" -- "$current")
            ;;
        *) COMPREPLY+=("${word%%$'\t'*}") ;;
        esac
    done < <("$1" __complete kmodctl "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
} && complete -F _kmodctl kmodctl
