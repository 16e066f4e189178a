// SPDX-License-Identifier: AGPL-3.0-only
#include "process/supervised.hpp"

#include "enforce/process/seccomp.hpp"
#include "modules/image.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <stdexcept>
#include <utility>

namespace kmodguard::test {

int FakeKernel::load(const modules::Buffer& image, const std::string& parameters) {
    return reached("init_module", image, parameters);
}

int FakeKernel::load_file(modules::Buffer image, const std::string& parameters, int flags) {
    return reached("finit_module:" + std::to_string(flags), image, parameters);
}

bool FakeKernel::is_loaded(const std::string& module) {
    return std::ranges::find(there, module) != there.end();
}

int FakeKernel::unload(const std::string& module, unsigned flags) {
    const std::scoped_lock lock(mutex_);
    calls.push_back("delete_module:" + std::to_string(flags) + " " + module);
    return answer;
}

int FakeKernel::reached(const std::string& call, const modules::Buffer& image,
                        const std::string& parameters) {
    const std::string name = modules::identify_image(image.all()).facts.name;
    const std::scoped_lock lock(mutex_);
    calls.push_back(call + " " + name + " " + parameters);
    ++loaded[name];
    sizes.push_back(image.size());
    const auto own = answers.find(name);
    return own != answers.end() ? own->second : answer;
}

Log::Log(Kept& kept) : kept_(kept) {}

void Log::take(const events::Event& event) {
    if (const auto* attempt = std::get_if<events::Attempt>(&event))
        kept_.events.push_back(*attempt);
    else if (const auto* line = std::get_if<events::LogLine>(&event))
        kept_.attempts.push_back(line->text);
    else
        throw std::runtime_error("events were lost");
}

int Supervised::run(const core::Policy& policy, const std::function<int()>& caller) {
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
        events::Recorder recorder(std::move(sinks), std::size_t{1} << 30U);
        core::Judge judge(policy, index ? std::make_unique<FakeIndex>(*index) : nullptr, answer);
        const auto supervisor =
            process::Supervisor::start(std::move(*listener), judge, kernel, recorder, settings);
        if (!supervisor) throw std::runtime_error(supervisor.error().what);
        ::waitpid(child, &status, 0);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

int Supervised::filtered(int parent, const std::function<int()>& caller) {
    const auto program = process::build_filter();
    auto listener = program ? process::install_filter(*program) : std::unexpected(program.error());
    const int number = listener ? listener->get() : -1;
    if (::write(parent, &number, sizeof number) != sizeof number) return 255;
    return caller();
}

Bytes image_of(const std::string& name) {
    return build(module_spec(name));
}

int file_with(const Bytes& bytes) {
    const int file = ::memfd_create("image", MFD_CLOEXEC);
    if (::write(file, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) return -1;
    return file;
}

int init_module(const void* image, std::size_t size, const char* parameters) {
    return ::syscall(SYS_init_module, image, size, parameters) == 0 ? 0 : errno;
}

int init_module(const Bytes& image, const char* parameters) {
    return init_module(image.data(), image.size(), parameters);
}

int finit_module(int file, const char* parameters, int flags) {
    return ::syscall(SYS_finit_module, file, parameters, flags) == 0 ? 0 : errno;
}

} // namespace kmodguard::test
