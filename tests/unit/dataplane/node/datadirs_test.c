/* SPDX-License-Identifier: Apache-2.0 */
/* Nothing that was acknowledged is taken for new: log directories that are missing, moved, mixed up or of somebody else, and partitions whose
 * directories are. */
#include "dataplane/node/datadirs.h"
#include "dataplane/node/partition_dirs.h"
#include "dataplane/node/registry.h"
#include "tests/support/unit.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64];
static struct millrace_error err;
static struct mr_node_config config;
static struct mr_datadirs directories;
static struct mr_registry registry;

static int setup(void **state)
{
    snprintf(root, sizeof root, "/tmp/mr_dirs_XXXXXX");
    assert_non_null(mkdtemp(root));
    return 0;
}

static int teardown(void **state)
{
    char command[100];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

static const char *path(const char *name)
{
    static char text[4][200];
    static uint32_t next;
    char *at = text[next++ % 4];
    snprintf(at, sizeof text[0], "%s/%s", root, name);
    return at;
}

static bool is_there(const char *name)
{
    struct stat st;
    return stat(path(name), &st) == 0;
}

static void shell(const char *format, ...)
{
    char command[400];
    va_list arguments;
    int used = snprintf(command, sizeof command, "cd '%s' && ", root);
    va_start(arguments, format);
    vsnprintf(command + used, sizeof command - (size_t)used, format, arguments);
    va_end(arguments);
    assert_int_equal(system(command), 0);
}

/* log.dirs=<names>, as of a start. */
static int start(const char *names)
{
    struct mr_config origin;
    char set[400] = "log.dirs=", copy[100];
    const char *sets[] = {set};
    snprintf(copy, sizeof copy, "%s", names);
    for (char *name = strtok(copy, ","); name != NULL; name = strtok(NULL, ","))
        snprintf(set + strlen(set), sizeof set - strlen(set), "%s%s", set[9] != '\0' ? "," : "", path(name));
    assert_int_equal(mr_node_config_load(&config, &origin, NULL, sets, 1, &err), 0);
    int rc = mr_datadirs_open(&directories, &config.log_dirs, 0, &err);
    if (rc == 0)
        rc = mr_registry_open(&registry, mr_datadirs_home(&directories), &config, 1, &err);
    if (rc != 0)
        mr_datadirs_close(&directories);
    return rc;
}

static void stop(void)
{
    mr_registry_release(&registry);
    mr_datadirs_close(&directories);
}

static int try_create(const char *name, uint32_t partitions, struct mr_topic **topic)
{
    struct mr_desired desired = {.kind = MR_DESIRED_TOPIC, .partition_count = partitions};
    snprintf(desired.name, sizeof desired.name, "%s", name);
    assert_int_equal(mr_uuid_random(&desired.topic_id), 0);
    return mr_registry_create(&registry, mr_datadirs_home(&directories), &config, 1, &desired, topic, &err);
}

static struct mr_topic *create(const char *name, uint32_t partitions)
{
    struct mr_topic *topic;
    assert_int_equal(try_create(name, partitions, &topic), 0);
    return topic;
}

/* A node with directories a and b, a topic t of four partitions that lie in both, and a journal in each as a start makes it. */
static void build(void)
{
    assert_int_equal(start("a,b"), 0);
    create("t", 4);
    stop();
    shell("touch a/journal-0.1 b/journal-0.1");
    assert_true(is_there("a/t-0") != is_there("b/t-0"));
}

static void expect_refused(const char *names, int rc, const char *word, const char *remedy)
{
    assert_int_equal(start(names), rc);
    if (strstr(err.text, word) == NULL || strstr(err.text, remedy) == NULL || strchr(err.text, '\n') != NULL)
        fail_msg("'%s' and '%s' are not in: %s", word, remedy, err.text);
}

static void a_missing_log_directory_stops_the_start_and_leaves_no_trace(void **state)
{
    build();
    shell("mv b off && mkdir b"); /* not mounted */
    expect_refused("a,b", -ENOENT, "/b'", "log-dirs'");
    assert_false(is_there("b/meta.properties"));
    expect_refused("a,b", -ENOENT, "mount it", "log.dirs"); /* nor by the second try */
    expect_refused("a", -ENOENT, "/b'", "log.dirs");        /* left out */
    expect_refused("a,c", -ENOENT, "/b'", "log.dirs");      /* mistyped */
    assert_false(is_there("c"));
    shell("rmdir b && mv off b");
    assert_int_equal(start("a,b"), 0);
    stop();
}

static void a_missing_home_stops_the_start(void **state)
{
    build();
    shell("mv a off && mkdir a");
    expect_refused("a,b", -ENOENT, "topics.json", "/b'");
    expect_refused("b", -ENOENT, "topics.json", "log.dirs");
    assert_false(is_there("b/topics.json"));
    shell("rmdir a && mv off a && mv a/topics.json kept");
    expect_refused("a,b", -ENOENT, "a/topics.json' is missing", "put back");
    shell("mv kept a/topics.json");
    assert_int_equal(start("a,b"), 0);
    stop();
}

static void the_home_is_found_whatever_the_order(void **state)
{
    build();
    shell("mv b elsewhere");
    assert_int_equal(start("elsewhere,a"), 0);
    assert_int_equal(directories.home, 1);
    struct mr_topic *topic = mr_registry_find(&registry, "t");
    assert_non_null(topic);
    for (uint32_t p = 0; p < 4; p++) {
        char name[20];
        snprintf(name, sizeof name, "%s/t-%u", topic->partitions[p]->directory == 1 ? "a" : "elsewhere", p);
        assert_null(topic->partitions[p]->lost);
        assert_true(is_there(name));
    }
    stop();
    assert_false(is_there("elsewhere/topics.json"));
    shell("grep -q 'elsewhere$' a/log-dirs"); /* a message would name where it is now */
}

static void a_new_directory_is_taken_when_all_known_are_there(void **state)
{
    build();
    assert_int_equal(start("c,a,b"), 0);
    assert_int_equal(directories.home, 1);
    create("u", 3);
    assert_true(is_there("c/u-0") || is_there("c/u-1") || is_there("c/u-2"));
    stop();
    shell("touch c/journal-0.3");
    expect_refused("a,b", -ENOENT, "/c'", "log.dirs"); /* from now on it belongs to them */
}

static void a_directory_that_is_lost_for_good_can_be_given_up(void **state)
{
    build();
    shell("mv b off && sed -i '/\\/b$/d' a/log-dirs");
    assert_int_equal(start("a"), 0);
    struct mr_topic *topic = mr_registry_find(&registry, "t");
    uint32_t lost = 0;
    for (uint32_t p = 0; p < 4; p++)
        lost += topic->partitions[p]->lost != NULL;
    assert_int_equal(lost, 2);
    stop();
    expect_refused("a,off", -EINVAL, "/off'", "log-dirs'"); /* and taken in again, by the line that the message names */
    const char *line = strstr(err.text, "add the line '");
    shell("echo '%.32s off' >> a/log-dirs", line + strlen("add the line '"));
    assert_int_equal(start("a,off"), 0);
    topic = mr_registry_find(&registry, "t");
    for (uint32_t p = 0; p < 4; p++)
        assert_null(topic->partitions[p]->lost);
    stop();
}

static void directories_of_two_nodes_are_not_mixed(void **state)
{
    build();
    assert_int_equal(start("x,y"), 0);
    stop();
    shell("touch x/journal-0.1 y/journal-0.1");
    expect_refused("a,b,x", -EINVAL, "/x'", "two nodes");
    expect_refused("a,b,y", -EINVAL, "/y'", "name an empty one");
    expect_refused("a,b,a", -EINVAL, "twice", "/a'");
    shell("echo nonsense >> a/log-dirs");
    expect_refused("a,b", -EINVAL, "a/log-dirs' is damaged", "directory.id");
}

static void a_first_start_that_was_broken_off_can_be_made_again(void **state)
{
    build();
    shell("rm -r a/t-* b/t-* a/topics.json a/journal* b/journal* && cp -r a a1 && cp -r b b1 && rm a1/log-dirs");
    assert_int_equal(start("a,b"), 0); /* died before topics.json */
    stop();
    assert_int_equal(start("b1,a1"), 0); /* died before log-dirs */
    stop();
}

/* A directory that is not where topics.json says is never made anew, and never anybody else's. */
static void a_partition_without_its_directory_is_lost(void **state)
{
    build();
    const char *home = is_there("a/t-0") ? "a" : "b", *other = is_there("a/t-0") ? "b" : "a";
    shell("mv %s/t-0 gone && mkdir %s/t-0 && printf 'version: 0\\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA\\n' > %s/t-0/partition.metadata", home, home, home);
    shell("mv %s/t-1 %s/t-2 . && cp -r t-2 a && cp -r t-2 b", other, home);
    assert_int_equal(start("a,b"), 0);
    struct mr_topic *topic = mr_registry_find(&registry, "t");
    assert_non_null(strstr(topic->partitions[0]->lost, "of another topic: put the right one back"));
    assert_non_null(strstr(topic->partitions[1]->lost, "in none of log.dirs: put it back"));
    assert_non_null(strstr(topic->partitions[2]->lost, "in two of log.dirs: move"));
    assert_null(topic->partitions[3]->lost);
    stop();
    assert_false(is_there("a/t-1") || is_there("b/t-1"));
    shell("rm -r %s/t-0 %s/t-2 && mv gone %s/t-0 && mv t-1 %s", home, other, home, other);
    shell("rm %s/t-3/partition.metadata", other); /* of an earlier version: by its name */
    assert_int_equal(start("b,a"), 0);
    topic = mr_registry_find(&registry, "t");
    for (uint32_t p = 0; p < 4; p++)
        assert_null(topic->partitions[p]->lost);
    stop();
}

static void partition_metadata_is_what_kafka_writes(void **state)
{
    static const struct mr_uuid id = {{0xfb, 0xff, 0xbe, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}};
    assert_int_equal(start("a"), 0);
    struct mr_topic *topic = mr_topic_new("k", &id, 1, &config.topic, "");
    assert_int_equal(mr_partition_dirs_make(topic, 0, &config, &err), 0);
    shell("printf 'version: 0\\ntopic_id: -_--AwQFBgcICQoLDA0ODw\\n' | cmp - a/k-0/partition.metadata");
    mr_partition_dirs_remove(topic, 0, &config);
    assert_false(is_there("a/k-0"));
    mr_topic_free(topic);
    stop();
}

static void a_new_topic_takes_no_directory_that_holds_files(void **state)
{
    struct mr_topic *topic;
    build();
    assert_int_equal(start("a,b"), 0);
    shell("mkdir a/u-1 && touch a/u-1/00000000000000000000.log");
    assert_int_equal(try_create("u", 2, &topic), -ENOTEMPTY);
    assert_non_null(strstr(err.text, "a/u-1"));
    assert_non_null(strstr(err.text, "move it away"));
    assert_null(mr_registry_find(&registry, "u"));
    assert_false(is_there("a/u-0") || is_there("b/u-0"));
    shell("rm a/u-1/0*.log && echo old > a/u-1/partition.metadata"); /* what a creation left that was broken off */
    topic = create("u", 2);
    create("many", 40);
    assert_int_equal(mr_registry_discard(&registry, mr_datadirs_home(&directories), &config, mr_registry_find(&registry, "many"), &err), 0);
    assert_false(is_there("a/many-0") || is_there("b/many-0") || is_there("a/many-39") || is_there("b/many-39"));
    stop();
    assert_int_equal(start("a,b"), 0);
    topic = mr_registry_find(&registry, "u");
    assert_true(topic->partitions[0]->lost == NULL && topic->partitions[1]->lost == NULL);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_missing_log_directory_stops_the_start_and_leaves_no_trace, setup, teardown),
        cmocka_unit_test_setup_teardown(a_missing_home_stops_the_start, setup, teardown),
        cmocka_unit_test_setup_teardown(the_home_is_found_whatever_the_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_new_directory_is_taken_when_all_known_are_there, setup, teardown),
        cmocka_unit_test_setup_teardown(a_directory_that_is_lost_for_good_can_be_given_up, setup, teardown),
        cmocka_unit_test_setup_teardown(directories_of_two_nodes_are_not_mixed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_first_start_that_was_broken_off_can_be_made_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_partition_without_its_directory_is_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(partition_metadata_is_what_kafka_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_new_topic_takes_no_directory_that_holds_files, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
