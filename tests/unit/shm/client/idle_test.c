/* SPDX-License-Identifier: Apache-2.0 */
/* What a call that waits does first: after a doorbell it gives its core away once, since the reactor may be woken on it. */
#include <sched.h>

static unsigned yields;

static int counted_yield(void)
{
    yields++;
    return 0;
}

#define sched_yield counted_yield
#include "shm/client/idle.c"
#undef sched_yield

#include "tests/support/unit.h"

#include <string.h>

static unsigned yields_of_first_steps(enum millrace_idle idle, bool rang)
{
    struct millrace_client client;
    struct mr_wait wait;

    memset(&client, 0, sizeof client);
    client.options.idle = idle;
    client.rang = rang;
    yields = 0;
    mr_wait_init(&wait, -1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(mr_wait_next(&wait, &client), MR_WAIT_AGAIN);
    assert_false(client.rang);
    return yields;
}

static void after_a_doorbell_the_first_step_is_one_yield(void **state)
{
    assert_int_equal(yields_of_first_steps(MILLRACE_IDLE_ADAPTIVE, true), 1);
    assert_int_equal(yields_of_first_steps(MILLRACE_IDLE_ADAPTIVE, false), 0);
}

static void a_busy_client_never_yields(void **state)
{
    assert_int_equal(yields_of_first_steps(MILLRACE_IDLE_BUSY, true), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_a_doorbell_the_first_step_is_one_yield),
        cmocka_unit_test(a_busy_client_never_yields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
