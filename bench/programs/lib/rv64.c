// What a program needs of a RISC-V machine: floating point on, counters, and the way down to S-mode.
// RISC-V Privileged Architecture 1.12: sections 3.1.6 (mstatus), 3.7 (PMP), 4.4 (Sv39).

#include "program.h"

#define MSTATUS_FS_INITIAL (1ul << 13)
#define MSTATUS_MPP (3ul << 11)
#define MSTATUS_MPP_S (1ul << 11)
#define PMP_NAPOT_RWX 0x1f
#define SATP_SV39 (8ul << 60)
enum { PTE_V = 1, PTE_R = 2, PTE_W = 4, PTE_X = 8, PTE_A = 64, PTE_D = 128 };
#define PTE_PAGE (PTE_V | PTE_R | PTE_W | PTE_A | PTE_D)

#define csr_read(csr) ({ uint64_t value_; __asm__ volatile("csrr %0, " #csr : "=r"(value_)); value_; })
#define csr_write(csr, value) __asm__ volatile("csrw " #csr ", %0" : : "rK"(value) : "memory")

uint64_t microseconds(void) { return csr_read(time) * 1000000 / machine.timebase; }
uint64_t instructions(void) { return csr_read(instret); }

void stop(void)
{
  FINISHER = FINISHER_PASS;
  for (;;) wfi();  // the store may take effect a little later
}

static uint64_t *new_table(void)
{
  uint64_t *table = reserve(PAGE);
  memset(table, 0, PAGE);
  return table;
}

static void map(uint64_t *root, uint64_t address, uint64_t flags)
{
  uint64_t *table = root;
  for (int level = 2; level; level--) {
    uint64_t *entry = &table[address >> (12 + 9 * level) & 511];
    if (!*entry) *entry = (uint64_t)new_table() >> 2 | PTE_V;
    table = (uint64_t *)(*entry >> 10 << 12);
  }
  table[address >> 12 & 511] = address >> 2 | flags;
}

static void enter_supervisor(void)
{
  uint64_t *root = new_table();
  uint64_t end = machine.memory_base + machine.memory_size;
  for (uint64_t page = machine.memory_base; page < end; page += PAGE) map(root, page, PTE_PAGE | PTE_X);
  map(root, (uint64_t)UART, PTE_PAGE);
  map(root, (uint64_t)&FINISHER, PTE_PAGE);

  csr_write(pmpaddr0, -1ul);  // S-mode may use all of memory
  csr_write(pmpcfg0, PMP_NAPOT_RWX);
  csr_write(mcounteren, 7);   // cycle, time, instret
  csr_write(satp, SATP_SV39 | (uint64_t)root >> 12);
  csr_clear(mstatus, MSTATUS_MPP);
  csr_set(mstatus, MSTATUS_MPP_S);
  __asm__ volatile(
    "sfence.vma\n"
    "la t0, 1f\n"
    "csrw mepc, t0\n"
    "mret\n"
    "1:" : : : "t0", "memory");
}

void enter(int supervisor)
{
  csr_set(mstatus, MSTATUS_FS_INITIAL);
  if (supervisor) enter_supervisor();
}
