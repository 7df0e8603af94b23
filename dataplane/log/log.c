/* SPDX-License-Identifier: Apache-2.0 */
/* The registry of partitions, and the step: events in, timers, commits, actions out. Actions follow from state: each partition has a mask
 * of kinds that wait to be emitted, so that a full action array loses nothing. */
#include "dataplane/log/log_internal.h"

#include <errno.h>

int mr_log_init(struct mr_log **log_out, const struct mr_log_options *options)
{
    if (options->directory_count == 0 || options->directory_count > MR_LOG_DIRECTORIES_MAX)
        return -EINVAL;
    struct mr_log *log = options->allocator.allocate(options->allocator.context,
                                                     sizeof *log + options->directory_count * sizeof(struct log_directory));
    if (log == NULL)
        return -ENOMEM;
    log->options = *options;
    if (log->options.commit_bytes_max == 0)
        log->options.commit_bytes_max = 4u << 20;
    if (log->options.hot_bytes_min == 0)
        log->options.hot_bytes_min = 256u << 20;
    if (log->options.hot_slots == 0)
        log->options.hot_slots = 80;
    mr_random_init(&log->random, options->random_seed, options->reactor);
    list_init(&log->all);
    list_init(&log->todo);
    list_init(&log->marking);
    list_init(&log->idle);
    list_init(&log->refused);
    list_init(&log->no_space);
    list_init(&log->expiring);
    list_init(&log->retaining);
    list_init(&log->open);
    list_init(&log->reopening);
    log->directory_count = options->directory_count;
    int rc = 0;
    for (uint32_t i = 0; i < options->directory_count; i++)
        log->directory[i].log = log;
    for (uint32_t i = 0; i < options->directory_count && rc == 0; i++)
        rc = mr_log_directory_init(log, i);
    if (rc != 0) {
        mr_log_release(log);
        return rc;
    }
    *log_out = log;
    return 0;
}

static void free_partition(struct mr_partition *p)
{
    struct mr_log *log = p->log;

    for (uint32_t i = 0; i < p->segment_count; i++)
        mr_log_segment_free(log, p->segment[i]);
    while (p->deleted != NULL) {
        struct log_segment *s = p->deleted;
        p->deleted = s->next_deleted;
        mr_log_segment_free(log, s);
    }
    mr_log_segment_free(log, p->next_segment);
    mr_log_producers_release(p);
    log_free(log, p->segment);
    log_free(log, p->extent);
    log_free(log, p->leaving);
    log_free(log, p->recovered_data);
    log_free(log, p->recovered_side);
    log_free(log, p);
}

void mr_log_release(struct mr_log *log)
{
    if (log == NULL)
        return;
    while (!list_is_empty(&log->all)) {
        struct mr_partition *p = list_entry(log->all.next, struct mr_partition, all);
        list_remove(&p->all);
        free_partition(p);
    }
    for (uint32_t i = 0; i < log->directory_count; i++)
        mr_log_directory_release(&log->directory[i]);
    log_free(log, log);
}

static int copy_block(struct mr_log *log, const uint8_t *from, uint64_t bytes, uint8_t **to)
{
    if (bytes == 0)
        return 0;
    *to = log_allocate(log, bytes);
    if (*to == NULL)
        return -ENOMEM;
    memcpy(*to, from, bytes);
    return 0;
}

