// A small host on an e1000 network adapter: answers ARP requests and pings for its address, and sends UDP datagrams to
// port 7 back. Polls, or sleeps until the adapter interrupts through the PLIC. PCI Local Bus 3.0, section 6 (over ECAM);
// Intel's 8254x manual, sections 13 (registers) and 3 (rings); RFC 826 (ARP), 791 (IP), 792 (ICMP), 862 (echo).

#include "guest.h"

GUEST("net", "128M", "Answers ARP, pings and UDP echoes on an e1000",
  NUMBER("host", "15", 1, 254, "its IP address is 10.0.2.HOST"),
  NUMBER("report", "1000", 1, 3600000, "milliseconds from one progress line to the next"),
  NUMBER("limit", "0", 0, UINT64_MAX, "answers after which it powers off (0: it never does)"),
  CHOICE("wait", "irq", "poll|irq", "for frames: look at the ring, or sleep until the PLIC says so"))

enum { POLL, IRQ };  // the values of `wait`

// ---- PCI: configuration space of bus 0, and where its memory window begins ----
enum { SLOTS = 32 };
#define CONFIG(slot) ((volatile uint32_t *)(0x30000000ull + 0x8000 * (uint64_t)(slot)))
enum { ID = 0x00 / 4, COMMAND = 0x04 / 4, BAR0 = 0x10 / 4 };  // as words
enum { E1000 = 0x100e8086, MEMORY_AND_MASTER = 6 };
#define WINDOW 0x40000000ull
#define INTX 32  // the interrupt of slot 0; there are four

// ---- The adapter ----
enum {  // registers, as words
  CTRL = 0x0000 / 4, STATUS = 0x0008 / 4, ICR = 0x00c0 / 4, IMS = 0x00d0 / 4, RCTL = 0x0100 / 4, TCTL = 0x0400 / 4,
  RDBAL = 0x2800 / 4, RDBAH = 0x2804 / 4, RDLEN = 0x2808 / 4, RDH = 0x2810 / 4, RDT = 0x2818 / 4,
  TDBAL = 0x3800 / 4, TDBAH = 0x3804 / 4, TDLEN = 0x3808 / 4, TDH = 0x3810 / 4, TDT = 0x3818 / 4,
  RAL0 = 0x5400 / 4, RAH0 = 0x5404 / 4
};
enum { CTRL_RESET = 1 << 26, CTRL_SET_LINK_UP = 1 << 6, STATUS_LINK_UP = 1 << 1 };
enum { RCTL_ENABLE = 1 << 1, RCTL_BROADCAST = 1 << 15, RCTL_STRIP_CRC = 1 << 26 };
enum { TCTL_ENABLE = 1 << 1, TCTL_PAD = 1 << 3 };
enum { CAUSE_LINK = 1 << 2, CAUSE_MINIMUM = 1 << 4, CAUSE_OVERRUN = 1 << 6, CAUSE_TIMER = 1 << 7 };
enum { DONE = 1, COMMAND_WHOLE = 0x09 };  // end of packet, report status

enum { RING = 64, BUFFER = 2048 };
struct receive { uint64_t address; uint16_t length, checksum; volatile uint8_t status; uint8_t errors; uint16_t special; };
struct transmit { uint64_t address; uint16_t length; uint8_t cso, command; volatile uint8_t status; uint8_t css; uint16_t special; };
static struct receive receives[RING] __attribute__((aligned(128)));
static struct transmit transmits[RING] __attribute__((aligned(128)));
static uint8_t receive_buffers[RING][BUFFER];
static uint8_t transmit_buffers[RING][BUFFER];

// ---- The PLIC's context 0: machine mode of hart 0 (RISC-V PLIC specification 1.0) ----
#define PLIC_PRIORITY(source) (*(volatile uint32_t *)(0x0c000000ull + 4 * (source)))
#define PLIC_ENABLE(source) (*(volatile uint32_t *)(0x0c002000ull + 4 * ((source) / 32)))
#define PLIC_THRESHOLD (*(volatile uint32_t *)0x0c200000ull)
#define PLIC_CLAIM (*(volatile uint32_t *)0x0c200004ull)
#define MIE_MEIE (1ul << 11)

#define fence() __asm__ volatile("fence" : : : "memory")

// ---- Frames ----
enum { ETHERNET = 14, ARP_BYTES = 28, IP_HEADER = 20, SHORTEST = 60 };
enum { TYPE_IP = 0x0800, TYPE_ARP = 0x0806, PROTOCOL_ICMP = 1, PROTOCOL_UDP = 17, ECHO_PORT = 7 };

