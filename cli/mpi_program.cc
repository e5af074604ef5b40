#include <unistd.h>

#include <filesystem>
#include <string>
#include <system_error>

#include "mxferry/error.h"
#include "ranks.h"

namespace mxferry::cli {

std::unique_ptr<Ranks> mpi_ranks(char** argv) {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string program = (self.parent_path() / "mxferry-mpi").string();
  ::execv(program.c_str(), argv);
  throw Error(ErrorCode::unsupported,
              {.problem = "an MPI launcher has started this, and there is no program for MPI",
               .expected = program,
               .advice = "Build mxferry where MPI is installed, or use --rank, --world and "
                         "`mxferry finish`"});
}

}  // namespace mxferry::cli
