// SPDX-License-Identifier: AGPL-3.0-only
#include "events/sinks.hpp"

#include "core/names.hpp"
#include "events/event_json.hpp"
#include "sys/unique_fd.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <syslog.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace kmodguard::events {
namespace {

constexpr const char* journal_socket = "/run/systemd/journal/socket";

int priority_of(const Attempt& event) {
    return is_notable(event) ? LOG_WARNING : LOG_INFO;
}

/// Whoever guards the guard reads these: none is below notice.
int priority_of(const Change& change) {
    return is_notable(change) ? LOG_WARNING : LOG_NOTICE;
}

void send_to_journal(std::vector<std::string>& fields) {
    std::vector<iovec> vectors;
    vectors.reserve(fields.size());
    for (std::string& field : fields)
        vectors.push_back({.iov_base = field.data(), .iov_len = field.size()});
    sd_journal_sendv(vectors.data(), static_cast<int>(vectors.size()));
}

std::string loss_text(std::size_t count) {
    return fmt::format("{} events were lost: logging could not keep up", count);
}

/// Best effort: a log that cannot be written must not stop the guard. False: not all of it was.
bool append(int fd, std::string_view text) {
    while (!text.empty()) {
        const ssize_t written = ::write(fd, text.data(), text.size());
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return false;
        text.remove_prefix(static_cast<std::size_t>(written));
    }
    return true;
}

/// A file of lines. What a full disk cuts short is ended before the next line, and said once.
class LineFile {
  public:
    LineFile(sys::UniqueFd file, std::string name) : file_(std::move(file)), name_(std::move(name)) {}
    void write(std::string_view line) {
        if (append(file_.get(), fmt::format("{}{}\n", torn_ ? "\n" : "", line))) {
            torn_ = false;
            return;
        }
        if (!torn_)
            append(STDERR_FILENO, fmt::format("kmodguard: {} cannot be written: lines are lost\n", name_));
        torn_ = true;
    }

