/* SPDX-License-Identifier: Apache-2.0 */
/* Changes that clients ask for: checked, stored, carried out, answered; or undone (topics.h). */
#include "control/topics/topics_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/base/logging.h"

static void answer(struct mr_topics *topics, uint64_t ticket, int rc, const char *text)
{
    struct mr_message_error message = {.code = -rc};
    message.header.request = ticket;
    snprintf(message.text, sizeof message.text, "%s", text);
    if (ticket != 0)
        topics_send(topics, &message.header, sizeof message, MR_CONTROL_ANSWER, -1);
}

static struct topics_change *find_change(const struct mr_topics *topics, const char *name)
{
    struct topics_change *change = topics->changes;
    while (change != NULL && strcmp(change->name, name) != 0)
        change = change->next;
    return change;
}

static void end(struct mr_topics *topics, struct topics_change *change)
{
    struct topics_change **at = &topics->changes;
    while (*at != change)
        at = &(*at)->next;
    *at = change->next;
    free(change);
}

static int no_topic(const char *name, struct millrace_error *err)
{
    return mr_err(err, ENOENT, "no topic '%s': millrace topic list", name);
}

/* As in Kafka: they would be one name where '.' is not allowed, as in metrics. */
static const struct topics_topic *find_colliding(const struct mr_topics *topics, const char *name)
{
    for (const struct topics_topic *topic = topics->topics; topic != NULL; topic = topic->next) {
        size_t i = 0;
        while (name[i] != '\0' && (name[i] == '.' ? '_' : name[i]) == (topic->name[i] == '.' ? '_' : topic->name[i]))
            i++;
        if (!topic->deleted && name[i] == topic->name[i])
            return topic;
    }
    return NULL;
}

static int prepare_create(struct mr_topics *topics, const struct mr_message_topic_change *asked, struct topics_change *change, struct millrace_error *err)
{
    const struct mr_node_config *config = topics->options.config;
    struct mr_topic_config ignored;
    const struct topics_topic *topic = topics_find(topics, change->name);

    int rc = mr_topic_name_check(change->name, err);
    if (rc == 0 && topic != NULL)
        rc = mr_err(err, EEXIST, "topic '%s' exists already%s%s: millrace topic list", change->name,
                    topic->failed[0] != '\0' ? ", but the node could not make it: " : "", topic->failed);
    const struct topics_topic *colliding = rc == 0 ? find_colliding(topics, change->name) : NULL;
    if (colliding != NULL)
        rc = mr_err(err, EEXIST, "topic '%s' collides with '%s': '.' and '_' count as the same in a name", change->name, colliding->name);
    if (rc == 0)
        rc = mr_topic_config_merge("", asked->config, change->value.config, err); /* one line a key */
    if (rc == 0)
        rc = mr_topic_config_parse(&ignored, config, change->value.config, err);
    if (rc != 0)
        return rc;
    change->value.partition_count = asked->partition_count != 0 ? asked->partition_count : (uint32_t)config->partitions_default;
    if (change->value.partition_count > MR_PARTITIONS_MAX)
        return mr_err(err, EINVAL, "topic '%s': %u partitions are more than %u", change->name, asked->partition_count, MR_PARTITIONS_MAX);
    if (mr_uuid_random(&change->value.id) != 0)
        return mr_err(err, EIO, "no random bytes from the kernel");
    return 0;
}

static int prepare_alter(struct mr_topics *topics, const struct mr_message_topic_change *asked, struct topics_change *change, struct millrace_error *err)
{
    struct mr_topic_config before, after;

    int rc = mr_topic_config_merge(change->before.config, asked->config, change->value.config, err);
    if (rc == 0)
        rc = mr_topic_config_parse(&after, topics->options.config, change->value.config, err);
    if (rc == 0)
        rc = mr_topic_config_parse(&before, topics->options.config, change->before.config, err);
    if (rc == 0 && before.durability != after.durability)
        rc = mr_err(err, EINVAL, "topic '%s': millrace.durability stays as it was when the topic was made: make another topic", change->name);
    return rc;
}

