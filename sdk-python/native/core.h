/* The sampler's own types and the one global state, shared by every file of the native core.
 *
 * Who runs where:
 *   handler   in the sampled thread, on SIGPROF: unwind.c, hamt.c, guard.c, ring.h. No lock, no allocation, no formatting.
 *   reader    in the thread that calls poll()/take_window()/stop(), without the GIL, under fw.reader_lock:
 *             drain.c, intern.c, spans.c, window.c, pprof.c, ceiling.c.
 *   wall      the wall-clock sampler's own thread, without the GIL; each tick under fw.reader_lock: wall.c, wait.c.
 *   control   start, stop, attach, detach, fork, under fw.threads_lock: threads.c, timers.c, sampler.c.
 * Lock order: reader_lock, then threads_lock. Nobody takes the GIL while holding either.
 */
#ifndef FLAMEWIRE_CORE_H
#define FLAMEWIRE_CORE_H

#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "layout.h"
#include "ring.h"
#include "stack.h"

enum {
    FW_MAX_THREADS = 4096,     /* sampled at the same time; more are counted as FW_DROP_TOO_MANY_THREADS */
    FW_CACHE_SETS = 512,       /* two-way: 1024 code objects per thread */
    FW_CACHE_ENTRIES = 2 * FW_CACHE_SETS,
    FW_MAX_DEPTH = 1024,       /* the highest max_stack_depth */
    FW_MAX_WALK = 100000,      /* frames looked at before a chain counts as torn */
    FW_COMM_WORDS = 2,         /* TASK_COMM_LEN is 16 bytes */
};

/* Why a sample that was due was not kept. Its CPU is not lost: it goes to the thread's next sample. */
enum fw_drop {
    FW_DROP_RING_FULL,         /* the reader did not come in time */
    FW_DROP_REENTERED,         /* the signal hit the sampler's own code in this thread */
    FW_DROP_FAULT,             /* a read of interpreter memory faulted or gave what cannot be */
    FW_DROP_FOREIGN_STATE,     /* the thread state names another thread: being created or torn down */
    FW_DROP_WINDOW_FULL,       /* too many distinct stacks in one window: kept as "(other stacks)" */
    FW_DROP_TOO_MANY_THREADS,  /* a thread was not sampled: no slot, or no memory for its ring */
    FW_DROP_NO_TIMER,          /* a thread was not sampled: the kernel gave no timer (RLIMIT_SIGPENDING) */
    FW_DROP_SIGNAL_TAKEN,      /* another handler took SIGPROF: nothing is sampled until it is ours again */
    FW_DROP_OVERHEAD_LIMIT,    /* left out because samples cost too much (ceiling.c, wall.c) */
    FW_DROP_COUNT
};

/* What is profiled; each kind has windows of its own. */
enum fw_kind { FW_CPU, FW_WALL, FW_KINDS };

/* What a thread does in a wall-clock sample; the label thread_state (pprof.c). */
enum fw_thread_state {
    FW_STATE_UNKNOWN,          /* also that of CPU samples: no label */
    FW_STATE_RUNNING, FW_STATE_GIL, FW_STATE_LOCK, FW_STATE_IO, FW_STATE_SLEEP, FW_STATE_OTHER,
    FW_STATE_COUNT
};

/* What the handler knows of a code object; the identity that a hit has to match. */
typedef struct {
    uint64_t code;             /* address, 0 = empty */
    uint64_t filename, qualname, linetable;
    uint64_t fingerprint;      /* of the bytes, where there is no co_version; else 0 */
    uint32_t version;
    int32_t firstlineno;
    uint32_t verified_in;      /* sample number of the last check: one check per code object and sample */
    uint32_t hidden;           /* a shim frame that sys._getframe() hides too */
} fw_cached_code;

enum fw_slot_state { FW_FREE, FW_LIVE, FW_ENDED };

