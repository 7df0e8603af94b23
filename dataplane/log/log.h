/* SPDX-License-Identifier: Apache-2.0 */
/* The log of one reactor: partitions, their extents and segments, and the commits that make them durable. Sans I/O: appends write into
 * memory that was handed in; mr_log_step() takes events and the time and gives actions, which the reactor (or the simulator) carries
 * out. No clock, file, thread, allocation or random source is reached from here but through struct mr_log_options.
 *
 * A partition has two append-only byte streams per segment: data (record batches, the .log file) and side (sidecar entries). Both grow in
 * the tail extent. How they become durable, per partition:
 *
 *   in place <= durable <= committing <= end          (positions in the data stream; the side stream moves along)
 *
 *   small commit   the new bytes of both streams [committing, end) go into the reactor's next journal commit: one write for all partitions
 *   large commit   whole blocks [in place, floor4096(end)) are written to the segment files, straight from the extent, and the rest,
 *                  [floor4096(end), end), goes into the journal commit of the same group; then in place = floor4096(end)
 *
 *  I1  An in-place write covers a block with durable bytes only while all of those bytes are in a live, completed journal commit
 *      (`floor_lsn` != 0), or the block is written for the first time. After recovery a partition's tail block is only in place: its
 *      first commit puts the whole tail block into the journal, and in-place writes wait until that is done.
 *  I2  A journal position is reused only when no partition's floor_lsn is at or below it. A partition that holds the tail back is logged again
 *      in full (its bytes from `in place` on, which are < MR_LOG_INPLACE_BYTES, or by a large commit).
 *  I3  Commits complete in order: what a commit made durable counts when it and all before it have completed.
 *  I4  A segment's file is written only after MR_LOG_EVENT_SEGMENT said that it exists durably and how far it is allocated.
 *  I5  visible moves with one release store: to log_end at `leader`, to durable at `disk`.
 *  I6  After a write failed, the directory is offline for good: nothing there is acknowledged again (D3).
 *  I7  log_start moves in the journal (mark entry, completed) before a segment file is deleted.
 *
 * Threads: everything by the owner reactor's thread, after mr_log_init(). */
#ifndef MR_DATAPLANE_LOG_LOG_H
#define MR_DATAPLANE_LOG_LOG_H

#include <stdbool.h>

#include "drivers/disk/disk.h"
#include "shm/abi/extent.h"
#include "shm/abi/head.h"
#include "shm/batch/batch.h"
#include "shm/segment/index.h"

#define MR_LOG_DIRECTORIES_MAX 16u
#define MR_LOG_INPLACE_BYTES   (64u << 10) /* more than this not in place: the next commit of the partition is a large one */
#define MR_LOG_COMMITS_MAX     8u          /* commits in flight per journal */
#define MR_LOG_RUNS            64u         /* R16: runs remembered per producer */

struct mr_log;
struct mr_partition;
struct mr_producer;

/** Cold memory for partitions and producers. The real one is malloc; the simulator's may refuse. */
struct mr_allocator {
    void *context;
    void *(*allocate)(void *context, size_t bytes); /* zeroed, 64-byte aligned, or NULL */
    void (*release)(void *context, void *memory);
};

struct mr_log_journal {
    int32_t file; /* open for burst writes, its block 0 written and durable */
    uint64_t bytes;
    uint64_t salt;
    uint8_t *staging; /* staging_bytes of block-aligned memory for commits in flight; >= 2 MiB in production */
    uint64_t staging_bytes;
};

