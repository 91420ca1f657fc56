// A guest's settings: `key=value` words on the kernel command line, checked against the guest's declaration.
// What is unknown or malformed is printed with what would be right, and the machine stops with FAIL_USAGE.

#include "guest.h"

extern const char guest_name[];
extern struct setting guest_settings[];

static struct setting *find(const char *name)
{
  struct setting *s = guest_settings;
  while (s->name && !equal(s->name, name)) s++;
  return s->name ? s : 0;
}

void refuse(const char *name, const char *why)
{
  print("%s: %s=%s: %s\n", guest_name, name, setting_text(name), why);
  fail(FAIL_USAGE);
}

// Decimal digits and perhaps one suffix K, M or G (powers of 1024). Returns whether `text` is all of that.
static int parse_number(const char *text, uint64_t *value)
{
  uint64_t n = 0;
  const char *p = text;
  for (; *p >= '0' && *p <= '9'; p++) {
    if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, (uint64_t)(*p - '0'), &n)) return 0;
  }
  if (p == text) return 0;
  char suffix = *p & ~0x20;
  uint64_t unit = suffix == 'K' ? KiB : suffix == 'M' ? MiB : suffix == 'G' ? 1024 * MiB : 1;
  if (unit > 1) p++;
  *value = n * unit;
  return !*p && n <= UINT64_MAX / unit;
}

// The position of `text` among `values`, which are separated by '|'; -1 if it is none of them.
static int parse_choice(const char *text, const char *values)
{
  for (int position = 0;; position++) {
    unsigned long length = 0;
    while (text[length] && text[length] == values[length]) length++;
    if (!text[length] && (!values[length] || values[length] == '|')) return position;
    while (*values && *values != '|') values++;
    if (!*values++) return -1;
  }
}

static void parse(struct setting *s)
{
  if (s->values) {
    int position = parse_choice(s->text, s->values);
    if (position < 0) {
      print("%s: %s=%s: not one of %s\n", guest_name, s->name, s->text, s->values);
      fail(FAIL_USAGE);
    }
    s->number = position;
    return;
  }
  if (!parse_number(s->text, &s->number)) refuse(s->name, "not a number (digits, then perhaps K, M or G)");
  if (s->number < s->minimum || s->number > s->maximum) {
    print("%s: %s=%s: not between %u and %u\n", guest_name, s->name, s->text, s->minimum, s->maximum);
    fail(FAIL_USAGE);
  }
}

static void unknown(const char *key)
{
  print("%s: unknown setting \"%s\"; there is", guest_name, key);
  for (struct setting *s = guest_settings; s->name; s++) print(" %s=%s", s->name, s->text);
  print("\n");
  fail(FAIL_USAGE);
}

void read_settings(char *p)
{
  for (;;) {
    while (*p == ' ') *p++ = 0;
    if (!*p) break;
    char *key = p;
    char *value = 0;
    for (; *p && *p != ' '; p++) {
      if (*p == '=' && !value) {
        *p = 0;
        value = p + 1;
      }
    }
    if (*p) *p++ = 0;
    struct setting *s = find(key);
    if (!s) unknown(key);
    if (!value) {
      print("%s: setting \"%s\" has no value; write %s=%s\n", guest_name, key, key, s->text);
      fail(FAIL_USAGE);
    }
    s->text = value;
    s->given = 1;
  }
  for (struct setting *s = guest_settings; s->name; s++) parse(s);
}

uint64_t number(const char *name) { return find(name)->number; }
int given(const char *name) { return find(name)->given; }
const char *setting_text(const char *name) { return find(name)->text; }
