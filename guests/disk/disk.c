// Writes a virtio-blk disk over MMIO, block after block and pass after pass, and reads every block back before it is
// written again, so that the guest itself notices a sector that was lost, torn or stale. Polls, or sleeps until the
// disk interrupts through the PLIC. Virtual I/O Device 1.2: section 4.2 (MMIO), 2.7 (split virtqueues), 5.2 (disks).

#include "guest.h"

GUEST("disk", "128M", "Writes a virtio disk and reads every block back before it is written again",
  NUMBER("size", "16M", 512, UINT64_MAX, "bytes of the disk to use, from its start; the default shrinks to fit"),
  NUMBER("block", "64K", 512, 1 * MiB, "bytes of a request"),
  NUMBER("depth", "4", 1, 16, "requests under way at a time"),
  NUMBER("passes", "0", 0, UINT64_MAX, "passes after which it powers off (0: it never does)"),
  NUMBER("report", "100", 1, 3600000, "milliseconds from one progress line to the next"),
  CHOICE("wait", "irq", "poll|irq", "for a request to be done: look at the ring, or sleep until the PLIC says so"),
  CHOICE("indirect", "off", "off|on", "descriptors in a table of each request's own"))

enum { POLL, IRQ };  // the values of `wait`

// ---- The transport: section 4.2.2, and 4.2.4 for version 1 ----
enum { TRANSPORTS = 8 };
#define TRANSPORT(i) ((volatile uint32_t *)(0x10001000ull + 0x1000 * (uint64_t)(i)))
enum {  // registers, as words
  MAGIC = 0x00 / 4, VERSION = 0x04 / 4, DEVICE_ID = 0x08 / 4, DEVICE_FEATURES = 0x10 / 4,
  DEVICE_FEATURES_SEL = 0x14 / 4, DRIVER_FEATURES = 0x20 / 4, DRIVER_FEATURES_SEL = 0x24 / 4,
  GUEST_PAGE_SIZE = 0x28 / 4, QUEUE_SEL = 0x30 / 4, QUEUE_NUM_MAX = 0x34 / 4, QUEUE_NUM = 0x38 / 4,
  QUEUE_ALIGN = 0x3c / 4, QUEUE_PFN = 0x40 / 4, QUEUE_READY = 0x44 / 4, QUEUE_NOTIFY = 0x50 / 4,
  INTERRUPT_STATUS = 0x60 / 4, INTERRUPT_ACK = 0x64 / 4, STATUS = 0x70 / 4, QUEUE_DESC = 0x80 / 4,
  QUEUE_DRIVER = 0x90 / 4, QUEUE_DEVICE = 0xa0 / 4, CONFIG = 0x100 / 4
};
enum { MAGIC_VALUE = 0x74726976, BLOCK_DEVICE = 2 };
enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8, FAILED = 128 };       // section 2.1
enum { F_FLUSH = 9, F_INDIRECT_DESC = 28, F_VERSION_1 = 32 };                              // sections 5.2.3 and 6

// ---- A queue: section 2.7 ----
enum { ENTRIES = 64, NEXT = 1, WRITE = 2, INDIRECT = 4 };
struct descriptor { uint64_t address; uint32_t length; uint16_t flags, next; };
struct available { uint16_t flags; volatile uint16_t index; uint16_t ring[ENTRIES]; };
struct used { uint16_t flags; volatile uint16_t index; struct { uint32_t id, length; } ring[ENTRIES]; };
static struct {  // in one piece and with an aligned used ring, which is what the legacy interface wants
  struct descriptor descriptors[ENTRIES];
  struct available available;
  struct used used __attribute__((aligned(PAGE)));
} queue __attribute__((aligned(PAGE)));

// ---- Requests: section 5.2.6 ----
enum { IN = 0, OUT = 1, FLUSH = 4, NOT_DONE = 255 };
enum { DEPTH = 16, PARTS = 3 };  // header, data, status
static struct request {
  uint32_t type, reserved;
  uint64_t sector;
  volatile uint8_t status;
  struct descriptor table[PARTS] __attribute__((aligned(16)));
} requests[DEPTH];

// ---- The PLIC's context 0: machine mode of hart 0 (RISC-V PLIC specification 1.0) ----
#define PLIC_PRIORITY(source) (*(volatile uint32_t *)(0x0c000000ull + 4 * (source)))
#define PLIC_ENABLE (*(volatile uint32_t *)0x0c002000ull)
#define PLIC_THRESHOLD (*(volatile uint32_t *)0x0c200000ull)
#define PLIC_CLAIM (*(volatile uint32_t *)0x0c200004ull)
#define MIE_MEIE (1ul << 11)

