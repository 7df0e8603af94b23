/* SPDX-License-Identifier: Apache-2.0 */
/* The door: where local programs attach. One thread, the process's main one: it accepts sessions on a Unix socket, makes their memory,
 * introduces them to reactors, hands out descriptors of logs, and notices their death (DESIGN.md section 6, RELIABILITY.md S1-S8).
 * Records never pass here.
 *
 * Session:  GREETING -> READY -> CLOSING -> freed
 *   GREETING -> READY    [HELLO answered]
 *   READY -> CLOSING     [hang-up, death of the process, poison, daemon's stop]: every reactor is asked for its rings back, then for its
 *                        readers; when the last reply has come the memory goes, at the end of that round (door_sweep)
 *  I1  A ring's memory is unmapped only after its reactor has given it back.
 *  I2  A client's descriptor is never mapped; every mapping is of memory made, sealed and backed here.
 *  I3  One request of a session is in progress at a time; a second one poisons it.
 *  I4  A session is freed in door_sweep() only: any send may find the client dead and close the session, and its callers still hold it. */
#ifndef MR_DATAPLANE_DOOR_H
#define MR_DATAPLANE_DOOR_H

#include "dataplane/config/config.h"
#include "dataplane/mailbox/mailbox.h"
#include "dataplane/memory/memory.h"
#include "dataplane/node/producer_ids.h"
#include "dataplane/node/registry.h"
#include "dataplane/reactor/reactor.h"
#include "dataplane/steward/steward.h"

struct mr_door;

struct mr_door_options {
    const struct mr_node_config *config;
    const struct mr_datadir *home;
    struct mr_uuid data_id;
    struct mr_registry *registry;
    struct mr_producer_ids *producer_ids;
    struct mr_memory *memory;
    uint32_t reactor_count;
    struct mr_mailbox *messages; /* [reactor], struct mr_reactor_message; sent */
    struct mr_mailbox *replies;  /* [reactor], struct mr_reactor_reply; received */
    struct mr_mailbox *notices;  /* struct mr_steward_notice; received */
    struct mr_bell *bell;        /* our own */
    struct mr_trash *trash;      /* told of deleted topics; NULL: nobody is */
    void (*secured)(void *context); /* old journals may be retired now; called once, here */
    void *context;
};

/** Bind the socket and listen. @return 0; -EADDRINUSE, -EACCES with a message */
int mr_door_open(struct mr_door **door, const struct mr_door_options *options, const char *socket_path, struct millrace_error *err) MR_MUST_USE;

/** Make a topic's head, or take the one that `start` adopted, and make it known to all reactors. Before serving, or from the door's thread. */
int mr_door_add_topic(struct mr_door *door, struct mr_topic *topic, const struct mr_log_recovered *const *recovered, struct millrace_error *err) MR_MUST_USE;

/** All topics that were found at start are added: logs may run, old journals may be retired when all is secured. */
void mr_door_begin(struct mr_door *door);

/** Serve until SIGINT or SIGTERM comes through signal_fd. */
void mr_door_serve(struct mr_door *door, int signal_fd);

/** Tell all sessions, take their rings back, stop the reactors cleanly. @return false: a second signal came, or a reactor cannot finish */
bool mr_door_stop(struct mr_door *door, int signal_fd);
void mr_door_close(struct mr_door *door);

#endif
