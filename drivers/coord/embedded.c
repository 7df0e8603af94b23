/* SPDX-License-Identifier: Apache-2.0 */
/* The store of a node that is alone, on SQLite: write-ahead log, one flush a change.
 *
 *   node(path, parent, data, version, children_version, sequence, created_xid, modified_xid, session)
 *   meta(xid, session): the last ones given; both only grow
 *
 * A request is answered while it is submitted: its reply and the watches that it fired wait in a queue for mr_coord_poll(). A watch is made with
 * all the memory that telling of it takes, so that a change that happened is never left unsaid. */
#include "drivers/coord/coord.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "shm/base/assert.h"
#include "shm/base/bits.h"

#define APPLICATION_ID 0x4d4c5243 /* "MLRC" */
#define FORMAT_VERSION 1
#define DIGITS         10

enum statement {
    FIND,
    COUNT_CHILDREN,
    INSERT,
    TOUCH_PARENT,
    UPDATE,
    REMOVE,
    CHILDREN,
    EPHEMERAL,
    SET_META,
    BEGIN,
    COMMIT,
    ROLLBACK,
    STATEMENTS,
};

static const char *const statement_text[STATEMENTS] = {
    [FIND] = "SELECT data, version, children_version, sequence, created_xid, modified_xid, session FROM node WHERE path = ?1",
    [COUNT_CHILDREN] = "SELECT count(*) FROM node WHERE parent = ?1",
    [INSERT] = "INSERT INTO node VALUES (?1, ?2, ?3, 0, 0, 0, ?4, ?4, ?5)",
    [TOUCH_PARENT] = "UPDATE node SET children_version = children_version + 1, sequence = sequence + ?2 WHERE path = ?1",
    [UPDATE] = "UPDATE node SET data = ?2, version = version + 1, modified_xid = ?3 WHERE path = ?1",
    [REMOVE] = "DELETE FROM node WHERE path = ?1",
    [CHILDREN] = "SELECT path FROM node WHERE parent = ?1 ORDER BY path",
    [EPHEMERAL] = "SELECT path FROM node WHERE session <> 0 LIMIT 1",
    [SET_META] = "UPDATE meta SET xid = ?1, session = ?2",
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
};

/* A reply that waits to be taken, or a watch that waits to fire. */
struct entry {
    struct entry *next;
    struct mr_coord_reply reply;
    bool of_children; /* a watch */
    char path[MR_COORD_PATH_MAX + 1];
    void *data; /* what the reply's pointers go to besides */
    char **names;
};

struct embedded {
    struct mr_coord coord;
    sqlite3 *db;
    sqlite3_stmt *statement[STATEMENTS];
    uint64_t xid, session;
    int event_fd;
    bool failed; /* I/O failed: what the disk holds is not known */
    struct entry *waiting, **waiting_end, *given, *watches;
};

struct row {
    struct mr_coord_stat stat;
    uint32_t sequence;
};

static int error_of(struct embedded *store, int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return 0;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_NOMEM:
        return -ENOMEM;
    default:
        store->failed = true;
        return -EIO;
    }
}

static sqlite3_stmt *fresh(struct embedded *store, enum statement which)
{
    sqlite3_stmt *statement = store->statement[which];

    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return statement;
}

/* Run one that gives no rows. */
static int run(struct embedded *store, sqlite3_stmt *statement)
{
    int rc = sqlite3_step(statement);

    sqlite3_reset(statement);
    return error_of(store, rc);
}

static void bind_path(sqlite3_stmt *statement, const char *path)
{
    sqlite3_bind_text(statement, 1, path, -1, SQLITE_STATIC);
}

static void parent_of(const char *path, char parent[MR_COORD_PATH_MAX + 1])
{
    size_t bytes = (size_t)(strrchr(path, '/') - path);

    memcpy(parent, path, bytes);
    parent[bytes] = '\0';
    if (bytes == 0)
        memcpy(parent, "/", 2);
}

static int count_children(struct embedded *store, const char *path, uint32_t *count)
{
    sqlite3_stmt *statement = fresh(store, COUNT_CHILDREN);

    bind_path(statement, path);
    int rc = sqlite3_step(statement);
    *count = rc == SQLITE_ROW ? (uint32_t)sqlite3_column_int(statement, 0) : 0;
    sqlite3_reset(statement);
    return error_of(store, rc);
}

