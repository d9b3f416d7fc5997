// Queries and keys at the lengths that cosine attention wants: the twin of simmim-cpu/src/cosine.rs. A warp takes the vector of
// a head: query, key or value.
#include "device.cuh"

constexpr float LEAST_LENGTH = 1e-12f;
constexpr float MOST_LOG = 4.6051702f;  // ln 100

// s of a head for queries, 1 for keys.
__device__ __forceinline__ float factor_of(const float *log_scale, unsigned part, unsigned head) {
  return part == 0 ? expf(fminf(log_scale[head], MOST_LOG)) : 1.f;
}
template <class T> __device__ __forceinline__ float length_of(const T *x, unsigned width) {
  float square = 0.f;
  for_columns(width, [&](unsigned c, bool whole) {
    square += sum4(map4(load4(x, c, width, whole), [](float x) { return x * x; }));
  });
  return sqrtf(warp_sum(square));
}

template <class X, class Y>
__device__ void normalise(const X *x, const float *log_scale, Y *y, unsigned part, unsigned head, unsigned width) {
  float factor = 1.f;
  if (part < 2) factor = factor_of(log_scale, part, head) / fmaxf(length_of(x, width), LEAST_LENGTH);
  for_columns(width, [&](unsigned c, bool whole) {
    store4(y, c, width, whole, map4(load4(x, c, width, whole), [&](float x) { return factor * x; }));
  });
}

#define DEFINE(X, Y, k) \
  KERNEL(THREADS, cosine_##k, (const X *qkv, const float *log_scale, Y *y, size_t vectors, unsigned heads, unsigned width)) { \
    size_t i = warp_row(); \
    if (i >= vectors) return; \
    normalise(qkv + i * width, log_scale, y + i * width, unsigned(i / heads % 3), unsigned(i % heads), width); \
  }
FOR_EACH_PAIR(DEFINE)
#undef DEFINE

// Writes dx; a query's lane 0 writes its share of ds to `slope`.
template <class X, class D, class G>
__device__ void normalise_backward(const X *x, const float *log_scale, const D *dy, G *dx, float *slope, unsigned part,
                                   unsigned head, unsigned width) {
  float factor = 1.f, back = 0.f;
  if (part < 2) {
    float along = 0.f;
    for_columns(width, [&](unsigned c, bool whole) {
      auto times = [](float a, float b) { return a * b; };
      along += sum4(zip4(load4(x, c, width, whole), load4(dy, c, width, whole), times));
    });
    along = warp_sum(along);
    float length = length_of(x, width), inverse = 1.f / fmaxf(length, LEAST_LENGTH);
    factor = factor_of(log_scale, part, head) * inverse;
    // Where the length is bounded from below it is a constant.
    back = length > LEAST_LENGTH ? along * inverse * inverse : 0.f;
    // Beyond ln 100 the factor stays what it is.
    if (part == 0 && lane() == 0) *slope = log_scale[head] <= MOST_LOG ? along * factor : 0.f;
  }
  for_columns(width, [&](unsigned c, bool whole) {
    float4 a = load4(x, c, width, whole), b = load4(dy, c, width, whole);
    store4(dx, c, width, whole, zip4(a, b, [&](float x, float dy) { return factor * (dy - back * x); }));
  });
}

// `slopes` [R, N]: what each token's query adds to the gradient of log s; sum_rows adds it up.
#define DEFINE(X, D, G, k) \
  KERNEL(THREADS, cosine_backward_##k, (const X *qkv, const float *log_scale, const D *dy, G *dqkv, float *slopes, \
                                        size_t vectors, unsigned heads, unsigned width)) { \
    size_t i = warp_row(); \
    if (i >= vectors) return; \
    unsigned part = unsigned(i / heads % 3), head = unsigned(i % heads); \
    float *slope = slopes + i / (3 * heads) * heads + head; \
    normalise_backward(qkv + i * width, log_scale, dy + i * width, dqkv + i * width, slope, part, head, width); \
  }
FOR_EACH_TRIPLE(DEFINE)
#undef DEFINE
