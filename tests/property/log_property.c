/* SPDX-License-Identifier: Apache-2.0 */
/* Random life of a node's logs, with an auditor that knows nothing of how the core decides: it keeps its own copy of every byte appended,
 * sees each write when it is handed to the disk and when it completes, and after each step asks of every byte below the durable end:
 * would it be there if the power went now, and every write in flight came out as garbage? That is I1 and I2 (log.h); with it
 *   - what is written is what was appended, and does not change while the write is in flight
 *   - visible and durable never go back, visible is what the durability level says (I5)
 *   - a segment is deleted only when a completed journal entry has moved log_start past it (I7); marks never promise too much
 * and after each stop, kill and power cut the log is whole and goes on. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dataplane/log/journal.h"
#include "shm/base/atomics.h"
#include "shm/base/crc32c.h"
#include "tests/support/log_world.h"

#define STREAM_MAX   (160u << 10) /* a segment, with a batch that passes its end */
#define SEGMENTS_MAX 4096u
#define FLIGHTS_MAX  1024u
#define COMMITS_MAX  4096u

#define CHECK(condition, ...) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: ", __FILE__, __LINE__); \
            fprintf(stderr, __VA_ARGS__); \
            fprintf(stderr, "\n"); \
            abort(); \
        } \
    } while (0)

struct stream {
    uint64_t end;     /* appended */
    uint64_t durable; /* must be safe */
    uint8_t bytes[STREAM_MAX];
    uint8_t journalled[STREAM_MAX]; /* completed commits that hold the byte */
    uint32_t placed[STREAM_MAX / 4096];  /* bytes of the block that are in place for good */
    uint32_t flying[STREAM_MAX / 4096];  /* in-place writes in flight */
};

struct segment {
    uint32_t partition;
    uint64_t base, next; /* next: 0 while it is the tail */
    struct stream stream[2]; /* data, side */
};

struct batch {
    uint64_t end_offset;
    struct segment *segment;
    uint64_t data_end, side_end;
};

struct range {
    struct segment *segment;
    uint32_t side;
    uint64_t from, to;
};

struct commit { /* a completed one whose place in the journal was not used again */
    int32_t file;
    uint64_t position, bytes;
    uint32_t directory;
    uint32_t start;
    struct range *range;
    uint32_t range_count;
};

struct flight {
    bool used;
    uint32_t reactor, directory;
    struct mr_disk_write write;
    uint32_t crc;
    struct segment *segment; /* in place; NULL: journal */
    uint32_t side;
    uint32_t upto[256]; /* valid bytes, per block */
};

struct model {
    struct segment *segment[SEGMENTS_MAX];
    uint32_t segment_count;
    struct batch *batch[LOG_WORLD_PARTITIONS_MAX];
    uint32_t batch_count[LOG_WORLD_PARTITIONS_MAX], batch_room[LOG_WORLD_PARTITIONS_MAX], batch_durable[LOG_WORLD_PARTITIONS_MAX];
    uint64_t visible[LOG_WORLD_PARTITIONS_MAX], durable[LOG_WORLD_PARTITIONS_MAX], log_start[LOG_WORLD_PARTITIONS_MAX];
    uint64_t logged_start[LOG_WORLD_PARTITIONS_MAX]; /* in completed entries */
    struct commit commit[COMMITS_MAX];
    uint32_t commit_count;
    struct flight flight[FLIGHTS_MAX];
    uint32_t start;
    uint64_t checks;
};

static struct model *model;
struct log_world *volatile world; /* for the debugger */

static struct segment *find_segment(uint32_t partition, uint64_t base)
{
    for (uint32_t i = model->segment_count; i > 0; i--)
        if (model->segment[i - 1]->partition == partition && model->segment[i - 1]->base == base)
            return model->segment[i - 1];
    return NULL;
}

