// Weighted sums over windows, one axis after the other, and images read at any points.
#include "../common.cuh"
#include "../windows.cuh"

// ---- out[i] = Σ weight · weight · weight · x over the windows of i, of D, H and W

// A thread an entry of the result.
extern "C" __global__ void weigh(const T* x, T* out, const int* table, const T* weight, int depth, int height, int width,
                                 int deep, int high, int wide, i64 count) {
  Windows windows = {table, depth, height, width, deep, high, wide};
  i64 pixels = (i64)depth * height * width;
  for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (i64)gridDim.x * blockDim.x) {
    Box seen = box(windows, i);
    const T* plane = x + seen.plane * pixels;
    T total = 0;
    by_thread(windows, seen, [&](int place, int d, int h, int w) {
      total += weight[d] * weight[h] * weight[w] * plane[place];
    });
    out[i] = total;
  }
}
EXPORTED(weigh)

// A block an entry of the result. Shared memory holds a number a warp.
extern "C" __global__ void weigh_of_large(const T* x, T* out, const int* table, const T* weight, int depth, int height,
                                          int width, int deep, int high, int wide) {
  Windows windows = {table, depth, height, width, deep, high, wide};
  Box seen = box(windows, blockIdx.x);
  const T* plane = x + seen.plane * ((i64)depth * height * width);
  T total = 0;
  by_block(windows, seen, [&](int place, int d, int h, int w) {
    total += weight[d] * weight[h] * weight[w] * plane[place];
  });
  total = over_block(total, Sum(), dynamic_shared<T>());
  if (threadIdx.x == 0) out[blockIdx.x] = total;
}
EXPORTED(weigh_of_large)

// ---- images at any points. A point reads 1, 2 or 4 entries of each axis; those that lie outside of the image count as
// zeros, so that a weight of NaN shows there too.
enum Mode { NEAREST, BILINEAR, BICUBIC };
enum Padding { ZEROS, BORDER, REFLECTION };

struct Read {
  T at, slope;
};

// Where in the image a coordinate is read, and the slope of that: 0 where it is held at an edge.
__device__ Read padded(T at, int size, int padding, int corners) {
  T slope = 1;
  if (padding == REFLECTION) {
    T least = corners ? T(0) : T(-0.5), span = corners ? size - 1 : size;
    if (span == 0) return {0, 0};
    T away = fabs(at - least), rest = fmod(away, span);
    bool even = fmod(floor(away / span), T(2)) == 0;
    slope = (at < least) == even ? T(-1) : T(1);
    at = (even ? rest : span - rest) + least;
  }
  if (padding != ZEROS) {
    if (!(at > 0)) return {0, 0};
    if (at >= size - 1) return {T(size - 1), 0};
  }
  return {at, slope};
}

// Keys' weights (1981), of entries less than 1 and from 1 to 2 away, and how they rise with the distance.
constexpr T KEYS = -0.75;
__device__ T near_weight(T d) { return ((KEYS + 2) * d - (KEYS + 3)) * d * d + 1; }
__device__ T near_slope(T d) { return (3 * (KEYS + 2) * d - 2 * (KEYS + 3)) * d; }
__device__ T far_weight(T d) { return ((KEYS * d - 5 * KEYS) * d + 8 * KEYS) * d - 4 * KEYS; }
__device__ T far_slope(T d) { return (3 * KEYS * d - 10 * KEYS) * d + 8 * KEYS; }

// What a coordinate g, from -1 to 1, reads of an axis: entries, -1 for one outside; their weights; these by g.
template <int MODE>
struct Axis {
  static constexpr int COUNT = MODE == NEAREST ? 1 : MODE == BILINEAR ? 2 : 4;
  int entry[COUNT];
  T weight[COUNT], slope[COUNT];

  __device__ void find(T g, int size, int padding, int corners) {
    T scale = T(corners ? size - 1 : size) / 2;
    // Rounded as on the CPU: a point halfway between two pixels is there on both.
    T at = corners ? times(g + 1, scale) : (times(g + 1, T(size)) - 1) / 2;
    if (MODE != BICUBIC) {
      Read read = padded(at, size, padding, corners);
      at = read.at, scale *= read.slope;
    }
    T base = MODE == NEAREST ? rint(at) : floor(at), t = at - base;
    if constexpr (MODE == NEAREST) {
      weight[0] = 1, slope[0] = 0;
    } else if constexpr (MODE == BILINEAR) {
      weight[0] = 1 - t, weight[1] = t;
      slope[0] = -scale, slope[1] = scale;
    } else {
      weight[0] = far_weight(t + 1), weight[1] = near_weight(t);
      weight[2] = near_weight(1 - t), weight[3] = far_weight(2 - t);
      slope[0] = scale * far_slope(t + 1), slope[1] = scale * near_slope(t);
      slope[2] = -scale * near_slope(1 - t), slope[3] = -scale * far_slope(2 - t);
    }
#pragma unroll
    for (int k = 0; k < COUNT; k++) {
      T place = MODE == BICUBIC ? padded(base + (k - 1), size, padding, corners).at : base + k;
      entry[k] = place >= 0 && place <= size - 1 ? (int)place : -1;
    }
  }
};

