// The flattened device tree: Devicetree Specification 0.4, §5. It grows in place: what lies behind it up to the end of
// its 2 MiB of RAM is free.
#include "sbi.h"

enum { MAGIC = 0, TOTAL_SIZE, OFF_STRUCT, OFF_STRINGS, OFF_RESERVATIONS, SIZE_STRINGS = 8, SIZE_STRUCT = 9 };
enum { BEGIN_NODE = 1, END_NODE = 2, PROP = 3, NOP = 4 };
enum { PROP_HEADER = 12 };

static uint8_t *fdt;

static uint32_t get(uint32_t at) {
  return (uint32_t)fdt[at] << 24 | (uint32_t)fdt[at + 1] << 16 | (uint32_t)fdt[at + 2] << 8 | fdt[at + 3];
}

static void put(uint32_t at, uint32_t value) {
  for (int i = 0; i < 4; i++) fdt[at + i] = (uint8_t)(value >> (24 - 8 * i));
}

static uint32_t header(int word) { return get(4 * word); }
static uint32_t aligned(uint32_t size) { return (size + 3) & ~3u; }

int fdt_open(void *blob) {
  fdt = blob;
  return blob != 0 && header(MAGIC) == 0xd00dfeed;
}

uint32_t fdt_root(void) { return header(OFF_STRUCT); }
const char *fdt_name(uint32_t node) { return (const char *)&fdt[node + 4]; }

// The token behind a node's beginning.
static uint32_t inside(uint32_t node) { return node + 4 + aligned(strlen(fdt_name(node)) + 1); }

// The token behind this one, which is no node's beginning.
static uint32_t skip(uint32_t at) { return get(at) == PROP ? at + PROP_HEADER + aligned(get(at + 4)) : at + 4; }

uint32_t fdt_next(uint32_t node, int *depth) {
  for (uint32_t at = inside(node);; at = skip(at)) {
    switch (get(at)) {
      case BEGIN_NODE:
        ++*depth;
        return at;
      case END_NODE:
        if (--*depth < -1) return 0;
        break;
      case PROP:
      case NOP:
        break;
      default:
        return 0;
    }
  }
}

const void *fdt_property(uint32_t node, const char *name, uint32_t *length) {
  for (uint32_t at = inside(node); get(at) == PROP || get(at) == NOP; at = skip(at)) {
    if (get(at) == NOP || strcmp((const char *)&fdt[header(OFF_STRINGS) + get(at + 8)], name) != 0) continue;
    if (length != 0) *length = get(at + 4);
    return &fdt[at + PROP_HEADER];
  }
  return 0;
}

uint32_t fdt_cell(const void *cells, uint32_t index) { return get((uint32_t)((const uint8_t *)cells - fdt) + 4 * index); }

uint64_t fdt_cells64(const void *cells, uint32_t index) {
  return (uint64_t)fdt_cell(cells, index) << 32 | fdt_cell(cells, index + 1);
}

int fdt_compatible(uint32_t node, const char *with) {
  uint32_t length;
  const char *list = fdt_property(node, "compatible", &length);
  if (list == 0) return 0;
  for (const char *end = list + length; list < end; list += strlen(list) + 1) {
    if (strcmp(list, with) == 0) return 1;
  }
  return 0;
}

// Makes room for `size` bytes at `at`, which lies in or behind the block whose size stands in the header's word `block`.
static void open_gap(uint32_t at, uint32_t size, int block) {
  memmove(&fdt[at + size], &fdt[at], header(TOTAL_SIZE) - at);
  memset(&fdt[at], 0, size);
  static const uint8_t offsets[] = {OFF_STRUCT, OFF_STRINGS, OFF_RESERVATIONS};
  for (unsigned i = 0; i < sizeof offsets; i++) {
    int word = offsets[i];
    // A block that begins where another one grows at its end moves on.
    int grows = (word == OFF_STRUCT && block == SIZE_STRUCT) || (word == OFF_STRINGS && block == SIZE_STRINGS);
    if (header(word) > at || (header(word) == at && !grows)) put(4 * word, header(word) + size);
  }
  put(4 * block, header(block) + size);
  put(4 * TOTAL_SIZE, header(TOTAL_SIZE) + size);
}

// The offset of a name in the strings block, where it may have to be added. Other blocks stay aligned.
static uint32_t string(const char *name) {
  uint32_t size = header(SIZE_STRINGS);
  const char *strings = (const char *)&fdt[header(OFF_STRINGS)];
  for (uint32_t at = 0; at < size; at += strlen(&strings[at]) + 1) {
    if (strcmp(&strings[at], name) == 0) return at;
  }
  open_gap(header(OFF_STRINGS) + size, (strlen(name) + 8) & ~7ul, SIZE_STRINGS);
  memcpy(&fdt[header(OFF_STRINGS) + size], name, strlen(name));
  return size;
}

void fdt_add_property(uint32_t node, const char *name, const void *value, uint32_t length) {
  // Before the node's place is used: a strings block in front of the structure would move it.
  uint32_t from_root = node - fdt_root();
  uint32_t at_string = string(name);
  uint32_t at = inside(fdt_root() + from_root);
  open_gap(at, PROP_HEADER + aligned(length), SIZE_STRUCT);
  put(at, PROP);
  put(at + 4, length);
  put(at + 8, at_string);
  if (length > 0) memcpy(&fdt[at + PROP_HEADER], value, length);
}

uint32_t fdt_add_node(uint32_t parent, const char *name) {
  uint32_t at = inside(parent);
  while (get(at) == PROP || get(at) == NOP) at = skip(at);
  uint32_t name_size = aligned(strlen(name) + 1);
  open_gap(at, 4 + name_size + 4, SIZE_STRUCT);
  put(at, BEGIN_NODE);
  memcpy(&fdt[at + 4], name, strlen(name));
  put(at + 4 + name_size, END_NODE);
  return at;
}
