// A pruning report as one page that needs nothing else.
#pragma once

#include <string>

#include <prune/report.h>

namespace prune::app {

std::string html_report(const PruneReport& report);

// As JSON, or as a page where the path ends in .html. Throws Error(kRuntime), which says that the model is in
// place all the same.
void write_report(const std::string& path, const PruneReport& report);

}  // namespace prune::app
