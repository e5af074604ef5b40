#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace mxferry::internal {

// The switch from a destination's old content to a new checkpoint, whose files are complete and in
// the state folder. The publication file is written before the first change and removed after the
// last, so the next command completes the switch after a crash. Meanwhile nothing that could be
// opened as a checkpoint is a mixture: the old config.json and index are moved away first, and the
// new index and config.json are put in place last.
//
// The caller must hold a DestinationLock.

// Moves the files of an old checkpoint aside, puts a work's `files` in place, in order but with the
// index and config.json last, and removes the work and the old files. Throws Error:
// destination_exists (a folder has the name of a file), io_error; if an old file cannot be moved,
// everything is put back first.
void publish(const std::filesystem::path& destination, const std::filesystem::path& work,
             const std::vector<std::string>& files, bool sync);

// Completes an interrupted publication, if there is one. Throws Error: invalid_argument (the
// publication is damaged, or files of it are lost), io_error.
void complete_publication(const std::filesystem::path& destination);

// Removes the publication file, if the publication cannot be completed.
void drop_publication(const std::filesystem::path& destination);

// The names of the files that make a folder a checkpoint: config.json, dtypes.json, the index and
// the manifest, weights, including those that the index lists, and unfinished files of older
// releases.
std::vector<std::string> checkpoint_files(const std::filesystem::path& folder);

}  // namespace mxferry::internal
