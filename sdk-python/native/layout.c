#include "core.h"

#include <dlfcn.h>
#include <string.h>

fw_layout_t fw_layout;

/* SAFETY: 3.11 and 3.12 have no debug offsets; these are the numbers of Include/cpython/pystate.h, code.h,
 * unicodeobject.h, bytesobject.h and Include/internal/pycore_frame.h, pycore_context.h, read from 3.11.7 and 3.12.1
 * (LP64, neither debug nor free-threaded). A minor's structures do not change once it is released, and the
 * self-test compares whole stacks with sys._getframe() before anything is sampled. */
static const fw_layout_t TABLE[] = {
    {.minor = 11, .has_cframe = true, .has_version = false, .owners_hidden = 0,
     .runtime_interpreters = 40, .runtime_size = 166688, .interpreter_next = 0, .interpreter_threads = 16,
     .ts_previous = 0, .ts_next = 8, .ts_interpreter = 16,
     .ts_frame = 56, .ts_native_id = 160, .ts_context = 224, .cframe_frame = 8, .cframe_previous = 16,
     .frame_code = 32, .frame_previous = 48, .frame_instr = 56, .frame_owner = 69, .frame_is_entry = 68,
     .code_filename = 112, .code_qualname = 128, .code_linetable = 136, .code_firstlineno = 72,
     .code_bytecode = 184, .str_length = 16, .str_state = 32, .str_ascii_data = 48, .str_compact_data = 72,
     .bytes_length = 16, .bytes_data = 32},
    {.minor = 12, .has_cframe = true, .has_version = true, .owners_hidden = 1u << 3,
     .runtime_interpreters = 40, .runtime_size = 459944, .interpreter_next = 0, .interpreter_threads = 72,
     .ts_previous = 0, .ts_next = 8, .ts_interpreter = 16,
     .ts_frame = 56, .ts_native_id = 144, .ts_context = 208, .cframe_frame = 0, .cframe_previous = 8,
     .frame_code = 0, .frame_previous = 8, .frame_instr = 56, .frame_owner = 70,
     .code_filename = 112, .code_qualname = 128, .code_linetable = 136, .code_firstlineno = 68, .code_version = 92,
     .code_bytecode = 192, .str_length = 16, .str_state = 32, .str_ascii_data = 40, .str_compact_data = 56,
     .bytes_length = 16, .bytes_data = 32},
    /* From 3.13 on the rest comes from _PyRuntime.debug_offsets; what it leaves out stands here. */
    {.minor = 13, .has_version = true, .owners_hidden = 1u << 3, .ts_context = 208, .code_version = 92},
    {.minor = 14, .has_version = true, .owners_hidden = 1u << 3 | 1u << 4, .tag_mask = 3, .ts_context = 208,
     .code_version = 92},
    {.minor = 15, .has_version = true, .owners_hidden = 1u << 3, .tag_mask = 3, .ts_context = 232, .code_version = 92},
};

/* Byte positions of fields inside struct _Py_DebugOffsets, which differ per minor too. */
typedef struct {
    uint32_t minor;
    uint32_t ts_previous, ts_next, ts_interpreter;
    uint32_t ts_frame, ts_native_id, frame_previous, frame_executable, frame_instr, frame_owner;
    uint32_t code_filename, code_qualname, code_linetable, code_firstlineno, code_bytecode;
    uint32_t bytes_length, bytes_data, str_state, str_length, str_ascii_size;
} offsets_positions;

/* SAFETY: Include/internal/pycore_runtime.h (3.13.0) and pycore_debug_offsets.h (3.14.10, 3.15.2). The header says:
 * stable between patch versions of one minor, and only there. */
enum { RUNTIME_SIZE = 24, RUNTIME_INTERPRETERS = 40, INTERPRETER_NEXT = 64, INTERPRETER_THREADS = 72 };  /* in all */
static const offsets_positions POSITIONS[] = {
    {13, 160, 168, 176, 184, 200, 232, 240, 248, 264, 280, 296, 304, 312, 344, 520, 528, 544, 552, 560},
    {14, 184, 192, 200, 208, 224, 256, 264, 272, 288, 320, 336, 344, 352, 384, 600, 608, 624, 632, 640},
    {15, 184, 192, 200, 208, 248, 320, 328, 336, 352, 384, 400, 408, 416, 448, 696, 704, 720, 728, 736},
};

static bool field(const char *runtime, uint32_t position, uint32_t *into) {
    uint64_t value;
    memcpy(&value, runtime + position, sizeof value);
    *into = (uint32_t)value;
    return value < 1u << 24;
}

