/* SPDX-License-Identifier: Apache-2.0 */
/* A client that speaks messages as they are, so that it can break every rule: to the node of door_world.h, or to one that runs elsewhere. */
#ifndef MR_TESTS_SUPPORT_RAW_CLIENT_H
#define MR_TESTS_SUPPORT_RAW_CLIENT_H

#include "shm/ring/ring.h"
#include "shm/session/socket.h"
#include "tests/support/unit.h"

#define RAW_RINGS_MAX 16u

extern char door_world_socket[108]; /* of the node */

struct raw_client {
    int socket, wake, doorbell; /* -1: none */
    uint64_t request;
    union mr_message reply; /* the last one that was no push */
    uint32_t extents;       /* EXTENT pushes seen */
    bool mute;              /* RING is not answered */
    int pins_fd;            /* of the last CONSUMER_OPENED; -1: none */
    struct {
        _Atomic uint64_t *pins; /* by number; NULL: it is not open */
        uint32_t partition_count;
    } consumer[256];
    bool abandons;          /* raw_leave() does not say that it reads no more */
    int extent_fd;          /* of the last EXTENT; -1: none */
    struct {
        void *memory;
        struct mr_ring_shape shape;
        int fd; /* kept only when mute */
        struct mr_ring_producer end;
    } ring[RAW_RINGS_MAX]; /* by number */
    uint32_t rings_gone;
};

/** Connect, without a word. */
void raw_connect(struct raw_client *client);
/** Connect and greet. */
void raw_attach(struct raw_client *client);
void raw_leave(struct raw_client *client);

/** Send a message of these bytes: type and size go into its header, all else is the caller's. */
void raw_send(struct raw_client *client, void *message, uint32_t bytes, uint16_t type);

/** Take messages until a reply comes; RING is mapped and answered unless `mute`. @return its type; 0: the daemon hung up; -1: nothing within 5 s */
int raw_receive(struct raw_client *client);
int raw_ask(struct raw_client *client, void *message, uint32_t bytes, uint16_t type);

int raw_open_producer(struct raw_client *client, const char *topic, uint32_t acks);
int raw_open_consumer(struct raw_client *client, const char *topic);
int raw_subscribe(struct raw_client *client, uint32_t consumer, uint32_t partition);
int raw_close(struct raw_client *client, uint16_t type, uint32_t index);
int raw_create(struct raw_client *client, const char *topic, uint32_t partitions, const char *config);

/** Commit one frame, whatever is in its word, on the newest ring there is, and ring the doorbell. */
void raw_frame(struct raw_client *client, uint64_t word, uint32_t bytes, uint64_t sequence);

/** Produce a record and wait for its ack. @return its error; -1: none within 5 s */
int raw_produce(struct raw_client *client, uint32_t handle, uint64_t sequence);

#endif
