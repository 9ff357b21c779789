// Convolution over three axes and its two adjoints, a product of matrices for each group of channels:
//
//   y[n, k, o] = Σ_c Σ_r x[n, c, o · stride + r · dilation - before] · weight[k, c, r]
//
// | kernel                | result               | its rows | its columns            | summed over   |
// |-----------------------|----------------------|----------|------------------------|---------------|
// | correlate             | y, of x              | k        | image, place           | channel, tap  |
// | correlate, transposed | gradient of x, of g  | c        | image, entry of x      | k, tap        |
// | weight_gradient       | that of weight       | k        | channel, tap           | image, place  |
//
// The matrix of windows is never written: its entries are read out of the image, those in the padding as 0 (implicit
// GEMM, arXiv 1410.0759). The axes are a, b, c; where there are fewer, the first ones have size 1.
//
// A block makes a tile of the result in registers. It walks over what is summed in slices of DEPTH, for which it copies
// DEPTH entries of each row and column of the tile into shared memory. There are two slices: while one is multiplied,
// the numbers of the next are on their way, and one barrier a slice is enough. A thread owns 8 × 8 entries of a large
// tile of float, so that 16 numbers out of shared memory serve 64 multiplications.
//
// Where a group has few rows most of a tile would be empty: then a thread makes an entry (*_direct). Every entry is
// summed in an order that depends on the sizes alone.
#include "../common.cuh"

// What every kernel is told; channels and `made` are those of one group.
#define EACH(as)                                                                                                       \
  as(images), as(groups), as(channels), as(made), as(size_a), as(size_b), as(size_c), as(kernel_a), as(kernel_b),      \
      as(kernel_c), as(places_a), as(places_b), as(places_c), as(stride_a), as(stride_b), as(stride_c), as(before_a),  \
      as(before_b), as(before_c), as(dilation_a), as(dilation_b), as(dilation_c)
#define ARGUMENT(name) int name
#define NAME(name) name

struct Sizes {
  int EACH(NAME);
};

// ---- numbers in digits: image and place, or channel and tap
struct Digits {
  int high, a, b, c;  // `high` has no bound
};

struct Bounds {
  int a, b, c;

  __device__ int volume() const { return a * b * c; }
  __device__ int flat(const Digits& at) const { return (at.a * b + at.b) * c + at.c; }
  __device__ Digits digits(int n) const { return {n / volume(), n / (b * c) % a, n / c % b, n % c}; }

  // Addition with carry: counting takes no division.
  __device__ void add(Digits& to, const Digits& step) const {
    to.c += step.c;
    if (to.c >= c) to.c -= c, to.b++;
    to.b += step.b;
    if (to.b >= b) to.b -= b, to.a++;
    to.a += step.a;
    if (to.a >= a) to.a -= a, to.high++;
    to.high += step.high;
  }
};

constexpr int NOWHERE = -(1 << 30);  // where the window of a column lies that there is not: it meets nothing
__device__ bool inside(int i, int size) { return (unsigned)i < (unsigned)size; }

// ---- tiles
constexpr int THREADS = 256;
constexpr int DEPTH = 8;             // of a slice: eight neighbouring numbers are a sector of the memory
constexpr int PAD = 16 / sizeof(T);  // parts the rows of a slice, so that a warp that writes 8 × 4 of it meets 32 banks

struct __align__(16) Four {
  T at[4];
};

// Owned by DOWN × THREADS / DOWN threads, of which a warp is 4 × 8; a thread has HIGH × WIDE entries.
template <int DOWN, int HIGH, int WIDE>
struct TileOf {
  static constexpr int HEIGHT = HIGH, WIDTH = WIDE, ACROSS = THREADS / DOWN;
  static constexpr int ROWS = DOWN * HIGH, COLUMNS = ACROSS * WIDE;
  static constexpr int LEFT = DEPTH * (ROWS + PAD), SLICE = LEFT + DEPTH * (COLUMNS + PAD);  // rows, then columns

  T sums[HIGH][WIDE] = {};

