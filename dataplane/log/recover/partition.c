/* SPDX-License-Identifier: Apache-2.0 */
/* One partition: collect files and entries, walk, judge, settle, and say what it is. */
#include "dataplane/log/recover/recover_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** One partition while it is being recovered. */
struct work {
    struct mr_recovery *recovery;
    const char *path;
    const char *name; /* last part of the path */
    struct mr_uuid topic_id;
    uint32_t partition;
    struct mr_checkpoint_partition known; /* zeroed: nothing */
    const struct mr_entry *entry;         /* those that may count */
    uint32_t entry_count;
    bool has_entries;                     /* of any lineage */
    uint32_t generation;
    uint64_t log_start, end_min;
    struct mr_segment_files *segment;     /* by base offset */
    uint32_t count, room;
    uint64_t *gone;                       /* base offsets below log_start, to be removed */
    uint32_t gone_count, gone_room;
    uint64_t *snapshot;                   /* offsets, ascending */
    uint32_t snapshot_count, snapshot_room;
    struct mr_producer_table producers;
    uint64_t replay_from;                 /* batches that end above this are applied to producers */
    uint32_t walk_from, tail;             /* tail == count: nothing at all is there */
    uint64_t end;
    bool has_directory;
    bool is_trusted; /* nothing was walked: see trust() */
    bool is_emptied; /* all that is left lies below log_start: it stays in the files until a later segment is there */
};

static int by_base(const void *a, const void *b)
{
    uint64_t left = ((const struct mr_segment_files *)a)->base_offset, right = ((const struct mr_segment_files *)b)->base_offset;
    return left < right ? -1 : left > right;
}

static int by_number(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static struct mr_segment_files *find_segment(struct work *work, uint64_t base_offset)
{
    for (uint32_t i = work->count; i-- > 0;) /* the newest are asked for most */
        if (work->segment[i].base_offset == base_offset)
            return &work->segment[i];
    if (mr_recover_grow((void **)&work->segment, work->count, &work->room, sizeof *work->segment) != 0)
        return NULL;
    work->segment[work->count] = (struct mr_segment_files){.base_offset = base_offset, .data = {.file = -1}, .side = {.file = -1}};
    return &work->segment[work->count++];
}

static int add_number(uint64_t **array, uint32_t *count, uint32_t *room, uint64_t value)
{
    int rc = mr_recover_grow((void **)array, *count, room, sizeof **array);
    if (rc == 0)
        (*array)[(*count)++] = value;
    return rc;
}

static int list_name(void *context, const char *name, bool is_directory)
{
    struct work *work = context;
    uint64_t offset;
    bool is_data = mr_segment_name_parse(name, "log", &offset);
    if (is_directory)
        return 0;
    if (is_data || mr_segment_name_parse(name, "sidecar", &offset)) {
        struct mr_segment_files *files = find_segment(work, offset);
        if (files == NULL)
            return -ENOMEM;
        files->has_data = files->has_data || is_data;
        files->has_side = files->has_side || !is_data;
        return 0;
    }
    if (mr_segment_name_parse(name, "snapshot", &offset))
        return add_number(&work->snapshot, &work->snapshot_count, &work->snapshot_room, offset);
    return 0;
}

/** The entries that count: after the last deletion of the topic, behind the checkpoint, of the newest lineage. */
static void choose_entries(struct work *work)
{
    uint32_t count;
    const struct mr_entry *entry = mr_journal_find(work->recovery, &work->topic_id, work->partition, &count);
    work->generation = work->known.generation;
    work->log_start = work->known.log_start;
    work->end_min = mr_max_u64(work->end_min, work->known.next_offset);
    work->has_entries = count > 0;
    uint32_t from = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (entry[i].file_generation <= work->known.journal_generation || (entry[i].at->flags & MR_JOURNAL_DELETED) != 0)
            from = i + 1;
        if (from <= i && entry[i].at->generation > work->generation)
            work->generation = entry[i].at->generation;
    }
    work->entry = entry == NULL ? NULL : entry + from;
    work->entry_count = count - from;
    for (uint32_t i = 0; i < work->entry_count; i++) {
        const struct mr_journal_entry *at = work->entry[i].at;
        work->log_start = mr_max_u64(work->log_start, at->log_start);
        if (at->generation == work->generation)
            work->end_min = mr_max_u64(work->end_min, at->mark_offset);
    }
    if (MUTANT(MUTANT_CUTS_AT_FIRST_BAD_CRC))
        work->end_min = 0;
    if (work->end_min <= work->log_start) /* all that is known to have been durable was deleted */
        work->end_min = 0;
}

