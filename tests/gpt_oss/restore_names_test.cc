#include "gpt_oss/restore_names.h"

#include <gtest/gtest.h>

#include <functional>
#include <regex>
#include <set>
#include <utility>

#include "tests/gpt_oss/catalogs.h"

namespace mxferry::internal {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

// As files store it: each tensor of a stack by its own name.
Catalog stored_catalog(const Stored& stored) {
  Catalog catalog;
  for (const StoredTensor& tensor : make_catalog(stored)) {
    if (!has_fields(tensor.name)) {
      catalog.push_back(tensor);
      continue;
    }
    for (int expert = 0; expert < (has_expert_field(tensor.name) ? 3 : 1); ++expert) {
      for (int half = 0; half < (has_half_field(tensor.name) ? 2 : 1); ++half) {
        const DType dtype = dtype_field(tensor.name).value_or(tensor.dtype);
        catalog.push_back(stored_tensor(member_name({tensor.name, expert, half}), dtype, {1}));
      }
    }
  }
  std::ranges::sort(catalog, {}, &StoredTensor::name);
  return catalog;
}

std::vector<std::string> names(const Catalog& catalog) {
  std::vector<std::string> result;
  for (const StoredTensor& tensor : catalog) result.push_back(tensor.name);
  return result;
}

using Change = std::function<std::string(const std::string&)>;

std::string inside(const std::string& name, const std::string& component) {
  static const std::regex layer(R"(((?:layers|block)\.\d+\.(?:mlp\.)?))");
  return std::regex_replace(name, layer, "$1" + component);
}

std::vector<Change> changes() {
  std::vector<Change> all;
  for (const char* before : {"_orig_mod.", "module.", "base_model.model.", "model.",
                             "language_model.", "module._orig_mod.policy."}) {
    all.emplace_back([=](const std::string& name) { return before + name; });
  }
  for (const char* component :
       {"_checkpoint_wrapped_module.", "_fsdp_wrapped_module.", "_orig_mod.", "module."}) {
    all.emplace_back([=](const std::string& name) { return inside(name, component); });
  }
  all.emplace_back(
      [](const std::string& name) { return name.starts_with("model.") ? name.substr(6) : name; });
  return all;
}

TEST(RestoreNames, LeavesTheNamesOfEveryLayout) {
  for (const LayoutTable& table : layout_tables()) {
    for (const bool packed : {false, true}) {
      if (packed && !can_pack(table.layout)) continue;
      Catalog catalog = stored_catalog({.layout = table.layout, .packed = packed});
      const auto before = names(catalog);
      std::vector<Problem> problems;
      restore_names(catalog, problems);
      EXPECT_EQ(names(catalog), before) << table.name;
      EXPECT_TRUE(problems.empty()) << table.name;
    }
  }
}

TEST(RestoreNames, RemovesWhatWrappersLeaveInEveryLayout) {
  const std::vector<Change> all = changes();
  for (const LayoutTable& table : layout_tables()) {
    for (const bool packed : {false, true}) {
      if (packed && !can_pack(table.layout)) continue;
      const Catalog plain = stored_catalog({.layout = table.layout, .packed = packed});
      for (std::size_t i = 0; i < all.size(); ++i) {
        Catalog catalog = plain;
        for (StoredTensor& tensor : catalog) tensor.name = all[i](tensor.name);
        if (names(catalog) == names(plain)) continue;
        std::ranges::sort(catalog, {}, &StoredTensor::name);
        std::vector<Problem> problems;
        restore_names(catalog, problems);
        EXPECT_EQ(names(catalog), names(plain)) << table.name << " change " << i;
        ASSERT_FALSE(problems.empty());
        EXPECT_EQ(problems[0].severity, Severity::note);
      }
    }
  }
}

TEST(RestoreNames, KeepsTheDataWithTheName) {
  Catalog catalog = make_catalog({.packed = true});
  for (StoredTensor& tensor : catalog) tensor.name.insert(0, "z.");
  std::ranges::sort(catalog, {}, &StoredTensor::name);
  std::vector<Problem> problems;
  restore_names(catalog, problems);
  const Catalog plain = make_catalog({.packed = true});
  ASSERT_EQ(names(catalog), names(plain));
  for (std::size_t i = 0; i < plain.size(); ++i) EXPECT_EQ(catalog[i].shape, plain[i].shape);
}

TEST(RestoreNames, TakesTwoTensorsOfOneNameForTwoModels) {
  Catalog catalog = make_catalog({});
  const Catalog plain = catalog;
  for (StoredTensor tensor : plain) {
    tensor.name.insert(0, "ema.");
    catalog = with(std::move(catalog), std::move(tensor));
  }
  const auto before = names(catalog);
  std::vector<Problem> problems;
  restore_names(catalog, problems);
  EXPECT_EQ(names(catalog), before);
  ASSERT_EQ(problems.size(), 8U);
  EXPECT_EQ(problems[0].code, ErrorCode::name_collision);
  EXPECT_EQ(problems[0].severity, Severity::fatal);
}

TEST(RestoreNames, LeavesAnotherModelWithoutExperts) {
  Catalog catalog = make_catalog({.packed = true});
  for (StoredTensor& tensor : catalog) tensor.name.insert(0, "language_model.");
  const std::vector<std::string> others = {"vision.layers.0.self_attn.q_proj.weight",
                                           "vision.module.norm.weight",
                                           "_orig_mod.projector.weight"};
  for (const std::string& name : others) {
    catalog = with(std::move(catalog), stored_tensor(name, DType::BF16, {2}));
  }
  std::vector<Problem> problems;
  restore_names(catalog, problems);
  auto expected = names(make_catalog({.packed = true}));
  expected.insert(expected.end(), others.begin(), others.end());
  std::ranges::sort(expected);
  EXPECT_EQ(names(catalog), expected);
}

}  // namespace
}  // namespace mxferry::internal
