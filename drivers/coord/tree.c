/* SPDX-License-Identifier: Apache-2.0 */
/* The tree on SQLite: write-ahead log, one flush a change.
 *
 *   node(path, parent, data, version, children_version, sequence, created_xid, modified_xid, session)
 *   meta(xid, session): the last ones given; both only grow */
#include "drivers/coord/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define APPLICATION_ID 0x4d4c5243 /* "MLRC" */
#define FORMAT_VERSION 1
#define TEXT(number)   TEXT_(number)
#define TEXT_(number)  #number
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

struct mr_coord_tree {
    sqlite3 *db;
    sqlite3_stmt *statement[STATEMENTS];
    uint64_t xid, session;
    bool failed; /* I/O failed: what the disk holds is not known */
};

struct row {
    struct mr_coord_stat stat;
    uint32_t sequence;
};

static int error_of(struct mr_coord_tree *tree, int rc)
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
        tree->failed = true;
        return -EIO;
    }
}

static sqlite3_stmt *fresh(struct mr_coord_tree *tree, enum statement which)
{
    sqlite3_stmt *statement = tree->statement[which];

    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return statement;
}

/* Run one that gives no rows. */
static int run(struct mr_coord_tree *tree, sqlite3_stmt *statement)
{
    int rc = sqlite3_step(statement);

    sqlite3_reset(statement);
    return error_of(tree, rc);
}

static void bind_path(sqlite3_stmt *statement, const char *path)
{
    sqlite3_bind_text(statement, 1, path, -1, SQLITE_STATIC);
}

static int count_children(struct mr_coord_tree *tree, const char *path, uint32_t *count)
{
    sqlite3_stmt *statement = fresh(tree, COUNT_CHILDREN);

    bind_path(statement, path);
    int rc = sqlite3_step(statement);
    *count = rc == SQLITE_ROW ? (uint32_t)sqlite3_column_int(statement, 0) : 0;
    sqlite3_reset(statement);
    return error_of(tree, rc);
}

/* @param data, data_bytes NULL: not wanted; else to free(), with a terminator behind it @return 0; -ENOENT; -EIO, -ENOMEM */
static int find(struct mr_coord_tree *tree, const char *path, struct row *row, void **data, size_t *data_bytes)
{
    sqlite3_stmt *statement = fresh(tree, FIND);

    *row = (struct row){0};
    bind_path(statement, path);
    int rc = sqlite3_step(statement);
    int result = rc == SQLITE_DONE ? -ENOENT : error_of(tree, rc);
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

static int touch_parent(struct mr_coord_tree *tree, const char *parent, bool took_number)
{
    sqlite3_stmt *statement = fresh(tree, TOUCH_PARENT);

    bind_path(statement, parent);
    sqlite3_bind_int(statement, 2, took_number);
    return run(tree, statement);
}

static int create(struct mr_coord_tree *tree, const struct mr_coord_change *change, char path[MR_COORD_PATH_MAX + 1])
{
    bool sequential = (change->flags & MR_COORD_SEQUENTIAL) != 0;
    char parent[MR_COORD_PATH_MAX + 1];
    struct row row;

    mr_coord_path_parent(path, parent);
    int rc = find(tree, parent, &row, NULL, NULL);
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
    rc = find(tree, path, &row, NULL, NULL);
    if (rc != -ENOENT)
        return rc == 0 ? -EEXIST : rc;
    sqlite3_stmt *statement = fresh(tree, INSERT);
    bind_path(statement, path);
    sqlite3_bind_text(statement, 2, parent, -1, SQLITE_STATIC);
    sqlite3_bind_blob(statement, 3, change->data, (int)change->data_bytes, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 4, (sqlite3_int64)tree->xid);
    sqlite3_bind_int64(statement, 5, (change->flags & MR_COORD_EPHEMERAL) != 0 ? (sqlite3_int64)tree->session : 0);
    rc = run(tree, statement);
    return rc != 0 ? rc : touch_parent(tree, parent, sequential);
}

static int remove_node(struct mr_coord_tree *tree, const char *path)
{
    char parent[MR_COORD_PATH_MAX + 1];
    uint32_t children;

    int rc = count_children(tree, path, &children);
    if (rc == 0 && children > 0)
        rc = -ENOTEMPTY;
    if (rc != 0)
        return rc;
    sqlite3_stmt *statement = fresh(tree, REMOVE);
    bind_path(statement, path);
    rc = run(tree, statement);
    mr_coord_path_parent(path, parent);
    return rc != 0 ? rc : touch_parent(tree, parent, false);
}

static int change_node(struct mr_coord_tree *tree, const struct mr_coord_change *change, char path[MR_COORD_PATH_MAX + 1])
{
    struct row row;

    if (change->kind == MR_COORD_CREATE)
        return create(tree, change, path);
    int rc = find(tree, path, &row, NULL, NULL);
    if (rc == 0 && change->version != MR_COORD_ANY && change->version != row.stat.version)
        rc = -ESTALE;
    if (rc != 0 || change->kind == MR_COORD_CHECK)
        return rc;
    if (change->kind == MR_COORD_DELETE)
        return remove_node(tree, path);
    sqlite3_stmt *statement = fresh(tree, UPDATE);
    bind_path(statement, path);
    sqlite3_bind_blob(statement, 2, change->data, (int)change->data_bytes, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 3, (sqlite3_int64)tree->xid);
    return run(tree, statement);
}

static int save_meta(struct mr_coord_tree *tree)
{
    sqlite3_stmt *statement = fresh(tree, SET_META);

    sqlite3_bind_int64(statement, 1, (sqlite3_int64)tree->xid);
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)tree->session);
    return run(tree, statement);
}

