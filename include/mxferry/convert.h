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
  std::uint64_t bytes_done = 0;  // of the target, and of what is read to verify it
  std::uint64_t bytes_total = 0;
};

// Which of several processes this is that do a conversion together, on one machine or many that see
// the same folders. Each does its part, whenever it likes; then finish_conversion() of one of them
// makes a checkpoint of all.
struct Part {
  int rank = 0;   // 0 .. world - 1
  int world = 1;  // 1: convert() does everything
  // How many of them are at work on this machine, and share its processors unless each is bound to
  // some of its own.
  int local_world = 1;
};

struct ConvertPlan;

// What `mxferry convert` takes; the defaults are its defaults.
struct ConvertOptions {
  std::string
      source;  // a checkpoint folder, or a Hub name such as "openai/gpt-oss-20b" in the local cache
  std::filesystem::path destination;
  Layout to = Layout::hf;
  BackendConfig backend;  // the names that the nemo layout gives the sinks
  std::optional<Codec>
      dtype;  // of every known floating parameter; nullopt: bf16 where experts are dequantized,
              // else unchanged. mxfp4 means the experts' weights alone
  std::optional<DType>
      dense_dtype;  // overrides dtype for all but the experts' weights: BF16, F16 or F32
  QuantMode quant_mode = QuantMode::gptoss;  // where weights are quantized
  // A checkpoint with MXFP4 experts, of the same model: blocks that are exact under its scales keep
  // them, so that what was not changed since returns byte for byte; "" for none.
  std::string reference;
  // How dense expert weights lie whose two dimensions are equal; nullopt: as their sibling in the
  // layer, else as the weights tell, else it is an error. Others tell by their shape.
  std::optional<AxisOrder> orientation;
  std::string exclude;  // tensors whose target name Python's re.match(exclude, name) finds; ""
                        // excludes none
  std::uint64_t max_shard_size = 5'000'000'000;  // bytes of data in one file
  // Not 0: files for so many ranks as torch.distributed.checkpoint writes them, each with its chunk
  // of every tensor, cut along dimension 0, and no index; `to` hf or nemo, and max_shard_size as it
  // is. Ranks beyond the longest dimension 0 have no file.
  int dcp_shards = 0;
  int threads = 0;                                    // 0: as many as the process may use
  std::uint64_t max_memory = std::uint64_t{1} << 30;  // bytes, of the whole process
  bool sync = true;  // wait until everything is on the disk; false is for scratch folders
  bool allow_nonfinite =
      false;  // decode blocks whose weights are infinite or NaN instead of refusing them, and
              // quantize infinite weights to the largest number; NaN is refused all the same
  bool checksum = false;  // also write SHA256SUMS, which verify_manifest() checks
  bool verify = false;    // read everything back and compare it with the conversion, done again
  // Replace a checkpoint that is at the destination, which stays as it is until the new one is
  // whole, and what other conversions have begun there.
  bool force = false;
  // Go on with a conversion that was begun at the destination with the same options, whose finished
  // files stay; begin it where there is none. Where something finished is there, prove that it is
  // what this conversion makes, by comparing every byte, or refuse it.
  bool resume = false;
  Part part = {};
  // Called when everything is planned and nothing is changed yet; an exception ends the conversion.
  std::function<void(const ConvertPlan&)> on_planned;
  std::function<void(const ConvertProgress&)>
      progress;          // from any thread, never two calls at once; must not throw
  std::stop_token stop;  // on request convert() ends as after an error, and throws Error(cancelled)
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
  std::vector<std::string> carried;  // other files of the folder that go along, config.json edited
  std::vector<std::string> passed_through;  // tensors of unknown name, copied untouched
  std::size_t excluded = 0;
  std::vector<Problem> warnings;
  int threads = 1;
  std::uint64_t peak_memory = 0;  // bytes, estimated from above
  std::uint64_t disk_needed = 0;  // bytes
  std::uint64_t disk_free = 0;    // bytes where the destination is or will be
  bool destination_exists = false;
  // SHA-256 of everything that the bytes of the result depend on: processes that convert together
  // agree where it is the same.
  std::string digest;
  Part part = {};
  std::uint64_t part_bytes_in = 0;  // of bytes_in and bytes_out, what is this part's
  std::uint64_t part_bytes_out = 0;
};

// What quantizing made of one parameter.
struct QuantizedTensor {
  std::string blocks;  // the tensor's name
  std::uint64_t block_count = 0;
  std::uint64_t kept = 0;       // have the reference's scale and codes
  std::uint64_t saturated = 0;  // have a weight beyond 6 * scale
};

struct ConvertReport {
  ConvertPlan plan;
  double seconds = 0;
  std::uint64_t underflows =
      0;  // values rounded below the target dtype's normal range; only to F16 and from F32
  std::uint64_t flushed = 0;  // of these, nonzero values that became 0
  std::vector<QuantizedTensor> quantized;
  std::size_t resumed_shards = 0;  // were there already, finished by an earlier run
  bool was_complete = false;       // there was nothing left to do; with `resume` only
  bool finished = true;   // the destination is a checkpoint; not yet where there are other parts
  bool verified = false;  // every byte was read back and is what this conversion defines
  // With `verify`, where the target cannot hold every value: how it differs from the source.
  std::optional<Difference> loss;
};

// Reads what inspect() reads. Throws Error: what inspect() would call fatal, and what the options
// ask for and is impossible (invalid_argument, unsupported, name_collision, not_enough_memory).
ConvertPlan plan_conversion(const ConvertOptions& options);

// Converts, or does its part of a conversion. The destination is as it was until the new checkpoint
// is whole and synced: docs/destination.md describes the protocol. After an error or a stop the
// files that are finished stay beside what was there, so that the conversion can be resumed;
// without any, and without other parts, everything that was written is removed. Throws what
// plan_conversion() throws, destination_exists, destination_in_use, conversion_changed,
// not_enough_disk, nonfinite_block, overflow, nonfinite_weight, io_error, verification_failed,
// cancelled.
ConvertReport convert(const ConvertOptions& options);

struct FinishReport {
  int parts = 0;  // 0: it was finished before
  std::size_t files = 0;
  std::uint64_t bytes = 0;  // of the weight files
};

// Makes a checkpoint of what all parts of a conversion have written to a folder: checks that each
// is done and every file whole, puts those together that several parts wrote, and then puts the
// checkpoint in place. Also completes that step where it was interrupted. May run many times, and
// at once: does nothing where it is done. Throws Error: not_a_checkpoint (nothing was begun there),
// unfinished_conversion (which parts are not done), destination_in_use, io_error, what a file that
// is not whole gives, and cancelled where checksums of files that several parts wrote take long.
FinishReport finish_conversion(const std::filesystem::path& destination, std::stop_token stop = {});

}  // namespace mxferry
