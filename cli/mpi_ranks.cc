#include <mpi.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>

#include "mxferry/error.h"
#include "ranks.h"

namespace mxferry::cli {
namespace {

class MpiRanks : public Ranks {
 public:
  MpiRanks() {
    // This program handles its own signals and threads.
    int provided = 0;
    MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &part_.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &part_.world);
    MPI_Comm machine{};
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, part_.rank, MPI_INFO_NULL, &machine);
    MPI_Comm_size(machine, &part_.local_world);
    MPI_Comm_free(&machine);
  }
  MpiRanks(const MpiRanks&) = delete;
  MpiRanks& operator=(const MpiRanks&) = delete;
  ~MpiRanks() override { MPI_Finalize(); }

  Part part() const override { return part_; }
  void end_all(int code) override { MPI_Abort(MPI_COMM_WORLD, code); }

  // Polls and sleeps: a blocking call would take a core from ranks that are still working.
  void wait_for_all(const std::string& text, const std::stop_token& stop) override {
    constexpr std::chrono::milliseconds kLook(5);
    // The least hash and the least complement are complements only if all hashes are equal.
    const std::uint64_t hash = std::hash<std::string>()(text);
    mine_ = {hash, ~hash};
    MPI_Request request{};
    MPI_Iallreduce(mine_.data(), least_.data(), 2, MPI_UINT64_T, MPI_MIN, MPI_COMM_WORLD, &request);
    int is_over = 0;
    while (is_over == 0) {
      if (stop.stop_requested())
        throw Error(ErrorCode::cancelled, {.problem = "stopped on request"});
      MPI_Test(&request, &is_over, MPI_STATUS_IGNORE);
      if (is_over == 0) std::this_thread::sleep_for(kLook);
    }
    if (least_[0] != ~least_[1]) refuse_other_ranks();
  }

 private:
  Part part_;
  // MPI may still access these after a wait is abandoned.
  std::array<std::uint64_t, 2> mine_{};
  std::array<std::uint64_t, 2> least_{};
};

}  // namespace

std::unique_ptr<Ranks> mpi_ranks(char** /*argv*/) {
  auto ranks = std::make_unique<MpiRanks>();
  if (ranks->part().world == 1) return nullptr;
  return ranks;
}

}  // namespace mxferry::cli
