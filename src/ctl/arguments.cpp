// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/arguments.hpp"

#include "core/names.hpp"
#include "ctl/verbs.hpp"
#include "installation.hpp"
#include "sys/trace.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <optional>

namespace kmodguard::ctl {
namespace {

/// Where the parser leaves what it finds for one verb.
struct Found {
    std::vector<std::string> arguments;
    std::map<std::string, std::string, std::less<>> values;
    std::map<std::string, bool, std::less<>> flags;
};

void add_verb(CLI::App& app, const Verb& verb, Found& found) {
    CLI::App* sub = app.add_subcommand(std::string(verb.name), std::string(verb.help))->fallthrough();
    if (verb.name.starts_with("__")) sub->group("");
    if (verb.argument == Argument::raw) return;
    for (const Option& option : verb.options) {
        const std::string name(option.name);
        if (option.value.empty())
            sub->add_flag("--" + name, found.flags[name], std::string(option.help));
        else
            sub->add_option("--" + name, found.values[name], std::string(option.help))
                ->type_name(std::string(option.value));
    }
    if (verb.argument == Argument::command) {
        sub->footer("COMMAND stands behind \"--\".");
    } else if (verb.most > 0) {
        CLI::Option* positional =
            sub->add_option(std::string(verb.arguments), found.arguments)->type_name("");
        positional->expected(static_cast<int>(verb.fewest),
                             verb.most > 1 ? CLI::detail::expected_max_vector_size : 1);
        positional->required(verb.fewest > 0);
    }
}

/// A mistake in the command line, said as any other error is.
int report(const Context& context, std::string what, std::string hint) {
    return context.fail({sys::ErrorKind::invalid, std::move(what), std::move(hint)});
}

int report_unknown_verb(const Context& context, std::string_view name) {
    const std::string_view nearest = nearest_verb(name);
    return report(context, fmt::format("unknown verb \"{}\"", core::printable(name)),
                  nearest.empty() ? "kmodctl --help lists the verbs"
                                  : fmt::format("did you mean \"{}\"?", nearest));
}

/// The first option whose value is none, and what is wrong with it.
std::optional<sys::Error> wrong_value(const Verb& verb, const Context& context) {
    for (const Option& option : verb.options) {
        const auto value = context.option(option.name);
        if (option.value.empty() || !value) continue;
        const std::string_view complaint = value->empty()                ? "is empty"
                                           : option.complaint != nullptr ? option.complaint(*value)
                                                                         : "";
        if (!complaint.empty())
            return sys::Error{sys::ErrorKind::invalid,
                              fmt::format("--{} \"{}\" {}", option.name, core::printable(*value), complaint),
                              fmt::format("--{} takes {}: {}", option.name, option.value, option.help)};
    }
    return std::nullopt;
}

/// Where the first argument that is no option stands; `count` if there is none.
int position_of_verb(int count, char** arguments) {
    for (int i = 1; i < count; ++i) {
        const std::string_view argument = arguments[i];
        if (argument == "--root")
            ++i;
        else if (!argument.starts_with('-'))
            return i;
    }
    return count;
}

/// Where "--" stands, from `begin` on; `count` if nowhere.
int position_of_dashes(int begin, int count, char** arguments) {
    while (begin < count && std::string_view(arguments[begin]) != "--")
        ++begin;
    return begin;
}

int report_missing_command(const Context& context, const Verb& verb) {
    return report(context, "no command", fmt::format("kmodctl {} [OPTION...] {}", verb.name, verb.arguments));
}

/// What is known of a command line before it is parsed: how its mistakes are to be told. `count` of the
/// arguments are kmodctl's own.
Context before_parsing(int count, char** arguments, const Verb* verb) {
    Context context;
    context.json = std::find_if(arguments + std::min(count, 1), arguments + count,
                                [](const char* word) { return std::string_view(word) == "--json"; })
                   != arguments + count;
    if (verb != nullptr) context.verb = verb->name;
    return context;
}

Context context_of(const CLI::App& sub, Found found, const std::string& root, bool json) {
    Context context;
    context.verb = sub.get_name();
    context.arguments = std::move(found.arguments);
    for (auto& [name, value] : found.values)
        if (sub.get_option_no_throw("--" + name)->count() > 0) context.options.emplace(name, value);
    for (const auto& [name, set] : found.flags)
        if (set) context.options.emplace(name, "");
    if (!root.empty()) context.paths = sys::Paths(root);
    context.json = json;
    context.colour = !json && ::isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr;
    return context;
}

/// By the command line or, but for a service, by the environment.
sys::Result<void> start_trace(std::string asked, std::string_view verb) {
    const char* in_environment = ::secure_getenv("KMODGUARD_DEBUG");
    if (asked.empty() && in_environment != nullptr && verb != "oci-agent") asked = in_environment;
    return sys::start_trace(asked);
}

} // namespace

Parsed parse_arguments(int count, char** arguments) {
    CLI::App app("Decide which kernel modules may load on this machine.", "kmodctl");
    std::string root;
    std::string debug;
    bool json = false;
    app.set_version_flag("--version", fmt::format("kmodctl {}", installation::version));
    app.add_option("--root", root, "take every path below DIR")->type_name("DIR")->envname("KMODGUARD_ROOT");
    app.add_flag("--json", json, "print JSON, one object a line");
    app.add_flag("--debug{all}", debug, std::string(debug_help));
    app.require_subcommand(1);
    app.footer("Exit codes: 0 done or allowed, 1 failed, 2 usage, 3 refused by policy, 4 not found,\n"
               "            5 daemon unreachable, 6 bad policy. More: kmodctl(8).");
    std::map<std::string, Found, std::less<>> found;
    for (const Verb& verb : verbs())
        add_verb(app, verb, found[std::string(verb.name)]);

    const int position = position_of_verb(count, arguments);
    const Verb* verb = position < count ? find_verb(arguments[position]) : nullptr;
    if (position < count && verb == nullptr)
        return report_unknown_verb(before_parsing(count, arguments, verb), arguments[position]);
    // What stands behind such a verb is its own, options and all; the parser sees none of it but a lone
    // --help.
    const bool asks_for_help = position + 2 == count && std::string_view(arguments[position + 1]) == "--help";
    const bool raw = verb != nullptr && verb->argument == Argument::raw && !asks_for_help;
    int parsed = raw ? position + 1 : count; // arguments that are kmodctl's own
    if (verb != nullptr && verb->argument == Argument::command) {
        parsed = position_of_dashes(position, count, arguments);
        if (verb->fewest > 0 && parsed + 1 >= count && !asks_for_help)
            return report_missing_command(before_parsing(parsed, arguments, verb), *verb);
    }
    try {
        app.parse(parsed, arguments);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) return app.exit(error); // help, or the version
        return report(before_parsing(parsed, arguments, verb), error.what(),
                      verb == nullptr ? "kmodctl --help shows how it is used"
                                      : fmt::format("kmodctl {} --help shows how it is used", verb->name));
    }
    if (app.get_option("--root")->count() > 0 && root.empty())
        return report(before_parsing(parsed, arguments, verb), "--root \"\" is empty",
                      "--root takes DIR: the machine's own is /");
    const CLI::App* sub = app.get_subcommands().front();
    if (auto started = start_trace(debug, sub->get_name()); !started)
        return before_parsing(parsed, arguments, verb).fail(started.error());
    Context context = context_of(*sub, std::move(found[sub->get_name()]), root, json);
    if (verb != nullptr)
        if (const auto wrong = wrong_value(*verb, context)) return context.fail(*wrong);
    if (raw) context.arguments.assign(arguments + position + 1, arguments + count);
    if (verb != nullptr && verb->argument == Argument::command)
        context.arguments.assign(arguments + std::min(parsed + 1, count), arguments + count);
    return context;
}

} // namespace kmodguard::ctl
