/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/store_world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/base/atomics.h"
#include "shm/segment/segment.h"

#define FLUSH_NS  (5u * 1000000u)
#define MARK_NS   (100u * 1000000u)
#define ACTIONS   64u
#define VALUE_MIN 16u

uint64_t world_reached[WORLD_STATE_COUNT];

void world_reach(enum world_state state)
{
    world_reached[state]++;
}

const char *world_state_name(enum world_state state)
{
    static const char *const name[WORLD_STATE_COUNT] = {
        [WORLD_JOURNAL_WRAPPED] = "journal wrapped",
        [WORLD_RELOGGED] = "relogged",
        [WORLD_SEGMENT_ROLLED] = "segment rolled",
        [WORLD_FILES_RESTED] = "files rested",
        [WORLD_CUT_IN_ROLL] = "cut in a roll",
        [WORLD_CUT_IN_TRIM] = "cut in a trim",
        [WORLD_CUT_IN_RETENTION] = "cut in retention",
        [WORLD_CUT_IN_ADOPTION] = "cut before adopted was secured",
        [WORLD_CUT_IN_RECOVERY] = "cut in recovery",
        [WORLD_REACTORS_CHANGED] = "reactor count changed",
        [WORLD_TWO_DIRECTORIES] = "two directories",
        [WORLD_SEQUENCE_WRAPPED] = "sequence wrapped",
        [WORLD_UNACKED_SURVIVED] = "unacked survived",
        [WORLD_UNACKED_LOST] = "unacked lost",
        [WORLD_ADOPTED] = "adopted",
        [WORLD_KILLED_IN_ROLL] = "killed in a roll",
        [WORLD_JOURNAL_ONLY_SEGMENT] = "segment from the journal alone",
        [WORLD_UNDECIDED_CUT] = "undecided, cut",
        [WORLD_TAIL_BLOCK_RESTORED] = "tail block from the journal",
    };
    return name[state];
}

int mr_recover_mutant; /* used by the library's build with MR_MUTANTS */

_Noreturn void world_failed(const char *file, int line, const char *condition)
{
    if (mr_recover_mutant != 0) {
        printf("\nmutant %d is caught: %s\n", mr_recover_mutant, condition);
        fflush(NULL);
        _exit(0);
    }
    fprintf(stderr, "%s:%d: %s\n", file, line, condition);
    fflush(NULL);
    abort();
}

static void *take(void *context, size_t bytes)
{
    void *memory = aligned_alloc(64, mr_align_up(bytes, 64));
    world_must(memory != NULL);
    return memset(memory, 0, bytes);
}

static void give_back(void *context, void *memory)
{
    free(memory);
}

const struct mr_allocator world_allocator = {NULL, take, give_back};

static void say(void *context, int level, const char *line)
{
    if (strstr(line, ": cut at offset") != NULL)
        world_reach(WORLD_UNDECIDED_CUT);
    if (level == 0) {
        fprintf(stderr, "%s\n", line);
        world_failed(__FILE__, __LINE__, "nothing was damaged, nothing may be offline");
    }
}

void world_value(const struct world_partition *partition, const struct world_record *record, uint8_t *value)
{
    uint32_t words[4] = {record->id, (uint32_t)record->sequence, record->producer, partition->topic_id.bytes[0]};
    struct mr_random random;
    memcpy(value, words, sizeof words);
    mr_random_init(&random, record->id, partition->topic_id.bytes[0]);
    for (uint32_t i = VALUE_MIN; i < record->bytes; i++)
        value[i] = (uint8_t)mr_random_next(&random);
}

static uint64_t draw(struct world *world, uint64_t below)
{
    return mr_random_below(&world->random, below);
}

