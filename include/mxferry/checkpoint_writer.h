#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "mxferry/checkpoint_reader.h"
#include "mxferry/dtype.h"
#include "mxferry/layout.h"
#include "mxferry/quant_mode.h"
#include "mxferry/tensor.h"

namespace mxferry {

// What is written, and where; the defaults are those of ConvertOptions.
struct WriterOptions {
  std::filesystem::path destination = {};
  // The model as memory holds it, by whole tensors: names of Hugging Face's or NeMo AutoModel's,
  // the experts' dense weights [experts, in, out].
  std::vector<ReadableTensor> tensors = {};
  std::optional<Codec> dtype = {};
  std::optional<DType> dense_dtype = {};
  QuantMode quant_mode = QuantMode::gptoss;
  std::string reference = {};
  // The text of the model's config.json, which is edited as a conversion does; "": that of the
  // reference, else of `side_files`.
  std::string config = {};
  // A folder, or a Hub name that lies in the local cache, whose tokenizer and other such files go
  // along; "": the reference.
  std::string side_files = {};
  std::uint64_t max_shard_size = 5'000'000'000;
  bool sync = true;
  bool allow_nonfinite = false;
  bool force = false;
};

// A box of a tensor, and the memory that holds it in the tensor's dtype.
struct ConstRegion {
  std::size_t tensor = 0;  // index into WriterOptions::tensors
  Shape begin;             // of the box, by dimension, in elements
  Shape extent;            // of the box
  const std::byte* data = nullptr;
  // Elements from one to the next in memory, by dimension; the last is 1.
  std::vector<std::int64_t> strides = {};
};

struct WriteOptions {
  int threads = 0;            // 0: as many as the process may use
  std::stop_token stop = {};  // on request write() throws Error(cancelled)
};

// A checkpoint in Hugging Face's layout, written by parts from memory, by one process or by many
// that see the same folder: the files are, byte for byte, those that convert() makes of the same
// weights. Each process makes a writer with the same options. One calls create(); then each
// writes boxes, any that no other writes, and calls sync(); when every byte is written and synced,
// the one that has called create() calls commit(). The processes tell each other what is done; the
// writer does not.
class CheckpointWriter {
 public:
  // Plans; reads headers of the reference, writes nothing. Throws Error: what plan_conversion()
  // throws of the same tensors in a folder; missing_tensor and missing_layer for what a whole model
  // has and this one has not; unsupported where packed weights would have to be decoded.
  explicit CheckpointWriter(const WriterOptions& options);
  CheckpointWriter(CheckpointWriter&&) noexcept;
  CheckpointWriter& operator=(CheckpointWriter&&) noexcept;
  // Discards what was created and not committed.
  ~CheckpointWriter();

  // Whether the tensor is quantized while it is written. Its blocks run along `in`, so each box of
  // it must have all of that dimension, the second one.
  bool quantizes(std::size_t tensor) const;

  // SHA-256, in hexadecimal, of what the files depend on but for the weights: options, names,
  // dtypes, shapes, the reference. Processes that write together compare it before create().
  std::string digest() const;

  // Claims the destination and reserves the shards, in a folder there that no reader looks at; what
  // the destination holds stays as it is until commit(). Throws Error: destination_exists,
  // destination_in_use, invalid_argument (the reference lies there), not_enough_disk, io_error.
  void create();

  // Converts and writes the boxes, needs some 20 MiB a thread whatever they hold. Thread-safe.
  // Throws Error: invalid_argument (a box that leaves its tensor or has not all of `in`, strides
  // that overlap), nonfinite_weight, overflow, io_error, cancelled.
  void write(const std::vector<ConstRegion>& regions, const WriteOptions& options = {}) const;

  // Ends what this writer writes: puts it where commit() finds it, and with WriterOptions::sync
  // returns when it is on the disk. Every process calls it.
  void sync() const;

  // Writes the other files and puts the new checkpoint in the place of the old one. After an error
  // the old one is as it was; where the switch itself was interrupted, the next command on the
  // folder completes it. Throws Error: io_error, destination_exists (another program has put a
  // checkpoint there meanwhile).
  void commit();

  // Removes what create() made; does nothing after commit().
  void discard() noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mxferry
