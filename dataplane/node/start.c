/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/node/start.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "drivers/clock/clock.h"
#include "dataplane/node/adopt.h"
#include "dataplane/steward/steward.h"
#include "shm/base/logging.h"

static void *allocate(void *context, size_t bytes)
{
    (void)context;
    return calloc(1, bytes);
}

static void release(void *context, void *memory)
{
    (void)context;
    free(memory);
}

static const struct mr_allocator heap = {.allocate = allocate, .release = release};

static void say(void *context, int level, const char *line)
{
    (void)context;
    mr_logging_write(level == 0 ? MR_LOGGING_ERROR : level == 1 ? MR_LOGGING_WARN : MR_LOGGING_INFO, "%s", line);
}

/* The head that a dead daemon left for this topic, or nothing. */
static bool adopt_head(struct mr_memory *memory, struct mr_topic *topic)
{
    char name[80];
    struct millrace_error err;
    mr_topic_head_name(&topic->id, name);
    if (mr_memory_adopt(memory, name, false, mr_head_bytes(topic->partition_count), true, &topic->head_file, &err) != 0)
        return false;
    struct mr_head *head = topic->head_file.base;
    bool ours = head->magic == MR_HEAD_MAGIC && head->version == MR_HEAD_VERSION && mr_load_relaxed(&head->deleted) == 0 &&
                head->partition_capacity >= topic->partition_count &&
                memcmp(&head->boot_id, &memory->boot_id, sizeof head->boot_id) == 0 && mr_uuid_equal(&head->topic_id, &topic->id);
    if (ours) {
        /* Sizes are the topic's for as long as its memory lives, whatever the configuration says now. */
        uint32_t slot_bytes = topic->slot_bytes, extent_bytes = topic->extent_bytes;
        topic->slot_bytes = head->slot_bytes;
        topic->extent_bytes = head->extent_bytes;
        ours = mr_is_power_of_two(topic->slot_bytes) && mr_is_power_of_two(topic->extent_bytes) &&
               mr_steward_slots_adopt(memory, topic, &err) == 0;
        if (!ours) {
            topic->slot_bytes = slot_bytes;
            topic->extent_bytes = extent_bytes;
        }
    }
    if (!ours) {
        mr_say_info("topic '%s': memory of another boot or version, or of a deletion that was broken off, is discarded", topic->name);
        mr_memory_unmap(&topic->head_file);
        return false;
    }
    topic->head = head;
    return true;
}

/* Older segments stand in front of those that memory knows. */
static int prepend_segments(struct mr_disk *disk, const char *path, struct mr_log_recovered *recovered, struct millrace_error *err)
{
    struct mr_log_segment *older = NULL;
    uint32_t older_count = 0;
    if (recovered->segment_count == 0)
        return 0;
    int rc = mr_recovery_segments(disk, path, recovered->segments[0].base_offset, &older, &older_count, err);
    if (rc != 0 || older_count == 0)
        return rc == -ENOENT ? 0 : rc;
    struct mr_log_segment *all = calloc(older_count + recovered->segment_count, sizeof *all);
    if (all == NULL) {
        free(older);
        return mr_err(err, ENOMEM, "no memory for %u segments", older_count);
    }
    memcpy(all, older, older_count * sizeof *all);
    memcpy(all + older_count, recovered->segments, recovered->segment_count * sizeof *all);
    free(older);
    heap.release(NULL, (void *)(uintptr_t)recovered->segments);
    recovered->segments = all;
    recovered->segment_count += older_count;
    return 0;
}

static void forget_extents(struct mr_topic_partition *partition)
{
    /* Mappings stay until the process ends: rare, and only after damage. The files are unlinked with all else that nobody took. */
    while (partition->files != NULL) {
        struct mr_extent_file *file = partition->files;
        partition->files = file->next;
        close(file->read_fd);
        free(file);
    }
}

