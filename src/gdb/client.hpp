// SPDX-License-Identifier: AGPL-3.0-only
//
// A stopped machine at the other end of QEMU's gdb stub: read and write it, let it run to a breakpoint, stop
// it. Everything here waits for one answer at a time and none for ever. The stub is not trusted: whatever it
// answers is an error or a value, never more memory or time than said here.
//
// The machine is not resumed when a Client goes away: QEMU keeps the breakpoints and freezes at the next
// one, so a guard that crashed lets nothing pass. Only detach() frees it. Connecting stops the machine, and
// clears what a predecessor left.
//
// What holds for all calls: ErrorKind::unreachable means that the emulator is gone, hung up or silent, and
// that this Client is of no use any more; ErrorKind::invalid that it answered nonsense;
// ErrorKind::not_found that it refused, which for memory and registers means: not readable. Calls that need a
// stopped machine fail with ErrorKind::failed while it runs.
#pragma once

#include "gdb/remote_connection.hpp"
#include "gdb/target_description.hpp"
#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::gdb {

/// Most processors that threads() returns.
inline constexpr std::size_t max_threads = 4096;

/// Most bytes that monitor() returns.
inline constexpr std::size_t max_monitor_output = 1048576;

struct RegisterValue {
    Register where;
    std::uint64_t value = 0; ///< its lower `where.size` bytes count
};

class Client {
  public:
    /// Connects to the stub on a unix socket and stops the machine; all of it within `timeout`. A stub serves
    /// one debugger at a time, and the next one waits in its queue. Do not try it out: QEMU stops the machine
    /// for one that is in the queue when the first one leaves, even if it has given up long before.
    [[nodiscard]] static sys::Result<Client> connect(const std::filesystem::path& socket,
                                                     std::chrono::milliseconds timeout);

    /// The same with a socket that is connected. `name` is what errors call the stub.
    [[nodiscard]] static sys::Result<Client> adopt(sys::UniqueFd socket, std::string name,
                                                   std::chrono::milliseconds timeout);

    /// How the registers of the machine are laid out in packets. Little at first.
    void set_byte_order(std::endian order) { order_ = order; }

    /// How long every later call waits for an answer, 5 s at first. Calls that move memory wait as long again
    /// for each MiB.
    void set_answer_timeout(std::chrono::milliseconds timeout) { timeout_ = timeout; }

    // The machine's state. All of it needs a stopped machine.

    /// The register that the stub calls so ("cr3", "VBAR"). nullopt: there is none, or the stub describes
    /// none.
    [[nodiscard]] std::optional<Register> find_register(std::string_view name) const {
        return description_.find(name);
    }

    /// In their order. Asked for by number where the stub describes its registers; else their offsets in the
    /// packet of all are what counts, and one exchange gets them all.
    [[nodiscard]] sys::Result<std::vector<std::uint64_t>> read_registers(ThreadId thread,
                                                                         std::span<const Register> where);

    /// In their order; after an error some may be written where the stub takes them one by one.
    [[nodiscard]] sys::Result<void> write_registers(ThreadId thread, std::span<const RegisterValue> values);

    /// Fills `bytes` from virtual memory as `thread` sees it. ErrorKind::not_found: some of it is not mapped
    /// there.
    [[nodiscard]] sys::Result<void> read_memory(ThreadId thread, std::uint64_t address,
                                                std::span<std::byte> bytes);

    /// Writes all of `bytes`; after an error some of it may be written.
    [[nodiscard]] sys::Result<void> write_memory(ThreadId thread, std::uint64_t address,
                                                 std::span<const std::byte> bytes);

    /// The machine's processors.
    [[nodiscard]] sys::Result<std::vector<ThreadId>> threads();

    /// What QEMU's own monitor prints for `command`. For looking only: a command that stops or resumes the
    /// machine leaves this client with a wrong idea of it. ErrorKind::invalid: over max_monitor_output.
    [[nodiscard]] sys::Result<std::string> monitor(std::string_view command);

    // Breakpoints, on every processor. Changing them needs a stopped machine.

    /// Stops the machine before the instruction at `address`; one that is set already is left as it is.
    /// `kind` is the length of a breakpoint instruction there: 1 on x86, 4 elsewhere; nothing of it is
    /// written into the guest.
    [[nodiscard]] sys::Result<void> insert_breakpoint(std::uint64_t address, std::uint8_t kind);

    /// Does nothing if there is none.
    [[nodiscard]] sys::Result<void> remove_breakpoint(std::uint64_t address);

    // Running.

