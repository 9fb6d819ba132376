// How long work tells its caller how far it is. The library itself prints nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string_view>

namespace prune {

// Called from any thread, one call at a time: `done` of `total` bytes are through; `what` is the tensor or
// file in hand.
using Progress = std::function<void(uint64_t done, uint64_t total, std::string_view what)>;

// Adds up the bytes that several threads finish and passes them on one call at a time.
class ProgressCounter {
 public:
  ProgressCounter(const Progress& progress, uint64_t total) : progress_(progress), total_(total) {}
  void add(uint64_t bytes, std::string_view what) {
    if (!progress_) return;
    const std::lock_guard lock(mutex_);
    done_ += bytes;
    progress_(done_, total_, what);
  }

 private:
  const Progress& progress_;
  std::mutex mutex_;
  uint64_t done_ = 0;
  uint64_t total_;
};

}  // namespace prune