/* @param data, data_bytes NULL: not wanted; else to free(), with a terminator behind it @return 0; -ENOENT; -EIO, -ENOMEM */
static int find(struct embedded *store, const char *path, struct row *row, void **data, size_t *data_bytes)
{
    sqlite3_stmt *statement = fresh(store, FIND);

    *row = (struct row){0};
    bind_path(statement, path);
    int rc = sqlite3_step(statement);
    int result = rc == SQLITE_DONE ? -ENOENT : error_of(store, rc);
    if (rc == SQLITE_ROW) {
        row->stat.version = sqlite3_column_int(statement, 1);
        row->stat.children_version = sqlite3_column_int(statement, 2);
        row->sequence = (uint32_t)sqlite3_column_int64(statement, 3);
        row->stat.created_xid = (uint64_t)sqlite3_column_int64(statement, 4);
        row->stat.modified_xid = (uint64_t)sqlite3_column_int64(statement, 5);
        row->stat.session = (uint64_t)sqlite3_column_int64(statement, 6);
        if (data != NULL) {
            const void *blob = sqlite3_column_blob(statement, 0);
            *data_bytes = (size_t)sqlite3_column_bytes(statement, 0);
            *data = calloc(1, *data_bytes + 1);
            if (*data == NULL)
                result = -ENOMEM;
            else if (*data_bytes > 0)
                memcpy(*data, blob, *data_bytes);
        }
    }
    sqlite3_reset(statement);
    return result;
}

static int touch_parent(struct embedded *store, const char *parent, bool took_number)
{
    sqlite3_stmt *statement = fresh(store, TOUCH_PARENT);

    bind_path(statement, parent);
    sqlite3_bind_int(statement, 2, took_number);
    return run(store, statement);
}

static int create(struct embedded *store, const struct mr_coord_change *change, char path[MR_COORD_PATH_MAX + 1])
{
    bool sequential = (change->flags & MR_COORD_SEQUENTIAL) != 0;
    char parent[MR_COORD_PATH_MAX + 1];
    struct row row;

    parent_of(path, parent);
    int rc = find(store, parent, &row, NULL, NULL);
    if (rc == 0 && row.stat.session != 0)
        rc = -ENOTSUP;
    if (rc != 0)
        return rc;
    size_t bytes = strlen(path);
    if (sequential) {
        if (bytes + DIGITS > MR_COORD_PATH_MAX)
            return -EINVAL;
        snprintf(path + bytes, DIGITS + 1, "%010u", row.sequence);
    }
    rc = find(store, path, &row, NULL, NULL);
    if (rc != -ENOENT)
        return rc == 0 ? -EEXIST : rc;
    sqlite3_stmt *statement = fresh(store, INSERT);
    bind_path(statement, path);
    sqlite3_bind_text(statement, 2, parent, -1, SQLITE_STATIC);
    sqlite3_bind_blob(statement, 3, change->data, (int)change->data_bytes, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 4, (sqlite3_int64)store->xid);
    sqlite3_bind_int64(statement, 5, (change->flags & MR_COORD_EPHEMERAL) != 0 ? (sqlite3_int64)store->session : 0);
    rc = run(store, statement);
    return rc != 0 ? rc : touch_parent(store, parent, sequential);
}

static int remove_node(struct embedded *store, const char *path)
{
    char parent[MR_COORD_PATH_MAX + 1];
    uint32_t children;

    int rc = count_children(store, path, &children);
    if (rc == 0 && children > 0)
        rc = -ENOTEMPTY;
    if (rc != 0)
        return rc;
    sqlite3_stmt *statement = fresh(store, REMOVE);
    bind_path(statement, path);
    rc = run(store, statement);
    parent_of(path, parent);
    return rc != 0 ? rc : touch_parent(store, parent, false);
}