/** A damaged journal may have held what is missing; nothing vouches for this partition unless a later complete entry does. */
static const struct mr_journal_image *suspect_journal(const struct work *work)
{
    for (uint32_t i = 0; i < work->recovery->image_count; i++) {
        const struct mr_journal_image *image = &work->recovery->image[i];
        bool is_vouched = image->lost_lsn == 0 || image->generation <= work->known.journal_generation;
        for (uint32_t e = 0; !is_vouched && e < work->entry_count; e++)
            is_vouched = work->entry[e].image == i && work->entry[e].durable && work->entry[e].lsn >= image->lost_lsn;
        if (!is_vouched)
            return image;
    }
    return NULL;
}

static bool counts_for(const struct work *work, const struct mr_entry *entry, const struct mr_segment_files *files)
{
    return entry->at->generation == work->generation && entry->at->segment_base_offset == files->base_offset;
}

static int open_stream(struct work *work, struct mr_segment_files *files, bool is_side, struct mr_view *view, struct millrace_error *err)
{
    struct mr_disk *disk = work->recovery->disk;
    char path[MR_RECOVER_PATH_MAX];
    int64_t bytes = 0;
    int file = -1;
    if (is_side ? files->has_side : files->has_data) {
        mr_segment_path(path, work->path, files->base_offset, is_side ? ".sidecar" : ".log");
        file = mr_disk_open(disk, path, MR_DISK_READ_ONLY, err);
        if (file < 0)
            return file;
        bytes = mr_disk_size(disk, file);
        if (bytes < 0) {
            (void)mr_disk_close(disk, file);
            return mr_err(err, (int)-bytes, "reading the size of '%s' failed: %s", path, strerror((int)-bytes));
        }
    }
    struct mr_overlay_range *ranges = malloc((work->entry_count + 1) * sizeof *ranges);
    uint32_t count = 0;
    if (ranges != NULL && files->has_cut)
        ranges[count++] = files->cut[is_side];
    for (uint32_t i = 0; ranges != NULL && i < work->entry_count; i++) {
        const struct mr_journal_entry *at = work->entry[i].at;
        if (!counts_for(work, &work->entry[i], files) || at->segment_salt != files->salt)
            continue;
        struct mr_overlay_range range = {.position = at->data_position, .bytes = at->data_bytes, .from = work->entry[i].data};
        if (is_side)
            range = (struct mr_overlay_range){.position = at->side_position, .bytes = at->side_bytes, .from = work->entry[i].side};
        if (files->has_entries)
            ranges[count++] = range;
        if (work->entry[i].durable) { /* a mark alone says where the stream stood */
            uint64_t *proven = is_side ? &files->proven_side : &files->proven_data;
            *proven = mr_max_u64(*proven, range.position + range.bytes);
        }
    }
    int rc = ranges == NULL ? -ENOMEM : mr_view_init(view, disk, file, (uint64_t)bytes, ranges, count);
    free(ranges);
    if (rc != 0) {
        view->file = -1;
        if (file >= 0)
            (void)mr_disk_close(disk, file);
    }
    return rc;
}

/** A cut that was broken off. It counts when it is of this life of the segment. */
static int load_cut(struct work *work, struct mr_segment_files *files)
{
    uint32_t salt = 0;
    int rc = mr_cut_load(work->recovery, work->path, files->base_offset, &salt, &files->cut[0], &files->cut[1]);
    files->has_cut = rc == 1 && (!files->has_entries || salt == files->salt);
    return rc < 0 ? rc : 0;
}

/* The last segment that is known lies below log_start and its files are gone, though its journal entries show that its beginning had been in
 * them: it was deleted after the next one began, of which nothing is durable yet. Only when nothing durable is known above log_start. */
static bool was_deleted(const struct work *work, const struct mr_segment_files *files)
{
    if (files->has_data || files->has_side || files->base_offset >= work->log_start || work->end_min != 0)
        return false;
    for (uint32_t i = 0; i < work->entry_count; i++) {
        const struct mr_journal_entry *at = work->entry[i].at;
        if (at->segment_base_offset == files->base_offset && at->data_bytes > 0 && at->data_position == 0)
            return false;
    }
    return true;
}