struct mr_log_options {
    uint32_t reactor;
    uint32_t directory_count; /* log.dirs; journals one each */
    struct mr_log_journal journal[MR_LOG_DIRECTORIES_MAX];
    struct mr_allocator allocator;  /* called at add, for producers, and in a step only when a table grows or a segment rolls */
    uint64_t random_seed;         /* for segment salts */
    uint64_t flush_ns;            /* flush.ms: how long `leader` bytes may stay at risk */
    uint64_t mark_ns;             /* idle time after which a commit's mark is written by itself, 100 ms */
    uint64_t producer_expiration_ms; /* a producer's state is forgotten when it was not used for so long; 0: never */
    uint64_t commit_bytes_max;    /* bytes in one commit group, in place and journal together; 4 MiB */
    /* Of a partition's tail, in bytes of batches: so much stays for readers while memory that was asked for is late, even if appends wait for it;
     * 256 MiB. There is no such floor where memory was refused, now or within the last second, or the directory is full: the oldest extent is reused
     * then however little is left. Nor for an idle partition, which gives back all but its tail. Extents of a daemon that died are not reused,
     * only given back: all of them leave with the first. */
    uint64_t hot_bytes_min;
    uint32_t hot_slots; /* so many slots in a row that fill fast are followed by a hugepage extent; 80, some 1.5 MiB: one now and then is no stream */
    uint32_t files_max; /* so many partitions' tail segments stay open, two files each; beyond, those that rest are closed. 0: no bound */
};

/** What a partition is, and what recovery or adoption found of it. Filled by recover.h / adopt.h or zeroed for a new one. */
struct mr_log_segment {
    uint64_t base_offset;
    uint64_t next_offset;   /* base offset of the next segment, or the end */
    uint64_t bytes;         /* valid bytes of the .log */
    uint64_t side_bytes;    /* valid bytes of the .sidecar */
    uint64_t inplace_bytes, side_inplace_bytes; /* of those, durable in the files themselves; all of them after recovery from disk */
    uint32_t salt;
    uint32_t chain;         /* after its last batch */
    uint32_t cut_position;  /* where the current generation's cut left this segment, for journal entries; 0: it began within the generation */
    int64_t max_timestamp_ms;
    bool max_is_known;      /* else there may be greater ones */
};

struct mr_log_partition_options {
    struct mr_uuid topic_id;
    uint32_t partition;
    uint32_t directory;             /* index of its log directory */
    uint32_t durability;            /* MR_DURABILITY_LEADER or _DISK */
    uint32_t leader_epoch;
    uint64_t segment_bytes;
    uint64_t retention_ms;          /* 0: none. A segment goes when its newest record is older; of the tail only the records go, not the file */
    uint64_t retention_bytes;       /* UINT64_MAX: none. The oldest segment goes when the others are still that large, as in Kafka */
    uint32_t batch_bytes_max;       /* max.message.bytes: no batch is larger */
    uint32_t slot_bytes, extent_bytes;
    struct mr_uuid boot_id;
    struct mr_head_partition *head; /* shared memory; written by the log from now on */
    void *context;                  /* the reactor's own */
};

struct mr_log_live_extent {
    struct mr_extent_header *memory; /* fresh: file_id and bytes set, the rest of any value */
    bool slot;
    uint64_t sequence; /* FREE_EXTENT: what readers' pins name it by */
    bool adopted; /* left by a daemon that died: never reused, only given back (its pins are unknown) */
};

struct mr_log_producer_state {
    int64_t producer_id;
    int64_t last_offset;
    int64_t active_ms; /* wall clock, no earlier than its last append; negative: unknown, counts from this start on */
    int32_t last_sequence; /* mod 2^31 */
    int16_t epoch;
};

/** All arrays are the caller's and are copied. */
struct mr_log_recovered {
    uint32_t generation;
    uint64_t log_start;
    uint64_t next_offset;          /* end of the log */
    uint64_t durable_offset;       /* recovery: = next_offset; adoption: head->durable */
    uint32_t segment_count;        /* oldest first; the last one is the tail segment; 0: empty log */
    const struct mr_log_segment *segments;
    uint32_t producer_count;
    const struct mr_log_producer_state *producers;
    /* After recovery from disk: the tail segment's last partial blocks as they stand in place, copied by mr_log_partition_add() into
     * the first extent when it comes. */
    const uint8_t *data_block, *side_block; /* bytes mod 4096 of each, NULL when that is 0 */
    /* After adoption: live extents, oldest first, the last one the tail. Segments that have a live extent and are not the last one are taken
     * as not closed yet: their files are asked for and closed (again); those without one were closed. */
    uint32_t extent_count;
    const struct mr_log_live_extent *extents;
    bool offline;                  /* corrupt: serve nothing, change nothing */
};

