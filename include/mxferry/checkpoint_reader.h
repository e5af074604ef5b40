#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "mxferry/config.h"
#include "mxferry/convert.h"
#include "mxferry/dtype.h"
#include "mxferry/layout.h"
#include "mxferry/tensor.h"

namespace mxferry {

// How a checkpoint is presented; the defaults match ConvertOptions, except for the layout.
struct ReaderOptions {
  std::string source = {};  // a checkpoint folder, or a Hub name in the local cache
  Layout layout = Layout::nemo;
  BackendConfig backend = {};
  std::optional<Codec> dtype = {};
  std::optional<DType> dense_dtype = {};
  std::optional<AxisOrder> orientation = {};
};

struct ReadableTensor {
  std::string name;
  DType dtype = DType::U8;
  Shape shape;
  std::optional<DType> stored_dtype = {};  // in the files; nullopt if packed weights are decoded
};

// A box of a tensor and the memory to read it into.
struct Region {
  std::size_t tensor = 0;     // index into CheckpointReader::tensors()
  Shape begin;                // start of the box, by dimension, in elements
  Shape extent;               // size of the box
  std::byte* data = nullptr;  // receives the element at `begin`
  // Strides of the memory, by dimension, in elements; the last is 1.
  std::vector<std::int64_t> strides = {};
  // Dtype of the memory. BF16, F16 and F32 weights can be read as any of the three.
  DType dtype = DType::BF16;
};

struct ReadOptions {
  int threads = 0;  // 0: as many as the process may use
  // Counts bytes of memory filled. Called from any thread, never concurrently; must not throw.
  std::function<void(const ConvertProgress&)> progress = {};
  std::stop_token stop = {};  // on request, read() throws Error(cancelled)
};

// Presents a checkpoint as the tensors that a conversion would write. Tensors are decoded as they
// are read, whole or box by box. Reading is thread-safe, caches nothing and needs a few MiB per
// thread, however much it reads.
class CheckpointReader {
 public:
  // Reads what inspect() reads. Throws what plan_conversion() throws, and Error(unsupported) if
  // dense weights would have to be quantized.
  explicit CheckpointReader(const ReaderOptions& options);
  CheckpointReader(CheckpointReader&&) noexcept;
  CheckpointReader& operator=(CheckpointReader&&) noexcept;
  ~CheckpointReader();

  // In natural order of the names.
  const std::vector<ReadableTensor>& tensors() const noexcept;

  // Fills the regions' memory and returns the number of bytes read from the files: the boxes, with
  // packed weights in whole blocks, plus gaps of less than a page between rows. Rounds to nearest
  // even, and to infinity beyond the range of F16; rejects no value. Throws Error: invalid_argument
  // (no such tensor, a box outside it, strides that are not row-major or overlap, missing or
  // misaligned memory), unsupported (a dtype that the tensor cannot be read as), io_error,
  // file_size_mismatch, cancelled; the memory's content is then unspecified.
  std::uint64_t read(const std::vector<Region>& regions, const ReadOptions& options = {}) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mxferry
