// Images: patches, targets, other sizes and units. The twins of simmim-cpu/src/patch.rs, norm_target.rs and scale.rs.
#include "device.cuh"

// The pixel of images [B, C, h p, w p] that is value `i` of rows of patches [B, h w, C p p].
__device__ __forceinline__ size_t pixel_of(size_t i, unsigned channels, unsigned h, unsigned w, unsigned px) {
  unsigned patch_len = channels * px * px, image_len = h * w * patch_len;
  size_t image = i / image_len;
  unsigned within = unsigned(i % image_len), patch = within / patch_len, value = within % patch_len;
  unsigned channel = value / (px * px), y = patch / w * px + value / px % px, x = patch % w * px + value % px;
  return image * image_len + (size_t(channel) * h * px + y) * w * px + x;
}
KERNEL(THREADS, patchify, (const float *images, float *rows, size_t n, unsigned channels, unsigned h, unsigned w, unsigned px)) {
  size_t i = size_t(blockIdx.x) * THREADS + threadIdx.x;
  if (i < n) rows[i] = images[pixel_of(i, channels, h, w, px)];
}
KERNEL(THREADS, unpatchify, (const float *rows, float *images, size_t n, unsigned channels, unsigned h, unsigned w, unsigned px)) {
  size_t i = size_t(blockIdx.x) * THREADS + threadIdx.x;
  if (i < n) images[pixel_of(i, channels, h, w, px)] = rows[i];
}

// Sums of values and squares over a window of each pixel's row, then of columns of them: [n] each.
KERNEL(THREADS, window_sums, (const float *images, double2 *sums, size_t n, unsigned width, unsigned window)) {
  size_t i = size_t(blockIdx.x) * THREADS + threadIdx.x;
  if (i >= n) return;
  int x = int(i % width), half = int(window / 2);
  int from = x < half ? 0 : x - half, end = x + half + 1 < int(width) ? x + half + 1 : int(width);
  double2 sum = {0.0, 0.0};
  for (int at = from; at < end; at++) {
    double value = double(images[i - x + at]);
    sum.x += value;
    sum.y += value * value;
  }
  sums[i] = sum;
}

constexpr double LEAST_VARIANCE = 1e-6;
// The mean and the deviation around a pixel, the unbiased one; of one pixel it is √ε.
__device__ double2 around(const double2 *sums, size_t i, unsigned height, unsigned width, unsigned window) {
  int y = int(i / width % height), x = int(i % width), half = int(window / 2);
  int from = y < half ? 0 : y - half, end = y + half + 1 < int(height) ? y + half + 1 : int(height);
  int left = x < half ? 0 : x - half, right = x + half + 1 < int(width) ? x + half + 1 : int(width);
  double2 sum = {0.0, 0.0};
  for (int at = from; at < end; at++) {
    double2 row = sums[i + (ptrdiff_t(at) - y) * ptrdiff_t(width)];
    sum.x += row.x;
    sum.y += row.y;
  }
  double n = double(end - from) * double(right - left), mean = sum.x / n;
  double variance = (sum.y / n - mean * mean) * n / (n > 2.0 ? n - 1.0 : 1.0);
  return {mean, sqrt((variance > 0.0 ? variance : 0.0) + LEAST_VARIANCE)};
}
KERNEL(THREADS, norm_target, (const float *images, const double2 *sums, float *out, size_t n, unsigned height, unsigned width,
                              unsigned window)) {
  size_t i = size_t(blockIdx.x) * THREADS + threadIdx.x;
  if (i >= n) return;
  double2 of = around(sums, i, height, width, window);
  out[i] = float((double(images[i]) - of.x) / of.y);
}
KERNEL(THREADS, undo_norm_target, (const float *normalised, const double2 *sums, float *out, size_t n, unsigned height,
                                   unsigned width, unsigned window)) {
  size_t i = size_t(blockIdx.x) * THREADS + threadIdx.x;
  if (i >= n) return;
  double2 of = around(sums, i, height, width, window);
  out[i] = float(double(normalised[i]) * of.y + of.x);
}

// `n` values of the small images, of rows of w; the large ones have `factor` times as many columns and rows.
KERNEL(THREADS, downscale, (const float *images, float *out, size_t n, unsigned w, unsigned factor)) {
  size_t i = size_t(blockIdx.x) * THREADS + threadIdx.x;
  if (i >= n) return;
  size_t row = i / w;
  const float *from = images + row * factor * w * factor + i % w * factor;
  float sum = 0.f;
  for (unsigned y = 0; y < factor; y++)
    for (unsigned x = 0; x < factor; x++) sum += from[size_t(y) * w * factor + x];
  out[i] = sum * (1.f / float(factor * factor));
}
// `n` values of the large images; w is that of the small ones.
KERNEL(THREADS, enlarge, (const float *images, float *out, size_t n, unsigned w, unsigned factor)) {
  size_t i = size_t(blockIdx.x) * THREADS + threadIdx.x;
  if (i >= n) return;
  unsigned wide_row = w * factor;
  out[i] = images[i / wide_row / factor * w + i % wide_row / factor];
}
KERNEL(THREADS, scale_channels, (const float *images, const float *scale, const float *shift, float *out, size_t n,
                                 unsigned plane_len, unsigned channels)) {
  size_t i = size_t(blockIdx.x) * THREADS + threadIdx.x;
  if (i >= n) return;
  unsigned channel = unsigned(i / plane_len % channels);
  out[i] = scale[channel] * images[i] + shift[channel];
}
