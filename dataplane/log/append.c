/* SPDX-License-Identifier: Apache-2.0 */
/* The hot path: a batch begins in the free room of the tail extent and becomes part of the log when it is finished.
 *
 * Order of stores at finish, for a reader (edge V) and for adoption, should this process die between any two:
 *   batch bytes, side entry -> [roll: sealed_end, then tail_sequence] -> position of the end -> log_end (release) -> visible (release)
 * Adoption walks batches from the oldest live extent to log_end; that one word is the truth, all else follows from it. */
#include "dataplane/log/log_internal.h"

#include <errno.h>

int mr_partition_begin(struct mr_partition *p, struct mr_producer *producer, uint64_t first_sequence, uint64_t first_bytes)
{
    uint64_t need_bytes = MR_BATCH_HEADER_BYTES + first_bytes;

    mr_check(!p->writer_open);
    if (mr_unlikely(p->refuse != 0))
        return p->refuse;
    p->rolling = false;
    uint8_t *at = p->data_next;
    uint64_t room = (uint64_t)(p->data_end - at);
    if (mr_unlikely(need_bytes > room || p->side_next == p->side_end || need_bytes > p->batch_bytes_max)) {
        int rc = mr_log_make_room(p, need_bytes);
        if (rc != 0) {
            p->log->counters.append_refused += rc == -EAGAIN;
            return rc;
        }
        at = p->writer.at; /* where the next extent begins */
        room = (uint64_t)(p->writer.end - at);
    }
    room = mr_min_u64(room, p->batch_bytes_max);
    p->writer_producer = producer;
    if (producer == NULL) {
        mr_batch_open(&p->writer, at, room, -1, -1, -1, (int64_t)p->end_offset, (int32_t)p->leader_epoch);
    } else {
        uint32_t sequence = (uint32_t)first_sequence & INT32_MAX;
        p->writer_made_known = !producer->known;
        if (!producer->known) {
            producer->known = true;
            producer->next_sequence = sequence;
        }
        mr_check(producer->next_sequence == sequence);
        producer->open = &p->writer;
        mr_batch_open(&p->writer, at, room, producer->producer_id, producer->epoch, (int32_t)sequence, (int64_t)p->end_offset,
                      (int32_t)p->leader_epoch);
    }
    p->writer_open = true;
    return 0;
}

int mr_partition_refuses(const struct mr_partition *p, uint64_t first_bytes)
{
    if (p->refuse == -EIO)
        return -EIO;
    return MR_BATCH_HEADER_BYTES + first_bytes > p->batch_bytes_max ? -EMSGSIZE : 0;
}

struct mr_batch_writer *mr_partition_writer(struct mr_partition *p)
{
    return p->writer_open ? &p->writer : NULL;
}

void mr_log_queue_now(struct mr_partition *p)
{
    struct log_directory *d = p->directory;

    if (p->queue == LOG_QUEUE_NOW || d->offline)
        return;
    if (p->queue == LOG_QUEUE_LATER)
        list_remove(&p->queued);
    p->queue = LOG_QUEUE_NOW;
    list_append(&d->now, &p->queued);
    d->waiting_bytes += p->waiting_bytes;
    d->stuck = false;
}

/* First unflushed byte. */
static void queue(struct mr_partition *p)
{
    if (p->disk) {
        mr_log_queue_now(p);
        return;
    }
    p->queue = LOG_QUEUE_LATER;
    p->dirty_ns = p->log->now_ns;
    list_append(&p->directory->later, &p->queued);
}

