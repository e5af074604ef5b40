// Headers and indexes made to hurt: by memory, by time, by depth. The first tests follow the
// "attacks" folder of the reference implementation.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/json_stream.h"
#include "checkpoint/shard_index.h"
#include "tests/base/expect_error.h"
#include "tests/base/temp_folder.h"
#include "tests/checkpoint/headers.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTS_THE_HEAP 1
// The libraries of both sanitizers have these; GCC installs no header that declares them.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*allocated)(const volatile void*,
                                                                           std::size_t),
                                                         void (*freed)(const volatile void*));
extern "C" std::size_t __sanitizer_get_allocated_size(const volatile void* pointer);
#endif

namespace mxferry::internal::testing {
namespace {

constexpr std::size_t kAny = std::size_t{1} << 40;  // no limit of this kind

// "0":ENTRY,"1":ENTRY, ... until the text is `size` bytes long or has `count` members.
std::string members(const std::string& entry, std::size_t size, std::size_t count = kAny,
                    std::string text = "") {
  text.reserve(std::min(size, count * (entry.size() + 12)) + entry.size() + 16);
  for (std::size_t i = 0; text.size() < size && i < count; ++i) {
    if (i > 0) text += ',';
    text += '"' + std::to_string(i) + "\":" + entry;
  }
  return text;
}

std::string header_of(const std::string& entry, std::size_t size, std::size_t count = kAny) {
  return members(entry, size, count, "{") + "}";
}

std::string repeated(std::string_view part, std::size_t size) {
  std::string text;
  text.reserve(size + part.size());
  while (text.size() < size) text += part;
  return text;
}

TEST(Hostile, TenOverlappingTensors) {
  EXPECT_ERROR(ErrorCode::invalid_offset,
               parse(header_of(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})", 1000, 10)));
}

TEST(Hostile, AsManyTensorsAsMayBeThatOverlap) {
  EXPECT_ERROR(ErrorCode::invalid_offset,
               parse(header_of(R"({"dtype":"F32","shape":[2,2],"data_offsets":[0,16]})", kAny,
                               kMostTensors)));
}

TEST(Hostile, TenMillionTensorsInTheLargestHeader) {
  EXPECT_ERROR(ErrorCode::header_too_large,
               parse(header_of(R"(["U8",[],[0,1]])", kLargestHeader - 64, 10'000'000)));
}

TEST(Hostile, ALyingHeaderLength) {
  const TempFolder folder;
  for (const std::uint64_t length :
       {std::uint64_t{3}, kLargestHeader, kLargestHeader + 1, std::uint64_t{1} << 63,
        ~std::uint64_t{0}, ~std::uint64_t{0} - 7}) {
    const auto file = folder.write("a", length_bytes(length) + "{}");
    EXPECT_ERROR(
        length <= kLargestHeader ? ErrorCode::invalid_header_length : ErrorCode::header_too_large,
        read_safetensors_header(file))
        << length;
  }
  EXPECT_ERROR(ErrorCode::invalid_header_json,
               read_safetensors_header(folder.write("a", length_bytes(1) + "{}")));
  EXPECT_ERROR(ErrorCode::invalid_header_json,
               read_safetensors_header(folder.write("a", length_bytes(0))));
}

TEST(Hostile, DeepNesting) {
  for (const char* part : {"[", "{\"a\":", "[{\"a\":"}) {
    for (const char* before : {"", "{\"a\":", R"({"a":{"x":)", R"({"__metadata__":)"}) {
      EXPECT_ERROR(ErrorCode::invalid_header_json, parse(before + repeated(part, 1'000'000)))
          << before << part;
    }
  }
}

TEST(Hostile, HugeNumbers) {
  const std::string digits(1'000'000, '9');
  for (const std::string& number : {digits, "-" + digits, "0." + digits, "1e" + digits}) {
    EXPECT_ERROR(ErrorCode::invalid_header_json, parse(R"({"a":["U8",[)" + number + "],[0,1]]}"));
  }
}

TEST(Hostile, OffsetsNearTheTop) {
  for (const char* offsets : {"[0,18446744073709551615]", "[18446744073709551615,0]",
                              "[18446744073709551615,18446744073709551615]"}) {
    EXPECT_TRUE(error_of([&] { parse(R"({"a":["U8",[1],)" + std::string(offsets) + "]}"); }));
  }
  EXPECT_ERROR(ErrorCode::invalid_offset,
               parse(R"({"a":["U8",[0],[0,0]],"b":["U8",[1],[18446744073709551615,0]]})"));
}

TEST(Hostile, SizesThatMultiplyToAnything) {
  for (const char* shape :
       {"[9223372036854775807,9223372036854775807,9223372036854775807]", "[4294967296,2147483648]",
        "[9223372036854775807]", "[1152921504606846976]"}) {
    for (const char* dtype : {"F64", "C64"}) {
      EXPECT_ERROR(ErrorCode::size_overflow,
                   parse(R"({"a":[")" + std::string(dtype) + "\"," + shape + ",[0,0]]}"))
          << dtype << shape;
    }
  }
}

// Peak memory of this process in bytes. A sanitizer needs memory of its own, so there it is the
// most that the heap has held at a time: what it held at count_memory() and what came since.
#ifdef COUNTS_THE_HEAP
std::int64_t held_bytes = 0;
std::int64_t most_bytes = 0;

void count_memory(std::size_t held) {
  held_bytes = most_bytes = static_cast<std::int64_t>(held);
  __sanitizer_install_malloc_and_free_hooks(
      [](const volatile void*, std::size_t size) {
        held_bytes += static_cast<std::int64_t>(size);
        most_bytes = std::max(most_bytes, held_bytes);
      },
      [](const volatile void* pointer) {
        held_bytes -= static_cast<std::int64_t>(__sanitizer_get_allocated_size(pointer));
      });
}

std::uint64_t peak_memory() {
  return static_cast<std::uint64_t>(most_bytes);
}
#else
void count_memory(std::size_t) {}

std::uint64_t peak_memory() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}
#endif

// A case is a text that a process of its own makes and parses.
struct Case {
  const char* what;
  std::function<std::string()> text;
};

struct Sizes {
  std::uint64_t text = 0;
  std::uint64_t peak = UINT64_MAX;  // what is left where the process failed
};

Sizes measure(const std::function<void(std::string)>& parse_it, const Case& hostile) {
  int channel[2];
  if (::pipe(channel) != 0) return {};
  const pid_t child = ::fork();
  if (child == 0) {
    std::string text = hostile.text();
    count_memory(text.capacity());
    Sizes sizes = {.text = text.size()};
    error_of([&] { parse_it(std::move(text)); });
    sizes.peak = peak_memory();
    ::_exit(::write(channel[1], &sizes, sizeof sizes) == sizeof sizes ? 0 : 1);
  }
  ::close(channel[1]);
  Sizes sizes;
  if (::read(channel[0], &sizes, sizeof sizes) != sizeof sizes) sizes = {};
  ::close(channel[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  return status == 0 ? sizes : Sizes{};
}

void expect_bounded(const std::function<void(std::string)>& parse_it,
                    const std::vector<Case>& cases) {
  constexpr std::uint64_t kBase = std::uint64_t{64} << 20;
  for (const Case& hostile : cases) {
    const Sizes sizes = measure(parse_it, hostile);
    EXPECT_GE(sizes.peak, sizes.text) << hostile.what << ": peak memory was not measured";
    EXPECT_LT(sizes.peak, kBase + 3 * sizes.text) << hostile.what;
    ::testing::Test::RecordProperty(hostile.what, std::to_string(sizes.peak >> 20) + " MiB for " +
                                                      std::to_string(sizes.text >> 20) + " MiB");
  }
}

constexpr std::size_t kLargest = kLargestHeader - 100;

TEST(Hostile, AHeaderTakesBoundedMemory) {
  const std::string high_rank = R"(["U8",[0)" + repeated(",1", 2 * (kHighestRank - 1)) + "],[0,0]]";
  expect_bounded(
      [](std::string text) { parse_safetensors_header(std::move(text), ""); },
      {
          {"all_tensors", [&] { return header_of(R"(["U8",[],[0,1]])", kAny, kMostTensors); }},
          {"all_tensors_of_high_rank", [&] { return header_of(high_rank, kAny, kMostTensors); }},
          {"too_many_tensors", [] { return header_of(R"(["U8",[],[0,1]])", kLargest); }},
          {"long_names",
           [] {
             return "{" +
                    repeated("\"" + std::string(kLongestTensorName, 'a') + R"(":["U8",[],[0,1]],)",
                             kLargest - 100'000) +
                    R"("b":["U8",[],[0,1]]})";
           }},
          {"metadata",
           [] { return R"({"__metadata__":{)" + members("\"\"", kLargest / 50) + "}}"; }},
          {"too_much_metadata",
           [] { return R"({"__metadata__":{)" + members("\"\"", kLargest) + "}}"; }},
          {"long_metadata",
           [] {
             return R"({"__metadata__":{)" +
                    members('"' + std::string(kLongestJsonToken - 100, 'a') + '"',
                            kLargest - 9'000'000) +
                    "}}";
           }},
          {"long_string", [] { return "{\"" + std::string(kLargest, 'a'); }},
          {"token_that_ends_badly",
           [] { return "{\"" + std::string(kLongestJsonToken - 100, 'a') + R"(\ud800"})"; }},
          {"white_space_and_an_error", [] { return "{" + std::string(kLargest, '\n') + "x"; }},
          {"white_space_around", [] { return std::string(kLargest, '\n') + "{}"; }},
          {"nesting", [] { return std::string(kLargest, '['); }},
          {"structure_and_an_error",
           [] { return R"({"a":{"x":[)" + repeated("[],", kLongestJsonToken - 100) + "x"; }},
          {"unknown_field",
           [] {
             return R"({"a":{"x":[)" + repeated(R"({"a":[null,1.5,""]},)", kLargest) +
                    R"(1],"dtype":"U8","shape":[],"data_offsets":[0,1]}})";
           }},
      });
}

TEST(Hostile, AnIndexTakesBoundedMemory) {
  expect_bounded(
      [](std::string text) { parse_shard_index(std::move(text), ""); },
      {
          {"all_entries",
           [] { return R"({"weight_map":{)" + members("\"m\"", kAny, kMostIndexEntries) + "}}"; }},
          {"too_many_entries",
           [] { return R"({"weight_map":{)" + members("\"m\"", kLargest) + "}}"; }},
          {"unknown_member", [] { return R"({"x":[)" + repeated("\"\",", kLargest) + "1]}"; }},
      });
}

}  // namespace
}  // namespace mxferry::internal::testing
