// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/verbs.hpp"

#include "core/names.hpp"

#include <algorithm>
#include <array>
#include <limits>

namespace kmodguard::ctl {
namespace {

constexpr std::size_t any_number = std::numeric_limits<std::size_t>::max();

/// A release is a folder's name below /lib/modules.
std::string_view complaint_about_release(std::string_view release) {
    if (release == "." || release == ".." || release.contains('/')) return "names no kernel, but a path";
    return core::is_token(release) ? "" : "names no kernel";
}

constexpr std::array init_options = {
    Option{"output", "FILE", "write there instead of /etc/kmodguard/policy.toml; \"-\" prints it"},
    Option{"force", "", "replace a file that exists"}};
constexpr std::array disarm_options = {
    Option{"force", "", "without a saved handler, set a modprobe that exists"},
    Option{"unless-restarting", "", "do nothing if systemd is restarting the service (for the unit)"},
    Option{"kernel-point", "",
           "take the kernel point away as well, once the daemon has ended (for the unit)"}};
constexpr std::array mode_options = {Option{"for", "TIME", "go back after TIME: 90s, 30m, 8h, 1d"}};
constexpr std::array reload_options = {Option{"discard", "", "also drop unsaved changes made at run time"}};
constexpr std::array offline_options = {Option{"policy", "FILE", "judge by FILE, without the daemon"},
                                        Option{"kernel", "RELEASE",
                                               "judge for the modules of another kernel, without the daemon",
                                               complaint_about_release}};
constexpr std::array seal_options = {
    Option{"yes", "", "seal without asking"},
    Option{"dry-run", "", "only say what it would do, and what keeps it from that"}};
constexpr std::array doctor_options = {
    Option{"mend", "", "set back what somebody has changed: the kernel's handler, kernel.ftrace_enabled"}};
constexpr std::array convert_options = {Option{"output", "FILE", "write there instead of to standard output"},
                                        Option{"force", "", "replace a file that exists"}};
constexpr std::array exec_options = {
    Option{"policy", "FILE", "decide by FILE instead of the machine's policy"},
    Option{"log-dir", "DIR", "write modules.log and events.jsonl there"},
    Option{"answer", "refuse|pretend", "what a refused call is told, instead of the policy's answer"},
    Option{"quiet", "", "log nothing but errors, except to --log-dir"},
    Option{"wait", "", "also wait for the processes that COMMAND leaves behind"},
    Option{"kernel", "RELEASE", "know the modules of this kernel, not of the running one",
           complaint_about_release}};
constexpr std::array oci_agent_options = {
    Option{"socket", "FILE", "listen there: the listenerPath of seccomp profiles"},
    Option{"policy", "FILE", "decide by FILE, instead of the machine's policy, on those that name none"},
    Option{"policies", "DIR",
           "find the policies that containers name in DIR instead of /etc/kmodguard/containers"},
    Option{"log-dir", "DIR", "write modules.log and events.jsonl there"},
    Option{"answer", "refuse|pretend", "what a refused call is told, instead of the policy's answer"},
    Option{"quiet", "", "log nothing but errors, except to --log-dir"},
    Option{"kernel", "RELEASE", "know the modules of this kernel, not of the running one",
           complaint_about_release}};
constexpr std::array guest_options = {
    Option{"policy", "FILE", "decide by FILE; without it only the framework's own module may load"},
    Option{"symbols", "FILE",
           "the guest kernel's System.map, kallsyms, vmlinux or image; else -kernel's, or found in memory"},
    Option{"gdb", "SOCKET", "attach to a machine that runs, with --architecture, instead of starting one"},
    Option{"log-dir", "DIR", "write modules.log and events.jsonl there"},
    Option{"answer", "refuse|pretend", "what a refused call is told, instead of the policy's answer"},
    Option{"framework", "FILE", "allow the module in FILE as well, and no other of its name"},
    Option{"architecture", "NAME", "of the guest, if the emulator's name does not tell"},
    Option{"slide", "NUMBER", "how far the guest's kernel was moved, hexadecimal, if that is known"},
    Option{"intercept", "load-module|system-call", "where to decide, instead of by the kernel's age"},
    Option{"hash", "", "record the SHA-256 of every image"},
    Option{"statistics", "", "say at the end how often and how long the guest was stopped"},
    Option{"quiet", "", "log nothing but errors, except to --log-dir"},
    Option{"kernel", "RELEASE", "know the modules of this release below --root: the guest's",
           complaint_about_release}};
constexpr std::array lint_options = {Option{
    "kernel", "RELEASE", "look at the modules of this kernel, not the running one", complaint_about_release}};

constexpr std::array<Verb, 24> table = {{
    {"init", "", "write a policy that allows what is loaded now", false, false, Argument::none, 0, 0,
     init_options, run_init}, // asks for root itself, where it writes
    {"start", "", "start the daemon and arm the hook", true, false, Argument::none, 0, 0, {}, run_start},
    {"stop", "", "disarm the hook and stop the daemon", true, false, Argument::none, 0, 0, {}, run_stop},
    {"seal", "", "keep the guard from being loosened until the machine restarts", true, false, Argument::none,
     0, 0, seal_options, run_seal},
    {"status",
     "",
     "show what is guarded, by which policy, and what is not",
     false,
     false,
     Argument::none,
     0,
     0,
     {},
     run_status},
    {"doctor", "", "look for what is not as it should be, and try the guard", true, false, Argument::none, 0,
     0, doctor_options, run_doctor},
    {"check", "TOKEN...", "say whether module names or aliases may load", false, false, Argument::token, 1,
     any_number, offline_options, run_check},
    {"explain", "TOKEN", "show how a name or alias is judged, and by which rule", false, false,
     Argument::token, 1, 1, offline_options, run_explain},
    {"allow",
     "MODULE",
     "allow a module at once, until the daemon restarts",
     true,
     true,
     Argument::module,
     1,
     1,
     {},
     run_allow},
    {"deny",
     "TOKEN",
     "deny a module or an alias at once, until the daemon restarts",
     true,
     true,
     Argument::token,
     1,
     1,
     {},
     run_deny},
    {"remove",
     "TOKEN",
     "take a module or an alias off the lists at once, until the daemon restarts",
     true,
     true,
     Argument::listed_module,
     1,
     1,
     {},
     run_remove},
    {"apply",
     "",
     "save the changes made at run time to the policy file",
     true,
     true,
     Argument::none,
     0,
     0,
     {},
     run_apply},
    {"list",
     "",
     "list the rules in force, with their origin",
     false,
     false,
     Argument::none,
     0,
     0,
     {},
     run_list},
    {"mode", "[enforce|audit]", "enforce the policy, or only record what it would refuse; or show which",
     true, true, Argument::mode, 0, 1, mode_options, run_mode},
    {"reload", "", "read the policy files again", true, true, Argument::none, 0, 0, reload_options,
     run_reload},
    {"lint", "[FILE]", "look for mistakes in a policy", false, false, Argument::file, 0, 1, lint_options,
     run_lint},
    {"convert", "FILE", "print a policy in TOML, whichever form it has", false, false, Argument::file, 1, 1,
     convert_options, run_convert},
    {"exec", "-- COMMAND...", "run a command whose module loads the policy decides", false, false,
     Argument::command, 1, any_number, exec_options, run_exec},
    {"oci-agent", "", "decide on the module loads of containers", false, false, Argument::none, 0, 0,
     oci_agent_options, run_oci_agent},
    {"guest", "-- QEMU...", "run an emulated machine whose module loads the policy decides", false, false,
     Argument::command, 0, any_number, guest_options, run_guest},
    {"arm", "", "point the kernel's autoloading at the hook", true, false, Argument::none, 0, 0, {}, run_arm},
    {"disarm", "", "give the kernel its former handler back", true, false, Argument::none, 0, 0,
     disarm_options, run_disarm},
    {"hook",
     "ARGUMENT...",
     "do what the kernel runs the hook for (-q -- TOKEN)",
     false,
     true,
     Argument::raw,
     0,
     any_number,
     {},
     run_hook},
    {"__complete",
     "WORD...",
     "print what the last word can become, for the shells",
     false,
     false,
     Argument::raw,
     0,
     any_number,
     {},
     run_complete},
}};

} // namespace

std::span<const Verb> verbs() {
    return table;
}

const Verb* find_verb(std::string_view name) {
    const auto found = std::ranges::find(table, name, &Verb::name);
    return found == table.end() ? nullptr : &*found;
}

std::string_view nearest_verb(std::string_view name) {
    constexpr std::size_t longest_name = 32;
    if (name.size() > longest_name) return "";
    const auto distance_to = [name](const Verb& verb) {
        return verb.name.starts_with("__") ? any_number
                                           : core::edit_distance(name, verb.name); // hidden: nobody means it
    };
    const auto nearest = std::ranges::min_element(table, {}, distance_to);
    return distance_to(*nearest) <= 2 ? nearest->name : "";
}

} // namespace kmodguard::ctl
