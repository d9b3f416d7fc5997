// Attention in bf16 on tensor cores: what attention.cu computes, for heads of at most 128 values.
//
// A warp takes 16 rows, and its products are of 16 x 16 by 16 x 8 values: a thread then holds rows g and g + 8 of a product, and of each
// eight columns 2t and 2t + 1, where g is a quarter of its lane and t the rest. The logits that come out of one product so lie as the next
// one wants its left side, without going through memory (T. Dao, arXiv 2307.08691, section 3.1, and NVIDIA's PTX manual, "Matrix
// Fragments for mma.m16n8k16"). Heads are filled up with zeros to D values, a multiple of 32.
#include "device.cuh"

namespace mma {
constexpr unsigned WARPS = 4;
constexpr unsigned SIDE = 16 * WARPS; // rows of a tile

// Rows of one window in shared memory. Eight values more than it needs: eight rows then begin in eight different groups of banks.
template <int D> struct Tile {
  static constexpr unsigned STRIDE = D + 8;
  static constexpr unsigned LENGTH = SIDE * STRIDE;
  bf16 *at;

  // Fills all rows, from place `first` on, with the vectors that begin where `where(place)` says.
  template <class F> __device__ void fill(const bf16 *from, unsigned first, const Shape &shape, F where) const {
    bool in_eights = shape.head_dim % 8 == 0;
    for (unsigned i = threadIdx.x; i < SIDE * (D / 8); i += blockDim.x) {
      unsigned row = i / (D / 8), d = i % (D / 8) * 8;
      uint4 eight = {0, 0, 0, 0};
      if (first + row < shape.tokens && d < shape.head_dim) {
        const bf16 *p = from + where(first + row) + d;
        if (in_eights) {
          eight = *reinterpret_cast<const uint4 *>(p);
        } else {
          unsigned n = min(8u, shape.head_dim - d);
          auto value = [&](unsigned k) { return k < n ? unsigned(p[k].bits) : 0u; };
          auto pair = [&](unsigned k) { return value(k) | value(k + 1) << 16; };
          eight = {pair(0), pair(2), pair(4), pair(6)};
        }
      }
      *reinterpret_cast<uint4 *>(at + row * STRIDE + d) = eight;
    }
  }
  // 16 rows from `row` on by 16 columns from `column` on: the left side of a product.
  __device__ __forceinline__ void left(unsigned (&a)[4], unsigned row, unsigned column) const {
    load_matrices(a, at + (row + lane() % 16) * STRIDE + column + lane() / 16 * 8);
  }
  // The same values transposed, 16 rows of which are then columns: the right sides of two products whose sums run over columns here.
  __device__ __forceinline__ void right(unsigned (&b)[4], unsigned row, unsigned column) const {
    load_matrices(b, at + (row + lane() / 16 * 8 + lane() % 8) * STRIDE + column + lane() / 8 % 2 * 8);
  }
  // The right sides of two products whose sums run over rows.
  __device__ __forceinline__ void right_along_rows(unsigned (&b)[4], unsigned row, unsigned column) const {
    load_matrices_transposed(b, at + (row + lane() % 16) * STRIDE + column + lane() / 16 * 8);
  }
};

// 16 rows by 8 N columns of sums, spread over a warp.
template <int N> struct Sums {
  float at[N][4];
  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) at[n][i] = 0.f;
  }
  // Multiplies each row by its factor.
  __device__ __forceinline__ void scale(const float (&factor)[2]) {
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) at[n][i] *= factor[i / 2];
  }
  // The product of a left side with the right sides of columns 16 n.. .
  __device__ __forceinline__ void add(int n, const unsigned (&a)[4], const unsigned (&b)[4]) {
    multiply_add(at[2 * n], a, b[0], b[1]);
    multiply_add(at[2 * n + 1], a, b[2], b[3]);
  }
  // Columns 16 n.. as the left side of a product.
  __device__ __forceinline__ void as_left(unsigned (&a)[4], int n) const {
    a[0] = pack_bf16(at[2 * n][0], at[2 * n][1]);
    a[1] = pack_bf16(at[2 * n][2], at[2 * n][3]);
    a[2] = pack_bf16(at[2 * n + 1][0], at[2 * n + 1][1]);
    a[3] = pack_bf16(at[2 * n + 1][2], at[2 * n + 1][3]);
  }
};
// Of a thread's sums: which row, of 16, and which column of the eight that value i belongs to.
__device__ __forceinline__ unsigned row_of(int i) { return lane() / 4 + i / 2 * 8; }
__device__ __forceinline__ unsigned column_of(int i) { return lane() % 4 * 2 + i % 2; }

