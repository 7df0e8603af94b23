/* SPDX-License-Identifier: Apache-2.0 */
/* Segments: their files, and their end. A segment comes into being with its first batch; its files follow (I4), and until they exist the
 * journal takes what is small. */
#include "dataplane/log/log_internal.h"

#include <errno.h>

struct log_segment *mr_log_segment_make(struct mr_partition *p, uint64_t base_offset)
{
    struct log_segment *s = log_allocate(p->log, sizeof *s);

    if (s == NULL)
        return NULL;
    s->base_offset = base_offset;
    s->salt = (uint32_t)mr_random_next(&p->log->random);
    s->side.end = MR_SIDECAR_HEADER_BYTES; /* it is written with the first extent */
    s->max_timestamp_ms = -1;
    s->max_is_known = s->index_whole = true;
    s->file = -1;
    s->side_file = -1;
    return s;
}

void mr_log_segment_free(struct mr_log *log, struct log_segment *s)
{
    if (s != NULL) {
        log_free(log, s->snapshot);
        mr_log_index_free(log, s);
    }
    log_free(log, s);
}

/* Room for one more pointer, before there is a segment to put there. */
int mr_log_segments_reserve(struct mr_partition *p)
{
    if (p->segment_count < p->segment_capacity)
        return 0;
    uint32_t capacity = p->segment_capacity == 0 ? 4 : p->segment_capacity * 2;
    struct log_segment **segment = log_allocate(p->log, capacity * sizeof(struct log_segment *));
    if (segment == NULL)
        return -ENOMEM;
    if (p->segment_count > 0)
        memcpy(segment, p->segment, p->segment_count * sizeof(struct log_segment *));
    log_free(p->log, p->segment);
    p->segment = segment;
    p->segment_capacity = capacity;
    return 0;
}

static uint64_t file_bytes_max(const struct mr_partition *p, const struct log_segment *s)
{
    return mr_align_up(s->rolled ? s->data.end : mr_max_u64(s->data.end, p->segment_bytes), MR_BLOCK_BYTES);
}

/* A step that is used up at once is followed by a larger one, a slow one by the least. */
static void adapt_step(struct mr_partition *p)
{
    uint64_t now_ns = p->log->now_ns, lasted_ns = now_ns - p->allocate_ns;

    if (p->allocate_bytes == 0 || lasted_ns > 10 * MR_LOG_ALLOCATE_FAST_NS)
        p->allocate_bytes = MR_LOG_ALLOCATE_BYTES;
    else if (lasted_ns < MR_LOG_ALLOCATE_FAST_NS)
        p->allocate_bytes = mr_min_u64(2 * p->allocate_bytes, MR_LOG_ALLOCATE_BYTES_MAX);
    p->allocate_ns = now_ns;
}

/* No more than was written to it and to the segment before: ten thousand partitions that take a MiB each must not reserve a disk. */
static uint64_t step_bytes(const struct mr_partition *p, const struct log_segment *s)
{
    uint64_t written = s->data.end;
    if (p->segment_count > 1)
        written += p->segment[p->segment_count - 2]->data.end;
    if (!p->hot || written < MR_LOG_ALLOCATE_SLOT_BYTES)
        return MR_LOG_ALLOCATE_SLOT_BYTES;
    return mr_min_u64(mr_align_up(written, MR_BLOCK_BYTES), mr_max_u64(p->allocate_bytes, MR_LOG_ALLOCATE_BYTES));
}

