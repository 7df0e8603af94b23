/* SPDX-License-Identifier: Apache-2.0 */
/* What readers get: descriptors of live extents, pushed as they come into being, and of segment files when asked. All read-only. */
#include "dataplane/door/door_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/base/logging.h"

void door_subscribe(struct mr_session *session, const struct mr_message_subscribe *message)
{
    struct mr_door *door = session->door;
    if (message->consumer >= MR_SESSION_CONSUMERS_MAX || !session->consumers[message->consumer].open ||
        message->partition >= session->consumers[message->consumer].partition_count) {
        door_session_poison(session, MR_POISON_MESSAGE);
        return;
    }
    struct mr_session_consumer *consumer = &session->consumers[message->consumer];
    struct mr_topic_partition *partition = consumer->topic->partitions[message->partition];
    int rc = consumer->pins_sealed ? 0 : door_memfd_seal(consumer->pins_fd, consumer->pins, consumer->pins_bytes);
    if (rc != 0) {
        mr_say_warn("cannot seal the pins of session %llu: %s", (unsigned long long)session->id, strerror(-rc));
        door_session_close(session, "its memory could not be sealed");
        return;
    }
    consumer->pins_sealed = true;
    if (consumer->subscribers[message->partition] == NULL) {
        struct mr_subscriber *subscriber = calloc(1, sizeof *subscriber);
        if (subscriber == NULL) {
            door_send_error(session, message->header.request, ENOMEM, "the broker has no memory for another reader");
            return;
        }
        subscriber->partition = partition;
        subscriber->pins = consumer->pins + message->partition * MR_PINS_PER_PARTITION;
        subscriber->session = session;
        subscriber->consumer = message->consumer;
        subscriber->door_next = partition->readers;
        subscriber->door_link = &partition->readers;
        if (partition->readers != NULL)
            partition->readers->door_link = &subscriber->door_next;
        partition->readers = subscriber;
        consumer->subscribers[message->partition] = subscriber;
        struct mr_reactor_message add = {.kind = MR_REACTOR_SUBSCRIBE, .subscriber = subscriber};
        door_to_reactor(door, partition->reactor, &add);
    }
    door_push_all(consumer->subscribers[message->partition]);
    struct mr_message_subscribed reply = {
        .header = {.bytes = sizeof reply, .type = MR_MESSAGE_SUBSCRIBED, .abi_version = MR_ABI_VERSION, .request = message->header.request},
        .log_start = mr_load_relaxed(&partition->head->log_start), .visible = mr_load_acquire(&partition->head->visible)};
    if (session->state != MR_SESSION_CLOSING)
        door_send(session, &reply, NULL, 0);
}

static void unlist(struct mr_subscriber *subscriber)
{
    if (subscriber->door_link == NULL)
        return; /* of a session that lingers */
    *subscriber->door_link = subscriber->door_next;
    if (subscriber->door_next != NULL)
        subscriber->door_next->door_link = subscriber->door_link;
    subscriber->door_link = NULL;
}

/* Nothing is pushed to it any more. */
void door_unlist_all(struct mr_session_consumer *consumer)
{
    for (uint32_t p = 0; p < consumer->partition_count; p++)
        if (consumer->subscribers[p] != NULL)
            unlist(consumer->subscribers[p]);
}

/* @return replies to wait for */
uint32_t door_unsubscribe_all(struct mr_session *session, struct mr_session_consumer *consumer)
{
    uint32_t count = 0;
    door_forget_missed(session, (uint32_t)(consumer - session->consumers));
    for (uint32_t p = 0; p < consumer->partition_count; p++) {
        struct mr_subscriber *subscriber = consumer->subscribers[p];
        if (subscriber == NULL)
            continue;
        consumer->subscribers[p] = NULL;
        unlist(subscriber);
        struct mr_reactor_message message = {.kind = MR_REACTOR_UNSUBSCRIBE, .subscriber = subscriber};
        door_to_reactor(session->door, subscriber->partition->reactor, &message);
        count++;
    }
    return count;
}

