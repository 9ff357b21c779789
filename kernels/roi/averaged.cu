// Means of the pixels of each bin of a region, and their gradient (position-sensitive pooling, arXiv 1605.06409).
#include "bins.cuh"

struct Run {
  T share;  // 1 / how many pixels
  int low, high;

  __device__ T weight(int, int) const { return share; }
};

// `top` and `bottom` (K, P), `left` and `right` (K, Q) are the first pixel of a bin and the one behind its last, whole
// numbers of the image's type.
struct Averaged {
  typedef Bin<Run> Found;
  const T *top, *bottom, *left, *right;
  Layout at;

  __device__ static Run run(T begin, T end) {
    int low = (int)begin, behind = (int)end;
    return {1 / T(max(behind - low, 1)), low, behind - 1};
  }

  __device__ Found find(int k, int, int b) const {
    i64 i = (i64)k * at.p + b / at.q, j = (i64)k * at.q + b % at.q;
    return {run(top[i], bottom[i]), run(left[j], right[j]), k, b};
  }

  __device__ bool near(int, Tile) const { return true; }  // to look at its one bin takes no longer
};

// out (K, C, P, Q), a thread each: it reads a few runs of pixels of a map that no other bin of the box reads.
extern "C" __global__ void averaged(const T* x, const T* boxes, const T* top, const T* bottom, const T* left,
                                    const T* right, T* out, LAYOUT) {
  Layout at = GIVEN_LAYOUT;
  Averaged bins = {top, bottom, left, right, at};
  i64 total = (i64)count * channels * at.bins();
  for (i64 e = (i64)blockIdx.x * blockDim.x + threadIdx.x; e < total; e += (i64)gridDim.x * blockDim.x) {
    int b = (int)(e % at.bins()), c = (int)(e / at.bins() % channels), k = (int)(e / at.bins() / channels);
    int n = image_of(boxes + 5 * (i64)k, images);
    Bin<Run> bin = bins.find(k, 0, b);
    T sum = 0;
    if (n >= 0) {
      const T* map = x + at.map(n, c, b) * at.plane();
      for (int h = bin.rows.low; h <= bin.rows.high; h++)
        for (int w = bin.columns.low; w <= bin.columns.high; w++) sum += map[(i64)h * width + w];
    }
    out[e] = n < 0 ? T(NAN) : sum * (bin.rows.share * bin.columns.share);
  }
}
EXPORTED(averaged)

extern "C" __global__ void averaged_pulled(const T* g, const T* boxes, const T* top, const T* bottom, const T* left,
                                           const T* right, T* gx, LAYOUT) {
  Layout at = GIVEN_LAYOUT;
  collect(g, boxes, gx, at, Averaged{top, bottom, left, right, at});
}
EXPORTED(averaged_pulled)