/* Ask for the files, or for more room in them: half a step ahead of what is being written, so that no commit waits for it. */
void mr_log_segment_want(struct mr_partition *p, struct log_segment *s)
{
    if (s->file_state == LOG_FILE_RESTING)
        s->file_state = LOG_FILE_READY;
    if (s->closing || (s->file_state != LOG_FILE_NONE && s->file_state != LOG_FILE_READY))
        return;
    uint64_t most = file_bytes_max(p, s);
    uint64_t step = p->log->draining ? 0 : mr_min_u64(step_bytes(p, s), most), side_step = step / MR_LOG_SIDE_SHARE;
    uint64_t side_end = mr_align_up(s->side.end, MR_BLOCK_BYTES);
    uint64_t side_soon = s->rolled ? side_end : mr_max_u64(s->side.placing + side_step / 2, side_end);
    bool enough = s->allocated_bytes >= mr_min_u64(mr_max_u64(s->data.placing + step / 2, mr_align_up(s->data.end, MR_BLOCK_BYTES)), most) &&
                  s->side_allocated_bytes >= side_soon;
    if (s->file_state == LOG_FILE_READY && enough)
        return;
    if (p->hot && step > 0) {
        adapt_step(p);
        step = mr_min_u64(step_bytes(p, s), most);
    }
    s->wanted_bytes = mr_align_up(mr_max_u64(mr_min_u64(s->data.end + step, most), MR_BLOCK_BYTES), MR_BLOCK_BYTES);
    s->side_wanted_bytes = mr_max_u64(mr_align_up(s->wanted_bytes / MR_LOG_SIDE_SHARE, MR_BLOCK_BYTES), mr_align_up(side_soon, MR_BLOCK_BYTES));
    s->file_state = LOG_FILE_WANTED;
    mr_log_pend(p, LOG_PENDING_SEGMENT);
}

void mr_log_segment_push(struct mr_partition *p, struct log_segment *s)
{
    struct log_segment *old = p->tail;

    if (old != NULL) {
        old->rolled = true;
        old->next_offset = p->end_offset;
        p->segments_bytes += old->data.end;
        p->log->counters.segments_rolled++;
        mr_log_index_note(p, old);
        /* Producer state at the end, for its snapshot file; without memory there is none, and recovery reads the log instead. */
        old->snapshot = p->producer_count > 0 ? log_allocate(p->log, p->producer_count * sizeof *old->snapshot) : NULL;
        if (old->snapshot != NULL)
            old->snapshot_count = mr_log_producers_snapshot(p, old->snapshot, p->producer_count);
        mr_log_files_needed(p, old);
        mr_log_segment_placed(p, old);
    }
    p->segment[p->segment_count++] = s;
    p->tail = s;
    p->chain = s->salt;
    mr_log_segment_want(p, s);
}

struct log_segment *mr_log_segment_by_base(const struct mr_partition *p, uint64_t base_offset)
{
    for (uint32_t i = p->segment_count; i > 0; i--) { /* the tail and its neighbours are what is asked for */
        if (p->segment[i - 1]->base_offset == base_offset)
            return p->segment[i - 1];
        if (p->segment[i - 1]->base_offset < base_offset)
            break;
    }
    return NULL;
}

/** Closed, or deleted since. */
bool mr_log_segment_is_closed(const struct mr_partition *p, uint64_t base_offset)
{
    const struct log_segment *s = mr_log_segment_by_base(p, base_offset);
    return s == NULL || s->closed;
}

void mr_log_segment_event(struct mr_partition *p, const struct mr_log_event *event)
{
    struct mr_log *log = p->log;
    struct log_segment *s = mr_log_segment_by_base(p, event->base_offset);

    if (s == NULL || p->directory->offline)
        return;
    if (s->close_pending)
        mr_log_pend(p, LOG_PENDING_SEGMENT); /* it waited for this answer */
    switch (event->kind) {
    case MR_LOG_EVENT_SEGMENT:
        s->file = event->file;
        s->side_file = event->side_file;
        s->allocated_bytes = event->allocated_bytes;
        s->side_allocated_bytes = s->side_wanted_bytes;
        s->file_state = LOG_FILE_READY;
        s->no_space = false;
        s->named = true;
        s->rested = false;
        if (s == p->tail)
            mr_log_files_opened(p);
        if (s->rolled)
            mr_log_segment_placed(p, s); /* perhaps only the closing was left */
        else if (log->draining && s == p->tail)
            mr_log_drain_tail(p);
        mr_log_unblock(p);
        break;
    case MR_LOG_EVENT_SEGMENT_FAILED:
        if (event->result != -ENOSPC) {
            mr_log_directory_offline(p->directory, event->result);
            break;
        }
        s->file_state = LOG_FILE_NO_SPACE;
        p->allocate_bytes = 0; /* perhaps a small step still fits */
        s->no_space = true;
        s->close_pending = s->closing; /* cutting a file may take space, too: try again */
        if (!list_is_linked(&p->no_space))
            mr_log_timer(&log->no_space, &p->no_space, &p->no_space_due_ns, log->now_ns + MR_LOG_SPACE_RETRY_NS);
        break;
    case MR_LOG_EVENT_SEGMENT_CLOSED:
        s->closed = true;
        s->file = -1;
        s->side_file = -1;
        mr_log_files_closed(log, s);
        log_free(log, s->snapshot);
        s->snapshot = NULL;
        mr_log_index_free(log, s);
        while (p->open_first < p->segment_count && p->segment[p->open_first]->closed)
            p->open_first++;
        if (s == p->tail)
            break; /* a clean stop */
        mr_log_started(p, p->log_start); /* it may have been trimmed while it was open */
        mr_log_retain(p);
        if (p->want_refused)
            mr_log_recycle(p, false);
        break;
    default:
        break;
    }
}

