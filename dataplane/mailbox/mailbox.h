/* SPDX-License-Identifier: Apache-2.0 */
/* A mailbox: bounded queue of fixed-size messages from one thread to another, and the bell of the thread that reads it.
 *
 * Edge M (message): the sender stores tail, release -> the receiver loads it, acquire: the message is complete.
 * Edge R (room):    the receiver stores head, release -> the sender loads it, acquire: the message was copied out.
 * Bell: the receiver stores `asleep`, fences, looks into its mailboxes once more and sleeps on the eventfd; a sender stores tail, fences,
 * and writes the eventfd only when it sees `asleep`. Both fences are sequentially consistent: one of the two sees the other's store.
 *
 * Full is the sender's business: mr_mailbox_room() before it starts something that will have to send. */
#ifndef MR_DATAPLANE_MAILBOX_H
#define MR_DATAPLANE_MAILBOX_H

#include <stdalign.h>
#include <stdbool.h>

#include "shm/base/atomics.h"
#include "shm/base/bits.h"
#include "shm/base/err.h"

/** One per receiving thread. */
struct mr_bell {
    alignas(MR_CACHE_LINE) _Atomic uint32_t asleep;
    int eventfd; /* non-blocking; the receiver polls it */
};

int mr_bell_init(struct mr_bell *bell, struct millrace_error *err) MR_MUST_USE;
void mr_bell_release(struct mr_bell *bell);

/** Wake the receiver if it sleeps. After one or many sends. */
void mr_bell_ring(struct mr_bell *bell);

/** Receiver: announce sleep; then look at every mailbox once more, and mr_bell_wake() if there is something after all. */
void mr_bell_sleep(struct mr_bell *bell);
void mr_bell_wake(struct mr_bell *bell); /* awake again; clears the eventfd */

struct mr_mailbox {
    uint8_t *slots;
    uint32_t message_bytes;
    uint32_t capacity; /* a power of two */
    struct mr_bell *bell; /* the receiver's */
    alignas(MR_CACHE_LINE) _Atomic uint32_t tail; /* M */
    uint32_t sender_head;                         /* the sender's copy of head */
    alignas(MR_CACHE_LINE) _Atomic uint32_t head; /* R */
};

int mr_mailbox_init(struct mr_mailbox *mailbox, uint32_t message_bytes, uint32_t capacity, struct mr_bell *bell,
                    struct millrace_error *err) MR_MUST_USE;
void mr_mailbox_release(struct mr_mailbox *mailbox);

/** Sender: messages that fit now. */
uint32_t mr_mailbox_room(struct mr_mailbox *mailbox);

/** Sender: copies the message in. The bell is the caller's to ring, once after the last. @return false when full */
bool mr_mailbox_send(struct mr_mailbox *mailbox, const void *message) MR_MUST_USE;

/** Receiver: copy the next message out. @return false when empty. Hot: one load of a line that rarely changes. */
static inline bool mr_mailbox_receive(struct mr_mailbox *mailbox, void *message)
{
    uint32_t head = mr_load_relaxed(&mailbox->head); /* only we store it */
    if (mr_load_acquire(&mailbox->tail) == head)     /* M */
        return false;
    memcpy(message, mailbox->slots + (size_t)(head & (mailbox->capacity - 1)) * mailbox->message_bytes, mailbox->message_bytes);
    mr_store_release(&mailbox->head, head + 1); /* R */
    return true;
}

#endif
