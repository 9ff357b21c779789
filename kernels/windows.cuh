// Windows of the axes D, H and W, as cuda_windows.py hands them over. What is read is planes of (depth, height, width), a
// result planes of (deep, high, wide), and each of its entries has a window of every axis.
#pragma once

struct Windows {
  const int* table;  // `first` of all windows of D, then of H and of W; `offset` of them, and one more; three steps
  int depth, height, width, deep, high, wide;
};

// The entries first, first + step, …, with the weights from `begin` up to `end`.
struct Run {
  int first, step, begin, end;
};

// Window o of those of all axes behind one another.
__device__ Run run(const Windows& of, int axis, int o) {
  int all = of.deep + of.high + of.wide;
  const int* offset = of.table + all;
  return {of.table[o], offset[all + 1 + axis], offset[o], offset[o + 1]};
}

// What entry i of the result is made of.
struct Box {
  i64 plane;
  Run d, h, w;
};

__device__ Box box(const Windows& of, i64 i) {
  i64 line = i / of.wide, slab = line / of.high, plane = slab / of.deep;
  int w = (int)(i - line * of.wide), h = (int)(line - slab * of.high), d = (int)(slab - plane * of.deep);
  return {plane, run(of, 0, d), run(of, 1, of.deep + h), run(of, 2, of.deep + of.high + w)};
}

// visit(place along the plane, where its weights of D, H and W stand), for all entries of a box in order.
template <class Visit>
__device__ void by_thread(const Windows& of, const Box& box, Visit visit) {
  for (int a = box.d.begin, z = box.d.first; a < box.d.end; a++, z += box.d.step)
    for (int b = box.h.begin, y = box.h.first; b < box.h.end; b++, y += box.h.step)
      for (int c = box.w.begin, x = box.w.first; c < box.w.end; c++, x += box.w.step)
        visit((z * of.height + y) * of.width + x, a, b, c);
}

// The same, shared out to the threads of a block: neighbours read neighbouring entries.
template <class Visit>
__device__ void by_block(const Windows& of, const Box& box, Visit visit) {
  int tall = box.h.end - box.h.begin, broad = box.w.end - box.w.begin;
  int count = (box.d.end - box.d.begin) * tall * broad;
  for (int j = threadIdx.x; j < count; j += blockDim.x) {
    int line = j / broad, a = line / tall, b = line - a * tall, c = j - line * broad;
    int z = box.d.first + a * box.d.step, y = box.h.first + b * box.h.step, x = box.w.first + c * box.w.step;
    visit((z * of.height + y) * of.width + x, box.d.begin + a, box.h.begin + b, box.w.begin + c);
  }
}
