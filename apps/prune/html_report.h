// A pruning report as one page that needs nothing else.
#pragma once

#include <string>

#include <prune/report.h>

namespace prune::app {

std::string html_report(const PruneReport& report);

}  // namespace prune::app