enum mr_log_event_kind {
    MR_LOG_EVENT_WRITE = 1,        /* a write completed: tag, result */
    MR_LOG_EVENT_EXTENT,           /* memory for the partition: extent.memory, extent.slot (answers WANT_EXTENT); NULL: refused for now, ask later.
                                    * Who grants has set header->file_id and header->bytes (slot_bytes or extent_bytes); keep both */
    MR_LOG_EVENT_EXTENT_FREE,      /* nobody pins this one of the partition's extents any more: it may be reused (answers FREE_EXTENT) */
    MR_LOG_EVENT_SEGMENT,          /* the segment's files exist: base_offset, file, side_file, allocated_bytes (answers WANT_SEGMENT and WANT_ALLOCATE) */
    MR_LOG_EVENT_SEGMENT_FAILED,   /* result: -ENOSPC (refuse produce until space; ask again later), else the directory is offline */
    MR_LOG_EVENT_SEGMENT_CLOSED,   /* cut to its valid end and synced (answers CLOSE_SEGMENT) */
};

struct mr_log_event {
    uint32_t kind;
    int32_t result;
    uint64_t tag;
    struct mr_partition *partition;
    struct mr_log_live_extent extent;
    uint64_t base_offset;
    int32_t file, side_file;
    uint64_t allocated_bytes;
};

enum mr_log_action_kind {
    MR_LOG_ACTION_WRITE = 1,       /* hand `write` to the disk driver; answered by EVENT_WRITE */
    MR_LOG_ACTION_WANT_EXTENT,     /* slot: a slot is enough; recycle first, then the pool. Asked ahead of need */
    MR_LOG_ACTION_FREE_EXTENT,     /* taken out of the directory: fence, look at the pins, answer EXTENT_FREE when nobody reads it */
    MR_LOG_ACTION_GIVE_EXTENT,     /* not needed any more: back to the pool (a slot), or unlink (an extent, or an adopted one) */
    MR_LOG_ACTION_WANT_SEGMENT,    /* create or open base_offset's files durably, .log allocated to >= bytes, .sidecar to >= side_bytes */
    MR_LOG_ACTION_WANT_ALLOCATE,   /* allocate them further, likewise: no write may fail for want of space */
    MR_LOG_ACTION_REST_SEGMENT,    /* close its files as they are, before any later WANT_SEGMENT for it; no write to them is in flight. Not answered */
    MR_LOG_ACTION_CLOSE_SEGMENT,   /* cut .log to `bytes` and .sidecar to `side_bytes`, sync, write its producer snapshot when given, close */
    MR_LOG_ACTION_DELETE_SEGMENT,  /* unlink base_offset's files, if they are there (log_start is durable already) */
    MR_LOG_ACTION_ADVANCED,        /* the partition's durable offset moved: acks may go out */
    MR_LOG_ACTION_OFFLINE,         /* directory (partition NULL) or partition went offline: result says why. Say it once, fail its frames */
    MR_LOG_ACTION_SECURED,         /* everything that was adopted or recovered is durable through this start's journals: old journals may go */
};

struct mr_log_action {
    uint32_t kind;
    int32_t result;
    struct mr_partition *partition;
    uint32_t directory;
    bool slot;
    struct mr_log_live_extent extent;
    struct mr_disk_write write;
    uint64_t base_offset;
    uint32_t salt;
    uint64_t bytes, side_bytes;
    uint64_t next_offset; /* CLOSE_SEGMENT: base offset of the next one; its producer snapshot is named by it */
    /* CLOSE_SEGMENT: producer state at the end of the segment, in the partition's own memory until SEGMENT_CLOSED */
    const struct mr_log_producer_state *producers;
    uint32_t producer_count;
    const struct mr_index_point *index; /* likewise, for its two indexes; none of a tail, which grows on */
    uint32_t index_count;
};

