/* A small piece of interpreter memory at a fixed address, with nothing mapped around it, that fuzz targets spoil.
 *
 * A target builds what CPython would have built, by the layout of one minor version; then the input overwrites words of
 * it with pointers into the image, or with any value. So every input gets past the first checks. Reads go through
 * fw_read(), direct (with the fault handler) or by system call, as the input says.
 */
#ifndef FLAMEWIRE_FUZZ_IMAGE_H
#define FLAMEWIRE_FUZZ_IMAGE_H

#include "core.h"

enum { IMAGE_BYTES = 1 << 15 };
#define IMAGE_BASE 0x300000000000ull
#define CODE_TYPE (IMAGE_BASE + 0x7f00)
#define NONE (IMAGE_BASE + 0x7f40)
#define BITMAP_TYPE (IMAGE_BASE + 0x7f80)
#define ARRAY_TYPE (IMAGE_BASE + 0x7fc0)

typedef struct {
    const uint8_t *at;
    size_t left;
} input;

uint64_t take(input *in, uint32_t bytes);              /* little-endian; 0 where the input is at its end */

/* Empties the image and sets fw_layout to the version that the input names. Returns whether reads are direct. */
bool begin_image(input *in);
void put(uint32_t offset, uint64_t word);
void put_half(uint32_t offset, uint32_t half);
void put_bytes(uint32_t offset, const void *bytes, size_t count);
void spoil(input *in);                                 /* with all that is left of the input */

/* A string object and a bytes object in the image. Return their addresses. */
uint64_t put_string(uint32_t offset, const char *text, uint32_t length, uint32_t kind);
uint64_t put_table(uint32_t offset, const void *table, uint32_t length);
/* A code object of these. */
uint64_t put_code(uint32_t offset, uint64_t qualname, uint64_t filename, uint64_t table, uint32_t firstlineno);

/* Reads the stack of the image's thread state into a ring and takes it out of there, as wall.c does. Returns its depth,
 * or -1 where it was given up. */
int read_stack_of(uint64_t thread_state, bool direct);
enum { IMAGE_TID = 4711 };

#endif
