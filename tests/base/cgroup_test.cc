// The files are as real systems have them.
#include "base/cgroup.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <string_view>

#include "tests/base/temp_folder.h"

namespace mxferry::internal::testing {
namespace {

constexpr const char* kV2 =
    "23 28 0:21 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw\n"
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 "
    "rw,nsdelegate,memory_recursiveprot\n"
    "36 28 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw,discard\n";

class Groups : public ::testing::Test {
 protected:
  void set_process(std::string_view cgroup, std::string_view mountinfo) const {
    root_.write("proc/self/cgroup", cgroup);
    root_.write("proc/self/mountinfo", mountinfo);
  }
  void set(const std::string& file, std::string_view content) const {
    root_.write("sys/fs/cgroup/" + file, content);
  }
  CgroupLimits limits() const { return cgroup_limits(root_.path()); }

  TempFolder root_;
};

TEST_F(Groups, AreWithoutLimitWhereThereAreNone) {
  EXPECT_EQ(limits().cpus, std::nullopt);
  EXPECT_EQ(limits().memory, std::nullopt);
}

TEST_F(Groups, OfVersion2) {
  set_process("0::/user.slice/job.scope\n", kV2);
  set("user.slice/job.scope/memory.max", "1073741824\n");
  set("user.slice/job.scope/cpu.max", "150000 100000\n");
  EXPECT_EQ(limits().memory, std::uint64_t{1} << 30);
  EXPECT_EQ(limits().cpus, 1.5);
}

TEST_F(Groups, OfVersion2WithoutLimit) {
  set_process("0::/user.slice/job.scope\n", kV2);
  set("user.slice/job.scope/memory.max", "max\n");
  set("user.slice/job.scope/cpu.max", "max 100000\n");
  EXPECT_EQ(limits().cpus, std::nullopt);
  EXPECT_EQ(limits().memory, std::nullopt);
}

TEST_F(Groups, OutsideLimitThoseWithin) {
  set_process("0::/a/b/c\n", kV2);
  set("a/memory.max", "500\n");
  set("a/b/memory.max", "400\n");
  set("a/b/c/memory.max", "600\n");
  set("a/cpu.max", "300000 100000\n");
  set("a/b/cpu.max", "max 100000\n");
  set("a/b/c/cpu.max", "50000 10000\n");
  set("d/memory.max", "1\n");
  EXPECT_EQ(limits().memory, 400u);
  EXPECT_EQ(limits().cpus, 3.0);
}

// In a container with a namespace of its own the group is the root of what is mounted.
TEST_F(Groups, OfAContainerOfVersion2) {
  set_process("0::/\n",
              "1186 1185 0:26 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup "
              "rw,nsdelegate\n");
  set("memory.max", "268435456\n");
  set("cpu.max", "200000 100000\n");
  EXPECT_EQ(limits().memory, 268435456u);
  EXPECT_EQ(limits().cpus, 2.0);
}

constexpr const char* kV1Of = "12:memory:{}\n11:cpu,cpuacct:{}\n1:name=systemd:{}\n";

std::string v1_groups(const std::string& group) {
  std::string text = kV1Of;
  for (std::size_t at = text.find("{}"); at != std::string::npos; at = text.find("{}")) {
    text.replace(at, 2, group);
  }
  return text;
}

std::string v1_mounts(const std::string& top) {
  return "32 31 0:29 " + top +
         " /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
         "35 31 0:32 " +
         top +
         " /sys/fs/cgroup/memory rw,relatime shared:12 master:3 - cgroup cgroup rw,memory\n"
         "40 31 0:37 " +
         top + " /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd\n";
}

TEST_F(Groups, OfVersion1) {
  set_process(v1_groups("/slurm/job_1/step_0"), v1_mounts("/"));
  set("memory/memory.limit_in_bytes", "9223372036854771712\n");
  set("memory/slurm/job_1/memory.limit_in_bytes", "4000000000\n");
  set("memory/slurm/job_1/step_0/memory.limit_in_bytes", "9223372036854771712\n");
  set("cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  set("cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  set("cpu,cpuacct/slurm/job_1/step_0/cpu.cfs_quota_us", "250000\n");
  set("cpu,cpuacct/slurm/job_1/step_0/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(limits().memory, 4'000'000'000u);
  EXPECT_EQ(limits().cpus, 2.5);
}

// The group's path begins with the part that the container's mount leaves out.
TEST_F(Groups, OfAContainerOfVersion1) {
  for (const char* group : {"/docker/c0ffee", "/"}) {
    set_process(v1_groups(group), v1_mounts("/docker/c0ffee"));
    set("memory/memory.limit_in_bytes", "536870912\n");
    set("cpu,cpuacct/cpu.cfs_quota_us", "50000\n");
    set("cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    EXPECT_EQ(limits().memory, 536870912u) << group;
    EXPECT_EQ(limits().cpus, 0.5) << group;
  }
}

// Version 1 for most, version 2 for systemd's own use.
TEST_F(Groups, OfBothVersions) {
  set_process(v1_groups("/job") + "0::/other\n",
              v1_mounts("/") +
                  "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 "
                  "rw\n");
  set("memory/job/memory.limit_in_bytes", "1000\n");
  set("memory/other/memory.limit_in_bytes", "1\n");
  set("unified/other/memory.max", "900\n");
  set("unified/job/memory.max", "1\n");
  EXPECT_EQ(limits().memory, 900u);
}

TEST_F(Groups, ThatLieOutsideOfTheMount) {
  set_process("0::/../other\n", kV2);
  set("memory.max", "123\n");
  EXPECT_EQ(limits().memory, 123u);
}

TEST_F(Groups, WithBlanksAndColonsInTheirNames) {
  set_process("0::/a b:c\n", "30 23 0:26 / /sys/fs/cgroup/my\\040groups rw - cgroup2 cgroup2 rw\n");
  set("my groups/a b:c/memory.max", "77\n");
  EXPECT_EQ(limits().memory, 77u);
}

TEST_F(Groups, ThatNobodyUnderstandsSetNoLimit) {
  set_process("0::/a\n", kV2);
  for (const char* content : {"", "\n", "lots\n", "-5\n", "99999999999999999999999\n", "0 0\n",
                              "100000\n", "100000 0\n", "0 100000\n", "max\n"}) {
    set("a/cpu.max", content);
    EXPECT_EQ(limits().cpus, std::nullopt) << content;
  }
  set("a/memory.max", "99999999999999999999999\n");
  EXPECT_EQ(limits().memory, std::nullopt);
}

TEST_F(Groups, OfAnyBytesAreNoObstacle) {
  std::mt19937_64 random(1);
  const std::string cgroup = v1_groups("/job") + "0::/a\n";
  const std::string mountinfo = v1_mounts("/") + kV2;
  for (int i = 0; i < 300; ++i) {
    const auto damaged = [&](std::string text) {
      for (int times = 0; times < 4; ++times) {
        text[random() % text.size()] = "\n :/,-\\0a\xFF"[random() % 10];
      }
      return text.substr(0, random() % (text.size() + 1));
    };
    set_process(damaged(cgroup), damaged(mountinfo));
    EXPECT_NO_THROW(limits()) << i;
  }
}

}  // namespace
}  // namespace mxferry::internal::testing
