/* What is checked and learned before anything is sampled, and the sample of oneself that tests compare. */
#include "core.h"

#include <dlfcn.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "scope.h"

enum { MANY_VARIABLES = 400 };         /* enough for an array node at the root: 30 were too few once */

typedef struct {
    PyObject *(*context_new)(void);
    int (*enter)(PyObject *context);
    int (*leave)(PyObject *context);
} context_calls;

static uint64_t word_of(uint64_t address) {
    uint64_t value = 0;
    return fw_read(fw_guard_is_direct(NULL), &value, address, sizeof value) ? value : 0;
}

/* Address of the type of the root node of a context that holds `count` variables; 0 when something is not as expected. */
static uint64_t root_type(const context_calls *calls, int count) {
    uint64_t type = 0, state = (uint64_t)(uintptr_t)PyGILState_GetThisThreadState();
    PyObject *context = calls->context_new(), *variables = PyList_New(0);
    if (context == NULL || variables == NULL || calls->enter(context) != 0) {
        goto done;
    }
    for (int i = 0; i < count; i++) {
        PyObject *variable = fw_context.var_new("flamewire_probe", NULL);
        PyObject *token = variable != NULL ? fw_context.var_set(variable, Py_None) : NULL;
        bool ok = token != NULL && PyList_Append(variables, variable) == 0;
        fw_context.tokens_known = ok && word_of((uint64_t)(uintptr_t)token + FW_TOKEN_CONTEXT)
            == (uint64_t)(uintptr_t)context;
        Py_XDECREF(token);
        Py_XDECREF(variable);
        if (!ok) {
            goto leave;
        }
    }
    if (word_of(state + fw_layout.ts_context) == (uint64_t)(uintptr_t)context) {
        type = word_of(word_of(word_of((uint64_t)(uintptr_t)context + 24) + 16) + 8);
    }
leave:
    calls->leave(context);
done:
    PyErr_Clear();
    Py_XDECREF(context);
    Py_XDECREF(variables);
    return type;
}

static bool is_named(uint64_t type, const char *name) {
    PyObject *object = (PyObject *)(uintptr_t)type;
    if (type == 0 || !PyType_Check(object)) {
        return false;
    }
    PyObject *found = PyObject_GetAttrString(object, "__name__");
    bool same = found != NULL && PyUnicode_CompareWithASCIIString(found, name) == 0;
    Py_XDECREF(found);
    PyErr_Clear();
    return same;
}

const char *fw_learn_context(void) {
    context_calls calls = {
        (PyObject *(*)(void))dlsym(RTLD_DEFAULT, "PyContext_New"),
        (int (*)(PyObject *))dlsym(RTLD_DEFAULT, "PyContext_Enter"),
        (int (*)(PyObject *))dlsym(RTLD_DEFAULT, "PyContext_Exit"),
    };
    if (calls.context_new == NULL || calls.enter == NULL || calls.leave == NULL) {
        return "this interpreter does not export PyContext_New";
    }
    uint64_t state = (uint64_t)(uintptr_t)PyGILState_GetThisThreadState();
    if (state == 0 || word_of(state + fw_layout.ts_native_id) != (uint64_t)fw_gettid()) {
        return "the thread state is not where it is expected (a subinterpreter?)";
    }
    fw_layout.bitmap_type = root_type(&calls, 1);
    fw_layout.array_type = root_type(&calls, MANY_VARIABLES);
    if (!is_named(fw_layout.bitmap_type, "hamt_bitmap_node") || !is_named(fw_layout.array_type, "hamt_array_node")) {
        return "context variables are not stored as expected";
    }
    return NULL;
}

static void look_for_own(void *argument, uint64_t thread_state, pid_t tid) {
    *(bool *)argument |= tid == fw_gettid() && thread_state == (uint64_t)(uintptr_t)PyGILState_GetThisThreadState();
}

/* Under the GIL other threads' states may still come and go: the own one is found in every attempt or in none. */
const char *fw_check_states(void) {
    bool found = false;
    fw_each_state(fw_guard_is_direct(NULL), look_for_own, &found);
    return found ? NULL : "the thread states are not listed as expected";
}

/* Sends SIGPROF to the calling thread and returns what the handler wrote: [(frames, labels)]. */
PyObject *fw_capture(PyObject *module, PyObject *unused) {
    static fw_slot slot;               /* under the GIL, which nothing here releases before the ring is read */
    (void)module;
    (void)unused;
    if (!atomic_load(&fw.active) || !fw_give_memory(&slot)) {
        PyErr_SetString(PyExc_RuntimeError, "capture() needs a started sampler");
        return NULL;
    }
    fw_slot *before = fw_thread_slot;
    atomic_store(&slot.tid, fw_gettid());
    atomic_store(&slot.state, FW_LIVE);
    fw_thread_slot = &slot;
    syscall(SYS_tgkill, (long)getpid(), (long)fw_gettid(), (long)SIGPROF);
    fw_thread_slot = before;
    atomic_store(&slot.state, FW_FREE);
    return fw_decode_records(&slot);
}

/* The value of any ContextVar as the handler finds it, or None. */
PyObject *fw_read_variable(PyObject *module, PyObject *variable) {
    (void)module;
    uint64_t value = 0, state = (uint64_t)(uintptr_t)PyGILState_GetThisThreadState();
    Py_hash_t hash = PyObject_Hash(variable);
    if (hash == -1) {
        return NULL;
    }
    if (!fw_read_context_variable(fw_guard_is_direct(NULL), state, (uint64_t)(uintptr_t)variable, (uint64_t)hash,
                                  &value)) {
        PyErr_SetString(PyExc_RuntimeError, "the context could not be read");
        return NULL;
    }
    PyObject *found = value != 0 ? (PyObject *)(uintptr_t)value : Py_None;
    Py_INCREF(found);
    return found;
}
