/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/door_world.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/daemon/daemon.h"
#include "dataplane/node/start.h"

uint64_t door_world_pin_grace_ms = 2000;
const char *door_world_sets[4];

static struct {
    char root[64];
    struct mr_node_config config;
    struct mr_config origin;
    struct mr_datadir directory;
    struct mr_memory memory;
    struct mr_registry registry;
    struct mr_producer_ids producer_ids;
    struct mr_start start;
    struct mr_disk *cold_disk;
    struct mr_reactor *reactors[DOOR_WORLD_REACTORS];
    uint8_t *staging[DOOR_WORLD_REACTORS];
    struct mr_bell reactor_bells[DOOR_WORLD_REACTORS], steward_bell, door_bell;
    struct mr_mailbox messages[DOOR_WORLD_REACTORS], answers[DOOR_WORLD_REACTORS], jobs[DOOR_WORLD_REACTORS], replies[DOOR_WORLD_REACTORS], notices;
    struct mr_steward *steward;
    struct mr_door *door;
    int signals[2]; /* a pipe in the place of a signalfd */
    pthread_t thread;
    struct mr_control *control;
    int control_stop[2];
    pthread_t control_thread;
    _Atomic bool control_ready;
} world;

static void *serve(void *argument)
{
    mr_door_serve(world.door, world.signals[0]);
    return argument;
}

static void *run_control(void *argument)
{
    struct millrace_error err;
    while (mr_control_round(world.control, world.control_stop[0], &err) == 0)
        atomic_store(&world.control_ready, mr_control_is_ready(world.control));
    mr_control_free(world.control);
    return argument;
}

void door_world_start_control(void)
{
    struct millrace_error err;
    assert_int_equal(pipe(world.control_stop), 0);
    atomic_store(&world.control_ready, false);
    assert_int_equal(mr_control_new(&world.control, &world.config, &err), 0);
    assert_int_equal(pthread_create(&world.control_thread, NULL, run_control, NULL), 0);
    for (uint32_t i = 0; !atomic_load(&world.control_ready); i++) {
        assert_true(i < 10000);
        usleep(1000);
    }
}

void door_world_stop_control(void)
{
    assert_int_equal(write(world.control_stop[1], "", 1), 1);
    pthread_join(world.control_thread, NULL);
    close(world.control_stop[0]);
    close(world.control_stop[1]);
}

static void start_reactor(uint32_t r)
{
    struct millrace_error err;
    struct mr_reactor_options options = {
        .index = r, .cpu = -1, .idle = world.config.idle, .delivery_timeout_ms = (uint64_t)world.config.delivery_timeout_ms, .clock = mr_clock_machine(),
        .messages = &world.messages[r], .answers = &world.answers[r], .jobs = &world.jobs[r], .replies = &world.replies[r],
        .bell = &world.reactor_bells[r], .pin_grace_ms = door_world_pin_grace_ms, .pinned_bytes_max = 4u << 20};
    options.log = (struct mr_log_options){.reactor = r, .directory_count = 1, .random_seed = r + 1, .flush_ns = 5000000, .mark_ns = 100000000,
                                          .commit_bytes_max = 1u << 20, .hot_bytes_min = 12u << 20, .hot_slots = 1, .files_max = 2};
    assert_int_equal(mr_disk_threads_open(&options.disk, 64, 1, &err), 0);
    struct mr_log_journal *journal = &options.log.journal[0];
    assert_int_equal(mr_journal_create(world.cold_disk, world.root, r, world.registry.generation, 4u << 20, r + 7, journal, &err), 0);
    journal->staging_bytes = 2u << 20;
    journal->staging = world.staging[r] = aligned_alloc(4096, journal->staging_bytes);
    memset(journal->staging, 0, journal->staging_bytes);
    assert_int_equal(mr_reactor_start(&world.reactors[r], &options, &err), 0);
}

