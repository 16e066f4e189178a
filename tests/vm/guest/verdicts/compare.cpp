// SPDX-License-Identifier: AGPL-3.0-only
#include "verdicts/compare.hpp"

#include "core/names.hpp"
#include "enforce/kernel/pins.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <initializer_list>

namespace kmodguard::verdicts {
namespace {

constexpr std::size_t longest_dump = 4096;
constexpr std::uint64_t most_shown = 10; ///< disagreements that are told in full

/// Kernels that unpack by themselves are answered that they do not, so that modprobe does and shows the
/// content.
bool may_be_compressed(const test::Bytes& image) {
    const auto begins = [&image](std::initializer_list<unsigned char> magic) {
        return image.size() >= magic.size() && std::memcmp(image.data(), std::data(magic), magic.size()) == 0;
    };
    return begins({0x1f, 0x8b}) || begins({0xfd, '7', 'z'}) || begins({0x28, 0xb5, 0x2f, 0xfd});
}

/// What decide() is told of an image that this kernel is to judge: it reads its own kind of ELF only.
core::ImageFacts facts_here(const modules::ImageIdentity& identity) {
    core::ImageFacts facts = identity.facts;
    const bool foreign = !identity.format.is_64_bit || identity.format.order != std::endian::native;
    if (facts.problem.empty() && foreign) facts.problem = "of another machine";
    return facts;
}

/// One image in one way.
struct Load {
    const Image& image;
    core::ImageFacts facts;
    core::Decision decision;
    bool is_pinned;
    guard_call call;
    int answer = 0; ///< an errno

    [[nodiscard]] bool is_refused() const {
        return decision.judged == core::Verdict::refuse && decision.mode == core::Mode::enforce;
    }
    /// init_module(2) turns what cannot be an ELF header down before it asks.
    [[nodiscard]] bool is_asked_about() const {
        return call == GUARD_FINIT_MODULE || image.bytes.size() >= sizeof(Elf64_Ehdr);
    }
};

/// What is wrong with the answer, or "".
std::string wrong_answer(const Load& load, bool kernel_decompresses) {
    const bool unpacked =
        kernel_decompresses && load.call == GUARD_FINIT_MODULE && may_be_compressed(load.image.bytes);
    const bool refused = load.answer == EPERM || (unpacked && load.answer == ENOSYS);
    if (load.answer == 0) return "it was loaded";
    if (!load.is_asked_about()) return load.answer == ENOEXEC ? "" : "the guard was not to be asked";
    if (load.decision.reason == core::Reason::not_a_module) {
        // Where a kernel shows what it has unpacked, or the bytes are too few, it is known to be none.
        const bool as_packed = unpacked && load.is_refused() && refused;
        return load.answer == ENOEXEC || as_packed ? ""
                                                   : "what is no module was not answered as the kernel does";
    }
    if (refused && !load.is_refused()) return "it was refused";
    if (!refused && load.is_refused()) return "it was not refused";
    return "";
}

/// It may be packed, and the kernel be asked to unpack it, which decide() was not told.
bool taken_for_packed(const Load& load, const guard_record& record) {
    return load.decision.reason == core::Reason::not_a_module && record.reason == GUARD_UNKNOWN_CONTENT;
}

/// Of what is refused for two reasons the kernel's programs find the cheaper one first.
bool reasons_may_differ(const Load& load, const guard_record& record) {
    if (taken_for_packed(load, record)) return true;
    // A name longer than any module's is not read to its end, so it cannot be said what it contradicts.
    if (load.facts.modinfo_name.size() > core::max_module_name) return true;
    // What no rule admits is not hashed, so it is not known whether a pin, too, refuses it.
    return load.is_pinned && record.reason == GUARD_NOT_LISTED;
}

/// What is wrong with the record, or "". `event` is what the daemon makes of it.
std::string wrong_record(const Load& load, const guard_record& record, const events::Attempt& event) {
    const bool judged_fit = record.reason == GUARD_ADMITTED;
    if (judged_fit != (load.decision.judged == core::Verdict::allow))
        return "the verdict on record is another";
    if ((record.refused != 0) != load.is_refused()) return "what is on record is another outcome";
    if (record.call != load.call) return "another call is on record";
    if (record.size != load.image.bytes.size()) return "another size is on record";
    if (judged_fit && kernel::text_of(record.name.text) != load.facts.name)
        return "another name is on record";
    if (record.hashed != 0 && !std::ranges::equal(record.sha256, *load.facts.sha256))
        return "the hash is wrong";
    if (event.decision.judged != load.decision.judged) return "the event has another verdict";
    if (event.decision.audited() != load.decision.audited() && !taken_for_packed(load, record))
        return "the event has another outcome";
    if (reasons_may_differ(load, record)) return "";
    if (event.decision.reason != load.decision.reason || event.decision.rule != load.decision.rule)
        return fmt::format("the event has another reason: {}", core::explain(event.decision));
    return "";
}

std::string hex_of(const test::Bytes& image) {
    std::string hex;
    for (std::size_t i = 0; i < image.size() && i < longest_dump; ++i)
        hex += fmt::format("{:02x}", std::to_integer<unsigned>(image[i]));
    return hex;
}

class Comparison {
  public:
    Comparison(GuardedMachine& machine, std::uint64_t seed, std::uint64_t generation, Totals& totals)
        : machine_(machine), seed_(seed), generation_(generation), totals_(totals),
          world_(random_world(seed)), policy_(world_.policy), admissions_(policy_, world_.index) {}

