/* SPDX-License-Identifier: Apache-2.0 */
/* From journal files to entries.
 *
 * A file is scanned block by block: whatever commit is whole at its place counts, also one of the round before that was not overwritten
 * yet, since entries of one stream agree wherever they overlap. Then the newest commit tells which of those before it had completed:
 * a hole among them is not a torn write. One flipped bit there is undone with the help of the CRC; more is loss, and every partition
 * that no later entry vouches for must be suspected (mr_journal_image.lost_lsn). */
#include "dataplane/log/recover/recover_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/base/crc32c.h"

#define CRC_POLYNOMIAL 0x82f63b78u /* Castagnoli, reflected */

struct found_commit {
    uint64_t lsn, end_lsn;
    uint64_t position; /* in the file */
};

struct found_commits {
    struct found_commit *commit;
    uint32_t count, room;
};

static uint32_t commit_crc(const uint8_t *at, const struct mr_journal_commit *header)
{
    struct mr_journal_commit copy = *header;
    copy.crc = 0;
    uint32_t crc = mr_crc32c(0, &copy, sizeof copy);
    return mr_crc32c(crc, at + sizeof copy, header->used_bytes - sizeof copy);
}

static bool sizes_are_sane(const struct mr_journal_commit *header, uint64_t bytes)
{
    return header->bytes != 0 && header->bytes % MR_BLOCK_BYTES == 0 && header->bytes <= bytes && header->used_bytes >= sizeof *header &&
           header->used_bytes <= header->bytes;
}

bool mr_journal_commit_is_whole(const uint8_t *at, uint64_t bytes, uint64_t salt, uint64_t lsn)
{
    struct mr_journal_commit header;
    if (bytes < sizeof header)
        return false;
    memcpy(&header, at, sizeof header);
    return header.magic == MR_JOURNAL_COMMIT_MAGIC && header.salt == salt && header.lsn == lsn && sizes_are_sane(&header, bytes) &&
           header.crc == commit_crc(at, &header);
}

/** Which single bit of a range makes this difference to its CRC? Bits are counted from the last: 8 * distance + (7 - bit). */
static bool find_flipped_bit(uint32_t difference, uint64_t bytes, uint64_t *from_end)
{
    uint32_t state = CRC_POLYNOMIAL;
    for (uint64_t i = 0; i < bytes * 8; i++) { /* bound: one commit, some ms for a MiB */
        if (state == difference) {
            *from_end = i;
            return true;
        }
        state = (state >> 1) ^ ((state & 1) != 0 ? CRC_POLYNOMIAL : 0);
    }
    return false;
}

static bool mend_content(uint8_t *at, uint64_t bytes, uint64_t salt, uint64_t lsn)
{
    struct mr_journal_commit header;
    memcpy(&header, at, sizeof header);
    if (header.used_bytes < sizeof header || header.used_bytes > bytes)
        return false;
    uint32_t difference = header.crc ^ commit_crc(at, &header);
    if (__builtin_popcount(difference) == 1) { /* the CRC itself */
        header.crc ^= difference;
        memcpy(at, &header, sizeof header);
        return mr_journal_commit_is_whole(at, bytes, salt, lsn);
    }
    uint64_t from_end;
    if (!find_flipped_bit(difference, header.used_bytes, &from_end))
        return false;
    uint64_t byte = header.used_bytes - 1 - from_end / 8;
    uint8_t bit = (uint8_t)(1u << (7 - from_end % 8));
    at[byte] ^= bit;
    if (mr_journal_commit_is_whole(at, bytes, salt, lsn))
        return true;
    at[byte] ^= bit;
    return false;
}

bool mr_journal_commit_mend(uint8_t *at, uint64_t bytes, uint64_t salt, uint64_t lsn)
{
    struct mr_journal_commit header, saved;
    if (bytes < sizeof header)
        return false;
    memcpy(&saved, at, sizeof saved);
    if (mend_content(at, bytes, salt, lsn)) /* undoes also what is_whole() compares: magic, salt, lsn lie under the CRC */
        return true;
    for (uint32_t bit = 0; bit < 32; bit++) { /* a wrong length hides how far the CRC goes */
        header = saved;
        header.used_bytes ^= 1u << bit;
        memcpy(at, &header, sizeof header);
        if (mr_journal_commit_is_whole(at, bytes, salt, lsn))
            return true;
    }
    memcpy(at, &saved, sizeof saved);
    return false;
}

