// Runs the kernels of a .cu file on the CPU: g++ -x c++ -include cuda_on_cpu.h FILE.cu
//
// Every CUDA thread is a fiber. One runs at a time, and gives way at barriers and warp collectives only. The schedule
// is adversarial: a warp runs as far as it can before the next one begins, and `seed` shuffles warps and lanes, so that a
// missing barrier shows. Shared memory starts as NaN. What is undefined on a GPU is an error here: a barrier that not all
// threads reach, a warp collective whose lanes disagree about it, a lane outside of its own mask.
#pragma once
#include <math.h>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#define CUDA_ON_CPU 1
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __align__(n) alignas(n)
#define __constant__ static
// Static shared memory would keep what the last block left: kernels use dynamic_shared(), which is NaN at the start.
#define __shared__ static_assert(false, "use dynamic_shared()");

struct uint3 { unsigned x, y, z; };
struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) double2 { double x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
using std::max;
using std::min;

namespace cuda_on_cpu {

constexpr int LANES = 32, MOST_THREADS = 1024, SLOT = 64;
constexpr size_t STACK = 64 * 1024;

enum State : uint8_t { READY, AT_BARRIER, AT_COLLECTIVE, DONE };

struct Fiber {
  void* stack_pointer;  // null before it begins
  int stack;
  uint3 index;
  int lane, warp;
  State state;
};

// What the lanes of a warp hand each other; two sets, since one collective may begin while lanes still read the last.
struct Warp {
  alignas(16) unsigned char slots[2][LANES][SLOT];
  unsigned arrived, mask, generation;
  int operation;
};

struct Block {
  Fiber fibers[MOST_THREADS];
  Warp warps[MOST_THREADS / LANES];
  void* scheduler;  // its stack pointer
  char* stacks = static_cast<char*>(aligned_alloc(4096, STACK * MOST_THREADS));
  int unused[MOST_THREADS], stacks_left;  // the last is taken next: threads that never wait share one, in the caches
  int threads, current;
  void (*body)(void*);
  void* arguments;
  std::vector<unsigned char> shared;
  const char* error;
  bool unwinding;
  unsigned long serial = 0;  // counts the blocks that ran in this memory
  ~Block() { free(stacks); }
};

inline thread_local Block* block = nullptr;
inline thread_local uint3 block_index, thread_index;
inline thread_local dim3 block_size, grid_size;

// Saves the callee's registers, stores the stack pointer in *from, and goes on where `to` was left.
extern "C" void cuda_on_cpu_switch(void** from, void* to);
#if defined(__x86_64__)
constexpr int SAVED = 6;
asm(R"(
.text
.weak cuda_on_cpu_switch
.type cuda_on_cpu_switch,@function
cuda_on_cpu_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
#elif defined(__aarch64__)
constexpr int SAVED = 20;
asm(R"(
.text
.weak cuda_on_cpu_switch
.type cuda_on_cpu_switch,%function
cuda_on_cpu_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
)");
#else
#error "cuda_on_cpu_switch is written for x86-64 and aarch64"
#endif

struct Abandoned {};  // thrown in every fiber of a block that went wrong

inline Fiber& self() { return block->fibers[block->current]; }
inline int lane() { return self().lane; }

inline void give_way() {
  Block* b = block;
  Fiber& fiber = self();
  cuda_on_cpu_switch(&fiber.stack_pointer, b->scheduler);
  thread_index = fiber.index;
}

inline void wait_as(State state) {
  self().state = state;
  give_way();
  if (block->unwinding) throw Abandoned{};
}

inline void fiber_main() {
  try {
    block->body(block->arguments);
  } catch (Abandoned&) {
  }
  self().state = DONE;
  give_way();
  __builtin_trap();
}

// All lanes of `mask` hand in a value; when the last has, each may read the others'.
template <class T>
struct Collective {
  static_assert(sizeof(T) <= SLOT);
  Warp& warp;
  unsigned set;

  Collective(unsigned mask, const T& value, int operation) : warp(block->warps[self().warp]) {
    set = warp.generation & 1;
    if (!(mask >> lane() & 1)) block->error = "a lane is not in the mask of the warp collective that it calls";
    if (warp.arrived && (warp.mask != mask || warp.operation != operation))
      block->error = "lanes of a warp met in different collectives, or with different masks";
    warp.mask = mask, warp.operation = operation;
    memcpy(warp.slots[set][lane()], &value, sizeof value);
    warp.arrived |= 1u << lane();
    if ((warp.arrived & mask) != mask) {
      wait_as(AT_COLLECTIVE);
      return;
    }
    warp.arrived = 0, warp.generation++;
    for (int i = self().warp * LANES; i < min(block->threads, (self().warp + 1) * LANES); i++)
      if (block->fibers[i].state == AT_COLLECTIVE) block->fibers[i].state = READY;
  }

  T of(int peer) const {
    T value;
    memcpy(&value, warp.slots[set][peer & (LANES - 1)], sizeof value);
    return value;
  }
};

inline void prepare_fiber(int i) {
  Fiber& fiber = block->fibers[i];
  fiber.index = {i % block_size.x, i / block_size.x % block_size.y, i / (block_size.x * block_size.y)};
  fiber.lane = i % LANES, fiber.warp = i / LANES, fiber.state = READY, fiber.stack_pointer = nullptr;
}

inline void give_stack(Fiber& fiber) {
  int i = fiber.stack = block->unused[--block->stacks_left];
  // Stacks that began at equal distances would all lie in the same few lines of the caches.
  void** stack = reinterpret_cast<void**>(block->stacks + STACK * (i + 1) - i * 576 % 16384);
#if defined(__x86_64__)
  *--stack = nullptr;                                   // so that fiber_main finds its stack aligned as after a call
  *--stack = reinterpret_cast<void*>(fiber_main);       // where the first switch returns to
  stack -= SAVED;
  memset(stack, 0, SAVED * sizeof *stack);
#else
  stack -= SAVED;
  memset(stack, 0, SAVED * sizeof *stack);
  stack[11] = reinterpret_cast<void*>(fiber_main);      // x30
#endif
  fiber.stack_pointer = stack;
}

// An order of warps and a stride through lanes: identity for seed 0, backwards for 1, else shuffled.
inline std::vector<int> warp_order(int warps, unsigned seed) {
  std::vector<int> order(warps);
  for (int i = 0; i < warps; i++) order[i] = seed == 1 ? warps - 1 - i : i;
  for (int i = warps - 1; seed > 1 && i > 0; i--) {
    seed = seed * 1664525u + 1013904223u;
    std::swap(order[i], order[(seed >> 8) % (i + 1)]);
  }
  return order;
}

inline void run_block(unsigned seed) {
  Block& b = *block;
  b.error = nullptr, b.unwinding = false, b.serial++;
  for (int i = 0; i < b.threads; i++) prepare_fiber(i), b.unused[i] = b.threads - 1 - i;
  b.stacks_left = b.threads;
  int warps = (b.threads + LANES - 1) / LANES;
  for (int w = 0; w < warps; w++) b.warps[w].arrived = b.warps[w].generation = 0;
  std::vector<int> order = warp_order(warps, seed);
  int stride = seed == 1 ? LANES - 1 : (2 * seed + 1) & (LANES - 1);  // odd: it visits every lane
  for (;;) {
    bool ran = false;
    for (int w : order) {
      for (bool again = true; again;) {
        again = false;
        for (int j = 0; j < LANES; j++) {
          int i = w * LANES + (j * stride & (LANES - 1));
          if (i >= b.threads || b.fibers[i].state != READY) continue;
          Fiber& fiber = b.fibers[i];
          if (!fiber.stack_pointer) give_stack(fiber);
          b.current = i, thread_index = fiber.index;
          cuda_on_cpu_switch(&b.scheduler, fiber.stack_pointer);
          if (fiber.state == DONE) b.unused[b.stacks_left++] = fiber.stack;
          ran = again = true;
        }
      }
    }
    int done = 0, waiting = 0;
    for (int i = 0; i < b.threads; i++) done += b.fibers[i].state == DONE, waiting += b.fibers[i].state == AT_BARRIER;
    if (done == b.threads) return;
    if (!ran && !b.error) {
      if (waiting == b.threads) {
        for (int i = 0; i < b.threads; i++) b.fibers[i].state = READY;
        continue;
      }
      b.error = waiting ? "__syncthreads() is not reached by every thread of the block"
                        : "a warp collective is not reached by every lane of its mask";
    }
    if (b.error) {
      b.unwinding = true;
      for (int i = 0; i < b.threads; i++)
        if (b.fibers[i].state != DONE) b.fibers[i].state = READY;
    }
  }
}

template <class... A, size_t... I>
void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
  kernel(*static_cast<std::decay_t<A>*>(arguments[I])...);
}

inline thread_local char error[200];

// Runs the grid; returns what went wrong, or null.
inline const char* run_grid(void (*body)(void*), void* arguments, dim3 grid, dim3 threads, size_t shared,
                            unsigned seed) {
  size_t size = size_t(threads.x) * threads.y * threads.z, total = size_t(grid.x) * grid.y * grid.z;
  if (!size || size > MOST_THREADS) return "a block has 1 to 1024 threads";
  if (grid.y > 65535 || grid.z > 65535) return "a grid has at most 65535 blocks in y and in z";
  static thread_local Block memory;
  block = &memory, block_size = threads, grid_size = grid;
  block->threads = int(size), block->arguments = arguments, block->body = body;
  for (size_t i = 0; i < total; i++) {
    block_index = {unsigned(i % grid.x), unsigned(i / grid.x % grid.y), unsigned(i / (size_t(grid.x) * grid.y))};
    block->shared.assign(shared + 16, 0xFF);
    run_block(seed > 1 ? seed + unsigned(i) : seed);
    if (block->error) {
      snprintf(error, sizeof error, "%s (block %zu)", block->error, i);
      return error;
    }
  }
  return nullptr;
}

// The same, of a kernel; `sizes` are those of the arguments, in bytes.
template <class... A>
const char* launch(void (*kernel)(A...), dim3 grid, dim3 threads, size_t shared, void** arguments, const size_t* sizes,
                   size_t count, unsigned seed) {
  size_t expected[] = {sizeof(std::decay_t<A>)..., 0};
  if (count != sizeof...(A)) {
    snprintf(error, sizeof error, "it takes %zu arguments, got %zu", sizeof...(A), count);
    return error;
  }
  for (size_t i = 0; i < count; i++)
    if (sizes[i] != expected[i]) {
      snprintf(error, sizeof error, "argument %zu has %zu bytes, got one of %zu", i, expected[i], sizes[i]);
      return error;
    }
  struct Call { void (*kernel)(A...); void** arguments; } made{kernel, arguments};
  auto body = [](void* given) {
    Call* c = static_cast<Call*>(given);
    call(c->kernel, c->arguments, std::index_sequence_for<A...>{});
  };
  return run_grid(body, &made, grid, threads, shared, seed);
}

}  // namespace cuda_on_cpu

#define threadIdx (cuda_on_cpu::thread_index)
#define blockIdx (cuda_on_cpu::block_index)
#define blockDim (cuda_on_cpu::block_size)
#define gridDim (cuda_on_cpu::grid_size)

template <class T>
T* dynamic_shared() {
  return reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(cuda_on_cpu::block->shared.data()) + 15) & ~uintptr_t(15));
}

