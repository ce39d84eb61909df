/* One sample: walks the frames of the thread that it runs in and writes a record into the thread's ring.
 *
 * Runs in the signal handler (and, signals kept out by slot->busy, in attach); fw_read_other() in the wall-clock sampler's
 * thread. Nothing here allocates, locks or formats; the only foreign calls are PyGILState_GetThisThreadState() and, for threads without Python,
 * prctl(PR_GET_NAME).
 */
#include "core.h"

#include <string.h>
#include <sys/prctl.h>

enum {
    STRING_KIND_SHIFT = 2, STRING_KIND_MASK = 7, STRING_COMPACT = 1 << 5, STRING_ASCII = 1 << 6,
    NAME_BYTES = 2048, FILENAME_BYTES = 4096,
    TABLE_BYTES = FW_RING_WORDS * 8 / 4,
    FINGERPRINT_CHUNK = 256,
};

typedef struct {
    fw_slot *slot;                     /* whose ring and cache are used */
    pid_t tid;                         /* the thread that is sampled */
    bool direct;
    uint32_t depth;
    uint64_t hash, leaf_hash;          /* of code objects and instructions */
    uint64_t top, leaf, leaf_instr;    /* where the walk began */
    enum fw_drop why;
} walk;

static bool fail(walk *w, enum fw_drop why) {
    w->why = why;
    return false;
}

static bool read_at(const walk *w, uint64_t from, void *to, size_t size) { return fw_read(w->direct, to, from, size); }

static uint64_t word_at(const uint8_t *bytes, uint32_t offset) {
    uint64_t value;
    memcpy(&value, bytes + offset, sizeof value);
    return value;
}

static uint32_t half_at(const uint8_t *bytes, uint32_t offset) {
    uint32_t value;
    memcpy(&value, bytes + offset, sizeof value);
    return value;
}

/* Some bytes of a string or bytes object of the interpreter. */
typedef struct {
    uint64_t data, length;             /* length in bytes */
    uint32_t kind;                     /* 1, 2, 4: bytes per character; 0: not readable as text */
} extent;

static bool string_extent(const walk *w, uint64_t object, uint64_t limit, extent *out) {
    uint8_t head[40];
    if (!read_at(w, object, head, sizeof head)) {
        return false;
    }
    uint64_t length = word_at(head, fw_layout.str_length);
    uint32_t state = half_at(head, fw_layout.str_state);
    uint32_t kind = state >> STRING_KIND_SHIFT & STRING_KIND_MASK;
    if (!(state & STRING_COMPACT) || (kind != 1 && kind != 2 && kind != 4)) {
        *out = (extent){0, 0, 0};
        return true;
    }
    uint64_t bytes = length < limit ? length * kind : limit;
    out->kind = kind;
    out->length = (bytes < limit ? bytes : limit) / kind * kind;
    out->data = object + (state & STRING_ASCII ? fw_layout.str_ascii_data : fw_layout.str_compact_data);
    return true;
}

static bool table_extent(const walk *w, uint64_t object, extent *out) {
    uint64_t length;
    if (!read_at(w, object + fw_layout.bytes_length, &length, sizeof length)) {
        return false;
    }
    *out = (extent){object + fw_layout.bytes_data, length < TABLE_BYTES ? length : TABLE_BYTES, 1};
    return true;
}

static bool mix_bytes(const walk *w, extent bytes, uint64_t *hash) {
    uint64_t chunk[FINGERPRINT_CHUNK / 8];
    for (uint64_t done = 0; done < bytes.length;) {
        uint64_t size = bytes.length - done < sizeof chunk ? bytes.length - done : sizeof chunk;
        chunk[(size - 1) / 8] = 0;
        if (!read_at(w, bytes.data + done, chunk, size)) {
            return false;
        }
        for (uint64_t i = 0; i < (size + 7) / 8; i++) {
            *hash = (*hash ^ chunk[i]) * 0x9e3779b97f4a7c15ull;
            *hash ^= *hash >> 29;
        }
        done += size;
    }
    *hash = (*hash ^ bytes.length) * 0x9e3779b97f4a7c15ull;
    return true;
}

