// replay TARGET FILE_OR_FOLDER...: gives files to a target, one after another; no libFuzzer needed.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "fuzz/targets.h"

namespace {

namespace fs = std::filesystem;

std::vector<fs::path> files_of(const fs::path& path) {
  if (!fs::is_directory(path)) return {path};
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(path)) files.push_back(entry);
  std::ranges::sort(files);
  return files;
}

std::vector<std::uint8_t> content(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw std::runtime_error("cannot read " + path.string());
  return {std::istreambuf_iterator<char>(stream), {}};
}

int run(const std::vector<std::string>& arguments) {
  const auto target = std::ranges::find(mxferry::internal::fuzz::kTargets, arguments.at(0),
                                        &mxferry::internal::fuzz::NamedTarget::name);
  if (target == mxferry::internal::fuzz::kTargets.end()) {
    std::fprintf(stderr, "there is no target %s\n", arguments[0].c_str());
    return 2;
  }
  int count = 0;
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    for (const fs::path& path : files_of(arguments[i])) {
      std::printf("%s\n", path.c_str());
      std::fflush(stdout);
      // Exactly as long as the file, so that reading beyond its end is seen.
      const std::vector<std::uint8_t> bytes = content(path);
      target->run(bytes);
      ++count;
    }
  }
  std::printf("%d inputs\n", count);
  return count > 0 ? 0 : 2;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fputs("usage: replay TARGET FILE_OR_FOLDER...\n", stderr);
    return 2;
  }
  try {
    return run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "uncaught: %s\n", error.what());
    return 1;
  }
}
