#include "image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../../../native/layout.c"    /* for its table, and how sizes follow from it */

enum { MOST_WORDS = 512 };

static uint8_t *image;
static uint32_t words[MOST_WORDS];     /* offsets of what was put */
static uint32_t word_count;
static fw_slot slot;

/* What _PyRuntime.debug_offsets says on 3.13.0, 3.14.10 and 3.15.2. */
static const fw_layout_t FROM_OFFSETS[] = {
    {.minor = 13, .ts_previous = 0, .ts_next = 8, .ts_interpreter = 16, .ts_frame = 72, .ts_native_id = 160,
     .frame_previous = 8, .frame_code = 0, .frame_instr = 56, .frame_owner = 70, .code_filename = 112,
     .code_qualname = 128, .code_linetable = 136, .code_firstlineno = 68, .code_bytecode = 200, .bytes_length = 16,
     .bytes_data = 32, .str_state = 32, .str_length = 16, .str_ascii_data = 40, .runtime_size = 283320,
     .runtime_interpreters = 632, .interpreter_next = 7264, .interpreter_threads = 7344, .str_compact_data = 56},
    {.minor = 14, .ts_previous = 0, .ts_next = 8, .ts_interpreter = 16, .ts_frame = 72, .ts_native_id = 160,
     .frame_previous = 8, .frame_code = 0, .frame_instr = 56, .frame_owner = 74, .code_filename = 112,
     .code_qualname = 128, .code_linetable = 136, .code_firstlineno = 68, .code_bytecode = 208, .bytes_length = 16,
     .bytes_data = 32, .str_state = 32, .str_length = 16, .str_ascii_data = 40, .runtime_size = 316616,
     .runtime_interpreters = 808, .interpreter_next = 7272, .interpreter_threads = 7344, .str_compact_data = 56},
    {.minor = 15, .ts_previous = 0, .ts_next = 8, .ts_interpreter = 16, .ts_frame = 72, .ts_native_id = 184,
     .frame_previous = 8, .frame_code = 0, .frame_instr = 56, .frame_owner = 74, .code_filename = 112,
     .code_qualname = 128, .code_linetable = 136, .code_firstlineno = 68, .code_bytecode = 208, .bytes_length = 16,
     .bytes_data = 32, .str_state = 32, .str_length = 16, .str_ascii_data = 40, .runtime_size = 346568,
     .runtime_interpreters = 936, .interpreter_next = 7264, .interpreter_threads = 7336, .str_compact_data = 56},
};

static void choose_layout(uint64_t number) {
    const fw_layout_t *row = &TABLE[number % (sizeof TABLE / sizeof *TABLE)];
    fw_layout = *row;
    if (row->minor >= 13) {
        fw_layout = FROM_OFFSETS[row->minor - 13];
        fw_layout.has_version = row->has_version;
        fw_layout.owners_hidden = row->owners_hidden;
        fw_layout.tag_mask = row->tag_mask;
        fw_layout.ts_context = row->ts_context;
        fw_layout.code_version = row->code_version;
    }
    set_sizes(&fw_layout);
    fw_layout.code_type = CODE_TYPE;
    fw_layout.none = NONE;
    fw_layout.bitmap_type = BITMAP_TYPE;
    fw_layout.array_type = ARRAY_TYPE;
    fw_layout.runtime = IMAGE_BASE;
}

