/* The reader's code objects: what the rings defined, kept by content. All under fw.reader_lock. */
#ifndef FLAMEWIRE_INTERN_H
#define FLAMEWIRE_INTERN_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    int32_t first_unit;                /* first instruction that the line stands for */
    int32_t line;
} fw_line_start;

struct fw_code {
    struct fw_code *next;              /* in the hash table */
    uint64_t hash;
    uint32_t references;
    int32_t firstlineno;
    uint32_t name_length, filename_length;
    uint32_t line_count;
    fw_line_start *lines;
    char text[];                       /* name, then filename, UTF-8 */
};
typedef struct fw_code fw_code;

/* Characters as the interpreter stores them: kind bytes each (1: Latin-1, 2: UCS-2, 4: UCS-4). */
typedef struct {
    const unsigned char *data;
    uint32_t length_bytes, kind;
} fw_raw_text;

uint64_t fw_hash_bytes(const void *bytes, size_t length, uint64_t seed);
/* NULL only when memory ran out. A reference for the caller. */
fw_code *fw_code_intern(fw_raw_text name, fw_raw_text filename, int32_t firstlineno, const unsigned char *table,
                        uint32_t table_length);
fw_code *fw_code_named(const char *name);                  /* a frame that is only a name: "(unattributed)" */
void fw_code_acquire(fw_code *code);
void fw_code_release(fw_code *code);
int32_t fw_code_line(const fw_code *code, int32_t unit);   /* the nearest line at or before it; firstlineno if none */
size_t fw_code_count(void);

#endif
