/* What a thread waits for: the system call that it is in, by /proc/self/task/TID/syscall. */
#include "core.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static enum fw_thread_state state_of_call(long number, uint64_t first_argument) {
    switch (number) {
    case SYS_futex:
        /* SAFETY: compared, never read. The condition variable that a thread waits at for the GIL of the main interpreter
         * lies in _PyRuntime (Python/ceval_gil.c, Include/internal/pycore_runtime.h, 3.11.7 to 3.15.2), the locks of Python
         * code do not. */
        return first_argument - fw_layout.runtime < fw_layout.runtime_size ? FW_STATE_GIL : FW_STATE_LOCK;
    case SYS_nanosleep:
    case SYS_clock_nanosleep:
        return FW_STATE_SLEEP;
    case SYS_wait4:
    case SYS_waitid:
    case SYS_pause:
    case SYS_rt_sigtimedwait:
    case SYS_rt_sigsuspend:
    case SYS_sched_yield:
        return FW_STATE_OTHER;
    default:
        return number < 0 ? FW_STATE_OTHER : FW_STATE_IO;      /* below 0: a page fault, a stop */
    }
}

enum fw_thread_state fw_state_of(pid_t tid) {
    char path[48], text[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", (int)tid);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return FW_STATE_UNKNOWN;       /* no such file in this kernel, or not for us */
    }
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    if (length <= 0) {
        return FW_STATE_UNKNOWN;
    }
    text[length] = 0;
    char *rest = text;
    long number = strtol(text, &rest, 10);
    if (rest == text) {
        return strncmp(text, "running", 7) == 0 ? FW_STATE_RUNNING : FW_STATE_UNKNOWN;
    }
    return state_of_call(number, strtoull(rest, NULL, 16));
}