/** Segments from files and entries, less those below log_start; their views. */
static int collect(struct work *work, struct millrace_error *err)
{
    int rc = mr_disk_list(work->recovery->disk, work->path, list_name, work);
    work->has_directory = rc != -ENOENT;
    if (rc != 0 && rc != -ENOENT)
        return mr_err(err, -rc, "listing '%s' failed: %s", work->path, strerror(-rc));
    uint64_t oldest_file = UINT64_MAX;
    for (uint32_t i = 0; i < work->count; i++)
        oldest_file = mr_min_u64(oldest_file, work->segment[i].base_offset);
    for (uint32_t i = 0; i < work->entry_count; i++) {
        const struct mr_journal_entry *at = work->entry[i].at;
        /* Files come into being in order: a segment older than all of them was deleted. */
        if (at->generation != work->generation || (work->count > 0 && oldest_file != UINT64_MAX && at->segment_base_offset < oldest_file))
            continue;
        if (at->data_bytes + (uint64_t)at->side_bytes == 0) { /* a mark alone makes no segment */
            for (uint32_t k = 0; k < work->count; k++)
                if (work->segment[k].base_offset == at->segment_base_offset && !work->segment[k].has_entries)
                    work->segment[k].salt = at->segment_salt;
            continue;
        }
        struct mr_segment_files *files = find_segment(work, at->segment_base_offset);
        if (files == NULL)
            return -ENOMEM;
        files->has_entries = true;
        files->salt = at->segment_salt; /* the newest entry's: one lineage has one salt per segment */
    }
    if (work->count > 1)
        qsort(work->segment, work->count, sizeof *work->segment, by_base);
    uint32_t below = 0;
    while (below + 1 < work->count && work->segment[below + 1].base_offset <= work->log_start) {
        rc = add_number(&work->gone, &work->gone_count, &work->gone_room, work->segment[below].base_offset);
        if (rc != 0)
            return rc;
        below++;
    }
    if (below + 1 == work->count && was_deleted(work, &work->segment[below])) {
        rc = add_number(&work->gone, &work->gone_count, &work->gone_room, work->segment[below].base_offset);
        if (rc != 0)
            return rc;
        below++;
    }
    work->count -= below;
    if (work->count > 0) {
        memmove(work->segment, work->segment + below, work->count * sizeof *work->segment);
        work->log_start = mr_max_u64(work->log_start, work->segment[0].base_offset);
    }
    for (uint32_t i = 0; i < work->count; i++) {
        rc = load_cut(work, &work->segment[i]);
        if (rc == 0)
            rc = open_stream(work, &work->segment[i], false, &work->segment[i].data, err);
        if (rc == 0)
            rc = open_stream(work, &work->segment[i], true, &work->segment[i].side, err);
        if (rc != 0)
            return rc;
    }
    if (work->snapshot_count > 1)
        qsort(work->snapshot, work->snapshot_count, sizeof *work->snapshot, by_number);
    return 0;
}

/** Producers from one snapshot. @return 0; -EBADMSG: not to be trusted; -EIO, -ENOMEM */
static int load_snapshot(struct work *work, uint64_t offset)
{
    char path[MR_RECOVER_PATH_MAX];
    uint64_t bytes = 0;
    int rc;
    mr_segment_path(path, work->path, offset, ".snapshot");
    uint8_t *memory = mr_recover_read_file(work->recovery->disk, path, &bytes, &rc);
    if (memory == NULL)
        return rc;
    int64_t count = mr_snapshot_check(memory, bytes);
    rc = count < 0 ? -EBADMSG : 0;
    for (uint32_t i = 0; rc == 0 && i < (uint64_t)count; i++) {
        struct mr_snapshot_producer from;
        mr_snapshot_read(memory, i, &from);
        if (from.last_offset >= (int64_t)offset || from.last_sequence < 0)
            rc = -EBADMSG;
        struct mr_log_producer_state state = {from.producer_id, from.last_offset, from.timestamp_ms, from.last_sequence, from.epoch};
        if (rc == 0)
            rc = mr_producer_table_put(&work->producers, &state);
    }
    free(memory);
    return rc;
}

