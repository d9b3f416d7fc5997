// libcuda.so for tests: the driver's functions over memory of the host. A launch runs the kernel through shim.h.
//
// What is asked for waits until somebody waits for it, so that a missing wait shows: the values are then not there yet, and memory of
// the host that was written again too early is read as it is now. A stream waits for another one at an event alone. Memory has no
// values: it is filled with 0xff, which is NaN.
//
// The environment says what it is: FAKE_CUDA_DEVICES (1), FAKE_CUDA_VERSION (13000), FAKE_CUDA_CHIP (90), FAKE_CUDA_MEMORY (bytes).
// FAKE_CUDA_EARLY=1: all streams but the first do at once what need not wait for another one, which then shows what they do too early.
// FAKE_CUDA_IDLE=1: kernels and products do nothing, which leaves what the host takes. FAKE_CUDA_CALLS names a file that has a line for
// each call that waits, allocates, copies or launches; one that waits says whether work was left to the device meanwhile.
#include "../kernels/all.cu"
#include <deque>
#include <unistd.h>
#include <set>

namespace {
enum : int { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101, NOT_FOUND = 500, NOT_READY = 600 };

long setting(const char *name, long otherwise) {
  const char *value = std::getenv(name);
  return value ? std::atol(value) : otherwise;
}

constexpr size_t PLAIN_SHARED = 48 << 10, MOST_SHARED = 227 << 10;

struct Function {
  std::string name;
  shim::Kernel kernel;
  size_t shared = PLAIN_SHARED;
};

struct Stream;
struct Event {
  Stream *stream = nullptr;  // none before it is recorded
  unsigned long after = 0;   // how much work of it is to be done first
  bool is_done() const;
};
struct Work {
  std::function<void()> run;
  Event needs;
  std::function<bool()> go_on;  // in place of `run`, of what other processes have a part in: whether it is done
};
struct Stream {
  bool is_first = false;
  std::deque<Work> waiting;
  unsigned long asked = 0, done = 0;
};
bool Event::is_done() const { return !stream || stream->done >= after; }

std::recursive_mutex lock;
// Never taken down: an event may name one that was.
std::deque<Stream> streams;
std::map<char *, size_t> of_device, of_host;
size_t in_use = 0;
std::map<std::string, Function> functions;
int handle;

size_t memory() { return size_t(setting("FAKE_CUDA_MEMORY", 8L << 30)); }

void note(const std::string &call) {
  static FILE *file = std::getenv("FAKE_CUDA_CALLS") ? std::fopen(std::getenv("FAKE_CUDA_CALLS"), "a") : nullptr;
  if (!file) return;
  std::fprintf(file, "%s\n", call.c_str());
  std::fflush(file);
}

void finish(Stream &stream, unsigned long until);
void finish(const Event &event) {
  if (!event.is_done()) finish(*event.stream, event.after);
}
void finish(Stream &stream, unsigned long until) {
  while (stream.done < until) {
    Work work = std::move(stream.waiting.front());
    stream.waiting.pop_front();
    finish(work.needs);
    if (work.go_on)
      while (!work.go_on()) usleep(100);
    else
      work.run();
    stream.done++;
  }
}
// Where processes sum with each other, a device goes on while it is looked at: what others wait for has to be done some time.
bool has_sums = false;
void go_on_all() {
  for (bool moved = true; moved;) {
    moved = false;
    for (Stream &stream : streams)
      while (!stream.waiting.empty() && stream.waiting.front().needs.is_done()) {
        Work &work = stream.waiting.front();
        if (work.go_on && !work.go_on()) break;
        if (!work.go_on) work.run();
        stream.waiting.pop_front();
        stream.done++;
        moved = true;
      }
  }
}
void finish_all() {
  for (Stream &stream : streams) finish(stream, stream.asked);
}
// A stream that is not named is the first.
Stream &named(void *stream) {
  if (streams.empty()) streams.emplace_back().is_first = true;
  return stream ? *static_cast<Stream *>(stream) : streams.front();
}
void ask(void *name, Work work) {
  Stream &stream = named(name);
  stream.waiting.push_back(std::move(work));
  stream.asked++;
  if (stream.is_first || !setting("FAKE_CUDA_EARLY", 0)) return;
  while (!stream.waiting.empty() && stream.waiting.front().needs.is_done()) finish(stream, stream.done + 1);
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

API cuStreamCreate(void **stream, unsigned) {
  GUARD;
  bool is_first = streams.empty();
  *stream = &streams.emplace_back();
  streams.back().is_first = is_first;
  return SUCCESS;
}
API cuStreamDestroy_v2(void *) { return SUCCESS; }
API cuStreamSynchronize(void *stream) {
  GUARD;
  note("cuStreamSynchronize");
  finish(named(stream), named(stream).asked);
  return SUCCESS;
}
API cuStreamWaitEvent(void *stream, void *event, unsigned) {
  GUARD;
  ask(stream, {[] {}, *static_cast<Event *>(event), {}});
  return SUCCESS;
}
API cuEventCreate(void **event, unsigned) { *event = new Event; return SUCCESS; }
API cuEventDestroy_v2(void *event) { delete static_cast<Event *>(event); return SUCCESS; }
API cuEventRecord(void *event, void *stream) {
  GUARD;
  *static_cast<Event *>(event) = {&named(stream), named(stream).asked};
  return SUCCESS;
}
API cuEventQuery(void *event) {
  GUARD;
  if (has_sums) go_on_all();
  return static_cast<Event *>(event)->is_done() ? SUCCESS : NOT_READY;
}
API cuEventSynchronize(void *event) {
  GUARD;
  finish(*static_cast<Event *>(event));
  bool is_idle = named(nullptr).done == named(nullptr).asked;
  note(is_idle ? "cuEventSynchronize until the device is idle" : "cuEventSynchronize");
  return SUCCESS;
}

API cuMemAlloc_v2(void **address, size_t n) {
  GUARD;
  note("cuMemAlloc " + std::to_string(n));
  if (n == 0) return INVALID_VALUE;
  if (in_use + n > memory()) return OUT_OF_MEMORY;
  // Of this size exactly: the address sanitizer then finds what lies beyond.
  *address = operator new(n, std::align_val_t(512));
  if (!setting("FAKE_CUDA_IDLE", 0)) std::memset(*address, 0xff, n);
  of_device[static_cast<char *>(*address)] = n;
  in_use += n;
  return SUCCESS;
}
API cuMemFree_v2(void *address) {
  GUARD;
  note("cuMemFree");
  finish_all();
  auto found = of_device.find(static_cast<char *>(address));
  if (found == of_device.end()) return INVALID_VALUE;
  in_use -= found->second;
  of_device.erase(found);
  operator delete(address, std::align_val_t(512));
  return SUCCESS;
}
API cuMemHostAlloc(void **address, size_t n, unsigned) {
  GUARD;
  note("cuMemHostAlloc");
  *address = operator new(n);
  std::memset(*address, 0xff, n);
  of_host[static_cast<char *>(*address)] = n;
  return SUCCESS;
}
API cuMemFreeHost(void *address) {
  GUARD;
  note("cuMemFreeHost");
  if (!of_host.erase(static_cast<char *>(address))) return INVALID_VALUE;
  operator delete(address);
  return SUCCESS;
}
API cuMemcpyHtoDAsync_v2(void *to, const void *from, size_t n, void *stream) {
  GUARD;
  note("cuMemcpyHtoDAsync");
  if (!holds(of_device, to, n)) return INVALID_VALUE;
  if (holds(of_host, from, n)) {
    ask(stream, {[=] { std::memcpy(to, from, n); }, {}, {}});
    return SUCCESS;
  }
  // The driver keeps a copy of what the device cannot read by itself.
  std::string copy(static_cast<const char *>(from), n);
  ask(stream, {[=] { std::memcpy(to, copy.data(), n); }, {}, {}});
  return SUCCESS;
}
API cuMemcpyDtoHAsync_v2(void *to, const void *from, size_t n, void *stream) {
  GUARD;
  note("cuMemcpyDtoHAsync");
  if (!holds(of_device, from, n)) return INVALID_VALUE;
  ask(stream, {[=] { std::memcpy(to, from, n); }, {}, {}});
  if (!holds(of_host, to, n)) finish(named(stream), named(stream).asked);
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
  *function = &functions.try_emplace(name, Function{name, kernel->second}).first->second;
  return SUCCESS;
}
API cuFuncSetAttribute(void *function, int which, int value) {
  constexpr int MOST_DYNAMIC_SHARED = 8;
  if (which != MOST_DYNAMIC_SHARED || size_t(value) > MOST_SHARED) return INVALID_VALUE;
  static_cast<Function *>(function)->shared = size_t(value);
  return SUCCESS;
}
API cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                   void *stream, void **params, void **) {
  GUARD;
  const Function &known = *static_cast<Function *>(function);
  note("cuLaunchKernel " + known.name);
  bool has_blocks = gx && gy && gz && gx < 1u << 31 && gy < 1u << 16 && gz < 1u << 16;
  size_t threads = size_t(bx) * by * bz;
  if (!has_blocks || threads == 0 || threads > known.kernel.threads || shared > known.shared) return INVALID_VALUE;
  // The arguments are read now: the caller need not keep them. As many words as any kernel has parameters, and no more.
  std::vector<unsigned long long> words(known.kernel.n_params);
  for (size_t i = 0; i < words.size(); i++) std::memcpy(&words[i], params[i], sizeof words[i]);
  auto launch = [=, run = known.kernel.run] {
    std::vector<void *> places;
    for (const auto &word : words) places.push_back(const_cast<unsigned long long *>(&word));
    shim::launch({{gx, gy, gz}, {bx, by, bz}, shared, [&] { run(places.data()); }});
  };
  if (!setting("FAKE_CUDA_IDLE", 0)) ask(stream, {launch, {}, {}});
  return SUCCESS;
}
API cuGetErrorName(int, const char **name) { *name = "CUDA_ERROR"; return SUCCESS; }
API cuGetErrorString(int error, const char **text) {
  *text = error == NOT_FOUND ? "named symbol not found" : error == OUT_OF_MEMORY ? "out of memory" : "invalid argument";
  return SUCCESS;
}

// For the fake of cuBLASLt, which asks for work as kernels do.
extern "C" __attribute__((visibility("default"))) void fake_cuda_ask(void *stream, void (*work)(void *), void *what) {
  GUARD;
  note("cublasLtMatmul");
  if (!setting("FAKE_CUDA_IDLE", 0)) ask(stream, {[=] { work(what); }, {}, {}});
}
// For the fake of NCCL: work that is gone on with until it is done.
extern "C" __attribute__((visibility("default"))) void fake_cuda_try(void *stream, bool (*work)(void *), void *what) {
  GUARD;
  has_sums = true;
  ask(stream, {{}, {}, [=] { return work(what); }});
}
extern "C" __attribute__((visibility("default"))) void fake_cuda_note(const char *call) { GUARD; note(call); }
extern "C" __attribute__((visibility("default"))) int fake_cuda_holds(const void *at, size_t n) {
  GUARD;
  return holds(of_device, at, n);
}