int mr_journal_entries(const uint8_t *commit, void (*each)(void *context, const struct mr_journal_entry *entry, const uint8_t *data,
                       const uint8_t *side), void *context)
{
    struct mr_journal_commit header;
    memcpy(&header, commit, sizeof header);
    uint64_t position = sizeof header;
    for (uint32_t i = 0; i < header.entry_count; i++) {
        struct mr_journal_entry entry;
        if (header.used_bytes - position < sizeof entry)
            return -1;
        memcpy(&entry, commit + position, sizeof entry);
        uint64_t bytes = mr_journal_entry_bytes(entry.data_bytes, entry.side_bytes);
        if (bytes > header.used_bytes - position)
            return -1;
        const uint8_t *data = commit + position + sizeof entry;
        if (each != NULL) /* aligned: the image is, and so is each length */
            each(context, (const struct mr_journal_entry *)(const void *)(commit + position), data, data + entry.data_bytes);
        position += bytes;
    }
    return (int)header.entry_count;
}

static int note_commit(struct found_commits *found, uint64_t lsn, uint64_t end_lsn, uint64_t position)
{
    int rc = mr_recover_grow((void **)&found->commit, found->count, &found->room, sizeof *found->commit);
    if (rc == 0)
        found->commit[found->count++] = (struct found_commit){lsn, end_lsn, position};
    return rc;
}

static int by_lsn(const void *a, const void *b)
{
    uint64_t left = ((const struct found_commit *)a)->lsn, right = ((const struct found_commit *)b)->lsn;
    return left < right ? -1 : left > right;
}

static struct mr_journal_commit commit_header(const struct mr_journal_image *image, const struct found_commit *commit)
{
    struct mr_journal_commit header;
    memcpy(&header, image->memory + commit->position, sizeof header);
    return header;
}

static int find_commits(const struct mr_journal_image *image, struct found_commits *found)
{
    int rc = 0;
    for (uint64_t position = MR_BLOCK_BYTES; rc == 0 && position < image->bytes;) {
        const uint8_t *at = image->memory + position;
        struct mr_journal_commit header;
        memcpy(&header, at, sizeof header);
        if (mr_journal_file_position(header.lsn, image->bytes) == position &&
            mr_journal_commit_is_whole(at, image->bytes - position, image->salt, header.lsn) && mr_journal_entries(at, NULL, NULL) >= 0) {
            rc = note_commit(found, header.lsn, header.lsn + header.bytes, position);
            position += header.bytes;
        } else {
            position += MR_BLOCK_BYTES;
        }
    }
    if (found->count > 0)
        qsort(found->commit, found->count, sizeof *found->commit, by_lsn);
    return rc;
}

/** Something that had completed is not whole in [from, to). Mend it commit by commit. */
static int fill_hole(struct mr_recovery *recovery, struct mr_journal_image *image, struct found_commits *found, uint64_t from, uint64_t to)
{
    while (from < to) {
        uint64_t position = mr_journal_file_position(from, image->bytes);
        uint64_t bytes = mr_min_u64(to - from, image->bytes - position);
        uint8_t *at = image->memory + position;
        struct mr_journal_commit header;
        bool is_mended = mr_journal_commit_mend(at, bytes, image->salt, from);
        if (!is_mended && to - from > bytes) { /* it may have found no room before the end of the file */
            from += bytes;
            continue;
        }
        if (!is_mended || mr_journal_entries(at, NULL, NULL) < 0) {
            mr_recover_say(recovery, MR_RECOVER_WARNING, "journal '%s/%s' is damaged: the commit at lsn %llu (file position %llu) had "
                           "completed and does not match its CRC", recovery->directory, image->name, (unsigned long long)from,
                           (unsigned long long)position);
            image->lost_lsn = mr_max_u64(image->lost_lsn, to);
            return 0;
        }
        mr_recover_say(recovery, MR_RECOVER_WARNING, "journal '%s/%s': undid one flipped bit in the commit at lsn %llu (file position %llu)",
                       recovery->directory, image->name, (unsigned long long)from, (unsigned long long)position);
        memcpy(&header, at, sizeof header);
        int rc = note_commit(found, from, from + header.bytes, position);
        if (rc != 0)
            return rc;
        from += header.bytes;
    }
    return 0;
}

