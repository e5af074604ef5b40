#pragma once

#include <cstdint>
#include <string>

namespace mxferry {

// The sizes of a gpt-oss model, named as in Hugging Face's config.json. 0 means unknown.
struct GptOssConfig {
  std::int64_t num_hidden_layers = 0;
  std::int64_t num_local_experts = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t num_key_value_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t vocab_size = 0;
};

// The part of NeMo AutoModel's additional config for mixture-of-experts models that matters for
// checkpoints.
struct MoEConfig {
  std::int64_t n_routed_experts = 0;
  std::int64_t n_activated_experts = 0;
  std::int64_t dim = 0;            // hidden size
  std::int64_t moe_inter_dim = 0;  // intermediate size of one expert
};

// NeMo AutoModel's choice of kernels. Only `attn` affects checkpoints: with "te" (Transformer
// Engine) the attention sinks are named `self_attn.attn_module.softmax_offset`; any other value
// leaves their name unchanged.
struct BackendConfig {
  std::string attn = "flex";
};

}  // namespace mxferry
