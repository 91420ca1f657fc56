// Quicksort of numbers, comparing in place, and heapsort of pointers to records, comparing through a function.

#include "program.h"

PROGRAM("sort", "50", "quicksort of 65,536 numbers, heapsort of 8,192 records")

enum { NUMBERS = 65536, RECORDS = 8192 };
static uint32_t numbers[NUMBERS];

static void insertion_sort(uint32_t *low, uint32_t *high)
{
  for (uint32_t *i = low + 1; i <= high; i++) {
    uint32_t value = *i, *j = i;
    for (; j > low && j[-1] > value; j--) *j = j[-1];
    *j = value;
  }
}

// `high` is the last one. The median of three is the pivot; the smaller side goes first, so that the stack stays small.
static KEEP void quicksort(uint32_t *low, uint32_t *high)
{
  while (high - low > 12) {
    uint32_t a = *low, b = low[(high - low) / 2], c = *high;
    uint32_t pivot = a < b ? (b < c ? b : a < c ? c : a) : a < c ? a : b < c ? c : b;
    uint32_t *i = low, *j = high;
    while (i <= j) {
      while (*i < pivot) i++;
      while (*j > pivot) j--;
      if (i <= j) {
        uint32_t swapped = *i;
        *i++ = *j;
        *j-- = swapped;
      }
    }
    if (j - low < high - i) {
      quicksort(low, j);
      low = i;
    } else {
      quicksort(i, high);
      high = j;
    }
  }
  insertion_sort(low, high);
}

struct record {
  uint32_t key, value;
  char padding[24];
};
typedef int compare(const void *, const void *);
static struct record records[RECORDS];
static void *heap[RECORDS];

static int by_key(const void *a, const void *b)
{
  const struct record *one = a, *other = b;
  return one->key < other->key ? -1 : one->key > other->key;
}

static void sift(void **array, uint32_t at, uint32_t count, compare *order)
{
  void *moving = array[at];
  for (uint32_t child; (child = 2 * at + 1) < count; at = child) {
    if (child + 1 < count && order(array[child], array[child + 1]) < 0) child++;
    if (order(moving, array[child]) >= 0) break;
    array[at] = array[child];
  }
  array[at] = moving;
}

static KEEP void heapsort(void **array, uint32_t count, compare *order)
{
  for (uint32_t i = count / 2; i--;) sift(array, i, count, order);
  for (uint32_t end = count; --end;) {
    void *largest = array[0];
    array[0] = array[end];
    array[end] = largest;
    sift(array, 0, end, order);
  }
}

uint32_t work(uint32_t checksum)
{
  uint32_t random = checksum | 1;
  for (int i = 0; i < NUMBERS; i++) numbers[i] = random32(&random);
  quicksort(numbers, numbers + NUMBERS - 1);
  for (int i = 1; i < NUMBERS; i++) {
    if (numbers[i - 1] > numbers[i]) return 0;
    checksum = checksum * 31 + (numbers[i] >> 7);
  }
  for (uint32_t i = 0; i < RECORDS; i++) {
    records[i].key = random32(&random) >> 8;
    records[i].value = i;
    heap[i] = &records[i];
  }
  compare *order = by_key;
  hide(order);
  heapsort(heap, RECORDS, order);
  for (int i = 1; i < RECORDS; i++) {
    const struct record *one = heap[i - 1], *other = heap[i];
    if (one->key > other->key) return 0;
    checksum = checksum * 31 + other->key;
  }
  return checksum;
}
