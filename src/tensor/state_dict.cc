#include <utility>

#include "mxferry/error.h"
#include "mxferry/tensor.h"

namespace mxferry {

namespace {

[[noreturn]] void fail_missing(std::string_view name) {
  throw Error(ErrorCode::missing_tensor,
              {.problem = "the state dict has no such tensor", .tensor = std::string(name)});
}

}  // namespace

StateDict::StateDict(const StateDict& other) : entries_(other.entries_) {
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    index_.emplace(entry->first, entry);
  }
}

StateDict& StateDict::operator=(StateDict other) noexcept {
  entries_.swap(other.entries_);
  index_.swap(other.index_);
  return *this;
}

bool StateDict::contains(std::string_view name) const {
  return index_.contains(name);
}

Tensor& StateDict::at(std::string_view name) {
  const auto found = index_.find(name);
  if (found == index_.end()) fail_missing(name);
  return found->second->second;
}

const Tensor& StateDict::at(std::string_view name) const {
  const auto found = index_.find(name);
  if (found == index_.end()) fail_missing(name);
  return found->second->second;
}

void StateDict::set(std::string name, Tensor tensor) {
  if (const auto found = index_.find(name); found != index_.end()) {
    found->second->second = std::move(tensor);
    return;
  }
  // Build a list of one first: if the index runs out of memory, nothing has changed.
  std::list<Entry> entry;
  entry.emplace_back(std::move(name), std::move(tensor));
  index_.emplace(entry.front().first, entry.begin());
  entries_.splice(entries_.end(), entry);
}

Tensor StateDict::pop(std::string_view name) {
  const auto found = index_.find(name);
  if (found == index_.end()) fail_missing(name);
  const iterator entry = found->second;
  Tensor tensor = std::move(entry->second);
  index_.erase(found);
  entries_.erase(entry);
  return tensor;
}

std::vector<std::string> StateDict::names() const {
  std::vector<std::string> names;
  names.reserve(entries_.size());
  for (const Entry& entry : entries_) names.push_back(entry.first);
  return names;
}

}  // namespace mxferry
