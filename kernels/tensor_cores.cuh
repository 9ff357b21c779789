// Tensor cores, from sm_80: half-precision products, summed in float, by warps; and copies that arrive later.
//
// The 32 lanes of a warp hold a matrix in parts. Of lane = 4 g + t, with two numbers of 16 bits in a u32:
//   A, 16 x 16: a[0] row g, columns 2t, 2t + 1; a[1] row g + 8; a[2], a[3] the same rows, columns 8 further
//   B, 16 x 8: b[0] rows 2t, 2t + 1, column g; b[1] rows 8 further
//   C, 16 x 8: c[0], c[1] row g, columns 2t, 2t + 1; c[2], c[3] row g + 8
// So C of one product, rounded, is A of the next one. The CPU's emulation of all this is tensor_cores_on_cpu.h.
#pragma once

typedef unsigned u32;

#ifndef CUDA_ON_CPU
struct Half {  // IEEE's 16 bits
  unsigned short bits;
};
struct Brain {  // the upper 16 bits of a float
  unsigned short bits;
};

__device__ u32 shared_address(const void* place) { return (u32)__cvta_generic_to_shared(place); }

// Two numbers rounded to 16 bits, the first one in the lower half.
template <class U>
__device__ u32 rounded(float low, float high);
template <>
__device__ u32 rounded<Half>(float low, float high) {
  u32 made;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(made) : "f"(high), "f"(low));
  return made;
}
template <>
__device__ u32 rounded<Brain>(float low, float high) {
  u32 made;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(made) : "f"(high), "f"(low));
  return made;
}

// The number of 16 bits in the lower half, 0, or the upper one, 1.
template <class U>
__device__ float number(u32 pair, int which);
template <>
__device__ float number<Half>(u32 pair, int which) {
  float made;
  asm("cvt.f32.f16 %0, %1;" : "=f"(made) : "h"((unsigned short)(pair >> 16 * which)));
  return made;
}
template <>
__device__ float number<Brain>(u32 pair, int which) {
  return __uint_as_float(pair >> 16 * which << 16);
}

// c += A B
template <class U>
__device__ void multiply_add(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1);
template <>
__device__ void multiply_add<Half>(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <>
__device__ void multiply_add<Brain>(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four 8 x 8 matrices out of shared memory: lane 8 i + j points to row j of matrix i, 16 bytes on a boundary of 16.
// Each lane gets of matrix i, in made[i], columns 2t, 2t + 1 of row g; `transposed`, rows 2t, 2t + 1 of column g.
__device__ void load_matrices(u32 (&made)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(made[0]), "=r"(made[1]), "=r"(made[2]), "=r"(made[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ void load_matrices_transposed(u32 (&made)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(made[0]), "=r"(made[1]), "=r"(made[2]), "=r"(made[3])
               : "r"(shared_address(row))
               : "memory");
}

// 16 bytes to shared memory, or zeros; they are there once `wait_for_copies` has waited for their group.
__device__ void copy_later(void* to, const void* from, bool really) {
  int bytes = really ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
               : "memory");
}
// The copies since the last call are a group.
__device__ void end_of_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until at most OPEN groups of this thread are on their way.
template <int OPEN>
__device__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(OPEN) : "memory");
}
#endif
