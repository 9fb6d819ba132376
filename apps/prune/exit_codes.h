// The program's exit codes: part of its interface, see docs/cli.md.
#pragma once

namespace prune::app {

inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;    // while running: disk, memory, permission
inline constexpr int kUsage = 2;     // the command line
inline constexpr int kRefused = 3;   // the input
inline constexpr int kMismatch = 4;  // verify found one; bench --compare a regression
inline constexpr int kInterrupted = 130;

}  // namespace prune::app