static int change_node(struct embedded *store, const struct mr_coord_change *change, char path[MR_COORD_PATH_MAX + 1])
{
    struct row row;

    if (change->kind == MR_COORD_CREATE)
        return create(store, change, path);
    int rc = find(store, path, &row, NULL, NULL);
    if (rc == 0 && change->version != MR_COORD_ANY && change->version != row.stat.version)
        rc = -ESTALE;
    if (rc != 0 || change->kind == MR_COORD_CHECK)
        return rc;
    if (change->kind == MR_COORD_DELETE)
        return remove_node(store, path);
    sqlite3_stmt *statement = fresh(store, UPDATE);
    bind_path(statement, path);
    sqlite3_bind_blob(statement, 2, change->data, (int)change->data_bytes, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 3, (sqlite3_int64)store->xid);
    return run(store, statement);
}

static int save_meta(struct embedded *store)
{
    sqlite3_stmt *statement = fresh(store, SET_META);

    sqlite3_bind_int64(statement, 1, (sqlite3_int64)store->xid);
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)store->session);
    return run(store, statement);
}

static void give(struct embedded *store, struct entry *entry)
{
    uint64_t one = 1;

    entry->next = NULL;
    *store->waiting_end = entry;
    store->waiting_end = &entry->next;
    ssize_t ignored = write(store->event_fd, &one, sizeof one); /* full: it is readable anyway */
    (void)ignored;
}

static void fire(struct embedded *store, const char *path, bool of_children)
{
    for (struct entry **at = &store->watches; *at != NULL;) {
        struct entry *watch = *at;
        if (watch->of_children != of_children || strcmp(watch->path, path) != 0) {
            at = &watch->next;
            continue;
        }
        *at = watch->next;
        give(store, watch);
    }
}

/* What came of a change that is durable. */
static void fire_for(struct embedded *store, enum mr_coord_change_kind kind, const char *path)
{
    char parent[MR_COORD_PATH_MAX + 1];

    if (kind == MR_COORD_CHECK)
        return;
    fire(store, path, false);
    if (kind == MR_COORD_SET)
        return;
    parent_of(path, parent);
    fire(store, parent, true);
    if (kind == MR_COORD_DELETE)
        fire(store, path, true);
}

/* One transaction. @param paths of each change, with its digits when it was given some */
static int change_all(struct embedded *store, const struct mr_coord_request *request, char (*paths)[MR_COORD_PATH_MAX + 1], struct mr_coord_reply *reply)
{
    uint64_t xid_before = store->xid;

    int rc = run(store, fresh(store, BEGIN));
    if (rc != 0)
        return rc;
    store->xid++;
    for (uint32_t i = 0; i < request->change_count && rc == 0; i++) {
        reply->failed = i;
        snprintf(paths[i], sizeof paths[i], "%s", request->changes[i].path);
        rc = change_node(store, &request->changes[i], paths[i]);
    }
    const char *last = paths[request->change_count - 1];
    if (rc == 0 && request->changes[request->change_count - 1].kind != MR_COORD_DELETE) {
        struct row row;
        rc = find(store, last, &row, NULL, NULL);
        if (rc == 0)
            rc = count_children(store, last, &row.stat.children_count);
        reply->stat = row.stat;
    }
    if (rc == 0)
        rc = save_meta(store);
    if (rc == 0)
        rc = run(store, fresh(store, COMMIT));
    if (rc != 0) {
        if (!sqlite3_get_autocommit(store->db)) /* some errors have rolled back already */
            (void)run(store, fresh(store, ROLLBACK));
        store->xid = xid_before;
        reply->stat = (struct mr_coord_stat){0};
    }
    return rc;
}

static int submit_changes(struct embedded *store, const struct mr_coord_request *request, struct entry *entry)
{
    char(*paths)[MR_COORD_PATH_MAX + 1] = calloc(request->change_count, sizeof *paths);

    if (paths == NULL)
        return -ENOMEM;
    entry->reply.result = store->failed ? -EIO : change_all(store, request, paths, &entry->reply);
    uint32_t told = entry->reply.result == 0 ? request->change_count - 1 : entry->reply.failed;
    snprintf(entry->path, sizeof entry->path, "%s", paths[told][0] != '\0' ? paths[told] : request->changes[told].path);
    for (uint32_t i = 0; i < request->change_count && entry->reply.result == 0; i++)
        fire_for(store, request->changes[i].kind, paths[i]); /* C2: before the reply */
    free(paths);
    return 0;
}

