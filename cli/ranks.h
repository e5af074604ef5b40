#pragma once

#include <memory>
#include <stop_token>
#include <string>

#include "mxferry/convert.h"

namespace mxferry::cli {

// The processes that a launcher has started to do one conversion together.
class Ranks {
 public:
  virtual ~Ranks() = default;

  virtual Part part() const = 0;
  // Returns when every rank has called it with the same text, of a line. Throws Error:
  // conversion_changed (another rank has another text), cancelled on request.
  virtual void wait_for_all(const std::string& text, const std::stop_token& stop) = 0;
  // Ends all of them, where the launcher does not by itself. This process exits with `code` next.
  virtual void end_all(int code) = 0;
};

// What wait_for_all() throws where the ranks differ: they were started with different options, or
// see different files.
[[noreturn]] void refuse_other_ranks();

// As the environment tells; null without a launcher, or where it has started one process alone.
// Throws Error(unsupported) for a launcher that this build cannot talk to. May instead become
// mxferry-mpi, which can, with `argv`.
std::unique_ptr<Ranks> launched_ranks(char** argv);

// Of MPI; null for one process alone. mxferry-mpi initialises MPI; mxferry becomes mxferry-mpi.
std::unique_ptr<Ranks> mpi_ranks(char** argv);

}  // namespace mxferry::cli
