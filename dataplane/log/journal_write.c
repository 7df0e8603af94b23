/* SPDX-License-Identifier: Apache-2.0 */
/* What a commit takes of a partition. Per open segment, oldest first, one of:
 *
 *   small   new bytes into the journal                    while all that is not in place stays below small_bytes_max
 *   large   whole blocks in place, the rest journalled    up to a batch boundary that the budget allows
 *   whole   everything in place, the last block included  at the end of a segment, at a clean stop, and to free the journal
 *   guard   the durable part of a block that is only in place, into the journal (J)
 *   mark    an entry without bytes
 *
 * A relog takes all that only the journal holds once more, so that the floor can move (I2). */
#include "dataplane/log/log_internal.h"

#define ENTRY_BYTES_MIN sizeof(struct mr_journal_entry)

/* Where the bytes of a stream lie, from a position on: @return how many are contiguous there, at most `bytes` */
static uint64_t piece(const struct mr_partition *p, const struct log_segment *s, bool side, uint64_t position, uint64_t bytes, const uint8_t **at)
{
    const struct log_extent *e = mr_log_extent_of(p, s, position, side);
    uint64_t window = side ? e->side_window : e->data_window;
    uint64_t limit = UINT64_MAX;

    if (e->sequence < p->tail_sequence) { /* the block at the boundary is taken from the newer one, which has the copy */
        const struct log_extent *next = log_extent_at(p, e->sequence + 1);
        if (next->segment_base == e->segment_base)
            limit = side ? next->side_window : next->data_window;
    }
    *at = (side ? e->side : e->data) + (position - window);
    return mr_min_u64(bytes, limit - position);
}

static uint8_t *copy_stream(const struct mr_partition *p, const struct log_segment *s, bool side, uint64_t from, uint64_t to, uint8_t *out)
{
    while (from < to) {
        const uint8_t *at;
        uint64_t bytes = piece(p, s, side, from, to - from, &at);
        memcpy(out, at, bytes);
        out += bytes;
        from += bytes;
    }
    return out;
}

/* Is there room for so many bytes of entries, and for copies? The entries go to the journal, the copies do not: they only lie behind them. */
static bool has_room(const struct log_builder *b, uint64_t entry_bytes, uint64_t copies)
{
    uint64_t bytes = mr_align_up(b->image_bytes + entry_bytes, MR_BLOCK_BYTES);
    return bytes <= b->journal_max && bytes + (b->copy_count + copies) * MR_BLOCK_BYTES <= b->image_max;
}

static bool has_part(const struct log_builder *b)
{
    return b->commit->part_count < MR_LOG_PARTS_MAX;
}

static void put_entry(struct log_builder *b, struct mr_partition *p, struct log_segment *s, uint64_t data_from, uint64_t data_to,
                      uint64_t side_from, uint64_t side_to)
{
    uint64_t data_bytes = data_to - data_from, side_bytes = side_to - side_from;
    uint8_t *at = b->image + b->image_bytes;
    struct mr_journal_entry entry = {
        .topic_id = p->topic_id,
        .partition = p->partition,
        .generation = p->generation,
        .segment_base_offset = s->base_offset,
        .segment_salt = s->salt,
        .data_position = (uint32_t)data_from,
        .data_bytes = (uint32_t)data_bytes,
        .side_position = (uint32_t)side_from,
        .side_bytes = (uint32_t)side_bytes,
        .mark_segment = p->mark_segment,
        .mark_position = (uint32_t)p->mark_position,
        .cut_position = s->cut_position,
        .mark_offset = p->mark_offset,
        .log_start = p->log_start_next,
    };
    uint64_t bytes = mr_journal_entry_bytes(data_bytes, side_bytes);
    memcpy(at, &entry, sizeof entry);
    uint8_t *end = copy_stream(p, s, false, data_from, data_to, at + sizeof entry);
    end = copy_stream(p, s, true, side_from, side_to, end);
    memset(end, 0, (size_t)(at + bytes - end));
    b->image_bytes += bytes;
    b->entry_count++;
    /* An entry with bytes wants one more after it: only a later commit can say that this one had completed (durable_lsn). */
    p->mark_logged = data_bytes + side_bytes > 0 && p->mark_offset > 0 ? p->mark_offset - 1 : p->mark_offset;
    p->mark_due = false;
    p->log_start_logged = p->log_start_next;
    s->entry_commit = b->commit->number;
    s->entry_data_from = data_from;
    s->entry_side_from = side_from;
}

