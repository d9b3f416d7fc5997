// CUDA C++ kernels on the processor: a thread of a block is a fiber, a block runs on one thread of the system.
//
// `device.cuh` has the same names for the GPU. What CUDA leaves undefined is made to show: dynamic shared memory and what a
// missing lane gives to a shuffle are NaN, a barrier that not all threads reach ends the program and says who waits where, and the
// thread sanitizer is told of fibers and barriers, so that it finds memory that two threads use without one.
#pragma once
#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <condition_variable>
#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <source_location>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <type_traits>
#include <ucontext.h>
#include <utility>
#include <vector>

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
extern "C" void AnnotateIgnoreReadsBegin(const char *, int);
extern "C" void AnnotateIgnoreReadsEnd(const char *, int);
extern "C" void AnnotateIgnoreWritesBegin(const char *, int);
extern "C" void AnnotateIgnoreWritesEnd(const char *, int);
#define SHIM_TSAN(...) __VA_ARGS__
#else
#define SHIM_TSAN(...)
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <pthread.h>
#include <sanitizer/common_interface_defs.h>
#define SHIM_ASAN(...) __VA_ARGS__
#else
#define SHIM_ASAN(...)
#endif
#define SHIM_PLAIN __attribute__((no_sanitize("thread")))

#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n) __attribute__((aligned(n)))
// At block scope thread_local is static, and a block never leaves its thread of the system.
#define __shared__ thread_local

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};
struct __align__(8) float2 { float x, y; };
struct __align__(16) float4 { float x, y, z, w; };
struct __align__(16) double2 { double x, y; };
struct __align__(8) uint2 { unsigned x, y; };
struct __align__(16) uint4 { unsigned x, y, z, w; };

namespace shim {
using Site = std::source_location;
constexpr size_t STACK = 64 << 10;
constexpr unsigned MOST_THREADS = 1024;

// What the sanitizer is not to look at: the shim's own memory, which fibers of a thread share on purpose.
struct Quiet {
  SHIM_TSAN(Quiet() { AnnotateIgnoreReadsBegin("", 0); AnnotateIgnoreWritesBegin("", 0); })
  void end() { SHIM_TSAN(AnnotateIgnoreReadsEnd("", 0); AnnotateIgnoreWritesEnd("", 0);) }
  ~Quiet() { end(); }
};

struct Barrier {
  unsigned arrived = 0, generation = 0;
  const char *file = nullptr;
  unsigned line = 0;
  // What the thread sanitizer knows the barrier by, used in turn: a fiber that goes on late must not be ordered after what those
  // before it did on their way to the next one.
  char order[2];
};

struct Warp {
  Barrier barrier;
  unsigned live = 0, mask = 0;
  // Two, used in turn, so that a lane that is late still finds what the others gave before.
  alignas(16) unsigned char slot[2][32][32];
};

struct Fiber {
  jmp_buf at;
  ucontext_t first;
  bool started = false, done = true;
  dim3 tid;
  unsigned lane = 0, parity = 0;
  Warp *warp = nullptr;
  Barrier *wait = nullptr;
  unsigned wait_generation = 0, line = 0;
  const char *file = "";
  void *sanitizer = nullptr;
  char *stack = nullptr;
};

struct Unaligned {
  void operator()(unsigned char *p) const { operator delete[](p, std::align_val_t(128)); }
};

struct Launch {
  dim3 grid, dim;
  size_t shared;
  std::function<void()> body;
};

// A block and its fibers, which stay for the next block.
struct Block {
  std::vector<std::unique_ptr<Fiber>> fibers;
  unsigned n_fibers = 0;
  std::vector<Warp> warps = std::vector<Warp>(MOST_THREADS / 32);
  Barrier barrier;
  unsigned live = 0, now_idx = 0;
  Fiber *now = nullptr;
  const Launch *launch = nullptr;
  jmp_buf home;
  dim3 idx;
  // Of the size that was asked for exactly: the address sanitizer then finds what lies beyond.
  std::unique_ptr<unsigned char[], Unaligned> arena;
  void *home_sanitizer = nullptr;
  SHIM_ASAN(void *home_stack = nullptr; size_t home_size = 0;)
};
inline thread_local Block *block = nullptr;

[[noreturn]] inline void fail(const char *what) {
  std::fprintf(stderr, "shim: %s in block (%u, %u, %u)\n", what, block->idx.x, block->idx.y, block->idx.z);
  for (unsigned i = 0; i < block->n_fibers && i < 64; i++) {
    const Fiber &f = *block->fibers[i];
    if (!f.done && f.wait) std::fprintf(stderr, "  thread %u waits at %s:%u\n", i, f.file, f.line);
  }
  std::abort();
}

SHIM_PLAIN inline bool runnable(const Fiber &f) {
  return !f.done && (!f.wait || f.wait->generation != f.wait_generation);
}

// The address sanitizer wants to know on which stack it is.
inline void arrive() { SHIM_ASAN(__sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);) }

