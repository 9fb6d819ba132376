// Keeps threads from together holding more memory than was meant.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>

namespace prune {

class MemoryBudget {
 public:
  explicit MemoryBudget(size_t bytes) : free_(bytes), all_(bytes) {}

  // Bytes that its holder may use; given back when it ends.
  class Lease {
   public:
    Lease(MemoryBudget& budget, size_t bytes) : budget_(budget), bytes_(bytes) {}
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    ~Lease() { budget_.give_back(bytes_); }

   private:
    MemoryBudget& budget_;
    size_t bytes_;
  };

  // Waits until the bytes are free. Who wants more than there is gets all of it, alone. A thread that holds a
  // lease must not ask for another: two such threads could wait for each other.
  Lease take(size_t bytes) {
    if (bytes > all_) bytes = all_;
    std::unique_lock lock(mutex_);
    returned_.wait(lock, [&] { return bytes <= free_; });
    free_ -= bytes;
    return {*this, bytes};
  }

 private:
  void give_back(size_t bytes) {
    {
      const std::lock_guard lock(mutex_);
      free_ += bytes;
    }
    returned_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable returned_;
  size_t free_;
  const size_t all_;
};

}  // namespace prune
