#include "checkpoint/hub_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "checkpoint/folder.h"
#include "tests/base/expect_error.h"
#include "tests/base/temp_folder.h"
#include "tests/checkpoint/headers.h"

namespace mxferry::internal::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kCommit = "6cee5e81ee83917806bbde320786a8fb61efebee";
constexpr const char* kOther = "d666cf3b67006cf8227666739edf25164aaffdeb";

// A cache with one entry, as huggingface_hub lays it out, that HF_HUB_CACHE points to. The
// environment is put back at the end.
class HubCache : public ::testing::Test {
 protected:
  HubCache() {
    for (const char* variable : {"HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"}) {
      const char* value = ::getenv(variable);
      saved_[variable] = value == nullptr ? std::nullopt : std::optional<std::string>(value);
      ::unsetenv(variable);
    }
    set("HF_HUB_CACHE", cache_.path());
    add_snapshot(kCommit);
    cache_.write("models--openai--gpt-oss-20b/refs/main", kCommit);
  }
  ~HubCache() override {
    for (const auto& [variable, value] : saved_) {
      if (value) {
        ::setenv(variable.c_str(), value->c_str(), 1);
      } else {
        ::unsetenv(variable.c_str());
      }
    }
  }

  static void set(const char* variable, const fs::path& value) {
    ::setenv(variable, value.c_str(), 1);
  }
  void add_snapshot(const std::string& commit) const {
    cache_.write("models--openai--gpt-oss-20b/blobs/aa" + commit, file_bytes("{}", 0));
    fs::create_directories(snapshot(commit));
    fs::create_symlink("../../blobs/aa" + commit, snapshot(commit) / "model.safetensors");
  }
  fs::path entry() const { return cache_ / "models--openai--gpt-oss-20b"; }
  fs::path snapshot(const std::string& commit) const { return entry() / "snapshots" / commit; }

  TempFolder cache_;
  std::map<std::string, std::optional<std::string>> saved_;
};

TEST_F(HubCache, GivesTheSnapshotOfMain) {
  add_snapshot(kOther);
  EXPECT_EQ(resolve_source("openai/gpt-oss-20b"), snapshot(kCommit));
}

TEST_F(HubCache, TakesARefWithANewline) {
  cache_.write("models--openai--gpt-oss-20b/refs/main", std::string(kCommit) + "\n");
  EXPECT_EQ(resolve_source("openai/gpt-oss-20b"), snapshot(kCommit));
}

TEST_F(HubCache, GivesTheSnapshotOfARevision) {
  add_snapshot(kOther);
  cache_.write("models--openai--gpt-oss-20b/refs/refs/pr/1", kOther);
  EXPECT_EQ(resolve_source("openai/gpt-oss-20b@refs/pr/1"), snapshot(kOther));
  EXPECT_EQ(resolve_source("openai/gpt-oss-20b@" + std::string(kOther)), snapshot(kOther));
  EXPECT_EQ(resolve_source("openai/gpt-oss-20b@main"), snapshot(kCommit));
}

TEST_F(HubCache, GivesTheOnlySnapshotWithoutARef) {
  fs::remove_all(entry() / "refs");
  EXPECT_EQ(resolve_source("openai/gpt-oss-20b"), snapshot(kCommit));
}