  private:
    sys::UniqueFd file_;
    std::string name_;
    bool torn_ = false;
};

class JournalSink final : public Sink {
  public:
    void write(const Attempt& event) override {
        const core::Decision& decision = event.decision;
        std::vector<std::string> fields = {
            fmt::format("MESSAGE={}", summary(event)),
            fmt::format("MESSAGE_ID={}", message_id),
            fmt::format("PRIORITY={}", priority_of(event)),
            "SYSLOG_IDENTIFIER=kmodguard",
            fmt::format("KMODGUARD_POINT={}", to_string(event.point)),
            fmt::format("KMODGUARD_SUBJECT={}", subject_of(event)),
            fmt::format("KMODGUARD_TOKEN={}", decision.token),
            fmt::format("KMODGUARD_VERDICT={}", to_string(decision.effective())),
            fmt::format("KMODGUARD_WILL_LOAD={}", decision.will_load() ? "yes" : "no"),
            fmt::format("KMODGUARD_JUDGED={}", to_string(decision.judged)),
            fmt::format("KMODGUARD_MODE={}", to_string(decision.mode)),
            fmt::format("KMODGUARD_REASON={}", to_string(decision.reason)),
            fmt::format("KMODGUARD_GENERATION={}", event.generation),
        };
        if (decision.rule) fields.push_back(fmt::format("KMODGUARD_RULE={}", describe(*decision.rule)));
        for (const auto& module : decision.modules)
            fields.push_back(fmt::format("KMODGUARD_MODULE={}", module.module));
        const auto add = [&fields](std::string_view name, const std::string& value) {
            if (!value.empty()) fields.push_back(fmt::format("KMODGUARD_{}={}", name, value));
        };
        add("CALL", event.call);
        add("FILE", event.file);
        add("ANSWER", event.answer);
        add("SHA256", event.sha256 ? core::to_hex(*event.sha256) : "");
        add("TRIAL", is_trial(event) ? "yes" : "");
        add("REPEATED", event.repeated != 0 ? std::to_string(event.repeated) : "");
        add("REPEATED_SINCE", event.repeated_since ? timestamp(*event.repeated_since) : "");
        for (const std::string& token : event.other_tokens)
            add("OTHER_TOKEN", token);
        if (event.after) {
            add("AFTER_CALL", event.after->call);
            add("AFTER_FILE", event.after->file);
        }
        if (const auto& by = event.requester) {
            add("REQUESTER_PID", std::to_string(by->pid));
            if (by->uid) add("REQUESTER_UID", std::to_string(*by->uid));
            add("REQUESTER_COMM", by->command);
            add("REQUESTER_EXE", by->executable);
            add("REQUESTER_CGROUP", by->cgroup);
            add("REQUESTER_CONTAINER", by->container);
        }
        send_to_journal(fields);
    }
    void write_change(const Change& change) override {
        std::vector<std::string> fields = {
            fmt::format("MESSAGE={}", summary(change)),
            fmt::format("MESSAGE_ID={}", change_message_id),
            fmt::format("PRIORITY={}", priority_of(change)),
            "SYSLOG_IDENTIFIER=kmodguard",
            fmt::format("KMODGUARD_CHANGE={}", to_string(change.action)),
            fmt::format("KMODGUARD_ARGUMENT={}", change.argument),
            fmt::format("KMODGUARD_RESULT={}", change.error ? "failed" : "done"),
            fmt::format("KMODGUARD_GENERATION={}", change.generation),
        };
        if (change.error) fields.push_back(fmt::format("KMODGUARD_ERROR={}", *change.error));
        if (const auto& by = change.by) {
            fields.push_back(fmt::format("KMODGUARD_BY_PID={}", by->pid));
            fields.push_back(fmt::format("KMODGUARD_BY_UID={}", by->uid));
            fields.push_back(fmt::format("KMODGUARD_BY_COMM={}", by->command));
            if (by->login_uid) fields.push_back(fmt::format("KMODGUARD_BY_LOGIN_UID={}", *by->login_uid));
        }
        send_to_journal(fields);
    }
    void write_loss(std::size_t count) override {
        sd_journal_send("MESSAGE=%s", loss_text(count).c_str(), "PRIORITY=%i", LOG_ERR,
                        "SYSLOG_IDENTIFIER=kmodguard", nullptr);
    }
};

class SyslogSink final : public Sink {
  public:
    SyslogSink() { ::openlog("kmodguard", LOG_PID | LOG_NDELAY, LOG_AUTHPRIV); }
    SyslogSink(const SyslogSink&) = delete;
    SyslogSink& operator=(const SyslogSink&) = delete;
    ~SyslogSink() override { ::closelog(); }
    void write(const Attempt& event) override { ::syslog(priority_of(event), "%s", summary(event).c_str()); }
    void write_change(const Change& change) override {
        ::syslog(priority_of(change), "%s", summary(change).c_str());
    }
    void write_loss(std::size_t count) override { ::syslog(LOG_ERR, "%s", loss_text(count).c_str()); }
};

class StderrSink final : public Sink {
  public:
    void write(const Attempt& event) override {
        if (is_notable(event)) append(STDERR_FILENO, summary(event) + "\n");
    }
    void write_change(const Change& change) override {
        if (is_notable(change)) append(STDERR_FILENO, summary(change) + "\n");
    }
    void write_loss(std::size_t count) override { append(STDERR_FILENO, loss_text(count) + "\n"); }
};

/// A path may hold a newline, which is no end of a line here; an emulated firmware's scripts read this file.
class ModulesLogSink final : public Sink {
  public:
    explicit ModulesLogSink(LineFile file) : file_(std::move(file)) {}
    void write(const Attempt& /*event*/) override {}
    void write_change(const Change& /*change*/) override {}
    void write_attempt(std::string_view line) override {
        constexpr std::size_t escaped = 4; // "\\x0a" for one byte: nothing is cut
        file_.write(core::printable(line, escaped * line.size() + 1));
    }
    void write_loss(std::size_t /*count*/) override {} // others say so
    /// A path begins with '/', and no module's name has a '#'.
    void write_attempt_loss(std::size_t count) override {
        file_.write(fmt::format("# {} attempts are missing here", count));
    }

  private:
    LineFile file_;
};

class JsonLinesSink final : public Sink {
  public:
    explicit JsonLinesSink(LineFile file) : file_(std::move(file)) {}
    void write(const Attempt& event) override { file_.write(Json(json_of(event)).line()); }
    void write_change(const Change& change) override { file_.write(Json(json_of(change)).line()); }
    void write_loss(std::size_t count) override {
        const Json::Object object{{"time", timestamp(std::chrono::system_clock::now())},
                                  {"lost", std::uint64_t{count}}};
        file_.write(Json(object).line());
    }

  private:
    LineFile file_;
};

} // namespace

bool has_journal() {
    return ::access(journal_socket, F_OK) == 0;
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

namespace {

sys::Result<sys::UniqueFd> open_log(const std::filesystem::path& path) {
    constexpr mode_t owner_only = 0600;
    sys::UniqueFd file(::open(
        path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, owner_only));
    if (!file) return sys::system_failure("cannot open", path.native());
    struct stat status{};
    if (::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode))
        return sys::failure(sys::ErrorKind::invalid, fmt::format("{} is not a regular file", path.native()));
    return file;
}

} // namespace

sys::Result<std::unique_ptr<Sink>> json_lines_sink(const std::filesystem::path& path) {
    auto file = open_log(path);
    if (!file) return std::unexpected(file.error());
    return std::make_unique<JsonLinesSink>(LineFile(std::move(*file), path));
}

std::unique_ptr<Sink> json_stderr_sink() {
    return std::make_unique<JsonLinesSink>(
        LineFile(sys::UniqueFd(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)), "standard error"));
}

sys::Result<std::unique_ptr<Sink>> modules_log_sink(const std::filesystem::path& path) {
    auto file = open_log(path);
    if (!file) return std::unexpected(file.error());
    return std::make_unique<ModulesLogSink>(LineFile(std::move(*file), path));
}

} // namespace kmodguard::events
