// SPDX-License-Identifier: AGPL-3.0-only
//
// The only unit that sees the generated skeleton, and libbpf's objects.
#include "enforce/kernel/loader.hpp"

#include "enforce/kernel/pins.hpp"
#include "modules/hash.hpp"
#include "sys/process.hpp"
#include "sys/trace.hpp"
#include "sys/unix_socket.hpp"

#include <bpf/libbpf.h>
#include <kmodguard.skel.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

namespace kmodguard::kernel {
namespace {

constexpr std::size_t max_answer = 4096; ///< of the child

/// The row of a program, if it is one of this mechanism.
const ProgramRow* row_of(const bpf_program* program, Mechanism mechanism) {
    const std::string_view section = bpf_program__section_name(program);
    const std::string_view name = bpf_program__name(program);
    const auto found = std::ranges::find_if(program_table, [&](const ProgramRow& row) {
        if (row.kind == ProgramKind::called) return name == row.name;
        const bool lsm = mechanism == Mechanism::lsm && row.kind != ProgramKind::request;
        const std::string_view prefix = lsm ? "lsm/" : "fmod_ret/security_";
        return section.starts_with(prefix) && section.substr(prefix.size()) == row.name;
    });
    return found == program_table.end() ? nullptr : &*found;
}

struct Destroy {
    void operator()(kmodguard_programs* skeleton) const { kmodguard_programs__destroy(skeleton); }
};
using Skeleton = std::unique_ptr<kmodguard_programs, Destroy>;

/// What libbpf said last, for the error: it says more than an errno.
std::string last_message; // NOLINT: libbpf's callback takes no context

int keep_message(libbpf_print_level level, const char* format, va_list arguments) {
    if (level == LIBBPF_DEBUG && !sys::is_traced(sys::Topic::bpf)) return 0;
    char line[512];
    std::vsnprintf(line, sizeof line, format, arguments);
    std::string_view text = line;
    text = text.substr(0, text.find_last_not_of('\n') + 1);
    sys::trace(sys::Topic::bpf, "{}", text);
    if (level == LIBBPF_DEBUG) return 0;
    if (text.contains("failed") || last_message.empty()) last_message = text;
    return 0;
}

std::unexpected<sys::Error> load_failure(int code) {
    std::string why =
        last_message.empty() ? std::string(std::generic_category().message(code)) : last_message;
    std::string hint;
    if (code == EPERM) hint = "it takes CAP_BPF and CAP_PERFMON, which a container usually has not";
    if (code == ENOENT || code == ESRCH) hint = "the kernel has no security hooks (CONFIG_SECURITY)";
    return sys::failure(sys::ErrorKind::failed, "cannot load the kernel point's programs: " + why,
                        std::move(hint));
}

/// Opened, with the programs of `part` chosen: of what is not, nothing is fitted to the kernel or verified.
sys::Result<Skeleton> open_skeleton(Mechanism mechanism, Part part) {
    libbpf_set_print(keep_message);
    Skeleton skeleton(kmodguard_programs__open());
    if (!skeleton) return load_failure(errno);
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, skeleton->obj) {
        const ProgramRow* row = row_of(program, mechanism);
        bpf_program__set_autoload(program, row != nullptr && row->part == part);
    }
    return skeleton;
}

sys::Result<void> pin(int fd, const std::filesystem::path& path) {
    if (::bpf_obj_pin(fd, path.c_str()) != 0) return sys::system_failure("cannot pin", path.native());
    return {};
}

sys::Result<bpf_map*> map_of(const Skeleton& skeleton, const MapRow& row) {
    const std::string name(row.name);
    bpf_map* map = bpf_object__find_map_by_name(skeleton->obj, name.c_str());
    if (map == nullptr) return sys::system_failure("cannot find the map", name, ENOENT);
    return map;
}

/// Draws the key of contents, and freezes what user space does not write to from then on. Freezing, too,
/// takes CAP_BPF on older kernels.
sys::Result<void> set_key_and_freeze_program_maps(const Skeleton& skeleton) {
    const auto key = TRY(modules::ContentKey::random());
    const std::uint32_t only = 0;
    if (::bpf_map_update_elem(bpf_map__fd(skeleton->maps.content_key), &only, key.bytes.data(), BPF_ANY) != 0)
        return sys::system_failure("cannot set", "the key for contents");
    for (const MapRow& row : map_table) {
        if (row.writer != UserWriter::none) continue;
        const bpf_map* map = TRY(map_of(skeleton, row));
        if (::bpf_map_freeze(bpf_map__fd(map)) != 0)
            return sys::system_failure("cannot freeze the map", row.name);
    }
    return {};
}

sys::Result<void> pin_maps(const Skeleton& skeleton, const std::filesystem::path& directory) {
    if (::mkdir(directory.c_str(), S_IRWXU) != 0)
        return sys::system_failure("cannot create", directory.native());
    for (const MapRow& row : map_table) {
        const bpf_map* map = TRY(map_of(skeleton, row));
        TRY(pin(bpf_map__fd(map), directory / map_pin(row.name)));
    }
    return {};
}

/// Those that are loaded.
sys::Result<void> pin_programs(const Skeleton& skeleton, Mechanism mechanism,
                               const std::filesystem::path& directory) {
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, skeleton->obj) {
        const ProgramRow* row = row_of(program, mechanism);
        if (row == nullptr || !bpf_program__autoload(program)) continue;
        const auto path = directory / program_pin(row->name);
        ::unlink(path.c_str()); // of an attempt to seal that failed
        TRY(pin(bpf_program__fd(program), path));
        sys::trace(sys::Topic::bpf, "pinned {}", path.native());
    }
    return {};
}

