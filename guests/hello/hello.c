// The smallest guest: one line, then power off. With spin=N it first runs a loop, which makes it a benchmark of
// start-up plus a known amount of work.

#include "guest.h"

GUEST("hello", "128M", "Says hello and powers off",
  NUMBER("spin", "0", 0, UINT64_MAX, "iterations of an ALU loop to run first"))

void guest(void)
{
  uint64_t x = 1;
  for (uint64_t n = number("spin"); n; n--) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    __asm__ volatile("" : "+r"(x));  // keeps the loop, whose result nobody reads
  }
  print("hello from hart 0 of %u harts, %u MiB\n", machine.harts, machine.memory_size / MiB);
}
