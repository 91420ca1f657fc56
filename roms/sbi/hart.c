// Harts: how each is configured, when it runs (SBI §9), its timer (SBI §6), and what it does for others (SBI §7, §8).
//
// A hart asks another one by a bit in the other's `events` or `fences` and its software interrupt. Whoever waits does so
// in wfi, so that a machine that runs its harts in turn goes on with the others at once.
#include "sbi.h"

enum { STARTED = 0, STOPPED = 1, START_PENDING = 2, SUSPENDED = 4 };  // SBI §9, table 8
enum { EVENT_SOFTWARE_INTERRUPT = 1 };
enum { SUSPEND_RETENTIVE = 0, SUSPEND_NON_RETENTIVE = 0x80000000u, SUSPEND_PLATFORM = 0x10000000 };

struct hart {
  uint32_t state;
  uint32_t events;   // of EVENT_…
  uint32_t fences;   // a bit for each hart whose `fence` is to be carried out here
  uint32_t waiting;  // harts that have not carried out `fence` yet
  struct fence fence;
  uint64_t start_address, opaque;
};

static struct hart harts[MAX_HARTS];
static int has_stimecmp;
int booted __attribute__((section(".data")));  // not .bss: read before that is cleared

static inline uint32_t load(uint32_t *from) { return __atomic_load_n(from, __ATOMIC_SEQ_CST); }
static inline void store(uint32_t *to, uint32_t value) { __atomic_store_n(to, value, __ATOMIC_SEQ_CST); }

static void interrupt(uint64_t hart) {
  __asm__ volatile("fence" ::: "memory");  // what is asked for is seen before the interrupt
  *reg32(MSIP_REGISTERS + 4 * hart) = 1;
}

static struct hart *self(void) { return &harts[hart_id()]; }
static int exists(uint64_t hart) { return hart < MAX_HARTS && (machine.harts >> hart & 1) != 0; }

void harts_init(uint64_t boot_hart) {
  for (int i = 0; i < MAX_HARTS; i++) harts[i].state = STOPPED;
  harts[boot_hart].state = STARTED;
  hart_configure();
  store((uint32_t *)&booted, 1);
  for (uint64_t i = 0; i < MAX_HARTS; i++) {
    if (i != boot_hart && exists(i)) interrupt(i);
  }
}

void hart_configure(void) {
  // Everything that can happen below goes to supervisor mode, but for its own calls (Priv §3.1.8).
  write_csr(medeleg, ~(1ul << 9 | 1ul << 11));
  write_csr(mideleg, SSIP | STIP | SEIP);
  write_csr(mie, MSIP);
  clear_csr(mip, SSIP | STIP);
  write_csr(mcounteren, ~0u);
  write_csr(scounteren, 7);
  // menvcfg: STCE, PBMTE, ADUE, CBZE, CBCFE, CBIE; what the hart has not stays 0 (Priv §3.1.18).
  write_csr(MENVCFG, 7ul << 61 | 0xf0);
  has_stimecmp = (int64_t)read_csr(MENVCFG) < 0;
  if (has_stimecmp) write_csr(STIMECMP, ~0ul);
  *reg64(MTIMECMP + 8 * hart_id()) = ~0ul;
  // Priv §3.7.1: the firmware is closed, everything else open.
  uint64_t size = firmware_end - firmware_start;
  write_csr(pmpaddr0, (uint64_t)firmware_start >> 2 | (size / 8 - 1));
  write_csr(pmpaddr1, ~0ul);
  write_csr(pmpcfg0, 0x1f18);  // NAPOT RWX, NAPOT
  __asm__ volatile("sfence.vma" ::: "memory");
}

// ---- The timer ----

void timer_set(uint64_t deadline) {
  if (has_stimecmp) {
    write_csr(STIMECMP, deadline);
    return;
  }
  *reg64(MTIMECMP + 8 * hart_id()) = deadline;
  clear_csr(mip, STIP);
  set_csr(mie, MTIP);
}

void timer_due(void) {
  clear_csr(mie, MTIP);
  set_csr(mip, STIP);
}

// ---- Serving others ----

static void carry_out(const struct fence *fence) {
  if (fence->kind == FENCE_I) {
    __asm__ volatile("fence.i" ::: "memory");
    return;
  }
  // Beyond this many pages (or with no bounds) everything goes.
  uint64_t pages = (fence->size + 4095) / 4096;
  int all = fence->size == 0 || pages > 64;
  if (fence->kind == SFENCE_VMA_ASID) {
    if (all) __asm__ volatile("sfence.vma x0, %0" ::"r"(fence->asid) : "memory");
    for (uint64_t i = 0; !all && i < pages; i++) {
      __asm__ volatile("sfence.vma %0, %1" ::"r"(fence->start + 4096 * i), "r"(fence->asid) : "memory");
    }
  } else {
    if (all) __asm__ volatile("sfence.vma" ::: "memory");
    for (uint64_t i = 0; !all && i < pages; i++) {
      __asm__ volatile("sfence.vma %0" ::"r"(fence->start + 4096 * i) : "memory");
    }
  }
}

// A hart that comes later in `waiting` has interrupted us again: nothing is lost by clearing first.
void hart_serve(void) {
  struct hart *me = self();
  *reg32(MSIP_REGISTERS + 4 * hart_id()) = 0;
  __asm__ volatile("fence" ::: "memory");
  uint32_t events = __atomic_exchange_n(&me->events, 0, __ATOMIC_SEQ_CST);
  if (events & EVENT_SOFTWARE_INTERRUPT) set_csr(mip, SSIP);
  uint32_t fences = __atomic_exchange_n(&me->fences, 0, __ATOMIC_SEQ_CST);
  for (uint64_t asking = 0; fences != 0; asking++, fences >>= 1) {
    if ((fences & 1) == 0) continue;
    carry_out(&harts[asking].fence);
    if (__atomic_sub_fetch(&harts[asking].waiting, 1, __ATOMIC_SEQ_CST) == 0) interrupt(asking);
  }
}

