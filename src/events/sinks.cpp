// SPDX-License-Identifier: AGPL-3.0-only
#include "events/sinks.hpp"

#include "core/names.hpp"
#include "events/event_json.hpp"
#include "sys/unique_fd.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/uio.h>
#include <syslog.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include <cstdio>

namespace kmodguard::events {
namespace {

constexpr const char* journal_socket = "/run/systemd/journal/socket";

int priority_of(const Event& event) {
    return is_notable(event) ? LOG_WARNING : LOG_INFO;
}

std::string loss_text(std::size_t count) {
    return fmt::format("{} events were lost: logging could not keep up", count);
}

/// Best effort: a log that cannot be written must not stop the guard.
void append(int fd, const std::string& text) {
    [[maybe_unused]] const ssize_t written = ::write(fd, text.data(), text.size());
}

class JournalSink final : public Sink {
  public:
    void write(const Event& event) override {
        const core::Decision& decision = event.decision;
        std::vector<std::string> fields = {
            fmt::format("MESSAGE={}", summary(event)),
            fmt::format("MESSAGE_ID={}", message_id),
            fmt::format("PRIORITY={}", priority_of(event)),
            "SYSLOG_IDENTIFIER=kmodguard",
            fmt::format("KMODGUARD_POINT={}", to_string(event.point)),
            fmt::format("KMODGUARD_TOKEN={}", decision.token),
            fmt::format("KMODGUARD_VERDICT={}", to_string(decision.effective())),
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
        if (const auto& by = event.requester) {
            add("REQUESTER_PID", std::to_string(by->pid));
            add("REQUESTER_UID", std::to_string(by->uid));
            add("REQUESTER_COMM", by->command);
            add("REQUESTER_EXE", by->executable);
            add("REQUESTER_CGROUP", by->cgroup);
            add("REQUESTER_CONTAINER", by->container);
        }
        std::vector<iovec> vectors;
        vectors.reserve(fields.size());
        for (std::string& field : fields)
            vectors.push_back({.iov_base = field.data(), .iov_len = field.size()});
        sd_journal_sendv(vectors.data(), static_cast<int>(vectors.size()));
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
    void write(const Event& event) override { ::syslog(priority_of(event), "%s", summary(event).c_str()); }
    void write_loss(std::size_t count) override { ::syslog(LOG_ERR, "%s", loss_text(count).c_str()); }
};

class StderrSink final : public Sink {
  public:
    void write(const Event& event) override {
        if (is_notable(event)) append(STDERR_FILENO, summary(event) + "\n");
    }
    void write_loss(std::size_t count) override { append(STDERR_FILENO, loss_text(count) + "\n"); }
};

/// A path may hold a newline, which is no end of a line here; an emulated firmware's scripts read this file.
class ModulesLogSink final : public Sink {
  public:
    explicit ModulesLogSink(sys::UniqueFd file) : file_(std::move(file)) {}
    void write(const Event& /*event*/) override {}
    void write_attempt(std::string_view line) override {
        constexpr std::size_t escaped = 4; // "\\x0a" for one byte: nothing is cut
        append(file_.get(), core::printable(line, escaped * line.size() + 1) + "\n");
    }
    void write_loss(std::size_t /*count*/) override {} // others say so: no line here is anything but a path

  private:
    sys::UniqueFd file_;
};

class JsonLinesSink final : public Sink {
  public:
    explicit JsonLinesSink(sys::UniqueFd file) : file_(std::move(file)) {}
    void write(const Event& event) override { append(file_.get(), Json(json_of(event)).line() + "\n"); }
    void write_loss(std::size_t count) override {
        const Json::Object object{{"time", timestamp(std::chrono::system_clock::now())},
                                  {"lost", std::uint64_t{count}}};
        append(file_.get(), Json(object).line() + "\n");
    }

  private:
    sys::UniqueFd file_;
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
    sys::UniqueFd file(
        ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, owner_only));
    if (!file) return sys::system_failure("cannot open", path.native());
    return file;
}

} // namespace

sys::Result<std::unique_ptr<Sink>> json_lines_sink(const std::filesystem::path& path) {
    auto file = open_log(path);
    if (!file) return std::unexpected(file.error());
    return std::make_unique<JsonLinesSink>(std::move(*file));
}

std::unique_ptr<Sink> json_stderr_sink() {
    return std::make_unique<JsonLinesSink>(sys::UniqueFd(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)));
}

sys::Result<std::unique_ptr<Sink>> modules_log_sink(const std::filesystem::path& path) {
    auto file = open_log(path);
    if (!file) return std::unexpected(file.error());
    return std::make_unique<ModulesLogSink>(std::move(*file));
}

} // namespace kmodguard::events