/* 3.11, and co_version 0 (its counter ran out): an exec'd module reuses the addresses of the one before, of its names
 * and of its table, so only the bytes tell them apart. */
static bool fingerprint(const walk *w, const fw_cached_code *code, uint64_t *out) {
    extent table, qualname, filename;
    *out = 0x243f6a8885a308d3ull;
    return table_extent(w, code->linetable, &table) && string_extent(w, code->qualname, NAME_BYTES, &qualname)
        && string_extent(w, code->filename, FILENAME_BYTES, &filename) && mix_bytes(w, table, out)
        && mix_bytes(w, qualname, out) && mix_bytes(w, filename, out);
}

static bool put_extent(const walk *w, extent bytes) {
    fw_ring *ring = &w->slot->ring;
    uint64_t words = (bytes.length + 7) / 8;
    if (!fw_ring_room(ring, words)) {
        return false;
    }
    for (uint64_t done = 0; done < bytes.length;) {
        uint64_t at = ring->cursor & (FW_RING_WORDS - 1), room = (FW_RING_WORDS - at) * 8;
        uint64_t size = bytes.length - done < room ? bytes.length - done : room;
        if (!read_at(w, bytes.data + done, ring->words + at, size)) {
            return false;
        }
        done += size;
        ring->cursor += (size + 7) / 8;
    }
    return true;
}

static bool put_definition(walk *w, const fw_cached_code *code, uint32_t index) {
    extent parts[3];
    fw_slot *slot = w->slot;
    if (!string_extent(w, code->qualname, NAME_BYTES, &parts[0])
        || !string_extent(w, code->filename, FILENAME_BYTES, &parts[1]) || !table_extent(w, code->linetable, &parts[2])) {
        return fail(w, FW_DROP_FAULT);
    }
    if (!fw_ring_put(&slot->ring, FW_TOKEN_DEFINITION | (uint64_t)index << 32 | (uint32_t)code->firstlineno)) {
        return fail(w, FW_DROP_RING_FULL);
    }
    for (int i = 0; i < 3; i++) {
        if (!fw_ring_put(&slot->ring, parts[i].length << 3 | parts[i].kind)) {
            return fail(w, FW_DROP_RING_FULL);
        }
    }
    for (int i = 0; i < 3; i++) {
        if (!put_extent(w, parts[i])) {
            return fail(w, fw_ring_room(&slot->ring, (parts[i].length + 7) / 8) ? FW_DROP_FAULT : FW_DROP_RING_FULL);
        }
    }
    return true;
}

static uint32_t cache_set(uint64_t address) {
    return (uint32_t)((address >> 4) * 0x9e3779b97f4a7c15ull >> 32) % FW_CACHE_SETS;
}

static bool same_code(const fw_cached_code *a, const fw_cached_code *b) {
    return a->code == b->code && a->version == b->version && a->qualname == b->qualname
        && a->filename == b->filename && a->linetable == b->linetable && a->firstlineno == b->firstlineno
        && a->fingerprint == b->fingerprint;
}

/* SAFETY: the object is alive: a frame of the sampled thread holds a reference, and that thread is in this handler, or
 * off its CPU (what was read of one that was not is thrown away). A frame that is half built or half popped may hold
 * anything: hence the type check and the guard. */
static bool read_code(walk *w, uint64_t address, fw_cached_code *out) {
    uint8_t bytes[FW_CODE_BYTES];
    const fw_layout_t *at = &fw_layout;
    if (address & 7 || !read_at(w, address, bytes, at->code_size) || word_at(bytes, 8) != at->code_type) {
        return fail(w, FW_DROP_FAULT);
    }
    *out = (fw_cached_code){
        .code = address, .filename = word_at(bytes, at->code_filename), .qualname = word_at(bytes, at->code_qualname),
        .linetable = word_at(bytes, at->code_linetable), .version = at->has_version ? half_at(bytes, at->code_version) : 0,
        .firstlineno = (int32_t)half_at(bytes, at->code_firstlineno)};
    /* 3.13+ runs __init__ through a shim (Python/specialize.c, _Py_InitCleanup) whose two names are one object. */
    out->hidden = out->filename == out->qualname;
    if (out->version == 0 && !fingerprint(w, out, &out->fingerprint)) {
        return fail(w, FW_DROP_FAULT);
    }
    return true;
}

