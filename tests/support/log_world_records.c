/* SPDX-License-Identifier: Apache-2.0 */
/* Records of the simulated storage: values that follow from partition and offset, so that whatever is found can be checked by itself. */
#include "tests/support/log_world_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/base/atomics.h"

void log_world_value(uint32_t partition, uint64_t offset, uint8_t *value, uint32_t value_bytes)
{
    struct mr_random random;

    mr_random_init(&random, offset, partition);
    for (uint32_t i = 0; i < value_bytes; i += 8) {
        uint64_t word = mr_random_next(&random);
        memcpy(value + i, &word, value_bytes - i < 8 ? value_bytes - i : 8);
    }
}

int log_world_append(struct log_world *w, uint32_t partition, uint32_t count, uint32_t value_bytes)
{
    struct log_world_partition *p = &w->partition[partition];
    uint8_t *value = must(malloc(value_bytes + 1));

    if (p->producer == NULL) {
        if (mr_partition_producer(p->log, 1000 + partition, 0, &p->producer) != 0)
            WORLD_FAIL("no producer");
        int64_t next = mr_producer_next_sequence(p->producer);
        p->next_sequence = next < 0 ? 0x7ffffff0 : (uint64_t)next; /* so that sequences wrap early */
    }
    uint64_t first_bytes = (uint64_t)value_bytes + 16;
    int rc = mr_partition_begin(p->log, p->producer, p->next_sequence, first_bytes);
    uint32_t added = 0;
    if (rc == 0) {
        struct mr_batch_writer *writer = mr_partition_writer(p->log);
        struct mr_appended appended;
        for (; added < count; added++) {
            log_world_value(partition, (uint64_t)writer->base_offset + added, value, value_bytes);
            if (!mr_batch_add_value(writer, (int64_t)(w->now_ns / 1000000), value, value_bytes))
                break;
        }
        mr_partition_finish(p->log, &appended);
        if (added == 0 || appended.count != added)
            WORLD_FAIL("partition %u: begin promised room for a record", partition);
        p->next_sequence += added;
    }
    free(value);
    return rc != 0 ? rc : (int)added;
}

uint64_t log_world_end(const struct log_world *w, uint32_t partition)
{
    return mr_partition_end(w->partition[partition].log);
}

uint64_t log_world_durable(const struct log_world *w, uint32_t partition)
{
    uint64_t durable;
    (void)mr_partition_committed(w->partition[partition].log, &durable);
    return durable;
}

/* Reading */

static uint64_t check_batch(uint32_t partition, const uint8_t *batch, uint64_t bytes, uint64_t offset)
{
    struct mr_batch_iterator it;
    struct mr_batch_record record;
    enum mr_batch_reason reason = mr_batch_check(batch, bytes, 0);

    if (reason != MR_BATCH_OK)
        WORLD_FAIL("partition %u offset %" PRIu64 ": %s", partition, offset, mr_batch_reason_text(reason));
    if ((uint64_t)mr_batch_base_offset(batch) != offset)
        WORLD_FAIL("partition %u: offset %" PRIu64 " where %" PRIu64 " is expected", partition, (uint64_t)mr_batch_base_offset(batch), offset);
    if (mr_batch_iterator_init(&it, batch, bytes) != 0)
        WORLD_FAIL("partition %u offset %" PRIu64 ": cannot iterate", partition, offset);
    while (mr_batch_next(&it, &record) == 1) {
        uint8_t *value = must(malloc((size_t)record.value_bytes + 1));
        log_world_value(partition, (uint64_t)record.offset, value, (uint32_t)record.value_bytes);
        if (memcmp(value, record.value, (size_t)record.value_bytes) != 0)
            WORLD_FAIL("partition %u offset %" PRId64 ": other bytes than were appended", partition, record.offset);
        free(value);
        offset++;
    }
    return offset;
}

