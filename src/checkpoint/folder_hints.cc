#include "checkpoint/folder_hints.h"

#include <algorithm>
#include <array>
#include <optional>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "checkpoint/hub_cache.h"
#include "mxferry/error.h"

namespace mxferry::internal {
namespace {

namespace fs = std::filesystem;

bool contains(const std::vector<std::string>& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

// The names in a folder; empty if it cannot be read.
std::vector<std::string> names_in(const fs::path& folder) {
  try {
    return list_folder(folder);
  } catch (const Error&) {
    return {};
  }
}

bool is_adapter_file(std::string_view name) {
  return name == "adapter_config.json" || name.starts_with("adapter_model");
}

bool is_other_format(std::string_view name) {
  return name.ends_with(".gguf") || (name.starts_with("pytorch_model") && name.ends_with(".bin"));
}

// Files of another program, by the end of a name, and how to make safetensors of them.
struct OtherFormat {
  std::string_view ending;
  std::string_view beside;  // another file that must be there; empty: none
  std::string_view what;
  std::string_view advice;
};

constexpr std::array<OtherFormat, 8> kOtherFormats = {{
    {".distcp", "common.pt", "Megatron's torch_dist checkpoint",
     "Export it to Hugging Face's format, with AutoBridge.export_ckpt() of Megatron-Bridge, and "
     "convert that"},
    {".distcp", ".metadata", "a checkpoint of torch.distributed.checkpoint",
     "The Python package reads it: run `python -m mxferry` with the same arguments, and put "
     "config.json into the folder"},
    {".distcp", "", "a part of a checkpoint of torch.distributed.checkpoint",
     "Its .metadata is missing: copy or save it again"},
    {"zero_to_fp32.py", "", "a DeepSpeed checkpoint",
     "Run `python zero_to_fp32.py . OUT --safe_serialization` in it, and convert OUT"},
    {"pytorch_model.bin.index.json", "", "PyTorch's pickled weights",
     "Load it with transformers, AutoModelForCausalLM.from_pretrained(FOLDER, dtype=\"auto\"), and "
     "save it with save_pretrained(OUT)"},
    {".bin", "", "PyTorch's pickled weights",
     "Load it with transformers, AutoModelForCausalLM.from_pretrained(FOLDER, dtype=\"auto\"), and "
     "save it with save_pretrained(OUT)"},
    {".pt", "", "a file of torch.save()",
     "Run `python -c \"import torch, safetensors.torch as s; s.save_file(torch.load('FILE'), "
     "'model.safetensors')\"`, and put config.json beside it"},
    {".pth", "", "a file of torch.save()",
     "Run `python -c \"import torch, safetensors.torch as s; s.save_file(torch.load('FILE'), "
     "'model.safetensors')\"`, and put config.json beside it"},
}};

std::optional<std::string_view> find_file(const std::vector<std::string>& names,
                                          const OtherFormat& format) {
  const auto found = std::ranges::find_if(names, [&](const std::string& name) {
    return name.ends_with(format.ending) && name != "training_args.bin" && name != "model.bin" &&
           !is_training_state(name);
  });
  return found == names.end() ? std::nullopt : std::optional<std::string_view>(*found);
}

const OtherFormat* find_format(const std::vector<std::string>& names) {
  const auto found = std::ranges::find_if(kOtherFormats, [&](const OtherFormat& format) {
    return find_file(names, format) && (format.beside.empty() || contains(names, format.beside));
  });
  return found == kOtherFormats.end() ? nullptr : &*found;
}

// Whether the user may have meant this subfolder: original/ of OpenAI, metal/, model/, ...
bool holds_weights(const fs::path& subfolder) {
  std::error_code error;
  if (!fs::is_directory(subfolder, error)) return false;
  return std::ranges::any_of(names_in(subfolder), [](const std::string& name) {
    return is_shard_name(name) || name == "model.bin";
  });
}

std::string found_instead(const fs::path& folder, const std::vector<std::string>& names) {
  std::string found;
  for (const std::string& name : names) {
    const bool is_subfolder = !name.starts_with('.') && holds_weights(folder / name);
    if (!is_subfolder && !is_other_format(name)) continue;
    found += (found.empty() ? "" : ", ") + name + (is_subfolder ? "/ with weights" : "");
  }
  return found;
}

void add_unfinished(const fs::path& folder, std::vector<fs::path>& files) {
  for (const std::string& name : names_in(folder)) {
    if (name.ends_with(".incomplete")) files.push_back(folder / name);
  }
}

}  // namespace

bool is_safetensors_name(std::string_view name) {
  return name.ends_with(".safetensors") && !name.starts_with('.');
}

bool is_training_state(std::string_view name) {
  constexpr std::array<std::string_view, 4> kBeginnings = {"optimizer", "optim_", "scheduler",
                                                           "rng_state"};
  return std::ranges::any_of(kBeginnings,
                             [&](std::string_view begin) { return name.starts_with(begin); });
}

bool is_shard_name(std::string_view name) {
  return is_safetensors_name(name) && !is_adapter_file(name) && !is_training_state(name);
}

std::string count_and_names(const std::vector<std::string_view>& tensors) {
  constexpr std::size_t kShown = 3;
  std::string text =
      std::to_string(tensors.size()) + (tensors.size() == 1 ? " tensor" : " tensors") + ": ";
  for (std::size_t i = 0; i < std::min(tensors.size(), kShown); ++i) {
    text += (i > 0 ? ", " : "") + std::string(tensors[i]);
  }
  return tensors.size() > kShown ? text + ", ..." : text;
}

Error explain_no_model(const fs::path& folder, const std::vector<std::string>& names) {
  if (std::ranges::any_of(names, is_adapter_file)) {
    return {ErrorCode::lora_adapter,
            {.problem = "the folder holds a LoRA adapter and no model",
             .file = folder,
             .advice = "Merge it into its base model, then give the folder of the merged model"}};
  }
  const bool has_subfolder = std::ranges::any_of(names, [&](const std::string& name) {
    return !name.starts_with('.') && holds_weights(folder / name);
  });
  const OtherFormat* const format = has_subfolder ? nullptr : find_format(names);
  if (format != nullptr) {
    return {ErrorCode::not_a_checkpoint,
            {.problem = "the folder holds no safetensors files but " + std::string(format->what),
             .file = folder,
             .found = std::string(*find_file(names, *format)),
             .advice = std::string(format->advice)}};
  }
  ErrorDetails details{.problem = "the folder holds no safetensors files",
                       .file = folder,
                       .found = found_instead(folder, names)};
  if (!details.found.empty()) {
    details.advice = "Give a folder of safetensors files";
  } else if (contains(names, "snapshots") && contains(names, "refs")) {
    details.advice = "This is a Hugging Face cache entry; give its name, such as ORG/NAME";
  }
  return {ErrorCode::not_a_checkpoint, std::move(details)};
}

std::vector<fs::path> unfinished_downloads(const fs::path& folder) {
  std::vector<fs::path> files;
  add_unfinished(folder, files);
  add_unfinished(folder / ".cache/huggingface/download", files);
  if (const std::optional<fs::path> entry = hub_cache_entry(folder)) {
    add_unfinished(*entry / "blobs", files);
  }
  std::ranges::sort(files);
  return files;
}

}  // namespace mxferry::internal
