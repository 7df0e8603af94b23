/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of this version: those that do something, those of Kafka's that are not needed, and those whose promise cannot be kept. */
#include "dataplane/config/config.h"

#include "shm/base/bits.h"

#include <assert.h>

#define NODE(member) .offset = offsetof(struct mr_node_config, member)
#define TEXT(member) NODE(member), .capacity_bytes = sizeof((struct mr_node_config *)0)->member
#define MIB          (1 << 20)

static const char *const durability_words[] = {"leader", "quorum", "disk", NULL};
static const char *const idle_words[] = {"adaptive", "busy", "sleep", NULL};
static const char *const hugepages_words[] = {"auto", "require", "off", NULL};
static const char *const disk_words[] = {"auto", "uring", "threads", NULL};
static const char *const level_words[] = {"error", "warn", "info", "debug", NULL};
static const char *const socket_mode_words[] = {"0600", "0660", "0666", NULL};

static const struct mr_config_key keys[] = {
    {.name = "broker.id", .type = MR_CONFIG_INT, .initial = "0", .max = 999999, NODE(broker_id),
     .doc = "the node's number in its cluster; names its socket and marks its data directories"},
    {.name = "log.dirs", .type = MR_CONFIG_LIST, .initial = "millrace-data", .min = 1, NODE(log_dirs),
     .doc = "where the log lies; several directories share the partitions"},
    {.name = "num.partitions", .type = MR_CONFIG_INT, .initial = "1", .min = 1, .max = 10000, NODE(partitions_default),
     .doc = "partitions of a topic that does not say how many"},
    {.name = "millrace.durability", .topic_name = "millrace.durability", .type = MR_CONFIG_ENUM, .initial = "disk", .words = durability_words,
     .first = MILLRACE_DURABILITY_LEADER, NODE(topic.durability), .doc = "when a record counts as committed: consumers see it and acks=all answers"},
    {.name = "log.segment.bytes", .topic_name = "segment.bytes", .type = MR_CONFIG_BYTES, .initial = "1GiB", .min = 1 * MIB, .max = INT32_MAX,
     NODE(topic.segment_bytes), .doc = "size of a segment file"},
    {.name = "log.retention.bytes", .topic_name = "retention.bytes", .type = MR_CONFIG_BYTES, .initial = "-1", .min = 1 * MIB, .none = -1,
     NODE(topic.retention_bytes), .doc = "a partition keeps at least this much, and drops whole old segments beyond it"},
    {.name = "log.retention.ms", .topic_name = "retention.ms", .type = MR_CONFIG_MS, .initial = "604800000", .min = 1, .max = INT64_MAX, .none = -1,
     NODE(topic.retention_ms), .doc = "records older than this are dropped: segments whose newest record is, looked for once a minute"},
    {.name = "message.max.bytes", .topic_name = "max.message.bytes", .type = MR_CONFIG_BYTES, .initial = "1048588", .min = 1024, .max = 64 * MIB,
     NODE(topic.message_bytes_max), .doc = "the largest record batch"},
    {.name = "flush.ms", .type = MR_CONFIG_MS, .initial = "5", .min = 1, .max = 60000, NODE(flush_ms),
     .doc = "how long a record of a `leader` topic may lie in memory only while the disk keeps up"},
    {.name = "millrace.reactors", .type = MR_CONFIG_CPUS, .automatic = true, .initial = "auto", NODE(reactors),
     .doc = "threads that own partitions; a cpu list pins them (auto: one per two cores)"},
    {.name = "millrace.idle", .type = MR_CONFIG_ENUM, .initial = "adaptive", .words = idle_words, .first = MILLRACE_IDLE_ADAPTIVE, NODE(idle),
     .doc = "what a reactor does when there is nothing to do"},
    {.name = "millrace.hugepages", .type = MR_CONFIG_STRING, .initial = "auto", .words = hugepages_words, .path = true, TEXT(hugepages),
     .doc = "where extents lie: auto falls back to ordinary pages and says what that costs"},
    {.name = "millrace.memory.bytes", .type = MR_CONFIG_BYTES, .automatic = true, .initial = "auto", .min = 64 * MIB, .max = INT64_MAX,
     NODE(memory_bytes), .doc = "ceiling of the hot tail, taken as needed (auto: a quarter of the free hugepages, or of RAM)"},
    {.name = "millrace.extent.bytes", .type = MR_CONFIG_BYTES, .initial = "32MiB", .min = 2 * MIB, .max = 1024 * MIB, .multiple = 2 * MIB,
     .power_of_two = true, NODE(extent_bytes), .doc = "a piece of the hot tail of one partition"},
    {.name = "millrace.journal.bytes", .type = MR_CONFIG_BYTES, .initial = "64MiB", .min = 4 * MIB, .max = 4096LL * MIB, .multiple = 4096,
     NODE(journal_bytes), .doc = "tail journal, for each reactor and log directory"},
    {.name = "millrace.disk", .type = MR_CONFIG_ENUM, .initial = "auto", .words = disk_words, NODE(disk),
     .doc = "how the disk is driven: io_uring, or a pool of threads where io_uring is refused"},
    {.name = "millrace.socket", .type = MR_CONFIG_STRING, .initial = "", TEXT(socket),
     .doc = "the shared-memory door (empty: $XDG_RUNTIME_DIR/millrace/<broker.id>.sock, else /run/millrace/<broker.id>.sock)"},
    {.name = "millrace.socket.mode", .type = MR_CONFIG_STRING, .initial = "0600", .words = socket_mode_words, TEXT(socket_mode),
     .doc = "who may connect to it"},
    {.name = "delivery.timeout.ms", .type = MR_CONFIG_MS, .initial = "120000", .min = 100, .max = 86400000, NODE(delivery_timeout_ms),
     .doc = "a record that cannot be acked for so long is failed, so that others move on"},
    {.name = "producer.id.expiration.ms", .type = MR_CONFIG_MS, .initial = "86400000", .min = 1000, .max = INT32_MAX, NODE(producer_expiration_ms),
     .doc = "a producer that is not attached is forgotten after so long; until then what it sends again is known"},
    {.name = "millrace.ring.bytes.max", .type = MR_CONFIG_BYTES, .initial = "64MiB", .min = 65536, .max = 1024 * MIB, .power_of_two = true,
     NODE(ring_bytes_max), .doc = "the largest submission ring a client may ask for"},
    {.name = "millrace.quota.sessions", .type = MR_CONFIG_INT, .initial = "16384", .min = 1, .max = 65536, NODE(quota_sessions),
     .doc = "sessions that one user may have attached at a time"},
    {.name = "millrace.quota.session.bytes", .type = MR_CONFIG_BYTES, .initial = "4GiB", .min = 1 * MIB, .max = INT64_MAX, NODE(quota_session_bytes),
     .doc = "memory that the sessions of one user may have in all: rings and pins"},
    {.name = "millrace.quota.attach.rate", .type = MR_CONFIG_INT, .initial = "5000", .min = 1, .max = 1000000, NODE(quota_attach_rate),
     .doc = "how often one user may attach within a second"},
    {.name = "millrace.logging.level", .type = MR_CONFIG_ENUM, .initial = "info", .words = level_words, NODE(logging_level),
     .doc = "what is logged to stderr"},
};
static_assert(MR_COUNT_OF(keys) <= MR_CONFIG_KEYS_MAX, "the engine's value array must hold every key");