TEST_F(HubCache, NamesTheSnapshotsItCannotChooseFrom) {
  add_snapshot(kOther);
  fs::remove_all(entry() / "refs");
  const auto error = error_of([] { resolve_source("openai/gpt-oss-20b"); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::not_a_checkpoint);
  EXPECT_THAT(error->what(), HasSubstr(std::string(kCommit) + ", " + kOther));
}

TEST_F(HubCache, RefusesARefWithoutItsSnapshot) {
  cache_.write("models--openai--gpt-oss-20b/refs/main", kOther);
  EXPECT_ERROR(ErrorCode::not_a_checkpoint, resolve_source("openai/gpt-oss-20b"));
}

TEST_F(HubCache, RefusesAnUnknownRevision) {
  EXPECT_ERROR(ErrorCode::not_a_checkpoint, resolve_source("openai/gpt-oss-20b@v2"));
}

TEST_F(HubCache, RefusesRevisionsAndRefsThatLeaveTheEntry) {
  cache_.write("secret", kCommit);
  EXPECT_ERROR(ErrorCode::not_a_checkpoint, resolve_source("openai/gpt-oss-20b@../../secret"));
  EXPECT_ERROR(ErrorCode::not_a_checkpoint,
               resolve_source("openai/gpt-oss-20b@" + (cache_ / "secret").string()));
  EXPECT_ERROR(ErrorCode::not_a_checkpoint, resolve_source("openai/gpt-oss-20b@"));
  cache_.write("models--openai--gpt-oss-20b/refs/main", "../../..");
  add_snapshot(kOther);
  EXPECT_ERROR(ErrorCode::not_a_checkpoint, resolve_source("openai/gpt-oss-20b"));
}

TEST_F(HubCache, SaysWhereItLookedAndWhatToDo) {
  const auto error = error_of([] { resolve_source("openai/gpt-oss-120b"); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::not_a_checkpoint);
  EXPECT_EQ(error->details().file, cache_.path());
  EXPECT_THAT(error->what(), HasSubstr("hf download openai/gpt-oss-120b"));
}

TEST_F(HubCache, IsFoundAsHuggingFaceFindsIt) {
  ::unsetenv("HF_HUB_CACHE");
  const TempFolder home;
  const auto expect_found_in = [&](const fs::path& hub) {
    const fs::path expected = hub / "models--a--b/snapshots" / kCommit;
    fs::create_directories(expected);
    EXPECT_EQ(resolve_source("a/b"), expected);
  };
  set("HOME", home.path());
  expect_found_in(home / ".cache/huggingface/hub");
  set("XDG_CACHE_HOME", home / "xdg");
  expect_found_in(home / "xdg/huggingface/hub");
  set("HF_HOME", "~/hf");
  expect_found_in(home / "hf/hub");
  set("HF_HUB_CACHE", home / "cache");
  expect_found_in(home / "cache");
  set("HF_HUB_CACHE", "");
  EXPECT_EQ(resolve_source("a/b"), home / "hf/hub/models--a--b/snapshots" / kCommit);
}

TEST_F(HubCache, ComesAfterAFolderOfTheSameName) {
  const fs::path before = fs::current_path();
  const TempFolder folder;
  folder.write("openai/gpt-oss-20b/config.json", "{}");
  fs::current_path(folder.path());
  EXPECT_EQ(resolve_source("openai/gpt-oss-20b"), "openai/gpt-oss-20b");
  fs::current_path(before);
}

TEST_F(HubCache, IsNotAskedForOtherNames) {
  for (const char* source :
       {"", "gpt-oss-20b", "/openai/gpt-oss-20b", "./openai/gpt-oss-20b", "openai/gpt-oss-20b/",
        "a/b/c", "../gpt-oss-20b", "a@b/c", "o/", "/"}) {
    const auto error = error_of([&] { resolve_source(source); });
    if (std::string(source) == "/") {
      EXPECT_FALSE(error);
      continue;
    }
    ASSERT_TRUE(error) << source;
    EXPECT_THAT(error->what(), HasSubstr("no such folder")) << source;
  }
}

TEST_F(HubCache, MayBeLinkedWithinOneEntry) {
  EXPECT_THAT(open_folder(snapshot(kCommit)).problems, IsEmpty());
  EXPECT_TRUE(link_stays_inside(snapshot(kCommit), entry() / "blobs/aa"));
  EXPECT_FALSE(
      link_stays_inside(snapshot(kCommit), cache_ / "models--openai--gpt-oss-120b/blobs/a"));
  EXPECT_FALSE(link_stays_inside(snapshot(kCommit), cache_ / "models--openai--gpt-oss-20b-x/a"));
  EXPECT_FALSE(link_stays_inside(entry() / "refs", entry() / "blobs/aa"));
}

TEST_F(HubCache, MayBeLinkedFromAFolderOfASnapshot) {
  fs::create_directory(snapshot(kCommit) / "original");
  EXPECT_EQ(hub_cache_entry(snapshot(kCommit) / "original"), entry());
  EXPECT_TRUE(link_stays_inside(snapshot(kCommit) / "original", entry() / "blobs/aa"));
}

TEST_F(HubCache, TellsOfAnUnfinishedDownload) {
  fs::remove(entry() / "blobs" / ("aa" + std::string(kCommit)));  // the link is left dangling
  cache_.write("models--openai--gpt-oss-20b/blobs/bb.incomplete", "half");
  const Folder folder = open_folder(snapshot(kCommit));
  ASSERT_FALSE(folder.problems.empty());
  EXPECT_EQ(folder.problems.back().code, ErrorCode::incomplete_download);
  EXPECT_EQ(folder.problems.back().severity, Severity::fatal);
  EXPECT_EQ(folder.problems.back().file, "../../blobs/bb.incomplete");
}

}  // namespace
}  // namespace mxferry::internal::testing