static int take_segment(struct mr_partition *p, const struct mr_log_segment *from, bool last, const struct mr_log_recovered *recovered)
{
    struct log_segment *s = mr_log_segments_reserve(p) != 0 ? NULL : mr_log_segment_make(p, from->base_offset);
    bool live = last;

    if (s == NULL)
        return -ENOMEM;
    s->salt = from->salt;
    s->cut_position = from->cut_position;
    s->max_timestamp_ms = from->max_timestamp_ms;
    s->max_is_known = from->max_is_known;
    s->next_offset = from->next_offset;
    s->rolled = !last;
    s->named = from->inplace_bytes > 0 && from->side_inplace_bytes > 0;
    s->data = (struct log_stream){from->inplace_bytes, from->inplace_bytes, from->inplace_bytes, from->bytes};
    s->side = (struct log_stream){from->side_inplace_bytes, from->side_inplace_bytes, from->side_inplace_bytes, from->side_bytes};
    for (uint32_t i = 0; i < recovered->extent_count; i++)
        live = live || recovered->extents[i].memory->segment_base_offset == from->base_offset;
    if (!last && from->next_offset <= recovered->log_start)
        live = false; /* deleted, or about to be: not made anew */
    if (!live) {
        s->closed = true;
        s->data.placed = s->data.placing = s->data.committing = s->data.end;
        s->side.placed = s->side.placing = s->side.committing = s->side.end;
        p->open_first++;
    }
    s->rested = live && last && s->named; /* the daemon that died had allocated room beyond the end: a clean stop cuts it */
    p->segment[p->segment_count++] = s;
    p->tail = s;
    if (s->rolled && !s->closed)
        mr_log_segment_want(p, s);
    p->chain = from->chain;
    if (!last)
        p->segments_bytes += from->bytes;
    p->log->counters.at_risk_bytes += s->data.end - s->data.committing;
    return 0;
}

static int take_producer(struct mr_partition *p, const struct mr_log_producer_state *state)
{
    struct mr_producer *producer = mr_log_producer_make(p, state->producer_id);

    if (producer == NULL)
        return -ENOMEM;
    mr_log_producer_append(producer, (uint64_t)state->last_offset, (uint32_t)state->last_sequence, 1);
    producer->epoch = state->epoch;
    producer->active_ms = state->active_ms < 0 ? -1 : state->active_ms;
    return 0;
}

/* Continue where recovery or adoption found the log to end. */
static int take_over(struct mr_partition *p, const struct mr_log_recovered *recovered)
{
    struct mr_log *log = p->log;
    uint32_t count = recovered->segment_count;
    int rc = 0;

    p->generation = recovered->generation;
    p->log_start = p->log_start_next = recovered->log_start;
    p->end_offset = recovered->next_offset;
    p->durable_offset = recovered->durable_offset;
    if (recovered->offline) {
        p->refuse = -EIO;
        return 0;
    }
    if (count > 0 && recovered->segments[count - 1].bytes == 0)
        count--; /* begun, never written: it begins anew with the next batch */
    for (uint32_t i = 0; i < count && rc == 0; i++)
        rc = take_segment(p, &recovered->segments[i], i + 1 == count, recovered);
    if (rc == 0)
        rc = mr_log_adopt_extents(p, recovered);
    if (rc == 0 && p->tail != NULL && !log_has_tail(p)) {
        rc = copy_block(log, recovered->data_block, p->tail->data.end % MR_BLOCK_BYTES, &p->recovered_data);
        if (rc == 0)
            rc = copy_block(log, recovered->side_block, p->tail->side.end % MR_BLOCK_BYTES, &p->recovered_side);
    }
    for (uint32_t i = recovered->producer_count; i > 0 && rc == 0; i--) /* a snapshot has the latest first, and each goes to the front */
        rc = recovered->producers[i - 1].active_ms >= 0 ? take_producer(p, &recovered->producers[i - 1]) : 0;
    for (uint32_t i = recovered->producer_count; i > 0 && rc == 0; i--)
        rc = recovered->producers[i - 1].active_ms < 0 ? take_producer(p, &recovered->producers[i - 1]) : 0;
    if (rc != 0)
        return rc;
    /* The mark never says more than what recovery settled, or what is known to be in place, and then what this start's commits complete. */
    p->mark_segment = p->mark_offset = recovered->segment_count > 0 ? recovered->segments[0].base_offset : p->end_offset;
    for (uint32_t i = 0; i < p->segment_count; i++) {
        const struct log_segment *s = p->segment[i];
        if (s->data.placed < s->data.end || s->side.placed < s->side.end)
            break;
        p->mark_segment = s->base_offset;
        p->mark_position = s->data.end;
        p->mark_offset = s->rolled ? s->next_offset : p->end_offset;
    }
    p->durable_offset = mr_max_u64(p->durable_offset, p->mark_offset);
    mr_log_started(p, p->log_start);
    if (p->end_offset > 0) {
        p->unsecured = true;
        p->secure_offset = p->end_offset;
        log->unsecured++;
        p->mark_due = true;
    }
    return 0;
}

