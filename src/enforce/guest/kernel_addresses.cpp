// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/guest/kernel_addresses.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>

namespace kmodguard::guest {
namespace {

constexpr std::array calls = {Call::init_module, Call::finit_module, Call::delete_module};

/// 0 for a name that is not there, and for one that does not say which.
std::uint64_t the_one(const symbols::Symbols& symbols, std::string_view name) {
    const auto found = symbols.find(name);
    return found.size() == 1 ? found.front() : 0;
}

/// The entries of a function that may have been compiled under another name. Empty if it was taken apart: its
/// callers may have its beginning in them, and call the rest.
std::vector<std::uint64_t> entries(const symbols::Symbols& symbols, std::string_view stem) {
    std::vector<std::uint64_t> addresses;
    for (const symbols::Symbol& symbol : symbols.with_stem(stem)) {
        if (symbol.name.contains(".part")) return {};
        if (!symbol.name.contains(".cold")) addresses.push_back(symbol.address);
    }
    return addresses;
}

Functions functions_of(const symbols::Symbols& symbols, const Architecture& architecture) {
    Functions found{.return_trampoline = the_one(symbols, "panic"),
                    .copy = the_one(symbols, "memcpy"),
                    .get_file = the_one(symbols, "fget"),
                    .put_file = the_one(symbols, "fput"),
                    .file_path = the_one(symbols, "file_path"),
                    .duplicate_text = the_one(symbols, "strndup_user"),
                    .duplicate_memory = the_one(symbols, "memdup_user"),
                    .free = the_one(symbols, "kfree")};
    for (const CallConvention& convention : architecture.system_calls)
        if (found.process_id == 0)
            found.process_id = the_one(symbols, std::string(convention.prefix).append("getpid"));
    return found;
}

/// How far it is from `address` to the next symbol, bytes: no function there is longer.
std::uint64_t room_after(const symbols::Symbols& symbols, std::uint64_t address) {
    std::uint64_t room = ~std::uint64_t{0};
    for (std::size_t i = 0; i < symbols.count(); ++i) {
        const std::uint64_t other = symbols.at(i).address;
        if (other > address) room = std::min(room, other - address);
    }
    return room;
}

/// Where both wrappers of a system call lead to, if each is too short to have the call's body in it; nullopt
/// if one is not, or the compiler made more than one function of the body.
std::optional<SystemCall> shared_function(const symbols::Symbols& symbols, Call call,
                                          std::span<const CallConvention> conventions) {
    constexpr std::uint64_t longest_wrapper = 32; // bytes: three loads and a jump
    const std::string_view prefix = conventions.front().shared;
    if (prefix.empty()) return std::nullopt;
    const std::string name = std::string(prefix).append(to_string(call));
    const auto bodies = entries(symbols, name);
    const auto body = the_one(symbols, name);
    if (body == 0 || bodies.size() != 1) return std::nullopt;
    bool has_wrapper = false;
    for (const CallConvention& convention : conventions) {
        const auto wrappers = symbols.find(std::string(convention.prefix).append(to_string(call)));
        if (convention.shared.empty() ? !wrappers.empty() : wrappers.size() > 1) return std::nullopt;
        for (const auto wrapper : wrappers)
            if (room_after(symbols, wrapper) > longest_wrapper) return std::nullopt;
        has_wrapper = has_wrapper || !wrappers.empty();
    }
    if (!has_wrapper) return std::nullopt;
    return SystemCall{.call = call, .address = body, .convention = {.prefix = prefix}};
}

void add_calls(const symbols::Symbols& symbols, const Architecture& architecture,
               std::vector<SystemCall>& found) {
    for (const Call call : calls) {
        if (const auto shared = shared_function(symbols, call, architecture.system_calls)) {
            found.push_back(*shared);
            continue;
        }
        for (const CallConvention& convention : architecture.system_calls) {
            for (const auto address : symbols.find(std::string(convention.prefix).append(to_string(call)))) {
                const auto at = address + architecture.entry;
                if (std::ranges::find(found, at, &SystemCall::address) == found.end())
                    found.push_back({.call = call, .address = at, .convention = convention});
            }
        }
    }
}

bool has(const std::vector<SystemCall>& found, Call call) {
    return std::ranges::find(found, call, &SystemCall::call) != found.end();
}

/// What every end of a boot leads through.
std::vector<std::uint64_t> restarts_of(const symbols::Symbols& symbols) {
    std::vector<std::uint64_t> found;
    // On a PC both ways to restart end here. It is called by its address alone, so it was not taken apart.
    const auto last = the_one(symbols, "native_machine_emergency_restart");
    const auto add = [&](std::string_view name) {
        if (const auto address = the_one(symbols, name); address != 0) found.push_back(address);
    };
    if (last != 0)
        found.push_back(last);
    else
        for (const std::string_view name : {"machine_restart", "machine_emergency_restart"})
            add(name);
    add("machine_kexec");
    return found;
}

/// Where the kernel's code is; if the symbols do not tell, it is around `inside`.
std::pair<std::uint64_t, std::uint64_t> text_of(const symbols::Symbols& symbols, std::uint64_t inside) {
    const auto begin = the_one(symbols, "_stext");
    const auto end = the_one(symbols, "_etext");
    constexpr std::uint64_t around = 16ULL << 20U;
    if (begin == 0 || end <= begin) return {inside - around, inside + around};
    return {begin, end};
}

} // namespace

KernelAddresses KernelAddresses::moved(std::uint64_t offset) const {
    KernelAddresses result = *this;
    const auto move = [offset](std::uint64_t& address) {
        if (address != 0) address += offset;
    };
    Functions& called = result.functions;
    for (std::uint64_t* address :
         {&called.return_trampoline, &called.copy, &called.get_file, &called.put_file, &called.file_path,
          &called.duplicate_text, &called.duplicate_memory, &called.free, &called.process_id,
          &result.text_begin, &result.text_end, &result.banner, &result.modules, &result.start})
        move(*address);
    std::ranges::for_each(result.load_module, move);
    std::ranges::for_each(result.restarts, move);
    std::ranges::for_each(result.calls, move, &SystemCall::address);
    return result;
}

sys::Result<KernelAddresses> find_addresses(const symbols::Symbols& symbols, const Architecture& architecture,
                                            Interception interception) {
    const auto unusable = [&symbols](std::string_view why, std::string hint) {
        return sys::failure(sys::ErrorKind::invalid, fmt::format("{} {}", symbols.source(), why),
                            std::move(hint));
    };
    KernelAddresses addresses;
    addresses.functions = functions_of(symbols, architecture);
    add_calls(symbols, architecture, addresses.calls);
    const bool has_finit_module = has(addresses.calls, Call::finit_module);
    if (!has(addresses.calls, Call::init_module) && !has_finit_module)
        return unusable(fmt::format("names no system call that loads modules, on {}", architecture.name),
                        "are these the symbols of the guest's kernel, and is it built to load modules?");
    if (addresses.functions.return_trampoline == 0)
        return unusable("does not name panic()", "the symbols are not complete");

    auto load_module = entries(symbols, "load_module");
    if (interception == Interception::load_module && load_module.empty())
        return unusable("does not name load_module()",
                        "decide at the system call instead: --intercept system-call");
    // Before Linux 3.8, which brought finit_module, load_module() made the copy itself.
    if (interception == Interception::load_module
        || (interception == Interception::automatic && has_finit_module))
        addresses.load_module = std::move(load_module);

    addresses.banner = the_one(symbols, "linux_banner");
    if (addresses.banner == 0 && symbols.banner()) addresses.banner = symbols.banner()->address.value_or(0);
    addresses.start = the_one(symbols, "start_kernel");
    addresses.restarts = restarts_of(symbols);
    const auto to_entry = [&](std::uint64_t& address) { address += architecture.entry; };
    std::ranges::for_each(addresses.load_module, to_entry);
    std::ranges::for_each(addresses.restarts, to_entry);
    if (addresses.start != 0) to_entry(addresses.start);
    addresses.modules = the_one(symbols, "modules");
    std::tie(addresses.text_begin, addresses.text_end) =
        text_of(symbols, addresses.functions.return_trampoline);
    return addresses;
}

} // namespace kmodguard::guest
