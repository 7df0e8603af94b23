/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/log_world_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/base/atomics.h"
#include "shm/segment/checkpoint.h"


static void *aligned(size_t alignment, size_t bytes)
{
    void *memory = NULL;
    if (posix_memalign(&memory, alignment, mr_align_up(bytes, alignment)) != 0)
        WORLD_FAIL("no memory");
    memset(memory, 0, bytes);
    return memory;
}

static void *world_allocate(void *context, size_t bytes)
{
    return aligned(64, bytes == 0 ? 1 : bytes);
}

static void world_release(void *context, void *memory)
{
    free(memory);
}

const struct mr_allocator log_world_allocator = {NULL, world_allocate, world_release};

void log_world_options_init(struct log_world_options *options)
{
    *options = (struct log_world_options){
        .seed = 1,
        .reactors = 1,
        .directories = 1,
        .partitions = 1,
        .durability = MR_DURABILITY_DISK,
        .journal_bytes = 260u << 10,
        .staging_bytes = 64u << 10,
        .segment_bytes = 64u << 10,
        .retention_bytes = UINT64_MAX,
        .batch_bytes_max = 16u << 10,
        .slot_bytes = 32u << 10,
        .extent_bytes = 64u << 10,
        .hot_bytes_min = 320u << 10,
        .memory_max = 1024,
        .answer_steps_max = 3,
        .flush_ns = 5000000,
        .step_ns = 100000,
    };
    mr_sim_disk_options_init(&options->disk);
    options->disk.delay_polls_max = 4;
}

static void forget_memory(struct log_world *w)
{
    for (uint32_t i = 0; i < w->memory_count; i++)
        free(w->memory[i].header);
    free(w->memory);
    w->memory = NULL;
    w->memory_count = 0;
    w->memory_lent = 0;
    for (uint32_t i = 0; i < w->options.partitions; i++)
        memset(w->partition[i].head, 0, sizeof *w->partition[i].head);
    for (uint32_t i = 0; i < sizeof w->boot_id.bytes; i++)
        w->boot_id.bytes[i] = (uint8_t)mr_random_next(&w->random);
}

struct log_world *log_world_open(const struct log_world_options *options)
{
    struct log_world *w = must(calloc(1, sizeof *w));

    w->options = *options;
    w->options.disk.seed = options->seed;
    mr_random_init(&w->random, options->seed, 77);
    w->machine = mr_sim_disk_machine_open(&w->options.disk);
    w->now_ns = 1000000000;
    struct mr_disk *disk = mr_sim_disk_open(w->machine);
    for (uint32_t i = 0; i < options->directories; i++) {
        char path[64];
        directory_path(i, path, sizeof path);
        if (mr_disk_make_directory(disk, path) != 0)
            WORLD_FAIL("cannot make %s", path);
    }
    if (mr_disk_sync_directory(disk, "/") != 0)
        WORLD_FAIL("cannot sync /");
    mr_disk_release(disk);
    for (uint32_t i = 0; i < options->partitions; i++) {
        struct log_world_partition *p = &w->partition[i];
        snprintf(p->name, sizeof p->name, "t-%u", i);
        p->index = i;
        p->reactor = i % options->reactors;
        p->directory = i % options->directories;
        p->durability = options->durability;
        p->segment_bytes = options->segment_bytes;
        p->retention_bytes = options->retention_bytes;
        memset(&p->topic_id, 0x40, sizeof p->topic_id);
        p->head = aligned(64, sizeof *p->head);
    }
    forget_memory(w);
    return w;
}

