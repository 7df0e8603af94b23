/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/node/adopt.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "shm/base/atomics.h"

#define THREADS_MAX 8u

struct live {
    struct mr_adopting *owner;
    uint64_t sequence;
    uint32_t file_id;
    bool is_tail;
    struct mr_extent_file *file; /* NULL: a slot, or not found */
    struct mr_memory_file mapped;
    struct mr_log_live_extent extent; /* memory NULL: it could not be mapped, or is not what the directory says */
    uint64_t checked_end;
};

struct work {
    struct mr_memory *memory;
    const struct mr_allocator *allocator;
    struct mr_adopting *partitions;
    uint32_t partition_count;
    struct live *live;
    uint32_t live_count, live_room;
    void (*each)(struct work *work, uint32_t index);
    uint32_t count;
    _Atomic uint32_t next;
};

/* Live extents as the directory names them, oldest first, up to the tail. @return 0; -EBADMSG; -ENOMEM */
static int list_extents(struct work *work, struct mr_adopting *p)
{
    struct mr_head_partition *head = (struct mr_head_partition *)(uintptr_t)p->head; /* loads only */
    uint64_t first = mr_load_acquire(&head->directory_first), tail = mr_load_acquire(&head->tail_sequence);
    p->extent_first = work->live_count;
    p->extent_count = 0;
    if (tail == 0)
        return 0;
    if (first == 0 || first > tail || tail - first >= MR_HEAD_DIRECTORY_COUNT)
        return -EBADMSG;
    for (uint64_t sequence = first; sequence <= tail; sequence++) {
        struct mr_head_directory_entry *entry = &head->directory[sequence % MR_HEAD_DIRECTORY_COUNT];
        uint32_t file_id = mr_load_relaxed(&entry->file_id);
        if (mr_load_acquire(&entry->sequence) != sequence) {
            if (p->extent_count == 0)
                continue; /* it was just being taken out of the directory */
            return -EBADMSG;
        }
        if (work->live_count == work->live_room) {
            uint32_t room = work->live_room == 0 ? 256 : 2 * work->live_room;
            struct live *grown = realloc(work->live, room * sizeof *grown);
            if (grown == NULL)
                return -ENOMEM;
            work->live = grown;
            work->live_room = room;
        }
        work->live[work->live_count++] = (struct live){.owner = p, .sequence = sequence, .file_id = file_id, .is_tail = sequence == tail,
                                                       .mapped.read_fd = -1};
        p->extent_count++;
    }
    return 0;
}

static struct mr_extent_header *map_slot(struct mr_topic *topic, uint32_t slot)
{
    uint32_t piece = slot / MR_SLOT_PIECE_SLOTS;
    if (piece >= topic->slots.piece_count)
        return NULL;
    return (struct mr_extent_header *)(void *)(topic->slots.piece[piece] + (size_t)(slot % MR_SLOT_PIECE_SLOTS) * topic->slot_bytes);
}

static struct mr_extent_header *map_file(struct work *work, struct live *live)
{
    const struct mr_topic_partition *partition = live->owner->partition;
    const struct mr_topic *topic = partition->topic;
    struct millrace_error err;
    char name[80];
    mr_topic_extent_name(&topic->id, partition->index, live->file_id, name);
    /* The check reads all of an extent that is full, and so maps it; the tail is mapped to its end for what will be appended. */
    if (mr_memory_adopt(work->memory, name, true, topic->extent_bytes, live->is_tail, &live->mapped, &err) != 0 &&
        mr_memory_adopt(work->memory, name, false, topic->extent_bytes, live->is_tail, &live->mapped, &err) != 0)
        return NULL;
    live->file = calloc(1, sizeof *live->file);
    if (live->file == NULL) {
        mr_memory_unmap(&live->mapped);
        return NULL;
    }
    *live->file = (struct mr_extent_file){.file_id = live->file_id, .read_fd = live->mapped.read_fd, .bytes = live->mapped.bytes};
    return live->mapped.base;
}

