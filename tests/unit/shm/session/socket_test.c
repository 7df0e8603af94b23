/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shm/session/socket.h"

static void pair(int socket[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socket), 0);
}

static void a_message_arrives_whole_with_its_descriptors(void **state)
{
    (void)state;
    int s[2], fds[MR_MESSAGE_FDS_MAX], pipe_fds[2];
    uint32_t fd_count = 9;
    union mr_message message;
    struct mr_message_done done;

    pair(s);
    assert_int_equal(pipe(pipe_fds), 0);
    assert_int_equal(mr_session_receive(s[1], &message, sizeof message, fds, &fd_count), -EAGAIN);
    assert_int_equal(fd_count, 0);
    mr_message_begin(&done.header, sizeof done, MR_MESSAGE_DONE, 77);
    assert_int_equal(mr_session_send(s[0], &done, pipe_fds, 2), 0);
    assert_int_equal(mr_session_receive(s[1], &message, sizeof message, fds, &fd_count), sizeof done);
    assert_int_equal(fd_count, 2);
    assert_int_equal(message.header.type, MR_MESSAGE_DONE);
    assert_int_equal(message.header.request, 77);
    assert_true((fcntl(fds[0], F_GETFD) & FD_CLOEXEC) != 0);
    assert_int_equal(write(fds[1], "x", 1), 1);
    char byte = 0;
    assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
    assert_int_equal(byte, 'x');
    close(s[0]);
    assert_int_equal(mr_session_receive(s[1], &message, sizeof message, fds, &fd_count), -ECONNRESET);
    close(s[1]);
}

static void messages_that_lie_about_their_length_are_refused(void **state)
{
    (void)state;
    int s[2], fds[MR_MESSAGE_FDS_MAX];
    uint32_t fd_count;
    union mr_message message;
    struct mr_message_done done;
    uint8_t big[MR_MESSAGE_BYTES_MAX + 8] = {0};

    pair(s);
    mr_message_begin(&done.header, sizeof done + 8, MR_MESSAGE_DONE, 1);
    assert_int_equal(send(s[0], &done, sizeof done, 0), sizeof done);
    assert_int_equal(mr_session_receive(s[1], &message, sizeof message, fds, &fd_count), -EBADMSG);
    assert_int_equal(send(s[0], &done, 7, 0), 7);
    assert_int_equal(mr_session_receive(s[1], &message, sizeof message, fds, &fd_count), -EBADMSG);
    assert_int_equal(send(s[0], big, sizeof big, 0), sizeof big);
    assert_int_equal(mr_session_receive(s[1], &message, sizeof message, fds, &fd_count), -EBADMSG);
    close(s[0]);
    close(s[1]);
}

static void more_descriptors_than_allowed_are_closed_and_refused(void **state)
{
    (void)state;
    int s[2], fds[MR_MESSAGE_FDS_MAX], extra[8];
    uint32_t fd_count;
    union mr_message message;
    struct mr_message_done done;
    struct iovec part = {.iov_base = &done, .iov_len = sizeof done};
    alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof extra)] = {0};
    struct msghdr packet = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};

    pair(s);
    for (int i = 0; i < 8; i++)
        extra[i] = s[0];
    mr_message_begin(&done.header, sizeof done, MR_MESSAGE_DONE, 1);
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&packet);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof extra);
    memcpy(CMSG_DATA(cmsg), extra, sizeof extra);
    assert_int_equal(sendmsg(s[0], &packet, 0), sizeof done);
    assert_int_equal(mr_session_receive(s[1], &message, sizeof message, fds, &fd_count), -EBADMSG);
    for (uint32_t i = 0; i < fd_count; i++)
        close(fds[i]);
    close(s[0]);
    assert_int_equal(mr_session_receive(s[1], &message, sizeof message, fds, &fd_count), -ECONNRESET); /* no copy is left open */
    close(s[1]);
}

static void a_peer_that_does_not_read_blocks_nobody(void **state)
{
    (void)state;
    int s[2], rc = 0, sent = 0;
    union mr_message message = {.bytes = {0}};

    pair(s);
    mr_message_begin(&message.header, sizeof message, MR_MESSAGE_LIST, 1);
    while (rc == 0 && sent++ < 100000)
        rc = mr_session_send(s[0], &message, NULL, 0);
    assert_int_equal(rc, -EAGAIN);
    close(s[1]);
    rc = mr_session_send(s[0], &message, NULL, 0);
    assert_true(rc == -EPIPE || rc == -ECONNRESET);
    close(s[0]);
}

static void what_a_dead_peer_had_sent_is_still_received(void **state)
{
    (void)state;
    int s[2], fds[MR_MESSAGE_FDS_MAX];
    uint32_t fd_count;
    union mr_message message;
    struct mr_message_done done;

    pair(s);
    mr_message_begin(&done.header, sizeof done, MR_MESSAGE_DONE, 1);
    assert_int_equal(mr_session_send(s[0], &done, NULL, 0), 0); /* never read */
    assert_int_equal(mr_session_send(s[1], &done, NULL, 0), 0);
    assert_int_equal(mr_session_send(s[1], &done, &s[0], 1), 0);
    close(s[1]);
    assert_int_equal(mr_session_receive(s[0], &message, sizeof message, fds, &fd_count), sizeof done);
    assert_int_equal(mr_session_receive(s[0], &message, sizeof message, fds, &fd_count), sizeof done);
    assert_int_equal(fd_count, 1);
    close(fds[0]);
    assert_int_equal(mr_session_receive(s[0], &message, sizeof message, fds, &fd_count), -ECONNRESET);
    close(s[0]);
}

static void without_a_broker_the_error_names_both_places_and_the_command(void **state)
{
    (void)state;
    struct millrace_error err;
    char path[MR_SESSION_PATH_MAX];

    unsetenv("MILLRACE_SOCKET");
    setenv("XDG_RUNTIME_DIR", "/nonexistent", 1);
    if (access("/run/millrace/0.sock", F_OK) != 0) {
        assert_int_equal(mr_session_connect(NULL, path, &err), -ENOENT);
        assert_non_null(strstr(err.text, "/nonexistent/millrace/0.sock"));
        assert_non_null(strstr(err.text, "/run/millrace/0.sock"));
        assert_non_null(strstr(err.text, "`millrace up`"));
        assert_string_equal(path, "/nonexistent/millrace/0.sock");
    }
    setenv("MILLRACE_SOCKET", "/nonexistent/x.sock", 1);
    assert_int_equal(mr_session_connect(NULL, path, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/nonexistent/x.sock"));
    assert_string_equal(path, "/nonexistent/x.sock");
    unsetenv("MILLRACE_SOCKET");
    assert_false(mr_session_default_path(2, 0, path));
    assert_true(mr_session_default_path(1, 7, path));
    assert_string_equal(path, "/run/millrace/7.sock");
    char longest[200];
    memset(longest, 'a', sizeof longest);
    longest[0] = '/';
    longest[199] = 0;
    assert_int_equal(mr_session_connect(longest, path, &err), -ENAMETOOLONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_arrives_whole_with_its_descriptors),
        cmocka_unit_test(messages_that_lie_about_their_length_are_refused),
        cmocka_unit_test(more_descriptors_than_allowed_are_closed_and_refused),
        cmocka_unit_test(a_peer_that_does_not_read_blocks_nobody),
        cmocka_unit_test(what_a_dead_peer_had_sent_is_still_received),
        cmocka_unit_test(without_a_broker_the_error_names_both_places_and_the_command),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