/** The newest sound snapshot at or below an offset, else none and a full walk. */
static int choose_snapshot(struct work *work, uint64_t offset_max)
{
    for (uint32_t i = work->snapshot_count; i-- > 0;) {
        if (work->snapshot[i] > offset_max || (work->count > 0 && work->snapshot[i] < work->segment[0].base_offset))
            continue;
        mr_producer_table_release(&work->producers);
        int rc = load_snapshot(work, work->snapshot[i]);
        if (rc == 0) {
            work->replay_from = work->snapshot[i];
            return 0;
        }
        if (rc != -EBADMSG && rc != -ENOENT)
            return rc;
        mr_recover_say(work->recovery, MR_RECOVER_WARNING, "%s: the producer snapshot at offset %" PRIu64 " is damaged; using an earlier one",
                       work->path, work->snapshot[i]);
    }
    mr_producer_table_release(&work->producers);
    work->replay_from = 0;
    return 0;
}

static int replay_batch(void *context, const struct mr_segment_point *at, const uint8_t *batch)
{
    struct work *work = context;
    return (uint64_t)mr_batch_next_offset(batch) > work->replay_from ? mr_producer_table_apply(&work->producers, batch) : 0;
}

/** Which segments have to be walked: those of the mark, of entries, of the replay, those not closed in good order, and the last. */
static int choose_walk(struct work *work)
{
    uint64_t mark_segment = UINT64_MAX;
    for (uint32_t i = 0; i < work->entry_count; i++)
        if (work->entry[i].at->generation == work->generation) /* in order: the newest decides */
            mark_segment = work->entry[i].at->mark_segment;
    work->walk_from = work->count - 1;
    for (uint32_t i = 0; i + 1 < work->count; i++) {
        bool is_closed;
        int rc = mr_judge_closed(&work->segment[i], &work->topic_id, work->partition, work->segment[i + 1].base_offset, &is_closed);
        if (rc != 0)
            return rc;
        bool is_needed = !is_closed || work->segment[i].base_offset >= mark_segment || work->segment[i + 1].base_offset > work->replay_from;
        if (is_needed && i < work->walk_from)
            work->walk_from = i;
    }
    return 0;
}

static int set_offline(struct work *work, const struct mr_segment_files *files, const char *why, struct mr_log_recovered *recovered)
{
    const struct mr_segment_point *end = &files->result.end;
    mr_recover_say(work->recovery, MR_RECOVER_ERROR, "%s is offline, nothing of it was changed: at offset %" PRIu64 " (file '%020" PRIu64
                   ".log', position %" PRIu64 "; sidecar position %" PRIu64 ") %s, and what follows was durable%s: run 'millrace log verify %s'",
                   work->path, end->next_offset, files->base_offset, end->position, end->side_position, why,
                   end->next_offset < work->end_min ? " up to a later offset" : "", work->path);
    recovered->offline = true;
    return 0;
}

/** D6(b), and torn bytes behind a clean end: never silent. */
static void say_cut(const struct work *work, const struct mr_segment_files *files, const char *why, uint32_t at)
{
    bool has_behind = files->result.behind;
    for (uint32_t i = at + 1; i < work->count; i++)
        has_behind = has_behind || work->segment[i].result.batch_count > 0 || work->segment[i].result.behind;
    mr_recover_say(work->recovery, has_behind ? MR_RECOVER_WARNING : MR_RECOVER_INFO, "%s: cut at offset %" PRIu64 " (file '%020" PRIu64
                   ".log', position %" PRIu64 "): %s%s; nothing there had been acknowledged as durable", work->path, work->end,
                   files->base_offset, files->result.end.position, why, has_behind ? ", with valid batches behind it" : "");
}

/**
 * Walk and judge. @param again set: the tail turned out to be a segment that was not walked yet
 * @return 0, also when offline
 */