// Sums of 16 rows of a tile by 16 rows of another.
template <int D>
__device__ __forceinline__ void products(Sums<2> &sums, const Tile<D> &rows, unsigned row, const Tile<D> &columns,
                                         unsigned column) {
  sums.clear();
#pragma unroll
  for (int d = 0; d < D; d += 16) {
    unsigned a[4], b[4];
    rows.left(a, row, d);
    columns.right(b, column, d);
    sums.add(0, a, b);
  }
}
// to += weights · rows: 16 weights of each row by 16 rows of a tile.
template <int D>
__device__ __forceinline__ void add_weighed(Sums<D / 8> &to, const Sums<2> &weights, const Tile<D> &rows, unsigned row) {
  unsigned a[4], b[4];
  weights.as_left(a, 0);
#pragma unroll
  for (int d = 0; d < D / 16; d++) {
    rows.right_along_rows(b, row, d * 16);
    to.add(d, a, b);
  }
}
// Writes 16 rows of sums, each times its factor, where `where(place)` says; rows from place `first` on.
template <int D, class F>
__device__ __forceinline__ void store(bf16 *to, const Sums<D / 8> &sums, const float (&factor)[2], unsigned first,
                                      const Shape &shape, F where) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    unsigned place = first + row_of(2 * half);
    if (place >= shape.tokens) continue;
    bf16 *row = to + where(place);
#pragma unroll
    for (int n = 0; n < D / 8; n++)
#pragma unroll
      for (int i = 0; i < 2; i++) {
        unsigned d = n * 8 + column_of(i);
        if (d < shape.head_dim) row[d] = to_bf16(sums.at[n][2 * half + i] * factor[half]);
      }
  }
}
// Over the four lanes that hold a row.
__device__ __forceinline__ float row_sum(float v) {
  v += __shfl_xor_sync(ALL, v, 1);
  return v + __shfl_xor_sync(ALL, v, 2);
}
__device__ __forceinline__ float row_max(float v) {
  v = fmaxf(v, __shfl_xor_sync(ALL, v, 1));
  return fmaxf(v, __shfl_xor_sync(ALL, v, 2));
}

// What a thread knows of its two rows while it looks at tile after tile of keys: a softmax that is computed on the way.
struct Running {
  float largest[2] = {-INFINITY, -INFINITY};
  float total[2] = {0.f, 0.f}; // of this thread's own columns

  // Makes logits weights, relative to the largest so far; says by which factor what was summed before counts.
  template <int N> __device__ __forceinline__ void weigh(Sums<N> &s, float (&keep)[2]) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float now = largest[half];
#pragma unroll
      for (int n = 0; n < N; n++) now = fmaxf(now, fmaxf(s.at[n][2 * half], s.at[n][2 * half + 1]));
      now = row_max(now);
      // Where nothing is finite yet, nothing is subtracted: what is infinite stays so, and is no number in the end.
      float base = now == -INFINITY ? 0.f : now;
      keep[half] = expf(largest[half] - base);
      largest[half] = now;
      float sum = 0.f;
#pragma unroll
      for (int n = 0; n < N; n++)
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; i++) sum += s.at[n][i] = expf(s.at[n][i] - base);
      total[half] = total[half] * keep[half] + sum;
    }
  }
};