static void check_extent(struct work *work, uint32_t index)
{
    struct live *live = &work->live[index];
    bool slot = (live->file_id & MR_EXTENT_FILE_SLOT) != 0;
    struct mr_topic *topic = live->owner->partition->topic;
    struct mr_extent_header *memory = slot ? map_slot(topic, live->file_id & ~MR_EXTENT_FILE_SLOT) : map_file(work, live);
    uint64_t bytes = slot ? topic->slot_bytes : live->mapped.bytes;

    if (memory == NULL || memory->bytes != bytes || mr_load_relaxed(&memory->sequence) != live->sequence)
        return;
    struct mr_head_partition *head = (struct mr_head_partition *)(uintptr_t)live->owner->head; /* loads only */
    live->extent = (struct mr_log_live_extent){.memory = memory, .slot = slot, .adopted = true};
    live->checked_end = mr_adopt_check_extent(memory, mr_load_acquire(&head->log_end));
}

static void check_partition(struct work *work, uint32_t index)
{
    struct mr_adopting *p = &work->partitions[index];
    struct mr_log_live_extent extents[MR_HEAD_DIRECTORY_COUNT];
    uint64_t checked_ends[MR_HEAD_DIRECTORY_COUNT];

    if (p->rc != 0)
        return;
    if (p->extent_count == 0) {
        p->rc = -ENOENT;
        return;
    }
    for (uint32_t i = 0; i < p->extent_count; i++) {
        const struct live *live = &work->live[p->extent_first + i];
        if (live->extent.memory == NULL) {
            p->rc = mr_err(&p->err, EBADMSG, "an extent that the directory names is missing");
            return;
        }
        extents[i] = live->extent;
        checked_ends[i] = live->checked_end;
    }
    p->rc = mr_adopt_partition(p->head, &p->partition->topic->id, p->partition->index, &work->memory->boot_id, extents, p->extent_count,
                               checked_ends, work->allocator, p->recovered, &p->err);
}

static void *work_on(void *context)
{
    struct work *work = context;
    for (uint32_t i; (i = mr_fetch_add_relaxed(&work->next, 1)) < work->count;)
        work->each(work, i);
    return NULL;
}

/* Each of `count`, in any order, on every core; back when all are done. */
static void run(struct work *work, void (*each)(struct work *work, uint32_t index), uint32_t count)
{
    pthread_t thread[THREADS_MAX];
    cpu_set_t cpus;
    uint32_t wanted = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? (uint32_t)CPU_COUNT(&cpus) : 1, started = 0;

    work->each = each;
    work->count = count;
    mr_store_relaxed(&work->next, 0);
    wanted = wanted < THREADS_MAX ? wanted : THREADS_MAX;
    wanted = wanted < count ? wanted : count;
    while (started + 1 < wanted && pthread_create(&thread[started], NULL, work_on, work) == 0)
        started++; /* with fewer it takes longer */
    work_on(work);
    while (started > 0)
        pthread_join(thread[--started], NULL);
}

static void keep_or_drop(struct live *live, uint64_t *bytes)
{
    struct mr_topic_partition *partition = live->owner->partition;
    if (live->file == NULL)
        return;
    if (live->owner->rc != 0) {
        mr_memory_unmap(&live->mapped); /* the file goes with all else that nobody took */
        free(live->file);
        return;
    }
    live->file->next = partition->files;
    partition->files = live->file;
    if (live->file_id >= partition->next_file_id)
        partition->next_file_id = live->file_id + 1;
    *bytes += live->mapped.bytes;
}

int mr_adopt_memory(struct mr_memory *memory, struct mr_adopting *partitions, uint32_t count, const struct mr_allocator *allocator, uint64_t *bytes,
                    struct millrace_error *err)
{
    struct work work = {.memory = memory, .allocator = allocator, .partitions = partitions, .partition_count = count};
    int rc = 0;
    for (uint32_t i = 0; i < count && rc != -ENOMEM; i++) {
        rc = partitions[i].rc = list_extents(&work, &partitions[i]);
        if (rc == -EBADMSG)
            (void)mr_err(&partitions[i].err, EBADMSG, "the directory of extents is torn");
    }
    if (rc == -ENOMEM) {
        free(work.live);
        return mr_err(err, ENOMEM, "no memory to adopt %u partitions", count);
    }
    run(&work, check_extent, work.live_count);
    run(&work, check_partition, count);
    for (uint32_t i = 0; i < work.live_count; i++)
        keep_or_drop(&work.live[i], bytes);
    free(work.live);
    return 0;
}
