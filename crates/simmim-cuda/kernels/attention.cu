// Attention within images or windows, with bias and regions: the twin of simmim-cpu/src/attention/. In f32, for heads of any width;
// attention_mma.cu has that in bf16.
//
// Nothing of T x T lies in memory. The forward keeps the logarithm of each row's sum, from which the backward computes weights
// again: once by rows of queries for dq, once by rows of keys for dk and dv, and by tiles of both for the gradient of the bias.
// Sums run over tiles in their order, so that the same shape gives the same bits.
#include "device.cuh"

constexpr unsigned WARPS = 4;
constexpr unsigned OWN = 16;           // rows of a block, each taken by one warp
constexpr unsigned EACH = OWN / WARPS; // of a warp
constexpr unsigned SIDE = 16;          // of a tile of the bias's gradient, a thread each pair
static_assert(SIDE * SIDE == THREADS);
constexpr float OTHER_REGION = -100.f;

struct Shape {
  const unsigned *order, *regions; // of the places of all windows of an image, or null
  const float *bias;               // [N, T, T], or null
  unsigned windows, heads, tokens, head_dim;
  float scale;
};
#define SHAPE_PARAMS                                                                                                  \
  const unsigned *order, const unsigned *regions, const float *bias, unsigned windows, unsigned heads, unsigned tokens, \
      unsigned head_dim, float scale
#define SHAPE {order, regions, bias, windows, heads, tokens, head_dim, scale}

// One head of one window.
struct Group {
  Shape shape;
  size_t image;
  unsigned window, head;

  __device__ Group(const Shape &shape, size_t idx)
      : shape(shape), image(idx / shape.heads / shape.windows), window(unsigned(idx / shape.heads % shape.windows)),
        head(unsigned(idx % shape.heads)) {}
  // The token at a place, counted through all images.
  __device__ __forceinline__ size_t token(unsigned place) const {
    unsigned at = window * shape.tokens + place;
    return image * shape.windows * shape.tokens + (shape.order ? shape.order[at] : at);
  }
  // Where the vector of a token begins: part 0, 1, 2 of q, k, v.
  __device__ __forceinline__ size_t of_qkv(unsigned place, unsigned part) const {
    return ((token(place) * 3 + part) * shape.heads + head) * shape.head_dim;
  }
  __device__ __forceinline__ size_t of_out(unsigned place) const {
    return (token(place) * shape.heads + head) * shape.head_dim;
  }
  // Where the statistics of its rows begin.
  __device__ __forceinline__ size_t of_stats() const {
    return ((image * shape.windows + window) * shape.heads + head) * shape.tokens;
  }
  __device__ __forceinline__ float logit(float dot, unsigned query, unsigned key) const {
    float s = dot * shape.scale;
    if (shape.bias) s += shape.bias[(size_t(head) * shape.tokens + query) * shape.tokens + key];
    if (shape.regions) {
      const unsigned *regions = shape.regions + window * shape.tokens;
      if (regions[query] != regions[key]) s += OTHER_REGION;
    }
    return s;
  }
};

// Rows of a tile in shared memory, one value apart from a whole number of banks.
struct Tile {
  float *at;
  unsigned stride;
  __device__ __forceinline__ float *row(unsigned i) const { return at + i * stride; }
};
// Cuts shared memory into tiles.
struct Cutter {
  float *at;
  unsigned stride;
  __device__ Tile take(unsigned rows) {
    Tile tile = {at, stride};
    at += rows * stride;
    return tile;
  }
};
// Fills `rows` rows from place `first` on; those beyond the last token are zeros. `where(place)` is where a vector begins.
template <class F>
__device__ void fill_tile(const Tile &tile, const float *from, unsigned rows, unsigned first, const Shape &shape, F where) {
  for (unsigned i = threadIdx.x / 32; i < rows; i += blockDim.x / 32) {
    bool is_there = first + i < shape.tokens;
    const float *row = is_there ? from + where(first + i) : from;
    for (unsigned d = lane(); d < shape.head_dim; d += 32) tile.row(i)[d] = is_there ? row[d] : 0.f;
  }
}
__device__ __forceinline__ float dot(const float *a, const float *b, unsigned n) {
  float sum = 0.f;
  for (unsigned d = 0; d < n; d++) sum += a[d] * b[d];
  return sum;
}
// to[d] = to[d] * keep + Σ weights[j] rows[j][d], over the lanes of a warp.
__device__ __forceinline__ void add_weighed(float *to, float keep, const float *weights, const Tile &rows, unsigned n,
                                            unsigned width) {
  for (unsigned d = lane(); d < width; d += 32) {
    float sum = to[d] * keep;
    for (unsigned j = 0; j < n; j++) sum += weights[j] * rows.row(j)[d];
    to[d] = sum;
  }
}
__device__ __forceinline__ void clear(float *row, unsigned width) {
  for (unsigned d = lane(); d < width; d += 32) row[d] = 0.f;
}

