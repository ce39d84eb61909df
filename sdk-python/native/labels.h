/* The label set of a Scope, encoded once, and its life. */
#ifndef FLAMEWIRE_LABELS_H
#define FLAMEWIRE_LABELS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `blob` holds pairs [u32 name length][u32 value length] name value, in UTF-8; first `plain_length` bytes of tags,
 * then the labels of the span, which count only while it has not ended. */
struct fw_labels {
    _Atomic uint64_t ended;            /* counts in the span's own labels, which span_owner of all inner ones names */
    struct fw_labels *span_owner;
    _Atomic(struct fw_labels *) name;  /* span_name since a rename, as one pair, or NULL; counts in the local root's labels, */
    struct fw_labels *name_owner;      /* which this names in those of its child spans and of all inner ones */
    uint64_t serial;                   /* tells it from what had its address before */
    uint64_t plain_hash, full_hash;
    uint32_t plain_length, full_length;
    uint32_t references;               /* the reader's, and one that the Scope gives back through `retired` */
    struct fw_labels *next_retired;

    /* reader (spans.c) */
    struct fw_labels *shown;           /* with the name that has this serial */
    uint64_t shown_name;
    struct fw_labels *without_child;
    uint64_t root_id, child_id;        /* hashes; 0: none */
    bool ids_known;

    char blob[];
};
typedef struct fw_labels fw_labels;

fw_labels *fw_labels_new(const char *blob, uint32_t plain_length, uint32_t full_length);
void fw_labels_retire(fw_labels *labels);          /* any thread: the Scope has died */
void fw_labels_sweep(void);                        /* drain.c, any thread: where nothing samples, the retired ones go */
fw_labels *fw_labels_take_retired(void);           /* reader: those that may go once all rings are drained */
void fw_labels_release_all(fw_labels *retired);    /* reader */
void fw_labels_acquire(fw_labels *labels);         /* reader */
void fw_labels_release(fw_labels *labels);         /* reader */

/* spans.c, reader. The labels as they are now: after a rename others, which these keep alive. May be NULL. */
fw_labels *fw_labels_shown(fw_labels *labels);

/* Reads the pair at *offset and moves on; false at `length`. */
bool fw_labels_next(const fw_labels *labels, uint32_t length, uint32_t *offset, const char **name,
                    uint32_t *name_length, const char **value, uint32_t *value_length);

#endif
