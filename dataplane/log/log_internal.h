/* SPDX-License-Identifier: Apache-2.0 */
/* State of the log core, shared by its files; nobody else includes this.
 *
 *   log.c           init, partitions, step: events in, actions out     producer.c      R16
 *   append.c        begin, finish: the hot path                        extent_roll.c   memory: layout, opening, asking ahead, recycling
 *   segment_roll.c  files: want, allocate, close, retention, trim      commit.c        when to commit, completion in order, reclaim
 *   journal_write.c what a commit takes of a partition, and its bytes  list.h          intrusive lists and timers
 *
 * A byte position has five stations per (segment, stream):
 *
 *   placed <= placing <= end    in place: completed / writes in flight or completed       (block multiples, but see J)
 *   placing <= committing <= end  in the journal or in place: commits in flight or completed
 *
 *  J  placing in mid-block means that the last block is durable in place and nowhere else: after recovery, or when it was brought in place
 *     whole (settled) to free the journal. The next commit logs that block from its start (the guard) and moves placing back to it; no
 *     in-place write of the segment starts before that commit has completed (I1).
 *  E  Bytes [placing, end) are in live extents' memory (after J's move back: also the block's first bytes), so any commit can take them.
 *  F  floor_lsn of a partition: no commit below it holds anything of the partition that is needed. It moves only when a commit that holds
 *     everything still needed (`full`) completes. */
#ifndef MR_DATAPLANE_LOG_INTERNAL_H
#define MR_DATAPLANE_LOG_INTERNAL_H

#include "dataplane/log/journal.h"
#include "dataplane/log/list.h"
#include "dataplane/log/log.h"
#include "shm/base/atomics.h"
#include "shm/base/random.h"
#include "shm/segment/index.h"
#include "shm/segment/sidecar.h"

#define MR_LOG_MS_NS             1000000ull
#define MR_LOG_SLOT_FAST_NS      (100 * MR_LOG_MS_NS)  /* a slot that fills within this counts for options.hot_slots */
#define MR_LOG_IDLE_NS         5000000000ull
#define MR_LOG_KEEP_NS         60000000000ull          /* an idle partition gives its memory back after this, or MR_LOG_IDLE_NS when others lack some */
#define MR_LOG_KEEP_SLOTS_NS     (500 * MR_LOG_MS_NS)  /* slots behind the tail are kept so long by a partition that lives in them */
#define MR_LOG_BRIDGE_ROOM       16u                   /* of the directory, for extents: the slots before them stay, for readers that are behind */
#define MR_LOG_ADOPTED_NS        30000000000ull        /* after so long every reader has attached again, or has given up */
#define LOG_LEAVING_KEPT         2u
#define MR_LOG_STARVED_NS        (200 * MR_LOG_MS_NS)
#define MR_LOG_EXPIRE_LOOKS      24 /* in the time after which a producer is forgotten */
#define MR_LOG_IDLE_CHECK_NS     (250 * MR_LOG_MS_NS)
#define MR_LOG_REFUSED_RETRY_NS  (10 * MR_LOG_MS_NS)   /* ask again for memory that was refused */
#define MR_LOG_LIMITED_NS        (1000 * MR_LOG_MS_NS) /* after memory was refused, the partition lives on its own for so long */
#define MR_LOG_SPACE_RETRY_NS    (1000 * MR_LOG_MS_NS) /* ask again for disk space */
#define MR_LOG_GATHER_BYTES      (256u << 10)          /* so much waiting, for each that is in flight, starts another commit */
#define MR_LOG_GATHER_BYTES_MAX  (1ull << 20)
#define MR_LOG_STREAM_BYTES      (1u << 20)            /* a `leader` partition with so much waiting does not wait for flush_ns */
#define MR_LOG_WRITES_MAX        128u                  /* of a commit */
#define MR_LOG_PARTS_MAX         1024u                 /* segments in a commit */
#define MR_LOG_MILESTONES        16u                   /* per extent: batch boundaries at which a commit may end */
#define MR_LOG_EXTENTS_MAX       (MR_HEAD_DIRECTORY_COUNT - 2) /* live, per partition */
#define MR_LOG_ALLOCATE_BYTES    (64ull << 20)         /* a segment file grows in such steps under load */
#define MR_LOG_ALLOCATE_BYTES_MAX (256ull << 20)       /* in larger ones, up to this, while a step lasts less than MR_LOG_ALLOCATE_FAST_NS: */
#define MR_LOG_ALLOCATE_FAST_NS  (100 * MR_LOG_MS_NS)  /* each takes the disk some 10 ms, and half a step is all that is ahead */
#define MR_LOG_RETAIN_NS         (60000 * MR_LOG_MS_NS) /* between looks for what is too old */
#define MR_LOG_RETAIN_NEAR_NS    (100 * MR_LOG_MS_NS)   /* what is due so soon is looked at together */
#define MR_LOG_ALLOCATE_SLOT_BYTES (1ull << 20)        /* and in such ones while the partition lives in slots */
#define MR_LOG_INDEX_BYTES       (64u << 10)           /* so far apart are the points of an index, or a milestone's distance */
#define MR_LOG_SIDE_SHARE        16u                   /* a sidecar is allocated to this part of its segment, or more when it needs it */
#define MR_LOG_SEGMENT_BYTES_MAX (1ull << 31)          /* positions are 32 bits in the journal and the sidecar */
#define MR_LOG_DELTA_MAX         0xe0000000ull         /* offsets per segment: deltas are 32 bits in the sidecar */

