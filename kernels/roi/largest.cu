// The largest pixel of each bin of a region (RoI pooling, arXiv 1504.08083), and the gradient of it.
#include "roi.cuh"

// The nearest whole number, of two the one farther from 0.
__device__ T half_away(T x) {
  T size = fabs(x), whole = floor(size);
  if (size - whole >= T(0.5)) whole += 1;
  return x < 0 ? -whole : whole;
}

// The pixels of bin i of `bins` on one axis, from `begin` to before `end`; the box's edges are pixels of it.
struct Pixels {
  int begin, end;
};

__device__ Pixels pixels_of(T low, T high, int i, int bins, int size) {
  T length = high - low + 1, each = (length > 1 ? length : T(1)) / bins;
  return {limited(floor(i * each) + low, size), limited(ceil((i + 1) * each) + low, size)};
}

// out (K, C, P, Q) and the place in the plane of each, the first in C order of equal pixels, of NaN too; 0 and -1 of no
// pixels. A thread has a bin of a channel: neighbours have neighbouring bins, whose pixels lie in the same lines of the
// cache, and write side by side.
extern "C" __global__ void largest(const T* x, const T* boxes, T* out, i64* place, int images, int channels, int height,
                                   int width, int count, int p, int q, T scale) {
  i64 total = (i64)count * channels * p * q;
  for (i64 e = (i64)blockIdx.x * blockDim.x + threadIdx.x; e < total; e += (i64)gridDim.x * blockDim.x) {
    int b = (int)(e % (p * q));
    i64 plane = e / (p * q);  // of the result
    const T* box = boxes + plane / channels * 5;
    int n = image_of(box, images);
    T best = n < 0 ? T(NAN) : T(0);
    int at = -1;
    if (n >= 0) {
      T left = half_away(times(box[1], scale)), top = half_away(times(box[2], scale));
      T right = half_away(times(box[3], scale)), bottom = half_away(times(box[4], scale));
      Pixels rows = pixels_of(top, bottom, b / q, p, height), columns = pixels_of(left, right, b % q, q, width);
      const T* from = x + (n * (i64)channels + plane % channels) * height * width;
      for (int h = rows.begin; h < rows.end; h++)
        for (int w = columns.begin; w < columns.end; w++) {
          int here = h * width + w;
          T value = from[here];
          if (at < 0 || value > best || (value != value && best == best)) best = value, at = here;
        }
    }
    out[e] = best, place[e] = at;
  }
}
EXPORTED(largest)

// gx[image, c, place] += g, over all bins of all boxes of the image. A block has a plane of gx, which nobody else adds
// to. It goes through the bins in order, as many at a time as it has threads: a thread whose bin is the first of these
// with its place adds up all of them with this place. So the order of a sum is that of the boxes, and no pixel is added
// to by two threads at a time. The search takes a few instructions of a warp for each bin, in shared memory, and all
// sums are in flight together; nothing is sorted.
extern "C" __global__ void largest_pulled(const T* g, const T* boxes, const i64* place, T* gx, int images, int channels,
                                          int pixels, int count, int bins) {
  T* values = dynamic_shared<T>();  // of the bins at hand
  int* places = (int*)(values + blockDim.x);
  int *chosen = places + blockDim.x, *counts = chosen + blockDim.x;  // the boxes of this image among those at hand
  int n = blockIdx.x / channels, c = blockIdx.x % channels;
  T* plane = gx + (i64)blockIdx.x * pixels;
  for (int i = threadIdx.x; i < pixels; i += blockDim.x) plane[i] = 0;
  for (int first = 0; first < count; first += blockDim.x) {
    int k = first + threadIdx.x;
    int found = listed(k < count && image_of(boxes + 5 * (i64)k, images) == n, k, chosen, counts);
    for (int base = 0; base < found * bins; base += blockDim.x) {
      int e = base + threadIdx.x, at = -1;
      T value = 0;
      if (e < found * bins) {
        i64 entry = ((i64)chosen[e / bins] * channels + c) * bins + e % bins;
        at = (int)place[entry], value = g[entry];
      }
      __syncthreads();  // the last bins have been added
      places[threadIdx.x] = at, values[threadIdx.x] = value;
      __syncthreads();
      bool leads = at >= 0;
      T total = 0;
      for (int other = 0; other < min(found * bins - base, (int)blockDim.x); other++)
        if (places[other] == at) leads = leads && other >= threadIdx.x, total += values[other];
      if (leads) plane[at] += total;
    }
  }
}
EXPORTED(largest_pulled)
