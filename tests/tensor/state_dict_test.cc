#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mxferry/error.h"
#include "mxferry/tensor.h"

namespace mxferry::internal {
namespace {

using ::testing::ElementsAre;

// The size tells the tensors apart.
Tensor tensor_of(std::int64_t size) {
  return Tensor::empty(DType::U8, {size});
}

StateDict abc() {
  StateDict dict;
  dict.set("a", tensor_of(1));
  dict.set("b", tensor_of(2));
  dict.set("c", tensor_of(3));
  return dict;
}

TEST(StateDict, KeepsTheOrderOfInsertion) {
  EXPECT_THAT(abc().names(), ElementsAre("a", "b", "c"));
}

TEST(StateDict, SettingAKnownNameKeepsItsPlace) {
  StateDict dict = abc();
  dict.set("a", tensor_of(9));
  EXPECT_THAT(dict.names(), ElementsAre("a", "b", "c"));
  EXPECT_EQ(dict.at("a").shape(), Shape{9});
}

TEST(StateDict, PoppingAndSettingMovesToTheEnd) {
  StateDict dict = abc();
  const Tensor a = dict.pop("a");
  EXPECT_EQ(a.use_count(), 1);
  dict.set("a", a);
  EXPECT_THAT(dict.names(), ElementsAre("b", "c", "a"));
}

TEST(StateDict, AMissingNameIsAnErrorThatNamesIt) {
  StateDict dict = abc();
  const auto expect_missing = [](const auto& call) {
    try {
      call();
      FAIL() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::missing_tensor);
      EXPECT_EQ(error.details().tensor, "x");
    }
  };
  expect_missing([&] { dict.pop("x"); });
  expect_missing([&] { dict.at("x"); });
  expect_missing([&] { std::as_const(dict).at("x"); });
  EXPECT_EQ(dict.size(), 3u);
}

TEST(StateDict, ACopyIsIndependentAndSharesTheTensors) {
  auto original = std::make_unique<StateDict>(abc());
  StateDict copy = *original;
  EXPECT_EQ(copy.at("b").data(), original->at("b").data());
  copy.pop("a");
  EXPECT_TRUE(original->contains("a"));
  original.reset();
  EXPECT_EQ(copy.at("b").shape(), Shape{2});
  copy.set("b", tensor_of(7));
  EXPECT_EQ(copy.begin()->second.shape(), Shape{7});
}

TEST(StateDict, IsMovedAndAssignedWithItsIndex) {
  StateDict source = abc();
  StateDict moved = std::move(source);
  EXPECT_EQ(moved.at("c").shape(), Shape{3});
  StateDict target;
  target.set("z", tensor_of(26));
  target = std::move(moved);
  EXPECT_FALSE(target.contains("z"));
  target.set("a", tensor_of(8));
  EXPECT_EQ(target.begin()->second.shape(), Shape{8});
  const StateDict& itself = target;
  target = itself;
  EXPECT_THAT(target.names(), ElementsAre("a", "b", "c"));
  EXPECT_EQ(target.at("a").shape(), Shape{8});
}

// What Python's dict does, spelled out on a vector.
struct Model {
  std::vector<std::pair<std::string, std::int64_t>> entries;

  auto find(const std::string& name) {
    return std::ranges::find(entries, name, [](const auto& entry) { return entry.first; });
  }
  void set(const std::string& name, std::int64_t size) {
    if (const auto found = find(name); found != entries.end()) {
      found->second = size;
    } else {
      entries.emplace_back(name, size);
    }
  }
};

RC_GTEST_PROP(StateDict, BehavesAsAPythonDict, ()) {
  StateDict dict;
  Model model;
  const auto steps = *rc::gen::container<std::vector<std::pair<int, int>>>(
      rc::gen::pair(rc::gen::inRange(0, 4), rc::gen::inRange(0, 8)));
  std::int64_t size = 0;
  for (const auto& [action, number] : steps) {
    const std::string name = "model.layers." + std::to_string(number);
    if (action == 0 && dict.contains(name)) {
      const Tensor popped = dict.pop(name);
      RC_ASSERT(popped.shape() == Shape{model.find(name)->second});
      model.entries.erase(model.find(name));
    } else if (action == 1) {
      dict = StateDict(dict);
    } else {
      ++size;
      dict.set(name, tensor_of(size));
      model.set(name, size);
    }
  }
  std::vector<std::pair<std::string, std::int64_t>> found;
  for (const auto& [name, tensor] : dict) found.emplace_back(name, tensor.shape()[0]);
  RC_ASSERT(found == model.entries);
  for (const auto& [name, entry_size] : model.entries) {
    RC_ASSERT(dict.at(name).shape() == Shape{entry_size});
  }
}

}  // namespace
}  // namespace mxferry::internal
