/* Which threads are sampled: slots, attach and detach, the task listing, fork. All under fw.threads_lock. */
#include "core.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "window.h"

fw_state fw = {.reader_lock = PTHREAD_MUTEX_INITIALIZER, .threads_lock = PTHREAD_MUTEX_INITIALIZER};

/* live_tids[i] is the thread of fw.slots[i], 0 for none: one dense array to search, under threads_lock. */
static int32_t live_tids[FW_MAX_THREADS];

/* Where a thread was found last; only a hint. */
enum { HINTS = 2 * FW_MAX_THREADS };
static _Atomic uint16_t hints[HINTS];

static void *map_pages(size_t size) {
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return pages == MAP_FAILED ? NULL : pages;
}

int fw_threads_init(void) {
    if (fw.slots == NULL) {
        fw.slots = map_pages(FW_MAX_THREADS * sizeof *fw.slots);
    }
    return fw.slots == NULL ? -1 : 0;
}

/* Pages are touched when they are used: an idle thread costs address space, no memory. They stay with the slot, so the
 * next thread finds a warm cache. */
bool fw_give_memory(fw_slot *slot) {
    if (slot->ring.words == NULL) {
        slot->ring.words = map_pages(FW_RING_WORDS * sizeof(uint64_t));
    }
    if (slot->cache == NULL) {
        slot->cache = map_pages(FW_CACHE_ENTRIES * sizeof *slot->cache);
    }
    if (slot->codes == NULL) {
        slot->codes = map_pages(FW_CACHE_ENTRIES * sizeof *slot->codes);
    }
    return slot->ring.words != NULL && slot->cache != NULL && slot->codes != NULL;
}

static fw_slot *find(pid_t tid) {
    for (uint32_t i = 0, used = atomic_load(&fw.slots_used); i < used; i++) {
        if (live_tids[i] == tid) {
            return &fw.slots[i];
        }
    }
    return NULL;
}

fw_slot *fw_find_thread(pid_t tid) {
    _Atomic uint16_t *hint = &hints[(uint32_t)tid % HINTS];
    fw_slot *slot = &fw.slots[atomic_load_explicit(hint, memory_order_relaxed)];
    if (atomic_load(&slot->tid) != tid || atomic_load(&slot->state) != FW_LIVE) {
        pthread_mutex_lock(&fw.threads_lock);
        slot = find(tid);
        pthread_mutex_unlock(&fw.threads_lock);
        if (slot != NULL) {
            atomic_store_explicit(hint, (uint16_t)(slot - fw.slots), memory_order_relaxed);
        }
    }
    return slot;
}

/* No more samples come from the thread; the reader frees the slot once it has read the ring. */
static void end_slot(fw_slot *slot) {
    fw_timer_delete(slot);
    slot->ended_mono_ns = fw_clock_ns(CLOCK_MONOTONIC);
    live_tids[slot - fw.slots] = 0;
    atomic_store(&slot->state, FW_ENDED);
}

static fw_slot *take_free_slot(void) {
    uint32_t used = atomic_load(&fw.slots_used);
    for (uint32_t i = 0; i < used; i++) {
        if (atomic_load(&fw.slots[i].state) == FW_FREE) {
            return &fw.slots[i];
        }
    }
    if (used == FW_MAX_THREADS) {
        return NULL;
    }
    atomic_store(&fw.slots_used, used + 1);
    return &fw.slots[used];
}

static fw_slot *new_slot(pid_t tid, uint64_t base_ns, bool excluded) {
    fw_slot *slot = take_free_slot();
    if (slot == NULL || !fw_give_memory(slot)) {
        fw_count_drop(FW_DROP_TOO_MANY_THREADS);
        return NULL;
    }
    atomic_store(&slot->busy, 0);
    atomic_store(&slot->claimed_ns, base_ns);
    slot->excluded = excluded;
    slot->has_timer = false;
    slot->seen_in = fw.listing;
    fw_wall_attach(slot);
    live_tids[slot - fw.slots] = tid;
    atomic_store(&slot->tid, tid);
    atomic_store(&slot->state, FW_LIVE);
    return slot;
}

/* Returns the slot of a thread, made if need be; under threads_lock. base_ns: CPU that it burnt before it counts. */
static fw_slot *attach_locked(pid_t tid, bool is_caller, uint64_t base_ns, bool excluded) {
    fw_slot *slot = find(tid);
    if (slot != NULL && is_caller && fw_thread_slot != slot
        && fw_clock_ns(CLOCK_THREAD_CPUTIME_ID) < atomic_load(&slot->claimed_ns)) {
        end_slot(slot);                /* of a thread that died and left its id to this one */
        slot = NULL;
    }
    if (slot == NULL) {
        slot = new_slot(tid, base_ns, excluded);
    }
    if (slot == NULL) {
        return NULL;
    }
    slot->seen_in = fw.listing;
    slot->excluded = slot->excluded || excluded;
    if (slot->excluded) {
        fw_timer_delete(slot);
    } else if (!slot->has_timer && fw.started && !fw.suspended && !fw_timer_create(slot)) {
        fw_count_drop(FW_DROP_NO_TIMER);
    }
    if (is_caller) {
        fw_thread_slot = slot;
    }
    return slot;
}

