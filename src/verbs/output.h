#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "flow/sink.h"
#include "mxferry/convert.h"
#include "recipe/catalog.h"

namespace mxferry {

// The name of shard k (from 0) of n: "model.safetensors" where one suffices, else
// "model-0000k-of-0000n.safetensors" counted from 1, as transformers writes them.
std::string shard_name(std::size_t shard, std::size_t count);

// The files of a checkpoint to be written, in the format's order of tensors.
struct OutputLayout {
  std::vector<OutputFile> files;     // paths are file names, without folder
  std::vector<PlannedShard> shards;  // the same, for people
};

// Lays out every shard and sets the catalog's offsets. `names` by shard, and `metadata`, which is
// {"format": "pt"} where there is none.
OutputLayout lay_out(Catalog& catalog, const std::vector<std::string>& names,
                     const std::vector<std::map<std::string, std::string>>& metadata = {});

// Whether a checkpoint of these files has an index: neither a single file nor those of ranks do.
bool has_index(const std::vector<std::string>& names);

// model.safetensors.index.json for the catalog.
std::string index_text(const Catalog& catalog, const std::vector<std::string>& names);

// OpenAI's dtypes.json: tensor names to "BF16", "FP4" (blocks) and "UE8" (scales).
std::string dtypes_text(const Catalog& catalog);

// The folder that a command writes a checkpoint to. Remembers what it creates, and removes it again
// unless commit() is called.
class OutputFolder {
 public:
  // Creates the folder, and calls unmark_checkpoint(). Throws Error(io_error).
  explicit OutputFolder(std::filesystem::path path);
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;
  ~OutputFolder();

  const std::filesystem::path& path() const noexcept { return path_; }

  // Tells that a file of this name is about to be created, and gives its path.
  std::filesystem::path add(const std::string& name);

  // Keeps everything, and removes the weight files of an old checkpoint that the new one did not
  // replace.
  void commit();

 private:
  std::filesystem::path path_;
  bool created_ = false;
  bool committed_ = false;
  std::vector<std::string> names_;
};

// Throws Error(invalid_argument) where the destination is a file, or the source itself.
void check_destination(const std::filesystem::path& destination,
                       const std::filesystem::path& source);

// Throws Error(destination_exists).
[[noreturn]] void refuse_occupied(const std::filesystem::path& destination);

// Removes what makes an old checkpoint one, before anything else of it is replaced, so that nothing
// ever reads old and new shards together: its index, its single file, the files of ranks, which no
// index lists, and its manifest.
void unmark_checkpoint(const std::filesystem::path& folder);

// Removes the weight files of a checkpoint that are not among `kept`, unfinished ones too.
void remove_other_weights(const std::filesystem::path& folder,
                          const std::vector<std::string>& kept);

void remove_if_there(const std::filesystem::path& path);

// Whether something is there that check_destination() would refuse without force.
bool is_occupied(const std::filesystem::path& destination);

// Bytes free for this user on the file system of the path, or of its nearest parent that exists.
std::uint64_t free_bytes(const std::filesystem::path& path);

}  // namespace mxferry
