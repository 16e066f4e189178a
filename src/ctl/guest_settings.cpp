// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/guest_settings.hpp"

#include "config/yaml_schema.hpp"
#include "ctl/local_decision.hpp"
#include "ctl/supervision.hpp"
#include "enforce/guest/emulator.hpp"
#include "enforce/guest/memory_symbols.hpp"
#include "modules/image_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <system_error>

namespace kmodguard::ctl {
namespace {

sys::Result<const guest::Architecture*> chosen_architecture(const Context& context) {
    const auto given = context.option("architecture");
    const std::string name = given ? *given : context.arguments.empty() ? "" : context.arguments.front();
    if (const auto* architecture = guest::find_architecture(name)) return architecture;
    std::string known;
    for (const guest::Architecture& row : guest::architectures())
        known += fmt::format("{}{}", known.empty() ? "" : ", ", row.name);
    if (name.empty())
        return sys::failure(sys::ErrorKind::invalid, "which architecture the guest has is not known",
                            "--architecture takes " + known);
    return sys::failure(sys::ErrorKind::invalid, fmt::format("\"{}\" names no known architecture", name),
                        "--architecture takes " + known);
}

sys::Result<guest::Interception> chosen_interception(const Context& context) {
    const auto text = context.option("intercept");
    if (!text) return guest::Interception::automatic;
    if (*text == "load-module") return guest::Interception::load_module;
    if (*text == "system-call") return guest::Interception::system_call;
    return sys::failure(sys::ErrorKind::invalid, fmt::format("nothing can be intercepted at \"{}\"", *text),
                        "--intercept takes \"load-module\" or \"system-call\"");
}

/// Of --symbols, or of the image that the emulator boots; nullopt: neither is there.
sys::Result<std::optional<symbols::Symbols>> chosen_symbols(const Context& context) {
    const std::string file =
        context.option("symbols").value_or(guest::option_of(context.arguments, "kernel"));
    if (file.empty()) return std::nullopt;
    auto symbols = symbols::read_symbols(file);
    if (symbols) return std::move(*symbols);
    // Not the command line is at fault, but what is in the file.
    if (symbols.error().kind == sys::ErrorKind::invalid) symbols.error().kind = sys::ErrorKind::failed;
    return std::unexpected(symbols.error());
}

/// A text of /proc/kallsyms seldom tells where the kernel's banner is; the image that is booted does. That
/// image also tells symbols that are not its own.
sys::Result<void> compare_with_image(const Context& context, const symbols::Symbols& symbols,
                                     GuestSettings& settings) {
    const std::string image = guest::option_of(context.arguments, "kernel");
    if (image.empty() || !context.has("symbols")) return {};
    const auto booted = symbols::read_symbols(image);
    if (!booted) return {}; // a boot loader, or a kernel without names
    for (const std::string_view name : {"panic", "kfree"})
        if (!booted->find(name).empty() && !std::ranges::equal(booted->find(name), symbols.find(name)))
            return sys::failure(
                sys::ErrorKind::failed,
                fmt::format("{} is not of the kernel in {}: {}() is elsewhere", symbols.source(), image,
                            name),
                "a text of /proc/kallsyms must be of a boot with \"nokaslr\"; without --symbols "
                "the image's own are used");
    if (settings.kernel->places.banner != 0 || !booted->banner() || !booted->banner()->address) return {};
    settings.kernel->banner = booted->banner();
    settings.kernel->places.banner = *booted->banner()->address;
    return {};
}

/// Whether the kernel's command line says that it is not to be moved.
bool says_nokaslr(const Context& context) {
    const std::string line = " " + guest::option_of(context.arguments, "append") + " ";
    return line.contains(" nokaslr ");
}

/// Where the kernel will be. One that may be anywhere, and that nothing is known to recognise by, cannot be
/// held.
sys::Result<void> place(const Context& context, GuestSettings& settings) {
    guest::Places& places = settings.kernel->places;
    if (const auto text = context.option("slide")) {
        std::uint64_t distance = 0;
        const std::string_view digits = text->starts_with("0x") ? std::string_view(*text).substr(2) : *text;
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), distance, 16);
        if (error != std::errc() || end != digits.data() + digits.size())
            return sys::failure(sys::ErrorKind::invalid, fmt::format("\"{}\" is no distance", *text),
                                "--slide takes a hexadecimal number: 0, 0x1c200000");
        places = places.moved(distance);
        places.fixed = true;
    }
    if (says_nokaslr(context)) places.fixed = true;
    if (places.fixed || places.banner != 0 || settings.architecture->slide_step == 0) return {};
    return sys::failure(
        sys::ErrorKind::failed,
        "the symbols do not say where the kernel's banner is, so that a kernel which moves itself "
        "at boot cannot be found",
        "give a System.map, a vmlinux or the kernel's image, boot with \"nokaslr\", or say "
        "--slide 0 if it does not move");
}