/* The cache entry of a code object, defined in the ring when it is new. */
static fw_cached_code *lookup(walk *w, uint64_t address) {
    fw_slot *slot = w->slot;
    fw_cached_code *set = slot->cache + 2 * cache_set(address), now;
    for (int way = 0; way < 2; way++) {
        if (set[way].code == address && set[way].verified_in == slot->sample_number) {
            return &set[way];
        }
    }
    if (!read_code(w, address, &now)) {
        return NULL;
    }
    now.verified_in = slot->sample_number;
    int victim = set[1].verified_in < set[0].verified_in;
    for (int way = 0; way < 2; way++) {
        if (same_code(&set[way], &now)) {
            set[way].verified_in = slot->sample_number;
            return &set[way];
        }
        victim = set[way].code == address ? way : victim;
    }
    uint32_t index = (uint32_t)(set + victim - slot->cache);
    if (slot->defined_count < FW_MAX_DEPTH) {
        slot->defined[slot->defined_count] = (uint16_t)index;
    }
    slot->defined_count++;
    set[victim] = now;
    if (!now.hidden && !put_definition(w, &now, index)) {
        return NULL;
    }
    return &set[victim];
}

static bool put_frame(walk *w, uint64_t code, uint64_t instruction) {
    fw_cached_code *entry = lookup(w, code);
    if (entry == NULL) {
        return false;
    }
    if (entry->hidden) {
        return true;
    }
    int64_t units = (int64_t)(instruction - (code + fw_layout.code_bytecode)) / 2;   /* of a torn frame: anything */
    int32_t index = units < 0 || units > INT32_MAX ? -1 : (int32_t)units;
    w->depth++;
    w->hash = (w->hash ^ code ^ (uint64_t)entry->version << 48 ^ entry->fingerprint) * 0x9e3779b97f4a7c15ull;
    w->hash = (w->hash ^ w->hash >> 29 ^ instruction) * 0xff51afd7ed558ccdull;
    w->leaf_hash = w->depth == 1 ? w->hash : w->leaf_hash;
    uint64_t token = (uint64_t)(entry - w->slot->cache) << 32 | (uint32_t)index;
    return fw_ring_put(&w->slot->ring, token) || fail(w, FW_DROP_RING_FULL);
}

typedef struct {
    uint64_t frame;
    uint64_t entry_previous;           /* what the first entry frame's `previous` has to be */
    bool check_entry;
} start;

/* Walks from at.frame to the bottom. Leaf frames beyond max_depth are kept, the root side is cut. */
static bool walk_frames(walk *w, start at, uint32_t *flags) {
    uint8_t bytes[FW_FRAME_BYTES];
    const fw_layout_t *l = &fw_layout;
    uint64_t frame = at.frame;
    for (uint32_t looked_at = 0; frame != 0; looked_at++) {
        if (frame & 7 || looked_at > FW_MAX_WALK || !read_at(w, frame, bytes, l->frame_size)) {
            return fail(w, FW_DROP_FAULT);
        }
        if (looked_at == 0) {
            w->leaf = frame;
            w->leaf_instr = word_at(bytes, l->frame_instr);
        }
        uint64_t code = word_at(bytes, l->frame_code) & ~(uint64_t)l->tag_mask;
        uint64_t previous = word_at(bytes, l->frame_previous);
        uint32_t owner = bytes[l->frame_owner];
        bool hidden = owner < 32 && (l->owners_hidden >> owner & 1);
        bool entry = l->owners_hidden ? hidden : bytes[l->frame_is_entry] != 0;
        if (!hidden && code != l->none && code != 0) {
            if (w->depth >= fw.max_depth) {
                *flags |= FW_SAMPLE_TRUNCATED;
                if (!at.check_entry) {
                    return true;
                }
            } else if (!put_frame(w, code, word_at(bytes, l->frame_instr))) {
                return false;
            }
        }
        if (entry && at.check_entry) {
            if (previous != at.entry_previous) {
                return fail(w, FW_DROP_FAULT);
            }
            at.check_entry = false;
        }
        frame = previous;
    }
    return true;
}