/** @param log set; freed by mr_log_release() through the same allocator. @return 0; -ENOMEM; -EINVAL */
int mr_log_init(struct mr_log **log, const struct mr_log_options *options) MR_MUST_USE;
void mr_log_release(struct mr_log *log);

/**
 * Take a partition over: continue where `recovered` (NULL: new, empty) ends. Recovered ones are all added before the first mr_log_step():
 * SECURED means them.
 * @return 0; -ENOMEM; -ENOSPC (more partitions than the directory's journal can keep marks of: journal bytes / 16 / 88)
 */
int mr_log_partition_add(struct mr_log *log, const struct mr_log_partition_options *options, const struct mr_log_recovered *recovered,
                         struct mr_partition **partition) MR_MUST_USE;

/**
 * Forget a partition (its topic was deleted, or everything is durable and it moves). Its memory (live, or named ahead in the directory) is
 * the caller's again, to be unlinked: readers may hold it. Unanswered events of the partition must be dropped.
 *
 * @return 0; -EAGAIN: writes from its memory are in flight; it takes no more appends: step, then call again
 */
int mr_log_partition_remove(struct mr_log *log, struct mr_partition *partition) MR_MUST_USE;

/**
 * All memory that is the partition's now: live extents and those that wait until nobody reads them, for when it is removed.
 * @param extents NULL: only count. @return how many
 */
uint32_t mr_partition_extents(const struct mr_partition *partition, struct mr_log_live_extent *extents);

void *mr_partition_context(const struct mr_partition *partition);

/** Of its lineage, for the note of a clean stop. */
uint32_t mr_partition_generation(const struct mr_partition *partition);

/**
 * Find or make the state of a producer in this partition (cold; at open).
 * @param epoch a higher one than known fences the older; a lower one: -EPERM
 * @param producer stable, and not forgotten, until mr_producer_release(), once for each call; the partition's removal ends it too
 */
int mr_partition_producer(struct mr_partition *partition, int64_t producer_id, int16_t epoch, struct mr_producer **producer) MR_MUST_USE;

/** Used no more; its state is kept for producer_expiration_ms from now on at least. @param producer NULL is accepted */
void mr_producer_release(struct mr_producer *producer);

enum mr_sequence_verdict {
    MR_SEQUENCE_NEXT = 0,
    MR_SEQUENCE_DUPLICATE = 1,    /* in the log already (perhaps not committed): mr_producer_duplicate() */
    MR_SEQUENCE_OUT_OF_ORDER = 2,
};

/** Judge a frame's sequence against the last one appended or in the open batch, mod 2^31 (R16). The first sequence of an unknown producer is accepted. Hot. */
enum mr_sequence_verdict mr_producer_judge(const struct mr_producer *producer, uint64_t sequence);

/** What the reactor waits for next, mod 2^31 (for OUT_OF_ORDER answers); -1: anything. */
int64_t mr_producer_next_sequence(const struct mr_producer *producer);

/**
 * Where a duplicate was stored. @param base_offset its offset, or -1 when it is older than the runs remembered
 * @param end_offset acknowledge it when this offset is committed
 */
void mr_producer_duplicate(const struct mr_partition *partition, const struct mr_producer *producer, uint64_t sequence, int64_t *base_offset,
                           uint64_t *end_offset);

/**
 * Begin a batch at the tail. None may be open.
 * @param producer NULL for records without idempotence
 * @param first_bytes size of the first record in batch form (mr_batch_record_bytes()), so that the extent is changed before and not amid
 * @return 0; -EAGAIN (no memory yet, or draining: leave the frame in its ring); -ENOSPC; -EIO (offline); -EMSGSIZE (over batch_bytes_max,
 *         batch header included, or larger than an extent can hold). Hot.
 */
int mr_partition_begin(struct mr_partition *partition, struct mr_producer *producer, uint64_t first_sequence, uint64_t first_bytes);