void door_unsubscribed(struct mr_subscriber *subscriber)
{
    struct mr_session *session = subscriber->session;
    free(subscriber);
    session->replies_awaited--;
    door_session_settle(session);
}

/* It comes before the reactor's answer to UNSUBSCRIBE, with which the subscriber goes. */
void door_held(struct mr_subscriber *subscriber)
{
    struct mr_session *session = subscriber->session;
    char text[500];
    snprintf(text, sizeof text, "its consumer of '%s' has not polled for a while, and what it still looks at of partition %u is memory that others need "
             "(poll more often, take copies by millrace_consumer_copy(), or raise millrace.memory.bytes)",
             subscriber->partition->topic->name, subscriber->partition->index);
    if (session->lingers)
        mr_say_info("session %llu of pid %d is over, and its pins are let go of: %s", (unsigned long long)session->id, (int)session->pid, text);
    door_session_close(session, text);
    door_session_forget(session);
}

/* The steward made an extent's file, or took one away. */
void door_extent_notice(struct mr_door *door, const struct mr_steward_notice *notice)
{
    struct mr_topic_partition *partition = notice->partition;
    (void)door;
    if (notice->kind == MR_STEWARD_EXTENT_MADE) {
        struct mr_extent_file *file = calloc(1, sizeof *file);
        if (file == NULL) {
            close(notice->read_fd); /* readers do without it (mr_reader_without_map of the library) */
            return;
        }
        file->file_id = notice->file_id;
        file->read_fd = notice->read_fd;
        file->bytes = notice->bytes;
        file->next = partition->files;
        partition->files = file;
        for (struct mr_subscriber *reader = partition->readers, *next; reader != NULL; reader = next) {
            next = reader->door_next; /* a send that fails closes the session and unlists it */
            door_push_extent(reader, file);
        }
        return;
    }
    for (struct mr_extent_file **at = &partition->files; *at != NULL; at = &(*at)->next) {
        struct mr_extent_file *file = *at;
        if (file->file_id != notice->file_id)
            continue;
        *at = file->next;
        close(file->read_fd);
        free(file);
        break;
    }
    for (struct mr_subscriber *reader = partition->readers, *next; reader != NULL; reader = next) {
        next = reader->door_next;
        door_push_gone(reader, notice->file_id);
    }
}

/* Of a consumer of the session. @return NULL: answered already, or poisoned */
static struct mr_topic_partition *partition_of(struct mr_session *session, uint32_t consumer, uint32_t partition, uint64_t request)
{
    if (consumer >= MR_SESSION_CONSUMERS_MAX || !session->consumers[consumer].open || partition >= session->consumers[consumer].partition_count) {
        door_session_poison(session, MR_POISON_MESSAGE);
        return NULL;
    }
    struct mr_topic_partition *found = session->consumers[consumer].topic->partitions[partition];
    if (found->topic->deleted) {
        door_send_error(session, request, ENOENT, "the topic was deleted");
        return NULL;
    }
    return found;
}

static void find(struct mr_session *session, uint64_t request, struct mr_reactor_message *message)
{
    message->context = session;
    session->request = request;
    session->request_kind = MR_REQUEST_SEGMENT;
    door_to_reactor(session->door, message->partition->reactor, message);
}

void door_find_segment(struct mr_session *session, const struct mr_message_segment *message)
{
    struct mr_topic_partition *partition = partition_of(session, message->consumer, message->partition, message->header.request);
    struct mr_reactor_message asked = {.kind = MR_REACTOR_FIND_SEGMENT, .partition = partition, .offset = message->offset};
    if (partition != NULL)
        find(session, message->header.request, &asked);
}

void door_find_time(struct mr_session *session, const struct mr_message_find_time *message)
{
    struct mr_topic_partition *partition = partition_of(session, message->consumer, message->partition, message->header.request);
    struct mr_reactor_message asked = {.kind = MR_REACTOR_FIND_TIME, .partition = partition, .offset = message->offset, .time_ms = message->time_ms};
    if (partition != NULL)
        find(session, message->header.request, &asked);
}

