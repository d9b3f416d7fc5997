// GELU, ReLU and the sigmoid, value by value: the twins of simmim-cpu/src/gelu.rs and activation.rs.
#include "device.cuh"

#define DEFINE(X, Y, k) \
  KERNEL(THREADS, gelu_##k, (const X *x, Y *y, size_t n)) { \
    for_quads(n, [&](size_t i, bool whole) { \
      store4(y, i, n, whole, map4(load4(x, i, n, whole), [](float x) { return x * normal(x).x; })); \
    }); \
  }
FOR_EACH_PAIR(DEFINE)
#undef DEFINE

__device__ __forceinline__ float gelu_slope(float x, float dy) {
  float2 at = normal(x);
  return dy * (at.x + x * at.y);
}

#define DEFINE(X, D, G, k) \
  KERNEL(THREADS, gelu_backward_##k, (const X *x, const D *dy, G *dx, size_t n)) { \
    for_quads(n, [&](size_t i, bool whole) { \
      store4(dx, i, n, whole, zip4(load4(x, i, n, whole), load4(dy, i, n, whole), gelu_slope)); \
    }); \
  } \
  KERNEL(THREADS, gelu_backward_in_place_##k, (const X *x, D *dx, G *y, size_t n)) { \
    for_quads(n, [&](size_t i, bool whole) { \
      float4 at = load4(x, i, n, whole); \
      store4(dx, i, n, whole, zip4(at, load4(dx, i, n, whole), gelu_slope)); \
      store4(y, i, n, whole, map4(at, [](float x) { return x * normal(x).x; })); \
    }); \
  }
FOR_EACH_TRIPLE(DEFINE)
#undef DEFINE

KERNEL(THREADS, relu, (const float *x, float *y, size_t n)) {
  for_quads(n, [&](size_t i, bool whole) {
    store4(y, i, n, whole, map4(load4(x, i, n, whole), [](float x) { return x < 0.f ? 0.f : x; }));
  });
}
KERNEL(THREADS, relu_backward, (const float *y, const float *dy, float *dx, size_t n)) {
  for_quads(n, [&](size_t i, bool whole) {
    float4 a = load4(y, i, n, whole), b = load4(dy, i, n, whole);
    store4(dx, i, n, whole, zip4(a, b, [](float y, float dy) { return y > 0.f ? dy : 0.f; }));
  });
}
KERNEL(THREADS, sigmoid, (const float *x, float most, float *y, size_t n)) {
  for_quads(n, [&](size_t i, bool whole) {
    store4(y, i, n, whole, map4(load4(x, i, n, whole), [&](float x) { return most / (1.f + expf(-x)); }));
  });
}
KERNEL(THREADS, sigmoid_backward, (const float *y, float most, const float *dy, float *dx, size_t n)) {
  for_quads(n, [&](size_t i, bool whole) {
    float4 a = load4(y, i, n, whole), b = load4(dy, i, n, whole);
    store4(dx, i, n, whole, zip4(a, b, [&](float y, float dy) { return dy * y * (1.f - y / most); }));
  });
}