int mr_log_partition_add(struct mr_log *log, const struct mr_log_partition_options *options, const struct mr_log_recovered *recovered,
                         struct mr_partition **partition)
{
    struct mr_partition *p = log_allocate(log, sizeof *p);

    if (p == NULL)
        return -ENOMEM;
    mr_assert(options->directory < log->directory_count);
    p->log = log;
    p->directory = &log->directory[options->directory];
    p->disk = options->durability == MR_DURABILITY_DISK;
    p->batch_bytes_max = options->batch_bytes_max;
    p->head = options->head;
    p->context = options->context;
    p->topic_id = options->topic_id;
    p->boot_id = options->boot_id;
    p->partition = options->partition;
    p->leader_epoch = options->leader_epoch;
    p->segment_bytes = mr_min_u64(options->segment_bytes, MR_LOG_SEGMENT_BYTES_MAX);
    p->retention_bytes = options->retention_bytes;
    p->retention_ms = options->retention_ms;
    p->slot_bytes = options->slot_bytes;
    p->extent_bytes = options->extent_bytes;
    struct list_node *nodes[] = {&p->queued,   &p->marking,   &p->idle, &p->refused, &p->no_space,
                                 &p->expiring, &p->retaining, &p->open, &p->reopening, &p->todo, &p->all, &p->producers};
    for (uint32_t i = 0; i < MR_COUNT_OF(nodes); i++)
        list_init(nodes[i]);
    p->first_sequence = 1;
    int rc = mr_log_extents_reserve(p, 4);
    if (rc == 0 && (p->directory->partition_count + 1ull) * sizeof(struct mr_journal_entry) > p->directory->ring_bytes / 16)
        rc = -ENOSPC;
    if (rc == 0 && recovered != NULL)
        rc = take_over(p, recovered);
    if (rc != 0) {
        if (list_is_linked(&p->idle))
            list_remove(&p->idle);
        if (list_is_linked(&p->todo))
            list_remove(&p->todo);
        free_partition(p);
        return rc;
    }
    list_append(&log->all, &p->all);
    mr_log_retain_later(p);
    p->directory->partition_count++;
    if (p->directory->offline)
        p->refuse = -EIO;

    struct mr_head_partition *head = p->head;
    mr_store_relaxed(&head->log_start, p->log_start);
    mr_store_relaxed(&head->durable, p->durable_offset);
    mr_store_relaxed(&head->log_end_segment, p->tail != NULL ? p->tail->base_offset : p->end_offset);
    mr_store_relaxed(&head->log_end_position, p->tail != NULL ? p->tail->data.end : 0);
    mr_store_relaxed(&head->inplace_position, p->tail != NULL ? p->tail->data.placed : 0);
    mr_store_relaxed(&head->leader_epoch, p->leader_epoch);
    mr_store_relaxed(&head->state, p->refuse == -EIO ? MR_PARTITION_OFFLINE : MR_PARTITION_ONLINE);
    if (!log_has_tail(p)) {
        mr_store_relaxed(&head->directory_first, p->first_sequence);
        mr_store_relaxed(&head->directory_last, p->last_sequence);
        mr_store_relaxed(&head->tail_sequence, 0);
    }
    mr_store_release(&head->log_end, p->end_offset);
    mr_store_release(&head->visible, p->disk ? p->durable_offset : p->end_offset);
    if (p->refuse != -EIO && mr_log_has_work(p))
        mr_log_queue_now(p);
    *partition = p;
    return 0;
}

