#include "base/hash.h"

#include <algorithm>
#include <array>

namespace mxferry::internal {
namespace {

constexpr std::string_view kDigits = "0123456789abcdef";

std::string hexadecimal(std::span<const std::uint8_t> bytes) {
  std::string text;
  for (const std::uint8_t byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

const std::uint8_t* bytes_of(std::span<const std::byte> bytes) noexcept {
  return reinterpret_cast<const std::uint8_t*>(bytes.data());
}

}  // namespace

void Sha256::add(std::span<const std::byte> bytes) noexcept {
  sha256_update(&state_, bytes.size(), bytes_of(bytes));
}

std::string Sha256::digest() {
  std::array<std::uint8_t, SHA256_DIGEST_SIZE> bytes{};
  sha256_digest(&state_, bytes.size(), bytes.data());
  return hexadecimal(bytes);
}

std::string sha256_of(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.add(bytes);
  return hash.digest();
}

GitBlobHash::GitBlobHash(std::uint64_t size) {
  sha1_init(&state_);
  const std::string header = "blob " + std::to_string(size) + '\0';
  add(std::as_bytes(std::span(header)));
}

void GitBlobHash::add(std::span<const std::byte> bytes) noexcept {
  sha1_update(&state_, bytes.size(), bytes_of(bytes));
}

std::string GitBlobHash::digest() {
  std::array<std::uint8_t, SHA1_DIGEST_SIZE> bytes{};
  sha1_digest(&state_, bytes.size(), bytes.data());
  return hexadecimal(bytes);
}

bool is_hexadecimal(std::string_view text, std::size_t digits) noexcept {
  return text.size() == digits && std::ranges::all_of(text, [](char digit) {
           return kDigits.find(digit) != std::string_view::npos;
         });
}

}  // namespace mxferry::internal
