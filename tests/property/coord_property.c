/* SPDX-License-Identifier: Apache-2.0 */
/* Random requests to a coordination store and to a naive tree: the same answers, the same watches fired, the same tree after it was opened anew.
 * What is tested is what is behind the face: another implementation is tested by opening it here. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "drivers/coord/coord.h"
#include "shm/base/bits.h"
#include "shm/base/random.h"
#include "tests/support/property.h"

#define NODES_MAX   256
#define PATH_BYTES  64
#define WATCHES_MAX 512
#define BATCH_MAX   6

struct model_node {
    char path[PATH_BYTES];
    char data[16];
    uint32_t data_bytes, sequence;
    int32_t version, children_version;
    bool ephemeral;
};

struct model {
    struct model_node node[NODES_MAX]; /* [0] is the root */
    uint32_t count;
};

struct model_watch {
    uint64_t tag;
    char path[PATH_BYTES];
    bool of_children, fired;
};

static struct model_watch watch[WATCHES_MAX];
static uint32_t watch_count;
static struct mr_random dice;
static struct {
    uint64_t changes, refused, reads, fired, opened;
} done;

static struct model_node *at(struct model *model, const char *path)
{
    for (uint32_t i = 0; i < model->count; i++)
        if (strcmp(model->node[i].path, path) == 0)
            return &model->node[i];
    return NULL;
}

static void parent_path(const char *path, char parent[PATH_BYTES])
{
    snprintf(parent, PATH_BYTES, "%s", path);
    char *slash = strrchr(parent, '/');
    slash[slash == parent] = '\0';
}

static bool is_child(const char *path, const char *parent)
{
    char of[PATH_BYTES];
    if (strcmp(path, "/") == 0)
        return false;
    parent_path(path, of);
    return strcmp(of, parent) == 0;
}

static uint32_t children(const struct model *model, const char *path)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < model->count; i++)
        count += is_child(model->node[i].path, path);
    return count;
}

static void drop(struct model *model, struct model_node *node)
{
    char parent[PATH_BYTES];
    parent_path(node->path, parent);
    at(model, parent)->children_version++;
    *node = model->node[--model->count];
}

/* @param path given its digits */
static int model_change(struct model *model, const struct mr_coord_change *change, char path[PATH_BYTES])
{
    char parent[PATH_BYTES];
    snprintf(path, PATH_BYTES, "%s", change->path);
    if (change->kind == MR_COORD_CREATE) {
        parent_path(path, parent);
        struct model_node *above = at(model, parent);
        if (above == NULL)
            return -ENOENT;
        if (above->ephemeral)
            return -ENOTSUP;
        if ((change->flags & MR_COORD_SEQUENTIAL) != 0)
            snprintf(path + strlen(path), 11, "%010u", above->sequence);
        if (at(model, path) != NULL)
            return -EEXIST;
        above->children_version++;
        above->sequence += (change->flags & MR_COORD_SEQUENTIAL) != 0;
        must(model->count < NODES_MAX);
        struct model_node *node = &model->node[model->count++];
        *node = (struct model_node){.data_bytes = (uint32_t)change->data_bytes, .ephemeral = (change->flags & MR_COORD_EPHEMERAL) != 0};
        snprintf(node->path, sizeof node->path, "%s", path);
        memcpy(node->data, change->data, change->data_bytes);
        return 0;
    }
    struct model_node *node = at(model, path);
    if (node == NULL)
        return -ENOENT;
    if (change->version != MR_COORD_ANY && change->version != node->version)
        return -ESTALE;
    if (change->kind == MR_COORD_SET) {
        node->version++;
        node->data_bytes = (uint32_t)change->data_bytes;
        memcpy(node->data, change->data, change->data_bytes);
    } else if (change->kind == MR_COORD_DELETE) {
        if (children(model, path) > 0)
            return -ENOTEMPTY;
        drop(model, node);
    }
    return 0;
}

static void model_fire(const char *path, bool of_children)
{
    for (uint32_t i = 0; i < watch_count; i++)
        if (watch[i].of_children == of_children && strcmp(watch[i].path, path) == 0)
            watch[i].fired = true;
}

