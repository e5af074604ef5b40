#include "flow/shared_file.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include "mxferry/error.h"

namespace mxferry::internal {
namespace {

File open_sized(const std::filesystem::path& path, std::uint64_t size) {
  File file = File::create_or_open(path);
  const std::uint64_t found = file.size();
  if (found == 0) file.preallocate(size);
  if (found == 0 || found == size) return file;
  throw Error(ErrorCode::file_size_mismatch,
              {.problem = "the file that is to be filled is not the one that was planned",
               .file = path,
               .expected = std::to_string(size) + " bytes",
               .found = std::to_string(found),
               .advice = "Is something else writing to this folder?"});
}

}  // namespace

SharedFile::SharedFile(const std::filesystem::path& path, const std::filesystem::path& borders,
                       std::uint64_t size)
    : size_(size), file_(open_sized(path, size)), borders_(borders) {}

std::uint64_t SharedFile::page_end(std::uint64_t offset) const noexcept {
  return std::min(size_, (offset / kBorderPage + 1) * kBorderPage);
}

void SharedFile::write(std::uint64_t offset, std::span<const std::byte> bytes) {
  const std::uint64_t end = offset + bytes.size();
  const std::uint64_t first_page = (offset + kBorderPage - 1) / kBorderPage * kBorderPage;
  const std::uint64_t last_page = end == size_ ? end : end / kBorderPage * kBorderPage;
  if (first_page >= last_page) {
    const std::uint64_t middle = std::min(end, page_end(offset));
    keep(offset, bytes.first(middle - offset));
    keep(middle, bytes.subspan(middle - offset));
    return;
  }
  keep(offset, bytes.first(first_page - offset));
  file_.write(first_page, bytes.subspan(first_page - offset, last_page - first_page));
  keep(last_page, bytes.subspan(last_page - offset));
}

// The bytes are of one page; if they complete it, writes it.
void SharedFile::keep(std::uint64_t offset, std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  Bytes page;
  std::uint64_t begin = 0;
  {
    const std::lock_guard lock(keeping_);
    kept_ += bytes.size();
    const auto piece = merged(pieces_.emplace(offset, Bytes(bytes.begin(), bytes.end())).first);
    begin = piece->first;
    if (begin % kBorderPage == 0 && begin + piece->second.size() == page_end(begin)) {
      page = std::move(piece->second);
      kept_ -= page.size();
      pieces_.erase(piece);
    } else if (kept_ > kMostKeptBytes) {
      spill();
    }
  }
  if (!page.empty()) file_.write(begin, page);
}

// Joins a range with the adjacent ones of its page and returns the result.
SharedFile::Pieces::iterator SharedFile::merged(Pieces::iterator piece) {
  const auto join = [&](Pieces::iterator first, Pieces::iterator second) {
    const bool touch = first->first + first->second.size() == second->first &&
                       second->first < page_end(first->first);
    if (!touch) return false;
    first->second.insert(first->second.end(), second->second.begin(), second->second.end());
    pieces_.erase(second);
    return true;
  };
  if (const auto next = std::next(piece); next != pieces_.end()) join(piece, next);
  if (piece == pieces_.begin()) return piece;
  const auto before = std::prev(piece);
  return join(before, piece) ? before : piece;
}

void SharedFile::spill() {
  for (const auto& [offset, bytes] : pieces_) borders_.add(offset, bytes);
  pieces_.clear();
  kept_ = 0;
}

void SharedFile::finish(bool sync) {
  const std::lock_guard lock(keeping_);
  spill();
  if (!sync) return;
  file_.sync();
  borders_.sync();
}

}  // namespace mxferry::internal
