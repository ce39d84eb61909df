/* tags: the context manager that makes a Scope current and takes it back.
 *
 * One object may be entered by many threads and tasks at once, and again while it is entered. So it keeps nothing of an
 * enter: the Scope that it makes current names its maker and the Scope below, which is all that exit needs. */
#include "scope.h"

typedef struct {
    PyObject_HEAD
    PyObject *pairs;
    uint64_t id;
    PyObject *cached_outer;            /* what the last enter merged with, and what came out: a loop allocates nothing */
    PyObject *cached_scope;
} fw_tags;

static PyTypeObject *tags_type;
static uint64_t next_id;

static PyObject *tags_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    if (PyTuple_Size(args) != 0) {
        PyErr_SetString(PyExc_TypeError, "tags are given by name: tags(route=\"/cart\")");
        return NULL;
    }
    PyObject *empty = kwargs == NULL ? PyDict_New() : NULL;
    PyObject *pairs = fw_scope_pairs(kwargs != NULL ? kwargs : empty);
    Py_XDECREF(empty);
    if (pairs == NULL) {
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    fw_tags *self = (fw_tags *)allocate(type, 0);
    if (self == NULL) {
        Py_DECREF(pairs);
        return NULL;
    }
    self->pairs = pairs;
    self->id = ++next_id;
    return (PyObject *)self;
}

static int tags_traverse(PyObject *op, visitproc visit, void *arg) {
    fw_tags *self = (fw_tags *)op;
    Py_VISIT(self->pairs);
    Py_VISIT(self->cached_outer);
    Py_VISIT(self->cached_scope);
    Py_VISIT(Py_TYPE(op));
    return 0;
}

static int tags_clear(PyObject *op) {
    fw_tags *self = (fw_tags *)op;
    Py_CLEAR(self->cached_outer);
    Py_CLEAR(self->cached_scope);
    return 0;
}

static void tags_dealloc(PyObject *op) {
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    tags_clear(op);
    Py_CLEAR(((fw_tags *)op)->pairs);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(op);
    Py_DECREF(type);
}

static PyObject *scope_over(fw_tags *self, PyObject *outer) {
    if (self->cached_scope != NULL && self->cached_outer == outer) {
        Py_INCREF(self->cached_scope);
        return self->cached_scope;
    }
    PyObject *scope = fw_scope_merge(outer, self->pairs, self->id);
    if (scope != NULL) {
        PyObject *old_outer = self->cached_outer, *old_scope = self->cached_scope;
        Py_XINCREF(outer);
        Py_INCREF(scope);
        self->cached_outer = outer;
        self->cached_scope = scope;
        Py_XDECREF(old_outer);
        Py_XDECREF(old_scope);
    }
    return scope;
}

/* Never raises: without memory the labels are missing, not the program. */
static PyObject *tags_enter(PyObject *op, PyObject *unused) {
    (void)unused;
    PyObject *outer = fw_scope_current();
    PyObject *scope = scope_over((fw_tags *)op, outer);
    if (scope == NULL || fw_scope_set_current(scope) != 0) {
        PyErr_Clear();
    }
    Py_XDECREF(outer);
    Py_XDECREF(scope);
    Py_INCREF(op);
    return op;
}

/* The chain `scope` without the topmost link that `id` made: tags were left in another order than they were entered
 * (a generator that was suspended inside a `with`). New reference in *out; false: not in the chain, or no memory. */
static bool without(PyObject *op, uint64_t id, PyObject **out) {
    fw_scope *scope = (fw_scope *)op;
    PyObject *below = NULL;
    if (scope == NULL) {
        return false;
    }
    if (scope->maker == id) {
        Py_XINCREF(scope->outer);
        *out = scope->outer;
        return true;
    }
    if (Py_EnterRecursiveCall(" while leaving tags") != 0) {
        return false;
    }
    bool found = without(scope->outer, id, &below);
    Py_LeaveRecursiveCall();
    if (!found) {
        return false;
    }
    *out = fw_scope_merge(below, scope->own, scope->maker);
    Py_XDECREF(below);
    return *out != NULL;
}

static PyObject *tags_exit(PyObject *op, PyObject *const *args, Py_ssize_t count) {
    (void)args;
    (void)count;
    fw_tags *self = (fw_tags *)op;
    PyObject *current = fw_scope_current(), *rest = NULL;
    fw_scope *scope = (fw_scope *)current;
    if (scope != NULL && scope->maker == self->id) {
        if (fw_scope_set_current(scope->outer) != 0) {
            PyErr_Clear();
        }
    } else if (without(current, self->id, &rest)) {
        if (fw_scope_set_current(rest) != 0) {
            PyErr_Clear();
        }
        Py_XDECREF(rest);
    } else if (PyErr_Occurred()) {
        PyErr_Clear();                 /* left in a context that it was not entered in: nothing to take back */
    }
    Py_XDECREF(current);
    Py_RETURN_FALSE;
}

/* As a decorator: flamewire.scope.decorate(self, function) tells functions, coroutines and generators apart. */
static PyObject *tags_call(PyObject *op, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"function", NULL};
    PyObject *function, *result = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:tags", names, &function)) {
        return NULL;
    }
    PyObject *scope_module = PyImport_ImportModule("flamewire.scope");
    PyObject *decorate = scope_module != NULL ? PyObject_GetAttrString(scope_module, "decorate") : NULL;
    if (decorate != NULL) {
        result = PyObject_CallFunctionObjArgs(decorate, op, function, NULL);
    }
    Py_XDECREF(decorate);
    Py_XDECREF(scope_module);
    return result;
}

static PyObject *tags_get_labels(PyObject *op, void *unused) {
    (void)unused;
    PyObject *dict = PyDict_New();
    if (dict != NULL && PyDict_MergeFromSeq2(dict, ((fw_tags *)op)->pairs, 1) != 0) {
        Py_CLEAR(dict);
    }
    return dict;
}

static PyMethodDef tags_methods[] = {
    {"__enter__", tags_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))tags_exit, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};
static PyGetSetDef tags_getset[] = {
    {"labels", tags_get_labels, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyType_Slot tags_slots[] = {
    {Py_tp_new, tags_new},
    {Py_tp_call, tags_call},
    {Py_tp_traverse, tags_traverse},
    {Py_tp_clear, tags_clear},
    {Py_tp_dealloc, tags_dealloc},
    {Py_tp_methods, tags_methods},
    {Py_tp_getset, tags_getset},
    {0, NULL},
};
static PyType_Spec tags_spec = {
    .name = "flamewire._native.tags",
    .basicsize = sizeof(fw_tags),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = tags_slots,
};

int fw_tags_init(PyObject *module) {
    tags_type = (PyTypeObject *)PyType_FromSpec(&tags_spec);
    return tags_type == NULL ? -1 : PyModule_AddObjectRef(module, "tags", (PyObject *)tags_type);
}
