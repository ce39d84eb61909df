/* The reader of a ContextVar: thread state, context, HAMT of bitmap, array and collision nodes, Scope, labels. */
#include "image.h"
#include "labels.h"

enum {
    STATE = 0x0, CONTEXT = 0x200, MAP = 0x280, ROOT = 0x300, INNER = 0x500, COLLISION = 0x700, SCOPE = 0x900, LABELS = 0x980,
};

#define VARIABLE (IMAGE_BASE + 0xb00)
#define SCOPE_TYPE (IMAGE_BASE + 0xb80)

/* Root array -> bitmap -> collision node, the last of which has the variable. */
static void put_map(uint64_t hash) {
    uint32_t folded = (uint32_t)hash ^ (uint32_t)(hash >> 32);
    folded = folded == UINT32_MAX ? folded - 1 : folded;
    uint32_t first = folded & 31, second = folded >> 5 & 31;
    put(STATE + fw_layout.ts_context, IMAGE_BASE + CONTEXT);
    put(CONTEXT + 24, IMAGE_BASE + MAP);
    put(MAP + 16, IMAGE_BASE + ROOT);
    put(ROOT + 8, ARRAY_TYPE);
    put(ROOT + 16 + 8 * first, IMAGE_BASE + INNER);
    put(INNER + 8, BITMAP_TYPE);
    put(INNER + 24, 1u << second);
    put(INNER + 32, 0);
    put(INNER + 40, IMAGE_BASE + COLLISION);
    put(COLLISION + 8, IMAGE_BASE + 0xc00);
    put(COLLISION + 16, 4);
    put(COLLISION + 24, folded);
    put(COLLISION + 32, IMAGE_BASE + 0xc80);
    put(COLLISION + 48, VARIABLE);
    put(COLLISION + 56, IMAGE_BASE + SCOPE);
    put(SCOPE + 8, SCOPE_TYPE);
    put(SCOPE + 16, IMAGE_BASE + LABELS);
    put(LABELS + offsetof(fw_labels, span_owner), IMAGE_BASE + LABELS);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    input in = {bytes, size};
    bool direct = begin_image(&in);
    uint64_t hash = take(&in, 8), scope;
    fw.scope_type = (PyTypeObject *)SCOPE_TYPE;
    fw.scope_variable = (PyObject *)VARIABLE;
    fw.scope_variable_hash = hash;
    put_map(hash);
    spoil(&in);
    bool read = fw_read_scope(direct, IMAGE_BASE + STATE, &scope);
    if (!read && scope != 0) {
        __builtin_trap();              /* what could not be read whole names no labels */
    }
    if (size <= 9 && scope != IMAGE_BASE + LABELS) {
        __builtin_trap();              /* what nobody spoiled is found */
    }
    return 0;
}
