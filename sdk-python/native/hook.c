/* How threads announce themselves, so that each is sampled from its first instruction and settled at its last. ThreadHook
 * stands in for threading.Thread._bootstrap_inner, StartHook for _thread.start_new_thread. Callables without a Python
 * frame of their own: stacks look as they do without them. */
#include "core.h"

#include <dlfcn.h>

#include "scope.h"

enum { ENTRY_CODES = 3 };

typedef struct {
    PyObject_HEAD
    PyObject *original;
    PyObject *own_type;                /* threads of this class are the SDK's own, or None */
} thread_hook;

static PyObject *(*method_new)(PyObject *function, PyObject *self);
static PyTypeObject *function_type, *method_type;

/* The code object behind a plain function or bound method; other callables are not asked, they may be user code. */
static PyObject *code_of(PyObject *callable) {
    if (callable == NULL || (Py_TYPE(callable) != function_type && Py_TYPE(callable) != method_type)) {
        return NULL;
    }
    PyObject *code = PyObject_GetAttrString(callable, "__code__");
    if (code != NULL && (uint64_t)(uintptr_t)Py_TYPE(code) != fw_layout.code_type) {
        Py_CLEAR(code);
    }
    return code;
}

static PyObject *code_of_attribute(PyObject *object, const char *name) {
    PyObject *value = PyObject_GetAttrString(object, name), *code = code_of(value);
    Py_XDECREF(value);
    return code;
}

/* What a thread that is never sampled counts for: the functions that it enters, leaf first. NULLs are left out. */
static void write_entry(fw_slot *slot, PyObject *const *found) {
    PyObject *codes[ENTRY_CODES];
    size_t count = 0;
    for (int i = 0; i < ENTRY_CODES; i++) {
        if (found[i] != NULL) {
            codes[count++] = found[i];
        }
    }
    if (atomic_exchange(&slot->busy, 1) == 0) {
        fw_sample(slot, fw_guard_is_direct(NULL), fw_clock_ns(CLOCK_THREAD_CPUTIME_ID), codes, count,
                  FW_SAMPLE_UNCOUNTED);
        atomic_store(&slot->busy, 0);
    }
}

static bool is_attached(void) {
    fw_slot *slot = fw_thread_slot;
    return slot != NULL && atomic_load(&slot->tid) == fw_gettid() && atomic_load(&slot->state) == FW_LIVE;
}

/* Under gevent a "thread" starts on a thread that is sampled already; it is not ours to end. */
static bool must_attach(void) { return fw.started && !is_attached(); }

/* The thread's whole life: attach, call, detach. */
static PyObject *call_attached(PyObject *callable, PyObject *args, PyObject *kwargs, PyObject *const *entered,
                               bool own) {
    fw_slot *slot = fw_attach(fw_gettid(), true, 0, own);
    if (slot != NULL && !own) {
        write_entry(slot, entered);
    }
    PyObject *result = PyObject_Call(callable, args, kwargs);
    if (slot != NULL && is_attached()) {
        fw_detach_caller(fw_thread_slot);
    }
    return result;
}

/* The tags of the place that started the thread, where executors.py left them. */
static void inherit_scope(PyObject *args) {
    PyObject *scope = PyTuple_Size(args) == 1
        ? PyObject_GetAttrString(PyTuple_GetItem(args, 0), "_flamewire_scope") : NULL;
    if (scope != NULL && Py_TYPE(scope) == fw.scope_type) {
        fw_scope_set_current(scope);
    }
    Py_XDECREF(scope);
    PyErr_Clear();
}

static PyObject *hook_call(PyObject *op, PyObject *args, PyObject *kwargs) {
    thread_hook *hook = (thread_hook *)op;
    inherit_scope(args);
    if (PyTuple_Size(args) != 1 || !must_attach()) {
        return PyObject_Call(hook->original, args, kwargs);
    }
    PyObject *thread = PyTuple_GetItem(args, 0);
    int own = hook->own_type == Py_None ? 0 : PyObject_IsInstance(thread, hook->own_type);
    PyObject *entered[ENTRY_CODES] = {code_of_attribute(thread, "_target"),
                                      code_of_attribute((PyObject *)Py_TYPE(thread), "run"), code_of(hook->original)};
    PyErr_Clear();
    PyObject *result = call_attached(hook->original, args, kwargs, entered, own == 1);
    for (int i = 0; i < ENTRY_CODES; i++) {
        Py_XDECREF(entered[i]);
    }
    return result;
}

static PyObject *hook_get(PyObject *op, PyObject *object, PyObject *type) {
    (void)type;
    if (object == NULL || object == Py_None) {
        Py_INCREF(op);
        return op;
    }
    return method_new(op, object);
}

static PyObject *hook_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"original", "own_type", NULL};
    PyObject *original, *own_type = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:ThreadHook", names, &original, &own_type)) {
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    thread_hook *self = (thread_hook *)allocate(type, 0);
    if (self != NULL) {
        Py_INCREF(original);
        Py_INCREF(own_type);
        self->original = original;
        self->own_type = own_type;
    }
    return (PyObject *)self;
}

static int hook_traverse(PyObject *op, visitproc visit, void *arg) {
    Py_VISIT(((thread_hook *)op)->original);
    Py_VISIT(((thread_hook *)op)->own_type);
    Py_VISIT(Py_TYPE(op));
    return 0;
}