inline void __syncthreads() { cuda_on_cpu::wait_as(cuda_on_cpu::AT_BARRIER); }
inline void __syncwarp(unsigned mask = ~0u) { cuda_on_cpu::Collective<int>(mask, 0, 1); }
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int other) {
  return cuda_on_cpu::Collective<T>(mask, value, 2).of(cuda_on_cpu::lane() ^ other);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source) {
  return cuda_on_cpu::Collective<T>(mask, value, 3).of(source);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by) {
  int source = cuda_on_cpu::lane() + int(by);
  return cuda_on_cpu::Collective<T>(mask, value, 4).of(source < cuda_on_cpu::LANES ? source : cuda_on_cpu::lane());
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by) {
  int source = cuda_on_cpu::lane() - int(by);
  return cuda_on_cpu::Collective<T>(mask, value, 5).of(source >= 0 ? source : cuda_on_cpu::lane());
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  cuda_on_cpu::Collective<int> votes(mask, predicate, 6);
  unsigned result = 0;
  for (int i = 0; i < cuda_on_cpu::LANES; i++)
    if (mask >> i & 1) result |= unsigned(votes.of(i) != 0) << i;
  return result;
}
template <class T>
unsigned __match_any_sync(unsigned mask, T value) {
  cuda_on_cpu::Collective<T> values(mask, value, 7);
  unsigned result = 0;
  for (int i = 0; i < cuda_on_cpu::LANES; i++)
    if (mask >> i & 1) result |= unsigned(values.of(i) == value) << i;
  return result;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

template <class T>
T cuda_on_cpu_atomic_add(T* place, T value) {
  T old = *place, made;
  do made = old + value;
  while (!__atomic_compare_exchange(place, &old, &made, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old;
}
inline float atomicAdd(float* place, float value) { return cuda_on_cpu_atomic_add(place, value); }
inline double atomicAdd(double* place, double value) { return cuda_on_cpu_atomic_add(place, value); }
inline int atomicAdd(int* place, int value) { return cuda_on_cpu_atomic_add(place, value); }
inline unsigned atomicAdd(unsigned* place, unsigned value) { return cuda_on_cpu_atomic_add(place, value); }

template <class T>
T __ldg(const T* place) { return *place; }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffsll(unsigned long long x) { return __builtin_ffsll(x); }
inline float __fmul_rn(float x, float y) { return x * y; }  // never fused with a sum, as nothing is here
inline double __dmul_rn(double x, double y) { return x * y; }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((uint64_t(a) * b) >> 32); }
inline unsigned __float_as_uint(float x) { unsigned made; memcpy(&made, &x, 4); return made; }
inline float __uint_as_float(unsigned x) { float made; memcpy(&made, &x, 4); return made; }

#include "tensor_cores_on_cpu.h"

// After each kernel: EXPORTED(name) makes it callable from outside, as extern "C" does for NVRTC.
#define EXPORTED(kernel)                                                                                              \
  extern "C" const char* cuda_on_cpu_launch_##kernel(const unsigned* sizes, size_t shared, void** arguments,            \
                                                     const size_t* bytes, size_t count, unsigned seed) {                \
    return cuda_on_cpu::launch(&kernel, dim3(sizes[0], sizes[1], sizes[2]), dim3(sizes[3], sizes[4], sizes[5]), shared,  \
                               arguments, bytes, count, seed);                                                          \
  }
