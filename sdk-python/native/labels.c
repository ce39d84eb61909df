#include "labels.h"

#include <stdlib.h>
#include <string.h>

#include "intern.h"

/* A Scope may die while samples in a ring still name its labels. So the labels are only retired then; the reader takes
 * the retired ones BEFORE it drains the rings: every record that names them is already there, since the thread that
 * wrote it held the Scope in its context. */
static _Atomic(fw_labels *) retired;

fw_labels *fw_labels_new(const char *blob, uint32_t plain_length, uint32_t full_length) {
    fw_labels *labels = malloc(sizeof *labels + full_length);
    if (labels == NULL) {
        return NULL;
    }
    *labels = (fw_labels){.plain_length = plain_length, .full_length = full_length, .references = 1};
    static _Atomic uint64_t last_serial;
    labels->span_owner = labels->name_owner = labels;
    labels->serial = atomic_fetch_add(&last_serial, 1) + 1;
    memcpy(labels->blob, blob, full_length);
    labels->plain_hash = fw_hash_bytes(blob, plain_length, 0);
    labels->full_hash = fw_hash_bytes(blob, full_length, 1);
    return labels;
}

void fw_labels_retire(fw_labels *labels) {
    fw_labels *head = atomic_load(&retired);
    do {
        labels->next_retired = head;
    } while (!atomic_compare_exchange_weak(&retired, &head, labels));
}

fw_labels *fw_labels_take_retired(void) { return atomic_exchange(&retired, NULL); }

void fw_labels_release_all(fw_labels *list) {
    while (list != NULL) {
        fw_labels *next = list->next_retired;
        fw_labels_release(list);
        list = next;
    }
}

void fw_labels_acquire(fw_labels *labels) {
    if (labels != NULL) {
        labels->references++;
    }
}

void fw_labels_release(fw_labels *labels) {
    if (labels != NULL && --labels->references == 0) {
        fw_labels_release(labels->shown);
        fw_labels_release(labels->without_child);
        free(labels);
    }
}

bool fw_labels_next(const fw_labels *labels, uint32_t length, uint32_t *offset, const char **name,
                    uint32_t *name_length, const char **value, uint32_t *value_length) {
    if (*offset >= length) {
        return false;
    }
    const char *at = labels->blob + *offset;
    memcpy(name_length, at, 4);
    memcpy(value_length, at + 4, 4);
    *name = at + 8;
    *value = at + 8 + *name_length;
    *offset += 8 + *name_length + *value_length;
    return true;
}
