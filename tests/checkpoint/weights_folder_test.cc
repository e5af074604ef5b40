#include "checkpoint/weights_folder.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <vector>

#include "tests/base/temp_folder.h"

namespace mxferry::internal::testing {
namespace {

namespace fs = std::filesystem;

class WeightsFolder : public ::testing::Test {
 protected:
  // Relative to the folder; "." for itself.
  fs::path found(const fs::path& given = ".") {
    warnings_.clear();
    return find_weights((folder_.path() / given).lexically_normal(), warnings_)
        .lexically_relative(folder_.path());
  }
  fs::path side_folder() {
    return find_side_folder(folder_.path()).lexically_relative(folder_.path());
  }

  TempFolder folder_;
  std::vector<Problem> warnings_;
};

TEST_F(WeightsFolder, IsTheOneGivenWhereWeightsLieInIt) {
  folder_.write("model.safetensors", "");
  folder_.write("model/shard-00001-model-00001-of-00001.safetensors", "");
  EXPECT_EQ(found(), ".");
  EXPECT_TRUE(warnings_.empty());
  fs::remove(folder_ / "model.safetensors");
  folder_.write("model.safetensors.index.json", "");
  EXPECT_EQ(found(), ".");
}

TEST_F(WeightsFolder, IsTheOneGivenWhereThereAreNone) {
  folder_.write("model/config.json", "");
  folder_.write("optim/__0_0.distcp", "");
  EXPECT_EQ(found(), ".");
}

TEST_F(WeightsFolder, IsModelOfANemoCheckpoint) {
  folder_.write("optim/__0_0.distcp", "");
  folder_.write("model/shard-00001-model-00001-of-00001.safetensors", "");
  EXPECT_EQ(found(), "model");
  EXPECT_EQ(found("model"), "model");
  EXPECT_TRUE(warnings_.empty());
}

TEST_F(WeightsFolder, GoesBeforeWhatWasConsolidatedFromIt) {
  folder_.write("model/shard-00001-model-00001-of-00001.safetensors", "");
  folder_.write("model/consolidated/model-00001-of-00001.safetensors", "");
  for (const char* given : {".", "model"}) {
    EXPECT_EQ(found(given), "model");
    ASSERT_EQ(warnings_.size(), 1U);
    EXPECT_EQ(warnings_[0].severity, Severity::warning);
    EXPECT_EQ(warnings_[0].file, "consolidated");
  }
  EXPECT_EQ(found("model/consolidated"), "model/consolidated");
  EXPECT_TRUE(warnings_.empty());
}

TEST_F(WeightsFolder, IsConsolidatedWhereThatIsAllThereIs) {
  folder_.write("model/consolidated/model-00001-of-00001.safetensors", "");
  EXPECT_EQ(found(), "model/consolidated");
  EXPECT_EQ(found("model"), "model/consolidated");
  EXPECT_TRUE(warnings_.empty());
}

TEST_F(WeightsFolder, IsNoLinkOutOfTheOneGiven) {
  const TempFolder outside;
  outside.write("model.safetensors", "");
  fs::create_directory_symlink(outside.path(), folder_ / "model");
  EXPECT_EQ(found(), ".");
  EXPECT_EQ(found("model"), "model");
}

TEST_F(WeightsFolder, MayHaveItsSideFilesInHfMetadata) {
  EXPECT_EQ(side_folder(), ".");
  folder_.write(".hf_metadata/tokenizer.json", "");
  EXPECT_EQ(side_folder(), ".");
  folder_.write(".hf_metadata/config.json", "");
  EXPECT_EQ(side_folder(), ".hf_metadata");
  folder_.write("config.json", "");
  EXPECT_EQ(side_folder(), ".");
}

TEST_F(WeightsFolder, HasNoSideFilesOutside) {
  const TempFolder outside;
  outside.write("config.json", "");
  fs::create_directory_symlink(outside.path(), folder_ / ".hf_metadata");
  EXPECT_EQ(side_folder(), ".");
}

}  // namespace
}  // namespace mxferry::internal::testing
