/* SPDX-License-Identifier: Apache-2.0 */
/* A directory: open, checkpoint, retire. What happens to each partition in between is in partition.c. */
#include "dataplane/log/recover/recover_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int mr_recovery_open(struct mr_recovery **recovery, struct mr_disk *disk, const char *directory, mr_recovery_say *say, void *context,
                     struct millrace_error *err)
{
    struct mr_recovery *r = calloc(1, sizeof *r);
    if (r == NULL)
        return mr_err(err, ENOMEM, "no memory to recover '%s'", directory);
    r->disk = disk;
    r->say = say;
    r->context = context;
    snprintf(r->directory, sizeof r->directory, "%s", directory);
    int rc = mr_journal_scan(r, err);
    if (rc == 0)
        rc = mr_checkpoint_load(r, err);
    if (rc != 0) {
        if (rc == -ENOMEM)
            mr_err(err, ENOMEM, "no memory for the journals of '%s'", directory);
        mr_recovery_close(r);
        return rc;
    }
    *recovery = r;
    return 0;
}

void mr_recovery_close(struct mr_recovery *recovery)
{
    if (recovery == NULL)
        return;
    for (uint32_t i = 0; i < recovery->image_count; i++)
        free(recovery->image[i].memory);
    free(recovery->entry);
    free(recovery->offline);
    mr_checkpoint_release(&recovery->known);
    mr_checkpoint_release(&recovery->settled);
    while (recovery->keep != NULL) {
        struct mr_keep *next = recovery->keep->next;
        free(recovery->keep);
        recovery->keep = next;
    }
    free(recovery);
}

uint64_t mr_recovery_generation(const struct mr_recovery *recovery)
{
    return recovery->generation;
}

int mr_recovery_keep(struct mr_recovery *recovery, const struct mr_uuid *topic_id, uint32_t partition)
{
    int rc = mr_recover_grow((void **)&recovery->offline, recovery->offline_count, &recovery->offline_room, sizeof *recovery->offline);
    if (rc == 0)
        recovery->offline[recovery->offline_count++] = (struct mr_offline){*topic_id, partition};
    return rc;
}

static bool is_offline(const struct mr_recovery *recovery, const struct mr_checkpoint_partition *known)
{
    const char *dash = strrchr(known->name, '-');
    for (uint32_t i = 0; i < recovery->offline_count; i++) {
        const struct mr_offline *offline = &recovery->offline[i];
        if (memcmp(&offline->topic_id, &known->topic_id, sizeof known->topic_id) == 0 && dash != NULL &&
            strtoul(dash + 1, NULL, 10) == offline->partition)
            return true;
    }
    return false;
}

struct directories {
    char **name;
    uint32_t count, room;
};

static int list_directory(void *context, const char *name, bool is_directory)
{
    struct directories *directories = context;
    if (!is_directory)
        return 0;
    int rc = mr_recover_grow((void **)&directories->name, directories->count, &directories->room, sizeof *directories->name);
    if (rc == 0 && (directories->name[directories->count] = strdup(name)) == NULL)
        rc = -ENOMEM;
    directories->count += rc == 0;
    return rc;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/** What was known and what was settled, without partitions whose directories are gone with their topic. */
static int merge_checkpoint(struct mr_recovery *recovery, struct mr_checkpoint *next)
{
    struct directories directories = {0};
    int rc = mr_disk_list(recovery->disk, recovery->directory, list_directory, &directories);
    if (rc == 0 && directories.count > 0)
        qsort(directories.name, directories.count, sizeof *directories.name, by_name);
    for (uint32_t i = 0; rc == 0 && i < recovery->known.count; i++) {
        char *name = recovery->known.partition[i].name;
        bool is_there = directories.count > 0 && bsearch(&name, directories.name, directories.count, sizeof name, by_name) != NULL;
        if (is_there || is_offline(recovery, &recovery->known.partition[i]))
            rc = mr_checkpoint_put(next, &recovery->known.partition[i]);
    }
    for (uint32_t i = 0; rc == 0 && i < recovery->settled.count; i++)
        rc = mr_checkpoint_put(next, &recovery->settled.partition[i]);
    for (uint32_t i = 0; i < directories.count; i++)
        free(directories.name[i]);
    free(directories.name);
    return rc;
}

int mr_recovery_checkpoint(struct mr_recovery *recovery, struct millrace_error *err)
{
    struct mr_checkpoint next = {.generation = recovery->generation};
    int rc = merge_checkpoint(recovery, &next);
    size_t bytes = 0;
    char *text = rc == 0 ? mr_checkpoint_format(&next, &bytes) : NULL;
    if (rc == 0 && text == NULL)
        rc = -ENOMEM;
    if (rc == 0)
        rc = mr_recover_replace_file(recovery->disk, recovery->directory, "checkpoint", text, bytes, err);
    else
        mr_err(err, -rc, "writing the checkpoint of '%s' failed: %s", recovery->directory, strerror(-rc));
    recovery->is_checkpointed = rc == 0;
    free(text);
    mr_checkpoint_release(&next);
    return rc;
}

/** An offline partition may need it for its repair. */
static bool is_needed(const struct mr_recovery *recovery, uint32_t image)
{
    if (recovery->offline_count > 0 && recovery->image[image].lost_lsn != 0)
        return true;
    for (uint32_t i = 0; i < recovery->offline_count; i++) {
        uint32_t count;
        const struct mr_entry *entry = mr_journal_find(recovery, &recovery->offline[i].topic_id, recovery->offline[i].partition, &count);
        for (uint32_t e = 0; e < count; e++)
            if (entry[e].image == image)
                return true;
    }
    return false;
}

int mr_recovery_retire(struct mr_recovery *recovery, struct millrace_error *err)
{
    struct mr_disk *disk = recovery->disk;
    const char *names[MR_JOURNALS_MAX];
    char path[MR_RECOVER_PATH_MAX];
    uint32_t count = 0;
    int rc = recovery->is_checkpointed ? 0 : mr_recovery_checkpoint(recovery, err);
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; i < recovery->image_count; i++) {
        const char *name = recovery->image[i].name;
        if (is_needed(recovery, i))
            mr_recover_say(recovery, MR_RECOVER_WARNING, "journal '%s/%s' is kept: an offline partition may need it", recovery->directory, name);
        else
            names[count++] = name;
    }
    snprintf(path, sizeof path, "%s/clean-shutdown", recovery->directory);
    rc = mr_disk_unlink(disk, path); /* the checkpoint says it all now */
    if (rc == 0 || rc == -ENOENT)
        rc = mr_recover_retire_files(disk, recovery->directory, names, count);
    if (rc != 0)
        return mr_err(err, -rc, "retiring the journals of '%s' failed: %s", recovery->directory, strerror(-rc));
    return 0;
}
