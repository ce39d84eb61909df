/* A stack that is kept: a reference for each of its code objects and for its labels. All under fw.reader_lock. */
#ifndef FLAMEWIRE_STACK_H
#define FLAMEWIRE_STACK_H

#include <stdbool.h>
#include <stdint.h>

#include "intern.h"
#include "labels.h"

typedef struct {
    fw_code *code;
    int32_t line;
} fw_frame;

typedef struct {
    fw_frame *frames;                  /* leaf first */
    uint32_t depth, capacity;
    fw_labels *labels;                 /* or NULL */
    bool with_span;                    /* the labels of the span count: it had not ended */
} fw_held_stack;

/* Puts a copy of `from` in place of what `held` keeps. False: memory ran out, and `held` keeps nothing. */
bool fw_hold(fw_held_stack *held, const fw_held_stack *from);
void fw_let_go(fw_held_stack *held);       /* keeps its memory for the next one */
void fw_free_held(fw_held_stack *held);

#endif