// Blocks: (tile of SIDE queries, group).
template <int D> __device__ void forward(const bf16 *qkv, const Shape &shape, bf16 *out, float *sums) {
  DYNAMIC_SHARED(memory);
  bf16 *at = reinterpret_cast<bf16 *>(memory);
  Tile<D> q = {at}, k = {at + Tile<D>::LENGTH}, v = {at + 2 * Tile<D>::LENGTH};
  unsigned n_tiles = (shape.tokens + SIDE - 1) / SIDE, own = threadIdx.x / 32 * 16;
  Group group(shape, blockIdx.x / n_tiles);
  unsigned first = blockIdx.x % n_tiles * SIDE;
  q.fill(qkv, first, shape, [&](unsigned place) { return group.of_qkv(place, 0); });
  Sums<D / 8> o;
  o.clear();
  Running running;
#pragma unroll 1
  for (unsigned from = 0; from < shape.tokens; from += SIDE) {
    __syncthreads();
    k.fill(qkv, from, shape, [&](unsigned place) { return group.of_qkv(place, 1); });
    v.fill(qkv, from, shape, [&](unsigned place) { return group.of_qkv(place, 2); });
    __syncthreads();
    if (first + own >= shape.tokens) continue;
    Sums<SIDE / 8> s;
    s.clear();
#pragma unroll
    for (int d = 0; d < D; d += 16) {
      unsigned a[4], b[4];
      q.left(a, own, d);
#pragma unroll
      for (int n = 0; n < int(SIDE / 16); n++) {
        k.right(b, n * 16, d);
        s.add(n, a, b);
      }
    }
#pragma unroll
    for (int n = 0; n < int(SIDE / 8); n++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        unsigned query = first + own + row_of(i), key = from + n * 8 + column_of(i);
        bool counts = query < shape.tokens && key < shape.tokens;
        s.at[n][i] = counts ? group.logit(s.at[n][i], query, key) : -INFINITY;
      }
    float keep[2];
    running.weigh(s, keep);
    o.scale(keep);
#pragma unroll
    for (int n = 0; n < int(SIDE / 16); n++) {
      unsigned a[4], b[4];
      s.as_left(a, n);
#pragma unroll
      for (int d = 0; d < D / 16; d++) {
        v.right_along_rows(b, n * 16, d * 16);
        o.add(d, a, b);
      }
    }
  }
  if (first + own >= shape.tokens) return;
  float inverse[2];
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float total = row_sum(running.total[half]);
    inverse[half] = 1.f / total;
    unsigned query = first + own + row_of(2 * half);
    if (query < shape.tokens && lane() % 4 == 0) sums[group.of_stats() + query] = running.largest[half] + logf(total);
  }
  store<D>(out, o, inverse, first + own, shape, [&](unsigned place) { return group.of_out(place); });
}

// What of the forward and its gradient belongs to a query.
struct Row {
  float sum, delta;
};
// The weight of a pair, and the gradient of its logit.
struct Pair {
  float weight, slope;
};
__device__ __forceinline__ Pair pair_of(const Group &group, float dot, float dweight, Row row, unsigned query, unsigned key) {
  const Shape &shape = group.shape;
  if (query >= shape.tokens || key >= shape.tokens) return {0.f, 0.f};
  float weight = expf(group.logit(dot, query, key) - row.sum);
  return {weight, weight * (dweight - row.delta)};
}

