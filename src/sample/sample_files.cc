#include "sample/sample_files.h"

#include <cstdint>
#include <nlohmann/json.hpp>

namespace mxferry::internal {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kBytes = 256;

std::string utf8(std::uint32_t code_point) {
  if (code_point < 0x80) return {static_cast<char>(code_point)};
  return {static_cast<char>(0xC0 | code_point >> 6), static_cast<char>(0x80 | (code_point & 0x3F))};
}

// GPT-2's printable stand-ins for bytes: Latin-1's visible characters stand for themselves; the
// other bytes map to U+0100 and up.
Json byte_vocabulary() {
  Json vocabulary = Json::object();
  std::uint32_t stand_in = 0x100;
  for (std::uint32_t byte = 0; byte < kBytes; ++byte) {
    const bool visible =
        (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    vocabulary[utf8(visible ? byte : stand_in++)] = byte;
  }
  return vocabulary;
}

Json tokenizer() {
  const Json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", true},
                           {"use_regex", true}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", Json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"post_processor", nullptr},
          {"decoder", byte_level},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", false},
            {"vocab", byte_vocabulary()},
            {"merges", Json::array()}}}};
}

std::string text(const Json& json) {
  return json.dump(2) + "\n";
}

}  // namespace

std::string sample_original_config(const GptOssConfig& config) {
  return text(Json{{"num_hidden_layers", config.num_hidden_layers},
                   {"num_experts", config.num_local_experts},
                   {"experts_per_token", std::min<std::int64_t>(4, config.num_local_experts)},
                   {"vocab_size", config.vocab_size},
                   {"hidden_size", config.hidden_size},
                   {"intermediate_size", config.intermediate_size},
                   {"swiglu_limit", 7.0},
                   {"head_dim", config.head_dim},
                   {"num_attention_heads", config.num_attention_heads},
                   {"num_key_value_heads", config.num_key_value_heads},
                   {"sliding_window", 128},
                   {"initial_context_length", 4096},
                   {"rope_theta", 150000},
                   {"rope_scaling_factor", 32.0},
                   {"rope_ntk_alpha", 1.0},
                   {"rope_ntk_beta", 32.0}});
}

std::vector<std::pair<std::string, std::string>> sample_side_files(const GptOssConfig& config) {
  // The published special token IDs exceed small vocabularies.
  const std::int64_t eos = std::min<std::int64_t>(200002, config.vocab_size - 1);
  const std::int64_t pad = std::min<std::int64_t>(199999, config.vocab_size - 1);
  return {
      {"README.md",
       "# A synthetic gpt-oss checkpoint\n\nMade by `mxferry sample`: random weights with the "
       "names, shapes and files "
       "of the published\nmodels, for tests. It cannot write.\n"},
      {"chat_template.jinja",
       "{%- for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor "
       "%}"},
      {"generation_config.json",
       text({{"do_sample", true}, {"eos_token_id", eos}, {"pad_token_id", pad}})},
      {"special_tokens_map.json", text(Json::object())},
      {"tokenizer.json", text(tokenizer())},
      {"tokenizer_config.json", text({{"clean_up_tokenization_spaces", false},
                                      {"tokenizer_class", "PreTrainedTokenizerFast"}})},
  };
}

}  // namespace mxferry::internal
