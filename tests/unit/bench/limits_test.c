/* SPDX-License-Identifier: Apache-2.0 */
/* The limits run, briefly, and say what to do when they cannot. Their figures are not judged here: machines differ. */
#include "tests/support/unit.h"

#include "bench/limits/limits.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

static bool two_cores(struct mr_limit_cpus *cpus)
{
    cpu_set_t set;
    uint32_t found[2], count = 0;

    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return false;
    for (uint32_t cpu = 0; cpu < CPU_SETSIZE && count < 2; cpu++) {
        if (CPU_ISSET(cpu, &set))
            found[count++] = cpu;
    }
    if (count < 2)
        return false;
    *cpus = (struct mr_limit_cpus){found[0], found[1]};
    return true;
}

static void both_ends_meet_and_the_binding_is_put_back(void **state)
{
    static struct mr_histogram round_trip;
    struct mr_limit_cpus cpus;
    struct millrace_error err = {0};
    cpu_set_t before, after;
    double figure = 0;

    if (!two_cores(&cpus))
        skip(); /* needs two cores */
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    assert_int_equal(mr_limit_pingpong(cpus, 5000000, &round_trip, &err), 0);
    assert_true(round_trip.count > 0);
    assert_int_equal(mr_limit_ring(cpus, 1, 5000000, &figure, &err), 0);
    assert_true(figure > 0);
    assert_int_equal(mr_limit_ring(cpus, 64, 5000000, &figure, &err), 0);
    mr_histogram_reset(&round_trip);
    assert_int_equal(mr_limit_relay_latency(cpus, 5000000, &round_trip, &err), 0);
    assert_true(round_trip.count > 0);
    figure = 0;
    assert_int_equal(mr_limit_relay(cpus, 64, 5000000, &figure, &err), 0);
    assert_true(figure > 0);
    assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
    assert_true(CPU_EQUAL(&before, &after));
}

static void what_cannot_be_measured_is_said(void **state)
{
    struct mr_limit_cpus cpus = {0, 100000};
    struct mr_limit_stream stream = mr_limit_stream_preallocated(1000, 1 << 20);
    struct millrace_error err = {0};
    double figure;

    assert_int_equal(mr_limit_ring(cpus, 1, 1000, &figure, &err), -EINVAL);
    assert_non_null(strstr(err.text, "--cpus"));
    assert_int_equal(mr_limit_ring(cpus, 1u << 20, 1000, &figure, &err), -EINVAL);
    assert_non_null(strstr(err.text, "--batch"));
    assert_int_equal(mr_limit_relay(cpus, 0, 1000, &figure, &err), -EINVAL);
    assert_non_null(strstr(err.text, "--batch"));
    assert_int_equal(mr_limit_disk_stream(".", &stream, &figure, &err), -EINVAL);
    stream.depth = 1;
    assert_true(mr_limit_disk_stream("/nowhere", &stream, &figure, &err) < 0);
    assert_non_null(strstr(err.text, "--data"));
}

static uint32_t entries_in(const char *directory)
{
    uint32_t count = 0;
    DIR *folder = opendir(directory);

    assert_non_null(folder);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

static void the_disk_is_left_as_it_was(void **state)
{
    static struct mr_histogram latency;
    char directory[] = "millrace-limits-XXXXXX"; /* beside the build: /tmp may be a tmpfs without O_DIRECT */
    struct mr_limit_stream stream = mr_limit_stream_sustained(4, 16 << 20, UINT64_MAX);
    struct millrace_error err = {0};
    double figure = 0;

    assert_non_null(mkdtemp(directory));
    int rc = mr_limit_disk_commit(directory, 2000000, &latency, &err);
    if (rc == 0) {
        stream.bytes = 40 << 20; /* more than is kept: files are deleted on the way */
        stream.file_bytes = 8 << 20;
        rc = mr_limit_disk_stream(directory, &stream, &figure, &err);
    }
    uint32_t entries = entries_in(directory);
    rmdir(directory);
    if (rc == -EINVAL || rc == -EPERM || rc == -ENOSYS || rc == -EOPNOTSUPP)
        skip(); /* no O_DIRECT, or no io_uring */
    assert_int_equal(rc, 0);
    assert_true(latency.count > 0);
    assert_true(figure > 0);
    assert_int_equal(entries, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ends_meet_and_the_binding_is_put_back),
        cmocka_unit_test(what_cannot_be_measured_is_said),
        cmocka_unit_test(the_disk_is_left_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
