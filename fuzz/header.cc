// The header of a safetensors file, and whole files.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "checkpoint/safetensors_header.h"
#include "fuzz/input.h"
#include "mxferry/error.h"
#include "mxferry/safetensors.h"

namespace mxferry::internal::fuzz {
namespace {

// What SafetensorsHeader promises, worked out anew.
void require_promises(const SafetensorsHeader& header) {
  std::uint64_t position = 0;
  std::set<std::string> names;
  for (const TensorInfo& tensor : header.tensors) {
    require(tensor.begin == position, "tensors follow one another");
    Wide bit_count = static_cast<unsigned>(bits(tensor.dtype));
    for (const std::int64_t size : tensor.shape) {
      require(size >= 0, "no size is negative");
      bit_count *= static_cast<std::uint64_t>(size);
      require(bit_count >> 64 == 0, "sizes fit into 64 bits");
    }
    require(static_cast<Wide>(tensor.end - tensor.begin) * 8 == bit_count,
            "offsets fit dtype and shape");
    require(names.insert(tensor.name).second, "no name is there twice");
    position = tensor.end;
  }
  require(header.data_size == position, "the data ends with the last tensor");
}

// What was read can be written, and read again.
void require_round_trip(const SafetensorsHeader& header) {
  const NewHeader written = make_safetensors_header(header.tensors, header.metadata);
  const SafetensorsHeader again = parse_safetensors_header(written.bytes.substr(8), "");
  require(again.metadata == header.metadata, "metadata returns");
  require(again.data_size == header.data_size, "the size of the data returns");
  std::map<std::string, const TensorInfo*> by_name;
  for (const TensorInfo& tensor : again.tensors) by_name[tensor.name] = &tensor;
  require(by_name.size() == header.tensors.size(), "no tensor is lost or added");
  for (const TensorInfo& tensor : header.tensors) {
    const TensorInfo& found = *by_name.at(tensor.name);
    require(found.dtype == tensor.dtype && found.shape == tensor.shape, "tensors return");
  }
}

// A file in memory that has a path.
class MemoryFile {
 public:
  explicit MemoryFile(Input content) : descriptor_(::memfd_create("fuzz", 0)) {
    require(descriptor_ >= 0, "memfd_create works");
    std::size_t written = 0;
    while (written < content.size()) {
      const auto count = ::write(descriptor_, content.data() + written, content.size() - written);
      require(count > 0, "memory takes bytes");
      written += static_cast<std::size_t>(count);
    }
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { ::close(descriptor_); }

  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

}  // namespace

void header(Input input) {
  try {
    const SafetensorsHeader parsed = parse_safetensors_header(text_of(input), "model.safetensors");
    require_promises(parsed);
    require_round_trip(parsed);
  } catch (const Error& error) {
    require(category(error.code()) == ErrorCategory::source, "the file is to blame");
  }
}

void file(Input input) {
  const MemoryFile memory(input);
  try {
    const SafetensorsHeader parsed = read_safetensors_header(memory.path());
    require_promises(parsed);
    require(parsed.data_offset + parsed.data_size == input.size(), "the data ends with the file");
    const StateDict tensors = load_safetensors(memory.path());
    require(tensors.size() == parsed.tensors.size(), "every tensor is loaded");
    for (const TensorInfo& tensor : parsed.tensors) {
      const Tensor& loaded = tensors.at(tensor.name);
      const Input expected =
          input.subspan(parsed.data_offset + tensor.begin, tensor.end - tensor.begin);
      const auto* bytes = reinterpret_cast<const std::uint8_t*>(loaded.data());
      require(loaded.byte_count() == expected.size() &&
                  std::equal(expected.begin(), expected.end(), bytes),
              "a tensor has the bytes of the file");
    }
  } catch (const Error& error) {
    require(category(error.code()) == ErrorCategory::source, "the file is to blame");
  }
}

}  // namespace mxferry::internal::fuzz
