#pragma once

#include <nlohmann/json.hpp>

#include "mxferry/convert.h"

namespace mxferry::cli {

// The output of `mxferry convert` on a plan and on its result, as text and as JSON.
void print_plan(const ConvertPlan& plan, const ConvertOptions& options);
nlohmann::ordered_json plan_json(const ConvertPlan& plan, bool with_tensors);

void print_summary(const ConvertReport& report, const ConvertOptions& options);
nlohmann::ordered_json report_json(const ConvertReport& report);

// Warnings, to stderr.
void print_notes(const ConvertPlan& plan);

}  // namespace mxferry::cli
