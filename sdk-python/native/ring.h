/* A ring of 64-bit words from one thread's handler to the reader. One writer, one reader, no lock.
 *
 * The writer builds a record at `cursor`, behind `head`, and publishes it whole; what does not fit is taken back.
 */
#ifndef FLAMEWIRE_RING_H
#define FLAMEWIRE_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { FW_RING_WORDS = 1 << 14 };      /* 128 KiB: over a second of 50-frame samples at 100 Hz */

typedef struct {
    uint64_t *words;
    uint64_t cursor;                   /* writer's own */
    uint64_t limit;                    /* writer's own: tail + FW_RING_WORDS when the record began */
    _Atomic uint64_t head, tail;
} fw_ring;

/* First word of a record: kind, flags, length in words including this one. */
enum fw_record_kind { FW_RECORD_SAMPLE = 1, FW_RECORD_SETTLE = 2 };

/* SAMPLE: header, weight in ns, scope, comm (FW_COMM_WORDS, only with FW_SAMPLE_NATIVE), then tokens, leaf first:
 *   frame       cache index << 32 | instruction index
 *   definition  bit 63 | cache index << 32 | firstlineno, then 3 words (length << 3 | kind) for qualname, filename and
 *               line table, then their bytes, each padded to 8. It precedes the first frame that uses the index.
 * SETTLE: header, weight in ns: CPU for the thread's last stack. */
static inline uint64_t fw_record_header(enum fw_record_kind kind, uint32_t flags, uint64_t length) {
    return (uint64_t)kind << 56 | (uint64_t)flags << 48 | length;
}
#define FW_TOKEN_DEFINITION (1ull << 63)

static inline void fw_ring_begin(fw_ring *ring) {
    ring->cursor = atomic_load_explicit(&ring->head, memory_order_relaxed);
    ring->limit = atomic_load_explicit(&ring->tail, memory_order_acquire) + FW_RING_WORDS;
}
static inline bool fw_ring_room(const fw_ring *ring, uint64_t words) {
    return ring->limit - ring->cursor >= words;
}
static inline bool fw_ring_put(fw_ring *ring, uint64_t word) {
    if (!fw_ring_room(ring, 1)) {
        return false;
    }
    ring->words[ring->cursor++ & (FW_RING_WORDS - 1)] = word;
    return true;
}
static inline void fw_ring_set(fw_ring *ring, uint64_t position, uint64_t word) {
    ring->words[position & (FW_RING_WORDS - 1)] = word;
}
static inline void fw_ring_publish(fw_ring *ring) {
    atomic_store_explicit(&ring->head, ring->cursor, memory_order_release);
}

#endif