static void random_path(const struct model *model, char path[PATH_BYTES])
{
    if (mr_random_chance(&dice, 1, 2) && model->count > 1) {
        snprintf(path, PATH_BYTES, "%s", model->node[1 + mr_random_below(&dice, model->count - 1)].path);
        return;
    }
    uint64_t depth = 1 + mr_random_below(&dice, 3);
    path[0] = '\0';
    for (uint64_t i = 0; i < depth; i++)
        snprintf(path + strlen(path), PATH_BYTES - strlen(path), "/%c", (char)('a' + mr_random_below(&dice, 4)));
}

/* Take what came: every watch that should have fired has, before the reply, and no other. */
static struct mr_coord_reply take_reply(struct mr_coord *coord, uint64_t tag)
{
    struct mr_coord_reply reply[WATCHES_MAX + 1];
    uint32_t expected = 0;
    for (uint32_t i = 0; i < watch_count; i++)
        expected += watch[i].fired;
    uint32_t count = mr_coord_poll(coord, reply, MR_COUNT_OF(reply));
    must(count == expected + 1 && reply[count - 1].kind == MR_COORD_REPLY && reply[count - 1].tag == tag);
    for (uint32_t k = 0; k + 1 < count; k++) {
        must(reply[k].kind == MR_COORD_FIRED);
        uint32_t i = 0;
        while (i < watch_count && watch[i].tag != reply[k].tag)
            i++;
        must(i < watch_count && watch[i].fired && strcmp(watch[i].path, reply[k].path) == 0);
        watch[i] = watch[--watch_count];
        done.fired++;
    }
    return reply[count - 1];
}

static void step_changes(struct mr_coord *coord, struct model *model, uint64_t tag)
{
    static struct model before;
    struct mr_coord_change change[BATCH_MAX];
    char path[BATCH_MAX][PATH_BYTES], told[BATCH_MAX][PATH_BYTES], data[BATCH_MAX][16];
    uint32_t count = mr_random_chance(&dice, 1, 3) ? 1 + (uint32_t)mr_random_below(&dice, BATCH_MAX) : 1, made = 0;
    int rc = 0;

    before = *model;
    for (; made < count && rc == 0; made++) {
        uint64_t kind = mr_random_below(&dice, 10);
        random_path(model, path[made]);
        memset(data[made], (int)mr_random_below(&dice, 256), sizeof data[made]);
        change[made] = (struct mr_coord_change){.path = path[made], .data = data[made], .data_bytes = mr_random_below(&dice, 17), .version = MR_COORD_ANY};
        change[made].kind = kind < 5 ? MR_COORD_CREATE : kind < 7 ? MR_COORD_SET : kind < 9 ? MR_COORD_DELETE : MR_COORD_CHECK;
        if (change[made].kind == MR_COORD_CREATE && model->count > NODES_MAX - 2 * BATCH_MAX)
            change[made].kind = MR_COORD_DELETE;
        if (change[made].kind == MR_COORD_CREATE) {
            change[made].flags = (mr_random_chance(&dice, 1, 6) ? MR_COORD_EPHEMERAL : 0) | (mr_random_chance(&dice, 1, 6) ? MR_COORD_SEQUENTIAL : 0);
            if (strlen(path[made]) > 40)
                change[made].flags &= ~(uint32_t)MR_COORD_SEQUENTIAL;
        } else {
            const struct model_node *node = at(model, path[made]);
            if (mr_random_chance(&dice, 1, 2))
                change[made].version = node != NULL && mr_random_chance(&dice, 3, 4) ? node->version : (int32_t)mr_random_below(&dice, 5);
        }
        rc = model_change(model, &change[made], told[made]);
    }
    struct mr_coord_request request = {.tag = tag, .kind = MR_COORD_CHANGES, .changes = change, .change_count = made};
    for (uint32_t i = 0; i < made && rc == 0; i++) {
        char parent[PATH_BYTES];
        if (change[i].kind == MR_COORD_CHECK)
            continue;
        model_fire(told[i], false);
        if (change[i].kind == MR_COORD_SET)
            continue;
        parent_path(told[i], parent);
        model_fire(parent, true);
        if (change[i].kind == MR_COORD_DELETE)
            model_fire(told[i], true);
    }
    if (rc != 0)
        *model = before;
    must(mr_coord_submit(coord, &request) == 0);
    struct mr_coord_reply reply = take_reply(coord, tag);
    must(reply.result == rc);
    must(rc == 0 || reply.failed == made - 1);
    must(strcmp(reply.path, told[made - 1]) == 0);
    const struct model_node *node = at(model, told[made - 1]);
    if (rc == 0 && change[made - 1].kind != MR_COORD_DELETE)
        must(reply.stat.version == node->version && reply.stat.children_version == node->children_version &&
             reply.stat.children_count == children(model, node->path) &&
             reply.stat.session == (node->ephemeral ? mr_coord_session(coord) : 0));
    done.changes += rc == 0;
    done.refused += rc != 0;
}

