/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that the steward makes for logs: what it is made of, and what is said of it. */
#include "dataplane/steward/steward.h"
#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/base/logging.h"

#define EXTENT_BYTES (1u << 20)
#define SLOT_BYTES   (32u << 10)

static struct {
    struct mr_memory memory;
    struct mr_bell bell, reactor_bell;
    struct mr_mailbox jobs, answers, notices;
    struct mr_steward *steward;
    struct mr_topic *topic;
    char said[80]; /* file that stderr goes to */
    int stderr_fd;
} world;

static struct mr_topic *new_topic(void)
{
    static const struct mr_topic_config topic_config = {.segment_bytes = 1 << 20};
    static const struct mr_uuid id = {.bytes = {7}};
    struct mr_topic *topic = mr_topic_new("t", &id, 1, &topic_config, "");
    assert_non_null(topic);
    topic->slot_bytes = SLOT_BYTES;
    topic->extent_bytes = EXTENT_BYTES;
    return topic;
}

static int setup(void **state)
{
    struct millrace_error err;
    memset(&world, 0, sizeof world);
    snprintf(world.memory.plain_folder, sizeof world.memory.plain_folder, "/dev/shm/mr_steward_XXXXXX");
    assert_non_null(mkdtemp(world.memory.plain_folder));
    snprintf(world.said, sizeof world.said, "%.40s.said", world.memory.plain_folder);
    assert_int_equal(mr_bell_init(&world.bell, &err) | mr_bell_init(&world.reactor_bell, &err), 0);
    assert_int_equal(mr_mailbox_init(&world.jobs, sizeof(struct mr_steward_job), 64, &world.bell, &err), 0);
    assert_int_equal(mr_mailbox_init(&world.answers, sizeof(struct mr_log_event), 64, &world.reactor_bell, &err), 0);
    assert_int_equal(mr_mailbox_init(&world.notices, sizeof(struct mr_steward_notice), 64, &world.reactor_bell, &err), 0);
    world.topic = new_topic();
    struct mr_steward_options options = {.memory = &world.memory, .memory_bytes_max = 64 * EXTENT_BYTES, .reactor_count = 1, .jobs = &world.jobs,
                                         .answers = &world.answers, .notices = &world.notices, .bell = &world.bell, .cpu_of_reactor = {-1}};
    assert_int_equal(mr_steward_start(&world.steward, &options, &err), 0);
    mr_logging_init("test", MR_LOGGING_INFO, MR_LOGGING_TEXT);
    fflush(stderr);
    world.stderr_fd = dup(STDERR_FILENO);
    assert_non_null(freopen(world.said, "w", stderr));
    return 0;
}

static int teardown(void **state)
{
    struct mr_steward_notice notice;
    char command[400];
    while (mr_mailbox_receive(&world.notices, &notice))
        close(notice.read_fd);
    fflush(stderr);
    dup2(world.stderr_fd, STDERR_FILENO);
    close(world.stderr_fd);
    mr_mailbox_release(&world.jobs);
    mr_mailbox_release(&world.answers);
    mr_mailbox_release(&world.notices);
    mr_bell_release(&world.bell);
    mr_bell_release(&world.reactor_bell);
    mr_topic_free(world.topic);
    snprintf(command, sizeof command, "rm -rf '%s' '%s'", world.memory.plain_folder, world.said);
    return system(command);
}

static struct mr_log_live_extent want(bool slot)
{
    struct mr_steward_job job = {.action = {.kind = MR_LOG_ACTION_WANT_EXTENT, .slot = slot}, .partition = world.topic->partitions[0]};
    struct mr_log_event event;
    assert_true(mr_mailbox_send(&world.jobs, &job));
    mr_bell_ring(&world.bell);
    for (uint32_t i = 0; i < 5000; i++, usleep(1000))
        if (mr_mailbox_receive(&world.answers, &event))
            return event.extent;
    fail_msg("the steward did not answer");
    return (struct mr_log_live_extent){0};
}

static void said(char *text, size_t bytes)
{
    FILE *f = fopen(world.said, "r");
    assert_non_null(f);
    text[fread(text, 1, bytes - 1, f)] = '\0';
    fclose(f);
}

static uint32_t count_of(const char *text, const char *what)
{
    uint32_t count = 0;
    for (; (text = strstr(text, what)) != NULL; text++)
        count++;
    return count;
}

static void an_extent_without_hugepages_is_said_once_and_counted(void **state)
{
    char text[4000];
    snprintf(world.memory.huge_folder, sizeof world.memory.huge_folder, "%.100s/none", world.memory.plain_folder); /* never any page there */
    for (uint32_t i = 0; i < 3; i++)
        assert_non_null(want(false).memory);
    assert_int_equal(mr_steward_plain_extents(world.steward), 3);
    mr_steward_stop(world.steward);
    said(text, sizeof text);
    assert_int_equal(count_of(text, "hugepages ran out"), 1);
    assert_non_null(strstr(text, "'t' (1024 KiB) lies on ordinary pages"));
    assert_non_null(strstr(text, "run: hugeadm --pool-pages-min 2MB:"));
    assert_non_null(strstr(text, "millrace.memory.bytes"));
    assert_non_null(strstr(text, "3 extents were made of ordinary pages"));
}

