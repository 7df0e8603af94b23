/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/node/trash.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/base/logging.h"

struct mr_trash {
    const struct mr_node_config *config;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool look, stop; /* under the lock */
};

static bool is_stopping(struct mr_trash *trash)
{
    pthread_mutex_lock(&trash->lock);
    bool stop = trash->stop;
    pthread_mutex_unlock(&trash->lock);
    return stop;
}

static bool is_trash(const char *name)
{
    size_t bytes = strlen(name), suffix_bytes = strlen(MR_TRASH_SUFFIX);
    return bytes > suffix_bytes && strcmp(name + bytes - suffix_bytes, MR_TRASH_SUFFIX) == 0;
}

/* A partition's directory holds files only. */
static void delete_directory(struct mr_trash *trash, int parent, const char *parent_path, const char *name)
{
    int rc = 0;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    if (folder == NULL) {
        rc = errno;
        if (fd >= 0)
            close(fd);
    }
    for (struct dirent *entry = NULL; folder != NULL && !is_stopping(trash) && (entry = readdir(folder)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && unlinkat(dirfd(folder), entry->d_name, 0) != 0)
            rc = errno;
    if (folder != NULL)
        closedir(folder);
    if (is_stopping(trash))
        return;
    if (rc == 0 && unlinkat(parent, name, AT_REMOVEDIR) != 0)
        rc = errno;
    if (rc != 0)
        mr_say_warn("'%s/%s' is of a deleted topic and cannot be deleted: %s; remove it by hand", parent_path, name, strerror(rc));
}

static void sweep(struct mr_trash *trash)
{
    for (uint32_t d = 0; d < trash->config->log_dirs.count; d++) {
        const char *path = trash->config->log_dirs.item[d];
        DIR *folder = opendir(path);
        for (struct dirent *entry = NULL; folder != NULL && !is_stopping(trash) && (entry = readdir(folder)) != NULL;)
            if (is_trash(entry->d_name))
                delete_directory(trash, dirfd(folder), path, entry->d_name);
        if (folder != NULL)
            closedir(folder);
    }
}

static void *run(void *argument)
{
    struct mr_trash *trash = argument;
    pthread_mutex_lock(&trash->lock);
    while (!trash->stop) {
        if (!trash->look) {
            pthread_cond_wait(&trash->changed, &trash->lock);
            continue;
        }
        trash->look = false;
        pthread_mutex_unlock(&trash->lock);
        sweep(trash);
        pthread_mutex_lock(&trash->lock);
    }
    pthread_mutex_unlock(&trash->lock);
    return NULL;
}

int mr_trash_start(struct mr_trash **out, const struct mr_node_config *config, struct millrace_error *err)
{
    struct mr_trash *trash = calloc(1, sizeof *trash);
    if (trash == NULL)
        return mr_err(err, ENOMEM, "no memory for a thread that deletes");
    trash->config = config;
    trash->look = true;
    pthread_mutex_init(&trash->lock, NULL);
    pthread_cond_init(&trash->changed, NULL);
    int rc = pthread_create(&trash->thread, NULL, run, trash);
    if (rc != 0) {
        free(trash);
        return mr_err(err, rc, "cannot start a thread that deletes: %s", strerror(rc));
    }
    *out = trash;
    return 0;
}

static void signal_both(struct mr_trash *trash, bool stop)
{
    pthread_mutex_lock(&trash->lock);
    trash->look = true;
    trash->stop = stop;
    pthread_cond_signal(&trash->changed);
    pthread_mutex_unlock(&trash->lock);
}

void mr_trash_look(struct mr_trash *trash)
{
    if (trash != NULL)
        signal_both(trash, false);
}

void mr_trash_stop(struct mr_trash *trash)
{
    if (trash == NULL)
        return;
    signal_both(trash, true);
    pthread_join(trash->thread, NULL);
    pthread_mutex_destroy(&trash->lock);
    pthread_cond_destroy(&trash->changed);
    free(trash);
}
