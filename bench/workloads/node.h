/* SPDX-License-Identifier: Apache-2.0 */
/* The node under test: its socket, its process, a topic in it. */
#ifndef MR_BENCH_WORKLOADS_NODE_H
#define MR_BENCH_WORKLOADS_NODE_H

#include "bench/measure/measure.h"
#include "millrace/millrace.h"

struct mr_bench_node {
    const char *socket_path; /* NULL: the default */
    enum millrace_idle idle;
    int pid;                 /* of the daemon; 0: not known */
    bool may_pause;          /* stop the daemon while a limit is measured on its core */
};

/** Find the daemon's process at the other end of the socket. @return 0, or attach's error with its message. */
int mr_bench_node_open(struct mr_bench_node *node, struct millrace_error *err) MR_MUST_USE;

/** Attach with the node's idle strategy. */
int mr_bench_attach(const struct mr_bench_node *node, struct millrace_client **client, struct millrace_error *err) MR_MUST_USE;

/** Make a topic; one that is there already is taken as it is. @param config lines key=value, or NULL */
int mr_bench_topic(struct millrace_client *client, const char *topic, uint32_t partitions, const char *durability,
                   struct millrace_error *err) MR_MUST_USE;

/** Stop the daemon and let it go on, when that is allowed: a daemon that spins would share its core with the limit. */
void mr_bench_node_pause(const struct mr_bench_node *node);
void mr_bench_node_resume(const struct mr_bench_node *node);

/** What the daemon holds of memory files, bytes; 0 when that cannot be read. */
uint64_t mr_bench_node_memory(const struct mr_bench_node *node);

/** Wait until the daemon's disk has taken what it was given, so that one run does not pay for the one before. At most 10 s. */
void mr_bench_node_settle(const struct mr_bench_node *node);

#endif
