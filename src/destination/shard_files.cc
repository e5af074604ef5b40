#include "destination/shard_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/file.h"
#include "checkpoint/safetensors_header.h"
#include "checkpoint/shard_index.h"

namespace mxferry::internal {
namespace {

constexpr const char* kSingleName = "model.safetensors";

bool is_rank_file(std::string_view name) {
  return name.starts_with("shard-") && name.find("-model-") != std::string_view::npos;
}

}  // namespace

std::string shard_name(std::size_t shard, std::size_t count) {
  if (count == 1) return kSingleName;
  return fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, count);
}

std::string rank_file_name(std::size_t rank) {
  return fmt::format("shard-{:05}-model-00001-of-00001.safetensors", rank + 1);
}

bool is_weights_name(std::string_view name) {
  if (name.ends_with(kPartialEnding)) name.remove_suffix(kPartialEnding.size());
  return name.ends_with(".safetensors") && (name.starts_with("model") || is_rank_file(name));
}

OutputLayout lay_out(Catalog& catalog, const std::vector<std::string>& names,
                     const std::vector<std::map<std::string, std::string>>& metadata) {
  std::vector<std::vector<TensorInfo>> tensors(names.size());
  for (const StoredTensor& tensor : catalog) {
    tensors[tensor.shard].push_back({tensor.name, tensor.dtype, tensor.shape, 0, 0});
  }
  OutputLayout layout;
  // transformers refuses files whose metadata does not name a framework.
  const std::map<std::string, std::string> usual = {{"format", "pt"}};
  std::map<std::pair<std::size_t, std::string_view>, std::uint64_t> offsets;
  for (std::size_t shard = 0; shard < names.size(); ++shard) {
    NewHeader header = make_safetensors_header(std::move(tensors[shard]),
                                               metadata.empty() ? usual : metadata[shard]);
    const std::uint64_t size = file_size(header.header);
    layout.files.push_back({names[shard], std::move(header.bytes), size});
    layout.shards.push_back({names[shard], size, std::move(header.header.tensors)});
    for (const TensorInfo& tensor : layout.shards.back().tensors) {
      offsets[{shard, tensor.name}] = header.header.data_offset + tensor.begin;
    }
  }
  for (StoredTensor& tensor : catalog) tensor.offset = offsets.at({tensor.shard, tensor.name});
  return layout;
}

bool has_index(const std::vector<std::string>& names) {
  return names.size() > 1 && !is_rank_file(names[0]);
}

std::string index_text(const Catalog& catalog, const std::vector<std::string>& names) {
  ShardIndex index;
  std::uint64_t total = 0;
  for (const StoredTensor& tensor : catalog) {
    index.weight_map[tensor.name] = names[tensor.shard];
    total += tensor.byte_count;
  }
  index.total_size = total;
  return serialize_shard_index(index);
}

std::string dtypes_text(const Catalog& catalog) {
  nlohmann::json dtypes = nlohmann::json::object();
  for (const StoredTensor& tensor : catalog) {
    if (tensor.name.ends_with(".blocks")) {
      dtypes[tensor.name] = "FP4";
    } else if (tensor.name.ends_with(".scales")) {
      dtypes[tensor.name] = "UE8";
    } else {
      dtypes[tensor.name] = name(tensor.dtype);
    }
  }
  return dtypes.dump(2) + "\n";
}

}  // namespace mxferry::internal