static void prepare(void) {
    image = mmap((void *)IMAGE_BASE, IMAGE_BYTES, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (image != (uint8_t *)IMAGE_BASE || fw_guard_install() != 0 || !fw_give_memory(&slot)) {
        perror("prepare");
        abort();
    }
    fw.max_depth = 64;
    fw.max_span_ids = 1;
}

uint64_t take(input *in, uint32_t bytes) {
    uint64_t value = 0;
    for (uint32_t i = 0; i < bytes && in->left != 0; i++, in->left--) {
        value |= (uint64_t)*in->at++ << (8 * i);
    }
    return value;
}

bool begin_image(input *in) {
    if (image == NULL) {
        prepare();
    }
    memset(image, 0, IMAGE_BYTES);
    word_count = 0;
    uint64_t head = take(in, 1);
    choose_layout(head >> 1);
    fw_guard_check_owner();
    return (head & 1) && fw_guard_is_direct(NULL);
}

void put_bytes(uint32_t offset, const void *bytes, size_t count) {
    if (offset < IMAGE_BYTES) {
        memcpy(image + offset, bytes, count < IMAGE_BYTES - offset ? count : IMAGE_BYTES - offset);
    }
    if (word_count < MOST_WORDS) {
        words[word_count++] = offset;
    }
}

void put(uint32_t offset, uint64_t word) { put_bytes(offset, &word, sizeof word); }

void put_half(uint32_t offset, uint32_t half) { put_bytes(offset, &half, sizeof half); }

void spoil(input *in) {
    while (in->left != 0 && word_count != 0) {
        uint64_t how = take(in, 1);
        uint32_t at = (uint32_t)take(in, 2);
        at = how & 4 ? at % IMAGE_BYTES : words[at % word_count];
        uint32_t size = (how & 3) == 1 ? 1 : (how & 3) == 2 ? 4 : 8;
        uint64_t value = (how & 3) == 0 ? IMAGE_BASE + take(in, 2) : take(in, size);
        memcpy(image + at, &value, at + size <= IMAGE_BYTES ? size : IMAGE_BYTES - at);
    }
}

uint64_t put_string(uint32_t offset, const char *text, uint32_t length, uint32_t kind) {
    bool ascii = kind == 1;
    put(offset + fw_layout.str_length, length / kind);
    put_half(offset + fw_layout.str_state, kind << 2 | 1u << 5 | (uint32_t)ascii << 6);
    put_bytes(offset + (ascii ? fw_layout.str_ascii_data : fw_layout.str_compact_data), text, length);
    return IMAGE_BASE + offset;
}

uint64_t put_table(uint32_t offset, const void *table, uint32_t length) {
    put(offset + fw_layout.bytes_length, length);
    put_bytes(offset + fw_layout.bytes_data, table, length);
    return IMAGE_BASE + offset;
}

uint64_t put_code(uint32_t offset, uint64_t qualname, uint64_t filename, uint64_t table, uint32_t firstlineno) {
    put(offset + 8, CODE_TYPE);
    put(offset + fw_layout.code_qualname, qualname);
    put(offset + fw_layout.code_filename, filename);
    put(offset + fw_layout.code_linetable, table);
    put_half(offset + fw_layout.code_firstlineno, firstlineno);
    if (fw_layout.has_version) {
        put_half(offset + fw_layout.code_version, 7 + offset);
    }
    return IMAGE_BASE + offset;
}

static void must(bool holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "broken promise: %s\n", what);
        abort();
    }
}

/* Whole characters, the shortest form, no surrogates. */
static bool is_utf8(const char *text, uint32_t length) {
    const uint8_t *at = (const uint8_t *)text, *end = at + length;
    while (at < end) {
        int more = *at < 0x80 ? 0 : *at < 0xc2 ? -1 : *at < 0xe0 ? 1 : *at < 0xf0 ? 2 : *at < 0xf5 ? 3 : -1;
        if (more < 0 || end - at <= more) {
            return false;
        }
        uint32_t first = more == 0 ? *at : *at & (0x3fu >> more), c = first;
        for (int i = 1; i <= more; i++) {
            if ((at[i] & 0xc0) != 0x80) {
                return false;
            }
            c = c << 6 | (at[i] & 0x3f);
        }
        if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000) || (more == 2 && c < 0x800) || (more == 3 && c < 0x10000)) {
            return false;
        }
        at += more + 1;
    }
    return true;
}

static void check(const fw_held_stack *stack) {
    must(stack->depth <= fw.max_depth + 1, "a stack is no deeper than max_depth and (truncated)");
    for (uint32_t i = 0; i < stack->depth; i++) {
        const fw_code *code = stack->frames[i].code;
        must(is_utf8(code->text, code->name_length), "names are UTF-8");
        must(is_utf8(code->text + code->name_length, code->filename_length), "file names are UTF-8");
    }
}

int read_stack_of(uint64_t thread_state, bool direct) {
    fw_held_stack stack = {0};
    fw_reading reading;
    int depth = -1;
    for (int round = 0; round < 2; round++) {      /* the second finds a warm cache */
        uint64_t head = atomic_load(&slot.ring.head);
        if (!fw_read_other(&slot, direct, thread_state, IMAGE_TID, &reading)) {
            must(atomic_load(&slot.ring.head) == head, "a sample that is given up leaves nothing in the ring");
            continue;
        }
        must(reading.depth <= fw.max_depth, "a reading is no deeper than max_depth");
        fw_ring_set(&slot.ring, head + 2, 0);      /* the labels would be the image's; fuzz_context.c has those */
        fw_ring_publish(&slot.ring);
        must(fw_take_stack(&slot, &stack), "a record is taken whole");
        must(atomic_load(&slot.ring.tail) == atomic_load(&slot.ring.head), "a record has its own length");
        check(&stack);
        depth = (int)reading.depth;
    }
    fw_free_held(&stack);
    memset(slot.cache, 0, FW_CACHE_ENTRIES * sizeof *slot.cache);
    return depth;
}

/* The copy routines are assembly, which no sanitizer sees: what they write is checked here (--wrap=fw_read). */
extern void *__asan_region_is_poisoned(void *, size_t);
bool __real_fw_read(bool direct, void *to, uint64_t from, size_t size);
bool __wrap_fw_read(bool direct, void *to, uint64_t from, size_t size);
bool __wrap_fw_read(bool direct, void *to, uint64_t from, size_t size) {
    must(__asan_region_is_poisoned(to, size) == NULL, "reads end inside what they are read into");
    return __real_fw_read(direct, to, from, size);
}
