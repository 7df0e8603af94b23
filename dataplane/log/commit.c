/* SPDX-License-Identifier: Apache-2.0 */
/* Group commits of one log directory: when one starts, what it may use of the journal, and its completion.
 *
 * The journal is a ring of blocks. `bucket` lists, per block, the partitions whose floor_lsn is there, so that the oldest floor (tail_lsn)
 * is found by walking forward once per block written. Use of the ring, at most:
 *
 *   1/16 marks of all partitions (mr_log_partition_add() sees to it)
 *   1/8  live: what entries would take that hold all that is only in the journal; above it (pressed), partitions are brought in place whole
 *        and leave a mark, also those with the oldest floors
 *   1/6  live with guards, which are what a partition that was brought in place whole needs to go on
 *   1/2  is passed: a commit also relogs the partitions with the oldest floors (reclaim)
 *   5/8  is passed: commits are made for that alone
 *
 * Relogging a whole lap costs at most marks and live: the last 3/8 suffice, with the rounding and the waste before the end of the file. */
#include "dataplane/log/log_internal.h"

#include <errno.h>

#define STAGING_BYTES_MIN (32u << 10)
#define RING_BYTES_MIN    (124u << 10)
#define IMAGE_BYTES_MAX   MR_DISK_WRITE_BYTES_MAX

int mr_log_directory_init(struct mr_log *log, uint32_t index)
{
    struct log_directory *d = &log->directory[index];

    d->log = log;
    d->index = index;
    d->journal = log->options.journal[index];
    list_init(&d->now);
    list_init(&d->later);
    d->commit_next = 1;
    d->commit_first = 1;
    if (d->journal.bytes % MR_BLOCK_BYTES != 0 || d->journal.bytes < RING_BYTES_MIN + MR_BLOCK_BYTES ||
        d->journal.staging_bytes % MR_BLOCK_BYTES != 0 || d->journal.staging_bytes < STAGING_BYTES_MIN)
        return -EINVAL;
    d->ring_bytes = d->journal.bytes - MR_BLOCK_BYTES;
    uint64_t staging_share = d->journal.staging_bytes / 4, ring_share = d->ring_bytes / 32;
    d->small_bytes_max = log_block(mr_min_u64(MR_LOG_INPLACE_BYTES, mr_max_u64(MR_BLOCK_BYTES, mr_min_u64(staging_share, ring_share))));
    d->live_bytes_max = d->ring_bytes / 8;
    d->guard_bytes_max = d->ring_bytes / 6;
    d->reserve_bytes = log_block(d->ring_bytes * 3 / 8);
    /* Any one partition fits: its largest entry (a small one, or two tail blocks), or a mark and copies of two tail blocks. */
    uint64_t entry_max = mr_max_u64(d->small_bytes_max, 2 * MR_BLOCK_BYTES) + sizeof(struct mr_journal_entry);
    d->image_bytes_min = mr_align_up(sizeof(struct mr_journal_commit) + entry_max, MR_BLOCK_BYTES);
    d->next_lsn = d->ring_bytes; /* 0 means none */
    d->tail_lsn = d->next_lsn;
    d->reclaim_lsn = d->next_lsn;
    d->stated_lsn = d->next_lsn;
    d->bucket = log_allocate(log, d->ring_bytes / MR_BLOCK_BYTES * sizeof(struct mr_partition *));
    if (d->bucket == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < MR_LOG_COMMITS_MAX; i++) {
        d->commit[i].part = log_allocate(log, MR_LOG_PARTS_MAX * sizeof(struct log_part));
        if (d->commit[i].part == NULL)
            return -ENOMEM;
    }
    return 0;
}

void mr_log_directory_release(struct log_directory *d)
{
    for (uint32_t i = 0; i < MR_LOG_COMMITS_MAX; i++)
        log_free(d->log, d->commit[i].part);
    log_free(d->log, d->bucket);
}

static struct mr_partition **bucket_of(struct log_directory *d, uint64_t lsn)
{
    return &d->bucket[lsn % d->ring_bytes / MR_BLOCK_BYTES];
}

