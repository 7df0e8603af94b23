/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/mutations.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/ring/arm.h"

struct raw_client client;

/* ----------------------------------------------------------------------------------------------------- ways to misbehave */

static int unknown_type(void)
{
    struct mr_message_header message;
    raw_attach(&client);
    return raw_ask(&client, &message, sizeof message, 99);
}

static int daemons_own_type(void)
{
    struct mr_message_done message;
    raw_attach(&client);
    return raw_ask(&client, &message, sizeof message, MR_MESSAGE_DONE);
}

static int shorter_than_a_header(void)
{
    raw_attach(&client);
    assert_int_equal(send(client.socket, "abc", 3, 0), 3);
    return raw_receive(&client);
}

static int length_that_lies(void)
{
    struct mr_message_topic_list message;
    raw_attach(&client);
    mr_message_begin(&message.header, sizeof message + 8, MR_MESSAGE_TOPIC_LIST, 1);
    assert_int_equal(send(client.socket, &message, sizeof message, 0), sizeof message);
    return raw_receive(&client);
}

static int every_type_with_a_wrong_size(void)
{
    uint8_t bytes[64] = {0};
    for (uint16_t type = 1; type <= MR_MESSAGE_CLOSING; type++) {
        raw_attach(&client);
        int rc = raw_ask(&client, bytes, type == MR_MESSAGE_TOPIC_LIST ? 32 : 56, type);
        raw_leave(&client);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int second_hello(void)
{
    struct mr_message_hello hello = {.abi_version = MR_ABI_VERSION};
    raw_attach(&client);
    return raw_ask(&client, &hello, sizeof hello, MR_MESSAGE_HELLO);
}

static int hello_of_another_abi(void)
{
    struct mr_message_hello hello = {.abi_version = 77};
    raw_connect(&client);
    return raw_ask(&client, &hello, sizeof hello, MR_MESSAGE_HELLO);
}

static int no_hello(void)
{
    raw_connect(&client);
    return raw_open_producer(&client, "t", MR_DURABILITY_DISK);
}

static int hello_without_end_and_descriptors(void)
{
    struct mr_message_hello hello = {.abi_version = MR_ABI_VERSION};
    int fds[3] = {0, 1, 2};
    memset(hello.client, 'x', sizeof hello.client);
    raw_connect(&client);
    mr_message_begin(&hello.header, sizeof hello, MR_MESSAGE_HELLO, 1);
    assert_int_equal(mr_session_send(client.socket, &hello, fds, 3), 0);
    return raw_receive(&client);
}

static int acks_out_of_range(void)
{
    raw_attach(&client);
    return raw_open_producer(&client, "t", 9);
}

static int negative_epoch(void)
{
    struct mr_message_open_producer open = {.topic = "t", .producer_epoch = -1};
    raw_attach(&client);
    return raw_ask(&client, &open, sizeof open, MR_MESSAGE_OPEN_PRODUCER);
}

static int forged_token(void)
{
    struct mr_message_open_producer open = {.topic = "t", .resume = 1, .producer_id = 1};
    raw_attach(&client);
    return raw_ask(&client, &open, sizeof open, MR_MESSAGE_OPEN_PRODUCER);
}

static int topic_without_end(void)
{
    struct mr_message_open_consumer open;
    raw_attach(&client);
    memset(&open, 'a', sizeof open);
    return raw_ask(&client, &open, sizeof open, MR_MESSAGE_OPEN_CONSUMER);
}

static int dies_while_a_ring_is_offered(void)
{
    struct mr_message_open_producer open = {.topic = "t", .acks = MR_DURABILITY_DISK};
    for (uint32_t i = 0; i < 50; i++) { /* the daemon finds out in its send */
        raw_attach(&client);
        raw_send(&client, &open, sizeof open, MR_MESSAGE_OPEN_PRODUCER);
        raw_leave(&client);
    }
    return 0;
}

static int dies_after_each_message(void)
{
    for (uint32_t steps = 0; steps < 6; steps++) {
        raw_attach(&client);
        client.mute = steps == 1;
        if (steps >= 1)
            (void)raw_open_consumer(&client, "t");
        if (steps >= 2)
            (void)raw_subscribe(&client, 0, 0);
        if (steps >= 3)
            (void)raw_open_producer(&client, "t", MR_DURABILITY_DISK);
        if (steps >= 4)
            raw_frame(&client, mr_frame_word(32, MR_FRAME_VALUE, 0, client.reply.producer_opened.handle_first), 32, 0);
        if (steps >= 5) {
            struct mr_message_segment segment = {.offset = 0};
            raw_send(&client, &segment, sizeof segment, MR_MESSAGE_SEGMENT);
        }
        raw_leave(&client);
    }
    return 0;
}

static int second_request_before_the_ring_is_mapped(void)
{
    raw_attach(&client);
    client.mute = true;
    assert_int_equal(raw_open_producer(&client, "t", MR_DURABILITY_DISK), MR_MESSAGE_RING);
    return raw_open_consumer(&client, "t");
}

static int mapped(uint32_t ring)
{
    struct mr_message_ring_mapped message = {.ring = ring};
    return raw_ask(&client, &message, sizeof message, MR_MESSAGE_RING_MAPPED);
}

static int ring_mapped_unasked(void)
{
    raw_attach(&client);
    return mapped(0);
}

static int ring_mapped_of_no_reactor(void)
{
    raw_attach(&client);
    client.mute = true;
    assert_int_equal(raw_open_producer(&client, "t", MR_DURABILITY_DISK), MR_MESSAGE_RING);
    return mapped(UINT32_MAX);
}

static int ring_mapped_twice(void)
{
    raw_attach(&client);
    assert_int_equal(raw_open_producer(&client, "t", MR_DURABILITY_DISK), MR_MESSAGE_PRODUCER_OPENED);
    return mapped(client.ring[0].memory != NULL ? 0 : 1);
}

static int ring_sealed_by_the_client(void)
{
    raw_attach(&client);
    client.mute = true;
    assert_int_equal(raw_open_producer(&client, "t", MR_DURABILITY_DISK), MR_MESSAGE_RING);
    uint32_t r = client.ring[0].memory != NULL ? 0 : 1;
    assert_int_equal(fcntl(client.ring[r].fd, F_ADD_SEALS, F_SEAL_SEAL), 0);
    return mapped(r);
}

static int holes_in_the_ring(void)
{
    raw_attach(&client);
    client.mute = true;
    assert_int_equal(raw_open_producer(&client, "t", MR_DURABILITY_DISK), MR_MESSAGE_RING);
    uint32_t r = client.ring[0].memory != NULL ? 0 : 1;
    assert_int_equal(fallocate(client.ring[r].fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)mr_ring_bytes(client.ring[r].shape)), 0);
    client.mute = false;
    int rc = mapped(r);
    assert_int_not_equal(fallocate(client.ring[r].fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
    assert_int_equal(raw_produce(&client, client.reply.producer_opened.handle_first, 0), 0);
    return rc;
}

static int holes_in_the_pins(void)
{
    raw_attach(&client);
    assert_int_equal(raw_open_consumer(&client, "t"), MR_MESSAGE_CONSUMER_OPENED);
    assert_int_equal(fallocate(client.pins_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
    int rc = raw_subscribe(&client, 0, 0);
    assert_int_not_equal(fallocate(client.pins_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
    assert_int_not_equal(fcntl(client.pins_fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
    return rc;
}

static int pins_sealed_by_the_client(void)
{
    raw_attach(&client);
    assert_int_equal(raw_open_consumer(&client, "t"), MR_MESSAGE_CONSUMER_OPENED);
    assert_int_equal(fcntl(client.pins_fd, F_ADD_SEALS, F_SEAL_SEAL), 0);
    return raw_subscribe(&client, 0, 0);
}

static int closes_a_producer_that_is_not(void)
{
    raw_attach(&client);
    return raw_close(&client, MR_MESSAGE_CLOSE_PRODUCER, 3);
}

static int closes_a_consumer_beyond_all(void)
{
    raw_attach(&client);
    return raw_close(&client, MR_MESSAGE_CLOSE_CONSUMER, UINT32_MAX);
}

static int closes_a_consumer_twice(void)
{
    raw_attach(&client);
    assert_int_equal(raw_open_consumer(&client, "t"), MR_MESSAGE_CONSUMER_OPENED);
    assert_int_equal(raw_close(&client, MR_MESSAGE_CLOSE_CONSUMER, 0), MR_MESSAGE_DONE);
    return raw_close(&client, MR_MESSAGE_CLOSE_CONSUMER, 0);
}

static int subscribes_a_partition_that_is_not(void)
{
    raw_attach(&client);
    assert_int_equal(raw_open_consumer(&client, "t"), MR_MESSAGE_CONSUMER_OPENED);
    return raw_subscribe(&client, 0, 1);
}

static int subscribes_without_a_consumer(void)
{
    raw_attach(&client);
    return raw_subscribe(&client, 7, 0);
}

static int subscribes_twice(void)
{
    raw_attach(&client);
    assert_int_equal(raw_open_consumer(&client, "t"), MR_MESSAGE_CONSUMER_OPENED);
    assert_int_equal(raw_subscribe(&client, 0, 0), MR_MESSAGE_SUBSCRIBED);
    return raw_subscribe(&client, 0, 0);
}

static int segment_of_the_last_offset_there_is(void)
{
    struct mr_message_segment message = {.offset = UINT64_MAX};
    raw_attach(&client);
    assert_int_equal(raw_open_consumer(&client, "t"), MR_MESSAGE_CONSUMER_OPENED);
    return raw_ask(&client, &message, sizeof message, MR_MESSAGE_SEGMENT);
}

static int one_consumer_too_many(void)
{
    raw_attach(&client);
    for (uint32_t i = 0; i < 256; i++)
        assert_int_equal(raw_open_consumer(&client, "t"), MR_MESSAGE_CONSUMER_OPENED);
    return raw_open_consumer(&client, "t");
}

static int one_producer_too_many(void)
{
    raw_attach(&client);
    for (uint32_t i = 0; i < 256; i++)
        assert_int_equal(raw_open_producer(&client, "t", MR_DURABILITY_DISK), MR_MESSAGE_PRODUCER_OPENED);
    return raw_open_producer(&client, "t", MR_DURABILITY_DISK);
}

static int consumers_without_end(void)
{
    raw_attach(&client);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(raw_open_consumer(&client, i % 3 == 0 ? "t" : "wide"), MR_MESSAGE_CONSUMER_OPENED);
        uint32_t number = client.reply.consumer_opened.consumer;
        assert_true(number < 2);
        assert_true(client.reply.consumer_opened.handle_first < 100); /* they are used again */
        assert_int_equal(raw_subscribe(&client, number, 0), MR_MESSAGE_SUBSCRIBED);
        assert_int_equal(raw_close(&client, MR_MESSAGE_CLOSE_CONSUMER, number), MR_MESSAGE_DONE);
    }
    return MR_MESSAGE_DONE;
}

static int dies_with_ten_thousand_subscriptions(void)
{
    raw_attach(&client);
    for (uint32_t c = 0; c < 250; c++) {
        assert_int_equal(raw_open_consumer(&client, "wide"), MR_MESSAGE_CONSUMER_OPENED);
        for (uint32_t p = 0; p < 40; p++)
            assert_int_equal(raw_subscribe(&client, c, p), MR_MESSAGE_SUBSCRIBED);
    }
    return MR_MESSAGE_DONE;
}

static int bad_frame(uint64_t word)
{
    raw_attach(&client);
    assert_int_equal(raw_open_producer(&client, "t", MR_DURABILITY_DISK), MR_MESSAGE_PRODUCER_OPENED);
    raw_frame(&client, word, 32, 0);
    return raw_receive(&client);
}

static int frame_of_no_handle(void)
{
    return bad_frame(mr_frame_word(32, MR_FRAME_VALUE, 0, 60000));
}

static int frame_of_no_kind(void)
{
    return bad_frame(mr_frame_word(32, 77, 0, 0));
}

static int frame_longer_than_the_ring(void)
{
    return bad_frame(mr_frame_word(UINT32_MAX & ~7u, MR_FRAME_VALUE, 0, 0));
}

static int frame_shorter_than_its_padding(void)
{
    return bad_frame(mr_frame_word(16, MR_FRAME_VALUE, 7, 0));
}

static int frame_of_a_producer_on_a_consumer(void)
{
    raw_attach(&client);
    assert_int_equal(raw_open_consumer(&client, "t"), MR_MESSAGE_CONSUMER_OPENED);
    raw_frame(&client, mr_frame_word(32, MR_FRAME_VALUE, 0, client.reply.consumer_opened.handle_first), 32, 0);
    return raw_receive(&client);
}

/* Arms for handles that are not, for a producer's, and more than fit. */
static int arms_of_nobody(void)
{
    raw_attach(&client);
    assert_int_equal(raw_open_producer(&client, "t", MR_DURABILITY_LEADER), MR_MESSAGE_PRODUCER_OPENED);
    uint32_t first = client.reply.producer_opened.handle_first, next = 0;
    for (uint32_t i = 0; i < MR_RING_ARMS; i++)
        assert_true(mr_ring_arm(&client.ring[0].end, &next, i % 2 == 0 ? first : i * 255, i));
    assert_false(mr_ring_arm(&client.ring[0].end, &next, first, 0));
    assert_true(mr_ring_show_arms(&client.ring[0].end, next));
    assert_int_equal(raw_produce(&client, first, 0), 0);
    for (uint32_t i = 0; i < 5000 && !mr_ring_arm(&client.ring[0].end, &next, first, 0); i++)
        usleep(1000);
    return next == MR_RING_ARMS + 1 ? MR_MESSAGE_DONE : -1;
}

static int arms_beyond_their_ring(void)
{
    uint64_t one = 1;
    raw_attach(&client);
    assert_int_equal(raw_open_producer(&client, "t", MR_DURABILITY_LEADER), MR_MESSAGE_PRODUCER_OPENED);
    mr_store_release(&client.ring[0].end.client->arms, MR_RING_ARMS + 1);
    assert_int_equal(write(client.doorbell, &one, sizeof one), sizeof one);
    return raw_receive(&client);
}

static int frame_of_length_zero(void)
{
    return bad_frame(mr_frame_word(0, MR_FRAME_PAD, 0, 0));
}

static int wake_end_made_blocking_and_never_read(void)
{
    raw_attach(&client);
    assert_int_equal(fcntl(client.wake, F_SETFL, 0), 0);
    uint64_t full = UINT64_MAX - 1;
    ssize_t ignored = write(client.wake, &full, sizeof full); /* an eventfd would be full now, and block its next writer */
    (void)ignored;
    assert_int_equal(raw_open_producer(&client, "t", MR_DURABILITY_LEADER), MR_MESSAGE_PRODUCER_OPENED);
    for (uint32_t r = 0; r < RAW_RINGS_MAX; r++)
        if (client.ring[r].memory != NULL)
            mr_store_release(&client.ring[r].end.client->sleeping, 1);
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(raw_produce(&client, client.reply.producer_opened.handle_first, i), 0);
    return MR_MESSAGE_DONE;
}

static int topic_named_as_a_path(void)
{
    raw_attach(&client);
    return raw_create(&client, "../../x", 1, "");
}

static int topic_of_too_many_partitions(void)
{
    raw_attach(&client);
    return raw_create(&client, "many", UINT32_MAX, "");
}

static int topic_that_exists(void)
{
    raw_attach(&client);
    return raw_create(&client, "t", 1, "");
}

static int topic_with_a_bad_config(void)
{
    struct mr_message_topic_change create = {.topic = "x", .partition_count = 1};
    raw_attach(&client);
    memset(create.config, 'c', sizeof create.config);
    return raw_ask(&client, &create, sizeof create, MR_MESSAGE_TOPIC_CREATE);
}

/* The process that attached is a zombie, and a child of it holds the socket. */
static int leaves_its_socket_to_a_child(void)
{
    int told[2];
    char byte;
    assert_int_equal(pipe(told), 0);
    pid_t attached = fork();
    if (attached == 0) {
        raw_attach(&client);
        if (fork() == 0) {
            ssize_t n = recv(client.socket, &byte, 1, 0); /* until the daemon hangs up */
            n = write(told[1], n == 0 ? "y" : "n", 1);
            _exit(n != 1);
        }
        _exit(0);
    }
    close(told[1]);
    ssize_t n = read(told[0], &byte, 1);
    close(told[0]);
    waitpid(attached, NULL, 0);
    return n == 1 && byte == 'y' ? 0 : -1;
}

/* ------------------------------------------------------------------------------------- what is shared, changed behind its back */

static struct mr_ring_producer *producer_ring(void)
{
    raw_attach(&client);
    assert_int_equal(raw_open_producer(&client, "t", MR_DURABILITY_LEADER), MR_MESSAGE_PRODUCER_OPENED);
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(raw_produce(&client, client.reply.producer_opened.handle_first, i), 0);
    uint32_t r = RAW_RINGS_MAX - 1;
    while (client.ring[r].memory == NULL)
        r--;
    return &client.ring[r].end;
}

static int kick(void)
{
    uint64_t one = 1;
    ssize_t ignored = write(client.doorbell, &one, sizeof one);
    (void)ignored;
    return raw_receive(&client);
}

static int close_producer(void)
{
    struct mr_message_close message = {.index = 0};
    int rc = raw_ask(&client, &message, sizeof message, MR_MESSAGE_CLOSE_PRODUCER);
    return rc == MR_MESSAGE_ERROR ? MR_MESSAGE_DONE : rc;
}

static int index_moved_back(void)
{
    struct mr_ring_producer *ring = producer_ring();
    mr_store_release(&ring->client->committed, 8);
    return kick();
}

static int index_beyond_the_ring(void)
{
    struct mr_ring_producer *ring = producer_ring();
    mr_store_release(&ring->client->committed, ring->tail + (1ull << 40));
    return kick();
}

static int index_amid_a_frame(void)
{
    struct mr_ring_producer *ring = producer_ring();
    mr_store_release(&ring->client->committed, ring->tail + 12);
    return kick();
}

static int heard_what_was_not_said(void)
{
    struct mr_ring_producer *ring = producer_ring();
    mr_store_release(&ring->client->completion_head, 1ull << 50);
    raw_frame(&client, mr_frame_word(32, MR_FRAME_VALUE, 0, client.reply.producer_opened.handle_first), 32, 3);
    return close_producer(); /* it is looked at when completions need room */
}

/* What two threads do to one frame is a data race, and meant: ThreadSanitizer has to do without it. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RACES_ARE_FORBIDDEN
#endif
#elif defined(__SANITIZE_THREAD__)
#define RACES_ARE_FORBIDDEN
#endif

static _Atomic bool rewriting;

static void *rewrite(void *memory)
{
    uint64_t *words = memory;
    for (uint64_t seed = 88172645463325252ull; atomic_load_explicit(&rewriting, memory_order_relaxed);) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        ((volatile uint64_t *)words)[seed % 2048] = (seed >> 20) % 3 == 0 ? seed : mr_frame_word(32, MR_FRAME_VALUE, 0, 0);
    }
    return NULL;
}

static int frames_rewritten_while_they_are_drained(void)
{
    struct mr_ring_producer *ring = producer_ring();
    pthread_t thread;
    uint64_t one = 1;

    atomic_store(&rewriting, true);
#ifdef RACES_ARE_FORBIDDEN
    return MR_MESSAGE_DONE;
#endif
    assert_int_equal(pthread_create(&thread, NULL, rewrite, ring->submissions), 0);
    for (uint64_t i = 0; i < 400; i++) {
        uint8_t *frame = mr_ring_claim(ring, mr_frame_word(32, MR_FRAME_VALUE, 0, 0), 0);
        if (frame == NULL)
            break;
        mr_ring_stage(frame, 3 + i);
        mr_ring_publish(ring, ring->tail - 32, ring->tail);
        ssize_t ignored = i % 16 == 0 ? write(client.doorbell, &one, sizeof one) : 0;
        (void)ignored;
    }
    usleep(2000);
    atomic_store(&rewriting, false);
    pthread_join(thread, NULL);
    return close_producer();
}

static int pads_lap_after_lap(void)
{
    struct mr_ring_producer *ring = producer_ring();
    for (uint32_t i = 0; i < 20000; i++) {
        uint8_t *frame = mr_ring_claim(ring, mr_frame_word(16, MR_FRAME_PAD, 0, 0), 0);
        if (frame == NULL) {
            uint64_t one = 1;
            ssize_t ignored = write(client.doorbell, &one, sizeof one);
            (void)ignored;
            usleep(100);
            mr_ring_producer_free(ring, mr_ring_producer_released(ring));
            continue;
        }
        mr_ring_publish(ring, ring->tail - 16, ring->tail);
    }
    return kick() == 0 ? HUNG_UP : MR_MESSAGE_DONE;
}

static int claims_and_dies(void)
{
    struct mr_ring_producer *ring = producer_ring();
    assert_non_null(mr_ring_claim(ring, mr_frame_word(4096, MR_FRAME_VALUE, 0, 0), 0));
    return MR_MESSAGE_DONE;
}

static int ring_truncated_before_it_is_sealed(void)
{
    raw_attach(&client);
    client.mute = true;
    assert_int_equal(raw_open_producer(&client, "t", MR_DURABILITY_DISK), MR_MESSAGE_RING);
    uint32_t r = client.ring[0].memory != NULL ? 0 : 1;
    int cut = ftruncate(client.ring[r].fd, 4096);
    client.mute = false;
    int rc = mapped(r);
    return cut == 0 ? rc : rc == MR_MESSAGE_PRODUCER_OPENED ? HUNG_UP : rc; /* it could not be cut, or that was noticed */
}

static int descriptors_nobody_asked_for(void)
{
    struct mr_message_topic_list message;
    int fds[MR_MESSAGE_FDS_MAX];
    raw_attach(&client);
    for (uint32_t i = 0; i < MR_MESSAGE_FDS_MAX; i++)
        fds[i] = client.socket;
    mr_message_begin(&message.header, sizeof message, MR_MESSAGE_TOPIC_LIST, 1);
    assert_int_equal(mr_session_send(client.socket, &message, fds, MR_MESSAGE_FDS_MAX), 0);
    return raw_receive(&client);
}

static int asks_and_never_reads(void)
{
    struct mr_message_topic_list message;
    raw_attach(&client);
    for (uint32_t i = 0; i < 3000; i++) {
        mr_message_begin(&message.header, sizeof message, MR_MESSAGE_TOPIC_LIST, i + 1);
        if (send(client.socket, &message, sizeof message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            break;
    }
    return MR_MESSAGE_DONE;
}

/* ------------------------------------------------------------------------------------------------------------- the table */

const struct mutation mutations[] = {
#define M(name, ends) {#name, name, ends, false}
#define SLOW(name, ends) {#name, name, ends, true}
    M(unknown_type, HUNG_UP),
    M(daemons_own_type, HUNG_UP),
    M(shorter_than_a_header, HUNG_UP),
    M(length_that_lies, HUNG_UP),
    SLOW(every_type_with_a_wrong_size, HUNG_UP),
    M(second_hello, HUNG_UP),
    M(hello_of_another_abi, MR_MESSAGE_ERROR),
    M(no_hello, HUNG_UP),
    M(hello_without_end_and_descriptors, MR_MESSAGE_WELCOME),
    M(acks_out_of_range, HUNG_UP),
    M(negative_epoch, HUNG_UP),
    M(forged_token, MR_MESSAGE_ERROR),
    M(topic_without_end, MR_MESSAGE_ERROR),
    M(dies_while_a_ring_is_offered, HUNG_UP),
    SLOW(dies_after_each_message, HUNG_UP),
    M(second_request_before_the_ring_is_mapped, HUNG_UP),
    M(ring_mapped_unasked, HUNG_UP),
    M(ring_mapped_of_no_reactor, HUNG_UP),
    M(ring_mapped_twice, HUNG_UP),
    M(ring_sealed_by_the_client, HUNG_UP),
    M(holes_in_the_ring, MR_MESSAGE_PRODUCER_OPENED),
    M(holes_in_the_pins, MR_MESSAGE_SUBSCRIBED),
    M(pins_sealed_by_the_client, HUNG_UP),
    M(closes_a_producer_that_is_not, HUNG_UP),
    M(closes_a_consumer_beyond_all, HUNG_UP),
    M(closes_a_consumer_twice, HUNG_UP),
    M(subscribes_a_partition_that_is_not, HUNG_UP),
    M(subscribes_without_a_consumer, HUNG_UP),
    M(subscribes_twice, MR_MESSAGE_SUBSCRIBED),
    M(segment_of_the_last_offset_there_is, MR_MESSAGE_ERROR),
    SLOW(one_consumer_too_many, MR_MESSAGE_ERROR),
    SLOW(one_producer_too_many, MR_MESSAGE_ERROR),
    SLOW(consumers_without_end, MR_MESSAGE_DONE),
    SLOW(dies_with_ten_thousand_subscriptions, MR_MESSAGE_DONE),
    M(frame_of_no_handle, HUNG_UP),
    M(frame_of_no_kind, HUNG_UP),
    M(frame_longer_than_the_ring, HUNG_UP),
    M(frame_shorter_than_its_padding, HUNG_UP),
    M(frame_of_a_producer_on_a_consumer, HUNG_UP),
    M(arms_of_nobody, MR_MESSAGE_DONE),
    M(arms_beyond_their_ring, HUNG_UP),
    M(frame_of_length_zero, HUNG_UP),
    SLOW(wake_end_made_blocking_and_never_read, MR_MESSAGE_DONE),
    M(topic_named_as_a_path, MR_MESSAGE_ERROR),
    M(topic_of_too_many_partitions, MR_MESSAGE_ERROR),
    M(topic_that_exists, MR_MESSAGE_ERROR),
    M(topic_with_a_bad_config, MR_MESSAGE_ERROR),
    SLOW(leaves_its_socket_to_a_child, HUNG_UP),
    M(index_moved_back, HUNG_UP),
    M(index_beyond_the_ring, HUNG_UP),
    M(index_amid_a_frame, HUNG_UP),
    M(heard_what_was_not_said, EITHER),
    M(frames_rewritten_while_they_are_drained, EITHER),
    SLOW(pads_lap_after_lap, MR_MESSAGE_DONE),
    M(claims_and_dies, MR_MESSAGE_DONE),
    M(ring_truncated_before_it_is_sealed, HUNG_UP),
    M(descriptors_nobody_asked_for, MR_MESSAGE_LIST),
    M(asks_and_never_reads, MR_MESSAGE_DONE),
#undef M
#undef SLOW
};

const uint32_t mutation_count = MR_COUNT_OF(mutations);
