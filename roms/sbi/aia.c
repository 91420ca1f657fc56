// With the RISC-V Advanced Interrupt Architecture 1.0 ("AIA"), the machine has controllers of machine mode: the root APLIC
// domain and the M-level IMSICs. Here all sources are delegated to the supervisor's domain, MSI addresses are set, and
// the nodes are disabled in the device tree. A PLIC needs nothing of the kind.
#include "sbi.h"

enum { SOURCECFG = 0x0004, MMSIADDRCFG = 0x1bc0 };  // AIA §4.5
enum { SOURCECFG_DELEGATE = 1 << 10 };
enum { MACHINE_EXTERNAL_INTERRUPT = 11 };

static void disable(uint32_t node) { fdt_add_property(node, "status", "disabled", sizeof "disabled"); }

// A node with this "compatible", of machine mode or not; 0 if there is none.
static uint32_t find(const char *compatible, int (*of_machine)(uint32_t), int wanted) {
  int depth = 0;
  for (uint32_t node = fdt_root(); node != 0; node = fdt_next(node, &depth)) {
    if (fdt_compatible(node, compatible) && of_machine(node) == wanted) return node;
  }
  return 0;
}

static int is_root_domain(uint32_t aplic) { return fdt_property(aplic, "riscv,children", 0) != 0; }

static int is_machine_imsic(uint32_t imsic) {
  const void *interrupts = fdt_property(imsic, "interrupts-extended", 0);
  return interrupts != 0 && fdt_cell(interrupts, 1) == MACHINE_EXTERNAL_INTERRUPT;
}

// AIA §4.5.4: where the interrupt files of a level are; the number of bits of a hart's index stands with the M-level's.
static void set_msi_address(uint64_t aplic, int supervisor, uint32_t imsic) {
  if (imsic == 0) return;
  uint64_t page = fdt_cells64(fdt_property(imsic, "reg", 0), 0) >> 12;
  const void *guest_bits = fdt_property(imsic, "riscv,guest-index-bits", 0);
  uint32_t hart_shift = guest_bits == 0 ? 0 : fdt_cell(guest_bits, 0);  // LHXS
  uint32_t hart_bits = 0;                                               // LHXW
  while (machine.harts >> (1 << hart_bits) != 0) hart_bits++;
  *reg32(aplic + MMSIADDRCFG + 8 * supervisor) = (uint32_t)page;
  *reg32(aplic + MMSIADDRCFG + 8 * supervisor + 4) =
      (uint32_t)(page >> 32) | hart_shift << 20 | (supervisor ? 0 : hart_bits << 12);
}

void aia_init(void) {
  uint32_t aplic = find("riscv,aplic", is_root_domain, 1);
  uint32_t imsic = find("riscv,imsics", is_machine_imsic, 1);
  if (aplic != 0) {
    uint64_t base = fdt_cells64(fdt_property(aplic, "reg", 0), 0);
    const void *sources = fdt_property(aplic, "riscv,num-sources", 0);
    for (uint32_t i = 0; sources != 0 && i < fdt_cell(sources, 0); i++) {
      *reg32(base + SOURCECFG + 4 * i) = SOURCECFG_DELEGATE;  // to child 0
    }
    set_msi_address(base, 0, imsic);
    set_msi_address(base, 1, find("riscv,imsics", is_machine_imsic, 0));
    disable(aplic);
  }
  // Found anew: the tree has changed.
  imsic = find("riscv,imsics", is_machine_imsic, 1);
  if (imsic != 0) disable(imsic);
}