  // Where the entries of a thread lie. They come in fours: eight neighbouring threads read 128 bytes side by side.
  static __device__ int row(int i) {
    int down = threadIdx.x / WARP / (ACROSS / 8) * 4 + threadIdx.x % WARP / 8;
    return (i / 4 * DOWN + down) * 4 + i % 4;
  }
  static __device__ int column(int j) {
    int across = threadIdx.x / WARP % (ACROSS / 8) * 8 + threadIdx.x % 8;
    return (j / 4 * ACROSS + across) * 4 + j % 4;
  }

  __device__ void multiply(const T* slice) {
    // Unrolled further, a large tile would take so many registers that there is no room for a second block.
#pragma unroll 2
    for (int k = 0; k < DEPTH; k++) {
      Four left[HIGH / 4], right[WIDE / 4];
#pragma unroll
      for (int n = 0; n < HIGH / 4; n++)
        left[n] = *reinterpret_cast<const Four*>(slice + k * (ROWS + PAD) + row(n * 4));
#pragma unroll
      for (int n = 0; n < WIDE / 4; n++)
        right[n] = *reinterpret_cast<const Four*>(slice + LEFT + k * (COLUMNS + PAD) + column(n * 4));
#pragma unroll
      for (int i = 0; i < HIGH; i++)
#pragma unroll
        for (int j = 0; j < WIDE; j++) sums[i][j] += left[i / 4].at[i % 4] * right[j / 4].at[j % 4];
    }
  }

  // The sums over `depth` entries of what `source` reads, a slice at a time.
  template <class Source>
  __device__ void multiply_all(Source& source, int depth) {
    if (depth <= 0) return;
    T* slices = dynamic_shared<T>();
    source.read();
    source.write(slices);
    __syncthreads();
    for (int done = 0, half = 0; done < depth; done += DEPTH, half ^= 1) {
      bool more = done + DEPTH < depth;
      if (more) source.read();
      multiply(slices + half * SLICE);
      if (more) source.write(slices + (half ^ 1) * SLICE);
      __syncthreads();  // this slice has been read, the next one is there
    }
  }

  // Entries x .. x + 3 of the i-th row of a thread.
  __device__ Four four(int i, int x, T more) const {
    return {sums[i][x] + more, sums[i][x + 1] + more, sums[i][x + 2] + more, sums[i][x + 3] + more};
  }
};

constexpr int PER = sizeof(T) == 4 ? 8 : 4;
typedef TileOf<16, PER, PER> Large;
typedef TileOf<8, 4, 4> Small;

// Which tile of which group a block makes; blocks of the same columns follow each other.
struct Part {
  int row, column, group;

  __device__ Part(int rows, int groups, int high, int wide) {
    int tiles = (rows + high - 1) / high;
    row = blockIdx.x % tiles * high;
    group = blockIdx.x / tiles % groups;
    column = blockIdx.x / tiles / groups * wide;
  }
};

// ---- correlation: y, or the gradient of x
// One axis: entry t meets tap j at entry start + t · stride + j · apart of what is read.
struct Axis {
  int in, out, stride, start, taps, apart;
  int tap, tap_step;       // j is the kernel's tap + j · tap_step
  int phase, step, whole;  // t is entry phase + t · step of `whole` in the result
};

// Transposed: an entry i of x meets tap r in the place o with o · stride = i + before - r · dilation. Entries that are
// equal mod stride, a phase, meet the same taps, equally far apart: for them it is a convolution of stride 1.
__device__ Axis axis(bool transposed, int phase, int size, int kernel, int places, int stride, int before,
                     int dilation) {
  if (!transposed) return {size, places, stride, -before, kernel, dilation, 0, 1, 0, 1, places};
  int tap = 0, step = 1;
  while (tap < kernel && (phase + before - tap * dilation) % stride) tap++;
  while (step * dilation % stride) step++;
  int out = phase < size ? (size - phase + stride - 1) / stride : 0;
  int start = (phase + before - tap * dilation) / stride, taps = (kernel - tap + step - 1) / step;
  return {places, out, 1, start, taps, -(step * dilation / stride), tap, step, phase, stride, size};
}

struct Correlation {
  Axis a, b, c;
  Bounds places, taps, in, whole;
  int groups, rows, summed, columns, depth;  // rows, columns of the result of a group; numbers of channels, of terms
  int row_step, summed_step, tap_a, tap_b, tap_c, first_tap;  // where in the weight its entries lie
  i64 group_step;

