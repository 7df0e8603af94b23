/* SPDX-License-Identifier: Apache-2.0 */
#include "control/topics/topics_internal.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/base/bits.h"
#include "shm/base/logging.h"
#include "shm/session/socket.h"

#define REPLIES 64u

int mr_topics_new(struct mr_topics **out, const struct mr_topics_options *options, struct millrace_error *err)
{
    struct mr_topics *topics = calloc(1, sizeof *topics);
    if (topics == NULL)
        return mr_err(err, ENOMEM, "no memory for topics");
    topics->options = *options;
    topics->table.fd = -1;
    topics->next_number = 1;
    if (topics_load(topics) != 0) {
        mr_topics_free(topics);
        return mr_err(err, ENOMEM, "no memory to read the store");
    }
    *out = topics;
    return 0;
}

void mr_topics_free(struct mr_topics *topics)
{
    if (topics == NULL)
        return;
    while (topics->topics != NULL) {
        struct topics_topic *topic = topics->topics;
        topics->topics = topic->next;
        free(topic);
    }
    while (topics->changes != NULL) {
        struct topics_change *change = topics->changes;
        topics->changes = change->next;
        free(change);
    }
    mr_desired_release(&topics->table);
    free(topics->by_number);
    free(topics->list);
    free(topics);
}

struct topics_topic *topics_find(const struct mr_topics *topics, const char *name)
{
    struct topics_topic *topic = topics->topics;
    while (topic != NULL && (topic->deleted || strcmp(topic->name, name) != 0))
        topic = topic->next;
    return topic;
}

struct topics_topic *topics_find_id(const struct mr_topics *topics, const struct mr_uuid *id)
{
    struct topics_topic *topic = topics->topics;
    while (topic != NULL && !mr_uuid_equal(&topic->value.id, id))
        topic = topic->next;
    return topic;
}

struct topics_topic *topics_add(struct mr_topics *topics, const char *name, const struct topics_value *value)
{
    struct topics_topic *topic = calloc(1, sizeof *topic);
    if (topic == NULL)
        return NULL;
    snprintf(topic->name, sizeof topic->name, "%s", name);
    topic->value = *value;
    topic->next = topics->topics;
    topics->topics = topic;
    topics->count++;
    return topic;
}

void topics_mark_deleted(struct mr_topics *topics, struct topics_topic *topic)
{
    topic->deleted = true;
    topics->count--;
}

void topics_forget(struct mr_topics *topics, struct topics_topic *topic)
{
    struct topics_topic **at = &topics->topics;
    while (*at != topic)
        at = &(*at)->next;
    *at = topic->next;
    for (uint64_t number = topics->first_number; number < topics->next_number; number++)
        if (topics->by_number[number - topics->first_number] == topic)
            topics->by_number[number - topics->first_number] = NULL;
    topics->count -= !topic->deleted;
    free(topic);
}

void topics_send(struct mr_topics *topics, struct mr_message_header *message, uint32_t bytes, enum mr_control_message_type type, int fd)
{
    uint64_t request = type == MR_CONTROL_ANSWER ? message->request : 0;
    mr_message_begin(message, bytes, (uint16_t)type, request);
    if (topics->linked)
        (void)topics->options.send(topics->options.context, message, fd); /* what is lost is asked again: the link is gone then */
}

