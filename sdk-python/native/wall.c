/* The wall-clock sampler: a thread of its own that reads the stacks of the others, and never takes the GIL.
 *
 * A thread's stack is taken as read only if the thread's CPU clock shows the same before and after: it did not run, so nothing
 * moved. Where the clock has not moved since the last tick, the stack of then is the stack of now, and nothing is read. A
 * thread that is running has the stack of its last CPU sample. The weight of a sample is the time since the thread's last
 * one, so that a tick that comes late, or never, loses nothing.
 *
 * Each tick is one critical section of fw.reader_lock: the labels that are read in it cannot be freed (labels.c), and fork()
 * finds no tick under way.
 */
#include "core.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "window.h"

enum {
    THREAD_STACK_BYTES = 512 * 1024,
    JUDGED_TICKS = 16,                 /* the thread's CPU clock is read once in so many ticks */
    MOST_COST_PERCENT = 1,             /* of a core */
    KNOWN_WAITS = 1024,
    TRUSTED_FOR = 8,                   /* on average: so often the state that was seen at a place is taken for that of now */
};
static const uint64_t LONGEST_INTERVAL_NS = 1000000000ull;

/* What is known of the thread in fw.slots[i]. */
typedef struct {
    fw_held_stack stack;
    uint64_t hash, state_address;
    uint64_t cpu_ns;                   /* its clock when the stack was read; 0: read it again in any case */
    uint64_t claimed_ns;               /* monotonic: up to where its time has been given to a stack */
    uint64_t pending_ns, pending_samples;      /* given to `stack`, not yet in the window */
    uint64_t seen_in;                  /* tick that met it last */
    enum fw_thread_state state;
    bool has_stack;
} wall_thread;

/* What a thread was seen to wait for at an instruction. Asking the kernel costs more than all the rest of a tick. */
typedef struct {
    uint64_t leaf_hash;
    enum fw_thread_state state;
    uint32_t uses_left;
} known_wait;

typedef struct {
    _Atomic uint32_t stopping;         /* futex: the thread sleeps on it */
    _Atomic uint32_t ticking;
    bool wanted, running;              /* under reader_lock */
    pthread_t thread;
    uint64_t period_ns, interval_ns;   /* 0: there are no wall-clock profiles */
    uint64_t started_ns, ended_ns, random;
    uint64_t tick, whole_tick, whole_ns;       /* the last tick, the last one that met every thread and when */
    uint64_t judged_cpu_ns;
    uint64_t samples, accounted_ns, readings, ran_meanwhile, lists_changed, without_state;
    uint32_t threads, met;
    bool direct;
} wall_state;

static wall_state wall;
static wall_thread *threads;           /* as many as fw.slots */
static known_wait known_waits[KNOWN_WAITS];
static fw_slot reading_slot;           /* its ring, cache and codes serve the readings of all threads */

static uint64_t monotonic_ns(void) { return fw_clock_ns(CLOCK_MONOTONIC); }

static void put_pending(wall_thread *t) {
    if (t->pending_ns != 0 || t->pending_samples != 0) {
        fw_window_add(FW_WALL, &t->stack, t->state, t->pending_ns, t->pending_samples);
        wall.accounted_ns += t->pending_ns;
        wall.samples += t->pending_samples;
    }
    t->pending_ns = t->pending_samples = 0;
}

/* Its time up to now, to the stack that it has. */
static void give(wall_thread *t, uint64_t now_ns, uint64_t samples) {
    if (now_ns > t->claimed_ns) {
        t->pending_ns += now_ns - t->claimed_ns;
        t->claimed_ns = now_ns;
    }
    t->pending_samples += samples;
}

static void forget(wall_thread *t) {
    put_pending(t);
    fw_let_go(&t->stack);
    t->has_stack = false;
    t->cpu_ns = 0;
}

static void set_state(wall_thread *t, enum fw_thread_state state) {
    if (state != t->state) {
        put_pending(t);
        t->state = state;
    }
}

/* SAFETY: the span's owner is alive: the thread has not moved, so its context still holds the Scope that names it; if the
 * thread lets go of it right now, the labels are freed under reader_lock only, which is held here. */