  // The grid is (., phases of a and b, phases of c).
  __device__ Correlation(const Sizes& s, bool transposed) {
    a = axis(transposed, blockIdx.y / s.stride_b, s.size_a, s.kernel_a, s.places_a, s.stride_a, s.before_a,
             s.dilation_a);
    b = axis(transposed, blockIdx.y % s.stride_b, s.size_b, s.kernel_b, s.places_b, s.stride_b, s.before_b,
             s.dilation_b);
    c = axis(transposed, blockIdx.z, s.size_c, s.kernel_c, s.places_c, s.stride_c, s.before_c, s.dilation_c);
    places = {a.out, b.out, c.out}, taps = {a.taps, b.taps, c.taps};
    in = {a.in, b.in, c.in}, whole = {a.whole, b.whole, c.whole};
    groups = s.groups, rows = transposed ? s.channels : s.made, summed = transposed ? s.made : s.channels;
    columns = s.images * places.volume(), depth = summed * taps.volume();
    int kernel = s.kernel_a * s.kernel_b * s.kernel_c;
    row_step = transposed ? kernel : s.channels * kernel, summed_step = transposed ? s.channels * kernel : kernel;
    group_step = (i64)s.made * s.channels * kernel;
    tap_a = a.tap_step * s.kernel_b * s.kernel_c, tap_b = b.tap_step * s.kernel_c, tap_c = c.tap_step;
    first_tap = (a.tap * s.kernel_b + b.tap) * s.kernel_c + c.tap;
  }

  // Where row 0 of a column lies in the result.
  __device__ i64 target(int column, int group) const {
    Digits t = places.digits(column);
    Digits entry = {t.high, a.phase + t.a * a.step, b.phase + t.b * b.step, c.phase + t.c * c.step};
    return ((i64)t.high * groups + group) * rows * whole.volume() + whole.flat(entry);
  }
};

// Where the window of a column begins in what is read.
struct Window {
  int a, b, c;
  i64 image;

  __device__ Window(const Correlation& of, int column, int group) {
    Digits t = of.places.digits(column);
    a = of.a.start + t.a * of.a.stride, b = of.b.start + t.b * of.b.stride, c = of.c.start + t.c * of.c.stride;
    image = ((i64)t.high * of.groups + group) * of.summed * of.in.volume();
  }
};

// Reads rows of the weight along (channel, tap), eight neighbours at a time, and of 32 neighbouring columns the same
// channel and tap, which mostly lie side by side in an image.
template <class Tile>
struct Windows {
  static constexpr int DOWN = Tile::ROWS * DEPTH / THREADS, ACROSS = Tile::COLUMNS * DEPTH / THREADS;
  static constexpr int ROWS_APART = THREADS / DEPTH, DEPTHS_APART = THREADS / Tile::COLUMNS;

  const Correlation& of;
  const T *image, *weight;
  Window window;
  int row;
  Digits left_at = {}, left_step = {}, right_at = {}, right_step = {};
  T left[DOWN], right[ACROSS];

  __device__ Windows(const Correlation& of, const T* in, const T* weight, const Part& part)
      : of(of), weight(weight + part.group * of.group_step + of.first_tap),
        window(of, part.column + threadIdx.x % Tile::COLUMNS, part.group) {
    image = in + window.image;
    row = part.row + threadIdx.x / DEPTH;
    if (part.column + threadIdx.x % Tile::COLUMNS >= of.columns) window.a = NOWHERE;
    if (!of.depth) return;
    left_at = of.taps.digits(threadIdx.x % DEPTH), left_step = of.taps.digits(DEPTH);
    right_at = of.taps.digits(threadIdx.x / Tile::COLUMNS), right_step = of.taps.digits(DEPTHS_APART);
  }