static const struct mr_extent_header *tail_extent(const struct log_world *w, uint32_t partition)
{
    struct mr_head_partition *head = w->partition[partition].head;
    uint64_t sequence = mr_load_relaxed(&head->tail_sequence);
    uint32_t id = mr_load_relaxed(&head->directory[sequence % MR_HEAD_DIRECTORY_COUNT].file_id) & ~MR_EXTENT_FILE_SLOT;
    return w->memory[id].header;
}

/* A batch was appended: keep its bytes. */
static void note_append(const struct log_world *w, uint32_t partition)
{
    struct mr_head_partition *head = w->partition[partition].head;
    uint64_t base = mr_load_relaxed(&head->log_end_segment), end = mr_load_relaxed(&head->log_end_position);
    const struct mr_extent_header *h = tail_extent(w, partition);
    struct segment *s = find_segment(partition, base);

    CHECK(h->segment_base_offset == base, "the tail is of another segment");
    if (s == NULL) {
        if (model->batch_count[partition] > 0)
            model->batch[partition][model->batch_count[partition] - 1].segment->next = base;
        CHECK(model->segment_count < SEGMENTS_MAX, "too many segments");
        s = model->segment[model->segment_count++] = calloc(1, sizeof *s);
        s->partition = partition;
        s->base = base;
        s->stream[1].end = 64;
        memcpy(s->stream[1].bytes, (const uint8_t *)h + h->side_position, 64);
    }
    uint64_t side_end = s->stream[1].end + 16;
    CHECK(end <= STREAM_MAX && side_end <= STREAM_MAX, "stream too long");
    CHECK(end > s->stream[0].end, "nothing was appended");
    CHECK(h->start_position <= s->stream[0].end, "a batch straddles extents");
    memcpy(s->stream[0].bytes + s->stream[0].end, (const uint8_t *)h + h->data_position + (s->stream[0].end - h->window_position), end - s->stream[0].end);
    memcpy(s->stream[1].bytes + s->stream[1].end, (const uint8_t *)h + h->side_position + (s->stream[1].end - h->side_window_position), 16);
    s->stream[0].end = end;
    s->stream[1].end = side_end;
    if (model->batch_count[partition] == model->batch_room[partition]) {
        model->batch_room[partition] = model->batch_room[partition] * 2 + 64;
        model->batch[partition] = realloc(model->batch[partition], model->batch_room[partition] * sizeof *model->batch[partition]);
    }
    model->batch[partition][model->batch_count[partition]++] =
        (struct batch){.end_offset = log_world_end(w, partition), .segment = s, .data_end = end, .side_end = side_end};
}

static void drop_commit(uint32_t index)
{
    struct commit *c = &model->commit[index];

    for (uint32_t i = 0; i < c->range_count; i++)
        for (uint64_t at = c->range[i].from; at < c->range[i].to; at++)
            c->range[i].segment->stream[c->range[i].side].journalled[at]--;
    free(c->range);
    *c = model->commit[--model->commit_count];
}

