// What C needs of its library, and comparisons.
#include "sbi.h"

void *memmove(void *to, const void *from, size_t size) {
  char *t = to;
  const char *f = from;
  if (t <= f) {
    for (size_t i = 0; i < size; i++) t[i] = f[i];
  } else {
    while (size-- > 0) t[size] = f[size];
  }
  return to;
}

void *memcpy(void *to, const void *from, size_t size) { return memmove(to, from, size); }

void *memset(void *to, int byte, size_t size) {
  char *t = to;
  for (size_t i = 0; i < size; i++) t[i] = (char)byte;
  return to;
}

size_t strlen(const char *text) {
  size_t length = 0;
  while (text[length] != 0) length++;
  return length;
}

int strcmp(const char *a, const char *b) {
  while (*a != 0 && *a == *b) a++, b++;
  return (uint8_t)*a - (uint8_t)*b;
}

int starts_with(const char *text, const char *prefix) {
  while (*prefix != 0) {
    if (*text++ != *prefix++) return 0;
  }
  return 1;
}