  __device__ void read() {
    bool there = left_at.high < of.summed;
    i64 from = (i64)left_at.high * of.summed_step + left_at.a * of.tap_a + left_at.b * of.tap_b + left_at.c * of.tap_c;
#pragma unroll
    for (int i = 0; i < DOWN; i++) {
      int r = row + i * ROWS_APART;
      left[i] = there && r < of.rows ? weight[from + (i64)r * of.row_step] : T(0);
    }
    of.taps.add(left_at, left_step);
#pragma unroll
    for (int j = 0; j < ACROSS; j++) {
      Digits at = {right_at.high, window.a + right_at.a * of.a.apart, window.b + right_at.b * of.b.apart,
                   window.c + right_at.c * of.c.apart};
      bool here = at.high < of.summed && inside(at.a, of.in.a) && inside(at.b, of.in.b) && inside(at.c, of.in.c);
      right[j] = here ? image[(i64)at.high * of.in.volume() + of.in.flat(at)] : T(0);
      of.taps.add(right_at, right_step);
    }
  }

  __device__ void write(T* slice) const {
    T* columns = slice + Tile::LEFT;
#pragma unroll
    for (int i = 0; i < DOWN; i++)
      slice[threadIdx.x % DEPTH * (Tile::ROWS + PAD) + threadIdx.x / DEPTH + i * ROWS_APART] = left[i];
#pragma unroll
    for (int j = 0; j < ACROSS; j++) {
      int depth = threadIdx.x / Tile::COLUMNS + j * DEPTHS_APART;
      columns[depth * (Tile::COLUMNS + PAD) + threadIdx.x % Tile::COLUMNS] = right[j];
    }
  }
};

// out, plus bias[k] where it is `biased`
template <class Tile>
__device__ void correlate(const T* in, const T* weight, const T* bias, int biased, T* out, int transposed,
                          const Sizes& sizes) {
  Correlation of(sizes, transposed);
  Part part(of.rows, of.groups, Tile::ROWS, Tile::COLUMNS);
  if (part.column >= of.columns) return;
  Tile tile;
  Windows<Tile> windows(of, in, weight, part);
  tile.multiply_all(windows, of.depth);

  i64 volume = of.whole.volume();
  bool even = of.a.step * of.b.step * of.c.step == 1 && volume % 4 == 0;  // four columns can be written at once
#pragma unroll
  for (int j = 0; j < Tile::WIDTH; j += 4) {
    int n = part.column + Tile::column(j);
    if (n >= of.columns) continue;
    i64 to[4];
#pragma unroll
    for (int x = 0; x < 4; x++) to[x] = even && x ? 0 : of.target(n + x, part.group);
#pragma unroll
    for (int i = 0; i < Tile::HEIGHT; i++) {
      int r = part.row + Tile::row(i);
      if (r >= of.rows) continue;
      Four made = tile.four(i, j, biased ? bias[part.group * of.rows + r] : T(0));
      if (even) {
        *reinterpret_cast<Four*>(out + to[0] + r * volume) = made;
      } else {
#pragma unroll
        for (int x = 0; x < 4; x++)
          if (n + x < of.columns) out[to[x] + r * volume] = made.at[x];
      }
    }
  }
}

#define CORRELATE(name, Tile)                                                                                          \
  extern "C" __global__ void __launch_bounds__(THREADS, 2)                                                             \
  name(const T* in, const T* weight, const T* bias, int biased, T* out, int transposed, EACH(ARGUMENT)) {              \
    correlate<Tile>(in, weight, bias, biased, out, transposed, {EACH(NAME)});                                          \
  }                                                                                                                    \
  EXPORTED(name)
CORRELATE(correlate_large, Large)
CORRELATE(correlate_small, Small)

