/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of recovery share. Nobody else includes this.
 *
 *   journal_scan.c  files -> commits -> entries, each with "was it certainly durable"        checkpoint.c  the two text files
 *   overlay.c       file + entries = the view of a stream                                    judge.c       walk a segment, judge what is bad
 *   settle.c        make the files what the view says                                        producers.c   R16 state from snapshot and walk
 *   partition.c     the order of things for a partition                                      recover.c     and for a directory
 *   adopt.c         memory instead of files
 *   create.c        journal files for the next start                                         segments.c    the closed segments, for adoption
 *
 * All memory that outlives a call hangs on struct mr_recovery and goes with mr_recovery_close(). */
#ifndef MR_DATAPLANE_LOG_RECOVER_INTERNAL_H
#define MR_DATAPLANE_LOG_RECOVER_INTERNAL_H

#include "dataplane/log/journal.h"
#include "dataplane/log/recover.h"
#include "shm/segment/segment.h"

#define MR_RECOVER_PATH_MAX 1024u

/* D6: valid data further behind a bad spot than all commits that can have been in flight is no torn tail. Production's commit_bytes_max. */
#define MR_RECOVER_WINDOW_BYTES ((uint64_t)MR_LOG_COMMITS_MAX * (4u << 20))

#ifdef MR_MUTANTS /* tests only: rules that are switched off, to see that the tests notice */
extern int mr_recover_mutant;
#define MUTANT(number) (mr_recover_mutant == (number))
#else
#define MUTANT(number) false
#endif
enum { MUTANT_CUTS_AT_FIRST_BAD_CRC = 1, MUTANT_IGNORES_SIDE_STREAMS = 2 };

enum mr_recover_level {
    MR_RECOVER_ERROR = 0,
    MR_RECOVER_WARNING = 1,
    MR_RECOVER_INFO = 2,
};

/** One journal file. Its bytes stay in memory: entries point into them. */
struct mr_journal_image {
    char name[64];
    uint64_t generation; /* as its name says when the header is damaged */
    uint64_t salt;
    uint64_t bytes;
    uint8_t *memory;
    uint64_t durable_lsn; /* greatest that a commit vouches for */
    uint64_t lost_lsn;    /* commits that were durable are gone: end of the last such hole; UINT64_MAX: all may be; 0: none */
};

/** One entry of one valid commit. */
struct mr_entry {
    const struct mr_journal_entry *at;
    const uint8_t *data, *side;
    uint64_t file_generation;
    uint64_t lsn;
    uint32_t image;
    bool durable; /* its commit group had completed when a later commit was built */
};

/** What checkpoint and clean-shutdown say of a partition. */
struct mr_checkpoint_partition {
    char name[256];
    struct mr_uuid topic_id;
    uint32_t generation;
    uint64_t journal_generation; /* journals up to this one hold nothing that counts for it */
    uint64_t log_start, next_offset;
    bool clean;                  /* from a clean stop after which nobody wrote */
};

struct mr_checkpoint {
    uint64_t generation; /* of the greatest journal when it was written */
    struct mr_checkpoint_partition *partition;
    uint32_t count, room;
    uint32_t *table, table_room; /* by topic id and name: index + 1, 0: free; open addressing, at most half full */
    uint64_t compared;           /* partitions that lookups have looked at */
};

struct mr_offline {
    struct mr_uuid topic_id;
    uint32_t partition;
};

struct mr_keep { /* memory that lives until close */
    struct mr_keep *next;
};

struct mr_recovery {
    struct mr_disk *disk;
    char directory[MR_RECOVER_PATH_MAX];
    mr_recovery_say *say;
    void *context;
    struct mr_journal_image *image;
    uint32_t image_count;
    struct mr_entry *entry; /* by topic id, partition, file generation, lsn */
    uint32_t entry_count, entry_room;
    uint64_t generation;
    struct mr_checkpoint known;   /* both files, merged */
    struct mr_checkpoint settled; /* what this recovery will write */
    struct mr_offline *offline;
    uint32_t offline_count, offline_room;
    bool is_checkpointed;
    struct mr_keep *keep;
};

/** printf to the caller's mr_recovery_say. */
void mr_recover_say(const struct mr_recovery *recovery, enum mr_recover_level level, const char *format, ...) MR_PRINTF(3, 4);

/** Zeroed memory until close. NULL without memory. */
void *mr_recover_keep(struct mr_recovery *recovery, size_t bytes);