static void read_node(struct mr_coord *coord, struct model *model, const char *path, uint64_t tag, bool wants_children, bool wants_watch)
{
    struct mr_coord_request request = {.tag = tag, .kind = wants_children ? MR_COORD_CHILDREN : MR_COORD_GET, .path = path, .watch = wants_watch};
    const struct model_node *node = at(model, path);

    must(mr_coord_submit(coord, &request) == 0);
    struct mr_coord_reply reply = take_reply(coord, tag);
    must(reply.result == (node != NULL ? 0 : -ENOENT));
    if (wants_watch && (node != NULL || !wants_children)) {
        watch[watch_count] = (struct model_watch){.tag = tag, .of_children = wants_children};
        snprintf(watch[watch_count++].path, PATH_BYTES, "%s", path);
    }
    if (node == NULL)
        return;
    must(reply.stat.version == node->version && reply.stat.children_version == node->children_version &&
         reply.stat.children_count == children(model, path));
    if (!wants_children) {
        must(reply.data_bytes == node->data_bytes && memcmp(reply.data, node->data, node->data_bytes) == 0);
        return;
    }
    must(reply.name_count == children(model, path));
    for (uint32_t i = 0; i < reply.name_count; i++) {
        char child[2 * PATH_BYTES];
        snprintf(child, sizeof child, "%s/%s", strcmp(path, "/") == 0 ? "" : path, reply.names[i]);
        must(at(model, child) != NULL);
        must(i == 0 || strcmp(reply.names[i - 1], reply.names[i]) < 0);
    }
}

static void open_anew(struct mr_coord **coord, struct model *model, const char *path)
{
    struct millrace_error err;
    uint64_t session = mr_coord_session(*coord);

    mr_coord_release(*coord);
    must(mr_coord_embedded_open(coord, path, &err) == 0);
    must(mr_coord_session(*coord) > session);
    watch_count = 0;
    for (uint32_t i = 1; i < model->count;) /* nothing is below them */
        if (model->node[i].ephemeral)
            drop(model, &model->node[i]);
        else
            i++;
    for (uint32_t i = 0; i < model->count; i++) {
        read_node(*coord, model, model->node[i].path, i, false, false);
        read_node(*coord, model, model->node[i].path, i, true, false);
    }
    done.opened++;
}

int main(void)
{
    static struct model model = {.node = {{.path = "/"}}, .count = 1};
    const char *level = getenv("MR_TEST_LEVEL");
    uint32_t steps = level != NULL && strcmp(level, "full") == 0 ? 100000 : 8000;
    char folder[] = "/tmp/millrace-coord-XXXXXX", path[64], wal[72];
    struct millrace_error err;
    struct mr_coord *coord;

    mr_random_init(&dice, property_seed(), 0);
    must(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/store", folder);
    snprintf(wal, sizeof wal, "%s-wal", path);
    must(mr_coord_embedded_open(&coord, path, &err) == 0);
    for (uint32_t step = 1; step <= steps; step++) {
        char node[PATH_BYTES];
        random_path(&model, node);
        if (mr_random_chance(&dice, 1, 500))
            open_anew(&coord, &model, path);
        else if (mr_random_chance(&dice, 1, 3))
            read_node(coord, &model, mr_random_chance(&dice, 1, 10) ? "/" : node, step, mr_random_chance(&dice, 1, 2),
                      mr_random_chance(&dice, 1, 2) && watch_count < WATCHES_MAX);
        else
            step_changes(coord, &model, step);
        done.reads++;
    }
    open_anew(&coord, &model, path);
    mr_coord_release(coord);
    unlink(wal);
    must(unlink(path) == 0 && rmdir(folder) == 0);
    printf("%llu changes, %llu refused, %llu watches fired, opened %llu times, %u nodes\n", (unsigned long long)done.changes,
           (unsigned long long)done.refused, (unsigned long long)done.fired, (unsigned long long)done.opened, model.count);
    must(done.changes > steps / 8 && done.refused > steps / 16 && done.fired > 20);
    return 0;
}
