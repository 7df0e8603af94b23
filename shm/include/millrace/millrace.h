/* SPDX-License-Identifier: Apache-2.0 */
/* libmillrace: publish and consume event streams through the memory of a local broker.
 *
 *   struct millrace_client *client;
 *   struct millrace_error err;
 *   if (millrace_attach(&client, NULL, NULL, &err) != 0)
 *       fail(err.text);
 *
 * then <millrace/producer.h> or <millrace/consumer.h>. One client per thread: a client, its producers and its consumers are used by the
 * thread that attached. There is no hidden thread and, once open, no allocation and no system call per record. */
#ifndef MILLRACE_MILLRACE_H
#define MILLRACE_MILLRACE_H

#include <stddef.h>
#include <stdint.h>

#include <millrace/consumer.h>
#include <millrace/error.h>
#include <millrace/producer.h>

#ifdef __cplusplus
extern "C" {
#endif

/** How a call that has to wait does so (also MILLRACE_IDLE=busy|adaptive|sleep in the environment). */
enum millrace_idle {
    MILLRACE_IDLE_ADAPTIVE = 0, /* spin, yield, then sleep */
    MILLRACE_IDLE_BUSY = 1,     /* spin: no system call */
    MILLRACE_IDLE_SLEEP = 2,    /* sleep at once */
};

struct millrace_client_options {
    size_t size_bytes;
    enum millrace_idle idle;
    int attach_timeout_ms;   /* 0: one try; how long millrace_attach() waits for the broker to appear; one that is there and hangs: 30 s */
    /**
     * 30000: how long the broker may be away before calls give -ENOTCONN; -1: for ever. The library attaches again within the calls of producers
     * and consumers: it looks for the broker every 2 ms and does not wait for its greeting, so one that is stopped or still starts holds nobody.
     * Then what was open is opened again, in one call: some 100 us for each producer, consumer and partition read, and 5 s at most in all, with a
     * broker that greets and then hangs.
     */
    int reattach_timeout_ms;
    const char *name;        /* of the program, for the broker's log; NULL: its own name */
};

void millrace_client_options_init(struct millrace_client_options *options);

/**
 * Attach to the broker on this host. Blocks.
 * @param socket_path NULL: MILLRACE_SOCKET, or the first that exists of $XDG_RUNTIME_DIR/millrace/0.sock and /run/millrace/0.sock
 * @param options     NULL: defaults
 * @return 0; -ENOENT or -ECONNREFUSED (no broker: the message names the paths and `millrace up`); -EPROTO (versions); -EACCES; -ENOMEM
 */
int millrace_attach(struct millrace_client **client, const char *socket_path, const struct millrace_client_options *options,
                    struct millrace_error *err);

/** Closes its producers and consumers. Accepts NULL. */
void millrace_detach(struct millrace_client *client);

/**
 * Create a topic. Blocks until it can be used.
 * @param partitions 0: the broker's num.partitions
 * @param config     lines "key=value", or NULL
 * @return 0; -EEXIST; -EINVAL; -ENOSPC; -EAGAIN: the broker's control process was away for ten seconds; -ENOTCONN, -ETIMEDOUT: nobody knows, look
 */
int millrace_topic_create(struct millrace_client *client, const char *topic, uint32_t partitions, const char *config, struct millrace_error *err);

/**
 * Change a topic's configuration, while it is in use. Blocks until it holds.
 * @param config lines "key=value"; a line with a key alone: the topic has none of its own any more, and the broker's value holds
 * @return 0; -ENOENT; -EINVAL; else as millrace_topic_create()
 */
int millrace_topic_alter(struct millrace_client *client, const char *topic, const char *config, struct millrace_error *err);

/**
 * Give a topic more partitions. Blocks until they can be used. Producers and consumers see them when they are opened anew.
 * @param partitions how many it shall have in all. @return 0; -ENOENT; -EINVAL: not more than it has; else as millrace_topic_create()
 */
int millrace_topic_add_partitions(struct millrace_client *client, const char *topic, uint32_t partitions, struct millrace_error *err);

/**
 * Delete a topic and all its records. Blocks until nobody can reach them: consumers get -ENOENT, so do acks of its producers.
 * @return 0; -ENOENT; else as millrace_topic_create()
 */
int millrace_topic_delete(struct millrace_client *client, const char *topic, struct millrace_error *err);

/**
 * List topics: a JSON array of {"name", "partitions", "durability", ...}.
 * @param json set to a terminated string, owned by the caller: free()
 */
int millrace_topic_list(struct millrace_client *client, char **json, struct millrace_error *err);

/**
 * One topic: a JSON object as of the list, with "log": an array of {"partition", "state", "log.start", "committed", "durable", "log.end", ...}.
 * @param json set to a terminated string, owned by the caller: free(). @return 0; -ENOENT
 */
int millrace_topic_describe(struct millrace_client *client, const char *topic, char **json, struct millrace_error *err);

/**
 * Delete the oldest records of a partition. Blocks until it is durable; the space comes free by whole segments.
 * @param before_offset records below go; UINT64_MAX: all that are committed
 * @return 0; -ENOENT; -EINVAL: no such partition; -ERANGE: beyond the end; -EIO: it is offline
 */
int millrace_topic_trim(struct millrace_client *client, const char *topic, uint32_t partition, uint64_t before_offset, struct millrace_error *err);

/** "0.1.0" */
const char *millrace_version(void);

#ifdef __cplusplus
}
#endif
#endif
