// An interpreter: a machine of sixteen registers whose instructions a switch takes apart, which the compiler makes an
// indirect jump through a table. What it runs: the longest Collatz sequence, numbers with two divisors, and a sum over
// an array that it fills with a linear congruence.

#include "program.h"

PROGRAM("bytecode", "100", "an interpreter's loop: indirect jumps through a table")

enum op {
  SET, MOVE, ADD, SUB, MUL, REM, AND, XOR, SHR, ADDI, LOAD, STORE, JUMP, JEQ, JNE, JLT, CALL, RETURN, HALT
};

struct instruction {
  uint8_t op, a, b, c;
  int32_t value;
};

enum { MEMORY = 1024, DEPTH = 16 };
static uint32_t memory[MEMORY];

static KEEP uint32_t execute(const struct instruction *code, uint32_t argument)
{
  uint32_t r[16] = {argument};
  const struct instruction *pc = code, *stack[DEPTH];
  unsigned depth = 0;
  for (;;) {
    const struct instruction *i = pc++;
    switch ((enum op)i->op) {
      case SET: r[i->a] = i->value; break;
      case MOVE: r[i->a] = r[i->b]; break;
      case ADD: r[i->a] = r[i->b] + r[i->c]; break;
      case SUB: r[i->a] = r[i->b] - r[i->c]; break;
      case MUL: r[i->a] = r[i->b] * r[i->c]; break;
      case REM: r[i->a] = r[i->b] % r[i->c]; break;
      case AND: r[i->a] = r[i->b] & r[i->c]; break;
      case XOR: r[i->a] = r[i->b] ^ r[i->c]; break;
      case SHR: r[i->a] = r[i->b] >> (i->value & 31); break;
      case ADDI: r[i->a] = r[i->b] + i->value; break;
      case LOAD: r[i->a] = memory[(r[i->b] + i->value) % MEMORY]; break;
      case STORE: memory[(r[i->b] + i->value) % MEMORY] = r[i->a]; break;
      case JUMP: pc += i->value; break;
      case JEQ: if (r[i->a] == r[i->b]) pc += i->value; break;
      case JNE: if (r[i->a] != r[i->b]) pc += i->value; break;
      case JLT: if (r[i->a] < r[i->b]) pc += i->value; break;
      case CALL: stack[depth++ % DEPTH] = pc; pc += i->value; break;
      case RETURN: pc = stack[--depth % DEPTH]; break;
      case HALT: return r[0];
    }
  }
}

// r0 result, r15 always 0, r14 always 1; jumps are relative to the next instruction.
static const struct instruction program[] = {
  /*  0 */ {SET, 15, 0, 0, 0}, {SET, 14, 0, 0, 1}, {SET, 13, 0, 0, 3},
  // for (r1 = 1; r1 < 300; r1++) if (collatz(r1) > r4) r4 = its length
  /*  3 */ {SET, 1, 0, 0, 1}, {SET, 2, 0, 0, 300}, {SET, 4, 0, 0, 0},
  /*  6 */ {CALL, 0, 0, 0, 23},           // to 30: r3 = length of r1's sequence
  /*  7 */ {JLT, 3, 4, 0, 1}, {MOVE, 4, 3, 0, 0},
  /*  9 */ {ADDI, 1, 1, 0, 1}, {JLT, 1, 2, 0, -5},
  /* 11 */ {ADD, 0, 0, 4, 0},
  // for (r1 = 2; r1 < 200; r1++) { for (r5 = 2; r1 % r5; r5++); if (r5 == r1) r0 ^= r1 * 31 + (r0 >> 3) }
  /* 12 */ {SET, 1, 0, 0, 2}, {SET, 2, 0, 0, 200}, {SET, 7, 0, 0, 31},
  /* 15 */ {SET, 5, 0, 0, 1},
  /* 16 */ {ADDI, 5, 5, 0, 1}, {REM, 6, 1, 5, 0}, {JNE, 6, 15, 0, -3},
  /* 19 */ {JNE, 5, 1, 0, 4},
  /* 20 */ {MUL, 6, 1, 7, 0}, {SHR, 8, 0, 0, 3}, {ADD, 6, 6, 8, 0}, {XOR, 0, 0, 6, 0},
  /* 24 */ {ADDI, 1, 1, 0, 1}, {JLT, 1, 2, 0, -11},
  /* 26 */ {CALL, 0, 0, 0, 15},           // to 42: the array
  /* 27 */ {ADD, 0, 0, 9, 0},
  /* 28 */ {HALT, 0, 0, 0, 0}, {HALT, 0, 0, 0, 0},
  // collatz(r1): r3 = steps until 1
  /* 30 */ {MOVE, 5, 1, 0, 0}, {SET, 3, 0, 0, 0},
  /* 32 */ {JEQ, 5, 14, 0, 8},            // to 41
  /* 33 */ {ADDI, 3, 3, 0, 1}, {AND, 6, 5, 14, 0}, {JEQ, 6, 15, 0, 3},
  /* 36 */ {MUL, 5, 5, 13, 0}, {ADDI, 5, 5, 0, 1}, {JUMP, 0, 0, 0, -7},
  /* 39 */ {SHR, 5, 5, 0, 1}, {JUMP, 0, 0, 0, -9},
  /* 41 */ {RETURN, 0, 0, 0, 0},
  // r9 = sum of 1024 words, each filled by x = x * 1103515245 + 12345
  /* 42 */ {MOVE, 5, 0, 0, 0}, {SET, 6, 0, 0, 1103515245}, {SET, 1, 0, 0, 0}, {SET, 2, 0, 0, 1024},
  /* 46 */ {MUL, 5, 5, 6, 0}, {ADDI, 5, 5, 0, 12345}, {STORE, 5, 1, 0, 0}, {ADDI, 1, 1, 0, 1}, {JLT, 1, 2, 0, -5},
  /* 51 */ {SET, 1, 0, 0, 0}, {SET, 9, 0, 0, 0},
  /* 53 */ {LOAD, 5, 1, 0, 3}, {ADD, 9, 9, 5, 0}, {ADDI, 1, 1, 0, 1}, {JLT, 1, 2, 0, -4},
  /* 57 */ {RETURN, 0, 0, 0, 0},
};

uint32_t work(uint32_t checksum)
{
  for (int n = 0; n < 8; n++) checksum = execute(program, checksum);
  return checksum;
}