/* The process is gone: everything but memory, heads and the disk. */
static void drop_process(struct log_world *w)
{
    for (uint32_t i = 0; i < w->options.reactors; i++) {
        struct log_world_reactor *r = &w->reactor[i];
        mr_log_release(r->log);
        free(r->staging);
        free(r->answer);
        free(r->write);
        memset(r, 0, sizeof *r);
    }
    for (uint32_t i = 0; i < w->options.directories; i++) {
        mr_recovery_close(w->recovery[i]);
        w->recovery[i] = NULL;
        w->offline[i] = false;
    }
    for (uint32_t i = 0; i < w->options.partitions; i++) {
        w->partition[i].log = NULL;
        w->partition[i].producer = NULL;
    }
    w->file_count = 0;
    w->running = false;
    w->steward = NULL; /* the machine frees its handles */
}

void log_world_close(struct log_world *w)
{
    if (w == NULL)
        return;
    drop_process(w);
    mr_sim_disk_machine_close(w->machine);
    forget_memory(w);
    for (uint32_t i = 0; i < w->options.partitions; i++)
        free(w->partition[i].head);
    free(w->file);
    free(w);
}

void log_world_kill(struct log_world *w)
{
    mr_sim_disk_kill(w->machine);
    drop_process(w);
}

void log_world_power_cut(struct log_world *w)
{
    mr_sim_disk_power_cut(w->machine, &w->random);
    drop_process(w);
    forget_memory(w);
}

void log_world_take_image(struct log_world *w, struct mr_sim_disk_machine *machine)
{
    drop_process(w);
    mr_sim_disk_machine_close(w->machine);
    w->machine = machine;
    forget_memory(w);
}

/* Start */

static void say(void *context, int level, const char *line)
{
    struct log_world *w = context;
    if (w->said != NULL)
        w->said(w->said_context, level, line);
}

/* What the directory of live extents names, oldest first, as the daemon would map it. */
static uint32_t find_extents(struct log_world *w, struct log_world_partition *p, struct mr_log_live_extent *live)
{
    uint64_t first = mr_load_relaxed(&p->head->directory_first), last = mr_load_relaxed(&p->head->directory_last);
    uint32_t count = 0;

    for (uint64_t sequence = first; sequence <= last && first > 0; sequence++) {
        struct mr_head_directory_entry *entry = &p->head->directory[sequence % MR_HEAD_DIRECTORY_COUNT];
        if (mr_load_relaxed(&entry->sequence) != sequence)
            continue; /* died while it was taken out */
        uint32_t id = mr_load_relaxed(&entry->file_id) & ~MR_EXTENT_FILE_SLOT;
        if (id >= w->memory_count || w->memory[id].header == NULL)
            WORLD_FAIL("partition %u: the directory names memory that is gone", p->index);
        live[count++] = (struct mr_log_live_extent){.memory = w->memory[id].header, .slot = w->memory[id].slot, .adopted = true};
    }
    return count;
}

static void mark_memory(struct log_world *w, const struct mr_log_recovered *recovered)
{
    for (uint32_t i = 0; i < recovered->extent_count; i++) {
        struct log_world_memory *m = &w->memory[recovered->extents[i].memory->file_id & ~MR_EXTENT_FILE_SLOT];
        m->lent = true;
        m->adopted = true;
        w->memory_lent++;
    }
}

/* Segments that lie before those in memory, then those in memory. */
static int join_segments(struct log_world *w, struct log_world_partition *p, struct mr_log_recovered *recovered, struct mr_log_segment **joined,
                         struct millrace_error *err)
{
    char path[256];
    struct mr_log_segment *older = NULL;
    uint32_t older_count = 0;

    *joined = NULL;
    if (recovered->segment_count == 0)
        return 0;
    partition_path(p, path, sizeof path);
    int rc = mr_recovery_segments(w->steward, path, recovered->segments[0].base_offset, &older, &older_count, err);
    if (rc != 0)
        return rc;
    struct mr_log_segment *all = must(calloc(older_count + recovered->segment_count, sizeof *all));
    if (older_count > 0)
        memcpy(all, older, older_count * sizeof *all);
    memcpy(all + older_count, recovered->segments, recovered->segment_count * sizeof *all);
    free(older);
    recovered->segment_count += older_count;
    *joined = all;
    return 0;
}