static int walk_segments(struct work *work, bool *again, struct mr_log_recovered *recovered)
{
    int32_t epoch = 0;
    *again = false;
    for (uint32_t i = work->walk_from; i < work->count; i++) {
        struct mr_segment_files *files = &work->segment[i];
        bool is_last = i + 1 == work->count;
        int rc = mr_judge_walk(files, &work->topic_id, work->partition, epoch, replay_batch, work);
        if (rc != 0)
            return rc;
        uint64_t next_base = is_last ? UINT64_MAX : work->segment[i + 1].base_offset;
        if (files->result.end.next_offset > next_base)
            return set_offline(work, files, "the segment goes on beyond the base offset of the next one", recovered);
        epoch = files->result.end.epoch;
        if (files->result.end.next_offset == next_base)
            continue;

        enum mr_verdict verdict;
        const char *why;
        rc = mr_judge_end(work->segment, work->count, i, &work->topic_id, work->partition, work->end_min, &verdict, &why);
        if (rc != 0)
            return rc;
        if (verdict == MR_VERDICT_CORRUPT)
            return set_offline(work, files, why, recovered);
        work->tail = i;
        work->end = files->result.end.next_offset;
        if (verdict == MR_VERDICT_UNDECIDED)
            say_cut(work, files, why, i);
        break;
    }
    /* An empty segment behind a complete one goes: the log rolls again when it has something to write. */
    if (work->tail > 0 && work->segment[work->tail].result.batch_count == 0) {
        work->tail--;
        *again = !work->segment[work->tail].walked;
        work->walk_from = mr_min_u64(work->walk_from, work->tail) == work->tail ? work->tail : work->walk_from;
    }
    return 0;
}

static int settle(struct work *work, struct millrace_error *err)
{
    struct mr_recovery *recovery = work->recovery;
    struct mr_settled settled = {0};
    bool has_tail = work->tail < work->count;
    bool is_untouched = work->is_trusted && work->snapshot[work->snapshot_count - 1] <= work->end;
    if (work->gone_count == 0 && (is_untouched || (work->count == 0 && work->snapshot_count == 0)))
        return 0;
    int rc = 0;
    if (!work->has_directory) {
        rc = mr_disk_make_directory(recovery->disk, work->path);
        if (rc == 0)
            rc = mr_disk_sync_directory(recovery->disk, recovery->directory);
        if (rc != 0)
            return mr_err(err, -rc, "making the directory '%s' failed: %s", work->path, strerror(-rc));
    }
    for (uint32_t i = work->walk_from; rc == 0 && has_tail && !work->is_trusted && i <= work->tail; i++)
        rc = mr_settle_segment(recovery, work->path, &work->segment[i], i == work->tail, &settled, err);
    /* One that was made and not written yet stays, empty: its name tells the next recovery that those before it were deleted. */
    if (rc == 0 && !has_tail && work->count > 0)
        rc = mr_settle_segment(recovery, work->path, &work->segment[0], true, &settled, err);
    for (uint32_t i = has_tail ? work->tail + 1 : 1; rc == 0 && i < work->count; i++)
        rc = mr_settle_remove(recovery, work->path, work->segment[i].base_offset, err);
    for (uint32_t i = 0; rc == 0 && i < work->gone_count; i++)
        rc = mr_settle_remove(recovery, work->path, work->gone[i], err);
    for (uint32_t i = 0; rc == 0 && i < work->snapshot_count; i++) {
        /* One ahead of the end would be taken for true when the log has grown past it in another way. */
        char path[MR_RECOVER_PATH_MAX];
        if (work->snapshot[i] <= work->end)
            continue;
        mr_segment_path(path, work->path, work->snapshot[i], ".snapshot");
        rc = mr_disk_unlink(recovery->disk, path);
        if (rc == -ENOENT)
            rc = 0;
    }
    if (rc == 0)
        rc = mr_disk_sync_directory(recovery->disk, work->path);
    if (rc == 0 && settled.bytes > 0)
        mr_recover_say(recovery, MR_RECOVER_INFO, "%s: ends at offset %" PRIu64 "; %" PRIu64 " bytes came from the journal (%u torn or old blocks "
                       "mended, %u segments made)", work->path, work->end, settled.bytes, settled.mended_blocks, settled.made_segments);
    if (rc != 0 && (err == NULL || err->code == 0))
        return mr_err(err, -rc, "settling '%s' failed: %s", work->path, strerror(-rc));
    return rc;
}

static int copy_block(struct work *work, const struct mr_view *view, uint64_t end, const uint8_t **block)
{
    uint64_t bytes = end % MR_BLOCK_BYTES;
    *block = NULL;
    if (bytes == 0)
        return 0;
    uint8_t *copy = mr_recover_keep(work->recovery, bytes);
    if (copy == NULL)
        return -ENOMEM;
    *block = copy;
    return mr_view_read(view, copy, bytes, end - bytes);
}