// Blocks: (tile of OWN queries, group). `most`: keys that are looked at at a time, 32 at the most.
__device__ void forward(const float *qkv, const Shape &shape, float *out, float *sums, unsigned most) {
  DYNAMIC_SHARED(memory);
  unsigned n_tiles = (shape.tokens + OWN - 1) / OWN, D = shape.head_dim;
  Group group(shape, blockIdx.x / n_tiles);
  unsigned first = blockIdx.x % n_tiles * OWN, warp = threadIdx.x / 32;
  Cutter cut = {reinterpret_cast<float *>(memory), D + 1};
  Tile q = cut.take(OWN), o = cut.take(OWN), k = cut.take(most), v = cut.take(most);
  float *largest = cut.at, *total = largest + OWN, *weights = total + OWN + warp * 32;
  fill_tile(q, qkv, OWN, first, shape, [&](unsigned place) { return group.of_qkv(place, 0); });
#pragma unroll 1
  for (unsigned own = warp * EACH; own < (warp + 1) * EACH; own++) {
    clear(o.row(own), D);
    if (lane() != 0) continue;
    largest[own] = -INFINITY;
    total[own] = 0.f;
  }
  for (unsigned from = 0; from < shape.tokens; from += most) {
    __syncthreads();
    fill_tile(k, qkv, most, from, shape, [&](unsigned place) { return group.of_qkv(place, 1); });
    fill_tile(v, qkv, most, from, shape, [&](unsigned place) { return group.of_qkv(place, 2); });
    __syncthreads();
#pragma unroll 1
    for (unsigned own = warp * EACH; own < (warp + 1) * EACH; own++) {
      unsigned query = first + own, key = from + lane();
      if (query >= shape.tokens) continue;
      bool counts = lane() < most && key < shape.tokens;
      float s = counts ? group.logit(dot(q.row(own), k.row(lane()), D), query, key) : -INFINITY;
      float before = largest[own], now = fmaxf(before, warp_max(s));
      // Where nothing is finite yet, nothing is subtracted: what is infinite stays so, and is no number in the end.
      float base = now == -INFINITY ? 0.f : now;
      float weight = expf(s - base), keep = expf(before - base), sum = warp_sum(weight);
      if (lane() == 0) {
        largest[own] = now;
        total[own] = total[own] * keep + sum;
      }
      weights[lane()] = weight;
      __syncwarp();
      add_weighed(o.row(own), keep, weights, v, most, D);
      __syncwarp();
    }
  }
#pragma unroll 1
  for (unsigned own = warp * EACH; own < (warp + 1) * EACH; own++) {
    unsigned query = first + own;
    if (query >= shape.tokens) continue;
    float inverse = 1.f / total[own];
    for (unsigned d = lane(); d < D; d += 32) out[group.of_out(query) + d] = o.row(own)[d] * inverse;
    if (lane() == 0) sums[group.of_stats() + query] = largest[own] + logf(total[own]);
  }
}

