/* SPDX-License-Identifier: Apache-2.0 */
/* Random batches: the codec and the naive model write the same bytes; what the iterator reads is what went in; a random damage never
 * passes the check, and never leads a reader outside (address sanitizer). MR_SEED=... replays a run. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "shm/base/random.h"
#include "shm/batch/batch.h"
#include "tests/support/naive_batch.h"
#include "tests/support/property.h"

#define ROUNDS      400
#define RECORDS_MAX 150

static uint8_t *random_bytes(struct mr_random *random, int32_t bytes)
{
    uint8_t *p = malloc(bytes > 0 ? (size_t)bytes : 1);
    must(p != NULL);
    for (int32_t i = 0; i < bytes; i++)
        p[i] = (uint8_t)mr_random_next(random);
    return p;
}

/* Null, empty, short or around the lengths where a varint grows. */
static int32_t random_length(struct mr_random *random, bool nullable)
{
    static const int32_t edges[] = {0, 1, 62, 63, 64, 65, 8190, 8191, 8192, 8193};
    switch (mr_random_below(random, 8)) {
    case 0:
        return nullable ? -1 : 0;
    case 1:
        return edges[mr_random_below(random, MR_COUNT_OF(edges))];
    default:
        return (int32_t)mr_random_below(random, 100);
    }
}

static void random_record(struct mr_random *random, struct naive_record *r, int64_t around_ms)
{
    bool plain = mr_random_chance(random, 1, 2);
    r->timestamp_ms = mr_random_chance(random, 1, 50) ? (int64_t)mr_random_next(random)
                                                      : around_ms + (int64_t)mr_random_below(random, 1u << mr_random_below(random, 20)) - 20;
    r->key_bytes = plain ? -1 : random_length(random, true);
    r->key = random_bytes(random, r->key_bytes);
    r->value_bytes = random_length(random, !plain);
    r->value = random_bytes(random, r->value_bytes);
    r->header_count = plain ? 0 : (uint32_t)mr_random_below(random, 5);
    for (uint32_t h = 0; h < r->header_count; h++) {
        r->header[h].key_bytes = random_length(random, false);
        r->header[h].key = random_bytes(random, r->header[h].key_bytes);
        r->header[h].value_bytes = random_length(random, true);
        r->header[h].value = random_bytes(random, r->header[h].value_bytes);
    }
}

static void free_record(struct naive_record *r)
{
    free(r->key);
    free(r->value);
    for (uint32_t h = 0; h < r->header_count; h++) {
        free(r->header[h].key);
        free(r->header[h].value);
    }
}

static void add(struct mr_random *random, struct mr_batch_writer *w, const struct naive_record *r)
{
    struct mr_record_header headers[4];
    struct mr_batch_run run;
    uint8_t *before = w->next;

    for (uint32_t h = 0; h < r->header_count; h++)
        headers[h] = (struct mr_record_header){r->header[h].key, r->header[h].value, r->header[h].key_bytes, r->header[h].value_bytes};
    uint64_t block_bytes = mr_record_headers_bytes(headers, r->header_count);
    uint8_t *block = malloc(block_bytes + 1);
    must(block != NULL);
    must(mr_record_headers_encode(headers, r->header_count, block, block_bytes) == (int64_t)block_bytes);
    uint64_t announced = mr_batch_record_bytes(w, r->timestamp_ms, r->key_bytes, r->value_bytes, (uint32_t)block_bytes, r->header_count);
    if (r->key_bytes == -1 && r->header_count == 0 && r->value_bytes >= 0) {
        /* Where a run takes the record, it writes what the long way writes. */
        if (mr_random_chance(random, 1, 2) && mr_batch_run_begin(&run, w, r->timestamp_ms, (uint32_t)r->value_bytes)) {
            must(mr_batch_run_add(&run, r->value));
            mr_batch_run_end(&run, w);
        } else {
            must(mr_batch_add_value(w, r->timestamp_ms, r->value, (uint32_t)r->value_bytes));
        }
    } else
        must(mr_batch_add(w, r->timestamp_ms, r->key, r->key_bytes, r->value, r->value_bytes, block, (uint32_t)block_bytes,
                          r->header_count) == 0);
    must((uint64_t)(w->next - before) == announced);
    free(block);
}