/** 0 takes it out of the journal's account. */
void mr_log_floor_set(struct mr_partition *p, uint64_t lsn)
{
    if (p->floor_lsn != 0) {
        *p->floor_previous = p->floor_next;
        if (p->floor_next != NULL)
            p->floor_next->floor_previous = p->floor_previous;
    }
    p->floor_lsn = lsn;
    if (lsn == 0)
        return;
    struct log_directory *d = p->directory;
    struct mr_partition **bucket = bucket_of(d, lsn);
    d->reclaim_lsn = mr_min_u64(d->reclaim_lsn, lsn); /* a commit may complete after the walk has passed its place */
    p->floor_next = *bucket;
    p->floor_previous = bucket;
    if (p->floor_next != NULL)
        p->floor_next->floor_previous = &p->floor_next;
    *bucket = p;
}

/* I2: the space below is free. Commits in flight keep theirs. */
static void advance_tail(struct log_directory *d)
{
    uint64_t limit = log_commits_in_flight(d) > 0 ? log_commit_at(d, d->commit_first)->lsn : d->next_lsn;

    while (d->tail_lsn < limit && *bucket_of(d, d->tail_lsn) == NULL)
        d->tail_lsn += MR_BLOCK_BYTES;
    d->reclaim_lsn = mr_max_u64(d->reclaim_lsn, d->tail_lsn);
}

void mr_log_live_update(struct mr_partition *p)
{
    uint64_t bytes = p->floor_lsn != 0 ? sizeof(struct mr_journal_entry) : 0;

    for (uint32_t i = p->open_first; i < p->segment_count; i++) {
        const struct log_segment *s = p->segment[i];
        uint64_t data = s->data.committing > s->data.placing ? s->data.committing - s->data.placing : 0;
        uint64_t side = s->side.committing > s->side.placing ? s->side.committing - s->side.placing : 0;
        if (data + side > 0)
            bytes += mr_journal_entry_bytes(data, side);
    }
    p->directory->live_bytes += bytes - p->live_bytes;
    p->live_bytes = bytes;
}

/* Would a commit take anything of it? */
bool mr_log_has_work(const struct mr_partition *p)
{
    const struct log_directory *d = p->directory;

    if (p->mark_due || p->log_start_next > p->log_start_logged)
        return true;
    for (uint32_t i = p->open_first; i < p->segment_count; i++) {
        const struct log_segment *s = p->segment[i];
        if (log_is_dirty(s))
            return true;
        if (s->file < 0 || s->guard_commit >= d->commit_first)
            continue;
        bool partial = s->data.end > s->data.placing;
        if ((s->rolled || p->log->draining) && (partial || s->side.end > s->side.placing))
            return true;
        if (p->place && (log_block(s->data.end) > s->data.placing || log_block(s->side.end) > s->side.placing))
            return true;
    }
    return false;
}

void mr_log_unqueue(struct mr_partition *p)
{
    struct log_directory *d = p->directory;

    if (p->queue == LOG_QUEUE_NONE)
        return;
    if (p->queue == LOG_QUEUE_NOW)
        d->waiting_bytes -= p->waiting_bytes;
    list_remove(&p->queued);
    p->queue = LOG_QUEUE_NONE;
}

void mr_log_unblock(struct mr_partition *p)
{
    p->blocked = false;
    p->directory->stuck = false;
    if (p->refuse != -EIO && mr_log_has_work(p))
        mr_log_queue_now(p);
}

static void recount_waiting(struct mr_partition *p)
{
    uint64_t bytes = 0;

    for (uint32_t i = p->open_first; i < p->segment_count; i++)
        bytes += p->segment[i]->data.end - p->segment[i]->data.committing + p->segment[i]->side.end - p->segment[i]->side.committing;
    if (p->queue == LOG_QUEUE_NOW)
        p->directory->waiting_bytes += bytes - p->waiting_bytes;
    p->waiting_bytes = bytes;
}

