/* The thread states of all interpreters, as they hang together in memory, from a thread that holds no lock of CPython.
 *
 * SAFETY: _PyRuntime is static. An interpreter's list is doubly linked, a new state comes in at its head, and one that goes
 * is unlinked before it is freed (Python/pystate.c, add_threadstate and tstate_delete_common, 3.11.7 to 3.15.2). So a state
 * belongs to the list as long as its links and its interpreter are those that led to it; what has been freed meanwhile
 * fails that, or is what it was a moment ago. Every read is guarded, and the number of steps is bounded.
 */
#include "core.h"

#include <string.h>

enum { MOST_INTERPRETERS = 1024, MOST_STATES = 2 * FW_MAX_THREADS };

static uint64_t word_at(const uint8_t *bytes, uint32_t offset) {
    uint64_t value;
    memcpy(&value, bytes + offset, sizeof value);
    return value;
}

static bool each_of_interpreter(bool direct, uint64_t interpreter, fw_state_visitor visit, void *argument) {
    const fw_layout_t *l = &fw_layout;
    uint8_t bytes[FW_STATE_BYTES];
    uint64_t before = 0, at;
    if (!fw_read(direct, &at, interpreter + l->interpreter_threads, 8)) {
        return false;
    }
    for (uint32_t count = 0; at != 0; count++) {
        if (at & 7 || count == MOST_STATES || !fw_read(direct, bytes, at, l->ts_size)
            || word_at(bytes, l->ts_previous) != before || word_at(bytes, l->ts_interpreter) != interpreter) {
            return false;
        }
        uint64_t tid = word_at(bytes, l->ts_native_id);
        if (tid != 0 && tid <= INT32_MAX) {
            visit(argument, at, (pid_t)tid);   /* 0: the thread has not begun */
        }
        before = at;
        at = word_at(bytes, l->ts_next);
    }
    return true;
}

bool fw_each_state(bool direct, fw_state_visitor visit, void *argument) {
    uint64_t interpreter;
    bool whole = fw_read(direct, &interpreter, fw_layout.runtime + fw_layout.runtime_interpreters, 8);
    for (uint32_t count = 0; whole && interpreter != 0; count++) {
        uint64_t next = 0;
        whole = !(interpreter & 7) && count < MOST_INTERPRETERS
            && fw_read(direct, &next, interpreter + fw_layout.interpreter_next, 8)
            && each_of_interpreter(direct, interpreter, visit, argument);
        interpreter = next;
    }
    return whole;
}
