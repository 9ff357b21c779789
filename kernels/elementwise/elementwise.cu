// Functions of one number, entry by entry, and g times their slopes; a and b are settings. A thread takes every entry at
// its own place and at multiples of the number of threads behind it, so that the threads of a warp read neighbours.
#include "../common.cuh"

struct Span {  // the places of one thread
  i64 first, step;
};
__device__ Span span() { return {(i64)blockIdx.x * blockDim.x + threadIdx.x, (i64)gridDim.x * blockDim.x}; }

__device__ T sigmoid(T x) { return 1 / (1 + exp(-x)); }

// x in [-most, most]: beyond, slopes have reached 0 or 1, but a product with x may overflow.
__device__ T bounded(T x, T most) { return x < -most ? -most : x > most ? most : x; }

// The gate tanh(softplus(x)) of mish, and 1 minus it: with e = exp(-|x|) neither overflows nor loses digits.
struct MishGate {
  T gate, less;
};
__device__ MishGate mish_gate(T x, T e) {
  T rising = x < 0 ? e * (2 + e) : 2 * e + 1, rest = x < 0 ? T(2) : 2 * e * e;
  return {rising / (rising + rest), rest / (rising + rest)};
}

constexpr T HALF_ROOT = 0.70710678118654752440, DENSITY = 0.39894228040143267794;  // 1 / √2, 1 / √(2π)
constexpr T GELU_SCALE = 1.59576912160573071176, GELU_CUBIC = 0.044715;            // 2 √(2/π)
constexpr T FAR = 40;  // exp(-x²/2) is 0 from here on

// x[i] + bias[i % columns] of x (…, columns); without columns x[i].
__device__ T biased(const T* x, const T* bias, int columns, i64 i) {
  return columns ? x[i] + bias[i % columns] : x[i];
}

#define VALUE(name, expression)                                                                                        \
  __device__ T name##_of(T x, T a, T b) { return expression; }                                                         \
  extern "C" __global__ void name##_value(const T* x, const T* bias, T* out, i64 size, int columns, T a, T b) {        \
    for (i64 i = span().first; i < size; i += span().step) out[i] = name##_of(biased(x, bias, columns, i), a, b);      \
  }                                                                                                                    \
  EXPORTED(name##_value)

#define PULLED(name, expression)                                                                                       \
  __device__ T name##_slope(T g, T x, T a, T b) { return expression; }                                                 \
  extern "C" __global__ void name##_pulled(const T* g, const T* x, const T* bias, T* gx, i64 size, int columns, T a,   \
                                           T b) {                                                                      \
    for (i64 i = span().first; i < size; i += span().step)                                                             \
      gx[i] = name##_slope(g[i], biased(x, bias, columns, i), a, b);                                                   \
  }                                                                                                                    \
  EXPORTED(name##_pulled)

VALUE(exp, exp(x))
VALUE(tanh, tanh(x))
VALUE(sigmoid, sigmoid(x))
VALUE(relu, x > 0 || x != x ? x : T(0))
VALUE(logsigmoid, (x < 0 ? x : T(0)) - log1p(exp(-fabs(x))))
VALUE(softplus, (x < 0 ? T(0) : x) + log1p(exp(-a * fabs(x))) / a)
VALUE(swish, x * sigmoid(a * x))
VALUE(mish, x * mish_gate(x, exp(-fabs(x))).gate)
VALUE(gelu, x * T(0.5) * erfc(-x * HALF_ROOT))
VALUE(gelu_tanh, x * sigmoid(GELU_SCALE * (x + GELU_CUBIC * x * x * x)))
VALUE(elu, b * (x > 0 ? x : a * expm1(x)))
VALUE(celu, x > 0 ? x : a * expm1(x / a))

// told f(x)
PULLED(tanh, g * (1 - x * x))
PULLED(sigmoid, g * x * (1 - x))
PULLED(relu, x > 0 ? g : T(0))
// told x
PULLED(logsigmoid, g * sigmoid(-x))
PULLED(softplus, g * sigmoid(a * x))
PULLED(elu, b * (x > 0 ? g : g * (a * exp(x))))
PULLED(celu, x > 0 ? g : g * exp(x / a))

__device__ T swish_factor(T x) {  // of ax
  T share = sigmoid(x = bounded(x, 700)), other = sigmoid(-x);
  return share * x * other + share;
}
PULLED(swish, g * swish_factor(a * x))

__device__ T mish_factor(T x) {
  T e = exp(-fabs(x = bounded(x, 700)));
  MishGate made = mish_gate(x, e);
  return made.gate + x * ((x < 0 ? e : T(1)) / (1 + e)) * made.less * (1 + made.gate);
}
PULLED(mish, g * mish_factor(x))

__device__ T gelu_factor(T x) {
  x = bounded(x, FAR);
  return T(0.5) * erfc(-x * HALF_ROOT) + x * DENSITY * exp(-T(0.5) * x * x);
}
PULLED(gelu, g * gelu_factor(x))

__device__ T gelu_tanh_factor(T x) {
  x = bounded(x, 25);
  T square = GELU_CUBIC * x * x, u = GELU_SCALE * (x + square * x), share = sigmoid(u), other = sigmoid(-u);
  return share + share * x * other * GELU_SCALE * (1 + 3 * square);
}
PULLED(gelu_tanh, g * gelu_tanh_factor(x))

// told x instead of f(x)
PULLED(tanh_at, tanh_slope(g, tanh(x), a, b))
PULLED(sigmoid_at, g * sigmoid(x) * sigmoid(-x))