/* One sampled thread. Slots are never unmapped: a late signal always finds its memory. */
typedef struct {
    _Atomic uint32_t state;
    _Atomic int32_t tid;
    _Atomic uint64_t claimed_ns;      /* the thread's CPU clock up to where its CPU has been given to a stack */
    _Atomic uint32_t busy;            /* the owner thread is writing its ring */

    /* owner thread (handler, attach, detach) */
    uint64_t next_due_ns;
    uint64_t random;
    uint32_t sample_number;
    uint32_t defined_count;           /* cache entries that the current record defines */
    uint16_t defined[FW_MAX_DEPTH];
    fw_ring ring;
    fw_cached_code *cache;

    /* control, under threads_lock */
    timer_t timer;
    bool has_timer;
    _Atomic bool excluded;            /* one of the SDK's own threads: counted, not sampled; read without the lock */
    uint32_t seen_in;                 /* number of the last task listing that showed this thread */

    /* reader, under reader_lock */
    fw_code **codes;                  /* cache index -> code, as the ring defined it */
    fw_held_stack last;               /* the stack that a remainder belongs to */
    bool has_last;
    bool last_is_native;              /* no Python ran */
    uint64_t ended_mono_ns;           /* control: when the thread ended */
} fw_slot;

typedef struct {
    uint64_t samples;                 /* kept */
    uint64_t accounted_ns;            /* CPU given to stacks of sampled threads */
    uint64_t own_ns;                  /* CPU of excluded threads: in no window (PPR-031) */
    uint64_t unattributed_ns;
    uint64_t without_child, without_span;   /* samples that lost the id of a child span, or of any, to the bound of a window */
} fw_totals;

struct fw_window;

typedef struct {
    _Atomic uint32_t active;          /* handlers do nothing while 0 */
    _Atomic uint32_t segv_owned;      /* 0: SIGSEGV is another library's, read by system call */
    _Atomic uint64_t dropped[FW_DROP_COUNT];
    _Atomic uint64_t syscall_samples; /* taken without direct reads */
    _Atomic uint64_t handler_ns;      /* wall time inside the handler */
    _Atomic uint32_t slots_used;      /* slots at and above were never used */
    pthread_mutex_t reader_lock, threads_lock;
    fw_slot *slots;

    uint64_t period_ns;
    _Atomic uint32_t stretch;         /* a thread is sampled every so many periods: 1, or a power of 2 (ceiling.c) */
    uint32_t max_depth;
    uint32_t max_span_ids;            /* in one window */
    bool started;                     /* between start and stop */
    bool suspended;                   /* SIGPROF is in other hands: no timers; under threads_lock */
    uint64_t process_base_ns;
    uint64_t last_listing_mono_ns;
    uint32_t listing;                 /* number of the current task listing */
    fw_totals totals;
    struct fw_window *windows[FW_KINDS];  /* NULL where that kind is not profiled, or memory ran out */

    PyTypeObject *scope_type;         /* the exact type that the handler accepts as a context variable's value */
    PyObject *scope_variable;         /* the ContextVar */
    uint64_t scope_variable_hash;
} fw_state;

extern fw_state fw;
extern __thread fw_slot *fw_thread_slot __attribute__((tls_model("initial-exec")));
extern __thread pid_t fw_thread_tid __attribute__((tls_model("initial-exec")));

/* clocks, nanoseconds */
uint64_t fw_clock_ns(clockid_t clock);                 /* 0 where the clock (a thread's) is gone */
static inline clockid_t fw_thread_clock(pid_t tid) {
    /* SAFETY: the kernel's encoding of a thread's CPU clock (include/linux/posix-timers.h, CPUCLOCK_PERTHREAD |
     * CPUCLOCK_SCHED), ABI since 2.6.12; pthread_getcpuclockid() builds the same value. */
    return (clockid_t)((~(unsigned)tid << 3) | 6u);
}
pid_t fw_gettid(void);
static inline void fw_count_drop(enum fw_drop reason) {
    atomic_fetch_add_explicit(&fw.dropped[reason], 1, memory_order_relaxed);
}

/* guard.c */
int fw_guard_install(void);
void fw_guard_remove(void);
void fw_guard_check_owner(void);
bool fw_guard_is_direct(const void *ucontext);      /* may the handler read directly now? NULL: not in a handler */
bool fw_read(bool direct, void *to, uint64_t from, size_t size);

/* hamt.c: the current Scope's labels of this thread; *out gets labels pointer | 1 when its span has ended, or 0 */
bool fw_read_scope(bool direct, uint64_t thread_state, uint64_t *out);
bool fw_read_context_variable(bool direct, uint64_t thread_state, uint64_t variable, uint64_t hash, uint64_t *value);

