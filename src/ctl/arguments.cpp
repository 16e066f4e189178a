// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/arguments.hpp"

#include "core/names.hpp"
#include "installation.hpp"
#include "sys/trace.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <span>

namespace kmodguard::ctl {
namespace {

/// What the parser finds for one verb.
struct Found {
    const Verb& verb;
    Options options;
    Words arguments;
    std::optional<sys::Error> mistake; ///< the first
};

/// What is wrong with `text`, the value of `option`, goes to `found`.
void set_option(Found& found, const Option& option, const std::string& text) {
    const std::string_view complaint =
        text.empty() && !option.value.empty() ? "is empty" : option.set(found.options, text);
    if (complaint.empty() || found.mistake) return;
    found.mistake = {sys::ErrorKind::invalid,
                     fmt::format("--{} \"{}\" {}", option.name, core::printable(text), complaint),
                     fmt::format("--{} takes {}: {}", option.name, option.value, option.help)};
}

void set_argument(Found& found, const std::string& text) {
    const std::string_view complaint = found.verb.arguments.set(found.options, text);
    if (complaint.empty() || found.mistake) return;
    found.mistake = {sys::ErrorKind::invalid, fmt::format("\"{}\" {}", core::printable(text), complaint),
                     fmt::format("kmodctl {} {}", found.verb.name, found.verb.arguments.shown)};
}

void add_verb(CLI::App& app, Found& found) {
    const Verb& verb = found.verb;
    CLI::App* sub = app.add_subcommand(std::string(verb.name), std::string(verb.help))->fallthrough();
    if (verb.name.starts_with("__")) sub->group("");
    if (verb.arguments.kind == Argument::raw) return;
    for (const Option& option : verb.options) {
        const std::string name = fmt::format("--{}", option.name);
        const std::string help(option.help);
        if (option.value.empty())
            sub->add_flag_callback(name, [&found, &option] { set_option(found, option, ""); }, help);
        else
            sub->add_option_function<std::string>(
                   name, [&found, &option](const std::string& text) { set_option(found, option, text); },
                   help)
                ->type_name(std::string(option.value));
    }
    if (verb.arguments.kind == Argument::command) {
        sub->footer("Put COMMAND after \"--\".");
    } else if (verb.arguments.max > 0) {
        CLI::Option* positional =
            sub->add_option(std::string(verb.arguments.shown), found.arguments)->type_name("");
        positional->expected(static_cast<int>(verb.arguments.min),
                             verb.arguments.max > 1 ? CLI::detail::expected_max_vector_size : 1);
        positional->required(verb.arguments.min > 0);
    }
}

/// A mistake in the command line, reported as any other error.
int report(const Context& context, std::string what, std::string hint) {
    return context.fail({sys::ErrorKind::invalid, std::move(what), std::move(hint)});
}

int report_unknown_verb(const Context& context, std::string_view name) {
    const std::string_view nearest = nearest_verb(name);
    return report(context, fmt::format("unknown verb \"{}\"", core::printable(name)),
                  nearest.empty() ? "kmodctl --help lists the verbs"
                                  : fmt::format("did you mean \"{}\"?", nearest));
}

/// The position of the first argument that is not an option; `count` if there is none.
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

/// The verb of the command line alone, which saves half of what most of them cost; all of them where what
/// stands before it asks for help.
std::span<const Verb> verbs_for_parser(const Verb* verb, std::span<char*> before) {
    const bool asks_for_help = std::ranges::any_of(before, [](const char* word) {
        return std::string_view(word) == "--help" || std::string_view(word) == "-h";
    });
    return verb == nullptr || asks_for_help ? verbs() : std::span(verb, 1);
}

/// The position of "--" from `begin` on; `count` if there is none.
int position_of_dashes(int begin, int count, char** arguments) {
    while (begin < count && std::string_view(arguments[begin]) != "--")
        ++begin;
    return begin;
}

int report_missing_command(const Context& context, const Verb& verb) {
    return report(context, "no command",
                  fmt::format("kmodctl {} [OPTION...] {}", verb.name, verb.arguments.shown));
}

/// What is known of a command line before it is parsed: how its mistakes are to be reported. `count` of the
/// arguments are kmodctl's own.
Context before_parsing(int count, char** arguments, const Verb* verb) {
    Context context;
    context.json = std::find_if(arguments + std::min(count, 1), arguments + count,
                                [](const char* word) { return std::string_view(word) == "--json"; })
                   != arguments + count;
    if (verb != nullptr) context.verb = verb->name;
    return context;
}

/// By the command line or, but for a service, by the environment.
sys::Result<void> start_trace(std::string asked, std::string_view verb) {
    const char* in_environment = ::secure_getenv("KMODGUARD_DEBUG");
    if (asked.empty() && in_environment != nullptr && verb != "oci-agent") asked = in_environment;
    return sys::start_trace(asked);
}

} // namespace

int Invocation::run() const {
    if (verb->needs_root)
        if (const auto allowed = context.require_root(); !allowed) return context.fail(allowed.error());
    return verb->action.run(context, options);
}

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
    const int position = position_of_verb(count, arguments);
    const Verb* verb = position < count ? find_verb(arguments[position]) : nullptr;
    if (position < count && verb == nullptr)
        return report_unknown_verb(before_parsing(count, arguments, verb), arguments[position]);
    std::vector<Found> known_verbs;
    for (const Verb& one : verbs_for_parser(verb, std::span(arguments, static_cast<std::size_t>(position))))
        known_verbs.push_back({.verb = one, .options = one.action.options(), .arguments = {}, .mistake = {}});
    for (Found& found : known_verbs)
        add_verb(app, found);
    // What follows such a verb is its own, options and all; the parser sees none of it but a lone
    // --help.
    const bool asks_for_help = position + 2 == count && std::string_view(arguments[position + 1]) == "--help";
    const bool raw = verb != nullptr && verb->arguments.kind == Argument::raw && !asks_for_help;
    int parsed = raw ? position + 1 : count; // arguments that are kmodctl's own
    if (verb != nullptr && verb->arguments.kind == Argument::command) {
        parsed = position_of_dashes(position, count, arguments);
        if (verb->arguments.min > 0 && parsed + 1 >= count && !asks_for_help)
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
    const std::string name = app.get_subcommands().front()->get_name();
    if (auto started = start_trace(debug, name); !started)
        return before_parsing(parsed, arguments, verb).fail(started.error());
    Found& found =
        *std::ranges::find_if(known_verbs, [&](const Found& one) { return one.verb.name == name; });
    if (raw || found.verb.arguments.kind == Argument::command)
        found.arguments.assign(arguments + std::min(raw ? parsed : parsed + 1, count), arguments + count);
    for (const std::string& argument : found.arguments)
        set_argument(found, argument);
    Invocation invocation{.verb = &found.verb, .context = {}, .options = std::move(found.options)};
    Context& context = invocation.context;
    context.verb = name;
    if (!root.empty()) context.paths = sys::Paths(root);
    context.json = json;
    context.colour = !json && ::isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr;
    if (found.mistake) return context.fail(*found.mistake);
    return invocation;
}

} // namespace kmodguard::ctl
