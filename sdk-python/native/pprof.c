/* A window as google.v1.Profile (pprof), uncompressed. Holds neither lock nor GIL: codes and labels of a taken window
 * do not change. One sample type, cpu or wall, in nanoseconds; one Location per (function, line), no mapping. */
#include "window.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    char *bytes;
    size_t length, capacity;
    bool failed;
} buffer;

static char *reserve(buffer *out, size_t more) {
    if (out->failed) {
        return NULL;
    }
    if (out->length + more > out->capacity) {
        size_t capacity = (out->length + more) * 2;
        char *bytes = realloc(out->bytes, capacity);
        if (bytes == NULL) {
            out->failed = true;
            return NULL;
        }
        out->bytes = bytes;
        out->capacity = capacity;
    }
    return out->bytes + out->length;
}

static void put_bytes(buffer *out, const void *bytes, size_t length) {
    char *at = reserve(out, length);
    if (at != NULL && length != 0) {
        memcpy(at, bytes, length);
        out->length += length;
    }
}

static void put_varint(buffer *out, uint64_t value) {
    char *at = reserve(out, 10);
    size_t n = 0;
    if (at == NULL) {
        return;
    }
    for (; value >= 0x80; value >>= 7) {
        at[n++] = (char)(value | 0x80);
    }
    at[n++] = (char)value;
    out->length += n;
}

static void put_integer(buffer *out, uint32_t field, uint64_t value) {
    if (value != 0) {
        put_varint(out, (uint64_t)field << 3);
        put_varint(out, value);
    }
}

static void put_delimited(buffer *out, uint32_t field, const void *bytes, size_t length) {
    put_varint(out, (uint64_t)field << 3 | 2);
    put_varint(out, length);
    put_bytes(out, bytes, length);
}

/* Keys to consecutive ids from 1; the keys stay in order, so that ids index them. */
typedef struct {
    uint64_t hash;
    const char *text;                  /* strings */
    uint32_t length;
    uint64_t a, b;                     /* functions: name, filename << 32 | line; locations: function, line */
} entry;

typedef struct {
    entry *entries;
    uint32_t *index;
    size_t count, capacity, index_size;
} table;

static bool equal(const entry *x, const entry *y) {
    return x->hash == y->hash && x->a == y->a && x->b == y->b && x->length == y->length
        && (x->length == 0 || memcmp(x->text, y->text, x->length) == 0);
}

static bool widen(table *t) {
    size_t capacity = t->capacity ? t->capacity * 2 : 256, size = capacity * 2;
    entry *entries = realloc(t->entries, capacity * sizeof *entries);
    uint32_t *index = calloc(size, sizeof *index);
    if (entries != NULL) {
        t->entries = entries;
    }
    if (entries == NULL || index == NULL) {
        free(index);
        return false;
    }
    for (size_t i = 0; i < t->count; i++) {
        size_t at = entries[i].hash & (size - 1);
        while (index[at] != 0) {
            at = (at + 1) & (size - 1);
        }
        index[at] = (uint32_t)i + 1;
    }
    free(t->index);
    t->index = index;
    t->index_size = size;
    t->capacity = capacity;
    return true;
}

/* The id of the key, from 1; 0 when memory ran out. */
static uint32_t id_of(table *t, entry key) {
    if (t->count == t->capacity && !widen(t)) {
        return 0;
    }
    size_t at = key.hash & (t->index_size - 1);
    for (; t->index[at] != 0; at = (at + 1) & (t->index_size - 1)) {
        if (equal(&t->entries[t->index[at] - 1], &key)) {
            return t->index[at];
        }
    }
    t->entries[t->count++] = key;
    return t->index[at] = (uint32_t)t->count;
}

typedef struct {
    buffer out;
    table strings, functions, locations;
    bool failed;
} encoder;

static const char *const TYPES[FW_KINDS] = {"cpu", "wall"};
static const char STATE_LABEL[] = "thread_state";
static const char *const STATES[FW_STATE_COUNT] = {NULL, "running", "gil", "lock", "io", "sleep", "other"};

static uint32_t string_index(encoder *e, const char *text, uint32_t length) {
    entry key = {.hash = fw_hash_bytes(text, length, 0), .text = text, .length = length};
    uint32_t id = id_of(&e->strings, key);
    e->failed |= id == 0;
    return id - 1;                     /* the table's first entry is "", index 0 */
}

static uint32_t pair_id(encoder *e, table *t, uint64_t a, uint64_t b) {
    uint64_t both[2] = {a, b};
    entry key = {.hash = fw_hash_bytes(both, sizeof both, 0), .a = a, .b = b};
    uint32_t id = id_of(t, key);
    e->failed |= id == 0;
    return id;
}

static uint32_t location_id(encoder *e, const fw_frame *frame) {
    const fw_code *code = frame->code;
    uint32_t name = string_index(e, code->text, code->name_length);
    uint32_t filename = string_index(e, code->text + code->name_length, code->filename_length);
    uint64_t place = (uint64_t)filename << 32 | (uint32_t)code->firstlineno;
    uint32_t function = pair_id(e, &e->functions, name, place);
    return pair_id(e, &e->locations, function, (uint32_t)frame->line);
}

