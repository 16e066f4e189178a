// SPDX-License-Identifier: AGPL-3.0-only
#include "events/json.hpp"

#include <nlohmann/json.hpp>

namespace kmodguard::events {
namespace {

using Tree = nlohmann::ordered_json;

Tree tree_of(const Json& json);

struct ToTree {
    Tree operator()(std::monostate) const { return nullptr; }
    Tree operator()(bool value) const { return value; }
    Tree operator()(std::int64_t value) const { return value; }
    Tree operator()(const std::string& value) const { return value; }
    Tree operator()(const Json::List& list) const {
        Tree tree = Tree::array();
        for (const Json& item : list)
            tree.push_back(tree_of(item));
        return tree;
    }
    Tree operator()(const Json::Object& object) const {
        Tree tree = Tree::object();
        for (const auto& [key, item] : object)
            tree[key] = tree_of(item);
        return tree;
    }
};

Tree tree_of(const Json& json) {
    return std::visit(ToTree{}, json.value());
}

} // namespace

std::string Json::line() const {
    return tree_of(*this).dump(-1, ' ', false, nlohmann::detail::error_handler_t::replace);
}

} // namespace kmodguard::events
