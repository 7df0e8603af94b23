/* SPDX-License-Identifier: Apache-2.0 */
/* Check the files of a partition while no daemon uses them: `millrace log verify`. Nothing is changed. Cold; takes memory, opens files. */
#ifndef MR_SEGMENT_VERIFY_H
#define MR_SEGMENT_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/base/err.h"

enum {
    MR_VERIFY_COMPACTED = 1 << 0, /* offsets may have gaps */
    MR_VERIFY_AHEAD = 1 << 1,     /* a journal may hold the last block of the newest segment's sidecar: a daemon runs, or died */
    MR_VERIFY_LIVE = 1 << 2,      /* a daemon is writing: any segment may be open still, and then ends where the sidecar in its file does */
    MR_VERIFY_ROLLED = 1 << 3,    /* one segment: newer ones follow */
    MR_VERIFY_SIDECAR = 1 << 4,   /* a segment that is not empty should have a sidecar: without one, say so */
};

struct mr_verify_finding {
    const char *path;   /* of the file; all pointers live during the call only */
    uint64_t position;  /* byte in it */
    uint64_t offset;    /* first offset that is not good there */
    bool is_error;      /* false: lawful after a crash (a torn tail, bytes that are only in a journal), or rebuilt by the next start */
    const char *reason; /* one line */
};

struct mr_verify_report {
    uint64_t segments, batches, records, bytes; /* good ones */
    uint64_t compressed_unchecked;              /* batches whose codec library is not installed: CRC checked, records not */
    uint64_t first_offset, next_offset;
    uint64_t errors, warnings;
    int32_t epoch; /* leader epoch of the last good batch */
    bool is_whole; /* the last segment is good to its end, and nothing is behind it that a segment in its place does not have */
    bool is_open;  /* MR_VERIFY_LIVE, and it is not: because it is not closed yet */
};

typedef void mr_verify_each(void *context, const struct mr_verify_finding *finding);

/**
 * Check a partition directory: each segment with its sidecar (without one, batches alone), the seams between segments, snapshots and the
 * leader epoch checkpoint.
 *
 * @param each    called for each finding, in order; may be NULL
 * @param report  filled in
 * @return 0 (see report->errors), or -errno with a message: a directory or file that cannot be read
 */
int mr_verify_partition(const char *directory, unsigned flags, mr_verify_each *each, void *context, struct mr_verify_report *report,
                        struct millrace_error *err) MR_MUST_USE;

/**
 * One segment, by the path of its .log. A zero tail or a torn one is accepted if it is the newest: without MR_VERIFY_ROLLED, its directory is
 * looked at for a newer one.
 *
 * @param epoch  the least leader epoch to be met: that of the segment before it, or -1
 */
int mr_verify_segment(const char *log_path, unsigned flags, int32_t epoch, mr_verify_each *each, void *context, struct mr_verify_report *report,
                      struct millrace_error *err) MR_MUST_USE;

#endif
