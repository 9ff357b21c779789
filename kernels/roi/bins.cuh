// Bins of regions on images, each a product: it reads pixel (h, w) with the weight of row h times that of column w.
//
// `sensitive`: bin b of channel c reads map c · P · Q + b (arXiv 1605.06409), else every bin of channel c reads map c.
// Channels come in `sets`, each of which has bins of its own.
#include "roi.cuh"

constexpr int CHANNELS = 8;           // of a thread, which finds places and weights once for all of them
constexpr int ACROSS = 32, DOWN = 8;  // pixels of a tile: a warp has a row of it

struct Layout {
  int images, height, width, count, p, q, channels, sets, sensitive;  // of x; boxes; of the result

  __device__ int bins() const { return p * q; }
  __device__ int each() const { return channels / sets; }
  __device__ int chunks() const { return (each() + CHANNELS - 1) / CHANNELS; }  // of a set's channels
  __device__ i64 plane() const { return (i64)height * width; }
  __device__ i64 map(int n, int c, int b) const {
    return ((i64)n * channels + c) * (sensitive ? bins() : 1) + (sensitive ? b : 0);
  }
  __device__ i64 apart() const { return plane() * (sensitive ? bins() : 1); }  // from a channel's map to the next one's
};

#define LAYOUT int images, int height, int width, int count, int p, int q, int channels, int sets, int sensitive
#define GIVEN_LAYOUT {images, height, width, count, p, q, channels, sets, sensitive}

// An axis of a bin has `low` and `high`, the first and the last pixel that it may read, and weight(pixel, pixels).
template <class Axis>
struct Bin {
  Axis rows, columns;
  int box, number;
};

struct Tile {
  int top, left;

  template <class Rows, class Columns>
  __device__ bool meets(const Rows& rows, const Columns& columns) const {
    return rows.low < top + DOWN && rows.high >= top && columns.low < left + ACROSS && columns.high >= left;
  }
};

// The gradient in x: each pixel collects, gx[n, m, h, w] = Σ_k Σ_b rows(h) · columns(w) · g[k, c, b] over the boxes of
// image n and over the bins that read map m, both in order. No number is added to by two threads.
//
// A block has a tile of CHANNELS maps, and a thread a pixel of it. First threads look side by side, each at another
// box, which boxes are near the tile, then, each at another bin of these, which bins meet it; they list what they find
// in shared memory, in order, and all go through that. So a pixel is asked only about bins around it. To search takes
// K / 256 steps and as many as the boxes near have bins, divided by 256; every number of gx is written once, while sums
// that add to memory read and write it for every sample.
template <class Bins>
__device__ void collect(const T* g, const T* boxes, T* gx, Layout at, const Bins& bins) {
  typedef typename Bins::Found Found;
  static_assert(sizeof(Found) <= 6 * sizeof(T) + 10 * sizeof(int), "gpu.py asks for so much shared memory");
  Found* list = dynamic_shared<Found>();
  int* chosen = reinterpret_cast<int*>(list + blockDim.x);
  int* counts = chosen + blockDim.x;

  int all = at.bins(), across = (at.width + ACROSS - 1) / ACROSS, down = (at.height + DOWN - 1) / DOWN;
  int rest = blockIdx.x;
  Tile tile = {rest / across % down * DOWN, rest % across * ACROSS};
  rest /= across * down;
  int own = at.sensitive ? rest % all : 0, per = at.sensitive ? 1 : all;  // the bin of these maps; bins that read them
  rest /= at.sensitive ? all : 1;
  int chunk = rest % at.chunks(), s = rest / at.chunks() % at.sets, n = rest / at.chunks() / at.sets;
  int c0 = s * at.each() + chunk * CHANNELS, many = min(CHANNELS, at.each() - chunk * CHANNELS);
  int h = tile.top + threadIdx.x / ACROSS, w = tile.left + threadIdx.x % ACROSS;

  T totals[CHANNELS] = {};
  for (int first = 0; first < at.count; first += blockDim.x) {
    int k = first + threadIdx.x;
    bool near = k < at.count && image_of(boxes + 5 * (i64)k, at.images) == n && bins.near(k, tile);
    int found = listed(near, k, chosen, counts);
    for (int base = 0; base < found * per; base += blockDim.x) {
      int e = base + threadIdx.x;
      Found mine = {};
      if (e < found * per) mine = bins.find(chosen[e / per], s, at.sensitive ? own : e % per);
      int there = listed(e < found * per && tile.meets(mine.rows, mine.columns), mine, list, counts);
      for (int f = 0; f < there; f++) {
        const Found& bin = list[f];
        if (h < bin.rows.low || h > bin.rows.high || w < bin.columns.low || w > bin.columns.high) continue;
        T weight = bin.rows.weight(h, at.height) * bin.columns.weight(w, at.width);
        if (weight == 0) continue;
        const T* from = g + ((i64)bin.box * at.channels + c0) * all + bin.number;
#pragma unroll
        for (int c = 0; c < CHANNELS; c++)
          if (c < many) totals[c] += weight * from[(i64)c * all];
      }
    }
  }
  if (h >= at.height || w >= at.width) return;
  T* to = gx + at.map(n, c0, own) * at.plane() + (i64)h * at.width + w;
#pragma unroll
  for (int c = 0; c < CHANNELS; c++)
    if (c < many) to[c * at.apart()] = totals[c];
}
