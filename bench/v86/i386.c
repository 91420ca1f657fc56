// A PC in place of the RISC-V machine: what the runtime of guests/lib and bench/programs/lib asks of start.S, fdt.c and
// rv64.c there. The clock is the host's business: a line's arrival says when it was printed.

#include "program.h"

struct machine machine = {.memory_base = 0, .memory_size = 128 * MiB, .harts = 1, .timebase = 1};

enum { INFO_HAS_COMMAND_LINE = 4 };  // Multiboot Specification 0.6.96, section 3.3
struct information {
  uint32_t flags, memory_lower, memory_upper, boot_device;
  const char *command_line;
};

uint64_t microseconds(void) { return 0; }
uint64_t instructions(void) { return 0; }

void stop(void)
{
  for (;;) __asm__ volatile("cli; hlt");
}

void fail(uint64_t code)
{
  print("failed %u\n", code);
  stop();
}

void enter(int supervisor)
{
  if (supervisor) refuse("mode", "there is no such mode on a PC");
}

void start(const struct information *information)
{
  console_init();
  if (information->flags & INFO_HAS_COMMAND_LINE) {
    const char *from = information->command_line;
    for (unsigned i = 0; from[i] && i < sizeof machine.bootargs - 1; i++) machine.bootargs[i] = from[i];
  }
  read_settings(machine.bootargs);
  guest();
  stop();
}

// What the compiler calls for 64-bit division, bit by bit: only figures that are printed need it.
uint64_t __udivmoddi4(uint64_t n, uint64_t d, uint64_t *remainder)
{
  uint64_t quotient = 0, rest = 0;
  for (int bit = 63; bit >= 0; bit--) {
    rest = rest << 1 | (n >> bit & 1);
    if (rest >= d) {
      rest -= d;
      quotient |= 1ull << bit;
    }
  }
  if (remainder) *remainder = rest;
  return quotient;
}

uint64_t __udivdi3(uint64_t n, uint64_t d) { return __udivmoddi4(n, d, 0); }

uint64_t __umoddi3(uint64_t n, uint64_t d)
{
  uint64_t remainder;
  __udivmoddi4(n, d, &remainder);
  return remainder;
}
