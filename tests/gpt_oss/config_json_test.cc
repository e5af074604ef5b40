#include "gpt_oss/config_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/base/expect_error.h"

namespace mxferry::internal {
namespace {

using testing::error_of;
using Json = nlohmann::ordered_json;

constexpr const char* kHf = R"({
  "architectures": ["GptOssForCausalLM"],
  "num_hidden_layers": 2, "num_local_experts": 3, "hidden_size": 64, "intermediate_size": 96,
  "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 40,
  "num_experts_per_tok": 2, "sliding_window": 16, "swiglu_limit": 6.5, "rope_theta": 1000,
  "initial_context_length": 512,
  "rope_scaling": {"rope_type": "yarn", "factor": 8.0, "beta_fast": 31.0, "beta_slow": 2.0,
                   "original_max_position_embeddings": 512},
  "quantization_config": {"quant_method": "mxfp4", "mine": [1]},
  "zebra": {"kept": null}, "apple": "\u00e9"
})";

constexpr const char* kOriginal = R"({
  "num_hidden_layers": 3, "num_experts": 5, "experts_per_token": 2, "vocab_size": 40,
  "hidden_size": 64, "intermediate_size": 96, "swiglu_limit": 6.5, "head_dim": 8,
  "num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": 16,
  "initial_context_length": 512, "rope_theta": 1000, "rope_scaling_factor": 8.0,
  "rope_ntk_alpha": 2.0, "rope_ntk_beta": 31.0
})";

GptOssConfig parse(const std::string& text) {
  return parse_config(text, "folder/config.json");
}
Json edit(const std::string& text, const ConfigEdit& edit) {
  return Json::parse(edit_config(text, "folder/config.json", edit).text);
}
std::vector<std::string> keys(const Json& json) {
  std::vector<std::string> names;
  for (const auto& [name, value] : json.items()) names.push_back(name);
  return names;
}

TEST(ParseConfig, ReadsHuggingFacesKeys) {
  const GptOssConfig config = parse(kHf);
  EXPECT_EQ(config.num_hidden_layers, 2);
  EXPECT_EQ(config.num_local_experts, 3);
  EXPECT_EQ(config.hidden_size, 64);
  EXPECT_EQ(config.intermediate_size, 96);
  EXPECT_EQ(config.num_attention_heads, 4);
  EXPECT_EQ(config.num_key_value_heads, 2);
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_EQ(config.vocab_size, 40);
}

TEST(ParseConfig, ReadsOpenAisKeys) {
  const GptOssConfig config = parse(kOriginal);
  EXPECT_EQ(config.num_hidden_layers, 3);
  EXPECT_EQ(config.num_local_experts, 5);
  EXPECT_EQ(config.intermediate_size, 96);
}

TEST(ParseConfig, LeavesUnknownWhatIsNotThere) {
  EXPECT_EQ(parse("{}").hidden_size, 0);
  EXPECT_EQ(parse(R"({"hidden_size": null})").hidden_size, 0);
  EXPECT_EQ(parse(R"({"hidden_size": 2147483647})").hidden_size, 2147483647);
}

TEST(ParseConfig, RefusesWhatIsNoSize) {
  for (const char* value : {"0", "-1", "64.0", "1e2", "\"64\"", "true", "[64]", "{}", "2147483648",
                            "18446744073709551615", "1e300"}) {
    const auto error = error_of([&] { parse(std::string(R"({"hidden_size": )") + value + "}"); });
    ASSERT_TRUE(error) << value;
    EXPECT_EQ(error->code(), ErrorCode::invalid_config) << value;
    EXPECT_EQ(error->details().file, "folder/config.json");
    EXPECT_NE(error->details().problem.find("'hidden_size'"), std::string::npos);
  }
  EXPECT_ERROR(ErrorCode::invalid_config, parse(R"({"num_experts": -5})"));
}

