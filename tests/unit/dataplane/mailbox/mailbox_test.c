/* SPDX-License-Identifier: Apache-2.0 */
/* Messages between threads: in order, none lost when full, and a receiver that sleeps is woken. */
#include "dataplane/mailbox/mailbox.h"
#include "tests/support/unit.h"

#include <poll.h>
#include <pthread.h>

#define MESSAGES 200000u

struct pair {
    struct mr_bell bell;
    struct mr_mailbox mailbox;
};

static void pair_init(struct pair *pair, uint32_t capacity)
{
    struct millrace_error err;
    assert_int_equal(mr_bell_init(&pair->bell, &err), 0);
    assert_int_equal(mr_mailbox_init(&pair->mailbox, sizeof(uint64_t), capacity, &pair->bell, &err), 0);
}

static void pair_release(struct pair *pair)
{
    mr_mailbox_release(&pair->mailbox);
    mr_bell_release(&pair->bell);
}

static void send_refuses_when_full_and_takes_again_after_a_receive(void **state)
{
    struct pair pair;
    uint64_t message;
    pair_init(&pair, 4);
    for (message = 0; message < 4; message++)
        assert_true(mr_mailbox_send(&pair.mailbox, &message));
    assert_false(mr_mailbox_send(&pair.mailbox, &message));
    assert_int_equal(mr_mailbox_room(&pair.mailbox), 0);
    assert_true(mr_mailbox_receive(&pair.mailbox, &message));
    assert_int_equal(message, 0);
    assert_int_equal(mr_mailbox_room(&pair.mailbox), 1);
    message = 4;
    assert_true(mr_mailbox_send(&pair.mailbox, &message));
    for (uint64_t expected = 1; expected < 5; expected++) {
        assert_true(mr_mailbox_receive(&pair.mailbox, &message));
        assert_int_equal(message, expected);
    }
    assert_false(mr_mailbox_receive(&pair.mailbox, &message));
    pair_release(&pair);
}

static void bell_is_silent_while_the_receiver_is_awake(void **state)
{
    struct pair pair;
    pair_init(&pair, 4);
    struct pollfd fd = {.fd = pair.bell.eventfd, .events = POLLIN};
    mr_bell_ring(&pair.bell);
    assert_int_equal(poll(&fd, 1, 0), 0);
    mr_bell_sleep(&pair.bell);
    mr_bell_ring(&pair.bell);
    assert_int_equal(poll(&fd, 1, 0), 1);
    mr_bell_wake(&pair.bell);
    assert_int_equal(poll(&fd, 1, 0), 0);
    pair_release(&pair);
}

static void *send_all(void *argument)
{
    struct pair *pair = argument;
    for (uint64_t message = 0; message < MESSAGES;) {
        if (mr_mailbox_send(&pair->mailbox, &message)) {
            message++;
            mr_bell_ring(&pair->bell);
        }
    }
    return NULL;
}

/* A lost wake-up would leave the receiver in poll() until its bound. */
static void sleeping_receiver_gets_every_message_in_order(void **state)
{
    struct pair pair;
    pthread_t sender;
    uint64_t expected = 0, message;
    pair_init(&pair, 8);
    struct pollfd fd = {.fd = pair.bell.eventfd, .events = POLLIN};
    assert_int_equal(pthread_create(&sender, NULL, send_all, &pair), 0);
    while (expected < MESSAGES) {
        if (mr_mailbox_receive(&pair.mailbox, &message)) {
            assert_int_equal(message, expected);
            expected++;
            continue;
        }
        mr_bell_sleep(&pair.bell);
        if (mr_load_acquire(&pair.mailbox.tail) == mr_load_relaxed(&pair.mailbox.head))
            assert_int_equal(poll(&fd, 1, 10000), 1);
        mr_bell_wake(&pair.bell);
    }
    pthread_join(sender, NULL);
    pair_release(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(send_refuses_when_full_and_takes_again_after_a_receive),
        cmocka_unit_test(bell_is_silent_while_the_receiver_is_awake),
        cmocka_unit_test(sleeping_receiver_gets_every_message_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
