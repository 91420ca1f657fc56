// Rewrites memory at a chosen rate and checks each word before it is overwritten, so that the guest itself notices a
// page that was lost or went stale. A word's value is a function of its address and of the pass that wrote it.

#include "guest.h"

GUEST("dirty", "128M", "Rewrites memory at a chosen rate and checks every word before it does",
  NUMBER("size", "64M", 1, UINT64_MAX, "bytes to rewrite, from RAM base + 4 MiB; the default shrinks to fit"),
  NUMBER("rate", "0", 0, 100000000, "pages per second (0: as fast as it can)"),
  NUMBER("words", "1", 1, 512, "64-bit words to rewrite in each page, from its start"),
  CHOICE("pattern", "count", "count|random", "new value: the old one plus 1, or one that cannot be compressed"),
  NUMBER("report", "100", 1, 3600000, "milliseconds from one progress line to the next"),
  NUMBER("limit", "0", 0, 1000000000, "seconds after which it powers off (0: it never does)"))

enum { COUNT, RANDOM };  // the values of `pattern`, in their order

#define BATCH 64ull  // pages between two looks at the clock

static uint64_t pattern;
static uint64_t words;

// What the word at `address` holds after `pass`. `random` mixes both with splitmix64's output function (Steele, Lea
// and Flood, "Fast splittable pseudorandom number generators", 2014).
static inline uint64_t value(uint64_t address, uint64_t pass)
{
  if (pattern == COUNT) return address + pass;
  uint64_t x = address + pass * 0x9e3779b97f4a7c15;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  return x ^ x >> 31;
}

static void fill_page(uint64_t page)
{
  for (uint64_t a = page; a < page + 8 * words; a += 8) *(volatile uint64_t *)a = value(a, 0);
}

static void rewrite_page(uint64_t page, uint64_t pass)
{
  for (uint64_t a = page; a < page + 8 * words; a += 8) {
    uint64_t expected = value(a, pass - 1);
    uint64_t got = *(volatile uint64_t *)a;
    if (got != expected) {
      print("dirty ERROR address %x expected %x got %x\n", a, expected, got);
      fail(FAIL_INTEGRITY);
    }
    *(volatile uint64_t *)a = value(a, pass);
  }
}

static uint64_t min(uint64_t a, uint64_t b) { return a < b ? a : b; }
static uint64_t max(uint64_t a, uint64_t b) { return a > b ? a : b; }

static void sleep_until(uint64_t deadline)
{
  MTIMECMP = deadline;
  while (MTIME < deadline) wfi();  // mie.MTIE wakes it; mstatus.MIE is clear, so no interrupt is taken
}

void guest(void)
{
  struct range range = guest_range();
  uint64_t rate = number("rate");
  uint64_t report = number("report") * machine.timebase / 1000;
  uint64_t limit = number("limit") * machine.timebase;
  pattern = number("pattern");
  words = number("words");

  for (uint64_t page = range.start; page < range.end; page += PAGE) fill_page(page);
  print("dirty %x %x\n", range.start, range.end);
  csr_set(mie, MIE_MTIE);

  uint64_t start = MTIME;
  uint64_t end = limit ? start + limit : UINT64_MAX;
  uint64_t next_report = start + report;
  uint64_t reports = 0, pages = 0, passes = 0;
  uint64_t page = range.start;

  // Pacing. What is owed is counted in pages × timebase, so that no fraction is lost: it grows by `rate` with each
  // tick of mtime. A guest that cannot keep up owes no more than 100 ms, or it would burst later.
  uint64_t batch = max(1, min(rate / 100, BATCH));  // woken for about 10 ms worth of pages
  uint64_t most_owed = max(rate * machine.timebase / 10, batch * machine.timebase);
  uint64_t owed = 0;
  uint64_t last = start;

  for (;;) {
    uint64_t now = MTIME;
    if (now >= next_report) {
      print("dirty %u %T s pages %u passes %u\n", ++reports, now - start, pages, passes);
      next_report = max(next_report + report, now);  // after a delay the lines do not come in a burst
    }
    if (now >= end) return;

    uint64_t due = BATCH;
    if (rate) {
      owed = min(owed + rate * min(now - last, 10 * machine.timebase), most_owed);
      last = now;
      due = min(owed / machine.timebase, BATCH);
      owed -= due * machine.timebase;
      if (!due) {
        uint64_t wait = (batch * machine.timebase - owed + rate - 1) / rate;
        sleep_until(min(now + wait, min(next_report, end)));
      }
    }
    for (; due; due--) {
      rewrite_page(page, passes + 1);
      pages++;
      page += PAGE;
      if (page == range.end) {
        page = range.start;
        passes++;
      }
    }
  }
}
