/* SPDX-License-Identifier: Apache-2.0 */
#include "control/daemon/daemon.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "control/daemon/link.h"
#include "control/topics/topics.h"
#include "drivers/coord/coord.h"
#include "shm/base/logging.h"
#include "shm/base/notify.h"
#include "shm/session/socket.h"

#define SOON_MS      10   /* between attempts to connect, at first */
#define LATER_MS     200
#define SOON_MAX     200u /* attempts */
#define BUSY_WAIT_MS 5000 /* what a process that was killed held is free within */

struct mr_control {
    const struct mr_node_config *config;
    char path[MR_SESSION_PATH_MAX];
    struct mr_link link;
    struct mr_coord *coord;
    struct mr_topics *topics;
    struct mr_uuid data_id;
    uint32_t attempts;
    uint64_t busy_since_ms; /* 0: nothing is */
    bool was_ready;
};

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int send_to_data_plane(void *context, const struct mr_message_header *message, int fd)
{
    struct mr_control *control = context;
    return mr_link_send(&control->link, message, fd);
}

/* Another process holds it: that is over soon if it was killed, else somebody should know. @return 0: wait; else rc */
static int busy(struct mr_control *control, int rc)
{
    if (control->busy_since_ms == 0)
        control->busy_since_ms = now_ms();
    return now_ms() - control->busy_since_ms < BUSY_WAIT_MS ? 0 : rc;
}

/* @return 0; -EBUSY or what else is in the way, with a message */
static int open_store(struct mr_control *control, const struct mr_control_welcome *welcome, struct millrace_error *err)
{
    char path[sizeof welcome->home + 32];
    struct mr_topics_options options = {.config = control->config, .data_id = welcome->data_id, .send = send_to_data_plane, .context = control};

    snprintf(path, sizeof path, "%s/coordination.db", welcome->home);
    int rc = mr_coord_embedded_open(&control->coord, path, err);
    if (rc != 0)
        return rc;
    options.coord = control->coord;
    control->data_id = welcome->data_id;
    return mr_topics_new(&control->topics, &options, err);
}

/* One attempt. @return 0: it is there, or is not yet; -errno with a message: it never will be */
static int connect_once(struct mr_control *control, struct millrace_error *err)
{
    struct mr_control_welcome welcome;
    char *list = NULL;

    control->attempts++;
    int rc = mr_link_open(&control->link, control->path, &welcome, &list, err);
    if (rc == -ENOENT || rc == -ECONNREFUSED || rc == -EAGAIN || rc == -ETIMEDOUT || rc == -EDQUOT)
        return 0;
    if (rc == -EBUSY)
        return busy(control, rc);
    if (rc == 0 && control->topics != NULL && !mr_uuid_equal(&control->data_id, &welcome.data_id))
        rc = mr_err(err, EINVAL, "millraced at '%s' is of another data directory now", control->path);
    if (rc == 0 && control->topics == NULL)
        rc = open_store(control, &welcome, err);
    if (rc == -EBUSY) {
        mr_link_close(&control->link);
        free(list);
        return busy(control, rc);
    }
    if (rc == 0)
        rc = mr_topics_linked(control->topics, list, err);
    free(list);
    control->attempts = 0;
    control->busy_since_ms = 0;
    control->was_ready = false;
    return rc;
}

static void hang_up(struct mr_control *control)
{
    mr_link_close(&control->link);
    mr_topics_unlinked(control->topics);
}

static int take_messages(struct mr_control *control, struct millrace_error *err)
{
    alignas(8) uint8_t message[MR_MESSAGE_BYTES_MAX];
    for (;;) {
        int rc = mr_link_receive(&control->link, message, sizeof message);
        if (rc == -EAGAIN)
            return 0;
        if (rc < 0) {
            hang_up(control);
            return 0;
        }
        rc = mr_topics_message(control->topics, (const struct mr_message_header *)(const void *)message, err);
        if (rc == 0)
            rc = mr_topics_step(control->topics, err);
        if (rc != 0)
            return rc;
    }
}

bool mr_control_is_ready(const struct mr_control *control)
{
    return control->topics != NULL && mr_topics_is_ready(control->topics);
}

int mr_control_round(struct mr_control *control, int stop_fd, struct millrace_error *err)
{
    bool linked = control->link.socket >= 0;
    struct pollfd fds[3] = {{.fd = stop_fd, .events = POLLIN},
                            {.fd = control->link.socket, .events = (short)(POLLIN | (mr_link_has_unsent(&control->link) ? POLLOUT : 0))},
                            {.fd = control->coord != NULL ? mr_coord_wait_fd(control->coord) : -1, .events = POLLIN}};

    if (poll(fds, 3, linked ? -1 : control->attempts < SOON_MAX ? SOON_MS : LATER_MS) < 0 && errno != EINTR)
        return mr_err(err, errno, "poll: %s", strerror(errno));
    if (fds[0].revents != 0)
        return 1;
    int rc = linked ? take_messages(control, err) : connect_once(control, err);
    if (rc == 0 && control->topics != NULL)
        rc = mr_topics_step(control->topics, err);
    if (rc == 0 && control->link.socket >= 0 && mr_link_send_unsent(&control->link) != 0)
        hang_up(control);
    if (rc == 0 && !control->was_ready && mr_control_is_ready(control)) {
        control->was_ready = true;
        mr_notify("READY=1"); /* for both: the data plane has its topics */
        mr_say_info("ready: %u topics, store: %s", mr_topics_count(control->topics), control->coord->name);
    }
    return rc;
}

int mr_control_new(struct mr_control **out, const struct mr_node_config *config, struct millrace_error *err)
{
    struct mr_control *control = calloc(1, sizeof *control);
    if (control == NULL)
        return mr_err(err, ENOMEM, "no memory");
    control->config = config;
    mr_link_init(&control->link);
    mr_session_listen_path(config->socket, (uint32_t)config->broker_id, control->path);
    *out = control;
    return 0;
}

void mr_control_free(struct mr_control *control)
{
    if (control == NULL)
        return;
    mr_link_close(&control->link);
    mr_topics_free(control->topics);
    mr_coord_release(control->coord);
    free(control);
}
