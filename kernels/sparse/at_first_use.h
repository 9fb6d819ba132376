// A layout that reads nothing of the weights until it runs: a model whose weights lie in a mapped file is
// then ready without a page of them.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <utility>

#include "kernels/sparse/plan.h"

namespace prune::kernels {

// Make: the layout in place, as std::unique_ptr<const Layout>. It reads frames: scales of rows, offsets, how
// much work rows are.
template <class Make>
class AtFirstUse final : public Layout {
 public:
  AtFirstUse(const char* name, Make make) : name_(name), make_(std::move(make)) {}

  const char* kernel_name() const override { return name_; }
  size_t bytes() const override { return made().bytes(); }
  size_t own_bytes() const override {
    const Layout* layout = made_.load(std::memory_order_acquire);
    return layout == nullptr ? 0 : layout->own_bytes();
  }
  bool is_in_place() const override { return true; }
  size_t workspace_bytes(int64_t n, int threads) const override { return made().workspace_bytes(n, threads); }
  void run(const Batch& batch, int threads, void* workspace) const override {
    made().run(batch, threads, workspace);
  }

 private:
  const Layout& made() const {
    if (const Layout* layout = made_.load(std::memory_order_acquire)) return *layout;
    const std::lock_guard lock(mutex_);
    if (layout_ == nullptr) layout_ = make_();
    made_.store(layout_.get(), std::memory_order_release);
    return *layout_;
  }

  const char* name_;
  Make make_;
  mutable std::mutex mutex_;
  mutable std::unique_ptr<const Layout> layout_;
  mutable std::atomic<const Layout*> made_ = nullptr;
};

template <class Make>
std::unique_ptr<const Layout> at_first_use(const char* name, Make make) {
  return std::make_unique<AtFirstUse<Make>>(name, std::move(make));
}

}  // namespace prune::kernels