static const char *const only_1[] = {"1", NULL};
static const char *const only_168[] = {"168", NULL}; /* as Kafka's sample file has it: what log.retention.ms is by default */
static const char *const only_10080[] = {"10080", NULL};
static const char *const only_delete[] = {"delete", NULL};
static const char *const only_producer[] = {"producer", NULL};
static const char *const only_create_time[] = {"CreateTime", NULL};
static const char *const only_false[] = {"false", NULL};
static const char *const only_true[] = {"true", NULL};
static const char *const only_plaintext[] = {"PLAINTEXT", NULL};

#define NO_KAFKA_DOOR "the Kafka door is not in this version; programs on this host attach through millrace.socket"
#define IN_MS         "give it in milliseconds: log.retention.ms"
#define ONE_NODE      "replication is not in this version; a node holds the only replica"

static const struct mr_config_refusal refusals[] = {
    {.name = "millrace.durability", .value = "quorum", .reason = ONE_NODE " (use leader, or disk)"},
    {.name = "log.dir", .reason = "name the directories in log.dirs"},
    {.name = "listeners", .reason = NO_KAFKA_DOOR},
    {.name = "advertised.listeners", .reason = NO_KAFKA_DOOR},
    {.name = "zookeeper.connect", .reason = "clusters are not in this version; leave it out to run one node on its embedded store"},
    {.name = "process.roles", .reason = "Millrace has no KRaft mode; leave it out"},
    {.name = "controller.quorum.voters", .reason = "Millrace has no KRaft mode; leave it out"},
    {.name = "node.id", .reason = "use broker.id"},
    {.name = "default.replication.factor", .accepted = only_1, .reason = ONE_NODE},
    {.name = "replication.factor", .accepted = only_1, .reason = ONE_NODE},
    {.name = "min.insync.replicas", .accepted = only_1, .reason = ONE_NODE},
    {.name = "log.retention.minutes", .accepted = only_10080, .reason = IN_MS},
    {.name = "log.retention.hours", .accepted = only_168, .reason = IN_MS},
    {.name = "log.cleanup.policy", .accepted = only_delete, .reason = "compaction is not in this version"},
    {.name = "cleanup.policy", .accepted = only_delete, .reason = "compaction is not in this version"},
    {.name = "compression.type", .accepted = only_producer, .reason = "records are kept as producers wrote them; nothing is compressed again"},
    {.name = "log.message.timestamp.type", .accepted = only_create_time, .reason = "append time is not in this version"},
    {.name = "message.timestamp.type", .accepted = only_create_time, .reason = "append time is not in this version"},
    {.name = "log.flush.interval.messages", .reason = "use millrace.durability=disk (every ack follows a flush), or flush.ms"},
    {.name = "log.flush.interval.ms", .reason = "use flush.ms"},
    {.name = "authorizer.class.name", .reason = "access lists are not in this version; only millrace.socket.mode says who may connect"},
    {.name = "security.inter.broker.protocol", .accepted = only_plaintext, .reason = "TLS and SASL are not in this version"},
    {.name = "ssl.*", .reason = "TLS is not in this version"},
    {.name = "sasl.*", .reason = "SASL is not in this version"},
    {.name = "delete.topic.enable", .accepted = only_true, .reason = "who may connect to millrace.socket may delete topics in this version; leave it out"},
    {.name = "remote.log.storage.system.enable", .accepted = only_false, .reason = "tiered storage is not in this version"},
    {.name = "millrace.net", .accepted = NULL, .reason = "links between nodes are not in this version; leave it out"},
    {.name = "millrace.net.*", .reason = "links between nodes are not in this version; leave it out"},
    {.name = "millrace.leader.grace.ms", .reason = "it concerns fail-over, and clusters are not in this version; leave it out"},
    {.name = "millrace.metrics.listen", .reason = "the metrics endpoint is not in this version; leave it out"},
};

