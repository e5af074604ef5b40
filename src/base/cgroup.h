#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace mxferry::internal {

// The limits that the control groups of this process (version 1 or 2) impose: the smallest over its
// own group and its ancestors. nullopt if none of them sets a limit.
struct CgroupLimits {
  std::optional<double> cpus = {};           // seconds of processor time per second, above 0
  std::optional<std::uint64_t> memory = {};  // bytes
};

// Reads proc/self/cgroup and proc/self/mountinfo below `root`, and the groups' files below the
// mount points listed there. Anything missing or not understood sets no limit. Sources: Linux,
// Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst, scheduler/sched-bwc.rst,
// proc_pid_cgroup(5), proc_pid_mountinfo(5).
CgroupLimits cgroup_limits(const std::filesystem::path& root = "/");

}  // namespace mxferry::internal
