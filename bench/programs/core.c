// Four kinds of work that embedded programs do, in the manner of CoreMark: a linked list is searched, reversed and
// sorted; small matrices of integers are multiplied; a state machine reads numbers from text; a CRC is taken of all.

#include "program.h"

PROGRAM("core", "500", "list, matrix, state machine and CRC, in the manner of CoreMark")

// CRC-16/ARC: polynomial 0x8005, bits reflected, one at a time.
static KEEP uint16_t crc16(uint16_t value, uint16_t crc)
{
  for (int bit = 0; bit < 16; bit++, value >>= 1) {
    unsigned carry = (crc ^ value) & 1;
    crc >>= 1;
    if (carry) crc ^= 0xa001;
  }
  return crc;
}

// ---- A list: nodes in random order in memory, their contents apart from them ----
struct content {
  int16_t key, position;
};
struct node {
  struct node *next;
  struct content *content;
};
enum { NODES = 120 };
static struct node nodes[NODES];
static struct content contents[NODES];

static struct node *make_list(uint32_t seed)
{
  static uint8_t order[NODES];
  for (int i = 0; i < NODES; i++) order[i] = i;
  for (int i = NODES - 1; i; i--) {
    int j = random32(&seed) % (i + 1);
    uint8_t swapped = order[i];
    order[i] = order[j];
    order[j] = swapped;
  }
  struct node *head = 0;
  for (int i = NODES; i--;) {
    struct node *node = &nodes[order[i]];
    node->content = &contents[i];
    contents[i] = (struct content){random32(&seed) % 500, i};
    node->next = head;
    head = node;
  }
  return head;
}

static KEEP struct node *find(struct node *node, int16_t key)
{
  while (node && node->content->key != key) node = node->next;
  return node;
}

static KEEP struct node *reverse(struct node *node)
{
  struct node *head = 0;
  while (node) {
    struct node *next = node->next;
    node->next = head;
    head = node;
    node = next;
  }
  return head;
}

typedef int order(const struct content *, const struct content *);
static int by_key(const struct content *a, const struct content *b)
{
  return a->key != b->key ? a->key - b->key : a->position - b->position;
}
static int by_position(const struct content *a, const struct content *b) { return a->position - b->position; }

// Merge sort from below: runs of 1, 2, 4, … nodes.
static KEEP struct node *sort(struct node *list, order *compare)
{
  for (int run = 1;; run *= 2) {
    struct node *rest = list, **tail = &list;
    int merges = 0;
    while (rest) {
      struct node *left = rest, *right = rest;
      int lefts = 0, rights = run;
      while (lefts < run && right) right = right->next, lefts++;
      while (lefts || (rights && right)) {
        struct node *least;
        if (lefts && (!rights || !right || compare(left->content, right->content) <= 0)) {
          least = left, left = left->next, lefts--;
        } else {
          least = right, right = right->next, rights--;
        }
        *tail = least;
        tail = &least->next;
      }
      rest = right;
      merges++;
    }
    *tail = 0;
    if (merges < 2) return list;
  }
}

static KEEP uint16_t list_work(uint32_t seed, uint16_t crc)
{
  struct node *list = make_list(seed);
  for (int key = 0; key < 60; key++) {
    struct node *found = find(list, key * 8);
    list = reverse(list);
    if (found) crc = crc16(found->content->position, crc);
  }
  order *orders[] = {by_key, by_position};
  for (int i = 0; i < 2; i++) {
    list = sort(list, orders[i]);
    for (struct node *node = list; node; node = node->next) crc = crc16(node->content->key, crc);
  }
  return crc;
}

// ---- Matrices of 16-bit numbers with 32-bit sums ----
enum { N = 20 };
static int16_t a[N][N], b[N][N];
static int32_t c[N][N];

static KEEP void add_constant(int16_t value)
{
  for (int i = 0; i < N; i++) for (int j = 0; j < N; j++) a[i][j] += value;
}

static KEEP void multiply_vector(void)
{
  for (int i = 0; i < N; i++) {
    int32_t sum = 0;
    for (int j = 0; j < N; j++) sum += a[i][j] * b[0][j];
    c[i][0] = sum;
  }
}

static KEEP void multiply_matrix(void)
{
  for (int i = 0; i < N; i++) {
    for (int j = 0; j < N; j++) {
      int32_t sum = 0;
      for (int k = 0; k < N; k++) sum += a[i][k] * b[k][j];
      c[i][j] = sum;
    }
  }
}

