#include "mxfp4/highway_version.h"

#include "dense/targets.h"
//
#include "hwy/highway.h"

namespace mxferry::mxfp4 {

std::string highway_version() {
  return std::to_string(HWY_MAJOR) + "." + std::to_string(HWY_MINOR) + "." +
         std::to_string(HWY_PATCH);
}

}  // namespace mxferry::mxfp4