/** Holes in what the newest commits call needed and complete. */
static int find_holes(struct mr_recovery *recovery, struct mr_journal_image *image, struct found_commits *found)
{
    uint32_t count = found->count;
    if (count == 0)
        return 0;
    uint64_t floor_lsn = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct mr_journal_commit header = commit_header(image, &found->commit[i]);
        floor_lsn = mr_max_u64(floor_lsn, header.floor_lsn);
        image->durable_lsn = mr_max_u64(image->durable_lsn, header.durable_lsn);
    }
    int rc = 0;
    uint64_t expected = floor_lsn;
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        struct found_commit commit = found->commit[i]; /* a copy: the array grows */
        uint64_t begins = commit.lsn - commit_header(image, &commit).skipped_bytes;
        if (commit.lsn < floor_lsn)
            continue;
        if (begins > expected && expected < image->durable_lsn)
            rc = fill_hole(recovery, image, found, expected, begins);
        else if (begins > expected)
            mr_recover_say(recovery, MR_RECOVER_INFO, "journal '%s/%s': a commit at lsn %llu was in flight and is torn; %u later ones are "
                           "whole", recovery->directory, image->name, (unsigned long long)expected, count - i);
        expected = mr_max_u64(expected, commit.end_lsn);
    }
    return rc;
}

/**
 * What stands where the next commit would have begun. One flipped bit is undone there too: a torn write does not look like that. Anything
 * else is said, so that no cut is silent.
 */
static int look_behind(const struct mr_recovery *recovery, struct mr_journal_image *image, struct found_commits *found)
{
    uint64_t end_lsn = 0;
    for (uint32_t i = 0; i < found->count; i++)
        end_lsn = mr_max_u64(end_lsn, found->commit[i].end_lsn);
    uint64_t position = mr_journal_file_position(end_lsn, image->bytes), bytes = image->bytes - position;
    uint8_t *at = image->memory + position;
    struct mr_journal_commit header;
    memcpy(&header, at, sizeof header);
    int agree = (header.magic == MR_JOURNAL_COMMIT_MAGIC) + (header.salt == image->salt) + (header.lsn == end_lsn);
    bool is_older = header.lsn < end_lsn && mr_journal_file_position(header.lsn, image->bytes) == position &&
                    mr_journal_commit_is_whole(at, bytes, image->salt, header.lsn);
    if (found->count == 0 || agree < 2 || is_older) /* one of the round before is to be expected there */
        return 0;
    if (mr_journal_commit_mend(at, bytes, image->salt, end_lsn) && mr_journal_entries(at, NULL, NULL) >= 0) {
        mr_recover_say(recovery, MR_RECOVER_WARNING, "journal '%s/%s': undid one flipped bit in the last commit, at lsn %llu (file position "
                       "%llu)", recovery->directory, image->name, (unsigned long long)end_lsn, (unsigned long long)position);
        memcpy(&header, at, sizeof header);
        return note_commit(found, end_lsn, end_lsn + header.bytes, position);
    }
    mr_recover_say(recovery, MR_RECOVER_WARNING, "journal '%s/%s': the last commit, at lsn %llu (file position %llu, %u entries), is not "
                   "whole and was not taken; it was being written when power was lost, or it is damaged", recovery->directory, image->name,
                   (unsigned long long)end_lsn, (unsigned long long)position, header.entry_count);
    return 0;
}

struct collect {
    struct mr_recovery *recovery;
    const struct mr_journal_image *image;
    uint64_t lsn;
    bool durable;
    int rc;
};

