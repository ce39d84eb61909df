/* What Python calls: start, poll, take a window, stop, counters. */
#include "core.h"

#include <stdlib.h>
#include <string.h>

#include "scope.h"
#include "window.h"

static const char *const KINDS[FW_KINDS] = {"cpu", "wall"};
static const uint64_t LISTING_INTERVAL_NS = 1000000000ull;
static const char *const DROP_NAMES[FW_DROP_COUNT] = {
    "ring_full", "reentered", "fault", "foreign_thread_state", "window_full", "too_many_threads", "no_timer",
    "signal_taken", "overhead_limit",
};

static PyObject *stop(PyObject *module, PyObject *unused);

static bool at_exit_registered;
static bool starting;                  /* the self-test runs Python, which may let another thread call start() */

/* The last windows of a session, but that of the CPU, which stop() returns; under reader_lock. */
static struct {
    fw_window *window;
    uint64_t duration_ns;
} ended[FW_KINDS];

static void at_exit(void) {
    /* The interpreter is gone when this runs: nothing may be sampled any more. */
    atomic_store(&fw.active, 0);
    fw_wall_at_exit();
    fw_signal_disable();
}

static int register_once(void) {
    if (at_exit_registered) {
        return 0;
    }
    if (pthread_atfork(fw_fork_prepare, fw_fork_parent, fw_fork_child) != 0 || Py_AtExit(at_exit) != 0) {
        PyErr_SetString(PyExc_RuntimeError, "the process takes no more fork or exit handlers");
        return -1;
    }
    at_exit_registered = true;
    return 0;
}

static PyObject *unsupported(PyObject *module, PyObject *unused) {
    (void)module;
    (void)unused;
    const char *why = fw_layout_init();
    if (why == NULL) {
        return Py_NewRef(Py_None);
    }
    return PyUnicode_FromString(why);
}

static void wait_for_handlers(void) {
    const struct timespec pause = {.tv_nsec = 50000};
    for (uint32_t i = 0; i < atomic_load(&fw.slots_used); i++) {
        /* Bounded: a thread may be stopped by a debugger inside the handler. */
        for (int tries = 0; atomic_load(&fw.slots[i].busy) && tries < 20000; tries++) {
            nanosleep(&pause, NULL);
        }
    }
}

/* Under reader_lock. No handler runs, and none will, when this returns. */
static void disarm(void) {
    pthread_mutex_lock(&fw.threads_lock);
    fw.started = false;
    for (uint32_t i = 0; i < atomic_load(&fw.slots_used); i++) {
        fw_timer_delete(&fw.slots[i]);
    }
    atomic_store(&fw.active, 0);
    pthread_mutex_unlock(&fw.threads_lock);
    wait_for_handlers();
    fw_signal_disable();
}

static void free_all_slots(void) {
    pthread_mutex_lock(&fw.threads_lock);
    for (uint32_t i = 0; i < atomic_load(&fw.slots_used); i++) {
        if (atomic_load(&fw.slots[i].state) != FW_FREE) {
            fw_wall_end(&fw.slots[i]);
            fw_free_slot(&fw.slots[i]);
        }
    }
    pthread_mutex_unlock(&fw.threads_lock);
}

static int begin(PyObject *self_test) {
    PyObject *error = NULL;
    if (fw_signal_install(&error) != 0) {
        if (error != NULL) {
            PyErr_SetFromErrno(error);
        }
        return -1;
    }
    atomic_store(&fw.active, 1);
    const char *why = fw_learn_context();
    if (why != NULL) {
        PyErr_SetString(PyExc_RuntimeError, why);
        return -1;
    }
    if (self_test != Py_None) {
        PyObject *result = PyObject_CallNoArgs(self_test);
        if (result == NULL) {
            return -1;
        }
        Py_DECREF(result);
    }
    return 0;
}

