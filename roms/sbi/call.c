// What a supervisor may ask for, by extension and function: a7 and a6 (SBI §3).
#include "sbi.h"

enum {
  EXT_BASE = 0x10,
  EXT_TIME = 0x54494d45,
  EXT_IPI = 0x735049,
  EXT_RFENCE = 0x52464e43,
  EXT_HSM = 0x48534d,
  EXT_SRST = 0x53525354,
  EXT_DBCN = 0x4442434e,
  // SBI §5: legacy extensions have no functions.
  LEGACY_SET_TIMER = 0,
  LEGACY_PUTCHAR = 1,
  LEGACY_GETCHAR = 2,
  LEGACY_SHUTDOWN = 8,
};

enum { SPEC_2_0 = 2 << 24, IMPLEMENTATION = 0x676f6477, IMPLEMENTATION_VERSION = 1 };  // "godw"
enum { POWER_OFF = 0x5555, RESET = 0x7777, FAIL = 0x3333 };                            // of the finisher

static int has_extension(uint64_t extension) {
  switch (extension) {
    case EXT_BASE:
    case EXT_TIME:
    case EXT_IPI:
    case EXT_RFENCE:
    case EXT_HSM:
    case EXT_SRST:
    case EXT_DBCN:
    case LEGACY_SET_TIMER:
    case LEGACY_PUTCHAR:
    case LEGACY_GETCHAR:
    case LEGACY_SHUTDOWN:
      return 1;
  }
  return 0;
}

// SBI §4.
static struct sbiret base(uint64_t function, uint64_t argument) {
  switch (function) {
    case 0:
      return (struct sbiret){SBI_SUCCESS, SPEC_2_0};
    case 1:
      return (struct sbiret){SBI_SUCCESS, IMPLEMENTATION};
    case 2:
      return (struct sbiret){SBI_SUCCESS, IMPLEMENTATION_VERSION};
    case 3:
      return (struct sbiret){SBI_SUCCESS, has_extension(argument)};
    case 4:
      return (struct sbiret){SBI_SUCCESS, (int64_t)read_csr(mvendorid)};
    case 5:
      return (struct sbiret){SBI_SUCCESS, (int64_t)read_csr(marchid)};
    case 6:
      return (struct sbiret){SBI_SUCCESS, (int64_t)read_csr(mimpid)};
  }
  return sbi_return(SBI_ERR_NOT_SUPPORTED);
}

static void __attribute__((noreturn)) finish(uint32_t word) {
  *reg32(FINISHER) = word;
  for (;;) __asm__ volatile("wfi");
}

// SBI §10.
static struct sbiret system_reset(uint32_t type, uint32_t reason) {
  enum { SHUTDOWN = 0, COLD_REBOOT = 1, WARM_REBOOT = 2, NO_REASON = 0, SYSTEM_FAILURE = 1, SPECIFIC = 0xe0000000u };
  if (type > WARM_REBOOT) return sbi_return(type >= 0xf0000000u ? SBI_ERR_NOT_SUPPORTED : SBI_ERR_INVALID_PARAM);
  if (reason > SYSTEM_FAILURE && reason < SPECIFIC) return sbi_return(SBI_ERR_INVALID_PARAM);
  if (type != SHUTDOWN) finish(RESET);
  finish(reason == NO_REASON ? POWER_OFF : FAIL | 1 << 16);
}

// SBI §12.
static struct sbiret debug_console(uint64_t function, const uint64_t a[8]) {
  if (function == 2) {
    console_put((char)a[0]);
    return sbi_return(SBI_SUCCESS);
  }
  if (function > 2) return sbi_return(SBI_ERR_NOT_SUPPORTED);
  uint64_t size = a[0];
  if (a[2] != 0 || !supervisor_memory(a[1], size)) return sbi_return(SBI_ERR_INVALID_PARAM);
  char *bytes = (char *)a[1];
  uint64_t done = 0;
  if (function == 0) {
    for (; done < size; done++) console_put(bytes[done]);
  } else {
    for (int byte; done < size && (byte = console_get()) >= 0; done++) bytes[done] = (char)byte;
  }
  return (struct sbiret){SBI_SUCCESS, (int64_t)done};
}

// SBI §8.
static struct sbiret rfence(uint64_t function, const uint64_t a[8]) {
  // Beyond these are fences for a hypervisor's guests.
  if (function > SFENCE_VMA_ASID) return sbi_return(SBI_ERR_NOT_SUPPORTED);
  struct fence fence = {(enum fence_kind)function, a[2], a[3], a[4]};
  return remote_fence(a[0], a[1], fence);
}

// SBI §9.
static struct sbiret hart_state(uint64_t function, const uint64_t a[8]) {
  switch (function) {
    case 0:
      return hart_start(a[0], a[1], a[2]);
    case 1:
      hart_stop();
    case 2:
      return hart_status(a[0]);
    case 3:
      return hart_suspend((uint32_t)a[0], a[1], a[2]);
  }
  return sbi_return(SBI_ERR_NOT_SUPPORTED);
}

// Legacy calls answer in a0 alone: their caller finds its a1 unchanged (SBI §5).
static struct sbiret legacy(int64_t a0, const uint64_t a[8]) { return (struct sbiret){a0, (int64_t)a[1]}; }

struct sbiret sbi_call(const uint64_t a[8]) {
  uint64_t function = a[6];
  switch (a[7]) {
    case EXT_BASE:
      return base(function, a[0]);
    case EXT_TIME:
      if (function != 0) break;
      timer_set(a[0]);
      return sbi_return(SBI_SUCCESS);
    case EXT_IPI:
      if (function != 0) break;
      return send_ipi(a[0], a[1]);
    case EXT_RFENCE:
      return rfence(function, a);
    case EXT_HSM:
      return hart_state(function, a);
    case EXT_SRST:
      if (function != 0) break;
      return system_reset((uint32_t)a[0], (uint32_t)a[1]);
    case EXT_DBCN:
      return debug_console(function, a);
    case LEGACY_SET_TIMER:
      timer_set(a[0]);
      return legacy(0, a);
    case LEGACY_PUTCHAR:
      console_put((char)a[0]);
      return legacy(0, a);
    case LEGACY_GETCHAR:
      return legacy(console_get(), a);
    case LEGACY_SHUTDOWN:
      finish(POWER_OFF);
  }
  return sbi_return(SBI_ERR_NOT_SUPPORTED);
}