void world_init(struct world *world, uint64_t seed)
{
    memset(world, 0, sizeof *world);
    world->seed = seed;
    mr_random_init(&world->random, seed, 1);
    struct mr_sim_disk_options options;
    mr_sim_disk_options_init(&options);
    options.seed = seed;
    options.delay_polls_max = (uint32_t)draw(world, 4);
    world->machine = mr_sim_disk_machine_open(&options);
    world->disk = mr_sim_disk_open(world->machine);
    world->directory_count = 1 + (uint32_t)draw(world, WORLD_DIRECTORIES_MAX);
    world->partition_count = 2 + (uint32_t)draw(world, WORLD_PARTITIONS_MAX - 1);
    world->segment_bytes = draw(world, 2) == 0 ? 64u << 10 : 24u << 10;
    world->journal_bytes = 260u << 10;
    world->slot_bytes = 24u << 10;
    world->extent_bytes = 64u << 10;
    world->batch_bytes_max = 6000;
    world->boot_id.bytes[0] = 1;
    world->now_ns = 1000000000;
    for (uint32_t d = 0; d < world->directory_count; d++) {
        snprintf(world->directory[d], sizeof world->directory[d], "/d%u", d);
        world_must(mr_disk_make_directory(world->disk, world->directory[d]) == 0);
    }
    world_must(mr_disk_sync_directory(world->disk, "/") == 0);
    for (uint32_t i = 0; i < world->partition_count; i++) {
        struct world_partition *p = &world->partition[i];
        p->directory = (uint32_t)draw(world, world->directory_count);
        snprintf(p->name, sizeof p->name, "t%u-0", i);
        snprintf(p->path, sizeof p->path, "%s/%s", world->directory[p->directory], p->name);
        p->topic_id.bytes[0] = (uint8_t)(i + 1);
        p->durability = draw(world, 3) == 0 ? MR_DURABILITY_LEADER : MR_DURABILITY_DISK;
        p->retention_bytes = draw(world, 3) == 0 ? world->segment_bytes * 2 : UINT64_MAX;
        p->head = take(NULL, mr_align_up(sizeof *p->head, 64));
        p->is_hot = draw(world, 3) == 0;
        for (uint32_t producer = 0; producer < WORLD_PRODUCERS; producer++)
            p->next_sequence[producer] = (int32_t)(INT32_MAX - draw(world, 60));
        world_must(mr_disk_make_directory(world->disk, p->path) == 0);
        world_must(mr_disk_sync_directory(world->disk, world->directory[p->directory]) == 0);
    }
    if (world->directory_count > 1)
        world_reach(WORLD_TWO_DIRECTORIES);
    world_start(world);
}

/* The process's own things. */
static void drop_process(struct world *world)
{
    for (uint32_t r = 0; r < world->reactor_count; r++) {
        struct world_reactor *reactor = &world->reactor[r];
        mr_log_release(reactor->log);
        for (uint32_t d = 0; d < world->directory_count; d++)
            free(reactor->staging[d]);
        memset(reactor, 0, sizeof *reactor);
    }
    for (uint32_t i = 0; i < world->task_count; i++)
        free(world->task[i].producers);
    for (uint32_t d = 0; d < world->directory_count; d++) {
        mr_recovery_close(world->recovery[d]);
        world->recovery[d] = NULL;
    }
    world->task_count = 0;
    world->is_up = false;
}

static void drop_extents(struct world *world)
{
    for (uint32_t i = 0; i < world->partition_count; i++) {
        struct world_partition *p = &world->partition[i];
        for (uint32_t e = 0; e < WORLD_EXTENTS_MAX; e++)
            free(p->extent[e].memory);
        memset(p->extent, 0, sizeof p->extent);
    }
}

static void drop_heads(struct world *world)
{
    for (uint32_t i = 0; i < world->partition_count; i++)
        memset(world->partition[i].head, 0, sizeof *world->partition[i].head);
}

void world_release(struct world *world)
{
    drop_process(world);
    drop_extents(world);
    for (uint32_t i = 0; i < world->partition_count; i++) {
        free(world->partition[i].head);
        free(world->partition[i].record);
    }
    mr_sim_disk_machine_close(world->machine);
}

void world_kill(struct world *world)
{
    for (uint32_t i = 0; i < world->task_count; i++)
        if (world->task[i].action.kind == MR_LOG_ACTION_CLOSE_SEGMENT || world->task[i].action.kind == MR_LOG_ACTION_WANT_SEGMENT)
            world_reach(WORLD_KILLED_IN_ROLL);
    drop_process(world);
    mr_sim_disk_kill(world->machine);
    for (uint32_t i = 0; i < world->partition_count; i++)
        for (uint32_t e = 0; e < WORLD_EXTENTS_MAX; e++)
            world->partition[i].extent[e].adopted = true;
}

void world_power_cut(struct world *world)
{
    drop_process(world);
    drop_extents(world); /* the heads stay a while, to tell what had been acknowledged */
    mr_sim_disk_power_cut(world->machine, &world->random);
}

/* Memory. */

static struct world_extent *find_extent(struct world_partition *p, const struct mr_extent_header *memory)
{
    for (uint32_t e = 0; e < WORLD_EXTENTS_MAX; e++)
        if (p->extent[e].used && p->extent[e].memory == memory)
            return &p->extent[e];
    return NULL;
}

