/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "shm/segment/checkpoint.h"
#include "tests/support/naive_batch.h"

static const struct mr_snapshot_producer two[] = {
    {.producer_id = 5, .epoch = 2, .last_sequence = 9, .last_offset = 100, .offset_delta = 3, .timestamp_ms = 1000,
     .coordinator_epoch = -1, .transaction_first_offset = -1},
    {.producer_id = INT64_MAX, .epoch = INT16_MAX, .last_sequence = INT32_MAX, .last_offset = INT64_MAX, .offset_delta = 0,
     .timestamp_ms = -1, .coordinator_epoch = 7, .transaction_first_offset = 90},
};

static const uint8_t first_entry[46] = {
    0, 0, 0, 0, 0, 0, 0, 5, 0, 2, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 3, 0xe8,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
};

static void snapshot_has_kafkas_bytes(void **state)
{
    (void)state;
    uint8_t at[128];
    struct mr_snapshot_producer p;

    assert_int_equal(mr_snapshot_encode(two, 2, at, 102), 102);
    assert_int_equal(mr_snapshot_encode(two, 2, at + 20, 101), -ENOSPC);
    assert_memory_equal(at, "\x00\x01", 2);
    assert_memory_equal(at + 6, "\x00\x00\x00\x02", 4);
    assert_memory_equal(at + 10, first_entry, 46);
    uint32_t crc = naive_crc32c(at + 6, 96);
    for (int i = 0; i < 4; i++)
        assert_int_equal(at[2 + i], (uint8_t)(crc >> (24 - 8 * i)));
    assert_int_equal(mr_snapshot_check(at, 102), 2);
    memset(&p, 0, sizeof p);
    for (uint32_t i = 0; i < 2; i++) {
        mr_snapshot_read(at, i, &p);
        assert_true(p.producer_id == two[i].producer_id && p.epoch == two[i].epoch && p.last_sequence == two[i].last_sequence &&
                    p.last_offset == two[i].last_offset && p.offset_delta == two[i].offset_delta &&
                    p.timestamp_ms == two[i].timestamp_ms && p.coordinator_epoch == two[i].coordinator_epoch &&
                    p.transaction_first_offset == two[i].transaction_first_offset);
    }
}

static void damaged_snapshots_are_refused(void **state)
{
    (void)state;
    uint8_t at[128];
    assert_int_equal(mr_snapshot_encode(two, 2, at, sizeof at), 102);
    for (size_t bytes = 0; bytes < 102; bytes++)
        assert_int_equal(mr_snapshot_check(at, bytes), -EBADMSG);
    assert_int_equal(mr_snapshot_check(at, 103), -EBADMSG);
    for (int bit = 0; bit < 102 * 8; bit++) {
        at[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_true(mr_snapshot_check(at, 102) < 0);
        at[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(mr_snapshot_encode(NULL, 0, at, 10), 10);
    assert_int_equal(mr_snapshot_check(at, 10), 0);
}

static void epochs_are_kafkas_text(void **state)
{
    (void)state;
    static const struct mr_epoch_start epochs[] = {{0, 0}, {3, 100}, {2147483647, INT64_MAX}};
    struct mr_epoch_start got[4];
    char text[128];
    const char *want = "0\n3\n0 0\n3 100\n2147483647 9223372036854775807\n";

    assert_int_equal(mr_epochs_encode(epochs, 3, text, sizeof text), strlen(want));
    assert_memory_equal(text, want, strlen(want));
    for (size_t room = 0; room < strlen(want); room++)
        assert_int_equal(mr_epochs_encode(epochs, 3, text, room), -ENOSPC);
    assert_int_equal(mr_epochs_decode(want, strlen(want), got, 4), 3);
    for (int i = 0; i < 3; i++)
        assert_true(got[i].epoch == epochs[i].epoch && got[i].start_offset == epochs[i].start_offset);
    assert_int_equal(mr_epochs_decode(want, strlen(want), got, 2), -ENOSPC);
    assert_int_equal(mr_epochs_decode("0\n0\n", 4, got, 4), 0);
    for (size_t bytes = 0; bytes < strlen(want); bytes++) { /* exact allocations: no read behind */
        char *cut = malloc(bytes + 1);
        assert_non_null(cut);
        memcpy(cut, want, bytes);
        cut = realloc(cut, bytes > 0 ? bytes : 1);
        assert_int_equal(mr_epochs_decode(cut, bytes, got, 4), -EBADMSG);
        free(cut);
    }
}

static void doubtful_epochs_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "1\n0\n",             /* version */
        "0\n1\n3 5\n4 6\n",   /* more lines than count */
        "0\n2\n3 5\n3 6\n",   /* epoch not ascending */
        "0\n2\n3 5\n4 4\n",   /* offset goes back */
        "0\n1\n-1 5\n",       /* negative */
        "0\n1\n2147483648 5\n",
        "0\n1\n1 9223372036854775808\n",
        "0\n1\n1  5\n",
        "0\n1\n1 5 \n",
        "0\r\n0\r\n",
        "\n",
    };
    struct mr_epoch_start got[4];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(mr_epochs_decode(bad[i], strlen(bad[i]), got, 4), i == 0 ? -ENOTSUP : -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(snapshot_has_kafkas_bytes),
        cmocka_unit_test(damaged_snapshots_are_refused),
        cmocka_unit_test(epochs_are_kafkas_text),
        cmocka_unit_test(doubtful_epochs_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
