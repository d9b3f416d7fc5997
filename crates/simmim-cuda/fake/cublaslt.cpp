// libcublasLt.so for tests: products as plain loops, asked for through the fake of the driver.
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>

extern "C" void fake_cuda_ask(void *stream, void (*work)(void *), void *what);
extern "C" int fake_cuda_holds(const void *at, size_t n);

namespace {
enum : int { SUCCESS = 0, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };
enum : int { R_32F = 0, R_16BF = 14, COMPUTE_32F = 68, COMPUTE_32F_FAST_TF32 = 77 };
enum : int { TRANSA = 3, TRANSB = 4, EPILOGUE = 7, BIAS_POINTER = 8 };
enum : unsigned { EPILOGUE_DEFAULT = 1, EPILOGUE_BIAS = 4 };

struct Description {
  int32_t transa = 0, transb = 0;
  uint32_t epilogue = EPILOGUE_DEFAULT;
  const void *bias = nullptr;
  bool tf32 = false;
};
struct Layout {
  int type;
  uint64_t rows, columns;
  int64_t ld;
  size_t bytes() const { return rows * columns * (type == R_16BF ? 2 : 4); }
};
// The layout of cublasLtMatmulHeuristicResult_t.
struct Chosen {
  uint64_t algorithm[8];
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
};

float load(const void *p, int type, size_t i) {
  if (type == R_32F) return static_cast<const float *>(p)[i];
  return std::bit_cast<float>(uint32_t(static_cast<const uint16_t *>(p)[i]) << 16);
}
void store(void *p, int type, size_t i, float value) {
  if (type == R_32F) {
    static_cast<float *>(p)[i] = value;
    return;
  }
  uint32_t bits = std::bit_cast<uint32_t>(value);
  static_cast<uint16_t *>(p)[i] = value != value ? 0x7fff : uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// The nearest number with 10 bits of the fraction.
float as_tf32(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  return value != value ? value : std::bit_cast<float>((bits + 0x1000) & ~0x1fffu);
}

struct Work {
  Description description;
  Layout a, b, d;
  const void *a_at, *b_at;
  void *d_at;
  size_t k;
};
void multiply(void *what) {
  Work *w = static_cast<Work *>(what);
  const Description &of = w->description;
  // By rows of a: both factors are then read along k.
  size_t m = w->d.rows, n = w->d.columns, k = w->k;
  float *a = new float[m * k], *b = new float[n * k];
  for (size_t i = 0; i < m; i++)
    for (size_t l = 0; l < k; l++) a[i * k + l] = load(w->a_at, w->a.type, of.transa ? i * w->a.ld + l : l * w->a.ld + i);
  for (size_t j = 0; j < n; j++)
    for (size_t l = 0; l < k; l++) b[j * k + l] = load(w->b_at, w->b.type, of.transb ? l * w->b.ld + j : j * w->b.ld + l);
  if (of.tf32) {
    for (size_t i = 0; i < m * k; i++) a[i] = as_tf32(a[i]);
    for (size_t i = 0; i < n * k; i++) b[i] = as_tf32(b[i]);
  }
  for (size_t j = 0; j < n; j++)
    for (size_t i = 0; i < m; i++) {
      float parts[8] = {};
      size_t l = 0;
      for (; l + 8 <= k; l += 8)
        for (size_t p = 0; p < 8; p++) parts[p] += a[i * k + l + p] * b[j * k + l + p];
      for (; l < k; l++) parts[0] += a[i * k + l] * b[j * k + l];
      float sum = ((parts[0] + parts[1]) + (parts[2] + parts[3])) + ((parts[4] + parts[5]) + (parts[6] + parts[7]));
      // A bias is of the element of the result.
      if (of.epilogue == EPILOGUE_BIAS) sum += load(of.bias, w->d.type, i);
      store(w->d_at, w->d.type, j * w->d.ld + i, sum);
    }
  delete[] a;
  delete[] b;
  delete w;
}

bool fits(const Description &of, const Layout &a, const Layout &b, const Layout &d) {
  uint64_t m = of.transa ? a.columns : a.rows, k = of.transa ? a.rows : a.columns;
  uint64_t n = of.transb ? b.rows : b.columns, other = of.transb ? b.columns : b.rows;
  return m == d.rows && n == d.columns && k == other && a.type == b.type && (d.type == a.type || d.type == R_32F);
}
}  // namespace

#define API extern "C" __attribute__((visibility("default"))) int

extern "C" __attribute__((visibility("default"))) size_t cublasLtGetVersion() { return 130002; }
API cublasLtCreate(void **handle) { *handle = std::malloc(1); return SUCCESS; }
API cublasLtDestroy(void *handle) { std::free(handle); return SUCCESS; }
API cublasLtMatrixLayoutCreate(Layout **layout, int type, uint64_t rows, uint64_t columns, int64_t ld) {
  if ((type != R_32F && type != R_16BF) || ld < int64_t(rows)) return INVALID_VALUE;
  *layout = new Layout{type, rows, columns, ld};
  return SUCCESS;
}
API cublasLtMatrixLayoutDestroy(Layout *layout) { delete layout; return SUCCESS; }
API cublasLtMatmulDescCreate(Description **description, int compute, int scale) {
  if ((compute != COMPUTE_32F && compute != COMPUTE_32F_FAST_TF32) || scale != R_32F) return NOT_SUPPORTED;
  *description = new Description;
  (*description)->tf32 = compute == COMPUTE_32F_FAST_TF32;
  return SUCCESS;
}
API cublasLtMatmulDescDestroy(Description *description) { delete description; return SUCCESS; }
API cublasLtMatmulDescSetAttribute(Description *description, int which, const void *value, size_t size) {
  void *to = which == TRANSA      ? static_cast<void *>(&description->transa)
             : which == TRANSB    ? static_cast<void *>(&description->transb)
             : which == EPILOGUE  ? static_cast<void *>(&description->epilogue)
             : which == BIAS_POINTER ? static_cast<void *>(&description->bias)
                                     : nullptr;
  if (!to || size != (which == BIAS_POINTER ? 8u : 4u)) return INVALID_VALUE;
  std::memcpy(to, value, size);
  return SUCCESS;
}
API cublasLtMatmulPreferenceCreate(void **preference) { *preference = std::malloc(1); return SUCCESS; }
API cublasLtMatmulPreferenceDestroy(void *preference) { std::free(preference); return SUCCESS; }
API cublasLtMatmulPreferenceSetAttribute(void *, int, const void *, size_t) { return SUCCESS; }
API cublasLtMatmulAlgoGetHeuristic(void *, Description *of, Layout *a, Layout *b, Layout *, Layout *d, void *, int, Chosen *chosen,
                                   int *n) {
  *n = 0;
  if (!fits(*of, *a, *b, *d)) return INVALID_VALUE;
  *n = 1;
  std::memset(chosen, 0, sizeof *chosen);
  return SUCCESS;
}
API cublasLtMatmul(void *, Description *of, const float *alpha, const void *a_at, Layout *a, const void *b_at, Layout *b,
                   const float *beta, const void *, Layout *, void *d_at, Layout *d, const void *, void *, size_t, void *stream) {
  if (!fits(*of, *a, *b, *d) || *alpha != 1.f || *beta != 0.f) return INVALID_VALUE;
  bool are_there = fake_cuda_holds(a_at, a->bytes()) && fake_cuda_holds(b_at, b->bytes()) && fake_cuda_holds(d_at, d->bytes());
  if (!are_there) return INVALID_VALUE;
  uint64_t k = of->transa ? a->rows : a->columns;
  fake_cuda_ask(stream, multiply, new Work{*of, *a, *b, *d, a_at, b_at, d_at, k});
  return SUCCESS;
}