static void look_at_span(wall_thread *t) {
    const fw_labels *labels = t->stack.labels;
    if (labels != NULL && t->stack.with_span && atomic_load(&labels->span_owner->ended)) {
        put_pending(t);
        t->stack.with_span = false;
    }
}

/* It runs, or ran while it was being read. */
static void take_last_sample(wall_thread *t, fw_slot *slot, uint64_t now_ns) {
    fw_drain_slot(slot);
    t->cpu_ns = t->hash = 0;
    if (slot->has_last && !slot->last_is_native) {
        put_pending(t);
        t->has_stack = fw_hold(&t->stack, &slot->last);
    }
    if (t->has_stack) {                /* else nothing is known of it yet: its time waits for the next tick */
        set_state(t, FW_STATE_RUNNING);
        give(t, now_ns, 1);
    }
}

static uint64_t next_random(void) {
    uint64_t x = wall.random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return wall.random = x;
}

/* The wait of a thread that came to this instruction. Some instructions have several (a call, and the GIL after it): each
 * answer of the kernel is one draw of them, and stands for the next few, so that the shares come out right. */
static enum fw_thread_state state_at(uint64_t leaf_hash, pid_t tid) {
    known_wait *known = &known_waits[leaf_hash % KNOWN_WAITS];
    if (known->leaf_hash == leaf_hash && known->uses_left != 0) {
        known->uses_left--;
        return known->state;
    }
    enum fw_thread_state state = fw_state_of(tid);
    wall.without_state += state == FW_STATE_UNKNOWN;
    *known = (known_wait){leaf_hash, state, (uint32_t)(next_random() % (2 * TRUSTED_FOR - 1))};
    return state;
}

static void read_stack(wall_thread *t, fw_slot *slot, uint64_t address, uint64_t cpu_ns, uint64_t now_ns) {
    pid_t tid = atomic_load(&slot->tid);
    clockid_t clock = fw_thread_clock(tid);
    fw_reading reading;
    if (fw_clock_ns(clock) != cpu_ns) {
        take_last_sample(t, slot, now_ns);
        return;
    }
    wall.readings++;
    if (!fw_read_other(&reading_slot, wall.direct, address, tid, &reading)) {
        wall.ran_meanwhile++;
        take_last_sample(t, slot, now_ns);
        return;
    }
    bool same = t->has_stack && t->hash == reading.hash && reading_slot.defined_count == 0;
    enum fw_thread_state state = reading.depth != 0 ? state_at(reading.leaf_hash, tid) : FW_STATE_UNKNOWN;
    if (fw_clock_ns(clock) != cpu_ns) {
        fw_forget_reading(&reading_slot);
        wall.ran_meanwhile++;
        take_last_sample(t, slot, now_ns);
        return;
    }
    if (reading.depth == 0) {          /* no Python in it now: the time is nobody's */
        forget(t);
        t->claimed_ns = now_ns;
        return;
    }
    if (!same) {
        put_pending(t);
        fw_ring_publish(&reading_slot.ring);
        t->has_stack = fw_take_stack(&reading_slot, &t->stack);
    }
    set_state(t, state);
    t->hash = reading.hash;
    t->state_address = address;
    t->cpu_ns = cpu_ns;
    give(t, now_ns, 1);
}

static void visit(void *argument, uint64_t address, pid_t tid) {
    fw_slot *slot = fw_find_thread(tid);
    if (slot != NULL && (slot->excluded || threads[slot - fw.slots].seen_in == wall.tick)) {
        return;                        /* a thread has a state in each interpreter that it has been in */
    }
    uint64_t now_ns = *(const uint64_t *)argument, cpu_ns = fw_clock_ns(fw_thread_clock(tid));
    if (cpu_ns != 0 && slot == NULL) {
        slot = fw_attach(tid, false, 0, false);
    }
    if (cpu_ns == 0 || slot == NULL) {
        return;                        /* gone, or garbage that looks like an id, or no room */
    }
    wall_thread *t = &threads[slot - fw.slots];
    wall.met++;
    if (t->seen_in < wall.whole_tick && t->claimed_ns < wall.whole_ns) {
        t->claimed_ns = wall.whole_ns; /* it has no Python state before that */
    }
    t->seen_in = wall.tick;
    if (t->has_stack && t->cpu_ns == cpu_ns && t->state_address == address) {
        look_at_span(t);
        give(t, now_ns, 1);
    } else {
        read_stack(t, slot, address, cpu_ns, now_ns);
    }
}