uint64_t log_world_check_memory(const struct log_world *w, uint32_t partition)
{
    const struct log_world_partition *p = &w->partition[partition];
    uint64_t visible = mr_load_acquire(&p->head->visible);
    uint64_t sequence = mr_load_relaxed(&p->head->directory_first);
    uint64_t oldest = UINT64_MAX, offset = 0;

    for (; sequence <= mr_load_relaxed(&p->head->directory_last) && (oldest == UINT64_MAX || offset < visible); sequence++) {
        struct mr_head_directory_entry *entry = &p->head->directory[sequence % MR_HEAD_DIRECTORY_COUNT];
        if (mr_load_relaxed(&entry->sequence) != sequence)
            WORLD_FAIL("partition %u: the directory does not name extent %" PRIu64, partition, sequence);
        struct mr_extent_header *h = w->memory[mr_load_relaxed(&entry->file_id) & ~MR_EXTENT_FILE_SLOT].header;
        if (mr_load_relaxed(&h->sequence) != sequence)
            WORLD_FAIL("partition %u: extent %" PRIu64 " has another sequence", partition, sequence);
        if (h->base_offset == UINT64_MAX)
            break;
        if (oldest == UINT64_MAX)
            oldest = offset = h->base_offset;
        uint64_t position = h->start_position;
        uint64_t sealed_end = mr_load_relaxed(&h->sealed_end);
        while (offset < visible && (sealed_end == 0 || position < sealed_end)) {
            const uint8_t *batch = (const uint8_t *)h + h->data_position + (position - h->window_position);
            offset = check_batch(partition, batch, h->window_position + h->data_bytes - position, offset);
            position += (uint64_t)mr_batch_total_bytes(batch);
        }
    }
    if (oldest != UINT64_MAX && offset < visible)
        WORLD_FAIL("partition %u: memory ends at %" PRIu64 " before visible %" PRIu64, partition, offset, visible);
    return oldest;
}

struct bases {
    uint64_t *base;
    uint32_t count, room;
    const char *prefix;
};

static int each_base(void *context, const char *path, bool is_directory, uint64_t bytes)
{
    struct bases *bases = context;
    size_t prefix = strlen(bases->prefix), length = strlen(path);

    if (is_directory || strncmp(path, bases->prefix, prefix) != 0 || path[prefix] != '/' || length < 4 || strcmp(path + length - 4, ".log") != 0)
        return 0;
    if (bases->count == bases->room) {
        bases->room = bases->room == 0 ? 16 : bases->room * 2;
        bases->base = must(realloc(bases->base, bases->room * sizeof *bases->base));
    }
    bases->base[bases->count++] = strtoull(path + prefix + 1, NULL, 10);
    return 0;
}

uint64_t log_world_check_files(const struct log_world *w, uint32_t partition, uint64_t *end)
{
    const struct log_world_partition *p = &w->partition[partition];
    char directory[256], path[256];
    struct bases bases = {.prefix = directory};
    uint64_t offset = 0, first = 0;

    partition_path(p, directory, sizeof directory);
    (void)mr_sim_disk_walk(w->machine, each_base, &bases); /* by name: in order of offset */
    bool begun = false;
    for (uint32_t i = 0; i < bases.count; i++) {
        if (i + 1 < bases.count && bases.base[i + 1] <= mr_load_relaxed(&p->head->log_start))
            continue; /* its deletion is under way */
        if (!begun)
            first = offset = bases.base[i];
        begun = true;
        if (bases.base[i] != offset)
            WORLD_FAIL("partition %u: segment %" PRIu64 " where %" PRIu64 " is expected", partition, bases.base[i], offset);
        segment_path(p, bases.base[i], ".log", path, sizeof path);
        int64_t bytes = mr_sim_disk_size_path(w->machine, path);
        uint8_t *file = must(calloc(1, (size_t)bytes + 64));
        if (mr_sim_disk_read_path(w->machine, path, file, (size_t)bytes, 0) != bytes)
            WORLD_FAIL("cannot read %s", path);
        int64_t position = 0;
        while (position < bytes && mr_batch_magic(file + position) == 2) { /* behind the end of the last one: zeros */
            offset = check_batch(partition, file + position, (uint64_t)(bytes - position), offset);
            position += mr_batch_total_bytes(file + position);
        }
        free(file);
    }
    free(bases.base);
    *end = offset;
    return first;
}
