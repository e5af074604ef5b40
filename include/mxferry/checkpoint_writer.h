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

// What to write and where; the defaults match ConvertOptions.
struct WriterOptions {
  std::filesystem::path destination = {};
  // The whole tensors of the model in memory, under Hugging Face's or NeMo AutoModel's names; dense
  // expert weights are [experts, in, out].
  std::vector<ReadableTensor> tensors = {};
  std::optional<Codec> dtype = {};
  std::optional<DType> dense_dtype = {};
  QuantMode quant_mode = QuantMode::gptoss;
  std::string reference = {};
  // The text of the model's config.json, edited as in a conversion. If "", the reference's is used,
  // else the one in `side_files`.
  std::string config = {};
  // A folder, or a Hub name in the local cache, whose tokenizer and similar files are copied along;
  // if "", the reference.
  std::string side_files = {};
  std::uint64_t max_shard_size = 5'000'000'000;
  bool sync = true;
  bool allow_nonfinite = false;
  bool force = false;
};

// A box of a tensor and the memory that holds it, in the tensor's dtype.
struct ConstRegion {
  std::size_t tensor = 0;  // index into WriterOptions::tensors
  Shape begin;             // start of the box, by dimension, in elements
  Shape extent;            // size of the box
  const std::byte* data = nullptr;
  // Strides of the memory, by dimension, in elements; the last is 1.
  std::vector<std::int64_t> strides = {};
};

struct WriteOptions {
  int threads = 0;            // 0: as many as the process may use
  std::stop_token stop = {};  // on request, write() throws Error(cancelled)
};

// Writes a checkpoint in Hugging Face's layout from memory, box by box, in one process or in many
// that see the same folder. The files are byte for byte those that convert() makes from the same
// weights. Each process creates a writer with the same options. One calls create(); then each
// writes boxes that no other writes, and calls sync(). When every byte is written and synced, the
// process that called create() calls commit(). The processes must tell each other what is done; the
// writer does not.
class CheckpointWriter {
 public:
  // Plans the checkpoint: reads the reference's headers, writes nothing. Throws Error: what
  // plan_conversion() throws for the same tensors in a folder; missing_tensor and missing_layer for
  // anything that a whole model has and this one lacks; unsupported if packed weights would have to
  // be decoded.
  explicit CheckpointWriter(const WriterOptions& options);
  CheckpointWriter(CheckpointWriter&&) noexcept;
  CheckpointWriter& operator=(CheckpointWriter&&) noexcept;
  // Discards what was created but not committed.
  ~CheckpointWriter();

  // Whether the tensor is quantized as it is written. If so, its blocks run along `in`, the second
  // dimension, and each of its boxes must span all of it.
  bool quantizes(std::size_t tensor) const;

  // SHA-256, in hexadecimal, of everything that the files depend on except the weights: options,
  // names, dtypes, shapes, the reference. Processes that write together compare it before create().
  std::string digest() const;

  // Claims the destination and reserves the shards, in a folder there that no reader looks at; the
  // destination's current content stays unchanged until commit(). Throws Error: destination_exists,
  // destination_in_use, conversion_changed (a conversion was begun there), invalid_argument (the
  // reference or a side file lies there), not_enough_disk, io_error.
  void create();

  // Converts and writes the boxes; needs about 20 MiB per thread, however large they are.
  // Thread-safe. Throws Error: invalid_argument (no such tensor, a box outside it or without all of
  // `in`, strides that are not row-major or overlap, missing memory), nonfinite_weight, overflow,
  // io_error, cancelled.
  void write(const std::vector<ConstRegion>& regions, const WriteOptions& options = {}) const;

  // Completes this writer's output: puts it where commit() finds it and, with WriterOptions::sync,
  // returns once it is on disk. Every process calls it.
  void sync() const;

  // Writes the other files and replaces the old checkpoint with the new one. After an error the old
  // one is unchanged; if the switch itself was interrupted, the next command on the folder
  // completes it. Throws Error: invalid_argument (not created, or already committed), io_error,
  // destination_in_use, destination_exists (another program has put a checkpoint there meanwhile).
  void commit();

  // Removes what create() made; does nothing after commit().
  void discard() noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mxferry
