#include "mxfp4/quant_table.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "mxfp4/encode_reference.h"
#include "mxfp4/reference.h"

namespace mxferry::internal::mxfp4 {
namespace {

TEST(QuantTable, HasARowAndANameForEveryMode) {
  std::set<std::string_view> names;
  for (const QuantRow& row : quant_rows()) {
    EXPECT_EQ(&quant_row(row.mode), &row);
    EXPECT_EQ(parse_quant_mode(name(row.mode)), row.mode);
    EXPECT_LE(row.most_scale, 253);
    names.insert(row.name);
  }
  EXPECT_EQ(names, (std::set<std::string_view>{"gptoss", "ocp", "even", "best"}));
  EXPECT_FALSE(parse_quant_mode("GPTOSS"));
}

// The scale that each rule gives a block with this maximum, as BF16 bits. From the rules' formulas,
// apart from `even`'s last two, where the published rule gives NaN.
struct Expected {
  std::uint16_t maximum;
  std::uint8_t ocp, even, gptoss;
};
constexpr std::array kTable = {Expected{0x0000, 0, 0, 0},       Expected{0x0001, 0, 0, 0},
                               Expected{0x0020, 0, 0, 0},       Expected{0x0040, 0, 0, 0},
                               Expected{0x0080, 0, 0, 0},       Expected{0x00C0, 0, 0, 0},
                               Expected{0x0100, 0, 0, 0},       Expected{0x0140, 0, 0, 0},
                               Expected{0x0141, 0, 0, 1},       Expected{0x0180, 1, 1, 1},
                               Expected{0x3F00, 124, 124, 124}, Expected{0x3F80, 125, 125, 125},
                               Expected{0x3FC0, 125, 125, 125}, Expected{0x3FC1, 125, 125, 126},
                               Expected{0x3FE0, 125, 126, 126}, Expected{0x3FFF, 125, 126, 126},
                               Expected{0x4000, 126, 126, 126}, Expected{0x4040, 126, 126, 126},
                               Expected{0x4041, 126, 126, 127}, Expected{0x4060, 126, 127, 127},
                               Expected{0x4080, 127, 127, 127}, Expected{0x40C0, 127, 127, 127},
                               Expected{0x40C1, 127, 127, 128}, Expected{0x40E0, 127, 128, 128},
                               Expected{0x40FF, 127, 128, 128}, Expected{0x4100, 128, 128, 128},
                               Expected{0x7F40, 252, 252, 252}, Expected{0x7F60, 252, 252, 253},
                               Expected{0x7F7F, 252, 252, 253}};

TEST(QuantTable, GivesEveryMaximumTheScaleOfItsRule) {
  for (const Expected& expected : kTable) {
    const DenseView one{.data = reinterpret_cast<const std::byte*>(&expected.maximum),
                        .dtype = DType::BF16,
                        .stride = 1,
                        .rows = 1,
                        .columns = 1};
    const double maximum = reference::weight_at(one, 0, 0);
    const auto scale = [&](QuantMode mode) {
      const QuantRow& row = quant_row(mode);
      return reference::scale_of(maximum, row.scale, row);
    };
    EXPECT_EQ(scale(QuantMode::ocp), expected.ocp) << std::hex << expected.maximum;
    EXPECT_EQ(scale(QuantMode::even), expected.even) << std::hex << expected.maximum;
    EXPECT_EQ(scale(QuantMode::gptoss), expected.gptoss) << std::hex << expected.maximum;
  }
}

// Every code under every mode's tie rule: a midpoint goes to the even code.
TEST(QuantTable, RoundsTiesToTheEvenCode) {
  constexpr std::array kMidpoints = {0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0};
  constexpr std::array kCodes = {0, 2, 2, 4, 4, 6, 6};
  for (std::size_t i = 0; i < kMidpoints.size(); ++i) {
    EXPECT_EQ(reference::code_of(kMidpoints[i], 127), kCodes[i]);
    EXPECT_EQ(reference::code_of(-kMidpoints[i], 127), kCodes[i] | 8);
  }
  EXPECT_EQ(reference::code_of(7.9, 127), 7);
  EXPECT_EQ(reference::code_of(-0.0, 127), 8);
}

}  // namespace
}  // namespace mxferry::internal::mxfp4
