/* The lists of interpreters and thread states, as the wall-clock sampler's thread follows them. */
#include "image.h"

enum { STATES = 0x5000, STATE_COUNT = 4, MOST_VISITS = 1 << 24 };

static const uint32_t INTERPRETERS[] = {0x1000, 0x3000};

static void put_interpreter(uint32_t number) {
    uint32_t at = INTERPRETERS[number], states = STATES + number * STATE_COUNT * 0x200;
    put(at + fw_layout.interpreter_next, number == 0 ? IMAGE_BASE + INTERPRETERS[1] : 0);
    put(at + fw_layout.interpreter_threads, IMAGE_BASE + states);
    for (uint32_t i = 0; i < STATE_COUNT; i++) {
        uint32_t state = states + 0x200 * i;
        put(state + fw_layout.ts_previous, i == 0 ? 0 : IMAGE_BASE + state - 0x200);
        put(state + fw_layout.ts_next, i == STATE_COUNT - 1 ? 0 : IMAGE_BASE + state + 0x200);
        put(state + fw_layout.ts_interpreter, IMAGE_BASE + at);
        put(state + fw_layout.ts_native_id, 100 * number + i + 1);
    }
}

static void visit(void *argument, uint64_t thread_state, pid_t tid) {
    uint32_t *visits = argument;
    if (++*visits > MOST_VISITS || thread_state == 0 || tid <= 0) {
        __builtin_trap();              /* no cycle goes on for ever; only states of threads that have begun */
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    input in = {bytes, size};
    uint32_t visits = 0;
    bool direct = begin_image(&in);
    put(fw_layout.runtime_interpreters, IMAGE_BASE + INTERPRETERS[0]);
    put_interpreter(0);
    put_interpreter(1);
    spoil(&in);
    bool whole = fw_each_state(direct, visit, &visits);
    if (size == 1 && !(whole && visits == 2 * STATE_COUNT)) {
        __builtin_trap();              /* what nobody spoiled is found */
    }
    return 0;
}