[[noreturn]] SHIM_PLAIN inline void enter(Fiber &f) {
  block->now = &f;
  f.wait = nullptr;
  // That one fiber goes on after another orders no memory: only barriers do.
  SHIM_TSAN(__tsan_switch_to_fiber(f.sanitizer, 1);)
  SHIM_ASAN(__sanitizer_start_switch_fiber(nullptr, f.stack, STACK);)
  if (f.started) _longjmp(f.at, 1);
  f.started = true;
  setcontext(&f.first);
  std::abort();
}

[[noreturn]] SHIM_PLAIN inline void next() {
  Block &b = *block;
  for (unsigned i = 1; i <= b.n_fibers; i++) {
    unsigned idx = (b.now_idx + i) % b.n_fibers;
    if (runnable(*b.fibers[idx])) {
      b.now_idx = idx;
      enter(*b.fibers[idx]);
    }
  }
  if (b.live) fail("deadlock: a barrier that some threads never reach");
  SHIM_TSAN(__tsan_switch_to_fiber(b.home_sanitizer, 1);)
  SHIM_ASAN(__sanitizer_start_switch_fiber(nullptr, b.home_stack, b.home_size);)
  _longjmp(b.home, 1);
}

SHIM_PLAIN inline void release(Barrier &b) {
  b.arrived = 0;
  b.generation++;
  b.file = nullptr;
}

inline void await(Barrier &b, unsigned participants, const Site &site) {
  Quiet quiet;
  Fiber &f = *block->now;
  if (b.file && (b.line != site.line() || std::strcmp(b.file, site.file_name()))) fail("divergent barrier");
  b.file = site.file_name();
  b.line = site.line();
  SHIM_TSAN(char *order = &b.order[b.generation % 2]; __tsan_release(order);)
  if (++b.arrived == participants) {
    release(b);
  } else {
    f.wait = &b;
    f.wait_generation = b.generation;
    f.file = site.file_name();
    f.line = site.line();
    if (!_setjmp(f.at)) next();
    arrive();
  }
  SHIM_TSAN(__tsan_acquire(order);)
}

// A thread that has ended no longer counts at barriers.
SHIM_PLAIN inline void finish(Fiber &f) {
  Block &b = *block;
  f.done = true;
  f.warp->live &= ~(1u << f.lane);
  if (--b.live && b.barrier.arrived == b.live) release(b.barrier);
  unsigned waiting = unsigned(std::popcount(f.warp->live & f.warp->mask));
  if (f.warp->live && f.warp->barrier.arrived && f.warp->barrier.arrived == waiting) release(f.warp->barrier);
}

SHIM_PLAIN inline void entry() {
  for (;;) {
    arrive();
    SHIM_TSAN(__tsan_acquire(block);)
    block->launch->body();
    Quiet quiet;
    Fiber &f = *block->now;
    SHIM_TSAN(__tsan_release(block);)
    finish(f);
    if (!_setjmp(f.at)) {
      quiet.end();
      next();
    }
    SHIM_TSAN(AnnotateIgnoreReadsBegin("", 0); AnnotateIgnoreWritesBegin("", 0);)
  }
}

// Every lane of the mask gives a value; `read` gets all of them.
template <class T, class F> auto exchange(unsigned mask, const T &value, const Site &site, F read) {
  static_assert(sizeof(T) <= 32 && std::is_trivially_copyable_v<T>);
  Quiet quiet;
  Fiber &f = *block->now;
  Warp &w = *f.warp;
  if (!(mask >> f.lane & 1)) fail("a lane outside its own mask");
  if (w.barrier.arrived && w.mask != mask) fail("lanes of a warp with different masks");
  w.mask = mask;
  auto &slot = w.slot[f.parity];
  f.parity ^= 1;
  if (!w.barrier.arrived) std::memset(slot, 0xff, sizeof slot);  // what a missing lane gives: NaN
  std::memcpy(slot[f.lane], &value, sizeof(T));
  await(w.barrier, std::popcount(mask & w.live), site);
  return read([&](unsigned lane) {
    T v;
    std::memcpy(&v, slot[lane], sizeof(T));
    return v;
  });
}

inline std::unique_ptr<Fiber> make_fiber() {
  auto f = std::make_unique<Fiber>();
  void *stack = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  f->stack = static_cast<char *>(stack);
  getcontext(&f->first);
  f->first.uc_stack.ss_sp = stack;
  f->first.uc_stack.ss_size = STACK;
  f->first.uc_link = nullptr;
  makecontext(&f->first, entry, 0);
  SHIM_TSAN(f->sanitizer = __tsan_create_fiber(0);)
  return f;
}

