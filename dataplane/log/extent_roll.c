/* SPDX-License-Identifier: Apache-2.0 */
/* The tail moves on: from one extent to the next, and from one segment to the next with it. Prepared at begin, published at finish, so
 * that an extent opened by an append is never empty and a segment never is (sealed_end 0 means tail). */
#include "dataplane/log/log_internal.h"

#include <errno.h>

struct layout {
    uint32_t snapshot_count;
    uint64_t side_position, side_bytes, data_position, data_bytes;
};

/* Header and snapshot, side window, data window to the end. A snapshot that would take more than an eighth keeps the most recent
 * producers: the others lose their duplicates' verdict at adoption only. */
static struct layout lay_out(const struct mr_partition *p, uint64_t bytes, bool slot)
{
    struct layout l;
    uint64_t eighth = log_block(bytes / 8);
    uint64_t head_max = mr_max_u64(eighth, MR_BLOCK_BYTES);

    l.snapshot_count = (uint32_t)mr_min_u64(p->producer_count, (head_max - sizeof(struct mr_extent_header)) / sizeof(struct mr_extent_producer));
    l.side_position = mr_align_up(sizeof(struct mr_extent_header) + (uint64_t)l.snapshot_count * sizeof(struct mr_extent_producer), MR_BLOCK_BYTES);
    l.side_bytes = slot ? head_max : mr_max_u64(mr_align_up(bytes / 16, MR_BLOCK_BYTES), 2 * MR_BLOCK_BYTES);
    l.data_position = l.side_position + l.side_bytes;
    l.data_bytes = bytes > l.data_position ? bytes - l.data_position : 0;
    return l;
}

/* The least room that any extent of this size gives to a batch. */
static uint64_t capacity(const struct mr_partition *p, uint64_t bytes, bool slot)
{
    struct layout l = lay_out(p, bytes, slot);
    return l.data_bytes > MR_BLOCK_BYTES ? l.data_bytes - (MR_BLOCK_BYTES - 1) : 0;
}

static uint32_t write_snapshot(const struct mr_partition *p, struct mr_extent_header *header, uint32_t max)
{
    static_assert(sizeof(struct mr_log_producer_state) == sizeof(struct mr_extent_producer), "one is written as the other");
    static_assert(offsetof(struct mr_log_producer_state, epoch) == offsetof(struct mr_extent_producer, epoch), "likewise");
    return mr_log_producers_snapshot(p, (struct mr_log_producer_state *)(void *)(header + 1), max);
}

static void seal_header(struct mr_extent_header *header)
{
    uint32_t crc = mr_crc32c(0, header, offsetof(struct mr_extent_header, header_crc));
    header->header_crc = mr_crc32c(crc, header + 1, header->snapshot_count * sizeof(struct mr_extent_producer));
}

/* Fill the extent behind the tail so that it begins at the log's end. Repeatable. @return 0; -EMSGSIZE: no room for need_bytes there */
static int prepare(struct mr_partition *p, struct log_extent *e, const struct log_segment *s, uint64_t need_bytes)
{
    struct mr_extent_header *h = e->memory;
    struct layout l = lay_out(p, h->bytes, e->slot);
    bool first = s != p->tail; /* the first of its segment */
    uint64_t data_rest = s->data.end % MR_BLOCK_BYTES, side_rest = s->side.end % MR_BLOCK_BYTES;

    if (data_rest + need_bytes > l.data_bytes || side_rest + MR_SIDECAR_ENTRY_BYTES > l.side_bytes)
        return -EMSGSIZE;
    h->magic = MR_EXTENT_MAGIC;
    h->version = MR_EXTENT_VERSION;
    h->boot_id = p->boot_id;
    h->topic_id = p->topic_id;
    h->partition = p->partition;
    h->leader_epoch = p->leader_epoch;
    h->base_offset = p->end_offset;
    h->segment_base_offset = s->base_offset;
    h->segment_salt = s->salt;
    h->chain_start = first ? s->salt : p->chain;
    h->data_position = (uint32_t)l.data_position;
    h->data_bytes = (uint32_t)l.data_bytes;
    h->side_position = (uint32_t)l.side_position;
    h->side_bytes = (uint32_t)l.side_bytes;
    h->window_position = log_block(s->data.end);
    h->start_position = s->data.end;
    h->side_window_position = log_block(s->side.end);
    h->side_start_position = s->side.end;
    h->snapshot_position = sizeof *h;
    h->snapshot_count = write_snapshot(p, h, l.snapshot_count);
    h->generation = p->generation;
    h->cut_position = s->cut_position;
    h->reserved = 0;
    mr_store_relaxed(&h->sealed_end, 0);
    mr_store_relaxed(&h->inplace_end, s->data.placed);
    mr_store_relaxed(&h->side_inplace_end, s->side.placed);
    seal_header(h);

    e->data = (uint8_t *)h + l.data_position;
    e->side = (uint8_t *)h + l.side_position;
    e->data_room = l.data_bytes;
    e->side_room = l.side_bytes;
    e->segment_base = s->base_offset;
    e->base_offset = p->end_offset;
    e->data_window = h->window_position;
    e->side_window = h->side_window_position;
    e->milestone_count = 0;
    if (first) {
        mr_sidecar_header_encode(e->side, s->salt, &p->topic_id, p->partition, s->base_offset);
    } else if (log_has_tail(p)) {
        memcpy(e->data, p->data_next - data_rest, data_rest);
        memcpy(e->side, p->side_next - side_rest, side_rest);
    } else {
        if (data_rest > 0)
            memcpy(e->data, p->recovered_data, data_rest);
        if (side_rest > 0)
            memcpy(e->side, p->recovered_side, side_rest);
    }
    return 0;
}

