// All harts at work. Each rewrites its own share of memory and checks each word before it is overwritten; for every page
// it takes a spin lock and adds to a count that all share; and a token goes round from hart to hart by software
// interrupts. A page that was lost, two harts in the lock at once, an interrupt lost or doubled: the guest notices.

#include "guest.h"

GUEST("smp", "128M", "All harts rewrite memory, share a lock, and interrupt each other in turn",
  NUMBER("size", "64M", 1, UINT64_MAX, "bytes to rewrite, from RAM base + 4 MiB; the default shrinks to fit"),
  NUMBER("rate", "5000", 1, 10000000, "pages per second that each hart rewrites"),
  NUMBER("words", "1", 1, 512, "64-bit words to rewrite in each page, from its start"),
  NUMBER("report", "100", 1, 3600000, "milliseconds from one progress line to the next"),
  NUMBER("limit", "0", 0, 1000000000, "seconds after which it powers off (0: it never does)"))

enum { MAX_HARTS = 8, STACK_BYTES = 4096, MSIE = 1 << 3 };
#define MSIP(hart) ((volatile uint32_t *)0x02000000)[hart]  // ACLINT specification 1.0, section 3
#define MTIMECMP_OF(hart) (&MTIMECMP)[hart]

// The token is lost if it has not moved for so long; a machine that is stopped stops mtime, too.
#define PATIENCE (10 * machine.timebase)

static char stacks[MAX_HARTS][STACK_BYTES] __attribute__((aligned(16), used));
static uint32_t started __attribute__((section(".data"), used));  // not .bss: read before that is cleared

static struct range range;
static uint64_t rate, words;
static uint32_t filled;             // harts whose share is filled
static volatile uint64_t token;     // belongs to hart `token` mod harts
static uint64_t start;              // mtime

// What the lock protects: the count of all pages, and each hart's own.
static uint32_t lock;
static volatile uint64_t count, counts[MAX_HARTS];

static void acquire(void)
{
  while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE)) {
    while (__atomic_load_n(&lock, __ATOMIC_RELAXED)) {
    }
  }
}

static void release(void) { __atomic_store_n(&lock, 0, __ATOMIC_RELEASE); }

static void error(const char *what, uint64_t hart, uint64_t expected, uint64_t got) __attribute__((noreturn));
static void error(const char *what, uint64_t hart, uint64_t expected, uint64_t got)
{
  print("smp ERROR %s hart %u expected %x got %x\n", what, hart, expected, got);
  fail(FAIL_INTEGRITY);
}

static void pass_on(void)
{
  uint64_t next = token + 1;
  token = next;
  __asm__ volatile("fence" : : : "memory");  // the token is there before its hart is told
  MSIP(next % machine.harts) = 1;
}

// Takes the token if the interrupt says that it is here. `expected` is what it has to be.
static void take_token(uint64_t hart, uint64_t *expected)
{
  if (!MSIP(hart)) return;
  MSIP(hart) = 0;
  __asm__ volatile("fence" : : : "memory");
  if (token != *expected) error("token", hart, *expected, token);
  *expected += machine.harts;
  pass_on();
}

static void rewrite_page(uint64_t hart, uint64_t page, uint64_t pass)
{
  for (uint64_t a = page; a < page + 8 * words; a += 8) {
    volatile uint64_t *word = (volatile uint64_t *)a;
    if (*word != a + pass - 1) error("memory", hart, a + pass - 1, *word);
    *word = a + pass;
  }
  acquire();
  count++;
  counts[hart]++;
  release();
}

// Hart 0 looks after the others.
static uint64_t check(void)
{
  acquire();
  uint64_t all = count, sum = 0;
  for (uint64_t i = 0; i < machine.harts; i++) sum += counts[i];
  release();
  if (all != sum) error("count", 0, sum, all);
  return all;
}

static uint64_t min(uint64_t a, uint64_t b) { return a < b ? a : b; }

static void work(uint64_t hart)
{
  uint64_t pages = (range.end - range.start) / PAGE;
  uint64_t first = range.start + pages * hart / machine.harts * PAGE;
  uint64_t end = range.start + pages * (hart + 1) / machine.harts * PAGE;
  for (uint64_t page = first; page < end; page += PAGE) {
    for (uint64_t a = page; a < page + 8 * words; a += 8) *(volatile uint64_t *)a = a;
  }
  __atomic_add_fetch(&filled, 1, __ATOMIC_SEQ_CST);
  while (__atomic_load_n(&filled, __ATOMIC_SEQ_CST) < machine.harts) {
  }

  uint64_t report = number("report") * machine.timebase / 1000;
  uint64_t limit = number("limit") * machine.timebase;
  if (hart == 0) {
    print("smp %x %x\n", range.start, range.end);
    start = MTIME;
    token = machine.harts - 1;
    pass_on();
  }
  uint64_t begun = MTIME, reports = 0, next_report = begun + report;
  uint64_t due_at = begun, interval = machine.timebase / rate + 1;
  uint64_t expected = machine.harts + hart, seen = 0, seen_at = begun;
  uint64_t page = first, pass = 1;
  csr_set(mie, MIE_MTIE | MSIE);  // both wake it; mstatus.MIE is clear, so no interrupt is taken

  for (;;) {
    take_token(hart, &expected);
    uint64_t now = MTIME;
    if (hart == 0 && now >= next_report) {
      uint64_t all = check();
      if (token != seen) seen = token, seen_at = now;
      else if (now - seen_at > PATIENCE) error("token", token % machine.harts, token + 1, token);
      print("smp %u %T s pages %u tokens %u\n", ++reports, now - start, all, token - machine.harts + 1);
      next_report = now + report;
      if (limit && now - begun >= limit) power_off();
    }
    if (now < due_at) {
      MTIMECMP_OF(hart) = hart == 0 ? min(due_at, next_report) : due_at;
      wfi();
      continue;
    }
    // After a delay it is owed no more than 100 ms worth of pages.
    due_at = (now - due_at > machine.timebase / 10 ? now : due_at) + interval;
    if (first == end) continue;
    rewrite_page(hart, page, pass);
    page += PAGE;
    if (page == end) page = first, pass++;
  }
}

// All harts but 0, from start.S: asleep until hart 0 has read the settings.
__attribute__((naked)) void secondary(void)
{
  __asm__ volatile(
    "csrwi mie, 8\n"  // MSIE
    "1: wfi\n"
    "lw t0, started\n"
    "beqz t0, 1b\n"
    "fence\n"
    ".option push\n"
    ".option norelax\n"
    "la gp, __global_pointer$\n"
    ".option pop\n"
    "la sp, stacks\n"
    "addi t0, a0, 1\n"
    "slli t0, t0, 12\n"
    "add sp, sp, t0\n"
    "tail begin\n");
}

__attribute__((used)) void begin(uint64_t hart)
{
  MSIP(hart) = 0;
  if (hart < machine.harts) work(hart);
  for (;;) wfi();
}

void guest(void)
{
  if (machine.harts > MAX_HARTS) machine.harts = MAX_HARTS;
  range = guest_range();
  rate = number("rate");
  words = number("words");
  __atomic_store_n(&started, 1, __ATOMIC_SEQ_CST);
  for (uint64_t hart = 1; hart < machine.harts; hart++) MSIP(hart) = 1;
  work(0);
}