static int collect_names(struct embedded *store, const char *path, struct entry *entry)
{
    size_t prefix = strcmp(path, "/") == 0 ? 1 : strlen(path) + 1;
    uint32_t count = entry->reply.stat.children_count, found = 0;
    int rc = SQLITE_DONE;

    entry->names = calloc(count + 1u, sizeof *entry->names);
    if (entry->names == NULL)
        return -ENOMEM;
    sqlite3_stmt *statement = fresh(store, CHILDREN);
    bind_path(statement, path);
    while (found < count && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
        entry->names[found] = strdup((const char *)sqlite3_column_text(statement, 0) + prefix);
        if (entry->names[found] == NULL)
            break;
        found++;
    }
    sqlite3_reset(statement);
    entry->reply.names = (const char *const *)entry->names;
    entry->reply.name_count = found;
    return found == count ? 0 : rc == SQLITE_ROW ? -ENOMEM : rc == SQLITE_DONE ? -EIO : error_of(store, rc);
}

static int submit_read(struct embedded *store, const struct mr_coord_request *request, struct entry *entry)
{
    struct entry *watch = NULL;
    struct row row = {0};

    if (request->watch) {
        watch = calloc(1, sizeof *watch);
        if (watch == NULL)
            return -ENOMEM;
        watch->of_children = request->kind == MR_COORD_CHILDREN;
        watch->reply = (struct mr_coord_reply){.tag = request->tag, .kind = MR_COORD_FIRED};
        snprintf(watch->path, sizeof watch->path, "%s", request->path);
        watch->reply.path = watch->path;
    }
    snprintf(entry->path, sizeof entry->path, "%s", request->path);
    int rc = store->failed ? -EIO : find(store, request->path, &row, request->kind == MR_COORD_GET ? &entry->data : NULL, &entry->reply.data_bytes);
    if (rc == 0)
        rc = count_children(store, request->path, &row.stat.children_count);
    entry->reply.stat = row.stat;
    entry->reply.data = entry->data;
    if (rc == 0 && request->kind == MR_COORD_CHILDREN)
        rc = collect_names(store, request->path, entry);
    entry->reply.result = rc;
    bool is_set = rc == 0 || (rc == -ENOENT && request->kind == MR_COORD_GET);
    if (watch != NULL && is_set) {
        watch->next = store->watches;
        store->watches = watch;
    } else {
        free(watch);
    }
    return 0;
}

static bool is_well_formed(const struct mr_coord_request *request)
{
    if (request->kind != MR_COORD_CHANGES)
        return mr_coord_path_is_valid(request->path);
    if (request->change_count == 0 || request->change_count > MR_COORD_CHANGES_MAX)
        return false;
    for (uint32_t i = 0; i < request->change_count; i++) {
        const struct mr_coord_change *change = &request->changes[i];
        bool moves_root = strcmp(change->path, "/") == 0 && (change->kind == MR_COORD_CREATE || change->kind == MR_COORD_DELETE);
        if (!mr_coord_path_is_valid(change->path) || moves_root || change->data_bytes > MR_COORD_DATA_MAX)
            return false;
    }
    return true;
}

static void free_entries(struct entry *entry)
{
    while (entry != NULL) {
        struct entry *next = entry->next;
        for (uint32_t i = 0; entry->names != NULL && entry->names[i] != NULL; i++)
            free(entry->names[i]);
        free(entry->names);
        free(entry->data);
        free(entry);
        entry = next;
    }
}

static int submit(struct mr_coord *coord, const struct mr_coord_request *request)
{
    struct embedded *store = (struct embedded *)coord;

    if (!is_well_formed(request))
        return -EINVAL;
    struct entry *entry = calloc(1, sizeof *entry);
    if (entry == NULL)
        return -ENOMEM;
    entry->reply.tag = request->tag;
    entry->reply.path = entry->path;
    int rc = request->kind == MR_COORD_CHANGES ? submit_changes(store, request, entry) : submit_read(store, request, entry);
    if (rc != 0)
        free_entries(entry);
    else
        give(store, entry);
    return rc;
}