/* How far batches may go in this window: its end, or the segment's. A first batch may pass the segment's. */
static uint8_t *data_limit(const struct mr_partition *p, const struct log_extent *e, uint64_t at_least)
{
    uint64_t segment_room = p->segment_bytes > e->data_window ? p->segment_bytes - e->data_window : 0;
    return e->data + mr_min_u64(e->data_room, mr_max_u64(segment_room, at_least));
}

void mr_log_tail_room(struct mr_partition *p)
{
    const struct log_extent *e = log_extent_at(p, p->tail_sequence);
    p->data_end = data_limit(p, e, (uint64_t)(p->data_next - e->data));
}

static void open_prepared(struct mr_partition *p)
{
    struct log_segment *s = p->tail;

    if (log_has_tail(p)) {
        struct log_extent *old = log_extent_at(p, p->tail_sequence);
        old->data_end = s->data.end;
        old->side_end = s->side.end;
        old->end_offset = p->end_offset;
        mr_store_release(&old->memory->sealed_end, s->data.end); /* S */
        bool fast = old->slot && p->log->now_ns - old->opened_ns < MR_LOG_SLOT_FAST_NS;
        p->fast_slots = fast ? p->fast_slots + 1 : 0;
        p->hot = p->hot || p->fast_slots >= p->log->options.hot_slots;
        p->log->counters.extents_rolled++;
    }
    if (p->rolling_segment) {
        mr_log_segment_push(p, p->next_segment);
        p->next_segment = NULL;
        p->rolling_segment = false;
        s = p->tail;
        mr_store_relaxed(&p->head->log_end_segment, s->base_offset);
    }
    struct log_extent *e = log_extent_at(p, ++p->tail_sequence);
    e->opened = true;
    e->opened_ns = p->log->now_ns;
    mr_store_release(&p->head->tail_sequence, p->tail_sequence);
    p->data_next = e->data + (s->data.end - e->data_window);
    p->side_next = e->side + (s->side.end - e->side_window);
    p->side_end = e->side + e->side_room;
    p->data_mark = p->data_next + mr_max_u64(e->data_room / MR_LOG_MILESTONES, MR_BLOCK_BYTES);
    p->side_mark = p->side_next + mr_max_u64(e->side_room / MR_LOG_MILESTONES, MR_SIDECAR_ENTRY_BYTES);
    mr_log_tail_room(p);
    log_free(p->log, p->recovered_data);
    log_free(p->log, p->recovered_side);
    p->recovered_data = NULL;
    p->recovered_side = NULL;
    p->want_first = false;
    if (!list_is_linked(&p->idle))
        mr_log_timer(&p->log->idle, &p->idle, &p->idle_due_ns, p->log->now_ns + MR_LOG_IDLE_CHECK_NS);
    mr_log_want_memory(p);
}

void mr_log_publish_roll(struct mr_partition *p)
{
    p->rolling = false;
    open_prepared(p);
}

/* Room for one more that leaves, beside what is kept for answers that nobody needs. What readers pin stays there long, and must not hold up the rest. */
static bool room_to_leave(struct mr_partition *p)
{
    return p->leaving_count + LOG_LEAVING_KEPT < p->extent_capacity || mr_log_extents_reserve(p, p->leaving_count + 1 + LOG_LEAVING_KEPT) == 0;
}

