/* SPDX-License-Identifier: Apache-2.0 */
/* A simulated node's storage: the log cores of N reactors over the simulated disk, with memory (extents, heads) that survives a kill but not
 * a power cut. The world carries out all actions as a reactor and its steward would: writes through each reactor's disk, files through the
 * cold half, memory from a pool, each answer after a random number of steps and in any order.
 *
 *   open -> start -> {append, step}... -> kill | power_cut -> start -> ... -> close
 *
 * start() recovers from disk, or adopts memory when it is there, exactly as the daemon does. */
#ifndef MR_TESTS_SUPPORT_LOG_WORLD_H
#define MR_TESTS_SUPPORT_LOG_WORLD_H

#include "dataplane/log/log.h"
#include "dataplane/log/recover.h"
#include "drivers/disk/sim.h"
#include "shm/base/random.h"

#define LOG_WORLD_REACTORS_MAX   4u
#define LOG_WORLD_PARTITIONS_MAX 256u

struct log_world_options {
    uint64_t seed;
    uint32_t reactors, directories, partitions; /* partition i: reactor i mod reactors, directory i mod directories. Default 1 each */
    uint32_t durability;                        /* of all; log_world.partition[i].durability may be set before start. Default: disk */
    uint64_t journal_bytes, staging_bytes;      /* default 260 KiB and 64 KiB */
    uint64_t segment_bytes, retention_bytes;    /* default 64 KiB, none */
    uint32_t batch_bytes_max;                   /* default 16 KiB */
    uint32_t slot_bytes, extent_bytes;          /* default 32 KiB, 64 KiB */
    uint32_t memory_max;                        /* live slots and extents; above it memory is refused. Default 1024 */
    uint32_t answer_steps_max;                  /* memory and file answers take 0..this many steps. Default 3 */
    uint32_t extent_steps;                      /* an extent that is asked for takes so many steps more to make. Default 0 */
    uint32_t refuse_percent;                    /* memory refused at random. Default 0 */
    uint64_t commit_bytes_max;                  /* default: the core's */
    uint32_t files_max;                         /* default: no bound */
    uint64_t hot_bytes_min;                     /* default: half a dozen extents */
    uint64_t producer_expiration_ms;            /* default: never */
    uint64_t flush_ns, step_ns;                 /* default 5 ms, 100 us */
    struct mr_sim_disk_options disk;            /* default: completions after 0..4 polls, any order */
};

struct log_world_partition {
    char name[64]; /* t-<index> */
    uint32_t index, reactor, directory, durability;
    struct mr_uuid topic_id;
    struct mr_head_partition *head; /* survives a kill */
    struct mr_partition *log;       /* while running and not offline at start */
    struct mr_producer *producer;   /* by log_world_append() */
    uint64_t next_sequence;
    bool was_adopted, is_offline; /* at the last start */
    uint32_t generation;
    uint64_t recovered_end;       /* log end at the last start */
    uint64_t segment_bytes, retention_bytes;
};

struct log_world_memory {
    struct mr_extent_header *header; /* NULL: a free place */
    uint32_t partition;
    bool slot, adopted;
    bool lent; /* to the log core (live, ahead, or on its way); otherwise only readers of a dead daemon's may look */
};

struct log_world_answer {
    uint64_t at_step;
    bool done; /* an event to deliver; else an action to carry out first */
    struct mr_log_action action;
    struct mr_log_event event;
};

struct log_world_file {
    uint32_t partition;
    uint64_t base_offset;
    int file, side_file;
};

struct log_world_reactor {
    struct mr_log *log;
    struct mr_disk *disk;
    uint8_t *staging;
    bool secured;
    struct log_world_answer *answer;
    uint32_t answer_count, answer_room;
    struct mr_disk_write *write; /* not yet taken by the disk */
    uint32_t write_count, write_room;
};