/* Take one partition into the commit that is being built, and keep its queue and floor. @return false: the commit is full */
static bool take(struct log_builder *b, struct mr_partition *p, bool relog)
{
    struct log_commit *c = b->commit;
    uint32_t parts = c->part_count;
    enum log_plan plan = mr_log_plan_partition(b, p, relog);

    recount_waiting(p);
    if (c->part_count > parts) {
        if (p->floor_lsn == 0)
            mr_log_floor_set(p, c->lsn);
        if (c->part[c->part_count - 1].full)
            p->moving_commit = c->number;
        mr_log_live_update(p);
    }
    switch (plan) {
    case LOG_PLAN_FULL:
        return false;
    case LOG_PLAN_MORE:
    case LOG_PLAN_LATER:
        mr_log_queue_now(p); /* the next commit goes on, behind the others */
        list_remove(&p->queued);
        list_append(&b->directory->now, &p->queued);
        return true;
    case LOG_PLAN_BLOCKED:
        p->blocked = true;
        mr_log_unqueue(p);
        return true;
    case LOG_PLAN_DONE:
        mr_log_unqueue(p);
        return true;
    }
    return true;
}

/* Log again what holds the journal's tail back, until no more than used_bytes are in use. Floors move when the commit completes, so the walk
 * has a place of its own. */
static bool reclaim(struct log_builder *b, uint64_t used_bytes)
{
    struct log_directory *d = b->directory;

    d->reclaim_lsn = mr_max_u64(d->reclaim_lsn, d->tail_lsn);
    while (d->reclaim_lsn < d->next_lsn && (d->next_lsn - d->reclaim_lsn > used_bytes || d->live_bytes > d->live_bytes_max)) {
        for (struct mr_partition *p = *bucket_of(d, d->reclaim_lsn); p != NULL; p = p->floor_next) {
            if (p->moving_commit >= d->commit_first)
                continue;
            if (!take(b, p, true))
                return false;
            mr_assert(p->moving_commit == b->commit->number); /* I2 depends on it */
        }
        d->reclaim_lsn += MR_BLOCK_BYTES;
    }
    return true;
}

/* Contiguous staging memory, and where it begins; nothing when it is short. */
static uint64_t find_staging(const struct log_directory *d, uint64_t *begin)
{
    uint64_t size = d->journal.staging_bytes;
    uint64_t place = d->staging_next % size;
    uint64_t free_bytes = size - (d->staging_next - d->staging_tail);

    *begin = d->staging_next;
    if (free_bytes >= d->image_bytes_min && size - place >= d->image_bytes_min)
        return mr_min_u64(free_bytes, size - place);
    if (free_bytes < size - place + d->image_bytes_min)
        return 0;
    *begin = d->staging_next + (size - place);
    return free_bytes - (size - place);
}

/* Contiguous journal space that keeps `reserve_bytes` of the ring free; never across its end. */
static uint64_t find_journal(const struct log_directory *d, uint64_t reserve_bytes, uint64_t *lsn)
{
    /* Not what is free, but what a completed commit has said to be free: should this one be torn, recovery must not miss what it overwrote. */
    uint64_t limit = d->stated_lsn + d->ring_bytes - reserve_bytes;
    uint64_t to_end = d->ring_bytes - d->next_lsn % d->ring_bytes, second_lsn = d->next_lsn + to_end;
    uint64_t first = limit > d->next_lsn ? mr_min_u64(to_end, limit - d->next_lsn) : 0;
    uint64_t second = limit > second_lsn ? limit - second_lsn : 0;
    bool skip = first < d->image_bytes_min && second > first;

    *lsn = skip ? second_lsn : d->next_lsn;
    return skip ? second : first;
}

