// Layer normalisation over rows: the twin of simmim-cpu/src/layer_norm.rs. A warp takes a row.
#include "device.cuh"

template <class X, class Y>
__device__ void norm_row(const X *x, const float *scale, const float *shift, Y *y, float2 *stats, unsigned width, float eps) {
  float sum = 0.f, square = 0.f;
  for_columns(width, [&](unsigned c, bool whole) { sum += sum4(load4(x, c, width, whole)); });
  float mean = warp_sum(sum) / float(width);
  for_columns(width, [&](unsigned c, bool whole) {
    float4 v = load4(x, c, width, whole);
    // What lies beyond the row is no value of it.
    float4 d = {v.x - mean, c + 1 < width ? v.y - mean : 0.f, c + 2 < width ? v.z - mean : 0.f,
                c + 3 < width ? v.w - mean : 0.f};
    square += sum4(map4(d, [](float d) { return d * d; }));
  });
  float inverse = 1.f / sqrtf(warp_sum(square) / float(width) + eps);
  for_columns(width, [&](unsigned c, bool whole) {
    float4 v = map4(load4(x, c, width, whole), [&](float v) { return (v - mean) * inverse; });
    v = zip4(v, load4(scale, c, width, whole), [](float a, float b) { return a * b; });
    v = zip4(v, load4(shift, c, width, whole), [](float a, float b) { return a + b; });
    store4(y, c, width, whole, v);
  });
  if (lane() == 0) *stats = {mean, inverse};
}

#define DEFINE(X, Y, k) \
  KERNEL(THREADS, layer_norm_##k, (const X *x, const float *scale, const float *shift, Y *y, float2 *stats, size_t rows, \
                                   unsigned width, float eps)) { \
    size_t row = warp_row(); \
    if (row < rows) norm_row(x + row * width, scale, shift, y + row * width, stats + row, width, eps); \
  }
FOR_EACH_PAIR(DEFINE)
#undef DEFINE

// dx = (dy γ − mean(dy γ) − x̂ mean(dy γ x̂)) / deviation.
template <class D, class X, class G>
__device__ void norm_row_backward(const D *dy, const X *x, float2 stats, const float *scale, G *dx, unsigned width) {
  float a = 0.f, b = 0.f;
  auto normed = [&](unsigned c, bool whole) {
    return map4(load4(x, c, width, whole), [&](float x) { return (x - stats.x) * stats.y; });
  };
  auto scaled = [&](unsigned c, bool whole) {
    return zip4(load4(dy, c, width, whole), load4(scale, c, width, whole), [](float a, float b) { return a * b; });
  };
  auto times = [](float a, float b) { return a * b; };
  for_columns(width, [&](unsigned c, bool whole) {
    // Beyond the row dy γ is zero.
    float4 d = scaled(c, whole);
    a += sum4(d);
    b += sum4(zip4(d, normed(c, whole), times));
  });
  a = warp_sum(a) / float(width);
  b = warp_sum(b) / float(width);
  for_columns(width, [&](unsigned c, bool whole) {
    float4 v = zip4(scaled(c, whole), normed(c, whole), [&](float d, float n) { return (d - a - n * b) * stats.y; });
    store4(dx, c, width, whole, v);
  });
}

#define DEFINE(D, X, G, k) \
  KERNEL(THREADS, layer_norm_backward_##k, (const D *dy, const X *x, const float2 *stats, const float *scale, G *dx, \
                                            size_t rows, unsigned width)) { \
    size_t row = warp_row(); \
    if (row < rows) norm_row_backward(dy + row * width, x + row * width, stats[row], scale, dx + row * width, width); \
  }
FOR_EACH_TRIPLE(DEFINE)
#undef DEFINE

// Parts of dγ and dβ, [2, gridDim.y, width].
#define DEFINE(D, X, k) \
  KERNEL(THREADS, layer_norm_backward_affine_##k, (const D *dy, const X *x, const float2 *stats, float *parts, size_t rows, \
                                                   unsigned width)) { \
    column_sums<2>(rows, width, parts, [&](size_t row, unsigned c, float (&sums)[2]) { \
      float d = wide(dy[row * width + c]); \
      sums[0] += d * ((wide(x[row * width + c]) - stats[row].x) * stats[row].y); \
      sums[1] += d; \
    }); \
  }
FOR_EACH_PAIR(DEFINE)
#undef DEFINE
