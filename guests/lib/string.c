// The few functions on memory and strings that the runtime needs, or that the compiler may call by itself.

#include "guest.h"

void *memset(void *to, int byte, unsigned long size)
{
  unsigned char *p = to;
  unsigned char *end = p + size;
  uint64_t word = (unsigned char)byte * 0x0101010101010101ull;
  while (p < end && (uintptr_t)p % 8) *p++ = byte;
  for (; end - p >= 8; p += 8) *(uint64_t *)p = word;
  while (p < end) *p++ = byte;
  return to;
}

void *memcpy(void *to, const void *from, unsigned long size)
{
  unsigned char *p = to;
  const unsigned char *q = from;
  while (size--) *p++ = *q++;
  return to;
}

int equal(const char *a, const char *b)
{
  while (*a && *a == *b) a++, b++;
  return *a == *b;
}

int starts_with(const char *text, const char *prefix)
{
  while (*prefix && *text == *prefix) text++, prefix++;
  return !*prefix;
}
