// Values to classes: the twin of simmim-cpu/src/classes.rs.
#include "device.cuh"

constexpr float EDGE = 1e-3f;  // of the width of a bin

KERNEL(THREADS, quantise, (const float *values, unsigned *classes, size_t n, unsigned n_bins)) {
  size_t i = size_t(blockIdx.x) * THREADS + threadIdx.x;
  if (i >= n) return;
  float place = floorf(values[i] * float(n_bins) + EDGE);
  // What is below 0, or no number, is in the first bin.
  classes[i] = place > 0.f ? (place < float(n_bins) ? unsigned(place) : n_bins - 1) : 0;
}

// The least of a value over the lanes of a warp, and where it is; of several the first.
__device__ __forceinline__ unsigned first_least(float value, unsigned at) {
#pragma unroll
  for (int i = 16; i > 0; i /= 2) {
    float other = __shfl_xor_sync(ALL, value, i);
    unsigned other_at = __shfl_xor_sync(ALL, at, i);
    if (other < value || (other == value && other_at < at)) {
      value = other;
      at = other_at;
    }
  }
  return value < INFINITY ? at : 0;
}

// A warp takes a row. ‖x − c‖² less ‖x‖², which is the same for all codewords.
KERNEL(THREADS, nearest, (const float *rows, const float *codewords, unsigned *classes, size_t n_rows, unsigned n_words,
                          unsigned width)) {
  size_t row = warp_row();
  if (row >= n_rows) return;
  const float *x = rows + row * width;
  float least = INFINITY;
  unsigned found = 0;
  for (unsigned word = lane(); word < n_words; word += 32) {
    const float *c = codewords + size_t(word) * width;
    float product = 0.f, norm = 0.f;
    for (unsigned i = 0; i < width; i++) {
      product += x[i] * c[i];
      norm += c[i] * c[i];
    }
    float distance = norm - 2.f * product;
    if (distance < least) {
      least = distance;
      found = word;
    }
  }
  found = first_least(least, found);
  if (lane() == 0) classes[row] = found;
}

// A warp takes a row.
KERNEL(THREADS, argmax, (const float *x, unsigned *classes, size_t n_rows, unsigned width)) {
  size_t row = warp_row();
  if (row >= n_rows) return;
  float least = INFINITY;
  unsigned found = 0;
  for (unsigned i = lane(); i < width; i += 32) {
    float value = -x[row * width + i];
    if (value < least) {
      least = value;
      found = i;
    }
  }
  found = first_least(least, found);
  if (lane() == 0) classes[row] = found;
}