/* @return is it adopted? */
static bool finish_adoption(struct mr_disk *disk, struct mr_adopting *p, const char *path)
{
    struct mr_topic_partition *partition = p->partition;
    if (p->rc == 0) {
        p->rc = prepend_segments(disk, path, p->recovered, &p->err);
        if (p->rc != 0) {
            mr_adopt_release(&heap, p->recovered);
            forget_extents(partition);
        }
    }
    if (p->rc != 0 && p->rc != -ENOENT)
        mr_say_warn("%s-%u: memory of the last run is not intact (%s); recovering from disk", partition->topic->name, partition->index, p->err.text);
    return p->rc == 0;
}

static struct mr_head_partition *head_partition(const struct mr_topic *topic, uint32_t p)
{
    return (struct mr_head_partition *)(void *)((uint8_t *)topic->head + MR_HEAD_PARTITIONS_POSITION) + p;
}

static int recover(struct mr_start *start, struct mr_disk *disk, const struct mr_node_config *config, struct mr_topic_partition *partition,
                   const char *path, uint64_t expected_end, struct mr_log_recovered *recovered,
                   struct millrace_error *err)
{
    struct mr_recovery **recovery = &start->recovery[partition->directory];
    if (*recovery == NULL) {
        int rc = mr_recovery_open(recovery, disk, config->log_dirs.item[partition->directory], say, NULL, err);
        if (rc != 0)
            return rc;
    }
    return mr_recovery_partition(*recovery, path, &partition->topic->id, partition->index, expected_end, recovered, err);
}

/* Offline, and said, until its directory is there again; its newest records may be in any directory's journals, which are kept for that day.
 * What memory has of it could be kept by nobody, so that is not given up without being told. */
static int find_lost(struct mr_start *start, struct mr_memory *memory, struct mr_disk *disk, const struct mr_node_config *config,
                     const struct mr_topic_partition *partition, const struct mr_head_partition *head, struct mr_log_recovered *recovered,
                     struct millrace_error *err)
{
    const char *name = partition->topic->name;
    int rc = 0;
    if (head != NULL && mr_load_relaxed(&head->tail_sequence) != 0)
        return mr_err(err, ENOENT, "%s-%u: %s, then start again: its newest records are in memory, and have no other place (to give them up, and all that "
                      "memory holds of other partitions, remove '%s')", name, partition->index, partition->lost, memory->plain_folder);
    for (uint32_t d = 0; d < config->log_dirs.count && rc == 0; d++) {
        if (start->recovery[d] == NULL)
            rc = mr_recovery_open(&start->recovery[d], disk, config->log_dirs.item[d], say, NULL, err);
        if (rc == 0 && mr_recovery_keep(start->recovery[d], &partition->topic->id, partition->index) != 0)
            rc = mr_err(err, ENOMEM, "no memory for %s-%u", name, partition->index);
    }
    mr_say_error("%s-%u is offline, nothing was changed: %s, then restart millraced", name, partition->index, partition->lost);
    recovered->offline = true;
    start->offline_count++;
    return rc;
}

/* Room for what is found of each partition, and the head where a dead daemon left one: its partitions join those to adopt. */
static int look_at_topic(struct mr_start_topic *slot, struct mr_memory *memory, struct mr_adopting *adopting, uint32_t *adopting_count,
                         struct millrace_error *err)
{
    struct mr_topic *topic = slot->topic;
    bool has_head = adopt_head(memory, topic);

    slot->recovered = calloc(topic->partition_count, sizeof(struct mr_log_recovered *));
    slot->adopted = calloc(topic->partition_count, sizeof(bool));
    if (slot->recovered == NULL || slot->adopted == NULL)
        return mr_err(err, ENOMEM, "no memory for %u partitions", topic->partition_count);
    for (uint32_t p = 0; p < topic->partition_count; p++) {
        slot->recovered[p] = calloc(1, sizeof(struct mr_log_recovered));
        if (slot->recovered[p] == NULL)
            return mr_err(err, ENOMEM, "no memory for %u partitions", topic->partition_count);
        if (has_head)
            adopting[(*adopting_count)++] = (struct mr_adopting){.partition = topic->partitions[p], .recovered = slot->recovered[p],
                                                                 .head = head_partition(topic, p)};
    }
    return 0;
}

