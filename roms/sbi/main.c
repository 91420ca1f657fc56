// From reset to the next stage, and the traps that reach machine mode.
#include "sbi.h"

// OpenSBI's fw_dynamic information (docs/firmware/fw_dynamic.md): what the boot ROM says of the next stage.
struct fw_dynamic_info {
  uint64_t magic, version, next_address, next_mode, options, boot_hart;
};
enum { FW_DYNAMIC_MAGIC = 0x4942534f, SUPERVISOR = 1, OPTION_SILENT = 1 };

// Where the next stage is if nobody says so.
enum { DEFAULT_NEXT = 0x80200000u };

struct machine machine;

int supervisor_memory(uint64_t address, uint64_t size) {
  uint64_t from = address - machine.ram_base;
  if (from > machine.ram_size || size > machine.ram_size - from) return 0;
  return address >= (uint64_t)firmware_end || address + size <= (uint64_t)firmware_start;
}

void panic(const char *why) {
  print("\nSBI firmware, hart %u: %s\n", hart_id(), why);
  for (;;) __asm__ volatile("wfi");
}

static void read_device_tree(void) {
  int depth = 0;
  for (uint32_t node = fdt_root(); node != 0; node = fdt_next(node, &depth)) {
    const char *type = fdt_property(node, "device_type", 0);
    const void *reg = fdt_property(node, "reg", 0);
    if (type == 0 || reg == 0) continue;
    if (strcmp(type, "cpu") == 0) {
      uint64_t hart = fdt_cell(reg, 0);
      const char *status = fdt_property(node, "status", 0);
      if (hart < MAX_HARTS && (status == 0 || strcmp(status, "okay") == 0)) machine.harts |= 1ul << hart;
    } else if (strcmp(type, "memory") == 0 && machine.ram_size == 0) {
      machine.ram_base = fdt_cells64(reg, 0);
      machine.ram_size = fdt_cells64(reg, 2);
    }
  }
}

// A number as two cells.
static void put_cells64(uint8_t *cells, uint64_t value) {
  for (int i = 0; i < 8; i++) cells[i] = (uint8_t)(value >> (56 - 8 * i));
}

// Devicetree Specification §3.5: the supervisor neither uses nor maps the firmware's memory.
static void reserve_firmware(void) {
  static const uint8_t two[4] = {0, 0, 0, 2};
  uint32_t parent = 0;
  int depth = 0;
  for (uint32_t node = fdt_root(); node != 0; node = fdt_next(node, &depth)) {
    if (strcmp(fdt_name(node), "reserved-memory") == 0) parent = node;
  }
  if (parent == 0) {
    parent = fdt_add_node(fdt_root(), "reserved-memory");
    // Each one's place is the first: from the last to the first.
    fdt_add_property(parent, "ranges", 0, 0);
    fdt_add_property(parent, "#size-cells", two, sizeof two);
    fdt_add_property(parent, "#address-cells", two, sizeof two);
  }
  uint8_t reg[16];
  put_cells64(reg, (uint64_t)firmware_start);
  put_cells64(reg + 8, (uint64_t)(firmware_end - firmware_start));
  uint32_t node = fdt_add_node(parent, "mmode_resv0@80000000");
  fdt_add_property(node, "no-map", 0, 0);
  fdt_add_property(node, "reg", reg, sizeof reg);
}

// The boot hart's way from start.S.
void boot(uint64_t hart, void *fdt, const struct fw_dynamic_info *info) {
  console_init();
  if (!fdt_open(fdt)) panic("there is no device tree");
  read_device_tree();
  int informed = info != 0 && info->magic == FW_DYNAMIC_MAGIC;
  uint64_t next = informed ? info->next_address : DEFAULT_NEXT;
  if (!informed || (info->options & OPTION_SILENT) == 0) {
    print("\ngodwit SBI 2.0: %u harts, %u MiB", count(machine.harts), machine.ram_size >> 20);
    if (next != 0) print(", next stage at %x", next);
    print("\n\n");
  }
  if (informed && info->next_mode != SUPERVISOR) panic("the next stage is not for supervisor mode");
  aia_init();
  reserve_firmware();
  harts_init(hart);
  if (next == 0) panic("there is nothing to start (-kernel)");
  if (!supervisor_memory(next, 2)) panic("the next stage is not in RAM");
  enter_supervisor(hart, (uint64_t)fdt, next);
}

// A trap that is none of ours is taken again, in supervisor mode (Priv §4.1.1, §4.1.7 to §4.1.9).
static void redirect(void) {
  uint64_t mstatus = read_csr(mstatus);
  enum { SIE = 1 << 1, SPIE = 1 << 5, SPP = 1 << 8, MPP = 3 << 11 };
  uint64_t from_supervisor = mstatus & 1 << 11 ? SPP : 0;
  uint64_t previous = mstatus & SIE ? SPIE : 0;
  write_csr(sepc, read_csr(mepc));
  write_csr(scause, read_csr(mcause));
  write_csr(stval, read_csr(mtval));
  write_csr(mepc, read_csr(stvec) & ~3ul);
  write_csr(mstatus, (mstatus & ~(uint64_t)(SIE | SPIE | SPP | MPP)) | previous | from_supervisor | 1 << 11);
}

// From start.S: a trap from below machine mode.
void trap(struct frame *frame) {
  enum { INTERRUPT_SOFTWARE = 3, INTERRUPT_TIMER = 7, CALL = 9 };
  uint64_t cause = read_csr(mcause);
  if (cause == (1ul << 63 | INTERRUPT_SOFTWARE)) {
    hart_serve();
  } else if (cause == (1ul << 63 | INTERRUPT_TIMER)) {
    timer_due();
  } else if (cause == CALL) {
    write_csr(mepc, read_csr(mepc) + 4);
    struct sbiret answer = sbi_call(frame->a);
    frame->a[0] = (uint64_t)answer.error;
    frame->a[1] = (uint64_t)answer.value;
  } else {
    redirect();
  }
}

void trap_in_machine_mode(void) {
  print("\nmcause %x mepc %x mtval %x", read_csr(mcause), read_csr(mepc), read_csr(mtval));
  panic("a trap in the firmware");
}
