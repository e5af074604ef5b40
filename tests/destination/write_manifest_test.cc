#include "destination/write_manifest.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "base/hash.h"
#include "mxferry/convert.h"
#include "mxferry/sample.h"
#include "mxferry/verify_manifest.h"
#include "tests/base/expect_error.h"
#include "tests/base/temp_folder.h"

namespace mxferry::internal {
namespace {

namespace fs = std::filesystem;
using testing::content_of;
using ::testing::IsEmpty;
using testing::TempFolder;

class WriteManifest : public ::testing::Test {
 protected:
  WriteManifest() {
    SampleOptions options;
    options.destination = folder_ / "source";
    write_sample(options);
  }
  ConvertOptions checked(const std::string& where) const {
    ConvertOptions options;
    options.source = folder_ / "source";
    options.destination = folder_ / where;
    options.sync = false;
    options.checksum = true;
    return options;
  }

  const TempFolder folder_;
};

TEST_F(WriteManifest, ReadsWhatNobodyKnows) {
  const fs::path target = folder_ / "target";
  folder_.write("target/a", "abc");
  const std::string known(64, '0');
  write_manifest(target, {{"a", ""}, {"b", known}}, false, {});
  const std::string abc = "abc";
  EXPECT_EQ(content_of(target / kManifestName),
            sha256_of(std::as_bytes(std::span(abc))) + "  a\n" + known + "  b\n");
  EXPECT_ERROR(ErrorCode::io_error, write_manifest(target, {{"gone", ""}}, false, {}));
}

// One manifest of the whole target, whatever part of it was hashed while it was written.
TEST_F(WriteManifest, ListsEveryFileOfTheTarget) {
  folder_.write("source/notes.txt", "carried along");
  folder_.write("source/SHA256SUMS", "of the source");
  for (const Layout to : {Layout::hf, Layout::original}) {
    for (const std::uint64_t shard_size : {300'000ULL, 1ULL << 40}) {
      ConvertOptions wanted = checked(fmt::format("{}-{}", name(to), shard_size));
      wanted.to = to;
      wanted.max_shard_size = shard_size;
      convert(wanted);
      const VerifyManifestReport report = verify_manifest({.source = wanted.destination});
      EXPECT_TRUE(report.intact());
      EXPECT_THAT(report.unlisted, IsEmpty());
      const auto files = std::distance(fs::directory_iterator(wanted.destination), {});
      EXPECT_EQ(static_cast<std::ptrdiff_t>(report.files), files - 1);
      EXPECT_TRUE(fs::exists(wanted.destination / "notes.txt"));
    }
  }
}

TEST_F(WriteManifest, NeverStaysOfWhatWasThere) {
  ConvertOptions wanted = checked("target");
  convert(wanted);
  wanted.checksum = false;
  wanted.force = true;
  convert(wanted);
  EXPECT_FALSE(fs::exists(wanted.destination / "SHA256SUMS"));
  // And of what is whole already it is made by --resume.
  wanted.checksum = true;
  wanted.force = false;
  wanted.resume = true;
  EXPECT_TRUE(convert(wanted).was_complete);
  const VerifyManifestReport report = verify_manifest({.source = wanted.destination});
  EXPECT_TRUE(report.intact());
  EXPECT_THAT(report.unlisted, IsEmpty());
}

// Files that several parts write are hashed when they are whole.
TEST_F(WriteManifest, OfPartsIsTheSame) {
  ConvertOptions alone = checked("alone");
  alone.max_shard_size = 400'000;
  convert(alone);
  ConvertOptions parts = alone;
  parts.destination = folder_ / "parts";
  parts.part.world = 3;
  for (const int rank : {2, 0, 1}) {
    parts.part.rank = rank;
    convert(parts);
  }
  finish_conversion(parts.destination);
  EXPECT_EQ(content_of(parts.destination / "SHA256SUMS"),
            content_of(alone.destination / "SHA256SUMS"));
  EXPECT_TRUE(verify_manifest({.source = parts.destination}).intact());
}

}  // namespace
}  // namespace mxferry::internal
