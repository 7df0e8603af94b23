/* SPDX-License-Identifier: Apache-2.0 */
/* produce, consume, topic and telemetry, each in a process of its own, against a stand-in for libmillrace. */
#include "control/cli/commands.h"
#include "tests/support/fake_client.h"
#include "tests/support/run_command.h"

#include <signal.h>

static struct fake_faults *faults;
static int reset(void **state)
{
    faults = fake_reset();
    return command_folder_make(state);
}

static void lines_become_records_and_come_back(void **state)
{
    assert_int_equal(RUN(mr_cmd_produce, "a\nb\nc", "t", "--partition", "1"), MR_CLI_DONE);
    says("sent=3 acked=3 failed=0");
    assert_int_equal(RUN(mr_cmd_consume, "", "t", "--from", "start", "--exit-at-end"), MR_CLI_DONE);
    assert_string_equal(out, "a\nb\nc\n");
    assert_int_equal(RUN(mr_cmd_consume, "", "t", "--from", "1", "-n", "1", "-p", "1", "-f", "%t/%p@%o %v"), MR_CLI_DONE);
    assert_string_equal(out, "t/1@1 b\n");
}

static void more_records_than_the_ring_holds_all_arrive(void **state)
{
    static char input[20000];

    for (int i = 0; i < 2000; i++)
        snprintf(input + strlen(input), 16, "%d\n", i);
    assert_int_equal(RUN(mr_cmd_produce, input, "t", "-p", "0"), MR_CLI_DONE);
    says("sent=2000 acked=2000 failed=0");
    assert_int_equal(RUN(mr_cmd_consume, "", "t", "--from", "start", "-e"), MR_CLI_DONE);
    assert_string_equal(out, input);
}

static void json_copies_a_topic_with_everything(void **state)
{
    static char first[65536];

    assert_int_equal(RUN(mr_cmd_produce,
                         "{\"key\":\"k\",\"value\":\"v\",\"partition\":1,\"timestamp\":77,\"headers\":[{\"key\":\"h\",\"value\":\"w\"}]}\n"
                         "{\"key\":\"dead\",\"value\":null,\"partition\":0}\n", "t", "--format", "json"), MR_CLI_DONE);
    assert_int_equal(RUN(mr_cmd_consume, "", "t", "--from", "start", "-e", "-f", "json"), MR_CLI_DONE);
    assert_non_null(strstr(out, "\"timestamp\":77,\"key\":\"k\",\"value\":\"v\",\"headers\":[{\"key\":\"h\",\"value\":\"w\"}]}"));
    assert_non_null(strstr(out, "\"key\":\"dead\",\"value\":null"));
    memcpy(first, out, sizeof first);
    faults = fake_reset();
    assert_int_equal(RUN(mr_cmd_produce, first, "t", "--format", "json"), MR_CLI_DONE);
    assert_int_equal(RUN(mr_cmd_consume, "", "t", "--from", "start", "-e", "-f", "json"), MR_CLI_DONE);
    assert_string_equal(out, first);
}

static void keys_headers_and_separators(void **state)
{
    assert_int_equal(RUN(mr_cmd_produce, "a:1\n", "t", "--key-separator", ":", "-H", "x=y"), MR_CLI_DONE);
    assert_int_equal(RUN(mr_cmd_produce, "2\n", "t", "-k", "b"), MR_CLI_DONE);
    assert_int_equal(RUN(mr_cmd_consume, "", "t", "--from", "start", "-e", "-f", "%k=%v %h"), MR_CLI_DONE);
    assert_string_equal(out, "a=1 x=y\nb=2 \n");
}

static void a_failed_record_is_status_1(void **state)
{
    faults->fail_every = 3;
    assert_int_equal(RUN(mr_cmd_produce, "a\nb\nc\n", "t"), MR_CLI_FAILED);
    says("1 records failed, the first with: No space left on device");
    says("sent=3 acked=2 failed=1");
}

static void mistakes_name_the_line_or_the_option(void **state)
{
    assert_int_equal(RUN(mr_cmd_produce, "{}\n", "t", "-f", "json"), MR_CLI_FAILED);
    says("stdin:1: \"value\" is missing");
    assert_int_equal(RUN(mr_cmd_produce, "a\n", "t", "-p", "7"), MR_CLI_FAILED);
    says("stdin:1: partition 7: the topic has 2, numbered from 0");
    assert_int_equal(RUN(mr_cmd_produce, "a\n", "x"), MR_CLI_FAILED);
    says("millrace topic create x");
    assert_int_equal(RUN(mr_cmd_produce, "a\n", "t", "--acks", "some"), MR_CLI_USAGE);
    says("--acks some: it must be ring (0), leader (1) or all");
    assert_int_equal(RUN(mr_cmd_produce, "a\n", "t", "/nonexistent"), MR_CLI_FAILED);
    says("cannot read '/nonexistent'");
    assert_int_equal(RUN(mr_cmd_consume, "", "t", "--from", "yesterday"), MR_CLI_USAGE);
    assert_int_equal(RUN(mr_cmd_consume, "", "t", "--until", "5"), MR_CLI_USAGE);
    assert_int_equal(RUN(mr_cmd_consume, "", "t", "-p", "x"), MR_CLI_USAGE);
    faults->no_node = true;
    assert_int_equal(RUN(mr_cmd_consume, "", "t"), MR_CLI_FAILED);
    says("start one with 'millrace up'");
}