static KEEP void multiply_bits(void)
{
  for (int i = 0; i < N; i++) {
    for (int j = 0; j < N; j++) {
      int32_t sum = 0;
      for (int k = 0; k < N; k++) {
        int32_t product = a[i][k] * b[k][j];
        sum += (product >> 2 & 15) * (product >> 5 & 127);
      }
      c[i][j] = sum;
    }
  }
}

static KEEP uint16_t sum_up(uint16_t crc)
{
  int32_t sum = 0, last = 0;
  for (int i = 0; i < N; i++) {
    for (int j = 0; j < N; j++) {
      sum += c[i][j] > last ? 10 : c[i][j] & 7;
      last = c[i][j];
    }
  }
  return crc16(sum, crc);
}

static KEEP uint16_t matrix_work(uint32_t seed, uint16_t crc)
{
  for (int i = 0; i < N; i++) {
    for (int j = 0; j < N; j++) {
      a[i][j] = random32(&seed) % 255 - 127;
      b[i][j] = random32(&seed) % 255 - 127;
    }
  }
  add_constant(seed & 15);
  multiply_vector();
  crc = sum_up(crc);
  multiply_matrix();
  crc = sum_up(crc);
  multiply_bits();
  return sum_up(crc);
}

// ---- A state machine: what kind of number is this word? ----
enum state { START, SIGN, INTEGER, POINT, FRACTION, EXPONENT, EXPONENT_SIGN, SCIENTIFIC, INVALID, STATES };

static const char words[] =
  "5012,1234,-874,+122,35.54400,.1234500,-110.700,+0.64400,5.500e+3,-.123e-2,-87e+832,+0.6e-12,T0.3e-1F,-T.T++Tq,"
  "1T3.4e4z,34.0e-T^,7,-,+5.e,.e1,12e,6.02e+23,";

static KEEP enum state classify(const char **text, uint32_t seen[STATES])
{
  enum state state = START;
  const char *p = *text;
  for (; *p && *p != ','; p++) {
    char ch = *p;
    int digit = ch >= '0' && ch <= '9';
    enum state next = INVALID;
    switch (state) {
      case START:
        if (digit) next = INTEGER;
        else if (ch == '+' || ch == '-') next = SIGN;
        else if (ch == '.') next = POINT;
        break;
      case SIGN:
        if (digit) next = INTEGER;
        else if (ch == '.') next = POINT;
        break;
      case INTEGER:
        if (digit) next = INTEGER;
        else if (ch == '.') next = FRACTION;
        else if (ch == 'e') next = EXPONENT;
        break;
      case POINT:
        if (digit) next = FRACTION;
        break;
      case FRACTION:
        if (digit) next = FRACTION;
        else if (ch == 'e') next = EXPONENT;
        break;
      case EXPONENT:
        if (digit) next = SCIENTIFIC;
        else if (ch == '+' || ch == '-') next = EXPONENT_SIGN;
        break;
      case EXPONENT_SIGN:
      case SCIENTIFIC:
        if (digit) next = SCIENTIFIC;
        break;
      default:
        break;
    }
    if (next != state) seen[next]++;
    state = next;
  }
  *text = *p ? p + 1 : p;
  return state;
}

static KEEP uint16_t state_work(uint32_t seed, uint16_t crc)
{
  static char text[sizeof words];
  uint32_t ends[STATES] = {0}, seen[STATES] = {0};
  memcpy(text, words, sizeof words);
  for (int pass = 0; pass < 2; pass++) {
    for (const char *p = text; *p;) ends[classify(&p, seen)]++;
    for (uint32_t i = seed % 23; i < sizeof words - 1; i += 23) {
      if (text[i] != ',') text[i] ^= seed >> 5 & 7;  // some are spoilt, and read once more
    }
  }
  for (int i = 0; i < STATES; i++) {
    crc = crc16(ends[i], crc);
    crc = crc16(seen[i], crc);
  }
  return crc;
}

uint32_t work(uint32_t checksum)
{
  uint16_t crc = checksum;
  for (int n = 0; n < 10; n++) {
    uint32_t seed = (checksum + n) | 1;
    crc = list_work(seed, crc);
    crc = matrix_work(seed, crc);
    crc = state_work(seed, crc);
  }
  return checksum * 31 + crc;
}
