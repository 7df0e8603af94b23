/* SPDX-License-Identifier: Apache-2.0 */
/* Kafka record batches, format v2: the one format of memory, disk and wire. This is the module's face.
 *
 *   format.h  the bytes, and each field in place        encode.h  write a batch in place (reactor, library)
 *   headers.h record headers                            run.h     values of one size, the hot way
 *   check (here): is this a batch, and why not          iterate.h read records in place (consumer, compaction)
 *                                                       decompress.h: compressed batches, codecs loaded on demand
 *
 * No memory is taken, no I/O done (but in decompress.h, which says so). Everything is safe on any bytes, in any thread. */
#ifndef MR_BATCH_BATCH_H
#define MR_BATCH_BATCH_H

#include "shm/batch/encode.h"
#include "shm/batch/format.h"
#include "shm/batch/headers.h"
#include "shm/batch/iterate.h"
#include "shm/batch/run.h"
#include "shm/batch/varint.h"

/** What is wrong with a batch. The order is that of the checks. */
enum mr_batch_reason {
    MR_BATCH_OK = 0,
    MR_BATCH_BAD_SHORT,        /* fewer than 61 bytes there */
    MR_BATCH_BAD_LENGTH,       /* the length field leaves no room for a header */
    MR_BATCH_BAD_TRUNCATED,    /* it says more bytes than there are */
    MR_BATCH_BAD_MAGIC,        /* not 2 */
    MR_BATCH_BAD_ATTRIBUTES,   /* unknown codec or reserved bits */
    MR_BATCH_BAD_OFFSETS,      /* negative, or beyond 2^63 - 1 */
    MR_BATCH_BAD_COUNT,        /* negative, more than offsets, or more than the bytes can hold */
    MR_BATCH_BAD_CRC,
    MR_BATCH_BAD_GAP,          /* count and offsets disagree, outside compacted data */
    MR_BATCH_BAD_RECORD,       /* a record's length or one of its fields leads out of bounds */
    MR_BATCH_BAD_OFFSET_DELTA, /* not 0, 1, 2 ... (compacted: not ascending) */
    MR_BATCH_BAD_HEADERS,      /* of a record */
    MR_BATCH_BAD_END,          /* bytes behind the last record */
    MR_BATCH_REASON_COUNT,
};

enum { /* for mr_batch_check() */
    MR_BATCH_CHECK_COMPACTED = 1 << 0, /* offsets may have gaps, no record may be left */
    MR_BATCH_CHECK_NO_WALK = 1 << 1,   /* header and CRC only: bytes that this program wrote itself */
};

/**
 * Header only: length, magic, attributes, offsets and count are sane and the batch ends within `available_bytes`. Hot, reads 61 bytes.
 * Afterwards mr_batch_total_bytes(batch) is in [61, available_bytes].
 */
MR_MUST_USE enum mr_batch_reason mr_batch_check_header(const uint8_t *batch, uint64_t available_bytes);

/**
 * Everything: header, CRC and, unless it is compressed, a walk over each record and record header to the exact end.
 *
 * @param batch  must not change meanwhile: copy hostile memory first
 */
MR_MUST_USE enum mr_batch_reason mr_batch_check(const uint8_t *batch, uint64_t available_bytes, unsigned flags);

/** The walk alone, over decompressed records; `header` is the batch's (61 bytes, sane). */
MR_MUST_USE enum mr_batch_reason mr_batch_check_records(const uint8_t *header, const uint8_t *records, size_t record_bytes, unsigned flags);

/** "crc mismatch" and the like, for messages; static memory. */
const char *mr_batch_reason_text(enum mr_batch_reason reason);

/** "none", "gzip", ...; "unknown" for others. Static memory. */
const char *mr_batch_codec_name(enum mr_batch_codec codec);

#endif