struct log_stream {
    uint64_t placed, placing, committing, end;
};

enum log_file_state {
    LOG_FILE_NONE,   /* not asked for */
    LOG_FILE_WANTED, /* the action is to be emitted */
    LOG_FILE_ASKED,
    LOG_FILE_READY,
    LOG_FILE_NO_SPACE, /* to be asked for again */
    LOG_FILE_RESTING,  /* READY, but they are to be given back */
};

/* States: open (the tail) -> rolled [publish] -> placed whole, closing [complete] -> closed [SEGMENT_CLOSED] -> gone [retention, trim]. */
struct log_segment {
    uint64_t base_offset;
    uint64_t next_offset; /* when rolled */
    struct log_stream data, side;
    uint32_t salt, cut_position;
    int64_t max_timestamp_ms;
    bool max_is_known; /* else some record in it may be later: recovery looked at its last batch alone */
    uint64_t max_offset, last_position; /* of the batch that has it: its last offset; of the last batch: where it begins */
    struct mr_index_point *index;       /* index_points.c */
    uint32_t index_count, index_room;
    bool index_whole; /* from the first batch on */
    uint64_t guard_commit; /* J: in-place writes wait for this commit; 0: none */
    uint64_t entry_commit; /* the commit that last took bytes, and where its entry began */
    uint64_t entry_data_from, entry_side_from;
    int32_t file, side_file;
    uint64_t allocated_bytes, wanted_bytes;
    uint64_t side_allocated_bytes, side_wanted_bytes;
    uint8_t file_state; /* enum log_file_state */
    bool rolled, closing, closed;
    bool close_pending; /* the action is to be emitted */
    bool named;         /* its files exist, by an event of this start or an earlier one's */
    bool rested;        /* they were given back, perhaps with room allocated beyond the end */
    bool reopened;      /* for a clean stop, see open_files.c */
    bool no_space;      /* the last request for room failed for want of disk space; also while it is asked again */
    struct mr_log_producer_state *snapshot; /* at its end, for CLOSE_SEGMENT; NULL: none */
    uint32_t snapshot_count;
    struct log_segment *next_deleted;
};

struct log_milestone { /* a batch ends here */
    uint64_t data, side, offset;
};

struct log_extent {
    struct mr_extent_header *memory;
    uint8_t *data, *side; /* windows */
    uint64_t sequence;
    uint64_t segment_base, base_offset;
    uint64_t data_window, side_window; /* positions that the windows begin at */
    uint64_t data_room, side_room;     /* bytes of the windows */
    uint64_t data_end, side_end, end_offset; /* when sealed */
    uint64_t opened_ns;
    bool slot, adopted, opened;
    uint32_t milestone_count;
    struct log_milestone milestone[MR_LOG_MILESTONES];
};

