/* SPDX-License-Identifier: Apache-2.0 */
/* A log directory written by hand, as the core would have left it: segments in memory, chosen parts of them in files and journals of a
 * simulated disk. For recovery tests that need to know each byte. Shares no code with the log core. */
#ifndef TESTS_HAND_LOG_H
#define TESTS_HAND_LOG_H

#include <stdio.h>
#include <string.h>

#include "dataplane/log/journal.h"
#include "dataplane/log/recover.h"
#include "drivers/disk/sim.h"
#include "shm/base/crc32c.h"
#include "shm/segment/segment.h"

#define HAND_STREAM_BYTES  (64u << 10)
#define HAND_JOURNAL_BYTES (64u << 10)
#define HAND_DIRECTORY     "/d"
#define HAND_PARTITION     "/d/t-0"

static const struct mr_uuid hand_topic = {{9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 1, 2, 3, 4, 5, 6}};

struct hand_segment {
    uint64_t base_offset, next_offset;
    uint32_t salt, chain;
    uint64_t data_end, side_end;
    uint8_t data[HAND_STREAM_BYTES], side[HAND_STREAM_BYTES];
};

struct hand_journal {
    uint64_t salt, lsn, floor_lsn, durable_lsn, skipped;
    char path[64];
    uint8_t commit[16u << 10]; /* being built */
    uint32_t used, entries;
};

struct hand_log {
    struct mr_sim_disk_machine *machine;
    struct mr_disk *disk;
    uint32_t generation; /* of the lineage */
    int64_t producer_id;
    int32_t sequence;
    char said[16][1600];
    uint32_t said_count;
};

static inline void hand_say(void *context, int level, const char *line)
{
    struct hand_log *log = context;
    if (log->said_count < 16)
        snprintf(log->said[log->said_count++], sizeof log->said[0], "%d %s", level, line);
}

static inline bool hand_was_said(const struct hand_log *log, const char *part)
{
    for (uint32_t i = 0; i < log->said_count; i++)
        if (strstr(log->said[i], part) != NULL)
            return true;
    return false;
}

static inline void hand_init(struct hand_log *log)
{
    memset(log, 0, sizeof *log);
    log->machine = mr_sim_disk_machine_open(NULL);
    log->disk = mr_sim_disk_open(log->machine);
    log->producer_id = 7;
    mr_assert(mr_disk_make_directory(log->disk, HAND_DIRECTORY) == 0);
    mr_assert(mr_disk_make_directory(log->disk, HAND_PARTITION) == 0);
}

static inline void hand_release(struct hand_log *log)
{
    mr_sim_disk_machine_close(log->machine);
}

static inline void hand_segment_init(struct hand_segment *segment, uint64_t base_offset, uint32_t salt)
{
    memset(segment, 0, sizeof *segment);
    segment->base_offset = segment->next_offset = base_offset;
    segment->salt = segment->chain = salt;
    mr_sidecar_header_encode(segment->side, salt, &hand_topic, 0, base_offset);
    segment->side_end = MR_SIDECAR_HEADER_BYTES;
}

/** One batch of `records` values of `bytes` bytes that tell their offset. */
static inline void hand_append(struct hand_log *log, struct hand_segment *segment, uint32_t records, uint32_t bytes)
{
    uint8_t value[4096], *at = segment->data + segment->data_end;
    struct mr_batch_writer w;
    mr_batch_open(&w, at, HAND_STREAM_BYTES - segment->data_end, log->producer_id, 0, log->sequence, (int64_t)segment->next_offset, 1);
    for (uint32_t i = 0; i < records; i++) {
        memset(value, (int)(segment->next_offset + i), sizeof value);
        mr_assert(bytes <= sizeof value && mr_batch_add_value(&w, 1000 + (int64_t)segment->next_offset + i, value, bytes));
    }
    uint32_t total = mr_batch_close(&w);
    struct mr_sidecar_entry entry = mr_sidecar_entry_next(segment->chain, (uint32_t)segment->data_end, at, segment->base_offset);
    memcpy(segment->side + segment->side_end, &entry, sizeof entry);
    segment->side_end += sizeof entry;
    segment->chain = entry.chain;
    segment->data_end += total;
    segment->next_offset += records;
    log->sequence = (int32_t)(((uint32_t)log->sequence + records) & INT32_MAX);
}

