#include "tests/support/check_conversion.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/parallel.h"
#include "mxferry/mxfp4.h"
#include "mxfp4/encode_reference.h"
#include "mxfp4/reference.h"
#include "source/source_checkpoint.h"

namespace mxferry::internal::testing {
namespace {

// One expert of a parameter as numbers, [rows, columns] whatever the file's order.
class Weights {
 public:
  Weights(const SourceCheckpoint& checkpoint, const SourceParameter& parameter, std::int64_t expert)
      : form_(parameter.form), shape_(matrix(parameter.shape)) {
    const auto count = static_cast<std::size_t>(shape_.first * shape_.second);
    if (form_.packed) {
      blocks_ =
          read(checkpoint, form_.tensor, expert * static_cast<std::int64_t>(count / 2), count / 2);
      scales_ = read(checkpoint, form_.scales, expert * static_cast<std::int64_t>(count / 32),
                     count / 32);
    } else {
      const auto size = static_cast<std::size_t>(bits(form_.dtype) / 8);
      const std::int64_t first =
          form_.first_row * shape_.second + expert * static_cast<std::int64_t>(count);
      dense_ =
          read(checkpoint, form_.tensor, first * static_cast<std::int64_t>(size), count * size);
    }
  }

  // Turns dense weights into what quantizing makes of them by default.
  void quantize() {
    const mxfp4::QuantRow row = mxfp4::quant_row(QuantMode::gptoss);
    const auto [rows, columns] = shape_;
    for (std::int64_t first = 0; first < rows * columns; first += kBlockSize) {
      std::array<double, kBlockSize> weights{};
      for (std::int64_t i = 0; i < kBlockSize; ++i) {
        weights[static_cast<std::size_t>(i)] =
            to_double(dense_bits(place(first / columns, first % columns + i)));
      }
      std::array<std::uint8_t, kBlockBytes> block{};
      scales_.push_back(
          mxfp4::reference::encode_block(weights.data(), row, {}, block.data()).scale);
      blocks_.insert(blocks_.end(), block.begin(), block.end());
    }
    form_.packed = true;
  }

  static std::pair<std::int64_t, std::int64_t> matrix(const Shape& shape) {
    if (shape.size() == 3) return {shape[1], shape[2]};
    return {shape[0], shape.size() == 2 ? shape[1] : 1};
  }

  // The weight rounded to a dtype, as its bits.
  std::uint32_t as(DType dtype, std::int64_t row, std::int64_t column) const {
    const std::int64_t index = row * shape_.second + column;
    if (form_.packed) {
      const auto block = static_cast<std::size_t>(index / kBlockSize);
      const int code = mxfp4::reference::code_at(&blocks_[block * kBlockBytes],
                                                 static_cast<int>(index % kBlockSize));
      return table(dtype)[scales_[block] * std::size_t{16} + static_cast<std::size_t>(code)];
    }
    const std::uint32_t stored = dense_bits(place(row, column));
    return form_.dtype == dtype ? stored : mxfp4::reference::round_to(dtype, to_double(stored));
  }

 private:
  // Of a dense weight.
  std::int64_t place(std::int64_t row, std::int64_t column) const {
    return form_.order == AxisOrder::out_in ? row * shape_.second + column
                                            : column * shape_.first + row;
  }

  static std::vector<std::uint8_t> read(const SourceCheckpoint& checkpoint, std::size_t tensor,
                                        std::int64_t offset, std::size_t size) {
    const StoredTensor& stored = checkpoint.catalog[tensor];
    std::vector<std::uint8_t> bytes(size);
    for (std::size_t done = 0; done < size;) {
      const Place place = place_of(stored, static_cast<std::uint64_t>(offset) + done);
      const auto count = std::min<std::uint64_t>(size - done, place.left);
      File::open_for_reading(checkpoint.folder.shards[place.shard].path)
          .read(place.offset, std::as_writable_bytes(std::span(bytes).subspan(done, count)));
      done += count;
    }
    return bytes;
  }

  // A byte of a tensor in its file, and how many follow there.
  struct Place {
    std::size_t shard = 0;
    std::uint64_t offset = 0;
    std::uint64_t left = 0;
  };
  // A stack of [experts, rows, ...] has experts' tensors, or all experts' in one, and of gate and
  // up the even rows in one and the odd ones in another.
  static Place place_of(const StoredTensor& stored, std::uint64_t at) {
    if (stored.stacked == 0) return {stored.shard, stored.offset + at, stored.byte_count - at};
    const auto experts = static_cast<std::uint64_t>(stored.shape[0]);
    const auto rows = static_cast<std::uint64_t>(stored.shape[1]);
    const std::uint64_t row_bytes = stored.byte_count / experts / rows;
    const std::uint64_t halves = stored.chunk_shape.empty() ? 1 : 2;
    const auto expert = static_cast<std::int64_t>(at / row_bytes / rows);
    const std::uint64_t row = at / row_bytes % rows;
    const auto chunk = std::ranges::find_if(stored.chunks, [&](const StoredChunk& box) {
      return box.offsets[0] <= expert && expert < box.offsets[0] + box.sizes[0] &&
             (halves == 1 || box.offsets[2] == static_cast<std::int64_t>(row % 2));
    });
    const auto before = static_cast<std::uint64_t>(expert - chunk->offsets[0]) * rows / halves;
    return {chunk->shard, chunk->offset + (before + row / halves) * row_bytes + at % row_bytes,
            row_bytes - at % row_bytes};
  }

