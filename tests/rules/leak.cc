// Loses memory, to see whether that is seen.
#include <cstdlib>

int main() {
  static void* volatile kept = std::malloc(7);
  kept = nullptr;
  return 0;
}
