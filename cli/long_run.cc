#include "long_run.h"

#include "mxferry/error.h"
#include "progress.h"
#include "signals.h"

namespace mxferry::cli {

int run_long(const std::string& command, const OutputOptions& output,
             const std::function<void(const LongRun&)>& work, const std::function<int()>& finish) {
  constexpr int kSignalBase = 128;
  const SignalStop signals;
  ProgressBar bar(output.quiet);
  try {
    work({signals.token(), [&](const ConvertProgress& progress) {
            if (!output.leaves_it_to_another()) {
              bar.update(progress.bytes_done, progress.bytes_total);
            }
          }});
    bar.clear();
    return finish();
  } catch (const Error& error) {
    bar.clear();
    if (error.code() != ErrorCode::cancelled) throw;
    if (!output.leaves_it_to_another()) print_error(command, error, output);
    return kSignalBase + signals.signal();
  }
}

}  // namespace mxferry::cli