// A block makes THREADS columns of one row, so that its threads read the same weights.
extern "C" __global__ void correlate_direct(const T* in, const T* weight, const T* bias, int biased, T* out,
                                            int transposed, EACH(ARGUMENT)) {
  Correlation of({EACH(NAME)}, transposed);
  Part part(of.rows, of.groups, 1, THREADS);
  int column = part.column + threadIdx.x;
  if (column >= of.columns) return;
  Window window(of, column, part.group);
  weight += part.group * of.group_step + (i64)part.row * of.row_step + of.first_tap;
  T sum = 0;
  for (int s = 0; s < of.summed; s++) {
    const T* image = in + window.image + (i64)s * of.in.volume();
    for (int j_a = 0; j_a < of.taps.a; j_a++) {
      int i_a = window.a + j_a * of.a.apart;
      if (!inside(i_a, of.in.a)) continue;
      for (int j_b = 0; j_b < of.taps.b; j_b++) {
        int i_b = window.b + j_b * of.b.apart;
        if (!inside(i_b, of.in.b)) continue;
        const T* kernel = weight + (i64)s * of.summed_step + j_a * of.tap_a + j_b * of.tap_b;
        const T* line = image + (i_a * of.in.b + i_b) * of.in.c;
        for (int j_c = 0; j_c < of.taps.c; j_c++) {
          int i_c = window.c + j_c * of.c.apart;
          if (inside(i_c, of.in.c)) sum += line[i_c] * kernel[j_c * of.tap_c];
        }
      }
    }
  }
  if (biased) sum += bias[part.group * of.rows + part.row];
  out[of.target(column, part.group) + (i64)part.row * of.whole.volume()] = sum;
}
EXPORTED(correlate_direct)

// ---- the gradient of the weight. Block (., y) sums the places y · span to (y + 1) · span of all images into
// partial[y] (groups, made, channel and tap), which are added afterwards, always in one order.
struct Split {
  const Sizes& s;
  Bounds places, x;
  int kernel, columns, first, end;  // taps; columns of the result of a group; of the places

  __device__ Split(const Sizes& s, int span)
      : s(s), places{s.places_a, s.places_b, s.places_c}, x{s.size_a, s.size_b, s.size_c} {
    kernel = s.kernel_a * s.kernel_b * s.kernel_c, columns = s.channels * kernel;
    first = blockIdx.y * span, end = min(s.images * places.volume(), first + span);
  }

  // Of one place: its g in row 0, and where its window begins in channel 0 of x, if there were no padding.
  __device__ i64 pulled(const Digits& at, int group) const {
    return ((i64)at.high * s.groups + group) * s.made * places.volume() + places.flat(at);
  }
  __device__ Digits window(const Digits& at) const {
    return {at.high, at.a * s.stride_a, at.b * s.stride_b, at.c * s.stride_c};
  }
  __device__ i64 seen(const Digits& window, int group) const {
    return ((i64)window.high * s.groups + group) * s.channels * x.volume() +
           ((i64)window.a * x.b + window.b) * x.c + window.c;
  }
};

// How far a channel and a tap lie from where a window begins.
struct Shift {
  int a, b, c;
  i64 by;

  __device__ bool meets(const Digits& window, const Bounds& x) const {
    return inside(window.a + a, x.a) && inside(window.b + b, x.b) && inside(window.c + c, x.c);
  }
};

__device__ Shift shift(const Split& split, int column) {
  const Sizes& s = split.s;
  int tap = column % split.kernel;
  int a = tap / s.kernel_c / s.kernel_b * s.dilation_a - s.before_a;
  int b = tap / s.kernel_c % s.kernel_b * s.dilation_b - s.before_b;
  int c = tap % s.kernel_c * s.dilation_c - s.before_c;
  i64 by = (i64)(column / split.kernel) * split.x.volume() + ((i64)a * s.size_b + b) * s.size_c + c;
  return {column < split.columns ? a : NOWHERE, b, c, by};
}

// Reads both matrices along the places, eight neighbours at a time.
template <class Tile>
struct Pairs {
  static constexpr int DOWN = Tile::ROWS * DEPTH / THREADS, ACROSS = Tile::COLUMNS * DEPTH / THREADS;
  static constexpr int APART = THREADS / DEPTH;

  const Split& split;
  const T *g, *x;
  int group, row, at;  // `at`: of the places
  Digits place = {}, step = {};
  Shift shifts[ACROSS];
  T left[DOWN], right[ACROSS];

  __device__ Pairs(const Split& split, const Part& part, const T* g, const T* x)
      : split(split), g(g), x(x), group(part.group), row(part.row + threadIdx.x / DEPTH),
        at(split.first + threadIdx.x % DEPTH) {
#pragma unroll
    for (int j = 0; j < ACROSS; j++) shifts[j] = shift(split, part.column + threadIdx.x / DEPTH + j * APART);
    if (split.places.volume()) place = split.places.digits(at), step = split.places.digits(DEPTH);
  }

