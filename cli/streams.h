#pragma once

namespace mxferry::cli {

// Opens /dev/null in place of those of stdin, stdout and stderr that the caller closed. Otherwise
// the next file opened would have such a number, and messages would be written into a checkpoint.
void open_closed_streams() noexcept;

// Whether all that was printed to stdout has arrived. To be asked once, at the end.
bool flush_stdout() noexcept;

}  // namespace mxferry::cli