static int start_partition(struct log_world *w, struct log_world_partition *p, struct mr_log_recovered *recovered, struct mr_log_segment **joined,
                           bool *adopted, struct millrace_error *err)
{
    struct mr_log_live_extent live[MR_HEAD_DIRECTORY_COUNT];
    char path[256];
    uint64_t expected_end = 0;

    *adopted = false;
    uint32_t count = find_extents(w, p, live);
    if (count > 0 || mr_load_relaxed(&p->head->log_end) > 0) {
        int rc = mr_adopt_partition(p->head, &p->topic_id, p->index, &w->boot_id, live, count, NULL, &log_world_allocator, recovered, err);
        if (rc == 0) {
            const struct mr_log_segment *own = recovered->segments;
            rc = join_segments(w, p, recovered, joined, err);
            if (rc != 0)
                return rc;
            *adopted = true;
            mark_memory(w, recovered);
            /* The core copies the arrays; ours must live until then. */
            if (*joined != NULL)
                recovered->segments = *joined;
            world_release(NULL, (void *)(uintptr_t)(*joined != NULL ? own : NULL));
            return 0;
        }
        if (count > 0)
            say(w, 1, err->text);
        expected_end = mr_load_relaxed(&p->head->durable);
    }
    partition_path(p, path, sizeof path);
    return mr_recovery_partition(w->recovery[p->directory], path, &p->topic_id, p->index, expected_end, recovered, err);
}

static int add_partition(struct log_world *w, struct log_world_partition *p, const struct mr_log_recovered *recovered)
{
    struct mr_log_partition_options options = {
        .topic_id = p->topic_id,
        .partition = p->index,
        .directory = p->directory,
        .durability = p->durability,
        .leader_epoch = 1,
        .segment_bytes = p->segment_bytes,
        .retention_bytes = p->retention_bytes,
        .batch_bytes_max = w->options.batch_bytes_max,
        .slot_bytes = w->options.slot_bytes,
        .extent_bytes = w->options.extent_bytes,
        .boot_id = w->boot_id,
        .head = p->head,
        .context = p,
    };
    p->is_offline = recovered->offline;
    p->generation = recovered->generation;
    p->recovered_end = recovered->next_offset;
    return mr_log_partition_add(w->reactor[p->reactor].log, &options, recovered, &p->log);
}

static int start_reactor(struct log_world *w, uint32_t index, const uint64_t *generation, struct millrace_error *err)
{
    struct log_world_reactor *r = &w->reactor[index];
    struct mr_log_options options = {
        .reactor = index,
        .directory_count = w->options.directories,
        .allocator = log_world_allocator,
        .random_seed = mr_random_next(&w->random),
        .commit_bytes_max = w->options.commit_bytes_max,
        .hot_bytes_min = w->options.hot_bytes_min,
        .hot_slots = 1,
        .files_max = w->options.files_max,
        .flush_ns = w->options.flush_ns,
        .mark_ns = 100000000,
        .producer_expiration_ms = w->options.producer_expiration_ms,
    };

    r->disk = mr_sim_disk_open(w->machine);
    r->staging = aligned(MR_BLOCK_BYTES, w->options.directories * w->options.staging_bytes);
    for (uint32_t d = 0; d < w->options.directories; d++) {
        char path[64];
        directory_path(d, path, sizeof path);
        int rc = mr_journal_create(w->steward, path, index, generation[d] + 1, w->options.journal_bytes, mr_random_next(&w->random),
                                   &options.journal[d], err);
        if (rc != 0)
            return rc;
        options.journal[d].staging = r->staging + d * w->options.staging_bytes;
        options.journal[d].staging_bytes = w->options.staging_bytes;
    }
    return mr_log_init(&r->log, &options);
}

