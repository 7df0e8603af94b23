/* SPDX-License-Identifier: Apache-2.0 */
/* What a log directory holds after the power was lost, or after a clean stop (RELIABILITY.md D5-D8, R14-R16). Cold and synchronous, over
 * the cold half of the disk driver, before any reactor starts; the simulator runs the same code.
 *
 *   scan      read every journal file of the directory, whoever wrote it and however many reactors there were; check commits
 *   overlay   per partition: lay journal entries (both streams) over the tail segment, create its files when only the journal has it
 *   judge     walk batches from the last mark's segment on: CRC, sidecar chain, contiguous offsets, epochs; D6 decides what a bad spot is:
 *             (a) a clean end  (b) undecided, past the mark: a single replica cuts and logs  (c) corruption: offline, nothing changed
 *   settle    write what was only in the journals in place, zero the rest of the tail block and what was cut, sync files and directory
 *   retire    only then may the journals go (mr_recovery_retire); a crash at any point before starts over from the same journals
 *
 * Partition directories are `<dir>/<topic>-<partition>`; that they are the right ones is looked at before (dataplane/node/partition_dirs.h).
 * Two small files of CRC'd text, each with per partition {topic id, generation, log_start, end}: `checkpoint`, written when a start has
 * recovered all it had to, so that nothing of it needs the old journals; and `clean-shutdown`, written at a clean stop. What they say stays
 * true for ever (log_start and durable ends only grow), and clean-shutdown counts as clean only while no journal of a later generation
 * exists: so neither has to be removed before a write.
 *
 * Start of a directory:  open, partition..., checkpoint, [journal_create, reactors run], retire, close. Retire may come at once, or, when
 * something was adopted from memory, after its logs said SECURED: until then the old journals may hold its only durable copy. */
#ifndef MR_DATAPLANE_LOG_RECOVER_H
#define MR_DATAPLANE_LOG_RECOVER_H

#include "dataplane/log/log.h"

#define MR_JOURNALS_MAX 256u

struct mr_recovery; /* of one log directory */

/** Told in words as it goes: level 0 error, 1 warning, 2 info; one line each. */
typedef void mr_recovery_say(void *context, int level, const char *line);

/**
 * Read the journals and the checkpoint of a directory; changes nothing. @param disk cold half is used
 * @return 0; -EIO, -ENOMEM with a message
 */
int mr_recovery_open(struct mr_recovery **recovery, struct mr_disk *disk, const char *directory, mr_recovery_say *say, void *context,
                     struct millrace_error *err) MR_MUST_USE;

/**
 * Recover one partition of it. The files of a partition that was never written do not exist: that is an empty log.
 * @param partition_path  `<dir>/<topic>-<partition>`
 * @param expected_end    when memory of the dead daemon tells how far the log went durably (head->durable), else 0: ending below is corruption
 * @param recovered       filled in; arrays live until mr_recovery_close()
 * @return 0 (also when the partition is offline: recovered->offline, said in words with what to run); -EIO, -ENOMEM
 */
int mr_recovery_partition(struct mr_recovery *recovery, const char *partition_path, const struct mr_uuid *topic_id, uint32_t partition,
                          uint64_t expected_end, struct mr_log_recovered *recovered, struct millrace_error *err) MR_MUST_USE;

/**
 * A partition that should lie somewhere in this or another directory and whose own directory is not to be found: what journals and checkpoint
 * hold of it stays for the day when it is back. @return 0; -ENOMEM
 */
int mr_recovery_keep(struct mr_recovery *recovery, const struct mr_uuid *topic_id, uint32_t partition) MR_MUST_USE;

/** Greatest journal generation seen (the next start takes a greater one). */
uint64_t mr_recovery_generation(const struct mr_recovery *recovery);

/**
 * All partitions of the directory that are not adopted have been through mr_recovery_partition(): write the checkpoint, so that entries of
 * the old journals never again count for them. Before the first append anywhere in the directory. @return 0; -EIO; -ENOSPC
 */
int mr_recovery_checkpoint(struct mr_recovery *recovery, struct millrace_error *err) MR_MUST_USE;

/**
 * Everything recovered is safe elsewhere: retire the journals that were there at open (renamed to `journal-spare-N` for reuse, which by
 * itself ends their life: the scan goes by name; then their headers are wiped). Journals are kept while a partition is offline that may
 * need them for its repair. After mr_recovery_checkpoint(). @return 0; -EIO
 */
