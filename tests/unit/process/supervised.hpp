// SPDX-License-Identifier: AGPL-3.0-only
//
// A process of the test's own that is supervised, with a kernel behind the supervisor that only remembers
// what reached it. So what would be loaded can be seen on any machine, and nothing ever is.
#pragma once

#include "enforce/process/filter.hpp"
#include "enforce/process/supervisor.hpp"
#include "modules/elf_builder.hpp"
#include "modules/image.hpp"
#include "policy_builder.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace kmodguard::test {

class FakeKernel final : public process::KernelModules {
  public:
    int load(const modules::Buffer& image, const std::string& parameters) override {
        return reached("init_module", image, parameters);
    }
    int load_file(modules::Buffer image, const std::string& parameters, int flags) override {
        return reached("finit_module:" + std::to_string(flags), image, parameters);
    }
    int unload(const std::string& module, unsigned flags) override {
        const std::scoped_lock lock(mutex_);
        calls.push_back("delete_module:" + std::to_string(flags) + " " + module);
        return answer;
    }

    /// "CALL NAME PARAMETERS", as they came.
    std::vector<std::string> calls;
    std::map<std::string, int> loaded; ///< by the name in the image
    int answer = ENOEXEC;

  private:
    int reached(const std::string& call, const modules::Buffer& image, const std::string& parameters) {
        const std::string name = modules::identify_image(image.all()).facts.name;
        const std::scoped_lock lock(mutex_);
        calls.push_back(call + " " + name + " " + parameters);
        ++loaded[name];
        return answer;
    }
    std::mutex mutex_;
};

/// What reaches the logs.
struct Log final : events::Sink {
    struct Kept {
        std::vector<events::Event> events;
        std::vector<std::string> attempts;
    };
    explicit Log(Kept& kept) : kept_(kept) {}
    void write(const events::Event& event) override { kept_.events.push_back(event); }
    void write_attempt(std::string_view line) override { kept_.attempts.emplace_back(line); }
    void write_loss(std::size_t /*count*/) override { throw std::runtime_error("events were lost"); }

  private:
    Kept& kept_;
};

/// Runs `caller` in a child under the filter, supervised by `policy`, and returns what it returns (0 to 255).
struct Supervised {
    FakeKernel kernel;
    Log::Kept log;
    process::Supervisor::Settings settings;
    std::optional<core::Answer> answer;

    int run(const core::Policy& policy, const std::function<int()>& caller) {
        std::array<int, 2> ends{};
        if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
        const sys::UniqueFd from_child(ends[0]);
        sys::UniqueFd to_parent(ends[1]);
        const pid_t child = ::fork();
        if (child == 0) ::_exit(filtered(to_parent.get(), caller));
        to_parent.reset();
        int number = -1;
        if (::read(from_child.get(), &number, sizeof number) != sizeof number || number < 0)
            throw std::runtime_error("the child got no listener");
        const sys::UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
        sys::UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), number, 0)));
        auto listener = process::Listener::adopt(std::move(fd));
        if (!listener) throw std::runtime_error(listener.error().what);
        {
            std::vector<std::unique_ptr<events::Sink>> sinks;
            sinks.push_back(std::make_unique<Log>(log));
            events::Recorder recorder(std::move(sinks), 100'000);
            core::Judge judge(policy, nullptr, answer);
            const process::Supervisor supervisor(std::move(*listener), judge, kernel, recorder, settings);
            ::waitpid(child, &status, 0);
        }
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
    }
    int status = 0;

  private:
    static int filtered(int parent, const std::function<int()>& caller) {
        const auto program = process::build_filter();
        auto listener = program ? process::install_filter(*program) : std::unexpected(program.error());
        const int number = listener ? listener->get() : -1;
        if (::write(parent, &number, sizeof number) != sizeof number) return 255;
        return caller();
    }
};

inline Bytes image_of(const std::string& name) {
    return build(module_spec(name));
}

inline int file_with(const Bytes& bytes) {
    const int file = ::memfd_create("image", MFD_CLOEXEC);
    if (::write(file, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) return -1;
    return file;
}

/// 0, or the errno.
inline int init_module(const void* image, std::size_t size, const char* parameters) {
    return ::syscall(SYS_init_module, image, size, parameters) == 0 ? 0 : errno;
}
inline int init_module(const Bytes& image, const char* parameters = "") {
    return init_module(image.data(), image.size(), parameters);
}
inline int finit_module(int file, const char* parameters = "", int flags = 0) {
    return ::syscall(SYS_finit_module, file, parameters, flags) == 0 ? 0 : errno;
}

} // namespace kmodguard::test