// The gradient of the queries; writes rowsum(dO ∘ O) of each row to `deltas` for the two others. Blocks as in the forward.
__device__ void backward_queries(const float *qkv, const float *out, const float *dout, const Shape &shape, const float *sums,
                                 float *deltas, float *dqkv, unsigned most) {
  DYNAMIC_SHARED(memory);
  unsigned n_tiles = (shape.tokens + OWN - 1) / OWN, D = shape.head_dim;
  Group group(shape, blockIdx.x / n_tiles);
  unsigned first = blockIdx.x % n_tiles * OWN, warp = threadIdx.x / 32;
  Cutter cut = {reinterpret_cast<float *>(memory), D + 1};
  Tile q = cut.take(OWN), g = cut.take(OWN), dq = cut.take(OWN), k = cut.take(most), v = cut.take(most);
  float *delta = cut.at, *slopes = delta + OWN + warp * 32;
  fill_tile(q, qkv, OWN, first, shape, [&](unsigned place) { return group.of_qkv(place, 0); });
  fill_tile(g, dout, OWN, first, shape, [&](unsigned place) { return group.of_out(place); });
  __syncthreads();
#pragma unroll 1
  for (unsigned own = warp * EACH; own < (warp + 1) * EACH; own++) {
    unsigned query = first + own;
    clear(dq.row(own), D);
    if (query >= shape.tokens) continue;
    float sum = 0.f;
    for (unsigned d = lane(); d < D; d += 32) sum += out[group.of_out(query) + d] * g.row(own)[d];
    sum = warp_sum(sum);
    if (lane() == 0) delta[own] = deltas[group.of_stats() + query] = sum;
  }
  for (unsigned from = 0; from < shape.tokens; from += most) {
    __syncthreads();
    fill_tile(k, qkv, most, from, shape, [&](unsigned place) { return group.of_qkv(place, 1); });
    fill_tile(v, qkv, most, from, shape, [&](unsigned place) { return group.of_qkv(place, 2); });
    __syncthreads();
#pragma unroll 1
    for (unsigned own = warp * EACH; own < (warp + 1) * EACH; own++) {
      unsigned query = first + own, key = from + lane();
      if (query >= shape.tokens) continue;
      float slope = 0.f;
      if (lane() < most && key < shape.tokens) {
        float logit = group.logit(dot(q.row(own), k.row(lane()), D), query, key);
        float weight = expf(logit - sums[group.of_stats() + query]);
        slope = weight * (dot(g.row(own), v.row(lane()), D) - delta[own]) * shape.scale;
      }
      slopes[lane()] = slope;
      __syncwarp();
      add_weighed(dq.row(own), 1.f, slopes, k, most, D);
      __syncwarp();
    }
  }
#pragma unroll 1
  for (unsigned own = warp * EACH; own < (warp + 1) * EACH; own++) {
    unsigned query = first + own;
    if (query >= shape.tokens) continue;
    for (unsigned d = lane(); d < D; d += 32) dqkv[group.of_qkv(query, 0) + d] = dq.row(own)[d];
  }
}

// The gradients of keys and values. Blocks: (tile of OWN keys, group); queries are looked at `most` at a time.
__device__ void backward_keys(const float *qkv, const float *dout, const Shape &shape, const float *sums, const float *deltas,
                              float *dqkv, unsigned most) {
  DYNAMIC_SHARED(memory);
  unsigned n_tiles = (shape.tokens + OWN - 1) / OWN, D = shape.head_dim;
  Group group(shape, blockIdx.x / n_tiles);
  unsigned first = blockIdx.x % n_tiles * OWN, warp = threadIdx.x / 32;
  Cutter cut = {reinterpret_cast<float *>(memory), D + 1};
  Tile k = cut.take(OWN), v = cut.take(OWN), dk = cut.take(OWN), dv = cut.take(OWN), q = cut.take(most), g = cut.take(most);
  float *weights = cut.at + warp * 64, *slopes = weights + 32;
  fill_tile(k, qkv, OWN, first, shape, [&](unsigned place) { return group.of_qkv(place, 1); });
  fill_tile(v, qkv, OWN, first, shape, [&](unsigned place) { return group.of_qkv(place, 2); });
#pragma unroll 1
  for (unsigned own = warp * EACH; own < (warp + 1) * EACH; own++) {
    clear(dk.row(own), D);
    clear(dv.row(own), D);
  }
  for (unsigned from = 0; from < shape.tokens; from += most) {
    __syncthreads();
    fill_tile(q, qkv, most, from, shape, [&](unsigned place) { return group.of_qkv(place, 0); });
    fill_tile(g, dout, most, from, shape, [&](unsigned place) { return group.of_out(place); });
    __syncthreads();
#pragma unroll 1
    for (unsigned own = warp * EACH; own < (warp + 1) * EACH; own++) {
      unsigned key = first + own, query = from + lane();
      if (key >= shape.tokens) continue;
      float weight = 0.f, slope = 0.f;
      if (lane() < most && query < shape.tokens) {
        float logit = group.logit(dot(q.row(lane()), k.row(own), D), query, key);
        weight = expf(logit - sums[group.of_stats() + query]);
        slope = weight * (dot(g.row(lane()), v.row(own), D) - deltas[group.of_stats() + query]) * shape.scale;
      }
      weights[lane()] = weight;
      slopes[lane()] = slope;
      __syncwarp();
      add_weighed(dv.row(own), 1.f, weights, g, most, D);
      add_weighed(dk.row(own), 1.f, slopes, q, most, D);
      __syncwarp();
    }
  }
#pragma unroll 1
  for (unsigned own = warp * EACH; own < (warp + 1) * EACH; own++) {
    unsigned key = first + own;
    if (key >= shape.tokens) continue;
    for (unsigned d = lane(); d < D; d += 32) {
      dqkv[group.of_qkv(key, 1) + d] = dk.row(own)[d];
      dqkv[group.of_qkv(key, 2) + d] = dv.row(own)[d];
    }
  }
}

