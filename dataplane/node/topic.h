/* SPDX-License-Identifier: Apache-2.0 */
/* Topics of this node as its threads know them. The door makes them, and they live until the process ends (deletion is the control
 * plane's, which does not exist yet). Each field below a partition belongs to one thread; the others learn of it by message. */
#ifndef MR_DATAPLANE_NODE_TOPIC_H
#define MR_DATAPLANE_NODE_TOPIC_H

#include <stdbool.h>

#include "dataplane/config/config.h"
#include "dataplane/log/log.h"
#include "dataplane/memory/memory.h"
#include "shm/abi/head.h"

struct mr_topic;
struct mr_ack;
struct mr_handle;
struct mr_subscriber;

/** An open segment's files; the steward's, the numbers are given to the reactor in events. */
struct mr_segment_files {
    struct mr_segment_files *next;
    uint64_t base_offset;
    int file, side_file;
};

/** A hugepage extent's file as the door hands it to readers. */
struct mr_extent_file {
    struct mr_extent_file *next;
    uint32_t file_id;
    int read_fd;
    uint64_t bytes;
};

struct mr_topic_partition {
    /* fixed after creation */
    struct mr_topic *topic;
    uint32_t index;
    uint32_t reactor;
    uint32_t directory; /* of log.dirs */
    const char *lost;   /* why no directory is known to be its own, and what to do; NULL: one is */
    struct mr_head_partition *head;

    /* owner reactor */
    alignas(MR_CACHE_LINE) struct mr_partition *log;
    struct mr_ack *waiting_first, *waiting_last; /* in order of end_offset */
    struct mr_handle *armed;                     /* readers that sleep until `visible` is no longer armed_visible */
    uint64_t armed_visible;
    struct mr_subscriber *subscribers;           /* whose pins are looked at before an extent is reused */
    struct mr_topic_partition *open_next;        /* in the list of partitions with an open batch */
    struct mr_handle *open_handle;               /* whose records the open batch holds */
    uint64_t open_sequence;                      /* of its first record, all 64 bits */
    struct mr_batch_writer *writer;              /* of the open batch */
    bool is_open;
    bool deleted;              /* with its topic: refuses everything */
    uint32_t answers_awaited;  /* of the steward, to what its log asked for */

    /* steward */
    alignas(MR_CACHE_LINE) struct mr_segment_files *segments;
    uint32_t next_file_id;

    /* door */
    struct mr_extent_file *files;
    struct mr_subscriber *readers; /* sessions to push new extents to */
};

#define MR_SLOT_PIECE_SLOTS 64u /* the slot file grows by this many slots at a time */
#define MR_SLOT_PIECES_MAX  4096u

/** The topic's slot file; the steward's. */
struct mr_slot_file {
    uint32_t piece_count;
    uint8_t **piece; /* MR_SLOT_PIECES_MAX mappings */
    uint32_t *free;  /* stack of slot indices */
    uint32_t free_count, free_capacity;
    uint64_t accounted_bytes;  /* of the node's budget */
    uint32_t forgotten;        /* partitions of a deleted topic that are done with it */
};

struct mr_topic_piece {
    struct mr_topic_piece *next;
    void *base;
    uint64_t from, bytes; /* of the file */
};

struct mr_topic {
    struct mr_topic *next;
    char name[MR_TOPIC_NAME_MAX + 1];
    struct mr_uuid id;
    struct mr_topic_config config;
    char *lines; /* its own of that, as given: key=value */
    uint32_t partition_count;
    uint32_t slot_bytes, extent_bytes;
    struct mr_head *head;
    struct mr_memory_file head_file;
    struct mr_topic_piece *head_pieces; /* of the same file, mapped when it grew */
    bool deleted;                       /* the door's: freed when no session refers to it */
    int slots_fd; /* O_RDONLY, -1 until the first slot exists; opened by the door when asked for */
    struct mr_slot_file slots;
    struct mr_topic_partition **partitions; /* [partition_count]; each stays where it is */
};

/** Names of a topic's memory files; name holds at least 80 bytes. */
void mr_topic_head_name(const struct mr_uuid *id, char *name);
void mr_topic_slots_name(const struct mr_uuid *id, char *name);
void mr_topic_extent_name(const struct mr_uuid *id, uint32_t partition, uint32_t file_id, char *name);
/** Room for a topic with its partitions; nothing in it but what is given. NULL: no memory. */
struct mr_topic *mr_topic_new(const char *name, const struct mr_uuid *id, uint32_t partition_count, const struct mr_topic_config *config,
                              const char *lines);

/** Room for more partitions, up to `partition_count`; those that are there stay where they are. Nobody else may look at the array meanwhile.
 * @return 0; -ENOMEM: as before */
int mr_topic_grow(struct mr_topic *topic, uint32_t partition_count) MR_MUST_USE;

/** Back to fewer, that nobody knows of yet. */
void mr_topic_shrink(struct mr_topic *topic, uint32_t partition_count);

/** Its memory must be unmapped, and no thread may know it any more. */
void mr_topic_free(struct mr_topic *topic);

#endif
