#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "mxferry/config.h"

namespace mxferry::internal {

// What a config.json says that decides how tensors are read.
struct ConfigFacts {
  ConfigFacts() = default;
  // A config.json that says nothing but the sizes.
  ConfigFacts(const GptOssConfig& config)  // NOLINT(google-explicit-constructor)
      : is_there(true), sizes(config) {}

  bool is_there = false;
  GptOssConfig sizes;
  // Of models that were pruned by layer (gpt_oss_puzzle: `block_configs`); empty: all alike.
  std::vector<std::int64_t> experts_by_layer;
  bool ties_head = false;    // the embedding is the head, which may have no tensor of its own
  bool is_backbone = false;  // of a model that has no head
  // The quantization that it names, for people, unless it is one of the layouts'; else empty.
  std::string quantization;
  std::string writer;  // "transformers 5.18.0", as it says; may be empty
};

// The facts in a config.json, under Hugging Face's keys or OpenAI's. Errors as parse_config() in
// config_json.h.
ConfigFacts parse_facts(const std::string& text, const std::filesystem::path& file);

}  // namespace mxferry::internal
