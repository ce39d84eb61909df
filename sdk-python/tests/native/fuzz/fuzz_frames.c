/* The walk over frames: thread state, _PyCFrame (3.11, 3.12), interpreter frames, owners, tags, code objects. */
#include "image.h"

enum {
    STATE = 0x0, CFRAMES = 0x200, FRAMES = 0x400, CODES = 0xc00, TEXTS = 0x1000, TABLE_AT = 0x1400,
    FRAME_COUNT = 8, CODE_COUNT = 4,
};

static void put_frames(void) {
    uint64_t table = put_table(TABLE_AT, "\xe8\x02\xd8\x04\x83", 5), codes[CODE_COUNT];
    uint64_t file = put_string(TEXTS, "/a.py", 5, 1);
    for (uint32_t i = 0; i < CODE_COUNT; i++) {
        codes[i] = put_code(CODES + 0x100 * i, put_string(TEXTS + 0x80 * (i + 1), "work", 4, 1), file, table, 10 * i);
    }
    for (uint32_t i = 0; i < FRAME_COUNT; i++) {
        uint32_t at = FRAMES + 0x80 * i, last = i == FRAME_COUNT - 1;
        put(at + fw_layout.frame_code, codes[i % CODE_COUNT]);
        put(at + fw_layout.frame_previous, last ? 0 : IMAGE_BASE + at + 0x80);
        put(at + fw_layout.frame_instr, codes[i % CODE_COUNT] + fw_layout.code_bytecode + 4 * i);
        /* The fourth one is where C called Python. */
        put_bytes(at + (fw_layout.owners_hidden ? fw_layout.frame_owner : fw_layout.frame_is_entry),
                  i != 3 ? "\0" : fw_layout.owners_hidden ? "\3" : "\1", 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    input in = {bytes, size};
    bool direct = begin_image(&in);
    fw.max_depth = 1 + (uint32_t)take(&in, 1) % 16;
    put_frames();
    put(STATE + fw_layout.ts_native_id, IMAGE_TID);
    put(STATE + fw_layout.ts_frame, IMAGE_BASE + (fw_layout.has_cframe ? CFRAMES : FRAMES));
    if (fw_layout.has_cframe) {
        put(CFRAMES + fw_layout.cframe_frame, IMAGE_BASE + FRAMES);
        put(CFRAMES + fw_layout.cframe_previous, IMAGE_BASE + CFRAMES + 0x20);
        put(CFRAMES + 0x20 + fw_layout.cframe_frame, IMAGE_BASE + FRAMES + 4 * 0x80);
        put(CFRAMES + 0x20 + fw_layout.cframe_previous, 0);
    }
    spoil(&in);
    int depth = read_stack_of(IMAGE_BASE + STATE, direct);
    int whole = fw_layout.owners_hidden ? FRAME_COUNT - 1 : FRAME_COUNT;
    if (size == 2 && depth != ((int)fw.max_depth < whole ? (int)fw.max_depth : whole)) {
        __builtin_trap();              /* what nobody spoiled is read */
    }
    return 0;
}