/* Memory ahead of the tail that turned out too small, or is not needed. A reader may hold it already, so it is freed like any other. */
static void unname_ahead(struct mr_partition *p)
{
    while (p->last_sequence > p->tail_sequence && room_to_leave(p)) {
        struct log_extent *e = log_extent_at(p, p->last_sequence);
        mr_store_release(&p->head->directory_last, p->last_sequence - 1);
        mr_store_release(&p->head->directory[p->last_sequence % MR_HEAD_DIRECTORY_COUNT].sequence, 0);
        mr_store_relaxed(&e->memory->sequence, 0);
        p->leaving[p->leaving_count++] = (struct log_leaving){
            .extent = {.memory = e->memory, .slot = e->slot, .sequence = e->sequence, .adopted = e->adopted}, .state = LOG_LEAVING_TO_FREE};
        p->last_sequence--;
        mr_log_pend(p, LOG_PENDING_LEAVING);
    }
}

/* No file takes the bytes for want of disk space: go on only while memory and journal hold them easily. A segment before the tail that has no
 * room keeps its bytes in memory already: nothing more is taken then. */
static bool no_space(const struct mr_partition *p, bool new_segment)
{
    const struct log_segment *s = p->tail;

    for (uint32_t i = p->open_first; i + 1 < p->segment_count; i++)
        if (p->segment[i]->no_space)
            return true;
    if (s == NULL || !s->no_space)
        return false;
    return new_segment || (log_has_tail(p) && log_extent_at(p, p->tail_sequence)->data_window > s->data.placed);
}

MR_COLD int mr_log_make_room(struct mr_partition *p, uint64_t need_bytes)
{
    struct log_segment *s = p->tail;
    bool new_segment = s == NULL || s->data.end + need_bytes > p->segment_bytes || p->end_offset - s->base_offset > MR_LOG_DELTA_MAX;

    if (need_bytes > p->batch_bytes_max || need_bytes > capacity(p, p->extent_bytes, false))
        return -EMSGSIZE;
    if (no_space(p, new_segment))
        return -ENOSPC;
    if (p->log->draining)
        return -EAGAIN;
    if (p->last_sequence == p->tail_sequence) {
        if (need_bytes > capacity(p, p->slot_bytes, true))
            p->hot = true;
        p->want_first = true;
        mr_log_want_memory(p);
        return -EAGAIN;
    }
    if (new_segment) {
        if (mr_log_segments_reserve(p) != 0)
            return -EAGAIN;
        if (p->next_segment == NULL)
            p->next_segment = mr_log_segment_make(p, p->end_offset);
        if (p->next_segment == NULL)
            return -EAGAIN;
        s = p->next_segment;
        s->base_offset = p->end_offset;
    }
    struct log_extent *e = log_extent_at(p, p->tail_sequence + 1);
    if (prepare(p, e, s, need_bytes) != 0) {
        p->slot_too_small = e->slot;
        p->hot = true;
        p->want_first = true;
        unname_ahead(p);
        mr_log_want_memory(p);
        return -EAGAIN;
    }
    p->rolling = true;
    p->rolling_segment = new_segment;
    p->writer.at = e->data + s->data.end % MR_BLOCK_BYTES;
    p->writer.end = data_limit(p, e, s->data.end % MR_BLOCK_BYTES + need_bytes);
    return 0;
}

/* A hugepage tail that is idle gives way to a slot: the slot opens empty, at the log's end. */
static void switch_to_slot(struct mr_partition *p)
{
    struct log_extent *e = log_extent_at(p, p->tail_sequence + 1);

    if (!p->idle_switch || p->last_sequence == p->tail_sequence || !e->slot || p->writer_open)
        return;
    if (prepare(p, e, p->tail, 0) == 0) {
        p->rolling_segment = false;
        open_prepared(p);
    }
    p->hot = false;
    p->idle_switch = false;
}

static uint32_t ahead_target(const struct mr_partition *p)
{
    if (p->idle_switch || p->want_first)
        return 1;
    if (!log_has_tail(p) || p->log->draining)
        return 0;
    const struct log_extent *e = log_extent_at(p, p->tail_sequence);
    uint64_t paused_ns = p->log->now_ns - p->last_append_ns;
    if (paused_ns >= (e->slot && !p->hot ? MR_LOG_KEEP_SLOTS_NS : MR_LOG_IDLE_NS))
        return 0;
    if (!e->slot || p->hot)
        return 2;
    bool half = (uint64_t)(p->data_next - e->data) * 2 > e->data_room || (uint64_t)(p->side_next - e->side) * 2 > e->side_room;
    return half || p->fast_slots > 0 ? 1 : 0;
}

