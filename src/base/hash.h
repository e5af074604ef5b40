#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <nettle/sha1.h>
#include <nettle/sha2.h>

namespace mxferry::internal {

// Incremental SHA-256.
class Sha256 {
 public:
  Sha256() noexcept { sha256_init(&state_); }

  void add(std::span<const std::byte> bytes) noexcept;
  // In lower-case hexadecimal, like the Hugging Face Hub's. Resets the hash.
  std::string digest();

 private:
  sha256_ctx state_;
};

std::string sha256_of(std::span<const std::byte> bytes);

// Git's object name of a file's content: SHA-1 of "blob SIZE\0" and the bytes. Source: Pro Git,
// "Git Internals - Git Objects". Not secure against crafted files.
class GitBlobHash {
 public:
  explicit GitBlobHash(std::uint64_t size);

  void add(std::span<const std::byte> bytes) noexcept;
  // In lower-case hexadecimal. Call only once.
  std::string digest();

 private:
  sha1_ctx state_;
};

// Whether the text is exactly `digits` lower-case hexadecimal digits.
bool is_hexadecimal(std::string_view text, std::size_t digits) noexcept;
inline constexpr std::size_t kSha256Digits = 64;
inline constexpr std::size_t kGitBlobDigits = 40;

}  // namespace mxferry::internal
