#include "destination/dcp_files.h"

#include <fmt/format.h>

#include <map>
#include <utility>

#include "checkpoint/dcp_metadata.h"
#include "mxferry/error.h"
#include "recipe/chunks.h"

namespace mxferry::internal {
namespace {

constexpr int kMostRanks = 99'999;  // file names have five digits for the rank

[[noreturn]] void refuse(std::string problem, std::string expected, std::string found) {
  throw Error(
      ErrorCode::invalid_argument,
      {.problem = std::move(problem), .expected = std::move(expected), .found = std::move(found)});
}

}  // namespace

void check_dcp_shards(const ConvertOptions& options) {
  if (options.dcp_shards == 0) return;
  if (options.dcp_shards < 0 || options.dcp_shards > kMostRanks) {
    refuse("the number of ranks", fmt::format("1 to {}", kMostRanks),
           std::to_string(options.dcp_shards));
  }
  if (!layout_table(options.to).has_rank_files) {
    refuse("--dcp-shards does not exist in this layout", "--to hf, nemo or torchtitan",
           "--to " + std::string(name(options.to)));
  }
  if (options.max_shard_size != ConvertOptions().max_shard_size) {
    refuse("--dcp-shards says how many files there are, so that they have no largest size",
           "only one of --dcp-shards and --max-shard-size", "both");
  }
}

OutputLayout lay_out_for_ranks(Plan& plan, int ranks, std::vector<std::string>& names) {
  ChunkedRecipes cut = chunk_recipes(plan.target, plan.recipes, static_cast<std::size_t>(ranks));
  std::vector<ChunkOffsets> offsets(cut.parts);
  for (std::size_t i = 0; i < cut.target.size(); ++i) {
    const StoredTensor& chunk = cut.target[i];
    Shape begin(chunk.shape.size(), 0);
    if (!begin.empty()) begin[0] = cut.begins[i];
    offsets[chunk.shard].emplace(chunk.name, std::move(begin));
  }
  std::vector<std::map<std::string, std::string>> metadata;
  for (std::size_t rank = 0; rank < cut.parts; ++rank) {
    names.push_back(rank_file_name(rank));
    metadata.push_back(chunk_metadata(offsets[rank]));
  }
  plan.target = std::move(cut.target);
  plan.recipes = std::move(cut.recipes);
  return lay_out(plan.target, names, metadata);
}

}  // namespace mxferry::internal