enum log_leaving_state {
    LOG_LEAVING_TO_FREE = 1, /* FREE_EXTENT is to be emitted */
    LOG_LEAVING_ASKED,
    LOG_LEAVING_TO_GIVE, /* GIVE_EXTENT is to be emitted */
};

struct log_leaving {
    struct mr_log_live_extent extent;
    uint32_t state;
    bool late; /* readers hold it: nothing waits for it any more */
};

struct log_run { /* sequences [sequence, +count) lie at offsets [offset, +count) */
    uint64_t offset;
    uint32_t sequence, count;
};

struct mr_producer {
    struct list_node recent; /* mr_partition.producers: most recent first */
    struct mr_partition *partition;
    const struct mr_batch_writer *open; /* the batch that takes records of this producer now */
    struct mr_producer *next_hash;
    int64_t producer_id;
    int64_t last_offset;
    int64_t active_ms; /* X: when it was last used, or later; -1: since the last look */
    uint32_t users;    /* of mr_partition_producer() */
    uint32_t next_sequence; /* mod 2^31 */
    int16_t epoch;
    bool known; /* next_sequence means something */
    uint32_t run_count, run_next;
    struct log_run run[MR_LOG_RUNS];
};

enum log_queue {
    LOG_QUEUE_NONE,
    LOG_QUEUE_LATER, /* `leader`: by flush_ns */
    LOG_QUEUE_NOW,
};

enum log_pending { /* actions of a partition to be emitted */
    LOG_PENDING_WANT = 1,
    LOG_PENDING_LEAVING = 2,
    LOG_PENDING_SEGMENT = 4,
    LOG_PENDING_DELETE = 8,
    LOG_PENDING_ADVANCED = 16,
    LOG_PENDING_OFFLINE = 32,
    LOG_PENDING_BRIDGE = 64,
};

struct mr_partition {
    /* what an append touches */
    struct mr_batch_writer writer;
    struct mr_producer *writer_producer; /* of the open batch */
    bool writer_open, rolling;           /* rolling: the open batch is the first of `next_extent` */
    bool writer_made_known;
    bool disk;                           /* durability: disk; else visible at the append */
    bool blocked;                        /* cannot commit now: an event will queue it again */
    uint8_t queue;                       /* enum log_queue */
    int32_t refuse;                      /* -errno for appends; 0 */
    uint32_t chain;
    uint32_t batch_bytes_max;
    uint8_t *data_next, *data_end, *side_next, *side_end; /* free room of the tail extent; data_end also keeps to segment_bytes */
    uint8_t *data_mark, *side_mark;                       /* mr_log_milestone() is due there */
    struct log_segment *tail; /* segment; NULL: none yet */
    uint64_t end_offset;
    uint64_t durable_offset;
    uint64_t waiting_bytes; /* appended since the last commit took all */
    uint64_t last_append_ns;
    struct mr_head_partition *head;
    struct log_directory *directory;
    struct mr_log *log;

    /* the rest */
    struct list_node queued, marking, idle, refused, no_space, expiring, retaining, open, reopening, todo, all;
    uint32_t pending; /* enum log_pending */
    int32_t offline_result;
    void *context;
    struct mr_uuid topic_id, boot_id;
    uint32_t partition, leader_epoch, generation;
    uint64_t segment_bytes, retention_bytes, retention_ms;
    uint32_t slot_bytes, extent_bytes;

    struct log_extent *extent; /* ring by sequence */
    uint32_t extent_capacity;  /* power of two */
    uint64_t first_sequence, tail_sequence, last_sequence; /* live: [first, last]; opened: [first, tail], tail < first: none */
    struct log_leaving *leaving; /* extent_capacity of them */
    uint32_t leaving_count;
    bool want_asked, want_slot; /* WANT_EXTENT is out, and what it asks for */
    bool bridge_asked;          /* a slot is asked for besides, see bridge() */
    bool want_first;            /* an append waits for memory */
    bool slot_too_small; /* what is to be appended does not fit into one */
    bool want_refused;          /* the last answer was no: not before the timer, or until something else comes free */
    uint64_t limited_ns;        /* when memory was last refused, or the directory was full; 0: never */
    uint32_t fast_slots;        /* in a row, up to the tail */
    bool hot;                   /* hugepage extents rather than slots */
    bool idle_switch;           /* a slot is asked for to retire a hugepage tail */
    struct log_segment *next_segment; /* made at begin, becomes the tail at finish */
    bool rolling_segment;

