# The first instructions on a PC that a Multiboot loader has prepared: 32-bit protected mode, flat segments, paging off.
# Multiboot Specification 0.6.96, sections 3.1 (header) and 3.2 (ebx = address of the information structure).

        .set    MAGIC, 0x1badb002
        .set    FLAGS, 0

        .section .multiboot, "a"
        .balign 4
        .long   MAGIC
        .long   FLAGS
        .long   -(MAGIC + FLAGS)

        .section .text.start, "ax"
        .globl  _start
_start:
        movl    $stack_top, %esp
        movl    %cr0, %eax
        andl    $~4, %eax               # EM: no emulation of the coprocessor
        orl     $2, %eax                # MP
        movl    %eax, %cr0
        movl    %cr4, %eax
        orl     $0x600, %eax            # OSFXSR and OSXMMEXCPT: SSE
        movl    %eax, %cr4
        fninit
        cld
        xorl    %eax, %eax              # the loader need not clear what is not in the file
        movl    $bss_start, %edi
        movl    $bss_end, %ecx
        subl    %edi, %ecx
        rep stosb
        andl    $-16, %esp
        subl    $12, %esp
        pushl   %ebx
        call    start
