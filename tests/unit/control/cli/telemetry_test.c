/* SPDX-License-Identifier: Apache-2.0 */
/* Counters from files of known content, and from this host. */
#include "control/cli/telemetry.h"
#include "tests/support/unit.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static struct mr_telemetry telemetry;
static struct millrace_error err;
static char root[64];

static void put(const char *name, const char *text)
{
    char path[128];

    snprintf(path, sizeof path, "%s/%s", root, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int make_root(void **state)
{
    char path[128];

    snprintf(root, sizeof root, "/tmp/mr_telemetry_XXXXXX");
    if (mkdtemp(root) == NULL)
        return 1;
    snprintf(path, sizeof path, "%s/proc", root);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/proc/net", root);
    return mkdir(path, 0700);
}

static int remove_root(void **state)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf %s", root);
    return system(command);
}

static int64_t value_of(const char *name)
{
    for (uint32_t i = 0; i < telemetry.count; i++) {
        if (strcmp(telemetry.metric[i].name, name) == 0)
            return telemetry.metric[i].value;
    }
    fail_msg("no metric '%s'", name);
    return -1;
}

static void known_files_give_known_counters(void **state)
{
    put("proc/stat", "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 11 0 0 0 0 0 0 18 0 0\nintr 5 6\nctxt 99\n");
    put("proc/meminfo", "MemFree:   2 kB\nHugePages_Total:  7\n");
    put("proc/net/dev", "Inter-|   Receive\n face |bytes    packets\n  eth0: 100 2 3 4 0 0 0 0 200 5 6 7 0 0 0 0\n");
    put("proc/diskstats", "  8  0 vda 10 1 20 30 40 2 50 60 0 1 2\n  7 0 loop0 0 0 0 0 0 0 0 0 0 0 0\n");
    put("proc/loadavg", "0.50 1.25 2.00 1/2 3\n");
    put("proc/vmstat", "pgfault 5\nbad\n");
    assert_int_equal(mr_telemetry_sweep(&telemetry, root, &err), 8 + 8 + 1 + 2 + 8 + 6 + 3 + 1);
    assert_int_equal(value_of("cpu.user"), 1);
    assert_int_equal(value_of("cpu0.steal"), 18);
    assert_int_equal(value_of("kernel.ctxt"), 99);
    assert_int_equal(value_of("memory.MemFree"), 2048);
    assert_int_equal(value_of("memory.HugePages_Total"), 7);
    assert_int_equal(value_of("net.eth0.rx"), 100);
    assert_int_equal(value_of("net.eth0.tx"), 200);
    assert_int_equal(value_of("net.eth0.tx_drops"), 7);
    assert_int_equal(value_of("disk.vda.written"), 50 * 512);
    assert_int_equal(value_of("load.5m"), 1250);
    assert_int_equal(value_of("vm.pgfault"), 5);
}

static void nothing_to_read_is_an_error(void **state)
{
    assert_int_equal(mr_telemetry_sweep(&telemetry, root, &err), -ENOENT);
    assert_non_null(strstr(err.text, "mount /proc"));
}

static void this_host_has_counters(void **state)
{
    assert_true(mr_telemetry_sweep(&telemetry, "", &err) > 10);
}

static void values_are_json_whose_members_read_back(void **state)
{
    struct mr_telemetry_metric metric = {.name = "a\"b", .unit = "count", .value = -5};
    char value[MR_TELEMETRY_VALUE_MAX];
    uint64_t number;

    size_t bytes = mr_telemetry_value(&metric, "host", 9, 7, 1700000000000000001, value);
    assert_string_equal(value, "{\"metric\":\"a\\\"b\",\"value\":-5,\"unit\":\"count\",\"host\":\"host\",\"run\":9,\"sequence\":7,"
                               "\"time_ns\":1700000000000000001}");
    assert_int_equal(mr_telemetry_member(value, bytes, "time_ns", &number), 0);
    assert_int_equal(number, 1700000000000000001);
    assert_int_equal(mr_telemetry_member(value, bytes, "sequence", &number), 0);
    assert_int_equal(number, 7);
    assert_int_equal(mr_telemetry_member(value, bytes, "absent", &number), -EBADMSG);
    assert_int_equal(mr_telemetry_member(value, bytes, "value", &number), -EBADMSG); /* not unsigned */
    assert_int_equal(mr_telemetry_member(NULL, 0, "value", &number), -EBADMSG);
    assert_int_equal(mr_telemetry_member("\"time_ns\":12", 11, "time_ns", &number), 0);
    assert_int_equal(number, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(known_files_give_known_counters, make_root, remove_root),
        cmocka_unit_test_setup_teardown(nothing_to_read_is_an_error, make_root, remove_root),
        cmocka_unit_test(this_host_has_counters),
        cmocka_unit_test(values_are_json_whose_members_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
