/* SPDX-License-Identifier: Apache-2.0 */
/* What the property test of the face cannot show of the embedded store: its process dies, its disk refuses, its file is not its own. */
#include "tests/support/unit.h"

#include "drivers/coord/coord.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/millrace-coord-XXXXXX", store_path[64];

static int make_folder(void **state)
{
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(store_path, sizeof store_path, "%s/store", folder);
    return 0;
}

static void forget_store(void)
{
    char wal[80];
    snprintf(wal, sizeof wal, "%s-wal", store_path);
    unlink(wal);
    unlink(store_path);
}

static int remove_folder(void **state)
{
    forget_store();
    return rmdir(folder);
}

static int change(struct mr_coord *coord, enum mr_coord_change_kind kind, const char *path, const char *data, uint32_t flags)
{
    struct mr_coord_change one = {.kind = kind, .path = path, .data = data, .data_bytes = strlen(data), .version = MR_COORD_ANY, .flags = flags};
    struct mr_coord_request request = {.tag = 7, .kind = MR_COORD_CHANGES, .changes = &one, .change_count = 1};
    struct mr_coord_reply reply;

    int rc = mr_coord_submit(coord, &request);
    if (rc != 0)
        return rc;
    assert_int_equal(mr_coord_poll(coord, &reply, 1), 1);
    assert_int_equal(reply.tag, 7);
    return reply.result;
}

static int get(struct mr_coord *coord, const char *path, struct mr_coord_reply *reply)
{
    struct mr_coord_request request = {.kind = MR_COORD_GET, .path = path};

    assert_int_equal(mr_coord_submit(coord, &request), 0);
    assert_int_equal(mr_coord_poll(coord, reply, 1), 1);
    return reply->result;
}

static void paths_are_zookeepers(void **state)
{
    char longest[MR_COORD_PATH_MAX + 2];

    assert_true(mr_coord_path_is_valid("/"));
    assert_true(mr_coord_path_is_valid("/a/b.c/..d"));
    static const char *const bad[] = {"", "a", "//", "/a/", "/a//b", "/./a", "/a/..", "/a\nb", "/a\x7f"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(mr_coord_path_is_valid(bad[i]));
    memset(longest, 'x', sizeof longest);
    longest[0] = '/';
    longest[MR_COORD_PATH_MAX] = '\0';
    assert_true(mr_coord_path_is_valid(longest));
    longest[MR_COORD_PATH_MAX] = 'x';
    longest[MR_COORD_PATH_MAX + 1] = '\0';
    assert_false(mr_coord_path_is_valid(longest));
}

static void what_is_malformed_is_refused_and_answered_by_nobody(void **state)
{
    struct millrace_error err;
    struct mr_coord *coord;
    struct mr_coord_reply reply;
    struct mr_coord_request nothing = {.kind = MR_COORD_CHANGES};

    assert_int_equal(mr_coord_embedded_open(&coord, store_path, &err), 0);
    assert_int_equal(mr_coord_submit(coord, &nothing), -EINVAL);
    assert_int_equal(change(coord, MR_COORD_CREATE, "/", "", 0), -EINVAL);
    assert_int_equal(change(coord, MR_COORD_DELETE, "/", "", 0), -EINVAL);
    assert_int_equal(change(coord, MR_COORD_CREATE, "/a/", "", 0), -EINVAL);
    assert_int_equal(mr_coord_poll(coord, &reply, 1), 0);
    assert_int_equal(change(coord, MR_COORD_SET, "/", "root", 0), 0);
    mr_coord_release(coord);
    forget_store();
}

/* Does as many changes as it can, and says each that was answered: its number goes down the pipe. */
static void write_until_killed(int pipe_fd, int first)
{
    struct millrace_error err;
    struct mr_coord *coord;
    char text[16];

    if (mr_coord_embedded_open(&coord, store_path, &err) != 0)
        _exit(3);
    if (first == 1 && (change(coord, MR_COORD_CREATE, "/n", "0", 0) != 0))
        _exit(4);
    if (change(coord, MR_COORD_CREATE, "/alive", "", MR_COORD_EPHEMERAL) != 0)
        _exit(5);
    for (int number = first;; number++) {
        snprintf(text, sizeof text, "%d", number);
        if (change(coord, MR_COORD_SET, "/n", text, 0) != 0 || write(pipe_fd, &number, sizeof number) != (ssize_t)sizeof number)
            _exit(6);
    }
}

static void what_was_answered_survives_kill_9_and_sessions_do_not(void **state)
{
    struct millrace_error err;
    struct mr_coord_reply reply;
    int acked = 0;

    for (int round = 0; round < 10; round++) {
        int ends[2], number, status;
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            close(ends[0]);
            write_until_killed(ends[1], acked + 1);
        }
        close(ends[1]);
        int until = acked + 3 + round * 2;
        while (acked < until && read(ends[0], &number, sizeof number) == (ssize_t)sizeof number)
            acked = number;
        assert_int_equal(acked, until);
        kill(child, SIGKILL);
        while (read(ends[0], &number, sizeof number) == (ssize_t)sizeof number)
            acked = number;
        close(ends[0]);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));

        struct mr_coord *coord;
        assert_int_equal(mr_coord_embedded_open(&coord, store_path, &err), 0);
        assert_int_equal(get(coord, "/alive", &reply), -ENOENT);
        assert_int_equal(get(coord, "/n", &reply), 0);
        int found = atoi(reply.data);
        assert_true(found == acked || found == acked + 1); /* the last may have been durable and not yet said */
        assert_int_equal(reply.stat.version, found);
        acked = found;
        mr_coord_release(coord);
    }
    forget_store();
}

