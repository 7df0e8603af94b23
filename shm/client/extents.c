/* SPDX-License-Identifier: Apache-2.0 */
/* Live extents: their mappings, their pins, and where in them an offset is. */
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/client/consumer_internal.h"

static void bury(struct millrace_consumer *consumer, struct mr_grave grave)
{
    if (grave.base == NULL)
        return;
    if (consumer->grave_count == consumer->grave_room) {
        uint32_t room = consumer->grave_room == 0 ? 16 : 2 * consumer->grave_room;
        struct mr_grave *grown = realloc(consumer->graves, room * sizeof *grown);
        if (grown == NULL)
            return; /* stays mapped until the process ends: better than under somebody's pointer */
        consumer->graves = grown;
        consumer->grave_room = room;
    }
    consumer->graves[consumer->grave_count++] = grave;
}

void mr_consumer_bury(struct millrace_consumer *consumer, const void *base, uint64_t bytes)
{
    bury(consumer, (struct mr_grave){.base = base, .bytes = bytes});
}

void mr_consumer_bury_pins(struct millrace_consumer *consumer, _Atomic uint64_t *pins, uint32_t partition_count)
{
    bury(consumer, (struct mr_grave){.base = pins, .bytes = mr_pins_bytes(partition_count), .left = &pins[mr_pins_left_index(partition_count)]});
}

void mr_consumer_dig(struct millrace_consumer *consumer)
{
    while (consumer->grave_count > 0) {
        const struct mr_grave *grave = &consumer->graves[--consumer->grave_count];
        if (grave->left != NULL)
            mr_store_release(grave->left, 1); /* our reads end before */
        munmap((void *)(uintptr_t)grave->base, grave->bytes);
    }
}

/* Unmap what the daemon has given up: its memory is free only then. What is being read stays until the reader has left it: an adopted
 * extent is given up without a look at pins, which the daemon that died knew. */
static void drop_gone(struct millrace_consumer *consumer, struct mr_reader *reader)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < reader->map_count; i++) {
        const struct mr_extent_map *map = &reader->maps[i];
        bool is_read = reader->state == MR_READER_LIVE && (const uint8_t *)reader->extent == map->base;
        if (map->gone && !is_read)
            mr_consumer_bury(consumer, map->base, map->bytes);
        else
            reader->maps[kept++] = *map;
    }
    reader->map_count = kept;
}

void mr_reader_drop_extent(struct millrace_consumer *consumer, struct mr_reader *reader, uint32_t file_id)
{
    for (uint32_t i = 0; i < reader->map_count; i++)
        reader->maps[i].gone = reader->maps[i].gone || reader->maps[i].file_id == file_id;
    drop_gone(consumer, reader);
}

static void end_round(struct millrace_consumer *consumer, struct mr_reader *reader)
{
    for (uint32_t i = 0; i < reader->map_count; i++)
        reader->maps[i].gone = reader->maps[i].gone || reader->maps[i].round != reader->told_round;
    drop_gone(consumer, reader);
}

void mr_reader_expect_extents(struct millrace_consumer *consumer, struct mr_reader *reader, uint32_t count)
{
    reader->told_round++;
    reader->told_left = count;
    if (count == 0)
        end_round(consumer, reader);
}

#define MR_HUGEPAGE_FROM (64 << 10) /* st_blksize of a file: hugetlbfs says its page's */

static void add_map(struct millrace_consumer *consumer, struct mr_reader *reader, uint32_t file_id, uint64_t bytes, int fd)
{
    struct stat st;
    void *base = MAP_FAILED;

    for (uint32_t i = 0; i < reader->map_count; i++)
        if (reader->maps[i].file_id == file_id) { /* told again: a number is not given twice by one daemon */
            reader->maps[i].round = reader->told_round;
            return;
        }
    drop_gone(consumer, reader);
    if (reader->map_count == reader->map_room) {
        uint32_t room = reader->map_room == 0 ? 16 : 2 * reader->map_room;
        struct mr_extent_map *grown = realloc(reader->maps, room * sizeof *grown);
        if (grown == NULL)
            return;
        reader->maps = grown;
        reader->map_room = room;
    }
    /* Hugepages are mapped here, not at the first record in each. Ordinary ones are not: 8,000 of them took 6 ms, and whoever waits for records in
     * this thread waits as long; one at a time the kernel maps 16 in a microsecond or two. */
    if (fd >= 0 && bytes >= sizeof(struct mr_extent_header) && fstat(fd, &st) == 0 && (uint64_t)st.st_size >= bytes)
        base = mmap(NULL, bytes, PROT_READ, MAP_SHARED | (st.st_blksize > MR_HUGEPAGE_FROM ? MAP_POPULATE : 0), fd, 0);
    if (base != MAP_FAILED)
        reader->maps[reader->map_count++] = (struct mr_extent_map){.file_id = file_id, .base = base, .bytes = bytes, .round = reader->told_round};
}