static bool lacks_memory(const struct mr_partition *p)
{
    return p->refuse != -EIO && !p->removed && p->last_sequence - p->tail_sequence < ahead_target(p);
}

static bool is_directory_full(const struct mr_partition *p)
{
    return p->last_sequence - p->first_sequence + 1 >= MR_LOG_EXTENTS_MAX;
}

static bool needs_memory(const struct mr_partition *p)
{
    return lacks_memory(p) && !is_directory_full(p);
}

/* All the memory that there is for this partition: its own oldest is reused, which costs nothing. Asked for again from time to time. */
static bool is_limited(const struct mr_partition *p)
{
    return p->limited_ns != 0 && p->log->now_ns - p->limited_ns < MR_LOG_LIMITED_NS;
}

static void limit(struct mr_partition *p)
{
    p->limited_ns = mr_max_u64(p->log->now_ns, 1);
}

/* Something that was recycled is on its way. What readers hold on to comes late, perhaps very late: it is not counted on. */
static bool is_leaving(const struct mr_partition *p)
{
    for (uint32_t i = 0; i < p->leaving_count; i++)
        if (!p->leaving[i].late)
            return true;
    return false;
}

static void wait_for_memory(struct mr_partition *p)
{
    p->want_refused = true;
    if (!list_is_linked(&p->refused))
        mr_log_timer(&p->log->refused, &p->refused, &p->refused_due_ns, p->log->now_ns + MR_LOG_REFUSED_RETRY_NS);
}

/* Timer: what was waited for did not come. */
void mr_log_memory_is_late(struct mr_partition *p)
{
    for (uint32_t i = 0; i < p->leaving_count; i++)
        p->leaving[i].late = p->leaving[i].late || p->leaving[i].state == LOG_LEAVING_ASKED;
    p->want_refused = false;
    mr_log_want_memory(p);
}

/* A reader that is so far behind must find the tail in memory, also when we are dead: descriptors of files it gets from us alone. Asked before
 * the oldest goes: without that one, and without the newest, which is hardly begun. */
static bool keeps_enough(const struct mr_partition *p)
{
    uint64_t bytes = 0;

    for (uint64_t sequence = p->first_sequence + 1; sequence < p->last_sequence; sequence++)
        bytes += log_extent_at(p, sequence)->data_room;
    return bytes >= p->log->options.hot_bytes_min;
}

/* Its first hugepage extent is being made, which takes tens of milliseconds: until it comes the stream goes on in slots, so that no append waits. */
static void bridge(struct mr_partition *p)
{
    bool tail_is_slot = log_has_tail(p) && log_extent_at(p, p->tail_sequence)->slot;
    bool has_room = p->last_sequence - p->first_sequence + MR_LOG_BRIDGE_ROOM < MR_LOG_EXTENTS_MAX;

    if (p->want_slot || p->bridge_asked || !tail_is_slot || p->last_sequence != p->tail_sequence || p->slot_too_small || !has_room)
        return;
    p->bridge_asked = true;
    mr_log_pend(p, LOG_PENDING_BRIDGE);
}

void mr_log_want_memory(struct mr_partition *p)
{
    if (p->want_refused || !lacks_memory(p))
        return;
    if (p->want_asked) {
        bridge(p);
        /* Memory is made at some 0.3 GB/s, a stream needs more: when it has used up what was ahead, its own oldest serves it at once, if
         * enough is left, and what was asked for makes the tail longer when it comes. */
        if (!p->want_slot && p->last_sequence == p->tail_sequence && keeps_enough(p)) {
            mr_log_recycle(p, false);
            if (is_leaving(p) && !list_is_linked(&p->refused)) /* or readers hold it: then the next one */
                mr_log_timer(&p->log->refused, &p->refused, &p->refused_due_ns, p->log->now_ns + MR_LOG_REFUSED_RETRY_NS);
        }
        return;
    }
    if (is_directory_full(p)) {
        limit(p);
        mr_log_recycle(p, false);
        return;
    }
    p->want_slot = p->idle_switch || !p->hot;
    if (!p->want_slot && is_limited(p)) {
        mr_log_recycle(p, false);
        if (is_leaving(p)) { /* ours when no reader is there any more */
            wait_for_memory(p);
            return;
        }
    }
    p->want_asked = true;
    mr_log_pend(p, LOG_PENDING_WANT);
}