/* One commit of what waits. @return false: nothing could be taken */
static bool build(struct log_directory *d)
{
    struct log_commit *c = log_commit_at(d, d->commit_next);
    uint64_t lsn, begin;
    bool reclaim_only = false, states = false;

    advance_tail(d);
    uint64_t journal_bytes = find_journal(d, d->reserve_bytes, &lsn);
    if (journal_bytes < d->image_bytes_min) {
        reclaim_only = true;
        /* First an empty commit that says what is free already; the last block is always kept for it. */
        states = d->stated_lsn < d->tail_lsn;
        if (states && log_commits_in_flight(d) > 0)
            return false; /* one in flight says it, or can be waited for */
        journal_bytes = find_journal(d, states ? 0 : MR_BLOCK_BYTES, &lsn);
    }
    if (log_commits_in_flight(d) == 0) { /* all of it is free, and best in one piece */
        d->staging_next = 0;
        d->staging_tail = 0;
    }
    uint64_t staging_bytes = find_staging(d, &begin);
    if (journal_bytes < (reclaim_only ? MR_BLOCK_BYTES : d->image_bytes_min) || staging_bytes < d->image_bytes_min)
        return false;
    /* Half of the staging memory at most: the next commit is built while this one is written. */
    uint64_t image_max = mr_min_u64(staging_bytes, IMAGE_BYTES_MAX);
    image_max = mr_min_u64(image_max, mr_max_u64(log_block(d->journal.staging_bytes / 2), d->image_bytes_min));
    struct log_builder b = {
        .directory = d,
        .commit = c,
        .image = d->journal.staging + begin % d->journal.staging_bytes,
        .image_bytes = sizeof(struct mr_journal_commit),
        .image_max = image_max,
        .journal_max = mr_min_u64(journal_bytes, IMAGE_BYTES_MAX),
    };
    c->number = d->commit_next;
    c->lsn = lsn;
    c->floor_lsn = d->tail_lsn;
    c->durable_lsn = log_commits_in_flight(d) > 0 ? log_commit_at(d, d->commit_first)->lsn : lsn;
    c->skipped_bytes = (uint32_t)(lsn - d->next_lsn);
    c->write_count = 0;
    c->part_count = 0;
    d->commit_next++; /* plans look at what is in flight: this one is */
    bool room = states || reclaim(&b, reclaim_only ? d->ring_bytes / 4 : d->ring_bytes / 2);
    const struct list_node *last = d->now.previous; /* what is put back for the next commit comes behind it */
    bool more = room && !reclaim_only && !list_is_empty(&d->now);
    while (more) {
        struct list_node *node = d->now.next;
        more = take(&b, list_entry(node, struct mr_partition, queued), false) && node != last;
    }
    if (b.entry_count == 0 && !states) {
        mr_assert(c->part_count == 0 && c->write_count == 0);
        d->commit_next--;
        return false;
    }
    uint64_t bytes = mr_align_up(b.image_bytes, MR_BLOCK_BYTES);
    c->staging_end = begin + bytes + (uint64_t)b.copy_count * MR_BLOCK_BYTES;
    d->staging_next = c->staging_end;
    mr_log_build_finish(&b);
    d->next_lsn = lsn + bytes;
    mr_assert(d->next_lsn <= d->stated_lsn + d->ring_bytes); /* I2 */
    return true;
}

/* The more is in flight, the more is gathered: a few commits fill the disk's queue, and each is worth its share of a journal write. */
static bool may_start(const struct log_directory *d)
{
    uint64_t in_flight = log_commits_in_flight(d);
    uint64_t gather_bytes = mr_min_u64((uint64_t)MR_LOG_GATHER_BYTES * in_flight, MR_LOG_GATHER_BYTES_MAX);
    return !d->offline && !d->stuck && in_flight < MR_LOG_COMMITS_MAX && (in_flight == 0 || d->waiting_bytes >= gather_bytes);
}

/* Is there something to commit that a step would start at this time? */
bool mr_log_commit_due(const struct log_directory *d, uint64_t now_ns)
{
    if (!may_start(d))
        return false;
    if (!list_is_empty(&d->now))
        return true;
    if (list_is_empty(&d->later))
        return false;
    const struct mr_partition *p = list_entry(d->later.next, const struct mr_partition, queued);
    return p->dirty_ns + d->log->options.flush_ns <= now_ns;
}

void mr_log_commits_start(struct log_directory *d)
{
    struct mr_log *log = d->log;

    if (d->offline)
        return;
    while (!list_is_empty(&d->later)) {
        struct mr_partition *p = list_entry(d->later.next, struct mr_partition, queued);
        if (p->dirty_ns + log->options.flush_ns > log->now_ns && !log->draining)
            break;
        mr_log_queue_now(p);
    }
    while (!list_is_empty(&d->now) && may_start(d)) {
        if (!build(d)) {
            d->stuck = true; /* until a completion or a file makes room */
            break;
        }
    }
}

