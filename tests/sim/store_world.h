/* SPDX-License-Identifier: Apache-2.0 */
/* A simulated node of log cores over one simulated disk and memory that outlives the process: the whole storage path without reactors and
 * sessions. The world remembers by itself what was appended and what was acknowledged; store_check.c holds images against that.
 *
 * Sizes are small, so that journals wrap and segments roll within seconds. Everything follows from the seed. */
#ifndef TESTS_SIM_STORE_WORLD_H
#define TESTS_SIM_STORE_WORLD_H

#include "dataplane/log/log.h"
#include "dataplane/log/recover.h"
#include "drivers/disk/sim.h"
#include "shm/base/random.h"

#define WORLD_PARTITIONS_MAX  12u
#define WORLD_REACTORS_MAX    3u
#define WORLD_DIRECTORIES_MAX 2u
#define WORLD_PRODUCERS       3u
#define WORLD_EXTENTS_MAX     96u
#define WORLD_TASKS_MAX       256u

#define world_must(condition) ((condition) ? (void)0 : world_failed(__FILE__, __LINE__, #condition))
_Noreturn void world_failed(const char *file, int line, const char *condition);

/** > 0 with --mutant: a rule of recovery is switched off, the run must fail (and then exits 0). */
extern int mr_recover_mutant;

struct world_record {
    uint32_t id; /* running number of the partition, never used twice */
    int32_t sequence;
    uint16_t bytes;
    uint8_t producer;
};

struct world_extent {
    struct mr_extent_header *memory;
    uint64_t bytes;
    bool slot, adopted, used;
};

struct world_partition {
    char name[32], path[64];
    struct mr_uuid topic_id;
    uint32_t directory, reactor, durability;
    uint64_t retention_bytes;
    struct mr_head_partition *head;
    struct mr_partition *log;
    struct world_extent extent[WORLD_EXTENTS_MAX]; /* index = file_id without its top bit */
    /* what was done to it */
    struct world_record *record; /* by offset */
    uint64_t end, room;
    uint32_t next_id;
    int32_t next_sequence[WORLD_PRODUCERS];
    uint64_t trim_asked;
    uint64_t settled_end; /* what a recovery made durable */
    struct mr_producer *producer[WORLD_PRODUCERS];
    bool is_hot;
    struct {
        uint64_t base_offset;
        int file, side_file;
    } opened[32]; /* the segments that were opened last */
    uint32_t opened_count;
};

struct world_task { /* of the steward */
    struct mr_log_action action;
    struct mr_log_producer_state *producers;
    uint64_t due_ns;
    uint32_t reactor;
};

struct world_reactor {
    struct mr_log *log;
    struct mr_disk *disk;
    uint8_t *staging[WORLD_DIRECTORIES_MAX];
    struct mr_log_event event[512];
    uint32_t event_count;
    struct mr_disk_write write[512];
    uint32_t write_first, write_count;
    bool secured;
};

/** Rare states: a run that never reached one proves nothing about it. */
enum world_state {
    WORLD_JOURNAL_WRAPPED,
    WORLD_RELOGGED,
    WORLD_SEGMENT_ROLLED,
    WORLD_FILES_RESTED,         /* segment files given back, to be opened again when needed */
    WORLD_CUT_IN_ROLL,          /* power cut while a rolled segment was not closed */
    WORLD_CUT_IN_TRIM,          /* ... while a trim was asked for and not durable */
    WORLD_CUT_IN_RETENTION,     /* ... while a segment's deletion was not done */
    WORLD_CUT_IN_ADOPTION,      /* ... before what was adopted had been secured */
    WORLD_CUT_IN_RECOVERY,
    WORLD_REACTORS_CHANGED,
    WORLD_TWO_DIRECTORIES,
    WORLD_SEQUENCE_WRAPPED,
    WORLD_UNACKED_SURVIVED,
    WORLD_UNACKED_LOST,
    WORLD_ADOPTED,
    WORLD_KILLED_IN_ROLL,
    WORLD_JOURNAL_ONLY_SEGMENT, /* a segment was made from the journal alone */
    WORLD_UNDECIDED_CUT,
    WORLD_TAIL_BLOCK_RESTORED,  /* the file's tail block was torn or old, the journal had it */
    WORLD_STATE_COUNT,
};
extern uint64_t world_reached[WORLD_STATE_COUNT];
const char *world_state_name(enum world_state state);

