#pragma once

#include <algorithm>
#include <chrono>
#include <vector>

// Measuring on a machine that is not alone: a result is only ever the ratio of two things that ran
// right after one another, and the median over many such pairs.
namespace mxferry::internal::bench {

struct Paired {
  double ratio;            // median of reference time / subject time: above 1 the subject is faster
  double subject_seconds;  // median
  double reference_seconds;  // median
};

template <typename Body>
double seconds(const Body& body) {
  const auto begin = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Runs both once unmeasured, so that all memory has been touched, then `pairs` times, in
// alternating order.
template <typename Subject, typename Reference>
Paired run_paired(int pairs, const Subject& subject, const Reference& reference) {
  std::vector<double> ratios, subject_times, reference_times;
  reference();
  subject();
  for (int pair = 0; pair < pairs; ++pair) {
    double subject_time = 0;
    double reference_time = 0;
    if (pair % 2 == 0) {
      subject_time = seconds(subject);
      reference_time = seconds(reference);
    } else {
      reference_time = seconds(reference);
      subject_time = seconds(subject);
    }
    ratios.push_back(reference_time / subject_time);
    subject_times.push_back(subject_time);
    reference_times.push_back(reference_time);
  }
  return {median(ratios), median(subject_times), median(reference_times)};
}

}  // namespace mxferry::internal::bench
