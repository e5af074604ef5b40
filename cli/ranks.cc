#include "ranks.h"

#include <poll.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <system_error>

#include "mxferry/error.h"

namespace mxferry::cli {
namespace {

std::optional<int> number_in(const char* variable) {
  const char* const value = std::getenv(variable);
  if (value == nullptr) return std::nullopt;
  const std::string_view text(value);
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

bool is_set(const char* variable) {
  return std::getenv(variable) != nullptr;
}

// Ranks that communicate through their parent, `python -m mxferry` under torchrun. A rank that
// waits sends the parent a line with its text; the parent answers with a line, which is empty if
// all ranks sent the same text.
class RanksOfParent : public Ranks {
 public:
  RanksOfParent(Part part, int descriptor) : part_(part), descriptor_(descriptor) {}

  Part part() const override { return part_; }
  void end_all(int /*code*/) override {}

  void wait_for_all(const std::string& text, const std::stop_token& stop) override {
    const std::string line = text + '\n';
    if (::write(descriptor_, line.data(), line.size()) != static_cast<ssize_t>(line.size())) fail();
    constexpr int kMilliseconds = 50;
    std::string answer;
    while (!stop.stop_requested()) {
      pollfd waiting{.fd = descriptor_, .events = POLLIN, .revents = 0};
      if (::poll(&waiting, 1, kMilliseconds) <= 0) continue;
      char letter = 0;
      if (::read(descriptor_, &letter, 1) != 1) fail();
      if (letter != '\n') {
        answer += letter;
        continue;
      }
      if (!answer.empty()) refuse_other_ranks();
      return;
    }
    throw Error(ErrorCode::cancelled, {.problem = "stopped on request"});
  }

 private:
  [[noreturn]] static void fail() {
    throw Error(ErrorCode::io_error, {.problem = "the process that started this one has gone"});
  }

  Part part_;
  int descriptor_;
};

bool is_under_mpi() {
  return is_set("OMPI_COMM_WORLD_SIZE") || is_set("PMIX_RANK") || is_set("PMI_RANK");
}

}  // namespace

void refuse_other_ranks() {
  throw Error(
      ErrorCode::conversion_changed,
      {.problem = "the ranks would do different conversions",
       .advice = "Start all of them with the same options, and let all of them see the same "
                 "source"});
}

std::unique_ptr<Ranks> launched_ranks(char** argv) {
  if (const auto descriptor = number_in("MXFERRY_PARENT_FD")) {
    const Part part{.rank = number_in("RANK").value_or(0),
                    .world = number_in("WORLD_SIZE").value_or(1),
                    .local_world = number_in("LOCAL_WORLD_SIZE").value_or(1)};
    if (part.world > 1) return std::make_unique<RanksOfParent>(part, *descriptor);
    return nullptr;
  }
  if (is_under_mpi()) {
    if (number_in("OMPI_COMM_WORLD_SIZE").value_or(2) == 1) return nullptr;
    return mpi_ranks(argv);
  }
  // Under srun without an MPI plugin, tasks cannot talk to each other.
  if (number_in("SLURM_STEP_NUM_TASKS").value_or(1) > 1) {
    throw Error(ErrorCode::unsupported,
                {.problem = "srun has started several tasks that cannot talk to each other",
                 .advice = "Use srun --mpi=pmix, or --rank, --world and `mxferry finish`"});
  }
  return nullptr;
}

}  // namespace mxferry::cli
