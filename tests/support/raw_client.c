/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/raw_client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

char door_world_socket[108];

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
