// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/autoload/hook/hook_parts.hpp"
#include "sys/unique_fd.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>

namespace kmodguard::autoload {
namespace {

constexpr unsigned init_compressed_file = 4; ///< MODULE_INIT_COMPRESSED_FILE, linux/module.h
constexpr std::size_t path_length = 4096;
constexpr int file_changed = -1; ///< among values of errno: a file is not in the state that was judged

/// A NUL-terminated path made of parts, in a buffer of its own.
class PathBuffer {
  public:
    PathBuffer(std::initializer_list<std::string_view> parts) {
        for (const std::string_view part : parts) {
            const std::size_t count = std::min(part.size(), text_.size() - 1 - length_);
            std::memcpy(text_.data() + length_, part.data(), count);
            length_ += count;
        }
        text_[length_] = '\0';
    }
    [[nodiscard]] const char* c_str() const { return text_.data(); }
    [[nodiscard]] char* data() { return text_.data(); }

  private:
    std::size_t length_ = 0;             // before the text, most of whose pages are never touched
    std::array<char, path_length> text_; // NOLINT(*-pro-type-member-init): filled up to the NUL
};

/// Cuts the first word, up to a blank, off `text`.
std::string_view take_word(std::string_view& text) {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    return word;
}

/// Whether a file is in the state that the daemon wrote: "DEVICE INODE SIZE CHANGED" (sys/file.hpp).
bool is_in_state(const struct stat& now, std::string_view judged) {
    std::array<char, 96> text{}; // four numbers of 20 digits at most, and what is between them
    char* end = text.data();
    char* const last = text.data() + text.size();
    const auto append = [&](auto number) {
        if (end != text.data() && end != last) *end++ = ' ';
        end = std::to_chars(end, last, number).ptr;
    };
    append(std::uint64_t{now.st_dev});
    append(std::uint64_t{now.st_ino});
    append(static_cast<std::uint64_t>(now.st_size));
    append(std::int64_t{now.st_ctim.tv_sec} * 1'000'000'000 + now.st_ctim.tv_nsec);
    return judged == std::string_view(text.data(), end);
}

/// A line "required|soft NAME PATH": what an insert or modprobe step is about.
struct PlanStep {
    bool required = true;
    std::string_view module;
    const char* path = ""; ///< to the end of the line, and so NUL-terminated
};

class PlanRunner {
  public:
    PlanRunner(std::string_view token, const HookPaths& paths, Asked how, const Images& images)
        : token_(token), paths_(paths), how_asked_(how), images_(images) {}

    void run_line(std::string_view line) {
        const std::string_view key = take_word(line);
        if (key == "group") {
            group_ = line;
            group_failed_ = false;
        } else if (key == "options")
            options_ = line.data();
        else if (key == "asked")
            asked_ = line;
        else if (key == "judged")
            judged_ = line;
        else if (key == "unpacked")
            image_ = taken_ < images_.size() ? images_[taken_++].get() : -1;
        else if (key == "insert")
            run_step(line, [this](const PlanStep& step) { return insert(step, 0); });
        else if (key == "insert-compressed")
            run_step(line, [this](const PlanStep& step) { return insert(step, init_compressed_file); });
        else if (key == "modprobe")
            run_step(line, [this](const PlanStep& step) { return modprobe(step); });
    }

    [[nodiscard]] bool is_outdated() const { return outdated_; }
    [[nodiscard]] PlanResult result() const {
        if (outdated_) return PlanResult::outdated;
        return failed_ ? PlanResult::failed : PlanResult::done;
    }

  private:
    template <typename Run>
    void run_step(std::string_view line, Run run) {
        PlanStep step;
        step.required = take_word(line) == "required";
        step.module = take_word(line);
        step.path = line.data();
        if (!group_failed_ && !is_loaded(step.module)) {
            const int error = run(step);
            outdated_ = error == file_changed && can_be_judged_anew();
            if (error != 0 && error != EEXIST && !outdated_) report(step, error);
        }
        image_ = -1;
        options_ = "";
        asked_ = {};
        judged_ = {};
    }

    void report(const PlanStep& step, int error) {
        log_message(paths_, {"cannot load ", step.module, " for ", token_, ": ",
                             error == ECHILD ? "the original handler failed"
                                             : ::strerror(error == file_changed ? ESTALE : error),
                             error == file_changed ? " (its file changed after it was judged)" : ""});
        if (step.required) group_failed_ = failed_ = true;
    }

    /// Whether a dependency is there already. What the group is for is missing, or it would not have been
    /// asked for; unless a plan before this one has loaded it.
    bool is_loaded(std::string_view module) const {
        if (module == group_ && how_asked_ == Asked::once) return false;
        const PathBuffer path{paths_.loaded_modules, "/", module, "/initstate"};
        const sys::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        std::array<char, 4> state{};
        return file && ::read(file.get(), state.data(), state.size()) == 4
               && std::string_view(state.data(), state.size()) == "live";
    }

    /// Whether `image` is the file that was judged. What was not judged is loaded only if the plan says so.
    [[nodiscard]] bool is_judged(const sys::UniqueFd& image) const {
        struct stat now{};
        return judged_ == "any" || (::fstat(image.get(), &now) == 0 && is_in_state(now, judged_));
    }

    /// Whether the daemon has judged the file, and could do so again.
    [[nodiscard]] bool can_be_judged_anew() const {
        return how_asked_ == Asked::once && !judged_.empty() && judged_ != "any";
    }

    /// Opens the file of a step, if it still is the one that was judged. Returns 0, or why not.
    int open_judged(const PlanStep& step, sys::UniqueFd& image) const {
        image.reset(::open(step.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
        if (image) return is_judged(image) ? 0 : file_changed;
        // A file that is gone has changed: a new plan may name another.
        return can_be_judged_anew() ? file_changed : errno;
    }

    /// Whether the file at `path` is the one that was judged: what was unpacked of it is loaded, not the
    /// file.
    [[nodiscard]] bool is_judged(const char* path) const {
        struct stat now{};
        return ::stat(path, &now) == 0 && is_in_state(now, judged_);
    }

    /// Whether the kernel, or one of its security modules (IMA, LoadPin, SELinux), takes no image from a file
    /// in memory: then it is to have the file.
    static bool wants_a_file(int error) { return error == EPERM || error == EACCES || error == ETXTBSY; }

    /// Loads the image, if it still is the file that was judged. Returns 0, an errno value or file_changed.
    int insert(const PlanStep& step, unsigned flags) const {
        if (image_ >= 0) {
            if (!is_judged(step.path)) return file_changed;
            if (::syscall(SYS_finit_module, image_, options_, 0) == 0) return 0;
            if (!wants_a_file(errno)) return errno;
        }
        sys::UniqueFd image;
        if (const int error = open_judged(step, image); error != 0) return error;
        if (::syscall(SYS_finit_module, image.get(), options_, flags) == 0) return 0;
        // The kernel point knows no such content, and asks for the image decompressed.
        if (errno == ENOSYS && flags == init_compressed_file) return modprobe(step);
        return errno;
    }

    /// Lets the original handler load one module: install commands, and whatever else the hook does not do.
    int modprobe(const PlanStep& step) const;

    std::string_view token_;
    const HookPaths& paths_;
    Asked how_asked_;
    const Images& images_;
    std::size_t taken_ = 0;
    int image_ = -1; ///< of the next step, unpacked; -1: there is none
    bool outdated_ = false;
    std::string_view group_;
    bool group_failed_ = false;
    bool failed_ = false;
    const char* options_ = "";
    std::string_view asked_;  ///< what the original handler is asked for in the place of the module
    std::string_view judged_; ///< the state of the file of the next step; "any": it need not be judged
};

/// The path saved when the hook was armed; nothing if it is lost, or is no absolute path.
class OriginalHandler {
  public:
    explicit OriginalHandler(const HookPaths& paths) {
        const sys::UniqueFd file(::open(paths.original_handler, O_RDONLY | O_CLOEXEC));
        if (!file) return;
        const ssize_t count = ::read(file.get(), path_.data(), path_.size() - 1);
        if (count > 0) *std::find(path_.begin(), path_.begin() + count, '\n') = '\0';
    }
    [[nodiscard]] bool exists() const { return path_.front() == '/'; }
    [[nodiscard]] char* path() { return path_.data(); }

  private:
    std::array<char, 512> path_{};
};

int PlanRunner::modprobe(const PlanStep& step) const {
    // modprobe opens the file again; what is changed in between is for the kernel point to see.
    // Where there is no file, for a command belongs to no module, "any" is what was judged.
    sys::UniqueFd image;
    if (const int error = open_judged(step, image); error != 0 && judged_ != "any") return error;
    OriginalHandler original(paths_);
    if (!original.exists()) {
        log_message(paths_, {"the original handler is not known, so ", step.module,
                             " cannot be loaded: kmodctl arm"});
        return ENOENT;
    }
    PathBuffer module{asked_.empty() ? step.module : asked_};
    std::array<char, 3> quiet{"-q"};
    std::array<char, 3> end{"--"};
    std::array<char*, 5> arguments{original.path(), quiet.data(), end.data(), module.data(), nullptr};
    pid_t child = 0;
    if (const int error = ::posix_spawn(&child, original.path(), nullptr, nullptr, arguments.data(), environ);
        error != 0)
        return error;
    int status = 0;
    while (::waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return errno;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : ECHILD;
}

} // namespace

PlanResult run_plan(std::span<char> lines, const Images& images, std::string_view token,
                    const HookPaths& paths, Asked asked) {
    PlanRunner runner(token, paths, asked, images);
    while (!lines.empty() && !runner.is_outdated()) {
        const auto newline = std::ranges::find(lines, '\n');
        if (newline == lines.end()) break;
        *newline = '\0';
        const auto length = static_cast<std::size_t>(newline - lines.begin());
        runner.run_line({lines.data(), length});
        lines = lines.subspan(length + 1);
    }
    return runner.result();
}

void exec_original(const HookPaths& paths, std::span<char* const> arguments) {
    OriginalHandler original(paths);
    if (!original.exists()) return;
    std::array<char*, 8> handed{original.path()};
    if (arguments.size() > handed.size() - 2) return;
    std::ranges::copy(arguments, handed.begin() + 1);
    ::execve(original.path(), handed.data(), environ);
}

} // namespace kmodguard::autoload