static inline void hand_write_file(struct hand_log *log, const char *path, const void *bytes, uint64_t count, uint64_t position)
{
    int file = mr_disk_open(log->disk, path, MR_DISK_CREATE, NULL);
    mr_assert(file >= 0 && mr_disk_write(log->disk, file, bytes, count, position) == (int64_t)count);
    mr_assert(mr_disk_sync(log->disk, file) == 0 && mr_disk_close(log->disk, file) == 0);
}

/** Bring both streams in place up to the given ends, in files of `allocated` bytes. */
static inline void hand_in_place(struct hand_log *log, const struct hand_segment *segment, uint64_t data_end, uint64_t side_end,
                                 uint64_t allocated)
{
    static const uint8_t zeros[HAND_STREAM_BYTES];
    char path[128];
    snprintf(path, sizeof path, HAND_PARTITION "/%020llu.log", (unsigned long long)segment->base_offset);
    hand_write_file(log, path, zeros, allocated, 0);
    hand_write_file(log, path, segment->data, data_end, 0);
    snprintf(path, sizeof path, HAND_PARTITION "/%020llu.sidecar", (unsigned long long)segment->base_offset);
    hand_write_file(log, path, zeros, allocated == 0 ? side_end : mr_max_u64(allocated / 16, side_end), 0);
    hand_write_file(log, path, segment->side, side_end, 0);
}

static inline void hand_journal_open(struct hand_log *log, struct hand_journal *journal, uint32_t reactor, uint64_t generation, uint64_t salt)
{
    struct mr_log_journal made;
    struct millrace_error err;
    memset(journal, 0, sizeof *journal);
    mr_assert(mr_journal_create(log->disk, HAND_DIRECTORY, reactor, generation, HAND_JOURNAL_BYTES, salt, &made, &err) == 0);
    mr_assert(mr_disk_close(log->disk, made.file) == 0);
    journal->salt = salt;
    snprintf(journal->path, sizeof journal->path, HAND_DIRECTORY "/journal-%u.%llu", reactor, (unsigned long long)generation);
    journal->used = sizeof(struct mr_journal_commit);
}

static inline struct mr_journal_entry hand_entry(const struct hand_log *log, const struct hand_segment *segment)
{
    return (struct mr_journal_entry){.topic_id = hand_topic, .generation = log->generation, .segment_base_offset = segment->base_offset,
                                     .segment_salt = segment->salt, .data_position = (uint32_t)segment->data_end,
                                     .side_position = (uint32_t)segment->side_end, .mark_segment = segment->base_offset};
}

static inline void hand_put_entry(struct hand_journal *journal, const struct mr_journal_entry *entry, const uint8_t *data, const uint8_t *side)
{
    uint64_t bytes = mr_journal_entry_bytes(entry->data_bytes, entry->side_bytes);
    uint8_t *at = journal->commit + journal->used;
    mr_assert(journal->used + bytes <= sizeof journal->commit);
    memset(at, 0, bytes);
    memcpy(at, entry, sizeof *entry);
    if (data != NULL)
        memcpy(at + sizeof *entry, data, entry->data_bytes);
    if (side != NULL)
        memcpy(at + sizeof *entry + entry->data_bytes, side, entry->side_bytes);
    journal->used += (uint32_t)bytes;
    journal->entries++;
}

