/* SPDX-License-Identifier: Apache-2.0 */
/* The hashes that Kafka's own tests expect (UtilsTest.testMurmur2). */
#include "tests/support/unit.h"

#include <string.h>

#include "shm/client/partitioner.h"

static void keys_hash_as_in_kafka(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        int32_t hash;
    } known[] = {
        {"21", -973932308},
        {"foobar", -790332482},
        {"a-little-bit-long-string", -985981536},
        {"a-little-bit-longer-string", -1486304829},
        {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
        {"abc", 479470107},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        assert_int_equal((int32_t)mr_murmur2(known[i].key, strlen(known[i].key)), known[i].hash);
}

static void a_negative_hash_loses_its_sign(void **state)
{
    (void)state;
    assert_int_equal(mr_partition_of_key("21", 2, 7), (uint32_t)(-973932308 & 0x7fffffff) % 7);
    assert_int_equal(mr_partition_of_key("abc", 3, 10), 479470107 % 10);
    assert_int_equal(mr_partition_of_key("", 0, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_hash_as_in_kafka),
        cmocka_unit_test(a_negative_hash_loses_its_sign),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