// The gradient of the queries, and parts of that of the bias, [n_parts, N, T, T], where there is one; writes rowsum(dO ∘ O) of
// each row to `deltas` for the keys' kernel. Blocks: (tile of SIDE queries, head, part of the windows).
template <int D>
__device__ void backward_queries(const bf16 *qkv, const bf16 *out, const bf16 *dout, const Shape &shape, const float *sums,
                                 float *deltas, bf16 *dqkv, float *dbias, size_t n_windows, size_t n_parts) {
  DYNAMIC_SHARED(memory);
  bf16 *at = reinterpret_cast<bf16 *>(memory);
  Tile<D> q = {at}, g = {at + Tile<D>::LENGTH}, k = {at + 2 * Tile<D>::LENGTH}, v = {at + 3 * Tile<D>::LENGTH};
  unsigned n_tiles = (shape.tokens + SIDE - 1) / SIDE, own = threadIdx.x / 32 * 16;
  unsigned head = blockIdx.x / n_tiles % shape.heads, first = blockIdx.x % n_tiles * SIDE;
  size_t part = blockIdx.x / n_tiles / shape.heads;
  if (dbias) dbias += (part * shape.heads + head) * shape.tokens * shape.tokens;
#pragma unroll 1
  for (size_t window = part; window < n_windows; window += n_parts) {
    Group group(shape, window * shape.heads + head);
    __syncthreads();
    q.fill(qkv, first, shape, [&](unsigned place) { return group.of_qkv(place, 0); });
    g.fill(dout, first, shape, [&](unsigned place) { return group.of_out(place); });
    Row rows[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      unsigned query = first + own + row_of(2 * half);
      float sum = 0.f;
      if (query < shape.tokens)
        for (unsigned d = lane() % 4; d < shape.head_dim; d += 4) {
          size_t place = group.of_out(query) + d;
          sum += wide(out[place]) * wide(dout[place]);
        }
      rows[half] = {query < shape.tokens ? sums[group.of_stats() + query] : 0.f, row_sum(sum)};
      if (query < shape.tokens && lane() % 4 == 0) deltas[group.of_stats() + query] = rows[half].delta;
    }
    Sums<D / 8> dq;
    dq.clear();
#pragma unroll 1
    for (unsigned from = 0; from < shape.tokens; from += SIDE) {
      __syncthreads();
      k.fill(qkv, from, shape, [&](unsigned place) { return group.of_qkv(place, 1); });
      v.fill(qkv, from, shape, [&](unsigned place) { return group.of_qkv(place, 2); });
      __syncthreads();
      if (first + own >= shape.tokens) continue;
#pragma unroll 1
      for (unsigned n = 0; n < SIDE && from + n < shape.tokens; n += 16) {
        Sums<2> s, dweights;
        products(s, q, own, k, n);
        products(dweights, g, own, v, n);
#pragma unroll
        for (int j = 0; j < 2; j++)
#pragma unroll
          for (int i = 0; i < 4; i++) {
            unsigned query = first + own + row_of(i), key = from + n + j * 8 + column_of(i);
            float slope = pair_of(group, s.at[j][i], dweights.at[j][i], rows[i / 2], query, key).slope;
            s.at[j][i] = slope * shape.scale;
            if (!dbias || query >= shape.tokens || key >= shape.tokens) continue;
            // This thread alone has this pair, in all windows of the part.
            float *sum = dbias + size_t(query) * shape.tokens + key;
            *sum = window == part ? slope : *sum + slope;
          }
        add_weighed<D>(dq, s, k, n);
      }
    }
    const float whole[2] = {1.f, 1.f};
    if (first + own < shape.tokens)
      store<D>(dqkv, dq, whole, first + own, shape, [&](unsigned place) { return group.of_qkv(place, 0); });
  }
}

