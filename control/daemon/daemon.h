/* SPDX-License-Identifier: Apache-2.0 */
/* The control plane of one node: it holds the store and decides what topics there are; the data plane carries it out and goes on without it.
 *
 *   connect to millraced -> its home directory -> open the store there -> read it -> table of desired state -> serve
 *   millraced is gone: connect again, with a new table; the store stays open
 *
 * What is decided is control/topics/; this connects and waits. One thread. */
#ifndef MR_CONTROL_DAEMON_H
#define MR_CONTROL_DAEMON_H

#include "dataplane/config/config.h"

struct mr_control;

/** @param config outlives it */
int mr_control_new(struct mr_control **control, const struct mr_node_config *config, struct millrace_error *err) MR_MUST_USE;
void mr_control_free(struct mr_control *control);

/**
 * Sleep until something happens, and take it.
 * @param stop_fd readable: it is time to stop
 * @return 0: call again; 1: stop_fd; -errno with a message: it cannot go on
 */
int mr_control_round(struct mr_control *control, int stop_fd, struct millrace_error *err) MR_MUST_USE;

/** The data plane has its table: what is asked is answered. */
bool mr_control_is_ready(const struct mr_control *control);

#endif
