// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/verbs.hpp"

#include "core/names.hpp"

#include <algorithm>
#include <array>
#include <limits>

namespace kmodguard::ctl {
namespace {

constexpr std::size_t any_number = std::numeric_limits<std::size_t>::max();

/// The member of a verb's options that an option, or an argument, goes to.
template <typename Taken, auto Member>
std::string_view into(Options& options, std::string_view text) {
    return read_value(text, std::get<Taken>(options).*Member);
}

template <typename Taken>
Options none_given() {
    return Taken{};
}

int finish(const Context& context, const sys::Result<int>& code) {
    return code ? *code : context.fail(code.error());
}

/// The action of a verb's function, which says by its type what options it takes.
template <auto Run, typename Function = decltype(Run)>
constexpr Action action = {};
template <auto Run>
constexpr Action action<Run, sys::Result<int> (*)(const Context&)> = {
    none_given<NoOptions>,
    [](const Context& context, const Options&) { return finish(context, Run(context)); }};
template <auto Run, typename Taken>
constexpr Action action<Run, sys::Result<int> (*)(const Context&, const Taken&)> = {
    none_given<Taken>, [](const Context& context, const Options& options) {
        return finish(context, Run(context, std::get<Taken>(options)));
    }};

sys::Result<int> send_request(const Context& context, const RequestOptions& options) {
    return context.change_and_print(find_verb(context.verb)->request, options.argument);
}

// Of several verbs.
template <typename Taken>
constexpr Option log_dir{"log-dir", "DIR", "write modules.log and events.jsonl there",
                         into<Taken, &Taken::log_dir>};
template <typename Taken>
constexpr Option answer{"answer", "refuse|pretend",
                        "what a refused call returns, instead of the policy's answer",
                        into<Taken, &Taken::answer>};
template <typename Taken>
constexpr Option quiet{"quiet", "", "log nothing but errors, except to --log-dir",
                       into<Taken, &Taken::quiet>};
template <typename Taken>
constexpr Option kernel{"kernel", "RELEASE", "know the modules of this kernel, not of the running one",
                        into<Taken, &Taken::kernel>};

constexpr std::array init_options = {
    Option{"output", "FILE", "write there instead of /etc/kmodguard/policy.toml; \"-\" prints it",
           into<InitOptions, &InitOptions::output>},
    Option{"force", "", "replace a file that exists", into<InitOptions, &InitOptions::force>}};
constexpr std::array disarm_options = {
    Option{"force", "", "without a saved handler, set a modprobe that exists",
           into<DisarmOptions, &DisarmOptions::force>},
    Option{"unless-restarting", "", "do nothing if systemd is restarting the service (for the unit)",
           into<DisarmOptions, &DisarmOptions::unless_restarting>},
    Option{"kernel-point", "", "take the kernel point away as well, once the daemon has ended (for the unit)",
           into<DisarmOptions, &DisarmOptions::kernel_point>}};
constexpr std::array mode_options = {
    Option{"for", "TIME", "go back after TIME: 90s, 30m, 8h, 1d", into<ModeOptions, &ModeOptions::limit>}};
constexpr std::array reload_options = {Option{
    "discard", "", "also drop unsaved changes made at run time", [](Options& options, std::string_view) {
        return into<RequestOptions, &RequestOptions::argument>(options, "discard");
    }}};
constexpr std::array check_options = {
    Option{"policy", "FILE", "judge by FILE, without the daemon", into<CheckOptions, &CheckOptions::policy>},
    Option{"kernel", "RELEASE", "judge for the modules of another kernel, without the daemon",
           into<CheckOptions, &CheckOptions::kernel>}};
constexpr std::array seal_options = {
    Option{"yes", "", "seal without asking", into<SealOptions, &SealOptions::yes>},
    Option{"dry-run", "", "only say what it would do, and what keeps it from that",
           into<SealOptions, &SealOptions::dry_run>}};
constexpr std::array doctor_options = {Option{
    "fix", "", "set back what another process has changed: the kernel's handler, kernel.ftrace_enabled",
    into<DoctorOptions, &DoctorOptions::repair>}};
constexpr std::array convert_options = {
    Option{"output", "FILE", "write there instead of to standard output",
           into<ConvertOptions, &ConvertOptions::output>},
    Option{"force", "", "replace a file that exists", into<ConvertOptions, &ConvertOptions::force>}};
constexpr std::array exec_options = {
    Option{"policy", "FILE", "decide by FILE instead of the machine's policy",
           into<ExecOptions, &ExecOptions::policy>},
    log_dir<ExecOptions>,
    answer<ExecOptions>,
    quiet<ExecOptions>,
    Option{"wait", "", "also wait for the processes that COMMAND leaves behind",
           into<ExecOptions, &ExecOptions::wait>},
    kernel<ExecOptions>};
constexpr std::array oci_agent_options = {
    Option{"socket", "FILE", "listen there: the listenerPath of seccomp profiles",
           into<OciAgentOptions, &OciAgentOptions::socket>},
    Option{"policy", "FILE", "decide by FILE, instead of the machine's policy, on those that name none",
           into<OciAgentOptions, &OciAgentOptions::policy>},
    Option{"policies", "DIR",
           "find the policies that containers name in DIR instead of /etc/kmodguard/containers",
           into<OciAgentOptions, &OciAgentOptions::policies>},
    log_dir<OciAgentOptions>,
    answer<OciAgentOptions>,
    quiet<OciAgentOptions>,
    kernel<OciAgentOptions>};
constexpr std::array guest_options = {
    Option{"policy", "FILE", "decide by FILE; without it only the framework's own module may load",
           into<GuestOptions, &GuestOptions::policy>},
    Option{"symbols", "FILE",
           "the guest kernel's System.map, kallsyms, vmlinux or image; else -kernel's, or found in memory",
           into<GuestOptions, &GuestOptions::symbols>},
    Option{"gdb", "SOCKET", "attach to a machine that runs, with --architecture, instead of starting one",
           into<GuestOptions, &GuestOptions::gdb>},
    log_dir<GuestOptions>,
    answer<GuestOptions>,
    Option{"framework", "FILE", "allow the module in FILE as well, and no other of its name",
           into<GuestOptions, &GuestOptions::framework>},
    Option{"architecture", "NAME", "of the guest, if the emulator's name does not tell",
           into<GuestOptions, &GuestOptions::architecture>},
    Option{"kaslr-offset", "NUMBER", "how far the guest's kernel was moved, hexadecimal, if that is known",
           into<GuestOptions, &GuestOptions::kaslr_offset>},
    Option{"intercept", "load-module|system-call", "where to decide, instead of by the kernel's age",
           into<GuestOptions, &GuestOptions::interception>},
    Option{"hash", "", "record the SHA-256 of every image", into<GuestOptions, &GuestOptions::hash>},
    Option{"statistics", "", "say at the end how often and how long the guest was stopped",
           into<GuestOptions, &GuestOptions::statistics>},
    quiet<GuestOptions>,
    Option{"kernel", "RELEASE", "know the modules of this release below --root: the guest's",
           into<GuestOptions, &GuestOptions::kernel>}};
constexpr std::array lint_options = {Option{"kernel", "RELEASE",
                                            "look at the modules of this kernel, not the running one",
                                            into<LintOptions, &LintOptions::kernel>}};

constexpr std::array table = std::to_array<Verb>({
    {.name = "init",
     .help = "write a policy that allows what is loaded now",
     .options = init_options,
     .action = action<run_init>}, // asks for root itself, where it writes
    {.name = "start",
     .help = "start the daemon and arm the hook",
     .needs_root = true,
     .action = action<run_start>},
    {.name = "stop",
     .help = "disarm the hook and stop the daemon",
     .needs_root = true,
     .action = action<run_stop>},
    {.name = "seal",
     .help = "keep the guard from being loosened until the machine restarts",
     .needs_root = true,
     .loads_first = true,
     .options = seal_options,
     .action = action<run_seal>},
    {.name = "status",
     .help = "show what is guarded, by which policy, and what is not",
     .action = action<run_status>},
    {.name = "doctor",
     .help = "look for what is not as it should be, and try the guard",
     .needs_root = true,
     .options = doctor_options,
     .action = action<run_doctor>},
    {.name = "check",
     .help = "say whether module names or aliases may load",
     .arguments = {"TOKEN...", Argument::token, 1, any_number, into<CheckOptions, &CheckOptions::tokens>},
     .options = check_options,
     .action = action<run_check>},
    {.name = "explain",
     .help = "show how a name or alias is judged, and by which rule",
     .arguments = {"TOKEN", Argument::token, 1, 1, into<CheckOptions, &CheckOptions::tokens>},
     .options = check_options,
     .action = action<run_explain>},
    {.name = "allow",
     .help = "allow a module at once, until the daemon restarts",
     .needs_root = true,
     .arguments = {"MODULE", Argument::module, 1, 1, into<RequestOptions, &RequestOptions::argument>},
     .request = "ALLOW",
     .action = action<send_request>},
    {.name = "deny",
     .help = "deny a module or an alias at once, until the daemon restarts",
     .needs_root = true,
     .arguments = {"TOKEN", Argument::token, 1, 1, into<RequestOptions, &RequestOptions::argument>},
     .request = "DENY",
     .action = action<send_request>},
    {.name = "remove",
     .help = "take a module or an alias off the lists at once, until the daemon restarts",
     .needs_root = true,
     .arguments = {"TOKEN", Argument::listed_module, 1, 1, into<RequestOptions, &RequestOptions::argument>},
     .request = "REMOVE",
     .action = action<send_request>},
    {.name = "apply",
     .help = "save the changes made at run time to the policy file",
     .needs_root = true,
     .action = action<run_apply>},
    {.name = "list", .help = "list the rules in force, with their origin", .action = action<run_list>},
    {.name = "mode",
     .help = "enforce the policy, or only record what it would refuse; or show which",
     .needs_root = true,
     .arguments = {"[enforce|audit]", Argument::mode, 0, 1, into<ModeOptions, &ModeOptions::mode>},
     .options = mode_options,
     .action = action<run_mode>},
    {.name = "reload",
     .help = "read the policy files again",
     .needs_root = true,
     .options = reload_options,
     .request = "RELOAD",
     .action = action<send_request>},
    {.name = "lint",
     .help = "look for mistakes in a policy",
     .arguments = {"[FILE]", Argument::file, 0, 1, into<LintOptions, &LintOptions::file>},
     .options = lint_options,
     .action = action<run_lint>},
    {.name = "convert",
     .help = "print a policy in TOML, whichever form it has",
     .arguments = {"FILE", Argument::file, 1, 1, into<ConvertOptions, &ConvertOptions::file>},
     .options = convert_options,
     .action = action<run_convert>},
    {.name = "exec",
     .help = "run a command whose module loads the policy decides",
     .loads_first = true,
     .arguments = {"-- COMMAND...", Argument::command, 1, any_number,
                   into<ExecOptions, &ExecOptions::command>},
     .options = exec_options,
     .action = action<run_exec>},
    {.name = "oci-agent",
     .help = "decide on the module loads of containers",
     .loads_first = true,
     .options = oci_agent_options,
     .action = action<run_oci_agent>},
    {.name = "guest",
     .help = "run an emulated machine whose module loads the policy decides",
     .loads_first = true,
     .arguments = {"-- QEMU...", Argument::command, 0, any_number,
                   into<GuestOptions, &GuestOptions::command>},
     .options = guest_options,
     .action = action<run_guest>},
    {.name = "arm",
     .help = "point the kernel's autoloading at the hook",
     .needs_root = true,
     .action = action<run_arm>},
    {.name = "disarm",
     .help = "give the kernel its former handler back",
     .needs_root = true,
     .options = disarm_options,
     .action = action<run_disarm>},
    {.name = "hook",
     .help = "do what the kernel runs the hook for (-q -- TOKEN)",
     .arguments = {"ARGUMENT...", Argument::raw, 0, any_number, into<RawOptions, &RawOptions::words>},
     .action = action<run_hook>},
    {.name = "__complete",
     .help = "print what the last word can become, for the shells",
     .arguments = {"WORD...", Argument::raw, 0, any_number, into<RawOptions, &RawOptions::words>},
     .action = action<run_complete>},
});

} // namespace

std::span<const Verb> verbs() {
    return table;
}

const Verb* find_verb(std::string_view name) {
    const auto found = std::ranges::find(table, name, &Verb::name);
    return found == table.end() ? nullptr : &*found;
}

std::string_view nearest_verb(std::string_view name) {
    constexpr std::size_t max_name = 32;
    if (name.size() > max_name) return "";
    const auto distance_to = [name](const Verb& verb) {
        return verb.name.starts_with("__") ? any_number // hidden: not what was meant
                                           : core::edit_distance(name, verb.name);
    };
    const auto nearest = std::ranges::min_element(table, {}, distance_to);
    return distance_to(*nearest) <= 2 ? nearest->name : "";
}

} // namespace kmodguard::ctl
