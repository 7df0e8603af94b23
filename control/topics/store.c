/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to the store. Those of the start have a tag for each kind, the others one of their own. */
#include "control/topics/topics_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/base/bits.h"

enum tag {
    TAG_MADE = 1, /* the roots: they may be there already */
    TAG_NODE,
    TAG_IDS,
    TAG_TOPICS,
    TAG_DELETED,
    TAG_TOPIC,
    TAG_GONE,
};

static int submit(struct mr_topics *topics, const struct mr_coord_request *request)
{
    int rc = mr_coord_submit(topics->options.coord, request);
    topics->is_broken |= rc != 0;
    return rc;
}

uint64_t topics_submit(struct mr_topics *topics, const struct mr_coord_change *changes, uint32_t count)
{
    struct mr_coord_request request = {.tag = topics->next_tag++, .kind = MR_COORD_CHANGES, .changes = changes, .change_count = count};
    submit(topics, &request);
    return request.tag;
}

uint64_t topics_write(struct mr_topics *topics, enum mr_coord_change_kind kind, const char *name, const struct topics_value *value)
{
    char path[sizeof TOPICS_LIST + MR_TOPIC_NAME_MAX + 2];
    char *text = topics_value_text(value);
    struct mr_coord_change change = {.kind = kind, .path = path, .data = text, .data_bytes = text != NULL ? strlen(text) : 0, .version = MR_COORD_ANY};

    snprintf(path, sizeof path, TOPICS_LIST "/%s", name);
    topics->is_broken |= text == NULL;
    uint64_t tag = text != NULL ? topics_submit(topics, &change, 1) : 0;
    free(text);
    return tag;
}

uint64_t topics_write_gone(struct mr_topics *topics, const char *name, const struct mr_uuid *id, const struct mr_uuid *change)
{
    char from[sizeof TOPICS_LIST + MR_TOPIC_NAME_MAX + 2], to[sizeof TOPICS_GONE + MR_UUID_CHARS + 2], hex[MR_UUID_CHARS + 1];
    char *text = topics_gone_text(name, change);
    struct mr_coord_change changes[] = {
        {.kind = MR_COORD_DELETE, .path = from, .version = MR_COORD_ANY},
        {.kind = MR_COORD_CREATE, .path = to, .data = text, .data_bytes = text != NULL ? strlen(text) : 0},
    };

    mr_uuid_text(id, hex);
    snprintf(from, sizeof from, TOPICS_LIST "/%s", name);
    snprintf(to, sizeof to, TOPICS_GONE "/%s", hex);
    topics->is_broken |= text == NULL;
    uint64_t tag = text != NULL ? topics_submit(topics, changes, MR_COUNT_OF(changes)) : 0;
    free(text);
    return tag;
}

void topics_write_nothing_left(struct mr_topics *topics, const struct mr_uuid *id)
{
    char path[sizeof TOPICS_GONE + MR_UUID_CHARS + 2], hex[MR_UUID_CHARS + 1];
    struct mr_coord_change change = {.kind = MR_COORD_DELETE, .path = path, .version = MR_COORD_ANY};

    mr_uuid_text(id, hex);
    snprintf(path, sizeof path, TOPICS_GONE "/%s", hex);
    topics_submit(topics, &change, 1);
}

static void make(struct mr_topics *topics, const char *path, const char *data)
{
    struct mr_coord_change change = {.kind = MR_COORD_CREATE, .path = path, .data = data, .data_bytes = strlen(data)};
    struct mr_coord_request request = {.tag = TAG_MADE, .kind = MR_COORD_CHANGES, .changes = &change, .change_count = 1};
    topics->reads_awaited += submit(topics, &request) == 0;
}

static void read_one(struct mr_topics *topics, enum tag tag, enum mr_coord_request_kind kind, const char *path)
{
    struct mr_coord_request request = {.tag = tag, .kind = kind, .path = path};
    topics->reads_awaited += submit(topics, &request) == 0;
}

