// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/process/lender.hpp"

#include "core/names.hpp"
#include "modules/decompress.hpp"
#include "modules/image.hpp"
#include "sys/file.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

namespace kmodguard::process {
namespace {

std::unexpected<Refusal> withhold(int error, std::string why) {
    return std::unexpected(Refusal{.error = error, .why = std::move(why)});
}

/// A regular file of this machine, which the caller of the supervised call had no part in choosing.
Taken<OpenFile> open_own(const std::string& path) {
    auto file = sys::open_regular_file(path);
    if (!file) return withhold(EPERM, file.error().what);
    struct stat status{};
    if (::fstat(file->get(), &status) != 0) return withhold(errno, "cannot inspect " + path);
    return OpenFile{
        .file = std::move(*file), .size = static_cast<std::uint64_t>(status.st_size), .path = path};
}

} // namespace

Taken<void> may_lend() {
    return Caller(::gettid()).may_load("kmodctl");
}

Taken<void> Lender::serves(const Caller& caller) const {
    auto own = caller.may_load();
    if (own || !caller.has_capability()) return own;
    const auto name_space = TRY(caller.user_namespace());
    if (name_space.id == initial_user_namespace) return own;
    if (!dependencies_.judge.policy().serves_user_namespaces())
        return withhold(EPERM, own.error().why + ", or have the policy serve it (allow.user_namespaces)");
    if (only_ && *only_ != name_space.id)
        return withhold(EPERM,
                        "the caller's user namespace is not that of the container, and no other is served");
    if (name_space.owner != 0)
        return withhold(EPERM,
                        fmt::format("the caller's user namespace was made by user {}, and only those that "
                                    "root made are served",
                                    name_space.owner));
    return may_lend();
}

/// This machine's own image of a module.
struct Lender::OwnImage {
    std::unique_ptr<MemoryBudget::Share> share; ///< outlives the bytes
    modules::Buffer bytes;                      ///< uncompressed
    core::ImageFacts facts;
};

/// What is not loaded yet, the module itself last.
Taken<std::vector<core::ModuleRecord>> Lender::to_load(const std::string& module) const {
    std::vector<core::ModuleRecord> records = dependencies_.judge.needed_for(module);
    if (records.back().built_in) return withhold(EEXIST, module + " is built into the kernel");
    if (dependencies_.kernel.is_loaded(module)) return withhold(EEXIST, module + " is loaded already");
    std::erase_if(records, [&](const auto& record) {
        return record.built_in || dependencies_.kernel.is_loaded(record.name);
    });
    for (const core::ModuleRecord& record : records) {
        if (record.path.empty())
            return withhold(EPERM, fmt::format("this machine has no file of {}", record.name));
        if (record.install_command)
            return withhold(
                EPERM, fmt::format("modprobe.d has a command run in the place of loading {}, and none is "
                                   "run for a user namespace",
                                   record.name));
    }
    return records;
}

Taken<Lender::OwnImage> Lender::read(const core::ModuleRecord& record) {
    const auto file = TRY(open_own(record.path));
    OwnImage image{.share = dependencies_.memory.take(std::min(file.size, dependencies_.limit)),
                   .bytes = modules::Buffer(0),
                   .facts = {}};
    auto bytes = Caller::copy_file(file, dependencies_.limit);
    if (!bytes) return withhold(bytes.error().error, record.path + ": " + bytes.error().why);
    image.bytes = std::move(*bytes);
    modules::MemorySource source(image.bytes.all());
    if (const auto container = modules::container_of(source);
        container && *container != modules::Container::raw) {
        const std::scoped_lock lock(dependencies_.decompressing);
        const auto content = modules::decompress(source, dependencies_.limit);
        if (!content) return withhold(EPERM, record.path + ": " + content.error().what);
        // Who waited here would keep the others from decompressing, and they may hold the memory.
        auto share = dependencies_.memory.take_at_once(content->size());
        if (!share) return withhold(ENOMEM, "too many images are in memory to decompress " + record.path);
        image.bytes = modules::Buffer(content->size());
        std::ranges::copy(*content, image.bytes.data());
        image.share = std::move(share);
    }
    image.facts = modules::identify_image(image.bytes.all(), {.with_hash = true, .with_aliases = true}).facts;
    return image;
}

Lender::Attempt Lender::attempt(const core::ModuleRecord& record, const std::function<bool()>& goes_on) {
    const auto not_asked = [&](const core::ImageFacts& facts, int error, std::string why) {
        return Attempt{.module = record.name,
                       .file = record.path,
                       .decision = dependencies_.judge.decide(facts),
                       .sha256 = facts.sha256,
                       .error = error,
                       .why = std::move(why)};
    };
    auto image = read(record);
    if (!image) {
        const core::ImageFacts facts{.problem = image.error().why, .name = {}, .modinfo_name = {}};
        return not_asked(facts, image.error().error, image.error().why);
    }
    core::ImageFacts facts = std::move(image->facts);
    if (facts.problem.empty() && core::fold(facts.name) != record.name)
        facts.problem = fmt::format("the image calls itself {}", core::printable(facts.name));
    Attempt tried = not_asked(facts, EPERM, "");
    // As judged, and not as audit mode has it: that lets pass what would load without a guard, and this would
    // not.
    if (tried.decision.judged != core::Verdict::allow)
        tried.why = fmt::format("{}: {}", record.path, explain(tried.decision));
    else if (!goes_on()) {
        tried.error = EINTR;
        tried.why = "the caller was gone before its module was loaded";
    } else
        tried.error = dependencies_.kernel.load_file(std::move(image->bytes), record.options, 0);
    return tried;
}

Taken<std::vector<Lender::Attempt>> Lender::load(const std::string& module,
                                                 const std::function<bool()>& goes_on) {
    const auto records = TRY(to_load(module));
    std::vector<Attempt> attempts;
    for (const core::ModuleRecord& record : records) {
        attempts.push_back(attempt(record, goes_on));
        const bool is_there = attempts.back().error == EEXIST && record.name != module; // by another's doing
        if (attempts.back().error != 0 && !is_there) break;
    }
    return attempts;
}

} // namespace kmodguard::process
