/* One code object: its strings of every kind, its line table, its first line, all of them the input's. */
#include "image.h"

enum { STATE = 0x0, CFRAME = 0x200, FRAME = 0x280, CODE = 0x400, NAME = 0x600, FILE_NAME = 0x1800, LINES = 0x4000, MOST = 4096 };

static uint32_t portion(input *in) {
    uint32_t size = (uint32_t)take(in, 2) % MOST;
    return size < in->left ? size : (uint32_t)in->left;
}

static uint64_t take_string(input *in, uint32_t offset) {
    uint32_t kind = 1u << take(in, 1) % 3, size = portion(in) / kind * kind;
    uint64_t made = put_string(offset, (const char *)in->at, size, kind);
    in->at += size;
    in->left -= size;
    return made;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    input in = {bytes, size};
    bool direct = begin_image(&in);
    uint32_t firstlineno = (uint32_t)take(&in, 4);
    uint64_t instruction = take(&in, 8);
    uint64_t name = take_string(&in, NAME), file = take_string(&in, FILE_NAME);
    uint32_t length = portion(&in);
    uint64_t table = put_table(LINES, in.at, length);
    in.at += length;
    in.left -= length;
    uint64_t code = put_code(CODE, name, file, table, firstlineno);
    put(STATE + fw_layout.ts_native_id, IMAGE_TID);
    put(STATE + fw_layout.ts_frame, IMAGE_BASE + (fw_layout.has_cframe ? CFRAME : FRAME));
    if (fw_layout.has_cframe) {
        put(CFRAME + fw_layout.cframe_frame, IMAGE_BASE + FRAME);
    }
    put(FRAME + fw_layout.frame_code, code);
    put(FRAME + fw_layout.frame_instr, instruction);
    spoil(&in);
    read_stack_of(IMAGE_BASE + STATE, direct);
    return 0;
}
