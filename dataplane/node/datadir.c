/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/node/datadir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dataplane/node/topic.h"
#include "shm/base/bits.h"
#include "shm/base/logging.h"

#define LOCK_WAIT_MS 5000

static void join(const struct mr_datadir *directory, const char *name, char *path, size_t path_bytes)
{
    snprintf(path, path_bytes, "%s/%s", directory->path, name);
}

static int sync_directory(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = fsync(fd) == 0 ? 0 : -errno;
    close(fd);
    return rc;
}

int mr_datadir_replace(const struct mr_datadir *directory, const char *name, const void *data, size_t bytes, int mode, struct millrace_error *err)
{
    char path[600], temporary[620];
    join(directory, name, path, sizeof path);
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (fd < 0)
        return mr_err(err, errno, "cannot write '%s': %s; check owner and free space of the directory", temporary, strerror(errno));
    int rc = 0;
    for (size_t done = 0; rc == 0 && done < bytes;) {
        ssize_t n = write(fd, (const char *)data + done, bytes - done);
        if (n < 0 && errno != EINTR)
            rc = -errno;
        else if (n > 0)
            done += (size_t)n;
    }
    if (rc == 0 && (fchmod(fd, (mode_t)mode) != 0 || fsync(fd) != 0))
        rc = -errno;
    close(fd);
    if (rc == 0 && rename(temporary, path) != 0)
        rc = -errno;
    if (rc == 0)
        rc = sync_directory(directory->path);
    if (rc != 0) {
        unlink(temporary);
        return mr_err(err, -rc, "cannot replace '%s': %s; check free space and the disk", path, strerror(-rc));
    }
    return 0;
}

int64_t mr_datadir_read(const struct mr_datadir *directory, const char *name, char **data, struct millrace_error *err)
{
    char path[600];
    struct stat st;
    join(directory, name, path, sizeof path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return mr_err(err, errno, "cannot read '%s': %s", path, strerror(errno));
    int64_t rc = fstat(fd, &st) != 0 ? -errno : st.st_size;
    *data = rc >= 0 ? malloc((size_t)rc + 1) : NULL;
    if (rc >= 0 && *data == NULL)
        rc = -ENOMEM;
    for (int64_t done = 0; rc > 0 && done < rc;) {
        ssize_t n = read(fd, *data + done, (size_t)(rc - done));
        if (n < 0 && errno != EINTR)
            rc = -errno;
        else if (n == 0)
            rc = done;
        else if (n > 0)
            done += n;
    }
    close(fd);
    if (rc < 0) {
        free(*data);
        *data = NULL;
        return mr_err(err, (int)-rc, "cannot read '%s': %s", path, strerror((int)-rc));
    }
    (*data)[rc] = '\0';
    return rc;
}

/* Who has the directory in use, if it lives. A lock of fcntl goes with its process, before that is a zombie, and no pid that was given again
 * can be taken for it; the lock of flock stays until the last I/O of a dead daemon's rings is over. So both are held: the one that a dead
 * daemon cannot hold tells whether to wait. */
static bool is_held_by_a_process(const struct mr_datadir *directory, long *pid)
{
    char text[32] = "";
    struct flock held = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    ssize_t n = pread(directory->lock_fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    *pid = strtol(text, NULL, 10);
    if (fcntl(directory->lock_fd, F_GETLK, &held) != 0 || held.l_type == F_UNLCK)
        return false;
    if (held.l_pid > 0) /* else it is of another name space of pids: what it wrote is what its users know it by */
        *pid = held.l_pid;
    return true;
}

static int lock(struct mr_datadir *directory, struct millrace_error *err)
{
    char path[600], text[32];
    struct flock mine = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    long pid = 0;
    join(directory, ".lock", path, sizeof path);
    for (int waited_ms = 0;; waited_ms++) {
        struct stat st;
        if (directory->lock_fd < 0)
            directory->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (directory->lock_fd < 0)
            return mr_err(err, errno, "cannot open '%s': %s; check who owns the directory", path, strerror(errno));
        if (flock(directory->lock_fd, LOCK_EX | LOCK_NB) == 0 && fcntl(directory->lock_fd, F_SETLK, &mine) == 0) {
            if (fstat(directory->lock_fd, &st) == 0 && st.st_nlink > 0)
                break;
            close(directory->lock_fd); /* a start that was refused has removed it meanwhile */
            directory->lock_fd = -1;
            continue;
        }
        if (errno != EWOULDBLOCK && errno != EACCES && errno != EINTR)
            return mr_err(err, errno, "cannot lock '%s': %s; use another --data", path, strerror(errno));
        if (is_held_by_a_process(directory, &pid))
            return mr_err(err, EBUSY, "data directory '%s' is in use by millraced with pid %ld; stop it first, or use another --data", directory->path,
                          pid);
        if (waited_ms == LOCK_WAIT_MS)
            return mr_err(err, EBUSY, "data directory '%s' is locked and pid %ld is gone: its last writes hang in the kernel; check the disk",
                          directory->path, pid);
        usleep(1000);
    }
    int used = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(directory->lock_fd, 0) != 0 || pwrite(directory->lock_fd, text, (size_t)used, 0) != used)
        return mr_err(err, errno, "cannot write '%s': %s", path, strerror(errno));
    return 0;
}

static const char *property(const char *text, const char *key, char *value, size_t value_bytes)
{
    size_t key_bytes = strlen(key);
    for (const char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, key_bytes) == 0 && line[key_bytes] == '=') {
            snprintf(value, value_bytes, "%.*s", (int)strcspn(line + key_bytes + 1, "\r\n"), line + key_bytes + 1);
            return value;
        }
    }
    return NULL;
}

