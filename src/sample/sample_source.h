#pragma once

#include <cstdint>
#include <vector>

#include "flow/source.h"
#include "gpt_oss/parameter.h"
#include "mxferry/config.h"
#include "recipe/catalog.h"

namespace mxferry::internal {

// A model that does not exist: hf MXFP4 tensors whose bytes are computed when they are read. Every
// 16 bytes are a function of (seed, tensor name, position) in integer arithmetic, so the bytes are
// the same on every platform and in any order of reading.
class SampleSource : public Source {
 public:
  SampleSource(const GptOssConfig& config, std::uint64_t seed, bool wild);

  // All tensors, by layer. Shard and offset mean nothing.
  const Catalog& catalog() const noexcept { return catalog_; }

  void read(std::size_t tensor, std::uint64_t offset, std::span<std::byte> buffer) const override;

 private:
  enum class Content { blocks, scales, weights, norm };
  struct Generator {
    Content content = Content::weights;
    std::uint64_t key = 0;        // of the tensor's random numbers
    std::uint64_t scale_key = 0;  // of its scales, which the blocks depend on
  };

  void add_layer_tensors(ParameterKind kind, std::int64_t layer, const GptOssConfig& config);
  void add(const std::string& name, DType dtype, Shape shape, Content content,
           const std::string& scales_name);

  std::uint64_t seed_;
  bool wild_;
  Catalog catalog_;
  std::vector<Generator> generators_;
};

}  // namespace mxferry::internal
