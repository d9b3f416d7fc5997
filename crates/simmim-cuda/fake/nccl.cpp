// libnccl.so for tests: sums over processes of this machine, in memory that they share, asked for through the fake of the driver.
//
// A sum goes piece by piece. Each rank counts what it has done: an odd number says that its piece is there to be read, an even one that
// it has read those of all. FAKE_CUDA_CALLS has a line for each sum. The process of rank FAKE_NCCL_DIES_JOINING is killed when another one
// has come to join, that of FAKE_NCCL_DIES_SUMMING in the middle of a sum.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>
#include <atomic>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

extern "C" void fake_cuda_try(void *stream, bool (*work)(void *), void *what);
extern "C" void fake_cuda_note(const char *call);

namespace {
enum : int { SUCCESS = 0, SYSTEM_ERROR = 2, INVALID_ARGUMENT = 4, REMOTE_ERROR = 6 };
enum : int { FLOAT32 = 7, BFLOAT16 = 9, SUM = 0 };
constexpr int MOST_RANKS = 8;
constexpr size_t PIECE_BYTES = 64 << 10;
// A step in which a rank has put its piece and not read those of all, some sums after the first.
constexpr long MIDDLE = 41;

bool is_to_die(const char *variable, int rank) {
  const char *named = std::getenv(variable);
  return named && std::atoi(named) == rank;
}

struct Shared {
  std::atomic<int> joined, is_lost;
  std::atomic<long> steps[MOST_RANKS];
  char pieces[MOST_RANKS][PIECE_BYTES];
};
struct Communicator {
  Shared *shared;
  int rank, world;
  long step = 0;
  bool are_all_there() const {
    for (int r = 0; r < world; r++)
      if (shared->steps[r] < step) return false;
    return true;
  }
  void advance() { shared->steps[rank] = ++step; }
};

float load(const char *p, int type, size_t i) {
  if (type == FLOAT32) return reinterpret_cast<const float *>(p)[i];
  return std::bit_cast<float>(uint32_t(reinterpret_cast<const uint16_t *>(p)[i]) << 16);
}
void store(char *p, int type, size_t i, float value) {
  if (type == FLOAT32) {
    reinterpret_cast<float *>(p)[i] = value;
    return;
  }
  uint32_t bits = std::bit_cast<uint32_t>(value);
  reinterpret_cast<uint16_t *>(p)[i] = value != value ? 0x7fff : uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

struct Work {
  Communicator *all;
  const char *from;
  char *to;
  size_t bytes;
  int type;
  size_t at = 0;
};
// Goes on as far as it can without waiting; whether it is done.
bool go_on(void *what) {
  Work *work = static_cast<Work *>(what);
  Communicator &all = *work->all;
  size_t size = work->type == FLOAT32 ? 4 : 2;
  while (work->at < work->bytes && !all.shared->is_lost) {
    if (all.step == MIDDLE && is_to_die("FAKE_NCCL_DIES_SUMMING", all.rank)) raise(SIGKILL);
    if (!all.are_all_there()) return false;
    size_t n = work->bytes - work->at < PIECE_BYTES ? work->bytes - work->at : PIECE_BYTES;
    if (all.step % 2 == 0) {
      std::memcpy(all.shared->pieces[all.rank], work->from + work->at, n);
      all.advance();
      continue;
    }
    for (size_t i = 0; i < n / size; i++) {
      float sum = 0.f;
      for (int r = 0; r < all.world; r++) sum += load(all.shared->pieces[r], work->type, i);
      store(work->to + work->at, work->type, i, sum);
    }
    all.advance();
    work->at += n;
  }
  delete work;
  return true;
}
}  // namespace

#define API extern "C" __attribute__((visibility("default"))) int
struct Meeting {
  char name[128];
};

API ncclGetVersion(int *version) { *version = 22703; return SUCCESS; }
extern "C" __attribute__((visibility("default"))) const char *ncclGetErrorString(int error) {
  return error == REMOTE_ERROR ? "remote process exited or there was a network error" : "unhandled system error";
}
API ncclGetUniqueId(Meeting *meeting) {
  static std::atomic<int> number;
  std::snprintf(meeting->name, sizeof meeting->name, "/fake-nccl-%d-%d", int(getpid()), int(number++));
  int file = shm_open(meeting->name, O_CREAT | O_EXCL | O_RDWR, 0600);
  if (file < 0 || ftruncate(file, sizeof(Shared))) return SYSTEM_ERROR;
  close(file);
  return SUCCESS;
}
API ncclCommInitRank(Communicator **all, int world, Meeting meeting, int rank) {
  if (world > MOST_RANKS || rank >= world) return INVALID_ARGUMENT;
  int file = shm_open(meeting.name, O_RDWR, 0600);
  if (file < 0) return SYSTEM_ERROR;
  void *memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) return SYSTEM_ERROR;
  Shared *shared = static_cast<Shared *>(memory);
  if (is_to_die("FAKE_NCCL_DIES_JOINING", rank)) {
    while (!shared->joined) usleep(1000);
    shm_unlink(meeting.name);
    raise(SIGKILL);
  }
  shared->joined++;
  while (shared->joined < world) usleep(1000);
  if (rank == 0) shm_unlink(meeting.name);
  *all = new Communicator{shared, rank, world};
  return SUCCESS;
}
API ncclCommDestroy(Communicator *) { return SUCCESS; }
API ncclCommAbort(Communicator *all) { all->shared->is_lost = 1; return SUCCESS; }
API ncclCommGetAsyncError(Communicator *all, int *error) { *error = all->shared->is_lost ? REMOTE_ERROR : SUCCESS; return SUCCESS; }
API ncclGroupStart() { return SUCCESS; }
API ncclGroupEnd() { return SUCCESS; }
API ncclAllReduce(const void *from, void *to, size_t n, int type, int op, Communicator *all, void *stream) {
  if (op != SUM || (type != FLOAT32 && type != BFLOAT16)) return INVALID_ARGUMENT;
  fake_cuda_note("ncclAllReduce");
  size_t bytes = n * (type == FLOAT32 ? 4 : 2);
  fake_cuda_try(stream, go_on, new Work{all, static_cast<const char *>(from), static_cast<char *>(to), bytes, type});
  return SUCCESS;
}