/* From the moment it is handed over, a write may have destroyed what was there. */
static void watch(void *context, struct log_world *w, uint32_t reactor, const struct mr_log_action *action)
{
    if (action->kind == MR_LOG_ACTION_DELETE_SEGMENT) {
        const struct log_world_partition *p = mr_partition_context(action->partition);
        const struct segment *s = find_segment(p->index, action->base_offset);
        CHECK(s != NULL && s->next != 0 && s->next <= model->logged_start[p->index],
              "I7: segment %" PRIu64 " goes before log_start is durable", action->base_offset);
    }
    if (action->kind != MR_LOG_ACTION_WRITE)
        return;
    const struct mr_disk_write *write = &action->write;
    struct flight *f = NULL;
    for (uint32_t i = 0; i < FLIGHTS_MAX && f == NULL; i++)
        f = model->flight[i].used ? NULL : &model->flight[i];
    CHECK(f != NULL, "too many writes in flight");
    CHECK(write->bytes > 0 && write->bytes <= MR_DISK_WRITE_BYTES_MAX && write->bytes % 4096 == 0 && write->position % 4096 == 0 &&
          (uintptr_t)write->buffer % 4096 == 0 && write->flags == MR_DISK_DURABLE, "a write is not as the driver wants it");
    *f = (struct flight){.used = true, .reactor = reactor, .directory = action->directory, .write = *write};
    f->crc = mr_crc32c(0, write->buffer, write->bytes);
    for (uint32_t i = 0; i < w->file_count; i++) {
        if (w->file[i].file != write->file && w->file[i].side_file != write->file)
            continue;
        f->segment = find_segment(w->file[i].partition, w->file[i].base_offset);
        f->side = w->file[i].side_file == write->file;
    }
    if (f->segment == NULL) {
        for (uint32_t i = 0; i < model->commit_count;) {
            const struct commit *c = &model->commit[i];
            if (c->start == model->start && c->file == write->file && c->position < write->position + write->bytes && write->position < c->position + c->bytes)
                drop_commit(i);
            else
                i++;
        }
        return;
    }
    struct stream *s = &f->segment->stream[f->side];
    for (uint32_t b = 0; b < write->bytes / 4096; b++) {
        uint64_t position = write->position + b * 4096ull;
        uint64_t valid = s->end > position ? s->end - position : 0;
        valid = valid > 4096 ? 4096 : valid;
        const uint8_t *block = (const uint8_t *)write->buffer + b * 4096ull;
        CHECK(valid > 0 && memcmp(block, s->bytes + position, valid) == 0, "partition %u segment %" PRIu64 " side %u: other bytes at %" PRIu64,
              f->segment->partition, f->segment->base, f->side, position);
        for (uint64_t i = valid; i < 4096; i++)
            CHECK(block[i] == 0, "a partial block is not filled with zeros");
        f->upto[b] = (uint32_t)valid;
        s->flying[position / 4096]++;
    }
}

static void read_commit(struct log_world *w, const struct flight *f)
{
    const uint8_t *at = f->write.buffer;
    struct mr_journal_commit header;
    struct commit *c = &model->commit[model->commit_count++];

    CHECK(model->commit_count < COMMITS_MAX, "too many commits");
    memcpy(&header, at, sizeof header);
    CHECK(header.magic == MR_JOURNAL_COMMIT_MAGIC && header.bytes == f->write.bytes && header.used_bytes <= header.bytes, "not a commit");
    CHECK(mr_journal_file_position(header.lsn, w->options.journal_bytes) == f->write.position, "a commit is not at its place");
    CHECK(header.floor_lsn <= header.lsn && header.durable_lsn <= header.lsn, "a commit promises what comes later");
    *c = (struct commit){.file = f->write.file, .position = f->write.position, .bytes = f->write.bytes, .directory = f->directory, .start = model->start};
    c->range = malloc((header.entry_count * 2 + 1) * sizeof *c->range);
    const uint8_t *entry_at = at + sizeof header;
    for (uint32_t i = 0; i < header.entry_count; i++) {
        struct mr_journal_entry entry;
        memcpy(&entry, entry_at, sizeof entry);
        const uint8_t *bytes = entry_at + sizeof entry;
        uint64_t from[2] = {entry.data_position, entry.side_position}, count[2] = {entry.data_bytes, entry.side_bytes};
        struct segment *s = find_segment(entry.partition, entry.segment_base_offset);
        for (uint32_t side = 0; side < 2; bytes += count[side], side++) {
            if (count[side] == 0)
                continue;
            CHECK(s != NULL && from[side] + count[side] <= s->stream[side].end &&
                  memcmp(bytes, s->stream[side].bytes + from[side], count[side]) == 0, "an entry holds other bytes than were appended");
            c->range[c->range_count++] = (struct range){.segment = s, .side = side, .from = from[side], .to = from[side] + count[side]};
            for (uint64_t b = from[side]; b < from[side] + count[side]; b++) {
                CHECK(s->stream[side].journalled[b] < 255, "journalled too often");
                s->stream[side].journalled[b]++;
            }
        }
        uint64_t durable = mr_load_relaxed(&w->partition[entry.partition].head->durable);
        CHECK(entry.mark_offset <= durable, "partition %u: a mark promises %" PRIu64 ", durable is %" PRIu64, entry.partition, entry.mark_offset, durable);
        if (entry.log_start > model->logged_start[entry.partition])
            model->logged_start[entry.partition] = entry.log_start;
        entry_at += mr_journal_entry_bytes(entry.data_bytes, entry.side_bytes);
    }
    CHECK(entry_at == at + header.used_bytes, "entries and used bytes disagree");
}

