/* SPDX-License-Identifier: Apache-2.0 */
/* A topic's named memory as the door makes it, lets it grow, and gives it up: the head, and the beginning of the slot file (shm/abi/head.h). */
#include "dataplane/door/door_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int door_head_make(struct mr_memory *memory, struct mr_topic *topic, uint64_t generation, struct millrace_error *err)
{
    char name[80];
    void *piece;
    mr_topic_head_name(&topic->id, name);
    mr_memory_unlink(memory, name, false);
    int rc = mr_memory_create(memory, name, mr_align_up(mr_head_bytes(topic->partition_count), 4096), false, -1, NULL, &topic->head_file, err);
    if (rc != 0)
        return rc;
    /* The slot file begins empty; readers get its descriptor with the head's. */
    mr_topic_slots_name(&topic->id, name);
    mr_memory_unlink(memory, name, false);
    rc = mr_memory_grow(memory, name, 0, (uint64_t)MR_SLOT_PIECE_SLOTS * topic->slot_bytes, &piece, err);
    if (rc != 0) {
        mr_topic_head_name(&topic->id, name);
        mr_memory_unlink(memory, name, false);
        mr_memory_unmap(&topic->head_file);
        return rc;
    }
    if (mr_steward_slots_begin(topic, piece) != 0) {
        mr_memory_unlink(memory, name, false);
        mr_topic_head_name(&topic->id, name);
        mr_memory_unlink(memory, name, false);
        mr_memory_unmap(&topic->head_file);
        return mr_err(err, ENOMEM, "no memory for topic '%s'", topic->name);
    }
    topic->head = topic->head_file.base;
    struct mr_head *head = topic->head;
    head->version = MR_HEAD_VERSION;
    head->partition_capacity = topic->partition_count;
    head->boot_id = memory->boot_id;
    head->topic_id = topic->id;
    snprintf(head->name, sizeof head->name, "%s", topic->name);
    head->durability = topic->config.durability;
    head->message_bytes_max = (uint32_t)topic->config.message_bytes_max;
    head->slot_bytes = topic->slot_bytes;
    head->extent_bytes = topic->extent_bytes;
    mr_store_relaxed(&head->daemon_generation, generation);
    mr_store_release(&head->partition_count, topic->partition_count);
    head->magic = MR_HEAD_MAGIC; /* last: a head without it was never finished */
    return 0;
}

/* The head for more partitions: its file grows, and what is new of it is mapped by itself. Readers map anew when they open. */
int door_head_grow(struct mr_memory *memory, struct mr_topic *topic, uint32_t partition_count, struct millrace_error *err)
{
    uint64_t from = mr_head_bytes(topic->partition_count) / 4096 * 4096, to = mr_align_up(mr_head_bytes(partition_count), 4096);
    struct mr_topic_piece *piece = calloc(1, sizeof *piece);
    char name[80];
    if (piece == NULL)
        return mr_err(err, ENOMEM, "no memory for %u partitions of topic '%s'", partition_count, topic->name);
    mr_topic_head_name(&topic->id, name);
    int rc = mr_memory_grow(memory, name, from, to - from, &piece->base, err);
    if (rc != 0) {
        free(piece);
        return rc;
    }
    piece->from = from;
    piece->bytes = to - from;
    piece->next = topic->head_pieces;
    topic->head_pieces = piece;
    topic->head->partition_capacity = partition_count; /* before topics.json names them: a start adopts no head that is too small */
    return 0;
}

struct mr_head_partition *door_head_partition(const struct mr_topic *topic, uint32_t p)
{
    uint64_t from = MR_HEAD_PARTITIONS_POSITION + (uint64_t)p * sizeof(struct mr_head_partition), to = from + sizeof(struct mr_head_partition);
    const struct mr_topic_piece *piece = topic->head_pieces;
    if (to <= topic->head_file.bytes)
        return (struct mr_head_partition *)(void *)((uint8_t *)topic->head_file.base + from);
    while (from < piece->from || to > piece->from + piece->bytes)
        piece = piece->next;
    return (struct mr_head_partition *)(void *)((uint8_t *)piece->base + (from - piece->from));
}

void door_head_unlink(struct mr_memory *memory, struct mr_topic *topic)
{
    char name[80];
    mr_topic_head_name(&topic->id, name);
    mr_memory_unlink(memory, name, false);
    if (topic->slots_fd >= 0)
        close(topic->slots_fd);
    topic->slots_fd = -1;
}

void door_head_unmap(struct mr_topic *topic)
{
    while (topic->head_pieces != NULL) {
        struct mr_topic_piece *piece = topic->head_pieces;
        topic->head_pieces = piece->next;
        munmap(piece->base, piece->bytes);
        free(piece);
    }
    mr_memory_unmap(&topic->head_file);
}