static void want_extent(struct world *world, struct world_partition *p, bool slot, struct mr_log_event *event)
{
    event->kind = MR_LOG_EVENT_EXTENT;
    event->partition = p->log;
    event->extent = (struct mr_log_live_extent){0};
    if (draw(world, 20) == 0)
        return; /* refused for now */
    for (uint32_t e = 0; e < WORLD_EXTENTS_MAX; e++) {
        struct world_extent *extent = &p->extent[e];
        if (extent->used)
            continue;
        extent->bytes = slot ? world->slot_bytes : world->extent_bytes;
        extent->memory = aligned_alloc(MR_BLOCK_BYTES, extent->bytes);
        world_must(extent->memory != NULL);
        memset(extent->memory, 0xa5, extent->bytes);
        extent->memory->file_id = e | (slot ? MR_EXTENT_FILE_SLOT : 0);
        extent->memory->bytes = extent->bytes;
        extent->slot = slot;
        extent->adopted = false;
        extent->used = true;
        event->extent = (struct mr_log_live_extent){.memory = extent->memory, .slot = slot};
        return;
    }
}

static void give_extent(struct world_partition *p, const struct mr_log_live_extent *live)
{
    struct world_extent *extent = find_extent(p, live->memory);
    world_must(extent != NULL && extent->slot == live->slot);
    free(extent->memory);
    memset(extent, 0, sizeof *extent);
}

/* The steward: RELIABILITY.md D4, D8; every call is an instant at which power may go. */

static int open_segment(struct world *world, struct world_partition *p, uint64_t base_offset, uint64_t bytes, struct mr_log_event *event)
{
    char path[128], side_path[128];
    snprintf(path, sizeof path, "%s/%020llu.log", p->path, (unsigned long long)base_offset);
    snprintf(side_path, sizeof side_path, "%s/%020llu.sidecar", p->path, (unsigned long long)base_offset);
    event->file = mr_disk_open(world->disk, path, MR_DISK_CREATE | MR_DISK_DIRECT, NULL);
    event->side_file = event->file < 0 ? -EIO : mr_disk_open(world->disk, side_path, MR_DISK_CREATE | MR_DISK_DIRECT, NULL);
    int rc = event->side_file < 0 ? -EIO : mr_disk_allocate(world->disk, event->file, 0, bytes);
    if (rc == 0)
        rc = mr_disk_sync(world->disk, event->file);
    if (rc == 0)
        rc = mr_disk_sync(world->disk, event->side_file);
    if (rc == 0)
        rc = mr_disk_sync_directory(world->disk, p->path);
    event->allocated_bytes = bytes;
    p->opened[p->opened_count % MR_COUNT_OF(p->opened)].base_offset = base_offset;
    p->opened[p->opened_count % MR_COUNT_OF(p->opened)].file = event->file;
    p->opened[p->opened_count++ % MR_COUNT_OF(p->opened)].side_file = event->side_file;
    return rc;
}

static void rest_segment(struct world *world, struct world_partition *p, uint64_t base_offset)
{
    uint32_t last = p->opened_count, i = last;
    while (i > 0 && p->opened[(i - 1) % MR_COUNT_OF(p->opened)].base_offset != base_offset && last - i < MR_COUNT_OF(p->opened))
        i--;
    world_must(i > 0 && last - i < MR_COUNT_OF(p->opened));
    world_must(mr_disk_close(world->disk, p->opened[(i - 1) % MR_COUNT_OF(p->opened)].file) == 0);
    world_must(mr_disk_close(world->disk, p->opened[(i - 1) % MR_COUNT_OF(p->opened)].side_file) == 0);
}

static int write_snapshot(struct world *world, const struct world_partition *p, const struct world_task *task, uint64_t next_offset)
{
    char path[128], temporary[128];
    uint8_t bytes[1024];
    struct mr_snapshot_producer producers[WORLD_PRODUCERS];
    for (uint32_t i = 0; i < task->action.producer_count; i++)
        producers[i] = (struct mr_snapshot_producer){.producer_id = task->producers[i].producer_id,
                                                     .last_offset = task->producers[i].last_offset,
                                                     .timestamp_ms = task->producers[i].active_ms,
                                                     .transaction_first_offset = -1,
                                                     .last_sequence = task->producers[i].last_sequence,
                                                     .epoch = task->producers[i].epoch};
    int64_t count = mr_snapshot_encode(producers, task->action.producer_count, bytes, sizeof bytes);
    world_must(count > 0);
    snprintf(path, sizeof path, "%s/%020llu.snapshot", p->path, (unsigned long long)next_offset);
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    int file = mr_disk_open(world->disk, temporary, MR_DISK_CREATE, NULL);
    if (file < 0)
        return -EIO;
    int rc = mr_disk_write(world->disk, file, bytes, (size_t)count, 0) < 0 ? -EIO : mr_disk_sync(world->disk, file);
    (void)mr_disk_close(world->disk, file);
    if (rc == 0)
        rc = mr_disk_rename(world->disk, temporary, path);
    return rc != 0 ? rc : mr_disk_sync_directory(world->disk, p->path);
}