int mr_recovery_retire(struct mr_recovery *recovery, struct millrace_error *err) MR_MUST_USE;
void mr_recovery_close(struct mr_recovery *recovery);

/**
 * The same for a start that adopted everything and so opened no recovery: journals of generations before this one. Cold.
 * @return 0; -EIO
 */
int mr_journals_retire(struct mr_disk *disk, const char *directory, uint64_t before_generation, struct millrace_error *err) MR_MUST_USE;

/** Keep exactly so many spares of this size, so that the next start need not write one: makes what is missing, removes what is too much. Slow. */
int mr_journal_spares(struct mr_disk *disk, const char *directory, uint32_t wanted, uint64_t bytes, struct millrace_error *err) MR_MUST_USE;

/**
 * Create (or take a spare for) the journal file of a reactor for this start: allocated (zeroed, when there is time for it), block 0
 * written, file and directory synced. @param journal filled in but for the staging memory
 */
int mr_journal_create(struct mr_disk *disk, const char *directory, uint32_t reactor, uint64_t generation, uint64_t bytes, uint64_t salt,
                      struct mr_log_journal *journal, struct millrace_error *err) MR_MUST_USE;

/**
 * The segments of a partition directory that begin below an offset, by name, size and sidecar header, without reading their batches: for
 * adoption, where memory has the truth about the tail.
 * @param segments set to an array by base offset, the caller's to free(); NULL when there is none. next_offset is the next one's base
 *                 (before_offset for the last), max_timestamp_ms that of the last batch; chain is 0
 * @return 0; -EIO; -EBADMSG (a sidecar is missing or its header is damaged); -ENOMEM
 */
int mr_recovery_segments(struct mr_disk *disk, const char *partition_path, uint64_t before_offset, struct mr_log_segment **segments,
                         uint32_t *count, struct millrace_error *err) MR_MUST_USE;

/**
 * Cut a segment's two files to their valid ends, at a roll or a clean stop: durably, and so that power may go at any moment although the
 * last block of each is written again by the file system. The only way to do it; a bare truncate may cost the last block.
 * @return 0; -EIO, -ENOSPC; -EBADMSG (the files are shorter than that, or no segment)
 */
int mr_segment_cut(struct mr_disk *disk, const char *partition_path, uint64_t base_offset, uint64_t data_bytes, uint64_t side_bytes,
                   struct millrace_error *err) MR_MUST_USE;

/** At a clean stop, when every log has drained: write `clean-shutdown`. */
struct mr_clean_partition {
    const char *name; /* `<topic>-<partition>` */
    struct mr_uuid topic_id;
    uint32_t generation;
    uint64_t log_start, next_offset;
};
int mr_recovery_mark_clean(struct mr_disk *disk, const char *directory, const struct mr_clean_partition *partitions, uint32_t count,
                           struct millrace_error *err) MR_MUST_USE;

/**
 * Check the CRCs of an extent's batches alone, without what comes before: most of the work of adopting it, and several threads may do it for
 * several extents at once. Pure. Foreign bytes are read with care.
 * @param log_end head->log_end: what begins there or behind it was not published
 * @return position in the segment up to which batches are whole and have good CRCs; 0: not an extent
 */
uint64_t mr_adopt_check_extent(const struct mr_extent_header *extent, uint64_t log_end);

/**
 * Adopt what a daemon that died left in memory: check the live extents of a partition (mapped by the caller), oldest first, from the first
 * to head->log_end: headers, CRC of every batch, contiguity; rebuild the side streams' chain; rebuild producers from the first extent's
 * snapshot. Pure: touches only the memory it is given.
 * @param extents sorted by sequence, contiguous, as the head's directory names them
 * @param checked_ends what mr_adopt_check_extent() said of each, so that it is not done again; NULL: nothing was checked yet
 * @return 0 with recovered filled (arrays from the allocator: mr_adopt_release()); -EBADMSG: not intact, recover from disk instead with
 *         expected_end = head->durable; what lies between is lost if the memory was the only copy, and then the partition is offline
 */
int mr_adopt_partition(const struct mr_head_partition *head, const struct mr_uuid *topic_id, uint32_t partition, const struct mr_uuid *boot_id,
                       const struct mr_log_live_extent *extents, uint32_t extent_count, const uint64_t *checked_ends,
                       const struct mr_allocator *allocator, struct mr_log_recovered *recovered, struct millrace_error *err) MR_MUST_USE;
void mr_adopt_release(const struct mr_allocator *allocator, struct mr_log_recovered *recovered);

#endif
