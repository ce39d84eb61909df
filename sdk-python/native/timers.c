/* SIGPROF and the timer of each thread. */
#include "core.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

__thread fw_slot *fw_thread_slot __attribute__((tls_model("initial-exec")));
__thread pid_t fw_thread_tid __attribute__((tls_model("initial-exec")));

static const uint32_t TIMER_MARK = 0xf1a3e000u;    /* high bits of our timers' sival_int; the rest is the slot's index */

uint64_t fw_clock_ns(clockid_t clock) {
    struct timespec now;
    if (clock_gettime(clock, &now) != 0) {
        return 0;
    }
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

pid_t fw_gettid(void) {
    if (fw_thread_tid == 0) {
        fw_thread_tid = (pid_t)syscall(SYS_gettid);
    }
    return fw_thread_tid;
}

static uint64_t next_random(fw_slot *slot) {
    uint64_t x = slot->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return slot->random = x;
}

static struct timespec to_timespec(uint64_t ns) {
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000ull), .tv_nsec = (long)(ns % 1000000000ull)};
}

static uint64_t interval_ns(void) { return fw.period_ns * atomic_load_explicit(&fw.stretch, memory_order_relaxed); }

/* One shot at next_due on the thread's CPU clock, and the plain period behind it in case a shot is missed. Absolute, so
 * that the kernel's coarse ticks (CONFIG_HZ) delay single samples but not their mean rate. */
static int arm(fw_slot *slot) {
    struct itimerspec when = {.it_interval = to_timespec(interval_ns()), .it_value = to_timespec(slot->next_due_ns)};
    return timer_settime(slot->timer, TIMER_ABSTIME, &when, NULL);
}

/* +-25 %: a fixed period would beat with periodic work. */
static void rearm(fw_slot *slot, uint64_t now) {
    uint64_t period = interval_ns();
    slot->next_due_ns += period - period / 4 + next_random(slot) % (period / 2 + 1);
    if (slot->next_due_ns <= now) {
        slot->next_due_ns = now + 1 + next_random(slot) % (period / 4 + 1);
    }
    arm(slot);
}

static fw_slot *slot_of_signal(const siginfo_t *info) {
    fw_slot *slot = fw_thread_slot;
    pid_t tid = fw_gettid();
    if (slot == NULL && info->si_code == SI_TIMER) {
        uint32_t value = (uint32_t)info->si_value.sival_int, index = value & (FW_MAX_THREADS - 1);
        if ((value & ~(uint32_t)(FW_MAX_THREADS - 1)) == TIMER_MARK
            && index < atomic_load_explicit(&fw.slots_used, memory_order_acquire)) {
            slot = &fw.slots[index];
        }
    }
    /* The slot may have gone to another thread since (stop and start again). */
    if (slot == NULL || atomic_load_explicit(&slot->tid, memory_order_acquire) != tid
        || atomic_load_explicit(&slot->state, memory_order_acquire) != FW_LIVE) {
        fw_thread_slot = NULL;
        return NULL;
    }
    fw_thread_slot = slot;
    return slot;
}

static void on_profile_signal(int number, siginfo_t *info, void *context) {
    (void)number;
    int saved_errno = errno;
    fw_slot *slot = slot_of_signal(info);
    if (slot != NULL) {
        /* busy first, then active: stop() clears active, then waits for busy. */
        if (atomic_exchange(&slot->busy, 1) != 0) {
            fw_count_drop(FW_DROP_REENTERED);
        } else {
            if (atomic_load(&fw.active)) {
                uint64_t begin_ns = fw_clock_ns(CLOCK_MONOTONIC), now_ns = fw_clock_ns(CLOCK_THREAD_CPUTIME_ID);
                bool direct = fw_guard_is_direct(context);
                if (!direct) {
                    atomic_fetch_add_explicit(&fw.syscall_samples, 1, memory_order_relaxed);
                }
                if (info->si_code == SI_TIMER && slot->has_timer) {
                    rearm(slot, now_ns);
                    uint32_t left_out = atomic_load_explicit(&fw.stretch, memory_order_relaxed) - 1;
                    if (left_out != 0) {
                        atomic_fetch_add_explicit(&fw.dropped[FW_DROP_OVERHEAD_LIMIT], left_out, memory_order_relaxed);
                    }
                }
                fw_sample(slot, direct, now_ns, NULL, 0, 0);
                /* After a millisecond the thread was preempted in here, or the stack is deep and each read a system call:
                 * its own clock, which costs one too, knows. */
                uint64_t spent_ns = fw_clock_ns(CLOCK_MONOTONIC) - begin_ns;
                if (spent_ns >= 1000000) {
                    spent_ns = fw_clock_ns(CLOCK_THREAD_CPUTIME_ID) - now_ns;
                }
                atomic_fetch_add_explicit(&fw.handler_ns, spent_ns, memory_order_relaxed);
            }
            atomic_store(&slot->busy, 0);
        }
    }
    errno = saved_errno;
}

