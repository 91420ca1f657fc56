// Products of matrices of doubles, rows by columns, without blocking. `kind=fused` multiplies and adds in one
// instruction (fmadd.d), as compilers do by default for this machine.

#include "program.h"

PROGRAM("matrix", "100", "product of 128 x 128 matrices of doubles",
  CHOICE("kind", "plain", "plain|fused", "a product and a sum, or both in one instruction"))

enum { N = 128 };
typedef double matrix[N][N];
static matrix a, b, c;

#ifdef __riscv
static KEEP void multiply_fused(matrix to, matrix left, matrix right)
{
  for (int i = 0; i < N; i++) {
    for (int j = 0; j < N; j++) {
      double sum = 0;
      for (int k = 0; k < N; k++) sum = __builtin_fma(left[i][k], right[k][j], sum);
      to[i][j] = sum;
    }
  }
}
#else
#define multiply_fused multiply  // no such instruction
#endif

static KEEP void multiply(matrix to, matrix left, matrix right)
{
  for (int i = 0; i < N; i++) {
    for (int j = 0; j < N; j++) {
      double sum = 0;
      for (int k = 0; k < N; k++) sum += left[i][k] * right[k][j];
      to[i][j] = sum;
    }
  }
}

// Thirds, so that nothing is exact, as in most programs: emulators are slow as long as the inexact flag is clear.
static double element(uint32_t *random) { return (int32_t)random32(random) / 3221225472.0; }

void prepare(void)
{
  uint32_t random = 88172645u;
  for (int i = 0; i < N; i++) {
    for (int j = 0; j < N; j++) {
      a[i][j] = element(&random);
      b[i][j] = element(&random);
    }
  }
}

uint32_t work(uint32_t checksum)
{
  int fused = number("kind") == 1;
  a[0][0] = (checksum & 0xffff) / 65536.0;
  if (fused) multiply_fused(c, a, b); else multiply(c, a, b);
  double trace = 0;
  for (int i = 0; i < N; i++) trace += c[i][i] + c[i][N - 1 - i];
  uint32_t bits[2];
  memcpy(bits, &trace, sizeof bits);
  return (checksum * 31 + bits[0]) * 31 + bits[1];
}
