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

char door_world_socket[108];
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

void raw_connect(struct raw_client *client)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memset(client, 0, sizeof *client);
    client->wake = client->doorbell = client->pins_fd = client->extent_fd = -1;
    for (uint32_t r = 0; r < RAW_RINGS_MAX; r++)
        client->ring[r].fd = -1;
    snprintf(address.sun_path, sizeof address.sun_path, "%s", door_world_socket);
    client->socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(client->socket, (struct sockaddr *)&address, sizeof address), 0);
}

void raw_attach(struct raw_client *client)
{
    struct mr_message_hello hello = {.abi_version = MR_ABI_VERSION, .client = "hostile"};
    raw_connect(client);
    assert_int_equal(raw_ask(client, &hello, sizeof hello, MR_MESSAGE_HELLO), MR_MESSAGE_WELCOME);
}

static void leave_consumer(struct raw_client *client, uint32_t number)
{
    _Atomic uint64_t *pins = client->consumer[number].pins;
    uint32_t partition_count = client->consumer[number].partition_count;
    if (pins == NULL)
        return;
    if (!client->abandons)
        mr_store_release(&pins[mr_pins_left_index(partition_count)], 1);
    munmap(pins, mr_pins_bytes(partition_count));
    client->consumer[number].pins = NULL;
}

void raw_leave(struct raw_client *client)
{
    for (uint32_t c = 0; c < MR_COUNT_OF(client->consumer); c++)
        leave_consumer(client, c);
    int *fds[] = {&client->socket, &client->wake, &client->doorbell, &client->pins_fd, &client->extent_fd};
    for (uint32_t i = 0; i < MR_COUNT_OF(fds); i++)
        if (*fds[i] >= 0) {
            close(*fds[i]);
            *fds[i] = -1;
        }
    for (uint32_t r = 0; r < RAW_RINGS_MAX; r++) {
        if (client->ring[r].memory != NULL)
            munmap(client->ring[r].memory, mr_ring_bytes(client->ring[r].shape));
        client->ring[r].memory = NULL;
        if (client->ring[r].fd >= 0)
            close(client->ring[r].fd);
        client->ring[r].fd = -1;
    }
}

void raw_send(struct raw_client *client, void *message, uint32_t bytes, uint16_t type)
{
    struct mr_message_header *header = message;
    mr_message_begin(header, bytes, type, ++client->request);
    ssize_t ignored = send(client->socket, message, bytes, MSG_NOSIGNAL); /* the daemon may have hung up: told by what comes next */
    (void)ignored;
}

