// Reads what a guest must know of its machine from the flattened device tree: memory, harts, the timebase and the
// kernel command line. Format: Devicetree Specification 0.4, chapter 5; all of its numbers are big-endian.
// Everything is copied, so the tree's memory is not needed afterwards.

#include "guest.h"

struct machine machine;

enum { MAGIC = 0xd00dfeed };                                        // section 5.2
enum { BEGIN_NODE = 1, END_NODE = 2, PROP = 3, NOP = 4, END = 9 };  // section 5.4.1
enum { OFF_DT_STRUCT = 2, OFF_DT_STRINGS = 3 };                     // words of the header, section 5.2

static uint32_t be32(const uint32_t *p)
{
  const uint8_t *b = (const uint8_t *)p;
  return (uint32_t)b[0] << 24 | b[1] << 16 | b[2] << 8 | b[3];
}

static uint64_t be64(const uint32_t *p) { return (uint64_t)be32(p) << 32 | be32(p + 1); }

static void bad(const char *why)
{
  print("FDT: %s\n", why);
  fail(FAIL_USAGE);
}

// `node` is the name of the root's child that the property is in.
static void read_property(const char *node, const char *name, const uint32_t *value, uint32_t size)
{
  if (equal(node, "chosen") && equal(name, "bootargs")) {
    if (size > sizeof machine.bootargs) bad("/chosen/bootargs is longer than 1023 characters");
    memcpy(machine.bootargs, value, size);
  } else if (equal(node, "cpus") && equal(name, "timebase-frequency")) {
    machine.timebase = be32(value);
  } else if (starts_with(node, "memory@") && equal(name, "reg") && !machine.memory_size) {
    if (size < 16) bad("/memory reg needs two-cell addresses and sizes");
    machine.memory_base = be64(value);
    machine.memory_size = be64(value + 2);
  }
}

void read_fdt(const void *fdt)
{
  const uint32_t *header = fdt;
  if (be32(header) != MAGIC) bad("no magic number at the address in a1");
  const char *strings = (const char *)fdt + be32(header + OFF_DT_STRINGS);
  const uint32_t *p = header + be32(header + OFF_DT_STRUCT) / 4;

  const char *node = "";  // the root's child we are in
  int depth = 0;          // 1 in the root itself, 2 in one of its children
  for (;;) {
    switch (be32(p++)) {
      case BEGIN_NODE: {
        const char *name = (const char *)p;
        unsigned long length = 0;
        while (name[length]) length++;
        p += length / 4 + 1;  // with its NUL, padded to a word
        depth++;
        if (depth == 2) node = name;
        if (depth == 3 && equal(node, "cpus") && starts_with(name, "cpu@")) machine.harts++;
        break;
      }
      case END_NODE:
        depth--;
        break;
      case PROP: {
        uint32_t size = be32(p);
        if (depth == 2) read_property(node, strings + be32(p + 1), p + 2, size);
        p += 2 + (size + 3) / 4;
        break;
      }
      case NOP:
        break;
      case END:
        if (!machine.memory_size) bad("no /memory reg");
        if (!machine.timebase) bad("no /cpus timebase-frequency");
        return;
      default:
        bad("unknown token in the structure block");
    }
  }
}
