#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "gpt_oss/layout_table.h"
#include "recipe/catalog.h"

namespace mxferry::internal {

// As match_name(), for names that restore_names() has seen: another prefix is that of another model
// beside this one. A name with fields is known only if stack_tensors() made it.
std::optional<NameMatch> match_tensor(Layout layout, std::string_view attn,
                                      const StoredTensor& tensor);

// The layout that a checkpoint has by its names: why, or why there is none.
struct Recognition {
  std::optional<Layout> layout;
  std::string text;
};
Recognition recognize(const Catalog& catalog);

}  // namespace mxferry::internal
