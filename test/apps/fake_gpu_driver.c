/* A driver with one GPU, or with a fault: what PRUNE_FAKE_GPU says. Loaded in place of libcuda.so.1. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static int is(const char* word) {
  const char* value = getenv("PRUNE_FAKE_GPU");
  return value != NULL && strcmp(value, word) == 0;
}

int cuDriverGetVersion(int* version) {
  *version = is("old") ? 12040 : 13000;
  return 0;
}
int cuInit(unsigned flags) {
  (void)flags;
  return is("none") ? 100 : is("broken") ? 802 : 0;
}
int cuDeviceGetCount(int* count) {
  *count = 1;
  return 0;
}
int cuDeviceGetName(char* name, int length, int device) {
  (void)device;
  strncpy(name, "Imaginary 100", (size_t)length);
  return 0;
}
int cuDeviceGetAttribute(int* value, int attribute, int device) {
  (void)device;
  *value = attribute == 16 ? 132 : attribute == 75 ? 9 : attribute == 76 ? 0 : -1;
  return 0;
}
int cuDeviceTotalMem_v2(size_t* bytes, int device) {
  (void)device;
  *bytes = 80000000000u;
  return 0;
}