/* @param adopting the topic's partitions, where it has a head */
static int find_topic(struct mr_start *start, struct mr_start_topic *slot, struct mr_adopting *adopting, struct mr_memory *memory,
                      struct mr_disk *disk, const struct mr_node_config *config, struct millrace_error *err)
{
    struct mr_topic *topic = slot->topic;
    char path[MR_STEWARD_PATH_MAX];
    bool has_head = topic->head != NULL;

    for (uint32_t p = 0; p < topic->partition_count; p++) {
        struct mr_topic_partition *partition = topic->partitions[p];
        if (partition->lost != NULL) {
            int rc = find_lost(start, memory, disk, config, partition, has_head ? head_partition(topic, p) : NULL, slot->recovered[p], err);
            if (rc != 0)
                return rc;
            continue;
        }
        mr_partition_path(config, partition, path);
        if (has_head && finish_adoption(disk, &adopting[p], path)) {
            slot->adopted[p] = true;
            start->adopted_count++;
            continue;
        }
        struct mr_log_recovered *recovered = slot->recovered[p];
        uint64_t durable = has_head ? mr_load_relaxed(&head_partition(topic, p)->durable) : 0;
        int rc = recover(start, disk, config, partition, path, durable, recovered, err);
        if (rc != 0) {
            mr_err_within(err, "recovering %s-%u", topic->name, p);
            return rc;
        }
        start->recovered_count++;
        start->offline_count += recovered->offline;
    }
    return 0;
}

/* The tails that lie in slots end here: the next append goes on in new memory. */
static void seal_slot_tails(void *context)
{
    struct mr_start_topic *slot = context;
    for (uint32_t p = 0; p < slot->topic->partition_count; p++) {
        const struct mr_log_recovered *recovered = slot->recovered[p];
        if (!slot->adopted[p] || recovered->segment_count == 0)
            continue;
        const struct mr_log_segment *last = &recovered->segments[recovered->segment_count - 1];
        uint32_t tail = recovered->extent_count - 1; /* what comes behind it holds nothing */
        while (tail > 0 && recovered->extents[tail].memory->base_offset >= recovered->next_offset)
            tail--;
        struct mr_extent_header *h = recovered->extents[tail].memory;
        if (recovered->extents[tail].slot && mr_load_relaxed(&h->sealed_end) == 0)
            mr_store_release(&h->sealed_end, last->bytes); /* S */
    }
}

static int settle_slots(struct mr_start *start, struct mr_start_topic *slot, struct mr_memory *memory, struct millrace_error *err)
{
    uint32_t count = 0, room = 0;
    for (uint32_t p = 0; p < slot->topic->partition_count; p++)
        room += slot->adopted[p] ? slot->recovered[p]->extent_count : 0;
    struct mr_log_live_extent **live = calloc(room + 1u, sizeof *live);
    if (live == NULL)
        return mr_err(err, ENOMEM, "no memory for the slots of topic '%s'", slot->topic->name);
    for (uint32_t p = 0; p < slot->topic->partition_count; p++)
        for (uint32_t i = 0; slot->adopted[p] && i < slot->recovered[p]->extent_count; i++)
            if (slot->recovered[p]->extents[i].slot)
                live[count++] = (struct mr_log_live_extent *)(uintptr_t)&slot->recovered[p]->extents[i]; /* the array is ours */
    int rc = mr_steward_slots_settle(memory, slot->topic, live, count, seal_slot_tails, slot, &start->memory_bytes, err);
    free(live);
    return rc;
}

struct sweep {
    struct mr_registry *registry;
    struct mr_memory *memory;
    uint32_t removed;
};