/* unwind.c */
enum fw_sample_flags { FW_SAMPLE_NATIVE = 1, FW_SAMPLE_TRUNCATED = 2, FW_SAMPLE_UNCOUNTED = 4 };
/* now_ns: the thread's CPU clock. extra_codes stand above the leaf. False: dropped and counted. */
bool fw_sample(fw_slot *slot, bool direct, uint64_t now_ns, PyObject *const *extra_codes, size_t extra_count,
               uint32_t flags);
uint64_t fw_claim(fw_slot *slot, uint64_t now_ns);
/* The stack of another thread, which has to stand still meanwhile, as a record in the ring of `into` that is not
 * published yet. */
typedef struct {
    uint64_t hash;                    /* of frames, instructions and labels */
    uint64_t leaf_hash;               /* of the leaf's code object and instruction */
    uint32_t depth;
} fw_reading;
bool fw_read_other(fw_slot *into, bool direct, uint64_t thread_state, pid_t tid, fw_reading *out);
void fw_forget_reading(fw_slot *into);

/* timers.c */
int fw_signal_install(PyObject **error);
void fw_signal_disable(void);
void fw_signal_check_owner(void);                      /* lets timers rest while SIGPROF is another's */
bool fw_timer_create(fw_slot *slot);
void fw_timer_delete(fw_slot *slot);

/* ceiling.c */
void fw_ceiling_reset(void);
void fw_ceiling_check(void);                           /* under reader_lock, after the rings were drained */

/* threads.c */
fw_slot *fw_attach(pid_t tid, bool is_caller, uint64_t base_ns, bool excluded);
void fw_detach_caller(fw_slot *slot);
void fw_list_threads(bool at_start);
fw_slot *fw_find_thread(pid_t tid);                    /* the slot of a live thread, or NULL */
void fw_free_slot(fw_slot *slot);
int fw_threads_init(void);
bool fw_give_memory(fw_slot *slot);
void fw_fork_prepare(void);
void fw_fork_parent(void);
void fw_fork_child(void);

/* drain.c */
uint64_t fw_fullest_ring(void);                        /* words that wait in the ring where most do */
void fw_drain_all(void);
void fw_drain_slot(fw_slot *slot);
bool fw_take_stack(fw_slot *slot, fw_held_stack *out); /* the oldest record's stack, which leaves the ring */
void fw_settle_all(void);
PyObject *fw_decode_records(fw_slot *slot);

/* wall.c */
int fw_wall_begin(uint64_t period_ns);                 /* 0: no wall-clock profiles. Returns 0, or why not as an errno */
int fw_wall_ensure(void);                              /* its thread runs, where it should (a fork child has none) */
void fw_wall_stop(void);                               /* waits for its thread; no lock may be held */
void fw_wall_at_exit(void);
void fw_wall_fork_child(void);
void fw_wall_settle(uint64_t now_ns);                  /* the end of a window: what threads do counts up to then */
void fw_wall_attach(const fw_slot *slot);              /* under threads_lock, before the slot is live */
void fw_wall_end(fw_slot *slot);                       /* its thread has ended, its ring is read; under reader_lock */
PyObject *fw_wall_stats(void);                         /* a dict, or None */

/* wait.c */
enum fw_thread_state fw_state_of(pid_t tid);           /* of a thread that is off its CPU; reads a file of /proc */

/* states.c: thread states of all interpreters, read without any of their locks. False: the lists changed meanwhile. */
typedef void (*fw_state_visitor)(void *argument, uint64_t thread_state, pid_t tid);
bool fw_each_state(bool direct, fw_state_visitor visit, void *argument);

/* selftest.c */
const char *fw_learn_context(void);                    /* checks offsets, learns the HAMT node types; NULL or why not */
const char *fw_check_states(void);                     /* the lists of thread states are where they should be; or why not */
PyObject *fw_capture(PyObject *module, PyObject *unused);
PyObject *fw_read_variable(PyObject *module, PyObject *variable);

/* hook.c */
int fw_hook_init(PyObject *module);

/* sampler.c */
extern PyMethodDef fw_sampler_methods[];

#endif