static void one_process_at_a_time(void **state)
{
    struct millrace_error err;
    struct mr_coord *coord, *other;

    assert_int_equal(mr_coord_embedded_open(&coord, store_path, &err), 0);
    assert_int_equal(mr_coord_embedded_open(&other, store_path, &err), -EBUSY);
    assert_non_null(strstr(err.text, "millrace-control"));
    assert_int_equal(change(coord, MR_COORD_CREATE, "/a", "", 0), 0); /* and the first goes on */
    mr_coord_release(coord);
    struct stat st;
    assert_int_equal(stat(store_path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    forget_store();
}

static void a_file_that_is_no_store_is_left_alone(void **state)
{
    static const char text[] = "this is somebody's letter, much longer than a header of SQLite, which takes a hundred bytes, so that it is looked at";
    struct millrace_error err;
    struct mr_coord *coord;
    char back[sizeof text];

    int fd = open(store_path, O_RDWR | O_CREAT, 0600);
    assert_int_equal(write(fd, text, sizeof text), sizeof text);
    assert_int_equal(mr_coord_embedded_open(&coord, store_path, &err), -EBADMSG);
    assert_int_equal(pread(fd, back, sizeof back, 0), sizeof text);
    assert_memory_equal(back, text, sizeof text);
    close(fd);
    forget_store();
    assert_int_equal(mr_coord_embedded_open(&coord, "/nowhere/store", &err), -ENOENT);
    assert_non_null(strstr(err.text, "directory"));
}

static void damage_is_told_from_a_store(void **state)
{
    struct millrace_error err;
    struct mr_coord *coord;
    static const uint8_t rubbish[2000] = {1, 2, 3};

    assert_int_equal(mr_coord_embedded_open(&coord, store_path, &err), 0);
    for (int i = 0; i < 200; i++)
        assert_int_equal(change(coord, MR_COORD_CREATE, "/some-longer-name-", "with some data in it", MR_COORD_SEQUENTIAL), 0);
    mr_coord_release(coord);
    int fd = open(store_path, O_RDWR);
    for (off_t at = 2 * 4096; at < lseek(fd, 0, SEEK_END); at += 4096)
        assert_int_equal(pwrite(fd, rubbish, sizeof rubbish, at), sizeof rubbish);
    close(fd);
    assert_int_equal(mr_coord_embedded_open(&coord, store_path, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "copy"));
    forget_store();
}

static void after_a_write_that_failed_nothing_is_answered_but_that(void **state)
{
    struct millrace_error err;
    struct mr_coord *coord;
    struct mr_coord_reply reply;
    struct rlimit before, low;
    int last = -1, rc = 0;

    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(mr_coord_embedded_open(&coord, store_path, &err), 0);
    assert_int_equal(change(coord, MR_COORD_CREATE, "/n", "0", 0), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    low = (struct rlimit){.rlim_cur = 200000, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    for (int i = 0; i < 1000 && rc == 0; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        rc = change(coord, MR_COORD_SET, "/n", text, 0);
        last = rc == 0 ? i : last;
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(rc, -EIO);
    assert_int_equal(get(coord, "/n", &reply), -EIO);
    assert_int_equal(change(coord, MR_COORD_SET, "/n", "x", 0), -EIO);
    mr_coord_release(coord);
    assert_int_equal(mr_coord_embedded_open(&coord, store_path, &err), 0);
    assert_int_equal(get(coord, "/n", &reply), 0);
    assert_int_equal(atoi(reply.data), last);
    mr_coord_release(coord);
    forget_store();
}

static void replies_can_be_waited_for(void **state)
{
    struct millrace_error err;
    struct mr_coord *coord;
    struct mr_coord_reply reply[2];
    struct mr_coord_request request = {.tag = 1, .kind = MR_COORD_CHILDREN, .path = "/", .watch = true};

    assert_int_equal(mr_coord_embedded_open(&coord, store_path, &err), 0);
    struct pollfd fd = {.fd = mr_coord_wait_fd(coord), .events = POLLIN};
    assert_int_equal(poll(&fd, 1, 0), 0);
    assert_int_equal(mr_coord_submit(coord, &request), 0);
    request.tag = 2;
    assert_int_equal(mr_coord_submit(coord, &request), 0);
    assert_int_equal(poll(&fd, 1, 0), 1);
    assert_int_equal(mr_coord_poll(coord, reply, 1), 1);
    assert_int_equal(reply[0].tag, 1);
    assert_int_equal(poll(&fd, 1, 0), 1); /* the second is still there */
    assert_int_equal(mr_coord_poll(coord, reply, 2), 1);
    assert_int_equal(reply[0].tag, 2);
    assert_int_equal(poll(&fd, 1, 0), 0);
    mr_coord_release(coord);
    forget_store();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_are_zookeepers),
        cmocka_unit_test(what_is_malformed_is_refused_and_answered_by_nobody),
        cmocka_unit_test(what_was_answered_survives_kill_9_and_sessions_do_not),
        cmocka_unit_test(one_process_at_a_time),
        cmocka_unit_test(a_file_that_is_no_store_is_left_alone),
        cmocka_unit_test(damage_is_told_from_a_store),
        cmocka_unit_test(after_a_write_that_failed_nothing_is_answered_but_that),
        cmocka_unit_test(replies_can_be_waited_for),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
