// Deformable convolution (arXiv 1703.06211, 1811.11168): what each tap reads is written down, as `columns`, and
// multiplied by the weight as a matrix. Column (n, o) has an entry for each channel and tap:
//
//   columns[c, r][n, o] = mask[n, r, o] · x[n, c] at the pixel o · stride + r · dilation - before + offset[n, r, o]
//
// A position between pixels is read bilinearly, pixels beside the image are 0. One set of offsets, and of masks, is for
// a share of the channels; a *sample* is a set, a tap, an image and a place: one position that a share of the channels
// reads.
//
// The gradient in x adds what all samples around a pixel hand back. Nothing is added atomically: samples are sorted by
// the pixel above and left of them, so that those around a pixel are two runs, which one thread goes through in order.
#include "../common.cuh"

// What every kernel is told.
#define EACH(as)                                                                                                       \
  as(images), as(channels), as(height), as(width), as(rows), as(columns), as(stride_y), as(stride_x), as(before_y),    \
      as(before_x), as(dilation_y), as(dilation_x), as(kernel_y), as(kernel_x), as(sets)
#define ARGUMENT(name) int name
#define NAME(name) name

struct Sizes {
  int EACH(NAME);

  __device__ int pixels() const { return height * width; }
  __device__ int places() const { return rows * columns; }
  __device__ int all_places() const { return images * places(); }
  __device__ int taps() const { return kernel_y * kernel_x; }
  __device__ int share() const { return channels / sets; }
  __device__ int samples() const { return sets * taps() * all_places(); }
};

constexpr int CHANNELS = 16;  // of one thread: for so many a position is found once

__device__ int quotient_up(int a, int b) { return (a + b - 1) / b; }

// The channels of one set that a block works on: `count` from `first` on.
struct Channels {
  int set, first, count;

  __device__ Channels(const Sizes& s, int part) {
    int parts = quotient_up(s.share(), CHANNELS), begin = part % parts * CHANNELS;
    set = part / parts, first = set * s.share() + begin, count = min(CHANNELS, s.share() - begin);
  }
};

// ---- positions
struct Sample {
  int image, y, x;  // the pixel above and left of the position; -2 where all pixels around it are beside the image
  T down, right, factor;         // how far behind that pixel it is, and what the mask makes of it
  i64 offset_y, offset_x, mask;  // where they lie
};

__device__ int between(T at, int size, T& behind) {
  if (!(at >= -1 && at < size)) {
    behind = at == at ? T(0) : at;
    return -2;
  }
  T low = floor(at);
  behind = at - low;
  return (int)low;
}

// `place`: of all images
__device__ Sample sample(const Sizes& s, const T* offset, const T* mask, int masked, int set, int tap, int place) {
  Sample found;
  int o = place % s.places();
  found.image = place / s.places();
  i64 move = ((i64)found.image * s.sets + set) * s.taps() + tap;
  found.mask = move * s.places() + o;
  found.offset_y = 2 * move * s.places() + o, found.offset_x = found.offset_y + s.places();
  int y = o / s.columns * s.stride_y - s.before_y + tap / s.kernel_x * s.dilation_y;
  int x = o % s.columns * s.stride_x - s.before_x + tap % s.kernel_x * s.dilation_x;
  found.y = between(y + offset[found.offset_y], s.height, found.down);
  found.x = between(x + offset[found.offset_x], s.width, found.right);
  found.factor = masked ? mask[found.mask] : T(1);
  return found;
}

// The four pixels around a position: of one channel after the other.
struct Pixels {
  const T* at;
  int width;
  bool top, bottom, left, right;  // whether they are in the image

  __device__ Pixels(const Sizes& s, const Sample& sample, const T* x, int channel) : width(s.width) {
    at = x + ((i64)sample.image * s.channels + channel) * s.pixels() + (i64)sample.y * s.width + sample.x;
    top = sample.y >= 0, bottom = sample.y >= -1 && sample.y + 1 < s.height;
    left = sample.x >= 0, right = sample.x >= -1 && sample.x + 1 < s.width;
  }

  __device__ T a() const { return top && left ? at[0] : T(0); }
  __device__ T b() const { return top && right ? at[1] : T(0); }
  __device__ T c() const { return bottom && left ? at[width] : T(0); }
  __device__ T d() const { return bottom && right ? at[width + 1] : T(0); }
};

// ---- columns. A thread makes one sample, for CHANNELS channels; neighbouring threads have neighbouring places, so
// that they write side by side, and mostly read so.
extern "C" __global__ void sampled(const T* x, const T* offset, const T* mask, int masked, T* out, EACH(ARGUMENT)) {
  Sizes s = {EACH(NAME)};
  int all = s.all_places(), tiles = quotient_up(all, blockDim.x), block = blockIdx.x / tiles;
  int place = blockIdx.x % tiles * blockDim.x + threadIdx.x, tap = block % s.taps();
  Channels of(s, block / s.taps());
  if (place >= all) return;
  Sample found = sample(s, offset, mask, masked, of.set, tap, place);
  Pixels around(s, found, x, of.first);
  T up = 1 - found.down, near = 1 - found.right;
  T a = up * near * found.factor, b = up * found.right * found.factor;
  T c = found.down * near * found.factor, d = found.down * found.right * found.factor;
#pragma unroll 4
  for (int k = 0; k < of.count; k++) {
    out[((i64)(of.first + k) * s.taps() + tap) * all + place] =
        a * around.a() + b * around.b() + c * around.c() + d * around.d();
    around.at += s.pixels();
  }
}
EXPORTED(sampled)

