/* What one upload interval gathered: (stack, labels) -> (CPU ns, samples). Under fw.reader_lock until it is taken. */
#ifndef FLAMEWIRE_WINDOW_H
#define FLAMEWIRE_WINDOW_H

#include "core.h"
#include "intern.h"
#include "labels.h"

enum { FW_WINDOW_STACKS = 1 << 16 };   /* distinct (stack, labels); what comes beyond is kept as "(other stacks)" */

typedef struct {
    uint64_t hash;
    uint64_t cpu_ns, samples;
    fw_labels *labels;
    bool with_span;
    uint32_t depth;
    fw_frame *frames;                  /* leaf first */
} fw_stack;

typedef struct fw_window {
    fw_stack *stacks;
    size_t count, capacity;
    uint32_t *index;                   /* open addressing: position in stacks + 1 */
    size_t index_size;
    uint64_t samples;
    uint64_t start_unix_ns, start_mono_ns;
} fw_window;

void fw_window_reset(void);                                /* a new window from now on; the old one is thrown away */
fw_window *fw_window_turn(uint64_t *duration_ns);          /* the window that ends now; NULL when memory ran out */
void fw_window_free(fw_window *window);                    /* under reader_lock: gives codes and labels back */
/* Frames and labels stay the caller's. */
void fw_window_add(const fw_frame *frames, uint32_t depth, fw_labels *labels, bool with_span, uint64_t cpu_ns,
                   uint64_t samples);
void fw_window_add_named(const char *name, uint64_t cpu_ns, uint64_t samples);

/* pprof.c: without locks and without the GIL. Returns malloc'ed bytes, NULL when memory ran out. */
char *fw_pprof_encode(const fw_window *window, uint64_t duration_ns, uint64_t period_ns, size_t *length);

#endif