/* Where every thread that has Python was met, those that were not have none any more. */
static void forget_unseen(uint64_t now_ns) {
    wall.whole_tick = wall.tick;
    wall.whole_ns = now_ns;
    wall.threads = wall.met;
    for (uint32_t i = 0; i < atomic_load(&fw.slots_used); i++) {
        if (threads[i].has_stack && threads[i].seen_in != wall.tick
            && atomic_load(&fw.slots[i].state) == FW_LIVE) {
            forget(&threads[i]);
        }
    }
}

/* Keeps the thread's own CPU below 1 % of a core. */
static void judge_cost(void) {
    if (wall.tick % JUDGED_TICKS != 0) {
        return;
    }
    uint64_t cpu_ns = fw_clock_ns(CLOCK_THREAD_CPUTIME_ID);
    uint64_t affordable_ns = (cpu_ns - wall.judged_cpu_ns) / JUDGED_TICKS * 100 / MOST_COST_PERCENT;
    wall.judged_cpu_ns = cpu_ns;
    affordable_ns = affordable_ns < LONGEST_INTERVAL_NS ? affordable_ns : LONGEST_INTERVAL_NS;
    wall.interval_ns = affordable_ns > wall.period_ns ? affordable_ns : wall.period_ns;
}

static void tick(void) {
    pthread_mutex_lock(&fw.reader_lock);
    atomic_store(&wall.ticking, 1);
    if (fw.started && !atomic_load(&wall.stopping)) {
        uint64_t now_ns = monotonic_ns();
        wall.tick++;
        wall.met = 0;
        wall.direct = fw_guard_is_direct(NULL);
        if (fw_each_state(wall.direct, visit, &now_ns)) {
            forget_unseen(now_ns);
        } else {
            wall.lists_changed++;
        }
        judge_cost();
    }
    atomic_store(&wall.ticking, 0);
    pthread_mutex_unlock(&fw.reader_lock);
}

/* Sleeps until then; false: it is to stop. */
static bool sleep_until(uint64_t due_ns) {
    const struct timespec due = {.tv_sec = (time_t)(due_ns / 1000000000ull), .tv_nsec = (long)(due_ns % 1000000000ull)};
    while (!atomic_load(&wall.stopping) && monotonic_ns() < due_ns) {
        syscall(SYS_futex, &wall.stopping, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0u, &due, NULL, FUTEX_BITSET_MATCH_ANY);
    }
    return !atomic_load(&wall.stopping);
}

static uint64_t jittered(uint64_t interval_ns) {
    return interval_ns - interval_ns / 4 + next_random() % (interval_ns / 2 + 1);
}

static void *run(void *unused) {
    (void)unused;
    prctl(PR_SET_NAME, "flamewire-wall", 0, 0, 0);
    fw_attach(fw_gettid(), true, 0, true);
    uint64_t due_ns = monotonic_ns();
    do {
        tick();
        uint64_t now_ns = monotonic_ns();
        due_ns += jittered(wall.interval_ns);
        due_ns = due_ns > now_ns ? due_ns : now_ns + jittered(wall.interval_ns);
    } while (sleep_until(due_ns));
    if (fw_thread_slot != NULL) {
        fw_detach_caller(fw_thread_slot);
    }
    return NULL;
}

/* The thread takes no signals but the faults, which come from itself. */
static int create_thread(void) {
    static const int FAULTS[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    sigset_t blocked, before;
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error != 0) {
        return error;
    }
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof FAULTS / sizeof *FAULTS; i++) {
        sigdelset(&blocked, FAULTS[i]);
    }
    pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    error = pthread_create(&wall.thread, &attributes, run, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error;
}

static void begin(uint64_t period_ns) {
    uint64_t now_ns = monotonic_ns();
    wall = (wall_state){.period_ns = period_ns, .interval_ns = period_ns, .wanted = period_ns != 0, .started_ns = now_ns,
                        .random = now_ns * 0x9e3779b97f4a7c15ull | 1u};
    if (period_ns != 0) {
        fw_window_reset(FW_WALL);
    } else {
        fw_window_drop(FW_WALL);
    }
}