int mr_coord_tree_change(struct mr_coord_tree *tree, const struct mr_coord_request *request, char (*paths)[MR_COORD_PATH_MAX + 1],
                         struct mr_coord_reply *reply)
{
    uint64_t xid_before = tree->xid;

    if (tree->failed)
        return -EIO;
    int rc = run(tree, fresh(tree, BEGIN));
    if (rc != 0)
        return rc;
    tree->xid++;
    for (uint32_t i = 0; i < request->change_count && rc == 0; i++) {
        reply->failed = i;
        snprintf(paths[i], sizeof paths[i], "%s", request->changes[i].path);
        rc = change_node(tree, &request->changes[i], paths[i]);
    }
    const char *last = paths[request->change_count - 1];
    if (rc == 0 && request->changes[request->change_count - 1].kind != MR_COORD_DELETE) {
        struct row row;
        rc = find(tree, last, &row, NULL, NULL);
        if (rc == 0)
            rc = count_children(tree, last, &row.stat.children_count);
        reply->stat = row.stat;
    }
    if (rc == 0)
        rc = save_meta(tree);
    if (rc == 0)
        rc = run(tree, fresh(tree, COMMIT));
    if (rc != 0) {
        if (!sqlite3_get_autocommit(tree->db)) /* some errors have rolled back already */
            (void)run(tree, fresh(tree, ROLLBACK));
        tree->xid = xid_before;
        reply->stat = (struct mr_coord_stat){0};
    }
    return rc;
}

int mr_coord_tree_get(struct mr_coord_tree *tree, const char *path, struct mr_coord_stat *stat, void **data, size_t *data_bytes)
{
    struct row row;

    if (tree->failed)
        return -EIO;
    int rc = find(tree, path, &row, data, data_bytes);
    if (rc == 0)
        rc = count_children(tree, path, &row.stat.children_count);
    *stat = row.stat;
    return rc;
}

int mr_coord_tree_names(struct mr_coord_tree *tree, const char *path, char **names, uint32_t count)
{
    size_t prefix = strcmp(path, "/") == 0 ? 1 : strlen(path) + 1;
    uint32_t found = 0;
    int rc = SQLITE_DONE;

    sqlite3_stmt *statement = fresh(tree, CHILDREN);
    bind_path(statement, path);
    while (found < count && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
        names[found] = strdup((const char *)sqlite3_column_text(statement, 0) + prefix);
        if (names[found] == NULL)
            break;
        found++;
    }
    sqlite3_reset(statement);
    return found == count ? 0 : rc == SQLITE_ROW ? -ENOMEM : rc == SQLITE_DONE ? -EIO : error_of(tree, rc);
}

uint64_t mr_coord_tree_session(const struct mr_coord_tree *tree)
{
    return tree->session;
}

/* Within a transaction. */
static int delete_ephemeral(struct mr_coord_tree *tree)
{
    char path[MR_COORD_PATH_MAX + 1];
    int rc = 0, step;

    do {
        sqlite3_stmt *statement = fresh(tree, EPHEMERAL);
        step = sqlite3_step(statement);
        if (step == SQLITE_ROW)
            snprintf(path, sizeof path, "%s", (const char *)sqlite3_column_text(statement, 0));
        sqlite3_reset(statement);
        rc = step == SQLITE_ROW ? remove_node(tree, path) : error_of(tree, step);
    } while (rc == 0 && step == SQLITE_ROW);
    return rc;
}

