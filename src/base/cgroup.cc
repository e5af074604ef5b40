#include "base/cgroup.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace mxferry::internal {
namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& path) {
  std::ifstream stream(path);
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

bool contains(const std::vector<std::string>& parts, std::string_view part) {
  return std::ranges::find(parts, part) != parts.end();
}

// A number at the start of the text; nullopt for "max", -1 and everything else.
std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  return result.ec == std::errc() ? std::optional(value) : std::nullopt;
}

// The kernel writes whitespace and backslashes in a path as \NNN, octal.
std::string without_escapes(const std::string& field) {
  constexpr std::size_t kDigits = 3;
  std::string out;
  for (std::size_t i = 0; i < field.size(); ++i) {
    const std::string digits = field.substr(i + 1, kDigits);
    if (field[i] != '\\' || digits.size() != kDigits ||
        digits.find_first_not_of("01234567") != std::string::npos) {
      out += field[i];
      continue;
    }
    out += static_cast<char>(std::stoi(digits, nullptr, 8));
    i += kDigits;
  }
  return out;
}

// A mounted hierarchy of groups.
struct Hierarchy {
  bool is_v2 = false;
  std::vector<std::string> controllers;  // version 1 only
  fs::path top;  // the group shown at the mount point, as a path in the hierarchy
  fs::path mount_point;
};

// 31 23 0:28 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu
std::vector<Hierarchy> hierarchies(const std::string& mountinfo) {
  constexpr std::size_t kTop = 3, kMountPoint = 4, kFirstOptional = 6;  // fields of a line
  std::vector<Hierarchy> found;
  for (const std::string& line : split(mountinfo, '\n')) {
    const std::vector<std::string> fields = split(line, ' ');
    if (fields.size() <= kFirstOptional) continue;
    const auto dash = std::find(fields.begin() + kFirstOptional, fields.end(), "-");
    if (fields.end() - dash < 4) continue;
    const std::string& type = dash[1];
    if (type != "cgroup" && type != "cgroup2") continue;
    found.push_back({.is_v2 = type == "cgroup2",
                     .controllers = split(dash[3], ','),
                     .top = without_escapes(fields[kTop]),
                     .mount_point = without_escapes(fields[kMountPoint])});
  }
  return found;
}

// Whether `names`, the second field of a line of /proc/self/cgroup, means the hierarchy.
bool is_named(const Hierarchy& hierarchy, const std::string& names) {
  if (hierarchy.is_v2 || names.empty()) return hierarchy.is_v2 && names.empty();
  return std::ranges::all_of(split(names, ','), [&](const std::string& name) {
    return contains(hierarchy.controllers, name);
  });
}

// The group of this process in a hierarchy, nullopt if /proc/self/cgroup does not list one. A line
// is "4:memory:/a/b", or "0::/a/b" for version 2.
std::optional<fs::path> own_group(const std::string& cgroup, const Hierarchy& hierarchy) {
  for (const std::string& line : split(cgroup, '\n')) {
    const std::size_t first = line.find(':');
    if (first == std::string::npos) continue;
    const std::size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    if (is_named(hierarchy, line.substr(first + 1, second - first - 1))) {
      return line.substr(second + 1);
    }
  }
  return std::nullopt;
}

// The folders of this process's group and of its mounted ancestors. In a container, the group may
// lie outside what is mounted; the mount point then stands for it.
std::vector<fs::path> group_folders(const Hierarchy& hierarchy, const fs::path& group,
                                    const fs::path& root) {
  fs::path folder = root / hierarchy.mount_point.relative_path();
  std::vector<fs::path> folders = {folder};
  const fs::path inside = group.lexically_relative(hierarchy.top);
  for (const fs::path& part : inside) {
    if (part == "..") return {folders.front()};
    if (part == "." || part.empty()) continue;
    folder /= part;
    folders.push_back(folder);
  }
  return folders;
}

template <typename T>
void tighten(std::optional<T>& limit, std::optional<T> other) {
  if (other && (!limit || *other < *limit)) limit = other;
}

std::optional<double> cpus(std::optional<std::uint64_t> quota,
                           std::optional<std::uint64_t> period) {
  if (!quota || !period || *quota == 0 || *period == 0) return std::nullopt;
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

void add_v2(CgroupLimits& limits, const fs::path& folder) {
  tighten(limits.memory, number(read(folder / "memory.max")));
  const std::vector<std::string> quota_and_period = split(read(folder / "cpu.max"), ' ');
  if (quota_and_period.size() == 2) {
    tighten(limits.cpus, cpus(number(quota_and_period[0]), number(quota_and_period[1])));
  }
}

void add_v1(CgroupLimits& limits, const Hierarchy& hierarchy, const fs::path& folder) {
  if (contains(hierarchy.controllers, "memory")) {
    tighten(limits.memory, number(read(folder / "memory.limit_in_bytes")));
  }
  if (contains(hierarchy.controllers, "cpu")) {
    tighten(limits.cpus, cpus(number(read(folder / "cpu.cfs_quota_us")),
                              number(read(folder / "cpu.cfs_period_us"))));
  }
}

}  // namespace

CgroupLimits cgroup_limits(const fs::path& root) {
  const std::string cgroup = read(root / "proc/self/cgroup");
  CgroupLimits limits;
  for (const Hierarchy& hierarchy : hierarchies(read(root / "proc/self/mountinfo"))) {
    const std::optional<fs::path> group = own_group(cgroup, hierarchy);
    if (!group) continue;
    for (const fs::path& folder : group_folders(hierarchy, *group, root)) {
      if (hierarchy.is_v2) {
        add_v2(limits, folder);
      } else {
        add_v1(limits, hierarchy, folder);
      }
    }
  }
  return limits;
}

}  // namespace mxferry::internal