// The gradients of keys and values. Blocks: (tile of SIDE keys, group).
template <int D>
__device__ void backward_keys(const bf16 *qkv, const bf16 *dout, const Shape &shape, const float *sums, const float *deltas,
                              bf16 *dqkv) {
  DYNAMIC_SHARED(memory);
  bf16 *at = reinterpret_cast<bf16 *>(memory);
  Tile<D> k = {at}, v = {at + Tile<D>::LENGTH}, q = {at + 2 * Tile<D>::LENGTH}, g = {at + 3 * Tile<D>::LENGTH};
  Row *rows = reinterpret_cast<Row *>(at + 4 * Tile<D>::LENGTH);
  unsigned n_tiles = (shape.tokens + SIDE - 1) / SIDE, own = threadIdx.x / 32 * 16;
  Group group(shape, blockIdx.x / n_tiles);
  unsigned first = blockIdx.x % n_tiles * SIDE;
  k.fill(qkv, first, shape, [&](unsigned place) { return group.of_qkv(place, 1); });
  v.fill(qkv, first, shape, [&](unsigned place) { return group.of_qkv(place, 2); });
  Sums<D / 8> dk, dv;
  dk.clear();
  dv.clear();
#pragma unroll 1
  for (unsigned from = 0; from < shape.tokens; from += SIDE) {
    __syncthreads();
    q.fill(qkv, from, shape, [&](unsigned place) { return group.of_qkv(place, 0); });
    g.fill(dout, from, shape, [&](unsigned place) { return group.of_out(place); });
    if (threadIdx.x < SIDE) {
      size_t at = group.of_stats() + from + threadIdx.x;
      bool is_there = from + threadIdx.x < shape.tokens;
      rows[threadIdx.x] = {is_there ? sums[at] : 0.f, is_there ? deltas[at] : 0.f};
    }
    __syncthreads();
    if (first + own >= shape.tokens) continue;
#pragma unroll 1
    for (unsigned n = 0; n < SIDE && from + n < shape.tokens; n += 16) {
      // Rows are keys here, and columns queries.
      Sums<2> s, dweights;
      products(s, k, own, q, n);
      products(dweights, v, own, g, n);
#pragma unroll
      for (int j = 0; j < 2; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
          unsigned column = n + j * 8 + column_of(i);
          Pair pair = pair_of(group, s.at[j][i], dweights.at[j][i], rows[column], from + column, first + own + row_of(i));
          s.at[j][i] = pair.weight;
          dweights.at[j][i] = pair.slope * shape.scale;
        }
      add_weighed<D>(dv, s, g, n);
      add_weighed<D>(dk, dweights, q, n);
    }
  }
  if (first + own >= shape.tokens) return;
  const float whole[2] = {1.f, 1.f};
  store<D>(dqkv, dk, whole, first + own, shape, [&](unsigned place) { return group.of_qkv(place, 1); });
  store<D>(dqkv, dv, whole, first + own, shape, [&](unsigned place) { return group.of_qkv(place, 2); });
}
}  // namespace mma

#define DEFINE(D) \
  KERNEL_WITH_SUMS(mma::WARPS * 32, attention_mma_##D, (const bf16 *qkv, bf16 *out, float *sums, SHAPE_PARAMS)) { \
    mma::forward<D>(qkv, SHAPE, out, sums); \
  } \
  KERNEL_WITH_SUMS(mma::WARPS * 32, attention_mma_backward_queries_##D, (const bf16 *qkv, const bf16 *out, const bf16 *dout, \
                                                               const float *sums, float *deltas, bf16 *dqkv, float *dbias, \
                                                               size_t n_windows, size_t n_parts, SHAPE_PARAMS)) { \
    mma::backward_queries<D>(qkv, out, dout, SHAPE, sums, deltas, dqkv, dbias, n_windows, n_parts); \
  } \
  KERNEL_WITH_SUMS(mma::WARPS * 32, attention_mma_backward_keys_##D, (const bf16 *qkv, const bf16 *dout, const float *sums, \
                                                            const float *deltas, bf16 *dqkv, SHAPE_PARAMS)) { \
    mma::backward_keys<D>(qkv, dout, SHAPE, sums, deltas, dqkv); \
  }
DEFINE(32)
DEFINE(64)
DEFINE(96)
DEFINE(128)
#undef DEFINE
