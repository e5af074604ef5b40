#include "checkpoint/join_chunks.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "checkpoint/dcp_metadata.h"
#include "checkpoint/folder_hints.h"
#include "checkpoint/safetensors_header.h"
#include "checkpoint/tensor_box.h"

namespace mxferry::internal {
namespace {

// The number in "shard-00003-model-00001-of-00001.safetensors".
std::optional<unsigned> rank_number(std::string_view name) {
  constexpr std::string_view kStart = "shard-";
  if (!name.starts_with(kStart)) return std::nullopt;
  name.remove_prefix(kStart.size());
  unsigned number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc() || end == name.data() + name.size() || *end != '-') return std::nullopt;
  return number;
}

// What to look for if part of a tensor is in no file. A gap in the numbers alone proves nothing: a
// rank that holds nothing writes no file.
std::string missing_file_advice(const std::vector<ShardFile>& shards) {
  std::set<unsigned> ranks;
  for (const ShardFile& shard : shards) {
    if (const std::optional<unsigned> rank = rank_number(shard.name)) ranks.insert(*rank);
  }
  std::string advice = "A file of a rank may be missing";
  unsigned next = 1;
  while (ranks.contains(next)) ++next;
  if (!ranks.empty() && next < *ranks.rbegin()) {
    std::string number = std::to_string(next);
    number.insert(0, 5 - std::min<std::size_t>(5, number.size()), '0');
    advice += ": there is no shard-" + number + "-*";
  }
  return advice;
}

struct Chunk {
  FolderChunk where;
  DType dtype = DType::U8;
};

TensorBox box_of(const FolderChunk& chunk) {
  TensorBox box{chunk.offsets, chunk.offsets};
  for (std::size_t i = 0; i < box.end.size(); ++i) box.end[i] += chunk.sizes[i];
  return box;
}

bool is_empty(const FolderChunk& chunk) noexcept {
  return std::ranges::find(chunk.sizes, 0) != chunk.sizes.end();
}

class Joiner {
 public:
  Joiner(const std::vector<ShardFile>& shards, bool lacks_files,
         const std::function<void(const Error&, std::string_view file)>& report)
      : shards_(shards), lacks_files_(lacks_files), report_(report) {}

  std::vector<FolderTensor> run() {
    for (std::size_t i = 0; i < shards_.size(); ++i) add_file(i);
    std::vector<FolderTensor> tensors;
    for (auto& [name, chunks] : chunks_) {
      try {
        tensors.push_back(join(std::string(name), chunks));
        check_coverage(tensors.back());
      } catch (const Error& error) {
        refuse(error);
      }
    }
    report_rest();
    return tensors;
  }

 private:
  void add_file(std::size_t shard);
  FolderTensor join(const std::string& name, std::vector<Chunk>& chunks) const;
  void check_alike(const std::string& name, const std::vector<Chunk>& chunks) const;
  void check_coverage(const FolderTensor& tensor) const;
  const std::string& file(const FolderChunk& chunk) const { return shards_[chunk.shard].name; }

  void refuse(const Error& error);
  void report_rest() const;

