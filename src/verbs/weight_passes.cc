#include "verbs/weight_passes.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "flow/parts.h"
#include "flow/run.h"
#include "mxferry/verify.h"
#include "verbs/compare_checkpoints.h"

namespace mxferry::internal {
namespace {

// Whether the target may be unable to hold the values that the recipe reads.
bool is_lossy(const Recipe& recipe) {
  switch (recipe.operation) {
    case Operation::copy:
      return false;
    case Operation::encode:
      return true;
    case Operation::decode:
      return recipe.to == DType::F16;
    case Operation::cast:
    case Operation::transpose:
      return recipe.to != recipe.from && recipe.to != DType::F32;
  }
  return false;
}

}  // namespace

WeightPasses::WeightPasses(const ConvertOptions& options, const PreparedConversion& preparation,
                           int passes)
    : options_(options),
      p_(preparation),
      loses_(options.verify && options.part.world == 1 &&
             std::ranges::any_of(p_.plan.recipes, is_lossy)) {
  const std::uint64_t out = p_.summary.part_bytes_out;
  total_ = static_cast<std::uint64_t>(passes) * out + (loses_ ? p_.summary.bytes_in + out : 0);
}

std::vector<ConversionCounts> WeightPasses::run(std::vector<RecipePart> parts, Sink& sink) {
  const FileSource source(p_.source.catalog, open_shards(p_.source));
  std::optional<FileSource> reference;
  std::optional<ReorderedExperts> reordered;
  if (p_.reference) {
    reference.emplace(p_.reference->catalog, open_shards(*p_.reference));
    reordered.emplace(*reference, p_.reference->catalog, p_.reference_experts);
  }
  std::uint64_t bytes = 0;
  for (const RecipePart& part : parts) bytes += target_bytes(p_.plan.recipes[part.recipe], part);
  // An earlier run did the rest of the share.
  before_ += p_.summary.part_bytes_out - bytes;
  const FlowOptions flow{.threads = p_.fit.threads,
                         .limits = p_.fit.limits,
                         .allow_nonfinite = options_.allow_nonfinite,
                         .quant_mode = options_.quant_mode,
                         .reference = reordered ? &*reordered : nullptr,
                         .parts = std::move(parts),
                         .stop = options_.stop,
                         .progress = progress()};
  auto counts = run_flow(p_.plan.recipes, p_.source.catalog, p_.plan.target, p_.names.size(),
                         source, sink, flow);
  before_ += bytes;
  return counts;
}

Difference WeightPasses::measure_loss() {
  const auto report = progress();
  VerifyOptions verify_options{.a = {},
                               .b = {},
                               .threads = options_.threads,
                               .max_memory = options_.max_memory,
                               .orientation_a = {},
                               .orientation_b = {},
                               .progress = {},
                               .stop = options_.stop};
  if (report) {
    verify_options.progress = [&](const ConvertProgress& done) { report(done.bytes_done); };
  }
  // No require_sound(): a target that --exclude left without whole layers is compared, too.
  const SourceCheckpoint target = open_source(options_.destination.string());
  if (!target.description.layout) return {};
  return compare_checkpoints(p_.source, target, verify_options).total;
}

void WeightPasses::finish() {
  if (options_.progress) options_.progress({total_, total_});
}

std::function<void(std::uint64_t)> WeightPasses::progress() const {
  if (!options_.progress) return {};
  return [this](std::uint64_t bytes) { options_.progress({before_ + bytes, total_}); };
}

}  // namespace mxferry::internal
