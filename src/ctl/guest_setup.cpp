// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/guest_setup.hpp"

#include "config/yaml_schema.hpp"
#include "ctl/decide.hpp"
#include "enforce/guest/emulator.hpp"
#include "enforce/guest/memory_symbols.hpp"
#include "modules/image.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace kmodguard::ctl {
namespace {

sys::Result<const guest::Architecture*> chosen_architecture(const GuestOptions& options) {
    const std::string name = options.architecture      ? *options.architecture
                             : options.command.empty() ? ""
                                                       : options.command.front();
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

/// Of --symbols, or of the image that the emulator boots; nullopt: neither is there.
sys::Result<std::optional<symbols::Symbols>> chosen_symbols(const GuestOptions& options) {
    const std::string file = options.symbols.value_or(guest::option_of(options.command, "kernel"));
    if (file.empty()) return std::nullopt;
    auto symbols = symbols::read_symbols(file);
    if (symbols) return std::move(*symbols);
    // Not the command line is at fault, but what is in the file.
    if (symbols.error().kind == sys::ErrorKind::invalid) symbols.error().kind = sys::ErrorKind::failed;
    return std::unexpected(symbols.error());
}

/// A text of /proc/kallsyms seldom has the address where the kernel's banner is; the image that is booted
/// does. That image also shows whether the symbols are its own.
sys::Result<void> compare_with_image(const GuestOptions& options, const symbols::Symbols& symbols,
                                     GuestSetup& setup) {
    const std::string image = guest::option_of(options.command, "kernel");
    if (image.empty() || !options.symbols) return {};
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
    if (setup.kernel->addresses.banner != 0 || !booted->banner() || !booted->banner()->address) return {};
    setup.kernel->banner = booted->banner();
    setup.kernel->addresses.banner = *booted->banner()->address;
    return {};
}

/// Whether the kernel's command line says that it is not to be moved.
bool has_nokaslr(const GuestOptions& options) {
    const std::string line = " " + guest::option_of(options.command, "append") + " ";
    return line.contains(" nokaslr ");
}

/// Where the kernel will be. One that may be anywhere, and that nothing is known to recognise by, cannot be
/// guarded.
sys::Result<void> settle_offset(const GuestOptions& options, GuestSetup& setup) {
    guest::KernelAddresses& addresses = setup.kernel->addresses;
    if (options.kaslr_offset) {
        addresses = addresses.moved(*options.kaslr_offset);
        addresses.fixed = true;
    }
    if (has_nokaslr(options)) addresses.fixed = true;
    if (addresses.fixed || addresses.banner != 0 || setup.architecture->kaslr_step == 0) return {};
    return sys::failure(
        sys::ErrorKind::failed,
        "the symbols do not show where the kernel's banner is, so that a kernel which moves itself "
        "at boot cannot be found",
        "give a System.map, a vmlinux or the kernel's image, boot with \"nokaslr\", or give "
        "--slide 0 if it does not move");
}

/// Only the content of `file` will do for the module that it is.
sys::Result<void> pin_framework(const std::string& file, core::PolicySource& policy) {
    const auto image = TRY(modules::identify_file(file, {.image = {.with_hash = true}}));
    const core::ImageFacts& facts = image.identity.facts;
    if (!facts.problem.empty() || !facts.sha256)
        return sys::failure(sys::ErrorKind::failed, fmt::format("{} is no module: {}", file, facts.problem));
    policy.files.emplace_back("--framework");
    const core::Origin origin{.file = static_cast<std::uint32_t>(policy.files.size() - 1), .line = 0};
    policy.allow_modules.push_back({facts.name, origin});
    policy.pins.push_back({facts.name, *facts.sha256, origin});
    return {};
}

} // namespace

sys::Result<GuestSetup> guest_setup(const GuestOptions& options) {
    GuestSetup setup{.architecture = TRY(chosen_architecture(options)), .kernel = std::nullopt};
    const auto symbols = TRY(chosen_symbols(options));
    if (!symbols) return setup;
    auto addresses = guest::find_addresses(*symbols, *setup.architecture, options.interception);
    if (!addresses) {
        addresses.error().kind = sys::ErrorKind::failed;
        return std::unexpected(addresses.error());
    }
    setup.kernel = guest::KnownKernel{.addresses = std::move(*addresses), .banner = symbols->banner()};
    TRY(compare_with_image(options, *symbols, setup));
    TRY(settle_offset(options, setup));
    return setup;
}

sys::Result<guest::KnownKernel> kernel_in_memory(guest::Interception interception, gdb::Client& debugger,
                                                 const guest::Architecture& architecture) {
    const auto symbols = TRY(guest::symbols_in_memory(debugger));
    auto addresses = TRY(guest::find_addresses(symbols, architecture, interception));
    addresses.of_this_boot = true;
    return guest::KnownKernel{.addresses = std::move(addresses), .banner = symbols.banner()};
}

sys::Result<core::PolicySource> guest_policy(const Context& context, const GuestOptions& options) {
    core::PolicySource policy;
    if (options.policy) {
        auto loaded = TRY(read_policy(context.paths, options.policy));
        policy = std::move(loaded.source);
        for (const config::Diagnostic& warning : loaded.warnings)
            if (!options.quiet && !policy.quiet)
                context.warn(fmt::format("{}:{}: {}", warning.file, warning.line, warning.message));
    } else {
        policy.answer = core::CallerAnswer::pretend;
        if (!options.framework) policy.allow_modules.push_back({std::string(config::framework_module), {}});
        policy.files.emplace_back("the default policy");
    }
    if (options.framework) TRY(pin_framework(*options.framework, policy));
    return policy;
}

sys::Result<std::unique_ptr<core::Judge>>
make_guest_judge(const sys::Paths& paths, const GuestOptions& options, core::PolicySource policy) {
    std::unique_ptr<core::ModuleIndex> index;
    if (options.kernel) index = TRY(modules::KmodIndex::open(paths, options.kernel->name));
    return std::make_unique<core::Judge>(core::Policy(std::move(policy)), std::move(index), options.answer);
}

} // namespace kmodguard::ctl
