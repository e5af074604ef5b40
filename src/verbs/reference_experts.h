#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "flow/source.h"
#include "mxferry/inspect.h"
#include "recipe/catalog.h"
#include "source/source_checkpoint.h"

namespace mxferry::internal {

// For models that were pruned: by scales of the reference (an index into its catalog), the
// reference's expert that each expert of the source was.
using ReferenceExperts = std::map<std::size_t, std::vector<std::int64_t>>;

// Finds the experts of the layers that have fewer than the reference's, by a sample of their
// weights. An expert without a counterpart gets that of its own number, whose scales keep a block
// only if they hold it exactly. Notes how many were found. Throws Error(io_error).
ReferenceExperts find_reference_experts(const SourceCheckpoint& source,
                                        const SourceCheckpoint& reference,
                                        std::vector<Problem>& notes);

// The reference's tensors, with the experts of some scales in the order of the source.
class ReorderedExperts final : public Source {
 public:
  // All arguments must outlive this object.
  ReorderedExperts(const Source& reference, const Catalog& catalog, const ReferenceExperts& experts)
      : reference_(reference), catalog_(catalog), experts_(experts) {}

  void read(std::size_t tensor, std::uint64_t offset, std::span<std::byte> buffer) const override;

 private:
  const Source& reference_;
  const Catalog& catalog_;
  const ReferenceExperts& experts_;
};

}  // namespace mxferry::internal