// Parts of the gradient of the bias, [gridDim.y, N, T, T]. Blocks: (tile of SIDE queries, of SIDE keys, head; part of the windows).
__device__ void backward_bias(const float *qkv, const float *dout, const Shape &shape, const float *sums, const float *deltas,
                              float *parts, size_t n_windows) {
  DYNAMIC_SHARED(memory);
  unsigned n_tiles = (shape.tokens + SIDE - 1) / SIDE, D = shape.head_dim;
  unsigned head = blockIdx.x / (n_tiles * n_tiles);
  unsigned queries = blockIdx.x / n_tiles % n_tiles * SIDE, keys = blockIdx.x % n_tiles * SIDE;
  Cutter cut = {reinterpret_cast<float *>(memory), D + 1};
  Tile q = cut.take(SIDE), g = cut.take(SIDE), k = cut.take(SIDE), v = cut.take(SIDE);
  unsigned i = threadIdx.x / SIDE, j = threadIdx.x % SIDE;
  bool counts = queries + i < shape.tokens && keys + j < shape.tokens;
  float sum = 0.f;
  for (size_t window = blockIdx.y; window < n_windows; window += gridDim.y) {
    Group group(shape, window * shape.heads + head);
    __syncthreads();
    fill_tile(q, qkv, SIDE, queries, shape, [&](unsigned place) { return group.of_qkv(place, 0); });
    fill_tile(g, dout, SIDE, queries, shape, [&](unsigned place) { return group.of_out(place); });
    fill_tile(k, qkv, SIDE, keys, shape, [&](unsigned place) { return group.of_qkv(place, 1); });
    fill_tile(v, qkv, SIDE, keys, shape, [&](unsigned place) { return group.of_qkv(place, 2); });
    __syncthreads();
    if (!counts) continue;
    size_t row = group.of_stats() + queries + i;
    float weight = expf(group.logit(dot(q.row(i), k.row(j), D), queries + i, keys + j) - sums[row]);
    sum += weight * (dot(g.row(i), v.row(j), D) - deltas[row]);
  }
  if (counts)
    parts[((size_t(blockIdx.y) * shape.heads + head) * shape.tokens + queries + i) * shape.tokens + keys + j] = sum;
}

KERNEL(WARPS * 32, attention, (const float *qkv, float *out, float *sums, unsigned most, SHAPE_PARAMS)) {
  forward(qkv, SHAPE, out, sums, most);
}
KERNEL(WARPS * 32, attention_backward_queries, (const float *qkv, const float *out, const float *dout, const float *sums,
                                                     float *deltas, float *dqkv, unsigned most, SHAPE_PARAMS)) {
  backward_queries(qkv, out, dout, SHAPE, sums, deltas, dqkv, most);
}
KERNEL(WARPS * 32, attention_backward_keys, (const float *qkv, const float *dout, const float *sums, const float *deltas,
                                                  float *dqkv, unsigned most, SHAPE_PARAMS)) {
  backward_keys(qkv, dout, SHAPE, sums, deltas, dqkv, most);
}
KERNEL(THREADS, attention_backward_bias, (const float *qkv, const float *dout, const float *sums, const float *deltas,
                                              float *parts, size_t n_windows, SHAPE_PARAMS)) {
  backward_bias(qkv, dout, SHAPE, sums, deltas, parts, n_windows);
}
