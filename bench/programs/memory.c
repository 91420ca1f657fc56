// memset and memcpy in the way of a C library without assembly: words, four at a time, and bytes at the ends. Two areas
// of 16 MiB at a time, which no TLB holds, then many small pieces at any alignment.

#include "program.h"

PROGRAM("memory", "40", "memset and memcpy, 16 MiB at once and in small pieces")

typedef unsigned long word __attribute__((may_alias));
#define MISALIGNED(p) ((uintptr_t)(p) % sizeof(word))
#define AREA (16 * MiB)

static KEEP void set(void *to, int byte, unsigned long size)
{
  unsigned char *p = to;
  word pattern = -1ul / 255 * (unsigned char)byte;
  for (; size && MISALIGNED(p); size--) *p++ = byte;
  for (; size >= 4 * sizeof(word); size -= 4 * sizeof(word), p += 4 * sizeof(word)) {
    word *w = (word *)p;
    w[0] = pattern, w[1] = pattern, w[2] = pattern, w[3] = pattern;
  }
  while (size--) *p++ = byte;
}

static KEEP void copy(void *to, const void *from, unsigned long size)
{
  unsigned char *p = to;
  const unsigned char *q = from;
  if (MISALIGNED(p) == MISALIGNED(q)) {
    for (; size && MISALIGNED(p); size--) *p++ = *q++;
    for (; size >= 4 * sizeof(word); size -= 4 * sizeof(word), p += 4 * sizeof(word), q += 4 * sizeof(word)) {
      word *w = (word *)p;
      const word *v = (const word *)q;
      word a = v[0], b = v[1], c = v[2], d = v[3];
      w[0] = a, w[1] = b, w[2] = c, w[3] = d;
    }
  }
  while (size--) *p++ = *q++;
}

static unsigned char *one, *other;

void prepare(void)
{
  one = reserve(AREA);
  other = reserve(AREA);
}

uint32_t work(uint32_t checksum)
{
  set(one, checksum, AREA);
  for (uint32_t i = 0; i < AREA; i += 16 * PAGE) one[i] = i >> 16;
  copy(other, one, AREA);
  for (uint32_t i = 0; i < AREA; i += PAGE) checksum = checksum * 31 + other[i];

  uint32_t random = checksum | 1;
  for (int n = 0; n < 20000; n++) {
    uint32_t r = random32(&random);
    uint32_t size = r % 256, from = r >> 8 & 4095, to = r >> 20;
    if (n % 4) from = (from & ~7u) | (to & 7);  // most copies find both sides aligned alike
    set(one + from, n, size / 2);
    copy(other + to, one + from, size);
    checksum = checksum * 31 + other[to];
  }
  return checksum;
}