static int prepare_partitions(const struct mr_message_topic_change *asked, struct topics_change *change, struct millrace_error *err)
{
    change->value.partition_count = asked->partition_count;
    if (asked->partition_count < change->before.partition_count)
        return mr_err(err, EINVAL, "topic '%s' has %u partitions already, and partitions cannot be taken away", change->name, change->before.partition_count);
    if (asked->partition_count == change->before.partition_count)
        return mr_err(err, EINVAL, "topic '%s' has %u partitions already", change->name, asked->partition_count);
    if (asked->partition_count > MR_PARTITIONS_MAX)
        return mr_err(err, EINVAL, "topic '%s': %u partitions are more than %u", change->name, asked->partition_count, MR_PARTITIONS_MAX);
    return 0;
}

/* Check it, and write it to the store. */
static int begin(struct mr_topics *topics, uint16_t type, const struct mr_message_topic_change *asked, struct topics_change *change,
                 struct millrace_error *err)
{
    const struct topics_topic *topic = topics_find(topics, change->name);
    int rc;

    if (type != MR_MESSAGE_TOPIC_CREATE && topic == NULL)
        return no_topic(change->name, err);
    if (topic != NULL) {
        change->before = change->value = topic->value;
        change->has_before = true;
    }
    change->value.change = asked->change;
    switch (type) {
    case MR_MESSAGE_TOPIC_CREATE:
        rc = prepare_create(topics, asked, change, err);
        if (rc == 0)
            change->tag = topics_write(topics, MR_COORD_CREATE, change->name, &change->value);
        return rc;
    case MR_MESSAGE_TOPIC_DELETE:
        change->tag = topics_write_gone(topics, change->name, &change->value.id, &change->value.change);
        return 0;
    default:
        rc = type == MR_MESSAGE_TOPIC_ALTER ? prepare_alter(topics, asked, change, err) : prepare_partitions(asked, change, err);
        if (rc == 0)
            change->tag = topics_write(topics, MR_COORD_SET, change->name, &change->value);
        return rc;
    }
}

/* T2: the topic whose last change this was. NULL: it was not decided yet */
static struct topics_topic *decided_already(const struct mr_topics *topics, uint16_t type, const char *name, const struct mr_uuid *change)
{
    struct topics_topic *topic = topics->topics;
    while (topic != NULL && !(topic->deleted == (type == MR_MESSAGE_TOPIC_DELETE) && strcmp(topic->name, name) == 0 &&
                              mr_uuid_equal(&topic->value.change, change)))
        topic = topic->next;
    return topic;
}

static struct topics_change *new_change(struct mr_topics *topics, uint64_t ticket, uint16_t type, const char *name)
{
    struct topics_change *change = calloc(1, sizeof *change);
    if (change == NULL) {
        answer(topics, ticket, -ENOMEM, "millrace-control has no memory");
        return NULL;
    }
    change->ticket = ticket;
    change->type = type;
    strcpy(change->name, name);
    change->next = topics->changes;
    topics->changes = change;
    return change;
}

/* Its answer got lost: wait for the node as if it had just been decided; what it could not carry out before it tries again. */
static void resume(struct mr_topics *topics, uint64_t ticket, uint16_t type, struct topics_topic *topic)
{
    if (topic->applied) {
        answer(topics, ticket, 0, "");
        return;
    }
    struct topics_change *change = new_change(topics, ticket, type, topic->name);
    if (change == NULL)
        return;
    change->value = topic->value;
    change->step = TOPICS_APPLYING;
    if (topic->failed[0] != '\0')
        topics_table_add(topics, topic);
}

void topics_ask(struct mr_topics *topics, const struct mr_control_ask *ask)
{
    struct mr_message_topic_change asked = ask->change;
    uint16_t type = asked.header.type;
    struct millrace_error err = {0};

    asked.topic[sizeof asked.topic - 1] = asked.config[sizeof asked.config - 1] = '\0';
    if (topics->state != TOPICS_READY) {
        answer(topics, ask->header.request, -EAGAIN, "millrace-control is starting: try again");
        return;
    }
    if (strlen(asked.topic) > MR_TOPIC_NAME_MAX) {
        int rc = mr_topic_name_check(asked.topic, &err);
        answer(topics, ask->header.request, rc, err.text);
        return;
    }
    struct topics_change *busy = find_change(topics, asked.topic);
    struct topics_topic *decided = decided_already(topics, type, asked.topic, &asked.change);
    if (busy == NULL && decided != NULL) {
        resume(topics, ask->header.request, type, decided);
        return;
    }
    if (busy != NULL) { /* T3 */
        answer(topics, ask->header.request, -EAGAIN, "another change of this topic is under way: try again");
        return;
    }
    struct topics_change *change = new_change(topics, ask->header.request, type, asked.topic);
    if (change == NULL)
        return;
    int rc = begin(topics, type, &asked, change, &err);
    if (rc != 0) {
        answer(topics, change->ticket, rc, err.text);
        end(topics, change);
    }
}