struct world {
    uint64_t seed;
    struct mr_random random;
    struct mr_sim_disk_machine *machine;
    struct mr_disk *disk; /* the steward's */
    uint64_t now_ns;
    uint64_t daemon_start; /* counts starts */
    uint32_t partition_count, reactor_count, directory_count;
    char directory[WORLD_DIRECTORIES_MAX][16];
    uint64_t journal_bytes, segment_bytes;
    uint32_t slot_bytes, extent_bytes, batch_bytes_max;
    struct world_partition partition[WORLD_PARTITIONS_MAX];
    struct world_reactor reactor[WORLD_REACTORS_MAX];
    struct world_task task[WORLD_TASKS_MAX];
    uint32_t task_count;
    struct mr_recovery *recovery[WORLD_DIRECTORIES_MAX]; /* until the old journals are retired */
    struct mr_uuid boot_id;
    bool is_up, has_adopted;
    bool is_quiet; /* no new appends */
};

/** A machine with empty partitions, started. */
void world_init(struct world *world, uint64_t seed);
void world_release(struct world *world);

/** Some appends, disk completions and steward work. Stops short when the machine was cut. */
void world_step(struct world *world);

/** Steps without appends until nothing is left to do, then idle long enough for marks. */
void world_settle(struct world *world);

/** A clean stop up to the point where clean-shutdown may be written: everything is in place, segments are cut. */
void world_drain(struct world *world);

/** Live extents as a killed daemon's head names them. @return how many of MR_HEAD_DIRECTORY_COUNT */
uint32_t world_live_extents(struct world_partition *p, struct mr_log_live_extent *live);
extern const struct mr_allocator world_allocator;

/** The process dies; memory and disk stay. */
void world_kill(struct world *world);
/** Power goes: memory too. Also right after world_kill(). */
void world_power_cut(struct world *world);
/** Start again with another reactor count, adopting memory if there is any. When power goes meanwhile, world->is_up stays false. */
void world_start(struct world *world);

/** What a moment left on the disk. store_check.c */
struct world_image {
    const struct world *world; /* what must be there */
    struct mr_sim_disk_machine *machine;
    struct mr_disk *disk;
    char said[24][300];
    uint32_t said_count;
    uint64_t records_checked;
    const char *what; /* is wrong; static */
    bool with_verify;
};

enum image_result {
    IMAGE_OK,
    IMAGE_CUT,      /* power went again meanwhile */
    IMAGE_DETECTED, /* something was reported offline */
    IMAGE_SAID,     /* records that had been acknowledged are gone, but not silently */
    IMAGE_VERIFY,   /* a closed segment is damaged, and a walk over it says so */
    IMAGE_BAD,
};

/** Recover every partition of the image, retire its journals, and compare. @param was_damaged offline is an answer, silence is not */
enum image_result image_check(struct world_image *image, bool was_damaged);

/** Compare what recovery says of one partition, and its files, with what was done to it. */
void check_recovered(const struct world *world, struct mr_sim_disk_machine *machine, const struct world_partition *partition,
                     const struct mr_log_recovered *recovered, uint64_t acked_end, uint64_t *records_checked);

bool check_verify(struct mr_sim_disk_machine *machine, const struct world_partition *partition, const struct mr_log_recovered *recovered);

/** Do adopted extents hold, record by record, what was appended? */
bool check_memory(const struct world_partition *partition, const struct mr_log_recovered *adopted);

void world_value(const struct world_partition *partition, const struct world_record *record, uint8_t *value);
void world_reach(enum world_state state);

#endif
