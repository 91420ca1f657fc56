// The memory range that `ab` and `dirty` write. It begins 4 MiB above RAM's base, so that image and stack never lie
// in it, and ends at least 4 MiB below RAM's end, where the machine usually puts the FDT.
// In a RAM beyond 1 GiB the FDT may lie in the range: that is harmless, because read_fdt() has copied everything.

#include "guest.h"

struct range guest_range(void)
{
  uint64_t size = number("size");
  uint64_t room = machine.memory_size > 8 * MiB ? machine.memory_size - 8 * MiB : 0;
  if (size % PAGE) refuse("size", "not a multiple of 4096 bytes (64M is 64 MiB)");
  if (size > room && !given("size")) size = room;  // the default shrinks to what fits
  if (!size || size > room) refuse("size", "more than RAM less 8 MiB");
  uint64_t start = machine.memory_base + 4 * MiB;
  return (struct range){start, start + size};
}