static const char *const ignored[] = {
    "broker.rack", "num.network.threads", "num.io.threads", "background.threads", "queued.max.requests", "queued.max.request.bytes",
    "socket.send.buffer.bytes", "socket.receive.buffer.bytes", "socket.request.max.bytes", "num.recovery.threads.per.data.dir",
    "num.replica.fetchers", "replica.*", "offsets.*", "transaction.state.log.*", "transactional.id.*", "group.*", "zookeeper.session.timeout.ms",
    "zookeeper.connection.timeout.ms", "log.retention.check.interval.ms", "log.flush.*", "log.index.*", "log.segment.delete.delay.ms",
    "log.cleaner.*", "log.roll.*", "log.preallocate", "log.message.format.version", "log.message.timestamp.difference.max.ms",
    "inter.broker.*", "controlled.shutdown.*", "auto.create.topics.enable", "auto.leader.rebalance.enable", "leader.imbalance.*",
    "unclean.leader.election.enable", "broker.id.generation.enable", "confluent.*", "metric.reporters", "metrics.*", "connections.max.idle.ms",
    "num.partition.reassignment.*", "request.timeout.ms", "controller.*", "log.message.downconversion.enable",
};

const struct mr_config_table mr_node_config_table = {
    .keys = keys, .key_count = MR_COUNT_OF(keys),
    .refusals = refusals, .refusal_count = MR_COUNT_OF(refusals),
    .ignored = ignored, .ignored_count = MR_COUNT_OF(ignored),
};
