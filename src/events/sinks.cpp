// SPDX-License-Identifier: AGPL-3.0-only
#include "events/sinks.hpp"

#include "core/names.hpp"
#include "events/event_json.hpp"
#include "events/fields.hpp"
#include "sys/file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <syslog.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include <climits>
#include <utility>

namespace kmodguard::events {
namespace {

/// A message as the journal has it: a list is a field for each item, true and false are yes and no, and what
/// is null or an object of its own is in no field.
class JournalFields final : public Output {
  public:
    /// `if_empty`: an empty text is a field as well.
    void begin(std::string_view field, bool if_empty) {
        field_ = field;
        if_empty_ = if_empty;
    }
    [[nodiscard]] std::vector<std::string> take() { return std::move(fields_); }

    void name(std::string_view /*member*/) override {} // of an object
    void null() override {}
    void boolean(bool value) override { add(value ? "yes" : "no"); }
    void number(std::int64_t value) override { add(fmt::format_int(value).c_str()); }
    void text(std::string_view value) override {
        if (if_empty_ || !value.empty()) add(value);
    }
    void begin_object() override { ++objects_; }
    void end_object() override { --objects_; }
    void begin_list() override {}
    void end_list() override {}

  private:
    void add(std::string_view value) {
        if (objects_ == 0) fields_.push_back(fmt::format("{}={}", field_, value));
    }

    std::vector<std::string> fields_ = {"SYSLOG_IDENTIFIER=kmodguard"};
    std::string_view field_;
    bool if_empty_ = false;
    std::size_t objects_ = 0; ///< that a value is in
};

template <typename Type>
std::vector<std::string> journal_fields(const Type& event) {
    JournalFields fields;
    visit_fields(&event, [&fields](const auto& list, const auto* of) {
        for (const auto& field : list) {
            if (of == nullptr || field.journal.empty()) continue;
            const bool another_way = field.in_journal != nullptr;
            fields.begin(field.journal, another_way);
            another_way ? field.in_journal(*of, fields) : field.write(*of, fields);
        }
    });
    return fields.take();
}

/// Best effort: a log that cannot be written must not stop the guard.
void write_to_stderr(std::string_view text) {
    static_cast<void>(sys::write_all(STDERR_FILENO, text));
}

constexpr std::size_t max_file_write = 64UL * 1024;
/// To what others may write to at the same time: no pipe takes more in one piece.
constexpr std::size_t max_shared_write = PIPE_BUF;

/// Whether the file at `path` ends within a line. One that cannot be read is not known to.
bool ends_within_line(const std::filesystem::path& path) {
    const auto file = sys::open_regular_file(path, O_RDONLY | O_NOFOLLOW);
    struct stat status{};
    char last = '\n';
    return file && ::fstat(file->get(), &status) == 0 && status.st_size > 0
           && ::pread(file->get(), &last, 1, status.st_size - 1) == 1 && last != '\n';
}

/// A file of lines, of which several are written at a time. What a full disk, or a crash, cuts short is ended
/// before the next line; the disk is reported once.
class LineFile {
  public:
    /// To be appended to.
    static sys::Result<LineFile> open(const std::filesystem::path& path) {
        constexpr mode_t owner_only = 0600;
        constexpr int flags = O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW;
        sys::UniqueFd file = TRY(sys::open_regular_file(path, flags, owner_only));
        LineFile lines(std::move(file), path, max_file_write);
        lines.torn_ = ends_within_line(path);
        return lines;
    }
    /// `max_write`: bytes that are written at a time, unless one line has more.
    LineFile(sys::UniqueFd file, std::string name, std::size_t max_write)
        : file_(std::move(file)), name_(std::move(name)), max_write_(max_write) {}

    /// Has `append(lines)` append a line without its newline. False: it has appended nothing.
    template <typename Append>
    void add(Append append) {
        const std::size_t before = lines_.size();
        if (!append(lines_)) return;
        lines_ += '\n';
        if (lines_.size() <= max_write_) return;
        write(std::string_view(lines_).substr(0, before));
        lines_.erase(0, before);
    }
    /// Writes what was added, as far as that has not been done.
    void write() {
        write(lines_);
        lines_.clear();
        if (lines_.capacity() > 2 * max_write_) lines_.shrink_to_fit(); // after a line that was longer
    }

