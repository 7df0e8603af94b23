/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration as in Kafka's server.properties, driven by one static table of keys: what a key is called, what it may be, what it is
 * when nobody says so, and where its value lands in the caller's struct. Precedence: default < file < --set; each value remembers
 * where it came from. A key the table does not know is an error with the nearest one that it does know; keys that Kafka has and we do
 * not need are accepted and collected for one warning; keys whose promise we cannot keep are refused with the reason.
 *
 * This part does no I/O: the caller reads the file and hands over its text. Cold, one thread, no allocation. */
#ifndef MR_BASE_CONFIG_H
#define MR_BASE_CONFIG_H

#include "shm/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MR_CONFIG_KEYS_MAX    64  /* keys in one table */
#define MR_CONFIG_TEXT_MAX    1024 /* a value as text, with its end */
#define MR_CONFIG_LIST_MAX    16  /* items in a list */
#define MR_CONFIG_ITEM_MAX    512 /* an item of a list, with its end */
#define MR_CONFIG_CPUS_MAX    64
#define MR_CONFIG_SUGGEST_MAX 3 /* an unknown name further than this many edits from all known ones gets no suggestion */

/* What a value may be, and the member of the caller's struct it fills. */
enum mr_config_type {
    MR_CONFIG_INT,    /* int64_t, min..max */
    MR_CONFIG_BYTES,  /* int64_t; 65536, 64k, 64KiB, 32MiB, 4g (all powers of 1024) */
    MR_CONFIG_MS,     /* int64_t, milliseconds; 5, 5ms, 2s, 1m, 1h */
    MR_CONFIG_BOOL,   /* bool; true or false */
    MR_CONFIG_ENUM,   /* uint32_t: `first` + index of the word in `words` */
    MR_CONFIG_STRING, /* char[capacity_bytes] */
    MR_CONFIG_LIST,   /* struct mr_config_list; comma separated, blanks trimmed */
    MR_CONFIG_CPUS,   /* struct mr_config_cpus; a count (3), or a cpu list (0,2 or 4-7; a single cpu is 4-4) */
};

struct mr_config_list {
    uint32_t count;
    char item[MR_CONFIG_LIST_MAX][MR_CONFIG_ITEM_MAX];
};

/** A number of threads and, when a list was given, where each is pinned. count 0: `auto`, decided at start. */
struct mr_config_cpus {
    uint32_t count;
    bool pinned;
    uint16_t cpu[MR_CONFIG_CPUS_MAX]; /* the first `count` are valid when pinned */
};

struct mr_config_key {
    const char *name;       /* in the node's file */
    const char *topic_name; /* the same thing as a topic config, NULL: not a topic config */
    enum mr_config_type type;
    bool automatic;          /* the word `auto` is allowed and stored as 0 */
    bool power_of_two;       /* INT and BYTES only */
    const char *initial;     /* the default, as text */
    int64_t min, max;        /* INT, BYTES, MS; max 0: no upper bound. LIST: min items */
    int64_t multiple;        /* INT and BYTES: 0, or what the value is a multiple of */
    int64_t none;            /* a value outside min..max that means "no limit" (-1 in Kafka); 0: there is no such value */
    const char *const *words; /* ENUM: NULL-terminated. STRING: the words allowed beside a path (see `path`), NULL: anything */
    bool path;               /* STRING with words: an absolute path is allowed too */
    uint32_t first;          /* ENUM: what the first word means */
    size_t offset;           /* of the member */
    size_t capacity_bytes;   /* STRING: of the member */
    const char *doc;         /* one line */
};

/** A key, or with a last '*' a family of keys, that is known and refused unless its value is one of `accepted`. */
struct mr_config_refusal {
    const char *name;
    const char *value;           /* NULL: any value but the accepted ones is refused; else only this value of a key that is known */
    const char *const *accepted; /* NULL-terminated, or NULL */
    const char *reason;          /* what is missing, and what to do instead */
};

struct mr_config_table {
    const struct mr_config_key *keys;
    uint32_t key_count;
    const struct mr_config_refusal *refusals;
    uint32_t refusal_count;
    const char *const *ignored; /* Kafka's keys that we do not need; a last '*' makes a family */
    uint32_t ignored_count;
};

enum mr_config_origin_kind { MR_CONFIG_FROM_DEFAULT, MR_CONFIG_FROM_EMBEDDED, MR_CONFIG_FROM_FILE, MR_CONFIG_FROM_SET };

struct mr_config_value {
    char text[MR_CONFIG_TEXT_MAX];
    enum mr_config_origin_kind from;
    uint32_t line; /* FROM_FILE: starts at 1 */
};

/** The values of one table on their way into a struct. Large (64 KiB): keep it static or allocated. */
struct mr_config {
    const struct mr_config_table *table;
    void *target;                                     /* the caller's struct; the keys' offsets are relative to it */
    char file[MR_CONFIG_ITEM_MAX];                    /* as the user wrote it; "" without a file */
    struct mr_config_value value[MR_CONFIG_KEYS_MAX]; /* by index in the table */
    char ignored[MR_CONFIG_TEXT_MAX];                 /* names of keys that were accepted and do nothing, ", " between */
    uint32_t ignored_count;
};

/**
 * Start with every default. @param target filled now and on each set; must outlive `config`.
 * A default that its own key refuses is a bug of the table and asserts.
 */
void mr_config_init(struct mr_config *config, const struct mr_config_table *table, void *target);

/** Replace a default for a node that runs without a file. Same errors as mr_config_set(). */
int mr_config_set_embedded(struct mr_config *config, const char *name, const char *text, struct millrace_error *err) MR_MUST_USE;

/**
 * Take `key=value` lines: comments begin with # or !, blanks around key and value do not count, `:` separates as well as `=`.
 * @param text terminated  @param file_name for messages and origins
 * @return 0; -EINVAL: the message names file, line, key, value, what is allowed and the nearest known key. A key given twice is an error.
 */
int mr_config_load_text(struct mr_config *config, const char *text, const char *file_name, struct millrace_error *err) MR_MUST_USE;

/** Take one "key=value" of the command line, which wins over the file. @return as mr_config_load_text(). */
int mr_config_set(struct mr_config *config, const char *assignment, struct millrace_error *err) MR_MUST_USE;

/**
 * Check one topic config and store it. @param topic_target the struct that begins where `target_offset` of the node's struct does
 * @return 0; -EINVAL with a message that names topic key, value, what is allowed and the nearest topic key.
 */
int mr_config_set_topic(const struct mr_config_table *table, void *topic_target, size_t target_offset, const char *name, const char *text,
                        struct millrace_error *err) MR_MUST_USE;

/** "default", "default without --config", "millrace.properties:14" or "--set". @return out. */
const char *mr_config_origin(const struct mr_config *config, uint32_t key_index, char *out, size_t out_bytes);

/** What a key allows, in words: "busy, adaptive or sleep", "1 to 64, or a cpu list such as 0,2 or 4-7". @return out. */
const char *mr_config_allowed(const struct mr_config_key *key, char *out, size_t out_bytes);

/** The candidate with the fewest edits from `name`, or NULL when all are further than MR_CONFIG_SUGGEST_MAX (a third of short names). */
const char *mr_config_nearest(const char *name, const char *const *candidates, uint32_t count);

/**
 * Parse one value as its key says. @param member where it goes, laid out as the key's type says
 * @return 0; -EINVAL: it is not allowed (mr_config_allowed() says what is); `member` is as it was.
 */
int mr_config_parse(const struct mr_config_key *key, const char *text, void *member) MR_MUST_USE;

#endif