/* Before the threads are listed, so that their time begins now. */
int fw_wall_begin(uint64_t period_ns) {
    if (period_ns != 0 && threads == NULL) {
        threads = calloc(FW_MAX_THREADS, sizeof *threads);
    }
    if (period_ns != 0 && (threads == NULL || !fw_give_memory(&reading_slot))) {
        return ENOMEM;
    }
    begin(period_ns);
    int error = fw_wall_ensure();
    if (error != 0) {
        begin(0);
    }
    return error;
}

int fw_wall_ensure(void) {
    if (!wall.wanted || wall.running) {
        return 0;
    }
    atomic_store(&wall.stopping, 0);
    int error = create_thread();
    wall.running = error == 0;
    return error;
}

static void ask_to_stop(void) {
    atomic_store(&wall.stopping, 1);
    syscall(SYS_futex, &wall.stopping, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1);
}

void fw_wall_stop(void) {
    pthread_mutex_lock(&fw.reader_lock);
    bool running = wall.running;
    wall.ended_ns = wall.wanted ? monotonic_ns() : wall.ended_ns;
    wall.wanted = wall.running = false;
    pthread_mutex_unlock(&fw.reader_lock);
    if (running) {
        ask_to_stop();
        pthread_join(wall.thread, NULL);
    }
}

/* The interpreter is gone, and the guard goes next. */
void fw_wall_at_exit(void) {
    const struct timespec pause = {.tv_nsec = 50000};
    ask_to_stop();
    for (int tries = 0; atomic_load(&wall.ticking) && tries < 20000; tries++) {
        nanosleep(&pause, NULL);
    }
}

/* The thread stayed in the parent; poll() makes another one. */
void fw_wall_fork_child(void) {
    for (uint32_t i = 0; threads != NULL && i < FW_MAX_THREADS; i++) {
        fw_free_held(&threads[i].stack);
        threads[i] = (wall_thread){0};
    }
    begin(wall.wanted && fw.started ? wall.period_ns : 0);
}

void fw_wall_settle(uint64_t now_ns) {
    for (uint32_t i = 0; threads != NULL && i < atomic_load(&fw.slots_used); i++) {
        if (threads[i].has_stack && atomic_load(&fw.slots[i].state) == FW_LIVE) {
            give(&threads[i], now_ns, 0);
            put_pending(&threads[i]);
        }
    }
}

void fw_wall_attach(const fw_slot *slot) {
    if (threads != NULL) {
        threads[slot - fw.slots].claimed_ns = monotonic_ns();
    }
}

/* One that no tick met has the functions that it entered. */
void fw_wall_end(fw_slot *slot) {
    if (threads == NULL) {
        return;
    }
    wall_thread *t = &threads[slot - fw.slots];
    if (fw.windows[FW_WALL] != NULL && !t->has_stack && slot->has_last && !slot->last_is_native && !slot->excluded) {
        t->has_stack = fw_hold(&t->stack, &slot->last);
        t->state = FW_STATE_UNKNOWN;
    }
    if (t->has_stack) {
        give(t, slot->ended_mono_ns, 0);
        put_pending(t);
    }
    fw_free_held(&t->stack);
    *t = (wall_thread){0};
}

PyObject *fw_wall_stats(void) {
    wall_state now;
    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&fw.reader_lock);
    now = wall;
    pthread_mutex_unlock(&fw.reader_lock);
    Py_END_ALLOW_THREADS
    if (now.period_ns == 0) {
        return Py_NewRef(Py_None);
    }
    uint64_t lasted_ns = (now.wanted ? monotonic_ns() : now.ended_ns) - now.started_ns;
    return Py_BuildValue(
        "{s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:I,s:d}", "ticks_due", (unsigned long long)(lasted_ns / now.period_ns), "ticks",
        (unsigned long long)now.tick, "samples_gathered", (unsigned long long)now.samples, "accounted_ns",
        (unsigned long long)now.accounted_ns, "readings", (unsigned long long)now.readings, "ran_meanwhile",
        (unsigned long long)now.ran_meanwhile, "lists_changed", (unsigned long long)now.lists_changed, "without_state",
        (unsigned long long)now.without_state, "threads", now.threads, "interval_s", (double)now.interval_ns / 1e9);
}
