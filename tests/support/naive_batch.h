/* SPDX-License-Identifier: Apache-2.0 */
/* A second, slow and plain reading of the record batch format, to hold the real codec against: it shares no code with shm/batch and
 * computes its CRC bit by bit. It writes into one growing buffer and trusts nothing it reads. */
#ifndef TESTS_NAIVE_BATCH_H
#define TESTS_NAIVE_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/** CRC-32C by the definition: polynomial 0x1edc6f41, reflected, all ones in and out. */
static inline uint32_t naive_crc32c(const uint8_t *p, size_t bytes)
{
    uint32_t crc = 0xffffffffu;
    while (bytes-- > 0) {
        crc ^= *p++;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
    }
    return crc ^ 0xffffffffu;
}

struct naive_record {
    int64_t timestamp_ms;
    uint8_t *key, *value;
    int32_t key_bytes, value_bytes; /* -1 null */
    uint32_t header_count;
    struct {
        uint8_t *key, *value;
        int32_t key_bytes, value_bytes;
    } header[4];
};

struct naive_buffer {
    uint8_t *bytes;
    size_t size, capacity;
};

static inline void naive_put_byte(struct naive_buffer *b, uint8_t byte)
{
    if (b->size == b->capacity) {
        b->capacity = b->capacity == 0 ? 64 : b->capacity * 2;
        b->bytes = realloc(b->bytes, b->capacity);
        if (b->bytes == NULL)
            abort();
    }
    b->bytes[b->size++] = byte;
}

static inline void naive_put_be(struct naive_buffer *b, uint64_t value, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--)
        naive_put_byte(b, (uint8_t)(value >> 8 * i));
}

static inline void naive_put_varint(struct naive_buffer *b, int64_t value)
{
    uint64_t coded = value >= 0 ? 2 * (uint64_t)value : 2 * (uint64_t)-(value + 1) + 1;
    while (coded > 127) {
        naive_put_byte(b, (uint8_t)(128 + coded % 128));
        coded /= 128;
    }
    naive_put_byte(b, (uint8_t)coded);
}

static inline void naive_put_field(struct naive_buffer *b, const uint8_t *field, int32_t bytes)
{
    naive_put_varint(b, bytes);
    for (int32_t i = 0; i < bytes; i++)
        naive_put_byte(b, field[i]);
}

struct naive_batch {
    int64_t base_offset, producer_id;
    int32_t leader_epoch, base_sequence;
    int16_t producer_epoch;
    uint16_t attributes;
};

/** Encode all records as one batch; the caller frees buffer.bytes. */
static inline struct naive_buffer naive_encode(const struct naive_batch *batch, const struct naive_record *records, uint32_t count)
{
    struct naive_buffer all = {0}, body = {0};
    int64_t max = records[0].timestamp_ms;
    for (uint32_t i = 0; i < count; i++) {
        struct naive_buffer one = {0};
        const struct naive_record *r = &records[i];
        if (r->timestamp_ms > max)
            max = r->timestamp_ms;
        naive_put_byte(&one, 0);
        naive_put_varint(&one, (int64_t)((uint64_t)r->timestamp_ms - (uint64_t)records[0].timestamp_ms));
        naive_put_varint(&one, i);
        naive_put_field(&one, r->key, r->key_bytes);
        naive_put_field(&one, r->value, r->value_bytes);
        naive_put_varint(&one, r->header_count);
        for (uint32_t h = 0; h < r->header_count; h++) {
            naive_put_field(&one, r->header[h].key, r->header[h].key_bytes);
            naive_put_field(&one, r->header[h].value, r->header[h].value_bytes);
        }
        naive_put_varint(&body, (int64_t)one.size);
        for (size_t k = 0; k < one.size; k++)
            naive_put_byte(&body, one.bytes[k]);
        free(one.bytes);
    }
    naive_put_be(&all, (uint64_t)batch->base_offset, 8);
    naive_put_be(&all, 49 + body.size, 4);
    naive_put_be(&all, (uint32_t)batch->leader_epoch, 4);
    naive_put_byte(&all, 2);
    naive_put_be(&all, 0, 4);
    naive_put_be(&all, batch->attributes, 2);
    naive_put_be(&all, count - 1, 4);
    naive_put_be(&all, (uint64_t)records[0].timestamp_ms, 8);
    naive_put_be(&all, (uint64_t)max, 8);
    naive_put_be(&all, (uint64_t)batch->producer_id, 8);
    naive_put_be(&all, (uint16_t)batch->producer_epoch, 2);
    naive_put_be(&all, (uint32_t)batch->base_sequence, 4);
    naive_put_be(&all, count, 4);
    for (size_t k = 0; k < body.size; k++)
        naive_put_byte(&all, body.bytes[k]);
    free(body.bytes);
    uint32_t crc = naive_crc32c(all.bytes + 21, all.size - 21);
    for (int i = 0; i < 4; i++)
        all.bytes[17 + i] = (uint8_t)(crc >> (24 - 8 * i));
    return all;
}

#endif