void door_world_start(void)
{
    struct millrace_error err;
    char dirs[100], socket[120];
    const char *sets[10] = {dirs, socket, "millrace.hugepages=off", "millrace.memory.bytes=64MiB", "millrace.extent.bytes=2MiB", "log.segment.bytes=4MiB"};

    signal(SIGPIPE, SIG_IGN);
    snprintf(world.root, sizeof world.root, "/tmp/mr_door_XXXXXX");
    assert_non_null(mkdtemp(world.root));
    snprintf(door_world_socket, sizeof door_world_socket, "%s/socket", world.root);
    snprintf(dirs, sizeof dirs, "log.dirs=%s", world.root);
    snprintf(socket, sizeof socket, "millrace.socket=%s", door_world_socket);
    uint32_t set_count = 6;
    for (uint32_t i = 0; i < MR_COUNT_OF(door_world_sets); i++)
        if (door_world_sets[i] != NULL)
            sets[set_count++] = door_world_sets[i];
    assert_int_equal(mr_node_config_load(&world.config, &world.origin, NULL, sets, set_count, &err), 0);
    assert_int_equal(mr_datadir_open(&world.directory, world.root, 0, &err), 0);
    assert_int_equal(mr_datadir_claim(&world.directory, 0, &err), 0);
    assert_int_equal(mr_memory_open(&world.memory, "off", &world.directory.id, 2u << 20, &err), 0);
    assert_int_equal(mr_disk_threads_open(&world.cold_disk, 1, 1, &err), 0);
    assert_int_equal(mr_registry_open(&world.registry, &world.directory, &world.config, DOOR_WORLD_REACTORS, &err), 0);
    assert_int_equal(mr_producer_ids_open(&world.producer_ids, &world.directory, &err), 0);
    assert_int_equal(mr_start_find(&world.start, &world.registry, &world.memory, world.cold_disk, &world.config, mr_clock_machine(), &err), 0);
    assert_int_equal(mr_bell_init(&world.steward_bell, &err) | mr_bell_init(&world.door_bell, &err), 0);
    assert_int_equal(mr_mailbox_init(&world.notices, sizeof(struct mr_steward_notice), 64, &world.door_bell, &err), 0);
    for (uint32_t r = 0; r < DOOR_WORLD_REACTORS; r++) { /* small, so that they are full now and then */
        assert_int_equal(mr_bell_init(&world.reactor_bells[r], &err), 0);
        assert_int_equal(mr_mailbox_init(&world.messages[r], sizeof(struct mr_reactor_message), 64, &world.reactor_bells[r], &err), 0);
        assert_int_equal(mr_mailbox_init(&world.answers[r], sizeof(struct mr_log_event), 64, &world.reactor_bells[r], &err), 0);
        assert_int_equal(mr_mailbox_init(&world.jobs[r], sizeof(struct mr_steward_job), 128, &world.steward_bell, &err), 0);
        assert_int_equal(mr_mailbox_init(&world.replies[r], sizeof(struct mr_reactor_reply), 64, &world.door_bell, &err), 0);
    }
    struct mr_steward_options steward = {.memory = &world.memory, .disk = world.cold_disk, .config = &world.config, .memory_bytes_max = 64u << 20,
                                         .reactor_count = DOOR_WORLD_REACTORS, .jobs = world.jobs, .answers = world.answers,
                                         .notices = &world.notices, .bell = &world.steward_bell, .cpu_of_reactor = {-1, -1}};
    assert_int_equal(mr_steward_start(&world.steward, &steward, &err), 0);
    for (uint32_t r = 0; r < DOOR_WORLD_REACTORS; r++)
        start_reactor(r);
    struct mr_door_options door = {.config = &world.config, .home = &world.directory, .data_id = world.directory.id, .registry = &world.registry,
                                   .producer_ids = &world.producer_ids, .memory = &world.memory, .reactor_count = DOOR_WORLD_REACTORS,
                                   .messages = world.messages, .replies = world.replies, .notices = &world.notices, .bell = &world.door_bell};
    assert_int_equal(mr_door_open(&world.door, &door, door_world_socket, &err), 0);
    mr_door_begin(world.door);
    assert_int_equal(pipe(world.signals), 0);
    assert_int_equal(pthread_create(&world.thread, NULL, serve, NULL), 0);
    door_world_start_control();
}

bool door_world_stop(void)
{
    struct signalfd_siginfo signal = {.ssi_signo = SIGTERM};
    char command[100];
    door_world_stop_control();
    assert_int_equal(write(world.signals[1], &signal, sizeof signal), sizeof signal);
    pthread_join(world.thread, NULL);
    bool stopped = mr_door_stop(world.door, world.signals[0]);
    assert_true(stopped);
    mr_steward_stop(world.steward);
    for (uint32_t r = 0; r < DOOR_WORLD_REACTORS; r++) {
        mr_reactor_join(world.reactors[r]);
        free(world.staging[r]);
        mr_mailbox_release(&world.messages[r]);
        mr_mailbox_release(&world.answers[r]);
        mr_mailbox_release(&world.jobs[r]);
        mr_mailbox_release(&world.replies[r]);
        mr_bell_release(&world.reactor_bells[r]);
    }
    mr_mailbox_release(&world.notices);
    mr_memory_clear(&world.memory);
    mr_door_close(world.door);
    mr_disk_release(world.cold_disk);
    mr_datadir_close(&world.directory);
    snprintf(command, sizeof command, "rm -rf '%s'", world.root);
    return system(command) == 0 && stopped;
}

uint32_t door_world_fds(void)
{
    uint32_t count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

bool door_world_settles(uint32_t fds)
{
    for (uint32_t i = 0; i < 5000; i++) {
        if (door_world_fds() <= fds)
            return true;
        usleep(1000);
    }
    return false;
}
