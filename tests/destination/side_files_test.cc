#include "destination/side_files.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/base/expect_error.h"
#include "tests/base/temp_folder.h"

namespace mxferry::internal {
namespace {

using testing::content_of;
using testing::TempFolder;

TEST(SideFiles, AreNoWeights) {
  for (const char* name :
       {"model.safetensors", "model-00001-of-00002.safetensors", "model.safetensors.index.json",
        "pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth", "model.pt",
        "last.ckpt", "gpt-oss.gguf", "model.onnx", "flax_model.msgpack", "tf_model.h5"}) {
    EXPECT_TRUE(is_weight_file(name)) << name;
  }
  for (const char* name :
       {"config.json", "tokenizer.json", "LICENSE", "README.md", "chat_template.jinja",
        ".gitattributes", "safetensors", "model.safetensors.txt", "index.json", ""}) {
    EXPECT_FALSE(is_weight_file(name)) << name;
  }
}

TEST(SideFiles, AreWhatACheckpointHasBesideItsWeights) {
  const TempFolder folder;
  for (const char* name :
       {"tokenizer.json", "LICENSE", ".gitattributes", "config.json", "dtypes.json",
        "model.safetensors", "model.safetensors.index.json", "x.partial", "y.incomplete",
        "original/model.safetensors", "metal/notes.txt", "additional_chat_templates/tools.jinja",
        "additional_chat_templates/deep/x"}) {
    folder.write(name, "content");
  }
  std::vector<Problem> warnings;
  EXPECT_EQ(side_files(folder.path(), warnings),
            (std::vector<std::string>{".gitattributes", "LICENSE", "tokenizer.json",
                                      "additional_chat_templates/tools.jinja"}));
  EXPECT_TRUE(warnings.empty());
}

TEST(SideFiles, FollowLinksOnlyWithinTheFolder) {
  const TempFolder outside;
  outside.write("secret", "password");
  const TempFolder folder;
  folder.write("blobs/readme", "text");
  std::filesystem::create_symlink("blobs/readme", folder / "README.md");
  std::filesystem::create_symlink(outside / "secret", folder / "NOTICE");
  std::filesystem::create_symlink("nowhere", folder / "dangling");
  std::filesystem::create_directory_symlink(outside.path(), folder / "elsewhere");
  std::vector<Problem> warnings;
  EXPECT_EQ(side_files(folder.path(), warnings), (std::vector<std::string>{"README.md"}));
  ASSERT_EQ(warnings.size(), 1U);
  EXPECT_EQ(warnings[0].severity, Severity::warning);
  EXPECT_EQ(warnings[0].file, "NOTICE");
}

TEST(SideFiles, AreCopiedWhateverTheirSize) {
  const TempFolder folder;
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{5}, std::size_t{1} << 20, (std::size_t{2} << 20) + 3}) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 7 + (i >> 20));
    const auto from = folder.write("from", text);
    copy_side_file(from, folder / "to", false);
    EXPECT_EQ(content_of(folder / "to"), text) << size;
    EXPECT_FALSE(std::filesystem::exists(folder / "to.partial"));
  }
}

}  // namespace
}  // namespace mxferry::internal
