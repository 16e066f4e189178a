// SPDX-License-Identifier: AGPL-3.0-only
#include "events/sinks.hpp"

#include "core/names.hpp"
#include "events/fields.hpp"
#include "sys/file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/uio.h>
#include <syslog.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include <cstdio>
#include <type_traits>

namespace kmodguard::events {
namespace {

/// Adds `value` as the journal has it: a list as a field for each item. Objects have another form there.
void add_field(std::vector<std::string>& fields, std::string_view name, const Json& value, bool if_empty) {
    if (const std::string* text = value.text(); text != nullptr && (if_empty || !text->empty()))
        fields.push_back(fmt::format("{}={}", name, *text));
    if (const std::int64_t* number = value.number()) fields.push_back(fmt::format("{}={}", name, *number));
    if (const bool* answer = value.boolean())
        fields.push_back(fmt::format("{}={}", name, *answer ? "yes" : "no"));
    if (const Json::List* items = value.list())
        for (const Json& item : *items)
            add_field(fields, name, item, if_empty);
}

template <typename Type>
std::vector<std::string> journal_fields(const Type& event) {
    std::vector<std::string> fields = {"SYSLOG_IDENTIFIER=kmodguard"};
    visit_fields(&event, [&fields](const auto& list, const auto* of) {
        for (const auto& field : list) {
            if (of == nullptr || field.journal.empty()) continue;
            const bool another_way = field.in_journal != nullptr;
            const FieldValue value = another_way ? field.in_journal(*of) : field.value(*of);
            if (value) add_field(fields, field.journal, *value, another_way);
        }
    });
    return fields;
}

/// Calls `use` with what `event` is, unless it goes to modules.log, and nowhere else.
template <typename Use>
void visit_logged(const Event& event, Use use) {
    const auto one = [&use]<typename Type>(const Type& logged) {
        if constexpr (!std::is_same_v<Type, LogLine> && !std::is_same_v<Type, LogLineLoss>) use(logged);
    };
    std::visit(one, event);
}

/// Best effort: a log that cannot be written must not stop the guard.
void write_to_stderr(const std::string& line) {
    static_cast<void>(sys::write_all(STDERR_FILENO, line + "\n"));
}

/// A file of lines. What a full disk cuts short is ended before the next line, and reported once.
class LineFile {
  public:
    LineFile(sys::UniqueFd file, std::string name) : file_(std::move(file)), name_(std::move(name)) {}
    void write(std::string_view line) {
        const bool written = sys::write_all(file_.get(), fmt::format("{}{}\n", torn_ ? "\n" : "", line));
        if (!written && !torn_)
            write_to_stderr(fmt::format("kmodguard: {} cannot be written: lines are lost", name_));
        torn_ = !written;
    }

  private:
    sys::UniqueFd file_;
    std::string name_;
    bool torn_ = false;
};

class JournalSink final : public Sink {
  public:
    void write(const Event& event) override {
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
    void write(const Event& event) override {
        visit_logged(
            event, [](const auto& logged) { ::syslog(priority_of(logged), "%s", summary(logged).c_str()); });
    }
};

class StderrSink final : public Sink {
  public:
    void write(const Event& event) override {
        visit_logged(event, [](const auto& logged) {
            if (priority_of(logged) <= LOG_WARNING) write_to_stderr(summary(logged));
        });
    }
};

/// A path may contain a newline, which is no end of a line here; scripts of an emulated firmware read this
/// file.
class ModulesLogSink final : public Sink {
  public:
    explicit ModulesLogSink(LineFile file) : file_(std::move(file)) {}
    void write(const Event& event) override {
        constexpr std::size_t escaped = 4; // "\\x0a" for one byte: nothing is cut
        if (const auto* line = std::get_if<LogLine>(&event))
            file_.write(core::printable(line->text, escaped * line->text.size() + 1));
        // No path begins with '#', and no module's name.
        if (const auto* loss = std::get_if<LogLineLoss>(&event))
            file_.write(fmt::format("# {} attempts are missing here", loss->count));
    }

  private:
    LineFile file_;
};

class JsonLinesSink final : public Sink {
  public:
    explicit JsonLinesSink(LineFile file) : file_(std::move(file)) {}
    void write(const Event& event) override {
        if (Json::Object object = json_of(event); !object.empty()) // else it is of modules.log alone
            file_.write(Json(std::move(object)).line());
    }

  private:
    LineFile file_;
};

sys::Result<sys::UniqueFd> open_log(const std::filesystem::path& path) {
    constexpr mode_t owner_only = 0600;
    return sys::open_regular_file(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, owner_only);
}

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
    sys::UniqueFd file = TRY(open_log(path));
    return std::make_unique<JsonLinesSink>(LineFile(std::move(file), path));
}

std::unique_ptr<Sink> json_stderr_sink() {
    return std::make_unique<JsonLinesSink>(
        LineFile(sys::UniqueFd(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)), "standard error"));
}

sys::Result<std::unique_ptr<Sink>> modules_log_sink(const std::filesystem::path& path) {
    sys::UniqueFd file = TRY(open_log(path));
    return std::make_unique<ModulesLogSink>(LineFile(std::move(file), path));
}

} // namespace kmodguard::events
