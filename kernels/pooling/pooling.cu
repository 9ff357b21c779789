// Maxima over windows, and reading and writing images at places that are counted along a plane: h · width + w, of the
// pixel's (example, channel).
#include "../common.cuh"
#include "../windows.cuh"

// ---- maxima
struct Entry {
  T value;
  int place;
};

constexpr int NOWHERE = 0x7FFFFFFF;

// The larger one; of equal ones the first. A NaN is larger than any number, and of several the last one is taken. This
// orders all entries, so that a maximum does not depend on who compares whom.
__device__ Entry larger(Entry a, Entry b) {
  if (b.value != b.value) return a.value == a.value || b.place > a.place ? b : a;
  return b.value > a.value || (b.value == a.value && b.place < a.place) ? b : a;
}

// A thread an entry of the result; the threads of a warp write neighbours, and read windows that lie side by side.
extern "C" __global__ void maxima(const T* x, T* out, int* at, const int* table, int depth, int height, int width,
                                  int deep, int high, int wide, i64 count) {
  Windows windows = {table, depth, height, width, deep, high, wide};
  i64 pixels = (i64)depth * height * width;
  for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (i64)gridDim.x * blockDim.x) {
    Box seen = box(windows, i);
    const T* plane = x + seen.plane * pixels;
    Entry best = {-INFINITY, NOWHERE};
    by_thread(windows, seen, [&](int place, int, int, int) { best = larger(best, {plane[place], place}); });
    out[i] = best.value, at[i] = best.place;
  }
}
EXPORTED(maxima)

// A block an entry of the result: every thread finds the largest of those that it sees, every warp that of its threads,
// and the first thread that of the warps. Shared memory holds an entry a warp, values before places.
extern "C" __global__ void maxima_of_large(const T* x, T* out, int* at, const int* table, int depth, int height,
                                           int width, int deep, int high, int wide) {
  Windows windows = {table, depth, height, width, deep, high, wide};
  Box seen = box(windows, blockIdx.x);
  const T* plane = x + seen.plane * ((i64)depth * height * width);
  Entry best = {-INFINITY, NOWHERE};
  by_block(windows, seen, [&](int place, int, int, int) { best = larger(best, {plane[place], place}); });
  for (int other = WARP / 2; other; other /= 2)
    best = larger(best, {__shfl_xor_sync(ALL, best.value, other), __shfl_xor_sync(ALL, best.place, other)});
  int warps = blockDim.x / WARP;
  T* values = dynamic_shared<T>();
  int* places = reinterpret_cast<int*>(values + warps);
  if (threadIdx.x % WARP == 0) values[threadIdx.x / WARP] = best.value, places[threadIdx.x / WARP] = best.place;
  __syncthreads();
  if (threadIdx.x) return;
  for (int warp = 1; warp < warps; warp++) best = larger(best, {values[warp], places[warp]});
  out[blockIdx.x] = best.value, at[blockIdx.x] = best.place;
}
EXPORTED(maxima_of_large)

// ---- places. x and out are (planes, ·), index (planes / sharing, entries): so many channels have one index in common.
// A place outside of its plane gives NaN where it is read, and nothing where it is written.

// out[p, o] = x[p, index[p, o]], a thread an entry.
extern "C" __global__ void gather(const T* x, const int* index, T* out, int sharing, int entries, int pixels,
                                  i64 count) {
  for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (i64)gridDim.x * blockDim.x) {
    i64 plane = i / entries;
    int place = index[plane / sharing * entries + (i - plane * entries)];
    out[i] = place >= 0 && place < pixels ? x[plane * pixels + place] : T(NAN);
  }
}
EXPORTED(gather)

constexpr int AHEAD = 4;  // batches of a warp's entries that are on their way at once

// Zeros with x[p, o] added, or (not `add`) written, at out[p, index[p, o]]. Places may repeat, and what comes of that
// must not depend on who comes first. So a warp has a plane, or one of `slices` of its places, to itself, and walks over
// the plane's entries in order, 32 at a time. Of the lanes that have the same place, each waits for those before it; of
// writers the last one alone writes.
extern "C" __global__ void scatter(const T* __restrict__ x, const int* __restrict__ index, T* __restrict__ out,
                                   int sharing, int entries, int pixels, int slices, int add, i64 warps) {
  int lane = threadIdx.x % WARP;
  i64 warp = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / WARP, plane = warp / slices, slice = warp - plane * slices;
  if (warp >= warps) return;
  int begin = (int)(pixels * slice / slices), end = (int)(pixels * (slice + 1) / slices);
  x += plane * entries, index += plane / sharing * entries, out += plane * pixels;
  for (i64 place = (i64)begin + lane; place < end; place += WARP) out[place] = 0;
  __syncwarp();
  for (i64 first = lane; first - lane < entries; first += AHEAD * WARP) {
    int places[AHEAD], found = 0;
    T values[AHEAD];
#pragma unroll
    for (int k = 0; k < AHEAD; k++) {
      places[k] = first + k * WARP < entries ? index[first + k * WARP] : -1;
      if (places[k] < begin || places[k] >= end) places[k] = -1;
      found |= places[k] >= 0;
    }
    if (!__any_sync(ALL, found)) continue;
#pragma unroll
    for (int k = 0; k < AHEAD; k++) values[k] = places[k] >= 0 ? x[first + k * WARP] : T(0);
#pragma unroll
    for (int k = 0; k < AHEAD; k++) {
      unsigned same = __match_any_sync(ALL, places[k]);  // lanes
      if (add) {
        int turn = places[k] < 0 ? -1 : __popc(same & ((1u << lane) - 1));
        for (int now = 0; __any_sync(ALL, turn >= now); now++) {
          if (turn == now) out[places[k]] += values[k];
          __syncwarp();
        }
      } else {
        if (places[k] >= 0 && same >> lane == 1) out[places[k]] = values[k];
        __syncwarp();
      }
    }
  }
}
EXPORTED(scatter)