static bool start_at_cframe(walk *w, uint64_t cframe, start *out, uint64_t *previous) {
    if (!read_at(w, cframe + fw_layout.cframe_frame, &out->frame, 8)
        || !read_at(w, cframe + fw_layout.cframe_previous, previous, 8)) {
        return fail(w, FW_DROP_FAULT);
    }
    out->check_entry = *previous != 0;
    if (*previous != 0 && !read_at(w, *previous + fw_layout.cframe_frame, &out->entry_previous, 8)) {
        return fail(w, FW_DROP_FAULT);
    }
    return true;
}

static void forget_definitions(fw_slot *slot) {
    if (slot->defined_count > FW_MAX_DEPTH) {
        memset(slot->cache, 0, FW_CACHE_ENTRIES * sizeof *slot->cache);
    } else {
        for (uint32_t i = 0; i < slot->defined_count; i++) {
            slot->cache[slot->defined[i]] = (fw_cached_code){0};
        }
    }
    slot->defined_count = 0;
}

/* SAFETY (3.11, 3.12): _PyEval_EvalFrameDefault (Python/ceval.c) publishes its _PyCFrame in the thread state before the
 * compiler has stored current_frame and previous into it, so the newest one may hold leftovers of the C stack. It counts
 * only when the entry frame that it leads to continues at the current frame of the _PyCFrame below; else the walk
 * begins at that one, where the thread was a moment ago. */
static bool walk_stack(walk *w, uint64_t thread_state, uint32_t *flags) {
    start at = {0};
    fw_ring *ring = &w->slot->ring;
    uint64_t first_token = ring->cursor, top, previous = 0;
    if (!read_at(w, thread_state + fw_layout.ts_frame, &top, 8)) {
        return fail(w, FW_DROP_FAULT);
    }
    w->top = top;
    if (!fw_layout.has_cframe) {
        at.frame = top;
        return walk_frames(w, at, flags);
    }
    if (start_at_cframe(w, top, &at, &previous) && walk_frames(w, at, flags)) {
        return true;
    }
    if (w->why == FW_DROP_RING_FULL || previous == 0) {
        return false;
    }
    forget_definitions(w->slot);
    ring->cursor = first_token;
    w->depth = 0;
    w->hash = 0;
    *flags &= ~(uint32_t)FW_SAMPLE_TRUNCATED;
    at = (start){0};
    return start_at_cframe(w, previous, &at, &top) && walk_frames(w, at, flags);
}

uint64_t fw_claim(fw_slot *slot, uint64_t now_ns) {
    uint64_t before = atomic_load_explicit(&slot->claimed_ns, memory_order_relaxed);
    /* The other side (handler or reader) may claim at the same moment: each nanosecond goes to one of the two. */
    while (now_ns > before) {
        if (atomic_compare_exchange_weak(&slot->claimed_ns, &before, now_ns)) {
            return now_ns - before;
        }
    }
    return 0;
}

static bool put_native(walk *w) {
    uint64_t name[FW_COMM_WORDS] = {0};
    prctl(PR_GET_NAME, (unsigned long)(uintptr_t)name, 0ul, 0ul, 0ul);
    return (fw_ring_put(&w->slot->ring, name[0]) && fw_ring_put(&w->slot->ring, name[1]))
        || fail(w, FW_DROP_RING_FULL);
}

