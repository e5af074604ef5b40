#include "flow/chunked_tensor.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "flow/source.h"
#include "tests/base/expect_error.h"
#include "tests/base/temp_folder.h"

namespace mxferry::internal {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

std::string read(const Source& source, std::uint64_t offset, std::size_t size) {
  std::string text(size, '\0');
  source.read(0, offset, std::as_writable_bytes(std::span(text)));
  return text;
}

// A tensor in memory, and cut into boxes that lie in several files, in any order and with other
// bytes between them.
class CutTensor {
 public:
  CutTensor(DType dtype, Shape shape, std::string bytes)
      : bytes_(std::move(bytes)), size_(static_cast<std::size_t>(bits(dtype)) / 8) {
    catalog_.push_back({"t", dtype, std::move(shape), 0, 0, bytes_.size()});
  }

  void add(const Shape& offsets, const Shape& sizes, std::size_t file) {
    content_.resize(std::max(content_.size(), file + 1));
    content_[file] += "between";
    catalog_[0].chunks.push_back({offsets, sizes, file, content_[file].size()});
    Shape index(sizes.size(), 0);
    for (std::int64_t i = 0; i < element_count(sizes); ++i) {
      std::size_t element = 0;
      for (std::size_t d = 0; d < sizes.size(); ++d) {
        element = element * static_cast<std::size_t>(catalog_[0].shape[d]) +
                  static_cast<std::size_t>(offsets[d] + index[d]);
      }
      content_[file] += bytes_.substr(element * size_, size_);
      for (std::size_t d = sizes.size(); d-- > 0 && ++index[d] == sizes[d];) index[d] = 0;
    }
  }

  FileSource source() {
    std::vector<File> files;
    for (std::size_t i = 0; i < content_.size(); ++i) {
      files.push_back(File::open_for_reading(folder_.write(std::to_string(i), content_[i])));
    }
    StoredTensor& tensor = catalog_[0];
    tensor.shard = tensor.chunks[0].shard;
    tensor.offset = tensor.chunks[0].offset;
    return {catalog_, std::move(files)};
  }

  const std::string& bytes() const { return bytes_; }
  StoredTensor& tensor() { return catalog_[0]; }

 private:
  TempFolder folder_;
  std::string bytes_;
  std::size_t size_;
  Catalog catalog_;
  std::vector<std::string> content_;
};

std::string any_bytes(std::size_t size) {
  std::string bytes(size, '\0');
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 131 >> 3 ^ i);
  return bytes;
}

struct Cut {
  Shape offsets, sizes;
};

// Cuts the shape in two along random dimensions, again and again.
std::vector<Cut> any_cuts(const Shape& shape) {
  std::vector<Cut> cuts = {{Shape(shape.size(), 0), shape}};
  const int count = *rc::gen::inRange(0, 30);
  for (int i = 0; i < count && !shape.empty(); ++i) {
    const std::size_t which = *rc::gen::inRange<std::size_t>(0, cuts.size());
    const std::size_t dim = *rc::gen::inRange<std::size_t>(0, shape.size());
    if (cuts[which].sizes[dim] < 2) continue;
    const std::int64_t at = *rc::gen::inRange<std::int64_t>(1, cuts[which].sizes[dim]);
    Cut other = cuts[which];
    other.offsets[dim] += at;
    other.sizes[dim] -= at;
    cuts[which].sizes[dim] = at;
    cuts.push_back(std::move(other));
  }
  return cuts;
}

RC_GTEST_PROP(ChunkedTensor, AnyRangeOfAnyCutIsThatOfTheWhole, ()) {
  const Shape shape = *rc::gen::container<Shape>(*rc::gen::inRange<std::size_t>(0, 5),
                                                 rc::gen::inRange<std::int64_t>(1, 9));
  const DType dtype = *rc::gen::element(DType::U8, DType::BF16, DType::F32, DType::I64);
  const std::size_t size =
      static_cast<std::size_t>(element_count(shape)) * static_cast<std::size_t>(bits(dtype)) / 8;
  CutTensor tensor(dtype, shape, any_bytes(size));
  const std::size_t files = *rc::gen::inRange<std::size_t>(1, 6);
  for (const Cut& cut : any_cuts(shape)) {
    tensor.add(cut.offsets, cut.sizes, *rc::gen::inRange<std::size_t>(0, files));
  }
  // A folder gives them in this order, and a reader may get them in another.
  if (*rc::gen::arbitrary<bool>())
    std::ranges::sort(tensor.tensor().chunks, {}, &StoredChunk::offsets);
  const FileSource source = tensor.source();
  RC_ASSERT(read(source, 0, size) == tensor.bytes());
  for (int i = 0; i < 10; ++i) {
    const std::size_t begin = *rc::gen::inRange<std::size_t>(0, size + 1);
    const std::size_t end = *rc::gen::inRange<std::size_t>(begin, size + 1);
    RC_ASSERT(read(source, begin, end - begin) == tensor.bytes().substr(begin, end - begin));
  }
}

// More runs than one call of the system takes.
TEST(ChunkedTensor, OfManyShortRowsIsRead) {
  constexpr std::int64_t kRows = 5000;
  CutTensor tensor(DType::BF16, {kRows, 3, 2}, any_bytes(kRows * 12));
  tensor.add({0, 0, 0}, {kRows, 3, 1}, 0);
  tensor.add({0, 0, 1}, {kRows, 2, 1}, 1);
  tensor.add({0, 2, 1}, {kRows, 1, 1}, 1);
  const FileSource source = tensor.source();
  EXPECT_EQ(read(source, 0, kRows * 12), tensor.bytes());
  EXPECT_EQ(read(source, 13, kRows * 6), tensor.bytes().substr(13, kRows * 6));
}

TEST(ChunkedTensor, MayBeReadByManyThreads) {
  CutTensor tensor(DType::F32, {64, 96}, any_bytes(std::size_t{64} * 96 * 4));
  for (std::int64_t i = 0; i < 8; ++i) tensor.add({0, 12 * i}, {64, 12}, i % 3);
  const FileSource source = tensor.source();
  std::vector<std::jthread> threads;
  std::atomic<int> wrong = 0;
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < 100; ++i) {
        const std::size_t begin = (t * 7919 + i * 104729) % 20000;
        if (read(source, begin, 4000) != tensor.bytes().substr(begin, 4000)) ++wrong;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(wrong, 0);
}

TEST(ChunkedTensor, OfAFileThatWasCutShortIsAnError) {
  CutTensor tensor(DType::U8, {2, 8}, any_bytes(16));
  tensor.add({0, 0}, {2, 4}, 0);
  tensor.add({0, 4}, {2, 4}, 1);
  tensor.tensor().chunks[1].offset += 3;
  const FileSource source = tensor.source();
  EXPECT_EQ(read(source, 0, 4), tensor.bytes().substr(0, 4));
  EXPECT_ERROR(ErrorCode::file_size_mismatch, read(source, 0, 16));
}

}  // namespace
}  // namespace mxferry::internal
