// Byte loads and stores at growing strides: the primes below 512 Ki, by Eratosthenes.

#include "program.h"

PROGRAM("sieve", "600", "sieve of Eratosthenes over 512 KiB")

enum { LIMIT = 512 * 1024 };
static unsigned char composite[LIMIT];

uint32_t work(uint32_t checksum)
{
  memset(composite, 0, LIMIT);
  for (uint32_t i = 2; i < LIMIT; i++) {
    if (composite[i]) continue;
    checksum = checksum * 31 + i;
    if (i < LIMIT / i) {
      for (uint32_t j = i * i; j < LIMIT; j += i) composite[j] = 1;
    }
  }
  return checksum;
}
