// SPDX-License-Identifier: AGPL-3.0-only
//
// The only unit that sees the generated skeleton, and libbpf's objects.
#include "enforce/kernel/loader.hpp"

#include "enforce/kernel/needed_types.hpp"
#include "enforce/kernel/pins.hpp"
#include "modules/hash.hpp"
#include "sys/file.hpp"
#include "sys/process.hpp"
#include "sys/trace.hpp"
#include "sys/unix_socket.hpp"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <kmodguard.hash.h>
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
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace kmodguard::kernel {
namespace {

constexpr std::size_t max_answer = 4096; ///< of the child

/// Whether its program is of the BPF security module.
bool is_lsm(const ProgramRow& row, Mechanism mechanism) {
    return mechanism == Mechanism::lsm && row.kind != ProgramKind::request;
}

/// The row of a program, if it is one of this mechanism.
const ProgramRow* row_of(const bpf_program* program, Mechanism mechanism) {
    const std::string_view section = bpf_program__section_name(program);
    const std::string_view name = bpf_program__name(program);
    const auto found = std::ranges::find_if(program_table, [&](const ProgramRow& row) {
        if (row.kind == ProgramKind::called) return name == row.name;
        const std::string_view prefix = is_lsm(row, mechanism) ? "lsm/" : "fmod_ret/security_";
        return section.starts_with(prefix) && section.substr(prefix.size()) == row.name;
    });
    return found == program_table.end() ? nullptr : &*found;
}

/// The function of the kernel that a program is attached to.
std::string function_of(const ProgramRow& row, Mechanism mechanism) {
    return (is_lsm(row, mechanism) ? "bpf_lsm_" : "security_") + std::string(row.name);
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

constexpr const char* kernel_types = "/sys/kernel/btf/vmlinux";
constexpr std::size_t max_kernel_types = std::size_t{64} << 20U;

/// All that the object's programs name: what is needed of types that are its own, the kernel has not.
NeededTypes needed_types(const bpf_object* object, Mechanism mechanism, Part part) {
    NeededTypes needed;
    const btf* types = bpf_object__btf(object);
    for (std::uint32_t id = 1; types != nullptr && id < btf__type_cnt(types); ++id) {
        const btf_type* type = btf__type_by_id(types, id);
        const bool has_members = btf_is_composite(type);
        if (!has_members && !btf_is_any_enum(type)) continue;
        const std::string_view name = btf__name_by_offset(types, type->name_off);
        needed.types.emplace(
            name.substr(0, name.find("___"))); // one name for several versions of a structure
        for (int i = 0; has_members && i < btf_vlen(type); ++i)
            needed.members.emplace(btf__name_by_offset(types, btf_members(type)[i].name_off));
    }
    for (const ProgramRow& row : hooks_of(part))
        needed.functions.insert(function_of(row, mechanism));
    return needed;
}

/// What the programs are fitted to: the kernel's types that they need, in a file for libbpf to read.
struct Fitting {
    Mechanism mechanism = Mechanism::lsm;
    sys::UniqueFd types;
    std::map<std::string, std::uint32_t, std::less<>> functions = {}; ///< to attach to, by name
};

/// libbpf is about to load the program.
int on_load(bpf_program* program, bpf_prog_load_opts* options, long fitting_address) {
    const auto& fitting =
        *reinterpret_cast<const Fitting*>(fitting_address); // NOLINT(*-int-to-ptr): libbpf's
    const ProgramRow* row = row_of(program, fitting.mechanism);
    if (row == nullptr) return -EINVAL;
    const auto function = fitting.functions.find(function_of(*row, fitting.mechanism));
    if (function == fitting.functions.end()) return -ESRCH;
    const bool lsm = is_lsm(*row, fitting.mechanism);
    options->expected_attach_type = lsm ? BPF_LSM_MAC : BPF_MODIFY_RETURN;
    options->attach_btf_id = function->second;
    return ::bpf_program__set_type(program, lsm ? BPF_PROG_TYPE_LSM : BPF_PROG_TYPE_TRACING);
}

/// While this is there, libbpf takes programs that are attached to functions of the kernel for some that are
/// not, and asks on_load() when it loads one: otherwise it reads all of the kernel's types for them.
class SectionHandlers {
  public:
    explicit SectionHandlers(const Fitting& fitting) {
        libbpf_prog_handler_opts options{};
        options.sz = sizeof options;
        options.cookie = reinterpret_cast<long>(&fitting);
        options.prog_prepare_load_fn = on_load;
        for (std::size_t i = 0; i < sections.size(); ++i)
            ids_[i] = ::libbpf_register_prog_handler(sections[i], BPF_PROG_TYPE_SYSCALL, {}, &options);
    }
    SectionHandlers(SectionHandlers&&) = delete;
    SectionHandlers& operator=(SectionHandlers&&) = delete;
    ~SectionHandlers() {
        for (const int id : ids_)
            ::libbpf_unregister_prog_handler(id);
    }

  private:
    static constexpr std::array<const char*, 2> sections = {"lsm/", "fmod_ret/"};
    std::array<int, sections.size()> ids_{};
};

/// Opened, with the programs of `part` chosen: of what is not, nothing is fitted to the kernel or verified.
sys::Result<Skeleton> open_skeleton(Mechanism mechanism, Part part, const Fitting& fitting) {
    const std::string types = fmt::format("/proc/self/fd/{}", fitting.types.get());
    bpf_object_open_opts options{};
    options.sz = sizeof options;
    if (fitting.types) options.btf_custom_path = types.c_str();
    Skeleton skeleton(kmodguard_programs__open_opts(&options));
    if (!skeleton) return load_failure(errno);
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, skeleton->obj) {
        const ProgramRow* row = row_of(program, mechanism);
        bpf_program__set_autoload(program, row != nullptr && row->part == part);
    }
    return skeleton;
}

/// Picks out of the kernel's types those that `skeleton` needs, which was opened with this `fitting`.
sys::Result<void> fit(const Skeleton& skeleton, Part part, Fitting& fitting) {
    const std::string all = TRY(sys::read_file(kernel_types, max_kernel_types));
    auto found = TRY(find_types(all, needed_types(skeleton->obj, fitting.mechanism, part)));
    if (!sys::write_all(fitting.types.get(), found.btf))
        return sys::system_failure("cannot write", "the types that the programs need");
    sys::trace(sys::Topic::bpf, "of {} bytes of the kernel's types the programs need {}", all.size(),
               found.btf.size());
    fitting.functions = std::move(found.functions);
    return {};
}

/// Has `prepare` make the programs of `part` ready to be loaded, and loads them. What they are fitted to is
/// found here, or, where that fails, by libbpf itself.
template <typename Prepare>
sys::Result<Skeleton> load_programs(Mechanism mechanism, Part part, Prepare prepare) {
    ::libbpf_set_print(keep_message);
    Fitting fitting{.mechanism = mechanism, .types = sys::memory_file("kmodguard-types")};
    std::optional<SectionHandlers> handlers(std::in_place, fitting);
    auto skeleton = TRY(open_skeleton(mechanism, part, fitting));
    if (const auto fitted = fit(skeleton, part, fitting); !fitted) {
        sys::trace(sys::Topic::bpf, "{}; libbpf looks for them", fitted.error().what);
        handlers.reset();
        skeleton = TRY(open_skeleton(mechanism, part, {}));
    }
    TRY(prepare(skeleton));
    if (const int code = kmodguard_programs__load(skeleton.get()); code != 0) return load_failure(-code);
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
    const auto prepare = [&support](const Skeleton& skeleton) -> sys::Result<void> {
        skeleton->rodata->kernel_decompresses = support.kernel_decompresses ? 1 : 0;
        const long processors = ::sysconf(_SC_NPROCESSORS_CONF);
        const auto attempts = static_cast<std::uint32_t>(std::clamp(processors * 4, 256L, 8192L));
        bpf_map__set_max_entries(skeleton->maps.scratch, attempts);
        return {};
    };
    const Skeleton skeleton = TRY(load_programs(support.mechanism, Part::guarding, prepare));
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
    const auto prepare = [](const Skeleton& skeleton) -> sys::Result<void> {
        for (const MapRow& row : map_table) {
            bpf_map* map = TRY(map_of(skeleton, row));
            const RawMap pinned = TRY(RawMap::open(pin_directory() / map_pin(row.name)));
            if (const int code = bpf_map__reuse_fd(map, pinned.fd()); code != 0)
                return sys::system_failure("cannot use the map", row.name, -code);
        }
        return {};
    };
    const Skeleton skeleton = TRY(load_programs(mechanism, Part::sealing, prepare));
    return pin_programs(skeleton, mechanism, pin_directory());
}

const core::Sha256& programs_hash() {
    static const core::Sha256 hash = core::sha256_from(KMODGUARD_PROGRAMS_HASH).value();
    return hash;
}

} // namespace kmodguard::kernel
