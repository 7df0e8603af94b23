/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a journal's life: its new name takes it out of every later scan, then its header is wiped. What is retired is kept as a spare,
 * since writing a journal's zeros takes longer than a restart may. */
#include "dataplane/log/recover/recover_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPARE_PREFIX "journal-spare-"

static void spare_path(const char *directory, const char *name, char *path)
{
    snprintf(path, MR_RECOVER_PATH_MAX, "%s/" SPARE_PREFIX "%s", directory, name + strlen("journal-"));
}

static int wipe(struct mr_disk *disk, const char *path)
{
    static const uint8_t zeros[MR_BLOCK_BYTES];
    struct millrace_error ignored;
    int file = mr_disk_open(disk, path, 0, &ignored);
    if (file < 0)
        return 0; /* kept under its name, or taken already */
    int64_t n = mr_disk_write(disk, file, zeros, sizeof zeros, 0);
    int rc = n < 0 ? (int)n : mr_disk_sync(disk, file);
    (void)mr_disk_close(disk, file);
    return rc;
}

int mr_recover_retire_files(struct mr_disk *disk, const char *directory, const char *const *names, uint32_t count)
{
    char path[MR_RECOVER_PATH_MAX], spare[MR_RECOVER_PATH_MAX];
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        spare_path(directory, names[i], spare);
        rc = mr_disk_rename(disk, path, spare);
    }
    if (rc == 0)
        rc = mr_disk_sync_directory(disk, directory);
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        spare_path(directory, names[i], spare);
        rc = wipe(disk, spare);
    }
    return rc;
}

struct old_journals {
    uint64_t before_generation;
    char *name[MR_JOURNALS_MAX];
    uint32_t count;
};

static int note_old(void *context, const char *name, bool is_directory)
{
    struct old_journals *old = context;
    unsigned reactor;
    unsigned long long generation;
    int used = 0;
    if (is_directory || sscanf(name, "journal-%u.%llu%n", &reactor, &generation, &used) != 2 || name[used] != '\0' ||
        generation >= old->before_generation || old->count == MR_JOURNALS_MAX)
        return 0;
    old->name[old->count] = strdup(name);
    if (old->name[old->count] == NULL)
        return -ENOMEM;
    old->count++;
    return 0;
}

int mr_journals_retire(struct mr_disk *disk, const char *directory, uint64_t before_generation, struct millrace_error *err)
{
    struct old_journals old = {.before_generation = before_generation};
    int rc = mr_disk_list(disk, directory, note_old, &old);
    if (rc == 0)
        rc = mr_recover_retire_files(disk, directory, (const char *const *)old.name, old.count);
    for (uint32_t i = 0; i < old.count; i++)
        free(old.name[i]);
    return rc == 0 ? 0 : mr_err(err, -rc, "retiring the journals of '%s' failed: %s", directory, strerror(-rc));
}

struct spares {
    struct mr_disk *disk;
    const char *directory;
    uint64_t bytes;
    uint32_t wanted, fitting, surplus;
    char surplus_name[MR_JOURNALS_MAX][64];
};

static int count_spare(void *context, const char *name, bool is_directory)
{
    struct spares *spares = context;
    char path[MR_RECOVER_PATH_MAX];
    struct millrace_error ignored;
    if (is_directory || strncmp(name, SPARE_PREFIX, strlen(SPARE_PREFIX)) != 0 || strlen(name) >= sizeof spares->surplus_name[0])
        return 0;
    snprintf(path, sizeof path, "%s/%s", spares->directory, name);
    int file = mr_disk_open(spares->disk, path, MR_DISK_READ_ONLY, &ignored);
    if (file < 0)
        return 0;
    bool fits = mr_disk_size(spares->disk, file) == (int64_t)spares->bytes;
    (void)mr_disk_close(spares->disk, file);
    if (fits && spares->fitting < spares->wanted)
        spares->fitting++;
    else if (spares->surplus < MR_JOURNALS_MAX)
        snprintf(spares->surplus_name[spares->surplus++], sizeof spares->surplus_name[0], "%s", name);
    return 0;
}

int mr_journal_spares(struct mr_disk *disk, const char *directory, uint32_t wanted, uint64_t bytes, struct millrace_error *err)
{
    struct spares *spares = calloc(1, sizeof *spares);
    char path[MR_RECOVER_PATH_MAX];
    if (spares == NULL)
        return mr_err(err, ENOMEM, "no memory to look for spare journals");
    *spares = (struct spares){.disk = disk, .directory = directory, .bytes = bytes, .wanted = wanted};
    int rc = mr_disk_list(disk, directory, count_spare, spares);
    for (uint32_t i = 0; i < spares->surplus; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, spares->surplus_name[i]);
        (void)mr_disk_unlink(disk, path);
    }
    for (uint32_t i = 0; rc == 0 && spares->fitting < wanted; i++) {
        /* Named by what it is not yet: a half-written one has the wrong size and goes with the next look. */
        snprintf(path, sizeof path, "%s/" SPARE_PREFIX "new%u", directory, i);
        int file = mr_disk_open(disk, path, MR_DISK_CREATE | MR_DISK_EXCLUSIVE, err);
        if (file == -EEXIST)
            continue;
        rc = file < 0 ? file : mr_recover_write_zeros(disk, file, bytes);
        if (rc == 0)
            rc = mr_disk_sync(disk, file);
        if (file >= 0)
            (void)mr_disk_close(disk, file);
        if (rc != 0 && file >= 0)
            (void)mr_disk_unlink(disk, path);
        spares->fitting++;
    }
    free(spares);
    return rc == 0 ? 0 : mr_err(err, -rc, "no spare journal in '%s': %s", directory, strerror(-rc));
}
