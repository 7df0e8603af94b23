/* SPDX-License-Identifier: Apache-2.0 */
/* What one user may take; each refusal names the key that says so. */
#include "tests/support/door_client.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "millrace/millrace.h"

static struct millrace_error err;

static struct millrace_client *attach(void)
{
    struct millrace_client *client;
    for (uint32_t i = 0; i < 5000; i++) { /* sessions that ended are let go a moment later */
        if (millrace_attach(&client, door_world_socket, NULL, &err) == 0)
            return client;
        assert_true(err.code == EDQUOT || err.code == EAGAIN);
        usleep(1000);
    }
    fail_msg("%s", err.text);
    return NULL;
}

static void sessions_beyond_the_quota_are_turned_away(void **state)
{
    struct millrace_client *clients[5], *more;
    for (uint32_t i = 0; i < 5; i++)
        clients[i] = attach();
    assert_int_equal(millrace_attach(&more, door_world_socket, NULL, &err), -EDQUOT);
    assert_non_null(strstr(err.text, "millrace.quota.sessions"));
    millrace_detach(clients[2]);
    clients[2] = attach();
    for (uint32_t i = 0; i < 5; i++)
        millrace_detach(clients[i]);
}

static void session_memory_is_bounded_for_all_sessions_of_a_user(void **state)
{
    struct millrace_client *one = attach(), *other = attach();
    struct millrace_producer *producer, *more;
    struct millrace_producer_options options;
    assert_int_equal(millrace_topic_create(one, "t", 1, "", &err), 0);
    millrace_producer_options_init(&options);
    options.ring_bytes = 1u << 20;
    assert_int_equal(millrace_producer_open(&producer, one, "t", &options, &err), 0);
    assert_int_equal(millrace_producer_open(&more, other, "t", &options, &err), -EDQUOT);
    assert_non_null(strstr(err.text, "millrace.quota.session.bytes=2097152"));
    options.ring_bytes = 1u << 18;
    assert_int_equal(millrace_producer_open(&more, other, "t", &options, &err), 0); /* the session goes on */
    millrace_detach(one);
    options.ring_bytes = 1u << 20;
    int rc = -EDQUOT;
    for (uint32_t i = 0; i < 5000 && rc == -EDQUOT; i++) {
        rc = millrace_producer_open(&producer, other, "t", &options, &err);
        usleep(1000);
    }
    assert_int_equal(rc, 0); /* what was taken has been given back */
    millrace_detach(other);
}

static void attaching_too_often_is_refused_for_a_while(void **state)
{
    struct millrace_client *client;
    bool refused = false;
    for (uint32_t i = 0; i < 200 && !refused; i++) {
        int rc = millrace_attach(&client, door_world_socket, NULL, &err);
        if (rc == 0)
            millrace_detach(client);
        else if (rc == -EAGAIN)
            refused = true;
        else
            assert_int_equal(rc, -EDQUOT);
    }
    assert_true(refused);
    assert_non_null(strstr(err.text, "millrace.quota.attach.rate"));
    millrace_detach(attach());
}

static int start(void **state)
{
    door_world_sets[0] = "millrace.quota.sessions=5";
    door_world_sets[1] = "millrace.quota.session.bytes=2MiB";
    door_world_sets[2] = "millrace.quota.attach.rate=20";
    door_world_start();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_beyond_the_quota_are_turned_away),
        cmocka_unit_test(session_memory_is_bounded_for_all_sessions_of_a_user),
        cmocka_unit_test(attaching_too_often_is_refused_for_a_while),
    };
    return cmocka_run_group_tests(tests, start, door_group_stop);
}