  const std::vector<ShardFile>& shards_;
  bool lacks_files_;
  const std::function<void(const Error&, std::string_view file)>& report_;
  std::map<std::string_view, std::vector<Chunk>> chunks_;
  // A lost file leaves a hole in every tensor; reporting the first few is enough.
  static constexpr std::size_t kShown = 4;
  std::map<ErrorCode, std::vector<std::string>> refused_;  // tensors, by error
};

void Joiner::add_file(std::size_t shard) {
  const ShardFile& file = shards_[shard];
  try {
    const std::optional<ChunkOffsets> offsets = read_chunk_offsets(file.header, {});
    if (!offsets) {
      throw Error(ErrorCode::invalid_sharding_info,
                  {.problem = "the file has no " + std::string(kShardingInfoKey) +
                              ", which other files here have",
                   .advice = "Remove it if it does not belong to this checkpoint"});
    }
    for (const TensorInfo& info : file.header.tensors) {
      chunks_[info.name].push_back(
          {{shard, offsets->at(info.name), info.shape, info.begin}, info.dtype});
    }
  } catch (const Error& error) {
    lacks_files_ = true;
    report_(error, file.name);
  }
}

void Joiner::check_alike(const std::string& name, const std::vector<Chunk>& chunks) const {
  const Chunk& first = chunks[0];
  for (const Chunk& chunk : chunks) {
    const auto refuse = [&](ErrorCode code, const char* problem, const std::string& expected,
                            const std::string& found) {
      throw Error(code, {.problem = problem,
                         .file = file(chunk.where),
                         .tensor = name,
                         .expected = expected + " as in " + file(first.where),
                         .found = found});
    };
    if (chunk.dtype != first.dtype) {
      refuse(ErrorCode::wrong_dtype, "the files hold the tensor in different dtypes",
             std::string(mxferry::name(first.dtype)), std::string(mxferry::name(chunk.dtype)));
    }
    if (chunk.where.sizes.size() != first.where.sizes.size()) {
      refuse(ErrorCode::wrong_shape, "the files hold the tensor with different dimensions",
             std::to_string(first.where.sizes.size()) + " dimensions",
             std::to_string(chunk.where.sizes.size()));
    }
  }
}

// Leaves `chunks` in an unspecified state.
FolderTensor Joiner::join(const std::string& name, std::vector<Chunk>& chunks) const {
  check_alike(name, chunks);
  FolderTensor tensor{.info = {.name = name, .dtype = chunks[0].dtype, .shape = {}}};
  Shape& shape = tensor.info.shape;
  for (Chunk& chunk : chunks) {
    // An empty chunk counts for the shape: ranks without rows write one at the tensor's end.
    const TensorBox box = box_of(chunk.where);
    shape.resize(box.end.size());
    for (std::size_t i = 0; i < shape.size(); ++i) shape[i] = std::max(shape[i], box.end[i]);
    if (!is_empty(chunk.where)) tensor.chunks.push_back(std::move(chunk.where));
  }
  (void)byte_count(tensor.info, {});  // throws on overflow
  if (tensor.chunks.size() > kMostChunks) {
    throw Error(ErrorCode::invalid_sharding_info,
                {.problem = "the tensor lies in too many parts",
                 .tensor = name,
                 .expected = "at most " + std::to_string(kMostChunks),
                 .found = std::to_string(tensor.chunks.size())});
  }
  if (tensor.chunks.size() > 1 && bits(tensor.info.dtype) % 8 != 0) {
    throw Error(ErrorCode::misaligned_size,
                {.problem = "the tensor lies in parts, and its elements are no whole bytes",
                 .tensor = name,
                 .found = std::string(mxferry::name(tensor.info.dtype))});
  }
  // All chunks are empty.
  if (tensor.chunks.empty()) tensor.chunks.push_back(std::move(chunks[0].where));
  std::ranges::sort(tensor.chunks, {}, &FolderChunk::offsets);
  tensor.shard = tensor.chunks[0].shard;
  tensor.info.begin = tensor.chunks[0].begin;
  return tensor;
}

void Joiner::check_coverage(const FolderTensor& tensor) const {
  if (std::ranges::find(tensor.info.shape, 0) != tensor.info.shape.end()) return;
  const std::vector<FolderChunk>& chunks = tensor.chunks;
  std::vector<TensorBox> boxes;
  boxes.reserve(chunks.size());
  for (const FolderChunk& chunk : chunks) {
    // A lone empty chunk gives the tensor's shape but holds none of its elements.
    if (!is_empty(chunk)) boxes.push_back(box_of(chunk));
  }
  if (const auto pair = find_overlap(boxes)) {
    const auto& [a, b] = *pair;
    throw Error(ErrorCode::overlapping_chunks,
                {.problem = "two files hold the same part of the tensor",
                 .tensor = tensor.info.name,
                 .expected = "each element once",
                 .found = text_of(intersection(boxes[a], boxes[b])) + " in " + file(chunks[a]) +
                          " and in " + file(chunks[b]),
                 .advice = "Files of an earlier save with more ranks may lie beside the new ones; "
                           "remove them"});
  }
  const std::optional<TensorBox> hole = find_hole(tensor.info.shape, boxes);
  if (!hole) return;
  throw Error(ErrorCode::missing_chunk, {.problem = "a part of the tensor is in no file",
                                         .tensor = tensor.info.name,
                                         .expected = "all of " + to_string(tensor.info.shape),
                                         .found = "nothing of " + text_of(*hole),
                                         .advice = missing_file_advice(shards_)});
}

void Joiner::refuse(const Error& error) {
  if (error.code() == ErrorCode::missing_chunk && lacks_files_) return;
  std::vector<std::string>& tensors = refused_[error.code()];
  tensors.push_back(error.details().tensor);
  if (tensors.size() <= kShown) report_(error, error.details().file.native());
}

void Joiner::report_rest() const {
  for (const auto& [code, tensors] : refused_) {
    if (tensors.size() <= kShown) continue;
    const std::vector<std::string_view> rest(tensors.begin() + kShown, tensors.end());
    report_(
        Error(code, {.problem = "the same is wrong with others", .found = count_and_names(rest)}),
        "");
  }
}

}  // namespace

std::vector<FolderTensor> join_chunks(
    const std::vector<ShardFile>& shards, bool lacks_files,
    const std::function<void(const Error&, std::string_view file)>& report) {
  return Joiner(shards, lacks_files, report).run();
}

}  // namespace mxferry::internal