static void reset_counters(void) {
    fw.totals = (fw_totals){0};
    for (int i = 0; i < FW_DROP_COUNT; i++) {
        atomic_store(&fw.dropped[i], 0);
    }
    atomic_store(&fw.syscall_samples, 0);
    atomic_store(&fw.handler_ns, 0);
    fw_ceiling_reset();
}

static void drop_ended(void) {
    for (int kind = 0; kind < FW_KINDS; kind++) {
        fw_window_free(ended[kind].window);
        ended[kind].window = NULL;
    }
}

static PyObject *refused(int error) {
    Py_XDECREF(stop(NULL, NULL));
    return PyErr_Format(PyExc_NotImplementedError, "the thread for wall-clock profiles does not start: %s",
                        strerror(error));
}

static PyObject *start(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"period_ns", "max_depth", "self_test", "wall_period_ns", "max_span_ids", NULL};
    unsigned long long period_ns, wall_period_ns = 0;
    unsigned int max_depth, max_span_ids = FW_WINDOW_SPAN_IDS;
    PyObject *self_test = Py_None;
    int wall_error = 0;
    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "KI|OKI:start", names, &period_ns, &max_depth, &self_test,
                                     &wall_period_ns, &max_span_ids)) {
        return NULL;
    }
    if (period_ns < 1000 || (wall_period_ns != 0 && wall_period_ns < 1000) || max_depth < 1 || max_depth > FW_MAX_DEPTH) {
        return PyErr_Format(PyExc_ValueError, "period_ns is at least 1000, max_depth 1 to %d", (int)FW_MAX_DEPTH);
    }
    if (fw.started || starting) {
        PyErr_SetString(PyExc_RuntimeError, "the sampler runs already in this process");
        return NULL;
    }
    const char *why = fw_layout_init();
    if (why != NULL) {
        PyErr_SetString(PyExc_RuntimeError, why);
        return NULL;
    }
    if (fw_threads_init() != 0) {
        return PyErr_NoMemory();
    }
    fw.period_ns = period_ns;
    atomic_store(&fw.stretch, 1);
    fw.max_depth = max_depth;
    fw.max_span_ids = max_span_ids;
    starting = true;
    bool ready = register_once() == 0 && begin(self_test) == 0;
    starting = false;
    if (ready && wall_period_ns != 0 && (why = fw_check_states()) != NULL) {
        PyErr_SetString(PyExc_NotImplementedError, why);
        ready = false;
    }
    if (!ready) {
        atomic_store(&fw.active, 0);
        fw_signal_disable();
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&fw.reader_lock);
    reset_counters();
    fw_window_reset(FW_CPU);
    drop_ended();
    fw.started = true;
    fw.suspended = false;
    wall_error = fw_wall_begin(wall_period_ns);
    fw.process_base_ns = fw_clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    fw_list_threads(true);
    pthread_mutex_unlock(&fw.reader_lock);
    Py_END_ALLOW_THREADS
    return wall_error == 0 ? Py_NewRef(Py_None) : refused(wall_error);
}

static PyObject *poll_rings(PyObject *module, PyObject *unused) {
    uint64_t waiting = 0;
    (void)module;
    (void)unused;
    if (fw.started) {
        Py_BEGIN_ALLOW_THREADS
        pthread_mutex_lock(&fw.reader_lock);
        if (fw.started) {
            fw_guard_check_owner();
            fw_signal_check_owner();
            if (fw_clock_ns(CLOCK_MONOTONIC) - fw.last_listing_mono_ns >= LISTING_INTERVAL_NS) {
                fw_list_threads(false);
            }
            waiting = fw_fullest_ring();
            fw_drain_all();
            fw_ceiling_check();
            fw_wall_ensure();          /* tried again at the next poll */
        }
        pthread_mutex_unlock(&fw.reader_lock);
        Py_END_ALLOW_THREADS
    }
    return PyFloat_FromDouble((double)waiting / FW_RING_WORDS);
}