/** Grow an array by doubling. @return 0; -ENOMEM */
int mr_recover_grow(void **array, uint32_t count, uint32_t *room, size_t each_bytes) MR_MUST_USE;

/** Read as much as there is, up to bytes. @return 0, got set; -EIO */
int mr_recover_read(struct mr_disk *disk, int file, void *buffer, uint64_t bytes, uint64_t position, uint64_t *got) MR_MUST_USE;

/** Read a whole file. @param bytes set. @return malloc'd memory with a zero behind, NULL with *rc -ENOENT, -EIO, -ENOMEM */
uint8_t *mr_recover_read_file(struct mr_disk *disk, const char *path, uint64_t *bytes, int *rc);

/** D8: temporary file, sync, rename, sync directory. */
int mr_recover_replace_file(struct mr_disk *disk, const char *directory, const char *name, const void *content, size_t bytes,
                            struct millrace_error *err) MR_MUST_USE;

/* journal_scan.c */

/** Greatest generation among `journal-R.G` names. @return 0; -EIO */
int mr_journal_generation(struct mr_disk *disk, const char *directory, uint64_t *generation, struct millrace_error *err) MR_MUST_USE;

/** Read every journal of the directory and fill image, entry and generation. @return 0; -EIO, -ENOMEM */
int mr_journal_scan(struct mr_recovery *recovery, struct millrace_error *err) MR_MUST_USE;

/** Entries of one commit whose CRC holds. Pure. @return how many, or -1: they do not add up. each may be NULL */
int mr_journal_entries(const uint8_t *commit, void (*each)(void *context, const struct mr_journal_entry *entry, const uint8_t *data,
                       const uint8_t *side), void *context);

/** Is a commit of this salt and lsn here, whole? Pure; bytes: from here to the end of the file. */
bool mr_journal_commit_is_whole(const uint8_t *at, uint64_t bytes, uint64_t salt, uint64_t lsn);

/** Undo one flipped bit in a commit that must be here. Pure but for the memory given. @return whether it is whole now */
bool mr_journal_commit_mend(uint8_t *at, uint64_t bytes, uint64_t salt, uint64_t lsn);

/** The entries of one partition. @return the first; count set */
const struct mr_entry *mr_journal_find(const struct mr_recovery *recovery, const struct mr_uuid *topic_id, uint32_t partition, uint32_t *count);

/* checkpoint.c */

/** Parse one file's text (two copies). Pure. @return 0; -EBADMSG (both copies damaged); -ENOMEM. @param mended set: one copy is damaged */
int mr_checkpoint_parse(const char *text, size_t bytes, struct mr_checkpoint *checkpoint, bool *mended) MR_MUST_USE;
/** @return malloc'd text, NULL without memory */
char *mr_checkpoint_format(const struct mr_checkpoint *checkpoint, size_t *bytes);
int mr_checkpoint_load(struct mr_recovery *recovery, struct millrace_error *err) MR_MUST_USE;
const struct mr_checkpoint_partition *mr_checkpoint_find(struct mr_checkpoint *checkpoint, const char *name, const struct mr_uuid *topic_id);
/** Add or replace by (name, topic id). @return 0; -ENOMEM */
int mr_checkpoint_put(struct mr_checkpoint *checkpoint, const struct mr_checkpoint_partition *partition) MR_MUST_USE;
void mr_checkpoint_release(struct mr_checkpoint *checkpoint);

/* overlay.c */

struct mr_overlay_range {
    uint64_t position;
    uint64_t bytes;
    const uint8_t *from; /* given: borrowed */
    uint8_t *memory;     /* in a view: its own */
};

/** One stream of one segment as the journal and the file together have it. */
struct mr_view {
    struct mr_disk *disk;
    int file; /* -1: none */
    uint64_t file_bytes;
    uint64_t bytes; /* of the file and the ranges */
    struct mr_overlay_range *range; /* ascending, apart */
    uint32_t range_count;
};

/** Lay ranges over a file: of those that overlap the later in the array wins. Copies them. @return 0; -ENOMEM */
int mr_view_init(struct mr_view *view, struct mr_disk *disk, int file, uint64_t file_bytes, const struct mr_overlay_range *ranges,
                 uint32_t count) MR_MUST_USE;
/** Read; behind the end are zeros. @return 0; -EIO */
int mr_view_read(const struct mr_view *view, void *buffer, uint64_t bytes, uint64_t position) MR_MUST_USE;
void mr_view_release(struct mr_view *view);

/* judge.c */

