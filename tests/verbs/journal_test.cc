#include "verbs/journal.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>
#include <string>

#include "tests/base/expect_error.h"
#include "tests/base/temp_folder.h"

namespace mxferry {
namespace {

using testing::content_of;
using testing::TempFolder;

TEST(Journal, TellsTheNextRunWhatWasNoted) {
  const TempFolder folder;
  const nlohmann::json conversion = {{"what", "ever"}};
  {
    Journal journal(folder.path(), {.rank = 1, .world = 4}, true);
    EXPECT_TRUE(journal.content().conversion.is_null());
    journal.begin(conversion);
    journal.note_side_files({"gone"});
    journal.note_side_files(
        {"config.json", "of \xFF\xC3\xA9 bytes", "../outside", "/absolute", ""});
    journal.note_shard("a", "abcd");
    journal.note_shared("b");
    journal.note_shard("c", "");
  }
  Journal again(folder.path(), {.rank = 1, .world = 4}, false);
  EXPECT_EQ(again.content().conversion, conversion);
  EXPECT_EQ(again.content().shards, (std::set<std::string>{"a", "c"}));
  EXPECT_EQ(again.content().digests, (Manifest{{"a", "abcd"}, {"c", ""}}));
  EXPECT_EQ(again.content().side_files,
            (std::set<std::string>{"config.json", "of \xFF\xC3\xA9 bytes"}));
  EXPECT_EQ(again.content().shared, std::set<std::string>{"b"});
  EXPECT_FALSE(again.content().done);
  again.note_done();
  const auto found = find_journals(folder.path());
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].part.rank, 1);
  EXPECT_EQ(found[0].part.world, 4);
  EXPECT_TRUE(found[0].content.done);
  EXPECT_FALSE(found[0].content.synced);
  again.begin(conversion);
  EXPECT_TRUE(again.content().shards.empty());
}

TEST(Journal, IsOneProcesssAtATime) {
  const TempFolder folder;
  std::optional<Journal> first;
  first.emplace(folder.path(), Part{}, false);
  EXPECT_TRUE(File::is_taken(first->path()));
  EXPECT_ERROR(ErrorCode::destination_in_use, Journal(folder.path(), Part{}, false));
  const Journal other(folder.path(), {.rank = 0, .world = 2}, false);
  const std::filesystem::path path = first->path();
  first.reset();
  EXPECT_FALSE(File::is_taken(path));
  EXPECT_NO_THROW(Journal(folder.path(), Part{}, false));
}

// Wherever a crash cuts it: what was noted before counts, the line that it cut does not.
TEST(Journal, ThatIsCutCountsUpToTheCut) {
  const TempFolder folder;
  std::filesystem::path path;
  {
    Journal journal(folder.path(), {}, false);
    path = journal.path();
    journal.begin({{"a", 1}});
    for (const char* name : {"one", "two", "three"}) journal.note_shard(name, "");
    journal.note_done();
  }
  const std::string text = content_of(path);
  for (std::size_t length = 0; length <= text.size(); ++length) {
    folder.write(path.filename().string(), text.substr(0, length));
    Journal journal(folder.path(), {}, false);
    const auto lines = std::count(text.begin(), text.begin() + static_cast<long>(length), '\n');
    EXPECT_EQ(journal.content().conversion.is_null(), lines < 1);
    EXPECT_EQ(std::ssize(journal.content().shards), std::clamp<long>(lines - 1, 0, 3));
    EXPECT_EQ(journal.content().done, lines == 5);
    // And what is noted next is a line of its own.
    if (lines < 1) journal.begin({{"a", 2}});
    journal.note_shard("four", "");
    EXPECT_TRUE(find_journals(folder.path())[0].content.shards.contains("four")) << length;
  }
}

TEST(Journal, OfAnyNameIsFoundOnlyWhereItNamesAPart) {
  const TempFolder folder;
  for (const char* name :
       {".mxferry-journal", ".mxferry-journal-", ".mxferry-journal-1", ".mxferry-journal-of-2",
        ".mxferry-journal-00003-of-00002", ".mxferry-journal-00000-of-00002",
        ".mxferry-journal-1-of-x", ".mxferry-journal-99999999999-of-999999999999"}) {
    folder.write(name, "");
  }
  EXPECT_TRUE(find_journals(folder.path()).empty());
}

}  // namespace
}  // namespace mxferry
