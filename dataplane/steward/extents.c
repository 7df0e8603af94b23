/* SPDX-License-Identifier: Apache-2.0 */
/* Memory for logs: hugepage extents, one file each. Slots are in slots.c. */
#include "dataplane/steward/steward_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shm/base/logging.h"

static bool within_budget(struct mr_steward *steward, uint64_t bytes)
{
    uint64_t used = mr_load_relaxed(&steward->memory_bytes);
    if (used + bytes <= steward->options.memory_bytes_max)
        return true;
    if (!steward->said_budget)
        mr_say_info("hot tail has reached millrace.memory.bytes=%llu: old extents are reused from now on",
                    (unsigned long long)steward->options.memory_bytes_max);
    steward->said_budget = true;
    return false;
}

void steward_say_memory(struct mr_steward *steward, const struct millrace_error *err)
{
    if (!steward->said_memory)
        mr_say_warn("%s; going on with the memory there is", err->text);
    steward->said_memory = true;
}

/* Not silent: what was promised as hugepages is slower from here on, and nobody would know why. */
static void note_pages(struct mr_steward *steward, const struct mr_topic *topic, const struct mr_memory_file *file)
{
    const struct mr_memory *memory = steward->options.memory;
    char remedy[200];
    if (file->huge || memory->huge_folder[0] == '\0')
        return;
    if (mr_fetch_add_relaxed(&steward->plain_extents, 1) > 0)
        return;
    mr_memory_more_huge(steward->options.memory_bytes_max, remedy, sizeof remedy);
    mr_say_warn("hugepages ran out: an extent of topic '%s' (%llu KiB) lies on ordinary pages, as others may from now on: slower under load, and "
                "adoption after a crash takes two to three times as long; %s", topic->name, (unsigned long long)(file->bytes >> 10), remedy);
}

void steward_refuse(struct mr_steward *steward, struct mr_topic_partition *partition, bool slot)
{
    struct mr_log_event event = {.kind = MR_LOG_EVENT_EXTENT, .partition = partition->log, .extent = {.memory = NULL, .slot = slot}};
    steward_answer(steward, partition, &event);
}

void steward_grant(struct mr_steward *steward, struct mr_topic_partition *partition, void *memory, uint32_t file_id, uint64_t bytes, bool slot)
{
    struct mr_extent_header *header = memory;
    struct mr_log_event event = {.kind = MR_LOG_EVENT_EXTENT, .partition = partition->log, .extent = {.memory = memory, .slot = slot}};
    memset(header, 0, sizeof *header);
    header->file_id = file_id;
    header->bytes = bytes;
    steward_answer(steward, partition, &event);
}

void steward_make_extent(struct mr_steward *steward, struct mr_topic_partition *partition, bool slot)
{
    struct mr_topic *topic = partition->topic;
    struct mr_memory_between between = {.attend = steward_attend, .context = steward};
    struct mr_memory_file file;
    struct millrace_error err;
    char name[80];

    if (slot) {
        steward_make_slot(steward, partition);
        return;
    }
    if (!within_budget(steward, topic->extent_bytes)) {
        steward_refuse(steward, partition, false);
        return;
    }
    mr_topic_extent_name(&topic->id, partition->index, partition->next_file_id, name);
    int rc = mr_memory_create(steward->options.memory, name, topic->extent_bytes, true, steward->options.cpu_of_reactor[partition->reactor], &between,
                              &file, &err);
    if (rc != 0) {
        steward_say_memory(steward, &err);
        steward_refuse(steward, partition, false);
        return;
    }
    note_pages(steward, topic, &file);
    mr_fetch_add_relaxed(&steward->memory_bytes, topic->extent_bytes);
    uint32_t file_id = partition->next_file_id++;
    struct mr_steward_notice notice = {
        .kind = MR_STEWARD_EXTENT_MADE, .partition = partition, .file_id = file_id, .read_fd = file.read_fd, .bytes = file.bytes};
    steward_notify(steward, &notice); /* first: a reader should have the descriptor before the tail gets there */
    steward_grant(steward, partition, file.base, file_id, topic->extent_bytes, false);
}

void steward_take_extent(struct mr_steward *steward, struct mr_topic_partition *partition, const struct mr_log_live_extent *extent)
{
    struct mr_topic *topic = partition->topic;
    uint32_t file_id = extent->memory->file_id;
    uint64_t bytes = extent->memory->bytes;
    char name[80];

    if (file_id & MR_EXTENT_FILE_SLOT) {
        steward_take_slot(topic, extent);
        return;
    }
    mr_topic_extent_name(&topic->id, partition->index, file_id, name);
    munmap(extent->memory, bytes);
    mr_memory_unlink(steward->options.memory, name, true);
    mr_memory_unlink(steward->options.memory, name, false); /* it may have fallen back to ordinary pages */
    atomic_fetch_sub_explicit(&steward->memory_bytes, bytes, memory_order_relaxed);
    struct mr_steward_notice notice = {.kind = MR_STEWARD_EXTENT_GONE, .partition = partition, .file_id = file_id};
    steward_notify(steward, &notice);
}
