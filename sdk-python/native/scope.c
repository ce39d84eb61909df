/* Scope: the immutable label set that one ContextVar holds and that the handler reads. */
#include "scope.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

fw_context_api fw_context;

PyObject *fw_scope_current(void) {
    PyObject *value = NULL;
    if (fw_context.var_get(fw.scope_variable, NULL, &value) != 0) {
        PyErr_Clear();
        return NULL;
    }
    if (value != NULL && Py_TYPE(value) != fw.scope_type) {
        Py_CLEAR(value);               /* None: reset to nothing */
    }
    return value;
}

int fw_scope_set_current(PyObject *scope) {
    PyObject *token = fw_context.var_set(fw.scope_variable, scope != NULL ? scope : Py_None);
    if (token == NULL) {
        return -1;
    }
    Py_DECREF(token);
    return 0;
}

/* SAFETY: the calling thread holds the GIL, so this thread state is its own and the words lie still; both offsets were
 * checked by fw_learn_context(). */
static bool is_of_this_context(PyObject *token) {
    const char *state = (const char *)PyGILState_GetThisThreadState();
    return *(const void *const *)(state + fw_layout.ts_context)
        == *(const void *const *)((const char *)token + FW_TOKEN_CONTEXT);
}

/* Leaving by a token costs less than setting the outer Scope again: no new token, and a smaller map. One Scope keeps one
 * token: of tasks that are in the same one at once, the others go back by setting. */
int fw_scope_enter(PyObject *op) {
    fw_scope *scope = (fw_scope *)op;
    PyObject *token = fw_context.var_set(fw.scope_variable, op);
    if (token != NULL && scope->token == NULL && fw_context.tokens_known) {
        scope->token = token;
    } else {
        Py_XDECREF(token);
    }
    return token == NULL ? -1 : 0;
}

int fw_scope_leave(PyObject *op) {
    fw_scope *scope = (fw_scope *)op;
    PyObject *token = scope->token;
    if (token != NULL && is_of_this_context(token)) {
        scope->token = NULL;
        bool done = fw_context.var_reset(fw.scope_variable, token) == 0;
        Py_DECREF(token);
        if (done) {
            return 0;
        }
        PyErr_Clear();
    }
    return fw_scope_set_current(scope->outer);
}

typedef struct {
    char *bytes;
    size_t length, capacity;
} blob;