static uint32_t poll_replies(struct mr_coord *coord, struct mr_coord_reply *replies, uint32_t max)
{
    struct embedded *store = (struct embedded *)coord;
    struct entry **given_end = &store->given;
    uint64_t ignored;
    uint32_t count = 0;

    free_entries(store->given);
    store->given = NULL;
    while (count < max && store->waiting != NULL) {
        struct entry *entry = store->waiting;
        store->waiting = entry->next;
        entry->next = NULL;
        replies[count++] = entry->reply;
        *given_end = entry;
        given_end = &entry->next;
    }
    if (store->waiting == NULL) {
        store->waiting_end = &store->waiting;
        ssize_t cleared = read(store->event_fd, &ignored, sizeof ignored);
        (void)cleared;
    }
    return count;
}

static int wait_fd(struct mr_coord *coord)
{
    return ((struct embedded *)coord)->event_fd;
}

static uint64_t session(const struct mr_coord *coord)
{
    return ((const struct embedded *)coord)->session;
}

/* Within a transaction. */
static int delete_ephemeral(struct embedded *store)
{
    char path[MR_COORD_PATH_MAX + 1];
    int rc = 0, step;

    do {
        sqlite3_stmt *statement = fresh(store, EPHEMERAL);
        step = sqlite3_step(statement);
        if (step == SQLITE_ROW)
            snprintf(path, sizeof path, "%s", (const char *)sqlite3_column_text(statement, 0));
        sqlite3_reset(statement);
        rc = step == SQLITE_ROW ? remove_node(store, path) : error_of(store, step);
    } while (rc == 0 && step == SQLITE_ROW);
    return rc;
}

/* The sessions of earlier processes end, and one begins (or ends with them, at the end). */
static int turn_sessions(struct embedded *store)
{
    int rc = run(store, fresh(store, BEGIN));

    store->xid++;
    if (rc == 0)
        rc = delete_ephemeral(store);
    if (rc == 0)
        rc = save_meta(store);
    return rc == 0 ? run(store, fresh(store, COMMIT)) : rc;
}

static void release(struct mr_coord *coord)
{
    struct embedded *store = (struct embedded *)coord;

    if (store->statement[STATEMENTS - 1] != NULL && !store->failed)
        (void)turn_sessions(store); /* if it fails, the next open does it */
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(store->statement[i]);
    sqlite3_close(store->db);
    if (store->event_fd >= 0)
        close(store->event_fd);
    free_entries(store->waiting);
    free_entries(store->given);
    free_entries(store->watches);
    free(store);
}

static const struct mr_coord_ops ops = {.submit = submit, .poll = poll_replies, .wait_fd = wait_fd, .session = session, .release = release};

static int64_t one_number(struct embedded *store, const char *sql)
{
    sqlite3_stmt *statement;
    int64_t value = -1;

    if (sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) != SQLITE_OK)
        return -1;
    if (sqlite3_step(statement) == SQLITE_ROW)
        value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return value;
}

static int execute(struct embedded *store, const char *sql)
{
    return sqlite3_exec(store->db, sql, NULL, NULL, NULL);
}

static int say(struct embedded *store, int rc, const char *path, struct millrace_error *err)
{
    int code = sqlite3_extended_errcode(store->db), why = sqlite3_system_errno(store->db);

    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return mr_err(err, EBUSY, "the store '%s' is in use by another millrace-control: stop that one, or give this node a data directory of its own", path);
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
        return mr_err(err, EBADMSG, "the store '%s' is damaged: put back a copy of it; millraced serves what it knows meanwhile", path);
    case SQLITE_FULL:
        return mr_err(err, ENOSPC, "the store '%s': the disk is full; make room there", path);
    case SQLITE_NOMEM:
        return mr_err(err, ENOMEM, "no memory for the store '%s'", path);
    default:
        return mr_err(err, why != 0 ? why : EIO, "the store '%s' cannot be used: %s%s%s (SQLite %d); is its directory there and yours?", path,
                      sqlite3_errstr(rc), why != 0 ? ": " : "", why != 0 ? strerror(why) : "", code);
    }
}

