// SPDX-License-Identifier: AGPL-3.0-only
//
// A reader in a process of its own, which is started when something is asked and may do nothing but read
// (program/). It belongs to one thread, which waits for each answer. A reader that crashes, hangs or talks
// nonsense is an error of that question, and the next one starts another: so nothing that is read can end the
// process that asks.
#pragma once

#include "reader/reader.hpp"
#include "sys/paths.hpp"
#include "sys/process.hpp"
#include "sys/unique_fd.hpp"

#include <chrono>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

namespace kmodguard::reader {

struct Message;

class ReaderProcess final : public Reader {
  public:
    struct Settings {
        std::filesystem::path program; ///< kmodguard-reader
        /// After that long without an answer the reader is killed: before systemd's watchdog ends who waits
        /// for it. A policy of 100,000 entries, or the whole index of a kernel on an emulated machine, takes
        /// some seconds.
        std::chrono::milliseconds timeout = std::chrono::seconds(20);
    };
    /// The program is opened now: after an upgrade it still is the one that this process was built with.
    ReaderProcess(sys::Paths paths, const Settings& settings);
    /// That which is installed in the folder of this process's own program.
    [[nodiscard]] static std::filesystem::path program_beside_this();
    ~ReaderProcess() override;

    [[nodiscard]] sys::Result<compiled::File> index(const std::string& release) override;
    [[nodiscard]] sys::Result<ReadPolicy> policy() override;
    [[nodiscard]] sys::Result<std::vector<NewText>> edited(const core::RuntimeChanges& changes) override;
    [[nodiscard]] sys::Result<Read> read(const std::filesystem::path& image, const Wanted& wanted) override;
    /// Ends the process.
    void rest() override;
    [[nodiscard]] bool is_running() const { return running_.has_value(); }

  private:
    struct Running {
        sys::Child child;
        sys::UniqueFd channel;
        bool has_read = false; ///< anything at all
    };
    [[nodiscard]] sys::Result<void> start();
    /// The file that the answer is.
    [[nodiscard]] sys::Result<sys::UniqueFd> ask(char question, std::string_view about,
                                                 std::string_view shown);
    /// The next message.
    [[nodiscard]] sys::Result<Message> receive(std::string_view shown);
    /// Ends the process.
    [[nodiscard]] std::unexpected<sys::Error> nonsense(std::string_view shown);
    /// The answer as a Value.
    template <typename Value>
    [[nodiscard]] sys::Result<Value> ask_for(char question, std::string_view about, std::string_view shown);
    /// It failed `shown`: ends it, and says how it ended.
    [[nodiscard]] sys::Error end(std::string_view shown, std::string_view why);

    sys::Paths paths_;
    sys::UniqueFd program_; ///< none: `program_error_` says why
    sys::Error program_error_;
    std::chrono::milliseconds timeout_;
    std::optional<Running> running_;
};

} // namespace kmodguard::reader
