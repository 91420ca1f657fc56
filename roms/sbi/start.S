# The first instructions, the trap entry, and the way down to supervisor mode. Privileged Architecture 1.12, §3.1, §3.3.2.
# At reset a0 = hart id, a1 = device tree, a2 = fw_dynamic information. `main` has a stack for every hart.

        .section .text.start, "ax"
        .globl  _start
_start:
        csrw    mie, zero
        csrci   mstatus, 8              # MIE
        la      t0, trap_entry
        csrw    mtvec, t0
        csrw    mscratch, zero          # in machine mode
        li      t0, 8                   # MAX_HARTS
        bgeu    a0, t0, halt

        .option push
        .option norelax                 # gp is what relaxation needs, so it cannot be used to set gp
        la      gp, __global_pointer$
        .option pop
        call    set_stack

        # The hart that the information names boots: magic, version, next address, next mode, options, boot hart.
        li      t1, 0
        beqz    a2, chosen
        ld      t0, 0(a2)
        li      t2, 0x4942534f
        bne     t0, t2, chosen
        ld      t0, 8(a2)
        li      t2, 2
        bltu    t0, t2, chosen
        ld      t1, 40(a2)
        li      t2, 8
        bltu    t1, t2, chosen
        li      t1, 0                   # it names none
chosen: bne     a0, t1, secondary

        la      t0, bss_start
        la      t1, bss_end
clear:  bgeu    t0, t1, cleared
        sd      zero, 0(t0)
        addi    t0, t0, 8
        j       clear
cleared:
        tail    boot

        # The others wait for the software interrupt with which the boot hart calls them.
secondary:
        csrwi   mie, 8                  # MSIE
wait:   wfi
        lw      t0, booted
        beqz    t0, wait
        fence
        call    hart_configure
        tail    hart_park

halt:   wfi
        j       halt

# sp = the top of the stack of this hart; overwrites t0 and t1 alone.
set_stack:
        csrr    t0, mhartid
        addi    t0, t0, 1
        slli    t0, t0, 12              # 4 KiB each
        la      sp, stacks
        add     sp, sp, t0
        ret

# Saves what C may overwrite and calls trap(frame). mscratch holds the stack below machine mode, and 0 in it.
        .balign 4
trap_entry:
        csrrw   sp, mscratch, sp
        beqz    sp, machine_trap
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
        csrrw   t0, mscratch, zero      # the interrupted stack pointer
        addi    sp, sp, -32
        sd      t0,   0(sp)
        sd      gp,   8(sp)
        sd      tp,  16(sp)
        .option push
        .option norelax
        la      gp, __global_pointer$
        .option pop
        addi    a0, sp, 32
        call    trap
        ld      t0,   0(sp)
        ld      gp,   8(sp)
        ld      tp,  16(sp)
        addi    sp, sp, 32
        csrw    mscratch, t0
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
        csrrw   sp, mscratch, sp
        mret

machine_trap:
        csrrw   sp, mscratch, zero
        tail    trap_in_machine_mode

# enter_supervisor(a0, a1, pc)
        .globl  enter_supervisor
enter_supervisor:
        csrw    mepc, a2
        li      t0, 0x1888              # MPP, MPIE and MIE
        csrc    mstatus, t0
        li      t0, 0x0800              # MPP = supervisor
        csrs    mstatus, t0
        csrw    satp, zero
        li      t0, 0x222               # SSIE, STIE, SEIE
        csrc    mie, t0
        csrci   mstatus, 2              # SIE
        sfence.vma
        fence.i
        call    set_stack
        csrw    mscratch, sp
        li      ra, 0
        li      sp, 0
        li      gp, 0
        li      t0, 0
        li      t1, 0
        mret

        .section .bss.stacks, "aw", @nobits
        .balign 16
stacks: .space  8 * 4096                # MAX_HARTS
