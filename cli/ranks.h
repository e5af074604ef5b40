#pragma once

#include <memory>
#include <stop_token>
#include <string>

#include "mxferry/convert.h"

namespace mxferry::cli {

// The processes that a launcher started to do one conversion together.
class Ranks {
 public:
  virtual ~Ranks() = default;

  virtual Part part() const = 0;
  // Returns when every rank has called it with the same one-line text. Throws Error:
  // conversion_changed (another rank has another text), io_error, cancelled (on request).
  virtual void wait_for_all(const std::string& text, const std::stop_token& stop) = 0;
  // Ends all ranks, if the launcher does not do so itself. This process exits with `code` next.
  virtual void end_all(int code) = 0;
};

// Throws the error of wait_for_all() for ranks that differ: they were started with different
// options, or see different files.
[[noreturn]] void refuse_other_ranks();

// The ranks that the environment describes; null without a launcher, or if it started a single
// process. Throws Error(unsupported) for a launcher that this build cannot talk to. Under MPI, may
// instead replace this process with mxferry-mpi, called with `argv`.
std::unique_ptr<Ranks> launched_ranks(char** argv);

// MPI's ranks; null for a single process. In mxferry-mpi, initializes MPI; in mxferry, replaces
// this process with mxferry-mpi.
std::unique_ptr<Ranks> mpi_ranks(char** argv);

}  // namespace mxferry::cli