  private:
    void write(std::string_view lines) {
        while (!lines.empty()) {
            const std::size_t written = torn_ ? write_after_torn(lines) : sys::write_most(file_.get(), lines);
            torn_ = written != lines.size();
            if (!torn_) {
                losing_ = false;
                return;
            }
            if (!std::exchange(losing_, true))
                write_to_stderr(fmt::format("kmodguard: {} cannot be written: lines are lost\n", name_));
            lines.remove_prefix(lines.find('\n', written) + 1); // there may be room for a shorter one
        }
    }
    [[nodiscard]] std::size_t write_after_torn(std::string_view lines) const {
        const std::size_t written = sys::write_most(file_.get(), fmt::format("\n{}", lines));
        return written == 0 ? 0 : written - 1;
    }

    sys::UniqueFd file_;
    std::string name_;
    std::size_t max_write_;
    std::string lines_;   ///< that are not written yet
    bool torn_ = false;   ///< the file ends within a line, or may do so
    bool losing_ = false; ///< the last line that was to be written was not
};

class JournalSink final : public Sink {
  public:
    void write(Events events) override {
        for (const Event& event : events)
            visit_logged(event, [](const auto& logged) {
                std::vector<std::string> fields = journal_fields(logged);
                std::vector<iovec> vectors;
                for (std::string& field : fields)
                    vectors.push_back({.iov_base = field.data(), .iov_len = field.size()});
                sd_journal_sendv(vectors.data(), static_cast<int>(vectors.size()));
            });
    }
};

class SyslogSink final : public Sink {
  public:
    SyslogSink() { ::openlog("kmodguard", LOG_PID | LOG_NDELAY, LOG_AUTHPRIV); }
    SyslogSink(const SyslogSink&) = delete;
    SyslogSink& operator=(const SyslogSink&) = delete;
    ~SyslogSink() override { ::closelog(); }
    void write(Events events) override {
        for (const Event& event : events)
            visit_logged(event, [](const auto& logged) {
                ::syslog(priority_of(logged), "%s", summary(logged).c_str());
            });
    }
};

class StderrSink final : public Sink {
  public:
    void write(Events events) override {
        std::string lines;
        for (const Event& event : events) {
            const std::size_t before = lines.size();
            visit_logged(event, [&lines](const auto& logged) {
                if (priority_of(logged) <= LOG_WARNING) lines += summary(logged) + "\n";
            });
            if (before == 0 || lines.size() <= max_shared_write) continue;
            write_to_stderr(std::string_view(lines).substr(0, before));
            lines.erase(0, before);
        }
        write_to_stderr(lines);
    }
};

/// A path may contain a newline, which is no end of a line here; scripts of an emulated firmware read this
/// file.
class ModulesLogSink final : public Sink {
  public:
    explicit ModulesLogSink(LineFile file) : file_(std::move(file)) {}
    void write(Events events) override {
        for (const Event& event : events)
            file_.add([&event](std::string& lines) { return append(lines, event); });
        file_.write();
    }

  private:
    static bool append(std::string& lines, const Event& event) {
        constexpr std::size_t escaped = 4; // "\\x0a" for one byte: nothing is cut
        if (const auto* line = std::get_if<LogLine>(&event))
            lines += core::printable(line->text, escaped * line->text.size() + 1);
        else if (const auto* loss =
                     std::get_if<LogLineLoss>(&event)) // no path begins so, and no module's name
            lines += fmt::format("# {} attempts are missing here", loss->count);
        else
            return false;
        return true;
    }

    LineFile file_;
};

class JsonLinesSink final : public Sink {
  public:
    explicit JsonLinesSink(LineFile file) : file_(std::move(file)) {}
    void write(Events events) override {
        for (const Event& event : events)
            file_.add([&event](std::string& lines) { return append_json(lines, event); });
        file_.write();
    }

  private:
    LineFile file_;
};

} // namespace

bool has_journal() {
    return ::access("/run/systemd/journal/socket", F_OK) == 0;
}

std::unique_ptr<Sink> journal_sink() {
    return std::make_unique<JournalSink>();
}
std::unique_ptr<Sink> syslog_sink() {
    return std::make_unique<SyslogSink>();
}
std::unique_ptr<Sink> stderr_sink() {
    return std::make_unique<StderrSink>();
}

sys::Result<std::unique_ptr<Sink>> json_lines_sink(const std::filesystem::path& path) {
    LineFile file = TRY(LineFile::open(path));
    return std::make_unique<JsonLinesSink>(std::move(file));
}

std::unique_ptr<Sink> json_stderr_sink() {
    sys::UniqueFd stream(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0));
    return std::make_unique<JsonLinesSink>(LineFile(std::move(stream), "standard error", max_shared_write));
}

sys::Result<std::unique_ptr<Sink>> modules_log_sink(const std::filesystem::path& path) {
    LineFile file = TRY(LineFile::open(path));
    return std::make_unique<ModulesLogSink>(std::move(file));
}

} // namespace kmodguard::events
