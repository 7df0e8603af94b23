/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/unit.h"

#include <stdbool.h>

#include "shm/client/producer_internal.h"

static void answers_in_order_only_move_the_mark(void **state)
{
    (void)state;
    struct mr_sequences numbers = {.next = 10, .next_wire = 10};
    uint64_t same;

    assert_true(mr_sequences_settle(&numbers, 0, 4));
    assert_int_equal(numbers.settled, 4);
    assert_int_equal(numbers.early_count, 0);
    assert_true(mr_sequences_is_settled(&numbers, 3));
    assert_false(mr_sequences_is_settled(&numbers, 4));
    assert_int_equal(mr_sequences_of_wire(&numbers, 7, 3, &same), 7);
    assert_int_equal(same, 3);
    mr_sequences_release(&numbers);
}

static void early_answers_are_remembered_and_joined(void **state)
{
    (void)state;
    struct mr_sequences numbers = {0};

    assert_true(mr_sequences_settle(&numbers, 5, 2));
    assert_true(mr_sequences_settle(&numbers, 9, 1));
    assert_true(mr_sequences_settle(&numbers, 3, 2)); /* joins the first from below */
    assert_int_equal(numbers.early_count, 2);
    assert_true(mr_sequences_settle(&numbers, 7, 2)); /* closes the gap */
    assert_int_equal(numbers.early_count, 1);
    assert_false(mr_sequences_is_settled(&numbers, 2));
    for (uint64_t wire = 3; wire < 10; wire++)
        assert_true(mr_sequences_is_settled(&numbers, wire));
    assert_false(mr_sequences_is_settled(&numbers, 10));
    assert_true(mr_sequences_settle(&numbers, 0, 3));
    assert_int_equal(numbers.settled, 10);
    assert_int_equal(numbers.early_count, 0);
    mr_sequences_release(&numbers);
}

static void a_refused_number_goes_to_the_next_record(void **state)
{
    (void)state;
    struct mr_sequences numbers = {.next = 8, .next_wire = 8};
    uint64_t same;

    assert_true(mr_sequences_settle(&numbers, 0, 4)); /* 3 was refused for good; 4.. are sent again from 3 on */
    mr_sequences_rewind(&numbers, 3);
    numbers.next_wire = 3;
    assert_false(mr_sequences_is_settled(&numbers, 3));
    assert_true(mr_sequences_shift(&numbers, 3, 4));
    assert_int_equal(mr_sequences_of_wire(&numbers, 3, 4, &same), 4);
    assert_int_equal(same, 4);
    assert_true(mr_sequences_shift(&numbers, 5, 6)); /* no change */
    assert_true(mr_sequences_shift(&numbers, 5, 8)); /* 6 and 7 were refused too */
    assert_int_equal(mr_sequences_of_wire(&numbers, 4, 3, &same), 5);
    assert_int_equal(same, 1); /* 4 is record 5, then from 5 on the difference is another */
    assert_int_equal(mr_sequences_of_wire(&numbers, 5, 1, &same), 8);
    assert_true(mr_sequences_settle(&numbers, 3, 3));
    assert_int_equal(numbers.shift_count, 0); /* what is settled needs no memory */
    assert_int_equal(mr_sequences_of_wire(&numbers, 6, 1, &same), 9);
    mr_sequences_release(&numbers);
}

static void a_rewind_forgets_early_answers_behind_it(void **state)
{
    (void)state;
    struct mr_sequences numbers = {0};

    assert_true(mr_sequences_settle(&numbers, 2, 2));
    assert_true(mr_sequences_settle(&numbers, 6, 3));
    mr_sequences_rewind(&numbers, 7);
    assert_true(mr_sequences_is_settled(&numbers, 3));
    assert_true(mr_sequences_is_settled(&numbers, 6));
    assert_false(mr_sequences_is_settled(&numbers, 7));
    assert_false(mr_sequences_is_settled(&numbers, 8));
    mr_sequences_release(&numbers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_in_order_only_move_the_mark),
        cmocka_unit_test(early_answers_are_remembered_and_joined),
        cmocka_unit_test(a_refused_number_goes_to_the_next_record),
        cmocka_unit_test(a_rewind_forgets_early_answers_behind_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
