/* SPDX-License-Identifier: Apache-2.0 */
/* `checkpoint` and `clean-shutdown`: what is known of each partition of a directory besides its files. One text, written twice with a CRC
 * each, so that one damaged sector costs nothing:
 *
 *   millrace-checkpoint 1 <greatest journal generation> <partitions>
 *   <name> <topic id, 32 hex> <generation> <journals up to this generation do not count> <log start> <next offset>
 *   crc32c <8 hex>
 *
 * All numbers only grow, so two files are merged by the greater. */
#include "dataplane/log/recover/recover_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/base/crc32c.h"

#define LINE_BYTES_MAX 400u
#define CRC_LINE_BYTES 16u /* "crc32c 01234567\n" */

void mr_checkpoint_release(struct mr_checkpoint *checkpoint)
{
    free(checkpoint->partition);
    free(checkpoint->table);
    memset(checkpoint, 0, sizeof *checkpoint);
}

/* The place in the table where this partition is, or would be. There is a free one: at most half are taken. */
static uint32_t place_of(struct mr_checkpoint *checkpoint, const char *name, const struct mr_uuid *topic_id)
{
    uint32_t hash = mr_crc32c(mr_crc32c(0, topic_id, sizeof *topic_id), name, strlen(name));
    uint32_t place = hash & (checkpoint->table_room - 1);
    for (; checkpoint->table[place] != 0; place = (place + 1) & (checkpoint->table_room - 1)) {
        const struct mr_checkpoint_partition *p = &checkpoint->partition[checkpoint->table[place] - 1];
        checkpoint->compared++;
        if (memcmp(&p->topic_id, topic_id, sizeof *topic_id) == 0 && strcmp(p->name, name) == 0)
            break;
    }
    return place;
}

/* Of lines that say the same partition twice the first counts. */
static int append(struct mr_checkpoint *checkpoint, const struct mr_checkpoint_partition *partition)
{
    int rc = mr_recover_grow((void **)&checkpoint->partition, checkpoint->count, &checkpoint->room, sizeof *checkpoint->partition);
    if (rc != 0)
        return rc;
    if (checkpoint->count >= checkpoint->table_room / 2) {
        uint32_t room = checkpoint->table_room == 0 ? 64 : 2 * checkpoint->table_room;
        uint32_t *table = room > checkpoint->count ? calloc(room, sizeof *table) : NULL;
        if (table == NULL)
            return -ENOMEM;
        free(checkpoint->table);
        checkpoint->table = table;
        checkpoint->table_room = room;
        for (uint32_t i = 0; i < checkpoint->count; i++) {
            uint32_t place = place_of(checkpoint, checkpoint->partition[i].name, &checkpoint->partition[i].topic_id);
            if (table[place] == 0)
                table[place] = i + 1;
        }
    }
    checkpoint->partition[checkpoint->count] = *partition;
    uint32_t place = place_of(checkpoint, partition->name, &partition->topic_id);
    checkpoint->count++;
    if (checkpoint->table[place] == 0)
        checkpoint->table[place] = checkpoint->count;
    return 0;
}

static struct mr_checkpoint_partition *find(struct mr_checkpoint *checkpoint, const char *name, const struct mr_uuid *topic_id)
{
    uint32_t index = checkpoint->table_room == 0 ? 0 : checkpoint->table[place_of(checkpoint, name, topic_id)];
    return index == 0 ? NULL : &checkpoint->partition[index - 1];
}

const struct mr_checkpoint_partition *mr_checkpoint_find(struct mr_checkpoint *checkpoint, const char *name, const struct mr_uuid *topic_id)
{
    return find(checkpoint, name, topic_id);
}

int mr_checkpoint_put(struct mr_checkpoint *checkpoint, const struct mr_checkpoint_partition *partition)
{
    struct mr_checkpoint_partition *old = find(checkpoint, partition->name, &partition->topic_id);
    if (old == NULL)
        return append(checkpoint, partition);
    old->generation = old->generation > partition->generation ? old->generation : partition->generation;
    old->journal_generation = mr_max_u64(old->journal_generation, partition->journal_generation);
    old->log_start = mr_max_u64(old->log_start, partition->log_start);
    old->next_offset = mr_max_u64(old->next_offset, partition->next_offset);
    old->clean = old->clean || partition->clean;
    return 0;
}