int mr_log_partition_remove(struct mr_log *log, struct mr_partition *p)
{
    p->removed = true;
    p->refuse = -EIO;
    mr_log_unqueue(p);
    if (p->commits_in_flight > 0 && !p->directory->offline)
        return -EAGAIN;
    struct list_node *nodes[] = {&p->marking, &p->idle, &p->refused, &p->no_space, &p->expiring, &p->retaining, &p->todo, &p->all};
    for (uint32_t i = 0; i < MR_COUNT_OF(nodes); i++)
        if (list_is_linked(nodes[i]))
            list_remove(nodes[i]);
    mr_log_files_forgotten(p);
    mr_log_floor_set(p, 0);
    p->directory->live_bytes -= p->live_bytes;
    p->directory->partition_count--;
    if (p->unsecured)
        log->unsecured--;
    free_partition(p);
    return 0;
}

uint32_t mr_partition_generation(const struct mr_partition *p)
{
    return p->generation;
}

void *mr_partition_context(const struct mr_partition *p)
{
    return p->context;
}

const struct mr_log_counters *mr_log_counters(const struct mr_log *log)
{
    return &log->counters;
}

void mr_log_pend(struct mr_partition *p, uint32_t pending)
{
    p->pending |= pending;
    if (!list_is_linked(&p->todo))
        list_append(&p->log->todo, &p->todo);
}

/* Each list has one period, so that it is in order of time. */
void mr_log_timer(struct list_node *timers, struct list_node *node, uint64_t *due_ns, uint64_t at_ns)
{
    *due_ns = at_ns;
    list_append(timers, node);
}

static void take_event(struct mr_log *log, const struct mr_log_event *event)
{
    switch ((enum mr_log_event_kind)event->kind) {
    case MR_LOG_EVENT_WRITE:
        mr_log_commit_written(log, event);
        break;
    case MR_LOG_EVENT_EXTENT:
        mr_log_take_memory(event->partition, &event->extent);
        break;
    case MR_LOG_EVENT_EXTENT_FREE:
        mr_log_memory_is_free(event->partition, &event->extent);
        break;
    case MR_LOG_EVENT_SEGMENT:
    case MR_LOG_EVENT_SEGMENT_FAILED:
    case MR_LOG_EVENT_SEGMENT_CLOSED:
        mr_log_segment_event(event->partition, event);
        break;
    }
}

#define RETAINS_MAX 64 /* likewise, looks for what is too old */
#define EXPIRES_MAX 64u /* partitions looked at in one step for producers to forget */

#define TIMER_DUE(log, list, due) \
    (!list_is_empty(&(log)->list) && list_entry((log)->list.next, struct mr_partition, list)->due <= (log)->now_ns)

static void run_timers(struct mr_log *log)
{
    while (TIMER_DUE(log, marking, mark_due_ns)) {
        struct mr_partition *p = list_entry(log->marking.next, struct mr_partition, marking);
        list_remove(&p->marking);
        if (p->mark_logged < p->mark_offset && p->refuse != -EIO) {
            p->mark_due = true;
            mr_log_queue_now(p);
        }
    }
    while (TIMER_DUE(log, idle, idle_due_ns)) {
        struct mr_partition *p = list_entry(log->idle.next, struct mr_partition, idle);
        list_remove(&p->idle);
        mr_log_idle(p);
    }
    while (TIMER_DUE(log, refused, refused_due_ns)) {
        struct mr_partition *p = list_entry(log->refused.next, struct mr_partition, refused);
        list_remove(&p->refused);
        mr_log_memory_is_late(p);
    }
    while (TIMER_DUE(log, no_space, no_space_due_ns)) {
        struct mr_partition *p = list_entry(log->no_space.next, struct mr_partition, no_space);
        list_remove(&p->no_space);
        for (uint32_t i = p->open_first; i < p->segment_count; i++) {
            if (p->segment[i]->file_state != LOG_FILE_NO_SPACE)
                continue;
            p->segment[i]->file_state = p->segment[i]->closing ? LOG_FILE_READY : LOG_FILE_WANTED;
            mr_log_pend(p, LOG_PENDING_SEGMENT);
        }
    }
    bool retains = TIMER_DUE(log, retaining, retaining_due_ns);
    for (uint32_t i = 0; i < RETAINS_MAX && retains && !list_is_empty(&log->retaining); i++) {
        struct mr_partition *p = list_entry(log->retaining.next, struct mr_partition, retaining);
        if (p->retaining_due_ns > log->now_ns + MR_LOG_RETAIN_NEAR_NS)
            break;
        list_remove(&p->retaining);
        mr_log_retain(p);
        mr_log_retain_later(p);
    }
    for (uint32_t i = 0; i < EXPIRES_MAX && TIMER_DUE(log, expiring, expiring_due_ns); i++) {
        struct mr_partition *p = list_entry(log->expiring.next, struct mr_partition, expiring);
        list_remove(&p->expiring);
        mr_log_producers_expire(p);
    }
}

