/**
 * The WebAssembly instructions that godwit emits, each named once with its binary opcode and its type.
 * WebAssembly core specification 2.0, §5.4 (binary instructions) and §3.3 (their types).
 */

export type ValueType = 'i32' | 'i64' | 'f32' | 'f64' | 'v128';

/** Binary encoding of a value type (§5.3.1). */
export const VALUE_TYPE_CODE: Readonly<Record<ValueType, number>> = {
  i32: 0x7f,
  i64: 0x7e,
  f32: 0x7d,
  f64: 0x7c,
  v128: 0x7b,
};

/**
 * Pure instructions: name → [opcode, result, ...operands]. An opcode above 0xff is a prefix byte and a LEB128 number:
 * 0xfd00 + n is the vector instruction n, 0xfc00 + n the numeric one.
 */
export const PURE = {
  'i32.eqz': [0x45, 'i32', 'i32'],
  'i32.eq': [0x46, 'i32', 'i32', 'i32'],
  'i32.ne': [0x47, 'i32', 'i32', 'i32'],
  'i32.lt_s': [0x48, 'i32', 'i32', 'i32'],
  'i32.lt_u': [0x49, 'i32', 'i32', 'i32'],
  'i32.gt_s': [0x4a, 'i32', 'i32', 'i32'],
  'i32.gt_u': [0x4b, 'i32', 'i32', 'i32'],
  'i32.le_s': [0x4c, 'i32', 'i32', 'i32'],
  'i32.le_u': [0x4d, 'i32', 'i32', 'i32'],
  'i32.ge_s': [0x4e, 'i32', 'i32', 'i32'],
  'i32.ge_u': [0x4f, 'i32', 'i32', 'i32'],
  'i64.eqz': [0x50, 'i32', 'i64'],
  'i64.eq': [0x51, 'i32', 'i64', 'i64'],
  'i64.ne': [0x52, 'i32', 'i64', 'i64'],
  'i64.lt_s': [0x53, 'i32', 'i64', 'i64'],
  'i64.lt_u': [0x54, 'i32', 'i64', 'i64'],
  'i64.gt_s': [0x55, 'i32', 'i64', 'i64'],
  'i64.gt_u': [0x56, 'i32', 'i64', 'i64'],
  'i64.le_s': [0x57, 'i32', 'i64', 'i64'],
  'i64.le_u': [0x58, 'i32', 'i64', 'i64'],
  'i64.ge_s': [0x59, 'i32', 'i64', 'i64'],
  'i64.ge_u': [0x5a, 'i32', 'i64', 'i64'],
  'i32.clz': [0x67, 'i32', 'i32'],
  'i32.ctz': [0x68, 'i32', 'i32'],
  'i32.popcnt': [0x69, 'i32', 'i32'],
  'i32.add': [0x6a, 'i32', 'i32', 'i32'],
  'i32.sub': [0x6b, 'i32', 'i32', 'i32'],
  'i32.mul': [0x6c, 'i32', 'i32', 'i32'],
  'i32.div_s': [0x6d, 'i32', 'i32', 'i32'],
  'i32.div_u': [0x6e, 'i32', 'i32', 'i32'],
  'i32.rem_s': [0x6f, 'i32', 'i32', 'i32'],
  'i32.rem_u': [0x70, 'i32', 'i32', 'i32'],
  'i32.and': [0x71, 'i32', 'i32', 'i32'],
  'i32.or': [0x72, 'i32', 'i32', 'i32'],
  'i32.xor': [0x73, 'i32', 'i32', 'i32'],
  'i32.shl': [0x74, 'i32', 'i32', 'i32'],
  'i32.shr_s': [0x75, 'i32', 'i32', 'i32'],
  'i32.shr_u': [0x76, 'i32', 'i32', 'i32'],
  'i32.rotl': [0x77, 'i32', 'i32', 'i32'],
  'i32.rotr': [0x78, 'i32', 'i32', 'i32'],
  'i64.clz': [0x79, 'i64', 'i64'],
  'i64.ctz': [0x7a, 'i64', 'i64'],
  'i64.popcnt': [0x7b, 'i64', 'i64'],
  'i64.add': [0x7c, 'i64', 'i64', 'i64'],
  'i64.sub': [0x7d, 'i64', 'i64', 'i64'],
  'i64.mul': [0x7e, 'i64', 'i64', 'i64'],
  'i64.div_s': [0x7f, 'i64', 'i64', 'i64'],
  'i64.div_u': [0x80, 'i64', 'i64', 'i64'],
  'i64.rem_s': [0x81, 'i64', 'i64', 'i64'],
  'i64.rem_u': [0x82, 'i64', 'i64', 'i64'],
  'i64.and': [0x83, 'i64', 'i64', 'i64'],
  'i64.or': [0x84, 'i64', 'i64', 'i64'],
  'i64.xor': [0x85, 'i64', 'i64', 'i64'],
  'i64.shl': [0x86, 'i64', 'i64', 'i64'],
  'i64.shr_s': [0x87, 'i64', 'i64', 'i64'],
  'i64.shr_u': [0x88, 'i64', 'i64', 'i64'],
  'i64.rotl': [0x89, 'i64', 'i64', 'i64'],
  'i64.rotr': [0x8a, 'i64', 'i64', 'i64'],
  'i32.wrap_i64': [0xa7, 'i32', 'i64'],
  'i64.extend_i32_s': [0xac, 'i64', 'i32'],
  'i64.extend_i32_u': [0xad, 'i64', 'i32'],
  'i32.extend8_s': [0xc0, 'i32', 'i32'],
  'i32.extend16_s': [0xc1, 'i32', 'i32'],
  'i64.extend8_s': [0xc2, 'i64', 'i64'],
  'i64.extend16_s': [0xc3, 'i64', 'i64'],
  'i64.extend32_s': [0xc4, 'i64', 'i64'],
  'f32.eq': [0x5b, 'i32', 'f32', 'f32'],
  'f32.lt': [0x5d, 'i32', 'f32', 'f32'],
  'f32.le': [0x5f, 'i32', 'f32', 'f32'],
  'f64.eq': [0x61, 'i32', 'f64', 'f64'],
  'f64.lt': [0x63, 'i32', 'f64', 'f64'],
  'f64.le': [0x65, 'i32', 'f64', 'f64'],
  'f32.min': [0x96, 'f32', 'f32', 'f32'],
  'f32.max': [0x97, 'f32', 'f32', 'f32'],
  'f32.sqrt': [0x91, 'f32', 'f32'],
  'f32.add': [0x92, 'f32', 'f32', 'f32'],
  'f32.sub': [0x93, 'f32', 'f32', 'f32'],
  'f32.mul': [0x94, 'f32', 'f32', 'f32'],
  'f32.div': [0x95, 'f32', 'f32', 'f32'],
  'f64.min': [0xa4, 'f64', 'f64', 'f64'],
  'f64.max': [0xa5, 'f64', 'f64', 'f64'],
  'f64.sqrt': [0x9f, 'f64', 'f64'],
  'f64.add': [0xa0, 'f64', 'f64', 'f64'],
  'f64.sub': [0xa1, 'f64', 'f64', 'f64'],
  'f64.mul': [0xa2, 'f64', 'f64', 'f64'],
  'f64.div': [0xa3, 'f64', 'f64', 'f64'],
  'i32.trunc_sat_f64_s': [0xfc02, 'i32', 'f64'],
  'i32.trunc_sat_f64_u': [0xfc03, 'i32', 'f64'],
  'i64.trunc_sat_f64_s': [0xfc06, 'i64', 'f64'],
  'i64.trunc_sat_f64_u': [0xfc07, 'i64', 'f64'],
  'f64.convert_i32_s': [0xb7, 'f64', 'i32'],
  'f64.convert_i32_u': [0xb8, 'f64', 'i32'],
  'f64.convert_i64_s': [0xb9, 'f64', 'i64'],
  'f64.convert_i64_u': [0xba, 'f64', 'i64'],
  'f32.demote_f64': [0xb6, 'f32', 'f64'],
  'f64.promote_f32': [0xbb, 'f64', 'f32'],
  'i32.reinterpret_f32': [0xbc, 'i32', 'f32'],
  'i64.reinterpret_f64': [0xbd, 'i64', 'f64'],
  'f32.reinterpret_i32': [0xbe, 'f32', 'i32'],
  'f64.reinterpret_i64': [0xbf, 'f64', 'i64'],
  'i8x16.eq': [0xfd23, 'v128', 'v128', 'v128'],
  'i8x16.ne': [0xfd24, 'v128', 'v128', 'v128'],
  'i8x16.bitmask': [0xfd64, 'i32', 'v128'],
  'v128.or': [0xfd50, 'v128', 'v128', 'v128'],
  'v128.xor': [0xfd51, 'v128', 'v128', 'v128'],
  'v128.any_true': [0xfd53, 'i32', 'v128'],
} as const satisfies Readonly<Record<string, readonly [number, ValueType, ...ValueType[]]>>;

