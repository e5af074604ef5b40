#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "flow/source.h"
#include "mxferry/dtype.h"
#include "mxferry/layout.h"
#include "mxfp4/decode.h"

namespace mxferry::internal {

// How one of two checkpoints stores a parameter.
struct StoredSide {
  bool packed = false;
  std::size_t tensor = 0;               // index into its catalog; the blocks if packed
  std::size_t scales = 0;               // packed only
  DType dtype = DType::BF16;            // dense: BF16, F16 or F32, or U8 for bytes of any meaning
  AxisOrder order = AxisOrder::out_in;  // dense
  std::uint64_t offset = 0;             // bytes into the tensor, for a part of a fused one
};

// A box of a parameter [expert, rows, columns].
struct Box {
  std::int64_t expert = 0;
  std::int64_t row = 0;
  std::int64_t rows = 0;
  std::int64_t column = 0;
  std::int64_t columns = 0;
};

// Buffers for one side. `packed` holds the blocks and scales of the opened rows.
struct SideBuffers {
  std::byte* packed = nullptr;
  std::byte* raw = nullptr;  // this and `spare` hold a loaded box in FP32
  std::byte* spare = nullptr;
};

// Reads boxes of one side of a comparison, all as one dtype that holds every value of both sides:
// BF16 or F32. Not thread-safe.
class SideReader {
 public:
  // `rows` and `columns` are the whole parameter's. The arguments must outlive this object.
  SideReader(const Source& source, const StoredSide& side, std::int64_t rows, std::int64_t columns,
             DType dtype, const SideBuffers& buffers)
      : source_(source),
        side_(side),
        rows_(rows),
        columns_(columns),
        dtype_(dtype),
        buffers_(buffers) {}

  // Prepares for boxes of these rows: reads the rows if the side is packed.
  void open(std::int64_t expert, std::int64_t row, std::int64_t rows);

  // Fills `out` with a box of the opened rows: [rows][columns], or [columns][rows] if transposed. A
  // packed side takes boxes of whole blocks. A dense side takes transposed boxes and, if it is
  // stored [rows][columns], straight ones.
  void load(const Box& box, bool transposed, std::byte* out);

  // Loads `count` elements of the expert from `first` on, in stored order. Dense only.
  void load_flat(std::int64_t expert, std::int64_t first, std::int64_t count, std::byte* out);

  // The bytes that open() read.
  std::span<const std::byte> packed() const noexcept;
  // The bytes that load_flat() last read, as stored.
  std::span<const std::byte> raw() const noexcept { return raw_; }

  // The largest magnitude that each block of a box can hold, in the order of dense::compare()'s
  // limits. Packed only.
  void load_limits(const Box& box, bool transposed, float* limits) const;
  // Counts the blocks of the opened rows by scale, adding to `counts`. Packed only.
  void count_scales(std::array<std::uint64_t, 256>& counts) const;

 private:
  mxfp4::PackedView view(const Box& box) const;
  void read_lines(std::uint64_t first, std::int64_t stride, std::int64_t lines, std::int64_t length,
                  std::byte* out);

  const Source& source_;
  const StoredSide& side_;
  std::int64_t rows_, columns_;
  DType dtype_;
  SideBuffers buffers_;
  Box opened_;
  std::span<const std::byte> raw_;
};

}  // namespace mxferry::internal
