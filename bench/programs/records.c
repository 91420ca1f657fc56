// What programs of the 1980s were found to do, in the manner of Dhrystone: assignments of records, comparisons and
// copies of strings, enumerations, and calls of small procedures with a few parameters.

#include "program.h"

PROGRAM("records", "2000", "records, strings and calls, in the manner of Dhrystone")

enum colour { RED, GREEN, BLUE, WHITE, BLACK };
typedef char text[31];

struct record {
  struct record *next;
  enum colour colour;
  int amount;
  text name;
};

static struct record first, second;
static int total, flag;
static char letter;
static int row[50], table[50][50];

static KEEP void copy_text(char *to, const char *from)
{
  while ((*to++ = *from++)) {}
}

static KEEP int compare_texts(const char *a, const char *b)
{
  while (*a && *a == *b) a++, b++;
  return (unsigned char)*a - (unsigned char)*b;
}

static KEEP int same_letter(char a, char b)
{
  char copy = a;
  if (copy != b) return 0;
  letter = copy;
  return 1;
}

// Whether `a` comes after `b`, judged by the third letter of one and the fourth of the other first.
static KEEP int comes_after(const char *a, const char *b)
{
  int at = 2;
  char found = 0;
  while (at <= 2) {
    if (same_letter(a[at], b[at + 1])) found = 'A';
    at++;
  }
  if (found >= 'W' && found < 'Z') at = 7;
  if (found == 'R') return 1;
  if (compare_texts(a, b) <= 0) return 0;
  total += at + 7;
  return 1;
}

static KEEP enum colour mix(enum colour colour)
{
  switch (colour) {
    case RED: return RED;
    case GREEN: return total > 100 ? RED : BLACK;
    case BLUE: return GREEN;
    case WHITE: return colour;
    default: return BLUE;
  }
}

static KEEP void add(int a, int b, int *sum) { *sum = a + 2 + b; }

static KEEP void choose(struct record **to)
{
  if (first.next) *to = first.next;
  add(10, total, &first.amount);
}

static KEEP void fill(int array[50], int square[50][50], int at, int value)
{
  int place = at + 5;
  array[place] = value;
  array[place + 1] = array[place];
  array[place + 30] = place;
  for (int i = place; i <= place + 1; i++) square[place][i] = place;
  square[place][place - 1]++;
  square[place + 20][place] = array[place];
  total = 5;
}

static KEEP void change(struct record *record)
{
  struct record *next = record->next;
  *record->next = first;
  record->amount = 5;
  next->amount = record->amount;
  next->next = record->next;
  choose(&next->next);
  if (next->colour == RED) {
    next->amount = 6;
    next->colour = mix(record->colour);
    next->next = first.next;
    add(next->amount, 10, &next->amount);
  } else {
    *record = *record->next;
  }
}

static KEEP void set_letters(void)
{
  flag = flag || letter == 'A';
  letter = 'B';
}

void prepare(void)
{
  first.next = &second;
  first.colour = BLUE;
  first.amount = 40;
  copy_text(first.name, "A RECORD OF THIRTY CHARACTERS,");
}

uint32_t work(uint32_t checksum)
{
  text one, two;
  int amount = 0, factor, quotient = 0;
  copy_text(one, "A TEXT THAT BEGINS LIKE NO. 2.");
  for (int n = 1; n <= 2000; n++) {
    letter = 'A';
    set_letters();
    factor = 2, quotient = 3;
    copy_text(two, "A TEXT THAT BEGINS LIKE NO. 1.");
    enum colour colour = GREEN;
    flag = !comes_after(one, two);
    while (factor < quotient) {
      amount = 5 * factor - quotient;
      add(factor, quotient, &amount);
      factor++;
    }
    fill(row, table, factor, amount);
    first.colour = BLUE;
    change(&first);
    for (char c = 'A'; c <= letter; c++) {
      if (same_letter(c, 'C')) colour = mix(RED);
      else total += c;
    }
    quotient = quotient * factor;
    factor = quotient / (amount | 1);
    quotient = 7 * (quotient - amount) - factor;
    checksum = checksum * 31 + amount + quotient + factor + total + second.amount + colour + second.name[2] + flag;
  }
  return checksum * 31 + table[8][7] + row[8];
}