static int format_copy(const struct mr_checkpoint *checkpoint, char *text)
{
    int bytes = sprintf(text, "millrace-checkpoint 1 %" PRIu64 " %u\n", checkpoint->generation, checkpoint->count);
    for (uint32_t i = 0; i < checkpoint->count; i++) {
        const struct mr_checkpoint_partition *p = &checkpoint->partition[i];
        bytes += sprintf(text + bytes, "%s ", p->name);
        for (uint32_t b = 0; b < sizeof p->topic_id.bytes; b++)
            bytes += sprintf(text + bytes, "%02x", p->topic_id.bytes[b]);
        bytes += sprintf(text + bytes, " %u %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", p->generation, p->journal_generation, p->log_start,
                         p->next_offset);
    }
    uint32_t crc = mr_crc32c(0, text, (size_t)bytes);
    return bytes + sprintf(text + bytes, "crc32c %08x\n", crc);
}

char *mr_checkpoint_format(const struct mr_checkpoint *checkpoint, size_t *bytes)
{
    size_t room = ((size_t)checkpoint->count + 2) * LINE_BYTES_MAX;
    char *text = malloc(2 * room);
    if (text == NULL)
        return NULL;
    int copy_bytes = format_copy(checkpoint, text);
    memcpy(text + copy_bytes, text, (size_t)copy_bytes);
    *bytes = 2 * (size_t)copy_bytes;
    return text;
}

static bool parse_number(const char **at, uint64_t *value)
{
    uint64_t v = 0;
    const char *p = *at;
    if (*p++ != ' ')
        return false;
    if (*p < '0' || *p > '9')
        return false;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (v > (UINT64_MAX - 9) / 10)
            return false;
        v = v * 10 + (uint64_t)(*p - '0');
    }
    *at = p;
    *value = v;
    return true;
}

static bool parse_hex(const char **at, struct mr_uuid *uuid)
{
    const char *p = *at;
    if (*p++ != ' ')
        return false;
    for (uint32_t i = 0; i < 2 * sizeof uuid->bytes; i++, p++) {
        int digit = *p >= '0' && *p <= '9' ? *p - '0' : *p >= 'a' && *p <= 'f' ? *p - 'a' + 10 : -1;
        if (digit < 0)
            return false;
        uuid->bytes[i / 2] = (uint8_t)(i % 2 == 0 ? digit << 4 : uuid->bytes[i / 2] | digit);
    }
    *at = p;
    return true;
}

/** One copy of which the CRC is right; the text ends with a zero. */
static int parse_copy(const char *text, struct mr_checkpoint *checkpoint)
{
    uint64_t count = 0;
    const char *at = text + strlen("millrace-checkpoint 1");
    if (strncmp(text, "millrace-checkpoint 1", strlen("millrace-checkpoint 1")) != 0 || !parse_number(&at, &checkpoint->generation) ||
        !parse_number(&at, &count) || *at++ != '\n')
        return -EBADMSG;
    for (uint64_t i = 0; i < count; i++) {
        struct mr_checkpoint_partition p = {0};
        uint64_t generation = 0;
        size_t name_bytes = strcspn(at, " \n");
        if (name_bytes == 0 || name_bytes >= sizeof p.name)
            return -EBADMSG;
        memcpy(p.name, at, name_bytes);
        at += name_bytes;
        if (!parse_hex(&at, &p.topic_id) || !parse_number(&at, &generation) || !parse_number(&at, &p.journal_generation) ||
            !parse_number(&at, &p.log_start) || !parse_number(&at, &p.next_offset) || *at++ != '\n' || generation > UINT32_MAX)
            return -EBADMSG;
        p.generation = (uint32_t)generation;
        int rc = append(checkpoint, &p); /* as many as lines */
        if (rc != 0)
            return rc;
    }
    return 0;
}