static void put_part(struct log_builder *b, struct mr_partition *p, struct log_segment *s, uint64_t offset_to, uint64_t new_bytes)
{
    b->commit->part[b->commit->part_count++] = (struct log_part){
        .partition = p,
        .segment = s,
        .data_to = s->data.committing,
        .side_to = s->side.committing,
        .offset_to = offset_to,
        .new_bytes = new_bytes,
        .mark_offset = p->mark_offset,
        .data_placed = s->data.placing,
        .side_placed = s->side.placing,
        .log_start = p->log_start_next,
    };
}

/* In place, whole blocks up to `to`; a partial one at the end is filled with zeros: in memory when the segment has ended, else in a copy. */
static void put_writes(struct log_builder *b, struct mr_partition *p, struct log_segment *s, bool side, uint64_t from, uint64_t to)
{
    struct log_commit *c = b->commit;
    uint64_t whole_to = s->rolled ? mr_align_up(to, MR_BLOCK_BYTES) : log_block(to);

    if (s->rolled && log_mid_block(to)) { /* nothing is appended here any more, and readers stop at the end */
        const uint8_t *at;
        piece(p, s, side, to, 1, &at);
        memset((uint8_t *)(uintptr_t)at, 0, whole_to - to);
    }
    while (from < whole_to) {
        const uint8_t *at;
        uint64_t bytes = piece(p, s, side, from, mr_min_u64(whole_to - from, MR_DISK_WRITE_BYTES_MAX), &at);
        mr_assert(c->write_count < MR_LOG_WRITES_MAX);
        c->write[c->write_count++] = (struct mr_disk_write){
            .file = side ? s->side_file : s->file,
            .bytes = (uint32_t)bytes,
            .position = from,
            .buffer = at,
            .flags = MR_DISK_DURABLE,
        };
        b->inplace_bytes += bytes;
        from += bytes;
    }
    if (whole_to < to) {
        const uint8_t *at;
        uint64_t bytes = piece(p, s, side, whole_to, to - whole_to, &at);
        mr_assert(bytes == to - whole_to && c->write_count < MR_LOG_WRITES_MAX);
        b->copy[b->copy_count++] = (struct log_copy){.from = at, .bytes = (uint32_t)bytes, .write = c->write_count};
        c->write[c->write_count++] = (struct mr_disk_write){
            .file = side ? s->side_file : s->file, .bytes = MR_BLOCK_BYTES, .position = whole_to, .flags = MR_DISK_DURABLE};
        b->inplace_bytes += MR_BLOCK_BYTES;
    }
}

struct target {
    struct log_milestone to;
    bool whole;
};

/* Writes that [placing, to) can take at most, when it ends in the count-th extent from where it begins. */
static uint64_t writes_for(const struct log_segment *s, const struct log_milestone *to, uint64_t extents)
{
    return 2 * extents + ((to->data - s->data.placing) >> 20) + ((to->side - s->side.placing) >> 20) + 2;
}