int mr_log_extents_reserve(struct mr_partition *p, uint32_t count)
{
    uint32_t grown = p->extent_capacity == 0 ? 4 : p->extent_capacity;

    while (grown < count)
        grown *= 2;
    if (grown == p->extent_capacity)
        return 0;
    struct log_extent *extent = log_allocate(p->log, grown * sizeof *extent);
    struct log_leaving *leaving = log_allocate(p->log, grown * sizeof *leaving);
    if (extent == NULL || leaving == NULL) {
        log_free(p->log, extent);
        log_free(p->log, leaving);
        return -ENOMEM;
    }
    for (uint64_t sequence = p->first_sequence; sequence <= p->last_sequence; sequence++)
        extent[sequence & (grown - 1)] = *log_extent_at(p, sequence);
    if (p->leaving_count > 0)
        memcpy(leaving, p->leaving, p->leaving_count * sizeof *leaving);
    log_free(p->log, p->extent);
    log_free(p->log, p->leaving);
    p->extent = extent;
    p->leaving = leaving;
    p->extent_capacity = grown;
    return 0;
}

/* After a burst: a ring of a hundred extents' notes takes 70 KiB, and there may be ten thousand partitions. */
void mr_log_extents_shrink(struct mr_partition *p)
{
    const uint32_t small = 4;
    uint32_t live = (uint32_t)(p->last_sequence - p->first_sequence + 1);

    if (p->extent_capacity <= small || live + 1 > small || p->leaving_count > 0)
        return;
    struct log_extent *extent = log_allocate(p->log, small * sizeof *extent);
    struct log_leaving *leaving = log_allocate(p->log, small * sizeof *leaving);
    if (extent == NULL || leaving == NULL) {
        log_free(p->log, extent);
        log_free(p->log, leaving);
        return;
    }
    for (uint64_t sequence = p->first_sequence; sequence <= p->last_sequence; sequence++)
        extent[sequence & (small - 1)] = *log_extent_at(p, sequence);
    log_free(p->log, p->extent);
    log_free(p->log, p->leaving);
    p->extent = extent;
    p->leaving = leaving;
    p->extent_capacity = small;
}

/* Ahead of the tail, so that readers have its descriptor before the tail gets there. */
static void name(struct mr_partition *p, const struct mr_log_live_extent *live)
{
    uint64_t sequence = p->last_sequence + 1;
    struct mr_extent_header *h = live->memory;
    struct mr_head_directory_entry *entry = &p->head->directory[sequence % MR_HEAD_DIRECTORY_COUNT];

    mr_assert(sequence - p->first_sequence < p->extent_capacity);
    *log_extent_at(p, sequence) = (struct log_extent){.memory = h, .sequence = sequence, .slot = live->slot, .adopted = live->adopted};
    mr_store_relaxed(&h->sealed_end, 0);
    h->base_offset = UINT64_MAX; /* not opened */
    mr_store_release(&h->sequence, sequence);
    mr_fence_seq_cst(); /* before anything is written here: whoever still looks, although his pin is gone, can know it by the sequence */
    mr_store_relaxed(&entry->file_id, h->file_id);
    mr_store_release(&entry->sequence, sequence);
    p->last_sequence = sequence;
    mr_store_relaxed(&p->head->directory_first, p->first_sequence);
    mr_store_release(&p->head->directory_last, sequence);
}

static void give(struct mr_partition *p, const struct mr_log_live_extent *live)
{
    /* Places are always kept for the answers to WANT_EXTENT, of which two may be under way (bridge()). */
    mr_assert(p->leaving_count < p->extent_capacity);
    p->leaving[p->leaving_count++] = (struct log_leaving){.extent = *live, .state = LOG_LEAVING_TO_GIVE};
    mr_log_pend(p, LOG_PENDING_LEAVING);
}

/* Room in the ring for one more, and for one that leaves. */
static bool reserve_one(struct mr_partition *p)
{
    uint32_t live_count = (uint32_t)(p->last_sequence - p->first_sequence + 1);
    uint32_t leaving = p->leaving_count + 1 + LOG_LEAVING_KEPT;
    return mr_log_extents_reserve(p, live_count + 1 > leaving ? live_count + 1 : leaving) == 0;
}

