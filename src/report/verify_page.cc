#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "mxferry/verify.h"
#include "report/html.h"
#include "report/style.h"
#include "report/svg.h"
#include "report/verify_maps.h"

namespace mxferry {

using namespace internal;

namespace {

constexpr const char* kArrow = "&#8594;";

std::string error_text(double error) {
  return html_text(fmt::format("{:.4g}", error));
}

// ---- The top: the verdict.

struct Status {
  const char* state;  // a class of the style
  const char* words;
};

Status status(const VerifyReport& report) {
  if (std::ranges::any_of(report.parameters, &ComparedParameter::transposed))
    return {"bad", "&#10007; Transposed weights"};
  if (std::ranges::any_of(report.parameters, &ComparedParameter::halves))
    return {"bad", "&#10007; Gate and up as halves"};
  if (!report.only_a.empty() || !report.only_b.empty() || !report.mismatched.empty())
    return {"bad", "&#10007; Structure differs"};
  if (report.identical()) return {"good", "&#10003; Identical values"};
  return {"warn", "&#8800; Values differ"};
}

std::string codecs_of_experts(const VerifyReport& report, std::string ComparedParameter::* codec) {
  std::set<std::string> codecs;
  for (const ComparedParameter& parameter : report.parameters)
    if (!parameter.experts.empty()) codecs.insert(parameter.*codec);
  return codecs.empty() ? "" : fmt::format(", experts in {}", fmt::join(codecs, ", "));
}

void append_number(std::string& out, const char* what, const std::string& value,
                   const std::string& more) {
  append(out, "<div><dt>{}</dt><dd>{}", what, value);
  if (!more.empty()) append(out, " <small>{}</small>", more);
  out += "</dd></div>\n";
}

void append_numbers(std::string& out, const VerifyReport& report) {
  const Difference& total = report.total;
  const auto same = std::ranges::count_if(report.parameters, &ComparedParameter::bytes_identical);
  out += "<dl class=\"numbers\">\n";
  append_number(out, "Weights that differ", percent(total.different, total.weights),
                count_of(total.different, total.weights));
  append_number(out, "SQNR", sqnr_text(total), "of all weights");
  if (total.blocks > 0) {
    append_number(out, "Blocks changed", percent(total.blocks_changed, total.blocks),
                  count_of(total.blocks_changed, total.blocks));
    append_number(out, "Blocks saturated", percent(total.blocks_saturated, total.blocks),
                  count_of(total.blocks_saturated, total.blocks));
  }
  append_number(out, "Largest absolute error", error_text(total.max_absolute_error), "");
  append_number(out, "Largest relative error", error_text(total.max_relative_error), "");
  append_number(out, "Zeros of other sign", grouped(total.zero_signs), "counted as equal");
  append_number(
      out, "Parameters compared", grouped(report.parameters.size()),
      fmt::format("{} byte for byte the same", grouped(static_cast<std::uint64_t>(same))));
  append_number(out, "Read", human_bytes(report.bytes_read), "in " + human_seconds(report.seconds));
  out += "</dl>\n";
}

void append_top(std::string& out, const VerifyReport& report) {
  const Status found = status(report);
  append(out, "<header class=\"{}\">\n<p>mxferry verify</p>\n<p class=\"status\">{}</p>\n",
         found.state, found.words);
  append(out, "<h1>{}</h1>\n<dl class=\"sides\">\n", html_text(report.verdict()));
  const auto append_side = [&](char side, const std::filesystem::path& path, Layout layout,
                               std::string ComparedParameter::* codec) {
    append(out, "<div><dt>{}: {} layout{}</dt><dd>{}</dd></div>\n", side, html_text(name(layout)),
           html_text(codecs_of_experts(report, codec)), html_name(path.string()));
  };
  append_side('A', report.a, report.layout_a, &ComparedParameter::codec_a);
  append_side('B', report.b, report.layout_b, &ComparedParameter::codec_b);
  out += "</dl>\n";
  append_numbers(out, report);
  out += "</header>\n";
}

// ---- Differences that are not a matter of precision.

constexpr std::size_t kMostNames = 50;
constexpr std::size_t kFewNames = 12;  // up to this many are shown expanded

// Appends a list; `items` are HTML.
void append_names(std::string& out, const std::string& title, const std::vector<std::string>& items,
                  bool open = false) {
  if (items.empty()) return;
  append(out, "<details{}><summary>{}</summary>\n<ul>\n",
         open || items.size() <= kFewNames ? " open" : "", title);
  for (std::size_t i = 0; i < std::min(items.size(), kMostNames); ++i)
    append(out, "<li>{}</li>\n", items[i]);
  if (items.size() > kMostNames)
    append(out, "<li>and {} more</li>\n", grouped(items.size() - kMostNames));
  out += "</ul>\n</details>\n";
}

void append_transposed(std::string& out, const VerifyReport& report) {
  std::vector<std::string> items;
  for (const ComparedParameter& parameter : report.parameters)
    if (parameter.transposed) items.push_back(html_name(parameter.tensor_b));
  if (items.empty()) return;
  out +=
      "<section class=\"alert bad\">\n<h2>Transposed</h2>\n"
      "<p>Rows and columns of these matrices are exchanged in B. A model that loads them runs, "
      "and says nonsense.</p>\n";
  append_names(out, plural(items.size(), "parameter") + " transposed", items, true);
  out += "</section>\n";
}

void append_structure(std::string& out, const VerifyReport& report) {
  if (report.only_a.empty() && report.only_b.empty() && report.mismatched.empty()) return;
  const auto html = [](const std::vector<std::string>& texts, bool names) {
    std::vector<std::string> items;
    items.reserve(texts.size());
    for (const std::string& text : texts)
      items.push_back(names ? html_name(text) : html_text(text));
    return items;
  };
  out += "<section class=\"alert\">\n<h2>Not compared</h2>\n";
  append_names(out, plural(report.mismatched.size(), "parameter") + " of different shapes",
               html(report.mismatched, false));
  append_names(out, plural(report.only_a.size(), "tensor") + " only in A",
               html(report.only_a, true));
  append_names(out, plural(report.only_b.size(), "tensor") + " only in B",
               html(report.only_b, true));
  out += "</section>\n";
}

// ---- The worst parameters, one by one.

constexpr std::size_t kMostWorst = 20;

// Sorted by SQNR, lowest first.
std::vector<const ComparedParameter*> worst_parameters(const VerifyReport& report) {
  std::vector<const ComparedParameter*> worst;
  for (const ComparedParameter& parameter : report.parameters)
    if (parameter.total.different > 0) worst.push_back(&parameter);
  std::ranges::stable_sort(worst, {}, [](const ComparedParameter* parameter) {
    return parameter->total.ranked_sqnr_db();
  });
  if (worst.size() > kMostWorst) worst.resize(kMostWorst);
  return worst;
}

std::string place_text(const ComparedParameter& parameter) {
  const WeightPair& worst = *parameter.worst;
  if (parameter.shape.size() < 2) return fmt::format("element {}", worst.column);
  if (parameter.shape.size() == 2) return fmt::format("row {}, column {}", worst.row, worst.column);
  return fmt::format("expert {}, row {}, column {}", worst.expert, worst.row, worst.column);
}

std::string pair_text(const WeightPair& pair) {
  return fmt::format("{:.6g} {} {:.6g}", pair.a, kArrow, pair.b);
}

std::string name_cell(const ComparedParameter& parameter) {
  std::string out = html_name(parameter.tensor_b);
  if (parameter.tensor_a != parameter.tensor_b)
    out += "<br>" + html_name(parameter.tensor_a) + " in A";
  if (parameter.transposed) out += "<strong class=\"flag\">transposed</strong>";
  if (parameter.halves) out += "<strong class=\"flag\">halves</strong>";
  return out;
}

void append_worst_row(std::string& out, const ComparedParameter& parameter) {
  const Difference& total = parameter.total;
  const auto append_cell = [&](const std::string& label, const std::string& value) {
    append(out, "<td class=\"number\" data-label=\"{}\">{}</td>", label, value);
  };
  append(out, "<tr><th scope=\"row\">{}</th>", name_cell(parameter));
  append_cell("Codecs", fmt::format("{} {} {}", html_text(parameter.codec_a), kArrow,
                                    html_text(parameter.codec_b)));
  append_cell("SQNR", sqnr_text(total));
  append_cell("Weights that differ", percent(total.different, total.weights));
  append_cell("Largest error", error_text(total.max_absolute_error));
  append_cell("Where", parameter.worst ? place_text(parameter) : "-");
  append_cell("A &#8594; B there", parameter.worst ? pair_text(*parameter.worst) : "-");
  out += "</tr>\n";
}

void append_worst(std::string& out, const VerifyReport& report) {
  const std::vector<const ComparedParameter*> worst = worst_parameters(report);
  if (worst.empty()) return;
  const auto different = std::ranges::count_if(
      report.parameters, [](const auto& parameter) { return parameter.total.different > 0; });
  append(out,
         "<section>\n<h2>Worst tensors</h2>\n<p class=\"soft\">{} of {} that differ, lowest SQNR "
         "first.</p>\n<table class=\"cards\">\n<thead><tr>",
         worst.size(), different);
  for (const char* column : {"Tensor", "Codecs", "SQNR", "Weights that differ", "Largest error",
                             "Where", "A &#8594; B there"})
    append(out, "<th scope=\"col\">{}</th>", column);
  out += "</tr></thead>\n<tbody>\n";
  for (const ComparedParameter* parameter : worst) append_worst_row(out, *parameter);
  out += "</tbody>\n</table>\n</section>\n";
}

// ---- Scales.

void append_scale_table(std::string& out, const VerifyReport& report) {
  out +=
      "<details><summary>Numbers</summary>\n<table>\n<thead><tr><th scope=\"col\">Scale</th>"
      "<th scope=\"col\">Byte</th><th scope=\"col\">Blocks of A</th><th scope=\"col\">Blocks of B"
      "</th></tr></thead>\n<tbody>\n";
  for (std::size_t scale = 0; scale < report.scales_b.size(); ++scale) {
    if (report.scales_a[scale] == 0 && report.scales_b[scale] == 0) continue;
    append(out, "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td></tr>\n",
           scale_html(scale), scale, grouped(report.scales_a[scale]),
           grouped(report.scales_b[scale]));
  }
  out += "</tbody>\n</table>\n</details>\n";
}

void append_scales(std::string& out, const VerifyReport& report) {
  const std::string histogram = scale_histogram(report.scales_a, report.scales_b);
  if (histogram.empty()) return;
  const auto used = [](const std::array<std::uint64_t, 256>& scales) {
    return std::ranges::any_of(scales, [](std::uint64_t count) { return count > 0; });
  };
  append(out,
         "<section>\n<h2>Scales</h2>\n<p class=\"soft\">Blocks by their E8M0 scale; the axis is "
         "logarithmic.{}</p>\n<figure>\n{}<ul class=\"legend\">\n",
         report.scales_a == report.scales_b ? " A and B have the same." : "", histogram);
  if (used(report.scales_a)) out += "<li><span class=\"key ha\"></span>A</li>\n";
  if (used(report.scales_b)) out += "<li><span class=\"key hb\"></span>B</li>\n";
  out += "</ul>\n</figure>\n";
  append_scale_table(out, report);
  out += "</section>\n";
}

constexpr std::string_view kWords = R"(<section>
<h2>Words</h2>
<dl class="words">
<dt>SQNR</dt><dd>10 log<sub>10</sub> of the sum of a<sup>2</sup> over the sum of
(b - a)<sup>2</sup>: the higher, the closer is B to A. Weights that are not finite do not
count.</dd>
<dt>Block</dt><dd>32 neighbouring weights of an expert that share one scale.</dd>
<dt>Saturated</dt><dd>A weight of A lies beyond 6 times the scale of its block in B, the largest
that MXFP4 can hold there.</dd>
</dl>
</section>
)";

constexpr std::string_view kHead = R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>mxferry verify</title>
<style>)";

}  // namespace

std::string html_report(const VerifyReport& report) {
  std::string out(kHead);
  out += kHtmlStyle;
  out += "</style>\n</head>\n<body>\n<main>\n";
  append_top(out, report);
  append_transposed(out, report);
  append_structure(out, report);
  if (report.total.different == 0 && !report.parameters.empty())
    out +=
        "<section><p>No weight that both sides have differs, so there is no map to "
        "draw.</p></section>\n";
  else
    out += expert_maps(report) + other_maps(report);
  append_worst(out, report);
  append_scales(out, report);
  out += kWords;
  return out + "</main>\n</body>\n</html>\n";
}

}  // namespace mxferry
