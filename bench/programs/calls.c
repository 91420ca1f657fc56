// Calls, returns and the stack: three functions that are little but recursion.

#include "program.h"

PROGRAM("calls", "900", "recursive calls: Fibonacci, Ackermann, Takeuchi")

static KEEP uint32_t fib(uint32_t n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

static KEEP uint32_t ackermann(uint32_t m, uint32_t n)
{
  if (!m) return n + 1;
  return ackermann(m - 1, n ? ackermann(m, n - 1) : 1);
}

static KEEP int tak(int x, int y, int z)
{
  return y < x ? tak(tak(x - 1, y, z), tak(y - 1, z, x), tak(z - 1, x, y)) : z;
}

uint32_t work(uint32_t checksum)
{
  uint32_t three = 3;
  hide(three);
  checksum = checksum * 31 + fib(three + 20);
  checksum = checksum * 31 + ackermann(three, three + 2);
  return checksum * 31 + tak(three * 6, three * 4, three * 2);
}