void mr_log_take_memory(struct mr_partition *p, const struct mr_log_live_extent *live)
{
    if (p->bridge_asked && live->slot) {
        p->bridge_asked = false;
        if (live->memory != NULL && needs_memory(p) && reserve_one(p))
            name(p, live);
        else if (live->memory != NULL)
            give(p, live);
        mr_log_want_memory(p);
        return;
    }
    p->want_asked = false;
    if (live->memory == NULL) {
        limit(p);
        p->log->lacked_ns = p->limited_ns;
        mr_log_recycle(p, false);
        if (!p->want_slot && !p->slot_too_small && p->last_sequence == p->tail_sequence && !is_leaving(p)) {
            /* Others have all the memory there is, and we have nothing to reuse: go on in a slot, slower, rather than not at all. */
            p->want_asked = true;
            p->want_slot = true;
            mr_log_pend(p, LOG_PENDING_WANT);
            return;
        }
        if (p->want_first && !is_leaving(p))
            p->log->starved_ns = p->limited_ns;
        wait_for_memory(p);
        return;
    }
    p->slot_too_small = p->slot_too_small && live->slot;
    if (needs_memory(p) && reserve_one(p)) {
        name(p, live);
        switch_to_slot(p);
    } else {
        give(p, live);
    }
    mr_log_want_memory(p);
}

bool mr_log_is_starved(const struct mr_log *log)
{
    return log->starved_ns != 0 && log->now_ns - log->starved_ns < MR_LOG_STARVED_NS;
}

void mr_log_memory_is_free(struct mr_partition *p, const struct mr_log_live_extent *freed)
{
    /* A stream that has nothing else goes on in a slot. */
    bool fits = freed->slot == (p->idle_switch || !p->hot) || (freed->slot && !p->slot_too_small && is_limited(p) && p->last_sequence == p->tail_sequence);
    bool reuse = needs_memory(p) && fits && reserve_one(p);

    for (uint32_t i = 0; i < p->leaving_count; i++) {
        struct log_leaving *leaving = &p->leaving[i];
        if (leaving->extent.memory != freed->memory || leaving->state != LOG_LEAVING_ASKED)
            continue;
        if (reuse) {
            struct mr_log_live_extent live = leaving->extent;
            *leaving = p->leaving[--p->leaving_count];
            p->want_refused = false;
            name(p, &live);
            switch_to_slot(p);
            mr_log_want_memory(p);
        } else {
            leaving->state = LOG_LEAVING_TO_GIVE;
            mr_log_pend(p, LOG_PENDING_LEAVING);
        }
        return;
    }
    mr_assert(!"an extent came free that was not asked for");
}

uint32_t mr_partition_extents(const struct mr_partition *p, struct mr_log_live_extent *extents)
{
    uint32_t count = 0;
    for (uint64_t sequence = p->first_sequence; sequence <= p->last_sequence; sequence++, count++)
        if (extents != NULL) {
            const struct log_extent *e = log_extent_at(p, sequence);
            extents[count] = (struct mr_log_live_extent){.memory = e->memory, .slot = e->slot, .sequence = e->sequence, .adopted = e->adopted};
        }
    for (uint32_t i = 0; i < p->leaving_count; i++, count++)
        if (extents != NULL)
            extents[count] = p->leaving[i].extent;
    return count;
}

/* Nothing needs the memory of an extent behind the tail but readers that are there already: whoever comes later reads all of its batches from
 * the file, the last one too, of which the next extent's copy of a partial block shows only the end. */
static bool is_recyclable(const struct mr_partition *p, uint64_t sequence)
{
    const struct log_extent *e = log_extent_at(p, sequence), *next = log_extent_at(p, sequence + 1);
    const struct log_segment *s = mr_log_segment_by_base(p, e->segment_base);

    if (mr_log_segment_is_closed(p, e->segment_base))
        return true;
    return p->durable_offset >= next->base_offset && next->segment_base == e->segment_base &&
           s->data.placed >= e->data_end && s->side.placed >= next->side_window;
}

