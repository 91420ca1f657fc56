// An integer loop in registers: 64-bit xorshift (Marsaglia, 2003). The anchor of the interpreter's speed.

#include "program.h"

PROGRAM("alu", "1100", "shifts and xors in registers")

uint32_t work(uint32_t checksum)
{
  uint64_t x = checksum | 1ull << 32;
  for (int n = 0; n < 500000; n++) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
  }
  return x ^ x >> 32;
}
