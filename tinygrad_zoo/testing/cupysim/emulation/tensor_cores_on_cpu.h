// kernels/tensor_cores.cuh on the CPU, lane by lane.
//
// A copy that arrives later does so when its thread waits for it, and its place is NaN until then: a missing wait shows.
// What is not aligned as the card asks for is an error.
#pragma once

typedef unsigned u32;

struct Half {
  unsigned short bits;
};
struct Brain {
  unsigned short bits;
};

namespace cuda_on_cpu {

inline float as_float(Brain x) { return __uint_as_float(u32(x.bits) << 16); }
inline float as_float(Half x) {
  u32 exponent = x.bits >> 10 & 31, fraction = x.bits & 1023;
  float steps = exponent ? fraction + 1024 : fraction;
  float size = exponent == 31 ? (fraction ? NAN : INFINITY) : std::ldexp(steps, int(exponent ? exponent : 1) - 25);
  return x.bits >> 15 ? -size : size;
}

inline u32 round_to(Brain, float x) {
  u32 bits = __float_as_uint(x);
  if (x != x) return bits >> 16 | 64;
  return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
}
inline u32 round_to(Half, float x) {
  u32 sign = __float_as_uint(x) >> 16 & 0x8000;
  float size = std::fabs(x);
  if (x != x) return 0x7FFF;
  if (size >= 65520) return sign | 0x7C00;
  int exponent = size < 0x1p-14f ? -14 : std::ilogb(size);
  u32 steps = u32(std::nearbyint(std::ldexp(size, 10 - exponent)));  // 1024 to 2048, fewer below the normal numbers
  return sign | ((u32(exponent + 14) << 10) + steps);
}

struct Copies {
  struct Copy {
    void* to;
    const void* from;
    bool really;
    int group;
  };
  std::vector<Copy> open;
  int groups = 0;
  unsigned long block = 0;  // whose they are
};

inline Copies& copies() {
  static thread_local std::vector<Copies> all(MOST_THREADS);
  Copies& own = all[block->current];
  if (own.block != block->serial) own.open.clear(), own.groups = 0, own.block = block->serial;
  return own;
}

inline void demand_alignment(const void* place, const char* error) {
  if (reinterpret_cast<uintptr_t>(place) & 15) block->error = error;
}

inline void load_matrices(u32 (&made)[4], const void* row, bool transposed) {
  demand_alignment(row, "a row that load_matrices reads is not on a boundary of 16 bytes");
  using Row = const unsigned short*;
  Collective<Row> rows(~0u, static_cast<Row>(row), transposed ? 12 : 11);
  int g = lane() / 4, t = lane() % 4;
  for (int i = 0; i < 4; i++)
    made[i] = transposed ? rows.of(8 * i + 2 * t)[g] | u32(rows.of(8 * i + 2 * t + 1)[g]) << 16
                         : rows.of(8 * i + g)[2 * t] | u32(rows.of(8 * i + g)[2 * t + 1]) << 16;
  __syncwarp();  // nobody writes to the rows before all have read them
}

}  // namespace cuda_on_cpu

template <class U>
u32 rounded(float low, float high) {
  return cuda_on_cpu::round_to(U{}, low) | cuda_on_cpu::round_to(U{}, high) << 16;
}

template <class U>
float number(u32 pair, int which) {
  return cuda_on_cpu::as_float(U{static_cast<unsigned short>(pair >> 16 * which)});
}

template <class U>
void multiply_add(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  struct Parts {
    u32 a[4], b[2];
  };
  cuda_on_cpu::Collective<Parts> parts(~0u, {{a[0], a[1], a[2], a[3]}, {b0, b1}}, 10);
  int g = cuda_on_cpu::lane() / 4, t = cuda_on_cpu::lane() % 4;
  float sums[2][2] = {};
  for (int k = 0; k < 16; k++) {  // column of A, row of B
    int half = k / 8, holder = k % 8 / 2, which = k % 2;
    Parts row = parts.of(4 * g + holder);
    for (int column = 0; column < 2; column++) {
      float right = number<U>(parts.of(4 * (2 * t + column) + holder).b[half], which);
      for (int r = 0; r < 2; r++) sums[r][column] += number<U>(row.a[2 * half + r], which) * right;
    }
  }
  for (int i = 0; i < 4; i++) c[i] += sums[i / 2][i % 2];
}

inline void load_matrices(u32 (&made)[4], const void* row) { cuda_on_cpu::load_matrices(made, row, false); }
inline void load_matrices_transposed(u32 (&made)[4], const void* row) { cuda_on_cpu::load_matrices(made, row, true); }

inline void copy_later(void* to, const void* from, bool really) {
  cuda_on_cpu::demand_alignment(to, "copy_later writes to a place that is not on a boundary of 16 bytes");
  if (really) cuda_on_cpu::demand_alignment(from, "copy_later reads a place that is not on a boundary of 16 bytes");
  memset(to, 0xFF, 16);
  cuda_on_cpu::Copies& copies = cuda_on_cpu::copies();
  copies.open.push_back({to, from, really, copies.groups});
}
inline void end_of_group() { cuda_on_cpu::copies().groups++; }
template <int OPEN>
void wait_for_copies() {
  cuda_on_cpu::Copies& copies = cuda_on_cpu::copies();
  std::vector<cuda_on_cpu::Copies::Copy> later;
  for (const cuda_on_cpu::Copies::Copy& copy : copies.open) {
    if (copy.group >= copies.groups - OPEN) later.push_back(copy);
    else if (copy.really) memcpy(copy.to, copy.from, 16);
    else memset(copy.to, 0, 16);
  }
  copies.open = later;
}
