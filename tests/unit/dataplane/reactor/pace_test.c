/* SPDX-License-Identifier: Apache-2.0 */
/* Who is rested for, and who never is. */
#include "tests/support/unit.h"

#include "dataplane/reactor/pace.h"

static bool rests_when_busy(const struct mr_pace *pace)
{
    return mr_pace_is_stream(pace, 1);
}

static void note(struct mr_pace *pace, uint32_t passes, uint64_t frames, uint32_t rings)
{
    for (uint32_t i = 0; i < passes; i++)
        mr_pace_note(pace, frames, rings);
}

static void who_waits_for_single_records_meets_no_rest(void **state)
{
    struct mr_pace pace = {0};

    note(&pace, 100, 1, 1);
    assert_false(rests_when_busy(&pace) || pace.behind_bulk);
    for (uint32_t i = 0; i < 100; i++) { /* a window of some records: all of them, then nothing */
        note(&pace, MR_STREAM_PASSES - 1, 4, 1);
        note(&pace, 1, 0, 0);
        assert_false(rests_when_busy(&pace) || pace.behind_bulk);
    }
}

static void a_stream_of_one_ring_is_rested_for_until_it_ends(void **state)
{
    struct mr_pace pace = {0};

    note(&pace, MR_STREAM_PASSES - 1, MR_STREAM_FRAMES_MIN, 1);
    assert_false(rests_when_busy(&pace));
    note(&pace, 1, MR_STREAM_FRAMES_MAX, 1);
    assert_true(rests_when_busy(&pace));
    note(&pace, 1, 1, 1);
    assert_false(rests_when_busy(&pace));
    note(&pace, MR_STREAM_PASSES, MR_STREAM_FRAMES_MIN, 1);
    note(&pace, 1, MR_STREAM_FRAMES_MAX + 1, 1); /* behind: it looks seldom enough */
    assert_false(rests_when_busy(&pace));
}

static void others_never_wait_for_a_stream(void **state)
{
    struct mr_pace pace = {0};

    note(&pace, 100, 10, 2);
    assert_false(rests_when_busy(&pace));
    note(&pace, MR_STREAM_PASSES, 10, 1);
    assert_true(rests_when_busy(&pace));
    assert_false(mr_pace_is_stream(&pace, 2)); /* hot but quiet: his next record may come any moment */
    assert_true(rests_when_busy(&pace)); /* he has grown cold */
    note(&pace, 1, 11, 2);
    assert_false(rests_when_busy(&pace));
}

static void a_bulk_is_rested_for_once(void **state)
{
    struct mr_pace pace = {0};

    note(&pace, 1, MR_BULK_FRAMES - 1, 1);
    assert_false(pace.behind_bulk);
    note(&pace, 1, MR_BULK_FRAMES, 3);
    note(&pace, 3, 0, 0);
    assert_true(pace.behind_bulk);
    mr_pace_idle(&pace);
    assert_false(pace.behind_bulk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_waits_for_single_records_meets_no_rest),
        cmocka_unit_test(a_stream_of_one_ring_is_rested_for_until_it_ends),
        cmocka_unit_test(others_never_wait_for_a_stream),
        cmocka_unit_test(a_bulk_is_rested_for_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
