#pragma once

#include "mxferry/verify_manifest.h"
#include "printing.h"

namespace mxferry::cli {

// `mxferry verify --manifest`. Returns the exit code; throws Error.
int run_verify_manifest(VerifyManifestOptions options, const OutputOptions& output);

}  // namespace mxferry::cli