/* Encodes and frees a window that was turned; (pprof, start_unix_ns, duration_ns, samples), None for an empty one. */
static PyObject *finished(enum fw_kind kind, fw_window *window, uint64_t duration_ns) {
    char *bytes = NULL;
    size_t length = 0;
    uint64_t start_ns = 0, samples = 0;
    if (window == NULL) {
        return Py_NewRef(Py_None);
    }
    bool empty = window->count == 0;
    Py_BEGIN_ALLOW_THREADS
    if (!empty) {
        bytes = fw_pprof_encode(kind, window, duration_ns, fw.period_ns, &length);
    }
    start_ns = window->start_unix_ns;
    samples = window->samples;
    pthread_mutex_lock(&fw.reader_lock);
    fw_window_free(window);
    pthread_mutex_unlock(&fw.reader_lock);
    Py_END_ALLOW_THREADS
    if (empty) {
        return Py_NewRef(Py_None);
    }
    if (bytes == NULL) {
        return PyErr_NoMemory();
    }
    PyObject *result = Py_BuildValue("(y#KKK)", bytes, (Py_ssize_t)length, (unsigned long long)start_ns,
                                     (unsigned long long)duration_ns, (unsigned long long)samples);
    free(bytes);
    return result;
}

/* Returns the time at which the window ends. */
static uint64_t settle(enum fw_kind kind) {
    if (kind == FW_CPU) {
        fw_settle_all();
    }
    uint64_t now_ns = fw_clock_ns(CLOCK_MONOTONIC);
    if (kind == FW_WALL) {
        fw_wall_settle(now_ns);
    }
    return now_ns;
}

static PyObject *take_window(PyObject *module, PyObject *args) {
    const char *name = KINDS[FW_CPU];
    int kind = 0;
    fw_window *window = NULL;
    uint64_t duration_ns = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "|s:take_window", &name)) {
        return NULL;
    }
    while (kind < FW_KINDS && strcmp(name, KINDS[kind]) != 0) {
        kind++;
    }
    if (kind == FW_KINDS) {
        return PyErr_Format(PyExc_ValueError, "there are no windows of %s", name);
    }
    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&fw.reader_lock);
    if (!fw.started) {
        window = ended[kind].window;
        duration_ns = ended[kind].duration_ns;
        ended[kind].window = NULL;
    } else if (fw.windows[kind] != NULL) {
        fw_list_threads(false);
        fw_drain_all();
        window = fw_window_turn(kind, settle(kind), &duration_ns);
    }
    pthread_mutex_unlock(&fw.reader_lock);
    Py_END_ALLOW_THREADS
    return finished(kind, window, duration_ns);
}

static PyObject *stop(PyObject *module, PyObject *unused) {
    fw_window *window = NULL;
    uint64_t duration_ns = 0;
    (void)module;
    (void)unused;
    Py_BEGIN_ALLOW_THREADS
    fw_wall_stop();
    pthread_mutex_lock(&fw.reader_lock);
    if (fw.started) {
        disarm();
        fw_drain_all();
        settle(FW_CPU);
        uint64_t now_ns = settle(FW_WALL);
        free_all_slots();
        drop_ended();
        for (int kind = 0; kind < FW_KINDS; kind++) {
            window = fw.windows[kind];
            fw.windows[kind] = NULL;
            ended[kind].window = window;
            ended[kind].duration_ns = window != NULL ? now_ns - window->start_mono_ns : 0;
        }
    }
    window = ended[FW_CPU].window;
    duration_ns = ended[FW_CPU].duration_ns;
    ended[FW_CPU].window = NULL;
    pthread_mutex_unlock(&fw.reader_lock);
    Py_END_ALLOW_THREADS
    return finished(FW_CPU, window, duration_ns);
}

/* Leaves a thread (default: the caller) out of the profile; its CPU is counted as own_cpu_ns. */
static PyObject *exclude_thread(PyObject *module, PyObject *args) {
    int tid = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "|i:exclude_thread", &tid)) {
        return NULL;
    }
    if (fw.started) {
        Py_BEGIN_ALLOW_THREADS
        bool is_caller = tid == 0 || tid == fw_gettid();
        fw_attach(is_caller ? fw_gettid() : tid, is_caller, 0, true);
        Py_END_ALLOW_THREADS
    }
    return Py_NewRef(Py_None);
}

