// Folders of the files that the ranks of a PyTorch run write.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/dcp_metadata.h"
#include "checkpoint/folder.h"
#include "checkpoint/join_chunks.h"
#include "checkpoint/safetensors_header.h"
#include "checkpoint/shard_index.h"
#include "tests/base/temp_folder.h"

namespace mxferry::internal::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

struct Part {
  std::string name;
  Shape offsets;
  Shape sizes;
  DType dtype = DType::BF16;
};

std::string file_of(const std::vector<Part>& parts, std::map<std::string, std::string> metadata) {
  std::vector<TensorInfo> tensors;
  for (const Part& part : parts) {
    tensors.push_back({.name = part.name, .dtype = part.dtype, .shape = part.sizes});
  }
  const NewHeader start = make_safetensors_header(std::move(tensors), std::move(metadata));
  return start.bytes + std::string(start.header.data_size, '\0');
}

std::string file_of(const std::vector<Part>& parts) {
  ChunkOffsets offsets;
  for (const Part& part : parts) offsets[part.name] = part.offsets;
  return file_of(parts, chunk_metadata(offsets));
}

std::string rank_file(int rank) {
  return "shard-0000" + std::to_string(rank) + "-model-00001-of-00001.safetensors";
}

auto fatal(ErrorCode code, const std::string& file, const std::string& tensor,
           const std::vector<std::string>& texts) {
  return [=](const Problem& problem) {
    return problem.severity == Severity::fatal && problem.code == code && problem.file == file &&
           problem.tensor == tensor && std::ranges::all_of(texts, [&](const std::string& text) {
             return problem.text.find(text) != std::string::npos;
           });
  };
}

class DistributedFolder : public ::testing::Test {
 protected:
  void write(int rank, const std::vector<Part>& parts) {
    folder_.write(rank_file(rank), file_of(parts));
  }
  Folder open() const { return open_folder(folder_.path()); }
  // The only problem there is.
  Problem problem() const {
    const Folder folder = open();
    EXPECT_THAT(folder.problems, SizeIs(1));
    return folder.problems.empty() ? Problem() : folder.problems[0];
  }

  TempFolder folder_;
};

// Three ranks along the rows, with five of them; a small tensor that only one rank holds, and one
// that is cut both ways.
TEST_F(DistributedFolder, HasWholeTensors) {
  write(1, {{"rows", {0, 0}, {2, 6}}, {"grid", {0, 0}, {3, 4}}});
  write(2, {{"rows", {2, 0}, {2, 6}}, {"grid", {0, 4}, {3, 1}}, {"norm", {0}, {6}, DType::F32}});
  write(4, {{"rows", {4, 0}, {1, 6}}, {"grid", {3, 0}, {2, 5}}, {"scalar", {}, {}}});
  const Folder folder = open();
  EXPECT_THAT(folder.problems, IsEmpty());
  EXPECT_TRUE(folder.is_distributed);
  EXPECT_FALSE(folder.has_index);
  ASSERT_THAT(folder.tensors, SizeIs(4));
  const FolderTensor& grid = folder.tensors[0];
  EXPECT_EQ(grid.info.name, "grid");
  EXPECT_EQ(grid.info.shape, (Shape{5, 5}));
  ASSERT_THAT(grid.chunks, SizeIs(3));
  EXPECT_EQ(grid.chunks[1].offsets, (Shape{0, 4}));
  EXPECT_EQ(grid.chunks[1].sizes, (Shape{3, 1}));
  EXPECT_EQ(grid.chunks[1].shard, 1U);
  EXPECT_EQ(grid.chunks[1].begin, 24U);  // after the norm, whose dtype is larger
  EXPECT_EQ(folder.tensors[1].info.name, "norm");
  EXPECT_EQ(folder.tensors[1].info.dtype, DType::F32);
  EXPECT_EQ(folder.tensors[1].shard, 1U);
  EXPECT_THAT(folder.tensors[1].chunks, SizeIs(1));
  EXPECT_EQ(folder.tensors[2].info.shape, (Shape{5, 6}));
  EXPECT_EQ(folder.tensors[3].info.shape, Shape());
}

TEST_F(DistributedFolder, MayHaveEmptyChunks) {
  write(1, {{"a", {0}, {2}}, {"empty", {0, 0}, {0, 6}}});
  write(2, {{"a", {2}, {0}}});
  const Folder folder = open();
  EXPECT_THAT(folder.problems, IsEmpty());
  ASSERT_THAT(folder.tensors, SizeIs(2));
  EXPECT_EQ(folder.tensors[0].info.shape, Shape{2});
  EXPECT_THAT(folder.tensors[0].chunks, SizeIs(1));
  EXPECT_EQ(folder.tensors[1].info.shape, (Shape{0, 6}));
  EXPECT_THAT(folder.tensors[1].chunks, SizeIs(1));
}

