// SPDX-License-Identifier: AGPL-3.0-only
//
// The compiled part of fmt, from its own header, for programs that are to start quickly: Debian has no
// archive of it, and the shared library brings the C++ library as one too, whose names are half of what the
// dynamic linker looks up at a start.
#include <fmt/format-inl.h>

FMT_BEGIN_NAMESPACE
namespace detail {

// What fmt's headers declare and leave to its library.
template FMT_API thousands_sep_result<char> thousands_sep_impl(locale_ref);
template FMT_API char decimal_point_impl(locale_ref);
template FMT_API locale_ref::locale_ref(const std::locale&);
template FMT_API std::locale locale_ref::get() const;

} // namespace detail
FMT_END_NAMESPACE
