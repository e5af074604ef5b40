// Saves a dense checkpoint as Python's save_checkpoint() does in one process, for tests of what
// several writers do to one folder:
//   save_model SRC DST [--force] [--no-sync] [--reference DIR] [--max-shard-size BYTES]
// With a reference the experts' weights are quantized. An error is told as by the command: a line
// that begins with "mxferry: ", then one with the name of the error, and the same exit code.
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "mxferry/checkpoint_reader.h"
#include "mxferry/checkpoint_writer.h"
#include "mxferry/error.h"

namespace {

constexpr int kUsage = 2;
constexpr int kSource = 3;
constexpr int kSystem = 4;
constexpr int kLimit = 5;

int exit_code(mxferry::ErrorCode code) {
  switch (mxferry::category(code)) {
    case mxferry::ErrorCategory::usage:
      return kUsage;
    case mxferry::ErrorCategory::source:
      return kSource;
    case mxferry::ErrorCategory::limit:
      return kLimit;
    case mxferry::ErrorCategory::system:
    case mxferry::ErrorCategory::cancelled:
      return kSystem;
  }
  return kSystem;
}

// False where it is no command line of this tool.
bool parse(const std::vector<std::string>& arguments, mxferry::WriterOptions& options) {
  if (arguments.size() < 2) return false;
  options.side_files = arguments[0];
  options.destination = arguments[1];
  for (std::size_t i = 2; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    const bool has_value = i + 1 < arguments.size();
    if (argument == "--force") {
      options.force = true;
    } else if (argument == "--no-sync") {
      options.sync = false;
    } else if (argument == "--reference" && has_value) {
      options.reference = arguments[++i];
      options.dtype = mxferry::Codec::mxfp4;
    } else if (argument == "--max-shard-size" && has_value) {
      const std::string& size = arguments[++i];
      const char* const end = size.data() + size.size();
      if (std::from_chars(size.data(), end, options.max_shard_size).ptr != end) return false;
    } else {
      return false;
    }
  }
  return true;
}

// Of a tensor that lies in a row.
std::vector<std::int64_t> strides_of(const mxferry::Shape& shape) {
  std::vector<std::int64_t> strides(shape.size(), 1);
  for (std::size_t i = shape.size(); i > 1; --i) strides[i - 2] = strides[i - 1] * shape[i - 1];
  return strides;
}

void save(mxferry::WriterOptions options) {
  const mxferry::CheckpointReader reader(
      {.source = options.side_files, .layout = mxferry::Layout::hf});
  options.tensors = reader.tensors();
  std::vector<std::vector<std::byte>> memory;
  std::vector<mxferry::Region> to_read;
  std::vector<mxferry::ConstRegion> to_write;
  for (std::size_t i = 0; i < options.tensors.size(); ++i) {
    const mxferry::ReadableTensor& tensor = options.tensors[i];
    auto bytes = static_cast<std::size_t>(mxferry::bits(tensor.dtype)) / 8;
    for (const auto extent : tensor.shape) bytes *= static_cast<std::size_t>(extent);
    memory.emplace_back(bytes);
    const mxferry::Shape begin(tensor.shape.size(), 0);
    to_read.push_back({.tensor = i,
                       .begin = begin,
                       .extent = tensor.shape,
                       .data = memory.back().data(),
                       .strides = strides_of(tensor.shape),
                       .dtype = tensor.dtype});
    to_write.push_back({.tensor = i,
                        .begin = begin,
                        .extent = tensor.shape,
                        .data = memory.back().data(),
                        .strides = strides_of(tensor.shape)});
  }
  reader.read(to_read, {.threads = 1});
  mxferry::CheckpointWriter writer(options);
  writer.create();
  writer.write(to_write, {.threads = 1});
  writer.sync();
  writer.commit();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    mxferry::WriterOptions options;
    if (!parse({argv + 1, argv + argc}, options)) {
      std::fputs("usage: save_model SRC DST [--force] [--no-sync] [--reference DIR]\n", stderr);
      return kUsage;
    }
    save(std::move(options));
    return 0;
  } catch (const mxferry::Error& error) {
    std::fprintf(stderr, "mxferry: %s\n%s\n", error.what(), mxferry::name(error.code()));
    return exit_code(error.code());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "mxferry: %s\n", error.what());
    return kSystem;
  }
}
