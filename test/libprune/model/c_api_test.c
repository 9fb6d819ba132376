/* The C interface from C: built as C11, run with a folder to write into. */
#include "libprune/model/c_api.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void require(int holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "c_api_test: %s (last error: %s)\n", what, prune_last_error());
  exit(1);
}

/* [2, 8] in 2:4: 0 5 0 -7  1 0 0 2 and 3 4 0 0  0 0 6 8. */
static const float kDense[16] = {0, 5, 0, -7, 1, 0, 0, 2, 3, 4, 0, 0, 0, 0, 6, 8};
static const float kBias[2] = {0.5f, -1};
static const float kX[20] = {1, 2, 3, 4, 5, 6, 7, 8, 99, 99, -1, 1, -1, 1, -1, 1, -1, 1, 99, 99};

static void write_packed(const char* path, unsigned char first_index) {
  const char* json =
      "{\"__metadata__\":{\"format\":\"pt\",\"prune.version\":\"1\",\"prune.layout\":\"{\\\"w\\\":{"
      "\\\"format\\\":"
      "\\\"nm\\\",\\\"pattern\\\":\\\"2:4\\\",\\\"dtype\\\":\\\"F32\\\",\\\"shape\\\":[2,8]}}\"},"
      "\"w.values\":{\"dtype\":\"F32\",\"shape\":[2,4],\"data_offsets\":[0,32]},"
      "\"w.indices\":{\"dtype\":\"U8\",\"shape\":[2,1],\"data_offsets\":[32,34]}}";
  const float values[8] = {5, -7, 1, 2, 3, 4, 6, 8};
  const unsigned char indices[2] = {first_index, 0xe4};
  unsigned char size[8] = {0};
  FILE* file = fopen(path, "wb");
  require(file != NULL, "fopen");
  for (int i = 0; i < 8; ++i) size[i] = (unsigned char)((uint64_t)strlen(json) >> (8 * i));
  require(fwrite(size, 1, 8, file) == 8 && fwrite(json, 1, strlen(json), file) == strlen(json) &&
              fwrite(values, 4, 8, file) == 8 && fwrite(indices, 1, 2, file) == 2 && fclose(file) == 0,
          "fwrite");
}

static void expect_products(const prune_linear* linear) {
  float y[6] = {77, 77, 77, 77, 77, 77};
  require(prune_linear_out(linear) == 2 && prune_linear_in(linear) == 8, "shape");
  require(prune_linear_bytes(linear) > 0, "bytes");
  require(prune_linear_forward(linear, kX, 10, y, 3, 2) == PRUNE_OK, "forward");
  for (int i = 0; i < 2; ++i) {
    for (int r = 0; r < 2; ++r) {
      float sum = kBias[r];
      for (int k = 0; k < 8; ++k) sum += kX[10 * i + k] * kDense[8 * r + k];
      require(fabsf(y[3 * i + r] - sum) < 1e-4f, "product");
    }
    require(y[3 * i + 2] == 77, "memory between rows of y");
  }
  require(prune_linear_forward(linear, kX, 10, y, 3, 0) == PRUNE_OK, "no rows");
  require(prune_linear_forward(linear, kX, 7, y, 3, 2) == PRUNE_USAGE, "ldx too small");
  require(prune_linear_forward(linear, NULL, 10, y, 3, 2) == PRUNE_USAGE, "x is NULL");
  require(prune_linear_forward(linear, kX, 10, y, 3, -1) == PRUNE_USAGE, "n is negative");
  require(strstr(prune_last_error(), "n is negative") != NULL, "the message of the last error");
}

int main(int argc, char** argv) {
  char path[4096];
  prune_checkpoint* checkpoint = NULL;
  prune_linear* linear = NULL;
  require(argc == 2, "usage: c_api_test FOLDER");
  require(strlen(prune_version()) > 0, "version");

  require(prune_linear_from_dense(kDense, 2, 8, kBias, &linear) == PRUNE_OK, "from_dense");
  expect_products(linear);
  prune_linear_free(linear);
  linear = NULL;
  require(prune_linear_from_dense(kDense, 0, 8, NULL, &linear) == PRUNE_USAGE && linear == NULL, "no rows");

  snprintf(path, sizeof path, "%s/c_api_test.safetensors", argv[1]);
  require(prune_checkpoint_open("/no/such/model", &checkpoint) == PRUNE_REFUSED && checkpoint == NULL,
          "a missing file");
  require(strstr(prune_last_error(), "/no/such/model") != NULL, "the message names the file");

  write_packed(path, 0xcd);
  require(prune_checkpoint_open(path, &checkpoint) == PRUNE_OK, "open");
  require(prune_checkpoint_weights(checkpoint) == 1, "one weight");
  require(strcmp(prune_checkpoint_weight_name(checkpoint, 0), "w") == 0, "its name");
  require(prune_checkpoint_weight_name(checkpoint, 1) == NULL, "no second name");
  require(prune_linear_load(checkpoint, "v", kBias, &linear) == PRUNE_USAGE && linear == NULL,
          "unknown name");
  require(prune_linear_load(checkpoint, "w", kBias, &linear) == PRUNE_OK, "load");
  prune_checkpoint_close(checkpoint);
  checkpoint = NULL;
  expect_products(linear); /* layers outlive the handle they came from */
  prune_linear_free(linear);
  linear = NULL;
  remove(path);

  write_packed(path, 0xc5); /* the first group names column 1 twice */
  require(prune_checkpoint_open(path, &checkpoint) == PRUNE_OK, "open a damaged weight");
  require(prune_linear_load(checkpoint, "w", NULL, &linear) == PRUNE_REFUSED && linear == NULL,
          "a damaged weight");
  require(strstr(prune_last_error(), "does not ascend") != NULL, "the message names the fault");
  prune_checkpoint_close(checkpoint);
  prune_checkpoint_close(NULL);
  prune_linear_free(NULL);
  remove(path);
  return 0;
}