/* The farthest batch boundary that a large commit may end at. False: none within budget, or none that the file has room for. */
static bool choose_target(const struct log_builder *b, const struct mr_partition *p, const struct log_segment *s, bool whole, struct target *target)
{
    uint64_t budget = p->log->options.commit_bytes_max;
    uint64_t writes_left = MR_LOG_WRITES_MAX - 1 - b->commit->write_count; /* the journal's own is the last */
    uint64_t extents = 0;
    bool empty = b->commit->write_count == 0, found = false;

    budget = budget > b->inplace_bytes ? budget - b->inplace_bytes : 0;
    const struct log_extent *first = mr_log_extent_of(p, s, s->data.placing, false);
    const struct log_extent *first_side = mr_log_extent_of(p, s, s->side.placing, true);
    uint64_t sequence = mr_min_u64(first->sequence, first_side->sequence);
    for (; sequence <= p->tail_sequence; sequence++) {
        const struct log_extent *e = log_extent_at(p, sequence);
        if (e->segment_base != s->base_offset)
            break;
        extents++;
        for (uint32_t i = 0; i <= e->milestone_count; i++) {
            struct log_milestone to = {s->data.end, s->side.end, s->rolled ? s->next_offset : p->end_offset};
            bool last = false;
            if (i < e->milestone_count)
                to = e->milestone[i];
            else if (sequence < p->tail_sequence && log_extent_at(p, sequence + 1)->segment_base == s->base_offset)
                to = (struct log_milestone){e->data_end, e->side_end, e->end_offset};
            else
                last = true;
            if (to.data < s->data.committing || to.data < s->data.placing)
                continue;
            bool all = last && (whole || s->rolled);
            uint64_t reach = all ? mr_align_up(to.data, MR_BLOCK_BYTES) : log_block(to.data);
            uint64_t side_reach = all ? mr_align_up(to.side, MR_BLOCK_BYTES) : log_block(to.side);
            uint64_t bytes = to.data - s->data.placing + to.side - s->side.placing;
            if (reach > s->allocated_bytes || side_reach > s->side_allocated_bytes || writes_for(s, &to, extents) > writes_left)
                return found;
            if (bytes > budget && !(empty && !found))
                return found;
            /* The boundary that the last commit ended at is none: taken as the best within budget, it would be taken for ever. */
            if (!all && to.data <= s->data.committing && to.side <= s->side.committing && reach <= s->data.placing && side_reach <= s->side.placing)
                continue;
            *target = (struct target){.to = to, .whole = all};
            found = true;
        }
    }
    return found;
}

static enum log_plan plan_large(struct log_builder *b, struct mr_partition *p, struct log_segment *s, bool whole)
{
    struct target target = {.whole = false};

    if (!choose_target(b, p, s, whole, &target)) {
        mr_log_segment_want(p, s);
        return b->commit->write_count > 0 ? LOG_PLAN_FULL : LOG_PLAN_BLOCKED;
    }
    uint64_t data_placed = target.whole ? target.to.data : log_block(target.to.data);
    uint64_t side_placed = target.whole ? target.to.side : log_block(target.to.side);
    data_placed = mr_max_u64(data_placed, s->data.placing);
    side_placed = mr_max_u64(side_placed, s->side.placing);
    uint64_t copies = target.whole && !s->rolled ? 2 : 0;
    if (!has_room(b, mr_journal_entry_bytes(target.to.data - data_placed, target.to.side - side_placed), copies))
        return LOG_PLAN_FULL;
    put_writes(b, p, s, false, s->data.placing, data_placed);
    put_writes(b, p, s, true, s->side.placing, side_placed);
    put_entry(b, p, s, data_placed, target.to.data, side_placed, target.to.side);
    uint64_t new_bytes = target.to.data - s->data.committing;
    bool advances = new_bytes > 0 || target.to.side > s->side.committing;
    s->data.placing = data_placed;
    s->side.placing = side_placed;
    s->data.committing = target.to.data;
    s->side.committing = target.to.side;
    put_part(b, p, s, advances ? target.to.offset : 0, new_bytes);
    mr_log_segment_want(p, s);
    return target.to.data < s->data.end ? LOG_PLAN_MORE : LOG_PLAN_DONE;
}

/* Something of it is only in the journal, or on the way there. */
static bool needs_journal(const struct log_segment *s)
{
    return s->data.committing > s->data.placing || s->side.committing > s->side.placing;
}

static enum log_plan plan_small(struct log_builder *b, struct mr_partition *p, struct log_segment *s, bool relog, bool partial)
{
    const struct log_directory *d = b->directory;
    uint64_t data_base = log_block(s->data.placing), side_base = log_block(s->side.placing);
    uint64_t data_from = s->data.committing, side_from = s->side.committing;
    uint64_t data_to = s->data.end, side_to = s->side.end;
    bool fits = data_to - data_base + side_to - side_base <= d->small_bytes_max;
    bool guard_only = false;
    enum log_plan plan = LOG_PLAN_DONE;