/** Both streams of a segment from the given positions to their ends; the mark says that all below `mark_offset` was durable before. */
static inline void hand_put(struct hand_log *log, struct hand_journal *journal, const struct hand_segment *segment, uint64_t data_from,
                            uint64_t side_from, uint64_t mark_offset)
{
    struct mr_journal_entry entry = hand_entry(log, segment);
    entry.data_position = (uint32_t)data_from;
    entry.data_bytes = (uint32_t)(segment->data_end - data_from);
    entry.side_position = (uint32_t)side_from;
    entry.side_bytes = (uint32_t)(segment->side_end - side_from);
    entry.mark_offset = mark_offset;
    hand_put_entry(journal, &entry, segment->data + data_from, segment->side + side_from);
}

/** Write the commit. @param whole false: it goes lost. @return its lsn */
static inline uint64_t hand_commit(struct hand_log *log, struct hand_journal *journal, bool whole)
{
    struct mr_journal_commit header = {.magic = MR_JOURNAL_COMMIT_MAGIC, .salt = journal->salt, .used_bytes = journal->used,
                                       .bytes = (uint32_t)mr_align_up(journal->used, MR_BLOCK_BYTES), .entry_count = journal->entries,
                                       .floor_lsn = journal->floor_lsn};
    uint64_t area = HAND_JOURNAL_BYTES - MR_BLOCK_BYTES, left = area - journal->lsn % area;
    if (header.bytes > left) {
        header.skipped_bytes = (uint32_t)left;
        journal->lsn += left;
    }
    header.lsn = journal->lsn;
    header.durable_lsn = mr_min_u64(journal->durable_lsn, journal->lsn);
    memcpy(journal->commit, &header, sizeof header);
    header.crc = mr_crc32c(0, journal->commit, journal->used);
    memcpy(journal->commit, &header, sizeof header);
    if (whole)
        hand_write_file(log, journal->path, journal->commit, header.bytes, mr_journal_file_position(header.lsn, HAND_JOURNAL_BYTES));
    journal->lsn += header.bytes;
    memset(journal->commit, 0, sizeof journal->commit);
    journal->used = sizeof header;
    journal->entries = 0;
    return header.lsn;
}

/** Open and recover the one partition. */
static inline int hand_recover(struct hand_log *log, uint64_t expected_end, struct mr_recovery **recovery, struct mr_log_recovered *recovered)
{
    struct millrace_error err = {0};
    log->said_count = 0;
    int rc = mr_recovery_open(recovery, log->disk, HAND_DIRECTORY, hand_say, log, &err);
    if (rc != 0) {
        hand_say(log, 0, err.text);
        return rc;
    }
    return mr_recovery_partition(*recovery, HAND_PARTITION, &hand_topic, 0, expected_end, recovered, &err);
}

static inline bool hand_is_file(const struct hand_log *log, const struct hand_segment *segment, const char *suffix, const uint8_t *right, uint64_t end)
{
    static const uint8_t zeros[MR_BLOCK_BYTES];
    static uint8_t bytes[HAND_STREAM_BYTES];
    char path[128];
    snprintf(path, sizeof path, HAND_PARTITION "/%020llu.%s", (unsigned long long)segment->base_offset, suffix);
    int64_t size = mr_sim_disk_size_path(log->machine, path);
    if (size < (int64_t)end || size > (int64_t)mr_align_up(end, MR_BLOCK_BYTES) ||
        mr_sim_disk_read_durable(log->machine, path, bytes, (size_t)size, 0) != size)
        return false;
    return memcmp(bytes, right, end) == 0 && memcmp(bytes + end, zeros, (size_t)size - end) == 0;
}

/** Are the files of a segment these first bytes of it, and zeros to the end of the block at most? */
static inline bool hand_is_in_place(const struct hand_log *log, const struct hand_segment *segment, uint64_t data_end, uint64_t side_end)
{
    return hand_is_file(log, segment, "log", segment->data, data_end) && hand_is_file(log, segment, "sidecar", segment->side, side_end);
}

#endif