SHIM_PLAIN inline void run_block(Block &b, dim3 idx) {
  const dim3 &dim = b.launch->dim;
  std::memset(b.arena.get(), 0xff, b.launch->shared);  // NaN: shared memory has no values yet
  b.idx = idx;
  b.barrier = {};
  b.live = b.n_fibers = dim.x * dim.y * dim.z;
  b.now_idx = b.n_fibers - 1;
  for (auto &w : b.warps) w.barrier = {}, w.live = 0;
  for (unsigned i = 0; i < b.n_fibers; i++) {
    Fiber &f = *b.fibers[i];
    f.tid = {i % dim.x, i / dim.x % dim.y, i / dim.x / dim.y};
    f.lane = i % 32;
    f.parity = 0;
    f.warp = &b.warps[i / 32];
    f.warp->live |= 1u << f.lane;
    f.done = false;
    f.wait = nullptr;
  }
  SHIM_TSAN(b.home_sanitizer = __tsan_get_current_fiber(); __tsan_release(&b);)
  if (!_setjmp(b.home)) next();
  arrive();
  SHIM_TSAN(__tsan_acquire(&b);)
}

// Threads of the system that run the blocks of a launch: block i on thread i mod their number, so that neighbours are not ordered.
class Workers {
  std::mutex lock;
  std::condition_variable changed;
  const Launch *launch = nullptr;
  unsigned n, generation = 0, busy = 0;

  void run(unsigned worker) {
    Block own;
    block = &own;
    SHIM_ASAN(pthread_attr_t thread; pthread_getattr_np(pthread_self(), &thread);
              pthread_attr_getstack(&thread, &own.home_stack, &own.home_size);)
    for (unsigned seen = 0;;) {
      {
        std::unique_lock guard(lock);
        changed.wait(guard, [&] { return generation != seen; });
        seen = generation;
      }
      const dim3 &grid = launch->grid, &dim = launch->dim;
      size_t blocks = size_t(grid.x) * grid.y * grid.z;
      own.launch = launch;
      if (worker < blocks) {
        while (own.fibers.size() < size_t(dim.x) * dim.y * dim.z) own.fibers.push_back(make_fiber());
        own.arena.reset(new (std::align_val_t(128)) unsigned char[launch->shared]);
      }
      for (size_t i = worker; i < blocks; i += n)
        run_block(own, {unsigned(i % grid.x), unsigned(i / grid.x % grid.y), unsigned(i / grid.x / grid.y)});
      std::lock_guard guard(lock);
      if (--busy == 0) changed.notify_all();
    }
  }

 public:
  explicit Workers(unsigned n) : n(n) {
    for (unsigned i = 0; i < n; i++) std::thread([this, i] { run(i); }).detach();
  }
  void work(const Launch &what) {
    std::unique_lock guard(lock);
    launch = &what;
    busy = n;
    generation++;
    changed.notify_all();
    changed.wait(guard, [&] { return busy == 0; });
  }
};

inline void launch(const Launch &what) {
  // Never taken down: its threads wait when the program ends.
  static Workers *workers = new Workers(std::clamp(std::thread::hardware_concurrency(), 2u, 4u));
  static std::mutex one_at_a_time;
  std::lock_guard guard(one_at_a_time);
  workers->work(what);
}

// Kernels by name.
struct Kernel {
  void (*run)(void **);
  unsigned n_params, threads;
};
inline std::map<std::string, Kernel> &kernels() {
  static std::map<std::string, Kernel> all;
  return all;
}
inline bool add(const char *name, Kernel kernel) { return kernels().emplace(name, kernel).second; }

// Calls a kernel with arguments by their addresses, as the driver gets them.
template <class F> struct Unpack;
template <class... A> struct Unpack<void(A...)> {
  static constexpr unsigned N = sizeof...(A);
  template <void (*K)(A...), size_t... I> static void call(void **p, std::index_sequence<I...>) {
    K(*static_cast<std::remove_reference_t<A> *>(p[I])...);
  }
  template <void (*K)(A...)> static void go(void **p) { call<K>(p, std::index_sequence_for<A...>{}); }
};
template <auto K> Kernel kernel(unsigned threads) {
  using Of = Unpack<std::remove_pointer_t<decltype(K)>>;
  return {&Of::template go<K>, Of::N, threads};
}
}  // namespace shim

#define KERNEL(threads, name, params)                                                                              \
  extern "C" void name params;                                                                                     \
  static const bool name##_is_known = shim::add(#name, shim::kernel<&name>(threads)); \
  extern "C" void name params