/* X of producer.c. */
static void tell_time(struct mr_log *log, uint64_t now_ns, uint64_t wall_ms)
{
    if (!log->stepped) {
        log->clock_ms = (int64_t)wall_ms;
        log->clock_ns = now_ns;
        log->began_ns = now_ns;
    }
    uint64_t passed_ms = (now_ns - log->clock_ns) / MR_LOG_MS_NS;
    log->clock_ms += (int64_t)passed_ms;
    log->clock_ns += passed_ms * MR_LOG_MS_NS;
    log->now_ns = now_ns;
    log->wall_ms = wall_ms;
    log->stepped = true;
}

struct emit {
    struct mr_log_action *actions;
    uint32_t count, max;
};

static struct mr_log_action *next_action(struct emit *emit, enum mr_log_action_kind kind, struct mr_partition *p)
{
    if (emit->count == emit->max)
        return NULL;
    struct mr_log_action *action = &emit->actions[emit->count++];
    memset(action, 0, sizeof *action);
    action->kind = kind;
    action->partition = p;
    action->directory = p != NULL ? p->directory->index : 0;
    return action;
}

static bool emit_leaving(struct emit *emit, struct mr_partition *p)
{
    for (uint32_t i = 0; i < p->leaving_count; i++) {
        struct log_leaving *leaving = &p->leaving[i];
        if (leaving->state == LOG_LEAVING_ASKED)
            continue;
        bool free_it = leaving->state == LOG_LEAVING_TO_FREE;
        struct mr_log_action *action = next_action(emit, free_it ? MR_LOG_ACTION_FREE_EXTENT : MR_LOG_ACTION_GIVE_EXTENT, p);
        if (action == NULL)
            return false;
        action->extent = leaving->extent;
        action->slot = leaving->extent.slot;
        if (free_it)
            leaving->state = LOG_LEAVING_ASKED;
        else
            *leaving = p->leaving[--p->leaving_count], i--;
    }
    return true;
}

static bool emit_segments(struct emit *emit, struct mr_partition *p)
{
    for (uint32_t i = p->open_first; i < p->segment_count; i++) {
        struct log_segment *s = p->segment[i];
        if (s->file_state == LOG_FILE_RESTING && mr_log_files_still_rest(p, s)) {
            struct mr_log_action *action = next_action(emit, MR_LOG_ACTION_REST_SEGMENT, p);
            if (action == NULL)
                return false;
            action->base_offset = s->base_offset;
            s->file = -1;
            s->side_file = -1;
            s->file_state = LOG_FILE_NONE;
            s->rested = true;
        }
        if (s->file_state == LOG_FILE_WANTED) {
            struct mr_log_action *action = next_action(emit, s->file < 0 ? MR_LOG_ACTION_WANT_SEGMENT : MR_LOG_ACTION_WANT_ALLOCATE, p);
            if (action == NULL)
                return false;
            action->base_offset = s->base_offset;
            action->salt = s->salt;
            action->bytes = s->wanted_bytes;
            action->side_bytes = s->side_wanted_bytes;
            s->file_state = LOG_FILE_ASKED;
        }
        if (s->close_pending && s->file_state == LOG_FILE_READY) { /* not while its file is being allocated */
            struct mr_log_action *action = next_action(emit, MR_LOG_ACTION_CLOSE_SEGMENT, p);
            if (action == NULL)
                return false;
            action->base_offset = s->base_offset;
            action->bytes = s->data.end;
            action->side_bytes = s->side.end;
            action->next_offset = s->rolled ? s->next_offset : p->end_offset;
            action->producers = s->snapshot;
            action->producer_count = s->snapshot_count;
            action->index = s->rolled && s->index_whole ? s->index : NULL;
            action->index_count = action->index != NULL ? s->index_count : 0;
            s->close_pending = false;
        }
    }
    return true;
}