void door_time_found(struct mr_session *session, const struct mr_reactor_reply *reply)
{
    char directory[MR_STEWARD_PATH_MAX], path[MR_STEWARD_PATH_MAX + 40];

    session->request_kind = MR_REQUEST_NONE;
    if (session->state == MR_SESSION_CLOSING) {
        door_session_settle(session);
        return;
    }
    if (reply->result != 0) {
        door_send_error(session, session->request, reply->result, reply->result == -ENOENT ? "no record is of that time or later" : "the partition is offline, "
                        "or the offset is below the log's start");
        return;
    }
    mr_partition_path(session->door->options.config, reply->partition, directory);
    snprintf(path, sizeof path, "%s/%020llu.timeindex", directory, (unsigned long long)reply->segment.base_offset);
    int fd = open(path, O_RDONLY | O_CLOEXEC); /* none: it is not closed yet, or was not written whole by one start */
    struct mr_message_time_is message = {
        .header = {.bytes = sizeof message, .type = MR_MESSAGE_TIME_IS, .abi_version = MR_ABI_VERSION, .request = session->request},
        .base_offset = reply->segment.base_offset, .next_offset = reply->segment.next_offset,
        .hint_offset = reply->hint.max_offset, .hint_ms = reply->hint.max_timestamp_ms};
    door_send(session, &message, &fd, fd >= 0 ? 1 : 0);
    if (fd >= 0)
        close(fd);
}

static int open_reader(const char *path, bool *direct)
{
    int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    *direct = fd >= 0;
    if (fd < 0 && errno == EINVAL)
        fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

void door_segment_found(struct mr_session *session, const struct mr_reactor_reply *reply)
{
    char directory[MR_STEWARD_PATH_MAX], path[MR_STEWARD_PATH_MAX + 40];
    struct mr_topic_partition *partition = reply->partition;
    uint64_t request = session->request;
    uint64_t log_start = mr_load_relaxed(&partition->head->log_start);
    bool direct = false, side_direct = false;

    session->request_kind = MR_REQUEST_NONE;
    if (session->state == MR_SESSION_CLOSING) {
        door_session_settle(session);
        return;
    }
    if (reply->result != 0) {
        char text[200];
        snprintf(text, sizeof text, reply->result == -ERANGE ? "offset is below the log start %llu" : "offset is not in a segment file yet (log start %llu)",
                 (unsigned long long)log_start);
        door_send_error(session, request, reply->result, text);
        return;
    }
    mr_partition_path(session->door->options.config, partition, directory);
    snprintf(path, sizeof path, "%s/%020llu.log", directory, (unsigned long long)reply->segment.base_offset);
    int fds[2];
    fds[0] = open_reader(path, &direct);
    snprintf(path, sizeof path, "%s/%020llu.sidecar", directory, (unsigned long long)reply->segment.base_offset);
    fds[1] = fds[0] >= 0 ? open_reader(path, &side_direct) : -1;
    if (fds[0] < 0 || fds[1] < 0) {
        int rc = fds[0] < 0 ? fds[0] : fds[1];
        char text[MR_STEWARD_PATH_MAX + 120];
        if (fds[0] >= 0)
            close(fds[0]);
        snprintf(text, sizeof text, "the broker cannot open '%s': %s", path, strerror(-rc));
        door_send_error(session, request, rc, text);
        return;
    }
    struct mr_message_segment_is message = {
        .header = {.bytes = sizeof message, .type = MR_MESSAGE_SEGMENT_IS, .abi_version = MR_ABI_VERSION, .request = request},
        .base_offset = reply->segment.base_offset, .next_base_offset = reply->segment.next_offset, .log_start = log_start,
        .durable_position = reply->inplace_position, .durable_offset = reply->inplace_offset, .salt = reply->segment.salt, .direct = direct};
    door_send(session, &message, fds, 2);
    close(fds[0]);
    close(fds[1]);
}
