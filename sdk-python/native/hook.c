/* ThreadHook: stands in for threading.Thread._bootstrap_inner, so that a thread is sampled from its first instruction
 * and settled at its last. A callable without a Python frame of its own: stacks look as they do without it. */
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

/* What a thread that is never sampled counts for: the functions that it enters, leaf first. */
static void write_entry(thread_hook *hook, PyObject *thread, fw_slot *slot) {
    PyObject *codes[ENTRY_CODES], *found[] = {code_of_attribute(thread, "_target"),
                                              code_of_attribute((PyObject *)Py_TYPE(thread), "run"),
                                              code_of(hook->original)};
    size_t count = 0;
    PyErr_Clear();
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
    for (size_t i = 0; i < count; i++) {
        Py_DECREF(codes[i]);
    }
}

static bool is_attached(void) {
    fw_slot *slot = fw_thread_slot;
    return slot != NULL && atomic_load(&slot->tid) == fw_gettid() && atomic_load(&slot->state) == FW_LIVE;
}

static PyObject *hook_call(PyObject *op, PyObject *args, PyObject *kwargs) {
    thread_hook *hook = (thread_hook *)op;
    /* Under gevent a "thread" starts on a thread that is sampled already; it is not ours to end. */
    bool attached = false;
    if (fw.started && PyTuple_Size(args) == 1 && !is_attached()) {
        PyObject *thread = PyTuple_GetItem(args, 0);
        int own = hook->own_type == Py_None ? 0 : PyObject_IsInstance(thread, hook->own_type);
        PyErr_Clear();
        fw_slot *slot = fw_attach(fw_gettid(), true, 0, own == 1);
        attached = slot != NULL;
        if (attached && own != 1) {
            write_entry(hook, thread, slot);
        }
    }
    PyObject *result = PyObject_Call(hook->original, args, kwargs);
    if (attached && is_attached()) {
        fw_detach_caller(fw_thread_slot);
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

int fw_hook_init(PyObject *module) {
    method_new = (PyObject *(*)(PyObject *, PyObject *))dlsym(RTLD_DEFAULT, "PyMethod_New");
    function_type = (PyTypeObject *)dlsym(RTLD_DEFAULT, "PyFunction_Type");
    method_type = (PyTypeObject *)dlsym(RTLD_DEFAULT, "PyMethod_Type");
    if (method_new == NULL || function_type == NULL || method_type == NULL) {
        PyErr_SetString(PyExc_ImportError, "this interpreter does not export PyMethod_New");
        return -1;
    }
    PyObject *type = PyType_FromSpec(&hook_spec);
    return type == NULL ? -1 : PyModule_AddObjectRef(module, "ThreadHook", type);
}
