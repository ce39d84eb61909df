/* From the rings into the window: under fw.reader_lock, in the SDK's own thread, without the GIL. */
#include "core.h"

#include <stdio.h>
#include <string.h>

#include "intern.h"
#include "labels.h"
#include "window.h"

/* One record, copied out of the ring so that it is contiguous. */
typedef struct {
    const uint64_t *at, *end;
} cursor;

static uint64_t record_words[FW_RING_WORDS];
static fw_frame frames[FW_MAX_DEPTH + 2];

static const unsigned char *take_bytes(cursor *in, uint64_t length) {
    const unsigned char *bytes = (const unsigned char *)in->at;
    in->at += (length + 7) / 8;
    return bytes;
}

static void define(fw_slot *slot, cursor *in, uint64_t token) {
    uint32_t index = (uint32_t)(token >> 32) & (FW_CACHE_ENTRIES - 1);
    uint64_t heads[3] = {in->at[0], in->at[1], in->at[2]};
    in->at += 3;
    const unsigned char *bytes[3];
    for (int i = 0; i < 3; i++) {
        bytes[i] = take_bytes(in, heads[i] >> 3);
    }
    fw_raw_text name = {bytes[0], (uint32_t)(heads[0] >> 3), heads[0] & 7};
    fw_raw_text filename = {bytes[1], (uint32_t)(heads[1] >> 3), heads[1] & 7};
    fw_code *code = fw_code_intern(name, filename, (int32_t)(uint32_t)token, bytes[2], (uint32_t)(heads[2] >> 3));
    fw_code_release(slot->codes[index]);
    slot->codes[index] = code;
}

/* Fills `frames` (a reference each). */
static uint32_t read_frames(fw_slot *slot, cursor *in) {
    uint32_t depth = 0;
    while (in->at < in->end) {
        uint64_t token = *in->at++;
        if (token & FW_TOKEN_DEFINITION) {
            define(slot, in, token);
            continue;
        }
        fw_code *code = slot->codes[(token >> 32) & (FW_CACHE_ENTRIES - 1)];
        if (code != NULL && depth < FW_MAX_DEPTH) {
            /* The slot's map may let go of it before the record ends. */
            fw_code_acquire(code);
            frames[depth++] = (fw_frame){code, fw_code_line(code, (int32_t)(uint32_t)token)};
        }
    }
    return depth;
}

static uint32_t add_named_frame(uint32_t depth, const char *name) {
    fw_code *code = fw_code_named(name);
    if (code != NULL) {
        frames[depth++] = (fw_frame){code, 0};
    }
    return depth;
}

/* Fills `frames` (a reference each) and returns how many. */
static uint32_t read_stack(fw_slot *slot, cursor *in, uint32_t flags) {
    if (!(flags & FW_SAMPLE_NATIVE)) {
        uint32_t depth = read_frames(slot, in);
        return flags & FW_SAMPLE_TRUNCATED ? add_named_frame(depth, "(truncated)") : depth;
    }
    char comm[8 * FW_COMM_WORDS + 1] = {0}, name[48];
    memcpy(comm, in->at, 8 * FW_COMM_WORDS);
    snprintf(name, sizeof name, "(native thread: %s)", comm);
    return add_named_frame(0, name);
}

/* The stack of the record in record_words, over `frames`. */
static fw_held_stack stack_of_record(fw_slot *slot, uint64_t length) {
    cursor in = {record_words + 3, record_words + length};
    uint64_t scope = record_words[2];
    uint32_t depth = read_stack(slot, &in, (uint32_t)(record_words[0] >> 48) & 0xff);
    fw_labels *labels = fw_labels_shown((fw_labels *)(uintptr_t)(scope & ~1ull));
    return (fw_held_stack){.frames = frames, .depth = depth, .labels = labels, .with_span = !(scope & 1)};
}

static void release_frames(uint32_t depth) {
    for (uint32_t i = 0; i < depth; i++) {
        fw_code_release(frames[i].code);
    }
}

static void give_to_last(fw_slot *slot, uint64_t weight_ns) {
    if (slot->excluded) {
        fw.totals.own_ns += weight_ns;
        return;
    }
    if (!slot->has_last || weight_ns == 0) {
        return;                        /* never sampled: it comes out as (unattributed) */
    }
    fw_window_add(FW_CPU, &slot->last, FW_STATE_UNKNOWN, weight_ns, 0);
    fw.totals.accounted_ns += weight_ns;
}