static bool emit_deleted(struct emit *emit, struct mr_partition *p)
{
    while (p->deleted != NULL) {
        struct log_segment *s = p->deleted;
        struct mr_log_action *action = next_action(emit, MR_LOG_ACTION_DELETE_SEGMENT, p);
        if (action == NULL)
            return false;
        action->base_offset = s->base_offset;
        p->deleted = s->next_deleted;
        mr_log_segment_free(p->log, s);
    }
    return true;
}

/* @return false: no room for all */
static bool emit_partition(struct emit *emit, struct mr_partition *p)
{
    if ((p->pending & LOG_PENDING_ADVANCED) != 0) {
        if (next_action(emit, MR_LOG_ACTION_ADVANCED, p) == NULL)
            return false;
        p->pending &= ~LOG_PENDING_ADVANCED;
    }
    if ((p->pending & LOG_PENDING_WANT) != 0) {
        struct mr_log_action *action = next_action(emit, MR_LOG_ACTION_WANT_EXTENT, p);
        if (action == NULL)
            return false;
        action->slot = p->want_slot;
        p->pending &= ~LOG_PENDING_WANT;
    }
    if ((p->pending & LOG_PENDING_BRIDGE) != 0) {
        struct mr_log_action *action = next_action(emit, MR_LOG_ACTION_WANT_EXTENT, p);
        if (action == NULL)
            return false;
        action->slot = true;
        p->pending &= ~LOG_PENDING_BRIDGE;
    }
    if ((p->pending & LOG_PENDING_LEAVING) != 0) {
        if (!emit_leaving(emit, p))
            return false;
        p->pending &= ~LOG_PENDING_LEAVING;
    }
    if ((p->pending & LOG_PENDING_SEGMENT) != 0) {
        if (!p->directory->offline && !emit_segments(emit, p))
            return false;
        p->pending &= ~LOG_PENDING_SEGMENT;
    }
    if ((p->pending & LOG_PENDING_DELETE) != 0) {
        if (!emit_deleted(emit, p))
            return false;
        p->pending &= ~LOG_PENDING_DELETE;
    }
    return true;
}

static bool emit_writes(struct emit *emit, struct log_directory *d)
{
    for (uint64_t number = d->commit_first; number < d->commit_next && !d->offline; number++) {
        struct log_commit *c = log_commit_at(d, number);
        for (; c->write_next < c->write_count; c->write_next++) {
            struct mr_log_action *action = next_action(emit, MR_LOG_ACTION_WRITE, NULL);
            if (action == NULL)
                return false;
            action->directory = d->index;
            action->write = c->write[c->write_next];
        }
    }
    return true;
}

static bool emit_directory(struct emit *emit, struct log_directory *d)
{
    if (d->offline_pending) {
        struct mr_log_action *action = next_action(emit, MR_LOG_ACTION_OFFLINE, NULL);
        if (action == NULL)
            return false;
        action->directory = d->index;
        action->result = d->offline_result;
        d->offline_pending = false;
    }
    return emit_writes(emit, d);
}

void mr_log_time(struct mr_log *log, uint64_t now_ns)
{
    log->now_ns = now_ns;
}

uint32_t mr_log_step(struct mr_log *log, uint64_t now_ns, uint64_t wall_ms, const struct mr_log_event *events, uint32_t count,
                     struct mr_log_action *actions, uint32_t max)
{
    struct emit emit = {.actions = actions, .max = max};