void mr_partition_finish(struct mr_partition *p, struct mr_appended *appended)
{
    struct mr_batch_writer *writer = &p->writer;
    struct mr_producer *producer = p->writer_producer;
    struct mr_log *log = p->log;

    mr_check(p->writer_open);
    p->writer_open = false;
    uint32_t bytes = mr_batch_close(writer);
    appended->base_offset = writer->base_offset;
    appended->end_offset = (uint64_t)writer->base_offset + writer->count;
    appended->count = writer->count;
    if (producer != NULL) {
        producer->open = NULL;
        if (mr_unlikely(bytes == 0)) {
            producer->known = !p->writer_made_known;
            return;
        }
    } else if (mr_unlikely(bytes == 0)) {
        return;
    }
    if (mr_unlikely(p->rolling))
        mr_log_publish_roll(p);
    if (producer != NULL) /* behind the roll: the snapshots there are of the time before this batch */
        mr_log_producer_append(producer, (uint64_t)writer->base_offset, (uint32_t)writer->base_sequence, writer->count);

    struct log_segment *s = p->tail;
    uint64_t position = s->data.end;
    struct mr_sidecar_entry entry = mr_sidecar_entry_next(p->chain, (uint32_t)position, writer->at, s->base_offset);
    memcpy(p->side_next, &entry, sizeof entry);
    p->side_next += sizeof entry;
    p->data_next = writer->at + bytes;
    p->chain = entry.chain;
    p->end_offset = appended->end_offset;
    p->last_append_ns = log->now_ns;
    s->data.end = position + bytes;
    s->side.end += sizeof entry;
    s->last_position = position;
    if (writer->max_timestamp_ms > s->max_timestamp_ms) {
        s->max_timestamp_ms = writer->max_timestamp_ms;
        s->max_offset = p->end_offset - 1;
    }

    struct mr_head_partition *head = p->head;
    mr_store_relaxed(&head->log_end_position, s->data.end);
    mr_store_release(&head->log_end, p->end_offset);
    if (!p->disk)
        mr_store_release(&head->visible, p->end_offset); /* V, I5 */

    uint64_t both_bytes = bytes + sizeof entry;
    log->counters.batches++;
    log->counters.records += writer->count;
    log->counters.bytes += bytes;
    log->counters.at_risk_bytes += bytes;
    p->waiting_bytes += both_bytes;
    if (p->queue == LOG_QUEUE_NOW)
        p->directory->waiting_bytes += both_bytes;
    else if (p->queue == LOG_QUEUE_NONE) {
        if (!p->blocked)
            queue(p);
    } else if (mr_unlikely(p->waiting_bytes >= MR_LOG_STREAM_BYTES))
        mr_log_queue_now(p);
    if (mr_unlikely(p->data_next >= p->data_mark || p->side_next >= p->side_mark))
        mr_log_milestone(p);
    /* Where the next batch will go was last touched a whole tail ago: have its lines here before they are needed. */
    mr_prefetch_write(p->data_next);
    mr_prefetch_write(p->data_next + MR_CACHE_LINE);
    mr_prefetch_write(p->data_next + 2 * MR_CACHE_LINE);
    mr_prefetch_write(p->side_next);
}

void mr_log_milestone(struct mr_partition *p)
{
    struct log_extent *e = log_extent_at(p, p->tail_sequence);
    struct log_segment *s = p->tail;
    uint64_t step = mr_max_u64(e->data_room / MR_LOG_MILESTONES, MR_BLOCK_BYTES);
    uint64_t side_step = mr_max_u64(e->side_room / MR_LOG_MILESTONES, MR_SIDECAR_ENTRY_BYTES);

    if (e->milestone_count < MR_LOG_MILESTONES)
        e->milestone[e->milestone_count++] = (struct log_milestone){.data = s->data.end, .side = s->side.end, .offset = p->end_offset};
    p->data_mark = p->data_next + step;
    p->side_mark = p->side_next + side_step;
    mr_log_index_note(p, s);
    mr_log_want_memory(p);
}

uint64_t mr_partition_committed(const struct mr_partition *p, uint64_t *durable)
{
    *durable = p->durable_offset;
    return p->disk ? p->durable_offset : p->end_offset;
}

uint64_t mr_partition_end(const struct mr_partition *p)
{
    return p->end_offset;
}