static void land(struct log_world *w, struct flight *f)
{
    if (f->segment == NULL) {
        read_commit(w, f);
    } else {
        struct stream *s = &f->segment->stream[f->side];
        for (uint32_t b = 0; b < f->write.bytes / 4096; b++) {
            s->flying[f->write.position / 4096 + b]--;
            s->placed[f->write.position / 4096 + b] = f->upto[b];
        }
    }
    f->used = false;
}

static void completed(void *context, struct log_world *w, uint32_t reactor, uint64_t tag, int32_t result)
{
    for (uint32_t i = 0; i < FLIGHTS_MAX; i++) {
        struct flight *f = &model->flight[i];
        if (!f->used || f->reactor != reactor || f->write.tag != tag)
            continue;
        CHECK(mr_crc32c(0, f->write.buffer, f->write.bytes) == f->crc, "a buffer changed while it was written");
        if (result == 0)
            land(w, f);
        return;
    }
    CHECK(false, "a completion of nothing");
}

static void audit_stream(const struct segment *s, uint32_t side, uint64_t to)
{
    const struct stream *stream = &s->stream[side];

    for (uint64_t at = 0; at < to; at++) {
        uint64_t block = at / 4096;
        if (stream->flying[block] == 0 && stream->placed[block] == 4096) {
            at |= 4095;
            continue;
        }
        bool in_place = stream->flying[block] == 0 && at % 4096 < stream->placed[block];
        CHECK(in_place || stream->journalled[at] > 0, "I1/I2: partition %u segment %" PRIu64 " side %u: byte %" PRIu64 " of %" PRIu64
              " would be lost (in place %u, flying %u)", s->partition, s->base, side, at, to, stream->placed[block], stream->flying[block]);
    }
}

static void audit(struct log_world *w)
{
    for (uint32_t d = 0; d < w->options.directories; d++) { /* what was retired no longer counts */
        if (w->recovery[d] != NULL)
            continue;
        for (uint32_t i = 0; i < model->commit_count;) {
            if (model->commit[i].directory == d && model->commit[i].start != model->start)
                drop_commit(i);
            else
                i++;
        }
    }
    for (uint32_t p = 0; p < w->options.partitions; p++) {
        struct mr_head_partition *head = w->partition[p].head;
        uint64_t visible = mr_load_relaxed(&head->visible), durable = mr_load_relaxed(&head->durable), end = mr_load_relaxed(&head->log_end);
        uint64_t log_start = mr_load_relaxed(&head->log_start);
        CHECK(visible >= model->visible[p] && durable >= model->durable[p] && log_start >= model->log_start[p], "partition %u: the head goes back", p);
        CHECK(log_start <= durable && durable <= end && visible == (w->partition[p].durability == MR_DURABILITY_DISK ? durable : end), "I5");
        CHECK(log_start <= model->logged_start[p], "I7: log_start shows before it is durable");
        model->visible[p] = visible;
        model->durable[p] = durable;
        model->log_start[p] = log_start;
        uint32_t *at = &model->batch_durable[p];
        while (*at < model->batch_count[p] && model->batch[p][*at].end_offset <= durable) {
            const struct batch *b = &model->batch[p][(*at)++];
            b->segment->stream[0].durable = b->data_end;
            b->segment->stream[1].durable = b->side_end;
        }
    }
    uint32_t recent[LOG_WORLD_PARTITIONS_MAX] = {0};
    for (uint32_t i = model->segment_count; i > 0; i--) { /* older ones have been in place and closed for long */
        struct segment *s = model->segment[i - 1];
        if (recent[s->partition]++ >= 6 || (s->next != 0 && s->next <= model->log_start[s->partition]))
            continue;
        audit_stream(s, 0, s->stream[0].durable);
        audit_stream(s, 1, s->stream[1].durable);
    }
    model->checks++;
}