struct mr_segment_files { /* one segment of the partition that is being recovered */
    uint64_t base_offset;
    bool has_data, has_side; /* files there */
    bool has_entries, has_cut;
    struct mr_overlay_range cut[2]; /* data, side: what `<base>.cut` holds */
    uint32_t salt;           /* what the entries say, else what the sidecar's header says */
    struct mr_view data, side;
    uint64_t proven_data, proven_side; /* stream positions that a completed commit reached */
    bool walked;
    struct mr_segment_scan_result result; /* of the walk */
    struct mr_log_segment closed;         /* of a closed one that is not walked */
};

/**
 * Walk the batches of a segment from its start, as far as data, side stream and chain agree, and look what is behind.
 * @param epoch_min of the segment before
 * @return 0 with files->result; -EIO; -ENOMEM; or what each returned
 */
int mr_judge_walk(struct mr_segment_files *files, const struct mr_uuid *topic_id, uint32_t partition, int32_t epoch_min,
                  int (*each)(void *context, const struct mr_segment_point *at, const uint8_t *batch), void *context) MR_MUST_USE;

enum mr_verdict {
    MR_VERDICT_CLEAN,     /* D6(a) */
    MR_VERDICT_UNDECIDED, /* D6(b) */
    MR_VERDICT_CORRUPT,   /* D6(c) */
};

/**
 * D6, for the segment in which a walk over all of them ended.
 * @param files      segments, of which `at` is where it ended; those behind are walked by themselves to see what they hold
 * @param end_min    offsets below this are known to be durable
 * @param why        set to static text
 */
int mr_judge_end(struct mr_segment_files *files, uint32_t count, uint32_t at, const struct mr_uuid *topic_id, uint32_t partition,
                 uint64_t end_min, enum mr_verdict *verdict, const char **why) MR_MUST_USE;

/** Is a segment closed in good order: its last sidecar entry and batch end exactly where the file does, at `next_base`? @return 0; -EIO */
int mr_judge_closed(struct mr_segment_files *files, const struct mr_uuid *topic_id, uint32_t partition, uint64_t next_base, bool *is_closed)
    MR_MUST_USE;

/* producers.c */

struct mr_producer_table {
    struct mr_log_producer_state *state;
    uint32_t count, room;
    uint32_t *slot; /* open addressing over `count`; index + 1 */
    uint32_t slot_count;
};

/** Apply one batch header. @return 0; -ENOMEM */
int mr_producer_table_apply(struct mr_producer_table *table, const uint8_t *header) MR_MUST_USE;
int mr_producer_table_put(struct mr_producer_table *table, const struct mr_log_producer_state *state) MR_MUST_USE;
void mr_producer_table_release(struct mr_producer_table *table);

/* cut.c */

/** What `<base>.cut` holds, to be laid over the files. @return 1; 0: none, or not whole; -EIO, -ENOMEM */
int mr_cut_load(struct mr_recovery *recovery, const char *partition_path, uint64_t base_offset, uint32_t *salt, struct mr_overlay_range *data,
                struct mr_overlay_range *side) MR_MUST_USE;

/* settle.c */

struct mr_settled { /* what was brought in place; added to */
    uint64_t bytes;
    uint32_t mended_blocks; /* of blocks that had held something else */
    uint32_t made_segments; /* of which no file was there */
};

/**
 * Bring a walked segment's files to its valid bytes, durably; creates them when missing.
 * @param is_tail the last block keeps its zeros behind the end; others are cut to the byte
 * @return 0; -EIO, -ENOSPC
 */
int mr_settle_segment(struct mr_recovery *recovery, const char *partition_path, struct mr_segment_files *files, bool is_tail,
                      struct mr_settled *settled, struct millrace_error *err) MR_MUST_USE;
/** Remove the files of a segment, snapshot included; not synced. @return 0; -EIO */
int mr_settle_remove(struct mr_recovery *recovery, const char *partition_path, uint64_t base_offset, struct millrace_error *err) MR_MUST_USE;

/** `<path>/<20 digits><suffix>` */
void mr_segment_path(char path[MR_RECOVER_PATH_MAX], const char *partition_path, uint64_t base_offset, const char *suffix);

/* create.c: allocate and write; @return 0 or -errno */
int mr_recover_write_zeros(struct mr_disk *disk, int file, uint64_t bytes);

/* retire.c: rename to spares, sync, wipe. @return 0 or -errno */
int mr_recover_retire_files(struct mr_disk *disk, const char *directory, const char *const *names, uint32_t count);

#endif
