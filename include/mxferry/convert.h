#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "mxferry/config.h"
#include "mxferry/difference.h"
#include "mxferry/inspect.h"
#include "mxferry/layout.h"
#include "mxferry/quant_mode.h"
#include "mxferry/safetensors.h"

namespace mxferry {

struct ConvertProgress {
  std::uint64_t bytes_done = 0;  // of the target, plus bytes read to verify it
  std::uint64_t bytes_total = 0;
};

// Identifies one of several processes that perform a conversion together, on one machine or on many
// that see the same folders. Each does its part at any time; then one of them calls
// finish_conversion() to make a checkpoint of all parts.
struct Part {
  int rank = 0;   // 0 .. world - 1
  int world = 1;  // 1: convert() does everything
  // How many of these processes run on this machine and share its processors, unless each is bound
  // to its own.
  int local_world = 1;
};

struct ConvertPlan;

// The options of `mxferry convert`, with the same defaults.
struct ConvertOptions {
  // A checkpoint folder, or a Hub name in the local cache, such as "openai/gpt-oss-20b".
  std::string source;
  std::filesystem::path destination;
  Layout to = Layout::hf;
  BackendConfig backend;  // selects the sinks' names in the nemo layout
  // Of every known floating-point parameter; mxfp4 applies to the experts' weights alone. nullopt:
  // bf16 if experts are dequantized, else unchanged.
  std::optional<Codec> dtype;
  // Overrides `dtype` for everything but the experts' weights: BF16, F16 or F32.
  std::optional<DType> dense_dtype;
  QuantMode quant_mode = QuantMode::gptoss;  // for weights that are quantized
  // A checkpoint of the same model with MXFP4 experts; "" for none. Blocks that are exact under its
  // scales keep those scales, so that unmodified weights come back byte for byte.
  std::string reference;
  // The axis order of dense expert weights whose two dimensions are equal; others are recognized by
  // their shape. nullopt: that of their sibling in the same layer, else what the weights reveal,
  // else an error.
  std::optional<AxisOrder> orientation;
  // Leaves out tensors whose target name Python's re.match(exclude, name) matches; "" excludes
  // none.
  std::string exclude;
  std::uint64_t max_shard_size = 5'000'000'000;  // bytes of tensor data per file
  // If not 0, writes files as torch.distributed.checkpoint does for this many ranks, each with its
  // chunk of every tensor, cut along dimension 0, and no index. Requires `to` hf or nemo and the
  // default max_shard_size. Ranks beyond the longest dimension 0 have no file.
  int dcp_shards = 0;
  int threads = 0;                                    // 0: as many as the process may use
  std::uint64_t max_memory = std::uint64_t{1} << 30;  // bytes, of the whole process
  bool sync = true;  // wait until everything is on disk; false is for scratch folders
  // Decode blocks with infinite or NaN weights instead of refusing them, and quantize weights that
  // are infinite or too large for MXFP4 to the largest number; NaN weights are still refused.
  bool allow_nonfinite = false;
  bool checksum = false;  // also write SHA256SUMS, which verify_manifest() checks
  bool strict = false;    // refuse a source of which there is a warning
  bool verify = false;    // read everything back and compare it with a second conversion
  // Replace the checkpoint at the destination, which stays unchanged until the new one is whole,
  // and anything that other conversions have begun there.
  bool force = false;
  // Continue a conversion begun at the destination with the same options, keeping its finished
  // files; begin one if there is none. If the destination holds something finished, prove by
  // comparing every byte that it is what this conversion makes, or refuse it.
  bool resume = false;
  Part part = {};
  // Called after planning, before anything is changed; an exception ends the conversion.
  std::function<void(const ConvertPlan&)> on_planned;
  // Called from any thread, never concurrently; must not throw.
  std::function<void(const ConvertProgress&)> progress;
  std::stop_token stop;  // on request, convert() ends as after an error and throws Error(cancelled)
};

struct PlannedShard {
  std::string file;
  std::uint64_t bytes = 0;          // of the whole file
  std::vector<TensorInfo> tensors;  // in the order of the data
};

// What a conversion will do, known before it begins.
struct ConvertPlan {
  std::filesystem::path source;  // resolved
  Layout from = Layout::hf;
  Layout to = Layout::hf;
  std::size_t tensors_in = 0;
  std::size_t tensors_out = 0;
  std::uint64_t bytes_in = 0;   // of tensor data to be read
  std::uint64_t bytes_out = 0;  // of tensor data to be written
  std::vector<PlannedShard> shards;
  // Other files, copied unchanged; config.json is edited and not listed.
  std::vector<std::string> carried;
  std::vector<std::string> passed_through;  // tensors of unknown name, copied unchanged
  std::size_t excluded = 0;
  std::vector<Problem> warnings;
  int threads = 1;
  std::uint64_t peak_memory = 0;  // bytes, an upper estimate
  std::uint64_t disk_needed = 0;  // bytes
  std::uint64_t disk_free = 0;    // bytes, on the destination's file system
  bool destination_exists = false;
  // SHA-256 of everything that the bytes of the result depend on. Processes that convert together
  // agree if theirs are equal.
  std::string digest;
  Part part = {};
  std::uint64_t part_bytes_in = 0;  // this part's share of bytes_in and bytes_out
  std::uint64_t part_bytes_out = 0;
};

// The outcome of quantizing one parameter.
struct QuantizedTensor {
  std::string blocks;  // the tensor's name
  std::uint64_t block_count = 0;
  std::uint64_t kept = 0;       // blocks that keep the reference's scale
  std::uint64_t saturated = 0;  // blocks with a weight beyond 6 * scale
};

struct ConvertReport {
  ConvertPlan plan;
  double seconds = 0;
  // Inexact values below the target dtype's normal range; only for casts to F16 and from F32.
  std::uint64_t underflows = 0;
  std::uint64_t flushed = 0;  // of these, nonzero values that became 0
  std::vector<QuantizedTensor> quantized;
  std::size_t resumed_shards = 0;  // already finished by an earlier run
  bool was_complete = false;       // nothing was left to do; only with `resume`
  bool finished = true;   // the destination is a checkpoint; false if there are other parts
  bool verified = false;  // every byte was read back and is what this conversion defines
  // With `verify`, if the target cannot hold every value: how it differs from the source.
  std::optional<Difference> loss;
};

// Reads what inspect() reads. Throws Error: what inspect() reports as fatal, and for options that
// ask for the impossible: invalid_argument, unsupported, name_collision, not_enough_memory.
ConvertPlan plan_conversion(const ConvertOptions& options);

// Converts, or does its part of a conversion. The destination is unchanged until the new checkpoint
// is whole and synced: docs/destination.md describes the protocol. After an error or a stop,
// finished files stay beside the destination's old content, so that the conversion can be resumed;
// without finished files or other parts, everything written is removed. Throws what
// plan_conversion() throws, destination_exists, destination_in_use, conversion_changed,
// not_enough_disk, nonfinite_block, overflow, nonfinite_weight, io_error, verification_failed,
// cancelled.
ConvertReport convert(const ConvertOptions& options);

struct FinishReport {
  int parts = 0;  // 0: already finished
  std::size_t files = 0;
  std::uint64_t bytes = 0;  // of the weight files
};

// Makes a checkpoint of what all parts of a conversion have written to a folder: checks that each
// part is done and every file whole, assembles the files that several parts wrote, and then puts
// the checkpoint in place. Also completes that last step if it was interrupted. May run repeatedly
// and concurrently; does nothing if the work is done. Throws Error: not_a_checkpoint (nothing was
// begun there), unfinished_conversion (which parts are not done), destination_in_use, io_error, the
// error of a file that is not whole, and cancelled (while it waits for a lock, or computes
// checksums of files that several parts wrote).
FinishReport finish_conversion(const std::filesystem::path& destination, std::stop_token stop = {});

}  // namespace mxferry
