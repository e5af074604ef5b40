#pragma once

#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>

namespace mxferry {

// One value per cause. `category()` groups them for exit codes and for callers that only need to
// know who is at fault.
enum class ErrorCode {
  // The caller asked for something that cannot be done.
  invalid_argument,
  destination_exists,
  destination_in_use,  // by another process
  conversion_changed,  // the conversion to resume is not the one that was begun
  unsupported,
  // A safetensors file breaks a rule of the format.
  header_too_small,
  header_too_large,
  invalid_header_length,
  invalid_header_utf8,
  invalid_header_json,
  duplicate_key,
  invalid_offset,
  size_overflow,
  misaligned_size,
  tensor_size_mismatch,
  file_size_mismatch,
  // A checkpoint folder is not what it should be.
  not_a_checkpoint,
  git_lfs_pointer,
  incomplete_download,
  unfinished_conversion,
  lora_adapter,
  invalid_index,
  invalid_config,
  invalid_manifest,
  missing_shard,
  missing_tensor,
  missing_partner,
  missing_layer,
  wrong_dtype,
  wrong_shape,
  name_collision,
  // The files of a distributed checkpoint do not form whole tensors.
  invalid_sharding_info,
  missing_chunk,
  overlapping_chunks,
  // The layout is unclear, or the target cannot hold the values.
  wrapped_names,         // names of the model, changed by a program that wrapped it
  foreign_quantization,  // weights in a form that no layout has
  unknown_layout,
  unknown_orientation,
  nonfinite_block,
  nonfinite_weight,
  overflow,
  // The operating system refused.
  io_error,
  verification_failed,  // a file does not hold what was written to it
  // A resource is too small; usually detected before the work begins.
  not_enough_memory,
  not_enough_disk,
  // Requested by the caller's stop_token or a signal.
  cancelled,
};

enum class ErrorCategory { usage, source, system, limit, cancelled };

ErrorCategory category(ErrorCode code) noexcept;

// The code as written above, for example "header_too_small": stable, meant for programs.
const char* name(ErrorCode code) noexcept;

// What a person needs in order to act. The message omits empty fields.
struct ErrorDetails {
  std::string problem = {};         // what is wrong, without a final period
  std::filesystem::path file = {};  // where
  std::string tensor = {};          // where, the full tensor name as stored
  std::string expected = {};
  std::string found = {};
  std::string advice = {};  // what to do about it, as a sentence
};

// The text with control characters, DEL, and bytes that are not UTF-8 written as \xNN, so that an
// untrusted name can be shown on a terminal. what() of an Error is already printable.
std::string printable(std::string_view text);

// The only exception type that this library throws. what() is one line of printable text: control
// characters of untrusted names are escaped.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, ErrorDetails details);

  ErrorCode code() const noexcept { return code_; }
  const ErrorDetails& details() const noexcept { return details_; }

 private:
  ErrorCode code_;
  ErrorDetails details_;
};

}  // namespace mxferry