static void a_node_without_hugepages_says_nothing_of_single_extents(void **state)
{
    char text[4000];
    assert_non_null(want(false).memory);
    assert_int_equal(mr_steward_plain_extents(world.steward), 0);
    mr_steward_stop(world.steward);
    said(text, sizeof text);
    assert_int_equal(count_of(text, "ordinary pages"), 0);
}

static void count_seal(void *context)
{
    (*(uint32_t *)context)++;
}

/* Each daemon uses some slots, and dies with a few of them live: the file does not grow with the deaths, what is live stays what it was, and a
 * slot that somebody may still look at is given to nobody. */
static void slots_of_dead_daemons_are_given_back(void **state)
{
    enum { LIVE = 4, USED = 10, DEATHS = 60 };
    struct mr_log_live_extent extent[LIVE + USED];
    struct millrace_error err;
    struct stat st;
    char name[80], path[MR_MEMORY_PATH_MAX + 90];
    uint32_t live_count = 0, sealed = 0;
    uint64_t most = 0;
    void *piece;

    mr_topic_slots_name(&world.topic->id, name);
    snprintf(path, sizeof path, "%s/%s", world.memory.plain_folder, name);
    assert_int_equal(mr_memory_grow(&world.memory, name, 0, MR_SLOT_PIECE_SLOTS * SLOT_BYTES, &piece, &err), 0);
    assert_int_equal(mr_steward_slots_begin(world.topic, piece), 0);
    for (uint32_t death = 0; death < DEATHS; death++) {
        for (uint32_t i = 0; i < USED; i++) {
            struct mr_log_live_extent *e = &extent[live_count + i];
            *e = want(true);
            assert_non_null(e->memory);
            assert_int_equal(e->memory->magic, 0); /* nobody has looked at it */
            e->memory->magic = MR_EXTENT_MAGIC;
            e->memory->base_offset = death * 1000 + i;
            memset(e->memory + 1, (int)(death + i), SLOT_BYTES - sizeof *e->memory);
        }
        memmove(extent, extent + live_count + USED - LIVE, LIVE * sizeof *extent); /* the newest are live */
        live_count = LIVE;

        /* The next daemon. */
        struct mr_topic *dead = world.topic;
        uint32_t file_id[LIVE];
        uint64_t base_offset[LIVE];
        uint8_t last[LIVE];
        struct mr_log_live_extent *live[LIVE];
        for (uint32_t i = 0; i < LIVE; i++) {
            file_id[i] = extent[i].memory->file_id;
            base_offset[i] = extent[i].memory->base_offset;
            last[i] = ((const uint8_t *)extent[i].memory)[SLOT_BYTES - 1];
        }
        world.topic = new_topic();
        uint64_t used_bytes = 0;
        assert_int_equal(mr_steward_slots_adopt(&world.memory, world.topic, &err), 0);
        for (uint32_t i = 0; i < LIVE; i++) {
            uint32_t slot = file_id[i] & ~MR_EXTENT_FILE_SLOT;
            extent[i] = (struct mr_log_live_extent){
                .memory = (void *)(world.topic->slots.piece[slot / MR_SLOT_PIECE_SLOTS] + (size_t)(slot % MR_SLOT_PIECE_SLOTS) * SLOT_BYTES),
                .slot = true, .adopted = true};
            live[i] = &extent[i];
        }
        uint32_t sealed_before = sealed;
        assert_int_equal(mr_steward_slots_settle(&world.memory, world.topic, live, LIVE, count_seal, &sealed, &used_bytes, &err), 0);
        for (uint32_t i = 0; i < LIVE; i++) {
            assert_int_equal(extent[i].memory->file_id, file_id[i]);
            assert_int_equal(extent[i].memory->base_offset, base_offset[i]);
            assert_int_equal(((const uint8_t *)extent[i].memory)[SLOT_BYTES - 1], last[i]);
            assert_int_equal(extent[i].adopted, sealed == sealed_before); /* moved: known to be seen by none but those who come */
        }
        assert_int_equal(stat(path, &st), 0);
        most = mr_max_u64(most, (uint64_t)st.st_blocks * 512);
        mr_topic_free(dead); /* its mappings are the dead daemon's */
    }
    assert_true(sealed > 0 && sealed < DEATHS / 2);
    assert_true(most <= 4u << 20);
    mr_steward_stop(world.steward);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_extent_without_hugepages_is_said_once_and_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(slots_of_dead_daemons_are_given_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_node_without_hugepages_says_nothing_of_single_extents, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