static int fill_in(struct work *work, struct mr_log_recovered *recovered)
{
    struct mr_recovery *recovery = work->recovery;
    /* What a crash left behind in old journals must never meet what is appended from here on. */
    recovered->generation = work->generation + (work->has_entries ? 1 : 0);
    recovered->log_start = work->log_start;
    recovered->next_offset = work->end;
    recovered->durable_offset = work->end;
    if (work->tail < work->count && !work->is_emptied) {
        recovered->segment_count = work->tail + 1;
        struct mr_log_segment *segments = mr_recover_keep(recovery, recovered->segment_count * sizeof *segments);
        if (segments == NULL)
            return -ENOMEM;
        recovered->segments = segments;
        for (uint32_t i = 0; i <= work->tail; i++) {
            const struct mr_segment_files *files = &work->segment[i];
            const struct mr_segment_scan_result *result = &files->result;
            segments[i] = files->closed;
            if (files->walked && i >= work->walk_from)
                segments[i] = (struct mr_log_segment){
                    .base_offset = files->base_offset,
                    .next_offset = result->end.next_offset,
                    .bytes = result->end.position,
                    .side_bytes = result->end.side_position,
                    .salt = result->salt,
                    .chain = result->end.chain,
                    .cut_position = (uint32_t)result->end.position,
                    .max_timestamp_ms = result->max_timestamp_ms,
                    .max_is_known = true,
                };
            segments[i].inplace_bytes = segments[i].bytes;
            segments[i].side_inplace_bytes = segments[i].side_bytes;
        }
        const struct mr_segment_files *tail = &work->segment[work->tail];
        struct mr_log_segment *last = &segments[work->tail];
        last->cut_position = (uint32_t)last->bytes;
        int rc = copy_block(work, &tail->data, last->bytes, &recovered->data_block);
        if (rc == 0)
            rc = copy_block(work, &tail->side, last->side_bytes, &recovered->side_block);
        if (rc != 0)
            return rc;
    }
    if (work->producers.count > 0) {
        struct mr_log_producer_state *producers = mr_recover_keep(recovery, work->producers.count * sizeof *producers);
        if (producers == NULL)
            return -ENOMEM;
        memcpy(producers, work->producers.state, work->producers.count * sizeof *producers);
        recovered->producers = producers;
        recovered->producer_count = work->producers.count;
    }
    struct mr_checkpoint_partition settled = {
        .topic_id = work->topic_id,
        .generation = recovered->generation,
        .journal_generation = recovery->generation,
        .log_start = recovered->log_start,
        .next_offset = recovered->next_offset,
    };
    snprintf(settled.name, sizeof settled.name, "%s", work->name);
    return mr_checkpoint_put(&recovery->settled, &settled);
}

/**
 * Nothing was written since the checkpoint or the clean stop that tells where the log ends: no journal entry, every segment closed in good order, the
 * last one at that end, and a snapshot of producers there. Then what the files hold was checked before it was settled, and is not read again: ten
 * thousand partitions are not walked at each start. (Rot since then is found by whoever reads it, and by `log verify`, as in older segments.)
 */
static int trust(struct work *work, bool *trusted)
{
    const struct mr_checkpoint_partition *known = &work->known;
    *trusted = false;
    if (work->count == 0 || known->next_offset == 0 || work->entry_count > 0 || work->end_min > known->next_offset ||
        known->next_offset <= work->log_start)
        return 0;
    for (uint32_t i = 0; i < work->count; i++) {
        bool is_closed;
        uint64_t next_base = i + 1 < work->count ? work->segment[i + 1].base_offset : known->next_offset;
        int rc = mr_judge_closed(&work->segment[i], &work->topic_id, work->partition, next_base, &is_closed);
        if (rc != 0 || !is_closed)
            return rc;
    }
    int rc = choose_snapshot(work, known->next_offset);
    if (rc != 0 || work->replay_from != known->next_offset)
        return rc;
    work->tail = work->walk_from = work->count - 1;
    work->end = known->next_offset;
    work->is_trusted = *trusted = true;
    return 0;
}

