// That the fake of the driver does nothing before somebody waits, and reads the host's memory as it is then.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>

extern "C" int cuMemAlloc_v2(void **, size_t);
extern "C" int cuMemHostAlloc(void **, size_t, unsigned);
extern "C" int cuMemcpyHtoDAsync_v2(void *, const void *, size_t, void *);
extern "C" int cuMemcpyDtoHAsync_v2(void *, const void *, size_t, void *);
extern "C" int cuStreamSynchronize(void *);
extern "C" int cuStreamCreate(void **, unsigned);
extern "C" int cuStreamWaitEvent(void *, void *, unsigned);
extern "C" int cuEventCreate(void **, unsigned);
extern "C" int cuEventRecord(void *, void *);
extern "C" int cuEventQuery(void *);
extern "C" int cuEventSynchronize(void *);

static int failed = 0;
static void expect(bool holds, const char *what) {
  if (holds) return;
  std::fprintf(stderr, "waits: %s\n", what);
  failed = 1;
}

// A value is copied to the device by one stream and back by another.
static void two_streams(float *from, float *to, void *device) {
  void *work, *uploads, *there;
  cuStreamCreate(&work, 0);
  cuStreamCreate(&uploads, 0);
  cuEventCreate(&there, 0);
  expect(!cuEventQuery(there), "an event that nobody recorded is waited for");
  for (bool waits : {false, true}) {
    *from = waits ? 6.f : 5.f;
    cuMemcpyHtoDAsync_v2(device, from, 4, uploads);
    cuEventRecord(there, uploads);
    if (waits) cuStreamWaitEvent(work, there, 0);
    cuMemcpyDtoHAsync_v2(to, device, 4, work);
    bool is_early = std::getenv("FAKE_CUDA_EARLY");
    expect((cuEventQuery(there) == 0) == is_early, "an event is passed when its work is done");
    cuStreamSynchronize(work);
    expect((*to == *from) == (waits || is_early), "a stream that does not wait for another one finds what it brings");
    cuEventSynchronize(there);
  }
}

int main() {
  void *device, *host, *back;
  expect(!cuMemAlloc_v2(&device, 4) && !cuMemHostAlloc(&host, 4, 0) && !cuMemHostAlloc(&back, 4, 0), "memory");
  float *from = static_cast<float *>(host), *to = static_cast<float *>(back);
  *from = 1.f;
  cuMemcpyHtoDAsync_v2(device, from, 4, nullptr);
  cuMemcpyDtoHAsync_v2(to, device, 4, nullptr);
  expect(std::isnan(*to), "a value is there before anybody has waited");
  *from = 2.f;
  cuStreamSynchronize(nullptr);
  expect(*to == 2.f, "what was written over too early does not show");
  float plain = 3.f;
  cuMemcpyHtoDAsync_v2(device, &plain, 4, nullptr);
  plain = 4.f;
  cuMemcpyDtoHAsync_v2(&plain, device, 4, nullptr);
  expect(plain == 3.f, "memory that the device cannot reach is copied at once");
  two_streams(from, to, device);
  void *none;
  expect(cuMemAlloc_v2(&none, size_t(1) << 40) == 2, "more memory than there is");
  expect(cuMemcpyHtoDAsync_v2(device, from, 8, nullptr) != 0, "a copy beyond an allocation");
  return failed;
}