sys::Result<void> load_guarding_programs(const Support& support) {
    const Skeleton skeleton = TRY(open_skeleton(support.mechanism, Part::guarding));
    skeleton->rodata->kernel_decompresses = support.kernel_decompresses ? 1 : 0;
    const long processors = ::sysconf(_SC_NPROCESSORS_CONF);
    const auto attempts = static_cast<std::uint32_t>(std::clamp(processors * 4, 256L, 8192L));
    bpf_map__set_max_entries(skeleton->maps.scratch, attempts);
    if (const int code = kmodguard_programs__load(skeleton.get()); code != 0) return load_failure(-code);
    sys::trace(sys::Topic::bpf, "loaded: mechanism {}, the kernel {} images by itself",
               to_string(support.mechanism),
               support.kernel_decompresses ? "decompresses" : "does not decompress");
    TRY(set_key_and_freeze_program_maps(skeleton));
    TRY(pin_maps(skeleton, new_pin_directory()));
    return pin_programs(skeleton, support.mechanism, new_pin_directory());
}

/// The child: it waits for one byte, and answers nothing, or what went wrong.
[[noreturn]] void serve(int channel, const Support& support) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    char word = 0;
    const auto kept = sys::keep_capabilities({"cap_bpf", "cap_perfmon"});
    if (::read(channel, &word, 1) != 1) ::_exit(EXIT_SUCCESS);
    const auto done = kept ? load_guarding_programs(support) : kept;
    if (done) ::_exit(EXIT_SUCCESS);
    std::string answer = done.error().what + "\n" + done.error().hint;
    answer.resize(std::min(answer.size(), max_answer));
    [[maybe_unused]] const ssize_t sent = ::send(channel, answer.data(), answer.size(), MSG_NOSIGNAL);
    ::_exit(EXIT_FAILURE);
}

} // namespace

sys::Result<Loader> Loader::start(const Support& support) {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
        return sys::system_failure("cannot create", "a pair of sockets");
    sys::UniqueFd ours(ends[0]);
    const sys::UniqueFd theirs(ends[1]);
    const pid_t child = ::fork();
    if (child < 0) return sys::system_failure("cannot fork", "the loader");
    if (child == 0) {
        ours.reset(); // or it would wait for itself when the other end is gone
        serve(theirs.get(), support);
    }
    return Loader(child, std::move(ours));
}

Loader::~Loader() {
    channel_.reset();
    wait();
}

/// Its status; -1 if there is none.
int Loader::wait() {
    int status = -1;
    if (child_ > 0)
        while (::waitpid(child_, &status, 0) < 0 && errno == EINTR) {
        }
    child_ = -1;
    return status;
}

sys::Result<void> Loader::load() {
    if (::send(channel_.get(), "l", 1, MSG_NOSIGNAL) != 1)
        return sys::system_failure("cannot reach", "the loader");
    std::array<char, max_answer> buffer{};
    const auto received = sys::receive(channel_, buffer);
    const int status = wait();
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS) return {};
    std::string_view answer(buffer.data(), received && *received ? (*received)->bytes : 0);
    if (answer.empty()) answer = "the process that loads the kernel point's programs ended early";
    const auto end = answer.find('\n');
    return sys::failure(sys::ErrorKind::failed, std::string(answer.substr(0, end)),
                        std::string(end == std::string_view::npos ? "" : answer.substr(end + 1)));
}

sys::Result<void> load_sealing_programs(Mechanism mechanism) {
    const Skeleton skeleton = TRY(open_skeleton(mechanism, Part::sealing));
    for (const MapRow& row : map_table) {
        bpf_map* map = TRY(map_of(skeleton, row));
        const RawMap pinned = TRY(RawMap::open(pin_directory() / map_pin(row.name)));
        if (const int code = bpf_map__reuse_fd(map, pinned.fd()); code != 0)
            return sys::system_failure("cannot use the map", row.name, -code);
    }
    if (const int code = kmodguard_programs__load(skeleton.get()); code != 0) return load_failure(-code);
    return pin_programs(skeleton, mechanism, pin_directory());
}

sys::Result<core::Sha256> programs_hash() {
    std::size_t size = 0;
    const void* bytes = kmodguard_programs__elf_bytes(&size);
    return modules::sha256({static_cast<const std::byte*>(bytes), size});
}

} // namespace kmodguard::kernel
