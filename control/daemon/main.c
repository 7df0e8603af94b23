/* SPDX-License-Identifier: Apache-2.0 */
/* millrace-control: the control plane of one node (daemon.h), as a process. */
#include "control/daemon/daemon.h"
#include "dataplane/config/daemon.h"
#include "shm/base/logging.h"

int main(int argc, char **argv)
{
    static const struct mr_daemon daemon = {
        .name = "millrace-control", .version = MR_VERSION,
        .about = "The control plane of a Millrace node: decides about topics, in a store beside the log. Takes what millraced of the same\n"
                 "node was started with; `millrace up` starts both and keeps them running."};
    static struct mr_node_config config;
    static struct mr_config origin;
    struct mr_control *control = NULL;
    struct millrace_error err = {0};
    bool has_file;

    int status = mr_daemon_begin(&daemon, argc, argv, &config, &origin, &has_file);
    if (status != MR_DAEMON_GO_ON)
        return status;
    int signal_fd = mr_daemon_signals(&err);
    int rc = signal_fd < 0 ? signal_fd : mr_control_new(&control, &config, &err);
    while (rc == 0)
        rc = mr_control_round(control, signal_fd, &err);
    if (rc < 0)
        mr_say_error("%s", err.text);
    mr_control_free(control);
    return rc < 0;
}
