#pragma once

namespace mxferry::cli {

// Opens /dev/null for each of stdin, stdout and stderr that the caller closed. Otherwise the next
// file opened would get its descriptor, and messages would be written into a checkpoint.
void open_closed_streams() noexcept;

// Flushes stdout; returns whether everything printed was written. Call once, at the end.
bool flush_stdout() noexcept;

}  // namespace mxferry::cli