// The taps of a point: one for each choice of an entry of each axis, the last axis' fastest.
template <int MODE, int AXES>
struct Point {
  static constexpr int COUNT = Axis<MODE>::COUNT, TAPS = (AXES == 3 ? COUNT : 1) * COUNT * COUNT;
  Axis<MODE> axes[AXES];
  int size[AXES];

  __device__ Point(const T* g, const int* sizes, int padding, int corners) {
#pragma unroll
    for (int d = 0; d < AXES; d++) {
      size[d] = sizes[3 - AXES + d];
      axes[d].find(g[AXES - 1 - d], size[d], padding, corners);
    }
  }

  static __device__ int choice(int tap, int d) {
    for (int last = AXES - 1; last > d; last--) tap /= COUNT;
    return tap % COUNT;
  }

  // Along the plane; -1 outside.
  __device__ int place(int tap) const {
    int made = 0;
#pragma unroll
    for (int d = 0; d < AXES; d++) {
      int entry = axes[d].entry[choice(tap, d)];
      made = entry < 0 || made < 0 ? -1 : made * size[d] + entry;
    }
    return made;
  }

  __device__ T weight(int tap) const {
    T made = 1;
#pragma unroll
    for (int d = 0; d < AXES; d++) made *= axes[d].weight[choice(tap, d)];
    return made;
  }

  // How total · weight rises with the coordinate of axis `by`: not at all where that has no slope, whatever the rest is.
  __device__ T risen(T total, int tap, int by) const {
    T made = axes[by].slope[choice(tap, by)];
    if (made == 0 || place(tap) < 0) return 0;
#pragma unroll
    for (int d = 0; d < AXES; d++)
      if (d != by) made *= axes[d].weight[choice(tap, d)];
    return made * total;
  }
};

// x (N, channels, D, H, W), grid (N, points, AXES). Where points are few, channels are shared out to `groups` of threads.
struct Sizes {
  int channels, groups, points, of_axes[3], padding, corners;

  __device__ int pixels() const { return of_axes[0] * of_axes[1] * of_axes[2]; }
  __device__ int first(int group) const { return (int)((i64)channels * group / groups); }
};

// out (N, channels, points): a thread a point and a group of channels; a warp writes neighbours.
template <int MODE, int AXES>
__device__ void sampled(const T* x, const T* grid, T* out, i64 threads, Sizes of) {
  typedef Point<MODE, AXES> Taps;
  for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < threads; i += (i64)gridDim.x * blockDim.x) {
    i64 line = i / of.points, n = line / of.groups;
    int o = (int)(i - line * of.points), group = (int)(line - n * of.groups), places[Taps::TAPS];
    T weights[Taps::TAPS];
    Taps at(grid + (n * of.points + o) * AXES, of.of_axes, of.padding, of.corners);
#pragma unroll
    for (int tap = 0; tap < Taps::TAPS; tap++) places[tap] = at.place(tap), weights[tap] = at.weight(tap);
    for (int c = of.first(group); c < of.first(group + 1); c++) {
      const T* plane = x + (n * of.channels + c) * of.pixels();
      T total = 0;
#pragma unroll
      for (int tap = 0; tap < Taps::TAPS; tap++)
        total += weights[tap] * (places[tap] < 0 ? T(0) : plane[places[tap]]);
      out[(n * of.channels + c) * of.points + o] = total;
    }
  }
}

#define SAMPLE(name, MODE, AXES)                                                                                       \
  extern "C" __global__ void name(const T* x, const T* grid, T* out, i64 threads, int channels, int groups, int points, \
                                  int depth, int height, int width, int padding, int corners) {                         \
    sampled<MODE, AXES>(x, grid, out, threads, {channels, groups, points, {depth, height, width}, padding, corners});   \
  }                                                                                                                     \
  EXPORTED(name)
SAMPLE(sample_nearest2, NEAREST, 2)
SAMPLE(sample_nearest3, NEAREST, 3)
SAMPLE(sample_bilinear2, BILINEAR, 2)
SAMPLE(sample_bilinear3, BILINEAR, 3)
SAMPLE(sample_bicubic2, BICUBIC, 2)