/* Are both files complete? Then they are cut to their ends and closed. One that was never opened by this start is opened for it. */
void mr_log_segment_placed(struct mr_partition *p, struct log_segment *s)
{
    if (s->closing || s->closed || s->data.placed != s->data.end || s->side.placed != s->side.end)
        return;
    if (s->file < 0) {
        mr_log_segment_want(p, s);
        return;
    }
    s->closing = true;
    s->close_pending = true;
    if (s->file_state == LOG_FILE_WANTED || s->file_state == LOG_FILE_NO_SPACE || s->file_state == LOG_FILE_RESTING)
        s->file_state = LOG_FILE_READY; /* no more room is needed */
    mr_log_pend(p, LOG_PENDING_SEGMENT);
}

static bool is_too_old(const struct mr_partition *p, const struct log_segment *s)
{
    return p->retention_ms != 0 && s->max_timestamp_ms >= 0 && p->log->clock_ms - s->max_timestamp_ms > (int64_t)p->retention_ms;
}

/* As Kafka counts: the oldest segment goes when what stays is still at least retention_bytes, or when all that is in it is older than retention_ms.
 * The tail takes records on; of it those go that are there. */
void mr_log_retain(struct mr_partition *p)
{
    if (p->tail == NULL || (p->retention_bytes == UINT64_MAX && p->retention_ms == 0))
        return;
    uint64_t bytes = p->segments_bytes + p->tail->data.end;
    uint64_t start = p->log_start_next, durable;
    uint32_t i = 0;
    for (; i + 1 < p->segment_count; i++) {
        const struct log_segment *s = p->segment[i];
        if (!s->closed || (bytes - s->data.end < p->retention_bytes && !is_too_old(p, s)))
            break;
        bytes -= s->data.end;
        start = mr_max_u64(start, s->next_offset);
    }
    if (i + 1 == p->segment_count && is_too_old(p, p->tail) && mr_partition_committed(p, &durable) == mr_partition_end(p))
        start = mr_partition_end(p);
    if (start == p->log_start_next)
        return;
    p->log_start_next = start; /* I7: it moves when a commit has said so */
    if (!p->blocked)
        mr_log_queue_now(p);
}

void mr_log_retain_later(struct mr_partition *p)
{
    if (p->retention_ms != 0 && !list_is_linked(&p->retaining))
        mr_log_timer(&p->log->retaining, &p->retaining, &p->retaining_due_ns, p->log->now_ns + MR_LOG_RETAIN_NS);
}

int mr_partition_trim(struct mr_partition *p, uint64_t before_offset)
{
    uint64_t durable;

    if (before_offset > mr_partition_committed(p, &durable))
        return -ERANGE;
    if (p->refuse == -EIO)
        return -EIO;
    if (before_offset <= p->log_start_next)
        return 0;
    p->log_start_next = before_offset;
    if (!p->blocked)
        mr_log_queue_now(p);
    return 0;
}

