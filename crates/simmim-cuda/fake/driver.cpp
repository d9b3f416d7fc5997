// libcuda.so for tests: the driver's functions over memory of the host. A launch runs the kernel through shim.h.
//
// What is asked for waits until somebody waits for it, so that a missing wait shows: the values are then not there yet, and memory of
// the host that was written again too early is read as it is now. Memory has no values: it is filled with 0xff, which is NaN.
//
// The environment says what it is: FAKE_CUDA_DEVICES (1), FAKE_CUDA_VERSION (13000), FAKE_CUDA_CHIP (90), FAKE_CUDA_MEMORY (bytes).
#include "../kernels/all.cu"
#include <deque>
#include <set>

namespace {
enum : int { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101, NOT_FOUND = 500, NOT_READY = 600 };

long setting(const char *name, long otherwise) {
  const char *value = std::getenv(name);
  return value ? std::atol(value) : otherwise;
}

constexpr size_t PLAIN_SHARED = 48 << 10, MOST_SHARED = 227 << 10;

struct Function {
  shim::Kernel kernel;
  size_t shared = PLAIN_SHARED;
};

struct Event {
  unsigned long after = 0;  // how much work is to be done first
};

std::recursive_mutex lock;
std::deque<std::function<void()>> waiting;
unsigned long asked = 0, done = 0;
std::map<char *, size_t> of_device, of_host;
size_t in_use = 0;
std::map<std::string, Function> functions;
int handle;

size_t memory() { return size_t(setting("FAKE_CUDA_MEMORY", 8L << 30)); }

void ask(std::function<void()> work) {
  waiting.push_back(std::move(work));
  asked++;
}
void finish(unsigned long until) {
  while (done < until) {
    auto work = std::move(waiting.front());
    waiting.pop_front();
    work();
    done++;
  }
}

// Whether all of some bytes belong to one allocation.
bool holds(const std::map<char *, size_t> &all, const void *at, size_t n) {
  char *from = static_cast<char *>(const_cast<void *>(at));
  auto next = all.upper_bound(from);
  if (next == all.begin()) return false;
  auto [start, size] = *std::prev(next);
  return from + n <= start + size;
}
}  // namespace

#define API extern "C" __attribute__((visibility("default"))) int
#define GUARD std::lock_guard guard(lock)

API cuInit(unsigned) { return setting("FAKE_CUDA_DEVICES", 1) ? SUCCESS : NO_DEVICE; }
API cuDriverGetVersion(int *version) { *version = int(setting("FAKE_CUDA_VERSION", 13000)); return SUCCESS; }
API cuDeviceGetCount(int *n) { *n = int(setting("FAKE_CUDA_DEVICES", 1)); return SUCCESS; }
API cuDeviceGet(int *device, int i) {
  if (i >= setting("FAKE_CUDA_DEVICES", 1)) return INVALID_DEVICE;
  *device = i;
  return SUCCESS;
}
API cuDeviceGetName(char *name, int n, int) { std::snprintf(name, size_t(n), "the processor, through the shim"); return SUCCESS; }
API cuDeviceTotalMem_v2(size_t *bytes, int) { *bytes = memory(); return SUCCESS; }
API cuDeviceGetAttribute(int *value, int which, int) {
  long chip = setting("FAKE_CUDA_CHIP", 90);
  constexpr int MAJOR = 75, MINOR = 76, SHARED_OPTIN = 97;
  *value = which == MAJOR ? int(chip / 10) : which == MINOR ? int(chip % 10) : which == SHARED_OPTIN ? int(MOST_SHARED) : 0;
  return SUCCESS;
}
API cuDevicePrimaryCtxRetain(void **context, int) { *context = &handle; return SUCCESS; }
API cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
API cuCtxSetCurrent(void *) { return SUCCESS; }
API cuMemGetInfo_v2(size_t *free, size_t *total) {
  GUARD;
  *total = memory();
  *free = *total - in_use;
  return SUCCESS;
}

API cuStreamCreate(void **stream, unsigned) { *stream = &handle; return SUCCESS; }
API cuStreamDestroy_v2(void *) { return SUCCESS; }
API cuStreamSynchronize(void *) { GUARD; finish(asked); return SUCCESS; }
API cuEventCreate(void **event, unsigned) { *event = new Event; return SUCCESS; }
API cuEventDestroy_v2(void *event) { delete static_cast<Event *>(event); return SUCCESS; }
API cuEventRecord(void *event, void *) { GUARD; static_cast<Event *>(event)->after = asked; return SUCCESS; }
API cuEventQuery(void *event) { GUARD; return static_cast<Event *>(event)->after <= done ? SUCCESS : NOT_READY; }
API cuEventSynchronize(void *event) { GUARD; finish(static_cast<Event *>(event)->after); return SUCCESS; }