void mr_reader_add_extent(struct millrace_consumer *consumer, struct mr_reader *reader, uint32_t file_id, uint64_t bytes, int fd)
{
    add_map(consumer, reader, file_id, bytes, fd);
    if (fd >= 0)
        close(fd);
    if (reader->told_left > 0 && --reader->told_left == 0)
        end_round(consumer, reader);
}

/* @return the extent's memory, *bytes of it; NULL: we have no descriptor for it (yet) */
static const uint8_t *find_map(struct millrace_consumer *consumer, const struct mr_reader *reader, uint32_t file_id, uint64_t *bytes)
{
    if ((file_id & MR_EXTENT_FILE_SLOT) != 0) {
        uint64_t from = (uint64_t)(file_id & ~MR_EXTENT_FILE_SLOT) * consumer->slot_bytes;
        uint64_t end = from + consumer->slot_bytes;
        struct stat st;
        if (end > consumer->slots_bytes && consumer->slots_fd >= 0 && fstat(consumer->slots_fd, &st) == 0)
            consumer->slots_bytes = mr_min_u64((uint64_t)st.st_size, consumer->slots_map_bytes);
        *bytes = consumer->slot_bytes;
        return end <= consumer->slots_bytes ? consumer->slots + from : NULL;
    }
    for (uint32_t i = reader->map_count; i > 0; i--)
        if (reader->maps[i - 1].file_id == file_id) {
            *bytes = reader->maps[i - 1].bytes;
            return reader->maps[i - 1].base;
        }
    return NULL;
}

void mr_reader_unpin(struct mr_reader *reader, bool all)
{
    for (uint32_t i = 0; i < MR_PINS_PER_PARTITION; i++) {
        if (reader->pinned[i] != 0 && (all || reader->state != MR_READER_LIVE || reader->pinned[i] != reader->sequence)) {
            reader->pinned[i] = 0;
            mr_store_release(&reader->pin[i], 0); /* our reads end before the daemon may write there */
        }
        if (reader->pinned[i] == 0)
            reader->held[i] = NULL;
    }
}

bool mr_reader_check_held(struct mr_reader *reader)
{
    bool intact = true;

    mr_fence_seq_cst(); /* the caller's reads come before; the daemon fences between the new sequence and what it writes (cold: name()) */
    for (uint32_t i = 0; i < MR_PINS_PER_PARTITION; i++)
        intact = intact && (reader->held[i] == NULL || mr_load_acquire(&reader->held[i]->sequence) == reader->held_sequence[i]);
    return intact;
}

static void unpin_one(struct mr_reader *reader, uint64_t sequence)
{
    for (uint32_t i = 0; i < MR_PINS_PER_PARTITION; i++)
        if (reader->pinned[i] == sequence) {
            reader->pinned[i] = 0;
            reader->held[i] = NULL;
            mr_store_release(&reader->pin[i], 0);
        }
}

static bool is_sane(const struct mr_extent_header *extent, uint64_t bytes)
{
    return extent->magic == MR_EXTENT_MAGIC && extent->version == MR_EXTENT_VERSION && extent->bytes <= bytes &&
           extent->data_position >= sizeof *extent && (uint64_t)extent->data_position + extent->data_bytes <= extent->bytes &&
           extent->start_position >= extent->window_position && extent->start_position - extent->window_position <= extent->data_bytes;
}

/**
 * Pin an extent and look at it (K1).
 * @return 0; -ENOENT: the directory does not name it (any more); -EAGAIN: no free pin; -ENXIO: it is not mapped (yet); -EBADMSG
 */
