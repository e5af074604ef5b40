#include "options.h"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/string.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "mxferry/error.h"

namespace mxferry::python {
namespace {

namespace nb = nanobind;

// Takes keyword arguments one by one; none may be left at the end.
class Reader {
 public:
  explicit Reader(const nb::kwargs& values)
      : values_(nb::steal<nb::dict>(PyDict_Copy(values.ptr()))) {}

  template <typename T>
  void read(const char* option, T& field) {
    if (const nb::object value = take(option); !value.is_none()) field = cast<T>(option, value);
  }

  // Reads one of the names that `parse` accepts.
  template <typename Field, typename Parse>
  void read_name(const char* option, Field& field, Parse parse, const char* names) {
    const nb::object value = take(option);
    if (value.is_none()) return;
    const auto text = cast<std::string>(option, value);
    const auto parsed = parse(text);
    if (!parsed) {
      throw Error(ErrorCode::invalid_argument, {.problem = "option '" + std::string(option) +
                                                           "' has a value that it cannot have",
                                                .expected = names,
                                                .found = "'" + text + "'"});
    }
    set(field, parsed);
  }

  void read_layout(const char* option, Layout& field) {
    read_name(option, field, parse_layout,
              "hf, nemo, original, torchtitan, unsloth, mlx or compressed-tensors");
  }
  void read_orientation(const char* option, std::optional<AxisOrder>& field) {
    read_name(option, field, parse_axis_order, "out_in or in_out");
  }
  void read_codec(const char* option, std::optional<Codec>& field) {
    read_name(option, field, parse_codec, "bf16, f16, f32 or mxfp4");
  }

  void finish() {
    for (const auto& [option, value] : values_) {
      throw nb::type_error(
          ("there is no option " + nb::cast<std::string>(nb::repr(option))).c_str());
    }
  }

 private:
  nb::object take(const char* option) {
    if (!values_.contains(option)) return nb::none();
    nb::object value = values_[option];
    nb::del(values_[option]);
    return value;
  }

  template <typename T>
  static void set(T& field, const std::optional<T>& value) {
    field = *value;
  }
  template <typename T>
  static void set(std::optional<T>& field, const std::optional<T>& value) {
    field = value;
  }

  template <typename T>
  T cast(const char* option, const nb::object& value) {
    T result{};
    if (nb::try_cast(value, result)) return result;
    const std::string found = nb::cast<std::string>(nb::repr(value.type()));
    throw nb::type_error(("option '" + std::string(option) + "' cannot be " + found).c_str());
  }

  nb::dict values_;
};

std::optional<DType> parse_dense(std::string_view name) {
  const std::optional<Codec> codec = parse_codec(name);
  return codec ? dense_dtype(*codec) : std::nullopt;
}

}  // namespace

ConvertOptions convert_options(const nb::kwargs& values) {
  ConvertOptions options;
  Reader reader(values);
  reader.read("source", options.source);
  reader.read("destination", options.destination);
  reader.read_layout("to", options.to);
  reader.read("attn", options.backend.attn);
  reader.read_codec("dtype", options.dtype);
  reader.read_name("dense_dtype", options.dense_dtype, parse_dense, "bf16, f16 or f32");
  reader.read_name("quant_mode", options.quant_mode, parse_quant_mode, "gptoss, ocp, even or best");
  reader.read("reference", options.reference);
  reader.read_orientation("orientation", options.orientation);
  reader.read("exclude", options.exclude);
  reader.read("max_shard_size", options.max_shard_size);
  reader.read("dcp_shards", options.dcp_shards);
  reader.read("threads", options.threads);
  reader.read("max_memory", options.max_memory);
  reader.read("sync", options.sync);
  reader.read("allow_nonfinite", options.allow_nonfinite);
  reader.read("strict", options.strict);
  reader.read("checksum", options.checksum);
  reader.read("verify", options.verify);
  reader.read("force", options.force);
  reader.read("resume", options.resume);
  reader.read("rank", options.part.rank);
  reader.read("world", options.part.world);
  reader.finish();
  return options;
}

VerifyOptions verify_options(const nb::kwargs& values) {
  VerifyOptions options;
  Reader reader(values);
  reader.read("a", options.a);
  reader.read("b", options.b);
  reader.read("threads", options.threads);
  reader.read("max_memory", options.max_memory);
  reader.read_orientation("orientation_a", options.orientation_a);
  reader.read_orientation("orientation_b", options.orientation_b);
  reader.finish();
  return options;
}

VerifyManifestOptions verify_manifest_options(const nb::kwargs& values) {
  VerifyManifestOptions options;
  Reader reader(values);
  reader.read("source", options.source);
  reader.read("threads", options.threads);
  reader.finish();
  return options;
}

SampleOptions sample_options(const nb::kwargs& values) {
  SampleOptions options;
  Reader reader(values);
  SamplePreset preset = SamplePreset::tiny;
  reader.read("destination", options.destination);
  reader.read_name("preset", preset, parse_sample_preset, "tiny, 20b-layer or 120b-layer");
  options.config = sample_config(preset);
  reader.read("layers", options.config.num_hidden_layers);
  reader.read("experts", options.config.num_local_experts);
  reader.read("hidden", options.config.hidden_size);
  reader.read("intermediate", options.config.intermediate_size);
  reader.read("vocab", options.config.vocab_size);
  reader.read("seed", options.seed);
  reader.read_layout("to", options.to);
  reader.read("attn", options.backend.attn);
  reader.read_codec("dtype", options.dtype);
  reader.read("wild", options.wild);
  reader.finish();
  return options;
}

ReaderOptions reader_options(const nb::kwargs& values) {
  ReaderOptions options;
  Reader reader(values);
  reader.read("source", options.source);
  reader.read_layout("layout", options.layout);
  reader.read("attn", options.backend.attn);
  reader.read_codec("dtype", options.dtype);
  reader.read_name("dense_dtype", options.dense_dtype, parse_dense, "bf16, f16 or f32");
  reader.read_orientation("orientation", options.orientation);
  reader.finish();
  return options;
}

WriterOptions writer_options(const nb::kwargs& values) {
  WriterOptions options;
  Reader reader(values);
  reader.read("destination", options.destination);
  reader.read_codec("dtype", options.dtype);
  reader.read_name("dense_dtype", options.dense_dtype, parse_dense, "bf16, f16 or f32");
  reader.read_name("quant_mode", options.quant_mode, parse_quant_mode, "gptoss, ocp, even or best");
  reader.read("reference", options.reference);
  reader.read("config", options.config);
  reader.read("side_files", options.side_files);
  reader.read("max_shard_size", options.max_shard_size);
  reader.read("sync", options.sync);
  reader.read("allow_nonfinite", options.allow_nonfinite);
  reader.read("force", options.force);
  reader.finish();
  return options;
}

}  // namespace mxferry::python
