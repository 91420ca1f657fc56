// What a benchmark program is: one C file with a PROGRAM() declaration and work(). The same source is built for RV64GC
// (here) and for i386 (bench/v86), so results are 32 bits wide and nothing depends on the size of a pointer.

#ifndef PROGRAM_H
#define PROGRAM_H

#include "guest.h"

// PROGRAM(name, loops, summary, settings of its own...): `loops` take 1 to 2 s in QEMU on a machine of 2022.
#define PROGRAM(name_, loops_, summary_, ...) \
  GUEST(name_, "128M", summary_, \
    NUMBER("loops", loops_, 1, UINT32_MAX, "how often to do the work before a line is printed"), \
    NUMBER("laps", "1", 0, UINT32_MAX, "how many such lines (0: without end)"), \
    CHOICE("mode", "machine", "machine|supervisor", "bare, or in S-mode under Sv39 with pages of 4 KiB") \
    __VA_OPT__(,) __VA_ARGS__)

uint32_t work(uint32_t checksum);  // one loop; what it gives is what the next one gets, 1 at first
void prepare(void);                // if there is one: runs once, before the clock

// Memory beyond the image, page by page; it is not cleared. Fails with FAIL_USAGE if the machine has too little.
void *reserve(uint64_t size);

// Keeps the compiler from knowing a value, and so from computing once what is to be computed in every loop.
#define hide(x) __asm__ volatile("" : "+r"(x))

#define KEEP __attribute__((noinline, noclone))  // a function that stays one

// The pseudo-random numbers of all programs: 32-bit xorshift (Marsaglia, 2003). Never 0, if the state is not.
static inline uint32_t random32(uint32_t *state)
{
  uint32_t x = *state;
  x ^= x << 13;
  x ^= x >> 17;
  x ^= x << 5;
  return *state = x;
}

// ---- What each architecture gives: rv64.c here, bench/v86/i386.c there ----
void enter(int supervisor);     // floating point on; goes on in S-mode, under an identity map of 4 KiB pages, or not
void stop(void) __attribute__((noreturn));  // power off, in either mode
uint64_t microseconds(void);    // of the machine's clock
uint64_t instructions(void);    // retired so far; means nothing where the emulator does not count them (QEMU, v86)

#endif