void mr_log_recycle(struct mr_partition *p, bool all)
{
    if (!all && is_leaving(p))
        return; /* one on its way is enough */
    while (p->first_sequence < p->tail_sequence && room_to_leave(p) && is_recyclable(p, p->first_sequence)) {
        struct log_extent *e = log_extent_at(p, p->first_sequence);
        mr_store_release(&p->head->directory_first, p->first_sequence + 1);
        mr_store_release(&p->head->directory[p->first_sequence % MR_HEAD_DIRECTORY_COUNT].sequence, 0);
        /* Pins on adopted memory died with the daemon that knew them. */
        p->leaving[p->leaving_count++] = (struct log_leaving){
            .extent = {.memory = e->memory, .slot = e->slot, .sequence = e->sequence, .adopted = e->adopted},
            .state = e->adopted ? LOG_LEAVING_TO_GIVE : LOG_LEAVING_TO_FREE,
        };
        p->first_sequence++;
        mr_log_pend(p, LOG_PENDING_LEAVING);
        if (!all && !e->adopted && !(e->slot && p->hot && is_limited(p))) /* a stream does not wait for its old slots one by one */
            return;
    }
}

/* Nobody is served by memory that lies idle while others lack some; nor by a burst that finds none after a pause. Slots are had at once. */
static bool keeps_memory(const struct mr_partition *p)
{
    const struct mr_log *log = p->log;
    bool lacking = log->lacked_ns != 0 && log->now_ns - log->lacked_ns < MR_LOG_IDLE_NS;
    /* Readers of a daemon that died read on in what they had mapped, and their pins are not known here until they have attached again. */
    bool is_young = log->adopted && log->now_ns - log->began_ns < MR_LOG_ADOPTED_NS;
    uint64_t keep_ns = !p->hot && !is_young ? MR_LOG_KEEP_SLOTS_NS : !p->hot || lacking ? MR_LOG_IDLE_NS : MR_LOG_KEEP_NS;
    return log->now_ns - p->last_append_ns < keep_ns;
}

/* Timer, while the partition holds more than one slot: when idle, bring it in place and give the rest back. */
void mr_log_idle(struct mr_partition *p)
{
    struct mr_log *log = p->log;
    const struct log_extent *e = log_extent_at(p, p->tail_sequence);

    if (p->refuse == -EIO || p->removed)
        return;
    if (!keeps_memory(p) && !log->draining && !p->writer_open) {
        if (!p->want_first)
            unname_ahead(p);
        if (p->first_sequence == p->tail_sequence && p->last_sequence == p->tail_sequence && e->slot) {
            p->hot = false;
            p->fast_slots = 0;
            mr_log_extents_shrink(p);
            return; /* as small as it gets; opening the next extent starts the timer again */
        }
        if (!e->slot) {
            p->idle_switch = true;
            mr_log_want_memory(p);
        }
        p->place = true;
        if (p->tail != NULL && log_block(p->tail->data.end) > p->tail->data.placing)
            mr_log_files_needed(p, p->tail);
        if (log_has_tail(p) && mr_log_has_work(p) && !p->blocked)
            mr_log_queue_now(p);
        mr_log_recycle(p, true);
    } else {
        p->idle_switch = false;
    }
    mr_log_timer(&log->idle, &p->idle, &p->idle_due_ns, log->now_ns + MR_LOG_IDLE_CHECK_NS);
}

struct log_extent *mr_log_extent_of(const struct mr_partition *p, const struct log_segment *s, uint64_t position, bool side)
{
    for (uint64_t sequence = p->tail_sequence; sequence >= p->first_sequence; sequence--) {
        struct log_extent *e = log_extent_at(p, sequence);
        if (e->segment_base == s->base_offset && (side ? e->side_window : e->data_window) <= position)
            return e;
    }
    mr_assert(!"bytes that are not in place left memory"); /* E */
    return NULL;
}

/* Tell the next adopter; before anything is acknowledged or any journal space reused on the strength of it. */
void mr_log_publish_placed(struct mr_partition *p, const struct log_segment *s)
{
    for (uint64_t sequence = p->tail_sequence; sequence >= p->first_sequence; sequence--) {
        const struct log_extent *e = log_extent_at(p, sequence);
        if (e->segment_base != s->base_offset)
            continue;
        mr_store_relaxed(&e->memory->inplace_end, s->data.placed);
        mr_store_relaxed(&e->memory->side_inplace_end, s->side.placed);
        if (e->base_offset < p->end_offset)
            break; /* an empty one may be given up by the adopter */
    }
    if (s == p->tail)
        mr_store_relaxed(&p->head->inplace_position, s->data.placed);
}

/* Nothing was appended to it before the daemon died. (An empty one that stands alone may hold the copy of the last partial blocks.) */
static bool is_unused(const struct mr_log_recovered *recovered, uint32_t index)
{
    const struct mr_extent_header *h = recovered->extents[index].memory;
    return h->base_offset >= recovered->next_offset && (index > 0 || h->base_offset == UINT64_MAX || h->start_position == 0);
}