int log_world_start(struct log_world *w, struct millrace_error *err)
{
    struct mr_log_recovered *recovered = must(calloc(w->options.partitions, sizeof *recovered));
    struct mr_log_segment **joined = must(calloc(w->options.partitions, sizeof *joined));
    bool *adopted = must(calloc(w->options.partitions, sizeof *adopted));
    uint64_t generation[MR_LOG_DIRECTORIES_MAX] = {0};
    bool any_adopted[MR_LOG_DIRECTORIES_MAX] = {false};
    int rc = 0;

    w->steward = mr_sim_disk_open(w->machine);
    for (uint32_t i = 0; i < w->memory_count; i++)
        w->memory[i].lent = false;
    w->memory_lent = 0;
    for (uint32_t d = 0; d < w->options.directories && rc == 0; d++) {
        char path[64];
        directory_path(d, path, sizeof path);
        rc = mr_recovery_open(&w->recovery[d], w->steward, path, say, w, err);
        if (rc == 0)
            generation[d] = mr_recovery_generation(w->recovery[d]);
    }
    for (uint32_t i = 0; i < w->options.partitions && rc == 0; i++) {
        struct log_world_partition *p = &w->partition[i];
        rc = start_partition(w, p, &recovered[i], &joined[i], &adopted[i], err);
        p->was_adopted = adopted[i];
        any_adopted[p->directory] |= adopted[i];
    }
    for (uint32_t d = 0; d < w->options.directories && rc == 0; d++)
        rc = mr_recovery_checkpoint(w->recovery[d], err);
    for (uint32_t i = 0; i < w->options.reactors && rc == 0; i++)
        rc = start_reactor(w, i, generation, err);
    for (uint32_t i = 0; i < w->options.partitions && rc == 0; i++)
        rc = add_partition(w, &w->partition[i], &recovered[i]);
    for (uint32_t d = 0; d < w->options.directories && rc == 0; d++) {
        if (any_adopted[d])
            continue; /* when all say SECURED */
        rc = mr_recovery_retire(w->recovery[d], err);
        mr_recovery_close(w->recovery[d]);
        w->recovery[d] = NULL;
    }
    for (uint32_t i = 0; i < w->options.partitions; i++) {
        if (adopted[i]) {
            if (joined[i] != NULL)
                recovered[i].segments = NULL;
            mr_adopt_release(&log_world_allocator, &recovered[i]);
            free(joined[i]);
        }
    }
    free(recovered);
    free(joined);
    free(adopted);
    w->running = rc == 0;
    return rc;
}

/* Answers */

static struct log_world_answer *push_answer(struct log_world *w, struct log_world_reactor *r)
{
    if (r->answer_count == r->answer_room) {
        r->answer_room = r->answer_room == 0 ? 64 : r->answer_room * 2;
        r->answer = must(realloc(r->answer, r->answer_room * sizeof *r->answer));
    }
    struct log_world_answer *answer = &r->answer[r->answer_count++];
    memset(answer, 0, sizeof *answer);
    answer->at_step = w->steps + mr_random_below(&w->random, w->options.answer_steps_max + 1);
    return answer;
}

static struct mr_extent_header *lend(struct log_world *w, uint32_t partition, bool slot)
{
    uint32_t index = 0;

    if (w->memory_lent >= w->options.memory_max || mr_random_below(&w->random, 100) < w->options.refuse_percent)
        return NULL;
    while (index < w->memory_count && w->memory[index].header != NULL)
        index++;
    if (index == w->memory_count)
        w->memory = must(realloc(w->memory, ++w->memory_count * sizeof *w->memory));
    uint32_t bytes = slot ? w->options.slot_bytes : w->options.extent_bytes;
    struct mr_extent_header *h = aligned(MR_BLOCK_BYTES, bytes);
    memset(h, 0xdb, bytes); /* recycled memory holds anything */
    h->bytes = bytes;
    h->file_id = index | (slot ? MR_EXTENT_FILE_SLOT : 0);
    w->memory[index] = (struct log_world_memory){.header = h, .partition = partition, .slot = slot, .lent = true};
    w->memory_lent++;
    return h;
}