static void hook_dealloc(PyObject *op) {
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    Py_XDECREF(((thread_hook *)op)->original);
    Py_XDECREF(((thread_hook *)op)->own_type);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(op);
    Py_DECREF(type);
}

static PyObject *hook_original(PyObject *op, void *unused) {
    (void)unused;
    Py_INCREF(((thread_hook *)op)->original);
    return ((thread_hook *)op)->original;
}

/* StartHook: the same for threads that are started below threading.Thread, by _thread.start_new_thread(). It hands on
 * the function inside a thread_entry, which calls it. */
typedef struct {
    PyObject_HEAD
    PyObject *function;
} thread_entry;

static PyTypeObject *entry_type;

static PyObject *entry_call(PyObject *op, PyObject *args, PyObject *kwargs) {
    PyObject *function = ((thread_entry *)op)->function;
    if (!must_attach()) {
        return PyObject_Call(function, args, kwargs);
    }
    PyObject *entered[ENTRY_CODES] = {code_of(function)};
    PyErr_Clear();
    PyObject *result = call_attached(function, args, kwargs, entered, false);
    Py_XDECREF(entered[0]);
    return result;
}

/* The interpreter names the function in its message when the thread dies of an exception. */
static PyObject *entry_repr(PyObject *op) { return PyObject_Repr(((thread_entry *)op)->function); }

static int entry_traverse(PyObject *op, visitproc visit, void *arg) {
    Py_VISIT(((thread_entry *)op)->function);
    Py_VISIT(Py_TYPE(op));
    return 0;
}

static void entry_dealloc(PyObject *op) {
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    Py_XDECREF(((thread_entry *)op)->function);
    PyObject_GC_Del(op);
    Py_DECREF(type);
}

static PyObject *start_hook_call(PyObject *op, PyObject *args, PyObject *kwargs) {
    PyObject *original = ((thread_hook *)op)->original, *result = NULL;
    if (!fw.started || kwargs != NULL || PyTuple_Size(args) < 1 || !PyCallable_Check(PyTuple_GetItem(args, 0))) {
        return PyObject_Call(original, args, kwargs);       /* what is wrong with them, it says better */
    }
    thread_entry *entry = PyObject_GC_New(thread_entry, entry_type);
    PyObject *rest = PyTuple_GetSlice(args, 1, PyTuple_Size(args));
    if (entry != NULL) {
        entry->function = PyTuple_GetItem(args, 0);
        Py_INCREF(entry->function);
        PyObject_GC_Track((PyObject *)entry);
    }
    PyObject *first = entry != NULL ? PyTuple_Pack(1, (PyObject *)entry) : NULL;
    PyObject *given = first != NULL && rest != NULL ? PySequence_Concat(first, rest) : NULL;
    if (given != NULL) {
        result = PyObject_Call(original, given, NULL);
    }
    Py_XDECREF(given);
    Py_XDECREF(first);
    Py_XDECREF(rest);
    Py_XDECREF((PyObject *)entry);
    return result;
}

static PyGetSetDef hook_getset[] = {
    {"original", hook_original, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyType_Slot hook_slots[] = {
    {Py_tp_new, hook_new},
    {Py_tp_call, hook_call},
    {Py_tp_descr_get, hook_get},
    {Py_tp_traverse, hook_traverse},
    {Py_tp_dealloc, hook_dealloc},
    {Py_tp_getset, hook_getset},
    {0, NULL},
};
static PyType_Spec hook_spec = {
    .name = "flamewire._native.ThreadHook",
    .basicsize = sizeof(thread_hook),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = hook_slots,
};

static PyType_Slot start_slots[] = {
    {Py_tp_new, hook_new},
    {Py_tp_call, start_hook_call},
    {Py_tp_traverse, hook_traverse},
    {Py_tp_dealloc, hook_dealloc},
    {Py_tp_getset, hook_getset},
    {0, NULL},
};
static PyType_Spec start_spec = {
    .name = "flamewire._native.StartHook",
    .basicsize = sizeof(thread_hook),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = start_slots,
};
static PyType_Slot entry_slots[] = {
    {Py_tp_call, entry_call},
    {Py_tp_repr, entry_repr},
    {Py_tp_traverse, entry_traverse},
    {Py_tp_dealloc, entry_dealloc},
    {0, NULL},
};
static PyType_Spec entry_spec = {
    .name = "flamewire._native.ThreadEntry",
    .basicsize = sizeof(thread_entry),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = entry_slots,
};

static int add_type(PyObject *module, const char *name, PyType_Spec *spec) {
    PyObject *type = PyType_FromSpec(spec);
    return type == NULL ? -1 : PyModule_AddObjectRef(module, name, type);
}

int fw_hook_init(PyObject *module) {
    method_new = (PyObject *(*)(PyObject *, PyObject *))dlsym(RTLD_DEFAULT, "PyMethod_New");
    function_type = (PyTypeObject *)dlsym(RTLD_DEFAULT, "PyFunction_Type");
    method_type = (PyTypeObject *)dlsym(RTLD_DEFAULT, "PyMethod_Type");
    if (method_new == NULL || function_type == NULL || method_type == NULL) {
        PyErr_SetString(PyExc_ImportError, "this interpreter does not export PyMethod_New");
        return -1;
    }
    entry_type = (PyTypeObject *)PyType_FromSpec(&entry_spec);
    return entry_type == NULL || add_type(module, "ThreadHook", &hook_spec) != 0
        ? -1 : add_type(module, "StartHook", &start_spec);
}