typedef struct {
    uint64_t own_ns;
    uint32_t threads;
} live;

static live count_live(void) {
    live out = {.own_ns = fw.totals.own_ns};
    pthread_mutex_lock(&fw.threads_lock);
    for (uint32_t i = 0; i < atomic_load(&fw.slots_used); i++) {
        fw_slot *slot = &fw.slots[i];
        if (atomic_load(&slot->state) != FW_LIVE) {
            continue;
        }
        uint64_t claimed = atomic_load(&slot->claimed_ns);
        uint64_t now = slot->excluded ? fw_clock_ns(fw_thread_clock(atomic_load(&slot->tid))) : 0;
        out.own_ns += now > claimed ? now - claimed : 0;
        out.threads += !slot->excluded;
    }
    pthread_mutex_unlock(&fw.threads_lock);
    return out;
}

static PyObject *stats(PyObject *module, PyObject *unused) {
    fw_totals totals;
    live now;
    size_t codes;
    (void)module;
    (void)unused;
    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&fw.reader_lock);
    totals = fw.totals;
    now = count_live();
    codes = fw_code_count();
    pthread_mutex_unlock(&fw.reader_lock);
    Py_END_ALLOW_THREADS
    PyObject *dropped = PyDict_New();
    for (int i = 0; dropped != NULL && i < FW_DROP_COUNT; i++) {
        unsigned long long count = atomic_load(&fw.dropped[i]);
        PyObject *value = PyLong_FromUnsignedLongLong(count);
        if (value == NULL || (count != 0 && PyDict_SetItemString(dropped, DROP_NAMES[i], value) != 0)) {
            Py_CLEAR(dropped);
        }
        Py_XDECREF(value);
    }
    if (dropped == NULL) {
        return NULL;
    }
    return Py_BuildValue(
        "{s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:I,s:n,s:O,s:K,s:K,s:N,s:N}", "samples_gathered", (unsigned long long)totals.samples,
        "samples_due", (unsigned long long)(fw.period_ns ? totals.accounted_ns / fw.period_ns : 0), "accounted_ns",
        (unsigned long long)totals.accounted_ns, "unattributed_ns", (unsigned long long)totals.unattributed_ns,
        "own_cpu_ns", (unsigned long long)now.own_ns, "handler_ns", (unsigned long long)atomic_load(&fw.handler_ns),
        "syscall_samples", (unsigned long long)atomic_load(&fw.syscall_samples), "threads", now.threads,
        "code_objects", (Py_ssize_t)codes, "started", fw.started ? Py_True : Py_False,
        "without_child_span", (unsigned long long)totals.without_child, "without_span",
        (unsigned long long)totals.without_span, "dropped", dropped,
        "wall", fw_wall_stats());
}

PyMethodDef fw_sampler_methods[] = {
    {"unsupported", unsupported, METH_NOARGS, NULL},
    {"start", (PyCFunction)(void (*)(void))start, METH_VARARGS | METH_KEYWORDS, NULL},
    {"poll", poll_rings, METH_NOARGS, NULL},
    {"take_window", take_window, METH_VARARGS, NULL},
    {"stop", stop, METH_NOARGS, NULL},
    {"stats", stats, METH_NOARGS, NULL},
    {"exclude_thread", exclude_thread, METH_VARARGS, NULL},
    {"capture", fw_capture, METH_NOARGS, NULL},
    {"current_labels", fw_current_labels, METH_NOARGS, NULL},
    {"follow_span", fw_follow_span, METH_O, NULL},
    {"run_in_scope", (PyCFunction)(void (*)(void))fw_run_in_scope, METH_VARARGS | METH_KEYWORDS, NULL},
    {"read_variable", fw_read_variable, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
