// SPDX-License-Identifier: AGPL-3.0-only
//
// A process of the test's own that is supervised, with a kernel behind the supervisor that only remembers
// what reached it. So what would be loaded can be seen on any machine, and nothing ever is.
#pragma once

#include "enforce/process/supervisor.hpp"
#include "event_sink.hpp"
#include "fake_index.hpp"
#include "modules/elf_builder.hpp"
#include "policy_builder.hpp"

#include <cerrno>
#include <cstddef>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::test {

class FakeKernel final : public process::KernelModules {
  public:
    int load(const modules::Buffer& image, const std::string& parameters) override;
    int load_file(modules::Buffer image, const std::string& parameters, int flags) override;
    bool is_loaded(const std::string& module) override;
    int unload(const std::string& module, unsigned flags) override;

    /// "CALL NAME PARAMETERS", as they came.
    std::vector<std::string> calls;
    std::map<std::string, int> loaded; ///< by the name in the image
    std::vector<std::size_t> sizes;    ///< of the images, in the order of the calls
    int answer = ENOEXEC;
    std::map<std::string, int> answers; ///< to loads of one name, where it differs
    std::vector<std::string> there;     ///< modules that are loaded from the beginning

  private:
    int reached(const std::string& call, const modules::Buffer& image, const std::string& parameters);
    std::mutex mutex_;
};

/// What reaches the logs.
struct Log final : test::EventSink {
    struct Kept {
        std::vector<events::Attempt> events;
        std::vector<std::string> attempts;
        /// How many attempts the events tell of, with those that they have counted.
        [[nodiscard]] std::size_t told() const {
            std::size_t sum = 0;
            for (const events::Attempt& event : events)
                sum += 1 + event.repeated;
            return sum;
        }
    };
    explicit Log(Kept& kept);
    void take(const events::Event& event) override;

  private:
    Kept& kept_;
};

/// Runs `caller` in a child under the filter, supervised by `policy`, and returns what it returns (0 to 255).
struct Supervised {
    FakeKernel kernel;
    Log::Kept log;
    process::SupervisorSettings settings;
    std::optional<core::CallerAnswer> answer;
    std::optional<FakeIndex> index; ///< of the machine's modules, where there is one

    int run(const core::Policy& policy, const std::function<int()>& caller);
    int status = 0;

  private:
    static int filtered(int parent, const std::function<int()>& caller);
};

Bytes image_of(const std::string& name);

int file_with(const Bytes& bytes);

/// 0, or the errno.
int init_module(const void* image, std::size_t size, const char* parameters);
int init_module(const Bytes& image, const char* parameters = "");
int finit_module(int file, const char* parameters = "", int flags = 0);

} // namespace kmodguard::test