static void compare(const struct mr_batch_record *got, const struct naive_record *want)
{
    must(got->timestamp_ms == want->timestamp_ms);
    must(got->key_bytes == want->key_bytes && got->value_bytes == want->value_bytes);
    must(got->key_bytes <= 0 || memcmp(got->key, want->key, (size_t)got->key_bytes) == 0);
    must(got->value_bytes <= 0 || memcmp(got->value, want->value, (size_t)got->value_bytes) == 0);
    must(got->header_count == want->header_count);
    const uint8_t *at = got->headers;
    for (uint32_t h = 0; h < want->header_count; h++) {
        struct mr_record_header header;
        must(mr_record_headers_next(&at, got->headers + got->header_bytes, &header) == 1);
        must(header.key_bytes == want->header[h].key_bytes && header.value_bytes == want->header[h].value_bytes);
        must(memcmp(header.key, want->header[h].key, (size_t)header.key_bytes) == 0);
        must(header.value_bytes <= 0 || memcmp(header.value, want->header[h].value, (size_t)header.value_bytes) == 0);
    }
    must(at == got->headers + got->header_bytes);
}

static void damage_and_read(struct mr_random *random, const struct naive_buffer *b)
{
    uint8_t *copy = malloc(b->size);
    must(copy != NULL);
    memcpy(copy, b->bytes, b->size);
    size_t position = MR_BATCH_AT_MAGIC + mr_random_below(random, b->size - MR_BATCH_AT_MAGIC);
    copy[position] ^= (uint8_t)(1 + mr_random_below(random, 255));
    must(mr_batch_check(copy, b->size, 0) != MR_BATCH_OK);

    struct mr_batch_iterator it;
    struct mr_batch_record r;
    int rc = mr_batch_iterator_init(&it, copy, b->size);
    while (rc == 0 || rc == 1) {
        rc = mr_batch_next(&it, &r);
        if (rc != 1)
            break;
        must(r.value_bytes <= 0 || (r.value >= copy && r.value + r.value_bytes <= copy + b->size));
        must(r.headers >= copy && r.headers + r.header_bytes <= copy + b->size);
    }
    free(copy);
}

static void one_round(struct mr_random *random)
{
    static struct naive_record records[RECORDS_MAX];
    struct naive_batch batch = {
        .base_offset = (int64_t)(mr_random_next(random) >> (2 + mr_random_below(random, 60))),
        .producer_id = (int64_t)mr_random_next(random),
        .leader_epoch = (int32_t)mr_random_next(random),
        .base_sequence = (int32_t)mr_random_next(random),
        .producer_epoch = (int16_t)mr_random_next(random),
        .attributes = (uint16_t)(mr_random_below(random, 16) << 3 & ~MR_BATCH_APPEND_TIME),
    };
    uint32_t count = 1 + (uint32_t)mr_random_below(random, RECORDS_MAX);
    for (uint32_t i = 0; i < count; i++)
        random_record(random, &records[i], 1700000000000);

    struct naive_buffer want = naive_encode(&batch, records, count);
    uint8_t *got = malloc(want.size); /* exactly enough */
    struct mr_batch_writer w;
    must(got != NULL);
    mr_batch_open(&w, got, want.size, batch.producer_id, batch.producer_epoch, batch.base_sequence, batch.base_offset, batch.leader_epoch);
    w.attributes = batch.attributes;
    for (uint32_t i = 0; i < count; i++)
        add(random, &w, &records[i]);
    must(!mr_batch_add_value(&w, 0, "", 0));
    must(mr_batch_close(&w) == want.size);
    must(memcmp(got, want.bytes, want.size) == 0);
    must(mr_batch_check(got, want.size, 0) == MR_BATCH_OK);

    struct mr_batch_iterator it;
    struct mr_batch_record r;
    must(mr_batch_iterator_init(&it, got, want.size) == 0);
    for (uint32_t i = 0; i < count; i++) {
        must(mr_batch_next(&it, &r) == 1);
        must(r.offset == batch.base_offset + i);
        compare(&r, &records[i]);
    }
    must(mr_batch_next(&it, &r) == 0);
    for (int i = 0; i < 4; i++)
        damage_and_read(random, &want);

    for (uint32_t i = 0; i < count; i++)
        free_record(&records[i]);
    free(want.bytes);
    free(got);
}

int main(void)
{
    struct mr_random random;

    mr_random_init(&random, property_seed(), 0);
    for (int round = 0; round < ROUNDS; round++)
        one_round(&random);
    return 0;
}