static void take_ring(struct raw_client *client, const struct mr_message_ring *ring, int fd)
{
    uint32_t r = ring->ring;
    assert_true(r < RAW_RINGS_MAX && client->ring[r].memory == NULL);
    client->ring[r].shape = ring->shape;
    client->ring[r].memory = mmap(NULL, mr_ring_bytes(ring->shape), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(client->ring[r].memory != MAP_FAILED);
    mr_ring_producer_init(&client->ring[r].end, client->ring[r].memory, ring->shape);
    if (client->mute) {
        client->ring[r].fd = dup(fd);
        return;
    }
    struct mr_message_ring_mapped mapped = {.ring = r};
    raw_send(client, &mapped, sizeof mapped, MR_MESSAGE_RING_MAPPED);
}

static void keep(int *kept, int *fd)
{
    if (*kept >= 0)
        close(*kept);
    *kept = *fd;
    *fd = -1;
}

static void take_consumer(struct raw_client *client, int *fd)
{
    const struct mr_message_consumer_opened *opened = &client->reply.consumer_opened;
    leave_consumer(client, opened->consumer);
    client->consumer[opened->consumer].partition_count = opened->partition_count;
    client->consumer[opened->consumer].pins = mmap(NULL, mr_pins_bytes(opened->partition_count), PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    assert_true(client->consumer[opened->consumer].pins != MAP_FAILED);
    keep(&client->pins_fd, fd);
}

int raw_receive(struct raw_client *client)
{
    for (;;) {
        struct pollfd ready = {.fd = client->socket, .events = POLLIN};
        int fds[MR_MESSAGE_FDS_MAX];
        uint32_t fd_count;
        if (poll(&ready, 1, 5000) <= 0)
            return -1;
        int rc = mr_session_receive(client->socket, &client->reply, sizeof client->reply, fds, &fd_count);
        uint16_t type = rc > 0 ? client->reply.header.type : 0;
        if (type == MR_MESSAGE_RING)
            take_ring(client, &client->reply.ring, fds[0]);
        if (type == MR_MESSAGE_WELCOME) {
            client->wake = fds[0];
            client->doorbell = fds[1];
            fd_count = 0;
        }
        if (type == MR_MESSAGE_CONSUMER_OPENED)
            take_consumer(client, &fds[1]);
        if (type == MR_MESSAGE_EXTENT)
            keep(&client->extent_fd, &fds[0]);
        for (uint32_t i = 0; i < fd_count; i++)
            if (fds[i] >= 0)
                close(fds[i]);
        client->extents += type == MR_MESSAGE_EXTENT;
        client->rings_gone += type == MR_MESSAGE_RING_GONE;
        bool is_push = type == MR_MESSAGE_EXTENTS || type == MR_MESSAGE_EXTENT || type == MR_MESSAGE_EXTENT_GONE || type == MR_MESSAGE_RING_GONE;
        if (rc == -EAGAIN || is_push || (type == MR_MESSAGE_RING && !client->mute))
            continue;
        return type;
    }
}

int raw_ask(struct raw_client *client, void *message, uint32_t bytes, uint16_t type)
{
    raw_send(client, message, bytes, type);
    return raw_receive(client);
}

int raw_open_producer(struct raw_client *client, const char *topic, uint32_t acks)
{
    struct mr_message_open_producer open = {.acks = acks, .submission_bytes = 1u << 18, .idempotent = 1};
    snprintf(open.topic, sizeof open.topic, "%s", topic);
    return raw_ask(client, &open, sizeof open, MR_MESSAGE_OPEN_PRODUCER);
}

int raw_open_consumer(struct raw_client *client, const char *topic)
{
    struct mr_message_open_consumer open = {0};
    snprintf(open.topic, sizeof open.topic, "%s", topic);
    return raw_ask(client, &open, sizeof open, MR_MESSAGE_OPEN_CONSUMER);
}

int raw_subscribe(struct raw_client *client, uint32_t consumer, uint32_t partition)
{
    struct mr_message_subscribe subscribe = {.consumer = consumer, .partition = partition};
    return raw_ask(client, &subscribe, sizeof subscribe, MR_MESSAGE_SUBSCRIBE);
}

int raw_close(struct raw_client *client, uint16_t type, uint32_t index)
{
    struct mr_message_close message = {.index = index};
    return raw_ask(client, &message, sizeof message, type);
}

int raw_create(struct raw_client *client, const char *topic, uint32_t partitions, const char *config)
{
    struct mr_message_topic_change create = {.partition_count = partitions};
    snprintf(create.topic, sizeof create.topic, "%s", topic);
    assert_int_equal(mr_uuid_random(&create.change), 0);
    snprintf(create.config, sizeof create.config, "%s", config);
    return raw_ask(client, &create, sizeof create, MR_MESSAGE_TOPIC_CREATE);
}

static uint32_t some_ring(const struct raw_client *client)
{
    uint32_t r = RAW_RINGS_MAX - 1;
    while (r > 0 && client->ring[r].memory == NULL)
        r--;
    assert_non_null(client->ring[r].memory);
    return r;
}

void raw_frame(struct raw_client *client, uint64_t word, uint32_t bytes, uint64_t sequence)
{
    struct mr_ring_producer *ring = &client->ring[some_ring(client)].end;
    uint64_t one = 1;
    uint8_t *frame = mr_ring_claim(ring, mr_frame_word(bytes, MR_FRAME_VALUE, 0, 0), 0);
    assert_non_null(frame);
    mr_ring_stage(frame, sequence);
    memcpy(frame, &word, sizeof word); /* whatever it says */
    mr_ring_publish(ring, ring->tail - bytes, ring->tail);
    assert_int_equal(write(client->doorbell, &one, sizeof one), sizeof one);
}

int raw_produce(struct raw_client *client, uint32_t handle, uint64_t sequence)
{
    struct mr_ring_producer *ring = &client->ring[some_ring(client)].end;
    struct mr_completion completion;
    raw_frame(client, mr_frame_word(32, MR_FRAME_VALUE, 0, handle), 32, sequence);
    for (uint32_t i = 0; i < 5000; i++) {
        if (mr_ring_poll(ring, &completion)) {
            mr_ring_heard(ring);
            mr_ring_producer_free(ring, mr_ring_producer_released(ring));
            return completion.error;
        }
        usleep(1000);
    }
    return -1;
}
