#include "dense/targets.h"
#include "mxfp4/decode.h"
#include "mxfp4/reference.h"
#include "mxfp4/tables.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "mxfp4/decode_rows.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "mxfp4/emit-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mxferry::internal::mxfp4::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR

void decode_rows_here(const PackedView& packed, DType dtype, std::byte* out,
                      std::size_t out_row_stride, Stores /*stores*/) {
  reference::decode_rows(packed, dtype, out, out_row_stride);
}

#else

#if HWY_CAP_GE512

// For both bytes of every pattern of a block, the index of the byte with its code, such that the
// patterns come out in the order of element_at<T>().
template <typename T>
constexpr auto make_spread() {
  std::array<std::uint8_t, kBlockSize * 2> spread{};
  for (std::size_t i = 0; i < spread.size(); ++i) {
    spread[i] = static_cast<std::uint8_t>(element_at<T>(i / 16, i % 16 / 2) / 2);
  }
  return spread;
}

template <typename T>
alignas(64) inline constexpr auto kSpread = make_spread<T>();

template <typename T, bool kStream>
HWY_INLINE void decode_block(const std::uint8_t* block, const ScaleTable& table, T* out) {
  const D8 d8;
  const D16 d16;
  const V8 bytes = hn::TableLookupBytes(hn::LoadDup128(d8, block), hn::Load(d8, kSpread<T>.data()));
  const V16 shifts = hn::BitCast(d16, hn::Set(D32(), 4u << 16));  // odd weights are upper nibbles
  const V8 codes =
      hn::And(hn::BitCast(d8, hn::Shr(hn::BitCast(d16, bytes), shifts)), hn::Set(d8, 15));
  const V8 low = hn::TableLookupBytes(hn::LoadDup128(d8, table.low.data()), codes);
  const V8 high = hn::TableLookupBytes(hn::LoadDup128(d8, table.high.data()), codes);
  emit<T, kStream>(hn::BitCast(d16, hn::OddEven(high, low)), out);
}

#else

// A step decodes 16 * kSlices weights; a block takes kSteps.
inline constexpr std::size_t kSteps = 2 / kSlices;

// For every step, the byte of the block at each position, such that the weights come out in the
// order of element_at<T>().
template <typename T>
constexpr auto make_spread() {
  std::array<std::uint8_t, kBlockBytes * 2> spread{};
  for (std::size_t step = 0; step < kSteps; ++step) {
    for (std::size_t slice = 0; slice < kSlices; ++slice) {
      for (std::size_t pair = 0; pair < 8; ++pair) {
        const std::size_t element = step * 16 * kSlices + element_at<T>(slice, 2 * pair);
        spread[(step * kSlices + slice) * 16 + pair] = static_cast<std::uint8_t>(element / 2);
      }
    }
  }
  return spread;
}

template <typename T>
alignas(64) inline constexpr auto kSpread = make_spread<T>();

template <typename T, bool kStream>
HWY_INLINE void decode_block(const std::uint8_t* block, const ScaleTable& table, T* out) {
  const D8 d8;
  const V8 packed = hn::LoadDup128(d8, block);
  const V8 low_bytes = hn::LoadDup128(d8, table.low.data());
  const V8 high_bytes = hn::LoadDup128(d8, table.high.data());
  for (std::size_t step = 0; step < kSteps; ++step) {
    const V8 order = hn::Load(d8, kSpread<T>.data() + step * 16 * kSlices);
    const V8 bytes = hn::TableLookupBytes(packed, order);
    const V8 even = hn::And(bytes, hn::Set(d8, 15));
    const V8 odd = hn::ShiftRight<4>(bytes);
    const V8 codes = hn::InterleaveLower(d8, even, odd);
    const V8 low = hn::TableLookupBytes(low_bytes, codes);
    const V8 high = hn::TableLookupBytes(high_bytes, codes);
    T* step_out = out + step * 16 * kSlices;
    emit<T, kStream>(hn::BitCast(D16(), hn::InterleaveLower(d8, low, high)), step_out);
    emit<T, kStream>(hn::BitCast(D16(), hn::InterleaveUpper(d8, low, high)),
                     step_out + 8 * kSlices);
  }
}

#endif

template <typename T, bool kStream>
void decode_all(const PackedView& packed, const ScaleTables& tables, T* out,
                std::size_t out_row_stride) {
  for (std::size_t row = 0; row < packed.rows; ++row) {
    const std::uint8_t* blocks = packed.blocks + row * packed.block_row_bytes;
    const std::uint8_t* scales = packed.scales + row * packed.scale_row_bytes;
    T* row_out = out + row * out_row_stride;
    for (std::size_t group = 0; group < packed.groups; ++group) {
      decode_block<T, kStream>(blocks + group * kBlockBytes, tables[scales[group]],
                               row_out + group * kBlockSize);
    }
  }
  if constexpr (kStream) hwy::FlushStream();
}

template <typename T>
void decode_as(const PackedView& packed, const ScaleTables& tables, std::byte* out,
               std::size_t out_row_stride, Stores stores) {
  T* typed_out = reinterpret_cast<T*>(out);
  if (stores == Stores::streaming && can_stream<T>(out, out_row_stride)) {
    decode_all<T, true>(packed, tables, typed_out, out_row_stride);
  } else {
    decode_all<T, false>(packed, tables, typed_out, out_row_stride);
  }
}

void decode_rows_here(const PackedView& packed, DType dtype, std::byte* out,
                      std::size_t out_row_stride, Stores stores) {
  const ScaleTables& tables = dtype == DType::F16 ? kF16Tables : kBf16Tables;
  if (dtype == DType::F32) {
    decode_as<std::uint32_t>(packed, tables, out, out_row_stride, stores);
  } else {
    decode_as<std::uint16_t>(packed, tables, out, out_row_stride, stores);
  }
}

#endif

const char* target_here() {
  return hwy::TargetName(HWY_TARGET);
}

}  // namespace mxferry::internal::mxfp4::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mxferry::internal::mxfp4 {

// Not noexcept: GCC 14 and Clang reject a dispatch table of noexcept functions.
HWY_EXPORT(decode_rows_here);
HWY_EXPORT(target_here);

void decode_rows(const PackedView& packed, DType dtype, std::byte* out, std::size_t out_row_stride,
                 Stores stores) noexcept {
  HWY_DYNAMIC_DISPATCH(decode_rows_here)(packed, dtype, out, out_row_stride, stores);
}

static const char* chosen_target() noexcept {
  return HWY_DYNAMIC_DISPATCH(target_here)();
}

}  // namespace mxferry::internal::mxfp4

namespace mxferry {

const char* active_target() noexcept {
  return internal::mxfp4::chosen_target();
}

}  // namespace mxferry
#endif  // HWY_ONCE
