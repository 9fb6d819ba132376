#include "libprune/model/c_api.h"

#include <exception>
#include <memory>
#include <new>
#include <string>

#include <prune/error.h>
#include <prune/mask.h>

#include "libprune/io/text.h"
#include "libprune/model/sparse_linear.h"

namespace {

struct OpenCheckpoint {
  explicit OpenCheckpoint(const char* path) : checkpoint(path), packed(checkpoint) {}
  prune::Checkpoint checkpoint;
  prune::PackedCheckpoint packed;
};

}  // namespace

struct prune_checkpoint {
  std::shared_ptr<const OpenCheckpoint> open;
};

struct prune_linear {
  std::shared_ptr<const OpenCheckpoint> open;  // what the layer reads from, if anything
  prune::SparseLinear layer;
};

namespace {

std::string& last_error() {
  thread_local std::string message;
  return message;
}

prune_status fail(prune_status status, const char* message) noexcept {
  try {
    last_error() = message;
  } catch (...) {  // no memory for the message: the status must do
    last_error().clear();
  }
  return status;
}

prune_status status_of(prune::ErrorKind kind) {
  switch (kind) {
    case prune::ErrorKind::kUsage:
      return PRUNE_USAGE;
    case prune::ErrorKind::kInput:
      return PRUNE_REFUSED;
    case prune::ErrorKind::kRuntime:
      break;
  }
  return PRUNE_FAILED;
}

template <class Body>
prune_status guarded(Body&& body) noexcept {
  try {
    body();
    return PRUNE_OK;
  } catch (const prune::Error& error) {
    return fail(status_of(error.kind()), error.what());
  } catch (const std::bad_alloc&) {
    return fail(PRUNE_FAILED, "out of memory");
  } catch (const std::exception& error) {
    return fail(PRUNE_FAILED, error.what());
  } catch (...) {
    return fail(PRUNE_FAILED, "unknown failure");
  }
}

void require(bool holds, const char* what) {
  if (!holds) prune::throw_usage(what);
}

}  // namespace

const char* prune_last_error(void) { return last_error().c_str(); }

const char* prune_version(void) { return PRUNE_VERSION; }

prune_status prune_checkpoint_open(const char* path, prune_checkpoint** checkpoint) {
  return guarded([&] {
    require(path != nullptr && checkpoint != nullptr, "prune_checkpoint_open: an argument is NULL");
    auto opened = std::make_unique<prune_checkpoint>();
    opened->open = std::make_shared<const OpenCheckpoint>(path);
    if (!prune::PackedCheckpoint::is_packed(opened->open->checkpoint))
      prune::throw_input(prune::shown(path) + ": is not packed; 'prune pack' it first");
    *checkpoint = opened.release();
  });
}

void prune_checkpoint_close(prune_checkpoint* checkpoint) { delete checkpoint; }

size_t prune_checkpoint_weights(const prune_checkpoint* checkpoint) {
  return checkpoint->open->packed.weights().size();
}

const char* prune_checkpoint_weight_name(const prune_checkpoint* checkpoint, size_t index) {
  const auto& weights = checkpoint->open->packed.weights();
  return index < weights.size() ? weights[index].tensor.c_str() : nullptr;
}

prune_status prune_linear_load(const prune_checkpoint* checkpoint, const char* weight_name, const float* bias,
                               prune_linear** linear) {
  return guarded([&] {
    require(checkpoint != nullptr && weight_name != nullptr && linear != nullptr,
            "prune_linear_load: an argument is NULL");
    const prune::PackedCheckpoint& packed = checkpoint->open->packed;
    const prune::PackedWeight* weight = packed.find(weight_name);
    if (weight == nullptr) prune::throw_usage("no packed weight is called " + prune::quote_name(weight_name));
    *linear = new prune_linear{checkpoint->open, prune::SparseLinear(packed, *weight, bias)};
  });
}

prune_status prune_linear_from_dense(const float* weights, int64_t out, int64_t in, const float* bias,
                                     prune_linear** linear) {
  return guarded([&] {
    require(weights != nullptr && linear != nullptr, "prune_linear_from_dense: an argument is NULL");
    require(out > 0 && in > 0, "prune_linear_from_dense: out and in must be above 0");
    const auto dense = prune::view(weights, out, in);
    *linear = new prune_linear{nullptr, prune::SparseLinear(dense, prune::nonzero_mask(dense), bias)};
  });
}

void prune_linear_free(prune_linear* linear) { delete linear; }

int64_t prune_linear_out(const prune_linear* linear) { return linear->layer.out(); }
int64_t prune_linear_in(const prune_linear* linear) { return linear->layer.in(); }
size_t prune_linear_bytes(const prune_linear* linear) { return linear->layer.bytes(); }

prune_status prune_linear_forward(const prune_linear* linear, const float* x, int64_t ldx, float* y,
                                  int64_t ldy, int64_t n) {
  return guarded([&] {
    require(linear != nullptr, "prune_linear_forward: the layer is NULL");
    require(n >= 0, "prune_linear_forward: n is negative");
    require(n == 0 || (x != nullptr && y != nullptr), "prune_linear_forward: x or y is NULL");
    require(n <= 1 || (ldx >= linear->layer.in() && ldy >= linear->layer.out()),
            "prune_linear_forward: rows overlap, ldx is below in or ldy below out");
    linear->layer.forward(x, ldx, y, ldy, n);
  });
}
