// Runs of benchmark programs as one page that needs nothing else.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "libprune/io/benchmark_file.h"

namespace prune::app {

// The page of bench/dashboard/, before and after the place of its data; made by
// bench/dashboard/assemble.cmake.
extern const std::string_view kPageBeforeData;
extern const std::string_view kPageAfterData;

// The runs in any order; the page sorts them by date. Names and labels may hold anything: they reach the page
// as JSON in which no '<' is left, and its script treats them as text. Names of hosts, folders and programs
// stay out of it.
std::string dashboard_page(const std::vector<BenchmarkRun>& runs);

}  // namespace prune::app
