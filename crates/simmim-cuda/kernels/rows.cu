// Moving, mixing and adding up values and whole rows: the twin of simmim-cpu/src/rows.rs.
#include "device.cuh"

#define DEFINE(T, k) \
  KERNEL(THREADS, fill_##k, (T *x, float value, size_t n)) { \
    for_quads(n, [&](size_t i, bool whole) { store4(x, i, n, whole, {value, value, value, value}); }); \
  } \
  KERNEL(THREADS, add_assign_##k, (T *sum, const T *x, size_t n)) { \
    for_quads(n, [&](size_t i, bool whole) { \
      float4 a = load4(sum, i, n, whole), b = load4(x, i, n, whole); \
      store4(sum, i, n, whole, zip4(a, b, [](float a, float b) { return a + b; })); \
    }); \
  } \
  KERNEL(THREADS, sum_rows_##k, (const T *x, float *parts, size_t rows, unsigned width)) { \
    column_sums<1>(rows, width, parts, [&](size_t row, unsigned c, float (&sums)[1]) { sums[0] += wide(x[row * width + c]); }); \
  }
FOR_EACH_KIND(DEFINE)
#undef DEFINE

#define DEFINE(X, Y, k) \
  KERNEL(THREADS, convert_##k, (const X *x, Y *y, size_t n)) { \
    for_quads(n, [&](size_t i, bool whole) { store4(y, i, n, whole, load4(x, i, n, whole)); }); \
  }
FOR_EACH_PAIR(DEFINE)
#undef DEFINE

KERNEL(THREADS, lerp, (float *x, const float *y, float weight, const float *scale, size_t n)) {
  if (*scale != *scale) return;  // the step is not done
  for_quads(n, [&](size_t i, bool whole) {
    float4 a = load4(x, i, n, whole), b = load4(y, i, n, whole);
    store4(x, i, n, whole, zip4(a, b, [&](float a, float b) { return a + weight * (b - a); }));
  });
}

// sum[c] of parts [n_parts, width], one after the other.
KERNEL(THREADS, add_parts, (const float *parts, float *sum, unsigned n_parts, size_t width)) {
  size_t c = size_t(blockIdx.x) * THREADS + threadIdx.x;
  if (c >= width) return;
  float total = 0.f;
  for (unsigned part = 0; part < n_parts; part++) total += parts[part * width + c];
  sum[c] = total;
}

KERNEL(THREADS, add_to_rows, (const float *x, const float *shift, float *y, size_t rows, unsigned width)) {
  size_t row = warp_row();
  if (row >= rows) return;
  for_columns(width, [&](unsigned c, bool whole) {
    float4 a = load4(x + row * width, c, width, whole), b = load4(shift, c, width, whole);
    store4(y + row * width, c, width, whole, zip4(a, b, [](float a, float b) { return a + b; }));
  });
}

// The row `from` of x as row `to` of y.
__device__ __forceinline__ void copy_row(const float *from, float *to, unsigned width) {
  for_columns(width, [&](unsigned c, bool whole) { store4(to, c, width, whole, load4(from, c, width, whole)); });
}

KERNEL(THREADS, hide, (const float *x, const float *hidden, const float *token, float *y, size_t rows, unsigned width)) {
  size_t row = warp_row();
  if (row < rows) copy_row(hidden[row] == 0.f ? x + row * width : token, y + row * width, width);
}

KERNEL(THREADS, hide_backward, (const float *dy, const float *hidden, float *dx, size_t rows, unsigned width)) {
  size_t row = warp_row();
  if (row >= rows) return;
  bool is_seen = hidden[row] == 0.f;
  for_columns(width, [&](unsigned c, bool whole) {
    float4 v = load4(dy + row * width, c, width, whole);
    store4(dx + row * width, c, width, whole, is_seen ? v : float4{0.f, 0.f, 0.f, 0.f});
  });
}
KERNEL(THREADS, hide_backward_token, (const float *dy, const float *hidden, float *parts, size_t rows, unsigned width)) {
  column_sums<1>(rows, width, parts, [&](size_t row, unsigned c, float (&sums)[1]) {
    if (hidden[row] != 0.f) sums[0] += dy[row * width + c];
  });
}

// y [B, L + 1, D] = token before each sample of x [B, L, D]; rows are those of y.
KERNEL(THREADS, prepend, (const float *x, const float *token, float *y, size_t rows, unsigned tokens, unsigned width)) {
  size_t row = warp_row();
  if (row >= rows) return;
  size_t sample = row / (tokens + 1);
  unsigned place = unsigned(row % (tokens + 1));
  copy_row(place == 0 ? token : x + (sample * tokens + place - 1) * width, y + row * width, width);
}
// Rows are those of dx [B, L, D].
KERNEL(THREADS, prepend_backward, (const float *dy, float *dx, size_t rows, unsigned tokens, unsigned width)) {
  size_t row = warp_row();
  if (row < rows) copy_row(dy + (row + row / tokens + 1) * width, dx + row * width, width);
}
KERNEL(THREADS, prepend_backward_token, (const float *dy, float *parts, size_t samples, unsigned tokens, unsigned width)) {
  column_sums<1>(samples, width, parts, [&](size_t sample, unsigned c, float (&sums)[1]) {
    sums[0] += dy[sample * (tokens + 1) * width + c];
  });
}

