#include <mpi.h>

#include <chrono>
#include <thread>

#include "mxferry/error.h"
#include "ranks.h"

namespace mxferry::cli {
namespace {

class MpiRanks : public Ranks {
 public:
  MpiRanks() {
    // Signals and threads are this program's own.
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

  // Sleeps between looks: MPI_Barrier would take a core from those that are still at work.
  void wait_for_all(const std::stop_token& stop) override {
    constexpr std::chrono::milliseconds kLook(5);
    MPI_Request request{};
    MPI_Ibarrier(MPI_COMM_WORLD, &request);
    int is_over = 0;
    while (is_over == 0) {
      if (stop.stop_requested())
        throw Error(ErrorCode::cancelled, {.problem = "stopped on request"});
      MPI_Test(&request, &is_over, MPI_STATUS_IGNORE);
      if (is_over == 0) std::this_thread::sleep_for(kLook);
    }
  }

 private:
  Part part_;
};

}  // namespace

std::unique_ptr<Ranks> mpi_ranks(char** /*argv*/) {
  auto ranks = std::make_unique<MpiRanks>();
  if (ranks->part().world == 1) return nullptr;
  return ranks;
}

}  // namespace mxferry::cli
