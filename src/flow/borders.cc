#include "flow/borders.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "mxferry/error.h"

namespace mxferry::internal {

BorderWriter::BorderWriter(const std::filesystem::path& path) : file_(File::create(path)) {}

void BorderWriter::add(std::uint64_t offset, std::span<const std::byte> bytes) {
  const BorderHead head{.offset = offset, .size = bytes.size()};
  std::vector<std::byte> piece(sizeof head + bytes.size());
  std::memcpy(piece.data(), &head, sizeof head);
  std::ranges::copy(bytes, piece.begin() + sizeof head);
  file_.write(end_, piece);
  end_ += piece.size();
}

Borders::Borders(const std::filesystem::path& path, std::uint64_t size)
    : file_(File::open_for_reading(path)) {
  const std::uint64_t end = file_.size();
  for (std::uint64_t place = 0; place < end;) {
    BorderHead head;
    file_.read(place, std::as_writable_bytes(std::span(&head, 1)));
    place += sizeof head;
    const bool fits =
        head.size <= end - place && head.offset <= size && head.size <= size - head.offset;
    if (!fits) {
      throw Error(ErrorCode::file_size_mismatch, {.problem = "the pieces of a part are damaged",
                                                  .file = path,
                                                  .advice = "Convert anew, with --force"});
    }
    pieces_.push_back({head.offset, head.size, place});
    place += head.size;
  }
  std::ranges::sort(pieces_, {}, &Piece::offset);
}

void Borders::apply(const File& file) const {
  std::vector<std::byte> bytes;
  for (const Piece& piece : pieces_) {
    bytes.resize(piece.size);
    file_.read(piece.place, bytes);
    file.write(piece.offset, bytes);
  }
}

void Borders::overlay(std::uint64_t offset, std::span<std::byte> bytes) const {
  const std::uint64_t end = offset + bytes.size();
  auto piece = std::ranges::upper_bound(pieces_, offset, {}, &Piece::offset);
  if (piece != pieces_.begin()) --piece;
  for (; piece != pieces_.end() && piece->offset < end; ++piece) {
    const std::uint64_t first = std::max(offset, piece->offset);
    const std::uint64_t last = std::min(end, piece->offset + piece->size);
    if (first >= last) continue;
    file_.read(piece->place + (first - piece->offset), bytes.subspan(first - offset, last - first));
  }
}

}  // namespace mxferry::internal
