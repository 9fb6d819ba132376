#include "kernels/sparse/many_rows.h"

#include <algorithm>

#include "kernels/sparse/buffer.h"
#include "kernels/sparse/threads.h"

namespace prune::kernels {
namespace {

// Panels packed at a time: enough to amortise a barrier, little enough to stay in a shared cache.
constexpr int64_t kPanelBudget = int64_t{8} << 20;
// Inputs packed per unit of parallel work: a multiple of PanelCode::inputs_together.
constexpr int64_t kPackDepth = 256;
// Panels that share a segment of a chunk, and the bytes of their tiles, which stay in the second-level cache
// beside it. What is staged for a batch pays for itself with many panels, whatever they are.
constexpr int64_t kPanelsTogether = 4, kTilesTogether = int64_t{256} << 10;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

}  // namespace

int64_t ManyRows::panel_bytes() const {
  return round_up(round_up(cols_, code_.inputs_together) * code_.panel_columns * code_.input_bytes,
                  Buffer::kAlignment);
}

int64_t ManyRows::steps_bytes(int64_t n) const {
  return code_.find_step == nullptr ? 0 : round_up(n * int64_t{sizeof(float)}, Buffer::kAlignment);
}

int64_t ManyRows::tile_bytes() const { return chunk_rows_ * code_.panel_columns * int64_t{sizeof(float)}; }

// Tiles and the scratch memory behind them.
int64_t ManyRows::thread_bytes(int64_t panels) const {
  return tiles_together(panels) * tile_bytes() + round_up(scratch_bytes_, Buffer::kAlignment);
}

int64_t ManyRows::panels_together(int64_t count) const {
  if (stages()) return std::min(count, kPanelsTogether);
  const int64_t fit = std::clamp<int64_t>(kTilesTogether / tile_bytes(), 1, kPanelsTogether);
  return segments() > 1 ? std::min(count, fit) : 1;
}

// What is staged in one segment meets as many as leave each thread some pieces of work: no tile waits.
int64_t ManyRows::panels_in_turn(int64_t count, int64_t threads) const {
  constexpr int64_t kPiecesPerThread = 4;
  if (!stages() || segments() > 1) return panels_together(count);
  int64_t together = count;
  while (together > kPanelsTogether && chunks() * divide_up(count, together) < kPiecesPerThread * threads)
    together = std::max(kPanelsTogether, together / 2);
  return together;
}

// A panel that is done after one segment leaves its tile to the next.
int64_t ManyRows::tiles_together(int64_t panels) const {
  return segments() == 1 ? 1 : panels_together(panels);
}

// As few panels as the kernel allows, of nearly equal width.
int64_t ManyRows::panel_width(int64_t n) const {
  const int64_t panels = divide_up(n, code_.panel_columns);
  return std::min<int64_t>(round_up(divide_up(n, panels), code_.vector_columns), code_.panel_columns);
}

int64_t ManyRows::panels_at_once(int64_t n) const {
  const int64_t fit = std::max<int64_t>(1, kPanelBudget / std::max<int64_t>(1, panel_bytes()));
  return std::min(fit, divide_up(n, panel_width(n)));
}

size_t ManyRows::workspace_bytes(int64_t n, int threads) const {
  const int64_t at_once = panels_at_once(n);
  return static_cast<size_t>(steps_bytes(n) + at_once * panel_bytes() + threads * thread_bytes(at_once));
}

void ManyRows::run(const Batch& batch, int threads, void* workspace) const {
  float* steps = code_.find_step == nullptr ? nullptr : static_cast<float*>(workspace);
  char* panels = static_cast<char*>(workspace) + steps_bytes(batch.n);
  const int64_t at_once = panels_at_once(batch.n), width = panel_width(batch.n);
  const int64_t together = panels_in_turn(at_once, threads);
  char* tiles = panels + at_once * panel_bytes();
  const int64_t chunks = this->chunks();
#pragma omp parallel num_threads(threads)
  {
    float* own_tiles = reinterpret_cast<float*>(tiles + thread_index() * thread_bytes(at_once));
    if (steps != nullptr && code_.column_bytes == 0) find_steps(batch, steps);
    for (int64_t c0 = 0; c0 < batch.n; c0 += at_once * width) {
      const int64_t count = std::min(at_once, divide_up(batch.n - c0, width));
      if (code_.column_bytes != 0)
        pack_rows(batch, c0, std::min(c0 + count * width, batch.n), width, steps, panels);
      else
        pack_slabs(batch, c0, count, width, steps, panels);
      // Chunks differ in cost and cores in speed, so threads take the next chunk when they are free. All
      // panels meet a chunk while its weights are in a cache.
      const int64_t groups = divide_up(count, together), turns = divide_up(chunks, team_size());
#pragma omp for schedule(dynamic)
      for (int64_t i = 0; i < groups * turns * team_size(); ++i) {
        // In turn from as many shares of the chunks as there are threads: where chunks meet, so do their
        // lines of Y, which two threads would take from each other.
        const int64_t chunk = i / groups % team_size() * turns + i / groups / team_size();
        if (chunk >= chunks) continue;
        const int64_t first = i % groups * together;
        multiply_chunk(batch, chunk,
                       {c0 + first * width, std::min(together, count - first), width,
                        panels + first * panel_bytes(), steps},
                       own_tiles);
      }
    }
  }
}

// By the threads of the region that calls.
void ManyRows::find_steps(const Batch& batch, float* steps) const {
#pragma omp for schedule(static)
  for (int64_t i = 0; i < batch.n; ++i) steps[i] = code_.find_step(batch.x + i * batch.ldx, cols_);
}

// The rows [first, end) of a batch, into panels from the first on; by the threads of the region that calls.
void ManyRows::pack_rows(const Batch& batch, int64_t first, int64_t end, int64_t width, float* steps,
                         char* panels) const {
#pragma omp for schedule(static)
  for (int64_t i = first; i < end; ++i) {
    const float* x = batch.x + i * batch.ldx;
    float* step = steps == nullptr ? nullptr : steps + i;
    if (step != nullptr) *step = code_.find_step(x, cols_);
    char* panel = panels + (i - first) / width * panel_bytes();
    code_.pack(x, batch.ldx, 1, cols_, step, panel + (i - first) % width * code_.column_bytes);
  }
}

// `count` panels, of rows from `first` on; by the threads of the region that calls.
void ManyRows::pack_slabs(const Batch& batch, int64_t first, int64_t count, int64_t width, const float* steps,
                          char* panels) const {
  const int64_t slabs = divide_up(cols_, kPackDepth);
#pragma omp for schedule(static)
  for (int64_t i = 0; i < count * slabs; ++i) {
    pack_slab(batch, first + i / slabs * width, i % slabs * kPackDepth, width, steps,
              panels + i / slabs * panel_bytes());
  }
}

void ManyRows::pack_slab(const Batch& batch, int64_t column, int64_t k, int64_t width, const float* steps,
                         char* panel) const {
  code_.pack(batch.x + column * batch.ldx + k, batch.ldx, std::min(width, batch.n - column),
             std::min(kPackDepth, cols_ - k), steps == nullptr ? nullptr : steps + column,
             panel + k * code_.panel_columns * code_.input_bytes);
}

void ManyRows::multiply_chunk(const Batch& batch, int64_t chunk, const Panels& panels, float* tiles) const {
  const int64_t tile = tile_bytes() / int64_t{sizeof(float)};
  void* scratch = tiles + tiles_together(panels_at_once(batch.n)) * tile;
  const bool at_once = segments() == 1;
  for (int64_t segment = 0; segment < segments(); ++segment) {
    if (stages()) stage(chunk, segment, scratch);
    for (int64_t p = 0; p < panels.count; ++p) {
      const Panels one{panels.column + p * panels.width, 1, panels.width, panels.data + p * panel_bytes(),
                       panels.steps};
      float* sums = at_once ? tiles : tiles + p * tile;
      multiply(chunk, segment, {one.data, std::min(one.width, batch.n - one.column), p, panels.count}, sums,
               scratch);
      if (at_once) store_chunk(batch, chunk, one, sums);
    }
  }
  if (!at_once) store_chunk(batch, chunk, panels, tiles);
}

void ManyRows::store_chunk(const Batch& batch, int64_t chunk, const Panels& panels, float* tiles) const {
  const int64_t row = chunk * chunk_rows_;
  for (int64_t p = 0; p < panels.count; ++p, tiles += tile_bytes() / int64_t{sizeof(float)}) {
    const int64_t column = panels.column + p * panels.width;
    code_.store(tiles, std::min(chunk_rows_, rows_ - row), std::min(panels.width, batch.n - column),
                scales_.empty() ? nullptr : scales_.data() + row,
                panels.steps == nullptr ? nullptr : panels.steps + column,
                batch.bias == nullptr ? nullptr : batch.bias + row, batch.y + column * batch.ldy + row,
                batch.ldy);
  }
}

}  // namespace prune::kernels