TEST(ParseConfig, RefusesWhatIsNoConfig) {
  const std::string deep_arrays = "{\"a\":" + std::string(100'000, '[');
  std::string deep_objects;
  for (int i = 0; i < 50'000; ++i) deep_objects += "{\"a\":";
  for (const std::string& text :
       {std::string(), std::string("nothing"), std::string("[]"), std::string("3"),
        std::string("null"), std::string("{\"hidden_size\": 64"), std::string("{} {}"),
        std::string("{\"hidden_size\": NaN}"), std::string("{\"hidden_size\": Infinity}"),
        std::string("{\"hidden_size\": 1e999}"), std::string("{\"a\": \"\xFF\"}"),
        std::string("{\"a\": 1,}"), std::string(1, '\0'), deep_arrays, deep_objects}) {
    EXPECT_ERROR(ErrorCode::invalid_config, parse(text)) << text.substr(0, 40);
    EXPECT_ERROR(ErrorCode::invalid_config, edit_config(text, "config.json", {}))
        << text.substr(0, 40);
  }
}

TEST(EditConfig, KeepsTheOrderAndUnknownKeys) {
  const Json before = Json::parse(kHf);
  Json after = edit(kHf, {.to = Layout::nemo, .packed = false});
  Json expected = before;
  expected.erase("quantization_config");
  EXPECT_EQ(after, expected);
  EXPECT_EQ(keys(after), keys(expected));
}

TEST(EditConfig, KeepsTheQuantizationOfAPackedTarget) {
  const Json after = edit(kHf, {.to = Layout::hf, .packed = true});
  EXPECT_EQ(after, Json::parse(kHf));
}

TEST(EditConfig, AddsTheQuantizationOfAPackedTarget) {
  const Json after = edit(R"({"num_local_experts": 3})", {.packed = true});
  EXPECT_EQ(after["quantization_config"]["quant_method"], "mxfp4");
  const Json kept = {"model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens",
                     "lm_head"};
  EXPECT_EQ(after["quantization_config"]["modules_to_not_convert"], kept);
}

TEST(EditConfig, ReplacesAnotherQuantization) {
  const std::vector<const char*> others = {
      "null",
      R"({"quant_method": "fp8"})",
      R"({"quant_method": "quark"})",
      R"({"quant_method": "compressed-tensors", "format": "pack-quantized"})",
      R"({"bits": 8, "group_size": 64})",
      R"({"bits": 4, "group_size": 32, "mode": "affine"})",
  };
  const std::vector<Layout> layouts = {Layout::hf, Layout::mlx, Layout::compressed_tensors};
  for (const Layout to : layouts) {
    const Json made = edit("{}", {.to = to, .packed = true});
    EXPECT_EQ(made.contains("quantization"), to == Layout::mlx);
    for (const char* other : others) {
      const std::string text = std::string(R"({"quantization_config": )") + other + "}";
      EXPECT_EQ(edit(text, {.to = to, .packed = true}), made) << name(to) << other;
      EXPECT_EQ(edit(text, {.to = to, .packed = false}), Json::object()) << name(to) << other;
    }
    for (const Layout from : layouts) {
      const Json before = edit("{}", {.to = from, .packed = true});
      EXPECT_EQ(edit(before.dump(), {.to = to, .packed = true}), made) << name(from) << name(to);
      EXPECT_EQ(edit(before.dump(), {.to = to, .packed = false}), Json::object()) << name(from);
    }
  }
}

TEST(EditConfig, ReplacesAQuantizationThatIsStale) {
  const std::vector<std::pair<Layout, const char*>> stale = {
      {Layout::hf, R"({"dequantize": true})"},
      {Layout::hf, R"({"modules_to_not_convert": ["model.layers.0.mlp.experts"]})"},
      {Layout::compressed_tensors, R"({"ignore": ["re:.*experts.*"]})"},
      {Layout::mlx, R"({"group_size": 64})"},
  };
  for (const auto& [to, change] : stale) {
    const ConfigEdit wanted{.to = to, .packed = true};
    const Json made = edit("{}", wanted);
    Json config = made;
    config.erase("quantization");
    config["quantization_config"].update(Json::parse(change));
    EXPECT_EQ(edit(config.dump(), wanted), made) << change;
  }
}

TEST(EditConfig, SetsTheDtypeUnderTheKeyThatIsThere) {
  struct Row {
    const char* before;
    DType dtype;
    Json after;
  };
  const std::vector<Row> table = {
      {R"({"a": 1})", DType::BF16, {{"a", 1}, {"torch_dtype", "bfloat16"}}},
      {R"({"torch_dtype": "bfloat16", "a": 1})",
       DType::F16,
       {{"torch_dtype", "float16"}, {"a", 1}}},
      {R"({"dtype": "bfloat16", "a": 1})", DType::F32, {{"dtype", "float32"}, {"a", 1}}},
      {R"({"dtype": "x", "torch_dtype": "y"})",
       DType::F32,
       {{"dtype", "float32"}, {"torch_dtype", "float32"}}}};
  for (const Row& row : table) {
    const Json after = edit(row.before, {.torch_dtype = row.dtype});
    EXPECT_EQ(after, row.after);
    EXPECT_EQ(keys(after), keys(row.after));
  }
}

TEST(EditConfig, TranslatesOpenAisConfigThereAndBack) {
  const Json hf = edit(kOriginal, {.to = Layout::hf, .packed = true});
  EXPECT_EQ(hf["architectures"], Json({"GptOssForCausalLM"}));
  EXPECT_EQ(hf["num_local_experts"], 5);
  EXPECT_EQ(hf["num_experts_per_tok"], 2);
  EXPECT_EQ(hf["layer_types"], Json({"sliding_attention", "full_attention", "sliding_attention"}));
  EXPECT_EQ(hf["max_position_embeddings"], 4096);
  EXPECT_EQ(hf["rope_scaling"]["factor"], 8.0);
  EXPECT_EQ(hf["rope_scaling"]["beta_fast"], 31.0);
  EXPECT_EQ(hf["rope_scaling"]["beta_slow"], 2.0);
  EXPECT_TRUE(hf.contains("quantization_config"));
  const Json back = edit(hf.dump(), {.to = Layout::original});
  EXPECT_EQ(back, Json::parse(kOriginal));
  EXPECT_EQ(keys(back), keys(Json::parse(kOriginal)));
}

TEST(EditConfig, TranslatesHuggingFacesConfigThereAndBack) {
  const Json original = edit(kHf, {.to = Layout::original});
  EXPECT_FALSE(original.contains("quantization_config"));
  EXPECT_EQ(original["rope_ntk_beta"], 31.0);
  const std::string back = edit_config(original.dump(), "config.json", {.to = Layout::hf}).text;
  const GptOssConfig a = parse(kHf);
  const GptOssConfig b = parse(back);
  EXPECT_EQ(a.num_local_experts, b.num_local_experts);
  EXPECT_EQ(a.head_dim, b.head_dim);
  const Json before = Json::parse(kHf);
  const Json after = Json::parse(back);
  for (const char* key : {"num_experts_per_tok", "sliding_window", "swiglu_limit", "rope_theta",
                          "initial_context_length"}) {
    EXPECT_EQ(after[key], before[key]) << key;
  }
  EXPECT_EQ(after["rope_scaling"]["factor"], before["rope_scaling"]["factor"]);
}

TEST(EditConfig, LeavesOpenAisConfigInItsLayout) {
  EXPECT_EQ(edit(kOriginal, {.to = Layout::original, .torch_dtype = DType::F32}),
            Json::parse(kOriginal));
}

TEST(EditConfig, FillsInWhatOpenAisConfigLacks) {
  const Json hf = edit(R"({"num_experts": 3})", {.to = Layout::hf});
  EXPECT_EQ(hf["num_local_experts"], 3);
  EXPECT_EQ(hf["hidden_size"], 2880);
  EXPECT_EQ(hf["max_position_embeddings"], 131072);
  EXPECT_EQ(hf["layer_types"].size(), 36U);
}

TEST(EditConfig, WithstandsHugeNumbers) {
  const Json hf = edit(R"({"num_experts": 3, "initial_context_length": 1e300})", {});
  EXPECT_EQ(hf["max_position_embeddings"], 131072);
  EXPECT_ERROR(ErrorCode::invalid_config,
               edit(R"({"num_experts": 3, "num_hidden_layers": 2147483647})", {}));
}

std::string repeated(const std::string& part, int times) {
  std::string text;
  for (int i = 0; i < times; ++i) text += part;
  return text;
}

// 1.2 million keys took minutes, as the parser compares each with those before it; 16 MB of empty
// arrays took 440 MB.
TEST(ParseConfig, BoundsTimeAndMemory) {
  std::string keys = "{\"0\": 0";
  for (int i = 1; i < 300'000; ++i) keys += ",\"" + std::to_string(i) + "\":{}";
  EXPECT_ERROR(ErrorCode::invalid_config, parse(keys + "}"));
  for (const char* value : {"[],", "1,", "\"\",", "null,", "{},"}) {
    EXPECT_ERROR(ErrorCode::invalid_config, parse("{\"a\":[" + repeated(value, 400'000) + "1]}"))
        << value;
  }
}

TEST(ParseConfig, RefusesWhatFollowsANul) {
  EXPECT_ERROR(ErrorCode::invalid_config, parse(std::string("{}\0x", 4)));
  EXPECT_ERROR(ErrorCode::invalid_config, parse(std::string("{}\0", 3)));
}

TEST(ParseConfig, DoesNotRepeatALongTextThatItCannotRead) {
  try {
    parse("{\"a\": \"" + std::string(1'000'000, 'x'));
    FAIL();
  } catch (const Error& error) {
    EXPECT_LT(std::string(error.what()).size(), 1000U);
  }
}

TEST(EditConfig, WritesWhatItCanRead) {
  const std::string text = R"({"num_experts": 3, "num_hidden_layers": 100000})";
  const std::string edited = edit_config(text, "config.json", {.to = Layout::hf}).text;
  EXPECT_EQ(parse(edited).num_hidden_layers, 100'000);
}

// Values of the wrong type become a config or an Error, and nothing else.
TEST(EditConfig, WithstandsValuesOfWrongTypes) {
  const std::vector<std::string> values = {
      "null", "true",  "\"x\"",  "[1]", "{\"a\": 1}",
      "-5",   "1e300", "-1e300", "0.5", "18446744073709551615"};
  const Json hf = Json::parse(kHf);
  const Json original = Json::parse(kOriginal);
  for (const Json& config : {hf, original}) {
    for (const auto& [key, unused] : config.items()) {
      for (const std::string& value : values) {
        Json changed = config;
        changed[key] = Json::parse(value);
        for (const Layout to : {Layout::hf, Layout::original}) {
          try {
            edit_config(changed.dump(), "config.json", {.to = to, .packed = true});
          } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::invalid_config) << key << ": " << value;
          } catch (const std::exception& error) {
            ADD_FAILURE() << key << ": " << value << ": " << error.what();
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace mxferry::internal