static int close_segment(struct world *world, struct world_partition *p, const struct world_task *task)
{
    const struct mr_log_action *action = &task->action;
    struct millrace_error err = {0};
    int rc = mr_segment_cut(world->disk, p->path, action->base_offset, action->bytes, action->side_bytes, &err);
    if (rc != 0 && !mr_sim_disk_is_cut(world->machine))
        fprintf(stderr, "%s\n", err.text);
    if (rc != 0)
        return rc;
    return action->producer_count == 0 ? 0 : write_snapshot(world, p, task, action->next_offset);
}

static int delete_segment(struct world *world, const struct world_partition *p, uint64_t base_offset)
{
    static const char *const suffix[] = {"log", "sidecar", "cut", "snapshot"};
    for (uint32_t i = 0; i < MR_COUNT_OF(suffix); i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%020llu.%s", p->path, (unsigned long long)base_offset, suffix[i]);
        int rc = mr_disk_unlink(world->disk, path);
        if (rc != 0 && rc != -ENOENT)
            return rc;
    }
    return mr_disk_sync_directory(world->disk, p->path);
}

static void run_task(struct world *world, uint32_t index)
{
    struct world_task task = world->task[index];
    struct world_partition *p = mr_partition_context(task.action.partition);
    struct world_reactor *reactor = &world->reactor[task.reactor];
    struct mr_log_event event = {.partition = p->log, .base_offset = task.action.base_offset};
    int rc = 0;
    switch (task.action.kind) {
    case MR_LOG_ACTION_WANT_SEGMENT:
    case MR_LOG_ACTION_WANT_ALLOCATE:
        event.kind = MR_LOG_EVENT_SEGMENT;
        rc = open_segment(world, p, task.action.base_offset, task.action.bytes, &event);
        break;
    case MR_LOG_ACTION_CLOSE_SEGMENT:
        event.kind = MR_LOG_EVENT_SEGMENT_CLOSED;
        rc = close_segment(world, p, &task);
        break;
    case MR_LOG_ACTION_DELETE_SEGMENT:
        rc = delete_segment(world, p, task.action.base_offset);
        break;
    case MR_LOG_ACTION_FREE_EXTENT:
        event.kind = MR_LOG_EVENT_EXTENT_FREE;
        event.extent = task.action.extent;
        break;
    case MR_LOG_ACTION_WANT_EXTENT:
        want_extent(world, p, task.action.slot, &event);
        break;
    default:
        break;
    }
    free(task.producers);
    world->task[index] = world->task[--world->task_count];
    if (mr_sim_disk_is_cut(world->machine))
        return;
    world_must(rc == 0);
    if (event.kind != 0) {
        world_must(reactor->event_count < MR_COUNT_OF(reactor->event));
        reactor->event[reactor->event_count++] = event;
    }
}

static bool retire(struct world *world)
{
    for (uint32_t d = 0; d < world->directory_count; d++) {
        if (world->recovery[d] == NULL)
            continue;
        if (mr_recovery_retire(world->recovery[d], NULL) != 0)
            return false;
        mr_recovery_close(world->recovery[d]);
        world->recovery[d] = NULL;
    }
    world->has_adopted = false;
    return true;
}

static void take_action(struct world *world, uint32_t r, const struct mr_log_action *action)
{
    struct world_reactor *reactor = &world->reactor[r];
    switch (action->kind) {
    case MR_LOG_ACTION_WRITE:
        world_must(reactor->write_count < MR_COUNT_OF(reactor->write));
        reactor->write[(reactor->write_first + reactor->write_count++) % MR_COUNT_OF(reactor->write)] = action->write;
        break;
    case MR_LOG_ACTION_GIVE_EXTENT:
        give_extent(mr_partition_context(action->partition), &action->extent);
        break;
    case MR_LOG_ACTION_REST_SEGMENT: /* nothing is written to it any more until it is opened again */
        world_reach(WORLD_FILES_RESTED);
        rest_segment(world, mr_partition_context(action->partition), action->base_offset);
        break;
    case MR_LOG_ACTION_ADVANCED:
        break; /* the head says it */
    case MR_LOG_ACTION_OFFLINE:
        world_must(mr_sim_disk_is_cut(world->machine));
        break;
    case MR_LOG_ACTION_SECURED:
        reactor->secured = true;
        break;
    default:
        world_must(world->task_count < WORLD_TASKS_MAX);
        struct world_task *task = &world->task[world->task_count++];
        *task = (struct world_task){.action = *action, .reactor = r, .due_ns = world->now_ns + draw(world, 20000000)};
        if (action->producer_count > 0) {
            task->producers = malloc(action->producer_count * sizeof *task->producers);
            world_must(task->producers != NULL);
            memcpy(task->producers, action->producers, action->producer_count * sizeof *task->producers);
        }
        if (action->kind == MR_LOG_ACTION_CLOSE_SEGMENT)
            world_reach(WORLD_SEGMENT_ROLLED);
        break;
    }
}