static void part_done(const struct log_commit *c, const struct log_part *part)
{
    struct mr_partition *p = part->partition;
    struct log_segment *s = part->segment;

    if (s != NULL && (part->data_placed > s->data.placed || part->side_placed > s->side.placed)) {
        s->data.placed = mr_max_u64(s->data.placed, part->data_placed);
        s->side.placed = mr_max_u64(s->side.placed, part->side_placed);
        mr_log_publish_placed(p, s); /* before durable moves, and before the floor does */
    }
    p->log->counters.at_risk_bytes -= part->new_bytes;
    p->mark_durable = mr_max_u64(p->mark_durable, part->mark_offset);
    if (part->offset_to > p->mark_offset) {
        p->mark_segment = s->base_offset;
        p->mark_position = part->data_to;
        p->mark_offset = part->offset_to;
    }
    if (part->offset_to > p->durable_offset) {
        p->durable_offset = part->offset_to;
        mr_store_release(&p->head->durable, p->durable_offset);
        if (p->disk)
            mr_store_release(&p->head->visible, p->durable_offset); /* V, I5 */
        mr_log_pend(p, LOG_PENDING_ADVANCED);
    }
    if (part->full) {
        mr_log_floor_set(p, c->lsn);
        if (p->moving_commit == c->number)
            p->moving_commit = 0;
    }
    if (s != NULL && s->rolled)
        mr_log_segment_placed(p, s);
    if (part->log_start > p->log_start)
        mr_log_started(p, part->log_start); /* I7 */
}

/* After all parts of a partition in a commit. */
static void partition_done(struct mr_partition *p)
{
    struct mr_log *log = p->log;

    if (p->unsecured && p->mark_durable >= p->secure_offset) {
        p->unsecured = false;
        log->unsecured--;
    }
    if (list_is_linked(&p->marking))
        list_remove(&p->marking);
    if (p->mark_logged < p->mark_offset) {
        if (p->unsecured)
            p->mark_due = true;
        else
            mr_log_timer(&log->marking, &p->marking, &p->mark_due_ns, log->now_ns + log->options.mark_ns);
    }
    mr_log_live_update(p);
    if (p->want_refused)
        mr_log_recycle(p, false);
    else
        mr_log_want_memory(p);
    p->blocked = false;
    if (p->queue == LOG_QUEUE_NONE && mr_log_has_work(p))
        mr_log_queue_now(p);
    if (log->draining)
        mr_log_drain_tail(p);
}

/* I3: in order, from the oldest. */
static void complete(struct log_directory *d)
{
    while (log_commits_in_flight(d) > 0) {
        struct log_commit *c = log_commit_at(d, d->commit_first);
        if (c->writes_left > 0)
            break;
        d->commit_first++; /* guards of this commit are over */
        d->staging_tail = c->staging_end;
        d->stated_lsn = c->floor_lsn;
        for (uint32_t i = 0; i < c->part_count; i++) {
            const struct log_part *part = &c->part[i];
            struct mr_partition *p = part->partition;
            bool last = i + 1 == c->part_count || c->part[i + 1].partition != p;
            part_done(c, part);
            if (last) {
                p->commits_in_flight--;
                partition_done(p);
            }
        }
        d->stuck = false;
    }
    advance_tail(d);
}

/* I6 */
void mr_log_directory_offline(struct log_directory *d, int32_t result)
{
    struct mr_log *log = d->log;

    if (d->offline)
        return;
    d->offline = true;
    d->offline_pending = true;
    d->offline_result = result;
    for (struct list_node *node = log->all.next; node != &log->all; node = node->next) {
        struct mr_partition *p = list_entry(node, struct mr_partition, all);
        if (p->directory != d)
            continue;
        mr_log_unqueue(p);
        p->refuse = -EIO;
        mr_store_release(&p->head->state, MR_PARTITION_OFFLINE);
    }
}

void mr_log_commit_written(struct mr_log *log, const struct mr_log_event *event)
{
    uint64_t index = event->tag >> 32;

    mr_assert(index < log->directory_count);
    struct log_directory *d = &log->directory[index];
    struct log_commit *c = &d->commit[event->tag >> 16 & (MR_LOG_COMMITS_MAX - 1)];
    mr_assert(c->writes_left > 0);
    c->writes_left--;
    if (event->result != 0)
        mr_log_directory_offline(d, event->result);
    if (!d->offline)
        complete(d);
}
