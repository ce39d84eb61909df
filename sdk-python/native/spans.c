/* What the reader makes of the labels of a span: the name that it has by now, and no more ids than a window may hold. */
#include <stdlib.h>
#include <string.h>

#include "intern.h"
#include "window.h"

static bool is_named(const char *name, uint32_t length, const char *wanted) {
    return length == strlen(wanted) && memcmp(name, wanted, length) == 0;
}

/* The labels without the pair `left_out` of their span, and with the only pair of `added`, where it is not NULL. Their owners
 * are their own: nobody looks for those of what has been read. NULL: no memory. */
static fw_labels *edited(const fw_labels *labels, const char *left_out, const fw_labels *added) {
    uint32_t more = added != NULL ? added->full_length : 0, length = 0, offset = 0, name_length, value_length;
    const char *name, *value;
    char *blob = malloc(labels->full_length + more + 1);
    if (blob == NULL) {
        return NULL;
    }
    for (uint32_t before = 0;
         fw_labels_next(labels, labels->full_length, &offset, &name, &name_length, &value, &value_length);
         before = offset) {
        if (before < labels->plain_length || !is_named(name, name_length, left_out)) {
            memcpy(blob + length, labels->blob + before, offset - before);
            length += offset - before;
        }
    }
    if (more != 0) {
        memcpy(blob + length, added->blob, more);
    }
    fw_labels *result = fw_labels_new(blob, labels->plain_length, length + more);
    free(blob);
    return result;
}

/* SAFETY: name_owner is alive. Its Scope is kept by that of `labels`, so it retires after it; and what is in a ring has not
 * been read since its labels retired. What has been read is what this returns, which names no one but itself. The name
 * is alive, because it retires after its owner, or when another takes its place, and then goes after this pass. */
fw_labels *fw_labels_shown(fw_labels *labels) {
    if (labels == NULL || labels->full_length == labels->plain_length) {
        return labels;
    }
    const fw_labels *name = atomic_load(&labels->name_owner->name);
    if (name == NULL) {
        return labels;
    }
    if (labels->shown == NULL || labels->shown_name != name->serial) {
        fw_labels *renamed = edited(labels, "span_name", name);
        if (renamed == NULL) {
            return labels;
        }
        fw_labels_release(labels->shown);
        labels->shown = renamed;
        labels->shown_name = name->serial;
    }
    return labels->shown;
}

static void learn_ids(fw_labels *labels) {
    uint32_t offset = labels->plain_length, name_length, value_length;
    const char *name, *value;
    while (fw_labels_next(labels, labels->full_length, &offset, &name, &name_length, &value, &value_length)) {
        if (is_named(name, name_length, "span_id")) {
            labels->root_id = fw_hash_bytes(value, value_length, 0) | 1;
        } else if (is_named(name, name_length, "child_span_id")) {
            labels->child_id = fw_hash_bytes(value, value_length, 0) | 1;
        }
    }
    labels->ids_known = true;
}

/* Whether the id may be in the window: it is there, or there is room for it among the first `most`. */
static bool admit(fw_window *window, uint64_t id, size_t most) {
    if (window->span_ids == NULL) {
        for (window->span_id_size = 64; window->span_id_size < 2 * (size_t)fw.max_span_ids;) {
            window->span_id_size *= 2;
        }
        window->span_ids = calloc(window->span_id_size, sizeof *window->span_ids);
        if (window->span_ids == NULL) {
            return false;
        }
    }
    size_t at = id & (window->span_id_size - 1);
    while (window->span_ids[at] != 0 && window->span_ids[at] != id) {
        at = (at + 1) & (window->span_id_size - 1);
    }
    if (window->span_ids[at] == 0 && window->span_id_count < most) {
        window->span_ids[at] = id;
        window->span_id_count++;
    }
    return window->span_ids[at] == id;
}

void fw_window_bound_spans(fw_window *window, fw_held_stack *stack, uint64_t samples) {
    fw_labels *labels = stack->labels;
    if (labels == NULL || labels->full_length == labels->plain_length) {
        return;
    }
    if (!labels->ids_known) {
        learn_ids(labels);
    }
    if (labels->root_id != 0 && !admit(window, labels->root_id, fw.max_span_ids)) {
        fw.totals.without_span += samples;
        stack->with_span = false;
        return;
    }
    if (labels->child_id == 0 || admit(window, labels->child_id, fw.max_span_ids / 2)) {
        return;
    }
    fw.totals.without_child += samples;
    if (labels->without_child == NULL) {
        labels->without_child = edited(labels, "child_span_id", NULL);
    }
    if (labels->without_child != NULL) {
        stack->labels = labels->without_child;
    } else {
        stack->with_span = false;
    }
}