static void step_reactor(struct world *world, uint32_t r)
{
    struct world_reactor *reactor = &world->reactor[r];
    struct mr_disk_completion completion[64];
    while (reactor->write_count > 0) {
        uint32_t run = reactor->write_count;
        if (reactor->write_first + run > MR_COUNT_OF(reactor->write))
            run = (uint32_t)MR_COUNT_OF(reactor->write) - reactor->write_first;
        uint32_t taken = mr_disk_submit(reactor->disk, &reactor->write[reactor->write_first], run);
        reactor->write_first = (reactor->write_first + taken) % MR_COUNT_OF(reactor->write);
        reactor->write_count -= taken;
        if (taken < run)
            break;
    }
    uint32_t count = mr_disk_poll(reactor->disk, completion, 64);
    if (mr_sim_disk_is_cut(world->machine))
        return;
    for (uint32_t i = 0; i < count; i++) {
        world_must(reactor->event_count < MR_COUNT_OF(reactor->event) && completion[i].result == 0);
        reactor->event[reactor->event_count++] = (struct mr_log_event){.kind = MR_LOG_EVENT_WRITE, .result = completion[i].result,
                                                                       .tag = completion[i].tag};
    }
    struct mr_log_action action[ACTIONS];
    uint32_t max = 1 + (uint32_t)draw(world, ACTIONS);
    count = mr_log_step(reactor->log, world->now_ns, world->now_ns / 1000000, reactor->event, reactor->event_count, action, max);
    reactor->event_count = 0;
    while (true) {
        for (uint32_t i = 0; i < count; i++)
            take_action(world, r, &action[i]);
        if (count < max)
            break;
        count = mr_log_step(reactor->log, world->now_ns, world->now_ns / 1000000, NULL, 0, action, max);
    }
    const struct mr_log_counters *counters = mr_log_counters(reactor->log);
    if (counters->relogged_bytes > 0)
        world_reach(WORLD_RELOGGED);
    if (counters->journal_bytes > world->journal_bytes * world->directory_count)
        world_reach(WORLD_JOURNAL_WRAPPED);
}

static void note_record(struct world_partition *p, const struct world_record *record)
{
    if (p->end == p->room) {
        p->room = p->room == 0 ? 1024 : p->room * 2;
        p->record = realloc(p->record, p->room * sizeof *p->record);
        world_must(p->record != NULL);
    }
    p->record[p->end++] = *record;
}

static void append_batch(struct world *world, struct world_partition *p)
{
    uint32_t producer = (uint32_t)draw(world, WORLD_PRODUCERS);
    struct mr_producer *state = NULL;
    world_must(mr_partition_producer(p->log, 1000 + producer, 0, &state) == 0);
    uint32_t records = 1 + (uint32_t)draw(world, 4);
    uint64_t end = p->end;
    uint8_t value[1024];
    int rc = mr_partition_begin(p->log, state, (uint32_t)p->next_sequence[producer], 16 + 600);
    if (rc == -EAGAIN)
        return;
    world_must(rc == 0);
    /* R16: the one before is a duplicate, the one after the next is out of order. */
    for (uint32_t i = 0; i < records; i++) {
        struct world_record record = {.id = p->next_id, .sequence = p->next_sequence[producer], .producer = (uint8_t)producer,
                                      .bytes = (uint16_t)(VALUE_MIN + draw(world, p->is_hot ? 580 : 200))};
        world_value(p, &record, value);
        if (!mr_batch_add_value(mr_partition_writer(p->log), (int64_t)(world->now_ns / 1000000), value, record.bytes))
            break;
        p->next_id++;
        note_record(p, &record);
        if (p->next_sequence[producer] == INT32_MAX)
            world_reach(WORLD_SEQUENCE_WRAPPED);
        p->next_sequence[producer] = (int32_t)(((uint32_t)p->next_sequence[producer] + 1) & INT32_MAX);
    }
    world_must(p->end > end);
    struct mr_appended appended;
    mr_partition_finish(p->log, &appended);
    world_must((uint64_t)appended.base_offset == end && appended.end_offset == p->end);
}

static void work_on(struct world *world, struct world_partition *p)
{
    uint32_t batches = (uint32_t)draw(world, p->is_hot ? 6 : 2);
    for (uint32_t i = 0; i < batches; i++)
        append_batch(world, p);
    uint64_t durable;
    uint64_t committed = mr_partition_committed(p->log, &durable);
    if (draw(world, 150) == 0 && committed > p->trim_asked) {
        uint64_t to = p->trim_asked + 1 + draw(world, committed - p->trim_asked);
        if (mr_partition_trim(p->log, to) == 0)
            p->trim_asked = mr_max_u64(p->trim_asked, to);
    }
    if (draw(world, 100) == 0)
        p->is_hot = !p->is_hot;
}

