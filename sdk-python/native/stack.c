#include "stack.h"

#include <stdlib.h>
#include <string.h>

bool fw_hold(fw_held_stack *held, const fw_held_stack *from) {
    for (uint32_t i = 0; i < from->depth; i++) {
        fw_code_acquire(from->frames[i].code);
    }
    fw_labels_acquire(from->labels);
    fw_let_go(held);
    if (from->depth > held->capacity) {
        free(held->frames);
        held->frames = malloc(from->depth * sizeof *held->frames);
        held->capacity = held->frames != NULL ? from->depth : 0;
    }
    if (from->depth > held->capacity) {
        for (uint32_t i = 0; i < from->depth; i++) {
            fw_code_release(from->frames[i].code);
        }
        fw_labels_release(from->labels);
        return false;
    }
    if (from->depth != 0) {
        memcpy(held->frames, from->frames, from->depth * sizeof *held->frames);
    }
    held->depth = from->depth;
    held->labels = from->labels;
    held->with_span = from->with_span;
    return true;
}

void fw_let_go(fw_held_stack *held) {
    for (uint32_t i = 0; i < held->depth; i++) {
        fw_code_release(held->frames[i].code);
    }
    fw_labels_release(held->labels);
    held->labels = NULL;
    held->depth = 0;
}

void fw_free_held(fw_held_stack *held) {
    fw_let_go(held);
    free(held->frames);
    *held = (fw_held_stack){0};
}