int topics_load(struct mr_topics *topics)
{
    char node[64], id[MR_UUID_CHARS + 1];

    topics->next_tag = TOPICS_TAG_FIRST;
    snprintf(node, sizeof node, TOPICS_NODES "/%lld", (long long)topics->options.config->broker_id);
    mr_uuid_text(&topics->options.data_id, id);
    make(topics, TOPICS_ROOT, "{\"version\":1}");
    make(topics, TOPICS_NODES, "");
    make(topics, TOPICS_LIST, "");
    make(topics, TOPICS_GONE, "");
    make(topics, TOPICS_IDS, "0");
    make(topics, node, id);
    /* In this order, for answers come in it (coord.h, C1). */
    read_one(topics, TAG_NODE, MR_COORD_GET, node);
    read_one(topics, TAG_IDS, MR_COORD_GET, TOPICS_IDS);
    read_one(topics, TAG_TOPICS, MR_COORD_CHILDREN, TOPICS_LIST);
    read_one(topics, TAG_DELETED, MR_COORD_CHILDREN, TOPICS_GONE);
    return topics->is_broken ? -ENOMEM : 0;
}

static int take_topic(struct mr_topics *topics, const struct mr_coord_reply *reply, struct millrace_error *err)
{
    struct topics_value value;
    const char *name = strrchr(reply->path, '/') + 1;

    if (topics_value_parse(reply->data, reply->data_bytes, &value) != 0 || mr_topic_name_check(name, err) != 0)
        return mr_err(err, EBADMSG, "the store's node '%s' is damaged, or of a later version of Millrace", reply->path);
    return topics_add(topics, name, &value) != NULL ? 0 : mr_err(err, ENOMEM, "no memory for topic '%s'", name);
}

static int take_gone(struct mr_topics *topics, const struct mr_coord_reply *reply, struct millrace_error *err)
{
    struct topics_value value = {.partition_count = 1};
    char name[MR_TOPIC_NAME_MAX + 1];

    if (topics_gone_parse(reply->data, reply->data_bytes, name, &value.change) != 0 || !mr_uuid_parse(strrchr(reply->path, '/') + 1, &value.id))
        return mr_err(err, EBADMSG, "the store's node '%s' is damaged, or of a later version of Millrace", reply->path);
    struct topics_topic *topic = topics_add(topics, name, &value);
    if (topic == NULL)
        return mr_err(err, ENOMEM, "no memory for topic '%s'", name);
    topics_mark_deleted(topics, topic);
    return 0;
}

int topics_loaded(struct mr_topics *topics, const struct mr_coord_reply *reply, struct millrace_error *err)
{
    char path[MR_COORD_PATH_MAX + 1], id[MR_UUID_CHARS + 1];
    char *end;

    topics->reads_awaited--;
    if (reply->result != 0 && !(reply->tag == TAG_MADE && reply->result == -EEXIST))
        return mr_err(err, -reply->result, "the store cannot be read at '%s': %s", reply->path, strerror(-reply->result));
    switch (reply->tag) {
    case TAG_NODE:
        mr_uuid_text(&topics->options.data_id, id);
        if (reply->data_bytes != MR_UUID_CHARS || memcmp(reply->data, id, MR_UUID_CHARS) != 0)
            return mr_err(err, EINVAL, "the store is of another data directory (its %s is %.*s, ours is %s): put the right one back, or move it away and "
                          "topics are taken from topics.json", reply->path, MR_UUID_CHARS, (const char *)reply->data, id);
        break;
    case TAG_IDS:
        topics->next_producer_id = strtoll(reply->data, &end, 10);
        if (end == reply->data || *end != '\0' || topics->next_producer_id < 0)
            return mr_err(err, EBADMSG, "the store's node '" TOPICS_IDS "' is no number");
        break;
    case TAG_TOPICS:
    case TAG_DELETED:
        for (uint32_t i = 0; i < reply->name_count; i++) {
            snprintf(path, sizeof path, "%s/%s", reply->path, reply->names[i]);
            read_one(topics, reply->tag == TAG_TOPICS ? TAG_TOPIC : TAG_GONE, MR_COORD_GET, path);
        }
        break;
    case TAG_TOPIC:
        return take_topic(topics, reply, err);
    case TAG_GONE:
        return take_gone(topics, reply, err);
    default:
        break;
    }
    return 0;
}