/* log_start is durable at this offset. */
void mr_log_started(struct mr_partition *p, uint64_t log_start)
{
    uint32_t count = 0;

    if (log_start > p->log_start) {
        p->log_start = log_start;
        mr_store_release(&p->head->log_start, log_start);
        mr_log_pend(p, LOG_PENDING_ADVANCED);
    }
    while (count + 1 < p->segment_count && p->segment[count]->closed && p->segment[count]->next_offset <= p->log_start) {
        struct log_segment *s = p->segment[count++];
        struct log_segment **last = &p->deleted;
        while (*last != NULL)
            last = &(*last)->next_deleted;
        *last = s;
        p->segments_bytes -= s->data.end;
        p->log->counters.segments_deleted++;
        mr_log_pend(p, LOG_PENDING_DELETE);
    }
    if (count == 0)
        return;
    p->segment_count -= count;
    p->open_first -= count;
    memmove(p->segment, p->segment + count, p->segment_count * sizeof(struct log_segment *));
}

void mr_partition_configure(struct mr_partition *p, uint64_t segment_bytes, uint64_t retention_bytes, uint64_t retention_ms, uint32_t batch_bytes_max)
{
    p->batch_bytes_max = batch_bytes_max;
    p->segment_bytes = mr_min_u64(segment_bytes, MR_LOG_SEGMENT_BYTES_MAX);
    p->retention_bytes = retention_bytes;
    p->retention_ms = retention_ms;
    if (log_has_tail(p) && !p->writer_open)
        mr_log_tail_room(p);
    mr_log_retain(p);
    mr_log_retain_later(p);
}

int mr_partition_find_time(const struct mr_partition *p, uint64_t offset, int64_t time_ms, struct mr_log_segment *segment,
                           struct mr_index_point *hint)
{
    if (offset < p->log_start)
        return -ERANGE;
    for (uint32_t i = 0; i < p->segment_count; i++) {
        const struct log_segment *s = p->segment[i];
        uint64_t next_offset = s == p->tail ? p->end_offset : s->next_offset;
        if (next_offset <= offset || (s->max_is_known && s->max_timestamp_ms < time_ms))
            continue;
        *segment = (struct mr_log_segment){.base_offset = s->base_offset, .next_offset = next_offset, .max_timestamp_ms = s->max_timestamp_ms,
                                           .max_is_known = s->max_is_known};
        *hint = (struct mr_index_point){.max_offset = UINT64_MAX};
        for (uint32_t k = 0; s->index_whole && k < s->index_count && s->index[k].max_timestamp_ms < time_ms; k++)
            *hint = s->index[k]; /* they grow */
        return 0;
    }
    return -ENOENT;
}

int mr_partition_find_segment(const struct mr_partition *p, uint64_t offset, struct mr_log_segment *segment, uint64_t *inplace_position,
                              uint64_t *inplace_offset)
{
    uint32_t low = 0, high = p->segment_count;

    if (offset < p->log_start)
        return -ERANGE;
    while (low < high) { /* the first segment that begins above */
        uint32_t middle = low + (high - low) / 2;
        if (p->segment[middle]->base_offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || offset >= p->end_offset)
        return -ENOENT;
    const struct log_segment *s = p->segment[low - 1];
    *segment = (struct mr_log_segment){
        .base_offset = s->base_offset,
        .next_offset = s == p->tail ? p->end_offset : s->next_offset,
        .bytes = s->data.end,
        .side_bytes = s->side.end,
        .inplace_bytes = s->data.placed,
        .side_inplace_bytes = s->side.placed,
        .salt = s->salt,
        .chain = s == p->tail ? p->chain : 0,
        .cut_position = s->cut_position,
        .max_timestamp_ms = s->max_timestamp_ms,
        .max_is_known = s->max_is_known,
    };
    *inplace_position = s->data.placed;
    *inplace_offset = s->data.placed == s->data.end ? segment->next_offset : s->base_offset;
    for (uint64_t sequence = p->tail_sequence; s->data.placed != s->data.end && sequence >= p->first_sequence; sequence--) {
        const struct log_extent *e = log_extent_at(p, sequence); /* the last batch boundary known below */
        if (e->segment_base != s->base_offset)
            continue;
        if (e->memory->start_position <= s->data.placed) {
            *inplace_offset = e->base_offset;
            for (uint32_t i = 0; i < e->milestone_count && e->milestone[i].data <= s->data.placed; i++)
                *inplace_offset = e->milestone[i].offset;
            break;
        }
    }
    return 0;
}
