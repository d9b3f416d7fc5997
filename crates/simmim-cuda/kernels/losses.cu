// Losses and where they lead: the twins of simmim-cpu/src/pixel_loss.rs, cross_entropy.rs and label_loss.rs. Sums are of doubles,
// over parts that depend on the shape alone.
#include "device.cuh"

// loss = factor * the sum of parts. One block.
KERNEL(THREADS, loss_of_parts, (const double *parts, float factor, float *loss, size_t n)) {
  double sum = 0.0;
  for (size_t i = threadIdx.x; i < n; i += THREADS) sum += parts[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *loss = float(sum * double(factor));
}

// Which pixels of a row count: it is a square of `side` pixels and some channels, cut into parts with a weight each.
struct Counted {
  const float *weights;
  unsigned parts, side;
  __device__ __forceinline__ float weight(size_t row, unsigned i) const {
    unsigned run = side / parts, y = i / side % side, x = i % side;
    return weights[row * parts * parts + y / run * parts + x / run];
  }
};
// Kinds of errors, as PixelLoss lists them.
constexpr unsigned L1 = 0, L2 = 1;
__device__ __forceinline__ float error_of(unsigned kind, float e) {
  float size = fabsf(e);
  if (kind == L1) return size;
  if (kind == L2) return e * e;
  return size < 1.f ? 0.5f * e * e : size - 0.5f;
}
__device__ __forceinline__ float slope_of(unsigned kind, float e) {
  if (kind == L1) return float(e > 0.f) - float(e < 0.f);
  if (kind == L2) return 2.f * e;
  return e > 1.f ? 1.f : e < -1.f ? -1.f : e;
}

// Each block takes every gridDim.x-th row and writes the sum over them.
KERNEL(THREADS, pixel_loss, (const float *prediction, const float *target, const float *weights, double *sums, size_t rows,
                             unsigned row_len, unsigned n_parts, unsigned side, unsigned kind)) {
  Counted counted = {weights, n_parts, side};
  double sum = 0.0;
  for (size_t row = blockIdx.x; row < rows; row += gridDim.x) {
    float of_row = 0.f;
    for (unsigned i = threadIdx.x; i < row_len; i += THREADS) {
      size_t at = row * row_len + i;
      of_row += counted.weight(row, i) * error_of(kind, prediction[at] - target[at]);
    }
    sum += double(of_row);
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}
// A block takes a row.
KERNEL(THREADS, pixel_loss_backward, (const float *prediction, const float *target, const float *weights, const float *dloss,
                                      float factor, float *d, unsigned row_len, unsigned n_parts, unsigned side,
                                      unsigned kind)) {
  Counted counted = {weights, n_parts, side};
  size_t row = blockIdx.x;
  float slope = factor * dloss[0];
  for (unsigned i = threadIdx.x; i < row_len; i += THREADS) {
    size_t at = row * row_len + i;
    d[at] = slope * counted.weight(row, i) * slope_of(kind, prediction[at] - target[at]);
  }
}

// The largest of a row of logits, over a warp.
__device__ __forceinline__ float largest_of(const float *x, unsigned width) {
  float largest = -INFINITY;
  for (unsigned i = lane(); i < width; i += 32) largest = fmaxf(largest, x[i]);
  return warp_max(largest);
}

// A warp takes a row. A row of weight 0 may hold a class of no meaning: it is not looked up.
KERNEL(THREADS, cross_entropy, (const float *logits, const unsigned *classes, const float *weights, float *log_sums,
                                double *sums, size_t rows, unsigned width)) {
  size_t row = warp_row();
  if (row >= rows) return;
  const float *x = logits + row * width;
  float weight = weights[row], log_sum = 0.f;
  double loss = 0.0;
  if (weight != 0.f) {
    float largest = largest_of(x, width), sum = 0.f;
    for (unsigned i = lane(); i < width; i += 32) sum += expf(x[i] - largest);
    log_sum = largest + logf(warp_sum(sum));
    loss = double(weight) * double(log_sum - x[classes[row]]);
  }
  if (lane() != 0) return;
  log_sums[row] = log_sum;
  sums[row] = loss;
}
KERNEL(THREADS, cross_entropy_backward, (const float *logits, const float *log_sums, const unsigned *classes,
                                         const float *weights, const float *dloss, float factor, float *d, size_t rows,
                                         unsigned width)) {
  size_t row = warp_row();
  if (row >= rows) return;
  float gain = factor * dloss[0] * weights[row], log_sum = log_sums[row];
  unsigned right = gain == 0.f ? width : classes[row];
  for (unsigned i = lane(); i < width; i += 32) {
    float slope = gain == 0.f ? 0.f : gain * expf(logits[row * width + i] - log_sum);
    d[row * width + i] = i == right ? slope - gain : slope;
  }
}

// log Σ eˣ of a row, over a warp.
__device__ double log_sum_of(const float *x, unsigned width) {
  double largest = double(largest_of(x, width)), sum = 0.0;
  for (unsigned i = lane(); i < width; i += 32) sum += exp(double(x[i]) - largest);
  return largest + log(warp_sum(sum));
}
// A warp takes a row. `is_bce`: binary cross-entropy of each label, else cross-entropy of the softmax.
KERNEL(THREADS, label_loss, (const float *logits, const float *targets, double *sums, size_t rows, unsigned width,
                             unsigned is_bce)) {
  size_t row = warp_row();
  if (row >= rows) return;
  const float *x = logits + row * width, *t = targets + row * width;
  double log_sum = is_bce ? 0.0 : log_sum_of(x, width), sum = 0.0;
  for (unsigned i = lane(); i < width; i += 32) {
    double logit = double(x[i]), label = double(t[i]);
    // log(1 + eˣ) without overflow: the larger of x and 0, and what is left.
    if (is_bce) sum += (logit > 0.0 ? logit : 0.0) + log1p(exp(-fabs(logit))) - label * logit;
    else sum += label * (log_sum - logit);
  }
  sum = warp_sum(sum);
  if (lane() == 0) sums[row] = sum;
}
KERNEL(THREADS, label_loss_backward, (const float *logits, const float *targets, const float *dloss, float factor, float *d,
                                      size_t rows, unsigned width, unsigned is_bce)) {
  size_t row = warp_row();
  if (row >= rows) return;
  const float *x = logits + row * width, *t = targets + row * width;
  double whole = 0.0, log_sum = 0.0;
  if (!is_bce) {
    // Weighed labels need not add up to one, so the softmax is taken as often as they do.
    for (unsigned i = lane(); i < width; i += 32) whole += double(t[i]);
    whole = warp_sum(whole);
    log_sum = log_sum_of(x, width);
  }
  for (unsigned i = lane(); i < width; i += 32) {
    double logit = double(x[i]);
    double expected = is_bce ? 1.0 / (1.0 + exp(-logit)) : whole * exp(logit - log_sum);
    d[row * width + i] = factor * dloss[0] * float(expected - double(t[i]));
  }
}