int fw_signal_install(PyObject **error) {
    struct sigaction current, action = {.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    action.sa_sigaction = on_profile_signal;
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGPROF, NULL, &current) != 0) {
        *error = PyExc_OSError;
        return -1;
    }
    bool ours = current.sa_flags & SA_SIGINFO && current.sa_sigaction == on_profile_signal;
    if (!ours && (current.sa_flags & SA_SIGINFO || (current.sa_handler != SIG_DFL && current.sa_handler != SIG_IGN))) {
        PyErr_SetString(PyExc_RuntimeError,
                        "SIGPROF already has a handler in this process (another profiler, or signal.signal); "
                        "stop that one first");
        *error = NULL;
        return -1;
    }
    if (fw_guard_install() != 0 || sigaction(SIGPROF, &action, NULL) != 0) {
        *error = PyExc_OSError;
        return -1;
    }
    return 0;
}

static bool owns_signal(void) {
    struct sigaction current;
    return sigaction(SIGPROF, NULL, &current) == 0 && current.sa_flags & SA_SIGINFO
        && current.sa_sigaction == on_profile_signal;
}

void fw_signal_disable(void) {
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigemptyset(&ignore.sa_mask);
    /* SIG_IGN, not the default: a signal that is still on its way would kill the process. */
    if (owns_signal()) {
        sigaction(SIGPROF, &ignore, NULL);
    }
    fw_guard_remove();
}

/* Our signals must not reach a handler that another profiler put over ours, and least of all the default action that it
 * may leave behind. Timers come back with the next task listing after SIGPROF is ours again. */
void fw_signal_check_owner(void) {
    bool owned = owns_signal();
    if (owned != fw.suspended) {
        return;
    }
    pthread_mutex_lock(&fw.threads_lock);
    fw.suspended = !owned;
    for (uint32_t i = 0; fw.suspended && i < atomic_load(&fw.slots_used); i++) {
        fw_timer_delete(&fw.slots[i]);
    }
    pthread_mutex_unlock(&fw.threads_lock);
    if (!owned) {
        fw_count_drop(FW_DROP_SIGNAL_TAKEN);
    }
}

/* False: the kernel has no timer for this thread. */
bool fw_timer_create(fw_slot *slot) {
    pid_t tid = atomic_load(&slot->tid);
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGPROF};
    event.sigev_value.sival_int = (int)(TIMER_MARK | (uint32_t)(slot - fw.slots));
#ifdef sigev_notify_thread_id
    event.sigev_notify_thread_id = tid;
#else
    event._sigev_un._tid = tid;
#endif
    if (timer_create(fw_thread_clock(tid), &event, &slot->timer) != 0) {
        return errno != EAGAIN && errno != ENOMEM;     /* else the thread has just ended */
    }
    uint64_t seed = fw_clock_ns(CLOCK_MONOTONIC) ^ (uint64_t)tid << 32 ^ (uint64_t)(uintptr_t)slot;
    slot->random = seed * 0x9e3779b97f4a7c15ull | 1u;
    next_random(slot);
    slot->has_timer = true;
    /* A random first expiry: with a fixed one, threads shorter than a period would never be seen. */
    slot->next_due_ns = fw_clock_ns(fw_thread_clock(tid)) + 1 + next_random(slot) % interval_ns();
    if (arm(slot) != 0) {
        fw_timer_delete(slot);
        return false;
    }
    return true;
}

void fw_timer_delete(fw_slot *slot) {
    if (slot->has_timer) {
        slot->has_timer = false;
        timer_delete(slot->timer);
    }
}
