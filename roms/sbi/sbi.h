// An SBI firmware for the `virt` machine: RISC-V Supervisor Binary Interface Specification 2.0 ("SBI" below), over the
// machine mode of the RISC-V Privileged Architecture 1.12 ("Priv").

#ifndef SBI_H
#define SBI_H

#include <stddef.h>
#include <stdint.h>

enum { MAX_HARTS = 8 };

// ---- The machine's devices, where QEMU's `virt` has them ----
#define FINISHER 0x100000ul
#define MSIP_REGISTERS 0x2000000ul
#define MTIMECMP 0x2004000ul
#define UART 0x10000000ul

static inline volatile uint32_t *reg32(uint64_t address) { return (volatile uint32_t *)address; }
static inline volatile uint64_t *reg64(uint64_t address) { return (volatile uint64_t *)address; }
static inline volatile uint8_t *reg8(uint64_t address) { return (volatile uint8_t *)address; }

// ---- Control and status registers, by name or number ----
#define csr_name(csr) #csr
#define read_csr(csr) ({ uint64_t v_; __asm__ volatile("csrr %0, " csr_name(csr) : "=r"(v_)); v_; })
#define write_csr(csr, value) ({ __asm__ volatile("csrw " csr_name(csr) ", %0" ::"r"((uint64_t)(value)) : "memory"); })
#define set_csr(csr, bits) ({ __asm__ volatile("csrs " csr_name(csr) ", %0" ::"r"((uint64_t)(bits)) : "memory"); })
#define clear_csr(csr, bits) ({ __asm__ volatile("csrc " csr_name(csr) ", %0" ::"r"((uint64_t)(bits)) : "memory"); })
// By number, for assemblers that do not know the names: Sstc's stimecmp, and menvcfg.
#define STIMECMP 0x14d
#define MENVCFG 0x30a

static inline uint64_t count(uint64_t bits) {
  uint64_t ones = 0;
  for (; bits != 0; bits &= bits - 1) ones++;
  return ones;
}

static inline uint64_t hart_id(void) { return read_csr(mhartid); }

// ---- Interrupts: bits of mip, mie and mideleg (Priv §3.1.9) ----
enum { SSIP = 1 << 1, MSIP = 1 << 3, STIP = 1 << 5, MTIP = 1 << 7, SEIP = 1 << 9 };

// ---- SBI §3.1: error codes ----
enum {
  SBI_SUCCESS = 0,
  SBI_ERR_NOT_SUPPORTED = -2,
  SBI_ERR_INVALID_PARAM = -3,
  SBI_ERR_INVALID_ADDRESS = -5,
  SBI_ERR_ALREADY_AVAILABLE = -6,
  SBI_ERR_ALREADY_STARTED = -7,
};

struct sbiret {
  int64_t error;
  int64_t value;
};

static inline struct sbiret sbi_return(int64_t error) { return (struct sbiret){error, 0}; }

// ---- start.S ----
// What a trap saves: the registers that C may overwrite, in this order.
struct frame {
  uint64_t ra, t[7], a[8];
};
// Leaves machine mode for supervisor mode: at `pc`, with a0 and a1 as given, untranslated and without interrupts.
void enter_supervisor(uint64_t a0, uint64_t a1, uint64_t pc) __attribute__((noreturn));
extern char firmware_start[], firmware_end[];

// ---- main.c: the machine as the device tree describes it ----
struct machine {
  uint64_t harts;        // a bit each
  uint64_t ram_base;     // bytes
  uint64_t ram_size;     // bytes
};
extern struct machine machine;
// Whether supervisor mode may name these bytes: they are RAM, and not ours.
int supervisor_memory(uint64_t address, uint64_t size);
void panic(const char *why) __attribute__((noreturn));

// ---- fdt.c: the flattened device tree, read and amended in place (Devicetree Specification 0.4, §5) ----
// Nodes are named by the offset of their FDT_BEGIN_NODE token; 0 is none.
int fdt_open(void *blob);
uint32_t fdt_root(void);
uint32_t fdt_next(uint32_t node, int *depth);  // in the tree's order; depth 0 is the root's
const char *fdt_name(uint32_t node);
const void *fdt_property(uint32_t node, const char *name, uint32_t *length);
uint32_t fdt_cell(const void *cells, uint32_t index);
uint64_t fdt_cells64(const void *cells, uint32_t index);
int fdt_compatible(uint32_t node, const char *with);
void fdt_add_property(uint32_t node, const char *name, const void *value, uint32_t length);
uint32_t fdt_add_node(uint32_t parent, const char *name);  // becomes the first child

// ---- console.c: the UART, polled ----
void console_init(void);
void console_put(char byte);
int console_get(void);               // -1 if nothing waits
void print(const char *format, ...); // %s, %u, %x; numbers are 64 bits wide

// ---- hart.c: a hart's configuration, its states (SBI §9), and what harts ask of each other (SBI §7, §8) ----
void harts_init(uint64_t boot_hart);
void hart_configure(void);
void hart_park(void) __attribute__((noreturn));
void hart_serve(void);               // the machine software interrupt
void timer_set(uint64_t deadline);   // SBI §6
void timer_due(void);                // the machine timer interrupt
struct sbiret hart_start(uint64_t hart, uint64_t address, uint64_t opaque);
void hart_stop(void) __attribute__((noreturn));
struct sbiret hart_status(uint64_t hart);
struct sbiret hart_suspend(uint32_t type, uint64_t address, uint64_t opaque);
struct sbiret send_ipi(uint64_t mask, uint64_t base);
enum fence_kind { FENCE_I, SFENCE_VMA, SFENCE_VMA_ASID };
struct fence {
  enum fence_kind kind;
  uint64_t start, size, asid;
};
struct sbiret remote_fence(uint64_t mask, uint64_t base, struct fence fence);

// ---- aia.c: interrupt controllers of machine mode are set up for the supervisor, and taken out of its sight ----
void aia_init(void);

// ---- call.c ----
struct sbiret sbi_call(const uint64_t a[8]);

// ---- string.c ----
void *memcpy(void *to, const void *from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);
size_t strlen(const char *text);
int strcmp(const char *a, const char *b);
int starts_with(const char *text, const char *prefix);

#endif