struct log_world {
    struct log_world_options options;
    struct mr_random random;
    struct mr_sim_disk_machine *machine;
    struct mr_disk *steward;
    uint64_t now_ns, steps;
    uint64_t generation_salt;
    struct mr_uuid boot_id;
    bool running;
    struct log_world_reactor reactor[LOG_WORLD_REACTORS_MAX];
    struct log_world_partition partition[LOG_WORLD_PARTITIONS_MAX];
    struct log_world_memory *memory;
    uint32_t memory_count, memory_lent;
    struct log_world_file *file;
    uint32_t file_count, file_room;
    struct mr_recovery *recovery[MR_LOG_DIRECTORIES_MAX]; /* open until the old journals are retired */
    bool offline[MR_LOG_DIRECTORIES_MAX];                 /* said by a core */
    bool hold_frees;                                      /* readers pin everything: EXTENT_FREE is not answered */
    uint64_t hold_sequence;                               /* readers pin this extent alone; 0: none */
    uint64_t actions[MR_LOG_ACTION_SECURED + 1];          /* carried out, by kind */
    void (*said)(void *context, int level, const char *line); /* recovery's words; NULL: dropped */
    void *said_context;
    /* Looks at each action before it is carried out; NULL: none. */
    void (*watch)(void *context, struct log_world *world, uint32_t reactor, const struct mr_log_action *action);
    /* Told of each write's completion, before the core is. */
    void (*completed)(void *context, struct log_world *world, uint32_t reactor, uint64_t tag, int32_t result);
    void *watch_context;
};

/** The world's heap, aligned as extents are. */
extern const struct mr_allocator log_world_allocator;

/** Defaults. */
void log_world_options_init(struct log_world_options *options);

/** An empty node; not running. Aborts without memory. Closed by log_world_close(). */
struct log_world *log_world_open(const struct log_world_options *options);
void log_world_close(struct log_world *world);

/** Daemon start: recover or adopt, open journals, add partitions. @return 0, or -errno with a message of what recovery or a driver said */
int log_world_start(struct log_world *world, struct millrace_error *err) MR_MUST_USE;

/**
 * Append records of `value_bytes` each, made from (partition, offset) by log_world_value(), as one batch of the partition's own producer.
 * @return how many were added (fewer: no room in the batch), or what mr_partition_begin() said
 */
int log_world_append(struct log_world *world, uint32_t partition, uint32_t count, uint32_t value_bytes);

/** The bytes that log_world_append() puts at an offset. */
void log_world_value(uint32_t partition, uint64_t offset, uint8_t *value, uint32_t value_bytes);

/** One pass of each reactor: completions and answers in, mr_log_step, actions out. Time moves by step_ns. */
void log_world_step(struct log_world *world);

/** Step until all that was appended is durable and nothing is in flight, at most `steps`. @return false: still busy */
bool log_world_settle(struct log_world *world, uint32_t steps);

/** Clean stop: drain, mark clean. @return false: it did not drain in `steps` */
bool log_world_stop(struct log_world *world, uint32_t steps);

/** The daemon dies; memory stays, the disk finishes what it had begun. */
void log_world_kill(struct log_world *world);

/** The node loses power; memory is gone, the disk keeps what its tear model gives. */
void log_world_power_cut(struct log_world *world);

/**
 * The world's disk is replaced by `machine` (a clone of it, already cut or killed), which the world closes; memory is gone. For crash images:
 * clone at any instant, build a fresh world with log_world_open(), put the image in, start.
 */
void log_world_take_image(struct log_world *world, struct mr_sim_disk_machine *machine);

/** Log end and durable end of a running partition. */
uint64_t log_world_end(const struct log_world *world, uint32_t partition);
uint64_t log_world_durable(const struct log_world *world, uint32_t partition);

/**
 * Read all batches of a partition in live memory as a reader would, from the oldest live extent to `visible`: checks batch CRCs, contiguous
 * offsets and the values of log_world_append(). Aborts with a message when something is wrong. @return offset of the oldest batch seen
 */
uint64_t log_world_check_memory(const struct log_world *world, uint32_t partition);

/** The same over the files of the partition, as they are (after log_world_stop() all is there). @return first offset seen; *end: behind the last */
uint64_t log_world_check_files(const struct log_world *world, uint32_t partition, uint64_t *end);

#endif