static void collect_entry(void *context, const struct mr_journal_entry *at, const uint8_t *data, const uint8_t *side)
{
    struct collect *collect = context;
    struct mr_recovery *recovery = collect->recovery;
    if (collect->rc == 0)
        collect->rc = mr_recover_grow((void **)&recovery->entry, recovery->entry_count, &recovery->entry_room, sizeof *recovery->entry);
    if (collect->rc != 0)
        return;
    recovery->entry[recovery->entry_count++] = (struct mr_entry){
        .at = at,
        .data = data,
        .side = side,
        .file_generation = collect->image->generation,
        .lsn = collect->lsn,
        .image = (uint32_t)(collect->image - recovery->image),
        .durable = collect->durable,
    };
}

static bool header_is_sound(const uint8_t *at, uint64_t file_bytes, struct mr_journal_file *header)
{
    memcpy(header, at, sizeof *header);
    return header->magic == MR_JOURNAL_MAGIC && header->version == MR_JOURNAL_VERSION && header->bytes == file_bytes &&
           header->crc == mr_crc32c(0, header, offsetof(struct mr_journal_file, crc));
}

static int scan_file(struct mr_recovery *recovery, struct mr_journal_image *image, uint64_t file_bytes, struct millrace_error *err)
{
    struct mr_journal_file header;
    bool is_sound = file_bytes > MR_BLOCK_BYTES && header_is_sound(image->memory, file_bytes, &header);
    if (!is_sound && file_bytes > MR_BLOCK_BYTES && header_is_sound(image->memory + MR_JOURNAL_FILE_COPY, file_bytes, &header)) {
        mr_recover_say(recovery, MR_RECOVER_WARNING, "journal '%s/%s': the header is damaged, its second copy is sound", recovery->directory,
                       image->name);
        is_sound = true;
    }
    if (!is_sound) {
        memcpy(&header, image->memory, file_bytes >= sizeof header ? sizeof header : 0);
        if (file_bytes >= sizeof header && header.magic == MR_JOURNAL_MAGIC && header.version != MR_JOURNAL_VERSION &&
            header.crc == mr_crc32c(0, &header, offsetof(struct mr_journal_file, crc)))
            return mr_err(err, ENOTSUP, "journal '%s/%s' has version %u, this millraced reads version %u: stop the newer version cleanly first",
                          recovery->directory, image->name, header.version, MR_JOURNAL_VERSION);
        mr_recover_say(recovery, MR_RECOVER_WARNING, "journal '%s/%s' is damaged: both copies of its header are bad or it was cut short",
                       recovery->directory, image->name);
        image->lost_lsn = UINT64_MAX;
        return 0;
    }
    image->generation = header.generation;
    image->salt = header.salt;
    image->bytes = header.bytes;

    struct found_commits found = {0};
    int rc = find_commits(image, &found);
    if (rc == 0)
        rc = find_holes(recovery, image, &found);
    if (rc == 0)
        rc = look_behind(recovery, image, &found);
    for (uint32_t i = 0; rc == 0 && i < found.count; i++) {
        struct collect collect = {recovery, image, found.commit[i].lsn, found.commit[i].end_lsn <= image->durable_lsn, 0};
        (void)mr_journal_entries(image->memory + found.commit[i].position, collect_entry, &collect);
        rc = collect.rc;
    }
    free(found.commit);
    return rc;
}

static int compare_entries(const void *a, const void *b)
{
    const struct mr_entry *left = a, *right = b;
    int order = memcmp(&left->at->topic_id, &right->at->topic_id, sizeof left->at->topic_id);
    if (order != 0)
        return order;
    if (left->at->partition != right->at->partition)
        return left->at->partition < right->at->partition ? -1 : 1;
    if (left->file_generation != right->file_generation)
        return left->file_generation < right->file_generation ? -1 : 1;
    if (left->lsn != right->lsn)
        return left->lsn < right->lsn ? -1 : 1;
    return left->at < right->at ? -1 : left->at > right->at; /* one commit: in its order */
}

struct names {
    char (*name)[64];
    uint64_t *generation;
    uint32_t count;
};