API cuMemAlloc_v2(void **address, size_t n) {
  GUARD;
  if (n == 0) return INVALID_VALUE;
  if (in_use + n > memory()) return OUT_OF_MEMORY;
  // Of this size exactly: the address sanitizer then finds what lies beyond.
  *address = operator new(n, std::align_val_t(512));
  std::memset(*address, 0xff, n);
  of_device[static_cast<char *>(*address)] = n;
  in_use += n;
  return SUCCESS;
}
API cuMemFree_v2(void *address) {
  GUARD;
  finish(asked);
  auto found = of_device.find(static_cast<char *>(address));
  if (found == of_device.end()) return INVALID_VALUE;
  in_use -= found->second;
  of_device.erase(found);
  operator delete(address, std::align_val_t(512));
  return SUCCESS;
}
API cuMemHostAlloc(void **address, size_t n, unsigned) {
  GUARD;
  *address = operator new(n);
  std::memset(*address, 0xff, n);
  of_host[static_cast<char *>(*address)] = n;
  return SUCCESS;
}
API cuMemFreeHost(void *address) {
  GUARD;
  if (!of_host.erase(static_cast<char *>(address))) return INVALID_VALUE;
  operator delete(address);
  return SUCCESS;
}
API cuMemcpyHtoDAsync_v2(void *to, const void *from, size_t n, void *) {
  GUARD;
  if (!holds(of_device, to, n)) return INVALID_VALUE;
  if (holds(of_host, from, n)) {
    ask([=] { std::memcpy(to, from, n); });
    return SUCCESS;
  }
  // The driver keeps a copy of what the device cannot read by itself.
  std::string copy(static_cast<const char *>(from), n);
  ask([=] { std::memcpy(to, copy.data(), n); });
  return SUCCESS;
}
API cuMemcpyDtoHAsync_v2(void *to, const void *from, size_t n, void *) {
  GUARD;
  if (!holds(of_device, from, n)) return INVALID_VALUE;
  ask([=] { std::memcpy(to, from, n); });
  if (!holds(of_host, to, n)) finish(asked);
  return SUCCESS;
}

API cuModuleLoadData(void **module, const void *code) {
  if (std::memcmp(code, "\x7f" "ELF", 4)) return INVALID_VALUE;
  *module = &handle;
  return SUCCESS;
}
API cuModuleUnload(void *) { return SUCCESS; }
API cuModuleGetFunction(void **function, void *, const char *name) {
  GUARD;
  auto kernel = shim::kernels().find(name);
  if (kernel == shim::kernels().end()) return NOT_FOUND;
  *function = &functions.try_emplace(name, Function{kernel->second}).first->second;
  return SUCCESS;
}
API cuFuncSetAttribute(void *function, int which, int value) {
  constexpr int MOST_DYNAMIC_SHARED = 8;
  if (which != MOST_DYNAMIC_SHARED || size_t(value) > MOST_SHARED) return INVALID_VALUE;
  static_cast<Function *>(function)->shared = size_t(value);
  return SUCCESS;
}
API cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                   void *, void **params, void **) {
  GUARD;
  const Function &known = *static_cast<Function *>(function);
  bool has_blocks = gx && gy && gz && gx < 1u << 31 && gy < 1u << 16 && gz < 1u << 16;
  size_t threads = size_t(bx) * by * bz;
  if (!has_blocks || threads == 0 || threads > known.kernel.threads || shared > known.shared) return INVALID_VALUE;
  // The arguments are read now: the caller need not keep them. As many words as any kernel has parameters, and no more.
  std::vector<unsigned long long> words(known.kernel.n_params);
  for (size_t i = 0; i < words.size(); i++) std::memcpy(&words[i], params[i], sizeof words[i]);
  ask([=, run = known.kernel.run] {
    std::vector<void *> places;
    for (const auto &word : words) places.push_back(const_cast<unsigned long long *>(&word));
    shim::launch({{gx, gy, gz}, {bx, by, bz}, shared, [&] { run(places.data()); }});
  });
  return SUCCESS;
}
API cuGetErrorName(int, const char **name) { *name = "CUDA_ERROR"; return SUCCESS; }
API cuGetErrorString(int error, const char **text) {
  *text = error == NOT_FOUND ? "named symbol not found" : error == OUT_OF_MEMORY ? "out of memory" : "invalid argument";
  return SUCCESS;
}

// For the fake of cuBLASLt, which asks for work as kernels do.
extern "C" __attribute__((visibility("default"))) void fake_cuda_ask(void (*work)(void *), void *what) {
  GUARD;
  ask([=] { work(what); });
}
extern "C" __attribute__((visibility("default"))) int fake_cuda_holds(const void *at, size_t n) {
  GUARD;
  return holds(of_device, at, n);
}