static volatile uint32_t *adapter;
static uint8_t mac[6];
static uint8_t ip[4] = {10, 0, 2, 0};
static uint64_t source;            // its interrupt
static unsigned next_receive, next_transmit;
static uint64_t frames, answers;
static uint32_t link;              // STATUS_LINK_UP or 0, as it was last printed

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static void put16(uint8_t *p, unsigned value) { p[0] = (uint8_t)(value >> 8); p[1] = (uint8_t)value; }

static int same(const uint8_t *a, const uint8_t *b, int bytes)
{
  for (int i = 0; i < bytes; i++) if (a[i] != b[i]) return 0;
  return 1;
}

// RFC 1071.
static uint16_t checksum(const uint8_t *p, unsigned bytes)
{
  uint64_t sum = 0;
  for (unsigned i = 0; i < bytes; i++) sum += i & 1 ? p[i] : (uint64_t)p[i] << 8;
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)~sum;
}

static uint8_t *buffer(void)
{
  while (!(transmits[next_transmit].status & DONE)) fence();
  return transmit_buffers[next_transmit];
}

// Sends what has been written to buffer().
static void send(unsigned length)
{
  struct transmit *t = &transmits[next_transmit];
  t->address = (uint64_t)transmit_buffers[next_transmit];
  t->length = (uint16_t)length;
  t->command = COMMAND_WHOLE;
  t->status = 0;
  next_transmit = (next_transmit + 1) % RING;
  fence();
  adapter[TDT] = next_transmit;
}

static void arp(unsigned operation, const uint8_t *to, const uint8_t *to_ip)
{
  uint8_t *f = buffer();
  memcpy(f, to, 6);
  memcpy(f + 6, mac, 6);
  put16(f + 12, TYPE_ARP);
  uint8_t *a = f + ETHERNET;
  put16(a, 1);           // Ethernet
  put16(a + 2, TYPE_IP);
  a[4] = 6;
  a[5] = 4;
  put16(a + 6, operation);
  memcpy(a + 8, mac, 6);
  memcpy(a + 14, ip, 4);
  memcpy(a + 18, to, 6);
  memcpy(a + 24, to_ip, 4);
  memset(f + ETHERNET + ARP_BYTES, 0, SHORTEST - ETHERNET - ARP_BYTES);
  send(SHORTEST);
}

// The frame back to where it came from, with both pairs of addresses exchanged, which no checksum minds.
static uint8_t *turned(const uint8_t *f, unsigned length)
{
  uint8_t *t = buffer();
  memcpy(t, f, length);
  memcpy(t, f + 6, 6);
  memcpy(t + 6, mac, 6);
  memcpy(t + ETHERNET + 12, f + ETHERNET + 16, 4);
  memcpy(t + ETHERNET + 16, f + ETHERNET + 12, 4);
  return t;
}

static void answer_ip(const uint8_t *f, unsigned length)
{
  const uint8_t *h = f + ETHERNET;
  unsigned total = get16(h + 2);
  // Options and fragments are for larger hosts.
  if (h[0] != 0x45 || total < IP_HEADER + 8 || ETHERNET + total > length || (get16(h + 6) & 0x3fff)) return;
  if (!same(h + 16, ip, 4) || checksum(h, IP_HEADER)) return;
  const uint8_t *body = h + IP_HEADER;
  unsigned bytes = total - IP_HEADER;
  if (h[9] == PROTOCOL_ICMP && body[0] == 8 && !checksum(body, bytes)) {
    uint8_t *t = turned(f, ETHERNET + total) + ETHERNET + IP_HEADER;
    t[0] = 0;  // echo reply
    put16(t + 2, 0);
    put16(t + 2, checksum(t, bytes));
  } else if (h[9] == PROTOCOL_UDP && get16(body + 2) == ECHO_PORT) {
    uint8_t *t = turned(f, ETHERNET + total) + ETHERNET + IP_HEADER;
    memcpy(t, body + 2, 2);
    memcpy(t + 2, body, 2);
  } else {
    return;
  }
  send(ETHERNET + total);
  answers++;
}

static void answer(const uint8_t *f, unsigned length)
{
  frames++;
  if (length < ETHERNET + ARP_BYTES) return;
  const uint8_t *a = f + ETHERNET;
  if (get16(f + 12) == TYPE_ARP && get16(a + 6) == 1 && same(a + 24, ip, 4)) {
    arp(2, a + 8, a + 14);
    answers++;
  } else if (get16(f + 12) == TYPE_IP && length >= ETHERNET + IP_HEADER && same(f, mac, 6)) {
    answer_ip(f, length);
  }
}

