// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/guest_settings.hpp"

#include "config/yaml_schema.hpp"
#include "ctl/local_decision.hpp"
#include "ctl/supervision.hpp"
#include "enforce/guest/emulator.hpp"
#include "enforce/guest/memory_symbols.hpp"
#include "gdb/remote_packet.hpp"
#include "modules/image_file.hpp"

#include <fmt/format.h>

#include <algorithm>

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
    if (settings.kernel->addresses.banner != 0 || !booted->banner() || !booted->banner()->address) return {};
    settings.kernel->banner = booted->banner();
    settings.kernel->addresses.banner = *booted->banner()->address;
    return {};
}

/// Whether the kernel's command line says that it is not to be moved.
bool says_nokaslr(const Context& context) {
    const std::string line = " " + guest::option_of(context.arguments, "append") + " ";
    return line.contains(" nokaslr ");
}

/// Where the kernel will be. One that may be anywhere, and that nothing is known to recognise by, cannot be
/// guarded.
sys::Result<void> settle_offset(const Context& context, GuestSettings& settings) {
    guest::KernelAddresses& addresses = settings.kernel->addresses;
    if (const auto text = context.option("slide")) {
        const auto offset =
            gdb::parse_hex(text->starts_with("0x") ? std::string_view(*text).substr(2) : *text);
        if (!offset)
            return sys::failure(sys::ErrorKind::invalid, fmt::format("\"{}\" is no distance", *text),
                                "--slide takes a hexadecimal number: 0, 0x1c200000");
        addresses = addresses.moved(*offset);
        addresses.fixed = true;
    }
    if (says_nokaslr(context)) addresses.fixed = true;
    if (addresses.fixed || addresses.banner != 0 || settings.architecture->kaslr_step == 0) return {};
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
    const auto architecture = TRY(chosen_architecture(context));
    const auto interception = TRY(chosen_interception(context));
    GuestSettings settings{.architecture = architecture, .kernel = std::nullopt};
    const auto symbols = TRY(chosen_symbols(context));
    if (!symbols) return settings;
    auto addresses = guest::find_addresses(*symbols, *architecture, interception);
    if (!addresses) {
        addresses.error().kind = sys::ErrorKind::failed;
        return std::unexpected(addresses.error());
    }
    settings.kernel = guest::KnownKernel{.addresses = std::move(*addresses), .banner = symbols->banner()};
    TRY(compare_with_image(context, *symbols, settings));
    TRY(settle_offset(context, settings));
    return settings;
}

sys::Result<guest::KnownKernel> kernel_in_memory(const Context& context, gdb::Client& debugger,
                                                 const guest::Architecture& architecture) {
    const auto interception = TRY(chosen_interception(context));
    const auto symbols = TRY(guest::symbols_in_memory(debugger));
    auto addresses = TRY(guest::find_addresses(symbols, architecture, interception));
    addresses.of_this_boot = true;
    return guest::KnownKernel{.addresses = std::move(addresses), .banner = symbols.banner()};
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
    if (const auto file = context.option("framework")) TRY(pin_framework(*file, policy));
    return policy;
}

sys::Result<std::unique_ptr<core::Judge>> make_guest_judge(const Context& context,
                                                           core::PolicySource policy) {
    const auto answer = TRY(chosen_answer(context));
    std::unique_ptr<core::ModuleIndex> index;
    if (context.has("kernel")) {
        auto opened = TRY(modules::KmodIndex::open(context.paths, chosen_kernel(context)));
        index = std::move(opened);
    }
    return std::make_unique<core::Judge>(core::Policy(std::move(policy)), std::move(index), answer);
}

} // namespace kmodguard::ctl