    struct log_segment **segment; /* by offset; the last is the tail */
    uint32_t segment_count, segment_capacity, open_first; /* segments before open_first are closed */
    struct log_segment *deleted; /* DELETE_SEGMENT is to be emitted */
    uint64_t segments_bytes;     /* of all but the tail */
    uint64_t allocate_bytes, allocate_ns; /* the step, while hot, and when room was last asked for; 0: not yet */
    uint8_t *recovered_data, *recovered_side; /* the tail blocks, until the first extent comes */

    uint64_t log_start, log_start_logged, log_start_next; /* durable, in an entry, wanted */
    uint64_t mark_segment, mark_position, mark_offset; /* durable */
    uint64_t mark_logged, mark_durable;                /* mark_offset of the last entry built, of the last one completed */
    uint64_t mark_due_ns, idle_due_ns, refused_due_ns, no_space_due_ns, expiring_due_ns, retaining_due_ns, dirty_ns;
    bool mark_due, place; /* a commit shall: write a mark; bring what it can in place */
    bool unsecured, removed;
    uint64_t secure_offset;
    uint32_t commits_in_flight;

    struct mr_partition *floor_next, **floor_previous; /* bucket of floor_lsn */
    uint64_t floor_lsn;                                /* F; 0: nothing in the journal */
    uint64_t moving_commit;                            /* the commit in flight that will move the floor; 0: none */
    uint64_t live_bytes;                               /* a full entry would take */

    struct list_node producers; /* head */
    struct mr_producer **producer_table;
    uint32_t producer_count, producer_buckets;
};

struct log_part { /* a segment's share of a commit */
    struct mr_partition *partition;
    struct log_segment *segment; /* NULL: there is none yet */
    uint64_t data_to, side_to, offset_to; /* committed; offset_to 0: nothing new */
    uint64_t data_placed, side_placed;
    uint64_t log_start, mark_offset, new_bytes;
    bool full; /* F; on the last part of the partition */
};

struct log_commit {
    uint64_t number; /* from 1 */
    uint64_t lsn, floor_lsn, durable_lsn;
    uint32_t skipped_bytes;
    uint64_t staging_end;
    uint32_t write_count, write_next, writes_left; /* all; to be emitted; not completed */
    uint32_t part_count;
    struct log_part *part; /* MR_LOG_PARTS_MAX */
    struct mr_disk_write write[MR_LOG_WRITES_MAX];
};

struct log_directory {
    struct mr_log *log;
    uint32_t index;
    struct mr_log_journal journal;
    uint64_t ring_bytes; /* journal.bytes without block 0 */
    uint64_t small_bytes_max, image_bytes_min;
    uint64_t live_bytes_max, guard_bytes_max, reserve_bytes; /* see commit.c */
    bool offline, offline_pending;
    bool stuck; /* building gave nothing: wait for an event */
    int32_t offline_result;

    struct list_node now, later; /* partitions to commit */
    uint64_t waiting_bytes;      /* of those in `now` */
    uint32_t partition_count;

    uint64_t next_lsn, tail_lsn, reclaim_lsn; /* tail: floors are at or above; reclaim: those below are being moved */
    uint64_t stated_lsn;                      /* the tail as the last completed commit says it: space below is reused */
    struct mr_partition **bucket;             /* by block of the ring: partitions with that floor */
    uint64_t live_bytes;
    uint64_t staging_next, staging_tail; /* only grow; place = mod staging_bytes */

    uint64_t commit_next, commit_first; /* numbers: [first, next) in flight */
    struct log_commit commit[MR_LOG_COMMITS_MAX];
};

