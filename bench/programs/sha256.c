// SHA-256 (FIPS 180-4, section 6.2) of 64 KiB.

#include "program.h"

PROGRAM("sha256", "2000", "SHA-256 of 64 KiB")

// The first 32 bits of the fractional parts of the cube roots of the first 64 primes (section 4.2.2), and of the square
// roots of the first 8 (section 5.3.3): computed, so that no digit can be mistyped. The remainder is exact integer
// arithmetic: the root of prime * 2^(32 * degree) less its whole part.
static uint32_t k[64], initial[8];

static uint32_t root_fraction(uint32_t prime, int degree)
{
  uint32_t whole = 1;
  while ((degree == 2 ? (whole + 1) * (whole + 1) : (whole + 1) * (whole + 1) * (whole + 1)) <= prime) whole++;
  uint64_t root = (uint64_t)whole << 32;
  for (uint64_t bit = 1ull << 31; bit; bit >>= 1) {
    uint64_t guess = root | bit;
    // guess^degree <= prime * 2^(32 * degree), in limbs of 32 bits, lowest first.
    uint32_t power[6] = {1};
    for (int n = 0; n < degree; n++) {
      uint32_t product[6] = {0};
      for (int i = 0; i < 2; i++) {
        uint64_t carry = 0;
        for (int j = 0; i + j < 6; j++) {
          carry += (uint64_t)(uint32_t)(guess >> 32 * i) * power[j] + product[i + j];
          product[i + j] = carry;
          carry >>= 32;
        }
      }
      memcpy(power, product, sizeof power);
    }
    if (power[degree] < prime) root = guess;
  }
  return root;
}

#define ROTR(x, n) ((x) >> (n) | (x) << (32 - (n)))  // section 3.2

static KEEP void block(uint32_t h[8], const unsigned char *bytes)
{
  uint32_t w[64];
  for (int t = 0; t < 16; t++) {
    const unsigned char *p = bytes + 4 * t;
    w[t] = (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
  }
  for (int t = 16; t < 64; t++) {
    uint32_t s0 = ROTR(w[t - 15], 7) ^ ROTR(w[t - 15], 18) ^ w[t - 15] >> 3;
    uint32_t s1 = ROTR(w[t - 2], 17) ^ ROTR(w[t - 2], 19) ^ w[t - 2] >> 10;
    w[t] = s1 + w[t - 7] + s0 + w[t - 16];
  }
  uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], i = h[7];
  for (int t = 0; t < 64; t++) {
    uint32_t t1 = i + (ROTR(e, 6) ^ ROTR(e, 11) ^ ROTR(e, 25)) + ((e & f) ^ (~e & g)) + k[t] + w[t];
    uint32_t t2 = (ROTR(a, 2) ^ ROTR(a, 13) ^ ROTR(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    i = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
  }
  h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e, h[5] += f, h[6] += g, h[7] += i;
}

// Of whole blocks: the message is a multiple of 64 bytes long, so the padding is one block of its own (section 5.1.1).
static void sha256(uint32_t h[8], const unsigned char *message, uint32_t size)
{
  unsigned char padding[64] = {0x80};
  for (int i = 0; i < 4; i++) padding[63 - i] = size * 8 >> 8 * i;
  memcpy(h, initial, sizeof initial);
  for (uint32_t at = 0; at < size; at += 64) block(h, message + at);
  block(h, padding);
}

enum { SIZE = 64 * 1024 };
static unsigned char message[SIZE];

void prepare(void)
{
  int found = 0;
  for (uint32_t n = 2; found < 64; n++) {
    uint32_t divisor = 2;
    while (n % divisor) divisor++;
    if (divisor != n) continue;
    if (found < 8) initial[found] = root_fraction(n, 2);
    k[found++] = root_fraction(n, 3);
  }
  // The hash of nothing at all is well known.
  uint32_t h[8];
  sha256(h, message, 0);
  if (h[0] != 0xe3b0c442 || h[7] != 0x7852b855) {
    print("sha256: the hash of nothing begins with %x\n", (uint64_t)h[0]);
    fail(FAIL_INTEGRITY);
  }
  for (uint32_t i = 0; i < SIZE; i++) message[i] = i * 7 + (i >> 8);
}

uint32_t work(uint32_t checksum)
{
  uint32_t h[8];
  memcpy(message, &checksum, sizeof checksum);
  sha256(h, message, SIZE);
  return h[0] ^ h[7];
}