  __device__ void read() {
    bool there = at < split.end;
    const T* pulled = g + split.pulled(place, group);
    i64 count = split.places.volume();
#pragma unroll
    for (int i = 0; i < DOWN; i++) {
      int r = row + i * APART;
      left[i] = there && r < split.s.made ? pulled[r * count] : T(0);
    }
    Digits window = split.window(place);
    const T* seen = x + split.seen(window, group);
#pragma unroll
    for (int j = 0; j < ACROSS; j++)
      right[j] = there && shifts[j].meets(window, split.x) ? seen[shifts[j].by] : T(0);
    at += DEPTH;
    split.places.add(place, step);
  }

  __device__ void write(T* slice) const {
    int k = threadIdx.x % DEPTH, entry = threadIdx.x / DEPTH;
#pragma unroll
    for (int i = 0; i < DOWN; i++) slice[k * (Tile::ROWS + PAD) + entry + i * APART] = left[i];
#pragma unroll
    for (int j = 0; j < ACROSS; j++) slice[Tile::LEFT + k * (Tile::COLUMNS + PAD) + entry + j * APART] = right[j];
  }
};

template <class Tile>
__device__ void weight_gradient(const T* g, const T* x, T* partial, int span, const Sizes& s) {
  Split split(s, span);
  Part part(s.made, s.groups, Tile::ROWS, Tile::COLUMNS);
  Tile tile;
  Pairs<Tile> pairs(split, part, g, x);
  tile.multiply_all(pairs, split.end - split.first);

  T* out = partial + ((i64)blockIdx.y * s.groups + part.group) * s.made * split.columns;
  bool even = split.columns % 4 == 0;  // four columns can be written at once
#pragma unroll
  for (int i = 0; i < Tile::HEIGHT; i++) {
    int r = part.row + Tile::row(i);
    if (r >= s.made) continue;
#pragma unroll
    for (int j = 0; j < Tile::WIDTH; j += 4) {
      int n = part.column + Tile::column(j);
      if (n >= split.columns) continue;
      T* to = out + (i64)r * split.columns + n;
      Four made = tile.four(i, j, 0);
      if (even) {
        *reinterpret_cast<Four*>(to) = made;
      } else {
#pragma unroll
        for (int y = 0; y < 4; y++)
          if (n + y < split.columns) to[y] = made.at[y];
      }
    }
  }
}

#define WEIGHT_GRADIENT(name, Tile)                                                                                    \
  extern "C" __global__ void __launch_bounds__(THREADS)                                                                \
  name(const T* g, const T* x, T* partial, int span, EACH(ARGUMENT)) {                                                 \
    weight_gradient<Tile>(g, x, partial, span, {EACH(NAME)});                                                          \
  }                                                                                                                    \
  EXPORTED(name)
WEIGHT_GRADIENT(weight_gradient_large, Large)
WEIGHT_GRADIENT(weight_gradient_small, Small)

// A block makes one entry of the result: its threads go through the places.
extern "C" __global__ void weight_gradient_direct(const T* g, const T* x, T* partial, int span, EACH(ARGUMENT)) {
  Sizes s = {EACH(NAME)};
  Split split(s, span);
  Part part(made, groups, 1, 1);
  Shift met = shift(split, part.column);
  int at = split.first + threadIdx.x;
  Digits place = {}, step = {};
  if (split.places.volume()) place = split.places.digits(at), step = split.places.digits(blockDim.x);
  const T* pulled = g + (i64)part.row * split.places.volume();
  T sum = 0;
  for (; at < split.end; at += blockDim.x) {
    Digits window = split.window(place);
    if (met.meets(window, split.x))
      sum += pulled[split.pulled(place, part.group)] * x[split.seen(window, part.group) + met.by];
    split.places.add(place, step);
  }
  sum = over_block(sum, Sum(), dynamic_shared<T>());
  if (threadIdx.x) return;
  partial[(((i64)blockIdx.y * groups + part.group) * made + part.row) * split.columns + part.column] = sum;
}
EXPORTED(weight_gradient_direct)
