/* SPDX-License-Identifier: Apache-2.0 */
/* Slots: the small extents of a topic, in one file, which grows by pieces.
 *
 * What a dead daemon left of it is not simply reused: readers that have not attached again may still look at its slots, through a mapping that
 * we do not know of, and pins that died with their daemon. A slot that never held an extent is free all the same. Of the others those that
 * are live are used on, and the rest is lost, until it is more than what is in use: then the live slots are copied, at their places, to a new
 * file with the name of the old one. Who maps that keeps it until it attaches again; its slots are sealed, so that a reader there comes to an
 * extent that its mapping does not have, and waits. So what a crash costs is given back by the next ones. */
#include "dataplane/steward/steward_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "shm/base/logging.h"

#define SLOT_UNBACKED 0x80000000u /* in the list of free ones: its part of the file has no pages yet, or may have none */
#define SLOTS_LOST    16u         /* so many more than are live may be lost before the file is made anew */

static uint8_t *slot_memory(const struct mr_topic *topic, uint32_t slot)
{
    return topic->slots.piece[slot / MR_SLOT_PIECE_SLOTS] + (size_t)(slot % MR_SLOT_PIECE_SLOTS) * topic->slot_bytes;
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
    slots->accounted_bytes += bytes;
    return add_piece(slots, piece);
}

void steward_make_slot(struct mr_steward *steward, struct mr_topic_partition *partition)
{
    struct mr_topic *topic = partition->topic;
    struct mr_slot_file *slots = &topic->slots;
    struct millrace_error err;
    if (slots->free_count == 0) {
        /* Also beyond the budget: a partition without any memory takes no records at all, and slots are small. */
        if (grow_slots(steward, topic, &err) != 0)
            steward_say_memory(steward, &err);
        if (slots->free_count == 0) {
            steward_refuse(steward, partition, true);
            return;
        }
    }
    uint32_t slot = slots->free[slots->free_count - 1];
    bool unbacked = (slot & SLOT_UNBACKED) != 0;
    slot &= ~SLOT_UNBACKED;
    uint8_t *memory = slot_memory(topic, slot);
    if (unbacked) {
        char name[80];
        mr_topic_slots_name(&topic->id, name);
        if (mr_memory_back(steward->options.memory, name, (uint64_t)slot * topic->slot_bytes, topic->slot_bytes, memory, &err) != 0) {
            steward_say_memory(steward, &err);
            steward_refuse(steward, partition, true);
            return;
        }
        mr_fetch_add_relaxed(&steward->memory_bytes, topic->slot_bytes);
        slots->accounted_bytes += topic->slot_bytes;
    }
    slots->free_count--;
    steward_grant(steward, partition, memory, MR_EXTENT_FILE_SLOT | slot, topic->slot_bytes, true);
}

void steward_take_slot(struct mr_topic *topic, const struct mr_log_live_extent *extent)
{
    uint32_t slot = extent->memory->file_id & ~MR_EXTENT_FILE_SLOT;
    if (extent->adopted)
        return; /* its pins died with the daemon that knew them: it stays as it is until the slot file goes */
    extent->memory->magic = 0; /* nobody looks at it: the next daemon may take it as free */
    if (push_free(&topic->slots, slot) != 0)
        mr_say_warn("no memory to note a free slot of topic '%s'; it stays unused until the next start", topic->name);
}

/* Of a deleted topic: no partition has a slot any more. Readers keep their own mappings. */
void steward_release_slots(struct mr_steward *steward, struct mr_topic *topic)
{
    struct mr_slot_file *slots = &topic->slots;
    char name[80];
    for (uint32_t i = 0; i < slots->piece_count; i++)
        munmap(slots->piece[i], (uint64_t)MR_SLOT_PIECE_SLOTS * topic->slot_bytes);
    mr_topic_slots_name(&topic->id, name);
    mr_memory_unlink(steward->options.memory, name, false);
    atomic_fetch_sub_explicit(&steward->memory_bytes, slots->accounted_bytes, memory_order_relaxed);
    slots->piece_count = slots->free_count = 0;
    slots->accounted_bytes = 0;
}

int mr_steward_slots_adopt(struct mr_memory *memory, struct mr_topic *topic, struct millrace_error *err)
{
    uint64_t piece_bytes = (uint64_t)MR_SLOT_PIECE_SLOTS * topic->slot_bytes;
    struct mr_memory_file file;
    char name[80];

    mr_topic_slots_name(&topic->id, name);
    int rc = mr_memory_adopt_sparse(memory, name, &file, err);
    if (rc != 0)
        return rc;
    uint64_t pieces = file.bytes / piece_bytes;
    if (pieces > MR_SLOT_PIECES_MAX)
        pieces = MR_SLOT_PIECES_MAX;
    for (uint64_t i = 0; i < pieces; i++)
        topic->slots.piece[i] = (uint8_t *)file.base + i * piece_bytes;
    topic->slots.piece_count = (uint32_t)pieces;
    return 0;
}

