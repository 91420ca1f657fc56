// What the runtime in this folder offers to a guest: the machine as its FDT describes it, settings, console,
// time and the two ways to stop. A guest is one C file with a GUEST() declaration and a guest() function.

#ifndef GUEST_H
#define GUEST_H

#include <stdint.h>

#define KiB 1024ull
#define MiB (1024 * KiB)
#define PAGE 4096ull

// ---- The declaration of a guest and its settings ----
// GUEST(name, memory, summary, settings...): `memory` is what `godwit run NAME` gives it, the settings are
// NUMBER(name, default, minimum, maximum, help) and CHOICE(name, default, values, help).
// `build` reads the same declarations, with GUESTS_JSON defined, to derive guests.json.

#ifdef GUESTS_JSON

#define GUEST(name_, memory_, summary_, ...) \
  GUESTS_JSON {"name": name_, "image": GUEST_IMAGE, "summary": summary_, "memory": memory_, \
               "settings": [__VA_ARGS__]}
#define NUMBER(name_, default_, minimum_, maximum_, help_) \
  {"name": name_, "default": default_, "help": help_}
#define CHOICE(name_, default_, values_, help_) \
  {"name": name_, "default": default_, "values": values_, "help": help_}

#else

struct setting {
  const char *name;
  const char *text;    // the default, then what the command line says
  uint64_t minimum;
  uint64_t maximum;
  const char *values;  // a CHOICE: its values, separated by '|'; a NUMBER: null
  uint64_t number;     // the parsed value; for a CHOICE the position among its values
  int given;           // whether the command line names it
};

#define GUEST(name_, memory_, summary_, ...) \
  const char guest_name[] = name_; \
  struct setting guest_settings[] = {__VA_ARGS__, {0}};
#define NUMBER(name_, default_, minimum_, maximum_, help_) {name_, default_, minimum_, maximum_, 0, 0, 0}
#define CHOICE(name_, default_, values_, help_) {name_, default_, 0, 0, values_, 0, 0}

#endif

void guest(void);  // the guest itself; the machine powers off when it returns

// ---- settings.c: `key=value` words of the kernel command line ----
void read_settings(char *bootargs);
uint64_t number(const char *name);           // a NUMBER's value, or a CHOICE's position
int given(const char *name);                 // whether the command line names it
const char *setting_text(const char *name);  // the value as written
// A setting that reads well but cannot be had here: prints `NAME: key=text: why` and fails with FAIL_USAGE.
void refuse(const char *name, const char *why) __attribute__((noreturn));

// ---- fdt.c: what the machine's flattened device tree says ----
struct machine {
  uint64_t memory_base;   // bytes
  uint64_t memory_size;   // bytes
  uint64_t harts;
  uint64_t timebase;      // ticks of mtime per second
  char bootargs[1024];
};
extern struct machine machine;
void read_fdt(const void *fdt);

// ---- range.c: the memory that `ab` and `dirty` write, chosen by the setting `size` ----
struct range {
  uint64_t start;  // RAM base + 4 MiB
  uint64_t end;    // exclusive; the page at `end` is RAM too and is never written by a guest
};
struct range guest_range(void);

// ---- console.c: the UART ----
#define UART ((volatile uint8_t *)0x10000000)
void console_init(void);
// %s string, %u decimal, %x 0x-hexadecimal, %T ticks as seconds with three decimals, %% percent sign.
// Numbers are 64 bits wide: cast narrower ones.
void print(const char *format, ...);

// ---- stop.c: the test finisher, and traps ----
// The finisher is SiFive's test device as QEMU's `virt` has it: the low half is the command, the high half the
// code, which becomes the emulator's exit status.
#define FINISHER (*(volatile uint32_t *)0x100000)
enum { FINISHER_PASS = 0x5555, FINISHER_FAIL = 0x3333 };
enum { FAIL_USAGE = 1, FAIL_INTEGRITY = 2, FAIL_TRAP = 3 };  // the emulator's exit status
void power_off(void) __attribute__((noreturn));
void fail(uint64_t code) __attribute__((noreturn));
extern void (*on_timer)(void);  // handler of the machine timer interrupt, if the guest takes it

// ---- string.c ----
void *memset(void *to, int byte, unsigned long size);
void *memcpy(void *to, const void *from, unsigned long size);
int equal(const char *a, const char *b);
int starts_with(const char *text, const char *prefix);

// ---- Time: ACLINT MTIMER (RISC-V ACLINT specification 1.0, section 2) ----
// Both registers belong to hart 0. mtime stands still while the machine is stopped.
#define MTIMECMP (*(volatile uint64_t *)0x02004000)
#define MTIME (*(volatile uint64_t *)0x0200bff8)

// ---- CSR fields (RISC-V Privileged Architecture 1.12, sections 3.1.6 and 3.1.9) ----
#define MSTATUS_MIE (1ul << 3)
#define MIE_MTIE (1ul << 7)
#define csr_set(csr, bits) __asm__ volatile("csrs " #csr ", %0" : : "rK"(bits) : "memory")
#define csr_clear(csr, bits) __asm__ volatile("csrc " #csr ", %0" : : "rK"(bits) : "memory")
#define wfi() __asm__ volatile("wfi" : : : "memory")

#endif
