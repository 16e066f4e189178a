// SPDX-License-Identifier: AGPL-3.0-only
//
// What a process asks its reader, and what it is answered. A message is a file in memory, sent with one byte
// over a pair of sockets: it may be as large as a policy of 100,000 entries, and is never read in part.
#pragma once

#include "compiled/image_reader.hpp"
#include "core/module_index.hpp"
#include "core/policy.hpp"
#include "core/runtime_changes.hpp"
#include "reader/reader.hpp"
#include "reader/wire.hpp"
#include "sys/file.hpp"
#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <string>
#include <string_view>

namespace kmodguard::reader {

/// The byte that says what a question is about.
enum class Question : char { index = 'i', policy = 'p', image = 'm', edits = 'e' };
/// The byte that says what an answer is: the value that was asked for, or an error.
/// An image follows the value of a question about an image, where that says so.
enum class Answer : char { value = 'v', error = 'e', image = 'm' };

inline constexpr std::size_t max_message = 256U << 20U;

/// Sends `kind` with `bytes` as a file in memory that nobody changes any more.
[[nodiscard]] sys::Result<void> send_message(const sys::UniqueFd& channel, char kind, std::string_view bytes);
/// The same with a file that is one already (sys::sealed_file).
[[nodiscard]] sys::Result<void> send_file(const sys::UniqueFd& channel, char kind, const sys::UniqueFd& file);

struct Message {
    char kind = 0;
    sys::UniqueFd file; ///< sealed
};
/// The next one; of kind 0 if the other end is gone. What is no message is an error.
[[nodiscard]] sys::Result<Message> receive_message(const sys::UniqueFd& channel);
[[nodiscard]] sys::Result<std::string> content_of(const Message& message);

} // namespace kmodguard::reader

// What the structures consist of, where wire.hpp finds it.

namespace kmodguard::sys {

template <typename Archive, reader::MaybeConst<Error> Of>
void fields(Archive& archive, Of& error) {
    archive(error.kind, error.what, error.hint);
}
template <typename Archive, reader::MaybeConst<FileIdentity> Of>
void fields(Archive& archive, Of& file) {
    archive(file.device, file.inode, file.size, file.changed_ns);
}

} // namespace kmodguard::sys

namespace kmodguard::core {

template <typename Archive, reader::MaybeConst<ImageFacts> Of>
void fields(Archive& archive, Of& facts) {
    archive(facts.problem, facts.name, facts.modinfo_name, facts.sha256, facts.aliases, facts.is_signed,
            facts.state, facts.no_module);
}
template <typename Archive, reader::MaybeConst<Origin> Of>
void fields(Archive& archive, Of& origin) {
    archive(origin.file, origin.line);
}
template <typename Archive, reader::MaybeConst<PolicySource::Entry> Of>
void fields(Archive& archive, Of& entry) {
    archive(entry.text, entry.origin);
}
template <typename Archive, reader::MaybeConst<PolicySource::PinEntry> Of>
void fields(Archive& archive, Of& pin) {
    archive(pin.module, pin.sha256, pin.origin);
}
/// Not when audit mode ends: that is of run time, and in no file. A policy is also kept in this form, for a
/// start that may be of another build: if this list changes, or those below it, so does
/// compiled::file_version.
template <typename Archive, reader::MaybeConst<PolicySource> Of>
void fields(Archive& archive, Of& source) {
    archive(source.files, source.valid, source.mode, source.answer, source.dependencies, source.quiet,
            source.user_namespaces, source.user_namespaces_origin, source.unload_denied, source.points,
            source.generated_at, source.kernel_release, source.allow_modules, source.allow_aliases,
            source.deny_modules, source.deny_aliases, source.pins);
}
template <typename Archive, reader::MaybeConst<RuntimeChanges> Of>
void fields(Archive& archive, Of& changes) {
    archive(changes.allowed, changes.denied, changes.removed, changes.denied_aliases, changes.removed_aliases,
            changes.mode);
}

} // namespace kmodguard::core

namespace kmodguard::compiled {

template <typename Archive, reader::MaybeConst<ContentKey> Of>
void fields(Archive& archive, Of& key) {
    archive(key.bytes);
}
template <typename Archive, reader::MaybeConst<ContentTag> Of>
void fields(Archive& archive, Of& tag) {
    archive(tag.size, tag.digest);
}
template <typename Archive, reader::MaybeConst<UnpackedFile> Of>
void fields(Archive& archive, Of& unpacked) {
    archive(unpacked.name, unpacked.limit);
}
template <typename Archive, reader::MaybeConst<ImageReader::Wanted> Of>
void fields(Archive& archive, Of& wanted) {
    archive(wanted.hash, wanted.aliases, wanted.is_signed, wanted.key, wanted.unpacked);
}
/// But for the unpacked image, which is a file.
template <typename Archive, reader::MaybeConst<ImageReader::Read> Of>
void fields(Archive& archive, Of& read) {
    archive(read.file, read.facts, read.tag);
}

} // namespace kmodguard::compiled

namespace kmodguard::reader {

template <typename Archive, reader::MaybeConst<ReadPolicy> Of>
void fields(Archive& archive, Of& policy) {
    archive(policy.source, policy.warnings);
}
template <typename Archive, reader::MaybeConst<NewText> Of>
void fields(Archive& archive, Of& text) {
    archive(text.file, text.shown_as, text.text);
}

} // namespace kmodguard::reader
