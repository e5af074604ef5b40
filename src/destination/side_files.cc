#include "destination/side_files.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <system_error>

#include "base/file.h"
#include "base/read_pieces.h"
#include "checkpoint/folder.h"
#include "checkpoint/manifest.h"

namespace mxferry::internal {

bool is_weight_file(const std::string& name) {
  constexpr std::array<std::string_view, 10> kEndings = {
      ".safetensors", ".index.json", ".bin",  ".pt",      ".pth",
      ".ckpt",        ".gguf",       ".onnx", ".msgpack", ".h5"};
  return std::ranges::any_of(kEndings,
                             [&](std::string_view ending) { return name.ends_with(ending); });
}

std::vector<std::string> side_files(const std::filesystem::path& folder,
                                    std::vector<Problem>& warnings) {
  // The last two are NeMo AutoModel's lists for a consolidation.
  constexpr std::array<std::string_view, 5> kLeftOut = {"config.json", "dtypes.json", kManifestName,
                                                        "fqn_to_file_index_mapping.json",
                                                        "fqn_to_dtype_mapping.json"};
  std::vector<std::string> names;
  for (const std::string& name : list_folder(folder)) {
    if (is_weight_file(name) || std::ranges::count(kLeftOut, name) > 0) continue;
    if (name.ends_with(".partial") || name.ends_with(".incomplete")) continue;
    if (name.starts_with(kStateFolder)) continue;
    const std::filesystem::path path = folder / name;
    if (!is_file(path)) continue;
    std::error_code error;
    if (std::filesystem::is_symlink(path, error) &&
        !link_stays_inside(folder, std::filesystem::canonical(path, error))) {
      warnings.push_back({Severity::warning, ErrorCode::not_a_checkpoint, name, "",
                          "the file is a link that leaves the folder; it is not carried along"});
      continue;
    }
    names.push_back(name);
  }
  return names;
}

void copy_side_file(const std::filesystem::path& from, const std::filesystem::path& to, bool sync) {
  const File source = File::open_for_reading(from);
  AtomicFile target(to, sync);
  std::uint64_t written = 0;
  read_pieces(source, 0, source.size(), {}, [&](std::span<const std::byte> piece) {
    target.file().write(written, piece);
    written += piece.size();
  });
  target.commit();
}

}  // namespace mxferry::internal
