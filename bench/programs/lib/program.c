// Runs a program: its loops, lap after lap, each with a line that says what came out and how long it took.
//   NAME begins
//   NAME loops N checksum C microseconds T instructions I
// Every lap starts from the same checksum, so that all laps of a run are equal.

#include "program.h"

extern const char guest_name[];

void __attribute__((weak)) prepare(void) {}

static uint64_t reserved = 8 * MiB;  // from RAM's base; the image ends before

void *reserve(uint64_t size)
{
  uint64_t at = reserved;
  reserved += (size + PAGE - 1) / PAGE * PAGE;
  if (reserved > machine.memory_size) {
    print("%s: needs more than %u MiB of memory\n", guest_name, machine.memory_size / MiB);
    fail(FAIL_USAGE);
  }
  return (void *)(uintptr_t)(machine.memory_base + at);
}

static void lap(void)
{
  uint32_t checksum = 1;
  uint64_t start_instructions = instructions();
  uint64_t start = microseconds();
  for (uint64_t n = number("loops"); n; n--) checksum = work(checksum);
  uint64_t time = microseconds() - start;
  uint64_t count = instructions() - start_instructions;
  print("%s loops %u checksum %x microseconds %u instructions %u\n", guest_name, number("loops"),
        (uint64_t)checksum, time, count);
}

void guest(void)
{
  enter(number("mode") == 1);
  prepare();
  print("%s begins\n", guest_name);
  uint64_t laps = number("laps");
  do lap(); while (--laps);
  stop();
}