    tell_time(log, now_ns, wall_ms);
    for (uint32_t i = 0; i < count; i++)
        take_event(log, &events[i]);
    run_timers(log);
    for (uint32_t i = 0; i < log->directory_count; i++)
        mr_log_commits_start(&log->directory[i]);
    for (uint32_t i = 0; i < log->directory_count; i++)
        if (!emit_directory(&emit, &log->directory[i]))
            return emit.count;
    while (!list_is_empty(&log->todo)) {
        struct mr_partition *p = list_entry(log->todo.next, struct mr_partition, todo);
        if (!emit_partition(&emit, p))
            return emit.count;
        list_remove(&p->todo);
    }
    if (!log->secured && log->unsecured == 0 && next_action(&emit, MR_LOG_ACTION_SECURED, NULL) != NULL)
        log->secured = true;
    return emit.count;
}

/* Clean stop: once the tail is in place whole, its files are cut to their ends. */
void mr_log_drain_tail(struct mr_partition *p)
{
    struct log_segment *s = p->tail;

    mr_log_files_needed(p, s);
    if (s != NULL && s->file >= 0 && s->data.placed == s->data.end && s->side.placed == s->side.end && !s->closing) {
        s->snapshot = p->producer_count > 0 ? log_allocate(p->log, p->producer_count * sizeof *s->snapshot) : NULL;
        if (s->snapshot != NULL)
            s->snapshot_count = mr_log_producers_snapshot(p, s->snapshot, p->producer_count);
        mr_log_segment_placed(p, s);
    }
}

bool mr_log_drain(struct mr_log *log)
{
    bool first = !log->draining, done = true;

    log->draining = true;
    for (uint32_t i = 0; i < log->directory_count; i++)
        done = done && (log->directory[i].offline || log_commits_in_flight(&log->directory[i]) == 0);
    for (struct list_node *node = log->all.next; node != &log->all; node = node->next) {
        struct mr_partition *p = list_entry(node, struct mr_partition, all);
        if (p->directory->offline || p->refuse == -EIO)
            continue;
        if (first) {
            p->refuse = -EAGAIN;
            if (mr_log_has_work(p) && !p->blocked)
                mr_log_queue_now(p);
            mr_log_drain_tail(p);
        }
        done = done && p->deleted == NULL && !p->unsecured;
        for (uint32_t i = p->open_first; i < p->segment_count && done; i++) {
            const struct log_segment *s = p->segment[i];
            done = s->data.placed == s->data.end && s->side.placed == s->side.end && (s->closed || (s == p->tail && s->file < 0 && !s->rested));
        }
    }
    return done;
}

#define TIMER_NEXT(log, list, due, next) \
    (list_is_empty(&(log)->list) ? (next) : mr_min_u64((next), list_entry((log)->list.next, struct mr_partition, list)->due))

uint64_t mr_log_next_ns(const struct mr_log *log)
{
    uint64_t next = UINT64_MAX;

    if (!list_is_empty(&log->todo) || (!log->secured && log->unsecured == 0))
        return 0;
    for (uint32_t i = 0; i < log->directory_count; i++) {
        const struct log_directory *d = &log->directory[i];
        if (d->offline_pending || mr_log_commit_due(d, log->now_ns))
            return 0;
        if (!list_is_empty(&d->later) && !d->offline)
            next = mr_min_u64(next, list_entry(d->later.next, struct mr_partition, queued)->dirty_ns + log->options.flush_ns);
        for (uint64_t number = d->commit_first; number < d->commit_next; number++)
            if (d->commit[number % MR_LOG_COMMITS_MAX].write_next < d->commit[number % MR_LOG_COMMITS_MAX].write_count && !d->offline)
                return 0;
    }
    next = TIMER_NEXT(log, marking, mark_due_ns, next);
    next = TIMER_NEXT(log, idle, idle_due_ns, next);
    next = TIMER_NEXT(log, refused, refused_due_ns, next);
    next = TIMER_NEXT(log, expiring, expiring_due_ns, next);
    next = TIMER_NEXT(log, retaining, retaining_due_ns, next);
    return TIMER_NEXT(log, no_space, no_space_due_ns, next);
}
