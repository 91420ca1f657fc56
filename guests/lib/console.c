// The console: a polled 16550A UART, and a small formatted print on it.
// Registers as in the PC16550D data sheet, section 8; one byte apart, as on QEMU's `virt`.

#include <stdarg.h>
#include "guest.h"

enum { THR = 0, IER = 1, FCR = 2, LCR = 3, LSR = 5 };
enum { LCR_8N1 = 0x03, FCR_ENABLE_AND_CLEAR = 0x07, LSR_THRE = 0x20 };

#ifdef __i386__  // bench/v86: the same UART is a PC's COM1, at I/O port 0x3f8
#define uart_write(reg, value) __asm__ volatile("outb %0, %1" : : "a"((uint8_t)(value)), "d"((uint16_t)(0x3f8 + reg)))
static uint8_t uart_read(int reg)
{
  uint8_t value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "d"((uint16_t)(0x3f8 + reg)));
  return value;
}
#else
#define uart_write(reg, value) (UART[reg] = (value))
#define uart_read(reg) (UART[reg])
#endif

void console_init(void)
{
  uart_write(IER, 0);  // polled
  uart_write(LCR, LCR_8N1);
  uart_write(FCR, FCR_ENABLE_AND_CLEAR);
}

static void put(char c)
{
  while (!(uart_read(LSR) & LSR_THRE)) {}
  uart_write(THR, c);
}

static void put_string(const char *s)
{
  while (*s) put(*s++);
}

static void put_number(uint64_t n, unsigned base, int width)
{
  char digits[20];
  int count = 0;
  do {
    digits[count++] = "0123456789abcdef"[n % base];
    n /= base;
  } while (n || count < width);
  while (count) put(digits[--count]);
}

static void put_seconds(uint64_t ticks)
{
  put_number(ticks / machine.timebase, 10, 1);
  put('.');
  put_number(ticks % machine.timebase * 1000 / machine.timebase, 10, 3);
}

void print(const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  for (; *format; format++) {
    if (*format != '%') {
      put(*format);
      continue;
    }
    switch (*++format) {
      case 's': put_string(va_arg(arguments, const char *)); break;
      case 'u': put_number(va_arg(arguments, uint64_t), 10, 1); break;
      case 'x': put_string("0x"); put_number(va_arg(arguments, uint64_t), 16, 1); break;
      case 'T': put_seconds(va_arg(arguments, uint64_t)); break;
      default: put(*format);
    }
  }
  va_end(arguments);
}