int mr_checkpoint_parse(const char *text, size_t bytes, struct mr_checkpoint *checkpoint, bool *mended)
{
    memset(checkpoint, 0, sizeof *checkpoint);
    *mended = false;
    for (uint32_t copy = 0; copy < 2; copy++) {
        size_t copy_bytes = bytes / 2;
        const char *at = text + copy * copy_bytes;
        uint32_t crc;
        char rest;
        if (bytes % 2 != 0 || copy_bytes <= CRC_LINE_BYTES || memchr(at, 0, copy_bytes) != NULL)
            continue;
        char *own = strndup(at, copy_bytes);
        if (own == NULL)
            return -ENOMEM;
        const char *tail = own + copy_bytes - CRC_LINE_BYTES;
        int rc = -EBADMSG;
        if (sscanf(tail, "crc32c %8x%c", &crc, &rest) == 2 && rest == '\n' && crc == mr_crc32c(0, own, copy_bytes - CRC_LINE_BYTES))
            rc = parse_copy(own, checkpoint);
        free(own);
        if (rc == 0 && copy == 0)
            *mended = memcmp(text, text + copy_bytes, copy_bytes) != 0;
        if (rc != -EBADMSG)
            return rc;
        mr_checkpoint_release(checkpoint);
        *mended = true;
    }
    return -EBADMSG;
}

/** @return 0 also when the file is not there. */
static int load_one(struct mr_recovery *recovery, const char *name, struct mr_checkpoint *checkpoint, struct millrace_error *err)
{
    char path[MR_RECOVER_PATH_MAX];
    uint64_t bytes = 0;
    bool mended;
    int rc;
    snprintf(path, sizeof path, "%s/%s", recovery->directory, name);
    uint8_t *text = mr_recover_read_file(recovery->disk, path, &bytes, &rc);
    if (text == NULL)
        return rc == -ENOENT ? 0 : mr_err(err, -rc, "reading '%s' failed: %s", path, strerror(-rc));
    rc = mr_checkpoint_parse((const char *)text, bytes, checkpoint, &mended);
    free(text);
    if (rc == -EBADMSG)
        return mr_err(err, EBADMSG, "both copies in '%s' are damaged; it says from where on the partitions' records exist: run 'millrace log "
                      "verify %s', and remove the file only when records that were deleted may appear again", path, recovery->directory);
    if (rc == 0 && mended)
        mr_recover_say(recovery, MR_RECOVER_WARNING, "'%s': one of its two copies is damaged, the other one is used", path);
    return rc;
}

int mr_checkpoint_load(struct mr_recovery *recovery, struct millrace_error *err)
{
    struct mr_checkpoint clean = {0};
    int rc = load_one(recovery, "checkpoint", &recovery->known, err);
    if (rc == 0)
        rc = load_one(recovery, "clean-shutdown", &clean, err);
    bool is_clean = clean.count > 0 && clean.generation >= recovery->generation; /* else somebody wrote after it */
    for (uint32_t i = 0; rc == 0 && i < clean.count; i++) {
        clean.partition[i].clean = is_clean;
        rc = mr_checkpoint_put(&recovery->known, &clean.partition[i]);
    }
    if (rc == 0)
        recovery->generation = mr_max_u64(recovery->generation, mr_max_u64(clean.generation, recovery->known.generation));
    mr_checkpoint_release(&clean);
    return rc;
}

int mr_recovery_mark_clean(struct mr_disk *disk, const char *directory, const struct mr_clean_partition *partitions, uint32_t count,
                           struct millrace_error *err)
{
    struct mr_checkpoint checkpoint = {0};
    int rc = mr_journal_generation(disk, directory, &checkpoint.generation, err);
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        struct mr_checkpoint_partition p = {
            .topic_id = partitions[i].topic_id,
            .generation = partitions[i].generation,
            .journal_generation = checkpoint.generation,
            .log_start = partitions[i].log_start,
            .next_offset = partitions[i].next_offset,
        };
        snprintf(p.name, sizeof p.name, "%s", partitions[i].name);
        rc = append(&checkpoint, &p);
    }
    size_t bytes = 0;
    char *text = rc == 0 ? mr_checkpoint_format(&checkpoint, &bytes) : NULL;
    if (rc == 0 && text == NULL)
        rc = -ENOMEM;
    if (rc == 0)
        rc = mr_recover_replace_file(disk, directory, "clean-shutdown", text, bytes, err);
    free(text);
    mr_checkpoint_release(&checkpoint);
    return rc;
}
