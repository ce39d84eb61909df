/* tags: the context manager that makes a Scope current and takes it back.
 *
 * `with tags(route="/cart"):` in a hot path makes the same object again and again. It is immutable and may be entered any
 * number of times at once, so equal calls get one object back, out of a small table.
 *
 * One object may be entered by many threads and tasks at once, and again while it is entered. So it keeps nothing of an
 * enter: the Scope that it makes current names its maker and the Scope below, which is all that exit needs. */
#include "scope.h"

typedef struct {
    PyObject_HEAD
    PyObject *pairs;
    uint64_t id;
    PyObject *arguments;               /* (name, value, name, value, ...) as given, where all are str; else NULL */
    PyObject *cached_outer;            /* what the last enter merged with, and what came out: a loop allocates nothing */
    PyObject *cached_scope;
} fw_tags;

enum { KNOWN = 256, KNOWN_ARGUMENTS = 4, KNOWN_CHARACTERS = 200 };

static PyTypeObject *tags_type;
static uint64_t next_id;
static fw_tags *known[KNOWN];          /* by the hash of the arguments; a reference each */

/* False where the call is not one to remember. */
static bool hash_arguments(PyObject *kwargs, uint64_t *out) {
    PyObject *name, *value;
    Py_ssize_t position = 0;
    uint64_t hash = 0;
    if (kwargs == NULL || PyDict_Size(kwargs) > KNOWN_ARGUMENTS) {
        return false;
    }
    while (PyDict_Next(kwargs, &position, &name, &value)) {
        if (!PyUnicode_CheckExact(value) || !PyUnicode_CheckExact(name) || PyUnicode_GetLength(value) > KNOWN_CHARACTERS) {
            return false;
        }
        hash = (hash ^ (uint64_t)PyObject_Hash(name)) * 0x9e3779b97f4a7c15ull;
        hash = (hash ^ (uint64_t)PyObject_Hash(value)) * 0xff51afd7ed558ccdull;
    }
    *out = hash ^ hash >> 32;
    return true;
}

static bool has_arguments(const fw_tags *tags, PyObject *kwargs) {
    PyObject *given[2];
    Py_ssize_t position = 0, at = 0;
    if (tags == NULL || PyTuple_Size(tags->arguments) != 2 * PyDict_Size(kwargs)) {
        return false;
    }
    while (PyDict_Next(kwargs, &position, &given[0], &given[1])) {
        for (int i = 0; i < 2; i++, at++) {
            PyObject *own = PyTuple_GetItem(tags->arguments, at);
            if (own != given[i] && PyUnicode_Compare(own, given[i]) != 0) {
                return false;
            }
        }
    }
    return true;
}

static PyObject *flat(PyObject *kwargs) {
    PyObject *name, *value, *arguments = PyTuple_New(2 * PyDict_Size(kwargs));
    Py_ssize_t position = 0, at = 0;
    while (arguments != NULL && PyDict_Next(kwargs, &position, &name, &value)) {
        Py_INCREF(name);
        Py_INCREF(value);
        PyTuple_SetItem(arguments, at++, name);
        PyTuple_SetItem(arguments, at++, value);
    }
    return arguments;
}

static fw_tags *make_tags(PyTypeObject *type, PyObject *kwargs) {
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
    return self;
}

static PyObject *tags_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    uint64_t hash = 0;
    if (PyTuple_Size(args) != 0) {
        PyErr_SetString(PyExc_TypeError, "tags are given by name: tags(route=\"/cart\")");
        return NULL;
    }
    bool may_know = type == tags_type && hash_arguments(kwargs, &hash);
    fw_tags **place = &known[hash % KNOWN];
    if (may_know && has_arguments(*place, kwargs)) {
        Py_INCREF((PyObject *)*place);
        return (PyObject *)*place;
    }
    fw_tags *self = make_tags(type, kwargs);
    if (self != NULL && may_know) {
        self->arguments = flat(kwargs);
        if (self->arguments == NULL) {
            Py_DECREF((PyObject *)self);
            return NULL;
        }
        fw_tags *before = *place;
        Py_INCREF((PyObject *)self);
        *place = self;
        Py_XDECREF((PyObject *)before);
    }
    return (PyObject *)self;
}

static int tags_traverse(PyObject *op, visitproc visit, void *arg) {
    fw_tags *self = (fw_tags *)op;
    Py_VISIT(self->pairs);
    Py_VISIT(self->arguments);
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
    Py_CLEAR(((fw_tags *)op)->arguments);
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
    if (scope == NULL || fw_scope_enter(scope) != 0) {
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
    bool is_link = scope->maker == FW_SPAN_LINK;
    *out = is_link ? fw_scope_with_span(below, scope->span_source) : fw_scope_merge(below, scope->own, scope->maker);
    Py_XDECREF(below);
    return !PyErr_Occurred();
}

static PyObject *tags_exit(PyObject *op, PyObject *const *args, Py_ssize_t count) {
    (void)args;
    (void)count;
    fw_tags *self = (fw_tags *)op;
    PyObject *current = fw_scope_current(), *rest = NULL;
    fw_scope *scope = (fw_scope *)current;
    if (scope != NULL && scope->maker == self->id) {
        if (fw_scope_leave(current) != 0) {
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
    return Py_NewRef(Py_False);
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
