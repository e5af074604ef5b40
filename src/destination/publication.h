#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace mxferry::internal {

// The switch from what a destination holds to a new checkpoint, whose files are whole and in the
// state folder. A publication is on the disk before the first change and goes after the last, so
// that whoever comes after a crash carries it to its end. While it goes on, nothing that could be
// opened as a checkpoint is a mixture: config.json and the index of the old one go first, and the
// index and config.json of the new one come last.
//
// The functions take a DestinationLock to be held.

// Moves the files aside that make an old checkpoint, puts those of a work in place, in this order,
// and removes the work and the old files. Throws Error: destination_exists (a folder has the name
// of a file), io_error; where an old file cannot be moved, everything is as it was.
void publish(const std::filesystem::path& destination, const std::filesystem::path& work,
             const std::vector<std::string>& files, bool sync);

// Carries a publication that was interrupted to its end. Does nothing where there is none. Throws
// Error: invalid_argument (the publication is damaged, or files of it are lost), io_error.
void complete_publication(const std::filesystem::path& destination);

// Forgets a publication that cannot be completed.
void drop_publication(const std::filesystem::path& destination);

// What makes a folder a checkpoint, by name: config.json, the index and the manifest, weights, also
// those that the index lists, and what an older release has left unfinished.
std::vector<std::string> checkpoint_files(const std::filesystem::path& folder);

}  // namespace mxferry::internal