TEST_F(DistributedFolder, WithoutTheFileOfARankHasAHole) {
  write(1, {{"rows", {0, 0}, {2, 6}}});
  write(3, {{"rows", {4, 0}, {1, 6}}});
  EXPECT_TRUE(
      fatal(ErrorCode::missing_chunk, "", "rows",
            {"all of [5, 6]", "nothing of [2:4, 0:6]", "there is no shard-00002-*"})(problem()));
}

TEST_F(DistributedFolder, WithoutTheFileOfAColumnHasAHole) {
  write(1, {{"columns", {0, 0}, {5, 2}}});
  write(2, {{"columns", {0, 4}, {5, 2}}});
  EXPECT_TRUE(fatal(ErrorCode::missing_chunk, "", "columns", {"nothing of [0:5, 2:4]"})(problem()));
  EXPECT_THAT(problem().text, Not(HasSubstr("there is no")));
}

// A rank without rows says where they end.
TEST_F(DistributedFolder, AnEmptyChunkShowsALostEnd) {
  write(1, {{"a", {0}, {2}}});
  write(3, {{"a", {3}, {0}}});
  EXPECT_TRUE(fatal(ErrorCode::missing_chunk, "", "a", {"nothing of [2:3]"})(problem()));
}

// Of which nothing else is left.
TEST_F(DistributedFolder, EmptyChunksAloneAreNoWholeTensor) {
  write(2, {{"a", {3, 0}, {0, 2}}});
  EXPECT_TRUE(fatal(ErrorCode::missing_chunk, "", "a",
                    {"all of [3, 2]", "there is no shard-00001-*"})(problem()));
  write(3, {{"a", {0, 2}, {2, 0}}});
  EXPECT_TRUE(fatal(ErrorCode::missing_chunk, "", "a", {"nothing of [0:3, 0:2]"})(problem()));
}

TEST_F(DistributedFolder, WithFilesOfALargerWorldOverlaps) {
  write(1, {{"rows", {0, 0}, {3, 6}}});
  write(2, {{"rows", {3, 0}, {2, 6}}});
  write(3, {{"rows", {4, 0}, {1, 6}}});
  EXPECT_TRUE(fatal(ErrorCode::overlapping_chunks, "", "rows",
                    {"[4:5, 0:6] in " + rank_file(2) + " and in " + rank_file(3),
                     "earlier save with more ranks"})(problem()));
}

// torch gives a tensor that several ranks hold to one of them; two are of two saves.
TEST_F(DistributedFolder, WithATensorTwiceOverlaps) {
  write(1, {{"a", {0}, {2}}, {"scalar", {}, {}}});
  write(2, {{"b", {0}, {2}}, {"scalar", {}, {}}});
  EXPECT_TRUE(fatal(ErrorCode::overlapping_chunks, "", "scalar", {"[] in "})(problem()));
}

TEST_F(DistributedFolder, WithTwoDtypesOfATensorIsRefused) {
  write(1, {{"a", {0}, {2}}});
  write(2, {{"a", {2}, {2}, DType::F16}});
  EXPECT_TRUE(fatal(ErrorCode::wrong_dtype, rank_file(2), "a",
                    {"BF16 as in " + rank_file(1), "found F16"})(problem()));
}

TEST_F(DistributedFolder, WithTwoRanksOfATensorIsRefused) {
  write(1, {{"a", {0}, {2}}});
  write(2, {{"a", {2, 0}, {2, 6}}});
  EXPECT_TRUE(fatal(ErrorCode::wrong_shape, rank_file(2), "a",
                    {"1 dimensions as in " + rank_file(1), "found 2"})(problem()));
}

TEST_F(DistributedFolder, WithAFileThatSaysNothingIsRefused) {
  write(1, {{"a", {0}, {2}}});
  folder_.write("other.safetensors", file_of({{"b", {}, {2}}}, {{"format", "pt"}}));
  EXPECT_TRUE(fatal(ErrorCode::invalid_sharding_info, "other.safetensors", "",
                    {"has no DCP_SHARDING_INFO"})(problem()));
}

