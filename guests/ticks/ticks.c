// A clock: one numbered line per timer interrupt, and wfi in between. Each deadline follows from the one before,
// so a line that is lost, repeated or late shows at once in the output.

#include "guest.h"

GUEST("ticks", "128M", "Prints a numbered line at every timer interrupt",
  NUMBER("interval", "100", 1, 3600000, "milliseconds from one tick to the next"),
  NUMBER("count", "0", 0, UINT64_MAX, "ticks to print before it powers off (0: it never does)"))

static uint64_t interval;        // in ticks of mtime
static uint64_t deadline;
static volatile uint64_t ticked;  // interrupts taken

static void tick(void)
{
  ticked++;
  deadline += interval;
  MTIMECMP = deadline;  // if that has passed too, the next interrupt comes at once: none is skipped
}

void guest(void)
{
  uint64_t count = number("count");
  interval = number("interval") * machine.timebase / 1000;
  uint64_t start = MTIME;
  deadline = start + interval;
  MTIMECMP = deadline;
  on_timer = tick;
  csr_set(mie, MIE_MTIE);

  for (uint64_t n = 1; !count || n <= count; n++) {
    while (ticked < n) {
      // Asleep with interrupts off (wfi still wakes), so none can slip in between the test and the wfi.
      wfi();
      csr_set(mstatus, MSTATUS_MIE);  // taken here
      csr_clear(mstatus, MSTATUS_MIE);
    }
    print("tick %u %T s\n", n, MTIME - start);
  }
}
