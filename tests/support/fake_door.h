/* SPDX-License-Identifier: Apache-2.0 */
/* A daemon's door and two reactors in a thread, for one topic and one client at a time: it keeps a log of 8-byte values, and does at random
 * what a daemon may do: hold acks back, refuse for good, move partitions, die and come back with its log, or with less of it. */
#ifndef MR_TESTS_SUPPORT_FAKE_DOOR_H
#define MR_TESTS_SUPPORT_FAKE_DOOR_H

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "shm/abi/head.h"
#include "shm/base/random.h"
#include "shm/ring/ring.h"
#include "shm/session/socket.h"

#define FAKE_PARTITIONS 3u
#define FAKE_REACTORS   2u
#define FAKE_LOG_MAX    (1u << 20)
#define FAKE_GROUPS     64u
#define FAKE_LOSS_MAX   40u

#define fake_must(condition)                                                                                                               \
    do {                                                                                                                                   \
        if (!(condition)) {                                                                                                                \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                                                \
            abort();                                                                                                                       \
        }                                                                                                                                  \
    } while (0)

struct fake_group { /* frames of one drain: released together, when all are answered */
    uint64_t position;
    uint32_t count;
    struct mr_completion completion[16];
    uint32_t told;
};

struct fake_ring {
    struct mr_ring_consumer ring;
    void *memory;
    uint64_t bytes;
    struct fake_group group[FAKE_GROUPS];
    uint32_t first, next;
};

struct fake_door {
    char path[100];
    int listener, socket, wake, doorbell;
    pthread_t thread;
    _Atomic bool stop;
    _Atomic uint32_t calm; /* no more faults */
    struct mr_random random;
    uint32_t kill_one_in, refuse_one_in, move_one_in, hold_one_in; /* 0: never */
    uint32_t lose_one_in;                                          /* of the deaths, until it does: less than FAKE_LOSS_MAX records of each log are gone */
    uint64_t kills, refusals, moves, duplicates, out_of_order, not_owner, lost;
    /* what a test asks for while it runs */
    _Atomic uint32_t verdict; /* enum mr_completion_error for all that is no duplicate; OUT_OF_ORDER: expects what never comes; 0: as it is */
    _Atomic uint32_t holds;   /* no acks */
    _Atomic uint32_t dies;    /* now, once */
    _Atomic uint32_t hangs;   /* it does nothing at all */
    _Atomic uint32_t loses;   /* so many records of each log with it */
    _Atomic uint64_t stored;  /* records, in all logs together, since the start */

    int head_fd;
    struct mr_head *head;
    struct fake_ring ring[FAKE_REACTORS];
    uint32_t maps_awaited;
    struct mr_message_producer_opened opened;
    uint32_t generation, handle_first;
    uint64_t *log[FAKE_PARTITIONS];  /* values */
    uint64_t *wire[FAKE_PARTITIONS]; /* the number each was stored under */
    uint64_t log_end[FAKE_PARTITIONS], expected[FAKE_PARTITIONS];
};

static struct mr_head_partition *fake_partition(struct fake_door *door, uint32_t partition)
{
    return (struct mr_head_partition *)(void *)((uint8_t *)door->head + MR_HEAD_PARTITIONS_POSITION) + partition;
}

static bool fake_chance(struct fake_door *door, uint32_t one_in)
{
    return one_in != 0 && mr_load_relaxed(&door->calm) == 0 && mr_random_below(&door->random, one_in) == 0;
}

static void fake_hang_up(struct fake_door *door)
{
    for (uint32_t r = 0; r < FAKE_REACTORS; r++) {
        if (door->ring[r].memory != NULL)
            munmap(door->ring[r].memory, door->ring[r].bytes);
        memset(&door->ring[r], 0, sizeof door->ring[r]);
    }
    if (door->socket >= 0) {
        close(door->socket);
        close(door->wake);
        close(door->doorbell);
    }
    door->socket = -1;
}

static void fake_send(struct fake_door *door, const void *message, const int *fds, uint32_t count)
{
    if (mr_session_send(door->socket, message, fds, count) != 0)
        fake_hang_up(door);
}