/** What begin would refuse whatever came first, the producer's sequence included: -EIO, -EMSGSIZE; 0: something else decides. */
int mr_partition_refuses(const struct mr_partition *partition, uint64_t first_bytes);

/** The open batch, to add records with mr_batch_add*(); NULL when none is open. It refuses records beyond room or batch_bytes_max. */
struct mr_batch_writer *mr_partition_writer(struct mr_partition *partition);

struct mr_appended {
    int64_t base_offset;
    uint64_t end_offset; /* committed when the watermark reaches this */
    uint32_t count;
};

/** Close the open batch: it becomes part of the log; at `leader` visible at once. Hot. */
void mr_partition_finish(struct mr_partition *partition, struct mr_appended *appended);

/** Offsets below the result are committed as the topic's durability says, and below *durable on disk. Hot. */
uint64_t mr_partition_committed(const struct mr_partition *partition, uint64_t *durable);
uint64_t mr_partition_end(const struct mr_partition *partition);

/** An append waits for memory that was refused, and there is nothing to reuse: what readers pin is what is lacking. */
bool mr_log_is_starved(const struct mr_log *log);

/** For a cold reader: the segment that holds `offset`, and how far it may be read from the file. @return 0; -ERANGE (below log start); -ENOENT */
int mr_partition_find_segment(const struct mr_partition *partition, uint64_t offset, struct mr_log_segment *segment, uint64_t *inplace_position,
                              uint64_t *inplace_offset);

/**
 * Of the segments from `offset` on, the first that may hold a record of this time or a later one. Cold.
 * @param hint set to the last point known in it before which all is older; max_offset UINT64_MAX: none, as of every closed segment
 * @return 0; -ERANGE (below log start); -ENOENT
 */
int mr_partition_find_time(const struct mr_partition *partition, uint64_t offset, int64_t time_ms, struct mr_log_segment *segment,
                           struct mr_index_point *hint);

/** Delete-records: offsets below go, durably, before EVENT... ADVANCED tells that log_start in the head has moved. @return 0; -ERANGE */
int mr_partition_trim(struct mr_partition *partition, uint64_t before_offset);

/** Change what may change while it runs; in units and with bounds as in mr_log_partition_options. A batch that is open stays as it was begun. */
void mr_partition_configure(struct mr_partition *partition, uint64_t segment_bytes, uint64_t retention_bytes, uint64_t retention_ms,
                            uint32_t batch_bytes_max);

/**
 * The time for what is appended from now on, once a pass: flush_ns and idleness count from it. Without it appends are as old as the last step,
 * which after a pause is long ago. Never earlier than before. Hot.
 */
void mr_log_time(struct mr_log *log, uint64_t now_ns);

/**
 * One step: take events, start commits that are due, ask for what will be needed.
 * @return actions filled in; when it equals max, call again (events already taken: count 0). Hot, O(dirty partitions).
 */
uint32_t mr_log_step(struct mr_log *log, uint64_t now_ns, uint64_t wall_ms, const struct mr_log_event *events, uint32_t count,
                     struct mr_log_action *actions, uint32_t max);

/** Clean stop: from now on everything is brought in place; true when all is in place and nothing is in flight. Keep stepping until then. */
bool mr_log_drain(struct mr_log *log);

/** When the next step has something to do by itself: a deadline in ns, 0 at once, UINT64_MAX never. */
uint64_t mr_log_next_ns(const struct mr_log *log);

struct mr_log_counters {
    uint64_t batches, records, bytes;            /* appended */
    uint64_t commits, journal_bytes, inplace_bytes, relogged_bytes;
    uint64_t at_risk_bytes;                      /* appended, not durable */
    uint64_t extents_rolled, segments_rolled, segments_deleted;
    uint64_t producers;                          /* whose state is kept now */
    uint64_t append_refused;                     /* -EAGAIN: waited for memory */
};
const struct mr_log_counters *mr_log_counters(const struct mr_log *log);

#endif
