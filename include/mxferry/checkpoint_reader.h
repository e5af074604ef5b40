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

// As what a checkpoint is read; the defaults are those of ConvertOptions.
struct ReaderOptions {
  std::string source = {};  // a checkpoint folder, or a Hub name that lies in the local cache
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
  std::optional<DType> stored_dtype = {};  // in the files; nullopt where packed weights are decoded
};

// A box of a tensor, and the memory that it is read into.
struct Region {
  std::size_t tensor = 0;     // index into CheckpointReader::tensors()
  Shape begin;                // of the box, by dimension, in elements
  Shape extent;               // of the box
  std::byte* data = nullptr;  // where element `begin` goes
  // Elements from one to the next in memory, by dimension; the last is 1.
  std::vector<std::int64_t> strides = {};
  // Of the memory. Weights in BF16, F16 and F32 can be read as each other.
  DType dtype = DType::BF16;
};

struct ReadOptions {
  int threads = 0;  // 0: as many as the process may use
  std::function<void(const ConvertProgress&)> progress =
      {};  // in bytes of memory; from any thread, never two calls at once; must not throw
  std::stop_token stop = {};  // on request read() throws Error(cancelled)
};

// A checkpoint as the tensors that a conversion would write, each decoded when it is read, by parts
// if need be. Reading is thread-safe, keeps nothing, and needs a few MiB a thread whatever it
// reads.
class CheckpointReader {
 public:
  // Reads what inspect() reads. Throws what plan_conversion() throws, and Error(unsupported) where
  // dense weights would have to be quantized.
  explicit CheckpointReader(const ReaderOptions& options);
  CheckpointReader(CheckpointReader&&) noexcept;
  CheckpointReader& operator=(CheckpointReader&&) noexcept;
  ~CheckpointReader();

  // In natural order of the names.
  const std::vector<ReadableTensor>& tensors() const noexcept;

  // Fills the regions' memory and returns the bytes read from the files: those of the boxes, with
  // packed weights in whole blocks, and with the bytes between rows that are less than a page
  // apart. Rounds to nearest even, to infinity beyond the range of F16, and refuses no value.
  // Throws Error: invalid_argument (a box that leaves its tensor, strides that overlap),
  // unsupported (a dtype that the tensor cannot be read as), io_error, file_size_mismatch,
  // cancelled; the memory's content is then unspecified.
  std::uint64_t read(const std::vector<Region>& regions, const ReadOptions& options = {}) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mxferry