/** Loads: name → [opcode, result, bytes read]. */
export const LOADS = {
  'i32.load': [0x28, 'i32', 4],
  'i64.load': [0x29, 'i64', 8],
  'i32.load8_s': [0x2c, 'i32', 1],
  'i32.load8_u': [0x2d, 'i32', 1],
  'i32.load16_s': [0x2e, 'i32', 2],
  'i32.load16_u': [0x2f, 'i32', 2],
  'i64.load8_s': [0x30, 'i64', 1],
  'i64.load8_u': [0x31, 'i64', 1],
  'i64.load16_s': [0x32, 'i64', 2],
  'i64.load16_u': [0x33, 'i64', 2],
  'i64.load32_s': [0x34, 'i64', 4],
  'i64.load32_u': [0x35, 'i64', 4],
  'v128.load': [0xfd00, 'v128', 16],
} as const satisfies Readonly<Record<string, readonly [number, ValueType, number]>>;

/** Stores: name → [opcode, operand, bytes written]. */
export const STORES = {
  'i32.store': [0x36, 'i32', 4],
  'i64.store': [0x37, 'i64', 8],
  'i32.store8': [0x3a, 'i32', 1],
  'i32.store16': [0x3b, 'i32', 2],
  'i64.store8': [0x3c, 'i64', 1],
  'i64.store16': [0x3d, 'i64', 2],
  'i64.store32': [0x3e, 'i64', 4],
  'v128.store': [0xfd0b, 'v128', 16],
} as const satisfies Readonly<Record<string, readonly [number, ValueType, number]>>;

/** Threads proposal: a sequentially consistent load, whose address must be a multiple of the bytes read. */
export const ATOMIC_LOADS = {
  'i32.atomic.load': [0xfe10, 'i32', 4],
} as const satisfies Readonly<Record<string, readonly [number, ValueType, number]>>;

export type AtomicLoadOp = keyof typeof ATOMIC_LOADS;
export type PureOp = keyof typeof PURE;
export type LoadOp = keyof typeof LOADS;
export type StoreOp = keyof typeof STORES;

/** Control and variable instructions (§5.4.1, §5.4.4): no value of their own, so they are emitted by name only. */
export const CONTROL = {
  unreachable: 0x00,
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  else: 0x05,
  end: 0x0b,
  br: 0x0c,
  br_if: 0x0d,
  br_table: 0x0e,
  return: 0x0f,
  call: 0x10,
  call_indirect: 0x11,
  drop: 0x1a,
  select: 0x1b,
  'local.get': 0x20,
  'global.get': 0x23,
  'local.set': 0x21,
  'local.tee': 0x22,
  'i32.const': 0x41,
  'i64.const': 0x42,
} as const;