/* To a new file, each live one at its place. The old mapping is given up; on an error it stays as it is. */
static int renew(struct mr_memory *memory, struct mr_topic *topic, struct mr_log_live_extent *const *live, uint32_t live_count,
                 struct millrace_error *err)
{
    struct mr_slot_file *slots = &topic->slots;
    uint64_t piece_bytes = (uint64_t)MR_SLOT_PIECE_SLOTS * topic->slot_bytes;
    uint8_t *old = slots->piece[0];
    uint32_t old_pieces = slots->piece_count, pieces = 0;
    struct mr_memory_file file;
    char name[80], new_name[90];

    for (uint32_t i = 0; i < live_count; i++)
        pieces = (uint32_t)mr_max_u64(pieces, (live[i]->memory->file_id & ~MR_EXTENT_FILE_SLOT) / MR_SLOT_PIECE_SLOTS + 1);
    mr_topic_slots_name(&topic->id, name);
    snprintf(new_name, sizeof new_name, "%s.new", name);
    int rc = mr_memory_create_sparse(memory, new_name, pieces * piece_bytes, &file, err);
    for (uint32_t i = 0; i < live_count && rc == 0; i++) {
        uint64_t at = (uint64_t)(live[i]->memory->file_id & ~MR_EXTENT_FILE_SLOT) * topic->slot_bytes;
        rc = mr_memory_back(memory, new_name, at, topic->slot_bytes, NULL, err);
        if (rc == 0)
            memcpy((uint8_t *)file.base + at, live[i]->memory, topic->slot_bytes);
    }
    if (rc == 0)
        rc = mr_memory_rename(memory, new_name, name, err);
    if (rc != 0) {
        mr_memory_unmap(&file);
        mr_memory_unlink(memory, new_name, false);
        return rc;
    }
    for (uint32_t i = 0; i < live_count; i++) {
        uint64_t at = (uint64_t)(live[i]->memory->file_id & ~MR_EXTENT_FILE_SLOT) * topic->slot_bytes;
        live[i]->memory = (struct mr_extent_header *)(void *)((uint8_t *)file.base + at);
        live[i]->adopted = false; /* only readers that attach from now on see it, and their pins are known */
    }
    for (uint32_t i = 0; i < pieces; i++)
        slots->piece[i] = (uint8_t *)file.base + i * piece_bytes;
    slots->piece_count = pieces;
    munmap(old, old_pieces * piece_bytes);
    return 0;
}

int mr_steward_slots_settle(struct mr_memory *memory, struct mr_topic *topic, struct mr_log_live_extent *const *live, uint32_t live_count,
                            void (*seal)(void *context), void *context, uint64_t *used_bytes, struct millrace_error *err)
{
    struct mr_slot_file *slots = &topic->slots;
    uint32_t count = slots->piece_count * MR_SLOT_PIECE_SLOTS, lost = 0;
    uint8_t *state = calloc(count + 1u, 1); /* 0: free, 1: live, 2: lost */

    if (state == NULL)
        return mr_err(err, ENOMEM, "no memory for the slots of topic '%s'", topic->name);
    for (uint32_t i = 0; i < live_count; i++)
        state[live[i]->memory->file_id & ~MR_EXTENT_FILE_SLOT] = 1;
    for (uint32_t i = 0; i < count; i++)
        if (state[i] == 0 && ((const struct mr_extent_header *)(const void *)slot_memory(topic, i))->magic != 0) {
            state[i] = 2;
            lost++;
        }
    int rc = 0;
    if (lost > live_count + SLOTS_LOST) {
        seal(context);
        rc = renew(memory, topic, live, live_count, err);
        for (uint32_t i = 0; i < count && rc == 0; i++)
            state[i] = state[i] == 2 ? 0 : state[i];
        lost = rc == 0 ? 0 : lost;
    }
    if (rc != 0) {
        mr_say_warn("slots of topic '%s' that are of no use stay: %s", topic->name, err->text);
        rc = 0;
    }
    for (uint32_t i = slots->piece_count * MR_SLOT_PIECE_SLOTS; i > 0 && rc == 0; i--)
        if (state[i - 1] == 0)
            rc = push_free(slots, (i - 1) | SLOT_UNBACKED);
    slots->accounted_bytes = (uint64_t)(live_count + lost) * topic->slot_bytes;
    *used_bytes += slots->accounted_bytes;
    free(state);
    return rc == 0 ? 0 : mr_err(err, ENOMEM, "no memory for the slots of topic '%s'", topic->name);
}