static void take_back(struct log_world *w, const struct mr_log_live_extent *extent)
{
    struct log_world_memory *m = &w->memory[extent->memory->file_id & ~MR_EXTENT_FILE_SLOT];
    if (m->header != extent->memory || !m->lent)
        WORLD_FAIL("memory was given back that was not lent");
    free(m->header);
    m->header = NULL;
    m->lent = false;
    w->memory_lent--;
}

static struct log_world_file *find_file(struct log_world *w, uint32_t partition, uint64_t base_offset)
{
    for (uint32_t i = 0; i < w->file_count; i++)
        if (w->file[i].partition == partition && w->file[i].base_offset == base_offset)
            return &w->file[i];
    return NULL;
}

static int allocate(struct log_world *w, const struct log_world_file *files, const struct mr_log_action *action)
{
    int rc = mr_disk_allocate(w->steward, files->file, 0, action->bytes);
    if (rc == 0)
        rc = mr_disk_allocate(w->steward, files->side_file, 0, action->side_bytes);
    if (rc == 0)
        rc = mr_disk_sync(w->steward, files->file);
    if (rc == 0)
        rc = mr_disk_sync(w->steward, files->side_file);
    return rc;
}

static int make_segment(struct log_world *w, struct log_world_partition *p, const struct mr_log_action *action, struct log_world_file *files)
{
    char directory[256], path[256];
    struct millrace_error err;

    directory_path(p->directory, path, sizeof path);
    partition_path(p, directory, sizeof directory);
    int rc = mr_disk_make_directory(w->steward, directory);
    if (rc == 0)
        rc = mr_disk_sync_directory(w->steward, path);
    if (rc != 0 && rc != -EEXIST)
        return rc;
    segment_path(p, action->base_offset, ".log", path, sizeof path);
    files->file = mr_disk_open(w->steward, path, MR_DISK_CREATE | MR_DISK_DIRECT, &err);
    segment_path(p, action->base_offset, ".sidecar", path, sizeof path);
    files->side_file = files->file < 0 ? files->file : mr_disk_open(w->steward, path, MR_DISK_CREATE | MR_DISK_DIRECT, &err);
    if (files->side_file < 0)
        return files->side_file;
    rc = allocate(w, files, action);
    if (rc == 0)
        rc = mr_disk_sync_directory(w->steward, directory);
    return rc;
}

static void want_segment(struct log_world *w, struct log_world_partition *p, const struct mr_log_action *action, struct mr_log_event *event)
{
    struct log_world_file *files = find_file(w, p->index, action->base_offset);
    int rc = 0;

    if (files == NULL) {
        struct log_world_file made = {.partition = p->index, .base_offset = action->base_offset, .file = -1, .side_file = -1};
        rc = make_segment(w, p, action, &made);
        if (rc == 0) {
            if (w->file_count == w->file_room) {
                w->file_room = w->file_room == 0 ? 64 : w->file_room * 2;
                w->file = must(realloc(w->file, w->file_room * sizeof *w->file));
            }
            w->file[w->file_count] = made;
            files = &w->file[w->file_count++];
        } else {
            if (made.file >= 0)
                (void)mr_disk_close(w->steward, made.file);
            if (made.side_file >= 0)
                (void)mr_disk_close(w->steward, made.side_file);
        }
    } else {
        rc = allocate(w, files, action);
    }
    event->kind = rc == 0 ? MR_LOG_EVENT_SEGMENT : MR_LOG_EVENT_SEGMENT_FAILED;
    event->result = rc;
    event->base_offset = action->base_offset;
    event->file = files == NULL ? -1 : files->file;
    event->side_file = files == NULL ? -1 : files->side_file;
    event->allocated_bytes = action->bytes;
}