static int enter(struct millrace_consumer *consumer, struct mr_reader *reader, uint64_t sequence, const struct mr_extent_header **found)
{
    const struct mr_head_directory_entry *entry = &reader->head->directory[sequence % MR_HEAD_DIRECTORY_COUNT];
    uint32_t slot = 0;
    uint64_t bytes;

    if (mr_load_acquire(&entry->sequence) != sequence)
        return -ENOENT;
    while (slot < MR_PINS_PER_PARTITION && reader->pinned[slot] != 0)
        slot++;
    if (slot == MR_PINS_PER_PARTITION)
        return -EAGAIN;
    reader->pinned[slot] = sequence;
    mr_store_relaxed(&reader->pin[slot], sequence);
    mr_fence_seq_cst();
    int rc = -ENOENT;
    uint32_t file_id = mr_load_relaxed(&entry->file_id);
    if (mr_load_acquire(&entry->sequence) == sequence) {
        const uint8_t *base = find_map(consumer, reader, file_id, &bytes);
        if (base == NULL && consumer->client->state == MR_CLIENT_ATTACHED && mr_client_take_pushes(consumer->client) == 0)
            base = find_map(consumer, reader, file_id, &bytes);
        const struct mr_extent_header *extent = (const struct mr_extent_header *)(const void *)base;
        if (base == NULL)
            rc = -ENXIO;
        else if (mr_load_acquire(&extent->sequence) == sequence && extent->partition == reader->partition)
            /* Of another partition: our mapping is of a slot file that a new daemon has replaced. Attaching again brings the new one. */
            rc = is_sane(extent, bytes) ? 0 : -EBADMSG;
        *found = extent;
        reader->held[slot] = extent;
        reader->held_sequence[slot] = sequence;
    }
    if (rc != 0)
        unpin_one(reader, sequence);
    return rc;
}

static void go_live(struct mr_reader *reader, const struct mr_extent_header *extent, uint64_t sequence)
{
    reader->state = MR_READER_LIVE;
    reader->in_batch = false;
    reader->extent = extent;
    reader->sequence = sequence;
    reader->unnamed_ns = reader->unmapped_ns = 0;
    reader->window = (const uint8_t *)extent + extent->data_position;
    reader->window_position = extent->window_position;
    reader->window_end = extent->window_position + extent->data_bytes;
    reader->position = extent->start_position;
}

/* Batch by batch to the one that holds the offset. Headers only; an extent holds some thousands at most. */
static int walk(struct mr_reader *reader)
{
    for (;;) {
        uint64_t sealed_end = mr_load_relaxed(&reader->extent->sealed_end); /* S: ordered by the load of visible */
        if (sealed_end != 0 && reader->position >= sealed_end)
            return 0; /* a gap in compacted offsets, or the first of the next extent */
        const uint8_t *batch = reader->window + (reader->position - reader->window_position);
        if (mr_batch_check_header(batch, reader->window_end - reader->position) != MR_BATCH_OK)
            return -EBADMSG;
        if ((uint64_t)mr_batch_next_offset(batch) > reader->offset)
            return 0;
        reader->position += (uint64_t)mr_batch_total_bytes(batch);
    }
}

int mr_reader_place(struct millrace_consumer *consumer, struct mr_reader *reader)
{
    const struct mr_extent_header *extent;

    reader->visible = mr_load_acquire(&reader->head->visible); /* V */
    if (reader->offset >= reader->visible)
        return 0;
    uint64_t first = mr_load_relaxed(&reader->head->directory_first);
    uint64_t sequence = mr_load_relaxed(&reader->head->tail_sequence);
    bool unmapped = false;
    if (first == 0)
        first = 1;
    for (uint32_t i = 0; i < MR_HEAD_DIRECTORY_COUNT && sequence >= first; i++, sequence--) {
        int rc = enter(consumer, reader, sequence, &extent);
        if (rc == -EAGAIN)
            return 0; /* later; a pin is held by records of this very poll */
        if (rc == -ENXIO) { /* perhaps it is an older one that we need; else we come to the end of that, and ask for this one again */
            unmapped = true;
            continue;
        }
        if (rc != 0)
            return rc;
        if (extent->base_offset > reader->offset) {
            unpin_one(reader, sequence);
            continue;
        }
        go_live(reader, extent, sequence);
        rc = walk(reader);
        if (rc != 0) {
            reader->state = MR_READER_LOOKING;
            unpin_one(reader, sequence);
        }
        return rc;
    }
    return unmapped ? -ENXIO : -ENOENT;
}

int mr_reader_cross(struct millrace_consumer *consumer, struct mr_reader *reader)
{
    const struct mr_extent_header *extent;
    int rc = enter(consumer, reader, reader->sequence + 1, &extent);

    if (rc == -EAGAIN)
        return 0;
    if (rc == -ENOENT)
        reader->state = MR_READER_LOOKING;
    if (rc != 0)
        return rc;
    go_live(reader, extent, reader->sequence + 1); /* the pin of the one behind stays until the next poll (K2) */
    return 1;
}
