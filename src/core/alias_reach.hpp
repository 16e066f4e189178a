// SPDX-License-Identifier: AGPL-3.0-only
//
// Which modules an alias pattern reaches, asked for many patterns: every alias of the index is read once, and
// kept in order, so that a pattern is compared with those alone that begin as it does.
#pragma once

#include "core/module_index.hpp"

#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kmodguard::core {

class AliasReach {
  public:
    /// Reads all aliases of `index`, which must outlive this object.
    explicit AliasReach(ModuleIndex& index);

    /// False: not all aliases could be read, so that what a pattern reaches is not known.
    [[nodiscard]] bool is_complete() const { return complete_; }

    /// Canonical names of the modules that `pattern` reaches: those that answer to it as a token, and those
    /// with an alias that equals it or that it matches. Of built-in modules only the former are known.
    [[nodiscard]] std::set<std::string> modules(const std::string& pattern) const;

    /// Calls `visit` with every alias, folded, and its module, by the order of the aliases. The texts are
    /// valid as long as this object.
    template <typename Visit>
    void for_each(Visit visit) const {
        for (const auto& [alias, module] : aliases_)
            visit(alias, module);
    }

  private:
    ModuleIndex& index_;
    std::vector<std::pair<std::string, std::string>> aliases_; ///< folded, and the module; sorted
    bool complete_ = false;
};

} // namespace kmodguard::core
