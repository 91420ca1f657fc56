// The integrity guest: sweeps upward over a range for ever and adds 1 (mod 256) to the first byte of each page.
// The check is made from outside, with the machine stopped: scanning upward, every first byte equals the one before,
// but for at most one place where it is one less, which is where the sweep stood. See README.md.

#include "guest.h"

GUEST("ab", "128M", "Counts up the first byte of every page, for checking a migration from outside",
  NUMBER("size", "64M", 1, UINT64_MAX, "bytes to sweep over, from RAM base + 4 MiB; the default shrinks to fit"),
  NUMBER("report", "100", 1, UINT64_MAX, "sweeps from one progress line to the next"))

void guest(void)
{
  struct range range = guest_range();
  uint64_t report = number("report");
  volatile uint8_t *start = (volatile uint8_t *)range.start;
  volatile uint8_t *end = (volatile uint8_t *)range.end;

  for (volatile uint8_t *p = start; p < end; p += PAGE) *p = 0;
  print("ab %x %x\n", range.start, range.end);  // from here on the rule holds

  for (uint64_t sweep = 1;; sweep++) {
    for (volatile uint8_t *p = start; p < end; p += PAGE) *p += 1;
    if (sweep % report == 0) print("ab sweep %u\n", sweep);
  }
}
