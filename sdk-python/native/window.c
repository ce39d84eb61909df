#include "window.h"

#include <stdlib.h>
#include <string.h>

static fw_window *new_window(void) {
    fw_window *window = calloc(1, sizeof *window);
    if (window != NULL) {
        window->start_unix_ns = fw_clock_ns(CLOCK_REALTIME);
        window->start_mono_ns = fw_clock_ns(CLOCK_MONOTONIC);
    }
    return window;
}

void fw_window_free(fw_window *window) {
    if (window == NULL) {
        return;
    }
    for (size_t i = 0; i < window->count; i++) {
        fw_stack *stack = &window->stacks[i];
        for (uint32_t f = 0; f < stack->depth; f++) {
            fw_code_release(stack->frames[f].code);
        }
        fw_labels_release(stack->labels);
        free(stack->frames);
    }
    free(window->stacks);
    free(window->index);
    free(window);
}

void fw_window_reset(void) {
    fw_window_free(fw.window);
    fw.window = new_window();
}

fw_window *fw_window_turn(uint64_t *duration_ns) {
    fw_window *ended = fw.window;
    fw.window = new_window();
    if (ended != NULL) {
        uint64_t now = fw.window != NULL ? fw.window->start_mono_ns : fw_clock_ns(CLOCK_MONOTONIC);
        *duration_ns = now - ended->start_mono_ns;
    }
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

static uint64_t hash_stack(const fw_frame *frames, uint32_t depth, const fw_labels *labels, bool with_span) {
    uint64_t hash = 0;
    if (labels_length(labels, with_span) != 0) {
        /* A span that has ended, or none: the plain hash, whichever Scope it came from. */
        hash = labels_length(labels, with_span) == labels->plain_length ? labels->plain_hash : labels->full_hash;
    }
    for (uint32_t i = 0; i < depth; i++) {
        hash = (hash ^ (uint64_t)(uintptr_t)frames[i].code) * 0x9e3779b97f4a7c15ull;
        hash = (hash ^ (uint32_t)frames[i].line) * 0xff51afd7ed558ccdull;
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

static fw_stack *find(fw_window *window, uint64_t hash, const fw_frame *frames, uint32_t depth, fw_labels *labels,
                      bool with_span, size_t *free_at) {
    size_t at = hash & (window->index_size - 1);
    for (; window->index[at] != 0; at = (at + 1) & (window->index_size - 1)) {
        fw_stack *stack = &window->stacks[window->index[at] - 1];
        bool same = stack->hash == hash && stack->depth == depth
            && same_labels(stack->labels, stack->with_span, labels, with_span);
        for (uint32_t i = 0; same && i < depth; i++) {
            same = stack->frames[i].code == frames[i].code && stack->frames[i].line == frames[i].line;
        }
        if (same) {
            return stack;
        }
    }
    *free_at = at;
    return NULL;
}

/* False where the stack cannot be kept as it is: the window is full, or memory ran out. */
static bool add(fw_window *window, const fw_frame *frames, uint32_t depth, fw_labels *labels, bool with_span,
                uint64_t cpu_ns, uint64_t samples, bool may_insert) {
    if (window == NULL || !grow(window)) {
        return false;
    }
    size_t at = 0;
    uint64_t hash = hash_stack(frames, depth, labels, with_span);
    fw_stack *stack = find(window, hash, frames, depth, labels, with_span, &at);
    if (stack == NULL) {
        fw_frame *copy = may_insert ? malloc((depth ? depth : 1) * sizeof *copy) : NULL;
        if (copy == NULL) {
            return false;
        }
        memcpy(copy, frames, depth * sizeof *copy);
        for (uint32_t i = 0; i < depth; i++) {
            fw_code_acquire(copy[i].code);
        }
        fw_labels_acquire(labels);
        stack = &window->stacks[window->count++];
        *stack = (fw_stack){.hash = hash, .labels = labels, .with_span = with_span, .depth = depth, .frames = copy};
        window->index[at] = (uint32_t)window->count;
    }
    stack->cpu_ns += cpu_ns;
    stack->samples += samples;
    window->samples += samples;
    return true;
}

void fw_window_add(const fw_frame *frames, uint32_t depth, fw_labels *labels, bool with_span, uint64_t cpu_ns,
                   uint64_t samples) {
    bool room = fw.window != NULL && fw.window->count < FW_WINDOW_STACKS;
    if (!add(fw.window, frames, depth, labels, with_span, cpu_ns, samples, room)) {
        for (uint64_t i = 0; i < samples; i++) {
            fw_count_drop(FW_DROP_WINDOW_FULL);
        }
        fw_window_add_named("(other stacks)", cpu_ns, 0);
    }
}

void fw_window_add_named(const char *name, uint64_t cpu_ns, uint64_t samples) {
    fw_frame frame = {.code = fw_code_named(name), .line = 0};
    if (frame.code != NULL) {
        add(fw.window, &frame, 1, NULL, false, cpu_ns, samples, true);
        fw_code_release(frame.code);
    }
}
