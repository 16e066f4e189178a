// SPDX-License-Identifier: AGPL-3.0-only
#include "policy_builder.hpp"
#include "verdicts/compare.hpp"

#include <fmt/format.h>

#include <array>
#include <atomic>
#include <thread>

namespace kmodguard::verdicts {
namespace {

/// The policies in turn, by generation: listed; not listed; denied by its alias, in audit mode; pinned to
/// this content; pinned to another, in audit mode.
class Rotation {
  public:
    Rotation(const std::string& module, const core::Sha256& sha256) {
        index_.module(module).alias("fs-swapped");
        test::PolicyBuilder listed;
        test::PolicyBuilder other;
        test::PolicyBuilder denied;
        test::PolicyBuilder pinned;
        test::PolicyBuilder mismatched;
        policies_ = {listed.allow(module).build(), other.allow("another").build(),
                     denied.allow(module).deny_alias("fs-*").audit().build(),
                     pinned.allow_alias("fs-swapped").pin(module, sha256).build(),
                     mismatched.allow(module).pin(module, test::content(3)).audit().build()};
        for (std::size_t i = 0; i < policies_.size(); ++i)
            admissions_[i] = core::Admissions(policies_[i], index_);
    }

    [[nodiscard]] kernel::PolicyTable table(std::uint64_t generation) const {
        const std::size_t which = generation % policies_.size();
        return or_give_up(kernel::compile(policies_[which], admissions_[which], generation));
    }
    [[nodiscard]] core::Decision decision(std::uint64_t generation, const core::ImageFacts& facts) {
        const std::size_t which = generation % policies_.size();
        return core::decide_image(policies_[which], index_, admissions_[which], facts);
    }

  private:
    test::FakeIndex index_;
    std::array<core::Policy, 5> policies_;
    std::array<core::Admissions, 5> admissions_;
};

/// Loads one image over and over, and judges each answer by the policy of the generation on record.
class Attempts {
  public:
    Attempts(GuardedMachine& machine, Rotation& rotation, const Image& image, const core::ImageFacts& facts)
        : machine_(machine), rotation_(rotation), image_(image), facts_(facts) {}

    /// `begun` and `done`: the newest generation of which publishing has begun, and ended.
    void attempt(const std::atomic<std::uint64_t>& begun, const std::atomic<std::uint64_t>& done) {
        const std::uint64_t oldest = done;
        const int answer = count_ % 2 == 0 ? init_module(image_.bytes) : file_.finit_module(image_.bytes);
        const std::uint64_t newest = begun;
        ++count_;
        const auto records = machine_.take_records();
        if (records.size() != 1) return complain(fmt::format("{} records of one load", records.size()));
        const guard_record& record = records.front();
        const std::uint64_t generation = record.generation;
        if (generation < oldest || generation > newest)
            return complain(
                fmt::format("generation {}, where {} to {} were in force", generation, oldest, newest));
        const core::Decision decision = rotation_.decision(generation, facts_);
        const bool fit = decision.judged == core::Verdict::allow;
        const bool refused = !fit && decision.mode == core::Mode::enforce;
        if ((record.reason == GUARD_ADMITTED) != fit || (record.refused != 0) != refused
            || (answer == EPERM) != refused || answer == 0)
            complain(fmt::format("generation {}: guard_reason {}, refused {}, errno {}; but {}", generation,
                                 record.reason, record.refused, answer, core::explain(decision)));
        changed_ += generation != last_;
        during_ += oldest != newest;
        last_ = generation;
    }

    [[nodiscard]] std::uint64_t count() const { return count_; }
    [[nodiscard]] std::uint64_t during() const { return during_; } ///< of them while a policy was published
    [[nodiscard]] std::uint64_t changed() const {
        return changed_;
    } ///< judged by another than the one before
    [[nodiscard]] std::uint64_t wrong() const { return wrong_; }

  private:
    void complain(const std::string& what) {
        if (++wrong_ <= 20) fmt::print("attempt {}: {}\n", count_, what);
    }

    GuardedMachine& machine_;
    Rotation& rotation_;
    const Image& image_;
    const core::ImageFacts& facts_;
    MemoryFile file_;
    std::uint64_t count_ = 0;
    std::uint64_t during_ = 0;
    std::uint64_t changed_ = 0;
    std::uint64_t wrong_ = 0;
    std::uint64_t last_ = 0;
};

} // namespace

bool swap_policies(GuardedMachine& machine, std::uint64_t swaps) {
    const std::string name = "dm_crypt";
    const Image image{.bytes = test::build(test::module_spec(name)), .made = name};
    const core::ImageFacts facts = modules::identify_image(image.bytes, {.with_hash = true}).facts;
    Rotation rotation(name, *facts.sha256);
    publish(machine.guard(), rotation.table(1));
    static_cast<void>(machine.take_records());

    std::atomic<std::uint64_t> begun = 1;
    std::atomic<std::uint64_t> done = 1;
    std::atomic<bool> over = false;
    Attempts attempts(machine, rotation, image, facts);
    std::jthread loading([&] {
        while (!over)
            attempts.attempt(begun, done);
    });
    for (std::uint64_t generation = 2; generation < swaps + 2; ++generation) {
        begun = generation;
        publish(machine.guard(), rotation.table(generation));
        done = generation;
    }
    over = true;
    loading.join();
    fmt::print(
        "{} swaps, {} loads, {} of them during one, {} by another policy than the load before, {} wrong\n",
        swaps, attempts.count(), attempts.during(), attempts.changed(), attempts.wrong());
    return attempts.wrong() == 0;
}

} // namespace kmodguard::verdicts
