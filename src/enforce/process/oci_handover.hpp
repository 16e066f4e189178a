// SPDX-License-Identifier: AGPL-3.0-only
//
// One connection of an OCI runtime: it brings the state of one container, the "container process state" of
// the runtime specification (config-linux.md), with its seccomp listener, and is over. Whatever else it
// brings is refused and closed. That refuses the container its modules and opens nothing: a listener that is
// closed makes the calls that wait for it fail with ENOSYS.
//
// The runtime is root's; the annotations in the state are those of the user who created the container, and
// its id often is too. So the text is bounded, read strictly, and what is not needed is not kept.
#pragma once

#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace kmodguard::process {

inline constexpr std::size_t max_oci_state = 64U << 10U; ///< bytes

/// The annotation that names a container's policy.
inline constexpr std::string_view policy_annotation = "io.kmodguard.policy";

struct OciState {
    std::string id;           ///< the container's: 1 to 255 bytes without control characters
    pid_t pid = 0;            ///< as the runtime sees it; 0 if it did not say
    std::string bundle = {};  ///< the folder of its configuration; "" if the runtime names none absolutely
    std::size_t fds = 0;      ///< how many descriptors come with the text
    std::size_t listener = 0; ///< which of them, from 0, is the seccomp listener
    std::optional<std::string> policy = std::nullopt; ///< the annotation's value, whatever it is
};

/// The state that `text`, one whole JSON object, holds. Members that are not known are left alone.
[[nodiscard]] sys::Result<OciState> parse_oci_state(std::string_view text);

inline constexpr std::size_t max_oci_configuration = 4U << 20U; ///< bytes

/// Whether a container's configuration, the text of its config.json, puts it into a user namespace. Not if it
/// cannot be read as one.
[[nodiscard]] bool has_user_namespace(std::string_view configuration);

/// Whether `name` may name a policy: 1 to 64 of [A-Za-z0-9_.-], not beginning with a dot. It becomes part of
/// a file's name, and comes from the user who creates the container.
[[nodiscard]] bool is_policy_name(std::string_view name);

/// Finds the end of a JSON object in a stream, whose sender need not close it (crun keeps its end as long as
/// the container runs). It looks at every byte once, and for brackets and strings alone: what it finds may
/// not be JSON all the same.
class ObjectEnd {
  public:
    enum class Found { nothing, end, no_object };

    /// Goes on with `bytes`. After anything but `nothing` it must not be called again.
    [[nodiscard]] Found feed(std::string_view bytes);
    /// Where in the last bytes that were fed the object ended: behind its closing bracket.
    [[nodiscard]] std::size_t position() const { return position_; }

  private:
    [[nodiscard]] bool closes(char byte);

    std::size_t depth_ = 0;
    bool in_string_ = false;
    bool escaped_ = false;
    std::size_t position_ = 0;
};

struct HandOver {
    OciState state;
    /// Of the container's first process when it was handed over, by its inode number; 0 if that is not known.
    std::uint64_t user_namespace = 0;
    sys::UniqueFd listener; ///< said to be a seccomp listener; anything, for all that is known
};

class RuntimeConnection {
  public:
    /// `socket` must not block.
    explicit RuntimeConnection(sys::UniqueFd socket) : socket_(std::move(socket)) {}

    struct Incomplete {}; ///< more is to come
    struct Closed {};     ///< by the peer, which has sent nothing
    using Received = std::variant<HandOver, Incomplete, Closed>;

    /// Takes what is there. Where that is not Incomplete, the connection is of no more use.
    [[nodiscard]] sys::Result<Received> receive();

    /// Whether nothing has come yet.
    [[nodiscard]] bool silent() const { return text_.empty(); }
    [[nodiscard]] int fd() const { return socket_.get(); }

  private:
    [[nodiscard]] sys::Result<Received> complete();

    sys::UniqueFd socket_;
    std::string text_;
    ObjectEnd end_;
    std::vector<sys::UniqueFd> descriptors_;
};

} // namespace kmodguard::process
