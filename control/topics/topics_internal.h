/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MR_CONTROL_TOPICS_INTERNAL_H
#define MR_CONTROL_TOPICS_INTERNAL_H

#include "control/topics/topics.h"
#include "shm/desired/desired.h"

#define TOPICS_ROOT  "/millrace"
#define TOPICS_NODES TOPICS_ROOT "/nodes"
#define TOPICS_LIST  TOPICS_ROOT "/topics"
#define TOPICS_GONE  TOPICS_ROOT "/deleted"
#define TOPICS_IDS   TOPICS_ROOT "/producer-ids"

#define TOPICS_TAG_FIRST 1000u /* of a request; those of the start are below */

/** What a node of a topic says. */
struct topics_value {
    struct mr_uuid id, change;
    uint32_t partition_count;
    char config[MR_TOPIC_CONFIG_BYTES];
};

struct topics_topic {
    struct topics_topic *next;
    char name[MR_TOPIC_NAME_MAX + 1];
    struct topics_value value;
    bool deleted;    /* its node is gone, the one below TOPICS_GONE is there */
    uint64_t number; /* of its newest entry in the table; 0: none */
    bool applied;    /* the data plane has carried that out */
    char failed[256]; /* why it could not */
};

enum topics_step {
    TOPICS_STORING,
    TOPICS_APPLYING,
    TOPICS_UNDOING,
};

/** A change under way. */
struct topics_change {
    struct topics_change *next;
    uint64_t tag;    /* of its request to the store */
    uint64_t ticket; /* 0: who asked is gone */
    uint16_t type;   /* MR_MESSAGE_TOPIC_... */
    enum topics_step step;
    char name[MR_TOPIC_NAME_MAX + 1];
    struct topics_value value, before; /* what it will be, and was */
    bool has_before;
    struct mr_message_error answer;    /* UNDOING */
};

enum topics_state { TOPICS_LOADING, TOPICS_WAITING, TOPICS_IMPORTING, TOPICS_READY };

struct mr_topics {
    struct mr_topics_options options;
    enum topics_state state;
    bool linked;
    char *list; /* of the data plane, until it is looked at */
    uint64_t next_tag;
    uint32_t reads_awaited, imports_awaited;
    uint64_t imports_first, imports_last; /* tags */
    struct topics_topic *topics;
    uint32_t count; /* that are not deleted */
    struct topics_change *changes;
    struct mr_desired_writer table;
    uint64_t next_number;
    struct topics_topic **by_number; /* of the table's entries from first_number on */
    uint64_t first_number;
    uint32_t by_number_room;
    int64_t next_producer_id, ids_first, floor; /* all ids below `floor` may have been given out */
    uint64_t ids_tag;
    bool is_broken; /* no memory for a table: the process must end */
    bool wants_ids, reserves_ids; /* the data plane asked; the store is asked */
};

/* value.c */
/** @return text to free(); NULL: no memory */
char *topics_value_text(const struct topics_value *value) MR_MUST_USE;
/** @return 0; -EBADMSG */
int topics_value_parse(const void *data, size_t bytes, struct topics_value *value) MR_MUST_USE;
char *topics_gone_text(const char *name, const struct mr_uuid *change) MR_MUST_USE;
int topics_gone_parse(const void *data, size_t bytes, char name[MR_TOPIC_NAME_MAX + 1], struct mr_uuid *change) MR_MUST_USE;

/* store.c */
uint64_t topics_submit(struct mr_topics *topics, const struct mr_coord_change *changes, uint32_t count);
uint64_t topics_write(struct mr_topics *topics, enum mr_coord_change_kind kind, const char *name, const struct topics_value *value);
uint64_t topics_write_gone(struct mr_topics *topics, const char *name, const struct mr_uuid *id, const struct mr_uuid *change);
void topics_write_nothing_left(struct mr_topics *topics, const struct mr_uuid *id);
int topics_load(struct mr_topics *topics) MR_MUST_USE;
int topics_loaded(struct mr_topics *topics, const struct mr_coord_reply *reply, struct millrace_error *err) MR_MUST_USE;

/* table.c */
int topics_table_begin(struct mr_topics *topics, struct millrace_error *err) MR_MUST_USE;
void topics_table_add(struct mr_topics *topics, struct topics_topic *topic);
struct topics_topic *topics_table_find(struct mr_topics *topics, uint64_t number);

/* changes.c */
void topics_ask(struct mr_topics *topics, const struct mr_control_ask *ask);
void topics_stored(struct mr_topics *topics, struct topics_change *change, const struct mr_coord_reply *reply);
void topics_applied(struct mr_topics *topics, const struct mr_control_applied *applied);

/* topics.c */
struct topics_topic *topics_find(const struct mr_topics *topics, const char *name); /* not a deleted one */
struct topics_topic *topics_find_id(const struct mr_topics *topics, const struct mr_uuid *id);
struct topics_topic *topics_add(struct mr_topics *topics, const char *name, const struct topics_value *value);
void topics_mark_deleted(struct mr_topics *topics, struct topics_topic *topic);
void topics_forget(struct mr_topics *topics, struct topics_topic *topic);
void topics_send(struct mr_topics *topics, struct mr_message_header *message, uint32_t bytes, enum mr_control_message_type type, int fd);

#endif