void world_step(struct world *world)
{
    world->now_ns += draw(world, 8) == 0 ? draw(world, 300000000) : draw(world, 300000);
    for (uint32_t i = 0; i < world->partition_count && !world->is_quiet; i++)
        if (draw(world, 3) == 0)
            work_on(world, &world->partition[i]);
    for (uint32_t r = 0; r < world->reactor_count && !mr_sim_disk_is_cut(world->machine); r++)
        step_reactor(world, r);
    for (uint32_t i = 0; i < world->task_count && !mr_sim_disk_is_cut(world->machine);) {
        if (world->task[i].due_ns <= world->now_ns)
            run_task(world, i);
        else
            i++;
    }
    bool all_secured = world->has_adopted;
    for (uint32_t r = 0; r < world->reactor_count; r++)
        all_secured = all_secured && world->reactor[r].secured;
    if (all_secured && !mr_sim_disk_is_cut(world->machine))
        world_must(retire(world) || mr_sim_disk_is_cut(world->machine));
}

void world_settle(struct world *world)
{
    world->is_quiet = true;
    for (uint32_t i = 0; i < 600 && !mr_sim_disk_is_cut(world->machine); i++) {
        world->now_ns += 2000000;
        world_step(world);
    }
    for (uint32_t i = 0; i < world->partition_count && !mr_sim_disk_is_cut(world->machine); i++) {
        const struct world_partition *p = &world->partition[i];
        if (mr_load_relaxed(&p->head->durable) == p->end)
            continue;
        fprintf(stderr, "MR_SEED=%llu %s: durable %llu, end %llu, %u tasks, %u writes waiting, %u in flight\n", (unsigned long long)world->seed,
                p->path, (unsigned long long)mr_load_relaxed(&p->head->durable), (unsigned long long)p->end, world->task_count,
                world->reactor[p->reactor].write_count, mr_sim_disk_in_flight(world->machine));
        world_failed(__FILE__, __LINE__, "an idle node makes everything durable");
    }
    world->is_quiet = false;
}

void world_drain(struct world *world)
{
    bool is_drained = false;
    world->is_quiet = true;
    for (uint32_t i = 0; i < 5000 && !is_drained; i++) {
        is_drained = world->task_count == 0;
        for (uint32_t r = 0; r < world->reactor_count; r++)
            is_drained = mr_log_drain(world->reactor[r].log) && is_drained;
        world->now_ns += 1000000;
        world_step(world);
    }
    world_must(is_drained);
    world->is_quiet = false;
}

/* Start. */

uint32_t world_live_extents(struct world_partition *p, struct mr_log_live_extent *live)
{
    uint64_t first = mr_load_relaxed(&p->head->directory_first), last = mr_load_relaxed(&p->head->tail_sequence);
    uint32_t count = 0;
    for (uint64_t sequence = first; first != 0 && sequence <= last; sequence++) {
        const struct mr_head_directory_entry *entry = &p->head->directory[sequence % MR_HEAD_DIRECTORY_COUNT];
        if (entry->sequence != sequence)
            continue;
        struct world_extent *extent = &p->extent[entry->file_id & ~MR_EXTENT_FILE_SLOT];
        world_must(extent->used);
        live[count++] = (struct mr_log_live_extent){.memory = extent->memory, .slot = extent->slot, .adopted = true};
    }
    return count;
}

/* What memory named but the directory does not: unlinked. */
static void unlink_others(struct world_partition *p, const struct mr_log_live_extent *live, uint32_t count)
{
    for (uint32_t e = 0; e < WORLD_EXTENTS_MAX; e++) {
        bool named = false;
        for (uint32_t i = 0; i < count; i++)
            named = named || live[i].memory == p->extent[e].memory;
        if (p->extent[e].used && !named) {
            free(p->extent[e].memory);
            memset(&p->extent[e], 0, sizeof p->extent[e]);
        }
    }
}

struct partition_start {
    struct mr_log_recovered recovered;
    struct mr_log_segment *segments;
    bool adopted;
};

static int recover(struct world *world, struct world_partition *p, struct partition_start *start);

