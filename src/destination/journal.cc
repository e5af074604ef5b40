#include "destination/journal.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "destination/name_text.h"
#include "mxferry/error.h"
#include "mxferry/version.h"

namespace mxferry::internal {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kPrefix = "part-";
// Bytes; far more than the shards of any model need.
constexpr std::uint64_t kLargestJournal = std::uint64_t{256} << 20;

std::optional<Part> parse_name(std::string_view name) {
  Part part;
  constexpr std::string_view kOf = "-of-";
  const std::size_t of = name.find(kOf);
  if (of == std::string_view::npos || !name.starts_with(kPrefix)) return std::nullopt;
  const auto parse = [](std::string_view text, int& number) {
    const char* const begin = text.data();
    const char* const end = begin + text.size();
    const auto [stopped, error] = std::from_chars(begin, end, number);
    return error == std::errc() && stopped == end;
  };
  if (!parse(name.substr(kPrefix.size(), of - kPrefix.size()), part.rank) ||
      !parse(name.substr(of + kOf.size()), part.world))
    return std::nullopt;
  --part.rank;
  if (part.rank < 0 || part.rank >= part.world) return std::nullopt;
  return part;
}

// Applies a line to the content. A journal is an untrusted file: malformed entries are ignored.
void take_line(std::string_view line, JournalContent& content) {
  const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return;
  const auto text = [&](const char* key) {
    return json.contains(key) && json[key].is_string() ? json[key].get<std::string>()
                                                       : std::string();
  };
  const auto flag = [&](const char* key) { return json.contains(key) && json[key] == true; };
  const NotedFile noted{text("sha256"), flag("synced"), text("boot")};
  if (json.contains("begun")) {
    content.begun = true;
    content.forced |= flag("forced");
    content.done = false;
    if (flag("anew")) content.shared.clear();
  }
  if (const std::string name = text("shard"); !name.empty()) content.shards[name] = noted;
  if (const std::string name = text("shared"); !name.empty()) content.shared[name] = noted;
  if (json.contains("side_files")) {
    const std::vector<std::string> names = names_from_json(json["side_files"]);
    content.side_files = {names.begin(), names.end()};
  }
  if (json.contains("done")) {
    content.done = true;
    content.synced = flag("synced");
  }
}

// Returns the content and the number of bytes in complete lines.
std::pair<JournalContent, std::uint64_t> read_content(const File& file) {
  const std::uint64_t size = file.size();
  if (size > kLargestJournal) {
    throw Error(ErrorCode::invalid_argument,
                {.problem = "the journal of a conversion is too large",
                 .file = file.path(),
                 .expected = fmt::format("at most {} bytes", kLargestJournal),
                 .found = std::to_string(size)});
  }
  std::string text(size, '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  JournalContent content;
  std::size_t begin = 0;
  for (std::size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n', begin)) {
    take_line(std::string_view(text).substr(begin, end - begin), content);
    begin = end + 1;
  }
  return {std::move(content), begin};
}

}  // namespace

std::string journal_name(const Part& part) {
  return fmt::format("{}{:05}-of-{:05}", kPrefix, part.rank + 1, part.world);
}

std::vector<FoundJournal> find_journals(const std::filesystem::path& work) {
  std::vector<FoundJournal> journals;
  for (const std::string& name : list_folder(work)) {
    const std::optional<Part> part = parse_name(name);
    if (!part) continue;
    const std::filesystem::path path = work / name;
    journals.push_back({*part, path, read_content(File::open_for_reading(path)).first});
  }
  return journals;
}

std::string boot_id() {
  const auto read = [](const char* path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
  };
  const std::string id = read("/proc/sys/kernel/random/boot_id");
  return id.empty() ? "" : read("/proc/sys/kernel/hostname") + "/" + id;
}

bool is_kept(const NotedFile& noted) {
  return noted.synced || (!noted.boot.empty() && noted.boot == boot_id());
}

bool is_lost(const NotedFile& noted) {
  const auto machine = [](std::string_view boot) { return boot.substr(0, boot.find('/')); };
  const std::string now = boot_id();
  return !noted.synced && machine(noted.boot) == machine(now) && noted.boot != now;
}

bool JournalContent::is_done() const {
  const auto is_there = [](const auto& entry) { return !is_lost(entry.second); };
  return done && std::ranges::all_of(shards, is_there) && std::ranges::all_of(shared, is_there);
}

Journal::Journal(FileLock lock, bool sync) : sync_(sync), lock_(std::move(lock)) {
  std::tie(content_, size_) = read_content(lock_.file());
}

void Journal::begin(bool forced, bool anew) {
  add({{"begun", MXFERRY_VERSION}, {"forced", forced}, {"anew", anew}});
  if (sync_) sync_folder(path().parent_path());
}

void Journal::note_side_files(const std::vector<std::string>& names) {
  add({{"side_files", to_json_texts(names)}});
}

void Journal::note_shard(const std::string& name, const std::string& sha256) {
  Json line = {{"shard", name}};
  if (!sha256.empty()) line["sha256"] = sha256;
  add_file(std::move(line));
}

void Journal::note_shared(const std::string& name) {
  add_file({{"shared", name}});
}

void Journal::note_done() {
  add({{"done", true}, {"synced", sync_}});
}

void Journal::add_file(Json line) {
  line["synced"] = sync_;
  if (!sync_) line["boot"] = boot_id();
  add(line);
}

void Journal::add(const Json& line) {
  const File& file = lock_.file();
  const std::string text = line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  file.write(size_, std::as_bytes(std::span(text)));
  size_ += text.size();
  if (sync_) file.sync();
  take_line(text, content_);
}

}  // namespace mxferry::internal