#define KERNEL_WITH_SUMS KERNEL
#define DYNAMIC_SHARED(name) unsigned char *name = shim::block->arena.get()

#define threadIdx (shim::block->now->tid)
#define blockIdx (shim::block->idx)
#define blockDim (shim::block->launch->dim)
#define gridDim (shim::block->launch->grid)

inline void __syncthreads(shim::Site at = shim::Site::current()) {
  shim::await(shim::block->barrier, shim::block->live, at);
}
inline void __syncwarp(unsigned mask = ~0u, shim::Site at = shim::Site::current()) {
  shim::exchange(mask, 0, at, [](auto) { return 0; });
}
template <class T> T __shfl_sync(unsigned mask, T v, int lane, int width = 32, shim::Site at = shim::Site::current()) {
  int me = shim::block->now->lane;
  return shim::exchange(mask, v, at, [&](auto of) { return of((me & ~(width - 1)) | (lane & (width - 1))); });
}
template <class T> T __shfl_xor_sync(unsigned mask, T v, int x, int width = 32, shim::Site at = shim::Site::current()) {
  int me = shim::block->now->lane;
  return shim::exchange(mask, v, at, [&](auto of) {
    int other = me ^ x;
    return of(other / width > me / width ? me : other);
  });
}
inline unsigned __ballot_sync(unsigned mask, int p, shim::Site at = shim::Site::current()) {
  return shim::exchange(mask, p, at, [&](auto of) {
    unsigned all = 0;
    for (int i = 0; i < 32; i++)
      if (mask >> i & 1 && of(i)) all |= 1u << i;
    return all;
  });
}
inline int __ffs(unsigned x) { return x ? std::countr_zero(x) + 1 : 0; }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
using std::isnan;
using std::min;

struct bf16 { uint16_t bits; };
inline bf16 to_bf16(float x) {
  uint32_t u = std::bit_cast<uint32_t>(x);
  if (x != x) return {0x7fff};
  return {uint16_t((u + 0x7fff + (u >> 16 & 1)) >> 16)};
}
inline unsigned pack_bf16(float low, float high) { return to_bf16(low).bits | unsigned(to_bf16(high).bits) << 16; }

// Four matrices of 8 x 8 values whose rows the lanes name, and what each lane gets of them as ldmatrix gives it.
inline void load_matrices(unsigned (&r)[4], const bf16 *row, shim::Site at = shim::Site::current()) {
  const bf16 *rows[32];
  shim::exchange(~0u, row, at, [&](auto of) { for (unsigned i = 0; i < 32; i++) rows[i] = of(i); return 0; });
  unsigned lane = shim::block->now->lane;
  for (unsigned i = 0; i < 4; i++) {
    const bf16 *own = rows[8 * i + lane / 4] + lane % 4 * 2;
    r[i] = own[0].bits | unsigned(own[1].bits) << 16;
  }
}
inline void load_matrices_transposed(unsigned (&r)[4], const bf16 *row, shim::Site at = shim::Site::current()) {
  const bf16 *rows[32];
  shim::exchange(~0u, row, at, [&](auto of) { for (unsigned i = 0; i < 32; i++) rows[i] = of(i); return 0; });
  unsigned lane = shim::block->now->lane, first = lane % 4 * 2;
  for (unsigned i = 0; i < 4; i++)
    r[i] = rows[8 * i + first][lane / 4].bits | unsigned(rows[8 * i + first + 1][lane / 4].bits) << 16;
}
// c += a b of 16 x 16 by 16 x 8 values, spread over the lanes as mma.sync has them.
inline void multiply_add(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, shim::Site at = shim::Site::current()) {
  struct Registers { unsigned a[4], b[2]; } own = {{a[0], a[1], a[2], a[3]}, {b0, b1}};
  unsigned lane = shim::block->now->lane, group = lane / 4, rest = lane % 4;
  shim::exchange(~0u, own, at, [&](auto of) {
    auto half = [](unsigned pair, int high) { return std::bit_cast<float>(high ? pair & 0xffff0000u : pair << 16); };
    for (unsigned quarter = 0; quarter < 4; quarter++) { // of k: four values that lie with one lane
      Registers left = of(4 * group + quarter), right[2] = {of(4 * (2 * rest) + quarter), of(4 * (2 * rest + 1) + quarter)};
      for (int i = 0; i < 4; i++)
        for (int k = 0; k < 2; k++)
          for (int high = 0; high < 2; high++) c[i] += half(left.a[i / 2 + 2 * k], high) * half(right[i % 2].b[k], high);
    }
    return 0;
  });
}