static int adopt(struct world *world, struct world_partition *p, struct partition_start *start)
{
    struct mr_log_live_extent live[MR_HEAD_DIRECTORY_COUNT];
    struct mr_log_recovered adopted;
    struct millrace_error err = {0};
    uint32_t count = world_live_extents(p, live), closed_count = 0;
    unlink_others(p, live, count);
    uint64_t checked_ends[MR_HEAD_DIRECTORY_COUNT];
    for (uint32_t i = 0; i < count; i++)
        checked_ends[i] = mr_adopt_check_extent(live[i].memory, mr_load_relaxed(&p->head->log_end));
    int rc = mr_adopt_partition(p->head, &p->topic_id, 0, &world->boot_id, live, count, checked_ends, &world_allocator, &adopted, &err);
    if (rc != 0 && count == 0) /* nothing was appended since it was recovered */
        return recover(world, p, start);
    if (rc != 0)
        fprintf(stderr, "MR_SEED=%llu %s: %s (log start %llu durable %llu end %llu; directory %llu to %llu, tail %llu, %u found)\n",
                (unsigned long long)world->seed, p->path, err.text, (unsigned long long)mr_load_relaxed(&p->head->log_start),
                (unsigned long long)mr_load_relaxed(&p->head->durable), (unsigned long long)p->end,
                (unsigned long long)mr_load_relaxed(&p->head->directory_first), (unsigned long long)mr_load_relaxed(&p->head->directory_last),
                (unsigned long long)mr_load_relaxed(&p->head->tail_sequence), count);
    world_must(rc == 0);
    struct mr_log_segment *closed = NULL;
    if (adopted.segment_count > 0)
        rc = mr_recovery_segments(world->disk, p->path, adopted.segments[0].base_offset, &closed, &closed_count, &err);
    if (rc != 0 && !mr_sim_disk_is_cut(world->machine))
        fprintf(stderr, "MR_SEED=%llu %s\n", (unsigned long long)world->seed, err.text);
    if (rc != 0) {
        mr_adopt_release(&world_allocator, &adopted);
        return rc;
    }
    start->segments = take(NULL, (closed_count + adopted.segment_count + 1) * sizeof *start->segments);
    uint32_t segments = 0;
    for (uint32_t i = 0; i < closed_count; i++) {
        if (closed[i].next_offset <= adopted.log_start)
            (void)delete_segment(world, p, closed[i].base_offset); /* the order died with the steward */
        else
            start->segments[segments++] = closed[i];
    }
    for (uint32_t i = 0; i < adopted.segment_count; i++)
        start->segments[segments++] = adopted.segments[i];
    free(closed);
    uint64_t checked = 0;
    check_recovered(world, NULL, p, &adopted, p->end, &checked);
    world_must(check_memory(p, &adopted));
    start->recovered = adopted;
    start->recovered.segments = start->segments;
    start->recovered.segment_count = segments;
    start->adopted = true;
    free((void *)(uintptr_t)adopted.segments);
    world_reach(WORLD_ADOPTED);
    return 0;
}

static void forget_lost(struct world_partition *p, const struct mr_log_recovered *recovered)
{
    if (recovered->next_offset < p->end)
        world_reach(WORLD_UNACKED_LOST);
    p->end = p->settled_end = recovered->next_offset;
    p->trim_asked = recovered->log_start;
    for (uint32_t i = 0; i < recovered->producer_count; i++)
        p->next_sequence[recovered->producers[i].producer_id - 1000] = (int32_t)(((uint32_t)recovered->producers[i].last_sequence + 1) & INT32_MAX);
    for (uint32_t producer = 0; producer < WORLD_PRODUCERS; producer++) {
        bool known = false;
        for (uint32_t i = 0; i < recovered->producer_count; i++)
            known = known || recovered->producers[i].producer_id == 1000 + producer;
        if (!known && p->end > 0)
            p->next_sequence[producer] = (int32_t)(p->next_sequence[producer] & INT32_MAX); /* a stranger may begin anywhere */
    }
}

static int recover(struct world *world, struct world_partition *p, struct partition_start *start)
{
    uint64_t acked = mr_max_u64(mr_load_relaxed(&p->head->durable), p->settled_end), checked = 0;
    int rc = mr_recovery_partition(world->recovery[p->directory], p->path, &p->topic_id, 0, 0, &start->recovered, NULL);
    if (rc != 0)
        return rc;
    check_recovered(world, world->machine, p, &start->recovered, acked, &checked);
    forget_lost(p, &start->recovered);
    return 0;
}

