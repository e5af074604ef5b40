// Loses memory, to see whether that is seen. Much of it: a register or the stack may still hold the
// last pointer, which then counts as kept.
#include <cstdlib>

void* volatile kept = nullptr;

int main() {
  constexpr int kTimes = 100;
  for (int i = 0; i < kTimes; ++i) kept = std::malloc(7);
  kept = nullptr;
  return 0;
}
