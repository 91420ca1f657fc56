// The 16550A UART without interrupts. National Semiconductor PC16550D data sheet, §8.
#include <stdarg.h>

#include "sbi.h"

enum { RBR = 0, THR = 0, IER = 1, FCR = 2, LCR = 3, LSR = 5 };
enum { LSR_DATA_READY = 0x01, LSR_THR_EMPTY = 0x20 };

void console_init(void) {
  *reg8(UART + IER) = 0;
  *reg8(UART + LCR) = 3;  // 8 bits, no parity
  *reg8(UART + FCR) = 1;  // FIFOs
}

void console_put(char byte) {
  while ((*reg8(UART + LSR) & LSR_THR_EMPTY) == 0) {
  }
  *reg8(UART + THR) = (uint8_t)byte;
}

int console_get(void) { return (*reg8(UART + LSR) & LSR_DATA_READY) == 0 ? -1 : *reg8(UART + RBR); }

static void print_number(uint64_t number, uint64_t base) {
  char digits[20];
  int n = 0;
  do {
    digits[n++] = "0123456789abcdef"[number % base];
    number /= base;
  } while (number > 0);
  while (n > 0) console_put(digits[--n]);
}

static void print_text(const char *text) {
  for (; *text != 0; text++) {
    if (*text == '\n') console_put('\r');
    console_put(*text);
  }
}

void print(const char *format, ...) {
  va_list values;
  va_start(values, format);
  for (; *format != 0; format++) {
    if (*format != '%') {
      if (*format == '\n') console_put('\r');
      console_put(*format);
      continue;
    }
    switch (*++format) {
      case 's':
        print_text(va_arg(values, const char *));
        break;
      case 'u':
        print_number(va_arg(values, uint64_t), 10);
        break;
      case 'x':
        print_text("0x");
        print_number(va_arg(values, uint64_t), 16);
        break;
    }
  }
  va_end(values);
}
