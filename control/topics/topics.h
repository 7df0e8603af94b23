/* SPDX-License-Identifier: Apache-2.0 */
/* Topics as the coordination store has them: what clients ask for is checked, decided by a write to the store, put into the table of desired state, and
 * answered when the data plane has carried it out. A state machine without I/O of its own: the store is behind drivers/coord, what goes to the data
 * plane goes through a function that is given.
 *
 *   ask -> checked -> STORING -> [written] -> entry in the table -> APPLYING -> [applied] -> answered
 *                        |                                              |
 *                        +-- refused: answered                          +-- the node cannot: UNDOING -> [written back] -> answered with why
 *
 *   start: LOADING -> [all of the store is read] -> and the data plane is there: topics that only it knows are IMPORTING -> table of everything -> READY
 *
 *  T1  What is answered as done is in the store and on the data plane's disk. What is refused is in neither, or will not be for long; but what the
 *      node cannot carry out is tried again at the next start when it is a deletion, or a change that was decided before this process began.
 *  T2  A change with an id that was done already is answered as done: a client may ask again after a crash.
 *  T3  One change of a topic is under way at a time.
 *  T4  Nothing is deleted because it is missing somewhere: a deletion is a node of its own until the data plane has told that nothing is left.
 *
 * In the store (docs/znodes.md):
 *   /millrace/nodes/<broker.id>  the data directory that the node is
 *   /millrace/topics/<name>      {"id", "partitions", "config", "change"}
 *   /millrace/deleted/<id>       {"name", "change"}
 *   /millrace/producer-ids       the first that nobody was given */
#ifndef MR_CONTROL_TOPICS_H
#define MR_CONTROL_TOPICS_H

#include "dataplane/config/config.h"
#include "drivers/coord/coord.h"
#include "shm/abi/control.h"

#define MR_PRODUCER_ID_BLOCK 1000

struct mr_topics;

struct mr_topics_options {
    struct mr_coord *coord;              /* the caller's, with nobody else's requests; outlives it */
    const struct mr_node_config *config; /* likewise */
    struct mr_uuid data_id;              /* of the data plane's home directory */
    /** To the data plane. @param fd -1: none; stays the caller's. @return 0; -errno: it is gone, mr_topics_unlinked() follows */
    int (*send)(void *context, const struct mr_message_header *message, int fd);
    void *context;
};

/** Begin to read the store. @return 0; -ENOMEM */
int mr_topics_new(struct mr_topics **topics, const struct mr_topics_options *options, struct millrace_error *err) MR_MUST_USE;
void mr_topics_free(struct mr_topics *topics);

/** The data plane has welcomed us. @param list a JSON array of the topics that it has. @return 0; -EPROTO with a message; -ENOMEM */
int mr_topics_linked(struct mr_topics *topics, const char *list, struct millrace_error *err) MR_MUST_USE;

/** It is gone: its questions with it. */
void mr_topics_unlinked(struct mr_topics *topics);

/** A message of the data plane. @return 0; -EPROTO with a message: hang up */
int mr_topics_message(struct mr_topics *topics, const struct mr_message_header *message, struct millrace_error *err) MR_MUST_USE;

/** Take what the store has answered; call it after each of the above, and when mr_coord_wait_fd() is readable.
 * @return 0; -errno with a message: the store fails, or is not this node's. The process must end. */
int mr_topics_step(struct mr_topics *topics, struct millrace_error *err) MR_MUST_USE;

/** The table is out: what is asked is answered. */
bool mr_topics_is_ready(const struct mr_topics *topics);
uint32_t mr_topics_count(const struct mr_topics *topics);

#endif