static void read_record(fw_slot *slot, uint64_t length) {
    uint64_t header = record_words[0], weight = record_words[1];
    uint32_t flags = (uint32_t)(header >> 48) & 0xff;
    if (header >> 56 != FW_RECORD_SAMPLE) {
        give_to_last(slot, weight);
        return;
    }
    fw_held_stack stack = stack_of_record(slot, length);
    uint64_t counted = !(flags & FW_SAMPLE_UNCOUNTED);
    if (slot->excluded) {
        fw.totals.own_ns += weight;
    } else {
        if (counted || weight) {
            fw_window_add(FW_CPU, &stack, FW_STATE_UNKNOWN, weight, counted);
        }
        fw.totals.accounted_ns += weight;
        fw.totals.samples += counted;
    }
    slot->has_last = fw_hold(&slot->last, &stack);
    slot->last_is_native = flags & FW_SAMPLE_NATIVE;
    release_frames(stack.depth);
}

static uint64_t copy_record(const fw_ring *ring, uint64_t tail) {
    uint64_t length = ring->words[tail & (FW_RING_WORDS - 1)] & 0xffffffffffffull;
    for (uint64_t i = 0; i < length; i++) {
        record_words[i] = ring->words[(tail + i) & (FW_RING_WORDS - 1)];
    }
    return length;
}

void fw_drain_slot(fw_slot *slot) {
    fw_ring *ring = &slot->ring;
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    while (tail != head) {
        uint64_t length = copy_record(ring, tail);
        tail += length;
        atomic_store_explicit(&ring->tail, tail, memory_order_release);
        read_record(slot, length);
    }
}

uint64_t fw_fullest_ring(void) {
    uint64_t most = 0;
    for (uint32_t i = 0; i < atomic_load(&fw.slots_used); i++) {
        const fw_ring *ring = &fw.slots[i].ring;
        uint64_t words = atomic_load(&ring->head) - atomic_load_explicit(&ring->tail, memory_order_relaxed);
        most = words > most ? words : most;
    }
    return most;
}

/* Without a sampler nobody drains, and tags and spans are used all the same: before the start, where profiling is switched
 * off, after the stop. Never waits: who holds the lock (the end of a stop, an encoder) leaves them to the next call. */
void fw_labels_sweep(void) {
    if (!atomic_load(&fw.active) && pthread_mutex_trylock(&fw.reader_lock) == 0) {
        if (!atomic_load(&fw.active)) {
            fw_labels_release_all(fw_labels_take_retired());
        }
        pthread_mutex_unlock(&fw.reader_lock);
    }
}

void fw_drain_all(void) {
    fw_labels *retired = fw_labels_take_retired();
    for (uint32_t i = 0; i < atomic_load(&fw.slots_used); i++) {
        fw_slot *slot = &fw.slots[i];
        uint32_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
        if (state == FW_FREE) {
            continue;
        }
        fw_drain_slot(slot);
        if (state == FW_ENDED) {
            fw_wall_end(slot);
            pthread_mutex_lock(&fw.threads_lock);
            fw_free_slot(slot);
            pthread_mutex_unlock(&fw.threads_lock);
        }
    }
    fw_labels_release_all(retired);
}

/* What nobody accounts for and is less than a sample's worth waits for more, so that an idle process has empty windows; in
 * the last window it stands beside whatever else there is. */
static void settle_unattributed(uint64_t rest_ns) {
    const fw_window *window = fw.windows[FW_CPU];
    bool last_of_many = !fw.started && window != NULL && window->count != 0;
    if (rest_ns >= fw.period_ns || (last_of_many && rest_ns != 0)) {
        fw_window_add_named(FW_CPU, "(unattributed)", rest_ns, 0);
        fw.totals.unattributed_ns += rest_ns;
    }
}

/* The end of a window (PPR-029): each thread's CPU since its last sample goes to that sample's stack, and what the process
 * burnt beyond all threads that are known becomes "(unattributed)". The process clock is read first: what comes after it
 * belongs to the next window. Cumulative, so a misjudged nanosecond is made good the next time. */