// The gradients, g (N, channels, points), of all points together: point p is point p mod points of image p / points.
//
// If `moved`, partial (groups, N · points, AXES) is the gradient of the grid, of the channels of a group: for each tap
// Σ g x over channels, times how its weight rises with each coordinate.
//
// If `spread`, keys and weights (TAPS, N · points) say to which pixel of all images a tap's share of g belongs, N · pixels
// for one outside. Sorted, they are added up by `collect`.
template <int MODE, int AXES>
__device__ void pull(const T* g, const T* x, const T* grid, T* partial, int* keys, T* shares, int moved, int spread,
                     int images, Sizes of) {
  typedef Point<MODE, AXES> Taps;
  i64 all = (i64)images * of.points;
  for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < of.groups * all; i += (i64)gridDim.x * blockDim.x) {
    int group = (int)(i / all);
    i64 p = i - group * all, n = p / of.points, o = p - n * of.points;
    Taps at(grid + p * AXES, of.of_axes, of.padding, of.corners);
    if (spread && group == 0) {
#pragma unroll
      for (int tap = 0; tap < Taps::TAPS; tap++) {
        int place = at.place(tap);
        keys[tap * all + p] = (int)(place < 0 ? (i64)images * of.pixels() : n * of.pixels() + place);
        shares[tap * all + p] = at.weight(tap);
      }
    }
    if (!moved) continue;
    int places[Taps::TAPS];
    T totals[Taps::TAPS];
#pragma unroll
    for (int tap = 0; tap < Taps::TAPS; tap++) places[tap] = at.place(tap), totals[tap] = 0;
    for (int c = of.first(group); c < of.first(group + 1); c++) {
      const T* plane = x + (n * of.channels + c) * of.pixels();
      T pulled = g[(n * of.channels + c) * of.points + o];
#pragma unroll
      for (int tap = 0; tap < Taps::TAPS; tap++)
        if (places[tap] >= 0) totals[tap] += pulled * plane[places[tap]];
    }
#pragma unroll
    for (int d = 0; d < AXES; d++) {
      T made = 0;
#pragma unroll
      for (int tap = 0; tap < Taps::TAPS; tap++) made += at.risen(totals[tap], tap, d);
      partial[i * AXES + AXES - 1 - d] = made;
    }
  }
}

#define PULL(name, MODE, AXES)                                                                                         \
  extern "C" __global__ void name(const T* g, const T* x, const T* grid, T* partial, int* keys, T* shares, int moved,   \
                                  int spread, int images, int channels, int groups, int points, int depth, int height,  \
                                  int width, int padding, int corners) {                                                \
    pull<MODE, AXES>(g, x, grid, partial, keys, shares, moved, spread, images,                                          \
                     {channels, groups, points, {depth, height, width}, padding, corners});                             \
  }                                                                                                                     \
  EXPORTED(name)
PULL(sample_pulled_nearest2, NEAREST, 2)
PULL(sample_pulled_nearest3, NEAREST, 3)
PULL(sample_pulled_bilinear2, BILINEAR, 2)
PULL(sample_pulled_bilinear3, BILINEAR, 3)
PULL(sample_pulled_bicubic2, BICUBIC, 2)

constexpr int CHANNELS = 4;  // of a thread of `collect`: it looks up an entry once for all of them

// gx (N, channels, pixels), each the sum of what belongs to it, in the order of the entries: begin[q] is where those of
// pixel q of all images begin among the sorted ones, `entry` which ones these were. A thread a pixel and a few channels;
// a warp writes neighbours.
extern "C" __global__ void collect(const T* g, const i64* entry, const T* shares, const i64* begin, T* gx, i64 threads,
                                   int channels, int points, int pixels) {
  int groups = (channels + CHANNELS - 1) / CHANNELS;
  for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < threads; i += (i64)gridDim.x * blockDim.x) {
    i64 line = i / pixels, n = line / groups, q = i - line * pixels;
    int c = (int)(line - n * groups) * CHANNELS, these = min(CHANNELS, channels - c);
    const T* from = g + (n * channels + c) * points;
    T totals[CHANNELS] = {};
    for (i64 k = begin[n * pixels + q]; k < begin[n * pixels + q + 1]; k++) {
      int which = (int)entry[k];
      T share = shares[which];
      int o = which % points;
#pragma unroll
      for (int j = 0; j < CHANNELS; j++)
        if (j < these) totals[j] += share * from[(i64)j * points + o];
    }
#pragma unroll
    for (int j = 0; j < CHANNELS; j++)
      if (j < these) gx[(n * channels + c + j) * pixels + q] = totals[j];
  }
}
EXPORTED(collect)
