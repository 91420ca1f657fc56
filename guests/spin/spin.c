// A benchmark of the processor alone: a loop of one kind, its checksum and the time it took by the guest's clock.
// One loop is about a million instructions of every kind, so that the kinds can be compared.

#include "guest.h"

GUEST("spin", "128M", "Runs a loop and prints its checksum and time: a benchmark",
  CHOICE("kind", "alu", "alu|fib|memset|sieve", "which loop"),
  NUMBER("loops", "100", 1, UINT64_MAX, "how often to run it, about a million instructions each"))

// Shifts and xors in registers: 64-bit xorshift (Marsaglia, 2003).
static uint64_t alu(uint64_t x)
{
  for (int n = 0; n < 125000; n++) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
  }
  return x;
}

// Keeps the compiler from computing once what is to be computed in every loop.
static uint64_t hidden(uint64_t x)
{
  __asm__ volatile("" : "+r"(x));
  return x;
}

// Calls, returns and the stack.
static __attribute__((noinline, noclone)) uint64_t fib(uint64_t n)
{
  return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

// Stores: 1 MiB is filled, then sampled once per page.
static unsigned char memory[MiB];

static uint64_t fill(uint64_t x)
{
  uint64_t sum = x;
  for (int n = 0; n < 2; n++) {
    memset(memory, x + n, sizeof memory);
    for (uint64_t i = 0; i < sizeof memory; i += PAGE) sum = sum * 31 + memory[i];
  }
  return sum;
}

// Byte loads and stores at growing strides: the primes below 80 Ki, by Eratosthenes.
static uint64_t sieve(void)
{
  enum { LIMIT = 80 * 1024 };
  uint64_t primes = 0;
  memset(memory, 0, LIMIT);
  for (uint64_t i = 2; i < LIMIT; i++) {
    if (memory[i]) continue;
    primes++;
    for (uint64_t j = i * i; j < LIMIT; j += i) memory[j] = 1;
  }
  return primes;
}

void guest(void)
{
  uint64_t checksum = 1;
  uint64_t start = MTIME;
  for (uint64_t n = number("loops"); n; n--) {
    switch (number("kind")) {
      case 0: checksum = alu(checksum); break;
      case 1: checksum = checksum * 31 + fib(hidden(23)); break;
      case 2: checksum = fill(checksum); break;
      case 3: checksum = checksum * 31 + sieve(); break;
    }
  }
  uint64_t time = MTIME - start;
  print("spin %s loops %u checksum %x time %T s\n", setting_text("kind"), number("loops"), checksum, time);
}