static int blob_put(blob *out, const void *bytes, size_t length) {
    if (out->length + length > out->capacity) {
        size_t capacity = (out->length + length) * 2 + 64;
        char *wider = PyMem_Realloc(out->bytes, capacity);
        if (wider == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        out->bytes = wider;
        out->capacity = capacity;
    }
    memcpy(out->bytes + out->length, bytes, length);
    out->length += length;
    return 0;
}

static int blob_put_pair(blob *out, PyObject *name, PyObject *value) {
    Py_ssize_t name_length, value_length;
    const char *name_bytes = PyUnicode_AsUTF8AndSize(name, &name_length);
    const char *value_bytes = name_bytes != NULL ? PyUnicode_AsUTF8AndSize(value, &value_length) : NULL;
    if (value_bytes == NULL) {
        return -1;
    }
    uint32_t lengths[2] = {(uint32_t)name_length, (uint32_t)value_length};
    bool ok = blob_put(out, lengths, sizeof lengths) == 0 && blob_put(out, name_bytes, lengths[0]) == 0
        && blob_put(out, value_bytes, lengths[1]) == 0;
    return ok ? 0 : -1;
}

static int blob_put_pairs(blob *out, PyObject *pairs) {
    for (Py_ssize_t i = 0; pairs != NULL && i < PyTuple_Size(pairs); i++) {
        PyObject *pair = PyTuple_GetItem(pairs, i);
        if (blob_put_pair(out, PyTuple_GetItem(pair, 0), PyTuple_GetItem(pair, 1)) != 0) {
            return -1;
        }
    }
    return 0;
}

static fw_labels *encode_labels(PyObject *pairs, PyObject *span) {
    blob out = {0};
    fw_labels *labels = NULL;
    if (blob_put_pairs(&out, pairs) == 0) {
        size_t plain = out.length;
        if (blob_put_pairs(&out, span) == 0) {
            labels = fw_labels_new(out.bytes != NULL ? out.bytes : "", (uint32_t)plain, (uint32_t)out.length);
            if (labels == NULL) {
                PyErr_NoMemory();
            }
        }
    }
    PyMem_Free(out.bytes);
    return labels;
}

/* The labels of `source` (or of none) for the span: with it the span ends here too. SAFETY: span_owner and name_owner stay
 * valid, because the Scope keeps `source` and `root`, and those their labels. */
static PyObject *new_scope(PyObject *own, PyObject *pairs, PyObject *span, PyObject *outer, uint64_t maker,
                           PyObject *source) {
    fw_labels *labels = encode_labels(pairs, span);
    if (labels == NULL) {
        return NULL;
    }
    fw_scope *scope = PyObject_GC_New(fw_scope, fw.scope_type);
    if (scope == NULL) {
        free(labels);
        return NULL;
    }
    Py_INCREF(own);
    Py_INCREF(pairs);
    Py_XINCREF(span);
    Py_XINCREF(outer);
    Py_XINCREF(source);
    if (source != NULL) {
        labels->span_owner = ((fw_scope *)source)->labels->span_owner;
        labels->name_owner = ((fw_scope *)source)->labels->name_owner;
    }
    scope->labels = labels;
    scope->own = own;
    scope->pairs = pairs;
    scope->span = span;
    scope->outer = outer;
    scope->maker = maker;
    scope->span_source = source;
    scope->root = NULL;
    scope->token = NULL;
    PyObject_GC_Track(scope);
    return (PyObject *)scope;
}

/* outer's pairs with own on top, in order of names: equal sets are equal bytes. */
static PyObject *merged_pairs(PyObject *outer, PyObject *own) {
    if (outer == NULL || PyTuple_Size(outer) == 0) {
        Py_INCREF(own);
        return own;
    }
    PyObject *dict = PyDict_New(), *result = NULL, *list = NULL;
    PyObject *sources[2] = {outer, own};
    for (int s = 0; s < 2; s++) {
        for (Py_ssize_t i = 0; dict != NULL && i < PyTuple_Size(sources[s]); i++) {
            PyObject *pair = PyTuple_GetItem(sources[s], i);
            if (PyDict_SetItem(dict, PyTuple_GetItem(pair, 0), pair) != 0) {
                Py_CLEAR(dict);
            }
        }
    }
    if (dict != NULL && (list = PyDict_Values(dict)) != NULL && PyList_Sort(list) == 0) {
        result = PyList_AsTuple(list);
    }
    Py_XDECREF(list);
    Py_XDECREF(dict);
    return result;
}

/* Borrowed; NULL: no span. */
static PyObject *span_source(PyObject *op) {
    fw_scope *scope = (fw_scope *)op;
    if (scope == NULL || scope->span_source != NULL) {
        return scope != NULL ? scope->span_source : NULL;
    }
    return scope->span != NULL && PyTuple_Size(scope->span) != 0 ? op : NULL;
}

PyObject *fw_scope_merge(PyObject *outer, PyObject *own, uint64_t maker) {
    fw_scope *below = (fw_scope *)outer;
    PyObject *merged = merged_pairs(below != NULL ? below->pairs : NULL, own);
    if (merged == NULL) {
        return NULL;
    }
    PyObject *source = span_source(outer);
    PyObject *scope = new_scope(own, merged, source != NULL ? below->span : NULL, outer, maker, source);
    Py_DECREF(merged);
    return scope;
}

/* `current` with its tags as they are and the span of `source`, or no span. */
PyObject *fw_scope_with_span(PyObject *current, PyObject *source) {
    fw_scope *below = (fw_scope *)current;
    if (below != NULL && below->maker == FW_SPAN_LINK) {
        below = (fw_scope *)below->outer;
    }
    if (source == NULL && span_source((PyObject *)below) == NULL) {
        Py_XINCREF((PyObject *)below);
        return (PyObject *)below;
    }
    PyObject *none = PyTuple_New(0), *scope = NULL;
    if (none != NULL) {
        scope = new_scope(none, below != NULL ? below->pairs : none, source != NULL ? ((fw_scope *)source)->span : NULL,
                          (PyObject *)below, FW_SPAN_LINK, source);
        Py_DECREF(none);
    }
    return scope;
}

enum { MOST_CHARACTERS = 512 };       /* as in scope.py; 2048 bytes of UTF-8 at most */

/* No exception is set, and none is set by it. */
static void warn_of(const char *cause, const char *message, PyObject *what) {
    PyObject *log = PyImport_ImportModule("flamewire.log");
    PyObject *result = log == NULL ? NULL : PyObject_CallMethod(log, "warn", "ssO", cause, message, what);
    Py_XDECREF(result);
    Py_XDECREF(log);
    PyErr_Clear();
}

/* A value whose __str__ fails is left out and logged: that is the label's problem, not the program's. */
static void warn_of_value(void) {
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    warn_of("tag", "a tag's value cannot be turned into text and is left out: %r", error != NULL ? error : type);
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(traceback);
}

/* As it goes over the wire: lone surrogates replaced. New reference. */
static PyObject *wire_text(PyObject *value) {
    PyObject *text = PyObject_Str(value), *bytes = NULL, *clean = NULL;
    if (text == NULL) {
        warn_of_value();
        return NULL;
    }
    if (PyUnicode_AsUTF8AndSize(text, NULL) != NULL) {
        return text;
    }
    PyErr_Clear();
    bytes = PyUnicode_AsEncodedString(text, "utf-8", "replace");
    if (bytes != NULL) {
        clean = PyUnicode_DecodeUTF8(PyBytes_AsString(bytes), PyBytes_Size(bytes), "replace");
    }
    Py_XDECREF(bytes);
    Py_DECREF(text);
    return clean;
}

/* What servers would refuse, and the whole profile with it, is cut (LAB-036). New reference. */
static PyObject *wire_value(PyObject *value) {
    PyObject *text = wire_text(value);
    if (text == NULL || PyUnicode_GetLength(text) <= MOST_CHARACTERS) {
        return text;
    }
    PyObject *start = PyUnicode_Substring(text, 0, MOST_CHARACTERS);
    Py_DECREF(text);
    if (start != NULL) {
        warn_of("tag_length", "a tag's value is cut after 512 characters: %.40s...", start);
    }
    return start;
}

/* dict -> tuple of (str, str), sorted by name so that equal sets are equal bytes. */
PyObject *fw_scope_pairs(PyObject *mapping) {
    PyObject *items = PyDict_Items(mapping), *pairs = PyList_New(0), *tuple = NULL;
    for (Py_ssize_t i = 0; items != NULL && pairs != NULL && i < PyList_Size(items); i++) {
        PyObject *item = PyList_GetItem(items, i);
        PyObject *name = wire_text(PyTuple_GetItem(item, 0)), *value = wire_value(PyTuple_GetItem(item, 1));
        PyObject *pair = name && value ? PyTuple_Pack(2, name, value) : NULL;
        if (pair != NULL && PyList_Append(pairs, pair) != 0) {
            Py_CLEAR(pairs);
        }
        Py_XDECREF(pair);
        Py_XDECREF(name);
        Py_XDECREF(value);
    }
    if (pairs != NULL && items != NULL && PyList_Sort(pairs) == 0) {
        tuple = PyList_AsTuple(pairs);
    }
    Py_XDECREF(items);
    Py_XDECREF(pairs);
    return tuple;
}

static const char *const SPAN_NAMES[] = {"span_id", "child_span_id", "trace_id", "span_name"};

static PyObject *span_pairs(PyObject *const values[4]) {
    PyObject *dict = PyDict_New(), *pairs = NULL;
    for (int i = 0; dict != NULL && i < 4; i++) {
        if (values[i] != NULL && values[i] != Py_None && PyDict_SetItemString(dict, SPAN_NAMES[i], values[i]) != 0) {
            Py_CLEAR(dict);
        }
    }
    if (dict != NULL) {
        pairs = fw_scope_pairs(dict);
        Py_DECREF(dict);
    }
    return pairs;
}

static bool is_scope_or_none(PyObject *op) {
    if (op != Py_None && Py_TYPE(op) != fw.scope_type) {
        PyErr_SetString(PyExc_TypeError, "a Scope or None is needed");
        return false;
    }
    return true;
}

static PyObject *scope_tp_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"labels", "span_id", "child_span_id", "trace_id", "span_name", "root", NULL};
    PyObject *mapping = NULL, *span_values[4] = {NULL}, *root = Py_None, *scope = NULL;
    (void)type;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O!OOOOO:Scope", names, &PyDict_Type, &mapping, &span_values[0],
                                     &span_values[1], &span_values[2], &span_values[3], &root)
        || !is_scope_or_none(root)) {
        return NULL;
    }
    PyObject *empty = mapping == NULL ? PyDict_New() : NULL;
    PyObject *pairs = fw_scope_pairs(mapping != NULL ? mapping : empty), *span = span_pairs(span_values);
    Py_XDECREF(empty);
    if (pairs != NULL && span != NULL) {
        scope = new_scope(pairs, pairs, span, NULL, 0, NULL);
    }
    if (scope != NULL && root != Py_None) {
        ((fw_scope *)scope)->root = Py_NewRef(root);
        ((fw_scope *)scope)->labels->name_owner = ((fw_scope *)root)->labels->name_owner;
    }
    Py_XDECREF(pairs);
    Py_XDECREF(span);
    return scope;
}