static void receive_all(void)
{
  for (;;) {
    struct receive *r = &receives[next_receive];
    if (!(r->status & DONE)) return;
    fence();
    answer(receive_buffers[next_receive], r->length);
    r->status = 0;
    fence();
    adapter[RDT] = next_receive;  // it is the adapter's again
    next_receive = (next_receive + 1) % RING;
  }
}

static void look_at_link(void)
{
  uint32_t now = adapter[STATUS] & STATUS_LINK_UP;
  if (now == link) return;
  link = now;
  print("net link %s\n", link ? "up" : "down");
  // Whoever is at the other end now is to know where we are.
  static const uint8_t everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
  if (link) arp(1, everybody, ip);
}

static void find_adapter(void)
{
  for (uint64_t slot = 0; slot < SLOTS; slot++) {
    volatile uint32_t *config = CONFIG(slot);
    if (config[ID] != E1000) continue;
    config[BAR0] = (uint32_t)WINDOW;
    config[COMMAND] = MEMORY_AND_MASTER;
    adapter = (volatile uint32_t *)WINDOW;
    source = INTX + slot % 4;
    return;
  }
  print("net: there is no e1000: add -device e1000,netdev=ID\n");
  fail(FAIL_USAGE);
}

static void start_adapter(void)
{
  adapter[CTRL] = adapter[CTRL] | CTRL_RESET;
  while (adapter[CTRL] & CTRL_RESET) fence();
  adapter[CTRL] = adapter[CTRL] | CTRL_SET_LINK_UP;
  for (int i = 0; i < 6; i++) mac[i] = (uint8_t)(adapter[i < 4 ? RAL0 : RAH0] >> 8 * (i % 4));
  for (int i = 0; i < RING; i++) {
    receives[i].address = (uint64_t)receive_buffers[i];
    transmits[i].status = DONE;
  }
  fence();
  adapter[RDBAL] = (uint32_t)(uint64_t)receives;
  adapter[RDBAH] = (uint32_t)((uint64_t)receives >> 32);
  adapter[RDLEN] = sizeof receives;
  adapter[RDH] = 0;
  adapter[RDT] = RING - 1;
  adapter[TDBAL] = (uint32_t)(uint64_t)transmits;
  adapter[TDBAH] = (uint32_t)((uint64_t)transmits >> 32);
  adapter[TDLEN] = sizeof transmits;
  adapter[TDH] = 0;
  adapter[TDT] = 0;
  adapter[TCTL] = TCTL_ENABLE | TCTL_PAD;
  adapter[RCTL] = RCTL_ENABLE | RCTL_BROADCAST | RCTL_STRIP_CRC;
}

static const char *mac_text(void)
{
  static char text[3 * sizeof mac];
  for (unsigned i = 0; i < sizeof mac; i++) {
    text[3 * i] = "0123456789abcdef"[mac[i] >> 4];
    text[3 * i + 1] = "0123456789abcdef"[mac[i] & 15];
    text[3 * i + 2] = i + 1 < sizeof mac ? ':' : 0;
  }
  return text;
}

void guest(void)
{
  uint64_t waiting = number("wait");
  uint64_t interval = number("report") * machine.timebase / 1000;
  uint64_t limit = number("limit");
  ip[3] = (uint8_t)number("host");
  find_adapter();
  start_adapter();
  print("net 10.0.2.%u %s\n", (uint64_t)ip[3], mac_text());
  if (waiting == IRQ) {
    adapter[IMS] = CAUSE_LINK | CAUSE_MINIMUM | CAUSE_OVERRUN | CAUSE_TIMER;
    PLIC_PRIORITY(source) = 1;
    PLIC_ENABLE(source) = PLIC_ENABLE(source) | 1u << source % 32;
    PLIC_THRESHOLD = 0;
    csr_set(mie, MIE_MEIE);
  }
  // mstatus.MIE stays 0: what is pending and enabled ends a wfi, and is looked at here.
  csr_set(mie, MIE_MTIE);
  look_at_link();
  uint64_t start = MTIME, due = start + interval, line = 0;
  while (!limit || answers < limit) {
    if (waiting == IRQ) {
      MTIMECMP = due;
      wfi();
      uint32_t claimed = PLIC_CLAIM;
      (void)adapter[ICR];  // reading acknowledges
      receive_all();
      if (claimed) PLIC_CLAIM = claimed;
    } else {
      receive_all();
    }
    look_at_link();
    if (MTIME >= due) {
      print("net %u %T s frames %u answers %u\n", ++line, MTIME - start, frames, answers);
      due += interval;
    }
  }
}
