/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/mailbox/mailbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

int mr_bell_init(struct mr_bell *bell, struct millrace_error *err)
{
    atomic_init(&bell->asleep, 0);
    bell->eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (bell->eventfd < 0)
        return mr_err(err, errno, "eventfd: %s; raise the limit of open files (ulimit -n)", strerror(errno));
    return 0;
}

void mr_bell_release(struct mr_bell *bell)
{
    if (bell->eventfd > 0)
        close(bell->eventfd);
    bell->eventfd = -1;
}

void mr_bell_ring(struct mr_bell *bell)
{
    mr_fence_seq_cst();
    if (mr_load_relaxed(&bell->asleep) != 0) {
        uint64_t one = 1;
        /* EAGAIN means that the counter is full: then the receiver has been told often enough. */
        ssize_t ignored = write(bell->eventfd, &one, sizeof one);
        (void)ignored;
    }
}

void mr_bell_sleep(struct mr_bell *bell)
{
    mr_store_relaxed(&bell->asleep, 1);
    mr_fence_seq_cst();
}

void mr_bell_wake(struct mr_bell *bell)
{
    uint64_t count;
    mr_store_relaxed(&bell->asleep, 0);
    ssize_t ignored = read(bell->eventfd, &count, sizeof count);
    (void)ignored;
}

int mr_mailbox_init(struct mr_mailbox *mailbox, uint32_t message_bytes, uint32_t capacity, struct mr_bell *bell, struct millrace_error *err)
{
    mr_assert(mr_is_power_of_two(capacity));
    memset(mailbox, 0, sizeof *mailbox);
    mailbox->slots = calloc(capacity, message_bytes);
    if (mailbox->slots == NULL)
        return mr_err(err, ENOMEM, "no memory for a mailbox of %u messages", capacity);
    mailbox->message_bytes = message_bytes;
    mailbox->capacity = capacity;
    mailbox->bell = bell;
    return 0;
}

void mr_mailbox_release(struct mr_mailbox *mailbox)
{
    free(mailbox->slots);
    mailbox->slots = NULL;
}

uint32_t mr_mailbox_room(struct mr_mailbox *mailbox)
{
    mailbox->sender_head = mr_load_acquire(&mailbox->head); /* R */
    return mailbox->capacity - (mr_load_relaxed(&mailbox->tail) - mailbox->sender_head);
}

bool mr_mailbox_send(struct mr_mailbox *mailbox, const void *message)
{
    uint32_t tail = mr_load_relaxed(&mailbox->tail);
    if (tail - mailbox->sender_head == mailbox->capacity && mr_mailbox_room(mailbox) == 0)
        return false;
    memcpy(mailbox->slots + (size_t)(tail & (mailbox->capacity - 1)) * mailbox->message_bytes, message, mailbox->message_bytes);
    mr_store_release(&mailbox->tail, tail + 1); /* M */
    return true;
}
