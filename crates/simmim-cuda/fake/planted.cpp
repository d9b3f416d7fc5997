// Kernels with one mistake each, to see that the checks find it: planted NAME runs one of them.
#include "../kernels/device.cuh"

// What a block of THREADS threads adds up in the end, through shared memory that each thread fills a part of.
template <bool WAITS_FIRST, bool WAITS_LAST> __device__ void rounds(float *out) {
  __shared__ float tile[THREADS];
  float sum = 0.f;
  for (int round = 0; round < 2; round++) {
    tile[threadIdx.x] = float(round);
    if (WAITS_FIRST) __syncthreads();
    sum += tile[(threadIdx.x + 1) % THREADS];
    if (WAITS_LAST) __syncthreads();
  }
  out[threadIdx.x] = sum;
}
KERNEL(THREADS, right, (float *out)) { rounds<true, true>(out); }
KERNEL(THREADS, no_barrier_after_writing, (float *out)) { rounds<false, true>(out); }
KERNEL(THREADS, no_barrier_before_writing_again, (float *out)) { rounds<true, false>(out); }

KERNEL(THREADS, barrier_in_a_branch, (float *out)) {
  if (threadIdx.x < 64) __syncthreads();
  else __syncthreads();
  out[threadIdx.x] = 1.f;
}
KERNEL(THREADS, read_beyond_the_end, (float *out)) { out[threadIdx.x] = out[threadIdx.x + 1]; }
KERNEL(THREADS, shared_memory_too_short, (float *out)) {
  DYNAMIC_SHARED(memory);
  reinterpret_cast<float *>(memory)[threadIdx.x] = 1.f;
  out[threadIdx.x] = 1.f;
}
KERNEL(THREADS, two_blocks_write_one_place, (float *out)) { out[threadIdx.x] = float(blockIdx.x); }
KERNEL(THREADS, shared_memory_that_nobody_wrote, (float *out)) {
  DYNAMIC_SHARED(memory);
  out[threadIdx.x] = reinterpret_cast<float *>(memory)[threadIdx.x / 2];
}

int main(int, char **arguments) {
  std::string name = arguments[1];
  std::unique_ptr<float[]> out(new float[THREADS]());
  float *at = out.get();
  void *places[] = {&at};
  auto run = shim::kernels().at(name).run;
  shim::launch({{name == "two_blocks_write_one_place" ? 2u : 1u}, {THREADS}, THREADS * sizeof(float) - 64, [&] { run(places); }});
  for (unsigned i = 0; i < THREADS; i++)
    if (std::isnan(out[i])) {
      std::fprintf(stderr, "planted: value %u is no number\n", i);
      return 1;
    }
  return 0;
}
