/* SPDX-License-Identifier: Apache-2.0 */
/* The steward: one thread that carries out what a log asks for and a reactor must not wait for: backing and touching memory, creating,
 * allocating, closing and deleting segment files. Each reactor has a mailbox to it and gets its answers as log events; the door is told of
 * extent files that come and go, since it is the one that hands descriptors to readers.
 *
 * Commits wait for room in a file, a stream at 2 GB/s for 64 MiB every 30 ms; memory takes 100 to 300 ms an extent when it is touched for the
 * first time, to close or delete a segment 50 to 200 ms. So making files and room in them goes before all else, also amid it.
 *
 * The memory budget (millrace.memory.bytes) is kept here: a request beyond it is refused, and the log recycles instead. */
#ifndef MR_DATAPLANE_STEWARD_H
#define MR_DATAPLANE_STEWARD_H

#include <pthread.h>

#include "dataplane/log/log.h"
#include "dataplane/mailbox/mailbox.h"
#include "dataplane/memory/memory.h"
#include "dataplane/node/topic.h"

/** A message to a reactor's steward mailbox: one cold action of its log. */
struct mr_steward_job {
    struct mr_log_action action;
    struct mr_topic_partition *partition;
};

#define MR_STEWARD_FORGET 100u /* action.kind: nothing of the partition is used any more; close its files. Notice FORGOTTEN */

/** A message to the door. */
enum mr_steward_notice_kind {
    MR_STEWARD_EXTENT_MADE = 1, /* read_fd becomes the door's */
    MR_STEWARD_EXTENT_GONE = 2,
    MR_STEWARD_SECURED = 3, /* all reactors: old journals were retired */
    MR_STEWARD_FORGOTTEN = 4, /* partition: nobody but sessions refers to it */
};

struct mr_steward_notice {
    uint32_t kind;
    struct mr_topic_partition *partition;
    uint32_t file_id;
    int read_fd;
    uint64_t bytes;
};

struct mr_steward_options {
    struct mr_memory *memory;
    struct mr_disk *disk; /* cold half */
    const struct mr_node_config *config;
    uint64_t memory_bytes_max;
    uint32_t reactor_count;
    struct mr_mailbox *jobs;    /* [reactor], struct mr_steward_job; the steward receives */
    struct mr_mailbox *answers; /* [reactor], struct mr_log_event; the reactors receive */
    struct mr_mailbox *notices; /* struct mr_steward_notice; the door receives */
    struct mr_bell *bell;       /* the steward's own */
    int cpu_of_reactor[64];     /* -1: not pinned */
};

struct mr_steward;

int mr_steward_start(struct mr_steward **steward, const struct mr_steward_options *options, struct millrace_error *err) MR_MUST_USE;

/** Memory that was adopted counts against the budget. Before start of the reactors. */
void mr_steward_account(struct mr_steward *steward, uint64_t bytes);

/** Extents that had to be made of ordinary pages on a node that has hugepages; the first is said. Any thread. */
uint32_t mr_steward_plain_extents(const struct mr_steward *steward);

/** Finish what was asked for, then end the thread and free. */
void mr_steward_stop(struct mr_steward *steward);

/** Path of a partition's directory, and of a file in it. @param path holds MR_STEWARD_PATH_MAX bytes */
#define MR_STEWARD_PATH_MAX 1100
void mr_partition_path(const struct mr_node_config *config, const struct mr_topic_partition *partition, char *path);

/** A new topic's slot file has its first piece, all free. @return 0; -ENOMEM. Before the steward knows the topic. */
int mr_steward_slots_begin(struct mr_topic *topic, void *piece) MR_MUST_USE;

/** Map the pieces of a slot file that a dead daemon left; then mr_steward_slots_settle(). @return 0; -ENOENT; -ENOMEM */
int mr_steward_slots_adopt(struct mr_memory *memory, struct mr_topic *topic, struct millrace_error *err) MR_MUST_USE;

/**
 * The topic's partitions are adopted or not: which slots are free, and, when more are lost than are in use, a new file for the live ones.
 * @param live       extents in slots; their `memory` is changed when they move, and then they are no longer `adopted`
 * @param seal       called before they move: seals what is the tail of a partition, since readers of the old file will see nothing behind it
 * @param used_bytes added to: what the file keeps in use
 * @return 0; -ENOMEM
 */
int mr_steward_slots_settle(struct mr_memory *memory, struct mr_topic *topic, struct mr_log_live_extent *const *live, uint32_t live_count,
                            void (*seal)(void *context), void *context, uint64_t *used_bytes, struct millrace_error *err) MR_MUST_USE;

#endif