static int write_snapshot(struct log_world *w, struct log_world_partition *p, const struct mr_log_action *action)
{
    char path[256];
    uint8_t *bytes = must(malloc(mr_snapshot_bytes(action->producer_count)));
    struct mr_snapshot_producer *producers = must(calloc(action->producer_count, sizeof *producers));

    for (uint32_t i = 0; i < action->producer_count; i++)
        producers[i] = (struct mr_snapshot_producer){.producer_id = action->producers[i].producer_id,
                                                     .last_offset = action->producers[i].last_offset,
                                                     .timestamp_ms = action->producers[i].active_ms,
                                                     .transaction_first_offset = -1,
                                                     .last_sequence = action->producers[i].last_sequence,
                                                     .epoch = action->producers[i].epoch};
    int64_t count = mr_snapshot_encode(producers, action->producer_count, bytes, mr_snapshot_bytes(action->producer_count));
    segment_path(p, action->next_offset, ".snapshot", path, sizeof path);
    int file = count < 0 ? -EIO : mr_disk_open(w->steward, path, MR_DISK_CREATE, NULL);
    int rc = file < 0 ? file : mr_disk_write(w->steward, file, bytes, (size_t)count, 0) < 0 ? -EIO : mr_disk_sync(w->steward, file);
    if (file >= 0)
        (void)mr_disk_close(w->steward, file);
    partition_path(p, path, sizeof path);
    free(producers);
    free(bytes);
    return rc != 0 ? rc : mr_disk_sync_directory(w->steward, path);
}

static void forget_file(struct log_world *w, struct log_world_file *files)
{
    (void)mr_disk_close(w->steward, files->file);
    (void)mr_disk_close(w->steward, files->side_file);
    *files = w->file[--w->file_count];
}

static void close_segment(struct log_world *w, struct log_world_partition *p, const struct mr_log_action *action, struct mr_log_event *event)
{
    struct log_world_file *files = find_file(w, p->index, action->base_offset);

    if (files == NULL)
        WORLD_FAIL("partition %u: segment %" PRIu64 " is closed but not open", p->index, action->base_offset);
    struct millrace_error err;
    char path[256];
    partition_path(p, path, sizeof path);
    int rc = mr_segment_cut(w->steward, path, action->base_offset, action->bytes, action->side_bytes, &err);
    if (rc == 0 && action->producer_count > 0)
        rc = write_snapshot(w, p, action);
    if (rc == 0) {
        forget_file(w, files);
    }
    event->kind = rc == 0 ? MR_LOG_EVENT_SEGMENT_CLOSED : MR_LOG_EVENT_SEGMENT_FAILED;
    event->result = rc;
    event->base_offset = action->base_offset;
}

static void delete_segment(struct log_world *w, struct log_world_partition *p, const struct mr_log_action *action)
{
    char path[256];

    segment_path(p, action->base_offset, ".log", path, sizeof path);
    (void)mr_disk_unlink(w->steward, path);
    segment_path(p, action->base_offset, ".sidecar", path, sizeof path);
    (void)mr_disk_unlink(w->steward, path);
    segment_path(p, action->base_offset, ".snapshot", path, sizeof path);
    (void)mr_disk_unlink(w->steward, path);
    partition_path(p, path, sizeof path);
    (void)mr_disk_sync_directory(w->steward, path);
}