/** @return 0, also when offline */
static int walk(struct work *work, struct mr_log_recovered *recovered)
{
    work->tail = work->count;
    work->end = work->log_start;
    uint64_t snapshot_max = UINT64_MAX;
    uint32_t walk_to = UINT32_MAX;
    bool trusted;
    int trust_rc = trust(work, &trusted);
    if (trust_rc != 0 || trusted)
        return trust_rc;
    while (work->count > 0) { /* bound: each round takes an earlier snapshot or an earlier segment */
        bool again;
        int rc = choose_snapshot(work, snapshot_max);
        if (rc == 0)
            rc = choose_walk(work);
        if (rc == 0) {
            work->walk_from = work->walk_from < walk_to ? work->walk_from : walk_to;
            rc = walk_segments(work, &again, recovered);
        }
        if (rc != 0 || recovered->offline)
            return rc;
        if (work->replay_from > work->end)
            snapshot_max = work->replay_from - 1;
        else if (again)
            walk_to = work->tail;
        else
            break;
    }
    if (work->count == 0)
        return choose_snapshot(work, work->end);
    const struct mr_segment_scan_result *result = &work->segment[work->tail].result;
    if (work->tail == 0 && result->stop == MR_SEGMENT_BAD_SIDECAR_HEADER) /* created, and nothing in it was ever durable */
        work->tail = work->count;
    if (work->end < work->log_start) { /* records of a `leader` topic were deleted that had not become durable; offsets are not used twice */
        work->is_emptied = true;
        work->end = work->log_start;
    }
    return 0;
}

static void release(struct work *work)
{
    for (uint32_t i = 0; i < work->count; i++) {
        struct mr_view *view[2] = {&work->segment[i].data, &work->segment[i].side};
        for (uint32_t v = 0; v < 2; v++) {
            if (view[v]->file >= 0)
                (void)mr_disk_close(work->recovery->disk, view[v]->file);
            mr_view_release(view[v]);
        }
    }
    mr_producer_table_release(&work->producers);
    free(work->segment);
    free(work->gone);
    free(work->snapshot);
}

int mr_recovery_partition(struct mr_recovery *recovery, const char *partition_path, const struct mr_uuid *topic_id, uint32_t partition,
                          uint64_t expected_end, struct mr_log_recovered *recovered, struct millrace_error *err)
{
    const char *slash = strrchr(partition_path, '/');
    struct work work = {.recovery = recovery, .path = partition_path, .name = slash == NULL ? partition_path : slash + 1,
                        .topic_id = *topic_id, .partition = partition, .end_min = expected_end};
    const struct mr_checkpoint_partition *known = mr_checkpoint_find(&recovery->known, work.name, topic_id);
    if (known != NULL)
        work.known = *known;
    memset(recovered, 0, sizeof *recovered);
    if (err != NULL)
        err->code = 0;
    choose_entries(&work);

    const struct mr_journal_image *suspect = suspect_journal(&work);
    int rc = 0;
    if (suspect != NULL) {
        mr_recover_say(recovery, MR_RECOVER_ERROR, "%s is offline, nothing of it was changed: the journal '%s/%s' is damaged and may have held "
                       "its newest records: run 'millrace log verify %s'", partition_path, recovery->directory, suspect->name, partition_path);
        recovered->offline = true;
    } else {
        rc = collect(&work, err);
        if (rc == 0)
            rc = walk(&work, recovered);
        if (rc == 0 && !recovered->offline && work.end < work.end_min) {
            mr_recover_say(recovery, MR_RECOVER_ERROR, "%s is offline, nothing of it was changed: its files end at offset %" PRIu64 ", but "
                           "records up to %" PRIu64 " were durable: run 'millrace log verify %s'", partition_path, work.end, work.end_min,
                           partition_path);
            recovered->offline = true;
        }
        if (rc == 0 && !recovered->offline)
            rc = settle(&work, err);
        if (rc == 0 && !recovered->offline)
            rc = fill_in(&work, recovered);
    }
    if (recovered->offline && rc == 0)
        rc = mr_recovery_keep(recovery, topic_id, partition);
    release(&work);
    if (rc == -ENOMEM)
        return mr_err(err, ENOMEM, "no memory to recover '%s'", partition_path);
    if (rc != 0 && (err == NULL || err->code == 0))
        return mr_err(err, -rc, "recovering '%s' failed: %s", partition_path, strerror(-rc));
    return rc;
}
