// What the kernels use beyond CUDA C++ itself, and what several of them share.
//
// Kernels are compiled by NVRTC, which has no header files, and for tests by a C++ compiler, where shim.h stands for the GPU.
#pragma once
#ifdef __CUDACC__
#define INFINITY __uint_as_float(0x7f800000u)
#define KERNEL(threads, name, params) extern "C" __global__ void __launch_bounds__(threads) name params
// One that keeps sums of products in registers, as many as it needs.
#define KERNEL_WITH_SUMS(threads, name, params) extern "C" __global__ void __launch_bounds__(threads, 1) name params
#define DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]
struct bf16 { unsigned short bits; };
__device__ __forceinline__ bf16 to_bf16(float x) {
  bf16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}
__device__ __forceinline__ unsigned pack_bf16(float low, float high) {
  unsigned y;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
}
// Four matrices of 8 x 8 values from shared memory: lane l names row l % 8 of matrix l / 8, and gets of each matrix the values 2 (l % 4) and
// the next of row l / 4. Source: NVIDIA's PTX manual, ldmatrix.
__device__ __forceinline__ void load_matrices(unsigned (&r)[4], const bf16 *row) {
  unsigned at = unsigned(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
// The same, transposed: values 2 (l % 4) and the next of column l / 4.
__device__ __forceinline__ void load_matrices_transposed(unsigned (&r)[4], const bf16 *row) {
  unsigned at = unsigned(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
// c += a b of 16 x 16 by 16 x 8 values, spread over a warp. Source: NVIDIA's PTX manual, mma.m16n8k16.
__device__ __forceinline__ void multiply_add(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#else
#include "shim.h"
#endif

// The instances of a kernel for each kind of its floats: f is float, b is bf16, in the order of its parameters.
#define FOR_EACH_KIND(DEFINE) DEFINE(float, f) DEFINE(bf16, b)
#define FOR_EACH_PAIR(DEFINE) \
  DEFINE(float, float, ff) DEFINE(float, bf16, fb) DEFINE(bf16, float, bf) DEFINE(bf16, bf16, bb)
#define FOR_EACH_TRIPLE(DEFINE)                                                                       \
  DEFINE(float, float, float, fff) DEFINE(float, float, bf16, ffb) DEFINE(float, bf16, float, fbf)    \
  DEFINE(float, bf16, bf16, fbb) DEFINE(bf16, float, float, bff) DEFINE(bf16, float, bf16, bfb)       \
  DEFINE(bf16, bf16, float, bbf) DEFINE(bf16, bf16, bf16, bbb)

constexpr unsigned ALL = 0xffffffffu;
// Threads of most blocks, and rows of a block where a warp takes a row.
constexpr unsigned THREADS = 256;
constexpr unsigned ROWS = THREADS / 32;

__device__ __forceinline__ float wide(float x) { return x; }
__device__ __forceinline__ float wide(bf16 x) { return __uint_as_float(unsigned(x.bits) << 16); }
template <class T> __device__ __forceinline__ T narrow(float x);
template <> __device__ __forceinline__ float narrow<float>(float x) { return x; }
template <> __device__ __forceinline__ bf16 narrow<bf16>(float x) { return to_bf16(x); }

__device__ __forceinline__ float4 load_quad(const float *p) { return *reinterpret_cast<const float4 *>(p); }
__device__ __forceinline__ float4 load_quad(const bf16 *p) {
  uint2 v = *reinterpret_cast<const uint2 *>(p);
  return {__uint_as_float(v.x << 16), __uint_as_float(v.x & 0xffff0000u), __uint_as_float(v.y << 16),
          __uint_as_float(v.y & 0xffff0000u)};
}
__device__ __forceinline__ void store_quad(float *p, float4 v) { *reinterpret_cast<float4 *>(p) = v; }
__device__ __forceinline__ void store_quad(bf16 *p, float4 v) {
  *reinterpret_cast<uint2 *>(p) = {pack_bf16(v.x, v.y), pack_bf16(v.z, v.w)};
}

// Four values of a row or array of `n` from place `i`, a multiple of four; zeros beyond the end. `whole`: the quad ends before n,
// and the array begins at a multiple of four values.
template <class T> __device__ __forceinline__ float4 load4(const T *p, size_t i, size_t n, bool whole) {
  if (whole) return load_quad(p + i);
  return {i < n ? wide(p[i]) : 0.f, i + 1 < n ? wide(p[i + 1]) : 0.f, i + 2 < n ? wide(p[i + 2]) : 0.f,
          i + 3 < n ? wide(p[i + 3]) : 0.f};
}
template <class T> __device__ __forceinline__ void store4(T *p, size_t i, size_t n, bool whole, float4 v) {
  if (whole) {
    store_quad(p + i, v);
    return;
  }
  if (i < n) p[i] = narrow<T>(v.x);
  if (i + 1 < n) p[i + 1] = narrow<T>(v.y);
  if (i + 2 < n) p[i + 2] = narrow<T>(v.z);
  if (i + 3 < n) p[i + 3] = narrow<T>(v.w);
}

template <class F> __device__ __forceinline__ float4 map4(float4 a, F f) { return {f(a.x), f(a.y), f(a.z), f(a.w)}; }
template <class F> __device__ __forceinline__ float4 zip4(float4 a, float4 b, F f) {
  return {f(a.x, b.x), f(a.y, b.y), f(a.z, b.z), f(a.w, b.w)};
}
__device__ __forceinline__ float sum4(float4 a) { return (a.x + a.y) + (a.z + a.w); }

// Calls `f(i, whole)` for each quad of an array of n values, over all threads of the grid.
template <class F> __device__ __forceinline__ void for_quads(size_t n, F f) {
  size_t stride = size_t(gridDim.x) * blockDim.x * 4;
  for (size_t i = (size_t(blockIdx.x) * blockDim.x + threadIdx.x) * 4; i < n; i += stride) f(i, i + 4 <= n);
}

// The row of this warp where each warp of the grid takes one.
__device__ __forceinline__ size_t warp_row() { return size_t(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32; }
__device__ __forceinline__ unsigned lane() { return threadIdx.x % 32; }
// Calls `f(c, whole)` for each quad of columns of a row of `width`, over the lanes of a warp.
template <class F> __device__ __forceinline__ void for_columns(unsigned width, F f) {
  bool whole = width % 4 == 0;
  for (unsigned c = lane() * 4; c < width; c += 128) f(c, whole);
}

template <class T> __device__ __forceinline__ T warp_sum(T v) {
#pragma unroll
  for (int i = 16; i > 0; i /= 2) v += __shfl_xor_sync(ALL, v, i);
  return v;
}
__device__ __forceinline__ float warp_max(float v) {
#pragma unroll
  for (int i = 16; i > 0; i /= 2) v = fmaxf(v, __shfl_xor_sync(ALL, v, i));
  return v;
}
// The sum over a block of THREADS threads, for its first thread. Once a kernel: there is no barrier at its end.
__device__ __forceinline__ double block_sum(double v) {
  __shared__ double partial[ROWS];
  v = warp_sum(v);
  if (lane() == 0) partial[threadIdx.x / 32] = v;
  __syncthreads();
  double sum = 0.0;
  if (threadIdx.x == 0)
    for (unsigned w = 0; w < ROWS; w++) sum += partial[w];
  return sum;
}

// N sums of each column of rows of `width`: `value(row, column, sums)` adds what a row has. Blocks (x: 32 columns, y: a part of
// the rows) write parts [N, gridDim.y, width], which add_parts adds up: the order depends on the shape alone.
template <int N, class F> __device__ void column_sums(size_t rows, unsigned width, float *parts, F value) {
  __shared__ float all[N][ROWS][33];
  unsigned column = blockIdx.x * 32 + lane(), y = threadIdx.x / 32;
  size_t each = (rows + gridDim.y - 1) / gridDim.y, from = blockIdx.y * each;
  size_t end = from + each < rows ? from + each : rows;
  float sums[N] = {};
  if (column < width)
    for (size_t row = from + y; row < end; row += ROWS) value(row, column, sums);
#pragma unroll
  for (int k = 0; k < N; k++) all[k][y][lane()] = sums[k];
  __syncthreads();
  if (y != 0 || column >= width) return;
#pragma unroll
  for (int k = 0; k < N; k++) {
    float sum = 0.f;
    for (unsigned i = 0; i < ROWS; i++) sum += all[k][i][lane()];
    parts[(size_t(k) * gridDim.y + blockIdx.y) * width + column] = sum;
  }
}

// eˣ, Φ(x) and φ(x) are those of the processor's kernels (`simmim-cpu/src/math.rs`), which says where they come from.
__device__ __forceinline__ float2 normal(float x) {
  float gauss = expf(-0.5f * x * x);
  float t = 1.f / (1.f + 0.3f * 0.70710678f * fabsf(x));
  float p = -1.2940668e-1f;
  p = fmaf(p, t, 4.849523e-1f);
  p = fmaf(p, t, -5.109012e-1f);
  p = fmaf(p, t, 5.459847e-1f);
  p = fmaf(p, t, -9.3314976e-2f);
  p = fmaf(p, t, 2.1428404e-1f);
  p = fmaf(p, t, 1.4852706e-1f);
  p = fmaf(p, t, 1.7068466e-1f);
  p = fmaf(p, t, 1.6919012e-1f);
  float tail = 0.5f * t * p * gauss;
  return {x < 0.f ? tail : 1.f - tail, 0.3989423f * gauss};
}
