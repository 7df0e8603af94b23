/* SPDX-License-Identifier: Apache-2.0 */
/* The store of a node that is alone: requests, replies and watches over a tree that is on the disk (tree.h).
 *
 * A request is answered while it is submitted: its reply and the watches that it fired wait in a queue for mr_coord_poll(). A watch is made with
 * all the memory that telling of it takes, so that a change that happened is never left unsaid. */
#include "drivers/coord/coord.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "drivers/coord/tree.h"

/* A reply that waits to be taken, or a watch that waits to fire. */
struct entry {
    struct entry *next;
    struct mr_coord_reply reply;
    bool of_children; /* a watch */
    char path[MR_COORD_PATH_MAX + 1];
    void *data; /* what the reply's pointers go to besides */
    char **names;
};

struct embedded {
    struct mr_coord coord;
    struct mr_coord_tree *tree;
    int event_fd;
    struct entry *waiting, **waiting_end, *given, *watches;
};

static void give(struct embedded *store, struct entry *entry)
{
    uint64_t one = 1;

    entry->next = NULL;
    *store->waiting_end = entry;
    store->waiting_end = &entry->next;
    ssize_t ignored = write(store->event_fd, &one, sizeof one); /* full: it is readable anyway */
    (void)ignored;
}

static void fire(struct embedded *store, const char *path, bool of_children)
{
    for (struct entry **at = &store->watches; *at != NULL;) {
        struct entry *watch = *at;
        if (watch->of_children != of_children || strcmp(watch->path, path) != 0) {
            at = &watch->next;
            continue;
        }
        *at = watch->next;
        give(store, watch);
    }
}

/* What came of a change that is durable. */
static void fire_for(struct embedded *store, enum mr_coord_change_kind kind, const char *path)
{
    char parent[MR_COORD_PATH_MAX + 1];

    if (kind == MR_COORD_CHECK)
        return;
    fire(store, path, false);
    if (kind == MR_COORD_SET)
        return;
    mr_coord_path_parent(path, parent);
    fire(store, parent, true);
    if (kind == MR_COORD_DELETE)
        fire(store, path, true);
}

static int submit_changes(struct embedded *store, const struct mr_coord_request *request, struct entry *entry)
{
    char(*paths)[MR_COORD_PATH_MAX + 1] = calloc(request->change_count, sizeof *paths);

    if (paths == NULL)
        return -ENOMEM;
    entry->reply.result = mr_coord_tree_change(store->tree, request, paths, &entry->reply);
    uint32_t told = entry->reply.result == 0 ? request->change_count - 1 : entry->reply.failed;
    snprintf(entry->path, sizeof entry->path, "%s", paths[told][0] != '\0' ? paths[told] : request->changes[told].path);
    for (uint32_t i = 0; i < request->change_count && entry->reply.result == 0; i++)
        fire_for(store, request->changes[i].kind, paths[i]); /* C2: before the reply */
    free(paths);
    return 0;
}

static int collect_names(struct embedded *store, struct entry *entry)
{
    uint32_t count = entry->reply.stat.children_count;

    entry->names = calloc(count + 1u, sizeof *entry->names);
    if (entry->names == NULL)
        return -ENOMEM;
    entry->reply.names = (const char *const *)entry->names;
    entry->reply.name_count = count;
    return mr_coord_tree_names(store->tree, entry->path, entry->names, count);
}

static int submit_read(struct embedded *store, const struct mr_coord_request *request, struct entry *entry)
{
    struct entry *watch = NULL;

    if (request->watch) {
        watch = calloc(1, sizeof *watch);
        if (watch == NULL)
            return -ENOMEM;
        watch->of_children = request->kind == MR_COORD_CHILDREN;
        watch->reply = (struct mr_coord_reply){.tag = request->tag, .kind = MR_COORD_FIRED};
        snprintf(watch->path, sizeof watch->path, "%s", request->path);
        watch->reply.path = watch->path;
    }
    snprintf(entry->path, sizeof entry->path, "%s", request->path);
    int rc = mr_coord_tree_get(store->tree, request->path, &entry->reply.stat, request->kind == MR_COORD_GET ? &entry->data : NULL,
                               &entry->reply.data_bytes);
    entry->reply.data = entry->data;
    if (rc == 0 && request->kind == MR_COORD_CHILDREN)
        rc = collect_names(store, entry);
    entry->reply.result = rc;
    bool is_set = rc == 0 || (rc == -ENOENT && request->kind == MR_COORD_GET);
    if (watch != NULL && is_set) {
        watch->next = store->watches;
        store->watches = watch;
    } else {
        free(watch);
    }
    return 0;
}

