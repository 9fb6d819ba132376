// Teams of threads: parts of a batch that share nothing but what they read go forward and back at the same
// time.
//
// All threads at one part after another wait for each other at each of its many loops; a team waits for its
// own threads only. A team is led by a thread of its own, whose OpenMP regions have its share of the threads:
// regions within a region would start theirs anew each time in libgomp.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

namespace prune {

class Teams {
 public:
  // One for each part, at most one for each of the caller's OpenMP threads, which they share out evenly. Each
  // team is to hold `bytes` of its own; all but the first together take kMostBytes at most.
  Teams(int64_t parts, uint64_t bytes);
  static constexpr uint64_t kMostBytes = uint64_t(2) << 30;
  // So many are made of these parts.
  static int64_t count_for(int64_t parts, uint64_t bytes);
  Teams(const Teams&) = delete;
  Teams& operator=(const Teams&) = delete;

  int64_t count() const { return count_; }
  // The parts [first(team), first(team + 1)) of `parts` are a team's.
  int64_t first(int64_t team, int64_t parts) const { return team * parts / count_; }

  // Calls body(team) for each of them and waits for all; body(0) of a single team runs on the calling thread.
  // The first exception is thrown again here. From one thread at a time.
  void run(const std::function<void(int64_t team)>& body);

 private:
  void lead(const std::stop_token& stop, int64_t team, int threads);
  void call(int64_t team);

  int64_t count_;
  std::mutex mutex_;
  std::condition_variable_any begins_, ends_;
  const std::function<void(int64_t)>* body_ = nullptr;
  int64_t round_ = 0;  // how often run() was called
  int64_t at_work_ = 0;
  std::exception_ptr fault_;
  std::vector<std::jthread> leaders_;  // the first to go
};

}  // namespace prune
