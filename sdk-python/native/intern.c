#include "intern.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static fw_code **buckets;
static size_t bucket_count, code_count;

uint64_t fw_hash_bytes(const void *bytes, size_t length, uint64_t seed) {
    const unsigned char *at = bytes;
    uint64_t hash = seed * 0x9e3779b97f4a7c15ull ^ length, word;
    for (; length >= 8; at += 8, length -= 8) {
        memcpy(&word, at, 8);
        hash = (hash ^ word) * 0xff51afd7ed558ccdull;
        hash ^= hash >> 32;
    }
    word = 0;
    memcpy(&word, at, length);
    hash = (hash ^ word) * 0xc4ceb9fe1a85ec53ull;
    return hash ^ hash >> 29;
}

/* Appends one character; lone surrogates become U+FFFD, since protobuf strings are UTF-8. */
static size_t put_utf8(char *to, uint32_t c) {
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        to[0] = (char)(0xc0 | c >> 6);
        to[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if ((c >= 0xd800 && c < 0xe000) || c > 0x10ffff) {
        c = 0xfffd;
    }
    if (c < 0x10000) {
        to[0] = (char)(0xe0 | c >> 12);
        to[1] = (char)(0x80 | (c >> 6 & 0x3f));
        to[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    to[0] = (char)(0xf0 | c >> 18);
    to[1] = (char)(0x80 | (c >> 12 & 0x3f));
    to[2] = (char)(0x80 | (c >> 6 & 0x3f));
    to[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* `to` has room for 4 bytes per character. */
static uint32_t to_utf8(fw_raw_text text, char *to) {
    size_t length = 0;
    for (uint32_t i = 0; text.kind != 0 && i + text.kind <= text.length_bytes; i += text.kind) {
        uint32_t c = 0;
        memcpy(&c, text.data + i, text.kind);      /* little-endian, as every platform of the sampler */
        length += put_utf8(to + length, c);
    }
    return (uint32_t)length;
}

static uint32_t read_varint(const unsigned char **at, const unsigned char *end) {
    uint32_t value = 0, shift = 0, byte;
    do {
        if (*at >= end || shift > 28) {
            return value;
        }
        byte = *(*at)++;
        value |= (byte & 63u) << shift;
        shift += 6;
    } while (byte & 64u);
    return value;
}

/* The line table of 3.11+ (Objects/locations.md, Objects/codeobject.c): entries of one head byte, 1 | code:4 | units-1:3,
 * and its operands. Only the line and the length of each entry matter here. */
static uint32_t decode_lines(const unsigned char *table, uint32_t length, int32_t firstlineno, fw_line_start *out) {
    enum { NO_LOCATION = 15, LONG = 14, NO_COLUMNS = 13, ONE_LINE_FIRST = 10 };
    const unsigned char *at = table, *end = table + length;
    uint32_t line = (uint32_t)firstlineno;             /* of a torn code object: it may overflow */
    int32_t unit = 0;
    uint32_t count = 0;
    while (at < end) {
        unsigned head = *at++, code = head >> 3 & 15;
        bool has_line = code != NO_LOCATION;
        if (code == LONG || code == NO_COLUMNS) {
            uint32_t delta = read_varint(&at, end);
            line += delta & 1 ? -(delta >> 1) : delta >> 1;
        } else if (code >= ONE_LINE_FIRST && has_line) {
            line += code - ONE_LINE_FIRST;
        }
        while (at < end && !(*at & 0x80)) {
            at++;
        }
        if (has_line && (count == 0 || out[count - 1].line != (int32_t)line)) {
            out[count++] = (fw_line_start){unit, (int32_t)line};
        }
        unit += (int32_t)(head & 7) + 1;
    }
    return count;
}

static uint32_t count_entries(const unsigned char *table, uint32_t length) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < length; i++) {
        count += table[i] >> 7;
    }
    return count + 1;
}

int32_t fw_code_line(const fw_code *code, int32_t unit) {
    uint32_t low = 0, high = code->line_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (code->lines[middle].first_unit <= unit) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low == 0 ? code->firstlineno : code->lines[low - 1].line;
}

static bool grow(void) {
    size_t count = bucket_count ? bucket_count * 2 : 1024;
    fw_code **wider = calloc(count, sizeof *wider);
    if (wider == NULL) {
        return bucket_count != 0;
    }
    for (size_t i = 0; i < bucket_count; i++) {
        for (fw_code *code = buckets[i], *next; code != NULL; code = next) {
            next = code->next;
            code->next = wider[code->hash & (count - 1)];
            wider[code->hash & (count - 1)] = code;
        }
    }
    free(buckets);
    buckets = wider;
    bucket_count = count;
    return true;
}

static fw_code *find(uint64_t hash, const char *text, uint32_t name_length, uint32_t filename_length, int32_t first) {
    for (fw_code *code = bucket_count ? buckets[hash & (bucket_count - 1)] : NULL; code != NULL; code = code->next) {
        if (code->hash == hash && code->firstlineno == first && code->name_length == name_length
            && code->filename_length == filename_length && memcmp(code->text, text, name_length + filename_length) == 0) {
            return code;
        }
    }
    return NULL;
}

static fw_code *add(uint64_t hash, const char *text, uint32_t name_length, uint32_t filename_length, int32_t first,
                    const unsigned char *table, uint32_t table_length) {
    if (code_count >= bucket_count && !grow()) {
        return NULL;
    }
    fw_code *code = malloc(sizeof *code + name_length + filename_length);
    fw_line_start *lines = malloc(count_entries(table, table_length) * sizeof *lines);
    if (code == NULL || lines == NULL) {
        free(code);
        free(lines);
        return NULL;
    }
    *code = (fw_code){.hash = hash, .references = 1, .firstlineno = first, .name_length = name_length,
                      .filename_length = filename_length, .lines = lines};
    memcpy(code->text, text, name_length + filename_length);
    code->line_count = decode_lines(table, table_length, first, lines);
    fw_code **bucket = &buckets[hash & (bucket_count - 1)];
    code->next = *bucket;
    *bucket = code;
    code_count++;
    return code;
}

fw_code *fw_code_intern(fw_raw_text name, fw_raw_text filename, int32_t firstlineno, const unsigned char *table,
                        uint32_t table_length) {
    char *text = malloc(4u * ((size_t)name.length_bytes + filename.length_bytes) + 4);
    if (text == NULL) {
        return NULL;
    }
    uint32_t name_length = to_utf8(name, text), filename_length = to_utf8(filename, text + name_length);
    uint64_t hash = fw_hash_bytes(text, name_length + filename_length, (uint64_t)firstlineno << 32 | name_length);
    hash = fw_hash_bytes(table, table_length, hash);       /* the table's bytes count by their hash only */
    fw_code *code = find(hash, text, name_length, filename_length, firstlineno);
    if (code != NULL) {
        code->references++;
    } else {
        code = add(hash, text, name_length, filename_length, firstlineno, table, table_length);
    }
    free(text);
    return code;
}

fw_code *fw_code_named(const char *name) {
    fw_raw_text text = {(const unsigned char *)name, (uint32_t)strlen(name), 1};
    return fw_code_intern(text, (fw_raw_text){(const unsigned char *)"", 0, 1}, 0, (const unsigned char *)"", 0);
}

void fw_code_acquire(fw_code *code) { code->references++; }

void fw_code_release(fw_code *code) {
    if (code == NULL || --code->references != 0) {
        return;
    }
    fw_code **link = &buckets[code->hash & (bucket_count - 1)];
    while (*link != code) {
        link = &(*link)->next;
    }
    *link = code->next;
    code_count--;
    free(code->lines);
    free(code);
}

size_t fw_code_count(void) { return code_count; }
