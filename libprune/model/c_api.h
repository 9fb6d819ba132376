/* Pruned linear layers for programs that are not C++: opaque handles, no exception crosses.
 *
 * Every function that can fail gives a prune_status, and leaves its outputs alone where that is not PRUNE_OK;
 * prune_last_error() then says what, where and what to do, in one line of UTF-8. Handles may be used by
 * several threads at once, but for their own close or free. Pointers must not be NULL unless it says so.
 */
#ifndef PRUNE_C_API_H
#define PRUNE_C_API_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Names as C has them. NOLINTBEGIN(readability-identifier-naming) */
typedef enum prune_status {
  PRUNE_OK = 0,
  PRUNE_FAILED = 1, /* the machine: out of memory, a disk, a library */
  PRUNE_USAGE = 2,  /* the call: an argument that can't be meant */
  PRUNE_REFUSED = 3 /* the data: a file or a weight that is damaged or not supported */
} prune_status;
/* NOLINTEND(readability-identifier-naming) */

typedef struct prune_checkpoint prune_checkpoint; /* a packed checkpoint, mapped */
typedef struct prune_linear prune_linear;         /* a layer, laid out for this machine */

/* Of the calling thread's last function that failed, "" before. Valid until its next call. */
const char* prune_last_error(void);

/* "0.1.0" */
const char* prune_version(void);

/* path: a packed Hugging Face folder or .safetensors file. Layers stay valid after the close. */
prune_status prune_checkpoint_open(const char* path, prune_checkpoint** checkpoint);
void prune_checkpoint_close(prune_checkpoint* checkpoint); /* NULL: nothing */

/* Packed weights; their names, "model.layers.0.mlp.up_proj.weight", in the order of the files, valid until
 * the close. NULL for an index that is out of range. */
size_t prune_checkpoint_weights(const prune_checkpoint* checkpoint);
const char* prune_checkpoint_weight_name(const prune_checkpoint* checkpoint, size_t index);

/* A packed weight of the checkpoint; bias: [out] floats, copied, or NULL. The first layer of a kind may
 * measure for a few hundred milliseconds which way is faster on this machine; the result is kept in the
 * user's cache. */
prune_status prune_linear_load(const prune_checkpoint* checkpoint, const char* weight_name, const float* bias,
                               prune_linear** linear);

/* weights: [out, in] floats, row-major, with zeros in place; copied in the packed format that is the
 * smallest, or dense where few are zero and dense is faster. Measures as prune_linear_load() does. */
prune_status prune_linear_from_dense(const float* weights, int64_t out, int64_t in, const float* bias,
                                     prune_linear** linear);
void prune_linear_free(prune_linear* linear); /* NULL: nothing */

int64_t prune_linear_out(const prune_linear* linear);
int64_t prune_linear_in(const prune_linear* linear);
size_t prune_linear_bytes(const prune_linear* linear); /* memory that it holds */

/* y[i * ldy + r] = sum_k x[i * ldx + k] W[r][k] + bias[r] for i < n, r < out. ldx >= in, ldy >= out; Y must
 * not overlap X. n = 0 is no work. */
prune_status prune_linear_forward(const prune_linear* linear, const float* x, int64_t ldx, float* y,
                                  int64_t ldy, int64_t n);

#ifdef __cplusplus
}
#endif

#endif /* PRUNE_C_API_H */
