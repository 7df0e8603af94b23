/* SPDX-License-Identifier: Apache-2.0 */
/* What verify.c (a partition, its small files) and verify_segment.c (one segment) share. */
#ifndef MR_SEGMENT_VERIFY_INTERNAL_H
#define MR_SEGMENT_VERIFY_INTERNAL_H

#include <limits.h>
#include <stddef.h>

#include "shm/segment/verify.h"

#define MR_VERIFY_BUFFER_BYTES (4u << 20) /* to begin with */

struct mr_verify_index { /* of the segment in hand */
    char path[PATH_MAX];
    uint8_t *data;
    uint64_t bytes, at; /* entries up to `at` are right */
    bool is_there, is_bad;
};

struct verify {
    unsigned flags;
    mr_verify_each *each;
    void *context;
    struct mr_verify_report *report;
    struct millrace_error *err;
    uint8_t *buffer;
    size_t buffer_bytes;
    const char *path; /* of the segment in hand */
    int32_t epoch;    /* of the last good batch */
    bool side_is_blank; /* its sidecar's header is not written yet */
    struct mr_verify_index index, time_index;
    uint64_t index_base;
    int64_t index_max_ms; /* of the batches so far */
    uint64_t snapshot_max; /* the newest sound snapshot's offset */
    char snapshot_path[PATH_MAX];
    bool whole;         /* the segment before was good to its end, so the seam can be judged */
};

/** Count a finding and hand it on. */
void mr_verify_find(struct verify *v, const char *path, uint64_t position, uint64_t offset, bool is_error, const char *reason);

/** Another buffer in place of this one; its content is lost. @return 0; -ENOMEM with a message */
int mr_verify_grow(struct verify *v, size_t bytes) MR_MUST_USE;

/** @param direct past the page cache, where the file system can. @return a descriptor and the file's size, or -errno */
int mr_verify_open(const char *path, bool direct, uint64_t *bytes) MR_MUST_USE;

/* verify_index.c: begin with a segment; each good batch in order; and the end, where is_whole says that all of it was good */
void mr_verify_indexes_begin(struct verify *v, const char *log_path, uint64_t base_offset);
void mr_verify_indexes_batch(struct verify *v, uint64_t position, const uint8_t *batch);
void mr_verify_indexes_end(struct verify *v, bool is_whole);

/** One segment, into v->report. @return 0; -errno with a message */
int mr_verify_one(struct verify *v, const char *log_path, uint64_t base_offset, bool newest) MR_MUST_USE;

#endif
