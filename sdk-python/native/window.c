#include "window.h"

#include <stdlib.h>
#include <string.h>

/* Both clocks at one instant. Between two looks the thread may lose its core, so the closest of a few pairs counts. */
static void start_now(fw_window *window) {
    uint64_t closest_ns = UINT64_MAX;
    for (int tries = 0; tries < 10 && closest_ns > 1000; tries++) {
        uint64_t before_ns = fw_clock_ns(CLOCK_MONOTONIC);
        uint64_t unix_ns = fw_clock_ns(CLOCK_REALTIME);
        uint64_t mono_ns = fw_clock_ns(CLOCK_MONOTONIC);
        if (mono_ns - before_ns < closest_ns) {
            closest_ns = mono_ns - before_ns;
            window->start_unix_ns = unix_ns;
            window->start_mono_ns = mono_ns;
        }
    }
}

static fw_window *new_window(void) {
    fw_window *window = calloc(1, sizeof *window);
    if (window != NULL) {
        start_now(window);
    }
    return window;
}

void fw_window_free(fw_window *window) {
    if (window == NULL) {
        return;
    }
    for (size_t i = 0; i < window->count; i++) {
        fw_free_held(&window->stacks[i].stack);
    }
    free(window->stacks);
    free(window->index);
    free(window->span_ids);
    free(window);
}

void fw_window_drop(enum fw_kind kind) {
    fw_window_free(fw.windows[kind]);
    fw.windows[kind] = NULL;
}

void fw_window_reset(enum fw_kind kind) {
    fw_window_drop(kind);
    fw.windows[kind] = new_window();
}

fw_window *fw_window_turn(enum fw_kind kind, uint64_t mono_ns, uint64_t *duration_ns) {
    fw_window *ended = fw.windows[kind], *next = new_window();
    fw.windows[kind] = next;
    if (next != NULL) {
        next->start_unix_ns -= next->start_mono_ns - mono_ns;
        next->start_mono_ns = mono_ns;
    }
    *duration_ns = ended != NULL ? mono_ns - ended->start_mono_ns : 0;
    return ended;
}

static uint32_t labels_length(const fw_labels *labels, bool with_span) {
    return labels == NULL ? 0 : with_span ? labels->full_length : labels->plain_length;
}

/* Equal content is one key: each `with tags(...)` makes its own Scope. */
static bool same_labels(const fw_labels *a, bool a_span, const fw_labels *b, bool b_span) {
    uint32_t length = labels_length(a, a_span);
    return length == labels_length(b, b_span) && (a == b || length == 0 || memcmp(a->blob, b->blob, length) == 0);
}

static uint64_t hash_stack(const fw_held_stack *stack, enum fw_thread_state state) {
    const fw_labels *labels = stack->labels;
    uint32_t length = labels_length(labels, stack->with_span);
    uint64_t hash = state;
    if (length != 0) {
        /* A span that has ended, or none: the plain hash, whichever Scope it came from. */
        hash ^= length == labels->plain_length ? labels->plain_hash : labels->full_hash;
    }
    for (uint32_t i = 0; i < stack->depth; i++) {
        hash = (hash ^ (uint64_t)(uintptr_t)stack->frames[i].code) * 0x9e3779b97f4a7c15ull;
        hash = (hash ^ (uint32_t)stack->frames[i].line) * 0xff51afd7ed558ccdull;
        hash ^= hash >> 31;
    }
    return hash;
}

static bool grow(fw_window *window) {
    if (window->count == window->capacity) {
        size_t capacity = window->capacity ? window->capacity * 2 : 256;
        fw_stack *stacks = realloc(window->stacks, capacity * sizeof *stacks);
        if (stacks == NULL) {
            return false;
        }
        window->stacks = stacks;
        window->capacity = capacity;
    }
    if (window->count * 2 >= window->index_size) {
        size_t size = window->index_size ? window->index_size * 2 : 1024;
        uint32_t *index = calloc(size, sizeof *index);
        if (index == NULL) {
            return false;
        }
        for (size_t i = 0; i < window->count; i++) {
            size_t at = window->stacks[i].hash & (size - 1);
            while (index[at] != 0) {
                at = (at + 1) & (size - 1);
            }
            index[at] = (uint32_t)i + 1;
        }
        free(window->index);
        window->index = index;
        window->index_size = size;
    }
    return true;
}

static fw_stack *find(fw_window *window, uint64_t hash, const fw_held_stack *stack, enum fw_thread_state state,
                      size_t *free_at) {
    size_t at = hash & (window->index_size - 1);
    for (; window->index[at] != 0; at = (at + 1) & (window->index_size - 1)) {
        fw_stack *found = &window->stacks[window->index[at] - 1];
        const fw_frame *a = found->stack.frames, *b = stack->frames;
        bool same = found->hash == hash && found->state == state && found->stack.depth == stack->depth
            && same_labels(found->stack.labels, found->stack.with_span, stack->labels, stack->with_span);
        for (uint32_t i = 0; same && i < stack->depth; i++) {
            same = a[i].code == b[i].code && a[i].line == b[i].line;
        }
        if (same) {
            return found;
        }
    }
    *free_at = at;
    return NULL;
}

/* False where the stack cannot be kept as it is: the window is full, or memory ran out. */
static bool add(fw_window *window, const fw_held_stack *stack, enum fw_thread_state state, uint64_t value_ns,
                uint64_t samples, bool may_insert) {
    if (window == NULL || !grow(window)) {
        return false;
    }
    size_t at = 0;
    uint64_t hash = hash_stack(stack, state);
    fw_stack *found = find(window, hash, stack, state, &at);
    if (found == NULL) {
        fw_stack *added = &window->stacks[window->count];
        *added = (fw_stack){.hash = hash, .state = state};
        if (!may_insert || !fw_hold(&added->stack, stack)) {
            return false;
        }
        window->index[at] = (uint32_t)++window->count;
        found = added;
    }
    found->value_ns += value_ns;
    found->samples += samples;
    window->samples += samples;
    return true;
}

void fw_window_add(enum fw_kind kind, const fw_held_stack *stack, enum fw_thread_state state, uint64_t value_ns,
                   uint64_t samples) {
    fw_window *window = fw.windows[kind];
    fw_held_stack bounded = *stack;
    if (window != NULL && stack->with_span) {
        fw_window_bound_spans(window, &bounded, samples);
    }
    if (!add(window, &bounded, state, value_ns, samples, window != NULL && window->count < FW_WINDOW_STACKS)) {
        for (uint64_t i = 0; i < samples; i++) {
            fw_count_drop(FW_DROP_WINDOW_FULL);
        }
        fw_window_add_named(kind, "(other stacks)", value_ns, 0);
    }
}

void fw_window_add_named(enum fw_kind kind, const char *name, uint64_t value_ns, uint64_t samples) {
    fw_frame frame = {.code = fw_code_named(name), .line = 0};
    if (frame.code != NULL) {
        const fw_held_stack stack = {.frames = &frame, .depth = 1};
        add(fw.windows[kind], &stack, FW_STATE_UNKNOWN, value_ns, samples, true);
        fw_code_release(frame.code);
    }
}