/* What the steward does, some steps after it was asked. @return true: there is an event to deliver */
static bool carry_out(struct log_world *w, const struct mr_log_action *action, struct mr_log_event *event)
{
    struct log_world_partition *p = mr_partition_context(action->partition);

    event->partition = action->partition;
    switch (action->kind) {
    case MR_LOG_ACTION_WANT_EXTENT:
        event->kind = MR_LOG_EVENT_EXTENT;
        event->extent = (struct mr_log_live_extent){.memory = lend(w, p->index, action->slot), .slot = action->slot};
        return true;
    case MR_LOG_ACTION_FREE_EXTENT:
        event->kind = MR_LOG_EVENT_EXTENT_FREE;
        event->extent = action->extent;
        memset((uint8_t *)event->extent.memory + sizeof *event->extent.memory, 0xdf, event->extent.memory->bytes - sizeof *event->extent.memory);
        return true;
    case MR_LOG_ACTION_WANT_SEGMENT:
    case MR_LOG_ACTION_WANT_ALLOCATE:
        want_segment(w, p, action, event);
        return true;
    case MR_LOG_ACTION_CLOSE_SEGMENT:
        close_segment(w, p, action, event);
        return true;
    case MR_LOG_ACTION_DELETE_SEGMENT:
        delete_segment(w, p, action);
        return false;
    default:
        return false;
    }
}

static void retire(struct log_world *w)
{
    for (uint32_t i = 0; i < w->options.reactors; i++)
        if (!w->reactor[i].secured)
            return;
    for (uint32_t d = 0; d < w->options.directories; d++) {
        struct millrace_error err;
        if (w->recovery[d] == NULL)
            continue;
        if (mr_recovery_retire(w->recovery[d], &err) != 0)
            say(w, 0, err.text);
        mr_recovery_close(w->recovery[d]);
        w->recovery[d] = NULL;
    }
}

static void take_action(struct log_world *w, uint32_t reactor, const struct mr_log_action *action)
{
    struct log_world_reactor *r = &w->reactor[reactor];

    w->actions[action->kind]++;
    if (w->watch != NULL)
        w->watch(w->watch_context, w, reactor, action);
    switch (action->kind) {
    case MR_LOG_ACTION_WRITE:
        if (r->write_count == r->write_room) {
            r->write_room = r->write_room == 0 ? 256 : r->write_room * 2;
            r->write = must(realloc(r->write, r->write_room * sizeof *r->write));
        }
        r->write[r->write_count++] = action->write;
        break;
    case MR_LOG_ACTION_REST_SEGMENT: {
        struct log_world_partition *p = mr_partition_context(action->partition);
        struct log_world_file *files = find_file(w, p->index, action->base_offset);
        if (files == NULL)
            WORLD_FAIL("partition %u: segment %" PRIu64 " is to rest but not open", p->index, action->base_offset);
        forget_file(w, files);
        break;
    }
    case MR_LOG_ACTION_GIVE_EXTENT:
        take_back(w, &action->extent);
        break;
    case MR_LOG_ACTION_OFFLINE:
        w->offline[action->directory] = true;
        break;
    case MR_LOG_ACTION_SECURED:
        r->secured = true;
        retire(w);
        break;
    case MR_LOG_ACTION_ADVANCED:
        break;
    default: {
        struct log_world_answer *answer = push_answer(w, r);
        answer->action = *action;
        if (action->kind == MR_LOG_ACTION_WANT_EXTENT && !action->slot)
            answer->at_step += w->options.extent_steps;
        break;
    }
    }
}

static uint32_t collect_events(struct log_world *w, uint32_t reactor, struct mr_log_event *events, uint32_t max)
{
    struct log_world_reactor *r = &w->reactor[reactor];
    struct mr_disk_completion completions[64];
    uint32_t count = mr_disk_poll(r->disk, completions, max < 64 ? max : 64);

    for (uint32_t i = 0; i < count; i++) {
        events[i] = (struct mr_log_event){.kind = MR_LOG_EVENT_WRITE, .tag = completions[i].tag, .result = completions[i].result};
        if (w->completed != NULL)
            w->completed(w->watch_context, w, reactor, completions[i].tag, completions[i].result);
    }
    for (uint32_t i = 0; i < r->answer_count && count < max;) {
        struct log_world_answer *answer = &r->answer[i];
        bool held = answer->action.kind == MR_LOG_ACTION_FREE_EXTENT &&
                    (w->hold_frees || (w->hold_sequence != 0 && answer->action.extent.sequence == w->hold_sequence));
        if (answer->at_step > w->steps || held) {
            i++;
            continue;
        }
        struct mr_log_event event = {0};
        if (carry_out(w, &answer->action, &event))
            events[count++] = event;
        memmove(answer, answer + 1, (r->answer_count - i - 1) * sizeof *answer);
        r->answer_count--;
    }
    return count;
}

