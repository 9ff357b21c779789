// Means of samples of each bin of a region (RoI align, arXiv 1703.06870), of bins that may be moved and
// position-sensitive (arXiv 1703.06211), and their gradients. A sample lies between pixels and is read bilinearly.
#include "bins.cuh"

constexpr int FAR = 1000000000;  // a sample with a larger number is outside of every image

struct Reach {
  int low, high;
};

// The pixels that samples from one place to another may read.
__device__ Reach between(T one, T other, int pixels) {
  T least = one < other ? one : other, most = one < other ? other : one;
  if (!(least <= pixels && most >= -1)) return {0, -1};
  return {limited(least, pixels - 1), most > 0 ? limited(most + 1, pixels - 1) : 0};
}

// A sample reads pixel `near`, -1 for none, with weight 1 - part and, where it is `inner`, the next one with weight
// part. Within a pixel beside the image it reads the border.
struct Reading {
  int near, inner;
  T part;
};

// The samples of a bin on one axis.
struct Samples {
  T first, step, share;       // number i lies at first + (i + ½) step; 1 / how many there are, outside of the image too
  int begin, end, low, high;  // the numbers that can be inside, and the pixels that these may read

  __device__ T place(int i) const { return first + times(i + T(0.5), step); }

  __device__ Reading read(int i, int pixels) const {
    T at = place(i);
    if (!(at >= -1 && at <= pixels)) return {-1, 0, T(0)};
    bool inner = at >= 0 && at < pixels - 1;
    int near = limited(at, pixels - 1);
    return {near, inner, inner ? at - near : T(0)};
  }

  // The mean of what the samples take of a pixel. Of many only those are looked at that are within a pixel of it.
  __device__ T weight(int pixel, int pixels) const {
    int i = begin, last = end;
    if (last - i > 4 && step > 0) {
      i = max(i, limited((pixel - 1 - first) / step - T(1.5), last));
      last = limited((pixel + 1 - first) / step + T(1.5), last);
    }
    T total = 0;
    for (; i < last; i++) {
      Reading sample = read(i, pixels);
      if (sample.near == pixel) total += 1 - sample.part;
      if (sample.near + 1 == pixel) total += sample.part;
    }
    return total * share;
  }
};

// ratio samples, ⌈size⌉ if that is not positive, at the centres of equal parts of a bin from `first` on.
__device__ Samples samples_of(T first, T size, int ratio, int pixels) {
  Samples made = {first, 0, 0, 0, 0, 0, -1};
  T count = ratio > 0 ? T(ratio) : ceil(size);
  if (!(count > 0)) return made;
  made.step = size / count, made.share = 1 / count;
  if (ratio > 0) {
    made.end = ratio;
  } else if (made.step > 0) {
    T from = (-1 - first) / made.step - 2, to = (pixels - first) / made.step + 2;
    to = to < count ? to : count;
    if (from < FAR && to < FAR) made.begin = limited(from, FAR), made.end = limited(to, FAR);
  }
  if (made.begin >= made.end) return made;
  Reach reach = between(made.place(made.begin), made.place(made.end - 1), pixels);
  made.low = reach.low, made.high = reach.high;
  return made;
}

// ---- bins: P × Q equal parts of a box, `moved` by gamma · moves (K, sets, 2, P, Q) · the size of the box
struct Span {
  T start, length;  // of a box on one axis, in pixels
};

struct Sampled {
  typedef Bin<Samples> Found;
  const T *boxes, *moves;
  Layout at;
  T scale, gamma;
  int ratio, aligned, moved;

  __device__ Span span(int k, int axis) const {
    const T* box = boxes + 5 * (i64)k;
    T shift = aligned ? T(0.5) : T(0), start = times(box[2 - axis], scale) - shift;
    T length = times(box[4 - axis], scale) - shift - start;
    return {start, aligned || length > 1 ? length : T(1)};
  }

  __device__ i64 move(int k, int s, int b) const { return (((i64)k * at.sets + s) * 2) * at.bins() + b; }

  // Whether it is known where the bin is.
  __device__ bool known(int k, int s, int b) const {
    if (!moved) return true;
    T y = moves[move(k, s, b)], x = moves[move(k, s, b) + at.bins()];
    return y == y && x == x;
  }

  __device__ Found find(int k, int s, int b) const {
    Span down = span(k, 0), across = span(k, 1);
    T high = down.length / at.p, wide = across.length / at.q;
    T y = times(T(b / at.q), high) + down.start, x = times(T(b % at.q), wide) + across.start;
    if (moved) {
      y += times(times(gamma, moves[move(k, s, b)]), down.length);
      x += times(times(gamma, moves[move(k, s, b) + at.bins()]), across.length);
    }
    return {samples_of(y, high, ratio, at.height), samples_of(x, wide, ratio, at.width), k, b};
  }

  __device__ Reach reach(int k, int axis, int pixels) const {
    Span on = span(k, axis);
    T end = on.start + on.length, margin = 1 + T(1e-6) * (fabs(on.start) + fabs(on.length));  // for what was rounded
    return between(min(on.start, end) - margin, max(on.start, end) + margin, pixels);
  }

  // Whether bins of box k can meet a tile: moved ones can be anywhere.
  __device__ bool near(int k, Tile tile) const {
    return moved || tile.meets(reach(k, 0, at.height), reach(k, 1, at.width));
  }
};

