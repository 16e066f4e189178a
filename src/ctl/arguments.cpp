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

/// Of several mistakes the first is reported. `complaint` is the end of the sentence that `what` begins; ""
/// if there is none.
void note_mistake(Found& found, std::string what, std::string_view complaint, std::string hint) {
    if (complaint.empty() || found.mistake) return;
    found.mistake = {sys::ErrorKind::invalid, fmt::format("{} {}", what, complaint), std::move(hint)};
}

void set_option(Found& found, const Option& option, const std::string& text) {
    const std::string_view complaint =
        text.empty() && !option.value.empty() ? "is empty" : option.set(found.options, text);
    note_mistake(found, fmt::format("--{} \"{}\"", option.name, core::printable(text)), complaint,
                 fmt::format("--{} takes {}: {}", option.name, option.value, option.help));
}

void set_argument(Found& found, const std::string& text) {
    const Positional& taken = found.verb.arguments;
    note_mistake(found, fmt::format("\"{}\"", core::printable(text)), taken.set(found.options, text),
                 fmt::format("kmodctl {} {}", found.verb.name, taken.shown));
}

void add_verb(CLI::App& app, Found& found) {
    const Verb& verb = found.verb;
    CLI::App* sub = app.add_subcommand(std::string(verb.name), std::string(verb.help))->fallthrough();
    sub->group(verb.name.starts_with("__") ? "" : "Verbs");
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
        sub->footer(
            fmt::format("The command goes last: kmodctl {} [OPTION...] {}", verb.name, verb.arguments.shown));
    } else if (verb.arguments.max > 0) {
        std::string name(verb.arguments.shown);
        std::erase_if(name, [](char c) { return c == '[' || c == ']' || c == '.'; }); // the parser adds them
        CLI::Option* positional = sub->add_option(name, found.arguments)->type_name("");
        positional->expected(static_cast<int>(verb.arguments.min),
                             verb.arguments.max > 1 ? CLI::detail::expected_max_vector_size : 1);
        positional->required(verb.arguments.min > 0);
    }
}

using Arguments = std::span<char* const>;

bool has(Arguments arguments, std::string_view word) {
    return std::ranges::any_of(arguments, [word](std::string_view argument) { return argument == word; });
}

/// The position of the first argument that is not an option; their number if there is none.
std::size_t position_of_verb(Arguments arguments) {
    for (std::size_t i = 1; i < arguments.size(); ++i) {
        const std::string_view argument = arguments[i];
        if (argument == "--root")
            ++i;
        else if (!argument.starts_with('-'))
            return i;
    }
    return arguments.size();
}

/// kmodctl's own arguments, for the parser, and those that follow a verb of this kind and are the verb's,
/// options and all.
std::pair<Arguments, Arguments> split(Arguments all, std::size_t position, Argument kind) {
    if (kind == Argument::raw) return {all.first(position + 1), all.subspan(position + 1)};
    if (kind != Argument::command) return {all, {}};
    const Arguments rest = all.subspan(position);
    const auto dashes = std::ranges::find_if(rest, [](std::string_view word) { return word == "--"; });
    const std::size_t end = position + static_cast<std::size_t>(dashes - rest.begin());
    return {all.first(end), all.subspan(std::min(end + 1, all.size()))};
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
    const auto code = verb->action.run(context, options);
    return code ? *code : context.fail(code.error());
}

Parsed parse_arguments(int count, char** arguments) {
    const Arguments all(arguments, static_cast<std::size_t>(count));
    const std::size_t position = position_of_verb(all);
    const Verb* verb = position < all.size() ? find_verb(all[position]) : nullptr;
    const Argument kind = verb != nullptr ? verb->arguments.kind : Argument::none;
    const bool asks_for_help = position + 2 == all.size() && has(all.last(1), "--help");
    const auto [own, others] = split(all, position, asks_for_help ? Argument::none : kind);
    Context early; // for mistakes
    early.json = has(own, "--json");
    if (verb != nullptr) early.verb = verb->name;
    if (position < all.size() && verb == nullptr) return report_unknown_verb(early, all[position]);
    if (kind == Argument::command && verb->arguments.min > others.size() && !asks_for_help)
        return report(early, "no command",
                      fmt::format("kmodctl {} [OPTION...] {}", verb->name, verb->arguments.shown));

    CLI::App app("Decide which kernel modules may load on this machine.", "kmodctl");
    std::string root;
    std::string debug;
    bool json = false;
    app.set_version_flag("--version", fmt::format("kmodctl {}", installation::version));
    app.add_option("--root", root, "take every path below DIR")->type_name("DIR")->envname("KMODGUARD_ROOT");
    app.add_flag("--json", json, "print JSON, one object a line");
    app.add_flag("--debug{all}", debug, std::string(debug_help));
    app.require_subcommand(1);
    app.get_formatter()->label("SUBCOMMAND", "VERB");
    app.footer("Exit codes: 0 done or allowed, 1 failed, 2 usage, 3 refused by policy, 4 not found,\n"
               "            5 daemon unreachable, 6 bad policy, 7 refused but built in. More: kmodctl(8).");
    std::vector<Found> known_verbs;
    // The verb of the command line alone, which saves half of what most of them cost; all of them where what
    // comes before it asks for help.
    const Arguments before = all.first(position);
    const bool needs_all = verb == nullptr || has(before, "--help") || has(before, "-h");
    for (const Verb& one : needs_all ? verbs() : std::span(verb, 1))
        known_verbs.push_back({.verb = one, .options = one.action.options(), .arguments = {}, .mistake = {}});
    for (Found& found : known_verbs)
        add_verb(app, found);
    try {
        app.parse(static_cast<int>(own.size()), own.data());
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) return app.exit(error); // help, or the version
        return report(early, error.what(),
                      verb == nullptr ? "kmodctl --help shows how it is used"
                                      : fmt::format("kmodctl {} --help shows how it is used", verb->name));
    }
    if (app.get_option("--root")->count() > 0 && root.empty())
        return report(early, "--root \"\" is empty", "--root takes DIR: the machine's own is /");
    const std::string name = app.get_subcommands().front()->get_name();
    if (auto started = start_trace(debug, name); !started) return early.fail(started.error());
    Found& found =
        *std::ranges::find_if(known_verbs, [&](const Found& one) { return one.verb.name == name; });
    found.arguments.insert(found.arguments.end(), others.begin(), others.end());
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