/* A new file has a name that is durable only when its directory says so. */
static int sync_directory_of(const char *path)
{
    char directory[PATH_MAX];

    snprintf(directory, sizeof directory, "%s", path);
    char *slash = strrchr(directory, '/');
    if (slash == NULL)
        snprintf(directory, sizeof directory, ".");
    else
        slash[slash == directory] = '\0';
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) != 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    return rc;
}

static const char schema[] = "BEGIN IMMEDIATE;"
                             "CREATE TABLE node(path TEXT PRIMARY KEY, parent TEXT, data BLOB, version INTEGER, children_version INTEGER, sequence INTEGER,"
                             " created_xid INTEGER, modified_xid INTEGER, session INTEGER) WITHOUT ROWID;"
                             "CREATE INDEX node_parent ON node(parent, path);"
                             "CREATE TABLE meta(xid INTEGER, session INTEGER);"
                             "INSERT INTO meta VALUES (0, 0);"
                             "INSERT INTO node VALUES ('/', '', x'', 0, 0, 0, 0, 0, 0);"
                             "PRAGMA application_id = 0x4d4c5243;"
                             "PRAGMA user_version = 1;"
                             "COMMIT";

static int open_store(struct embedded *store, const char *path, struct millrace_error *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600); /* SQLite would let others read it */
    if (fd < 0)
        return mr_err(err, errno, "the store '%s' cannot be opened: %s; its directory must be there, and yours", path, strerror(errno));
    close(fd);
    int rc = sqlite3_open_v2(path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
    if (store->db == NULL)
        return mr_err(err, ENOMEM, "no memory for the store '%s'", path);
    if (rc == SQLITE_OK) /* the lock is kept from the first access on; then the write-ahead log needs no shared index */
        rc = execute(store, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; BEGIN EXCLUSIVE; COMMIT");
    if (rc != SQLITE_OK)
        return say(store, rc, path, err);
    int64_t application = one_number(store, "PRAGMA application_id"), tables = one_number(store, "SELECT count(*) FROM sqlite_master");
    if (application == 0 && tables == 0) {
        rc = execute(store, schema);
        if (rc != SQLITE_OK)
            return say(store, rc, path, err);
        rc = sync_directory_of(path);
        if (rc != 0)
            return mr_err(err, -rc, "the directory of the store '%s' cannot be flushed: %s", path, strerror(-rc));
    } else if (application != APPLICATION_ID) {
        return mr_err(err, EBADMSG, "'%s' is not a store of Millrace: move it away, or name another data directory", path);
    } else if (one_number(store, "PRAGMA user_version") != FORMAT_VERSION) {
        return mr_err(err, EBADMSG, "the store '%s' is of another version of Millrace, this one reads %d: use that version", path, FORMAT_VERSION);
    } else if (one_number(store, "SELECT count(*) FROM pragma_quick_check(1) WHERE quick_check = 'ok'") != 1) {
        return say(store, SQLITE_CORRUPT, path, err);
    }
    store->xid = (uint64_t)one_number(store, "SELECT xid FROM meta");
    store->session = (uint64_t)one_number(store, "SELECT session FROM meta") + 1;
    for (int i = 0; i < STATEMENTS && rc == SQLITE_OK; i++)
        rc = sqlite3_prepare_v3(store->db, statement_text[i], -1, SQLITE_PREPARE_PERSISTENT, &store->statement[i], NULL);
    if (rc != SQLITE_OK)
        return say(store, rc, path, err);
    rc = turn_sessions(store);
    if (rc != 0)
        return mr_err(err, -rc, "the store '%s' cannot be written: %s", path, sqlite3_errmsg(store->db));
    return 0;
}

int mr_coord_embedded_open(struct mr_coord **coord, const char *path, struct millrace_error *err)
{
    struct embedded *store = calloc(1, sizeof *store);

    if (store == NULL)
        return mr_err(err, ENOMEM, "no memory for the store '%s'", path);
    store->coord = (struct mr_coord){.ops = &ops, .name = "embedded"};
    store->waiting_end = &store->waiting;
    store->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = store->event_fd < 0 ? mr_err(err, errno, "eventfd: %s; raise the limit of open files (ulimit -n)", strerror(errno)) : open_store(store, path, err);
    if (rc != 0) {
        release(&store->coord);
        return rc;
    }
    *coord = &store->coord;
    return 0;
}