static volatile uint32_t *disk;
static uint64_t source;         // its interrupt
static uint64_t buffers;        // DEPTH blocks, one a request
static uint64_t block;          // bytes
static uint64_t waiting;        // POLL or IRQ
static int indirect;
static int can_flush;
static uint16_t seen;           // entries of the used ring

#define fence() __asm__ volatile("fence" : : : "memory")

static void give_up(const char *why)
{
  print("disk: %s\n", why);
  fail(FAIL_USAGE);
}

static uint64_t offered(void)
{
  disk[DEVICE_FEATURES_SEL] = 1;
  uint64_t high = disk[DEVICE_FEATURES];
  disk[DEVICE_FEATURES_SEL] = 0;
  return high << 32 | disk[DEVICE_FEATURES];
}

static void set_address(int at, const volatile void *address)
{
  disk[at] = (uint32_t)(uint64_t)address;
  disk[at + 1] = (uint32_t)((uint64_t)address >> 32);
}

// Section 3.1.1; returns the capacity in bytes.
static uint64_t start_disk(void)
{
  unsigned i = 0;
  while (i < TRANSPORTS && (TRANSPORT(i)[MAGIC] != MAGIC_VALUE || TRANSPORT(i)[DEVICE_ID] != BLOCK_DEVICE)) i++;
  if (i == TRANSPORTS) give_up("no virtio-blk at any virtio-mmio transport (-drive and -device virtio-blk-device)");
  disk = TRANSPORT(i);
  source = 1 + i;
  int legacy = disk[VERSION] == 1;
  disk[STATUS] = 0;
  disk[STATUS] = ACKNOWLEDGE;
  disk[STATUS] = ACKNOWLEDGE | DRIVER;
  uint64_t features = offered();
  if (indirect && !(features >> F_INDIRECT_DESC & 1)) give_up("the disk offers no indirect descriptors");
  can_flush = features >> F_FLUSH & 1;
  uint64_t taken = features & (1ull << F_FLUSH | 1ull << F_VERSION_1 | (uint64_t)indirect << F_INDIRECT_DESC);
  disk[DRIVER_FEATURES_SEL] = 1;
  disk[DRIVER_FEATURES] = (uint32_t)(taken >> 32);
  disk[DRIVER_FEATURES_SEL] = 0;
  disk[DRIVER_FEATURES] = (uint32_t)taken;
  if (!legacy) {
    disk[STATUS] = ACKNOWLEDGE | DRIVER | FEATURES_OK;
    if (!(disk[STATUS] & FEATURES_OK)) give_up("the disk does not take its own features");
  }
  disk[QUEUE_SEL] = 0;
  if (disk[QUEUE_NUM_MAX] < ENTRIES) give_up("the queue is too small");
  disk[QUEUE_NUM] = ENTRIES;
  if (legacy) {
    disk[GUEST_PAGE_SIZE] = PAGE;
    disk[QUEUE_ALIGN] = PAGE;
    disk[QUEUE_PFN] = (uint32_t)((uint64_t)&queue / PAGE);
  } else {
    set_address(QUEUE_DESC, &queue.descriptors);
    set_address(QUEUE_DRIVER, &queue.available);
    set_address(QUEUE_DEVICE, &queue.used);
    disk[QUEUE_READY] = 1;
  }
  disk[STATUS] = ACKNOWLEDGE | DRIVER | (legacy ? 0 : FEATURES_OK) | DRIVER_OK;
  uint64_t sectors = (uint64_t)disk[CONFIG + 1] << 32 | disk[CONFIG];
  print("disk virtio-mmio %u version %u: %u sectors\n", (uint64_t)i, (uint64_t)disk[VERSION], sectors);
  return sectors * 512;
}

static void submit(unsigned slot, unsigned type, uint64_t sector)
{
  struct request *r = &requests[slot];
  r->type = type;
  r->sector = sector;
  r->status = NOT_DONE;
  unsigned first = slot * PARTS;
  struct descriptor *parts = indirect ? r->table : &queue.descriptors[first];
  unsigned base = indirect ? 0 : first;  // of the links
  unsigned n = 0;
  parts[n++] = (struct descriptor){(uint64_t)r, 16, NEXT, 0};
  if (type != FLUSH) {
    parts[n++] = (struct descriptor){buffers + slot * block, (uint32_t)block, NEXT | (type == IN ? WRITE : 0), 0};
  }
  parts[n++] = (struct descriptor){(uint64_t)&r->status, 1, WRITE, 0};
  for (unsigned i = 0; i + 1 < n; i++) parts[i].next = (uint16_t)(base + i + 1);
  if (indirect) {
    queue.descriptors[first] = (struct descriptor){(uint64_t)parts, n * sizeof *parts, INDIRECT, 0};
  }
  queue.available.ring[queue.available.index % ENTRIES] = (uint16_t)first;
  fence();
  queue.available.index++;
}

