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
  const bool is_variants_index = name.find(".index.") != std::string::npos;  // index.bf16.json
  return is_variants_index || std::ranges::any_of(kEndings, [&](std::string_view ending) {
           return name.ends_with(ending);
         });
}

namespace {

// Adds the files of one folder, their names preceded by `before`.
void add_side_files(const std::filesystem::path& top, const std::string& before,
                    std::vector<std::string>& names, std::vector<Problem>& warnings) {
  // The last two are NeMo AutoModel's lists for a consolidation.
  constexpr std::array<std::string_view, 5> kLeftOut = {"config.json", "dtypes.json", kManifestName,
                                                        "fqn_to_file_index_mapping.json",
                                                        "fqn_to_dtype_mapping.json"};
  for (const std::string& base : list_folder(top / before)) {
    if (is_weight_file(base) || std::ranges::count(kLeftOut, base) > 0) continue;
    if (base.ends_with(".partial") || base.ends_with(".incomplete")) continue;
    if (base.starts_with(kStateFolder)) continue;
    const std::string name = before + base;
    const std::filesystem::path path = top / name;
    if (!is_file(path)) continue;
    std::error_code error;
    if (std::filesystem::is_symlink(path, error) &&
        !link_stays_inside(top, std::filesystem::canonical(path, error))) {
      warnings.push_back({Severity::warning, ErrorCode::not_a_checkpoint, name, "",
                          "the file is a link that leaves the folder; it is not carried along"});
      continue;
    }
    names.push_back(name);
  }
}

}  // namespace

std::vector<std::string> side_files(const std::filesystem::path& folder,
                                    std::vector<Problem>& warnings) {
  std::vector<std::string> names;
  add_side_files(folder, "", names, warnings);
  const std::string templates(kTemplatesFolder);
  const std::string name = templates.substr(0, templates.size() - 1);
  if (is_real_folder(folder / name)) {
    add_side_files(folder, templates, names, warnings);
  } else if (is_folder(folder / name)) {
    warnings.push_back({Severity::warning, ErrorCode::not_a_checkpoint, name, "",
                        "the folder is a link; its files are not carried along"});
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