/* Of the data plane's list: what the store does not know is from before there was one, or the store was lost. */
static int import_one(struct mr_topics *topics, const json_t *item, struct millrace_error *err)
{
    struct topics_value value = {0};
    const char *name, *id, *config;
    int partitions;
    struct mr_topic_config ignored;

    if (json_unpack((json_t *)(uintptr_t)item, "{s:s, s:s, s:i, s:s}", "name", &name, "id", &id, "partitions", &partitions, "config", &config) != 0 ||
        !mr_uuid_parse(id, &value.id) || mr_topic_name_check(name, err) != 0 || partitions < 1 || strlen(config) >= sizeof value.config ||
        mr_topic_config_parse(&ignored, topics->options.config, config, err) != 0)
        return mr_err(err, EPROTO, "the data plane's list of topics makes no sense: run millraced and millrace-control of one release, with one configuration");
    if (topics_find_id(topics, &value.id) != NULL)
        return 0;
    if (topics_find(topics, name) != NULL) {
        mr_say_error("topic '%s' is in the store under another id than on this node, which keeps its own: rename or remove one of them", name);
        return 0;
    }
    value.partition_count = (uint32_t)partitions;
    strcpy(value.config, config);
    if (mr_uuid_random(&value.change) != 0)
        return mr_err(err, EIO, "no random bytes from the kernel");
    if (topics_add(topics, name, &value) == NULL)
        return mr_err(err, ENOMEM, "no memory for topic '%s'", name);
    uint64_t tag = topics_write(topics, MR_COORD_CREATE, name, &value);
    if (topics->imports_awaited++ == 0)
        topics->imports_first = tag;
    topics->imports_last = tag;
    return 0;
}

static int import(struct mr_topics *topics, struct millrace_error *err)
{
    json_t *list = json_loads(topics->list, 0, NULL);
    size_t index;
    json_t *item;
    int rc = json_is_array(list) ? 0 : mr_err(err, EPROTO, "the data plane's list of topics is no list");

    json_array_foreach(list, index, item)
        if (rc == 0)
            rc = import_one(topics, item, err);
    json_decref(list);
    free(topics->list);
    topics->list = NULL;
    topics->state = TOPICS_IMPORTING;
    if (rc == 0 && topics->imports_awaited > 0)
        mr_say_info("%u topics of this node were not in the store, and are taken into it", topics->imports_awaited);
    return rc;
}

static void reserve_ids(struct mr_topics *topics)
{
    char text[32];
    if (topics->reserves_ids || !topics->wants_ids || topics->state == TOPICS_LOADING)
        return;
    topics->ids_first = topics->next_producer_id;
    snprintf(text, sizeof text, "%lld", (long long)topics->ids_first + MR_PRODUCER_ID_BLOCK);
    struct mr_coord_change change = {.kind = MR_COORD_SET, .path = TOPICS_IDS, .data = text, .data_bytes = strlen(text), .version = MR_COORD_ANY};
    topics->ids_tag = topics_submit(topics, &change, 1);
    topics->reserves_ids = true;
}

static void reserved_ids(struct mr_topics *topics, const struct mr_coord_reply *reply)
{
    struct mr_control_ids ids = {.first = topics->ids_first, .end = topics->ids_first + MR_PRODUCER_ID_BLOCK};

    topics->reserves_ids = false;
    if (reply->result != 0) {
        mr_say_error("no producer ids can be reserved: the store says %s", strerror(-reply->result));
        topics->is_broken = true; /* begin anew, for a full disk is not full for ever */
        return;
    }
    topics->next_producer_id = ids.end;
    if (!topics->wants_ids)
        return;
    topics->wants_ids = false;
    topics_send(topics, &ids.header, sizeof ids, MR_CONTROL_IDS, -1);
}

int mr_topics_linked(struct mr_topics *topics, const char *list, struct millrace_error *err)
{
    free(topics->list);
    topics->list = strdup(list);
    if (topics->list == NULL)
        return mr_err(err, ENOMEM, "no memory for the data plane's list of topics");
    topics->linked = true;
    if (topics->state != TOPICS_LOADING)
        topics->state = TOPICS_WAITING;
    return 0;
}