static void times_bound_what_is_read(void **state)
{
    assert_int_equal(RUN(mr_cmd_produce,
                         "{\"value\":\"a\",\"partition\":0,\"timestamp\":1000}\n{\"value\":\"b\",\"partition\":0,\"timestamp\":2000}\n"
                         "{\"value\":\"c\",\"partition\":0,\"timestamp\":3000}\n{\"value\":\"d\",\"partition\":1,\"timestamp\":1500}\n",
                         "t", "-f", "json"), MR_CLI_DONE);
    assert_int_equal(RUN(mr_cmd_consume, "", "t", "--from", "@2000", "-e"), MR_CLI_DONE);
    assert_string_equal(out, "b\nc\n");
    assert_int_equal(RUN(mr_cmd_consume, "", "t", "--from", "start", "--until", "@2000"), MR_CLI_DONE);
    assert_string_equal(out, "a\nd\n");
}

static void removed_records_are_said_and_skipped(void **state)
{
    assert_int_equal(RUN(mr_cmd_produce, "a\nb\nc\n", "t", "-p", "0"), MR_CLI_DONE);
    faults->log_start[0] = 2;
    assert_int_equal(RUN(mr_cmd_consume, "", "t", "--from", "start", "-e"), MR_CLI_DONE);
    assert_string_equal(out, "c\n");
    says("t/0: offsets 0 to 1 are gone by retention, going on at 2");
}

static void following_ends_with_130_after_ctrl_c_and_0_after_sigterm(void **state)
{
    const char *const arguments[] = {"t", NULL};
    static const struct {
        int signal, status;
    } expected[] = {{SIGINT, MR_CLI_INTERRUPTED}, {SIGTERM, MR_CLI_DONE}};

    for (int i = 0; i < 2; i++) {
        pid_t pid = command_start(mr_cmd_consume, "", arguments);
        usleep(150000);
        kill(pid, expected[i].signal);
        assert_int_equal(command_finish(pid), expected[i].status);
    }
}

static void topics_are_checked_before_they_are_sent(void **state)
{
    assert_int_equal(RUN(mr_cmd_topic, "", "create", "orders", "-p", "8", "-c", "segment.bytes=64MiB", "-c", "millrace.durability=leader"), MR_CLI_DONE);
    assert_string_equal(faults->created, "orders 8 segment.bytes=64MiB\nmillrace.durability=leader\n");
    assert_int_equal(RUN(mr_cmd_topic, "", "create", "orders", "-c", "segment.byte=1"), MR_CLI_FAILED);
    says("did you mean 'segment.bytes'?");
    assert_int_equal(RUN(mr_cmd_topic, "", "create", "orders", "--replicas", "3"), MR_CLI_FAILED);
    says("replication is not in this version");
    assert_int_equal(RUN(mr_cmd_topic, "", "lst"), MR_CLI_USAGE);
    says("did you mean 'list'?");
    assert_int_equal(RUN(mr_cmd_topic, "", "list"), MR_CLI_DONE);
    assert_string_equal(out, "TOPIC        PARTITIONS  DURABILITY\nt                     2  disk\nlonger-name          16  leader\n");
    assert_int_equal(RUN(mr_cmd_topic, "", "list", "--json"), MR_CLI_DONE);
    assert_int_equal(out[0], '[');
}

