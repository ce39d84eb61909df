/* What one upload interval gathered of one kind: (stack, labels, state) -> (ns, samples). Under fw.reader_lock until it is
 * taken. */
#ifndef FLAMEWIRE_WINDOW_H
#define FLAMEWIRE_WINDOW_H

#include "core.h"

enum {
    FW_WINDOW_STACKS = 1 << 16,        /* distinct (stack, labels); what comes beyond is kept as "(other stacks)" */
    FW_WINDOW_SPAN_IDS = 8192,         /* where start() is not told otherwise */
};

typedef struct {
    uint64_t hash;
    uint64_t value_ns, samples;
    fw_held_stack stack;
    enum fw_thread_state state;
} fw_stack;

typedef struct fw_window {
    fw_stack *stacks;
    size_t count, capacity;
    uint32_t *index;                   /* open addressing: position in stacks + 1 */
    size_t index_size;
    uint64_t samples;
    uint64_t start_unix_ns, start_mono_ns;
    uint64_t *span_ids;                /* hashes, open addressing; NULL before the first span */
    size_t span_id_count, span_id_size;
} fw_window;

void fw_window_reset(enum fw_kind kind);                   /* a new window from now on; the old one is thrown away */
void fw_window_drop(enum fw_kind kind);                    /* the same, and no new one */
/* The one that ends at that time of the monotonic clock, where the next begins; NULL: none, no memory. */
fw_window *fw_window_turn(enum fw_kind kind, uint64_t mono_ns, uint64_t *duration_ns);
void fw_window_free(fw_window *window);                    /* under reader_lock: gives codes and labels back */
/* The stack stays the caller's. */
void fw_window_add(enum fw_kind kind, const fw_held_stack *stack, enum fw_thread_state state, uint64_t value_ns,
                   uint64_t samples);
void fw_window_add_named(enum fw_kind kind, const char *name, uint64_t value_ns, uint64_t samples);

/* spans.c. A window holds fw.max_span_ids ids of spans; when half of them are taken, samples of further child spans keep the
 * local root's id only, and when all are, those of further roots none. */
void fw_window_bound_spans(fw_window *window, fw_held_stack *stack, uint64_t samples);

/* pprof.c: without locks and without the GIL. Returns malloc'ed bytes, NULL when memory ran out. */
char *fw_pprof_encode(enum fw_kind kind, const fw_window *window, uint64_t duration_ns, uint64_t period_ns,
                      size_t *length);

#endif
