// Loses memory, to see whether that is seen.
#include <cstdlib>

void* volatile kept = nullptr;

int main() {
  kept = std::malloc(7);
  kept = nullptr;
  return 0;
}
