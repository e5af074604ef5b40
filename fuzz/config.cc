#include <optional>
#include <string>

#include "base/text.h"
#include "fuzz/input.h"
#include "gpt_oss/config_json.h"
#include "gpt_oss/layout_table.h"
#include "mxferry/error.h"

namespace mxferry::internal::fuzz {
namespace {

void require_sane(const GptOssConfig& sizes) {
  for (const std::int64_t size :
       {sizes.num_hidden_layers, sizes.num_local_experts, sizes.hidden_size,
        sizes.intermediate_size, sizes.num_attention_heads, sizes.num_key_value_heads,
        sizes.head_dim, sizes.vocab_size}) {
    require(size >= 0 && size < std::int64_t{1} << 31, "a size is 0 or below 2^31");
  }
}

}  // namespace

// The first byte chooses what the config is edited for.
void config(Input input) {
  Choices choices(input);
  const std::size_t layouts = layout_tables().size();
  const std::size_t choice = choices.below(layouts * 8);
  const std::size_t rest = choice / layouts;
  const ConfigEdit edit{.to = static_cast<Layout>(choice % layouts),
                        .packed = rest % 2 != 0,
                        .torch_dtype = rest / 2 % 2 != 0 ? std::optional(DType::F32) : std::nullopt,
                        .adds_head = rest / 4 != 0};
  const std::string text = text_of(choices.rest());
  try {
    require_sane(parse_config(text, "config.json"));
    const std::string edited = edit_config(text, "config.json", edit).text;
    require(is_utf8(edited), "the result is UTF-8");
    require(edit_config(edited, "config.json", edit).text == edited,
            "editing twice changes nothing");
  } catch (const Error& error) {
    require(error.code() == ErrorCode::invalid_config, "the config is to blame");
  }
}

}  // namespace mxferry::internal::fuzz
