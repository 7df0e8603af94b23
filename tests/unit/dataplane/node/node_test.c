/* SPDX-License-Identifier: Apache-2.0 */
/* What a node keeps beside its logs: directories that are its own, ids that are never given twice, topics that outlive it. */
#include "dataplane/node/datadir.h"
#include "dataplane/node/producer_ids.h"
#include "dataplane/node/registry.h"
#include "tests/support/unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char root[64];
static struct millrace_error err;
static struct mr_node_config config;
static struct mr_config origin;

static int setup(void **state)
{
    char set[100];
    const char *sets[] = {set};
    snprintf(root, sizeof root, "/tmp/mr_node_XXXXXX");
    assert_non_null(mkdtemp(root));
    snprintf(set, sizeof set, "log.dirs=%s", root);
    return mr_node_config_load(&config, &origin, NULL, sets, 1, &err);
}

static int teardown(void **state)
{
    char command[100];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

static void open_directory(struct mr_datadir *directory)
{
    assert_int_equal(mr_datadir_open(directory, root, 0, &err), 0);
    assert_int_equal(mr_datadir_claim(directory, 0, &err), 0);
}

static void directory_of_another_broker_is_refused(void **state)
{
    struct mr_datadir directory;
    assert_int_equal(mr_datadir_open(&directory, root, 7, &err), 0);
    assert_true(directory.is_fresh);
    assert_int_equal(mr_datadir_claim(&directory, 7, &err), 0);
    mr_datadir_close(&directory);
    assert_int_equal(mr_datadir_open(&directory, root, 8, &err), -EINVAL);
    assert_non_null(strstr(err.text, "broker.id=7"));
    mr_datadir_close(&directory);
    assert_int_equal(mr_datadir_open(&directory, root, 7, &err), 0);
    assert_false(directory.is_fresh);
    mr_datadir_close(&directory);
}

static void second_daemon_is_told_the_pid_of_the_first(void **state)
{
    struct mr_datadir directory;
    open_directory(&directory);
    pid_t child = fork();
    if (child == 0) {
        struct mr_datadir again;
        char pid[32];
        snprintf(pid, sizeof pid, "pid %d", (int)getppid());
        int rc = mr_datadir_open(&again, root, 0, &err);
        _exit(rc == -EBUSY && strstr(err.text, pid) != NULL && strstr(err.text, "--data") != NULL ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    mr_datadir_close(&directory);
}

/* A child that opened the directory and ended, but whose lock is held on by what it started, as by its ring's last write. It is not reaped.
 * @param pid_text instead of its own in the file, or NULL */
static pid_t die_with_io_in_flight(const char *pid_text, int hold_ms)
{
    pid_t child = fork();
    if (child == 0) {
        struct mr_datadir directory;
        if (mr_datadir_open(&directory, root, 0, &err) != 0)
            _exit(1);
        if (fork() == 0) { /* has the descriptor, and so the lock, as the ring has */
            usleep((useconds_t)hold_ms * 1000);
            _exit(0);
        }
        if (pid_text != NULL && pwrite(directory.lock_fd, pid_text, strlen(pid_text), 0) < 0)
            _exit(1);
        _exit(0);
    }
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0); /* a zombie from here on */
    assert_int_equal(info.si_status, 0);
    return child;
}

/* Neither a zombie nor a pid that somebody else has now is a daemon that lives: the start waits until the last write is over. */
static void last_writes_of_a_dead_daemon_are_waited_for(void **state)
{
    char reused[32];
    snprintf(reused, sizeof reused, "%ld\n", (long)getppid());
    const char *text[] = {NULL, reused};
    for (int i = 0; i < 2; i++) {
        struct mr_datadir directory;
        pid_t child = die_with_io_in_flight(text[i], 300);
        assert_int_equal(mr_datadir_open(&directory, root, 0, &err), 0);
        mr_datadir_close(&directory);
        assert_int_equal(waitpid(child, NULL, 0), child);
    }
}

static void foreign_meta_properties_is_refused(void **state)
{
    struct mr_datadir directory;
    char path[100];
    snprintf(path, sizeof path, "%s/meta.properties", root);
    FILE *f = fopen(path, "w");
    fputs("version=1\nbroker.id=0\ncluster.id=abc\n", f);
    fclose(f);
    assert_int_equal(mr_datadir_open(&directory, root, 0, &err), -EINVAL);
    assert_non_null(strstr(err.text, "directory.id"));
    mr_datadir_close(&directory);
}

/* A crash between two ids skips the rest of a block and never repeats, whatever blocks come from a store that was set back. */
static void producer_ids_are_never_given_twice(void **state)
{
    struct mr_datadir directory;
    struct mr_producer_ids ids;
    int64_t last = -1;
    open_directory(&directory);
    for (int start = 0; start < 3; start++) {
        assert_int_equal(mr_producer_ids_open(&ids, &directory, &err), 0);
        assert_int_equal(mr_producer_ids_next(&ids), -EAGAIN);
        assert_int_equal(ids.floor, start * 2000);
        for (int64_t block = 0; block < 2; block++) {
            assert_true(mr_producer_ids_wants(&ids));
            assert_int_equal(mr_producer_ids_add(&ids, ids.floor - 1, ids.floor + 1000, &err), -EINVAL);
            assert_int_equal(mr_producer_ids_add(&ids, ids.floor, ids.floor + 1000, &err), 0);
            assert_int_equal(ids.floor, start * 2000 + (block + 1) * 1000);
            if (block == 0) {
                int64_t id = mr_producer_ids_next(&ids);
                assert_true(id > last);
                last = id;
            }
        }
        assert_false(mr_producer_ids_wants(&ids));
        for (int i = 0; i < 1500; i++) {
            int64_t id = mr_producer_ids_next(&ids);
            assert_true(id > last);
            last = id;
        }
    }
    for (int i = 0; i < 499; i++)
        assert_int_equal(mr_producer_ids_next(&ids), last + 1 + i);
    assert_int_equal(mr_producer_ids_next(&ids), -EAGAIN);
    mr_datadir_close(&directory);
}

static void damaged_producer_ids_stop_the_start(void **state)
{
    struct mr_datadir directory;
    struct mr_producer_ids ids;
    open_directory(&directory);
    assert_int_equal(mr_datadir_replace(&directory, "producer-ids", "12x\n", 4, 0600, &err), 0);
    assert_int_equal(mr_producer_ids_open(&ids, &directory, &err), -EINVAL);
    assert_non_null(strstr(err.text, "producer-ids"));
    mr_datadir_close(&directory);
}

static void tokens_prove_id_epoch_and_uid_of_this_node(void **state)
{
    struct mr_datadir directory;
    struct mr_producer_ids ids, again;
    uint8_t token[MR_TOKEN_BYTES];
    open_directory(&directory);
    assert_int_equal(mr_producer_ids_open(&ids, &directory, &err), 0);
    mr_producer_token(&ids, 5, 0, 1000, token);
    assert_int_equal(mr_producer_ids_open(&again, &directory, &err), 0); /* the key is the node's, not the process's */
    assert_true(mr_producer_token_check(&again, 5, 0, 1000, token));
    assert_false(mr_producer_token_check(&again, 6, 0, 1000, token));
    assert_false(mr_producer_token_check(&again, 5, 1, 1000, token));
    assert_false(mr_producer_token_check(&again, 5, 0, 1001, token));
    token[31] ^= 1;
    assert_false(mr_producer_token_check(&again, 5, 0, 1000, token));
    mr_datadir_close(&directory);
}

static int create(struct mr_registry *registry, const struct mr_datadir *directory, const char *name, uint32_t partitions, const char *lines)
{
    struct mr_topic *topic;
    struct mr_desired desired = {.kind = MR_DESIRED_TOPIC, .partition_count = partitions};
    snprintf(desired.name, sizeof desired.name, "%s", name);
    snprintf(desired.config, sizeof desired.config, "%s", lines);
    assert_int_equal(mr_uuid_random(&desired.topic_id), 0);
    int rc = mr_registry_create(registry, directory, &config, 3, &desired, &topic, &err);
    if (rc == 0)
        assert_ptr_equal(mr_registry_find_id(registry, &desired.topic_id), topic);
    return rc;
}

static void topics_outlive_the_process_with_their_configs(void **state)
{
    struct mr_datadir directory;
    struct mr_registry registry;
    struct mr_topic *topic;
    open_directory(&directory);
    assert_int_equal(mr_registry_open(&registry, &directory, &config, 3, &err), 0);
    uint64_t generation = registry.generation;
    assert_int_equal(create(&registry, &directory, "ticks", 5, "millrace.durability=leader\nsegment.bytes=16MiB\n"), 0);
    assert_int_equal(create(&registry, &directory, "ticks", 5, ""), -EEXIST);
    assert_int_equal(create(&registry, &directory, "a/b", 5, ""), -EINVAL);
    assert_non_null(strstr(err.text, "'/'"));
    assert_int_equal(create(&registry, &directory, "x", 1, "no.such.key=1"), -EINVAL);
    assert_non_null(strstr(err.text, "no.such.key"));
    mr_registry_release(&registry);
    assert_int_equal(mr_registry_open(&registry, &directory, &config, 3, &err), 0);
    assert_int_equal(registry.generation, generation + 1);
    topic = mr_registry_find(&registry, "ticks");
    assert_non_null(topic);
    assert_int_equal(topic->partition_count, 5);
    assert_int_equal(topic->config.durability, MR_DURABILITY_LEADER);
    assert_int_equal(topic->config.segment_bytes, 16 << 20);
    assert_null(mr_registry_find(&registry, "x"));
    for (uint32_t p = 0; p + 1 < 5; p++) /* neighbours lie on different reactors */
        assert_int_not_equal(topic->partitions[p]->reactor, topic->partitions[p + 1]->reactor);
    mr_registry_release(&registry);
    mr_datadir_close(&directory);
}

/* What a topic has of its own stays as it was given; all else follows the node's configuration. */
static void own_lines_can_change_and_others_follow_the_node(void **state)
{
    struct mr_datadir directory;
    struct mr_registry registry;
    struct mr_node_config later = config;
    open_directory(&directory);
    assert_int_equal(mr_registry_open(&registry, &directory, &config, 3, &err), 0);
    assert_int_equal(create(&registry, &directory, "t", 1, "segment.bytes=16MiB\n"), 0);
    assert_int_equal(mr_registry_alter(&registry, &directory, mr_registry_find(&registry, "t"), "segment.bytes=8MiB\n", &err), 0);
    mr_registry_release(&registry);
    later.topic.segment_bytes = 64 << 20;
    later.topic.retention_bytes = 123 << 20;
    assert_int_equal(mr_registry_open(&registry, &directory, &later, 3, &err), 0);
    const struct mr_topic *topic = mr_registry_find(&registry, "t");
    assert_string_equal(topic->lines, "segment.bytes=8MiB\n");
    assert_int_equal(topic->config.segment_bytes, 8 << 20);
    assert_int_equal(topic->config.retention_bytes, 123 << 20);
    mr_registry_release(&registry);
    mr_datadir_close(&directory);
}

static void a_topics_file_of_version_1_is_read(void **state)
{
    static const char text[] = "{\"version\": 1, \"generation\": 7, \"topics\": [{\"name\": \"old\", "
                               "\"id\": \"00112233445566778899aabbccddeeff\", \"partitions\": 2, "
                               "\"durability\": \"leader\", \"segment.bytes\": 16777216, \"retention.bytes\": -1, \"max.message.bytes\": 65536}]}";
    struct mr_datadir directory;
    struct mr_registry registry;
    open_directory(&directory);
    assert_int_equal(mr_datadir_replace(&directory, "topics.json", text, sizeof text - 1, 0600, &err), 0);
    for (int round = 0; round < 2; round++) { /* the second time from what the first one wrote */
        assert_int_equal(mr_registry_open(&registry, &directory, &config, 1, &err), 0);
        assert_int_equal(registry.generation, 8 + round);
        const struct mr_topic *topic = mr_registry_find(&registry, "old");
        assert_non_null(topic);
        assert_int_equal(topic->partition_count, 2);
        assert_int_equal(topic->config.durability, MR_DURABILITY_LEADER);
        assert_int_equal(topic->config.retention_bytes, -1);
        assert_int_equal(topic->config.message_bytes_max, 65536);
        mr_registry_release(&registry);
    }
    mr_datadir_close(&directory);
}

static void a_topic_that_fits_the_node_no_more_stops_the_start(void **state)
{
    struct mr_datadir directory;
    struct mr_registry registry;
    struct mr_node_config later = config;
    open_directory(&directory);
    assert_int_equal(mr_registry_open(&registry, &directory, &config, 3, &err), 0);
    assert_int_equal(create(&registry, &directory, "wide", 1, "max.message.bytes=8MiB\n"), 0);
    mr_registry_release(&registry);
    later.extent_bytes = 2 << 20;
    assert_int_equal(mr_registry_open(&registry, &directory, &later, 3, &err), -EINVAL);
    assert_non_null(strstr(err.text, "topic 'wide'"));
    assert_non_null(strstr(err.text, "millrace.extent.bytes"));
    mr_registry_release(&registry);
    mr_datadir_close(&directory);
}

static void damaged_topics_file_stops_the_start(void **state)
{
    struct mr_datadir directory;
    struct mr_registry registry;
    open_directory(&directory);
    assert_int_equal(mr_datadir_replace(&directory, "topics.json", "{\"version\": 1, \"topics\": [", 26, 0600, &err), 0);
    assert_int_equal(mr_registry_open(&registry, &directory, &config, 1, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "topics.json"));
    mr_datadir_close(&directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(directory_of_another_broker_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(second_daemon_is_told_the_pid_of_the_first, setup, teardown),
        cmocka_unit_test_setup_teardown(last_writes_of_a_dead_daemon_are_waited_for, setup, teardown),
        cmocka_unit_test_setup_teardown(foreign_meta_properties_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(own_lines_can_change_and_others_follow_the_node, setup, teardown),
        cmocka_unit_test_setup_teardown(a_topics_file_of_version_1_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(a_topic_that_fits_the_node_no_more_stops_the_start, setup, teardown),
        cmocka_unit_test_setup_teardown(producer_ids_are_never_given_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_producer_ids_stop_the_start, setup, teardown),
        cmocka_unit_test_setup_teardown(tokens_prove_id_epoch_and_uid_of_this_node, setup, teardown),
        cmocka_unit_test_setup_teardown(topics_outlive_the_process_with_their_configs, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_topics_file_stops_the_start, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