    if (partial || (relog && needs_journal(s))) {
        data_from = data_base;
        side_from = side_base;
    }
    uint64_t bytes = mr_journal_entry_bytes(data_to - data_from, side_to - side_from);
    if (!fits || (log_is_dirty(s) && d->live_bytes + bytes > d->live_bytes_max)) {
        /* More than the journal takes of one, or pressed: nothing new. It would be brought in place if it could be: its file or its guard is
         * on the way. */
        if (partial) { /* guard the block, so that in-place writes may begin */
            guard_only = true;
            data_to = s->data.placing;
            side_to = s->side.placing;
            plan = LOG_PLAN_MORE;
        } else if (relog) {
            data_to = s->data.committing;
            side_to = s->side.committing;
            plan = LOG_PLAN_BLOCKED;
        } else {
            return LOG_PLAN_BLOCKED;
        }
        bytes = mr_journal_entry_bytes(data_to - data_from, side_to - side_from);
    }
    if (guard_only && d->live_bytes + bytes > (relog ? d->live_bytes_max : d->guard_bytes_max))
        return LOG_PLAN_LATER; /* nothing of it is in the journal alone; a relog leaves its mark */
    if (!has_room(b, bytes, 0))
        return LOG_PLAN_FULL;
    put_entry(b, p, s, data_from, data_to, side_from, side_to);
    if (relog)
        p->log->counters.relogged_bytes += bytes;
    uint64_t offset_to = 0, new_bytes = 0;
    if (!guard_only && (data_to > s->data.committing || side_to > s->side.committing)) {
        new_bytes = data_to - s->data.committing;
        s->data.committing = data_to;
        s->side.committing = side_to;
        offset_to = s->rolled ? s->next_offset : p->end_offset;
    }
    if (partial) {
        s->data.placing = data_base;
        s->side.placing = side_base;
        s->guard_commit = b->commit->number;
    }
    put_part(b, p, s, offset_to, new_bytes);
    return plan;
}

static bool is_guarded(const struct log_directory *d, const struct log_segment *s)
{
    return s->guard_commit >= d->commit_first; /* in flight */
}

static enum log_plan plan_segment(struct log_builder *b, struct mr_partition *p, struct log_segment *s, bool relog)
{
    struct log_directory *d = b->directory;
    bool dirty = log_is_dirty(s);
    bool unplaced = s->data.end > s->data.placing || s->side.end > s->side.placing;
    bool partial = (log_mid_block(s->data.placing) || log_mid_block(s->side.placing)) && unplaced;

    if (!unplaced)
        return LOG_PLAN_DONE;
    if (!has_part(b))
        return LOG_PLAN_FULL;
    /* The floor moves over what has nothing in the journal alone by a mark, of which a block holds dozens. To bring it in place takes copies of
     * tail blocks, of which a commit may hold one or two: the journal could fill up with such commits before the tail has moved a lap. */
    if (relog && !needs_journal(s))
        return dirty ? LOG_PLAN_LATER : LOG_PLAN_DONE;
    bool may_place = !partial && !is_guarded(d, s) && s->file >= 0;
    uint64_t waiting = s->data.end - log_block(s->data.placing) + s->side.end - log_block(s->side.placing);
    bool pressed = d->live_bytes + mr_journal_entry_bytes(waiting, 0) > d->live_bytes_max;
    bool whole = s->rolled || p->log->draining || (relog && (!dirty || pressed)) || (pressed && dirty);
    bool blocks = log_block(s->data.end) > s->data.placing || log_block(s->side.end) > s->side.placing;
    bool large = whole || waiting > d->small_bytes_max || (p->place && blocks);
    if (large || !s->named)
        mr_log_files_needed(p, s);
    if (may_place && large) {
        enum log_plan plan = plan_large(b, p, s, whole);
        if (plan != LOG_PLAN_BLOCKED)
            return plan;
    }
    if (dirty || partial || (relog && needs_journal(s)))
        return plan_small(b, p, s, relog, partial);
    return LOG_PLAN_DONE; /* nothing new; what is to be brought in place waits for its file or guard, and holds nothing up */
}

/* F: does this commit hold all that the journal must hold of the partition? */
static bool is_full(const struct log_builder *b, const struct mr_partition *p)
{
    for (uint32_t i = p->open_first; i < p->segment_count; i++) {
        const struct log_segment *s = p->segment[i];
        if (needs_journal(s) && (s->entry_commit != b->commit->number || s->entry_data_from > s->data.placing || s->entry_side_from > s->side.placing))
            return false;
    }
    return true;
}

enum log_plan mr_log_plan_partition(struct log_builder *b, struct mr_partition *p, bool relog)
{
    struct log_commit *c = b->commit;
    uint32_t parts = c->part_count, entries = b->entry_count;
    enum log_plan plan = LOG_PLAN_DONE;

