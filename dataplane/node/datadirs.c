/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/node/datadirs.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "dataplane/node/topic.h"
#include "shm/base/logging.h"

#define ID_CHARS 32

static int open_all(struct mr_datadirs *directories, const struct mr_config_list *paths, int64_t broker_id, struct millrace_error *err)
{
    struct stat one, other;
    if (paths->count > MR_LOG_DIRECTORIES_MAX)
        return mr_err(err, EINVAL, "log.dirs names %u directories, at most %u are possible", paths->count, MR_LOG_DIRECTORIES_MAX);
    for (uint32_t d = 0; d < paths->count; d++) {
        for (uint32_t e = 0; e < d; e++)
            if (stat(paths->item[d], &one) == 0 && stat(paths->item[e], &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino)
                return mr_err(err, EINVAL, "log.dirs names one directory twice, as '%s' and '%s': leave one of them out", paths->item[e], paths->item[d]);
        directories->count = d + 1;
        int rc = mr_datadir_open(&directories->item[d], paths->item[d], broker_id, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int find_home(struct mr_datadirs *directories, struct millrace_error *err)
{
    const struct mr_datadir *used = NULL, *home = NULL;
    directories->home = 0;
    for (uint32_t d = 0; d < directories->count; d++) {
        const struct mr_datadir *directory = &directories->item[d];
        bool is_home = directory->has_list || directory->has_topics;
        if (is_home && home != NULL)
            return mr_err(err, EINVAL, "log.dirs: '%s' and '%s' both hold " MR_DATADIR_LIST " or topics.json, so they belong to two nodes: name "
                          "the directories of one", home->path,
                          directory->path);
        if (is_home) {
            home = directory;
            directories->home = d;
        }
        used = directory->is_empty ? used : directory;
    }
    if (home == NULL && used != NULL)
        return mr_err(err, ENOENT, "the directory with topics.json is missing, though '%s' belongs to a node that has one: mount it, or name it in log.dirs",
                      used->path);
    if (home != NULL && used != NULL && !home->has_topics)
        return mr_err(err, ENOENT, "'%s/topics.json' is missing, though '%s' is in use: put back a copy, or move the data directories away", home->path,
                      used->path);
    return 0;
}

static bool has_id(const struct mr_datadirs *directories, const struct mr_uuid *id)
{
    for (uint32_t d = 0; d < directories->count; d++)
        if (mr_uuid_equal(&directories->item[d].id, id))
            return true;
    return false;
}

/** Each line is an id, a space and a path. @param known set to true for each directory that is listed */
static int check_list(const struct mr_datadirs *directories, char *text, bool *known, struct millrace_error *err)
{
    const char *home = mr_datadirs_home(directories)->path;
    for (char *line = text, *next; *line != '\0'; line = next) {
        struct mr_uuid id;
        char *end = line + strcspn(line, "\n");
        next = end + (*end == '\n');
        *end = '\0';
        bool is_line = end > line + ID_CHARS && line[ID_CHARS] == ' ';
        line[is_line ? ID_CHARS : 0] = '\0';
        if (!is_line || !mr_uuid_parse(line, &id))
            return mr_err(err, EINVAL, "'%s/" MR_DATADIR_LIST "' is damaged: write into it, for each log directory, a line with the directory.id of its "
                          "meta.properties, a space and its path", home);
        if (!has_id(directories, &id))
            return mr_err(err, ENOENT, "the log directory that was '%s' (directory.id=%s) is missing: mount it, or name it in log.dirs; "
                          "if it is lost for good, take its line out of '%s/" MR_DATADIR_LIST "': the partitions that it held are then offline",
                          line + ID_CHARS + 1, line, home);
        for (uint32_t d = 0; d < directories->count; d++)
            known[d] = known[d] || mr_uuid_equal(&directories->item[d].id, &id);
    }
    for (uint32_t d = 0; d < directories->count; d++) {
        const struct mr_datadir *directory = &directories->item[d];
        char hex[ID_CHARS + 1];
        mr_uuid_text(&directory->id, hex);
        if (!known[d] && !directory->is_empty)
            return mr_err(err, EINVAL, "'%s' is in use as a log directory, but not of this node: name an empty one in log.dirs; or, if it is this node's, "
                          "add the line '%s %s' to '%s/" MR_DATADIR_LIST "'", directory->path, hex, directory->path, home);
    }
    return 0;
}

/* Paths are for people, who may not know any more what log.dirs was, so they are whole. */
static int write_list(const struct mr_datadirs *directories, const char *before, struct millrace_error *err)
{
    char text[MR_LOG_DIRECTORIES_MAX * (ID_CHARS + PATH_MAX + 2) + 1], hex[ID_CHARS + 1], whole[PATH_MAX];
    size_t used = 0;
    for (uint32_t d = 0; d < directories->count; d++) {
        mr_uuid_text(&directories->item[d].id, hex);
        const char *path = realpath(directories->item[d].path, whole);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s %s\n", hex, path != NULL ? path : directories->item[d].path);
    }
    if (before != NULL && strcmp(before, text) == 0)
        return 0;
    return mr_datadir_replace(mr_datadirs_home(directories), MR_DATADIR_LIST, text, used, 0644, err);
}

int mr_datadirs_open(struct mr_datadirs *directories, const struct mr_config_list *paths, int64_t broker_id, struct millrace_error *err)
{
    char *text = NULL, *copy = NULL;
    bool known[MR_LOG_DIRECTORIES_MAX] = {false};
    memset(directories, 0, sizeof *directories);
    int rc = open_all(directories, paths, broker_id, err);
    if (rc == 0)
        rc = find_home(directories, err);
    /* Without a list those in use are what there is; partitions that are in none of them are offline then. */
    if (rc == 0 && mr_datadirs_home(directories)->has_list) {
        int64_t bytes = mr_datadir_read(mr_datadirs_home(directories), MR_DATADIR_LIST, &text, err);
        rc = bytes < 0 ? (int)bytes : 0;
        copy = rc == 0 ? strdup(text) : NULL;
        if (rc == 0 && copy == NULL)
            rc = mr_err(err, ENOMEM, "no memory to read '" MR_DATADIR_LIST "'");
        if (rc == 0)
            rc = check_list(directories, copy, known, err);
    }
    for (uint32_t d = 0; d < directories->count && rc == 0; d++) {
        rc = mr_datadir_claim(&directories->item[d], broker_id, err);
        if (rc == 0 && text != NULL && !known[d])
            mr_say_info("log directory '%s' is new: topics that are created from now on use it, too", directories->item[d].path);
    }
    if (rc == 0)
        rc = write_list(directories, text, err);
    free(text);
    free(copy);
    return rc;
}

void mr_datadirs_close(struct mr_datadirs *directories)
{
    for (uint32_t d = 0; d < directories->count; d++)
        mr_datadir_close(&directories->item[d]);
    directories->count = 0;
}
