/* Reads of memory that may not be there.
 *
 * Two ways. Direct: a copy routine whose address range the SIGSEGV/SIGBUS handler knows; a fault inside it resumes at
 * its error exit. By system call: process_vm_readv() on ourselves, where another library took SIGSEGV after us.
 * The direct way is ~1 us per read cheaper; both give the same answer.
 */
#include "core.h"

#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#if !defined(__x86_64__) || !defined(__linux__)
#error "the copy routine and its fault handler are written for Linux on x86-64; setup.py builds nothing elsewhere"
#endif

/* int fw_copy_words(void *to, const void *from, size_t words): 0, or -1 when reading `from` faulted.
 * int fw_copy_bytes(void *to, const void *from, size_t bytes): the same, for any size and alignment. */
__asm__(
    ".text\n"
    ".p2align 4\n"
    ".type fw_copy_words, @function\n"
    "fw_copy_words:\n"
    "fw_guard_begin:\n"
    "    xorl %ecx, %ecx\n"
    "1:  cmpq %rdx, %rcx\n"
    "    je 2f\n"
    "    movq (%rsi,%rcx,8), %rax\n"
    "    movq %rax, (%rdi,%rcx,8)\n"
    "    incq %rcx\n"
    "    jmp 1b\n"
    "2:  xorl %eax, %eax\n"
    "    ret\n"
    ".size fw_copy_words, . - fw_copy_words\n"
    ".type fw_copy_bytes, @function\n"
    "fw_copy_bytes:\n"
    "    movq %rdx, %rcx\n"
    "    rep movsb\n"
    "    xorl %eax, %eax\n"
    "    ret\n"
    "fw_guard_end:\n"
    "    nop\n"
    "fw_guard_fault:\n"
    "    movl $-1, %eax\n"
    "    ret\n"
    ".size fw_copy_bytes, . - fw_copy_bytes\n"
);
extern int fw_copy_words(void *to, const void *from, size_t words) __attribute__((visibility("hidden")));
extern int fw_copy_bytes(void *to, const void *from, size_t bytes) __attribute__((visibility("hidden")));
extern const char fw_guard_begin[] __attribute__((visibility("hidden")));
extern const char fw_guard_end[] __attribute__((visibility("hidden")));
extern const char fw_guard_fault[] __attribute__((visibility("hidden")));

static const int FAULT_SIGNALS[] = {SIGSEGV, SIGBUS};
static struct sigaction previous_action[2];
static bool installed;

static bool step_over_fault(void *context) {
    greg_t *pc = &((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    uintptr_t at = (uintptr_t)*pc;
    /* SAFETY: neither routine touches the stack before its ret, so the error exit returns to the caller. */
    if (at < (uintptr_t)fw_guard_begin || at >= (uintptr_t)fw_guard_end) {
        return false;
    }
    *pc = (greg_t)(uintptr_t)fw_guard_fault;
    return true;
}

static void on_fault(int number, siginfo_t *info, void *context) {
    if (step_over_fault(context)) {
        return;
    }
    const struct sigaction *next = &previous_action[number == SIGBUS];
    if (next->sa_flags & SA_SIGINFO) {
        next->sa_sigaction(number, info, context);
    } else if (next->sa_handler != SIG_DFL && next->sa_handler != SIG_IGN) {
        next->sa_handler(number);
    } else if (next->sa_handler == SIG_DFL || info->si_code > 0) {
        /* Not ours: die of it as the host would have without us. The instruction faults again on return; a signal
         * that somebody sent has to be sent again. */
        struct sigaction fallback = {.sa_handler = SIG_DFL};
        sigaction(number, &fallback, NULL);
        if (info->si_code <= 0) {
            raise(number);
        }
    }
}

int fw_guard_install(void) {
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    action.sa_sigaction = on_fault;
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < 2; i++) {
        struct sigaction current;
        if (sigaction(FAULT_SIGNALS[i], NULL, &current) != 0) {
            return -1;
        }
        if (current.sa_flags & SA_SIGINFO && current.sa_sigaction == on_fault) {
            continue;
        }
        previous_action[i] = current;
        if (sigaction(FAULT_SIGNALS[i], &action, NULL) != 0) {
            return -1;
        }
    }
    installed = true;
    fw_guard_check_owner();
    return 0;
}

static bool owns(int number) {
    struct sigaction current;
    return sigaction(number, NULL, &current) == 0 && current.sa_flags & SA_SIGINFO
        && current.sa_sigaction == on_fault;
}

void fw_guard_check_owner(void) {
    /* A library that came later (faulthandler.enable(), a crash reporter) is left on top: putting ourselves above it
     * would make two chains that call each other. */
    atomic_store(&fw.segv_owned, installed && owns(SIGSEGV) && owns(SIGBUS));
}

void fw_guard_remove(void) {
    for (int i = 0; installed && i < 2; i++) {
        if (owns(FAULT_SIGNALS[i])) {
            sigaction(FAULT_SIGNALS[i], &previous_action[i], NULL);
        }
    }
    installed = false;
    atomic_store(&fw.segv_owned, 0);
}

bool fw_guard_is_direct(const void *context) {
    /* A fault while the thread blocks SIGSEGV kills the process whatever handler there is. */
    const sigset_t *blocked = context != NULL ? &((const ucontext_t *)context)->uc_sigmask : NULL;
    bool deliverable = blocked == NULL || (!sigismember(blocked, SIGSEGV) && !sigismember(blocked, SIGBUS));
    return atomic_load_explicit(&fw.segv_owned, memory_order_relaxed) && deliverable && owns(SIGSEGV);
}

bool fw_read(bool direct, void *to, uint64_t from, size_t size) {
    if (from < 4096) {
        return false;
    }
    if (direct) {
        const void *address = (const void *)(uintptr_t)from;
        return (size % 8 == 0 && size <= 512 ? fw_copy_words(to, address, size / 8) : fw_copy_bytes(to, address, size))
            == 0;
    }
    struct iovec local = {to, size}, remote = {(void *)(uintptr_t)from, size};
    /* process_vm_readv() also takes a thread id: the caller's own is always right, also in a fork child. */
    return syscall(SYS_process_vm_readv, (long)fw_gettid(), &local, 1ul, &remote, 1ul, 0ul) == (long)size;
}
