/* SPDX-License-Identifier: Apache-2.0 */
/* Between the data plane and the control process of the same node: messages on the attach socket (shm/abi/message.h), from a session of the data
 * plane's own user (or root) that greets with CONTROL_HELLO, and a table of desired state in shared memory.
 *
 *  control                                 data plane
 *  CONTROL_HELLO                        -> CONTROL_WELCOME + [memfd with a JSON array: the topics it has] | ERROR
 *  CONTROL_TABLE + [memfd]              -> it reads the table from its beginning, in order; an older table is forgotten
 *  CONTROL_HINT                         -> entries were added: it reads on
 *                                       <- CONTROL_APPLIED: this entry is carried out, durably, or cannot be, and why
 *                                       <- CONTROL_ASK: somebody wants topics changed
 *  CONTROL_ANSWER                       -> it is done, or why not
 *                                       <- CONTROL_WANT_IDS
 *  CONTROL_IDS                          -> producer ids to hand out, reserved in the store
 *
 * The table is the whole desired state: what stands for a topic last counts. Nothing is deleted because it is absent; GONE says so. The data plane
 * keeps what it was told on its own disk (topics.json) and goes on by that without a control process. */
#ifndef MR_ABI_CONTROL_H
#define MR_ABI_CONTROL_H

#include "shm/abi/message.h"

#define MR_CONTROL_VERSION 1u

enum mr_control_message_type {
    MR_CONTROL_HELLO = 64,
    MR_CONTROL_WELCOME,
    MR_CONTROL_TABLE,
    MR_CONTROL_HINT, /* a header */
    MR_CONTROL_APPLIED,
    MR_CONTROL_ASK,
    MR_CONTROL_ANSWER, /* a struct mr_message_error; code 0: done */
    MR_CONTROL_WANT_IDS,
    MR_CONTROL_IDS,
};

struct mr_control_hello {
    struct mr_message_header header;
    uint32_t control_version;
    uint32_t reserved;
};

struct mr_control_welcome {
    struct mr_message_header header;
    struct mr_uuid data_id;
    uint64_t daemon_generation;
    uint64_t topics_bytes; /* in the memfd */
    char home[4096];       /* the log directory that has topics.json; the store of a node that is alone lies there, too */
};

struct mr_control_table {
    struct mr_message_header header;
    uint64_t bytes; /* of the memfd */
};

struct mr_control_applied {
    struct mr_message_header header;
    uint64_t number; /* of the entry */
    int32_t code;    /* 0, or a positive errno */
    uint32_t reserved;
    char text[512];
};

struct mr_control_ask {
    struct mr_message_header header; /* request: comes back with the answer */
    uint32_t uid;                    /* who asks */
    uint32_t pid;
    struct mr_message_topic_change change; /* header.type says what it is */
};

struct mr_control_want_ids {
    struct mr_message_header header;
    int64_t floor; /* all ids below may have been handed out, whatever the store says */
};

struct mr_control_ids {
    struct mr_message_header header;
    int64_t first, end; /* [first, end) */
};

#define MR_DESIRED_MAGIC   0x3164726973656472ull /* "rdesird1" */
#define MR_DESIRED_VERSION 1u

/** At the beginning of the table; entries follow. */
struct mr_desired_header {
    uint64_t magic;
    uint32_t version;
    uint32_t reserved;
    _Atomic uint64_t end_bytes; /* of the last entry that is whole; stored with release after it */
    uint64_t unused[5];
};

enum mr_desired_kind {
    MR_DESIRED_TOPIC = 1, /* it exists, so */
    MR_DESIRED_GONE = 2,  /* it was deleted: nothing of it stays */
};

struct mr_desired_entry {
    uint32_t bytes; /* of the entry, texts and their terminators included; a multiple of 8 */
    uint32_t kind;
    uint64_t number; /* grows by one from entry to entry, over all tables of a control process */
    struct mr_uuid topic_id;
    uint32_t partition_count;
    uint32_t name_bytes, config_bytes; /* with terminators */
    uint32_t reserved;
    char text[]; /* name, then lines key=value */
};

#endif
