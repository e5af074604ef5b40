#include "verbs/journal.h"

#include <fmt/format.h>

#include <charconv>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "checkpoint/file_name.h"
#include "checkpoint/folder.h"
#include "mxferry/error.h"

namespace mxferry {
namespace {

using Json = nlohmann::json;

// Far above what the shards of a model need.
constexpr std::uint64_t kLargestJournal = std::uint64_t{256} << 20;

std::string journal_name(const Part& part) {
  return fmt::format("{}-{:05}-of-{:05}", kJournalPrefix, part.rank + 1, part.world);
}

std::optional<Part> parse_name(std::string_view name) {
  Part part;
  name.remove_prefix(std::string_view(kJournalPrefix).size());
  constexpr std::string_view kOf = "-of-";
  const std::size_t of = name.find(kOf);
  if (of == std::string_view::npos || !name.starts_with('-')) return std::nullopt;
  const auto parse = [](std::string_view text, int& number) {
    const char* const begin = text.data();
    const char* const end = begin + text.size();
    const auto [stopped, error] = std::from_chars(begin, end, number);
    return error == std::errc() && stopped == end;
  };
  if (!parse(name.substr(1, of - 1), part.rank) || !parse(name.substr(of + kOf.size()), part.world))
    return std::nullopt;
  --part.rank;
  if (part.rank < 0 || part.rank >= part.world) return std::nullopt;
  return part;
}

// Names of files are bytes, and JSON is UTF-8: byte 0xE9 is written as U+00E9.
std::string to_json_text(std::string_view name) {
  std::string text;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      text += c;
    } else {
      text += static_cast<char>(0xC0 | byte >> 6);
      text += static_cast<char>(0x80 | (byte & 0x3F));
    }
  }
  return text;
}

std::string from_json_text(std::string_view text) {
  std::string name;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool is_pair = (byte & 0xFC) == 0xC0 && i + 1 < text.size();
    name += is_pair ? static_cast<char>(byte << 6 | (text[++i] & 0x3F)) : text[i];
  }
  return name;
}

// A journal is a file like any other, which anybody may have written.
std::set<std::string> names_of(const Json& names) {
  std::set<std::string> taken;
  for (const Json& text : names) {
    if (!text.is_string()) continue;
    std::string name = from_json_text(text.get_ref<const std::string&>());
    if (stays_below(name)) taken.insert(std::move(name));
  }
  return taken;
}

void take_line(std::string_view line, JournalContent& content) {
  const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return;
  const auto text = [&](const char* key) {
    return json.contains(key) && json[key].is_string() ? json[key].get<std::string>()
                                                       : std::string();
  };
  if (json.contains("conversion")) content.conversion = json["conversion"];
  if (const std::string name = text("shard"); !name.empty()) {
    content.shards.insert(name);
    content.digests[name] = text("sha256");
  }
  if (json.contains("side_files")) content.side_files = names_of(json["side_files"]);
  if (const std::string name = text("shared"); !name.empty()) content.shared.insert(name);
  if (json.contains("done")) {
    content.done = true;
    content.synced = json["done"] == "synced";
  }
}

// Returns the content and the number of bytes that are whole lines.
std::pair<JournalContent, std::uint64_t> read_content(const File& file) {
  const std::uint64_t size = file.size();
  if (size > kLargestJournal) {
    throw Error(ErrorCode::invalid_argument,
                {.problem = "the journal of the conversion is too large",
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

File open_alone(const std::filesystem::path& path) {
  std::optional<File> file = File::create_or_open_alone(path);
  if (!file) {
    throw Error(ErrorCode::destination_in_use,
                {.problem = "another process is converting to this folder",
                 .file = path.parent_path(),
                 .advice = "Wait for it, or give another folder"});
  }
  return std::move(*file);
}

}  // namespace

std::vector<FoundJournal> find_journals(const std::filesystem::path& folder) {
  std::vector<FoundJournal> journals;
  for (const std::string& name : list_folder(folder)) {
    if (!name.starts_with(kJournalPrefix)) continue;
    const std::optional<Part> part = parse_name(name);
    if (!part) continue;
    const std::filesystem::path path = folder / name;
    journals.push_back({*part, path, read_content(File::open_for_reading(path)).first});
  }
  return journals;
}

Journal::Journal(const std::filesystem::path& folder, const Part& part, bool sync)
    : sync_(sync), file_(open_alone(folder / journal_name(part))) {
  std::tie(content_, size_) = read_content(file_);
}

void Journal::begin(const Json& conversion) {
  file_.set_size(0);
  size_ = 0;
  content_ = {};
  add({{"conversion", conversion}});
  if (sync_) sync_folder(file_.path().parent_path());
}

void Journal::note_side_files(const std::vector<std::string>& names) {
  Json texts = Json::array();
  for (const std::string& name : names) texts.push_back(to_json_text(name));
  add({{"side_files", texts}});
}

void Journal::note_shard(const std::string& name, const std::string& sha256) {
  Json line = {{"shard", name}};
  if (!sha256.empty()) line["sha256"] = sha256;
  add(line);
}

void Journal::note_shared(const std::string& name) {
  add({{"shared", name}});
}

void Journal::note_done() {
  add({{"done", sync_ ? "synced" : "not synced"}});
}

void Journal::add(const Json& line) {
  const std::string text = line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  file_.write(size_, std::as_bytes(std::span(text)));
  size_ += text.size();
  if (sync_) file_.sync();
  take_line(text, content_);
}

}  // namespace mxferry