static bool is_well_formed(const struct mr_coord_request *request)
{
    if (request->kind != MR_COORD_CHANGES)
        return mr_coord_path_is_valid(request->path);
    if (request->change_count == 0 || request->change_count > MR_COORD_CHANGES_MAX)
        return false;
    for (uint32_t i = 0; i < request->change_count; i++) {
        const struct mr_coord_change *change = &request->changes[i];
        bool moves_root = strcmp(change->path, "/") == 0 && (change->kind == MR_COORD_CREATE || change->kind == MR_COORD_DELETE);
        if (!mr_coord_path_is_valid(change->path) || moves_root || change->data_bytes > MR_COORD_DATA_MAX)
            return false;
    }
    return true;
}

static void free_entries(struct entry *entry)
{
    while (entry != NULL) {
        struct entry *next = entry->next;
        for (uint32_t i = 0; entry->names != NULL && entry->names[i] != NULL; i++)
            free(entry->names[i]);
        free(entry->names);
        free(entry->data);
        free(entry);
        entry = next;
    }
}

static int submit(struct mr_coord *coord, const struct mr_coord_request *request)
{
    struct embedded *store = (struct embedded *)coord;

    if (!is_well_formed(request))
        return -EINVAL;
    struct entry *entry = calloc(1, sizeof *entry);
    if (entry == NULL)
        return -ENOMEM;
    entry->reply.tag = request->tag;
    entry->reply.path = entry->path;
    int rc = request->kind == MR_COORD_CHANGES ? submit_changes(store, request, entry) : submit_read(store, request, entry);
    if (rc != 0)
        free_entries(entry);
    else
        give(store, entry);
    return rc;
}

static uint32_t poll_replies(struct mr_coord *coord, struct mr_coord_reply *replies, uint32_t max)
{
    struct embedded *store = (struct embedded *)coord;
    struct entry **given_end = &store->given;
    uint64_t ignored;
    uint32_t count = 0;

    free_entries(store->given);
    store->given = NULL;
    while (count < max && store->waiting != NULL) {
        struct entry *entry = store->waiting;
        store->waiting = entry->next;
        entry->next = NULL;
        replies[count++] = entry->reply;
        *given_end = entry;
        given_end = &entry->next;
    }
    if (store->waiting == NULL) {
        store->waiting_end = &store->waiting;
        ssize_t cleared = read(store->event_fd, &ignored, sizeof ignored);
        (void)cleared;
    }
    return count;
}

static int wait_fd(struct mr_coord *coord)
{
    return ((struct embedded *)coord)->event_fd;
}

static uint64_t session(const struct mr_coord *coord)
{
    return mr_coord_tree_session(((const struct embedded *)coord)->tree);
}

static void release(struct mr_coord *coord)
{
    struct embedded *store = (struct embedded *)coord;

    mr_coord_tree_close(store->tree);
    if (store->event_fd >= 0)
        close(store->event_fd);
    free_entries(store->waiting);
    free_entries(store->given);
    free_entries(store->watches);
    free(store);
}

static const struct mr_coord_ops ops = {.submit = submit, .poll = poll_replies, .wait_fd = wait_fd, .session = session, .release = release};

int mr_coord_embedded_open(struct mr_coord **coord, const char *path, struct millrace_error *err)
{
    struct embedded *store = calloc(1, sizeof *store);

    if (store == NULL)
        return mr_err(err, ENOMEM, "no memory for the store '%s'", path);
    store->coord = (struct mr_coord){.ops = &ops, .name = "embedded"};
    store->waiting_end = &store->waiting;
    store->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = store->event_fd < 0 ? mr_err(err, errno, "eventfd: %s; raise the limit of open files (ulimit -n)", strerror(errno))
                                 : mr_coord_tree_open(&store->tree, path, err);
    if (rc != 0) {
        release(&store->coord);
        return rc;
    }
    *coord = &store->coord;
    return 0;
}