/// Only the content of `file` will do for the module that it is.
sys::Result<void> pin_framework(const std::string& file, core::PolicySource& policy) {
    const auto image = modules::identify_file(file, {.image = {.with_hash = true}});
    if (!image) return std::unexpected(image.error());
    const core::ImageFacts& facts = image->identity.facts;
    if (!facts.problem.empty() || !facts.sha256)
        return sys::failure(sys::ErrorKind::failed, fmt::format("{} is no module: {}", file, facts.problem));
    policy.files.emplace_back("--framework");
    const core::Origin origin{.file = static_cast<std::uint32_t>(policy.files.size() - 1), .line = 0};
    policy.allow_modules.push_back({facts.name, origin});
    policy.pins.push_back({facts.name, *facts.sha256, origin});
    return {};
}

} // namespace

sys::Result<GuestSettings> guest_settings(const Context& context) {
    const auto architecture = chosen_architecture(context);
    if (!architecture) return std::unexpected(architecture.error());
    const auto interception = chosen_interception(context);
    if (!interception) return std::unexpected(interception.error());
    GuestSettings settings{.architecture = *architecture, .kernel = std::nullopt};
    const auto symbols = chosen_symbols(context);
    if (!symbols) return std::unexpected(symbols.error());
    if (!*symbols) return settings;
    auto places = guest::find_places(**symbols, **architecture, *interception);
    if (!places) {
        places.error().kind = sys::ErrorKind::failed;
        return std::unexpected(places.error());
    }
    settings.kernel = guest::KnownKernel{.places = std::move(*places), .banner = (*symbols)->banner()};
    if (auto same = compare_with_image(context, **symbols, settings); !same)
        return std::unexpected(same.error());
    if (const auto placed = place(context, settings); !placed) return std::unexpected(placed.error());
    return settings;
}

sys::Result<guest::KnownKernel> kernel_in_memory(const Context& context, gdb::Client& debugger,
                                                 const guest::Architecture& architecture) {
    const auto interception = chosen_interception(context);
    if (!interception) return std::unexpected(interception.error());
    const auto symbols = guest::symbols_in_memory(debugger);
    if (!symbols) return std::unexpected(symbols.error());
    auto places = guest::find_places(*symbols, architecture, *interception);
    if (!places) return std::unexpected(places.error());
    places->of_this_boot = true;
    return guest::KnownKernel{.places = std::move(*places), .banner = symbols->banner()};
}

sys::Result<core::PolicySource> guest_policy(const Context& context) {
    core::PolicySource policy;
    if (context.has("policy")) {
        auto loaded = read_policy(context);
        if (!loaded) return std::unexpected(config::to_error(loaded.error()));
        policy = std::move(loaded->source);
        for (const config::Diagnostic& warning : loaded->warnings)
            if (!context.has("quiet") && !policy.quiet)
                context.warn(fmt::format("{}:{}: {}", warning.file, warning.line, warning.message));
    } else {
        policy.answer = core::Answer::pretend;
        if (!context.has("framework"))
            policy.allow_modules.push_back({std::string(config::framework_module), {}});
        policy.files.emplace_back("the default policy");
    }
    if (const auto file = context.option("framework"))
        if (auto pinned = pin_framework(*file, policy); !pinned) return std::unexpected(pinned.error());
    return policy;
}

sys::Result<std::unique_ptr<core::Judge>> make_guest_judge(const Context& context,
                                                           core::PolicySource policy) {
    const auto answer = chosen_answer(context);
    if (!answer) return std::unexpected(answer.error());
    std::unique_ptr<core::ModuleIndex> index;
    if (context.has("kernel")) {
        auto opened = modules::KmodIndex::open(context.paths, chosen_kernel(context));
        if (!opened) return std::unexpected(opened.error());
        index = std::move(*opened);
    }
    return std::make_unique<core::Judge>(core::Policy(std::move(policy)), std::move(index), *answer);
}

} // namespace kmodguard::ctl