static void add_partition(struct world *world, struct world_partition *p, struct partition_start *start)
{
    struct mr_log_partition_options options = {
        .topic_id = p->topic_id,
        .directory = p->directory,
        .durability = p->durability,
        .leader_epoch = (uint32_t)world->daemon_start,
        .segment_bytes = world->segment_bytes,
        .retention_bytes = p->retention_bytes,
        .batch_bytes_max = world->batch_bytes_max,
        .slot_bytes = world->slot_bytes,
        .extent_bytes = world->extent_bytes,
        .boot_id = world->boot_id,
        .head = p->head,
        .context = p,
    };
    world_must(mr_log_partition_add(world->reactor[p->reactor].log, &options, &start->recovered, &p->log) == 0);
    for (uint32_t producer = 0; producer < WORLD_PRODUCERS; producer++) {
        struct mr_producer *state = NULL;
        world_must(mr_partition_producer(p->log, 1000 + producer, 0, &state) == 0);
        if (mr_producer_next_sequence(state) < 0)
            continue;
        int32_t next = p->next_sequence[producer];
        world_must(mr_producer_judge(state, (uint32_t)next) == MR_SEQUENCE_NEXT);
        world_must(mr_producer_judge(state, ((uint32_t)next - 1) & INT32_MAX) == MR_SEQUENCE_DUPLICATE);
        world_must(mr_producer_judge(state, ((uint32_t)next + 1) & INT32_MAX) == MR_SEQUENCE_OUT_OF_ORDER);
    }
}

/* @return false: power went meanwhile */
static bool try_start(struct world *world, bool adopting)
{
    struct partition_start start[WORLD_PARTITIONS_MAX] = {0};
    uint64_t generation = 0;
    bool ok = true;
    world->disk = mr_sim_disk_open(world->machine);
    for (uint32_t d = 0; ok && d < world->directory_count; d++) {
        ok = mr_recovery_open(&world->recovery[d], world->disk, world->directory[d], say, world, NULL) == 0;
        generation = ok ? mr_max_u64(generation, mr_recovery_generation(world->recovery[d])) : 0;
    }
    for (uint32_t i = 0; ok && i < world->partition_count; i++) {
        ok = (adopting ? adopt : recover)(world, &world->partition[i], &start[i]) == 0;
    }
    for (uint32_t d = 0; ok && d < world->directory_count; d++)
        ok = mr_recovery_checkpoint(world->recovery[d], NULL) == 0;
    if (ok && !adopting)
        drop_heads(world);
    world->reactor_count = 1 + (uint32_t)draw(world, WORLD_REACTORS_MAX);
    for (uint32_t r = 0; ok && r < world->reactor_count; r++) {
        struct world_reactor *reactor = &world->reactor[r];
        struct mr_log_options options = {.reactor = r, .directory_count = world->directory_count, .allocator = world_allocator,
                                         .random_seed = mr_random_next(&world->random), .flush_ns = FLUSH_NS, .mark_ns = MARK_NS,
                                         .commit_bytes_max = 64u << 10, .hot_bytes_min = 320u << 10, .hot_slots = 1, .files_max = 1 + (uint32_t)draw(world, 3)};
        for (uint32_t d = 0; ok && d < world->directory_count; d++) {
            reactor->staging[d] = aligned_alloc(MR_BLOCK_BYTES, 128u << 10);
            options.journal[d].staging = reactor->staging[d];
            options.journal[d].staging_bytes = 128u << 10;
            ok = mr_journal_create(world->disk, world->directory[d], r, generation + 1, world->journal_bytes,
                                   mr_random_next(&world->random), &options.journal[d], NULL) == 0;
        }
        reactor->disk = mr_sim_disk_open(world->machine);
        if (ok)
            world_must(mr_log_init(&reactor->log, &options) == 0);
    }
    for (uint32_t i = 0; ok && i < world->partition_count; i++) {
        world->partition[i].reactor = (uint32_t)draw(world, world->reactor_count);
        add_partition(world, &world->partition[i], &start[i]);
    }
    for (uint32_t i = 0; i < world->partition_count; i++)
        if (start[i].adopted) {
            start[i].recovered.segments = start[i].segments;
            mr_adopt_release(&world_allocator, &start[i].recovered);
        }
    world->has_adopted = adopting;
    if (ok && !adopting)
        ok = retire(world);
    world->is_up = ok;
    if (!ok)
        world_must(mr_sim_disk_is_cut(world->machine));
    return ok;
}

void world_start(struct world *world)
{
    uint32_t reactors = world->reactor_count;
    bool adopting = false;
    for (uint32_t i = 0; i < world->partition_count; i++)
        for (uint32_t e = 0; e < WORLD_EXTENTS_MAX; e++)
            adopting = adopting || world->partition[i].extent[e].adopted;
    world->daemon_start++;
    if (!try_start(world, adopting)) {
        world_reach(adopting ? WORLD_CUT_IN_ADOPTION : WORLD_CUT_IN_RECOVERY);
        return; /* the caller cuts and starts again */
    }
    if (reactors != 0 && reactors != world->reactor_count)
        world_reach(WORLD_REACTORS_CHANGED);
}
