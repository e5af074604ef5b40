#include <string>
#include <utility>

#include "checkpoint/shard_index.h"
#include "fuzz/input.h"
#include "mxferry/error.h"

namespace mxferry::internal::fuzz {

void index(Input input) {
  try {
    const ShardIndex parsed = parse_shard_index(text_of(input), kIndexName);
    for (const auto& [tensor, name] : parsed.weight_map) {
      require(!name.empty() && name.front() != '/', "a file name is relative");
      require(("/" + name + "/").find("/../") == std::string::npos, "a file is in the folder");
      require(printable(name) == name, "a file name can be shown");
    }
    const ShardIndex again = parse_shard_index(serialize_shard_index(parsed), kIndexName);
    require(again.weight_map == parsed.weight_map && again.total_size == parsed.total_size,
            "what was read returns");
  } catch (const Error& error) {
    require(error.code() == ErrorCode::invalid_index, "the index is to blame");
  }
}

}  // namespace mxferry::internal::fuzz