struct mr_log {
    struct mr_log_options options;
    uint64_t now_ns, wall_ms;
    int64_t clock_ms; /* X: the wall clock of the first step, and the time since */
    uint64_t clock_ns;
    struct mr_random random;
    struct mr_log_counters counters;
    struct list_node all, todo;
    struct list_node marking, idle, refused, no_space, expiring, retaining; /* timers, each with a fixed period: in order of time */
    struct list_node open; /* partitions whose tail's files are open, see open_files.c */
    uint32_t open_count;
    struct list_node reopening; /* those that a clean stop opens again, when there is room; and how many it has open */
    uint32_t reopened_count;
    uint64_t lacked_ns;  /* when a partition was last refused memory; 0: never */
    uint64_t starved_ns; /* likewise, one in which an append waited for it */
    uint32_t unsecured;
    bool stepped, secured, draining, adopted;
    uint64_t began_ns; /* the first step */
    uint32_t directory_count;
    struct log_directory directory[];
};

static inline void *log_allocate(struct mr_log *log, uint64_t bytes)
{
    return log->options.allocator.allocate(log->options.allocator.context, (size_t)bytes);
}

static inline void log_free(struct mr_log *log, void *memory)
{
    if (memory != NULL)
        log->options.allocator.release(log->options.allocator.context, memory);
}

static inline struct log_extent *log_extent_at(const struct mr_partition *p, uint64_t sequence)
{
    return &p->extent[sequence & (p->extent_capacity - 1)];
}

static inline bool log_has_tail(const struct mr_partition *p)
{
    return p->tail_sequence >= p->first_sequence;
}

static inline struct log_commit *log_commit_at(struct log_directory *d, uint64_t number)
{
    return &d->commit[number % MR_LOG_COMMITS_MAX];
}

static inline uint64_t log_commits_in_flight(const struct log_directory *d)
{
    return d->commit_next - d->commit_first;
}

/* Adoption may find one stream in place to its end and the other not: new is what either has. */
static inline bool log_is_dirty(const struct log_segment *s)
{
    return s->data.end > s->data.committing || s->side.end > s->side.committing;
}

static inline uint64_t log_block(uint64_t position)
{
    return mr_align_down(position, MR_BLOCK_BYTES);
}

static inline bool log_mid_block(uint64_t position)
{
    return (position & (MR_BLOCK_BYTES - 1)) != 0;
}

/* log.c */
void mr_log_pend(struct mr_partition *p, uint32_t pending);
void mr_log_timer(struct list_node *timers, struct list_node *node, uint64_t *due_ns, uint64_t at_ns);
void mr_log_drain_tail(struct mr_partition *p);

/* Between two looks for producers to forget. */
static inline uint64_t mr_log_expire_look_ns(const struct mr_log *log)
{
    return mr_max_u64(log->options.producer_expiration_ms * MR_LOG_MS_NS / MR_LOG_EXPIRE_LOOKS, 10 * MR_LOG_MS_NS);
}

/* append.c */
void mr_log_milestone(struct mr_partition *p);
void mr_log_queue_now(struct mr_partition *p);

/* producer.c */
struct mr_producer *mr_log_producer_make(struct mr_partition *p, int64_t producer_id);
void mr_log_producer_append(struct mr_producer *producer, uint64_t base_offset, uint32_t base_sequence, uint32_t count);
void mr_log_producers_expire(struct mr_partition *p);
void mr_log_producers_release(struct mr_partition *p);
uint32_t mr_log_producers_snapshot(const struct mr_partition *p, struct mr_log_producer_state *states, uint32_t max);

/* extent_roll.c */
int mr_log_make_room(struct mr_partition *p, uint64_t need_bytes);
void mr_log_publish_roll(struct mr_partition *p);
void mr_log_tail_room(struct mr_partition *p);
void mr_log_want_memory(struct mr_partition *p);
void mr_log_memory_is_late(struct mr_partition *p);
void mr_log_take_memory(struct mr_partition *p, const struct mr_log_live_extent *extent);
void mr_log_memory_is_free(struct mr_partition *p, const struct mr_log_live_extent *extent);
void mr_log_idle(struct mr_partition *p);
int mr_log_adopt_extents(struct mr_partition *p, const struct mr_log_recovered *recovered);
void mr_log_extents_shrink(struct mr_partition *p);
int mr_log_extents_reserve(struct mr_partition *p, uint32_t count);
void mr_log_recycle(struct mr_partition *p, bool all);
void mr_log_publish_placed(struct mr_partition *p, const struct log_segment *s);
struct log_extent *mr_log_extent_of(const struct mr_partition *p, const struct log_segment *s, uint64_t position, bool side);