/* The sessions of earlier processes end, and one begins (or ends with them, at the end). */
static int turn_sessions(struct mr_coord_tree *tree)
{
    int rc = run(tree, fresh(tree, BEGIN));

    tree->xid++;
    if (rc == 0)
        rc = delete_ephemeral(tree);
    if (rc == 0)
        rc = save_meta(tree);
    return rc == 0 ? run(tree, fresh(tree, COMMIT)) : rc;
}

void mr_coord_tree_close(struct mr_coord_tree *tree)
{
    if (tree == NULL)
        return;
    if (tree->statement[STATEMENTS - 1] != NULL && !tree->failed)
        (void)turn_sessions(tree); /* if it fails, the next open does it */
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(tree->statement[i]);
    sqlite3_close(tree->db);
    free(tree);
}

static int64_t one_number(struct mr_coord_tree *tree, const char *sql)
{
    sqlite3_stmt *statement;
    int64_t value = -1;

    if (sqlite3_prepare_v2(tree->db, sql, -1, &statement, NULL) != SQLITE_OK)
        return -1;
    if (sqlite3_step(statement) == SQLITE_ROW)
        value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return value;
}

static int execute(struct mr_coord_tree *tree, const char *sql)
{
    return sqlite3_exec(tree->db, sql, NULL, NULL, NULL);
}

static int say(struct mr_coord_tree *tree, int rc, const char *path, struct millrace_error *err)
{
    int code = sqlite3_extended_errcode(tree->db), why = sqlite3_system_errno(tree->db);

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
                             "PRAGMA application_id = " TEXT(APPLICATION_ID) ";"
                             "PRAGMA user_version = " TEXT(FORMAT_VERSION) ";"
                             "COMMIT";

static int open_store(struct mr_coord_tree *tree, const char *path, struct millrace_error *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600); /* SQLite would let others read it */
    if (fd < 0)
        return mr_err(err, errno, "the store '%s' cannot be opened: %s; its directory must be there, and yours", path, strerror(errno));
    close(fd);
    int rc = sqlite3_open_v2(path, &tree->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
    if (tree->db == NULL)
        return mr_err(err, ENOMEM, "no memory for the store '%s'", path);
    if (rc == SQLITE_OK) /* the lock is kept from the first access on; then the write-ahead log needs no shared index */
        rc = execute(tree, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; BEGIN EXCLUSIVE; COMMIT");
    if (rc != SQLITE_OK)
        return say(tree, rc, path, err);
    int64_t application = one_number(tree, "PRAGMA application_id"), tables = one_number(tree, "SELECT count(*) FROM sqlite_master");
    if (application == 0 && tables == 0) {
        rc = execute(tree, schema);
        if (rc != SQLITE_OK)
            return say(tree, rc, path, err);
        rc = sync_directory_of(path);
        if (rc != 0)
            return mr_err(err, -rc, "the directory of the store '%s' cannot be flushed: %s", path, strerror(-rc));
    } else if (application != APPLICATION_ID) {
        return mr_err(err, EBADMSG, "'%s' is not a store of Millrace: move it away, or name another data directory", path);
    } else if (one_number(tree, "PRAGMA user_version") != FORMAT_VERSION) {
        return mr_err(err, EBADMSG, "the store '%s' is of another version of Millrace, this one reads %d: use that version", path, FORMAT_VERSION);
    } else if (one_number(tree, "SELECT count(*) FROM pragma_quick_check(1) WHERE quick_check = 'ok'") != 1) {
        return say(tree, SQLITE_CORRUPT, path, err);
    }
    tree->xid = (uint64_t)one_number(tree, "SELECT xid FROM meta");
    tree->session = (uint64_t)one_number(tree, "SELECT session FROM meta") + 1;
    for (int i = 0; i < STATEMENTS && rc == SQLITE_OK; i++)
        rc = sqlite3_prepare_v3(tree->db, statement_text[i], -1, SQLITE_PREPARE_PERSISTENT, &tree->statement[i], NULL);
    if (rc != SQLITE_OK)
        return say(tree, rc, path, err);
    rc = turn_sessions(tree);
    if (rc != 0)
        return mr_err(err, -rc, "the store '%s' cannot be written: %s", path, sqlite3_errmsg(tree->db));
    return 0;
}

int mr_coord_tree_open(struct mr_coord_tree **out, const char *path, struct millrace_error *err)
{
    struct mr_coord_tree *tree = calloc(1, sizeof *tree);

    if (tree == NULL)
        return mr_err(err, ENOMEM, "no memory for the store '%s'", path);
    int rc = open_store(tree, path, err);
    if (rc != 0) {
        mr_coord_tree_close(tree);
        return rc;
    }
    *out = tree;
    return 0;
}
