// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/verbs.hpp"

#include "core/names.hpp"
#include "enforce/guest/kernel_addresses.hpp"
#include "sys/number.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <concepts>
#include <limits>

namespace kmodguard::ctl {
namespace {

constexpr std::size_t any_number = std::numeric_limits<std::size_t>::max();

// Each puts `text` into `value`, and returns what is wrong with it as a SetOption does.

std::string_view read_value(std::string_view /*text*/, bool& value) {
    value = true;
    return "";
}

template <typename Text>
    requires std::same_as<Text, std::string> || std::same_as<Text, File>
std::string_view read_value(std::string_view text, Text& value) {
    value = text;
    return "";
}

std::string_view read_value(std::string_view text, Words& value) {
    value.emplace_back(text);
    return "";
}

std::string_view read_value(std::string_view text, std::optional<Release>& value) {
    if (text == "." || text == ".." || text.contains('/')) return "names no kernel, but a path";
    if (!core::is_token(text)) return "names no kernel";
    value = Release{std::string(text)};
    return "";
}

std::string_view read_value(std::string_view text, std::optional<core::Mode>& value) {
    value = core::mode_from(text);
    return value ? "" : "is not \"enforce\" or \"audit\"";
}

std::string_view read_value(std::string_view text, std::optional<core::CallerAnswer>& value) {
    value = core::answer_from(text);
    return value ? "" : "is not \"refuse\" or \"pretend\"";
}

std::string_view read_value(std::string_view text, std::optional<std::chrono::seconds>& value) {
    constexpr long max = 1'000'000;
    constexpr std::string_view complaint = "is not a length of time";
    long number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || number < 1 || number > max) return complaint;
    const std::string_view unit(end, text.data() + text.size());
    constexpr std::pair<std::string_view, long> units[] = {
        {"", 1}, {"s", 1}, {"m", 60}, {"h", 60L * 60}, {"d", 24L * 60 * 60}};
    const auto* const found = std::ranges::find(units, unit, &std::pair<std::string_view, long>::first);
    if (found == std::end(units)) return complaint;
    value = std::chrono::seconds(number * found->second);
    return "";
}

std::string_view read_value(std::string_view text, std::optional<std::uint64_t>& value) {
    constexpr int hexadecimal = 16;
    if (text.starts_with("0x")) text.remove_prefix(2);
    value = sys::number_in<std::uint64_t>(text, hexadecimal);
    return value ? "" : "is not a hexadecimal number";
}

std::string_view read_value(std::string_view text, guest::Interception& value) {
    if (text == "load-module")
        value = guest::Interception::load_module;
    else if (text == "system-call")
        value = guest::Interception::system_call;
    else
        return "is not \"load-module\" or \"system-call\"";
    return "";
}

/// Puts a value into that member of a verb's options.
template <auto Member>
std::string_view into(Options& options, std::string_view text) {
    const auto set = [text](auto& taken) -> std::string_view {
        if constexpr (requires { taken.*Member; })
            return read_value(text, taken.*Member);
        else
            throw std::bad_variant_access(); // of another verb's: a mistake in the table
    };
    return std::visit(set, options);
}

template <typename Taken>
Options none_given() {
    return Taken{};
}

/// The action of a verb's function, which says by its type what options it takes.
template <auto Run, typename Function = decltype(Run)>
constexpr Action action = {};
template <auto Run>
constexpr Action action<Run, sys::Result<int> (*)(const Context&)> = {
    none_given<NoOptions>, [](const Context& context, const Options&) { return Run(context); }};
template <auto Run, typename Taken>
constexpr Action action<Run, sys::Result<int> (*)(const Context&, const Taken&)> = {
    none_given<Taken>,
    [](const Context& context, const Options& options) { return Run(context, std::get<Taken>(options)); }};

/// A verb that is one change asked of the daemon.
sys::Result<int> run_request(const Context& context, const RequestOptions& options) {
    return context.ask_for_change_and_print(find_verb(context.verb)->request, options.argument);
}

// Of several verbs.
constexpr Option log_dir_option{"log-dir", "DIR", "write modules.log and events.jsonl there",
                                into<&SupervisionOptions::log_dir>};
constexpr Option answer_option{"answer", "refuse|pretend",
                               "what a refused call returns, instead of the policy's answer",
                               into<&SupervisionOptions::answer>};
constexpr Option quiet_option{"quiet", "", "log nothing but errors, except to --log-dir",
                              into<&SupervisionOptions::quiet>};
constexpr Option kernel_option{"kernel", "RELEASE", "use the modules of this kernel, not of the running one",
                               into<&PolicyOptions::kernel>};

constexpr std::array init_options = {
    Option{"output", "FILE", "write there instead of /etc/kmodguard/policy.toml; \"-\" prints it",
           into<&InitOptions::output>},
    Option{"force", "", "replace a file that exists", into<&InitOptions::force>}};
constexpr std::array disarm_options = {
    Option{"force", "", "if no handler was saved, set a modprobe that exists", into<&DisarmOptions::force>},
    Option{"unless-restarting", "", "do nothing if systemd is restarting the service (for the unit)",
           into<&DisarmOptions::unless_restarting>},
    Option{"kernel-point", "", "take the kernel point away as well, once the daemon has ended (for the unit)",
           into<&DisarmOptions::kernel_point>}};
constexpr std::array mode_options = {
    Option{"for", "TIME", "go back after TIME: 90s, 30m, 8h, 1d", into<&ModeOptions::limit>}};
constexpr std::array reload_options = {Option{
    "discard", "", "also drop unsaved changes made at run time",
    [](Options& options, std::string_view) { return into<&RequestOptions::argument>(options, "discard"); }}};
constexpr std::array check_options = {
    Option{"policy", "FILE", "judge by FILE, without the daemon", into<&PolicyOptions::policy>},
    Option{"kernel", "RELEASE", "judge for the modules of another kernel, without the daemon",
           into<&PolicyOptions::kernel>}};
constexpr std::array seal_options = {
    Option{"yes", "", "seal without asking", into<&SealOptions::yes>},
    Option{"dry-run", "", "only show what it would do, and what prevents it", into<&SealOptions::dry_run>}};
constexpr std::array doctor_options = {
    Option{"fix", "", "undo what another process has changed: the kernel's handler, kernel.ftrace_enabled",
           into<&DoctorOptions::fix>}};
constexpr std::array convert_options = {
    Option{"output", "FILE", "write there instead of to standard output", into<&ConvertOptions::output>},
    Option{"force", "", "replace a file that exists", into<&ConvertOptions::force>}};
constexpr std::array exec_options = {
    Option{"policy", "FILE", "decide by FILE instead of the machine's policy", into<&PolicyOptions::policy>},
    log_dir_option,
    answer_option,
    quiet_option,
    Option{"wait", "", "also wait for the processes that COMMAND leaves behind", into<&ExecOptions::wait>},
    kernel_option};
constexpr std::array oci_agent_options = {
    Option{"socket", "FILE", "listen there: the listenerPath of seccomp profiles",
           into<&OciAgentOptions::socket>},
    Option{"policy", "FILE", "the policy of containers that name none, instead of the machine's",
           into<&PolicyOptions::policy>},
    Option{"policies", "DIR",
           "find the policies that containers name in DIR instead of /etc/kmodguard/containers",
           into<&OciAgentOptions::policies>},
    log_dir_option,
    answer_option,
    quiet_option,
    kernel_option};
constexpr std::array guest_options = {
    Option{"policy", "FILE", "decide by FILE; without it only the framework's own module may load",
           into<&PolicyOptions::policy>},
    Option{"symbols", "FILE",
           "the guest kernel's System.map, kallsyms, vmlinux or image; else -kernel's, or found in memory",
           into<&GuestOptions::symbols>},
    Option{"gdb", "SOCKET", "attach to a machine that runs, with --architecture, instead of starting one",
           into<&GuestOptions::gdb>},
    log_dir_option,
    answer_option,
    Option{"framework", "FILE", "allow the module in FILE as well, and no other of its name",
           into<&GuestOptions::framework>},
    Option{"architecture", "NAME", "the guest's, if the emulator's name does not show it",
           into<&GuestOptions::architecture>},
    Option{"kaslr-offset", "NUMBER", "how far the guest's kernel was moved, hexadecimal, if that is known",
           into<&GuestOptions::kaslr_offset>},
    Option{"intercept", "load-module|system-call", "where to decide, instead of by the kernel's age",
           into<&GuestOptions::interception>},
    Option{"hash", "", "record the SHA-256 of every image", into<&GuestOptions::hash>},
    Option{"statistics", "", "print at the end how often and how long the guest was stopped",
           into<&GuestOptions::statistics>},
    quiet_option,
    Option{"kernel", "RELEASE", "use the modules of this release below --root, which are the guest's",
           into<&PolicyOptions::kernel>}};
constexpr std::array lint_options = {Option{"kernel", "RELEASE",
                                            "look at the modules of this kernel, not the running one",
                                            into<&LintOptions::kernel>}};

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
     .help = "look for problems, and test the guard",
     .needs_root = true,
     .options = doctor_options,
     .action = action<run_doctor>},
    {.name = "check",
     .help = "show whether module names or aliases may load",
     .arguments = {"TOKEN...", Argument::token, 1, any_number, into<&CheckOptions::tokens>},
     .options = check_options,
     .action = action<run_check>},
    {.name = "explain",
     .help = "show how a name or alias is judged, and by which rule",
     .arguments = {"TOKEN", Argument::token, 1, 1, into<&CheckOptions::tokens>},
     .options = check_options,
     .action = action<run_explain>},
    {.name = "allow",
     .help = "allow a module at once, until the daemon restarts",
     .needs_root = true,
     .arguments = {"MODULE", Argument::module, 1, 1, into<&RequestOptions::argument>},
     .request = "ALLOW",
     .action = action<run_request>},
    {.name = "deny",
     .help = "deny a module or an alias at once, until the daemon restarts",
     .needs_root = true,
     .arguments = {"TOKEN", Argument::token, 1, 1, into<&RequestOptions::argument>},
     .request = "DENY",
     .action = action<run_request>},
    {.name = "remove",
     .help = "take a module or an alias off the lists at once, until the daemon restarts",
     .needs_root = true,
     .arguments = {"TOKEN", Argument::listed_module, 1, 1, into<&RequestOptions::argument>},
     .request = "REMOVE",
     .action = action<run_request>},
    {.name = "apply",
     .help = "save the changes made at run time to the policy file",
     .needs_root = true,
     .action = action<run_apply>},
    {.name = "list", .help = "list the rules in force, with their origin", .action = action<run_list>},
    {.name = "mode",
     .help = "enforce the policy, or only record what it would refuse; or show the mode",
     .needs_root = true,
     .arguments = {"[enforce|audit]", Argument::mode, 0, 1, into<&ModeOptions::mode>},
     .options = mode_options,
     .action = action<run_mode>},
    {.name = "reload",
     .help = "read the policy files again",
     .needs_root = true,
     .options = reload_options,
     .request = "RELOAD",
     .action = action<run_request>},
    {.name = "lint",
     .help = "look for mistakes in a policy",
     .arguments = {"[FILE]", Argument::file, 0, 1, into<&LintOptions::file>},
     .options = lint_options,
     .action = action<run_lint>},
    {.name = "convert",
     .help = "print a policy in TOML, whichever form it has",
     .arguments = {"FILE", Argument::file, 1, 1, into<&ConvertOptions::file>},
     .options = convert_options,
     .action = action<run_convert>},
    {.name = "exec",
     .help = "run a command, and decide which modules it may load",
     .loads_first = true,
     .arguments = {"-- COMMAND...", Argument::command, 1, any_number, into<&ExecOptions::command>},
     .options = exec_options,
     .action = action<run_exec>},
    {.name = "oci-agent",
     .help = "decide which modules containers may load",
     .loads_first = true,
     .options = oci_agent_options,
     .action = action<run_oci_agent>},
    {.name = "guest",
     .help = "run an emulated machine, and decide which modules it may load",
     .loads_first = true,
     .arguments = {"-- QEMU...", Argument::command, 0, any_number, into<&GuestOptions::command>},
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
     .help = "run the hook by hand, as the kernel does (-q -- TOKEN)",
     .arguments = {"ARGUMENT...", Argument::raw, 0, any_number, into<&RawOptions::words>},
     .action = action<run_hook>},
    {.name = "__complete",
     .help = "print what the last word can become, for the shells",
     .arguments = {"WORD...", Argument::raw, 0, any_number, into<&RawOptions::words>},
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