// The harts that a mask names (SBI §3.1); false if one of them is not there.
static int masked(uint64_t mask, uint64_t base, uint64_t *named) {
  *named = base == ~0ul ? machine.harts : base < 64 ? mask << base : 0;
  if (base == ~0ul || mask == 0) return 1;
  return base < 64 && (*named >> base) == mask && (*named & ~machine.harts) == 0;
}

struct sbiret send_ipi(uint64_t mask, uint64_t base) {
  uint64_t named;
  if (!masked(mask, base, &named)) return sbi_return(SBI_ERR_INVALID_PARAM);
  for (uint64_t hart = 0; hart < MAX_HARTS; hart++) {
    if ((named >> hart & 1) == 0 || load(&harts[hart].state) == STOPPED) continue;
    __atomic_or_fetch(&harts[hart].events, EVENT_SOFTWARE_INTERRUPT, __ATOMIC_SEQ_CST);
    interrupt(hart);
  }
  return sbi_return(SBI_SUCCESS);
}

struct sbiret remote_fence(uint64_t mask, uint64_t base, struct fence fence) {
  uint64_t named;
  if (!masked(mask, base, &named)) return sbi_return(SBI_ERR_INVALID_PARAM);
  struct hart *me = self();
  uint64_t others = 0;
  for (uint64_t hart = 0; hart < MAX_HARTS; hart++) {
    // A hart that stands still fences when it starts.
    if ((named >> hart & 1) != 0 && load(&harts[hart].state) != STOPPED) others |= 1ul << hart;
  }
  if (others >> hart_id() & 1) carry_out(&fence);
  others &= ~(1ul << hart_id());
  if (others == 0) return sbi_return(SBI_SUCCESS);
  me->fence = fence;
  store(&me->waiting, (uint32_t)count(others));
  for (uint64_t hart = 0; hart < MAX_HARTS; hart++) {
    if ((others >> hart & 1) == 0) continue;
    __atomic_or_fetch(&harts[hart].fences, 1u << hart_id(), __ATOMIC_SEQ_CST);
    interrupt(hart);
  }
  // Meanwhile this one serves, too: another hart may wait for it. The last one to finish interrupts; nothing else does.
  uint64_t enabled = read_csr(mie);
  write_csr(mie, MSIP);
  for (hart_serve(); load(&me->waiting) != 0; hart_serve()) __asm__ volatile("wfi");
  write_csr(mie, enabled);
  return sbi_return(SBI_SUCCESS);
}

// ---- States ----

void hart_park(void) {
  struct hart *me = self();
  write_csr(mie, MSIP);
  for (;;) {
    hart_serve();
    if (load(&me->state) == START_PENDING) break;
    __asm__ volatile("wfi");
  }
  clear_csr(mip, SSIP | STIP);
  timer_set(~0ul);
  store(&me->state, STARTED);
  enter_supervisor(hart_id(), me->opaque, me->start_address);
}

struct sbiret hart_start(uint64_t hart, uint64_t address, uint64_t opaque) {
  if (!exists(hart)) return sbi_return(SBI_ERR_INVALID_PARAM);
  if (!supervisor_memory(address, 2)) return sbi_return(SBI_ERR_INVALID_ADDRESS);
  struct hart *it = &harts[hart];
  uint32_t state = load(&it->state);
  if (state != STOPPED) return sbi_return(SBI_ERR_ALREADY_AVAILABLE);
  it->start_address = address;
  it->opaque = opaque;
  store(&it->state, START_PENDING);
  interrupt(hart);
  return sbi_return(SBI_SUCCESS);
}

void hart_stop(void) {
  store(&self()->state, STOPPED);
  hart_park();
}

struct sbiret hart_status(uint64_t hart) {
  if (!exists(hart)) return sbi_return(SBI_ERR_INVALID_PARAM);
  return (struct sbiret){SBI_SUCCESS, load(&harts[hart].state)};
}

struct sbiret hart_suspend(uint32_t type, uint64_t address, uint64_t opaque) {
  int retentive = type == SUSPEND_RETENTIVE;
  if (!retentive && type != SUSPEND_NON_RETENTIVE) {
    int platform = (type & ~SUSPEND_NON_RETENTIVE) >= SUSPEND_PLATFORM;
    return sbi_return(platform ? SBI_ERR_NOT_SUPPORTED : SBI_ERR_INVALID_PARAM);
  }
  if (!retentive && !supervisor_memory(address, 2)) return sbi_return(SBI_ERR_INVALID_ADDRESS);
  struct hart *me = self();
  store(&me->state, SUSPENDED);
  // Until an interrupt that the supervisor has enabled is pending; machine mode's own are served meanwhile.
  for (;;) {
    hart_serve();
    uint64_t pending = read_csr(mip) & read_csr(mie);
    if (pending & MTIP) timer_due();
    else if (pending & (SSIP | STIP | SEIP)) break;
    else __asm__ volatile("wfi");
  }
  store(&me->state, STARTED);
  if (!retentive) enter_supervisor(hart_id(), opaque, address);
  return sbi_return(SBI_SUCCESS);
}
