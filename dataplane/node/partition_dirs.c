/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/node/partition_dirs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dataplane/node/trash.h"

#define METADATA       "partition.metadata"
#define METADATA_BYTES 64u
#define PATH_BYTES     (MR_CONFIG_ITEM_MAX + MR_TOPIC_NAME_MAX + 16)
#define SYNC_EACH_MAX  16u /* more partitions in one log directory: one sync of the file system instead of two for each */

enum look { NOTHING, OURS, UNMARKED, ANOTHER };

static void path_of(const struct mr_topic *topic, uint32_t p, const struct mr_node_config *config, uint32_t d, char *path)
{
    snprintf(path, PATH_BYTES, "%s/%s-%u", config->log_dirs.item[d], topic->name, p);
}

/* "version: 0\ntopic_id: <22 characters>": base64 for URLs, without padding. */
static size_t metadata_text(const struct mr_uuid *id, char text[METADATA_BYTES])
{
    unsigned char base64[25];
    EVP_EncodeBlock(base64, id->bytes, sizeof id->bytes);
    for (uint32_t i = 0; i < sizeof base64; i++)
        base64[i] = base64[i] == '+' ? '-' : base64[i] == '/' ? '_' : base64[i];
    return (size_t)snprintf(text, METADATA_BYTES, "version: 0\ntopic_id: %.22s\n", (const char *)base64);
}

static enum look look(const char *path, const struct mr_uuid *id)
{
    char ours[METADATA_BYTES], there[METADATA_BYTES];
    size_t bytes = metadata_text(id, ours);
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return errno == ENOENT || errno == ENOTDIR ? NOTHING : ANOTHER;
    int file = openat(folder, METADATA, O_RDONLY | O_CLOEXEC);
    ssize_t n = file >= 0 ? read(file, there, sizeof there) : errno == ENOENT ? 0 : -1;
    if (file >= 0)
        close(file);
    close(folder);
    if (n == 0)
        return UNMARKED;
    bytes -= n == (ssize_t)bytes - 1; /* the last line may lack its end */
    return n == (ssize_t)bytes && memcmp(ours, there, bytes) == 0 ? OURS : ANOTHER;
}

static void find(struct mr_topic_partition *partition, const struct mr_node_config *config)
{
    uint32_t count[4] = {0}, at[4] = {0};
    char path[PATH_BYTES];
    for (uint32_t d = 0; d < config->log_dirs.count; d++) {
        path_of(partition->topic, partition->index, config, d, path);
        enum look kind = look(path, &partition->topic->id);
        count[kind]++;
        at[kind] = d;
    }
    enum look kind = count[OURS] > 0 ? OURS : UNMARKED;
    if (count[kind] == 1)
        partition->directory = at[kind];
    else if (count[kind] > 1)
        partition->lost = "its directory is in two of log.dirs: move the one with fewer records away";
    else if (count[ANOTHER] > 0)
        partition->lost = "the directory of its name is, by partition.metadata, of another topic: put the right one back";
    else
        partition->lost = "its directory is in none of log.dirs: put it back";
}

void mr_partition_dirs_find(struct mr_topic *topic, const struct mr_node_config *config)
{
    for (uint32_t p = 0; p < topic->partition_count; p++)
        find(topic->partitions[p], config);
}

/* What a creation left that was broken off may be used; more may be somebody's records. */
static bool holds_files(const char *path)
{
    bool holds = false;
    DIR *folder = opendir(path);
    if (folder == NULL)
        return errno != ENOENT;
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder))
        holds |= strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && strcmp(entry->d_name, METADATA) != 0;
    closedir(folder);
    return holds;
}

static int make_one(const char *path, const struct mr_uuid *id, bool sync)
{
    char text[METADATA_BYTES];
    size_t bytes = metadata_text(id, text);
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return -errno;
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), file = -1;
    int rc = folder < 0 ? -errno : 0;
    if (rc == 0)
        file = openat(folder, METADATA, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (rc == 0 && (file < 0 || write(file, text, bytes) != (ssize_t)bytes || (sync && (fsync(file) != 0 || fsync(folder) != 0))))
        rc = errno != 0 ? -errno : -EIO;
    if (file >= 0)
        close(file);
    if (folder >= 0)
        close(folder);
    return rc;
}

/* The names in all log directories. @param all what lies in the directories, too */
static int sync_all(const struct mr_node_config *config, bool all, struct millrace_error *err)
{
    for (uint32_t d = 0; d < config->log_dirs.count; d++) {
        int folder = open(config->log_dirs.item[d], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int rc = folder < 0 || (all && syncfs(folder) != 0) || fsync(folder) != 0 ? -errno : 0;
        if (folder >= 0)
            close(folder);
        if (rc != 0)
            return mr_err(err, -rc, "cannot sync '%s': %s", config->log_dirs.item[d], strerror(-rc));
    }
    return 0;
}

int mr_partition_dirs_make(struct mr_topic *topic, uint32_t first, const struct mr_node_config *config, struct millrace_error *err)
{
    char path[PATH_BYTES];
    for (uint32_t p = first; p < topic->partition_count; p++)
        for (uint32_t d = 0; d < config->log_dirs.count; d++) {
            path_of(topic, p, config, d, path);
            if (holds_files(path))
                return mr_err(err, ENOTEMPTY, "cannot make a partition of topic '%s': '%s' is there already and may hold records of another topic: move it "
                              "away", topic->name, path);
        }
    bool sync_each = topic->partition_count - first <= SYNC_EACH_MAX;
    for (uint32_t p = first; p < topic->partition_count; p++) {
        path_of(topic, p, config, topic->partitions[p]->directory, path);
        int rc = make_one(path, &topic->id, sync_each);
        if (rc != 0)
            return mr_err(err, -rc, "cannot make '%s': %s", path, strerror(-rc));
    }
    return sync_all(config, !sync_each, err);
}

void mr_partition_dirs_remove(const struct mr_topic *topic, uint32_t first, const struct mr_node_config *config)
{
    char path[PATH_BYTES], file[PATH_BYTES + sizeof METADATA];
    for (uint32_t p = first; p < topic->partition_count; p++) {
        path_of(topic, p, config, topic->partitions[p]->directory, path);
        snprintf(file, sizeof file, "%s/" METADATA, path);
        if (look(path, &topic->id) == OURS && !holds_files(path)) {
            unlink(file);
            rmdir(path);
        }
    }
}

int mr_partition_dirs_trash(const struct mr_topic *topic, const struct mr_node_config *config, struct millrace_error *err)
{
    char path[PATH_BYTES], to[PATH_BYTES], id[MR_UUID_CHARS + 1];
    mr_uuid_text(&topic->id, id);
    for (uint32_t p = 0; p < topic->partition_count; p++) {
        const struct mr_topic_partition *partition = topic->partitions[p];
        if (partition->lost != NULL)
            continue; /* where it is, if it is, nobody knows */
        path_of(topic, p, config, partition->directory, path);
        snprintf(to, sizeof to, "%s/%s-%u" MR_TRASH_SUFFIX, config->log_dirs.item[partition->directory], id, p);
        if (rename(path, to) != 0 && errno != ENOENT)
            return mr_err(err, errno, "cannot rename '%s', which is to be deleted: %s", path, strerror(errno));
    }
    return sync_all(config, false, err);
}