// The holes that a file leaves which cannot be used need no words of their own.
TEST_F(DistributedFolder, WithABadFileHasOneProblem) {
  write(1, {{"a", {0}, {2}}});
  write(3, {{"a", {4}, {2}}});
  folder_.write(rank_file(2), file_of({{"a", {}, {2}}}, {{kShardingInfoKey, "{}"}}));
  EXPECT_TRUE(fatal(ErrorCode::invalid_sharding_info, rank_file(2), "", {"is empty"})(problem()));
  folder_.write(rank_file(2), "no header");
  EXPECT_EQ(problem().file, rank_file(2));
}

TEST_F(DistributedFolder, BeyondAllSizesIsRefused) {
  constexpr std::int64_t kFar = std::int64_t{1} << 62;
  write(1, {{"a", {0, 0}, {2, 6}}});
  write(2, {{"a", {kFar, kFar}, {2, 6}}});
  EXPECT_TRUE(fatal(ErrorCode::size_overflow, "", "a", {"overflows"})(problem()));
  write(2, {{"a", {kFar - 2, 0}, {2, 6}}});
  EXPECT_TRUE(fatal(ErrorCode::size_overflow, "", "a", {"overflows"})(problem()));
  write(2, {{"a", {kFar / 64, 0}, {2, 6}}});
  EXPECT_TRUE(fatal(ErrorCode::missing_chunk, "", "a", {"nothing of [2:"})(problem()));
}

TEST_F(DistributedFolder, OfElementsSmallerThanABytesIsNotCut) {
  write(1, {{"a", {0, 0}, {2, 6}, DType::F4}});
  EXPECT_THAT(open().problems, IsEmpty());
  write(2, {{"a", {2, 0}, {2, 6}, DType::F4}});
  EXPECT_TRUE(fatal(ErrorCode::misaligned_size, "", "a", {"F4"})(problem()));
}

TEST_F(DistributedFolder, NamesTheFirstTensorsOfManyWithHoles) {
  std::vector<Part> parts;
  for (char name = 'a'; name <= 'z'; ++name) parts.push_back({{name}, {1}, {2}});
  write(2, parts);
  const Folder folder = open();
  EXPECT_THAT(folder.tensors, SizeIs(26));
  ASSERT_THAT(folder.problems, SizeIs(5));
  EXPECT_TRUE(fatal(ErrorCode::missing_chunk, "", "d", {"nothing of [0:1]"})(folder.problems[3]));
  EXPECT_TRUE(
      fatal(ErrorCode::missing_chunk, "", "", {"22 tensors: e, f, g, ..."})(folder.problems[4]));
}

TEST_F(DistributedFolder, OfTooManyChunksIsRefused) {
  std::vector<ShardFile> shards;
  for (std::size_t i = 0; i <= kMostChunks; ++i) {
    ShardFile shard{.name = std::to_string(i), .path = {}, .header = {}};
    shard.header.tensors.push_back({"a", DType::U8, {1}, 0, 1});
    shard.header.metadata = chunk_metadata({{"a", {static_cast<std::int64_t>(i)}}});
    shards.push_back(std::move(shard));
  }
  std::vector<std::string> problems;
  const auto report = [&](const Error& error, std::string_view) {
    problems.emplace_back(error.what());
  };
  EXPECT_THAT(join_chunks(shards, false, report), IsEmpty());
  EXPECT_THAT(problems, ElementsAre(HasSubstr("too many parts")));
  problems.clear();
  shards.pop_back();
  EXPECT_THAT(join_chunks(shards, false, report), SizeIs(1));
  EXPECT_THAT(problems, IsEmpty());
}

// One process may save whole tensors with an index, and marks its files all the same.
TEST_F(DistributedFolder, WithAnIndexIsAFolderOfWholeTensors) {
  folder_.write("m-1.safetensors", file_of({{"a", {0}, {2}}}));
  folder_.write("m-2.safetensors", file_of({{"b", {}, {2}}}, {}));
  folder_.write(kIndexName, serialize_shard_index(
                                {.weight_map = {{"a", "m-1.safetensors"}, {"b", "m-2.safetensors"}},
                                 .total_size = 8}));
  const Folder folder = open();
  EXPECT_THAT(folder.problems, IsEmpty());
  EXPECT_FALSE(folder.is_distributed);
  folder_.write("m-1.safetensors", file_of({{"a", {4}, {2}}}));
  EXPECT_TRUE(fatal(ErrorCode::invalid_index, "m-1.safetensors", "a",
                    {"only a part", "[2] from [4] on"})(problem()));
}

}  // namespace
}  // namespace mxferry::internal::testing
