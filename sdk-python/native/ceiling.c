/* Keeps the time inside the handlers below 1 % of the CPU that the sampled threads burn. A sample costs some
 * microseconds, but hundreds where stacks are deep and each read is a system call (guard.c). What a thread burns between
 * two of its samples still goes to the second one, so totals stay true. */
#include "core.h"

enum { CEILING_PERCENT = 1, MOST_STRETCH = 16 };
static const uint64_t JUDGED_CPU_NS = 500000000ull;        /* 50 samples at 100 Hz, the cold ones among them */

static uint64_t judged_cost_ns, judged_cpu_ns;             /* under reader_lock */

void fw_ceiling_reset(void) {
    judged_cost_ns = judged_cpu_ns = 0;
    atomic_store(&fw.stretch, 1);
}

void fw_ceiling_check(void) {
    uint64_t cost_ns = atomic_load(&fw.handler_ns) - judged_cost_ns, cpu_ns = fw.totals.accounted_ns - judged_cpu_ns;
    uint32_t stretch = atomic_load(&fw.stretch);
    if (cpu_ns < JUDGED_CPU_NS) {
        return;
    }
    judged_cost_ns += cost_ns;
    judged_cpu_ns += cpu_ns;
    if (cost_ns * 100 > cpu_ns * CEILING_PERCENT && stretch < MOST_STRETCH) {
        atomic_store(&fw.stretch, stretch * 2);
    } else if (cost_ns * 100 * 4 < cpu_ns * CEILING_PERCENT && stretch > 1) {
        atomic_store(&fw.stretch, stretch / 2);            /* twice as many will still cost half of what they may */
    }
}
