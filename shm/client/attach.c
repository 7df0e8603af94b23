/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/client/client_internal.h"

#include <linux/membarrier.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

MR_CLIENT_EXPORT const char *millrace_version(void)
{
    return MILLRACE_VERSION;
}

MR_CLIENT_EXPORT void millrace_client_options_init(struct millrace_client_options *options)
{
    *options = (struct millrace_client_options){
        .size_bytes = sizeof *options, .idle = MILLRACE_IDLE_ADAPTIVE, .attach_timeout_ms = 0, .reattach_timeout_ms = 30000};
}

/* Structs grow at their end: an older program's shorter one leaves the rest at its defaults. */
static int take_options(struct millrace_client_options *into, const struct millrace_client_options *given, struct millrace_error *err)
{
    const char *idle = getenv("MILLRACE_IDLE");

    millrace_client_options_init(into);
    if (given != NULL) {
        if (given->size_bytes < offsetof(struct millrace_client_options, name))
            return mr_err(err, EINVAL, "options.size_bytes is %zu: use millrace_client_options_init()", given->size_bytes);
        memcpy(into, given, given->size_bytes < sizeof *into ? given->size_bytes : sizeof *into);
        into->size_bytes = sizeof *into;
    }
    if (idle != NULL && idle[0] != 0) {
        if (strcmp(idle, "busy") == 0)
            into->idle = MILLRACE_IDLE_BUSY;
        else if (strcmp(idle, "adaptive") == 0)
            into->idle = MILLRACE_IDLE_ADAPTIVE;
        else if (strcmp(idle, "sleep") == 0)
            into->idle = MILLRACE_IDLE_SLEEP;
        else
            return mr_err(err, EINVAL, "MILLRACE_IDLE is '%s': busy, adaptive and sleep are allowed", idle);
    }
    return 0;
}

int mr_client_greet_begin(struct millrace_client *client, struct millrace_error *err)
{
    struct mr_message_hello hello = {.abi_version = MR_ABI_VERSION, .fences = !client->has_membarrier};

    client->socket = mr_session_connect(client->given_path, client->path, err);
    if (client->socket < 0)
        return client->socket;
    snprintf(hello.client, sizeof hello.client, "%s", client->name);
    int rc = mr_client_ask(client, &hello.header, sizeof hello, MR_MESSAGE_HELLO, err);
    if (rc != 0)
        mr_client_hang_up(client);
    return rc;
}

int mr_client_greet_end(struct millrace_client *client, uint64_t deadline_ns, struct millrace_error *err)
{
    union mr_message reply;
    int fds[MR_MESSAGE_FDS_MAX];
    uint32_t fd_count = 0;

    int rc = mr_client_answer(client, &reply, MR_MESSAGE_WELCOME, sizeof reply.welcome, fds, &fd_count, deadline_ns, err);
    if (rc == -EINPROGRESS)
        return rc;
    if (rc == 0 && (fd_count != 2 || reply.welcome.reactor_count == 0 || reply.welcome.reactor_count > 1024)) {
        mr_client_close_fds(fds, fd_count);
        rc = mr_err(err, EPROTO, "the broker at '%s' greets in a way that this library does not know", client->path);
    }
    if (rc != 0) {
        mr_client_hang_up(client);
        return rc;
    }
    client->wake = fds[0];
    client->doorbell = fds[1];
    client->ring_next = 0;
    client->reactor_count = reply.welcome.reactor_count;
    client->session_id = reply.welcome.session_id;
    client->daemon_generation = reply.welcome.daemon_generation;
    client->data_id = reply.welcome.data_id;
    client->delivery_timeout_ms = reply.welcome.delivery_timeout_ms;
    client->fences = reply.welcome.fences != 0 || !client->has_membarrier;
    return 0;
}

void mr_client_hang_up(struct millrace_client *client)
{
    int *fds[] = {&client->socket, &client->wake, &client->doorbell};

    client->greeting = false;
    for (uint32_t i = 0; i < MR_COUNT_OF(fds); i++) {
        if (*fds[i] >= 0)
            close(*fds[i]);
        *fds[i] = -1;
    }
}

MR_CLIENT_EXPORT int millrace_attach(struct millrace_client **result, const char *socket_path,
                                     const struct millrace_client_options *options, struct millrace_error *err)
{
    *result = NULL;
    if (err != NULL)
        *err = (struct millrace_error){0};
    struct millrace_client *client = calloc(1, sizeof *client);
    if (client == NULL)
        return mr_err(err, ENOMEM, "no memory for a client");
    client->socket = client->wake = client->doorbell = -1;
    int rc = take_options(&client->options, options, err);
    if (rc == 0 && socket_path != NULL && strlen(socket_path) >= sizeof client->given_path)
        rc = mr_err(err, ENAMETOOLONG, "the socket's path '%s' is longer than a Unix socket allows", socket_path);
    if (rc != 0)
        goto failed;
    if (socket_path != NULL)
        strcpy(client->given_path, socket_path);
    snprintf(client->name, sizeof client->name, "%s", client->options.name != NULL ? client->options.name : program_invocation_short_name);
    client->options.name = client->name;
    client->has_membarrier = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0;

    uint64_t start_ns = mr_client_now_ns();
    uint64_t until_ns = start_ns + (uint64_t)(client->options.attach_timeout_ms > 0 ? client->options.attach_timeout_ms : 0) * 1000000u;
    uint64_t hangs_ns = start_ns + MR_CLIENT_REQUEST_MS * (uint64_t)1000000;
    for (;;) {
        rc = mr_client_greet_begin(client, err);
        bool full = rc == -EAGAIN; /* of connections that wait: many others attach, too */
        if (rc == 0)
            rc = mr_client_greet_end(client, mr_client_now_ns() + MR_CLIENT_REQUEST_MS * (uint64_t)1000000, err);
        uint64_t now_ns = mr_client_now_ns();
        bool absent = rc == -ENOENT || rc == -ECONNREFUSED || rc == -ENOTCONN;
        if (!(absent && now_ns < until_ns) && !(full && now_ns < hangs_ns))
            break;
        nanosleep(&(struct timespec){.tv_nsec = MR_CLIENT_CHECK_NS}, NULL);
    }
    if (rc != 0)
        goto failed;
    if (err != NULL)
        *err = (struct millrace_error){0};
    *result = client;
    return 0;
failed:
    free(client);
    return rc;
}

MR_CLIENT_EXPORT void millrace_detach(struct millrace_client *client)
{
    if (client == NULL)
        return;
    while (client->producers != NULL)
        millrace_producer_close(client->producers);
    while (client->consumers != NULL)
        millrace_consumer_close(client->consumers);
    mr_client_hang_up(client);
    struct mr_client_ring *lists[] = {client->rings, client->dead_rings};
    for (uint32_t i = 0; i < MR_COUNT_OF(lists); i++)
        while (lists[i] != NULL) {
            struct mr_client_ring *ring = lists[i];
            lists[i] = ring->next;
            mr_client_free_ring(ring);
        }
    free(client);
}
