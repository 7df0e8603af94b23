/* SPDX-License-Identifier: Apache-2.0 */
/* Values of one size, one behind the other: the reactor's inner loop. A record has seven small fields around its value, and in such a run only
 * the offset differs from record to record. So what stands in front of the value is put together once, as one word, and a record costs two
 * stores besides its value instead of ten: the stores, not the instructions, are what a core runs out of when it copies from memory that
 * another core wrote into memory that it wrote a gigabyte ago.
 *
 *   mr_batch_run_begin -> mr_batch_run_add* -> mr_batch_run_end        on an open writer, which is not touched in between
 *
 *   length 1-2 | attributes 1 | time 1 | offset 1-2 | null key 1 | value length 1-2 | value | no headers 1
 *   \_______________________ front: 6 to 9 bytes, the last one stored apart _______________________/ */
#ifndef MR_BATCH_RUN_H
#define MR_BATCH_RUN_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "shm/base/assert.h"
#include "shm/base/atomics.h"
#include "shm/batch/encode.h"

#define MR_BATCH_RUN_VALUE_BYTES    8000u /* at most; then every length fits two bytes */
#define MR_BATCH_RUN_OVERHEAD_BYTES 12u   /* a record takes at most its value and this: 10, but the front is stored as 8 bytes at once */
#define MR_BATCH_RUN_NARROW         64u   /* offset deltas below take one byte */
#define MR_BATCH_RUN_WIDE           8192u /* below this two; longer batches go the long way */
#define MR_BATCH_RUN_AHEAD_BYTES    1024u /* how far lines are asked for: some twelve ticks' time, more than memory takes to answer */

struct mr_batch_run {
    uint64_t front;        /* in the order of memory on a little-endian machine; the offset's place is 0 */
    uint32_t front_bytes;
    uint32_t offset_shift; /* bits to the offset's place */
    uint32_t value_bytes;
    uint32_t count;        /* as in the writer, and the two below */
    uint32_t count_end;    /* where the offset gets wider */
    uint8_t front_last;
    uint8_t *next;
    const uint8_t *next_max; /* a record may begin here, not behind */
    int64_t timestamp_ms;
};

/**
 * Begin a run behind what the writer holds. Hot, some ten nanoseconds.
 * @return false: this size, this time or this batch goes the long way (mr_batch_add_value), or there is no room
 */
MR_HOT MR_MUST_USE static inline bool mr_batch_run_begin(struct mr_batch_run *run, const struct mr_batch_writer *writer, int64_t timestamp_ms,
                                                         uint32_t value_bytes)
{
    uint64_t coded_time = mr_batch_coded_time(writer, timestamp_ms);
    uint64_t room = (uint64_t)(writer->end - writer->next);

    if (mr_unlikely(value_bytes > MR_BATCH_RUN_VALUE_BYTES || coded_time >= 0x80 || writer->count >= MR_BATCH_RUN_WIDE ||
                    value_bytes + MR_BATCH_RUN_OVERHEAD_BYTES > room))
        return false;
    bool is_wide = writer->count >= MR_BATCH_RUN_NARROW;
    uint32_t offset_bytes = is_wide ? 2 : 1;
    uint32_t value_length_bytes = value_bytes < 64 ? 1 : 2;
    uint32_t body_bytes = 4 + offset_bytes + value_length_bytes + value_bytes; /* attributes, time, key and header count: one each */
    uint32_t length_bytes = body_bytes < 64 ? 1 : 2;
    uint8_t front[16] = {0};
    uint8_t *at = mr_varint_put_short(front, (uint64_t)body_bytes << 1);
    *at++ = 0; /* attributes */
    *at++ = (uint8_t)coded_time;
    at += offset_bytes;
    *at++ = 1; /* null key: -1, zig-zag */
    at = mr_varint_put_short(at, (uint64_t)value_bytes << 1);
    memcpy(&run->front, front, sizeof run->front);
    run->front_bytes = (uint32_t)(at - front);
    run->front_last = at[-1];
    run->offset_shift = 8 * (length_bytes + 2);
    run->value_bytes = value_bytes;
    run->count = writer->count;
    run->count_end = is_wide ? MR_BATCH_RUN_WIDE : MR_BATCH_RUN_NARROW;
    run->next = writer->next;
    run->next_max = writer->end - value_bytes - MR_BATCH_RUN_OVERHEAD_BYTES;
    run->timestamp_ms = timestamp_ms;
    return true;
}

/**
 * Add a record.
 * @param value  value_bytes of them; may be hostile memory (W3 in encode.h)
 * @return false: the run is over (no room, or offsets get wider): end it, and begin another. Hot.
 */
MR_HOT MR_MUST_USE static inline bool mr_batch_run_add(struct mr_batch_run *run, const void *value)
{
    uint8_t *at = run->next;
    uint64_t offset = (uint64_t)run->count << 1;

    if (mr_unlikely(at > run->next_max || run->count >= run->count_end))
        return false;
    /* The writer's memory comes round after a gigabyte: without being asked for, each line of it would be waited for. */
    for (const uint8_t *ahead = at + MR_BATCH_RUN_AHEAD_BYTES; ahead < at + MR_BATCH_RUN_AHEAD_BYTES + run->value_bytes + MR_CACHE_LINE / 2;
         ahead += MR_CACHE_LINE)
        mr_prefetch_write(ahead);
    if (run->count_end != MR_BATCH_RUN_NARROW)
        offset = (offset & 0x7f) | 0x80 | offset >> 7 << 8;
    uint64_t front = run->front | offset << run->offset_shift;
    memcpy(at, &front, sizeof front);
    at += run->front_bytes;
    at[-1] = run->front_last;
    if (mr_likely(run->value_bytes == 64)) /* the commonest size of a tick: four vector moves instead of a call */
        memcpy(at, value, 64);
    else
        memcpy(at, value, run->value_bytes);
    at += run->value_bytes;
    *at++ = 0; /* headers */
    run->next = at;
    run->count++;
    return true;
}

/** Tell the writer what was added. */
static inline void mr_batch_run_end(const struct mr_batch_run *run, struct mr_batch_writer *writer)
{
    mr_check(run->count >= writer->count && run->next <= writer->end);
    if (run->count == writer->count)
        return;
    if (writer->count == 0)
        writer->base_timestamp_ms = writer->max_timestamp_ms = run->timestamp_ms;
    if (run->timestamp_ms > writer->max_timestamp_ms)
        writer->max_timestamp_ms = run->timestamp_ms;
    writer->count = run->count;
    writer->next = run->next;
}

#endif
