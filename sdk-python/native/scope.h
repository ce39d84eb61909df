/* The Python types Scope and Tags. */
#ifndef FLAMEWIRE_SCOPE_H
#define FLAMEWIRE_SCOPE_H

#include "core.h"
#include "labels.h"

/* What the ContextVar holds. SAFETY: hamt.c reads `labels` right behind the object head. */
typedef struct {
    PyObject_HEAD
    fw_labels *labels;
    PyObject *outer;                   /* the Scope that was current when tags were entered, or NULL */
    uint64_t maker;                    /* which Tags entered it; 0: made by Scope(...) */
    PyObject *own;                     /* tuple of (name, value): what its maker put on top of outer */
    PyObject *pairs;                   /* the same with outer's merged in; without the span's */
    PyObject *span;                    /* tuple of (name, value): the span's labels */
    PyObject *span_source;             /* the Scope that the span's labels and end come from, where it is not this one */
    PyObject *root;                    /* the Scope of the local root span, where this is that of a child span */
    PyObject *token;                   /* of the enter that made this Scope current and has not been left yet, or NULL */
} fw_scope;

/* The maker of a link that only sets the span: it stands over tags, never over another such link. */
#define FW_SPAN_LINK UINT64_MAX

/* The functions of CPython's context that are not in the limited API, found by name; the same signatures in 3.11-3.15
 * (Include/cpython/context.h). */
typedef struct {
    PyObject *(*var_new)(const char *name, PyObject *fallback);
    int (*var_get)(PyObject *variable, PyObject *fallback, PyObject **value);
    PyObject *(*var_set)(PyObject *variable, PyObject *value);
    int (*var_reset)(PyObject *variable, PyObject *token);
    bool tokens_known;                 /* fw_learn_context() has found a token's context where it is expected */
} fw_context_api;
extern fw_context_api fw_context;

PyObject *fw_scope_current(void);                                          /* new reference, NULL: none (no error set) */
int fw_scope_set_current(PyObject *scope);                                 /* NULL: none */
int fw_scope_enter(PyObject *scope);                                       /* over its outer, which is current */
int fw_scope_leave(PyObject *scope);                                       /* it is current: back to its outer */
PyObject *fw_scope_merge(PyObject *outer, PyObject *own, uint64_t maker);   /* own on top of outer (or NULL) */
PyObject *fw_scope_with_span(PyObject *current, PyObject *source);         /* NULL: none (or no memory, error set) */
PyObject *fw_scope_pairs(PyObject *mapping);                               /* dict -> sorted tuple of (str, str) */

PyObject *fw_current_labels(PyObject *module, PyObject *unused);           /* the tags in force, as a dict */
PyObject *fw_follow_span(PyObject *module, PyObject *source);
PyObject *fw_run_in_scope(PyObject *module, PyObject *args, PyObject *kwargs);

/* SAFETY: PyContextToken.tok_ctx, Include/internal/pycore_context.h, the same in 3.11.7, 3.12.1, 3.13.0, 3.14.10 and 3.15.2;
 * checked by fw_learn_context(). */
enum { FW_TOKEN_CONTEXT = 16 };

int fw_scope_init(PyObject *module);   /* makes the types and the variable; adds them to the module */
int fw_tags_init(PyObject *module);

#endif