static void topics_are_described_and_changed(void **state)
{
    assert_int_equal(RUN(mr_cmd_topic, "", "describe", "t"), MR_CLI_DONE);
    assert_non_null(strstr(out, "topic t, id 0f, 2 partitions\n"));
    assert_non_null(strstr(out, "  its own: segment.bytes=64MiB\n           retention.bytes=1GiB\n"));
    assert_non_null(strstr(out, "\n        0  online              5            70            60            80        0  /d\n"));
    assert_non_null(strstr(out, "\n        1  offline "));
    assert_int_equal(RUN(mr_cmd_topic, "", "describe", "t", "--json"), MR_CLI_DONE);
    assert_int_equal(out[0], '{');
    assert_int_equal(RUN(mr_cmd_topic, "", "alter", "t", "-c", "segment.bytes=64MiB", "--default", "retention.bytes"), MR_CLI_DONE);
    assert_string_equal(faults->created, "alter t segment.bytes=64MiB\nretention.bytes\n");
    assert_int_equal(RUN(mr_cmd_topic, "", "alter", "t"), MR_CLI_USAGE);
    says("nothing to change");
    assert_int_equal(RUN(mr_cmd_topic, "", "alter", "t", "-c", "segment.bytes"), MR_CLI_FAILED);
    says("it must be key=value");
    assert_int_equal(RUN(mr_cmd_topic, "", "alter", "t", "--default", "segment.bytes=1"), MR_CLI_FAILED);
    says("it must be a key alone");
    assert_int_equal(RUN(mr_cmd_topic, "", "partitions", "t", "16"), MR_CLI_DONE);
    assert_string_equal(faults->created, "partitions t 16");
    assert_int_equal(RUN(mr_cmd_topic, "", "partitions", "t", "0"), MR_CLI_USAGE);
    says("it must be 1 to 10000");
    assert_int_equal(RUN(mr_cmd_topic, "", "delete", "t"), MR_CLI_DONE); /* nobody is at a terminal to be asked */
    assert_string_equal(faults->created, "delete t");
    faults->created[0] = '\0';
    assert_int_equal(RUN(mr_cmd_topic, "", "trim", "t", "--before", "70"), MR_CLI_DONE);
    assert_string_equal(faults->created, "trim t-0 70;trim t-1 70;");
    faults->created[0] = '\0';
    assert_int_equal(RUN(mr_cmd_topic, "", "trim", "t", "--before", "end", "-p", "1"), MR_CLI_DONE);
    assert_string_equal(faults->created, "trim t-1 -1;");
    assert_int_equal(RUN(mr_cmd_topic, "", "trim", "t", "--before", "-3"), MR_CLI_USAGE);
    says("it must be an offset, or end");
    assert_int_equal(RUN(mr_cmd_topic, "", "trim", "t"), MR_CLI_USAGE);
    says("--before is missing");
}

static void telemetry_is_read_back_by_another_process(void **state)
{
    assert_int_equal(RUN(mr_cmd_telemetry, "", "-t", "t", "-n", "500", "-r", "10k", "--read-back"), MR_CLI_DONE);
    says("sent=500 acked=500 failed=0");
    assert_non_null(strstr(out, "read=500 of 500, doubled=0\n"));
    assert_non_null(strstr(out, "publish to read: p50 "));
    assert_int_equal(RUN(mr_cmd_consume, "", "t", "--from", "start", "-n", "1", "-f", "%k %v"), MR_CLI_DONE);
    assert_int_equal(strncmp(out, "cpu.user {\"metric\":\"cpu.user\",\"value\":", 38), 0);
}

static void telemetry_fails_when_a_record_is_doubled(void **state)
{
    faults->doubled = true;
    assert_int_equal(RUN(mr_cmd_telemetry, "", "-t", "t", "-n", "50", "-r", "10k", "--read-back"), MR_CLI_FAILED);
    says("50 records were acked, 50 were read once and ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lines_become_records_and_come_back, reset, command_folder_remove),
        cmocka_unit_test_setup_teardown(more_records_than_the_ring_holds_all_arrive, reset, command_folder_remove),
        cmocka_unit_test_setup_teardown(json_copies_a_topic_with_everything, reset, command_folder_remove),
        cmocka_unit_test_setup_teardown(keys_headers_and_separators, reset, command_folder_remove),
        cmocka_unit_test_setup_teardown(a_failed_record_is_status_1, reset, command_folder_remove),
        cmocka_unit_test_setup_teardown(mistakes_name_the_line_or_the_option, reset, command_folder_remove),
        cmocka_unit_test_setup_teardown(times_bound_what_is_read, reset, command_folder_remove),
        cmocka_unit_test_setup_teardown(removed_records_are_said_and_skipped, reset, command_folder_remove),
        cmocka_unit_test_setup_teardown(following_ends_with_130_after_ctrl_c_and_0_after_sigterm, reset, command_folder_remove),
        cmocka_unit_test_setup_teardown(topics_are_described_and_changed, reset, command_folder_remove),
        cmocka_unit_test_setup_teardown(topics_are_checked_before_they_are_sent, reset, command_folder_remove),
        cmocka_unit_test_setup_teardown(telemetry_is_read_back_by_another_process, reset, command_folder_remove),
        cmocka_unit_test_setup_teardown(telemetry_fails_when_a_record_is_doubled, reset, command_folder_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