void mr_topics_unlinked(struct mr_topics *topics)
{
    struct topics_change *next;

    topics->linked = topics->wants_ids = false;
    topics->state = topics->state == TOPICS_LOADING ? TOPICS_LOADING : TOPICS_WAITING;
    mr_desired_release(&topics->table);
    for (struct topics_change *change = topics->changes, **at = &topics->changes; change != NULL; change = next) {
        next = change->next;
        change->ticket = 0;
        if (change->step != TOPICS_APPLYING) {
            at = &change->next;
            continue;
        }
        *at = next;
        free(change);
    }
}

int mr_topics_message(struct mr_topics *topics, const struct mr_message_header *message, struct millrace_error *err)
{
    const void *body = message;

    if (message->type == MR_CONTROL_ASK && message->bytes == sizeof(struct mr_control_ask)) {
        topics_ask(topics, body);
    } else if (message->type == MR_CONTROL_APPLIED && message->bytes == sizeof(struct mr_control_applied)) {
        if (topics->state == TOPICS_READY)
            topics_applied(topics, body);
    } else if (message->type == MR_CONTROL_WANT_IDS && message->bytes == sizeof(struct mr_control_want_ids)) {
        const struct mr_control_want_ids *want = body;
        topics->floor = want->floor;
        topics->wants_ids = true;
    } else {
        return mr_err(err, EPROTO, "the data plane sent a message of type %u that this version does not know", message->type);
    }
    return 0;
}

static int take(struct mr_topics *topics, const struct mr_coord_reply *reply, struct millrace_error *err)
{
    struct topics_change *change = topics->changes;

    if (reply->kind == MR_COORD_FIRED)
        return 0;
    if (reply->tag < TOPICS_TAG_FIRST)
        return topics_loaded(topics, reply, err);
    while (change != NULL && change->tag != reply->tag)
        change = change->next;
    if (reply->result == -EIO || reply->result == -ESHUTDOWN || reply->result == -ECONNABORTED)
        return mr_err(err, -reply->result, "the store fails: %s", strerror(-reply->result));
    if (change != NULL) {
        topics_stored(topics, change, reply);
    } else if (topics->reserves_ids && reply->tag == topics->ids_tag) {
        reserved_ids(topics, reply);
    } else if (topics->imports_awaited > 0 && reply->tag >= topics->imports_first && reply->tag <= topics->imports_last) {
        topics->imports_awaited--;
        if (reply->result != 0)
            return mr_err(err, -reply->result, "the store refuses a topic: %s", strerror(-reply->result));
    }
    return 0;
}

/* What can begin now. */
static int advance(struct mr_topics *topics, struct millrace_error *err)
{
    int rc = 0;
    if (topics->state == TOPICS_LOADING && topics->reads_awaited == 0)
        topics->state = TOPICS_WAITING;
    if (topics->state == TOPICS_WAITING && topics->linked && topics->imports_awaited == 0)
        rc = import(topics, err);
    if (rc == 0 && topics->state == TOPICS_IMPORTING && topics->imports_awaited == 0) {
        topics->state = TOPICS_READY;
        rc = topics_table_begin(topics, err);
    }
    if (topics->state != TOPICS_LOADING && topics->next_producer_id < topics->floor)
        topics->next_producer_id = topics->floor;
    reserve_ids(topics);
    return rc;
}

int mr_topics_step(struct mr_topics *topics, struct millrace_error *err)
{
    struct mr_coord_reply replies[REPLIES];
    uint32_t count;

    do {
        int rc = advance(topics, err);
        count = rc == 0 ? mr_coord_poll(topics->options.coord, replies, REPLIES) : 0;
        for (uint32_t i = 0; i < count && rc == 0; i++)
            rc = take(topics, &replies[i], err);
        if (rc == 0 && topics->is_broken)
            rc = mr_err(err, ENOMEM, "no memory");
        if (rc != 0)
            return rc;
    } while (count > 0);
    return 0;
}

bool mr_topics_is_ready(const struct mr_topics *topics)
{
    return topics->state == TOPICS_READY;
}

uint32_t mr_topics_count(const struct mr_topics *topics)
{
    return topics->count;
}
