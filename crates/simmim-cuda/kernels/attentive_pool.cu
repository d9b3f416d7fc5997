// Attention of learned queries over an image's tokens: the twin of simmim-cpu/src/attentive_pool.rs. A warp takes a query of an
// image.
#include "device.cuh"

struct Pooled {
  const float *scores, *values;  // [B, L, M], [B, L, D]
  unsigned tokens, width, queries;
  float scale;

  __device__ __forceinline__ unsigned slice() const { return width / queries; }
  __device__ __forceinline__ size_t score(size_t image, unsigned token, unsigned query) const {
    return (image * tokens + token) * queries + query;
  }
  __device__ __forceinline__ size_t value(size_t image, unsigned token, unsigned query) const {
    return (image * tokens + token) * width + query * slice();
  }
  // The largest scaled score, and the sum of powers relative to it.
  __device__ float2 sums(size_t image, unsigned query) const {
    float largest = -INFINITY, sum = 0.f;
    for (unsigned t = lane(); t < tokens; t += 32) largest = fmaxf(largest, scale * scores[score(image, t, query)]);
    largest = warp_max(largest);
    for (unsigned t = lane(); t < tokens; t += 32) sum += expf(scale * scores[score(image, t, query)] - largest);
    return {largest, warp_sum(sum)};
  }
  __device__ __forceinline__ float weight(size_t image, unsigned token, unsigned query, float2 of) const {
    return expf(scale * scores[score(image, token, query)] - of.x) / of.y;
  }
};

KERNEL(THREADS, attentive_pool, (const float *scores, const float *values, float *y, size_t rows, unsigned tokens,
                                 unsigned width, unsigned queries, float scale)) {
  size_t row = warp_row();
  if (row >= rows) return;
  Pooled in = {scores, values, tokens, width, queries, scale};
  size_t image = row / queries;
  unsigned query = unsigned(row % queries);
  float2 of = in.sums(image, query);
  for (unsigned j = lane(); j < in.slice(); j += 32) {
    float sum = 0.f;
    for (unsigned t = 0; t < tokens; t++) sum += in.weight(image, t, query, of) * values[in.value(image, t, query) + j];
    y[image * width + query * in.slice() + j] = sum;
  }
}

KERNEL(THREADS, attentive_pool_backward, (const float *scores, const float *values, const float *dy, float *dscores,
                                          float *dvalues, size_t rows, unsigned tokens, unsigned width, unsigned queries,
                                          float scale)) {
  size_t row = warp_row();
  if (row >= rows) return;
  Pooled in = {scores, values, tokens, width, queries, scale};
  size_t image = row / queries;
  unsigned query = unsigned(row % queries);
  const float *d = dy + image * width + query * in.slice();
  float2 of = in.sums(image, query);
  float mean = 0.f;
  for (unsigned t = 0; t < tokens; t++) {
    float weight = in.weight(image, t, query, of), along = 0.f;
    for (unsigned j = lane(); j < in.slice(); j += 32) {
      along += d[j] * values[in.value(image, t, query) + j];
      dvalues[in.value(image, t, query) + j] = weight * d[j];
    }
    along = warp_sum(along);
    mean += weight * along;
    // Kept by the lane that reads it again below.
    if (lane() == t % 32) dscores[in.score(image, t, query)] = along;
  }
  for (unsigned t = lane(); t < tokens; t += 32) {
    size_t at = in.score(image, t, query);
    dscores[at] = scale * in.weight(image, t, query, of) * (dscores[at] - mean);
  }
}
