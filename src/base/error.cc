#include "mxferry/error.h"

#include <string>
#include <utility>

namespace mxferry {

namespace {

std::string message(const ErrorDetails& details) {
  std::string text;
  if (!details.file.empty()) text += details.file.string() + ": ";
  if (!details.tensor.empty()) text += "tensor '" + details.tensor + "': ";
  text += details.problem;
  if (!details.expected.empty()) text += "; expected " + details.expected;
  if (!details.found.empty())
    text += (details.expected.empty() ? "; found " : ", found ") + details.found;
  if (!details.advice.empty()) text += ". " + details.advice;
  return printable(text);
}

}  // namespace

Error::Error(ErrorCode code, ErrorDetails details)
    : std::runtime_error(message(details)), code_(code), details_(std::move(details)) {}

ErrorCategory category(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::invalid_argument:
    case ErrorCode::destination_exists:
    case ErrorCode::destination_in_use:
    case ErrorCode::conversion_changed:
    case ErrorCode::unsupported:
      return ErrorCategory::usage;
    case ErrorCode::io_error:
    case ErrorCode::verification_failed:
      return ErrorCategory::system;
    case ErrorCode::not_enough_memory:
    case ErrorCode::not_enough_disk:
      return ErrorCategory::limit;
    case ErrorCode::cancelled:
      return ErrorCategory::cancelled;
    default:
      return ErrorCategory::source;
  }
}

const char* name(ErrorCode code) noexcept {
  switch (code) {
#define MXFERRY_CASE(value) \
  case ErrorCode::value:    \
    return #value
    MXFERRY_CASE(invalid_argument);
    MXFERRY_CASE(destination_exists);
    MXFERRY_CASE(destination_in_use);
    MXFERRY_CASE(conversion_changed);
    MXFERRY_CASE(unsupported);
    MXFERRY_CASE(header_too_small);
    MXFERRY_CASE(header_too_large);
    MXFERRY_CASE(invalid_header_length);
    MXFERRY_CASE(invalid_header_utf8);
    MXFERRY_CASE(invalid_header_json);
    MXFERRY_CASE(duplicate_key);
    MXFERRY_CASE(invalid_offset);
    MXFERRY_CASE(size_overflow);
    MXFERRY_CASE(misaligned_size);
    MXFERRY_CASE(tensor_size_mismatch);
    MXFERRY_CASE(file_size_mismatch);
    MXFERRY_CASE(not_a_checkpoint);
    MXFERRY_CASE(git_lfs_pointer);
    MXFERRY_CASE(incomplete_download);
    MXFERRY_CASE(unfinished_conversion);
    MXFERRY_CASE(lora_adapter);
    MXFERRY_CASE(invalid_index);
    MXFERRY_CASE(invalid_config);
    MXFERRY_CASE(invalid_manifest);
    MXFERRY_CASE(missing_shard);
    MXFERRY_CASE(missing_tensor);
    MXFERRY_CASE(missing_partner);
    MXFERRY_CASE(missing_layer);
    MXFERRY_CASE(wrong_dtype);
    MXFERRY_CASE(wrong_shape);
    MXFERRY_CASE(name_collision);
    MXFERRY_CASE(invalid_sharding_info);
    MXFERRY_CASE(missing_chunk);
    MXFERRY_CASE(overlapping_chunks);
    MXFERRY_CASE(wrapped_names);
    MXFERRY_CASE(foreign_quantization);
    MXFERRY_CASE(unknown_layout);
    MXFERRY_CASE(unknown_orientation);
    MXFERRY_CASE(nonfinite_block);
    MXFERRY_CASE(nonfinite_weight);
    MXFERRY_CASE(overflow);
    MXFERRY_CASE(io_error);
    MXFERRY_CASE(verification_failed);
    MXFERRY_CASE(not_enough_memory);
    MXFERRY_CASE(not_enough_disk);
    MXFERRY_CASE(cancelled);
#undef MXFERRY_CASE
  }
  return "unknown";
}

}  // namespace mxferry
