// Loads that wait for one another: a walk through a random cycle of all cells, one to a cache line.

#include "program.h"

PROGRAM("chase", "50", "a pointer chase through a random cycle",
  NUMBER("size", "512K", 4096, 64 * MiB, "bytes that the cycle is spread over"))

struct cell {
  struct cell *next;
  uint32_t number;
} __attribute__((aligned(64)));

enum { STEPS = 4 * 1024 * 1024 };
static struct cell *here;

// Sattolo's algorithm: a permutation that is one cycle.
void prepare(void)
{
  uint32_t count = (uint32_t)number("size") / sizeof(struct cell), random = 2463534242u;
  struct cell *cells = reserve(count * sizeof(struct cell));
  for (uint32_t i = 0; i < count; i++) cells[i].number = i;
  for (uint32_t i = count - 1; i; i--) {
    uint32_t j = random32(&random) % i, swapped = cells[i].number;
    cells[i].number = cells[j].number;
    cells[j].number = swapped;
  }
  for (uint32_t i = 0; i < count; i++) cells[i].next = &cells[cells[i].number];
  here = cells;
}

uint32_t work(uint32_t checksum)
{
  struct cell *cell = here;
  for (int n = 0; n < STEPS; n++) cell = cell->next;
  here = cell;
  return checksum * 31 + cell->number;
}