/* The daemon starts again. */
static void restart(struct log_world *w)
{
    struct millrace_error err = {0};

    model->start++;
    int rc = log_world_start(w, &err);
    CHECK(rc == 0, "start: %d %s", rc, err.text);
}

static void land_all(struct log_world *w)
{
    for (uint32_t i = 0; i < FLIGHTS_MAX; i++)
        if (model->flight[i].used)
            land(w, &model->flight[i]);
}

/* All of it lies in place. */
static void settle_segment(struct segment *s)
{
    for (uint32_t side = 0; side < 2; side++) {
        struct stream *stream = &s->stream[side];
        memset(stream->flying, 0, sizeof stream->flying);
        memset(stream->placed, 0, sizeof stream->placed);
        for (uint64_t b = 0; b * 4096 < stream->end; b++)
            stream->placed[b] = (uint32_t)(stream->end - b * 4096 < 4096 ? stream->end - b * 4096 : 4096);
        stream->durable = stream->end;
    }
}

/* After a recovery from disk: the model forgets what was lost, and all that is left lies in place. */
static void take_recovered(struct log_world *w)
{
    for (uint32_t i = 0; i < FLIGHTS_MAX; i++)
        model->flight[i].used = false;
    while (model->commit_count > 0)
        drop_commit(model->commit_count - 1);
    for (uint32_t p = 0; p < w->options.partitions; p++) {
        uint64_t end = log_world_end(w, p);
        CHECK(!w->partition[p].is_offline, "partition %u is offline", p);
        CHECK(end >= model->durable[p], "partition %u: recovered to %" PRIu64 ", durable was %" PRIu64, p, end, model->durable[p]);
        while (model->batch_count[p] > 0 && model->batch[p][model->batch_count[p] - 1].end_offset > end) {
            const struct batch *b = &model->batch[p][--model->batch_count[p]];
            bool first = model->batch_count[p] == 0 || b[-1].segment != b->segment;
            b->segment->stream[0].end = first ? 0 : b[-1].data_end;
            b->segment->stream[1].end = first ? 0 : b[-1].side_end;
        }
        CHECK(end == (model->batch_count[p] > 0 ? model->batch[p][model->batch_count[p] - 1].end_offset : 0), "recovered to the middle of a batch");
        model->batch_durable[p] = model->batch_count[p];
        model->durable[p] = end;
        model->visible[p] = end;
        CHECK(mr_load_relaxed(&w->partition[p].head->log_start) >= model->log_start[p], "log_start went back");
        model->logged_start[p] = mr_load_relaxed(&w->partition[p].head->log_start);
        model->log_start[p] = model->logged_start[p];
    }
    for (uint32_t i = 0; i < model->segment_count;) {
        struct segment *s = model->segment[i];
        if (s->stream[0].end == 0) { /* gone */
            free(s);
            memmove(&model->segment[i], &model->segment[i + 1], (--model->segment_count - i) * sizeof model->segment[0]);
            continue;
        }
        bool tail = model->batch[s->partition][model->batch_count[s->partition] - 1].segment == s;
        if (tail)
            s->next = 0;
        settle_segment(s);
        i++;
    }
}

