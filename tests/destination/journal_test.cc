#include "destination/journal.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <string>

#include "tests/base/temp_folder.h"

namespace mxferry::internal {
namespace {

using testing::content_of;
using testing::TempFolder;

Journal journal_in(const TempFolder& folder, const Part& part, bool sync) {
  return {*FileLock::try_take(folder / journal_name(part)), sync};
}

TEST(Journal, TellsTheNextRunWhatWasNoted) {
  const TempFolder folder;
  const Part part{.rank = 1, .world = 4};
  {
    Journal journal = journal_in(folder, part, true);
    EXPECT_FALSE(journal.content().begun);
    journal.begin(true, false);
    journal.note_side_files({"gone"});
    journal.note_side_files(
        {"config.json", "of \xFF\xC3\xA9 bytes", "../outside", "/absolute", ".mxferry/lock", ""});
    journal.note_shard("a", "abcd");
    journal.note_shared("b");
    journal.note_shard("c", "");
  }
  Journal again = journal_in(folder, part, false);
  EXPECT_TRUE(again.content().begun);
  EXPECT_TRUE(again.content().forced);
  ASSERT_EQ(again.content().shards.size(), 2U);
  EXPECT_EQ(again.content().shards.at("a").sha256, "abcd");
  EXPECT_EQ(again.content().shards.at("c").sha256, "");
  EXPECT_EQ(again.content().side_files,
            (std::set<std::string>{"config.json", "of \xFF\xC3\xA9 bytes"}));
  EXPECT_TRUE(again.content().shared.contains("b"));
  EXPECT_FALSE(again.content().done);
  again.note_done();
  const auto found = find_journals(folder.path());
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].part.rank, 1);
  EXPECT_EQ(found[0].part.world, 4);
  EXPECT_TRUE(found[0].content.done);
  EXPECT_FALSE(found[0].content.synced);
  // A run that begins again has all to do that it cannot adopt.
  again.begin(false, false);
  EXPECT_FALSE(again.content().done);
  EXPECT_TRUE(again.content().shards.contains("a"));
  // Anew, what others may have written over is forgotten.
  again.begin(true, true);
  EXPECT_TRUE(again.content().shards.contains("a"));
  EXPECT_TRUE(again.content().shared.empty());
}

// Only what was noted by a run that syncs, when it was on the disk, counts as being there.
TEST(Journal, TellsWhatIsOnTheDisk) {
  const TempFolder folder;
  ASSERT_NE(boot_id(), "");
  EXPECT_TRUE(is_kept({"", true, ""}));
  EXPECT_TRUE(is_kept({"", false, boot_id()}));
  EXPECT_FALSE(is_kept({"", false, "elsewhere/id"}));
  EXPECT_FALSE(is_kept({"", false, ""}));
  EXPECT_FALSE(is_lost({"", false, "elsewhere/id"}));
  EXPECT_FALSE(is_lost({"", false, boot_id()}));
  EXPECT_TRUE(is_lost({"", false, boot_id() + "0"}));
  for (const bool sync : {false, true}) {
    Journal journal = journal_in(folder, {}, sync);
    journal.note_shard("a", "");
    const NotedFile& noted = journal.content().shards.at("a");
    EXPECT_EQ(noted.synced, sync);
    EXPECT_EQ(noted.boot, sync ? "" : boot_id());
  }
}

// Wherever a crash cuts it: what was noted before counts, the line that it cut does not.
TEST(Journal, ThatIsCutCountsUpToTheCut) {
  const TempFolder folder;
  {
    Journal journal = journal_in(folder, {}, false);
    journal.begin(false, false);
    for (const char* name : {"one", "two", "three"}) journal.note_shard(name, "");
    journal.note_done();
  }
  const std::string text = content_of(folder / journal_name({}));
  for (std::size_t length = 0; length <= text.size(); ++length) {
    folder.write(journal_name({}), text.substr(0, length));
    Journal journal = journal_in(folder, {}, false);
    const auto lines = std::count(text.begin(), text.begin() + static_cast<long>(length), '\n');
    EXPECT_EQ(journal.content().begun, lines >= 1);
    EXPECT_EQ(std::ssize(journal.content().shards), std::clamp<long>(lines - 1, 0, 3));
    EXPECT_EQ(journal.content().done, lines == 5);
    // And what is noted next is a line of its own.
    if (lines < 1) journal.begin(false, false);
    journal.note_shard("four", "");
    EXPECT_TRUE(find_journals(folder.path())[0].content.shards.contains("four")) << length;
  }
}

TEST(Journal, OfAnyNameIsFoundOnlyWhereItNamesAPart) {
  const TempFolder folder;
  for (const char* name :
       {"part", "part-", "part-1", "part-of-2", "part-00003-of-00002", "part-00000-of-00002",
        "part-1-of-x", "record", "part-99999999999-of-999999999999"}) {
    folder.write(name, "");
  }
  EXPECT_TRUE(find_journals(folder.path()).empty());
}

}  // namespace
}  // namespace mxferry::internal