fw_slot *fw_attach(pid_t tid, bool is_caller, uint64_t base_ns, bool excluded) {
    pthread_mutex_lock(&fw.threads_lock);
    fw_slot *slot = attach_locked(tid, is_caller, base_ns, excluded);
    pthread_mutex_unlock(&fw.threads_lock);
    return slot;
}

/* The calling thread ends: what it burnt since its last sample goes to that sample's stack. */
void fw_detach_caller(fw_slot *slot) {
    pthread_mutex_lock(&fw.threads_lock);
    if (atomic_load(&slot->tid) == fw_gettid() && atomic_load(&slot->state) == FW_LIVE) {
        atomic_store(&slot->busy, 1);
        fw_ring_begin(&slot->ring);
        if (fw_ring_room(&slot->ring, 2)) {
            uint64_t weight = fw_claim(slot, fw_clock_ns(CLOCK_THREAD_CPUTIME_ID));
            fw_ring_put(&slot->ring, fw_record_header(FW_RECORD_SETTLE, 0, 2));
            fw_ring_put(&slot->ring, weight);
            fw_ring_publish(&slot->ring);
        } else {
            fw_count_drop(FW_DROP_RING_FULL);
        }
        end_slot(slot);
        atomic_store(&slot->busy, 0);
    }
    fw_thread_slot = NULL;
    pthread_mutex_unlock(&fw.threads_lock);
}

/* After the ring has been drained; under both locks. */
void fw_free_slot(fw_slot *slot) {
    fw_timer_delete(slot);
    fw_free_held(&slot->last);
    slot->has_last = false;
    live_tids[slot - fw.slots] = 0;
    atomic_store(&slot->tid, 0);
    atomic_store(&slot->state, FW_FREE);
}

/* Attaches every thread that /proc shows and that did not attach itself; ends the slots of those that are gone.
 * O(threads); once a second. At start, what they burnt so far is not ours; later, they were born since. */
void fw_list_threads(bool at_start) {
    DIR *tasks = opendir("/proc/self/task");
    if (tasks == NULL) {
        return;                        /* no /proc: only threads that attach themselves are seen */
    }
    pthread_mutex_lock(&fw.threads_lock);
    fw.listing++;
    struct dirent *entry;
    while ((entry = readdir(tasks)) != NULL) {
        pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (tid > 0) {
            attach_locked(tid, false, at_start ? fw_clock_ns(fw_thread_clock(tid)) : 0, false);
        }
    }
    closedir(tasks);
    for (uint32_t i = 0; i < atomic_load(&fw.slots_used); i++) {
        fw_slot *slot = &fw.slots[i];
        if (atomic_load(&slot->state) == FW_LIVE && slot->seen_in != fw.listing) {
            end_slot(slot);
        }
    }
    pthread_mutex_unlock(&fw.threads_lock);
    fw.last_listing_mono_ns = fw_clock_ns(CLOCK_MONOTONIC);
}

void fw_fork_prepare(void) {
    fw_gettid();                       /* kept for the child, which has another one */
    pthread_mutex_lock(&fw.reader_lock);
    pthread_mutex_lock(&fw.threads_lock);
}

void fw_fork_parent(void) {
    pthread_mutex_unlock(&fw.threads_lock);
    pthread_mutex_unlock(&fw.reader_lock);
}

/* The child has one thread, no timers, and CPU clocks that start at zero. What the parent gathered is the parent's. */
void fw_fork_child(void) {
    const fw_slot *slot_before = fw_thread_slot;
    /* The slot may have gone to another thread since this one was sampled last. */
    bool excluded = slot_before != NULL && atomic_load(&slot_before->tid) == fw_thread_tid && slot_before->excluded;
    fw_thread_tid = 0;
    pthread_mutex_init(&fw.threads_lock, NULL);
    pthread_mutex_init(&fw.reader_lock, NULL);
    fw_wall_fork_child();
    if (!fw.started) {
        return;
    }
    for (uint32_t i = 0; i < atomic_load(&fw.slots_used); i++) {
        fw_slot *slot = &fw.slots[i];
        slot->has_timer = false;       /* its id may be taken by another timer of this process */
        if (atomic_load(&slot->state) != FW_FREE) {
            memset(slot->cache, 0, FW_CACHE_ENTRIES * sizeof *slot->cache);   /* definitions in the ring are lost */
            atomic_store(&slot->ring.tail, atomic_load(&slot->ring.head));
            fw_free_slot(slot);
        }
    }
    fw_thread_slot = NULL;
    fw_window_reset(FW_CPU);
    memset(&fw.totals, 0, sizeof fw.totals);
    for (int i = 0; i < FW_DROP_COUNT; i++) {
        atomic_store(&fw.dropped[i], 0);
    }
    atomic_store(&fw.syscall_samples, 0);
    atomic_store(&fw.handler_ns, 0);
    fw_ceiling_reset();
    fw.process_base_ns = 0;
    fw.last_listing_mono_ns = fw_clock_ns(CLOCK_MONOTONIC);
    fw_attach(fw_gettid(), true, 0, excluded);
}
