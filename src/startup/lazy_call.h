// SPDX-License-Identifier: AGPL-3.0-only
//
// For the assembly source that scripts/lazy-symbols makes: what a function is until its library has been loaded. x86-64, System V.
//
// A stub jumps to where its entry of `lazy_addresses` points: at first to code that has the address looked up by
// lazy_libraries.cpp, with all registers kept that could hold an argument, and from then on to the function.
#ifdef __CET__
#include <cet.h>
#else
#define _CET_ENDBR
#endif

// The note tells packagers' tools what no DT_NEEDED tells: https://systemd.io/ELF_DLOPEN_METADATA
#define LAZY_LIBRARY(soname)                    \
    .pushsection .rodata.lazy_libraries, "a";   \
    .asciz soname;                              \
    .popsection;                                \
    .pushsection .note.dlopen, "a", @note;      \
    .balign 4;                                  \
    .long 2f - 1f, 4f - 3f, 0x407c0c0a;         \
1:  .asciz "FDO";                               \
2:  .balign 4;                                  \
3:  .ascii "[{\"soname\":[\"";                  \
    .ascii soname;                              \
    .asciz "\"],\"priority\":\"required\"}]";    \
4:  .balign 4;                                  \
    .popsection

#define LAZY_FUNCTION(number, name, library)    \
    .text;                                      \
    .globl name;                                \
    .hidden name;                               \
    .type name, @function;                      \
name:                                           \
    _CET_ENDBR;                                 \
    jmp *lazy_addresses + 8 * number(%rip);     \
    .size name, . - name;                       \
.Lfirst##number:                                \
    _CET_ENDBR;                                 \
    pushq $number;                              \
    jmp .Lresolve;                              \
    .pushsection .data.lazy_addresses, "aw";    \
    .quad .Lfirst##number;                      \
    .popsection;                                \
    .pushsection .rodata.lazy_owners, "a";      \
    .byte library;                              \
    .popsection;                                \
    .pushsection .rodata.lazy_names, "a";       \
    .asciz #name;                               \
    .popsection

#define LAZY_END(functions)                     \
    .pushsection .rodata.lazy_owners, "a";      \
    .globl lazy_count;                          \
    .hidden lazy_count;                         \
    .balign 8;                                  \
lazy_count:                                     \
    .quad functions;                            \
    .popsection;                                \
    .section .note.GNU-stack, "", @progbits

    .pushsection .data.lazy_addresses, "aw"
    .balign 8
    .globl lazy_addresses
    .hidden lazy_addresses
lazy_addresses:
    .popsection
    .pushsection .rodata.lazy_libraries, "a"
    .globl lazy_libraries
    .hidden lazy_libraries
lazy_libraries:
    .popsection
    .pushsection .rodata.lazy_owners, "a"
    .globl lazy_owners
    .hidden lazy_owners
lazy_owners:
    .popsection
    .pushsection .rodata.lazy_names, "a"
    .globl lazy_names
    .hidden lazy_names
lazy_names:
    .popsection

    .text
    .type .Lresolve, @function
.Lresolve: // on the stack: the function's number, and the address that it returns to
    .cfi_startproc
    .cfi_def_cfa_offset 16
    pushq %rdi
    pushq %rsi
    pushq %rdx
    pushq %rcx
    pushq %r8
    pushq %r9
    pushq %rax // how many vector registers a call with "..." uses
    pushq %r10
    subq $128, %rsp
    .cfi_def_cfa_offset 208
    movups %xmm0, (%rsp)
    movups %xmm1, 16(%rsp)
    movups %xmm2, 32(%rsp)
    movups %xmm3, 48(%rsp)
    movups %xmm4, 64(%rsp)
    movups %xmm5, 80(%rsp)
    movups %xmm6, 96(%rsp)
    movups %xmm7, 112(%rsp)
    movl 192(%rsp), %edi
    call lazy_resolve
    movq %rax, %r11
    movups (%rsp), %xmm0
    movups 16(%rsp), %xmm1
    movups 32(%rsp), %xmm2
    movups 48(%rsp), %xmm3
    movups 64(%rsp), %xmm4
    movups 80(%rsp), %xmm5
    movups 96(%rsp), %xmm6
    movups 112(%rsp), %xmm7
    addq $128, %rsp
    popq %r10
    popq %rax
    popq %r9
    popq %r8
    popq %rcx
    popq %rdx
    popq %rsi
    popq %rdi
    addq $8, %rsp
    .cfi_def_cfa_offset 8
    jmp *%r11
    .cfi_endproc