#define SAMPLING T scale, T gamma, int ratio, int aligned, int moved
#define GIVEN_SAMPLING scale, gamma, ratio, aligned, moved

// out (K, C, P, Q). A thread has a bin of CHANNELS channels; its neighbours have neighbouring bins, which read pixels
// nearby and write side by side.
extern "C" __global__ void pooled(const T* x, const T* boxes, const T* moves, T* out, LAYOUT, SAMPLING) {
  Layout at = GIVEN_LAYOUT;
  Sampled bins = {boxes, moves, at, GIVEN_SAMPLING};
  i64 total = (i64)count * sets * at.chunks() * at.bins();
  for (i64 e = (i64)blockIdx.x * blockDim.x + threadIdx.x; e < total; e += (i64)gridDim.x * blockDim.x) {
    int b = (int)(e % at.bins()), chunk = (int)(e / at.bins() % at.chunks());
    i64 set = e / at.bins() / at.chunks();
    int k = (int)(set / sets), s = (int)(set % sets), n = image_of(boxes + 5 * (i64)k, images);
    int c0 = s * at.each() + chunk * CHANNELS, many = min(CHANNELS, at.each() - chunk * CHANNELS);
    bool known = n >= 0 && bins.known(k, s, b);
    T totals[CHANNELS] = {}, share = 0;
    if (known) {
      Bin<Samples> bin = bins.find(k, s, b);
      share = bin.rows.share * bin.columns.share;
      const T* maps = x + at.map(n, c0, b) * at.plane();
      for (int i = bin.rows.begin; i < bin.rows.end; i++) {
        Reading row = bin.rows.read(i, height);
        if (row.near < 0) continue;
        for (int j = bin.columns.begin; j < bin.columns.end; j++) {
          Reading column = bin.columns.read(j, width);
          if (column.near < 0) continue;
          for (int corner = 0; corner < 4; corner++) {
            int below = corner / 2, right = corner % 2;
            T weight = (below ? row.part : 1 - row.part) * (right ? column.part : 1 - column.part);
            if (weight == 0) continue;  // of a pixel outside, or of one that must not count though it is NaN
            const T* pixel = maps + (i64)(row.near + below) * width + column.near + right;
#pragma unroll
            for (int c = 0; c < CHANNELS; c++)
              if (c < many) totals[c] += weight * pixel[c * at.apart()];
          }
        }
      }
    }
    T* to = out + ((i64)k * channels + c0) * at.bins() + b;
#pragma unroll
    for (int c = 0; c < CHANNELS; c++)
      if (c < many) to[(i64)c * at.bins()] = known ? totals[c] * share : T(NAN);
  }
}
EXPORTED(pooled)

extern "C" __global__ void pooled_pulled(const T* g, const T* boxes, const T* moves, T* gx, LAYOUT, SAMPLING) {
  Layout at = GIVEN_LAYOUT;
  collect(g, boxes, gx, at, Sampled{boxes, moves, at, GIVEN_SAMPLING});
}
EXPORTED(pooled_pulled)

// The gradient in the moves (K, sets, 2, P, Q): gamma · the size of the box · Σ g · the slope of the bin's mean, over
// the channels of the set. A warp has a bin, and a lane every 32nd channel.
extern "C" __global__ void pooled_moved(const T* g, const T* x, const T* boxes, const T* moves, T* gm, LAYOUT,
                                        SAMPLING) {
  Layout at = GIVEN_LAYOUT;
  Sampled bins = {boxes, moves, at, GIVEN_SAMPLING};
  i64 e = (i64)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
  if (e >= (i64)count * sets * at.bins()) return;
  int b = (int)(e % at.bins()), s = (int)(e / at.bins() % sets), k = (int)(e / at.bins() / sets);
  int n = image_of(boxes + 5 * (i64)k, images);
  T along_y = 0, along_x = 0;
  if (n >= 0 && bins.known(k, s, b)) {
    Bin<Samples> bin = bins.find(k, s, b);
    for (int c = s * at.each() + threadIdx.x % WARP; c < (s + 1) * at.each(); c += WARP) {
      const T* map = x + at.map(n, c, b) * at.plane();
      T slope_y = 0, slope_x = 0;
      for (int i = bin.rows.begin; i < bin.rows.end; i++) {
        Reading row = bin.rows.read(i, height);
        if (row.near < 0) continue;
        for (int j = bin.columns.begin; j < bin.columns.end; j++) {
          Reading column = bin.columns.read(j, width);
          if (column.near < 0) continue;
          const T *upper = map + (i64)row.near * width + column.near, *lower = upper + (row.inner ? width : 0);
          T left = lower[0] - upper[0], right = lower[column.inner] - upper[column.inner];
          slope_y += left + column.part * (right - left);
          T above = upper[column.inner] - upper[0], below = lower[column.inner] - lower[0];
          slope_x += above + row.part * (below - above);
        }
      }
      T pull = g[((i64)k * channels + c) * at.bins() + b] * (bin.rows.share * bin.columns.share);
      along_y += pull * slope_y, along_x += pull * slope_x;
    }
    along_y *= gamma * bins.span(k, 0).length, along_x *= gamma * bins.span(k, 1).length;
  }
  along_y = over_warp(along_y, Sum()), along_x = over_warp(along_x, Sum());
  if (threadIdx.x % WARP) return;
  gm[bins.move(k, s, b)] = along_y, gm[bins.move(k, s, b) + at.bins()] = along_x;
}
EXPORTED(pooled_moved)
