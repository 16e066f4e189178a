// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/guest/kernel_addresses.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>

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

std::uint64_t system_call(const symbols::Symbols& symbols, const Architecture& architecture,
                          std::string_view name) {
    for (const CallConvention& convention : architecture.system_calls)
        if (const auto address = the_one(symbols, std::string(convention.prefix).append(name)); address != 0)
            return address;
    return 0;
}

Functions functions_of(const symbols::Symbols& symbols, const Architecture& architecture) {
    return {.return_trampoline = the_one(symbols, "panic"),
            .copy = the_one(symbols, "memcpy"),
            .get_file = the_one(symbols, "fget"),
            .put_file = the_one(symbols, "fput"),
            .file_path = the_one(symbols, "file_path"),
            .duplicate_text = the_one(symbols, "strndup_user"),
            .duplicate_memory = the_one(symbols, "memdup_user"),
            .free = the_one(symbols, "kfree"),
            .process_id = system_call(symbols, architecture, "getpid")};
}

void add_calls(const symbols::Symbols& symbols, const Architecture& architecture,
               std::vector<SystemCall>& found) {
    for (const Call call : calls) {
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

} // namespace

KernelAddresses KernelAddresses::moved(std::uint64_t offset) const {
    KernelAddresses result = *this;
    const auto move = [offset](std::uint64_t& address) {
        if (address != 0) address += offset;
    };
    Functions& moved_functions = result.functions;
    for (std::uint64_t* address :
         {&moved_functions.return_trampoline, &moved_functions.copy, &moved_functions.get_file,
          &moved_functions.put_file, &moved_functions.file_path, &moved_functions.duplicate_text,
          &moved_functions.duplicate_memory, &moved_functions.free, &moved_functions.process_id,
          &result.text_begin, &result.text_end, &result.banner, &result.modules, &result.start})
        move(*address);
    for (std::uint64_t& address : result.load_module)
        move(address);
    for (std::uint64_t& address : result.restarts)
        move(address);
    for (SystemCall& call : result.calls)
        move(call.address);
    return result;
}

sys::Result<KernelAddresses> find_addresses(const symbols::Symbols& symbols, const Architecture& architecture,
                                            Interception interception) {
    KernelAddresses addresses;
    addresses.functions = functions_of(symbols, architecture);
    add_calls(symbols, architecture, addresses.calls);
    if (!has(addresses.calls, Call::init_module) && !has(addresses.calls, Call::finit_module))
        return sys::failure(sys::ErrorKind::invalid,
                            fmt::format("{} names no system call that loads modules, on {}", symbols.source(),
                                        architecture.name),
                            "are these the symbols of the guest's kernel, and is it built to load modules?");
    if (addresses.functions.return_trampoline == 0)
        return sys::failure(sys::ErrorKind::invalid,
                            fmt::format("{} does not name panic()", symbols.source()),
                            "the symbols are not complete");

    // Before Linux 3.8, which brought finit_module, load_module() made the copy itself.
    const bool whole = has(addresses.calls, Call::finit_module);
    auto found = entries(symbols, "load_module");
    if (interception == Interception::load_module && found.empty())
        return sys::failure(sys::ErrorKind::invalid,
                            fmt::format("{} does not name load_module()", symbols.source()),
                            "decide at the system call instead: --intercept system-call");
    if (interception == Interception::load_module || (interception == Interception::automatic && whole))
        for (const std::uint64_t address : found)
            addresses.load_module.push_back(address + architecture.entry);

    addresses.banner = the_one(symbols, "linux_banner");
    if (addresses.banner == 0 && symbols.banner()) addresses.banner = symbols.banner()->address.value_or(0);
    const auto add_entry = [&](std::uint64_t address) {
        return address == 0 ? 0 : address + architecture.entry;
    };
    addresses.start = add_entry(the_one(symbols, "start_kernel"));
    for (const std::string_view name : {"machine_restart", "machine_emergency_restart", "machine_kexec"})
        if (const auto address = the_one(symbols, name); address != 0)
            addresses.restarts.push_back(add_entry(address));
    addresses.modules = the_one(symbols, "modules");
    addresses.text_begin = the_one(symbols, "_stext");
    addresses.text_end = the_one(symbols, "_etext");
    if (addresses.text_begin == 0 || addresses.text_end <= addresses.text_begin) {
        constexpr std::uint64_t around = 16ULL << 20U;
        addresses.text_begin = addresses.functions.return_trampoline - around;
        addresses.text_end = addresses.functions.return_trampoline + around;
    }
    return addresses;
}

} // namespace kmodguard::guest
