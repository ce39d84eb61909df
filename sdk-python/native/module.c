/* The module flamewire._native. Documented in _native.pyi.
 *
 * Single-phase initialisation on purpose: signals and timers are the process's, so there is one state per process. An
 * interpreter with its own GIL refuses such a module, and the pure Python engine takes over there. */
#include "core.h"
#include "scope.h"

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, .m_name = "flamewire._native", .m_size = -1, .m_methods = fw_sampler_methods,
};

__attribute__((visibility("default"))) PyObject *PyInit__native(void);

PyObject *PyInit__native(void) {
    PyObject *self = PyModule_Create(&module);
    if (self == NULL) {
        return NULL;
    }
    if (fw_scope_init(self) != 0 || fw_tags_init(self) != 0 || fw_hook_init(self) != 0) {
        Py_DECREF(self);
        return NULL;
    }
    return self;
}