/** `journal-R.G` and nothing behind it: spares and files in the making have other names. */
static bool parse_name(const char *name, uint64_t *generation)
{
    unsigned reactor;
    unsigned long long number;
    char rest;
    if (sscanf(name, "journal-%u.%llu%c", &reactor, &number, &rest) != 2)
        return false;
    *generation = number;
    return true;
}

static int list_journal(void *context, const char *name, bool is_directory)
{
    struct names *names = context;
    uint64_t generation;
    if (is_directory || strlen(name) >= sizeof names->name[0] || !parse_name(name, &generation))
        return 0;
    if (names->count == MR_JOURNALS_MAX)
        return -EMFILE;
    snprintf(names->name[names->count], sizeof names->name[0], "%s", name);
    names->generation[names->count++] = generation;
    return 0;
}

static int list_journals(struct mr_disk *disk, const char *directory, struct names *names, struct millrace_error *err)
{
    int rc = mr_disk_list(disk, directory, list_journal, names);
    if (rc == -EMFILE)
        return mr_err(err, EMFILE, "'%s' holds more than %u journals that could not be retired because partitions are offline: run "
                      "'millrace log repair %s'", directory, MR_JOURNALS_MAX, directory);
    if (rc != 0)
        return mr_err(err, -rc, "listing the log directory '%s' failed: %s", directory, strerror(-rc));
    return 0;
}

int mr_journal_generation(struct mr_disk *disk, const char *directory, uint64_t *generation, struct millrace_error *err)
{
    static _Thread_local char name[MR_JOURNALS_MAX][64];
    uint64_t each[MR_JOURNALS_MAX];
    struct names names = {name, each, 0};
    int rc = list_journals(disk, directory, &names, err);
    *generation = 0;
    for (uint32_t i = 0; i < names.count; i++)
        *generation = mr_max_u64(*generation, each[i]);
    return rc;
}

int mr_journal_scan(struct mr_recovery *recovery, struct millrace_error *err)
{
    static _Thread_local char name[MR_JOURNALS_MAX][64];
    uint64_t generation[MR_JOURNALS_MAX];
    struct names names = {name, generation, 0};
    int rc = list_journals(recovery->disk, recovery->directory, &names, err);
    if (rc != 0 || names.count == 0)
        return rc;
    recovery->image = mr_recover_keep(recovery, names.count * sizeof *recovery->image);
    if (recovery->image == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < names.count; i++) {
        char path[MR_RECOVER_PATH_MAX];
        uint64_t file_bytes = 0;
        struct mr_journal_image *image = &recovery->image[recovery->image_count];
        snprintf(image->name, sizeof image->name, "%s", names.name[i]);
        snprintf(path, sizeof path, "%s/%s", recovery->directory, image->name);
        image->generation = generation[i];
        image->memory = mr_recover_read_file(recovery->disk, path, &file_bytes, &rc);
        if (image->memory == NULL)
            return mr_err(err, -rc, "reading the journal '%s' failed: %s", path, strerror(-rc));
        recovery->image_count++;
        rc = scan_file(recovery, image, file_bytes, err);
        if (rc != 0)
            return rc;
        recovery->generation = mr_max_u64(recovery->generation, mr_max_u64(generation[i], image->generation));
    }
    if (recovery->entry_count > 0)
        qsort(recovery->entry, recovery->entry_count, sizeof *recovery->entry, compare_entries);
    return 0;
}

const struct mr_entry *mr_journal_find(const struct mr_recovery *recovery, const struct mr_uuid *topic_id, uint32_t partition, uint32_t *count)
{
    uint32_t low = 0, high = recovery->entry_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct mr_journal_entry *at = recovery->entry[middle].at;
        int order = memcmp(&at->topic_id, topic_id, sizeof *topic_id);
        if (order == 0)
            order = at->partition < partition ? -1 : 0;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *count = 0;
    if (low == recovery->entry_count)
        return NULL; /* also when there is no array at all */
    const struct mr_entry *first = recovery->entry + low;
    while (low + *count < recovery->entry_count && first[*count].at->partition == partition &&
           memcmp(&first[*count].at->topic_id, topic_id, sizeof *topic_id) == 0)
        (*count)++;
    return *count == 0 ? NULL : first;
}