// ---- the gradients of offsets and masks, from those of the columns, `pulled`. A block makes 32 places of one tap; its
// warps share the channels, and the first adds up what they found: Σ pulled · pixel, for each of the four pixels.
extern "C" __global__ void moved(const T* x, const T* offset, const T* mask, int masked, const T* pulled, T* g_offset,
                                 T* g_mask, EACH(ARGUMENT)) {
  Sizes s = {EACH(NAME)};
  T* sums = dynamic_shared<T>();  // (4, warps, 32)
  int all = s.all_places(), tiles = quotient_up(all, WARP), block = blockIdx.x / tiles, warps = blockDim.x / WARP;
  int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, place = blockIdx.x % tiles * WARP + lane;
  int tap = block % s.taps(), set = block / s.taps();
  bool there = place < all;
  Sample found = {};
  T a = 0, b = 0, c = 0, d = 0;
  if (there) {
    int first = set * s.share() + warp;
    found = sample(s, offset, mask, masked, set, tap, place);
    Pixels around(s, found, x, first);
#pragma unroll 4
    for (int channel = first; channel < (set + 1) * s.share(); channel += warps) {
      T g = pulled[((i64)channel * s.taps() + tap) * all + place];
      a += g * around.a(), b += g * around.b(), c += g * around.c(), d += g * around.d();
      around.at += (i64)warps * s.pixels();
    }
  }
  int own = warp * WARP + lane, apart = warps * WARP;
  sums[own] = a, sums[apart + own] = b, sums[2 * apart + own] = c, sums[3 * apart + own] = d;
  __syncthreads();
  if (warp || !there) return;
  for (int other = WARP + lane; other < apart; other += WARP)
    a += sums[other], b += sums[apart + other], c += sums[2 * apart + other], d += sums[3 * apart + other];
  T up = 1 - found.down, near = 1 - found.right;
  g_offset[found.offset_y] = found.factor * (near * (c - a) + found.right * (d - b));
  g_offset[found.offset_x] = found.factor * (up * (b - a) + found.down * (d - c));
  if (masked)
    g_mask[found.mask] = up * (near * a + found.right * b) + found.down * (near * c + found.right * d);
}
EXPORTED(moved)

// ---- the gradient of x. Bins are (image, set, height + 1, width + 1): the pixel above and left of a position may lie
// just beside the image. keys[sample] is its bin, or the number of bins if nobody sees it.
extern "C" __global__ void keys(const T* offset, const T* mask, int masked, int* out, EACH(ARGUMENT)) {
  Sizes s = {EACH(NAME)};
  int all = s.all_places(), bins = images * sets * (height + 1) * (width + 1);
  for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < s.samples(); i += (i64)gridDim.x * blockDim.x) {
    int set = i / all / s.taps();
    Sample found = sample(s, offset, mask, masked, set, i / all % s.taps(), i % all);
    bool seen = found.y >= -1 && found.x >= -1;
    out[i] = seen ? ((found.image * sets + set) * (height + 1) + found.y + 1) * (width + 1) + found.x + 1 : bins;
  }
}
EXPORTED(keys)

// starts[bin]: how many samples have a smaller key. `order` lists the samples by their keys.
extern "C" __global__ void starts(const int* keys, const i64* order, int* out, int samples, int bins) {
  for (i64 bin = (i64)blockIdx.x * blockDim.x + threadIdx.x; bin <= bins; bin += (i64)gridDim.x * blockDim.x) {
    int low = 0, high = samples;
    while (low < high) {
      int middle = low + (high - low) / 2;
      if (keys[order[middle]] < bin)
        low = middle + 1;
      else
        high = middle;
    }
    out[bin] = low;
  }
}
EXPORTED(starts)

// A thread makes CHANNELS channels of a pixel. Around it are the samples of four bins: those of its own and of the one
// left of it follow each other, and so do those of the row above.
extern "C" __global__ void spread(const T* offset, const T* mask, int masked, const T* pulled, const i64* order,
                                  const int* starts, T* gx, EACH(ARGUMENT)) {
  Sizes s = {EACH(NAME)};
  int all = s.all_places(), taps = s.taps(), tiles = quotient_up(images * s.pixels(), blockDim.x);
  int pixel = blockIdx.x % tiles * blockDim.x + threadIdx.x;
  Channels of(s, blockIdx.x / tiles);
  if (pixel >= images * s.pixels()) return;
  int image = pixel / s.pixels(), y = pixel % s.pixels() / width, x = pixel % width;
  T sums[CHANNELS] = {};
  for (int above = 1; above >= 0; above--) {
    int bin = ((image * sets + of.set) * (height + 1) + y + 1 - above) * (width + 1) + x;
    int own = starts[bin + 1], end = starts[bin + 2];
    for (int k = starts[bin]; k < end; k++) {
      int i = order[k], place = i % all, tap = i / all % taps;
      Sample found = sample(s, offset, mask, masked, of.set, tap, place);
      T weight = (above ? found.down : 1 - found.down) * (k < own ? found.right : 1 - found.right) * found.factor;
      const T* g = pulled + ((i64)of.first * taps + tap) * all + place;
#pragma unroll
      for (int c = 0; c < CHANNELS; c++)
        if (c < of.count) sums[c] += weight * g[(i64)c * taps * all];
    }
  }
  T* out = gx + ((i64)image * channels + of.first) * s.pixels() + pixel % s.pixels();
#pragma unroll
  for (int c = 0; c < CHANNELS; c++)
    if (c < of.count) out[(i64)c * s.pixels()] = sums[c];
}
EXPORTED(spread)
