/* SPDX-License-Identifier: Apache-2.0 */
/* Clients that break the rules, one rule each. However it goes on, the session ends or gets a clean error, the next client is served, and
 * the daemon has no more descriptors than before. */
#include "tests/support/door_world.h"
#include "tests/support/mutations.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Somebody who keeps to the rules is served. */
static void check_alive(void)
{
    struct raw_client honest;
    raw_attach(&honest);
    assert_int_equal(raw_open_producer(&honest, "t", MR_DURABILITY_DISK), MR_MESSAGE_PRODUCER_OPENED);
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(raw_produce(&honest, honest.reply.producer_opened.handle_first, i), 0);
    assert_int_equal(raw_open_consumer(&honest, "t"), MR_MESSAGE_CONSUMER_OPENED);
    assert_int_equal(raw_subscribe(&honest, 0, 0), MR_MESSAGE_SUBSCRIBED);
    raw_leave(&honest);
}

static void hostile_clients_hurt_only_themselves(void **state)
{
    raw_attach(&client);
    assert_int_equal(raw_create(&client, "t", 1, ""), MR_MESSAGE_DONE);
    assert_int_equal(raw_create(&client, "wide", 40, ""), MR_MESSAGE_DONE);
    assert_int_equal(raw_open_consumer(&client, "wide"), MR_MESSAGE_CONSUMER_OPENED); /* its slot file is open from now on */
    raw_leave(&client);
    check_alive();
    usleep(200000);
    uint32_t floor = door_world_fds();
    for (uint32_t i = 0; i < 100 && floor != 0; i++) { /* sessions of the warm-up leave */
        usleep(2000);
        floor = door_world_fds() < floor ? door_world_fds() : floor;
    }
    for (uint32_t m = 0; m < mutation_count; m++) {
        printf("  %s\n", mutations[m].name);
        fflush(stdout);
        int ended = mutations[m].act();
        raw_leave(&client);
        if (mutations[m].ends == EITHER ? ended != HUNG_UP && ended != MR_MESSAGE_DONE : ended != mutations[m].ends)
            fail_msg("%s ended with %d instead of %d", mutations[m].name, ended, mutations[m].ends);
        check_alive();
        if (!door_world_settles(floor))
            fail_msg("%s leaks: %u descriptors, %u before", mutations[m].name, door_world_fds(), floor);
    }
}

static void stop_tells_sessions_and_closes_their_rings(void **state)
{
    raw_attach(&client);
    assert_int_equal(raw_open_producer(&client, "t", MR_DURABILITY_DISK), MR_MESSAGE_PRODUCER_OPENED);
    assert_int_equal(raw_produce(&client, client.reply.producer_opened.handle_first, 0), 0);
    assert_true(door_world_stop());
    assert_int_equal(raw_receive(&client), MR_MESSAGE_CLOSING);
    assert_int_equal(raw_receive(&client), 0);
    for (uint32_t r = 0; r < RAW_RINGS_MAX; r++)
        if (client.ring[r].memory != NULL)
            assert_int_not_equal(mr_load_acquire(&client.ring[r].end.daemon->state), MR_RING_OPEN);
    raw_leave(&client);
}

static int start(void **state)
{
    door_world_start();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_clients_hurt_only_themselves),
        cmocka_unit_test(stop_tells_sessions_and_closes_their_rings),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
