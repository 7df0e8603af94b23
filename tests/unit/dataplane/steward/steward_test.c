/* SPDX-License-Identifier: Apache-2.0 */
/* In what order jobs are done: what commits wait for goes first, also amid what takes long; a segment's own jobs stay in order. The jobs
 * themselves are stand-ins that note their names. */
#include "dataplane/steward/steward.c"

#include "tests/support/unit.h"

static struct {
    struct mr_steward steward;
    struct mr_mailbox jobs;
    struct mr_bell bell;
    struct mr_topic_partition partition;
    struct mr_log_action amid; /* arrives while an extent is made; kind 0: nothing */
    char done[256];
} world;

static void note(const char *what, uint64_t base_offset)
{
    size_t at = strlen(world.done);
    snprintf(world.done + at, sizeof world.done - at, "%s%s%llu", at > 0 ? " " : "", what, (unsigned long long)base_offset);
}

static void ask(uint32_t kind, uint64_t base_offset)
{
    struct mr_steward_job job = {.action = {.kind = kind, .base_offset = base_offset}, .partition = &world.partition};
    assert_true(mr_mailbox_send(&world.jobs, &job));
}

void steward_make_extent(struct mr_steward *steward, struct mr_topic_partition *partition, bool slot)
{
    if (world.amid.kind != 0)
        ask(world.amid.kind, world.amid.base_offset);
    world.amid.kind = 0;
    steward_attend(steward);
    note("extent", 0);
}

void steward_take_extent(struct mr_steward *steward, struct mr_topic_partition *partition, const struct mr_log_live_extent *extent)
{
    note("give", 0);
}

void steward_make_segment(struct mr_steward *steward, struct mr_topic_partition *partition, const struct mr_log_action *action)
{
    note("make", action->base_offset);
}

void steward_allocate_segment(struct mr_steward *steward, struct mr_topic_partition *partition, const struct mr_log_action *action)
{
    note("allocate", action->base_offset);
}

void steward_rest_segment(struct mr_steward *steward, struct mr_topic_partition *partition, uint64_t base_offset)
{
    note("rest", base_offset);
}

void steward_close_segment(struct mr_steward *steward, struct mr_topic_partition *partition, const struct mr_log_action *action)
{
    note("close", action->base_offset);
}

void steward_forget(struct mr_steward *steward, struct mr_topic_partition *partition)
{
    (void)steward, (void)partition;
    fail();
}

void steward_delete_segment(struct mr_steward *steward, struct mr_topic_partition *partition, const struct mr_log_action *action)
{
    note("delete", action->base_offset);
}

static int begin(void **state)
{
    struct millrace_error err;

    memset(&world, 0, sizeof world);
    assert_int_equal(mr_bell_init(&world.bell, &err), 0);
    assert_int_equal(mr_mailbox_init(&world.jobs, sizeof(struct mr_steward_job), 1024, &world.bell, &err), 0);
    world.steward.options.jobs = &world.jobs;
    world.steward.options.reactor_count = 1;
    return 0;
}

static int end(void **state)
{
    free(world.steward.later);
    mr_mailbox_release(&world.jobs);
    mr_bell_release(&world.bell);
    return 0;
}

static void run_all(void)
{
    while (pass(&world.steward))
        ;
}

static void room_in_files_goes_before_memory_and_deleting(void **state)
{
    ask(MR_LOG_ACTION_WANT_EXTENT, 0);
    ask(MR_LOG_ACTION_DELETE_SEGMENT, 1);
    ask(MR_LOG_ACTION_CLOSE_SEGMENT, 2);
    ask(MR_LOG_ACTION_WANT_ALLOCATE, 3);
    ask(MR_LOG_ACTION_WANT_SEGMENT, 4);
    run_all();
    assert_string_equal(world.done, "allocate3 make4 extent0 delete1 close2");
}

static void room_that_is_asked_for_amid_an_extent_does_not_wait_for_it(void **state)
{
    world.amid = (struct mr_log_action){.kind = MR_LOG_ACTION_WANT_ALLOCATE, .base_offset = 7};
    ask(MR_LOG_ACTION_WANT_EXTENT, 0);
    ask(MR_LOG_ACTION_WANT_EXTENT, 0);
    run_all();
    assert_string_equal(world.done, "allocate7 extent0 extent0");
}

static void jobs_of_one_segment_stay_in_order(void **state)
{
    ask(MR_LOG_ACTION_DELETE_SEGMENT, 5);
    ask(MR_LOG_ACTION_WANT_SEGMENT, 5);
    ask(MR_LOG_ACTION_WANT_ALLOCATE, 5);
    ask(MR_LOG_ACTION_WANT_SEGMENT, 6);
    run_all();
    assert_string_equal(world.done, "make6 delete5 make5 allocate5");
    world.done[0] = 0;
    ask(MR_LOG_ACTION_REST_SEGMENT, 7);
    ask(MR_LOG_ACTION_WANT_SEGMENT, 7);
    ask(MR_LOG_ACTION_WANT_SEGMENT, 8);
    run_all();
    assert_string_equal(world.done, "rest7 make7 make8");
}

static void many_are_put_off_and_none_is_forgotten(void **state)
{
    ask(MR_LOG_ACTION_GIVE_EXTENT, 0); /* so that the ring begins in the middle */
    run_all();
    for (uint32_t i = 0; i < 300; i++)
        ask(MR_LOG_ACTION_GIVE_EXTENT, 0);
    assert_true(attend(&world.steward));
    assert_int_equal(world.steward.later_count, 300);
    world.done[0] = '\0';
    for (uint32_t i = 0; i < 300; i++)
        assert_true(pass(&world.steward));
    assert_false(pass(&world.steward));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(room_in_files_goes_before_memory_and_deleting, begin, end),
        cmocka_unit_test_setup_teardown(room_that_is_asked_for_amid_an_extent_does_not_wait_for_it, begin, end),
        cmocka_unit_test_setup_teardown(jobs_of_one_segment_stay_in_order, begin, end),
        cmocka_unit_test_setup_teardown(many_are_put_off_and_none_is_forgotten, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
