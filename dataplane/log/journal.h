/* SPDX-License-Identifier: Apache-2.0 */
/* The tail journal (RELIABILITY.md D1): a circular log per (reactor, log directory) that makes small commits durable in one sequential
 * write, whatever the number of partitions. File `journal-<reactor>.<generation>` in the log directory; each daemon start opens a new
 * generation (taking over a retired file when there is one) and the old ones are retired once nothing durable lives in them alone.
 *
 * All integers little-endian. The file is journal_bytes long, a multiple of 4096. Block 0:
 *
 *   struct mr_journal_file   magic, version, reactor, generation, salt, bytes, crc
 *
 * then commits, each at a multiple of 4096 and a multiple of 4096 long, never across the end:
 *
 *   struct mr_journal_commit   64 bytes; crc covers it (crc field as 0) and everything to `used_bytes`
 *   entry_count x { struct mr_journal_entry; data_bytes; side_bytes; padding to 8 }
 *   zeros
 *
 * A position in the journal is an lsn: it only grows; the place in the file is 4096 + lsn mod (journal_bytes - 4096). A commit with another
 * salt, a wrong lsn for its place or a wrong crc is not there.
 *
 * Each commit also says what may not be missing before it: everything in [floor_lsn, durable_lsn) was complete when it was built. Recovery
 * takes a hole there as damage and not as a torn write, and what an entry below durable_lsn made durable as durable.
 *
 * Block 0 holds the file's header twice, at 0 and at MR_JOURNAL_FILE_COPY, and is durable before the file gets its name: a journal in which
 * neither is valid is damaged, not new.
 *
 * An entry carries *new* bytes of a partition's two append-only streams, the segment file and its sidecar: any two entries of one
 * (topic, partition, segment, salt, generation) agree where they overlap, so recovery may lay them over the file in any order.
 * `mark` repeats what earlier commits made durable: recovery that ends below it has found corruption (D6), not a torn tail.
 * An entry with no bytes is a mark alone. */
#ifndef MR_DATAPLANE_LOG_JOURNAL_H
#define MR_DATAPLANE_LOG_JOURNAL_H

#include "shm/abi/abi.h"

#define MR_JOURNAL_MAGIC        0x316c6e726a72724dull /* "Mrrjrnl1" */
#define MR_JOURNAL_VERSION      1u
#define MR_JOURNAL_COMMIT_MAGIC 0x74696d6du /* "mmit" */
#define MR_JOURNAL_FILE_COPY    2048u       /* in block 0: the second copy of struct mr_journal_file */

struct mr_journal_file {
    uint64_t magic;
    uint32_t version;
    uint32_t reactor;
    uint64_t generation; /* of the daemon start that writes it */
    uint64_t salt;       /* random: commits of an earlier use of this file do not count */
    uint64_t bytes;
    uint32_t crc; /* of the bytes before */
    uint32_t reserved;
};
static_assert(sizeof(struct mr_journal_file) == 48, "format");

struct mr_journal_commit {
    uint32_t magic;
    uint32_t crc;
    uint64_t salt;
    uint64_t lsn;
    uint32_t bytes;      /* to the next commit; multiple of 4096 */
    uint32_t used_bytes; /* header and entries */
    uint32_t entry_count;
    uint32_t skipped_bytes; /* unused before this commit, because it did not fit before the end of the file: else 0 */
    uint64_t wall_ms;       /* when it was built, for people */
    uint64_t floor_lsn;     /* no partition needs a commit below this; <= lsn */
    uint64_t durable_lsn;   /* all commits below this were complete when this one was built; <= lsn */
};
static_assert(sizeof(struct mr_journal_commit) == 64, "format");

enum mr_journal_entry_flag {
    MR_JOURNAL_DELETED = 1, /* the topic was deleted: entries before this one do not count */
};

struct mr_journal_entry {
    struct mr_uuid topic_id;
    uint32_t partition;
    uint32_t generation; /* of the partition's lineage: a truncation starts a new one, older entries count only below its cut */
    uint64_t segment_base_offset;
    uint32_t segment_salt;
    uint32_t flags;
    uint32_t data_position; /* in the segment file */
    uint32_t data_bytes;
    uint32_t side_position; /* in the sidecar */
    uint32_t side_bytes;
    uint64_t mark_segment; /* base offset of the segment that the mark lies in */
    uint32_t mark_position;
    uint32_t cut_position; /* with a new generation: the data stream's length after the cut */
    uint64_t mark_offset;  /* the first offset not durable at mark */
    uint64_t log_start;    /* delete-records and retention: offsets below are gone */
};
static_assert(sizeof(struct mr_journal_entry) == 88, "format");

/** Bytes that an entry takes in a commit. */
static inline uint64_t mr_journal_entry_bytes(uint64_t data_bytes, uint64_t side_bytes)
{
    return sizeof(struct mr_journal_entry) + mr_align_up(data_bytes + side_bytes, 8);
}

/** Where a commit with this lsn stands in the file. */
static inline uint64_t mr_journal_file_position(uint64_t lsn, uint64_t journal_bytes)
{
    return MR_BLOCK_BYTES + lsn % (journal_bytes - MR_BLOCK_BYTES);
}

#endif