static void kill_and_adopt(struct log_world *w)
{
    uint64_t end[LOG_WORLD_PARTITIONS_MAX];

    for (uint32_t p = 0; p < w->options.partitions; p++)
        end[p] = log_world_end(w, p);
    /* What was handed to the disk completes; what waited for room in its queue never began. */
    for (uint32_t r = 0; r < w->options.reactors; r++) {
        for (uint32_t i = 0; i < w->reactor[r].write_count; i++) {
            for (uint32_t k = 0; k < FLIGHTS_MAX; k++) {
                struct flight *f = &model->flight[k];
                if (!f->used || f->reactor != r || f->write.tag != w->reactor[r].write[i].tag)
                    continue;
                for (uint32_t b = 0; f->segment != NULL && b < f->write.bytes / 4096; b++)
                    f->segment->stream[f->side].flying[f->write.position / 4096 + b]--;
                f->used = false;
            }
        }
    }
    land_all(w);
    mr_sim_disk_set_capacity(w->machine, 0); /* a start needs some space */
    log_world_kill(w);
    restart(w);
    for (uint32_t p = 0; p < w->options.partitions; p++) {
        CHECK(log_world_end(w, p) == end[p], "partition %u: adopted to %" PRIu64 ", the end was %" PRIu64, p, log_world_end(w, p), end[p]);
        if (!w->partition[p].was_adopted) /* it had nothing in memory: recovery has settled it */
            for (uint32_t i = 0; i < model->segment_count; i++)
                if (model->segment[i]->partition == p)
                    settle_segment(model->segment[i]);
        log_world_check_memory(w, p);
    }
}

static void stop_and_check(struct log_world *w)
{
    uint64_t end[LOG_WORLD_PARTITIONS_MAX], files_end;

    w->hold_frees = false;
    mr_sim_disk_set_capacity(w->machine, 0);
    for (uint32_t p = 0; p < w->options.partitions; p++)
        end[p] = log_world_end(w, p);
    uint64_t step_ns = w->options.step_ns;
    w->options.step_ns = 1000000; /* past every retry */
    CHECK(log_world_stop(w, 30000), "it does not drain");
    w->options.step_ns = step_ns;
    for (uint32_t p = 0; p < w->options.partitions; p++) {
        log_world_check_files(w, p, &files_end);
        CHECK(files_end == end[p], "partition %u: the files end at %" PRIu64 ", the log at %" PRIu64, p, files_end, end[p]);
    }
    for (uint32_t p = 0; p < w->options.partitions; p++)
        model->durable[p] = model->visible[p] = end[p];
    restart(w);
    while (model->commit_count > 0)
        drop_commit(model->commit_count - 1);
    take_recovered(w);
}

static void talk(void *context, int level, const char *line)
{
    fprintf(stderr, "%d %s\n", level, line);
}