void fw_settle_all(void) {
    uint64_t process_ns = fw_clock_ns(CLOCK_PROCESS_CPUTIME_ID) - fw.process_base_ns, pending_ns = 0;
    for (uint32_t i = 0; i < atomic_load(&fw.slots_used); i++) {
        fw_slot *slot = &fw.slots[i];
        if (atomic_load(&slot->state) != FW_LIVE) {
            continue;
        }
        uint64_t now = fw_clock_ns(fw_thread_clock(atomic_load(&slot->tid)));
        uint64_t claimed = atomic_load(&slot->claimed_ns);
        if (slot->excluded || slot->has_last) {
            give_to_last(slot, fw_claim(slot, now));
        } else if (now > claimed) {
            pending_ns += now - claimed;
        }
    }
    fw_drain_all();
    const fw_totals *totals = &fw.totals;
    uint64_t known = totals->accounted_ns + totals->own_ns + totals->unattributed_ns + (fw.started ? pending_ns : 0);
    settle_unattributed(process_ns > known ? process_ns - known : 0);
}

static PyObject *frame_tuple(const fw_frame *frame) {
    const fw_code *code = frame->code;
    return Py_BuildValue("(N,N,i,i)", PyUnicode_DecodeUTF8(code->text, code->name_length, "replace"),
                         PyUnicode_DecodeUTF8(code->text + code->name_length, code->filename_length, "replace"),
                         (int)code->firstlineno, (int)frame->line);
}

static PyObject *labels_dict(const fw_labels *labels, bool with_span) {
    PyObject *dict = PyDict_New();
    const char *name, *value;
    uint32_t offset = 0, name_length, value_length;
    uint32_t length = labels == NULL ? 0 : with_span ? labels->full_length : labels->plain_length;
    while (dict != NULL && fw_labels_next(labels, length, &offset, &name, &name_length, &value, &value_length)) {
        PyObject *key = PyUnicode_DecodeUTF8(name, name_length, "replace");
        PyObject *text = PyUnicode_DecodeUTF8(value, value_length, "replace");
        if (key == NULL || text == NULL || PyDict_SetItem(dict, key, text) != 0) {
            Py_CLEAR(dict);
        }
        Py_XDECREF(key);
        Py_XDECREF(text);
    }
    return dict;
}

bool fw_take_stack(fw_slot *slot, fw_held_stack *out) {
    fw_ring *ring = &slot->ring;
    uint64_t tail = atomic_load(&ring->tail);
    if (tail == atomic_load(&ring->head)) {
        return false;
    }
    uint64_t length = copy_record(ring, tail);
    atomic_store(&ring->tail, tail + length);
    fw_held_stack stack = stack_of_record(slot, length);
    bool held = fw_hold(out, &stack);
    release_frames(stack.depth);
    return held;
}

static PyObject *record_tuple(const fw_held_stack *record) {
    PyObject *stack = PyList_New(0);
    for (uint32_t i = 0; stack != NULL && i < record->depth; i++) {
        PyObject *frame = frame_tuple(&record->frames[i]);
        if (frame == NULL || PyList_Append(stack, frame) != 0) {
            Py_CLEAR(stack);
        }
        Py_XDECREF(frame);
    }
    PyObject *labels = labels_dict(record->labels, record->with_span);
    PyObject *tuple = stack && labels ? PyTuple_Pack(2, stack, labels) : NULL;
    Py_XDECREF(stack);
    Py_XDECREF(labels);
    return tuple;
}

/* The records of one slot as [(frames, labels)], leaf first. With the GIL, which is not released before all are taken:
 * the ring is read without any call into Python, since that could run anything; the objects are made after. */
PyObject *fw_decode_records(fw_slot *slot) {
    enum { MOST = 4 };                 /* one, and what a timer added meanwhile */
    fw_held_stack records[MOST] = {{0}};
    PyObject *out = PyList_New(0);
    int count = 0;
    pthread_mutex_lock(&fw.reader_lock);
    while (count < MOST && fw_take_stack(slot, &records[count])) {
        count++;
    }
    atomic_store(&slot->ring.tail, atomic_load(&slot->ring.head));
    pthread_mutex_unlock(&fw.reader_lock);
    for (int i = 0; i < count && out != NULL; i++) {
        PyObject *record = record_tuple(&records[i]);
        if (record == NULL || PyList_Append(out, record) != 0) {
            Py_CLEAR(out);
        }
        Py_XDECREF(record);
    }
    pthread_mutex_lock(&fw.reader_lock);
    for (int i = 0; i < count; i++) {
        fw_free_held(&records[i]);
    }
    pthread_mutex_unlock(&fw.reader_lock);
    return out;
}
