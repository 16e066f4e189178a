# SPDX-License-Identifier: AGPL-3.0-only
# fish completion for kmodctl. kmodctl itself says what fits; see its src/ctl/verbs/complete.cpp.
function __kmodctl_words
    set -l before (commandline --tokenize --cut-at-cursor --current-process)
    set -l current (commandline --cut-at-cursor --current-token)
    for line in (command kmodctl __complete kmodctl $before[2..] "$current" 2>/dev/null)
        switch $line
            case :files
                __fish_complete_path "$current"
            case :directories
                __fish_complete_directories "$current"
            case '*'
                echo $line
        end
    end
end
complete --command kmodctl --no-files --arguments '(__kmodctl_words)'