/* Our copy of the store follows it, and so does the table. @return the topic; NULL: no memory */
static struct topics_topic *follow(struct mr_topics *topics, uint16_t type, const char *name, const struct topics_value *value)
{
    struct topics_topic *topic = topics_find(topics, name);
    if (type == MR_MESSAGE_TOPIC_CREATE)
        topic = topics_add(topics, name, value);
    if (topic == NULL) {
        topics->is_broken = true;
        return NULL;
    }
    topic->value = *value;
    if (type == MR_MESSAGE_TOPIC_DELETE)
        topics_mark_deleted(topics, topic);
    topics_table_add(topics, topic);
    return topic;
}

static void undone(struct mr_topics *topics, struct topics_change *change)
{
    follow(topics, change->type == MR_MESSAGE_TOPIC_CREATE ? MR_MESSAGE_TOPIC_DELETE : MR_MESSAGE_TOPIC_ALTER, change->name,
           change->type == MR_MESSAGE_TOPIC_CREATE ? &change->value : &change->before);
    answer(topics, change->ticket, -change->answer.code, change->answer.text);
    end(topics, change);
}

void topics_stored(struct mr_topics *topics, struct topics_change *change, const struct mr_coord_reply *reply)
{
    char text[300];

    if (reply->result != 0) { /* nothing else writes there, so it is the store's trouble */
        snprintf(text, sizeof text, "the store refuses it: %s", reply->result == -ENOSPC ? "its disk is full: free some space" : strerror(-reply->result));
        if (change->step == TOPICS_UNDOING)
            mr_say_error("topic '%s': %s could not be taken back: %s", change->name, change->answer.text, text);
        answer(topics, change->ticket, reply->result, text);
        end(topics, change);
        return;
    }
    if (change->step == TOPICS_UNDOING) {
        undone(topics, change);
        return;
    }
    change->step = TOPICS_APPLYING;
    if (follow(topics, change->type, change->name, &change->value) == NULL || !topics->linked) /* who asked is gone, too */
        end(topics, change);
}

static void undo(struct mr_topics *topics, struct topics_change *change, const struct mr_control_applied *applied)
{
    change->step = TOPICS_UNDOING;
    change->answer.code = applied->code;
    snprintf(change->answer.text, sizeof change->answer.text, "%.*s", (int)sizeof applied->text - 1, applied->text);
    change->tag = change->type == MR_MESSAGE_TOPIC_CREATE ? topics_write_gone(topics, change->name, &change->value.id, &change->value.change)
                                                          : topics_write(topics, MR_COORD_SET, change->name, &change->before);
}

/* A deletion goes on: some of it is done. And what was decided before a crash nobody knows the way back from. */
static bool can_be_undone(const struct topics_change *change)
{
    return change->type == MR_MESSAGE_TOPIC_CREATE || (change->type != MR_MESSAGE_TOPIC_DELETE && change->has_before);
}

void topics_applied(struct mr_topics *topics, const struct mr_control_applied *applied)
{
    struct topics_topic *topic = topics_table_find(topics, applied->number);
    if (topic == NULL) /* a later entry stands for it now */
        return;
    struct topics_change *change = find_change(topics, topic->name);
    if (change != NULL && !mr_uuid_equal(&change->value.id, &topic->value.id)) /* of another topic that had the name before */
        change = NULL;
    topic->applied = applied->code == 0;
    if (applied->code != 0) {
        snprintf(topic->failed, sizeof topic->failed, "%.*s", (int)sizeof topic->failed - 1, applied->text);
        if (change == NULL)
            mr_say_error("topic '%s': the node could not carry out what the store says: %s", topic->name, topic->failed);
    }
    if (change != NULL && change->step == TOPICS_APPLYING) {
        if (applied->code != 0 && can_be_undone(change)) {
            undo(topics, change, applied);
            return;
        }
        answer(topics, change->ticket, -applied->code, topic->failed);
        end(topics, change);
    }
    if (topic->deleted && applied->code == 0) {
        topics_write_nothing_left(topics, &topic->value.id);
        topics_forget(topics, topic);
    }
}