/* Unlink what nobody took: extents named ahead, of deleted topics, or damaged. */
static int sweep_one(void *context, const char *name, bool huge)
{
    struct sweep *sweep = context;
    char id[33];
    unsigned p = 0, file_id = 0;
    bool taken = false;
    for (struct mr_topic *topic = sweep->registry->topics; topic != NULL && !taken; topic = topic->next) {
        mr_uuid_text(&topic->id, id);
        if (strstr(name, id) == NULL || topic->head == NULL)
            continue;
        taken = strncmp(name, "head.", 5) == 0 || strncmp(name, "slots.", 6) == 0;
        if (!taken && sscanf(name, "extent.%*32[0-9a-f].%u.%u", &p, &file_id) == 2 && p < topic->partition_count) {
            struct mr_topic_partition *partition = topic->partitions[p];
            for (const struct mr_extent_file *file = partition->files; file != NULL && !taken; file = file->next)
                taken = file->file_id == file_id;
            if (file_id >= partition->next_file_id)
                partition->next_file_id = file_id + 1;
        }
    }
    if (!taken) {
        mr_memory_unlink(sweep->memory, name, huge);
        sweep->removed++;
    }
    return 0;
}

int mr_start_find(struct mr_start *start, struct mr_registry *registry, struct mr_memory *memory, struct mr_disk *disk,
                  const struct mr_node_config *config, struct mr_clock *clock, struct millrace_error *err)
{
    struct sweep sweep = {.registry = registry, .memory = memory};
    uint64_t began = mr_clock_now_ns(clock);
    uint32_t index = 0, adopting_count = 0;

    memset(start, 0, sizeof *start);
    start->topics = calloc(registry->topic_count + 1u, sizeof *start->topics);
    struct mr_adopting *adopting = calloc(registry->partition_count + 1u, sizeof *adopting);
    if (start->topics == NULL || adopting == NULL) {
        free(adopting);
        return mr_err(err, ENOMEM, "no memory for %u topics", registry->topic_count);
    }
    start->topic_count = registry->topic_count;
    int rc = 0;
    for (struct mr_topic *topic = registry->topics; topic != NULL && rc == 0; topic = topic->next, index++) {
        start->topics[index].topic = topic;
        rc = look_at_topic(&start->topics[index], memory, adopting, &adopting_count, err);
    }
    if (rc == 0)
        rc = mr_adopt_memory(memory, adopting, adopting_count, &heap, &start->adopted_bytes, err);
    start->memory_bytes += start->adopted_bytes;
    adopting_count = 0;
    for (index = 0; index < start->topic_count && rc == 0; index++) {
        rc = find_topic(start, &start->topics[index], &adopting[adopting_count], memory, disk, config, err);
        if (rc == 0 && start->topics[index].topic->head != NULL)
            rc = settle_slots(start, &start->topics[index], memory, err);
        adopting_count += start->topics[index].topic->head != NULL ? start->topics[index].topic->partition_count : 0;
    }
    free(adopting);
    if (rc != 0)
        return rc;
    for (uint32_t d = 0; d < config->log_dirs.count; d++) {
        rc = start->recovery[d] != NULL ? mr_recovery_checkpoint(start->recovery[d], err) : 0;
        if (rc != 0)
            return rc;
    }
    mr_memory_list(memory, sweep_one, &sweep);
    if (sweep.removed > 0)
        mr_say_info("memory: %u files that no partition of this start uses were removed", sweep.removed);
    start->adopt_ns = mr_clock_now_ns(clock) - began;
    return 0;
}

void mr_start_release(struct mr_start *start)
{
    for (uint32_t t = 0; t < start->topic_count; t++) {
        struct mr_start_topic *slot = &start->topics[t];
        for (uint32_t p = 0; slot->recovered != NULL && p < slot->topic->partition_count; p++) {
            if (slot->recovered[p] != NULL && slot->adopted[p])
                mr_adopt_release(&heap, slot->recovered[p]);
            free(slot->recovered[p]);
        }
        free(slot->recovered);
        free(slot->adopted);
    }
    free(start->topics);
    start->topics = NULL;
    start->topic_count = 0;
}