static int scope_traverse(PyObject *self, visitproc visit, void *arg) {
    fw_scope *scope = (fw_scope *)self;
    Py_VISIT(scope->outer);
    Py_VISIT(scope->token);
    Py_VISIT(scope->own);
    Py_VISIT(scope->pairs);
    Py_VISIT(scope->span);
    Py_VISIT(scope->span_source);
    Py_VISIT(scope->root);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

/* A context that was given up inside the tags holds this Scope, and the token holds the context. */
static int scope_clear(PyObject *self) {
    Py_CLEAR(((fw_scope *)self)->token);
    return 0;
}

static void scope_dealloc(PyObject *self) {
    fw_scope *scope = (fw_scope *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    scope_clear(self);
    /* In this order, and read before: what retired may be gone at once, and a name goes after those who look for it. */
    fw_labels *name = atomic_load(&scope->labels->name);
    fw_labels_retire(scope->labels);
    if (name != NULL) {
        fw_labels_retire(name);
    }
    fw_labels_sweep();
    Py_DECREF(scope->own);
    Py_DECREF(scope->pairs);
    Py_XDECREF(scope->span);
    Py_XDECREF(scope->span_source);
    Py_XDECREF(scope->root);
    Py_XDECREF(scope->outer);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static bool has_ended(PyObject *self) { return atomic_load(&((fw_scope *)self)->labels->span_owner->ended) != 0; }

static PyObject *scope_end(PyObject *self, PyObject *unused) {
    (void)unused;
    atomic_store(&((fw_scope *)self)->labels->span_owner->ended, 1);
    return Py_NewRef(Py_None);
}

static PyObject *scope_rename(PyObject *self, PyObject *value) {
    PyObject *key = PyUnicode_FromString("span_name"), *text = key != NULL ? wire_value(value) : NULL;
    blob out = {0};
    fw_labels *name = NULL;
    if (text != NULL && blob_put_pair(&out, key, text) == 0) {
        name = fw_labels_new(out.bytes, 0, (uint32_t)out.length);
        if (name == NULL) {
            PyErr_NoMemory();
        }
    }
    PyMem_Free(out.bytes);
    Py_XDECREF(text);
    Py_XDECREF(key);
    if (name == NULL) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);       /* no text: that has been logged */
    }
    fw_labels *before = atomic_exchange(&((fw_scope *)self)->labels->name_owner->name, name);
    if (before != NULL) {
        fw_labels_retire(before);
        fw_labels_sweep();
    }
    return Py_NewRef(Py_None);
}

/* SAFETY: with the GIL, which a rename needs too, so the name does not retire meanwhile. */
static int put_name(PyObject *dict, const fw_labels *labels) {
    const fw_labels *name = atomic_load(&labels->name_owner->name);
    const char *key, *value;
    uint32_t offset = 0, key_length, value_length;
    if (name == NULL || !fw_labels_next(name, name->full_length, &offset, &key, &key_length, &value, &value_length)) {
        return 0;
    }
    PyObject *text = PyUnicode_DecodeUTF8(value, value_length, "replace");
    int result = text != NULL ? PyDict_SetItemString(dict, "span_name", text) : -1;
    Py_XDECREF(text);
    return result;
}

static PyObject *scope_get_labels(PyObject *self, void *unused) {
    (void)unused;
    PyObject *dict = PyDict_New();
    if (dict != NULL && PyDict_MergeFromSeq2(dict, ((fw_scope *)self)->pairs, 1) != 0) {
        Py_CLEAR(dict);
    }
    return dict;
}

static PyObject *scope_get_span(PyObject *self, void *unused) {
    (void)unused;
    fw_scope *scope = (fw_scope *)self;
    PyObject *dict = PyDict_New();
    bool shown = scope->span != NULL && PyTuple_Size(scope->span) != 0 && !has_ended(self);
    if (dict != NULL && shown
        && (PyDict_MergeFromSeq2(dict, scope->span, 1) != 0 || put_name(dict, scope->labels) != 0)) {
        Py_CLEAR(dict);
    }
    return dict;
}

static PyObject *scope_get_ended(PyObject *self, void *unused) {
    (void)unused;
    return PyBool_FromLong(has_ended(self));
}

PyObject *fw_current_labels(PyObject *module, PyObject *unused) {
    (void)module;
    (void)unused;
    PyObject *scope = fw_scope_current();
    PyObject *labels = scope != NULL ? scope_get_labels(scope, NULL) : PyDict_New();
    Py_XDECREF(scope);
    return labels;
}

PyObject *fw_follow_span(PyObject *module, PyObject *op) {
    (void)module;
    if (!is_scope_or_none(op)) {
        return NULL;
    }
    PyObject *source = op == Py_None ? NULL : span_source(op), *current = fw_scope_current();
    PyObject *previous = span_source(current);
    Py_XINCREF(previous);
    if (previous != source) {
        PyObject *scope = fw_scope_with_span(current, source);
        if (PyErr_Occurred() || fw_scope_set_current(scope) != 0) {
            Py_CLEAR(previous);
        }
        Py_XDECREF(scope);
    }
    Py_XDECREF(current);
    if (PyErr_Occurred()) {
        return NULL;
    }
    return previous != NULL ? previous : Py_NewRef(Py_None);
}

/* Without a Python frame of its own: stacks look as if the function had been called directly. */
PyObject *fw_run_in_scope(PyObject *module, PyObject *args, PyObject *kwargs) {
    (void)module;
    Py_ssize_t count = PyTuple_Size(args);
    if (count < 2) {
        PyErr_SetString(PyExc_TypeError, "run_in_scope(scope, function, *args, **kwargs)");
        return NULL;
    }
    PyObject *scope = PyTuple_GetItem(args, 0);
    PyObject *arguments = is_scope_or_none(scope) ? PyTuple_GetSlice(args, 2, count) : NULL;
    if (arguments == NULL) {
        return NULL;
    }
    PyObject *previous = fw_scope_current(), *result = NULL, *type, *error, *traceback;
    if (fw_scope_set_current(scope == Py_None ? NULL : scope) == 0) {
        result = PyObject_Call(PyTuple_GetItem(args, 1), arguments, kwargs);
    }
    PyErr_Fetch(&type, &error, &traceback);
    if (fw_scope_set_current(previous) != 0) {
        PyErr_Clear();
    }
    PyErr_Restore(type, error, traceback);
    Py_XDECREF(previous);
    Py_DECREF(arguments);
    return result;
}

static PyMethodDef scope_methods[] = {
    {"end", scope_end, METH_NOARGS, NULL},
    {"rename", scope_rename, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
static PyGetSetDef scope_getset[] = {
    {"labels", scope_get_labels, NULL, NULL, NULL},
    {"span", scope_get_span, NULL, NULL, NULL},
    {"ended", scope_get_ended, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyType_Slot scope_slots[] = {
    {Py_tp_new, scope_tp_new},
    {Py_tp_traverse, scope_traverse},
    {Py_tp_clear, scope_clear},
    {Py_tp_dealloc, scope_dealloc},
    {Py_tp_methods, scope_methods},
    {Py_tp_getset, scope_getset},
    {0, NULL},
};
static PyType_Spec scope_spec = {
    .name = "flamewire._native.Scope",
    .basicsize = sizeof(fw_scope),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = scope_slots,
};

int fw_scope_init(PyObject *module) {
    fw_context.var_new = (PyObject *(*)(const char *, PyObject *))dlsym(RTLD_DEFAULT, "PyContextVar_New");
    fw_context.var_get = (int (*)(PyObject *, PyObject *, PyObject **))dlsym(RTLD_DEFAULT, "PyContextVar_Get");
    fw_context.var_set = (PyObject *(*)(PyObject *, PyObject *))dlsym(RTLD_DEFAULT, "PyContextVar_Set");
    fw_context.var_reset = (int (*)(PyObject *, PyObject *))dlsym(RTLD_DEFAULT, "PyContextVar_Reset");
    if (fw_context.var_new == NULL || fw_context.var_get == NULL || fw_context.var_set == NULL
        || fw_context.var_reset == NULL) {
        PyErr_SetString(PyExc_ImportError, "this interpreter does not export PyContextVar_New");
        return -1;
    }
    fw.scope_type = (PyTypeObject *)PyType_FromSpec(&scope_spec);
    fw.scope_variable = fw.scope_type == NULL ? NULL : fw_context.var_new("flamewire_scope", NULL);
    if (fw.scope_variable == NULL) {
        return -1;
    }
    Py_hash_t hash = PyObject_Hash(fw.scope_variable);
    if (hash == -1) {
        return -1;
    }
    fw.scope_variable_hash = (uint64_t)hash;
    return PyModule_AddObjectRef(module, "Scope", (PyObject *)fw.scope_type) == 0
        && PyModule_AddObjectRef(module, "scope_variable", fw.scope_variable) == 0 ? 0 : -1;
}