static void step_reactor(struct log_world *w, uint32_t index)
{
    struct log_world_reactor *r = &w->reactor[index];
    struct mr_log_event events[128];
    struct mr_log_action actions[32];
    uint32_t count = collect_events(w, index, events, MR_COUNT_OF(events));
    uint32_t max = 1 + (uint32_t)mr_random_below(&w->random, MR_COUNT_OF(actions));
    uint32_t got;

    do {
        got = mr_log_step(r->log, w->now_ns, w->now_ns / 1000000, events, count, actions, max);
        count = 0;
        for (uint32_t i = 0; i < got; i++)
            take_action(w, index, &actions[i]);
    } while (got == max);
    uint32_t taken = mr_disk_submit(r->disk, r->write, r->write_count);
    if (taken > 0)
        memmove(r->write, r->write + taken, (r->write_count - taken) * sizeof *r->write);
    r->write_count -= taken;
}

void log_world_step(struct log_world *w)
{
    w->steps++;
    w->now_ns += w->options.step_ns;
    for (uint32_t i = 0; i < w->options.reactors; i++)
        step_reactor(w, i);
}

/* Refused memory is asked for again and again: that is rest, too. */
static bool is_busy(const struct log_world *w)
{
    for (uint32_t i = 0; i < w->options.reactors; i++) {
        const struct log_world_reactor *r = &w->reactor[i];
        if (r->write_count > 0 || mr_log_counters(r->log)->at_risk_bytes > 0)
            return true;
        for (uint32_t k = 0; k < r->answer_count; k++)
            if (r->answer[k].action.kind != MR_LOG_ACTION_WANT_EXTENT && !(w->hold_frees && r->answer[k].action.kind == MR_LOG_ACTION_FREE_EXTENT))
                return true;
    }
    return mr_sim_disk_in_flight(w->machine) > 0;
}

bool log_world_settle(struct log_world *w, uint32_t steps)
{
    do
        log_world_step(w);
    while (is_busy(w) && --steps > 0);
    return steps > 0;
}

static void mark_clean(struct log_world *w, uint32_t directory)
{
    struct mr_clean_partition clean[LOG_WORLD_PARTITIONS_MAX];
    struct millrace_error err;
    uint32_t count = 0;
    char path[64];

    directory_path(directory, path, sizeof path);
    for (uint32_t i = 0; i < w->options.partitions; i++) {
        const struct log_world_partition *p = &w->partition[i];
        if (p->directory != directory || p->is_offline)
            continue;
        clean[count++] = (struct mr_clean_partition){
            .name = p->name,
            .topic_id = p->topic_id,
            .generation = p->generation,
            .log_start = mr_load_relaxed(&p->head->log_start),
            .next_offset = mr_partition_end(p->log),
        };
    }
    if (!w->offline[directory] && mr_recovery_mark_clean(w->steward, path, clean, count, &err) != 0)
        say(w, 0, err.text);
}

bool log_world_stop(struct log_world *w, uint32_t steps)
{
    bool done = false;

    while (!done && steps-- > 0) {
        done = true;
        for (uint32_t i = 0; i < w->options.reactors; i++)
            done = mr_log_drain(w->reactor[i].log) && done;
        if (!done)
            log_world_step(w);
    }
    for (uint32_t d = 0; d < w->options.directories && done; d++)
        mark_clean(w, d);
    if (done)
        drop_process(w);
    return done;
}
