/* SPDX-License-Identifier: Apache-2.0 */
/* Memory for logs: hugepage extents, one file each, and slots of a topic's slot file. */
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

static void say_memory(struct mr_steward *steward, const struct millrace_error *err)
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

static void refuse(struct mr_steward *steward, struct mr_topic_partition *partition, bool slot)
{
    struct mr_log_event event = {.kind = MR_LOG_EVENT_EXTENT, .partition = partition->log, .extent = {.memory = NULL, .slot = slot}};
    steward_answer(steward, partition, &event);
}

static void grant(struct mr_steward *steward, struct mr_topic_partition *partition, void *memory, uint32_t file_id, uint64_t bytes, bool slot)
{
    struct mr_extent_header *header = memory;
    struct mr_log_event event = {.kind = MR_LOG_EVENT_EXTENT, .partition = partition->log, .extent = {.memory = memory, .slot = slot}};
    memset(header, 0, sizeof *header);
    header->file_id = file_id;
    header->bytes = bytes;
    steward_answer(steward, partition, &event);
}

static int push_free(struct mr_slot_file *slots, uint32_t slot)
{
    if (slots->free_count == slots->free_capacity) {
        uint32_t capacity = slots->free_capacity == 0 ? 2 * MR_SLOT_PIECE_SLOTS : 2 * slots->free_capacity;
        uint32_t *grown = realloc(slots->free, capacity * sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        slots->free = grown;
        slots->free_capacity = capacity;
    }
    slots->free[slots->free_count++] = slot;
    return 0;
}

static int add_piece(struct mr_slot_file *slots, void *piece)
{
    int rc = 0;
    uint32_t first = slots->piece_count * MR_SLOT_PIECE_SLOTS;
    slots->piece[slots->piece_count++] = piece;
    for (uint32_t i = MR_SLOT_PIECE_SLOTS; i > 0 && rc == 0; i--)
        rc = push_free(slots, first + i - 1);
    return rc;
}

int mr_steward_slots_begin(struct mr_topic *topic, void *piece)
{
    return add_piece(&topic->slots, piece);
}

static int grow_slots(struct mr_steward *steward, struct mr_topic *topic, struct millrace_error *err)
{
    struct mr_slot_file *slots = &topic->slots;
    uint64_t bytes = (uint64_t)MR_SLOT_PIECE_SLOTS * topic->slot_bytes;
    char name[80];
    void *piece;
    if (slots->piece_count == MR_SLOT_PIECES_MAX)
        return mr_err(err, ENOMEM, "topic '%s' has no more slots", topic->name);
    mr_topic_slots_name(&topic->id, name);
    int rc = mr_memory_grow(steward->options.memory, name, slots->piece_count * bytes, bytes, &piece, err);
    if (rc != 0)
        return rc;
    mr_fetch_add_relaxed(&steward->memory_bytes, bytes);
    return add_piece(slots, piece);
}

static void make_slot(struct mr_steward *steward, struct mr_topic_partition *partition)
{
    struct mr_topic *topic = partition->topic;
    struct mr_slot_file *slots = &topic->slots;
    struct millrace_error err;
    if (slots->free_count == 0) {
        /* Also beyond the budget: a partition without any memory takes no records at all, and slots are small. */
        if (grow_slots(steward, topic, &err) != 0)
            say_memory(steward, &err);
        if (slots->free_count == 0) {
            refuse(steward, partition, true);
            return;
        }
    }
    uint32_t slot = slots->free[--slots->free_count];
    uint8_t *memory = slots->piece[slot / MR_SLOT_PIECE_SLOTS] + (size_t)(slot % MR_SLOT_PIECE_SLOTS) * topic->slot_bytes;
    grant(steward, partition, memory, MR_EXTENT_FILE_SLOT | slot, topic->slot_bytes, true);
}

void steward_make_extent(struct mr_steward *steward, struct mr_topic_partition *partition, bool slot)
{
    struct mr_topic *topic = partition->topic;
    struct mr_memory_between between = {.attend = steward_attend, .context = steward};
    struct mr_memory_file file;
    struct millrace_error err;
    char name[80];

    if (slot) {
        make_slot(steward, partition);
        return;
    }
    if (!within_budget(steward, topic->extent_bytes)) {
        refuse(steward, partition, false);
        return;
    }
    mr_topic_extent_name(&topic->id, partition->index, partition->next_file_id, name);
    int rc = mr_memory_create(steward->options.memory, name, topic->extent_bytes, true, steward->options.cpu_of_reactor[partition->reactor], &between,
                              &file, &err);
    if (rc != 0) {
        say_memory(steward, &err);
        refuse(steward, partition, false);
        return;
    }
    note_pages(steward, topic, &file);
    mr_fetch_add_relaxed(&steward->memory_bytes, topic->extent_bytes);
    uint32_t file_id = partition->next_file_id++;
    struct mr_steward_notice notice = {
        .kind = MR_STEWARD_EXTENT_MADE, .partition = partition, .file_id = file_id, .read_fd = file.read_fd, .bytes = file.bytes};
    steward_notify(steward, &notice); /* first: a reader should have the descriptor before the tail gets there */
    grant(steward, partition, file.base, file_id, topic->extent_bytes, false);
}

void steward_take_extent(struct mr_steward *steward, struct mr_topic_partition *partition, const struct mr_log_live_extent *extent)
{
    struct mr_topic *topic = partition->topic;
    uint32_t file_id = extent->memory->file_id;
    uint64_t bytes = extent->memory->bytes;
    char name[80];

    if (file_id & MR_EXTENT_FILE_SLOT) {
        /* Pins on an adopted slot died with the daemon that knew them: it stays as it is until the slot file goes. */
        if (!extent->adopted && push_free(&topic->slots, file_id & ~MR_EXTENT_FILE_SLOT) != 0)
            mr_say_warn("no memory to note a free slot of topic '%s'; it stays unused until the next start", topic->name);
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

int mr_steward_slots_adopt(struct mr_memory *memory, struct mr_topic *topic, struct millrace_error *err)
{
    uint64_t piece_bytes = (uint64_t)MR_SLOT_PIECE_SLOTS * topic->slot_bytes;
    struct mr_memory_file file;
    char name[80];

    mr_topic_slots_name(&topic->id, name);
    int rc = mr_memory_adopt(memory, name, false, 0, true, &file, err);
    if (rc != 0)
        return rc;
    close(file.read_fd);
    uint64_t pieces = file.bytes / piece_bytes;
    if (pieces > MR_SLOT_PIECES_MAX)
        pieces = MR_SLOT_PIECES_MAX;
    for (uint64_t i = 0; i < pieces; i++)
        topic->slots.piece[i] = (uint8_t *)file.base + i * piece_bytes;
    topic->slots.piece_count = (uint32_t)pieces;
    return 0;
}