    for (uint32_t i = p->open_first; i < p->segment_count; i++) {
        struct log_segment *s = p->segment[i];
        enum log_plan one = plan_segment(b, p, s, relog);
        if (one != LOG_PLAN_DONE)
            plan = one;
        if (one == LOG_PLAN_FULL || log_is_dirty(s)) /* what comes behind waits for this */
            break;
    }
    if (plan == LOG_PLAN_DONE || plan == LOG_PLAN_MORE)
        p->place = p->place && plan == LOG_PLAN_MORE;
    bool says = p->mark_due || p->log_start_next > p->log_start_logged || relog;
    if (b->entry_count == entries && says && plan != LOG_PLAN_FULL) {
        struct log_segment *s = p->tail;
        if (!has_room(b, ENTRY_BYTES_MIN, 0) || !has_part(b))
            return LOG_PLAN_FULL;
        if (s == NULL) { /* an empty log: its start is all there is to say */
            struct log_segment none = {.base_offset = p->end_offset};
            put_entry(b, p, &none, 0, 0, 0, 0);
            c->part[c->part_count++] = (struct log_part){.partition = p, .mark_offset = p->mark_offset, .log_start = p->log_start_next};
        } else {
            uint64_t entry_commit = s->entry_commit, data_from = s->entry_data_from, side_from = s->entry_side_from;
            put_entry(b, p, s, s->data.committing, s->data.committing, s->side.committing, s->side.committing);
            s->entry_commit = entry_commit;
            s->entry_data_from = data_from;
            s->entry_side_from = side_from;
            put_part(b, p, s, 0, 0);
        }
    }
    if (c->part_count == parts)
        return plan;
    p->commits_in_flight++;
    c->part[c->part_count - 1].full = is_full(b, p);
    for (uint32_t i = parts; i + 1 < c->part_count; i++)
        c->part[i].full = false;
    return plan;
}

/* Header, checksum, the journal's own write, and the copies behind it. */
void mr_log_build_finish(struct log_builder *b)
{
    struct log_directory *d = b->directory;
    struct log_commit *c = b->commit;
    uint64_t bytes = mr_align_up(b->image_bytes, MR_BLOCK_BYTES);
    struct mr_journal_commit header = {
        .magic = MR_JOURNAL_COMMIT_MAGIC,
        .salt = d->journal.salt,
        .lsn = c->lsn,
        .bytes = (uint32_t)bytes,
        .used_bytes = (uint32_t)b->image_bytes,
        .entry_count = b->entry_count,
        .skipped_bytes = c->skipped_bytes,
        .wall_ms = d->log->wall_ms,
        .floor_lsn = c->floor_lsn,
        .durable_lsn = c->durable_lsn,
    };

    memcpy(b->image, &header, sizeof header);
    memset(b->image + b->image_bytes, 0, bytes - b->image_bytes);
    header.crc = mr_crc32c(0, b->image, b->image_bytes);
    memcpy(b->image, &header, sizeof header);
    uint8_t *at = b->image + bytes;
    for (uint32_t i = 0; i < b->copy_count; i++, at += MR_BLOCK_BYTES) {
        memcpy(at, b->copy[i].from, b->copy[i].bytes);
        memset(at + b->copy[i].bytes, 0, MR_BLOCK_BYTES - b->copy[i].bytes);
        c->write[b->copy[i].write].buffer = at;
    }
    mr_assert(c->write_count < MR_LOG_WRITES_MAX);
    c->write[c->write_count++] = (struct mr_disk_write){
        .file = d->journal.file,
        .bytes = (uint32_t)bytes,
        .position = mr_journal_file_position(c->lsn, d->journal.bytes),
        .buffer = b->image,
        .flags = MR_DISK_DURABLE,
    };
    for (uint32_t i = 0; i < c->write_count; i++)
        c->write[i].tag = (uint64_t)d->index << 32 | (c->number % MR_LOG_COMMITS_MAX) << 16 | i;
    c->write_next = 0;
    c->writes_left = c->write_count;
    d->log->counters.commits++;
    d->log->counters.journal_bytes += bytes;
    d->log->counters.inplace_bytes += b->inplace_bytes;
}