  static const std::vector<std::uint32_t>& table(DType dtype) {
    static const auto make = [](DType to) {
      std::vector<std::uint32_t> entries;
      for (int scale = 0; scale < 256; ++scale) {
        for (int code = 0; code < 16; ++code) {
          const double value =
              mxfp4::reference::exact_value(static_cast<std::uint8_t>(scale), code);
          entries.push_back(mxfp4::reference::round_to(to, value));
        }
      }
      return entries;
    };
    static const std::vector<std::uint32_t> bf16 = make(DType::BF16);
    static const std::vector<std::uint32_t> f16 = make(DType::F16);
    static const std::vector<std::uint32_t> f32 = make(DType::F32);
    return dtype == DType::BF16 ? bf16 : dtype == DType::F16 ? f16 : f32;
  }

  std::uint32_t dense_bits(std::int64_t index) const {
    const auto i = static_cast<std::size_t>(index);
    if (form_.dtype == DType::F32) {
      std::uint32_t value = 0;
      std::memcpy(&value, &dense_[i * 4], sizeof value);
      return value;
    }
    return static_cast<std::uint32_t>(dense_[i * 2] | dense_[i * 2 + 1] << 8);
  }

  double to_double(std::uint32_t stored) const {
    if (form_.dtype == DType::F16) return half_to_double(stored);
    const std::uint32_t single = form_.dtype == DType::BF16 ? stored << 16 : stored;
    float value = 0;
    std::memcpy(&value, &single, sizeof value);
    return value;
  }

  static double half_to_double(std::uint32_t half) {
    const std::uint32_t exponent = half >> 10 & 31;
    const std::uint32_t mantissa = half & 1023;
    const double sign = (half & 0x8000) != 0 ? -1.0 : 1.0;
    if (exponent == 31)
      return mantissa != 0 ? std::numeric_limits<double>::quiet_NaN() : sign * HUGE_VAL;
    if (exponent == 0) return sign * std::ldexp(mantissa, -24);
    return sign * std::ldexp(1024 + mantissa, static_cast<int>(exponent) - 25);
  }

  StoredForm form_;
  std::pair<std::int64_t, std::int64_t> shape_;
  std::vector<std::uint8_t> blocks_, scales_, dense_;
};

bool is_nan(DType dtype, std::uint32_t value) {
  switch (dtype) {
    case DType::BF16:
      return (value & 0x7FFF) > 0x7F80;
    case DType::F16:
      return (value & 0x7FFF) > 0x7C00;
    default:
      return (value & 0x7FFFFFFF) > 0x7F800000;
  }
}

class Checker {
 public:
  Checker(const std::string& source, const std::string& target)
      : source_(open_source(source)), target_(open_source(target)) {
    require_sound(source_);
    require_sound(target_);
  }

  CheckResult run() {
    for (const SourceParameter& parameter : target_.description.parameters)
      by_place_[place(parameter)] = &parameter;
    for (const SourceParameter& parameter : source_.description.parameters) {
      const auto found = by_place_.find(place(parameter));
      if (found == by_place_.end()) {
        differ(source_.catalog[parameter.form.tensor].name + " has no counterpart in the target");
        continue;
      }
      compare(parameter, *found->second);
      by_place_.erase(found);
    }
    for (const auto& [where, extra] : by_place_) {
      differ(target_.catalog[extra->form.tensor].name + " is in the target only");
    }
    if (source_.description.unknown.size() != target_.description.unknown.size()) {
      differ("the numbers of tensors of unknown name differ");
    }
    return {weights_, difference_};
  }

 private:
  using Place = std::pair<ParameterKind, std::optional<std::int64_t>>;
  static Place place(const SourceParameter& parameter) {
    return {parameter.parameter.kind, parameter.parameter.layer};
  }

  void differ(const std::string& text) {
    const std::lock_guard lock(mutex_);
    if (difference_.empty()) difference_ = text;
  }

  void compare(const SourceParameter& a, const SourceParameter& b) {
    const std::string& name = target_.catalog[b.form.tensor].name;
    if (a.shape != b.shape)
      return differ(name + " has shape " + to_string(b.shape) + ", not " + to_string(a.shape));
    const std::int64_t experts = a.shape.size() == 3 ? a.shape[0] : 1;
    parallel_for(available_threads(), experts,
                 [&](std::int64_t expert) { compare(a, b, expert, name); });
  }

  // A packed target is compared as FP32, which tells every two finite blocks of different values
  // apart.
  void compare(const SourceParameter& a, const SourceParameter& b, std::int64_t expert,
               const std::string& name) {
    Weights x(source_, a, expert);
    if (b.form.packed && !a.form.packed) x.quantize();
    const Weights y(target_, b, expert);
    const DType dtype = b.form.packed ? DType::F32 : b.form.dtype;
    const auto [rows, columns] = Weights::matrix(a.shape);
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::int64_t column = 0; column < columns; ++column) {
        const std::uint32_t expected = x.as(dtype, row, column);
        const std::uint32_t found = y.as(dtype, row, column);
        if (expected == found || (is_nan(dtype, expected) && is_nan(dtype, found))) continue;
        return differ(name + ": expert " + std::to_string(expert) + ", row " + std::to_string(row) +
                      ", column " + std::to_string(column) + ": expected bits " +
                      std::to_string(expected) + ", found " + std::to_string(found));
      }
    }
    weights_ += static_cast<std::uint64_t>(rows * columns);
  }

  SourceCheckpoint source_, target_;
  std::map<Place, const SourceParameter*> by_place_;
  std::mutex mutex_;
  std::atomic<std::uint64_t> weights_ = 0;
  std::string difference_;
};

}  // namespace

CheckResult check_conversion(const std::string& source, const std::string& target) {
  return Checker(source, target).run();
}

}  // namespace mxferry::internal::testing
