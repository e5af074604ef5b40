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

// A work whose files are all written, and what is known about them.
struct WrittenWork {
  std::filesystem::path destination;
  std::filesystem::path path;        // folder of the work
  nlohmann::json record;             // make_record()
  int world = 1;                     // number of parts that wrote the shared shards
  std::set<std::string> named;       // shards that have their final names
  std::set<std::string> side_files;  // all files but shards, index and manifest
  Manifest digests;                  // known digests of shards
  // The border files of shards that several processes have written, by shard name.
  std::map<std::string, std::vector<std::filesystem::path>> borders;
  // Called before a shared shard gets its final name; may be empty.
  std::function<void(const std::string& shard)> note_named;
  bool sync = true;
  bool forced = false;  // may replace what the destination holds
};

// A work that has been assembled into a whole checkpoint.
struct Assembly {
  std::vector<std::string> files;  // installed in order, but the index and config.json last
  std::size_t shards = 0;
  std::uint64_t bytes = 0;  // of the shards
};

// The border files, by shard name, of a work whose processes have all succeeded.
std::map<std::string, std::vector<std::filesystem::path>> all_borders(
    const std::filesystem::path& work);

// Puts together the shards that several processes wrote, checks every shard's header and size, and
// adds the index and the manifest. Can be repeated after a crash. Throws Error: io_error, cancelled
// (while it computes checksums), unfinished_conversion (a shard is lost), and the errors of reading
// an incomplete file.
Assembly assemble(const WrittenWork& work, const std::stop_token& stop);

// Publishes the assembled work as the destination's checkpoint and removes the work. Takes the
// DestinationLock. Throws Error: destination_exists (another program has put a checkpoint there
// meanwhile), destination_in_use, io_error, cancelled.
void put_in_place(const WrittenWork& work, const Assembly& assembly, const std::stop_token& stop);

}  // namespace mxferry::internal
