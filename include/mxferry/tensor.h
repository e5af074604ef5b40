#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "mxferry/dtype.h"

namespace mxferry {

// Sizes of the dimensions, outermost first; empty for a scalar. Never negative.
using Shape = std::vector<std::int64_t>;

// "[2, 128, 4, 16]".
std::string to_string(const Shape& shape);

// The number of elements. Throws Error(size_overflow) if it or a partial product exceeds 2^63 - 1,
// Error(invalid_argument) for a negative size.
std::int64_t element_count(const Shape& shape);

// A dense, contiguous, row-major, little-endian array in memory. Copying a Tensor copies a
// reference: both then share the storage, which is freed with the last of them.
class Tensor {
 public:
  // No storage: shape [0] of U8.
  Tensor() = default;

  // New memory of unspecified content, 64-byte aligned, on huge pages if it is large and the system
  // allows it. Throws Error(not_enough_memory), Error(size_overflow), Error(invalid_argument) for a
  // negative size, and Error(misaligned_size) if a sub-byte dtype does not fill its last byte.
  static Tensor empty(DType dtype, Shape shape);

  // Wraps the caller's memory without copying; `storage` keeps it alive and must point to at least
  // the bytes that dtype and shape require. It may be null only if they require none; otherwise
  // throws Error(invalid_argument). Checks sizes as empty() does.
  static Tensor wrap(std::shared_ptr<std::byte> storage, DType dtype, Shape shape);

  DType dtype() const noexcept { return dtype_; }
  const Shape& shape() const noexcept { return shape_; }
  std::int64_t element_count() const noexcept { return element_count_; }
  std::size_t byte_count() const noexcept { return byte_count_; }

  std::byte* data() noexcept { return storage_.get(); }
  const std::byte* data() const noexcept { return storage_.get(); }

  // The elements as T, whose size must be that of one element. Unchecked.
  template <typename T>
  T* as() noexcept {
    return reinterpret_cast<T*>(data());
  }
  template <typename T>
  const T* as() const noexcept {
    return reinterpret_cast<const T*>(data());
  }

  // How many Tensors share this storage (0 without storage).
  long use_count() const noexcept { return storage_.use_count(); }

 private:
  std::shared_ptr<std::byte> storage_;
  DType dtype_ = DType::U8;
  Shape shape_ = {0};
  std::int64_t element_count_ = 0;
  std::size_t byte_count_ = 0;
};

// Names to tensors in insertion order, with the semantics of a Python dict: assigning to an
// existing name keeps its place; erasing and inserting again moves it to the end.
class StateDict {
 public:
  using Entry = std::pair<const std::string, Tensor>;
  using iterator = std::list<Entry>::iterator;
  using const_iterator = std::list<Entry>::const_iterator;

  StateDict() = default;
  StateDict(const StateDict& other);
  StateDict(StateDict&& other) noexcept = default;
  StateDict& operator=(StateDict other) noexcept;
  ~StateDict() = default;

  std::size_t size() const noexcept { return entries_.size(); }
  bool empty() const noexcept { return entries_.empty(); }
  bool contains(std::string_view name) const;

  // Throws Error(missing_tensor).
  Tensor& at(std::string_view name);
  const Tensor& at(std::string_view name) const;

  // Inserts at the end, or replaces the tensor of an existing name in its place.
  void set(std::string name, Tensor tensor);

  // Removes and returns. Throws Error(missing_tensor).
  Tensor pop(std::string_view name);

  // The names in order, as copies that stay valid while the dict changes.
  std::vector<std::string> names() const;

  iterator begin() noexcept { return entries_.begin(); }
  iterator end() noexcept { return entries_.end(); }
  const_iterator begin() const noexcept { return entries_.begin(); }
  const_iterator end() const noexcept { return entries_.end(); }

 private:
  // The keys view the names inside entries_, whose nodes never move.
  std::list<Entry> entries_;
  std::unordered_map<std::string_view, iterator> index_;
};

}  // namespace mxferry
