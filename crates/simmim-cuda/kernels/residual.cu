// The residual connection with layer scale and stochastic depth: the twin of simmim-cpu/src/residual.rs. A warp takes a row.
#include "device.cuh"

// What a row and a quad of its columns are multiplied by: keep ∘ γ, either of which may be missing.
struct Gain {
  const float *scale, *keep;
  unsigned tokens, width;
  __device__ __forceinline__ float of_row(size_t row) const { return keep ? keep[row / tokens] : 1.f; }
  __device__ __forceinline__ float4 of_columns(unsigned c, bool whole) const {
    return scale ? load4(scale, c, width, whole) : float4{1.f, 1.f, 1.f, 1.f};
  }
};

#define DEFINE(T, k) \
  KERNEL(THREADS, residual_##k, (const float *x, const T *branch, const float *scale, const float *keep, float *y, \
                                 size_t rows, unsigned tokens, unsigned width)) { \
    size_t row = warp_row(); \
    if (row >= rows) return; \
    Gain gain = {scale, keep, tokens, width}; \
    float kept = gain.of_row(row); \
    for_columns(width, [&](unsigned c, bool whole) { \
      auto times = [](float a, float b) { return a * b; }; \
      float4 b = zip4(gain.of_columns(c, whole), load4(branch + row * width, c, width, whole), times); \
      float4 a = load4(x + row * width, c, width, whole); \
      store4(y + row * width, c, width, whole, zip4(a, b, [&](float a, float b) { return a + kept * b; })); \
    }); \
  } \
  KERNEL(THREADS, residual_backward_##k, (const float *dy, const float *scale, const float *keep, T *dbranch, size_t rows, \
                                          unsigned tokens, unsigned width)) { \
    size_t row = warp_row(); \
    if (row >= rows) return; \
    Gain gain = {scale, keep, tokens, width}; \
    float kept = gain.of_row(row); \
    for_columns(width, [&](unsigned c, bool whole) { \
      float4 d = load4(dy + row * width, c, width, whole), s = gain.of_columns(c, whole); \
      store4(dbranch + row * width, c, width, whole, zip4(d, s, [&](float d, float s) { return kept * d * s; })); \
    }); \
  } \
  KERNEL(THREADS, residual_backward_scale_##k, (const T *branch, const float *dy, const float *keep, float *parts, \
                                                size_t rows, unsigned tokens, unsigned width)) { \
    Gain gain = {nullptr, keep, tokens, width}; \
    column_sums<1>(rows, width, parts, [&](size_t row, unsigned c, float (&sums)[1]) { \
      sums[0] += gain.of_row(row) * (wide(branch[row * width + c]) * dy[row * width + c]); \
    }); \
  }
FOR_EACH_KIND(DEFINE)
#undef DEFINE
