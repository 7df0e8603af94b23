/* SPDX-License-Identifier: Apache-2.0 */
/* How the programs of a node begin: they are started with the same arguments, which lead to the same configuration, and end by a signal. */
#ifndef MR_DATAPLANE_CONFIG_DAEMON_H
#define MR_DATAPLANE_CONFIG_DAEMON_H

#include <stdbool.h>

#include "dataplane/config/config.h"

#define MR_DAEMON_GO_ON (-1)

struct mr_daemon {
    const char *name;  /* "millraced" */
    const char *about; /* for --help: a line or two */
    const char *version;
};

/**
 * Read the command line, begin to log, and load the configuration.
 * @param node,origin filled in. @param has_file set: there is a --config
 * @return MR_DAEMON_GO_ON, or the status to exit with: all was said
 */
int mr_daemon_begin(const struct mr_daemon *daemon, int argc, char **argv, struct mr_node_config *node, struct mr_config *origin, bool *has_file) MR_MUST_USE;

/** SIGINT and SIGTERM are read from a descriptor from now on, in this thread and those it starts; SIGPIPE is ignored. @return it; -errno with a message */
int mr_daemon_signals(struct millrace_error *err) MR_MUST_USE;

#endif
