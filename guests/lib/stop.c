// How a guest begins and ends: boot() after start.S, the test finisher, and traps.

#include "guest.h"

#define MCAUSE_MACHINE_TIMER (1ull << 63 | 7)  // Privileged Architecture 1.12, table 3.6

void (*on_timer)(void);

static void finish(uint32_t value) __attribute__((noreturn));
static void finish(uint32_t value)
{
  csr_clear(mie, -1ul);
  FINISHER = value;
  for (;;) wfi();  // the store may take effect a little later
}

void power_off(void) { finish(FINISHER_PASS); }
void fail(uint64_t code) { finish(code << 16 | FINISHER_FAIL); }

void trap(uint64_t mcause, uint64_t mepc, uint64_t mtval)
{
  if (mcause == MCAUSE_MACHINE_TIMER && on_timer) {
    on_timer();
    return;
  }
  print("trap mcause %x mepc %x mtval %x\n", mcause, mepc, mtval);
  fail(FAIL_TRAP);
}

void boot(const void *fdt)
{
  console_init();
  read_fdt(fdt);
  read_settings(machine.bootargs);
  guest();
  power_off();
}
