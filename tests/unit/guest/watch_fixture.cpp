// SPDX-License-Identifier: AGPL-3.0-only
#include "guest/watch_fixture.hpp"

#include "modules/elf_builder.hpp"

#include <chrono>

namespace kmodguard::guest::test {

RecordsSink::RecordsSink(Records& records) : records_(records) {}

void RecordsSink::take(const events::Event& event) {
    if (const auto* attempt = std::get_if<events::Attempt>(&event))
        records_.events.push_back(*attempt);
    else if (const auto* line = std::get_if<events::LogLine>(&event))
        records_.attempts.push_back(line->text);
    else
        ADD_FAILURE() << "lost events";
}

std::vector<std::unique_ptr<events::Sink>> sink_for(Records& records) {
    std::vector<std::unique_ptr<events::Sink>> sinks;
    sinks.push_back(std::make_unique<RecordsSink>(records));
    return sinks;
}

WatchFixture::WatchFixture() = default;
WatchFixture::~WatchFixture() = default;

void WatchFixture::watch(Options options) {
    PolicyBuilder policy;
    policy.allow("good");
    if (options.audit) policy.audit();
    if (options.no_unload) policy.source().unload_denied = true;
    judge_.emplace(policy.build(), nullptr, options.answer);
    watch_.emplace(machine_, *judge_, recorder_, Watch::Hashing{.hash = options.hash});
    ASSERT_TRUE(machine_.set_hooks(watch_->hooks_for(addresses_, options.unseen)));
}

void WatchFixture::TearDown() {
    EXPECT_EQ(tiny_.troubles, std::vector<std::string>{});
    EXPECT_EQ(kernel_.allocated, 0U) << "what was allocated for a look must be given back";
}

void WatchFixture::run() {
    ASSERT_TRUE(machine_.resume());
    for (int polls = 0; polls < 10'000; ++polls) {
        const auto polled = machine_.poll(std::chrono::milliseconds(0));
        ASSERT_TRUE(polled) << polled.error().what;
        if (*polled != Machine::Polled::idle) continue;
        ASSERT_EQ(machine_.halt(), Machine::Halt::halted);
        return recorder_.flush();
    }
    FAIL() << "it never ends";
}

std::vector<std::byte> WatchFixture::image(const std::string& name) {
    return kmodguard::test::build(kmodguard::test::module_spec(name));
}

void WatchFixture::load_image(const std::string& name, const std::string& parameters, std::uint64_t task) {
    kernel_.make_call(0, task, Call::init_module, kernel_.image_of_process(image(name), parameters));
}

void WatchFixture::load_file(const std::string& name, std::uint64_t descriptor, std::size_t on,
                             std::uint64_t task) {
    kernel_.files[descriptor] = {"/lib/modules/" + name + ".ko", image(name)};
    kernel_.make_call(on, task, Call::finit_module, {descriptor, kernel_.text_of_process(""), 0});
}

const events::Attempt& WatchFixture::event() {
    EXPECT_EQ(records_.events.size(), 1U);
    static const events::Attempt none(core::Point::guest, 0, {});
    return records_.events.empty() ? none : records_.events.front();
}

std::vector<std::int64_t> WatchFixture::answers() const {
    std::vector<std::int64_t> all;
    for (const auto& [task, answer] : kernel_.answers)
        all.push_back(answer);
    return all;
}

bool WatchFixture::is_quiet() const {
    return tiny_.breakpoints.size() == addresses_.calls.size() + addresses_.load_module.size();
}

bool WatchFixture::stops_at_returns() const {
    return tiny_.breakpoints.contains(addresses_.functions.return_trampoline);
}

std::vector<const Architecture*> every_architecture() {
    std::vector<const Architecture*> rows;
    for (const Architecture& row : architectures())
        rows.push_back(&row);
    return rows;
}

std::string name_of_architecture(const testing::TestParamInfo<const Architecture*>& one) {
    return std::string(one.param->name);
}

} // namespace kmodguard::guest::test
