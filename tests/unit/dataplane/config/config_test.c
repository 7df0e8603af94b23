/* SPDX-License-Identifier: Apache-2.0 */
/* The node's keys: defaults that agree with the documentation, Kafka's stock file, combinations that cannot work. */
#include "dataplane/config/config.h"
#include "tests/support/unit.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static struct mr_node_config node;
static struct mr_config origin;
static struct millrace_error err;

static int load(const char *text, const char *set)
{
    char path[] = "/tmp/mr_config_XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    int rc = mr_node_config_load(&node, &origin, path, &set, set != NULL, &err);
    unlink(path);
    return rc;
}

static void says(const char *text, const char *part)
{
    assert_int_equal(load(text, NULL), -EINVAL);
    if (strstr(err.text, part) == NULL)
        fail_msg("'%s' does not contain '%s'", err.text, part);
}

static void embedded_defaults_bound_the_disk(void **state)
{
    assert_int_equal(mr_node_config_load(&node, &origin, NULL, NULL, 0, &err), 0);
    assert_int_equal(node.topic.retention_bytes, 1 << 30);
    assert_int_equal(node.topic.durability, MILLRACE_DURABILITY_DISK);
    assert_int_equal(node.extent_bytes, 32 << 20);
    assert_int_equal(node.journal_bytes, 64 << 20);
    assert_int_equal(node.reactors.count, 0);
    assert_int_equal(node.idle, MILLRACE_IDLE_ADAPTIVE);
    assert_int_equal(node.flush_ms, 5);
    assert_string_equal(node.hugepages, "auto");
    assert_int_equal(load("", NULL), 0);
    assert_int_equal(node.topic.retention_bytes, -1);
}

static void kafkas_stock_file_needs_one_edit_per_broken_promise(void **state)
{
    assert_int_equal(load("broker.id=0\n#listeners=PLAINTEXT://:9092\nnum.network.threads=3\nnum.io.threads=8\n"
                          "socket.send.buffer.bytes=102400\nsocket.receive.buffer.bytes=102400\nsocket.request.max.bytes=104857600\n"
                          "log.dirs=/tmp/kafka-logs\nnum.partitions=1\nnum.recovery.threads.per.data.dir=1\n"
                          "offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n"
                          "transaction.state.log.min.isr=1\nlog.retention.hours=168\nlog.segment.bytes=1073741824\nlog.retention.check.interval.ms=300000\n"
                          "zookeeper.connection.timeout.ms=18000\ngroup.initial.rebalance.delay.ms=0\n", NULL), 0);
    assert_int_equal(origin.ignored_count, 12);
    assert_string_equal(node.log_dirs.item[0], "/tmp/kafka-logs");
    assert_int_equal(load("log.retention.hours=168\n", NULL), 0);
    assert_int_equal(node.topic.retention_ms, 604800000);
    assert_int_equal(load("log.retention.ms=-1\n", NULL), 0);
    assert_int_equal(node.topic.retention_ms, -1);
    says("log.retention.hours=24\n", ":1: log.retention.hours=24 is refused: give it in milliseconds: log.retention.ms");
    says("zookeeper.connect=localhost:2181\n", ":1: zookeeper.connect=localhost:2181 is refused: clusters are not in this version");
    says("listeners=PLAINTEXT://:9092\n", "is refused: the Kafka door is not in this version");
    says("ssl.keystore.location=/k\n", "is refused: TLS is not in this version");
    says("min.insync.replicas=2\n", "is refused: replication is not in this version");
}

static void durability_takes_what_this_version_keeps(void **state)
{
    assert_int_equal(load("millrace.durability=leader\n", NULL), 0);
    assert_int_equal(node.topic.durability, MILLRACE_DURABILITY_LEADER);
    says("millrace.durability=quorum\n", "millrace.durability=quorum is refused: replication is not in this version");
    says("millrace.durabilty=leader\n", "did you mean 'millrace.durability'?");
    says("log.segment.byte=1\n", "did you mean 'log.segment.bytes'?");
}

static void combinations_that_cannot_work_name_both_keys(void **state)
{
    says("message.max.bytes=4MiB\nlog.segment.bytes=2MiB\n", "message.max.bytes=4194304 is larger than log.segment.bytes=2097152");
    says("message.max.bytes=33554432\n", "lower it to 33546240, or raise millrace.extent.bytes=33554432");
    says("millrace.memory.bytes=64MiB\nmillrace.extent.bytes=64MiB\n", "millrace.memory.bytes=67108864 does not hold two extents");
    says("producer.id.expiration.ms=60000\n", "producer.id.expiration.ms=60000 is less than delivery.timeout.ms=120000");
    says("millrace.extent.bytes=3MiB\n", "a power of two and multiple of 2097152");
}

static void topics_override_and_are_checked(void **state)
{
    assert_int_equal(load("log.segment.bytes=64MiB\n", NULL), 0);
    struct mr_topic_config topic = node.topic;
    assert_int_equal(mr_topic_config_set(&topic, "segment.bytes", "2MiB", &err), 0);
    assert_int_equal(mr_topic_config_set(&topic, "retention.bytes", "-1", &err), 0);
    assert_int_equal(mr_topic_config_set(&topic, "millrace.durability", "leader", &err), 0);
    assert_int_equal(topic.segment_bytes, 2 << 20);
    assert_int_equal(topic.durability, MILLRACE_DURABILITY_LEADER);
    assert_int_equal(mr_topic_config_check(&topic, &node, &err), 0);
    assert_int_equal(mr_topic_config_set(&topic, "max.message.bytes", "4MiB", &err), 0);
    assert_int_equal(mr_topic_config_check(&topic, &node, &err), -EINVAL);
    assert_non_null(strstr(err.text, "max.message.bytes=4194304 is larger than segment.bytes=2097152"));
    assert_int_equal(mr_topic_config_set(&topic, "millrace.durability", "quorum", &err), -EINVAL);
    assert_int_equal(mr_topic_config_set(&topic, "cleanup.policy", "compact", &err), -EINVAL);
    assert_non_null(strstr(err.text, "compaction is not in this version"));
    assert_int_equal(mr_topic_config_set(&topic, "cleanup.policy", "delete", &err), 0);
    assert_int_equal(mr_topic_config_set(&topic, "segment.byte", "1", &err), -EINVAL);
    assert_non_null(strstr(err.text, "did you mean 'segment.bytes'?"));
}

static void files_that_cannot_be_read_say_what_to_do(void **state)
{
    assert_int_equal(mr_node_config_load(&node, &origin, "/nonexistent/x.properties", NULL, 0, &err), -ENOENT);
    assert_non_null(strstr(err.text, "'/nonexistent/x.properties': No such file or directory; leave --config out"));
    assert_int_equal(mr_node_config_load(&node, &origin, "/tmp", NULL, 0, &err), -EINVAL);
    assert_non_null(strstr(err.text, "is not a plain file"));
}

static void the_command_line_wins(void **state)
{
    assert_int_equal(load("broker.id=3\n", "broker.id=4"), 0);
    assert_int_equal(node.broker_id, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embedded_defaults_bound_the_disk),
        cmocka_unit_test(kafkas_stock_file_needs_one_edit_per_broken_promise),
        cmocka_unit_test(durability_takes_what_this_version_keeps),
        cmocka_unit_test(combinations_that_cannot_work_name_both_keys),
        cmocka_unit_test(topics_override_and_are_checked),
        cmocka_unit_test(files_that_cannot_be_read_say_what_to_do),
        cmocka_unit_test(the_command_line_wins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
