#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"

namespace mxferry::internal {

// A work whose files are all written, and what is known of them.
struct WrittenWork {
  std::filesystem::path destination;
  std::filesystem::path path;        // of the work
  nlohmann::json record;             // make_record()
  int world = 1;                     // parts, whose shared shards these are
  std::set<std::string> named;       // shards that have their final names
  std::set<std::string> side_files;  // beside the weights and what is made of them
  Manifest digests;                  // of the shards, as far as they are known
  // The border files of the shards that several processes have written, by shard.
  std::map<std::string, std::vector<std::filesystem::path>> borders;
  // Called before a shared shard takes its name; may be empty.
  std::function<void(const std::string& shard)> note_named;
  bool sync = true;
  bool forced = false;  // it may replace what is at the destination
};

// A work that is a whole checkpoint.
struct Assembly {
  std::vector<std::string> files;  // in the order in which they are put in place
  std::size_t shards = 0;
  std::uint64_t bytes = 0;  // of the shards
};

// The border files of a work that processes have written together which all have succeeded.
std::map<std::string, std::vector<std::filesystem::path>> all_borders(
    const std::filesystem::path& work);

// Puts together the shards that several processes have written, checks that every shard is whole,
// and adds the index and the manifest. May run again after a crash. Throws Error: io_error,
// cancelled (while checksums are computed), unfinished_conversion (a shard is lost), what a file
// that is not whole gives.
Assembly assemble(const WrittenWork& work, const std::stop_token& stop);

// Makes the assembled work the destination's checkpoint, and removes the work. Takes the
// DestinationLock. Throws Error: destination_exists (somebody else has put a checkpoint there
// meanwhile), destination_in_use, io_error.
void put_in_place(const WrittenWork& work, const Assembly& assembly, const std::stop_token& stop);

}  // namespace mxferry::internal
