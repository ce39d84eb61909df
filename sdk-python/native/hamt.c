/* Reads the value of a ContextVar out of a thread state, from the handler: thread state -> context -> HAMT -> value.
 *
 * SAFETY: Include/internal/pycore_context.h and pycore_hamt.h, Python/hamt.c, the same in 3.11.7, 3.12.1, 3.13.0,
 * 3.14.10 and 3.15.2. HAMT nodes never change once they are linked, and the thread that is being read is the one that
 * runs this. Every read is guarded all the same.
 */
#include "core.h"
#include "labels.h"

enum {
    OBJECT_TYPE = 8,
    CONTEXT_VARS = 24, HAMT_ROOT = 16,
    BITMAP_SIZE = 16, BITMAP_BITS = 24, BITMAP_ARRAY = 32,
    ARRAY_NODES = 16,
    COLLISION_SIZE = 16, COLLISION_HASH = 24, COLLISION_ARRAY = 32,
    LEVELS = 8,                        /* ceil(32 / 5) + the collision node */
};

static bool word(bool direct, uint64_t from, uint64_t *into) {
    return fw_read(direct, into, from, sizeof *into);
}

static int32_t folded(uint64_t hash) {
    int32_t value = (int32_t)(uint32_t)hash ^ (int32_t)(uint32_t)(hash >> 32);
    return value == -1 ? -2 : value;
}

/* Both return false on a failed read. *node == 0: not there. */
static bool step_bitmap(bool direct, uint64_t *node, uint32_t slot, uint64_t variable, uint64_t *value, bool *found) {
    uint64_t bits_word, pair[2];
    if (!word(direct, *node + BITMAP_BITS, &bits_word)) {
        return false;
    }
    uint32_t bits = (uint32_t)bits_word, bit = 1u << slot;
    if (!(bits & bit)) {
        *node = 0;
        return true;
    }
    uint32_t index = (uint32_t)__builtin_popcount(bits & (bit - 1));
    if (!fw_read(direct, pair, *node + BITMAP_ARRAY + 16ull * index, sizeof pair)) {
        return false;
    }
    if (pair[0] == 0) {
        *node = pair[1];               /* a null key: the value is the next level */
        return true;
    }
    *found = pair[0] == variable;
    *value = pair[1];
    *node = 0;
    return true;
}

static bool search_collision(bool direct, uint64_t node, int32_t hash, uint64_t variable, uint64_t *value) {
    uint64_t size, stored, pair[2];
    if (!word(direct, node + COLLISION_SIZE, &size) || !word(direct, node + COLLISION_HASH, &stored)
        || (int32_t)(uint32_t)stored != hash || size > 1024) {
        return false;
    }
    *value = 0;
    for (uint64_t i = 0; i + 1 < size; i += 2) {
        if (!fw_read(direct, pair, node + COLLISION_ARRAY + 8 * i, sizeof pair)) {
            return false;
        }
        if (pair[0] == variable) {
            *value = pair[1];
            return true;
        }
    }
    return true;
}

bool fw_read_context_variable(bool direct, uint64_t thread_state, uint64_t variable, uint64_t hash64,
                              uint64_t *value) {
    uint64_t context, map, node, type;
    int32_t hash = folded(hash64);
    *value = 0;
    if (!word(direct, thread_state + fw_layout.ts_context, &context)) {
        return false;
    }
    if (context == 0) {
        return true;                   /* no variable was ever set in this thread */
    }
    if (!word(direct, context + CONTEXT_VARS, &map) || !word(direct, map + HAMT_ROOT, &node)) {
        return false;
    }
    for (uint32_t level = 0; node != 0 && level < LEVELS; level++) {
        uint32_t slot = level < 7 ? ((uint32_t)hash >> (5 * level)) & 31u : 0;
        bool found = false;
        if (!word(direct, node + OBJECT_TYPE, &type)) {
            return false;
        }
        if (type == fw_layout.bitmap_type) {
            uint64_t candidate = 0;
            if (!step_bitmap(direct, &node, slot, variable, &candidate, &found)) {
                return false;
            }
            if (found) {
                *value = candidate;
                return true;
            }
        } else if (type == fw_layout.array_type) {
            if (!word(direct, node + ARRAY_NODES + 8ull * slot, &node)) {
                return false;
            }
        } else {
            return search_collision(direct, node, hash, variable, value);   /* it checks that it is one */
        }
    }
    return true;
}

bool fw_read_scope(bool direct, uint64_t thread_state, uint64_t *out) {
    uint64_t scope, head[2];
    *out = 0;
    if (!fw_read_context_variable(direct, thread_state, (uint64_t)(uintptr_t)fw.scope_variable,
                                  fw.scope_variable_hash, &scope)) {
        return false;
    }
    if (scope == 0) {
        return true;
    }
    /* SAFETY: fw_scope (labels.h) is ours: PyObject head, then the labels pointer. The context that was just walked
     * holds a reference to it, and the labels live until every ring that may name them has been read. */
    if (!fw_read(direct, head, scope + OBJECT_TYPE, sizeof head)) {
        return false;
    }
    if (head[0] != (uint64_t)(uintptr_t)fw.scope_type || head[1] == 0) {
        return true;
    }
    uint64_t owner, ended;
    if (!word(direct, head[1] + offsetof(fw_labels, span_owner), &owner)
        || !word(direct, owner + offsetof(fw_labels, ended), &ended)) {
        return false;
    }
    *out = head[1] | (ended != 0);
    return true;
}
