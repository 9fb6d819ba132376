#include "libprune/model/teams.h"

#include <algorithm>
#include <utility>

#include <omp.h>

namespace prune {

int64_t Teams::count_for(int64_t parts, uint64_t bytes) {
  const auto affordable = int64_t(1 + kMostBytes / std::max<uint64_t>(1, bytes));
  return std::clamp<int64_t>(parts, 1, std::min<int64_t>(affordable, omp_get_max_threads()));
}

Teams::Teams(int64_t parts, uint64_t bytes) : count_(count_for(parts, bytes)) {
  if (count_ == 1) return;
  const int64_t threads = omp_get_max_threads();
  for (int64_t team = 0; team < count_; ++team) {
    const int64_t own = first(team + 1, threads) - first(team, threads);
    leaders_.emplace_back([this, team, own](const std::stop_token& stop) { lead(stop, team, int(own)); });
  }
}

void Teams::run(const std::function<void(int64_t)>& body) {
  if (count_ == 1) return body(0);
  std::unique_lock lock(mutex_);
  body_ = &body;
  at_work_ = count_;
  ++round_;
  begins_.notify_all();
  ends_.wait(lock, [&] { return at_work_ == 0; });
  if (fault_) std::rethrow_exception(std::exchange(fault_, nullptr));
}

void Teams::lead(const std::stop_token& stop, int64_t team, int threads) {
  omp_set_num_threads(threads);
  std::unique_lock lock(mutex_);
  for (int64_t seen = 0; begins_.wait(lock, stop, [&] { return round_ != seen; });) {
    seen = round_;
    lock.unlock();
    call(team);
    lock.lock();
    if (--at_work_ == 0) ends_.notify_all();
  }
}

void Teams::call(int64_t team) {
  try {
    (*body_)(team);
  } catch (...) {
    const std::lock_guard lock(mutex_);
    if (!fault_) fault_ = std::current_exception();
  }
}

}  // namespace prune
