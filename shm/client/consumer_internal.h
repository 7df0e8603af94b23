/* SPDX-License-Identifier: Apache-2.0 */
/* Inside a consumer.
 *
 *   consumer_open.c  open, return after the daemon's death, seek, close     extents.c  mappings, pins, places in live extents
 *   consumer.c       poll, copy: records                                    cold.c     segments, read in the caller's thread
 *   next_batch.c     batches
 *
 * One reader per partition:
 *   LOOKING -> LIVE [mr_reader_place]    the offset is in a live extent, which is pinned
 *   LOOKING -> COLD [mr_reader_go_cold]  it is not: the daemon has given descriptors of its segment
 *   LIVE -> LOOKING [next extent gone]   COLD -> LOOKING [durable end reached: the rest is live]      any -> LOOKING [seek, new daemon]
 *
 * K1  A live batch is read only while its extent is pinned: pin stored, fence, and then the directory still named the extent and its header
 *     the sequence. The daemon clears the directory, fences, and then looks at the pins: one of the two sees the other.
 * K2  Two pins a partition: the extent being read, and one more, so that a poll can cross one boundary while records of the extent behind
 *     it are still in the caller's hands. Pins are given back when the next poll begins.
 *     When the directory has not named the extent being read for a while, its memory is wanted back: the rest is read from the file.
 * K3  Nothing at or above `visible` is looked at (edge V of shm/abi/head.h).
 * K4  What a record points to stays until the next poll, copy, seek or close: mappings that are replaced go to the graveyard until then.
 * K5  The daemon may close a session that holds memory for too long, and use that in spite of its pins. So before pins are given back the
 *     extents' sequences are looked at once more (S6): if one has changed, what the caller has looked at may have been overwritten. */
#ifndef MR_CONSUMER_INTERNAL_H
#define MR_CONSUMER_INTERNAL_H

#include "shm/abi/extent.h"
#include "shm/batch/decompress.h"
#include "shm/client/producer_internal.h"
#include "shm/segment/reader.h"

#define MR_COLD_BUFFER_BYTES (1u << 20)
#define MR_COLD_RETRY_NS     1000000u
#define MR_COLD_SHARE_BYTES  (64ull << 20) /* after so much it may be another's turn */
#define MR_COLD_READERS_MAX  64u /* partitions of a consumer read from files at a time: a buffer and two descriptors each */
#define MR_UNMAPPED_ASK_NS   2000000u /* a push on its way takes less */
#define MR_UNMAPPED_AGAIN_NS 20000000u
#define MR_UNMAPPED_MAX_NS   5000000000u
#define MR_UNNAMED_NS        500000000u /* enough to finish an extent that is being read at speed */
#define MR_DECOMPRESSED_MAX  (256u << 20)

enum mr_reader_state {
    MR_READER_LOOKING = 0,
    MR_READER_LIVE = 1,
    MR_READER_COLD = 2,
};

/** A mapped extent file. A recycled file keeps its id, its descriptor and so its mapping. */
struct mr_extent_map {
    uint32_t file_id;
    const uint8_t *base;
    uint64_t bytes;
    uint32_t round; /* in which it was last told of */
    bool gone; /* the daemon has given it up; we were reading it */
};

struct mr_cold_segment {
    struct mr_segment_reader reader;
    uint8_t *buffer; /* block-aligned */
    uint64_t given_bytes; /* since it has its place */
    uint64_t buffer_bytes;
    int log_fd, side_fd;
};

struct mr_reader {
    const struct mr_head_partition *head;
    uint64_t offset;  /* of the next record to give out */
    uint64_t visible; /* as last loaded */
    enum mr_reader_state state;
    bool in_batch; /* the iterator has records left */
    uint32_t empty_looks; /* at `visible`, since it last moved; no more than matters */
    struct mr_batch_iterator batch;
    uint64_t batch_end; /* offset behind the batch */
    /* LIVE */
    const struct mr_extent_header *extent;
    const uint8_t *window; /* what lies at window_position of the segment */
    uint64_t window_position, window_end;
    uint64_t position; /* in the segment: of the next batch */
    uint64_t sequence; /* of the extent */

    uint32_t partition;
    bool armed;
    uint64_t armed_offset;
    _Atomic uint64_t *pin; /* [MR_PINS_PER_PARTITION], shared */
    uint64_t pinned[MR_PINS_PER_PARTITION];
    /* K5: records of these extents, as they were pinned, may be in the caller's hands; NULL: none */
    const struct mr_extent_header *held[MR_PINS_PER_PARTITION];
    uint64_t held_sequence[MR_PINS_PER_PARTITION];
    uint64_t unnamed_ns; /* since when the directory is known not to name the extent being read; 0: it does */
    uint64_t unmapped_ns; /* since when what comes next lies in an extent that we could not map; 0: it does not */
    uint64_t ask_ns;      /* when to do something about it again */
    struct mr_extent_map *maps;
    uint32_t map_count, map_room;
    uint32_t told_round, told_left; /* EXTENTS: how many are still to be told of; then all that were not are gone */
    uint64_t buffer_poll; /* poll in which records of the private buffers were last given out */
    struct mr_batch_decompressed decompressed;
    struct mr_cold_segment *cold; /* made when first needed */
    uint64_t retry_ns;
    int error; /* kept until a seek */
};

struct mr_grave {
    const void *base;
    uint64_t bytes;
    _Atomic uint64_t *left; /* NULL; or in pins, to be set when nothing is read by them any more */
};

