// Non-maximum suppression of boxes (x1, y1, x2, y2) by falling score: one after the other, a box stays unless it
// overlaps one that stays by more than a threshold. Who overlaps whom is found for all pairs at once, as a matrix of
// bits; to go through the boxes in order then takes no arithmetic on boxes.
#include "roi.cuh"

typedef unsigned long long u64;
constexpr int BITS = 64;  // of a word: as many boxes

struct Rectangle {
  T x1, y1, x2, y2, area;
  i64 group;
};

__device__ Rectangle rectangle(const T* boxes, i64 at, const i64* groups, int grouped) {
  const T* box = boxes + 4 * at;
  return {box[0], box[1], box[2], box[3], times(box[2] - box[0], box[3] - box[1]), grouped ? groups[at] : 0};
}

__device__ bool overlap(const Rectangle& a, const Rectangle& b, double threshold) {
  T wide = min(a.x2, b.x2) - max(a.x1, b.x1), high = min(a.y2, b.y2) - max(a.y1, b.y1);
  T shared = times(max(wide, T(0)), max(high, T(0)));
  return a.group == b.group && shared / (a.area + b.area - shared) > threshold;
}

// Bit c of words[r, w]: box r, by score, overlaps box 64 · w + c, which comes after it. A block has 64 boxes and one
// word, whose 64 boxes lie in shared memory, where all threads read the same one at a time; a thread has a box. Words
// of boxes that come before are not written, nor read later: the matrix takes N² / 8 bytes, and half of them no time.
extern "C" __global__ void overlaps(const T* boxes, const i64* order, const i64* groups, int grouped, u64* words, int n,
                                    double threshold) {
  Rectangle* others = dynamic_shared<Rectangle>();
  if (blockIdx.x < blockIdx.y) return;
  int row = blockIdx.y * BITS + threadIdx.x, first = blockIdx.x * BITS, many = min(BITS, n - first);
  if (threadIdx.x < many) others[threadIdx.x] = rectangle(boxes, order[first + threadIdx.x], groups, grouped);
  __syncthreads();
  if (row >= n) return;
  Rectangle mine = rectangle(boxes, order[row], groups, grouped);
  u64 word = 0;
  for (int c = blockIdx.x == blockIdx.y ? threadIdx.x + 1 : 0; c < many; c++)
    if (overlap(mine, others[c], threshold)) word |= 1ull << c;
  words[(i64)row * gridDim.x + blockIdx.x] = word;
}
EXPORTED(overlaps)

// The boxes that stay, by falling score, to the front of `kept`, and how many they are: one block, 64 boxes at a time.
// One thread finds which of the 64 stay, from their own words, in as many steps as boxes stay; then every thread adds
// to words of its own of `dead`, zeros before, whom these suppress: it reads 64 rows of neighbouring words, several at
// once.
extern "C" __global__ void sweep(const u64* words, const i64* order, u64* dead, i64* kept, i64* count, int n,
                                 int across) {
  u64* own = dynamic_shared<u64>();  // the 64 words, then which stay
  i64 before = 0;
  for (int block = 0; block < across; block++) {
    int first = block * BITS, many = min(BITS, n - first);
    const u64* rows = words + (i64)first * across;
    if (threadIdx.x < many) own[threadIdx.x] = rows[(i64)threadIdx.x * across + block];
    __syncthreads();  // the words are there, and who is dead of these boxes
    if (threadIdx.x == 0) {
      u64 alive = ~dead[block], stay = 0;
      if (many < BITS) alive &= (1ull << many) - 1;
      while (alive) {
        int next = __ffsll(alive) - 1;
        stay |= 1ull << next;
        alive &= ~(own[next] | 1ull << next);
      }
      own[BITS] = stay;
    }
    __syncthreads();
    u64 stay = own[BITS];
    if (threadIdx.x < many && stay >> threadIdx.x & 1)
      kept[before + __popcll(stay & ((1ull << threadIdx.x) - 1))] = order[first + threadIdx.x];
    before += __popcll(stay);
    for (int word = block + 1 + threadIdx.x; word < across; word += blockDim.x) {
      u64 hit = dead[word];
#pragma unroll 8
      for (int row = 0; row < many; row++)
        if (stay >> row & 1) hit |= rows[(i64)row * across + word];
      dead[word] = hit;
    }
  }
  if (threadIdx.x == 0) *count = before;
}
EXPORTED(sweep)