static bool put_python(walk *w, uint64_t thread_state, PyObject *const *extra, size_t extra_count, uint32_t *flags,
                       uint64_t *scope) {
    uint64_t native_id;
    if (!read_at(w, thread_state + fw_layout.ts_native_id, &native_id, 8)) {
        return fail(w, FW_DROP_FAULT);
    }
    if (native_id != (uint64_t)w->tid) {
        return fail(w, FW_DROP_FOREIGN_STATE);
    }
    if (!fw_read_scope(w->direct, thread_state, scope)) {
        return fail(w, FW_DROP_FAULT);
    }
    for (size_t i = 0; i < extra_count; i++) {
        if (!put_frame(w, (uint64_t)(uintptr_t)extra[i], 0)) {
            return false;
        }
    }
    return walk_stack(w, thread_state, flags);
}

static uint64_t begin_record(fw_slot *slot) {
    fw_ring_begin(&slot->ring);
    slot->sample_number++;
    slot->defined_count = 0;
    return slot->ring.cursor;
}

/* Writes one record. extra_codes stand above the leaf (attach: the functions that the thread is about to enter). */
bool fw_sample(fw_slot *slot, bool direct, uint64_t now_ns, PyObject *const *extra_codes, size_t extra_count,
               uint32_t flags) {
    walk w = {.slot = slot, .direct = direct, .tid = fw_gettid()};
    fw_ring *ring = &slot->ring;
    uint64_t first = begin_record(slot), scope = 0;
    if (!fw_ring_room(ring, 3)) {
        fw_count_drop(FW_DROP_RING_FULL);
        return false;
    }
    ring->cursor += 3;
    /* SAFETY: one pthread_getspecific (Python/pystate.c, all of 3.11-3.15; a TLS load on 3.15). NULL once the thread
     * state is unbound or freed, also when the GIL is not held it is this thread's own. */
    uint64_t thread_state = (uint64_t)(uintptr_t)PyGILState_GetThisThreadState();
    bool kept = thread_state != 0 && put_python(&w, thread_state, extra_codes, extra_count, &flags, &scope);
    if (kept ? w.depth == 0 : thread_state == 0) {
        ring->cursor = first + 3;      /* no Python runs here (yet, or any more) */
        flags |= FW_SAMPLE_NATIVE;
        kept = put_native(&w);
    }
    if (!kept) {
        forget_definitions(slot);
        fw_count_drop(w.why);
        return false;
    }
    fw_ring_set(ring, first + 1, fw_claim(slot, now_ns));
    fw_ring_set(ring, first + 2, scope);
    fw_ring_set(ring, first, fw_record_header(FW_RECORD_SAMPLE, flags, ring->cursor - first));
    fw_ring_publish(ring);
    return true;
}

/* Whether the walk began where the thread still is: a thread that has run since is most likely elsewhere. */
static bool is_where_it_was(const walk *w, uint64_t thread_state) {
    uint64_t top, frame = w->leaf, instr;
    return read_at(w, thread_state + fw_layout.ts_frame, &top, 8) && top == w->top
        && (w->depth == 0 || (read_at(w, frame + fw_layout.frame_instr, &instr, 8) && instr == w->leaf_instr));
}

bool fw_read_other(fw_slot *into, bool direct, uint64_t thread_state, pid_t tid, fw_reading *out) {
    walk w = {.slot = into, .direct = direct, .tid = tid};
    fw_ring *ring = &into->ring;
    uint64_t first = begin_record(into), scope = 0;
    uint32_t flags = 0;
    ring->cursor += 3;
    if (!put_python(&w, thread_state, NULL, 0, &flags, &scope) || !is_where_it_was(&w, thread_state)) {
        forget_definitions(into);
        return false;
    }
    fw_ring_set(ring, first + 1, 0);
    fw_ring_set(ring, first + 2, scope);
    fw_ring_set(ring, first, fw_record_header(FW_RECORD_SAMPLE, flags, ring->cursor - first));
    *out = (fw_reading){.hash = (w.hash ^ scope) * 0x9e3779b97f4a7c15ull, .leaf_hash = w.leaf_hash, .depth = w.depth};
    return true;
}

void fw_forget_reading(fw_slot *into) { forget_definitions(into); }