struct millrace_consumer {
    struct millrace_client *client;
    struct mr_reader *reader;
    uint32_t reader_count;
    uint32_t current; /* whose turn it is */
    uint64_t poll_count;
    bool verify; /* MILLRACE_VERIFY: check the CRC of live batches too */
    bool lost;
    uint32_t partition_count, number, handle_first;
    uint32_t rings_end; /* as struct millrace_producer */
    uint32_t slot_bytes;
    const struct mr_head *head;
    uint64_t head_bytes;
    _Atomic uint64_t *pins;
    uint64_t pins_bytes;
    const uint8_t *slots;                  /* mapped beyond its end: it grows */
    uint64_t slots_map_bytes, slots_bytes; /* the second: as far as it is known to reach */
    int slots_fd;
    struct mr_grave *graves;
    uint32_t grave_count, grave_room;
    struct mr_reader *cold[MR_COLD_READERS_MAX]; /* those that have a buffer */
    uint32_t cold_count;
    struct millrace_consumer *next;
    struct mr_uuid topic_id;
    char topic[256];
};

/* consumer.c */

/** As a poll begins: pushes are taken, and nothing that was given out is in the caller's hands any more. Cold. */
void mr_consumer_begin(struct millrace_consumer *consumer);

/* next_batch.c */

/** Open the next batch that has records for us: the iterator has some. @return 1; 0: nothing now; -errno, kept until a seek. Hot. */
MR_HOT int mr_reader_next_batch(struct millrace_consumer *consumer, struct mr_reader *reader) MR_MUST_USE;

/* extents.c */

/** Find the batch that holds reader->offset in the live extents. @return 0: LIVE, or nothing visible yet; -ENOENT: not in any; -ENXIO: perhaps in
 * one that is not mapped; -EBADMSG */
int mr_reader_place(struct millrace_consumer *consumer, struct mr_reader *reader) MR_MUST_USE;

/** Go on in the next extent. @return 1; 0: not now (a pin is missing); -ENXIO: it is not mapped; -ENOENT: it is gone */
int mr_reader_cross(struct millrace_consumer *consumer, struct mr_reader *reader) MR_MUST_USE;

/** Give back the pins of extents that are not being read. */
void mr_reader_unpin(struct mr_reader *reader, bool all);

/**
 * K5, before records of a poll are handed out: they were read while nobody wrote there. Hot: a line or two that seldom change. The caller's later
 * reads are what the pins are for.
 */
static inline bool mr_reader_is_intact(const struct mr_reader *reader)
{
    bool intact = true;

    atomic_thread_fence(memory_order_acquire); /* our reads come before; the daemon fences between the new sequence and what it writes */
    for (uint32_t i = 0; i < MR_PINS_PER_PARTITION; i++)
        intact = intact && (reader->held[i] == NULL || mr_load_relaxed(&reader->held[i]->sequence) == reader->held_sequence[i]);
    return intact;
}

/** K5, before any pin is given back or memory unmapped. @return false: what was given out may have been overwritten. Cold. */
bool mr_reader_check_held(struct mr_reader *reader) MR_MUST_USE;

/** `count` extents are told of now, and there are no others. */
void mr_reader_expect_extents(struct millrace_consumer *consumer, struct mr_reader *reader, uint32_t count);

/** Takes over the descriptor; -1: it was lost. What cannot be mapped is done without (mr_reader_without_map). */
void mr_reader_add_extent(struct millrace_consumer *consumer, struct mr_reader *reader, uint32_t file_id, uint64_t bytes, int fd);
void mr_reader_drop_extent(struct millrace_consumer *consumer, struct mr_reader *reader, uint32_t file_id);
void mr_consumer_bury(struct millrace_consumer *consumer, const void *base, uint64_t bytes);
/** Pins of a session that is over: they count until what was given out under them is the caller's no more. */
void mr_consumer_bury_pins(struct millrace_consumer *consumer, _Atomic uint64_t *pins, uint32_t partition_count);
void mr_consumer_dig(struct millrace_consumer *consumer);

/* consumer_open.c */

/** SUBSCRIBE, first or again: all extents are told of. */
int mr_reader_subscribe(struct millrace_consumer *consumer, struct mr_reader *reader, uint64_t *log_start, uint64_t *visible, int timeout_ms,
                        struct millrace_error *err) MR_MUST_USE;

/* cold.c */

/** Ask for the segment that holds reader->offset. @return 0: COLD, or not now; -ERANGE; -EBADMSG; -errno */
int mr_reader_go_cold(struct millrace_consumer *consumer, struct mr_reader *reader) MR_MUST_USE;

/**
 * The extent that holds what comes next is not mapped: its descriptor was lost, or there was no memory, or too many mappings. Read the file as far
 * as it goes, else ask for the descriptors again. @return 0: not now; -EAGAIN: COLD; -ENOMEM: after MR_UNMAPPED_MAX_NS; and as go_cold
 */
int mr_reader_without_map(struct millrace_consumer *consumer, struct mr_reader *reader) MR_MUST_USE;

/** The next batch. @return 1; 0: at the durable end, LOOKING again; -EBADMSG or -errno of a read */
int mr_reader_cold_batch(struct mr_reader *reader, const uint8_t **batch, uint32_t *batch_bytes) MR_MUST_USE;
void mr_reader_leave_cold(struct mr_reader *reader);
void mr_reader_free_cold(struct mr_reader *reader);

#endif
