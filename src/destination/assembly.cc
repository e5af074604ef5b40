#include "destination/assembly.h"

#include <algorithm>
#include <iterator>
#include <span>

#include "base/file.h"
#include "base/hash.h"
#include "checkpoint/safetensors_header.h"
#include "checkpoint/shard_index.h"
#include "destination/conversion_record.h"
#include "destination/publication.h"
#include "destination/shard_files.h"
#include "destination/state_folder.h"
#include "destination/write_manifest.h"
#include "flow/borders.h"
#include "mxferry/error.h"

namespace mxferry::internal {
namespace {

namespace fs = std::filesystem;

SafetensorsHeader read_whole_header(const fs::path& path, std::uint64_t size) {
  const File file = File::open_for_reading(path);
  SafetensorsHeader header = read_header_of_any_length(file);
  check_file_size(header, file);
  if (file.size() != size) {
    throw Error(ErrorCode::file_size_mismatch, {.problem = "the file is not what was converted",
                                                .file = path,
                                                .expected = std::to_string(size) + " bytes",
                                                .found = std::to_string(file.size())});
  }
  return header;
}

// Adds the header, and the pages from the border files, to a shard that several processes wrote.
void put_together(const WrittenWork& work, const RecordedFile& shard, const fs::path& shared) {
  if (!is_there(shared)) {
    throw Error(ErrorCode::unfinished_conversion,
                {.problem = "a shard that the parts have written is lost: " + shard.name,
                 .file = work.destination,
                 .advice = "Convert anew, by one process with --force and without --rank"});
  }
  const File file = File::open_for_writing(shared);
  const fs::path header = work.path / kPiecesFolder / (std::string(kHeaderPrefix) + shard.name);
  if (is_there(header)) {
    const std::string text = read_text_file(header, shard.size);
    file.write(0, std::as_bytes(std::span(text)));
  }
  const auto borders = work.borders.find(shard.name);
  if (borders != work.borders.end()) {
    for (const fs::path& path : borders->second) Borders(path, shard.size).apply(file);
  }
  if (work.sync) file.sync();
}

// Gives every shard its final name and returns the index of their tensors.
ShardIndex name_shards(const WrittenWork& work, const std::vector<RecordedFile>& shards) {
  const fs::path folder = work.path / kFilesFolder;
  ShardIndex index;
  std::uint64_t total = 0;
  std::vector<std::string> unnamed;
  for (const RecordedFile& shard : shards) {
    fs::path path = folder / shard.name;
    if (!work.named.contains(shard.name) || !is_there(path)) {
      path = work.path / kPiecesFolder / shared_name(work.world, shard.name);
      put_together(work, shard, path);
      unnamed.push_back(shard.name);
    }
    const SafetensorsHeader header = read_whole_header(path, shard.size);
    for (const TensorInfo& tensor : header.tensors) {
      index.weight_map[tensor.name] = shard.name;
      total += tensor.end - tensor.begin;
    }
  }
  for (const std::string& name : unnamed) {
    if (work.note_named) work.note_named(name);
    rename_file(work.path / kPiecesFolder / shared_name(work.world, name), folder / name);
  }
  index.total_size = total;
  return index;
}

// Throws Error(destination_exists) if another program has put a checkpoint's files, or others with
// the names of `files`, into the destination since it was found free.
void refuse_newcomers(const WrittenWork& work, const std::vector<std::string>& files) {
  std::vector<std::string> found = checkpoint_files(work.destination);
  std::ranges::copy_if(files, std::back_inserter(found), [&](const std::string& name) {
    return link_status(work.destination / name).type() != fs::file_type::not_found;
  });
  if (found.empty()) return;
  throw Error(ErrorCode::destination_exists,
              {.problem = "a file of a checkpoint was put there by another program meanwhile",
               .file = work.destination,
               .found = found.front(),
               .advice = "Move it away, then run `mxferry finish` on the folder"});
}

}  // namespace

std::map<std::string, std::vector<fs::path>> all_borders(const fs::path& work) {
  std::map<std::string, std::vector<fs::path>> borders;
  if (!is_real_folder(work / kPiecesFolder)) return borders;
  for (const std::string& name : list_folder(work / kPiecesFolder)) {
    if (!name.starts_with(kHeaderPrefix) && !name.starts_with(kSharedPrefix)) {
      borders[name.substr(name.find('.') + 1)].push_back(work / kPiecesFolder / name);
    }
  }
  return borders;
}

Assembly assemble(const WrittenWork& work, const std::stop_token& stop) {
  const fs::path folder = work.path / kFilesFolder;
  const std::vector<RecordedFile> shards = recorded_files(work.record);
  const ShardIndex index = name_shards(work, shards);
  if (work.sync) sync_folder(folder);
  Assembly assembly{.files = {}, .shards = shards.size(), .bytes = 0};
  for (const RecordedFile& shard : shards) {
    assembly.bytes += shard.size;
    assembly.files.push_back(shard.name);
  }
  const bool indexed = has_index(assembly.files);
  assembly.files.insert(assembly.files.end(), work.side_files.begin(), work.side_files.end());
  const std::string text = indexed ? serialize_shard_index(index) : std::string();
  if (has_manifest(work.record)) {
    Manifest digests;
    for (const std::string& name : assembly.files) {
      const auto known = work.digests.find(name);
      digests[name] = known == work.digests.end() ? "" : known->second;
    }
    if (indexed) digests[kIndexName] = sha256_of(std::as_bytes(std::span(text)));
    write_manifest(folder, std::move(digests), work.sync, stop);
    assembly.files.emplace_back(kManifestName);
  }
  if (indexed) {
    write_text_file(folder / kIndexName, text, work.sync);
    assembly.files.emplace_back(kIndexName);
  }
  return assembly;
}

void put_in_place(const WrittenWork& work, const Assembly& assembly, const std::stop_token& stop) {
  const DestinationLock lock(work.destination, stop);
  if (!work.forced) refuse_newcomers(work, assembly.files);
  publish(work.destination, work.path, assembly.files, work.sync);
}

}  // namespace mxferry::internal