static void put_label(encoder *e, buffer *message, const char *name, uint32_t name_length, const char *value,
                      uint32_t value_length, buffer *scratch) {
    scratch->length = 0;
    put_integer(scratch, 1, string_index(e, name, name_length));
    put_integer(scratch, 2, string_index(e, value, value_length));
    put_delimited(message, 3, scratch->bytes, scratch->length);
}

static void put_labels(encoder *e, buffer *message, const fw_stack *sample, buffer *scratch) {
    const fw_held_stack *stack = &sample->stack;
    const fw_labels *labels = stack->labels;
    uint32_t length = labels == NULL ? 0 : stack->with_span ? labels->full_length : labels->plain_length;
    const char *name, *value, *state = STATES[sample->state];
    uint32_t offset = 0, name_length, value_length;
    while (fw_labels_next(labels, length, &offset, &name, &name_length, &value, &value_length)) {
        put_label(e, message, name, name_length, value, value_length, scratch);
        if (name_length == sizeof STATE_LABEL - 1 && memcmp(name, STATE_LABEL, name_length) == 0) {
            state = NULL;              /* the user's tag of that name wins */
        }
    }
    if (state != NULL) {
        put_label(e, message, STATE_LABEL, sizeof STATE_LABEL - 1, state, (uint32_t)strlen(state), scratch);
    }
}

static void put_sample(encoder *e, const fw_stack *sample, buffer *message, buffer *scratch) {
    const fw_held_stack *stack = &sample->stack;
    message->length = scratch->length = 0;
    for (uint32_t i = 0; i < stack->depth; i++) {
        put_varint(scratch, location_id(e, &stack->frames[i]));
    }
    put_delimited(message, 1, scratch->bytes, scratch->length);
    scratch->length = 0;
    put_varint(scratch, sample->value_ns);
    put_delimited(message, 2, scratch->bytes, scratch->length);
    put_labels(e, message, sample, scratch);
    put_delimited(&e->out, 2, message->bytes, message->length);
}

static void put_value_type(encoder *e, enum fw_kind kind, uint32_t field, buffer *scratch) {
    scratch->length = 0;
    put_integer(scratch, 1, string_index(e, TYPES[kind], (uint32_t)strlen(TYPES[kind])));
    put_integer(scratch, 2, string_index(e, "nanoseconds", 11));
    put_delimited(&e->out, field, scratch->bytes, scratch->length);
}

static void put_locations(encoder *e, buffer *message, buffer *scratch) {
    for (size_t i = 0; i < e->locations.count; i++) {
        message->length = scratch->length = 0;
        put_integer(scratch, 1, e->locations.entries[i].a);
        /* A negative line is ten bytes in protobuf, as pprof writes it. */
        put_integer(scratch, 2, (uint64_t)(int64_t)(int32_t)(uint32_t)e->locations.entries[i].b);
        put_integer(message, 1, i + 1);
        put_delimited(message, 4, scratch->bytes, scratch->length);
        put_delimited(&e->out, 4, message->bytes, message->length);
    }
}

static void put_functions(encoder *e, buffer *message) {
    for (size_t i = 0; i < e->functions.count; i++) {
        const entry *function = &e->functions.entries[i];
        message->length = 0;
        put_integer(message, 1, i + 1);
        put_integer(message, 2, function->a);
        put_integer(message, 3, function->a);
        put_integer(message, 4, function->b >> 32);
        put_integer(message, 5, (uint64_t)(int64_t)(int32_t)(uint32_t)function->b);
        put_delimited(&e->out, 5, message->bytes, message->length);
    }
}

static void put_strings(encoder *e) {
    for (size_t i = 0; i < e->strings.count; i++) {
        put_delimited(&e->out, 6, e->strings.entries[i].text, e->strings.entries[i].length);
    }
}

char *fw_pprof_encode(enum fw_kind kind, const fw_window *window, uint64_t duration_ns, uint64_t period_ns,
                      size_t *length) {
    encoder e = {0};
    buffer message = {0}, scratch = {0};
    string_index(&e, "", 0);
    put_value_type(&e, kind, 1, &scratch);
    for (size_t i = 0; i < window->count && !e.failed; i++) {
        if (window->stacks[i].value_ns != 0) {
            put_sample(&e, &window->stacks[i], &message, &scratch);
        }
    }
    put_locations(&e, &message, &scratch);
    put_functions(&e, &message);
    put_integer(&e.out, 9, window->start_unix_ns);
    put_integer(&e.out, 10, duration_ns);
    put_value_type(&e, kind, 11, &scratch);
    put_integer(&e.out, 12, period_ns);
    put_strings(&e);
    if (e.failed || e.out.failed || message.failed || scratch.failed) {
        free(e.out.bytes);
        e.out.bytes = NULL;
    }
    table *tables[] = {&e.strings, &e.functions, &e.locations};
    for (int i = 0; i < 3; i++) {
        free(tables[i]->entries);
        free(tables[i]->index);
    }
    free(message.bytes);
    free(scratch.bytes);
    *length = e.out.length;
    return e.out.bytes;
}
