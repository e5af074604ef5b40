// FAULTS_NEW: see faults.cc.

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "faults.h"

namespace {

void* allocate(std::size_t size, std::size_t alignment) {
  static const long chosen = faults::number_in("FAULTS_NEW");
  if (faults::calls > 0 && ++faults::allocations == chosen) {
    std::fprintf(stderr, "FAULT new\n");
    throw std::bad_alloc();
  }
  void* memory = nullptr;
  if (::posix_memalign(&memory, alignment, size == 0 ? 1 : size) != 0) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) {
  return allocate(size, alignof(std::max_align_t));
}
void* operator new[](std::size_t size) {
  return allocate(size, alignof(std::max_align_t));
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete[](void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}