    /// Lets one processor execute one instruction, with interrupts deferred, while all others are stopped; on
    /// a breakpoint too, which is how to get off it. Waits for its end. If that does not come in time
    /// (ErrorKind::failed) the machine counts as running.
    [[nodiscard]] sys::Result<Stop> step(ThreadId thread);

    /// Lets all processors run, and returns when the stub has taken it. On a breakpoint it stops there again
    /// at once.
    [[nodiscard]] sys::Result<void> resume();

    /// Asks a running machine to stop; wait_stop() says when it has. Does nothing if it is stopped. A
    /// breakpoint may come first, and then is the only stop; or it is hidden by this one (signal_interrupt,
    /// while a processor is at the breakpoint), and then stops the machine again when that resumes.
    [[nodiscard]] sys::Result<void> interrupt();

    /// The stop that ends what resume() began: exactly one for each resume(), Stop::Kind::exited if the
    /// emulator ends (QEMU 7.2 only hangs up then). nullopt: it still runs after `timeout`; 0 takes what is
    /// there. ErrorKind::failed: it is stopped. ErrorKind::not_found: the stub did not let it run.
    [[nodiscard]] sys::Result<std::optional<Stop>> wait_stop(std::chrono::milliseconds timeout);

    /// Of a machine that another process has paused, at QEMU's monitor, and will resume: from now on it
    /// counts as running again.
    void leave_to_others();

    /// To wait for a stop with poll(2), POLLIN, together with other things; -1 after detach().
    [[nodiscard]] int fd() const { return connection_.fd(); }

    /// Whether wait_stop() has something to look at that poll(2) no longer reports.
    [[nodiscard]] bool has_buffered() const { return connection_.has_buffered(); }

    /// Removes the breakpoints, lets the machine run, and closes the connection. Needs a stopped machine.
    [[nodiscard]] sys::Result<void> detach();

  private:
    enum class State : std::uint8_t { stopped, running, ended };

    explicit Client(RemoteConnection connection) : connection_(std::move(connection)) {}

    [[nodiscard]] Deadline deadline(std::size_t bytes = 0) const;
    /// A failure that names the stub.
    [[nodiscard]] std::unexpected<sys::Error> failure(sys::ErrorKind kind, std::string_view what,
                                                      std::string hint = "") const;
    [[nodiscard]] sys::Result<void> require_stopped() const;

    /// One command and its answer. ErrorKind::not_found: the answer is `Exx`; invalid: the stub does not know
    /// it.
    [[nodiscard]] sys::Result<std::string> ask(std::string command, Deadline deadline);
    /// Several commands, sent together; as ask() for each. Of all that come after one that fails, nothing is
    /// known.
    [[nodiscard]] sys::Result<std::vector<std::string>> ask_all(std::span<const std::string> commands,
                                                                Deadline deadline);
    [[nodiscard]] sys::Result<void> ask_for_ok(std::string command, Deadline deadline);
    [[nodiscard]] sys::Result<void> select(ThreadId thread, Deadline deadline);

    [[nodiscard]] sys::Result<void> shake_hands(Deadline deadline);
    [[nodiscard]] sys::Result<void> read_description(Deadline deadline);
    [[nodiscard]] sys::Result<std::string> read_document(std::string_view name, Deadline deadline);

    [[nodiscard]] sys::Result<std::vector<std::byte>> read_all_registers(ThreadId thread, Deadline deadline);
    /// Those of a register in the packet of all.
    [[nodiscard]] sys::Result<std::span<std::byte>> bytes_of(Register where, std::span<std::byte> all) const;
    [[nodiscard]] sys::Result<std::vector<std::string>>
    ask_of(ThreadId thread, std::vector<std::string> commands, Deadline deadline);
    [[nodiscard]] sys::Result<std::vector<std::uint64_t>>
    read_numbered(ThreadId thread, std::span<const Register> where, Deadline deadline);
    [[nodiscard]] sys::Result<void> write_numbered(ThreadId thread, std::span<const RegisterValue> values,
                                                   Deadline deadline);

    [[nodiscard]] sys::Result<void> start_running(std::string_view command);
    [[nodiscard]] sys::Result<std::optional<Stop>> next_stop(Deadline deadline);

    RemoteConnection connection_;
    State state_ = State::stopped;
    std::uint32_t process_ = 0; ///< of the processor that stopped last
    std::endian order_ = std::endian::little;
    std::chrono::milliseconds timeout_{5000};
    std::size_t packet_size_ = 0;
    bool described_ = false; ///< description_ has the registers
    TargetDescription description_;
    std::optional<ThreadId> selected_;                  ///< by Hg since the machine stopped
    std::map<std::uint64_t, std::uint8_t> breakpoints_; ///< address and kind
};

} // namespace kmodguard::gdb
