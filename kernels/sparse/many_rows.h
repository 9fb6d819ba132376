// The frame of every kernel for many rows of X: X is packed into panels, a batch of columns of X^T wide, and
// threads take chunks of rows of W against a panel as they become free.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/sparse/plan.h"

namespace prune::kernels {

// How a kernel wants X and delivers Y.
struct PanelCode {
  int32_t vector_columns;  // columns come in multiples of this
  int32_t panel_columns;   // row stride of a panel in inputs, and of a tile in floats
  int32_t input_bytes;     // of an input as packed

  // panel[k][c] from x[c * ldx + k], k < depth, c < columns; missing columns of a vector become zero. steps
  // [columns] where there is find_step, else null.
  void (*pack)(const float* x, int64_t ldx, int64_t columns, int64_t depth, const float* steps, void* panel);
  // y[c * ldy + row] = tile[row][c] * scales[row] * steps[c] + bias[row]; scales, steps and bias may be null.
  // The tile is used up.
  void (*store)(float* tile, int64_t rows, int64_t columns, const float* scales, const float* steps,
                const float* bias, float* y, int64_t ldy);
  // For panels of integers: of what a row of X [cols] is packed as multiples. Tiles then hold int32_t.
  float (*find_step)(const float* x, int64_t cols) = nullptr;
  // Of which a panel has a multiple: kernels that take inputs in pairs or fours find zeros behind the last.
  int32_t inputs_together = 4;
  // Not zero: columns lie so many bytes apart, and one alone may be packed. A row of X is then read from end
  // to end, at once for its step and its column.
  int32_t column_bytes = 0;
};

// Inputs up to which products of bytes by int8 add up to 32 bits, whatever they are.
inline constexpr int64_t kMostByteInputs = int64_t{1} << 17;
// Bytes of X are unsigned: this much is added to them, and is taken out of the sums again.
inline constexpr int32_t kByteZero = 128;

// One of the panels that meet the same weights in turn.
struct Panel {
  const void* data;
  int64_t columns;
  int64_t number, count;
};

class ManyRows : public Layout {
 public:
  size_t workspace_bytes(int64_t n, int threads) const final;
  void run(const Batch& batch, int threads, void* workspace) const final;

 protected:
  // Rows of W are worked off in chunks of chunk_rows, the last one shorter. A thread has scratch_bytes of
  // memory for itself, aligned to 64.
  ManyRows(int64_t rows, int64_t cols, int64_t chunk_rows, const PanelCode& code, std::vector<float> scales,
           int64_t scratch_bytes = 0)
      : rows_(rows),
        cols_(cols),
        chunk_rows_(chunk_rows),
        code_(code),
        scales_(std::move(scales)),
        scratch_bytes_(scratch_bytes) {}

  int64_t chunks() const { return (rows_ + chunk_rows_ - 1) / chunk_rows_; }
  size_t frame_bytes() const { return scales_.size() * sizeof(float); }

  // Where a chunk has segments or stages(), a thread multiplies it with several panels, one segment of its
  // inputs after the other. It calls stage() before each, which may rearrange those weights in its scratch
  // memory.
  virtual bool stages() const { return false; }
  virtual int64_t segments() const { return 1; }
  virtual void stage(int64_t /*chunk*/, int64_t /*segment*/, void* /*scratch*/) const {}
  // tile[row][c] = sum_k W[row][k] panel[k][c] for all rows of the chunk, inputs k of the segment and c <
  // panel.columns; segments after the first are added to what is there. Tile rows lie panel_columns apart,
  // and there are chunk_rows of them.
  virtual void multiply(int64_t chunk, int64_t segment, const Panel& panel, float* tile,
                        void* scratch) const = 0;

 private:
  int64_t panel_bytes() const;
  int64_t steps_bytes(int64_t n) const;
  int64_t tile_bytes() const;
  int64_t thread_bytes(int64_t panels) const;
  int64_t panel_width(int64_t n) const;
  int64_t panels_at_once(int64_t n) const;
  void find_steps(const Batch& batch, float* steps) const;
  void pack_rows(const Batch& batch, int64_t first, int64_t end, int64_t width, float* steps,
                 char* panels) const;
  void pack_slabs(const Batch& batch, int64_t first, int64_t count, int64_t width, const float* steps,
                  char* panels) const;
  void pack_slab(const Batch& batch, int64_t column, int64_t k, int64_t width, const float* steps,
                 char* panel) const;
  // The panels of a batch that are packed: `count` of them, of columns from `column` on.
  struct Panels {
    int64_t column, count, width;
    const char* data;
    const float* steps;  // of all rows of the batch, or null
  };
  void multiply_chunk(const Batch& batch, int64_t chunk, const Panels& panels, float* tiles) const;
  void store_chunk(const Batch& batch, int64_t chunk, const Panels& panels, float* tiles) const;
  int64_t panels_together(int64_t count) const;
  int64_t panels_in_turn(int64_t count, int64_t threads) const;
  int64_t tiles_together(int64_t panels) const;

  int64_t rows_;
  int64_t cols_;
  int64_t chunk_rows_;
  const PanelCode& code_;
  std::vector<float> scales_;
  int64_t scratch_bytes_;
};

}  // namespace prune::kernels