KERNEL(THREADS, gather, (const float *x, const unsigned *index, float *y, size_t rows, unsigned width)) {
  size_t row = warp_row();
  if (row < rows) copy_row(x + size_t(index[row]) * width, y + row * width, width);
}
// The places of an index that name a row are order[firsts[row]] and so on, in their order.
struct Places {
  const unsigned *from, *end;
};
__device__ __forceinline__ Places places_of(size_t row, const unsigned *firsts, const unsigned *order, size_t n_rows) {
  if (row >= n_rows) return {order, order};
  return {order + firsts[row], order + firsts[row + 1]};
}
// A warp takes a row of dx: its gradients are added in the order of the index.
KERNEL(THREADS, gather_backward, (const float *dy, const unsigned *firsts, const unsigned *order, float *dx, size_t rows,
                                  size_t n_rows, unsigned width)) {
  size_t row = warp_row();
  if (row >= rows) return;
  Places places = places_of(row, firsts, order, n_rows);
  for_columns(width, [&](unsigned c, bool whole) {
    float4 sum = {0.f, 0.f, 0.f, 0.f};
    for (const unsigned *i = places.from; i < places.end; i++)
      sum = zip4(sum, load4(dy + size_t(*i) * width, c, width, whole), [](float a, float b) { return a + b; });
    store4(dx + row * width, c, width, whole, sum);
  });
}

// bias [N, n] = columns of table [R, N]; a block's y is a head.
KERNEL(THREADS, gather_columns, (const float *table, const unsigned *index, float *bias, size_t n, unsigned heads)) {
  size_t i = size_t(blockIdx.x) * THREADS + threadIdx.x;
  unsigned head = blockIdx.y;
  if (i < n) bias[head * n + i] = table[size_t(index[i]) * heads + head];
}
// A block takes a row of the table and a head.
KERNEL(THREADS, gather_columns_backward, (const float *dbias, const unsigned *firsts, const unsigned *order, float *dtable, size_t n,
                                          size_t n_rows, unsigned heads)) {
  unsigned row = blockIdx.x, head = blockIdx.y;
  Places places = places_of(row, firsts, order, n_rows);
  float sum = 0.f;
  for (const unsigned *i = places.from + threadIdx.x; i < places.end; i += THREADS) sum += dbias[head * n + *i];
  double total = block_sum(sum);
  if (threadIdx.x == 0) dtable[size_t(row) * heads + head] = float(total);
}

// A block takes a sample (x) and THREADS columns (y).
KERNEL(THREADS, mean_tokens, (const float *x, float *y, unsigned tokens, unsigned width)) {
  unsigned c = blockIdx.y * THREADS + threadIdx.x;
  if (c >= width) return;
  const float *from = x + size_t(blockIdx.x) * tokens * width + c;
  float sum = 0.f;
  for (unsigned t = 0; t < tokens; t++) sum += from[size_t(t) * width];
  y[size_t(blockIdx.x) * width + c] = sum / float(tokens);
}
KERNEL(THREADS, pool_tokens, (const float *x, float *y, unsigned tokens, unsigned width, unsigned first)) {
  unsigned c = blockIdx.y * THREADS + threadIdx.x;
  if (c >= width) return;
  const float *from = x + size_t(blockIdx.x) * tokens * width + c;
  double sum = 0.0;
  for (unsigned t = first; t < tokens; t++) sum += double(from[size_t(t) * width]);
  y[size_t(blockIdx.x) * width + c] = float(sum / double(tokens - first));
}
// Rows are those of dx [B, L, D].
KERNEL(THREADS, mean_tokens_backward, (const float *dy, float *dx, size_t rows, unsigned tokens, unsigned width)) {
  size_t row = warp_row();
  if (row >= rows) return;
  for_columns(width, [&](unsigned c, bool whole) {
    float4 v = load4(dy + row / tokens * width, c, width, whole);
    store4(dx + row * width, c, width, whole, map4(v, [&](float v) { return v / float(tokens); }));
  });
}

KERNEL(THREADS, query_value_bias, (const float *q, const float *v, float *y, unsigned width)) {
  unsigned i = blockIdx.x * THREADS + threadIdx.x;
  if (i < 3 * width) y[i] = i < width ? q[i] : i < 2 * width ? 0.f : v[i - 2 * width];
}
