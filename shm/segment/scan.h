/* SPDX-License-Identifier: Apache-2.0 */
/* Walk a segment from its start (or a known point) to the first spot that is not a good batch in its place, and say what that spot is:
 * RELIABILITY.md D5 and the facts that D6 judges by. Used by recovery, replica repair, scrubbing and `millrace log verify`. Pure: bytes come
 * through the sources, memory is the caller's.
 *
 * A batch is good when its CRC is right, it begins where the one before ended, with the next offset (compacted segments: a later one),
 * with no lower leader epoch, and when there is a sidecar, the next live entry of it names this batch with the right chain.
 *
 * What is *behind* a bad spot decides between a torn tail and corruption. Behind is searched with MR_SEGMENT_SCAN_RESYNC: at every later
 * entry of the sidecar, and at every byte where a header with later offsets might begin; a candidate counts when its CRC is right. */
#ifndef MR_SEGMENT_SCAN_H
#define MR_SEGMENT_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/batch/batch.h"
#include "shm/segment/sidecar.h"
#include "shm/segment/source.h"

/** Why a scan stopped. The first two are clean ends, if nothing valid is behind. */
enum mr_segment_stop {
    MR_SEGMENT_END_EXACT,   /* the stream ends where the last batch ends */
    MR_SEGMENT_END_ZEROS,   /* zeros where a header would be */
    MR_SEGMENT_PAST_END,    /* a header, or a batch as its header says, would go beyond the end of the stream */
    MR_SEGMENT_BAD_HEADER,  /* result.batch_reason has more */
    MR_SEGMENT_BAD_CRC,
    MR_SEGMENT_BAD_RECORDS, /* CRC is right but a record is malformed (only with SCAN_RECORDS); batch_reason */
    MR_SEGMENT_BAD_SIDECAR, /* its entry for this place does not agree, or the chain is broken */
    MR_SEGMENT_NO_SIDECAR,  /* a good batch, but the sidecar ends before it */
    MR_SEGMENT_BAD_SIDECAR_HEADER, /* not a sidecar, of another version, or of another segment */
    MR_SEGMENT_GAP,         /* a good batch with another base offset than the next */
    MR_SEGMENT_EPOCH_BACK,
    MR_SEGMENT_TOO_LARGE,   /* the batch does not fit the buffer: result.need_bytes; go on with a larger one */
    MR_SEGMENT_READ_FAILED, /* result.error */
    MR_SEGMENT_REFUSED,     /* by the each callback; result.error */
    MR_SEGMENT_STOP_COUNT,
};

/** A point between two batches, from which a scan can begin. */
struct mr_segment_point {
    uint64_t position;      /* in the segment */
    uint64_t next_offset;
    uint64_t side_position; /* in the sidecar: where the entry of the next batch stands; 0: none was read */
    uint32_t chain;         /* of the entry before it */
    int32_t epoch;          /* least leader epoch from here on; -1: any */
};

enum {
    MR_SEGMENT_SCAN_COMPACTED = 1 << 0, /* offsets may have gaps */
    MR_SEGMENT_SCAN_RECORDS = 1 << 1,   /* walk the records of uncompressed batches too */
    MR_SEGMENT_SCAN_RESYNC = 1 << 2,    /* look behind the stop, also behind a clean end */
};

#define MR_SEGMENT_SCAN_BUFFER_MIN (3 * MR_BLOCK_BYTES)

struct mr_segment_scan_options {
    struct mr_segment_source log;
    struct mr_segment_source side;   /* side.read NULL: there is none, and nothing is said about it */
    uint64_t base_offset;            /* of the segment, from its name */
    const struct mr_uuid *topic_id;  /* what the sidecar must say; NULL: anything */
    uint32_t partition;              /* likewise, with topic_id */
    struct mr_segment_point start;   /* position 0: the beginning (only its epoch counts); else all of it, as a scan left it */
    unsigned flags;
    uint8_t *buffer;                 /* aligned to MR_BLOCK_BYTES if a source is O_DIRECT */
    size_t buffer_bytes;             /* >= MR_SEGMENT_SCAN_BUFFER_MIN, best the largest batch * 8 / 7 + 8 KiB */
    uint64_t resync_bytes_max;       /* how far behind to look; 0: to the end */
    /** Each good batch in order, when not NULL: the point where it begins, and its bytes, valid during the call. @return 0, or -errno to stop */
    int (*each)(void *context, const struct mr_segment_point *at, const uint8_t *batch);
    void *context;
};

struct mr_segment_scan_result {
    struct mr_segment_point end; /* behind the last good batch, where it stopped; a later scan can start here */
    uint32_t salt;               /* of the sidecar */
    uint64_t batch_count;
    uint64_t record_count;
    int64_t max_timestamp_ms;    /* -1: no batch */
    enum mr_segment_stop stop;
    enum mr_batch_reason batch_reason;
    int error;
    uint64_t need_bytes;         /* TOO_LARGE: buffer_bytes that would do */
    bool behind;                 /* with RESYNC: something valid lies behind end.position */
    bool behind_gave_up;         /* the search hit its bound on CRC work: behind may be false for this reason only */
    uint64_t behind_position;    /* the first valid batch there */
    uint64_t behind_offset;      /* its base offset */
    uint64_t behind_end;         /* where the last valid batch found ends; - end.position is the distance of D6 */
};

/** Scan. @param result filled in, whatever happens. @return result->stop. */
enum mr_segment_stop mr_segment_scan(const struct mr_segment_scan_options *options, struct mr_segment_scan_result *result);

/** A clean end, with nothing valid behind it (if that was searched). */
static inline bool mr_segment_scan_is_clean(const struct mr_segment_scan_result *result)
{
    return (result->stop == MR_SEGMENT_END_EXACT || result->stop == MR_SEGMENT_END_ZEROS) && !result->behind && !result->behind_gave_up;
}

/** For messages; static memory. */
const char *mr_segment_stop_text(enum mr_segment_stop stop);

/** The second half of a scan: fill the behind_ fields for the stop at result->end. Uses both windows. */
int mr_segment_resync(const struct mr_segment_scan_options *options, struct mr_segment_window *log, struct mr_segment_window *side,
                      struct mr_segment_scan_result *result) MR_MUST_USE;

#endif
