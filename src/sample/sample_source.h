#pragma once

#include <cstdint>
#include <vector>

#include "flow/source.h"
#include "gpt_oss/parameter.h"
#include "mxferry/config.h"
#include "recipe/catalog.h"

namespace mxferry::internal {

// A synthetic model: hf MXFP4 tensors whose bytes are computed when read. Every 16 bytes are a
// function of (seed, tensor name, position, wild) alone, computed with integers and individually
// rounded floats, so the bytes are the same on every platform and in any order of reading.
class SampleSource : public Source {
 public:
  SampleSource(const GptOssConfig& config, std::uint64_t seed, bool wild);

  // All tensors, by parameter kind, then layer. Their shards and offsets are meaningless.
  const Catalog& catalog() const noexcept { return catalog_; }

  void read(std::size_t tensor, std::uint64_t offset, std::span<std::byte> buffer) const override;

 private:
  enum class Content { blocks, scales, weights, norm };
  struct Generator {
    Content content = Content::weights;
    std::uint64_t key = 0;        // seeds the tensor's random numbers
    std::uint64_t scale_key = 0;  // seeds those of its scales, on which blocks depend
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