static void life(uint64_t seed, uint32_t steps)
{
    struct log_world_options options;
    struct mr_random random;

    model = calloc(1, sizeof *model);
    mr_random_init(&random, seed, 5);
    log_world_options_init(&options);
    options.seed = seed;
    options.reactors = 1 + (uint32_t)mr_random_below(&random, 2);
    options.directories = 1 + (uint32_t)mr_random_below(&random, 2);
    options.partitions = 1 + (uint32_t)mr_random_below(&random, mr_random_chance(&random, 1, 3) ? 60 : 8);
    options.journal_bytes = 4096 * (33 + mr_random_below(&random, 90));
    options.staging_bytes = 4096 * (8 + mr_random_below(&random, 40));
    options.segment_bytes = 4096 * (4 + mr_random_below(&random, 20)) + mr_random_below(&random, 4096);
    options.retention_bytes = mr_random_chance(&random, 1, 2) ? UINT64_MAX : options.segment_bytes * (1 + mr_random_below(&random, 4));
    options.batch_bytes_max = 1000 + (uint32_t)mr_random_below(&random, 12000);
    options.slot_bytes = 4096 * (4 + (uint32_t)mr_random_below(&random, 5));
    options.extent_bytes = 4096 * (10 + (uint32_t)mr_random_below(&random, 20));
    options.memory_max = mr_random_chance(&random, 1, 2) ? 4000 : options.partitions * 3;
    options.answer_steps_max = (uint32_t)mr_random_below(&random, 40);
    options.files_max = mr_random_chance(&random, 1, 2) ? 0 : 1 + (uint32_t)mr_random_below(&random, 4);
    options.refuse_percent = mr_random_chance(&random, 1, 2) ? 0 : (uint32_t)mr_random_below(&random, 50);
    options.step_ns = 1000 << mr_random_below(&random, 16);
    options.disk.delay_polls_max = (uint32_t)mr_random_below(&random, 30);
    options.disk.depth = 4 + (uint32_t)mr_random_below(&random, 60);
    struct log_world *w = world = log_world_open(&options);
    for (uint32_t p = 0; p < options.partitions; p++)
        w->partition[p].durability = mr_random_chance(&random, 1, 2) ? MR_DURABILITY_DISK : MR_DURABILITY_LEADER;
    w->watch = watch;
    w->completed = completed;
    w->said = getenv("MR_TALK") != NULL ? talk : NULL;
    restart(w);
    for (uint32_t i = 0; i < steps; i++) {
        uint32_t p = (uint32_t)mr_random_below(&random, options.partitions);
        uint64_t dice = mr_random_below(&random, 1000);
        if (dice < 700) {
            uint32_t value_bytes = mr_random_chance(&random, 1, 10) ? (uint32_t)mr_random_below(&random, options.batch_bytes_max)
                                                                    : (uint32_t)mr_random_below(&random, 300);
            int rc = log_world_append(w, p, 1 + (uint32_t)mr_random_below(&random, 20), value_bytes);
            CHECK(rc > 0 || rc == -EAGAIN || rc == -ENOSPC || (rc == -EMSGSIZE && value_bytes + 77 > mr_min_u64(options.batch_bytes_max,
                  options.extent_bytes / 2)), "append: %d", rc);
            if (rc > 0)
                note_append(w, p);
        } else if (dice < 720) {
            uint64_t limit = w->partition[p].durability == MR_DURABILITY_DISK ? model->durable[p] : log_world_end(w, p);
            if (log_world_durable(w, p) > 0 && limit > 0)
                (void)!mr_partition_trim(w->partition[p].log, mr_random_below(&random, log_world_durable(w, p) + 1));
        } else if (dice < 722) {
            w->hold_frees = !w->hold_frees;
        } else if (dice < 724) {
            mr_sim_disk_set_capacity(w->machine, mr_random_chance(&random, 1, 2) ? 1 : 0);
        } else if (dice < 726) {
            w->now_ns += mr_random_below(&random, 3000000000ull); /* idle for long */
        } else if (dice == 726) {
            kill_and_adopt(w);
        } else if (dice == 727 && mr_random_chance(&random, 1, 2)) {
            mr_sim_disk_set_capacity(w->machine, 0);
            log_world_power_cut(w);
            restart(w);
            take_recovered(w);
        } else if (dice == 728 && mr_random_chance(&random, 1, 2)) {
            stop_and_check(w);
        }
        if (!mr_random_chance(&random, 1, 4)) {
            log_world_step(w);
            audit(w);
        }
    }
    mr_sim_disk_set_capacity(w->machine, 0);
    w->hold_frees = false;
    w->options.refuse_percent = 0;
    w->options.step_ns = 50000000; /* past every retry */
    CHECK(log_world_settle(w, 20000), "it does not come to rest");
    audit(w);
    for (uint32_t p = 0; p < options.partitions; p++)
        CHECK(model->durable[p] == log_world_end(w, p), "partition %u: at rest, but not durable", p);
    stop_and_check(w);
    log_world_close(w);
    for (uint32_t i = 0; i < model->segment_count; i++)
        free(model->segment[i]);
    for (uint32_t p = 0; p < LOG_WORLD_PARTITIONS_MAX; p++)
        free(model->batch[p]);
    while (model->commit_count > 0)
        free(model->commit[--model->commit_count].range);
    free(model);
}

int main(int argc, char **argv)
{
    const char *text = getenv("MR_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 0) : (uint64_t)time(NULL) * 1000003u;
    uint32_t lives = argc > 1 ? (uint32_t)atoi(argv[1]) : 20;

    for (uint32_t i = 0; i < (text != NULL ? 1 : lives); i++) {
        printf("MR_SEED=%" PRIu64 "\n", seed + i);
        fflush(stdout);
        life(seed + i, 3000);
    }
    return 0;
}
