/* SPDX-License-Identifier: Apache-2.0 */
/* The table of desired state, as this side keeps it. */
#include "control/topics/topics_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* @return 0; -ENOSPC: the table is full; -ENOMEM */
static int add(struct mr_topics *topics, struct topics_topic *topic)
{
    struct mr_desired entry = {.kind = topic->deleted ? MR_DESIRED_GONE : MR_DESIRED_TOPIC, .number = topics->next_number, .topic_id = topic->value.id,
                               .partition_count = topic->value.partition_count};
    uint64_t index = topics->next_number - topics->first_number;

    if (index == topics->by_number_room) {
        uint32_t room = topics->by_number_room == 0 ? 256 : 2 * topics->by_number_room;
        struct topics_topic **grown = realloc(topics->by_number, room * sizeof(*grown));
        if (grown == NULL)
            return -ENOMEM;
        topics->by_number = grown;
        topics->by_number_room = room;
    }
    strcpy(entry.name, topic->name);
    strcpy(entry.config, topic->value.config);
    int rc = mr_desired_add(&topics->table, &entry);
    if (rc != 0)
        return rc;
    topics->by_number[index] = topic;
    topic->number = topics->next_number++;
    topic->applied = false;
    topic->failed[0] = '\0';
    return 0;
}

int topics_table_begin(struct mr_topics *topics, struct millrace_error *err)
{
    struct mr_control_table message = {0};
    uint32_t entries = 0;

    mr_desired_release(&topics->table);
    topics->first_number = topics->next_number;
    for (const struct topics_topic *topic = topics->topics; topic != NULL; topic = topic->next)
        entries++;
    int rc = mr_desired_create(&topics->table, 2 * entries, err);
    if (rc != 0)
        return rc;
    /* Deletions first: the name of one may be another topic's by now. */
    for (uint32_t round = 0; round < 2 && rc == 0; round++)
        for (struct topics_topic *topic = topics->topics; topic != NULL && rc == 0; topic = topic->next)
            if (topic->deleted == (round == 0))
                rc = add(topics, topic);
    if (rc != 0)
        return mr_err(err, -rc, "no memory for the table of %u topics", entries);
    message.bytes = topics->table.bytes;
    topics_send(topics, &message.header, sizeof message, MR_CONTROL_TABLE, topics->table.fd);
    return 0;
}

void topics_table_add(struct mr_topics *topics, struct topics_topic *topic)
{
    struct mr_message_header hint;
    struct millrace_error err;

    if (!topics->linked || topics->state != TOPICS_READY) /* it will be in the next one */
        return;
    if (add(topics, topic) == 0)
        topics_send(topics, &hint, sizeof hint, MR_CONTROL_HINT, -1);
    else if (topics_table_begin(topics, &err) != 0)
        topics->is_broken = true;
}

struct topics_topic *topics_table_find(struct mr_topics *topics, uint64_t number)
{
    if (number < topics->first_number || number >= topics->next_number)
        return NULL;
    struct topics_topic *topic = topics->by_number[number - topics->first_number];
    return topic != NULL && topic->number == number ? topic : NULL;
}
