// The norm of all gradients and AdamW, over many tensors in one launch: the twin of simmim-cpu/src/optimiser.rs.
//
// A table lists tensors: rows of `columns` words each, the last of which is its number of values and the others addresses; before
// them the number of the first block of each tensor, and that of all blocks. A block takes PIECE values of one tensor.
#include "device.cuh"

constexpr size_t PIECE = 8192;

struct Piece {
  const unsigned long long *row;
  size_t from, end;
};
__device__ Piece piece_of(const unsigned long long *table, unsigned n, unsigned columns) {
  // The last tensor whose first block is not beyond this one.
  unsigned low = 0, high = n;
  while (high - low > 1) {
    unsigned middle = (low + high) / 2;
    if (table[middle] <= blockIdx.x) low = middle;
    else high = middle;
  }
  const unsigned long long *row = table + n + 1 + size_t(low) * columns;
  size_t len = row[columns - 1], from = (blockIdx.x - table[low]) * PIECE;
  return {row, from, from + PIECE < len ? from + PIECE : len};
}
// Calls `f(i, whole)` for each quad of a piece.
template <class F> __device__ __forceinline__ void for_piece(const Piece &piece, F f) {
  for (size_t i = piece.from + threadIdx.x * 4; i < piece.end; i += THREADS * 4) f(i, i + 4 <= piece.end);
}

KERNEL(THREADS, sum_of_squares, (const unsigned long long *table, unsigned n, double *sums)) {
  Piece piece = piece_of(table, n, 2);
  const float *x = reinterpret_cast<const float *>(piece.row[0]);
  double sum = 0.0;
  for_piece(piece, [&](size_t i, bool whole) {
    sum += double(sum4(map4(load4(x, i, piece.end, whole), [](float x) { return x * x; })));
  });
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}
KERNEL(THREADS, root_of_sum, (const double *sums, double *norm, size_t n)) {
  double sum = 0.0;
  for (size_t i = threadIdx.x; i < n; i += THREADS) sum += sums[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *norm = sqrt(sum);
}

// What gradients are multiplied by; NaN, and no step, where the norm or a loss is not finite.
KERNEL(32, clip, (const double *norm, const unsigned long long *losses, unsigned n, double most, double eps, float *scale)) {
  if (threadIdx.x) return;
  double sum = 0.0;
  for (unsigned i = 0; i < n; i++) sum += double(*reinterpret_cast<const float *>(losses[i]));
  // A value minus itself is not a number where it is not finite.
  double none = *norm - *norm + (sum - sum), factor = most / (*norm + eps);
  *scale = float((factor < 1.0 ? factor : 1.0) + none);
}

struct Rates {
  float shrink, step_size, inverse_root, beta1, beta2, eps, gradient_scale;
};
__device__ __forceinline__ void update(float &p, float &m, float &v, float g, const Rates &rates) {
  g *= rates.gradient_scale;
  m += (1.f - rates.beta1) * (g - m);
  v = rates.beta2 * v + (1.f - rates.beta2) * g * g;
  p = p * rates.shrink - rates.step_size * m / (sqrtf(v) * rates.inverse_root + rates.eps);
}
KERNEL(THREADS, adamw, (const unsigned long long *table, unsigned n, float shrink, float step_size, float inverse_root,
                        float beta1, float beta2, float eps, const float *scale)) {
  float gradient_scale = *scale;
  if (gradient_scale != gradient_scale) return;
  Piece piece = piece_of(table, n, 5);
  float *p = reinterpret_cast<float *>(piece.row[0]), *m = reinterpret_cast<float *>(piece.row[1]);
  float *v = reinterpret_cast<float *>(piece.row[2]);
  const float *g = reinterpret_cast<const float *>(piece.row[3]);
  Rates rates = {shrink, step_size, inverse_root, beta1, beta2, eps, gradient_scale};
  for_piece(piece, [&](size_t i, bool whole) {
    float4 a = load4(p, i, piece.end, whole), b = load4(m, i, piece.end, whole), c = load4(v, i, piece.end, whole);
    float4 d = load4(g, i, piece.end, whole);
    update(a.x, b.x, c.x, d.x, rates);
    update(a.y, b.y, c.y, d.y, rates);
    update(a.z, b.z, c.z, d.z, rates);
    update(a.w, b.w, c.w, d.w, rates);
    store4(p, i, piece.end, whole, a);
    store4(m, i, piece.end, whole, b);
    store4(v, i, piece.end, whole, c);
  });
}
