#include "streams.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

namespace mxferry::cli {

void open_closed_streams() noexcept {
  // open() returns the lowest free descriptor.
  for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; ++stream) {
    if (::fcntl(stream, F_GETFD) < 0) (void)::open("/dev/null", O_RDWR);
  }
}

bool flush_stdout() noexcept {
  return std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
}

}  // namespace mxferry::cli