static void fake_offer_ring(struct fake_door *door, uint32_t reactor, uint32_t submission_bytes)
{
    struct fake_ring *ring = &door->ring[reactor];
    struct mr_message_ring message = {
        .ring = reactor, .reactor = reactor, .shape = {.completion_count = 8, .submission_bytes = submission_bytes}};
    mr_message_begin(&message.header, sizeof message, MR_MESSAGE_RING, 0);
    ring->bytes = mr_ring_bytes(message.shape);
    int fd = memfd_create("ring", MFD_CLOEXEC);
    fake_must(fd >= 0 && ftruncate(fd, (off_t)ring->bytes) == 0);
    ring->memory = mmap(NULL, ring->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    fake_must(ring->memory != MAP_FAILED);
    mr_ring_consumer_init(&ring->ring, ring->memory, message.shape);
    mr_store_relaxed(&ring->ring.daemon->cold, 1); /* the doorbell is rung and ignored */
    door->maps_awaited++;
    fake_send(door, &message, &fd, 1);
    close(fd);
}

static void fake_message(struct fake_door *door, const union mr_message *message, const uint8_t *bytes)
{
    switch (message->header.type) {
    case MR_MESSAGE_HELLO: {
        struct mr_message_welcome welcome = {
            .session_id = 1, .reactor_count = FAKE_REACTORS, .delivery_timeout_ms = 1000, .daemon_generation = ++door->generation};
        int fds[2] = {door->wake, door->doorbell};
        mr_message_begin(&welcome.header, sizeof welcome, MR_MESSAGE_WELCOME, message->header.request);
        fake_send(door, &welcome, fds, 2);
        break;
    }
    case MR_MESSAGE_OPEN_PRODUCER: {
        const struct mr_message_open_producer *open = (const struct mr_message_open_producer *)(const void *)bytes;
        door->handle_first = 1 + door->generation; /* another one each time */
        if (open->resume)
            fake_must(open->producer_id == 77 && open->token[5] == 55);
        door->opened = (struct mr_message_producer_opened){
            .handle_first = door->handle_first, .partition_count = FAKE_PARTITIONS, .message_bytes_max = 1 << 20, .producer_id = 77};
        door->opened.token[5] = 55;
        mr_message_begin(&door->opened.header, sizeof door->opened, MR_MESSAGE_PRODUCER_OPENED, message->header.request);
        for (uint32_t r = 0; r < FAKE_REACTORS && door->socket >= 0; r++)
            fake_offer_ring(door, r, open->submission_bytes);
        break;
    }
    case MR_MESSAGE_RING_MAPPED:
        if (--door->maps_awaited == 0)
            fake_send(door, &door->opened, &door->head_fd, 1);
        break;
    case MR_MESSAGE_CLOSE_PRODUCER: {
        struct mr_message_done done;
        mr_message_begin(&done.header, sizeof done, MR_MESSAGE_DONE, message->header.request);
        fake_send(door, &done, NULL, 0);
        break;
    }
    default:
        fake_must(!"a message that the fake door knows");
    }
}

static struct mr_completion fake_judge(struct fake_door *door, uint32_t reactor, const struct mr_ring_frame *frame)
{
    uint32_t handle = mr_frame_handle(frame->word), p = handle - door->handle_first;
    struct mr_completion answer = {
        .first_sequence = frame->sequence, .base_offset = -1, .count = 1, .handle = handle, .durability = MR_DURABILITY_LEADER};
    uint64_t value;

    fake_must(p < FAKE_PARTITIONS);
    const uint8_t *body = frame->body;
    if (mr_frame_kind(frame->word) == MR_FRAME_RECORD)
        body += sizeof(struct mr_frame_record);
    memcpy(&value, body, sizeof value);
    if (mr_load_relaxed(&fake_partition(door, p)->owner) >> 32 != reactor) {
        answer.error = MR_COMPLETION_NOT_OWNER;
        door->not_owner++;
        return answer;
    }
    uint32_t behind = (uint32_t)(door->expected[p] - frame->sequence) & INT32_MAX; /* as the log keeps it: modulo 2^31 */
    if (behind != 0 && behind < 1u << 30) {
        door->duplicates++;
        for (uint64_t i = door->log_end[p]; i > 0 && answer.base_offset < 0; i--)
            if (door->wire[p][i - 1] == (frame->sequence & INT32_MAX))
                answer.base_offset = (int64_t)(i - 1);
        fake_must(answer.base_offset >= 0 && door->log[p][answer.base_offset] == value); /* the same record under the same number */
        return answer;
    }
    uint32_t verdict = mr_load_relaxed(&door->verdict);
    if (verdict != 0) {
        answer.error = (int32_t)verdict;
        answer.expected_sequence = verdict == MR_COMPLETION_OUT_OF_ORDER ? (door->expected[p] + 1) & INT32_MAX : 0;
        return answer;
    }
    if (behind != 0) {
        door->out_of_order++;
        answer.error = MR_COMPLETION_OUT_OF_ORDER;
        answer.expected_sequence = door->expected[p] & INT32_MAX;
        return answer;
    }
    if (fake_chance(door, door->refuse_one_in)) {
        door->refusals++;
        answer.error = MR_COMPLETION_NO_SPACE;
        return answer;
    }
    fake_must(door->log_end[p] < FAKE_LOG_MAX);
    door->log[p][door->log_end[p]] = value;
    door->wire[p][door->log_end[p]] = frame->sequence & INT32_MAX;
    answer.base_offset = (int64_t)door->log_end[p]++;
    door->expected[p] = (frame->sequence + 1) & INT32_MAX;
    atomic_fetch_add(&door->stored, 1);
    return answer;
}

static void fake_serve_ring(struct fake_door *door, uint32_t reactor)
{
    struct fake_ring *ring = &door->ring[reactor];
    struct mr_ring_frame frame[16];
    bool told = false;

    while (ring->first != ring->next && !fake_chance(door, door->hold_one_in) && mr_load_relaxed(&door->holds) == 0) {
        struct fake_group *group = &ring->group[ring->first % FAKE_GROUPS];
        while (group->told < group->count && mr_ring_complete(&ring->ring, &group->completion[group->told])) {
            group->told++;
            told = true;
        }
        if (group->told < group->count)
            break;
        mr_ring_release(&ring->ring, group->position);
        ring->first++;
    }
    if (told) {
        uint64_t one = 1;
        mr_fence_seq_cst();
        if (mr_load_relaxed(&ring->ring.client->sleeping) != 0)
            fake_must(write(door->wake, &one, sizeof one) == sizeof one);
    }
    if (ring->next - ring->first == FAKE_GROUPS)
        return;
    int count = mr_ring_peek(&ring->ring, frame, 16);
    fake_must(count >= 0);
    if (count == 0)
        return;
    struct fake_group *group = &ring->group[ring->next++ % FAKE_GROUPS];
    *group = (struct fake_group){.position = frame[count - 1].end, .count = 0};
    for (int i = 0; i < count; i++) {
        struct mr_completion answer = fake_judge(door, reactor, &frame[i]);
        struct mr_completion *last = group->count > 0 ? &group->completion[group->count - 1] : NULL;
        if (last != NULL && last->error == 0 && answer.error == 0 && last->handle == answer.handle &&
            last->first_sequence + last->count == answer.first_sequence && last->base_offset + (int64_t)last->count == answer.base_offset)
            last->count++;
        else
            group->completion[group->count++] = answer;
    }
    mr_ring_consume(&ring->ring, &frame[count - 1]);
}

/* It dies; its log may lose its end. */
static void fake_die(struct fake_door *door, uint64_t loses)
{
    door->kills++;
    for (uint32_t p = 0; p < FAKE_PARTITIONS; p++) {
        uint64_t count = mr_min_u64(loses, door->log_end[p]);
        if (count == 0)
            continue;
        door->log_end[p] -= count;
        door->expected[p] = door->wire[p][door->log_end[p]];
        door->lost += count;
        door->lose_one_in = 0; /* once: the application's numbers of what is gone are exact the first time */
    }
    fake_hang_up(door);
}

static void *fake_main(void *context)
{
    struct fake_door *door = context;
    union mr_message message;
    int fds[MR_MESSAGE_FDS_MAX];
    uint32_t fd_count;

    while (!mr_load_relaxed(&door->stop)) {
        if (mr_load_relaxed(&door->hangs) != 0) {
            usleep(1000);
            continue;
        }
        struct pollfd wait = {.fd = door->socket >= 0 ? door->socket : door->listener, .events = POLLIN};
        bool busy = door->socket >= 0 && door->ring[0].memory != NULL && door->maps_awaited == 0;
        if (poll(&wait, 1, busy ? 0 : 1) > 0) {
            if (door->socket < 0) {
                door->socket = accept4(door->listener, NULL, NULL, SOCK_CLOEXEC);
                door->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
                door->doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
                door->maps_awaited = 0;
                continue;
            }
            int rc = mr_session_receive(door->socket, &message, sizeof message, fds, &fd_count);
            if (rc < 0)
                fake_hang_up(door);
            else
                fake_message(door, &message, message.bytes);
        }
        if (door->socket < 0 || door->ring[0].memory == NULL || door->maps_awaited > 0)
            continue;
        for (uint32_t r = 0; r < FAKE_REACTORS; r++)
            fake_serve_ring(door, r);
        if (fake_chance(door, door->move_one_in)) {
            door->moves++;
            mr_store_release(&fake_partition(door, (uint32_t)mr_random_below(&door->random, FAKE_PARTITIONS))->owner,
                             mr_random_below(&door->random, FAKE_REACTORS) << 32);
        }
        if (fake_chance(door, door->kill_one_in))
            fake_die(door, fake_chance(door, door->lose_one_in) ? mr_random_below(&door->random, FAKE_LOSS_MAX) : 0);
        else if (mr_load_acquire(&door->dies) != 0) {
            mr_store_relaxed(&door->dies, 0);
            fake_die(door, mr_load_relaxed(&door->loses));
        }
        sched_yield();
    }
    fake_hang_up(door);
    return NULL;
}

static void fake_door_start(struct fake_door *door, uint64_t seed)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    uint64_t head_bytes = mr_head_bytes(FAKE_PARTITIONS);

    memset(door, 0, sizeof *door);
    mr_random_init(&door->random, seed, 9);
    door->socket = -1;
    snprintf(door->path, sizeof door->path, "/tmp/millrace-fake-%d.sock", (int)getpid());
    unlink(door->path);
    strcpy(address.sun_path, door->path);
    door->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    fake_must(bind(door->listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(door->listener, 8) == 0);
    door->head_fd = memfd_create("head", MFD_CLOEXEC);
    fake_must(door->head_fd >= 0 && ftruncate(door->head_fd, (off_t)head_bytes) == 0);
    door->head = mmap(NULL, head_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, door->head_fd, 0);
    fake_must(door->head != MAP_FAILED);
    door->head->magic = MR_HEAD_MAGIC;
    door->head->version = MR_HEAD_VERSION;
    for (uint32_t p = 0; p < FAKE_PARTITIONS; p++) {
        mr_store_relaxed(&fake_partition(door, p)->owner, (uint64_t)(p % FAKE_REACTORS) << 32);
        door->log[p] = calloc(FAKE_LOG_MAX, sizeof(uint64_t));
        door->wire[p] = calloc(FAKE_LOG_MAX, sizeof(uint64_t));
        fake_must(door->log[p] != NULL && door->wire[p] != NULL);
    }
}

static void fake_door_run(struct fake_door *door)
{
    fake_must(pthread_create(&door->thread, NULL, fake_main, door) == 0);
}

static void fake_door_stop(struct fake_door *door)
{
    mr_store_relaxed(&door->stop, true);
    pthread_join(door->thread, NULL);
    close(door->listener);
    unlink(door->path);
    munmap(door->head, mr_head_bytes(FAKE_PARTITIONS));
    close(door->head_fd);
    for (uint32_t p = 0; p < FAKE_PARTITIONS; p++) {
        free(door->log[p]);
        free(door->wire[p]);
    }
}

#endif