static const char *from_debug_offsets(const offsets_positions *at) {
    const char *runtime = dlsym(RTLD_DEFAULT, "_PyRuntime");
    if (runtime == NULL) {
        return "this interpreter does not export _PyRuntime";
    }
    uint64_t version, free_threaded;
    memcpy(&version, runtime + 8, sizeof version);
    memcpy(&free_threaded, runtime + 16, sizeof free_threaded);
    if (memcmp(runtime, "xdebugpy", 8) != 0 || (uint32_t)version != (uint32_t)Py_Version) {
        return "the interpreter's debug offsets carry another version";
    }
    if (free_threaded != 0) {
        return "free-threaded builds are not supported";
    }
    fw_layout_t *out = &fw_layout;
    bool ok = field(runtime, at->ts_frame, &out->ts_frame) && field(runtime, at->ts_native_id, &out->ts_native_id)
        && field(runtime, RUNTIME_SIZE, &out->runtime_size)
        && field(runtime, RUNTIME_INTERPRETERS, &out->runtime_interpreters)
        && field(runtime, INTERPRETER_NEXT, &out->interpreter_next)
        && field(runtime, INTERPRETER_THREADS, &out->interpreter_threads)
        && field(runtime, at->ts_previous, &out->ts_previous) && field(runtime, at->ts_next, &out->ts_next)
        && field(runtime, at->ts_interpreter, &out->ts_interpreter)
        && field(runtime, at->frame_previous, &out->frame_previous)
        && field(runtime, at->frame_executable, &out->frame_code)
        && field(runtime, at->frame_instr, &out->frame_instr) && field(runtime, at->frame_owner, &out->frame_owner)
        && field(runtime, at->code_filename, &out->code_filename)
        && field(runtime, at->code_qualname, &out->code_qualname)
        && field(runtime, at->code_linetable, &out->code_linetable)
        && field(runtime, at->code_firstlineno, &out->code_firstlineno)
        && field(runtime, at->code_bytecode, &out->code_bytecode)
        && field(runtime, at->bytes_length, &out->bytes_length) && field(runtime, at->bytes_data, &out->bytes_data)
        && field(runtime, at->str_state, &out->str_state) && field(runtime, at->str_length, &out->str_length)
        && field(runtime, at->str_ascii_size, &out->str_ascii_data);
    out->str_compact_data = out->str_ascii_data + 16;   /* utf8_length and utf8, unicodeobject.h 3.13-3.15 */
    return ok ? NULL : "the interpreter's debug offsets are out of range";
}

static uint32_t end_of(const uint32_t *ends, size_t count) {
    uint32_t end = 0;
    for (size_t i = 0; i < count; i++) {
        end = ends[i] > end ? ends[i] : end;
    }
    return (end + 7u) & ~7u;
}

/* How many bytes are copied of a frame, a code object and a thread state. */
static void set_sizes(fw_layout_t *out) {
    const uint32_t frame_ends[] = {out->frame_code + 8, out->frame_previous + 8, out->frame_instr + 8,
                                   out->frame_owner + 1, out->frame_is_entry + 1};
    const uint32_t code_ends[] = {out->code_filename + 8, out->code_qualname + 8, out->code_linetable + 8,
                                  out->code_firstlineno + 4, out->code_version + 4};
    const uint32_t state_ends[] = {out->ts_previous + 8, out->ts_next + 8, out->ts_interpreter + 8,
                                   out->ts_native_id + 8};
    out->frame_size = end_of(frame_ends, sizeof frame_ends / sizeof *frame_ends);
    out->code_size = end_of(code_ends, sizeof code_ends / sizeof *code_ends);
    out->ts_size = end_of(state_ends, sizeof state_ends / sizeof *state_ends);
}

const char *fw_layout_init(void) {
    uint32_t major = (uint32_t)(Py_Version >> 24), minor = (uint32_t)(Py_Version >> 16) & 0xff;
    const fw_layout_t *base = NULL;
    for (size_t i = 0; i < sizeof TABLE / sizeof *TABLE; i++) {
        base = major == 3 && TABLE[i].minor == minor ? &TABLE[i] : base;
    }
    if (sizeof(void *) != 8 || base == NULL) {
        return "the memory layout of this CPython version is not known";
    }
    /* Py_DEBUG and Py_TRACE_REFS builds have these, and other structures. */
    if (PySys_GetObject("gettotalrefcount") != NULL || PySys_GetObject("getobjects") != NULL) {
        return "debug builds are not supported";
    }
    fw_layout = *base;
    for (size_t i = 0; i < sizeof POSITIONS / sizeof *POSITIONS; i++) {
        if (POSITIONS[i].minor == minor) {
            const char *why = from_debug_offsets(&POSITIONS[i]);
            if (why != NULL) {
                return why;
            }
        }
    }
    fw_layout_t *out = &fw_layout;
    set_sizes(out);
    out->runtime = (uint64_t)(uintptr_t)dlsym(RTLD_DEFAULT, "_PyRuntime");
    out->code_type = (uint64_t)(uintptr_t)dlsym(RTLD_DEFAULT, "PyCode_Type");
    out->none = (uint64_t)(uintptr_t)Py_None;
    if (out->code_type == 0 || out->frame_size > FW_FRAME_BYTES || out->code_size > FW_CODE_BYTES
        || out->ts_size > FW_STATE_BYTES) {
        return "the interpreter's structures are not as expected";
    }
    return NULL;
}
