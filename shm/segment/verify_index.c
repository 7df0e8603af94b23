/* SPDX-License-Identifier: Apache-2.0 */
/* The two indexes of a segment against its batches (shm/segment/index.h). A bad one costs a seek time and no record: a note. */
#include "shm/segment/verify_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "shm/base/bits.h"
#include "shm/batch/batch.h"
#include "shm/segment/index.h"

#define INDEX_BYTES_MAX (64u << 20)

static void load(struct mr_verify_index *index, const char *log_path, const char *suffix)
{
    uint64_t bytes = 0;

    *index = (struct mr_verify_index){0};
    snprintf(index->path, sizeof index->path, "%.*s%s", (int)(strlen(log_path) - strlen("log")), log_path, suffix);
    int fd = mr_verify_open(index->path, false, &bytes);
    if (fd < 0)
        return; /* there need not be one */
    index->data = bytes > 0 && bytes <= INDEX_BYTES_MAX ? malloc(bytes) : NULL;
    index->is_there = true;
    if (index->data != NULL && pread(fd, index->data, bytes, 0) == (ssize_t)bytes)
        index->bytes = bytes;
    close(fd);
}

void mr_verify_indexes_begin(struct verify *v, const char *log_path, uint64_t base_offset)
{
    load(&v->index, log_path, "index");
    load(&v->time_index, log_path, "timeindex");
    v->index_base = base_offset;
    v->index_max_ms = INT64_MIN;
}

void mr_verify_indexes_batch(struct verify *v, uint64_t position, const uint8_t *batch)
{
    struct mr_verify_index *index = &v->index, *times = &v->time_index;
    uint64_t last = (uint64_t)mr_batch_next_offset(batch) - 1 - v->index_base;
    int64_t max_ms = mr_batch_max_timestamp(batch);

    v->index_max_ms = max_ms > v->index_max_ms ? max_ms : v->index_max_ms;
    for (; !index->is_bad && index->at + MR_INDEX_ENTRY_BYTES <= index->bytes; index->at += MR_INDEX_ENTRY_BYTES) {
        const uint8_t *entry = index->data + index->at;
        if (mr_be32_get(entry + 4) > position)
            break;
        index->is_bad = mr_be32_get(entry + 4) != position || mr_be32_get(entry) != last;
        if (index->is_bad)
            return;
    }
    for (; !times->is_bad && times->at + MR_TIME_INDEX_ENTRY_BYTES <= times->bytes; times->at += MR_TIME_INDEX_ENTRY_BYTES) {
        const uint8_t *entry = times->data + times->at;
        if (mr_be32_get(entry + 8) > last)
            break;
        times->is_bad = mr_be32_get(entry + 8) != last || (int64_t)mr_be64_get(entry) != max_ms || max_ms != v->index_max_ms;
        if (times->is_bad)
            return;
    }
}

static void end(struct verify *v, struct mr_verify_index *index, bool is_whole)
{
    if (index->is_there && is_whole && (index->is_bad || index->at != index->bytes || index->bytes == 0))
        mr_verify_find(v, index->path, index->at, v->index_base, false, "does not say what the log holds: seeks do without it; delete it");
    free(index->data);
    index->data = NULL;
}

void mr_verify_indexes_end(struct verify *v, bool is_whole)
{
    bool says_less = v->time_index.bytes >= MR_TIME_INDEX_ENTRY_BYTES && v->index_max_ms != INT64_MIN &&
                     (int64_t)mr_be64_get(v->time_index.data + v->time_index.bytes - MR_TIME_INDEX_ENTRY_BYTES) != v->index_max_ms;
    v->time_index.is_bad = v->time_index.is_bad || says_less;
    end(v, &v->index, is_whole);
    end(v, &v->time_index, is_whole);
}
