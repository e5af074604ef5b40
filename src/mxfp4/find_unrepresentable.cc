#include <algorithm>
#include <array>

#include "mxferry/mxfp4.h"
#include "mxfp4/decode.h"
#include "mxfp4/reference.h"

namespace mxferry::internal::mxfp4 {
namespace {

// From this scale on, some code is infinite or NaN.
constexpr std::uint8_t kFirstNonfiniteScale = 253;
// From the first to the last of these, FP16 holds every product: half of the unit is at least
// 2^-24, and six times the unit at most 65504.
constexpr std::uint8_t kFirstExactHalfScale = 104;
constexpr std::uint8_t kLastExactHalfScale = 140;

// Whether a scale of the row is outside [least, most]. A plain reduction, which the compiler
// vectorizes: it finds nothing in almost every row.
bool any_outside(const std::uint8_t* scales, std::size_t count, std::uint8_t least,
                 std::uint8_t most) noexcept {
  std::uint8_t found_least = 255;
  std::uint8_t found_most = 0;
  for (std::size_t i = 0; i < count; ++i) {
    found_least = std::min(found_least, scales[i]);
    found_most = std::max(found_most, scales[i]);
  }
  return count != 0 && (found_least < least || found_most > most);
}

// Calls visit(index, block, scale) for the blocks with a scale outside [least, most], by row and
// then by group, until it returns false.
template <typename Visit>
void for_each_block_outside(const PackedView& packed, std::uint8_t least, std::uint8_t most,
                            const Visit& visit) {
  for (std::size_t row = 0; row < packed.rows; ++row) {
    const std::uint8_t* scales = packed.scales + row * packed.scale_row_bytes;
    if (!any_outside(scales, packed.groups, least, most)) continue;
    const std::uint8_t* blocks = packed.blocks + row * packed.block_row_bytes;
    for (std::size_t group = 0; group < packed.groups; ++group) {
      if (scales[group] >= least && scales[group] <= most) continue;
      const BlockIndex index{row, group};
      if (!visit(index, blocks + group * kBlockBytes, scales[group])) return;
    }
  }
}

int largest_magnitude(const std::uint8_t* block) noexcept {
  int largest = 0;
  for (int i = 0; i < kBlockBytes; ++i) {
    largest = std::max({largest, block[i] & 7, block[i] >> 4 & 7});
  }
  return largest;
}

// Code 6 is 4, code 4 is 2: under scales 253 and 254, respectively, they are 2^128.
bool is_nonfinite(const std::uint8_t* block, std::uint8_t scale) noexcept {
  if (scale < kFirstNonfiniteScale) return false;
  if (scale == 255) return true;
  return largest_magnitude(block) >= (scale == 254 ? 4 : 6);
}

// What FP16 loses of a code's magnitude; nothing for NaN.
struct HalfLoss {
  bool overflow = false;
  bool underflow = false;
  bool flushed = false;
};

HalfLoss half_loss(std::uint8_t scale, int code) noexcept {
  constexpr double kLargest = 65504;
  constexpr double kSmallestNormal = 0x1p-14;
  constexpr double kUnit = 0x1p-24;
  const double value = reference::exact_value(scale, code);
  HalfLoss loss;
  loss.overflow = value > kLargest;
  loss.flushed = value > 0 && reference::round_to(DType::F16, value) == 0;
  const double units = value / kUnit;
  loss.underflow = value < kSmallestNormal && units != static_cast<double>(static_cast<int>(units));
  return loss;
}

using BlockLosses = std::array<HalfLoss, 8>;

BlockLosses block_losses(std::uint8_t scale) noexcept {
  BlockLosses losses;
  for (int code = 0; code < 8; ++code) {
    losses[static_cast<std::size_t>(code)] = half_loss(scale, code);
  }
  return losses;
}

}  // namespace

std::optional<BlockIndex> find_nonfinite_block(const PackedView& packed) noexcept {
  std::optional<BlockIndex> found;
  for_each_block_outside(packed, 0, kFirstNonfiniteScale - 1,
                         [&](BlockIndex index, const std::uint8_t* block, std::uint8_t scale) {
                           if (is_nonfinite(block, scale)) found = index;
                           return !found;
                         });
  return found;
}

HalfLosses count_half_losses(const PackedView& packed) noexcept {
  HalfLosses total;
  int last_scale = -1;
  BlockLosses losses;
  for_each_block_outside(packed, kFirstExactHalfScale, kLastExactHalfScale,
                         [&](BlockIndex index, const std::uint8_t* block, std::uint8_t scale) {
                           if (is_nonfinite(block, scale)) return true;
                           if (scale != last_scale) losses = block_losses(scale);
                           last_scale = scale;
                           for (int i = 0; i < kBlockSize; ++i) {
                             const HalfLoss& loss =
                                 losses[static_cast<std::size_t>(reference::code_at(block, i) & 7)];
                             if (loss.overflow && !total.first_overflow)
                               total.first_overflow = index;
                             total.underflows += loss.underflow;
                             total.flushed += loss.flushed;
                           }
                           return true;
                         });
  return total;
}

}  // namespace mxferry::internal::mxfp4