/* open_files.c: of the tail. still_rest before REST_SEGMENT is emitted: false if they were needed meanwhile */
void mr_log_files_opened(struct mr_partition *p);
void mr_log_files_needed(struct mr_partition *p, struct log_segment *s); /* bytes are to be brought in place which the journal took: open them again */
void mr_log_files_closed(struct mr_log *log, struct log_segment *s);
void mr_log_files_forgotten(struct mr_partition *p);
bool mr_log_files_still_rest(struct mr_partition *p, struct log_segment *s);

/* index_points.c: of the segment's last batch, if it is far enough from the point before, or the segment is complete */
void mr_log_index_note(struct mr_partition *p, struct log_segment *s);
void mr_log_index_free(struct mr_log *log, struct log_segment *s);

/* segment_roll.c */
struct log_segment *mr_log_segment_make(struct mr_partition *p, uint64_t base_offset);
int mr_log_segments_reserve(struct mr_partition *p);
void mr_log_segment_rolled(struct mr_partition *p, struct log_segment *s);
void mr_log_segment_push(struct mr_partition *p, struct log_segment *s);
void mr_log_segment_want(struct mr_partition *p, struct log_segment *s);
void mr_log_segment_event(struct mr_partition *p, const struct mr_log_event *event);
void mr_log_segment_placed(struct mr_partition *p, struct log_segment *s);
void mr_log_retain(struct mr_partition *p);
void mr_log_retain_later(struct mr_partition *p);
void mr_log_started(struct mr_partition *p, uint64_t log_start);
void mr_log_segment_free(struct mr_log *log, struct log_segment *s);
struct log_segment *mr_log_segment_by_base(const struct mr_partition *p, uint64_t base_offset);
bool mr_log_segment_is_closed(const struct mr_partition *p, uint64_t base_offset);

/* commit.c */
int mr_log_directory_init(struct mr_log *log, uint32_t index);
void mr_log_directory_release(struct log_directory *d);
bool mr_log_has_work(const struct mr_partition *p);
void mr_log_commit_written(struct mr_log *log, const struct mr_log_event *event);
void mr_log_commits_start(struct log_directory *d);
bool mr_log_commit_due(const struct log_directory *d, uint64_t now_ns);
void mr_log_directory_offline(struct log_directory *d, int32_t result);
void mr_log_floor_set(struct mr_partition *p, uint64_t lsn);
void mr_log_live_update(struct mr_partition *p);
void mr_log_unblock(struct mr_partition *p);
void mr_log_unqueue(struct mr_partition *p);

/* journal_write.c */
struct log_builder {
    struct log_directory *directory;
    struct log_commit *commit;
    uint8_t *image;
    uint64_t image_bytes, image_max; /* used; staging memory, of which the copies below take whole blocks at the end */
    uint64_t journal_max;            /* of the image without the copies */
    uint32_t entry_count;
    uint64_t inplace_bytes;
    uint32_t copy_count; /* blocks that are copied behind the image, because appends go on in them */
    struct log_copy {
        const uint8_t *from;
        uint32_t bytes, write;
    } copy[MR_LOG_WRITES_MAX];
};

enum log_plan {
    LOG_PLAN_DONE,    /* all that can be taken was taken */
    LOG_PLAN_MORE,    /* some; more is left */
    LOG_PLAN_FULL,    /* the commit has no room for it */
    LOG_PLAN_BLOCKED, /* not possible before some event of the partition */
    LOG_PLAN_LATER,   /* not while the journal is pressed */
};
enum log_plan mr_log_plan_partition(struct log_builder *b, struct mr_partition *p, bool relog);
void mr_log_build_finish(struct log_builder *b);

#endif