    void run() {
        publish(machine_.guard(), or_give_up(kernel::compile(policy_, admissions_, generation_)));
        static_cast<void>(machine_.take_records());
        const kernel::Counters before = read_counters(machine_.guard().pins());
        for (std::size_t i = 0; i < world_.images.size(); ++i)
            load(i);
        check_records(machine_.take_records());
        check_counters(before, read_counters(machine_.guard().pins()));
        ++totals_.policies;
        totals_.images += world_.images.size();
    }

  private:
    void load(std::size_t which) {
        const Image& image = world_.images[which];
        const core::ImageFacts facts = facts_here(world_.identities[which]);
        const core::Decision decision =
            core::decide_image(policy_, world_.index, core::Admissions(policy_, world_.index), facts);
        const bool is_pinned = !policy_.pins(facts.name).empty();
        for (const guard_call call : {GUARD_INIT_MODULE, GUARD_FINIT_MODULE}) {
            Load load{
                .image = image, .facts = facts, .decision = decision, .is_pinned = is_pinned, .call = call};
            load.answer =
                call == GUARD_INIT_MODULE ? init_module(image.bytes) : file_.finit_module(image.bytes);
            if (const auto wrong = wrong_answer(load, machine_.support().kernel_decompresses); !wrong.empty())
                disagree(load, wrong);
            if (load.is_asked_about()) loads_.push_back(std::move(load));
        }
    }

    void check_records(const std::vector<guard_record>& records) {
        if (records.size() != loads_.size()) {
            disagree(fmt::format("{} records of {} loads", records.size(), loads_.size()));
            return;
        }
        const kernel::Known known{policy_, world_.index, admissions_, generation_};
        for (std::size_t i = 0; i < records.size(); ++i) {
            if (records[i].generation != generation_) disagree(loads_[i], "judged by another generation");
            const auto wrong = wrong_record(loads_[i], records[i], kernel::event_of(records[i], known));
            if (wrong.empty()) continue;
            disagree(loads_[i], fmt::format("{} (guard_reason {}, guard_problem {})", wrong,
                                            records[i].reason, records[i].problem));
        }
    }

    void check_counters(const kernel::Counters& before, const kernel::Counters& after) {
        kernel::Counters expected = before;
        for (const Load& load : loads_) {
            ++totals_.loads;
            if (load.decision.judged == core::Verdict::allow) {
                ++expected.allowed;
                ++totals_.allowed;
            } else if (load.is_refused()) {
                ++expected.refused;
                ++totals_.refused;
            } else {
                ++expected.audited;
                ++totals_.audited;
            }
        }
        const auto check = [this](const char* what, std::uint64_t is, std::uint64_t was_to_be) {
            if (is != was_to_be)
                disagree(fmt::format("the counter of {} is {}, not {}", what, is, was_to_be));
        };
        check("allowed", after.allowed, expected.allowed);
        check("refused", after.refused, expected.refused);
        check("audited", after.audited, expected.audited);
        check("lost records", after.lost, expected.lost);
        check("skipped runs", after.skipped, expected.skipped);
    }

    /// Whether there is more to be told of it.
    bool disagree(const std::string& what) {
        fmt::print("seed {}: {}\n", seed_, what);
        const bool is_shown = ++totals_.disagreements <= most_shown;
        if (is_shown) fmt::print("  policy: {}\n", describe(world_.policy));
        return is_shown;
    }

    void disagree(const Load& load, const std::string& what) {
        const char* call = load.call == GUARD_INIT_MODULE ? "init_module" : "finit_module";
        if (!disagree(fmt::format("{}, by {}", what, call))) return;
        const auto& bytes = load.image.bytes;
        const std::string path =
            fmt::format("/tmp/verdict-{}-{}.ko", seed_, &load.image - world_.images.data());
        std::ofstream(path).write(reinterpret_cast<const char*>(bytes.data()),
                                  static_cast<std::streamsize>(bytes.size()));
        fmt::print("  image: {}, read as \"{}\", \"{}\", \"{}\"\n", load.image.made,
                   core::printable(load.facts.problem), core::printable(load.facts.name),
                   core::printable(load.facts.modinfo_name));
        fmt::print("  decided: {}\n  answered: {}\n  {}: {}\n", core::explain(load.decision),
                   std::strerror(load.answer), path, hex_of(bytes));
    }

    GuardedMachine& machine_;
    std::uint64_t seed_;
    std::uint64_t generation_;
    Totals& totals_;
    World world_;
    core::Policy policy_;
    core::Admissions admissions_;
    MemoryFile file_;
    std::vector<Load> loads_;
};

} // namespace

void compare(GuardedMachine& machine, std::uint64_t seed, std::uint64_t generation, Totals& totals) {
    Comparison(machine, seed, generation, totals).run();
}

} // namespace kmodguard::verdicts
