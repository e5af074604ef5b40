#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>

#include <nettle/sha2.h>

namespace mxferry {

// SHA-256 of bytes that come piece by piece.
class Sha256 {
 public:
  Sha256() noexcept { sha256_init(&state_); }

  void add(std::span<const std::byte> bytes) noexcept;
  // In hexadecimal, as the Hugging Face Hub writes it. Begins anew.
  std::string digest();

 private:
  sha256_ctx state_;
};

}  // namespace mxferry
