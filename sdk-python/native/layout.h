/* Where CPython keeps what the handler reads; one set of numbers per minor version. */
#ifndef FLAMEWIRE_LAYOUT_H
#define FLAMEWIRE_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint32_t minor;
    bool has_cframe;           /* 3.11, 3.12: the current frame hangs on a _PyCFrame of the C stack */
    bool has_version;          /* code objects carry co_version (3.12+) */
    uint32_t owners_hidden;    /* bit n: frames with owner n are the interpreter's own */
    uint32_t tag_mask;         /* low bits of f_executable that are not address (3.14+) */

    uint32_t ts_frame;         /* thread state: current_frame, or cframe */
    uint32_t ts_native_id, ts_context;
    uint32_t ts_previous, ts_next, ts_interpreter;     /* in the interpreter's list */
    uint32_t ts_size;          /* bytes to copy so that those of the list and the id are in */
    uint32_t runtime_interpreters, runtime_size;       /* from _PyRuntime */
    uint32_t interpreter_next, interpreter_threads;
    uint32_t cframe_frame, cframe_previous;
    uint32_t frame_code, frame_previous, frame_instr, frame_owner, frame_is_entry;
    uint32_t frame_size;       /* bytes to copy so that all of the above are in, a multiple of 8 */
    uint32_t code_filename, code_qualname, code_linetable, code_firstlineno, code_version, code_bytecode;
    uint32_t code_size;        /* bytes to copy */
    uint32_t str_length, str_state, str_ascii_data, str_compact_data;
    uint32_t bytes_length, bytes_data;

    uint64_t code_type, none, runtime;     /* addresses */
    uint64_t bitmap_type, array_type;      /* HAMT nodes, learned at start */
} fw_layout_t;

/* The most that frame_size, code_size and ts_size may be. */
enum { FW_FRAME_BYTES = 128, FW_CODE_BYTES = 256, FW_STATE_BYTES = 384 };

extern fw_layout_t fw_layout;

/* Fills fw_layout for the running interpreter. Returns NULL, or why it cannot be sampled. */
const char *fw_layout_init(void);

#endif