/* Continue in the memory of a daemon that died. */
int mr_log_adopt_extents(struct mr_partition *p, const struct mr_log_recovered *recovered)
{
    uint32_t count = recovered->extent_count;

    while (count > 0 && is_unused(recovered, count - 1))
        count--;
    if (mr_log_extents_reserve(p, recovered->extent_count + 2) != 0)
        return -ENOMEM;
    uint32_t skip = 0; /* extents of segments that were deleted, or are about to be */
    while (skip < count && mr_log_segment_is_closed(p, recovered->extents[skip].memory->segment_base_offset))
        skip++;
    for (uint32_t i = 0; i < recovered->extent_count; i++)
        if (i < skip || i >= count)
            give(p, &recovered->extents[i]);
    const struct mr_log_live_extent *extents = skip > 0 ? recovered->extents + skip : recovered->extents; /* NULL without any */
    count -= skip;
    for (uint64_t i = 0; i < MR_HEAD_DIRECTORY_COUNT; i++) {
        struct mr_head_directory_entry *entry = &p->head->directory[i];
        uint64_t sequence = mr_load_relaxed(&entry->sequence);
        if (count == 0 || sequence > mr_load_relaxed(&extents[count - 1].memory->sequence) ||
            sequence < mr_load_relaxed(&extents[0].memory->sequence))
            mr_store_relaxed(&entry->sequence, 0);
    }
    p->log->adopted = p->log->adopted || count > 0;
    if (count == 0) {
        p->first_sequence = mr_load_relaxed(&p->head->directory_last) + 1;
        p->tail_sequence = p->first_sequence - 1;
        p->last_sequence = p->first_sequence - 1;
        return 0;
    }
    p->first_sequence = mr_load_relaxed(&extents[0].memory->sequence);
    p->tail_sequence = p->last_sequence = p->first_sequence + count - 1;
    for (uint32_t i = 0; i < count; i++) {
        const struct mr_log_live_extent *live = &extents[i];
        struct mr_extent_header *h = live->memory;
        const struct mr_extent_header *next = i + 1 < count ? extents[i + 1].memory : NULL;
        struct log_extent *e = log_extent_at(p, p->first_sequence + i);
        const struct log_segment *s = mr_log_segment_by_base(p, h->segment_base_offset);
        mr_assert(s != NULL && mr_load_relaxed(&h->sequence) == p->first_sequence + i);
        bool segment_goes_on = next != NULL && next->segment_base_offset == h->segment_base_offset;
        *e = (struct log_extent){
            .memory = h,
            .data = (uint8_t *)h + h->data_position,
            .side = (uint8_t *)h + h->side_position,
            .sequence = p->first_sequence + i,
            .segment_base = h->segment_base_offset,
            .base_offset = h->base_offset,
            .data_window = h->window_position,
            .side_window = h->side_window_position,
            .data_room = h->data_bytes,
            .side_room = h->side_bytes,
            .data_end = segment_goes_on ? next->start_position : s->data.end,
            .side_end = segment_goes_on ? next->side_start_position : s->side.end,
            .end_offset = next != NULL ? next->base_offset : p->end_offset,
            .slot = live->slot,
            .adopted = live->adopted,
            .opened = true,
        };
    }
    struct log_extent *e = log_extent_at(p, p->tail_sequence);
    bool sealed = mr_load_relaxed(&e->memory->sealed_end) != 0; /* died while it rolled: the next append goes on in new memory */
    p->data_next = e->data + (e->data_end - e->data_window);
    p->side_next = e->side + (e->side_end - e->side_window);
    p->side_end = sealed ? p->side_next : e->side + e->side_room;
    p->data_mark = p->data_next + mr_max_u64(e->data_room / MR_LOG_MILESTONES, MR_BLOCK_BYTES);
    p->side_mark = p->side_next + mr_max_u64(e->side_room / MR_LOG_MILESTONES, MR_SIDECAR_ENTRY_BYTES);
    mr_log_tail_room(p);
    p->hot = !e->slot;
    mr_store_relaxed(&p->head->directory_first, p->first_sequence);
    mr_store_relaxed(&p->head->directory_last, p->last_sequence);
    mr_store_relaxed(&p->head->tail_sequence, p->tail_sequence);
    mr_log_timer(&p->log->idle, &p->idle, &p->idle_due_ns, p->log->now_ns + MR_LOG_IDLE_CHECK_NS);
    return 0;
}