static int check_meta(struct mr_datadir *directory, int64_t broker_id, const char *text, struct millrace_error *err)
{
    char value[128];
    if (property(text, "version", value, sizeof value) == NULL || strcmp(value, "1") != 0)
        return mr_err(err, EINVAL, "'%s/meta.properties' is not of a version that this millraced knows; use another --data", directory->path);
    if (property(text, "broker.id", value, sizeof value) == NULL || strtoll(value, NULL, 10) != broker_id)
        return mr_err(err, EINVAL, "data directory '%s' belongs to broker.id=%s, this node is broker.id=%lld; correct broker.id or use another --data",
                      directory->path, value, (long long)broker_id);
    if (property(text, "directory.id", value, sizeof value) == NULL || !mr_uuid_parse(value, &directory->id))
        return mr_err(err, EINVAL, "'%s/meta.properties' has no directory.id: not a Millrace data directory; use another --data", directory->path);
    return 0;
}

/* What lies there: what the home has, what a first start may leave that died early, everything else. @return is it marked as ours? */
static bool look_at_names(struct mr_datadir *directory)
{
    static const char *const early[] = {".", "..", ".lock", "lost+found", "meta.properties", "meta.properties.tmp", MR_DATADIR_LIST,
                                        MR_DATADIR_LIST ".tmp", "topics.json.tmp"};
    bool is_marked = false;
    DIR *folder = opendir(directory->path);
    directory->has_list = directory->has_topics = false;
    directory->is_empty = true;
    for (struct dirent *entry = folder != NULL ? readdir(folder) : NULL; entry != NULL; entry = readdir(folder)) {
        bool is_early = false;
        for (uint32_t i = 0; i < MR_COUNT_OF(early); i++)
            is_early |= strcmp(entry->d_name, early[i]) == 0;
        is_marked |= strcmp(entry->d_name, "meta.properties") == 0;
        directory->has_list |= strcmp(entry->d_name, MR_DATADIR_LIST) == 0;
        directory->has_topics |= strcmp(entry->d_name, "topics.json") == 0;
        directory->is_empty &= is_early;
    }
    if (folder != NULL)
        closedir(folder);
    return is_marked;
}

int mr_datadir_open(struct mr_datadir *directory, const char *path, int64_t broker_id, struct millrace_error *err)
{
    char *text = NULL;
    struct stat st;
    memset(directory, 0, sizeof *directory);
    directory->lock_fd = -1;
    if (snprintf(directory->path, sizeof directory->path, "%s", path) >= (int)sizeof directory->path)
        return mr_err(err, ENAMETOOLONG, "log.dirs: '%.60s...' is longer than %zu bytes", path, sizeof directory->path - 1);
    directory->is_made = mkdir(path, 0700) == 0;
    if (!directory->is_made && errno != EEXIST)
        return mr_err(err, errno, "cannot make data directory '%s': %s; make it yourself, or name another with --data", path, strerror(errno));
    if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode))
        return mr_err(err, ENOTDIR, "data directory '%s': %s; name a directory with --data", path, strerror(ENOTDIR));
    if (access(path, R_OK | W_OK | X_OK) != 0)
        return mr_err(err, errno, "cannot write to data directory '%s': %s; check owner and mode, or name another with --data", path, strerror(errno));
    if (!look_at_names(directory) && !directory->is_empty)
        return mr_err(err, EINVAL, "'%s' is not a Millrace data directory: it holds other files and no meta.properties; name an empty one with --data", path);
    int rc = lock(directory, err);
    if (rc != 0)
        return rc;
    /* Once more: whoever had the lock may have begun here. */
    directory->is_fresh = !look_at_names(directory);
    if (directory->is_fresh)
        return mr_uuid_random(&directory->id) == 0 ? 0 : mr_err(err, EIO, "no random bytes from the kernel");
    int64_t bytes = mr_datadir_read(directory, "meta.properties", &text, err);
    if (bytes < 0)
        return (int)bytes;
    rc = check_meta(directory, broker_id, text, err);
    free(text);
    return rc;
}

int mr_datadir_claim(struct mr_datadir *directory, int64_t broker_id, struct millrace_error *err)
{
    char meta[256], id[33];
    if (!directory->is_fresh)
        return 0;
    mr_uuid_text(&directory->id, id);
    int used = snprintf(meta, sizeof meta, "version=1\nbroker.id=%lld\ndirectory.id=%s\n", (long long)broker_id, id);
    int rc = mr_datadir_replace(directory, "meta.properties", meta, (size_t)used, 0644, err);
    if (rc == 0)
        directory->is_made = directory->is_fresh = false;
    return rc;
}

void mr_datadir_close(struct mr_datadir *directory)
{
    char path[600];
    join(directory, ".lock", path, sizeof path);
    if (directory->is_fresh)
        unlink(path);
    if (directory->is_made) /* and nothing was put into it */
        rmdir(directory->path);
    directory->is_made = directory->is_fresh = false;
    if (directory->lock_fd >= 0)
        close(directory->lock_fd);
    directory->lock_fd = -1;
}
