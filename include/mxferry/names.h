#pragma once

#include <string>
#include <vector>

namespace mxferry {

// The names of a model's tensors as the layouts have them, in the same order: without what programs
// that wrap a model add ("_orig_mod.", "module.", "base_model.model." and so on), and with the
// prefix "model." whatever stands before the layers. Unknown names stay. Throws
// Error(name_collision) if two would become one.
std::vector<std::string> restored_names(const std::vector<std::string>& names);

}  // namespace mxferry
