#include "kernels/sparse/buffer.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace prune::kernels {

void Buffer::advise_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] size_t bytes) {
#if defined(__linux__)
  // Only advice: without large pages everything works the same.
  madvise(data, bytes, MADV_HUGEPAGE);
#endif
}

}  // namespace prune::kernels
