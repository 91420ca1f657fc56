# The first instructions of every guest: hart 0 sets up a stack and calls boot(FDT), all others go to `secondary`, with
# a0 = mhartid and no stack; a guest that has none parks them.
# At entry a0 = mhartid and a1 = address of the FDT, as the machine's reset vector leaves them.
# Registers: RISC-V Privileged Architecture 1.12, section 3.1.

        .file   "start.S"
        .section .text.start, "ax"
        .globl  _start
_start:
        csrw    mie, zero               # no interrupt wakes a hart before it asks for one
        csrci   mstatus, 8              # mstatus.MIE
        la      t0, trap_entry
        csrw    mtvec, t0               # direct mode: trap_entry is 4-byte aligned
        bnez    a0, secondary

        .option push
        .option norelax                 # gp is what relaxation needs, so it cannot be used to set gp
        la      gp, __global_pointer$
        .option pop
        la      sp, stack_top
        la      t0, bss_start           # the loader need not clear what is not in the file
        la      t1, bss_end
clear:  bgeu    t0, t1, cleared
        sd      zero, 0(t0)
        addi    t0, t0, 8
        j       clear
cleared:
        mv      a0, a1
        tail    boot

        .weak   secondary
secondary:
        wfi
        j       secondary

# Saves what the C calling convention lets trap() overwrite, and calls trap(mcause, mepc, mtval).
        .balign 4
trap_entry:
        addi    sp, sp, -128
        sd      ra,   0(sp)
        sd      t0,   8(sp)
        sd      t1,  16(sp)
        sd      t2,  24(sp)
        sd      t3,  32(sp)
        sd      t4,  40(sp)
        sd      t5,  48(sp)
        sd      t6,  56(sp)
        sd      a0,  64(sp)
        sd      a1,  72(sp)
        sd      a2,  80(sp)
        sd      a3,  88(sp)
        sd      a4,  96(sp)
        sd      a5, 104(sp)
        sd      a6, 112(sp)
        sd      a7, 120(sp)
        csrr    a0, mcause
        csrr    a1, mepc
        csrr    a2, mtval
        call    trap
        ld      ra,   0(sp)
        ld      t0,   8(sp)
        ld      t1,  16(sp)
        ld      t2,  24(sp)
        ld      t3,  32(sp)
        ld      t4,  40(sp)
        ld      t5,  48(sp)
        ld      t6,  56(sp)
        ld      a0,  64(sp)
        ld      a1,  72(sp)
        ld      a2,  80(sp)
        ld      a3,  88(sp)
        ld      a4,  96(sp)
        ld      a5, 104(sp)
        ld      a6, 112(sp)
        ld      a7, 120(sp)
        addi    sp, sp, 128
        mret