// Notifies the disk of `count` requests, and returns when all of them are done.
static void complete(unsigned count)
{
  uint16_t last = (uint16_t)(seen + count);
  fence();
  disk[QUEUE_NOTIFY] = 0;
  while (queue.used.index != last) {
    if (waiting == POLL) continue;
    wfi();  // mie.MEIE wakes it; mstatus.MIE is clear, so no interrupt is taken
    uint32_t claimed = PLIC_CLAIM;
    if (!claimed) continue;
    disk[INTERRUPT_ACK] = disk[INTERRUPT_STATUS];
    PLIC_CLAIM = claimed;
  }
  fence();
  for (; seen != last; seen++) {
    struct request *r = &requests[queue.used.ring[seen % ENTRIES].id / PARTS];
    if (r->status == 0) continue;
    print("disk ERROR status %u request %u sector %u\n", (uint64_t)r->status, (uint64_t)r->type, r->sector);
    fail(FAIL_INTEGRITY);
  }
}

// What the word at byte `offset` of the disk holds after `pass`: splitmix64's output function (Steele, Lea and Flood,
// "Fast splittable pseudorandom number generators", 2014) of both.
static inline uint64_t value(uint64_t offset, uint64_t pass)
{
  uint64_t x = offset + pass * 0x9e3779b97f4a7c15;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  return x ^ x >> 31;
}

static void check(unsigned slot, uint64_t offset, uint64_t pass)
{
  const uint64_t *words = (const uint64_t *)(buffers + slot * block);
  for (uint64_t i = 0; i < block / 8; i++) {
    uint64_t expected = value(offset + 8 * i, pass);
    if (words[i] == expected) continue;
    print("disk ERROR offset %x expected %x got %x\n", offset + 8 * i, expected, words[i]);
    fail(FAIL_INTEGRITY);
  }
}

static void fill(unsigned slot, uint64_t offset, uint64_t pass)
{
  uint64_t *words = (uint64_t *)(buffers + slot * block);
  for (uint64_t i = 0; i < block / 8; i++) words[i] = value(offset + 8 * i, pass);
}

static uint64_t min(uint64_t a, uint64_t b) { return a < b ? a : b; }

void guest(void)
{
  uint64_t depth = number("depth");
  uint64_t passes = number("passes");
  uint64_t report = number("report") * machine.timebase / 1000;
  block = number("block");
  waiting = number("wait");
  indirect = (int)number("indirect");
  if (block % 512) refuse("block", "not a multiple of 512 bytes");
  uint64_t capacity = start_disk();
  uint64_t size = number("size");
  if (!given("size")) size = min(size, capacity / block * block);
  if (size > capacity) refuse("size", "more than the disk has");
  if (!size || size % block) refuse("size", "not a multiple of the block size");
  buffers = machine.memory_base + 4 * MiB;
  if (buffers + DEPTH * block > machine.memory_base + machine.memory_size - 4 * MiB) {
    refuse("block", "RAM has no room for 16 of them");
  }
  if (waiting == IRQ) {
    PLIC_PRIORITY(source) = 1;
    PLIC_ENABLE = 1u << source;
    PLIC_THRESHOLD = 0;
    csr_set(mie, MIE_MEIE);
  }
  uint64_t start = MTIME, next_report = start + report;
  uint64_t reports = 0, blocks = 0;
  for (uint64_t pass = 0; !passes || pass < passes; pass++) {
    for (uint64_t offset = 0; offset < size; offset += depth * block) {
      unsigned count = (unsigned)min(depth, (size - offset) / block);
      if (pass) {
        for (unsigned i = 0; i < count; i++) submit(i, IN, (offset + i * block) / 512);
        complete(count);
        for (unsigned i = 0; i < count; i++) check(i, offset + i * block, pass - 1);
      }
      for (unsigned i = 0; i < count; i++) {
        fill(i, offset + i * block, pass);
        submit(i, OUT, (offset + i * block) / 512);
      }
      complete(count);
      blocks += count;
      uint64_t now = MTIME;
      if (now < next_report) continue;
      print("disk %u %T s blocks %u passes %u\n", ++reports, now - start, blocks, pass);
      next_report = now + report;
    }
    if (!can_flush) continue;
    submit(0, FLUSH, 0);
    complete(1);
  }
  print("disk done %T s passes %u size %u\n", MTIME - start, passes, size);
}
